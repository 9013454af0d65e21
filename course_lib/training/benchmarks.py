"""The named test sets that the models of the course are measured on.

    single-val     500 rendered people, one to a crop; every machine can make them
    lspet-val      500 photographs of athletes, im08001 to im08500 of LSP-extended; where that data set is
    crowd-val      200 rendered pictures of 1 to 12 people; every machine can make them

Models that look for everybody in a picture are measured on the last. A single-person model can be, too, if it is told
where everybody is; its scores are then called "crowd-val, true boxes". The other way round, a model that looks for
everybody is not told who of a crop is meant, and answers with the one it is surest of: "single-val, surest person". A
detector answers with boxes instead of poses: its scores are called "crowd-val, boxes", and who gives both has both.

LSP-extended has no official test split. The block is one that no recipe of the course trains on, and its labels are
those of the data set, drawn by hired hands and wrong here and there; scores on it compare models with each other, not
with the literature.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any

import torch

from course_lib import datasets, geometry
from course_lib.datasets import pool, synthetic
from course_lib.datasets.records import Records
from course_lib.errors import CourseError, unknown_name
from course_lib.metrics.ap import Matches
from course_lib.metrics.marks import Marks
from course_lib.models.base import BOX_PADDING
from course_lib.pose import Batch, Scene
from course_lib.skeletons import Skeleton, get
from course_lib.training import boxes, crowds, evaluate
from course_lib.training.evaluate import Estimator
from course_lib.training.recipes import WORLDS

# name -> the one score that decides which of two models is better on it
HEADLINES = {"single-val": "pck@0.2", "lspet-val": "pck@0.2", "crowd-val": "ap", "crowd-val, boxes": "box_ap"}
NAMES = tuple(HEADLINES)
SINGLE, CROWDS, BOXES = NAMES[:2], NAMES[2:3], NAMES[3]  # of one person a crop, of many a picture, boxes of the latter
CROWDED = {"crowd", "boxed"}  # sources of pictures of many people, whole or cut out around one of them
SIZE = (128, 128)  # of the crops
SUREST = "surest person"  # whom a model that looks for everybody takes for the one who is meant
SHOWN = 1000  # people whose mean pose is the baseline


def possible(model: Any) -> tuple[str, ...]:
    """The benchmarks that are meant for a model, as far as this machine has the data for them."""
    if crowds.finds_boxes(model):
        return (BOXES,)
    if crowds.finds_everybody(model):
        return (*CROWDS, BOXES) if hasattr(model, "detect") else CROWDS
    return SINGLE if datasets.find("lspet") else SINGLE[:1]


def on_pictures(model: Any, pictures: str) -> tuple[str, ...]:
    """What is measured of a model on the pictures of this name: poses, boxes, or both."""
    meant = tuple(name for name in possible(model) if pictures_of(name) == pictures)
    return meant or (pictures,)


def pictures_of(name: str) -> str:
    """The pictures that a benchmark is measured on; boxes and poses share theirs."""
    return CROWDS[0] if _known(name) == BOXES else name


def title(model: Estimator, name: str) -> str:
    """What a model's scores on a benchmark are called: with what it is told that others must find out."""
    if _known(name) in SINGLE and crowds.finds_everybody(model):
        return f"{name}, {SUREST}"
    if name not in CROWDS:
        return name
    told = getattr(model, "told", "") if crowds.finds_everybody(model) else crowds.TopDown.told
    return f"{name}, {told}" if told else name


def scenes(name: str, skeleton: str | Skeleton) -> list[Scene]:
    """A benchmark's crops, each with the person to estimate, or its pictures, labelled in this skeleton."""
    if (pictures := pictures_of(name)) != "lspet-val":
        return synthetic.benchmark(pictures, skeleton=skeleton)
    return pool.single_scenes(_photographs("val"), get(skeleton), SIZE)


def measure(model: Any, name: str, flip: bool = False) -> dict[str, Any]:
    """A model's scores on a benchmark; `flip` averages with the answer to the mirrored picture."""
    return Examiner().examine(model, name, flip)[0]


class Examiner:
    """Examines one model after another on people that are made once."""

    def __init__(self) -> None:
        self.scenes: dict[tuple[str, str], list[Scene]] = {}

    def people(self, name: str, skeleton: Skeleton) -> list[Scene]:
        """The scenes of a benchmark."""
        key = pictures_of(name), skeleton.name
        if key not in self.scenes:
            self.scenes[key] = scenes(name, skeleton)
        return self.scenes[key]

    def examine(self, model: Any, name: str, flip: bool = False) -> tuple[dict[str, Any], Marks | Matches | None]:
        """The scores, and who was found, so that models can be compared in pairs."""
        own = getattr(model, "name", "") or type(model).__name__
        if _known(name) == BOXES:
            if not hasattr(model, "detect"):
                raise CourseError(f"{own} finds no boxes, so '{BOXES}' is not for it")
            if flip:
                raise CourseError(f"{own} finds boxes, and a detector has no flip test")
            return boxes.examined(model, self.people(name, model.skeleton))
        if crowds.finds_boxes(model):
            raise CourseError(f"{own} finds boxes and no poses; it is measured on '{BOXES}', not on '{name}'")
        people = self.people(name, model.skeleton)
        if name in CROWDS:
            everybody = model if crowds.finds_everybody(model) else crowds.TopDown(model)
            return crowds.examined(everybody, people, flip)
        return evaluate.examined(model, people, flip_test=flip)


def paired_interval(one: Marks | Matches, other: Marks | Matches) -> tuple[float, float] | None:
    """Within what chance could move the difference of two models' headlines, from who was found on one benchmark."""
    return (crowds if isinstance(one, Matches) else evaluate).paired_interval(one, other)


def decisive(data: Iterable[str], measured: Sequence[str] = CROWDS) -> str:
    """The benchmark that decides about a model trained on these sources: photographs, if it was shown any.

    Of what was trained on many people only boxes may have been `measured`; then they decide.
    """
    sources = set(data)
    if sources & CROWDED:
        return BOXES if BOXES in measured and not set(CROWDS) & set(measured) else CROWDS[0]
    return "lspet-val" if sources - set(WORLDS) else "single-val"


def headline(name: str, scores: dict[str, Any]) -> float | None:
    """The one number among a benchmark's scores."""
    return scores[HEADLINES[_known(name)]]


def training_people(name: str, skeleton: str | Skeleton) -> Iterable[Batch]:
    """People of the same kind that a model may have seen, to make the mean pose from."""
    if _known(name) == "single-val":
        return synthetic.stream(100, skeleton=skeleton, size=SIZE)
    if name == BOXES:
        raise CourseError(f"the mean pose finds no boxes, so '{BOXES}' has no such baseline")
    if name in CROWDS:
        return _in_true_boxes(skeleton)
    people = pool.Pool.of(_photographs("train")[:SHOWN], get(skeleton), SIZE, margin=1.0)
    return [people.batch(rows) for rows in pool.order(len(people), 0, 0, len(people)).split(100)]


def _in_true_boxes(skeleton: str | Skeleton) -> Iterator[Batch]:
    """Everybody in one picture after another of the benchmark's world, cut out as a model is shown them."""
    for number in count():
        for scene in synthetic.scenes(25, seed=f"people in boxes {number}", skeleton=skeleton):
            if scene.people:
                images, matrices = geometry.crop(scene.image, crowds.true_boxes(scene), SIZE, BOX_PADDING)
                joints = geometry.apply(matrices, torch.stack([person.joints for person in scene.people]))
                visible = torch.stack([person.visible for person in scene.people])
                yield Batch(images, joints, visible, get(skeleton))


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
