"""The photographs a user names: files and folders, what their results are called, and boxes of the people on them."""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError

if TYPE_CHECKING:
    from course_lib.pose import Found

# What counts as a picture in a folder. Pillow reads no HEIC, but who has one there is told so.
SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff"),
    *(".gif", ".bmp", ".tga", ".pbm", ".pgm", ".ppm", ".pnm"),
}
COCO_NAME = re.compile(r"(?:COCO_[a-z]+[0-9]{4}_)?([0-9]+)")  # 000000000139, and COCO_val2014_000000000042 before 2017
PERSON = 1  # COCO's category
FARTHEST = 1e6  # pixels; a box that reaches farther is a mistake


@dataclass
class Photo:
    """A picture file, what its results are called, and where its people are."""

    file: Path
    relative: PurePosixPath  # to the folder that holds everything that was given
    image_id: int | str
    drawing: Path | None = None
    boxes: list[list[float]] | None = None  # x0, y0, x1, y1 each; None: the whole picture
    scores: list[float] = field(default_factory=list)  # of the boxes that a file gave; 1 where it says nothing


def find_photos(given: Sequence[Path], apart: Path | None = None) -> tuple[list[Photo], list[str]]:
    """The photographs among what was given, each once, and a sentence for everything that is none.

    A folder stands for all picture files below it in sorted order, without hidden ones and without those in the folder
    `apart`, where drawings go: they are not to be taken for photographs the next time.
    """
    found, problems = {}, []
    for path in given:
        if path.is_dir():
            files = _pictures_in(path, apart, problems)
            problems += [] if files else [f"there is no picture in folder '{path}'"]
        else:
            files = [path] if path.exists() else []
            problems += [] if files else [f"there is no picture '{path}'"]
        for file in files:
            found.setdefault(os.path.abspath(file), file)
    base = os.path.commonpath([os.path.abspath(path if path.is_dir() else path.parent) for path in given])
    relatives = [PurePosixPath(Path(name).relative_to(base).as_posix()) for name in found]
    ids = distinct([(image_id_of(path.stem), str(path.with_suffix("")), str(path)) for path in relatives])
    return [Photo(*one) for one in zip(found.values(), relatives, ids, strict=True)], problems


def give_boxes(photos: Sequence[Photo], file: Path) -> bool:
    """Puts the boxes of a list like COCO's on their photographs; entries of other photographs are left out.

    Whether any of them has a score, as what a detector found has.
    """
    scored = False
    exact, loose = {}, defaultdict(list)  # loose: what only part of a path says
    for photo in photos:
        exact["image_id", str(photo.image_id)] = exact["file_name", str(photo.relative)] = photo
        loose["image_id", str(image_id_of(photo.relative.stem))].append(photo)
        loose["file_name", photo.relative.name].append(photo)
    for number, entry in enumerate(_boxes_file(file)):
        where = f"of entry {number} (counting from 0) in '{file}'"
        field, value, box, score = _read_entry(entry, where)
        fitting = [exact[field, value]] if (field, value) in exact else loose.get((field, value), [])
        if len(fitting) > 1:
            raise CourseError(
                f"{field} '{value}' {where} fits {len(fitting)} photographs; give a file_name with folders, such as "
                f"'{fitting[0].relative}'"
            )
        if fitting and entry.get("category_id", PERSON) == PERSON:
            fitting[0].boxes = [*(fitting[0].boxes or []), box]
            fitting[0].scores.append(1.0 if score is None else score)
            scored |= score is not None
    if all(photo.boxes is None for photo in photos):
        raise CourseError(
            f"no entry in '{file}' is a person's box on one of the photographs; an entry's image_id should be one such "
            f"as {json.dumps(photos[0].image_id)}, or its file_name one such as '{photos[0].relative}'"
        )
    return scored


