"""Figures of lesson 11: shapes, exchanges, counts, mirrored bells, read-outs, the study and the line of systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn import functional as F

from course_lib import show
from course_lib.lessons import lesson_11_simple_baselines_and_hrnet as tools
from course_lib.models.hrnet import HRNet
from course_lib.models.simple_baseline import SimpleBaseline
from course_lib.pose import Scene
from course_lib.show import style

LEVELS = (style.BLUE, style.GREEN, style.ORANGE, style.VERMILION)  # 1/4, 1/8, 1/16, 1/32

# --- what is at stake -------------------------------------------------------------------------------------------------


def draw_resolutions(scene: Scene, sides: Sequence[int]) -> Figure:
    """The same picture as maps of fewer and fewer cells have it, with the true joints on it."""
    figure, axes = plt.subplots(1, len(sides), figsize=(style.PAGE, style.PAGE / len(sides) + 0.35))
    side = scene.image.shape[-1]
    for ax, cells in zip(axes, sides, strict=True):
        coarse = F.adaptive_avg_pool2d(scene.image[None], cells)
        show.draw_image(ax, F.interpolate(coarse, size=(side, side), mode="nearest")[0])
        show.draw_pose(ax, scene.people[0], alpha=0.85)
        ax.set_title(f"{cells} x {cells}" if cells != side else f"{side} x {side}, the picture")
    return figure


def draw_thresholds(curves: Mapping[str, Tensor], alphas: Tensor, levels: Mapping[str, float] | None = None) -> Figure:
    """PCK over its threshold, from fine to coarse, a line a network."""
    figure, ax = plt.subplots(figsize=(7.6, 3.5))
    for (name, curve), colour in zip(curves.items(), style.CYCLE, strict=False):
        ax.plot(alphas.tolist(), curve.tolist(), color=colour, label=name)
    for name, alpha in (levels or {}).items():
        ax.axvline(alpha, color=style.GREY, linewidth=1.2, linestyle=":")
        ax.text(alpha, 0.99, f" {name}", va="top", fontsize=9, color=style.INK, transform=ax.get_xaxis_transform())
    ax.set(xlabel="threshold, torsos", ylabel="share of joints found", xlim=(0, float(alphas[-1])), ylim=(0, None))
    ax.legend(loc="lower right")
    return figure


# --- the two networks -------------------------------------------------------------------------------------------------


def draw_two_ways(baseline: SimpleBaseline, network: HRNet) -> Figure:
    """Maps by resolution, from above to below, through both networks; sizes are those of the networks given."""
    picture = torch.empty(1, 3, *baseline.input_size, device=next(baseline.parameters()).device)
    with torch.no_grad():
        maps = baseline.features(picture)
        moments = [(name, [tuple(x.shape) for x in streams]) for name, streams in network.flow(picture)]
    figure, axes = plt.subplots(2, 1, figsize=(style.PAGE, 7.0))
    box = {"width": 1.75, "height": 0.86, "size": 8}
    finest = maps[0].shape[-1]
    diagram, before = show.Diagram(axes[0]), None
    for place, one in enumerate(maps):
        level = round(float(np.log2(finest / one.shape[-1])))
        words = f"{one.shape[1]} of\n{one.shape[-2]} x {one.shape[-1]}"
        here = diagram.box(2.5 * place, -1.35 * level, words, colour=LEVELS[level], **box)
        if before:
            diagram.arrow(before, here)
        before = here
    diagram.text(2.5 * 1.1, -4.6, "ResNet: down", size=9)
    diagram.text(2.5 * 5.0, -4.6, "transposed convolutions: up", size=9)
    axes[0].set_title("Simple baseline: one way down, one way up, nothing beside it")
    diagram, columns = show.Diagram(axes[1]), []
    shown = [moments[1]] + [next(m for m in moments if m[0].startswith(f"stage {stage}")) for stage in (2, 3, 4)]
    counts = [sum(m[0].startswith(f"stage {stage},") for m in moments) for stage in (2, 3, 4)]
    for place, (_, streams) in enumerate(shown):
        boxes = [
            diagram.box(4.3 * place, -1.35 * level, f"{c} of\n{h} x {w}", colour=LEVELS[level], **box)
            for level, (_, c, h, w) in enumerate(streams)
        ]
        for one in columns[-1] if columns else ():
            for other in boxes:
                straight = abs(one.centre[1] - other.centre[1]) < 0.1
                diagram.arrow(one.side("right"), other.side("left"), colour=style.INK if straight else style.GREY)
        columns.append(boxes)
        words = (
            "stage 1" if not place else f"stage {place + 1}: {counts[place - 1]} module{'s' * (counts[place - 1] > 1)}"
        )
        diagram.text(4.3 * place, 0.85, words, size=9)
    last = diagram.box(4.3 * len(shown) - 1.2, 0, "maps", colour=style.GREY, width=1.2, height=0.7, size=8)
    for one in columns[-1]:
        diagram.arrow(one.side("right"), last, colour=style.INK if one is columns[-1][0] else style.GREY)
    axes[1].set_title("HRNet: the fine maps stay; every arrow between rows is one path of an exchange")
    return figure


def draw_exchange(network: HRNet, module: str = "stage4.0") -> Figure:
    """All paths T_ij of one module, read off the network: what stands on each, with its channels and parameters."""
    table = tools.paths_of(network, module)
    figure, ax = plt.subplots(figsize=(style.PAGE, 5.6))
    for i, row in enumerate(table):
        for j, (steps, count) in enumerate(row):
            colour = style.GREY if i == j else style.ORANGE if j > i else style.BLUE
            ax.add_patch(Rectangle((j + 0.03, i + 0.05), 0.94, 0.9, facecolor=colour, alpha=0.16, edgecolor=colour))
            words = "\n".join(steps) if steps else "as it is"
            ax.text(j + 0.5, i + 0.44, words, ha="center", va="center", fontsize=8.5, linespacing=1.35)
            ax.text(j + 0.93, i + 0.9, f"{count:,}", ha="right", va="bottom", fontsize=7.5, color=style.INK)
    names = [f"{1}/{4 * 2**level}" for level in range(len(table))]
    ax.set(xlim=(0, len(table[0])), ylim=(len(table), 0))
    ax.set(xticks=np.arange(len(table[0])) + 0.5, yticks=np.arange(len(table)) + 0.5)
    ax.set_xticklabels([f"from $x_{j}$ ({names[j]})" for j in range(len(table[0]))])
    ax.set_yticklabels([f"to $y_{i}$ ({names[i]})" for i in range(len(table))])
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return figure


# --- enlarging --------------------------------------------------------------------------------------------------------


def draw_overlaps(kernels: Sequence[int] = (2, 3, 4)) -> Figure:
    """Above: how many weights reach a cell when maps are doubled once. Below: sizes after three times."""
    figure, axes = plt.subplots(2, len(kernels), figsize=(style.PAGE, 5.6))
    for kernel, (above, below) in zip(kernels, axes.T, strict=True):
        counted, uneven = tools.overlaps(kernel, 4), tools.unevenness(kernel)
        above.imshow(counted.numpy(), cmap="Blues", vmin=0, vmax=6)
        for (row, column), value in np.ndenumerate(counted.numpy()):
            above.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8.5)
        shown = below.imshow(uneven.numpy(), cmap="RdBu_r", vmin=0.3, vmax=1.7)
        above.set_title(f"kernel {kernel}: weights that reach a cell")
        below.set_title(f"three times: size {uneven.min():.2f} to {uneven.max():.2f}")
        for ax in (above, below):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
    figure.colorbar(shown, ax=axes[1, :], shrink=0.8, label="mean = 1")
    return figure


def draw_wandering(wandering: Mapping[str, Tensor], example: int) -> Figure:
    """How far answers are from where they should be while the picture slides: one joint, and the spread of all."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.4), width_ratios=(1.5, 1))
    for place, ((name, off), colour) in enumerate(zip(wandering.items(), style.CYCLE, strict=False)):
        left.plot(np.arange(len(off)), off[:, example].tolist(), ".-", color=colour, linewidth=1.3, label=name)
        for step, (part, shade) in enumerate(zip(tools.split(off), (0.35, 0.9), strict=True)):
            low, middle, high = torch.quantile(part, torch.tensor([0.25, 0.5, 0.75])).tolist()
            y = place + 0.34 * (step - 0.5)
            right.barh(y, middle, height=0.3, color=colour, alpha=shade)
            right.plot([low, high], [y, y], color=style.INK, linewidth=1.2)
    left.axhline(0, color=style.INK, linewidth=1)
    room = 1.35 * max(float(off[:, example].abs().max()) for off in wandering.values())
    left.set(xlabel="picture moved by, pixels", ylabel="answer off by, pixels", title="One joint, followed")
    left.set(ylim=(-room, 1.25 * room))
    left.legend(loc="upper center", fontsize=8.5, ncols=len(wandering))
    right.set(yticks=range(len(wandering)), yticklabels=list(wandering), ylim=(len(wandering) - 0.5, -0.5))
    right.set(xlabel="standard deviation, pixels", title="All: pale, every 4 pixels; full, the rest", xlim=(0, None))
    return figure


