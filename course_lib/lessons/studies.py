"""Experiments that are too long for a lesson: where they come from, how they are stored, and arms compared by seed.

A study is a dict that is kept as JSON in data/studies. Its module trains and scores; the lesson reads and plots, and
repeats a short piece of it to see that the file still belongs to the code. One command makes each again:

    python -m course_lib evaluate --study                          # which there are
    python -m course_lib evaluate --study adversarial --shipped    # its own options follow the name
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from course_lib import checkpoints
from course_lib.errors import unknown_name
from course_lib.training import recipes

# a study, called like its file in data/studies -> the module of course_lib.lessons whose `main` makes it
STUDIES = {
    "pictorial_ablation": "lesson_01_study",
    "deeppose_parts": "lesson_02_study",
    "tompson_study": "lesson_03_study",
    "cpm_fields": "lesson_04_fields",
    "ief_study": "lesson_05_study",
    "hourglass_ablation": "lesson_06_ablation",
    "hourglass_photographs": "lesson_06_photographs",
    "paf_study": "lesson_07_study",
    "deepcut_study": "lesson_08_study",
    "proposals": "lesson_09_proposals",
    "pose_nms": "lesson_09_suppression",
    "alphapose_study": "lesson_09_study",
    "top_down_study": "lesson_10_study",
    "crowd_baseline": "crowd_line",
    "crowd_times": "crowd_times",
    "high_resolution": "lesson_11_ablation",
    "adversarial": "lesson_12_study",
    "refinement": "lesson_14_refinement",
    "crowding": "lesson_14_crowding",
    "brittleness": "lesson_14_brittleness",
    "errors": "lesson_14_errors",
}


def run(name: str, arguments: Sequence[str] = ()) -> None:
    """Makes a study by name, with options of its own."""
    if name not in STUDIES:
        raise unknown_name("study", name, STUDIES)
    module(name).main(list(arguments))


def module(name: str) -> Any:
    """The module that makes a study."""
    return importlib.import_module(f"course_lib.lessons.{STUDIES[name]}")


def make(file: Path, study: Callable[[], dict[str, Any]], arguments: Sequence[str] | None = None) -> None:
    """The command of a study that is made in one piece."""
    parser = argparse.ArgumentParser(description=f"makes the study {file.stem}")
    parser.add_argument("--out", type=Path, default=file, help="where to write it (%(default)s)")
    save(parser.parse_args(arguments).out, study())


def provenance(recipe: str) -> dict[str, Any]:
    """Of which people, when, with what code and on what machine a study is made."""
    return {"data": recipes.get(recipe).data, **machine()}


def machine() -> dict[str, Any]:
    """When, with what code and on what machine something is measured."""
    return {
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
