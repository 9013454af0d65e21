"""Lesson 10: its three exercises."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from course_lib import skeletons
from course_lib.lessons import Case, Exercise, register

# --- the vote of one cell ---------------------------------------------------------------------------------------------


def _vote(column: int, row: int, offset: Tensor, probability: float, radius: float, size: tuple[int, int]) -> Tensor:
    votes = torch.zeros(size)
    x, y = column + 0.5 + float(offset[0]), row + 0.5 + float(offset[1])
    for i in range(size[0]):
        for j in range(size[1]):
            share = max(0.0, 1 - abs(x - (j + 0.5))) * max(0.0, 1 - abs(y - (i + 0.5)))
            votes[i, j] = share * probability / (math.pi * radius**2)
    return votes


def _vote_cases(random: torch.Generator) -> Iterator[Case]:
    plain = 1 / math.sqrt(math.pi)  # pi R^2 = 1

    def arrow(x: float, y: float) -> Tensor:
        return torch.tensor([x, y])

    first = "A vote that lands in the centre of a cell goes there whole: 1 at row 2, column 4."
    yield Case((1, 3, arrow(3.0, -1.0), 1.0, plain, (5, 7)), "from cell to cell", first)
    half = "Halfway between two cells each gets half. Note which axis is the column's."
    yield Case((2, 1, arrow(1.5, 1.0), 1.0, plain, (5, 7)), "half a cell too far to the right", half)
    four = "x = 2.75 lies 0.25 from the centre 2.5 and 0.75 from the centre 3.5: shares 0.75 and 0.25; y likewise."
    yield Case((2, 2, arrow(0.25, 0.4), 1.0, plain, (6, 6)), "between four cells", four)
    weight = "The vote weighs what the cell believes, divided by the area of a disc, pi R^2."
    yield Case((0, 0, arrow(2.2, 1.7), 0.35, 3.0, (4, 5)), "a doubtful cell, a disc of radius 3", weight)
    border = "What falls beyond the border is lost: not moved to the border, not given to the others."
    yield Case((0, 2, arrow(-0.3, 0.0), 1.0, plain, (5, 5)), "across the left border", border)
    away = "Nothing lands on the map. (A negative index would silently count from the other end.)"
    yield Case((1, 1, arrow(-4.0, -3.5), 0.9, 1.0, (4, 6)), "far outside", away)
    corner = "Only the quarter that lies on the map is kept."
    yield Case((3, 3, arrow(0.5, 0.5), 1.0, plain, (4, 4)), "across the lower right corner", corner)
    for number in range(3):
        offset = 2.5 * torch.randn(2, generator=random)
        yield Case((2, 4, offset, 0.6, 1.5, (9, 6)), f"anywhere, {number + 1}")


register(
    Exercise(
        "10.vote",
        _vote,
        _vote_cases,
        (
            "The cell's centre is (column + 0.5, row + 0.5); the vote lands at centre + offset.",
            "Of the cell whose centre is c the share is max(0, 1 - |x - c_x|) max(0, 1 - |y - c_y|).",
            "Two rows of shares are enough: one over the columns, one over the rows; votes = outer(rows, columns).",
        ),
        tolerance=1e-4,
    )
)

# --- OKS-NMS ----------------------------------------------------------------------------------------------------------


def _oks_nms(joints: Tensor, scores: Tensor, areas: Tensor, sigmas: Tensor, threshold: float) -> Tensor:
    order = sorted(range(len(scores)), key=lambda n: (-float(scores[n]), n))
    kept: list[int] = []
    for j in order:
        alike = []
        for i in kept:
            area = (float(areas[i]) + float(areas[j])) / 2
            square = (joints[i] - joints[j]).double().square().sum(-1)
            alike.append(float(torch.exp(-square / (2 * area * (2 * sigmas.double()) ** 2)).mean()))
        if not any(value > threshold for value in alike):
            kept.append(j)
    return torch.tensor(kept, dtype=torch.long)


def _oks_nms_cases(random: torch.Generator) -> Iterator[Case]:
    sigmas = torch.tensor(skeletons.get("lsp").sigmas)
    person = 100 * torch.rand(14, 2, generator=random)

    def moved(*shifts: float) -> Tensor:
        return torch.stack([person + torch.tensor([shift, 0.0]) for shift in shifts])

    area = 2500.0
    near = "A few pixels apart on a person of 50 x 50: OKS is far above 0.5, the less sure of the two goes."
    two = (moved(0, 2, 200), torch.tensor([0.6, 0.9, 0.3]), torch.full((3,), area), sigmas, 0.5)
    yield Case(two, "the same person twice, and somebody else", near)
    apart = "At 0.99 nobody is alike enough to go; the answer is still sorted, the best first."
    yield Case((*two[:4], 0.99), "a threshold that lets everybody live", apart)
    chain = "b goes because of a. b is gone then, and what is gone removes nobody: c stays."
    three = (moved(0, 9, 18), torch.tensor([0.9, 0.8, 0.7]), torch.full((3,), area), sigmas, 0.5)
    yield Case(three, "a chain: a is like b, b is like c, a is not like c", chain)
    constants = "k = 2 sigma, and d is squared: exp(-d^2 / (2 s^2 k^2))."
    yield Case(
        (moved(0, 7), torch.tensor([0.5, 0.4]), torch.full((2,), area), sigmas, 0.6), "near the border", constants
    )
    sizes = "s^2 is the mean of the two areas, so that it does not matter which of the two is ranked higher."
    for shift, first in ((8, "large"), (8, "small"), (10, "large"), (10, "small")):
        unequal = torch.tensor([4000.0, 400.0] if first == "large" else [400.0, 4000.0])
        case = (moved(0, shift), torch.tensor([0.5, 0.4]), unequal, sigmas, 0.5)
        yield Case(case, f"a large and a small one {shift} px apart, the {first} one ranked first", sizes)
    one = "Two copies have OKS 1. A pose goes if its OKS is *above* the threshold; 1 is not above 1."
    yield Case((moved(0, 0), torch.tensor([0.5, 0.5]), torch.full((2,), area), sigmas, 1.0), "copies, threshold 1", one)
    ties = "Of equal scores the first in the list counts as the better one."
    yield Case((moved(0, 1, 1), torch.full((3,), 0.5), torch.full((3,), area), sigmas, 0.5), "all equally sure", ties)
    some = torch.cat([moved(0), moved(0)])
    some[1, :6] += 60.0
    half = "OKS is the mean over the joints: eight of fourteen coincide, which makes 0.57."
    yield Case((some, torch.tensor([0.8, 0.7]), torch.full((2,), area), sigmas, 0.5), "legs elsewhere", half)
    yield Case((torch.zeros(0, 14, 2), torch.zeros(0), torch.zeros(0), sigmas, 0.5), "nobody")
    for number in range(2):
        places = person + 6 * torch.randn(7, 1, 2, generator=random) + torch.randn(7, 14, 2, generator=random)
        scores = torch.rand(7, generator=random)
        areas = 1500 + 3000 * torch.rand(7, generator=random)
        yield Case((places, scores, areas, sigmas, 0.5), f"seven around one place, {number + 1}")


register(
    Exercise(
        "10.oks_nms",
        _oks_nms,
        _oks_nms_cases,
        (
            "Sort first (torch.argsort with descending=True, stable=True keeps equal scores in order).",
            "Go down the list; compare each pose with those that were *kept*, not with all that are better.",
            "d^2 = squared distance of each joint, s^2 = mean of both areas, k = 2 sigma; keep if no OKS > threshold.",
        ),
    )
)

# --- RoIAlign ---------------------------------------------------------------------------------------------------------


def _between(features: Tensor, x: float, y: float) -> float:
    height, width = features.shape
    # in units in which whole numbers are centres of cells; beyond the outermost centres the border's value holds
    x, y = min(max(x - 0.5, 0.0), width - 1.0), min(max(y - 0.5, 0.0), height - 1.0)
    left, top = min(int(x), max(width - 2, 0)), min(int(y), max(height - 2, 0))
    right, low = min(left + 1, width - 1), min(top + 1, height - 1)
    u, v = x - left, y - top
    upper = (1 - u) * float(features[top, left]) + u * float(features[top, right])
    lower = (1 - u) * float(features[low, left]) + u * float(features[low, right])
    return (1 - v) * upper + v * lower


def _roi_align(features: Tensor, box: Tensor, bins: int, samples: int) -> Tensor:
    x0, y0, x1, y1 = (float(value) for value in box)
    answer = torch.zeros(bins, bins)
    count = bins * samples
    for row in range(count):
        for column in range(count):
            x, y = x0 + (column + 0.5) * (x1 - x0) / count, y0 + (row + 0.5) * (y1 - y0) / count
            answer[row // samples, column // samples] += _between(features, x, y) / samples**2
    return answer


def _roi_align_cases(random: torch.Generator) -> Iterator[Case]:
    four = torch.arange(16.0).view(4, 4)

    def box(*edges: float) -> Tensor:
        return torch.tensor(edges, dtype=torch.float32)

    whole = "The four sampling points of a bin of 2 x 2 cells are the centres of its cells: the mean of the four."
    yield Case((four, box(0, 0, 4, 4), 2, 2), "the whole map in 2 x 2 bins", whole)
    centre = "A cell's centre is at + 0.5: at (1.5, 2.5) the map says exactly features[2, 1]."
    yield Case((four, box(1, 2, 2, 3), 1, 1), "one cell, one point", centre)
    quarter = (
        "On a ramp a box that moves by a quarter of a cell changes the answer by a quarter of a step. Round nothing."
    )
    yield Case((four, box(1.25, 1, 2.25, 2), 1, 1), "one cell, moved by a quarter", quarter)
    yield Case((four, box(0.6, 1.1, 3.2, 2.9), 2, 2), "a box between the cells", quarter)
    border = "Between the outermost centre and the border there is no second cell: take the border's value."
    yield Case((four, box(0, 0, 0.8, 0.8), 1, 2), "at the corner of the map", border)
    rows = "x goes with columns, y with rows: features[row, column]."
    yield Case((four.square(), box(0.5, 1.2, 1.5, 3.6), 3, 1), "a tall box", rows)
    mean = "Each bin is the *mean* of samples x samples points, spread evenly inside it."
    yield Case((torch.randn(4, 4, generator=random), box(0.3, 0.2, 3.7, 3.9), 2, 3), "3 x 3 points a bin", mean)
    yield Case((torch.randn(5, 9, generator=random), box(2.2, 0.7, 8.1, 4.4), 4, 2), "a map that is not square", rows)
    yield Case((torch.randn(4, 4, generator=random), box(1.3, 2.6, 1.3, 2.6), 2, 2), "a box of no extent", centre)


register(
    Exercise(
        "10.roi_align",
        _roi_align,
        _roi_align_cases,
        (
            "Write a helper that reads the map at any (x, y): the four cells around, by their shares.",
            "bins * samples points along each side, the i-th at x0 + (i + 0.5) (x1 - x0) / (bins * samples).",
            "Subtract 0.5 to get to units of cell centres, clamp to [0, W - 1], then interpolate; mean over each bin.",
        ),
        tolerance=1e-4,
    )
)
