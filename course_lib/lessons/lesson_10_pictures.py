"""The figures of lesson 10 that show ranks and doubles, and its second half, Mask R-CNN: cuts, cells, masks, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course_lib import show
from course_lib.lessons import lesson_10_regions as regions
from course_lib.models.rcnn.keypoints import target_cells
from course_lib.pose import Found, Pose, Scene
from course_lib.show import style
from course_lib.skeletons import Skeleton

PEOPLE = (style.BLUE, style.VERMILION, style.GREEN, style.ORANGE, style.PINK, style.SKY, style.INK)
POOL_COLOURS = dict(zip(regions.WAYS, (style.VERMILION, style.SKY, style.BLUE), strict=True))

# --- two ways ---------------------------------------------------------------------------------------------------------


def draw_two_ways() -> Figure:
    """From a picture to joints: crops of the picture, or cuts out of its features."""
    figure, ax = plt.subplots(figsize=(style.PAGE, 3.1))
    diagram = show.Diagram(ax)
    crops = ("detector", "boxes", "crops of\nthe picture", "a whole network\nfor every crop", "discs, arrows:\nvotes")
    heads = ("a small head\nfor every box", "one cell of\n56 x 56")
    cuts = ("one network", "features\nand boxes", "cuts of\nthe features", *heads)
    rows = ((1.25, style.BLUE, crops), (-1.25, style.GREEN, cuts))
    look = {"width": 2.45, "height": 1.0, "size": 8.5}
    picture = diagram.box(0, 0, "picture", colour=style.GREY, width=1.6, height=1.0, size=8.5)
    for y, colour, words in rows:
        before = picture
        for number, text in enumerate(words):
            box = diagram.box(2.9 + 3.05 * number, y, text, colour=colour, **look)
            diagram.arrow(before, box)
            before = box
    for y, name in ((2.15, "G-RMI: two stages"), (-2.2, "Mask R-CNN: one network")):
        ax.text(1.7, y, name, fontsize=10, ha="left", va="center", fontweight="bold", color=style.INK)
    return figure


# --- boxes, ranks and doubles -----------------------------------------------------------------------------------------


def draw_detected(scene: Scene, found: Found, poses: Sequence[Pose], alike: Tensor, most: int = 6) -> Figure:
    """A detector's boxes with their scores, and the poses looked for in them with how like a person each is."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.3))
    show.draw_image(left, scene.image, "boxes, and how sure the detector is")
    show.draw_image(right, scene.image, "a pose for each, and its OKS with a true person", dim=0.3)
    places: list[tuple[float, float]] = []
    for number, (box, score) in enumerate(zip(found.boxes[:most], found.scores[:most], strict=True)):
        colour = PEOPLE[number % len(PEOPLE)]
        show.draw_box(left, box, colour=colour)
        _number(left, float(score), (float(box[0]) + 11, float(box[1]) + 4), colour, places)
    places = []
    for number, (pose, value) in enumerate(zip(poses[:most], alike[:most], strict=True)):
        colour = PEOPLE[number % len(PEOPLE)]
        show.draw_pose(right, pose, colour=colour)
        _number(right, float(value), tuple(pose.joints.mean(0).tolist()), colour, places)
    return figure


def _number(ax: Axes, value: float, place: tuple[float, float], colour: str, taken: list[tuple[float, float]]) -> None:
    """A number in a frame of its colour, moved down until it covers none of those that are there."""
    x, y = place
    while any(abs(x - a) < 24 and abs(y - b) < 14 for a, b in taken):
        y += 2
    taken.append((x, y))
    ground = {"boxstyle": "square,pad=0.2", "facecolor": style.PAPER, "edgecolor": colour}
    ax.text(x, y, f"{value:.2f}", fontsize=8, ha="center", va="center", bbox=ground, zorder=6)


def draw_ranking(scores: Mapping[str, Tensor], alike: Tensor, kept: Mapping[str, float]) -> Figure:
    """Every pose's OKS against what it is ranked by; kept: how often the better of two poses is ranked higher."""
    figure, axes = plt.subplots(1, len(scores), figsize=(style.PAGE, 2.9), sharey=True)
    for ax, (name, values) in zip(axes, scores.items(), strict=True):
        ax.scatter(values, alike, s=9, color=style.BLUE, alpha=0.45, linewidths=0)
        edges = torch.quantile(values, torch.linspace(0, 1, 6))
        for low, high in pairwise(edges):
            inside = (values >= low) & (values <= high)
            if bool(inside.any()):
                ax.plot([low, high], [float(alike[inside].mean())] * 2, color=style.VERMILION, linewidth=2.4)
        ax.set(xlabel=name, title=f"right order: {100 * kept[name]:.0f} %", ylim=(-0.02, 1.02))
    axes[0].set_ylabel("OKS with a person")
    return figure


