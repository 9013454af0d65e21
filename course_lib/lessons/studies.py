"""Experiments that are too long for a lesson: where they come from, how they are stored, and arms compared by seed.

A study is a dict that is kept as JSON in data/studies. Its module trains and scores; the lesson reads and plots, and
repeats a short piece of it to see that the file still belongs to the code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from course_lib import checkpoints
from course_lib.training import recipes


def provenance(recipe: str) -> dict[str, Any]:
    """Of which people, when, with what code and on what machine a study is made."""
    return {
        "data": recipes.get(recipe).data,
        "date": date.today().isoformat(),
        "code": checkpoints.code_version(),
        "torch": torch.__version__,
        "device": f"cpu, {torch.get_num_threads()} threads",
    }


def save(file: Path, study: dict[str, Any]) -> None:
    """Writes a study as text that a person can read and a diff can show."""
    lines = json.dumps(study, indent=1, ensure_ascii=False)
    checkpoints.write_atomically(file, lambda out: out.write((lines + "\n").encode()))


def load(file: Path) -> dict[str, Any]:
    """A stored study."""
    return json.loads(file.read_text(encoding="utf-8"))


def pairs(questions: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> dict[str, dict[str, Any]]:
    """By how many points the first of two arms lies higher, seed by seed; an arm is its scores in the seeds' order."""
    rows = {}
    for question, (one, other) in questions.items():
        apart = [100 * (a - b) for a, b in zip(one, other, strict=True)]
        rows[question] = {f"seed {seed}": points for seed, points in enumerate(apart)}
        rows[question] |= {"mean": fmean(apart), "all one sign": min(apart) > 0 or max(apart) < 0}
    return rows
