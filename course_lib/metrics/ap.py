"""COCO's AP and AR, the whole protocol, for all pictures at once; here of keypoints, in `box_ap.py` of boxes.

    1. The 20 best estimates of every picture, best first (100 boxes).
    2. OKS of each with each person (one without a labelled joint stands for its box, grown threefold); IoU of boxes.
    3. A person is *ignored* if a crowd, if without labelled joints, or if its area is outside the range.
    4. At every threshold of likeness, best estimate first: it takes the free person most like it, if alike enough.
       Ignored people come into question only if no other does. A crowd can be taken again and again.
    5. What took an ignored person counts neither way. What took nobody is a false positive, unless its own
       area is outside the range: then it does not count either.
    6. All pictures together, best score first: precision, made monotone from the right, is read at 101
       recalls, zero beyond the last one reached. AP is the mean over recalls and thresholds, AR the mean over
       thresholds of the last recall.

Where pycocotools loops in Python over pictures, areas, thresholds, estimates and people, this loops over the
rank of the estimate within its picture only. One thing differs on purpose: there a person whose id is 0
cannot be found, because 0 also means "nobody"; ids play no part here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np

from course_lib.errors import CourseError
from course_lib.metrics.oks import TINY, Sigmas, likeness, sigmas_of

COCO_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
COCO_RECALLS = tuple(np.linspace(0.0, 1.0, 101).tolist())
COCO_MAX_ESTIMATES = 20
COCO_AREAS = {"all": (0.0, 1e10), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}  # bounds inclusive
PICTURES_AT_ONCE = 128


class TruthsOfAnyKind(Protocol):
    """What the protocol must know of true people, whatever they are compared by; fields as in `Truths`."""

    picture: np.ndarray
    area: np.ndarray
    ignored: np.ndarray
    crowd: np.ndarray


@dataclass
class Ranked:
    """What the protocol must know of D estimates of all pictures, one after another."""

    picture: np.ndarray  # (D,)
    score: np.ndarray  # (D,)
    area: np.ndarray  # (D,)

    def best(self, count: int) -> Self:
        """The `count` best of every picture, by picture and falling score; equal scores keep their order."""
        order = np.lexsort((-self.score, self.picture))
        picture = self.picture[order]
        order = order[_slots(picture) < count]
        return replace(self, **{name: values[order] for name, values in vars(self).items()})


# (estimates, their rows (M,), rows (M,) of the true people) -> how much alike they are (M,)
Likeness = Callable[[Any, np.ndarray, np.ndarray], np.ndarray]


@dataclass
class Truths:
    """G true people of all pictures, one after another."""

    picture: np.ndarray  # (G,) number of the picture, 0 ... in the order that breaks ties between equal scores
    joints: np.ndarray  # (G, K, 2)
    labelled: np.ndarray  # (G, K) bool
    area: np.ndarray  # (G,) of the segment
    box: np.ndarray  # (G, 4) x0, y0, x1, y1; used for people without labelled joints only
    ignored: np.ndarray  # (G,) bool
    crowd: np.ndarray  # (G,) bool, may be taken more than once


@dataclass
class Estimates(Ranked):
    """D estimated poses of all pictures, one after another."""

    joints: np.ndarray  # (D, K, 2)


@dataclass
class KeypointScores:
    """What one evaluation found. For an area range nobody falls into, precision and recall are None."""

    thresholds: tuple[float, ...]  # T
    recalls: tuple[float, ...]  # R, the grid precision is read at
    precision: dict[str, np.ndarray | None]  # by area range: (T, R)
    recall: dict[str, np.ndarray | None]  # by area range: (T,)

    def ap(self, area: str = "all", threshold: float | None = None) -> float | None:
        """Average precision, over all thresholds or at one; None where there is nobody to find."""
        return self._mean(self.precision[area], threshold)

    def ar(self, area: str = "all", threshold: float | None = None) -> float | None:
        """Average recall, over all thresholds or at one; None where there is nobody to find."""
        return self._mean(self.recall[area], threshold)

    @property
    def numbers(self) -> dict[str, float | None]:
        """COCO's ten numbers in COCO's order; None where COCO prints -1."""
        table = {}
        for name, score in (("AP", self.ap), ("AR", self.ar)):
            table |= {name: score(), f"{name}50": score(threshold=0.5), f"{name}75": score(threshold=0.75)}
            table |= {f"{name}_{area}": score(area) for area in self.precision if area != "all"}
        return table

    def _mean(self, values: np.ndarray | None, threshold: float | None) -> float | None:
        if values is None:
            return None
        if threshold is not None:
            values = values[np.isclose(self.thresholds, threshold)]
        return float(values.mean()) if values.size else None


@dataclass
class Matches:
    """Who found whom: all of an evaluation that does not depend on how often a picture counts.

    D estimates, the best of all pictures first; G true people; A area ranges; T thresholds.
    """

    pictures: int  # numbered 0 ..., those with nobody in them included
    picture: np.ndarray  # (D,)
    found: np.ndarray  # (D, A, T) bool: took a person
    excused: np.ndarray  # (D, A, T) bool: counts neither way
    true_picture: np.ndarray  # (G,)
    ignored: np.ndarray  # (G, A) bool
    areas: tuple[str, ...]
    thresholds: tuple[float, ...]
    recalls: tuple[float, ...]

    def people(self, times: np.ndarray | None = None) -> np.ndarray:
        """How many people there are to find in each area range (A,); `times` as in `scores`."""
        return self._times(times)[self.true_picture] @ ~self.ignored

    def scores(self, times: np.ndarray | None = None) -> KeypointScores:
        """The scores, where picture i counts `times[i]` times (N,): 0 leaves it out, 2 is as if it were there twice."""
        weight, precision, recall = self._times(times)[self.picture], {}, {}
        for a, (name, positives) in enumerate(zip(self.areas, self.people(times), strict=True)):
            right, wrong = self.found[:, a] & ~self.excused[:, a], ~self.found[:, a] & ~self.excused[:, a]  # (D, T)
            curves = _curves(weight * right.T, weight * wrong.T, positives, np.array(self.recalls))
            precision[name], recall[name] = curves if positives else (None, None)
        return KeypointScores(self.thresholds, self.recalls, precision, recall)

    def _times(self, times: np.ndarray | None) -> np.ndarray:
        return np.ones(self.pictures) if times is None else times


def evaluate(truths: Truths, estimates: Estimates, sigmas: Sigmas = "coco", **protocol) -> KeypointScores:
    """COCO's protocol with COCO's parameters as defaults; `protocol` as in `match`.

    No estimates at all: AP and AR are 0. Nobody to find: they are None. A score that is not finite cannot be
    ranked and is refused.
    """
    return match(truths, estimates, sigmas, **protocol).scores()


def match(truths: Truths, estimates: Estimates, sigmas: Sigmas = "coco", **protocol) -> Matches:
    """Steps 1 to 5 of the protocol for poses; `protocol` as in `match_by`."""
    spread = sigmas_of(sigmas).numpy()

    def alike(best: Estimates, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        people = (values[other] for values in (truths.joints, truths.labelled, truths.area))
        return likeness(best.joints[one], *people, spread, truths.box[other])

    return match_by(alike, truths, estimates, **protocol)


def match_by(
    alike: Likeness,
    truths: TruthsOfAnyKind,
    estimates: Ranked,
    thresholds: Sequence[float] = COCO_THRESHOLDS,
    recalls: Sequence[float] = COCO_RECALLS,
    max_estimates: int = COCO_MAX_ESTIMATES,
    areas: Mapping[str, tuple[float, float]] = COCO_AREAS,
    pictures: int = 0,
) -> Matches:
    """Steps 1 to 5 for what is alike in any way. `areas` needs an "all"; `pictures`: how many there are at least."""
    if "all" not in areas:
        raise CourseError('the area ranges need one that is called "all"')
    if not (truths.area >= 0).all():
        raise CourseError(f"a person in picture {truths.picture[~(truths.area >= 0)][0]} has no area of 0 or more")
    if not np.isfinite(estimates.score).all():
        bad = estimates.picture[~np.isfinite(estimates.score)][0]
        raise CourseError(f"a person estimated in picture {bad} has a score that is not finite and cannot be ranked")
    estimates = estimates.best(max_estimates)
    low, high = np.array([*areas.values()], dtype=np.float64).T  # (A,) each
    ignored = truths.ignored[:, None] | _outside(truths.area, low, high)  # (G, A)
    found, excused = _match_all(alike, truths, estimates, ignored, np.array(thresholds))
    excused |= ~found & _outside(estimates.area, low, high)[..., None]  # (D, A, T)
    order = np.argsort(-estimates.score, kind="stable")
    return Matches(
        pictures=max(pictures, 1 + max(truths.picture.max(initial=-1), estimates.picture.max(initial=-1))),
        picture=estimates.picture[order],
        found=found[order],
        excused=excused[order],
        true_picture=truths.picture,
        ignored=ignored,
        areas=tuple(areas),
        thresholds=tuple(thresholds),
        recalls=tuple(recalls),
    )


def _outside(area: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(N, A) bool: which areas (N,) lie outside which ranges low, high (A,), bounds inside."""
    return (area[:, None] < low) | (area[:, None] > high)


