"""How long every multi-person system takes for a picture, by how many people are in it: one core, measured once.

    python -m course_lib evaluate --study crowd_times        # some minutes of one core

shows six pictures of crowd-val of every size of crowd to every system of `crowd_line` whose weights ship, and writes
data/studies/crowd_times.json. Systems that look for boxes first are timed in two parts, the detector and the rest; how
many boxes they look at is written down as well. Seconds are those of a single thread that computes, so that other work
on the machine does not count. A picture is answered REPEATS times and the fastest counts; of pictures the median does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

from course_lib import checkpoints, models, paths
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.lessons import studies
from course_lib.pose import Scene
from course_lib.training import benchmarks, crowds

FILE = paths.DATA / "studies" / "crowd_times.json"
MADE_BY = "python -m course_lib evaluate --study crowd_times"
EACH = 6  # pictures of every size of crowd
REPEATS = 2
ANY = "any number"


def pictures(each: int = EACH) -> dict[str, list[Scene]]:
    """The first pictures of crowd-val with so many people, by group."""
    scenes = synthetic.benchmark(benchmarks.CROWDS[0], skeleton="lsp")
    groups = crowds.by_people(scenes).items()
    return {name: [scene for scene, one in zip(scenes, chosen, strict=True) if one][:each] for name, chosen in groups}


def ships() -> tuple[str, ...]:
    """The weights that are timed: who is told the true boxes first, then who finds everybody."""
    from course_lib.lessons import crowd_line  # not above: it reads this study

    return (crowd_line.TOLD_SYSTEM.weights, *(system.weights for system in crowd_line.SYSTEMS))


# --- the clock --------------------------------------------------------------------------------------------------------


def seconds(function: Callable[[], Any], repeats: int = REPEATS) -> float:
    """The fastest of some runs, in seconds of computing."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets torch compute in a single thread for as long as this lasts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def of_picture(model: Any, scene: Scene, repeats: int = REPEATS) -> dict[str, float]:
    """Seconds for one picture: of the whole, and of a two-stage system's detector and poses, with its boxes."""
    image = [scene.image]
    if crowds.takes_boxes(model):
        found = model.detector.detect(image)
        parts = {
            "detector": seconds(lambda: model.detector.detect(image), repeats),
            "poses": seconds(lambda: [model.suppress(own) for own in model.propose(image, found)], repeats),
        }
        return {"all": sum(parts.values()), **parts, "boxes": float(len(found[0].boxes))}
    if crowds.finds_everybody(model):
        return {"all": seconds(lambda: model.estimate(image), repeats)}
    boxes = crowds.true_boxes(scene)
    return {"all": seconds(lambda: model.estimate(image, boxes=[boxes]), repeats), "boxes": float(len(boxes))}


def of_system(model: Any, groups: dict[str, Sequence[Scene]], repeats: int = REPEATS) -> dict[str, dict[str, float]]:
    """The medians (of boxes the mean) by group of pictures, and over all of them."""
    first = next((scene for scenes in groups.values() for scene in scenes), None)
    if first is None:
        raise CourseError("there are no pictures to take the time of")
    of_picture(model, first, 1)  # whatever is only done once
    rows = {name: [of_picture(model, scene, repeats) for scene in scenes] for name, scenes in groups.items() if scenes}
    rows[ANY] = [row for own in rows.values() for row in own]
    return {
        name: {key: round((fmean if key == "boxes" else median)(row[key] for row in own), 5) for key in own[0]}
        for name, own in rows.items()
    }


# --- the study --------------------------------------------------------------------------------------------------------


def measure(each: int = EACH, repeats: int = REPEATS, weights: Sequence[str] | None = None) -> dict[str, Any]:
    """The whole study, of all that ships or of these weights."""
    groups, runs = pictures(each), []
    with one_thread():
        for name in ships() if weights is None else weights:
            header = checkpoints.read_header(paths.checkpoint(name))
            about = {key: header[key] for key in ("recipe", "steps", "images")}
            model = models.load(name)
            about["benchmark"] = benchmarks.title(model, benchmarks.CROWDS[0])  # beside whose scores the times belong
            runs.append({"weights": name, **about, "seconds": of_system(model, groups, repeats)})
        study = {"made_by": MADE_BY, **studies.provenance("paf_course"), "repeats": repeats}
    return {**study, "short_run": shown(groups), "runs": runs}


def shown(groups: dict[str, Sequence[Scene]]) -> dict[str, list[list[int]]]:
    """Number and people of every picture by group: what tells whether the pictures are still the same."""
    return {name: [[scene.id, len(scene.people)] for scene in scenes] for name, scenes in groups.items()}


def load(file: Path | None = None) -> dict[str, Any]:
    """The stored study."""
    file = file or FILE
    if not file.exists():
        raise CourseError(f"nobody has taken the times yet: `{MADE_BY}` does, and writes {file.name}")
    return studies.load(file)


def of_weights(study: dict[str, Any], weights: str) -> dict[str, dict[str, float]] | None:
    """A system's seconds by group, or None where it was not there when the times were taken."""
    return next((run["seconds"] for run in study["runs"] if run["weights"] == weights), None)


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the study and writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=EACH, help="pictures of every size of crowd (%(default)s)")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="of every picture (%(default)s)")
    parser.add_argument("--weights", nargs="+", help="only these (all that ship)")
    parser.add_argument("--out", type=Path, default=FILE)
    given = parser.parse_args(arguments)
    studies.save(given.out, measure(given.each, given.repeats, given.weights))
