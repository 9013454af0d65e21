"""Lesson 08 on pictures: what the network sees, who is told apart by what, and what every way of deciding costs.

`measure` is the part of the lesson's study that needs weights; the rest serves the lesson's cells on single pictures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch

from course_lib import models, paths
from course_lib.datasets import synthetic
from course_lib.lessons.lesson_08_instances import grouped_along_limbs
from course_lib.models.deepcut.learning import HIT, Detections
from course_lib.models.deepcut.local_search import local_search
from course_lib.models.deepcut.network import DeepCut, stages
from course_lib.models.deepcut.program import SUPPRESSED, Program, log_odds
from course_lib.models.deepcut.solution import Solution, to_poses
from course_lib.models.deepcut.solve import solve
from course_lib.models.deepcut.stages import solve_in_stages
from course_lib.pose import Pose, Scene
from course_lib.training import crowds

WEIGHTS, BENCHMARK = "deepcut_course", "crowd-val"
FIELDS, TOP_DOWN = "paf_course", "hourglass_course"  # whose seconds stand beside
PICTURES, EVERY = 48, 4  # that are looked at; every 4th of them is solved exactly as well
CLOCK = 2.0  # seconds for the exact solver, and for each of three stages
LEAST = 3  # joints that a person must have, as in DeepCut.decode
PAIRWISE = ("geometry", "regressed")
VARIANTS: dict[str, dict[str, Any]] = {  # of the program; without any it is what `DeepCut.program` makes
    "any label that is likely": {"any_label": True},
    "any label, no two of a class in a person": {"any_label": True, "no_doubles": True},
    "friendships cost 0.5 less": {"price": -0.5},
    "friendships cost 0.5 more": {"price": 0.5},
}


# --- single pictures --------------------------------------------------------------------------------------------------


def seen(model: DeepCut, scene: Scene) -> Detections:
    """The candidates of one picture, in its pixels."""
    with torch.inference_mode():
        (found,) = model.candidates(model(scene.image[None]))
    return found


def owners(found: Detections, scene: Scene) -> np.ndarray:
    """Whose joint each candidate hits under the class of its map, (D,); -1 where nobody's."""
    if not scene.people or not len(found.places):
        return np.full(len(found.places), -1)
    joints = torch.stack([person.joints for person in scene.people]).double().numpy()
    labelled = torch.stack([person.visible for person in scene.people]).numpy() > 0
    away = np.linalg.norm(joints[:, found.classes] - found.places, axis=-1)
    away = np.where(labelled[:, found.classes], away, np.inf)
    return np.where(away.min(0) <= HIT, away.argmin(0), -1)


def greedily(model: DeepCut, found: Detections, pairwise: np.ndarray) -> Solution:
    """Lesson 07's way with lesson 08's numbers: every candidate is what its map says, limbs are matched greedily."""
    start = perf_counter()
    people = grouped_along_limbs(found.places, found.probabilities, pairwise, found.classes, model.skeleton.limbs)
    labels = np.where(people == SUPPRESSED, SUPPRESSED, found.classes)
    return Solution(labels, people, float("nan"), -np.inf, False, perf_counter() - start)


def poses_of(model: DeepCut, found: Detections, solution: Solution) -> list[Pose]:
    """The people of a solution, as `DeepCut.decode` makes them."""
    return to_poses(solution, found.places, found.probabilities, model.skeleton, least=LEAST)


def variant(
    program: Program,
    found: Detections,
    price: float = 0.0,
    any_label: bool = False,
    no_doubles: bool = False,
    likely: float = 0.2,
) -> Program:
    """The same program with other costs.

    price: belonging together costs more by so much, whatever the pair, unless it is of one class.
    any_label: a candidate may be whatever it is with a probability above `likely`, not only what it is a peak of.
    no_doubles: two candidates of one class in one person are forbidden, as no row of the program does.
    """
    same = np.eye(program.classes, dtype=bool)
    pairwise = np.where(same, np.inf if no_doubles else program.pairwise, program.pairwise + price)
    unary = log_odds(found.probabilities, prune=likely) if any_label else program.unary
    return Program(unary, pairwise, program.single_person)


class Answered:
    """Poses that are known already, where the evaluation expects a model."""

    many = True

    def __init__(self, model: DeepCut, poses: Sequence[Sequence[Pose]]) -> None:
        self.skeleton, self.poses, self.given = model.skeleton, poses, 0

    def estimate(self, images: Sequence[Any], **_options: Any) -> list[Sequence[Pose]]:
        """The next of them, in the order of the scenes."""
        self.given += len(images)
        return list(self.poses[self.given - len(images) : self.given])


# --- who belongs to whom ----------------------------------------------------------------------------------------------


