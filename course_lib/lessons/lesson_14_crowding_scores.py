"""What lesson 14's study of crowds says: AP of any selection of its pictures, times by number of people, crossings.

Intervals are by bootstrap: pictures of one group are drawn with replacement, the same ones for all systems. How long a
picture takes is fitted to the medians of the pictures with equally many people: T(n) = a + b n for systems that look at
one person after another, T(n) = a + c n + d n^2 for those that look for everybody's joints first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from course_lib.errors import CourseError
from course_lib.lessons import lesson_14_crowding as study
from course_lib.metrics.ap import COCO_RECALLS, COCO_THRESHOLDS, Matches
from course_lib.metrics.crowding import CROWD_LEVELS, crowd_level
from course_lib.training.crowds import SAMPLES

NEAREST, FARTHEST = 1.0, 20.0  # people between whom a crossing is one; up to twelve were measured
PERCENT = (2.5, 97.5)


# --- answers ----------------------------------------------------------------------------------------------------------


def column(stored: Mapping[str, Any], kind: str, what: str) -> np.ndarray:
    """Of all pictures of a set (N,), round by round, the crowd "index" or how many people there are "to_find"."""
    return np.array([float(one) for row in stored["pictures"][kind] for one in row[what].split()])


def people(stored: Mapping[str, Any]) -> np.ndarray:
    """How many people are in each picture (N,) of the set that goes by number."""
    return np.tile(stored["numbers"], len(stored["pictures"]["number"]))


def answers(stored: Mapping[str, Any], name: str, kind: str) -> Matches:
    """Who was found by a system in the pictures of a set, as the evaluation knew it."""
    runs = list(study.runs_of(stored, name, kind))
    each = [(scores.split(), marks.split()) for run in runs for scores, marks in _pictures(run)]
    if not each:
        raise CourseError(f"the study of crowds has no answers of '{name}' to the pictures by {kind}")
    score = np.array([float(one) for scores, _ in each for one in scores])
    mark = np.array([int(one, 16) for _, marks in each for one in marks])
    order = np.argsort(-score, kind="stable")
    bits = (mark[order, None] >> np.arange(2 * len(COCO_THRESHOLDS))) & 1 == 1  # (D, 20)
    found, excused = np.split(bits[:, None], 2, axis=-1)
    to_find = column(stored, kind, "to_find")[: len(each)].astype(int)
    return Matches(
        pictures=len(each),
        picture=np.repeat(np.arange(len(each)), [len(scores) for scores, _ in each])[order],
        found=found,
        excused=excused,
        true_picture=np.repeat(np.arange(len(each)), to_find),
        ignored=np.zeros((int(to_find.sum()), 1), dtype=bool),
        areas=("all",),
        thresholds=COCO_THRESHOLDS,
        recalls=COCO_RECALLS,
    )


def _pictures(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    return list(zip(run["scores"], run["marks"], strict=True))


def groups(stored: Mapping[str, Any]) -> dict[str, tuple[str, np.ndarray]]:
    """What is scored together: a name, the set, and which of its pictures (N,)."""
    number, index = people(stored), column(stored, "index", "index")
    edges = [*stored["edges"], math.inf]
    level = np.array([crowd_level(one) for one in index])
    chosen = {f"{n}-{n + 1}": ("number", (number == n) | (number == n + 1)) for n in stored["numbers"][::2]}
    for low, high in itertools.pairwise(edges):
        chosen[range_name(low, high)] = ("index", (index >= low) & (index < high))
    return chosen | {name: ("index", level == name) for name in CROWD_LEVELS}


def range_name(low: float, high: float) -> str:
    """A range of the crowd index in words."""
    return f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} and more"


def of_samples(matches: Matches, chosen: np.ndarray, samples: int = SAMPLES, seed: int = 0) -> np.ndarray:
    """The AP (1 + S,) of some pictures (N,) bool, then of so many draws of as many of them, with replacement."""
    there = chosen[matches.picture]
    few = replace(matches, picture=matches.picture[there], found=matches.found[there], excused=matches.excused[there])
    rows, draw = np.flatnonzero(chosen), np.random.default_rng(seed)
    times = [chosen.astype(float)]
    times += [np.bincount(draw.choice(rows, len(rows)), minlength=len(chosen)).astype(float) for _ in range(samples)]
    return np.array([few.scores(one).ap() or 0.0 for one in times])


def summed(stored: Mapping[str, Any], samples: int = SAMPLES) -> dict[str, Any]:
    """AP [value, low, high] of every system in every group; by how much it falls from few people to many, and from easy
    to hard; and how far it lies above the part affinity fields on the same pictures."""
    names = [name for name in study.SYSTEMS if _complete(stored, name)]
    matches = {(name, kind): answers(stored, name, kind) for name in names for kind in study.SETS}
    drawn = {
        (name, group): of_samples(matches[name, kind], chosen, samples, seed)
        for seed, (group, (kind, chosen)) in enumerate(groups(stored).items())
        for name in names
    }
    group_names = list(groups(stored))
    few, many = group_names[0], group_names[len(stored["numbers"]) // 2 - 1]
    rows: dict[str, Any] = {"samples": samples, "ap": {}, "fall": {}, "above": {}}
    for name in names:
        rows["ap"][name] = {group: _interval(drawn[name, group]) for group in group_names}
        rows["fall"][name] = {
            f"{few} to {many}": _interval(drawn[name, few] - drawn[name, many]),
            "easy to hard": _interval(drawn[name, "easy"] - drawn[name, "hard"]),
        }
        if "paf_course" in names and name != "paf_course":
            above = {group: _interval(drawn[name, group] - drawn["paf_course", group]) for group in group_names}
            rows["above"][name] = above
    return rows


def _complete(stored: Mapping[str, Any], name: str) -> bool:
    return all(
        len(list(study.runs_of(stored, name, kind))) == len(stored.get("pictures", {}).get(kind, ())) > 0
        for kind in study.SETS
    )


def _interval(values: np.ndarray) -> list[float]:
    """[value, low, high] of the value itself and its samples (1 + S,)."""
    return [round(float(one), 4) for one in (values[0], *np.percentile(values[1:], PERCENT))]


# --- times ------------------------------------------------------------------------------------------------------------


class Fit(NamedTuple):
    """A polynomial of the number of people in milliseconds, and how much of the medians' spread it explains."""

    coefficients: tuple[float, ...]  # of 1, n, n^2
    r2: float

    def at(self, numbers: np.ndarray | float) -> np.ndarray:
        """Milliseconds for so many people."""
        return np.polynomial.polynomial.polyval(numbers, self.coefficients)


