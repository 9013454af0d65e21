"""OKS, object keypoint similarity: COCO's answer to "how alike are two poses?", between 0 and 1.

    OKS = mean over labelled joints of  exp( -d_i^2 / (2 s^2 k_i^2) ),    s^2 = segment area,  k_i = 2 sigma_i

sigma_i is how far human annotators scatter at joint i, in units of s: an error of one sigma scores exp(-1/8)
= 0.8825. The classic bug is k_i = sigma_i. The area is that of the person's *segment*, not of the box. Hidden
joints count like visible ones; unlabelled joints, and what the system says about visibility, do not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from course_lib.errors import CourseError
from course_lib.metrics.marks import exact, labelled_joints
from course_lib.skeletons import Skeleton, get

Sigmas = str | Skeleton | Sequence[float] | Tensor
TINY = float(np.spacing(1))  # what the official code adds to an area, so that zero does not divide


def sigmas_of(sigmas: Sigmas) -> Tensor:
    """The K sigmas (K,) of a skeleton, by name or itself; numbers pass through."""
    values = exact(get(sigmas).sigmas if isinstance(sigmas, str | Skeleton) else sigmas)
    if values.ndim != 1 or not bool((values > 0).all()):
        raise CourseError("sigmas must be one positive number for each joint")
    return values


def oks(
    estimated: Tensor,
    true: Tensor,
    visible: Tensor,
    area: Tensor | float,
    sigmas: Sigmas = "coco",
    boxes: Tensor | None = None,
) -> Tensor:
    """OKS (...) of estimated (..., K, 2) and true (..., K, 2), visible (..., K), area (...), all broadcast.

    A person with no labelled joint is compared by its box (..., 4): each estimated joint's distance to the
    box grown by its own width and height on every side, 0 inside, over all K joints. Without boxes the answer
    is 0. An estimated joint that is not finite adds 0.
    """
    estimated, true, area, sigmas = exact(estimated), exact(true), exact(area), sigmas_of(sigmas)
    labelled = labelled_joints(true, visible)
    if estimated.shape[-2:] != (len(sigmas), 2) or true.shape[-2:] != (len(sigmas), 2):
        raise CourseError(
            f"OKS with {len(sigmas)} sigmas needs joints (..., {len(sigmas)}, 2); got {tuple(estimated.shape)} and "
            f"{tuple(true.shape)}"
        )
    if not bool((area >= 0).all()):
        raise CourseError(f"a person's area must be 0 or more; got {area.flatten()[~(area >= 0).flatten()][0]:g}")
    shape = torch.broadcast_shapes(estimated.shape[:-2], true.shape[:-2], labelled.shape[:-1], area.shape)
    estimated = estimated.expand(*shape, *estimated.shape[-2:])
    boxes = None if boxes is None else exact(boxes).numpy()
    arrays = (values.numpy() for values in (estimated, true, labelled, area, sigmas))
    return torch.as_tensor(likeness(*arrays, boxes))


def likeness(
    estimated: np.ndarray,
    true: np.ndarray,
    labelled: np.ndarray,
    area: np.ndarray,
    sigmas: np.ndarray,
    boxes: np.ndarray | None = None,
) -> np.ndarray:
    """`oks` on arrays: labelled bool, estimated of the full shape, nothing checked.

    In numpy, because torch's threads do not pay on arrays this small, least of all on a busy machine.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        offset = estimated - true
        nobody = ~labelled.any(-1)  # (...)
        if boxes is not None and nobody.any():
            which = np.broadcast_to(nobody, offset.shape[:-2])
            joints, box = np.broadcast_to(estimated, offset.shape), np.broadcast_to(boxes, (*which.shape, 4))
            offset[which] = _outside(joints[which], box[which])
            labelled = labelled | nobody[..., None]
        offset *= offset
        alike = offset[..., 0] + offset[..., 1]  # d^2 (..., K); in place from here on, for speed
        alike /= -2 * (2 * sigmas) ** 2
        alike /= area[..., None] + TINY
        np.exp(alike, out=alike)
    np.fmax(alike, 0.0, out=alike)  # NaN, a missing estimate, is not alike at all
    alike *= labelled
    return alike.sum(-1) / np.maximum(labelled.sum(-1), 1)


def oks_matrix(
    estimated: Tensor,
    true: Tensor,
    visible: Tensor,
    area: Tensor,
    sigmas: Sigmas = "coco",
    boxes: Tensor | None = None,
) -> Tensor:
    """OKS of every estimate (D, K, 2) with every person (G, K, 2), visible (G, K), area (G,), boxes (G, 4): (D, G)."""
    boxes = None if boxes is None else exact(boxes)[None]
    return oks(exact(estimated)[:, None], exact(true)[None], visible[None], exact(area)[None], sigmas, boxes)


def oks_radius(threshold: float, area: Tensor | float, sigmas: Sigmas = "coco") -> Tensor:
    """How far off a joint alone scores `threshold`: r = 2 sigma s sqrt(-2 ln t). (..., K) pixels for area (...)."""
    if not 0 < threshold <= 1:
        raise CourseError(f"an OKS threshold lies above 0 and at most at 1; got {threshold}")
    return 2 * sigmas_of(sigmas) * exact(area).sqrt()[..., None] * math.sqrt(-2 * math.log(threshold))


def _outside(joints: np.ndarray, box: np.ndarray) -> np.ndarray:
    """How far (..., K, 2) joints lie outside of the box (..., 4) grown threefold, along x and y."""
    low, high = box[..., None, :2], box[..., None, 2:]
    side = high - low
    return np.maximum(low - side - joints, 0) + np.maximum(joints - (low + side * 2), 0)
