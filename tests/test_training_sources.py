"""Mixtures of rendered people and photographs: shares, order, residence, streaming, and bad settings."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from course_lib import datasets
from course_lib.datasets import pool, synthetic
from course_lib.datasets.pool import Pool
from course_lib.errors import CourseError
from course_lib.models import create
from course_lib.skeletons import LSP
from course_lib.training import benchmarks, sources
from course_lib.training.augment import NONE
from course_lib.training.recipes import WORLDS, Recipe

MIXED = {"synthetic": {}, "lspet": {"share": 0.5, "split": "train"}}
RECIPE = Recipe("mixed", model="hourglass_course", data=MIXED, batch=6, augment=NONE, photo_augment=NONE)
SIZE = (32, 32)


@pytest.fixture(autouse=True)
def public(photographs, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(photographs))


@pytest.fixture(scope="module")
def model():
    return create("hourglass_course", stacks=1, width=8, depth=2, input_size=SIZE)


def mixture(model, recipe=RECIPE, **options):
    return sources.mixture(recipe, model, torch.device("cpu"), recipe.batch, **options)


def finished(mixed, number, seed=0):
    return mixed.finish(mixed[number], torch.Generator().manual_seed(seed))


def test_a_batch_holds_every_source_in_its_share(model):
    mixed = mixture(model)
    assert [len(part) for part in mixed[0]] == [3, 3]
    batch = finished(mixed, 0)
    assert batch.images.shape == (6, 3, *SIZE) and batch.joints.shape == (6, 14, 2)
    assert batch.images.min() >= 0 and batch.images.max() <= 1


@pytest.mark.parametrize(
    ("data", "counts"),
    [
        ({"synthetic": {}}, [6]),
        ({"synthetic": {}, "lspet": {}}, [3, 3]),
        ({"synthetic": {}, "lspet": {"share": 0.9}}, [1, 5]),
        ({"synthetic": {"share": 1.0}, "lspet": {"share": 0}}, [6, 0]),
        ({"lspet": {"share": 1}}, [6]),
        ({"synthetic": {}, "lspet": {}, "mpii": {"share": 0.5}}, [2, 1, 3]),
    ],
)
def test_shares_make_a_whole_batch(data, counts):
    assert list(sources.shares(replace(RECIPE, data=data), 6).values()) == counts


@pytest.mark.parametrize(
    "data",
    [{}, {"synthetic": {"share": 0.5}}, {"synthetic": {}, "lspet": {"share": 1.5}}, {"synthetic": {"share": "half"}}],
)
def test_shares_that_make_no_whole_are_refused(model, data):
    with pytest.raises(CourseError, match="the shares of its data should lie in"):
        mixture(model, replace(RECIPE, data=data))


def test_the_easy_world_is_a_source_of_its_own_with_other_people(model):
    mixed = mixture(model, replace(RECIPE, data={"synthetic": {}, "easy": {"share": 0.5}}))
    hard, easy = mixed[0]
    told = synthetic.Settings(**WORLDS["easy"])
    expected = next(synthetic.stream(3, seed="0 easy", size=SIZE, settings=told))
    assert torch.equal(easy.images, expected.images) and torch.equal(easy.joints, expected.joints)
    assert torch.equal(hard.images, next(synthetic.stream(3, seed=0, size=SIZE)).images)
    changed = mixture(model, replace(RECIPE, data={"easy": {"turn": 180.0}}))[0][0]
    assert not torch.equal(changed.joints[:3], easy.joints)  # what a recipe says comes before what the world says
    assert benchmarks.decisive(("synthetic", "easy")) == "single-val"
    assert benchmarks.decisive(("easy", "lspet")) == "lspet-val"


def test_without_augmentation_the_network_sees_what_it_is_asked_at_test_time(model):
    """The pool's wider crop, shrunk to the network's view, is the crop that `estimate` would cut."""
    recipe = replace(RECIPE, data={"lspet": {}}, batch=24)
    batch = finished(mixture(model, recipe), 0)
    records = datasets.read("lspet", datasets.find("lspet"), "train")
    tested = pool.Pool.of(records, LSP, SIZE, margin=1.0)
    rows = pool.order(24, 0, 0, 24)
    both = (batch.visible > 0) & (tested.visible[rows] > 0)
    assert both.sum() > 200
    assert (batch.joints - tested.joints[rows])[both].abs().max() < 1e-3
    difference = (batch.images - tested.images[rows].float() / 255).abs().mean()
    assert difference < 0.03  # resampled twice, and from JPEG


def test_a_walk_passes_everybody_once_a_round_and_can_begin_anywhere():
    walk = pool.order(10, seed=3, first=0, length=30)
    for lap in walk.split(10):
        assert lap.sort().values.tolist() == list(range(10))
    assert walk[:10].tolist() != walk[10:20].tolist()
    assert pool.order(10, seed=3, first=7, length=12).tolist() == walk[7:19].tolist()
    assert pool.order(10, seed=4, first=0, length=10).tolist() != walk[:10].tolist()


def test_chunks_of_a_batch_take_the_same_photographs_as_the_whole(model):
    recipe = replace(RECIPE, data={"lspet": {}})
    whole = mixture(model, recipe)[5][0]
    halves = sources.mixture(recipe, model, torch.device("cpu"), 3)
    assert torch.equal(whole.images, torch.cat([halves[10][0].images, halves[11][0].images]))


@pytest.mark.parametrize("workers", [0, 2])
def test_streaming_from_disk_gives_what_the_pool_gives(model, monkeypatch, workers):
    resident = mixture(model)
    monkeypatch.setattr(sources, "RESIDENT_LIMIT", 1000)
    streamed = mixture(model, workers=workers)
    assert isinstance(resident.parts[1].make.pool, Pool) and not hasattr(streamed.parts[1].make, "pool")
    assert resident.workers == 0 and mixture(model).workers == sources.WORKERS
    walk = streamed.walk(iter([3, 4]))
    for number in (3, 4):
        for one, other in zip(next(walk), resident[number], strict=True):
            assert torch.equal(one.images, other.images) and torch.equal(one.joints, other.joints)
            assert torch.equal(one.visible, other.visible)


def test_a_pool_keeps_bytes(model):
    made = mixture(model, replace(RECIPE, data={"lspet": {}})).parts[0].make
    assert made.pool.images.dtype == torch.uint8
    assert tuple(made.pool.images.shape[-2:]) == pool.pool_size(SIZE) == (48, 48)


def test_missing_photographs_and_unknown_names_are_said_in_one_sentence(model, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setattr("course_lib.paths.DATA", tmp_path)
    with pytest.raises(CourseError, match="trains on the data set 'lspet', which is not on this machine"):
        mixture(model)
    with pytest.raises(CourseError, match="'lspett'"):
        mixture(model, replace(RECIPE, data={"lspett": {}}))


def test_batches_that_end_are_noticed(model):
    few = list(mixture(model, replace(RECIPE, data={"synthetic": {}}))[0])
    given = mixture(model, batches=lambda start: iter(few))
    assert len(given[0][0]) == 6
    with pytest.raises(CourseError, match="ended before number 1"):
        given[1]
