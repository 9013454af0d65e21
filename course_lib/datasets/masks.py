"""Segments as COCO's files keep them, decoded when a scene is asked for: polygons, or run lengths in two spellings.

Run lengths go down the columns, and zeros come first: [3, 2, ...] is three pixels outside, then two inside. Spelt as a
string, a number is written in base 32, lowest digit first, one character a digit; from the fourth on it is the
difference to the one two before, because runs of neighbouring columns are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_lib.errors import CourseError

_FIRST_CHARACTER = 48  # '0' stands for nothing
_DIGIT, _SIGN, _MORE = 0b011111, 0b010000, 0b100000  # of a character's six bits: digit, with its sign; another follows


@dataclass(frozen=True)
class Segment:
    """A segment in a picture of height x width: polygons [x, y, x, y, ...], or {"size": ..., "counts": ...}."""

    shape: Any
    height: int
    width: int
    where: str  # file, record and field, for what may be wrong with it

    def decode(self) -> Tensor:
        """(H, W) bool."""
        try:
            if isinstance(self.shape, dict):
                mask = decode_runs(self.shape, (self.height, self.width))
            else:
                mask = fill_polygons(self.shape, (self.height, self.width))
        except (TypeError, ValueError, OverflowError) as error:  # ours, and numpy's for what is no number at all
            raise CourseError(f"{self.where}: {error}") from error
        return torch.from_numpy(mask)


def decode_runs(runs: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """Run lengths as a mask (H, W), which must have the size (height, width)."""
    if "size" not in runs or "counts" not in runs:
        raise CourseError(f"run lengths need 'size' and 'counts', but have {', '.join(runs) or 'neither'}")
    if list(runs["size"]) != list(size):
        raise CourseError(f"the run lengths are for a picture of {runs['size']}, but the picture is {list(size)}")
    counts = runs["counts"]
    lengths = np.array(read_counts(counts) if isinstance(counts, str | bytes) else counts, dtype=np.int64)
    height, width = size
    if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != height * width:
        raise CourseError(f"the run lengths cover {lengths.sum()} pixels of a picture that has {height * width}")
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(width, height).T.copy()


def read_counts(text: str | bytes) -> list[int]:
    """The run lengths that a string spells."""
    counts: list[int] = []
    value, place = 0, 0
    for character in text.encode() if isinstance(text, str) else text:
        bits = character - _FIRST_CHARACTER
        if not 0 <= bits <= _DIGIT | _MORE:
            raise CourseError(f"the run lengths hold the character {chr(character)!r}, which is no digit of theirs")
        value |= (bits & _DIGIT) << place
        place += 5
        if bits & _MORE:
            continue
        if bits & _SIGN:
            value -= 1 << place
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, place = 0, 0
    if place:
        raise CourseError("the run lengths end in the middle of a number")
    return counts


def fill_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> np.ndarray:
    """The pixels (H, W) whose centres lie in one of the polygons, which are measured from the picture's corner."""
    from skimage import draw

    mask = np.zeros(size, dtype=bool)
    for polygon in polygons:
        corners = np.array(polygon, dtype=np.float64)
        if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2 or not np.isfinite(corners).all():
            raise CourseError(f"a polygon is x, y of three corners or more, but one is {str(polygon)[:60]}")
        x, y = corners.reshape(-1, 2).T - 0.5  # skimage's first pixel has its centre at 0
        mask[draw.polygon(y, x, size)] = True
    return mask
