"""The drawings of lesson 14's first question: the four networks, what each reached, stage by stage, and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, geometric_mean
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from course_lib.lessons import lesson_14_refinement as study
from course_lib.show import Diagram, style

COLOURS = {
    study.BOTH: style.BLUE,
    study.NO_LOSSES: style.SKY,
    study.NO_FEATURES: style.VERMILION,
    study.NEITHER: style.ORANGE,
    study.SHARED: style.GREEN,
    study.SINGLE: style.GREY,
}
TWO_BY_TWO = (study.BOTH, study.NO_LOSSES, study.NO_FEATURES, study.NEITHER)
SCORES = {"PCK@0.05": "pck@0.05", "PCK@0.1": "pck@0.1", "PCK@0.2": "pck@0.2", "mean error (pixels)": "mean_error"}
ORDER = (study.PLAIN, study.FAST, study.RESIDUAL)  # from the left to the right of every figure


def draw_switches() -> Figure:
    """The four networks: a column for what later stages see, a row for where the losses are."""
    figure, axes = plt.subplots(2, 2, figsize=(style.PAGE, 3.9))
    titles = {study.BOTH: axes[0, 0], study.NO_FEATURES: axes[0, 1]}
    titles |= {study.NO_LOSSES: axes[1, 0], study.NEITHER: axes[1, 1]}
    for arm, ax in titles.items():
        options = study.ARMS[arm]
        _draw_network(ax, options.get("features", True), options.get("supervise") != "last")
        ax.set_title(arm, color=style.INK, fontweight="bold", fontsize=9.5)
        ax.plot([0.02, 0.09], [1.07, 1.07], color=COLOURS[arm], linewidth=5, transform=ax.transAxes, clip_on=False)
    return figure


def _draw_network(ax: Axes, features: bool, all_losses: bool) -> None:
    diagram = Diagram(ax)
    first = diagram.box(0, 0, "picture's\nfeatures", width=1.7, height=0.9, colour=style.GREY, size=8)
    boxes = [
        diagram.box(2.4 + 1.75 * t, 0, f"stage {t + 1}", width=1.2, height=0.9, colour=style.BLUE, size=8)
        for t in range(study.STAGES)
    ]
    for before, after in zip([first, *boxes], boxes, strict=False):
        diagram.arrow(before, after)
    for number, box in enumerate(boxes):
        x, last = box.centre[0], number == study.STAGES - 1
        if number and features:
            diagram.arrow((x, -1.05), box, colour=style.GREEN)
        if all_losses or last:
            diagram.arrow((x, 1.15), box, colour=style.VERMILION)
            diagram.text(x, 1.3, "loss", colour=style.VERMILION, size=8.5)
        else:
            diagram.text(x, 1.3, " ", size=8.5)
    if features:
        ax.plot([0, 0, boxes[-1].centre[0]], [-0.45, -1.05, -1.05], color=style.GREEN, linewidth=1.3, zorder=1)
    diagram.text(0, -1.45, " ")


def draw_scores(stored: dict[str, Any], score: str = "pck@0.2") -> Figure:
    """A bar for every arm in every style, every seed as a dot."""
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 3.4), sharey=True)
    for ax, name in zip(axes, ORDER, strict=True):
        for place, arm in enumerate(study.ARMS):
            values = study.finals(stored, arm, name, score)
            ax.bar(place, fmean(values), width=0.72, color=COLOURS[arm], alpha=0.55)
            shifts = [0.11 * (i - (len(values) - 1) / 2) for i in range(len(values))]
            ax.plot([place + shift for shift in shifts], values, "o", color=style.INK, markersize=4)
        ax.set(title=f"{name}\n(rate {stored['rates'][name]:g})", xticks=[])
        ax.grid(axis="y", alpha=0.5)
    label = next(text for text, key in SCORES.items() if key == score)
    axes[0].set_ylabel(f"{label}, last stage")
    _legend(figure, list(study.ARMS), width=6)
    return figure


def draw_stages(stored: dict[str, Any], score: str = "pck@0.2") -> Figure:
    """A score after every stage: thin lines for seeds, thick ones for their mean."""
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 3.5), sharey=True)
    for ax, name in zip(axes, ORDER, strict=True):
        for arm in study.ARMS:
            runs = [run[score] for run in study.runs_of(stored, arm, name)]
            mean = [fmean(values) for values in zip(*runs, strict=True)]
            if arm == study.SINGLE:
                ax.axhline(mean[0], color=COLOURS[arm], linestyle="--", linewidth=1.5)
                continue
            stages = range(1, len(mean) + 1)
            for run in runs:
                ax.plot(stages, run, color=COLOURS[arm], linewidth=0.7, alpha=0.5)
            ax.plot(stages, mean, "o-", color=COLOURS[arm], linewidth=2.2)
        ax.set(title=name, xlabel="after stage", xticks=range(1, study.STAGES + 1))
        ax.grid(alpha=0.4)
    axes[0].set_ylabel(next(text for text, key in SCORES.items() if key == score))
    _legend(figure, list(study.ARMS), dashed=study.SINGLE)
    return figure


def draw_gradients(stored: dict[str, Any]) -> Figure:
    """Above: the first layer's gradient while training. Below: every stage's at the first step, beside the last one's.

    Means over the seeds are geometric, since sizes of gradients differ by factors.
    """
    figure, axes = plt.subplots(2, 3, figsize=(style.PAGE, 5.0), sharey="row")
    layers = ["first layer", *(f"stage {t}" for t in range(1, study.STAGES + 1))]
    for column, name in zip(axes.T, ORDER, strict=True):
        for arm in TWO_BY_TWO:
            runs = [run["gradients"] for run in study.runs_of(stored, arm, name)]
            traces = [geometric_mean(values) for values in zip(*(run["first layer"] for run in runs), strict=True)]
            steps = [place * stored["trace"] for place in range(len(traces))]
            column[0].plot(steps, traces, color=COLOURS[arm])
            start = [geometric_mean([run[layer][0] / run[layers[-1]][0] for run in runs]) for layer in layers]
            column[1].plot(range(len(layers)), start, "o-", color=COLOURS[arm])
        column[0].set(title=name, xlabel="step", yscale="log")
        column[1].set(xticks=range(len(layers)), yscale="log")
        column[1].set_xticklabels(["first\nlayer", *(f"stage\n{t}" for t in range(1, study.STAGES + 1))], fontsize=8)
        for ax in column:
            ax.grid(alpha=0.4)
    axes[0, 0].set_ylabel("gradient in the first layer")
    axes[1, 0].set_ylabel("at the start, stage 4's = 1")
    _legend(figure, TWO_BY_TWO)
    return figure


def draw_choice(stored: dict[str, Any]) -> Figure:
    """Which learning rates were tried, on another seed and other people, and what they reached."""
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.9), sharey=True)
    for ax, name in zip(axes, (study.PLAIN, study.RESIDUAL), strict=True):
        for arm in study.CHOICE["arms"]:
            tried = [one for one in stored["choice"] if (one["style"], one["arm"]) == (name, arm)]
            ax.plot([one["rate"] for one in tried], [one["pck@0.2"] for one in tried], "o-", color=COLOURS[arm])
        for rate in {stored["rates"][key] for key in ORDER if (key == study.RESIDUAL) == (name == study.RESIDUAL)}:
            ax.axvline(rate, color=style.INK, linestyle=":", linewidth=1.1, zorder=0)
        ax.set(title=name, xlabel="learning rate", xscale="log", xticks=study.CHOICE["rates"])
        ax.set_xticklabels([f"{rate:g}" for rate in study.CHOICE["rates"]], fontsize=8)
        ax.minorticks_off()
        ax.grid(alpha=0.4)
    axes[0].set_ylabel(f"PCK@0.2 after {study.CHOICE['steps']} steps")
    _legend(figure, study.CHOICE["arms"])
    return figure


def rows(stored: dict[str, Any], score: str = "pck@0.2") -> list[dict[str, Any]]:
    """What each switch adds, in points: a row for every question and style."""
    found = []
    for name in ORDER:
        for question, row in study.differences(stored, name, score).items():
            seeds = [f"{value:+.1f}" for key, value in row.items() if key.startswith("seed")]
            told = {"seed by seed": ", ".join(seeds), "mean": f"{row['mean']:+.1f}"}
            found.append({"network": name, "switched on": question, **told, "all one sign": row["all one sign"]})
    return found


def _legend(figure: Figure, arms: Sequence[str], dashed: str | None = None, width: float = 2.2) -> None:
    handles = [
        Line2D([], [], color=COLOURS[arm], linewidth=width, linestyle="--" if arm == dashed else "-", label=arm)
        for arm in arms
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2 if len(arms) < 5 else 3)
