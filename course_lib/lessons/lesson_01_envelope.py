"""The lower envelope of parabolas in one dimension, slowly: every step kept, to be looked at under a slider.

The library's own, for many lines at once, is `models.pictorial.transform.lower_envelope`; the figures are here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib.lessons.lesson_01_growth import Growth
from course_lib.show import style


class Step(NamedTuple):
    """What one new parabola does to those that were kept before it."""

    place: int  # where the new parabola is rooted
    sent_away: tuple[int, ...]  # kept before, and nowhere lowest any more
    kept: tuple[int, ...]  # kept now, from left to right
    starts: tuple[float, ...]  # from where on each of them is the lowest


def crossing(costs: Sequence[float], weight: float, p: int, q: int) -> float:
    """Where the parabolas rooted at p < q meet: left of it p is lower, right of it q."""
    return ((costs[q] + weight * q * q) - (costs[p] + weight * p * p)) / (2 * weight * (q - p))


def trace(costs: Sequence[float], weight: float) -> list[Step]:
    """The sweep from left to right, one step a position."""
    kept, starts = [0], [-math.inf]
    steps = [Step(0, (), (0,), (-math.inf,))]
    for q in range(1, len(costs)):
        sent_away = []
        s = crossing(costs, weight, kept[-1], q)
        while s <= starts[-1]:
            sent_away.append(kept.pop())
            starts.pop()
            s = crossing(costs, weight, kept[-1], q)
        kept.append(q)
        starts.append(s)
        steps.append(Step(q, tuple(sent_away), tuple(kept), tuple(starts)))
    return steps


def read(costs: Sequence[float], weight: float, step: Step) -> list[float]:
    """The envelope's height at 0, 1, ... len(costs) - 1."""
    owners = np.searchsorted(step.starts, np.arange(len(costs)), side="left").clip(min=1) - 1
    return [weight * (x - step.kept[k]) ** 2 + costs[step.kept[k]] for x, k in enumerate(owners)]


# --- figures ----------------------------------------------------------------------------------------------------------


def draw_step(costs: Sequence[float], weight: float, number: int) -> Figure:
    """The envelope after `number` positions; 0 shows the costs alone, one beyond the last shows the answer."""
    steps = trace(costs, weight)
    step = steps[min(max(number, 1), len(costs)) - 1]
    figure, ax = plt.subplots(figsize=(8.4, 4.1))
    top = 1.25 * max(costs)
    x = np.linspace(-0.7, len(costs) - 0.3, 400)
    if number == 0:
        words = "the costs f(y)"
    else:
        for place in step.sent_away:
            ax.plot(x, _parabola(costs, weight, place, x), color=style.VERMILION, linewidth=1.1, linestyle=(0, (4, 3)))
        for place in step.kept:
            ax.plot(x, _parabola(costs, weight, place, x), color=style.SKY, linewidth=0.9)
        if step.place not in (0,) and number <= len(costs):
            ax.plot(x, _parabola(costs, weight, step.place, x), color=style.ORANGE, linewidth=1.8)
        _draw_envelope(ax, costs, weight, step, x)
        words = _told(step, number, len(costs))
    seen = step.place if number else -1
    for place, cost in enumerate(costs):
        colour = style.VERMILION if place in step.sent_away else style.INK if place <= seen else style.GREY
        ax.plot([place, place], [0, cost], color=colour, linewidth=1.0, alpha=0.5)
        ground = colour if place <= seen else style.PAPER
        ax.plot(place, cost, "o", color=colour, markersize=6, markerfacecolor=ground, zorder=4)
    if number > len(costs):
        answer = read(costs, weight, step)
        ax.plot(range(len(costs)), answer, "D", color=style.GREEN, markersize=6.5, zorder=5, label="D(x), the answer")
        ax.legend(loc="upper right")
    ax.set(xlim=(-0.7, len(costs) - 0.3), ylim=(0, top), xticks=range(len(costs)), xlabel="position", ylabel="cost")
    ax.set_title(words, loc="left")
    return figure


def _parabola(costs: Sequence[float], weight: float, place: int, x: np.ndarray) -> np.ndarray:
    return weight * (x - place) ** 2 + costs[place]


def _draw_envelope(ax: Axes, costs: Sequence[float], weight: float, step: Step, x: np.ndarray) -> None:
    heights = np.min([_parabola(costs, weight, place, x) for place in step.kept], axis=0)
    ax.plot(x, heights, color=style.BLUE, linewidth=2.8, zorder=3)
    for place, start in zip(step.kept[1:], step.starts[1:], strict=True):
        if x[0] < start < x[-1]:
            height = weight * (start - place) ** 2 + costs[place]
            ax.plot([start, start], [0, height], color=style.BLUE, linewidth=1, linestyle=":")
            ax.plot(start, height, "o", color=style.PAPER, markeredgecolor=style.BLUE, markersize=4.5, zorder=4)


def _told(step: Step, number: int, count: int) -> str:
    if number > count:
        return f"read from left to right: {len(step.kept)} of {count} parabolas are somewhere lowest"
    if number == 1:
        return "position 0: the first parabola is the lowest everywhere"
    kept = f"kept: {', '.join(map(str, step.kept))}"
    if not step.sent_away:
        return f"position {step.place}: nobody leaves  ({kept})"
    return f"position {step.place}: {', '.join(map(str, step.sent_away))} sent away  ({kept})"


def draw_growth(grown: Growth) -> Figure:
    """Seconds by length of a line, both axes logarithmic, by the definition and by the lower envelope."""
    figure, ax = plt.subplots(figsize=(6.6, 3.5))
    for (name, seconds), colour in zip(grown.seconds.items(), (style.VERMILION, style.BLUE), strict=True):
        words = f"{name}: grows as N to the {grown.exponents[name]:.1f}"
        ax.loglog(grown.sizes, 1000 * np.array(seconds), "o-", color=colour, label=words)
    ax.set(xticks=grown.sizes, xticklabels=grown.sizes, xlabel="N, positions of a line", ylabel="milliseconds")
    ax.minorticks_off()
    ax.grid(alpha=0.4)
    ax.legend(loc="upper left")
    return figure
