"""What networks that look for everybody share: nobody there, no room, mirrored people, and where they begin."""

import math
from dataclasses import replace

import pytest
import torch
from deepcut_helpers import teach

from course_lib import checkpoints, models
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.models.hourglass import HourglassTrunk, StackedHourglass, hourglass_course
from course_lib.models.paf import Answer
from course_lib.pose import Crowd
from course_lib.skeletons import LSP
from course_lib.training.augment import NONE, augment

SIZE = (64, 64)
SMALL = {
    "deepcut_course": {"width": 8, "input_size": SIZE},
    "paf": {"stages": 2, "groups": ((4,), (8,), (8,)), "feature_channels": (8, 8), "width": 8, "hidden": 8},
    "paf_course": {"stages": 2, "width": 8, "hidden": 8, "input_size": SIZE},
}
ON_HOURGLASS = ("deepcut_course", "paf_course")
HEADER = {"recipe": "test", "data": {}, "steps": 0, "images": 0, "seed": 0, "device": "cpu", "scores": {}}
every_model = pytest.mark.parametrize("name", SMALL)


def small(name, skeleton="lsp", seed=0, **options):
    torch.manual_seed(seed)
    model = models.create(name, skeleton, **{**SMALL[name], **options})
    if name == "deepcut_course":
        teach(model.pairs)
    return model


@pytest.fixture(scope="module")
def crowd():
    return next(synthetic.crowds(3, seed=2, size=SIZE, people=(1, 4)))


def without(crowd, people=0):
    """The same pictures, said to have nobody in them, with room for so many."""
    room = (len(crowd), people, 14)
    return replace(crowd, joints=torch.full((*room, 2), math.nan), visible=torch.zeros(room, dtype=torch.long))


def losses_of(model, crowd):
    terms = model.loss(model(crowd.images), crowd)
    assert all(bool(term.isfinite()) for term in terms.values())
    return {name: float(term.detach()) for name, term in terms.items()}


@every_model
def test_nobody_is_something_to_be_learned(name, crowd):
    model = small(name).eval()
    empty = losses_of(model, without(crowd))
    assert empty == losses_of(model, without(crowd, 3)) and empty["total"] > 0
    far = replace(crowd, joints=crowd.joints + 1000.0)
    assert losses_of(model, far) == pytest.approx(empty, rel=1e-6)
    model.train().loss(model(crowd.images), without(crowd))["total"].backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


@every_model
def test_room_and_the_order_of_people_change_nothing(name, crowd):
    model = small(name).eval()
    expected = losses_of(model, crowd)
    assert losses_of(model, crowd.with_room(9)) == pytest.approx(expected, rel=1e-6)
    turned = replace(crowd, joints=crowd.joints.flip(1), visible=crowd.visible.flip(1))
    assert losses_of(model, turned) == pytest.approx(expected, rel=1e-5)


@every_model
def test_crowds_of_different_size_count_as_one_batch(name, crowd):
    model = small(name).eval()
    more = next(synthetic.crowds(3, seed=3, size=SIZE, people=(5, 7)))
    assert more.joints.shape[1] != crowd.joints.shape[1]
    whole = losses_of(model, Crowd.cat([crowd, more, without(crowd)]))
    asked = [term for term in whole if term not in ("offsets", "others", "total")]  # those are means over discs
    for term in asked:
        parts = [losses_of(model, part)[term] for part in (crowd, more, without(crowd))]
        assert whole[term] == pytest.approx(sum(parts) / 3, rel=1e-4)


@every_model
@pytest.mark.parametrize("kind", [torch.float32, torch.bool])
def test_where_nobody_labelled_anybody_nothing_is_asked(name, kind, crowd):
    """Of cells that are half covered half is asked."""
    model = small(name).eval()
    labelled = torch.ones(3, *SIZE)
    labelled[:, :, :24], labelled[:, :, 24:26] = 0, 0
    part = replace(without(crowd), labelled=labelled.to(kind))
    with torch.no_grad():
        outputs = model(crowd.images)
    outputs = type(outputs)(*(tensor.clone() for tensor in outputs))
    expected = model.loss(outputs, part)["total"]
    assert 0 < float(expected) < float(model.loss(outputs, without(crowd))["total"])
    for tensor in outputs:
        tensor[..., :6] += 3.0
    assert torch.equal(model.loss(outputs, part)["total"], expected)
    for tensor in outputs:
        tensor[..., 6] += 3.0
    assert not torch.equal(model.loss(outputs, part)["total"], expected)


@pytest.mark.parametrize("name", ["paf", "paf_course"])
def test_fields_of_a_mirrored_crowd_are_the_mirrored_fields(name, crowd):
    model = small(name)
    mirrored = augment(crowd, torch.Generator().manual_seed(0), replace(NONE, flip=1.0))
    answers = []
    for one in (crowd, mirrored):
        targets = model.targets(one.joints, one.visible, one.size)
        answers.append(Answer(targets.maps[None], targets.fields[None]))
    for averaged, own in zip(model.flip_average(*answers), answers[0], strict=True):
        torch.testing.assert_close(averaged, own, rtol=0, atol=1e-4)
    assert not torch.equal(answers[0].fields, answers[1].fields)


@every_model
def test_an_empty_picture_is_an_answer(name):
    model = small(name)
    found = model.estimate([torch.zeros(3, 64, 64), torch.ones(3, 30, 90)], flip_test=True)
    assert found == [[], []]


