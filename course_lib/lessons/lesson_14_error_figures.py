"""The figures of lesson 14 on errors and scores, from the study `lesson_14_errors` and from people drawn live.

Each function returns its figure; a cell ends with plt.show().
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from torch import Tensor

from course_lib import metrics, models, show
from course_lib.lessons import lesson_14_errors as study
from course_lib.lessons.lesson_14_errors import CLEAN, CORRUPTED, EVERYDAY, KINDS
from course_lib.metrics import CLASSES, Diagnosis
from course_lib.pose import Pose, Scene
from course_lib.show import style

COLOURS = dict(zip(KINDS, (style.GREEN, style.SKY, style.ORANGE, style.PINK, style.VERMILION, style.GREY), strict=True))
VIEWS = {"front": style.BLUE, "side": style.ORANGE, "back": style.VERMILION}
MAPS = {"as it is": style.VERMILION, "temperature": style.ORANGE, "isotonic": style.BLUE}
_BRIGHT = {"good", "jitter", "inversion"}  # classes on whose colour dark numbers are read best


# --- live: the first everyday people ----------------------------------------------------------------------------------


@dataclass
class Live:
    """The piece of the study that the lesson repeats: people, answers and classes, by the weights' name."""

    scenes: list[Scene]
    poses: dict[str, list[list[Pose]]]
    found: dict[str, Diagnosis]


def live(count: int = study.SHORT) -> Live:
    """The first everyday people again, through the systems of the study's short run."""
    scenes = study.people(EVERYDAY, many=False, count=count)
    poses = {name: study.answers(models.load(name), scenes, many=False) for name in study.SHORT_SYSTEMS}
    found = {name: metrics.diagnose(answer, scenes, told=True) for name, answer in poses.items()}
    return Live(scenes, poses, found)


def near_misses(shown: Live, weights: str) -> dict[str, tuple[int, int]]:
    """By view: how many inversions there are, and how many of them lie within the 0.5 radius of the right joint too."""
    rows = dict.fromkeys(VIEWS, (0, 0))
    found = shown.found[weights]
    for i, (scene, (pose,)) in enumerate(zip(shown.scenes, shown.poses[weights], strict=True)):
        person, view = scene.people[0], scene.meta["view"]
        ks = metrics.keypoint_similarity(pose.joints, person.joints, person.area, person.skeleton)
        inverted = found.classes[i] == CLASSES.index("inversion")
        all_of_them, near = rows[view]
        rows[view] = (all_of_them + int(inverted.sum()), near + int((inverted & (ks >= 0.5)).sum()))
    return rows


@dataclass
class Example:
    """One joint of one answer that shows a class well."""

    kind: str
    weights: str
    picture: int
    joint: int


def examples(shown: Live) -> list[Example]:
    """For every class the clearest case: a limb's end that can be seen, of a picture that no other class took."""
    taken: set[int] = set()
    chosen = []
    for kind in ("swap", "inversion", "miss", "jitter", "good"):  # the rarest chooses first
        best = max(_candidates(shown, kind, taken), key=lambda pair: pair[0])[1]
        taken.add(best.picture)
        chosen.append(best)
    return sorted(chosen, key=lambda one: CLASSES.index(one.kind))


def _candidates(shown: Live, kind: str, taken: set[int]) -> list[tuple[float, Example]]:
    """(how clear, case): for gross errors how far off, for the others how near the middle of their class."""
    rows = []
    for weights, found in shown.found.items():
        for i, (scene, (pose,)) in enumerate(zip(shown.scenes, shown.poses[weights], strict=True)):
            person = scene.people[0]
            ends = [k for k, name in enumerate(person.skeleton.joints) if name.endswith(("wrist", "ankle", "elbow"))]
            ks = metrics.keypoint_similarity(pose.joints, person.joints, person.area, person.skeleton)
            apart = (pose.joints - person.joints).norm(dim=-1)
            for k in ends:
                if i in taken or found.classes[i, k] != CLASSES.index(kind) or person.visible[k] < 2:
                    continue
                middle = {"good": 1.0, "jitter": 0.6}.get(kind)
                clear = float(apart[k]) if middle is None else float(person.area) * (0.2 - abs(float(ks[k]) - middle))
                rows.append((clear, Example(kind, weights, i, k)))
    return rows


