"""What exchange, sums and the way up are worth: small trainings for lesson 11, kept as data.

    python -m course_lib evaluate --study high_resolution                      # about a quarter of an hour of one core
    python -m course_lib evaluate --study high_resolution --arms hrnet v2 --seeds 0 1

trains HRNets that exchange after every module, after every stage or once; one whose head puts the four streams side by
side; and simple baselines of about as many multiply-adds; all for the same steps, on an easy synthetic world. All arms
of one seed see the same pictures in the same order. Of the HRNets that keep four streams to the end it also asks what a
linear read-out finds in each of them. Runs that data/studies/high_resolution.json holds already are kept, and the file
is written after every run: an interrupted study goes on where it was, and two processes may share the work.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from course_lib import metrics, models, paths
from course_lib.datasets import synthetic
from course_lib.lessons import studies
from course_lib.metrics.marks import distances, labelled_joints
from course_lib.models.base import HeatmapModel
from course_lib.models.hrnet import HRNet
from course_lib.pose import Batch, Person, Pose, Scene
from course_lib.targets import heatmaps
from course_lib.training import Recipe, train
from course_lib.training.evaluate import first_people, pck_marks
from course_lib.training.recipes.worlds import EASILY, EASY

FILE = paths.DATA / "studies" / "high_resolution.json"
SIZE = (64, 64)
SEEDS = (0, 1, 2)
STEPS, BATCH, POOL, HELD_OUT = 320, 32, 60, 400
TRACE = 10  # every so many steps a loss is kept
ALPHAS = (0.05, 0.1, 0.2)
RIDGE = 1e-3  # of the linear read-outs, in units of the features' own mean square
_NET = {"width": 8, "stem": 16, "blocks": 1, "modules": (1, 2, 2)}  # streams of 16, 8, 4 and 2 cells; 5 exchanges
_PLAIN = {"width": 14, "deconv_width": 32}
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "hrnet": ("hrnet_course", {**_NET}),
    "stages": ("hrnet_course", {**_NET, "exchange": "stages"}),
    "last": ("hrnet_course", {**_NET, "exchange": "last"}),
    "v2": ("hrnet_course", {**_NET, "head": "all"}),
    "baseline": ("pose_resnet_course", {**_PLAIN}),
    "two deconvolutions": ("pose_resnet_course", {**_PLAIN, "deconvs": 2}),
    "kernel 2": ("pose_resnet_course", {**_PLAIN, "kernel": 2}),
}
TITLES = {
    "hrnet": "HRNet, exchange after all 5 modules",
    "stages": "HRNet, exchange after 3 stages",
    "last": "HRNet, exchange at the very end",
    "v2": "HRNet, all streams side by side (V2)",
    "baseline": "simple baseline, 3 deconvolutions",
    "two deconvolutions": "simple baseline, 2 deconvolutions",
    "kernel 2": "simple baseline, kernels of 2 x 2",
}
PAIRS = {
    "exchange after all modules, against at the end only": ("hrnet", "last"),
    "exchange after all modules, against after stages": ("hrnet", "stages"),
    "exchange after stages, against at the end only": ("stages", "last"),
    "sums (V1), against side by side (V2)": ("hrnet", "v2"),
    "HRNet, against the simple baseline": ("hrnet", "baseline"),
    "3 deconvolutions, against 2": ("baseline", "two deconvolutions"),
    "kernels of 4, against 2": ("baseline", "kernel 2"),
}


def recipe(arm: str, seed: int = 0) -> Recipe:
    """How an arm is trained: everywhere the same world, steps and rate."""
    name, options = ARMS[arm]
    return Recipe(
        "high_resolution",
        model=name,
        options={**options, "input_size": SIZE},
        data={"synthetic": EASY},
        batch=BATCH,
        steps=STEPS,
        learning_rate=4e-3,
        warmup=15,
        ema=0.97,
        augment=EASILY,
        seed=seed,
        precision="fp32",  # nearly the same sums on every processor
    )


def pictures(seed: int, count: int = POOL) -> list[Batch]:
    """The first batches that all arms of one seed see."""
    settings = synthetic.Settings(**EASY)
    return list(itertools.islice(synthetic.stream(BATCH, f"resolution {seed}", SIZE, settings=settings), count))


def held_out(count: int = HELD_OUT) -> list[Scene]:
    """People nobody trained on."""
    return synthetic.single_scenes(count, "resolution held out", SIZE, settings=synthetic.Settings(**EASY))


def short_run(arm: str = "hrnet", seed: int = 0, steps: int = 24) -> dict[str, Any]:
    """A training of a few seconds in an arm's way: stored with the study, and run again by the lesson beside it."""
    trained = train(recipe(arm, seed), batches=pictures(seed, steps), steps=steps, device="cpu", progress=False)
    return {"arm": arm, "seed": seed, "steps": steps, "losses": _trace(trained.history)}


