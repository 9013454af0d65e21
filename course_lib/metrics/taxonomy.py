"""What kind of error a joint is (Ronchi & Perona, ICCV 2017): good, jitter, inversion, swap or miss.

An estimate is compared with every true joint it might have meant, by the keypoint similarity

    ks = exp( -d^2 / (2 area (2 sigma)^2) ),    area and sigma those of the person and the joint it is compared with

    own     the joint of the person it was matched with
    mirror  that person's joint of the other side; a joint in the middle of the body has none
    other   joint and mirror of everybody else in the picture

and the largest of the three decides:

    good       own, ks >= 0.85        right
    jitter     own, 0.5 <= ks < 0.85  the right joint, not precisely
    inversion  mirror, ks >= 0.5      left and right exchanged within a body
    swap       other, ks >= 0.5       somebody else's joint
    miss       ks < 0.5               near nothing it could have meant

Every labelled joint of a matched person falls in exactly one class. At the two limits we decide: 0.85 is good, 0.5 is
near enough (in the authors' code 0.85 itself falls in no class). Of equally large ks the own joint wins over the
mirror, and the mirror over others, as there. Joints that are not labelled are compared with nobody.

Who was matched with whom is settled first, and loosely, at OKS >= 0.1: an estimate that matches nobody is a *background
false positive*, a person whom nobody matches a *negative*. Where a model is told whom to estimate, nothing is matched.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from course_lib.errors import CourseError, unknown_name
from course_lib.metrics.ap import COCO_MAX_ESTIMATES, Truths
from course_lib.metrics.keypoint_ap import truths_of
from course_lib.metrics.marks import check_scenes, exact, labelled_joints, stack
from course_lib.metrics.oks import TINY, Sigmas, oks_matrix, sigmas_of
from course_lib.pose import Pose, Scene
from course_lib.skeletons import Skeleton, get

CLASSES = ("good", "jitter", "inversion", "swap", "miss")
GOOD, JITTER, INVERSION, SWAP, MISS = range(len(CLASSES))
UNCLASSED = -1  # of a joint that is not labelled
GOOD_FROM, NEAR_FROM, MATCHED_FROM = 0.85, 0.5, 0.1


def keypoint_similarity(estimated: Tensor, true: Tensor, area: Tensor | float, sigmas: Sigmas = "coco") -> Tensor:
    """ks (..., K) of estimated and true (..., K, 2), area (...), all broadcast. 0 where one is not finite."""
    distance2 = (exact(estimated) - exact(true)).square().sum(-1)
    alike = torch.exp(-distance2 / (2 * (2 * sigmas_of(sigmas)) ** 2 * (exact(area)[..., None] + TINY)))
    return alike.nan_to_num(nan=0.0)


def joint_classes(
    estimated: Tensor,
    true: Tensor,
    visible: Tensor,
    area: Tensor | float,
    skeleton: str | Skeleton = "coco",
    others: Tensor | None = None,
    others_visible: Tensor | None = None,
    others_area: Tensor | None = None,
    sigmas: Sigmas | None = None,
) -> Tensor:
    """The class (M, K) of every joint of M matched people, an index into `CLASSES`; -1 where it is not labelled.

    estimated and true (M, K, 2), visible (M, K), area (M,) or one for all. Everybody else in each one's picture:
    others (M, P, K, 2), others_visible (M, P, K), by default all visible, others_area (M, P), by default `area`.
    Where there are fewer than P, their joints are unlabelled. sigmas: the skeleton's own unless given.
    """
    skeleton = get(skeleton)
    estimated, true = exact(estimated), exact(true)
    count, joints = len(estimated), len(skeleton)
    others = exact(true.new_zeros(count, 0, joints, 2) if others is None else others)
    others_visible = torch.ones(others.shape[:-1]) if others_visible is None else torch.as_tensor(others_visible)
    people = others.shape[1] if others.ndim == 4 else -1
    shapes = [tuple(part.shape) for part in (estimated, true, torch.as_tensor(visible), others, others_visible)]
    right = [(count, joints, 2), (count, joints, 2), (count, joints)]
    if shapes != [*right, (count, people, joints, 2), (count, people, joints)]:
        raise CourseError(
            f"the classes of people with skeleton '{skeleton.name}' need estimated and true joints (M, {joints}, 2), "
            f"visible (M, {joints}), others (M, P, {joints}, 2) and others_visible (M, P, {joints}); got "
            + ", ".join(map(str, shapes))
        )
    area = _areas(area, (count,))
    others_area = area[:, None].expand(count, people) if others_area is None else _areas(others_area, (count, people))
    spread = sigmas_of(skeleton if sigmas is None else sigmas)
    swaps = list(skeleton.swaps)

    own_labels, other_labels = labelled_joints(true, visible), labelled_joints(others, others_visible)
    own = keypoint_similarity(estimated, true, area, spread)  # (M, K)
    sided = torch.tensor(swaps) != torch.arange(joints)
    mirror = _where_known(keypoint_similarity(estimated, true[:, swaps], area, spread), own_labels[:, swaps] & sided)
    either = [
        _where_known(keypoint_similarity(estimated[:, None], others[:, :, way], others_area, spread), labels)
        for way, labels in ((slice(None), other_labels), (swaps, other_labels[:, :, swaps]))
    ]
    other = torch.cat([*either, own.new_full((count, 1, joints), -1.0)], 1).amax(1)
    largest, who = torch.stack([own, mirror, other]).max(0)  # of equals the first: own, mirror, other
    classes = torch.tensor([GOOD, INVERSION, SWAP])[who]
    classes[(who == 0) & (largest < GOOD_FROM)] = JITTER
    classes[largest < NEAR_FROM] = MISS
    classes[~own_labels] = UNCLASSED
    return classes


def _areas(area: Tensor | float, shape: tuple[int, ...]) -> Tensor:
    area = exact(area)
    if area.ndim and area.shape != shape:
        raise CourseError(f"areas must be one number or have the shape {shape}; got {tuple(area.shape)}")
    if not bool((area >= 0).all()):
        raise CourseError("a person's area must be 0 or more")
    return area.expand(shape)


def _where_known(similarity: Tensor, known: Tensor) -> Tensor:
    return torch.where(known, similarity, -1.0)


# --- of a whole set of pictures ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Diagnosis:
    """What became of everybody: M people that were matched with an estimate, and who was not."""

    classes: Tensor  # (M, K) index into CLASSES, -1 where unlabelled
    oks: Tensor  # (M,) of estimate and person
    picture: Tensor  # (M,)
    person: Tensor  # (M,) place among its picture's people
    estimate: Tensor  # (M,) place among its picture's poses
    negatives: tuple[tuple[int, int], ...]  # (picture, person) of the labelled people whom nobody matches
    false_positives: tuple[tuple[int, int], ...]  # (picture, estimate) of the poses that match nobody

    @property
    def counts(self) -> Tensor:
        """How many joints of every class each matched person has (M, 5)."""
        return torch.nn.functional.one_hot(self.classes + 1, len(CLASSES) + 1)[..., 1:].sum(1)

    @property
    def totals(self) -> dict[str, int]:
        """How many joints there are of every class."""
        return dict(zip(CLASSES, self.counts.sum(0).tolist(), strict=True))


def diagnose(poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene], told: bool = False) -> Diagnosis:
    """The errors of poses[i], estimated in scenes[i].

    told: every picture has one pose, and it is meant for the first of the people; nothing is matched. Otherwise the
    best of the 20 best poses takes the person most like it first, if OKS >= 0.1, then the next of those who are left,
    as in COCO's AP. People who do not count there (crowds, ignored, without labels) are not matched, and who takes one
    of them is not called a false positive; their labelled joints can be swapped with.
    """
    skeleton = check_scenes(poses, scenes)
    if told and not all(len(found) == 1 and scene.people for found, scene in zip(poses, scenes, strict=True)):
        raise CourseError("where a model is told whom to estimate, every picture needs one pose, and somebody in it")
    if skeleton is None:
        nobody = torch.zeros(0, dtype=torch.long)
        return Diagnosis(nobody.reshape(0, 1), nobody.double(), nobody, nobody, nobody, (), ())
    people = [truths_of([(i, person) for person in scene.people], len(skeleton)) for i, scene in enumerate(scenes)]
    rows, negatives, alarms = [], [], []
    for i, (found, truths) in enumerate(zip(poses, people, strict=True)):
        alike = _alike(found, truths, skeleton)
        pairs, surplus = ([(0, 0)], []) if told else _matched(found, truths, alike)
        rows += [(i, person, pose, float(alike[pose, person])) for pose, person in pairs]
        met = {person for _, person in pairs}
        if not told:
            negatives += [(i, g) for g in np.flatnonzero(~truths.ignored).tolist() if g not in met]
        alarms += [(i, d) for d in surplus]
    classes = _classes_of(rows, poses, people, skeleton)
    picture, person, pose, alike = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], [])
    index = [torch.tensor(values, dtype=torch.long) for values in (picture, person, pose)]
    return Diagnosis(classes, exact(alike), *index, tuple(negatives), tuple(alarms))


def _alike(found: Sequence[Pose], truths: Truths, skeleton: Skeleton) -> np.ndarray:
    """OKS (D, G) of a picture's poses and people."""
    joints = stack([pose.joints for pose in found], (len(skeleton), 2))
    parts = (torch.from_numpy(part) for part in (truths.joints, truths.labelled, truths.area))
    return oks_matrix(joints, *parts, skeleton, torch.from_numpy(truths.box)).numpy()


