"""Weights on disk: half-precision safetensors that say where they come from and notice when they are damaged.

A checkpoint holds every entry of a model's state dict. Parameters are stored as float16, which costs a relative error
of at most 2^-11 each. Buffers (batch-normalisation statistics, step counters) keep their own type, because a running
variance easily leaves float16's range. The header is one JSON text in the file's metadata; its digest covers the rest
of the header and every byte of every tensor.

    >>> save(path, model, {"model": "hourglass_course", "recipe": "hourglass_course", "steps": 20000, ...})
    >>> header = load_into(path, model)
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from course_lib.errors import CourseError

MEGABYTE = 1_000_000
SHIPPED_LIMIT = 8 * MEGABYTE  # no checkpoint that ships with the course is larger

# What every header says, with the type of each answer.
HEADER = {
    "model": str,
    "options": dict,
    "skeleton": str,
    "recipe": str,
    "data": dict,
    "steps": int,
    "images": int,
    "seed": int,
    "device": str,
    "date": str,
    "code": str,
    "scores": dict,
}
_KEY = "course"  # the one entry of the safetensors metadata that is ours


def save(path: str | Path, model: nn.Module, header: dict[str, Any], limit: int | None = None) -> dict[str, Any]:
    """Writes a model's weights and where they come from; returns the header as written.

    `header` answers every question of `HEADER`; what the model knows itself (its name, options and skeleton) and `code`
    are filled in where they are left out; `date` is an ISO date. `limit` refuses a file of more bytes. The write is
    atomic: the old file is there until the new one is whole.
    """
    if skeleton := getattr(model, "skeleton", None):
        header = {"skeleton": skeleton.name, **header, "joints": list(skeleton.joints)}
    if name := getattr(model, "name", ""):
        header = {"model": name, "options": model.options, **header}
    tensors = {name: _stored(name, value, model) for name, value in model.state_dict().items()}
    return _write(Path(path), tensors, {"code": code_version(), **header}, limit)


def load_into(path: str | Path, model: nn.Module, part: str = "") -> dict[str, Any]:
    """Puts a checkpoint's weights into a model that was built with the same options; returns the header.

    With `part` the model is one module of the checkpoint's, such as its "trunk". A file that is missing, cut short,
    tampered with, or of another skeleton, model or shape is refused in one sentence, and the model is then left as it
    was.
    """
    path = Path(path)
    header, tensors = _read(path)
    _check_identity(path, header, model)
    if part:
        start = f"{part}."
        tensors = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
        if not tensors:
            raise CourseError(f"{path} holds weights of '{header['model']}', which has no part '{part}' to take")
    own = model.state_dict()
    if missing := sorted(own.keys() - tensors.keys()):
        raise CourseError(f"{path} lacks {_some(missing)}, which the model has; was it built with other options?")
    if extra := sorted(tensors.keys() - own.keys()):
        raise CourseError(f"{path} has {_some(extra)}, which the model lacks; was it built with other options?")
    for name, value in own.items():
        if tensors[name].shape != value.shape:
            raise CourseError(
                f"{path} has '{name}' of shape {tuple(tensors[name].shape)}, but the model's is {tuple(value.shape)}; "
                "was it built with other options?"
            )
    model.load_state_dict(tensors)
    return header


def read_header(path: str | Path) -> dict[str, Any]:
    """A checkpoint's header alone, without its tensors and therefore without checking its digest."""
    with _opened(Path(path)) as file:
        return _header_of(Path(path), file.metadata())


def verify(path: str | Path) -> dict[str, Any]:
    """A checkpoint's header, after its digest was checked against every byte of every tensor."""
    return _read(Path(path))[0]


def weights_digest(path: str | Path) -> str:
    """SHA-256 of a checkpoint's tensors alone, so that it stays the same when scores are recorded in the header."""
    sha = hashlib.sha256()
    _add_tensors(sha, _read(Path(path))[1])
    return sha.hexdigest()


