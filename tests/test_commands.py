"""`train`, `evaluate` and `estimate` as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib import checkpoints, cli, models, paths
from course_lib.datasets import synthetic
from course_lib.pose import Pose
from course_lib.skeletons import LSP
from course_lib.training import recipes
from course_lib.training.commands import _coco_result
from course_lib.training.recipes import Recipe

OPTIONS = {"stacks": 1, "width": 8, "depth": 2, "input_size": (32, 32)}
RECIPE = Recipe("little", model="hourglass_course", options=OPTIONS, batch=4, steps=6, warmup=1)


@pytest.fixture(autouse=True)
def small_world(monkeypatch, tmp_path):
    """A recipe that is done in a second, a benchmark of ten people, a folder to itself."""
    whole = synthetic.benchmark
    monkeypatch.setitem(recipes.RECIPES, "little", RECIPE)
    monkeypatch.setattr(synthetic, "benchmark", lambda name, skeleton=None: whole(name, skeleton, count=10))
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
    assert lines[0].split() == ["single-val", "hourglass_course", "mean", "pose"]
    table = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert len(table["pck@0.2"]) == 2 and table["people"] == ["10", "10"]
    scores = checkpoints.read_header(weights)["scores"]["single-val"]
    assert f"{scores['pck@0.2']:.4f}" == table["pck@0.2"][0] and len(scores["pck@0.2_interval"]) == 2
    assert cli.main([*command, "--flip", "--record"]) == 0
    assert set(checkpoints.read_header(weights)["scores"]) == {"single-val", "single-val flipped"}


@pytest.mark.parametrize("shape", [(60, 40, 3), (60, 40), (60, 40, 4), (1, 1, 3), (2, 900)])
def test_estimate_draws_on_any_picture(capsys, weights, tmp_path, shape):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / "photo.png")
    assert cli.main(["estimate", "photo.png", "--checkpoint", str(weights), "--json", "poses.json"]) == 0
    drawn = Image.open(tmp_path / "photo_pose.png")
    assert max(drawn.size) == max(800, *shape)
    assert min(drawn.size) == max(10, round(max(drawn.size) * min(shape[:2]) / max(shape[:2])))
    (result,) = json.loads((tmp_path / "poses.json").read_text())
    assert len(result["keypoints"]) == 3 * 14 and result["image_id"] == "photo" and result["category_id"] == 1


def test_estimate_within_a_box(weights, tmp_path):
    Image.new("RGB", (200, 100), "grey").save(tmp_path / "photo.png")
    box = ["--box", "100", "20", "160", "80"]
    command = ["estimate", "photo.png", *box, "--checkpoint", str(weights), "--json", "a.json", "--out", "a.png"]
    assert cli.main(command) == 0
    xs = json.loads((tmp_path / "a.json").read_text())[0]["keypoints"][::3]
    assert min(xs) > 90 and max(xs) < 170 and (tmp_path / "a.png").exists()


def test_coco_counts_from_the_first_pixels_centre():
    pose = Pose(torch.full((14, 2), 0.5), torch.ones(14), LSP, 0.25)
    result = _coco_result("photo", pose)
    assert result["keypoints"] == [0.0, 0.0, 1.0] * 14 and result["score"] == 0.25


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["train", "litle"], "did you mean 'little'"),
        (["train", "little", "--minutes", "0"], "minutes must be above 0"),
        (["train", "little", "--device", "abacus"], "cannot compute on device 'abacus'"),
        (["evaluate", "--checkpoint", "nowhere"], "there is no checkpoint nowhere"),
        (["estimate", "nowhere.jpg"], "there is no picture 'nowhere.jpg'"),
    ],
)
def test_bad_input_ends_with_one_sentence(capsys, command, sentence):
    assert cli.main(command) == 2
    message = capsys.readouterr().err
    assert sentence in message and message.count("\n") == 1


def test_no_jupyter_is_needed(weights, tmp_path):
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "photo.png")
    script = (
        "import sys\n"
        "for name in ('IPython', 'ipywidgets', 'jupyterlab', 'nbformat', 'nbclient', 'papermill', 'ipykernel'):\n"
        "    sys.modules[name] = None\n"
        "from course_lib import cli\n"
        f"assert cli.main(['estimate', 'photo.png', '--checkpoint', {str(weights)!r}]) == 0\n"
        "import course_lib.training.loop, course_lib.training.evaluate\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
