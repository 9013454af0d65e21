"""The program of DeepCut: which candidates are kept, which class each has, and who belongs to whom.

D candidates d (points of a picture), C classes c (joints). All variables are 0 or 1:

    x_dc        candidate d is kept and is a joint of class c
    y_de        d and e are kept and belong to the same person
    z_decc'     = x_dc x_ec' y_de

    minimise    sum_dc a_dc x_dc + sum_{d<e} sum_cc' b_decc' z_decc'
                a_dc = log (1 - p_dc) / p_dc            p_dc:    how likely d is a joint of class c
                b_decc' = log (1 - p_decc') / p_decc'   p_decc': how likely they are one person's, were they c and c'

A probability above 1/2 is a negative cost, a reward. Nothing else says how many people there are, and nothing forbids
two candidates of one class in one person: several detections of a joint are pulled together by their b_decc, which is
where non-maximum suppression has gone. What x, y and z have to satisfy is written as rows in linear.py.

| | published solver | here |
|---|---|---|
| improbable classes and pairs | left out where p <= 1/255 | an option, `prune` |
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from course_lib.errors import CourseError

SUPPRESSED = -1  # the class, and the person, of a candidate that is not kept
PRUNE = 1 / 255  # where the published solver leaves a variable out, for `prune`
CLIP = 1e-4  # probabilities stay so far from 0 and 1: log odds of at most 9.2


def log_odds(probabilities: ArrayLike, clip: float = CLIP, prune: float | None = None) -> np.ndarray:
    """Costs log (1 - p) / p of the same shape, for p kept within [clip, 1 - clip]; infinite where p <= prune."""
    if not 0 < clip < 0.5:
        raise CourseError(f"clip must lie between 0 and 1/2, so that no cost is infinite by accident; got {clip}")
    p = _array(probabilities, "probabilities")
    if not ((p >= 0) & (p <= 1)).all():
        raise CourseError(f"probabilities must lie in [0, 1]; {_first(~((p >= 0) & (p <= 1)), p)}")
    inside = p.clip(clip, 1 - clip)
    costs = np.log((1 - inside) / inside)
    return costs if prune is None else np.where(p <= prune, math.inf, costs)


@dataclass(frozen=True)
class Program:
    """Costs of D candidates and C classes; +inf forbids."""

    unary: np.ndarray  # (D, C) a_dc
    pairwise: np.ndarray  # (D, D, C, C) b_decc' = pairwise[d, e, c, c'] = pairwise[e, d, c', c]; d = e is not read
    single_person: bool = False  # everything that is kept is one person

    def __post_init__(self) -> None:
        unary, pairwise = _array(self.unary, "unary costs"), _array(self.pairwise, "pairwise costs")
        shape = unary.shape
        if len(shape) != 2 or shape[1] == 0 or pairwise.shape != (shape[0], shape[0], shape[1], shape[1]):
            raise CourseError(
                "a program needs unary costs (D, C), with at least one class, and pairwise costs (D, D, C, C); "
                f"got {unary.shape} and {pairwise.shape}"
            )
        pairwise = pairwise.copy()
        pairwise[np.arange(len(unary)), np.arange(len(unary))] = 0
        for name, costs in (("unary", unary), ("pairwise", pairwise)):
            bad = np.isnan(costs) | (costs == -math.inf)
            if bad.any():
                raise CourseError(f"{name} costs must be numbers, or +inf where forbidden; {_first(bad, costs)}")
        with np.errstate(invalid="ignore"):  # inf - inf
            differs = ~((pairwise == (other := pairwise.transpose(1, 0, 3, 2))) | (abs(pairwise - other) < 1e-9))
        if differs.any():
            raise CourseError(
                "pairwise costs must say the same of (d, e) as (c, c') and of (e, d) as (c', c); "
                f"{_first(differs, pairwise)}, the other way round {other[tuple(np.argwhere(differs)[0])]:g}"
            )
        object.__setattr__(self, "unary", unary)
        object.__setattr__(self, "pairwise", pairwise)

    @classmethod
    def of_probabilities(
        cls,
        unary: ArrayLike,
        pairwise: ArrayLike,
        clip: float = CLIP,
        prune: float | None = None,
        single_person: bool = False,
    ) -> Program:
        """The program of p_dc (D, C) and p_decc' (D, D, C, C)."""
        return cls(log_odds(unary, clip, prune), log_odds(pairwise, clip, prune), single_person)

    def __len__(self) -> int:
        return len(self.unary)

    @property
    def classes(self) -> int:
        return self.unary.shape[1]

    def objective(self, labels: ArrayLike, people: ArrayLike) -> float:
        """What classes (D,) and persons (D,) cost, both SUPPRESSED where not kept; infinite where forbidden."""
        labels, people = np.asarray(labels, dtype=int), np.asarray(people, dtype=int)
        if labels.shape != (len(self),) or people.shape != (len(self),):
            raise CourseError(
                f"{len(self)} candidates need as many classes and persons; got {labels.shape} and {people.shape}"
            )
        if labels.size and (labels.min() < SUPPRESSED or labels.max() >= self.classes):
            raise CourseError(f"classes are numbered from 0 to {self.classes - 1}, -1 is suppressed; got {labels}")
        kept = np.flatnonzero(labels != SUPPRESSED)
        if not np.array_equal(kept, np.flatnonzero(people >= 0)):
            raise CourseError("a kept candidate has a class and a person, a suppressed one neither; here they differ")
        c, person = labels[kept], people[kept]
        if self.single_person and len(np.unique(person)) > 1:
            return math.inf
        d, e = np.triu_indices(len(kept), 1)
        d, e = (side[person[d] == person[e]] for side in (d, e))
        return float(self.unary[kept, c].sum() + self.pairwise[kept[d], kept[e], c[d], c[e]].sum())

    def least(self) -> float:
        """A lower bound that needs no solver: as if every candidate and every pair could have its own best."""
        d, e = np.triu_indices(len(self), 1)
        pairs = self.pairwise[d, e].min((1, 2), initial=0.0)
        return float(self.unary.min(1, initial=0.0).sum() + pairs.sum())


def _array(values: ArrayLike, name: str) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise CourseError(f"{name} must be an array of numbers; {error}") from None


def _first(bad: np.ndarray, values: np.ndarray) -> str:
    where = tuple(int(i) for i in np.argwhere(bad)[0])
    return f"at {list(where)} there is {values[where]:g}"