# --- where they begin -------------------------------------------------------------------------------------------------


def written(path, model):
    checkpoints.save(path, model, {**HEADER, "date": "2026-01-31"})
    return path


def network(seed=1, skeleton="lsp", name="hourglass_course", **options):
    torch.manual_seed(seed)
    return models.create(name, skeleton, **options)


def same_weights(one, other):
    """As a checkpoint keeps them."""
    return all(torch.equal(a.half(), b.half()) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", ON_HOURGLASS)
def test_a_trunk_begins_from_the_network_of_a_single_person(name, tmp_path):
    single = network()
    model, fresh = small(name), small(name)
    header = model.begin_from(written(tmp_path / "single.safetensors", single))
    assert header["model"] == "hourglass_course" and header["digest"]
    assert same_weights(model.trunk.network, single)
    assert not same_weights(model.trunk.network, fresh.trunk.network)
    own = [key for key in model.state_dict() if not key.startswith("trunk.")]
    assert own and all(torch.equal(model.state_dict()[key], fresh.state_dict()[key]) for key in own)
    images = torch.rand(2, 3, *SIZE)
    single.load_state_dict(model.trunk.network.state_dict())  # halves, as in the file
    features = model.eval().trunk(images)
    assert features.shape == (2, 64 + 14, 16, 16)
    torch.testing.assert_close(features[:, 64:], single.eval()(images)[-1])


def test_a_trunk_begins_from_the_trunk_of_another_network(tmp_path):
    paf, deepcut = small("paf_course", seed=5), small("deepcut_course")
    header = deepcut.begin_from(written(tmp_path / "paf.safetensors", paf))
    assert header["model"] == "paf_course" and same_weights(deepcut.trunk, paf.trunk)
    other = small("paf_course", seed=6)
    other.begin_from(written(tmp_path / "deepcut.safetensors", deepcut))
    assert same_weights(other.trunk, paf.trunk) and not same_weights(other.map_heads, paf.map_heads)


@every_model
def test_ones_own_checkpoint_is_taken_whole(name, tmp_path):
    trained, model = small(name, seed=5), small(name)
    assert not same_weights(model, trained)
    model.begin_from(written(tmp_path / "own.safetensors", trained))
    assert same_weights(model, trained)


@pytest.mark.parametrize(
    ("name", "start", "says"),
    [
        ("deepcut_course", {"name": "cpm_course"}, "weights of 'cpm_course', which has no part 'trunk.network'"),
        ("paf_course", {"name": "cpm_course"}, "weights of 'cpm_course', which has no part 'trunk.network'"),
        ("deepcut_course", {"skeleton": "mpii"}, "trained for skeleton 'mpii'"),
        ("paf_course", {"skeleton": "mpii"}, "trained for skeleton 'mpii'"),
        ("deepcut_course", {"stacks": 2}, "was it built with other options"),
        ("paf_course", {"width": 32}, "was it built with other options"),
        ("paf", {}, "weights of 'hourglass_course', but the model is 'paf'"),
        ("paf_course", {"name": "paf"}, "which has no part 'trunk.network'"),
    ],
)
def test_a_start_that_does_not_fit_is_refused_and_nothing_is_taken(name, start, says, tmp_path):
    other = small("paf") if start.get("name") == "paf" else network(**start)
    file, model = written(tmp_path / "other.safetensors", other), small(name)
    with pytest.raises(CourseError, match=says) as caught:
        model.begin_from(file)
    assert "\n" not in str(caught.value)
    assert all(map(torch.equal, model.state_dict().values(), small(name).state_dict().values()))
    with pytest.raises(CourseError, match="there is no checkpoint"):
        model.begin_from(tmp_path / "nowhere.safetensors")


def test_single_person_networks_begin_from_their_own_only(tmp_path):
    model = network()
    with pytest.raises(CourseError, match="weights of 'paf_course', but the model is 'hourglass_course'"):
        model.begin_from(written(tmp_path / "paf.safetensors", small("paf_course")))


def test_a_trunk_sees_what_the_last_maps_were_read_from():
    torch.manual_seed(0)
    single = hourglass_course(stacks=2, width=16, input_size=SIZE).eval()
    trunk = HourglassTrunk(single).eval()
    images = torch.rand(2, 3, *SIZE)
    maps, features = single.looked_into(images)
    assert torch.equal(maps, single(images)) and torch.equal(single.predict[-1](features), maps[-1])
    assert torch.equal(trunk(images), torch.cat([features, maps[-1]], 1)) and trunk.channels == 16 + len(LSP)
    assert isinstance(trunk.network, StackedHourglass)
    trunk(images).sum().backward()
    assert all(parameter.grad is not None for parameter in trunk.parameters())


def test_the_backbone_is_one_of_two():
    with pytest.raises(CourseError, match="did you mean 'hourglass'"):
        small("paf_course", backbone="hourglas")
    model = small("paf", backbone="hourglass")
    assert model.stride == 4 and isinstance(model.trunk, HourglassTrunk)
    assert small("paf").stride == 4 and small("paf", groups=((4,), (8,))).stride == 2
    with pytest.raises(CourseError, match="divisible by 32"):
        small("paf_course")(torch.rand(1, 3, 48, 64))
