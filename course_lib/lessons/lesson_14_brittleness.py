"""How robust, how brittle: every system of the course on the same held-out drawn people, whole and damaged.

    python -m course_lib evaluate --study brittleness                            # a quarter of an hour of one core
    python -m course_lib evaluate --study brittleness --systems hourglass_course --part corruptions

Four parts, each of systems by conditions; the file data/studies/brittleness.json is written after every single run, and
what is in it and was measured on the same weights is kept.

    corruptions   the corruptions of `datasets.corruptions`, five severities, the first PEOPLE people
    worlds        the same seed in worlds with other settings: more in front, cut off, other postures, ...
    views         people seen from front, side and back, by how often their clothes tell front from back
    crowds        OKS-AP of the multi-person systems on PICTURES pictures, a few corruptions

Pictorial structures and poselets take a quarter of a second a person, so they see FEW people, at severity 3 only.

A joint is found if it lies within 0.2 torsos of its true place. The torso is measured on the *undamaged* person (times
the scale, where people are shrunk), and where a corruption moves joints out of the picture, what is left is compared
with the clean score of the *same* joints. Counts are kept person by person, one hexadecimal digit each, so that any two
conditions can be compared in pairs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_lib import checkpoints, metrics, models, paths
from course_lib.datasets import corruptions, synthetic
from course_lib.lessons import crowd_line, line, studies
from course_lib.lessons.lesson_12_measures import packed
from course_lib.metrics.pck import reference_size
from course_lib.pose import Batch, Scene
from course_lib.training import crowds
from course_lib.training.evaluate import Estimator, estimates

FILE = paths.DATA / "studies" / "brittleness.json"
MADE_BY = "python -m course_lib evaluate --study brittleness"
PARTS = ("corruptions", "worlds", "views", "crowds")
SEED, CROWD_SEED = "brittleness", "brittleness crowds"
PEOPLE, WORLD_PEOPLE, VIEW_PEOPLE, FEW, PICTURES = 60, 100, 120, 16, 16
SLOW = ("pictorial_structures", "poselet_conditioned")  # classical: a quarter of a second a person
ONE_SEVERITY = 3  # what they are shown
CLEAN = "clean"
WORLDS: dict[str, dict[str, float]] = {
    "nobody else, nothing in front": {"others": 0.0, "occluders": 0.0, "truncation": 0.0},
    "something in front of everybody": {"occluders": 1.0},
    "others beside everybody": {"others": 1.0},
    "half cut off": {"truncation": 1.0},
    "everyday postures only": {"natural": 1.0, "sport": 0.0, "free": 0.0},
    "sports only": {"natural": 0.0, "sport": 1.0, "free": 0.0},
    "any posture, any way up": {"natural": 0.0, "sport": 0.0, "free": 1.0},
    "plain walls behind": {"photographs": 0.0},
    "pictures behind": {"photographs": 1.0},
}
CUES = (1.0, 0.5, 0.0)
VIEWS = ("front", "side", "back")
IN_CROWDS = ("gaussian_noise", "motion_blur", "jpeg")
CROWD_SEVERITIES = (2, 4)
DETECTED = "hourglass_course, detected"  # lesson 06's network behind lesson 09's detector
SHORT = ("hourglass_course", ("gaussian_noise 3", "motion_blur 3", "elastic 5", "rotation 5"), 50)


# --- who is shown -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """People of one condition, N of them."""

    batch: Batch
    torso: Tensor  # (N,) pixels: what a fifth of is near enough; 0 where nobody knows
    views: str = ""  # of each the first letter of front, side or back
    before: Tensor | None = None  # (N, K) visible before a disc was laid over them

    @property
    def scored(self) -> Tensor:
        """(N, K) bool: the joints that are asked for."""
        return (self.batch.visible > 0) & (self.torso > 0)[:, None]

    @property
    def covered(self) -> Tensor:
        """(N, K) bool: of these, the ones that a disc hid."""
        return self.scored & (self.before == 2) & (self.batch.visible == 1)


@cache
def people(count: int = WORLD_PEOPLE, settings: synthetic.Settings | None = None) -> Shown:
    """Held-out drawn people: of a seed that nothing was trained or chosen on. A shorter list is no longer one's start
    unless both are whole fifties."""
    scenes = synthetic.single_scenes(count, seed=SEED, settings=settings)
    joints, visible = (torch.stack([getattr(one.people[0], of) for one in scenes]) for of in ("joints", "visible"))
    batch = Batch(torch.stack([one.image for one in scenes]), joints, visible, scenes[0].people[0].skeleton)
    return Shown(batch, reference_size(joints, visible, batch.skeleton), "".join(one.meta["view"][0] for one in scenes))


def shown(condition: str, count: int | None = None) -> Shown:
    """The people of a condition, the first `count` of them: "clean", "fog 3", the name of a world, or "cues 0.5"."""
    name, _, strength = condition.rpartition(" ")
    if condition == CLEAN:
        made = people()
    elif condition in WORLDS:
        made = people(settings=synthetic.Settings(**WORLDS[condition]))
    elif name == "cues":
        made = people(VIEW_PEOPLE, synthetic.Settings(cues=float(strength)))
    else:
        return _corrupted(name, int(strength), PEOPLE if count is None else count)
    count = len(made.batch) if count is None else count
    return Shown(made.batch[:count], made.torso[:count], made.views[:count])


def _corrupted(name: str, severity: int, count: int) -> Shown:
    clean = people(50 if count <= 50 else WORLD_PEOPLE)  # the first fifty are the same, and sooner made
    batch = corruptions.apply(clean.batch[:count], name, severity)
    before = clean.batch.visible[:count] if name == corruptions.DISC else None
    return Shown(batch, clean.torso[:count] * corruptions.zoom(name, severity), before=before)


@cache
def pictures(count: int = PICTURES) -> list[Scene]:
    """Held-out pictures of one to twelve people."""
    return synthetic.scenes(count, seed=CROWD_SEED, skeleton="lsp")


# --- what is measured -------------------------------------------------------------------------------------------------


def found(model: Estimator, here: Shown) -> tuple[Tensor, Tensor, float]:
    """Which joints (N, K) were found, which would have been under the other side's names, and the mean confidence."""
    poses = estimates(model, [Scene(image, []) for image in here.batch.images])
    joints = torch.stack([pose.joints for pose in poses])
    scores = torch.stack([pose.scores for pose in poses])[here.scored]
    batch, swaps = here.batch, list(here.batch.skeleton.swaps)
    right, mirrored = (
        metrics.pck(answer, batch.joints, batch.visible, batch.skeleton, reference=here.torso).right
        for answer in (joints, joints[:, swaps])
    )
    return right, mirrored, float(scores.mean()) if len(scores) else 0.0


