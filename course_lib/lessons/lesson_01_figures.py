"""Figures of lesson 01: parts and springs, two parts on a line, messages, marginals, clouds, poselets.

A part's state is (x, y, angle, scale) here: floats in pixels and radians, as `states_to_parts` makes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import patheffects
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Polygon, Wedge
from torch import Tensor
from torch.nn import functional as F

from course_lib import show
from course_lib.show import style

THICK = {"torso": 20.0, "head": 14.0}  # pixels across a drawn part; limbs are thinner
LIMB = 8.0


def part_colour(name: str) -> str:
    """The course's colours: warm for the person's right, cool for the left."""
    side, kind = name.split()[0], "arm" if "arm" in name else "leg"
    return show.PART_COLOURS[name if name in show.PART_COLOURS else f"{side} {kind}"]


def thickness(name: str) -> float:
    """How thick a part is drawn."""
    return THICK.get(name, LIMB)


def corners(part: Sequence[float], length: float, width: float) -> np.ndarray:
    """The rectangle (4, 2) of a part (x, y, angle, scale): `length` along its frame's first axis, `width` across.

    The scale is a stick's, so it stretches the length alone.
    """
    x, y, angle, scale = part
    cos, sin = math.cos(angle), math.sin(angle)
    box = np.array([[-length, -width], [length, -width], [length, width], [-length, width]]) / 2 * (scale, 1)
    return box @ np.array([[cos, sin], [-sin, cos]]) + (x, y)


def at(part: Sequence[float], point: Sequence[float]) -> np.ndarray:
    """Where a point of a part's own frame is in the picture."""
    x, y, angle, scale = part
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([x + scale * (cos * point[0] - sin * point[1]), y + scale * (sin * point[0] + cos * point[1])])


def arranged(parents: Sequence[int], joints: Any, root: Sequence[float]) -> list[tuple[float, ...]]:
    """Every part (x, y, angle, scale) where its spring wants it: no spring is stretched, no joint bent."""
    parts: dict[int, tuple[float, ...]] = {parents.index(-1): tuple(root)}
    while len(parts) < len(parents):
        for p, parent in enumerate(parents):
            if p in parts or parent not in parts:
                continue
            above = parts[parent]
            angle = above[2] + float(joints.angle[p])
            scale = above[3] * math.exp(float(joints.stretch[p]))
            joint = at(above, joints.at_parent[p].tolist())
            centre = joint - at((0, 0, angle, scale), joints.at_child[p].tolist())
            parts[p] = (*centre, angle, scale)
    return [parts[p] for p in range(len(parents))]


# --- parts and springs ------------------------------------------------------------------------------------------------


def draw_part(ax: Axes, part: Sequence[float], length: float, width: float, colour: str, **options: Any) -> None:
    """A part as a rectangle."""
    look = {"facecolor": colour, "alpha": 0.35, "edgecolor": colour, "linewidth": 1.4, "closed": True} | options
    ax.add_patch(Polygon(corners(part, length, width), **look))


def draw_spring(ax: Axes, start: Sequence[float], end: Sequence[float], turns: int = 4, wide: float = 1.0) -> None:
    """A coil between two points."""
    start, end = np.array(start, float), np.array(end, float)
    way = end - start
    across = np.array([-way[1], way[0]]) / max(np.hypot(*way), 1e-9)
    t = np.linspace(0, 1, 30 * turns)
    swing = wide * np.sin(2 * np.pi * turns * t) * np.minimum(1, 6 * np.minimum(t, 1 - t))
    line = start + t[:, None] * way + swing[:, None] * across
    ax.plot(*line.T, color=style.INK, linewidth=1.1, zorder=5)
    for point in (start, end):
        ax.plot(*point, "o", color=style.INK, markersize=3, zorder=6)


