"""The longer figures of lesson 03. Every function returns its figure; the notebook ends the cell with plt.show()."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course_lib import show
from course_lib.lessons import lesson_03_heatmaps as tools
from course_lib.lessons import lesson_03_study as study
from course_lib.lessons import lesson_03_wrists as wrists
from course_lib.lessons.lesson_03_heatmaps import Answers
from course_lib.models.tompson import FINE_STRIDE, Tompson, in_place
from course_lib.show import style
from course_lib.targets import heatmaps

CROSS = {"markersize": 13, "markeredgewidth": 2.5, "linestyle": "none"}
RING = {"markersize": 11, "markeredgewidth": 2.2, "markerfacecolor": "none", "linestyle": "none"}

# --- two wrists -------------------------------------------------------------------------------------------------------


def draw_arms(some: wrists.Arms) -> Figure:
    """Pictures of the two-arm world with the wrist that was labelled."""
    figure, axes = plt.subplots(1, len(some.images), figsize=(style.PAGE, style.PAGE / len(some.images) + 0.35))
    for ax, image, chance, place in zip(axes, some.images, some.chances, some.labelled, strict=True):
        show.draw_image(ax, image.clamp(0, 1).expand(3, -1, -1), f"left one: {chance:.0%} likely")
        ax.plot(*place, "+", color=style.GREEN, **CROSS)
    return figure


def draw_two_answers(numbers: Any, mapper: Any, chance: float) -> Figure:
    """One picture with both networks' answers, the map, and both answers for every chance."""
    places = torch.tensor([[[6.0, 25.0], [26.0, 22.0]]])
    chances = torch.linspace(0, 1, 21)
    images = wrists.draw(places.expand(21, 2, 2), chances)
    points, (_, peaks) = wrists.points(numbers, images), wrists.peaks(mapper, images)
    image = wrists.draw(places, torch.tensor([chance]))
    point, (heat, peak) = wrists.points(numbers, image)[0], wrists.peaks(mapper, image)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(style.PAGE, 3.3), width_ratios=(1, 1, 1.3))
    picture = image[0].clamp(0, 1).expand(3, -1, -1)
    show.draw_image(left, picture, "both answers")
    left.plot(*point, "x", color=style.VERMILION, **CROSS)
    left.plot(*peak[0], "o", markeredgecolor=style.SKY, **RING)
    show.overlay_map(middle, picture, heat[0].clamp(min=0), maximum=1.0, title="the map")
    for place in places[0]:
        height = float(wrists.heights(heat, place[None])[0])
        words = {"ha": "center", "color": style.PAPER, "fontsize": 12, "weight": "bold"}
        middle.text(float(place[0]), float(place[1]) - 4.5, f"{height:.2f}", **words)
    for found, colour, mark, name in (
        (points, style.VERMILION, "x-", "the two numbers"),
        (peaks, style.SKY, "o-", "the map's peak"),
    ):
        right.plot(chances, found[:, 0], mark, color=colour, markersize=5, linewidth=1, label=name)
    for place, name in zip(places[0], ("left wrist", "right wrist"), strict=True):
        right.axhline(float(place[0]), color=style.INK, linewidth=1, linestyle=":")
        right.text(1.0, float(place[0]) + 0.4, name, ha="right", va="bottom", fontsize=8.5)
    right.axvline(chance, color=style.INK, linewidth=1)
    right.set(xlabel="chance of the left wrist", ylabel="answered x, pixels", ylim=(0, 32))
    right.legend(loc="lower left")
    return figure


# --- the network ------------------------------------------------------------------------------------------------------


