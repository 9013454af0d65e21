"""The figures of lesson 07 that show the network: learning, stages, what limits it, what it costs, where it breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib import ticker
from matplotlib.figure import Figure
from torch import Tensor

from course_lib import show
from course_lib.lessons.lesson_07_figures import person_colour
from course_lib.lessons.lesson_07_people import Crowded, likeness, mixed, who_is_found
from course_lib.models.paf import PartAffinityFields
from course_lib.pose import Pose, Scene
from course_lib.show import style
from course_lib.show.fields import draw_field, draw_wheel, strongest

STAGE_COLOURS = (style.SKY, style.BLUE, style.INK)


def draw_network(model: PartAffinityFields) -> Figure:
    """The arrangement of 2017 with a given model's sizes: two branches a stage, and what every stage hears."""
    height, width = model.input_size
    cells = f"{height // model.stride} x {width // model.stride}"
    fields, maps = 2 * len(model.skeleton.limbs), len(model.skeleton) + 1
    features = model.field_heads[0][0][0].in_channels
    figure, ax = plt.subplots(figsize=(style.PAGE, 3.9))
    diagram = show.Diagram(ax)
    small = {"width": 2.3, "height": 0.95, "size": 8.5}
    image = diagram.box(0, 0, f"picture\n{height} x {width}", colour=style.GREY, **small)
    trunk = diagram.box(3.1, 0, f"trunk: F\n{features} of {cells}", colour=style.SKY, **small)
    diagram.arrow(image, trunk)
    before, stages = trunk, len(model.field_heads)
    for stage in range(stages):
        x = 6.6 + 4.6 * stage
        upper = diagram.box(x, 1.6, f"fields {stage + 1}\n{fields} of {cells}", colour=style.ORANGE, **small)
        lower = diagram.box(x, -1.6, f"maps {stage + 1}\n{maps} of {cells}", colour=style.GREEN, **small)
        for box, y in ((upper, 3.2), (lower, -3.2)):
            loss = diagram.box(x, y, "loss", colour=style.VERMILION, width=1.2, height=0.6, size=8.5)
            diagram.arrow(box, loss, dashed=True)
            diagram.arrow(before, box)
        if stage + 1 < stages:
            both = diagram.box(x + 2.2, 0, "&", colour=style.GREY, width=0.6, height=0.6, size=11)
            for box in (upper, lower):
                diagram.arrow(box, both)
            diagram.arrow(before, both, colour=style.SKY)
            before = both
    ax.set_title("Every stage answers with fields and maps; the next one hears both, and the trunk's features again")
    return figure


# --- learning ---------------------------------------------------------------------------------------------------------


def draw_learning(history: dict[str, list], scene: Scene, fields: dict[str, Tensor]) -> Figure:
    """The loss of every stage's maps and fields; below, one picture's fields before, after, and as they are asked."""
    figure = plt.figure(figsize=(style.PAGE, 5.4))
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    for ax, kind in zip(top.subplots(1, 2), ("fields", "maps"), strict=True):
        names = sorted(name for name in history if name.startswith(f"{kind}_"))
        for name, colour in zip(names, STAGE_COLOURS, strict=False):
            values = np.convolve(history[name], np.ones(5) / 5, mode="valid")
            ax.plot(np.arange(len(values)) + 2, values, color=colour, label=f"stage {name[-1]}")
        ax.set(xlabel="step", title=f"loss of the {kind}", ylim=(0, None))
        ax.legend(loc="upper right")
    axes = bottom.subplots(1, len(fields))
    for ax, (title, one) in zip(axes, fields.items(), strict=True):
        draw_field(ax, strongest(one), scene.image, title)
    draw_wheel(axes[0].inset_axes((0.0, 0.0, 0.24, 0.32)), words=False)
    return figure


# --- stages -----------------------------------------------------------------------------------------------------------


