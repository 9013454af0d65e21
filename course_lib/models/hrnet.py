"""HRNet: a network that never gives up its fine maps.

Ke Sun, Bin Xiao, Dong Liu, Jingdong Wang, "Deep High-Resolution Representation Learning for Human Pose Estimation",
CVPR 2019 (arXiv 1902.09212). Other networks go down to a few cells and must find the way back up. This one keeps a
stream at a quarter of the picture's resolution from beginning to end, adds coarser streams beside it one by one, and
lets all of them hear each other again and again.

    stem -> stage 1: 1 stream -> stage 2: 2 streams -> stage 3: 3 streams -> stage 4: 4 streams -> 1x1 on the finest
    a module: x_i -> blocks -> x_i on every stream, then       y_i = ReLU( sum over j of T_ij(x_j) )
    T_ij:  j = i nothing;    j > i (coarser) 1x1, enlarged 2^(j - i) times;    j < i (finer) i - j strided 3x3 in a row

|                        | paper             | authors' code           | here                              |
|------------------------|-------------------|-------------------------|-----------------------------------|
| parameters, 17 joints  | 28.5 M, 63.6 M    | 28,536,113, 63,595,745  | the same, width=32 and 48         |
| multiply-adds, 256x192 | 7.1, 14.6 (/2^30) | 7.645 G, 15.692 G       | the same                          |
| names of the weights   |                   | `stage4.2.branches.0.…` | the same                          |
| target's sigma         | 1 cell            | 2 on maps of 64 x 48    | 2                                 |
| joint's place          |                   | rounded to a cell       | exact                             |
| loss                   | mean squares      | half of it              | in units of an all-zero answer    |
| read-out               | quarter offset    | the same                | DARK; decode(read_out="quarter")  |
| random start           |                   | N(0, 0.001)             | He; the last layer near nothing   |
| the streams meet       | by sums           | by sums                 | by sums; head="all" puts them     |
|                        |                   |                         | side by side, as HRNetV2 does     |
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck

from course_lib.errors import CourseError, unknown_name
from course_lib.models.base import HeatmapModel
from course_lib.models.layers import Standardise
from course_lib.pose import Batch
from course_lib.skeletons import Skeleton

STREAMS = 4
EXCHANGES = ("all", "stages", "last")
HEADS = ("high", "all")


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Convolve, normalise, and ReLU unless told otherwise."""
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def path(channels: Sequence[int], i: int, j: int) -> nn.Module:
    """T_ij: how stream j is brought to the size and the channels of stream i."""
    if j == i:
        return nn.Identity()
    if j > i:
        up = nn.Upsample(scale_factor=2 ** (j - i), mode="nearest")
        return nn.Sequential(*convolution(channels[j], channels[i], kernel=1, relu=False), up)
    steps = [convolution(channels[j], channels[j], stride=2) for _ in range(i - j - 1)]
    # the channels change, and the ReLU is left out, in the last step alone
    return nn.Sequential(*steps, convolution(channels[j], channels[i], stride=2, relu=False))


class HighResolutionModule(nn.Module):
    """Blocks on every stream by itself, then an exchange between all of them.

    channels: of the streams, finest first.  blocks: on each.  outputs: how many streams come out, finest first.
    exchange: False leaves every stream to itself.
    """

    def __init__(self, channels: Sequence[int], blocks: int, outputs: int, exchange: bool = True) -> None:
        super().__init__()
        self.outputs = outputs
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(c, c) for _ in range(blocks))) for c in channels)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(path(channels, i, j) for j in range(len(channels)))
            for i in range(outputs if exchange and len(channels) > 1 else 0)
        )

    def forward(self, streams: Sequence[Tensor]) -> list[Tensor]:
        """Tensors (B, channels_i, H / 2^i, W / 2^i), finest first, in and out."""
        streams = [branch(stream) for branch, stream in zip(self.branches, streams, strict=True)]
        if not self.fuse_layers:
            return streams[: self.outputs]
        brought = ([map_(x) for map_, x in zip(row, streams, strict=True)] for row in self.fuse_layers)
        return [F.relu(reduce(torch.add, row)) for row in brought]


