"""Lesson 08: candidates as pies, costs as edges, people as colours; what a pipeline and the program make of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch, Wedge

from course_lib.lessons.lesson_08_instances import TRUTH, Instance, Known, Stages
from course_lib.models.deepcut.program import SUPPRESSED
from course_lib.models.deepcut.solution import Solution
from course_lib.show import style

CLASS_COLOURS = (style.PINK, style.GREEN, style.ORANGE, style.VERMILION, style.BLUE)
PEOPLE_COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PINK, style.ORANGE, style.SKY, style.INK)
ATTRACT, REPEL = style.BLUE, style.VERMILION
WEAK = 0.3  # costs of less are not drawn: neither for nor against
SURE = 8.0  # costs of more get no number in a drawing

# --- nodes and edges --------------------------------------------------------------------------------------------------


def canvas(ax: Axes, places: np.ndarray, margin: float = 16.0) -> None:
    """Axes of pixels around some places, y down, without ticks."""
    low, high = places.min(0) - margin, places.max(0) + margin
    ax.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), xticks=[], yticks=[], aspect="equal")
    ax.spines[:].set_visible(False)
    ax.autoscale(False)


def pie(ax: Axes, place: np.ndarray, p: np.ndarray, colours: Sequence[str], radius: float) -> None:
    """How likely a candidate is which class: coloured shares, and white for none."""
    shares = p / max(1.0, p.sum())
    ax.add_patch(Circle(place, radius, facecolor="white", edgecolor="none", zorder=3))
    angle = -90.0
    for share, colour in zip(shares, colours, strict=True):
        ax.add_patch(Wedge(place, radius, angle, angle + 360 * share, facecolor=colour, edgecolor="none", zorder=3.1))
        angle += 360 * share
    ax.add_patch(Circle(place, radius, fill=False, edgecolor=style.INK, linewidth=0.8, zorder=3.2))


def node(ax: Axes, place: np.ndarray, text: str, colour: str, radius: float, size: float = 9.0) -> None:
    """A kept candidate with its class in letters."""
    ax.add_patch(Circle(place, radius, facecolor=colour, edgecolor=style.INK, linewidth=0.8, zorder=4))
    ax.text(*place, text, ha="center", va="center_baseline", color="white", fontsize=size, weight="bold", zorder=5)


def dropped(ax: Axes, place: np.ndarray, radius: float) -> None:
    """A candidate that is not kept."""
    ax.add_patch(Circle(place, radius, facecolor="white", edgecolor=style.GREY, linewidth=1.0, zorder=4))
    ax.plot(*place, "x", color=style.GREY, markersize=5, zorder=5)


def edge(ax: Axes, a: np.ndarray, b: np.ndarray, cost: float, number: bool, bend: float = 0.0) -> None:
    """The cost of two candidates being one person's: blue attracts, red repels, as wide as it is large."""
    if abs(cost) < WEAK:
        return
    colour = ATTRACT if cost < 0 else REPEL
    sure = abs(cost) > SURE
    curve = {"arrowstyle": "-", "color": colour, "linewidth": 0.5 if sure else 0.6 + 0.5 * abs(cost), "alpha": 0.7}
    curve |= {"connectionstyle": f"arc3,rad={bend}", "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", a, b, arrowprops=curve, zorder=1 if cost > 0 else 2)
    if number and not sure:
        middle = (a + b) / 2 + bend / 2 * np.array([-(a - b)[1], (a - b)[0]])
        box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
        ax.text(*middle, f"{cost:+.1f}", ha="center", va="center", color=colour, fontsize=8, bbox=box, zorder=2.5)


def pair_costs(instance: Instance, labels: np.ndarray | None = None) -> np.ndarray:
    """The pairwise costs (D, D) under each candidate's own class: the given one, or its likeliest."""
    chosen = instance.unary.argmax(1) if labels is None else np.where(labels < 0, instance.unary.argmax(1), labels)
    at = np.arange(len(chosen))
    return instance.program().pairwise[at[:, None], at, chosen[:, None], chosen]