def draw_examples(shown: Live, chosen: Sequence[Example]) -> Figure:
    """A picture for every class: the true joint with its two radii, the estimate, and what it was taken for."""
    figure, axes = plt.subplots(1, len(chosen), figsize=(style.PAGE, 2.4))
    for ax, one in zip(axes, chosen, strict=True):
        scene, pose = shown.scenes[one.picture], shown.poses[one.weights][one.picture][0]
        person, colour = scene.people[0], COLOURS[one.kind]
        show.draw_image(ax, scene.image, dim=0.45)
        show.draw_pose(ax, person, colour=style.GREY, markers=False, width=1.5)
        true, estimate = person.joints[one.joint], pose.joints[one.joint]
        _discs(ax, true, person.area, person.skeleton.sigmas[one.joint], style.INK, "-")
        meant = _meant(scene, one, estimate)
        if meant is not None:
            _discs(ax, *meant, person.skeleton.sigmas[one.joint], colour, "--")
        ax.plot(*true, "o", color=style.INK, markersize=3)
        ax.plot(*torch.stack([true, estimate]).T, color=colour, linewidth=1.2)
        ax.plot(*estimate, "X", color=colour, markeredgecolor="white", markersize=9)
        name = person.skeleton.joints[one.joint].replace("_", " ")
        ax.set_title(f"{one.kind}\n{name}", color=style.INK)
    return figure


def _meant(scene: Scene, one: Example, estimate: Tensor) -> tuple[Tensor, float] | None:
    """The joint, and its person's area, that an inversion or a swap took for the right one."""
    swaps = scene.people[0].skeleton.swaps
    sides = {"inversion": [(scene.people[0], swaps[one.joint])]}
    sides["swap"] = [(person, k) for person in scene.people[1:] for k in (one.joint, swaps[one.joint])]
    known = [(person.joints[k], person.area) for person, k in sides.get(one.kind, []) if person.visible[k] > 0]
    # ks is the larger the smaller the distance beside the person's size
    return min(known, key=lambda pair: float((pair[0] - estimate).square().sum()) / pair[1], default=None)


def _discs(ax: Axes, centre: Tensor, area: float, sigma: float, colour: str, line: str) -> None:
    for radius in (float(metrics.oks_radius(ks, area, [sigma])) for ks in (0.85, 0.5)):
        ax.add_patch(Circle(centre.tolist(), radius, fill=False, edgecolor=colour, linestyle=line, linewidth=1.1))


# --- classes ----------------------------------------------------------------------------------------------------------


def choices(stored: dict[str, Any]) -> list[str]:
    """The sets that `draw_classes` knows, the views of the clean set among them."""
    return [*study.SETS, CORRUPTED, *(f"{CLEAN}, {view}" for view in VIEWS)]


def of_set(run: dict[str, Any], which: str) -> dict[str, Any]:
    """A run's counts and intervals of a set, or of "clean, front" and the like."""
    name, _, view = which.rpartition(", ")
    return run["sets"][CLEAN][view] if name == CLEAN else run["sets"][which]["all"]


