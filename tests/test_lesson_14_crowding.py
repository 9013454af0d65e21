"""Lesson 14's study of crowds: its pictures, its runs, the scores and times made of them, and its figures."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from crowd_helpers import Told, found, scene
from matplotlib import pyplot as plt
from top_down_helpers import Centred

from course_lib import metrics, paths
from course_lib.errors import CourseError
from course_lib.lessons import lesson_14_crowding as study
from course_lib.lessons import lesson_14_crowding_figures as figures
from course_lib.lessons import lesson_14_crowding_published as published
from course_lib.lessons import lesson_14_crowding_scores as scores
from course_lib.metrics.ap import COCO_AREAS
from course_lib.models.detector import GivenBoxes
from course_lib.pose import Found
from course_lib.training import crowds

PAF, TOLD, DETECTED = "paf_course", study.HOURGLASS_TOLD, study.HOURGLASS_DETECTED


class Boxes(GivenBoxes):
    """Always the same two boxes."""

    def detect(self, images):
        return [Found(torch.tensor([[0.0, 0, 6, 6], [1.0, 1, 7, 7]]), torch.tensor([0.9, 0.8])) for _ in images]


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_picture_has_exactly_so_many_people_and_is_the_same_every_time():
    (one,), (again,), (other,) = (study.by_number(round_, [7]) for round_ in (0, 0, 1))
    assert len(one.people) == len(other.people) == 7
    assert torch.equal(one.image, again.image) and not torch.equal(one.image, other.image)
    assert len(study.crowded(3).people) == study.CROWD


def test_pictures_are_drawn_until_every_range_of_the_index_has_enough():
    assert [study.level_of(one) for one in (0.0, 0.19, 0.2, 0.5, 0.79, 0.8, 3.0)] == [0, 0, 1, 2, 3, 4, 4]
    index = [0.9, 0.1, 0.3, 0.5, 0.7, 0.1, 0.85, 0.75, 0.55, 0.15, 0.25, 0.1]
    assert study.drawn(1, index.__getitem__) == [[1, 2, 3, 4, 0]]
    assert study.drawn(2, index.__getitem__) == [[1, 2, 3, 4, 0], [5, 10, 8, 7, 6]]
    with pytest.raises(CourseError, match="1500 pictures of 6 people do not have 1 of every crowd index"):
        study.drawn(1, lambda draw: 0.5)


# --- a run ------------------------------------------------------------------------------------------------------------


def test_one_answer_gives_the_poses_and_the_time_of_both_parts(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(study.time, "process_time", lambda: next(clock) ** 2)
    poses, row = study.answered(Told([[found(0)]]), scene(0, 1))
    assert len(poses) == 1 and row == {"all": 1000}
    behind = Centred()
    behind.detector = study.Clocked(Boxes([]))
    clock = itertools.count()
    poses, row = study.answered(behind, scene(0, 1))
    assert row == {"all": 9000, "detector": 3000, "boxes": 2} and poses  # 0 | 1 4 | 9
    clock = itertools.count()
    poses, row = study.answered(crowds.TopDown(Centred()), scene(0, 2))
    assert row == {"all": 1000, "alone": 5000 + 9000} and len(poses) == 2  # 0 1 | 4 9 | 16 25


def test_what_is_kept_of_answers_scores_as_the_answers_do():
    """Right, a little beside, far beside, twice, and more than the protocol looks at; of nobody, and of two people."""
    torch.manual_seed(0)
    pictures = [scene(i, people) for i, people in enumerate((2, 3, 1, 0, 2, 3))]
    answers = []
    for count in (0, 5, 30, 2, 7, 4):
        poses = [found(k % 4, round(float(torch.rand(())), 3)) for k in range(count)]
        answers.append([pose.moved(pose.joints + torch.randn(14, 2) * (k % 5)) for k, pose in enumerate(poses)])
    pictures[4].people[0].visible[:] = 0  # nobody to find: an estimate of them counts neither way
    kept = [study.marked(poses, one) for poses, one in zip(answers, pictures, strict=True)]
    runs = [
        {"system": PAF, "set": "number", "round": r, "scores": [s for s, _ in part], "marks": [m for _, m in part]}
        for r, part in enumerate((kept[:3], kept[3:]))
    ]
    rows = [study.described([one]) | {"index": "0"} for one in pictures if one.people]
    assert [row["to_find"] for row in rows] == ["2", "3", "1", "1", "3"]
    stored = {"runs": runs, "pictures": {"number": [{"to_find": "2 3 1"}, {"to_find": "0 1 3"}]}}
    rebuilt = scores.answers(stored, PAF, "number")
    direct = metrics.match_keypoints(answers, pictures, areas={"all": COCO_AREAS["all"]})
    for times in (np.ones(6), np.array([1.0, 0, 2, 0, 3, 1]), np.array([0.0, 0, 0, 0, 1, 0])):
        assert rebuilt.scores(times).numbers == pytest.approx(direct.scores(times).numbers, abs=1e-12)
    assert 0 < direct.scores().ap() < 1 and bool(direct.excused.any())
    with pytest.raises(CourseError, match="no answers of 'deepcut_course' to the pictures by index"):
        scores.answers(stored, "deepcut_course", "index")


def test_an_unknown_system_is_named_with_those_there_are():
    with pytest.raises(CourseError, match="paf_course"):
        study.opened("paf")


def test_new_weights_have_another_stamp_and_recorded_scores_do_not(monkeypatch):
    header = {"steps": 3, "scores": {}, "digest": "a"}
    monkeypatch.setattr(study.checkpoints, "read_header", lambda path: dict(header))
    first = {name: study.stamp(name) for name in (PAF, DETECTED)}
    header |= {"scores": {"crowd-val": 1}, "digest": "b"}
    assert {name: study.stamp(name) for name in first} == first
    header["steps"] = 4
    assert not set(first.values()) & {study.stamp(name) for name in first}


# --- the study --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Two systems that need no network, pictures of 1 and 2 people, two ranges of the index; who is asked is told."""
    asked = []

    def answered(model, one):
        asked.append((model, one.id))
        people = len(one.people)
        took = {PAF: {"all": 100 + people}, TOLD: {"all": 20 * people, "alone": 30 * people}}[model]
        return [found(k, 0.9 - k / 100) for k in range(people if model == TOLD else 1)], took

    def drawn(rounds):
        return [[round_, 100 + round_] for round_ in range(rounds)]

    picture = {draw: scene(draw, 2) for draw in (*range(3), *range(100, 103))}
    for draw in range(100, 103):  # the second person stands in the place of the first
        picture[draw].people[1] = picture[draw].people[0]
    values = {"answered": answered, "opened": lambda name: name, "stamp": lambda name: f"{name} 1", "drawn": drawn}
    values |= {"by_number": lambda round_, numbers=(1, 2): [scene(10 * round_ + n, n) for n in numbers]}
    values |= {"crowded": picture.__getitem__, "NUMBERS": (1, 2), "EDGES": (0.0, 0.8), "SHORT": (2,)}
    values |= {"SYSTEMS": {name: study.SYSTEMS[name] for name in (TOLD, PAF)}, "FILE": tmp_path / "crowding.json"}
    for name, value in values.items():
        monkeypatch.setattr(study, name, value)
    monkeypatch.setattr(scores, "SAMPLES", 20)
    monkeypatch.setattr(scores, "CROWD_LEVELS", ("easy", "hard"))
    monkeypatch.setattr(scores.summed, "__defaults__", (20,))
    return asked


