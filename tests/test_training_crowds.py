"""Scores on pictures of many people: worked examples, top-down models, and how far to trust an AP."""

from __future__ import annotations

import random

import pytest
import torch
from crowd_helpers import FIGURE, Told, body, found, scene, somebody

from course_lib import metrics, models
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.pose import Pose, Scene
from course_lib.skeletons import COCO, LSP
from course_lib.training import benchmarks, crowds
from course_lib.training.evaluate import MeanPose

COUNTS = (1, 2, 3, 4, 5, 7, 8, 12)  # both ends of every group
SCORES = ("ap", "ap50", "ap75", "ar", "pckh_map")
SCENES = [scene(number, people) for number, people in enumerate(COUNTS)]
TRUTH = [[found(one) for one in range(people)] for people in COUNTS]


def uneven(seed: int, share: float = 0.7, pictures: int = 40, more: float = 0.0) -> tuple[list[Scene], Told, Told]:
    """Pictures in which a share of the people is found, among false alarms; `more` of the people by a second model."""
    draw = random.Random(seed)
    scenes = [scene(number, draw.randint(0, 8)) for number in range(pictures)]
    answers, others = [], []
    for one in scenes:
        luck = [draw.random() for _ in one.people]
        alarms = [found(20 + k, draw.random()) for k in range(draw.randint(0, 2))]
        sure = [draw.random() for _ in one.people]
        for list_of, limit in ((answers, share), (others, share + more)):
            hits = [found(k, score) for k, (at, score) in enumerate(zip(luck, sure, strict=True)) if at < limit]
            list_of.append([*hits, *alarms])
    return scenes, Told(answers), Told(others)


# --- scores -----------------------------------------------------------------------------------------------------------


def test_the_truth_as_estimate_is_perfect_in_every_group():
    result = crowds.examine(Told(TRUTH), SCENES)
    groups = result["by_people"]
    assert list(groups) == ["1-2", "3-4", "5-7", "8-12"]
    for one in (result, *groups.values()):
        assert [one[name] for name in SCORES] == pytest.approx([1] * 5)
    assert [one["people"] for one in groups.values()] == [3, 7, 12, 20] and result["people"] == 42
    assert [one["pictures"] for one in groups.values()] == [2] * 4 and result["pictures"] == 8
    assert result["ap_interval"] == pytest.approx((1, 1))


def test_no_estimates_score_nothing_and_nobody_gives_no_score():
    result = crowds.examine(Told([[]] * 8), SCENES[:4])
    for one in (result, result["by_people"]["1-2"], result["by_people"]["3-4"]):
        assert [one[name] for name in SCORES] == [0] * 5
    assert result["ap_interval"] == (0, 0)
    assert result["by_people"]["8-12"] == {**dict.fromkeys(SCORES), "people": 0, "pictures": 0}
    for empty in ([], [scene(0, 0)]):
        result = crowds.examine(Told([[found(0)]]), empty)
        assert [result[name] for name in SCORES] == [None] * 5 and result["ap_interval"] is None
        assert (result["people"], result["pictures"]) == (0, len(empty))


def test_a_worked_example():
    """Four people in two pictures, by falling score: a hit, a false alarm, a hit; all the 14 joints alike."""
    scenes, answers = [scene(0, 1), scene(1, 3)], [[found(0, 0.9)], [found(9, 0.8), found(2, 0.7)]]
    result = crowds.examine(Told(answers), scenes)
    for name in ("ap", "ap50", "ap75"):
        assert result[name] == pytest.approx((26 + 25 * 2 / 3) / 101)  # precision 1 up to recall 1/4, 2/3 up to 1/2
    assert result["ar"] == 0.5 and result["pckh_map"] == pytest.approx((1 + 2 / 3) / 4)
    alone, three = result["by_people"]["1-2"], result["by_people"]["3-4"]
    assert (alone["ap"], alone["pckh_map"]) == pytest.approx((1, 1))
    assert three["ap"] == pytest.approx(34 * 0.5 / 101) and three["pckh_map"] == pytest.approx(0.5 / 3)


def test_a_pose_beside_its_place_is_found_at_low_thresholds_only():
    """An OKS between 0.6 and 0.65 passes three of the ten thresholds."""
    moved = ([Pose(body(0) + by / 10, torch.ones(14), LSP)] for by in range(200))
    place = next(one for one in moved if 0.6 < metrics.oks(one[0].joints, body(0), torch.ones(14), 900.0, "lsp") < 0.65)
    result = crowds.examine(Told([place]), [scene(0, 1)])
    assert [result[name] for name in ("ap", "ap50", "ap75", "ar")] == pytest.approx([0.3, 1, 0, 0.3])


