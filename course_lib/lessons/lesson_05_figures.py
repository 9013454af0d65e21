"""The longer figures of lesson 05. Every function returns its figure; the notebook ends the cell with plt.show()."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import colors
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, ConnectionPatch, Rectangle
from torch import Tensor

from course_lib import show
from course_lib.lessons.lesson_05_iterative_error_feedback import Walks, drawn_input
from course_lib.models.cpm import ConvolutionalPoseMachine
from course_lib.models.ief import IterativeErrorFeedback, bounded
from course_lib.pose import Batch, Pose, Scene
from course_lib.show import style
from course_lib.show.walks import HALO, TRUTH, trails
from course_lib.skeletons import Skeleton

# --- parts of figures -------------------------------------------------------------------------------------------------


def arrows(ax: Axes, pose: Tensor, steps: Tensor, skeleton: Skeleton, least: float = 0.3) -> None:
    """A pose's corrections (K, 2) as arrows in the joints' colours; those shorter than `least` pixels as dots."""
    for joint, (place, step) in enumerate(zip(pose.tolist(), steps.tolist(), strict=True)):
        colour, (x, y), (dx, dy) = show.joint_colour(skeleton, joint), place, step
        ax.plot(x, y, "o", markersize=4, color=colour, path_effects=HALO)
        if dx * dx + dy * dy > least * least:
            look = {"arrowstyle": "-|>", "color": colour, "linewidth": 2.0, "mutation_scale": 11, "shrinkA": 0}
            words = ax.annotate("", (x + dx, y + dy), (x, y), arrowprops={**look, "shrinkB": 0})
            words.arrow_patch.set_path_effects(HALO)


def colour_maps(maps: Tensor, skeleton: Skeleton) -> np.ndarray:
    """Maps (K + 1, H, W) from 0 to 1 as one picture on black: each joint's in its colour, the last (the mark) white."""
    shades = [colors.to_rgb(show.joint_colour(skeleton, k)) for k in range(len(skeleton))] + [(1.0, 1.0, 1.0)]
    values = maps.clamp(0, 1)[..., None] * torch.tensor(shades[: len(maps)]).float()[:, None, None]
    return values.amax(0).numpy()


# --- problem and idea -------------------------------------------------------------------------------------------------


