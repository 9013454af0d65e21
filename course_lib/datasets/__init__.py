"""Where people come from: the synthetic world, and the public data sets as their authors distribute them.

    datasets.names()                                      # flic, jhmdb, ...
    datasets.card("lsp")                                  # what it is, what it needs, where its home page is
    records = datasets.read("lsp", datasets.find("lsp"), "test")
    scene = records[0]                                    # reads the picture only now

Naming a loader imports nothing; reading imports that one.
"""

from __future__ import annotations

import importlib
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib import paths
from course_lib.datasets import cards
from course_lib.errors import CourseError, unknown_name

if TYPE_CHECKING:
    from course_lib.datasets.records import Records

# name -> the module and the function that read it
_READERS = {
    "lsp": ("lsp", "read"),
    "lspet": ("lsp", "read_extended"),
    "flic": ("flic", "read"),
    "mpii": ("mpii", "read"),
    "coco": ("coco", "read"),
    "jhmdb": ("jhmdb", "read"),
}


def names() -> list[str]:
    """The data sets that `read` knows."""
    return sorted(_READERS)


def card(name: str) -> cards.Card:
    """What a data set is, what its loader needs, and what its files mean."""
    if name not in _READERS:
        raise unknown_name("data set", name, _READERS)
    return next(one for one in cards.ALL if one.key == name)


def read(name: str, folder: str | Path | None, split: str = "train", **options: Any) -> Records:
    """A split of a data set from the folder it lies in. Options are those of its reader, such as `masks` of COCO.

    Pictures that still lie in .tar files beside the annotations are unpacked into the course's build folder first.
    """
    known = card(name)
    if folder is None:
        raise CourseError(f"{known.name} is not on this machine; `python -m course_lib data` tells where it comes from")
    if not Path(folder).is_dir():
        raise CourseError(f"there is no folder {folder} to read {known.name} from")
    module, function = _READERS[name]
    reader = getattr(importlib.import_module(f"course_lib.datasets.{module}"), function)
    takes = [key for key in inspect.signature(reader).parameters if key not in ("folder", "split")]
    for option in options:
        if option not in takes:
            raise unknown_name(f"option of the reader of {known.name}", option, takes)
    return reader(_with_pictures(Path(folder)), split, **options)


def find(name: str) -> Path | None:
    """The folder a data set lies in, or None: $COURSE_DATA/NAME, else public/NAME in the course's data folder.

    $COURSE_DATA may itself be a folder with LSP-extended's joints.mat, and may hold a `coco_sample`.
    """
    known = card(name)
    places = [paths.public(name), paths.PUBLIC / name]
    if shared := os.environ.get("COURSE_DATA"):
        places[1:1] = {"lspet": [Path(shared)], "coco": [Path(shared) / "coco_sample"]}.get(name, [])
    return next((place for place in places if any(any(place.glob(mark)) for mark in known.marks)), None)


def _with_pictures(folder: Path) -> Path:
    """The folder, or a copy of it in the build folder with the pictures that lie in its .tar files unpacked."""
    archives = [] if (folder / "images").is_dir() else sorted(folder.glob("*.tar"))
    if not archives:
        return folder
    from course_lib.datasets import download

    return download.unpacked_copy(folder, archives, paths.BUILD / "public")
