"""What lesson 02 measures: on cases worked out by hand, and the stored study as its text says it is."""

from __future__ import annotations

import pytest
import torch

from course_lib import models
from course_lib.datasets import synthetic
from course_lib.lessons import lesson_02_deeppose as tools
from course_lib.lessons import lesson_02_study as study
from course_lib.models.deeppose import Cascade


@pytest.fixture(scope="module")
def answers():
    torch.manual_seed(0)
    model = models.create("deeppose_course", channels=(4, 4, 4, 4, 4), hidden=8).eval()
    for stage in model.stages:
        torch.nn.init.normal_(stage.answer.bias, std=0.1)
    return tools.Answers.of(model, synthetic.single_scenes(6, seed="test lesson 02"))


def saying(answers, joints):
    """The same people, answered with these joints (N, K, 2) in their pixels by every stage."""
    scale = answers.model.input_size[0] / answers.scenes[0].size[0]
    side = float(answers.model.input_size[0])
    said = (joints * scale / side - 0.5).expand(3, *joints.shape)
    box = torch.tensor([0.0, 0.0, side, side]).expand(*said.shape[:-1], 4)
    return tools.Answers(answers.model, answers.scenes, answers.crops, Cascade(said, box), answers.matrices)


def test_answers_are_those_of_the_model(answers):
    poses = [pose for (pose,) in answers.model.estimate([scene.image for scene in answers.scenes])]
    assert torch.allclose(torch.stack([pose.joints for pose in poses]), answers.joints[-1], atol=1e-2)


def test_boxes_of_ones_own_and_lost_detail_change_what_is_answered(answers):
    boxes = tools.shifted_boxes(answers.scenes, 0.3)
    assert float((boxes[:, :2] / torch.tensor([128.0, 128.0])).abs().max()) <= 0.3
    moved = tools.Answers.of(answers.model, answers.scenes, boxes)
    poses = [
        answers.model.estimate(scene.image, boxes=[box], padding=1.0)[0][0]
        for scene, box in zip(answers.scenes, boxes.tolist(), strict=True)
    ]
    assert torch.allclose(torch.stack([pose.joints for pose in poses]), moved.joints[-1], atol=1e-2)
    blurred = tools.Answers.of(answers.model, answers.scenes, detail=2.0)
    assert torch.allclose(blurred.joints[0], answers.joints[0], atol=0.5)  # stage 1 averages by 2 anyhow


def test_truth_exchanged_truth_and_folded_shoulders(answers):
    swaps = list(answers.model.skeleton.swaps)
    right, exchanged = saying(answers, answers.truth), saying(answers, answers.truth[:, swaps])
    assert float(right.errors[0][right.scored].max()) < 1e-3
    some = (answers.scored & (torch.tensor(swaps) != torch.arange(14))).any(1)
    assert not tools.nearer_when_swapped(right, 0).any()
    assert bool(tools.nearer_when_swapped(exchanged, 0)[some].all())
    middle = (answers.truth + answers.truth[:, swaps]) / 2
    for joints, expected in ((answers.truth, 1.0), (answers.truth[:, swaps], -1.0), (middle, 0.0)):
        width, usable = tools.signed_width(joints, answers)
        assert bool(usable.any()) and torch.allclose(width[usable], torch.tensor(expected), atol=1e-4)


def test_the_papers_sides_by_arithmetic_and_by_layers():
    assert tools.sides(220, (3, 4), round_up=False) == [55, 27, 13, 6]
    for padding in range(5):
        for round_up in (False, True):
            x, found = torch.zeros(1, 1, 220, 220), []
            x = torch.nn.functional.conv2d(x, torch.zeros(1, 1, 11, 11), stride=4, padding=padding)
            for _ in range(4):
                found.append(x.shape[-1])
                x = torch.nn.functional.max_pool2d(x, 3, 2, ceil_mode=round_up)
            assert tools.sides(220, (padding, padding), round_up) == found


def test_layers_tell_all_parameters():
    with torch.device("meta"):
        model = models.create("deeppose", stages=1).eval()
    rows = tools.layers(model.stages[0], 220)
    assert sum(row["parameters"] or 0 for row in rows) == 58_396_060
    assert sum(row["M multiply-adds"] or 0 for row in rows) == pytest.approx(1131.3, abs=0.1)


def test_cover_hides_a_square_and_nothing_else():
    images = torch.rand(2, 3, 20, 20)
    covered = tools.cover(images, torch.tensor([[10.0, 6.0], [0.0, 0.0]]), side=4)
    changed = (covered != images).any(1)
    assert bool((covered[0, :, 4:8, 8:12] == tools.GREY).all()) and int(changed[0].sum()) == 16
    assert int(changed[1].sum()) == 4


def test_templates_find_what_they_were_fitted_to():
    batch = synthetic.crops(24, seed=3, size=(64, 64), settings=synthetic.Settings(others=0, occluders=0, clutter=0))
    found = tools.Templates(batch).joints(batch.images)
    error = (found - batch.joints).norm(dim=-1)[batch.visible > 0]
    assert float(error.median()) <= tools.CELL


def test_influence_lies_where_it_is_put():
    maps = torch.zeros(1, 20, 20)
    maps[0, 5, 5], maps[0, 15, 15] = 3.0, 1.0
    assert tools.share_near(maps, torch.tensor([[5.5, 5.5]]), radius=2) == pytest.approx(0.75)


def test_the_stored_study_says_what_the_lesson_says():
    result = study.load()
    assert {run["arm"] for run in result["runs"]} == set(study.FIRST) | set(study.SECOND)
    assert len(result["runs"]) == len(study.SEEDS) * (len(study.FIRST) + len(study.SECOND))
    usual = study.finals(result, study.USUAL)
    for run in result["runs"]:
        if run["stage"] == 2:  # all second stages of a seed stand on the same first one
            assert run["pck@0.2"][0] == usual[run["seed"]]


@pytest.mark.parametrize(("centres", "moves"), [("truth", False), ("answers", True), ("errors", True)])
def test_where_the_boxes_of_an_arm_lie(centres, moves):
    torch.manual_seed(0)
    model = study.build(centres=centres)
    batch = synthetic.crops(2, seed=1, size=study.SIZE, settings=synthetic.Settings(truncation=0))
    model.errors[0] = torch.tensor([10.0, 0.5, 0.0, 0.25, 0.0]).repeat(14, 1)
    _, boxes, joints, labelled = model.simulate(batch, 1)
    away = ((boxes[..., :2] + boxes[..., 2:]) / 2 - joints).norm(dim=-1)[labelled]
    assert bool((away > 1e-3).any()) == moves