def draw_costs(ax: Axes, instance: Instance, radius: float) -> None:
    """The problem: candidates as pies, their unary costs beside them, all pairwise costs as edges."""
    costs, unary, places = pair_costs(instance), instance.program().unary, shown(instance)
    for d in range(len(costs)):
        for e in range(d):
            edge(ax, places[d], places[e], costs[d, e], True, 0.25 if _level(places[d], places[e]) else 0.0)
    for d, place in enumerate(places):
        pie(ax, place, instance.unary[d], CLASS_COLOURS[: len(instance.classes)], radius)
        c = int(instance.unary[d].argmax())
        high = place[1] < -20
        side = -1 if place[0] < places[:, 0].mean() else 1
        words = f"{d}: {instance.classes[c]} {unary[d, c]:+.1f}"
        where = (place[0], place[1] - 1.9 * radius) if high else (place[0] + 1.5 * side * radius, place[1])
        ax.text(*where, words, ha="center" if high else "right" if side < 0 else "left", va="center", fontsize=8.5)


def shown(instance: Instance) -> np.ndarray:
    """Where candidates are drawn."""
    return instance.places if instance.drawn is None else instance.drawn


def _level(a: np.ndarray, b: np.ndarray) -> bool:
    """Two that stand side by side, whose line could run through a third."""
    return abs(a[1] - b[1]) < 6 and abs(a[0] - b[0]) > 60


def draw_people(ax: Axes, instance: Instance, labels: np.ndarray, people: np.ndarray, radius: float) -> None:
    """An answer: every person a colour, lines between all who belong together, crosses for the suppressed."""
    places = shown(instance)
    for d in range(len(labels)):
        for e in range(d):
            if people[d] == people[e] != SUPPRESSED:
                line(ax, places[d], places[e], PEOPLE_COLOURS[people[d] % len(PEOPLE_COLOURS)])
    for d, place in enumerate(places):
        if people[d] == SUPPRESSED:
            dropped(ax, place, 0.8 * radius)
        else:
            colour = PEOPLE_COLOURS[people[d] % len(PEOPLE_COLOURS)]
            node(ax, place, instance.classes[labels[d]][0].upper(), colour, radius)
        ax.text(place[0] + 0.8 * radius, place[1] + 1.7 * radius, f"{d}", fontsize=8, color=style.GREY, zorder=6)


def line(ax: Axes, a: np.ndarray, b: np.ndarray, colour: str) -> None:
    """Two who belong together."""
    curve = {"arrowstyle": "-", "color": colour, "linewidth": 2.4, "alpha": 0.6, "shrinkA": 0, "shrinkB": 0}
    bend = 0.25 if _level(a, b) else 0.0
    ax.annotate("", a, b, arrowprops=curve | {"connectionstyle": f"arc3,rad={bend}"}, zorder=1)


def key_of_edges() -> list[Line2D]:
    """The key to the colours of costs."""
    attract = Line2D([], [], color=ATTRACT, linewidth=3, label="attract: cost below 0")
    return [attract, Line2D([], [], color=REPEL, linewidth=3, label="repel: cost above 0")]


def key_of_classes(classes: Sequence[str]) -> list[Patch]:
    """The key to the pies."""
    return [Patch(color=colour, label=name) for colour, name in zip(CLASS_COLOURS, classes, strict=False)]


# --- a pipeline, and the program --------------------------------------------------------------------------------------


