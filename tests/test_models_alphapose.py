"""AlphaPose: the transformers and their direction, the frozen branch, where it begins, and what it weighs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from painted import SIZE, THREE, Always, Painted, dots

from course_lib import checkpoints, geometry, models
from course_lib.errors import CourseError
from course_lib.models.alphapose import (
    LOCALISERS,
    AlphaPose,
    Localiser,
    Regional,
    inverse_affine,
    sdtn_points,
    stn,
    warp_maps,
)
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.models.detector import GivenBoxes
from course_lib.pose import Batch, Crowd, Found, Pose
from course_lib.skeletons import LSP
from course_lib.targets import heatmaps
from course_lib.targets.suppression import NmsParameters

SMALL = {"stacks": 2, "width": 8, "depth": 2, "input_size": (32, 32)}
HEADER = {"recipe": "r", "data": {}, "steps": 1, "images": 2, "seed": 0, "device": "cpu", "scores": {}}
HEADER |= {"date": "2026-01-31"}
FRAME = torch.tensor([SIZE[1], SIZE[0]]) / 2.0  # pixels of half a crop


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def small(seed=0, **options):
    torch.manual_seed(seed)
    return models.create("alphapose_course", **{**SMALL, **options})


def thetas(count, seed=0, strength=0.35, shift=0.5):
    """Affine maps (count, 2, 3) away from the identity, none of them nearly flat."""
    random = torch.randn(4 * count, 2, 3, generator=generator(seed), dtype=torch.float64)
    maps = torch.eye(2, 3, dtype=torch.float64) + random * torch.tensor([strength, strength, shift])
    return maps[torch.linalg.cond(maps[..., :2]) < 10][:count]


# --- the transformers -------------------------------------------------------------------------------------------------


def test_gamma_undoes_theta():
    theta = thetas(1000)
    assert len(theta) == 1000
    same = torch.eye(2, 3, dtype=torch.float64).expand_as(theta)
    for first, then in ((theta, inverse_affine(theta)), (inverse_affine(theta), theta)):
        torch.testing.assert_close(geometry.compose(first, then), same, rtol=0, atol=1e-6)
    square = torch.cat([theta, torch.tensor([0.0, 0.0, 1.0]).double().expand(1000, 1, 3)], 1)
    torch.testing.assert_close(inverse_affine(theta), torch.linalg.inv(square)[:, :2], rtol=1e-9, atol=1e-9)
    assert torch.equal(inverse_affine(theta[0]), inverse_affine(theta)[0])
    assert torch.autograd.gradcheck(inverse_affine, thetas(5).requires_grad_())


def centres_of_mass(maps):
    """(..., 2) of maps (..., h, w), in cells."""
    x, y = (torch.arange(n) + 0.5 for n in (maps.shape[-1], maps.shape[-2]))
    mass = maps.sum((-2, -1))
    return torch.stack([(maps.sum(-2) * x).sum(-1) / mass, (maps.sum(-1) * y).sum(-1) / mass], -1)


def places(theta, seed=1):
    """One place in the middle of every re-centred frame, in pixels, and where it lies in the crop, by theta."""
    inner = (torch.rand(len(theta), 1, 2, generator=generator(seed)) - 0.5) * 0.4
    return inner * FRAME + FRAME, geometry.apply(theta, inner) * FRAME + FRAME


def test_a_dot_that_is_seen_at_t_comes_back_to_where_it_was():
    """The direction: theta is for sampling pictures and for moving points back; gamma for sampling maps back."""
    theta = thetas(60, strength=0.15, shift=0.25).float()
    at, there = places(theta)
    seen = stn(dots(there, sigma=2.5), theta)
    read = centres_of_mass(seen)
    assert float((read - at).abs().max()) < 0.1
    assert float((sdtn_points(read, theta, SIZE) - there).abs().max()) < 0.1
    for wrong in (sdtn_points(read, inverse_affine(theta), SIZE), read):
        assert float((wrong - there).norm(dim=-1).median()) > 3


def test_a_map_of_the_frame_comes_back_to_where_the_crop_shows_it():
    theta = thetas(60, strength=0.15, shift=0.25).float()
    at, there = places(theta)
    maps = torch.stack([dots(at, sigma=2.5), 2 * dots(at, sigma=2.0)])  # two stages
    back = warp_maps(maps, inverse_affine(theta))
    for stage in back:
        assert float((centres_of_mass(stage) - there).abs().max()) < 0.1
    assert float((centres_of_mass(warp_maps(maps, theta)[0]) - there).norm(dim=-1).median()) > 3


# --- how it begins, and what it weighs --------------------------------------------------------------------------------


@pytest.mark.parametrize("localiser", LOCALISERS)
def test_it_begins_as_the_network_it_stands_around(localiser):
    model, images = small(localiser=localiser).eval(), torch.rand(3, 3, 32, 32, generator=generator())
    with torch.no_grad():
        outputs, plain = model(images), model.sppe(images)
        assert torch.equal(outputs.theta, torch.eye(2, 3).expand(3, 2, 3))
        torch.testing.assert_close(outputs.seen, images, rtol=0, atol=1e-5)
        torch.testing.assert_close(outputs.maps, plain, rtol=1e-3, atol=1e-5)
        without = small(localiser=localiser, transformer=False).eval()
        without.sppe.load_state_dict(model.sppe.state_dict())
        assert torch.equal(without(images).maps, plain) and without(images).seen is images
        assert without.localiser is None and without.parallel is None
    for own, other in zip(without.decode(without(images)), model.sppe.decode(plain), strict=True):
        torch.testing.assert_close(own[0].joints, other[0].joints, rtol=0, atol=1e-4)
        torch.testing.assert_close(own[0].scores, other[0].scores.clamp(0, 1))


def test_counts():
    model = models.create("alphapose_course")
    assert parameters(model) == 685_518 and parameters(model.sppe) == 502_218 and model.input_size == (96, 96)
    assert parameters(model.localiser) == 180_270 + 6 * (14 * 36 + 1) and parameters(model.parallel) == 180_270
    assert giga_multiply_adds(model) == pytest.approx(0.1565, abs=1e-4)
    assert parameters(small(transformer=False)) == parameters(small(transformer=False, parallel=0).sppe)


def test_the_papers_size_has_a_resnet18_and_eight_stacks():
    with torch.device("meta"):
        model = models.create("alphapose")
        assert model.localiser(torch.empty(2, 3, 256, 256)).shape == (2, 6)
        assert model.sppe(torch.empty(2, 3, 256, 256)).shape == (8, 2, 16, 64, 64)
        assert model.parallel(torch.empty(2, 3, 256, 256)).shape == (4, 2, 16, 64, 64)
    assert parameters(model.sppe) == 25_434_112 and parameters(model.parallel) == 12_858_304
    assert parameters(model.localiser) == 11_176_512 + 6 * 513
    assert parameters(model) == 25_434_112 + 11_179_590  # the frozen branch is dropped


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"localiser": "resnet50"}, "no localiser called 'resnet50'; did you mean 'resnet18'"),
        ({"parallel": 3}, "has 0 to 2 of the network's stacks; got 3"),
        ({"parallel": -1}, "has 0 to 2 of the network's stacks; got -1"),
        ({"stacks": 0}, "stacks"),
    ],
)
def test_impossible_networks_are_refused(options, says):
    with pytest.raises(CourseError, match=says) as caught:
        small(**options)
    assert "\n" not in str(caught.value)


# --- a network that reads dots ----------------------------------------------------------------------------------------


def painted(theta=None, **options):
    """Knows where the dots are in what it is shown, which is the crop at theta (2, 3)."""
    model = AlphaPose(THREE, **{"stacks": 1, "width": 8, "depth": 1, "input_size": SIZE, **options})
    model.sppe = Painted()
    if model.parallel is not None:
        model.parallel = Painted()
    if theta is not None:
        model.localiser = Always(theta - torch.eye(2, 3))
    return model


def shifted(count=8, seed=3, most=9.0):
    """People (count, 3, 2) who would be in the middle, were they not shifted (count, 1, 2) pixels, and the middle."""
    middle = torch.tensor([[24.0, 12.0], [12.0, 52.0], [36.0, 40.0]])  # a box of 24 x 40: 32 +- 20 rows
    shift = (torch.rand(count, 1, 2, generator=generator(seed)) * 2 - 1) * most
    return middle + shift, shift, middle


def batch_of(joints, visible=2):
    return Batch(dots(joints), joints, torch.full(joints.shape[:-1], visible), THREE)


def towards(shift):
    """The map (2, 3) that undoes a shift (1, 2) in pixels."""
    return torch.cat([torch.eye(2), (shift / FRAME).T], 1)


def test_poses_are_read_in_the_frame_and_moved_back():
    theta = torch.tensor([[1.1, 0.1, 0.05], [-0.05, 1.15, -0.1]])  # the frame shows more than the crop
    joints, _, _ = shifted(4, most=3.0)
    model = painted(theta).eval()
    outputs = model(dots(joints))
    torch.testing.assert_close(outputs.theta, theta.expand(4, 2, 3))
    poses = model.decode(outputs)
    found = torch.stack([own[0].joints for own in poses])
    assert float((found - joints).abs().max()) < 0.2
    assert [own[0].score for own in poses] == pytest.approx([float(own[0].scores.mean()) for own in poses])
    alone = model.decode(Regional(2 * outputs.maps, outputs.theta, outputs.seen))[0][0]
    assert float(alone.scores.max()) == 1.0 and not alone.joints.requires_grad


def test_everybody_in_a_picture_whatever_the_boxes():
    """Boxes that are off are still cut out, looked at and read: the joints come back into the picture's pixels."""
    people = torch.stack([torch.tensor([[24.0, 12.0], [12.0, 52.0], [36.0, 40.0]]) + 70 * number for number in (0, 1)])
    picture = dots(people, (140, 120)).amax(0)
    boxes = torch.tensor([[14.0, 6, 44, 58], [80, 78, 106, 128]])
    model = painted(torch.tensor([[1.05, 0.0, -0.05], [0.0, 1.05, 0.05]])).eval()
    model.detector = GivenBoxes([Found(boxes, torch.tensor([0.9, 0.4]))])
    found = model.estimate(picture)[0]
    assert len(found) == 2 and found[0].score > found[1].score
    for pose, true, box in zip(found, people, boxes, strict=True):
        assert float((pose.joints - true).abs().max()) < 0.5 and torch.equal(pose.box, box)
    assert found[0].score == pytest.approx(0.9 * float(found[0].scores.mean()))


