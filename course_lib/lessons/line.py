"""The single-person line: the systems of lessons 01 to 06, 11 and 12 in one table, from what their weights say.

Scores are those that were measured when the weights were adopted (`python -m course_lib weights list`). Drawn people
and photographs stand in columns of their own; the mean pose stands first, since a number below it is worth nothing.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from course_lib import checkpoints, models, paths
from course_lib.errors import CourseError, unknown_name
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.show import style
from course_lib.training import benchmarks
from course_lib.training.provenance import images_in_all


class System(NamedTuple):
    """A lesson's system and the weights that stand for it."""

    weights: str
    title: str
    year: int


SYSTEMS = (
    System("pictorial_structures", "01 Pictorial structures", 2009),
    System("poselet_conditioned", "01 with poselets", 2013),
    System("deeppose_course", "02 DeepPose", 2014),
    System("tompson_course", "03 Tompson's heatmaps", 2015),
    System("cpm_course", "04 Convolutional pose machine", 2016),
    System("ief_course", "05 Iterative error feedback", 2016),
    System("hourglass_course", "06 Stacked hourglass", 2016),
    System("pose_resnet_course", "11 Simple baseline", 2018),
    System("hrnet_course", "11 HRNet", 2019),
    System("adversarial_course", "12 Adversarial PoseNet", 2017),
)
MEAN_POSE = "mean pose"
COLUMNS = (
    "year",
    "parameters, M",
    "multiply-adds, G",
    "pictures, thousand",
    "drawn PCK@0.2",
    "drawn PCP",
    "photo PCK@0.2",
)
TITLES = {"single-val": "500 drawn people (single-val)", "lspet-val": "500 photographs (lspet-val)"}


def up_to(line: tuple[System, ...], last: str | None) -> tuple[System, ...]:
    """The systems of a line up to and with these weights, in the order of the lessons; all of them for None."""
    names = [one.weights for one in line]
    if last is None:
        return line
    if last not in names:
        raise unknown_name("system of this line", last, names)
    return line[: names.index(last) + 1]


def systems(last: str | None = None) -> tuple[System, ...]:
    """The single-person systems up to and with these weights."""
    return up_to(SYSTEMS, last)


def scores(weights: str, benchmark: str) -> dict[str, Any]:
    """What was measured on a benchmark, as the header of the shipped weights tells."""
    measured = checkpoints.read_header(paths.checkpoint(weights))["scores"]
    if benchmark not in measured:
        raise CourseError(
            f"the weights '{weights}' carry no scores on {benchmark}: `python -m course_lib evaluate --model {weights} "
            f"--data {benchmark} --record` measures them"
        )
    return measured[benchmark]


def mean_pose(benchmark: str) -> dict[str, Any]:
    """The score of one and the same pose for everybody, as lesson 06's study stores it."""
    study = json.loads((paths.DATA / "studies" / "hourglass_photographs.json").read_text(encoding="utf-8"))
    return study["benchmarks"][benchmark][MEAN_POSE]


def rows(last: str | None = None) -> dict[str, list[Any]]:
    """A row of `COLUMNS` for the mean pose and for every system up to and with the weights `last`."""
    drawn, photographed = (mean_pose(name)["pck@0.2"] for name in benchmarks.SINGLE)
    listed: dict[str, list[Any]] = {MEAN_POSE: [None, None, None, None, drawn, None, photographed]}
    for system in systems(last):
        model = models.load(system.weights)
        shown = round(images_in_all(checkpoints.read_header(paths.checkpoint(system.weights))) / 1000)
        drawn, photographed = (scores(system.weights, name) for name in benchmarks.SINGLE)
        size = [parameters(model) / 1e6, giga_multiply_adds(model)]
        listed[system.title] = [system.year, *size, shown, drawn["pck@0.2"], drawn["pcp"], photographed["pck@0.2"]]
    return listed


def draw(last: str | None = None) -> Figure:
    """PCK@0.2 with its 95 % interval on both benchmarks, and the mean pose as a dashed line."""
    chosen = systems(last)
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 0.9 + 0.4 * len(chosen)), sharey=True)
    for ax, benchmark in zip(axes, benchmarks.SINGLE, strict=True):
        for place, system in enumerate(chosen):
            measured = scores(system.weights, benchmark)
            low, high = measured["pck@0.2_interval"]
            ax.barh(place, high - low, left=low, height=0.5, color=style.SKY)
            ax.plot(measured["pck@0.2"], place, "o", color=style.BLUE, markersize=3.5)
        ax.axvline(mean_pose(benchmark)["pck@0.2"], color=style.INK, linewidth=1.2, linestyle="--", label=MEAN_POSE)
        ax.set(xlim=(0, 0.8), xlabel="PCK@0.2", title=TITLES[benchmark], ylim=(len(chosen) - 0.5, -0.5))
        ax.set(yticks=range(len(chosen)), yticklabels=[system.title for system in chosen])
        ax.grid(axis="x", alpha=0.3)
    axes[1].legend(loc="upper right")
    return figure
