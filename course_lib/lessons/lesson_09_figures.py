"""The figures of lesson 09 that need no network: the transformer, its way back, pose NMS, and the clouds of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from torch import Tensor

from course_lib import show, skeletons
from course_lib.geometry import box_of
from course_lib.lessons import lesson_09_transformer as transformer
from course_lib.models.alphapose import window
from course_lib.pose import Pose
from course_lib.show import style
from course_lib.show.cards import standing
from course_lib.targets.proposals import Proposals
from course_lib.targets.suppression import NmsParameters, People

COPY = (style.BLUE, style.VERMILION)

# --- the transformer --------------------------------------------------------------------------------------------------


def draw_system(stacks: int, parallel: int) -> Figure:
    """The whole system as boxes: what is learned, what is frozen, what is used for training only."""
    figure, ax = plt.subplots(figsize=(style.PAGE, 3.7))
    diagram = show.Diagram(ax)
    small = {"width": 2.2, "height": 1.0, "size": 8.5}
    picture = diagram.box(0, 0, "picture", colour=style.GREY, width=1.5, height=1.0, size=8.5)
    detector = diagram.box(2.6, 0, "detector\nany", colour=style.SKY, **small)
    crop = diagram.box(5.4, 0, "crop\nbox x 1.3", colour=style.GREY, **small)
    stn = diagram.box(8.2, 0, "STN\nlearned", colour=style.ORANGE, **small)
    sppe = diagram.box(11.2, 0, f"SPPE\n{stacks} stacks, learned", colour=style.GREEN, **{**small, "width": 2.6})
    sdtn = diagram.box(14.3, 0, "SDTN\nno weights", colour=style.ORANGE, **small)
    nms = diagram.box(17.1, 0, "pose NMS\n4 numbers", colour=style.BLUE, **small)
    chain = (picture, detector, crop, stn, sppe, sdtn, nms)
    for one, other in pairwise(chain):
        diagram.arrow(one, other)
    diagram.arrow(stn.side("top"), sdtn.side("top"), bend=-0.28)
    diagram.text(11.2, 2.05, r"$\theta$, and from it $\gamma=\theta^{-1}$", size=10)
    frozen = diagram.box(
        11.2, -2.3, f"parallel SPPE\n{parallel} stack, frozen", colour=style.GREY, **{**small, "width": 2.6}
    )
    centred = diagram.box(
        14.6, -2.3, "loss: is the person\nin the middle?", colour=style.VERMILION, width=3.0, height=1.0, size=8.5
    )
    right = diagram.box(17.1, 2.3, "loss: are the\njoints right?", colour=style.VERMILION, **small)
    diagram.arrow(stn.side("bottom"), frozen, dashed=True, bend=0.15)
    diagram.arrow(frozen, centred, dashed=True)
    diagram.arrow(sdtn.side("top"), right, dashed=True)
    boxes = diagram.box(
        3.9, -2.3, "PGPG: boxes as wrong\nas the detector's", colour=style.VERMILION, width=3.6, height=1.0, size=8.5
    )
    diagram.arrow(boxes, crop.side("bottom"), dashed=True)
    ax.set_title("Solid: always. Dashed: while it learns")
    return figure


def draw_theta(picture: Tensor, theta: Tensor, joints: Tensor, skeleton: Any) -> Figure:
    """The crop with the window that theta cuts out, what the network is shown, and the maps' way back."""
    size = (picture.shape[-2], picture.shape[-1])
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 3.1))
    show.draw_image(axes[0], picture, "s: the crop, and the window theta", dim=0.1)
    show.draw_image(axes[1], transformer.stn(picture[None], theta[None])[0].clamp(0, 1), "t: what the network sees")
    back = transformer.stn(transformer.stn(picture[None], theta[None]), transformer.inverse_affine(theta)[None])[0]
    show.draw_image(axes[2], back.clamp(0, 1), "s again: warped back by gamma")
    half = torch.tensor([size[1], size[0]]) / 2
    corners = window(theta, size)
    there = transformer.geometry.apply(transformer.inverse_affine(theta), joints / half - 1) * half + half
    for ax, own in ((axes[0], joints), (axes[1], there), (axes[2], joints)):
        show.draw_pose(ax, own, skeleton)
    for ax in (axes[0], axes[2]):
        ax.plot(*corners.T, color=style.ORANGE, linewidth=2.2)
        ax.plot(*corners[0], "o", color=style.ORANGE, markersize=7)  # the frame's own top left corner
    return figure


def draw_trap(trip: transformer.Trip) -> Figure:
    """A dot in the crop, where the network sees it, and where theta and gamma carry what was read there."""
    figure, axes = plt.subplots(1, 3, figsize=(0.92 * style.PAGE, 3.0))
    titles = ("in the crop", "what the network sees", "back in the crop")
    for ax, maps, title in zip(axes, (trip.crop, trip.seen, trip.crop), titles, strict=True):
        show.draw_image(ax, (0.15 + 0.85 * maps).clamp(0, 1).expand(3, -1, -1), title)
    look = {"markersize": 11, "markeredgewidth": 2.2, "linestyle": "none"}
    axes[1].plot(*trip.found, "+", color=style.SKY, label="read here", **look)
    axes[2].plot(*trip.by_theta, "+", color=style.GREEN, label="moved by theta", **look)
    axes[2].plot(*trip.by_gamma, "x", color=style.VERMILION, label="moved by gamma", **look)
    for ax in axes[1:]:
        ax.legend(loc="lower left", labelcolor=style.PAPER, fontsize=8.5)
    return figure