def draw_classes(stored: dict[str, Any], which: str = EVERYDAY) -> Figure:
    """A bar of the classes for every system; those that look for everybody stand below."""
    runs = stored["runs"]
    figure, ax = plt.subplots(figsize=(style.PAGE, 1.3 + 0.3 * len(runs)))
    places = _places(runs)
    for place, run in zip(places, runs, strict=True):
        counts = np.array(of_set(run, which)["counts"])
        left, total = 0.0, max(counts.sum(), 1)
        for kind, share in zip(KINDS, counts / total, strict=True):
            ax.barh(place, share, left=left, height=0.78, color=COLOURS[kind])
            if share >= 0.045:
                ink = style.INK if kind in _BRIGHT else "white"
                ax.text(left + share / 2, place, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color=ink)
            left += share
    ax.set(yticks=places, yticklabels=[run["title"] for run in runs], xlim=(0, 1), ylim=(max(places) + 0.6, -0.6))
    ax.set(xticks=[], title=f"labelled joints by class, in percent: {which}")
    ax.spines["bottom"].set_visible(False)
    handles = [
        Line2D([], [], marker="s", linestyle="", markersize=8, color=COLOURS[kind], label=kind) for kind in KINDS
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(KINDS), handletextpad=0.2)
    return figure


def _places(runs: Sequence[dict[str, Any]]) -> list[float]:
    """Rows from the top, with a gap between the two lines."""
    return [place + 0.5 * run["many"] for place, run in enumerate(runs)]


def draw_views(stored: dict[str, Any]) -> Figure:
    """The share of inversions among the joints of people seen from the front, the side and behind, with intervals."""
    runs, at = stored["runs"], KINDS.index("inversion")
    figure, ax = plt.subplots(figsize=(0.85 * style.PAGE, 1.0 + 0.29 * len(runs)))
    places = np.array(_places(runs))
    for shift, (view, colour) in zip((-0.24, 0.0, 0.24), VIEWS.items(), strict=True):
        rows = [run["sets"][CLEAN][view] for run in runs]
        low, high = np.array([row["intervals"][at] for row in rows]).T
        ax.hlines(places + shift, low, high, color=colour, linewidth=1.6)
        ax.plot([share(row, "inversion") for row in rows], places + shift, "o", color=colour, label=f"{view}")
    ax.set(yticks=places, yticklabels=[run["title"] for run in runs], ylim=(places.max() + 0.6, -0.6), xlim=(0, None))
    ax.set(xlabel="inversions, share of labelled joints", title="left and right exchanged: people seen from ...")
    ax.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=len(VIEWS))
    return figure


def share(row: dict[str, Any], *kinds: str) -> float:
    """What part of the joints is of these classes."""
    return sum(row["counts"][KINDS.index(kind)] for kind in kinds) / max(sum(row["counts"]), 1)


def draw_gains(stored: dict[str, Any], which: str = EVERYDAY) -> Figure:
    """By how many points AP would rise, were one class of errors put right."""
    runs = [run for run in stored["runs"] if run["many"]]
    kinds = [*CLASSES[1:], "ranking"]
    colours = {**COLOURS, "ranking": style.INK}
    figure, ax = plt.subplots(figsize=(style.PAGE, 3.3))
    width = 0.8 / len(kinds)
    for number, kind in enumerate(kinds):
        gained = [100 * (run["sets"][which]["ap"][kind] - run["sets"][which]["ap"]["as it is"]) for run in runs]
        at = np.arange(len(runs)) + (number - (len(kinds) - 1) / 2) * width
        bars = ax.bar(at, gained, width * 0.9, color=colours[kind], label=kind)
        ax.bar_label(bars, fmt="%.0f", fontsize=8)
    names = [run["title"].replace(", ", ",\n").replace(" affinity", "\naffinity") for run in runs]
    now = [run["sets"][which]["ap"]["as it is"] for run in runs]
    ax.set(xticks=range(len(runs)), ylabel="points of AP")
    ax.set_xticklabels([f"{name}\nAP {ap:.2f}" for name, ap in zip(names, now, strict=True)])
    ax.set_title(f"what AP would gain, were one kind of error put right: {which}")
    ax.legend(ncols=len(kinds), loc="upper right")
    ax.margins(y=0.2)
    return figure


# --- scores -----------------------------------------------------------------------------------------------------------


def run_of(stored: dict[str, Any], title: str) -> dict[str, Any]:
    """A run by its system's title."""
    return next(run for run in stored["runs"] if run["title"] == title)


