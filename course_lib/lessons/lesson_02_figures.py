"""Figures of lesson 02 up to the training: templates, the idea, boxes, the network, LRN, what squares ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn import functional as F

from course_lib import geometry, show
from course_lib.lessons.lesson_02_deeppose import Answers, Templates, sides
from course_lib.models.deeppose import PIXELS, LocalResponse, Stage
from course_lib.pose import Batch
from course_lib.show import style

TRUTH = {"marker": "+", "color": style.GREEN, "markersize": 13, "markeredgewidth": 3, "zorder": 6}
SAID = {"marker": "o", "color": style.VERMILION, "markersize": 10, "markerfacecolor": "none", "markeredgewidth": 2.4}

# --- the problem ------------------------------------------------------------------------------------------------------


def draw_cover(templates: Templates, batch: Batch, covered: Tensor, person: int, joint: int) -> Figure:
    """Where one template fits, on the picture as it is and with the joint covered."""
    name = batch.skeleton.joints[joint].replace("_", " ")
    figure, axes = plt.subplots(1, 4, figsize=(style.PAGE, 2.7))
    for (picture, image), row in zip(
        {"as it is": batch.images[person], f"{name} covered": covered[person]}.items(),
        axes.reshape(2, 2),
        strict=True,
    ):
        fit = templates.maps(image[None])[0, joint]
        said = templates.joints(image[None])[0, joint]
        show.draw_image(row[0], image, picture)
        row[0].plot(*batch.joints[person, joint], **TRUTH)
        show.overlay_map(row[1], image, fit.clamp(min=0), title=f"its template fits best {float(fit.max()):.2f}")
        row[1].plot(*batch.joints[person, joint], **TRUTH)
        row[1].plot(*said, zorder=6, **SAID)
    return figure


def draw_found(shares: dict[str, Sequence[float]]) -> Figure:
    """For every way of answering: the share of joints found as they are, and with the joint covered."""
    figure, ax = plt.subplots(figsize=(7.0, 0.75 + 0.55 * len(shares)))
    for place, values in enumerate(shares.values()):
        for offset, value, colour in zip((-0.2, 0.2), values, (style.BLUE, style.ORANGE), strict=True):
            ax.barh(place + offset, value, height=0.36, color=colour)
            ax.text(value + 0.008, place + offset, f"{value:.2f}", va="center", fontsize=8.5)
    ax.barh(0, 0, color=style.BLUE, label="the joint can be seen")
    ax.barh(0, 0, color=style.ORANGE, label="a grey square covers it")
    ax.set(yticks=range(len(shares)), yticklabels=list(shares), xlabel="share of these joints found, PCK@0.2")
    ax.set(xlim=(0, max(map(max, shares.values())) * 1.35))
    ax.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=2)
    return figure


# --- the idea and its coordinates -------------------------------------------------------------------------------------


def draw_idea(answers: Answers, number: int, joint: int) -> Figure:
    """One person through stage 1 and one box of stage 2, in the sizes of a given model."""
    model, crop = answers.model, answers.crops[number]
    first, box = answers.cascade.answers[0, number], answers.cascade.boxes[1, number, joint]
    start, name = answers.cascade.joints[0, number], model.skeleton.joints[joint].replace("_", " ")
    figure, axes = plt.subplots(1, 5, figsize=(style.PAGE, 2.65), width_ratios=(1, 0.95, 1, 1, 1))
    small = model.whole_view(crop[None])[0]
    show.draw_image(axes[0], small, f"1. all of it,\n{model.view} x {model.view} pixels", interpolation="nearest")
    axes[1].axis("off")
    axes[1].set_box_aspect(1)
    axes[1].set_title(f"2. {2 * len(first)} numbers,\nno map, no candidates")
    for k, (x, y) in enumerate(first.tolist()):
        colour = style.VERMILION if k == joint else style.INK
        line = f"{model.skeleton.joints[k].replace('_', ' '):15}{x:+.2f} {y:+.2f}"
        look = {"family": "DejaVu Sans Mono", "fontsize": 5.6, "ha": "center", "va": "center", "color": colour}
        axes[1].text(0.5, 1 - (k + 0.5) / len(first), line, transform=axes[1].transAxes, **look)
    show.draw_image(axes[2], crop, "3. times the box:\nthe pose of stage 1")
    show.draw_pose(axes[2], start, model.skeleton)
    show.draw_box(axes[2], box, colour=style.VERMILION)
    view = model.cut(crop[None], box[None, None])[0]
    show.draw_image(axes[3], view, f"4. look again at\nthe {name}", interpolation="nearest")
    way = answers.cascade.answers[1, number, joint] * model.view
    middle = model.view / 2
    axes[3].annotate("", (middle + way[0], middle + way[1]), (middle, middle), arrowprops=_arrow())
    true = geometry.normalise(answers.true_crop_joints[number, joint][None], box)[0] * model.view + middle
    axes[3].plot(*true, **TRUTH)
    show.draw_image(axes[4], crop, "5. all joints so,\nonce or twice")
    show.draw_pose(axes[4], answers.cascade.joints[-1, number], model.skeleton)
    return figure


def _arrow() -> dict[str, Any]:
    return {"arrowstyle": "-|>", "color": style.VERMILION, "linewidth": 2.2, "mutation_scale": 13}


def draw_units(image: Tensor, joints: Tensor, skeleton: Any, wide: float, tall: float, shift: float) -> Figure:
    """A box on a picture, and the same joints in units of that box."""
    height, width = image.shape[-2:]
    middle = torch.tensor([width * (0.5 + shift), height / 2])
    half = torch.tensor([wide * width, tall * height]) / 2
    box = torch.cat([middle - half, middle + half])
    inside = geometry.normalise(joints, box)
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.8, 3.4))
    show.draw_image(left, image, "y, in pixels of the picture")
    show.draw_box(left, box, colour=style.ORANGE)
    left.plot(*middle, "x", color=style.ORANGE, markersize=10, markeredgewidth=3)
    show.draw_pose(left, joints, skeleton)
    right.add_patch(Rectangle((-0.5, -0.5), 1, 1, fill=False, color=style.ORANGE, linewidth=1.8))
    right.set(xlim=(-0.85, 0.85), ylim=(0.85, -0.85), aspect="equal", xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))
    right.autoscale(False)
    right.plot(0, 0, "x", color=style.ORANGE, markersize=10, markeredgewidth=3)
    show.draw_pose(right, inside, skeleton)
    right.set(title="N(y; b), in units of the box", xlabel="0 is its middle, 0.5 its border")
    return figure


# --- the network ------------------------------------------------------------------------------------------------------


def draw_sides(view: int, before: int, after: int, round_up: bool) -> Figure:
    """Map sides for one way of padding and rounding, drawn to scale, and the features that are left."""
    found, wanted = sides(view, (before, after), round_up), (55, 27, 13, 6)
    names = ("convolution 11 / 4", "pool 3 / 2", "pool 3 / 2", "pool 3 / 2")
    figure, ax = plt.subplots(figsize=(7.6, 2.6))
    place = 0.0
    for side, right, name in zip(found, wanted, names, strict=True):
        colour = style.GREEN if side == right else style.VERMILION
        ax.add_patch(Rectangle((place, -side / 2), side, side, facecolor=colour, alpha=0.25, edgecolor=colour))
        ax.text(place + side / 2, side / 2 + 3, f"{side} x {side}", ha="center", va="bottom", color=colour)
        ax.text(place + side / 2, -32, name, ha="center", va="top", fontsize=8)
        place += max(side, 26) + 14
    last = found[-1]
    words = f"256 x {last} x {last} =\n{256 * last * last:,} features\n(the paper: 9,216)"
    ax.text(place + 6, 0, words, va="center")
    ax.set(xlim=(-4, place + 95), ylim=(-40, 42), aspect="equal")
    ax.axis("off")
    ax.set_title(f"{view} pixels, {before} before and {after} after, pooling rounds {'up' if round_up else 'down'}")
    return figure


def draw_costs(rows: Sequence[dict[str, Any]]) -> Figure:
    """Where the weights are and where the multiplications are, layer by layer."""
    learned = [row for row in rows if row["parameters"]]
    counts = {"convolution": 0, "fully connected": 0}
    names, colours = [], []
    for row in learned:
        counts[row["layer"]] += 1
        names.append(f"{row['layer']} {counts[row['layer']]}")
        colours.append(style.BLUE if row["layer"] == "convolution" else style.ORANGE)
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 2.9), sharey=True)
    titles = {"parameters": "share of the weights, %", "M multiply-adds": "share of the multiply-adds, %"}
    for ax, (key, title) in zip(axes, titles.items(), strict=True):
        values = np.array([float(row[key]) for row in learned])
        shares = 100 * values / values.sum()
        ax.barh(range(len(shares)), shares, color=colours)
        for place, share in enumerate(shares):
            ax.text(share + 0.8, place, f"{share:.1f}", va="center", fontsize=8.5)
        ax.set(xlabel=title, yticks=range(len(names)), yticklabels=names, xlim=(0, 1.15 * shares.max()))
    axes[0].invert_yaxis()
    return figure


def lrn_responses(stage: Stage, view: Tensor) -> tuple[tuple[int, int], tuple[Tensor, Tensor, Tensor]]:
    """Where, off the border, the first convolution responds most to a view (1, 3, H, W); what LRN makes of it.

    Its channels (C,) before and after, and the strongest one for growing contrast (T, 3): before, after, and after an
    LRN whose pixels go from 0 to 1 where its constants expect 0 to 255.
    """
    convolution, normalise = stage.features[:3], stage.features[3]
    small = LocalResponse(alpha=1e-4 * (PIXELS / 255) ** 2)
    contrasts = torch.linspace(0, 2, 21)[:, None, None, None]  # the eleventh is the picture as it is
    with torch.inference_mode():
        maps = convolution(contrasts * (view - 0.5) * (255 / PIXELS))
        strength = maps[10].square().sum(0)
        middle = F.pad(torch.ones_like(strength[6:-6, 6:-6]), (6, 6, 6, 6))  # where the person is
        place = divmod(int((strength * middle).argmax()), strength.shape[1])
        before, after, straight = (m[:, :, place[0], place[1]] for m in (maps, normalise(maps), small(maps)))
    strongest = int(before[10].argmax())
    return place, (before[10], after[10], torch.stack([part[:, strongest] for part in (before, after, straight)], -1))


def draw_lrn(view: Tensor, responses: Sequence[Tensor], place: tuple[int, int], stride: int) -> Figure:
    """LRN at one place of one picture, and what it makes of contrast."""
    before, after, curves = responses
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 2.9), width_ratios=(0.75, 1.35, 1.1))
    show.draw_image(axes[0], view, "what stage 1 sees", interpolation="nearest")
    y, x = ((p + 0.5) * stride for p in place)
    axes[0].plot(x, y, "s", color=style.VERMILION, markersize=16, markerfacecolor="none", markeredgewidth=2)
    channels = np.arange(len(before))
    axes[1].bar(channels - 0.2, before, width=0.4, color=style.SKY, label="before LRN")
    axes[1].bar(channels + 0.2, after, width=0.4, color=style.BLUE, label="after LRN")
    axes[1].set(
        xlabel="channel of the first convolution",
        title="all channels at that place",
        ylim=(0, 1.3 * float(before.max())),
    )
    axes[1].legend(loc="upper right")
    contrast = np.linspace(0, 2, len(curves))
    words = ("before LRN", "after LRN", "after LRN, pixels 0 to 1")
    for values, word, colour, dashes in zip(
        curves.T, words, (style.SKY, style.BLUE, style.VERMILION), ("-", "-", "--"), strict=True
    ):
        axes[2].plot(contrast, values, color=colour, linestyle=dashes, label=word)
    axes[2].axvline(1, color=style.INK, linewidth=1, linestyle=":")
    axes[2].set(xlabel="contrast of the picture, as it is = 1", title="the strongest channel", ylim=(0, None))
    axes[2].legend(loc="upper left", fontsize=8)
    return figure


# --- what it is asked -------------------------------------------------------------------------------------------------


def draw_mean(image: Tensor, joints: Tensor, skeleton: Any, places: Tensor, chance: float) -> Figure:
    """Where the cheapest answer lies when a wrist (the last of `places`' owners) is at one of two places."""
    side = float(image.shape[-1])
    grid = torch.arange(0.5, side, 1.0)
    points = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1)[..., None, :]  # (H, W, 1, 2)
    weights = torch.tensor([chance, 1 - chance])
    cost = ((points - places).square().sum(-1) / side**2 * weights).sum(-1)
    best = (places * weights[:, None]).sum(0)
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.3))
    show.draw_image(left, image, "two places where it could be", dim=0.2)
    show.draw_pose(left, joints, skeleton, alpha=0.5)
    show.draw_image(right, image, "expected squared error of an answer", dim=0.6)
    right.contourf(grid, grid, cost.clamp(max=0.35), levels=np.linspace(0, 0.35, 15), cmap="viridis_r", alpha=0.75)
    for ax in (left, right):
        look = zip("AB", places, weights.tolist(), (style.BLUE, style.ORANGE), strict=True)
        for letter, place, share, colour in look:
            ax.plot(*place, "o", color=colour, markersize=4 + 12 * share, markeredgecolor=style.PAPER, zorder=5)
            ground = {"boxstyle": "square,pad=0.15", "facecolor": style.PAPER, "edgecolor": "none"}
            words = {"xytext": (9, 5), "textcoords": "offset points", "zorder": 6, "bbox": ground}
            ax.annotate(f"{letter}: {100 * share:.0f} %", place, **words)
        ax.plot(*best, "*", color=style.VERMILION, markersize=17, markeredgecolor=style.PAPER, zorder=6)
    return figure


