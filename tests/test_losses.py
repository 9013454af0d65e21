"""Losses: values by hand, and unlabelled joints that never count."""

import math
from itertools import pairwise

import pytest
import torch

from course_lib import losses
from course_lib.errors import CourseError
from course_lib.targets import heatmaps

MAPS = [losses.heatmap_mse, losses.heatmap_l1, losses.heatmap_cross_entropy, losses.ohkm]
COORDINATES = [losses.coordinate_l1, losses.coordinate_l2, losses.coordinate_huber]
every_loss = pytest.mark.parametrize("loss", MAPS + COORDINATES, ids=lambda loss: loss.__name__)


def example(loss, people=3, joints=4, seed=0):
    """Prediction (with gradient), target and labels: the first person lacks a joint, the last one all."""
    generator = torch.Generator().manual_seed(seed)
    shape = (people, joints, 6, 5) if loss in MAPS else (people, joints, 2)
    prediction = torch.randn(shape, generator=generator).requires_grad_()
    target = torch.rand(shape, generator=generator)
    labelled = torch.full((people, joints), 2)
    labelled[0, 1], labelled[1, 0], labelled[-1] = 0, 1, 0
    return prediction, target, labelled


# --- values -----------------------------------------------------------------------------------------------------------


def test_values_by_hand():
    labelled = torch.tensor([[1, 0]])
    maps, target = torch.tensor([[[[1.0, 0.0]], [[9.0, 9.0]]]]), torch.tensor([[[[0.0, 0.5]], [[0.0, 0.0]]]])
    assert float(losses.heatmap_mse(maps, target, labelled)) == (1 + 0.25) / 2
    assert float(losses.heatmap_l1(maps, target, labelled)) == (1 + 0.5) / 2
    expected = -math.log(1 / (1 + math.e))  # all of the target's mass is on the second cell
    assert float(losses.heatmap_cross_entropy(maps, target, labelled)) == pytest.approx(expected)
    joints, truth = torch.tensor([[[3.0, 0.5], [7.0, 7.0]]]), torch.zeros(1, 2, 2)
    assert float(losses.coordinate_l1(joints, truth, labelled)) == 3.5
    assert float(losses.coordinate_l2(joints, truth, labelled)) == 9.25
    assert float(losses.coordinate_huber(joints, truth, labelled)) == 2.5 + 0.125


def test_the_mean_is_over_labelled_joints_not_over_all():
    prediction, target = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    for labelled in ([[1, 1, 1], [1, 1, 1]], [[1, 0, 0], [0, 0, 0]]):
        assert float(losses.heatmap_mse(prediction, target, torch.tensor(labelled))) == 1


def test_an_all_zero_answer_costs_the_zero_level():
    joints = 20 + 24 * torch.rand(8, 14, 2, generator=torch.Generator().manual_seed(0))
    target = heatmaps.gaussian(joints, (64, 64), 2.0)
    cost = losses.heatmap_mse(torch.zeros_like(target), target, torch.ones(8, 14))
    assert float(cost) == pytest.approx(heatmaps.zero_level((64, 64), 2.0), rel=0.01)


def test_cross_entropy_is_least_where_the_softmax_is_the_target():
    target = heatmaps.gaussian(torch.tensor([[[3.2, 2.4]]]), (6, 6), 1.0)
    best = target.log().requires_grad_()
    loss = losses.heatmap_cross_entropy(best, target, torch.ones(1, 1))
    loss.backward()
    assert float(best.grad.abs().max()) < 1e-6
    share = target / target.sum()
    assert float(loss.detach()) == pytest.approx(float(-(share * share.log()).sum()), rel=1e-5)


def test_cross_entropy_leaves_out_joints_that_lie_off_the_map():
    target = heatmaps.gaussian(torch.tensor([[[3.2, 2.4], [900.0, 0.0]]]), (6, 6), 1.0)
    logits = torch.randn(1, 2, 6, 6).requires_grad_()
    both = losses.heatmap_cross_entropy(logits, target, torch.ones(1, 2))
    both.backward()
    assert torch.equal(both, losses.heatmap_cross_entropy(logits, target, torch.tensor([[1, 0]])))
    assert float(logits.grad[0, 1].abs().sum()) == 0 and logits.grad.isfinite().all()


