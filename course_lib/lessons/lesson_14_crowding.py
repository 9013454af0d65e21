"""Which approach for how many people: accuracy and time of every multi-person system, by number and by crowding.

    python -m course_lib evaluate --study crowding                        # some seven minutes of one core
    python -m course_lib evaluate --study crowding --systems paf_course --rounds 2 --out trial.json

draws two sets of pictures of the world of crowd-val, with seeds of their own, and shows every picture to every system:

- "number": a round is twelve pictures, in which exactly 1, 2, ... 12 people are listed;
- "index": a round is five pictures of six people each, one for each range of the crowd index between `EDGES`. People's
  spacing cannot be set in this world, so pictures are drawn until every range has enough; which they are is stored.

Each system answers a picture once, and the answer gives both what is right and what it took: milliseconds of the thread
that computes, and the detector's part of them where a detector is asked. Rounds go through all systems before the next
one begins, so that a machine that is slow for a minute is slow to everybody. A run is one system in one round; the file
is written after every run, and a run that is in it is not made again unless the weights have changed.

A run keeps what AP is made of, so that any selection of pictures can be scored later (`lesson_14_crowding_scores`): of
every estimate its score, and as a hexadecimal number at which thresholds of OKS it took a person (bits 0 to 9) and at
which it counts neither way (bits 10 to 19).
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from course_lib import checkpoints, detectors, metrics, models, paths
from course_lib.datasets import synthetic
from course_lib.errors import CourseError, unknown_name
from course_lib.lessons import crowd_line, studies
from course_lib.metrics.ap import COCO_AREAS, COCO_MAX_ESTIMATES
from course_lib.pose import Found, Pose, Scene
from course_lib.training import crowds

FILE = paths.DATA / "studies" / "crowding.json"
MADE_BY = "python -m course_lib evaluate --study crowding"
NUMBERS = tuple(range(1, 13))  # people in a picture
CROWD = 6  # people in every picture of the set that goes by crowd index
EDGES = (0.0, 0.2, 0.4, 0.6, 0.8)  # ranges of the crowd index begin here; the first and last edge are the evaluator's
ROUNDS = 12  # pictures of every kind
MOST_DRAWN = 1500  # pictures, until every range of the index has enough
SHORT = (1, 4, 8, 12)  # people in the pictures of the first round that the lesson repeats
SETS = {"number": len(NUMBERS), "index": len(EDGES)}  # pictures in a round
TOLD, BOTTOM_UP, TOP_DOWN = "true boxes", "bottom-up", "top-down"


class System(NamedTuple):
    """Who is asked, and how it goes about many people."""

    name: str
    title: str
    weights: str
    family: str  # TOLD, BOTTOM_UP or TOP_DOWN


HOURGLASS = crowd_line.TOLD_SYSTEM.weights
HOURGLASS_TOLD, HOURGLASS_DETECTED = "hourglass_true_boxes", "hourglass_detected_boxes"
_FAMILY = {"paf_course": BOTTOM_UP, "deepcut_course": BOTTOM_UP}
SYSTEMS = {
    one.name: one
    for one in (
        System(HOURGLASS_TOLD, crowd_line.TOP_DOWN, HOURGLASS, TOLD),
        System(HOURGLASS_DETECTED, "06 Stacked hourglass, detected boxes", HOURGLASS, TOP_DOWN),
        *(
            System(one.weights, one.title, one.weights, _FAMILY.get(one.weights, TOP_DOWN))
            for one in crowd_line.SYSTEMS
        ),
    )
}


# --- the pictures -----------------------------------------------------------------------------------------------------


def exactly(people: int, seed: str) -> Scene:
    """The first picture of so many people in which they all are listed: nobody is hidden to the last dozen pixels."""
    for attempt in itertools.count():
        (scene,) = synthetic.scenes(1, f"{seed}, attempt {attempt}", people=(people, people), skeleton="lsp")
        if len(scene.people) == people:
            return scene


def by_number(round_: int, numbers: Sequence[int] = NUMBERS) -> list[Scene]:
    """A round of the first set: a picture of every number of people."""
    return [exactly(people, f"crowding {people} people, round {round_}") for people in numbers]


def crowded(draw: int) -> Scene:
    """A picture of six people, crowded as it comes."""
    return exactly(CROWD, f"crowding by index, draw {draw}")


def level_of(index: float) -> int:
    """In which of the ranges between `EDGES` a crowd index lies."""
    return sum(index >= edge for edge in EDGES) - 1


def drawn(rounds: int, index_of: Callable[[int], float] | None = None) -> list[list[int]]:
    """The numbers of the draws (rounds, ranges) whose crowd index lies in each range, in the order they came."""
    index_of = index_of or (lambda draw: metrics.crowd_index(crowded(draw).people))
    kept: list[list[int]] = [[] for _ in EDGES]
    for draw in range(MOST_DRAWN):
        if all(len(own) >= rounds for own in kept):
            return [list(row) for row in zip(*(own[:rounds] for own in kept), strict=True)]
        kept[level_of(index_of(draw))].append(draw)
    raise CourseError(f"{MOST_DRAWN} pictures of {CROWD} people do not have {rounds} of every crowd index")


# --- one system, one picture ------------------------------------------------------------------------------------------


class Clocked:
    """A detector that remembers how long it last looked, and how many boxes it found."""

    def __init__(self, detector: Any) -> None:
        self.detector, self.seconds, self.boxes = detector, 0.0, 0

    def detect(self, images: Sequence[Any]) -> list[Found]:
        """The boxes of a list of pictures."""
        start = time.process_time()
        found = self.detector.detect(images)
        self.seconds, self.boxes = time.process_time() - start, sum(len(one.boxes) for one in found)
        return found


@cache
def opened(name: str) -> Any:
    """A system that finds everybody, its detector clocked; asked once, so that what happens only once has happened."""
    if name not in SYSTEMS:
        raise unknown_name("system", name, SYSTEMS)
    model = models.load(SYSTEMS[name].weights)
    if name == HOURGLASS_TOLD:
        model = crowds.TopDown(model)
    elif name == HOURGLASS_DETECTED:
        model = crowds.Detected(model, Clocked(detectors.load(detectors.OWN)))
    elif crowds.takes_boxes(model):
        model.detector = Clocked(model.detector)
    answered(model, exactly(1, "crowding, before the clock runs"))
    return model


def answered(model: Any, scene: Scene) -> tuple[list[Pose], dict[str, float]]:
    """The people found in a picture, and the milliseconds: "all", of them "detector" for so many "boxes".

    Who is told the true boxes is asked again about one box after another: "alone".
    """
    told = {"boxes": [crowds.true_boxes(scene)]} if isinstance(model, crowds.TopDown) else {}
    poses, took = _clocked(lambda: model.estimate([scene.image], **told))
    row = {"all": took}
    detector = getattr(model, "detector", None)
    if isinstance(detector, Clocked):
        row |= {"detector": 1000 * detector.seconds, "boxes": float(detector.boxes)}
    for boxes in told.values():
        row["alone"] = sum(_clocked(lambda one=one: model.estimate([scene.image], [one[None]]))[1] for one in boxes[0])
    return poses[0], row


def _clocked(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = function()
    return result, 1000 * (time.process_time() - start)


def one_run(name: str, scenes: Sequence[Scene]) -> dict[str, Any]:
    """A system's answers to some pictures: a column for each of them, written as text that stays on one line."""
    answers = [answered(opened(name), scene) for scene in scenes]
    run = {key: " ".join(f"{row[key]:.4g}" for _, row in answers) for key in answers[0][1]}
    kept = [marked(poses, scene) for (poses, _), scene in zip(answers, scenes, strict=True)]
    return {**run, "scores": [scores for scores, _ in kept], "marks": [marks for _, marks in kept]}


