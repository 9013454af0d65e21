"""Which cell of a person's box is every joint in? The head that says so, its target, its loss, and how it is read.

The target is one cell out of S x S, S = 56, and so the loss is the cross-entropy of a softmax over *places*,

    L = - mean over the labelled joints k inside their box of  log softmax(logits_k)[cell_k]          ln S^2 = 8.05

which is 8.05 where all places are equally likely. A softmax over places has no answer "not there": every joint of every
person is put somewhere, and how sure that is only the height of its logit can tell.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BINS = 14  # a box's features for the keypoint head are BINS x BINS
REACH = 3  # cells of 56


class KeypointHead(nn.Sequential):
    """`depth` times a 3 x 3 convolution and a ReLU: features (N, inputs, 14, 14) -> (N, width, 14, 14)."""

    def __init__(self, inputs: int, width: int = 512, depth: int = 8) -> None:
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [_start(nn.Conv2d(width if i else inputs, width, 3, padding=1)), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class KeypointPredictor(nn.Module):
    """Features (N, inputs, 14, 14) -> logits (N, K, 56, 56): a learned doubling, then a bilinear one.

    Joints need maps that fine; for masks, which have an inside, the paper stops at 28."""

    def __init__(self, inputs: int, joints: int) -> None:
        super().__init__()
        self.kps_score_lowres = _start(nn.ConvTranspose2d(inputs, joints, 4, stride=2, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.kps_score_lowres(x), scale_factor=2, mode="bilinear", align_corners=False)


def target_cells(keypoints: Tensor, boxes: Tensor, size: int = 4 * BINS) -> tuple[Tensor, Tensor]:
    """In which cell of its box every joint is: keypoints (N, K, 3), boxes (N, 4) -> cells (N, K), asked (N, K) bool.

    col = floor(S (x - x0) / (x1 - x0)), row likewise, cell = S row + col; what lies on the far edge is in the last.
    A joint that is not labelled, or outside the box, is not asked for (`asked` is False, its cell 0).
    """
    corner, far = boxes[:, None, :2], boxes[:, None, 2:]
    places = keypoints[..., :2]
    asked = (keypoints[..., 2] > 0) & ((places >= corner) & (places <= far)).all(dim=-1)
    # a box without width has one column: any positive width then keeps the division from failing
    across = (places - corner) * (size / (far - corner).clamp(min=1e-6))
    column, row = across.floor().clamp(0, size - 1).unbind(-1)
    return torch.where(asked, row * size + column, 0).long(), asked


def keypoint_loss(logits: Tensor, cells: Tensor, asked: Tensor) -> Tensor:
    """The cross-entropy over the S^2 cells, mean over what is asked for: logits (N, K, S, S), the others (N, K)."""
    chosen = logits.flatten(-2)[asked]  # (M, S^2)
    if not len(chosen):
        return chosen.sum()  # 0, but of the network's making: backward works on it
    return F.cross_entropy(chosen, cells[asked])


def read_out(logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """logits (N, K, S, S) on boxes (N, 4) -> joints (N, K, 2) in the boxes' pixels, and their logits (N, K).

    The map is enlarged to the box's size, in whole pixels, by bicubic interpolation; the highest pixel's centre is the
    joint: x = x0 + (i + 1/2) w / ceil(w). A box less than a pixel wide is taken as one pixel wide.
    """
    count, joints = logits.shape[:2]
    places, scores = boxes.new_zeros((count, joints, 2)), logits.new_zeros((count, joints))
    sizes = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    for i, (width, height) in enumerate(sizes.ceil().int().tolist()):
        enlarged = F.interpolate(logits[i][None], size=(height, width), mode="bicubic", align_corners=False)[0]
        scores[i], best = enlarged.flatten(1).max(dim=1)
        pixel = torch.stack([best % width, best // width], dim=-1)
        places[i] = boxes[i, :2] + (pixel + 0.5) * (sizes[i] / sizes[i].ceil())
    return places, scores


def shares(logits: Tensor, joints: Tensor, boxes: Tensor) -> Tensor:
    """How sure each joint is of its place: logits (N, K, S, S), joints (N, K, 2) in boxes (N, 4) -> (N, K) in [0, 1].

    It is the share of the softmax within REACH cells of the joint in x and in y. A logit's height says nothing by
    itself, as a softmax does not hear what is added to all of them, and its own cell's share is small even where all
    that is doubtful is which of some neighbours it is.
    """
    maps = logits.flatten(-2).softmax(-1).view(logits.shape)
    near = F.avg_pool2d(maps, 2 * REACH + 1, stride=1, padding=REACH, divisor_override=1)
    cells, _ = target_cells(F.pad(joints, (0, 1), value=1.0), boxes, logits.shape[-1])
    return near.flatten(-2).gather(-1, cells[..., None])[..., 0].clamp(0, 1)


def grown(boxes: Tensor, by: float) -> Tensor:
    """Boxes (N, 4) about the same middles, both sides `by` times as long; not cut off at the picture's edge."""
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) * (by / 2)
    return torch.cat([middle - half, middle + half], dim=1) if by != 1 else boxes


def _start(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Conv2d | nn.ConvTranspose2d:
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer
