"""`train` and `evaluate` as a user types them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
from crowd_helpers import BESIDE
from queue_helpers import ten

from course_lib import checkpoints, cli, models, paths
from course_lib.datasets import lsp, synthetic
from course_lib.skeletons import LSP
from course_lib.training import benchmarks, distributed, recipes
from course_lib.training.recipes import Recipe

OPTIONS = {"stacks": 1, "width": 8, "depth": 2, "input_size": (32, 32)}
RECIPE = Recipe("little", model="hourglass_course", options=OPTIONS, batch=4, steps=6, warmup=1)


@pytest.fixture(autouse=True)
def small_world(monkeypatch, tmp_path):
    """A recipe that is done in a second, a benchmark of ten people, a folder to itself."""
    monkeypatch.setitem(recipes.RECIPES, "little", RECIPE)
    monkeypatch.setitem(recipes.RECIPES, "beside", BESIDE)
    monkeypatch.setitem(models._BUILDERS, "beside", "crowd_helpers:Beside")
    monkeypatch.setattr(synthetic, "benchmark", lambda name, skeleton: ten(name, skeleton.name))
    monkeypatch.setattr(paths, "PUBLIC", tmp_path / "public")
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def weights(tmp_path) -> Path:
    path = tmp_path / "weights.safetensors"
    header = {"recipe": "none", "data": {}, "steps": 0, "images": 0, "seed": 0, "device": "cpu", "scores": {}}
    torch.manual_seed(0)
    model = models.create("hourglass_course", **OPTIONS)
    checkpoints.save(path, model, {**header, "date": "2026-01-31"})
    return path


def test_train_evaluates_ships_and_resumes(capsys, tmp_path):
    command = ["train", "little", "--device", "cpu", "--quiet", "--out", "runs"]
    assert cli.main([*command, "--steps", "4", "--ship", "ship.safetensors"]) == 0
    printed = capsys.readouterr().out
    assert "4 steps" in printed and "pck@0.2" in printed and "  left_wrist" in printed
    header = checkpoints.read_header(tmp_path / "ship.safetensors")
    assert header["steps"] == 4 and header["images"] == 16 and header["recipe"] == "little"
    assert header["scores"]["single-val"]["people"] == 10
    assert header == checkpoints.read_header(tmp_path / "runs" / "little" / "little.safetensors")
    assert models.load("hourglass_course", tmp_path / "ship.safetensors").skeleton is LSP
    assert cli.main(command) == 0
    assert capsys.readouterr().out.startswith("going on from runs/little/state.pt\n6 steps")
    assert cli.main([*command, "--steps", "2", "--fresh"]) == 0
    assert "2 steps" in capsys.readouterr().out
    assert cli.main([*command, "--seed", "8"]) == 2
    assert "seed was 0 and is now 8; start afresh (--fresh" in capsys.readouterr().err


def test_train_for_minutes(capsys):
    assert cli.main(["train", "little", "--device", "cpu", "--quiet", "--minutes", "0.01"]) == 0
    assert (paths.BUILD / "training" / "little" / "little.safetensors").exists()


def test_evaluate_with_baseline_and_record(capsys, weights):
    command = ["evaluate", "--checkpoint", str(weights), "--device", "cpu"]
    assert cli.main([*command, "--baseline", "--record"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["single-val", "weights", "mean", "pose"]
    table = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert len(table["pck@0.2"]) == 2 and table["people"] == ["10", "10"]
    scores = checkpoints.read_header(weights)["scores"]["single-val"]
    assert f"{scores['pck@0.2']:.4f}" == table["pck@0.2"][0] and len(scores["pck@0.2_interval"]) == 2
    assert cli.main([*command, "--flip", "--record"]) == 0
    assert set(checkpoints.read_header(weights)["scores"]) == {"single-val", "single-val flipped"}


def test_evaluate_on_everything_there_is_data_for(capsys, weights, photographs, monkeypatch):
    monkeypatch.setattr(lsp, "VALIDATION", range(17, 25))
    command = ["evaluate", "--checkpoint", str(weights), "--device", "cpu", "--data"]
    assert cli.main([*command, "all"]) == 0
    assert "lspet-val" not in capsys.readouterr().out
    assert cli.main([*command, "lspet-val"]) == 2
    assert "needs LSP-extended, which is not on this machine" in capsys.readouterr().err
    monkeypatch.setenv("COURSE_DATA", str(photographs))
    assert cli.main([*command, "all", "--baseline", "--record"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if "mean" in line and "pose" in line and "-val" in line] == [
        ["single-val", "weights", "mean", "pose"],
        ["lspet-val", "weights", "mean", "pose"],
    ]
    scores = checkpoints.read_header(weights)["scores"]
    assert {name: one["people"] for name, one in scores.items()} == {"single-val": 10, "lspet-val": 8}


def test_a_single_person_model_among_many_people_is_told_where_they_are(capsys, weights, monkeypatch):
    people = benchmarks.training_people
    monkeypatch.setattr(benchmarks, "training_people", lambda *which: islice(people(*which), 5))
    command = ["evaluate", "--checkpoint", str(weights), "--device", "cpu", "--data", "crowd-val", "--record"]
    assert cli.main([*command, "--baseline"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "crowd-val, true boxes: weights" and lines[8] == "crowd-val, true boxes: mean pose"
    assert lines[1].split()[3:] == ["AP", "AP50", "AP75", "AR", "PCKh-mAP", "people", "pictures"]
    assert [line.split()[0] for line in lines[2:7]] == ["any", "1-2", "3-4", "5-7", "8-12"]
    assert [len(line.split()) for line in lines[1:7]] == [10, 9, 8, 8, 8, 8]
    assert lines[7].startswith("weights: on other such pictures, ap would lie between 0.")
    assert cli.main([*command, "--flip"]) == 0
    recorded = checkpoints.read_header(weights)["scores"]
    assert set(recorded) == {"crowd-val, true boxes", "crowd-val, true boxes flipped"}
    assert recorded["crowd-val, true boxes"]["pictures"] == 10 == int(lines[2].split()[-1])


def test_a_model_that_finds_everybody_is_measured_on_crowds(capsys, monkeypatch):
    """Trained, shipped and evaluated; nobody says which benchmark is meant."""
    people = benchmarks.training_people
    monkeypatch.setattr(benchmarks, "training_people", lambda *which: islice(people(*which), 5))
    command = ["train", "beside", "--device", "cpu", "--quiet", "--steps", "2", "--ship", "ship.safetensors"]
    assert cli.main(command) == 0
    assert "crowd-val: beside\nin a picture" in capsys.readouterr().out
    (name, scores), *none = checkpoints.read_header(Path("ship.safetensors"))["scores"].items()
    assert name == "crowd-val" and not none and 0 < scores["ap"] < 1 and len(scores["by_people"]) == 4
    command = ["evaluate", "--checkpoint", "ship.safetensors", "--device", "cpu", "--baseline"]
    for more in ([], ["--data", "all"], ["--data", "crowd-val"]):
        assert cli.main([*command, *more]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "crowd-val: ship" and lines[2].split()[2] == f"{scores['ap']:.4f}"
        assert lines[8] == "crowd-val: mean pose, true boxes" and len(lines) == 16
    assert cli.main([*command, "--data", "single-val"]) == 0
    assert capsys.readouterr().out.startswith("single-val")


def test_only_the_first_of_several_processes_talks_and_measures(capsys, monkeypatch):
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    assert cli.main(["train", "little", "--device", "cpu", "--quiet", "--steps", "2", "--workers", "0"]) == 0
    assert capsys.readouterr().out == ""
    assert checkpoints.read_header(paths.BUILD / "training" / "little" / "little.safetensors")["scores"] == {}


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["train", "litle"], "did you mean 'little'"),
        (["train", "little", "--minutes", "0"], "minutes must be above 0"),
        (["train", "little", "--device", "abacus"], "cannot compute on device 'abacus'"),
        (["evaluate", "--checkpoint", "nowhere"], "there is no checkpoint nowhere"),
    ],
)
def test_bad_input_ends_with_one_sentence(capsys, command, sentence):
    assert cli.main(command) == 2
    message = capsys.readouterr().err
    assert sentence in message and message.count("\n") == 1
