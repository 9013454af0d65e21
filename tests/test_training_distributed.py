"""Several processes that train one model: the same result as one process, and nothing lost when one of them dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from training_helpers import ENVIRONMENT, RECIPE, SCRIPT, SHARED, stream, tiny

from course_lib.errors import CourseError
from course_lib.models.layers import Standardise
from course_lib.training import train
from course_lib.training.distributed import Buffers, World, chunks_of

pytestmark = pytest.mark.xdist_group("processes")  # not beside each other: every test here starts processes of its own


def torchrun(mode: str, out) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", SCRIPT, mode, out]
    return subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )


def alone(out, steps: int = 12, seed: int = 0):
    options = {"batches": stream, "device": "cpu", "progress": False}
    return train(SHARED, model=tiny(seed), out=out, steps=steps, **options)


def state_of(out) -> dict:
    return torch.load(out / "tiny" / "state.pt", weights_only=True)


def assert_same(one: dict, other: dict) -> None:
    """Weights, averaged weights, running statistics and the optimiser's moments."""
    for part in ("model", "average"):
        first, second = (state[part].get("model", state[part]) for state in (one, other))
        assert first.keys() == second.keys()
        for name, value in first.items():
            torch.testing.assert_close(value, second[name], atol=1e-6, rtol=1e-5)
    first, second = (state["optimiser"]["state"] for state in (one, other))
    for key, moments in first.items():
        torch.testing.assert_close(moments["exp_avg"], second[key]["exp_avg"], atol=1e-6, rtol=1e-4)


def test_two_processes_learn_what_one_does(tmp_path):
    process = torchrun("together", tmp_path / "two")
    printed, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert {line.split()[0] for line in printed.splitlines()} == {"0", "1"}
    alone(tmp_path / "one")
    one, two = state_of(tmp_path / "one"), state_of(tmp_path / "two")
    assert one["step"] == two["step"] == 12
    assert_same(one, two)
    assert one["history"]["images"] == two["history"]["images"]
    assert one["history"]["gradient_norm"] == pytest.approx(two["history"]["gradient_norm"], rel=1e-4)


def test_when_one_process_is_killed_the_other_ends_with_a_state_to_go_on_from(tmp_path):
    process = torchrun("endless", tmp_path / "killed")
    for line in process.stdout:
        rank, number_of_process, number = line.split()
        if rank == "1" and int(number) >= 30:
            os.kill(int(number_of_process), signal.SIGKILL)
            break
    _, errors = process.communicate(timeout=200)
    assert process.returncode != 0
    told = [line for line in errors.splitlines() if "because another of its 2 processes did" in line]
    assert told, errors
    sentence = told[0]
    assert "the same command goes on from it" in sentence
    state = state_of(tmp_path / "killed")
    assert state["step"] >= 15 and f"the state of step {state['step']} is in" in sentence
    assert len(state["history"]["loss"]) == state["step"]
    steps = state["step"] + 4
    alone(tmp_path / "killed", steps, seed=99)
    alone(tmp_path / "whole", steps)
    assert state_of(tmp_path / "killed")["step"] == steps
    # the two took the cosine of 100,000 steps before, so only what does not depend on the rate can be compared
    images = state_of(tmp_path / "killed")["history"]["images"]
    assert images == state_of(tmp_path / "whole")["history"]["images"]


def test_gradients_added_over_chunks_are_those_of_the_whole_batch():
    """Without batch normalisation and dropout, which see a chunk only, cutting a batch changes nothing."""

    class Cut:
        def __init__(self, size: int) -> None:
            self.size = size

        def __call__(self, start: int):
            each = 4 // self.size
            while True:
                batch = next(stream(start // each))
                batch.visible.fill_(2)  # a mean over labelled joints would weigh a chunk by how many it has
                yield batch[start % each * self.size : (start % each + 1) * self.size]
                start += 1

    def trained(chunk: int):
        model = tiny()
        model.body[1], model.body[5] = torch.nn.Identity(), torch.nn.Identity()
        plain = replace(RECIPE, chunk=chunk, augment=replace(RECIPE.augment, **dict.fromkeys(OFF, 0)))
        return train(plain, model=model, batches=Cut(chunk), device="cpu", progress=False, steps=8).model

    everyone = [trained(chunk).state_dict() for chunk in (4, 2, 1)]
    for other in everyone[1:]:
        for name, value in everyone[0].items():
            torch.testing.assert_close(value, other[name], atol=1e-5, rtol=1e-4)


OFF = ("geometry", "flip", "half_body", "brightness", "contrast", "gain", "grey", "patches", "noise")


@pytest.mark.parametrize(
    ("batch", "chunk", "processes", "chunks"),
    [(64, 0, 1, 1), (64, 0, 2, 2), (64, 16, 1, 4), (64, 16, 2, 4), (64, 16, 8, 8), (60, 16, 1, 4), (60, 7, 2, 10)],
)
def test_a_batch_is_cut_evenly(batch, chunk, processes, chunks):
    assert chunks_of(replace(RECIPE, batch=batch, chunk=chunk), processes) == chunks


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(CourseError, match="a batch of 64 cannot be shared evenly by 3 processes"):
        chunks_of(replace(RECIPE, batch=64), 3)


def test_a_world_of_one_agrees_with_itself():
    world = World()
    assert world.main and world.agree(False, 7, 0.25) == (False, 0.25)
    assert world.mean(torch.tensor(3.0)) == 3


def test_chunks_average_statistics_and_leave_constants_alone():
    """The mean of three equal numbers need not be that number; a constant that is in no state must stay what it is."""
    model = torch.nn.Sequential(Standardise(), torch.nn.BatchNorm2d(3))
    constants, buffers = Standardise(), Buffers(model, 3, World())
    for _ in range(20):
        buffers.start()
        before = model[1].running_mean.clone()
        for chunk in range(3):
            buffers.back()
            model[1].running_mean += chunk
            buffers.after_chunk()
        buffers.finish()
        torch.testing.assert_close(model[1].running_mean, before + 1)
    assert torch.equal(model[0].mean, constants.mean) and torch.equal(model[0].deviation, constants.deviation)
