"""PCKh for pictures with several people: the mAP of DeepCut, MPII multi-person and PoseTrack.

A joint matches if d <= 0.5 x head size. Whole poses are assigned first: every estimate keeps the person of
whom it gets the largest share of joints right, every person the best of the estimates that kept it. Then each
joint type is a detector of its own, ranked by the joints' own scores: right joints of assigned estimates are
hits, all other estimated joints false alarms. AP is the whole area under the monotone precision/recall curve
(no grid of recalls), mAP the mean over joint groups.

Unlike COCO's AP there is one tolerance, no score for the whole person is needed, and missing joints may be
left out (NaN).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.errors import CourseError, unknown_name
from course_lib.metrics.marks import (
    check_scenes,
    distances,
    exact,
    labelled_joints,
    mean_or_none,
    stack,
    within,
)
from course_lib.metrics.pck import HEAD_SCALE, head_size
from course_lib.pose import Person, Pose, Scene
from course_lib.skeletons import Skeleton, get

HEAD_GROUP = ("head_top", "neck", "nose")
NO_GROUP = ("pelvis", "thorax", "left_eye", "right_eye", "left_ear", "right_ear")
EXTRA_JOINTS = ("ignored", "false_alarm")


@dataclass
class JointAnswers:
    """Every estimated joint that counts, over all pictures. K joint types."""

    names: tuple[str, ...]
    right: list[Tensor]  # K tensors (M_k,) bool
    scores: list[Tensor]  # K tensors (M_k,)
    labelled: Tensor  # (K,) how many true joints there are to find

    @property
    def ap(self) -> dict[str, float | None]:
        """AP of every joint type; None where there is none to find."""
        rows = zip(self.names, self.right, self.scores, self.labelled.tolist(), strict=True)
        return {name: all_point_ap(right, scores, count) for name, right, scores, count in rows}


def all_point_ap(right: Tensor, scores: Tensor, positives: int) -> float | None:
    """Area under the precision/recall curve of answers right (M,), scores (M,): VOC's rule since 2010.

    Precision is first made monotone from the right; then AP = sum over hits of precision / positives. Equal
    scores keep their order. None if there is nothing to find, 0 if nothing was found.
    """
    if not positives:
        return None
    right = torch.as_tensor(right, dtype=torch.bool)[torch.argsort(exact(scores), descending=True, stable=True)]
    precision = right.double().cumsum(0) / torch.arange(1, len(right) + 1)
    if not len(right):
        return 0.0
    monotone = precision.flip(0).cummax(0).values.flip(0)
    return float(monotone[right].sum()) / positives


def joint_groups(skeleton: str | Skeleton) -> dict[str, tuple[str, ...]]:
    """Which joints share a column: PoseTrack's head is head top, neck and nose; left and right go together.

    Pelvis, thorax, eyes and ears have no column.
    """
    groups: dict[str, list[str]] = {}
    for joint in get(skeleton).joints:
        if joint not in NO_GROUP:
            bare = joint.removeprefix("left_").removeprefix("right_")
            groups.setdefault("head" if joint in HEAD_GROUP else bare, []).append(joint)
    return {name: tuple(joints) for name, joints in groups.items()}


def assign(right: Tensor, labelled: Tensor) -> Tensor:
    """Person of every estimate (P,), -1 for none, from right (P, G, K) and labelled (G, K).

    The share of a person's labelled joints decides; a share of zero is no match; the first of equals is
    taken.
    """
    share = right.double().sum(-1) / labelled.sum(-1).clamp(min=1)  # (P, G)
    person = torch.full(share.shape[:1], -1)
    if not share.numel():
        return person
    best, wish = share.max(1)
    for g in range(share.shape[1]):
        rivals = torch.where(wish == g, best, 0.0)
        if rivals.max() > 0:
            person[rivals.argmax()] = g
    return person


def pckh_answers(
    poses: Sequence[Sequence[Pose]],
    scenes: Sequence[Scene],
    alpha: float = 0.5,
    scale: float = HEAD_SCALE,
    comparison: str = "<=",
    extra_joints: str = "ignored",
) -> JointAnswers | None:
    """Hits and false alarms of all estimated joints. None where there is nobody, neither true nor estimated.

    Estimates that lie wholly inside an ignore region are removed first: the box of a crowd, of an ignored
    person, or of one without a head rectangle. extra_joints: what an assigned estimate's joint is where its
    person has none labelled; "ignored" (the course's rule: unlabelled joints never count) or "false_alarm".
    """
    if extra_joints not in EXTRA_JOINTS:
        raise unknown_name("rule for extra joints", extra_joints, EXTRA_JOINTS)
    skeleton = check_scenes(poses, scenes)
    if skeleton is None:
        return None
    parts = []
    for found, scene in zip(poses, scenes, strict=True):
        people = [who for who in scene.people if _can_be_scored(who)]
        regions = [who.box for who in scene.people if not _can_be_scored(who) and who.box is not None]
        found = [pose for pose in found if not _inside(pose, regions)]
        parts.append(_picture(found, people, skeleton, alpha, scale, comparison, extra_joints == "ignored"))
    each = list(zip(*parts, strict=True))  # right, scores and counted, each (P, K) a picture; labelled (K,)
    right, scores, counted = (torch.cat(values) for values in each[:3])
    columns = range(len(skeleton))
    return JointAnswers(
        skeleton.joints,
        [right[counted[:, k], k] for k in columns],
        [scores[counted[:, k], k] for k in columns],
        torch.stack(each[3]).sum(0),
    )


def pckh_map(poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene], **conventions) -> dict[str, float | None]:
    """AP of every joint group, and "mAP", their mean; None, and not in the mean, where nobody has the joints.

    poses[i] are the people estimated in scenes[i]; joints are ranked by `Pose.scores`. Options as in
    `pckh_answers`.
    """
    answers = pckh_answers(poses, scenes, **conventions)
    if answers is None:
        return {"mAP": None}
    skeleton = check_scenes(poses, scenes)
    each = answers.ap
    table = {name: mean_or_none(each[joint] for joint in joints) for name, joints in joint_groups(skeleton).items()}
    return table | {"mAP": mean_or_none(table.values())}


def _picture(
    found: list[Pose],
    people: list[Person],
    skeleton: Skeleton,
    alpha: float,
    scale: float,
    comparison: str,
    ignore_extra: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """right, scores and counted (P, K) of the estimates in one picture, and how many joints are labelled (K,)."""
    joints = len(skeleton)
    estimated = stack([pose.joints for pose in found], (joints, 2))
    scores = stack([pose.scores for pose in found], (joints,))
    true = stack([who.joints for who in people], (joints, 2))
    labelled = labelled_joints(true, stack([who.visible for who in people], (joints,)))
    size = head_size(stack([who.head_box for who in people], (4,)), scale)
    errors = distances(estimated[:, None], true[None]) / size[None, :, None]  # (P, G, K)
    right = within(errors, alpha, comparison) & labelled[None]
    person = assign(right, labelled)
    assigned = (person >= 0)[:, None]
    counted = estimated.isfinite().all(-1)
    if not bool(scores[counted].isfinite().all()):
        raise CourseError("an estimated joint has a score that is not finite and cannot be ranked")
    if people:
        right = right[torch.arange(len(found)), person] & assigned
        if ignore_extra:
            counted &= labelled[person] | ~assigned
    else:
        right = torch.zeros(len(found), joints, dtype=torch.bool)
    return right, scores, counted, labelled.sum(0)


def _can_be_scored(person: Person) -> bool:
    known = person.head_box is not None and bool(head_size(person.head_box) > 0)
    return known and not person.crowd and not person.ignore


def _inside(pose: Pose, regions: list[Tensor]) -> bool:
    joints = exact(pose.joints)
    joints = joints[joints.isfinite().all(-1)]
    return any(bool(((joints >= exact(box)[:2]) & (joints <= exact(box)[2:])).all()) for box in regions)
