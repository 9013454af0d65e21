"""What every metric says of one person's joints, read for one joint and for the whole person."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib import metrics
from course_lib.metrics import taxonomy
from course_lib.metrics.pck import head_size, reference_size
from course_lib.pose import Person
from course_lib.show import style

# the circles about a joint's true place: words, name in `metrics.tolerance`, colour
CIRCLES = (
    ("PCK@0.2: a fifth of the torso", "pck", style.ORANGE),
    ("PCKh@0.5: half of the head", "pckh", style.PINK),
    ("ks = 0.5", "oks", style.SKY),
)


class Row(NamedTuple):
    """One line of the report."""

    name: str
    value: str
    right: bool | None = None  # None: the metric does not say yes or no


class Reading(NamedTuple):
    """What the metrics say of one joint, and of all of them together."""

    joint: tuple[Row, ...]
    person: tuple[Row, ...]


def read(person: Person, joints: Tensor, joint: int) -> Reading:
    """Metrics of joints (K, 2) against a person whose area is known; `joint` is the one to be looked at."""
    joints = torch.as_tensor(joints, dtype=torch.float64)
    return Reading(_of_joint(person, joints, joint), _of_person(person, joints))


def _of_joint(person: Person, joints: Tensor, joint: int) -> tuple[Row, ...]:
    if int(person.visible[joint]) == 0:
        return (Row("not labelled", "no metric looks at it"),)
    rows, skeleton = _rows(person, joints), person.skeleton
    distance = float((joints[joint] - person.joints[joint].double()).norm())
    found = [Row("distance", f"{distance:.1f} px")]
    sizes = {
        "PCK@0.2": (reference_size(*rows[1:], skeleton), 0.2, "torsos"),
        "PDJ@0.2, other diagonal": (reference_size(*rows[1:], skeleton, "other_diagonal"), 0.2, "torsos"),
        "PCKh@0.5": (_head(person), 0.5, "heads"),
    }
    for name, (size, limit, unit) in sizes.items():
        if float(size) > 0:
            share = distance / float(size)
            found.append(Row(name, f"{share:.2f} {unit}", share <= limit))
    ks = float(taxonomy.keypoint_similarity(joints, person.joints, _area(person), skeleton)[joint])
    found.append(Row("ks, its part of OKS", f"{ks:.2f}"))
    found += _limbs(person, joints, joint)
    kind = int(taxonomy.joint_classes(*rows, _area(person), skeleton)[0, joint])
    return (*found, Row("kind of error", taxonomy.CLASSES[kind]))


def _limbs(person: Person, joints: Tensor, joint: int) -> list[Row]:
    """PCP of the sticks that end at a joint: how far off both ends are, in lengths of the stick."""
    found = []
    for name, first, second in person.skeleton.sticks():
        if joint not in (*first, *second) or len(first) > 1 or not bool((person.visible[[*first, *second]] > 0).all()):
            continue
        ends = [first[0], second[0]]
        true = person.joints[ends].double()
        length = float((true[0] - true[1]).norm())
        if length > 0:
            off = ((joints[ends] - true).norm(dim=-1) / length).tolist()
            words = f"{off[0]:.2f} and {off[1]:.2f} lengths"
            found.append(Row(f"PCP, {name.replace('_', ' ')}", words, max(off) <= 0.5))
    return found


def _of_person(person: Person, joints: Tensor) -> tuple[Row, ...]:
    rows, skeleton = _rows(person, joints), person.skeleton
    heads = (torch.full((4,), math.nan) if person.head_box is None else person.head_box)[None]
    marks = {
        "PCK@0.2": metrics.pck(*rows, skeleton),
        "PDJ@0.2, other diagonal": metrics.pdj(*rows, skeleton, reference="other_diagonal"),
        "PCKh@0.5": metrics.pckh(*rows, heads, skeleton),
        "PCP, strict": metrics.pcp(*rows, skeleton),
    }
    found = [
        Row(name, f"{int(one.right.sum())} of {int(one.scored.sum())}")
        for name, one in marks.items()
        if one.scored.any()
    ]
    alike = float(metrics.oks(joints, person.joints, person.visible, _area(person), skeleton))
    return (*found, Row("OKS", f"{alike:.3f}"))


def circles(person: Person, joint: int) -> list[tuple[str, str, float]]:
    """The circles of tolerance about a joint's true place: words, colour, radius in pixels."""
    found = []
    for words, name, colour in CIRCLES:
        radius = float(metrics.tolerance(person, name)[joint])
        if radius > 0:
            found.append((words, colour, round(radius, 2)))
    return found


def as_html(reading: Reading, name: str) -> str:
    """A reading as two small tables."""
    return _table(name, reading.joint) + _table("the whole person", reading.person)


def _table(title: str, rows: Sequence[Row]) -> str:
    marks = {True: '<span class="right">✓ right</span>', False: '<span class="wrong">✗ wrong</span>', None: ""}
    lines = (
        f'<tr><td>{html.escape(row.name)}</td><td class="number">{html.escape(row.value)}</td>'
        f"<td>{marks[row.right]}</td></tr>"
        for row in rows
    )
    return f'<table><tr><th colspan="3">{html.escape(title)}</th></tr>{"".join(lines)}</table>'


def _rows(person: Person, joints: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return joints[None], person.joints[None], person.visible[None]


def _head(person: Person) -> Tensor:
    return torch.zeros(1) if person.head_box is None else head_size(person.head_box[None])


def _area(person: Person) -> float:
    return float(person.area or 0.0)
