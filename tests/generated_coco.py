"""A seeded set in COCO's format with all that makes the protocol hard, and pycocotools' answer to it."""

from __future__ import annotations

import contextlib
import copy
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

JOINTS = 17
CATEGORY = {"id": 1, "name": "person", "keypoints": [str(k) for k in range(JOINTS)], "skeleton": []}
BORDER_AREAS = (1023.0, 1024.0, 9216.0, 9217.0)  # either side of 32^2 and 96^2


def generate(pictures: int, seed: int = 0) -> tuple[list[dict], list[dict], list[int]]:
    """annotations, results, image ids: crowds, people without keypoints, border areas, equal scores, empty pictures."""
    random = np.random.default_rng(seed)
    ids = sorted(random.choice(10 * pictures, pictures, replace=False).tolist())
    annotations, results = [], []
    for image in ids:
        people = 0 if random.random() < 0.1 else int(random.integers(1, 7))
        if random.random() < 0.03:
            people = 14
        truths = [_person(random, image) for _ in range(people)]
        annotations += truths
        if random.random() < 0.1:
            continue
        for truth in truths:
            count = random.choice(3, p=(0.15, 0.7, 0.15))
            results += [_estimate(random, truth) for _ in range(count)]
        far = 25 if random.random() < 0.02 else int(random.integers(0, 9))  # low-scored extras, as detectors give
        results += [_estimate(random, _person(random, image)) for _ in range(far)]
    for number, truth in enumerate(annotations):
        truth["id"] = number + 1
    random.shuffle(results)
    return annotations, results, ids


def _person(random: np.random.Generator, image: int) -> dict:
    size = float(np.exp(random.uniform(np.log(12), np.log(250))))
    corner = random.uniform(0, 600, 2)
    xy = corner + random.uniform(0, 1, (JOINTS, 2)) * (0.6 * size, size)
    visible = random.choice(3, JOINTS, p=(0.3, 0.2, 0.5))
    if random.random() < 0.12:
        visible[:] = 0
    area = float(random.choice(BORDER_AREAS)) if random.random() < 0.1 else 0.35 * size * size
    xy[visible == 0] = 0
    return {
        "image_id": image,
        "category_id": 1,
        "keypoints": np.column_stack([xy.round(2), visible]).ravel().tolist(),
        "num_keypoints": int((visible > 0).sum()),
        "bbox": [*corner.round(2).tolist(), round(0.6 * size, 2), round(size, 2)],
        "area": area,
        "iscrowd": int(random.random() < 0.06),
        "ignore": int(random.random() < 0.1),  # the official code overwrites it
    }


def _estimate(random: np.random.Generator, truth: dict) -> dict:
    keypoints = np.array(truth["keypoints"]).reshape(JOINTS, 3)
    noise = random.choice((0.0, 0.02, 0.06, 0.15)) * np.sqrt(truth["area"])
    xy = keypoints[:, :2] + random.normal(0, 1, (JOINTS, 2)) * noise
    hidden = keypoints[:, 2] == 0  # systems answer for every joint
    x, y, width, height = truth["bbox"]
    xy[hidden] = (x, y) + random.uniform(-0.5, 1.5, (int(hidden.sum()), 2)) * (width, height)
    return {
        "image_id": truth["image_id"],
        "category_id": 1,
        "keypoints": np.column_stack([xy, np.ones(JOINTS)]).ravel().tolist(),
        "score": round(float(random.uniform(0, 1)), 1 if random.random() < 0.5 else 6),
    }


def official(annotations: list[dict], results: list[dict], ids: list[int]) -> COCOeval:
    """pycocotools' evaluator, ready to evaluate, with everything it prints kept quiet."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": image} for image in ids],
            "annotations": copy.deepcopy(annotations),
            "categories": [CATEGORY],
        }
        truth.createIndex()
        found = truth.loadRes(copy.deepcopy(results))
        return COCOeval(truth, found, "keypoints")


def run(evaluator: COCOeval) -> COCOeval:
    """evaluate and accumulate, quietly."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator


def ten_numbers(evaluator: COCOeval) -> list[float]:
    """COCO's ten numbers, -1 where there is nobody."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.summarize()
    return evaluator.stats.tolist()
