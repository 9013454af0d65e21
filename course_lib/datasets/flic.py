"""FLIC, Frames Labeled In Cinema (Sapp and Taskar, CVPR 2013), and FLIC-full, as published.

    folder/examples.mat                       `examples`, one structure a picture
    folder/images/12-oclock-high-....jpg      under the name in `filepath`

`coords` has 29 columns, x over y, of which eleven are ever filled: `flic` among the skeletons has them in the order of
the hourglass authors' code. A joint that nobody labelled is NaN, and whether a labelled one is hidden is not told: it
counts as visible. One person a picture is labelled, however many there are.

| what                                | how sure                                                                    |
| ----------------------------------- | --------------------------------------------------------------------------- |
| columns, NaN, istrain and istest    | seen in the file's description and in code that reads it                    |
| left and right are the person's own | by the columns' names; a later annotation of the pictures has the observer's |
| pixels are counted from 1           | convention: the file comes from MATLAB, and nothing states it               |

A person's box is that of the joints, a tenth larger on each side. The detector's torso box is in the scene's meta for
those who follow the papers, which cut a multiple of it out.

FLIC-full holds frames that nearly repeat FLIC's test frames: never train on it when you test on FLIC. Its flags isbad
and isunchecked are in the meta too; `clean=True` leaves out what has one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from course_lib.datasets.matlab import get, looks, number, numbers, read_mat, structs
from course_lib.datasets.records import FROM_ONE, Record, Records, broken, people_of, refusing, sensible
from course_lib.errors import CourseError, unknown_name
from course_lib.pose import UNLABELLED, VISIBLE
from course_lib.skeletons import FLIC

COLUMNS = (0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16)  # of `coords`, counted from 0
ALL_COLUMNS = 29
SPLITS = ("train", "test", "all")
FLAGS = ("isbad", "isunchecked")  # of FLIC-full


def read(
    folder: str | Path, split: str = "train", *, clean: bool = False, problems: list[str] | None = None
) -> Records:
    """Split "train", "test" or "all"."""
    if split not in SPLITS:
        raise unknown_name("split of FLIC", split, SPLITS)
    file = Path(folder) / "examples.mat"
    examples = structs(read_mat(file, "examples")["examples"])
    if not examples:
        raise CourseError(f"{file}: the variable 'examples' should be a list of structures, one a picture")
    entries = []
    for place, example in enumerate(examples, 1):
        with refusing(problems):
            who = f"record {place}"
            wanted = split == "all" or _flag(file, who, example, f"is{split}")
            if wanted and not (clean and any(_flag(file, who, example, name) for name in FLAGS)):
                entries.append(_entry(file, who, place, example))
    return Records("flic", split, FLIC, entries)


def _flag(file: Path, who: str, example: Any, name: str) -> bool:
    """0 or 1; FLIC-full's two are absent from FLIC."""
    value = get(example, name)
    if value is None and name in FLAGS:
        return False
    if number(value) not in (0, 1):
        raise broken(file, who, name, f"should be 0 or 1, but is {value!r}")
    return bool(number(value))


def _entry(file: Path, who: str, place: int, example: Any) -> Record:
    name = get(example, "filepath")
    if not isinstance(name, str):
        raise broken(file, who, "filepath", f"should be a file's name, but is {name!r}")
    coords = np.asarray(get(example, "coords"))
    if coords.dtype.kind not in "fiu" or coords.shape != (2, ALL_COLUMNS):
        raise broken(file, who, "coords", f"should be numbers, 2 x {ALL_COLUMNS}, but is {looks(coords)}")
    places = coords.T[list(COLUMNS)].astype(np.float64)  # (11, 2)
    labelled = ~np.isnan(places).any(-1)
    if not sensible(places[labelled]).all():
        raise broken(file, who, "coords", f"should be places or NaN, but one is {np.abs(places[labelled]).max():g}")
    torso = numbers(get(example, "torsobox"))
    if torso.shape != (4,) or not (torso[2:] > torso[:2]).all():
        raise broken(file, who, "torsobox", f"should be x1, y1, x2, y2 with x1 < x2, y1 < y2, but is {torso.tolist()}")
    size = numbers(get(example, "imgdims"))
    if len(size) not in (0, 2, 3) or not (sensible(size) & (size > 0)).all():
        raise broken(file, who, "imgdims", f"should be height and width, but is {size.tolist()}")
    [person] = people_of(places[None], np.where(labelled, VISIBLE, UNLABELLED)[None], FLIC, FROM_ONE)
    movie, frame = get(example, "moviename"), get(example, "currframe")
    meta = {
        "torsobox": tuple((torso + FROM_ONE).tolist()),
        "movie": movie if isinstance(movie, str) else None,
        "frame": None if frame is None else number(frame),
        **{flag: _flag(file, who, example, flag) for flag in FLAGS},
    }
    shape = (int(size[0]), int(size[1])) if len(size) else None
    return Record(file.parent / "images" / name, [person], place, meta, shape)