# --- learning ---------------------------------------------------------------------------------------------------------


def draw_learning(history: dict[str, list], levels: dict[str, float], bars: dict[str, Sequence[float]]) -> Figure:
    """The loss of each stage while it is its turn, with a level that needs no learning; and what is found."""
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 3.1), width_ratios=(1.25, 0.8, 1.1))
    for ax, name, colour in zip(axes, ("stage_1", "stage_2"), (style.BLUE, style.VERMILION), strict=False):
        values = np.array(history[name])
        steps = np.flatnonzero(values)
        smooth = np.convolve(values[steps], np.ones(15) / 15, mode="valid")
        ax.plot(steps[7 : 7 + len(smooth)], smooth, color=colour)
        level, word = levels[name]
        ax.axhline(level, color=style.INK, linewidth=1.2, linestyle="--")
        ax.text(steps[-1], level, f"{word} ", ha="right", va="bottom", fontsize=8.5)
        ax.set(title=f"loss of {name.replace('_', ' ')}, in its own boxes", xlabel="step", ylim=(0, 1.5 * level))
    names = list(bars)
    for place, values in enumerate(bars.values()):
        axes[2].barh(place - 0.2, values[0], height=0.36, color=style.BLUE)
        axes[2].barh(place + 0.2, values[1], height=0.36, color=style.SKY)
    axes[2].barh(0, 0, color=style.BLUE, label="PDJ@0.2")
    axes[2].barh(0, 0, color=style.SKY, label="PDJ@0.1")
    axes[2].set(yticks=range(len(names)), yticklabels=names, xlabel="share of joints found")
    axes[2].set(title="other people, easy world")
    axes[2].invert_yaxis()
    axes[2].legend(loc="upper right")
    return figure