def test_the_error_of_the_pose_is_that_in_the_crop():
    """However the crop was looked at: it is the maps that were moved back that are compared."""
    joints, _, _ = shifted(4, most=4.0)
    terms = [painted(theta).loss(painted(theta)(dots(joints)), batch_of(joints)) for theta in thetas(4, 5, 0.04, 0.1)]
    straight = painted(torch.eye(2, 3)).loss(painted(torch.eye(2, 3))(dots(joints)), batch_of(joints))
    straight = {name: term.detach() for name, term in straight.items()}
    assert float(straight["maps"]) < 0.02
    assert all(float(one["maps"].detach()) < 0.12 for one in terms)
    assert float(straight["total"]) == pytest.approx(float(straight["maps"] + straight["centred"]))
    wrong = painted(torch.eye(2, 3)).loss(painted(torch.eye(2, 3))(dots(joints)), batch_of(joints + 6))
    assert float(wrong["maps"].detach()) > 1


def test_gradient_reaches_theta_through_the_way_back_too():
    joints, _, _ = shifted(2)
    theta = torch.eye(2, 3).repeat(2, 1, 1).requires_grad_()
    maps = heatmaps.gaussian(joints / 4 + 0.5, (16, 12), 1.0)[None]  # as if the network were half a cell off
    painted(parallel=0).loss(Regional(maps, theta, dots(joints)), batch_of(joints))["total"].backward()
    assert bool((theta.grad[:, :, 2] != 0).all())