def milliseconds(stored: Mapping[str, Any], name: str, part: str = "all") -> np.ndarray:
    """What every picture took (rounds, 12), by number of people; `part` may be "detector" or, told boxes, "alone"."""
    runs = study.runs_of(stored, name, "number")
    return np.array([[float(one) for one in run[part].split()] for run in runs if part in run])


def degree(name: str) -> int:
    """Of the polynomial that is fitted to a system's times."""
    return 2 if study.SYSTEMS[name].family == study.BOTTOM_UP else 1


def fitted(numbers: Sequence[int], taken: np.ndarray, degree: int) -> Fit:
    """The polynomial of least squares through the medians of times (rounds, N) of so many people (N,)."""
    numbers, middle = np.asarray(numbers, dtype=float), np.median(taken, axis=0)
    coefficients = np.polynomial.polynomial.polyfit(numbers, middle, degree)
    off = middle - np.polynomial.polynomial.polyval(numbers, coefficients)
    spread = float(np.square(middle - middle.mean()).sum())
    return Fit(tuple(coefficients.tolist()), 1 - float(np.square(off).sum()) / spread if spread else 1.0)


def crossing(one: Sequence[float], other: Sequence[float]) -> float:
    """The fewest people, from NEAREST to FARTHEST, at which two polynomials meet; infinity where there are none."""
    difference = np.polynomial.polynomial.polysub(one, other)
    scale = max(map(abs, (*one, *other)))
    difference = np.trim_zeros(np.where(np.abs(difference) < 1e-12 * scale, 0.0, difference), "b")
    if len(difference) < 2:  # the same everywhere, or equally far apart
        return math.inf
    roots = np.polynomial.polynomial.polyroots(difference)
    met = [float(root.real) for root in roots if abs(root.imag) < 1e-9 and NEAREST <= root.real <= FARTHEST]
    return min(met, default=math.inf)


