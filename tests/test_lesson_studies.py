"""What the stored experiments of the lessons share: provenance, storing, and arms compared by seed."""

from __future__ import annotations

import pytest

from course_lib import checkpoints, paths
from course_lib.lessons import studies
from course_lib.training import recipes

STORED = (
    "deeppose_parts",
    "tompson_study",
    "cpm_fields",
    "ief_study",
    "hourglass_ablation",
    "paf_study",
    "alphapose_study",
    "top_down_study",
    "high_resolution",
    "adversarial",
    "crowd_times",
    "refinement",
    "crowding",
    "brittleness",
    "errors",
)
TIMED = ("leaderboard",)  # what is stored there and is no study of a lesson


def test_a_study_comes_back_as_it_was_stored_and_says_where_it_is_from(tmp_path):
    study = {**studies.provenance("cpm_live"), "runs": [{"arm": "größer", "pck@0.2": [0.25]}]}
    studies.save(tmp_path / "study.json", study)
    assert studies.load(tmp_path / "study.json") == study and "größer" in (tmp_path / "study.json").read_text("utf-8")
    assert study["data"] == recipes.get("cpm_live").data and study["code"] == checkpoints.code_version()


def test_pairs_are_told_in_points_and_whether_all_seeds_agree():
    rows = studies.pairs({"helps": ([0.30, 0.20], [0.25, 0.18]), "does not": ([0.3, 0.2], [0.2, 0.3])})
    assert rows["helps"] == pytest.approx({"seed 0": 5, "seed 1": 2, "mean": 3.5, "all one sign": True})
    assert rows["does not"]["all one sign"] is False and rows["does not"]["mean"] == pytest.approx(0)
    with pytest.raises(ValueError, match="shorter"):
        studies.pairs({"uneven": ([0.3, 0.2], [0.25])})


@pytest.mark.parametrize("name", STORED)
def test_every_stored_study_is_of_its_module_and_its_recipes_people(name):
    study = studies.module(name).load()
    assert study["made_by"] == f"python -m course_lib evaluate --study {name}"
    assert study["runs"] and {"date", "code", "torch", "device", "data", "short_run"} <= set(study)
    assert study["data"] in [recipe.data for recipe in recipes.RECIPES.values()]


def test_every_study_has_its_file_and_a_command():
    assert {file.stem for file in (paths.DATA / "studies").glob("*.json")} == {*studies.STUDIES, *TIMED}
    for name in studies.STUDIES:
        assert callable(studies.module(name).main) and studies.module(name).__doc__


def test_the_command_makes_a_study_with_its_own_options(tmp_path, monkeypatch, capsys):
    from course_lib import cli

    made = []
    monkeypatch.setattr(studies.module("crowd_times"), "measure", lambda *given: made.append(given) or {"runs": []})
    file = tmp_path / "times.json"
    assert cli.main(["evaluate", "--study", "crowd_times", "--each", "2", "--out", str(file)]) == 0
    assert studies.load(file) == {"runs": []} and made == [(2, 2, None)]
    monkeypatch.setattr(studies, "STUDIES", {"crowd_times": "crowd_times"})
    assert cli.main(["evaluate", "--study"]) == 0
    assert "crowd_times" in capsys.readouterr().out
    assert cli.main(["evaluate", "--study", "crowd_time"]) == 2
    assert "did you mean 'crowd_times'" in capsys.readouterr().err


def test_a_study_in_one_piece_is_written_where_one_likes(tmp_path):
    studies.make(tmp_path / "never.json", lambda: {"runs": [1]}, ["--out", str(tmp_path / "study.json")])
    assert studies.load(tmp_path / "study.json") == {"runs": [1]} and not (tmp_path / "never.json").exists()
