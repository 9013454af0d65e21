"""Lesson 09: the transformer and its way back, the direction trap, and what each loss tells theta to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib import geometry
from course_lib.lessons.lesson_09_boxes import moved
from course_lib.models.alphapose import MARGIN, AlphaPose, Regional, inverse_affine, stn
from course_lib.pose import Batch, Person, Scene
from course_lib.targets import heatmaps

SAME = torch.eye(2, 3)


def affine(right: float = 0.0, down: float = 0.0, zoom: float = 1.0, turn: float = 0.0) -> Tensor:
    """theta (2, 3): the frame's middle lies at (right, down) of the crop, from -1 to 1; it shows 1 / zoom of the crop,
    turned by so many degrees."""
    angle = math.radians(turn)
    rows = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    return torch.cat([torch.tensor(rows) / zoom, torch.tensor([[right], [down]])], -1)


# --- a dot there and back ---------------------------------------------------------------------------------------------


class Trip(NamedTuple):
    """A dot at `start` (2,) of a crop; where it is seen; where theta and gamma take it from there. All in pixels."""

    crop: Tensor  # (1, size, size)
    seen: Tensor
    start: Tensor
    found: Tensor
    by_theta: Tensor
    by_gamma: Tensor


def dot(theta: Tensor, place: Sequence[float], size: int = 96, sigma: float = 3.0) -> Trip:
    """One dot through the STN, and both ways back."""
    start = torch.tensor(place, dtype=torch.float32)
    crop = heatmaps.gaussian(start[None], (size, size), sigma)
    seen = stn(crop[None], theta[None])[0]
    found = _middle_of(seen)[0]
    ways = [_pixels(geometry.apply(way, _normal(found[None], size)), size)[0] for way in (theta, inverse_affine(theta))]
    return Trip(crop, seen, start, found, *ways)


def round_trip(theta: Tensor, cells: int = 24, corners: tuple[bool, bool] = (False, False)) -> float:
    """How far a joint lands from where it was, in cells of its map, at worst over a few places: drawn in the crop, seen
    through the STN, read there, moved back by theta. `corners` is align_corners of the grid and of the sampling."""
    at = torch.tensor([[0.40, 0.42], [0.58, 0.45], [0.45, 0.60], [0.55, 0.52]]) * cells
    places = _pixels(geometry.apply(theta, _normal(at, cells)), cells)  # of the crop, so that all are seen
    maps = heatmaps.gaussian(places, (cells, cells), 1.0)[None]
    grid = F.affine_grid(theta[None], list(maps.shape), align_corners=corners[0])
    seen = F.grid_sample(maps, grid, align_corners=corners[1])[0]
    back = _pixels(geometry.apply(theta, _normal(_middle_of(seen), cells)), cells)
    return float((back - places).norm(dim=-1).max())


def _middle_of(maps: Tensor) -> Tensor:
    """Centres of mass (K, 2) of maps (K, h, w)."""
    height, width = maps.shape[-2:]
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    mass = maps.sum((-2, -1))
    return torch.stack([(maps.sum(-2) * x).sum(-1), (maps.sum(-1) * y).sum(-1)], -1) / mass[:, None]


def _normal(points: Tensor, size: int) -> Tensor:
    return points / (size / 2) - 1


def _pixels(points: Tensor, size: int) -> Tensor:
    return (points + 1) * (size / 2)


# --- where the person is in the frame ---------------------------------------------------------------------------------


def own_box(batch: Batch) -> Tensor:
    """The person's box (B, 4) by the joints, as the parallel branch's label has it, in the crop's pixels."""
    return geometry.box_of(batch.joints, batch.visible > 0, MARGIN)


def off_middle(theta: Tensor, boxes: Tensor, size: tuple[int, int], padding: float) -> tuple[Tensor, Tensor]:
    """How far (B,) the middle of boxes (B, 4) is from the frame's middle, in sides of the frame; and how many times too
    large (B,) they are in it, where 1 is the size of a person in a crop around the true box."""
    half = boxes.new_tensor([size[1], size[0]]) / 2
    corners = boxes.view(-1, 2, 2) / half - 1
    there = geometry.apply(inverse_affine(theta), corners)  # points of the crop: by gamma
    middle = there.mean(1).norm(dim=-1) / 2
    largest = (there[:, 1] - there[:, 0]).abs().amax(-1) / 2
    return middle, largest * padding


def cut_out(scene: Scene, people: Sequence[Person], boxes: Tensor, size: tuple[int, int], padding: float) -> Batch:
    """Crops of boxes (N, 4), with the joints of the person that each is meant for."""
    crops, matrices = geometry.crop(scene.image, boxes, size, padding)
    joints = geometry.apply(matrices, torch.stack([person.joints for person in people]))
    return Batch(crops, joints, torch.stack([person.visible for person in people]), people[0].skeleton)


# --- what the gradient says -------------------------------------------------------------------------------------------


class Descent(NamedTuple):
    """theta (T, B, 2, 3) from step to step; the distance from the middle and the size, (T, B) each; the loss (T,)."""

    theta: Tensor
    away: Tensor
    large: Tensor
    loss: list[float]


def descend(model: AlphaPose, batch: Batch, term: str, steps: int = 40, rate: float = 0.02) -> Descent:
    """Lets theta of every crop go down one term of the loss, "maps" or "centred"; the networks stay as they are.

    No localiser is asked: theta itself is what learns, which shows what the localiser would be told.
    """
    theta = SAME.repeat(len(batch), 1, 1).requires_grad_(True)
    optimiser = torch.optim.Adam([theta], rate)
    model.requires_grad_(False).eval()
    boxes, kept, losses = own_box(batch), [], []
    for _ in range(steps + 1):
        kept.append(theta.detach().clone())
        seen = stn(batch.images, theta)
        with torch.set_grad_enabled(term == "maps"):  # the other term does not ask the main branch
            maps = model.sppe(seen) if term == "maps" else model.parallel(seen)
        loss = model.loss(Regional(maps, theta, seen), batch)[term]
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    pairs = [off_middle(one, boxes, batch.size, model.padding) for one in kept]
    away, large = (torch.stack(values) for values in zip(*pairs, strict=True))
    return Descent(torch.stack(kept), away, large, losses)


def in_trouble(scenes: Sequence[Scene], count: int, model: AlphaPose, least: float = 60.0) -> Batch:
    """Crops of large, lonely people whose boxes are off: shifted, or too large."""
    wrong = [{"right": 0.3}, {"down": -0.2}, {"scale": 1.6}, {"right": -0.3, "down": 0.15}, {"scale": 1.4, "down": 0.2}]
    parts: list[Batch] = []
    for scene in scenes:
        for person in scene.people:
            alone = all(
                float(geometry.box_iou(person.box[None], other.box[None])) < 0.02
                for other in scene.people
                if other is not person
            )
            whole = bool((person.visible == 2).sum() >= 11) and float(person.box[3] - person.box[1]) >= least
            if alone and whole and len(parts) < count:
                box = moved(person.box[None], **wrong[len(parts) % len(wrong)])
                parts.append(cut_out(scene, [person], box, model.input_size, model.padding))
    return Batch.cat(parts)
