"""The longer figures of lesson 04. Every function returns its figure; the notebook ends the cell with plt.show()."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from course_lib import show
from course_lib.lessons.lesson_04_convolutional_pose_machines import Beliefs, Moved, Sight
from course_lib.models.cpm import ConvolutionalPoseMachine
from course_lib.models.receptive import Field
from course_lib.pose import Scene
from course_lib.show import style

STAGE_COLOURS = (style.VERMILION, style.ORANGE, style.GREEN, style.BLUE, style.PINK, style.INK)
GREY = 0.55  # what is put over the parts of a picture that a stage cannot see


def cross(ax: Axes, joint: Any, colour: str = style.GREEN) -> None:
    """A cross at a true joint, readable on any ground."""
    ax.plot(*joint, "+", color=style.PAPER, markersize=16, markeredgewidth=5, zorder=5)
    ax.plot(*joint, "+", color=colour, markersize=14, markeredgewidth=2.6, zorder=6)


def ring(ax: Axes, joint: Any) -> None:
    """A ring around a true joint, which leaves the map inside to see."""
    for colour, width in ((style.PAPER, 4.5), (style.GREEN, 2.2)):
        ax.plot(*joint, "o", markersize=14, markerfacecolor="none", color=colour, markeredgewidth=width, zorder=5)


def spoken(name: str) -> str:
    return name.replace("_", " ")


# --- the problem ------------------------------------------------------------------------------------------------------


def draw_two_hills(scene: Scene, maps: Tensor, joint: int, partner: int) -> Figure:
    """One picture and what lesson 03's network believes of a joint and of the same joint of the other side."""
    person = scene.people[0]
    names = person.skeleton.joints
    figure, axes = plt.subplots(1, 3, figsize=(8.1, 3.0))
    show.draw_image(axes[0], scene.image, f"cross: the {spoken(names[joint])}")
    show.draw_pose(axes[0], person, alpha=0.85)
    cross(axes[0], person.joints[joint])
    for ax, index in zip(axes[1:], (joint, partner), strict=True):
        show.overlay_map(ax, scene.image, maps[index].clamp(min=0), title=f"the map for '{spoken(names[index])}'")
        cross(ax, person.joints[index])
    return figure


def draw_mistakes(rows: dict[str, dict[str, tuple[float, float, float]]]) -> Figure:
    """What becomes of each kind of joint: found, put on the other side's, put elsewhere. One panel for each entry."""
    figure, axes = plt.subplots(
        1, len(rows), figsize=(min(style.PAGE, 5.4 * len(rows)), 3.1), sharey=True, squeeze=False
    )
    words = ("found", "on the person's other side", "elsewhere")
    for ax, (title, kinds) in zip(axes[0], rows.items(), strict=True):
        shares, left = np.array(list(kinds.values())), np.zeros(len(kinds))
        for column, (word, colour) in enumerate(zip(words, (style.GREEN, style.VERMILION, style.GREY), strict=True)):
            ax.barh(list(kinds), shares[:, column], left=left, color=colour, height=0.72, label=word)
            left += shares[:, column]
        ax.set(xlim=(0, 1), xlabel="share of joints", title=title)
    axes[0, 0].invert_yaxis()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


# --- the idea ---------------------------------------------------------------------------------------------------------


