"""A training queue of two recipes that are done in a blink, here or, run as a script, in a process of its own."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from course_lib import cli
from course_lib.datasets import synthetic
from course_lib.pose import Scene
from course_lib.training import loop, queue, recipes
from course_lib.training.recipes import Recipe

SCRIPT = str(Path(__file__))
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"}
OPTIONS = {"stacks": 1, "width": 8, "depth": 2, "input_size": (32, 32)}
FIRST = Recipe("first", model="hourglass_course", options=OPTIONS, batch=4, steps=100, warmup=1, queue=1)
SECOND = replace(FIRST, name="second", start="first")
PHOTOGRAPHS = replace(SECOND, name="photographs", data={"synthetic": {}, "lspet": {"share": 0.5, "split": "train"}})
LIVE = replace(FIRST, name="live", queue=0)
STEPS = 6
WHOLE = synthetic.benchmark


def stepping(steps: int = STEPS, **more: Any) -> Any:
    """`train` for a number of steps, however long they take."""

    def train(recipe: Recipe, **options: Any) -> loop.Trained:
        return loop.train(recipe, **{**options, "steps": steps, "minutes": None, "deadline": None, **more})

    return train


@cache
def ten(name: str, skeleton: str) -> list[Scene]:
    """The first people of a benchmark."""
    return WHOLE(name, skeleton, count=10)


def shrink(patch: Any, *members: Recipe) -> None:
    """A queue of these recipes, on a benchmark of ten people."""
    patch(recipes, "RECIPES", {recipe.name: recipe for recipe in members})
    patch(synthetic, "benchmark", lambda name, skeleton=None: ten(name, getattr(skeleton, "name", skeleton)))
    patch(queue, "LEAST_MINUTES", 0.01)


if __name__ == "__main__":
    shrink(setattr, FIRST, SECOND)
    queue.SAVE_SECONDS = 0.0
    if "STEPS" in os.environ:
        queue.train = stepping(int(os.environ["STEPS"]))
    sys.exit(cli.main(sys.argv[1:]))
