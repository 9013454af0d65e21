"""Exact inference on a tree of parts: the best arrangement, every part's posterior, and samples of the whole body.

Pedro Felzenszwalb, Daniel Huttenlocher, "Pictorial Structures for Object Recognition", IJCV 61, 2005.

    score(L) = sum over parts of unary_p(l_p) + sum over edges of psi(l_parent, l_child)    p(L | image) ~ exp(score)

A state l = (scale, rotation, row, column) is one of S x R x H x W. A spring compares where parent and child believe
their common joint to be. Both are first moved there, u = cell + round(s R(theta) joint / stride), and then

    psi = - 1/2 |(u_parent - u_child) stride / spread|^2
          + kappa (cos(theta_child - theta_parent - angle) - 1)
          - 1/2 ((log s_child - log s_parent - stretch) / stretch_spread)^2

The second line is - kappa/2 |e^(i theta_child) - e^(i (theta_parent + angle))|^2, so all of psi is a squared distance
between moved states, and its part in u is a distance transform (best) or a convolution with a Gaussian (sum): linear in
the number of cells, where comparing all pairs is quadratic. Rounding the offsets is part of the model, so all functions
here answer about one and the same distribution, exactly. u may lie outside the picture: nothing is clipped.

What a child tells its parent, with K_theta and K_s the second and third line of psi:

    message(l_parent) = max or sum, over s and theta of the child, of K_theta K_s D(s, theta; u_parent)
    D(s, theta; u)    = max or sum, over the child's cells, of belief(l_child) and the first line of psi
    belief(l)         = unary(l) with the messages of all children
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.errors import CourseError
from course_lib.models.pictorial.springs import Grid, Joints, Level, checked, growing, joined, order, turning
from course_lib.models.pictorial.transform import distance_transform

__all__ = ["Best", "Grid", "Joints", "log_partition", "marginals", "max_sum", "order", "sample", "score"]

CELLS = 2**22  # pictures are taken together up to so many states of all their parts, which bounds the memory


class Best(NamedTuple):
    """states (B, P, 4) as scale, rotation, row, column; score (B,); messages (B, P, S, R, H, W), what each part told
    its parent about every state of the parent (the root nothing: zeros)."""

    states: Tensor
    score: Tensor
    messages: Tensor


def _pieces(unaries: Tensor, joints: Joints) -> Iterator[tuple[int, Tensor, Joints]]:
    """The pictures and their springs, a few at a time, with the number of the first."""
    step = max(1, CELLS // unaries[0].numel())
    for first in range(0, len(unaries), step):
        yield first, unaries[first : first + step], Joints(*(value[first : first + step] for value in joints))


def score(
    states: Tensor,
    unaries: Tensor,
    parents: Sequence[int],
    joints: Joints,
    grid: Grid,
    names: Sequence[str] | None = None,
) -> Tensor:
    """The total of given arrangements (B, ..., P, 4): (B, ...); differentiable in unaries and springs.

    One of the two B may be 1, or missing in states: it is then the same for all. log_partition - score is - log p.
    """
    joints, root = checked(unaries, parents, joints, grid, names)
    joints = joints.to(unaries.dtype)
    states = states if states.ndim > 2 else states[None]
    if states.shape[-2:] != (len(parents), 4) or (len(states) != len(unaries) and 1 not in (len(states), len(unaries))):
        raise CourseError(f"states must have shape ({len(unaries)}, ..., {len(parents)}, 4); got {tuple(states.shape)}")
    if bool(((states < 0) | (states >= torch.tensor(grid.shape, device=states.device))).any()):
        raise CourseError(
            f"states must lie on the grid of (scales, rotations, rows, columns) {grid.shape}; some do not"
        )
    picture = torch.arange(len(unaries), device=states.device).view(-1, *[1] * (states.ndim - 2))
    parts = torch.arange(len(parents), device=states.device)
    total = unaries[(picture, parts, *states.unbind(-1))].sum(-1)
    edges = parts[parts != root]
    above = torch.tensor(parents, device=states.device)[edges]
    child, parent = states[..., edges, :], states[..., above, :]
    which = (picture, edges)
    s, r = child[..., 0], child[..., 1]
    at_child = child[..., [3, 2]] + grid.offsets(joints.at_child)[(*which, s, r)]
    at_parent = parent[..., [3, 2]] + grid.offsets(joints.at_parent)[(*which, parent[..., 0], parent[..., 1])]
    apart = (at_parent - at_child) * (grid.stride / joints.spread[which])
    turn = turning(joints, grid)[(*which, parent[..., 1], r)]
    growth = growing(joints, grid)[(*which, parent[..., 0], s)]
    return total + (turn + growth - 0.5 * apart.square().sum(-1)).sum(-1)


# --- the best arrangement ---------------------------------------------------------------------------------------------


def max_sum(
    unaries: Tensor, parents: Sequence[int], joints: Joints, grid: Grid, names: Sequence[str] | None = None
) -> Best:
    """The arrangement with the highest score, for log scores unaries (B, P, S, R, H, W)."""
    joints, root = checked(unaries, parents, joints, grid, names)
    joints = joints.to(unaries.dtype)
    with torch.no_grad():
        pieces = [_best(piece, parents, springs, grid, root) for _, piece, springs in _pieces(unaries, joints)]
    return Best(*(torch.cat(values) for values in zip(*pieces, strict=True)))


def _best(unaries: Tensor, parents: Sequence[int], joints: Joints, grid: Grid, root: int) -> Best:
    beliefs, messages, tables = list(unaries.unbind(1)), torch.zeros_like(unaries), []
    levels = joined(parents, joints, grid)
    for level in levels:
        weights = (0.5 * level.rate**2)[:, None, None].unbind(-1)
        costs, rows, columns = distance_transform(-level.children(beliefs), weights, level.start.unbind(-1), level.size)
        tables.append((-costs, rows, columns))
        table = _best_of(_best_of(-costs, level.turn, 2), level.growth, 1)
        told = level.at_cells(table, grid.size).unflatten(0, (len(unaries), -1))
        messages[:, level.parts] = told
        for i, above in enumerate(level.above):
            beliefs[above] = beliefs[above] + told[:, i]
    top, where = beliefs[root].flatten(1).max(1)
    states = torch.zeros(*unaries.shape[:2], 4, dtype=torch.long, device=unaries.device)
    states[:, root] = torch.stack(torch.unravel_index(where, grid.shape), dim=-1)
    for level, (table, rows, columns) in zip(reversed(levels), reversed(tables), strict=True):
        above = states[:, level.above].flatten(0, 1)  # (n, 4)
        n, (row, column) = torch.arange(len(above), device=above.device), level.joint(above)
        choices = table[n, :, :, row, column] + level.turn[n, above[:, 1]][:, None]
        choices = choices + level.growth[n, above[:, 0]][:, :, None]  # (n, S, R)
        s, r = torch.unravel_index(choices.flatten(1).argmax(1), grid.shape[:2])
        at = (n, s, r, row, column)
        states[:, level.parts] = torch.stack([s, r, rows[at], columns[at]], dim=-1).unflatten(0, (len(states), -1))
    return Best(states, top, messages)


def _best_of(table: Tensor, pairs: Tensor, dim: int) -> Tensor:
    """max over j of table(..., j, ...) + pairs(i, j) along a dimension, for pairs (n, I, J)."""
    shape = [len(table)] + [1] * (table.ndim - 1)
    shape[dim] = -1
    return torch.stack([(table + row.reshape(shape)).amax(dim) for row in pairs.unbind(1)], dim=dim)


# --- the posterior ----------------------------------------------------------------------------------------------------


def log_partition(
    unaries: Tensor, parents: Sequence[int], joints: Joints, grid: Grid, names: Sequence[str] | None = None
) -> Tensor:
    """log of the sum of exp(score) over all arrangements (B,); differentiable in unaries and in all of the springs but
    the places of the joints, which are rounded to cells."""
    joints, root = checked(unaries, parents, joints, grid, names)
    logs = [_upward(*piece, parents, grid, root).log for piece in _pieces(unaries, joints)]
    return torch.cat(logs).to(unaries.dtype)


def marginals(
    unaries: Tensor, parents: Sequence[int], joints: Joints, grid: Grid, names: Sequence[str] | None = None
) -> Tensor:
    """The posterior of every part by itself, (B, P, S, R, H, W); each sums to 1.

    The derivative of log Z with respect to a unary is the probability of its state, since
    d log Z / d unary(l) = sum over the arrangements with l of exp(score) / Z. So no downward pass is written here:
    back-propagation through the upward pass is the downward pass.
    """
    joints, root = checked(unaries, parents, joints, grid, names)
    result = []
    with torch.inference_mode(False), torch.enable_grad():
        for first, piece, springs in _pieces(unaries, joints):
            piece = piece.detach().clone().requires_grad_()
            springs = Joints(*(value.detach().clone() for value in springs))
            total = _upward(first, piece, springs, parents, grid, root).log.sum()
            result += torch.autograd.grad(total, piece)
    return torch.cat(result)


class _Tables(NamedTuple):
    """What an upward pass knows of one level: everything that drawing a child for a given parent needs."""

    level: Level
    belief: Tensor  # (n, S, R, H, W) of the children
    half: Tensor  # (n, S, R, joint rows, W) blurred along y
    full: Tensor  # (n, S, R, *joint grid) and along x
    along_y: Tensor  # (n, S, R, joint rows, H) the Gaussian of every two places
    along_x: Tensor  # (n, S, R, joint columns, W)


class _Upward(NamedTuple):
    log: Tensor  # (B,) log Z
    root: Tensor  # (B, S, R, H, W) what the root believes, up to a factor
    tables: list[_Tables]


def _upward(first: int, unaries: Tensor, joints: Joints, parents: Sequence[int], grid: Grid, root: int) -> _Upward:
    """Sum-product from the leaves to the root, in probabilities: products and sums only, so that what is too unlikely
    becomes 0 and its gradient too. Constants that make the largest entry 1 are taken out and added up in the log."""
    if unaries.device.type != "mps":  # which has no double precision; its range, e^-745, is what matters here
        unaries = unaries.double()
    joints = joints.to(unaries.dtype)
    peak = unaries.detach().amax((2, 3, 4, 5))
    beliefs, log = list((unaries - peak[:, :, None, None, None, None]).exp().unbind(1)), peak.sum(1)
    tables = []
    for level in joined(parents, joints, grid):
        belief = level.children(beliefs)
        along_x, along_y = (_gaussian(level, d, grid.size[1 - d]) for d in (0, 1))
        half = along_y @ belief
        full = half @ along_x.mT
        turned = (level.turn.exp()[:, None] @ full.flatten(-2)).unflatten(-1, level.size)
        grown = (level.growth.exp() @ turned.flatten(2)).view_as(turned)
        told = level.at_cells(grown, grid.size).unflatten(0, (len(unaries), -1))  # (B, edges, S, R, H, W)
        largest = told.detach().amax((2, 3, 4, 5))
        largest = torch.where(largest > 0, largest, 1.0)
        told, log = told / largest[:, :, None, None, None, None], log + largest.log().sum(1)
        for i, above in enumerate(level.above):
            beliefs[above] = beliefs[above] * told[:, i]
        tables.append(_Tables(level, belief, half, full, along_y, along_x))
    total = beliefs[root].sum((1, 2, 3, 4))
    for picture in (total == 0).nonzero().flatten().tolist():
        raise CourseError(
            f"in picture {first + picture} the parts contradict each other so much that all arrangements together are "
            "less likely than the smallest number; weaken the springs or the unary scores, or ask max_sum for the best"
        )
    return _Upward(log + total.log(), beliefs[root], tables)


def _gaussian(level: Level, axis: int, count: int) -> Tensor:
    """exp(-1/2 ((u - cell - offset) stride / spread)^2) for the joint grid's u, the child's `count` cells and the
    offsets of all its scales and rotations: (n, S, R, joints, cells), for the axis x = 0 or y = 1."""
    joints = torch.arange(level.size[1 - axis], device=level.start.device)[:, None]
    cells = torch.arange(count, device=level.start.device)
    apart = level.start[..., axis, None, None] + (joints - cells)
    return (-0.5 * (apart * level.rate[:, axis, None, None, None, None]) ** 2).exp()


def sample(
    unaries: Tensor,
    parents: Sequence[int],
    joints: Joints,
    grid: Grid,
    count: int,
    generator: torch.Generator | None = None,
    names: Sequence[str] | None = None,
) -> Tensor:
    """Independent arrangements drawn from the posterior: states (B, count, P, 4).

    The root is drawn first, then every child given its parent: its scale and rotation, its column, its row. What each
    of these draws needs lies in the tables of the upward pass, so a sample costs S R + W + H a part and not S R H W.
    """
    joints, root = checked(unaries, parents, joints, grid, names)
    with torch.no_grad():
        pieces = [
            _drawn(_upward(*piece, parents, grid, root), root, len(parents), count, generator)
            for piece in _pieces(unaries, joints)
        ]
    return torch.cat(pieces)


def _drawn(upward: _Upward, root: int, parts: int, count: int, generator: torch.Generator | None) -> Tensor:
    shape = upward.root.shape[1:]
    states = torch.zeros(len(upward.root), count, parts, 4, dtype=torch.long, device=upward.root.device)
    where = _draw(upward.root.flatten(1), generator, count)
    states[:, :, root] = torch.stack(torch.unravel_index(where, shape), dim=-1)
    for level, belief, half, full, along_y, along_x in reversed(upward.tables):
        above = states[:, :, level.above].transpose(1, 2).flatten(0, 1)  # (n, count, 4)
        n, (v, u) = torch.arange(len(above), device=above.device)[:, None], level.joint(above)
        weights = full[n, :, :, v, u] * level.turn[n, above[..., 1]].exp()[:, :, None]
        weights = weights * level.growth[n, above[..., 0]].exp()[..., None]  # (n, count, S, R)
        s, r = torch.unravel_index(_draw(weights.flatten(2), generator)[..., 0], shape[:2])
        column = _draw(half[n, s, r, v] * along_x[n, s, r, u], generator)[..., 0]
        row = _draw(belief[n, s, r, :, column] * along_y[n, s, r, v], generator)[..., 0]
        drawn = torch.stack([s, r, row, column], dim=-1).unflatten(0, (len(states), -1))
        states[:, :, level.parts] = drawn.transpose(1, 2)
    return states


def _draw(weights: Tensor, generator: torch.Generator | None, count: int = 1) -> Tensor:
    """Indices (..., count) drawn with probabilities that are proportional to weights (..., K)."""
    below = weights.cumsum(-1)
    total = below[..., -1:]
    at = torch.rand(*total.shape[:-1], count, dtype=total.dtype, device=total.device, generator=generator) * total
    # an index whose weight is 0 is never the first to rise above `at`
    return torch.searchsorted(below, at.minimum(total.nextafter(total.new_zeros(()))), right=True)
