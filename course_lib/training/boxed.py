"""People of crowded pictures one by one, each cut out by a box: what top-down networks are trained on.

A crop is a `Crowd` whose first person is the one who is meant; who else can be seen in it follows. The box is the one
around what can be seen of the person, changed as `noise` says:

    none       not at all                                      what a network then learns on is better than what it gets
    detector   as the detector that ships might have drawn it  `targets.proposals`
    uniform    moved as much, but evenly and whatever the pose

and then grown by `padding`, a number or a range from which every crop draws its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from course_lib import geometry
from course_lib.datasets import pool
from course_lib.datasets.synthetic.draw import generator_for
from course_lib.errors import CourseError, unknown_name
from course_lib.models.base import BOX_PADDING
from course_lib.pose import UNLABELLED, Crowd
from course_lib.targets import proposals
from course_lib.targets.proposals import Proposals

NOISES = ("none", "detector", "uniform")
PEOPLE = 4  # that a picture gives, so many crops come from a quarter as many pictures
SMALLEST = 4.0  # pixels of a box's side: of less nobody could tell a pose


@dataclass
class Boxed:
    """Batch i: `count` people of the pictures of crowd i, larger by `pool.MARGIN` than what a network is shown."""

    crowds: Callable[[int], Crowd]
    count: int
    size: tuple[int, int]  # of what a network is shown
    seed: int
    noise: str = "none"
    padding: float | tuple[float, float] = BOX_PADDING
    learned: Proposals | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.noise not in NOISES:
            raise unknown_name("noise of boxes", self.noise, NOISES)
        try:
            low, high = self.paddings
        except (TypeError, ValueError):
            low, high = math.nan, math.nan
        if not 0 < low <= high < math.inf:
            raise CourseError(f"the padding of boxes is a positive number or a range of such; got {self.padding}")
        if self.noise != "none":
            self.learned = proposals.load()

    @property
    def paddings(self) -> tuple[float, float]:
        """(least, most)"""
        low, high = (self.padding,) * 2 if isinstance(self.padding, int | float) else self.padding
        return float(low), float(high)

    def __call__(self, number: int) -> Crowd:
        crowd = self.crowds(number)
        generator = generator_for("boxed", self.seed, number)
        boxes, (low, high) = crowd.boxes(), self.paddings
        able = (crowd.visible > 0).any(-1) & ((boxes[..., 2:] - boxes[..., :2]).amin(-1) >= SMALLEST)
        able = able.nonzero().cpu()  # (n, 2) picture and person
        if not len(able):
            raise CourseError("a batch of crowded pictures shows nobody who could be cut out")
        order = torch.cat([torch.randperm(len(able), generator=generator) for _ in range(-(-self.count // len(able)))])
        picture, person = able[order[: self.count]].to(boxes.device).unbind(1)
        joints, visible = crowd.joints[picture, person], crowd.visible[picture, person]
        chosen = self.drawn(joints, visible, boxes[picture, person], generator)
        padding = low + (high - low) * torch.rand(self.count, 1, generator=generator).to(chosen)
        middle, half = (chosen[:, :2] + chosen[:, 2:]) / 2, padding * (chosen[:, 2:] - chosen[:, :2]) / 2
        return cut(crowd, picture, person, torch.cat([middle - half, middle + half], 1), pool.pool_size(self.size))

    def drawn(self, joints: Tensor, visible: Tensor, boxes: Tensor, generator: torch.Generator) -> Tensor:
        """The boxes (n, 4) instead of the true ones."""
        if self.learned is None:
            return boxes
        if self.noise == "uniform":
            return self.learned.uniform(boxes.cpu(), generator).to(boxes)
        return self.learned.sample(joints.cpu(), visible.cpu(), boxes.cpu(), generator).to(boxes)


def cut(crowd: Crowd, picture: Tensor, person: Tensor, boxes: Tensor, size: tuple[int, int]) -> Crowd:
    """Crops of `size` around boxes (n, 4) of pictures (n,), grown by `pool.MARGIN`: a person (n,) is the first in each,
    the others keep their order."""
    matrix = geometry.crop_matrix(boxes, size, padding=pool.MARGIN)
    images = crowd.images[picture]
    images = images.float() / 255 if images.dtype == torch.uint8 else images
    joints = geometry.apply(matrix, crowd.joints[picture].flatten(1, 2)).view(len(picture), *crowd.joints.shape[1:])
    inside = ((joints >= 0) & (joints < joints.new_tensor([size[1], size[0]]))).all(-1)
    visible = crowd.visible[picture].masked_fill(~inside, UNLABELLED)
    # the one who is meant, then who else can be seen; nobody needs room for the rest
    meant = torch.arange(visible.shape[1], device=person.device) == person[:, None]  # (n, N)
    there = (visible > 0).any(-1) | meant
    order = (2 * meant.long() + there.long()).argsort(dim=1, descending=True, stable=True)[:, : int(there.sum(1).max())]
    rows = torch.arange(len(picture), device=person.device)[:, None]
    return Crowd(
        geometry.warp(images, matrix, size),
        joints[rows, order],
        visible[rows, order],
        geometry.warp(crowd.labelled[picture][:, None], matrix, size, fill=1.0)[:, 0],
        crowd.skeleton,
    )
