"""The leaderboard: one row for every system of the course, with what it costs and what it scores.

    python -m course_lib leaderboard                # takes the times that are missing, prints the table, draws it
    python -m course_lib leaderboard --again        # takes all times anew
    python -m course_lib leaderboard --out board    # also writes the page whose columns can be sorted

Scores come from the headers of the weights that ship, where `evaluate --record` has written them, and from nowhere
else: what was not measured has no row. Costs are measured by this command on the machine at hand and kept in
data/studies/leaderboard.json for as long as the weights stay the same. Years and weights are those of the lessons' own
lines, ideas and published scores those of `published`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from course_lib import checkpoints, models, paths
from course_lib.course.published import PAPERS, Paper
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.lessons import crowd_line, crowd_times, line, studies
from course_lib.lessons.line import System
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.models.top_down import DETECTOR
from course_lib.training import benchmarks, crowds
from course_lib.training.provenance import images_in_all

FILE = paths.DATA / "studies" / "leaderboard.json"
MADE_BY = "python -m course_lib leaderboard"
REPEATS = 5  # of a crop; the fastest counts
EACH = 2  # pictures of every size of crowd
SINGLE, PHOTOGRAPHS = benchmarks.SINGLE
CROWD = benchmarks.CROWDS[0]
TOLD, FINDS = "true", "own"  # whose boxes a system works with in a crowd


class Column(NamedTuple):
    """A column of numbers."""

    heading: str
    group: str  # stands over several columns
    decimals: int
    more_is_better: bool = True


COSTS = {
    "parameters": Column("million weights", "cost", 2, False),
    "multiply_adds": Column("G multiply-adds", "cost", 2, False),
    "milliseconds": Column("ms an image", "cost", 0, False),
}
TRAINED = {"pictures": Column("thousand pictures", "training", 0, False)}  # all that are behind the weights
_DRAWN = {"pcp": "PCP", "pck@0.2": "PCK@0.2", "pdj@0.2": "PDJ@0.2", "pckh@0.5": "PCKh@0.5"}
DRAWN = {name: Column(heading, "one drawn person", 3) for name, heading in _DRAWN.items()}
PHOTOGRAPHED = {"photographs": Column("PCK@0.2", "photos", 3)}
CROWDED = {f"{few}-{most}": Column(f"{few}–{most}", "OKS-AP by number of people", 3) for few, most in crowds.GROUPS}
SCORES = {**DRAWN, **PHOTOGRAPHED, **CROWDED}
COLUMNS = {**COSTS, **TRAINED, **SCORES}


@dataclass(frozen=True)
class Row:
    """A system that has been measured."""

    weights: str
    name: str
    lesson: str  # "06"
    year: int
    paper: Paper
    told: bool  # whether it must be told where people are; else it finds them itself
    values: Mapping[str, float | None]  # one for each of COLUMNS

    @property
    def boxes(self) -> str:
        """Whose boxes this system works with in a crowd; who needs none finds people on its own, too."""
        return TOLD if self.told else FINDS


class Board(NamedTuple):
    """The whole table, and what does not stand in it."""

    rows: list[Row]
    unlisted: list[str]  # sentences: systems without a measurement, and why
    untimed: list[str]  # names of systems whose weights nobody has timed
    machine: list[str]  # where and when the times were taken


def systems() -> list[System]:
    """Every system of the course, in the order of the lessons."""
    return sorted((*line.SYSTEMS, *crowd_line.LINE), key=lambda system: system.title[:2])


def name_of(system: System) -> str:
    """A system's name without its lesson."""
    return PAPERS[system.weights].name or system.title[3:]


