"""The model of a body: what states a part has, who hangs on whom, and the springs between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.errors import CourseError


@dataclass(frozen=True)
class Grid:
    """The states of a part: scales x rotations x rows x columns. Cell (r, c) has its centre at (c + 0.5, r + 0.5)
    strides; rotation k turns by 2 pi k / rotations, clockwise on the screen as in `geometry.similarity`."""

    size: tuple[int, int]
    stride: int
    rotations: int
    scales: tuple[float, ...]

    def __post_init__(self) -> None:
        if min(*self.size, self.stride, self.rotations) < 1:
            raise CourseError(f"a grid needs at least one cell, one pixel a cell and one rotation; got {self}")
        rising = all(a < b for a, b in zip(self.scales, self.scales[1:], strict=False))
        if not self.scales or not rising or not all(0 < scale < math.inf for scale in self.scales):
            raise CourseError(f"the scales of a grid must be positive and increasing; got {self.scales}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self.scales), self.rotations, *self.size)

    def offsets(self, points: Tensor) -> Tensor:
        """Points (..., 2) of a part's own frame, in cells from the part's own cell, for every scale and rotation:
        (..., S, R, 2) integers x, y."""
        # on the CPU, in double precision: all dtypes and devices must round alike
        x, y = points.detach().cpu().double()[..., None, None, :].unbind(-1)
        angle = torch.arange(self.rotations, dtype=torch.float64) * (2 * math.pi / self.rotations)
        turned = torch.stack([angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y], dim=-1)
        scales = torch.tensor(self.scales, dtype=torch.float64)[:, None, None]
        return (scales * turned / self.stride).round().long().to(points.device)


class Joints(NamedTuple):
    """The springs, at the child's index (the root's are not read); with a leading dimension B, one set a picture."""

    at_parent: Tensor  # (P, 2) the joint in the parent's own frame, pixels at scale 1
    at_child: Tensor  # (P, 2) the same joint in the child's own frame
    spread: Tensor  # (P, 2) standard deviation of the mismatch along the picture's x and y, pixels
    angle: Tensor  # (P,) preferred theta_child - theta_parent, radians
    kappa: Tensor  # (P,) how strictly it is kept; 0 is free
    stretch: Tensor  # (P,) preferred log s_child - log s_parent
    stretch_spread: Tensor  # (P,) its standard deviation

    def to(self, dtype: torch.dtype) -> Joints:
        """The springs in another precision; places keep theirs, so that they are rounded to cells as before."""
        return Joints(*self[:2], *(value.to(dtype) for value in self[2:]))


# --- the tree ---------------------------------------------------------------------------------------------------------


def order(parents: Sequence[int], names: Sequence[str] | None = None) -> tuple[int, ...]:
    """The parts, every part before its parent, the root last."""
    return tuple(part for level in reversed(levels(parents, names)) for part in level)


def levels(parents: Sequence[int], names: Sequence[str] | None = None) -> list[list[int]]:
    """The parts by their depth: the root, its children, their children, ..."""
    if not len(parents):
        raise CourseError("a tree needs at least one part; got none")
    if names is not None and len(names) != len(parents):
        raise CourseError(f"a tree of {len(parents)} parts has {len(names)} names; it needs one name a part")
    for part, parent in enumerate(parents):
        if not -1 <= parent < len(parents):
            raise CourseError(
                f"part {_name(part, names)} hangs on a missing part, {parent}: the {len(parents)} parts are numbered "
                "from 0, and -1 is the parent of the root"
            )
    roots = [part for part, parent in enumerate(parents) if parent == -1]
    if len(roots) > 1:
        listed = ", ".join(_name(part, names) for part in roots)
        raise CourseError(f"a tree has one root, a part whose parent is -1; here there are {len(roots)}: {listed}")
    result, placed = [roots], set(roots)
    while result[-1]:
        result.append([part for part, parent in enumerate(parents) if parent in result[-1]])
        placed.update(result[-1])
    if len(placed) < len(parents):
        walk = [next(part for part in range(len(parents)) if part not in placed)]
        while walk[-1] not in walk[:-1]:
            walk.append(parents[walk[-1]])
        listed = " -> ".join(_name(part, names) for part in walk[walk.index(walk[-1]) :])
        missing = "" if roots else "no part is the root, whose parent is -1, and "
        raise CourseError(f"the parts are no tree: {missing}the parents go round in a cycle, {listed}")
    return result[:-1]


def _name(part: int, names: Sequence[str] | None) -> str:
    return str(part) if names is None else repr(names[part])


# --- springs ----------------------------------------------------------------------------------------------------------


def turning(joints: Joints, grid: Grid) -> Tensor:
    """kappa (cos(theta_child - theta_parent - angle) - 1) for every two rotations, the parent's first: (..., R, R)."""
    steps = torch.arange(grid.rotations, dtype=joints.angle.dtype, device=joints.angle.device)
    between = (steps - steps[:, None]) * (2 * math.pi / grid.rotations) - joints.angle[..., None, None]
    return joints.kappa[..., None, None] * (between.cos() - 1)


def growing(joints: Joints, grid: Grid) -> Tensor:
    """- 1/2 ((log s_child - log s_parent - stretch) / stretch_spread)^2, the parent's scale first: (..., S, S)."""
    logs = torch.tensor(grid.scales, dtype=joints.stretch.dtype, device=joints.stretch.device).log()
    between = logs - logs[:, None] - joints.stretch[..., None, None]
    return -0.5 * (between / joints.stretch_spread[..., None, None]) ** 2


