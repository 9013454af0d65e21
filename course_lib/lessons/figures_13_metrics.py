"""Lesson 13, metrics: its drawings, except those of AP. `draw` for a slider comes from a function that returns it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from matplotlib import patheffects
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course_lib import geometry, metrics, show
from course_lib.metrics.oks import sigmas_of
from course_lib.pose import Person, Pose, Scene
from course_lib.show import style
from course_lib.skeletons import COCO, LSP

COLOURS = {"PCP": style.ORANGE, "PCK": style.BLUE, "PDJ": style.SKY, "PCKh": style.VERMILION, "OKS": style.GREEN}
OKS_CIRCLES = {0.5: 0.10, 0.75: 0.14, 0.95: 0.30}  # threshold -> how dense its disc is
WINDOW = 26  # pixels shown beyond the outermost joints
WRIST = LSP.index("left_wrist")

# --- tolerances on a person -------------------------------------------------------------------------------------------


def circles(scenes: Sequence[Scene]) -> Figure:
    """Every metric's tolerance on the same person, one row for each size, all rows at one scale."""
    columns = {
        "PCP 0.5": ("PCP", [("pcp", 0.5, {})]),
        "PCK@0.2": ("PCK", [("pck", 0.2, {})]),
        "PDJ@0.2": ("PDJ", [("pdj", 0.2, {"reference": "other_diagonal"})]),
        "PCKh@0.5": ("PCKh", [("pckh", 0.5, {})]),
        "OKS .50 .75 .95": ("OKS", [("oks", threshold, {}) for threshold in OKS_CIRCLES]),
    }
    windows = [_window(scene.people[0], WINDOW * scene.size[0] / scenes[0].size[0]) for scene in scenes]
    wide = max(x1 - x0 for x0, _, x1, _ in windows)
    heights = [y1 - y0 for _, y0, _, y1 in windows]
    size = (style.PAGE, style.PAGE / len(columns) / wide * sum(heights) + 0.35)
    figure, axes = plt.subplots(len(scenes), len(columns), figsize=size, height_ratios=heights, squeeze=False)
    for row, (scene, window) in enumerate(zip(scenes, windows, strict=True)):
        person = scene.people[0]
        for ax, (title, (name, rules)) in zip(axes[row], columns.items(), strict=True):
            show.draw_image(ax, scene.image, dim=0.55)
            show.draw_pose(ax, person, width=1.4, markers=False)
            for metric, threshold, options in rules:
                radii = metrics.tolerance(person, metric, threshold, **options)
                fill = OKS_CIRCLES[threshold] if metric == "oks" else 0.25
                show.draw_circles(ax, person.joints, radii, colour=COLOURS[name], fill=fill)
            _measure(ax, person, name)
            middle = (window[0] + window[2]) / 2
            ax.set(xlim=(middle - wide / 2, middle + wide / 2), ylim=(window[3], window[1]))
            if row == 0:
                ax.set_title(title, color=COLOURS[name], fontweight="bold")
    return figure


def _window(person: Person, margin: float) -> tuple[float, float, float, float]:
    box = geometry.box_of(person.joints, person.visible > 0).tolist()
    return box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin


def _measure(ax: Axes, person: Person, name: str) -> None:
    """The length that a metric measures with."""
    pairs = {"PCK": ("left_shoulder", "right_hip"), "PDJ": ("right_shoulder", "left_hip")}
    if name in pairs:
        ends = person.joints[[LSP.index(joint) for joint in pairs[name]]]
        ax.plot(*ends.T, color=style.INK, linewidth=1.6, linestyle=(0, (2, 1.2)), zorder=5)
    elif name == "PCKh":
        show.draw_box(ax, person.head_box, colour=style.INK, width=1.2)


