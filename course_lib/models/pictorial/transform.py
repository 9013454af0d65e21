"""The generalised distance transform: for every place, the cheapest source plus the squared way to it.

Pedro Felzenszwalb, Daniel Huttenlocher, "Distance Transforms of Sampled Functions", Theory of Computing 8, 2012.

    D(x) = min over y of  w (x - y)^2 + f(y)

Every y carries a parabola with its tip at (y, f(y)), and D is the lower envelope of all of them. Two parabolas of one
width cross once, at s = ((f(q) - f(p)) / (w (q - p)) + q + p) / 2, and right of it the right one is below. So the
sources are taken from left to right: what the new parabola covers from its crossing on is dropped, and each parabola is
pushed once and dropped at most once, which is O(N) where the definition is O(N^2).

Only integers x are asked for, so a parabola's reign starts at an integer, ceil(s), and one that reigns over no integer
is dropped as well. All lines go through the sweep together, a step handling one source of each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.errors import CourseError

PATIENCE = 4  # so many parabolas a line drops one at a time before it takes larger steps


def quadratic_transform(
    costs: Tensor, weight: float | Tensor, start: int | Tensor = 0, length: int | None = None
) -> tuple[Tensor, Tensor]:
    """What `lower_envelope` returns, by its definition: every x looks at every y, O(N M) a line."""
    weight, start, length = _checked(costs, weight, start, length)
    x = start[..., None] + torch.arange(length, device=costs.device)
    way = (x[..., None] - torch.arange(costs.shape[-1], device=costs.device)).to(costs.dtype)
    return (weight[..., None, None] * way**2 + costs[..., None, :]).min(-1)


def lower_envelope(
    costs: Tensor, weight: float | Tensor, start: int | Tensor = 0, length: int | None = None
) -> tuple[Tensor, Tensor]:
    """min over y of weight (x - y)^2 + costs(y) at the integers x = start ... start + length - 1, in O(N + length).

    costs (..., N) for y = 0 ... N - 1; +inf is no parabola. weight > 0 and start: a number, or one a line (...).
    Returns values (..., length) and where (..., length), the y of each; a line of +inf only has +inf and 0.
    """
    weight, start, length = _checked(costs, weight, start, length)
    lines = costs.movedim(-1, 0)
    values, where = _transform(lines, weight, start, length)
    return values.movedim(0, -1), where.movedim(0, -1)


def distance_transform(
    costs: Tensor,
    weights: tuple[float | Tensor, float | Tensor],
    start: tuple[int | Tensor, int | Tensor] = (0, 0),
    size: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """min over (row, column) of wx (x - column)^2 + wy (y - row)^2 + costs(row, column), in two passes.

    costs (..., H, W); weights = (wx, wy) and start = (x, y) as in `lower_envelope`, one for each picture (...).
    size = (height, width) of what is returned: values, rows and columns (..., height, width).
    """
    if costs.ndim < 2:
        raise CourseError(f"a picture of costs needs two dimensions; got shape {tuple(costs.shape)}")
    height, width = size or costs.shape[-2:]
    wx, x, width = _checked(costs, weights[0], start[0], width)
    wy, y, height = _checked(costs, weights[1], start[1], height)
    down, rows = _transform(costs.movedim(-2, 0), wy[..., None], y[..., None], height)  # (height, ..., W)
    values, columns = _transform(down.movedim((0, -1), (-1, 0)), wx[..., None], x[..., None], width)
    # rows knows the best row for every column of the picture: read it at the column that won
    values, columns = values.movedim((0, -1), (-1, -2)), columns.movedim((0, -1), (-1, -2))  # (..., height, width)
    return values, rows.movedim(0, -2).gather(-1, columns), columns


def _checked(
    costs: Tensor, weight: float | Tensor, start: int | Tensor, length: int | None
) -> tuple[Tensor, Tensor, int]:
    """weight and start as tensors, and the length; bad input is told."""
    length = costs.shape[-1] if length is None else length
    if not costs.numel() or length < 1 or not costs.is_floating_point():
        raise CourseError(
            f"a distance transform takes at least one floating-point cost a line and returns at least one; got shape "
            f"{tuple(costs.shape)} of {costs.dtype} and length {length}"
        )
    if not costs.detach().amin() > -torch.inf:
        raise CourseError("the costs of a distance transform must be numbers or +inf; some are NaN or -inf")
    weight = torch.as_tensor(weight, dtype=costs.dtype, device=costs.device)
    if not bool(((weight > 0) & (weight < torch.inf)).all()):
        raise CourseError("the weight of a distance transform must be above 0 and finite, for every line")
    return weight, torch.as_tensor(start, device=costs.device), length


def _transform(costs: Tensor, weight: Tensor, start: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """values and where (length, ...) of costs (N, ...): the lines are last, so that a step touches one block."""
    shape = costs.shape[1:]
    costs = costs.reshape(len(costs), -1)
    weight, start = weight.expand(shape).reshape(-1), start.expand(shape).reshape(-1)
    where = _envelope((costs / weight).detach(), start, length)
    way = (start - where).add_(torch.arange(length, device=start.device)[:, None]).to(costs.dtype)
    values = weight * way.square_() + costs.gather(0, where)
    return values.reshape(length, *shape), where.reshape(length, *shape)


def _envelope(costs: Tensor, start: Tensor, length: int) -> Tensor:
    """Whose parabola is lowest at start, start + 1, ...: (length, L) of costs (N, L) in units of the weight.

    A line's stack holds the parabolas of the envelope so far: where the tip is and where the reign starts. Rows of the
    stacks are entries, and `top` is the address of each line's last one in the flat stacks. The bottom entry stands for
    no parabola: a tip of +inf, one source left of all, that everyone beats everywhere and nobody drops.
    """
    count, lines = costs.shape
    first = (start + 1).to(costs.dtype)  # source y sits at y + 1, the entry "none" at 0
    last = first + length
    padded = torch.cat([costs.new_full((1, lines), torch.inf), costs])
    for step in (1, 2, 4):
        # A source more than step^2 above the mean of the two at this distance has one of them below it at every x. Most
        # parabolas of a noisy line go in this way, all at once, and are not pushed only to be dropped again.
        above = costs[step:-step] - 0.5 * (costs[2 * step :] + costs[: -2 * step])
        padded[1 + step : count + 1 - step].masked_fill_(above > step**2, torch.inf)
    flat = padded.flatten()
    tips, reigns = torch.zeros_like(flat), torch.zeros_like(flat)
    reigns[:lines] = first - 1
    top = torch.arange(lines, device=costs.device)
    tip, reign, height = torch.zeros_like(first), first - 1, padded[0].clone()  # of the top entry
    for source in range(1, count + 1):
        new = padded[source]
        crossing = _crossing(new, height, source, tip, first)
        dropping = (crossing <= reign).nonzero().squeeze(1)
        if len(dropping):
            entry, limit = top[dropping], reign[dropping]
            rising, left = new[dropping], first[dropping]
            for _ in range(PATIENCE):
                entry = entry - lines
                under, since = tips[entry], reigns[entry]
                low = flat[under.long() * lines + dropping]
                # exactly it is never above where the dropped one began; rounding must not make it so
                begin = torch.minimum(_crossing(rising, low, source, under, left), limit)
                top[dropping], crossing[dropping] = entry, begin
                more = (begin <= since).nonzero().squeeze(1)
                dropping, entry, limit = dropping[more], entry[more], since[more]
                rising, left = rising[more], left[more]
                if not len(dropping):
                    break
            else:
                top[dropping], begin = _kept(flat, tips, reigns, first, source, entry, dropping)
                crossing[dropping] = torch.minimum(begin, limit)
        pushed = crossing < last  # False for NaN, which is +inf against +inf
        top.add_(pushed, alpha=lines)
        tip.masked_fill_(pushed, source)
        reign = torch.where(pushed, crossing, reign)
        height = torch.where(pushed, new, height)
        tips.scatter_(0, top, tip)
        reigns.scatter_(0, top, reign)
    # every parabola is written where its reign starts; to the right of it tips only grow, so a running maximum fills
    tips, reigns = tips.view(count + 1, lines)[1:], reigns.view(count + 1, lines)[1:]
    entries = torch.arange(1, count + 1, device=costs.device)[:, None]
    slots = torch.where(entries <= top // lines, reigns - first, length).long()
    where = tips.new_ones(length + 1, lines).scatter_(0, slots, tips)[:length]
    for x in range(1, length):
        torch.maximum(where[x - 1], where[x], out=where[x])
    return where.sub_(1).long()


def _kept(flat, tips, reigns, first: Tensor, source: int, top: Tensor, lines: Tensor) -> tuple[Tensor, Tensor]:
    """For lines whose top entry is dropped: the address of the last entry that is not, and where `source` crosses it.

    If an entry is kept, so are all below. The steps down are 1, 2, 4, ... entries until one is kept, then halving: no
    more work than one at a time, but soon over for all lines together, of which one may drop a hundred.
    """
    width, step = len(first), 1
    new, left = flat[source * width + lines], first[lines]
    dropped, kept, begin = top // width, torch.zeros_like(top), left
    result, crossings = lines.clone(), left.clone()
    rest = torch.arange(len(lines), device=lines.device)
    while True:
        probe = torch.maximum(dropped - step, (dropped + kept) // 2)
        address = probe * width + lines
        tip = tips[address]
        crossing = _crossing(new, flat[tip.long() * width + lines], source, tip, left)
        more = crossing <= reigns[address]
        dropped, kept = torch.where(more, probe, dropped), torch.where(more, kept, probe)
        begin = torch.where(more, begin, crossing)
        result[rest], crossings[rest] = kept * width + lines, begin
        on = (dropped - kept > 1).nonzero().squeeze(1)
        if not len(on):
            return result, crossings
        new, left, lines, rest = new[on], left[on], lines[on], rest[on]
        dropped, kept, begin = dropped[on], kept[on], begin[on]
        step *= 2


def _crossing(new: Tensor, old: Tensor, source: int, tip: Tensor, first: Tensor) -> Tensor:
    """The first integer, from `first` on, at which the parabola at `source` is not above the one at `tip`."""
    crossing = (new - old).div_(source - tip).add_(tip).add_(source).mul_(0.5).ceil_()
    return torch.maximum(crossing, first)
