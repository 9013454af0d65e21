"""How far a joint may be off: the circle each metric draws around it."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.errors import CourseError, unknown_name
from course_lib.metrics.marks import exact, labelled_joints
from course_lib.metrics.oks import Sigmas, oks_radius
from course_lib.metrics.pck import HEAD_SCALE, head_size, reference_size
from course_lib.pose import Person

THRESHOLDS = {"pcp": 0.5, "pck": 0.2, "pdj": 0.2, "pckh": 0.5, "oks": 0.5}


def tolerance(
    person: Person,
    metric: str = "pck",
    threshold: float | None = None,
    reference: str | tuple[str, str] = "torso",
    head_scale: float = HEAD_SCALE,
    sigmas: Sigmas | None = None,
) -> Tensor:
    """Radius in pixels (K,) around true joints within which an estimate passes; 0: no opinion.

    "pck", "pdj"  threshold x reference size, the same for all joints
    "pckh"        threshold x head size, the same for all joints
    "pcp"         threshold x length of the shortest stick that ends at the joint (strict rule; no joint
                  is an end of the torso stick)
    "oks"         the distance at which this joint alone scores the threshold; needs the person's area

    No opinion: the joint is not labelled, or the size the metric measures with is not known.
    """
    if metric not in THRESHOLDS:
        raise unknown_name("metric with a tolerance", metric, THRESHOLDS)
    threshold = THRESHOLDS[metric] if threshold is None else threshold
    joints, labelled = exact(person.joints), labelled_joints(person.joints, person.visible)
    if metric == "pcp":
        radius = threshold * _shortest_sticks(joints, labelled, person)
    elif metric == "oks":
        if person.area is None:
            raise CourseError("an OKS tolerance needs the person's area, and this person has none")
        radius = oks_radius(threshold, person.area, person.skeleton if sigmas is None else sigmas)
    elif metric == "pckh":
        radius = torch.zeros(1) if person.head_box is None else threshold * head_size(person.head_box, head_scale)
    else:
        size = reference_size(joints[None], labelled[None], person.skeleton, reference)[0]
        radius = threshold * size
    return torch.where(labelled, radius.double(), 0.0)


def _shortest_sticks(joints: Tensor, labelled: Tensor, person: Person) -> Tensor:
    """Length (K,) of the shortest labelled stick at every joint, 0 where there is none."""
    shortest = torch.full(labelled.shape, torch.inf, dtype=joints.dtype)
    for pair in person.skeleton.pcp:
        a, b = (person.skeleton.index(name) for name in pair)
        length = torch.linalg.vector_norm(joints[a] - joints[b])
        if labelled[a] and labelled[b] and length > 0:
            shortest[[a, b]] = torch.minimum(shortest[[a, b]], length)
    return torch.where(shortest.isfinite(), shortest, 0.0)