def wrist(scene: Scene) -> Callable[[int, int], Figure]:
    """draw(distance, direction): the person's left wrist estimated that far off, and every score that follows."""
    person = scene.people[0]
    rings = {
        "PCK@0.2": (metrics.tolerance(person, "pck")[WRIST], "PCK", "-"),
        "PCP 0.5": (metrics.tolerance(person, "pcp")[WRIST], "PCP", "-"),
        "PCKh@0.5": (metrics.tolerance(person, "pckh")[WRIST], "PCKh", "-"),
        "OKS .50": (metrics.tolerance(person, "oks", 0.5)[WRIST], "OKS", "-"),
        "OKS .95": (metrics.tolerance(person, "oks", 0.95)[WRIST], "OKS", ":"),
    }
    far = torch.arange(0, 61, dtype=torch.float64)
    along = person.joints.double().expand(len(far), -1, -1).clone()
    along[:, WRIST, 0] += far
    curves = one_persons_scores(person, along)

    def draw(distance: int, direction: int) -> Figure:
        angle = math.radians(direction)
        step = torch.tensor([math.cos(angle), -math.sin(angle)], dtype=torch.float64)
        moved = person.joints.double().clone()
        moved[WRIST] += distance * step
        scores = one_persons_scores(person, moved[None])
        panels = [["person", "bars", "curves"], ["wrist", "bars", "curves"]]
        shares = {"width_ratios": (1.0, 1.0, 1.05), "height_ratios": (1.35, 1)}
        figure, axes = plt.subplot_mosaic(panels, figsize=(style.PAGE, 4.7), **shares)
        middle, right = axes["bars"], axes["curves"]
        _wrist_pictures(axes["person"], axes["wrist"], scene, moved, rings)
        _bars(middle, {name: float(value) for name, value in scores.items()})
        middle.set_title(f"wrist {distance} px off, {direction}°")
        for name in ("PCP strict", "PCK@0.2", "PCKh@0.5", "OKS"):
            right.plot(far, curves[name], color=COLOURS[name.split("@")[0].split()[0]], label=name)
        right.axvline(distance, color=style.INK, linewidth=1)
        right.set(xlabel="wrist error, pixels", ylim=(0.78, 1.012), title="whole-person score")
        right.legend(loc="lower left", frameon=True, framealpha=1, edgecolor="none")
        return figure

    return draw


def _wrist_pictures(whole: Axes, near: Axes, scene: Scene, joints: Tensor, rings: Mapping[str, tuple]) -> None:
    person = scene.people[0]
    x, y = person.joints[WRIST].tolist()
    for ax in (whole, near):
        show.draw_image(ax, scene.image, dim=0.5)
        estimate = Pose(joints, torch.ones(len(LSP)), LSP)
        show.draw_truth_and_estimate(ax, person, estimate, width=2.0 if ax is whole else 4.0)
        for name, (radius, metric, line) in rings.items():
            look = {"fill": False, "linestyle": line, "linewidth": 1.2 if ax is whole else 1.8, "zorder": 5}
            ax.add_patch(plt.Circle((x, y), float(radius), edgecolor=COLOURS[metric], **look))
            near.plot([], [], line, color=COLOURS[metric], label=name if ax is near else None)
    x0, y0, x1, y1 = _window(person, 24)
    whole.set(xlim=(x0 - 30, x1 + 36), ylim=(y1, y0))
    near.set(xlim=(x - 24, x + 56), ylim=(y + 24, y - 24), title="the wrist, closer")
    near.legend(loc="center right", fontsize=8, frameon=True, framealpha=0.85, edgecolor="none", handlelength=1.4)


def one_persons_scores(person: Person, joints: Tensor) -> dict[str, Tensor]:
    """Every score of each of M answers (M, K, 2) for one person, (M,) each."""
    count = len(joints)
    three = (joints, person.joints.double().expand(count, -1, -1), person.visible.expand(count, -1))
    heads = person.head_box.expand(count, -1)

    def share(marks: metrics.Marks) -> Tensor:
        return marks.right.sum(1) / marks.scored.sum(1)

    size = metrics.reference_size(three[1], three[2], LSP)
    errors, scored = metrics.normalised_errors(*three, size)
    limits = torch.arange(21, dtype=torch.float64) / 100
    alike = metrics.oks(*three, person.area, LSP)
    passed = alike[:, None] >= torch.tensor(metrics.COCO_THRESHOLDS)
    return {
        "PCP strict": share(metrics.pcp(*three)),
        "PCP loose": share(metrics.pcp(*three, rule="loose")),
        "PCK@0.2": share(metrics.pck(*three)),
        "PCK@0.1": share(metrics.pck(*three, alpha=0.1)),
        "PDJ@0.2": share(metrics.pdj(*three, reference="other_diagonal")),
        "PCKh@0.5": share(metrics.pckh(*three, heads, LSP)),
        "PCKh@0.1": share(metrics.pckh(*three, heads, LSP, 0.1)),
        "AUC": ((errors[..., None] <= limits).double().mean(-1) * scored).sum(1) / scored.sum(1),
        "OKS": alike,
        "AP": passed.double().mean(1),
    }