def one_run(model: Estimator, condition: str, here: Shown, clean: Tensor | None) -> dict[str, Any]:
    """What one system answers in one condition; clean (N, K) says whom it found of the undamaged people."""
    right, mirrored, score = found(model, here)
    run: dict[str, Any] = {"right": packed(right.sum(1).tolist()), "score": round(score, 4)}
    if condition == CLEAN:
        run["joints"] = packed_joints(right)
    if clean is not None:
        run["clean"] = packed((clean & here.scored).sum(1).tolist())
    if here.before is not None:
        run["covered"] = packed((right & here.covered).sum(1).tolist())
        run["covered_clean"] = packed((clean & here.covered).sum(1).tolist())
    if condition.startswith("cues"):
        run["mirrored"] = packed(mirrored.sum(1).tolist())
    return run


def about(here: Shown) -> dict[str, str]:
    """What holds for every system in a condition."""
    row = {"asked": packed(here.scored.sum(1).tolist())}
    if here.before is not None:
        row["covered"] = packed(here.covered.sum(1).tolist())
    return row | ({"views": here.views} if here.views else {})


def packed_joints(right: Tensor) -> str:
    """Which joints (N, K) of everybody: four hexadecimal digits a person, the first joint the lowest bit."""
    return "".join(f"{sum(1 << k for k, one in enumerate(row) if one):04x}" for row in right.tolist())


def unpacked_joints(digits: str, joints: int = 14) -> Tensor:
    """(N, K) bool."""
    people = [int(digits[at : at + 4], 16) for at in range(0, len(digits), 4)]
    return torch.tensor([[bool(one >> k & 1) for k in range(joints)] for one in people]).view(-1, joints)


def conditions(part: str, weights: str = "") -> list[str]:
    """The conditions of a part, as far as a system sees them."""
    severities = (ONE_SEVERITY,) if weights in SLOW else corruptions.SEVERITIES
    if part == "corruptions":
        return [CLEAN, *(f"{name} {one}" for name in corruptions.names() for one in severities)]
    if weights in SLOW:
        return []
    if part == "worlds":
        return [CLEAN, *WORLDS]
    if part == "views":
        return [f"cues {share:g}" for share in CUES]
    return [CLEAN, *(f"{name} {one}" for name in IN_CROWDS for one in CROWD_SEVERITIES)]


def crowd_systems() -> dict[str, str]:
    """The systems that find everybody: weights -> title."""
    return {one.weights: one.title for one in crowd_line.SYSTEMS} | {DETECTED: "06 Stacked hourglass, detected"}


def _everybody(weights: str) -> Estimator:
    if weights == DETECTED:
        return crowds.Detected(models.load("hourglass_course"), models.load("person_detector"))
    return models.load(weights)


