"""The multi-person line: every system that finds everybody, in one table and one figure, by number of people.

Scores are those that were measured on crowd-val when the weights were adopted (`python -m course_lib weights list`).
Two rows stand beside them that are told where everybody is: the stacked hourglass of lesson 06, and the mean pose put
into every true box, which is a study of its own:

    python -m course_lib evaluate --study crowd_baseline     # half a minute; writes data/studies/crowd_baseline.json

Of a system that looks for boxes first, parameters and multiply-adds include its detector: once, and the network as many
times as there are boxes in a picture of `crowd_times`, the study that also says how long everything takes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from course_lib import checkpoints, models, paths
from course_lib.errors import CourseError
from course_lib.lessons import crowd_times, studies
from course_lib.lessons.line import System, up_to
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.show import style
from course_lib.training import benchmarks, crowds
from course_lib.training.evaluate import MeanPose

BENCHMARK, TOLD = "crowd-val", "crowd-val, true boxes"
FILE = paths.DATA / "studies" / "crowd_baseline.json"
MEAN_POSE, TOP_DOWN = "mean pose, true boxes", "06 Stacked hourglass, true boxes"


# all there will be, in the order of the lessons; the lines of weights that do not ship are left out
LINE = (
    System("paf_course", "07 Part affinity fields", 2017),
    System("deepcut_course", "08 DeepCut", 2016),
    System("alphapose_course", "09 AlphaPose", 2017),
    System("grmi_course", "10 G-RMI", 2017),
    System("mask_rcnn_course", "10 Mask R-CNN", 2017),
)
SYSTEMS = tuple(one for one in LINE if paths.checkpoint(one.weights).exists())
TOLD_SYSTEM = System("hourglass_course", TOP_DOWN, 2016)
COLUMNS = ("year", "parameters, M", "multiply-adds, G", "AP", "AP 50", "PCKh-mAP")
TIME = "ms a picture"
INSIDE = 4  # lines whose legend finds room inside the figure


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


def columns(times: bool = False) -> tuple[str, ...]:
    """The names of what `rows` gives."""
    groups = (f"AP, {group} people" for group in studies.load(FILE)["scores"]["by_people"])
    return (*COLUMNS, *groups, *((TIME,) if times else ()))


def rows(last: str | None = None, times: bool = False) -> dict[str, list[Any]]:
    """A row of `columns` for everything in the line up to and with the weights `last`; with `times` how long it takes.

    Times are of the machine on which they were taken: show them as `About`.
    """
    about: dict[str, list[Any]] = {MEAN_POSE: [None, None, None]}
    taken: dict[str, list[Any]] = {MEAN_POSE: [None]}
    for system in (TOLD_SYSTEM, *up_to(SYSTEMS, last)):
        about[system.title] = [system.year, *cost(system.weights)]
        taken[system.title] = [milliseconds(system.weights).get(crowd_times.ANY)]
    return {
        title: [
            *(*about[title], one["ap"], one["ap50"], one["pckh_map"]),
            *(group["ap"] for group in one["by_people"].values()),
            *(taken[title] if times else ()),
        ]
        for title, one in measured(last).items()
    }


def cost(weights: str) -> tuple[float, float | None]:
    """Million parameters, and billion multiply-adds for a picture; None while the number of boxes is not known."""
    model = models.load(weights)
    own = parameters(model) / 1e6, giga_multiply_adds(model)
    if not crowds.takes_boxes(model):
        return own
    detector, taken = model.detector, _taken(weights)
    boxes = taken[crowd_times.ANY]["boxes"] if taken else None
    together = None if boxes is None else giga_multiply_adds(detector) + boxes * own[1]
    return own[0] + parameters(detector) / 1e6, together


def milliseconds(weights: str, part: str = "all") -> dict[str, float]:
    """Of a picture by number of people: of the whole or a "detector" or "poses"; {} where nobody took the time."""
    taken = _taken(weights) or {}
    return {group: 1000 * one[part] for group, one in taken.items() if part in one}


def draw(last: str | None = None) -> Figure:
    """AP and PCKh-mAP against the number of people in the picture; what is told the boxes is dashed."""
    scored = measured(last)
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 3.4 if len(scored) <= INSIDE else 3.9))
    for ax, (key, title) in zip(axes, (("ap", "OKS-AP"), ("pckh_map", "PCKh-mAP")), strict=True):
        _draw_scores(ax, scored, key, title)
    if len(scored) <= INSIDE:
        axes[0].legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 0.04))
    else:
        _legend_below(figure, *axes)
    return figure


def draw_times(last: str | None = None) -> Figure:
    """Milliseconds a picture against the number of people in it, the detector's share dotted; beside it the AP."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.9))
    scored = measured(last)
    looks, detector = _looks(scored), {}
    for system in (TOLD_SYSTEM, *up_to(SYSTEMS, last)):
        whole = _groups(milliseconds(system.weights))
        detector = detector or _groups(milliseconds(system.weights, "detector"))
        left.plot(list(whole), list(whole.values()), label=system.title, **looks[system.title])
    if detector:  # the same one for all
        left.plot(list(detector), list(detector.values()), ":", color=style.INK, linewidth=1.2, label="detector alone")
    left.set(xlabel="people in the picture", title="ms a picture, one core", yscale="log")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_locator(NullLocator())
    left.grid(alpha=0.3)
    _draw_scores(right, scored, "ap", "OKS-AP")
    _legend_below(figure, right, left)
    return figure


def _legend_below(figure: Figure, *axes: Axes) -> None:
    """One legend of all that is drawn in some axes."""
    lines = {line.get_label(): line for ax in axes for line in ax.lines}
    figure.legend(lines.values(), lines, fontsize=8, loc="outside lower center", ncols=3, frameon=False)


def _draw_scores(ax: Axes, scored: dict[str, dict[str, Any]], key: str, title: str) -> None:
    looks = _looks(scored)
    for name, one in scored.items():
        groups = {group: values[key] for group, values in one["by_people"].items()}
        ax.plot(list(groups), list(groups.values()), label=name, **looks[name])
    ax.set(xlabel="people in the picture", title=f"{title} on {BENCHMARK}", ylim=(0, None))
    ax.grid(alpha=0.3)


def _looks(scored: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A colour for each, and a dashed line for those who are told the boxes."""
    told = {name: "--" if name in (MEAN_POSE, TOP_DOWN) else "-" for name in scored}
    colours = zip(scored, (style.SKY, style.INK, *style.CYCLE), strict=False)
    return {
        name: {"color": colour, "linestyle": told[name], "marker": "o", "markersize": 4} for name, colour in colours
    }


def _taken(weights: str) -> dict[str, dict[str, float]] | None:
    """A system's times, where they have been taken."""
    return crowd_times.of_weights(crowd_times.load(), weights) if crowd_times.FILE.exists() else None


def _groups(values: dict[str, float]) -> dict[str, float]:
    return {group: value for group, value in values.items() if group != crowd_times.ANY}


def measure() -> dict[str, Any]:
    """The study: what the mean pose scores where it is put into every true box."""
    skeleton = models.load(TOLD_SYSTEM.weights).skeleton
    mean = MeanPose.of(benchmarks.training_people(BENCHMARK, skeleton))
    return {**studies.provenance("paf_course"), "scores": benchmarks.measure(mean, BENCHMARK)}


main = partial(studies.make, FILE, measure)
