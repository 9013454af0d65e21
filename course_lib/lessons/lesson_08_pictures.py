"""Lesson 08's figures on pictures: candidates, the graph before and after, two answers, where a joint is expected."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from course_lib import show
from course_lib.lessons.lesson_08_deepcut import Picture, joints_found
from course_lib.lessons.lesson_08_figures import ATTRACT, PEOPLE_COLOURS, REPEL, key_of_edges, pie
from course_lib.models.deepcut.learning import Detections
from course_lib.models.deepcut.program import SUPPRESSED
from course_lib.models.deepcut.solution import Solution
from course_lib.pose import Scene
from course_lib.show import style
from course_lib.skeletons import Skeleton
from course_lib.targets.discs import discs

DIM = 0.45  # how pale pictures are under a drawing
SHOWN = 0.5  # pairwise costs of less are not drawn


def draw_candidates(picture: Picture, skeleton: Skeleton, chosen: int) -> Figure:
    """Every candidate as a pie over the picture, and the probabilities of one of them."""
    figure, (ax, bars) = plt.subplots(1, 2, figsize=(style.PAGE, 3.9), width_ratios=(1.7, 1))
    show.draw_image(ax, picture.scene.image, dim=DIM)
    found = picture.found
    colours = [show.joint_colour(skeleton, k) for k in range(len(skeleton))]
    for place, p in zip(found.places, found.probabilities, strict=True):
        pie(ax, place, p, colours, 3.2)
    ax.plot(*found.places[chosen], "o", markersize=18, markerfacecolor="none", markeredgecolor=style.INK, zorder=6)
    ax.set_title(f"{len(found.places)} candidates, coloured by body part")
    values = found.probabilities[chosen]
    order = np.arange(len(skeleton))[::-1]
    bars.barh(range(len(order)), values[order], color=[colours[k] for k in order])
    bars.axvline(0.5, color=style.GREY, linestyle="--", linewidth=1)
    names = [skeleton.joints[k].replace("_", " ") for k in order]
    bars.set(yticks=range(len(order)), yticklabels=names, xlim=(0, 1), xlabel="p", title="the ringed one")
    return figure


def draw_asked(scene: Scene, joint: int, radius: float, stride: int, skeleton: Skeleton) -> Figure:
    """What the network is asked about one joint: the discs, the offsets inside them, the way to all other joints."""
    people = scene.people
    joints, visible = (torch.stack([getattr(one, what) for one in people])[None] for what in ("joints", "visible"))
    size = (scene.size[0] // stride, scene.size[1] // stride)
    truth = discs(joints / stride, visible, size, radius / stride)
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 2.8))
    for ax, title in zip(
        axes, ("parts: the discs", "offsets: from cell to joint", "others: to the rest of the body"), strict=True
    ):
        show.draw_image(ax, scene.image, title=title, dim=DIM)
    inside = truth.inside[0, joint].float().numpy()
    extent = (0, size[1] * stride, size[0] * stride, 0)
    axes[0].imshow(np.ma.masked_equal(inside, 0), extent=extent, cmap="autumn", alpha=0.8)
    style.image_axes(axes[0], *scene.size)
    _, kind, row, column = (part.numpy() for part in truth.where)
    own = kind == joint
    x, y = ((part[own] + 0.5) * stride for part in (column, row))
    u, v = (truth.offset.numpy()[own] * stride).T
    axes[1].quiver(x, y, u, v, color=style.BLUE, angles="xy", scale_units="xy", scale=1, width=0.008)
    for number, person in enumerate(people):
        if not person.visible[joint]:
            continue
        for other in np.flatnonzero(person.visible.numpy()):
            ends = person.joints[[joint, other]].numpy()
            axes[2].plot(*ends.T, color=PEOPLE_COLOURS[number % len(PEOPLE_COLOURS)], linewidth=1)
        axes[2].plot(*person.joints[joint].tolist(), "o", color=style.INK, markersize=4)
    near = np.concatenate([person.joints[joint].numpy()[None] for person in people if person.visible[joint]])
    middle = near[0]
    axes[1].set(xlim=(middle[0] - 16, middle[0] + 16), ylim=(middle[1] + 12, middle[1] - 12))  # one of them, larger
    return figure


def draw_graph(picture: Picture, skeleton: Skeleton) -> Figure:
    """Pairwise costs between the candidates as they are likeliest labelled; then who belongs together."""
    figure, (before, after) = plt.subplots(1, 2, figsize=(style.PAGE, 3.9))
    found = picture.found
    show.draw_image(before, picture.scene.image, dim=0.7)
    at = np.arange(len(found.places))
    costs = picture.program.pairwise[at[:, None], at, found.classes[:, None], found.classes]
    for sign, colour, strength in ((1, REPEL, 40), (-1, ATTRACT, 150)):
        d, e = np.nonzero(np.triu(sign * costs > SHOWN, 1))
        alpha = min(0.6, strength / max(len(d), 1))  # the more lines, the fainter
        widths = 0.4 + 0.3 * np.minimum(abs(costs[d, e]), 6)
        lines = np.stack([found.places[d], found.places[e]], axis=1)
        before.add_collection(LineCollection(lines, colors=colour, linewidths=widths, alpha=alpha))
    before.plot(*found.places.T, "o", markersize=4, color=style.INK)
    attracted = int((np.triu(costs, 1) < -SHOWN).sum())
    before.set_title(f"before: {attracted} of {len(at) * (len(at) - 1) // 2} pairs attract each other")
    draw_solution(after, picture.scene, found, picture.solution, skeleton)
    after.set_title(f"after: a cost of ≈ {picture.solution.objective:.0f}")
    figure.legend(handles=key_of_edges(), loc="outside lower center", ncols=2)
    return figure


def draw_solution(ax: Axes, scene: Scene, found: Detections, solution: Solution, skeleton: Skeleton) -> None:
    """People of at least two joints in colours; lonely candidates as rings, suppressed ones as crosses."""
    show.draw_image(ax, scene.image, dim=DIM)
    for number, members in enumerate(solution.clusters()):
        colour = PEOPLE_COLOURS[number % len(PEOPLE_COLOURS)]
        places = found.places[list(members)]
        if len(members) == 1:
            ax.plot(*places.T, "o", markersize=5, markerfacecolor="none", markeredgecolor=colour)
            continue
        best = {c: d for d, c in sorted(members.items(), key=lambda one: found.probabilities[one[0], one[1]])}
        for a, b in skeleton.limbs:
            if a in best and b in best:
                ax.plot(*found.places[[best[a], best[b]]].T, color=colour, linewidth=2.5)
        ax.plot(*places.T, "o", markersize=4.5, color=colour, markeredgecolor="white", markeredgewidth=0.6)
    out = solution.people == SUPPRESSED
    ax.plot(*found.places[out].T, "x", color=style.INK, markersize=4.5, markeredgewidth=1)


def draw_answers(picture: Picture, skeleton: Skeleton) -> Figure:
    """The truth, the greedy answer, the program's."""
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 2.8))
    show.draw_image(axes[0], picture.scene.image, dim=DIM)
    for person, colour in zip(picture.scene.people, PEOPLE_COLOURS, strict=False):
        show.draw_pose(axes[0], person, colour=colour)
    axes[0].set_title("the truth")
    answers = (("greedy along limbs", picture.greedy), ("the program", picture.solution))
    for ax, (title, solution) in zip(axes[1:], answers, strict=True):
        draw_solution(ax, picture.scene, picture.found, solution, skeleton)
        ax.set_title(f"{title}: ≈ {joints_found(picture.found, solution, picture.scene)} joints")
    return figure


