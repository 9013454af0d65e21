"""Small corrections, whole answers, or one look: small trainings for lesson 05, kept as data.

    python -m course_lib evaluate --study ief_study        # about nine minutes of one core

trains every arm with every seed on an easy synthetic world and writes data/studies/ief_study.json, from which the
lesson draws its figures. All arms of one seed see the same pictures in the same order, and every picture costs each of
them one pass with a gradient. Two more, longer trainings a seed ask what makes a network compare a drawing with a
picture. The file also holds the losses of a very short run, which the lesson repeats and compares, so that the numbers
cannot drift away from the code.
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
from course_lib.lessons.lesson_05_iterative_error_feedback import Walks, sent_back
from course_lib.models.ief import IterativeErrorFeedback
from course_lib.pose import Batch, Scene
from course_lib.training import Recipe, recipes, train

FILE = paths.DATA / "studies" / "ief_study.json"
SEEDS = (0, 1, 2)
HELD_OUT = 400
WALKED = 9  # steps that every arm is asked for in the end, however many it was trained for
WIDTH = 32  # of the small trunk, as in ief_course
TRACE = 10  # every so many training steps a loss is kept
ARMS = {
    "direct: the whole way, once": {"mode": "direct"},
    "IEF: bounded steps, fixed path, in phases": {},
    "IEF, the whole way first": {"whole_way": 0.4},
    "IEF, all steps from the beginning": {"curriculum": False},
    "IEF, on its own poses": {"path": "own"},
    "iterated: the whole way, again and again": {"mode": "iterate"},
}
DIRECT, IEF, WHOLE_FIRST, AT_ONCE, OWN, ITERATED = ARMS
PAIRS = {
    "IEF, against direct": (IEF, DIRECT),
    "IEF, against iterated": (IEF, ITERATED),
    "IEF: the whole way first, against not": (WHOLE_FIRST, IEF),
    "IEF: in phases, against all steps from the beginning": (IEF, AT_ONCE),
    "IEF: on the fixed path, against on its own poses": (IEF, OWN),
}
ALONG, ASTRAY = "poses of the path alone", "wrong poses as well"
COMPARED = {ALONG: 0.0, ASTRAY: 7.0}  # how far off the path poses are drawn, in pixels
COMPARED_SHARE, COMPARED_STEPS, COMPARED_SIGMA = 0.75, 800, 6.0
PUSHES = (3.0, 6.0, 9.0)  # pixels that a joint is moved aside


class Astray(IterativeErrorFeedback):
    """Error feedback that is trained on wrong poses too: on the fixed path, and around it. Not the paper's."""

    aside = 0.0

    def training_path(self, batch: Batch, steps: int) -> Tensor:
        path = super().training_path(batch, steps)
        moved = torch.rand(len(batch), 1, 1, device=path.device) < COMPARED_SHARE
        return path + torch.where(moved, self.aside * torch.randn_like(path), 0.0)


def recipe(arm: str, seed: int = 0) -> Recipe:
    """How an arm is trained: as the live network of the lesson, with the arm's options."""
    live = recipes.get("ief_live")
    return replace(live, name="ief_study", options={**live.options, **ARMS[arm]}, seed=seed)


def pictures(seed: int, count: int | None = None) -> list[Batch]:
    """The batches that all arms of one seed go round."""
    live = recipes.get("ief_live")
    settings = synthetic.Settings(**live.data["synthetic"])
    size = live.options["input_size"]
    made = synthetic.stream(live.batch, f"ief study {seed}", size, settings=settings)
    return list(itertools.islice(made, count or live.pool))


def short_run(arm: str = IEF, seed: int = 0, steps: int = 16) -> dict[str, Any]:
    """A training of a few seconds in an arm's way: stored with the study, and run again by the lesson beside it."""
    exact = replace(recipe(arm, seed), precision="fp32")  # nearly the same sums on every processor
    trained = train(exact, batches=pictures(seed, 4), steps=steps, device="cpu", progress=False)
    return {"arm": arm, "seed": seed, "steps": steps, "losses": _trace(trained.history, every=5)}


