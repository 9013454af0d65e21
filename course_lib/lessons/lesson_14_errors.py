"""What kinds of error every system of the course makes, and what its scores are worth: a study, kept as data.

    python -m course_lib evaluate --study errors                                  # some eight minutes of one core
    python -m course_lib evaluate --study errors --weights hourglass_course

shows every system of both lines people of seeds of their own, and writes data/studies/errors.json after every system;
who is in the file already, measured with the same weights, is kept. Single-person systems are told whom to estimate;
those that find everybody, and the hourglass behind the detector, are matched at OKS >= 0.1, and the labelled joints of
people whom they do not find make a class of their own.

A joint is called right, wherever scores are judged, if it is good or jitter: its own joint is the nearest of all that
it could have meant, and ks >= 0.5. Scores are those of the joints of people who were found (that somebody is there at
all is what a person's score is for), clipped to [0, 1] to be read as probabilities. Calibrations are fitted on every
second picture of the everyday set and judged on the others, as they are and after they were blurred and made noisy.

Intervals are bootstrapped over pictures. The expected calibration error has none: chance gaps count as gaps, so that
samples of pictures all have more of it. Its "floor" is what chance alone makes of scores that mean exactly what they
say, if joints are right or wrong one by one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_lib import checkpoints, detectors, metrics, models, paths
from course_lib.datasets import corruptions, synthetic
from course_lib.errors import unknown_name
from course_lib.lessons import crowd_line, line, studies
from course_lib.metrics import CLASSES, Diagnosis
from course_lib.pose import Pose, Scene
from course_lib.training import crowds, evaluate

FILE = paths.DATA / "studies" / "errors.json"
MADE_BY = "python -m course_lib evaluate --study errors"
EVERYDAY, CORRUPTED, CLEAN = "everyday", "everyday, blurred and noisy", "clean"
_NOTHING = {"occluders": 0.0, "others": 0.0, "truncation": 0.0, "blur": 0.0, "noise": 0.0}
SETS: dict[str, dict[str, Any]] = {  # of the world's settings; for pictures of many, also how many people
    EVERYDAY: {},
    CLEAN: {**_NOTHING, "people": (1, 3)},
    "occluded": {**_NOTHING, "occluders": 1.0, "people": (1, 3)},
    "crowded": {**_NOTHING, "others": 1.0, "people": (8, 12)},
}
PEOPLE = dict.fromkeys(SETS, 300)  # crops of a set
PICTURES = {EVERYDAY: 40, CLEAN: 50, "occluded": 40, "crowded": 16}  # of many people
FEWER = {"pictorial_structures": 40, "poselet_conditioned": 40}  # crops of a set, for systems that take long,
HALF = ("deepcut_course",)  # and who is shown half the pictures
BEHIND = "hourglass_course behind the detector"
BEHIND_TITLE = "06 Hourglass, detected boxes"
UNFOUND = "not found"  # the class of the joints of people whom nobody found
KINDS = (*CLASSES, UNFOUND)
BINS, STEPS = 10, 20  # of reliability, and of coverage
WORSE = (("defocus_blur", 3), ("gaussian_noise", 3))  # and how severe: the middle of 5
SHORT, SHORT_SYSTEMS = 50, ("hourglass_course", "tompson_course")  # the piece that the lesson repeats
SAMPLES, CHANCES = 1000, 200


# --- who is examined, and on whom -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class System:
    """A system of either line."""

    name: str
    title: str
    weights: tuple[str, ...]  # all that it is made of
    many: bool  # whether it looks for everybody

    def load(self) -> Any:
        """The model itself."""
        if self.name == BEHIND:
            return crowds.Detected(models.load(self.weights[0]), detectors.load(detectors.OWN))
        return models.load(self.name)

    def digests(self) -> list[str]:
        """The fingerprints of its weights: when they change, the measurement is out of date."""
        return [checkpoints.weights_digest(paths.checkpoint(name)) for name in self.weights]


def systems() -> tuple[System, ...]:
    """Both lines, the single-person one first."""
    single = [System(one.weights, one.title, (one.weights,), False) for one in line.SYSTEMS]
    many = []
    for one in crowd_line.SYSTEMS:
        boxed = crowds.takes_boxes(models.load(one.weights))
        many.append(System(one.weights, one.title, (one.weights, *((detectors.OWN,) if boxed else ())), True))
    told = System(BEHIND, BEHIND_TITLE, (crowd_line.TOLD_SYSTEM.weights, detectors.OWN), True)
    return (*single, told, *many)


def people(name: str, many: bool, count: int | None = None) -> list[Scene]:
    """The pictures of a set, of many people or of one each; the first `count` of them."""
    if name not in SETS:
        raise unknown_name("set of people", name, SETS)
    given = {key: value for key, value in SETS[name].items() if key != "people"}
    settings, seed = synthetic.Settings(**given), f"errors {name}"
    if many:
        crowd = SETS[name].get("people", (1, 12))
        return synthetic.scenes(PICTURES[name], seed, people=crowd, skeleton="lsp", settings=settings)[:count]
    return synthetic.single_scenes(count or PEOPLE[name], seed, settings=settings)


def corrupted(scenes: Sequence[Scene]) -> list[Scene]:
    """The same pictures, blurred and noisy."""
    made = list(scenes)
    for name, severity in WORSE:
        made = [corruptions.apply(scene, name, severity) for scene in made]
    return made


def answers(model: Any, scenes: Sequence[Scene], many: bool) -> list[list[Pose]]:
    """What a system finds in every picture."""
    if many:
        return crowds.estimates(model, scenes)
    return [[pose] for pose in evaluate.estimates(model, scenes)]


# --- what is counted --------------------------------------------------------------------------------------------------


def counts_of(found: Diagnosis, scenes: Sequence[Scene], view: str | None = None) -> Tensor:
    """Labelled joints (N, 6) of every picture and of each of KINDS; with `view`, of people seen from there only."""
    counts = torch.zeros(len(scenes), len(KINDS))
    for row, i, g in zip(found.counts, found.picture.tolist(), found.person.tolist(), strict=True):
        if view in (None, scenes[i].meta["views"][g]):
            counts[i, : len(CLASSES)] += row
    for i, g in found.negatives:
        if view in (None, scenes[i].meta["views"][g]):
            counts[i, -1] += int((scenes[i].people[g].visible > 0).sum())
    return counts


def shares(counts: Tensor) -> dict[str, Any]:
    """Sums of counts (N, 6) over pictures, and between which shares 95 % of the samples of pictures lie."""
    sums = _resampled(counts)
    shared = sums / sums.sum(1, keepdim=True).clamp(min=1)
    low, high = torch.quantile(shared, torch.tensor([0.025, 0.975], dtype=shared.dtype), dim=0).tolist()
    return {
        "counts": [int(number) for number in counts.sum(0)],
        "intervals": [[_short(a), _short(b)] for a, b in zip(low, high, strict=True)],
    }


def turned(found: Diagnosis, scenes: Sequence[Scene], view: str | None = None) -> list[int]:
    """Of how many people more than half of the joints that have a side are inversions, and of how many people."""
    swaps = scenes[0].people[0].skeleton.swaps
    sided = torch.tensor([k != other for k, other in enumerate(swaps)])
    known = (found.classes >= 0) & sided
    most = ((found.classes == CLASSES.index("inversion")) & known).sum(1) * 2 > known.sum(1)
    places = zip(found.picture.tolist(), found.person.tolist(), strict=True)
    here = torch.tensor([view in (None, scenes[i].meta["views"][g]) for i, g in places], dtype=torch.bool)
    return [int((most & here).sum()), int(here.sum())]


def scored(found: Diagnosis, poses: Sequence[Sequence[Pose]]) -> tuple[Tensor, Tensor, Tensor]:
    """score, right and picture (J,) of every labelled joint of everybody who was found."""
    matched = [poses[i][d].scores for i, d in zip(found.picture.tolist(), found.estimate.tolist(), strict=True)]
    scores = torch.stack(matched).double() if matched else torch.zeros(found.classes.shape).double()
    known = found.classes >= 0
    right = (found.classes <= CLASSES.index("jitter"))[known].double()
    return scores[known].clamp(0, 1), right, found.picture[:, None].expand_as(known)[known]


def judged(score: Tensor, right: Tensor, picture: Tensor) -> dict[str, Any]:
    """Reliability bins, ECE and its floor, and by how much scores are too high on average, with the interval."""
    bins = metrics.reliability(score, right, BINS)
    rows = torch.stack([score - right, torch.ones_like(score)], 1)
    of_pictures = torch.zeros(int(picture.max()) + 1, 2, dtype=torch.float64).index_add_(0, picture, rows)
    sums = _resampled(of_pictures)
    low, high = evaluate.middle(sums[:, 0] / sums[:, 1].clamp(min=1), 0.95)
    lots = torch.rand(CHANCES, len(score), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    floor = [metrics.reliability(score, (lot < score).double(), BINS).error for lot in lots]
    return {
        "count": [int(number) for number in bins.count],
        "score": [_short(value) for value in bins.score],
        "right": [int(number) for number in bins.right],
        "ece": _short(bins.error),
        "floor": _short(fmean(floor)),
        "too high by": _short((score - right).mean()),
        "interval": [_short(low), _short(high)],
    }


def ranked(score: Tensor, right: Tensor) -> dict[str, Any]:
    """The risk at every share of joints that is answered, its area, and the area that a perfect ranking would have."""
    coverage, risk = (part.numpy() for part in metrics.risk_coverage(score, right))
    at = np.arange(1, STEPS + 1) / STEPS
    wrong = np.interp(at, np.concatenate([[0], coverage]), np.concatenate([[0], risk * coverage]))
    return {
        "risk": [_short(value) for value in wrong / at],
        "area": _short(metrics.area_under_risk(score, right)),
        "perfect": _short(metrics.area_under_risk(right, right)),
    }


def gains(poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene], found: Diagnosis) -> dict[str, float]:
    """AP as it is, and as it would be if one class of errors were put right, or people ranked perfectly."""
    changed = {"as it is": poses}
    changed |= {kind: metrics.corrected(poses, scenes, found, [kind]) for kind in CLASSES[1:]}
    changed["all four"] = metrics.corrected(poses, scenes, found, CLASSES[1:])
    changed["ranking"] = metrics.rescored(poses, found)
    return {name: _short(metrics.keypoint_ap(made, scenes)["AP"]) for name, made in changed.items()}


def _resampled(rows: Tensor) -> Tensor:
    """Sums (SAMPLES, C) of rows (N, C), N of which are drawn with replacement each time."""
    draw = np.random.default_rng(0)
    times = draw.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=SAMPLES)
    return torch.from_numpy(times).double() @ rows.double()


def _short(value: float) -> float:
    return round(float(value), 4)


# --- a system ---------------------------------------------------------------------------------------------------------


class Pictures:
    """The sets, each made once."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, bool], list[Scene]] = {}

    def of(self, system: System, name: str) -> list[Scene]:
        """The pictures of a set that a system is shown."""
        key = name, system.many
        if key not in self.made:
            self.made[key] = people(*key)
        return self.made[key][: how_many(system, name)]