def draw_numbers(scene: Scene, pose: Pose) -> Figure:
    """A picture, and an estimate of its person as numbers."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.3), width_ratios=(1, 1.15))
    show.draw_image(left, scene.image, "the picture")
    right.axis("off")
    lines = [f"{name.replace('_', ' '):15}{x:6.1f}{y:7.1f}" for name, (x, y) in _named(pose)]
    right.text(0, 1, "\n".join([f"{'':15}{'x':>6}{'y':>7}", *lines]), va="top", family="monospace", fontsize=9)
    right.set_title("the answer", loc="left")
    return figure


def draw_answer(scene: Scene, pose: Pose, beside: Tensor) -> Figure:
    """The same numbers drawn onto the picture, with rings around joints (K,) that lie beside the body."""
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.75))
    show.draw_image(axes[0], scene.image, "the answer, drawn")
    show.draw_pose(axes[0], pose)
    look = {"markersize": 13, "markerfacecolor": "none", "markeredgecolor": style.VERMILION, "markeredgewidth": 2.0}
    axes[0].plot(*pose.joints[beside].T, "o", **look, zorder=6)
    show.draw_image(axes[1], scene.image, "the truth")
    show.draw_pose(axes[1], scene.people[0])
    return figure


def _named(pose: Pose) -> list[tuple[str, list[float]]]:
    return list(zip(pose.skeleton.joints, pose.joints.tolist(), strict=True))


def draw_loop(model: IterativeErrorFeedback, batch: Batch) -> Figure:
    """One turn of the loop for one person (a batch of 1), with the correction that would be right."""
    image, pose = batch.images[0], model.start
    step = model.target(batch.joints, pose[None], batch.visible)[0]
    figure, axes = plt.subplots(
        2, 5, figsize=(style.PAGE, 2.75), width_ratios=(1, 1, 0.55, 1, 1), height_ratios=(1, 0.24)
    )
    for ax in axes[1]:
        ax.axis("off")
    seen, drawn, network, told, after = axes[0]
    show.draw_image(seen, image, "picture $I$")
    show.draw_image(drawn, colour_maps(drawn_input(model, image, pose), batch.skeleton), "drawn pose $g(y_t)$")
    diagram = show.Diagram(network)
    diagram.box(0, 0, "$f$\n\nsame\nweights\nevery\ntime", width=1.0, height=1.9, colour=style.ORANGE, size=9)
    show.draw_image(told, image, r"correction $\varepsilon_t$", dim=0.45)
    arrows(told, pose, step, batch.skeleton)
    show.draw_image(after, image, r"$y_{t+1} = y_t + \varepsilon_t$", dim=0.45)
    show.draw_pose(after, pose + step, batch.skeleton)
    _connect(figure, after, drawn, "the new pose is drawn, and everything is asked again")
    return figure


def _connect(figure: Figure, source: Axes, target: Axes, words: str) -> None:
    """An arrow below the panels, from one back to another."""
    ends = {"coordsA": source.transAxes, "coordsB": target.transAxes}
    look = {"arrowstyle": "-|>", "connectionstyle": "bar,fraction=-0.05", "mutation_scale": 13, "linewidth": 1.5}
    back = ConnectionPatch((0.5, -0.03), (0.5, -0.03), **ends, **look, color=style.VERMILION)
    back.set_in_layout(False)
    figure.add_artist(back)
    look = {"ha": "center", "va": "top", "fontsize": 9, "color": style.VERMILION, "in_layout": False}
    target.annotate(words, (2.4, -0.2), xycoords="axes fraction", annotation_clip=False, **look)


def draw_ideal(batch: Batch, start: Tensor, bound: float, step: int, steps: int = 8) -> Figure:
    """The ideal walk of one person (a batch of 1) with steps of at most `bound`, and how far every joint has to go."""
    path = [start]
    for _ in range(steps):
        path.append(path[-1] + bounded(batch.joints[0] - path[-1], bound))
    path, skeleton = torch.stack(path), batch.skeleton
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.9), width_ratios=(1, 1.25))
    show.draw_image(left, batch.images[0], f"step {step}, at most {bound:g} pixels each", dim=0.35)
    show.draw_pose(left, path[step], skeleton, alpha=0.45, markers=False, width=3)
    trails(left, path[: step + 1], batch.joints[0], batch.visible[0] > 0, skeleton)
    away = (path - batch.joints[0]).norm(dim=-1)
    for joint in range(len(skeleton)):
        right.plot(away[:, joint], "-", color=show.joint_colour(skeleton, joint), linewidth=1.4)
    right.axvline(step, color=style.INK, linewidth=1.2, linestyle=":")
    right.set(xlabel="step", ylabel="pixels left to go, one line a joint", xlim=(0, steps), ylim=(0, None))
    arrived = int((away[step] < 1e-3).sum())
    right.set_title(f"{arrived} of {len(skeleton)} joints have arrived")
    return figure


# --- the bound --------------------------------------------------------------------------------------------------------


def draw_bound(
    bound: float, lengths: Sequence[float] = (12, 30, 45), angles: Sequence[float] = (10, 60, 115)
) -> Figure:
    """What is left of displacements when their length is bounded, and when each coordinate is."""
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 3.9), sharex=True, sharey=True)
    turns = torch.deg2rad(torch.tensor([20.0, 65.0, 120.0]))
    u = torch.stack([turns.cos(), -turns.sin()], -1) * torch.tensor(lengths, dtype=torch.float32)[:, None]
    rules = {"the length bounded: same direction": bounded(u, bound), "x and y bounded: bent": u.clamp(-bound, bound)}
    shapes = (Circle((0, 0), bound), Rectangle((-bound, -bound), 2 * bound, 2 * bound))
    for ax, (title, kept), shape in zip(axes, rules.items(), shapes, strict=True):
        shape.set(facecolor=style.SKY, alpha=0.25)
        ax.add_patch(shape)
        for whole, part, colour in zip(
            u.tolist(), kept.tolist(), (style.BLUE, style.VERMILION, style.GREEN), strict=True
        ):
            ax.plot([0, whole[0]], [0, whole[1]], color=style.GREY, linewidth=1.2, linestyle=(0, (3, 2)))
            ax.plot(*whole, "o", color=style.GREY, markersize=4)
            look = {"arrowstyle": "-|>", "color": colour, "linewidth": 2.4, "mutation_scale": 14}
            ax.annotate("", part, (0, 0), arrowprops={**look, "shrinkA": 0, "shrinkB": 0})
        ax.plot(0, 0, "o", color=style.INK)
        ax.set(title=title, xlabel="x, pixels", aspect="equal", xlim=(-30, 30), ylim=(25, -44))
    axes[0].set_ylabel("y, pixels")
    return figure


def draw_needed(counts: dict[str, list[float]], steps: int) -> Figure:
    """Share of the joints of every kind that need 0 or 1, 2, ... steps; the last entry is out of reach."""
    shades = (*plt.colormaps["Blues"](np.linspace(0.3, 0.9, steps)), colors.to_rgba(style.VERMILION))
    figure, ax = plt.subplots(figsize=(7.6, 2.9))
    left = np.zeros(len(counts))
    for number, shade in enumerate(shades):
        share = 100 * np.array([row[number] for row in counts.values()])
        words = f"{number + 1} step{'s' if number else ''}" if number < steps else f"more than {steps}: out of reach"
        ax.barh(range(len(counts)), share, left=left, height=0.72, color=shade, label=words)
        left += share
    ax.set(yticks=range(len(counts)), yticklabels=list(counts), xlabel="share of the joints, %", xlim=(0, 100))
    ax.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=steps + 1)
    return figure


def draw_pairs(model: IterativeErrorFeedback, batch: Batch) -> Figure:
    """One person's (a batch of 1) training pairs on the fixed path: a pose, and the correction asked for there."""
    path = model.training_path(batch, model.steps)[:, 0]
    figure, axes = plt.subplots(1, model.steps, figsize=(style.PAGE, style.PAGE / model.steps + 0.35))
    for t, (ax, pose) in enumerate(zip(axes, path, strict=True), 1):
        show.draw_image(ax, batch.images[0], f"pair {t}", dim=0.45)
        step = model.target(batch.joints, pose[None], batch.visible)[0]
        arrows(ax, pose, step, batch.skeleton)
        ax.plot(*batch.joints[0][batch.visible[0] > 0].T, **{**TRUTH, "markersize": 6, "markeredgewidth": 1.4})
    return figure