# --- mirrored, and read out -------------------------------------------------------------------------------------------


def draw_mirrored(x: float, stride: int = 4, width: int = 192, sigma: float = 2.0) -> Figure:
    """One row of the maps of a flip test, in the authors' alignment and in ours."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 3.2), sharey=True)
    column, cells = torch.tensor([x]), width // stride
    titles = ("authors' code: index / 4", "here: corners on corners")
    for ax, alignment in zip(axes, titles, strict=True):
        place = tools.ALIGNMENTS[alignment]
        own = float(place(column, width, stride))
        maps, mirrored = (
            tools.row_of(at, cells, sigma)[0]
            for at in (place(column, width, stride), place(width - 1 - column, width, stride))
        )
        back = mirrored.flip(-1)
        moved = torch.cat([back[:1], back[:-1]])
        rows = {"original": (maps, style.INK), "mirrored back": (back, style.VERMILION)}
        if alignment == titles[0]:
            rows["and moved by one cell"] = (moved, style.BLUE)
        fine = np.linspace(own - 5, own + 5, 200)
        for name, (row, colour) in rows.items():
            off = float(tools.peak(row[None])) - own
            ax.plot(fine, np.exp(-((fine - own - off) ** 2) / (2 * sigma**2)), color=colour, linewidth=1.2)
            ax.plot(np.arange(cells), row.tolist(), "o", color=colour, markersize=5, label=f"{name}: {off:+.2f} cells")
        ax.axvline(own, color=style.INK, linewidth=1.2, linestyle=":")
        ax.set(xlim=(own - 5, own + 5), xlabel="column of the map", title=alignment, ylim=(0, 1.55))
        ax.legend(loc="upper left", fontsize=8.5)
    axes[0].set_ylabel("height")
    return figure


def draw_newton(centre: float, sigma: float = 2.0, cells: int = 16) -> Figure:
    """A bell in cells, and its log: the parabola whose top one step finds."""
    row = tools.row_of(torch.tensor([centre]), cells, sigma)[0]
    middle, found = int(row.argmax()), float(tools.peak(row[None]))
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.0))
    left.bar(np.arange(cells), row.tolist(), width=0.9, color=style.SKY)
    left.set(xlabel="column", ylabel="height", title="the map")
    log, fine = row.log(), np.linspace(middle - 3.5, middle + 3.5, 100)
    right.plot(np.arange(cells), log.tolist(), "o", color=style.BLUE)
    right.plot(fine, -((fine - found) ** 2) / (2 * sigma**2), color=style.BLUE, linewidth=1.2)
    right.set(xlim=(middle - 4, middle + 4), ylim=(-2.4, 0.6), xlabel="column", ylabel="log of the height")
    right.set_title(f"from cell {middle} one step of {found - middle:+.2f}")
    right.annotate(
        "", (found, 0.25), (middle, 0.25), arrowprops={"arrowstyle": "-|>", "color": style.VERMILION, "linewidth": 2}
    )
    for ax in (left, right):
        ax.axvline(centre, color=style.GREEN, linewidth=1.6, linestyle="--", label="true place")
        ax.axvline(middle, color=style.INK, linewidth=1.2, linestyle=":", label="highest cell")
    left.legend(loc="upper right")
    return figure


def draw_read_outs(benches: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Error by the size of the crop, a panel for every kind of map, a line for every read-out."""
    figure, axes = plt.subplots(1, len(benches), figsize=(style.PAGE, 3.4), sharey=True)
    names = [f"{height} x {width}" for height, width in tools.INPUTS]
    for ax, (title, rows) in zip(axes, benches.items(), strict=True):
        for (name, values), colour in zip(rows.items(), style.CYCLE, strict=False):
            ax.plot(range(len(names)), values, "o-", color=colour, label=name)
        ax.set(xticks=range(len(names)), title=title)
        ax.set_xticklabels(names, fontsize=8)
        ax.set_xlabel("crop, pixels")
    axes[0].set_ylim(0, 1.05 * max(max(values) for rows in benches.values() for values in rows.values()))
    axes[0].set_ylabel("mean error, 1/1000 of the crop's height")
    axes[-1].legend(loc="upper right")
    return figure