def draw_stage(crowded: Crowded, number: int, stage: int, joint: str, limb: str) -> Figure:
    """One crowd after one stage: a joint's map, a limb's field (or all), and the people that come out."""
    scene, skeleton = crowded.scenes[number], crowded.model.skeleton
    maps, fields = crowded.picture(number, stage - 1)
    [poses] = crowded.model.decode(
        type(crowded.answer)(*(part[:, number : number + 1] for part in crowded.answer)), stage - 1
    )
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 2.75))
    one = maps[skeleton.index(joint)].clamp(min=0)
    show.overlay_map(axes[0], scene.image, one, maximum=1.0, title=f"'{joint}', highest {float(one.max()):.2f}")
    names = limb_names(skeleton)
    field = strongest(fields) if limb == ALL else fields[2 * names.index(limb) : 2 * names.index(limb) + 2]
    draw_field(axes[1], field, scene.image, f"fields, {limb}")
    draw_wheel(axes[1].inset_axes((0.0, 0.0, 0.24, 0.32)), words=False)
    found = sum(who_is_found(poses, scene))
    show.draw_image(axes[2], scene.image, f"stage {stage}: {found} of {len(scene.people)} found", dim=0.3)
    _draw_people(axes[2], poses)
    return figure


ALL = "all limbs"


def limb_names(skeleton: Any) -> list[str]:
    return [" to ".join(skeleton.joints[end].replace("_", " ") for end in limb) for limb in skeleton.limbs]


def _draw_people(ax: Any, poses: Sequence[Pose]) -> None:
    """Each estimate in a colour of its own, from left to right; joints that were not found are left out."""
    for number, pose in enumerate(sorted(poses, key=lambda one: float(one.joints[:, 0].mean()))):
        show.draw_pose(ax, pose, visible=(pose.scores > 0).long() * 2, colour=person_colour(number))


def draw_stages(errors: dict[str, dict[str, float]], runs: Sequence[dict[str, Any]]) -> Figure:
    """Per stage: what is left of the error of fields and maps, and what is found."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(0.85 * style.PAGE, 2.9))
    for kind, colour in (("fields", style.ORANGE), ("maps", style.GREEN)):
        left.plot(list(errors[kind]), list(errors[kind].values()), "o-", color=colour, label=kind)
    left.set(ylim=(0, 1), xlabel="stage", title="squared error; answering nothing = 1")
    left.legend()
    stages = [str(number) for number in range(1, len(runs) + 1)]
    for key, name, colour in (("ap", "AP", style.BLUE), ("pckh_map", "PCKh-mAP", style.VERMILION)):
        right.plot(stages, [run[key] for run in runs], "o-", color=colour, label=name)
    right.set(ylim=(0, None), xlabel="stage", title="people found, crowd-val")
    right.legend()
    return figure


# --- limits and costs -------------------------------------------------------------------------------------------------


def draw_limits(ours: dict[str, float], published: dict[str, float]) -> Figure:
    """What perfect joints or perfect association would be worth, here and in the paper, on axes of their own."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 2.6))
    titles = ("here: OKS-AP, drawn people", "the paper: PCKh-mAP, photographs")
    for ax, title, rows in zip(axes, titles, (ours, published), strict=True):
        colours = [style.INK, style.ORANGE, style.GREEN, style.GREY][: len(rows)]
        bars = ax.barh(list(rows), list(rows.values()), color=colours, height=0.62)
        ax.bar_label(bars, fmt="%.3g", padding=3, fontsize=9)
        ax.set(title=title, xlim=(0, 1.14 * max(1.0, *rows.values())) if max(rows.values()) <= 1 else (0, 114))
        ax.invert_yaxis()
        ax.tick_params(axis="y", length=0)
    return figure


