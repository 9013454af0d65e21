"""People drawn as dots, a colour for each of three joints, and a network that reads them: what it sees is known."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.models.base import HeatmapModel
from course_lib.skeletons import Skeleton
from course_lib.targets import heatmaps

THREE = Skeleton(
    "three",
    ("head", "right_hand", "left_hand"),
    limbs=((0, 1), (0, 2)),
    sigmas=(0.1,) * 3,
    torso=("head", "left_hand"),
    head=None,
)
SIZE = (64, 48)
STRIDE = 4


def dots(joints: Tensor, size: tuple[int, int] = SIZE, sigma: float = 4.0) -> Tensor:
    """Pictures (B, 3, *size) of people (B, 3, 2): joint k is a dot in colour k."""
    return heatmaps.gaussian(joints, size, sigma)


class Painted(HeatmapModel):
    """Believes what it sees: the map of joint k is colour k, a cell being the mean of its pixels. Learns nothing."""

    def __init__(self, skeleton: Skeleton = THREE, input_size: tuple[int, int] = SIZE) -> None:
        super().__init__(skeleton, input_size, STRIDE, 1.0, "dark")

    def forward(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(images, STRIDE)[None]


class Always(nn.Module):
    """Answers every picture with the same numbers (N,), which can be learned."""

    def __init__(self, numbers: Tensor) -> None:
        super().__init__()
        self.numbers = nn.Parameter(numbers.flatten().clone())

    def forward(self, images: Tensor) -> Tensor:
        return self.numbers.expand(len(images), -1)