# --- beside the pose machine ------------------------------------------------------------------------------------------


@torch.no_grad()
def draw_two_ways(cpm: ConvolutionalPoseMachine, stage: int, walks: Walks, number: int, step: int) -> Figure:
    """What a stage of a pose machine is given and gives, and what a step of error feedback is given and gives."""
    scene, skeleton = walks.scenes[number], walks.model.skeleton
    height, width = cpm.input_size
    image = torch.nn.functional.interpolate(scene.image[None], (height, width), mode="area")
    beliefs = cpm(image)[:, 0, :-1]  # (T, K, h, w)
    before, after = walks.walk[step - 1 : step + 1, number]
    figure, axes = plt.subplots(2, 3, figsize=(7.8, 5.6))
    for row, words in zip(axes, (f"pose machine\nstage {stage}", f"error feedback\nstep {step}"), strict=True):
        show.draw_image(row[0], scene.image, "sees: the picture")
        row[0].set_ylabel(words, fontsize=11)
    for ax, maps, title in zip(
        axes[0, 1:], beliefs[stage - 2 : stage], ("sees: all maps of the stage before", "says: new maps"), strict=True
    ):
        show.draw_image(ax, colour_maps(maps / maps.max(), skeleton), title, interpolation="nearest")
    maps = drawn_input(walks.model, walks.images[number], before)
    show.draw_image(axes[1, 1], colour_maps(maps, skeleton), "sees: one place for every joint")
    show.draw_image(axes[1, 2], walks.images[number], "says: how far each should move", dim=0.45)
    arrows(axes[1, 2], before, after - before, skeleton)
    return figure


# --- learning ---------------------------------------------------------------------------------------------------------


def draw_phases(model: IterativeErrorFeedback, points: int = 1200) -> tuple[Figure, list[float]]:
    """When each step is trained, and which share of all passes it gets."""
    progress = (np.arange(points) + 0.5) / points
    phases = np.array([model.phase(float(one)) for one in progress])
    shares = [float(np.mean((phases >= t) / phases)) for t in range(1, model.steps + 1)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 2.7), width_ratios=(1.7, 1), sharey=True)
    for t in range(1, model.steps + 1):
        weight = np.where(phases >= t, 1 / phases, np.nan)
        left.scatter(progress, np.full(points, t), c=weight, cmap="Blues", vmin=0, vmax=1, marker="s", s=120)
        right.barh(t, 100 * shares[t - 1], height=0.6, color=style.BLUE)
        right.text(100 * shares[t - 1] + 1, t, f"{100 * shares[t - 1]:.0f} %", va="center")
    for change in np.flatnonzero(np.diff(phases)):
        left.axvline(progress[change], color=style.INK, linewidth=1, linestyle=":")
    left.set(xlabel="share of the training that is over", ylabel="pairs of step", yticks=range(1, model.steps + 1))
    left.set(xlim=(0, 1), ylim=(0.4, model.steps + 0.6), title="what a phase draws its pairs from")
    right.set(xlabel="share of all passes, %", xlim=(0, 62), title="what each step gets in all")
    return figure, shares


