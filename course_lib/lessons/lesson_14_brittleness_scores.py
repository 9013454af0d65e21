"""What the study of brittleness says: scores, what is left of them under damage, and how far to trust that.

Everything is counted from the digits that the study keeps for every person, so that clean and damaged are compared on
the same people (and, where damage takes joints out of the picture, on the same joints). Intervals: people are drawn
with replacement, the same in both conditions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from course_lib import checkpoints, paths
from course_lib.datasets import corruptions
from course_lib.errors import CourseError, unknown_name
from course_lib.lessons import lesson_14_brittleness as study
from course_lib.lessons import line
from course_lib.lessons.lesson_12_measures import unpacked
from course_lib.training import recipes
from course_lib.training.evaluate import middle

SAMPLES, LEVEL = 2000, 0.95
PIXELS = tuple(name for name in corruptions.names() if corruptions.REGISTER[name].family != "scene")
TITLES = {one.weights: one.title for one in line.SYSTEMS}
_SHORTER = {"with poselets": "Poselets", "Convolutional pose machine": "CPM"}
SHORT_TITLES = {name: _SHORTER.get(title[3:], title[3:]) for name, title in TITLES.items()}
_VIEW = {name[0]: name for name in study.VIEWS}


class Kept(NamedTuple):
    """A score under damage beside the clean one of the same people."""

    clean: float
    score: float
    ratio: float  # score / clean
    low: float  # the 95 % interval of the ratio
    high: float


class Robustness(NamedTuple):
    """The three numbers of the corruption benchmarks, with 95 % intervals."""

    clean: float  # AP* there, PCK@0.2 on clean pictures here
    mpc: float  # mean under corruption: over corruptions and severities
    rpc: float  # mpc / clean
    mpc_interval: tuple[float, float]
    rpc_interval: tuple[float, float]


@dataclass(frozen=True)
class Scores:
    """A stored study, ready to be asked."""

    stored: dict[str, Any]

    @cached_property
    def systems(self) -> list[str]:
        """The single-person systems that were measured, in the order of the lessons."""
        there = {run["system"] for run in self.stored["runs"] if run["kind"] == "single"}
        return [name for name in TITLES if name in there]

    @cached_property
    def fast(self) -> list[str]:
        """Those who were shown everything."""
        return [name for name in self.systems if name not in study.SLOW]

    def runs(self, system: str, kind: str = "single") -> dict[str, Any]:
        """A system's runs by condition."""
        for run in self.stored["runs"]:
            if (run["system"], run["kind"]) == (system, kind):
                return run["conditions"]
        raise unknown_name("system in the study", system, [one["system"] for one in self.stored["runs"]])

    def has(self, system: str, condition: str, kind: str = "single") -> bool:
        """Whether a system was shown a condition."""
        return condition in self.runs(system, kind)

    def _asked(self, system: str, condition: str, which: str = "asked") -> Tensor:
        few = f"{condition}, few" if system in study.SLOW else condition
        return unpacked(self.stored["asked"][few][which])

    def counts(self, system: str, condition: str) -> tuple[Tensor, Tensor, Tensor]:
        """Joints (N,) found, found of the undamaged person, and asked for: of everybody in a condition.

        A world has people of its own; beside them stand those of the world as it is.
        """
        run = self.runs(system)[condition]
        right, asked = unpacked(run["right"]), self._asked(system, condition)
        if "clean" in run:
            return right, unpacked(run["clean"]), asked
        return right, unpacked(self.runs(system)[study.CLEAN]["right"])[: len(right)], asked

    def kept(self, system: str, condition: str) -> Kept:
        """What is left of a system's PCK@0.2 in a condition."""
        right, clean, asked = self.counts(system, condition)
        same = "clean" in self.runs(system)[condition]
        of_clean = asked if same else self._asked(system, study.CLEAN)[: len(right)]
        return _kept(right, asked, clean, of_clean)

    def covered(self, system: str, severity: int) -> tuple[Kept, Kept]:
        """Under a disc: the joints that it hides, and the others."""
        condition = f"{corruptions.DISC} {severity}"
        run = self.runs(system)[condition]
        right, clean, asked = self.counts(system, condition)
        hidden = self._asked(system, condition, "covered")
        found, before = unpacked(run["covered"]), unpacked(run["covered_clean"])
        return _kept(found, hidden, before, hidden), _kept(
            right - found, asked - hidden, clean - before, asked - hidden
        )

    def grid(self, system: str, names: Sequence[str] | None = None) -> Tensor:
        """score / clean of corruptions by severities; NaN where a system was not shown it."""
        names = corruptions.names() if names is None else names
        rows = [
            [
                self.kept(system, f"{name} {severity}").ratio if self.has(system, f"{name} {severity}") else torch.nan
                for severity in corruptions.SEVERITIES
            ]
            for name in names
        ]
        return torch.tensor(rows)

    def robustness(self, system: str, names: Sequence[str] = PIXELS) -> Robustness:
        """AP*, mPC and rPC, the score being PCK@0.2."""
        listed = [f"{name} {severity}" for name in names for severity in corruptions.SEVERITIES]
        if missing := [one for one in listed if not self.has(system, one)]:
            raise CourseError(f"{system} was not shown {missing[0]}, so its mean under corruption is not known")
        right, asked = (torch.stack([self.counts(system, one)[at] for one in listed]) for at in (0, 2))  # (C, N)
        first = self.runs(system)[study.CLEAN]["right"]
        clean = unpacked(first)[: right.shape[1]]
        known = self._asked(system, study.CLEAN)[: right.shape[1]]
        means = []
        for times in (torch.ones(1, len(clean), dtype=torch.float64), drawn(len(clean))):
            mpc = ((right @ times.T) / (asked @ times.T)).mean(0)  # (samples,)
            means.append((mpc, (times @ clean) / (times @ known)))
        (mpc, own), (mpcs, owns) = means
        return Robustness(float(own), float(mpc), float(mpc / own), middle(mpcs, LEVEL), middle(mpcs / owns, LEVEL))

    def views(self, system: str, share: float) -> dict[str, dict[str, Any]]:
        """By view: PCK@0.2, with the sides' names exchanged, and people, where this share tells front from back."""
        condition = f"cues {share:g}"
        run, asked = self.runs(system)[condition], self._asked(system, condition)
        seen = self.stored["asked"][condition]["views"]
        rows = {}
        for letter, view in _VIEW.items():
            chosen = torch.tensor([one == letter for one in seen])
            right, total = unpacked(run["right"])[chosen], asked[chosen]
            times = drawn(len(total))
            interval = middle((times @ right) / (times @ total).clamp(min=1), LEVEL)
            mirrored = float(unpacked(run["mirrored"])[chosen].sum() / total.sum())
            pck = float(right.sum() / total.sum())
            rows[view] = {"pck": pck, "mirrored": mirrored, "people": int(chosen.sum()), "interval": interval}
        return rows

    def without_cues(self, system: str, kind: str = "right") -> tuple[float, float, float]:
        """By how many points PCK@0.2 ("right"; or "mirrored", under exchanged names) of people seen from front and
        back changes where nobody carries cues instead of everybody, with its 95 % interval; the same people."""
        ends = []
        for share in (max(study.CUES), min(study.CUES)):
            condition = f"cues {share:g}"
            chosen = torch.tensor([one != "s" for one in self.stored["asked"][condition]["views"]])
            digits = unpacked(self.runs(system)[condition][kind])[chosen]
            ends.append((digits, self._asked(system, condition)[chosen]))
        (with_cues, asked), (without, also) = ends
        times = drawn(len(asked))
        low, high = middle((times @ without) / (times @ also) - (times @ with_cues) / (times @ asked), LEVEL)
        points = float(without.sum() / also.sum() - with_cues.sum() / asked.sum())
        return 100 * points, 100 * low, 100 * high

    def confidence(self, system: str, condition: str) -> float:
        """The mean score a system gives its joints, as a share of the one it gives on clean pictures."""
        runs = self.runs(system)
        return runs[condition]["score"] / runs[study.CLEAN]["score"]

    def crowds(self) -> dict[str, dict[str, dict[str, Any]]]:
        """By system that finds everybody: its runs by condition."""
        return {one["system"]: one["conditions"] for one in self.stored["runs"] if one["kind"] == "crowds"}


