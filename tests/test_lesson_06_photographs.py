"""The stored comparison of drawn and photographed people belongs to the shipped weights and can be measured again."""

from __future__ import annotations

import json

import pytest

from course_lib import checkpoints, datasets, models, paths
from course_lib.errors import CourseError
from course_lib.lessons import lesson_06_photographs as photographs
from course_lib.training import benchmarks


def test_the_stored_numbers_are_of_the_weights_that_ship():
    study = photographs.load()
    assert list(study["benchmarks"]) == list(benchmarks.SINGLE)
    for benchmark, rows in study["benchmarks"].items():
        assert list(rows) == ["mean pose", *photographs.WEIGHTS]
        for name in photographs.WEIGHTS:
            recorded = checkpoints.read_header(paths.checkpoint(name))["scores"][benchmark]["pck@0.2"]
            assert rows[name]["pck@0.2"] == pytest.approx(recorded, abs=0.002)
        for row in rows.values():
            assert row["low"] < row["pck@0.2"] < row["high"] and len(row["by joint"]) == 14


def test_a_study_of_other_weights_is_refused(tmp_path):
    study = json.loads(photographs.FILE.read_text(encoding="utf-8"))
    study["weights"]["hourglass_course"]["images"] += 1
    (tmp_path / "study.json").write_text(json.dumps(study))
    with pytest.raises(CourseError, match="measured with other weights than 'hourglass_course' has now"):
        photographs.load(tmp_path / "study.json")


def test_the_photographs_give_the_stored_numbers_again(tmp_path, monkeypatch):
    if datasets.find("lspet") is None:
        pytest.skip("COURSE_DATA names no folder with lspet")
    monkeypatch.chdir(tmp_path)
    stored = photographs.load()["benchmarks"]["lspet-val"]
    for name in photographs.WEIGHTS:
        scores = benchmarks.measure(models.load(name), "lspet-val")
        assert scores["pck@0.2"] == pytest.approx(stored[name]["pck@0.2"], abs=0.005)