class HRNet(HeatmapModel):
    """One person's maps, (1, B, K, H / 4, W / 4). Sides of the pictures must be divisible by 32.

    width: channels of the finest stream; each coarser one has twice as many.  stem: channels of the stem and inside the
    blocks of stage 1.  blocks: on every stream of a module, and of stage 1.  modules: of stages 2, 3 and 4.
    exchange: after "all" modules, or only after the last one of all "stages", or only after the very "last" one.
    head: reads the maps off the finest stream ("high"), or off "all" four, enlarged and put side by side (HRNetV2).
    """

    def __init__(
        self,
        skeleton: str | Skeleton = "coco",
        width: int = 32,
        stem: int = 64,
        blocks: int = 4,
        modules: tuple[int, int, int] = (1, 4, 3),
        exchange: str = "all",
        head: str = "high",
        input_size: tuple[int, int] = (256, 192),
        sigma: float = 2.0,
        read_out: str = "dark",
    ) -> None:
        super().__init__(skeleton, input_size, 4, sigma, read_out)
        if exchange not in EXCHANGES:
            raise unknown_name("way to exchange", exchange, EXCHANGES)
        if head not in HEADS:
            raise unknown_name("head", head, HEADS)
        modules = tuple(modules) if isinstance(modules, Sequence) else (modules,)
        if len(modules) != STREAMS - 1 or min(width, stem, blocks, *modules) < 1:
            raise CourseError(
                "HRNet needs a width, a stem and blocks of at least 1 and three numbers of modules; got "
                f"width={width}, stem={stem}, blocks={blocks}, {modules=}"
            )
        channels = [width * 2**i for i in range(STREAMS)]
        self.standardise = Standardise()
        self.conv1, self.bn1 = nn.Conv2d(3, stem, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(stem)
        self.conv2, self.bn2 = nn.Conv2d(stem, stem, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(stem)
        wide = stem * Bottleneck.expansion
        first = Bottleneck(stem, stem, downsample=convolution(stem, wide, kernel=1, relu=False))
        self.layer1 = nn.Sequential(first, *(Bottleneck(wide, stem) for _ in range(blocks - 1)))
        # a transition changes a stream's channels where it must, and begins a new one from the coarsest there is
        begun = nn.Sequential(convolution(wide, channels[1], stride=2))
        self.transition1 = nn.ModuleList([convolution(wide, channels[0]), begun])
        for number, count in enumerate(modules, 2):  # stage 2 has two streams, stage 3 three, stage 4 four
            stage = []
            for module in range(count):
                last = module == count - 1
                outputs = 1 if last and number == STREAMS and head == "high" else number
                exchanges = exchange == "all" or (last and (exchange == "stages" or number == STREAMS))
                stage.append(HighResolutionModule(channels[:number], blocks, outputs, exchanges))
            self.add_module(f"stage{number}", nn.Sequential(*stage))
            if number < STREAMS:
                begun = nn.Sequential(convolution(channels[number - 1], channels[number], stride=2))
                self.add_module(f"transition{number}", nn.ModuleList([*(nn.Identity() for _ in range(number)), begun]))
        read = channels[0] if head == "high" else sum(channels)
        self.mix = None if head == "high" else convolution(read, read, kernel=1)
        self.final_layer = nn.Conv2d(read, len(self.skeleton), 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.normal_(self.final_layer.weight, std=0.001)
        nn.init.zeros_(self.final_layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.read(self.flow(images)[-1][1])

    def flow(self, images: Tensor) -> list[tuple[str, list[Tensor]]]:
        """Every moment's name and the streams that leave it, finest first."""
        height, width = images.shape[-2:]
        if height % 32 or width % 32 or not height or not width:
            raise CourseError(f"HRNet needs height and width divisible by 32; got {height} x {width}")
        x = F.relu(self.bn1(self.conv1(self.standardise(images))))
        x = F.relu(self.bn2(self.conv2(x)))
        moments = [("stem", [x]), ("stage 1", [self.layer1(x)])]
        for number in range(2, STREAMS + 1):
            streams = moments[-1][1]
            entered = [*streams, streams[-1]]  # the new stream begins from the coarsest
            transition = getattr(self, f"transition{number - 1}")
            streams = [change(stream) for change, stream in zip(transition, entered, strict=True)]
            for place, module in enumerate(getattr(self, f"stage{number}"), 1):
                streams = module(streams)
                moments.append((f"stage {number}, module {place}", streams))
        return moments

    def read(self, streams: Sequence[Tensor]) -> Tensor:
        """The maps (1, B, K, h, w), from what leaves the last module."""
        if self.mix is None:
            return self.final_layer(streams[0])[None]
        size = streams[0].shape[-2:]
        enlarged = [F.interpolate(stream, size, mode="bilinear", align_corners=False) for stream in streams]
        return self.final_layer(self.mix(torch.cat(enlarged, dim=1)))[None]

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The maps' error, 1 being an all-zero answer."""
        (error,) = self.stage_losses(outputs, batch)
        return {"maps": error, "total": error}


hrnet = HRNet
# 0.11 G multiply-adds; streams of 24, 12, 6 and 3 cells
hrnet_course = partial(
    HRNet, skeleton="lsp", width=16, stem=16, blocks=2, modules=(1, 2, 2), input_size=(96, 96), sigma=1.0
)