class Level(NamedTuple):
    """The springs of n = B * len(parts) edges whose children have the same depth, on one joint grid."""

    parts: list[int]
    above: list[int]  # their parents
    size: tuple[int, int]  # of the joint grid
    at_parent: Tensor  # (n, S, R, 2) where on the joint grid the parent's cell (0, 0) has the joint
    start: Tensor  # (n, S, R, 2) where the joint grid begins, seen from the child's cell (0, 0) as moved to its joint
    rate: Tensor  # (n, 2) stride / spread
    turn: Tensor  # (n, R, R) kappa (cos - 1), parent's rotation first
    growth: Tensor  # (n, S, S) of log scales, parent's first

    def children(self, beliefs: list[Tensor]) -> Tensor:
        """Of the beliefs (B, S, R, H, W) of all parts, those of this level: (n, S, R, H, W)."""
        return torch.stack([beliefs[part] for part in self.parts], dim=1).flatten(0, 1)

    def at_cells(self, table: Tensor, size: tuple[int, int]) -> Tensor:
        """Reads (n, S, R, *joint grid) at the joint of every state of the parent: (n, S, R, *size)."""
        x, y = (self.at_parent[..., d, None] + torch.arange(size[1 - d], device=table.device) for d in (0, 1))
        cells = (y[..., :, None] * self.size[1] + x[..., None, :]).flatten(-2)
        return table.flatten(-2).gather(-1, cells).unflatten(-1, size)

    def joint(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The joint's row and column on the joint grid, (n, ...), for states (n, ..., 4) of the parent."""
        n = torch.arange(len(states), device=states.device).view(-1, *[1] * (states.ndim - 2))
        offset = self.at_parent[n, states[..., 0], states[..., 1]]
        return states[..., 2] + offset[..., 1], states[..., 3] + offset[..., 0]


def joined(parents: Sequence[int], joints: Joints, grid: Grid) -> list[Level]:
    """The edges level by level, deepest first, of joints (B, P, ...)."""
    result = []
    for parts in reversed(levels(parents)[1:]):
        edges = Joints(*(value[:, parts].flatten(0, 1) for value in joints))
        at_parent, at_child = grid.offsets(edges.at_parent), grid.offsets(edges.at_child)
        # only where some parent has its joint is anything ever read, so that is the joint grid
        low, high = at_parent.amin((0, 1, 2)), at_parent.amax((0, 1, 2))
        width, height = (high - low).tolist()
        size = (grid.size[0] + height, grid.size[1] + width)
        rate = grid.stride / edges.spread
        above = [parents[part] for part in parts]
        turn, growth = turning(edges, grid), growing(edges, grid)
        result.append(Level(parts, above, size, at_parent - low, low - at_child, rate, turn, growth))
    return result


# --- bad input --------------------------------------------------------------------------------------------------------


def checked(
    unaries: Tensor, parents: Sequence[int], joints: Joints, grid: Grid, names: Sequence[str] | None
) -> tuple[Joints, int]:
    """The springs with a leading dimension B, and the root; bad input is told."""
    root = order(parents, names)[-1]
    wanted = (len(parents), *grid.shape)
    if unaries.ndim != 6 or unaries.shape[1:] != wanted or not len(unaries) or not unaries.is_floating_point():
        raise CourseError(
            f"unaries must be floating-point scores (B, parts, scales, rotations, rows, columns) = "
            f"(B, {', '.join(map(str, wanted))}); got {unaries.dtype} of shape {tuple(unaries.shape)}"
        )
    best = unaries.detach().amax((2, 3, 4, 5))  # (B, P); a NaN wins
    for picture, part in (~(best < torch.inf)).nonzero().tolist():
        raise CourseError(
            f"the unary scores of part {_name(part, names)} in picture {picture} contain NaN or +inf; they must be "
            "numbers, or -inf where the part cannot be"
        )
    for picture, part in (best == -torch.inf).nonzero().tolist():
        raise CourseError(
            f"part {_name(part, names)} fits nowhere in picture {picture}: its unary score is -inf in all states"
        )
    result = []
    edges = [part for part in range(len(parents)) if part != root]
    for field, value in zip(Joints._fields, joints, strict=True):
        shape = (len(parents), 2) if field in ("at_parent", "at_child", "spread") else (len(parents),)
        value = value[None] if value.ndim == len(shape) else value
        if value.shape[1:] != shape or len(value) not in (1, len(unaries)):
            raise CourseError(
                f"joints.{field} must have shape {shape}, or one such for each of the {len(unaries)} pictures; got "
                f"{tuple(value.shape)}"
            )
        used = value.detach()[:, edges].flatten(2) if value.ndim > 2 else value.detach()[:, edges, None]
        positive = field in ("spread", "stretch_spread")
        fine = used.isfinite() & (used > 0 if positive else used >= 0 if field == "kappa" else True)
        for _, edge, _ in (~fine).nonzero().tolist():
            want = "above 0 and finite" if positive else "0 or more and finite" if field == "kappa" else "finite"
            raise CourseError(f"joints.{field} of part {_name(edges[edge], names)} must be {want}")
        result.append(value.expand(len(unaries), *shape))
    return Joints(*result), root
