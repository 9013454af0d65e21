"""Figures of lesson 01 that show a model at work: messages, templates, marginals, clouds, failures, poselets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import patheffects
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from course_lib import show
from course_lib.lessons.lesson_01_figures import (
    arranged,
    backdrop,
    draw_body,
    draw_learned,
    draw_part,
    part_colour,
    thickness,
)
from course_lib.lessons.lesson_01_pictorial import Clouds, Looked, drawable, place_map
from course_lib.models.pictorial import gradients, tree
from course_lib.models.pictorial.structures import CELLS
from course_lib.show import style

GLOW = [patheffects.withStroke(linewidth=2.4, foreground=style.PAPER)]


def names_of(looked: Looked) -> tuple[str, ...]:
    return looked.model.parts.names


def body_on(ax: Axes, looked: Looked, number: int, states: Tensor, title: str, dim: float = 0.25) -> None:
    """A picture with an arrangement of all parts."""
    show.draw_image(ax, backdrop(looked.batch.images[number]), title, dim=dim)
    draw_body(ax, drawable(states, looked.grid), names_of(looked), looked.model.lengths.tolist())


def draw_bodies(looked: Looked, numbers: Sequence[int], answers: dict[str, Tensor]) -> Figure:
    """Some people, one row for each way of answering (B, P, 4)."""
    size = (2.2 * len(numbers), 2.35 * len(answers))
    figure, axes = plt.subplots(len(answers), len(numbers), figsize=size, squeeze=False)
    for row, (title, states) in zip(axes, answers.items(), strict=True):
        for ax, number in zip(row, numbers, strict=True):
            body_on(ax, looked, number, states[number], "")
        row[0].set_title(title, loc="left")
    return figure


def draw_arms(looked: Looked, arms: Sequence[tuple[int, str]], states: Tensor) -> Figure:
    """Torso and one arm of some people: what was answered above, and where they are below."""
    figure, axes = plt.subplots(2, len(arms), figsize=(2.2 * len(arms), 4.7), squeeze=False)
    names, lengths = names_of(looked), looked.model.lengths.tolist()
    for column, (number, side) in zip(axes.T, arms, strict=True):
        chosen = [names.index(name) for name in ("torso", f"{side} upper arm", f"{side} forearm")]
        for ax, one in zip(column, (states[number], looked.truth[0][number]), strict=True):
            show.draw_image(ax, backdrop(looked.batch.images[number]), dim=0.15)
            parts = drawable(one, looked.grid)
            draw_body(ax, [parts[p] for p in chosen], [names[p] for p in chosen], [lengths[p] for p in chosen])
    axes[0, 0].set_title("best arrangement", loc="left")
    axes[1, 0].set_title("the truth", loc="left")
    return figure


# --- messages ---------------------------------------------------------------------------------------------------------


def brightest(scores: Tensor, share: float = 0.3) -> Tensor:
    """Log scores (S, R, H, W) as a map (H, W): 1 at the best place, 0 for all but this share of the places."""
    best = scores.amax((0, 1))
    low = best.flatten().quantile(1 - share)
    return ((best - low) / (best.max() - low)).clamp(min=0)


def draw_message(looked: Looked, number: int, best: tree.Best, rest: Any, step: int) -> Figure:
    """One message on its way to the root; after the last one the root decides, and then everybody.

    `rest`: springs to draw the little body with. step from 1 to P + 1.
    """
    parents, names, image = looked.parents, names_of(looked), backdrop(looked.batch.images[number])
    order = tree.order(parents)
    unaries, messages = looked.beliefs.unaries[number], best.messages[0]
    part = order[min(step, len(order)) - 1]
    heard = [child for child in order if parents[child] == part]
    belief = unaries[part] + sum(messages[child] for child in heard)
    figure, axes = plt.subplots(1, 4, figsize=(style.PAGE, 2.75), width_ratios=(0.62, 1, 1, 1))
    _draw_way(axes[0], looked, rest, order, min(step, len(order)) - 1)
    name = names[part]
    show.overlay_map(axes[1], image, brightest(unaries[part]), title=f"{name}: its template")
    show.overlay_map(axes[2], image, brightest(belief), title=f"with {_heard(heard, names)}")
    if parents[part] >= 0:
        words = f"told to the {names[parents[part]]}"
        show.overlay_map(axes[3], image, brightest(messages[part]), title=words)
    else:
        chosen = [part] if step == len(order) else list(range(len(order)))
        show.draw_image(
            axes[3], image, "the root decides" if len(chosen) == 1 else "and everybody else follows", dim=0.3
        )
        states = drawable(best.states[0], looked.grid)
        lengths = looked.model.lengths.tolist()
        draw_body(axes[3], [states[p] for p in chosen], [names[p] for p in chosen], [lengths[p] for p in chosen])
    return figure


def _heard(children: Sequence[int], names: Sequence[str]) -> str:
    return "no message: it is a leaf" if not children else f"{len(children)} message{'s' * (len(children) > 1)} added"


def _draw_way(ax: Axes, looked: Looked, rest: Any, order: Sequence[int], current: int) -> None:
    """The body at rest: who has spoken (coloured), who speaks (red frame and arrow), who waits (grey)."""
    parents, names, lengths = looked.parents, names_of(looked), looked.model.lengths.tolist()
    parts = arranged(list(parents), rest, (0.0, 0.0, -math.pi / 2, 1.0))
    apart = [(1.25 * x, 1.25 * y, angle, scale) for x, y, angle, scale in parts]
    for place, p in enumerate(order):
        look = {"facecolor": part_colour(names[p]) if place <= current else style.PAPER}
        look |= {"edgecolor": style.VERMILION if place == current else style.GREY, "alpha": 0.75}
        draw_part(ax, apart[p], lengths[p], thickness(names[p]), part_colour(names[p]), **look)
    part = order[current]
    if parents[part] >= 0:
        ends = apart[part][:2], apart[parents[part]][:2]
        ax.annotate("", ends[1], ends[0], arrowprops={"arrowstyle": "-|>", "color": style.VERMILION, "linewidth": 2})
    ax.set(xlim=(-30, 30), ylim=(78, -48), aspect="equal", title=f"{current + 1} of {len(order)}")
    ax.axis("off")


# --- what parts look like ---------------------------------------------------------------------------------------------


def draw_cells(image: Tensor, bins: int, stride: int = 4) -> Figure:
    """The round cells of oriented gradients of a picture: of each its strongest edge as a stroke."""
    cells = gradients.features(image[None], bins, stride)[0]
    figure, ax = plt.subplots(figsize=(3.9, 3.9))
    show.draw_image(ax, torch.ones_like(image), "the strongest edge of every cell")
    rows, columns = torch.meshgrid(*(torch.arange(n) for n in cells.shape[1:]), indexing="ij")
    places = (torch.stack([columns, rows], -1).reshape(-1, 2) + 0.5) * stride
    flat = cells.flatten(1)
    strongest = (flat - 1.15 * flat.mean()).clamp(min=0) * (flat == flat.amax(0))
    draw_strokes(ax, places, strongest, 0.55 * stride, most=0.8 * float(strongest.max()))
    return figure


def draw_strokes(ax: Axes, places: Tensor, weights: Tensor, half: float, most: float) -> None:
    """For every place (N, 2) a stroke along each edge direction, as dark as its weight (bins, N) is large."""
    bins = len(weights)
    lines, shades = [], []
    for b in range(bins):
        along = b * math.pi / bins + math.pi / 2  # an edge runs across its gradient
        way = half * np.array([math.cos(along), math.sin(along)])
        for place, weight in zip(places.numpy(), weights[b].tolist(), strict=True):
            if weight > 0.08 * most:
                lines.append((place - way, place + way))
                shades.append((0.13, 0.13, 0.13, min(1.0, weight / most)))
    ax.add_collection(LineCollection(lines, colors=shades, linewidths=1.5, capstyle="round"))


def draw_templates(model: Any, chosen: Sequence[str]) -> Figure:
    """Templates as strokes, upright: the part's first end is at the top."""
    figure, axes = plt.subplots(1, len(chosen), figsize=(style.PAGE, 3.1))
    for ax, name in zip(axes, chosen, strict=True):
        p = model.parts.names.index(name)
        places = gradients.lattice(model.extent[p : p + 1], CELLS)[0]
        turned = torch.stack([-places[:, 1], places[:, 0]], -1)  # a quarter turn: along the part is down
        weights = model.templates[p].detach().roll(model.bins // 2, dims=0).clamp(min=0)
        draw_strokes(ax, turned, weights, 0.5 * float(model.extent[p, 0]) / CELLS[0], most=float(weights.max()))
        length, colour = float(model.lengths[p]), part_colour(name)
        draw_part(ax, (0, 0, math.pi / 2, 1.0), length, thickness(name), colour, alpha=0.22)
        reach = 0.55 * model.extent[p].tolist()[0]
        ax.set(xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal", title=name)
        ax.axis("off")
    return figure


def draw_clouds(clouds: Clouds, lengths: Sequence[float]) -> Figure:
    """Where a joint lies in the frames of parts, drawn upright, with the mean."""
    figure, axes = plt.subplots(1, len(clouds.points), figsize=(style.PAGE, 3.3))
    for ax, (title, points) in zip(axes, clouds.points.items(), strict=True):
        part, name = clouds.owners[title]
        length, width = lengths[part], thickness(name)
        down = 1 if name == "torso" else -1  # a torso's first end is at the hips, a limb's at the torso
        draw_part(ax, (0, 0, -down * math.pi / 2, 1.0), length, width, part_colour(name), alpha=0.3)
        upright = down * np.stack([points[:, 1].numpy(), -points[:, 0].numpy()], -1)
        ax.plot(*upright.T, ".", color=style.INK, markersize=3, alpha=0.5)
        ax.plot(*upright.mean(0), "X", color=style.VERMILION, markersize=11, markeredgecolor=style.PAPER)
        reach = 1.1 * max(length / 2, float(np.quantile(np.abs(upright), 0.99)))
        ax.set(xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal", title=title, xlabel="pixels")
    return figure


def draw_rest(ax: Axes, model: Any, title: str) -> None:
    """A body whose springs are at rest, with their play."""
    draw_learned(ax, model.parts.names, model.parts.parents, model.springs, model.lengths.tolist())
    ax.set(xlim=(-34, 34), ylim=(64, -42), aspect="equal", title=title)
    ax.axis("off")


# --- beliefs ----------------------------------------------------------------------------------------------------------


def draw_beliefs(looked: Looked, number: int, chosen: Sequence[str]) -> Figure:
    """Some parts, by their templates alone and with everything the other parts know."""
    image, marginals = backdrop(looked.batch.images[number]), looked.marginals(number)
    figure, axes = plt.subplots(2, len(chosen), figsize=(2.3 * len(chosen), 4.9))
    for column, name in enumerate(chosen):
        p = names_of(looked).index(name)
        true = looked.truth[0][number, p]
        for ax, told, title in zip(
            axes[:, column],
            (place_map(looked.beliefs.unaries[number, p]), marginals[p].sum((0, 1))),
            (f"{name}, alone", f"{name}, marginal"),
            strict=True,
        ):
            show.overlay_map(ax, image, told, title=title)
            x, y, *_ = drawable(true[None], looked.grid)[0]
            ax.plot(x, y, "+", color=style.GREEN, markersize=11, markeredgewidth=2.4)
    return figure


def sticks(looked: Looked, states: Tensor) -> np.ndarray:
    """Both ends of every part's stick: (..., P, 2, 2) for states (..., P, 4)."""
    centre = (states[..., [3, 2]] + 0.5) * looked.grid.stride
    angle = states[..., 1] * (2 * math.pi / looked.grid.rotations)
    half = looked.model.lengths * torch.tensor(looked.grid.scales)[states[..., 0]] / 2
    way = torch.stack([angle.cos(), angle.sin()], -1) * half[..., None]
    return torch.stack([centre - way, centre + way], -2).numpy()


def draw_sticks(ax: Axes, looked: Looked, states: Tensor, width: float = 3.0, alpha: float = 1.0) -> None:
    """Arrangements (..., P, 4) as sticks in the colours of their parts."""
    ends = sticks(looked, states).reshape(-1, len(names_of(looked)), 2, 2)
    for p, name in enumerate(names_of(looked)):
        if alpha > 0.5:
            halo = LineCollection(ends[:, p], colors=style.PAPER, linewidths=width + 1.6, capstyle="round", zorder=4)
            ax.add_collection(halo)
        look = {"colors": part_colour(name), "linewidths": width, "alpha": alpha, "capstyle": "round", "zorder": 5}
        ax.add_collection(LineCollection(ends[:, p], **look))


def draw_cloud(looked: Looked, number: int, samples: Tensor) -> Figure:
    """The best arrangement, every part's most probable state, and a cloud of samples."""
    image = backdrop(looked.batch.images[number])
    figure, axes = plt.subplots(1, 3, figsize=(7.8, 2.9))
    titles = ("best arrangement (MAP)", "each part's most probable state", f"{len(samples)} samples")
    for ax, title in zip(axes, titles, strict=True):
        show.draw_image(ax, image, title, dim=0.35)
    draw_sticks(axes[0], looked, looked.best[number])
    draw_sticks(axes[1], looked, looked.probable[number])
    draw_sticks(axes[2], looked, samples, width=1.6, alpha=min(1.0, 10 / len(samples)))
    return figure


def draw_factors(stored: dict[str, Any]) -> Figure:
    """PCP by how many times their fitted weight the predictions are believed; from the study."""
    found = {float(factor): 100 * value for factor, value in stored["pcp"].items()}
    figure, ax = plt.subplots(figsize=(5.6, 2.5))
    ax.plot(range(len(found)), list(found.values()), "o-", color=style.BLUE)
    ax.set(xticks=range(len(found)), xticklabels=[f"{factor:g}" for factor in found])
    low, high = min(found.values()), max(found.values())
    ax.set(ylim=(low - 2, high + 2), xlabel="times the fitted weight", ylabel="PCP, %")
    ax.set_title(f"{stored['people']} people, all three families")
    ax.grid(axis="y", alpha=0.4)
    return figure
