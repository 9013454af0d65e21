"""Lesson 08: how the program grows, how its solvers close in on the optimum, how people slow everything down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib.lessons import lesson_08_study as study
from course_lib.lessons.lesson_08_instances import counts
from course_lib.models.deepcut.solution import Solution
from course_lib.show import style

WAYS = {
    "naive": ("exact, naive products", style.VERMILION, "o-"),
    "tight, all triangles": ("exact, tight, all triangles", style.ORANGE, "s-"),
    "tight": ("exact, tight, triangles lazily", style.BLUE, "o-"),
    "stages": ("in three stages", style.PINK, "^-"),
    "local": ("local search", style.GREEN, "D-"),
}


def draw_rounds(solution: Solution) -> Figure:
    """Bound and best from round to round, and how many triangles each answer violated."""
    rounds = solution.rounds
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 2.9))
    at = np.arange(1, len(rounds) + 1)
    bounds, bests = (np.array([getattr(r, name) for r in rounds]) for name in ("bound", "objective"))
    left.fill_between(at, bounds, bests, color=style.SKY, alpha=0.3, label="what is not yet known")
    left.plot(at, bests, "o-", color=style.VERMILION, label="best labelling so far")
    left.plot(at, bounds, "o-", color=style.BLUE, label="proven bound")
    left.set(xlabel="round", ylabel="cost", xticks=at)
    left.legend()
    colours = [style.SKY if r.relaxed else style.INK for r in rounds]
    right.bar(at, [r.violated for r in rounds], color=colours, width=0.6)
    for n, r in zip(at, rounds, strict=True):
        right.text(n, r.violated, f"{r.violated}", ha="center", va="bottom", fontsize=9)
    right.set(xlabel="round", ylabel="violated triangles", xticks=at, ylim=(0, 1.15 * max(r.violated for r in rounds)))
    return figure


def draw_sizes(classes: int = 14, most: int = 200) -> Figure:
    """Variables and rows against the number of candidates, by the formulas."""
    figure, ax = plt.subplots(figsize=(6.6, 3.4))
    sizes = np.unique(np.geomspace(5, most, 40).astype(int))
    table = [counts(int(size), classes) for size in sizes]
    looks = {
        "naive rows": (style.VERMILION, "-"),
        "z": (style.INK, "-"),
        "tight rows": (style.BLUE, "-"),
        "triangle rows": (style.ORANGE, "--"),
        "y": (style.GREEN, ":"),
        "x": (style.GREY, ":"),
    }
    for name, (colour, dash) in looks.items():
        values = [row[name] for row in table]
        ax.plot(sizes, values, dash, color=colour)
        lifted = {"z": 1.5, "triangle rows": 0.7}.get(name, 1.0)  # two that end near each other
        ax.text(most * 1.04, lifted * values[-1], name, color=colour, va="center", fontsize=9)
    ax.set(xscale="log", yscale="log", xlabel="candidates |D|", ylabel=f"number, {classes} classes", xlim=(5, most))
    ax.grid(alpha=0.4)
    ax.set(xticks=[5, 10, 20, 50, 100, 200], xticklabels=["5", "10", "20", "50", "100", "200"])
    ax.minorticks_off()
    return figure


def draw_growth(result: Mapping[str, Any], live: Mapping[str, Mapping[int, float]] | None = None) -> Figure:
    """Seconds against the number of candidates, nothing pruned and pruned; hollow: stopped by the clock."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 3.9), sharey=True)
    titles = {"every class": "every candidate may be every joint", "pruned": f"classes below {result['prune']} pruned"}
    for ax, (kind, title) in zip(axes, titles.items(), strict=True):
        for way, (label, colour, look) in WAYS.items():
            found = study.curve(result, kind, way, "seconds")
            if not found:
                continue
            late = study.late(result, kind, way) if way in study.EXACT else set()
            ax.plot(list(found), list(found.values()), look, color=colour, label=label)
            stopped = [size for size in found if size in late]
            ax.plot(stopped, [found[s] for s in stopped], look[0], color=colour, markerfacecolor="white", zorder=3)
        for way, values in (live or {}).items():
            if kind == "pruned":
                ax.plot(list(values), list(values.values()), "x", color=WAYS[way][1], markersize=9, markeredgewidth=2)
        ax.axhline(result["limit"], color=style.GREY, linestyle="--", linewidth=1)
        ax.set(xscale="log", yscale="log", xlabel="candidates |D|, of 14 classes", title=title)
        sizes = sorted({row["candidates"] for row in result["runs"] if row["kind"] == kind and row["classes"] == 14})
        ax.set(xticks=sizes, xticklabels=[str(size) for size in sizes])
        ax.minorticks_off()
        ax.grid(alpha=0.4)
    axes[0].set_ylabel("seconds")
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def draw_clock(result: Mapping[str, Any]) -> Figure:
    """The naive form stopped sooner and later: what it has found, and what it has proven."""
    clock = result["against_the_clock"]
    limits = [row["limit"] for row in clock["stopped"]]
    bests, bounds = ([row[name] for row in clock["stopped"]] for name in ("objective", "bound"))
    figure, ax = plt.subplots(figsize=(6.4, 2.9))
    ax.fill_between(limits, bounds, bests, color=style.SKY, alpha=0.3)
    ax.plot(limits, bests, "o-", color=style.VERMILION, label="best labelling found")
    ax.plot(limits, bounds, "o-", color=style.BLUE, label="proven bound")
    truth = clock["truth"]["objective"]
    ax.axhline(
        truth, color=style.GREEN, linestyle="--", label=f"optimum (tight form, {clock['truth']['seconds']:.1f} s)"
    )
    ax.set(xscale="log", xlabel="seconds allowed", ylabel="cost", xticks=limits, xticklabels=[f"{t:g}" for t in limits])
    ax.minorticks_off()
    ax.legend(loc="center left", bbox_to_anchor=(0.02, 0.45))
    return figure


