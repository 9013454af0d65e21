"""Checkpoints: what comes back, what is refused, and what survives a full disk or a kill."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from training_helpers import Tiny, tiny

from course_lib import checkpoints
from course_lib.errors import CourseError

HEADER = {
    "recipe": "tiny",
    "data": {"synthetic": {}},
    "steps": 7,
    "images": 28,
    "seed": 3,
    "device": "cpu",
    "date": "2026-01-31",
    "scores": {"single-val": {"pck@0.2": 0.5}},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    model = tiny(seed=1)
    model.body[1].running_var.fill_(1e-9)  # float16 would make this 0
    model.body[1].running_mean.fill_(1e6)  # and this infinite
    checkpoints.save(path, model, HEADER)
    return path


def refused(path: Path, model: nn.Module | None = None) -> str:
    """The sentence with which a file is refused; the model must be left as it was."""
    model = model or tiny()
    before = [value.clone() for value in model.state_dict().values()]
    with pytest.raises(CourseError) as caught:
        checkpoints.load_into(path, model)
    assert all(map(torch.equal, before, model.state_dict().values()))
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def test_round_trip_in_half_precision(saved):
    written, read = tiny(seed=1), tiny(seed=2)
    header = checkpoints.load_into(saved, read)
    for (name, before), after in zip(written.named_parameters(), read.parameters(), strict=True):
        assert after.dtype == torch.float32, name
        torch.testing.assert_close(after, before, rtol=2**-11, atol=2**-25)
    assert set(read.body[1].running_var.tolist()) == {torch.tensor(1e-9).item()}
    assert set(read.body[1].running_mean.tolist()) == {1e6}
    assert header == checkpoints.read_header(saved)
    assert header["model"] == "tiny" and header["options"] == {"width": 8} and header["skeleton"] == "lsp"
    assert header["scores"]["single-val"]["pck@0.2"] == 0.5 and header["code"] and len(header["digest"]) == 64


def test_parameters_are_stored_as_halves_unless_they_do_not_fit(tmp_path):
    model = nn.Linear(100, 100)
    plain = checkpoints.save(tmp_path / "a", model, {**HEADER, "model": "m", "options": {}, "skeleton": "lsp"})
    assert (tmp_path / "a").stat().st_size < 2 * 10_100 + 1500
    model.weight.data[0, 0] = 1e5
    checkpoints.save(tmp_path / "b", model, plain)
    other = nn.Linear(100, 100)
    checkpoints.load_into(tmp_path / "b", other)
    assert other.weight[0, 0] == 1e5
    with pytest.raises(CourseError, match="'weight' holds NaN or infinity"):
        model.weight.data[0, 0] = float("nan")
        checkpoints.save(tmp_path / "c", model, plain)


def test_the_same_weights_give_the_same_bytes(saved, tmp_path):
    model = tiny()
    header = checkpoints.load_into(saved, model)
    checkpoints.save(tmp_path / "again", model, header)
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()


def test_scores_can_be_recorded_later(saved, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(saved.read_bytes())
    checkpoints.record(copy, {"crowd-val": {"ap": 0.25}})
    header = checkpoints.load_into(copy, tiny())
    assert header["scores"] == {"single-val": {"pck@0.2": 0.5}, "crowd-val": {"ap": 0.25}}
    assert header["digest"] != checkpoints.read_header(saved)["digest"]
    assert checkpoints.weights_digest(copy) == checkpoints.weights_digest(saved)


def test_other_weights_have_another_digest(saved, tmp_path):
    checkpoints.save(tmp_path / "other.safetensors", tiny(seed=2), HEADER)
    assert checkpoints.weights_digest(tmp_path / "other.safetensors") != checkpoints.weights_digest(saved)
    (tmp_path / "cut.safetensors").write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(CourseError, match="cut short"):
        checkpoints.weights_digest(tmp_path / "cut.safetensors")


def test_files_that_are_none(saved, tmp_path):
    assert "there is no checkpoint" in refused(tmp_path / "nowhere.safetensors")
    assert "there is no checkpoint" in refused(tmp_path)
    file = tmp_path / "file.safetensors"
    for content in (b"", b"hello", b"\xff" * 100, saved.read_bytes()[:-1], saved.read_bytes()[:300]):
        file.write_bytes(content)
        assert "cut short or not a safetensors file" in refused(file)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, file)
    assert "no readable course header" in refused(file)
    save_file({"a": torch.zeros(1)}, file, metadata={"course": json.dumps({"model": "tiny"})})
    assert "lacks 'options' and" in refused(file)


@settings(max_examples=60, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True))
def test_a_single_changed_byte_is_noticed(saved, where):
    content = bytearray(saved.read_bytes())
    content[int(where * len(content))] ^= 0x41
    file = saved.with_name("tampered.safetensors")
    file.write_bytes(content)
    refused(file)


def test_wrong_skeleton_model_and_shapes(saved):
    assert "trained for skeleton 'lsp' (14 joints), but the model has 'coco' (17 joints)" in refused(
        saved, Tiny(skeleton="coco")
    )
    other = tiny()
    other.name = "another"
    assert "holds weights of 'tiny', but the model is 'another'" in refused(saved, other)
    assert "of shape (8, 3, 3, 3), but the model's is (4, 3, 3, 3)" in refused(saved, tiny(width=4))
    more, less = tiny(), tiny()
    more.extra, less.body = nn.Linear(1, 1), nn.Sequential(*less.body[:3])
    assert "lacks 'extra.bias' and 1 more" in refused(saved, more)
    assert "has 'body.3.bias' and 3 more, which the model lacks" in refused(saved, less)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": None}, "needs 'seed' (int); got None"),
        ({"date": "yesterday"}, "date is written like 2026-01-31; got 'yesterday'"),
    ],
)
def test_headers_must_be_whole(tmp_path, change, message):
    with pytest.raises(CourseError) as caught:
        checkpoints.save(tmp_path / "file", tiny(), {**HEADER, **change})
    assert message in str(caught.value) and not (tmp_path / "file").exists()


def test_the_size_limit(tmp_path):
    with pytest.raises(CourseError, match=r"file would have 0\.0 MB, but 0\.001 MB is the limit"):
        checkpoints.save(tmp_path / "file", tiny(), HEADER, limit=1000)
    checkpoints.save(tmp_path / "file", tiny(), HEADER, limit=checkpoints.SHIPPED_LIMIT)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(saved, tmp_path, monkeypatch, step):
    path = tmp_path / "weights" / "file.safetensors"
    checkpoints.write_atomically(path, lambda file: file.write(saved.read_bytes()))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints.os, step, full)
    with pytest.raises(CourseError, match="No space left on device; the file that was there is unchanged"):
        checkpoints.save(path, tiny(seed=5), HEADER)
    assert path.read_bytes() == saved.read_bytes() and list(path.parent.iterdir()) == [path]


def test_an_interrupt_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def interrupted(file):
        file.write(b"half of the ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoints.write_atomically(path, interrupted)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("a file, not a folder")
    with pytest.raises(CourseError, match="could not write"):
        checkpoints.save(tmp_path / "file" / "weights", tiny(), HEADER)


def test_a_kill_during_the_write_leaves_the_old_file_and_the_next_write_sweeps(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    script = (
        "import sys; from pathlib import Path; from course_lib.checkpoints import write_atomically\n"
        "def forever(file):\n"
        "    file.write(b'half'); file.flush(); print('writing', flush=True); sys.stdin.read()\n"
        "write_atomically(Path(sys.argv[1]), forever)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(checkpoints.__file__).parent.parent)}
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": environment, "text": True}
    with subprocess.Popen([sys.executable, "-c", script, str(path)], **pipe) as process:
        assert process.stdout.readline() == "writing\n"
        bystander = tmp_path / f".file.{os.getpid()}.unfinished"
        bystander.write_text("of a writer that is alive")
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 3
    bystander.unlink()
    checkpoints.write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]