def _matched(found: Sequence[Pose], truths: Truths, alike: np.ndarray) -> tuple[list[tuple[int, int]], list[int]]:
    """(estimate, person) of those that match, and the estimates that match nobody; the best first."""
    best = np.argsort([-float(pose.score) for pose in found], kind="stable")[:COCO_MAX_ESTIMATES].tolist()
    free, pairs, surplus = np.ones(len(truths.area), dtype=bool), [], []
    for pose in best:
        near = (alike[pose] >= MATCHED_FROM) & (free | truths.crowd)
        near = near & ~truths.ignored if (near & ~truths.ignored).any() else near
        if not near.any():
            surplus.append(pose)
            continue
        # of equals the last one, as COCO's protocol has it
        person = len(near) - 1 - int(np.where(near, alike[pose], -1.0)[::-1].argmax())
        free[person] = False
        if not truths.ignored[person]:
            pairs.append((pose, person))
    return pairs, surplus


def _classes_of(
    rows: Sequence[tuple[int, int, int, float]],
    poses: Sequence[Sequence[Pose]],
    people: Sequence[Truths],
    skeleton: Skeleton,
) -> Tensor:
    """The classes (M, K) of the matches (picture, person, estimate, OKS)."""
    room, joints = max((len(one.area) for one in people), default=0), len(skeleton)
    others, labels = np.zeros((len(rows), room, joints, 2)), np.zeros((len(rows), room, joints), dtype=bool)
    areas = np.ones((len(rows), room))
    for row, (picture, person, *_) in enumerate(rows):
        truths = people[picture]
        there = np.arange(len(truths.area)) != person
        count = int(there.sum())
        others[row, :count], labels[row, :count] = truths.joints[there], truths.labelled[there]
        areas[row, :count] = truths.area[there]
    estimated = stack([poses[i][d].joints for i, _, d, _ in rows], (joints, 2))
    own = [[getattr(people[i], name)[g] for i, g, *_ in rows] for name in ("joints", "labelled", "area")]
    true, labelled, area = (torch.from_numpy(np.array(part)) for part in own)
    if not rows:
        return torch.zeros(0, joints, dtype=torch.long)
    more = (torch.from_numpy(part) for part in (others, labels, areas))
    return joint_classes(estimated, true, labelled, area, skeleton, *more)