def test_a_study_is_made_run_by_run_and_goes_on_where_it_was_ended(small, capsys, monkeypatch):
    make = study.one_run
    calls = itertools.count()

    def killed(name, scenes):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return make(name, scenes)

    monkeypatch.setattr(study, "one_run", killed)
    with pytest.raises(KeyboardInterrupt):
        study.main(["--rounds", "2"])
    assert len(study.load()["runs"]) == 3 and "summary" not in study.load()
    monkeypatch.setattr(study, "one_run", make)
    before = len(small)
    study.main(["--rounds", "2"])
    stored = study.load()
    assert len(stored["runs"]) == 2 * 2 * 2 and len(small) - before == 5 * 2
    assert [row["to_find"] for row in stored["pictures"]["number"]] == ["1 2", "1 2"]
    assert stored["draws"] == ["0 100", "1 101"] and stored["pictures"]["index"][0]["index"] == "0.0000 1.0000"
    assert "number, round 0: paf_course, 0.2 s" in capsys.readouterr().out
    asked = len(small)
    study.main(["--rounds", "2"])
    assert len(small) == asked and study.load()["runs"] == stored["runs"]  # nothing was made again
    study.main(["--rounds", "3"])
    assert len(small) == asked + 2 * 2 * 2 and study.load()["runs"][:2] == stored["runs"][:2]


def test_only_runs_of_weights_that_have_changed_are_made_again(small, monkeypatch):
    study.main(["--rounds", "1"])
    asked = len(small)
    monkeypatch.setattr(study, "stamp", lambda name: f"{name} {2 if name == PAF else 1}")
    study.main(["--rounds", "1"])
    assert {model for model, _ in small[asked:]} == {PAF} and len(small) == asked + 2 * 2
    assert {run["weights"] for run in study.load()["runs"]} == {f"{PAF} 2", f"{TOLD} 1"}