def test_the_first_of_a_crowd_is_the_one_who_is_asked_for():
    joints, _, _ = shifted(2)
    model, batch = painted(), batch_of(joints)
    people = torch.stack([joints, joints.flip(0) + 5], 1)
    crowd = Crowd(batch.images, people, torch.full((2, 2, 3), 2), torch.ones(2, *SIZE), THREE)
    outputs = model(batch.images)
    one, other = model.loss(outputs, batch), model.loss(outputs, crowd)
    assert all(torch.equal(one[name], other[name]) for name in ("maps", "centred", "total"))


# --- the frozen branch ------------------------------------------------------------------------------------------------


def test_what_is_seen_is_centred_where_the_frozen_branch_says_so():
    joints, shift, _ = shifted(6, most=8.0)
    for one, by in zip(joints, shift, strict=True):
        batch = batch_of(one[None])
        terms = []
        for share in (0.0, 0.5, 1.0):
            model = painted(towards(share * by))
            terms.append(float(model.loss(model(batch.images), batch)["centred"].detach()))
        assert terms[0] > terms[1] > terms[2] and terms[2] < 0.02


def test_people_of_whom_too_little_is_known_are_centred_nowhere():
    """Nobody, one joint, joints on one line, joints in one spot: they neither count nor end the training."""
    joints, _, _ = shifted(3)
    model, batch = painted(), batch_of(joints)
    outputs = model(batch.images)
    expected = model.loss(model(batch.images[:2]), batch[:2])["centred"]
    line = replace(batch, joints=joints.clone())
    line.joints[2, :, 0] = 20.0
    spot = replace(batch, joints=joints.clone())
    spot.joints[2] = 20 + torch.rand(3, 2, generator=generator())
    few = [replace(batch, visible=batch.visible.clone()) for _ in range(2)]
    few[0].visible[2], few[1].visible[2, 1:] = 0, 0
    for changed in (line, spot, *few):
        torch.testing.assert_close(model.loss(outputs, changed)["centred"], expected, rtol=1e-5, atol=0)
    nobody = replace(batch, visible=torch.zeros_like(batch.visible))
    assert all(float(term.detach()) == 0 for term in model.loss(outputs, nobody).values())


