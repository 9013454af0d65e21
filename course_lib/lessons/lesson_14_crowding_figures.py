"""The figures of lesson 14's second question: which approach for how many people."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from course_lib import metrics, show
from course_lib.lessons import lesson_14_crowding as study
from course_lib.lessons import lesson_14_crowding_scores as scores
from course_lib.pose import Scene
from course_lib.show import style

# colours are those of `crowd_line`: the hourglass black, the others in the order of the lessons
_COLOURS = (style.INK, style.INK, *style.CYCLE)
COLOURS = dict(zip(study.SYSTEMS, _COLOURS, strict=False))
MARKERS = {study.TOLD: "o", study.TOP_DOWN: "o", study.BOTTOM_UP: "s"}
FLAT = 190.0  # ms: what the second panel of the fits shows
FARTHEST = 16.0  # people: a little beyond those that were measured


def look(name: str) -> dict[str, Any]:
    """A system's colour and marker; who is told the boxes is hollow and dashed."""
    family = study.SYSTEMS[name].family
    told = {"linestyle": "--", "markerfacecolor": style.PAPER} if family == study.TOLD else {}
    return {"color": COLOURS[name], "marker": MARKERS[family], "markersize": 4.5, **told}


def title(name: str) -> str:
    """A system's title without its lesson's number, and its family."""
    system = study.SYSTEMS[name]
    return system.title[3:] + (" (bottom-up)" if system.family == study.BOTTOM_UP else "")


def names(stored: Mapping[str, Any]) -> list[str]:
    """The systems that the study is about."""
    return list(stored["summary"]["ap"])


def _legend(figure: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8.5)


def _with_intervals(ax: Axes, stored: Mapping[str, Any], groups: Sequence[str], at: np.ndarray, width: float) -> None:
    """A line with intervals for every system, side by side so that none hides another."""
    shown = names(stored)
    for place, name in enumerate(shown):
        rows = np.array([stored["summary"]["ap"][name][group] for group in groups])
        x = at + width * (place / (len(shown) - 1) - 0.5)
        ax.vlines(x, rows[:, 1], rows[:, 2], color=COLOURS[name], linewidth=1.6, alpha=0.45)
        ax.plot(x, rows[:, 0], label=title(name), linewidth=1.3, **look(name) | {"markersize": 4})
    ax.set(ylim=(0, None), ylabel="OKS-AP")
    ax.grid(axis="y", alpha=0.4)


def draw_everything(stored: Mapping[str, Any]) -> Figure:
    """Milliseconds and AP of every system against the number of people in the picture."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 4.6))
    numbers = stored["numbers"]
    for name in names(stored):
        middle = np.median(scores.milliseconds(stored, name), axis=0)
        left.plot(numbers, middle, label=title(name), **look(name))
    left.set(xlabel="people in the picture", title="Time: ms a picture, one core", yscale="log", xticks=numbers)
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_locator(NullLocator())
    left.grid(axis="y", alpha=0.4)
    pairs = [group for group, (kind, _) in scores.groups(stored).items() if kind == "number"]
    at = np.arange(len(pairs), dtype=float)
    _with_intervals(right, stored, pairs, at, 0.62)
    right.set(xlabel="people in the picture", title="Accuracy: AP with 95 % intervals", xticks=at, xticklabels=pairs)
    _legend(figure, left)
    return figure


def draw_fits(stored: Mapping[str, Any]) -> Figure:
    """The medians by number of people, the fitted laws, and below what is nearly flat, larger."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 4.4))
    numbers, fine = stored["numbers"], np.linspace(0, stored["numbers"][-1] + 0.5, 100)
    fits = {name: scores.law(stored, name) for name in names(stored)}
    for ax in axes:
        for name, law in fits.items():
            middle = np.median(scores.milliseconds(stored, name), axis=0)
            ax.plot(numbers, middle, label=title(name), **look(name) | {"linestyle": "none"})
            ax.plot(fine, law.at(fine), color=COLOURS[name], linestyle=look(name).get("linestyle", "-"), linewidth=1.3)
        ax.set(xlabel="people in the picture", xlim=(0, fine[-1]), xticks=[0, *numbers[1::2]])
        ax.grid(alpha=0.4)
    axes[0].set(title="ms a picture, and the fitted laws", ylim=(0, None))
    axes[1].set(title=f"the same below {FLAT:g} ms; rings: crossings", ylim=(0, FLAT))
    told = fits[study.HOURGLASS_TOLD].coefficients
    for name in ("paf_course", "deepcut_course", "mask_rcnn_course"):
        met = scores.crossing(told, fits[name].coefficients) if name in fits else math.inf
        if met <= fine[-1]:
            level = float(fits[name].at(met))
            axes[1].plot(met, level, "o", markersize=13, markerfacecolor="none", markeredgecolor=style.INK)
            axes[1].annotate(f"{met:.1f}", (met, level), (0, 10), textcoords="offset points", ha="center", fontsize=9)
    _legend(figure, axes[0])
    return figure


# --- a system of one's own --------------------------------------------------------------------------------------------


