"""Training on crowds: augmented as single people are, rendered or from a pool, begun from others, and settled."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from training_helpers import RECIPE, Tiny, stream

from course_lib import checkpoints, hub, models, paths
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.pose import Batch, Crowd
from course_lib.training import provenance, recipes, sources, train
from course_lib.training.augment import NONE, Augment, augment
from course_lib.training.recipes import Recipe

SIZE = (32, 32)
STRONG = Augment(rotation=60, scale=0.4, shift=0.2, geometry=1.0, patches=2, patch=0.6, noise=0.02)
OPTIONS = {"stages": 1, "width": 4, "hidden": 4, "input_size": SIZE}
CROWDS = Recipe("crowds", model="paf_course", options=OPTIONS, data={"crowd": {}}, batch=3, steps=4, augment=NONE)
NAMES = ("images", "joints", "visible", "labelled", "owners")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def crowd() -> Crowd:
    return next(synthetic.crowds(5, seed=1, size=(48, 64), people=(1, 5)))


@pytest.fixture(scope="module")
def model():
    return models.create("paf_course", **OPTIONS)


def mixture(model, recipe=CROWDS):
    return sources.mixture(recipe, model, torch.device("cpu"), recipe.batch)


def same(one, other) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in NAMES if hasattr(one, name))


# --- augmentation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "zoom"), [(None, 1.0), ((32, 40), 1.3)])
@pytest.mark.parametrize("seed", [0, 1])
def test_everybody_in_a_crowd_is_moved_as_a_single_person_would_be(crowd, size, zoom, seed):
    after = augment(crowd, generator(seed), STRONG, size, zoom)
    assert after.joints.shape == crowd.joints.shape and not torch.equal(after.joints, crowd.joints)
    for person in range(crowd.joints.shape[1]):
        alone = Batch(crowd.images, crowd.joints[:, person], crowd.visible[:, person], crowd.skeleton)
        one = augment(alone, generator(seed), STRONG, size, zoom)
        assert torch.equal(after.images, one.images) and torch.equal(after.visible[:, person], one.visible)
        torch.testing.assert_close(after.joints[:, person], one.joints, atol=1e-4, rtol=0)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_what_nobody_labelled_moves_with_the_picture(crowd, flip):
    """Where the picture is white it is labelled; what comes into view from outside is black, and nobody is there."""
    labelled = torch.zeros(5, 48, 64)
    labelled[:, 10:30, 5:50] = 1
    white = replace(crowd, images=labelled[:, None].expand(-1, 3, -1, -1).clone(), labelled=labelled)
    turned = Augment(**{**vars(NONE), "rotation": 60, "scale": 0.4, "shift": 0.2, "geometry": 1.0, "flip": flip})
    inside = augment(replace(white, images=torch.ones_like(white.images)), generator(), turned).images[:, 0]
    after = augment(white, generator(), turned)
    assert 0.02 < float((inside == 0).float().mean()) < 0.6
    torch.testing.assert_close(after.labelled, after.images[:, 0] + 1 - inside, atol=1e-4, rtol=0)
    assert bool((after.labelled[inside == 0] == 1).all())


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_whom_a_pixel_shows_moves_with_the_picture(crowd, flip):
    """People in plain colours: after the move their colours are where their numbers are, but for blurred edges."""
    colours = torch.linspace(0.1, 0.9, int(crowd.owners.max()) + 2)
    painted = replace(crowd, images=colours[crowd.owners.long() + 1][:, None].expand(-1, 3, -1, -1).clone())
    turned = Augment(**{**vars(NONE), "rotation": 60, "scale": 0.4, "shift": 0.2, "geometry": 1.0, "flip": flip})
    after = augment(painted, generator(), turned, (40, 60))
    assert after.owners.dtype == torch.int8 and after.owners.shape == (5, 40, 60)
    white = replace(painted, images=torch.ones_like(painted.images))
    inside = augment(white, generator(), turned, (40, 60)).images[:, 0]
    assert bool((after.owners[inside == 0] == -1).all()) and int((inside == 0).sum()) > 50
    told = colours[after.owners.long() + 1]
    agree = ((after.images[:, 0] - told).abs() < 1e-3)[inside == 1]
    assert float(agree.float().mean()) > 0.8
    shown = after.owners >= 0
    assert bool(shown.any()) and float((((after.images[:, 0] - told).abs() < 1e-3)[shown]).float().mean()) > 0.5


def test_a_patch_shows_nobody(crowd):
    cover = Augment(**{**vars(NONE), "patches": 3, "patch": 1.0})
    after = augment(crowd, generator(1), cover)
    changed = ((after.images - crowd.images).abs() > 1e-3).any(1)
    assert 0.02 < float(changed.float().mean()) < 0.9
    assert bool((after.owners[changed] == -1).all())
    assert float((after.owners == crowd.owners)[~changed].float().mean()) > 0.9
    assert not torch.equal(after.boxes(), crowd.boxes())


def test_the_crowd_that_is_augmented_is_left_alone(crowd):
    kept = replace(crowd, **{name: getattr(crowd, name).clone() for name in NAMES})
    first, second = (augment(crowd, generator(3), STRONG) for _ in range(2))
    assert same(first, second) and same(crowd, kept)
    assert augment(crowd, generator(), NONE) is crowd


def test_crowds_of_nobody_are_augmented(crowd):
    nobody = replace(crowd, joints=crowd.joints[:, :0], visible=crowd.visible[:, :0])
    after = augment(nobody, generator(), STRONG)
    assert after.joints.shape == (5, 0, 14, 2) and torch.equal(after.images, augment(crowd, generator(), STRONG).images)
    unknown = replace(crowd, joints=torch.full_like(crowd.joints, torch.nan), visible=torch.zeros_like(crowd.visible))
    assert not augment(unknown, generator(), STRONG).visible.any()
    assert len(augment(crowd[:0], generator(), STRONG)) == 0


def test_half_a_body_is_of_one_person_only(crowd):
    with pytest.raises(CourseError, match="of one person only; for crowds set half_body to 0"):
        augment(crowd, generator(), replace(STRONG, half_body=0.5))


# --- sources ----------------------------------------------------------------------------------------------------------


def test_crowds_are_a_world_of_their_own(model):
    made = mixture(model)[2][0]
    assert same(made, next(synthetic.crowds(3, seed="0 crowd", size=SIZE, people=(1, 12), start=2)))
    few = mixture(model, replace(CROWDS, seed=7, data={"crowd": {"people": [2, 2], "occluders": 0.0}}))[0][0]
    settings = synthetic.Settings(occluders=0.0)
    assert same(few, next(synthetic.crowds(3, seed="7 crowd", size=SIZE, people=(2, 2), settings=settings)))
    assert few.joints.shape[1] == 2 and mixture(model).finish([few], generator()).images.shape == (3, 3, *SIZE)


@pytest.mark.parametrize("name", ["crowd", "synthetic"])
def test_a_pool_of_bytes_gives_the_same_pictures(model, name):
    recipe, single = replace(CROWDS, data={name: {}}), models.create("hourglass_course", width=8, input_size=SIZE)
    network = model if name == "crowd" else single
    fresh, pooled = mixture(network, recipe), mixture(network, replace(recipe, pool=2))
    for number in (0, 1, 2, 5):
        batch, kept = fresh.finish(fresh[number % 2], generator()), pooled.finish(pooled[number], generator())
        assert same(batch, kept) and kept.images.dtype == torch.float32
    assert [one.images.dtype for one in pooled.parts[0].make.kept] == [torch.uint8] * 2


def test_a_pool_is_not_changed_by_what_is_made_of_it(model):
    mixed = mixture(model, replace(CROWDS, pool=1, augment=STRONG))
    first = mixed.finish(mixed[0], generator())
    assert same(first, mixed.finish(mixed[1], generator())) and not same(first, mixed.finish(mixed[2], generator(1)))


def test_crowds_and_single_people_are_kept_apart(model):
    single = models.create("hourglass_course", width=8, input_size=SIZE)
    for network, data, says in (
        (model, {"crowd": {"share": 0.5}, "synthetic": {}}, "'crowd' does not mix with single people"),
        (model, {"synthetic": {}}, "looks for everybody, so it is trained on 'crowd'; got synthetic"),
        (single, {"crowd": {}}, "looks for one person, so it is not trained on 'crowd'; got crowd"),
    ):
        with pytest.raises(CourseError, match=says) as caught:
            mixture(network, replace(CROWDS, data=data))
        assert "\n" not in str(caught.value)


# --- a training -------------------------------------------------------------------------------------------------------


def run(recipe=CROWDS, **options):
    return train(recipe, **{"device": "cpu", "progress": False, **options})


def bytes_of(module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("pool", [0, 2])
def test_a_training_on_crowds_goes_on_to_the_same_bytes(tmp_path, pool):
    recipe = replace(CROWDS, pool=pool, augment=STRONG, batch=4, chunk=2)
    whole = run(recipe)
    interrupt = {"validate": lambda _: os.kill(os.getpid(), signal.SIGTERM) or {}, "validate_every": 2}
    assert run(recipe, out=tmp_path, **interrupt).header["steps"] == 2
    again = run(recipe, out=tmp_path)
    assert bytes_of(again.model) == bytes_of(whole.model) and again.header["images"] == 16
    assert again.header["data"] == {"crowd": {}}


class Settling(Tiny):
    """Learns, in the end, the mean of some more batches."""

    def __init__(self, few: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.few, self.shown = few, []

    def settle(self, batches) -> None:
        self.shown = list(islice(batches, 3))
        if self.few:
            raise CourseError("there is too little to learn from")
        self.mean.copy_(torch.stack([batch.images.mean() for batch in self.shown]).mean())


def settling(few=False):
    torch.manual_seed(0)
    return Settling(few)


def test_a_model_settles_at_the_end_on_what_would_come_next(tmp_path):
    recipe = replace(RECIPE, augment=NONE)
    trained = run(recipe, model=settling(), batches=stream, steps=5, out=tmp_path)
    expected = list(islice(stream(5), 3))
    assert all(torch.equal(a.images, b.images) for a, b in zip(trained.model.shown, expected, strict=True))
    weights = checkpoints.load_into(tmp_path / "tiny" / "tiny.safetensors", other := settling())
    assert weights["steps"] == 5 and float(other.mean) == float(trained.model.mean) > 0.4


def test_after_an_interrupt_it_settles_as_if_there_had_been_none(tmp_path):
    whole = run(RECIPE, model=settling(), batches=stream, steps=5)

    def interrupting(start):
        for step, batch in enumerate(stream(start), start):
            if step == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    stopped = run(RECIPE, model=settling(), batches=interrupting, steps=5, out=tmp_path)
    assert stopped.stopped and not stopped.model.shown and float(stopped.model.mean) == 0
    again = run(RECIPE, model=settling(), batches=stream, steps=5, out=tmp_path)
    assert bytes_of(again.model) == bytes_of(whole.model)
    assert all(torch.equal(a.images, b.images) for a, b in zip(again.model.shown, whole.model.shown, strict=True))


def test_chunks_settle_on_further_batches_too():
    trained = run(replace(RECIPE, augment=NONE, chunk=2), model=settling(), batches=stream, steps=3)
    expected = list(islice(stream(6), 3))  # three steps took two chunks each
    assert all(torch.equal(a.images, b.images) for a, b in zip(trained.model.shown, expected, strict=True))


@pytest.mark.parametrize("enough", [True, False])
def test_who_cannot_settle_keeps_what_was_trained(tmp_path, caplog, enough):
    batches = stream if enough else list(islice(stream(0), 2))
    trained = run(RECIPE, model=settling(few=True), batches=batches, steps=3, out=tmp_path)
    assert "there is too little to learn from; the model was trained by gradients alone" in caplog.text
    assert trained.header["steps"] == 3 and (tmp_path / "tiny" / "tiny.safetensors").exists()


# --- where it begins --------------------------------------------------------------------------------------------------


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A single-person network among the checkpoints that ship, and the file."""
    monkeypatch.setattr(paths, "CHECKPOINTS", tmp_path)
    torch.manual_seed(5)
    header = {"recipe": "hourglass_course", "data": {}, "steps": 9, "images": 100, "seed": 0, "device": "cpu"}
    header |= {"scores": {}, "date": "2026-01-31"}
    single = models.create("hourglass_course", skeleton="lsp")
    checkpoints.save(tmp_path / "hourglass_course.safetensors", single, header)
    return single, tmp_path / "hourglass_course.safetensors"