def marked(poses: Sequence[Pose], scene: Scene) -> tuple[str, str]:
    """Scores and marks of the estimates in a picture that COCO's protocol looks at, the best first."""
    matches = metrics.match_keypoints([list(poses)], [scene], areas={"all": COCO_AREAS["all"]})
    scores = sorted((float(pose.score) for pose in poses), reverse=True)[:COCO_MAX_ESTIMATES]
    bits = torch.cat([torch.as_tensor(matches.found[:, 0]), torch.as_tensor(matches.excused[:, 0])], 1).long()
    marks = (bits * 2 ** torch.arange(bits.shape[1])).sum(1).tolist()
    return " ".join(f"{score:.6g}" for score in scores), " ".join(f"{mark:x}" for mark in marks)


def stamp(name: str) -> str:
    """What changes whenever a system's weights, or its detector's, are trained anew; not when scores are recorded."""
    detected = SYSTEMS[name].family == TOP_DOWN and SYSTEMS[name].weights != "mask_rcnn_course"
    headers = [
        {key: value for key, value in checkpoints.read_header(paths.checkpoint(one)).items() if key not in _MOVING}
        for one in (SYSTEMS[name].weights, *((detectors.OWN,) if detected else ()))
    ]
    return hashlib.sha256(json.dumps(headers, sort_keys=True).encode()).hexdigest()[:12]


