"""Histograms of oriented gradients with round cells, and templates on them that turn exactly.

Dalal and Triggs' HOG (2005) votes gradient orientations into square cells. A limb points anywhere, so its template has
to be turned, and squares turn badly. Here the cells are round (Gaussian), and there are half as many orientation bins
as rotations: turning a template by one step of 2 pi / R then moves every cell about the part's centre and shifts the
bins by exactly one, since a gradient's orientation counts modulo pi. One picture of features serves all rotations, and
a turned template is the kernel of an ordinary convolution.

    pictures -> gradients -> votes by orientation -> blurred cells, divided by the energy around -> * turned templates
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

BLUR = 1.0  # standard deviation of a round cell, in cells of the feature map
AROUND = 4.0  # of the neighbourhood whose energy a cell is divided by
LEAST = 1e-6  # gradient: less is what rounding leaves in a flat picture that was shrunk
FLOOR = 0.02  # energy that counts as none: mean gradient of a flat wall with noise, for grey values in [0, 1]


def features(images: Tensor, bins: int, stride: int) -> Tensor:
    """images (B, 3, H, W) -> (B, bins, H / stride, W / stride): how much gradient of each orientation is where.

    A pixel's gradient is that of the colour channel where it is strongest. Its vote is shared between the two nearest
    bins. Bin b is centred at orientation b * pi / bins.
    """
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    channel = (dx.square() + dy.square()).argmax(1, keepdim=True)
    dx, dy = dx.gather(1, channel), dy.gather(1, channel)  # (B, 1, H, W)
    strength = (dx.square() + dy.square()).sqrt() / 2
    strength = strength * (strength > LEAST)
    place = torch.atan2(dy, dx).remainder(math.pi) * (bins / math.pi)  # in [0, bins)
    away = (place - torch.arange(bins, device=images.device)[:, None, None]).abs()
    votes = strength * (1 - torch.minimum(away, bins - away)).clamp(min=0)  # (B, bins, H, W)
    cells = blur(F.avg_pool2d(votes, stride), BLUR)
    energy = blur(cells.sum(1, keepdim=True), AROUND)
    return (cells / (energy + FLOOR)).sqrt()


def blur(maps: Tensor, sigma: float) -> Tensor:
    """maps (B, C, H, W) blurred by a Gaussian; beyond the border there is nothing, and it is not counted."""
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype) / sigma) ** 2)
    kernel = kernel / kernel.sum()

    def both(flat: Tensor) -> Tensor:
        flat = F.conv2d(flat, kernel[None, None, :, None], padding=(reach, 0))
        return F.conv2d(flat, kernel[None, None, None], padding=(0, reach))

    flat = both(maps.reshape(-1, 1, *maps.shape[-2:])).reshape(maps.shape)
    return flat / both(torch.ones_like(maps[:1, :1]))


def lattice(extent: Tensor, cells: tuple[int, int]) -> Tensor:
    """Where a template looks: extent (P, 2) pixels along and across a part -> places (P, A * C, 2) in its own frame."""
    steps = [torch.arange(n, device=extent.device) / max(n - 1, 1) - 0.5 for n in cells]
    grid = torch.stack(torch.meshgrid(*steps, indexing="ij"), dim=-1).reshape(-1, 2)
    return grid.to(extent.dtype) * extent[:, None]


def turned(points: Tensor, rotations: int) -> Tensor:
    """points (..., 2) in a part's frame -> (R, ..., 2) in the picture's directions, for every rotation."""
    angle = torch.arange(rotations, device=points.device) * (2 * math.pi / rotations)
    cos, sin = torch.cos(angle).to(points.dtype), torch.sin(angle).to(points.dtype)
    turn = torch.stack([cos, -sin, sin, cos], dim=-1).unflatten(-1, (2, 2))  # (R, 2, 2)
    return torch.einsum("rij,...j->r...i", turn, points)


def kernel(template: Tensor, extent: Tensor, cells: tuple[int, int], rotations: int, stride: int, step: int) -> Tensor:
    """A template (bins, A * C) of extent (2,) pixels as kernels (R, bins, k, k) on features, turned every way.

    A weight between four cells of the feature map is shared among them, as bilinear sampling would read it. `step` is
    how many cells the convolution strides: kernels are even where it is, so that their middle falls on its centres.
    """
    places = turned(lattice(extent[None], cells)[0], rotations) / stride  # (R, A * C, 2) in cells from the middle
    size = 2 * math.ceil(float(places.abs().max()) + 1) + step % 2
    axis = torch.arange(size, device=extent.device) - (size - 1) / 2
    near = (1 - (places[..., None] - axis).abs()).clamp(min=0)  # (R, cells, 2, k): shares in x and in y
    shares = near[..., 1, :, None] * near[..., 0, None, :]  # (R, cells, k, k)
    shifted = torch.stack([template.roll(turn, dims=0) for turn in range(rotations)])  # (R, bins, cells)
    return torch.einsum("rbc,rcij->rbij", shifted, shares)


def responses(maps: Tensor, kernel: Tensor, step: int) -> Tensor:
    """Features (B, bins, h, w) * kernels (R, bins, k, k) -> (B, R, h / step, w / step), centred on coarser cells."""
    pad = (kernel.shape[-1] - step) // 2
    return F.conv2d(maps, kernel, stride=step, padding=pad)


def windows(maps: Tensor, centres: Tensor, turns: Tensor, places: Tensor, stride: int) -> Tensor:
    """What templates see: maps (N, bins, h, w), centres (N, 2) pixels, turns (N,) steps, places (N, cells, 2) turned.

    -> (N, bins, cells), with the bins turned back into the part's own frame. Beyond the picture there is nothing.
    """
    height, width = maps.shape[-2:]
    at = (centres[:, None] + places) / stride  # (N, cells, 2) in cells from the corner
    at = 2 * at / at.new_tensor([width, height]) - 1
    seen = F.grid_sample(maps, at[:, None], mode="bilinear", padding_mode="zeros", align_corners=False)[:, :, 0]
    bins = torch.arange(maps.shape[1], device=maps.device)
    source = (bins + turns[:, None]) % maps.shape[1]  # (N, bins)
    return seen.gather(1, source[..., None].expand_as(seen))
