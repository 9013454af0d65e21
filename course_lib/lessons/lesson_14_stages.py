"""A cascade with three switches, for lesson 14: what later stages see, where losses are, and whose weights are used.

    image -> stem -> features
    features                   -> stage 1 -> maps 1
    maps 1, and features if so -> stage 2 -> maps 2 -> ... -> maps T

Between two stages nothing passes but the maps, K channels, as in convolutional pose machines. So the three switches
are independent of each other: with a loss on the last stage only, what passes is still K channels, but nobody says what
they must look like; without the features, the maps are all that a later stage ever sees of the picture.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.errors import CourseError
from course_lib.models.base import HeatmapModel
from course_lib.pose import Batch
from course_lib.skeletons import Skeleton
from course_lib.targets import heatmaps

STRIDE = 4


class Stage(nn.Module):
    """Entry, blocks of two 3x3 convolutions through `hidden` channels, maps. Whose `like` is given uses its weights.

    Normalisations are never shared: what one stage sees is distributed otherwise than what the next one does.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        hidden: int,
        blocks: int,
        joints: int,
        residual: bool,
        like: Stage | None = None,
    ) -> None:
        super().__init__()
        self.residual = residual
        shapes = [(inputs, width, 1)] + [(width, hidden, 3), (hidden, width, 3)] * blocks
        self.convolutions = like.convolutions if like else nn.ModuleList(convolution(*shape) for shape in shapes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) if residual else nn.Identity() for _, outputs, _ in shapes)
        self.maps = like.maps if like else nn.Conv2d(width, joints, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, inputs, h, w) -> maps (B, K, h, w)."""
        entry, *layers = [lambda y, c=c, n=n: n(c(y)) for c, n in zip(self.convolutions, self.norms, strict=True)]
        x = F.relu(entry(x))
        for first, second in zip(layers[::2], layers[1::2], strict=True):
            y = second(F.relu(first(x)))
            x = F.relu(x + y if self.residual else y)
        return self.maps(x)


class SwitchedCascade(HeatmapModel):
    """T stages in a row. `forward` gives the maps of all: (T, B, K, H / 4, W / 4).

    features: later stages see the picture's features beside the maps before; else these maps only.
    supervise: compare the maps of "all" stages with the target, or of the "last" alone.
    shared: stages 2 to T use the same convolutions.
    residual: batch normalisation everywhere, and a way around every block.
    """

    def __init__(
        self,
        skeleton: str | Skeleton = "lsp",
        stages: int = 4,
        width: int = 24,
        hidden: int = 24,
        blocks: int = 2,
        features: bool = True,
        supervise: str = "all",
        shared: bool = False,
        residual: bool = True,
        input_size: tuple[int, int] = (64, 64),
        sigma: float = 1.0,
        read_out: str = "dark",
    ) -> None:
        super().__init__(skeleton, input_size, STRIDE, sigma, read_out)
        if min(stages, width, hidden, blocks) < 1 or supervise not in ("all", "last"):
            raise CourseError(
                "a cascade needs stages, width, hidden and blocks of at least 1, and supervise 'all' or 'last'; got "
                f"stages={stages}, width={width}, hidden={hidden}, blocks={blocks}, supervise={supervise!r}"
            )
        self.sees_features, self.supervise = features, supervise
        joints = len(self.skeleton)
        self.stem = nn.Sequential()
        for inputs, outputs in ((3, 16), (16, width)):
            norm = nn.BatchNorm2d(outputs) if residual else nn.Identity()
            self.stem.extend([convolution(inputs, outputs, 3, stride=2), norm, nn.ReLU(inplace=True)])
        later = joints + (width if features else 0)
        self.stages = nn.ModuleList()
        for number in range(stages):
            like = self.stages[1] if shared and number > 1 else None
            inputs = later if number else width
            self.stages.append(Stage(inputs, width, hidden, blocks, joints, residual, like))
        # Maps start as loud as the target, so that no loss begins far off, and are told to the next stage as loud as
        # features are: a whisper would be lost on the way forwards, and its gradient on the way back.
        size = (self.input_size[0] // STRIDE, self.input_size[1] // STRIDE)
        self.loudness = math.sqrt(heatmaps.zero_level(size, sigma))
        for stage in self.stages:
            nn.init.normal_(stage.maps.weight, std=self.loudness / math.sqrt(width))
            nn.init.zeros_(stage.maps.bias)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if height % STRIDE or width % STRIDE or not height or not width:
            raise CourseError(f"a cascade needs height and width divisible by {STRIDE}; got {height} x {width}")
        features = self.stem(images)  # (B, width, H / 4, W / 4)
        maps = [self.stages[0](features)]
        for stage in self.stages[1:]:
            seen = maps[-1] / self.loudness
            maps.append(stage(torch.cat([seen, features], dim=1) if self.sees_features else seen))
        return torch.stack(maps)

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Every supervised stage's error, 1 being an all-zero answer, and their sum."""
        first = 0 if self.supervise == "all" else len(outputs) - 1
        terms = self.stage_losses(outputs[first:], batch)
        return {f"stage_{first + i + 1}": term for i, term in enumerate(terms)} | {"total": sum(terms)}


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that starts as He et al. proposed: what follows a ReLU keeps its size, forwards."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer
