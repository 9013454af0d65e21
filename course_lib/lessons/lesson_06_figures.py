"""The longer figures of lesson 06. Every function returns its figure; the notebook ends the cell with plt.show()."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from course_lib import show
from course_lib.lessons.lesson_06_stacked_hourglass import Answers, Slide
from course_lib.models.hourglass import StackedHourglass
from course_lib.pose import Scene
from course_lib.show import style
from course_lib.targets import heatmaps

# --- drawings of the network ------------------------------------------------------------------------------------------


def draw_patches(scenes: Sequence[Scene], chosen: Sequence[tuple[int, int]], side: int) -> Figure:
    """Small squares around joints, enlarged, without saying which."""
    figure, axes = plt.subplots(1, len(chosen), figsize=(style.PAGE, style.PAGE / len(chosen) + 0.25))
    for ax, letter, (number, joint) in zip(axes, "ABCDEFGH", chosen, strict=False):
        scene = scenes[number]
        x, y = scene.people[0].joints[joint].long().tolist()
        padded = torch.nn.functional.pad(scene.image[None], (side,) * 4, value=0.5)[0]
        top, left = y + side - side // 2, x + side - side // 2
        show.draw_image(ax, padded[:, top : top + side, left : left + side], letter, interpolation="nearest")
        ax.plot(side / 2, side / 2, "+", color=style.PAPER, markersize=12, markeredgewidth=2)
    return figure


def draw_context(sides: Sequence[str], exact: Sequence[float], either: Sequence[float], chance: float) -> Figure:
    """How often a joint is told by name from a square around it, and how often but for left and right."""
    figure, ax = plt.subplots(figsize=(6.6, 3.1))
    ax.plot(sides, either, "o-", color=style.SKY, label="right joint, either side")
    ax.plot(sides, exact, "o-", color=style.BLUE, label="right joint and right side")
    ax.axhline(chance, color=style.INK, linewidth=1.2, linestyle="--", label="guessing one of 14")
    ax.set(ylim=(0, 1), xlabel="side of the square that can be seen, pixels of 128", ylabel="share of joints")
    ax.legend(loc="upper left")
    return figure


def draw_reach(reaches: dict[str, Tensor]) -> Figure:
    """How far one cell of the output looks, for several networks side by side."""
    figure, axes = plt.subplots(1, len(reaches), figsize=(7.2, 3.5))
    for ax, (name, reach) in zip(axes, reaches.items(), strict=True):
        values = (reach / reach.max()).clamp(min=1e-8).log10()
        values = torch.where(reach > 0, values, torch.nan)
        shown = ax.imshow(values, extent=(0, len(reach), len(reach), 0), vmin=-6, vmax=0, cmap="viridis")
        middle = len(reach) // 2 + 0.5
        ax.plot(middle, middle, "+", color=style.VERMILION, markersize=11, markeredgewidth=2)
        ax.set(title=name, xlabel="cells", xticks=[0, 16, 32, 48, 64], yticks=[0, 16, 32, 48, 64])
    scale = figure.colorbar(shown, ax=axes, shrink=0.85, ticks=[-6, -4, -2, 0], label="influence, strongest = 1")
    scale.ax.set_yticklabels(["$10^{-6}$", "$10^{-4}$", "$10^{-2}$", "1"])
    return figure


def draw_recursion(rows: Sequence[dict[str, Any]], cells: int) -> Figure:
    """One hourglass, from the trace of its blocks: down on the left, up on the right, a skip path at each level."""
    depth = max(row["level"] for row in rows)
    figure, ax = plt.subplots(figsize=(style.PAGE, 5.4))
    diagram, right = show.Diagram(ax), 16.6
    box = {"width": 1.75, "height": 0.72, "size": 8.5}
    enter, leave = {}, {}
    for level in range(depth + 1):
        y, side = -1.5 * level, cells >> level
        place, far = 1.3 * level, right - 1.3 * level
        if level == 0:
            enter[0] = diagram.box(place, y, f"in\n{side} x {side}", colour=style.GREY, **box)
            leave[0] = diagram.box(far, y, f"out\n{side} x {side}", colour=style.GREY, **box)
            continue
        enter[level] = diagram.box(place, y, f"before\n{side} x {side}", colour=style.BLUE, **box)
        leave[level] = diagram.box(far, y, f"after\n{side} x {side}", colour=style.VERMILION, **box)
    for level in range(depth):
        y, side, last = -1.5 * level, cells >> level, level + 1 == depth
        middle = (enter[level].centre[0] + leave[level].centre[0]) / 2
        skip = diagram.box(middle, y, f"upper  {side} x {side}", colour=style.GREEN, width=2.4, height=0.62, size=8.5)
        plus = leave[level].side("left")[0] - 0.75, y
        diagram.arrow(enter[level], skip)
        diagram.arrow(skip, (plus[0] - 0.2, y))
        diagram.arrow((plus[0] + 0.2, y), leave[level])
        diagram.text(*plus, "+", size=13)
        diagram.arrow(enter[level], enter[level + 1], "÷2", size=8.5)
        diagram.arrow(leave[level + 1], (plus[0] + 0.05, y - 0.2), "×2", size=8.5)
        if last:
            bottom = enter[depth].centre[1]
            inner = diagram.box(
                middle, bottom, f"innermost\n{cells >> depth} x {cells >> depth}", colour=style.ORANGE, **box
            )
            diagram.arrow(enter[depth], inner)
            diagram.arrow(inner, leave[depth])
    ax.set_title(f"An hourglass of depth {depth}: {len(rows)} residual blocks, each coloured box is one")
    return figure


def draw_network(model: StackedHourglass) -> Figure:
    """All stacks in a row, with what joins them, in the sizes of a given model."""
    stacks, joints = len(model.hourglasses), len(model.skeleton)
    width = model.merge_features[0].in_channels
    height, across = model.input_size
    cells = f"{height // model.stride} x {across // model.stride}"
    figure, ax = plt.subplots(figsize=(style.PAGE, 3.9))
    diagram = show.Diagram(ax)
    image = diagram.box(0, 0, f"picture\n{height} x {across}", width=1.7, height=1.0, colour=style.GREY, size=8)
    stem = diagram.box(2.3, 0, f"stem\n{width} of\n{cells}", width=1.6, height=1.3, colour=style.SKY, size=8)
    diagram.arrow(image, stem)
    before: Any = stem
    for number in range(1, stacks + 1):
        x, last = 4.6 + 4.3 * (number - 1), number == stacks
        body = diagram.box(x, 0, f"hourglass\n{number}", width=1.6, height=1.3, colour=style.BLUE, size=8.5)
        maps = diagram.box(
            x + 1.0, -2.3, f"maps {number}\n{joints} of {cells}", width=1.95, colour=style.ORANGE, size=8
        )
        loss = diagram.box(x + 1.0, -3.9, f"loss {number}", width=1.3, height=0.62, colour=style.VERMILION, size=8.5)
        diagram.arrow(before, body)
        diagram.arrow(body, maps, bend=0.0)
        diagram.arrow(maps, loss, dashed=True)
        if not last:
            plus = (x + 2.1, 0.0)
            diagram.arrow(body, (plus[0] - 0.22, 0))
            diagram.arrow(maps, (plus[0] + 0.05, -0.25))
            diagram.text(*plus, "+", size=14)
            start = (x - 1.25, 0.0)
            diagram.arrow(start, (plus[0], 0.25), bend=-0.62, colour=style.GREEN)
            before = (plus[0] + 0.2, 0.0)
    diagram.text(6.0, 2.1, "the stack's own input, unchanged", size=8.5, colour=style.GREEN)
    ax.set_title(f"{stacks} stacks: features and maps go back into the row; every set of maps has its loss")
    return figure


# --- what it is asked -------------------------------------------------------------------------------------------------


def draw_targets(image: Tensor, joints: Tensor, names: Sequence[str], stride: int, sigma: float) -> Figure:
    """The picture, the maps of two joints, and a cut through one of them."""
    size = (image.shape[-2] // stride, image.shape[-1] // stride)
    maps = heatmaps.gaussian(joints / stride, size, sigma)
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 3.2), width_ratios=(1, 1, 1.25))
    for ax, name, one in zip(axes, names, maps, strict=False):
        show.overlay_map(ax, image, one, maximum=1.0, title=f"asked of map '{name.replace('_', ' ')}'")
    row = maps[0, int(joints[0, 1] / stride)]
    axes[2].bar(np.arange(size[1]) + 0.5, row, width=0.9, color=style.ORANGE)
    axes[2].axvline(joints[0, 0] / stride, color=style.INK, linewidth=1.2, linestyle=":", label="the joint")
    axes[2].set(ylim=(0, 1.05), xlabel="column (cells)", title="one row of the first map")
    axes[2].legend(loc="upper left")
    return figure


# --- learning ---------------------------------------------------------------------------------------------------------


def draw_learning(history: dict[str, list], validation: str, levels: dict[str, float]) -> Figure:
    """Losses beside the cost of an empty answer, and the score beside levels that need no learning."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.3))
    names = sorted(name for name in history if name.startswith("stack_"))
    for name, colour in zip(names, style.CYCLE, strict=False):
        values = np.convolve(history[name], np.ones(9) / 9, mode="valid")
        left.plot(np.arange(len(values)) + 4, values, color=colour, label=f"loss of {name.replace('_', ' ')}")
    left.axhline(1, color=style.INK, linewidth=1.2, linestyle="--")
    left.text(len(history["loss"]), 1.02, "an empty answer costs 1", ha="right", va="bottom", fontsize=9)
    left.set(xlabel="step", ylabel="loss", ylim=(0, 1.15), title="What it costs")
    left.legend(loc="lower left")
    steps = [row["step"] for row in history["validation"]]
    right.plot(steps, [row[validation] for row in history["validation"]], "o-", color=style.BLUE, label="live network")
    for (name, level), dashes in zip(levels.items(), ("--", ":"), strict=False):
        right.axhline(level, color=style.INK, linewidth=1.2, linestyle=dashes, label=name)
    right.set(
        xlabel="step", ylabel="PCK@0.2", xlim=(0, None), ylim=(0, None), title="What it finds on people it never saw"
    )
    right.legend(loc="upper left")
    return figure