class Parts(NamedTuple):
    """What a top-down system is put together from, and what it is compared with; milliseconds, all measured."""

    batched: scores.Fit  # the hourglass, all boxes at once
    alone: scores.Fit  # the hourglass, one box after another
    detector: float  # the course's, in the median
    others: dict[str, scores.Fit]

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Parts:
        """The parts as the study measured them."""
        detector = scores.milliseconds(stored, study.HOURGLASS_DETECTED, "detector")
        bottom_up = [name for name in names(stored) if study.SYSTEMS[name].family == study.BOTTOM_UP]
        return cls(
            scores.law(stored, study.HOURGLASS_TOLD),
            scores.law(stored, study.HOURGLASS_TOLD, "alone"),
            float(np.median(detector)),
            {name: scores.law(stored, name) for name in bottom_up},
        )

    def top_down(self, detector: float, boxes: float, batched: bool) -> tuple[float, float]:
        """a and b of a + b n for a detector of so many milliseconds that gives so many boxes for a person."""
        start, slope = (self.batched if batched else self.alone).coefficients
        return detector + max(start, 0.0), slope * boxes


def draw_own(parts: Parts, detector: float, boxes: float, batched: bool, other: str) -> Figure:
    """A top-down system's line beside a bottom-up system's curve, and where they cross."""
    figure, ax = plt.subplots(figsize=(0.8 * style.PAGE, 3.7))
    n = np.linspace(0, FARTHEST, 101)
    own = parts.top_down(detector, boxes, batched)
    against = parts.others[other]
    met = scores.crossing(own, against.coefficients)
    ax.fill_between(n, 0, detector, color=style.SKY, alpha=0.35, linewidth=0, label="of it the detector")
    ax.plot(n, own[0] + own[1] * n, color=style.INK, label=f"top-down: {own[0]:.0f} + {own[1]:.1f} n ms")
    ax.plot(n, against.at(n), color=COLOURS[other], label=title(other))
    first = "top-down is slower from the first person on" if own[0] + own[1] > against.at(1) else "no crossing"
    inside = 1 <= met <= n[-1]
    if inside:
        level = own[0] + own[1] * met
        ax.plot(met, level, "o", markersize=12, markerfacecolor="none", markeredgecolor=style.VERMILION)
        ax.axvline(met, color=style.VERMILION, linewidth=1, linestyle=":")
    ax.set(
        xlim=(0, n[-1]),
        ylim=(0, max(250.0, 1.15 * float(against.at(12)))),
        xlabel="people in the picture",
        ylabel="ms a picture",
        title=f"equally slow at n* = {met:.1f} people" if inside else f"{first}, up to {n[-1]:.0f} people",
        xticks=range(0, int(FARTHEST) + 1, 2),
    )
    ax.grid(alpha=0.4)
    ax.legend(loc="upper left")
    return figure


# --- crowding ---------------------------------------------------------------------------------------------------------


def draw_pictures(scenes: Sequence[Scene]) -> Figure:
    """Pictures with everybody's box and joints in their own colour, and the ratio of every box."""
    figure, axes = plt.subplots(1, len(scenes), figsize=(6.8, 2.1))
    for ax, scene in zip(axes, scenes, strict=True):
        show.draw_image(ax, scene.image)
        ratios = metrics.crowd_ratios(scene.people)
        for person, ratio, colour in zip(scene.people, ratios, style.CYCLE, strict=False):
            labelled = person.visible > 0
            x0, y0, x1, y1 = person.box.tolist()
            ax.add_patch(plt.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.4))
            ax.plot(*person.joints[labelled].T, "o", markersize=3, color=colour, markeredgecolor="white", mew=0.3)
            words = "–" if ratio is None else f"{ratio:.1f}"
            at = {"facecolor": colour, "edgecolor": "none", "pad": 1.0}
            ax.text(x0, y0, words, color="white", fontsize=7.5, bbox=at, ha="left", va="bottom", clip_on=True)
        index = metrics.crowd_index(scene.people)
        ax.set_title(f"crowd index {index:.2f}: {metrics.crowd_level(index)}")
    return figure


def draw_index(stored: Mapping[str, Any]) -> Figure:
    """AP by crowd index among six people, and how far every system lies above the part affinity fields."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 4.6))
    edges = [*stored["edges"], math.inf]
    ranges = [scores.range_name(low, high) for low, high in itertools.pairwise(edges)]
    at = np.arange(len(ranges), dtype=float)
    _with_intervals(left, stored, ranges, at, 0.6)
    words = [name.replace(" to ", "–").replace(" and more", "+") for name in ranges]
    left.set(title="AP among six people, 95 % intervals", xlabel="crowd index", xticks=at, xticklabels=words)
    above = stored["summary"]["above"]
    levels = np.arange(len(metrics.CROWD_LEVELS), dtype=float)
    for place, (name, rows) in enumerate(above.items()):
        values = np.array([rows[level] for level in metrics.CROWD_LEVELS])
        x = levels + 0.6 * (place / (len(above) - 1) - 0.5)
        right.vlines(x, values[:, 1], values[:, 2], color=COLOURS[name], linewidth=1.8, alpha=0.45)
        right.plot(x, values[:, 0], **look(name) | {"linestyle": "none", "markersize": 5})
    right.axhline(0, color=COLOURS["paf_course"], linewidth=1.8)
    right.set(title="AP above part affinity fields, same pictures", xticks=levels, xticklabels=metrics.CROWD_LEVELS)
    right.grid(axis="y", alpha=0.4)
    _legend(figure, left)
    return figure
