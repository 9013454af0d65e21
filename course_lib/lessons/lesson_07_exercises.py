"""Lesson 07: its three exercises."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from course_lib import skeletons
from course_lib.lessons import Case, Exercise, register

# --- the line integral ------------------------------------------------------------------------------------------------


def _integral(field: Tensor, start: Tensor, end: Tensor) -> tuple[float, bool]:
    height, width = field.shape[1:]
    dx, dy = (float(end[axis] - start[axis]) for axis in (0, 1))
    length = math.hypot(dx, dy)
    if length == 0:
        return 0.0, False
    projections = []
    for point in range(10):
        u = (point + 0.5) / 10
        column = min(max(math.floor(float(start[0]) + u * dx), 0), width - 1)
        row = min(max(math.floor(float(start[1]) + u * dy), 0), height - 1)
        projections.append((float(field[0, row, column]) * dx + float(field[1, row, column]) * dy) / length)
    score = sum(projections) / 10 + min(height / 2 / length - 1, 0)
    return score, sum(value > 0.05 for value in projections) > 8 and score > 0


def _integral_cases(random: torch.Generator) -> Iterator[Case]:
    def constant(angle: float, height: int = 12, width: int = 17) -> Tensor:
        direction = torch.tensor([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
        return direction[:, None, None].expand(2, height, width).clone()

    def row_of(values: Sequence[float], height: int = 24) -> Tensor:
        field = torch.zeros(2, height, len(values))
        field[0] = torch.tensor(values)
        return field

    along = (torch.tensor([2.3, 3.4]), torch.tensor([6.1, 3.4]))
    yield Case((constant(0), *along), "everywhere to the right, and so is the limb", "Then every projection is 1.")
    turned = "The projection on a limb that is turned by 60 degrees is cos 60 = 0.5: project on the *unit* vector."
    yield Case((constant(60), *along), "a field turned by 60 degrees", turned)
    back = "From end to start the projections are -1, and a negative E is no limb."
    yield Case((constant(0), *along[::-1]), "against the field", back)
    down = torch.tensor([4.6, 1.2]), torch.tensor([4.6, 5.7])
    yield Case(
        (constant(90), *down), "downwards, in a wide map", "field[0] is x, field[1] is y; a cell is field[:, y, x]."
    )
    eight, nine = ([0.0] * missing + [1.0] * (10 - missing) for missing in (2, 1))
    across = torch.tensor([0.0, 4.5]), torch.tensor([10.0, 4.5])
    yield Case((row_of(eight), *across), "8 of 10 points on the limb", "*More* than 0.8 of the points must pass.")
    yield Case((row_of(nine), *across), "9 of 10 points on the limb", "9 of 10 is enough.")
    weak = "The mean is over all ten points, also those that do not pass."
    yield Case((row_of([-0.6] + [0.7] * 9), *across), "one point against the limb", weak)
    long = torch.tensor([0.6, 0.7]), torch.tensor([16.4, 9.8])
    penalty = "Longer than half the map's *height*: add 0.5 H / length - 1, which is below 0."
    yield Case((constant(30), *long), "a limb longer than half the height", penalty)
    short = "A short limb gains nothing: the second term is never above 0."
    yield Case((constant(10), along[0], along[0] + torch.tensor([0.55, 0.1])), "a very short limb", short)
    same = torch.tensor([5.5, 5.5])
    yield Case(
        (constant(0), same, same.clone()), "both ends at one place", "No direction: E is 0 and no limb is possible."
    )
    outside = torch.tensor([-2.6, 3.3]), torch.tensor([3.1, 14.6])
    yield Case((constant(45), *outside), "ends beyond the map", "A point beyond the map takes the nearest cell of it.")
    for number in range(3):
        field = 0.6 * torch.randn(2, 9, 13, generator=random) + constant(20, 9, 13)
        ends = torch.rand(2, 2, generator=random) * torch.tensor([13.0, 9.0])
        yield Case((field, *ends), f"a random field, {number + 1}")


register(
    Exercise(
        "07.integral",
        _integral,
        _integral_cases,
        (
            "u = (n + 0.5) / 10 for n = 0 ... 9; the points are start + u (end - start); their cells are floors.",
            "v = (end - start) / length; each projection is field[0] v_x + field[1] v_y at a point's cell.",
            "E = mean of all ten + min(0.5 H / length - 1, 0); possible: over 8 projections above 0.05, and E > 0.",
        ),
    )
)

# --- two ways to match ------------------------------------------------------------------------------------------------


def _matchings(scores: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = scores.shape
    greedy, best = (torch.zeros(rows, columns, dtype=torch.bool) for _ in range(2))
    pairs = [(m, n) for m in range(rows) for n in range(columns) if scores[m, n] > 0]
    for m, n in sorted(pairs, key=lambda pair: -float(scores[pair])):
        if not greedy[m].any() and not greedy[:, n].any():
            greedy[m, n] = True
    most = 0.0
    for size in range(1, min(rows, columns) + 1):
        for some in itertools.combinations(range(rows), size):
            for others in itertools.permutations(range(columns), size):
                chosen = [float(scores[m, n]) for m, n in zip(some, others, strict=True)]
                if min(chosen) > 0 and sum(chosen) > most:
                    most = sum(chosen)
                    best = torch.zeros(rows, columns, dtype=torch.bool)
                    best[list(some), list(others)] = True
    return greedy, best


def _matchings_cases(random: torch.Generator) -> Iterator[Case]:
    trap = "Greedy takes 0.9 and is left with nothing above 0; the best two pairs are the two of 0.8."
    yield Case((torch.tensor([[0.9, 0.8], [0.8, 0.0]]),), "the trap", trap)
    yield Case((torch.tensor([[0.9, 0.1], [0.2, 0.8]]),), "no trap: both take the same", "Here both agree.")
    nobody = "A pair whose E is 0 or below is no limb, even if both its ends stay alone."
    yield Case((torch.tensor([[0.7, -0.2], [-0.1, -0.6]]),), "only one pair is possible", nobody)
    alone = "Two pairs are not always better than one: a sum may not contain what is impossible."
    yield Case((torch.tensor([[1.0, 0.3], [0.4, -0.9]]),), "two small ones, or a large one alone", alone)
    yield Case((torch.full((2, 3), -0.5),), "nothing is possible")
    yield Case((torch.zeros(0, 3),), "no starts at all", "Answer two empty masks of the same shape.")
    chain = torch.tensor([[0.60, 0.59, 0.0], [0.58, 0.0, 0.57], [0.0, 0.56, 0.1]])
    yield Case((chain,), "a chain of near ties", "The best sum may need every pair but the highest.")
    for rows, columns in ((2, 4), (4, 3), (5, 5)):
        scores = torch.rand(rows, columns, generator=random) - 0.15
        yield Case((scores,), f"{rows} starts and {columns} ends", "There need not be as many starts as ends.")


register(
    Exercise(
        "07.matchings",
        _matchings,
        _matchings_cases,
        (
            "Greedy: sort the pairs above 0; take each whose start and end are both free.",
            "Best: scipy.optimize.linear_sum_assignment(values, maximize=True) on scores with all below 0 set to 0.",
            "After the best assignment drop the pairs whose score is not above 0. Both masks are (rows, columns).",
        ),
    )
)

# --- mirrored fields --------------------------------------------------------------------------------------------------


def _mirrored(
    joints: Tensor, fields: Tensor, limbs: Sequence[tuple[int, int]], swaps: Sequence[int]
) -> tuple[Tensor, Tensor]:
    width = fields.shape[-1]
    turned = torch.empty_like(joints)
    for k, other in enumerate(swaps):
        turned[:, k, 0] = width - joints[:, other, 0]
        turned[:, k, 1] = joints[:, other, 1]
    answer = torch.empty_like(fields)
    for c, (a, b) in enumerate(limbs):
        for d, limb in enumerate(limbs):
            for sign, pair in ((1, (swaps[a], swaps[b])), (-1, (swaps[b], swaps[a]))):
                if tuple(limb) == pair:
                    for column in range(width):
                        answer[2 * c, :, column] = -sign * fields[2 * d, :, width - 1 - column]
                        answer[2 * c + 1, :, column] = sign * fields[2 * d + 1, :, width - 1 - column]
    return turned, answer


def _mirrored_cases(random: torch.Generator) -> Iterator[Case]:
    def some(joints: int, limbs: int, height: int, width: int, people: int = 1) -> tuple[Tensor, Tensor]:
        places = torch.rand(people, joints, 2, generator=random) * torch.tensor([width, height])
        return places, torch.randn(2 * limbs, height, width, generator=random)

    middle = "The cells change sides, x(new) = width - x for joints, and every vector turns round in x, not in y."
    yield Case((*some(2, 1, 4, 5), ((0, 1),), (0, 1)), "one limb in the middle of the body", middle)
    arms = "After mirroring, channel c shows what was the other side's limb: left and right change places."
    yield Case((*some(4, 2, 5, 7), ((0, 1), (2, 3)), (2, 3, 0, 1)), "a right and a left arm", arms)
    hips = "The limb from hip to hip is its own mirror image with its ends exchanged: turn its vectors round once more."
    yield Case((*some(2, 1, 4, 6), ((0, 1),), (1, 0)), "a limb from one side to the other", hips)
    lsp = skeletons.get("lsp")
    yield Case((*some(14, 14, 6, 9, people=3), lsp.limbs, lsp.swaps), "the course's 14 joints, three people")
    body = skeletons.get("body18")
    yield Case((*some(18, 19, 5, 5, people=2), body.limbs, body.swaps), "OpenPose's 18 joints and 19 limbs")
    yield Case((*some(14, 14, 3, 4, people=0), lsp.limbs, lsp.swaps), "nobody in the picture")


register(
    Exercise(
        "07.flip",
        _mirrored,
        _mirrored_cases,
        (
            "Three things change: where a cell is, which limb a channel belongs to, and where a vector points.",
            "For limb (a, b) look for limb (swaps[a], swaps[b]) among the limbs; its channels, mirrored, x negated.",
            "If only (swaps[b], swaps[a]) is among them, the limb runs the other way: both its channels times -1.",
        ),
    )
)