def in_crowds(weights: str, todo: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """AP on the pictures, clean and damaged, with the interval of what damage costs."""
    model, clean = _everybody(weights), None
    for condition in (CLEAN, *(one for one in todo if one != CLEAN)):
        name, _, severity = condition.rpartition(" ")
        scenes = [corruptions.apply(one, name, int(severity)) for one in pictures()] if name else pictures()
        scores, matches = crowds.examined(model, scenes)
        row = {"ap": round(scores["ap"], 4), "people": scores["people"]}
        row["interval"] = [round(end, 4) for end in crowds.interval(matches, samples=200)]
        if clean is not None:
            apart = crowds.paired_interval(matches, clean, samples=200)
            row["minus_clean"] = [round(end, 4) for end in apart]
        clean = matches if clean is None else clean
        if condition in todo:
            yield condition, row


# --- the whole --------------------------------------------------------------------------------------------------------


def identity(weights: str) -> str:
    """What changes whenever a system's weights do."""
    files = ("hourglass_course", "person_detector") if weights == DETECTED else (weights,)
    return " ".join(checkpoints.weights_digest(paths.checkpoint(one))[:16] for one in files)


def _beginning() -> dict[str, Any]:
    return {
        "what": "joints found within 0.2 torsos (left shoulder to right hip of the undamaged person), by person; AP",
        "made_by": MADE_BY,
        **studies.provenance("adversarial_course"),
        "seeds": [SEED, CROWD_SEED],
        **{"people": PEOPLE, "world_people": WORLD_PEOPLE, "view_people": VIEW_PEOPLE, "few": FEW},
        **{"pictures": PICTURES, "worlds": WORLDS, "severities": {n: r.strengths for n, r in _register()}},
        "short_run": {},
        "asked": {},
        "runs": [],
    }


def _register() -> list[tuple[str, corruptions.Corruption]]:
    return list(corruptions.REGISTER.items())


def short_run() -> dict[str, str]:
    """What the lesson repeats in a few seconds: how many joints of each of fifty people one system finds."""
    weights, which, count = SHORT
    model = models.load(weights)
    return {one: packed(found(model, shown(one, count))[0].sum(1).tolist()) for one in which}


class Book:
    """The file, and what of it still holds."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.study = studies.load(file) if file.is_file() else _beginning()

    def row(self, weights: str, kind: str) -> dict[str, Any]:
        """The runs of a system, "single" or "crowds"; emptied where they were made with other weights."""
        own = identity(weights)
        rows = [one for one in self.study["runs"] if (one["system"], one["kind"]) == (weights, kind)]
        if rows and rows[0]["weights"] == own:
            return rows[0]["conditions"]
        self.study["runs"] = [one for one in self.study["runs"] if one not in rows]
        fresh = {"system": weights, "kind": kind, "weights": own, "conditions": {}}
        self.study["runs"].append(fresh)
        return fresh["conditions"]

    def write(self) -> None:
        studies.save(self.file, self.study)


def run_singles(book: Book, parts: Sequence[str], systems: Sequence[str]) -> None:
    """Condition by condition, so that people are made and damaged once; what is in the book is left alone."""
    rows = {weights: book.row(weights, "single") for weights in systems}
    load: Callable[[str], Any] = cache(models.load)
    listed = dict.fromkeys(one for part in parts for one in conditions(part))
    for condition in listed:
        seen = [name for name in rows if any(condition in conditions(part, name) for part in parts)]
        todo = [name for name in seen if condition not in rows[name]]
        for slow in (False, True):
            some = [name for name in todo if (name in SLOW) is slow]
            if not some:
                continue
            here = shown(condition, FEW if slow else None)
            book.study["asked"].setdefault(f"{condition}, few" if slow else condition, about(here))
            for name in some:
                is_corruption = condition in conditions("corruptions") and condition != CLEAN
                whole = unpacked_joints(rows[name][CLEAN]["joints"]) if is_corruption else None
                run = one_run(load(name), condition, here, None if whole is None else whole[: len(here.batch)])
                rows[name][condition] = run
                book.write()
                print(f"{condition:34} {name:24} {line_of(run, about(here)['asked'])}", flush=True)
    if not book.study["short_run"]:
        book.study["short_run"] = short_run()
        book.write()


def line_of(run: dict[str, Any], asked: str) -> str:
    """A run in a few words."""
    total, right = (sum(int(digit, 16) for digit in digits) for digits in (asked, run["right"]))
    return f"PCK@0.2 {right / max(total, 1):.3f} of {total} joints"


def run_crowds(book: Book, systems: Sequence[str]) -> None:
    """System by system: what damage costs is compared with the same system's clean answers."""
    for weights in systems:
        row = book.row(weights, "crowds")
        todo = [one for one in conditions("crowds") if one not in row]
        for condition, run in in_crowds(weights, todo) if todo else ():
            row[condition] = run
            book.write()
            print(f"{condition:34} {weights:24} AP {run['ap']:.3f}", flush=True)


load = partial(studies.load, FILE)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    singles, many = [one.weights for one in line.SYSTEMS], list(crowd_systems())
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--systems", nargs="+", choices=[*singles, *many], default=[*singles, *many])
    parser.add_argument("--out", type=Path, default=FILE)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    book = Book(asked.out)
    if parts := [one for one in asked.part if one != "crowds"]:
        run_singles(book, parts, [one for one in singles if one in asked.systems])
    if "crowds" in asked.part:
        run_crowds(book, [one for one in many if one in asked.systems])