# --- unlabelled joints ------------------------------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize("junk", [0.0, 1e6, math.nan, math.inf])
def test_what_unlabelled_joints_hold_changes_nothing(loss, junk):
    prediction, target, labelled = example(loss)
    value = loss(prediction, target, labelled)
    target = target.clone()
    target[labelled == 0] = junk
    again = loss(prediction, target, labelled)
    again.backward()
    assert torch.equal(again, value) and value > 0
    assert bool((prediction.grad[labelled == 0] == 0).all()) and prediction.grad.isfinite().all()
    assert float(prediction.grad[labelled > 0].abs().sum()) > 0


@every_loss
def test_with_nobody_labelled_the_loss_is_zero_and_still_has_a_gradient(loss):
    prediction, target, labelled = example(loss)
    value = loss(prediction, target * math.nan, labelled * 0)
    value.backward()
    assert float(value) == 0 and bool((prediction.grad == 0).all())


@every_loss
def test_masks_of_any_kind_and_further_axes_are_taken(loss):
    prediction, target, labelled = example(loss)
    value = loss(prediction, target, labelled)
    assert torch.equal(loss(prediction, target, labelled > 0), value)
    assert torch.equal(loss(prediction, target, labelled.float()), value)
    stages = loss(
        prediction[None].expand(2, *prediction.shape), target.expand(2, *target.shape), labelled.expand(2, 3, 4)
    )
    assert float(stages) == pytest.approx(float(value), rel=1e-5)


@every_loss
def test_half_precision_is_computed_in_full(loss):
    prediction, target, labelled = example(loss)
    small = (prediction.detach() * 1e-3).half()
    truth = torch.zeros_like(target) if loss is not losses.heatmap_cross_entropy else target
    value = loss(small, truth.half(), labelled)
    assert value.dtype == torch.float32 and value > 0
    assert torch.equal(value, loss(small.float(), truth.half().float(), labelled))


@every_loss
def test_shapes_that_do_not_fit_are_refused(loss):
    prediction, target, labelled = example(loss)
    with pytest.raises(CourseError, match="must have one shape"):
        loss(prediction, target[:, :1], labelled)
    with pytest.raises(CourseError, match="must have one shape"):
        loss(prediction, target, labelled[:, :1])


# --- online hard keypoint mining --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_keeping_all_joints_is_the_plain_mean_and_keeping_fewer_is_never_less(seed):
    prediction, target, _ = example(losses.ohkm, people=6, joints=9, seed=seed)
    labelled = (torch.rand(6, 9, generator=torch.Generator().manual_seed(seed)) > 0.5).int()
    plain = losses.heatmap_mse(prediction, target, labelled)
    kept = [losses.ohkm(prediction, target, labelled, keep=keep) for keep in range(1, 12)]
    assert float(kept[8]) == pytest.approx(float(plain), rel=1e-5) == pytest.approx(float(kept[10]), rel=1e-5)
    assert all(float(few) >= float(more) - 1e-6 for few, more in pairwise(kept))


def test_a_person_with_one_easy_joint_does_not_make_mining_gentler_than_the_mean():
    prediction = torch.zeros(2, 10, 1, 1)
    prediction[0] = 1
    labelled = torch.ones(2, 10)
    labelled[1, 1:] = 0
    target = torch.zeros_like(prediction)
    assert losses.ohkm(prediction, target, labelled, keep=1) >= losses.heatmap_mse(prediction, target, labelled)


def test_only_the_hardest_joints_get_a_gradient():
    prediction = torch.tensor([[1.0, 3.0, 2.0, 9.0]]).view(1, 4, 1, 1).requires_grad_()
    losses.ohkm(prediction, torch.zeros(1, 4, 1, 1), torch.tensor([[1, 1, 1, 0]]), keep=2).backward()
    assert prediction.grad.flatten().tolist() == [0, 3, 2, 0]


def test_ties_and_too_few_labels_are_no_trouble():
    prediction = torch.ones(2, 5, 2, 2, requires_grad=True)
    labelled = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 0, 0]])
    value = losses.ohkm(prediction, torch.zeros(2, 5, 2, 2), labelled, keep=3)
    value.backward()
    assert float(value) == 1 and prediction.grad.isfinite().all()
    with pytest.raises(CourseError, match="at least one joint"):
        losses.ohkm(prediction, torch.zeros(2, 5, 2, 2), labelled, keep=0)
