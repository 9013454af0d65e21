"""Lesson 13, metrics: the drawings of average precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course_lib import metrics, show
from course_lib.lessons import cases_13_metrics as cases
from course_lib.pose import Pose, Scene
from course_lib.show import style


def steps(scene: Scene, poses: Sequence[Pose]) -> Callable[[float], Figure]:
    """draw(threshold): AP of five estimates for four people, from the picture to the 101 recall points."""
    true, visible = cases.truth(scene.people)
    area = torch.tensor([who.area for who in scene.people])
    alike = metrics.oks_matrix(torch.stack([pose.joints for pose in poses]), true, visible, area, "coco")

    def draw(threshold: float) -> Figure:
        taken = cases.match_in_order(alike, threshold)
        figure, axes = plt.subplots(2, 2, figsize=(style.PAGE, 6.0), width_ratios=(1.15, 1))
        _people_and_answers(axes[0, 0], scene, poses, taken)
        _alikeness(axes[0, 1], alike, taken, poses)
        hits = torch.tensor([person >= 0 for person in taken]).double().cumsum(0)
        recall, precision = hits / len(true), hits / torch.arange(1, len(taken) + 1)
        envelope = precision.flip(0).cummax(0).values.flip(0)
        ax = axes[1, 0]
        ax.plot(recall, precision, "o--", color=style.INK, linewidth=1, label="after each estimate")
        ax.step(
            [0, *recall.tolist()], [envelope[0].item(), *envelope.tolist()], color=style.BLUE, label="best from here on"
        )
        for rank, (x, y) in enumerate(zip(recall.tolist(), precision.tolist(), strict=True), start=1):
            ax.annotate(str(rank), (x, y), xytext=(4, -11), textcoords="offset points", fontsize=9)
        _square(ax, "3. precision and recall, then the envelope")
        ax.legend(loc="upper right")
        grid = torch.tensor(metrics.COCO_RECALLS, dtype=torch.float64)
        at = torch.searchsorted(recall, grid)
        read = torch.where(at < len(envelope), envelope[at.clamp(max=len(envelope) - 1)], 0.0)
        axes[1, 1].vlines(grid, 0, read, color=style.BLUE, alpha=0.3, linewidth=2)
        axes[1, 1].plot(grid, read, ".", color=style.BLUE, markersize=4)
        _square(axes[1, 1], f"4. read at 101 recalls: AP = {float(read.mean()):.4f}")
        figure.suptitle(f"OKS threshold {threshold:.2f}")
        return figure

    return draw


def _square(ax: Axes, title: str) -> None:
    ax.set(xlim=(-0.02, 1.02), ylim=(0, 1.06), xlabel="recall", ylabel="precision", title=title)


def _people_and_answers(ax: Axes, scene: Scene, poses: Sequence[Pose], taken: Sequence[int]) -> None:
    show.draw_image(ax, scene.image, "1. estimates, best score first", dim=0.45)
    for number, person in enumerate(scene.people):
        show.draw_pose(ax, person, colour=style.INK, width=1.2, markers=False)
        x, y = person.joints[:, 0].mean().item(), person.joints[:, 1].max().item()
        ax.text(x, y + 9, "ABCD"[number], ha="center", va="center", fontweight="bold")
    for rank, (pose, person) in enumerate(zip(poses, taken, strict=True), start=1):
        colour = style.GREEN if person >= 0 else style.VERMILION
        show.draw_pose(ax, pose, colour=colour, width=1.6, markers=False)
        x, y = pose.joints[:, 0].mean().item(), pose.joints[:, 1].min().item()
        ax.text(
            x + (10 if rank == 4 else 0), y - 7, str(rank), ha="center", va="center", color=colour, fontweight="bold"
        )
    ax.set_ylim(165, 30)


def _alikeness(ax: Axes, alike: Tensor, taken: Sequence[int], poses: Sequence[Pose]) -> None:
    ax.imshow(alike, cmap="Greens", vmin=0, vmax=1.3, aspect="auto")
    names = []
    for d, row in enumerate(alike.tolist()):
        for g, value in enumerate(row):
            ax.text(g, d, f"{value:.2f}", ha="center", va="center", fontweight="bold" if taken[d] == g else None)
        if taken[d] >= 0:
            corner = (taken[d] - 0.47, d - 0.45)
            ax.add_patch(plt.Rectangle(corner, 0.94, 0.9, fill=False, edgecolor=style.GREEN, linewidth=2.5))
        names.append(f"{d + 1} ({poses[d].score:.2f}) {'hit' if taken[d] >= 0 else 'false'}")
    ax.set_xticks(range(alike.shape[1]), list("ABCD")[: alike.shape[1]])
    ax.set_yticks(range(len(poses)), names)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title("2. OKS with each person, and who is taken")


def precision_recall(panels: Mapping[str, metrics.KeypointScores]) -> Figure:
    """Precision against recall at every OKS threshold, one panel for each way to score the same poses."""
    figure, axes = plt.subplots(1, len(panels), figsize=(style.PAGE, 3.3), sharey=True, squeeze=False)
    for ax, (title, scores) in zip(axes[0], panels.items(), strict=True):
        for t, threshold in enumerate(scores.thresholds):
            shade = colormaps["viridis"](0.9 - 0.9 * t / (len(scores.thresholds) - 1))
            ax.plot(scores.recalls, scores.precision["all"][t], color=shade, label=f"{threshold:.2f}")
        ax.set(xlabel="recall", xlim=(0, 1), ylim=(0, 1.03))
        ax.set_title(f"{title}\nAP {scores.ap():.2f}, AR {scores.ar():.2f}")
    axes[0, 0].set_ylabel("precision")
    axes[0, -1].legend(title="OKS ≥", fontsize=7.5, loc="upper right", labelspacing=0.2)
    return figure
