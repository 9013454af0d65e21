"""What several networks share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's red, green and blue


class Standardise(nn.Module):
    """images (B, 3, H, W) in [0, 1] -> (image - mean) / deviation, as networks expect that began from ImageNet.

    The numbers are constants and no part of the weights, so that published ones fit. `blue_first`: the colours come out
    as blue, green, red, as Caffe's networks know them.
    """

    def __init__(
        self, mean: Sequence[float] = MEAN, deviation: Sequence[float] = DEVIATION, blue_first: bool = False
    ) -> None:
        super().__init__()
        self.blue_first = blue_first
        for name, values in (("mean", mean), ("deviation", deviation)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        standard = (images - self.mean) / self.deviation
        return standard.flip(-3) if self.blue_first else standard
