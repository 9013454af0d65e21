"""Lesson 14's look at the leaderboard: scores against years and against what an image costs."""

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
    """PCK@0.2 on drawn people by the year of the paper, and by the time that an image takes the course's network."""
    rows = [row for row in table.rows if row.values[SCORE] is not None]
    figure, (years, times) = plt.subplots(1, 2, figsize=(style.PAGE, 4.6), sharey=True, width_ratios=(1.5, 1))
    for row in rows:
        years.plot(row.year, row.values[SCORE], "o", color=_COLOURS[row.told])
    timed = [row for row in rows if row.values["milliseconds"] is not None]
    for row, height in zip(timed, spread([row.values[SCORE] for row in timed], 0.03), strict=True):
        spent = row.values["milliseconds"]
        times.plot(spent, row.values[SCORE], "o", color=_COLOURS[row.told])
        times.text(1.08 * spent, height, row.lesson, fontsize=8, va="center")
    _names(years, rows)
    years.set(xlim=(2008.5, 2021), xlabel="year of the paper", ylabel="PCK@0.2 on drawn people", ylim=(0, 0.8))
    years.set_xticks(range(2009, 2020, 2))
    times.set(xscale="log", xlabel="ms an image, one thread", xlim=(8, 500))
    times.set_xticks([10, 30, 100, 300], ["10", "30", "100", "300"])
    times.minorticks_off()
    for ax, title in ((years, "The ideas came in this order"), (times, "What an answer costs here")):
        ax.set_title(title)
        ax.grid(alpha=0.3)
    for told, words in _WORDS.items():
        times.plot([], [], "o", color=_COLOURS[told], label=words)
    times.legend(loc="lower right", fontsize=8)
    return figure


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