def draw_network(model: Tompson) -> Figure:
    """Banks, coarse maps, crops and the fine network, in the sizes of a given model."""
    (height, width), joints, levels = model.input_size, len(model.skeleton), len(model.banks)
    cells = f"{height // model.stride} x {width // model.stride}"
    size = model.refiner.size
    figure, ax = plt.subplots(figsize=(style.PAGE, 5.0))
    diagram = show.Diagram(ax)
    box = {"height": 1.0, "size": 8.5}
    picture = diagram.box(0, 0, f"picture\n{height} x {width}", width=1.7, colour=style.GREY, **box)
    plus = (8.8, 0.0)
    for level in range(levels):
        y = 1.9 - 1.9 * level
        name = f"{height >> level} x {width >> level}\nlight evened out"
        small = diagram.box(2.8, y, name, width=2.7, colour=style.GREY, **box)
        bank = diagram.box(6.0, y, f"bank {level + 1}", width=2.2, colour=style.BLUE, **box)
        diagram.arrow(picture, small)
        diagram.arrow(small, bank)
        diagram.arrow(bank, (plus[0] - 0.25, plus[1] + 0.12 * (1 - level)), f"x{2**level}" if level else "", size=8)
        if level < 2:
            diagram.text(5.4, y - 0.88, "early features", size=8, colour=style.GREEN)
    diagram.text(*plus, "+", size=15)
    head = diagram.box(10.8, 0, "SpatialDropout\nhead", width=2.3, colour=style.BLUE, **box)
    coarse = diagram.box(14.0, 0, f"coarse maps\n{joints} of {cells}", width=2.4, colour=style.ORANGE, **box)
    diagram.arrow((plus[0] + 0.25, 0), head)
    diagram.arrow(head, coarse)
    cut = f"4 crops a joint\n{size} and {size // 2} cells"
    crops = diagram.box(6.0, -4.6, cut, width=2.6, colour=style.GREEN, **box)
    paths = diagram.box(9.5, -4.6, "4 paths,\nthe same for all joints", width=3.4, colour=style.BLUE, **box)
    last = diagram.box(12.95, -4.6, "last layer,\none per joint", width=2.3, colour=style.BLUE, **box)
    fine = diagram.box(16.1, -4.6, f"fine maps\n{joints} of {size} x {size}", width=2.4, colour=style.ORANGE, **box)
    for level in range(min(levels, 2)):
        diagram.arrow((4.75, 1.02 - 1.9 * level), (5.1 + 0.3 * level, -4.05), bend=0.12, colour=style.GREEN)
    for one, other in ((crops, paths), (paths, last), (last, fine)):
        diagram.arrow(one, other)
    diagram.arrow(coarse, (7.0, -3.95), "highest cell: where to cut", dashed=True, bend=-0.1)
    answer = diagram.box(17.5, 0, "answer", width=1.5, colour=style.GREY, **box)
    diagram.arrow(coarse, answer, "place")
    diagram.arrow(fine, answer, "offset")
    ax.set_title("Where roughly, from the whole picture; then where exactly, from features that are already there")
    return figure


def draw_contrast(model: Tompson, image: Tensor, darker: Tensor) -> Figure:
    """A picture in two lights, and both after local contrast normalisation."""
    both = torch.stack([image, darker])
    normal = model.contrast(both)
    grey = (0.5 + normal.mean(1, keepdim=True) / 5).clamp(0, 1).expand(-1, 3, -1, -1)
    titles = ("as it is", "one half in shadow", "the first, normalised", "the second, normalised")
    return show.gallery([*both, *grey], titles=titles, columns=4, width=style.PAGE)


# --- what it is asked -------------------------------------------------------------------------------------------------


def draw_targets(image: Tensor, joint: Tensor, pooling: int, size: int) -> Figure:
    """One joint's coarse target, what its highest cell answers, and the fine target around that."""
    cells = (image.shape[-2] // pooling, image.shape[-1] // pooling)
    coarse = heatmaps.gaussian(joint[None] / pooling, cells, 1.0)
    centre = heatmaps.argmax(coarse)[0][0] * pooling
    place = (joint - centre) / FINE_STRIDE + size / 2
    fine = heatmaps.gaussian(place[None], (size, size), 1.0)
    found = centre + (heatmaps.argmax(fine)[0][0] - size / 2) * FINE_STRIDE
    half = size * FINE_STRIDE / 2
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 3.3))
    titles = (
        f"asked of the coarse map, cells of {pooling} px",
        f"its highest cell: {(centre - joint).norm():.1f} px off",
        f"asked of the fine map: {(found - joint).norm():.1f} px off",
    )
    pasted = in_place(fine[0], centre, image.shape[-2:])
    for ax, one, title in zip(axes, (coarse[0], coarse[0], pasted), titles, strict=True):
        show.overlay_map(ax, image, one, maximum=1.0, title=title)
    for ax in axes:
        _window(ax, centre, half)
        ax.plot(*joint, "+", color=style.GREEN, **CROSS)
    for ax in axes[1:]:
        ax.set(xlim=(centre[0] - half - 2, centre[0] + half + 2), ylim=(centre[1] + half + 2, centre[1] - half - 2))
    axes[1].plot(*centre, "o", markeredgecolor=style.SKY, **RING)
    axes[2].plot(*found, "o", markeredgecolor=style.SKY, **RING)
    return figure


