"""The training queue's table: a line a round, printed as it is done and kept in summary.json."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from course_lib import checkpoints
from course_lib.errors import CourseError
from course_lib.training import benchmarks, devices, provenance

FILE = "summary.json"
log = logging.getLogger("course_lib")


@dataclass
class Row:
    """What became of one round. Numbers count this call only, except those "in all"."""

    recipe: str
    outcome: str  # trained, stopped, failed, skipped or waiting
    device: str = ""
    steps: int = 0
    images: int = 0
    images_in_all: int = 0  # behind the weights, what they began from included
    minutes: float = 0.0
    images_per_second: float = 0.0
    data_share: float = 0.0  # of the time, spent waiting for data
    scores: dict[str, float | None] = field(default_factory=dict)  # by benchmark, its headline
    bytes: int = 0
    note: str = ""

    def tell(
        self, header: Mapping[str, Any], history: Mapping[str, list], images_before: int, minutes_before: float
    ) -> None:
        """Takes the numbers of a training, of which an earlier call has done some."""
        images = history.get("images", [])
        first = next((i for i, count in enumerate(images) if count > images_before), len(images))
        data, learning = (sum(history.get(name, [])[first:]) for name in ("data_seconds", "step_seconds"))
        self.device, self.steps = header["device"], len(images) - first
        self.images, self.images_in_all = header["images"] - images_before, provenance.images_in_all(header)
        self.minutes = round(max(header["minutes"] - minutes_before, 0), 2)
        self.images_per_second = round(self.images / max(data + learning, 1e-9), 1)
        self.data_share = round(data / max(data + learning, 1e-9), 4)

    def add(self, sentence: str) -> None:
        """One more thing to know."""
        self.note = f"{self.note}; {sentence}" if self.note else sentence


# heading -> width, and what stands there
_COLUMNS = {
    "recipe": (-20, lambda row: row.recipe),
    "outcome": (-8, lambda row: row.outcome),
    "device": (-18, lambda row: row.device[:18]),
    "steps": (8, lambda row: f"{row.steps:,}"),
    "images": (11, lambda row: f"{row.images:,}"),
    "in all": (12, lambda row: f"{row.images_in_all:,}"),
    "min": (6, lambda row: f"{row.minutes:.2f}"),
    "images/s": (9, lambda row: f"{row.images_per_second:.0f}"),
    "for data": (8, lambda row: f"{row.data_share:.0%}"),
    **{
        name: (
            max(11, len(name)),
            lambda row, name=name: "-" if row.scores.get(name) is None else f"{row.scores[name]:.4f}",
        )
        for name in benchmarks.NAMES
    },
    "MB": (6, lambda row: f"{row.bytes / checkpoints.MEGABYTE:.2f}" if row.bytes else "-"),
    "note": (-1, lambda row: row.note),
}


class Summary:
    """The rows of one call, printed and written as they come. Earlier calls with the same folder stay in the file."""

    def __init__(self, out: Path, minutes: float, device: torch.device, rows: list[Row]) -> None:
        self.file, self.rows = out / FILE, rows
        self.about = {
            "began": datetime.now().astimezone().isoformat(timespec="seconds"),
            "minutes": minutes,
            "device": devices.describe(device),
            "torch": torch.__version__,
            "code": checkpoints.code_version(),
        }
        self.earlier = _calls(self.file)
        _print(list(_COLUMNS))

    def add(self) -> None:
        """Prints the last row and writes them all."""
        _print([cell(self.rows[-1]) for _, cell in _COLUMNS.values()])
        calls = [*self.earlier, {**self.about, "rows": [asdict(row) for row in self.rows]}]
        text = json.dumps({"calls": calls}, indent=1) + "\n"
        try:
            checkpoints.write_atomically(self.file, lambda stream: stream.write(text.encode()))
        except CourseError as error:  # what was learned is worth more than its table
            log.warning("%s", error)


def _print(cells: list[str]) -> None:
    """One line; a negative width sets a cell against the left."""
    widths = [width for width, _ in _COLUMNS.values()]
    line = "  ".join(
        f"{cell:<{-width}}" if width < 0 else f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)
    )
    print(line.rstrip(), flush=True)


def _calls(file: Path) -> list[dict[str, Any]]:
    """What earlier calls left in the summary; nothing where there is none, or none that can be read."""
    if not file.exists():
        return []
    try:
        calls = json.loads(file.read_bytes())["calls"]
        return [call for call in calls if isinstance(call, dict)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be read (%s) and is begun anew", file, error)
        return []
