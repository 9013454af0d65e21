"""The way that joints take from one answer to the next, drawn over the picture."""

from __future__ import annotations

import torch
from matplotlib import patheffects
from matplotlib.axes import Axes
from torch import Tensor

from course_lib.show import limbs, style
from course_lib.skeletons import Skeleton

HALO = [patheffects.withStroke(linewidth=3.2, foreground=style.PAPER)]
TRUTH = {"marker": "+", "color": style.GREEN, "markersize": 9, "markeredgewidth": 2.2, "linestyle": "none"}


def trails(ax: Axes, walk: Tensor, truth: Tensor, labelled: Tensor, skeleton: Skeleton) -> None:
    """The way (T + 1, K, 2) of every joint, a dotted line from where it stands to the truth, and a cross there."""
    for joint in range(walk.shape[1]):
        colour, way = limbs.joint_colour(skeleton, joint), walk[:, joint]
        if labelled[joint]:
            rest = torch.stack([way[-1], truth[joint]])
            ax.plot(*rest.T, color=style.INK, linewidth=1.2, linestyle=(0, (1, 1.2)), zorder=3)
            ax.plot(*truth[joint], **TRUTH, zorder=5)
        ax.plot(*way.T, color=colour, linewidth=2.2, path_effects=HALO, zorder=4)
        ax.plot(*way[0], "o", markersize=4.5, markerfacecolor=style.PAPER, markeredgecolor=colour, zorder=5)
        ax.plot(*way[1:-1].T, ".", markersize=5, color=colour, zorder=5)
        ax.plot(*way[-1], "o", markersize=6.5, color=colour, markeredgecolor=style.PAPER, zorder=6)
