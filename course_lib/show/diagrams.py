"""Drawings made by code: boxes and arrows for networks and maps of ideas, circles for tolerances.

diagram = Diagram(ax)
first = diagram.box(0, 0, "image\\n128 x 128")
second = diagram.box(3, 0, "network", colour=style.SKY)
diagram.arrow(first, second, "crop")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from course_lib.errors import CourseError
from course_lib.show import people as draw
from course_lib.show import style

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A drawn box; arrows may start and end at it."""

    centre: Point
    width: float
    height: float
    patch: FancyBboxPatch

    def side(self, name: str) -> Point:
        """The middle of the 'left', 'right', 'top' or 'bottom' edge."""
        steps = {"left": (-0.5, 0), "right": (0.5, 0), "top": (0, 0.5), "bottom": (0, -0.5)}
        if name not in steps:
            raise CourseError(f"a box has the sides left, right, top and bottom; got '{name}'")
        x, y = steps[name]
        return self.centre[0] + x * self.width, self.centre[1] + y * self.height


class Diagram:
    """Boxes and arrows on axes of their own, in any units, y up. The axes grow with what is drawn."""

    def __init__(self, ax: Axes) -> None:
        self.ax = ax
        self._low, self._high = np.full(2, np.inf), np.full(2, -np.inf)
        ax.set_aspect("equal")
        ax.axis("off")

    def box(
        self,
        x: float,
        y: float,
        text: str = "",
        *,
        width: float = 1.8,
        height: float = 0.8,
        colour: str = style.SKY,
        size: float = 9.0,
    ) -> Box:
        """A rounded box about (x, y): a pale fill of `colour`, its edge in full colour."""
        corner = 0.12 * min(width, height)
        patch = FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle=f"round,pad=0,rounding_size={corner}",
            facecolor=_pale(colour),
            edgecolor=colour,
            linewidth=1.4,
            zorder=2,
        )
        self.ax.add_patch(patch)
        if text:
            self.ax.text(x, y, text, ha="center", va="center", fontsize=size, zorder=3, linespacing=1.25)
        self._grow((x - width / 2, y - height / 2), (x + width / 2, y + height / 2))
        return Box((x, y), width, height, patch)

    def arrow(
        self,
        start: Box | Point,
        end: Box | Point,
        text: str = "",
        *,
        bend: float = 0.0,
        dashed: bool = False,
        colour: str = style.INK,
        size: float = 8.5,
    ) -> None:
        """An arrow between boxes (from edge to edge) or points. `bend` from -1 to 1 curves it."""
        ends = [item.centre if isinstance(item, Box) else item for item in (start, end)]
        patches = [item.patch if isinstance(item, Box) else None for item in (start, end)]
        self.ax.add_patch(
            FancyArrowPatch(
                *ends,
                patchA=patches[0],
                patchB=patches[1],
                shrinkA=2,
                shrinkB=2,
                connectionstyle=f"arc3,rad={bend}",
                arrowstyle="-|>",
                mutation_scale=10,
                linewidth=1.3,
                linestyle=(0, (4, 2.5)) if dashed else "-",
                color=colour,
                zorder=1,
            )
        )
        first, last = np.array(ends[0], float), np.array(ends[1], float)
        across = np.array([last[1] - first[1], first[0] - last[0]])  # matplotlib's arc3 bends to this side
        middle = (first + last) / 2 + across * bend / 2
        self._grow(middle, middle)
        if text:
            self.text(*middle, text, size=size)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 9.0,
        colour: str = style.INK,
        align: str = "center",
    ) -> None:
        """Words on a white ground."""
        ground = {"boxstyle": "square,pad=0.15", "facecolor": style.PAPER, "edgecolor": "none"}
        self.ax.text(x, y, text, ha=align, va="center", fontsize=size, color=colour, zorder=4, bbox=ground)
        self._grow((x, y), (x, y))

    def frame(self, boxes: Sequence[Box], text: str = "", *, colour: str = style.GREY, margin: float = 0.3) -> None:
        """A dashed frame around boxes that belong together, its title on the upper edge."""
        if not boxes:
            raise CourseError("a frame needs at least one box to go around")
        low = np.min([(b.centre[0] - b.width / 2, b.centre[1] - b.height / 2) for b in boxes], axis=0) - margin
        high = np.max([(b.centre[0] + b.width / 2, b.centre[1] + b.height / 2) for b in boxes], axis=0) + margin
        shape = "round,pad=0,rounding_size=0.12"
        dashes = {"linestyle": (0, (4, 3)), "linewidth": 1.1, "edgecolor": colour, "facecolor": "none"}
        self.ax.add_patch(FancyBboxPatch(low, *(high - low), boxstyle=shape, zorder=0.5, **dashes))
        self._grow(low, high)
        if text:
            self.text((low[0] + high[0]) / 2, high[1], text, size=9.0, colour=style.INK)

    def _grow(self, low: Any, high: Any) -> None:
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        margin = 0.02 * np.ptp([self._low, self._high], axis=0).max() + 0.15
        self.ax.set(xlim=(self._low[0] - margin, self._high[0] + margin))
        self.ax.set(ylim=(self._low[1] - margin, self._high[1] + margin))


def _pale(colour: str) -> tuple[float, float, float]:
    return tuple(0.8 + 0.2 * value for value in colors.to_rgb(colour))


def draw_circles(
    ax: Axes,
    centres: Any,
    radii: Any,
    label: str | None = None,
    *,
    colour: str = style.GREEN,
    fill: float = 0.18,
) -> None:
    """Circles of `radii` (one, or one for each) about centres (N, 2), in the picture's pixels: tolerances of a score.

    What is NaN is left out. `label` goes to the axes' legend.
    """
    centres = draw.as_array(centres).astype(float).reshape(-1, 2)
    radii = np.broadcast_to(draw.as_array(radii).astype(float), len(centres))
    keep = np.isfinite(centres).all(-1) & np.isfinite(radii)
    size = 2 * radii[keep]
    circles = EllipseCollection(
        size,
        size,
        np.zeros(len(size)),
        units="xy",
        offsets=centres[keep],
        offset_transform=ax.transData,
        facecolors=colors.to_rgba(colour, fill),
        edgecolors=colour,
        linewidths=1.3,
        zorder=2.6,
    )
    ax.add_collection(circles, autolim=False)
    if label is not None:  # matplotlib's legends cannot show such a collection: an empty scatter stands for it
        look = {"facecolors": [colors.to_rgba(colour, fill)], "edgecolors": [colour], "linewidths": 1.3}
        ax.scatter([], [], s=70, label=label, **look)
