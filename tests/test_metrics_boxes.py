"""COCO's AP of boxes: agreement with pycocotools and with a naive oracle, worked examples, and odd boxes."""

from __future__ import annotations

import contextlib
import copy
import io
import math

import numpy as np
import pytest
import torch
from generated_coco import CATEGORY, run
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from course_lib import metrics
from course_lib.errors import CourseError
from course_lib.pose import Found, Person, Scene
from course_lib.skeletons import LSP

SIDES = (16.0, 31.9, 32.0, 60.0, 96.0, 96.1, 180.0)  # either side of the borders of small, medium and large


def person(box, area: float | None = None, **known) -> Person:
    box = None if box is None else torch.tensor([float(side) for side in box], dtype=torch.float64)
    return Person(torch.zeros(14, 2), torch.zeros(14), LSP, box=box, area=area, **known)


def scene(*people: Person, name: int = 0) -> Scene:
    return Scene(torch.zeros(3, 8, 8), list(people), id=name)


def found(*rows) -> Found:
    """Rows of x0, y0, x1, y1, score."""
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 5)
    return Found(table[:, :4], table[:, 4])


# --- the official code ------------------------------------------------------------------------------------------------


def generate(pictures: int, seed: int) -> tuple[list[dict], list[dict], list[int]]:
    """annotations, results, image ids: crowds, copies, equal scores, border areas, empty pictures, over 100 boxes."""
    random = np.random.default_rng(seed)
    ids = sorted(random.choice(10 * pictures, pictures, replace=False).tolist())
    annotations, results = [], []
    for image in ids:
        truths = [_box(random) for _ in range(0 if random.random() < 0.1 else random.integers(1, 9))]
        for x, y, width, height in truths:
            area = float(random.choice([side**2 for side in SIDES])) if random.random() < 0.3 else width * height * 0.6
            flags = {"iscrowd": int(random.random() < 0.15), "ignore": int(random.random() < 0.1)}
            box = [x, y, width, height]
            annotations.append({"image_id": image, "category_id": 1, "bbox": box, "area": area, **flags})
        if random.random() < 0.1:
            continue
        near = [truth for truth in truths for _ in range(random.choice(4, p=(0.15, 0.5, 0.25, 0.1)))]
        far = [_box(random) for _ in range(130 if random.random() < 0.05 else random.integers(0, 7))]
        for number, truth in enumerate(near + far):
            moved = np.array(truth) + random.normal(0, random.choice((0, 0.03, 0.1, 0.25)), 4) * truth[2]
            moved[2:] = np.maximum(moved[2:], 1)
            score = round(
                float(random.uniform(0.3, 1) if number < len(near) else random.uniform(0, 0.6)),
                1 if random.random() < 0.5 else 6,
            )
            results.append({"image_id": image, "category_id": 1, "bbox": moved.round(2).tolist(), "score": score})
    for number, truth in enumerate(annotations):
        truth["id"] = number + 1
    random.shuffle(results)
    return annotations, results, ids


def _box(random) -> list[float]:
    sides = random.choice(SIDES, 2) if random.random() < 0.3 else np.exp(random.uniform(2, 5.3, 2))
    return [*random.uniform(0, 500, 2).round(2).tolist(), *sides.round(2).tolist()]


def official(annotations, results, ids) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        images = [{"id": image} for image in ids]
        truth.dataset = {"images": images, "annotations": copy.deepcopy(annotations), "categories": [CATEGORY]}
        truth.createIndex()
        return COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "bbox")


def twelve_numbers(evaluator: COCOeval) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        run(evaluator).summarize()
    return evaluator.stats.tolist()


