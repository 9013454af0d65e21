"""The training queue: who is next, for how long, what survives a kill, and what a failure leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from crowd_helpers import BESIDE
from queue_helpers import ENVIRONMENT, FIRST, LIVE, PHOTOGRAPHS, SCRIPT, SECOND, STEPS, shrink, stepping

from course_lib import checkpoints, cli, models, paths
from course_lib.errors import CourseError
from course_lib.training import provenance, queue, recipes
from course_lib.training.queue import Round, run_queue, shares

FORBIDDEN = (
    *("jupyter", "jupyterlab", "IPython", "ipykernel", "ipywidgets", "nbformat", "nbclient", "papermill", "nbconvert"),
    *("latex2mathml", "psutil", "pooch"),
)


@pytest.fixture(autouse=True)
def small_world(monkeypatch, tmp_path):
    """Two tiny recipes, nothing shipped, no data, and training that counts steps instead of minutes."""
    shrink(monkeypatch.setattr, FIRST, SECOND, LIVE)
    monkeypatch.setattr(queue, "train", stepping())
    monkeypatch.setattr(paths, "CHECKPOINTS", tmp_path / "shipped")
    monkeypatch.setattr(paths, "PUBLIC", tmp_path / "public")
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def run(minutes: float = 10, out: str = "runs"):
    return run_queue(minutes, out, "cpu", progress=False)[0]


def header_of(name: str, out: str = "runs") -> dict:
    return checkpoints.verify(Path(out) / name / f"{name}.safetensors")


def state_of(name: str, out: str = "runs") -> dict:
    return torch.load(Path(out) / name / "state.pt", weights_only=True)


# --- who is next, and for how long ------------------------------------------------------------------------------------


def rounds(**done: int) -> list[Round]:
    return [Round(replace(FIRST, name=name), False, images) for name, images in done.items()]


def test_the_neediest_comes_first_and_time_follows_need():
    each = shares(rounds(half=200, none=0, most=300), 7, least=0.5)
    assert list(each) == ["none", "half", "most"]
    assert each == pytest.approx({"none": 4, "half": 2, "most": 1})


def test_what_has_had_enough_still_gets_a_little():
    each = shares(rounds(enough=400, more=4000, none=0), 11, least=0.1)
    assert list(each) == ["none", "enough", "more"]
    assert each == pytest.approx({"none": 10, "enough": 0.5, "more": 0.5})


def test_weights_of_the_queue_count():
    heavy = Round(replace(FIRST, name="heavy", queue=3), False, 0)
    assert shares([*rounds(light=0), heavy], 8) == pytest.approx({"light": 2, "heavy": 6})


def test_too_little_time_is_given_to_the_neediest_only():
    three = rounds(a=0, b=100, c=200)
    assert list(shares(three, 2.5)) == ["a", "b"]
    assert shares(three, 1.5) == {"a": 1.5}
    assert shares(three, 0.1) == {"a": 0.1}
    assert shares([], 9) == {}


def test_who_was_trained_least_is_next(capsys):
    run_queue(10, "runs", "cpu", progress=False)
    recipes.RECIPES["third"] = replace(FIRST, name="third")
    queue.train = stepping(3)
    assert [row.recipe for row in run()] == ["third", "first", "second"]


def test_who_gets_no_time_waits(monkeypatch):
    monkeypatch.setattr(queue, "LEAST_MINUTES", 100.0)
    rows = run()
    assert [(row.recipe, row.outcome) for row in rows] == [("first", "trained"), ("second", "waiting")]
    assert "call the queue again" in rows[1].note
    assert [row.recipe for row in run()] == ["second", "first"]


# --- what a call leaves -----------------------------------------------------------------------------------------------


def test_a_call_trains_measures_and_tells(capsys):
    assert cli.main(["train", "--queue", "--minutes", "10", "--out", "runs", "--device", "cpu", "--quiet"]) == 0
    heads, *lines = capsys.readouterr().out.splitlines()
    assert heads.split()[:3] == ["recipe", "outcome", "device"] and "single-val" in heads and "images/s" in heads
    assert [line.split()[:2] for line in lines] == [["first", "trained"], ["second", "trained"]]
    (call,) = json.loads(Path("runs/summary.json").read_text())["calls"]
    first, second = call["rows"]
    assert first["steps"] == STEPS and first["images"] == first["images_in_all"] == 4 * STEPS
    assert second["images"] == 4 * STEPS and second["images_in_all"] == 8 * STEPS
    assert 0 < first["data_share"] < 1 and first["images_per_second"] > 0
    for row in call["rows"]:
        file = Path("runs") / row["recipe"] / f"{row['recipe']}.safetensors"
        header = checkpoints.verify(file)
        assert row["bytes"] < checkpoints.SHIPPED_LIMIT and row["device"] == header["device"]
        assert row["scores"] == {"single-val": header["scores"]["single-val"]["pck@0.2"]}
    assert header["start"] == {
        **{"checkpoint": "first", "recipe": "first", "images": 4 * STEPS, "recipe_images": 4 * STEPS},
        **{"digest": header_of("first")["digest"]},
    }


def test_who_finds_everybody_is_measured_on_crowds(monkeypatch, capsys):
    monkeypatch.setattr(recipes, "RECIPES", {"beside": BESIDE})
    monkeypatch.setitem(models._BUILDERS, "beside", "crowd_helpers:Beside")
    (row,) = run()
    assert row.outcome == "trained" and "crowd-val" in capsys.readouterr().out
    assert row.scores == {"crowd-val": header_of("beside")["scores"]["crowd-val"]["ap"]}


def test_the_next_call_goes_on_from_the_weights_and_adds_up_their_images():
    run()
    before = {name: header_of(name) for name in ("first", "second")}
    rows = run()
    for row in rows:
        header = header_of(row.recipe)
        assert header["steps"] == STEPS and header["images"] == 4 * STEPS
        assert header["start"]["digest"] == before[row.recipe]["digest"]
        total = provenance.images_in_all(before[row.recipe]) + 4 * STEPS
        assert provenance.images_in_all(header) == row.images_in_all == total
        assert provenance.images_of_recipe(header) == 8 * STEPS
        assert header["seed"] != before[row.recipe]["seed"]  # other people than in the first round
        assert "from its own weights" in row.note
    assert len(json.loads(Path("runs/summary.json").read_text())["calls"]) == 2


def test_weights_that_ship_are_gone_on_from():
    run(out="elsewhere")
    paths.CHECKPOINTS.mkdir()
    for name in ("first", "second"):
        paths.checkpoint(name).write_bytes(Path(f"elsewhere/{name}/{name}.safetensors").read_bytes())
    run()
    assert header_of("first")["start"]["digest"] == header_of("first", "elsewhere")["digest"]
    assert provenance.images_of_recipe(header_of("second")) == 8 * STEPS
    assert provenance.images_in_all(header_of("second")) == 12 * STEPS


def test_weights_of_other_data_are_not_a_recipes_own():
    run(out="elsewhere")
    paths.CHECKPOINTS.mkdir()
    paths.checkpoint("second").write_bytes(Path("elsewhere/second/second.safetensors").read_bytes())
    recipes.RECIPES["second"] = replace(SECOND, data={"synthetic": {"others": 0.0}})
    run()
    assert header_of("second")["start"]["checkpoint"] == "first"


def test_a_checkpoint_too_large_to_ship_is_told(monkeypatch):
    monkeypatch.setattr(checkpoints, "SHIPPED_LIMIT", 1000)
    assert all("too large to ship" in row.note and row.outcome == "trained" for row in run())


def test_a_damaged_summary_is_begun_anew(caplog):
    Path("runs").mkdir()
    Path("runs/summary.json").write_text("{")
    run()
    assert "is begun anew" in caplog.text
    assert len(json.loads(Path("runs/summary.json").read_text())["calls"]) == 1


# --- what it survives -------------------------------------------------------------------------------------------------


def test_a_killed_round_is_taken_up_where_it_was_saved():
    command = [sys.executable, SCRIPT, "train", "--queue", "--minutes", "60", "--out", "runs", "--device", "cpu"]
    process = subprocess.Popen([*command, "--quiet"], env={**ENVIRONMENT, "COURSE_LIB_DATA": str(Path.cwd())})
    file = Path("runs/first/state.pt")
    while process.poll() is None and not file.exists():
        time.sleep(0.05)
    time.sleep(0.2)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    saved = state_of("first")
    assert saved["step"] >= 10 and 0 < saved["elapsed"] < saved["budget"] < 3600
    queue.train = stepping(saved["step"] + 2)
    rows = run()
    first = next(row for row in rows if row.recipe == "first" and "goes on from step" in row.note)
    assert first.outcome == "trained" and first.steps == 2 and first.images == 8
    assert first.images_in_all == 4 * (saved["step"] + 2)
    again = [row for row in rows if row.recipe == "first" and row is not first]  # it had time left for another round
    assert [row.images_in_all for row in again] == [8 * (saved["step"] + 2)]


def test_the_rest_of_the_budget_is_what_a_resumed_round_gets():
    run()
    plan = queue.Queue(Path("runs"), 10, torch.device("cpu"), queue.World(), None, False).plan
    assert not plan(FIRST).resume
    file = Path("runs/first/state.pt")
    state = {**torch.load(file, weights_only=True), "elapsed": 60.0, "budget": 240.0, "steps": 10**9}
    torch.save(state, file)
    task = plan(FIRST)
    assert task.resume and task.minutes == 4 and task.minutes_before == 1 and task.images == 4 * STEPS
    torch.save({**state, "elapsed": 240.1}, file)
    assert not plan(FIRST).resume  # it reached its end, and its weights are on disk
    Path("runs/first/first.safetensors").unlink()
    assert plan(FIRST).resume  # its weights are not
    run()
    assert header_of("first")["recipe"] == "first"


def test_a_signal_ends_the_call_and_the_next_one_goes_on(capsys):
    interrupt = {"validate": lambda _: os.kill(os.getpid(), signal.SIGTERM) or {}, "validate_every": 2}
    queue.train = stepping(**interrupt)
    command = ["train", "--queue", "--minutes", "10", "--out", "runs", "--device", "cpu", "--quiet"]
    assert cli.main(command) == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in capsys.readouterr().out
    queue.train = stepping()
    rows = run()
    assert {row.recipe for row in rows} == {"first", "second"}
    first = next(row for row in rows if row.recipe == "first")
    assert first.steps == STEPS - 2 and "goes on from step 2" in first.note


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CourseError("the paper is lost"), "the paper is lost"),
        (RuntimeError("backend='inductor' raised:\nmore"), "RuntimeError: backend='inductor' raised:"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried a lot"), "a smaller Recipe.chunk needs less"),
    ],
)
def test_one_failing_recipe_does_not_stop_the_queue(error, said, capsys):
    def train(recipe, **options):
        if recipe.name == "first":
            raise error
        return stepping()(replace(recipe, start=""), **options)

    queue.train = train
    command = ["train", "--queue", "--minutes", "10", "--out", "runs", "--device", "cpu", "--quiet"]
    assert cli.main(command) == 1
    first, second = json.loads(Path("runs/summary.json").read_text())["calls"][0]["rows"]
    assert (first["outcome"], second["outcome"]) == ("failed", "trained")
    assert said in first["note"] and "\n" not in first["note"]


def test_after_a_divergence_the_next_round_is_a_new_one():
    recipes.RECIPES["first"] = replace(FIRST, learning_rate=1e38, clip=1e38)
    queue.train = stepping(40, save_every=1)
    row = next(row for row in run() if row.recipe == "first")
    assert row.outcome == "failed" and "Try half the learning rate" in row.note
    assert [file.name for file in Path("runs/first").iterdir()] == ["state.pt.aside"]
    recipes.RECIPES["first"] = FIRST
    queue.train = stepping()
    assert {row.outcome for row in run()} == {"trained"}


@pytest.mark.parametrize("damage", ["bytes", "recipe", "keys"])
def test_a_state_that_cannot_be_gone_on_from_is_put_aside(damage, caplog):
    queue.train = stepping(validate=lambda _: os.kill(os.getpid(), signal.SIGTERM) or {}, validate_every=2)
    run()
    file = Path("runs/first/state.pt")
    state = torch.load(file, weights_only=True)
    if damage == "bytes":
        file.write_bytes(file.read_bytes()[:500])
    elif damage == "recipe":
        torch.save({**state, "recipe": {**state["recipe"], "batch": 5}}, file)
    else:
        torch.save({key: value for key, value in state.items() if key != "history"}, file)
    queue.train = stepping()
    row = next(row for row in run() if row.recipe == "first")
    assert row.outcome == "trained" and row.steps == STEPS
    assert "put aside" in caplog.text and Path("runs/first/state.pt.aside").exists()


def test_a_damaged_checkpoint_is_written_again_or_not_gone_on_from():
    run()
    file = Path("runs/first/first.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    written, trained = (row for row in run() if row.recipe == "first")  # from its state, then a new round
    assert (written.steps, written.images_in_all, trained.steps) == (0, 4 * STEPS, STEPS)
    assert "its digest differs" in written.note
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    Path("runs/first/state.pt").unlink()
    row = next(row for row in run() if row.recipe == "first")
    assert row.outcome == "trained" and row.images_in_all == 4 * STEPS


def test_weights_that_could_not_be_written_are_not_taken_for_measured(monkeypatch):
    run()
    whole = checkpoints.save

    def full(path, *rest, **options):
        if path.stem == "first":
            raise CourseError("the disk is full")
        return whole(path, *rest, **options)

    monkeypatch.setattr(checkpoints, "save", full)
    outcomes = {row.recipe: (row.outcome, row.note) for row in run()}
    assert outcomes["first"][0] == "failed" and "could not be written" in outcomes["first"][1]
    assert outcomes["second"][0] == "trained"


# --- data -------------------------------------------------------------------------------------------------------------


def test_a_recipe_without_its_data_is_skipped():
    recipes.RECIPES["photographs"] = PHOTOGRAPHS
    rows = {row.recipe: row for row in run()}
    assert (
        rows["photographs"].outcome == "skipped" and "'lspet', which is not on this machine" in rows["photographs"].note
    )
    assert rows["first"].outcome == rows["second"].outcome == "trained"


def test_nothing_to_train_ends_with_one_sentence(capsys):
    recipes.RECIPES = {"photographs": PHOTOGRAPHS}
    command = ["train", "--queue", "--minutes", "10", "--out", "runs", "--device", "cpu"]
    assert cli.main(command) == 2
    assert "the queue has nothing to train: photographs was skipped" in capsys.readouterr().err


def test_photographs_are_trained_and_measured_on(photographs, monkeypatch):
    from course_lib.datasets import lsp

    monkeypatch.setattr(lsp, "VALIDATION", range(17, 25))
    monkeypatch.setenv("COURSE_DATA", str(photographs))
    recipes.RECIPES["photographs"] = PHOTOGRAPHS
    for row in run():
        assert row.outcome == "trained" and set(row.scores) == {"single-val", "lspet-val"}
    assert header_of("photographs")["start"]["checkpoint"] == "first"


# --- other processes --------------------------------------------------------------------------------------------------


def test_no_jupyter_is_needed():
    Path("sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {FORBIDDEN!r}:\n"
        "            raise ModuleNotFoundError(f'{name} is not installed here', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    environment = {
        **ENVIRONMENT,
        "COURSE_LIB_DATA": str(Path.cwd()),
        "PYTHONPATH": f"{Path.cwd()}:{paths.ROOT}",
        "STEPS": "6",
    }
    proof = subprocess.run([sys.executable, "-c", "import nbformat"], env=environment, capture_output=True, check=False)
    assert b"not installed here" in proof.stderr
    command = [sys.executable, SCRIPT, "train", "--queue", "--minutes", "10", "--out", "runs", "--quiet"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["first", "trained"], ["second", "trained"]]
    assert header_of("second")["scores"]["single-val"]["people"] == 10


def test_two_processes_train_the_queue_together():
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", SCRIPT]
    queued = ["train", "--queue", "--minutes", "10", "--out", "runs", "--device", "cpu", "--quiet"]
    environment = {**ENVIRONMENT, "COURSE_LIB_DATA": str(Path.cwd()), "STEPS": "6"}
    result = subprocess.run([*command, *queued], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    table = [line.split()[:2] for line in result.stdout.splitlines()]
    assert table == [["recipe", "outcome"], ["first", "trained"], ["second", "trained"]]
    assert header_of("second")["images"] == 4 * header_of("second")["steps"]


# --- what headers say -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [{}, {"start": ""}, {"start": "first"}])
def test_headers_from_before_still_count(old):
    header = {"recipe": "second", "images": 7, **old}
    assert provenance.images_in_all(header) == provenance.images_of_recipe(header) == 7


def test_what_a_training_may_change_under_way():
    remembered = FIRST.as_dict()
    assert replace(FIRST, steps=7, start="elsewhere", queue=9).difference(remembered) is None
    remembered.pop("queue")  # states from before there was a queue
    assert FIRST.difference(remembered) is None
    assert "seed was 0 and is now 1" in replace(FIRST, seed=1).difference(remembered)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--queue"], "--minutes 9"),
        (["--queue", "--minutes", "0"], "minutes must be above 0"),
        (["first", "--queue", "--minutes", "1"], "leave out a recipe"),
        (["--queue", "--minutes", "1", "--seed", "0"], "leave out --seed"),
        (["--queue", "--minutes", "1", "--fresh"], "leave out --fresh"),
        ([], "say which recipe to train, or --queue"),
    ],
)
def test_bad_input_ends_with_one_sentence(capsys, arguments, sentence):
    assert cli.main(["train", *arguments]) == 2
    message = capsys.readouterr().err
    assert sentence in message and message.count("\n") == 1