def associations(found: Detections, owner: np.ndarray, p: np.ndarray, pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """How often a joint's partner of another class must be chosen among several people's, and how often the likeliest
    is the right one: (asked, right)."""
    total = np.zeros(2, dtype=int)
    for c, k in pairs:
        first, second = (np.flatnonzero((found.classes == one) & (owner >= 0)) for one in (c, k))
        if len(set(owner[second].tolist())) < 2:
            continue
        asked = first[np.isin(owner[first], owner[second])]
        chosen = second[p[asked[:, None], second, c, k].argmax(1)] if len(asked) else asked
        total += len(asked), int((owner[chosen] == owner[asked]).sum())
    return total


def _pairs(model: DeepCut) -> dict[str, list[tuple[int, int]]]:
    """Both ends of every limb, and all joints with all others."""
    joints = range(len(model.skeleton))
    limbs = [pair for a, b in model.skeleton.limbs for pair in ((a, b), (b, a))]
    return {"limbs": limbs, "all pairs": [(c, k) for c in joints for k in joints if c != k]}


def group_of(scene: Scene) -> str:
    """The evaluation's name for how many people a scene has."""
    return next((f"{few}-{most}" for few, most in crowds.GROUPS if few <= len(scene.people) <= most), "others")


# --- the study --------------------------------------------------------------------------------------------------------


def measure(count: int | None = None) -> dict[str, Any]:
    """Seconds, objectives, associations and scores on the benchmark's pictures; nothing while there are no weights."""
    if not paths.checkpoint(WEIGHTS).exists():
        return {}
    model = models.load(WEIGHTS)
    scenes = synthetic.benchmark(BENCHMARK, skeleton=model.skeleton, count=count or PICTURES)
    rows, poses = [], defaultdict(list)
    right: dict[tuple[str, str, str], np.ndarray] = defaultdict(lambda: np.zeros(2, dtype=int))
    for number, scene in enumerate(scenes):
        row, answers = _picture(model, scene, number % EVERY == 0, right)
        rows.append(row)
        for way, found in answers.items():
            poses[way].append(found)
    _beside(rows, scenes)
    exact = [scene for number, scene in enumerate(scenes) if number % EVERY == 0]
    few = {way: found for way, found in poses.items() if len(found) < len(scenes)}
    few["local, same pictures"] = poses["regressed, local"][::EVERY]
    scores = {way: _scores(model, poses[way], scenes) for way in poses if way not in few}
    scores |= {way: _scores(model, found, exact) for way, found in few.items()}
    return {
        "benchmark": BENCHMARK,
        "weights": WEIGHTS,
        "clock": CLOCK,
        "pictures": rows,
        "scores": scores,
        "associations": [
            {"pairwise": kind, "pairs": pairs, "people": group, "asked": int(n), "right": round(int(k) / int(n), 4)}
            for (kind, pairs, group), (n, k) in right.items() if n
        ],
    }  # fmt: skip


def _picture(
    model: DeepCut, scene: Scene, exactly: bool, right: dict[tuple[str, str, str], np.ndarray]
) -> tuple[dict[str, Any], dict[str, list[Pose]]]:
    """One picture decided in every way; `right` is added to."""
    start = perf_counter()
    with torch.inference_mode():
        outputs = model(scene.image[None])
    seconds = {"network": perf_counter() - start}
    start = perf_counter()
    (found,) = model.candidates(outputs)
    owner, probable, answers, solved = owners(found, scene), {}, {}, {}
    for kind in PAIRWISE:
        probable[kind] = model.pairs.probabilities(found, kind)
        for pairs, which in _pairs(model).items():
            right[kind, pairs, group_of(scene)] += associations(found, owner, probable[kind], which)
    start = perf_counter()
    program = model.program(found)
    seconds["program"] = perf_counter() - start
    solved["regressed, local"] = local_search(program)
    solved["geometry, local"] = local_search(model.program(found, "geometry"))
    solved["regressed, greedy"] = greedily(model, found, probable["regressed"])
    for name, options in VARIANTS.items():
        solved[name] = local_search(variant(program, found, **options), restarts=0)
    if exactly:
        solved["exact"] = solve(program, time_limit=CLOCK)
        solved["stages"] = _staged(model, program)
    for way, solution in solved.items():
        answers[way] = poses_of(model, found, solution)
        seconds[way] = solution.seconds
    row: dict[str, Any] = {"people": len(scene.people), "candidates": len(found.places)}
    row["seconds"] = {way: round(value, 4) for way, value in seconds.items()}
    row["objective"] = {
        w: round(s.objective, 3) for w, s in solved.items() if w in ("regressed, local", "stages", "exact")
    }
    if exactly:
        row["bound"] = round(solved["exact"].bound, 3)
        row["proven"] = bool(solved["exact"].proven)
    return row, answers


def _staged(model: DeepCut, program: Program) -> Solution:
    staged = solve_in_stages(program, stages(model.skeleton), time_limit=CLOCK)
    return staged.solution._replace(seconds=sum(stage.seconds for stage in staged.stages))


def _beside(rows: list[dict[str, Any]], scenes: Sequence[Scene]) -> None:
    """Adds the seconds of the part affinity fields, whole, and of a network that is told all boxes."""
    for name in (FIELDS, TOP_DOWN):
        if not paths.checkpoint(name).exists():
            continue
        other = models.load(name)
        for row, scene in zip(rows, scenes, strict=True):
            boxes = {"boxes": [crowds.true_boxes(scene)]} if name == TOP_DOWN else {}
            start = perf_counter()
            other.estimate([scene.image], **boxes)
            row["seconds"][name] = round(perf_counter() - start, 4)


def _scores(model: DeepCut, poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene]) -> dict[str, Any]:
    """What the evaluation says of poses, in four digits."""

    def rounded(values: dict[str, Any]) -> dict[str, Any]:
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}

    found = crowds.examine(Answered(model, poses), scenes)
    low, high = found["ap_interval"] or (None, None)
    by_people = {group: rounded(values) for group, values in found["by_people"].items()}
    return rounded({k: v for k, v in found.items() if k not in ("by_people", "ap_interval")}) | {
        "answered": sum(map(len, poses)),
        "by_people": by_people,
        "ap_interval": [low, high],
    }
