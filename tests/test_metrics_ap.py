"""COCO's keypoint AP: worked examples, agreement with pycocotools, and what must not change it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from generated_coco import JOINTS, generate, official, run, ten_numbers
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import metrics, skeletons
from course_lib.errors import CourseError
from course_lib.pose import Person, Pose, Scene

COCO = skeletons.get("coco")
AREA = 10_000.0


def place(number: int) -> np.ndarray:
    """Joints (17, 2) of somebody; persons of different number are far apart."""
    return np.column_stack([np.arange(17) * 5.0 + 10_000 * number, np.arange(17) * 11.0 % 100])


def person(number: int, image: int = 1, area: float = AREA, empty: bool = False, crowd: bool = False) -> dict:
    joints = place(number)
    flags = np.zeros(17) if empty else np.full(17, 2.0)
    return {
        "id": number + 1,
        "image_id": image,
        "category_id": 1,
        "keypoints": np.column_stack([joints * (not empty), flags]).ravel().tolist(),
        "num_keypoints": 0 if empty else 17,
        "bbox": [*joints.min(0).tolist(), *np.ptp(joints, 0).tolist()],
        "area": area,
        "iscrowd": int(crowd),
    }


def estimate(number: int, score: float, shift: float = 0.0, image: int = 1) -> dict:
    joints = place(number) + np.array([shift, 0.0])
    keypoints = np.column_stack([joints, np.ones(17)]).ravel().tolist()
    return {"image_id": image, "category_id": 1, "keypoints": keypoints, "score": score}


def shift_for(similarity: float) -> float:
    """How far all 17 joints must move for this OKS (area 10,000)."""
    low, high = 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        moved = torch.tensor(place(0)) + torch.tensor([middle, 0.0])
        low, high = (middle, high) if metrics.oks(moved, place(0), torch.ones(17), AREA) > similarity else (low, middle)
    return low


FAR = 99
TWO = [person(0), person(1)]
EMPTY = person(1, empty=True, area=5000.0)
CROWD = person(1, empty=True, area=5000.0, crowd=True)
THREE = [person(number, image=number) for number in range(3)]
CUT = [estimate(FAR + k, 0.9 - k / 100) for k in range(20)]
CASES = {
    "A1 false alarm between": (
        TWO,
        [estimate(0, 0.9), estimate(FAR, 0.8), estimate(1, 0.7)],
        {"AP": (51 + 50 * 2 / 3) / 101, "AR": 1},
    ),
    "A2 false alarm on top": (TWO, [estimate(0, 0.8), estimate(FAR, 0.9), estimate(1, 0.7)], {"AP": 2 / 3, "AR": 1}),
    "A3 one of two": (TWO, [estimate(0, 0.9)], {"AP": 51 / 101, "AR": 0.5}),
    "A4 all joints off by 5": (TWO[:1], [estimate(0, 0.9, 5.0)], {"AP": 0.8, "AP50": 1, "AP75": 1}),
    "A5 somebody without keypoints": ([TWO[0], EMPTY], [estimate(0, 0.9), estimate(1, 0.95)], {"AP": 1}),
    "A5b the same, not annotated": (TWO[:1], [estimate(0, 0.9), estimate(1, 0.95)], {"AP": 0.5}),
    "A5c absorbed once only": ([TWO[0], EMPTY], [estimate(0, 0.9), estimate(1, 0.95), estimate(1, 0.94)], {"AP": 0.5}),
    "A5c a crowd absorbs all": ([TWO[0], CROWD], [estimate(0, 0.9), estimate(1, 0.95), estimate(1, 0.94)], {"AP": 1}),
    "A9 late duplicate": (TWO[:1], [estimate(0, 0.9), estimate(0, 0.8)], {"AP": 1}),
    "A10 duplicate takes first": (TWO[:1], [estimate(0, 0.9, 5.0), estimate(0, 0.8)], {"AP": 0.9}),
    "A12 three pictures": (
        THREE,
        [estimate(0, 0.9, shift_for(0.97), 0), estimate(1, 0.8, shift_for(0.72), 1)],
        {"AP": 0.5, "AP50": 67 / 101, "AP75": 34 / 101, "AR": 0.5},
    ),
    "A13 the 21st": (TWO[:1], [*CUT, estimate(0, 0.1)], {"AP": 0, "AR": 0}),
    "A14 the 20th": (TWO[:1], [*CUT[:19], estimate(0, 0.1)], {"AP": 0.05, "AR": 1}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_worked_examples_ours_and_official(case):
    annotations, results, expected = CASES[case]
    ids = sorted({one["image_id"] for one in annotations})
    ours = metrics.coco_keypoint_ap(annotations, results, ids).numbers
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, abs=1e-6), name
    theirs = ten_numbers(run(official(annotations, results, ids)))
    assert [-1 if value is None else value for value in ours.values()] == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize(
    ("area", "medium", "large"), [(1023, None, None), (1024, 1, None), (9216, 1, 1), (9217, None, 1)]
)
def test_a15_area_bounds_are_inclusive(area, medium, large):
    ours = metrics.coco_keypoint_ap([person(0, area=float(area))], [estimate(0, 0.9)]).numbers
    assert (ours["AP_medium"], ours["AP_large"]) == pytest.approx((medium, large))
    assert (ours["AR_medium"], ours["AR_large"]) == pytest.approx((medium, large))
    assert ours["AP"] == pytest.approx(1)


def test_a16_a_person_with_id_0_is_found_here_but_not_there():
    """The official code marks "unmatched" by 0 and so loses an annotation whose id is 0. We differ on purpose."""
    annotations = [person(0) | {"id": 0}]
    assert metrics.coco_keypoint_ap(annotations, [estimate(0, 0.9)]).ap() == pytest.approx(1)
    assert ten_numbers(run(official(annotations, [estimate(0, 0.9)], [1])))[0] == 0


def test_whole_pose_shift_table():
    similarities = (0.994, 0.976, 0.949, 0.913, 0.871, 0.826, 0.780, 0.734, 0.689, 0.647, 0.607, 0.570)
    aps = (1, 1, 0.9, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.3, 0.2)
    for d, (similarity, ap) in enumerate(zip(similarities, aps, strict=True), start=1):
        moved = torch.tensor(place(0)) + torch.tensor([float(d), 0.0])
        assert float(metrics.oks(moved, place(0), torch.ones(17), AREA)) == pytest.approx(similarity, abs=6e-4)
        assert metrics.coco_keypoint_ap(TWO[:1], [estimate(0, 0.9, d)]).ap() == pytest.approx(ap, abs=1e-6)


def test_a_likeness_of_exactly_the_threshold_passes():
    """Two labelled joints, one met and one out of the world: an OKS of exactly one half."""
    truth, found = person(0), estimate(0, 0.9)
    truth["keypoints"][6:] = [0.0] * 45
    found["keypoints"][0] = 1e7
    ours = metrics.coco_keypoint_ap([truth], [found]).numbers
    assert (ours["AP50"], ours["AP75"]) == pytest.approx((1, 0))
    assert ten_numbers(run(official([truth], [found], [1])))[1] == pytest.approx(1)


# --- pycocotools ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def thousand():
    return generate(1000, seed=7)


def test_the_generated_set_has_all_that_is_hard(thousand):
    annotations, results, ids = thousand
    images = {one["image_id"] for one in annotations}
    assert len(ids) == 1000 and len(images) < 950
    assert sum(one["iscrowd"] for one in annotations) > 100
    assert sum(one["num_keypoints"] == 0 for one in annotations) > 200
    assert {1023.0, 1024.0, 9216.0, 9217.0} <= {one["area"] for one in annotations}
    scores = [one["score"] for one in results]
    assert len(scores) - len(set(scores)) > 1000  # ties
    per_image = np.unique([one["image_id"] for one in results], return_counts=True)[1]
    assert per_image.max() > 20


def test_equals_pycocotools_on_a_thousand_pictures(thousand):
    theirs = run(official(*thousand))
    ours = metrics.coco_keypoint_ap(*thousand)
    assert list(ours.numbers.values()) == pytest.approx(ten_numbers(theirs), abs=1e-9)
    assert all(value > 0.01 for value in ours.numbers.values())
    for a, area in enumerate(("all", "medium", "large")):
        np.testing.assert_allclose(ours.precision[area], theirs.eval["precision"][:, :, 0, a, 0], atol=1e-9)
        np.testing.assert_allclose(ours.recall[area], theirs.eval["recall"][:, 0, a, 0], atol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_equals_pycocotools_on_small_sets(seed):
    """Few pictures make the borders show: a range with nobody in it, pictures with one side only."""
    annotations, results, ids = generate(1 + seed % 6, seed=100 + seed)
    if seed % 4 == 0:  # areas of estimates from their own boxes
        for one in results:
            one["bbox"] = [0.0, 0.0, float(10 + 7 * seed), 40.0]
    if not results:
        results = [estimate(0, 0.5, image=ids[0])]
    theirs = ten_numbers(run(official(annotations, results, ids)))
    ours = metrics.coco_keypoint_ap(annotations, results, ids).numbers
    assert [-1 if value is None else value for value in ours.values()] == pytest.approx(theirs, abs=1e-9)


def as_scenes(annotations: list[dict], results: list[dict], ids: list[int]) -> tuple[list[list[Pose]], list[Scene]]:
    image = torch.zeros(3, 1, 1)
    scenes = {one: Scene(image, [], one) for one in ids}
    poses: dict[int, list[Pose]] = {one: [] for one in ids}
    for one in annotations:
        keypoints = torch.tensor(one["keypoints"], dtype=torch.float64).reshape(JOINTS, 3)
        x, y, width, height = one["bbox"]
        box = torch.tensor([x, y, x + width, y + height], dtype=torch.float64)
        who = Person(keypoints[:, :2], keypoints[:, 2], COCO, box, one["area"], crowd=bool(one["iscrowd"]))
        scenes[one["image_id"]].people.append(who)
    for one in results:
        keypoints = torch.tensor(one["keypoints"], dtype=torch.float64).reshape(JOINTS, 3)
        poses[one["image_id"]].append(Pose(keypoints[:, :2], keypoints[:, 2], COCO, one["score"]))
    return list(poses.values()), list(scenes.values())


def test_scenes_and_dictionaries_give_the_same():
    data = generate(60, seed=3)
    assert metrics.keypoint_ap(*as_scenes(*data)) == metrics.coco_keypoint_ap(*data).numbers


# --- what must not change it, and what is not whole -------------------------------------------------------------------


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6))
def test_order_of_pictures_and_people_does_not_matter(seed):
    """As long as there are no ties: equal scores are ranked by the order of pictures, here as officially, and among
    people equally like an estimate (two boxes that it lies in, both OKS 1) the last is taken."""
    random = np.random.default_rng(seed)
    annotations, results, ids = generate(12, seed=seed)
    annotations = [one for one in annotations if one["num_keypoints"]]
    for one, score in zip(results, random.permutation(len(results)), strict=True):
        one["score"] = float(score)
    poses, scenes = as_scenes(annotations, results, ids)
    first = metrics.keypoint_ap(poses, scenes)
    order = random.permutation(len(scenes))
    poses, scenes = [poses[i] for i in order], [scenes[i] for i in order]
    for found, scene in zip(poses, scenes, strict=True):
        random.shuffle(found)
        random.shuffle(scene.people)
    second = metrics.keypoint_ap(poses, scenes)
    for name, value in first.items():
        assert value is None if second[name] is None else value == pytest.approx(second[name], abs=1e-12)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6))
def test_perfect_estimates_score_one_and_recall_ignores_scores(seed):
    annotations, results, ids = generate(8, seed=seed)
    perfect = [
        {"image_id": one["image_id"], "keypoints": one["keypoints"], "score": 1.0}
        for one in annotations
        if one["num_keypoints"] and not one["iscrowd"]
    ]
    assert metrics.coco_keypoint_ap(annotations, perfect, ids).ap() in (None, pytest.approx(1))
    scores = metrics.coco_keypoint_ap(annotations, results, ids)
    if scores.ap() is not None:
        assert 0 <= scores.ap() <= 1 and 0 <= scores.ar() <= 1
        assert (np.diff(scores.precision["all"], axis=1) <= 0).all()
        assert (np.diff(scores.recall["all"]) <= 0).all()  # stricter thresholds find fewer


def scene(*people: Person) -> Scene:
    return Scene(torch.zeros(3, 8, 8), list(people))


def somebody(number: int = 0, **known) -> Person:
    return Person(torch.tensor(place(number)), torch.full((17,), 2), COCO, **known)


def answer(number: int = 0, score: float = 0.5) -> Pose:
    return Pose(torch.tensor(place(number)), torch.ones(17), COCO, score)


def test_nobody_anywhere():
    nothing = metrics.keypoint_ap([], [])
    assert list(nothing) == [
        "AP",
        "AP50",
        "AP75",
        "AP_medium",
        "AP_large",
        "AR",
        "AR50",
        "AR75",
        "AR_medium",
        "AR_large",
    ]
    assert set(nothing.values()) == {None}
    assert metrics.keypoint_ap([[]], [scene()]) == nothing
    assert metrics.keypoint_ap([[answer()]], [scene()]) == nothing  # false alarms, but nobody to find
    assert metrics.coco_keypoint_ap([], []).numbers == nothing


def test_nobody_found_is_zero():
    scores = metrics.keypoint_ap([[]], [scene(somebody(area=AREA))])
    assert scores["AP"] == scores["AR"] == scores["AP_large"] == 0.0
    assert scores["AP_medium"] is None


def test_missing_joints_are_unlike_and_never_nan():
    lost = answer()
    lost.joints[:9] = math.nan
    assert metrics.keypoint_ap([[lost]], [scene(somebody(area=AREA))])["AP50"] == 0.0  # 8 of 17 is below half
    lost.joints[:] = math.nan
    assert metrics.keypoint_ap([[lost, answer(score=0.1)]], [scene(somebody(area=AREA))])["AP"] == 0.5


def test_ignored_people_count_neither_way():
    for flag in ({"ignore": True}, {"crowd": True}):
        people = [somebody(0, area=AREA), somebody(1, area=AREA, **flag)]
        found = [answer(0, 0.5), answer(1, 0.9)]
        assert metrics.keypoint_ap([found], [scene(*people)])["AP"] == pytest.approx(1), flag
        assert metrics.keypoint_ap([found[:1]], [scene(*people)])["AP"] == pytest.approx(1), flag


def test_area_from_box_and_from_joints():
    """0.53 x the box when there is no segment, 0.53 x the joints' box when there is neither."""
    box = torch.tensor([0.0, 0.0, 50.0, 50.0])  # 0.53 x 2500 is a medium person
    assert metrics.keypoint_ap([[answer()]], [scene(somebody(box=box))])["AP_medium"] == pytest.approx(1)
    assert metrics.keypoint_ap([[answer()]], [scene(somebody())])["AP_medium"] == pytest.approx(1)
    assert metrics.keypoint_ap([[answer()]], [scene(somebody(box=box, area=100.0))])["AP_medium"] is None
    assert metrics.keypoint_ap([[answer()]], [scene(somebody(box=0.8 * box))])["AP_medium"] is None  # 848 < 32^2


