"""The table of the single-person systems says what the shipped weights say, and nothing else."""

from __future__ import annotations

import pytest
from matplotlib import pyplot as plt

from course_lib import checkpoints, models, paths, show
from course_lib.errors import CourseError
from course_lib.lessons import line
from course_lib.training import benchmarks


def test_the_rows_are_the_headers_of_the_weights_that_ship():
    rows = line.rows()
    assert list(rows) == [line.MEAN_POSE, *(system.title for system in line.SYSTEMS)]
    for system in line.SYSTEMS:
        row = dict(zip(line.COLUMNS, rows[system.title], strict=True))
        header = checkpoints.read_header(paths.checkpoint(system.weights))
        assert row["drawn PCK@0.2"] == header["scores"]["single-val"]["pck@0.2"]
        assert row["photo PCK@0.2"] == header["scores"]["lspet-val"]["pck@0.2"]
        model = models.create(system.weights)
        dropped = tuple(getattr(model, "only_in_training", ()))
        learned = sum(weight.numel() for name, weight in model.named_parameters() if not name.startswith(dropped))
        assert row["parameters, M"] == pytest.approx(learned / 1e6)
        assert 0.01 < row["multiply-adds, G"] < 3 and row["pictures, thousand"] > 1
    assert len(show.table(rows, columns=line.COLUMNS).rows) == 1 + len(line.SYSTEMS)


def test_every_system_is_better_than_the_mean_pose_on_both_benchmarks():
    for system in line.SYSTEMS:
        for benchmark in benchmarks.SINGLE:
            assert line.scores(system.weights, benchmark)["pck@0.2_interval"][0] > line.mean_pose(benchmark)["high"]


def test_a_lesson_shows_the_systems_up_to_its_own():
    assert [system.weights for system in line.systems("cpm_course")] == [
        "pictorial_structures",
        "poselet_conditioned",
        "deeppose_course",
        "tompson_course",
        "cpm_course",
    ]
    figure = line.draw("tompson_course")
    titles = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert titles == [system.title for system in line.SYSTEMS[:4]] and titles[-1] == "03 Tompson's heatmaps"
    plt.close(figure)
    with pytest.raises(CourseError, match="cpm_curse"):
        line.systems("cpm_curse")


def test_weights_without_a_score_are_refused_in_one_sentence(monkeypatch):
    monkeypatch.setattr(checkpoints, "read_header", lambda _file: {"scores": {}})
    with pytest.raises(CourseError, match="carry no scores on single-val"):
        line.scores("cpm_course", "single-val")
