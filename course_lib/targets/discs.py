"""Discs: the cells around every joint, whose joint it is, and how far it is from each of them.

    inside_c(p) = 1   where |p - x_c| <= radius for somebody's joint x_c;   then   offset_c(p) = x_c - p

A network that is asked for both says twice where a joint is: roughly, by which cells it marks, and exactly, by where
each of them points. Discs of several people may overlap; a cell belongs to the nearer joint. All is in map units (see
`heatmaps`). DeeperCut's discs have a radius of 17 pixels in pictures whose people are some 340 pixels high.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.errors import CourseError


class Discs(NamedTuple):
    """inside (B, K, h, w) bool, and of its n cells, in the order of `inside.nonzero()`, whose they are."""

    inside: Tensor
    where: tuple[Tensor, Tensor, Tensor, Tensor]  # picture, joint, row, column, each (n,)
    owner: Tensor  # (n,) which person
    offset: Tensor  # (n, 2) from the cell's centre to the joint


def discs(joints: Tensor, visible: Tensor, size: tuple[int, int], radius: float) -> Discs:
    """Of people joints (B, N, K, 2), visible (B, N, K), who is missing unlabelled, on maps of `size` (h, w)."""
    if joints.ndim != 4 or joints.shape[-1] != 2 or visible.shape != joints.shape[:-1] or not radius > 0:
        raise CourseError(
            "discs need joints (B, N, K, 2), visible (B, N, K) and a positive radius; got "
            f"{tuple(joints.shape)}, {tuple(visible.shape)} and {radius}"
        )
    labelled = visible > 0
    joints = torch.where(labelled[..., None], joints.float(), 0.0)
    if not bool(joints.isfinite().all()):
        raise CourseError("a labelled joint must lie at finite coordinates; some are NaN or infinite")
    batch, people, count = visible.shape
    x, y = (torch.arange(n, device=joints.device) + 0.5 for n in (size[1], size[0]))
    nearest = torch.full((batch, count, *size), torch.inf, device=joints.device)
    owner = torch.zeros(nearest.shape, dtype=torch.long, device=joints.device)
    for person in range(people):  # one after the other: all at once needs N times the memory
        across = (x - joints[:, person, :, 0, None]).square()  # (B, K, w)
        down = (y - joints[:, person, :, 1, None]).square()  # (B, K, h)
        distance = down[..., :, None] + across[..., None, :]
        distance = torch.where(labelled[:, person, :, None, None], distance, torch.inf)
        owner = torch.where(distance < nearest, person, owner)
        nearest = torch.minimum(nearest, distance)
    inside = nearest <= radius**2
    picture, joint, row, column = where = inside.nonzero(as_tuple=True)
    owner = owner[where]
    cell = torch.stack([column, row], dim=-1) + 0.5
    return Discs(inside, where, owner, joints[picture, owner, joint] - cell)