def draw_same(scene: Scene, poses: Sequence[Pose], kept: Sequence[Pose], same: float) -> Figure:
    """All poses of a picture, and those that OKS-NMS with a threshold leaves."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.3))
    show.draw_image(left, scene.image, f"{len(poses)} poses, one for every box", dim=0.35)
    for number, pose in enumerate(poses):
        show.draw_pose(left, pose, colour=PEOPLE[number % len(PEOPLE)], alpha=0.75)
    words = f"OKS above {same:.2f} goes: {len(kept)} stay, {len(scene.people)} people are there"
    show.draw_image(right, scene.image, words, dim=0.35)
    for number, pose in enumerate(kept):
        show.draw_pose(right, pose, colour=PEOPLE[number % len(PEOPLE)])
    return figure


def draw_sweep(runs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """AP and AR by the threshold of OKS-NMS."""
    figure, ax = plt.subplots(figsize=(0.6 * style.PAGE, 2.9))
    places = list(runs)
    for key, name, colour in (
        ("ap", "AP", style.BLUE),
        ("ar", "AR", style.ORANGE),
        ("ap50", "AP at OKS 0.5", style.GREEN),
    ):
        ax.plot(places, [run[key] for run in runs.values()], "o-", color=colour, label=name)
    ax.set(ylim=(0, None), xlabel="a pose goes if its OKS with a better one is above", title="crowd-val")
    ax.tick_params(axis="x", labelsize=8)
    ax.legend()
    return figure


# --- cutting out ------------------------------------------------------------------------------------------------------


def draw_rounding(image: Any, box: Tensor, stride: int, bins: int = 7) -> Figure:
    """A box on a map's cells: as it is, and rounded; and where the bins of each look, beside where they should."""
    figure, axes = plt.subplots(1, 2, figsize=(0.86 * style.PAGE, 4.4))
    rounded = (box / stride).round() * stride
    for ax, way in zip(axes, (regions.POOL, regions.ALIGN), strict=True):
        show.draw_image(ax, image, dim=0.45)
        x0, y0, x1, y1 = box.tolist()
        margin = 0.75 * stride
        ax.set(xlim=(x0 - margin, x1 + margin), ylim=(y1 + margin, y0 - margin))
        height, width = image.shape[-2:]
        for x in range(0, width + 1, stride):
            ax.axvline(x, color=style.INK, linewidth=0.5, alpha=0.5)
        for y in range(0, height + 1, stride):
            ax.axhline(y, color=style.INK, linewidth=0.5, alpha=0.5)
        show.draw_box(ax, box, colour=style.GREEN, width=2.2)
        if way == regions.POOL:
            show.draw_box(ax, rounded, colour=style.VERMILION, width=1.6, dashed=True)
        true = regions.meant(box[None], bins)[0].flatten(0, 1)
        cells = (height // stride + 2, width // stride + 2)
        seen = regions.looked_at(box[None], bins, stride, way, cells)[0].flatten(0, 1)
        for a, b in zip(true, seen, strict=True):
            ax.plot(*zip(a.tolist(), b.tolist(), strict=True), color=style.VERMILION, linewidth=1)
        ax.plot(*true.T, "o", color=style.GREEN, markersize=4)
        ax.plot(*seen.T, ".", color=style.VERMILION, markersize=5)
        off = float((seen - true).norm(dim=-1).mean())
        ax.set_title(f"{way}: {off:.1f} px beside the bins' middles")
    return figure


def draw_missed(rows: Mapping[str, Mapping[int, regions.Missed]]) -> Figure:
    """By the map's stride: how far bins look beside their middles, and what is left when the common shift is known."""
    figure, axes = plt.subplots(1, 2, figsize=(0.86 * style.PAGE, 2.9), sharey=True)
    for ax, key, title in zip(axes, ("mean", "left"), ("in all", "beside the shift that all boxes share"), strict=True):
        for way, by_stride in rows.items():
            values = [getattr(one, key) for one in by_stride.values()]
            ax.plot(range(len(by_stride)), values, "o-", color=POOL_COLOURS[way], label=way)
        ax.set(xticks=range(len(by_stride)), xlabel="pixels a cell", title=title)
        ax.set_xticklabels(list(by_stride))
        ax.grid(axis="y", alpha=0.4)
    axes[0].set_ylabel("mean, pixels")
    axes[0].legend()
    return figure


# --- one cell of S x S ------------------------------------------------------------------------------------------------


def draw_cells(image: Any, box: Tensor, joints: Tensor, visible: Tensor, cells: int, skeleton: Skeleton) -> Figure:
    """A box cut into cells x cells, the one cell of every joint, and how far its middle is from the joint."""
    points = torch.cat([joints, visible[:, None].float()], dim=1)[None]
    chosen, asked = target_cells(points, box[None], cells)
    sides = box[2:] - box[:2]
    figure, (left, right) = plt.subplots(1, 2, figsize=(0.8 * style.PAGE, 4.2), width_ratios=(1, 1.35))
    show.draw_image(left, image, f"{cells} x {cells} cells", dim=0.4)
    left.set(xlim=(float(box[0]) - 3, float(box[2]) + 3), ylim=(float(box[3]) + 3, float(box[1]) - 3))
    for axis, line in ((0, left.axvline), (1, left.axhline)):
        span = ((float(box[1]), float(box[3])), (float(box[0]), float(box[2])))[axis]
        limits = left.get_ylim() if axis == 0 else left.get_xlim()
        ends = sorted((edge - limits[0]) / (limits[1] - limits[0]) for edge in span)
        for n in range(cells + 1):
            line(float(box[axis] + n * sides[axis] / cells), *ends, color=style.INK, linewidth=0.35, alpha=0.6)
    centre = torch.stack([chosen[0] % cells, chosen[0] // cells], -1) + 0.5
    middles = box[:2] + centre * sides / cells
    for k in asked[0].nonzero()[:, 0].tolist():
        low = middles[k] - sides / cells / 2
        colour = show.joint_colour(skeleton, k)
        left.add_patch(plt.Rectangle(low.tolist(), *(sides / cells).tolist(), facecolor=colour, alpha=0.9, zorder=3))
        left.plot(*joints[k], "+", color=style.INK, markersize=6, markeredgewidth=1.4, zorder=4)
    off = (middles - joints).norm(dim=-1)[asked[0]]
    names = [skeleton.joints[k].replace("_", " ") for k in asked[0].nonzero()[:, 0].tolist()]
    right.barh(names, off, color=style.SKY, height=0.6)
    right.axvline(float(off.mean()), color=style.INK, linewidth=1.2, linestyle="--")
    right.set(title=f"joint to its cell's middle: {float(off.mean()):.1f} px on average", xlim=(0, 8), xlabel="pixels")
    right.invert_yaxis()
    right.tick_params(axis="y", length=0, labelsize=8)
    return figure


GRIDS = (14, 28, 56, 112)


def draw_quantisation(
    errors: Mapping[int, Sequence[float]], heights: Sequence[float], best: Mapping[str, Sequence[float]]
) -> Figure:
    """What a grid of cells costs: pixels by the person's height, and OKS, joint by joint, by the number of cells."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.1))
    shades = (style.VERMILION, style.ORANGE, style.BLUE, style.SKY)
    for (cells, values), colour in zip(errors.items(), shades, strict=True):
        left.plot(heights, values, color=colour, label=f"{cells} x {cells}")
    left.set(
        xlabel="height of the person's box, pixels", ylabel="mean error, pixels", title="in pixels it grows with people"
    )
    left.legend()
    for (joint, values), colour in zip(best.items(), (style.INK, style.BLUE, style.GREEN), strict=False):
        right.plot(range(len(GRIDS)), values, "o-", color=colour, label=joint)
    right.axhline(0.95, color=style.GREY, linestyle=":", linewidth=1.2)
    right.set(xticks=range(len(GRIDS)), ylim=(0.65, 1.01), title="OKS of perfect answers: of no size")
    right.set_xticklabels([f"{n} x {n}" for n in GRIDS])
    right.legend(loc="lower right")
    return figure


def draw_places(image: Any, box: Tensor, logits: Tensor, true: Tensor, joint: str) -> Figure:
    """A joint's softmax over the cells of a box, in the picture and as a map. true (2,) in pixels."""
    share = torch.softmax(logits.flatten(), 0).view_as(logits)
    figure, (left, right) = plt.subplots(1, 2, figsize=(0.8 * style.PAGE, 3.8))
    show.draw_image(left, image, f"{joint.replace('_', ' ')}: probability of every cell", dim=0.35)
    x0, y0, x1, y1 = box.tolist()
    shades = np.zeros((*share.shape, 4))
    shades[..., :3] = tuple(int(style.BLUE[i : i + 2], 16) / 255 for i in (1, 3, 5))
    shades[..., 3] = 0.9 * (share / share.max()).sqrt().numpy()
    margin = 0.06 * (y1 - y0)
    left.imshow(shades, extent=(x0, x1, y1, y0), interpolation="nearest")
    left.set(xlim=(x0 - margin, x1 + margin), ylim=(y1 + margin, y0 - margin))
    show.draw_box(left, box, colour=style.INK, width=1.2)
    left.plot(*true, "+", color=style.GREEN, markersize=13, markeredgewidth=2.2)
    shown = right.imshow(logits, cmap="viridis")
    cells = logits.shape[-1]
    place = (true - box[:2]) / (box[2:] - box[:2]) * cells - 0.5
    right.plot(*place, "+", color=style.PAPER, markersize=13, markeredgewidth=2.2)
    right.set(title=f"logits, {cells} x {cells}; highest {float(logits.max()):.1f}", xticks=[], yticks=[])
    figure.colorbar(shown, ax=right, shrink=0.8).outline.set_visible(False)
    return figure


# --- everything together ----------------------------------------------------------------------------------------------


def draw_everything(scenes: Sequence[Scene], outputs: Sequence[dict], model: Any, threshold: float = 0.5) -> Figure:
    """Boxes, masks and joints of everybody who is surer than a threshold."""
    figure, axes = plt.subplots(2, len(scenes), figsize=(style.PAGE, 2.0 * style.PAGE / len(scenes) * 0.78))
    for column, (scene, output, poses) in enumerate(zip(scenes, outputs, model.decode(outputs), strict=True)):
        show.draw_image(axes[0, column], scene.image, "the picture")
        show.draw_image(axes[1, column], scene.image, "boxes, masks, joints", dim=0.45)
        _draw_people(axes[1, column], output, poses, threshold)
    return figure


def _draw_people(ax: Axes, output: dict, poses: Sequence[Pose], threshold: float) -> None:
    height, width = output["masks"].shape[-2:]
    shades = np.zeros((height, width, 4))
    sure = [n for n, pose in enumerate(poses) if pose.score >= threshold]
    for n in sure:
        colour = PEOPLE[n % len(PEOPLE)]
        inside = (output["masks"][n, 0] > 0.5).cpu().numpy() & (shades[..., 3] == 0)
        shades[inside] = (*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)), 0.5)
    ax.imshow(shades, extent=(0, width, height, 0))
    for n in sure:
        show.draw_box(ax, poses[n].box, colour=PEOPLE[n % len(PEOPLE)], width=1.0)
        show.draw_pose(ax, poses[n], colour=style.INK, width=1.4)


def draw_breaking(systems: Mapping[str, Mapping[str, Any]]) -> Figure:
    """The share of people found by their size, and by how much of their box others' boxes cover, system by system."""
    titles = ("height, pixels", "overlap of boxes (IoU)")
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 3.0), sharey=True)
    shades = (style.BLUE, style.GREEN, style.INK)
    for ax, title in zip(axes, titles, strict=True):
        for (name, rows), colour in zip(systems.items(), shades, strict=False):
            shares = {group: row["found"] for group, row in rows[title].items() if row["people"]}
            dashed = "--" if "true" in name else "-"
            ax.plot(list(shares), list(shares.values()), "o" + dashed, color=colour, label=name)
        ax.set(ylim=(0, 1), xlabel=title)
        ax.tick_params(axis="x", labelsize=8)
        ax.grid(axis="y", alpha=0.4)
    axes[0].set_ylabel("share of people found")
    axes[0].legend()
    return figure
