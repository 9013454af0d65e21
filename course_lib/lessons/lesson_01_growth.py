"""How the time of a distance transform grows with the line: by its definition, and by the lower envelope."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch

from course_lib.errors import CourseError
from course_lib.models.pictorial.transform import lower_envelope, quadratic_transform

TRANSFORMS = {"definition": quadratic_transform, "envelope": lower_envelope}
PAIRS = 2**22  # the definition takes so many pairs of places at a time, or memory would be what is measured


class Growth(NamedTuple):
    """How long a transform takes for lines of `sizes` places."""

    sizes: tuple[int, ...]
    seconds: dict[str, tuple[float, ...]]  # by the transform's name, one for each size
    exponents: dict[str, float]  # of the power of the size that fits the seconds best

    def ratios(self) -> tuple[float, ...]:
        """For each size, how many times as fast the envelope is as the definition."""
        return tuple(a / b for a, b in zip(self.seconds["definition"], self.seconds["envelope"], strict=True))


def growth(
    sizes: Sequence[int] = (32, 64, 128, 256, 512), lines: int = 1024, repeats: int = 3, seed: int = 0
) -> Growth:
    """Measures both transforms on `lines` lines of noise: least seconds of CPU of some repeats."""
    if len(set(sizes)) < 2 or min(*sizes, lines, repeats) < 1:
        raise CourseError(f"growth needs two sizes at least, lines and repeats; got {sizes}, {lines} and {repeats}")
    random = torch.Generator().manual_seed(seed)
    seconds: dict[str, list[float]] = {name: [] for name in TRANSFORMS}
    for size in sizes:
        costs = 10 * torch.randn(lines, size, generator=random)
        pieces = {"definition": costs.split(max(1, PAIRS // size**2)), "envelope": (costs,)}
        for name, transform in TRANSFORMS.items():
            times = []
            for _ in range(repeats):
                start = time.process_time()
                for piece in pieces[name]:
                    transform(piece, 0.1)
                times.append(time.process_time() - start)
            seconds[name].append(max(min(times), 1e-9))
    logs = [math.log(size) for size in sizes]
    exponents = {
        name: statistics.linear_regression(logs, [math.log(value) for value in values]).slope
        for name, values in seconds.items()
    }
    return Growth(tuple(sizes), {name: tuple(values) for name, values in seconds.items()}, exponents)