def _window(ax: Axes, centre: Tensor, half: float) -> None:
    show.draw_box(ax, torch.cat([centre - half, centre + half]), colour=style.SKY)


def draw_reading(rows: Sequence[dict[str, Any]], methods: Sequence[str]) -> Figure:
    """Mean error in pixels against pooling, for perfect maps and for noisy ones."""
    noises = sorted({row["noise"] for row in rows})
    figure, axes = plt.subplots(1, len(noises), figsize=(style.PAGE, 3.3), sharey=True)
    for ax, noise in zip(axes, noises, strict=True):
        some = [row for row in rows if row["noise"] == noise]
        cells = [str(row["pooling"]) for row in some]
        for method, colour in zip(methods, style.CYCLE, strict=False):
            ax.plot(cells, [row[method] for row in some], "o-", color=colour, label=method)
        title = "perfect maps" if noise == 0 else f"noise of {noise} on every cell"
        ax.set(xlabel="pooling: pixels a cell", title=title, ylim=(-0.2, None))
        ax.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("mean error, pixels")
    axes[0].legend(loc="upper left")
    return figure


def draw_best_maps(chance: float) -> Figure:
    """The cheapest answer to a joint that is at one of three places by chance, for every loss."""
    cells, places = 24, torch.tensor([4.5, 12.5, 19.5])
    chances = torch.tensor([chance, (1 - chance) * 0.58, (1 - chance) * 0.42])
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 2.9), sharey=True)
    for (name, row), ax in zip(tools.best_maps(chances, places, cells).items(), axes, strict=True):
        ax.bar(np.arange(cells) + 0.5, row, width=0.92, color=style.ORANGE)
        ax.plot(places, chances, "_", color=style.INK, markersize=16, markeredgewidth=2)
        mean = float((chances * places).sum())
        ax.axvline(mean, color=style.VERMILION, linewidth=1.2, linestyle=":")
        ax.set(title=name, xlabel="cell", ylim=(0, 1.05), xlim=(0, cells))
    axes[0].set_ylabel("height of the best map")
    axes[0].text(mean + 0.3, 0.98, "mean place", color=style.VERMILION, fontsize=8.5, va="top")
    return figure


def draw_dropped(features: Tensor, rate: float, seed: int) -> Figure:
    """A few channels of a feature map, as they are, after dropping single cells, and after dropping whole channels."""
    generator = torch.Generator().manual_seed(seed)
    shown = features[:4]
    cells = (torch.rand(shown.shape, generator=generator) >= rate).float() / (1 - rate)
    channels = torch.tensor([1.0, 0.0, 0.0, 1.0])[:, None, None] / (1 - rate)
    top = float(shown.max()) / (1 - rate)
    figure, axes = plt.subplots(3, 4, figsize=(6.6, 5.3))
    factors = {"as they are": 1.0, "cells dropped": cells, "channels dropped": channels}
    for row, (name, factor) in enumerate(factors.items()):
        for ax, one in zip(axes[row], shown * factor, strict=True):
            ax.imshow(one, vmin=0, vmax=top * (0.5 if row == 0 else 1), cmap="viridis")
            ax.set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(name)
    for number, ax in enumerate(axes[0], 1):
        ax.set_title(f"channel {number}")
    return figure


# --- learning, and what was learned -----------------------------------------------------------------------------------


