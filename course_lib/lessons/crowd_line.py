"""The multi-person line: every system that finds everybody, in one table and one figure, by number of people.

Scores are those that were measured on crowd-val when the weights were adopted (`python -m course_lib weights list`).
Two rows stand beside them that are told where everybody is: the stacked hourglass of lesson 06, and the mean pose put
into every true box, which is a study of its own:

    python -m course_lib.lessons.crowd_line     # half a minute; writes data/studies/crowd_baseline.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from course_lib import checkpoints, models, paths
from course_lib.errors import CourseError
from course_lib.lessons import studies
from course_lib.lessons.line import System, up_to
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.show import style
from course_lib.training import benchmarks
from course_lib.training.evaluate import MeanPose

BENCHMARK, TOLD = "crowd-val", "crowd-val, true boxes"
FILE = paths.DATA / "studies" / "crowd_baseline.json"
MEAN_POSE, TOP_DOWN = "mean pose, true boxes", "06 Stacked hourglass, true boxes"


SYSTEMS = (
    System("paf_course", "07 Part affinity fields", 2017),
    System("deepcut_course", "08 DeepCut", 2016),
)
TOLD_SYSTEM = System("hourglass_course", TOP_DOWN, 2016)
COLUMNS = ("year", "parameters, M", "multiply-adds, G", "AP", "AP 50", "PCKh-mAP")


def scores(weights: str, benchmark: str = BENCHMARK) -> dict[str, Any]:
    """What was measured on a benchmark, as the header of the shipped weights tells."""
    found = checkpoints.read_header(paths.checkpoint(weights))["scores"]
    if benchmark not in found:
        raise CourseError(
            f"the weights '{weights}' carry no scores on {benchmark}: `python -m course_lib evaluate --model {weights} "
            f"--data {BENCHMARK} --record` measures them"
        )
    return found[benchmark]


def measured(last: str | None = None) -> dict[str, dict[str, Any]]:
    """The scores of the line up to and with the weights `last` by title, what is told the true boxes first."""
    told = {MEAN_POSE: studies.load(FILE)["scores"], TOP_DOWN: scores(TOLD_SYSTEM.weights, TOLD)}
    return {**told, **{system.title: scores(system.weights) for system in up_to(SYSTEMS, last)}}


def columns() -> tuple[str, ...]:
    """The names of what `rows` gives."""
    return (*COLUMNS, *(f"AP, {group} people" for group in studies.load(FILE)["scores"]["by_people"]))


def rows(last: str | None = None) -> dict[str, list[Any]]:
    """A row of `columns` for everything in the line up to and with the weights `last`."""
    about: dict[str, list[Any]] = {MEAN_POSE: [None, None, None]}
    for system in (TOLD_SYSTEM, *up_to(SYSTEMS, last)):
        model = models.load(system.weights)
        about[system.title] = [system.year, parameters(model) / 1e6, giga_multiply_adds(model)]
    return {
        title: [*about[title], one["ap"], one["ap50"], one["pckh_map"], *(g["ap"] for g in one["by_people"].values())]
        for title, one in measured(last).items()
    }


def draw(last: str | None = None) -> Figure:
    """AP and PCKh-mAP against the number of people in the picture; what is told the boxes is dashed."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 3.4))
    colours = (style.SKY, style.INK, *style.CYCLE)
    for ax, (key, title) in zip(axes, (("ap", "OKS-AP"), ("pckh_map", "PCKh-mAP")), strict=True):
        for (name, one), colour in zip(measured(last).items(), colours, strict=False):
            line = "--" if name in (MEAN_POSE, TOP_DOWN) else "-"
            groups = {group: values[key] for group, values in one["by_people"].items()}
            ax.plot(list(groups), list(groups.values()), line + "o", color=colour, label=name, markersize=4)
        ax.set(xlabel="people in the picture", title=f"{title} on {BENCHMARK}", ylim=(0, None))
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 0.04))
    return figure


def measure() -> dict[str, Any]:
    """The study: what the mean pose scores where it is put into every true box."""
    skeleton = models.load(TOLD_SYSTEM.weights).skeleton
    mean = MeanPose.of(benchmarks.training_people(BENCHMARK, skeleton))
    return {**studies.provenance("paf_course"), "scores": benchmarks.measure(mean, BENCHMARK)}


def main(file: Path = FILE) -> None:
    """Measures and writes the study."""
    studies.save(file, measure())


if __name__ == "__main__":
    main()