def corrected(
    poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene], found: Diagnosis, kinds: Collection[str]
) -> list[list[Pose]]:
    """The same poses with the joints of these classes at their true places: what would be if they were right.

    (The authors' tool moves them to the limit of the class, with a factor of 2 forgotten: ks = 0.84 for 0.5.)
    """
    for kind in kinds:
        if kind not in CLASSES:
            raise unknown_name("class of errors", kind, CLASSES)
    wanted = torch.isin(found.classes, torch.tensor([CLASSES.index(kind) for kind in kinds], dtype=torch.long))
    made = [list(own) for own in poses]
    for row, picture, person, pose in zip(wanted, found.picture, found.person, found.estimate, strict=True):
        if row.any():
            old, true = made[picture][pose], scenes[picture].people[person].joints
            made[picture][pose] = old.moved(torch.where(row[:, None], true.to(old.joints), old.joints))
    return made


def rescored(poses: Sequence[Sequence[Pose]], found: Diagnosis) -> list[list[Pose]]:
    """The same poses, ranked perfectly: everyone's score is its OKS with the person it was matched with, else 0."""
    made = [[replace(pose, score=0.0) for pose in own] for own in poses]
    for alike, picture, pose in zip(found.oks.tolist(), found.picture, found.estimate, strict=True):
        made[picture][pose] = replace(made[picture][pose], score=alike)
    return made
