"""Two ways into COCO's protocol (`ap.py`): the course's poses and scenes, or COCO's own lists of dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from course_lib.errors import CourseError
from course_lib.geometry import box_area, box_of
from course_lib.metrics.ap import Estimates, KeypointScores, Matches, Truths, evaluate, match
from course_lib.metrics.marks import check_scenes, exact, labelled_joints, stack
from course_lib.metrics.oks import Sigmas, sigmas_of
from course_lib.pose import Person, Pose, Scene

BOX_TO_AREA = 0.53  # a person's segment fills about this much of its box; CrowdPose's stand-in for a missing area


def keypoint_ap(
    poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene], sigmas: Sigmas | None = None, **protocol
) -> dict[str, float | None]:
    """COCO's ten numbers: AP, AP50, AP75, AP_medium, AP_large, AR, AR50, AR75, AR_medium, AR_large.

    poses[i] are the people estimated in scenes[i], ranked by `Pose.score`. None where there is nobody to find
    (COCO prints -1); 0 where nobody was found. Options as in `evaluate_keypoints`.
    """
    return evaluate_keypoints(poses, scenes, sigmas, **protocol).numbers


def evaluate_keypoints(
    poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene], sigmas: Sigmas | None = None, **protocol
) -> KeypointScores:
    """COCO's protocol with its curves. Options as in `match_keypoints`."""
    return match_keypoints(poses, scenes, sigmas, **protocol).scores()


def match_keypoints(
    poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene], sigmas: Sigmas | None = None, **protocol
) -> Matches:
    """Who found whom, for scores over any selection of the scenes. Options (thresholds, areas, ...) as in `ap.match`.

    sigmas: the skeleton's own unless given. A person's area is its `area`; without one 0.53 x its box, or
    0.53 x the tight box of its labelled joints. People with `crowd`, `ignore` or no labelled joint count
    neither way. An estimate's area is that of the tight box of its finite joints, as in COCO results without
    boxes.
    """
    skeleton = check_scenes(poses, scenes)
    if skeleton is None:
        return match(truths_of([], 1), _estimates([], 1), sigmas=[1.0], pictures=len(scenes), **protocol)
    people = [(i, person) for i, scene in enumerate(scenes) for person in scene.people if _can_be_met(person)]
    estimated = [(i, pose) for i, found in enumerate(poses) for pose in found]
    truths, estimates = truths_of(people, len(skeleton)), _estimates(estimated, len(skeleton))
    sigmas = skeleton if sigmas is None else sigmas
    return match(truths, estimates, sigmas=sigmas, pictures=len(scenes), **protocol)


def coco_keypoint_ap(
    annotations: Sequence[dict],
    results: Sequence[dict],
    image_ids: Sequence[int | str] | None = None,
    sigmas: Sigmas = "coco",
    category: int = 1,
    **protocol,
) -> KeypointScores:
    """The same from COCO's dictionaries: what `json.load` makes of an annotation and of a results file.

    annotations: keypoints [x, y, v, ...], area, image_id, and iscrowd, num_keypoints, bbox where they matter;
    their "ignore" field is overwritten, as in the official code. results: keypoints, score, image_id; if the
    first of them has a bbox, areas of estimates are those of their boxes, else of the tight boxes of their
    joints. image_ids: the pictures to evaluate, all that occur unless given. Everything in pixels as the
    files have them: only differences matter.
    """
    joints = len(sigmas_of(sigmas))
    annotations, results = (
        [one for one in ones if one.get("category_id", category) == category] for ones in (annotations, results)
    )
    true_images, found_images = (
        coco_column(annotations, "image_id", "annotation"),
        coco_column(results, "image_id", "result"),
    )
    number = {
        image: i for i, image in enumerate(sorted({*true_images, *found_images} if image_ids is None else image_ids))
    }
    strange = next((image for image in found_images if image not in number), None)
    if strange is not None:
        raise CourseError(f"a result is for image {strange!r}, which is not among the images to evaluate")
    annotations = [one for one in annotations if one["image_id"] in number]
    truths, estimates = _coco_truths(annotations, number, joints), _coco_estimates(results, number, joints)
    return evaluate(truths, estimates, sigmas=sigmas, **protocol)


# --- from poses and scenes --------------------------------------------------------------------------------------------


def _can_be_met(person: Person) -> bool:
    """Without labelled joints and without a box nothing can be compared: such a person does not exist for OKS."""
    return person.box is not None or bool(labelled_joints(person.joints, person.visible).any())


