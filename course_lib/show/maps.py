"""Heatmaps over the picture they belong to, each cell where it really is.

A map of stride s is a smaller picture of the same scene (`geometry.py`), so stretching it over the picture's own
extent puts every cell in place, whatever the sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, colors
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib.errors import CourseError
from course_lib.show import people as draw
from course_lib.show import style


def overlay_map(
    ax: Axes,
    image: Any,
    heatmap: Any,
    *,
    maximum: float | None = None,
    colours: str = "inferno",
    dim: float = 0.35,
    opacity: float = 0.9,
    title: str | None = None,
) -> None:
    """Draws a heatmap (H', W') over its picture: the higher the value, the brighter and the more opaque the cell.

    Values at `maximum` (without it the map's own highest) and above are brightest, zero and below are clear.
    """
    values = as_map(heatmap)
    draw.draw_image(ax, image, title, dim=dim)
    top = float(values.max()) if maximum is None else float(maximum)
    share = np.clip(values / top, 0.0, 1.0) if top > 0 else np.zeros_like(values)
    shades = colormaps[colours](0.25 + 0.7 * share)  # the ends of the scale drown in dark and in light pictures
    shades[..., 3] = opacity * np.sqrt(share)
    left, right = ax.get_xlim()
    bottom, top_edge = ax.get_ylim()
    ax.imshow(shades, extent=(left, right, bottom, top_edge), interpolation="nearest")


def as_map(heatmap: Any) -> np.ndarray:
    """A heatmap as an array (H', W'); (1, H', W') is let through. What is not finite counts as zero."""
    values = draw.as_array(heatmap).astype(float)
    values = values[0] if values.ndim == 3 and len(values) == 1 else values
    if values.ndim != 2 or values.size == 0:
        raise CourseError(f"a heatmap to draw has shape (height, width); got {values.shape}")
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def maps_grid(
    image: Any,
    maps: Any,
    names: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    maximum: float | None = None,
    peaks: bool = True,
    width: float | None = None,
    **options,
) -> Figure:
    """One panel for each map of `maps` (K, H', W') over the same picture, named and with its highest value.

    Without `maximum` every panel has its own scale, so read the peak before comparing two panels. Options go to
    `overlay_map`.
    """
    maps = [as_map(one) for one in draw.as_array(maps)] if len(maps) else []
    if not maps:
        raise CourseError("a grid of maps needs at least one map; got none")
    if names is not None and len(names) != len(maps):
        raise CourseError(f"{len(maps)} maps need {len(maps)} names; got {len(names)}")
    columns = min(columns or -(-len(maps) // -(-len(maps) // 6)), len(maps))
    rows = -(-len(maps) // columns)
    width = width or min(style.PAGE, columns * style.PAGE / 2)
    picture = draw.as_picture(image)
    panel = width / columns
    height = rows * (panel * picture.shape[0] / picture.shape[1] + 0.28)
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False)
    for ax in axes.flat[len(maps) :]:
        ax.axis("off")
    for index, ax in enumerate(axes.flat[: len(maps)]):
        name = names[index].replace("_", " ") if names is not None else f"map {index}"
        peak = f" {maps[index].max():.2f}" if peaks else ""
        overlay_map(ax, picture, maps[index], maximum=maximum, **options)
        ax.set_title(f"{name}{peak}", fontsize=min(10.0, 5.2 * panel + 1.5))
    return figure


def map_scale(ax: Axes, maximum: float, label: str = "", colours: str = "inferno") -> None:
    """A colour scale from 0 to `maximum` beside axes drawn by `overlay_map` with that maximum."""
    scale = colors.LinearSegmentedColormap.from_list("scale", colormaps[colours](np.linspace(0.25, 0.95, 64)))
    ready = plt.cm.ScalarMappable(colors.Normalize(0.0, maximum), scale)
    ax.figure.colorbar(ready, ax=ax, label=label, shrink=0.8, aspect=18).outline.set_visible(False)