def study(arms: Sequence[str] = tuple(ARMS), seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Trains every arm with every seed; scores after every step of a long walk, on people nobody trained on."""
    live, scenes, runs = recipes.get("ief_live"), held_out(), []
    for seed in seeds:
        batches = pictures(seed)
        for arm in arms:
            trained = train(recipe(arm, seed), batches=batches, device="cpu", progress=False)
            walks = Walks.of(trained.model.eval(), scenes, steps=WALKED)
            scores = [metrics.single_person(walks.poses(step), walks.people) for step in range(WALKED + 1)]
            run = {"arm": arm, "seed": seed, "steps": trained.model.steps, "losses": _trace(trained.history)}
            run |= {name: [round(score[name], 4) for score in scores] for name in ("pck@0.2", "mean_error")}
            runs.append(run)
            print(arm, seed, run["pck@0.2"], flush=True)
    return {
        "what": "PCK@0.2 and mean error (pixels of a 64 x 64 crop) of the start and after every step, on held-out easy "
        "people; 'steps' is what the run was trained for",
        "made_by": "python -m course_lib evaluate --study ief_study",
        "steps": live.steps,
        "batch": live.batch,
        "images": live.steps * live.batch,
        "different_images": live.pool * live.batch,
        "held_out": HELD_OUT,
        "options": {**live.options, "input_size": list(live.options["input_size"])},
        **studies.provenance("ief_live"),
        "arms": {arm: ARMS[arm] for arm in arms},
        "short_run": short_run(),
        "runs": runs,
        "compared_steps": COMPARED_STEPS,
        "compared": compared(seeds),
    }


def compared(seeds: Sequence[int] = SEEDS) -> list[dict[str, Any]]:
    """Longer trainings on the path alone and around it; whether what comes out compares drawing and picture."""
    live, scenes = recipes.get("ief_live"), held_out()
    runs = []
    for seed in seeds:
        batches = pictures(seed)
        for arm, aside in COMPARED.items():
            torch.manual_seed(seed)
            network = Astray("lsp", **{"width": WIDTH, **live.options, "sigma": COMPARED_SIGMA})
            network.aside = aside
            longer = replace(live, name="ief_study", steps=COMPARED_STEPS, seed=seed)
            trained = train(longer, model=network, batches=batches, device="cpu", progress=False)
            walks = Walks.of(trained.model.eval(), scenes, steps=WALKED)
            few = walks.batch[torch.arange(100)]
            run = {"arm": arm, "seed": seed, "steps": network.steps}
            run["sent_back"] = [round(sent_back(walks.model, few, pixels), 3) for pixels in PUSHES]
            run["mean_error"] = [round(error, 3) for error in walks.mean_errors()]
            runs.append(run)
            print(arm, seed, run["sent_back"], run["mean_error"], flush=True)
    return runs


def held_out() -> list[Scene]:
    """Easy people that nobody trains on."""
    live = recipes.get("ief_live")
    settings = synthetic.Settings(**live.data["synthetic"])
    return synthetic.single_scenes(HELD_OUT, "ief study held out", live.options["input_size"], settings=settings)


def _trace(history: dict[str, list], every: int = TRACE) -> list[float]:
    return [round(value, 4) for value in history["loss"][::every]]


save, load = partial(studies.save, FILE), partial(studies.load, FILE)


def finals(result: dict[str, Any], arm: str) -> list[float]:
    """PCK@0.2 of an arm's runs after the steps they were trained for, in the order of the seeds."""
    return [run["pck@0.2"][run["steps"]] for run in result["runs"] if run["arm"] == arm]


def by_step(result: dict[str, Any], arm: str, score: str = "mean_error") -> list[float]:
    """A score after 0, 1, 2, ... steps, the mean of an arm's runs."""
    rows = [run[score] for run in result["runs"] if run["arm"] == arm]
    return [fmean(values) for values in zip(*rows, strict=True)]


def sent_back_by(result: dict[str, Any], arm: str) -> list[list[float]]:
    """How much of every push the runs of an arm take back, in the order of the seeds."""
    return [run["sent_back"] for run in result["compared"] if run["arm"] == arm]


def pairs(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the second arm of each pair lacks, in points, seed by seed."""
    return studies.pairs({asked: (finals(result, one), finals(result, other)) for asked, (one, other) in PAIRS.items()})


main = partial(studies.make, FILE, study)
