"""Stacked hourglass networks.

Alejandro Newell, Kaiyu Yang, Jia Deng, "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016
(arXiv 1603.06937). A network that halves its maps down to a few cells and doubles them up again sees the whole body and
still knows where every joint is; several such hourglasses in a row let each correct what the one before believed.

    image -> stem -> x_1;   features_i = hourglass_i(x_i);   maps_i = predict_i(features_i)
    x_(i+1) = x_i + merge_i(features_i) + merge'_i(maps_i)            every maps_i is compared with the same target

|                  | paper                    | authors' Torch code         | here                                     |
|------------------|--------------------------|-----------------------------|------------------------------------------|
| parameters, K=16 | not given                | 25,434,112 (PyTorch port)   | 25,434,112 with 8 stacks                 |
| target           | Gaussian, sigma 1 cell   | 7x7 patch, in effect 1.75   | Gaussian of sigma 1 at the exact centre  |
| unlabelled joint | not said                 | asked for a map of zeros    | not asked for anything                   |
| loss             | sum of every stack's MSE | the same                    | the same, in units of an all-zero answer |
| read-out         | quarter offset           | quarter offset              | DARK; decode(..., read_out="quarter")    |
| last convolution | not said                 | the usual random start      | starts near zero, as the target is       |
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import checkpoints
from course_lib.errors import CourseError
from course_lib.models.base import HeatmapModel
from course_lib.pose import Batch
from course_lib.skeletons import Skeleton


class Residual(nn.Module):
    """The only block: normalise, ReLU, convolve, three times, through half as many channels, plus the input."""

    def __init__(self, inputs: int, outputs: int, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        middle = outputs // 2
        self.branch = nn.Sequential(
            *(norm(inputs), nn.ReLU(inplace=True), nn.Conv2d(inputs, middle, 1)),
            *(norm(middle), nn.ReLU(inplace=True), nn.Conv2d(middle, middle, 3, padding=1)),
            *(norm(middle), nn.ReLU(inplace=True), nn.Conv2d(middle, outputs, 1)),
        )
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + self.skip(x)


def residuals(width: int, count: int, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Sequential:
    """`count` residual blocks in a row."""
    return nn.Sequential(*(Residual(width, width, norm) for _ in range(count)))


class Hourglass(nn.Module):
    """Stays at this resolution on one path; halves, asks a smaller hourglass, doubles on the other; adds the two.

    The smallest hourglass (depth 0) is a residual block: 3 depth + 1 blocks in all when `modules` is 1.
    """

    def __init__(
        self, width: int, depth: int, modules: int = 1, norm: Callable[[int], nn.Module] = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        self.depth = depth
        self.upper = residuals(width, modules, norm)
        self.before = residuals(width, modules, norm)
        self.inner = Hourglass(width, depth - 1, modules, norm) if depth > 1 else residuals(width, modules, norm)
        self.after = residuals(width, modules, norm)

    def forward(self, x: Tensor) -> Tensor:
        _check_divisible(x, 2**self.depth, f"an hourglass of depth {self.depth}")
        lower = self.after(self.inner(self.before(F.max_pool2d(x, 2))))
        return self.upper(x) + F.interpolate(lower, scale_factor=2, mode="nearest")


class StackedHourglass(HeatmapModel):
    """S hourglasses in a row. `forward` gives the maps of all: (S, B, K, H / stride, W / stride).

    supervise: compare the maps of "all" stacks with the target, as the paper does, or of the "last" alone.
    reinject: feed a stack's maps back into the next stack's input, or its features only.
    """

    def __init__(
        self,
        skeleton: str | Skeleton = "mpii",
        stacks: int = 8,
        width: int = 256,
        depth: int = 4,
        modules: int = 1,
        input_size: tuple[int, int] = (256, 256),
        stem_stride: int = 4,
        sigma: float = 1.0,
        supervise: str = "all",
        reinject: bool = True,
        read_out: str = "dark",
    ) -> None:
        super().__init__(skeleton, input_size, stem_stride, sigma, read_out)
        if min(stacks, depth, modules) < 1 or width < 4 or width % 4:
            raise CourseError(
                "a stacked hourglass needs stacks, depth and modules of at least 1 and a width divisible by 4; got "
                f"stacks={stacks}, depth={depth}, modules={modules}, width={width}"
            )
        if stem_stride not in (2, 4) or supervise not in ("all", "last"):
            raise CourseError(
                "a stacked hourglass takes stem_stride 2 or 4 and supervise 'all' or 'last'; got "
                f"stem_stride={stem_stride}, supervise={supervise!r}"
            )
        joints = len(self.skeleton)
        self.depth, self.supervise = depth, supervise
        self.stem = nn.Sequential(
            *(nn.Conv2d(3, width // 4, 7, stride=2, padding=3), nn.BatchNorm2d(width // 4), nn.ReLU(inplace=True)),
            Residual(width // 4, width // 2),
            nn.MaxPool2d(2) if stem_stride == 4 else nn.Identity(),
            Residual(width // 2, width // 2),
            Residual(width // 2, width),
        )
        self.hourglasses = nn.ModuleList(
            nn.Sequential(
                Hourglass(width, depth, modules),
                residuals(width, modules),
                *(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)),
            )
            for _ in range(stacks)
        )
        self.predict = nn.ModuleList(nn.Conv2d(width, joints, 1) for _ in range(stacks))
        self.merge_features = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(stacks - 1))
        self.merge_maps = nn.ModuleList(nn.Conv2d(joints, width, 1) for _ in range(stacks - 1)) if reinject else None
        for layer in self.predict:
            nn.init.normal_(layer.weight, std=0.001)
            nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.looked_into(images)[0]

    def looked_into(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The maps of all hourglasses, and the features (B, width, h, w) that the last of them were read from."""
        _check_divisible(images, self.stride * 2**self.depth, f"{type(self).__name__}")
        x = self.stem(images)  # (B, width, H / stride, W / stride)
        maps = []
        for i, hourglass in enumerate(self.hourglasses):
            features = hourglass(x)
            maps.append(self.predict[i](features))  # (B, K, H / stride, W / stride)
            if i + 1 < len(self.hourglasses):
                x = x + self.merge_features[i](features)
                if self.merge_maps is not None:
                    x = x + self.merge_maps[i](maps[i])
        return torch.stack(maps), features

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Every supervised stack's error, 1 being an all-zero answer, and their sum."""
        first = 0 if self.supervise == "all" else len(outputs) - 1
        stages = self.stage_losses(outputs[first:], batch)
        terms = {f"stack_{first + i + 1}": term for i, term in enumerate(stages)}
        return {**terms, "total": sum(stages)}