def draw_learning(history: dict[str, list], nothing: Sequence[float], validation: str, floor: float) -> Figure:
    """The pairs' losses beside what answering nothing costs them, and the score beside the mean pose."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.4))
    for t, (cost, colour) in enumerate(zip(nothing, style.CYCLE, strict=False), 1):
        values = np.array(history[f"step_{t}"])
        smooth = np.convolve(values, np.ones(15) / 15, mode="valid")
        trained = np.convolve(values > 0, np.ones(15), mode="valid") > 7  # a pair that waits has loss 0
        left.plot(np.arange(len(smooth)) + 7, np.where(trained, smooth, np.nan), color=colour, label=f"pair {t}")
        left.axhline(cost, color=colour, linewidth=1.2, linestyle="--")
    left.set(
        xlabel="training step", ylabel="loss, in units of $L^2$", yscale="log", title="What it costs", ylim=(1.5e-4, 1)
    )
    left.legend(loc="lower left", title="dashed: answering nothing", ncols=3)
    rows = history["validation"]
    right.plot([r["step"] for r in rows], [r[validation] for r in rows], "o-", color=style.BLUE, label="live network")
    right.axhline(floor, color=style.INK, linewidth=1.2, linestyle="--", label="mean pose: where every walk starts")
    right.set(xlabel="training step", ylabel="PCK@0.2", xlim=(0, None), ylim=(0, None))
    right.set_title("What it finds on people it never saw")
    right.legend(loc="lower right")
    return figure


# --- a look inside ----------------------------------------------------------------------------------------------------


def draw_walk(walks: Walks, number: int, step: int) -> Figure:
    """One person after a step: the way of every joint so far, and every joint's error on the whole walk."""
    skeleton, way = walks.model.skeleton, walks.walk[:, number]
    marks, errors = walks.every_mark[step], walks.errors[:, number]
    labelled = walks.batch.visible[number] > 0
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 4.1), width_ratios=(1, 1.2))
    found, scored = int(marks.right[number].sum()), int(marks.scored[number].sum())
    show.draw_image(left, walks.images[number], f"after step {step}: {found} of {scored} joints found", dim=0.3)
    show.draw_pose(left, way[step], skeleton, alpha=0.45, markers=False, width=3)
    trails(left, way[: step + 1], walks.batch.joints[number], labelled, skeleton)
    for joint in torch.nonzero(labelled).flatten().tolist():
        right.plot(errors[:, joint], ".-", color=show.joint_colour(skeleton, joint), linewidth=1.3)
    right.plot(errors.nanmean(1), color=style.INK, linewidth=3, label="mean of the joints")
    right.axvline(step, color=style.INK, linewidth=1.2, linestyle=":")
    right.set(xlabel="step", ylabel="pixels from the truth, one line a joint", ylim=(0, None), xlim=(0, len(way) - 1))
    right.set(title="how far off", xticks=range(len(way)))
    right.legend(loc="upper right")
    return figure