_MOVING = ("scores", "digest")  # of a header: the digest covers the scores


# --- the study --------------------------------------------------------------------------------------------------------


def described(scenes: Sequence[Scene]) -> dict[str, str]:
    """Of some pictures the crowd index, and how many people there are to find."""
    index = [metrics.crowd_index(scene.people) for scene in scenes]
    to_find = [sum(bool((one.visible > 0).any()) for one in scene.people) for scene in scenes]
    return {"index": " ".join(f"{one:.4f}" for one in index), "to_find": " ".join(map(str, to_find))}


def run_all(systems: Sequence[str], rounds: int, file: Path = FILE) -> dict[str, Any]:
    """Makes the runs that are not in the file yet, and then sums everything up."""
    study = load(file) if file.is_file() else {}
    stamps = {name: stamp(name) for name in systems}
    for kind, round_ in itertools.product(SETS, range(rounds)):
        missing = [name for name in systems if not _there(study, kind, round_, name, stamps[name])]
        if not missing:
            continue
        study = {**about(rounds), **{key: study[key] for key in ("pictures", "draws", "runs") if key in study}}
        if kind == "index" and len(study.setdefault("draws", [])) <= round_:
            study["draws"] = [" ".join(map(str, row)) for row in drawn(rounds)]
        scenes = by_number(round_) if kind == "number" else [crowded(int(d)) for d in study["draws"][round_].split()]
        pictures = study.setdefault("pictures", {}).setdefault(kind, [])
        pictures[round_ : round_ + 1] = [described(scenes)]
        for name in missing:
            run = {"system": name, "set": kind, "round": round_, "weights": stamps[name], **one_run(name, scenes)}
            kept = [one for one in study.get("runs", []) if _key(one) != _key(run)]
            study["runs"] = sorted([*kept, run], key=_key)
            studies.save(file, study)
            print(f"{kind}, round {round_}: {name}, {sum(map(float, run['all'].split())) / 1000:.1f} s", flush=True)
    from course_lib.lessons import lesson_14_crowding_scores as scores  # not above: it reads what is made here

    study["summary"] = scores.summed(study)
    study["short_run"] = {"numbers": list(SHORT), **described(by_number(0, SHORT))}
    studies.save(file, study)
    return study


def about(rounds: int) -> dict[str, Any]:
    """What holds for every run."""
    return {
        "what": "answers and milliseconds by number of people, and by crowd index among six people",
        "made_by": MADE_BY,
        **studies.provenance("paf_course"),
        **{"rounds": rounds, "numbers": list(NUMBERS), "crowd": CROWD, "edges": list(EDGES)},
    }


def _key(run: dict[str, Any]) -> tuple[int, int, str]:
    return list(SETS).index(run["set"]), run["round"], run["system"]


def _there(study: dict[str, Any], kind: str, round_: int, name: str, weights: str) -> bool:
    wanted = (list(SETS).index(kind), round_, name)
    return any(_key(run) == wanted and run["weights"] == weights for run in study.get("runs", []))


def runs_of(study: dict[str, Any], name: str, kind: str) -> Iterator[dict[str, Any]]:
    """A system's runs on a set of pictures, round by round."""
    return (run for run in study["runs"] if (run["system"], run["set"]) == (name, kind))


def load(file: Path | None = None) -> dict[str, Any]:
    """The stored study."""
    file = file or FILE
    if not file.exists():
        raise CourseError(f"nobody has made the study of crowds yet: `{MADE_BY}` does, and writes {file.name}")
    return studies.load(file)


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the study, or what is missing of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="pictures of every kind (%(default)s)")
    parser.add_argument("--out", type=Path, default=FILE, help="where to write it (%(default)s)")
    given = parser.parse_args(arguments)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run_all(given.systems, given.rounds, given.out)
    finally:
        torch.set_num_threads(threads)