def draw_sight(sight: Sight, name: str, stages: Sequence[int] = (0, 1, 2)) -> Figure:
    """Above: what each stage can see of a picture, the rest covered. Below: which of these pixels move its belief."""
    figure, axes = plt.subplots(2, len(stages) + 1, figsize=(style.PAGE, 4.75))
    height, width = sight.image.shape[-2:]
    show.draw_image(axes[0, 0], sight.image, f"around the {name}")
    axes[1, 0].axis("off")
    for column, stage in enumerate(stages, 1):
        field, colour = sight.fields[stage], STAGE_COLOURS[stage]
        box = field.box(sight.cell)
        show.draw_box(axes[0, 0], box, colour=colour)
        rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
        inside = ((rows > box[1]) & (rows < box[3]))[:, None] & ((columns > box[0]) & (columns < box[2]))
        title = f"stage {stage + 1} sees {field.size[0]} x {field.size[1]}"
        show.draw_image(axes[0, column], torch.where(inside, sight.image, GREY), title)
        heat = F.avg_pool2d(sight.listens[stage][None], 3, 1, 1)[0]  # gradients are grainy
        show.overlay_map(axes[1, column], sight.image, heat, maximum=float(heat.max()), dim=0.5)
        axes[1, column].set_title(f"stage {stage + 1} listens here")
        for ax in axes[:, column]:
            show.draw_box(ax, box, colour=colour)
    for ax in (axes[0, 0], *axes[:, 1:].flat):
        cross(ax, sight.joint)
    axes[1, 0].text(
        0.5,
        0.5,
        "Above: the picture\nwithin each stage's field.\n\n"
        "Below: how strongly every\npixel moves that stage's\nbelief at the cross.",
        ha="center",
        va="center",
        fontsize=9.5,
        transform=axes[1, 0].transAxes,
    )
    return figure


def draw_machine(model: ConvolutionalPoseMachine, stages: int = 3) -> Figure:
    """The first stages, with the sizes of a given model: two towers, the beliefs handed on, a loss after each."""
    height, width = model.input_size
    joints, cells = len(model.skeleton) + 1, f"{height // model.stride} x {width // model.stride}"
    channels = model.features[0][0].in_channels
    figure, ax = plt.subplots(figsize=(style.PAGE, 4.6))
    diagram = show.Diagram(ax)
    small = {"width": 2.35, "height": 0.9, "size": 8.5}
    image = diagram.box(0, 0, f"picture\n{height} x {width}", colour=style.GREY, **small)
    own = diagram.box(3.1, 1.5, f"tower 1\n{channels} of {cells}", colour=style.SKY, **small)
    shared = diagram.box(3.1, -1.5, f"shared tower\n{channels} of {cells}", colour=style.SKY, **small)
    centre = diagram.box(3.1, -3.6, f"centre map\n1 of {cells}", colour=style.PINK, **small)
    diagram.arrow(image, own)
    diagram.arrow(image, shared)
    before = None
    for stage in range(stages):
        x = 6.6 + 3.7 * stage
        head = diagram.box(x, 1.5, f"stage {stage + 1}", colour=STAGE_COLOURS[stage], width=1.7, height=0.9, size=9.5)
        beliefs = diagram.box(x + 1.1, 3.6, f"beliefs {stage + 1}\n{joints} of {cells}", colour=style.ORANGE, **small)
        loss = diagram.box(x + 1.1, 5.2, f"loss {stage + 1}", colour=style.VERMILION, width=1.3, height=0.65, size=8.5)
        diagram.arrow(head, beliefs)
        diagram.arrow(beliefs, loss, dashed=True)
        if stage == 0:
            diagram.arrow(own, head)
        else:
            diagram.arrow(before, head)
            feature = diagram.box(x, -1.5, "own\nfeatures", colour=style.SKY, width=1.5, height=0.8, size=8.5)
            diagram.arrow(shared, feature) if stage == 1 else diagram.arrow((4.15, -1.75), (x - 0.75, -1.75), bend=0.13)
            diagram.arrow(feature, head)
            diagram.arrow(centre, (x + 0.45, 1.05), bend=0.22, colour=style.PINK)
        before = beliefs
    ax.set_title(f"The first {stages} of {len(model.heads)} stages: what enters a stage is put side by side, not added")
    return figure


# --- receptive fields -------------------------------------------------------------------------------------------------