@cache
def drawn(count: int, samples: int = SAMPLES, seed: int = 0) -> Tensor:
    """How often each of N people is in each sample (samples, N)."""
    picks = torch.randint(count, (samples, count), generator=torch.Generator().manual_seed(seed))
    return torch.zeros(samples, count, dtype=torch.float64).scatter_add_(1, picks, torch.ones(picks.shape).double())


def _kept(right: Tensor, asked: Tensor, clean: Tensor, of_clean: Tensor) -> Kept:
    score, before = float(right.sum() / asked.sum().clamp(min=1)), float(clean.sum() / of_clean.sum().clamp(min=1))
    times = drawn(len(right))
    scores, befores = (times @ right) / (times @ asked).clamp(min=1), (times @ clean) / (times @ of_clean).clamp(min=1)
    low, high = middle(scores / befores.clamp(min=1e-9), LEVEL)
    return Kept(before, score, score / before if before else torch.nan, low, high)


def without_frame(here: study.Shown) -> study.Shown:
    """Shrunk people with the colours at the border of their picture drawn out into the black around it."""
    images = here.batch.images.clone()
    for image in images:
        rows, columns = (image.sum(0).sum(along) > 0 for along in (1, 0))
        (top, bottom), (left, right) = (_ends(lit) for lit in (rows, columns))
        middle = image[None, :, top:bottom, left:right]
        around = (left, image.shape[2] - right, top, image.shape[1] - bottom)
        image.copy_(functional.pad(middle, around, "replicate")[0])
    return replace(here, batch=replace(here.batch, images=images))