def test_the_frozen_branch_stays_as_it_is_and_lets_gradient_through():
    model, joints = small().train(), torch.rand(4, 14, 2, generator=generator()) * 32
    kept = {name: value.clone() for name, value in model.parallel.state_dict().items()}
    batch = Batch(torch.rand(4, 3, 32, 32, generator=generator()), joints, torch.full((4, 14), 2), LSP)
    outputs = model(batch.images)
    model.loss(outputs, batch)["centred"].backward()
    assert all(value.grad is None and not value.requires_grad for value in model.parallel.parameters())
    assert all(torch.equal(value, kept[name]) for name, value in model.parallel.state_dict().items())
    assert not any(module.training for module in model.parallel.modules()) and model.sppe.training
    assert float(model.localiser.reads.bias.grad.abs().min()) > 0 and model.localiser.looks.training
    assert all(value.grad is None or not value.grad.any() for value in model.sppe.parameters())
    model.eval().train()
    assert not any(module.training for module in model.parallel.modules())


def test_a_localiser_learns_to_centre_from_the_frozen_branch_alone():
    joints, shift, _ = shifted(8)
    model, batch = painted(), batch_of(joints)
    model.localiser = Localiser(Painted())  # a linear layer on what it sees
    optimiser = torch.optim.Adam(model.localiser.parameters(), 1e-2)
    values, beside = [], []
    for _ in range(30):
        outputs = model(batch.images)
        term = model.loss(outputs, batch)["centred"]
        optimiser.zero_grad()
        term.backward()
        optimiser.step()
        values.append(float(term.detach()))
        beside.append(float((outputs.theta[..., 2].detach() * FRAME - shift[:, 0]).norm(dim=-1).mean()))
    assert values[-1] < 0.1 * values[0] and beside[-1] < 0.2 * beside[0]


def test_places_keep_their_digits_under_autocast():
    joints, _, _ = shifted(2)
    theta = torch.tensor([[0.95, 0.0, 0.05], [0.0, 0.95, 0.025]])
    model, images = painted(theta), dots(joints)
    exact = model(images)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(images)
    assert outputs.theta.dtype == torch.float32
    torch.testing.assert_close(outputs.seen, exact.seen, rtol=0, atol=1e-6)
    learning, batch = small(), Batch(torch.rand(2, 3, 32, 32), torch.rand(2, 14, 2) * 32, torch.ones(2, 14), LSP)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = learning(batch.images)
    learning.loss(outputs, batch)["total"].backward()
    for name, value in learning.named_parameters():
        assert value.grad is None or bool(value.grad.isfinite().all()), name


# --- flips, suppression, weights --------------------------------------------------------------------------------------


def test_two_frames_are_averaged_in_the_crops():
    """The mirrored picture is seen in a frame of its own; the mean of two answers lies between them."""
    joints = torch.tensor([[24.0, 18.0], [18.0, 44.0], [31.0, 40.0]]) + torch.rand(3, 1, 2, generator=generator()) * 4
    off = torch.tensor([1.5, -1.0])

    def answer(at, theta):
        frame = geometry.apply(inverse_affine(theta), at / FRAME - 1) * FRAME + FRAME
        return Regional(heatmaps.gaussian(frame / 4, (16, 12), 1.0)[None], theta.expand(3, 2, 3), dots(at))

    turned = geometry.flip_joints(joints + off, SIZE[1], THREE.swaps)
    one, other = thetas(2, 7, 0.03, 0.08).float() * torch.tensor([1.15, 1.15, 1.0])
    model = painted()
    averaged = model.flip_average(answer(joints - off, one), answer(turned, other))
    found = torch.stack([own[0].joints for own in model.decode(averaged)])
    assert float((found - joints).abs().max()) < 0.5
    assert len(small().eval().estimate(torch.rand(3, 40, 30), torch.tensor([[0.0, 0, 30, 40]]), flip_test=True)[0]) == 1


