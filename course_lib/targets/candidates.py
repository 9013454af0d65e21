"""Candidates: every place of a map where a joint of somebody may be, for systems that look at everybody at once.

One person's joint is read out of a map by `heatmaps.read_out`, which takes the highest cell; here all peaks count.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.errors import CourseError


class Candidates(NamedTuple):
    """points (C, 2), scores (C,), joints (C,) which joint each is; in the order of the joints, the highest first."""

    points: Tensor
    scores: Tensor
    joints: Tensor

    def table(self, joints: int) -> Tensor:
        """The candidates of every joint, (K, M), -1 where there are no more."""
        count = torch.bincount(self.joints, minlength=joints)
        rank = torch.arange(len(self.joints)) - (count.cumsum(0) - count)[self.joints]
        table = torch.full((joints, int(count.max()) if len(self.joints) else 0), -1)
        table[self.joints, rank] = torch.arange(len(self.joints))
        return table


def peaks(maps: Tensor, threshold: float = 0.1, radius: int = 1, most: int = 128, refine: bool = True) -> Candidates:
    """The local maxima above `threshold` of maps (K, H, W), at most the `most` highest of every joint.

    A peak is at least as high as all cells within `radius`; of equal ones the first counts. To `refine` it, it is moved
    to the top of the parabola through the logs of its neighbours on each axis, which for a Gaussian is its centre,
    exactly; else it is the centre of its cell.
    """
    if maps.ndim != 3 or radius < 1 or most < 1 or not threshold >= 0:
        raise CourseError(
            "peaks needs maps (K, H, W), a radius and a number of candidates of at least 1 and a threshold of at least "
            f"0; got {tuple(maps.shape)}, {radius}, {most} and {threshold}"
        )
    maps = maps.detach().float().cpu()
    maps = torch.where(maps.isfinite(), maps, 0.0)
    height, width = maps.shape[-2:]
    padded = F.pad(maps, (radius,) * 4, value=-torch.inf)
    top = maps > threshold
    for y in range(2 * radius + 1):
        for x in range(2 * radius + 1):
            other = padded[:, y : y + height, x : x + width]
            if (y, x) < (radius, radius):  # this cell comes before: where they are equal, it is the peak
                top &= maps > other
            elif (y, x) > (radius, radius):
                top &= maps >= other
    joint, row, column = top.nonzero(as_tuple=True)
    scores = maps[joint, row, column]
    order = torch.argsort(scores, descending=True, stable=True)
    order = order[torch.argsort(joint[order], stable=True)]
    joint, row, column, scores = joint[order], row[order], column[order], scores[order]
    rank = torch.arange(len(joint)) - torch.searchsorted(joint, joint)
    joint, row, column, scores = (values[rank < most] for values in (joint, row, column, scores))
    if not refine:
        return Candidates(torch.stack([column, row], dim=-1) + 0.5, scores, joint)
    logs = F.pad(maps, (1, 1, 1, 1), value=torch.nan).clamp(min=1e-10).log()
    middle = logs[joint, row + 1, column + 1]
    x = column + 0.5 + _vertex(logs[joint, row + 1, column], middle, logs[joint, row + 1, column + 2])
    y = row + 0.5 + _vertex(logs[joint, row, column + 1], middle, logs[joint, row + 2, column + 1])
    return Candidates(torch.stack([x, y], dim=-1), scores, joint)


def _vertex(before: Tensor, middle: Tensor, after: Tensor) -> Tensor:
    """From a highest cell to the top of the parabola: at most half a cell. 0 at the border and where all are equal."""
    bend = before - 2 * middle + after
    step = (before - after) / (2 * bend)
    return torch.where(step.isfinite(), step, 0.0).clamp(-0.5, 0.5)