# --- the study, and the line of systems -------------------------------------------------------------------------------


def draw_study(study: Mapping[str, Any], panels: Mapping[str, Sequence[str]], titles: Mapping[str, str]) -> Figure:
    """Every run as a dot and every arm's mean as a bar, at a coarse and at a fine threshold."""
    sizes = [len(arms) for arms in panels.values()]
    scores = {"pck@0.2": "PCK@0.2", "pck@0.05": "PCK@0.05"}
    height = 0.42 * sum(sizes) + 0.6 * len(panels) + 0.3
    figure, axes = plt.subplots(
        len(panels), 2, figsize=(style.PAGE, height), height_ratios=sizes, sharex="col", sharey="row", squeeze=False
    )
    for row, (title, arms) in zip(axes, panels.items(), strict=True):
        for ax, score in zip(row, scores, strict=True):
            for place, arm in enumerate(arms):
                values = [run["dark"][score] for run in study["runs"] if run["arm"] == arm]
                ax.barh(place, fmean(values), height=0.62, color=style.SKY, alpha=0.6)
                ax.plot(values, [place] * len(values), "o", color=style.BLUE, markersize=4.5)
            ax.set(yticks=range(len(arms)), ylim=(len(arms) - 0.5, -0.5))
            ax.set_title(title if score == "pck@0.2" else "", loc="left")
        row[0].set_yticklabels([titles[arm] for arm in arms])
    for ax, (score, name) in zip(axes[-1], scores.items(), strict=True):
        ax.set_xlabel(f"{name} on held-out easy people")
        ax.set_xlim(0, 1.06 * max(run["dark"][score] for run in study["runs"]))
    return figure