def board(folder: Path | None = None, file: Path | None = None) -> Board:
    """The leaderboard of the weights in a folder, with the costs in a file."""
    study = load(file)
    table = Board([], [], [], [])
    for system in systems():
        path = (folder or paths.CHECKPOINTS) / f"{system.weights}.safetensors"
        try:
            header = checkpoints.verify(path)
        except CourseError as error:
            table.unlisted.append(f"{name_of(system)}: {error}".replace(str(path), path.name))
            continue
        told = system in line.SYSTEMS
        values = measured(header["scores"], told)
        if not any(value is not None for value in values.values()):
            table.unlisted.append(f"{name_of(system)}: {path.name} carries no measurement that belongs here")
            continue
        run = valid(study, system.weights, path.parent)
        if run is None:
            table.untimed.append(name_of(system))
        elif (where := f"{run['device']}, {run['date']}, code {run['code']}") not in table.machine:
            table.machine.append(where)
        about = name_of(system), system.title[:2], system.year, PAPERS[system.weights], told
        trained = {"pictures": images_in_all(header) / 1000}
        table.rows.append(Row(system.weights, *about, costs(run) | trained | values))
    return table


def measured(scores: Mapping[str, Any], told: bool) -> dict[str, float | None]:
    """The columns SCORES of a header's scores.

    Who must be told where people are is told the true boxes of a crowd. Who finds everybody answers a crop of one
    person with whom it is surest of.
    """
    surest = "" if told else f", {benchmarks.SUREST}"
    drawn, photographed = (scores.get(f"{name}{surest}", {}) for name in (SINGLE, PHOTOGRAPHS))
    crowd = scores.get(f"{CROWD}, {crowds.TopDown.told}" if told else CROWD, {}).get("by_people", {})
    found = {
        **{name: drawn.get(name) for name in DRAWN},
        "photographs": photographed.get("pck@0.2"),
        **{people: crowd.get(people, {}).get("ap") for people in CROWDED},
    }
    return {name: value if value is not None and math.isfinite(value) else None for name, value in found.items()}


# --- what a system costs ----------------------------------------------------------------------------------------------


def load(file: Path | None = None) -> dict[str, Any]:
    """The stored costs; none where nobody has measured any."""
    file = file or FILE
    if not file.exists():
        return {"made_by": MADE_BY, "runs": []}
    try:
        study = studies.load(file)
        return {"made_by": MADE_BY, "runs": [dict(run) for run in study["runs"]]}
    except (ValueError, TypeError, KeyError):
        raise CourseError(f"{file.name} holds no times; remove it, and `{MADE_BY}` takes them anew") from None


def valid(study: Mapping[str, Any], weights: str, folder: Path) -> dict[str, Any] | None:
    """A system's run, if all weights that took part are still the same."""
    run = next((run for run in study["runs"] if run["weights"] == weights), None)
    try:
        same = run and all(
            checkpoints.weights_digest(folder / f"{name}.safetensors") == digest
            for name, digest in run["digests"].items()
        )
    except CourseError:  # one of them is no longer there
        return None
    return run if same else None


def costs(run: Mapping[str, Any] | None) -> dict[str, float | None]:
    """The columns COSTS of a run."""
    if run is None:
        return dict.fromkeys(COSTS)
    return {name: run[name] for name in ("parameters", "multiply_adds")} | {"milliseconds": 1000 * run["seconds"]}


def take_times(again: bool = False, file: Path | None = None) -> int:
    """Measures the cost of every system whose weights ship and that has no valid run; how many there were.

    The file is written after each of them, so that what is interrupted goes on where it was.
    """
    file, count = file or FILE, 0
    study = load(file)
    order = [system.weights for system in systems()]
    for system in systems():
        if not paths.checkpoint(system.weights).exists():
            continue
        if not again and valid(study, system.weights, paths.CHECKPOINTS):
            continue
        run = cost_of(system)
        runs = [*(other for other in study["runs"] if other["weights"] != system.weights), run]
        study["runs"] = sorted(runs, key=lambda one: order.index(one["weights"]) if one["weights"] in order else -1)
        studies.save(file, study)
        print(f"{system.weights:<24} {1000 * run['seconds']:8.1f} ms, {run['picture']}", flush=True)
        count += 1
    return count