def draw_calculator(image: Tensor, joint: Tensor, fields: Sequence[Field]) -> Figure:
    """The fields of all stages around one cell of a picture, with as much of the world beside it as they need."""
    height, width = image.shape[-2:]
    stride = fields[0].stride
    cell = (int(joint[1] / stride[0]), int(joint[0] / stride[1]))
    boxes = [field.box(cell).tolist() for field in fields]
    figure, ax = plt.subplots(figsize=(6.8, 5.2))
    ax.imshow(image.permute(1, 2, 0), extent=(0, width, height, 0))
    for stage, box in enumerate(boxes):
        show.draw_box(ax, box, colour=STAGE_COLOURS[stage % 6])
        label = f"stage {stage + 1}: {fields[stage].size[0]} px"
        ax.plot([], [], color=STAGE_COLOURS[stage % 6], linewidth=3, label=label)
    cross(ax, joint)
    low = min(0.0, *(min(box[:2]) for box in boxes)) - 12
    high = max(float(width), *(max(box[2:]) for box in boxes)) + 12
    ax.set(xlim=(low, high), ylim=(high, low), aspect="equal", xlabel="pixels", facecolor="#E8E8E8")
    ax.set_title("what one cell of each stage sees")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right upper")
    return figure


# --- what it is asked -------------------------------------------------------------------------------------------------


def draw_asked(scene: Scene, first: Tensor, later: Tensor, where: Tensor, joint: int) -> Figure:
    """A crop with two people: the map of one joint as stage 1 and the later stages are asked for it, and the rest."""
    name = spoken(scene.people[0].skeleton.joints[joint])
    figure, axes = plt.subplots(1, 5, figsize=(style.PAGE, 2.25))
    show.draw_image(axes[0], scene.image, "who is meant?")
    for person, colour in zip(scene.people, (style.GREEN, style.GREY), strict=False):
        show.draw_pose(axes[0], person, colour=colour)
    titles = (f"stage 1: {name}", f"later: {name}", "later: background", "told: the centre")
    maps = (first[joint], later[joint], later[-1], where / where.max())
    for ax, title, one in zip(axes[1:], titles, maps, strict=True):
        show.overlay_map(ax, scene.image, one, maximum=1.0, title=title)
    for ax in axes:
        ax.title.set_fontsize(9.5)
    return figure


# --- gradients --------------------------------------------------------------------------------------------------------


def draw_gradients(sizes: dict[str, dict[str, dict[str, list[float]]]]) -> Figure:
    """The size of each layer's gradient, one panel a random start, with losses on all stages and on the last alone."""
    figure, axes = plt.subplots(len(sizes), 1, figsize=(style.PAGE, 2.1 * len(sizes) + 0.6), sharex=True)
    for ax, (start, kinds) in zip(np.atleast_1d(axes), sizes.items(), strict=True):
        for (kind, parts), colour in zip(kinds.items(), (style.BLUE, style.VERMILION), strict=True):
            place, middles = 0, []
            for number, values in enumerate(parts.values()):
                steps = np.arange(place, place + len(values))
                ax.semilogy(steps, values, "o-", color=colour, markersize=4, label=kind if number == 0 else None)
                place, middles = place + len(values) + 1, [*middles, steps.mean()]
                if number + 1 < len(parts):
                    ax.axvline(place - 1, color="#DDDDDD", linewidth=1)
        ax.axhline(1e-8, color=style.GREY, linewidth=1, linestyle=":")
        ax.set(ylim=(1e-38, 1e4), title=start, yticks=[1e-32, 1e-24, 1e-16, 1e-8, 1])
        ax.set_xticks(middles, [name.replace(" tower", "\ntower") for name in parts])
        ax.tick_params(axis="x", length=0)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.supylabel("root mean square of the gradient", fontsize=10)
    return figure


# --- learning and looking inside --------------------------------------------------------------------------------------