def draw_costs(seconds: dict[str, dict[str, float]], loops: Sequence[dict[str, float]]) -> Figure:
    """Milliseconds by the number of people: bottom-up and top-down; and the grouping against loops, on a log scale."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.3))
    people = [int(count) for count in seconds]
    ms = {
        name: np.array([1000 * row[name] for row in seconds.values()]) for name in ("network", "grouping", "top-down")
    }
    left.stackplot(people, ms["network"], ms["grouping"], colors=(style.SKY, style.VERMILION), alpha=0.75)
    left.plot([], [], color=style.SKY, linewidth=6, label="bottom-up: the network")
    left.plot([], [], color=style.VERMILION, linewidth=6, label="bottom-up: the grouping")
    left.plot(people, ms["top-down"], "o-", color=style.INK, label="top-down, boxes for nothing")
    left.set(xlabel="people in the picture", ylabel="ms of one core", ylim=(0, None), xlim=(people[0], people[-1]))
    left.set_title("course size: pictures of 192 x 256, crops of 96 x 96")
    left.legend(loc="lower right")
    crowd = [row["people"] for row in loops]
    right.plot(
        crowd, [1000 * row["loops"] for row in loops], "o-", color=style.GREY, label="loops over pairs and people"
    )
    right.plot(crowd, [1000 * row["grouping"] for row in loops], "o-", color=style.VERMILION, label="all pairs at once")
    right.set(
        yscale="log", xlabel="people in the picture", ylabel="ms of one core", title="the grouping alone, 384 x 512"
    )
    right.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    right.legend(loc="center right")
    return figure


# --- where it breaks --------------------------------------------------------------------------------------------------


def draw_breaking(rows: dict[str, Any]) -> Figure:
    """The share of people that are found, by their size and by how much somebody else's box covers theirs."""
    titles = ("height, pixels", "overlap of boxes (IoU)")
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 2.9), sharey=True)
    for ax, title, colour in zip(axes, titles, (style.BLUE, style.ORANGE), strict=True):
        shares = {name: row for name, row in rows[title].items() if row["people"]}
        bars = ax.bar(list(shares), [row["found"] for row in shares.values()], color=colour, width=0.7)
        ax.bar_label(bars, [f"{row['people']} people" for row in shares.values()], fontsize=8, padding=2)
        ax.set(ylim=(0, 1), xlabel=title)
    axes[0].set_ylabel("share of people found")
    return figure


def failures(crowded: Crowded) -> dict[str, int]:
    """A picture for each kind of failure: an estimate made of two people, somebody small not found, an estimate that is
    nobody's. Of several the first with few people, in which it can be seen."""
    kinds: dict[str, int] = {}
    poses = crowded.poses()
    for number in sorted(range(len(crowded.scenes)), key=lambda i: len(crowded.scenes[i].people)):
        scene, found = crowded.scenes[number], poses[number]
        if number in kinds.values():
            continue
        if MIXED not in kinds and mixed(found, scene):
            kinds[MIXED] = number
        elif SMALL not in kinds and small_and_missed(found, scene) is not None:
            kinds[SMALL] = number
        elif NOBODY not in kinds and surest_nobody(found, scene) is not None:
            kinds[NOBODY] = number
    return kinds


MIXED, SMALL, NOBODY = "made of two people", "too small", "nobody's"


def small_and_missed(poses: Sequence[Pose], scene: Scene, height: float = 40) -> int | None:
    """The smallest person below a height in pixels who is not found, if the others mostly are."""
    found = who_is_found(poses, scene)
    sizes = [float(person.box[3] - person.box[1]) for person in scene.people]
    missed = [k for k, yes in enumerate(found) if not yes and sizes[k] < height]
    return min(missed, key=lambda k: sizes[k]) if missed and sum(found) else None


def surest_nobody(poses: Sequence[Pose], scene: Scene) -> int | None:
    """The surest estimate that is like nobody at all."""
    alike = likeness(poses, scene)
    nobody = [k for k in range(len(poses)) if float(alike[k].max()) < 0.05]
    return max(nobody, key=lambda k: poses[k].score) if nobody else None


def draw_failures(crowded: Crowded, kinds: dict[str, int]) -> Figure:
    """For each kind of failure a picture, and all that was found in it, the failure framed or in red."""
    figure, axes = plt.subplots(1, len(kinds), figsize=(style.PAGE, 2.75), squeeze=False)
    poses = crowded.poses()
    for ax, (kind, number) in zip(axes[0], kinds.items(), strict=True):
        scene, found = crowded.scenes[number], poses[number]
        show.draw_image(ax, scene.image, kind, dim=0.2)
        bad = {MIXED: lambda p, s: mixed(p, s)[0][0], NOBODY: surest_nobody}.get(kind, lambda p, s: None)(found, scene)
        for k, pose in enumerate(found):
            colour = style.VERMILION if k == bad else style.GREY
            show.draw_pose(ax, pose, visible=(pose.scores > 0).long() * 2, colour=colour)
        if kind == SMALL:
            show.draw_box(ax, scene.people[small_and_missed(found, scene)].box, colour=style.VERMILION)
    return figure
