"""`python -m course_lib evaluate --data coco`: COCO's ten numbers on COCO's own pictures, as the papers count them.

    --model hub:hrnet_w32                            AP with flip test in the boxes that the paper took
    --boxes true | --boxes FILE | --detector NAME    in other boxes
    --split train2017 --pictures 50                  elsewhere, and a few to try

A model of one person is asked about one box after another. Simple baselines, HRNet and those after them then rank a
person by the score of the box times the mean of the joints' scores above 0.2, and of two poses with an OKS above 0.9
keep the better. Their boxes are a file that the authors give out, person_detection_results/COCO_val2017_detections_AP_
H_56_person.json: where it lies in COCO's folder, it is taken. In true boxes, AP is some points higher. Pictures are
read, answered and let go a few at a time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from course_lib import datasets, detectors, hub, metrics
from course_lib.datasets.coco import SPLITS
from course_lib.errors import CourseError
from course_lib.models.base import BOX_PADDING
from course_lib.photographs import found_in
from course_lib.pose import Found, Pose, Scene
from course_lib.progress import progress_bar
from course_lib.skeletons import COCO
from course_lib.targets.suppression import oks_nms
from course_lib.training import crowds

if TYPE_CHECKING:
    from course_lib.datasets.records import Records
    from course_lib.training.evaluate import Estimator

NAME, SPLIT = "coco", "val2017"
DETECTIONS = Path("person_detection_results") / "COCO_val2017_detections_AP_H_56_person.json"
AT_ONCE = 4  # pictures
SEEN = 0.2  # a joint with a lower score does not count in a person's
ALIKE = 0.9  # OKS above which two poses are of one person
COLUMNS = {"AP": "AP", "AP50": "AP50", "AP75": "AP75", "AP_medium": "AP-M", "AP_large": "AP-L"}
COLUMNS |= {name.replace("AP", "AR", 1): heading.replace("AP", "AR") for name, heading in COLUMNS.items()}


class InBoxes(crowds.Detected):
    """A single-person model in the boxes of a detector, as the authors of simple baselines and HRNet were scored."""

    def ranked(self, poses: Sequence[Pose], found: Found) -> list[Pose]:
        """Who stays of the poses in the boxes of a picture, the best first."""
        if not poses:
            return []
        height, width = self.model.input_size
        scored = []
        for pose, score in zip(poses, found.scores.tolist(), strict=True):
            sure = pose.scores[pose.scores > SEEN]
            scored.append(replace(pose, score=score * float(sure.mean()) if len(sure) else 0.0))
        sides = (found.boxes[:, 2:] - found.boxes[:, :2]) * BOX_PADDING
        wide = torch.maximum(sides[:, 0], sides[:, 1] * width / height)  # the crop on the picture
        return oks_nms(scored, ALIKE, areas=wide**2 * height / width)


# --- the command ------------------------------------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which pictures of COCO."""
    parser.add_argument("--split", choices=SPLITS, help=f"of COCO ({SPLIT})")
    parser.add_argument("--pictures", type=int, metavar="N", help="only the first N pictures of COCO")


def check(arguments: argparse.Namespace) -> None:
    """Refuses what does not go together, before anything is loaded."""
    on_coco = arguments.data == NAME
    if not on_coco and (arguments.split or arguments.pictures is not None):
        raise CourseError(f"--split and --pictures are for --data {NAME}")
    if on_coco and (arguments.baseline or arguments.record):
        raise CourseError(f"--baseline and --record are for the course's own benchmarks, not for --data {NAME}")
    if arguments.pictures is not None and arguments.pictures < 1:
        raise CourseError(f"--pictures must be at least 1; got {arguments.pictures}")
    if arguments.record and arguments.model.startswith(hub.PREFIX):
        raise CourseError(
            f"--record writes into a checkpoint of the course, which the file of {arguments.model} is not"
        )


def evaluate(arguments: argparse.Namespace, model: Any, file: Path) -> int:
    """Prints COCO's ten numbers, and what was published of this model."""
    columns = coco_columns(model)
    folder, split = datasets.find(NAME), arguments.split or SPLIT
    if folder is None:
        raise CourseError(
            "COCO is not on this machine: `python -m course_lib data` tells where it comes from and where to put it"
        )
    records = _records(folder, split)[: arguments.pictures]
    card = _card(arguments)
    flip = bool(card and card.flip) if arguments.flip is None else arguments.flip
    told, asked = _in_boxes(arguments, model, records, folder, split)
    scenes, poses = found_on(asked, records, columns, flip)
    matches = metrics.match_keypoints(poses, scenes)
    numbers, people = matches.scores().numbers, int(matches.people(np.ones(len(scenes)))[0])
    words = [f"{NAME} {split}", *told, *(["flip test"] if flip else [])]
    print(f"{', '.join(words)}: {arguments.model} ({file.name})")
    print("".join(f"{heading:>8}" for heading in COLUMNS.values()))
    print("".join(f"{'-' if numbers[name] is None else f'{numbers[name]:.4f}':>8}" for name in COLUMNS))
    print(f"{people} people in {len(scenes)} pictures")
    if card and card.scores:
        published = ", ".join(f"{score:.3f} ({whose})" for whose, score in card.scores.items())
        print(f"published, {card.measure}: {published}")
    return 0