def _bars(ax: Axes, values: Mapping[str, float]) -> None:
    names = list(values)
    shades = [COLOURS.get(name.split("@")[0].split()[0], style.GREY) for name in names]
    shades = [style.GREEN if name == "AP" else style.BLUE if name == "AUC" else shade
              for name, shade in zip(names, shades, strict=True)]  # fmt: skip
    ax.barh(names, list(values.values()), color=shades, height=0.62)
    for row, value in enumerate(values.values()):
        ax.text(0.03, row, f"{value:.3f}", va="center", color=style.PAPER, fontweight="bold", fontsize=9)
    ax.set(xlim=(0, 1))
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)


def short_forearm(scene: Scene, side: str) -> Figure:
    """The tolerances of PCP and PCK around a forearm that points at the camera."""
    person = scene.people[0]
    ends = [LSP.index(f"{side}_{name}") for name in ("elbow", "wrist")]
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 3.2))
    show.draw_image(axes[0], scene.image, "the person")
    show.draw_pose(axes[0], person)
    middle, reach = person.joints[ends].mean(0), 13.0
    show.draw_box(axes[0], torch.cat([middle - reach, middle + reach]), colour=style.INK)
    rules = {"pcp": "PCP: half the forearm", "pck": "PCK@0.2: a fifth of the torso"}
    for ax, (metric, words) in zip(axes[1:], rules.items(), strict=True):
        show.draw_image(ax, scene.image, words, dim=0.4)
        show.draw_pose(ax, person, width=3)
        radii = metrics.tolerance(person, metric)[ends]
        show.draw_circles(ax, person.joints[ends], radii, colour=COLOURS["PCP" if metric == "pcp" else "PCK"])
        x, y = middle.tolist()
        ax.set(xlim=(x - reach, x + reach), ylim=(y + reach, y - reach))
    return figure


def head_sizes(scene: Scene) -> Figure:
    """Three things that were called the head size, and half of each around the top of the head."""
    person = scene.people[0]
    neck, top = (person.joints[LSP.index(name)] for name in LSP.head)
    low, high = person.head_box[:2], person.head_box[2:]
    diagonal, bone = float((high - low).norm()), float((top - neck).norm())
    kinds = {
        "MPII: 0.6 × diagonal": (0.6 * diagonal, (low, high)),
        "“head bone”: neck to top": (bone, (neck, top)),
        "0.6 forgotten: diagonal": (diagonal, (low, high)),
    }
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 3.3))
    x, y, reach = *((low + high) / 2).tolist(), 52
    for ax, (title, (size, line)) in zip(axes, kinds.items(), strict=True):
        show.draw_image(ax, scene.image, f"{title}\nsize {size:.1f} px, tolerance {size / 2:.1f} px", dim=0.25)
        show.draw_pose(ax, person, width=2)
        show.draw_box(ax, person.head_box, colour=style.INK)
        ax.plot(*torch.stack(line).T, color=style.PINK, linewidth=2, linestyle=(0, (2, 1.2)), zorder=5)
        show.draw_circles(ax, top, size / 2, colour=style.VERMILION)
        ax.set(xlim=(x - reach, x + reach), ylim=(y + reach - 8, y - reach - 8))
    return figure


# --- curves -----------------------------------------------------------------------------------------------------------


