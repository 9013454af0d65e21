"""A body: bones with human proportions, joints that bend as far as joints do, and forward kinematics.

P people. The body frame is x to the person's own left, y up, z to the front, in metres. A posture is 24 angles in
degrees (`ANGLES`); `LIMITS` says how far each one goes. All of this runs in float64: the tensors are tiny, and the
truth of a benchmark must not depend on how a processor rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.datasets.synthetic.draw import Draw

_SIDED = ("arm_out", "arm_up", "arm_twist", "elbow", "leg_out", "leg_up", "leg_twist", "knee", "ankle")
ANGLES = (
    *("bend", "lean", "turn", "nod", "tilt", "look"),
    *(f"left_{name}" for name in _SIDED),
    *(f"right_{name}" for name in _SIDED),
)
_SIDED_LIMITS = {
    "arm_out": (-20, 165),
    "arm_up": (-50, 170),
    "arm_twist": (-80, 80),
    "elbow": (0, 145),
    "leg_out": (-15, 60),
    "leg_up": (-25, 120),
    "leg_twist": (-30, 35),
    "knee": (0, 140),
    "ankle": (-35, 25),
}
_TRUNK_LIMITS = {
    "bend": (-20, 70),
    "lean": (-28, 28),
    "turn": (-40, 40),
    "nod": (-35, 45),
    "tilt": (-30, 30),
    "look": (-65, 65),
}
LIMITS = torch.tensor(
    [_TRUNK_LIMITS.get(name) or _SIDED_LIMITS[name.split("_", 1)[1]] for name in ANGLES], dtype=torch.float64
)

# The joints the world knows; every skeleton of the course is a selection of these (world.py).
_LIMB_JOINTS = ("shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "toe")
JOINTS = (
    *("pelvis", "thorax", "neck", "head", "head_top", "nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    *(f"left_{name}" for name in _LIMB_JOINTS),
    *(f"right_{name}" for name in _LIMB_JOINTS),
)
JOINT = {name: index for index, name in enumerate(JOINTS)}

# How deep under the skin a joint lies, in units of body height: the tolerance of the visibility test.
_DEPTH = {"pelvis": 0.07, "thorax": 0.06, "neck": 0.045, "head": 0.055, "head_top": 0.03, "hip": 0.065}
_DEPTH |= {"shoulder": 0.045, "knee": 0.034, "elbow": 0.026, "ankle": 0.026, "nose": 0.02, "eye": 0.012}
_DEPTH |= {"ear": 0.016, "wrist": 0.02, "hand": 0.02, "toe": 0.024}
JOINT_DEPTH = torch.tensor(
    [_DEPTH[name.removeprefix("left_").removeprefix("right_")] for name in JOINTS], dtype=torch.float64
)

# Bone lengths in units of body height (adult means of anthropometric tables, rounded); each person varies around them.
_BONES = {
    "shin": 0.246,
    "thigh": 0.245,
    "trunk": 0.285,
    "neck": 0.055,
    "head": 0.125,
    "shoulders": 0.112,
    "hips": 0.057,
    "upper_arm": 0.178,
    "forearm": 0.148,
    "hand": 0.065,
    "foot": 0.115,
}


@dataclass
class Proportions:
    """What a body measures."""

    height: Tensor  # (P,) metres
    bones: dict[str, Tensor]  # (P,) metres each
    build: Tensor  # (P,) thickness of the flesh, 1 on average


def draw_proportions(draw: Draw, count: int) -> Proportions:
    """People from slight to stout, from children to the tall."""
    height = draw.normal((count,), 1.68, 0.1).clamp(1.4, 2.0)
    child = draw.chance((count,), 0.1)
    height = torch.where(child, draw.uniform((count,), 1.0, 1.4), height)
    spread = draw.normal((count, len(_BONES)), 1.0, 0.05).clamp(0.88, 1.12)
    bones = {name: size * height * spread[:, i] for i, (name, size) in enumerate(_BONES.items())}
    # children's heads are a larger part of them
    bones["head"] = bones["head"] * torch.where(child, 1.3, 1.0)
    return Proportions(height, bones, draw.normal((count,), 1.05, 0.13).clamp(0.8, 1.5))


def turn_x(degrees: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) about x; a positive angle takes y to z."""
    return _turn(degrees, 1, 2)


