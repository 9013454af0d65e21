"""Lesson 14, second question: its exercise, where two systems are equally slow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from course_lib.lessons import Case, Exercise, register

PARALLEL = 1e-9  # seconds a person: lines whose slopes differ by less do not meet


def _line(people: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """a and b of the least squares line a + b n, from sums."""
    count = len(people)
    n, t = math.fsum(people), math.fsum(seconds)
    nn = math.fsum(one * one for one in people)
    nt = math.fsum(one * other for one, other in zip(people, seconds, strict=True))
    slope = (count * nt - n * t) / (count * nn - n * n)
    return (t - slope * n) / count, slope


def _crossing(people: Tensor, top_down_seconds: Tensor, bottom_up_seconds: Tensor) -> float:
    (a, b), (c, d) = (_line(people.tolist(), one.tolist()) for one in (top_down_seconds, bottom_up_seconds))
    if abs(b - d) < PARALLEL:
        return math.inf
    met = (c - a) / (b - d)
    return met if met >= 0 else math.inf


def _cases(random: torch.Generator) -> Iterator[Case]:
    def exact(*values: float) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    n = torch.arange(1, 13, dtype=torch.float64)
    yield Case((n, 0.02 + 0.01 * n, 0.1 + 0 * n), "a line and a constant", "0.02 + 0.01 n = 0.1 at n = 8.")
    slope = "Both systems have a line of their own, also the one that hardly rises."
    yield Case((n, 0.02 + 0.01 * n, 0.08 + 0.002 * n), "both rise", slope)
    mixed = exact(7, 1, 4, 12, 1, 4, 9)
    order = "Pictures come in any order, and several may show equally many people."
    yield Case((mixed, 0.03 + 0.02 * mixed, 0.15 + 0.001 * mixed), "not in order", order)
    far = "The lines go on where nobody has measured: the answer may lie there."
    yield Case((n, 0.05 + 0.002 * n, 0.13 + 0 * n), "they meet beyond the pictures", far)
    steep = "The formula is the same whichever line is the steeper one."
    yield Case((n, 0.15 + 0.01 * n, 0.05 + 0.035 * n), "bottom-up rises faster", steep)
    below = "Fewer than no people there are not: math.inf where the lines meet below 0."
    yield Case((n, 0.12 + 0.01 * n, 0.1 + 0.001 * n), "top-down is slower from the start", below)
    parallel = "Lines whose slopes differ by less than 1e-9 never meet: math.inf, and no division by nothing."
    yield Case((n, 0.05 + 0.01 * n, 0.1 + 0.01 * n), "parallel", parallel)
    yield Case((n, 0.1 + 0.003 * n, 0.1 + 0.003 * n), "the same line twice", parallel)
    yield Case((exact(2, 10), exact(0.05, 0.13), exact(0.1, 0.1)), "two pictures")
    every = "Least squares over all pictures: not the first and the last, and no averages by number of people first."
    for pictures in (40, 9, 150):
        people = torch.randint(1, 13, (pictures,), generator=random).double()
        people[:2] = exact(1, 12)
        noise = 0.01 * torch.rand(2, pictures, generator=random, dtype=torch.float64)
        times = (0.03 + 0.012 * people + noise[0], 0.09 + 0.001 * people + noise[1])
        yield Case((people, *times), f"{pictures} pictures that scatter", every)


register(
    Exercise(
        "14.crossing",
        _crossing,
        _cases,
        (
            "Two steps: a line for each system, then the n at which a + b n = c + d n.",
            "The slope of least squares is sum((n - mean n)(t - mean t)) / sum((n - mean n)^2); the line goes through "
            "the two means. numpy.polyfit(n, t, 1) gives (slope, intercept).",
            "n* = (c - a) / (b - d), unless |b - d| < 1e-9 or n* < 0: then math.inf.",
        ),
        tolerance=1e-4,
    )
)
