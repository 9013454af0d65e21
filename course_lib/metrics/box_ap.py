"""COCO's AP and AR of boxes: how well people are detected, before anybody asks for their joints.

    IoU(d, g) = area(d and g) / area(d or g)            of a found box d and a true one g
    with a crowd's box:  area(d and g) / area(d)        a crowd is many people: who lies inside has found one of them

The protocol is that of `ap.py`, with IoU in the place of OKS: 100 boxes a picture, thresholds 0.50, 0.55, ... 0.95.
AP75 asks for much: of two equal boxes a seventh of their side apart, both ways, the IoU is 0.58.

A box is (x0, y0, x1, y1); COCO's files have [x, y, width, height]. Widths are x1 - x0, as COCO counts them. A box that
is not finite, or that has no area, meets nobody. N found boxes a picture, D of all pictures, G true people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from course_lib.errors import CourseError
from course_lib.geometry import box_area
from course_lib.metrics.ap import KeypointScores, Matches, Ranked, match_by
from course_lib.metrics.keypoint_ap import BOX_TO_AREA, coco_column
from course_lib.metrics.marks import exact, stack
from course_lib.pose import Found, Person, Scene

MAX_BOXES = 100  # of a picture, the best by score
BOX_AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}


@dataclass
class TrueBoxes:
    """G true people of all pictures; fields as in `ap.Truths`."""

    picture: np.ndarray  # (G,)
    box: np.ndarray  # (G, 4)
    area: np.ndarray  # (G,) of the segment, by which COCO calls people small, medium or large
    ignored: np.ndarray  # (G,) bool
    crowd: np.ndarray  # (G,) bool


@dataclass
class FoundBoxes(Ranked):
    """D found boxes of all pictures; `area` is their own."""

    box: np.ndarray  # (D, 4)


def box_ap(found: Sequence[Found], scenes: Sequence[Scene], **protocol) -> dict[str, float | None]:
    """COCO's numbers for boxes: AP, AP50, AP75, AP_small, AP_medium, AP_large, and AR likewise.

    found[i] are the boxes found in scenes[i]. None where there is nobody to find (COCO prints -1); 0 where nobody was
    found. Options as in `match_boxes`.
    """
    return match_boxes(found, scenes, **protocol).scores().numbers


def match_boxes(
    found: Sequence[Found],
    scenes: Sequence[Scene],
    max_estimates: int = MAX_BOXES,
    areas: dict[str, tuple[float, float]] = BOX_AREAS,
    **protocol,
) -> Matches:
    """Who was found by which box, for scores over any selection of the scenes. Options as in `ap.match_by`.

    People with `crowd` or `ignore` count neither way; everybody else needs a box. Where the area of the segment is not
    known, 0.53 x the box stands for it.
    """
    if len(found) != len(scenes):
        raise CourseError(f"there are boxes found in {len(found)} pictures for {len(scenes)} scenes; one list a scene")
    people = [(i, person) for i, scene in enumerate(scenes) for person in scene.people if _can_be_met(person, scene)]
    boxes = stack([exact(person.box) for _, person in people], (4,))  # (G, 4)
    crowd = np.array([person.crowd for _, person in people], dtype=bool)
    area = [BOX_TO_AREA * float(box_area(box)) for box in boxes]
    truths = TrueBoxes(
        picture=np.array([i for i, _ in people], dtype=np.int64),
        box=boxes.numpy(),
        area=np.array([one if who.area is None else who.area for (_, who), one in zip(people, area, strict=True)]),
        ignored=crowd | np.array([person.ignore for _, person in people], dtype=bool),
        crowd=crowd,
    )
    own = [_checked(one, i) for i, one in enumerate(found)]
    counts = [len(boxes) for boxes, _ in own]
    estimates = _found(
        np.repeat(np.arange(len(own)), counts),
        torch.cat([torch.zeros(0, 4).double(), *(boxes for boxes, _ in own)]).numpy(),
        torch.cat([torch.zeros(0).double(), *(scores for _, scores in own)]).numpy(),
    )
    options = {"max_estimates": max_estimates, "areas": areas, "pictures": len(scenes), **protocol}
    return match_by(_likeness_to(truths), truths, estimates, **options)


def coco_box_ap(
    annotations: Sequence[dict],
    results: Sequence[dict],
    image_ids: Sequence[int | str] | None = None,
    category: int = 1,
    max_estimates: int = MAX_BOXES,
    areas: dict[str, tuple[float, float]] = BOX_AREAS,
    **protocol,
) -> KeypointScores:
    """The same from COCO's dictionaries: annotations with bbox, area, image_id, iscrowd; results with bbox, score.

    Only iscrowd makes the official code ignore somebody: an "ignore" in the file is overwritten. image_ids: the
    pictures to evaluate, all that occur unless given.
    """
    annotations, results = (
        [one for one in ones if one.get("category_id", category) == category] for ones in (annotations, results)
    )
    true_images, images = coco_column(annotations, "image_id", "annotation"), coco_column(results, "image_id", "result")
    chosen = sorted({*true_images, *images} if image_ids is None else image_ids)
    number = {image: i for i, image in enumerate(chosen)}
    strange = next((image for image in images if image not in number), None)
    if strange is not None:
        raise CourseError(f"a result is for image {strange!r}, which is not among the images to evaluate")
    annotations = [one for one in annotations if one["image_id"] in number]
    crowd = np.array([bool(one.get("iscrowd", 0)) for one in annotations], dtype=bool)
    truths = TrueBoxes(
        picture=np.array([number[one["image_id"]] for one in annotations], dtype=np.int64),
        box=_corners(coco_column(annotations, "bbox", "annotation")),
        area=np.array(coco_column(annotations, "area", "annotation"), dtype=np.float64),
        ignored=crowd,
        crowd=crowd,
    )
    where = np.array([number[image] for image in images], dtype=np.int64)
    boxes, scores = _corners(coco_column(results, "bbox", "result")), coco_column(results, "score", "result")
    estimates = _found(where, boxes, np.array(scores, dtype=np.float64))
    options = {"max_estimates": max_estimates, "areas": areas, "pictures": len(chosen), **protocol}
    return match_by(_likeness_to(truths), truths, estimates, **options).scores()


def iou_with_people(boxes: np.ndarray, people: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """IoU (M,) of boxes (M, 4) with true ones (M, 4), pair by pair; where `crowd` (M,), their overlap in own areas."""
    own, other = _areas(boxes), _areas(people)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        low, high = np.maximum(boxes[:, :2], people[:, :2]), np.minimum(boxes[:, 2:], people[:, 2:])
        overlap = np.maximum(high - low, 0).prod(-1)
        whole = own + np.where(crowd, 0, other - overlap)
        return np.where((own > 0) & (overlap > 0), overlap / whole, 0.0)  # NaN is above nothing


# --- the parts --------------------------------------------------------------------------------------------------------


def _likeness_to(truths: TrueBoxes):
    def alike(best: FoundBoxes, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return iou_with_people(best.box[one], truths.box[other], truths.crowd[other])

    return alike


def _can_be_met(person: Person, scene: Scene) -> bool:
    """Whether a person is there for boxes; who counts neither way may lack one."""
    if person.box is None and not (person.crowd or person.ignore):
        raise CourseError(f"a person in scene {scene.id} has no box, so found boxes cannot be compared with theirs")
    return person.box is not None


def _checked(found: Found, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes (N, 4) and scores (N,) of one picture, exactly."""
    boxes, scores = exact(found.boxes), exact(found.scores)
    if scores.ndim != 1 or boxes.shape != (len(scores), 4):
        raise CourseError(
            f"what is found in a picture is boxes (N, 4) and scores (N,); of picture {number} got "
            f"{tuple(boxes.shape)} and {tuple(scores.shape)}"
        )
    return boxes, scores


def _found(picture: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> FoundBoxes:
    return FoundBoxes(picture=picture, score=scores, area=_areas(boxes), box=boxes)


def _areas(boxes: np.ndarray) -> np.ndarray:
    """Areas (N,) of boxes (N, 4), 0 where they are inside out or not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        areas = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(-1)
    return np.where(np.isfinite(areas), areas, 0.0)


def _corners(boxes: Sequence[Sequence[float]]) -> np.ndarray:
    """[x, y, width, height] as x0, y0, x1, y1."""
    if any(len(box) != 4 for box in boxes):
        raise CourseError("a COCO bbox has four numbers, [x, y, width, height]")
    numbers = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]], axis=1)