def areas_under(errors: Tensor) -> Figure:
    """The three AUCs of a few normalised errors: what each of them adds up."""
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 2.6), sharey=True)
    fine = torch.linspace(0, 1, 2001, dtype=torch.float64)
    for ax, definition in zip(axes, ("mean", "trapezoid", "mmpose"), strict=True):
        last = 0.2 if definition != "mmpose" else 1.0
        grid = torch.arange(21 if last < 1 else 20, dtype=torch.float64) / (100 if last < 1 else 20)
        comparison = "<" if definition == "mmpose" else "<="
        ax.plot(fine, metrics.pck_curve(errors, fine, comparison=comparison), color=style.GREY, linewidth=1.2)
        read = metrics.pck_curve(errors, grid, comparison=comparison)
        if definition == "trapezoid":
            ax.fill_between(grid, read, color=style.BLUE, alpha=0.25)
        else:
            ax.vlines(grid, 0, read, color=style.BLUE, alpha=0.35, linewidth=2)
        ax.plot(grid, read, "o", color=style.BLUE, markersize=3)
        ax.set(xlim=(-0.02 * last, last * 1.02), ylim=(0, 1.05), xlabel="α")
        ax.set_title(f"“{definition}”: {metrics.auc(errors, definition=definition):.4f}")
    axes[0].set_ylabel("PCK@α")
    return figure