def record(
    path: str | Path, scores: dict[str, Any], to: str | Path | None = None, limit: int | None = None
) -> dict[str, Any]:
    """Adds measured scores, a dict by benchmark, to the header of a checkpoint that lies on disk.

    With `to` the file is left as it is and a copy with the scores written there; `limit` is that of `save`.
    """
    header, tensors = _read(Path(path))
    return _write(Path(to or path), tensors, {**header, "scores": {**header["scores"], **scores}}, limit)


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Lets `write` fill a new file beside `path`, which takes the place of the old one only once it is on the disk.

    Where that fails (a full disk, an interrupt), the old file is untouched and the new one removed. A process killed
    outright leaves its unfinished file behind; the next write sweeps it away.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        try:
            with open(temporary, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        old = "the file that was there is unchanged" if path.exists() else "nothing was written"
        raise CourseError(f"could not write {path}: {error.strerror or error}; {old}") from error


@cache
def code_version() -> str:
    """The library's version, with the commit where the course runs from a git checkout."""
    import course_lib

    version = getattr(course_lib, "__version__", "0")
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists() or shutil.which("git") is None:
        return version
    command = ["git", "-C", str(root), "rev-parse", "--short=10", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{version}+{result.stdout.strip()}" if result.returncode == 0 else version


# --- the parts --------------------------------------------------------------------------------------------------------


def _stored(name: str, value: Tensor, model: nn.Module) -> Tensor:
    value = value.detach().to("cpu").contiguous()
    if not value.is_floating_point():
        return value.clone()
    if not bool(torch.isfinite(value).all()):
        raise CourseError(f"'{name}' holds NaN or infinity, so this {type(model).__name__} is not worth saving")
    half = value.half()
    is_parameter = name in dict(model.named_parameters(remove_duplicate=False))
    return half if is_parameter and bool(torch.isfinite(half).all()) else value.clone()


def _write(path: Path, tensors: dict[str, Tensor], header: dict[str, Any], limit: int | None) -> dict[str, Any]:
    header = {key: value for key, value in header.items() if key != "digest"}
    for key, kind in HEADER.items():
        if not isinstance(header.get(key), kind):
            raise CourseError(f"a checkpoint's header needs '{key}' ({kind.__name__}); got {header.get(key)!r}")
    try:
        datetime.fromisoformat(header["date"])
    except ValueError:
        example = date(2026, 1, 31).isoformat()
        raise CourseError(f"a checkpoint's date is written like {example}; got '{header['date']}'") from None
    header = json.loads(json.dumps(header))  # tuples become the lists that a reader will see
    header["digest"] = _digest(header, tensors)
    data = to_safetensors(tensors, metadata={_KEY: json.dumps(header, sort_keys=True)})
    if limit is not None and len(data) > limit:
        raise CourseError(
            f"{path.name} would have {len(data) / MEGABYTE:.1f} MB, but {limit / MEGABYTE:g} MB is the limit; make the "
            "model smaller"
        )
    write_atomically(path, lambda file: file.write(data))
    return header


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with _opened(path) as file:
        header = _header_of(path, file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    if header.get("digest") != _digest(header, tensors):
        raise CourseError(f"{path} was changed after it was written (its digest differs); fetch it again")
    return header, tensors


def _opened(path: Path) -> safe_open:
    if not path.is_file():
        raise CourseError(f"there is no checkpoint {path}")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise CourseError(f"{path} is cut short or not a safetensors file ({error}); fetch it again") from error


def _header_of(path: Path, metadata: dict[str, str] | None) -> dict[str, Any]:
    try:
        header = json.loads((metadata or {})[_KEY])
    except (KeyError, ValueError):
        raise CourseError(f"{path} is no checkpoint of this course: it has no readable course header") from None
    wrong = [key for key, kind in HEADER.items() if not isinstance(header.get(key), kind)]
    if wrong:
        raise CourseError(f"the header of {path} lacks {_some(wrong)}; fetch the file again")
    return header


def _check_identity(path: Path, header: dict[str, Any], model: nn.Module) -> None:
    skeleton = getattr(model, "skeleton", None)
    if skeleton and list(skeleton.joints) != header.get("joints", list(skeleton.joints)):
        raise CourseError(
            f"{path} was trained for skeleton '{header['skeleton']}' ({len(header['joints'])} joints), but the model "
            f"has '{skeleton.name}' ({len(skeleton)} joints)"
        )
    name = getattr(model, "name", "")
    if name and name != header["model"]:
        raise CourseError(f"{path} holds weights of '{header['model']}', but the model is '{name}'")


def _digest(header: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the header without its digest, then name, type, shape and bytes of every tensor in order of name."""
    sha = hashlib.sha256()
    plain = {key: value for key, value in header.items() if key != "digest"}
    sha.update(json.dumps(plain, sort_keys=True).encode())
    _add_tensors(sha, tensors)
    return sha.hexdigest()


def _add_tensors(sha: hashlib._Hash, tensors: dict[str, Tensor]) -> None:
    for name in sorted(tensors):
        value = tensors[name]
        sha.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        sha.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())


def _sweep(path: Path) -> None:
    """Removes what writers that are no longer alive left beside `path`."""
    start, end = f".{path.name}.", ".unfinished"
    for leftover in path.parent.iterdir():
        owner = leftover.name.removeprefix(start).removesuffix(end)
        if leftover.name == f"{start}{owner}{end}" and owner.isdigit() and not _alive(int(owner)):
            leftover.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return f"'{names[0]}'" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