@pytest.mark.parametrize("seed", range(6))
def test_the_twelve_numbers_are_the_official_ones(seed):
    annotations, results, ids = generate(70, seed)
    theirs = twelve_numbers(official(annotations, results, ids))
    ours = metrics.coco_box_ap(annotations, results, ids)
    few = [metrics.coco_box_ap(annotations, results, ids, max_estimates=most).ar() for most in (1, 10)]
    areas = ("small", "medium", "large")
    assert [ours.ap(), ours.ap(threshold=0.5), ours.ap(threshold=0.75), *(ours.ap(area) for area in areas)] == (
        pytest.approx(theirs[:6], abs=1e-6)
    )
    assert [*few, ours.ar(), *(ours.ar(area) for area in areas)] == pytest.approx(theirs[6:], abs=1e-6)
    assert 0.1 < ours.ap() < 0.8 and any(one["iscrowd"] for one in annotations) and len(results) > 300
    assert list(ours.numbers) == [
        *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
        *("AR", "AR50", "AR75", "AR_small", "AR_medium", "AR_large"),
    ]


@pytest.mark.parametrize("seed", [0, 1])
def test_scenes_and_dictionaries_score_alike(seed):
    annotations, results, ids = generate(30, seed)
    scenes, lists = [], []
    for image in ids:
        own = [one for one in annotations if one["image_id"] == image]
        corners = [np.add(one["bbox"], [0, 0, *one["bbox"][:2]]) for one in own]
        both = zip(own, corners, strict=True)
        scenes.append(scene(*(person(box, one["area"], crowd=bool(one["iscrowd"])) for one, box in both)))
        rows = [(*one["bbox"], one["score"]) for one in results if one["image_id"] == image]
        lists.append(found(*((x, y, x + w, y + h, score) for x, y, w, h, score in rows)))
    ours = metrics.box_ap(lists, scenes)
    assert ours == pytest.approx(metrics.coco_box_ap(annotations, results, ids).numbers, abs=1e-9)


# --- a naive oracle ---------------------------------------------------------------------------------------------------


def iou(a, b, crowd: bool) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    own, other = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return wide * high / (own if crowd else own + other - wide * high)


def naive_ap(pictures, threshold: float) -> float:
    """AP at one threshold of [(people (box, crowd), boxes (box, score))], written as the rules are told."""
    answers, there = [], 0
    for people, boxes in pictures:
        there += sum(not crowd for _, crowd in people)
        taken = set()
        for box, score in sorted(boxes, key=lambda one: -one[1])[:100]:
            scored = [(iou(box, who, crowd), number) for number, (who, crowd) in enumerate(people)]
            able = [(alike, n) for alike, n in scored if alike >= threshold and (people[n][1] or n not in taken)]
            real = [one for one in able if not people[one[1]][1]]
            if real:
                taken.add(max(real)[1])
            answers.append((score, "hit" if real else "neither" if able else "miss"))
    answers.sort(key=lambda one: -one[0])
    curve, hits, misses = [], 0, 0
    for _, kind in answers:
        hits, misses = hits + (kind == "hit"), misses + (kind == "miss")
        curve.append((hits / there, hits / max(hits + misses, 1)))
    reached = [max((p for r, p in curve if r >= k / 100), default=0.0) for k in range(101)]
    return sum(reached) / 101


@pytest.mark.parametrize("seed", range(12))
def test_a_naive_oracle_agrees(seed):
    random = np.random.default_rng(seed)
    pictures = []
    for _ in range(int(random.integers(1, 7))):
        corners = random.uniform(0, 60, (int(random.integers(0, 6)), 2))
        people = [([*at, *(at + random.uniform(5, 40, 2))], bool(random.random() < 0.2)) for at in corners]
        around = [np.add(box, random.normal(0, 3, 4)) for box, _ in people for _ in range(int(random.integers(0, 3)))]
        pictures.append((people, [(box.tolist(), float(random.uniform())) for box in around]))
    pictures.append(([([0, 0, 9, 9], False)], []))  # somebody, so that there is an AP
    scenes = [scene(*(person(box, 1.0, crowd=crowd) for box, crowd in people)) for people, _ in pictures]
    lists = [found(*((*box, score) for box, score in boxes)) for _, boxes in pictures]
    scores = metrics.match_boxes(lists, scenes).scores()
    for threshold in (0.5, 0.75, 0.95):
        assert scores.ap(threshold=threshold) == pytest.approx(naive_ap(pictures, threshold), abs=1e-9)


