"""Lesson 10: what G-RMI's network answers to crops, and how much every decision after it is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib import geometry, metrics
from course_lib.models.grmi import GRMI, Fields
from course_lib.pose import Found, Pose, Scene
from course_lib.targets import heatmaps, hough
from course_lib.targets.suppression import oks_nms

AT_ONCE = 32  # crops
RANKS = ("box", "peaks", "product")
HEAT, CELL, VOTES = "highest cell of the heatmap", "votes, highest cell", "votes, centre of mass"


@dataclass
class Boxed:
    """Everybody's crop, cut by their true box, with the network's answer; N people in all.

    matrices (N, 2, 3): picture -> crop. joints (N, K, 2) in the crop, visible (N, K), owner: (scene, person) each.
    """

    model: GRMI
    crops: Tensor
    fields: Fields
    matrices: Tensor
    joints: Tensor
    visible: Tensor
    owner: list[tuple[int, int]]

    @classmethod
    @torch.inference_mode()
    def of(cls, model: GRMI, scenes: Sequence[Scene]) -> Boxed:
        """The answers to everybody in some scenes."""
        owner = [(i, n) for i, scene in enumerate(scenes) for n in range(len(scene.people))]
        people = [scenes[i].people[n] for i, n in owner]
        cut = [geometry.crop(s.image, _boxes(s), model.input_size, model.padding) for s in scenes if s.people]
        crops, matrices = (torch.cat([one[at] for one in cut]) for at in (0, 1))
        parts = [model(some) for some in crops.split(AT_ONCE)]
        fields = Fields(*(torch.cat([getattr(part, name) for part in parts]) for name in Fields._fields))
        joints = geometry.apply(matrices, torch.stack([one.joints for one in people]).float())
        return cls(model, crops, fields, matrices, joints, torch.stack([one.visible for one in people]), owner)

    def read(self, way: str) -> tuple[Tensor, Tensor]:
        """Joints (N, K, 2) in the crops' pixels by one of three ways, and the peaks of the votes (N, K) for all."""
        heat, offsets = self.fields.logits.sigmoid(), self.fields.offsets
        joints, scores = hough.decode(heat, offsets, self.radius, reach=0 if way == CELL else 2)
        return (heatmaps.argmax(heat)[0] if way == HEAT else joints) * self.model.stride, scores

    @property
    def radius(self) -> float:
        """Of a disc, in cells."""
        return self.model.radius / self.model.stride

    def errors(self, way: str) -> Tensor:
        """How far (M,) every joint that is seen, and lies in its crop, is from the answer, in the crop's pixels."""
        return (self.read(way)[0] - self.joints).norm(dim=-1)[self.seen()]

    def seen(self) -> Tensor:
        """(N, K) bool."""
        height, width = self.model.input_size
        inside = ((self.joints > 0) & (self.joints < self.joints.new_tensor([width, height]))).all(-1)
        return inside & (self.visible == 2)

    def poses(self, way: str, pictures: int) -> list[list[Pose]]:
        """The same as poses in the pictures, ranked by the mean peak; nobody is suppressed, for nobody is a double."""
        joints, scores = self.read(way)
        joints = geometry.apply(geometry.invert(self.matrices), joints)
        found: list[list[Pose]] = [[] for _ in range(pictures)]
        for (i, _), at, sure in zip(self.owner, joints, scores, strict=True):
            found[i].append(Pose(at, sure, self.model.skeleton, float(hough.person_score(sure))))
        return found

    def arrows(self) -> Arrows:
        """How the arrows in the true discs of joints that are seen miss, in the crop's pixels."""
        stride, size = self.model.stride, self.fields.logits.shape[-2:]
        truth = hough.targets(self.joints[:, None] / stride, self.seen()[:, None], size, self.radius).discs
        picture, joint, row, column = truth.where
        miss = (self.fields.offsets[picture, joint, :, row, column] - truth.offset) * stride  # (n, 2)
        which = picture * self.joints.shape[1] + joint
        count = torch.bincount(which, minlength=self.visible.numel())
        sums = torch.zeros(len(count), 2).index_add_(0, which, miss)
        mean = sums / count[:, None].clamp(min=1)
        around = (miss - mean[which]).square().sum(-1)
        spread = torch.zeros(len(count)).index_add_(0, which, around) / (count - 1).clamp(min=1)
        enough = count >= math.pi * self.radius**2 / 2
        return Arrows(mean.norm(dim=-1)[enough], spread.sqrt()[enough])


class Arrows(NamedTuple):
    """Of every joint's disc (M,): how far all its arrows together miss, and how far they scatter around that."""

    shared: Tensor
    scatter: Tensor


def _boxes(scene: Scene) -> Tensor:
    return torch.stack([person.box for person in scene.people]).float()


# --- everybody a detector finds ---------------------------------------------------------------------------------------


@dataclass
class Proposed:
    """One pose for every box that a detector found, nothing suppressed, and the boxes' scores beside them."""

    poses: list[list[Pose]]  # their scores are the mean peaks
    box_scores: list[Tensor]

    @classmethod
    def of(cls, model: GRMI, scenes: Sequence[Scene], found: Sequence[Found] | None = None) -> Proposed:
        """found: what some detector said of every picture; without it the model's own detector is asked."""
        images = [scene.image for scene in scenes]
        found = model.detector.detect(images) if found is None else found
        poses = model.propose(images, list(found))
        scores = [_scores_of(own, one) for own, one in zip(poses, found, strict=True)]
        peaks = [[replace(pose, score=float(hough.person_score(pose.scores))) for pose in own] for own in poses]
        return cls(peaks, scores)

    def ranked(self, rank: str, same: float | None = 0.5) -> list[list[Pose]]:
        """Ranked by "box", "peaks" or "product", and of two poses more alike than `same` (OKS) the weaker gone."""
        listed = []
        for own, scores in zip(self.poses, self.box_scores, strict=True):
            by = {"peaks": lambda p, s: p, "box": lambda p, s: s, "product": lambda p, s: p * s}[rank]
            poses = [replace(pose, score=by(pose.score, float(s))) for pose, s in zip(own, scores, strict=True)]
            poses.sort(key=lambda pose: -pose.score)
            listed.append(poses if same is None else oks_nms(poses, same))
        return listed


def _scores_of(poses: Sequence[Pose], found: Found) -> Tensor:
    """The scores (N,) of the boxes that the poses were looked for in."""
    if not poses:
        return torch.zeros(0)
    boxes = torch.stack([pose.box for pose in poses])
    return found.scores[torch.cdist(boxes, found.boxes.float()).argmin(1)]


def likeness(poses: Sequence[Pose], scene: Scene) -> Tensor:
    """The OKS (D,) of every pose with the person it is most like."""
    if not poses or not scene.people:
        return torch.zeros(len(poses))
    true, visible = (torch.stack([getattr(one, name) for one in scene.people]) for name in ("joints", "visible"))
    area = torch.tensor([one.area for one in scene.people])
    joints = torch.stack([pose.joints for pose in poses])
    return metrics.oks_matrix(joints, true, visible, area, scene.people[0].skeleton).amax(1)


def order_kept(scores: Tensor, alike: Tensor) -> float:
    """Of two poses, how often the one with the higher score is the one that is more like a person: 0.5 is chance."""
    higher = scores[:, None] > scores[None]
    better = alike[:, None] > alike[None]
    differs = (scores[:, None] != scores[None]) & (alike[:, None] != alike[None])
    return float((higher == better)[differs].float().mean()) if bool(differs.any()) else 0.5