class HourglassTrunk(nn.Module):
    """A stacked hourglass for other networks to build on: what its last hourglass sees beside the maps it believes in.

    So a network for many people begins where one for a single person has arrived: see `begin_from`.
    """

    def __init__(self, network: StackedHourglass) -> None:
        super().__init__()
        self.network = network
        self.channels = network.predict[-1].in_channels + len(network.skeleton)

    def forward(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W) -> (B, channels, H / stride, W / stride)."""
        maps, features = self.network.looked_into(images)
        return torch.cat([features, maps[-1]], dim=1)

    def begin_from(self, file: str | Path) -> dict[str, Any]:
        """Takes the weights of a stacked hourglass, or of the one in another network; returns the file's header."""
        kind = checkpoints.read_header(file)["model"].split("_")[0]
        part = {"hourglass": "", "alphapose": "sppe"}.get(kind, "trunk.network")
        return checkpoints.load_into(file, self.network, part=part)


def _check_divisible(x: Tensor, multiple: int, who: str) -> None:
    height, width = x.shape[-2:]
    if height % multiple or width % multiple or not height or not width:
        raise CourseError(f"{who} needs height and width divisible by {multiple}; got {height} x {width}")


hourglass = StackedHourglass
# 0.11 G multiply-adds; maps of 24 x 24 leave room for three halvings. Widths that are multiples of 32 run fastest.
hourglass_course = partial(StackedHourglass, skeleton="lsp", stacks=3, width=64, depth=3, input_size=(96, 96))
