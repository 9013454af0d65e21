"""How much must one stage see, and what do losses between stages save? Small trainings for lesson 04, kept as data.

    python -m course_lib evaluate --study cpm_fields        # about seven minutes of one core

trains every arm with every seed on an easy synthetic world and writes data/studies/cpm_fields.json, from which the
lesson draws its figures. All arms of one seed see the same pictures in the same order. The file also holds the losses
of a very short run, which the lesson repeats and compares, so that the numbers cannot drift away from the code.

A wider field is usually bought with larger kernels, and those bring weights along. Two controls take that apart: the
same nine weights of a 3 x 3 kernel spread over a wider field (holes), and a narrow field with as many weights as the
widest kernel has.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import metrics, models, paths
from course_lib.datasets import synthetic
from course_lib.lessons import studies
from course_lib.models import receptive
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.models.cpm import ConvolutionalPoseMachine
from course_lib.pose import Batch, Person, Pose
from course_lib.training import Recipe, recipes, train
from course_lib.training.evaluate import first_people, pck_marks

FILE = paths.DATA / "studies" / "cpm_fields.json"
SIZE = (64, 64)
SEEDS = (0, 1, 2)
STEPS, BATCH, POOL, HELD_OUT = 200, 16, 80, 300
TRACE = 10  # every so many steps a loss is kept
ONE = {"stages": 1, "feature_kernel": 3, "first_kernel": 3}
# name -> options of the network; "holes" spreads the kernel of stage 1's widest layer over so many cells more
ARMS: dict[str, dict[str, Any]] = {
    "1 x 1": {**ONE, "feature_kernel": 1, "first_kernel": 1},
    "3 x 3": ONE,
    "5 x 5": {**ONE, "first_kernel": 5},
    "9 x 9": {**ONE, "first_kernel": 9},
    "3 x 3, every 2nd cell": {**ONE, "holes": 2},
    "3 x 3, every 4th cell": {**ONE, "holes": 4},
    "3 x 3, every 6th cell": {**ONE, "holes": 6},
    "3 x 3, more channels": {**ONE, "first_channels": 186},
    "three stages": {"stages": 3},
    "six stages": {"stages": 6},
    "six stages, loss on the last only": {"stages": 6, "supervise": "last"},
}
FAMILIES = {
    "larger kernels": ("1 x 1", "3 x 3", "5 x 5", "9 x 9"),
    "nine weights, spread wider": ("3 x 3", "3 x 3, every 2nd cell", "3 x 3, every 4th cell", "3 x 3, every 6th cell"),
    "narrow field, as many weights as 9 x 9": ("3 x 3, more channels",),
}
PAIRS = {
    "wider, and more weights: 9 x 9 against 3 x 3": ("9 x 9", "3 x 3"),
    "more weights only: more channels against 3 x 3": ("3 x 3, more channels", "3 x 3"),
    "wider only, a little: every 2nd cell against 3 x 3": ("3 x 3, every 2nd cell", "3 x 3"),
    "wider only, a lot: every 6th cell against 3 x 3": ("3 x 3, every 6th cell", "3 x 3"),
    "three stages against one of 9 x 9": ("three stages", "9 x 9"),
    "six stages against three": ("six stages", "three stages"),
    "six stages: all losses against the last only": ("six stages", "six stages, loss on the last only"),
}
KINDS = {"head": ("head_top", "neck"), "ankle": ("right_ankle", "left_ankle"), "wrist": ("right_wrist", "left_wrist")}


def network(arm: str) -> ConvolutionalPoseMachine:
    """An arm's network, with torch's random numbers of the moment."""
    options = dict(ARMS[arm])
    holes = options.pop("holes", 1)
    model = models.create("cpm_course", **options, input_size=SIZE)
    widest: nn.Conv2d = model.heads[0][0][0]
    if holes > 1:
        widest.dilation = (holes, holes)
        widest.padding = (holes, holes)
    return model


def field(arm: str) -> int:
    """The side of what a cell of the arm's last stage sees, in pixels."""
    return receptive.computed(network(arm), torch.zeros(1, 3, *SIZE))[-1].size[0]


def recipe(seed: int = 0) -> Recipe:
    """How every arm is trained: the live recipe's world and augmentation."""
    live = recipes.get("cpm_live")
    return Recipe(
        "cpm_fields",
        model="cpm_course",
        data=live.data,
        batch=BATCH,
        steps=STEPS,
        learning_rate=live.learning_rate,
        warmup=live.warmup,
        ema=live.ema,
        augment=live.augment,
        seed=seed,
        precision="fp32",  # nearly the same sums on every processor
    )


def pictures(seed: int, count: int = POOL) -> list[Batch]:
    """The first batches that all arms of one seed see."""
    settings = synthetic.Settings(**recipes.get("cpm_live").data["synthetic"])
    return list(itertools.islice(synthetic.stream(BATCH, f"fields {seed}", SIZE, settings=settings), count))