# --- worked examples --------------------------------------------------------------------------------------------------


def test_boxes_a_seventh_apart_pass_two_thresholds():
    result = metrics.box_ap([found((1, 1, 8, 8, 0.9))], [scene(person((0, 0, 7, 7)))])
    assert (result["AP"], result["AP50"], result["AP75"], result["AR"]) == pytest.approx((0.2, 1, 0, 0.2))


def test_a_false_alarm_costs_by_its_rank():
    scenes = [scene(person((0, 0, 10, 10)), person((50, 0, 60, 10)))]
    right, wrong = [(0, 0, 10, 10, 0.9), (50, 0, 60, 10, 0.7)], (90, 90, 99, 99, 0.8)
    assert metrics.box_ap([found(*right, wrong)], scenes)["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert metrics.box_ap([found(*right, (*wrong[:4], 0.1))], scenes)["AP"] == pytest.approx(1)
    assert metrics.box_ap([found(right[0], right[0])], scenes)["AP"] == pytest.approx(51 / 101)  # the copy finds nobody


def test_a_crowd_takes_all_who_lie_inside_it():
    """A small box inside is wholly the crowd's; half of a box outside is half the crowd's."""
    crowd = person((0, 0, 100, 100), crowd=True)
    scenes = [scene(crowd, person((200, 0, 220, 20)))]
    inside = [(10 * k, 5, 10 * k + 5, 12, 0.9) for k in range(8)]
    assert metrics.box_ap([found(*inside, (200, 0, 220, 20, 0.5))], scenes)["AP"] == pytest.approx(1)
    half = metrics.match_boxes([found((90, 0, 110, 10, 0.9), (200, 0, 220, 20, 0.5))], scenes).scores()
    assert half.ap(threshold=0.5) == pytest.approx(1) and half.ap(threshold=0.55) == pytest.approx(0.5)


def test_who_is_ignored_counts_neither_way_but_once():
    one, ignored = person((0, 0, 10, 10)), person((50, 0, 60, 10), ignore=True)
    own, other = (0, 0, 10, 10, 0.5), (50, 0, 60, 10, 0.9)
    assert metrics.box_ap([found(own, other)], [scene(one, ignored)])["AP"] == pytest.approx(1)
    assert metrics.box_ap([found(own, other, other)], [scene(one, ignored)])["AP"] == pytest.approx(0.5)
    assert metrics.box_ap([found(own)], [scene(one, person(None, ignore=True))])["AP"] == pytest.approx(1)


def test_of_hundreds_the_best_hundred_of_a_picture_count():
    far = [(200 + 9 * k, 0, 205 + 9 * k, 5, 0.9) for k in range(100)]
    right = (0, 0, 10, 10, 0.5)
    scenes = [scene(person((0, 0, 10, 10)))]
    assert metrics.box_ap([found(*far[:99], right)], scenes)["AP"] == pytest.approx(0.01)
    assert metrics.box_ap([found(*far, right)], scenes)["AP"] == 0
    assert metrics.match_boxes([found(*far, right)], scenes, max_estimates=101).scores().ap() > 0


def test_nobody_found_and_nobody_there():
    some, nothing = [scene(person((0, 0, 10, 10)))], found()
    assert metrics.box_ap([nothing], some)["AP"] == 0 == metrics.box_ap([nothing], some)["AR"]
    for scenes in ([], [scene()], [scene(person((0, 0, 9, 9), crowd=True))]):
        assert metrics.box_ap([found((0, 0, 10, 10, 1.0))] * len(scenes), scenes)["AP"] is None
    assert metrics.match_boxes([nothing] * 3, [scene()] * 3).pictures == 3


def test_an_area_range_is_that_of_the_segment_and_for_false_alarms_their_own():
    scenes = [scene(person((0, 0, 40, 40), area=1000.0))]  # its box alone would be medium
    own, small, large = (0, 0, 40, 40, 0.5), (200, 0, 210, 10, 0.9), (200, 0, 300, 99, 0.9)
    for alarm, expected in ((small, 0.5), (large, 1)):
        result = metrics.box_ap([found(own, alarm)], scenes)
        assert result["AP_small"] == pytest.approx(expected) and result["AP_medium"] is None


# --- odd boxes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        (math.nan, 0, 10, 10),
        (math.nan,) * 4,
        (-math.inf, 0, math.inf, 10),
        (-math.inf, 0, math.inf, 5),
        (10, 10, 0, 0),  # inside out
        (5, 5, 5, 5),
        (0, 0, 10, 0),
        (-90, -90, -80, -80),
        (1e300, 0, 1e308, 1e308),
    ],
)
def test_odd_boxes_find_nobody_and_are_false_alarms(odd):
    scenes = [scene(person((0, 0, 10, 10)), person((0, 0, 50, 50), crowd=True))]
    right = (0, 0, 10, 10, 0.5)
    assert metrics.box_ap([found((*odd, 0.9), right)], scenes)["AP"] == pytest.approx(0.5)
    assert metrics.box_ap([found((*odd, 0.1), right)], scenes)["AP"] == pytest.approx(1)