def found_in(file: Path, image_ids: Sequence[int | str]) -> list[Found]:
    """What a list like COCO's says of the pictures of these ids, the surest boxes first; 1 where there is no score."""
    import torch

    from course_lib.models.detector import surest_first

    boxes: dict[str, list[list[float]]] = {str(image_id_of(str(name))): [] for name in image_ids}
    for number, entry in enumerate(_boxes_file(file)):
        field, value, box, score = _read_entry(entry, f"of entry {number} (counting from 0) in '{file}'")
        name = str(image_id_of(PurePosixPath(value).stem)) if field == "file_name" else value
        if name in boxes and entry.get("category_id", PERSON) == PERSON:
            boxes[name].append([*box, 1.0 if score is None else score])
    if not any(boxes.values()):
        known = [*boxes]
        raise CourseError(
            f"no entry in '{file}' is a person's box in one of these {len(known)} pictures; their image_id is "
            f"{', '.join(known[:3])}{', ...' if len(known) > 3 else ''}"
        )
    tables = [torch.tensor(rows, dtype=torch.float32).reshape(-1, 5) for rows in boxes.values()]
    return [surest_first(table[:, :4], table[:, 4]) for table in tables]


def image_id_of(name: str) -> int | str:
    """COCO's picture number where a file or an entry is named by one, else the name."""
    number = COCO_NAME.fullmatch(name)
    return int(number[1]) if number else name


def distinct(choices: Sequence[tuple]) -> list:
    """For each its first choice that no other takes; upper and lower case count as equal, as they do on some disks."""
    taken = [0] * len(choices)
    while True:
        chosen = [options[which] for options, which in zip(choices, taken, strict=True)]
        count = Counter(str(one).casefold() for one in chosen)
        clashing = [
            i for i, one in enumerate(chosen) if count[str(one).casefold()] > 1 and taken[i] + 1 < len(choices[i])
        ]
        if not clashing:
            return chosen
        for i in clashing:
            taken[i] += 1


# --- the parts --------------------------------------------------------------------------------------------------------


def _pictures_in(folder: Path, apart: Path | None, problems: list[str]) -> list[Path]:
    avoid = apart and os.path.realpath(apart)
    if avoid == os.path.realpath(folder):
        raise CourseError(
            f"drawings cannot go into '{folder}', where the photographs are; name another folder by --out"
        )

    def unreadable(error: OSError) -> None:
        problems.append(f"folder '{error.filename}' cannot be read: {error.strerror}")

    found = []
    for here, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = [one for one in folders if one[0] != "." and os.path.realpath(os.path.join(here, one)) != avoid]
        found += [Path(here, one) for one in names if one[0] != "." and Path(one).suffix.lower() in SUFFIXES]
    return sorted(found)


def _boxes_file(file: Path) -> list:
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CourseError(f"the boxes '{file}' cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise CourseError(f"the boxes '{file}' are no JSON: {error}") from None
    if not isinstance(entries, list):
        raise CourseError(f"'{file}' should hold a list of boxes, as under 'annotations' in COCO's files")
    return entries


def _read_entry(entry: Any, where: str) -> tuple[str, str, list[float], float | None]:
    """The field that names the photograph, its value, the box as x0, y0, x1, y1, and its score, where there is one."""
    if not isinstance(entry, dict):
        raise CourseError(f"the content {where} should be an object with image_id or file_name, and bbox")
    field = "file_name" if "file_name" in entry else "image_id"
    name, box = entry.get(field), entry.get("bbox")
    if not isinstance(name, str if field == "file_name" else int | str) or isinstance(name, bool):
        wanted = "a text" if field == "file_name" else "a number or a text (or there should be a file_name)"
        raise CourseError(f"{field} {where} should be {wanted}; got {json.dumps(name)}")
    numbers = isinstance(box, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in box)
    if not numbers or len(box) != 4 or not all(abs(v) < FARTHEST for v in box) or min(box[2:]) <= 0:
        raise CourseError(
            f"bbox {where} should be [x, y, width, height] in pixels, the last two above 0; got {json.dumps(box)}"
        )
    score = entry.get("score")
    if score is not None and not (isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 1):
        raise CourseError(f"score {where} should be a number from 0 to 1; got {json.dumps(score)}")
    x, y, width, height = box
    value = str(PurePosixPath(name)) if field == "file_name" else str(image_id_of(str(name)))
    return field, value, [x, y, x + width, y + height], score
