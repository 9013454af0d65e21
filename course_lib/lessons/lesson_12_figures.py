"""The figures of lesson 12. Each function returns its figure; a cell ends with plt.show()."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course_lib import show
from course_lib.lessons import lesson_12_adversarial_posenet as tools
from course_lib.models.adversarial import Answer
from course_lib.pose import HIDDEN, Batch
from course_lib.show import style

REAL, FAKE = style.BLUE, style.VERMILION


# --- people -----------------------------------------------------------------------------------------------------------


def draw_poses(people: Batch, which: Sequence[int], answers: dict[str, Tensor]) -> Figure:
    """A row for the picture with the true pose and for every network, a column for every person."""
    rows = {"the truth": people.joints, **answers}
    size = (0.98 * style.PAGE, 0.98 * style.PAGE / len(which) * len(rows))
    figure, axes = plt.subplots(len(rows), len(which), figsize=size, squeeze=False)
    for line, (name, joints) in zip(axes, rows.items(), strict=True):
        for ax, i in zip(line, which, strict=True):
            true = name == "the truth"
            show.draw_image(ax, people.images[i], dim=0.0 if true else 0.35)
            show.draw_pose(ax, joints[i], people.skeleton, visible=people.visible[i] if true else None)
        line[0].text(-0.04, 0.5, name, transform=line[0].transAxes, rotation=90, ha="right", va="center", fontsize=10)
    return figure


# --- why --------------------------------------------------------------------------------------------------------------


def draw_hedges(rows: dict[str, dict[str, Any]]) -> Figure:
    """Three answers to a joint that is at A or at B, and what each costs on average."""
    figure, axes = plt.subplots(1, len(rows), figsize=(0.85 * style.PAGE, 2.5))
    for ax, (name, row) in zip(axes, rows.items(), strict=True):
        cells = row["map"].numpy()
        ax.imshow(cells, vmin=0, vmax=1, cmap="inferno", interpolation="nearest")
        middle = cells.shape[0] / 2
        for letter, x in (("A", cells.shape[1] / 2 - 5), ("B", cells.shape[1] / 2 + 5)):
            ax.text(x - 0.5, middle + 4.5, letter, color="white", ha="center", va="center", fontsize=11)
        ax.set(xticks=[], yticks=[], title=f"{name}\non average {row['on average']:.2f}")
    return figure


def draw_idea() -> Figure:
    """Who is shown what: generator, P and C in training, and what is left afterwards."""
    figure, ax = plt.subplots(figsize=(style.PAGE, 4.0))
    diagram = show.Diagram(ax)
    picture = diagram.box(0, 0, "picture x", colour=style.GREY, width=1.5)
    stack = [
        diagram.box(2.5, 0, "pose\nhourglass", colour=style.SKY, height=1.1, width=1.5),
        diagram.box(4.5, 0, "occlusion\nhourglass", colour=style.SKY, height=1.1, width=1.5),
    ]
    diagram.frame(stack, "generator G: such a stack, several times")
    made = diagram.box(7.0, 0, "made maps\ny, z", colour=FAKE, width=1.6)
    true = diagram.box(7.0, -2.9, "true maps\ny*, z*", colour=REAL, width=1.6)
    confidence = diagram.box(10.0, 0.9, "confidence judge C\nno picture", colour=style.ORANGE, width=2.6)
    pose = diagram.box(10.0, -1.9, "pose judge P\nsees the picture", colour=style.GREEN, width=2.6)
    c_says = diagram.box(13.2, 0.9, "of each map: one\nclear bell?", colour=style.PAPER, width=2.3)
    p_says = diagram.box(13.2, -1.9, "of each joint: can\nit be there?", colour=style.PAPER, width=2.3)
    diagram.arrow(picture, stack[0])
    diagram.arrow(stack[0], stack[1])
    diagram.arrow(stack[1], made)
    for judge in (confidence, pose):
        diagram.arrow(made, judge, colour=FAKE)
        diagram.arrow(true, judge, colour=REAL)
    diagram.arrow(made, true, "squared\nerror", dashed=True)
    diagram.arrow(picture, (0, -4.0))
    diagram.arrow((0, -4.0), (10.0, -4.0), "the picture goes to P as well, and not to C")
    diagram.arrow((10.0, -4.0), pose)
    diagram.arrow(confidence, c_says)
    diagram.arrow(pose, p_says)
    return figure


def draw_losses(scores: Tensor, losses: dict[str, dict[int, Tensor]]) -> Figure:
    """What a judge pays for calling a made joint real with probability D, by three readings of the paper."""
    figure, axes = plt.subplots(1, len(losses), figsize=(style.PAGE, 2.9), sharey=True)
    for ax, (name, by_label) in zip(axes, losses.items(), strict=True):
        for label, colour in ((0, FAKE), (1, REAL)):
            ax.plot(scores, by_label[label], color=colour, label=f"label {label}")
            lowest = int(by_label[label].argmin())
            ax.plot(float(scores[lowest]), float(by_label[label][lowest]), "o", color=colour, clip_on=False)
        ax.axhline(0, color=style.GREY, linewidth=0.8)
        ax.set(title=name, xlabel="the judge's score D", ylim=(-0.9, 3.2), xlim=(0, 1))
    axes[0].set_ylabel("the judge's loss")
    axes[0].legend(loc="upper left")
    return figure


# --- labels -----------------------------------------------------------------------------------------------------------


def draw_labels(made: tools.Made, who: int, delta: float, epsilon: float) -> Figure:
    """The labels of one person's made joints, and how many ones each joint gets over all people."""
    of_p, of_c = made.labels(delta, epsilon)
    people = made.people
    known = people.visible > 0
    figure, axes = plt.subplots(
        1, 4, figsize=(style.PAGE, 3.3), width_ratios=(1.25, 1.25, 1, 1), gridspec_kw={"wspace": 0.05}
    )
    for ax, labels, name in ((axes[0], of_p, "P"), (axes[1], of_c, "C")):
        show.draw_image(ax, people.images[who], f"labels for {name}: ≈ {int(labels[who].sum())} ones", dim=0.35)
        show.draw_pose(ax, made.joints[who], people.skeleton, colour=style.GREY, markers=False)
        _discs(ax, made.joints[who], labels[who], known[who])
    names = [name.replace("_", " ") for name in people.skeleton.joints]
    for ax, labels, rule in ((axes[2], of_p, f"$d < {delta:g}$ torsos"), (axes[3], of_c, f"error $< {epsilon:g}$")):
        share = (labels * known).sum(0) / known.sum(0).clamp(min=1)
        ax.barh(range(len(names)), share, color=REAL, height=0.7)
        ax.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6), xlabel="share of ones", title=rule)
        ax.set_yticks(range(len(names)), names if ax is axes[2] else [], fontsize=8)
    return figure


