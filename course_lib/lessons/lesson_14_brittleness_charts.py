"""The figures of question 3: damaged pictures, what is left of every system, and the curves behind it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from course_lib import show
from course_lib.datasets import corruptions
from course_lib.lessons import lesson_14_brittleness as study
from course_lib.lessons.lesson_14_brittleness_scores import SHORT_TITLES, TITLES, Scores
from course_lib.pose import Batch
from course_lib.show import style

WORDS = {name: name.replace("_", " ") for name in corruptions.names()}
KEPT = LinearSegmentedColormap.from_list("kept", [style.VERMILION, "#F5C9A8", "#FFFFFF", style.SKY], N=7).with_extremes(
    bad="#EEEEEE"
)
CURVES = {
    "rotation": "degrees the picture is turned",
    corruptions.DISC: "radius of the disc / person's longer side",
    "scale": "size of the person / before",
    "truncation": "share of the picture cut off",
}
COLOURS = dict(
    zip(
        ("hourglass_course", "adversarial_course", "hrnet_course", "pose_resnet_course", "tompson_course"),
        (style.BLUE, style.PINK, style.GREEN, style.ORANGE, style.INK),
        strict=True,
    )
)


def draw_strip(person: Batch, severity: int) -> Figure:
    """One person, clean and under all corruptions of a severity, with the true joints where they are now."""
    listed = ["clean", *corruptions.names()]
    figure, axes = plt.subplots(2, 8, figsize=(7.2, 2.3))
    for ax, name in zip(axes.flat, listed, strict=True):
        worse = person if name == "clean" else corruptions.apply(person, name, severity)
        show.draw_image(ax, worse.images[0], WORDS.get(name, name))
        ax.title.set_fontsize(7.5)
        moves = name in corruptions.names("scene") or name == "elastic"
        if moves or name == "clean":
            show.draw_pose(ax, worse.joints[0], worse.skeleton, visible=worse.visible[0], width=1.6)
    return figure


def _heat(ax: Axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], size: float = 8.5) -> None:
    """score / clean in per cent, red where little is left, white at all of it, blue above."""
    ax.imshow(np.ma.masked_invalid(values), cmap=KEPT, vmin=-0.125, vmax=1.625, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            ink = style.PAPER if value < 0.25 else style.INK
            ax.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=size, color=ink)
    ax.set(yticks=range(len(rows)), yticklabels=rows, xticks=range(len(columns)), xticklabels=columns)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def draw_grid(scores: Scores, system: str) -> Figure:
    """Corruptions by severities for one system: per cent of its clean score that is left."""
    names = corruptions.names()
    figure, ax = plt.subplots(figsize=(6.2, 4.6))
    _heat(ax, scores.grid(system, names).numpy(), [WORDS[name] for name in names], [str(s) for s in range(1, 6)])
    families = [corruptions.REGISTER[name].family for name in names]
    for row in range(1, len(names)):
        if families[row] != families[row - 1]:
            ax.axhline(row - 0.5, color=style.INK, linewidth=1.0)
    for family in dict.fromkeys(families):
        places = [row for row, one in enumerate(families) if one == family]
        ax.text(4.62, sum(places) / len(places), family, va="center", fontsize=9, color=style.INK)
    clean = scores.kept(system, f"{names[0]} {study.ONE_SEVERITY}").clean
    ax.set(xlabel="severity", title=f"{TITLES[system]}: per cent left of a clean PCK@0.2 of {clean:.2f}")
    return figure


def draw_factors(scores: Scores, severity: int = study.ONE_SEVERITY) -> Figure:
    """What is left of every system: corruptions of one severity, and other worlds."""
    systems = scores.systems
    conditions = {WORDS[name]: f"{name} {severity}" for name in corruptions.names()}
    conditions |= {name: name for name in study.WORLDS}
    values = np.array(
        [[scores.kept(s, c).ratio if scores.has(s, c) else np.nan for s in systems] for c in conditions.values()]
    )
    figure, ax = plt.subplots(figsize=(8.4, 5.8))
    _heat(ax, values, list(conditions), [SHORT_TITLES[name].replace(" ", "\n") for name in systems], 8)
    ax.xaxis.tick_top()
    ax.tick_params(axis="x", labelsize=8)
    for row in (len(corruptions.names()) - 4, len(corruptions.names())):
        ax.axhline(row - 0.5, color=style.INK, linewidth=1.2)
    ax.set_title(f"per cent left of the clean PCK@0.2 (corruptions at severity {severity})", pad=8)
    return figure


def draw_curves(scores: Scores) -> Figure:
    """PCK@0.2 against the four changes of the scene, for five systems."""
    figure, axes = plt.subplots(1, 4, figsize=(style.PAGE, 3.1), sharey=True)
    for ax, (name, words) in zip(axes, CURVES.items(), strict=True):
        strengths = corruptions.REGISTER[name].strengths
        nothing = 1.0 if name == "scale" else 0.0
        for system, colour in COLOURS.items():
            rows = [scores.kept(system, f"{name} {one}") for one in corruptions.SEVERITIES]
            values = [rows[0].clean, *(row.score for row in rows)]
            ax.plot([nothing, *strengths], values, "o-", color=colour, markersize=3.5, label=SHORT_TITLES[system])
        ax.set_title(WORDS[name])
        ax.set_xlabel(words, fontsize=8)
        ax.grid(alpha=0.5)
    axes[2].invert_xaxis()
    axes[0].set(xticks=(0, 60, 90, 180), ylim=(0, None), ylabel="PCK@0.2")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def draw_disc(scores: Scores, system: str = "hourglass_course") -> Figure:
    """What a disc does to the joints it hides, and to the others."""
    figure, ax = plt.subplots(figsize=(5.4, 3.0))
    strengths = corruptions.REGISTER[corruptions.DISC].strengths
    pairs = [scores.covered(system, one) for one in corruptions.SEVERITIES]
    for at, (label, colour) in enumerate((("hidden by the disc", style.VERMILION), ("all others", style.BLUE))):
        rows = [pair[at] for pair in pairs]
        ax.fill_between(strengths, [row.low for row in rows], [row.high for row in rows], color=colour, alpha=0.2)
        ax.plot(strengths, [row.ratio for row in rows], "o-", color=colour, label=label)
    ax.set(xlabel=CURVES[corruptions.DISC], ylim=(0, 1.1), title=f"{TITLES[system]}: share left of the clean score")
    ax.axhline(1, color=style.INK, linewidth=1)
    ax.grid(alpha=0.5)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def draw_views(scores: Scores, system: str) -> Figure:
    """Front, side and back, by how often clothes tell front from back."""
    figure, axes = plt.subplots(1, len(study.CUES), figsize=(style.PAGE, 2.7), sharey=True)
    for ax, share in zip(axes, study.CUES, strict=True):
        rows = scores.views(system, share)
        for place, view in enumerate(study.VIEWS):
            row, (low, high) = rows[view], rows[view]["interval"]
            ax.bar(place - 0.19, row["pck"], 0.36, color=style.BLUE, label="as named" if not place else None)
            ax.plot([place - 0.19] * 2, [low, high], color=style.INK, linewidth=1.3)
            words = "left and right exchanged" if not place else None
            ax.bar(place + 0.19, row["mirrored"], 0.36, color=style.ORANGE, label=words)
        ax.set(xticks=range(3), xticklabels=[f"{view}\n{rows[view]['people']} people" for view in study.VIEWS])
        ax.set(title=f"{100 * share:.0f} % carry cues", ylim=(0, 1))
        ax.grid(axis="y", alpha=0.5)
    axes[0].set_ylabel("PCK@0.2")
    figure.suptitle(TITLES[system], fontsize=10.5)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def draw_gap(rows: dict[str, dict]) -> Figure:
    """Drawn people and photographs, side by side for every system; the line between them is the gap."""
    figure, ax = plt.subplots(figsize=(style.PAGE, 3.6))
    for place, row in enumerate(rows.values()):
        ends = row["drawn"], row["photographs"]
        ax.plot(ends, [place] * 2, color=style.GREY, linewidth=1.2, zorder=1)
        for kind, colour in (("drawn", style.BLUE), ("photographs", style.ORANGE)):
            ax.plot(row[f"{kind}_interval"], [place] * 2, color=colour, linewidth=5, alpha=0.35, solid_capstyle="butt")
            ax.plot(
                row[kind], place, "o", color=colour, markersize=6, linestyle="none", label=kind if not place else None
            )
        seen = {"yes": "", "at first": "  photographs at first only", "never": "  never saw a photograph"}[row["shown"]]
        ax.text(max(ends) + 0.035, place, f"{100 * ends[1] / ends[0]:.0f} %{seen}", va="center", fontsize=8.5)
    ax.set(yticks=range(len(rows)), yticklabels=[TITLES[name] for name in rows], ylim=(len(rows) - 0.5, -0.5))
    ax.set(xlim=(0, 0.95), xlabel="PCK@0.2", title="500 drawn people (single-val), 500 photographs (lspet-val)")
    ax.grid(axis="x", alpha=0.5)
    ax.legend(loc="upper right")
    return figure


def draw_crowds(scores: Scores) -> Figure:
    """What is left of the AP of the systems that find everybody."""
    rows, titles = scores.crowds(), study.crowd_systems()
    names = [name for name in titles if name in rows]
    listed = study.conditions("crowds")[1:]
    clean = np.array([rows[name][study.CLEAN]["ap"] for name in names])
    values = np.array([[rows[name][one]["ap"] for one in listed] for name in names]) / clean[:, None]
    figure, ax = plt.subplots(figsize=(style.PAGE, 0.9 + 0.42 * len(names)))
    labels = [f"{titles[name]}  (AP {value:.2f})" for name, value in zip(names, clean, strict=True)]
    _heat(ax, values, labels, [one.replace("_", " ").replace(" ", "\n", 1) for one in listed], 9)
    ax.xaxis.tick_top()
    return figure
