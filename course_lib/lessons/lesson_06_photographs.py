"""Drawn people and photographed ones: what the two sets of shipped weights find of either, kept as data for lesson 06.

    python -m course_lib evaluate --study hourglass_photographs     # a minute; needs LSP-extended

measures both, and the mean pose of either kind of people, on both benchmarks and writes
data/studies/hourglass_photographs.json. The photographs are not part of the course, so the lesson shows these numbers
as they were measured; where the data set is there, a test measures them again.
"""

from __future__ import annotations

import json
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from course_lib import checkpoints, models, paths
from course_lib.errors import CourseError
from course_lib.lessons import studies
from course_lib.training import benchmarks
from course_lib.training.evaluate import MeanPose

FILE = paths.DATA / "studies" / "hourglass_photographs.json"
WEIGHTS = ("hourglass_synthetic", "hourglass_course")


def measure() -> dict[str, Any]:
    """PCK@0.2 of both sets of weights and of the mean pose: in all, its 95 % interval, and by joint."""
    study: dict[str, Any] = {"date": date.today().isoformat(), "benchmarks": {}, "weights": {}}
    examiner = benchmarks.Examiner()
    for benchmark in benchmarks.SINGLE:
        mean = MeanPose.of(benchmarks.training_people(benchmark, "lsp"))
        rows = {"mean pose": mean, **{name: models.load(name) for name in WEIGHTS}}
        study["benchmarks"][benchmark] = {name: _row(examiner, model, benchmark) for name, model in rows.items()}
    for name in WEIGHTS:
        study["weights"][name] = _identity(name)
    return study


def _row(examiner: benchmarks.Examiner, model: Any, benchmark: str) -> dict[str, Any]:
    scores, _ = examiner.examine(model, benchmark)
    low, high = scores["pck@0.2_interval"]
    by_joint = {joint: round(value, 4) for joint, value in scores["per_joint"].items()}
    return {"pck@0.2": round(scores["pck@0.2"], 4), "low": round(low, 4), "high": round(high, 4), "by joint": by_joint}


def _identity(name: str) -> dict[str, Any]:
    """What changes whenever weights are trained anew."""
    header = checkpoints.read_header(paths.checkpoint(name))
    return {key: header[key] for key in ("recipe", "steps", "images", "seed")}


def load(file: Path = FILE) -> dict[str, Any]:
    """The stored study, which must be about the weights that ship now."""
    study = json.loads(file.read_text(encoding="utf-8"))
    for name in WEIGHTS:
        if study["weights"][name] != _identity(name):
            raise CourseError(
                f"{file} was measured with other weights than '{name}' has now; "
                f"`python -m course_lib evaluate --study hourglass_photographs` measures again"
            )
    return study


main = partial(studies.make, FILE, measure)
