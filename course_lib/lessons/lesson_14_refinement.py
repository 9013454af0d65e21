"""Refinement or intermediate supervision: small trainings for lesson 14 that change one of the two at a time.

    python -m course_lib evaluate --study refinement                  # a quarter of an hour of one core
    python -m course_lib evaluate --study refinement --seeds 1 2 --styles plain
    python -m course_lib evaluate --study refinement --choose         # the learning rates, two minutes

trains every arm in every style with every seed on the easy world of lesson 06, and writes data/studies/refinement.json
after every run; runs that are in the file already are kept. All arms of one seed see the same pictures in the same
order, have as many 3x3 convolutions and, but for the one that shares them, as many weights (`sizes`).

The learning rate is one for all arms of a style. It was chosen by `--choose`: the two most different arms, with a seed
and held-out people of their own, for the highest mean PCK@0.2; what was tried is in the file under "choice". In the
plain style the two arms would have chosen differently, so everything is trained at the other one's rate, too.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from course_lib import metrics, paths
from course_lib.datasets import synthetic
from course_lib.lessons import studies
from course_lib.lessons.lesson_14_stages import SwitchedCascade
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.pose import Batch, Scene
from course_lib.training import Recipe, Trained, recipes, train
from course_lib.training.evaluate import first_people

FILE = paths.DATA / "studies" / "refinement.json"
SIZE = (64, 64)
SEEDS = (0, 1, 2)
STEPS, BATCH, POOL, HELD_OUT = 300, 16, 90, 500
TRACE = 10  # every so many steps a loss and the gradients are kept
ALPHAS = (0.05, 0.1, 0.2)
STAGES, WIDTH = 4, 32
BOTH, NO_LOSSES, NO_FEATURES, NEITHER = (
    "all losses, features",
    "last loss only, features",
    "all losses, maps only",
    "last loss only, maps only",
)
SHARED, SINGLE = "all losses, features, shared weights", "one stage"
# hidden 33 instead of 32 pays back the weights of the entries that are smaller, or not there
ARMS: dict[str, dict[str, Any]] = {
    BOTH: {"hidden": 32},
    NO_LOSSES: {"hidden": 32, "supervise": "last"},
    NO_FEATURES: {"hidden": 33, "features": False},
    NEITHER: {"hidden": 33, "features": False, "supervise": "last"},
    SHARED: {"hidden": 32, "shared": True},
    SINGLE: {"hidden": 33, "stages": 1, "blocks": 2 * STAGES},
}
PLAIN, RESIDUAL, FAST = "plain", "norm and skips", "plain, twice the rate"
STYLES = {PLAIN: {"residual": False}, RESIDUAL: {"residual": True}, FAST: {"residual": False}}
RATES = {PLAIN: 2e-3, RESIDUAL: 8e-3, FAST: 4e-3}
CHOICE = {"rates": (1e-3, 2e-3, 4e-3, 8e-3, 16e-3), "arms": (BOTH, NEITHER), "seed": 100, "steps": 120}
QUESTIONS = {
    "losses at every stage, with features": (BOTH, NO_LOSSES),
    "losses at every stage, maps only": (NO_FEATURES, NEITHER),
    "features for later stages, all losses": (BOTH, NO_FEATURES),
    "features for later stages, last loss only": (NO_LOSSES, NEITHER),
    "four stages, against one as deep": (BOTH, SINGLE),
    "own weights, against shared ones": (BOTH, SHARED),
}


# --- one run ----------------------------------------------------------------------------------------------------------


def network(arm: str, style: str, seed: int = 0) -> SwitchedCascade:
    """An arm's network with its first weights."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        options = {"stages": STAGES, "width": WIDTH, "input_size": SIZE, **STYLES[style], **ARMS[arm]}
        return SwitchedCascade(**options)


def recipe(style: str, seed: int, steps: int, rate: float | None = None) -> Recipe:
    """How every arm of a style is trained: the live recipe's world and augmentation."""
    live = recipes.get("hourglass_live")
    return Recipe(
        "refinement",
        model="hourglass_course",  # not built: `train` is given a network
        data=live.data,
        batch=BATCH,
        steps=steps,
        learning_rate=rate or RATES[style],
        warmup=10,
        ema=0.97,
        augment=live.augment,
        seed=seed,
        precision="fp32",  # nearly the same sums on every processor
    )


def world() -> synthetic.Settings:
    """One everyday person who faces us, and nothing else."""
    return synthetic.Settings(**recipes.get("hourglass_live").data["synthetic"])