def test_the_summary_is_of_the_runs(small):
    study.main(["--rounds", "2"])
    stored = study.load()
    ap = stored["summary"]["ap"]
    assert ap[TOLD]["1-2"] == [1.0, 1.0, 1.0] and ap[TOLD]["easy"] == [1.0, 1.0, 1.0]
    low_recall = ap[PAF]["easy"][0]  # one of two people is found
    assert low_recall == pytest.approx(51 / 101, abs=1e-4)
    assert stored["summary"]["above"][TOLD]["easy"][0] == pytest.approx(1 - low_recall, abs=1e-3)
    assert stored["summary"]["fall"][PAF]["easy to hard"][0] == pytest.approx(0.0, abs=1e-9)
    assert stored["summary"] == scores.summed(stored)
    assert scores.milliseconds(stored, PAF).tolist() == [[101, 102]] * 2
    assert scores.milliseconds(stored, TOLD, "alone").tolist() == [[30, 60]] * 2
    assert scores.groups(stored).keys() == {"1-2", "0 to 0.8", "0.8 and more", "easy", "hard"}


def test_nobody_has_made_the_study_yet(tmp_path):
    with pytest.raises(CourseError, match=r"nobody has made the study of crowds yet: `python -m course_lib evaluate"):
        study.load(tmp_path / "none.json")


# --- times ------------------------------------------------------------------------------------------------------------


def test_a_law_goes_through_the_medians():
    numbers = [1, 2, 3, 4]
    taken = np.array([[15.0, 20, 25, 30], [15, 20, 25, 30], [999, 0, 999, 0]])
    line = scores.fitted(numbers, taken, 1)
    assert line.coefficients == pytest.approx((10, 5)) and line.r2 == pytest.approx(1)
    assert line.at(10) == pytest.approx(60)
    bent = scores.fitted(numbers, np.square(numbers)[None] + 1.0, 2)
    assert bent.coefficients == pytest.approx((1, 0, 1), abs=1e-9)
    flat = scores.fitted(numbers, np.full((1, 4), 7.0), 1)
    assert flat.at(3) == pytest.approx(7) and flat.r2 <= 1
    off = scores.fitted([0, 1, 2], np.array([[0.0, 3, 0]]), 1)  # the mean is the best line
    assert off.coefficients == pytest.approx((1, 0), abs=1e-9) and off.r2 == pytest.approx(0)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((20, 10), (100, 0), 8),
        ((20, 10), (100, 0, 0), 8),
        ((20, 10), (80, 2), 7.5),
        ((100, 10), (20, 1), math.inf),  # below nobody
        ((20, 10), (60, 10), math.inf),  # parallel
        ((20, 10), (20, 10), math.inf),  # the same
        ((0, 1), (0, 0), math.inf),  # at nobody
        ((0, 1), (1, 0), 1),
        ((0, 10), (24, 0, 1), 4),  # and again at 6
        ((0, 1), (24, 0, 1), math.inf),  # n^2 - n + 24 is never 0
        ((0, 10), (300, 0), math.inf),  # at 30, too far out
    ],
)
def test_where_two_laws_meet(one, other, expected):
    assert scores.crossing(one, other) == pytest.approx(expected)
    assert scores.crossing(other, one) == pytest.approx(expected)


def test_crossings_come_with_an_interval(small):
    study.main(["--rounds", "3"])
    stored = study.load()
    stored["numbers"] = list(range(1, 13))
    for name, start, slope in ((TOLD, 10, 10), (PAF, 90, 0)):
        for noise, run in zip((-1, 0, 1), study.runs_of(stored, name, "number"), strict=True):
            run["all"] = " ".join(str(start + slope * n + noise) for n in stored["numbers"])
    met, low, high, share = scores.crossings(stored, TOLD, PAF, samples=50)
    assert met == pytest.approx(8) and 7 < low < met < high < 9 and share == 1
    assert scores.crossings(stored, PAF, PAF, samples=5) == (math.inf, math.inf, math.inf, 0.0)


