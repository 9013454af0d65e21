"""How good a model is at pictures of many people: OKS-AP and PCKh-mAP, whole and by how many people there are.

A picture is shown whole, and everybody in it is to be found. A picture in which nobody is listed counts as well: who is
found there is a false alarm. A single-person model takes part in two ways: as a `TopDown`, which is told where
everybody is and so answers how well poses are estimated once people are found; or as a `Detected`, which a detector
tells where somebody seems to be. Scores with true boxes stand apart from those of models that look for people
themselves.

AP here is COCO's protocol over the joints of the model's skeleton; with other joints than COCO's 17 it cannot be
compared with COCO's numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from course_lib import metrics
from course_lib.errors import CourseError
from course_lib.images import to_tensor
from course_lib.metrics.ap import COCO_AREAS, Matches
from course_lib.pose import Found, Pose, Scene
from course_lib.targets.suppression import box_nms
from course_lib.training.evaluate import Estimator, check_skeleton, middle

if TYPE_CHECKING:
    from course_lib.models.detector import Detector

GROUPS = ((1, 2), (3, 4), (5, 7), (8, 12))  # (fewest, most) people listed in a scene
SAMPLES = 500  # of pictures, for an interval
AT_ONCE = 25  # pictures


class TopDown:
    """A model that is told the true boxes of everybody, and is asked about one after another.

    People are ranked by the model's own confidence in their joints. A top-down model leaves its detector out.
    """

    many, told = True, "true boxes"

    def __init__(self, model: Estimator) -> None:
        if finds_everybody(model) and not takes_boxes(model):
            raise CourseError(f"{type(model).__name__} looks for everybody itself; it needs no boxes")
        self.model, self.skeleton = model, model.skeleton

    def estimate(self, images: Any, boxes: Any = None, flip_test: bool = False) -> list[list[Pose]]:
        """One pose for every box (N, 4) of every picture; boxes as in `PoseModel.estimate`, but never left out."""
        if boxes is None or any(one is None for one in boxes):
            raise CourseError("a top-down model must be told the boxes of the people")
        poses = self.model.estimate(images, boxes=boxes, flip_test=flip_test)
        asked = sum(torch.as_tensor(one).numel() for one in boxes) // 4  # a row of one picture, or a picture
        if sum(map(len, poses)) != asked:
            raise CourseError(
                f"{type(self.model).__name__} must answer every box with one pose; it gave {sum(map(len, poses))} for "
                f"{asked} boxes"
            )
        return poses


class Detected:
    """A single-person model behind a detector: it is asked about one box after another, whosever they are.

    The oldest way from one person to many. People are ranked by the score of their box times the mean of their joints'
    scores; of two whose boxes have an IoU above `nms`, the better stays. (On other pictures than the benchmark's AP is
    the same from 0.3 to 0.6, and PCKh-mAP falls: it counts every false alarm.)
    """

    many, told = True, "detected"

    def __init__(self, model: Estimator, detector: Detector, nms: float = 0.4) -> None:
        if finds_everybody(model):
            raise CourseError(f"{type(model).__name__} looks for everybody itself; it is not put behind a detector")
        self.model, self.detector, self.skeleton, self.nms = model, detector, model.skeleton, nms

    def estimate(self, images: Any, boxes: Any = None, flip_test: bool = False) -> list[list[Pose]]:
        """Everybody in a list of pictures; with boxes one pose for each, as the model alone answers."""
        if boxes is not None:
            return self.model.estimate(images, boxes=boxes, flip_test=flip_test)
        from course_lib.models.top_down import usable  # not above: torchvision's detection takes seconds to import

        several = isinstance(images, list | tuple) or getattr(images, "ndim", 3) == 4
        pictures = [to_tensor(image) for image in (images if several else [images])]
        answers = zip(self.detector.detect(pictures), pictures, strict=True)
        found = [usable(one, picture.shape[-2:]) for one, picture in answers]
        poses = self.model.estimate(pictures, boxes=[one.boxes for one in found], flip_test=flip_test)
        return [self.ranked(own, one) for own, one in zip(poses, found, strict=True)]

    def ranked(self, poses: Sequence[Pose], found: Found) -> list[Pose]:
        """Who stays of the poses in the boxes of a picture, the best first."""
        scored = [
            replace(pose, score=score * float(pose.scores.mean()), box=box)
            for pose, box, score in zip(poses, found.boxes, found.scores.tolist(), strict=True)
        ]
        scores = torch.tensor([pose.score for pose in scored])
        return [scored[i] for i in box_nms(found.boxes, scores, self.nms).tolist()]


def finds_everybody(model: Estimator) -> bool:
    """Whether a model needs no boxes to answer with all people in a picture; a `TopDown` brings them along."""
    return getattr(model, "many", False)


def takes_boxes(model: Estimator) -> bool:
    """Whether a model that finds everybody does so box by box, so that it can be given other boxes."""
    return getattr(model, "takes_boxes", False)


def finds_boxes(model: Any) -> bool:
    """Whether a model is a detector: it answers with boxes, not with poses."""
    return getattr(model, "finds", "poses") == "boxes"


def examine(model: Estimator, scenes: Sequence[Scene], flip_test: bool = False) -> dict[str, Any]:
    """The scores of a model that finds everybody, or of a `TopDown`, on scenes with any number of people.

    "ap", "ap50", "ap75", "ar"   by OKS; None where nobody is to be found
    "pckh_map"                   by PCKh@0.5, over people with a head rectangle
    "people", "pictures"         how many people there are to find, in how many pictures
    "by_people"                  the same seven for pictures with "1-2", "3-4", ... people listed: see `GROUPS`
    "ap_interval"                (low, high): see `interval`
    """
    return examined(model, scenes, flip_test)[0]


def examined(model: Estimator, scenes: Sequence[Scene], flip_test: bool = False) -> tuple[dict[str, Any], Matches]:
    """The scores of `examine`, and who found whom, so that two models can be compared in pairs."""
    poses = estimates(model, scenes, flip_test)
    # on pictures as small as the course's, COCO's "medium" and "large" people would say little
    matches = metrics.match_keypoints(poses, scenes, areas={"all": COCO_AREAS["all"]})
    groups = {name: _scores(matches, poses, scenes, chosen) for name, chosen in by_people(scenes).items()}
    whole = _scores(matches, poses, scenes, np.ones(len(scenes), dtype=bool))
    return {**whole, "by_people": groups, "ap_interval": interval(matches)}, matches


def by_people(scenes: Sequence[Scene]) -> dict[str, np.ndarray]:
    """Which scenes (N,) bool belong to each of GROUPS."""
    listed = np.array([len(scene.people) for scene in scenes])
    return {f"{few}-{most}": (listed >= few) & (listed <= most) for few, most in GROUPS}


def estimates(model: Estimator, scenes: Sequence[Scene], flip_test: bool = False) -> list[list[Pose]]:
    """Everybody found in every scene, in its pixels."""
    found: list[list[Pose]] = []
    for start in range(0, len(scenes), AT_ONCE):
        part = scenes[start : start + AT_ONCE]
        for scene in part:
            check_skeleton(model, scene)
        boxes = {"boxes": [true_boxes(scene) for scene in part]} if isinstance(model, TopDown) else {}
        found += model.estimate([scene.image for scene in part], flip_test=flip_test, **boxes)
    return found


def true_boxes(scene: Scene) -> torch.Tensor:
    """The boxes (N, 4) of all people who are to be found."""
    boxes = [person.box for person in scene.people if not (person.crowd or person.ignore)]
    if any(box is None for box in boxes):
        raise CourseError(f"a person in scene {scene.id} has no box, so a top-down model cannot be told where they are")
    return torch.stack(boxes) if boxes else torch.zeros(0, 4)


def _scores(
    matches: Matches, poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene], chosen: np.ndarray
) -> dict[str, float | int | None]:
    """The seven numbers of the scenes that are `chosen` (N,)."""
    of = matches.scores(chosen.astype(float))
    pairs = [(found, scene) for found, scene, one in zip(poses, scenes, chosen, strict=True) if one]
    return {
        "ap": of.ap(),
        "ap50": of.ap(threshold=0.5),
        "ap75": of.ap(threshold=0.75),
        "ar": of.ar(),
        "pckh_map": metrics.pckh_map([found for found, _ in pairs], [scene for _, scene in pairs])["mAP"],
        "people": int(matches.people(chosen.astype(float))[0]),
        "pictures": len(pairs),
    }


# --- how far to trust them --------------------------------------------------------------------------------------------


def interval(
    matches: Matches, level: float = 0.95, samples: int = SAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """A bootstrap confidence interval for the AP: pictures are drawn with replacement, and all estimates ranked anew.

    None where nobody is to be found.
    """
    aps = _ap_of_samples(matches, samples, seed)
    return middle(aps, level) if len(aps) else None


def paired_interval(
    one: Matches, other: Matches, level: float = 0.95, samples: int = SAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """A bootstrap confidence interval for the AP of `one` minus that of `other`, which were shown the same pictures.

    Both are scored on the same drawn pictures every time. None where nobody is to be found.
    """
    same = (np.array_equal(getattr(one, name), getattr(other, name)) for name in ("true_picture", "ignored"))
    if one.pictures != other.pictures or not all(same):
        raise CourseError("two models can only be compared in pairs on the same people in the same pictures")
    differences = _ap_of_samples(one, samples, seed) - _ap_of_samples(other, samples, seed)
    return middle(differences, level) if len(differences) else None


def _ap_of_samples(matches: Matches, samples: int, seed: int) -> torch.Tensor:
    """The AP of every sample of pictures in which somebody is to be found; the same seed draws the same pictures."""
    draw = np.random.default_rng(seed)
    count = matches.pictures
    drawn = (np.bincount(draw.integers(count, size=count), minlength=count) for _ in range(samples if count else 0))
    aps = (matches.scores(times.astype(float)).ap() for times in drawn)
    return torch.tensor([ap for ap in aps if ap is not None], dtype=torch.float64)
