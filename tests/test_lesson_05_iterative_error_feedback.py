"""What lesson 05 measures, on cases whose answer is known, and that its stored study is whole."""

from __future__ import annotations

import pytest
import torch

from course_lib import models
from course_lib.lessons import lesson_05_iterative_error_feedback as tools
from course_lib.lessons import lesson_05_study as study
from course_lib.models.ief import bounded
from course_lib.pose import Batch, Person, Pose, Scene
from course_lib.skeletons import get

LSP = get("lsp")


def network(bound=5.0, **options):
    return models.create("ief_course", width=8, bound=bound, input_size=(32, 32), **options).eval()


def people(count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    joints = 32 * torch.rand(count, 14, 2, generator=generator)
    return Batch(torch.rand(count, 3, 32, 32, generator=generator), joints, torch.full((count, 14), 2), LSP)


def comparing(batch, **options):
    """A network that knows the truth of these people and answers what a perfect comparer would."""
    model = network(**options)

    def correct(images, pose):
        which = [int((batch.images == image).flatten(1).all(1).nonzero()[0]) for image in images]
        return bounded(batch.joints[which] - pose, model.bound)

    model.correct = correct
    return model


def test_who_compares_sends_back_what_was_pushed_and_who_does_not_sends_nothing_back():
    batch = people()
    assert tools.sent_back(comparing(batch), batch, 3.0) == pytest.approx(3.0, abs=1e-4)
    assert tools.sent_back(comparing(batch), batch, 9.0) == pytest.approx(5.0, abs=1e-4)
    deaf = network()
    deaf.correct = lambda images, pose: torch.ones_like(pose)
    assert tools.sent_back(deaf, batch, 3.0) == 0


def test_the_field_of_who_compares_points_at_the_joint():
    batch = people(1)
    places, moves = tools.field(comparing(batch), batch.images[0], batch.joints[0], 6, cells=5)
    assert places.shape == moves.shape == (25, 2) and places[1].tolist() == pytest.approx([9.6, 3.2])
    assert torch.allclose(moves, bounded(batch.joints[0, 6] - places, 5.0), atol=1e-5)


def test_costs_on_the_path():
    batch, model = people(), network(steps=3)
    assert tools.needed(model.start, batch, 5.0)[0, 0] == torch.ceil((batch.joints[0, 0] - 16).norm() / 5)
    rows = tools.who_sees_what(comparing(batch, steps=3), batch)
    assert rows["the network"] == pytest.approx([0, 0, 0], abs=1e-6)
    assert rows["the network, shown another's picture"][0] > 0.5
    costs = tools.nothing_costs(model, batch)
    assert costs[0] >= costs[1] >= costs[2] > 0 and costs[0] <= 1


def test_who_sees_no_picture_needs_only_the_length_of_the_last_bit():
    model, batch = network(steps=2), people(2)
    batch.joints[:] = model.start + torch.tensor([9.0, 0.0])  # a full step of 5, then 4: the share is always the same
    assert tools.blind_costs(model, batch) == [None, pytest.approx(0.0, abs=1e-6)]
    batch.joints[1] = model.start + torch.tensor([0.0, 7.0])  # now 4 and 2: the best common answer is 3
    assert tools.blind_costs(model, batch)[1] == pytest.approx((1 + 1) / (16 + 4), abs=1e-5)
    batch.joints[1] = model.start + torch.tensor([2.0, 0.0])  # arrived after the first step, and that can be seen
    assert tools.blind_costs(model, batch)[1] == pytest.approx(0.0, abs=1e-6)


def test_a_joint_lies_beside_the_body_where_no_silhouette_is_near():
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[5:10, 5:10] = True
    joints = torch.full((14, 2), 7.5)
    joints[1] = torch.tensor([12.5, 7.5])  # three pixels beside the silhouette
    joints[2] = torch.tensor([13.5, 7.5])
    joints[3], joints[4] = torch.tensor([-1.0, 7.0]), torch.tensor([19.0, 19.0])
    visible = torch.full((14,), 2)
    visible[4] = 1  # hidden behind something: the visible silhouette tells nothing about it
    person = Person(joints, visible, LSP, mask=mask)
    beside = tools.off_body([Pose(joints, torch.ones(14), LSP)], [person], margin=3)
    assert beside[0].nonzero().flatten().tolist() == [2, 3]


def test_walks_are_measured_in_the_crops_pixels_and_scored_in_the_scenes():
    batch = people(2)
    visible = batch.visible.clone()
    visible[0, 3] = 0
    scenes = [
        Scene(torch.rand(3, 64, 64), [Person(2 * joints, seen, LSP)])
        for joints, seen in zip(batch.joints, visible, strict=True)
    ]
    model = network(steps=2)
    walks = tools.Walks.of(model, scenes, steps=4)
    assert walks.walk.shape == (5, 2, 14, 2) and walks.scale == 2
    assert torch.allclose(walks.batch.joints, batch.joints) and walks.errors[:, 0, 3].isnan().all()
    assert torch.allclose(walks.errors[0, 1], (batch.joints[1] - 16).norm(dim=-1))
    assert torch.allclose(walks.poses(0)[0].joints, torch.full((14, 2), 32.0))
    assert len(walks.every_mark) == 5 and int(walks.every_mark[0].scored.sum()) == 27


def test_what_a_shift_of_the_whole_pose_reaches():
    joints, model = people(1).joints[0], network(steps=1)
    model.start.copy_(joints - torch.tensor([3.0, 4.0]))
    everybody = [Person(joints + torch.tensor([x, 0.0]), torch.full((14,), 2), LSP) for x in (0.0, -5.0)]
    walks = tools.Walks.of(model, [Scene(torch.rand(3, 32, 32), [person]) for person in everybody])
    assert walks.shift_alone() == 1.0
    walks.walk[1] = walks.walk[0] + torch.tensor([3.0, 4.0])
    assert walks.common_share() == pytest.approx(1.0, abs=1e-5)
    walks.walk[1, :, ::2] = walks.walk[0, :, ::2] - torch.tensor([3.0, 4.0])  # half of the joints the other way
    assert walks.common_share() == pytest.approx(0.0, abs=1e-5)


def test_starts_are_what_their_names_say():
    batch, model = people(), network()
    batch.visible[0, 0] = 0
    starts = tools.starting_poses(model, batch)
    assert torch.equal(starts["the truth itself"][0, 0], model.start[0])
    assert torch.equal(starts["another person's pose"][1, 2], batch.joints[0, 2])
    assert torch.equal(
        starts["moved right by an eighth"] - starts["the usual start"], torch.tensor([4.0, 0.0]).expand(3, 14, 2)
    )


def test_the_study_is_whole():
    result = study.load()
    assert result["arms"] == study.ARMS
    assert [(run["seed"], run["arm"]) for run in result["runs"]] == [(s, a) for s in study.SEEDS for a in study.ARMS]
    assert [(run["seed"], run["arm"]) for run in result["compared"]] == [
        (s, a) for s in study.SEEDS for a in study.COMPARED
    ]
    for run in result["runs"]:
        assert len(run["pck@0.2"]) == study.WALKED + 1 and run["steps"] == (1 if run["arm"] == study.DIRECT else 3)
    starts = {(run["seed"], run["pck@0.2"][0]) for run in result["runs"]}
    assert len(starts) == len(study.SEEDS)  # all arms of a seed begin from the same mean pose
    for arm in study.ARMS:
        assert (
            study.finals(result, arm)[0]
            == result["runs"][list(study.ARMS).index(arm)]["pck@0.2"][1 if arm == study.DIRECT else 3]
        )