def crossings(
    stored: Mapping[str, Any], one: str, other: str, samples: int = SAMPLES, seed: int = 0
) -> tuple[float, float, float, float]:
    """Where two systems take equally long: the fit's crossing, low and high of its samples, and their share that has
    one. Pictures are drawn anew for every number of people."""
    numbers, draw = stored["numbers"], np.random.default_rng(seed)
    taken = {name: milliseconds(stored, name) for name in (one, other)}
    rounds = len(taken[one])
    found = [crossing(*(fitted(numbers, taken[name], degree(name)).coefficients for name in (one, other)))]
    for _ in range(samples):
        which = draw.integers(rounds, size=(rounds, len(numbers)))
        fits = (fitted(numbers, np.take_along_axis(taken[name], which, 0), degree(name)) for name in (one, other))
        found.append(crossing(*(fit.coefficients for fit in fits)))
    ordered = np.sort(found[1:])  # infinities last, so that percentiles are taken by rank
    low, high = (float(ordered[min(round(q / 100 * (samples - 1)), samples - 1)]) for q in PERCENT)
    return found[0], low, high, float(np.isfinite(found[1:]).mean())


def law(stored: Mapping[str, Any], name: str, part: str = "all") -> Fit:
    """The law of a system's times: a line, or for the whole of a bottom-up system a parabola."""
    return fitted(stored["numbers"], milliseconds(stored, name, part), degree(name) if part == "all" else 1)


def law_of_boxes(stored: Mapping[str, Any], name: str) -> Fit:
    """The line through what a two-part system takes after its detector, by the number of boxes, over all pictures."""
    rest = milliseconds(stored, name) - milliseconds(stored, name, "detector")
    return fitted(milliseconds(stored, name, "boxes").ravel(), rest.reshape(1, -1), 1)


# --- tables -----------------------------------------------------------------------------------------------------------


def overview_rows(stored: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Of every system the median milliseconds for few and for many people, and the AP of the fewest and the most."""
    rows = {}
    for name, ap in stored["summary"]["ap"].items():
        middle = dict(zip(stored["numbers"], np.median(milliseconds(stored, name), axis=0).tolist(), strict=True))
        pairs = [group for group, (kind, _) in groups(stored).items() if kind == "number"]
        rows[study.SYSTEMS[name].title[3:]] = {
            **{f"ms, n = {n}": middle[n] for n in (1, 2, 6, 12) if n in middle},
            **{f"AP, n = {pair}": ap[pair][0] for pair in (pairs[0], pairs[-1])},
        }
    return rows


def law_rows(stored: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The fitted laws, a row for every system."""
    rows = {}
    for name in stored["summary"]["ap"]:
        found = law(stored, name)
        start, slope, bend = (*found.coefficients, None)[:3]
        row = {"a": start, "for each person": slope, "for each pair (n²)": bend, "R²": found.r2}
        rows[study.SYSTEMS[name].title[3:]] = row
    return rows


def crossing_rows(stored: Mapping[str, Any], samples: int = 200) -> dict[str, dict[str, str]]:
    """Where every system that looks at one person after another meets those that do not, with the 95 % interval."""
    systems = [study.SYSTEMS[name] for name in stored["summary"]["ap"]]
    others = [one for one in systems if one.family == study.BOTTOM_UP]
    return {
        one.title[3:]: {
            f"meets {other.title[3:]} at": in_words(*crossings(stored, one.name, other.name, samples))
            for other in others
        }
        for one in systems
        if one.family != study.BOTTOM_UP
    }


def in_words(met: float, low: float, high: float, share: float) -> str:
    """A crossing as a table shows it."""
    if not math.isfinite(met):
        return f"nowhere (in {100 * (1 - share):.0f} % of the samples)"
    return f"{met:.1f} ({low:.1f} to {f'{high:.1f}' if math.isfinite(high) else 'never'})"


def again(stored: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The short run: some pictures of the first round answered again, beside what is stored of them."""
    numbers = stored["short_run"]["numbers"]
    scenes, rows = study.by_number(0, numbers), {}
    places = [stored["numbers"].index(number) for number in numbers]
    for name in names:
        now, before = study.one_run(name, scenes), next(study.runs_of(stored, name, "number"))
        stands = [(mark, before["marks"][place]) for mark, place in zip(now["marks"], places, strict=True)]
        pairs = [pair for one, other in stands for pair in itertools.zip_longest(one.split(), other.split())]
        kept = [float(before["all"].split()[place]) for place in places]
        rows[study.SYSTEMS[name].title[3:]] = {
            "estimates stored": sum(len(other.split()) for _, other in stands),
            "of all, judged alike": sum(one == other for one, other in pairs) / max(len(pairs), 1),
            "ms stored": fmean(kept),
            "ms now": fmean(map(float, now["all"].split())),
        }
    return rows
