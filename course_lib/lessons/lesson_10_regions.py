"""Lesson 10: cutting a box out of a map, with and without rounding, and one cell of so many as an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision import ops

from course_lib.models.rcnn import MaskRCNN
from course_lib.skeletons import Skeleton

POOL, OLD, ALIGN = "RoIPool", "RoIAlign, torchvision's", "RoIAlign"
WAYS = (POOL, OLD, ALIGN)

# --- where a bin looks ------------------------------------------------------------------------------------------------


def ramps(stride: float, size: tuple[int, int]) -> Tensor:
    """A map (4, h, w) that holds its own coordinates: x, y, -x and -y of every cell's centre, in pixels."""
    x, y = ((torch.arange(n) + 0.5) * stride for n in (size[1], size[0]))
    x, y = x.expand(size), y[:, None].expand(size)
    return torch.stack([x, y, -x, -y])


def cut_out(features: Tensor, boxes: Tensor, bins: int, stride: float, way: str) -> Tensor:
    """Features (C, h, w) in boxes (N, 4) in pixels, by one of WAYS: (N, C, bins, bins)."""
    given = features[None], [boxes], bins, 1 / stride
    if way == POOL:
        return ops.roi_pool(*given)
    return ops.roi_align(*given, sampling_ratio=2, aligned=way == ALIGN)


def looked_at(boxes: Tensor, bins: int, stride: float, way: str, size: tuple[int, int] = (64, 64)) -> Tensor:
    """The place (N, bins, bins, 2) in pixels that every bin shows, on a map of so many cells.

    RoIPool takes the highest of a bin's cells: of x that is its right edge, of -x its left one; between them it looks.
    """
    seen = cut_out(ramps(stride, size), boxes, bins, stride, way)
    return ((seen[:, :2] - seen[:, 2:]) / 2).movedim(1, -1)


def meant(boxes: Tensor, bins: int) -> Tensor:
    """The middle (N, bins, bins, 2) of every bin, where it should look."""
    share = (torch.arange(bins) + 0.5) / bins
    low, sides = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    along = low + share[:, None] * sides  # (N, bins, 2)
    across, down = along[..., 0], along[..., 1]
    shape = (len(boxes), bins, bins)
    return torch.stack([across[:, None].expand(shape), down[:, :, None].expand(shape)], dim=-1)


class Missed(NamedTuple):
    """How far bins look beside where they should, in pixels: on average; and what is left of it when every box's own
    mean shift is known; and how large the shift is that all boxes share."""

    mean: float
    worst: float
    common: float
    left: float


def missed(way: str, stride: float, bins: int = 14, height: float = 120.0, count: int = 200, seed: int = 0) -> Missed:
    """Of `count` boxes, half as wide as high, anywhere between the cells."""
    generator = torch.Generator().manual_seed(seed)
    corner = 32 * stride * torch.rand(count, 2, generator=generator) + 4 * stride
    boxes = torch.cat([corner, corner + torch.tensor([height / 2, height])], dim=1)
    cells = int(36 + height / stride) + 4
    miss = looked_at(boxes, bins, stride, way, (cells, cells)) - meant(boxes, bins)
    common = miss.flatten(0, 2).mean(0)
    left = (miss - common).norm(dim=-1)
    far = miss.norm(dim=-1)
    return Missed(float(far.mean()), float(far.max()), float(common.norm()), float(left.mean()))


# --- the same in a network --------------------------------------------------------------------------------------------


class Pooled(nn.Module):
    """RoIPool in RoIAlign's place, for boxes that are all read from one level."""

    def __init__(self, align: ops.MultiScaleRoIAlign, stride: float) -> None:
        super().__init__()
        [self.level], self.bins, self.stride = align.featmap_names, align.output_size, stride
        self.reads = align.sampling_ratio  # places a bin along each side

    def forward(self, features: dict[str, Tensor], boxes: list[Tensor], shapes: Sequence[tuple[int, int]]) -> Tensor:
        """Features by level, boxes [(N, 4)] by picture -> (all N, C, bins, bins)."""
        return ops.roi_pool(features[self.level], boxes, self.bins, 1 / self.stride)


class Rounded(Pooled):
    """RoIAlign after the box's edges went to whole cells: of RoIPool's two roundings the first alone."""

    def forward(self, features: dict[str, Tensor], boxes: list[Tensor], shapes: Sequence[tuple[int, int]]) -> Tensor:
        whole = [(one / self.stride).round() * self.stride for one in boxes]
        return ops.roi_align(features[self.level], whole, self.bins, 1 / self.stride, self.reads)


def with_pooling(model: MaskRCNN, pooling: type[Pooled], stride: float = 4.0) -> MaskRCNN:
    """The network with another way to cut out what its joints are read from; boxes and masks stay as they were."""
    model.roi_heads.keypoint_roi_pool = pooling(model.roi_heads.keypoint_roi_pool, stride)
    return model


POOLINGS: dict[str, Callable[[MaskRCNN], MaskRCNN]] = {
    "RoIAlign": lambda model: model,
    "RoIAlign of rounded boxes": lambda model: with_pooling(model, Rounded),
    "RoIPool": lambda model: with_pooling(model, Pooled),
}

# --- one cell of S x S ------------------------------------------------------------------------------------------------


def logits_of(model: MaskRCNN, image: Tensor, boxes: Tensor) -> Tensor:
    """What the keypoint head answers (N, K, 56, 56) for boxes (N, 4) of a picture (3, H, W) of its own size."""
    return model.joint_logits(image, boxes)


def best_oks(cells: int, sigma: float, shape: float = 0.5, share: float = 0.53, count: int = 4000) -> float:
    """The OKS that a joint with this sigma has at best on average, if the answer is the right one of cells x cells in a
    box `shape` times as wide as high, of which a person fills `share`. It does not depend on the person's size."""
    inside = torch.rand(count, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    square = (inside * torch.tensor([shape, 1.0]) / cells).square().sum(-1)  # in heights of the box
    area = share * shape
    return float(torch.exp(-square / (2 * area * (2 * sigma) ** 2)).mean())


def joints_in_order(skeleton: Skeleton) -> list[tuple[str, float]]:
    """One of every pair of joints with its sigma, the strictest first."""
    names = {}
    for name, sigma in zip(skeleton.joints, skeleton.sigmas, strict=True):
        names.setdefault(name.removeprefix("left_").removeprefix("right_").replace("_", " "), sigma)
    return sorted(names.items(), key=lambda pair: pair[1])