def noise_curves(levels: Sequence[float], scores: Mapping[str, Sequence[float]], sticks: Mapping, at: float) -> Figure:
    """Every score against the noise on the joints, and PCP of each stick at one noise, strict and loose."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.9), width_ratios=(1.35, 1))
    lines = {"strict": "-", "loose": "--", "0.5": "-", "0.2": "-", "0.1": "--", "OKS": "-", "AP": "--", "AUC": ":"}
    for name, values in scores.items():
        kind = name.replace("@", " ").split()
        colour = {"AUC": style.BLUE, "AP": style.GREEN}.get(kind[0]) or COLOURS[kind[0]]
        left.plot(levels, values, color=colour, linestyle=lines[kind[-1]], label=name)
    left.axvline(at, color=style.GREY, linewidth=0.8)
    left.set(xlabel="standard deviation of the noise on x and on y, pixels", ylabel="score", ylim=(0, 1.02))
    left.legend(fontsize=8, ncols=1, loc="upper right")
    rows = np.arange(len(sticks))
    for shift, rule, shade in ((-0.2, "strict", style.ORANGE), (0.2, "loose", "#F3CE80")):
        right.barh(rows + shift, [values[rule] for values in sticks.values()], 0.38, color=shade, label=rule)
    right.set_yticks(rows, [name.replace("_", " ") for name in sticks])
    right.set(xlim=(0, 1), xlabel=f"PCP at {at:g} px of noise")
    right.invert_yaxis()
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def kernels(area: float) -> Figure:
    """What one joint adds to OKS, by its error in pixels, for three joints, and for one with the wrong k."""
    figure, ax = plt.subplots(figsize=(style.PAGE, 3.1))
    d = torch.linspace(0, 45, 300, dtype=torch.float64)
    for name, colour in (("nose", style.PINK), ("left_wrist", style.BLUE), ("left_hip", style.GREEN)):
        sigma = float(sigmas_of("coco")[COCO.index(name)])
        words = f"{name.removeprefix('left_')}, σ = {sigma}"
        ax.plot(d, torch.exp(-(d**2) / (2 * area * (2 * sigma) ** 2)), color=colour, label=words)
        if name == "left_wrist":
            ax.plot(d, torch.exp(-(d**2) / (2 * area * sigma**2)), ":", color=colour, label="wrist with k = σ: the bug")
            _human_sigmas(ax, sigma * math.sqrt(area), colour)
    for threshold in (0.5, 0.75, 0.95):
        ax.axhline(threshold, color=style.GREY, linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
    ax.set(xlabel=f"error, pixels (person of area {area:,.0f})", ylabel="what the joint adds")
    ax.set(xlim=(0, 45), ylim=(0, 1.03))
    ax.legend(loc="upper right", frameon=True, framealpha=1, edgecolor="none")
    return figure


def _human_sigmas(ax: Axes, one: float, colour: str) -> None:
    """Marks one, two and three human standard deviations, `one` of which measures so many pixels."""
    ground = [patheffects.withStroke(linewidth=3, foreground=style.PAPER)]
    for count in (1, 2, 3):
        x, y = count * one, math.exp(-(count**2) / 8)
        ax.plot(x, y, "o", color=colour)
        place = {"xytext": (26, -10) if count == 1 else (7, 3), "textcoords": "offset points"}  # clear of the hip
        ax.annotate(f"{count}σ: {y:.4f}", (x, y), fontsize=8.5, path_effects=ground, zorder=4, **place)


# --- traps, and space -------------------------------------------------------------------------------------------------


def cells(scene: Scene, strides: Sequence[int] = (2, 4, 8)) -> Figure:
    """The tolerance of PCKh@0.1 on a grid of heatmap cells: what the highest cell alone can still hit."""
    person = scene.people[0]
    joint, radius = person.joints[WRIST], metrics.tolerance(person, "pckh", 0.1)[WRIST]
    figure, axes = plt.subplots(1, len(strides), figsize=(style.PAGE, 3.2))
    x, y, reach = *joint.tolist(), 13
    for ax, stride in zip(axes, strides, strict=True):
        show.draw_image(ax, scene.image, f"stride {stride}", dim=0.45)
        for line in range(0, max(scene.size) + 1, stride):
            ax.axvline(line, color=style.GREY, linewidth=0.6)
            ax.axhline(line, color=style.GREY, linewidth=0.6)
        show.draw_circles(ax, joint, radius, colour=style.VERMILION)
        centre = ((joint / stride).floor() + 0.5) * stride
        ax.plot(*joint, "o", color=style.VERMILION, markersize=4, zorder=5)
        ax.plot(*centre, "s", color=style.BLUE, markersize=6, zorder=5)
        ax.set(xlim=(x - reach, x + reach), ylim=(y + reach, y - reach))
    return figure


def space(true: Tensor) -> Callable[..., Figure]:
    """draw(turn, scale, mirror): the true pose (K, 3) so changed, from the front and from the side, and its errors."""
    root = true[[LSP.index("left_hip"), LSP.index("right_hip")]].mean(0)
    centred = (true - root).double()

    def draw(turn: int, scale: float, mirror: bool) -> Figure:
        moved = moved_in_space(centred, turn, scale, mirror)
        figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 3.7), width_ratios=(1, 1, 1.25))
        for ax, keep, title in ((axes[0], (0, 1), "from the front"), (axes[1], (2, 1), "from the side")):
            ax.set(xlim=(-850, 850), ylim=(950, -850), aspect="equal", xticks=[], yticks=[], title=title)
            ax.autoscale(False)
            ax.spines[:].set_visible(False)
            show.draw_pose(ax, centred[:, keep], LSP, colour=style.INK, width=2, markers=False)
            show.draw_pose(ax, moved[:, keep], LSP, width=3)
        errors = errors_in_space(moved, centred)
        names = list(errors)
        axes[2].barh(names, list(errors.values()), color=[style.BLUE, style.SKY, style.GREEN, style.GREY], height=0.6)
        top = max(400.0, max(errors.values()))
        for row, value in enumerate(errors.values()):
            axes[2].text(value + 0.02 * top, row, f"{value:.1f}", va="center")
        axes[2].set(xlim=(0, 1.2 * top), xlabel="millimetres")
        axes[2].invert_yaxis()
        axes[2].tick_params(axis="y", length=0)
        return figure

    return draw


def moved_in_space(joints: Tensor, turn: float, scale: float, mirror: bool) -> Tensor:
    """Joints (K, 3) mirrored left to right, scaled, and turned by degrees about the upright axis."""
    angle = math.radians(turn)
    c, s = math.cos(angle), math.sin(angle)
    rotation = torch.tensor([[c, 0, -s], [0, 1, 0], [s, 0, c]], dtype=torch.float64)
    flip = torch.tensor([-1.0 if mirror else 1.0, 1.0, 1.0], dtype=torch.float64)
    return scale * (joints.double() * flip) @ rotation


def errors_in_space(estimated: Tensor, true: Tensor) -> dict[str, float]:
    """The 3D errors of one pose (K, 3) of the course's joints, in the unit that the joints have."""
    both, hips = (estimated[None], true[None]), (LSP.index("left_hip"), LSP.index("right_hip"))
    forgiving = metrics.align_similarity(*both, torch.ones(1, len(true)), reflection=True)[0]
    return {
        "MPJPE": metrics.mpjpe(*both, root=hips),
        "N-MPJPE": metrics.n_mpjpe(*both, root=hips),
        "PA-MPJPE": metrics.pa_mpjpe(*both),
        "PA without\nthe mirror check": metrics.mpjpe(forgiving, both[1], root=None),
    }