def truths_of(people: Sequence[tuple[int, Person]], joints: int) -> Truths:
    """People as the protocol knows them, each with the number of its picture; K joints everybody."""
    positions = stack([who.joints for _, who in people], (joints, 2))
    labelled = labelled_joints(positions, stack([who.visible for _, who in people], (joints,)))
    boxes = box_of(positions, labelled)  # (G, 4)
    for i, (_, who) in enumerate(people):
        if who.box is not None:
            boxes[i] = exact(who.box)
    areas = BOX_TO_AREA * box_area(boxes)
    given = [who.area if who.area is not None else area for (_, who), area in zip(people, areas.tolist(), strict=True)]
    return Truths(
        picture=np.array([i for i, _ in people], dtype=np.int64),
        joints=positions.numpy(),
        labelled=labelled.numpy(),
        area=np.array(given, dtype=np.float64),
        box=boxes.numpy(),
        ignored=np.array([who.crowd or who.ignore for _, who in people], dtype=bool) | ~labelled.any(-1).numpy(),
        crowd=np.array([who.crowd for _, who in people], dtype=bool),
    )


def _estimates(poses: list[tuple[int, Pose]], joints: int) -> Estimates:
    positions = stack([who.joints for _, who in poses], (joints, 2))
    return Estimates(
        picture=np.array([i for i, _ in poses], dtype=np.int64),
        joints=positions.numpy(),
        score=np.array([float(who.score) for _, who in poses], dtype=np.float64),
        area=_joint_areas(positions.numpy()),
    )


def _joint_areas(joints: np.ndarray) -> np.ndarray:
    """Areas (D,) of the tight boxes of the finite joints of (D, K, 2)."""
    x_and_y = np.ascontiguousarray(joints.transpose(2, 0, 1))  # (2, D, K): several times faster to reduce
    finite = np.isfinite(x_and_y).all(0)
    low, high = np.where(finite, x_and_y, np.inf).min(-1), np.where(finite, x_and_y, -np.inf).max(-1)
    return np.maximum(high - low, 0).prod(0)


# --- from COCO's dictionaries -----------------------------------------------------------------------------------------


def coco_column(ones: Sequence[dict], name: str, kind: str) -> list:
    """One field of all dictionaries."""
    try:
        return [one[name] for one in ones]
    except KeyError:
        at = next(one.get("id", "not given") for one in ones if name not in one)
        raise CourseError(f"a COCO {kind} (id {at}) has no field '{name}'") from None


def _keypoints(ones: Sequence[dict], kind: str, joints: int) -> np.ndarray:
    """(N, K, 3) from the flat lists, each checked for its length."""
    flat = coco_column(ones, "keypoints", kind)
    for k, values in enumerate(flat):
        if len(values) != 3 * joints:
            raise CourseError(
                f"a COCO {kind} (id {ones[k].get('id', 'not given')}, image {ones[k]['image_id']!r}) has "
                f"{len(values)} numbers in its field 'keypoints'; {joints} joints need {3 * joints}"
            )
    numbers = np.fromiter(chain.from_iterable(flat), dtype=np.float64, count=3 * joints * len(flat))
    return numbers.reshape(len(flat), joints, 3)


def _coco_truths(annotations: Sequence[dict], number: dict, joints: int) -> Truths:
    keypoints = _keypoints(annotations, "annotation", joints)
    labelled = (keypoints[..., 2] > 0) & np.isfinite(keypoints[..., :2]).all(-1)
    count = labelled.sum(-1).tolist()
    coco_column([one for one, some in zip(annotations, count, strict=True) if not some], "bbox", "annotation")
    box = np.array([one.get("bbox", (0, 0, 0, 0)) for one in annotations], dtype=np.float64).reshape(-1, 4)
    crowd = np.array([bool(one.get("iscrowd", 0)) for one in annotations], dtype=bool)
    empty = [one.get("num_keypoints", some) == 0 for one, some in zip(annotations, count, strict=True)]
    return Truths(
        picture=np.array([number[one["image_id"]] for one in annotations], dtype=np.int64),
        joints=np.ascontiguousarray(keypoints[..., :2]),
        labelled=labelled,
        area=np.array(coco_column(annotations, "area", "annotation"), dtype=np.float64),
        box=np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1),
        ignored=crowd | np.array(empty, dtype=bool),
        crowd=crowd,
    )


def _coco_estimates(results: Sequence[dict], number: dict, joints: int) -> Estimates:
    positions = np.ascontiguousarray(_keypoints(results, "result", joints)[..., :2])
    if results and results[0].get("bbox"):
        areas = np.array(coco_column(results, "bbox", "result"), dtype=np.float64)[:, 2:].prod(-1)
    else:
        areas = _joint_areas(positions)
    return Estimates(
        picture=np.array([number[one["image_id"]] for one in results], dtype=np.int64),
        joints=positions,
        score=np.array(coco_column(results, "score", "result"), dtype=np.float64),
        area=areas,
    )
