"""The named test sets that single-person models of the course are measured on.

    single-val     500 rendered people; every machine can make them
    lspet-val      500 photographs of athletes, im08001 to im08500 of LSP-extended; where that data set is

LSP-extended has no official test split. The block is one that no recipe of the course trains on, and its labels are
those of the data set, drawn by hired hands and wrong here and there; scores on it compare models with each other, not
with the literature.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from course_lib import datasets
from course_lib.datasets import pool, synthetic
from course_lib.datasets.records import Records
from course_lib.errors import CourseError, unknown_name
from course_lib.metrics.marks import Marks
from course_lib.pose import Batch, Scene
from course_lib.skeletons import Skeleton, get
from course_lib.training import evaluate
from course_lib.training.evaluate import Estimator
from course_lib.training.recipes import WORLDS

# name -> the one score that decides which of two models is better on it
HEADLINES = {"single-val": "pck@0.2", "lspet-val": "pck@0.2"}
NAMES = tuple(HEADLINES)
SIZE = (128, 128)  # of the crops
SHOWN = 1000  # people whose mean pose is the baseline


def possible() -> tuple[str, ...]:
    """The benchmarks that this machine has the data for."""
    return NAMES if datasets.find("lspet") else NAMES[:1]


def scenes(name: str, skeleton: str | Skeleton) -> list[Scene]:
    """A benchmark's crops, each with the person to estimate, labelled in this skeleton."""
    if _known(name) == "single-val":
        return synthetic.benchmark(name, skeleton=skeleton)
    return pool.single_scenes(_photographs("val"), get(skeleton), SIZE)


def measure(model: Estimator, name: str, flip: bool = False) -> dict[str, Any]:
    """A model's scores on a benchmark; `flip` averages with the answer to the mirrored picture."""
    return Examiner().examine(model, name, flip)[0]


class Examiner:
    """Examines one model after another on people that are made once."""

    def __init__(self) -> None:
        self.scenes: dict[tuple[str, str], list[Scene]] = {}

    def examine(self, model: Estimator, name: str, flip: bool = False) -> tuple[dict[str, Any], Marks | None]:
        """The scores, and who was found, so that models can be compared in pairs."""
        key = name, model.skeleton.name
        if key not in self.scenes:
            self.scenes[key] = scenes(name, model.skeleton)
        return evaluate.examined(model, self.scenes[key], flip_test=flip)


def decisive(data: Iterable[str]) -> str:
    """The benchmark that decides about a model trained on these sources: photographs, if it was shown any."""
    return "lspet-val" if set(data) - set(WORLDS) else "single-val"


def headline(name: str, scores: dict[str, Any]) -> float | None:
    """The one number among a benchmark's scores."""
    return scores[HEADLINES[_known(name)]]


def training_people(name: str, skeleton: str | Skeleton) -> Iterable[Batch]:
    """People of the same kind that a model may have seen, to make the mean pose from."""
    if _known(name) == "single-val":
        return synthetic.stream(100, skeleton=skeleton, size=SIZE)
    people = pool.Pool.of(_photographs("train")[:SHOWN], get(skeleton), SIZE, margin=1.0)
    return [people.batch(rows) for rows in pool.order(len(people), 0, 0, len(people)).split(100)]


def _known(name: str) -> str:
    if name not in NAMES:
        raise unknown_name("benchmark", name, NAMES)
    return name


def _photographs(split: str) -> Records:
    folder = datasets.find("lspet")
    if folder is None:
        raise CourseError(
            "the benchmark 'lspet-val' needs LSP-extended, which is not on this machine: `python -m course_lib data` "
            "tells where it comes from and where to put it"
        )
    return datasets.read("lspet", folder, split)
