"""What two judges are good for: small trainings for lesson 12 with and without them, kept as data.

    python -m course_lib evaluate --study adversarial                      # a quarter of an hour of one core
    python -m course_lib evaluate --study adversarial --arms both --seeds 1 2
    python -m course_lib evaluate --study adversarial --shipped            # the weights that ship, some minutes

trains every arm with every seed in an easy world whose people are heavily covered, and writes
data/studies/adversarial.json after every run; runs that are in the file already are kept. All arms begin as the
network of lesson 06, and all arms of one seed see the same pictures in the same order. What is measured is
`lesson_12_measures.measured`, on people nobody trained on, of whom at least a third of the joints is hidden.

How such people are chosen: crops of a seed of their own are rendered with posts and neighbours before most of them, as
in training, up to four rectangles are laid over each, and who then has a third of the labelled joints hidden is kept.
With `--shipped`, crops of the benchmark's world are rendered with a post before each and more neighbours than usual;
nothing is laid over them, and again who has a third hidden is kept.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import checkpoints, metrics, models, paths
from course_lib.datasets import synthetic
from course_lib.lessons import lesson_12_measures as measures
from course_lib.lessons import studies
from course_lib.models.adversarial import AdversarialPoseNet
from course_lib.pose import Batch
from course_lib.training import Recipe, recipes, train
from course_lib.training.augment import NONE, augment
from course_lib.training.evaluate import paired_interval

FILE = paths.DATA / "studies" / "adversarial.json"
SIZE = (64, 64)
SEEDS = (0, 1, 2)
STEPS, BATCH, POOL = 250, 16, 100  # training: steps of so many people, and batches rendered for each seed
LOOKED_THROUGH, PROBE = 1500, 24  # people rendered to choose the covered ones from; people on whom training is watched
TRACE, WATCH = 10, 25  # steps between losses that are kept, and between looks at judges and gradients
START = "hourglass_course"  # a network that knows people as they come, and has to learn what covers them
NONE_OF_THEM, ONLY_C, ONLY_P, BOTH = "no judges", "confidence judge only", "pose judge only", "both judges"
HARD, LOUD = "both, hard labels", "both, a hundred times louder"
ARMS: dict[str, dict[str, Any]] = {
    NONE_OF_THEM: {"pose_weight": 0.0, "confidence_weight": 0.0},
    ONLY_C: {"pose_weight": 0.0},
    ONLY_P: {"confidence_weight": 0.0},
    BOTH: {},
    HARD: {"labels": "sample"},
    LOUD: {"loudness": 100.0},
}
TRACED = ("maps", "hidden", "gradient_norm", "pose_real", "pose_fake", "confidence_real", "confidence_fake")
ONCE = (HARD, LOUD)  # trained with the first seed only
PAIRS = {arm: (arm, NONE_OF_THEM) for arm in ARMS if arm != NONE_OF_THEM}
COVERED = {"occluders": 1.0, "others": 0.5}  # what makes the easy world a covered one
SHIPPED = ("hourglass_course", "adversarial_plain", "adversarial_course")
SHIPPED_WORLD, SHIPPED_PEOPLE, LIMIT_PEOPLE = {"occluders": 1.0, "others": 0.8, "truncation": 0.0}, 1500, 2000
_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}  # Student's 97.5 % points by degrees of freedom


# --- the world --------------------------------------------------------------------------------------------------------


def world() -> synthetic.Settings:
    """One everyday person who faces us, a post or two before each, and often somebody beside."""
    return synthetic.Settings(**recipes.get("hourglass_live").data["synthetic"] | COVERED)


def laid_over() -> Any:
    """Up to four rectangles over every person: plain, or torn out of another picture."""
    return replace(NONE, patches=4, patch=0.7)


def pictures(seed: int, count: int = POOL) -> list[Batch]:
    """The batches that all arms of one seed go round."""
    made = synthetic.stream(BATCH, f"adversarial {seed}", SIZE, settings=world())
    return list(itertools.islice(made, count))


def covered(name: str = "held out", people: int = LOOKED_THROUGH) -> Batch:
    """Heavily covered people: of so many that are rendered, those with a third of their joints hidden."""
    made = itertools.islice(synthetic.stream(50, f"adversarial {name}", SIZE, settings=world()), -(-people // 50))
    generator = torch.Generator().manual_seed(0)
    return measures.heavily_covered(augment(Batch.cat(list(made)), generator, laid_over()))


def limits(settings: synthetic.Settings | None = None, people: int = LIMIT_PEOPLE) -> Tensor:
    """The lengths (2, L) that limbs of this world's people have; the pictures, a few pixels large, do not matter."""
    made = synthetic.stream(100, "adversarial limbs", (16, 16), settings=settings or world())
    return measures.possible_limbs(Batch.cat(list(itertools.islice(made, people // 100))))


# --- training ---------------------------------------------------------------------------------------------------------


def recipe(arm: str, seed: int = 0, steps: int = STEPS) -> Recipe:
    """How an arm is trained: one stack that begins as lesson 06's network, everywhere the same steps.

    The gradient is clipped so high up that the judges' part of it does not take from the generator's.
    """
    options = {"stacks": 1, "judge_width": 16, "listens_from": 0.2, "input_size": SIZE, **ARMS[arm]}
    live = recipes.get("hourglass_live")
    return Recipe(
        "adversarial_study",
        model="adversarial_course",
        options=options,
        start=START,
        data=live.data,
        batch=BATCH,
        steps=steps,
        learning_rate=2e-3,
        warmup=20,
        ema=0.97,
        clip=20.0,
        augment=replace(live.augment, patches=4, patch=0.7),
        seed=seed,
        precision="fp32",  # nearly the same sums on every processor
    )


def short_run(arm: str = BOTH, seed: int = 0, steps: int = 8) -> dict[str, Any]:
    """A training of a few seconds in an arm's way: stored with the study, and run again by the lesson beside it."""
    short = recipe(arm, seed, steps)
    trained = train(short, batches=pictures(seed, 2), device="cpu", progress=False)
    names = ("maps", "hidden", "pose_real", "pose_fake", "confidence_real", "confidence_fake")
    losses = {name: [round(value, 4) for value in trained.history[name]] for name in names}
    return {"arm": arm, "seed": seed, "steps": steps, "losses": losses}


def watched(model: AdversarialPoseNet, probe: Batch) -> dict[str, float]:
    """What goes on between generator and judges, on people of whom neither learns.

    Gradients are those of the generator's weights: of the maps' loss, and of what each judge adds to it.
    """
    model = copy.deepcopy(model).requires_grad_(True)
    terms = model.training_loss(probe, 1.0)
    unit = model.loudness * 2 / (math.pi * model.sigma**2)
    asked = {"maps": terms["maps"] + terms["hidden"]}
    row = {name: float(term.detach()) for name, term in terms.items()}
    made = model(probe.images)
    truth, last = model.truth(probe, made.maps.shape[-2:]), type(made)(made.maps[-1], made.hidden[-1])
    verdicts = {"real": model.judge(truth, probe.images), "fake": model.judge(last, probe.images)}
    known = probe.visible > 0
    for name, weight, labels in (
        ("pose", model.pose_weight, model._pose_labels),
        ("confidence", model.confidence_weight, model._confidence_labels),
    ):
        if weight == 0:
            continue
        asked[name] = weight * unit * terms[f"{name}_adversarial"]
        row[f"{name} ones"] = float(labels(last.maps.detach(), truth, probe)[known].mean())
        for kind, verdict in verdicts.items():
            row[f"{name} score of {kind}"] = float(getattr(verdict, name)[known].mean())
    for name, term in asked.items():
        row[f"gradient of {name}"] = gradient_norm(term, model.generator)
    return {name: round(value, 5) for name, value in row.items()}


def gradient_norm(term: Tensor, module: nn.Module) -> float:
    """How long the gradient of a term is, over all weights of a module that it reaches."""
    parameters = list(module.parameters())
    reached = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    return math.sqrt(sum(float(one.square().sum()) for one in reached if one is not None))


def one_run(arm: str, seed: int, batches: Sequence[Batch], held_out: Batch, probe: Batch, limit: Tensor) -> dict:
    """A run of the study."""
    look: Callable[[Any], dict[str, float]] = partial(watched, probe=probe)
    trained = train(
        recipe(arm, seed), batches=batches, device="cpu", progress=False, validate=look, validate_every=WATCH
    )
    run = {"arm": arm, "seed": seed, **measures.measured(trained.model, held_out, limit)}
    traced = {name: trained.history[name] for name in TRACED if name in trained.history}
    run["traces"] = {name: [round(value, 4) for value in kept[::TRACE]] for name, kept in traced.items()}
    run["watched"] = trained.history["validation"]
    return run


# --- the whole --------------------------------------------------------------------------------------------------------


def about(held_out: Batch, limit: Tensor) -> dict[str, Any]:
    """What holds for every run."""
    torso_known = {part: measures.counts(held_out.joints, held_out, part)[1] for part in ("visible", "hidden")}
    return {
        "what": "PCK@0.2 and more on held-out people of whom at least a third of the joints is hidden, 64 x 64 crops",
        "made_by": "python -m course_lib evaluate --study adversarial",
        **{"steps": STEPS, "batch": BATCH, "images": STEPS * BATCH, "start": START, "different_images": POOL * BATCH},
        **{"looked_through": LOOKED_THROUGH, "held_out": len(held_out), "trace": TRACE, "watch": WATCH},
        "hidden_share": round(float((held_out.visible == 1).sum() / (held_out.visible > 0).sum()), 4),
        **studies.provenance("hourglass_live"),
        "covered": COVERED,
        "arms": ARMS,
        "asked": {part: measures.packed(numbers) for part, numbers in torso_known.items()},
        "limbs": [[round(value, 4) for value in row] for row in limit.tolist()],
        "truth": measures.rounded(measures.plausibility(held_out.joints, held_out, limit)),
    }


def run_all(arms: Sequence[str], seeds: Sequence[int], file: Path = FILE) -> dict[str, Any]:
    """Trains what is asked for and is not in the file yet; the file is written after every run."""
    stored = studies.load(file) if file.is_file() else {}
    runs = stored.get("runs", [])
    done = {(run["arm"], run["seed"]) for run in runs}
    wanted = [(arm, seed) for seed in seeds for arm in arms if (arm not in ONCE or seed == SEEDS[0])]
    todo = [pair for pair in wanted if pair not in done]
    if not todo:
        return stored
    held_out, probe, limit = covered(), covered("probe", 150)[:PROBE], limits()
    batches: dict[int, list[Batch]] = {}
    for arm, seed in todo:
        if seed not in batches:
            batches = {seed: pictures(seed)}
        run = one_run(arm, seed, batches[seed], held_out, probe, limit)
        stored = studies.load(file) if file.is_file() else {}  # another process may have added to it
        order = {pair: place for place, pair in enumerate(itertools.product(ARMS, SEEDS))}
        runs = [one for one in stored.get("runs", []) if (one["arm"], one["seed"]) != (arm, seed)] + [run]
        runs.sort(key=lambda one: order.get((one["arm"], one["seed"]), len(order)))
        short = stored.get("short_run") or short_run()
        kept = {"shipped": stored["shipped"]} if "shipped" in stored else {}
        stored = {**about(held_out, limit), "short_run": short, "runs": runs, **kept}
        studies.save(file, stored)
        print(arm, seed, run["pck@0.2"], run["implausible"], flush=True)
    return stored


load = partial(studies.load, FILE)


# --- what it says -----------------------------------------------------------------------------------------------------


def runs_of(study: dict[str, Any], arm: str) -> list[dict[str, Any]]:
    """An arm's runs in the order of the seeds."""
    return sorted((run for run in study["runs"] if run["arm"] == arm), key=lambda run: run["seed"])


def values(study: dict[str, Any], arm: str, kind: str, name: str) -> list[float]:
    """One number of every run of an arm: values(study, BOTH, "pck@0.2", "hidden")."""
    return [run[kind][name] for run in runs_of(study, arm)]


def differences(study: dict[str, Any], part: str) -> dict[str, dict[str, Any]]:
    """What judges add to PCK@0.2 of a part of the joints, in points: seed by seed, and their mean.

    Two intervals, since two things are left to chance. "people": these trainings, shown other people (bootstrap).
    "trainings": other trainings, shown these people (Student's t over the seeds; wide, as three are few).
    """
    rows = {}
    for arm, (one, other) in PAIRS.items():
        ones = runs_of(study, one)
        if not ones:
            continue
        others = [run for run in runs_of(study, other) if run["seed"] in {mine["seed"] for mine in ones}]
        row: dict[str, Any] = {
            f"seed {a['seed']}": 100 * (a["pck@0.2"][part] - b["pck@0.2"][part])
            for a, b in zip(ones, others, strict=True)
        }
        apart = list(row.values())
        row["mean"] = fmean(apart)
        both = ("visible", "hidden") if part == "all" else (part,)
        found = [[_sum_of(run["found"], both) for run in runs] for runs in (ones, others)]
        chance = measures.paired(*found, _sum_of(study["asked"], both))
        row["people"] = (chance["low"], chance["high"])
        row["trainings"] = student(apart)
        rows[arm] = row
    return rows


def _sum_of(digits: dict[str, str], parts: Sequence[str]) -> str:
    total = sum(measures.unpacked(digits[part]) for part in parts)
    return measures.packed([int(number) for number in total.tolist()])


def student(apart: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean of a few differences; None for a single one."""
    if len(apart) < 2:
        return None
    reach = _T[len(apart) - 1] * stdev(apart) / math.sqrt(len(apart))
    return fmean(apart) - reach, fmean(apart) + reach


# --- the weights that ship --------------------------------------------------------------------------------------------


def shipped_people(count: int = SHIPPED_PEOPLE, size: tuple[int, int] = (96, 96)) -> Batch:
    """Heavily covered people of the benchmark's world, of a seed that nothing was trained or chosen on."""
    settings = synthetic.Settings(**SHIPPED_WORLD)
    made = itertools.islice(synthetic.stream(50, "adversarial shipped", size, settings=settings), -(-count // 50))
    return Batch.cat([measures.heavily_covered(batch) for batch in made])


def identity(names: Sequence[str] = SHIPPED) -> dict[str, dict[str, Any]]:
    """What changes whenever weights are trained anew."""
    headers = {name: checkpoints.read_header(paths.checkpoint(name)) for name in names}
    kept = ("recipe", "steps", "images", "seed")
    return {name: {key: header[key] for key in kept} for name, header in headers.items()}


def of_shipped(names: Sequence[str] = SHIPPED, people: int = SHIPPED_PEOPLE) -> dict[str, Any]:
    """PCK@0.2 and more of the weights that ship on heavily covered people, and their differences in pairs."""
    batch = shipped_people(people)
    limit = limits(synthetic.Settings(**SHIPPED_WORLD))
    rows, marks = {}, {}
    for name in names:
        model = models.load(name)
        rows[name] = measures.measured(model, batch, limit)
        joints = measures.answers(model, batch.images)[0]
        for part in measures.PARTS:
            all_marks = metrics.pck(joints, batch.joints, batch.visible, batch.skeleton)
            which = measures.asked(batch.visible, part)
            marks[name, part] = replace(all_marks, right=all_marks.right & which, scored=all_marks.scored & which)
    pairs = []
    for one, other in itertools.combinations(reversed(names), 2):
        for part in measures.PARTS:
            a, b = marks[one, part], marks[other, part]
            low, high = paired_interval(a, b) or (0.0, 0.0)
            row = {"one": one, "other": other, "part": part, "points": 100 * (a.mean - b.mean)}
            pairs.append(row | {"low": 100 * low, "high": 100 * high})
    for row in rows.values():
        del row["found"]
    return {
        "weights": identity(names),
        **{"looked_through": people, "people": len(batch), "world": SHIPPED_WORLD},
        "hidden_share": round(float((batch.visible == 1).sum() / (batch.visible > 0).sum()), 4),
        "truth": measures.rounded(measures.plausibility(batch.joints, batch, limit)),
        "rows": rows,
        "pairs": [{key: round(v, 2) if isinstance(v, float) else v for key, v in row.items()} for row in pairs],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--shipped", action="store_true", help="measure the weights that ship; trains nothing")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if not asked.shipped:
        run_all(asked.arms, asked.seeds, asked.out)
        return
    found = of_shipped()
    studies.save(asked.out, {**(studies.load(asked.out) if asked.out.is_file() else {}), "shipped": found})