# --- a look inside ----------------------------------------------------------------------------------------------------


def draw_stack(answers: Answers, number: int, stack: int, joint: str) -> Figure:
    """One scene after one stack: the pose beside the truth, and the beliefs in one joint or in all of them."""
    scene, pose = answers.scenes[number], answers.poses(stack - 1, answers.maps[:, number : number + 1])[0]
    maps = answers.maps[stack - 1, number].clamp(min=0)
    skeleton = answers.model.skeleton
    shown = maps.amax(0) if joint == "all" else maps[skeleton.index(joint)]
    person, marks = scene.people[0], answers.every_mark[stack - 1]
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 3.4))
    show.draw_image(axes[0], scene.image, "the truth")
    show.draw_pose(axes[0], person)
    show.overlay_map(axes[1], scene.image, shown, maximum=1.0, title=f"stack {stack}: {joint.replace('_', ' ')}")
    if joint != "all":
        axes[1].plot(*person.joints[skeleton.index(joint)], "+", color=style.GREEN, markersize=13, markeredgewidth=2.5)
    right, scored = int(marks.right[number].sum()), int(marks.scored[number].sum())
    show.draw_image(axes[2], scene.image, f"stack {stack}: {right} of {scored} joints found")
    show.draw_pose(axes[2], pose)
    return figure


