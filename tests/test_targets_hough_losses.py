"""What a network that votes is asked for, and its losses: against their definitions, and what must not count."""

import math

import pytest
import torch
from hough_helpers import SIZE, cells, fields, places

from course_lib.errors import CourseError
from course_lib.targets import hough

# --- targets ----------------------------------------------------------------------------------------------------------


def test_targets_of_one_joint():
    joint = torch.tensor([100.3, 80.7])
    truth = hough.targets(joint.view(1, 1, 1, 2), torch.ones(1, 1, 1), (160, 200), hough.RADIUS)
    _, _, row, column = truth.discs.where
    found = torch.stack([column, row], -1) + 0.5 + truth.discs.offset
    torch.testing.assert_close(found, joint.expand_as(found), atol=1e-5, rtol=0)
    assert len(found) == pytest.approx(math.pi * 625, rel=0.01) and bool(truth.counted.all())


def test_neighbours_do_not_count_and_the_person_always_does():
    here, there = [8.0, 12.0], [11.0, 12.0]
    joints = torch.tensor([[[here, here], [there, there], [[math.nan] * 2, there]]])  # (1, N = 3, K = 2, 2)
    visible = torch.tensor([[[2, 0], [1, 2], [0, 1]]])
    truth = hough.targets(joints, visible, SIZE, 3.0)
    alone = hough.targets(joints[:, :1], visible[:, :1], SIZE, 3.0)
    neighbour = hough.targets(joints[:, 1:2], visible[:, 1:2], SIZE, 3.0).discs.inside
    assert torch.equal(truth.discs.inside, alone.discs.inside) and bool(alone.counted[0, 0].all())
    assert bool((truth.discs.inside & neighbour)[0, 0].any())  # the discs overlap, and there the person answers
    assert torch.equal(truth.counted[0, 0], ~neighbour[0, 0] | alone.discs.inside[0, 0])
    assert not truth.counted[0, 1].any() and not truth.discs.inside[0, 1].any()  # unlabelled, whoever else is there


# --- losses -----------------------------------------------------------------------------------------------------------


def random_case(seed=5):
    generator = torch.Generator().manual_seed(seed)
    joints = places(4 * 2 * 3, SIZE, seed, beyond=4).view(4, 2, 3, 2)
    visible = torch.randint(0, 3, joints.shape[:-1], generator=generator)
    joints[visible == 0] = math.nan
    truth = hough.targets(joints, visible, SIZE, 3.1)
    logits = torch.randn(4, 3, *SIZE, generator=generator)
    offsets = torch.randn(4, 3, 2, *SIZE, generator=generator) * 2
    return joints, truth, logits, offsets


@pytest.mark.parametrize(("stride", "delta"), [(1.0, 1.0), (8.0, 2.5)])
def test_losses_are_what_the_definitions_say(stride, delta):
    joints, truth, logits, offsets = random_case()
    counted, inside = truth.counted, truth.discs.inside
    probability = torch.where(inside, logits.sigmoid(), (-logits).sigmoid())
    torch.testing.assert_close(hough.heatmap_loss(logits, truth), -probability[counted].log().mean())
    vectors = joints[:, 0, :, :, None, None] - cells(SIZE)  # (B, K, 2, h, w)
    far = stride * (offsets - vectors).norm(dim=2)[inside]
    expected = torch.where(far <= delta, far**2 / 2, delta * (far - delta / 2)).mean()
    torch.testing.assert_close(hough.offset_loss(offsets, truth, stride, delta), expected)


def test_the_papers_weights():
    _, truth, logits, offsets = random_case()
    terms = hough.losses(logits, offsets, truth, stride=4)
    torch.testing.assert_close(terms["heatmaps"], 4 * hough.heatmap_loss(logits, truth))
    torch.testing.assert_close(terms["offsets"], hough.offset_loss(offsets, truth, stride=4))
    torch.testing.assert_close(terms["total"], terms["heatmaps"] + terms["offsets"])
    nothing = hough.losses(torch.zeros_like(logits), offsets, truth)
    assert float(nothing["heatmaps"]) == pytest.approx(4 * math.log(2))
    assert hough.losses(logits, offsets, truth, weights=(0, 0))["total"] == 0


def test_what_does_not_count_has_no_gradient():
    _, truth, logits, offsets = random_case()
    inside = truth.discs.inside[:, :, None].expand_as(offsets)
    logits[~truth.counted], offsets[~inside] = math.nan, math.nan
    logits.requires_grad_(), offsets.requires_grad_()
    hough.losses(logits, offsets, truth)["total"].backward()
    assert torch.equal(logits.grad != 0, truth.counted) and torch.equal(offsets.grad != 0, inside)
    assert logits.grad.isfinite().all() and offsets.grad.isfinite().all()


def test_perfect_offsets_have_no_loss_and_a_finite_gradient():
    joints = places(3, SIZE)
    _, offsets = fields(joints, SIZE, 3.1)
    truth = hough.targets(joints[:, None], torch.ones(3, 1, 1), SIZE, 3.1)
    loss = hough.offset_loss(offsets.requires_grad_(), truth)
    loss.backward()
    assert float(loss.detach()) == 0 and float(offsets.grad.abs().max()) == 0


def test_a_joint_outside_has_an_empty_map_that_counts():
    truth = hough.targets(torch.full((1, 1, 2, 2), -40.0), torch.tensor([[[1, 0]]]), SIZE, 3.1)
    assert not truth.discs.inside.any() and truth.counted.flatten(2).all(-1).tolist() == [[True, False]]
    logits = torch.zeros(1, 2, *SIZE)
    terms = hough.losses(logits - 20, torch.ones(1, 2, 2, *SIZE), truth)
    assert float(terms["total"]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("pictures", [0, 2])
def test_nobody_labelled_and_an_empty_batch(pictures):
    truth = hough.targets(torch.full((pictures, 1, 3, 2), math.nan), torch.zeros(pictures, 1, 3), SIZE, 3.1)
    logits = torch.randn(pictures, 3, *SIZE, requires_grad=True)
    offsets = torch.randn(pictures, 3, 2, *SIZE, requires_grad=True)
    total = hough.losses(logits, offsets, truth)["total"]
    total.backward()
    assert float(total.detach()) == 0 and not logits.grad.any() and not offsets.grad.any()
    joints, scores = hough.decode(logits.detach().sigmoid(), offsets.detach(), 3.1)
    assert joints.shape == (pictures, 3, 2) and scores.shape == (pictures, 3)
    assert hough.person_score(scores).shape == (pictures,)


def test_bad_input():
    _, truth, logits, offsets = random_case()
    for people in (torch.zeros(2, 0, 3, 2), torch.zeros(2, 3, 2)):
        with pytest.raises(CourseError, match="of N >= 1 people"):
            hough.targets(people, torch.zeros(people.shape[:-1]), SIZE, 3.0)
    with pytest.raises(CourseError, match="a positive radius; got"):
        hough.targets(torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1), SIZE, 0.0)
    with pytest.raises(CourseError, match="finite coordinates"):
        hough.targets(torch.full((1, 1, 1, 2), math.nan), torch.ones(1, 1, 1), SIZE, 3.0)
    with pytest.raises(CourseError, match="the targets' shape"):
        hough.heatmap_loss(logits[:, :2], truth)
    for wrong in ({"offsets": offsets[:, :, 0]}, {"stride": 0}, {"delta": -1.0}):
        with pytest.raises(CourseError, match="a positive stride and delta; got"):
            hough.offset_loss(**{"offsets": offsets, "truth": truth, **wrong})