def how_many(system: System, name: str) -> int:
    """How many pictures of a set a system is shown."""
    if system.many:
        return PICTURES[name] // (2 if system.name in HALF else 1)
    return FEWER.get(system.name, PEOPLE[name])


def measure(system: System, pictures: Pictures) -> dict[str, Any]:
    """Everything about one system."""
    model, run = system.load(), {"name": system.name, "title": system.title, "many": system.many}
    run |= {"digests": system.digests(), "sets": {}}
    kept: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    tests: dict[str, list[Scene]] = {name: pictures.of(system, name) for name in SETS}
    tests[CORRUPTED] = corrupted(tests[EVERYDAY][1::2])
    for name, scenes in tests.items():
        poses = answers(model, scenes, system.many)
        found = metrics.diagnose(poses, scenes, told=not system.many)
        row = {"pictures": len(scenes), "people": len(found.classes) + len(found.negatives)}
        row |= {"negatives": len(found.negatives), "false positives": len(found.false_positives)}
        row |= {"all": shares(counts_of(found, scenes)), "turned": turned(found, scenes)}
        if name == CLEAN:
            for view in ("front", "side", "back"):
                row[view] = {**shares(counts_of(found, scenes, view)), "turned": turned(found, scenes, view)}
        if system.many and name in (EVERYDAY, "crowded"):
            row["ap"] = gains(poses, scenes, found)
        run["sets"][name] = row
        kept[name] = scored(found, poses)
    run["scores"] = confidence(kept[EVERYDAY], kept[CORRUPTED])
    return run


