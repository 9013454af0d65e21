"""What the solvers of DeepCut answer, and people made of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from course_lib.errors import CourseError
from course_lib.models.deepcut.program import SUPPRESSED
from course_lib.pose import Pose
from course_lib.skeletons import Skeleton


class Round(NamedTuple):
    """One linear program or search of the exact solver, or one pass of the local one."""

    rows: int  # of the program that was searched; 0 in a local search
    violated: int  # triangles that its answer violates
    bound: float  # the best proven so far
    objective: float  # the best found so far
    seconds: float  # since the beginning
    relaxed: bool = False  # a linear program: variables could be fractions


class Solution(NamedTuple):
    """D candidates with their classes and persons, the cost, and how much better it could be at most."""

    labels: np.ndarray  # (D,) class, or SUPPRESSED
    people: np.ndarray  # (D,) person, numbered by their first candidates, or SUPPRESSED
    objective: float
    bound: float  # no labelling costs less; -inf where nothing is proven
    proven: bool  # objective and bound meet, within the gap that was asked for
    seconds: float
    rounds: tuple[Round, ...] = ()
    variables: int = 0
    rows: int = 0

    @property
    def gap(self) -> float:
        """(objective - bound) / |objective|: 0 is optimal, inf says nothing."""
        return relative_gap(self.objective, self.bound)

    def clusters(self) -> list[dict[int, int]]:
        """Every person as {candidate: class}."""
        return [
            {int(d): int(self.labels[d]) for d in np.flatnonzero(self.people == person)}
            for person in range(int(self.people.max(initial=SUPPRESSED)) + 1)
        ]


def relative_gap(objective: float, bound: float) -> float:
    """(objective - bound) / |objective|, 0 where they are equal."""
    difference = objective - bound
    if difference <= 0:
        return 0.0
    return difference / abs(objective) if objective else math.inf


def to_poses(
    solution: Solution,
    places: ArrayLike,
    probabilities: ArrayLike,
    skeleton: Skeleton,
    joints: Sequence[int] | None = None,
    *,
    read_out: str = "best",
    least: int = 2,
) -> list[Pose]:
    """The people of a solution, for candidates at places (D, 2) with probabilities (D, C), the best first.

    `joints` says which of the skeleton's joints each class is; None, that they are the same. A joint is where its
    likeliest candidate is ("best", as in the published code), or at the "mean" of a person's candidates of that class,
    weighted by their probabilities. A joint that nobody has gets score 0 and the middle of the person's others. People
    of fewer than `least` joints are dropped: a lonely candidate is kept by the program whenever its p is above 1/2.
    A person's score is the mean over all joints, so that a body found whole goes before a head.
    """
    places, p = np.asarray(places, dtype=float), np.asarray(probabilities, dtype=float)
    size = len(solution.labels)
    joints = tuple(range(len(skeleton))) if joints is None else tuple(joints)
    if places.shape != (size, 2) or p.shape != (size, len(joints)):
        raise CourseError(
            f"{size} candidates of {len(joints)} classes need places ({size}, 2) and probabilities "
            f"({size}, {len(joints)}); got {places.shape} and {p.shape}"
        )
    if len(set(joints)) < len(joints) or not all(0 <= joint < len(skeleton) for joint in joints):
        raise CourseError(
            f"every class must be another joint of the {len(skeleton)} in '{skeleton.name}'; got {joints}"
        )
    if read_out not in ("best", "mean"):
        raise CourseError(f"a joint is read out as 'best' or as 'mean'; got {read_out!r}")
    poses = []
    for members in solution.clusters():
        where, scores = np.zeros((len(skeleton), 2)), np.zeros(len(skeleton))
        found = sorted(set(members.values()))
        for c in found:
            own = np.array([d for d, label in members.items() if label == c])
            weights = p[own, c]
            best = own[weights.argmax()]
            total = weights.sum()
            mean = places[own].mean(0) if total == 0 else weights @ places[own] / total
            where[joints[c]] = places[best] if read_out == "best" else mean
            scores[joints[c]] = weights.max()
        if len(found) < least:
            continue
        there = [joints[c] for c in found]
        missing = np.setdiff1d(np.arange(len(skeleton)), there)
        where[missing] = where[there].mean(0)
        pose = Pose(torch.from_numpy(where).float(), torch.from_numpy(scores).float(), skeleton, float(scores.mean()))
        poses.append(pose)
    return sorted(poses, key=lambda pose: -pose.score)
