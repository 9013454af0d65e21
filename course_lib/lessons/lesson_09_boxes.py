"""Lesson 09: boxes that are moved, what they do to poses, and who is found by which of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from course_lib import geometry
from course_lib.metrics.oks import oks
from course_lib.pose import Person, Pose, Scene
from course_lib.targets.proposals import Proposals

FOUND = 0.5  # OKS from which a person is found, and IoU from which a box is


def moved(boxes: Tensor, right: float = 0.0, down: float = 0.0, scale: float = 1.0) -> Tensor:
    """Boxes (N, 4) shifted by a share of their width and height, then scaled about their middles."""
    sides = boxes[:, 2:] - boxes[:, :2]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 + sides * sides.new_tensor([right, down])
    return torch.cat([middle - sides * scale / 2, middle + sides * scale / 2], dim=-1)


def jittered(boxes: Tensor, amount: float, seed: int | str = 0) -> Tensor:
    """Boxes (N, 4), each side off by at most `amount` of its length, evenly. One seed moves the same sides the same way
    for every amount, so that curves over amounts are of the same people in the same trouble."""
    generator = torch.Generator().manual_seed(_number(seed))
    noise = 2 * torch.rand(len(boxes), 4, generator=generator) - 1
    return boxes + amount * noise * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


def _number(seed: int | str) -> int:
    return seed if isinstance(seed, int) else sum(ord(letter) * 31**place for place, letter in enumerate(seed)) % 2**31


def people_of(scene: Scene) -> list[Person]:
    """Those who are to be found."""
    return [person for person in scene.people if not (person.crowd or person.ignore)]


def like_own(poses: Sequence[Pose], people: Sequence[Person]) -> Tensor:
    """OKS (N,) of each pose with its own person: poses and people come in the same order."""
    rows = [
        oks(pose.joints, one.joints, one.visible, one.area, one.skeleton)
        for pose, one in zip(poses, people, strict=True)
    ]
    return torch.stack([torch.as_tensor(row).double() for row in rows]) if rows else torch.zeros(0).double()


def best_likeness(poses: Sequence[Pose], scene: Scene) -> Tensor:
    """For every person of a scene the OKS (N,) with whichever pose is most like them, 0 where there is none."""
    people = people_of(scene)
    if not poses or not people:
        return torch.zeros(len(people)).double()
    joints = torch.stack([pose.joints for pose in poses])
    rows = [torch.as_tensor(oks(joints, one.joints, one.visible, one.area, one.skeleton)).amax() for one in people]
    return torch.stack(rows).double()


def covered(boxes: Tensor, scene: Scene) -> Tensor:
    """For every person of a scene the IoU (N,) with the box that covers them best, 0 where there is none."""
    true = [person.box for person in people_of(scene)]
    if not len(boxes) or not true:
        return torch.zeros(len(true))
    return geometry.box_iou(torch.stack(true), boxes).amax(1)


def times_found(boxes: Tensor, scene: Scene) -> Tensor:
    """By how many boxes (N,) each person is found: boxes count for whom they cover best, with half of the union."""
    true = [person.box for person in people_of(scene)]
    if not len(boxes) or not true:
        return torch.zeros(len(true), dtype=torch.long)
    best, whom = geometry.box_iou(boxes, torch.stack(true)).max(1)
    return whom[best >= FOUND].bincount(minlength=len(true))


def overlap(scene: Scene) -> Tensor:
    """How much (N,) each person's box has in common with the nearest other's: the highest IoU."""
    boxes = [person.box for person in people_of(scene)]
    if len(boxes) < 2:
        return torch.zeros(len(boxes))
    boxes = torch.stack(boxes)
    return geometry.box_iou(boxes, boxes).fill_diagonal_(0).amax(1)


def drawn(proposals: Proposals, atoms: Tensor, boxes: Tensor, generator: torch.Generator) -> Tensor:
    """Boxes (N, 4) as the detector might draw them around people with true `boxes` whose poses are of `atoms` (N,)."""
    poses = 100 * proposals.centres[atoms]  # a torso of 100 pixels; size says nothing about an atom
    return proposals.sample(poses, torch.ones(poses.shape[:2]), boxes, generator)


def shares(values: Tensor, edges: Sequence[float], yes: Tensor) -> list[dict[str, Any]]:
    """The share of `yes` (N,) among those whose value (N,) lies between two edges."""
    rows = []
    for low, high in zip(edges, (*edges[1:], float("inf")), strict=True):
        some = yes[(values >= low) & (values < high)]
        share = round(float(some.double().mean()), 4) if len(some) else None
        rows.append({"from": low, "people": len(some), "share": share})
    return rows