def draw_springs(
    names: Sequence[str],
    parents: Sequence[int],
    joints: Any,
    lengths: Sequence[float],
    pull: float = 1.35,
) -> Figure:
    """Left the parts pulled apart, with the springs that hold them; right the springs as they were learned."""
    widths = [thickness(name) for name in names]
    parts = arranged(list(parents), joints, (0.0, 0.0, -math.pi / 2, 1.0))
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 5.2), width_ratios=(1.2, 1))
    apart = [(pull * x, pull * y, angle, scale) for x, y, angle, scale in parts]
    for p, (one, name) in enumerate(zip(apart, names, strict=True)):
        draw_part(left, one, lengths[p], widths[p], part_colour(name))
        if parents[p] >= 0:
            ends = at(apart[parents[p]], joints.at_parent[p].tolist()), at(one, joints.at_child[p].tolist())
            draw_spring(left, *ends, wide=0.9)
        _name(left, one, name)
    for ax, drawn, widen in ((left, apart, 1.0), (right, parts, 1.0)):
        points = np.concatenate([corners(one, lengths[p], widths[p]) for p, one in enumerate(drawn)])
        low, high = points.min(0) - 10 * widen, points.max(0) + 8
        ax.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), aspect="equal")
        ax.axis("off")
    draw_learned(right, names, parents, joints, lengths)
    left.set_title("parts, and springs between them")
    right.set_title("red: how far apart; grey: how turned")
    return figure


def draw_learned(ax: Axes, names: Sequence[str], parents: Sequence[int], joints: Any, lengths: Sequence[float]) -> None:
    """Springs as ellipses of one and two standard deviations, and the directions in which two thirds have the part."""
    parts = arranged(list(parents), joints, (0.0, 0.0, -math.pi / 2, 1.0))
    for p, (one, name) in enumerate(zip(parts, names, strict=True)):
        draw_part(ax, one, lengths[p], thickness(name), part_colour(name), alpha=0.18)
        if parents[p] < 0:
            continue
        joint = at(parts[parents[p]], joints.at_parent[p].tolist())
        for times, alpha in ((2, 0.2), (1, 0.4)):
            size = [2 * times * s for s in joints.spread[p].tolist()]
            ax.add_patch(Ellipse(joint, *size, facecolor=style.VERMILION, alpha=alpha, zorder=4))
        _draw_turn(ax, joint, one, joints.kappa.tolist()[p], lengths[p])


def _name(ax: Axes, part: Sequence[float], name: str) -> None:
    words = name.replace(" ", "\n", 1)
    glow = [patheffects.withStroke(linewidth=2.2, foreground=style.PAPER)]
    ax.text(part[0], part[1], words, ha="center", va="center", fontsize=7.5, zorder=7, path_effects=glow)


def _draw_turn(ax: Axes, joint: Sequence[float], part: Sequence[float], kappa: float, length: float) -> None:
    """The directions in which two thirds of the people have this part, as a wedge from the joint."""
    way = np.array(part[:2]) - joint
    if np.hypot(*way) < 1e-6:
        return
    middle, play = math.degrees(math.atan2(way[1], way[0])), math.degrees(two_thirds(kappa))
    look = {"facecolor": style.GREY, "alpha": 0.28, "edgecolor": "none", "zorder": 1}
    ax.add_patch(Wedge(joint, 0.75 * length, middle - play, middle + play, **look))


def two_thirds(kappa: float) -> float:
    """How far to either side of the mean two thirds of a von Mises distribution lie, in radians."""
    angle = np.linspace(0, math.pi, 2001)
    share = np.cumsum(np.exp(kappa * (np.cos(angle) - 1)))
    return float(angle[np.searchsorted(share / share[-1], 2 / 3)])


# --- two parts on a line ----------------------------------------------------------------------------------------------


