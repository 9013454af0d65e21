"""The doctor: what it says of a healthy machine, and of each ill."""

import builtins
import shutil
from importlib import metadata

import pytest
from torch import nn

from course_lib import checkpoints, cli, doctor, paths

HEADER = {
    "model": "tiny",
    "options": {},
    "skeleton": "lsp",
    "recipe": "tiny",
    "data": {},
    "steps": 1,
    "images": 1,
    "seed": 0,
    "device": "cpu",
    "date": "2026-01-31",
    "scores": {},
}


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """One shipped checkpoint that is whole."""
    monkeypatch.setattr(paths, "CHECKPOINTS", tmp_path)
    checkpoints.save(tmp_path / "tiny.safetensors", nn.Linear(8, 8), HEADER)
    return tmp_path / "tiny.safetensors"


def only(examination) -> doctor.Finding:
    [finding] = doctor._findings(examination)
    return finding


def test_a_healthy_machine(weights, capsys):
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    for subject in ("Python", "packages", "torch", "torchvision", "GPU", "Jupyter kernel", "weights", "disk", "memory"):
        assert f"{subject}: " in said
    assert "PROBLEM" not in said and said.endswith("Everything is in order.\n")


def test_a_problem_makes_the_exit_status_1(weights, monkeypatch, capsys):
    weights.unlink()
    for other in ("_python", "_packages", "_torch", "_torchvision", "_gpu", "_kernel", "_room"):
        monkeypatch.setattr(doctor, other, lambda: iter(()))
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "PROBLEM  weights: there are none" in said and "->" in said and "1 to mend" in said


def test_damaged_weights(weights):
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    finding = only(doctor._weights)
    assert finding.state == doctor.PROBLEM and "digest" in finding.text and "git checkout" in finding.advice
    weights.write_bytes(data[:100])
    assert only(doctor._weights).state == doctor.PROBLEM


def test_torchvision_that_does_not_fit_torch(monkeypatch):
    real = builtins.__import__

    def broken(name, *rest):
        if name.startswith("torchvision"):
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", broken)
    finding = only(doctor._torchvision)
    assert finding.state == doctor.PROBLEM
    assert "operator torchvision::nms does not exist" in finding.text
    assert "pip uninstall torch torchvision" in finding.advice


def test_old_python(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 2))
    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.10.2")
    assert only(doctor._python).text == "3.10.2 is too old"


def test_packages_that_are_missing_or_too_old(monkeypatch):
    real = metadata.version

    def version(name):
        if name == "scipy":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "papermill" else real(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    finding = only(doctor._packages)
    assert finding.state == doctor.PROBLEM
    assert "scipy is missing" in finding.text and "papermill is 0.1, not >=2.6" in finding.text


def test_no_kernel(monkeypatch):
    import jupyter_client.manager

    def fail(**options):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(jupyter_client.manager, "start_new_kernel", fail)
    finding = only(doctor._kernel)
    assert finding.state == doctor.PROBLEM and "ipykernel install" in finding.advice


def test_a_driver_that_torch_cannot_use_is_a_note(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert only(doctor._gpu).state == doctor.NOTE
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert only(doctor._gpu).state == doctor.GOOD


def test_full_disk(monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage._replace(free=10_000_000))
    assert doctor._findings(doctor._room)[0].state == doctor.PROBLEM


def test_an_examination_that_breaks_is_a_finding():
    def liver():
        raise OSError("no pulse")
        yield

    finding = only(liver)
    assert finding.state == doctor.PROBLEM and "no pulse" in finding.text