def draw_learning(history: dict[str, list], stages: dict[str, list[float]], floor: float) -> Figure:
    """Every stage's loss, step by step, and every stage's score on people nobody trained on."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.3), width_ratios=(1.5, 1))
    names = sorted(name for name in history if name.startswith("stage_"))
    for name, colour in zip(names, STAGE_COLOURS, strict=False):
        values = np.convolve(history[name], np.ones(9) / 9, mode="valid")
        left.plot(np.arange(len(values)) + 4, values, color=colour, label=f"loss of {spoken(name)}")
    left.axhline(1, color=style.INK, linewidth=1.2, linestyle="--")
    left.text(len(history["loss"]), 1.02, "empty joint maps cost 1", ha="right", va="bottom", fontsize=9)
    left.set(xlabel="step", ylabel="loss", ylim=(0, 1.8), title="What each stage costs")
    left.legend(loc="upper right")
    for (name, scores), colour in zip(stages.items(), (style.SKY, style.BLUE), strict=False):
        right.bar([str(stage + 1) for stage in range(len(scores))], scores, color=colour, width=0.6, label=name)
    right.axhline(floor, color=style.INK, linewidth=1.2, linestyle="--", label="mean pose")
    right.set(xlabel="stage", ylabel="PCK@0.2", ylim=(0, 1), title="What each stage finds")
    right.legend(loc="upper left")
    return figure


def draw_stage(beliefs: Beliefs, number: int, joint: int, stage: int) -> Figure:
    """One case after one stage: the belief in one joint, in the joint of the other side, and the whole answer."""
    scene, model = beliefs.scenes[number], beliefs.model
    maps = beliefs.maps[stage - 1, number].clamp(min=0)
    [pose] = beliefs.poses(stage - 1, beliefs.maps[:, number : number + 1])
    person, names, partner = scene.people[0], model.skeleton.joints, model.skeleton.swaps[joint]
    figure, axes = plt.subplots(1, 4, figsize=(style.PAGE, 2.75))
    show.draw_image(axes[0], scene.image, f"ring: the {spoken(names[joint])}")
    show.draw_pose(axes[0], person)
    for ax, index in zip(axes[1:3], (joint, partner), strict=True):
        peak = float(maps[index].max())
        show.overlay_map(ax, scene.image, maps[index], title=f"{spoken(names[index])}, peak {peak:.2f}")
        ring(ax, person.joints[index])
        ax.plot(*pose.joints[index], "x", color=style.PAPER, markersize=9, markeredgewidth=4.5, zorder=6)
        ax.plot(*pose.joints[index], "x", color=style.BLUE, markersize=8, markeredgewidth=2.4, zorder=7)
    right = int(beliefs.every_mark[stage - 1].right[number].sum())
    scored = int(beliefs.every_mark[stage - 1].scored[number].sum())
    show.draw_image(axes[3], scene.image, f"stage {stage}: {right} of {scored} found")
    show.draw_pose(axes[3], pose)
    ring(axes[0], person.joints[joint])
    return figure


def draw_walk(beliefs: Beliefs, number: int, joint: int) -> Figure:
    """The belief in one joint after every stage, each map on its own scale, its peak in the title."""
    scene, count = beliefs.scenes[number], beliefs.stacks
    figure, axes = plt.subplots(1, count, figsize=(style.PAGE, style.PAGE / count + 0.45))
    for stage, ax in enumerate(axes):
        one = beliefs.maps[stage, number, joint].clamp(min=0)
        error = float(beliefs.errors[stage, number, joint])
        show.overlay_map(ax, scene.image, one)
        ring(ax, scene.people[0].joints[joint])
        ax.set_title(f"stage {stage + 1}\npeak {one.max():.2f}, {error:.0f} px off", fontsize=9)
    return figure


def draw_stages(scores: Sequence[tuple[float, float, float]], sides: Sequence[float], giga: Sequence[float]) -> Figure:
    """PCK@0.2 with its interval, how often the right side is taken, and operations, stage by stage."""
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 3.0))
    stages = np.arange(1, len(scores) + 1)
    middle, low, high = np.array(scores).T
    axes[0].errorbar(stages, middle, [middle - low, high - middle], fmt="o-", color=style.BLUE, capsize=3)
    axes[0].set(title="joints found, PCK@0.2", ylim=(0, None))
    axes[1].plot(stages, sides, "o-", color=style.VERMILION)
    axes[1].axhline(0.5, color=style.INK, linewidth=1.2, linestyle="--")
    axes[1].set(title="one of the two: the right side?", ylim=(0.45, 1.0))
    axes[1].text(stages[-1], 0.51, "by chance", ha="right", va="bottom", fontsize=9)
    axes[2].bar(stages, giga, color=style.GREY, width=0.6)
    axes[2].set(title="multiply-adds so far, G")
    for ax in axes:
        ax.set(xlabel="stage", xticks=stages)
    return figure


# --- the study, and where it breaks -----------------------------------------------------------------------------------


def draw_fields_study(families: dict[str, list[tuple[int, Sequence[float]]]], published: dict[str, Any]) -> Figure:
    """Left: our one-stage networks by their field. Right: what the authors' figure shows, read off by eye."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.7), width_ratios=(1.35, 1))
    for (name, points), colour, mark in zip(
        families.items(), (style.BLUE, style.VERMILION, style.GREEN), "os^", strict=True
    ):
        fields, scores = [field for field, _ in points], [values for _, values in points]
        left.plot(fields, [np.mean(values) for values in scores], "-", color=colour)
        left.plot([], [], f"{mark}-", color=colour, label=name)
        for field, values in points:
            left.plot([field] * len(values), values, mark, color=colour, markersize=5.5, alpha=0.8)
    left.set(
        xlabel="field of a cell, pixels of 64", ylabel="PCK@0.2", ylim=(0, 0.8), title="one stage, easy drawn people"
    )
    left.legend(loc="lower right")
    for (name, points), colour in zip(published.items(), (style.BLUE, style.SKY, style.ORANGE), strict=False):
        right.plot(*zip(*points, strict=True), "o-", color=colour, label=name)
    right.set(
        xlabel="field of a cell, pixels", ylabel="accuracy", ylim=(0.6, 0.9), title="the paper, photographs (FLIC)"
    )
    right.legend(loc="lower right")
    return figure