def pictures(seed: int, count: int = POOL) -> list[Batch]:
    """The batches that all arms of one seed go round."""
    return list(itertools.islice(synthetic.stream(BATCH, f"refinement {seed}", SIZE, settings=world()), count))


def people(name: str = "held out", count: int = HELD_OUT) -> list[Scene]:
    """People whom nobody trained on."""
    return synthetic.single_scenes(count, f"refinement {name}", SIZE, settings=world())


def watch(model: SwitchedCascade) -> dict[str, list[float]]:
    """Writes down, step by step, the root mean square of the loss's gradient by the weights of some layers.

    They are the first convolution that sees the picture, and the first 3x3 one of every stage; a layer that stages
    share counts once, with all that comes back to it. Nothing is changed, and the averaged copy is not watched.
    """
    layers = {"first layer": model.stem[0]}
    layers |= {f"stage {number}": stage.convolutions[1] for number, stage in enumerate(model.stages, 1)}
    sizes: dict[str, list[float]] = {}
    watched: set[nn.Parameter] = set()
    for name, layer in layers.items():
        if layer.weight not in watched:
            watched.add(layer.weight)
            kept = sizes[name] = []
            layer.weight.register_post_accumulate_grad_hook(
                lambda weight, kept=kept: kept.append(float(weight.grad.square().mean().sqrt()))
            )
    return sizes


def trained_arm(
    arm: str, style: str, seed: int, batches: list[Batch], steps: int, rate: float | None = None
) -> tuple[Trained, dict[str, list[float]]]:
    """A training, and its gradients at every step."""
    model = network(arm, style, seed)
    gradients = watch(model)
    trained = train(
        recipe(style, seed, steps, rate), model=model, batches=batches, steps=steps, device="cpu", progress=False
    )
    return trained, gradients


@torch.inference_mode()
def measured(model: SwitchedCascade, scenes: Sequence[Scene]) -> dict[str, list[float]]:
    """PCK by the torso at three widths, and the mean error in pixels, after every stage."""
    images, truth = torch.stack([scene.image for scene in scenes]), first_people(model, scenes)
    skeleton = model.skeleton
    true, visible = (torch.stack([getattr(one, name) for one in truth]) for name in ("joints", "visible"))
    maps = torch.cat([model(part) for part in images.split(100)], dim=1)
    rows: dict[str, list[float]] = {}
    for stage in range(len(maps)):
        joints = torch.stack([pose.joints for (pose,) in model.decode(maps, stage=stage)])
        row = {f"pck@{alpha}": metrics.pck(joints, true, visible, skeleton, alpha).mean for alpha in ALPHAS}
        row["mean_error"] = float((joints - true).norm(dim=-1)[visible > 0].mean())
        for name, value in row.items():
            rows.setdefault(name, []).append(round(value, 4))
    return rows


def one_run(arm: str, style: str, seed: int, batches: list[Batch], scenes: Sequence[Scene]) -> dict[str, Any]:
    """A run of the study."""
    trained, gradients = trained_arm(arm, style, seed, batches, STEPS)
    losses = {name: values for name, values in trained.history.items() if name.startswith("stage_")}
    return {
        **{"arm": arm, "style": style, "seed": seed},
        **measured(trained.model, scenes),
        "losses": {name: [round(value, 4) for value in values[::TRACE]] for name, values in losses.items()},
        "gradients": {name: [float(f"{value:.3g}") for value in values[::TRACE]] for name, values in gradients.items()},
    }


def short_run(arm: str = BOTH, style: str = RESIDUAL, seed: int = 0, steps: int = 16) -> dict[str, Any]:
    """A training of two seconds in an arm's way: stored with the study, and run again by the lesson beside it."""
    trained, gradients = trained_arm(arm, style, seed, pictures(seed, steps), steps)
    kept = {"losses": [round(value, 4) for value in trained.history[f"stage_{STAGES}"]]}
    kept["gradients"] = [float(f"{value:.3g}") for value in gradients["first layer"]]
    return {"arm": arm, "style": style, "seed": seed, "steps": steps, **kept}


# --- the whole --------------------------------------------------------------------------------------------------------


def sizes() -> dict[str, dict[str, dict[str, float]]]:
    """What every arm of every style costs: sizes()[style][arm]: its weights, and G multiply-adds a picture."""
    built = {style: {arm: network(arm, style) for arm in ARMS} for style in (PLAIN, RESIDUAL)}
    return {
        style: {
            arm: {"parameters": parameters(model), "giga_multiply_adds": round(giga_multiply_adds(model), 4)}
            for arm, model in arms.items()
        }
        for style, arms in built.items()
    }


