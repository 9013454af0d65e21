"""Lesson 09: curves and bars from its studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib.show import style

SYSTEMS = {"hourglass_course": ("lesson 06's hourglass", style.INK), "full": ("AlphaPose's network", style.BLUE)}
ARMS = {"full": ("with SSTN", style.BLUE), "no_sstn": ("without SSTN", style.VERMILION)}
WORDS = {"right": "moved right, in widths", "down": "moved down, in heights", "scale": "as many times as large"}


def draw_moves(moves: Mapping[str, Any], systems: Sequence[str] = ("hourglass_course",)) -> Figure:
    """The share of people found in true boxes that are moved or scaled."""
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 2.8), sharey=True)
    for ax, (move, words) in zip(axes, WORDS.items(), strict=True):
        values = moves["values"][move]
        for system in systems:
            name, colour = SYSTEMS[system]
            ax.plot(values, moves["systems"][system][move]["found"], "o-", color=colour, label=name)
        right = 1.0 if move == "scale" else 0.0
        if move == "scale":  # the IoU of a box with its scaled self is the ratio of their areas
            ax.axvspan(0.5**0.5, 2**0.5, color=style.SKY, alpha=0.18)
        else:  # shifted by x of a side: (1 - x) / (1 + x)
            ax.axvspan(-1 / 3, 1 / 3, color=style.SKY, alpha=0.18)
        ax.axvline(right, color=style.GREY, linewidth=0.8)
        ax.set(xlabel=words, ylim=(0, 1))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("share of people found")
    if len(systems) > 1:
        axes[0].legend(loc="lower center")
    return figure


def draw_noise(study: Mapping[str, Any], ax: Axes, mark: float) -> None:
    """AP against how far the sides of true boxes are off, with and without the transformer; a line at `mark`."""
    for arm, (name, colour) in ARMS.items():
        rows = [row for row in study["noise"] if row["arm"] == arm]
        if not rows:
            continue
        noise = [row["noise"] for row in rows]
        ax.plot(noise, [row["ap"] for row in rows], "o-", color=colour, label=name)
        low, high = np.array([row["ap_interval"] for row in rows]).T
        ax.fill_between(noise, low, high, color=colour, alpha=0.13)
    ax.axvline(mark, color=style.GREY, linestyle="--", linewidth=1.1)
    ax.set(xlabel="sides off by at most so much of their length", ylabel="AP, told the boxes", ylim=(0, None))
    ax.grid(alpha=0.3)
    ax.legend(loc="lower left")


def draw_centring(study: Mapping[str, Any], arms: Mapping[str, str]) -> Figure:
    """How far people are from the middle and from the right size, in the crop and in what the transformer shows."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 2.9))
    titles = {"away": "distance from the middle, sides of the frame", "size": "size, mean |log| of the ratio"}
    for ax, (key, title) in zip(axes, titles.items(), strict=True):
        for number, (arm, name) in enumerate(arms.items()):
            rows = [row for row in study["centring"] if row["arm"] == arm]
            if not rows:
                continue
            noise = [row["noise"] for row in rows]
            if number == 0:
                ax.plot(noise, [row["before"][key] for row in rows], "o--", color=style.GREY, label="in the crop")
            colour = (style.BLUE, style.ORANGE, style.GREEN, style.PINK)[number]
            ax.plot(noise, [row["after"][key] for row in rows], "o-", color=colour, label=f"after the STN, {name}")
        ax.set(title=title, xlabel="sides off by at most", ylim=(0, None))
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=8.5)
    return figure


def draw_ablation(rows: Mapping[str, Mapping[str, Any]], reference: str) -> Figure:
    """AP of every variant as a dot with its interval, the full system as a line."""
    figure, ax = plt.subplots(figsize=(style.PAGE, 0.6 + 0.31 * len(rows)))
    ax.axvline(rows[reference]["ap"], color=style.SKY, linewidth=1.2)
    for place, (name, row) in enumerate(rows.items()):
        if not row:
            continue
        low, high = row["ap_interval"]
        told = name.endswith(("the true boxes", "told true boxes"))
        colour = style.INK if name == reference else style.GREEN if told else style.BLUE
        ax.plot([low, high], [place, place], color=colour, linewidth=2, alpha=0.5)
        ax.plot(row["ap"], place, "o", color=colour, markersize=7, markerfacecolor="white" if told else colour)
    ax.set(yticks=range(len(rows)), yticklabels=list(rows), xlabel="AP on crowd-val, 95 % interval")
    ax.invert_yaxis()
    ax.grid(axis="x", alpha=0.3)
    return figure


def draw_detection(detection: Mapping[str, Any]) -> Figure:
    """How well the best box covers each person, how often people are found, and who is covered by none."""
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 2.9))
    edges = detection["iou_from"]
    counts = [detection["people"] - sum(detection["iou"]), *detection["iou"]]
    names = [f"< {edges[0]:g}", *(f"{edge:g}" for edge in edges)]
    bars = axes[0].bar(names, counts, color=[style.VERMILION, *[style.SKY] * len(edges)], width=0.8)
    axes[0].bar_label(bars, fontsize=8)
    axes[0].set(title="IoU of the best box", ylabel="people", xlabel="from")
    times = detection["sure"]["times"]
    bars = axes[1].bar(
        [str(n) for n in range(len(times))], times, color=[style.VERMILION, *[style.SKY] * 20][: len(times)]
    )
    axes[1].bar_label(bars, fontsize=8)
    axes[1].set(title=f"boxes of {detection['sure']['score']:g} or more a person", xlabel="boxes")
    _shares(axes[2], detection["by_height"], style.SKY)
    axes[2].set(title="share in a box", xlabel="pixels of height that are seen")
    return figure


def draw_lost(lost: Mapping[str, Any]) -> Figure:
    """Where people are lost, and the share found by how much people overlap, in a box and as a pose."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 2.9), width_ratios=(1, 1.25))
    kinds = ("found", "box, wrong pose", "removed", "no box")
    bars = left.barh(kinds, [lost[kind] for kind in kinds], color=(style.BLUE, *[style.VERMILION] * 3), height=0.65)
    left.bar_label(bars, padding=3, fontsize=9)
    left.set(xlabel=f"of {lost['people']} people", xlim=(0, 1.15 * max(lost[kind] for kind in kinds)))
    left.invert_yaxis()
    left.tick_params(axis="y", length=0)
    for key, name, look, colour in (
        ("boxed by overlap", "in a box", "s--", style.SKY),
        ("found by overlap", "as a pose", "o-", style.BLUE),
    ):
        rows = [row for row in lost[key] if row["people"]]
        right.plot(range(len(rows)), [row["share"] for row in rows], look, color=colour, label=name)
        right.set(xticks=range(len(rows)), xticklabels=[f"{row['from']:g}+" for row in rows])
    right.set(ylim=(0, 1), xlabel="IoU with the nearest other person", ylabel="share of people")
    right.legend(loc="lower left")
    right.grid(alpha=0.3)
    return figure


def _shares(ax: Any, rows: Sequence[Mapping[str, Any]], colour: str) -> None:
    rows = [row for row in rows if row["people"]]
    bars = ax.bar([f"{row['from']:g}+" for row in rows], [row["share"] for row in rows], color=colour, width=0.75)
    ax.bar_label(bars, [str(row["people"]) for row in rows], fontsize=8)
    ax.set(ylim=(0, 1.08))
