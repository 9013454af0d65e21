"""PCKh-mAP for several people, and MOTA, on examples worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib import metrics, skeletons
from course_lib.errors import CourseError
from course_lib.pose import Person, Pose, Scene

MPII = skeletons.get("mpii")
HEAD = torch.tensor([100.0, 50.0, 130.0, 90.0])  # tolerance 15 px


def body(number: int) -> torch.Tensor:
    places = torch.rand(16, 2, generator=torch.Generator().manual_seed(0)) * 200
    return places.round() + torch.tensor([1000.0 * number, 0.0])


def somebody(number: int, **known) -> Person:
    return Person(body(number), torch.full((16,), 2), MPII, **({"head_box": HEAD} | known))


def answer(number: int, score: float = 0.9, off: float = 0.0) -> Pose:
    return Pose(body(number) + torch.tensor([off, 0.0]), torch.full((16,), score), MPII)


def scene(*people: Person) -> Scene:
    return Scene(torch.zeros(3, 4, 4), list(people))


@pytest.mark.parametrize(
    ("right", "expected"),
    [((True, False, False), 0.5), ((False, True, True), 2 / 3), ((True, False, True), 5 / 6)],
)
def test_worked_all_point_ap(right, expected):
    """One joint type, two true joints, scores .9, .8, .7; and in another order of the same answers."""
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert metrics.all_point_ap(torch.tensor(right), scores, 2) == pytest.approx(expected, abs=1e-12)
    order = [2, 0, 1]
    assert metrics.all_point_ap(torch.tensor(right)[order], scores[order], 2) == pytest.approx(expected, abs=1e-12)


def test_all_point_ap_of_nothing():
    assert metrics.all_point_ap(torch.zeros(0), torch.zeros(0), 2) == 0.0
    assert metrics.all_point_ap(torch.ones(1), torch.ones(1), 0) is None


def test_groups():
    groups = metrics.joint_groups("mpii")
    assert list(groups) == ["ankle", "knee", "hip", "head", "wrist", "elbow", "shoulder"]
    assert groups["head"] == ("neck", "head_top")
    assert metrics.joint_groups("coco")["head"] == ("nose",)


def test_map_of_whole_poses():
    """Two people found, and a pose on nobody between them by score: every joint is the worked TP, FP, TP."""
    people = scene(somebody(0), somebody(1))
    found = [answer(0, 0.9), answer(7, 0.8), answer(1, 0.7)]
    table = metrics.pckh_map([found], [people])
    assert set(table) == {*metrics.joint_groups("mpii"), "mAP"}
    assert all(value == pytest.approx(5 / 6) for value in table.values())


def test_tolerance_and_its_border():
    for off, expected in ((15.0, 1.0), (15.1, 0.0)):
        assert metrics.pckh_map([[answer(0, off=off)]], [scene(somebody(0))])["mAP"] == expected
    assert metrics.pckh_map([[answer(0, off=15.0)]], [scene(somebody(0))], comparison="<")["mAP"] == 0.0


def test_each_person_keeps_its_best_estimate_only():
    """The second pose on one person is right in 15 joints, yet all 16 are false alarms."""
    close = answer(0, 0.95)
    close.joints[0] += 500
    answers = metrics.pckh_answers([[close, answer(0, 0.5)]], [scene(somebody(0))])
    assert [right.tolist() for right in answers.right] == [[False, True]] * 16
    assert metrics.pckh_map([[close, answer(0, 0.5)]], [scene(somebody(0))])["mAP"] == 0.5


def test_missing_joints_are_misses_not_false_alarms():
    half = answer(0)
    half.joints[MPII.index("left_wrist")] = math.nan
    answers = metrics.pckh_answers([[half]], [scene(somebody(0))])
    assert answers.ap["left_wrist"] == 0.0 and answers.ap["right_wrist"] == 1.0
    assert len(answers.right[MPII.index("left_wrist")]) == 0
    assert metrics.pckh_map([[half]], [scene(somebody(0))])["wrist"] == 0.5


def test_joints_nobody_labelled():
    person = somebody(0)
    wrist = MPII.index("left_wrist")
    person.visible[wrist] = 0
    poses, scenes = [[answer(0)]] * 2, [scene(person), scene(somebody(0))]
    assert metrics.pckh_answers(poses, scenes).ap["left_wrist"] == 1.0
    poses[0] = [answer(0, 0.95)]
    assert metrics.pckh_answers(poses, scenes, extra_joints="false_alarm").ap["left_wrist"] == 0.5
    assert metrics.pckh_answers(poses[:1], scenes[:1]).ap["left_wrist"] is None
    stranger = metrics.pckh_answers([[answer(7)]], scenes[:1])  # on nobody: its wrist is a false alarm, not an extra
    assert stranger.right[wrist].tolist() == [False]
    with pytest.raises(CourseError, match="extra joints"):
        metrics.pckh_answers(poses, scenes, extra_joints="none")


@pytest.mark.parametrize("region", [{"ignore": True}, {"crowd": True}, {"head_box": None}])
def test_estimates_inside_ignore_regions_are_removed(region):
    box = torch.tensor([900.0, -100.0, 1300.0, 300.0])
    people = scene(somebody(0), somebody(1, box=box, **region))
    assert metrics.pckh_map([[answer(0, 0.5), answer(1, 0.9)]], [people])["mAP"] == 1.0
    without_box = scene(somebody(0), somebody(1, **region))
    assert metrics.pckh_map([[answer(0, 0.5), answer(1, 0.9)]], [without_box])["mAP"] == 0.5


def test_nobody():
    assert metrics.pckh_map([], []) == {"mAP": None}
    assert set(metrics.pckh_map([[answer(0)]], [scene()]).values()) == {None}
    assert set(metrics.pckh_map([[]], [scene(somebody(0))]).values()) == {0.0}


def test_scores_must_be_numbers():
    with pytest.raises(CourseError, match="not finite"):
        metrics.pckh_map([[answer(0, math.nan)]], [scene(somebody(0))])


# --- MOTA -------------------------------------------------------------------------------------------------------------


def frame(true: list[float], estimated: list[float], tracks: list[int]) -> metrics.Frame:
    """People 0, 1, ... at these x with head size 10; estimates at those x."""
    at = [torch.tensor([[[x, 0.0]] for x in xs]).reshape(-1, 1, 2) for xs in (true, estimated)]
    return metrics.Frame(
        at[0], torch.ones(len(true), 1), torch.full((len(true),), 10.0), range(len(true)), at[1], tracks
    )


def test_mota_worked_example():
    """Six true joints in three frames: one miss, one false alarm, one switch."""
    frames = [
        frame([0, 100], [0, 100], [7, 8]),
        frame([0, 100], [1, 300], [7, 9]),  # the second is missed, and a false alarm
        frame([0, 100], [2, 101], [7, 5]),  # found again under another track
    ]
    result = metrics.mota(frames)
    assert [int(x) for x in (result.labelled, result.misses, result.false_alarms, result.switches)] == [6, 1, 1, 1]
    assert result.mota == pytest.approx(0.5)
    assert (result.precision, result.recall) == (5 / 6, 5 / 6)


def test_mota_can_be_negative_and_keeps_tracks():
    assert metrics.mota([frame([0], [100, 200, 300], [1, 2, 3])]).mota == -3.0
    # both estimates are within tolerance of both people: who was whose stays so, though the other would be nearer
    steady = metrics.mota([frame([0, 4], [0, 4], [1, 2]), frame([0, 4], [3, 1], [1, 2])])
    assert int(steady.switches) == 0 and steady.mota == 1.0


def test_mota_of_nobody():
    result = metrics.mota([frame([], [5.0], [1])])
    assert result.mota is None and result.recall is None and result.precision == 0.0
    assert metrics.mota([frame([], [], [])]).precision is None
    with pytest.raises(CourseError, match="frame"):
        metrics.mota([])