def cost_of(system: System) -> dict[str, Any]:
    """Million parameters, billion multiply-adds, and seconds of one thread for an image.

    An image is a crop around one person for who must be told where people are; else a crowd, of which there are EACH of
    every size, and the median counts.
    """
    names = [system.weights]
    model = models.load(system.weights)
    with crowd_times.one_thread():
        if system in line.SYSTEMS:
            (scene,) = synthetic.benchmark(SINGLE, model.skeleton, count=1)
            size = parameters(model) / 1e6, giga_multiply_adds(model)
            model.estimate([scene.image])  # whatever is only done once
            seconds = crowd_times.seconds(lambda: model.estimate([scene.image]), REPEATS)
        else:
            (scene,) = synthetic.benchmark(CROWD, model.skeleton, count=1)
            size = crowd_line.cost(system.weights)
            seconds = crowd_times.of_system(model, crowd_times.pictures(EACH))[crowd_times.ANY]["all"]
            names += [DETECTOR] if crowds.takes_boxes(model) else []
        about = studies.machine()
    height, width = scene.image.shape[-2:]
    return {
        "weights": system.weights,
        "digests": {name: checkpoints.weights_digest(paths.checkpoint(name)) for name in names},
        "picture": f"a {'person' if system in line.SYSTEMS else 'crowd'} of {width} x {height} pixels",
        "parameters": round(size[0], 5),
        "multiply_adds": None if size[1] is None else round(size[1], 5),
        "seconds": round(seconds, 5),
        **about,
    }


# --- as text, and benchmark by benchmark ------------------------------------------------------------------------------


def texts(table: Board) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Two tables for `show.table`, a row a system: what it is and what was published, and what was measured."""
    about = {
        row.name: {
            "lesson": row.lesson,
            "year": str(row.year),
            "idea": row.paper.idea,
            "published": str(row.paper.score or "–"),
        }
        for row in table.rows
    }
    heads = {"parameters": "M", "multiply_adds": "G", "milliseconds": "ms", "pictures": "shown", "photographs": "photo"}
    heads |= {people: f"AP {column.heading}" for people, column in CROWDED.items()}
    named = {name: heads.get(name, column.heading) for name, column in COLUMNS.items()}
    numbers = {
        row.name: {**{named[name]: row.values[name] for name in COLUMNS}, "boxes": row.boxes} for row in table.rows
    }
    return about, numbers


def by_benchmark(folder: Path | None = None) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """All measured scores of all weights: rows by benchmark, and what could not be listed.

    What finds many people has its time beside them, where the study of times knows it.
    """
    times = milliseconds()
    tables: dict[str, list[dict[str, Any]]] = {}
    unlisted = []
    for path in sorted((folder or paths.CHECKPOINTS).glob("*.safetensors")):
        try:
            header = checkpoints.read_header(path)
        except CourseError as error:
            unlisted.append(str(error).replace(str(path), path.name))
            continue
        scored = {name: numbers(scores) for name, scores in header["scores"].items() if isinstance(scores, dict)}
        if not any(scored.values()):
            unlisted.append(f"{path.stem} holds no measurement")
        for benchmark, scores in scored.items():
            if scores:
                scores |= times.get((path.stem, benchmark), {})
                tables.setdefault(benchmark, []).append({"name": path.stem, "scores": scores, "header": header})
    for rows in tables.values():
        rows.sort(key=lambda row: -next(iter(row["scores"].values())))
    return dict(sorted(tables.items())), unlisted


def numbers(scores: Mapping[str, Any]) -> dict[str, float | int]:
    """The finite numbers among some scores, the ones that decide the order first.

    Of scores by number of people in a picture, those by which models are compared.
    """
    by_people = {
        f"{name}, {people}": one[name]
        for people, one in scores.get("by_people", {}).items()
        for name in _BY_PEOPLE
        if name in one
    }
    found = {
        name: value
        for name, value in (*scores.items(), *by_people.items())
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
    return {name: found[name] for name in (*_DECIDES, *found) if name in found}


def milliseconds() -> dict[tuple[str, str], dict[str, float]]:
    """By weights and benchmark, how long a picture takes: as `lessons.crowd_times` has measured it on one core."""
    file = paths.DATA / "studies" / crowd_times.FILE.name
    runs = studies.load(file)["runs"] if file.exists() else []
    return {
        (run["weights"], run["benchmark"]): {
            f"ms a picture, {people}": 1000 * one["all"] for people, one in run["seconds"].items()
        }
        for run in runs
    }


_BY_PEOPLE = ("ap", "pckh_map", "box_ap")
_DECIDES = ("ap", "pck@0.2", "box_ap")  # a table is ordered by the first of these that it has
