"""Figures of lesson 02 that look inside a trained cascade, and where it fails."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle
from torch import Tensor

from course_lib import geometry, metrics, show
from course_lib.lessons.lesson_02_deeppose import Answers, signed_width
from course_lib.lessons.lesson_02_figures import SAID, TRUTH
from course_lib.pose import Batch
from course_lib.show import style

COLOURS = (style.ORANGE, style.SKY, style.BLUE)  # of the stages
ARROW = {"arrowstyle": "-|>", "color": style.VERMILION, "linewidth": 1.8, "mutation_scale": 10}


def _words(answers: Answers, joint: int) -> str:
    return answers.model.skeleton.joints[joint].replace("_", " ")


# --- the training set of a later stage --------------------------------------------------------------------------------


def draw_errors(answers: Answers, joints: Sequence[int]) -> Figure:
    """Stage 1's errors on people it never saw, and the normal that was fitted to those of its training."""
    mean, deviation = answers.model.displacements(1)
    side = answers.model.input_size[0]
    errors = (answers.cascade.joints[0] - answers.true_crop_joints) / side
    figure, axes = plt.subplots(1, len(joints), figsize=(style.PAGE, 2.7), sharex=True, sharey=True)
    for ax, joint in zip(axes, joints, strict=True):
        ax.scatter(*errors[answers.scored[:, joint], joint].T, s=5, color=style.GREY, alpha=0.5, linewidths=0)
        for times in (1, 2):
            size = 2 * times * deviation[joint]
            ax.add_patch(Ellipse(mean[joint].tolist(), *size.tolist(), fill=False, color=style.VERMILION, linewidth=2))
        ax.plot(0, 0, "+", color=style.GREEN, markersize=12, markeredgewidth=2.5)
        ax.set(title=_words(answers, joint), xlim=(-0.45, 0.45), ylim=(0.45, -0.45), aspect="equal")
        ax.set(xticks=(-0.4, 0, 0.4), yticks=(-0.4, 0, 0.4))
    axes[0].set_ylabel("said minus true, crop sides")
    return figure


