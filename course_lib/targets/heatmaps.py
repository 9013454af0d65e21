"""Heatmaps: drawing the Gaussian a network is asked for, and reading a joint out of the map it answers with.

Coordinates are in map units: a map of width W spans 0 to W, the centre of cell c is c + 0.5 (see `geometry.py`). A
map of stride s is drawn from joints / s and its joints are multiplied by s afterwards; there is no half-cell term.

    H_j(p) = exp(-||p - c_j||^2 / (2 sigma^2))        at the cell centres p: peak 1, never cut off, c_j not rounded

Reading out, simplest first: `argmax` (the highest cell), `quarter` (Newell et al. 2016: a quarter cell towards the
higher neighbour), `dark` (Zhang et al., "Distribution-Aware Coordinate Representation for Human Pose Estimation",
CVPR 2020: one Newton step on the log of the blurred map), `softargmax` (the expectation under a softmax) and `centroid`
(the centre of mass of the 5x5 cells around the peak). All take maps (..., K, H, W) and return joints (..., K, 2) and
scores (..., K), the height of the peak. A map that is not finite counts as a map of zeros: score 0, first cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.errors import CourseError, unknown_name

# --- drawing ----------------------------------------------------------------------------------------------------------


def gaussian(joints: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """Draws joints (..., K, 2) in map units as maps (..., K, *size) of peak 1, in float32."""
    if not sigma > 0:
        raise CourseError(f"sigma must be a positive number of cells; got {sigma}")
    rows = _bell(joints[..., 1], size[0], sigma)  # (..., K, H)
    columns = _bell(joints[..., 0], size[1], sigma)  # (..., K, W)
    return rows[..., :, None] * columns[..., None, :]  # a round Gaussian is the product of two


def _bell(centre: Tensor, length: int, sigma: float) -> Tensor:
    cells = torch.arange(length, device=centre.device) + 0.5
    return torch.exp(-((cells - centre[..., None].float()) ** 2) / (2 * sigma**2))


def zero_level(size: tuple[int, int], sigma: float, power: int = 2) -> float:
    """Mean squared error of an all-zero answer: pi sigma^2 / (W H), the mean of H_j^2 for a joint off the border.

    Any loss near this number means "the network answers nothing", however small it looks. With `power` 1 it is the mean
    absolute error, twice as much: the mean of H_j^power is 2 pi sigma^2 / (power W H).
    """
    return 2 * math.pi * sigma**2 / (power * size[0] * size[1])


# Where the Gaussian is centred. Old code bases snap the joint to a cell first, which no read-out can repair.
ENCODERS: dict[str, Callable[[Tensor], Tensor]] = {
    "fractional": lambda joints: joints,
    "rounded": lambda joints: joints.floor() + 0.5,  # the centre of the cell the joint lies in
    "floored": lambda joints: (joints - 0.5).floor() + 0.5,  # int() of a pixel-index coordinate: half a cell too low
}

# --- reading out ------------------------------------------------------------------------------------------------------


def read_out(maps: Tensor, method: str = "dark", **options) -> tuple[Tensor, Tensor]:
    """Reads joints (..., K, 2) in map units and scores (..., K) out of maps (..., K, H, W) by a named method."""
    if method not in READ_OUTS:
        raise unknown_name("read-out", method, READ_OUTS)
    return READ_OUTS[method](maps, **options)


def argmax(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The centre of the highest cell; of the first one where several are equally high."""
    _, cell, score = _peak(maps)
    return cell + 0.5, score