def run(arm: str, seed: int, batches: list[Batch], steps: int = STEPS) -> tuple[nn.Module, list[float]]:
    """The trained network, and the losses of its last stage on the way."""
    torch.manual_seed(seed)
    trained = train(recipe(seed), model=network(arm), batches=batches, steps=steps, device="cpu", progress=False)
    losses = trained.history[f"stage_{ARMS[arm]['stages']}"][::TRACE]
    return trained.model, [round(value, 4) for value in losses]


def short_run(arm: str = "5 x 5", seed: int = 0, steps: int = 30) -> dict[str, Any]:
    """A training of a few seconds in an arm's way: stored with the study, and run again by the lesson beside it."""
    _, losses = run(arm, seed, pictures(seed, steps), steps)
    return {"arm": arm, "seed": seed, "steps": steps, "losses": losses}


def study(arms: Sequence[str] = tuple(ARMS), seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Trains every arm with every seed; scores of every stage on people nobody trained on."""
    settings = synthetic.Settings(**recipes.get("cpm_live").data["synthetic"])
    scenes = synthetic.single_scenes(HELD_OUT, "fields held out", SIZE, settings=settings)
    images, runs = torch.stack([scene.image for scene in scenes]), []
    for seed in seeds:
        batches = pictures(seed)
        for arm in arms:
            model, losses = run(arm, seed, batches)
            people = first_people(model, scenes)
            with torch.inference_mode():
                maps = torch.cat([model(part) for part in images.split(100)], dim=1)
            one: dict[str, Any] = {"arm": arm, "seed": seed, "losses": losses}
            stages = [[pose for (pose,) in model.decode(maps, stage=stage)] for stage in range(len(maps))]
            one["pck@0.2"] = [round(metrics.single_person(poses, people)["pck@0.2"], 4) for poses in stages]
            one |= by_kind(stages[-1], people)
            runs.append(one)
            print(arm, seed, one["pck@0.2"], flush=True)
    return {
        "what": "PCK@0.2 after every stage, and of the last one by joint, on held-out easy people of 64 x 64 pixels",
        "made_by": "python -m course_lib evaluate --study cpm_fields",
        "steps": STEPS,
        "batch": BATCH,
        "images": STEPS * BATCH,
        "different_images": POOL * BATCH,
        "held_out": HELD_OUT,
        **studies.provenance("cpm_live"),
        "arms": {arm: ARMS[arm] for arm in arms},
        "short_run": short_run(),
        "runs": runs,
    }


def by_kind(poses: Sequence[Pose], people: Sequence[Person]) -> dict[str, float]:
    """PCK@0.2 of some kinds of joints, and the share of joints whose answer lies on the joint of the other side."""
    marks, skeleton = pck_marks(poses, people), people[0].skeleton
    result = {}
    for kind, names in KINDS.items():
        which = [skeleton.index(name) for name in names]
        result[kind] = round(float(marks.right[:, which].sum() / marks.scored[:, which].sum()), 4)
    swapped = on_the_other_side(poses, people)
    result["other side"] = round(float(swapped.sum() / marks.scored.sum()), 4)
    return result


def on_the_other_side(poses: Sequence[Pose], people: Sequence[Person], alpha: float = 0.2) -> Tensor:
    """Which joints (N, K) were missed, but stand on the person's same joint of the other side, as PCK measures."""
    marks, swaps = pck_marks(poses, people, alpha), list(people[0].skeleton.swaps)
    exchanged = [pose.moved(pose.joints[swaps]) for pose in poses]
    mirror = pck_marks(exchanged, people, alpha)  # joint k's mark is now about the answer for its partner
    return mirror.right[:, swaps] & ~marks.right & marks.scored


save, load = partial(studies.save, FILE), partial(studies.load, FILE)


def finals(result: dict[str, Any], arm: str, what: str = "pck@0.2", stage: int = -1) -> list[float]:
    """A number of an arm's runs, in the order of the seeds; PCK@0.2 after one of the stages."""
    found = [one[what] for one in result["runs"] if one["arm"] == arm]
    return [value[stage] if isinstance(value, list) else value for value in found]


def summary(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every arm's size, counted now, and its scores as stored."""
    rows = {}
    for arm in result["arms"]:
        model, scores = network(arm).eval(), finals(result, arm)
        rows[arm] = {"field, px": field(arm), "weights": parameters(model)}
        rows[arm] |= {"M multiply-adds": 1000 * giga_multiply_adds(model), "PCK@0.2": fmean(scores)}
        rows[arm] |= {"lowest": min(scores), "highest": max(scores)}
        rows[arm] |= {name: fmean(finals(result, arm, name)) for name in (*KINDS, "other side")}
    return rows


def pairs(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By how many points of PCK@0.2 the first arm of each pair is better than the second, seed by seed."""
    return studies.pairs({asked: (finals(result, one), finals(result, other)) for asked, (one, other) in PAIRS.items()})


main = partial(studies.make, FILE, study)
