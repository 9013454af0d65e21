"""The systems of the pose lab: which there are, what they answer, what was seen on the way, and how right it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_lib import geometry, metrics, models, paths
from course_lib.lab import pictures
from course_lib.lab.pictures import DETECTED, TOLD, WHOLE, Subject
from course_lib.pose import Found, Person, Pose

DETECTOR = "person_detector"
NEAR = 0.5  # OKS from which on a person counts as found


def systems() -> dict[str, str]:
    """The weights of every system of the lessons that ship, by the title that the lessons' tables give it."""
    from course_lib.lessons import crowd_line, line  # the one list of systems; not above: lessons use the lab

    listed = (*line.SYSTEMS, *crowd_line.SYSTEMS)
    ordered = sorted(listed, key=lambda one: one.title)
    return {one.title: one.weights for one in ordered if paths.checkpoint(one.weights).exists()}


@cache
def loaded(weights: str) -> Any:
    """The model with these weights; it is kept."""
    return models.load(weights)


class Look(NamedTuple):
    """What a network was shown and what it said, before anything was read out."""

    crop: Tensor  # (3, H, W)
    matrix: Tensor  # (2, 3), picture -> crop
    outputs: Any  # of all crops that were shown together
    place: int  # of this crop among them


@dataclass
class Answer:
    """What a system says about a picture."""

    model: Any
    poses: list[Pose]  # in the picture's pixels, the best first
    looks: list[Look]  # at the whole picture, or at one box after another
    boxes: Found | None = None  # that one-person networks were asked about; None: none were needed
    told: bool = False  # whether those boxes were given, not detected
    notes: dict[Any, Any] = field(default_factory=dict)  # what a drawing has computed and may want again

    def look_at(self, pose: Pose) -> Look:
        """The look that a pose comes from: the crop about its box."""
        if len(self.looks) == 1 or pose.box is None:
            return self.looks[0]
        return min(self.looks, key=lambda look: float((_middle(look) - _centre(pose.box)).abs().sum()))


def asks_boxes(model: Any) -> bool:
    """Whether a model looks at one person at a time and must know where."""
    return getattr(model, "takes_boxes", False) or not getattr(model, "many", False)


def ask(weights: str, subject: Subject, where: str) -> Answer:
    """What a system answers. where: WHOLE, TOLD or DETECTED, for systems that look at one person at a time."""
    from course_lib import detectors
    from course_lib.models.detector import GivenBoxes

    model, image = loaded(weights), subject.scene.image
    with _watched(model) as looks:
        if not asks_boxes(model):
            return Answer(model, model.estimate([image])[0], looks)
        if where == DETECTED:
            found = pictures.found_by(loaded(DETECTOR), subject)
            try:
                poses = detectors.plugged(model, GivenBoxes([found])).estimate([image])[0]
            finally:
                if getattr(model, "takes_boxes", False):
                    model.detector = loaded(DETECTOR)
            return Answer(model, poses, looks, found)
        height, width = subject.scene.size
        whole = torch.tensor([[0.0, 0.0, width, height]])
        boxes = subject.boxes if where == TOLD else whole
        padding = {"padding": 1.0} if where == WHOLE else {}
        poses = model.estimate(image, boxes=boxes, **padding)[0]
        found = Found(boxes, torch.ones(len(boxes)))
    return Answer(model, poses, looks, found, told=True)


@contextmanager
def _watched(model: Any) -> Iterator[list[Look]]:
    """Writes down every look of a model while it estimates."""
    looks: list[Look] = []
    own = model.look

    def look(crops: Tensor, pictures: Sequence[Tensor], matrices: Tensor) -> Any:
        outputs = own(crops, pictures, matrices)
        looks.extend(Look(crop, matrices[i], outputs, i) for i, crop in enumerate(crops))
        return outputs

    model.look = look
    try:
        yield looks
    finally:
        del model.look


def _middle(look: Look) -> Tensor:
    height, width = look.crop.shape[-2:]
    return geometry.apply(geometry.invert(look.matrix), torch.tensor([[width / 2, height / 2]]))[0]


def _centre(box: Tensor) -> Tensor:
    return (box[:2] + box[2:]) / 2


# --- how right it is --------------------------------------------------------------------------------------------------


class Judged(NamedTuple):
    """Who was found, by OKS."""

    pairs: dict[int, int]  # person -> pose
    oks: list[float]  # of every person; 0 for who was not found

    @property
    def found(self) -> int:
        return sum(value >= NEAR for value in self.oks)


def judged(answer: Answer, subject: Subject) -> Judged | None:
    """Every person's estimate and its OKS, the largest first; None where nothing is known to be true."""
    people = _comparable(answer, subject)
    if not people:
        return None
    oks = [0.0] * len(people)
    if not answer.poses:
        return Judged({}, oks)
    joints = torch.stack([pose.joints for pose in answer.poses])
    parts = [torch.stack([torch.as_tensor(getattr(one, name)) for one in people]) for name in ("joints", "visible")]
    area = torch.tensor([float(one.area) for one in people])
    matrix = metrics.oks_matrix(joints, *parts, area, answer.model.skeleton)  # (D, G)
    pairs: dict[int, int] = {}
    for flat in matrix.flatten().argsort(descending=True, stable=True).tolist():
        pose, person = divmod(flat, len(people))
        if matrix[pose, person] > 0 and person not in pairs and pose not in pairs.values():
            pairs[person], oks[person] = pose, float(matrix[pose, person])
    return Judged(pairs, oks)


def joint_marks(answer: Answer, subject: Subject, person: int, pose: int) -> tuple[list[bool], list[bool]]:
    """PCK@0.2 of a pose against a person: which joints are right, and which are scored at all."""
    truth = subject.people[person]
    rows = (answer.poses[pose].joints[None], truth.joints[None], truth.visible[None])
    marks = metrics.pck(*rows, truth.skeleton)
    return marks.right[0].tolist(), marks.scored[0].tolist()


def _comparable(answer: Answer, subject: Subject) -> list[Person]:
    people = subject.people
    return people if all(one.skeleton == answer.model.skeleton and one.area is not None for one in people) else []


def in_crop(pose: Pose, look: Look) -> Pose:
    """A pose of the picture in the pixels of the crop that was looked at."""
    return replace(pose, joints=geometry.apply(look.matrix, pose.joints))
