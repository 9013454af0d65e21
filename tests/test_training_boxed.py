"""People of crowds cut out by boxes: who is meant, where their joints are, the noise of boxes, and a training."""

from __future__ import annotations

import json
import math
import os
import signal
from dataclasses import replace

import pytest
import torch

from course_lib import geometry, models
from course_lib.datasets import pool, synthetic
from course_lib.errors import CourseError
from course_lib.pose import Crowd
from course_lib.skeletons import LSP
from course_lib.targets import proposals
from course_lib.targets.proposals import Proposals
from course_lib.training import sources, train
from course_lib.training.augment import NONE, Augment
from course_lib.training.boxed import SMALLEST, Boxed, cut
from course_lib.training.recipes import Recipe

SIZE = (32, 24)
CUT = pool.pool_size(SIZE)
NAMES = ("images", "joints", "visible", "labelled")
OPTIONS = {"stacks": 1, "width": 8, "depth": 2, "input_size": (32, 32)}
RECIPE = Recipe("boxes", model="alphapose_course", options=OPTIONS, data={"boxed": {}}, batch=4, steps=4, augment=NONE)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def crowds():
    """Two batches of crowded pictures."""
    walk = synthetic.crowds(3, seed="boxes", size=(96, 128), people=(2, 6))
    return [next(walk), next(walk)]


@pytest.fixture(scope="module")
def offsets():
    """Proposals of one atom: boxes a tenth too low, give or take."""
    mean, spread = torch.tensor([[[0.0, 0.1, 0.0, 0.1]]]), torch.eye(4)[None, None] * 0.05**2
    return Proposals(LSP, *(part.double() for part in (torch.zeros(1, 14, 2), torch.ones(1, 1), mean, spread)))


@pytest.fixture
def learned(offsets, tmp_path, monkeypatch):
    """The same, in the file that would ship."""
    file, load = tmp_path / "proposals.json", proposals.load
    file.write_text(json.dumps({"proposals": offsets.as_dict()}))
    monkeypatch.setattr(proposals, "load", lambda: load(file))
    return offsets


def source(crowds, count=8, seed=0, **options):
    return Boxed(lambda number: crowds[number % len(crowds)], count, SIZE, seed, **options)


def same(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in NAMES)


def place_of(crowd, joints, visible):
    """The picture, the person and the map crop -> picture of people (K, 2) who were cut out, by where they fit."""
    best = (math.inf, -1, -1, None)
    for picture in range(len(crowd)):
        for person in range(crowd.joints.shape[1]):
            both = (visible > 0) & (crowd.visible[picture, person] > 0)
            if int(both.sum()) < 4:
                continue
            here, there = joints[both].double(), crowd.joints[picture, person][both].double()
            around, about = here - here.mean(0), there - there.mean(0)
            scale = float(about.norm() / around.norm())
            error = float((around * scale - about).norm(dim=-1).max())
            if error < best[0]:
                shift = there.mean(0) - here.mean(0) * scale
                matrix = torch.cat([torch.eye(2).double() * scale, shift[:, None]], 1)
                best = (error, picture, person, matrix)
    return best


# --- whom a batch shows -----------------------------------------------------------------------------------------------


def test_a_batch_depends_on_seed_and_number_only(crowds, learned):
    for noise in ("none", "detector", "uniform"):
        first = source(crowds, noise=noise, padding=(1.0, 1.5))
        batches = [first(number) for number in (0, 1, 2)]
        again = source(crowds, noise=noise, padding=(1.0, 1.5))
        assert same(again(2), batches[2]) and same(again(0), batches[0])
        assert not torch.equal(batches[0].images, batches[2].images)  # the same crowd, but another number
        assert not torch.equal(source(crowds, seed=1, noise=noise, padding=(1.0, 1.5))(0).images, batches[0].images)
        assert batches[0].images.shape == (8, 3, *CUT) and batches[0].skeleton is LSP


def test_everybody_is_cut_out_before_anybody_is_a_second_time(crowds):
    boxes = crowds[0].boxes()
    able = (crowds[0].visible > 0).any(-1) & ((boxes[..., 2:] - boxes[..., :2]).amin(-1) >= SMALLEST)
    count = int(able.sum())
    assert count > 5
    batch = source(crowds, count=2 * count)(0)
    shown = [str(one.tolist()) for one in batch.joints[:, 0]]
    assert len(set(shown[:count])) == len(set(shown[count:])) == count and set(shown[:count]) == set(shown[count:])
    assert shown[:count] != shown[count:]