def draw_two_parts(parent: Tensor, child: Tensor, rest: int, stiffness: float) -> Figure:
    """Two parts on a line: their own costs, the table of all pairs, the child's message, and the answer."""
    i, j = torch.arange(len(parent))[:, None], torch.arange(len(child))
    spring = stiffness * (j - i - rest) ** 2
    to_parent = child + spring  # (N, M): what a place of the child costs, seen from a place of the parent
    message, where = to_parent.min(1)
    best = int((parent + message).argmin())
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 3.5), width_ratios=(1, 1.15, 1))
    bars = {"parent's own cost": (parent, style.GREEN, -0.2), "child's own cost": (child, style.ORANGE, 0.2)}
    for name, (costs, colour, shift) in bars.items():
        axes[0].bar(np.arange(len(costs)) + shift, costs.numpy(), width=0.4, color=colour, label=name)
    axes[0].set(title="1. each part alone", xlabel="place", ylim=(0, 1.5 * float(max(parent.max(), child.max()))))
    axes[0].legend(loc="upper right", fontsize=8)
    look = {"cmap": "viridis_r", "vmin": 0, "vmax": 14, "origin": "upper"}
    axes[1].imshow(to_parent.numpy(), **look)
    for row, column in enumerate(where.tolist()):
        chosen = row == best
        ring = style.VERMILION if chosen else style.PAPER
        axes[1].plot(column, row, "o", color=ring, markersize=9 if chosen else 6, markerfacecolor="none", mew=2)
    axes[1].set(xlabel="place of the child", ylabel="place of the parent", title="2. child's cost + spring")
    places, own, told = np.arange(len(parent)), parent.numpy(), message.numpy()
    axes[2].bar(places, own, color=style.GREEN, width=0.7, label="own cost")
    axes[2].bar(places, told, bottom=own, color=style.SKY, width=0.7, label="message of the child")
    total = float((parent + message)[best])
    axes[2].plot(best, total, "v", color=style.VERMILION, markersize=9)
    axes[2].annotate(f"{total:.1f}", (best, total), (0, 9), textcoords="offset points", ha="center")
    axes[2].set(title="3. parent + message", xlabel="place of the parent", ylim=(0, 1.6 * float((own + told).max())))
    axes[2].legend(loc="upper right", fontsize=8)
    for ax in (axes[0], axes[2]):
        ax.set_xticks(range(0, len(parent), 2))
    axes[1].set(xticks=range(0, len(child), 2), yticks=range(0, len(parent), 2))
    return figure


# --- on pictures ------------------------------------------------------------------------------------------------------


def draw_body(ax: Axes, parts: Sequence[Sequence[float]], names: Sequence[str], lengths: Sequence[float]) -> None:
    """All parts of a state as rectangles; every part's first end has a dot."""
    for p in sorted(range(len(names)), key=lambda p: thickness(names[p]), reverse=True):
        one, colour = parts[p], part_colour(names[p])
        draw_part(ax, one, lengths[p], thickness(names[p]), style.PAPER, alpha=0.5, edgecolor="none")
        draw_part(ax, one, lengths[p], thickness(names[p]), colour, alpha=0.6, edgecolor=style.PAPER)
        ax.plot(*at(one, (-lengths[p] / 2, 0)), "o", color=colour, markersize=3.5, zorder=5)


def backdrop(image: Tensor) -> Tensor:
    """A picture (3, H, W) without its finest grain, to draw on."""
    return F.avg_pool2d(F.pad(image[None], (1, 1, 1, 1), mode="replicate"), 3, stride=1)[0]


def draw_alone(image: Tensor, unary: Tensor, found: Sequence[Sequence[float]], name: str, length: float) -> Figure:
    """A picture, where one part's template fits, and its best candidates."""
    figure, axes = plt.subplots(1, 3, figsize=(7.8, 2.9))
    show.draw_image(axes[0], image, "the picture")
    show.overlay_map(axes[1], backdrop(image), unary, title=f"where it may be a {name}")
    show.draw_image(axes[2], backdrop(image), f"its {len(found)} best places", dim=0.35)
    for rank, state in enumerate(found):
        draw_part(axes[2], state, length, LIMB, style.VERMILION, alpha=0.25)
        x, y = state[:2]
        glow = [patheffects.withStroke(linewidth=2.2, foreground=style.PAPER)]
        axes[2].text(x, y, str(rank + 1), ha="center", va="center", fontsize=8, path_effects=glow, zorder=6)
    return figure


def draw_lean_and_bend(angles: dict[str, Tensor]) -> Figure:
    """Two angles (N, 2) of many arms, for people and for bodies that springs make up."""
    figure, axes = plt.subplots(1, len(angles), figsize=(7.6, 3.9), sharey=True)
    for ax, (title, pairs), colour in zip(axes, angles.items(), (style.BLUE, style.VERMILION), strict=True):
        lean, bend = np.rad2deg(pairs.numpy()).T
        for x, y in ((0, 0), (-180, -180)):  # where lean and bend go the same way
            ax.fill_between([x, x + 180], y, y + 180, color="#DDDDDD", linewidth=0)
        some = slice(0, 600)
        ax.plot(lean[some], bend[some], ".", color=colour, markersize=3.5, alpha=0.55)
        ax.set(xlim=(-180, 180), ylim=(-180, 180), aspect="equal", title=f"{title}: {len(lean[some])} arms")
        ax.set(xticks=(-180, -90, 0, 90, 180), yticks=(-180, -90, 0, 90, 180), xlabel="lean of the upper arm, degrees")
    axes[0].set_ylabel("bend of the forearm, degrees")
    return figure
