"""Simple baselines: a network for classification, three layers that enlarge, one loss.

Bin Xiao, Haiping Wu, Yichen Wei, "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018 (arXiv
1804.06208). How good can the simplest design be? No skips from down to up, no stages, no special loss; whatever is more
complicated has to beat this.

    image -> ResNet, stride 32 -> 3 x (transposed 4x4, stride 2; normalise; ReLU), stride 4 -> 1x1 -> maps

|                        | paper             | authors' code           | here                              |
|------------------------|-------------------|-------------------------|-----------------------------------|
| parameters, 17 joints  | 34.0 M (ResNet-50)| 33,999,697              | the same; depth=101 and 152 too   |
| multiply-adds, 256x192 | 8.9 G as counted  | 5.426 G                 | 5.426 G; lesson 11 tells why      |
| names of the weights   |                   | `deconv_layers.0.…`     | the same                          |
| target's sigma         | 2 cells           | 2 on maps of 64 x 48    | 2                                 |
| joint's place          |                   | rounded to a cell       | exact                             |
| loss                   | mean squares      | half of it              | in units of an all-zero answer    |
| read-out               | quarter offset    | the same                | DARK; decode(read_out="quarter")  |
| random start           | ImageNet; rest    | N(0, 0.001)             | He; enlarging layers as in torch; |
|                        |                   |                         | the last one near nothing         |
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck

from course_lib.errors import CourseError, unknown_name
from course_lib.models.base import HeatmapModel
from course_lib.models.layers import Standardise
from course_lib.pose import Batch
from course_lib.skeletons import Skeleton

DEPTHS = {
    **{18: (BasicBlock, (2, 2, 2, 2)), 34: (BasicBlock, (3, 4, 6, 3)), 50: (Bottleneck, (3, 4, 6, 3))},
    **{101: (Bottleneck, (3, 4, 23, 3)), 152: (Bottleneck, (3, 8, 36, 3))},
}
KERNELS = {2: (0, 0), 3: (1, 1), 4: (1, 0)}  # padding and output padding with which a stride of 2 doubles exactly


def layer(block: type[nn.Module], inputs: int, width: int, count: int, stride: int) -> nn.Sequential:
    """A layer of a ResNet: `count` blocks, of which the first has the stride."""
    outputs = width * block.expansion
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    first = block(inputs, width, stride, shortcut)
    return nn.Sequential(first, *(block(outputs, width) for _ in range(count - 1)))


class SimpleBaseline(HeatmapModel):
    """One person's maps, (1, B, K, H / stride, W / stride). Sides of the pictures must be divisible by 32.

    depth: of the ResNet.  width: channels of its first layer, 64 in every published one.  deconvs: how often the maps
    of stride 32 are doubled, so that the stride is 32 / 2^deconvs.  kernel: of the transposed convolutions, 2, 3 or 4.
    deconv_width: their channels.
    """

    def __init__(
        self,
        skeleton: str | Skeleton = "coco",
        depth: int = 50,
        width: int = 64,
        deconvs: int = 3,
        kernel: int = 4,
        deconv_width: int = 256,
        input_size: tuple[int, int] = (256, 192),
        sigma: float = 2.0,
        read_out: str = "dark",
    ) -> None:
        if depth not in DEPTHS:
            raise unknown_name("depth of a ResNet", depth, DEPTHS)
        if kernel not in KERNELS:
            raise unknown_name("kernel of a transposed convolution", kernel, KERNELS)
        if min(width, deconv_width) < 1 or not 1 <= deconvs <= 5:
            raise CourseError(
                "a simple baseline needs channels and 1 to 5 transposed convolutions; got "
                f"width={width}, deconv_width={deconv_width}, deconvs={deconvs}"
            )
        super().__init__(skeleton, input_size, 32 // 2**deconvs, sigma, read_out)
        block, counts = DEPTHS[depth]
        self.standardise = Standardise()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for number, count in enumerate(counts, 1):
            inside = width * 2 ** (number - 1)
            self.add_module(f"layer{number}", layer(block, inputs, inside, count, stride=1 if number == 1 else 2))
            inputs = inside * block.expansion
        padding, more = KERNELS[kernel]
        enlarge = []
        for _ in range(deconvs):
            up = nn.ConvTranspose2d(inputs, deconv_width, kernel, 2, padding, more, bias=False)
            enlarge += [up, nn.BatchNorm2d(deconv_width), nn.ReLU(inplace=True)]
            inputs = deconv_width
        self.deconv_layers = nn.Sequential(*enlarge)
        self.final_layer = nn.Conv2d(deconv_width, len(self.skeleton), 1)
        for one in self.modules():
            if isinstance(one, nn.Conv2d):
                nn.init.kaiming_normal_(one.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.final_layer.weight, std=0.001)
        nn.init.zeros_(self.final_layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.final_layer(self.features(images)[-1])[None]

    def features(self, images: Tensor) -> list[Tensor]:
        """The maps (B, channels, h, w) of every resolution: down through the ResNet, then up again."""
        height, width = images.shape[-2:]
        if height % 32 or width % 32 or not height or not width:
            raise CourseError(f"a simple baseline needs height and width divisible by 32; got {height} x {width}")
        x = F.relu(self.bn1(self.conv1(self.standardise(images))))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        maps = []
        for one in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = one(x)
            maps.append(x)
        for one in self.deconv_layers:
            x = one(x)
            if isinstance(one, nn.ReLU):
                maps.append(x)
        return maps

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The maps' error, 1 being an all-zero answer."""
        (error,) = self.stage_losses(outputs, batch)
        return {"maps": error, "total": error}


pose_resnet = SimpleBaseline
# 0.10 G multiply-adds, about as many as `hrnet_course`; maps of 24, 12, 6, 3 and again 6, 12, 24 cells
pose_resnet_course = partial(
    SimpleBaseline, skeleton="lsp", depth=18, width=32, deconv_width=64, input_size=(96, 96), sigma=1.0
)