def draw_learning(history: dict[str, list], phases: Sequence[float], weight: float, scores: dict[str, float]) -> Figure:
    """Both losses over the three phases, in units of an empty answer, and the scores at the end."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.4), width_ratios=(1.5, 1))
    steps = len(history["loss"])
    edges = [0, phases[0] * steps, phases[1] * steps, steps]
    names = ("coarse", "fine,\ncoarse frozen", "both")
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        left.axvspan(low, high, color=style.GREY, alpha=(0.0, 0.22, 0.09)[number], linewidth=0)
        left.text((low + high) / 2, 1.2, names[number], ha="center", va="top", fontsize=8.5)
    for name, colour, scale in (("coarse", style.BLUE, 1.0), ("fine", style.VERMILION, weight)):
        values = np.array(history[name]) / scale
        begin = int(np.argmax(values > 0))
        smooth = np.convolve(values[begin:], np.ones(7) / 7, mode="valid")
        left.plot(np.arange(len(smooth)) + begin + 3, smooth, color=colour, label=f"{name} maps")
    left.axhline(1, color=style.INK, linewidth=1.2, linestyle="--")
    left.set(xlabel="step", ylabel="loss, empty answer = 1", ylim=(0, 1.25), xlim=(0, steps))
    left.legend(loc="lower left")
    right.barh(range(len(scores)), list(scores.values()), color=[style.GREY, *[style.SKY] * 2, *[style.ORANGE] * 2])
    right.set(yticks=range(len(scores)), yticklabels=list(scores), xlabel="PCK@0.1, held-out easy people")
    right.invert_yaxis()
    return figure


def draw_case(answers: Answers, number: int, joint: int) -> Figure:
    """One joint of one scene: the coarse map, the window, and what the fine map makes of it."""
    name = answers.model.skeleton.joints[joint].replace("_", " ")
    image, truth, size = answers.images[number], answers.truth[number, joint], answers.model.refiner.size
    centre, half = answers.answer.centres[number, joint], size * FINE_STRIDE / 2
    heights = answers.model.heights
    coarse = heights(answers.answer.coarse[number : number + 1])[0, joint].clamp(min=0)
    fine = heights(answers.answer.fine[number : number + 1])[0, joint].clamp(min=0)
    ends = [answers.joints(stage, "argmax")[number, joint] for stage in (0, 1)]
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 3.4))
    show.overlay_map(axes[0], image, coarse, title=f"{name}: coarse, peak {coarse.max():.2f}")
    show.overlay_map(axes[1], image, coarse, title=f"the window; coarse {(ends[0] - truth).norm():.1f} px off")
    title = f"fine, peak {fine.max():.2f}; {(ends[1] - truth).norm():.1f} px off"
    show.overlay_map(axes[2], image, in_place(fine, centre, image.shape[-2:]), title=title)
    for ax, end in zip(axes, (ends[0], ends[0], ends[1]), strict=True):
        _window(ax, centre, half)
        ax.plot(*truth, "+", color=style.GREEN, **CROSS)
        ax.plot(*end, "o", markeredgecolor=style.SKY, **RING)
    for ax in axes[1:]:
        ax.set(xlim=(centre[0] - half - 1, centre[0] + half + 1), ylim=(centre[1] + half + 1, centre[1] - half - 1))
    return figure


# --- the study --------------------------------------------------------------------------------------------------------


def draw_pooling(result: dict[str, Any], score: str) -> Figure:
    """Every run of the pooling arms, coarse and fine, by the highest cell and by DARK."""
    poolings = ("pooling 4", "pooling 8", "pooling 16")
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 3.3), sharey=True)
    for ax, method in zip(axes, study.READ_OUTS, strict=True):
        for name, colour in (("coarse", style.SKY), ("fine", style.ORANGE)):
            runs = np.array([study.values(result, arm, f"{name} {method}", score) for arm in poolings])
            label = "coarse maps only" if name == "coarse" else "coarse and fine"
            ax.plot(range(3), runs.mean(1), "-", color=colour, linewidth=2, label=label)
            ax.plot(np.repeat(range(3), runs.shape[1]), runs.flatten(), "o", color=colour, markersize=5)
        read = "read by the highest cell" if method == "argmax" else "read by DARK"
        ax.set(xticks=range(3), xticklabels=["4", "8", "16"], xlabel="pooling: pixels a coarse cell", title=read)
        ax.grid(axis="y", alpha=0.3)
    axes[0].set(ylabel=score.upper(), ylim=(0, None))
    axes[0].legend(loc="upper right")
    return figure


def draw_dropouts(result: dict[str, Any], score: str = "pck@0.2") -> Figure:
    """Of every dropout arm and seed: the score on people seen in training, and on others."""
    figure, ax = plt.subplots(figsize=(7.6, 3.1))
    kinds = (("seen", style.SKY, "people seen in training", -0.19), ("held out", style.ORANGE, "other people", 0.19))
    for name, colour, words, shift in kinds:
        for place, arm in enumerate(study.DROPOUTS):
            values = study.values(result, arm, name, score)
            ax.barh(place + shift, np.mean(values), height=0.36, color=colour, alpha=0.45, label="" if place else words)
            ax.plot(values, [place + shift] * len(values), "o", color=colour, markersize=5)
    ax.set(yticks=range(len(study.DROPOUTS)), yticklabels=list(study.DROPOUTS), xlabel=score.upper(), xlim=(0, 1))
    ax.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=2)
    return figure