def draw_gaps(result: Mapping[str, Any]) -> Figure:
    """How far above the optimum searches end, the worst first, one line for each way of searching."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 2.9))
    titles = {"people": "candidates of people", "no structure": "costs without people behind them"}
    for ax, (kind, title) in zip(axes, titles.items(), strict=True):
        rows = [row for row in result["against_the_optimum"] if row["kind"] == kind]
        looks = ((style.GREY, "o-", 6), (style.ORANGE, "s-", 4), (style.GREEN, "o-", 2.5))
        for name, (colour, look, size) in zip(study.SEARCHES, looks, strict=True):
            above = np.sort([row[name]["above"] for row in rows])[::-1]
            ax.plot(np.arange(1, len(above) + 1), above, look, markersize=size, color=colour, label=name)
        ax.set(title=title, xlabel=f"{len(rows)} instances, the worst first", ylim=(-0.1, None))
    axes[0].set_ylabel("above the optimum, %")
    axes[1].legend()
    return figure


# --- on pictures ------------------------------------------------------------------------------------------------------


def draw_by_people(rows: Mapping[str, Mapping[str, float]], groups: Sequence[str], value: str) -> Figure:
    """A score of every system by the number of people in the picture."""
    figure, ax = plt.subplots(figsize=(6.8, 3.2))
    looks = zip(rows.items(), style.CYCLE, ("o-", "s-", "^-", "D-", "v-", "P-"), strict=False)
    for (name, scores), colour, look in looks:
        ax.plot(range(len(groups)), [scores[group] for group in groups], look, color=colour, label=name)
    ax.set(xticks=range(len(groups)), xticklabels=groups, xlabel="people in the picture", ylabel=value, ylim=(0, None))
    ax.grid(axis="y", alpha=0.4)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def draw_seconds(rows: Sequence[Mapping[str, Any]], ways: Mapping[str, tuple[str, str]]) -> Figure:
    """Seconds a picture against people and against candidates; ways: key -> (label, colour)."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 3.6), sharey=True)
    for ax, (key, words) in zip(
        axes, (("people", "people in the picture"), ("candidates", "candidates |D|")), strict=True
    ):
        for way, (label, colour) in ways.items():
            points = [(row[key], row["seconds"][way]) for row in rows if way in row["seconds"]]
            if not points:
                continue
            x, y = np.array(points, dtype=float).T
            ax.plot(x, y, "o", color=colour, markersize=2.5, alpha=0.45)
            _medians(ax, x, y, label, colour, 8 if key == "candidates" else None)
        ax.set(yscale="log", xlabel=words)
        ax.grid(alpha=0.4)
    axes[0].set_ylabel("seconds a picture")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _medians(ax: Axes, x: np.ndarray, y: np.ndarray, label: str, colour: str, bins: int | None) -> None:
    """A line through the medians, of every value of x or of equally many points."""
    parts = [np.flatnonzero(x == value) for value in np.unique(x)]
    if bins is not None:
        parts = np.array_split(np.argsort(x, kind="stable"), bins)
    parts = [part for part in parts if len(part)]
    ax.plot([np.median(x[p]) for p in parts], [np.median(y[p]) for p in parts], "-", color=colour, label=label)