def confidence(everyday: tuple[Tensor, Tensor, Tensor], blurred: tuple[Tensor, Tensor, Tensor]) -> dict[str, Any]:
    """What the scores are worth, before and after calibration on every second picture of the everyday set."""
    score, right, picture = everyday
    learned = picture % 2 == 0
    isotonic = metrics.fit_isotonic(score[learned], right[learned])
    temperature = metrics.fit_temperature(score[learned], right[learned])
    maps = {"as it is": lambda values: values, "isotonic": isotonic, "temperature": temperature}
    tests = {EVERYDAY: (score[~learned], right[~learned], picture[~learned] // 2), CORRUPTED: blurred}
    row: dict[str, Any] = {"temperature": _short(temperature.value), "constant": bool(score.min() == score.max())}
    for name, (values, good, where) in tests.items():
        row[name] = {kind: judged(change(values), good, where) for kind, change in maps.items()}
        row[name]["ranking"] = ranked(values, good)
    return row


def short_run(count: int = SHORT) -> dict[str, list[int]]:
    """The classes of the first everyday people: stored with the study, and counted again by the lesson."""
    scenes = people(EVERYDAY, many=False, count=count)
    found = {name: metrics.diagnose(answers(models.load(name), scenes, False), scenes, True) for name in SHORT_SYSTEMS}
    return {name: list(one.totals.values()) for name, one in found.items()}


# --- the whole --------------------------------------------------------------------------------------------------------


def about() -> dict[str, Any]:
    """What holds for every run."""
    return {
        "what": "classes of error (Ronchi & Perona) and calibration of every system, on drawn people",
        "made_by": MADE_BY,
        **studies.provenance("hourglass_synthetic"),
        "seeds": {name: f"errors {name}" for name in SETS},
        "sets": {name: {key: str(value) for key, value in given.items()} for name, given in SETS.items()},
        "kinds": KINDS,
        "corruptions": {name: severity for name, severity in WORSE},
        "samples": SAMPLES,
    }


def run_all(names: Sequence[str] | None = None, file: Path = FILE) -> dict[str, Any]:
    """Measures the systems that are not in the file with their weights of today; writes it after every one."""
    chosen = systems()
    known = [system.name for system in chosen]
    for name in names or ():
        if name not in known:
            raise unknown_name("system of the study", name, known)
    pictures, stored = Pictures(), studies.load(file) if file.is_file() else {}
    for system in chosen:
        done = {run["name"]: run["digests"] for run in stored.get("runs", [])}
        if (names and system.name not in names) or done.get(system.name) == system.digests():
            continue
        run = measure(system, pictures)
        stored = studies.load(file) if file.is_file() else {}  # another process may have added to it
        runs = [one for one in stored.get("runs", []) if one["name"] != system.name] + [run]
        runs.sort(key=lambda one: known.index(one["name"]) if one["name"] in known else len(known))
        fresh = {} if set(system.weights) & set(SHORT_SYSTEMS) else stored  # new weights, a new short run
        stored = {**about(), "short_run": fresh.get("short_run") or short_run(), "runs": runs}
        studies.save(file, stored)
        good = run["sets"][EVERYDAY]["all"]["counts"][0] / max(sum(run["sets"][EVERYDAY]["all"]["counts"]), 1)
        print(f"{system.name}: {good:.3f} good of everyday people's joints", flush=True)
    return stored


load = partial(studies.load, FILE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what is asked for and is not there yet."""
    parser = argparse.ArgumentParser(prog="errors", description=__doc__.splitlines()[0])
    parser.add_argument("--weights", nargs="*", help="the systems to measure, by their weights; all without")
    parser.add_argument("--out", type=Path, default=FILE, metavar="FILE")
    given = parser.parse_args(arguments)
    run_all(given.weights, given.out)
