"""The charts of lesson 12's study: judges switched on and off, trainings watched, and who is found under cover."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from course_lib.lessons import lesson_12_study as study
from course_lib.show import style

COLOURS = dict(
    zip(study.ARMS, (style.GREY, style.ORANGE, style.GREEN, style.BLUE, style.PINK, style.VERMILION), strict=True)
)
PART_TITLES = {"visible": "visible joints", "hidden": "hidden joints"}


def draw_ablation(stored: dict[str, Any]) -> Figure:
    """PCK@0.2 of every run, on visible and on hidden joints, and the share of impossible limbs."""
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 0.9 + 0.42 * len(study.ARMS)), sharey=True)
    panels = [("pck@0.2", part, f"PCK@0.2, {title}") for part, title in PART_TITLES.items()]
    panels.append(("implausible", "limbs", "impossible limbs"))
    for ax, (kind, name, title) in zip(axes, panels, strict=True):
        highest = [0.01]
        for place, arm in enumerate(study.ARMS):
            values = study.values(stored, arm, kind, name)
            highest += values
            ax.plot(values, [place] * len(values), "o", color=COLOURS[arm], markersize=7, alpha=0.75)
            if len(values) > 1:
                ax.plot([sum(values) / len(values)] * 2, [place - 0.32, place + 0.32], color=style.INK, linewidth=1.6)
        ax.grid(axis="x", alpha=0.5)
        ax.set(title=title, xlim=(0, 1.1 * max(highest)))
    if stored.get("truth"):
        axes[2].axvline(stored["truth"]["limbs"], color=style.INK, linestyle="--", linewidth=1.1)
    axes[0].set(yticks=range(len(study.ARMS)), yticklabels=list(study.ARMS), ylim=(len(study.ARMS) - 0.4, -0.6))
    return figure


def draw_differences(stored: dict[str, Any]) -> Figure:
    """What judges add, in points: seed by seed, with both intervals of the mean."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 2.7), sharey=True)
    for ax, (part, title) in zip(axes, PART_TITLES.items(), strict=True):
        rows = study.differences(stored, part)
        names = [name for name in rows if name not in study.ONCE]
        for place, name in enumerate(names):
            row = rows[name]
            for (low, high), shift, colour in (
                (row["people"], -0.14, style.SKY),
                (row["trainings"] or row["people"], 0.14, style.ORANGE),
            ):
                ax.plot([low, high], [place + shift] * 2, color=colour, linewidth=5, solid_capstyle="butt", alpha=0.8)
            seeds = [value for key, value in row.items() if key.startswith("seed")]
            ax.plot(seeds, [place] * len(seeds), "o", color=style.INK, markersize=4.5)
        ax.axvline(0, color=style.INK, linewidth=1.1)
        ax.set(title=title, xlabel="points of PCK@0.2 against no judges")
        ax.grid(axis="x", alpha=0.5)
    axes[0].set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    axes[1].plot([], [], color=style.SKY, linewidth=5, label="other people")
    axes[1].plot([], [], color=style.ORANGE, linewidth=5, label="other trainings")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def draw_stability(stored: dict[str, Any], seed: int = 0) -> Figure:
    """What went on between generator and judge P while three arms were trained."""
    arms = (study.BOTH, study.HARD, study.LOUD)
    figure, axes = plt.subplots(2, 3, figsize=(style.PAGE, 4.6), sharex=True)
    for arm in arms:
        found = [run for run in study.runs_of(stored, arm) if run["seed"] == seed]
        if not found:
            continue
        (run,), colour = found, COLOURS[arm]
        steps = [row["step"] for row in run["watched"]]
        watched = {name: [row[name] for row in run["watched"]] for name in run["watched"][0]}
        traced = [i * stored["trace"] for i in range(len(run["traces"]["maps"]))]
        axes[0, 0].plot(traced, run["traces"]["maps"], color=colour, label=arm)
        axes[0, 1].plot(steps, watched["pose score of real"], color=colour)
        axes[0, 1].plot(steps, watched["pose score of fake"], color=colour, linestyle="--")
        axes[0, 2].plot(steps, watched["pose ones"], color=colour)
        axes[1, 0].plot(steps, watched["confidence ones"], color=colour)
        axes[1, 1].plot(steps, watched["confidence score of real"], color=colour)
        axes[1, 1].plot(steps, watched["confidence score of fake"], color=colour, linestyle="--")
        heard = [
            (a + b) / c
            for a, b, c in zip(*(watched[f"gradient of {n}"] for n in ("pose", "confidence", "maps")), strict=True)
        ]
        axes[1, 2].plot(steps, heard, color=colour)
    titles = ("maps' loss", "P's score: true (—), made (- -)", "made joints within delta")
    titles += ("made maps within epsilon", "C's score: true (—), made (- -)", "judges' gradient / maps'")
    for ax, title in zip(axes.flat, titles, strict=True):
        ax.set_title(title, fontsize=9.5)
        ax.grid(alpha=0.4)
    for ax in (axes[0, 1], axes[0, 2], axes[1, 0], axes[1, 1]):
        ax.set_ylim(-0.03, 1.03)
    axes[1, 2].set_yscale("log")
    for ax in axes[1]:
        ax.set_xlabel("step")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def draw_shipped(shipped: dict[str, Any]) -> Figure:
    """The weights that ship on heavily covered people: PCK@0.2 of visible and hidden joints, and what is impossible."""
    names = list(shipped["rows"])
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 2.8), sharey=True)
    panels = (
        (
            "PCK@0.2",
            (
                ("visible joints", "pck@0.2", "visible", style.BLUE),
                ("hidden joints", "pck@0.2", "hidden", style.ORANGE),
            ),
        ),
        ("impossible limbs", (("limbs", "implausible", "limbs", style.VERMILION),)),
        ("pairs in one place", (("pairs", "implausible", "collapsed", style.PINK),)),
    )
    for ax, (title, bars) in zip(axes, panels, strict=True):
        for number, (label, kind, key, colour) in enumerate(bars):
            shift = 0.2 * (2 * number - 1) * (len(bars) > 1)
            values = [shipped["rows"][name][kind][key] for name in names]
            ax.barh([i + shift for i in range(len(names))], values, height=0.36, color=colour, label=label)
            if kind == "implausible":
                ax.axvline(shipped["truth"][key], color=style.INK, linestyle="--", linewidth=1.1)
        ax.set(title=title)
        ax.grid(axis="x", alpha=0.5)
    figure.legend(loc="outside lower left", ncols=2, handles=axes[0].get_legend_handles_labels()[0])
    axes[0].set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    return figure
