"""G-RMI: what it is asked at the start, votes read back into pixels, how people are ranked, and where it begins."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hough_helpers import fields
from torch import nn
from training_helpers import tiny

from course_lib import checkpoints, geometry, models
from course_lib.errors import CourseError
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.models.detector import GivenBoxes
from course_lib.models.grmi import FIRST, GRMI, RANKS, Fields
from course_lib.pose import Batch, Crowd, Found, Pose
from course_lib.skeletons import LSP

SIZE, STRIDE = (128, 96), 4
CELLS = (SIZE[0] // STRIDE, SIZE[1] // STRIDE)
SMALL = {"width": 8, "input_size": (64, 32)}
HEADER = {"recipe": "r", "data": {}, "steps": 1, "images": 2, "seed": 0, "device": "cpu", "scores": {}}
HEADER |= {"date": "2026-01-31"}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return models.create("grmi_course").eval()


def bodies(count=5, seed=0):
    """Joints (count, 14, 2) in pixels of a crop, none of them at its border."""
    return 10 + torch.rand(count, 14, 2, generator=generator(seed)) * (torch.tensor([SIZE[1], SIZE[0]]) - 20.0)


def answer(joints, radius=8.0, sure=12.0):
    """What a network that knows these joints would say."""
    heat, offsets = fields(joints / STRIDE, CELLS, radius / STRIDE)
    return Fields((2 * heat - 1) * sure, offsets)


def crowd(joints, others=None, visible=2):
    people = joints[:, None] if others is None else torch.stack([joints, others], 1)
    seen = torch.full(people.shape[:3], visible)
    return Crowd(torch.rand(len(joints), 3, *SIZE), people, seen, torch.ones(len(joints), *SIZE), LSP)


# --- what it is asked -------------------------------------------------------------------------------------------------


def test_the_first_loss_is_what_the_papers_formula_gives(model):
    batch, radius = crowd(bodies()), 2.0
    with torch.no_grad():
        terms = model.loss(model(batch.images), batch)
    share = math.pi * radius**2 / (CELLS[0] * CELLS[1])  # of the cells that are in a disc
    expected = 4 * (math.log1p(math.exp(FIRST)) - share * FIRST)
    assert float(terms["heatmaps"]) == pytest.approx(expected, rel=0.03)
    # of radius 8 px a disc has arrows of 2/3 of that on average, and Huber takes half a pixel off long ones
    assert float(terms["offsets"]) == pytest.approx(2 / 3 * 8 - 0.5, rel=0.03)
    assert float(terms["total"]) == pytest.approx(float(terms["heatmaps"] + terms["offsets"]))


def test_logits_of_zero_cost_four_log_two(model):
    batch = crowd(bodies())
    nothing = Fields(torch.zeros(5, 14, *CELLS), torch.zeros(5, 14, 2, *CELLS))
    assert float(model.loss(nothing, batch)["heatmaps"]) == pytest.approx(4 * math.log(2))


def test_a_perfect_answer_costs_nothing_and_neighbours_do_not_count(model):
    joints, others = bodies(seed=1), bodies(seed=2)
    perfect = answer(joints)
    assert float(model.loss(perfect, crowd(joints))["total"]) < 1e-3
    both = Fields(torch.maximum(perfect.logits, answer(others).logits), perfect.offsets)  # it answers for both
    assert float(model.loss(both, crowd(joints, others))["total"]) < 1e-3
    assert float(model.loss(both, crowd(joints))["heatmaps"]) > 0.5  # nobody said that there is somebody else
    assert float(model.loss(answer(others), crowd(joints, others))["heatmaps"]) > 0.5
    unlabelled = crowd(joints, others, visible=0)
    assert float(model.loss(both, unlabelled)["total"]) == 0


def test_single_people_without_a_place_for_others_are_refused(model):
    batch = Batch(torch.rand(2, 3, *SIZE), bodies(2), torch.ones(2, 14), LSP)
    with pytest.raises(CourseError, match=r"need joints \(B, N, K, 2\)"):
        model.loss(answer(bodies(2)), batch)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_gradient_reaches_everything(precision):
    torch.manual_seed(0)
    learning = GRMI().train()
    batch = crowd(bodies(2))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        outputs = learning(batch.images)
    terms = learning.loss(outputs, batch)
    terms["total"].backward()
    assert all(bool(term.isfinite()) for term in terms.values())
    without = {n for n, p in learning.named_parameters() if p.grad is None or not p.grad.any()}
    assert not without and all(bool(p.grad.isfinite().all()) for p in learning.parameters())


# --- what it answers --------------------------------------------------------------------------------------------------


def test_joints_come_back_in_pixels(model):
    joints = bodies(20, seed=3)
    poses = model.decode(answer(joints))
    found = torch.stack([own[0].joints for own in poses])
    assert float((found - joints).abs().max()) < 0.3
    assert all(own[0].score == pytest.approx(float(own[0].scores.mean())) for own in poses)
    # a disc counted on cells has no more than 16 of them, where pi R^2 is 12.6; its votes meet in 1 to 4 cells
    assert all(bool(((own[0].scores > 0.2) & (own[0].scores < 1.3)).all()) for own in poses)
    nobody = model.decode(Fields(torch.full((1, 14, *CELLS), -40.0), torch.zeros(1, 14, 2, *CELLS)))[0][0]
    assert nobody.score < 1e-6 and bool(nobody.joints.isfinite().all())


def test_offsets_are_learned_in_units_of_the_radius(model):
    with torch.no_grad():
        outputs = model(torch.rand(2, 3, *SIZE))
        raw = model.answers(model.neck(model.trunk(torch.zeros(1, 3, *SIZE))))
        both = model(torch.zeros(1, 3, *SIZE))
    assert outputs.logits.shape == (2, 14, *CELLS) and outputs.offsets.shape == (2, 14, 2, *CELLS)
    assert torch.equal(both.logits, raw[:, :14])
    torch.testing.assert_close(both.offsets.flatten(1, 2), raw[:, 14:] * 2)  # 8 px at stride 4: two cells
    assert model.stride == 4


class Bright(nn.Module):
    """A trunk that lets the brightness of a cell through."""

    channels = 1

    def forward(self, images):
        return nn.functional.avg_pool2d(images.mean(1, keepdim=True), STRIDE)


def test_everybody_in_a_picture_with_boxes():
    """The whole way: all fourteen joints are where the picture is bright."""
    bright = GRMI(width=1)
    bright.trunk, bright.neck = Bright(), nn.Identity()
    bright.answers = nn.Conv2d(1, 42, 1)
    with torch.no_grad():
        bright.answers.weight.zero_()
        bright.answers.weight[:14] = 40.0
        bright.answers.bias.zero_()
        bright.answers.bias[:14] = -20.0
    picture = torch.zeros(3, 90, 200)
    for x, y in ((50, 40), (151, 47)):
        picture[:, y - 4 : y + 4, x - 4 : x + 4] = 1
    boxes = torch.tensor([[125.0, 20, 175, 80], [28.0, 10, 78, 70], [90.0, 20, 110, 60]])
    bright.detector = GivenBoxes([Found(boxes, torch.tensor([0.9, 0.8, 0.7]))])
    found = bright.estimate(picture)[0]
    assert [pose.box.tolist() for pose in found[:2]] == [boxes[0].tolist(), boxes[1].tolist()]
    for pose, true in zip(found, ([151.0, 47.0], [50.0, 40.0]), strict=False):
        assert float((pose.joints - torch.tensor(true)).abs().max()) < 1.5
    assert found[-1].score < 1e-3 < 0.05 < found[1].score


def test_mirrored_arrows_point_the_other_way(model):
    joints = bodies(4, seed=5)
    turned = geometry.flip_joints(joints, SIZE[1], LSP.swaps)
    averaged = model.flip_average(answer(joints), answer(turned))
    exact = answer(joints)
    torch.testing.assert_close(averaged.logits, exact.logits)
    inside = (exact.logits > 0)[:, :, None].expand_as(exact.offsets)
    torch.testing.assert_close(averaged.offsets[inside], exact.offsets[inside], rtol=0, atol=1e-4)
    beside = model.flip_average(answer(joints), answer(geometry.flip_joints(joints + 1.0, SIZE[1], LSP.swaps)))
    found = torch.stack([own[0].joints for own in model.decode(beside)])
    assert float((found - joints - 0.5).abs().max()) < 0.6
    box = torch.tensor([[0.0, 0, 40, 50]])
    assert len(model.estimate(torch.rand(3, 50, 40), box, flip_test=True)[0]) == 1


@pytest.mark.parametrize("rank_by", RANKS)
def test_people_are_ranked_as_asked(rank_by):
    torch.manual_seed(1)
    ranking = GRMI(rank_by=rank_by, **SMALL).eval()
    found = Found(torch.tensor([[0.0, 0, 30, 60], [10.0, 0, 50, 60]]), torch.tensor([0.9, 0.3]))
    poses = ranking.propose([torch.rand(3, 60, 60, generator=generator())], [found])[0]
    for pose, box in zip(poses, (0.9, 0.3), strict=True):
        peaks = float(pose.scores.mean())
        assert pose.score == pytest.approx({"peaks": peaks, "box": box, "product": peaks * box}[rank_by])
        assert peaks > 0
    told = ranking.estimate(torch.rand(3, 60, 60), torch.tensor([[0.0, 0, 30, 60], [-50.0, -50, -20, -20]]))[0]
    assert told[0].score > 0 and told[1].score == 0  # beside the picture, whatever the rank


def test_a_person_found_twice_is_kept_once(model):
    at = bodies(2, seed=6)
    pose = Pose(at[0], torch.ones(14), LSP, 0.6)
    near, far = replace(pose, joints=at[0] + 2.0, score=0.9), replace(pose, joints=at[1] + 300, score=0.1)
    assert model.suppress([pose, near, far]) == [near, far]
    strict = GRMI(same=1.0, **SMALL)
    assert len(strict.suppress([pose, near, far])) == 3


# --- what it weighs, and where it begins ------------------------------------------------------------------------------


def test_counts(model):
    assert parameters(model) == 550_068 and giga_multiply_adds(model) == pytest.approx(0.1791, abs=1e-4)
    assert parameters(model.answers) == 3 * 14 * 65 and model.input_size == SIZE


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"radius": 0.0}, "a positive radius"),
        ({"radius": math.nan}, "a positive radius"),
        ({"width": 0}, "a width of at least 1"),
        ({"same": 1.5}, r"an OKS in \[0, 1\]"),
        ({"rank_by": "peak"}, "did you mean 'peaks'"),
        ({"trunk": "resnet50"}, "did you mean 'resnet101'"),
    ],
)
def test_impossible_networks_are_refused(options, says):
    with pytest.raises(CourseError, match=says) as caught:
        GRMI(**options)
    assert "\n" not in str(caught.value)


def test_it_begins_from_an_hourglass_or_from_itself(tmp_path):
    file = tmp_path / "begin.safetensors"
    one_person = models.create("hourglass_course", input_size=(64, 32))
    checkpoints.save(file, one_person, HEADER)
    begun = models.create("grmi_course", **SMALL)
    answers = begun.answers.bias.clone()
    assert begun.begin_from(file)["model"] == "hourglass_course"
    first = one_person.stem[0].weight.half().float()
    assert torch.equal(begun.trunk.network.stem[0].weight, first) and torch.equal(begun.answers.bias, answers)
    begun.answers.bias.data.fill_(0.5)
    checkpoints.save(file, begun, HEADER)
    again = models.create("grmi_course", **SMALL)
    again.begin_from(file)
    assert again.answers.bias.unique().tolist() == [0.5] and torch.equal(again.trunk.network.stem[0].weight, first)
    loaded = models.load("grmi_course", file)
    assert loaded.options == {"width": 8, "input_size": [64, 32]} and loaded.input_size == (64, 32)
    another = models.create("alphapose_course", input_size=(64, 32))
    checkpoints.save(file, another, HEADER)
    again.begin_from(file)
    assert torch.equal(again.trunk.network.stem[0].weight, another.sppe.stem[0].weight.half().float())
    assert again.answers.bias.unique().tolist() == [0.5]
    checkpoints.save(file, tiny(), HEADER)
    with pytest.raises(CourseError, match="which has no part"):
        again.begin_from(file)


def test_the_papers_size_has_the_published_count():
    with torch.device("meta"):
        paper = models.create("grmi").eval()
        outputs = paper(torch.empty(1, 3, *paper.input_size))
    assert parameters(paper) == 42_604_659 and paper.input_size == (353, 257) and paper.stride == 8
    assert outputs.logits.shape == (1, 17, 45, 33) and outputs.offsets.shape == (1, 17, 2, 45, 33)
