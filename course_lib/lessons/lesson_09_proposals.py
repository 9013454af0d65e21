"""What PGPG learns from: how the course's own detector errs on training pictures, by what people are doing.

    python -m course_lib evaluate --study proposals        # a few minutes of one core

shows pictures that are no benchmark's to the shipped detector, pairs every box that it answers with the person whom it
covers best, fits `targets/proposals.py` on all pairs whose IoU is half or more, and writes data/studies/proposals.json:
what training reads, and a sample of the pairs for lesson 09 to draw. Trained anew, the detector needs this run again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_lib import checkpoints, geometry, models, paths
from course_lib.datasets import synthetic
from course_lib.lessons import studies
from course_lib.models.detector import Detector
from course_lib.pose import Person, Scene
from course_lib.skeletons import Skeleton
from course_lib.targets.proposals import FILE, Proposals, offsets

WEIGHTS, PEOPLE = "person_detector", "lesson 09 proposals"  # seed of pictures that nobody is tested on
PICTURES, AT_ONCE = 600, 25
COUNTED = 0.5  # IoU from which a box counts as somebody's, in detection and here
LEAST = 0.3  # boxes less sure than this are not learned from: they rank so low that nobody sees their poses
KEPT = 1200  # pairs that are stored for the lesson's figures


class Pairs(NamedTuple):
    """P boxes that were found, each with the person it was found for."""

    joints: Tensor  # (P, K, 2)
    visible: Tensor  # (P, K)
    true: Tensor  # (P, 4)
    detected: Tensor  # (P, 4)
    scores: Tensor  # (P,)

    def rows(self, which: Tensor) -> Pairs:
        """Some of the pairs."""
        return Pairs(*(part[which] for part in self))

    @property
    def iou(self) -> Tensor:
        """(P,) of every box with its own person's."""
        each = [
            geometry.box_iou(one[None], other[None])[0] for one, other in zip(self.true, self.detected, strict=True)
        ]
        return torch.cat(each) if each else torch.zeros(0)


def paired(detector: Detector, scenes: Sequence[Scene], skeleton: Skeleton, least: float = LEAST) -> Pairs:
    """Every box of a detector that covers a person with half of their union or more, with the one covered best.

    One person may be in several pairs: every answer is a crop that a pose network will be shown.
    """
    people: list[Person] = []
    boxes, scores = [torch.zeros(0, 4)], [torch.zeros(0)]
    for start in range(0, len(scenes), AT_ONCE):
        part = scenes[start : start + AT_ONCE]
        for scene, found in zip(part, detector.detect([scene.image for scene in part]), strict=True):
            true = [person for person in scene.people if person.box is not None and not person.ignore]
            sure = found.scores >= least
            if not true or not bool(sure.any()):
                continue
            shared, whom = geometry.box_iou(found.boxes[sure], torch.stack([one.box for one in true])).max(1)
            good = shared >= COUNTED
            people += [true[index] for index in whom[good].tolist()]
            boxes.append(found.boxes[sure][good])
            scores.append(found.scores[sure][good])
    joints = torch.stack([one.joints for one in people]) if people else torch.zeros(0, len(skeleton), 2)
    visible = torch.stack([one.visible for one in people]) if people else torch.zeros(0, len(skeleton))
    true = torch.stack([one.box for one in people]) if people else torch.zeros(0, 4)
    return Pairs(joints, visible, true, torch.cat(boxes), torch.cat(scores))


def measure(pictures: int = PICTURES) -> dict[str, Any]:
    """The fit, what it was fitted on, and a sample of that."""
    detector = models.load(WEIGHTS)
    scenes = synthetic.scenes(pictures, PEOPLE, detector.input_size, skeleton=detector.skeleton)
    pairs = paired(detector, scenes, detector.skeleton)
    fitted = Proposals.fit(*pairs[:4], skeleton=detector.skeleton)
    share = fitted.atom(pairs.joints, pairs.visible).bincount(minlength=len(fitted.centres)) / len(pairs.true)
    some = pairs.rows(torch.randperm(len(pairs.true), generator=torch.Generator().manual_seed(0))[:KEPT])
    return {
        "what": "errors of the shipped detector's boxes in sides of the true box, by atomic pose",
        "made_by": "python -m course_lib evaluate --study proposals",
        **studies.provenance(WEIGHTS),
        "weights": identity(),
        "pictures": len(scenes),
        "people": sum(len(scene.people) for scene in scenes),
        "pairs": len(pairs.true),
        "least_score": LEAST,
        "proposals": fitted.as_dict(),
        "share": rounded(share),
        "sample": {
            "offsets": rounded(offsets(some.true, some.detected)),
            "atoms": fitted.atom(some.joints, some.visible).tolist(),
            "sides": rounded(some.true[:, 2:] - some.true[:, :2], 1),
            "iou": rounded(some.iou),
        },
    }


def identity() -> dict[str, Any]:
    """What changes whenever the detector is trained anew."""
    header = checkpoints.read_header(paths.checkpoint(WEIGHTS))
    return {key: header[key] for key in ("recipe", "steps", "images", "seed")}


def rounded(values: Tensor, digits: int = 4) -> list[Any]:
    """A tensor as lists of numbers that a file can hold."""
    if values.ndim > 1:
        return [rounded(row, digits) for row in values]
    return [round(value, digits) for value in values.tolist()]


def load(file: Path = FILE) -> dict[str, Any]:
    """The stored study."""
    return studies.load(file)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fits and writes."""
    parser = argparse.ArgumentParser(description="how the course's detector errs")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--out", type=Path, default=FILE)
    given = parser.parse_args(arguments)
    studies.save(given.out, measure(given.pictures))
