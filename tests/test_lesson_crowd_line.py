"""The table and figures of all multi-person systems, and the study of how long they take."""

from __future__ import annotations

import json

import pytest
import torch
from crowd_helpers import Told, found, scene
from matplotlib import pyplot as plt
from top_down_helpers import Centred

from course_lib import checkpoints, paths, show
from course_lib.course import leaderboard, leaderboard_page
from course_lib.errors import CourseError
from course_lib.lessons import crowd_line, crowd_times, studies
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.models.detector import GivenBoxes
from course_lib.pose import Found
from course_lib.training import crowds

GROUPS = ("1-2", "3-4", "5-7", "8-12")


class Boxes(GivenBoxes):
    """Always the same two boxes."""

    def detect(self, images):
        return [Found(torch.tensor([[0.0, 0, 6, 6], [1.0, 1, 7, 7]]), torch.tensor([0.9, 0.8])) for _ in images]


def taken(**runs) -> dict:
    return {"runs": [{"weights": name, "seconds": seconds} for name, seconds in runs.items()]}


def times(all_: float, **parts: float) -> dict:
    return {group: {"all": all_ * (k + 1), **parts} for k, group in enumerate((*GROUPS, crowd_times.ANY))}


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Times of two systems, one of which looks for boxes first."""
    monkeypatch.setattr(crowd_times, "FILE", tmp_path / "crowd_times.json")
    two_stages = times(0.2, detector=0.05, poses=0.15, boxes=8.0)
    studies.save(crowd_times.FILE, taken(paf_course=times(0.1), deepcut_course=two_stages))
    return crowd_times.FILE


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_lines_stand_in_the_order_of_the_lessons_and_only_what_ships_is_shown():
    assert list(crowd_line.SYSTEMS) == [one for one in crowd_line.LINE if paths.checkpoint(one.weights).exists()]
    assert [one.title[:2] for one in crowd_line.LINE] == ["07", "08", "09", "10", "10"]
    assert [one.weights for one in crowd_line.LINE[2:]] == ["alphapose_course", "grmi_course", "mask_rcnn_course"]
    assert [one.weights for one in crowd_line.SYSTEMS][:2] == ["paf_course", "deepcut_course"]


def test_a_row_is_what_the_header_says():
    rows = crowd_line.rows(last="deepcut_course")
    assert len(rows) == 4 and {len(row) for row in rows.values()} == {len(crowd_line.columns())}
    row = dict(zip(crowd_line.columns(), rows["08 DeepCut"], strict=True))
    scores = checkpoints.read_header(paths.checkpoint("deepcut_course"))["scores"]["crowd-val"]
    assert row["AP"] == scores["ap"] and row["AP, 8-12 people"] == scores["by_people"]["8-12"]["ap"]
    assert crowd_line.TIME not in row and row["parameters, M"] == pytest.approx(0.576, abs=0.001)


def test_a_column_of_times_stands_last_where_it_is_asked_for(stored):
    rows = crowd_line.rows(last="deepcut_course", times=True)
    assert crowd_line.columns(times=True) == (*crowd_line.columns(), "ms a picture")
    assert [row[-1] for row in rows.values()] == [None, None, pytest.approx(500), pytest.approx(1000)]
    assert len(show.table(rows, crowd_line.columns(times=True)).rows) == 4
    without = crowd_line.rows(last="deepcut_course")
    assert {name: row[:-1] for name, row in rows.items()} == without
    stored.unlink()
    assert all(row[-1] is None for row in crowd_line.rows(last="paf_course", times=True).values())


def test_a_two_stage_system_costs_its_detector_and_every_box(stored, monkeypatch):
    model, detector = Centred(), torch.nn.Conv2d(3, 4, 3)
    model.conv = torch.nn.Conv2d(3, 2, 3)
    model.forward, detector.input_size = lambda images: model.conv(images), (16, 16)
    model.detector = detector
    monkeypatch.setattr(crowd_line.models, "load", lambda name: model)
    million, giga = crowd_line.cost("deepcut_course")
    assert million == pytest.approx((parameters(model) + parameters(detector)) / 1e6)
    one = giga_multiply_adds(detector)
    assert giga == pytest.approx(one + 8 * giga_multiply_adds(model)) and one > 0
    assert crowd_line.cost("grmi_course") == (million, None)  # nobody has counted its boxes


# --- the figures ------------------------------------------------------------------------------------------------------


def labels(axes) -> list[str]:
    return [line.get_label() for line in axes.lines]


def test_times_are_drawn_beside_scores(stored):
    figure = crowd_line.draw_times("deepcut_course")
    left, right = figure.axes
    told = [crowd_line.MEAN_POSE, crowd_line.TOP_DOWN]
    assert labels(right) == [*told, "07 Part affinity fields", "08 DeepCut"]
    assert labels(left) == [crowd_line.TOP_DOWN, "07 Part affinity fields", "08 DeepCut", "detector alone"]
    lines = dict(zip(labels(left), left.lines, strict=True))
    assert list(lines["07 Part affinity fields"].get_ydata()) == pytest.approx([100, 200, 300, 400])
    assert list(lines["detector alone"].get_ydata()) == pytest.approx([50] * 4)
    for name in labels(left)[1:3]:
        other = right.lines[labels(right).index(name)]
        assert lines[name].get_color() == other.get_color()
    plt.close(figure)


def test_without_times_nothing_breaks(stored):
    stored.unlink()
    figure = crowd_line.draw_times("paf_course")
    assert all(len(line.get_xdata()) == 0 for line in figure.axes[0].lines)
    plt.close(figure)
    with pytest.raises(CourseError, match=r"nobody has taken the times yet: `python -m course_lib"):
        crowd_times.load()
    figure = crowd_line.draw("deepcut_course")
    assert labels(figure.axes[0])[2:] == ["07 Part affinity fields", "08 DeepCut"]
    plt.close(figure)


# --- the study --------------------------------------------------------------------------------------------------------


def test_a_picture_is_timed_whole_or_in_its_two_stages(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(crowd_times.time, "process_time", lambda: next(clock) ** 2)
    whole = crowd_times.of_picture(Told([[found(0)]]), scene(0, 1), repeats=2)
    assert whole == {"all": 1}  # of 1 - 0 and 9 - 4 the faster
    model = Centred()
    model.detector = Boxes([])
    parts = crowd_times.of_picture(model, scene(0, 1), repeats=1)
    assert parts["all"] == parts["detector"] + parts["poses"] and parts["boxes"] == 2


def test_a_system_has_the_median_of_every_group(monkeypatch):
    spent = {number: value for number, value in enumerate((1.0, 3.0, 2.0, 50.0, 7.0))}
    monkeypatch.setattr(
        crowd_times, "of_picture", lambda model, one, repeats: {"all": spent[one.id], "boxes": float(one.id)}
    )
    groups = {"1-2": [scene(n, 1) for n in range(3)], "3-4": [scene(3, 3), scene(4, 3)], "5-7": []}
    result = crowd_times.of_system(None, groups)
    assert {name: one["all"] for name, one in result.items()} == {"1-2": 2, "3-4": 28.5, "any number": 3}
    assert result["any number"]["boxes"] == 2 and result["3-4"]["boxes"] == 3.5
    with pytest.raises(CourseError, match="no pictures to take the time of"):
        crowd_times.of_system(None, {"1-2": []})


def test_the_study_is_of_named_pictures_and_weights_on_one_thread(monkeypatch, tmp_path):
    few = {"1-2": [scene(0, 1)], "3-4": [scene(1, 3)]}
    threads = torch.get_num_threads()
    monkeypatch.setattr(crowd_times, "pictures", lambda each: few)
    monkeypatch.setattr(crowd_times.models, "load", lambda name: Told([[found(0)], []]))
    study = crowd_times.measure(each=1, repeats=1, weights=["paf_course"])
    studies.save(tmp_path / "times.json", study)
    stored = crowd_times.load(tmp_path / "times.json")
    (run,) = stored["runs"]
    assert (run["weights"], run["benchmark"]) == ("paf_course", "crowd-val")
    assert run["steps"] and set(run["seconds"]) == {"1-2", "3-4", "any number"}
    assert stored["short_run"] == {"1-2": [[0, 1]], "3-4": [[1, 3]]} and stored["device"] == "cpu, 1 threads"
    assert crowd_times.of_weights(stored, "paf_course") == run["seconds"]
    assert crowd_times.of_weights(stored, "deepcut_course") is None and torch.get_num_threads() == threads


def test_times_stand_beside_the_scores_in_the_leaderboard(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path)
    before, _ = leaderboard.by_benchmark()
    study = taken(paf_course=times(0.1), hourglass_course=times(0.2))
    for run, benchmark in zip(study["runs"], ("crowd-val", "crowd-val, true boxes"), strict=True):
        run["benchmark"] = benchmark
    studies.save(tmp_path / "studies" / "crowd_times.json", study)
    tables, _ = leaderboard.by_benchmark()
    rows = {(row["name"], title): row["scores"] for title, own in tables.items() for row in own}
    assert rows["paf_course", "crowd-val"]["ms a picture, 8-12"] == pytest.approx(400)
    assert rows["hourglass_course", "crowd-val, true boxes"]["ms a picture, any number"] == pytest.approx(1000)
    timed = {key for key, scores in rows.items() if any(name.startswith("ms ") for name in scores)}
    assert timed == {("paf_course", "crowd-val"), ("hourglass_course", "crowd-val, true boxes")}
    assert [row["name"] for row in before["crowd-val"]] == [row["name"] for row in tables["crowd-val"]]
    assert "ms a picture, 1-2" in leaderboard_page.page() and next(iter(rows["paf_course", "crowd-val"])) == "ap"


@pytest.mark.skipif(not crowd_times.FILE.exists(), reason="nobody has taken the times yet")
def test_the_stored_times_are_whole_and_of_the_pictures_there_are():
    study = crowd_times.load()
    assert study["short_run"] == json.loads(json.dumps(crowd_times.shown(crowd_times.pictures())))
    assert {name: len(shown) for name, shown in study["short_run"].items()} == dict.fromkeys(GROUPS, crowd_times.EACH)
    assert [run["weights"] for run in study["runs"]] == list(crowd_times.ships())
    for run in study["runs"]:
        assert set(run["seconds"]) == {*GROUPS, crowd_times.ANY}
        for one in run["seconds"].values():
            parts = {"detector", "poses"} & one.keys()
            assert one["all"] > 0 and (not parts or one["boxes"] > 0)


def test_groups_are_those_of_the_benchmark():
    assert tuple(crowds.by_people([])) == GROUPS