def draw_expectations(
    scene: Scene, maps: Mapping[str, np.ndarray], place: np.ndarray, joint: int, skeleton: Skeleton, stride: int
) -> Figure:
    """How likely each cell is the joint of the person whose candidate is ringed; crosses: everybody's true one."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 3.9))
    titles = {"geometry": "DeepCut: from geometry alone", "regressed": "DeeperCut: with regressed offsets"}
    for ax, (kind, values) in zip(axes, maps.items(), strict=True):
        show.draw_image(ax, scene.image, dim=0.35)
        height, width = values.shape
        extent = (0, width * stride, height * stride, 0)
        shown = ax.imshow(values, extent=extent, cmap="magma_r", vmin=0, vmax=1, alpha=0.9 * np.sqrt(values))
        style.image_axes(ax, *scene.size)
        ax.plot(*place, "o", markersize=11, markerfacecolor="none", markeredgecolor=style.BLUE, markeredgewidth=2.5)
        for person in scene.people:
            if person.visible[joint]:
                ax.plot(*person.joints[joint].tolist(), "+", color=style.GREEN, markersize=11, markeredgewidth=2.5)
        ax.set_title(titles[kind])
    bar = figure.colorbar(ScalarMappable(shown.norm, shown.cmap), ax=axes, shrink=0.8)
    bar.set_label(f"p of {skeleton.joints[joint].replace('_', ' ')}")
    return figure