def test_a_person_without_labels_and_box_does_not_exist():
    ghost = Person(torch.zeros(17, 2), torch.zeros(17), COCO)
    found = [answer(1, 0.9), answer(0, 0.5)]
    assert metrics.keypoint_ap([found], [scene(somebody(area=AREA), ghost)])["AP"] == pytest.approx(0.5)


def test_other_skeletons_and_protocols():
    lsp = skeletons.get("lsp")
    joints = torch.rand(14, 2, generator=torch.Generator().manual_seed(0)) * 100
    who = Person(joints, torch.ones(14), lsp, area=5000.0)
    near = Pose(joints + 2, torch.ones(14), lsp)
    scores = metrics.evaluate_keypoints([[near]], [scene(who)], thresholds=(0.5, 0.9999), areas={"all": (0, 1e10)})
    assert scores.ap() == pytest.approx(0.5) and scores.ap(threshold=0.5) == pytest.approx(1)
    assert scores.numbers["AP75"] is None
    assert metrics.keypoint_ap([[near]], [scene(who)], sigmas=[10.0] * 14)["AP"] == pytest.approx(1)


def test_bad_input_is_told_in_one_sentence():
    with pytest.raises(CourseError, match="one list of poses for each scene"):
        metrics.keypoint_ap([], [scene()])
    with pytest.raises(CourseError, match="one skeleton"):
        metrics.keypoint_ap([[Pose(torch.zeros(14, 2), torch.ones(14), skeletons.get("lsp"))]], [scene(somebody())])
    with pytest.raises(CourseError, match="score that is not finite"):
        metrics.keypoint_ap([[answer(score=math.nan)]], [scene(somebody(area=AREA))])
    with pytest.raises(CourseError, match=r"annotation \(id 1, image 1\) has 50 numbers in its field 'keypoints'"):
        metrics.coco_keypoint_ap([person(0) | {"keypoints": [0.0] * 50}], [])
    with pytest.raises(CourseError, match=r"annotation \(id 1\) has no field 'area'"):
        metrics.coco_keypoint_ap([{k: v for k, v in person(0).items() if k != "area"}], [])
    with pytest.raises(CourseError, match="image 9"):
        metrics.coco_keypoint_ap([person(0)], [estimate(0, 0.5, image=9)], [1])
    with pytest.raises(CourseError, match='"all"'):
        metrics.keypoint_ap([[]], [scene(somebody(area=AREA))], areas={"small": (0, 1)})