def run(arm: str, seed: int, batches: Sequence[Batch], scenes: Sequence[Scene]) -> dict[str, Any]:
    """Trains one arm with one seed and scores it; of an HRNet with four streams, also what each of them knows."""
    trained = train(recipe(arm, seed), batches=batches, device="cpu", progress=False)
    model, people = trained.model, first_people(trained.model, scenes)
    images = torch.stack([scene.image for scene in scenes])
    with torch.inference_mode():
        maps = torch.cat([model(part) for part in images.split(100)], dim=1)
    answer = {"arm": arm, "seed": seed, "losses": _trace(trained.history)}
    for read_out in ("dark", "argmax"):
        answer[read_out] = scores([pose for (pose,) in model.decode(maps, read_out=read_out)], people)
    if isinstance(model, HRNet):
        answer["streams"] = read_streams(model, batches, images, people)
    return answer


def scores(poses: Sequence[Pose], people: Sequence[Person]) -> dict[str, float]:
    """PCK at a fine, a middling and the usual threshold; mean error of all joints, and of those within 0.2 torsos."""
    estimated, true = (torch.stack([one.joints for one in ones]) for ones in (poses, people))
    visible = torch.stack([person.visible for person in people])
    error, hits = distances(estimated, true), pck_marks(poses, people).right
    table = {f"pck@{alpha}": pck_marks(poses, people, alpha).mean for alpha in ALPHAS}
    table["mean_error"] = float(error[labelled_joints(true, visible)].mean())
    table["error_of_hits"] = float(error[hits].mean()) if hits.any() else float("nan")
    table["auc"] = metrics.single_person(poses, people)["auc"]
    return {name: round(value, 4) for name, value in table.items()}


# --- what every stream knows ------------------------------------------------------------------------------------------


@torch.inference_mode()
def read_streams(
    model: HRNet, batches: Sequence[Batch], images: Tensor, people: Sequence[Person]
) -> list[dict[str, float]]:
    """Scores of the best linear read-out of each of the four streams, where all four are last together, finest first.

    The read-out is a 1x1 convolution, found by least squares on the training pictures: there is none that is better.
    """
    learned = Batch.cat(list(batches[:20]))
    seen, asked = four_streams(model, learned.images), four_streams(model, images)
    rows = []
    for level, (known, new) in enumerate(zip(seen, asked, strict=True)):
        stride = 4 * 2**level
        target = heatmaps.gaussian(learned.joints / stride, known.shape[-2:], model.sigma)  # in cells, on every stream
        maps = _apply(linear_read_out(known, target), new)
        found, score = heatmaps.read_out(maps, "dark", sigma=model.sigma)
        skeleton = model.skeleton
        rows.append(scores([Pose(at * stride, s, skeleton) for at, s in zip(found, score, strict=True)], people))
    return rows


def four_streams(model: HRNet, images: Tensor) -> list[Tensor]:
    """The four streams (N, C_i, h_i, w_i) of the last moment that has all of them."""
    parts = []
    for part in images.split(100):
        parts.append([streams for _, streams in model.flow(part) if len(streams) == 4][-1])
    return [torch.cat(level) for level in zip(*parts, strict=True)]


def linear_read_out(features: Tensor, target: Tensor) -> Tensor:
    """The weights (C + 1, K) of a 1x1 convolution of features (N, C, h, w) that is nearest to target (N, K, h, w)."""
    x = _cells(features)
    squares = x.T @ x / len(x)
    ridge = RIDGE * squares.diagonal().mean() * torch.eye(len(squares))
    return torch.linalg.solve(squares + ridge, x.T @ target.movedim(1, -1).flatten(0, -2).double() / len(x))


