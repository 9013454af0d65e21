"""A public data set on disk as Scenes: who is on which picture is read at once, pixels only when a scene is asked for.

Every loader is a function `read(folder, split) -> Records`, reads the authors' files as they are published, and moves
their pixel indices to the course's coordinates (`geometry.py`). A record it cannot make sense of is refused with the
file, the record and the field named; who gives a list `problems` gets those sentences in it, and all other records.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from course_lib import geometry, images
from course_lib.errors import CourseError
from course_lib.pose import UNLABELLED, Person, Scene
from course_lib.skeletons import Skeleton

JOINTS_TO_OUTLINE = 0.1  # what hair, hands and feet add to the box of the joints, as a share of it, on each side
FROM_ONE = -0.5  # MATLAB calls the middle of the first pixel 1, COCO 0; the course 0.5
FROM_ZERO = 0.5
TOO_LARGE = 1e12  # for a place or an area in pixels: nonsense, and soon more than a float32 can hold


class Mask(Protocol):
    """A person's segment as a file keeps it."""

    def decode(self) -> Tensor:
        """(H, W) bool."""


@dataclass(frozen=True)
class Record:
    """One picture of a data set and the people on it, its pixels still on disk."""

    file: Path
    people: list[Person]
    id: int | str
    meta: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] | None = None  # (height, width) as the annotations give it, where they do
    masks: Sequence[Mask | None] = ()  # one for each of the people, or none at all

    def scene(self) -> Scene:
        """The picture, read, with its people and, where they were asked for, their masks."""
        try:
            pixels = self._pixels()
        except CourseError as error:
            raise CourseError(f"record {self.id}: {error}") from error
        people = self.people
        if self.masks:
            decoded = [None if mask is None else mask.decode() for mask in self.masks]
            people = [replace(person, mask=mask) for person, mask in zip(people, decoded, strict=True)]
        return Scene(pixels, people, self.id, {"file": str(self.file), **self.meta})

    def _pixels(self) -> Tensor:
        pixels = images.read(self.file)
        if self.size is None or tuple(pixels.shape[-2:]) == self.size:
            return pixels
        with Image.open(self.file) as picture:  # labelled before viewers turned pictures as their EXIF data say?
            stored = images.to_tensor(np.array(picture.convert("RGB")))
        if tuple(stored.shape[-2:]) != self.size:
            (height, width), (tall, wide) = stored.shape[-2:], self.size
            raise CourseError(f"picture '{self.file}' is {width} x {height}, but its annotations say {wide} x {tall}")
        return stored


@dataclass(frozen=True)
class Records(Sequence[Scene]):
    """The pictures of one split of a data set, in the order of its files. `records[i]` reads picture i."""

    name: str
    split: str
    skeleton: Skeleton
    entries: Sequence[Record]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, which: int | slice) -> Scene | Records:
        if isinstance(which, slice):
            return replace(self, entries=self.entries[which])
        return self.entries[which].scene()

    def __iter__(self) -> Iterator[Scene]:
        return (entry.scene() for entry in self.entries)

    def __repr__(self) -> str:
        return f"Records({self.name!r}, {self.split!r}, {len(self)} pictures, {self.count()} people)"

    def people(self) -> list[tuple[int, int]]:
        """Everybody, as (which record, which of its people)."""
        return [(i, j) for i, entry in enumerate(self.entries) for j in range(len(entry.people))]

    def count(self) -> int:
        """How many people there are."""
        return sum(len(entry.people) for entry in self.entries)


# --- people -----------------------------------------------------------------------------------------------------------


def joint_box(joints: Tensor, visible: Tensor) -> Tensor:
    """People's boxes (..., 4) where a data set gives none: the labelled joints' box and a tenth more on each side.

    joints (..., K, 2), visible (..., K).
    """
    return geometry.box_of(joints, visible, JOINTS_TO_OUTLINE)


def people_of(
    joints: np.ndarray, visible: np.ndarray, skeleton: Skeleton, shift: float, boxes: np.ndarray | None = None
) -> list[Person]:
    """N people from arrays: joints (N, K, 2) as the file has them, visible (N, K), boxes (N, 4) or those of the joints.

    All people share three tensors: a hundred thousand of them then take little time and memory.
    """
    flags = torch.from_numpy(np.ascontiguousarray(visible, dtype=np.int64))
    places = np.where(visible[..., None] == UNLABELLED, 0, joints + shift)
    points = torch.from_numpy(np.ascontiguousarray(places, dtype=np.float32))
    outlines = joint_box(points, flags) if boxes is None else torch.from_numpy(boxes.astype(np.float32))
    each = zip(points.unbind(), flags.unbind(), outlines.unbind(), strict=True)
    return [Person(point, flag, skeleton, box=box) for point, flag, box in each]


def sensible(values: Any) -> np.ndarray:
    """Which numbers can be places in a picture: not NaN, and not astronomically far away."""
    return np.abs(values) < TOO_LARGE


# --- files ------------------------------------------------------------------------------------------------------------


def broken(file: Path, record: Any, name: str, problem: str) -> CourseError:
    """The one sentence for something wrong in a data set's file."""
    return CourseError(f"{file}, {record}, field '{name}': {' '.join(problem.split())}")  # numpy breaks lines


@contextmanager
def refusing(problems: list[str] | None) -> Iterator[None]:
    """Around the reading of one record: with a list of problems its error goes there, and the record is left out."""
    try:
        yield
    except CourseError as error:
        if problems is None:
            raise
        problems.append(str(error))


def read_json(path: Path, kind: type[list] | type[dict]) -> Any:
    """What a JSON file holds: a list or a dictionary, as `kind` says."""
    if not path.is_file():
        raise CourseError(f"there is no file {path}")
    if not path.stat().st_size:
        raise CourseError(f"{path} is empty")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CourseError(f"{path} is no readable JSON file ({error})") from error
    if not isinstance(content, kind):
        words = {list: "a list", dict: "a dictionary"}
        raise CourseError(f"{path} should hold {words[kind]}, but holds {words.get(type(content), repr(content)[:40])}")
    return content
