"""What stands behind people: procedural texture and pictures that come with scikit-image (none that shows a person)."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.datasets.synthetic.draw import Draw

# Bundled in scikit-image's own package, so nothing is downloaded. Astronaut and camera show people: they are the
# course's two real photographs to try models on, and must never be learned as background.
_PICTURES = ("brick", "chelsea", "clock", "coffee", "coins", "grass", "gravel", "hubble_deep_field")
_PICTURES += ("immunohistochemistry", "moon", "page", "rocket", "text")
_PICTURE_SIZE = 160
_OCTAVES = (2, 5, 12, 28)
_NOISE = 2**20


@cache
def _pictures(device: str) -> Tensor:
    """The bundled pictures as (N, 3, 160, 160), whole and a centre quarter of each."""
    import skimage.data

    from course_lib.images import to_tensor

    views = []
    for name in _PICTURES:
        picture = to_tensor(getattr(skimage.data, name)())
        height, width = picture.shape[-2:]
        for part in (1.0, 0.5):
            side = int(min(height, width) * part)
            top, left = (height - side) // 2, (width - side) // 2
            square = picture[None, :, top : top + side, left : left + side]
            views.append(F.interpolate(square, size=(_PICTURE_SIZE,) * 2, mode="area"))
    return torch.cat(views).to(device)


@cache
def _noise_bank(device: str) -> Tensor:
    """A long strip of Gaussian noise: images read it at random offsets, the same on every device."""
    generator = torch.Generator().manual_seed(20)
    strip = torch.randn(_NOISE, generator=generator)
    return strip.to(device)


def noise(draw: Draw, shape: tuple[int, int, int, int], device: torch.device | str) -> Tensor:
    """Gaussian noise (B, C, H, W)."""
    each = shape[1] * shape[2] * shape[3]
    bank = _noise_bank(str(device))
    bank = bank.repeat(-(-each // _NOISE) + 1)
    starts = draw.integers((shape[0],), 0, _NOISE).tolist()
    return torch.stack([bank[start : start + each] for start in starts]).view(shape)


def draw_backgrounds(
    draw: Draw, count: int, size: tuple[int, int], photographs: float, device: torch.device | str
) -> Tensor:
    """B backgrounds (B, 3, H, W): with chance `photographs` a piece of a picture, else clouds of colour; some have
    a floor of another kind below a horizon."""
    # summed at half size: nobody sees the difference under the noise of the camera
    half = (max(size[0] // 2, 1), max(size[1] // 2, 1))
    clouds = torch.zeros(count, 3, *half, device=device)
    roughness = draw.uniform((count, 1, 1, 1), 0.35, 1.0)
    for level, cells in enumerate(_OCTAVES):
        grid = draw.normal((count, 3, cells, cells)) * 0.3 * roughness**level
        # neighbouring channels share most of their texture, as they do in pictures
        grid = grid * 0.25 + grid.mean(1, keepdim=True)
        clouds += F.interpolate(grid.float().to(device), size=half, mode="bilinear", align_corners=False)
    base = draw.uniform((count, 1, 1, 1), 0.15, 0.85) + draw.normal((count, 3, 1, 1), 0.0, 0.1)
    clouds = (clouds + base.float().to(device)).clamp(0, 1)
    clouds = F.interpolate(clouds, size=size, mode="bilinear", align_corners=False)

    bank = _pictures(str(device))
    chosen = draw.integers((count,), 0, len(bank)).to(device)
    zoom, turn = draw.uniform((count,), 0.35, 1.0), draw.integers((count,), 0, 4) * (torch.pi / 2)
    shift = draw.uniform((count, 2), -1, 1) * (1 - zoom[:, None])
    cos, sin = torch.cos(turn) * zoom, torch.sin(turn) * zoom
    matrix = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], -1).view(count, 2, 3).float().to(device)
    grid = F.affine_grid(matrix, [count, 3, *size], align_corners=False)
    pictures = F.grid_sample(bank[chosen], grid, padding_mode="reflection", align_corners=False)
    tint = draw.uniform((count, 3, 1, 1), 0.6, 1.2) * draw.uniform((count, 1, 1, 1), 0.6, 1.1)
    pictures = pictures * tint.float().to(device)

    is_picture = draw.chance((count, 1, 1, 1), photographs).to(device)
    top = torch.where(is_picture, pictures, clouds)
    other = torch.where(is_picture, clouds, pictures)
    horizon = torch.where(draw.chance((count,), 0.3), draw.uniform((count,), 0.45, 0.85), 2.0) * size[0]
    rows = torch.arange(size[0], device=device)[None, None, :, None]
    return torch.where(rows < horizon.float().to(device)[:, None, None, None], top, other)