def draw_simulated(answers: Answers, number: int, joint: int, seed: int, around: str = "simulated errors") -> Figure:
    """Boxes that stage 2 is trained on, and what it sees in them: a picture and the arrow it is asked for."""
    model, crop, true = answers.model, answers.crops[number], answers.true_crop_joints[number]
    mean, deviation = model.displacements(1)
    noise = torch.randn(6, 2, generator=torch.Generator().manual_seed(seed))
    delta = (mean[joint] + deviation[joint] * noise) * model.input_size[0]
    centres = true[joint] + (delta if around == "simulated errors" else torch.zeros_like(delta))
    boxes = model.boxes_around(centres[None], true[None])[0]  # (6, 4)
    views = model.cut(crop[None], boxes[None])
    targets = geometry.normalise(true[joint].expand(6, 1, 2), boxes)[:, 0]
    figure = plt.figure(figsize=(style.PAGE, 3.3))
    grid = figure.add_gridspec(2, 5, width_ratios=(2.15, 0.05, 1, 1, 1))
    whole = figure.add_subplot(grid[:, 0])
    show.draw_image(whole, crop, f"six boxes for the {_words(answers, joint)}")
    for box in boxes:
        show.draw_box(whole, box, colour=style.ORANGE, width=1.2)
    whole.plot(*centres.T, ".", color=style.ORANGE, markersize=8, markeredgecolor=style.PAPER)
    whole.plot(*true[joint], **TRUTH)
    for place, (view, target) in enumerate(zip(views, targets, strict=True)):
        ax = figure.add_subplot(grid[place // 3, 2 + place % 3])
        words = f"({target[0] + 0:+.2f}, {target[1] + 0:+.2f})"
        _view(ax, view, target, words, target)
    return figure


def _view(ax: Any, view: Tensor, arrow: Tensor, title: str, true: Tensor | None = None) -> None:
    """What a later stage sees, with an answer from its middle and the true place, both in units of the box."""
    side = view.shape[-1]
    show.draw_image(ax, view, interpolation="nearest")
    ax.set_title(title, fontsize=8.5)
    middle, end = side / 2, (arrow + 0.5) * side
    ax.annotate("", end.tolist(), (middle, middle), arrowprops=ARROW, annotation_clip=False)
    ax.plot(middle, middle, ".", color=style.VERMILION, markersize=5)
    if true is not None and float(true.abs().max()) <= 0.5:
        ax.plot(*((true + 0.5) * side), **{**TRUTH, "markersize": 9, "markeredgewidth": 2.2})


# --- the cascade at work ----------------------------------------------------------------------------------------------


def draw_stage(answers: Answers, number: int, stage: int) -> Figure:
    """One person after one stage: boxes and corrections on the picture, and what was seen in them."""
    model, index, crop = answers.model, stage - 1, answers.crops[number]
    joints, truth = answers.cascade.joints[:, number], answers.true_crop_joints[number]
    boxes, said = answers.cascade.boxes[index, number], answers.cascade.answers[index, number]
    figure = plt.figure(figsize=(style.PAGE, 3.7))
    found = int((answers.errors[index, number][answers.scored[number]] <= 0.2).sum())
    total = int(answers.scored[number].sum())
    if stage == 1:
        left, middle, right = figure.subplots(1, 3)
        show.draw_image(left, crop, "the truth")
        show.draw_pose(left, truth, model.skeleton, visible=answers.visible[number])
        view = model.whole_view(crop[None])[0]
        show.draw_image(middle, view, f"what stage 1 sees, {model.view} x {model.view}", interpolation="nearest")
        show.draw_image(right, crop, f"after stage 1: {found} of {total} found")
        show.draw_pose(right, joints[0], model.skeleton)
        return figure
    grid = figure.add_gridspec(3, 6, width_ratios=(3.3, 1, 1, 1, 1, 1))
    left = figure.add_subplot(grid[:, 0])
    show.draw_image(left, crop, f"after stage {stage}: {found} of {total} found")
    for x0, y0, x1, y1 in boxes.tolist():
        left.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=style.ORANGE, linewidth=0.9, alpha=0.7))
    show.draw_pose(left, joints[index], model.skeleton)
    for before, after in zip(joints[index - 1], joints[index], strict=True):
        left.annotate("", after.tolist(), before.tolist(), arrowprops=ARROW, zorder=7, annotation_clip=False)
    views = model.cut(crop[None], boxes[None])
    true = geometry.normalise(truth[:, None], boxes)[:, 0]
    for joint, view in enumerate(views):
        ax = figure.add_subplot(grid[joint // 5, 1 + joint % 5])
        shown = true[joint] if bool(answers.scored[number, joint]) else None
        name = _words(answers, joint).replace("right", "r.").replace("left", "l.")
        _view(ax, view, said[joint], name, shown)
    return figure


def draw_sigma(answers: Answers, number: int, sigma: float, joints: Sequence[int]) -> Figure:
    """The boxes of two joints for one sigma, and what a stage would see in them."""
    model, crop = answers.model, answers.crops[number]
    pose, truth = answers.cascade.joints[0, number], answers.true_crop_joints[number]
    a, b = (model.skeleton.index(name) for name in model.skeleton.torso)
    side = sigma * (pose[a] - pose[b]).norm().clamp(min=0.1 * model.input_size[0])
    figure, axes = plt.subplots(1, 1 + len(joints), figsize=(6.9, 2.85), width_ratios=(1.1, *[1] * len(joints)))
    zoom = model.input_size[0] / float(side)
    show.draw_image(axes[0], crop, f"{sigma:g} torsos: {zoom:.1f} x stage 1")
    show.draw_pose(axes[0], pose, model.skeleton, alpha=0.7)
    for ax, joint, colour in zip(axes[1:], joints, (style.VERMILION, style.BLUE), strict=True):
        box = torch.cat([pose[joint] - side / 2, pose[joint] + side / 2])
        show.draw_box(axes[0], box, colour=colour)
        true = geometry.normalise(truth[joint][None], box)[0]
        inside = float(true.abs().max()) <= 0.5
        view = model.cut(crop[None], box[None, None])[0]
        show.draw_image(
            ax, view, f"{_words(answers, joint)}: {'inside' if inside else 'OUTSIDE'}", interpolation="nearest"
        )
        ax.plot(model.view / 2, model.view / 2, **SAID)
        if inside:
            ax.plot(*((true + 0.5) * model.view), **TRUTH)
    return figure


# --- how well ---------------------------------------------------------------------------------------------------------


def draw_curves(answers: Answers, mean: Tensor, groups: dict[str, Sequence[str]]) -> Figure:
    """PDJ against its threshold for every stage and for the mean pose (N, K, 2), one panel a group of joints."""
    alphas = torch.linspace(0, 0.5, 51)
    floor = (mean - answers.truth).norm(dim=-1) / answers.torso.clamp(min=1e-6)[:, None]
    figure, axes = plt.subplots(1, len(groups), figsize=(style.PAGE, 3.1), sharey=True)
    for ax, (title, kinds) in zip(axes, groups.items(), strict=True):
        mask = torch.tensor([any(kind in name for kind in kinds) for name in answers.model.skeleton.joints])
        chosen = answers.scored & mask
        for stage, colour in zip(range(answers.stages), COLOURS, strict=False):
            curve = metrics.pck_curve(answers.errors[stage][chosen], alphas)
            ax.plot(alphas, curve, color=colour, label=f"stage {stage + 1}")
        ax.plot(alphas, metrics.pck_curve(floor[chosen], alphas), color=style.INK, linestyle="--", label="mean pose")
        ax.axvline(0.2, color=style.INK, linewidth=1, linestyle=":")
        ax.set(title=title, xlabel="error allowed, torsos", xlim=(0, 0.5), ylim=(0, 1))
    axes[0].set_ylabel("PDJ")
    axes[0].legend(loc="upper left")
    return figure


def draw_limbs(ours: dict[str, dict[str, dict[str, float]]], papers: dict[str, Sequence[float]]) -> Figure:
    """PCP of the four kinds of limbs by stage: the paper's, and ours in some worlds, each with its own people."""
    kinds = list(next(iter(next(iter(ours.values())).values())))
    tables = {"the paper: photographs of LSP": {name: list(values) for name, values in papers.items()}}
    for world, stages in ours.items():
        tables[f"the course: {world}"] = {name: list(values.values()) for name, values in stages.items()}
    figure, axes = plt.subplots(1, len(tables), figsize=(style.PAGE, 3.1), sharey=True)
    for ax, (title, rows) in zip(axes, tables.items(), strict=True):
        for place, (name, values) in enumerate(rows.items()):
            ax.bar(np.arange(len(kinds)) + 0.27 * (place - 1), values, width=0.25, color=COLOURS[place], label=name)
        ax.set(
            xticks=range(len(kinds)), xticklabels=[kind.replace(" ", "\n") for kind in kinds], title=title, ylim=(0, 1)
        )
        ax.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("PCP at 0.5")
    axes[-1].legend(loc="upper left")
    return figure


def draw_study(result: dict[str, Any], panels: dict[str, Sequence[str]], levels: dict[str, tuple]) -> Figure:
    """Every run as a dot, every arm's mean as a bar, and a level to compare with; one panel a question."""
    sizes = [len(arms) for arms in panels.values()]
    height = 0.42 * sum(sizes) + 0.95 * len(panels)
    figure, axes = plt.subplots(len(panels), 1, figsize=(7.8, height), height_ratios=sizes, sharex=True)
    for ax, (title, arms) in zip(axes, panels.items(), strict=True):
        for place, arm in enumerate(arms):
            values = [run["pck@0.2"][-1] for run in result["runs"] if run["arm"] == arm]
            ax.barh(place, fmean(values), height=0.62, color=style.SKY, alpha=0.6)
            ax.plot(values, [place] * len(values), "o", color=style.BLUE, markersize=5)
        level, word = levels[title]
        ax.axvline(level, color=style.INK, linewidth=1.2, linestyle="--")
        ax.set(yticks=range(len(arms)), yticklabels=arms, title=f"{title}  (dashed: {word})")
        ax.invert_yaxis()
    axes[-1].set(xlabel="PCK@0.2 on held-out easy people", xlim=(0, None))
    return figure


# --- guesses and confusions -------------------------------------------------------------------------------------------


def draw_guesses(
    covered: Answers, plain: Batch, cases: Sequence[int], chosen: Tensor, strength: Tensor, words: Sequence[str]
) -> Figure:
    """People with one joint covered: the answer there, and which pixels that answer depends on."""
    figure, axes = plt.subplots(2, len(cases), figsize=(7.6, 4.3))
    for column, (number, word) in enumerate(zip(cases, words, strict=True)):
        joint = int(chosen[number])
        crop = covered.crops[number]
        show.draw_image(axes[0, column], crop, f"{word}:\n{_words(covered, joint)}")
        show.draw_pose(axes[0, column], covered.cascade.joints[0, number], covered.model.skeleton, alpha=0.55)
        show.overlay_map(axes[1, column], crop, strength[number], maximum=1.0, title="what moves it")
        for ax in axes[:, column]:
            ax.plot(*plain.joints[number, joint], **TRUTH)
            ax.plot(*covered.cascade.joints[0, number, joint], zorder=6, **SAID)
    return figure


def draw_widths(answers: Answers, said: dict[str, Tensor]) -> Figure:
    """How wide the shoulders are said to be by several answers (N, K, 2), seen from the front and from behind."""
    bins = np.linspace(-2, 2, 33)
    figure, axes = plt.subplots(1, len(said), figsize=(style.PAGE, 3.1), sharey=True)
    for ax, (title, joints) in zip(axes, said.items(), strict=True):
        for view, colour in (("front", style.BLUE), ("back", style.VERMILION)):
            width, usable = signed_width(joints, answers)
            chosen = usable & answers.views(view)
            share = np.full(int(chosen.sum()), 1 / int(chosen.sum()))
            look = {"bins": bins, "weights": share, "color": colour}
            ax.hist(width[chosen].clamp(-2, 2), histtype="stepfilled", alpha=0.3, **look)
            ax.hist(width[chosen].clamp(-2, 2), histtype="step", linewidth=1.8, label=f"seen from the {view}", **look)
        for place, word in ((1, "right"), (0, "folded"), (-1, "exchanged")):
            ax.axvline(place, color=style.INK, linewidth=1, linestyle=":")
            ax.annotate(word, (place, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8.5)
        ax.set(xlabel="width of the shoulders, true = 1")
        ax.set_title(title, pad=16)
    axes[0].set_ylabel("share of people")
    axes[0].legend(loc="upper left", fontsize=8)
    return figure


def draw_jitter(shares: Sequence[float], found: dict[str, Sequence[float]], floor: float) -> Figure:
    """PDJ@0.2 of every stage as the box is moved."""
    figure, ax = plt.subplots(figsize=(7.6, 3.0))
    for (name, values), colour in zip(found.items(), COLOURS, strict=False):
        ax.plot(100 * np.array(shares), values, "o-", color=colour, label=name)
    ax.axhline(floor, color=style.INK, linewidth=1.2, linestyle="--", label="mean pose, box in place")
    ax.set(xlabel="box moved by up to so many % of its side", ylabel="PDJ@0.2", ylim=(0, None))
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1))
    return figure