def _apply(weights: Tensor, features: Tensor) -> Tensor:
    maps = _cells(features) @ weights
    return maps.unflatten(0, (len(features), *features.shape[-2:])).movedim(-1, 1).float()


def _cells(features: Tensor) -> Tensor:
    """Features (N, C, h, w) as rows (N h w, C + 1), the last column 1."""
    rows = features.movedim(1, -1).flatten(0, -2).double()
    return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)


# --- the file ---------------------------------------------------------------------------------------------------------


def _trace(history: dict[str, list]) -> list[float]:
    return [round(value, 4) for value in history["loss"][::TRACE]]


save, load = partial(studies.save, FILE), partial(studies.load, FILE)


def add(done: dict[str, Any]) -> None:
    """Writes the file anew with one more run in it; what another process has added meanwhile stays."""
    stored = load()["runs"] if FILE.is_file() else []
    order = {(arm, seed): place for place, (seed, arm) in enumerate(itertools.product(SEEDS, ARMS))}
    runs = {(one["arm"], one["seed"]): one for one in (*stored, done)}
    shapes = {arm: [16, 8][options.get("deconvs", 3) == 2] for arm, (_, options) in ARMS.items()}
    save(
        {
            "what": "scores of 400 held-out easy people of 64 x 64 pixels; errors in these pixels, PCK in torsos",
            "made_by": "python -m course_lib evaluate --study high_resolution",
            "steps": STEPS,
            "batch": BATCH,
            "images": STEPS * BATCH,
            "different_images": POOL * BATCH,
            "held_out": HELD_OUT,
            **studies.provenance("hourglass_live"),  # the same easy world
            "cells": shapes,
            "arms": {arm: {"model": name, **options} for arm, (name, options) in ARMS.items()},
            "short_run": load()["short_run"] if FILE.is_file() else short_run(),
            "runs": sorted(runs.values(), key=lambda one: order.get((one["arm"], one["seed"]), len(order))),
        }
    )


def finals(study: dict[str, Any], arm: str, score: str = "pck@0.2", read_out: str = "dark") -> list[float]:
    """A score of an arm's runs, in the order of the seeds."""
    return [one[read_out][score] for one in study["runs"] if one["arm"] == arm]


def summary(study: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every arm's size, counted now, and its mean scores as stored."""
    from course_lib.models.counting import giga_multiply_adds, parameters

    rows = {}
    for arm in study["arms"]:
        model = build(arm)
        row = {"parameters": parameters(model), "M multiply-adds": 1000 * giga_multiply_adds(model)}
        row |= {f"PCK@{alpha}": fmean(finals(study, arm, f"pck@{alpha}")) for alpha in reversed(ALPHAS)}
        rows[TITLES[arm]] = row | {"error of hits, px": fmean(finals(study, arm, "error_of_hits"))}
    return rows


def streams(study: dict[str, Any], arm: str = "hrnet", score: str = "pck@0.2") -> list[list[float]]:
    """A score of the linear read-outs, a list of the four streams for every run of an arm."""
    return [[level[score] for level in one["streams"]] for one in study["runs"] if one["arm"] == arm]


def pairs(study: dict[str, Any], score: str = "pck@0.2") -> dict[str, dict[str, Any]]:
    """By how many points the first arm of each pair lies higher, seed by seed."""
    return studies.pairs(
        {asked: (finals(study, one, score), finals(study, other, score)) for asked, (one, other) in PAIRS.items()}
    )


def build(arm: str) -> HeatmapModel:
    """An arm's network with fresh weights."""
    name, options = ARMS[arm]
    return models.create(name, **options, input_size=SIZE).eval()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="trains what data/studies/high_resolution.json does not hold yet")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, choices=SEEDS, default=list(SEEDS))
    chosen, scenes = parser.parse_args(arguments), held_out()
    for seed in chosen.seeds:
        batches = pictures(seed)
        for arm in chosen.arms:
            stored = load()["runs"] if FILE.is_file() else []
            if (arm, seed) not in {(one["arm"], one["seed"]) for one in stored}:
                done = run(arm, seed, batches, scenes)
                add(done)
                print(arm, seed, done["dark"], flush=True)