def draw_decisions(known: Known, steps: Stages, solution: Solution) -> Figure:
    """Candidates; what a pipeline keeps; whom it joins; what the program answers. Red rings: lost or wrong."""
    instance = known.instance
    figure, axes = plt.subplots(2, 2, figsize=(style.PAGE, 7.0))
    titles = ("the candidates, with their pies", "pipeline: a class each, then suppression")
    titles += ("pipeline: then the limbs, greedily", "the program: everything at once")
    for ax, title in zip(axes.flat, titles, strict=True):
        canvas(ax, instance.places, 14)
        ax.set_title(title)
        for person in TRUTH:
            for a, b in instance.limbs:
                ax.plot(*person[[a, b]].T, color="#DDDDDD", linewidth=7, solid_capstyle="round", zorder=0)
    for d, place in enumerate(instance.places):
        pie(axes[0, 0], place, instance.unary[d], CLASS_COLOURS, 4.2)
        away = instance.places - place
        crowded = ((away[:, 0] > 0) & (away[:, 0] < 16) & (abs(away[:, 1] + 5) < 8)).any()  # up and to the right
        axes[0, 0].text(place[0] + (-10 if crowded else 5), place[1] + (10 if crowded else -5), f"{d}", fontsize=8)
        _kept(axes[0, 1], instance, d, int(steps.kept[d]))
    axes[0, 0].legend(handles=key_of_classes(instance.classes), loc="lower center", fontsize=8.5, ncols=5)
    axes[0, 0].get_legend().set_bbox_to_anchor((0.5, -0.06))
    answers = ((axes[1, 0], steps.kept, steps.people), (axes[1, 1], solution.labels, solution.people))
    for ax, labels, people in answers:
        for a, b in instance.limbs:
            for d, e in np.argwhere((labels[:, None] == a) & (labels == b)):
                if people[d] == people[e] != SUPPRESSED:
                    ax.plot(*instance.places[[d, e]].T, color=PEOPLE_COLOURS[people[d]], linewidth=3.5, zorder=1)
        for d, place in enumerate(instance.places):
            if people[d] == SUPPRESSED:
                dropped(ax, place, 3.4)
            else:
                node(ax, place, _letter(instance, int(labels[d])), PEOPLE_COLOURS[people[d]], 4.2)
            truth = (known.labels[d], known.people[d] != SUPPRESSED)
            if truth != (labels[d] if people[d] != SUPPRESSED else SUPPRESSED, _in_a_body(people, d)):
                ax.add_patch(Circle(place, 8, fill=False, edgecolor="red", linewidth=1.8, zorder=6))
    return figure


def _in_a_body(people: np.ndarray, d: int) -> bool:
    return people[d] != SUPPRESSED and int((people == people[d]).sum()) > 1


def _kept(ax: Axes, instance: Instance, d: int, label: int) -> None:
    if label == SUPPRESSED:
        dropped(ax, instance.places[d], 3.4)
    else:
        node(ax, instance.places[d], _letter(instance, label), CLASS_COLOURS[label], 4.2)


def _letter(instance: Instance, label: int) -> str:
    """Head and hip begin alike."""
    name = instance.classes[label]
    return "Hi" if name == "hip" else name[0].upper()


# --- the program, a row removed, a slider moved -----------------------------------------------------------------------


