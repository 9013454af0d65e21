"""Weights as files: downloaded and checked before they get their name, read without running what is written in them."""

from __future__ import annotations

import functools
import hashlib
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from course_lib import paths
from course_lib.datasets import download
from course_lib.datasets.cards import Part
from course_lib.errors import CourseError
from course_lib.hub.cards import Card

FOLDER = "weights"  # beside the data sets
WRAPPINGS = ("state_dict", "model_state_dict", "model")  # under which a training keeps the weights beside other things
PREFIXES = ("module.", "model.")  # of all names, where a network was saved inside another
OURS = "course"  # in the metadata of the course's own checkpoints


# --- getting them -----------------------------------------------------------------------------------------------------


def fetch(card: Card, progress: bool = False) -> Path:
    """The file of a card, downloaded unless it is there; its SHA-256 begins as published, or it is refused."""
    if not card.url:
        raise CourseError(
            f"the weights of '{card.name}' cannot be downloaded ({card.note or 'no address of them is known'}); give "
            f"their file, as in hub.load('{card.name}', file) or --checkpoint FILE"
        )
    part = Part(card.name, card.url, opened=False)
    return download.fetch(part, paths.public(FOLDER), progress, functools.partial(check_digest, card))


def digest(file: Path) -> str:
    """A file's SHA-256."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def check_digest(card: Card, file: Path) -> None:
    """Refuses a file that is not the published one."""
    found = digest(file)
    if not card.digits or not found.startswith(card.digits):
        after = "was not kept" if file.suffix == ".part" else f"can be deleted ({file})"
        raise CourseError(
            f"the file for {card.url} is not the published one of '{card.name}': its SHA-256 begins with "
            f"{found[: max(8, len(card.digits))]}, not with {card.digits or 'digits that are known'}; it is damaged "
            f"or was changed, and {after}"
        )


# --- reading them -----------------------------------------------------------------------------------------------------


def read(file: str | Path) -> dict[str, Tensor]:
    """The tensors of a file by name, as float32 on the CPU, out of whatever the file wraps them in.

    Takes what torch.save writes, today's and that of old versions, and safetensors.
    """
    file = Path(file)
    if not file.is_file():
        raise CourseError(
            f"'{file}' is a folder, not a file with weights" if file.is_dir() else f"there is no file '{file}'"
        )
    if file.stat().st_size == 0:
        raise CourseError(f"'{file}' is empty")
    content = _read_safetensors(file) if _is_safetensors(file) else _read_pickle(file)
    for _ in WRAPPINGS:  # one in the other
        if isinstance(content, dict) and (inner := next((name for name in WRAPPINGS if name in content), None)):
            content = content[inner]
    if not isinstance(content, dict) or not content:
        raise CourseError(f"'{file}' holds no tensors by name (a state dict), but {_words(content)}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CourseError(f"'{file}' holds no state dict: {name!r} in it is {_words(value)}, not a tensor")
    for prefix in PREFIXES * 2:  # model.module. and module.model. occur
        if all(name.startswith(prefix) for name in content):
            content = {name.removeprefix(prefix): value for name, value in content.items()}
    return {name: _plain(file, name, value) for name, value in content.items()}


def _plain(file: Path, name: str, value: Tensor) -> Tensor:
    if value.is_floating_point():
        value = value.float()
        if not bool(value.isfinite().all()):
            raise CourseError(f"'{name}' in '{file}' holds NaN or infinity; the file is damaged")
    return value


def _is_safetensors(file: Path) -> bool:
    """Whether it begins with the length of a JSON text and its brace; no pickle and no zip archive does."""
    with open(file, "rb") as opened:
        start = opened.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < file.stat().st_size


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as opened:
            if OURS in (opened.metadata() or {}):
                raise CourseError(f"'{file}' is a checkpoint of the course itself; models.load reads it")
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (it is no dict)
    except (SafetensorError, OSError, ValueError) as error:
        if isinstance(error, CourseError):
            raise
        raise CourseError(f"'{file}' is cut short or no safetensors file ({error})") from None


class _Left:
    """Stands for what a training wrote down beside the weights: it is neither run nor kept."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


def _harmless() -> list[Any]:
    """What files of known toolkits hold beside tensors: numbers of numpy, and histories, which are left out."""
    multiarray = getattr(np, "_core", None) or np.core
    functions = (("_reconstruct", multiarray.multiarray._reconstruct), ("scalar", multiarray.multiarray.scalar))
    kinds = {type(np.dtype(name)) for name in ("bool", "int32", "int64", "uint8", "float16", "float32", "float64")}
    return [
        *(
            (function, f"{room}.multiarray.{name}")
            for name, function in functions
            for room in ("numpy.core", "numpy._core")
        ),
        *(np.ndarray, np.dtype, *kinds),
        (_Left, "mmengine.logging.history_buffer.HistoryBuffer"),
        (_Left, "builtins.getattr"),  # in those histories; it is not called
    ]


def _read_pickle(file: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about other versions of pickle
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if found := _foreign(str(error)):
            raise CourseError(
                f"'{file}' is refused: it holds '{found}', which is no tensor, and to read that can run code"
            ) from None
        raise CourseError(f"'{file}' is damaged, or not a file of weights") from None
    except (EOFError, RuntimeError, ValueError, KeyError, OSError, AttributeError, TypeError, IndexError) as error:
        kind = "a program (TorchScript), not weights" if "TorchScript" in str(error) else "cut short or not weights"
        raise CourseError(f"'{file}' is {kind}: torch cannot read it") from None
    except (zipfile.BadZipFile, MemoryError, OverflowError, UnicodeDecodeError) as error:
        raise CourseError(f"'{file}' is damaged ({error})") from None


REFUSALS = ("Unsupported global: GLOBAL ", "Trying to load unsupported GLOBAL ", "unrecognized function ")


def _foreign(message: str) -> str:
    """The name that torch refused, out of its message; empty where it refused for another reason."""
    mark = next((mark for mark in REFUSALS if mark in message), None)
    return message.split(mark, 1)[1].split()[0].strip(".,;`'<>") if mark else ""


def _words(value: Any) -> str:
    return "nothing" if value is None or value == {} else f"something of type {type(value).__name__}"
