"""`python -m course_lib fit` as a user types it, on small models and a benchmark of ten people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from course_lib import checkpoints, cli, models, paths
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.models.pictorial import fitting
from course_lib.skeletons import LSP
from course_lib.training import fitted, provenance

OPTIONS = {"input_size": (64, 64), "rotations": 8, "scales": (0.8, 1.2)}
MORE = {**OPTIONS, "poselets": 2, "classes": 2}


@pytest.fixture(autouse=True)
def small_world(monkeypatch, tmp_path):
    """Models that are fitted in a second, ten people to measure them on, a folder to themselves."""
    whole = synthetic.benchmark
    for name, options in (("pictorial_structures", OPTIONS), ("poselet_conditioned", MORE)):
        monkeypatch.setitem(fitted.FITTED, name, replace(fitted.FITTED[name], options=options))
    monkeypatch.setattr(synthetic, "benchmark", lambda name, skeleton=None: whole(name, skeleton, count=10))
    monkeypatch.setattr(paths, "PUBLIC", tmp_path / "public")
    monkeypatch.setattr(paths, "CHECKPOINTS", tmp_path / "shipped")
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def test_fit_measures_and_writes(capsys, tmp_path):
    """The first system, then the second from what was written, and not one byte before either is done."""
    file, second = tmp_path / "plain.safetensors", tmp_path / "conditioned.safetensors"
    assert cli.main(["fit", "pictorial_structures", "--people", "40", "--seed", "3", "--ship", str(file)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].split() == ["single-val", "pictorial_structures"] and "pck@0.2" in printed
    assert f"weights: {file}, 0." in printed
    header = checkpoints.verify(file)
    wanted = {"model": "pictorial_structures", "recipe": "pictorial_structures", "skeleton": "lsp", "start": {}}
    assert wanted.items() <= header.items() and header["data"] == {"synthetic": {}}
    assert (header["images"], header["seed"], header["steps"]) == (40, 3, 0)
    assert header["scores"]["single-val"]["people"] == 10
    assert provenance.images_in_all(header) == 40
    plain = models.load("pictorial_structures", file)
    assert plain.skeleton is LSP and not plain.training and plain.input_size == (64, 64)

    begun = ["fit", "poselet_conditioned", "--people", "60", "--start", str(file), "--ship", str(second)]
    assert cli.main(begun) == 0
    header = checkpoints.verify(second)
    assert header["model"] == header["recipe"] == "poselet_conditioned" and header["images"] == 60
    assert header["start"]["checkpoint"] == "plain" and header["start"]["recipe"] == "pictorial_structures"
    assert header["start"]["digest"] == checkpoints.read_header(file)["digest"]
    assert provenance.images_in_all(header) == 100 and header["options"]["poselets"] == 2
    conditioned = models.load("poselet_conditioned", second)
    for name, value in plain.state_dict().items():
        assert torch.equal(conditioned.state_dict()[name], value), name  # both see parts with the same detectors
    assert bool(conditioned.poselets.templates.any()) and bool(conditioned.classifiers["spring"].weight.any())


def test_what_is_written_answers_like_what_was_fitted(monkeypatch, tmp_path):
    model, header = fitted.fit("pictorial_structures", 40)
    assert header["start"] == {} and "scores" not in header and header["seed"] == 0
    checkpoints.save(tmp_path / "own.safetensors", model, {**header, "scores": {}})
    again = models.load("pictorial_structures", tmp_path / "own.safetensors")
    image = synthetic.crops(3, seed=9, size=(64, 64)).images
    with torch.no_grad():
        one, two = model(image).unaries, again(image).unaries
    torch.testing.assert_close(one, two, rtol=0, atol=0.02 * float(one.std()))  # templates lie there in half precision
    joints = [torch.stack([pose.joints for (pose,) in own.estimate(image)]) for own in (model, again)]
    assert float(((joints[0] - joints[1]).norm(dim=-1) < 4).float().mean()) > 0.8
    twin, _ = fitted.fit("pictorial_structures", 40)
    other, _ = fitted.fit("pictorial_structures", 40, seed=1)
    assert torch.equal(model.templates, twin.templates) and not torch.equal(model.templates, other.templates)


def test_weights_go_to_the_build_folder_by_default(tmp_path):
    assert cli.main(["fit", "pictorial_structures", "--people", "12"]) == 0
    file = tmp_path / "build" / "training" / "pictorial_structures" / "pictorial_structures.safetensors"
    assert checkpoints.verify(file)["images"] == 12
    shipped = paths.checkpoint("pictorial_structures")  # what ships is where the second begins
    checkpoints.write_atomically(shipped, lambda to: to.write(file.read_bytes()))
    _, header = fitted.fit("poselet_conditioned", 60)
    assert header["start"]["checkpoint"] == "pictorial_structures"


def test_people_are_rendered_in_their_number(monkeypatch):
    model = models.create("pictorial_structures", **OPTIONS)
    monkeypatch.setattr(fitted, "AT_ONCE", 4)
    people = fitted.rendered(10, model, 5)
    assert len(people) == 10 and people.size == (64, 64) and people.images.dtype == torch.uint8
    fewer = fitted.rendered(7, model, 5)
    assert torch.equal(fewer.images, people.images[:7]) and torch.equal(fewer.joints, people.joints[:7])
    assert not torch.equal(fitted.rendered(7, model, 6).joints, fewer.joints)
    assert int(people.images.max()) > 200 and len(people.images.flatten(1).unique(dim=0)) == 10


def other_weights(tmp_path: Path, name: str, **options) -> str:
    header = {"recipe": name, "data": {}, "steps": 0, "images": 0, "seed": 0, "device": "cpu", "scores": {}}
    file = tmp_path / "other.safetensors"
    checkpoints.save(file, models.create(name, **options), {**header, "date": "2026-01-31"})
    return str(file)


def test_bad_commands_say_one_sentence_and_write_nothing(capsys, tmp_path):
    hourglass = other_weights(tmp_path, "hourglass_course", stacks=1, width=8, depth=2, input_size=(32, 32))
    before = set(tmp_path.rglob("*"))
    for arguments, sentence in (
        (["hourglass"], "there is no classical model called 'hourglass'"),
        (["pictorial_structure"], "did you mean 'pictorial_structures'?"),
        (["pictorial_structures", "--people", "1"], "at least two people; got 1"),
        (["pictorial_structures", "--people", "-5"], "at least two people; got -5"),
        (["pictorial_structures", "--people", "3"], "at least 4 people; got 3"),
        (["pictorial_structures", "--start", hourglass], "is learned from nothing"),
        (["poselet_conditioned", "--people", "10"], "there is no checkpoint"),
        (["poselet_conditioned", "--start", "nowhere.safetensors"], "there is no checkpoint nowhere.safetensors"),
        (["poselet_conditioned", "--people", "10", "--start", hourglass], "holds weights of 'hourglass_course'"),
    ):
        assert cli.main(["fit", *arguments, "--ship", "ship.safetensors"]) == 2, arguments
        told = capsys.readouterr()
        assert sentence in told.err and len(told.err.strip().splitlines()) == 1 and not told.out, arguments
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("changed, what", [({"rotations": 12}, "rotations 12"), ({"stride": 8}, "stride 8")])
def test_another_body_cannot_be_gone_on_from(tmp_path, changed, what):
    start = Path(other_weights(tmp_path, "pictorial_structures", **{**OPTIONS, **changed}))
    with pytest.raises(CourseError, match=f"other.safetensors has {what}, but 'poselet_conditioned' has"):
        fitted.fit("poselet_conditioned", 60, start=start)


def test_too_few_people_for_poselets(tmp_path, capsys):
    start = other_weights(tmp_path, "pictorial_structures", **OPTIONS)
    before = set(tmp_path.rglob("*"))
    assert (
        cli.main(["fit", "poselet_conditioned", "--people", "20", "--start", start, "--ship", "ship.safetensors"]) == 2
    )
    assert "people show the region 'whole body'; too few to cluster" in capsys.readouterr().err
    assert set(tmp_path.rglob("*")) == before


def test_nothing_is_written_when_measuring_fails(monkeypatch, tmp_path):
    def broken(model, name):
        raise RuntimeError("the examiner fell ill")

    monkeypatch.setattr(fitted.benchmarks, "measure", broken)
    with pytest.raises(RuntimeError, match="fell ill"):
        cli.main(["fit", "pictorial_structures", "--people", "12", "--ship", "ship.safetensors"])
    assert not list(tmp_path.rglob("*.safetensors*"))


def test_what_is_registered_can_be_made():
    for name, recipe in fitted.FITTED.items():
        assert recipe.model == name in models.names() and recipe.people >= 1000
        assert not recipe.start or recipe.start in fitted.FITTED
    assert fitted.FITTED["pictorial_structures"].fit is fitting.fit
