"""Fields as pictures: the direction of a vector is a hue, its length how full the colour is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colors
from matplotlib.axes import Axes
from torch import Tensor

from course_lib.show import people as draw
from course_lib.show import style

COMPASS = (("right", 0), ("down", 90), ("left", 180), ("up", 270))  # degrees; y runs down, as in pictures


def coloured(vectors: Tensor) -> np.ndarray:
    """Vectors (2, h, w) as colours (h, w, 4): the hue is where they point, the opacity how long they are."""
    x, y = (vectors[k].detach().double().numpy() for k in (0, 1))
    length = np.clip(np.hypot(x, y), 0, 1)
    hue = (np.arctan2(y, x) / (2 * np.pi)) % 1.0
    shades = colors.hsv_to_rgb(np.stack([hue, np.ones_like(hue), 0.92 * np.ones_like(hue)], -1))
    return np.concatenate([shades, length[..., None]], -1)


def strongest(fields: Tensor) -> Tensor:
    """Of all limbs' vectors, (2L, h, w), the longest at every cell: (2, h, w)."""
    vectors = fields.unflatten(0, (-1, 2))  # (L, 2, h, w)
    best = vectors.norm(dim=1).argmax(0)
    return vectors.gather(0, best.expand(1, 2, *best.shape))[0]


def draw_field(ax: Axes, vectors: Tensor, image: Any = None, title: str = "", dim: float = 0.75) -> None:
    """A field (2, h, w) in colours, over a washed-out picture where there is one, else on white and in cells."""
    height, width = vectors.shape[-2:]
    if image is None:
        style.image_axes(ax, height, width)
    else:
        draw.draw_image(ax, image, dim=dim)
        height, width = image.shape[-2:]
    ax.imshow(coloured(vectors), extent=(0, width, height, 0), interpolation="nearest")
    style.image_axes(ax, height, width)
    ax.set_title(title)


def draw_wheel(ax: Axes, words: bool = True) -> None:
    """The legend of such pictures: which colour is which direction; paler to the middle is shorter."""
    side = torch.linspace(-1.05, 1.05, 121)
    vectors = torch.stack([side.expand(121, 121), side[:, None].expand(121, 121)])
    inside = vectors.norm(dim=0) <= 1
    ax.imshow(coloured(torch.where(inside, vectors, 0.0)), extent=(-1.05, 1.05, 1.05, -1.05))
    ax.set(xlim=(-1.75, 1.75), ylim=(1.75, -1.75), aspect="equal")
    ax.axis("off")
    for word, degrees in COMPASS if words else ():
        x, y = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = {"right": 270, "left": 90}.get(word, 0)
        ax.text(1.28 * x, 1.28 * y, word, ha="center", va="center", fontsize=8, rotation=turn)


def draw_arrows(ax: Axes, vectors: Tensor, cells: Sequence[float], scale: float = 0.9, shortest: float = 0.05) -> None:
    """The vectors of a field (2, h, w) as arrows from the centres of the cells within x0, y0, x1, y1; a full one is
    `scale` cells long. Shorter ones than `shortest` are dots."""
    x0, y0, x1, y1 = (int(edge) for edge in cells)
    part = vectors[:, y0:y1, x0:x1].detach()
    x, y = np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5
    u, v = part[0].numpy(), part[1].numpy()
    long = np.hypot(u, v) > shortest
    grid_x, grid_y = np.meshgrid(x, y)
    ax.plot(grid_x[~long], grid_y[~long], ".", color="#C8C8C8", markersize=2.2)
    shades = coloured(part)[long]
    shades[:, :3] *= 0.85  # thin arrows need darker colours than cells
    shades[:, 3] = 1.0
    ax.quiver(
        *(grid_x[long], grid_y[long], scale * u[long], scale * v[long]),
        color=shades,
        angles="xy",
        scale_units="xy",
        scale=1.0,
        pivot="mid",
        width=0.0065,
        headwidth=4.2,
        headlength=4.6,
    )
    ax.set(xlim=(x0, x1), ylim=(y1, y0), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(True)
