"""How fast one training step is, with and without each of the three switches that make it faster.

    python -m course_lib speed hourglass_course

Every variant takes the same steps of the same recipe on the same batch, which lies on the device already, so that the
network alone is timed. All are given as ratios to plain fp32 without channels_last and without compile, measured in the
same run: images a second by themselves say more about the machine than about the code. A last row takes the recipe's
own data and says what share of the time training waits for it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from course_lib.errors import CourseError
from course_lib.models.base import PoseModel
from course_lib.pose import Batch, Crowd
from course_lib.training import devices, recipes
from course_lib.training.distributed import World
from course_lib.training.recipes import Recipe
from course_lib.training.run import Run
from course_lib.training.sources import mixture

PLAIN = {"precision": "fp32", "channels_last": False, "compile": False}
VARIANTS = {
    "plain fp32": {},
    "bf16": {"precision": "bf16"},
    "channels_last": {"channels_last": True},
    "compile": {"compile": True},
    "bf16, channels_last": {"precision": "bf16", "channels_last": True},
    "all three": {"precision": "bf16", "channels_last": True, "compile": True},
}
IN_A_CROWD = 6  # people
WARM_UP = 3  # steps that nobody times: caches fill, kernels are chosen or compiled


@dataclass(frozen=True)
class Speed:
    """One variant's answer."""

    variant: str
    images: float  # a second, in the median step; nan where it failed
    note: str = ""


def measure(recipe: Recipe, device: torch.device, steps: int = 10, batch: int | None = None) -> Iterator[Speed]:
    """Each variant's speed in turn, then the speed and the share of waiting with the recipe's own data."""
    recipe = replace(recipe, batch=batch or recipe.batch, chunk=0, start="")
    model = Run.prepare(recipe, None, device, World(), None, None).model
    one = _people(model, recipe.batch).to(device)
    for name, switches in VARIANTS.items():
        variant = replace(recipe, **{**PLAIN, **switches})
        if variant.precision == "bf16" and not devices.has_bfloat16(device):
            yield Speed(name, float("nan"), "this device has no bfloat16")
            continue
        yield _timed(name, variant, device, steps, [one])
    try:
        yield _timed("as the recipe says, own data", recipe, device, steps, None)
    except CourseError as error:
        yield Speed("as the recipe says, own data", float("nan"), str(error))


def _people(model: PoseModel, count: int) -> Batch | Crowd:
    """So many pictures of noise with joints anywhere, of one person or of a few, as the model is used to.

    Of a few each owns a strip of the picture, so that everybody has a box.
    """
    generator = torch.Generator().manual_seed(0)
    size, joints, many = model.input_size, len(model.skeleton), (IN_A_CROWD,) if model.many else ()
    images = torch.rand(count, 3, *size, generator=generator)
    places = torch.rand(count, *many, joints, 2, generator=generator) * min(size)
    visible = torch.full((count, *many, joints), 2)
    if model.many:
        strips = (torch.arange(size[1]) * IN_A_CROWD // size[1]).to(torch.int8).expand(count, *size)
        return Crowd(images, places, visible, torch.ones(count, *size), model.skeleton, strips)
    return Batch(images, places, visible, model.skeleton)


def _timed(name: str, recipe: Recipe, device: torch.device, steps: int, batches: list[Batch | Crowd] | None) -> Speed:
    run = Run.prepare(recipe, None, device, World(), steps + WARM_UP, None)
    run.source = mixture(recipe, run.model, device, recipe.batch, batches)
    if batches is not None:  # the network alone: what reaches it is ready
        run.source.finish = lambda made, generator: made[0]
    made = run.source.walk(run.chunk_numbers())
    seconds = []
    for _ in range(steps + WARM_UP):
        _wait(device)
        begin = time.perf_counter()
        run.one_step(made, 0.0)
        _wait(device)
        seconds.append(time.perf_counter() - begin)
    run.fetch()
    data = sum(run.history["data_seconds"][WARM_UP:])
    share = data / (data + sum(run.history["step_seconds"][WARM_UP:]))
    note = "" if batches else f"waits for data {share:.0%} of the time"
    if recipe.compile and run.asked.network[0] is run.model:
        note = "compile failed; this is without it"
    return Speed(name, recipe.batch / statistics.median(seconds[WARM_UP:]), note)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# --- the command ------------------------------------------------------------------------------------------------------


def add_parsers(subparsers: Any) -> None:
    """Adds `speed`."""
    parser = subparsers.add_parser("speed", help="time a training step with and without bf16, channels_last, compile")
    parser.add_argument("recipes", nargs="*", help="recipes (all of them)")
    parser.add_argument("--device", default="auto", help="auto (the default), cuda, mps or cpu")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each variant (%(default)s)")
    parser.add_argument("--batch", type=int, help="crops in a step, instead of the recipe's")
    parser.set_defaults(func=speed)


def speed(arguments: argparse.Namespace) -> int:
    """Prints one table for each recipe."""
    device = devices.choose(arguments.device)
    for name in arguments.recipes or recipes.names():
        recipe = recipes.get(name)
        print(f"{name}, batches of {arguments.batch or recipe.batch}, on {devices.describe(device)}")
        plain = None
        for row in measure(recipe, device, arguments.steps, arguments.batch):
            plain = plain or row.images
            print(f"  {row.variant:30}{row.images:10.1f} images/s{row.images / plain:8.2f} x  {row.note}".rstrip())
    return 0