def _ends(lit: Tensor) -> tuple[int, int]:
    """The first place that is lit, and one after the last."""
    places = lit.nonzero()[:, 0]
    return int(places[0]), int(places[-1]) + 1


def gap() -> dict[str, dict[str, Any]]:
    """Drawn people beside photographs, by system: PCK@0.2 with its interval, from the headers of the weights, and
    whether a system was ever shown photographs of people: "yes", "at first" or "never"."""
    rows = {}
    for system in line.SYSTEMS:
        header = checkpoints.read_header(paths.checkpoint(system.weights))
        row: dict[str, Any] = {"shown": _shown_photographs(header)}
        for kind, name in (("drawn", "single-val"), ("photographs", "lspet-val")):
            measured = line.scores(system.weights, name)
            row |= {kind: measured["pck@0.2"], f"{kind}_interval": measured["pck@0.2_interval"]}
        rows[system.weights] = row
    return rows


def _shown_photographs(header: dict[str, Any]) -> str:
    if "lspet" in header["data"]:
        return "yes"
    before = recipes.RECIPES.get(header["start"].get("recipe", ""))  # classical systems have no recipe
    return "at first" if before and "lspet" in before.data else "never"


# COCO-C as published (Wang and others 2021, arXiv 2105.06152, and its repository): AP*, mPC, rPC in per cent. The
# repository's table has its method labels one row off; this is the reading for which rPC = mPC / AP*.
PUBLISHED = {
    "SimpleBaseline R50": ((70.4, 47.8, 67.9), (70.1, 50.1, 71.5)),
    "SimpleBaseline R101": ((71.4, 49.6, 69.5), (71.3, 52.3, 73.3)),
    "SimpleBaseline R152": ((72.0, 50.9, 70.7), (72.3, 53.2, 73.6)),
    "HRNet-W32": ((74.4, 53.0, 71.3), (74.7, 55.5, 74.3)),
    "HRNet-W48": ((75.1, 53.7, 71.6), (75.4, 57.1, 75.7)),
    "HigherHRNet-W32, bottom-up": ((67.1, 39.9, 59.4), (68.3, 45.4, 66.5)),
}