def test_a_training_begins_from_another_network_and_says_so(shipped, tmp_path):
    single, file = shipped
    recipe = replace(CROWDS, start="hourglass_course", learning_rate=1e-12, weight_decay=0.0)
    trained = run(recipe, steps=1, out=tmp_path / "runs")
    for own, first in zip(trained.model.trunk.network.parameters(), single.parameters(), strict=True):
        torch.testing.assert_close(own, first.half().float(), rtol=0, atol=1e-6)
    start = trained.header["start"]
    assert start == provenance.as_start(file, checkpoints.read_header(file)) and start["images"] == 100
    written = checkpoints.read_header(tmp_path / "runs" / "crowds" / "crowds.safetensors")
    assert written["start"] == start and provenance.images_in_all(written) == 103
    assert provenance.images_of_recipe(written) == 3


def test_the_furthest_weights_may_be_another_networks(shipped, tmp_path):
    _, file = shipped
    recipe = replace(CROWDS, start="hourglass_course")
    assert provenance.furthest(recipe, tmp_path / "runs", "hourglass_course", []) == (file, checkpoints.verify(file))
    assert provenance.furthest(recipe, tmp_path / "runs", recipe.name, []) is None
    run(recipe, steps=1, out=tmp_path / "runs")
    own, header = provenance.furthest(recipe, tmp_path / "runs", recipe.name, [])
    assert own == tmp_path / "runs" / "crowds" / "crowds.safetensors" and header["recipe"] == "crowds"
    wider = replace(recipe, options={**OPTIONS, "width": 8}, start="crowds")
    assert provenance.furthest(wider, tmp_path / "runs", "crowds", []) is None  # the same kind, but another size


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"skeleton": "mpii"}, "was trained for skeleton 'lsp'"),
        ({"model": "paf", "options": {**OPTIONS, "stages": 1}}, "holds weights of 'hourglass_course'"),
        ({"start": "nobody"}, "there is no checkpoint"),
    ],
)
def test_a_start_that_does_not_fit_ends_with_one_sentence(shipped, change, says):
    with pytest.raises(CourseError, match=says) as caught:
        run(replace(CROWDS, **{"start": "hourglass_course", **change}))
    assert "\n" not in str(caught.value)


def test_every_recipe_begins_from_what_its_network_can_take(tmp_path):
    shipped = checkpoints.read_header(paths.checkpoint("hourglass_course"))
    for recipe in map(recipes.get, recipes.names()):
        if recipe.start.startswith(hub.PREFIX):
            assert hub.card(recipe.start.removeprefix(hub.PREFIX)).builder == recipe.model
            continue
        origin = recipes.RECIPES.get(Path(recipe.start).stem)
        if origin is None:
            assert not recipe.start
            continue
        begun = models.create(recipe.model, skeleton=recipe.skeleton, **recipe.options)
        before = models.create(origin.model, skeleton=origin.skeleton, **origin.options)
        header = shipped | {"model": origin.model, "options": origin.options, "skeleton": origin.skeleton}
        checkpoints.save(tmp_path / "origin.safetensors", before, header)
        assert begun.begin_from(tmp_path / "origin.safetensors")["model"] == origin.model
        first = before.sppe if hasattr(before, "sppe") else before  # the first layer's weights have arrived
        layer = next(value for value in first.state_dict().values() if value.ndim == 4).half().float()
        arrived = [value for value in begun.state_dict().values() if value.shape == layer.shape]
        assert any(bool((value == layer).all()) for value in arrived), recipe.name