def test_tables_say_what_was_fitted_and_where_laws_meet(small):
    study.main(["--rounds", "2"])
    stored = study.load()
    stored["numbers"] = list(range(1, 13))
    for name, start, slope in ((TOLD, 10, 10), (PAF, 90, 0)):
        for run in study.runs_of(stored, name, "number"):
            run["all"] = " ".join(str(start + slope * n) for n in stored["numbers"])
    told, paf = scores.law_rows(stored).values()
    assert told["a"] == pytest.approx(10) and told["for each person"] == pytest.approx(10)
    assert told["for each pair (n²)"] is None and paf["for each pair (n²)"] == pytest.approx(0, abs=1e-9)
    assert scores.crossing_rows(stored, 5) == {
        "Stacked hourglass, true boxes": {"meets Part affinity fields at": "8.0 (8.0 to 8.0)"}
    }
    assert scores.in_words(7.04, 6.5, math.inf, 0.9) == "7.0 (6.5 to never)"
    assert scores.in_words(math.inf, math.inf, math.inf, 0.25) == "nowhere (in 75 % of the samples)"


def test_boxes_are_paid_for_after_the_detector():
    runs = [
        {"system": DETECTED, "set": "number", "all": "95 125", "detector": "80 80", "boxes": "1 4"},
        {"system": DETECTED, "set": "number", "all": "105 115", "detector": "90 70", "boxes": "1 4"},
    ]
    line = scores.law_of_boxes({"runs": runs}, DETECTED)
    assert line.coefficients == pytest.approx((5, 10)) and line.r2 == pytest.approx(1)


def test_the_short_run_is_compared_estimate_by_estimate(small):
    study.main(["--rounds", "1"])
    stored = study.load()
    rows = scores.again(stored, (TOLD, PAF))
    told = rows["Stacked hourglass, true boxes"]
    assert told == {"estimates stored": 2, "of all, judged alike": 1.0, "ms stored": 40.0, "ms now": 40.0}
    first = next(study.runs_of(stored, TOLD, "number"))
    first["marks"][1] = "3ff"  # of two estimates one, as if the other had not been there
    assert scores.again(stored, (TOLD,))["Stacked hourglass, true boxes"]["of all, judged alike"] == 0.5


# --- the figures ------------------------------------------------------------------------------------------------------


def test_a_system_of_ones_own_is_arithmetic_on_what_was_measured():
    line, steep, flat = (scores.Fit(c, 1.0) for c in ((12.0, 7.0), (0.0, 18.0), (90.0, 0.0, 0.0)))
    parts = figures.Parts(line, steep, 70.0, {PAF: flat})
    assert parts.top_down(0, 1, True) == (12, 7) and parts.top_down(70, 5, False) == (70, 90)
    figure = figures.draw_own(parts, 0.0, 1.0, True, PAF)
    assert figure.axes[0].get_title() == "equally slow at n* = 11.1 people"
    figure = figures.draw_own(parts, 100.0, 1.0, True, PAF)
    assert figure.axes[0].get_title().startswith("top-down is slower from the first person on")
    figure = figures.draw_own(parts._replace(batched=scores.Fit((0.0, 0.5), 1.0)), 0.0, 1.0, True, PAF)
    assert figure.axes[0].get_title().startswith("no crossing")
    plt.close("all")


def test_published_numbers_say_what_the_lesson_says_of_them():
    assert published.differences() == pytest.approx({"easy": 4.2, "medium": 2.7, "hard": -2.4})
    first = published.CROWDPOSE["OpenPose"]
    for name, row in published.CROWDPOSE.items():
        assert name == "OpenPose" or all(a > b for a, b in zip(row[2:], first[2:], strict=True))
        assert row.easy > row.medium > row.hard


# --- what is stored ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not study.FILE.exists(), reason="nobody has made the study yet")
def test_the_stored_study_is_whole_and_of_the_pictures_and_weights_there_are():
    stored = study.load()
    assert stored["made_by"] == study.MADE_BY and stored["rounds"] == study.ROUNDS
    assert {run["system"] for run in stored["runs"]} == set(study.SYSTEMS)
    assert len(stored["runs"]) == len(study.SYSTEMS) * len(study.SETS) * study.ROUNDS
    assert {run["weights"] for run in stored["runs"]} == {study.stamp(name) for name in study.SYSTEMS}
    known = study.described(study.by_number(0, study.SHORT))
    short = stored["short_run"]
    assert short["to_find"] == known["to_find"] and short["numbers"] == list(study.SHORT)
    assert [float(one) for one in short["index"].split()] == pytest.approx(
        [float(one) for one in known["index"].split()], abs=0.05
    )
    for name, (kind, chosen) in scores.groups(stored).items():
        assert chosen.sum() > 0, (name, kind)
    row = scores.of_samples(scores.answers(stored, PAF, "number"), scores.groups(stored)["1-2"][1], 0)
    assert row[0] == pytest.approx(stored["summary"]["ap"][PAF]["1-2"][0], abs=1e-4)
    for drawn in (figures.draw_everything, figures.draw_fits, figures.draw_index):
        plt.close(drawn(stored))
    assert paths.checkpoint(PAF).exists()
