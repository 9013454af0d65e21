"""Which joints a person has: names, limbs, left/right swaps, OKS sigmas, torso and head references.

Four layouts cover the course: LSP-14, MPII-16, COCO-17 and OpenPose's BODY-18. Two more belong to a data set each:
FLIC's 11 joints of the upper body and J-HMDB's 15 of a puppet. "Left" and "right" are always the person's own.
`Skeleton.swaps` is a permutation: after a picture is mirrored, joint k of the mirrored person is what used to be joint
`swaps[k]`.

    >>> skeleton = get("lsp")
    >>> len(skeleton), skeleton.joints[skeleton.swaps[0]]
    (14, 'left_ankle')
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from course_lib.errors import CourseError, unknown_name


@dataclass(frozen=True)
class Skeleton:
    """A list of joints and what connects them. K joints, L limbs."""

    name: str
    joints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]  # sticks to draw, parent first
    sigmas: tuple[float, ...]  # OKS: one human standard deviation, in units of sqrt(area)
    torso: tuple[str, str]  # the two joints whose distance is the torso size in PCK and PDJ
    head: tuple[str, str] | None  # bottom and top of the head, where the layout has both
    pcp: tuple[tuple[str, str], ...] = ()  # sticks scored by PCP, besides the torso
    swaps: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "swaps", tuple(self.index(mirror_name(joint)) for joint in self.joints))

    def __len__(self) -> int:
        return len(self.joints)

    def __repr__(self) -> str:
        return f"Skeleton({self.name!r}, {len(self)} joints)"

    def index(self, joint: str) -> int:
        """Position of a joint by name, with the nearest name suggested where there is none."""
        if joint not in self.joints:
            raise unknown_name(f"joint in skeleton '{self.name}'", joint, self.joints)
        return self.joints.index(joint)

    def side(self, index: int) -> str:
        """'left', 'right' or 'middle', the person's own."""
        first = self.joints[index].split("_")[0]
        return first if first in ("left", "right") else "middle"

    def sticks(self) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
        """The sticks of a body: name, the joints whose mean is the first end, those whose mean is the second.

        A torso from the hips to the shoulders, where the layout has these four, then the sticks of `pcp`.
        """
        found = []
        if all(joint in self.joints for end in _TORSO for joint in end):
            found.append(("torso", *(tuple(self.index(joint) for joint in end) for end in _TORSO)))
        for first, second in self.pcp:
            bare = tuple(joint.removeprefix("left_").removeprefix("right_") for joint in (first, second))
            side = first[: len(first) - len(bare[0])]
            name = side + _STICKS[bare] if bare in _STICKS else f"{first}-{second}"
            found.append((name, (self.index(first),), (self.index(second),)))
        return found


_STICKS = {
    ("shoulder", "elbow"): "upper_arm",
    ("elbow", "wrist"): "forearm",
    ("hip", "knee"): "upper_leg",
    ("knee", "ankle"): "lower_leg",
    ("neck", "head_top"): "head",
}
_TORSO = (("left_hip", "right_hip"), ("left_shoulder", "right_shoulder"))


def mirror_name(joint: str) -> str:
    """The joint's name on the other side of the body."""
    for here, there in (("left_", "right_"), ("right_", "left_")):
        if joint.startswith(here):
            return there + joint.removeprefix(here)
    return joint


_COCO_SIGMA = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
}
# COCO measured 17 sigmas and no others. For the joints it lacks these are conventions of later toolkits, not
# measurements: neck and head top 0.079 is CrowdPose's, MPII's four middle joints are a library's.
_OTHER_SIGMA = {"neck": 0.079, "head_top": 0.079}
_MPII_MIDDLE_SIGMA = {"pelvis": 0.026, "thorax": 0.026, "neck": 0.026, "head_top": 0.026}
# J-HMDB is scored by PCK, so nobody needed these: the course takes the neck's for the face and the hip's for the belly
_JHMDB_MIDDLE_SIGMA = {"neck": 0.079, "face": 0.079, "belly": 0.107}


def _sigmas(joints: tuple[str, ...], other: dict[str, float]) -> tuple[float, ...]:
    return tuple(other.get(name) or _COCO_SIGMA[name.removeprefix("left_").removeprefix("right_")] for name in joints)


def _limbs(joints: tuple[str, ...], text: str) -> tuple[tuple[int, int], ...]:
    """Reads 'neck-head_top *shoulder-*elbow': a star stands for the right and the left joint in turn."""
    limbs = []
    for pair in text.split():
        for side in ("right_", "left_") if "*" in pair else ("",):
            first, second = pair.replace("*", side).split("-")
            limbs.append((joints.index(first), joints.index(second)))
    return tuple(limbs)


_PCP_STICKS = tuple(
    (f"{side}_{first}", f"{side}_{second}")
    for first, second in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
    for side in ("right", "left")
)

_LSP_JOINTS = (
    "right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow right_shoulder "
    "left_shoulder left_elbow left_wrist neck head_top"
)
_MPII_JOINTS = (
    "right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax neck head_top right_wrist "
    "right_elbow right_shoulder left_shoulder left_elbow left_wrist"
)
_COCO_JOINTS = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist "
    "right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle"
)
_BODY18_JOINTS = (
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee "
    "right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear"
)
# The eleven of FLIC's 29 columns that are filled, in the order of the hourglass authors' code
_FLIC_JOINTS = (
    "left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist left_hip right_hip left_eye right_eye "
    "nose"
)
_JHMDB_JOINTS = (
    "neck belly face right_shoulder left_shoulder right_hip left_hip right_elbow left_elbow right_knee left_knee "
    "right_wrist left_wrist right_ankle left_ankle"
)