def quarter(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The highest cell, moved by 1/4 on each axis towards the higher neighbour. Ties and border peaks stay."""
    maps, cell, score = _peak(maps)
    inside = _inside(cell, maps.shape, margin=1)[..., None]
    return cell + 0.5 + 0.25 * torch.sign(_slope(_window(maps, cell, 1))) * inside, score


def dark(maps: Tensor, sigma: float = 2.0) -> tuple[Tensor, Tensor]:
    """DARK: log of the blurred map, then one Newton step from the highest cell, mu = m - H^-1 g.

    `sigma` (cells) is the blur's, best the target's. The log of a Gaussian is a parabola whatever its width, so the
    blur, which widens it, does not move the top. Within 2.5 sigma + 1 cells of the border the blur would mix in what
    lies outside, and the step is taken without it; on the last two cells, or where it is no hill, `quarter` answers.
    """
    maps, cell, score = _peak(maps)
    reach = math.ceil(3 * sigma)
    window = _window(maps, cell, 2 + reach)  # only the 5x5 cells around the peak are needed, so only they are blurred
    bell = torch.exp(-((torch.arange(-reach, reach + 1, device=maps.device) / sigma) ** 2) / 2)
    bell = (bell / bell.sum()).view(1, 1, -1, 1)
    blurred = F.conv2d(F.conv2d(window.flatten(0, -3)[:, None], bell), bell.transpose(-1, -2))
    blurred = blurred.view(*window.shape[:-2], 5, 5)
    plain = window[..., reach : reach + 5, reach : reach + 5]
    within = _inside(cell, maps.shape, margin=math.ceil(2.5 * sigma) + 1)
    step, hill = _newton_step(torch.log(torch.where(within[..., None, None], blurred, plain).clamp(min=1e-10)))
    safe = hill & (score > 0) & _inside(cell, maps.shape, margin=2)
    return torch.where(safe[..., None], cell + 0.5 + step, quarter(maps)[0]), score


def _newton_step(log: Tensor) -> tuple[Tensor, Tensor]:
    """The step (..., 2) from the middle of 5x5 values to the top of the parabola through them, and whether it is one.

    First differences span two cells, second ones four, which halves what noise does to them.
    """
    middle = log[..., 2, 2]
    x, y = _slope(log[..., 1:4, 1:4]).unbind(-1)
    xx = (log[..., 2, 4] - 2 * middle + log[..., 2, 0]) / 4
    yy = (log[..., 4, 2] - 2 * middle + log[..., 0, 2]) / 4
    xy = (log[..., 3, 3] - log[..., 1, 3] - log[..., 3, 1] + log[..., 1, 1]) / 4
    determinant = xx * yy - xy**2
    hill = (determinant > 1e-12) & (xx < 0)
    step = torch.stack([xy * y - yy * x, xy * x - xx * y], dim=-1)
    step = step / torch.where(hill, determinant, 1.0)[..., None]
    return step.clamp(-2, 2), hill  # beyond the cells that were looked at, nothing is known


def softargmax(maps: Tensor, beta: float = 50.0) -> tuple[Tensor, Tensor]:
    """The expected position under softmax(beta * map). Differentiable; a low beta is pulled to the map's centre."""
    maps, _, score = _peak(maps)
    height, width = maps.shape[-2:]
    share = torch.softmax(beta * maps.flatten(-2), dim=-1).unflatten(-1, (height, width))
    x = share.sum(-2) @ (torch.arange(width, device=maps.device) + 0.5)
    y = share.sum(-1) @ (torch.arange(height, device=maps.device) + 0.5)
    return torch.stack([x, y], dim=-1), score


def centroid(maps: Tensor, radius: int = 2) -> tuple[Tensor, Tensor]:
    """The centre of mass of the positive values in the (2 radius + 1)^2 cells around the highest one."""
    maps, cell, score = _peak(maps)
    mass = _window(maps, cell, radius).clamp(min=0)
    steps = torch.arange(-radius, radius + 1.0, device=maps.device)
    total = mass.sum((-2, -1))
    moment = torch.stack([mass.sum(-2) @ steps, mass.sum(-1) @ steps], dim=-1)
    return cell + 0.5 + moment / total.clamp(min=torch.finfo(total.dtype).tiny)[..., None], score


READ_OUTS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "argmax": argmax,
    "quarter": quarter,
    "dark": dark,
    "softargmax": softargmax,
    "centroid": centroid,
}