def about() -> dict[str, Any]:
    """What holds for every run."""
    return {
        "what": "PCK and mean error (pixels of a 64 x 64 crop) after every stage, on held-out easy people",
        "made_by": "python -m course_lib evaluate --study refinement",
        **{"steps": STEPS, "batch": BATCH, "images": STEPS * BATCH, "different_images": POOL * BATCH},
        **{"held_out": HELD_OUT, "trace": TRACE, "seeds": list(SEEDS)},
        **studies.provenance("hourglass_live"),
        **{"arms": ARMS, "styles": STYLES, "rates": RATES, "sizes": sizes()},
    }


def choose(file: Path = FILE) -> None:
    """Tries learning rates on a seed and on people of their own; each is written down as soon as it is tried."""
    seed, steps = CHOICE["seed"], CHOICE["steps"]
    batches, scenes = pictures(seed, 45), people("choice", 200)
    for style, rate, arm in itertools.product((PLAIN, RESIDUAL), CHOICE["rates"], CHOICE["arms"]):
        stored = _read(file)
        tried = stored.get("choice", [])
        if any((one["arm"], one["style"], one["rate"]) == (arm, style, rate) for one in tried):
            continue
        trained, _ = trained_arm(arm, style, seed, batches, steps, rate)
        row = {"arm": arm, "style": style, "rate": rate, "pck@0.2": measured(trained.model, scenes)["pck@0.2"][-1]}
        row["loss"] = round(sum(trained.history[f"stage_{STAGES}"][-10:]) / 10, 4)
        studies.save(file, {**stored, "choice": [*tried, row]})
        print(*row.values(), flush=True)


def run_all(arms: Sequence[str], styles: Sequence[str], seeds: Sequence[int], file: Path = FILE) -> dict[str, Any]:
    """Trains what is asked for and is not in the file yet; the file is written after every run."""
    wanted = list(itertools.product(seeds, styles, arms))
    done = {_which(run) for run in _read(file).get("runs", [])}
    todo = [run for run in wanted if run not in done]
    scenes = people() if todo else []
    batches: dict[int, list[Batch]] = {}
    for number, (seed, style, arm) in enumerate(todo, 1):
        if seed not in batches:
            batches = {seed: pictures(seed)}
        run = one_run(arm, style, seed, batches[seed], scenes)
        stored = _read(file)  # another process may have added to it
        runs = [one for one in stored.get("runs", []) if _which(one) != _which(run)] + [run]
        order = {which: place for place, which in enumerate(itertools.product(SEEDS, STYLES, ARMS))}
        runs.sort(key=lambda one: order.get(_which(one), len(order)))
        short = stored.get("short_run") or short_run()
        studies.save(file, {**about(), "short_run": short, "choice": stored.get("choice", []), "runs": runs})
        print(f"{number}/{len(todo)}", style, arm, seed, run["pck@0.2"], flush=True)
    return _read(file)


def _which(run: dict[str, Any]) -> tuple[int, str, str]:
    return run["seed"], run["style"], run["arm"]


def _read(file: Path) -> dict[str, Any]:
    return studies.load(file) if file.is_file() else {}


load = partial(studies.load, FILE)


# --- what it says -----------------------------------------------------------------------------------------------------


def runs_of(study: dict[str, Any], arm: str, style: str) -> list[dict[str, Any]]:
    """An arm's runs in one style, in the order of the seeds."""
    runs = [run for run in study["runs"] if (run["arm"], run["style"]) == (arm, style)]
    return sorted(runs, key=lambda run: run["seed"])


def finals(study: dict[str, Any], arm: str, style: str, name: str = "pck@0.2", stage: int = -1) -> list[float]:
    """A score of every run of an arm after one of the stages."""
    return [run[name][stage] for run in runs_of(study, arm, style)]


def differences(study: dict[str, Any], style: str, name: str = "pck@0.2") -> dict[str, dict[str, Any]]:
    """What each switch adds in points, seed by seed."""
    asked = {question: tuple(finals(study, arm, style, name) for arm in pair) for question, pair in QUESTIONS.items()}
    return studies.pairs(asked)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--styles", nargs="+", choices=list(STYLES), default=list(STYLES))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--choose", action="store_true", help="try learning rates; part of no result")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if asked.choose:
        choose(asked.out)
    else:
        run_all(asked.arms, asked.styles, asked.seeds, asked.out)
