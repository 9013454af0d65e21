"""The loop: what it keeps, what it survives, and what it refuses."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import nn
from training_helpers import ENVIRONMENT, RECIPE, SCRIPT, stream, tiny

from course_lib import checkpoints
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.models.deepcut import learning
from course_lib.pose import Batch
from course_lib.training import devices, provenance, recipes, train
from course_lib.training.optimise import Average, learning_rate, optimiser


def run(out: Path | None = None, steps: int = 40, recipe=RECIPE, **options):
    options = {"model": tiny(), "batches": stream, "device": "cpu", "progress": False, **options}
    return train(recipe, out=out, steps=steps, **options)


def bytes_of(module: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in module.state_dict().items()}


def test_training_learns_and_says_how():
    batches = list(islice(stream(0), 2))
    recipe = replace(RECIPE, augment=replace(RECIPE.augment, geometry=0, flip=0, half_body=0, patches=0))
    trained = run(recipe=recipe, batches=batches, steps=60)
    assert trained.history["loss"][-1] < 0.5 * trained.history["loss"][0]
    assert trained.history["step"] == list(range(60))
    assert trained.header["steps"] == 60 and trained.header["images"] == 240
    assert not trained.model.training and trained.stopped == ""
    assert {len(trained.history[name]) for name in ("gradient_norm", "learning_rate", "step_seconds")} == {60}
    assert 0 < trained.data_share() < 1


def test_a_killed_training_resumes_to_the_same_bytes(tmp_path):
    whole = run(tmp_path / "whole")
    command = [sys.executable, SCRIPT, "alone", str(tmp_path / "killed")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    for line in process.stdout:
        if line.split()[-1] == "23":  # in the middle of step 23, three after the last save
            process.kill()
            break
    process.wait()
    assert process.returncode == -signal.SIGKILL
    state = torch.load(tmp_path / "killed" / "tiny" / "state.pt", weights_only=True)
    assert 5 <= state["step"] <= 20
    seen = []

    def noted(start):
        seen.append(start)
        return stream(start)

    again = run(tmp_path / "killed", batches=noted, model=tiny(seed=99))
    assert seen == [state["step"]]
    assert bytes_of(again.model) == bytes_of(whole.model)
    assert again.history["loss"] == whole.history["loss"]


# Options that make a network small, by the first word of its name
SMALL = {
    "adversarial": {"stacks": 1, "width": 8, "depth": 2, "judge_width": 8, "input_size": (32, 32)},
    "alphapose": {"stacks": 1, "width": 8, "depth": 2, "input_size": (32, 32)},
    "cpm": {"stages": 2, "image_channels": (4, 8), "feature_channels": 6, "first_channels": 8, "input_size": (32, 32)},
    "deepcut": {"width": 4, "input_size": (32, 32)},
    "deeppose": {"stem": (5, 2), "shrink": 1, "channels": (4, 4, 4, 4, 4), "hidden": 8, "input_size": (32, 32)},
    "grmi": {"width": 4, "input_size": (32, 32)},
    "hourglass": {"stacks": 2, "width": 8, "depth": 2, "input_size": (32, 32)},
    "hrnet": {"width": 4, "stem": 4, "blocks": 1, "modules": (1, 1, 1), "input_size": (32, 32)},
    "ief": {"width": 8, "bound": 6.0, "sigma": 4.0, "input_size": (32, 32)},
    "mask": {"channels": 16, "box_width": 8, "head_width": 8, "head_depth": 1, "mask_width": 8, "proposals": (40, 20)}
    | {"samples": 16, "min_size": 64, "max_size": 64, "input_size": (64, 64)},
    "paf": {"stages": 2, "field_stages": 1, "groups": ((4,), (4,), (4,)), "feature_channels": (4, 4)}
    | {"width": 4, "hidden": 4, "input_size": (32, 32)},
    "person": {"channels": 32, "input_size": (32, 32)},
    "pose": {"depth": 18, "width": 4, "deconv_width": 4, "input_size": (32, 32)},
    "tompson": {"input_size": (64, 64), "stages": 7, "widths": (8,), "hidden": (16, 8), "crop_size": 12},
}


@pytest.fixture(scope="module")
def public(photographs, tmp_path_factory) -> Path:
    """A data folder with the LSP-extended of rendered people, and a COCO of such."""
    folder = tmp_path_factory.mktemp("sets")
    (folder / "lspet").symlink_to(photographs / "lspet")
    file = synthetic.to_coco(synthetic.scenes(6, seed=5, size=(96, 128), people=(1, 3)), folder / "coco")
    (folder / "coco" / "annotations").mkdir()
    file.rename(folder / "coco" / "annotations" / "person_keypoints_train2017.json")
    (folder / "coco" / "images").rename(folder / "coco" / "train2017")
    return folder


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_resumes_to_the_same_bytes_on_its_own_data(tmp_path, name, public, monkeypatch):
    """Recipe, data, augmentation and precision are real; only the network is small, and its start random."""
    monkeypatch.setenv("COURSE_DATA", str(public))
    monkeypatch.setattr(learning, "learn", partial(learning.learn, pictures=6))
    small = SMALL[recipes.get(name).model.split("_")[0]]
    recipe = replace(recipes.get(name), options=small, batch=3, compile=False, start="")
    options = {"recipe": recipe, "model": None, "batches": None, "steps": 5}
    whole = run(**options)
    interrupt = {"validate": lambda _: os.kill(os.getpid(), signal.SIGTERM) or {}, "validate_every": 2}
    assert run(tmp_path, **options, **interrupt).header["steps"] == 2
    again = run(tmp_path, **options)
    assert again.header["images"] == 15 and bytes_of(again.model) == bytes_of(whole.model)


def test_global_random_state_and_signal_handlers_are_left_alone():
    before, handler = torch.get_rng_state(), signal.getsignal(signal.SIGTERM)
    model = tiny()
    state = torch.get_rng_state()
    run(model=model, steps=2)
    assert torch.equal(torch.get_rng_state(), state) and signal.getsignal(signal.SIGTERM) == handler
    torch.set_rng_state(before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_training_with_everything_kept(tmp_path, number):
    def interrupting(start):
        for step, batch in enumerate(stream(start), start):
            if step == 7:
                os.kill(os.getpid(), number)
            yield batch

    trained = run(tmp_path, batches=interrupting)
    assert trained.stopped == signal.Signals(number).name and trained.header["steps"] == 8
    assert not (tmp_path / "tiny" / "tiny.safetensors").exists()
    again = run(tmp_path)
    assert again.stopped == "" and bytes_of(again.model) == bytes_of(run().model)


def poisoned(start):
    for step, batch in enumerate(stream(start), start):
        value = math.nan if step == 17 else 1.0
        yield Batch(batch.images * value, batch.joints, batch.visible, batch.skeleton)


def test_nan_stops_with_step_and_last_good_state(tmp_path):
    plain = replace(RECIPE, augment=replace(RECIPE.augment, noise=0))
    with pytest.raises(CourseError, match=r"stopped at step 17: the loss became nan; the last good state, of step 15"):
        run(tmp_path, recipe=plain, batches=poisoned, save_every=5)
    kept = torch.load(tmp_path / "tiny" / "state.pt", weights_only=True)
    assert kept["step"] == 15
    assert all(torch.isfinite(value).all() for value in kept["model"].values())
    with pytest.raises(CourseError, match="no state was kept"):
        run(recipe=plain, batches=poisoned)
    with pytest.raises(CourseError, match="nothing good had been saved yet"):
        run(tmp_path / "other", recipe=plain, batches=poisoned)


def test_a_full_disk_does_not_end_the_training(tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.os, "fsync", full)
        trained = run(tmp_path, steps=10, save_every=5)
    assert "No space left on device; nothing was written; training goes on" in caplog.text
    assert "No space left on device; nothing was written; the trained model is in memory only" in caplog.text
    assert bytes_of(trained.model) == bytes_of(run(steps=10).model)
    assert list((tmp_path / "tiny").iterdir()) == []


def test_resuming_another_recipe_or_a_broken_state_is_refused(tmp_path):
    run(tmp_path, steps=3)
    with pytest.raises(CourseError, match="batch was 4 and is now 5"):
        run(tmp_path, recipe=replace(RECIPE, batch=5))
    with pytest.raises(CourseError, match="does not fit this model"):
        run(tmp_path, model=tiny(width=4))
    file = tmp_path / "tiny" / "state.pt"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CourseError, match="no readable training state"):
        run(tmp_path)
    assert run(tmp_path, steps=3, resume=False).header["steps"] == 3


def test_a_finished_training_is_not_repeated(tmp_path):
    first = run(tmp_path, steps=5)
    again = run(tmp_path, steps=5, batches=lambda start: iter(()))
    assert bytes_of(first.model) == bytes_of(again.model)
    header = checkpoints.read_header(tmp_path / "tiny" / "tiny.safetensors")
    assert header["steps"] == 5 and header["data"] == {"synthetic": {}} and header["skeleton"] == "lsp"


def test_a_header_tells_what_differs_from_the_registered_recipe(tmp_path):
    live = recipes.get("cpm_live")
    assert provenance.changed(live) == provenance.changed(RECIPE) == {}  # the second is registered nowhere
    other = replace(live, batch=5, augment=replace(live.augment, flip=0.0), seed=3, steps=1, data={"synthetic": {}})
    changed = provenance.changed(other)
    assert set(changed) == {"batch", "augment"} and changed["batch"] == 5 and changed["augment"]["flip"] == 0
    trained = run(tmp_path, steps=1, recipe=other)
    assert trained.header["changed"] == changed
    header = checkpoints.read_header(tmp_path / "cpm_live" / "cpm_live.safetensors")
    assert header["changed"] == changed and header["seed"] == 3


def test_minutes_end_the_schedule_at_the_deadline():
    trained = run(steps=None, minutes=0.02)
    rates = trained.history["learning_rate"]
    assert 1.1 < 60 * trained.header["minutes"] < 6
    assert rates[-1] < 0.1 * max(rates) and len(rates) > 20


def test_validation_and_hooks():
    class Special(type(tiny())):
        def training_loss(self, batch, progress):
            self.seen = [*getattr(self, "seen", []), progress]
            return {"total": self(batch.images).float().square().mean()}

    torch.manual_seed(0)
    model = Special()
    steps = []
    validate = lambda average: steps.append(average.training) or {"score": 0.5}  # noqa: E731
    trained = run(model=model, steps=10, validate=validate, validate_every=4)
    assert [row["step"] for row in trained.history["validation"]] == [4, 8, 10] and steps == [False] * 3
    assert model.seen == pytest.approx([i / 10 for i in range(10)])


def test_bfloat16_computes_the_network_and_not_the_loss():
    if not devices.has_bfloat16(torch.device("cpu")):
        pytest.skip("this CPU has no bfloat16")
    trained = run(recipe=replace(RECIPE, precision="bf16"), steps=3)
    assert trained.header["precision"] == "bf16"
    assert {value.dtype for value in trained.model.parameters()} == {torch.float32}
    assert trained.history["loss"] != run(steps=3).history["loss"]


def test_a_failing_compiler_falls_back_with_one_message(monkeypatch, caplog):
    def broken(model):
        def call(images):
            raise RuntimeError("no compiler here")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    trained = run(recipe=replace(RECIPE, compile=True), steps=3)
    assert caplog.text.count("torch.compile failed (no compiler here)") == 1
    assert trained.history["loss"] == run(steps=3).history["loss"]


@pytest.mark.parametrize("options", [{"steps": 0}, {"minutes": -1}, {"batches": []}, {"device": "abacus"}])
def test_bad_input_is_refused_in_one_sentence(options):
    with pytest.raises(CourseError) as caught:
        run(**{"steps": 2, **options})
    assert "\n" not in str(caught.value)


def test_learning_rate_rises_straight_and_falls_as_a_cosine_to_zero():
    assert learning_rate(2.0, 10, 0, 0.0) == pytest.approx(0.2)
    assert learning_rate(2.0, 10, 9, 0.0) == pytest.approx(2.0)
    assert learning_rate(2.0, 10, 50, 0.5) == pytest.approx(1.0)
    assert learning_rate(2.0, 10, 50, 0.25) == pytest.approx(1 + math.sqrt(0.5))
    assert learning_rate(2.0, 0, 0, 1.0) == learning_rate(2.0, 0, 99, 1.7) == 0


def test_the_average_follows_its_formula_and_copies_buffers():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, affine=False))
    model[0].weight.data.fill_(1.0)
    average = Average(model, 0.5)
    expected = 1.0
    for t in range(12):
        model[0].weight.data.fill_(float(t))
        model[1].running_mean.fill_(float(t))
        average.update(model)
        decay = min(0.5, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * t
        assert average.model[0].weight.item() == pytest.approx(expected)
        assert average.model[1].running_mean.item() == t


def test_norms_and_biases_are_not_decayed():
    model = tiny()
    decayed, free = optimiser(model, RECIPE).param_groups
    assert decayed["weight_decay"] == RECIPE.weight_decay and free["weight_decay"] == 0
    assert {value.ndim for value in decayed["params"]} == {2, 4}
    assert {value.ndim for value in free["params"]} == {1}
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


def test_clipping_bounds_the_step_and_logs_the_norm_before_it():
    def norms(model):
        return sum(float(value.grad.square().sum()) for value in model.parameters()) ** 0.5

    for clip, expected in ((1e-3, 1e-3), (1e6, None)):
        model = tiny()
        norm = run(model=model, recipe=replace(RECIPE, clip=clip), steps=1).history["gradient_norm"][0]
        assert norm > 0.01
        assert norms(model) == pytest.approx(expected or norm, rel=1e-4)


def test_recipes():
    assert {"hourglass", "hourglass_course", "hourglass_live"} <= set(recipes.names())
    with pytest.raises(CourseError, match="did you mean 'hourglass_live'"):
        recipes.get("hourglas_live")
    with pytest.raises(CourseError, match="learning_rate must be above 0"):
        replace(RECIPE, learning_rate=0)
    assert recipes.get("hourglass_course").difference(recipes.get("hourglass_course").as_dict()) is None