def _peak(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Finite float32 maps (..., K, H, W), the highest cell (..., K, 2) as x, y, and its height (..., K)."""
    if maps.ndim < 3 or 0 in maps.shape[-2:]:
        raise CourseError(f"heatmaps must have shape (..., K, H, W) with H, W >= 1; got {tuple(maps.shape)}")
    maps = maps.float()
    finite = maps.isfinite().all(-1).all(-1)
    maps = torch.where(finite[..., None, None], maps, 0.0)
    score, index = maps.flatten(-2).max(-1)
    width = maps.shape[-1]
    cell = torch.stack([index % width, index.div(width, rounding_mode="floor")], dim=-1)
    return maps, cell.float(), score


def _window(maps: Tensor, cell: Tensor, radius: int) -> Tensor:
    """The (2 radius + 1)^2 cells around `cell` (..., K, 2) of every map; zeros beyond the border."""
    padded = F.pad(maps, (radius,) * 4)
    steps = torch.arange(2 * radius + 1, device=maps.device)
    x, y = (cell.long()[..., None] + steps).unbind(-2)  # (..., K, 2 radius + 1) each
    index = y[..., :, None] * padded.shape[-1] + x[..., None, :]
    return padded.flatten(-2).gather(-1, index.flatten(-2)).unflatten(-1, (len(steps), len(steps)))


def _slope(window: Tensor) -> Tensor:
    """Half the difference of the two neighbours on each axis, from 3x3 windows: (..., 2) as x, y."""
    return torch.stack([window[..., 1, 2] - window[..., 1, 0], window[..., 2, 1] - window[..., 0, 1]], -1) / 2


def _inside(cell: Tensor, shape: Sequence[int], margin: int) -> Tensor:
    """Whether a cell has `margin` further cells on all four sides: (..., K)."""
    last = cell.new_tensor([shape[-1], shape[-2]]) - 1
    return ((cell >= margin) & (cell <= last - margin)).all(-1)


# --- measuring --------------------------------------------------------------------------------------------------------


def error_table(
    methods: Sequence[str] = tuple(READ_OUTS),
    sigmas: Sequence[float] = (1.0, 2.0, 3.0),
    encoders: Sequence[str] = tuple(ENCODERS),
    noises: Sequence[float] = (0.0, 0.02),
    size: tuple[int, int] = (64, 64),
    count: int = 1500,
    seed: int = 0,
) -> list[dict]:
    """What drawing and reading out cost with a perfect network: mean distance in cells for every combination.

    One row per sigma, encoder and noise (standard deviation of what is added to every cell), with the columns
    "sigma", "encoder", "noise" and one per method. Joints lie anywhere but within 4 sigma of the border; all rows
    share the same joints and the same noise.
    """
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(1, count, 2, generator=generator)
    unit_noise = torch.randn(1, count, *size, generator=generator)
    rows = []
    for sigma in sigmas:
        margin = 4 * sigma
        extent = torch.tensor([size[1], size[0]]) - 2 * margin
        if extent.min() <= 0:
            raise CourseError(f"maps of {size[0]} x {size[1]} leave no room for sigma {sigma} away from the border")
        joints = margin + place * extent
        for encoder in encoders:
            if encoder not in ENCODERS:
                raise unknown_name("encoder", encoder, ENCODERS)
            clean = gaussian(ENCODERS[encoder](joints), size, sigma)
            for noise in noises:
                maps = clean + noise * unit_noise
                row = {"sigma": sigma, "encoder": encoder, "noise": noise}
                for method in methods:
                    options = {"sigma": sigma} if method == "dark" else {}
                    answer, _ = read_out(maps, method, **options)
                    row[method] = float((answer - joints).norm(dim=-1).mean())
                rows.append(row)
    return rows
