"""What pooling costs, what the losses differ in, what the dropouts do: small trainings for lesson 03, kept as data.

    python -m course_lib evaluate --study tompson_study        # about seven minutes of one core

trains every arm with every seed on an easy synthetic world and writes data/studies/tompson_study.json, from which the
lesson draws its figures. All arms of one seed and kind see the same pictures in the same order. The file also holds the
losses of a very short run, which the lesson repeats and compares, so that the numbers cannot drift away from the code.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from functools import partial
from statistics import fmean
from typing import Any

import torch

from course_lib import paths
from course_lib.datasets import synthetic
from course_lib.lessons import studies
from course_lib.models.tompson import Answer, Tompson
from course_lib.pose import Batch, Person, Pose, Scene
from course_lib.training import Recipe, evaluate, recipes, train
from course_lib.training.augment import NONE

FILE = paths.DATA / "studies" / "tompson_study.json"
SIZE = (64, 64)
HELD_OUT, BATCH = 300, 16
TRACE = 4  # of the short run, every so many steps a loss is kept
ALPHAS = (0.05, 0.1, 0.2)
READ_OUTS = ("argmax", "dark")
SMALLER = {"input_size": SIZE, "widths": (12, 24, 32, 32), "hidden": (48, 32), "fine_width": 16}

# the coarse and the fine network together, on pictures enough
ARMS = {
    "pooling 4": {"pooling": 4, "rate": 0.1},
    "pooling 8": {"pooling": 8, "rate": 0.1},
    "pooling 16": {"pooling": 16, "rate": 0.1, "crop_size": 16},  # coarser peaks need wider windows
    "l1": {"loss": "l1", "rate": 0.1},
    "cross_entropy": {"loss": "cross_entropy", "rate": 0.1},
}
SEEDS, STEPS, POOL = (0, 1, 2), 200, 60
# the coarse network alone, on so few pictures that it can learn them by heart
DROPOUTS = {
    "no dropout": {"dropout": "none"},
    "single cells dropped": {"dropout": "element", "rate": 0.5},
    "whole channels dropped": {"dropout": "spatial", "rate": 0.5},
}
DROPOUT_SEEDS, DROPOUT_STEPS, DROPOUT_POOL = (0, 1, 2, 3), 280, 4


def recipe(arm: str, seed: int = 0) -> Recipe:
    """How an arm is trained: in the live recipe's world, everywhere in the same steps."""
    live, few = recipes.get("tompson_live"), arm in DROPOUTS
    return Recipe(
        "tompson_study",
        model="tompson_course",
        options={**SMALLER, **(DROPOUTS[arm] | {"fine": False} if few else ARMS[arm])},
        data=live.data,
        batch=BATCH,
        steps=DROPOUT_STEPS if few else STEPS,
        learning_rate=live.learning_rate,
        warmup=live.warmup,
        ema=live.ema,
        augment=NONE if few else live.augment,
        seed=seed,
        precision="fp32",  # nearly the same sums on every processor
    )


def pictures(seed: int, count: int) -> list[Batch]:
    """The first batches that all arms of one seed see."""
    settings = synthetic.Settings(**recipes.get("tompson_live").data["synthetic"])
    return list(itertools.islice(synthetic.stream(BATCH, f"lesson 03 study {seed}", SIZE, settings=settings), count))


def others() -> list[Scene]:
    """People that no arm is trained on."""
    settings = synthetic.Settings(**recipes.get("tompson_live").data["synthetic"])
    return synthetic.single_scenes(HELD_OUT, "lesson 03 study, held out", SIZE, settings=settings)


def short_run(arm: str = "pooling 8", seed: int = 0, steps: int = 20) -> dict[str, Any]:
    """A training of a few seconds in an arm's way: stored with the study, and run again by the lesson beside it."""
    trained = train(recipe(arm, seed), batches=pictures(seed, steps), steps=steps, device="cpu", progress=False)
    return {"arm": arm, "seed": seed, "steps": steps, "losses": [round(x, 4) for x in trained.history["loss"][::TRACE]]}


def answers(model: Tompson, images: torch.Tensor) -> Answer:
    """The answers to many pictures as one."""
    with torch.inference_mode():
        parts = [model(part) for part in images.split(100)]
    coarse = torch.cat([part.coarse for part in parts])
    if parts[0].fine is None:
        return Answer(coarse, [])
    return Answer(coarse, [], *(torch.cat([getattr(part, name) for part in parts]) for name in ("centres", "fine")))


