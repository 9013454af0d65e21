"""The figures of lesson 10's first half, G-RMI. Each function returns its figure; a cell ends with plt.show()."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course_lib import show
from course_lib.lessons import lesson_10_grmi_and_mask_rcnn as tools
from course_lib.lessons import lesson_10_live as live
from course_lib.pose import Scene
from course_lib.show import style
from course_lib.skeletons import Skeleton, get
from course_lib.targets import hough

WAY_COLOURS = dict(zip(tools.WAYS, (style.GREY, style.ORANGE, style.VERMILION, style.SKY, style.BLUE), strict=True))
NO_MAP = np.zeros((1, 1))

# --- crops ------------------------------------------------------------------------------------------------------------


def draw_crops(scene: Scene, who: int) -> Figure:
    """A box in its picture, and the crop made of it: squeezed into shape, or grown to it."""
    figure, axes = plt.subplots(1, 3, figsize=(0.9 * style.PAGE, 3.2), width_ratios=(2.1, 1, 1))
    show.draw_image(axes[0], scene.image, "the picture and the box")
    show.draw_box(axes[0], scene.people[who].box, colour=style.VERMILION)
    for ax, stretched, title in ((axes[1], True, "squeezed"), (axes[2], False, "padded")):
        made = tools.cut(scene, who, stretched=stretched)
        show.draw_image(ax, made.image, title)
        show.draw_pose(ax, made.joints[0], scene.people[who].skeleton, visible=made.visible[0])
    return figure


def draw_neighbours(made: tools.Cut, joint: str, skeleton: Skeleton, radius: float, stride: int) -> Figure:
    """Two people in one crop: where the heatmap of a joint shall be 1, where 0, and where it does not matter."""
    size = (made.image.shape[-2] // stride, made.image.shape[-1] // stride)
    truth = hough.targets(made.joints[None] / stride, made.visible[None], size, radius / stride)
    k = skeleton.index(joint)
    inside, counted = truth.discs.inside[0, k], truth.counted[0, k]
    figure, axes = plt.subplots(1, 3, figsize=(0.85 * style.PAGE, 3.6))
    show.draw_image(axes[0], made.image, "the crop")
    show.draw_pose(axes[0], made.joints[0], skeleton, visible=made.visible[0])
    for ax, naive in ((axes[1], True), (axes[2], False)):
        words = f"{joint.replace('_', ' ')}: a one and zeros" if naive else "and what does not count"
        show.draw_image(ax, made.image, words, dim=0.55)
        shades = np.zeros((*size, 4))
        shades[..., 3] = 0.16
        shades[inside.numpy()] = (*_rgb(style.BLUE), 0.8)
        if not naive:
            shades[~counted.numpy()] = (*_rgb(style.ORANGE), 0.85)
        _over(ax, shades, stride)
    return figure


# --- discs and arrows -------------------------------------------------------------------------------------------------


def draw_disc(made: tools.Cut, joint: str, skeleton: Skeleton, radius: float, stride: int) -> Figure:
    """One joint's disc on its crop, an arrow from each of its cells, and the same cells larger."""
    size = (made.image.shape[-2] // stride, made.image.shape[-1] // stride)
    place = made.joints[0, skeleton.index(joint)] / stride
    heat, offsets = tools.fields(place.view(1, 1, 2), size, radius / stride)
    cells = int(heat.sum())
    figure, (left, right) = plt.subplots(1, 2, figsize=(0.8 * style.PAGE, 4.0), width_ratios=(1, 1.25))
    show.draw_image(left, made.image, f"radius {radius:g} px, cells of {stride} px", dim=0.3)
    _discs(left, heat[0, 0], stride)
    left.plot(*(place * stride), "+", color=style.VERMILION, markersize=11, markeredgewidth=2)
    x, y = (place * stride).tolist()
    window = 1.25 * max(radius, 1.5 * stride)
    show.draw_image(right, made.image, f"{cells} cells, {cells} arrows to one place", dim=0.5)
    right.set(xlim=(x - window, x + window), ylim=(y + window, y - window))
    _discs(right, heat[0, 0], stride)
    _arrows(right, heat[0, 0], offsets[0, 0], stride, length=0.6)
    right.plot(x, y, "+", color=style.VERMILION, markersize=16, markeredgewidth=2.6)
    return figure


def _discs(ax: Axes, heat: Tensor, stride: float) -> None:
    shades = np.zeros((*heat.shape, 4))
    shades[..., :3] = _rgb(style.BLUE)
    shades[..., 3] = 0.55 * heat.clamp(0, 1).numpy()
    _over(ax, shades, stride)


def _arrows(ax: Axes, heat: Tensor, offsets: Tensor, stride: float, length: float = 1.0, least: float = 0.5) -> None:
    """From the centre of every cell that believes in the joint towards where it believes it is, the whole way or only
    a part of it, so that heads can be told apart; a dot at the end of a whole way."""
    row, column = (_above_the_rest(heat) > least).nonzero(as_tuple=True)
    starts = torch.stack([column, row], -1) + 0.5
    ends = offsets[:, row, column].T
    look = {"angles": "xy", "scale_units": "xy", "scale": 1, "zorder": 3, "color": style.INK}
    if length < 1:
        look |= {"width": 0.006}
    else:
        look |= {"width": 0.003, "headwidth": 0, "headlength": 0, "headaxislength": 0, "alpha": 0.45}
        ax.plot(*(stride * (starts + ends)).T.numpy(), "o", color=style.VERMILION, markersize=3, zorder=4)
    ax.quiver(*(stride * starts).T.numpy(), *(length * stride * ends).T.numpy(), **look)


def _over(ax: Axes, shades: np.ndarray, stride: float) -> None:
    """Cells over the picture they belong to."""
    height, width = shades.shape[:2]
    limits = ax.get_xlim(), ax.get_ylim()
    ax.imshow(shades, extent=(0, width * stride, height * stride, 0), interpolation="nearest")
    ax.set(xlim=limits[0], ylim=limits[1])


def _rgb(colour: str) -> tuple[float, float, float]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def draw_huber(radius: float = hough.RADIUS) -> Figure:
    """What an arrow costs by how far off it points, and how strongly it pulls."""
    off = np.linspace(0, radius, 200)
    kinds = {
        "squared": (off**2 / 2, off, style.VERMILION),
        "absolute": (off, np.ones_like(off), style.GREY),
        "Huber, 1 px": (np.where(off < 1, off**2 / 2, off - 0.5), np.minimum(off, 1), style.BLUE),
    }
    figure, (left, right) = plt.subplots(1, 2, figsize=(0.85 * style.PAGE, 2.7))
    for name, (cost, pull, colour) in kinds.items():
        style_of = "--" if name == "absolute" else "-"
        left.plot(off, cost, style_of, color=colour, label=name)
        right.plot(off, pull, style_of, color=colour)
    left.set(title="cost of an arrow", xlabel="pixels off", ylim=(0, 40))
    right.set(title="its gradient", xlabel="pixels off", ylim=(0, 8))
    left.legend()
    return figure


# --- votes ------------------------------------------------------------------------------------------------------------


def draw_worked() -> Figure:
    """Three voters with their arrows, and the cells among which their votes are shared."""
    heat, offsets = tools.three_voters()
    votes = hough.vote(heat, offsets, (3 / np.pi) ** 0.5)[0]
    figure, (left, right) = plt.subplots(1, 2, figsize=(0.8 * style.PAGE, 3.6))
    for number, ((column, row), (x, y)) in enumerate(tools.WORKED, 1):
        left.annotate("", (x + 0.5, y + 0.5), (column + 0.5, row + 0.5), arrowprops={"arrowstyle": "->", "lw": 1.8})
        left.plot(column + 0.5, row + 0.5, "s", color=style.BLUE, markersize=13)
        left.text(column + 0.5, row + 0.5, number, color=style.PAPER, ha="center", va="center", fontsize=9)
        left.plot(x + 0.5, y + 0.5, "o", color=style.VERMILION, markersize=5, zorder=4)
    left.set(xlim=(0, 20), ylim=(20, 0), aspect="equal", title="three cells, and where their arrows end")
    right.imshow(votes, extent=(0, 20, 20, 0), cmap="Blues", vmin=0, vmax=1)
    for row, column in votes.nonzero().tolist():
        dark = float(votes[row, column]) > 0.5
        words = {"ha": "center", "va": "center", "fontsize": 9, "color": style.PAPER if dark else style.INK}
        right.text(column + 0.5, row + 0.22, f"{float(votes[row, column]):.2f}", **words)
    for _, (x, y) in tools.WORKED:
        right.plot(x + 0.5, y + 0.5, "o", color=style.VERMILION, markersize=5)
    right.set(xlim=(8.5, 13.5), ylim=(13.5, 8.5), title="f: what the cells there get")
    for ax in (left, right):
        ax.set(xticks=range(0, 21, 5 if ax is left else 1), yticks=range(0, 21, 5 if ax is left else 1))
        ax.grid(color="#DDDDDD", linewidth=0.6)
    right.set(xlim=(8.5, 13.5), ylim=(13.5, 8.5))
    return figure


def draw_votes(heat: Tensor, offsets: Tensor, radius: float, true: Tensor | None = None, image: Any = None,
               stride: float = 1.0, words: str = "") -> Figure:  # fmt: skip
    """heat (h, w) and offsets (2, h, w) in cells: the heatmap, the arrows, the votes, and what is read out.

    true (2,): the joint in cells. The cells are drawn `stride` pixels large over `image`, if there is one.
    """
    votes = hough.vote(heat[None], offsets[None], radius)[0]
    joint, score = hough.decode(heat[None, None], offsets[None, None], radius)
    place, highest = joint[0, 0], int(votes.argmax())
    cell = torch.tensor([highest % votes.shape[1], highest // votes.shape[1]]) + 0.5
    flat = int(heat.argmax())
    first = torch.tensor([flat % heat.shape[1], flat // heat.shape[1]]) + 0.5
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 3.7))
    off = ["" if true is None else f"{float((one - true).norm()) * stride:.1f} px off" for one in (first, cell, place)]
    titles = (
        f"1. heatmap: peak {float(heat.max()):.2f}, {off[0]}",
        f"2. arrows{words}",
        f"3. votes: peak {float(score):.2f}, {off[2]}",
    )
    for ax, title in zip(axes, titles, strict=True):
        _ground(ax, heat.shape, stride, image)
        ax.set_title(title, fontsize=10)
    _shade(axes[0], _above_the_rest(heat), stride)
    axes[0].plot(*(first * stride), "s", mfc="none", mec=style.INK, markersize=8, markeredgewidth=1.6)
    _shade(axes[1], 0.35 * _above_the_rest(heat), stride)
    _arrows(axes[1], heat, offsets, stride)
    _shade(axes[2], _above_the_rest(votes), stride)
    axes[2].plot(*(place * stride), "x", color=style.VERMILION, markersize=9, markeredgewidth=2.2)
    if true is not None:
        for ax in axes:
            ax.plot(*(true * stride), "+", color=style.GREEN, markersize=15, markeredgewidth=2)
    return figure


def _above_the_rest(values: Tensor) -> Tensor:
    """A map from 0, what most of its cells hold, to 1, its highest."""
    usual = values.median()
    return ((values - usual) / (values.max() - usual).clamp(min=1e-6)).clamp(min=0)


def _ground(ax: Axes, size: Sequence[int], stride: float, image: Any) -> None:
    if image is not None:
        show.draw_image(ax, image, dim=0.35)
        return
    style.image_axes(ax, size[0] * stride, size[1] * stride)
    ax.spines[:].set_visible(True)


def _shade(ax: Axes, values: Tensor, stride: float) -> None:
    shades = np.zeros((*values.shape, 4))
    shades[..., :3] = _rgb(style.BLUE)
    shades[..., 3] = 0.9 * values.clamp(0, 1).sqrt().numpy()
    _over(ax, shades, stride)


def draw_phases(peaks: Tensor) -> Figure:
    """The peak of a perfect disc's votes by where in its cell the joint is."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(0.8 * style.PAGE, 3.1))
    shown = left.imshow(peaks, extent=(-0.5, 0.5, 0.5, -0.5), cmap="viridis", vmin=0, vmax=1)
    figure.colorbar(shown, ax=left, shrink=0.9, label="peak of f").outline.set_visible(False)
    left.set(
        title="perfect maps, one and the same answer", xlabel="joint right of the cell's centre", ylabel="below it"
    )
    phase = np.linspace(-0.5, 0.5, len(peaks))
    middle = len(peaks) // 2
    right.plot(phase, peaks[middle], color=style.BLUE, label="level with the centre")
    right.plot(phase, peaks.diagonal(), color=style.VERMILION, label="along the diagonal")
    right.set(ylim=(0, 1.05), xlabel="cells from the centre", title="cuts")
    right.legend(loc="lower center")
    return figure


def draw_strides(rows: dict[str, dict[int, dict[str, float]]]) -> Figure:
    """Mean error by the stride, for every kind of answer (clean, noisy ...) in a panel."""
    figure, axes = plt.subplots(1, len(rows), figsize=(style.PAGE, 3.3), sharey=True)
    for ax, (title, by_stride) in zip(axes, rows.items(), strict=True):
        for way in tools.WAYS:
            values = [max(by_stride[stride][way], 0.0) for stride in tools.STRIDES]
            dashed = "--" if way == tools.CELL else "-"
            ax.plot(range(3), values, "o" + dashed, color=WAY_COLOURS[way], label=way)
        ax.set(xticks=range(3), xlabel="pixels a cell (output stride)", title=title, ylim=(-0.15, 6.6))
        ax.set_xticklabels(tools.STRIDES)
        ax.grid(axis="y", alpha=0.4)
    axes[0].set_ylabel("mean error, pixels")
    axes[0].legend(fontsize=8)
    return figure


# --- live -------------------------------------------------------------------------------------------------------------

LIVE_COLOURS = {live.GAUSSIAN: style.ORANGE, live.DISC: style.BLUE, live.SOFTMAX: style.GREEN}


def draw_live(history: dict[str, list[float]], errors: dict[str, Tensor]) -> Figure:
    """How the losses fall, each in units of its start; and the median error of every read-out."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.2), width_ratios=(1, 1.1))
    shades = {live.GAUSSIAN: style.ORANGE, "disc": style.BLUE, "arrows": style.SKY, live.SOFTMAX: style.GREEN}
    for name, values in history.items():
        smooth = np.convolve(values, np.ones(7) / 7, mode="valid") / values[0]
        left.plot(np.arange(len(smooth)) + 4, smooth, color=shades[name], label=name)
    left.set(ylim=(0, 1.05), xlabel="step", title="loss, beside what it was at the start")
    left.legend()
    names = list(errors)
    kind = {"Gaussian": live.GAUSSIAN, "disc": live.DISC, "softmax": live.SOFTMAX}
    colours = [LIVE_COLOURS[next(way for word, way in kind.items() if name.startswith(word))] for name in names]
    bars = right.barh(names, [float(errors[name].median()) for name in names], color=colours, height=0.62)
    right.bar_label(bars, fmt="%.1f", padding=3, fontsize=9)
    right.axvline(0.3826 * live.STRIDE, color=style.INK, linewidth=1, linestyle=":")
    right.set(
        title="median error, pixels (cells of 8)", xlim=(0, 1.15 * max(float(e.median()) for e in errors.values()))
    )
    right.invert_yaxis()
    right.tick_params(axis="y", length=0)
    return figure


def lsp() -> Skeleton:
    """The skeleton of the course's crowds."""
    return get("lsp")
