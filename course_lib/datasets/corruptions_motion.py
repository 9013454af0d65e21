"""How the points of a picture move when it is turned, shrunk, slid or bent: pixels, points and masks by one rule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib import geometry

_ROUNDS = 30  # of the fixed point; the error at least halves with each, as fields bend slowly


class Motion(Protocol):
    """Where everything in B pictures goes."""

    zoom: float  # how large things are afterwards

    def images(self, images: Tensor) -> Tensor:
        """The moved pictures (B, C, H, W)."""
        ...

    def points(self, points: Tensor) -> Tensor:
        """Where points (B, N, 2) of the pictures go."""
        ...

    def labels(self, labels: Tensor, fill: int) -> Tensor:
        """The moved labels (B, H, W) of pixels; `fill` where nothing was."""
        ...


@dataclass
class Warp:
    """An affine map for every picture."""

    matrix: Tensor  # (B, 2, 3) before -> after

    @property
    def zoom(self) -> float:
        linear = self.matrix[0, :, :2]
        return math.sqrt(abs(float(linear[0, 0] * linear[1, 1] - linear[0, 1] * linear[1, 0])))

    def images(self, images: Tensor) -> Tensor:
        return geometry.warp(images, self.matrix, (images.shape[-2], images.shape[-1]))

    def points(self, points: Tensor) -> Tensor:
        return geometry.apply(self.matrix, points)

    def labels(self, labels: Tensor, fill: int) -> Tensor:
        return geometry.warp_labels(labels, self.matrix, (labels.shape[-2], labels.shape[-1]), fill)


@dataclass
class Shift:
    """A smooth field of shifts u: after(p) = before(p + u(p)). The same field says where a joint goes.

    Pixels are fetched, joints are sent: a joint at q is seen afterwards where p + u(p) = q, which p = q - u(p),
    repeated, finds as long as the field bends slowly (|grad u| < 1).
    """

    field: Tensor  # (B, 2, H, W) pixels, at the centres of the pixels

    zoom = 1.0

    def images(self, images: Tensor) -> Tensor:
        return F.grid_sample(images, self._sources(), padding_mode="zeros", align_corners=False)

    def labels(self, labels: Tensor, fill: int) -> Tensor:
        shifted = (labels - fill)[:, None].float()  # what lies outside is 0 for grid_sample
        taken = F.grid_sample(shifted, self._sources(), "nearest", "zeros", align_corners=False)
        return taken[:, 0].round().to(labels.dtype) + fill

    def points(self, points: Tensor) -> Tensor:
        after = points
        for _ in range(_ROUNDS):
            after = points - self._at(after)
        return after

    def _extent(self) -> Tensor:
        return self.field.new_tensor([self.field.shape[-1], self.field.shape[-2]])

    def _at(self, points: Tensor) -> Tensor:
        """The field at points (B, N, 2), bilinear between pixels; beyond the border its nearest value."""
        grid = (points / self._extent() * 2 - 1)[:, None]  # (B, 1, N, 2)
        found = F.grid_sample(self.field, grid.to(self.field.dtype), padding_mode="border", align_corners=False)
        return found[:, :, 0].transpose(1, 2)

    def _sources(self) -> Tensor:
        height, width = self.field.shape[-2:]
        rows, columns = (torch.arange(side, device=self.field.device) + 0.5 for side in (height, width))
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        places = torch.stack([x, y], -1) + self.field.permute(0, 2, 3, 1)
        return places / self._extent() * 2 - 1