def draw_walk(answers: Answers, number: int, joint: int) -> Figure:
    """The map of one joint after every stack, with its peak, the peaks before, and the true place."""
    scene, name = answers.scenes[number], answers.model.skeleton.joints[joint].replace("_", " ")
    figure, axes = plt.subplots(1, answers.stacks + 1, figsize=(style.PAGE, style.PAGE / (answers.stacks + 1) + 0.4))
    show.draw_image(axes[0], scene.image, f"where is the {name}?")
    show.draw_pose(axes[0], scene.people[0], alpha=0.85)
    axes[0].plot(*scene.people[0].joints[joint], "+", color=style.GREEN, markersize=14, markeredgewidth=3, zorder=5)
    peaks = [answers.poses(s, answers.maps[:, number : number + 1])[0].joints[joint] for s in range(answers.stacks)]
    for stack, ax in enumerate(axes[1:]):
        show.overlay_map(ax, scene.image, answers.maps[stack, number, joint].clamp(min=0))
        ax.plot(*scene.people[0].joints[joint], "+", color=style.GREEN, markersize=14, markeredgewidth=3)
        ax.plot(*torch.stack(peaks[: stack + 1]).T, "-", color=style.BLUE, linewidth=1.5)
        ax.plot(*peaks[stack], "o", markersize=9, markerfacecolor="none", markeredgecolor=style.BLUE, markeredgewidth=2)
        peak = float(answers.maps[stack, number, joint].max())
        ax.set_title(f"stack {stack + 1}: {answers.errors[stack, number, joint]:.0f} px off, peak {peak:.2f}")
    return figure


def draw_repairs(answers: Answers, groups: dict[str, list[int]]) -> Figure:
    """Of all joints: how many each group's later stacks repair, and how many they lose."""
    first, last = answers.every_mark[0], answers.every_mark[-1]
    figure, ax = plt.subplots(figsize=(7.2, 3.2))
    for place, indices in enumerate(groups.values()):
        scored = first.scored[:, indices].sum()
        repaired = (~first.right & last.right)[:, indices].sum() / scored
        lost = (first.right & ~last.right)[:, indices].sum() / scored
        ax.barh(place, 100 * repaired, height=0.7, color=style.GREEN)
        ax.barh(place, -100 * lost, height=0.7, color=style.VERMILION)
    ax.axvline(0, color=style.INK, linewidth=1)
    ax.set(yticks=range(len(groups)), yticklabels=list(groups), xlabel="share of the group's joints, %")
    ax.invert_yaxis()
    handles = [Line2D([], [], color=colour, linewidth=7) for colour in (style.VERMILION, style.GREEN)]
    words = ["found by stack 1, lost by the last", "missed by stack 1, found by the last"]
    figure.legend(handles, words, loc="outside upper center", ncols=2)
    return figure