def draw_round_trips(shifts: Sequence[float], errors: dict[str, Sequence[float]]) -> Figure:
    """Pixels of the crop that a joint is off after its way there and back, by how far the STN shifts its window."""
    figure, ax = plt.subplots(figsize=(6.6, 2.9))
    looks = ((style.GREEN, "o-"), (style.ORANGE, "s-"), (style.VERMILION, "^-"), (style.PINK, "v-"))
    for (name, values), (colour, look) in zip(errors.items(), looks, strict=False):
        ax.plot(shifts, values, look, color=colour, label=name)
    ax.set(xlabel="shift of the window, in half crops", ylabel="pixels of the crop", ylim=(0, None))
    ax.set_title("a joint, there and back")
    ax.grid(alpha=0.4)
    ax.legend(title="align_corners of grid, sampling", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


# --- pose NMS ---------------------------------------------------------------------------------------------------------


def two_people(apart: float, sure: float, also: float, height: float = 110.0) -> list[Pose]:
    """Two poses of one shape, the second so many pixels beside the first."""
    lsp = skeletons.get("lsp")
    figure = torch.tensor(list(standing(lsp).values())) * height
    poses = []
    for shift, confidence in ((0.0, sure), (apart, also)):
        joints = figure + torch.tensor([shift, 0.0])
        box = box_of(joints, torch.ones(len(lsp)), 0.05)
        poses.append(Pose(joints, torch.full((len(lsp),), confidence), lsp, confidence, box))
    return poses


def draw_two(poses: Sequence[Pose], parameters: NmsParameters) -> Figure:
    """Two poses with the boxes of a tenth, and d as it grows from K_sim and H_sim while they come closer."""
    people = People.of(poses)
    k, h = (float(one) for one in (people.soft_matching(0, np.array(1), parameters.sigma1),
                                   people.spatial(0, np.array(1), parameters.sigma2)))  # fmt: skip
    d = k + parameters.weight * h
    apart = float(poses[1].joints[0, 0] - poses[0].joints[0, 0])
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.6), width_ratios=(1, 1.5))
    for pose, colour in zip(poses, COPY, strict=True):
        show.draw_pose(left, pose, colour=colour, width=2.4)
    wide, high = (2 * people.half[0]).tolist()
    for x, y in poses[0].joints.tolist():
        left.add_patch(
            plt.Rectangle((x - wide / 2, y - high / 2), wide, high, fill=False, color=style.BLUE, linewidth=0.8)
        )
    left.set(xlim=(-55, 105), ylim=(118, -12), aspect="equal")
    left.axis("off")
    left.set_title("one of them goes" if d >= parameters.threshold else "both stay")
    distances = np.linspace(0, 60, 121)
    pairs = [People.of(two_people(one, float(poses[0].scores[0]), float(poses[1].scores[0]))) for one in distances]
    ks = np.array([float(one.soft_matching(0, np.array(1), parameters.sigma1)) for one in pairs])
    hs = np.array([parameters.weight * float(one.spatial(0, np.array(1), parameters.sigma2)) for one in pairs])
    right.stackplot(distances, ks, hs, colors=(style.SKY, style.ORANGE), alpha=0.65, labels=("K", "lambda H"))
    right.axhline(parameters.threshold, color=style.INK, linestyle="--", linewidth=1.3)
    right.text(60, parameters.threshold, "eta", ha="right", va="bottom")
    right.plot(apart, d, "o", color=style.VERMILION, markersize=8)
    right.set(
        xlabel="pixels apart",
        ylabel="d",
        xlim=(0, 60),
        ylim=(0, max(1.25 * parameters.threshold, 1.1 * (ks + hs).max())),
    )
    right.set_title(f"K = {k:.2f}, lambda H = {parameters.weight * h:.2f}, d = {d:.2f}")
    right.legend(loc="upper right")
    return figure


def draw_surfaces(study: dict[str, Any]) -> Figure:
    """AP over two numbers at a time, the other two held, step after step; the ring is what was taken."""
    steps = study["steps"][:4]
    rows = -(-len(steps) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(style.PAGE, 3.3 * rows), squeeze=False)
    values = np.concatenate([np.ravel(step["surface"]) for step in steps])
    for number, (ax, step) in enumerate(zip(axes.ravel(), steps, strict=False), 1):
        surface, (first, second) = np.array(step["surface"]), step["names"]
        shown = ax.imshow(surface, origin="lower", aspect="auto", vmin=np.quantile(values, 0.2), vmax=values.max())
        ticks = [[f"{value:g}" for value in some] for some in step["values"]]
        ax.set(xticks=range(len(ticks[1])), yticks=range(len(ticks[0])), xlabel=named(second), ylabel=named(first))
        ax.set_xticklabels(ticks[1])
        ax.set_yticklabels(ticks[0])
        at = [some.index(step["parameters"][name]) for name, some in zip(step["names"], step["values"], strict=True)]
        ax.plot(at[1], at[0], "o", color=style.VERMILION, markersize=11, markerfacecolor="none", markeredgewidth=2.2)
        ax.set_title(f"search {number}")
    figure.colorbar(shown, ax=axes, shrink=0.8, label="AP", extend="min")
    return figure