# --- pictures that count several times --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_picture_counts_as_often_as_it_is_told_to(seed):
    """Matched once and weighted, or every picture there so many times: the same curves, people and ranges of area."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int, low: float = 0, high: float = 1) -> torch.Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    scenes, poses = [], []
    for count in torch.randint(0, 5, (12,), generator=generator).tolist():
        joints = random(count, 17, 2, high=60) + random(count, 1, 2, high=300)
        areas = random(count, low=500, high=12_000).tolist()
        people = [Person(one, torch.full((17,), 2), COCO, area=area) for one, area in zip(joints, areas, strict=True)]
        scenes.append(Scene(torch.zeros(3, 4, 4), people))
        near = [one + float(random(1, high=12)) for one in joints if random(1) < 0.8] + [joints.sum(0) + 50] * (
            count % 2
        )
        poses.append([Pose(one, torch.ones(17), COCO, float(random(1))) for one in near])
    times = torch.randint(0, 4, (12,), generator=generator).tolist()
    matches = metrics.match_keypoints(poses, scenes)
    weighted = matches.scores(np.array(times, dtype=float))
    repeated = [[one for one, often in zip(ones, times, strict=True) for _ in range(often)] for ones in (poses, scenes)]
    plain = metrics.evaluate_keypoints(*repeated)
    assert weighted.numbers == pytest.approx(plain.numbers, abs=1e-12) and 0.05 < plain.ap() < 0.95
    for area, precision in plain.precision.items():
        np.testing.assert_allclose(weighted.precision[area], precision, atol=1e-12)
    assert matches.people(np.array(times))[0] == sum(len(scene.people) for scene in repeated[1])
    assert matches.pictures == 12 and matches.scores().numbers == metrics.keypoint_ap(poses, scenes)
    assert matches.scores(np.zeros(12)).ap() is None