def draw_steps(rows: dict[str, Sequence[float]], trained: int, ylabel: str, top: float | None = None) -> Figure:
    """A number as it goes with the steps, several lines; what lies beyond the trained steps is shaded."""
    figure, ax = plt.subplots(figsize=(7.6, 3.5))
    for (name, values), colour in zip(rows.items(), style.CYCLE, strict=False):
        ax.plot(range(len(values)), values, "o-", color=colour, markersize=4, label=name)
    last = len(next(iter(rows.values()))) - 1
    ax.axvspan(trained, last, color=style.GREY, alpha=0.15, linewidth=0)
    ax.text(trained + 0.1, 0.02, "never trained", transform=ax.get_xaxis_transform(), va="bottom", fontsize=9)
    ax.set(xlabel="step", ylabel=ylabel, xlim=(0, last), ylim=(0, top), xticks=range(last + 1))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def draw_start(walks: Walks, walked: dict[str, Tensor], number: int, kind: str, step: int) -> Figure:
    """One person's walk from another start, and the mean error of all people from every start."""
    batch, skeleton = walks.batch, walks.model.skeleton
    labelled, way = batch.visible > 0, walked[kind][:, number]
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 4.0), width_ratios=(1, 1.25))
    show.draw_image(left, walks.images[number], f"{kind}, step {step}", dim=0.3)
    show.draw_pose(left, way[step], skeleton, alpha=0.45, markers=False, width=3)
    trails(left, way[: step + 1], batch.joints[number], labelled[number], skeleton)
    for name, colour in zip(walked, style.CYCLE, strict=False):
        errors = [float((pose - batch.joints).norm(dim=-1)[labelled].mean()) for pose in walked[name]]
        chosen = name == kind
        right.plot(errors, "o-", color=colour, linewidth=3 if chosen else 1.4, markersize=4, label=name)
    right.axvline(step, color=style.INK, linewidth=1.2, linestyle=":")
    right.set(xlabel="step", ylabel="mean error of all people, pixels", ylim=(0, None), xlim=(0, len(way) - 1))
    right.set(xticks=range(len(way)))
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


# --- the study --------------------------------------------------------------------------------------------------------


def draw_study(finals: dict[str, list[float]], levels: dict[str, float], paper: dict[str, float]) -> Figure:
    """Our runs as dots, means as bars, two levels; and the paper's numbers beside them, on a scale of their own."""
    figure, (ours, theirs) = plt.subplots(1, 2, figsize=(style.PAGE, 3.2), width_ratios=(1.3, 1), sharey=True)
    for place, (arm, values) in enumerate(finals.items()):
        ours.barh(place, np.mean(values), height=0.62, color=style.SKY, alpha=0.6)
        ours.plot(values, [place] * len(values), "o", color=style.BLUE, markersize=5)
        if arm in paper:
            theirs.barh(place, paper[arm], height=0.62, color=style.ORANGE, alpha=0.6)
            theirs.text(paper[arm] + 0.5, place, f"{paper[arm]:g}", va="center", fontsize=9)
        else:
            theirs.text(60.5, place, "not told", va="center", fontsize=9, color=style.GREY)
    for (name, level), dashes in zip(levels.items(), ("--", ":"), strict=True):
        ours.axvline(level, color=style.INK, linewidth=1.4, linestyle=dashes, label=name)
    ours.set(yticks=range(len(finals)), yticklabels=list(finals), xlabel="PCK@0.2, three short trainings each")
    ours.set(xlim=(0, None), title="here")
    figure.legend(*ours.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    theirs.set(
        xlabel="PCKh@0.5, MPII validation, cut off at 60", xlim=(60, 88), title="in the paper, as others report it"
    )
    ours.invert_yaxis()
    return figure


def draw_fields(
    image: Tensor, fields: dict[str, tuple[Tensor, Tensor]], truth: Tensor, pose: Tensor, skeleton: Skeleton
) -> Figure:
    """Where one joint is told to go from wherever it is put; the other joints are where the pose (K, 2) has them."""
    across = min(style.PAGE, 4.2 * len(fields))
    figure, axes = plt.subplots(1, len(fields), figsize=(across, across / len(fields) + 0.3))
    for ax, (title, (places, moves)) in zip(np.atleast_1d(axes), fields.items(), strict=True):
        show.draw_image(ax, image, title, dim=0.45)
        show.draw_pose(ax, pose, skeleton, alpha=0.35, markers=False, width=3)
        look = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.007}
        ax.quiver(*places.T, *moves.T, color=style.BLUE, **look, zorder=5)
        ax.plot(*truth, **{**TRUTH, "markersize": 15, "markeredgewidth": 3.2}, zorder=6)
    return figure


def draw_pushes(pushes: Sequence[float], lines: dict[str, Sequence[Sequence[float]]], bound: float) -> Figure:
    """How much of a push is taken back, every run a line from zero; dashed: who compares."""
    figure, ax = plt.subplots(figsize=(7.6, 3.3))
    at = [0.0, *pushes]
    ax.plot(at, np.minimum(at, bound), color=style.INK, linestyle="--", linewidth=1.4, label="who compares")
    for (name, runs), colour in zip(lines.items(), style.CYCLE, strict=False):
        for number, run in enumerate(runs):
            ax.plot(at, [0.0, *run], "o-", color=colour, markersize=4, label=None if number else name)
    ax.set(xlabel="a joint is pushed aside by so many pixels", ylabel="pixels taken back", xlim=(0, None))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
