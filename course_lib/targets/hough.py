"""Hough voting: every cell says where it believes the joint is, and the place most agree on is the answer.

George Papandreou, Tyler Zhu, Nori Kanazawa, Alexander Toshev, Jonathan Tompson, Chris Bregler, Kevin Murphy, "Towards
Accurate Multi-person Pose Estimation in the Wild", CVPR 2017 (arXiv 1701.01779), known as G-RMI. For a crop around one
person the network answers, per joint k with the position l_k, with a probability and a vector at every cell x:

    h_k(x) = 1  where |x - l_k| <= R, else 0        F_k(x) = l_k - x  where h_k is 1, and nothing is asked elsewhere
    L      = 4 L_h + 1 L_o                          L_h logistic, everywhere; L_o Huber of |F_k - (l_k - x)|, in discs
    f_k(x) = 1 / (pi R^2) sum_i G(x_i + F_k(x_i) - x) h_k(x_i)          G(d) = max(0, 1 - |d_x|) max(0, 1 - |d_y|)
    score  = 1 / K sum_k max_x f_k(x)               of the person, in place of the detector's

The discs are flat, so the highest cell of h means nothing: it is F that says where. A vote is shared by the four cells
around it in such a way that their centre of mass is the vote; where all agree, the centre of mass of the cells around
the peak of f is the joint exactly, and not the centre of a cell. The height of that peak is another matter. With
perfect fields it is almost 1 for a joint at the centre of a cell, 1/2 on an edge, 1/4 on a corner; and a disc that is
cut off by the border has fewer voters, while pi R^2 stays. A score is therefore no probability.

All is in map units (see `heatmaps`), R too: at stride s it is 25 / s. The authors vote at the resolution of the crop,
to which they enlarge both fields; here the votes are counted on the map, whatever its stride.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.errors import CourseError
from course_lib.targets import heatmaps
from course_lib.targets.discs import Discs, discs

RADIUS = 25.0  # R, in pixels of a crop of 353 x 257
HEATMAP_WEIGHT, OFFSET_WEIGHT = 4.0, 1.0

# --- what the network is asked for ------------------------------------------------------------------------------------


class Targets(NamedTuple):
    """The discs of the person the crop is about, and the cells that count for the heatmaps (B, K, h, w)."""

    discs: Discs
    counted: Tensor


def targets(joints: Tensor, visible: Tensor, size: tuple[int, int], radius: float) -> Targets:
    """Of crops with people joints (B, N, K, 2), visible (B, N, K), the first of whom is meant, on maps `size` (h, w).

    What lies in the disc of somebody else's joint k, and not in that of the one who is meant, looks like a joint k and
    yet is no right answer: it does not count. An unlabelled joint counts nowhere. One beyond the map has a disc as far
    as that reaches into the map, or an empty map.
    """
    if joints.ndim != 4 or visible.shape != joints.shape[:-1] or joints.shape[1] == 0:
        raise CourseError(
            "a crop's targets need joints (B, N, K, 2) and visible (B, N, K) of N >= 1 people, the first of whom is "
            f"meant; got {tuple(joints.shape)} and {tuple(visible.shape)}"
        )
    own, others = (discs(joints[:, people], visible[:, people], size, radius) for people in (slice(1), slice(1, None)))
    labelled = (visible[:, 0] > 0)[..., None, None]
    return Targets(own, labelled & (own.inside | ~others.inside))


# --- losses -----------------------------------------------------------------------------------------------------------


def heatmap_loss(logits: Tensor, truth: Targets) -> Tensor:
    """L_h: the logistic loss of logits (B, K, h, w), averaged over the cells that count; log 2 where all are zero."""
    inside, counted = truth.discs.inside, truth.counted
    if logits.shape != inside.shape:
        raise CourseError(f"the logits must have the targets' shape {tuple(inside.shape)}; got {tuple(logits.shape)}")
    # masked first: what a cell that does not count holds, be it NaN, reaches neither the value nor the gradient
    logits = torch.where(counted, logits.float(), 0.0)
    each = F.binary_cross_entropy_with_logits(logits, inside.float(), reduction="none")
    return torch.where(counted, each, 0.0).sum() / counted.sum().clamp(min=1)


def offset_loss(offsets: Tensor, truth: Targets, stride: float = 1.0, delta: float = 1.0) -> Tensor:
    """L_o: Huber's loss of r = |F - (l - x)|, of offsets (B, K, 2, h, w), averaged over the cells in discs.

    r^2 / 2 up to `delta`, delta (r - delta / 2) beyond. The weights 4 and 1 are for pixels: `stride` turns what is in
    map units into these, and `delta` is in pixels. (How large the authors' is we could not verify; 1 is common.)
    """
    shape = truth.discs.inside.shape
    if offsets.shape != (*shape[:2], 2, *shape[2:]) or not stride > 0 or not delta > 0:
        raise CourseError(
            f"the offset loss needs offsets {(*shape[:2], 2, *shape[2:])} and a positive stride and delta; got "
            f"{tuple(offsets.shape)}, {stride} and {delta}"
        )
    picture, joint, row, column = truth.discs.where
    difference = offsets[picture, joint, :, row, column].float() - truth.discs.offset
    square = (stride * difference).square().sum(-1)
    far = square > delta**2
    distance = torch.where(far, square, 1.0).sqrt()  # where it is near zero the root has no gradient to be used
    each = torch.where(far, delta * (distance - delta / 2), square / 2)
    return each.sum() / max(len(each), 1)


def losses(
    logits: Tensor,
    offsets: Tensor,
    truth: Targets,
    stride: float = 1.0,
    weights: tuple[float, float] = (HEATMAP_WEIGHT, OFFSET_WEIGHT),
) -> dict[str, Tensor]:
    """Both losses as "heatmaps" and "offsets", each with its weight, and their sum "total"."""
    heat, offset = weights[0] * heatmap_loss(logits, truth), weights[1] * offset_loss(offsets, truth, stride)
    return {"total": heat + offset, "heatmaps": heat, "offsets": offset}


# --- reading the answer -----------------------------------------------------------------------------------------------


def vote(heat: Tensor, offsets: Tensor, radius: float, margin: int = 0) -> Tensor:
    """f (..., h + 2 margin, w + 2 margin), of probabilities heat (..., h, w) and offsets (..., 2, h, w).

    The map of f is `margin` cells larger on all sides; what falls beyond it is lost, of a vote across its border the
    part beyond. Fields that are not finite have no votes. Can be differentiated.
    """
    if heat.ndim < 2 or offsets.shape != (*heat.shape[:-2], 2, *heat.shape[-2:]) or not radius > 0 or margin < 0:
        raise CourseError(
            "voting needs heat (..., h, w), offsets (..., 2, h, w), a positive radius and a margin of 0 or more; got "
            f"{tuple(heat.shape)}, {tuple(offsets.shape)}, {radius} and {margin}"
        )
    (height, width), device = heat.shape[-2:], heat.device
    high, wide = height + 2 * margin, width + 2 * margin
    heat, offsets = heat.float(), offsets.float()
    finite = (heat.isfinite() & offsets.isfinite().all(-3)).all(-1).all(-1)[..., None, None]
    heat = torch.where(finite, heat, 0.0)
    # column and row of the vote, where whole numbers are the centres of cells: the + 0.5 of x_i and that of x cancel
    across = torch.where(finite, offsets[..., 0, :, :], 0.0) + torch.arange(width, device=device) + margin
    down = torch.where(finite, offsets[..., 1, :, :], 0.0) + torch.arange(height, device=device)[:, None] + margin
    # far away is as lost as just outside, and no whole number overflows
    across, down = across.clamp(-1, wide).flatten(-2), down.clamp(-1, high).flatten(-2)
    heat = heat.flatten(-2)
    left, top = across.detach().floor().long(), down.detach().floor().long()
    votes = heat.new_zeros(*heat.shape[:-1], high * wide)
    for column in (left, left + 1):
        for row in (top, top + 1):
            share = (1 - (across - column).abs()) * (1 - (down - row).abs())
            inside = (column >= 0) & (column < wide) & (row >= 0) & (row < high)
            index = torch.where(inside, row * wide + column, 0)
            votes = votes.scatter_add(-1, index, torch.where(inside, share * heat, 0.0))
    return votes.unflatten(-1, (high, wide)) / (math.pi * radius**2)


def decode(heat: Tensor, offsets: Tensor, radius: float, margin: int = 1, reach: int = 2) -> tuple[Tensor, Tensor]:
    """Joints (..., K, 2) and scores (..., K), the peaks of f, of heat (..., K, h, w) and offsets (..., K, 2, h, w).

    margin: how many cells beyond the map a joint may be found; with 1 no joint of the map is cut off by its border.
    reach: the joint is the centre of mass of the (2 reach + 1)^2 cells around the peak; with 0 the centre of its cell,
        which is the paper's argmax. 1 is enough for votes that agree, 2 for some that are a cell or two apart.
    Where there are no votes the score is 0 and the joint the centre of the first cell.
    """
    joints, scores = heatmaps.centroid(vote(heat, offsets, radius, margin), radius=reach)
    return torch.where((scores > 0)[..., None], joints - margin, 0.5), scores


def person_score(scores: Tensor) -> Tensor:
    """The score (...) of people whose joints have the peaks scores (..., K): their mean, over all K joints.

    A detector's score says how surely there is a person; this one how surely the joints are found, which is what the
    average precision of poses ranks by. Joints that were not found count, with 0. (That the peaks take the
    detector's place is the paper's idea; that it is their plain mean we could not verify.)
    """
    if scores.ndim < 1 or scores.shape[-1] == 0:
        raise CourseError(f"a person's score needs the scores (..., K) of K >= 1 joints; got {tuple(scores.shape)}")
    return scores.mean(-1)