def test_a_person_of_whom_nothing_is_seen_is_missed():
    scenes = [scene(person((0, 0, 10, 10)), person((0, 0, 0, 0)))]
    assert metrics.box_ap([found((0, 0, 10, 10, 0.9), (0, 0, 0, 0, 0.8))], scenes)["AR"] == 0.5


@pytest.mark.parametrize(
    ("boxes", "scenes", "says"),
    [
        ([], [scene()], "boxes found in 0 pictures for 1 scenes"),
        ([found()], [scene(person(None), name=7)], "a person in scene 7 has no box"),
        ([Found(torch.zeros(2, 4), torch.zeros(3))], [scene()], r"got \(2, 4\) and \(3,\)"),
        ([Found(torch.zeros(4), torch.zeros(1))], [scene()], r"boxes \(N, 4\) and scores"),
        ([found((0, 0, 1, 1, math.nan))], [scene()], "score that is not finite"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_sentence(boxes, scenes, says):
    with pytest.raises(CourseError, match=says) as caught:
        metrics.box_ap(boxes, scenes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "result", "says"),
    [
        ({"bbox": [0, 0, 1]}, {}, "four numbers"),
        ({}, {"image_id": 9}, "image 9, which is not among"),
        ({}, {"score": math.inf}, "not finite"),
    ],
)
def test_dictionaries_that_cannot_be_scored_are_refused(annotation, result, says):
    truth = {"id": 1, "image_id": 1, "bbox": [0, 0, 5, 5], "area": 9.0} | annotation
    one = {"image_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5} | result
    with pytest.raises(CourseError, match=says):
        metrics.coco_box_ap([truth], [one], [1])
    with pytest.raises(CourseError, match="has no field 'score'"):
        metrics.coco_box_ap([truth | {"bbox": [0, 0, 5, 5]}], [{"image_id": 1, "bbox": [0, 0, 5, 5]}], [1])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 3), st.floats(-500, 500))
def test_scale_place_and_order_change_nothing(seed, scale, shift):
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 100, (6, 2))
    true = np.concatenate([corners, corners + random.uniform(10, 40, (6, 2))], 1)
    near = np.concatenate([true + random.normal(0, 2, true.shape), true + 300], 0)
    scores = random.permutation(len(near)) / len(near)

    def ap(factor, by, order):
        own = Found(torch.from_numpy(near * factor + by)[order], torch.from_numpy(scores)[order])
        return metrics.match_boxes([own], [scene(*map(person, true * factor + by))]).scores().ap()

    assert ap(scale, shift, torch.from_numpy(random.permutation(12))) == pytest.approx(ap(1, 0, torch.arange(12)))
