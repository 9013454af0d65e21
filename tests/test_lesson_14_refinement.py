"""Study "refinement" of lesson 14: what its arms share, what sets them apart, and that it goes on where it stopped."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from course_lib.errors import CourseError
from course_lib.lessons import lesson_14_refinement as study
from course_lib.lessons import studies
from course_lib.lessons.lesson_14_stages import SwitchedCascade
from course_lib.pose import Batch
from course_lib.skeletons import get


def small(**options) -> SwitchedCascade:
    torch.manual_seed(0)
    return SwitchedCascade(**{"stages": 3, "width": 8, "hidden": 8, "blocks": 1, "input_size": (32, 32), **options})


def a_batch(people: int = 2, side: int = 32) -> Batch:
    random = torch.Generator().manual_seed(1)
    images, joints = torch.rand(people, 3, side, side, generator=random), side * torch.rand(people, 14, 2)
    return Batch(images, joints, torch.full((people, 14), 2), get("lsp"))


# --- the arms ---------------------------------------------------------------------------------------------------------


def test_all_arms_of_a_style_cost_nearly_the_same():
    for arms in study.sizes().values():
        for cost in ("parameters", "giga_multiply_adds"):
            whole = arms[study.BOTH][cost]
            for arm, row in arms.items():
                if arm == study.SHARED and cost == "parameters":
                    assert row[cost] == pytest.approx(whole / 2, rel=0.05)
                else:
                    assert row[cost] == pytest.approx(whole, rel=0.011), (arm, cost)


def test_all_arms_are_equally_deep():
    def depth(arm: str) -> int:
        return sum(
            layer.kernel_size == (3, 3)
            for stage in study.network(arm, study.PLAIN).stages
            for layer in stage.convolutions
        )

    assert {depth(arm) for arm in study.ARMS} == {4 * study.STAGES}


def test_arms_of_a_seed_start_alike_and_other_seeds_do_not():
    first, again, last = (
        study.network(arm, study.PLAIN, 3).stem[0].weight for arm in (study.BOTH, *[study.SINGLE] * 2)
    )
    assert torch.equal(first, again) and torch.equal(again, last)
    assert not torch.equal(first, study.network(study.BOTH, study.PLAIN, 4).stem[0].weight)


# --- the switches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("features", [True, False])
def test_without_features_a_later_stage_sees_the_picture_through_the_maps_alone(features, residual):
    model = small(features=features, residual=residual).eval()
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    model(images)[-1].square().sum().backward()
    assert images.grad.abs().sum() > 0
    images.grad = None
    nn.init.zeros_(model.stages[0].maps.weight)  # the first stage says nothing any more
    model(images)[-1].square().sum().backward()
    assert bool(images.grad.abs().sum() > 0) == features


@pytest.mark.parametrize("supervise", ["all", "last"])
def test_the_loss_is_where_it_was_asked_for(supervise):
    model, batch = small(supervise=supervise), a_batch()
    outputs = torch.rand(3, 2, 14, 8, 8, requires_grad=True)
    terms = model.loss(outputs, batch)
    terms["total"].backward()
    reached = [bool(stage.abs().sum() > 0) for stage in outputs.grad]
    assert reached == ([True] * 3 if supervise == "all" else [False, False, True])
    assert sorted(terms) == ([f"stage_{t}" for t in (1, 2, 3)] if supervise == "all" else ["stage_3"]) + ["total"]


def test_shared_stages_share_what_convolves_and_nothing_that_normalises():
    one, second, third = small(shared=True).stages
    assert third.convolutions is second.convolutions and third.maps is second.maps
    assert one.convolutions is not second.convolutions
    assert not {id(norm) for norm in second.norms} & {id(norm) for norm in third.norms}


def test_maps_start_as_loud_as_the_target():
    model = study.network(study.BOTH, study.PLAIN).eval()
    with torch.inference_mode():
        maps = model(torch.rand(8, 3, 64, 64))
    loud = maps.square().mean((1, 2, 3, 4)).sqrt() / model.loudness
    assert ((loud > 0.2) & (loud < 3)).all(), loud


def test_sizes_and_options_that_do_not_fit_are_told():
    with pytest.raises(CourseError, match="divisible by 4; got 30 x 32"):
        small()(torch.rand(1, 3, 30, 32))
    with pytest.raises(CourseError, match="supervise='first'"):
        small(supervise="first")
    with pytest.raises(CourseError, match="stages=0"):
        small(stages=0)


# --- watching ---------------------------------------------------------------------------------------------------------


def test_watching_changes_nothing_and_tells_what_backward_left():
    plain, watched, batch = small(shared=True), small(shared=True), a_batch()
    sizes = study.watch(watched)
    for model in (plain, watched):
        model.loss(model(batch.images), batch)["total"].backward()
    assert list(sizes) == ["first layer", "stage 1", "stage 2"]  # stage 3 has the weights of stage 2
    assert sizes["first layer"] == [pytest.approx(float(plain.stem[0].weight.grad.square().mean().sqrt()))]
    for one, other in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


# --- the study --------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch):
    """The study with trainings of a moment."""
    batches, scenes, short = study.pictures(0, 2), study.people("test", 3), {"losses": [1.0]}
    monkeypatch.setattr(study, "STEPS", 2)
    monkeypatch.setattr(study, "pictures", lambda seed: batches)
    monkeypatch.setattr(study, "people", lambda: scenes)
    monkeypatch.setattr(study, "short_run", lambda: short)


def test_a_study_goes_on_where_it_stopped(tiny, tmp_path, monkeypatch):
    file = tmp_path / "refinement.json"
    studies.save(file, {"choice": [{"rate": 1.0}]})
    study.main(["--arms", study.NEITHER, "--styles", study.RESIDUAL, "--seeds", "0", "--out", str(file)])
    (kept,) = studies.load(file)["runs"]
    trained = []
    one_run = study.one_run
    monkeypatch.setattr(study, "one_run", lambda *run: trained.append(run[:3]) or one_run(*run))
    asked = ["--styles", study.RESIDUAL, "--seeds", "0", "--out", str(file)]
    study.main(["--arms", study.BOTH, study.NEITHER, *asked])
    stored = studies.load(file)
    assert trained == [(study.BOTH, study.RESIDUAL, 0)] and stored["choice"] == [{"rate": 1.0}]
    assert [run["arm"] for run in stored["runs"]] == [study.BOTH, study.NEITHER] and stored["runs"][1] == kept
    study.main(["--arms", study.BOTH, study.NEITHER, *asked])
    assert len(trained) == 1
    run = stored["runs"][0]
    for name in ("pck@0.05", "pck@0.1", "pck@0.2", "mean_error"):
        assert len(run[name]) == study.STAGES
    assert list(run["losses"]) == [f"stage_{t}" for t in (1, 2, 3, 4)] and len(run["gradients"]) == 5


def test_what_is_stored_is_whole_and_of_this_code():
    stored = study.load()
    wanted = set(itertools.product(study.SEEDS, study.STYLES, study.ARMS))
    assert {(run["seed"], run["style"], run["arm"]) for run in stored["runs"]} >= wanted
    assert stored["arms"] == study.ARMS and stored["sizes"] == study.sizes() and stored["steps"] == study.STEPS
    kept = -(-study.STEPS // study.TRACE)
    for run in stored["runs"]:
        stages = 1 if run["arm"] == study.SINGLE else study.STAGES
        assert len(run["pck@0.2"]) == stages and all(0 <= score <= 1 for score in run["pck@0.2"])
        assert {len(values) for values in (*run["losses"].values(), *run["gradients"].values())} == {kept}
    chosen = {(one["style"], one["rate"]) for one in stored["choice"]}
    assert chosen == {(style, rate) for style in (study.PLAIN, study.RESIDUAL) for rate in study.CHOICE["rates"]}