def test_the_first_is_meant_and_maps_back_to_the_picture(crowds):
    batch, boxes, compared = source(crowds, count=12)(0), crowds[0].boxes(), 0
    for row in range(12):
        error, picture, person, matrix = place_of(crowds[0], batch.joints[row, 0], batch.visible[row, 0])
        if person < 0:
            continue
        compared += 1
        assert error < 1e-3
        # the true box lies in the middle and, grown by 1.25 twice, fills the crop
        box = boxes[picture, person].double()
        middle = geometry.apply(matrix, torch.tensor([[CUT[1] / 2, CUT[0] / 2]]).double())[0]
        torch.testing.assert_close(middle, (box[:2] + box[2:]) / 2, rtol=0, atol=1e-3)
        share = (box[2:] - box[:2]) * 1.25 * pool.MARGIN / (float(matrix[0, 0]) * torch.tensor([CUT[1], CUT[0]]))
        assert float(share.max()) == pytest.approx(1, abs=1e-3)
        # everybody else who can be seen follows, in the pictures' order, and is where the picture shows them
        others = batch.joints[row, 1:][(batch.visible[row, 1:] > 0).any(-1)].double()
        own = [one for one in range(crowds[0].joints.shape[1]) if one != person]
        moved = geometry.apply(geometry.invert(matrix), crowds[0].joints[picture, own].double().flatten(0, 1))
        moved = moved.view(len(own), 14, 2)
        inside = ((moved >= 0) & (moved < torch.tensor([CUT[1], CUT[0]]))).all(-1)
        seen = ((crowds[0].visible[picture, own] > 0) & inside).any(-1)
        torch.testing.assert_close(others, moved[seen], rtol=0, atol=2e-3)
    assert compared > 8


def picture_of(boxes, size=(60, 80)):
    """One picture of people who are plain rectangles, one joint in each corner, each of a brightness of its own."""
    image, owners = torch.zeros(1, 3, *size), torch.full((1, *size), -1, dtype=torch.int8)
    joints, visible = torch.zeros(1, len(boxes), 14, 2), torch.zeros(1, len(boxes), 14, dtype=torch.long)
    for person, (x0, y0, x1, y1) in enumerate(boxes):
        image[0, :, y0:y1, x0:x1], owners[0, y0:y1, x0:x1] = (person + 1) / 4, person
        joints[0, person, :4] = torch.tensor([[x0, y0], [x1, y0], [x0, y1], [x1, y1]]).float()
        visible[0, person, :4] = 2
    return Crowd(image, joints, visible, torch.ones(1, *size), LSP, owners)


def test_crops_show_what_the_picture_shows():
    crowd = picture_of([(10, 10, 30, 50), (40, 5, 50, 25)])
    crowd.labelled[:, :, 60:] = 0
    which = torch.tensor([0, 0])
    batch = cut(crowd, which, torch.tensor([0, 1]), crowd.boxes()[0], (40, 20))
    for row, value in ((0, 0.25), (1, 0.5)):
        x0, y0, x1, y1 = batch.joints[row, 0, [0, 3]].round().int().flatten().tolist()
        assert (x0, y0, x1, y1) == (2, 4, 18, 36)  # a box of the crop's shape, a fifth of it margin
        inside = batch.images[row, :, y0 + 2 : y1 - 2, x0 + 2 : x1 - 2]
        assert torch.allclose(inside, torch.full_like(inside, value), atol=1e-5)
    assert batch.visible[0].any(-1).tolist() == [True] and batch.owners is None
    beyond = cut(crowd, which[:1], torch.tensor([1]), torch.tensor([[50.0, 0, 90, 80]]), (40, 20))
    assert float(beyond.labelled[0, 10, 8]) == 0 and float(beyond.labelled[0, 10, 19]) == 1  # none beyond the picture
    assert beyond.visible[0, 0].sum() == 0 or bool((beyond.joints[0, 0][beyond.visible[0, 0] > 0] >= 0).all())
    bytes_of = replace(crowd, images=(crowd.images * 255).round().byte())
    from_bytes = cut(bytes_of, which, torch.tensor([0, 1]), crowd.boxes()[0], (40, 20))
    torch.testing.assert_close(from_bytes.images, batch.images, rtol=0, atol=2 / 255)