def scores(poses: Sequence[Pose], people: Sequence[Person]) -> dict[str, float]:
    """PCK at every threshold, and the mean error in pixels."""
    marks = {f"pck@{alpha}": evaluate.pck_marks(poses, people, alpha).mean for alpha in ALPHAS}
    labelled = torch.stack([person.visible for person in people]) > 0
    away = torch.stack([a.joints - b.joints for a, b in zip(poses, people, strict=True)]).norm(dim=-1)
    return {name: round(float(value), 4) for name, value in marks.items()} | {
        "error": round(float(away[labelled].mean()), 3)
    }


def run(arm: str, seed: int, scenes: Sequence[Scene]) -> dict[str, Any]:
    """One training and what came of it."""
    few = arm in DROPOUTS
    batches = pictures(seed, DROPOUT_POOL if few else POOL)
    model = train(recipe(arm, seed), batches=batches, device="cpu", progress=False).model
    images, people = torch.stack([scene.image for scene in scenes]), [scene.people[0] for scene in scenes]
    found: dict[str, Any] = {"arm": arm, "seed": seed}
    if few:
        own = Batch.cat(batches)
        seen = [Person(joints, visible, own.skeleton) for joints, visible in zip(own.joints, own.visible, strict=True)]
        for name, shown, truth in (("seen", own.images, seen), ("held out", images, people)):
            answer = answers(model, shown)
            joints, visible = (torch.stack([getattr(one, what) for one in truth]) for what in ("joints", "visible"))
            loss = model.loss(answer, Batch(shown, joints, visible, model.skeleton))["total"]
            poses = [pose for (pose,) in model.decode(answer)]
            found[name] = scores(poses, truth) | {"loss": round(float(loss), 4)}
        return found
    answer = answers(model, images)
    for stage, name in enumerate(("coarse", "fine")):
        peaks = model.heights(answer.fine if stage else answer.coarse).amax((-2, -1))
        for method in READ_OUTS:
            poses = [pose for (pose,) in model.decode(answer, stage=stage, read_out=method)]
            found[f"{name} {method}"] = scores(poses, people) | {"peak": round(float(peaks.median()), 3)}
    return found


def plan() -> Iterable[tuple[str, int]]:
    """Every arm with each of its seeds."""
    return [*itertools.product(ARMS, SEEDS), *itertools.product(DROPOUTS, DROPOUT_SEEDS)]


def study(runs: Iterable[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Trains everything that is planned, and says how."""
    scenes = others()
    return {
        "what": "scores on held-out easy people, crops of 64 x 64; of the dropout arms, on the people seen as well",
        "made_by": "python -m course_lib evaluate --study tompson_study",
        "arms": {arm: {**options, "steps": STEPS, "pictures": POOL * BATCH} for arm, options in ARMS.items()}
        | {arm: {**o, "steps": DROPOUT_STEPS, "pictures": DROPOUT_POOL * BATCH} for arm, o in DROPOUTS.items()},
        "network": {name: list(value) if isinstance(value, tuple) else value for name, value in SMALLER.items()},
        "batch": BATCH,
        "held_out": HELD_OUT,
        **studies.provenance("tompson_live"),
        "short_run": short_run(),
        "runs": list(runs) if runs is not None else [run(arm, seed, scenes) for arm, seed in plan()],
    }


save, load = partial(studies.save, FILE), partial(studies.load, FILE)


def values(result: dict[str, Any], arm: str, reading: str, score: str) -> list[float]:
    """One score of all runs of an arm, in the order of the seeds."""
    return [one[reading][score] for one in result["runs"] if one["arm"] == arm]


def means(result: dict[str, Any], arm: str, reading: str) -> dict[str, float]:
    """Every score of an arm, averaged over its seeds."""
    names = next(one for one in result["runs"] if one["arm"] == arm)[reading]
    return {name: fmean(values(result, arm, reading, name)) for name in names}


def apart(result: dict[str, Any], one: str, other: str, reading: str, score: str) -> list[float]:
    """By how much the first of two arms lies higher, seed by seed."""
    pairs = zip(values(result, one, reading, score), values(result, other, reading, score), strict=True)
    return [a - b for a, b in pairs]


def looked_again(result: dict[str, Any], arm: str, method: str, score: str) -> list[float]:
    """By how much an arm's fine maps lie higher than its coarse ones, seed by seed."""
    pairs = zip(*(values(result, arm, f"{part} {method}", score) for part in ("fine", "coarse")), strict=True)
    return [fine - coarse for fine, coarse in pairs]


def by_seed(numbers: Sequence[float]) -> dict[str, float]:
    """A row of a table: every seed's number, and their mean."""
    return {f"seed {seed}": number for seed, number in enumerate(numbers)} | {"mean": fmean(numbers)}


main = partial(studies.make, FILE, study)
