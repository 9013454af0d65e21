"""What the stacks and the losses between them are good for: small trainings for lesson 06, kept as data.

    python -m course_lib evaluate --study hourglass_ablation        # about eight minutes of one core

trains every arm with every seed on an easy synthetic world and writes data/studies/hourglass_ablation.json, from which
the lesson draws its figure. All arms of one seed see the same pictures in the same order. The file also holds the
losses of a very short run, which the lesson repeats and compares, so that the numbers cannot drift away from the code.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import Any

import torch

from course_lib import metrics, models, paths
from course_lib.datasets import synthetic
from course_lib.lessons import studies
from course_lib.pose import Batch
from course_lib.training import Recipe, recipes, train
from course_lib.training.evaluate import first_people

FILE = paths.DATA / "studies" / "hourglass_ablation.json"
SIZE = (64, 64)
SEEDS = (0, 1, 2)
STEPS, BATCH, POOL, HELD_OUT = 250, 16, 90, 400
TRACE = 10  # every so many steps a loss is kept
# 1 x 64, 2 x 44 and 4 x 32 channels have nearly the same number of weights
ARMS = {
    "2 stacks": {"stacks": 2, "width": 32},
    "2 stacks, loss on the last only": {"stacks": 2, "width": 32, "supervise": "last"},
    "2 stacks, maps not fed back": {"stacks": 2, "width": 32, "reinject": False},
    "2 stacks, last only, not fed back": {"stacks": 2, "width": 32, "supervise": "last", "reinject": False},
    "1 stack": {"stacks": 1, "width": 32},
    "1 wide stack": {"stacks": 1, "width": 64},
    "2 middling stacks": {"stacks": 2, "width": 44},
    "4 narrow stacks": {"stacks": 4, "width": 32},
    "4 narrow, loss on the last only": {"stacks": 4, "width": 32, "supervise": "last"},
}
PAIRS = {
    "2 stacks: all losses, against the last only": ("2 stacks", "2 stacks, loss on the last only"),
    "2 stacks: maps fed back, against not": ("2 stacks", "2 stacks, maps not fed back"),
    "2 stacks, against 1 of the same width": ("2 stacks", "1 stack"),
    "4 narrow: all losses, against the last only": ("4 narrow stacks", "4 narrow, loss on the last only"),
    "4 narrow stacks, against 1 wide one": ("4 narrow stacks", "1 wide stack"),
}


def recipe(arm: str, seed: int = 0) -> Recipe:
    """How an arm is trained: the live recipe's world and augmentation, everywhere the same steps."""
    live = recipes.get("hourglass_live")
    return Recipe(
        "hourglass_ablation",
        model="hourglass_course",
        options={**ARMS[arm], "input_size": SIZE},
        data=live.data,
        batch=BATCH,
        steps=STEPS,
        learning_rate=4e-3,
        warmup=10,
        ema=0.97,
        augment=live.augment,
        seed=seed,
        precision="fp32",  # nearly the same sums on every processor
    )


def pictures(seed: int, count: int = POOL) -> list[Batch]:
    """The first batches that all arms of one seed see."""
    settings = synthetic.Settings(**recipes.get("hourglass_live").data["synthetic"])
    return list(itertools.islice(synthetic.stream(BATCH, f"ablation {seed}", SIZE, settings=settings), count))


def short_run(arm: str = "2 stacks", seed: int = 0, steps: int = 40) -> dict[str, Any]:
    """A training of a few seconds in an arm's way: stored with the study, and run again by the lesson beside it."""
    trained = train(recipe(arm, seed), batches=pictures(seed, steps), steps=steps, device="cpu", progress=False)
    return {"arm": arm, "seed": seed, "steps": steps, "losses": _trace(trained.history, arm)}


def ablation(arms: Sequence[str] = tuple(ARMS), seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Trains every arm with every seed; scores of every stack on people nobody trained on."""
    settings = synthetic.Settings(**recipes.get("hourglass_live").data["synthetic"])
    scenes = synthetic.single_scenes(HELD_OUT, "ablation held out", SIZE, settings=settings)
    images, runs = torch.stack([scene.image for scene in scenes]), []
    for seed in seeds:
        batches = pictures(seed)
        for arm in arms:
            trained = train(recipe(arm, seed), batches=batches, device="cpu", progress=False)
            people = first_people(trained.model, scenes)
            with torch.inference_mode():
                maps = torch.cat([trained.model(part) for part in images.split(100)], dim=1)
            scores = []
            for stage in range(len(maps)):
                poses = [pose for (pose,) in trained.model.decode(maps, stage=stage)]
                scores.append(metrics.single_person(poses, people))
            run = {"arm": arm, "seed": seed, "losses": _trace(trained.history, arm)}
            for name in ("pck@0.2", "mean_error"):
                run[name] = [round(score[name], 4) for score in scores]
            runs.append(run)
            print(arm, seed, run["pck@0.2"], flush=True)
    return {
        "what": "PCK@0.2 and mean error (pixels of a 64 x 64 crop) after every stack, on held-out easy people",
        "made_by": "python -m course_lib evaluate --study hourglass_ablation",
        "steps": STEPS,
        "batch": BATCH,
        "images": STEPS * BATCH,
        "different_images": POOL * BATCH,
        "held_out": HELD_OUT,
        **studies.provenance("hourglass_live"),
        "arms": {arm: ARMS[arm] for arm in arms},
        "short_run": short_run(),
        "runs": runs,
    }


def _trace(history: dict[str, list], arm: str) -> list[float]:
    return [round(value, 4) for value in history[f"stack_{ARMS[arm]['stacks']}"][::TRACE]]


save, load = partial(studies.save, FILE), partial(studies.load, FILE)


def finals(study: dict[str, Any], arm: str, stack: int = -1) -> list[float]:
    """PCK@0.2 of an arm's runs after one of the stacks, in the order of the seeds."""
    return [run["pck@0.2"][stack] for run in study["runs"] if run["arm"] == arm]


def summary(study: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every arm's size, counted now, and its scores as stored."""
    from course_lib.models.counting import giga_multiply_adds, parameters

    rows = {}
    for arm, options in study["arms"].items():
        model = models.create("hourglass_course", **options, input_size=SIZE).eval()
        first, last = finals(study, arm, 0), finals(study, arm)
        rows[arm] = {"parameters": parameters(model), "G multiply-adds": giga_multiply_adds(model)}
        rows[arm] |= {"after stack 1": fmean(first), "at the end": fmean(last)}
        rows[arm] |= {"lowest": min(last), "highest": max(last)}
    return rows


def pairs(study: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the second arm of each pair lacks, in points, seed by seed."""
    return studies.pairs({asked: (finals(study, one), finals(study, other)) for asked, (one, other) in PAIRS.items()})


main = partial(studies.make, FILE, ablation)
