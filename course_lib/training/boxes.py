"""How good a detector is at pictures of many people: COCO's AP of boxes, whole and by how many people there are.

The true box of a person is the tight box of what can be seen of them, so whoever stands half behind a post has a small
one. A picture in which nobody is listed counts as well: what is found there is a false alarm. How far the AP can be
trusted is told by `crowds.interval`, and two detectors are compared in pairs by `crowds.paired_interval`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib import metrics
from course_lib.errors import CourseError
from course_lib.metrics.ap import COCO_AREAS, Matches
from course_lib.pose import Found, Scene
from course_lib.training import crowds

if TYPE_CHECKING:
    from course_lib.models.detector import Detector


def examine(detector: Detector, scenes: Sequence[Scene]) -> dict[str, Any]:
    """The scores of whatever says where people are, on scenes with any number of them.

    "box_ap", "box_ap50", "box_ap75", "box_ar"   by IoU; None where nobody is to be found
    "people", "pictures"                         how many people there are to find, in how many pictures
    "by_people"                                  the same six by people listed: see `crowds.GROUPS`
    "box_ap_interval"                            (low, high): see `crowds.interval`
    """
    return examined(detector, scenes)[0]


def examined(detector: Detector, scenes: Sequence[Scene]) -> tuple[dict[str, Any], Matches]:
    """The scores of `examine`, and who was found by which box, so that two detectors can be compared in pairs."""
    matches = metrics.match_boxes(detected(detector, scenes), scenes, areas={"all": COCO_AREAS["all"]})
    groups = {name: _scores(matches, chosen) for name, chosen in crowds.by_people(scenes).items()}
    whole = _scores(matches, np.ones(len(scenes), dtype=bool))
    return {**whole, "by_people": groups, "box_ap_interval": crowds.interval(matches)}, matches


def detected(detector: Detector, scenes: Sequence[Scene]) -> list[Found]:
    """The boxes found in every scene."""
    found: list[Found] = []
    for start in range(0, len(scenes), crowds.AT_ONCE):
        images = [scene.image for scene in scenes[start : start + crowds.AT_ONCE]]
        found += detector.detect(images)
        if len(found) != start + len(images):
            raise CourseError(
                f"{type(detector).__name__} must answer every picture with what it found there; it gave "
                f"{len(found) - start} answers for {len(images)} pictures"
            )
    return found


def _scores(matches: Matches, chosen: np.ndarray) -> dict[str, float | int | None]:
    """The six numbers of the scenes that are `chosen` (N,)."""
    of = matches.scores(chosen.astype(float))
    return {
        "box_ap": of.ap(),
        "box_ap50": of.ap(threshold=0.5),
        "box_ap75": of.ap(threshold=0.75),
        "box_ar": of.ar(),
        "people": int(matches.people(chosen.astype(float))[0]),
        "pictures": int(chosen.sum()),
    }