def draw_moved(moved: Moved, step: int, stage: int) -> Figure:
    """The centre map at one of its places, the answer of one stage there, and whose pose it is on the whole way."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(style.PAGE, 3.0), width_ratios=(1, 1, 1.35))
    show.draw_image(left, moved.scene.image, "cross: the centre that is told")
    for person, colour in zip(moved.scene.people, (style.BLUE, style.VERMILION), strict=True):
        show.draw_pose(left, person, colour=colour)
    show.draw_image(middle, moved.scene.image, f"the answer of stage {stage}")
    show.draw_pose(middle, moved.poses[stage - 1][step])
    for ax in (left, middle):
        ax.plot(*moved.centres[step], "x", color=style.PAPER, markersize=13, markeredgewidth=5.5, zorder=6)
        ax.plot(*moved.centres[step], "x", color=style.PINK, markersize=11, markeredgewidth=3, zorder=7)
    share = np.linspace(0, 100, len(moved.centres))
    for index, (name, colour) in enumerate((("left", style.BLUE), ("right", style.VERMILION))):
        right.plot(share, moved.distances[stage - 1, :, index], ".-", color=colour, label=f"to the {name} person")
    right.axvline(share[step], color=style.INK, linewidth=1.2, linestyle=":")
    right.set(xlabel="centre: 0 = left person, 100 = right person", ylabel="mean distance, px")
    right.set(ylim=(0, 1.35 * float(moved.distances.max())), title="Whose pose is it?")
    right.legend(loc="upper center", ncols=2)
    return figure