def turn_y(degrees: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) about y; a positive angle takes z to x."""
    return _turn(degrees, 2, 0)


def turn_z(degrees: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) about z; a positive angle takes x to y."""
    return _turn(degrees, 0, 1)


def _turn(degrees: Tensor, first: int, second: int) -> Tensor:
    cos, sin = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    matrix = torch.eye(3, dtype=degrees.dtype).expand(*degrees.shape, 3, 3).clone()
    matrix[..., first, first] = matrix[..., second, second] = cos
    matrix[..., first, second], matrix[..., second, first] = -sin, sin
    return matrix


@dataclass
class Posed:
    """A body in a posture, in the frame its root was given in."""

    joints: Tensor  # (P, 26, 3)
    frames: dict[str, Tensor]  # (P, 3, 3) each: columns are left, up and front of that part


def pose_body(body: Proportions, angles: Tensor, root: Tensor) -> Posed:
    """Forward kinematics: angles (P, 24) degrees and root (P, 3, 3) to joints, with the pelvis at the origin."""
    angle = dict(zip(ANGLES, angles.clamp(LIMITS[:, 0], LIMITS[:, 1]).unbind(-1), strict=True))
    bone, at, frame = body.bones, {}, {"pelvis": root}
    zero = torch.zeros_like(body.height)

    def go(start: Tensor, rotation: Tensor, left=zero, up=zero, front=zero) -> Tensor:
        return start + (rotation @ torch.stack([left, up, front], -1)[..., None])[..., 0]

    at["pelvis"] = root.new_zeros(len(root), 3)
    chest = frame["chest"] = root @ turn_y(angle["turn"]) @ turn_z(angle["lean"]) @ turn_x(angle["bend"])
    at["thorax"] = go(at["pelvis"], chest, up=bone["trunk"])
    half_nod = chest @ turn_x(angle["nod"] / 2)
    at["neck"] = go(at["thorax"], half_nod, up=bone["neck"])
    head = chest @ turn_y(angle["look"]) @ turn_z(angle["tilt"]) @ turn_x(angle["nod"])
    frame["head"], size = head, bone["head"]
    at["head"] = go(at["neck"], head, up=size * 0.5, front=size * 0.12)
    at["head_top"] = go(at["neck"], head, up=size)
    at["nose"] = go(at["head"], head, up=-size * 0.06, front=size * 0.52)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        at[f"{side}_eye"] = go(at["head"], head, sign * size * 0.16, size * 0.06, size * 0.43)
        at[f"{side}_ear"] = go(at["head"], head, sign * size * 0.45, zero, -size * 0.03)
        at[f"{side}_shoulder"] = go(at["thorax"], chest, sign * bone["shoulders"], -bone["neck"] * 0.35)
        at[f"{side}_hip"] = go(at["pelvis"], root, sign * bone["hips"], -bone["hips"] * 0.15)
        pull = {name: angle[f"{side}_{name}"] for name in _SIDED}

        arm = chest @ turn_z(sign * pull["arm_out"]) @ turn_x(-pull["arm_up"]) @ turn_y(-sign * pull["arm_twist"])
        forearm = arm @ turn_x(-pull["elbow"])
        at[f"{side}_elbow"] = go(at[f"{side}_shoulder"], arm, up=-bone["upper_arm"])
        at[f"{side}_wrist"] = go(at[f"{side}_elbow"], forearm, up=-bone["forearm"])
        at[f"{side}_hand"] = go(at[f"{side}_wrist"], forearm, up=-bone["hand"])

        thigh = root @ turn_z(sign * pull["leg_out"]) @ turn_x(-pull["leg_up"]) @ turn_y(sign * pull["leg_twist"])
        shin = thigh @ turn_x(pull["knee"])
        foot = shin @ turn_x(-pull["ankle"])
        at[f"{side}_knee"] = go(at[f"{side}_hip"], thigh, up=-bone["thigh"])
        at[f"{side}_ankle"] = go(at[f"{side}_knee"], shin, up=-bone["shin"])
        at[f"{side}_toe"] = go(at[f"{side}_ankle"], foot, up=-bone["foot"] * 0.22, front=bone["foot"])
        for name, value in (("arm", arm), ("forearm", forearm), ("thigh", thigh), ("shin", shin), ("foot", foot)):
            frame[f"{side}_{name}"] = value
    return Posed(torch.stack([at[name] for name in JOINTS], 1), frame)
