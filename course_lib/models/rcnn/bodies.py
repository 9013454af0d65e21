"""What Mask R-CNN looks with: ResNet-50 or a few residual blocks under a feature pyramid, or lesson 06's hourglass."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.resnet import BasicBlock, resnet50
from torchvision.ops import FrozenBatchNorm2d

from course_lib.errors import CourseError
from course_lib.models.pyramid import TrunkPyramid
from course_lib.skeletons import Skeleton

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])  # mean and deviation of its colours


def pyramid(
    body: str | Sequence[int], channels: int, frozen_norm: bool, skeleton: str | Skeleton, input_size: tuple[int, int]
) -> BackboneWithFPN | TrunkPyramid:
    """Features of strides 4, 8, ... with `channels` each."""
    if body == "hourglass" and not frozen_norm:
        return TrunkPyramid(skeleton, channels, input_size)
    if body == "resnet50":
        network = resnet50(norm_layer=partial(FrozenBatchNorm2d, eps=0.0) if frozen_norm else nn.BatchNorm2d)
        widths = [256, 512, 1024, 2048]
    elif isinstance(body, str) or not body or any(width < 8 or width % 8 for width in body) or frozen_norm:
        raise CourseError(
            "body is 'resnet50' or a few widths divisible by 8, which have no frozen_norm, as 'hourglass' has none; "
            f"got {body!r}"
        )
    else:
        network, widths = _small_body(body), list(body)
    return BackboneWithFPN(network, {f"layer{i + 1}": str(i) for i in range(len(widths))}, widths, channels)


def _small_body(widths: Sequence[int]) -> nn.Sequential:
    """A stem, then two residual blocks a width; all halve. Group normalisation needs no large batches."""
    norm = partial(nn.GroupNorm, 8)
    network = nn.Sequential()
    network.stem = nn.Sequential(nn.Conv2d(3, widths[0], 3, 2, padding=1, bias=False), norm(widths[0]), nn.ReLU())
    for i, (before, width) in enumerate(zip([widths[0], *widths], widths, strict=False)):
        skip = nn.Sequential(nn.Conv2d(before, width, 1, stride=2, bias=False), norm(width))
        first = BasicBlock(before, width, stride=2, downsample=skip, norm_layer=norm)
        network.add_module(f"layer{i + 1}", nn.Sequential(first, BasicBlock(width, width, norm_layer=norm)))
    return network