def named(name: str) -> str:
    """A number of pose NMS as the paper writes it."""
    return {"weight": "lambda", "threshold": "eta"}.get(name, name)


# --- the clouds of boxes ----------------------------------------------------------------------------------------------

SIDES = ("left", "top", "right", "bottom")
CLOUD = 0.5  # of a side: what is drawn of a cloud


def draw_atoms(proposals: Proposals, share: Sequence[float]) -> Figure:
    """The atomic poses, torsos of one length, and which share of the pairs is nearest to each."""
    count = len(proposals.centres)
    figure, axes = plt.subplots(1, count, figsize=(style.PAGE, 2.0))
    for number, (ax, centre, part) in enumerate(zip(axes, proposals.centres, share, strict=True), 1):
        room = max(2.3, 1.1 * float(centre.abs().max()))  # a torso that is seen end-on makes long limbs
        ax.set(xlim=(-0.85 * room, 0.85 * room), ylim=(room, -room), aspect="equal")
        ax.axis("off")
        ax.autoscale(False)
        show.draw_pose(ax, centre, proposals.skeleton, width=1.8)
        ax.set_title(f"{number}: {100 * part:.0f} %", fontsize=9)
    return figure


def draw_clouds(
    study: dict[str, Any], proposals: Proposals, atoms: Sequence[int], sampled: dict[int, Tensor]
) -> Figure:
    """For some atoms the detector's offsets, the fitted Gaussians, and as many sampled ones: left against right side
    above, top against bottom below."""
    offsets = torch.tensor(study["sample"]["offsets"])
    own = torch.tensor(study["sample"]["atoms"])
    figure, axes = plt.subplots(2, len(atoms), figsize=(style.PAGE, 4.9), sharex=True, sharey=True, squeeze=False)
    for column, atom in enumerate(atoms):
        for row, (first, second) in enumerate(((0, 2), (1, 3))):
            ax = axes[row, column]
            real, drawn = offsets[own == atom], sampled[atom]
            ax.plot(real[:, first], real[:, second], ".", color=style.BLUE, markersize=3, alpha=0.6, label="detector")
            ax.plot(
                drawn[:, first], drawn[:, second], ".", color=style.ORANGE, markersize=3, alpha=0.5, label="sampled"
            )
            for mean, covariance in zip(proposals.means[atom], proposals.covariances[atom], strict=True):
                _ellipse(ax, mean[[first, second]], covariance[[first, second]][:, [first, second]])
            ax.axhline(0, color=style.GREY, linewidth=0.7)
            ax.axvline(0, color=style.GREY, linewidth=0.7)
            ax.set(xlim=(-CLOUD, CLOUD), ylim=(-CLOUD, CLOUD), aspect="equal")
            ax.set_xlabel(f"{SIDES[first]} side off by")
            if column == 0:
                ax.set_ylabel(f"{SIDES[second]} side off by")
        axes[0, column].set_title(f"atom {atom + 1}: {len(offsets[own == atom])} boxes")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, markerscale=3, handletextpad=0.1)
    return figure


def _ellipse(ax: Axes, mean: Tensor, covariance: Tensor) -> None:
    """Where a Gaussian is twice its deviation from its mean."""
    values, vectors = torch.linalg.eigh(covariance)
    angle = float(torch.atan2(vectors[1, 1], vectors[0, 1]).rad2deg())
    look = {"fill": False, "edgecolor": style.INK, "linewidth": 1.4}
    ax.add_patch(Ellipse(mean.tolist(), *(4 * values.sqrt().flip(0)).tolist(), angle=angle, **look))


def draw_overlaps(overlaps: dict[str, Tensor]) -> Figure:
    """How well boxes cover their people, detected and made: one line each, the share of boxes by IoU."""
    figure, ax = plt.subplots(figsize=(6.8, 2.9))
    looks = ((style.BLUE, "-", 2.6), (style.ORANGE, "-", 2.0), (style.PINK, "--", 1.6), (style.GREY, ":", 1.8))
    edges = np.linspace(0.3, 1.0, 22)
    for (name, values), (colour, dash, width) in zip(overlaps.items(), looks, strict=False):
        heights, _ = np.histogram(values.numpy(), edges)
        middles = (edges[:-1] + edges[1:]) / 2
        ax.plot(middles, heights / max(len(values), 1), dash, color=colour, linewidth=width, label=name)
    ax.set(xlabel="IoU with the true box", ylabel="share of boxes", ylim=(0, None), xlim=(0.3, 1.0))
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
