"""What every decision between box and pose is worth: rank, suppression, decoding, boxes, RoIAlign.

    python -m course_lib evaluate --study top_down_study        # some minutes of one core

shows the first 100 pictures of crowd-val to the detectors once and every box to G-RMI's network once, then ranks,
suppresses and decodes in many ways; asks Mask R-CNN's network as it is and with RoIPool; and writes
data/studies/top_down_study.json. The lesson repeats the scores on the first pictures, so that the numbers cannot drift
away from weights and code. `--scenes` and `--out` are for trying it out. What systems score on all pictures, and how
long they take, is in their weights' headers and in `crowd_times`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from course_lib import checkpoints, metrics, models, paths
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.lessons import lesson_10_regions as regions
from course_lib.lessons import studies
from course_lib.lessons.lesson_07_study import breaking
from course_lib.lessons.lesson_10_people import CELL, HEAT, RANKS, VOTES, Boxed, Proposed
from course_lib.metrics.ap import COCO_AREAS
from course_lib.pose import Found, Pose, Scene

FILE = paths.DATA / "studies" / "top_down_study.json"
GRMI, MASK, DETECTOR = "grmi_course", "mask_rcnn_course", "person_detector"
WEIGHTS = (GRMI, MASK, DETECTOR)
PICTURES = 100  # the first so many: enough to compare arms of one and the same network
FIRST = 8  # pictures of the short run
SAME = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
AT_ONCE = 25


def scored(poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene]) -> dict[str, float]:
    """AP, AP50, AR and PCKh-mAP."""
    whole = metrics.match_keypoints(poses, scenes, areas={"all": COCO_AREAS["all"]}).scores()
    row = {"ap": whole.ap(), "ap50": whole.ap(threshold=0.5), "ar": whole.ar()}
    row["pckh_map"] = metrics.pckh_map(poses, scenes)["mAP"]
    return {name: round(float(value or 0.0), 4) for name, value in row.items()}


def true_boxes(scenes: Sequence[Scene]) -> list[Found]:
    """Everybody's box, each as sure as any."""
    boxes = [torch.stack([one.box for one in s.people]).float() if s.people else torch.zeros(0, 4) for s in scenes]
    return [Found(own, torch.ones(len(own))) for own in boxes]


def estimated(model: Any, scenes: Sequence[Scene]) -> list[list]:
    """Everybody found in every scene."""
    found = []
    for start in range(0, len(scenes), AT_ONCE):
        found += model.estimate([scene.image for scene in scenes[start : start + AT_ONCE]])
    return found