def _slots(group: np.ndarray) -> np.ndarray:
    """Place of every entry within its run of equal values: 5 5 7 7 7 -> 0 1 0 1 2."""
    return np.arange(len(group)) - np.searchsorted(group, group, side="left")


def _match_all(
    alike: Likeness, truths: TruthsOfAnyKind, estimates: Ranked, ignored: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """found and excused (D, A, T): which sorted estimate took a person, and which took one ignored (G, A)."""
    shape = (len(estimates.picture), ignored.shape[1], len(thresholds))
    found, excused = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for d_index, g_index in _blocks(estimates.picture, truths.picture):
        n, d, g = np.nonzero((d_index >= 0)[:, :, None] & (g_index >= 0)[:, None, :])
        values = np.full((*d_index.shape, g_index.shape[1]), -1.0)  # (N, D', G'), -1 for padding
        values[n, d, g] = alike(estimates, d_index[n, d], g_index[n, g])
        real = d_index >= 0
        hit, dull = _match(values, ignored[g_index], truths.crowd[g_index], thresholds)
        found[d_index[real]], excused[d_index[real]] = hit[real], dull[real]
    return found, excused


def _blocks(estimates: np.ndarray, truths: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures that have both estimates and people, some hundred at a time, those with equally many together.

    Yields index grids (N, D') and (N, G') into the sorted estimates and the people, -1 for padding. People
    stand in reverse, so that argmax, which prefers the first of equals, prefers the last as the protocol
    does.
    """
    people = np.argsort(truths, kind="stable")[::-1]
    count = int(max(estimates.max(initial=-1), truths.max(initial=-1))) + 1
    many_d, many_g = np.bincount(estimates, minlength=count), np.bincount(truths, minlength=count)
    both = np.flatnonzero((many_d > 0) & (many_g > 0))
    both = both[np.lexsort((many_g[both], many_d[both]))]
    first_d = np.searchsorted(estimates, np.arange(count))
    first_g = len(truths) - np.searchsorted(np.sort(truths), np.arange(count), side="right")
    for start in range(0, len(both), PICTURES_AT_ONCE):
        pictures = both[start : start + PICTURES_AT_ONCE]
        d = np.arange(many_d[pictures].max())
        g = np.arange(many_g[pictures].max())
        d_grid = np.where(d < many_d[pictures, None], first_d[pictures, None] + d, -1)
        g_grid = np.where(g < many_g[pictures, None], first_g[pictures, None] + g, -1)
        yield d_grid, np.where(g_grid >= 0, people[g_grid], -1)


def _match(
    alike: np.ndarray, ignored: np.ndarray, crowd: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """alike (N, D, G), ignored (N, G, A), crowd (N, G), thresholds (T,) -> found and excused (N, D, A, T)."""
    pictures, estimates, people = alike.shape
    shape = (pictures, ignored.shape[2], len(thresholds))  # N, A, T
    found = np.zeros((pictures, estimates, *shape[1:]), dtype=bool)
    excused = np.zeros_like(found)
    regular = ~ignored.transpose(0, 2, 1)[:, :, None]  # (N, A, 1, G)
    crowd = crowd[:, None, None]
    free = np.ones((*shape, people), dtype=bool)
    limits = np.minimum(thresholds, 1 - 1e-10)[:, None]  # a perfect estimate passes a threshold of 1, too
    near = (alike >= limits.min()).any(-1)  # (N, D): most extra estimates are like nobody and need no matching
    for rank in range(estimates):
        rows = np.flatnonzero(near[:, rank])
        here = alike[rows, rank, None, None]  # (N', 1, 1, G)
        open_ = (free[rows] | crowd[rows]) & (here >= limits)  # (N', A, T, G)
        wanted = open_ & regular[rows]
        some = wanted.any(-1, keepdims=True)
        choice = np.where(some, wanted, open_)  # ignored people only where nobody else is left
        best = np.where(choice, here, -1.0).argmax(-1)[..., None]
        taken = np.take_along_axis(choice, best, -1)
        free[rows] &= ~(taken & (best == np.arange(people)))
        found[rows, rank], excused[rows, rank] = taken[..., 0], (taken & ~some)[..., 0]
    return found, excused


def _curves(right: np.ndarray, wrong: np.ndarray, positives: float, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision at every recall of the grid (T, R) and the last recall (T,), from how much right and wrong (T, D) every
    estimate adds, the best first."""
    right, wrong = np.cumsum(right, axis=1, dtype=np.float64), np.cumsum(wrong, axis=1, dtype=np.float64)
    precision, last = np.zeros((len(right), len(grid))), np.zeros(len(right))
    if not positives or not right.shape[1]:
        return precision, last
    recall = right / positives
    raw = right / (right + wrong + TINY)
    monotone = np.maximum.accumulate(raw[:, ::-1], axis=1)[:, ::-1]
    for t, row in enumerate(recall):
        at = np.searchsorted(row, grid, side="left")
        inside = at < len(row)
        precision[t, inside] = monotone[t, at[inside]]
    return precision, recall[:, -1]