def found_on(
    model: Estimator, records: Records, columns: Sequence[int], flip: bool
) -> tuple[list[Scene], list[list[Pose]]]:
    """Everybody found on every picture, in COCO's joints, and who was there; the pixels are not kept."""
    scenes, poses = [], []
    options = {"desc": NAME, "unit": "picture", "wanted": sys.stderr.isatty()}
    with progress_bar(total=len(records), **options) as bar:
        for part in _parts(records):
            for scene, found in zip(part, model.estimate([one.image for one in part], flip_test=flip), strict=True):
                scenes.append(replace(scene, image=scene.image[:, :0, :0].clone()))
                poses.append([_as_coco(pose, columns) for pose in found])
            bar.update(len(part))
    return scenes, poses


def coco_columns(model: Any) -> list[int]:
    """Which joint of a model is COCO's first, second, ...; a model that lacks one is refused."""
    if crowds.finds_boxes(model):
        raise CourseError(f"{model.name} finds boxes and no poses; give it as --detector")
    lacking = [name for name in COCO.joints if name not in model.skeleton.joints]
    if lacking:
        raise CourseError(
            f"COCO is scored on its {len(COCO)} joints, and skeleton '{model.skeleton.name}' of {model.name} lacks "
            f"{len(lacking)} of them, such as {lacking[0]}"
        )
    return [model.skeleton.index(name) for name in COCO.joints]


# --- the parts --------------------------------------------------------------------------------------------------------


def _card(arguments: argparse.Namespace) -> hub.Card | None:
    prefix, name = hub.PREFIX, arguments.model
    return hub.card(name.removeprefix(prefix)) if name.startswith(prefix) else None


def _records(folder: Path, split: str) -> Records:
    if not (folder / "annotations" / f"person_keypoints_{split}.json").is_file():
        there = [one for one in SPLITS if (folder / "annotations" / f"person_keypoints_{one}.json").is_file()]
        raise CourseError(f"COCO in '{folder}' has no {split}, but {' and '.join(there) or 'nothing'}; see --split")
    return datasets.read(NAME, folder, split)


def _in_boxes(
    arguments: argparse.Namespace, model: Any, records: Records, folder: Path, split: str
) -> tuple[list[str], Any]:
    """What is said of the boxes, and the model that finds everybody in them."""
    if crowds.finds_everybody(model) and not crowds.takes_boxes(model):
        if arguments.boxes or arguments.detector:
            raise CourseError(
                f"'{arguments.model}' looks for everybody itself; it takes neither --boxes nor --detector"
            )
        return [], model
    detector, given = detectors.given(arguments), arguments.boxes
    if detector is not None:
        return [f"boxes of {arguments.detector}"], _plugged(model, detector)
    if given is None:
        if crowds.takes_boxes(model):
            return [], model  # it has a detector of its own
        if split == SPLIT and (folder / DETECTIONS).is_file():
            given = folder / DETECTIONS
        else:
            print(f"There are no detected boxes ({DETECTIONS.name}), so the true ones are taken; AP is higher in them.")
    from course_lib.models.detector import GivenBoxes

    if given in (None, "true"):
        found = [_true(entry.people) for entry in records.entries]
        return ["true boxes"], _plugged(model, GivenBoxes(found))
    found = found_in(Path(given), [entry.id for entry in records.entries])
    return [f"boxes of {Path(given).name}"], _plugged(model, GivenBoxes(found))


def _plugged(model: Any, detector: Any) -> Any:
    return detectors.plugged(model, detector) if crowds.takes_boxes(model) else InBoxes(model, detector)


def _true(people: Sequence[Any]) -> Found:
    """The true boxes of a picture, all equally sure."""
    boxes = [person.box for person in people if not (person.crowd or person.ignore)]
    return Found(torch.stack(boxes).float() if boxes else torch.zeros(0, 4), torch.ones(len(boxes)))


def _parts(records: Records) -> Iterator[list[Scene]]:
    for start in range(0, len(records), AT_ONCE):
        yield [records[number] for number in range(start, min(start + AT_ONCE, len(records)))]


def _as_coco(pose: Pose, columns: Sequence[int]) -> Pose:
    return replace(pose, joints=pose.joints[list(columns)], scores=pose.scores[list(columns)], skeleton=COCO)
