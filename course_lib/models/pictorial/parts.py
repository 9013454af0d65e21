"""What a body is cut into: ten parts in a tree for a whole body, the limbs of any other skeleton, and their states.

A part is a stick between two ends. Its frame has its origin in the stick's middle and its first axis from the first
end, the one nearer to the trunk, to the second; a state is where the origin lies, how far the frame is turned, and how
long the stick is in units of its usual length. The torso stands upright: its stick runs from the hips to the shoulders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.errors import CourseError
from course_lib.skeletons import Skeleton

TRUNK = {"shoulder": ("shoulder", "elbow", "wrist"), "hip": ("hip", "knee", "ankle")}  # and what hangs on its ends
KAPPA = (0.05, 200.0)  # between knowing nothing of an angle and knowing it to 4 degrees


@dataclass(frozen=True)
class Parts:
    """P parts of a skeleton, the root first."""

    names: tuple[str, ...]
    ends: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]  # joints whose mean is the first end, and the second
    parents: tuple[int, ...]  # -1 for the root
    owners: tuple[tuple[int, ...], ...]  # for every joint the parts it is an end of; the root where it is none's

    def __len__(self) -> int:
        return len(self.names)


class States(NamedTuple):
    """Where the parts of N people are, in pixels, radians and units of their usual length. Nothing is rounded."""

    centre: Tensor  # (N, P, 2)
    angle: Tensor  # (N, P)
    length: Tensor  # (N, P) pixels
    known: Tensor  # (N, P) bool: both ends are labelled, and apart


def of(skeleton: Skeleton) -> Parts:
    """The torso and the sticks that PCP scores, where a skeleton has a trunk; else its limbs, the first as the root.

    A part hangs on the one that ends where it begins, else on one that begins there too, else on the root.
    """
    sticks = skeleton.sticks()
    if not any(name == "torso" for name, *_ in sticks):
        sticks = [(f"{skeleton.joints[a]}-{skeleton.joints[b]}", (a,), (b,)) for a, b in skeleton.limbs]
    if not sticks:
        raise CourseError(f"skeleton '{skeleton.name}' has no limbs, so it cannot be cut into parts")
    names = tuple(name.replace("_", " ") for name, *_ in sticks)
    ends = tuple((first, second) for _, first, second in sticks)
    parents = [-1]
    for own, (first, _) in enumerate(ends[1:], start=1):
        follows = [p for p, (_, second) in enumerate(ends) if second == first and p != own]
        shares = [p for p, (start, _) in enumerate(ends[:own]) if start == first]
        parents.append((follows or shares or [0])[0])
    owners = tuple(
        tuple(p for p, pair in enumerate(ends) if k in (*pair[0], *pair[1])) or (0,) for k in range(len(skeleton))
    )
    return Parts(names, ends, tuple(parents), owners)


def states(joints: Tensor, visible: Tensor, parts: Parts) -> States:
    """joints (N, K, 2), visible (N, K) -> where every part is."""
    first = torch.stack([joints[:, list(a)].mean(1) for a, _ in parts.ends], dim=1)  # (N, P, 2)
    second = torch.stack([joints[:, list(b)].mean(1) for _, b in parts.ends], dim=1)
    labelled = torch.stack([(visible[:, [*a, *b]] > 0).all(1) for a, b in parts.ends], dim=1)
    along = second - first
    length = along.norm(dim=-1)
    known = labelled & (length > 0) & length.isfinite()
    return States((first + second) / 2, torch.atan2(along[..., 1], along[..., 0]), length, known)


def as_observed(joints: Tensor, visible: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """Joints (N, K, 2) and visible (N, K) with left and right named as if everybody showed us the front.

    Gradients cannot tell a chest from a back, and a person's own right arm is then on either side. So the classical
    systems learned, and were scored, "observer-centric": right is what would be right if the person faced us. Arms are
    exchanged by the order of the shoulders, legs by that of the hips, seen along the trunk; where one of the four is
    not labelled, sides stay as they are.
    """
    if not all(f"{side}_{joint}" in skeleton.joints for side in ("left", "right") for joint in TRUNK):
        return joints, visible
    at = {name: joints[:, k] for k, name in enumerate(skeleton.joints)}
    up = at["left_shoulder"] + at["right_shoulder"] - at["left_hip"] - at["right_hip"]
    told = torch.stack([visible[:, skeleton.index(f"{side}_{end}")] > 0 for side in ("left", "right") for end in TRUNK])
    order = torch.arange(len(skeleton), device=joints.device).repeat(len(joints), 1)
    for pair, words in TRUNK.items():
        across = at[f"left_{pair}"] - at[f"right_{pair}"]
        behind = (up[:, 0] * across[:, 1] - up[:, 1] * across[:, 0] < 0) & told.all(0)
        for k, name in enumerate(skeleton.joints):
            if name.split("_")[-1] in words:
                order[behind, k] = skeleton.swaps[k]
    return joints.gather(1, order[..., None].expand_as(joints)), visible.gather(1, order)


def into_frame(points: Tensor, centre: Tensor, angle: Tensor, scale: Tensor) -> Tensor:
    """Points (..., 2) of the picture in the frame of a part, at its usual length."""
    apart = points - centre
    cos, sin = torch.cos(angle), torch.sin(angle)
    turned = torch.stack([cos * apart[..., 0] + sin * apart[..., 1], cos * apart[..., 1] - sin * apart[..., 0]], -1)
    return turned / scale[..., None]


def out_of_frame(points: Tensor, centre: Tensor, angle: Tensor, scale: Tensor) -> Tensor:
    """Points (..., 2) of a part's frame in the picture: the inverse of `into_frame`."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    turned = torch.stack([cos * points[..., 0] - sin * points[..., 1], sin * points[..., 0] + cos * points[..., 1]], -1)
    return centre + scale[..., None] * turned


def wrapped(angle: Tensor) -> Tensor:
    """The same angles in [-pi, pi)."""
    return (angle + math.pi).remainder(2 * math.pi) - math.pi


def resultant(kappa: Tensor) -> Tensor:
    """How long the mean direction vector of von Mises angles is, I1(kappa) / I0(kappa): 0 to 1."""
    return torch.special.i1e(kappa) / torch.special.i0e(kappa)


def concentration(length: Tensor) -> Tensor:
    """The kappa at which the mean direction vector has this length: the inverse of `resultant`, by bisection."""
    low, high = (torch.full_like(length, bound).log() for bound in KAPPA)
    for _ in range(40):
        middle = (low + high) / 2
        less = resultant(middle.exp()) < length
        low, high = torch.where(less, middle, low), torch.where(less, high, middle)
    return ((low + high) / 2).exp()