def draw_streams(rows: Sequence[Sequence[float]], own: Sequence[float], published: Sequence[float | None]) -> Figure:
    """What a linear read-out finds in each stream, run by run, beside the paper's AP from each stream."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.2))
    names = ["1/4", "1/8", "1/16", "1/32"]
    for place, values in enumerate(zip(*rows, strict=True)):
        left.bar(place, fmean(values), width=0.65, color=LEVELS[place], alpha=0.45)
        left.plot([place] * len(values), values, "o", color=LEVELS[place], markersize=4.5)
    left.axhline(fmean(own), color=style.INK, linewidth=1.2, linestyle="--")
    left.text(3.4, fmean(own), "the network's own answer", ha="right", va="bottom", fontsize=8.5)
    left.set(ylabel="PCK@0.2", title="course size: linear read-out of each stream", ylim=(0, 1.15 * fmean(own)))
    for place, value in enumerate(published):
        right.bar(place, value, width=0.65, color=LEVELS[place], alpha=0.45)
        right.text(place, value + 1, f"{value:.1f}" if place < 3 else "below 10", ha="center", fontsize=9)
    right.set(ylabel="AP, COCO val", title="the paper's: maps predicted from each stream (W32)", ylim=(0, 85))
    for ax in (left, right):
        ax.set(xticks=range(4), xticklabels=names, xlabel="resolution of the stream")
    return figure


def draw_costs(rows: Mapping[str, Sequence[Any]], columns: Sequence[str]) -> Figure:
    """Score against multiply-adds, for every single-person system of the course, on drawn people and photographs."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 4.2), sharey=True)
    cost = columns.index("multiply-adds, G")
    for ax, (column, title) in zip(
        axes, (("drawn PCK@0.2", "drawn people"), ("photo PCK@0.2", "photographs")), strict=True
    ):
        score = columns.index(column)
        points = [(name, row[cost], row[score]) for name, row in rows.items() if row[cost] is not None]
        for name, x, y in points:
            new = name.startswith(("11", "12"))
            ax.plot(x, y, "o", color=style.VERMILION if new else style.BLUE, markersize=7)
        _name(ax, points)
        level = next(row[score] for row in rows.values() if row[cost] is None)
        ax.axhline(level, color=style.INK, linewidth=1.2, linestyle="--")
        ax.text(0.0, level, " mean pose", va="top", fontsize=8.5, transform=ax.get_yaxis_transform())
        ax.set(xscale="log", xlabel="multiply-adds a picture, G", title=title, ylim=(0, 0.85), xlim=(0.0006, 14))
        ax.set(xticks=[0.01, 0.1, 1, 10])
        ax.set_xticklabels(["0.01", "0.1", "1", "10"])
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("PCK@0.2")
    return figure


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """Rising heights, moved so that neighbours are at least `gap` apart; each crowd stays around its own mean."""
    crowds: list[list[float]] = []
    for height in heights:
        crowds.append([height])
        while len(crowds) > 1 and _spread(crowds[-1], gap)[0] < _spread(crowds[-2], gap)[-1] + gap:
            crowds[-2:] = [crowds[-2] + crowds[-1]]
    return [place for crowd in crowds for place in _spread(crowd, gap)]


def _spread(crowd: Sequence[float], gap: float) -> list[float]:
    middle = sum(crowd) / len(crowd)
    return [middle + gap * (number - (len(crowd) - 1) / 2) for number in range(len(crowd))]


def _name(ax: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Names to the left of cheap points, pushed apart, a line to each; above dear ones, or below a close one."""
    cheap = sorted((point for point in points if point[1] < 0.25), key=lambda point: point[2])
    line = {"arrowstyle": "-", "color": style.INK, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 4}
    for (name, x, y), height in zip(cheap, _apart([y for *_, y in cheap], 0.045), strict=True):
        ax.annotate(name, (x, y), (0.065, height), fontsize=7.8, va="center", ha="right", arrowprops=line)
    dear = [point for point in points if point[1] >= 0.25]
    for name, x, y in dear:
        under = any(0.5 < x / other < 2 and y < there for _, other, there in dear)
        place, side = (x, "center") if x > 1 else (1.3 * x, "right")
        ax.annotate(name, (x, y), (place, y + (-0.04 if under else 0.04)), fontsize=7.8, va="center", ha=side)