def test_only_joints_in_the_crop_are_labelled():
    crowd = picture_of([(10, 10, 30, 50), (28, 12, 48, 48), (60, 10, 75, 50)])
    box = torch.tensor([[14.0, 10.0, 34.0, 40.0]])
    batch = cut(crowd, torch.tensor([0]), torch.tensor([1]), box, (30, 20))
    assert batch.joints.shape[1] == 2  # nobody needs room for the third
    size = torch.tensor([20.0, 30.0])
    inside = ((batch.joints >= 0) & (batch.joints < size)).all(-1)
    assert torch.equal(batch.visible[..., :4] > 0, inside[..., :4]) and not batch.visible[..., 4:].any()
    assert bool(inside[0, 0, 0]) and not bool(inside[0, 0, 1])  # the second's left side is in it, its right one is not
    hidden = replace(crowd, visible=crowd.visible * torch.tensor([1, 0, 1])[None, :, None])
    assert not cut(hidden, torch.tensor([0]), torch.tensor([1]), box, (30, 20)).visible[0, 0].any()


def test_who_is_too_small_or_unlabelled_is_not_cut_out():
    crowd = picture_of([(10, 10, 30, 50), (40, 5, 43, 25), (50, 30, 70, 50)])
    crowd.visible[0, 2] = 0
    batch = Boxed(lambda number: crowd, 5, SIZE, 0)(0)
    assert all(torch.equal(one, batch.joints[0, 0]) for one in batch.joints[:, 0])
    nobody = replace(crowd, visible=torch.zeros_like(crowd.visible))
    unseen = replace(crowd, owners=torch.full_like(crowd.owners, -1))
    for empty in (nobody, unseen, picture_of([])):
        with pytest.raises(CourseError, match="nobody who could be cut out"):
            Boxed(lambda number, empty=empty: empty, 5, SIZE, 0)(0)


# --- boxes ------------------------------------------------------------------------------------------------------------


def sides_of(batch):
    """Of people who are rectangles: (n, 4) their box in the crop, in units of the crop."""
    return torch.cat([batch.joints[:, 0, 0], batch.joints[:, 0, 3]], 1) / torch.tensor([CUT[1], CUT[0]] * 2)


@pytest.mark.parametrize(("padding", "low", "high"), [(1.3, 1.3, 1.3), (1, 1.0, 1.0), ((1.0, 1.5), 1.0, 1.5)])
def test_every_crop_draws_its_own_padding(padding, low, high):
    crowd = picture_of([(10, 10, 34, 42)])  # the shape of the crop
    sides = sides_of(Boxed(lambda number: crowd, 200, SIZE, 0, padding=padding)(0))
    grown = 1 / (pool.MARGIN * (sides[:, 2] - sides[:, 0]))
    assert low - 1e-3 < float(grown.min()) <= low + 0.02 and high - 0.02 < float(grown.max()) < high + 1e-3
    assert float(grown.mean()) == pytest.approx((low + high) / 2, abs=0.03)
    torch.testing.assert_close((sides[:, :2] + sides[:, 2:]) / 2, torch.full((200, 2), 0.5), rtol=0, atol=1e-4)


def test_noise_moves_boxes_as_was_learned(learned):
    crowd = picture_of([(20, 10, 44, 42)], (60, 80))
    middles = {}
    for noise in ("none", "detector", "uniform"):
        sides = sides_of(Boxed(lambda number: crowd, 300, SIZE, 0, noise=noise)(0))
        middles[noise] = ((sides[:, :2] + sides[:, 2:]) / 2 - 0.5) / (sides[:, 2:] - sides[:, :2])  # in true sides
    assert float(middles["none"].abs().max()) < 1e-4
    # boxes a tenth too low show the person a tenth too high
    assert middles["detector"].mean(0).tolist() == pytest.approx([0.0, -0.1], abs=0.007)
    assert middles["uniform"].mean(0).tolist() == pytest.approx([0.0, 0.0], abs=0.007)
    for noise in ("detector", "uniform"):  # the middle of two sides that are 0.05 off each
        assert middles[noise].std(0).tolist() == pytest.approx([0.035, 0.035], rel=0.15)