def test_a_false_alarm_where_nobody_is_counts_in_the_whole_only():
    scenes, answers = [scene(0, 1), scene(1, 0)], [[found(0, 0.5)], [found(3, 0.9)]]
    result = crowds.examine(Told(answers), scenes)
    assert (result["ap"], result["pckh_map"]) == pytest.approx((0.5, 0.5)) and result["pictures"] == 2
    alone = result["by_people"]["1-2"]
    assert (alone["ap"], alone["pckh_map"]) == pytest.approx((1, 1)) and alone["pictures"] == 1


def test_more_people_than_any_group_has_count_in_the_whole_only():
    result = crowds.examine(Told([[found(one) for one in range(13)]]), [scene(0, 13)])
    assert result["ap"] == pytest.approx(1) and all(one["pictures"] == 0 for one in result["by_people"].values())


def test_ignored_people_count_neither_way():
    scenes = [Scene(torch.zeros(3, 8, 8), [somebody(0), somebody(1, ignore=True)])]
    result = crowds.examine(Told([[found(0, 0.5), found(1, 0.9)]]), scenes)
    assert result["ap"] == pytest.approx(1) and result["people"] == 1


def test_order_does_not_matter():
    scenes, model, _ = uneven(3)
    result = crowds.examine(model, scenes)
    draw = random.Random(0)
    other = crowds.examine(Told([draw.sample(poses, len(poses)) for poses in model.answers]), draw.sample(scenes, 40))
    for one, same in ((result, other), (result["by_people"]["5-7"], other["by_people"]["5-7"])):
        assert [one[name] for name in SCORES] == pytest.approx([same[name] for name in SCORES], abs=1e-12)
    assert 0 < result["ap"] < 1


def test_other_joints_are_refused():
    strange = Scene(torch.zeros(3, 8, 8), [], id=5)
    strange.people = [somebody(0)]
    strange.people[0].skeleton = COCO
    with pytest.raises(CourseError, match="scene 5 is labelled with skeleton 'coco', but the model has 'lsp'"):
        crowds.examine(Told([[]]), [strange])


# --- top down ---------------------------------------------------------------------------------------------------------


class Single:
    """Answers a box with the figure in its corner, and writes down what it was asked."""

    skeleton = LSP

    def __init__(self, each: int = 1) -> None:
        self.each, self.asked = each, []

    def estimate(self, images, boxes=None, flip_test=False):
        self.asked.append((boxes, flip_test))
        return [[Pose(FIGURE + box[:2], torch.ones(14), LSP) for box in own] * self.each for own in boxes]


def test_a_top_down_model_is_told_every_true_box():
    single, scenes = Single(), [*SCENES, scene(8, 0)]
    result = crowds.examine(crowds.TopDown(single), scenes, flip_test=True)
    assert (result["ap"], result["pckh_map"]) == pytest.approx((1, 1))
    ((boxes, flip),) = single.asked
    assert flip and [len(one) for one in boxes] == [*COUNTS, 0]
    assert torch.equal(boxes[1], torch.stack([person.box for person in scenes[1].people]))


def test_nobody_is_told_of_the_people_who_do_not_count():
    one = Scene(torch.zeros(3, 8, 8), [somebody(0, crowd=True), somebody(1), somebody(2, ignore=True)])
    assert torch.equal(crowds.true_boxes(one), somebody(1).box[None])
    one.people[1].box = None
    with pytest.raises(CourseError, match="has no box"):
        crowds.examine(crowds.TopDown(Single()), [one])


def test_what_cannot_work_top_down_is_refused():
    pictures = [SCENES[1].image]
    with pytest.raises(CourseError, match="must be told the boxes"):
        crowds.TopDown(Single()).estimate(pictures)
    with pytest.raises(CourseError, match="must be told the boxes"):
        crowds.TopDown(Single()).estimate(pictures, boxes=[None])
    with pytest.raises(CourseError, match="one pose; it gave 4 for 2 boxes"):
        crowds.TopDown(Single(each=2)).estimate(pictures, boxes=[crowds.true_boxes(SCENES[1])])
    for model in (Told([]), crowds.TopDown(Single())):
        with pytest.raises(CourseError, match="looks for everybody itself"):
            crowds.TopDown(model)


def test_a_network_answers_one_pose_a_box():
    network = models.create("hourglass_course", stacks=1, width=8, depth=2, input_size=(32, 32)).eval()
    picture, boxes = torch.rand(3, 48, 64), torch.tensor([[0.0, 0, 20, 40], [30.0, 5, 60, 45]])
    (poses,) = crowds.TopDown(network).estimate(picture, boxes)
    assert torch.equal(torch.stack([pose.box for pose in poses]), boxes)
    assert crowds.TopDown(network).estimate(picture, boxes.tolist())[0][1].score == poses[1].score
    assert crowds.TopDown(network).estimate([picture], [torch.zeros(0, 4)]) == [[]]