def of_grmi(scenes: Sequence[Scene], found: dict[str, list[Found]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Ranks, thresholds of OKS-NMS, boxes by other means, and ways to read the maps; and who is found, with its own
    boxes and with the true ones."""
    model = models.load(GRMI)
    own = Proposed.of(model, scenes, found[DETECTOR])
    arms = {("rank", rank): own.ranked(rank) for rank in RANKS}
    arms |= {("same", f"{same:g}"): own.ranked("peaks", same) for same in SAME}
    arms["same", "none goes"] = own.ranked("peaks", None)
    for name, boxes in (("those of Mask R-CNN", found[MASK]), ("the true ones", true_boxes(scenes))):
        same = None if name == "the true ones" else 0.5
        arms["boxes", name] = Proposed.of(model, scenes, boxes).ranked("peaks", same)
    boxed = Boxed.of(model, scenes)
    arms |= {("decode", way): boxed.poses(way, len(scenes)) for way in (HEAT, CELL, VOTES)}
    rows = [{"part": part, "arm": arm, **scored(poses, scenes)} for (part, arm), poses in arms.items()]
    for row in rows:
        if row["part"] == "decode":
            row["median error"] = round(float(boxed.errors(row["arm"]).median()), 4)
    arrows = boxed.arrows()
    misses = {name: round(float(getattr(arrows, name).median()), 4) for name in arrows._fields}
    people = {"G-RMI": arms["rank", "peaks"], "G-RMI, true boxes": arms["boxes", "the true ones"]}
    who = {name: breaking(poses, scenes) for name, poses in people.items()}
    return [*rows, {"part": "arrows", "arm": "median, pixels", **misses}], who


def of_mask_rcnn(scenes: Sequence[Scene]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """As it is, and with rounding and RoIPool where joints are read; and who is found."""
    poses = {arm: estimated(change(models.load(MASK)), scenes) for arm, change in regions.POOLINGS.items()}
    rows = [{"part": "pooling", "arm": arm, **scored(own, scenes)} for arm, own in poses.items()]
    return rows, {"Mask R-CNN": breaking(poses["RoIAlign"], scenes)}


def boxes_of(found: dict[str, list[Found]], scenes: Sequence[Scene]) -> dict[str, Any]:
    """Box AP of the detectors, and how many boxes they give a picture."""
    rows = {}
    for name, own in found.items():
        numbers = metrics.box_ap(own, scenes)
        rows[name] = {key: None if numbers[key] is None else round(numbers[key], 4) for key in ("AP", "AP50", "AR")}
        rows[name]["boxes"] = round(sum(len(one.boxes) for one in own) / max(len(own), 1), 2)
    return rows


# --- the whole --------------------------------------------------------------------------------------------------------


def identity() -> dict[str, Any]:
    """What changes whenever the weights are trained anew."""
    kept = ("recipe", "steps", "images", "seed")
    headers = {name: checkpoints.read_header(paths.checkpoint(name)) for name in WEIGHTS}
    return {name: {key: header[key] for key in kept} for name, header in headers.items()}


def short_run() -> dict[str, Any]:
    """The scores on the first pictures: stored with the study, and measured again by the lesson."""
    scenes = synthetic.benchmark("crowd-val", skeleton="lsp", count=FIRST)
    scores = {name: scored(estimated(models.load(name), scenes), scenes) for name in (GRMI, MASK)}
    return {"pictures": FIRST, **{name: {key: one[key] for key in ("ap", "pckh_map")} for name, one in scores.items()}}


def agree(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two short runs are of the same weights and code, but for rounding."""
    pairs = [(one[name][key], other[name][key]) for name in (GRMI, MASK) for key in ("ap", "pckh_map")]
    return one["pictures"] == other["pictures"] and all(abs(a - b) < 0.02 for a, b in pairs)


def measure(pictures: int = PICTURES) -> dict[str, Any]:
    """The whole study."""
    torch.set_num_threads(1)
    scenes = synthetic.benchmark("crowd-val", skeleton="lsp", count=pictures)
    images = [scene.image for scene in scenes]
    ask: dict[str, Callable] = {name: models.load(name).detect for name in (DETECTOR, MASK)}
    found = {name: detect(images) for name, detect in ask.items()}
    study = {"made_by": "python -m course_lib evaluate --study top_down_study", **studies.provenance(GRMI)}
    study |= {"weights": identity(), "pictures": len(scenes), "short_run": short_run()}
    (crops, who), (cuts, whose) = of_grmi(scenes, found), of_mask_rcnn(scenes)
    study |= {"runs": [*crops, *cuts], "breaking": {**who, **whose}}
    return study | {"boxes": boxes_of(found, scenes)}


def load(file: Path = FILE) -> dict[str, Any]:
    """The stored study, which must be about the weights that ship now."""
    study = studies.load(file)
    if study["weights"] != identity():
        raise CourseError(
            f"{file} was measured with other weights than {', '.join(WEIGHTS)} have now; `{study['made_by']}` measures "
            "again"
        )
    return study


def arms(study: dict[str, Any], part: str) -> dict[str, dict[str, Any]]:
    """The rows of one part of the study, by arm."""
    return {run["arm"]: run for run in study["runs"] if run["part"] == part}


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the study and writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=PICTURES, help="how many pictures (%(default)s)")
    parser.add_argument("--out", type=Path, default=FILE)
    given = parser.parse_args(arguments)
    studies.save(given.out, measure(given.scenes))