def _build(name: str, joints: str, limbs: str, **rest) -> Skeleton:
    names = tuple(joints.split())
    other = rest.pop("other_sigmas", _OTHER_SIGMA)
    return Skeleton(name, names, _limbs(names, limbs), _sigmas(names, other), **rest)


LSP = _build(
    "lsp",
    _LSP_JOINTS,
    "neck-head_top neck-*shoulder *shoulder-*elbow *elbow-*wrist *shoulder-*hip right_hip-left_hip *hip-*knee "
    "*knee-*ankle",
    torso=("left_shoulder", "right_hip"),
    head=("neck", "head_top"),
    pcp=(*_PCP_STICKS, ("neck", "head_top")),
)
MPII = _build(
    "mpii",
    _MPII_JOINTS,
    "pelvis-thorax thorax-neck neck-head_top neck-*shoulder *shoulder-*elbow *elbow-*wrist pelvis-*hip *hip-*knee "
    "*knee-*ankle",
    other_sigmas=_MPII_MIDDLE_SIGMA,
    torso=("left_shoulder", "right_hip"),
    head=("neck", "head_top"),
    pcp=(*_PCP_STICKS, ("neck", "head_top")),
)
COCO = _build(
    "coco",
    _COCO_JOINTS,
    "nose-*eye right_eye-left_eye *eye-*ear *ear-*shoulder right_shoulder-left_shoulder *shoulder-*elbow "
    "*elbow-*wrist *shoulder-*hip right_hip-left_hip *hip-*knee *knee-*ankle",
    torso=("left_shoulder", "right_hip"),
    head=None,
    pcp=_PCP_STICKS,
)
BODY18 = _build(
    "body18",
    _BODY18_JOINTS,
    "neck-*shoulder *shoulder-*elbow *elbow-*wrist neck-*hip *hip-*knee *knee-*ankle neck-nose nose-*eye *eye-*ear "
    "*shoulder-*ear",
    torso=("left_shoulder", "right_hip"),
    head=None,
    pcp=_PCP_STICKS,
)
FLIC = _build(
    "flic",
    _FLIC_JOINTS,
    "nose-*eye nose-*shoulder right_shoulder-left_shoulder *shoulder-*elbow *elbow-*wrist *shoulder-*hip "
    "right_hip-left_hip",
    torso=("left_hip", "right_shoulder"),  # the other diagonal than everywhere else
    head=None,
    pcp=_PCP_STICKS[:4],
)
JHMDB = _build(
    "jhmdb",
    _JHMDB_JOINTS,
    "belly-neck neck-face neck-*shoulder *shoulder-*elbow *elbow-*wrist belly-*hip *hip-*knee *knee-*ankle",
    other_sigmas=_JHMDB_MIDDLE_SIGMA,
    torso=("left_shoulder", "right_hip"),
    head=None,  # the face is the head's middle, not its top
    pcp=_PCP_STICKS,
)

_COURSE = (LSP, MPII, COCO, BODY18)
_ALL = {skeleton.name: skeleton for skeleton in (*_COURSE, FLIC, JHMDB)}


def names() -> list[str]:
    """The whole-body layouts that the course draws, teaches and trains. `get` knows "flic" and "jhmdb" as well."""
    return sorted(skeleton.name for skeleton in _COURSE)


def get(name: str | Skeleton) -> Skeleton:
    """A skeleton by name; a Skeleton passes through, so that one's own K joints work everywhere."""
    if isinstance(name, Skeleton):
        return name
    if not isinstance(name, str) or name.lower() not in _ALL:
        raise unknown_name("skeleton", name, _ALL)
    return _ALL[name.lower()]


# Joints that a layout lacks but that its neighbours define as a midpoint. OpenPose's neck is the middle of the
# shoulders; the neck of LSP and MPII sits higher, so it is never guessed from shoulders alone for those two.
_MIDPOINTS = {
    "pelvis": ("left_hip", "right_hip"),
    "thorax": ("left_shoulder", "right_shoulder"),
}


def convert(joints: Tensor, visible: Tensor, source: str | Skeleton, target: str | Skeleton) -> tuple[Tensor, Tensor]:
    """Reorders joints (..., K, D) and visible (..., K) from one layout to another, where joints allow.

    A joint the source has by name is copied. Pelvis, thorax and BODY-18's neck are made as midpoints of labelled hips
    or shoulders. All others come out unlabelled (visible 0) at the origin.
    """
    source, target = get(source), get(target)
    if joints.shape[-2] != len(source) or visible.shape[-1] != len(source):
        raise CourseError(
            f"skeleton '{source.name}' has {len(source)} joints, but joints have shape {tuple(joints.shape)} and "
            f"visible {tuple(visible.shape)}"
        )
    new_joints = joints.new_zeros(*joints.shape[:-2], len(target), joints.shape[-1])
    new_visible = visible.new_zeros(*visible.shape[:-1], len(target))
    for k, name in enumerate(target.joints):
        middle = _MIDPOINTS.get(name)
        foreign_neck = name == "neck" and (source.name == "body18") != (target.name == "body18")
        if foreign_neck and target.name == "body18":
            middle = _MIDPOINTS["thorax"]
        if name in source.joints and not foreign_neck:
            at = source.index(name)
            new_joints[..., k, :], new_visible[..., k] = joints[..., at, :], visible[..., at]
        elif middle and all(joint in source.joints for joint in middle):
            a, b = (source.index(joint) for joint in middle)
            seen = torch.minimum(visible[..., a], visible[..., b])
            centre = (joints[..., a, :] + joints[..., b, :]) / 2
            new_joints[..., k, :] = torch.where((seen > 0)[..., None], centre, torch.zeros_like(centre))
            new_visible[..., k] = seen
    return new_joints, new_visible
