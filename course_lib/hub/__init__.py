"""Weights that the authors published, in the course's networks.

    hub.names()                                       # what there is
    hub.card("hrnet_w32")                             # where it comes from, and what it should reach
    model = hub.load("hrnet_w32")                     # downloaded once, checked, translated
    model = hub.load("hrnet_w32", "pose_hrnet_w32_256x192.pth")  # a file that you have

The model is one of the course's, in eval mode, that cuts its crops, shows its pictures and reads its maps as the
weights were trained to (`models/alignment.py`), so that it answers as the authors' code does. Files are read without
running anything that may be written in them, and downloads go to the folder `weights` beside the data sets.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.hub.cards import CARDS, Card
from course_lib.hub.cards import get as card

if TYPE_CHECKING:
    from course_lib.models.base import PoseModel

__all__ = ["CARDS", "Card", "begin", "card", "fetch", "load", "names"]

PREFIX = "hub:"  # before a name on the command line, where other names are those of weights that ship


def names() -> list[str]:
    """What `load` knows."""
    return sorted(CARDS)


def load(name: str, file: str | Path | None = None, progress: bool = False) -> PoseModel:
    """The published network called `name` in eval mode, from `file` or from its authors' address."""
    from course_lib.hub import building, files

    known = card(name)
    path = Path(file) if file is not None else fetch(name, progress)
    return building.build(known, files.read(path), path)


def begin(model: PoseModel, name: str, file: str | Path | None = None, progress: bool = False) -> dict[str, Any]:
    """Gives a new model the published weights called `name`, as far as they go: a ResNet from ImageNet has no maps.

    Returns what a checkpoint's header says of such a start.
    """
    from course_lib.hub import building, files

    known = card(name)
    path = Path(file) if file is not None else fetch(name, progress)
    building.begin(known, files.read(path), path, model)
    shown = {"images": 0, "recipe_images": 0}  # of those that this course counts
    return {"checkpoint": PREFIX + name, "recipe": "", **shown, "digest": files.digest(path)}


def fetch(name: str, progress: bool = False) -> Path:
    """The file of these weights, downloaded and checked unless it is there already."""
    from course_lib.hub import files

    return files.fetch(card(name), progress)
