"""Features of three strides from lesson 06's hourglass, for networks that look for people of all sizes.

    picture -> hourglass trunk (stride 4, what it sees and where it believes joints to be)
            -> 1x1 -> "0", stride 4 -> 3x3, halving -> "1", stride 8 -> 3x3, halving -> "2", stride 16

A feature pyramid adds coarse maps, which know what things are, to fine ones, which know where. An hourglass has done
that before: its only map is fine and has seen the whole picture. So the coarser ones here are just read off it, to give
large people windows of a few cells.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import checkpoints
from course_lib.models.hourglass import HourglassTrunk, hourglass_course
from course_lib.skeletons import Skeleton

LEVELS = 3
STEM_STRIDE = 4  # of the hourglass, whatever its own default
WHOLE = {"person_detector": "network.backbone", "mask_rcnn_course": "backbone"}  # where others have one of these


class TrunkPyramid(nn.Module):
    """Pictures (B, 3, H, W) in [0, 1], not normalised -> maps "0", "1", "2": (B, channels, H / 4, W / 4), / 8, / 16.

    H and W are multiples of `multiple`. The names and `out_channels` are what torchvision's detection networks ask of a
    backbone; their transform should leave the pixels as they are (mean 0, deviation 1).
    """

    def __init__(
        self, skeleton: str | Skeleton = "lsp", channels: int = 64, input_size: tuple[int, int] = (192, 256)
    ) -> None:
        super().__init__()
        one_person = hourglass_course(skeleton=skeleton, stem_stride=STEM_STRIDE, input_size=input_size)
        self.trunk = HourglassTrunk(one_person)
        self.stride, self.out_channels = one_person.stride, channels
        self.multiple = one_person.stride * 2**one_person.depth  # what height and width must be divisible by
        self.lateral = _layer(self.trunk.channels, channels, 1)
        self.trunk_learns = True  # else it is only listened to: steps of training cost half as much
        self.coarser = nn.ModuleList(_layer(channels, channels, 3, stride=2) for _ in range(LEVELS - 1))

    def begin_from(self, file: str | Path) -> dict[str, Any]:
        """Takes another network's pyramid, or the weights of an hourglass, or of another network's trunk, for its own
        trunk alone; returns the file's header."""
        part = WHOLE.get(checkpoints.read_header(file)["model"])
        return checkpoints.load_into(file, self, part) if part else self.trunk.begin_from(file)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trunk_learns):
            seen = self.trunk(images)
        maps = [self.lateral(seen)]  # (B, channels, H / 4, W / 4)
        for layer in self.coarser:
            maps.append(layer(maps[-1]))
        return OrderedDict((str(level), features) for level, features in enumerate(maps))


def _layer(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolve, normalise, ReLU; not in place, as the map is read again."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