def test_the_mean_pose_is_learned_in_the_boxes_it_is_put_into(monkeypatch):
    """People who are all alike, small and large, are found by the mean of other such people."""

    def alike(count, seed, skeleton):
        draw = random.Random(seed)
        people = []
        for _ in range(count):
            at, size = torch.tensor([draw.uniform(0, 99), draw.uniform(0, 99)]), draw.uniform(0.5, 2)
            box, head = torch.cat([at, at + 40 * size]), torch.cat([at, at + 10 * size])
            people.append(somebody(0, box=box, head_box=head, area=900.0 * size**2))
            people[-1].joints = FIGURE * size + at
        return [Scene(torch.zeros(3, 100, 100), [one]) for one in people] + [Scene(torch.zeros(3, 9, 9), [])]

    monkeypatch.setattr(synthetic, "scenes", alike)
    mean = MeanPose.of(benchmarks.training_people("crowd-val", "lsp"), count=60)
    result = crowds.examine(crowds.TopDown(mean), alike(20, "others", "lsp"))
    assert (result["ap"], result["pckh_map"]) == pytest.approx((1, 1)) and result["people"] == 20


# --- how far to trust an AP -------------------------------------------------------------------------------------------


def matches(model: Told, scenes: list[Scene]) -> metrics.Matches:
    return metrics.match_keypoints(model.answers[: len(scenes)], scenes, areas={"all": (0, 1e10)})


def test_the_interval_lies_around_the_value_and_is_the_same_again():
    scenes, model, _ = uneven(0)
    scores, who = crowds.examined(model, scenes)
    low, high = scores["ap_interval"]
    assert low < scores["ap"] < high and high - low > 0.05
    assert crowds.interval(who) == (low, high) == crowds.interval(matches(model, scenes))
    assert crowds.interval(who, seed=1) != (low, high)
    inner = crowds.interval(who, level=0.5)
    assert low < inner[0] < inner[1] < high


def test_four_times_the_pictures_halve_the_interval():
    few, many = (matches(model, scenes) for scenes, model, _ in (uneven(0, pictures=60), uneven(0, pictures=240)))
    (low, high), (lower, higher) = crowds.interval(few), crowds.interval(many)
    assert higher - lower == pytest.approx((high - low) / 2, rel=0.25)


def test_pictures_that_both_find_hard_cancel():
    scenes, worse, better = uneven(1, more=0.05)
    one, other = matches(better, scenes), matches(worse, scenes)
    difference = one.scores().ap() - other.scores().ap()
    low, high = crowds.paired_interval(one, other)
    assert 0 < low < difference < high
    apart = crowds.interval(one)
    assert high - low < 0.6 * (apart[1] - apart[0])
    assert crowds.paired_interval(other, one) == pytest.approx((-high, -low))
    assert crowds.paired_interval(one, one) == (0, 0) == benchmarks.paired_interval(other, other)


def test_only_the_same_pictures_are_compared():
    one = matches(Told(TRUTH), SCENES)
    for scenes in (SCENES[:-1], [*SCENES, scene(8, 0)], [*SCENES[:-1], scene(7, 11)], [*SCENES[1::-1], *SCENES[2:]]):
        with pytest.raises(CourseError, match="same people in the same pictures"):
            crowds.paired_interval(one, matches(Told([*TRUTH, []]), scenes))
    nobody = matches(Told([[]]), [scene(0, 0)])
    assert crowds.paired_interval(nobody, nobody) is None


# --- the benchmark ----------------------------------------------------------------------------------------------------


def test_who_is_measured_on_what():
    everybody, single = Told([]), Single()
    assert benchmarks.possible(everybody) == ("crowd-val",) == benchmarks.possible(crowds.TopDown(single))
    assert benchmarks.possible(single)[0] == "single-val" and "crowd-val" not in benchmarks.possible(single)
    assert benchmarks.title(everybody, "crowd-val") == "crowd-val"
    assert benchmarks.title(single, "crowd-val") == "crowd-val, true boxes"
    assert benchmarks.title(single, "single-val") == "single-val"
    assert benchmarks.title(everybody, "single-val") == "single-val, surest person"
    assert benchmarks.decisive({"crowd": {"people": [1, 5]}}) == "crowd-val" == benchmarks.decisive(iter(["crowd"]))
    assert benchmarks.headline("crowd-val", {"ap": 0.25, "ap50": 0.5}) == 0.25


def test_one_examiner_for_both_kinds(monkeypatch):
    made = []
    monkeypatch.setattr(synthetic, "benchmark", lambda name, skeleton: made.append(name) or SCENES)
    examiner = benchmarks.Examiner()
    for model in (Told(TRUTH), Single(), Told([[]] * 8)):
        scores, who = examiner.examine(model, "crowd-val")
        assert scores["ap"] == pytest.approx(float(bool(scores["ar"]))) and who.pictures == 8
    assert made == ["crowd-val"]