def test_true_boxes_need_no_proposals(crowds, monkeypatch):
    def missing():
        raise CourseError("there are no proposals")

    monkeypatch.setattr(proposals, "load", missing)
    assert source(crowds)(0).images.shape[0] == 8
    for noise in ("detector", "uniform"):
        with pytest.raises(CourseError, match="there are no proposals"):
            source(crowds, noise=noise)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        *(({"padding": bad}, "positive number or a range") for bad in (0, -1, math.nan, (2, 1), (0, 1), (1, math.inf))),
        *(({"padding": bad}, "positive number or a range") for bad in ("wide", None, (1.0,), (1, 2, 3))),
        ({"noise": "detectors"}, "did you mean 'detector'"),
    ],
)
def test_impossible_boxes_are_refused(crowds, options, says):
    with pytest.raises(CourseError, match=says) as caught:
        source(crowds, **options)
    assert "\n" not in str(caught.value)


# --- a source of data, and a training ---------------------------------------------------------------------------------


@pytest.fixture
def small_pictures(monkeypatch, learned):
    monkeypatch.setattr(sources, "PICTURE", (48, 64))
    return learned


def mixture(recipe=RECIPE, network=None):
    network = network or models.create(recipe.model, **recipe.options)
    return sources.mixture(recipe, network, torch.device("cpu"), recipe.batch)


def test_people_in_boxes_stand_in_the_pictures_of_crowds(small_pictures):
    recipe = replace(RECIPE, batch=6, data={"boxed": {"people": [2, 4], "noise": "detector", "padding": [1.0, 1.2]}})
    mixed = mixture(recipe)
    made = mixed[3][0]
    walk = synthetic.crowds(2, seed="0 crowd", size=(48, 64), people=(2, 4), start=3)  # 6 people of 2 pictures
    crowd = next(walk)
    expected = Boxed(lambda number: crowd, 6, (32, 32), 0, "detector", (1.0, 1.2))(3)
    assert same(made, expected) and made.images.shape == (6, 3, *pool.pool_size((32, 32)))
    finished = mixed.finish([made], generator())
    assert finished.images.shape == (6, 3, 32, 32) and isinstance(finished, Crowd)
    # the network sees the middle of the crop, where the box grown by its padding is
    torch.testing.assert_close(
        finished.joints[:, 0] - 16, (made.joints[:, 0] - made.size[0] / 2) * 32 * pool.MARGIN / made.size[0]
    )


def test_kinds_of_data_are_kept_apart(small_pictures):
    single = models.create("hourglass_course", stacks=1, width=8, depth=2, input_size=(32, 32))
    many = models.create("paf_course", stages=1, width=4, hidden=4, input_size=(32, 32))
    for network, data, says in (
        (None, {"boxed": {"share": 0.5}, "synthetic": {}}, "'boxed' does not mix with single people or other kinds"),
        (None, {"boxed": {"share": 0.5}, "crowd": {}}, "'crowd' does not mix with single people or other kinds"),
        (None, {"crowd": {}}, "looks for one person of a crowd, so it is trained on 'boxed'; got crowd"),
        (None, {"synthetic": {}}, "looks for one person of a crowd, so it is trained on 'boxed'; got synthetic"),
        (single, {"boxed": {}}, "looks for one person, so it is not trained on 'boxed'; got boxed"),
        (many, {"boxed": {}}, "looks for everybody, so it is trained on 'crowd'; got boxed"),
    ):
        with pytest.raises(CourseError, match=says) as caught:
            mixture(replace(RECIPE, data=data), network)
        assert "\n" not in str(caught.value)


def bytes_of(module):
    return {name: value.numpy().tobytes() for name, value in module.state_dict().items()}


@pytest.mark.parametrize(
    ("pooled", "settings"), [(0, {"noise": "detector", "padding": (1.0, 1.5)}), (2, {"noise": "uniform"})]
)
def test_a_training_goes_on_to_the_same_bytes(small_pictures, tmp_path, pooled, settings):
    strong = Augment(rotation=60, geometry=1.0, patches=2, patch=0.6, noise=0.02)
    recipe = replace(RECIPE, pool=pooled, augment=strong, chunk=2, data={"boxed": settings | {"people": (2, 3)}})

    def run(**options):
        return train(recipe, device="cpu", progress=False, **options)

    whole = run()
    interrupt = {"validate": lambda _: os.kill(os.getpid(), signal.SIGTERM) or {}, "validate_every": 2}
    assert run(out=tmp_path, **interrupt).header["steps"] == 2
    again = run(out=tmp_path)
    assert bytes_of(again.model) == bytes_of(whole.model) and again.header["images"] == 16
    assert set(whole.history) >= {"loss", "maps", "centred"}