# --- two people, photographs, the study -------------------------------------------------------------------------------


def draw_slide(slide: Slide, step: int) -> Figure:
    """The box at one of its places, the answer there, and whom the answers on the whole way belong to."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.3), width_ratios=(1.35, 1))
    show.draw_image(left, slide.scene.image, "the box, its centre, and the one answer")
    show.draw_box(left, slide.boxes[step], colour=style.ORANGE)
    show.draw_pose(left, slide.poses[step])
    x0, y0, x1, y1 = slide.boxes[step].tolist()
    left.plot((x0 + x1) / 2, (y0 + y1) / 2, "x", color=style.ORANGE, markersize=11, markeredgewidth=3, zorder=6)
    share = np.linspace(0, 100, len(slide.boxes))
    for index, (name, colour) in enumerate((("left", style.BLUE), ("right", style.VERMILION))):
        right.plot(share, slide.distances[:, index], ".-", color=colour, label=f"to the {name} person")
    right.axvline(share[step], color=style.INK, linewidth=1.2, linestyle=":")
    right.set(xlabel="centre: 0 = left person, 100 = right person", ylabel="distance of the answer, boxes")
    right.set(ylim=(0, 1.35 * float(slide.distances.max())), title="Whose pose is it?")
    right.legend(loc="upper center")
    return figure


def draw_photographs(answers: dict[str, dict[str, tuple[Any, Any]]]) -> Figure:
    """Photographs with the answers of several sets of weights, a row each, joints as opaque as their peaks are high."""
    figure, axes = plt.subplots(len(answers), 2, figsize=(7.2, 3.9 * len(answers)), squeeze=False)
    for row, (weights, photographs) in zip(axes, answers.items(), strict=True):
        for ax, (image, pose) in zip(row, photographs.values(), strict=True):
            show.draw_image(ax, image, f"{weights}: mean peak {pose.scores.mean():.2f}")
            show.draw_box(ax, pose.box, colour=style.INK)
            show.draw_pose(ax, pose, fade=True)
    return figure


def draw_worlds(study: dict[str, Any]) -> Figure:
    """PCK@0.2 by joint on drawn and on photographed people, one dot a set of weights; left and right joints pooled."""
    colours = {"mean pose": style.INK, "hourglass_synthetic": style.SKY, "hourglass_course": style.VERMILION}
    titles = {"single-val": "500 drawn people (single-val)", "lspet-val": "500 photographs (lspet-val)"}
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 3.4), sharey=True)
    for ax, (benchmark, rows) in zip(axes, study["benchmarks"].items(), strict=True):
        for name, row in rows.items():
            kinds: dict[str, list[float]] = {}
            for joint, value in row["by joint"].items():
                kinds.setdefault(joint.removeprefix("left_").removeprefix("right_").replace("_", " "), []).append(value)
            means = [sum(values) / len(values) for values in kinds.values()]
            ax.plot(means, range(len(kinds)), "o", color=colours[name], markersize=7, label=name)
            ax.axvline(row["pck@0.2"], color=colours[name], linewidth=1, linestyle=":")
        ax.set(
            yticks=range(len(kinds)), yticklabels=list(kinds), xlim=(0, 1), xlabel="PCK@0.2", title=titles[benchmark]
        )
        ax.grid(axis="y", alpha=0.3)
    axes[1].legend(loc="lower right", fontsize="small")
    return figure


def draw_study(study: dict[str, Any], panels: dict[str, Sequence[str]]) -> Figure:
    """Every run of an ablation as a dot, every arm's mean as a bar, read after the last stack; one panel a question."""
    sizes = [len(arms) for arms in panels.values()]
    height = 0.42 * sum(sizes) + 0.75 * len(panels)
    figure, axes = plt.subplots(len(panels), 1, figsize=(7.6, height), height_ratios=sizes, sharex=True)
    for ax, (title, arms) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        for place, arm in enumerate(arms):
            values = [run["pck@0.2"][-1] for run in study["runs"] if run["arm"] == arm]
            ax.barh(place, np.mean(values), height=0.62, color=style.SKY, alpha=0.6)
            ax.plot(values, [place] * len(values), "o", color=style.BLUE, markersize=5)
        ax.set(yticks=range(len(arms)), yticklabels=arms, title=title)
        ax.invert_yaxis()
    axes[-1].set(xlabel="PCK@0.2 on held-out easy people, last stack", xlim=(0, None))
    return figure
