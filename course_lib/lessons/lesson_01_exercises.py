"""The three exercises of lesson 01."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from course_lib.lessons import Case, Exercise, register

# --- 01.two_parts -----------------------------------------------------------------------------------------------------


def _two_parts(parent: Tensor, child: Tensor, rest: int, stiffness: float) -> tuple[int, int, float]:
    best = (math.inf, -1, -1)
    for i, own in enumerate(parent.tolist()):
        for j, other in enumerate(child.tolist()):
            best = min(best, (own + other + stiffness * (j - i - rest) ** 2, i, j))
    return best[1], best[2], best[0]


def _two_parts_cases(random: torch.Generator) -> Iterator[Case]:
    def costs(count: int, most: float = 10.0) -> Tensor:
        return most * torch.rand(count, generator=random, dtype=torch.float64)

    parent = torch.tensor([5.0, 1.0, 5.0, 5.0, 5.0, 5.0], dtype=torch.float64)
    child = torch.tensor([5.0, 5.0, 5.0, 2.0, 5.0, 5.0], dtype=torch.float64)
    plain = "The best place of each part fits here: 1 and 1 + 2 = 3. The spring costs nothing then."
    yield Case((parent, child, 2, 1.0), "both parts agree", plain)
    away = torch.tensor([5.0, 5.0, 5.0, 5.0, 4.0, 0.0], dtype=torch.float64)
    both = "Neither part may choose alone: try every pair."
    yield Case((parent, away, 1, 0.9), "the child's own best place is far from the parent's", both)
    wavering = torch.tensor([1.0, 9.0, 9.0, 9.0, 1.5, 9.0], dtype=torch.float64)
    strong = torch.tensor([9.0, 9.0, 9.0, 9.0, 9.0, 0.0], dtype=torch.float64)
    yield Case((wavering, strong, 1, 2.0), "the parent hesitates between two places", both)
    left = "A negative rest: the child lies left of its parent, j = i + rest."
    yield Case((costs(9), costs(9), -3, 1.5), "the child belongs on the left", left)
    edge = torch.tensor([9.0, 9.0, 9.0, 0.0], dtype=torch.float64)
    outside = "Where i + rest lies outside the line, the spring is stretched, not forbidden: any pair is allowed."
    yield Case((edge, torch.tensor([9.0, 9.0, 3.0, 1.0], dtype=torch.float64), 2, 1.0), "at the border", outside)
    yield Case((costs(40), costs(40), 6, 0.05), "forty places, a weak spring")
    yield Case((costs(40), costs(40), -11, 30.0), "forty places, a stiff spring")
    yield Case((costs(7), costs(12), 1, 0.4), "lines of different lengths", "The two lines need not be equally long.")


register(
    Exercise(
        "01.two_parts",
        _two_parts,
        _two_parts_cases,
        (
            "The total of a pair is parent[i] + child[j] + stiffness (j - i - rest)^2. The smallest one wins.",
            "A table of all pairs: parent[:, None] + child[None, :] + stiffness * (...) ** 2.",
            "table.argmin() counts through the rows: divmod(number, len(child)) gives i and j back.",
        ),
        tolerance=1e-9,
    )
)

# --- 01.envelope ------------------------------------------------------------------------------------------------------


def _envelope(costs: list[float], weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """By the definition, without a stack: the next parabola is the one that is met first."""
    lifted = [cost + weight * place * place for place, cost in enumerate(costs)]
    kept, starts = [0], [-math.inf]
    while kept[-1] < len(costs) - 1:
        p = kept[-1]
        met = [((lifted[q] - lifted[p]) / (2 * weight * (q - p)), -q) for q in range(p + 1, len(costs))]
        start, place = min(met)
        kept.append(-place)
        starts.append(start)
    values, last = [], 0
    for x in range(len(costs)):
        while last + 1 < len(kept) and starts[last + 1] < x:
            last += 1
        values.append(weight * (x - kept[last]) ** 2 + costs[kept[last]])
    return tuple(torch.tensor(found, dtype=torch.float64) for found in (kept, starts, values))


def _envelope_cases(random: torch.Generator) -> Iterator[Case]:
    def costs(count: int, most: float = 10.0) -> list[float]:
        return (most * torch.rand(count, generator=random, dtype=torch.float64)).tolist()

    half = "Two parabolas of equal height cross half way between their lowest points."
    yield Case(([0.0, 0.0, 0.0, 0.0], 1.0), "four equal costs", half)
    crossing = "s = [(f(q) + w q^2) - (f(p) + w p^2)] / [2 w (q - p)], brackets and all."
    yield Case(([0.0, 2.0], 0.5), "two parabolas, one higher", crossing)
    yield Case(([3.0], 2.0), "a single position", "The first parabola starts at minus infinity.")
    pops = "One new parabola may send several away: a `while`, and the crossing computed again after each."
    yield Case(([1.0, 8.0, 6.5, 4.0, 0.0], 0.5), "a low one at the end", pops)
    lowest = "The last one, however high, is lowest somewhere far to the right. It stays, and its start may be >= N."
    yield Case(([0.0, 1.0, 90.0], 1.0), "a very high one at the end", lowest)
    yield Case((costs(12), 1.0), "twelve positions")
    yield Case((costs(12, 100.0), 0.05), "wide parabolas, wild costs", pops)
    yield Case(
        (costs(12), 30.0), "narrow parabolas", "With a stiff spring nearly every parabola is lowest at its own place."
    )
    negative = [value - 50 for value in costs(20, 100.0)]
    yield Case((negative, 0.3), "negative costs", "Costs may be negative: log-likelihoods are.")
    long = "Each position is added once and sent away at most once: this is done in a moment."
    yield Case((costs(3000, 400.0), 0.02), "three thousand positions", long)


register(
    Exercise(
        "01.envelope",
        _envelope,
        _envelope_cases,
        (
            "Keep two lists that grow together: which parabolas are kept, and from where on each is the lowest.",
            "If the new one crosses the last kept one at or before that one's start, the last one is nowhere lowest.",
            "Reading: walk x from left to right and go to the next kept parabola once x is beyond its start.",
        ),
        tolerance=1e-7,
    )
)

# --- 01.joint ---------------------------------------------------------------------------------------------------------


def _in_frame(x: float, y: float, part: list[float]) -> tuple[float, float]:
    point = complex(x - part[0], y - part[1]) * complex(math.cos(part[2]), -math.sin(part[2])) / part[3]
    return point.real, point.imag


def _in_picture(point: tuple[float, float], part: list[float]) -> tuple[float, float]:
    there = part[3] * complex(*point) * complex(math.cos(part[2]), math.sin(part[2])) + complex(part[0], part[1])
    return there.real, there.imag


def _joint(parent: Tensor, child: Tensor, joint: Tensor) -> tuple[Tensor, Tensor, Tensor, float, float]:
    people, parents, children = len(joint), parent.tolist(), child.tolist()
    means = []
    for parts in (parents, children):
        seen = [_in_frame(*place, part) for place, part in zip(joint.tolist(), parts, strict=True)]
        means.append(tuple(sum(column) / people for column in zip(*seen, strict=True)))
    squares = [0.0, 0.0]
    turns = 0j
    for one, other in zip(parents, children, strict=True):
        pair = zip(_in_picture(means[0], one), _in_picture(means[1], other), strict=True)
        squares = [total + (a - b) ** 2 for total, (a, b) in zip(squares, pair, strict=True)]
        turns += complex(math.cos(other[2] - one[2]), math.sin(other[2] - one[2])) / people
    length = abs(turns)
    spread = [math.sqrt(total / people) for total in squares]
    angle = math.atan2(turns.imag, turns.real)
    at_parent, at_child, spread = (torch.tensor(values, dtype=torch.float64) for values in (*means, spread))
    return at_parent, at_child, spread, angle, length * (2 - length**2) / (1 - length**2)


def _joint_cases(random: torch.Generator) -> Iterator[Case]:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    def people(count: int, turn: float, scale: float, angle: float, loose: float, noise: float) -> tuple:
        """Parents anywhere, children hung on them with some play."""
        size = torch.exp(scale * normal(count))
        theta = turn * normal(count)
        parent = torch.stack([*(60 + 20 * normal(2, count)), theta, size], -1)
        turned = theta + angle + loose * normal(count)
        other = size * torch.exp(scale / 3 * normal(count))

        def offset(x: float, y: float, angles: Tensor, sizes: Tensor) -> Tensor:
            cos, sin = angles.cos(), angles.sin()
            return torch.stack([cos * x - sin * y, sin * x + cos * y], -1) * sizes[:, None]

        joint = parent[:, :2] + offset(4.0, -9.0, theta, size) + noise * normal(count, 2)
        centre = joint - offset(1.0, -7.0, turned, other) + noise * normal(count, 2)
        return parent, torch.cat([centre, turned[:, None], other[:, None]], -1), joint

    upright = (
        "Nobody is turned or scaled here, so [0] and [1] are means of joint - centre. [2] is the root of a mean of"
        " squares, no mean taken off; [3] is the mean *direction*, of cosines and sines."
    )
    yield Case(people(6, 0.0, 0.0, 0.0, 0.3, 1.0), "upright parents of one size", upright)
    frame = "Into a part's own frame: take its centre off, turn BACK by its angle, divide by its scale."
    yield Case(people(40, 1.5, 0.0, 0.4, 0.2, 0.5), "turned parents", frame)
    yield Case(people(40, 0.0, 0.4, 0.4, 0.2, 0.5), "large and small people", frame)
    around = "3.1 and -3.1 radians are neighbours: average cos and sin, and take atan2 of the means."
    yield Case(people(40, 1.0, 0.2, math.pi, 0.5, 1.0), "children that point backwards", around)
    loose = "The length r of the mean of (cos, sin) goes from 0, all directions, to 1, always the same."
    yield Case(people(60, 2.0, 0.1, -2.4, 1.4, 2.0), "a loose joint", loose)
    parent, child, joint = people(30, 0.8, 0.2, 0.7, 0.3, 0.2)
    child[:, 0] += 6 * normal(30)
    uneven = "The spread is the picture's: one number for x, one for y, not in anybody's frame."
    yield Case((parent, child, joint), "more play in x than in y", uneven)
    parent, child, joint = people(30, 0.8, 0.2, 0.7, 0.3, 0.5)
    parent[:, 2] += 2 * math.pi * torch.randint(-2, 3, (30,), generator=random)
    yield Case((parent, child, joint), "angles counted over several turns", around)


register(
    Exercise(
        "01.joint",
        _joint,
        _joint_cases,
        (
            "Five answers: at_parent (2,), at_child (2,), spread (2,), angle, kappa.",
            "Mismatch of a person: where the parent puts the joint minus where the child puts it, both in the picture.",
            "spread: the root of the mean of the squared mismatch. No mean is taken off; divide by n, not n - 1.",
        ),
        tolerance=1e-6,
    )
)
