"""One call for single people: all the numbers of one benchmark table."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from course_lib.errors import CourseError
from course_lib.metrics.marks import distances, labelled_joints, stack
from course_lib.metrics.pck import auc, normalised_errors, pck, pckh, pdj, reference_size
from course_lib.metrics.pcp import pcp
from course_lib.pose import Person, Pose

NO_HEAD = torch.full((4,), torch.nan)


def single_person(
    poses: Sequence[Pose], people: Sequence[Person], reference: str | tuple[str, str] = "torso"
) -> dict[str, float | int | dict[str, float | None] | None]:
    """Scores of one pose for each person, with every official default. A score over nothing is None.

    "pck@0.2", "pck@0.1"      pooled over labelled joints, size = `reference`
    "pdj@0.2"                 the same with the size that FLIC's code takes, the torso's other diagonal
    "per_joint"               PCK@0.2 of every joint by name
    "auc"                     mean of PCK at 0, 0.01, ... 0.20
    "pckh@0.5", "pckh@0.1"    over people with a head rectangle, without pelvis and thorax
    "pcp"                     strict, at 0.5, mean over sticks
    "mean_error"              pixels, over the labelled joints that were estimated at all
    "people", "joints"        how many people, and labelled joints, there are
    "unscored"                people that PCK leaves out for want of a reference size
    "missing"                 labelled joints whose estimate is not finite: misses above, absent from mean_error
    """
    if len(poses) != len(people):
        raise CourseError(f"there must be one pose for each person; got {len(poses)} and {len(people)}")
    skeletons = list(dict.fromkeys(who.skeleton for who in (*people, *poses)))
    if len(skeletons) > 1:
        names = " and ".join(f"'{skeleton.name}'" for skeleton in skeletons)
        raise CourseError(f"all people must have one skeleton, but there are {names}; see skeletons.convert")
    if not people:
        names = ("pck@0.2", "pck@0.1", "pdj@0.2", "auc", "pckh@0.5", "pckh@0.1", "pcp", "mean_error")
        empty = dict.fromkeys(names)
        return empty | {"per_joint": {}, "people": 0, "joints": 0, "unscored": 0, "missing": 0}
    skeleton = skeletons[0]
    estimated = stack([pose.joints for pose in poses], (len(skeleton), 2))
    true = stack([who.joints for who in people], (len(skeleton), 2))
    visible = stack([who.visible for who in people], (len(skeleton),))
    three = (estimated, true, visible)
    size = reference_size(true, visible, skeleton, reference)
    marks = pck(*three, skeleton, reference=size)
    heads = stack([NO_HEAD if who.head_box is None else who.head_box for who in people], (4,))
    errors = distances(estimated, true)[labelled_joints(true, visible)]
    answered = errors[errors.isfinite()]
    return {
        "pck@0.2": marks.mean,
        "pck@0.1": pck(*three, skeleton, 0.1, size).mean,
        "pdj@0.2": pdj(*three, skeleton, reference="other_diagonal").mean,
        "auc": auc(*normalised_errors(*three, size)),
        "pckh@0.5": pckh(*three, heads, skeleton).mean,
        "pckh@0.1": pckh(*three, heads, skeleton, 0.1).mean,
        "pcp": pcp(*three, skeleton).mean_of_columns,
        "mean_error": float(answered.mean()) if len(answered) else None,
        "per_joint": marks.per_name,
        "people": len(people),
        "joints": len(errors),
        "unscored": marks.unscored,
        "missing": len(errors) - len(answered),
    }