def draw_two(instance: Instance, solution: Solution, title: str = "") -> Figure:
    """The costs, and the answer beside them."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 2.9))
    _room(figure)
    for ax in (left, right):
        canvas(ax, np.concatenate([shown(instance), [[-46, -44], [222, 66]]]), 4)
    draw_costs(left, instance, 6.0)
    draw_people(right, instance, solution.labels, solution.people, 7.0)
    left.set_title("pies, unary costs, pairwise costs")
    right.set_title(title or f"the optimum: {solution.objective:.4f}")
    figure.legend(handles=[*key_of_classes(instance.classes), *key_of_edges()], loc="outside lower center", ncols=4)
    return figure


def _room(figure: Figure) -> None:
    """Space for titles above axes whose shape is fixed, which the layout does not leave by itself."""
    figure.get_layout_engine().set(h_pad=0.2)


def draw_broken(instance: Instance, answer: Any, title: str, words: Sequence[str]) -> Figure:
    """An answer without some rows: every class that x gives, every friendship that y says.

    Red is nonsense: several classes, a suppressed friend, and dashed, a friend's friend who is no friend.
    """
    figure, (ax, side) = plt.subplots(1, 2, figsize=(style.PAGE, 3.2), width_ratios=(1.3, 1))
    _room(figure)
    places = shown(instance)
    canvas(ax, places, 14)
    x, y = answer.x > 0.5, answer.y > 0.5
    for d, e in np.argwhere(np.tri(len(x), k=-1) > 0):
        if y[d, e]:
            line(ax, places[d], places[e], style.BLUE if x[d].any() and x[e].any() else style.VERMILION)
        elif (y[d] & y[e]).any():
            ax.plot(*places[[d, e]].T, color=style.VERMILION, linewidth=1.6, linestyle=(0, (2, 2)), zorder=1)
    for d, place in enumerate(places):
        letters = "".join(instance.classes[c][0].upper() for c in np.flatnonzero(x[d]))
        if letters:
            node(ax, place, letters, style.VERMILION if len(letters) > 1 else style.INK, 7.0)
        else:
            dropped(ax, place, 5.5)
        ax.text(place[0] + 6, place[1] + 12, f"{d}", fontsize=8, color=style.GREY, zorder=6)
    ax.set_title(title)
    side.axis("off")
    side.text(0, 0.92, "\n".join(words), va="top", fontsize=10, linespacing=1.6)
    return figure


def draw_cost_curve() -> Figure:
    """From a probability to its cost."""
    figure, ax = plt.subplots(figsize=(6.4, 3.0))
    p = np.linspace(1e-4, 1 - 1e-4, 2000)
    cost = np.log((1 - p) / p)
    ax.plot(p[cost > 0], cost[cost > 0], color=REPEL)
    ax.plot(p[cost <= 0], cost[cost <= 0], color=ATTRACT)
    ax.axhline(0, color=style.GREY, linewidth=0.8)
    ax.axvline(0.5, color=style.GREY, linewidth=0.8, linestyle="--")
    for value in (0.1, 0.4, 0.6, 0.9):
        ax.plot(value, np.log((1 - value) / value), "o", color=style.INK)
        right = value in (0.1, 0.6)  # of the point, above; else to its left, below
        words, where = f"p = {value}: {np.log((1 - value) / value):+.2f}", (value, np.log((1 - value) / value))
        away = {"xytext": (6, 9) if right else (-6, -11), "textcoords": "offset points", "va": "center"}
        ax.annotate(words, where, **away, ha="left" if right else "right", fontsize=9)
    ax.set(xlabel="probability p", ylabel="cost log (1 - p) / p", xlim=(0, 1), ylim=(-9.5, 9.5))
    ax.text(0.2, 6.5, "a price", color=REPEL, ha="center")
    ax.text(0.8, -6.5, "a reward", color=ATTRACT, ha="center")
    return figure


def draw_smallest(options: dict[str, float]) -> Figure:
    """What each of a few labellings costs; the cheapest in blue."""
    figure, ax = plt.subplots(figsize=(6.4, 2.4))
    names, values = list(options), np.array(list(options.values()))
    best = values.argmin()
    colours = [ATTRACT if n == best else "#BBBBBB" for n in range(len(values))]
    ax.barh(range(len(values)), values, color=colours, height=0.6)
    ax.axvline(0, color=style.INK, linewidth=0.8)
    for n, value in enumerate(values):
        ax.text(value + (0.1 if value >= 0 else -0.1), n, f"{value:+.2f}", va="center", fontsize=9,
                ha="left" if value >= 0 else "right", weight="bold" if n == best else "normal")  # fmt: skip
    ax.set(yticks=range(len(values)), yticklabels=names, xlim=(-9.5, 9.5), ylim=(len(values) - 0.4, -0.6))
    ax.set_xlabel("cost (the least wins)")
    return figure