def draw_reliability(stored: dict[str, Any], title: str) -> Figure:
    """A system's reliability: as it is and after isotonic calibration, on everyday pictures and on worse ones."""
    scores = run_of(stored, title)["scores"]
    figure, axes = plt.subplots(1, 4, figsize=(style.PAGE, 2.9), sharey=True)
    columns = [(test, kind) for kind in ("as it is", "isotonic") for test in (EVERYDAY, CORRUPTED)]
    for ax, (test, kind) in zip(axes, columns, strict=True):
        one = scores[test][kind]
        count, score, right = (np.array(one[key], dtype=float) for key in ("count", "score", "right"))
        there = count > 0
        mean, hit = score[there] / count[there], right[there] / count[there]
        ax.plot([0, 1], [0, 1], "--", color=style.GREY, linewidth=1)
        ax.bar((np.arange(len(count)) + 0.5) / len(count), count / count.sum(), 0.095, color="#DDDDDD")
        ax.vlines(mean, np.minimum(mean, hit), np.maximum(mean, hit), color=MAPS[kind], linewidth=1.2, alpha=0.7)
        ax.plot(mean, hit, "o-", color=MAPS[kind], linewidth=1.2, markersize=4)
        place = "everyday" if test == EVERYDAY else "blurred, noisy"
        ax.set_title(f"{place}\n{kind}: ECE {one['ece']:.2f}")
        ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean score", aspect="equal")
    axes[0].set_ylabel("share right")
    figure.suptitle(title)
    return figure


def draw_calibration(stored: dict[str, Any]) -> Figure:
    """ECE of every system, before and after calibration, on everyday pictures and on worse ones."""
    runs = stored["runs"]
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 1.2 + 0.28 * len(runs)), sharey=True, sharex=True)
    places = np.array(_places(runs))
    for ax, test in zip(axes, (EVERYDAY, CORRUPTED), strict=True):
        rows = [run["scores"][test] for run in runs]
        before, after = (np.array([row[kind]["ece"] for row in rows]) for kind in ("as it is", "isotonic"))
        ax.hlines(places, before, after, color="#CCCCCC", linewidth=2)
        for kind, colour in MAPS.items():
            size = 7 if kind == "as it is" else 4.5  # a ring is left of it where another map lies upon it
            ax.plot([row[kind]["ece"] for row in rows], places, "o", color=colour, label=kind, markersize=size)
        ax.plot(
            [row["isotonic"]["floor"] for row in rows], places, "|", color=style.INK, label="what chance alone makes"
        )
        ax.set(title=f"ECE: {test}", xscale="log", xlim=(0.005, 1), ylim=(places.max() + 0.6, -0.6))
        ax.set(xticks=(0.01, 0.03, 0.1, 0.3, 1), xticklabels=("0.01", "0.03", "0.1", "0.3", "1"))
        ax.grid(axis="x", alpha=0.3)
    axes[0].set(yticks=places, yticklabels=[run["title"] for run in runs])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def draw_risk(stored: dict[str, Any], titles: Sequence[str]) -> Figure:
    """Risk against coverage of some systems, on everyday pictures and on worse ones."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 3.4), sharey=True)
    at = np.arange(1, study.STEPS + 1) / study.STEPS
    for ax, test in zip(axes, (EVERYDAY, CORRUPTED), strict=True):
        for title, colour in zip(titles, style.CYCLE, strict=False):
            one = run_of(stored, title)["scores"][test]["ranking"]
            ax.plot(at, one["risk"], color=colour, label=title)
            ax.plot(at, np.maximum(0, 1 - (1 - one["risk"][-1]) / at), ":", color=colour, linewidth=1.1)
        ax.set(title=test, xlabel="share of joints that is answered, the surest first", xlim=(0, 1))
        ax.grid(alpha=0.3)
    axes[0].set_ylim(0, None)
    axes[0].set_ylabel("share of those that is wrong")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure
