"""What the parts of DeepPose are good for: small trainings for lesson 02, kept as data.

    python -m course_lib evaluate --study deeppose_parts        # about seven minutes of one core

trains stage 1 with and without LRN and dropout, and stage 2 on boxes put in different places and of different sizes,
with every seed, on an easy synthetic world, and writes data/studies/deeppose_parts.json, from which the lesson draws.
All arms of one seed see the same pictures in the same order, and all second stages of a seed stand on the same first
one. The file also holds the losses of a very short run, which the lesson repeats and compares.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from course_lib import metrics, paths
from course_lib.datasets import synthetic
from course_lib.lessons import studies
from course_lib.models.deeppose import Cascade, DeepPose, deeppose_course
from course_lib.pose import Batch
from course_lib.training import Recipe, recipes, train

FILE = paths.DATA / "studies" / "deeppose_parts.json"
SIZE = (96, 96)
SEEDS = (0, 1, 2)
STEPS, SECOND_STEPS, BATCH, POOL, HELD_OUT = 240, 120, 16, 80, 200
TRACE = 5  # every so many steps a loss of the short run is kept
USUAL = "LRN, no dropout"  # the first stage on which the second ones stand
FIRST = {
    USUAL: {},
    "no LRN, no dropout": {"lrn": False},
    "LRN, dropout 0.6": {"dropout": 0.6},
}
SECOND = {
    "simulated errors, sigma 2": {},
    "stage 1's answers, sigma 2": {"centres": "answers"},
    "the truth, sigma 2": {"centres": "truth"},
    "simulated errors, sigma 1": {"sigma": 1.0},
    "simulated errors, sigma 3": {"sigma": 3.0},
}


class Second(DeepPose):
    """A cascade of which only the second stage is trained, on boxes around `centres`."""

    def __init__(self, centres: str = "errors", **options) -> None:
        super().__init__(**options)
        self.centres = centres

    def stage_at(self, progress: float) -> int:
        return 1

    def simulate(self, batch: Batch, turn: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        which, boxes, joints, labelled = super().simulate(batch, turn)
        if self.centres == "truth":
            boxes = self.boxes_around(joints, batch.joints)
        elif self.centres == "answers":
            with torch.no_grad():
                answers = self.stages[0](self.whole_view(batch.images))
            found = Cascade(answers, self.whole_box(batch.images).expand(*answers.shape[:2], 4)).joints
            boxes = self.boxes_around(found.take_along_dim(which[..., None], 1), batch.joints)
        return which, boxes, joints, labelled


def build(**options) -> Second:
    """The live recipe's network, with differences."""
    settings = {**deeppose_course.keywords, **recipes.get("deeppose_live").options, **options}
    return Second(**settings)


def recipe(seed: int = 0, steps: int = STEPS, precision: str = "bf16") -> Recipe:
    """How every arm is trained: the live recipe's world, augmentation and rate."""
    live = recipes.get("deeppose_live")
    return replace(live, name="deeppose_study", steps=steps, pool=0, batch=BATCH, seed=seed, precision=precision)


def pictures(seed: int, count: int = POOL) -> list[Batch]:
    """The first batches that all arms of one seed see."""
    settings = synthetic.Settings(**recipes.get("deeppose_live").data["synthetic"])
    return list(itertools.islice(synthetic.stream(BATCH, f"parts {seed}", SIZE, settings=settings), count))


def train_first(arm: str, seed: int, batches: list[Batch], **how) -> tuple[Any, dict[str, list]]:
    """Stage 1 in an arm's way."""
    from course_lib import models

    chosen = recipe(seed, **how)
    torch.manual_seed(seed)
    options = {**chosen.options, "stages": 1, "first_share": 1.0, **FIRST[arm]}
    trained = train(chosen, model=models.create(chosen.model, **options), batches=batches, device="cpu", progress=False)
    return trained.model, trained.history


def train_second(arm: str, seed: int, batches: list[Batch], first: DeepPose, **how) -> tuple[Any, dict[str, list]]:
    """Stage 2 in an arm's way, behind a trained stage 1."""
    torch.manual_seed(seed)
    model = build(**SECOND[arm])
    model.stages[0].load_state_dict(first.stages[0].state_dict())
    how = {"steps": SECOND_STEPS, **how}
    trained = train(recipe(seed, **how), model=model, batches=batches, device="cpu", progress=False)
    return trained.model, trained.history


def short_run(steps: int = 30) -> dict[str, Any]:
    """A training of a few seconds, stored with the study, and run again by the lesson beside it."""
    batches = pictures(0, 8)
    _, history = train_first(USUAL, 0, batches, steps=steps, precision="fp32")
    return {"steps": steps, "losses": [round(value, 4) for value in history["stage_1"][::TRACE]]}


def scores(model: DeepPose, batch: Batch) -> dict[str, Any]:
    """PCK after every stage, and how far the last one moves joints, in units of its boxes."""
    with torch.inference_mode():
        parts = [model(images) for images in batch.images.split(50)]
    joints = torch.cat([part.joints for part in parts], dim=1)
    result: dict[str, Any] = {}
    for alpha in (0.2, 0.1):
        marks = [metrics.pck(stage, batch.joints, batch.visible, batch.skeleton, alpha).mean for stage in joints]
        result[f"pck@{alpha}"] = [round(mark, 4) for mark in marks]
    result["moved"] = round(float(torch.cat([part.answers[-1] for part in parts]).norm(dim=-1).mean()), 4)
    return result


def study() -> dict[str, Any]:
    """Trains every arm with every seed; scores of every stage on people nobody trained on."""
    settings = synthetic.Settings(**recipes.get("deeppose_live").data["synthetic"])
    people = synthetic.crops(HELD_OUT, "parts held out", SIZE, settings=settings)
    runs = []
    for seed in SEEDS:
        batches, usual = pictures(seed), None
        for arm in FIRST:
            model, _ = train_first(arm, seed, batches)
            usual = model if arm == USUAL else usual
            runs.append({"stage": 1, "arm": arm, "seed": seed, **scores(model, people)})
            print(runs[-1], flush=True)
        for arm in SECOND:
            model, _ = train_second(arm, seed, batches, usual)
            runs.append({"stage": 2, "arm": arm, "seed": seed, **scores(model, people)})
            print(runs[-1], flush=True)
    mean = people.joints.mean(0).expand_as(people.joints)
    floor = {f"pck@{a}": round(metrics.pck(mean, people.joints, people.visible, "lsp", a).mean, 4) for a in (0.2, 0.1)}
    return {
        "what": "PCK after every stage, on held-out easy people of 96 x 96 pixels; moved: mean length of the last "
        "stage's answers in units of its boxes",
        "made_by": "python -m course_lib evaluate --study deeppose_parts",
        "steps": STEPS,
        "second_steps": SECOND_STEPS,
        "batch": BATCH,
        "different_images": POOL * BATCH,
        "held_out": HELD_OUT,
        **studies.provenance("deeppose_live"),
        "mean_pose_of_the_held_out": floor,
        "short_run": short_run(),
        "runs": runs,
    }


save, load = partial(studies.save, FILE), partial(studies.load, FILE)


def finals(result: dict[str, Any], arm: str, score: str = "pck@0.2") -> list[float]:
    """A score of an arm's runs after their last stage, in the order of the seeds."""
    return [run[score][-1] if score != "moved" else run[score] for run in result["runs"] if run["arm"] == arm]


def summary(result: dict[str, Any], arms: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Scores as stored, seed by seed."""
    rows = {}
    for arm in arms:
        values = finals(result, arm)
        rows[arm] = {f"seed {seed}": value for seed, value in zip(SEEDS, values, strict=True)}
        rows[arm] |= {"PCK@0.2": fmean(values), "PCK@0.1": fmean(finals(result, arm, "pck@0.1"))}
        if arm in SECOND:
            rows[arm] |= {"moved": fmean(finals(result, arm, "moved"))}
    return rows


main = partial(studies.make, FILE, study)
