"""`python -m course_lib fit`: the classical systems, which are learned piece by piece instead of by gradients.

    python -m course_lib fit pictorial_structures --ship data/checkpoints/pictorial_structures.safetensors
    python -m course_lib fit poselet_conditioned --ship data/checkpoints/poselet_conditioned.safetensors

The second goes on from the first, which it holds: both see parts with the same detectors.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import torch

from course_lib import checkpoints, models, paths
from course_lib.datasets import synthetic
from course_lib.errors import CourseError, unknown_name
from course_lib.models.base import PoseModel
from course_lib.models.pictorial import conditioning, fitting
from course_lib.pose import Batch
from course_lib.training import benchmarks, provenance
from course_lib.training.commands import print_table

AT_ONCE = 100  # people rendered together


@dataclass(frozen=True)
class Fitted:
    """What a model is learned from."""

    model: str
    fit: Callable[[Any, Batch, int], PoseModel]
    people: int  # rendered ones, of the benchmark's world
    start: str = ""  # the shipped weights that it holds and goes on from
    options: dict[str, Any] = field(default_factory=dict)


FITTED = {
    "pictorial_structures": Fitted("pictorial_structures", fitting.fit, 2000),
    "poselet_conditioned": Fitted("poselet_conditioned", conditioning.fit, 6000, start="pictorial_structures"),
}


def add_parsers(subparsers: Any) -> None:
    """Adds the command to what `ArgumentParser.add_subparsers` gave."""
    parser = subparsers.add_parser(
        "fit",
        help="learn a classical model from rendered people",
        description="Learns pictorial structures piece by piece: a few minutes, with poselets half an hour of one CPU "
        "core. Nothing is written before it is done.",
    )
    parser.add_argument("name", help=f"one of {', '.join(FITTED)}")
    parser.add_argument("--people", type=int, help="from how many rendered people; the model's own number without this")
    parser.add_argument("--seed", type=int, default=0, help="of the people (%(default)s)")
    parser.add_argument("--start", type=Path, help="weights of the model it goes on from, instead of the shipped ones")
    parser.add_argument("--ship", type=Path, help="where the weights go (build/training/NAME/NAME.safetensors)")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    """Fits a model, measures it, writes it with its scores, and says where."""
    file = arguments.ship or provenance.weights_file(paths.BUILD / "training", arguments.name)
    model, header = fit(arguments.name, arguments.people, arguments.seed, arguments.start)
    scores = {name: benchmarks.measure(model, name) for name in benchmarks.possible(model)}
    for name, one in scores.items():
        print_table({arguments.name: one}, name)
    checkpoints.save(file, model, {**header, "scores": scores}, limit=checkpoints.SHIPPED_LIMIT)
    print(f"weights: {file}, {file.stat().st_size / checkpoints.MEGABYTE:.2f} MB")
    return 0


def fit(
    name: str, people: int | None = None, seed: int = 0, start: Path | None = None
) -> tuple[PoseModel, dict[str, Any]]:
    """A fitted model and the header of its checkpoint, without scores."""
    if name not in FITTED:
        raise unknown_name("classical model", name, FITTED)
    recipe = FITTED[name]
    count = recipe.people if people is None else people
    if count < 2:
        raise CourseError(f"a model is learned from at least two people; got {count}")
    model = models.create(recipe.model, **recipe.options)
    begun = {}
    if start and not recipe.start:
        raise CourseError(f"'{name}' is learned from nothing, so that it cannot go on from {start}")
    if recipe.start:
        begun_from = start or paths.checkpoint(recipe.start)
        begun = provenance.as_start(begun_from, checkpoints.read_header(begun_from))
        model.load_state_dict(_same_body(begun_from, recipe.start, model).state_dict(), strict=False)
    recipe.fit(model, rendered(count, model, seed), seed)
    header = {"recipe": name, "data": {"synthetic": {}}, "steps": 0, "images": count, "seed": seed, "start": begun}
    return model, {**header, "device": f"cpu, {torch.get_num_threads()} threads", "date": date.today().isoformat()}


def _same_body(file: Path, name: str, model: PoseModel) -> PoseModel:
    """The model in a file, which must be of this name and have the same parts and states as a model."""
    begun = models.load(name, file)
    if begun.name != name:
        raise CourseError(f"{file} holds weights of '{begun.name}', but '{model.name}' goes on from '{name}'")
    for what in ("skeleton", "input_size", "stride", "rotations", "scales"):
        old, new = getattr(begun, what), getattr(model, what)
        if old != new:
            raise CourseError(f"{file} has {what} {old}, but '{model.name}' has {new}; it cannot go on from there")
    return begun


def rendered(count: int, model: PoseModel, seed: int) -> Batch:
    """People of the benchmark's world, none of whom is in the benchmark; pictures as bytes."""
    found = []
    for batch in synthetic.stream(min(AT_ONCE, count), seed=seed, size=model.input_size, skeleton=model.skeleton):
        found.append(Batch((batch.images * 255).round().byte(), batch.joints, batch.visible, batch.skeleton))
        if sum(map(len, found)) >= count:
            return Batch.cat(found)[:count]
    raise CourseError("the rendered world came to an end")
