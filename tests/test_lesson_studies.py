"""What the stored experiments of the lessons share: provenance, storing, and arms compared by seed."""

from __future__ import annotations

import importlib

import pytest

from course_lib import checkpoints
from course_lib.lessons import studies
from course_lib.training import recipes

STORED = (
    "lesson_02_study",
    "lesson_03_study",
    "lesson_04_fields",
    "lesson_05_study",
    "lesson_06_ablation",
    "lesson_07_study",
    "lesson_09_study",
    "lesson_10_study",
    "lesson_11_ablation",
    "lesson_12_study",
    "crowd_times",
)


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
    module = importlib.import_module(f"course_lib.lessons.{name}")
    study = module.load()
    assert study["made_by"] == f"python -m course_lib.lessons.{name}"
    assert study["runs"] and {"date", "code", "torch", "device", "data", "short_run"} <= set(study)
    assert study["data"] in [recipe.data for recipe in recipes.RECIPES.values()]