def _discs(ax: Axes, joints: Tensor, labels: Tensor, known: Tensor) -> None:
    """Ones as filled blue discs, zeros as vermilion rings."""
    for (x, y), label, there in zip(joints.tolist(), labels.tolist(), known.tolist(), strict=True):
        if there:
            face = REAL if label else style.PAPER
            ax.plot(x, y, "o", markersize=8, markerfacecolor=face, markeredgecolor=REAL if label else FAKE, mew=1.8)


# --- inside -----------------------------------------------------------------------------------------------------------


def draw_inside(people: Batch, outputs: Answer, joints: Tensor, which: int) -> Figure:
    """Picture and pose; all pose maps and all occlusion maps in one; and what was truly hidden."""
    figure, axes = plt.subplots(1, 4, figsize=(style.PAGE, 2.7))
    image = people.images[which]
    show.draw_image(axes[0], image, "the answer")
    show.draw_pose(axes[0], joints[which], people.skeleton)
    for ax, maps, title in (
        (axes[1], outputs.maps, "pose maps"),
        (axes[2], outputs.hidden, "occlusion maps"),
    ):
        show.overlay_map(ax, image, maps[-1, which].amax(0), maximum=0.8, title=title)
    show.draw_image(axes[3], image, "the truth", dim=0.35)
    show.draw_pose(axes[3], people.joints[which], people.skeleton, colour=style.GREY, markers=False)
    for (x, y), code in zip(people.joints[which].tolist(), people.visible[which].tolist(), strict=True):
        if code:
            hidden = code == HIDDEN
            axes[3].plot(x, y, "o", ms=7, mfc=style.ORANGE if hidden else style.PAPER, mec=style.INK, mew=1.0)
    return figure