def test_its_own_four_numbers_say_who_is_one_person(tmp_path):
    model = small()
    pose = Pose(torch.rand(14, 2, generator=generator()) * 90, torch.ones(14), LSP, 0.9, torch.tensor([0.0, 0, 90, 90]))
    twice = [replace(pose, score=0.5), pose]
    assert model.nms.threshold == pytest.approx(22.48) and model.suppress(twice) == [pose]
    numbers = NmsParameters(0.31, 12.7, 0.9, 33.3)
    model.nms_numbers.copy_(torch.tensor([numbers.sigma1, numbers.sigma2, numbers.weight, numbers.threshold]))
    assert len(model.suppress(twice)) == 2 and model.suppress(twice)[0] is pose
    checkpoints.save(tmp_path / "one.safetensors", model, HEADER)
    again = models.load("alphapose_course", tmp_path / "one.safetensors")
    assert torch.equal(again.nms_numbers, model.nms_numbers) and again.nms == model.nms
    assert again.nms.sigma2 == pytest.approx(12.7) and not any("detector" in name for name in again.state_dict())


def test_it_begins_from_an_hourglass_or_from_another(tmp_path):
    file, images = tmp_path / "begin.safetensors", torch.rand(2, 3, 32, 32, generator=generator())
    hourglass = models.create("hourglass_course", **SMALL)
    checkpoints.save(file, hourglass, HEADER)
    model = small(seed=1)
    assert model.begin_from(file)["model"] == "hourglass_course"
    first = {name: value.half().float() for name, value in hourglass.named_parameters()}
    assert all(torch.equal(value, first[name]) for name, value in model.sppe.named_parameters())
    assert all(torch.equal(value, first[name]) for name, value in model.parallel.named_parameters())
    with torch.no_grad():  # the frozen branch says, and the localiser looks for, what the first stack says
        for copy in (model.eval().parallel, model.localiser.looks):
            torch.testing.assert_close(copy(images)[-1], model.sppe(images)[0])
    other = small(seed=2)
    other.localiser.reads.bias.data.fill_(0.25)
    other.nms_numbers.fill_(2.0)
    checkpoints.save(file, other, HEADER)
    plain, same = small(seed=3, transformer=False), small(seed=3)
    plain.begin_from(file)
    same.begin_from(file)
    for begun in (plain, same):
        assert torch.equal(begun.sppe.predict[1].weight, other.sppe.predict[1].weight.half().float())
    assert same.localiser.reads.bias.tolist() == [0.25] * 6 and same.nms_numbers.tolist() == [2.0] * 4
    assert plain.nms == NmsParameters(*torch.tensor([1.0, 2.65, 1.7, 22.48]).tolist())
    checkpoints.save(file, plain, HEADER)
    full = small(seed=4)
    full.begin_from(file)
    assert torch.equal(full.sppe.predict[0].weight, plain.sppe.predict[0].weight.half().float())
    assert torch.equal(full.parallel.predict[0].weight, full.sppe.predict[0].weight)
    assert torch.equal(full.localiser.looks.predict[0].weight, full.sppe.predict[0].weight)
    assert not full.localiser.reads.bias.any() and math.isclose(full.nms.threshold, 22.48, rel_tol=1e-6)


def test_pose_nms_grows_with_the_picture():
    model = small()
    model.nms_numbers.copy_(torch.tensor([1.0, 4.0, 1.0, 10.0]))
    joints = torch.linspace(10, 90, 28).view(14, 2)
    box = torch.tensor([0.0, 0.0, 10.0, 10.0])  # so that no joints coincide and the distance alone decides
    twins = [Pose(at, torch.ones(14), LSP, score, box) for at, score in ((joints, 0.9), (joints + 2, 0.8))]
    assert len(model.suppress(twins)) == 2 and len(model.suppress(twins, unit=4.0)) == 1
