"""Leeds Sports Pose (Johnson and Everingham, BMVC 2010) and LSP-extended (CVPR 2011), read as published.

    folder/joints.mat              `joints`: LSP 3 x 14 x 2000, LSP-extended 14 x 3 x 10000
    folder/images/im0001.jpg       LSP: four digits; LSP-extended: im00001.jpg, five

Two traps lie between the twins. The axes are in another order, and the third number of a joint means the opposite: in
LSP 1 says that the joint is *hidden*, in LSP-extended that it is *labelled* (an unlabelled joint's coordinates mean
nothing, and whether a labelled one is hidden is not told: it counts as visible). Left and right are the person's own; a
second annotation of LSP exists in which they are the observer's, and scoring the one against the other costs a quarter
of all points. Neither file says where pixels are counted from; that it is 1, MATLAB's way, is the convention.

A person's box is that of the labelled joints, a tenth larger on each side: the sets give none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from course_lib.datasets.matlab import looks, read_mat
from course_lib.datasets.records import FROM_ONE, Record, Records, broken, people_of, refusing, sensible
from course_lib.errors import CourseError, unknown_name
from course_lib.pose import HIDDEN, UNLABELLED, VISIBLE
from course_lib.skeletons import LSP

# The first thousand of LSP train, the last thousand test. LSP-extended is for training only; the course keeps a block
# of it back, whole so that neighbours, who may share a photographer and a day, do not sit on both sides.
LSP_SPLITS = {"train": range(1, 1001), "test": range(1001, 2001), "all": range(1, 2001)}
VALIDATION = range(8001, 8501)


def read(folder: str | Path, split: str = "train", *, problems: list[str] | None = None) -> Records:
    """LSP: split "train", "test" or "all"."""
    if split not in LSP_SPLITS:
        raise unknown_name("split of LSP", split, LSP_SPLITS)
    file = Path(folder) / "joints.mat"
    table = _joints(file, "3 x 14 x N", (0, 1))
    visible = np.where(table[..., 2] > 0, HIDDEN, VISIBLE)
    numbers = [number for number in LSP_SPLITS[split] if number <= len(table)]
    return Records("lsp", split, LSP, _entries(file, "im{:04d}.jpg", table, visible, numbers, problems))


def read_extended(folder: str | Path, split: str = "train", *, problems: list[str] | None = None) -> Records:
    """LSP-extended: split "train" (all but the course's block), "val" (the block, im08001 to im08500) or "all"."""
    splits = {"train": False, "val": True, "all": None}
    if split not in splits:
        raise unknown_name("split of LSP-extended", split, splits)
    file = Path(folder) / "joints.mat"
    table = _joints(file, "14 x 3 x N", (1, 0))
    visible = np.where(table[..., 2] > 0, VISIBLE, UNLABELLED)
    numbers = [n for n in range(1, len(table) + 1) if splits[split] is None or (n in VALIDATION) == splits[split]]
    return Records("lspet", split, LSP, _entries(file, "im{:05d}.jpg", table, visible, numbers, problems))


def _joints(file: Path, layout: str, axes: tuple[int, int]) -> np.ndarray:
    """(N, 14, 3) from the file's `joints`; `axes` says which of its axes holds x, y, flag and which the joints."""
    table = np.asarray(read_mat(file, "joints")["joints"])
    if table.ndim == 2:  # a file of one person: its last axis, of length one, was left out
        table = table[..., None]
    coordinate, joint = axes
    wanted = {coordinate: 3, joint: len(LSP)}
    if table.dtype.kind not in "fiu" or table.ndim != 3 or any(table.shape[a] != size for a, size in wanted.items()):
        other = "LSP-extended" if layout.startswith("3") else "LSP"
        hint = f", which is how {other} is laid out" if table.shape[:2] in ((3, 14), (14, 3)) else ""
        raise CourseError(f"{file}: the variable 'joints' should be numbers, {layout}, but is {looks(table)}{hint}")
    return table.transpose(2, joint, coordinate).astype(np.float64)


def _entries(
    file: Path, name: str, table: np.ndarray, visible: np.ndarray, numbers: list[int], problems: list[str] | None
) -> list[Record]:
    """The records with these numbers, counted from 1, from table (N, 14, 3) and visible (N, 14)."""
    strange = ~np.isin(table[..., 2], (0, 1)).all(-1)  # (N,)
    lost = ((visible != UNLABELLED)[..., None] & ~sensible(table[..., :2])).any((-2, -1))
    for number in [number for number in numbers if strange[number - 1] or lost[number - 1]]:
        with refusing(problems):
            _refuse(file, number, table[number - 1], bool(strange[number - 1]))
    good = [number for number in numbers if not strange[number - 1] and not lost[number - 1]]
    rows = np.array(good, dtype=np.int64) - 1
    people = people_of(table[rows, :, :2], visible[rows], LSP, FROM_ONE)
    folder = file.parent / "images"
    return [Record(folder / name.format(n), [person], n) for n, person in zip(good, people, strict=True)]


def _refuse(file: Path, number: int, row: np.ndarray, strange: bool) -> None:
    at = int(np.flatnonzero(~np.isin(row[:, 2], (0, 1)) if strange else ~sensible(row[:, :2]).all(-1))[0])
    says = f"the flag of joint {at} should be 0 or 1, but is {row[at, 2]:g}"
    gone = f"joint {at} counts as labelled, but its place is {row[at, 0]:g}, {row[at, 1]:g}"
    raise broken(file, f"record {number}", "joints", says if strange else gone)
