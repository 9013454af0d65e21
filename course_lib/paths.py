"""Where the course's files lie. The environment variable COURSE_LIB_DATA moves the data folder elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # the folder that was cloned
DATA = Path(os.environ.get("COURSE_LIB_DATA") or ROOT / "data")
CHECKPOINTS = DATA / "checkpoints"  # the weights that ship with the course
NOTEBOOKS = ROOT / "notebooks"
SOLUTIONS = NOTEBOOKS / "solutions"
PUBLIC = DATA / "public"  # public data sets that a user has downloaded; never committed
BUILD = Path("build")  # what runs leave behind; relative to where they were started


def checkpoint(name: str) -> Path:
    """The file that holds a model's shipped weights, whether or not it is there."""
    return CHECKPOINTS / f"{name}.safetensors"


def public(name: str) -> Path:
    """Where a public data set lies, or would: $COURSE_DATA/NAME if that variable is set, else public/NAME in DATA."""
    folder = os.environ.get("COURSE_DATA")
    return Path(folder) / name if folder else PUBLIC / name
