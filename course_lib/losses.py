"""Losses that know which joints are labelled.

Every loss takes (prediction, target, labelled) and returns a scalar:

    heatmaps       prediction, target (..., K, H, W)    labelled (..., K)
    coordinates    prediction, target (..., K, 2)       labelled (..., K)

`labelled` is a mask or the `visible` codes themselves: above 0 counts. The mean is taken over labelled joints (not
over all joints: a picture with few labels is then not trained more gently). What an unlabelled joint holds, be it
NaN, never reaches the value or the gradient. With nobody labelled the loss is 0 and can still be differentiated. All
arithmetic is float32, because squares of small errors vanish in half precision.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.errors import CourseError

# --- heatmaps ---------------------------------------------------------------------------------------------------------


def heatmap_mse(prediction: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
    """Mean over cells of (H' - H)^2, averaged over labelled joints."""
    difference, labelled = _difference(prediction, target, labelled, ends=2)
    return _mean(difference.square().mean((-2, -1)), labelled)


def heatmap_l1(prediction: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
    """Mean over cells of |H' - H|, averaged over labelled joints."""
    difference, labelled = _difference(prediction, target, labelled, ends=2)
    return _mean(difference.abs().mean((-2, -1)), labelled)


def heatmap_cross_entropy(logits: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
    """- sum_p Q(p) log softmax(z)(p), where Q is the target scaled to sum to one: one peak in every map.

    A joint whose target is empty (it lies off the map) has no Q and counts as unlabelled.
    """
    labelled = _checked(logits, target, labelled, ends=2)
    target = torch.where(labelled[..., None, None], target.float(), 0.0).flatten(-2)
    mass = target.sum(-1)
    labelled = labelled & (mass > 0)
    share = target / torch.where(labelled, mass, 1.0)[..., None]
    logits = torch.where(labelled[..., None], logits.float().flatten(-2), 0.0)
    return _mean(-(share * F.log_softmax(logits, dim=-1)).sum(-1), labelled)


def ohkm(prediction: Tensor, target: Tensor, labelled: Tensor, keep: int = 8) -> Tensor:
    """Online hard keypoint mining (Chen et al., "Cascaded Pyramid Network", CVPR 2018) on the heatmap MSE.

    Every person's loss is the mean of its `keep` worst labelled joints. People weigh as many labelled joints as they
    have, so that keep = K is `heatmap_mse` and a smaller `keep` never lies below it.
    """
    if keep < 1:
        raise CourseError(f"ohkm must keep at least one joint; got keep={keep}")
    difference, labelled = _difference(prediction, target, labelled, ends=2)
    each = difference.square().mean((-2, -1))  # (..., K)
    count = labelled.sum(-1)  # (...)
    ranked = each.masked_fill(~labelled, -1.0)  # behind every labelled joint, whose loss is >= 0
    worst = ranked.topk(min(keep, each.shape[-1]), dim=-1).values.clamp(min=0)
    person = worst.sum(-1) / count.clamp(min=1, max=keep)
    return (person * count).sum() / count.sum().clamp(min=1)


# --- coordinates ------------------------------------------------------------------------------------------------------


def coordinate_l1(prediction: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
    """|dx| + |dy|, averaged over labelled joints."""
    difference, labelled = _difference(prediction, target, labelled, ends=1)
    return _mean(difference.abs().sum(-1), labelled)


def coordinate_l2(prediction: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
    """dx^2 + dy^2, averaged over labelled joints: DeepPose's loss."""
    difference, labelled = _difference(prediction, target, labelled, ends=1)
    return _mean(difference.square().sum(-1), labelled)


def coordinate_huber(prediction: Tensor, target: Tensor, labelled: Tensor, delta: float = 1.0) -> Tensor:
    """Per coordinate d^2 / 2 up to `delta`, delta (|d| - delta / 2) beyond: squares near, absolute values far."""
    difference, labelled = _difference(prediction, target, labelled, ends=1)
    each = F.huber_loss(difference, torch.zeros_like(difference), reduction="none", delta=delta).sum(-1)
    return _mean(each, labelled)


# --- what they share --------------------------------------------------------------------------------------------------


def _checked(prediction: Tensor, target: Tensor, labelled: Tensor, ends: int) -> Tensor:
    """The labelled mask (..., K), once the shapes are known to agree; `ends` axes follow K."""
    if prediction.shape != target.shape or labelled.shape != prediction.shape[:-ends]:
        raise CourseError(
            f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} must have one shape, and labelled "
            f"{tuple(labelled.shape)} the same without its last {'two axes' if ends == 2 else 'axis'}"
        )
    return labelled > 0


def _difference(prediction: Tensor, target: Tensor, labelled: Tensor, ends: int) -> tuple[Tensor, Tensor]:
    """prediction - target in float32, zero for unlabelled joints, and the mask."""
    labelled = _checked(prediction, target, labelled, ends)
    mask = labelled.reshape(*labelled.shape, *(1,) * ends)
    # masked before anything is squared: multiplying afterwards would turn a NaN target into a NaN gradient
    return torch.where(mask, prediction.float() - target.float(), 0.0), labelled


def _mean(each: Tensor, labelled: Tensor) -> Tensor:
    return torch.where(labelled, each, 0.0).sum() / labelled.sum().clamp(min=1)
