"""Where weights come from: what a training began with, and how many people are behind a checkpoint in all.

A header's "images" counts what its own training showed. Where that began from other weights, "start" says from which:

    {"checkpoint": "hourglass_synthetic", "recipe": "hourglass_synthetic", "images": 511552,
     "recipe_images": 511552, "digest": "67d3..."}

with all images behind them, and those of them that one recipe showed, in one round after another. A training from
fresh weights has {} there; headers from before may have no "start" at all, or a name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from course_lib import checkpoints, paths
from course_lib.errors import CourseError
from course_lib.training import recipes
from course_lib.training.recipes import Recipe

SUFFIX = ".safetensors"
# What a header tells in lines of its own, and what does not change the weights' worth
TOLD = ("name", "model", "options", "skeleton", "data", "steps", "start", "queue", "seed", "precision")


def start_file(start: str) -> Path:
    """The file that a recipe's `start` means: a shipped checkpoint by name, or any file *.safetensors."""
    return Path(start) if start.endswith(SUFFIX) else paths.checkpoint(start)


def as_start(file: Path, header: Mapping[str, Any]) -> dict[str, Any]:
    """What a header says about having begun from this checkpoint."""
    return {
        "checkpoint": file.stem,
        "recipe": header["recipe"],
        "images": images_in_all(header),
        "recipe_images": images_of_recipe(header),
        "digest": header["digest"],
    }


def changed(recipe: Recipe) -> dict[str, Any]:
    """What differs from the recipe that is registered under this name, apart from what a header says anyway."""
    registered = recipes.RECIPES.get(recipe.name, recipe).as_dict()
    return {key: value for key, value in recipe.as_dict().items() if key not in TOLD and value != registered[key]}


def images_in_all(header: Mapping[str, Any]) -> int:
    """All images behind a checkpoint, those of what it began from included."""
    return header["images"] + _start(header).get("images", 0)


def images_of_recipe(header: Mapping[str, Any]) -> int:
    """The images behind a checkpoint that its own recipe showed, in this round and those it went on from."""
    start = _start(header)
    before = start.get("recipe_images", 0) if start.get("recipe") == header["recipe"] else 0
    return header["images"] + before


def same_network(header: Mapping[str, Any], recipe: Recipe) -> bool:
    """Whether a checkpoint's weights fit the network of a recipe."""
    own = {"model": recipe.model, "options": recipe.options, "skeleton": recipe.skeleton}
    return all(header[key] == _as_json(value) for key, value in own.items())


def same_training(header: Mapping[str, Any], recipe: Recipe) -> bool:
    """Whether a checkpoint is what this recipe makes: its network, trained under its name on its data."""
    named = header["recipe"] == recipe.name and header["data"] == _as_json(recipe.data)
    return named and same_network(header, recipe)


def weights_file(out: Path, name: str) -> Path:
    """Where a recipe's weights lie under the folder `out`."""
    return out / name / f"{name}{SUFFIX}"


def furthest(recipe: Recipe, out: Path, name: str, notes: list[str]) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint called `name` with the most images behind it, of those in `out` and shipped, and its header.

    Asked for its own name, a recipe counts only what was trained on its own data; for another's, what fits its network,
    or the weights of another network that its own is built on.
    """
    fits = same_training if name == recipe.name else _can_begin
    found = []
    for file in dict.fromkeys((weights_file(out, Path(name).stem), start_file(name))):
        if not file.exists():
            continue
        try:
            header = checkpoints.verify(file)
        except CourseError as error:
            notes.append(str(error))
            continue
        if fits(header, recipe):
            found.append((file, header))
    return max(found, key=lambda one: images_in_all(one[1]), default=None)


def _can_begin(header: Mapping[str, Any], recipe: Recipe) -> bool:
    return header["model"] != recipe.model or same_network(header, recipe)


def _start(header: Mapping[str, Any]) -> Mapping[str, Any]:
    start = header.get("start")
    return start if isinstance(start, Mapping) else {}


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))  # tuples become lists
