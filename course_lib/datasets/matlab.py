"""MATLAB's files through scipy, and the shapes that its structures take on the way.

In MATLAB everything is an array. Read without its axes of length one, an array of structures is an array, but of one
structure that structure itself and of none an empty array; an absent number is an empty array, and a letter a string.
Whoever reads such a file asks these functions instead of looking.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from course_lib.errors import CourseError


def read_mat(path: Path, *names: str) -> dict[str, Any]:
    """The variables of a MATLAB file, which must have these; structures are objects, axes of length one left out."""
    import scipy.io

    if not path.is_file():
        raise CourseError(f"there is no file {path}")
    if not path.stat().st_size:
        raise CourseError(f"{path} is empty")
    try:
        variables = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)
    except Exception as error:  # scipy raises anything from OSError to zlib.error on a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CourseError(f"{path} is no readable MATLAB file ({reason})") from error
    for name in names:
        if name not in variables:
            there = ", ".join(key for key in variables if not key.startswith("__")) or "nothing"
            raise CourseError(f"{path} has no variable '{name}'; it holds {there}")
    return variables


def is_struct(value: Any) -> bool:
    """Whether a value is one structure."""
    return hasattr(value, "_fieldnames")


def structs(value: Any) -> list[Any] | None:
    """An array of structures as a list; None where the value is something else."""
    if value is None:
        return []
    values = list(np.asarray(value).ravel())
    return values if all(is_struct(one) for one in values) else None


def get(struct: Any, name: str) -> Any:
    """A field of a structure; None where the structure lacks it or it is empty."""
    value = getattr(struct, name, None)
    empty = (
        value is None or (isinstance(value, str) and not value) or (isinstance(value, np.ndarray) and not value.size)
    )
    return None if empty else value


def number(value: Any) -> float:
    """One number, however wrapped; NaN where it is none. A string is none, even '1'."""
    array = np.asarray(value)
    return float(array.item()) if array.size == 1 and array.dtype.kind in "fiub" else float("nan")


def numbers(value: Any) -> np.ndarray:
    """Numbers as one row (N,); none of them where the value is something else."""
    array = np.asarray(value)
    return array.ravel().astype(np.float64) if array.dtype.kind in "fiub" else np.zeros(0)


def looks(array: np.ndarray) -> str:
    """What an array is, for a sentence that says what it should be: '3 x 14 x 5', 'text'."""
    if array.dtype.kind in "fiub":
        return " x ".join(map(str, array.shape)) or "one number"
    return {"U": "text", "S": "text"}.get(array.dtype.kind, "something else")
