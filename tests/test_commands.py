"""`train` and `evaluate` as a user types them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from course_lib import checkpoints, cli, models, paths
from course_lib.datasets import lsp, synthetic
from course_lib.skeletons import LSP
from course_lib.training import distributed, recipes
from course_lib.training.recipes import Recipe

OPTIONS = {"stacks": 1, "width": 8, "depth": 2, "input_size": (32, 32)}
RECIPE = Recipe("little", model="hourglass_course", options=OPTIONS, batch=4, steps=6, warmup=1)


@pytest.fixture(autouse=True)
def small_world(monkeypatch, tmp_path):
    """A recipe that is done in a second, a benchmark of ten people, a folder to itself."""
    whole = synthetic.benchmark
    monkeypatch.setitem(recipes.RECIPES, "little", RECIPE)
    monkeypatch.setattr(synthetic, "benchmark", lambda name, skeleton=None: whole(name, skeleton, count=10))
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