@torch.inference_mode()
def draw_broken(model: Any, people: Batch, who: int, kind: str = "true maps") -> Figure:
    """One person's maps, whole and broken, with both judges' scores as the joints' colours."""
    cases = tools.broken(tools.both_kinds(model, people)[kind], people.skeleton)
    shades = colormaps["RdYlBu"]
    figure, axes = plt.subplots(2, len(cases), figsize=(style.PAGE, 3.3))
    for column, (name, (shown, wrong)) in zip(axes.T, cases.items(), strict=True):
        places = tools.heatmaps.argmax(shown.maps)[0][who] * model.stride
        few = len(wrong) < len(places)
        for ax, scores in zip(column, model.judge(shown, people.images), strict=True):
            show.draw_image(ax, people.images[who], dim=0.55)
            show.draw_pose(ax, places, people.skeleton, colour=style.GREY, markers=False, width=1.2)
            for k, (x, y) in enumerate(places.tolist()):
                if people.visible[who, k] > 0:
                    rim = {"mec": style.INK, "mew": 1.8} if few and k in wrong else {"mec": style.GREY, "mew": 0.8}
                    ax.plot(x, y, "o", ms=7, mfc=shades(float(scores[who, k])), **rim)
        column[0].set_title(textwrap.fill(name, 17), fontsize=9)
    for ax, letter in zip(axes[:, 0], "PC", strict=True):
        ax.text(-0.08, 0.5, f"judge {letter}", transform=ax.transAxes, rotation=90, ha="right", va="center")
    scale = plt.cm.ScalarMappable(cmap=shades)
    scale.set_clim(0, 1)
    figure.colorbar(scale, ax=axes, shrink=0.8, aspect=25, label="called real", pad=0.01)
    return figure


# --- training ---------------------------------------------------------------------------------------------------------


def draw_live(history: dict[str, list], every: int = 4) -> Figure:
    """A training in three panels: the maps' losses, the judges' losses, the generator's with the judges."""
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 2.9))
    panels = (
        ("the maps", (("maps", "pose maps", style.BLUE), ("hidden", "occlusion maps", style.ORANGE))),
        ("the judges' losses", _JUDGES),
        ("convincing them", (("pose_adversarial", "P", style.GREEN), ("confidence_adversarial", "C", style.ORANGE))),
    )
    for ax, (title, curves) in zip(axes, panels, strict=True):
        for name, label, colour, *dashes in curves:
            values = torch.tensor(history[name])
            values = values.masked_fill(values == 0, torch.nan)  # a judge is not heard from the first step on
            smooth = values[: len(values) // every * every].view(-1, every).mean(1)
            steps = (torch.arange(len(smooth)) + 0.5) * every
            ax.plot(steps, smooth, color=colour, linestyle=dashes[0] if dashes else "-", label=label)
        if title != "the maps":
            ax.axhline(float(np.log(2)), color=style.GREY, linewidth=0.9, linestyle=":")
        ax.set(title=title, xlabel="step", ylim=(0, None))
        ax.legend(loc="best", fontsize=8)
    return figure


_JUDGES = (
    ("pose_real", "P, true maps", style.GREEN),
    ("pose_fake", "P, made maps", style.GREEN, "--"),
    ("confidence_real", "C, true maps", style.ORANGE),
    ("confidence_fake", "C, made maps", style.ORANGE, "--"),
)
