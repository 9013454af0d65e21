"""Lesson 14's look at the leaderboard: scores against years, against what an image costs, and against training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib.course.leaderboard import Board, Row
from course_lib.show import style

SCORE = "pck@0.2"
GAP = 0.034  # of the score: the least distance between two names
_COLOURS = {True: style.BLUE, False: style.VERMILION}
_WORDS = {True: "told whom to look at", False: "finds everybody, the surest counts"}


def draw(table: Board) -> Figure:
    """PCK@0.2 on drawn people by the year of the paper, by the time of an answer, and by what was shown in training."""
    rows = [row for row in table.rows if row.values[SCORE] is not None]
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 4.4), sharey=True, width_ratios=(1.7, 1, 1))
    years, times, shown = axes
    for row in rows:
        years.plot(row.year, row.values[SCORE], "o", color=_COLOURS[row.told])
    _names(years, rows)
    _numbered(times, rows, "milliseconds")
    _numbered(shown, rows, "pictures")
    years.set(xlim=(2008.5, 2022), xlabel="year of the paper", ylabel="PCK@0.2 on drawn people", ylim=(0, 0.8))
    years.set_xticks(range(2009, 2020, 2))
    times.set(xlim=(7, 500), xlabel="ms an image, one thread")
    times.set_xticks([10, 30, 100, 300], ["10", "30", "100", "300"])
    shown.set(xlim=(1, 4000), xlabel="pictures shown in training")
    shown.set_xticks([1, 10, 100, 1000], ["1 k", "10 k", "100 k", "1 M"])
    for ax, title in zip(axes, ("when the idea came", "what an answer costs", "how long it learned"), strict=True):
        ax.set_title(title)
        ax.grid(alpha=0.3)
        ax.minorticks_off()
    for told, words in _WORDS.items():
        years.plot([], [], "o", color=_COLOURS[told], label=words)
    years.legend(loc="upper left", fontsize=8)
    return figure


def _numbered(ax: Axes, rows: Sequence[Row], column: str) -> None:
    """The systems against a column on a logarithmic axis, each with the number of its lesson."""
    known = [row for row in rows if row.values[column] is not None]
    ax.set_xscale("log")
    for row, height in zip(known, spread([row.values[SCORE] for row in known], 0.03), strict=True):
        ax.plot(row.values[column], row.values[SCORE], "o", color=_COLOURS[row.told])
        ax.annotate(
            row.lesson, (row.values[column], height), (6, 0), textcoords="offset points", fontsize=8, va="center"
        )


def spread(values: Sequence[float], gap: float = GAP) -> list[float]:
    """Places at least `gap` apart, in the order of the values and near them."""
    order = sorted(range(len(values)), key=values.__getitem__)
    places = dict(zip(order, (values[k] for k in order), strict=True))
    for _ in range(100):  # neighbours that are too near push each other away until none are
        for low, high in pairwise(order):
            short = gap - (places[high] - places[low])
            if short > 1e-9:
                places[low] -= short / 2
                places[high] += short / 2
    return [places[k] for k in range(len(values))]


def best(table: Board, column: str) -> Row:
    """The system with the highest score in a column."""
    return max((row for row in table.rows if row.values[column] is not None), key=lambda row: row.values[column])


def _names(ax: Axes, rows: Sequence[Row]) -> None:
    """Every system's lesson and name right of its point, not over each other."""
    for row, height in zip(rows, spread([row.values[SCORE] for row in rows]), strict=True):
        at, label = (row.year, row.values[SCORE]), (row.year + 0.25, height)
        short = row.name.replace("Convolutional pose machine", "CPM").replace("Iterative error feedback", "IEF")
        line = {"arrowstyle": "-", "color": style.GREY, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
        text = f"{row.lesson} {short}"
        ax.annotate(text, at, label, fontsize=8, va="center", color=_COLOURS[row.told], arrowprops=line)
