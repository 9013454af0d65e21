"""The four numbers of AlphaPose's pose NMS, learned: the search of `pose_nms`'s parameters on validation scenes.

Hao-Shu Fang, Shuqin Xie, Yu-Wing Tai, Cewu Lu, "RMPE: Regional Multi-person Pose Estimation", ICCV 2017 (arXiv
1612.00137): whatever gives the highest mAP, two of the numbers searched at a time while the other two are held, in
turns until nothing changes. Nothing here has a gradient: which poses stay changes in jumps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_lib.errors import CourseError, unknown_name
from course_lib.pose import Pose, Scene
from course_lib.targets.suppression import NAMES, NmsParameters, People

Objective = Callable[[list[list[Pose]], Sequence[Scene]], float | None]
PAIRS = (("sigma1", "sigma2"), ("weight", "threshold"))
FACTORS = tuple(2.0**power for power in range(-3, 4))  # of the start, where no grid is given


class Step(NamedTuple):
    """One search of two numbers while the other two are held."""

    names: tuple[str, str]
    values: tuple[tuple[float, ...], tuple[float, ...]]  # A of the first, B of the second
    surface: Tensor  # (A, B) the objective
    parameters: NmsParameters  # after the step


class Learned(NamedTuple):
    """What `learn_parameters` found, the objective there, and how it came to it."""

    parameters: NmsParameters
    value: float
    steps: list[Step]
    converged: bool  # False if the rounds ran out first


def learn_parameters(
    poses: Sequence[Sequence[Pose]],
    scenes: Sequence[Scene],
    objective: Objective,
    start: NmsParameters | None = None,
    grid: Mapping[str, Sequence[float]] | None = None,
    pairs: Iterable[tuple[str, str]] = PAIRS,
    rounds: int = 10,
    fraction: float = 0.1,
) -> Learned:
    """The numbers with the highest objective(kept poses, scenes), two searched at a time, over and over.

    poses[s] are all estimates in validation scene s; objective is mAP in the paper, for instance
    `lambda kept, scenes: keypoint_ap(kept, scenes)["AP"]`. It is asked once for every different choice of poses.
    grid: the values tried of each number; 1/8 to 8 times the start's, in steps of 2, for those it does not name. The
        paper gives none. pairs: what is searched together, in this order (ours; the paper says only "two").
    Numbers change for a strictly better objective only, so the search ends: once no pair betters it, or after `rounds`.
    """
    from course_lib.metrics.marks import check_scenes  # not above: see `oks_nms`

    start, pairs = start or NmsParameters(), [tuple(pair) for pair in pairs]
    for name in (*(name for pair in pairs for name in pair), *(grid or ())):
        if name not in NAMES:
            raise unknown_name("number of pose NMS", name, NAMES)
    if not pairs or any(len(set(pair)) != 2 or len(pair) != 2 for pair in pairs) or rounds < 1:
        raise CourseError(f"the search needs pairs of two different numbers and 1 round or more; got {pairs}, {rounds}")
    tried = {name: tuple(getattr(start, name) * factor for factor in FACTORS) for name in NAMES}
    tried |= {name: tuple(float(value) for value in values) for name, values in (grid or {}).items()}
    if not all(tried.values()):
        raise CourseError("the grid has a number without values to try")
    check_scenes(poses, scenes)
    table = Pairs(poses, fraction)
    known: dict[bytes, float] = {}

    def ask(parameters: NmsParameters) -> float:
        alive = table.kept(parameters)
        choice = alive.tobytes()
        if choice not in known:
            value = objective(table.split(alive), scenes)
            if value is None or not math.isfinite(value):
                raise CourseError(f"the objective of the search must be a finite number; got {value}")
            known[choice] = float(value)
        return known[choice]

    best, value, steps = start, ask(start), []
    for _ in range(rounds):
        before = best
        for names in pairs:
            values = tuple(tried[name] for name in names)
            options = [replace(best, **{names[0]: a, names[1]: b}) for a in values[0] for b in values[1]]
            surface = torch.tensor([ask(option) for option in options], dtype=torch.float64)
            if float(surface.max()) > value:
                best, value = options[int(surface.argmax())], float(surface.max())
            steps.append(Step(names, values, surface.view(len(values[0]), -1), best))
        if best == before:
            return Learned(best, value, steps, True)
    return Learned(best, value, steps, False)


class Pairs:
    """All pairs (better, worse) of the same scene, of all scenes: what every try of the four numbers looks at."""

    def __init__(self, poses: Sequence[Sequence[Pose]], fraction: float) -> None:
        ranked = [
            [found[i] for i in np.argsort([-float(one.score) for one in found], kind="stable")] for found in poses
        ]
        self.counts = [len(found) for found in ranked]
        self.poses = [pose for found in ranked for pose in found]
        self.people = People.of(self.poses, fraction)
        first, second, rank, offset = [], [], [], 0
        for count in self.counts:
            a, b = np.triu_indices(count, 1)
            first.append(a + offset)
            second.append(b + offset)
            rank.append(a)
            offset += count
        rank = np.concatenate(rank) if rank else np.zeros(0, dtype=np.int64)
        order = np.argsort(rank, kind="stable")  # what the best of every scene removes comes first
        self.first, self.second = (np.concatenate(ends)[order] if ends else rank for ends in (first, second))
        self.ends = np.cumsum(np.bincount(rank)) if len(rank) else []
        self.terms: dict[tuple[str, float], np.ndarray] = {}

    def kept(self, parameters: NmsParameters) -> np.ndarray:
        """Which poses stay, bool, one rank of all scenes at a time."""
        matching, spatial = self._term("soft_matching", parameters.sigma1), self._term("spatial", parameters.sigma2)
        goes = matching + parameters.weight * spatial >= parameters.threshold
        alive, begin = np.ones(len(self.poses), dtype=bool), 0
        for end in self.ends:
            now = slice(begin, end)
            alive[self.second[now][goes[now] & alive[self.first[now]]]] = False
            begin = end
        return alive

    def split(self, alive: np.ndarray) -> list[list[Pose]]:
        """The poses that stay, scene by scene, the best first."""
        each = iter(zip(self.poses, alive, strict=True))
        return [[pose for pose, stays in (next(each) for _ in range(count)) if stays] for count in self.counts]

    def _term(self, kind: str, sigma: float) -> np.ndarray:
        """K_sim or H_sim of all pairs; each depends on one number only, and is computed once for each value."""
        if (kind, sigma) not in self.terms:
            self.terms[kind, sigma] = getattr(self.people, kind)(self.first, self.second, sigma)
        return self.terms[kind, sigma]
