"""Carreira et al. 2016: the bounded correction, what a step sees, the fixed path and its phases, the starting pose."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from course_lib import checkpoints, models
from course_lib.errors import CourseError
from course_lib.models import ief
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.models.ief import IterativeErrorFeedback, bounded
from course_lib.pose import Batch
from course_lib.skeletons import LSP
from course_lib.training import train
from course_lib.training.augment import NONE
from course_lib.training.recipes import Recipe

SIDE = 64


def tiny(**options):
    torch.manual_seed(0)
    return IterativeErrorFeedback(
        "lsp", **{"width": 8, "bound": 10.0, "sigma": 4.0, "input_size": (SIDE, 48)} | options
    )


def people(count=4, seed=0):
    """Crops of grey noise with joints anywhere, the third joint of the first person unlabelled and unknown."""
    generator = torch.Generator().manual_seed(seed)
    joints = torch.rand(count, 14, 2, generator=generator) * torch.tensor([48.0, SIDE])
    batch = Batch(torch.rand(count, 3, SIDE, 48, generator=generator), joints, torch.full((count, 14), 2), LSP)
    batch.joints[0, 2], batch.visible[0, 2] = math.nan, 0
    return batch


class Always(nn.Module):
    """A trunk that answers every picture with the same correction, in units of L, and keeps what it was shown."""

    def __init__(self, x, y):
        super().__init__()
        self.answer, self.seen = nn.Parameter(torch.tensor([x, y])), []

    def forward(self, x):
        self.seen.append(x)
        return self.answer.repeat(len(x), 14)


def walking(x, y, **options):
    """A model whose every correction is L (x, y)."""
    model = tiny(**options)
    model.trunk = Always(x, y)
    return model


# --- the bounded correction -------------------------------------------------------------------------------------------


def test_a_correction_is_shortened_and_not_bent():
    u = torch.tensor([[30.0, 40.0], [-3.0, 4.0], [0.0, 0.0], [0.0, -20.0], [0.0, 21.0]])
    expected = torch.tensor([[12.0, 16.0], [-3.0, 4.0], [0.0, 0.0], [0.0, -20.0], [0.0, 20.0]])
    assert torch.allclose(bounded(u, 20.0), expected)
    assert torch.equal(bounded(u, math.inf), u)


def test_the_truth_is_reached_in_as_many_steps_as_l_fits_into_the_way():
    truth = torch.tensor([[20.0, 0.0], [0.0, 35.0], [48.0, 64.0], [-120.0, 0.0]])  # 20, 35, 80 and 120 px away
    pose, needed = torch.zeros(4, 2), torch.zeros(4)
    for _ in range(7):
        needed += (truth - pose).norm(dim=-1) > 1e-3
        pose = pose + bounded(truth - pose, 20.0)
    assert needed.tolist() == [1, 2, 4, 6] and torch.allclose(pose, truth, atol=1e-4)


# --- what a step sees -------------------------------------------------------------------------------------------------


def test_a_step_sees_the_colours_a_gaussian_for_every_joint_and_the_mark():
    model = tiny()
    images = torch.rand(2, 3, SIDE, 48)
    pose = torch.full((2, 14, 2), 8.5)
    pose[1, 3] = torch.tensor([30.5, 50.5])
    x = model.see(images, pose)
    assert x.shape == (2, 3 + 14 + 1, SIDE, 48)
    assert torch.allclose(x[:, :3], images * 2 - 1)
    assert float(x[1, 3 + 3, 50, 30]) == 1 and float(x[0, 3 + 3, 8, 8]) == 1  # the pixel whose centre it is
    assert float(x[1, 3 + 3, 50, 34]) == pytest.approx(2 * math.exp(-16 / (2 * 4**2)) - 1)  # four pixels beside
    assert float(x[1, 3 + 3, 8, 8]) == pytest.approx(-1, abs=1e-6)
    mark = x[:, -1]
    assert float(mark[0, 31:33, 23:25].min()) == pytest.approx(2 * math.exp(-0.5 / (2 * 4**2)) - 1)
    assert torch.equal(mark[0], mark[1]) and float(mark.amax()) == float(mark[0, 31, 23])


def test_the_gaussians_of_the_papers_size_are_those_of_the_authors_code():
    with torch.device("meta"):
        sigma = IterativeErrorFeedback().sigma
    distance = torch.arange(0, 200.0)
    theirs = (100 * torch.exp(-0.001 * distance**2) - 50) / 50
    assert torch.allclose(2 * torch.exp(-(distance**2) / (2 * sigma**2)) - 1, theirs, atol=0.003)


def test_colours_are_what_a_pretrained_googlenet_expects():
    from torchvision.models.googlenet import GoogLeNet

    images = torch.rand(1, 3, 8, 8)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    whitened = (images - mean[:, None, None]) / deviation[:, None, None]
    expected = GoogLeNet(init_weights=False, transform_input=True)._transform_input(whitened)
    model = IterativeErrorFeedback("lsp", width=8, input_size=(8, 8))
    assert torch.allclose(model.see(images, torch.zeros(1, 14, 2))[:, :3], expected, atol=1e-5)


# --- the walk ---------------------------------------------------------------------------------------------------------


def test_corrections_add_up_and_every_pose_is_kept():
    model = walking(0.5, -0.2, steps=3)
    walk = model(torch.rand(2, 3, SIDE, 48))
    assert walk.shape == (4, 2, 14, 2)
    for t in range(4):
        assert torch.allclose(walk[t], torch.tensor([24 + t * 5.0, 32 - t * 2.0]).expand(2, 14, 2))
    assert all(torch.equal(x, model.see(x[:, :3] / 2 + 0.5, walk[t])) for t, x in enumerate(model.trunk.seen))


def test_more_steps_than_trained_and_another_start():
    model = walking(0.1, 0.0)
    images = torch.rand(3, 3, SIDE, 48)
    assert model(images).shape[0] == 5 and model(images, steps=9).shape[0] == 10
    assert torch.equal(model(images, steps=9)[:5], model(images))
    for start in (torch.rand(14, 2) * 40, torch.rand(3, 14, 2) * 40, torch.rand(14, 2, dtype=torch.float64)):
        walk = model(images, start=start, steps=1)
        assert torch.allclose(walk[0], start.float().expand(3, 14, 2))
        assert torch.allclose(walk[1] - walk[0], torch.tensor([1.0, 0.0]).expand(3, 14, 2), atol=1e-5)


def test_a_pose_off_the_picture_is_drawn_as_nothing():
    model = tiny()
    far = model.see(torch.rand(1, 3, SIDE, 48), torch.full((1, 14, 2), 1000.0))[:, 3:-1]
    assert torch.equal(far, torch.full_like(far, -1))
    images = torch.rand(1, 3, SIDE, 48)
    blind = [model.eval()(images, start=torch.full((14, 2), far), steps=1) for far in (1000.0, 5000.0)]
    assert torch.allclose(blind[0][1] - blind[0][0], blind[1][1] - blind[1][0], atol=1e-3)


def test_no_gradient_flows_from_one_step_into_another():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.steps, self.calls = nn.Parameter(torch.zeros(4)), -1

        def forward(self, x):
            self.calls += 1
            return (self.steps[self.calls] * x.mean()).expand(len(x), 28)  # depends on what is drawn as well

    model = tiny()
    model.trunk = Counting()
    images = torch.rand(2, 3, SIDE, 48, requires_grad=True)
    model(images)[3].sum().backward()
    assert [bool(value) for value in model.trunk.steps.grad] == [False, False, True, False]


def test_the_first_corrections_are_small():
    walk = tiny().eval()(torch.rand(2, 3, SIDE, 48))
    assert 0 < float((walk[-1] - walk[0]).detach().norm(dim=-1).max()) < 2


# --- how it is asked --------------------------------------------------------------------------------------------------


def test_the_loss_by_hand():
    model = tiny(steps=2)
    batch = people(1)
    batch.joints[0], batch.visible[:] = torch.tensor([40.0, 30.0]), 0
    batch.visible[0, :2] = torch.tensor([1, 2])
    walk = torch.zeros(3, 1, 14, 2)
    walk[1, 0, 0] = torch.tensor([8.0, 6.0])  # as asked: 10 px towards a truth 50 px away
    walk[2, 0, 0] = torch.tensor([8.0, 16.0])  # 10 px down instead of (8, 6): off by (-8, 4) / 10
    walk[1:, 0, 1] = torch.tensor([40.0, 27.0])  # (40, 27) instead of (8, 6), then nothing instead of (0, 3)
    terms = model.loss(walk, batch)
    assert list(terms) == ["step_1", "step_2", "total"]
    assert float(terms["step_1"]) == pytest.approx((0 + 3.2**2 + 2.1**2) / 2)
    assert float(terms["step_2"]) == pytest.approx((0.64 + 0.16 + 0.09) / 2)
    assert float(terms["total"]) == pytest.approx(float(terms["step_1"] + terms["step_2"]))


@pytest.mark.parametrize(("mode", "steps"), [("direct", 1), ("iterate", 4)])
def test_the_other_modes_ask_for_the_whole_displacement(mode, steps):
    model = walking(0.0, 0.0, mode=mode)
    batch = people()
    assert model(batch.images).shape[0] == steps + 1
    batch.visible[:], batch.joints[:] = 1, model.start + torch.tensor([30.0, 40.0])  # 50 px, five times L
    terms = model.loss(model(batch.images), batch)
    assert float(terms["step_1"].detach()) == pytest.approx(25.0)
    assert len(terms) == steps + 1
    assert float(walking(0.0, 0.0).loss(model(batch.images), batch)["step_1"].detach()) == pytest.approx(1.0)


def test_phases_last_as_long_as_they_have_pairs():
    four, three = tiny(), tiny(steps=3)
    at = {0.0: 1, 0.09: 1, 0.11: 2, 0.29: 2, 0.31: 3, 0.59: 3, 0.61: 4, 0.99: 4, 1.0: 4}
    assert [four.phase(progress) for progress in at] == list(at.values())
    assert [three.phase(progress) for progress in (0.0, 0.16, 0.17, 0.49, 0.51, 1.0)] == [1, 1, 2, 2, 3, 3]
    assert tiny(curriculum=False).phase(0.0) == 4 and tiny(steps=1).phase(0.0) == 1


def test_the_path_is_fixed_by_the_truth_and_ends_there_if_l_reaches_so_far():
    model, batch = walking(5.0, 5.0), people(2)
    batch.joints[1] = model.start + torch.tensor([60.0, 0.0])
    path = model.training_path(batch, 4)
    assert path.shape == (4, 2, 14, 2) and torch.equal(path[0], model.start.expand(2, 14, 2))
    assert not model.trunk.seen  # what the network would have done plays no part
    truth = torch.where(batch.visible[..., None] > 0, batch.joints, model.start)
    way = (truth - model.start).norm(dim=-1)
    for t in range(4):
        left = (truth - path[t]).norm(dim=-1)
        assert torch.allclose(left, (way - 10.0 * t).clamp(min=0), atol=1e-4)
    assert torch.equal(path[3, 0, 2], model.start[2])  # unlabelled: it stays where it is


def test_the_own_path_is_what_the_network_walks():
    batch = people()
    model = walking(0.3, 0.1, path="own")
    path = model.training_path(batch, 3)
    assert torch.equal(path, model(batch.images)[:3]) and not path.requires_grad
    assert tiny(mode="iterate").path == "own" and tiny().path == tiny(mode="direct").path == "fixed"
    assert tiny(mode="iterate", path="fixed").path == "fixed"


@pytest.mark.parametrize(("progress", "trained"), [(0.0, {1}), (0.2, {1, 2}), (0.5, {1, 2, 3}), (0.9, {1, 2, 3, 4})])
def test_training_takes_pairs_of_the_phase_so_far(progress, trained):
    model, batch = walking(0.0, 0.0), people(64)
    model.start_seen.fill_(ief.START_CROPS)  # the start stays in the middle
    torch.manual_seed(1)
    terms = model.training_loss(batch, progress)
    assert list(terms) == ["step_1", "step_2", "step_3", "step_4", "total"]
    assert {t for t in range(1, 5) if float(terms[f"step_{t}"].detach())} == trained
    assert float(terms["total"].detach()) == pytest.approx(sum(float(terms[f"step_{t}"].detach()) for t in trained))
    path = model.training_path(batch, 4)
    (seen,) = model.trunk.seen  # one pass: every crop trains one step, on a pose of the path
    expected = torch.stack([model.see(batch.images, pose) for pose in path])
    same = (seen == expected).flatten(2).all(-1)  # (steps, crops)
    drawn = same.float().argmax(0)
    assert bool(same.any(0).all()) and {int(t) + 1 for t in drawn} == trained
    for t in trained:  # an answer of nothing costs the mean of (min(L, ||u||) / L)^2
        labelled = (batch.visible > 0) & (drawn == t - 1)[:, None]
        left = (batch.joints - path[t - 1]).norm(dim=-1)[labelled]
        assert float(terms[f"step_{t}"].detach()) == pytest.approx(
            float((left / 10).clamp(max=1).square().mean()), rel=1e-4
        )


def test_the_whole_way_comes_before_the_phases_and_is_not_shortened():
    model, batch = walking(0.0, 0.0, whole_way=0.5), people(2)
    model.start_seen.fill_(ief.START_CROPS)  # the start stays in the middle
    batch.joints[:] = model.start + torch.tensor([30.0, 40.0])  # 50 px, five times L
    terms = model.training_loss(batch, 0.49)
    assert list(terms) == ["whole_way", "step_1", "step_2", "step_3", "step_4", "total"]
    assert [float(term.detach()) for term in terms.values()] == pytest.approx([25, 0, 0, 0, 0, 25])
    (seen,) = model.trunk.seen
    assert torch.equal(seen, model.see(batch.images, model.start.expand(2, 14, 2)))
    terms = model.training_loss(batch, 0.51)
    assert float(terms["whole_way"].detach()) == 0 and float(terms["step_1"].detach()) == pytest.approx(1)
    at = {0.5: 1, 0.54: 1, 0.56: 2, 0.64: 2, 0.66: 3, 0.79: 3, 0.81: 4, 1.0: 4}  # what is left is shared as before
    assert [model.phase(progress) for progress in at] == list(at.values())
    for wrong in (-0.1, 1.0, math.nan):
        with pytest.raises(CourseError, match="whole_way is a part of the training"):
            tiny(whole_way=wrong)


def test_training_is_repeatable_reaches_every_weight_and_trains_in_half_precision():
    batch, losses = people(8), []
    for _ in range(2):
        model = tiny().train().to(memory_format=torch.channels_last)
        torch.manual_seed(5)
        with torch.autocast("cpu", torch.bfloat16):
            terms = model.training_loss(batch, 0.9)
        losses.append(terms["total"])
        terms["total"].backward()
        assert terms["total"].dtype == torch.float32
        assert all(bool(p.grad.abs().sum() > 0) and bool(p.grad.isfinite().all()) for p in model.parameters())
    assert torch.equal(*losses)
    batch.visible[:] = 0
    model.zero_grad()
    nothing = model.training_loss(batch, 0.9)["total"]
    nothing.backward()
    assert float(nothing.detach()) == 0 and all(p.grad.isfinite().all() for p in model.parameters())


# --- where it starts --------------------------------------------------------------------------------------------------


def test_the_start_is_the_mean_of_the_labelled_joints_seen_first():
    model, batch = tiny(), people(6)
    assert torch.equal(model.start, torch.tensor([24.0, 32.0]).expand(14, 2))
    batch.visible[:, 7] = 0
    model.fit_start(batch[:2])
    model.fit_start(batch[2:])
    expected = batch.joints.mean(0)
    expected[2] = batch.joints[1:, 2].mean(0)
    expected[7] = torch.tensor([24.0, 32.0])  # nobody knows
    assert torch.allclose(model.start, expected, atol=1e-4)
    assert model.start_seen.tolist() == [6, 6, 5, 6, 6, 6, 6, 0, *[6] * 6]
    model.start_seen[4:] = ief.START_CROPS
    before = model.start.clone()
    model.fit_start(people(6, seed=1))
    assert torch.equal(model.start[4:], before[4:]) and not torch.equal(model.start[:2], before[:2])


def test_training_fits_the_start_and_checkpoints_and_states_keep_it(tmp_path):
    batch = people(8)
    recipe = Recipe("ief_small", model="ief_course", batch=8, warmup=1, augment=NONE, learning_rate=1e-3)
    recipe = replace(recipe, options={"width": 8, "bound": 10.0, "input_size": (SIDE, 48)})
    settings = {"batches": [batch], "device": "cpu", "progress": False, "out": tmp_path}
    trained = train(recipe, steps=2, **settings)
    expected = torch.where(batch.visible[..., None] > 0, batch.joints, 0).sum(0) / (batch.visible > 0).sum(0)[:, None]
    assert torch.allclose(trained.model.start, expected, atol=1e-3)
    assert trained.model.start_seen[2] == 14 and trained.model.start_seen[3] == 16
    file = tmp_path / "ief_small" / "ief_small.safetensors"
    assert torch.equal(models.load("ief_course", file).start, trained.model.start)  # in full precision
    assert "mark" not in checkpoints.verify(file) and "mark" not in trained.model.state_dict()
    again = train(recipe, steps=4, **settings)
    assert again.model.start_seen[3] == 32 and again.history["step"] == [0, 1, 2, 3]


# --- how it answers ---------------------------------------------------------------------------------------------------


def test_a_joint_at_rest_is_trusted_and_one_at_full_length_half():
    model = tiny(steps=2)
    walk = torch.zeros(3, 1, 14, 2)
    walk[1:] += torch.tensor([6.0, 8.0])
    walk[2, 0, 0] += torch.tensor([0.0, 30.0])
    ((first,),), ((last,),) = model.decode(walk, step=1), model.decode(walk)
    assert torch.equal(first.joints, walk[1, 0]) and torch.equal(last.joints, walk[2, 0])
    assert torch.allclose(first.scores, torch.full((14,), 0.5)) and first.score == pytest.approx(0.5)
    assert last.scores.tolist() == [0.25] + [1.0] * 13
    ((start,),) = model.decode(walk, step=0)
    assert start.scores.tolist() == [0.0] * 14 and torch.equal(start.joints, walk[0, 0])
    assert torch.equal(model.decode(walk, step=-2)[0][0].joints, first.joints)


def test_estimates_come_back_from_the_crop_to_the_picture():
    model = walking(0.0, 0.0)
    model.start += torch.tensor([6.0, -8.0])  # in crops of 48 x 64
    box = torch.tensor([[10.0, 20.0, 40.0, 60.0]])  # 30 x 40, grown to 37.5 x 50
    ((pose,),) = model.estimate(torch.rand(3, 77, 91), box)
    expected = torch.tensor([25 + 6 * 50 / 64, 40 - 8 * 50 / 64])
    assert torch.allclose(pose.joints, expected.expand(14, 2), atol=1e-3) and pose.score == 1


def test_the_flip_test_averages_walks_joint_by_joint():
    model = tiny()
    walk, mirrored = torch.rand(5, 2, 14, 2), torch.rand(5, 2, 14, 2)
    mean = model.flip_average(walk, mirrored)
    left, right = LSP.index("left_wrist"), LSP.index("right_wrist")
    assert torch.allclose(mean[3, 1, left, 0], (walk[3, 1, left, 0] + 48 - mirrored[3, 1, right, 0]) / 2)
    assert torch.allclose(mean[3, 1, left, 1], (walk[3, 1, left, 1] + mirrored[3, 1, right, 1]) / 2)


def test_four_images_are_learned_by_heart_on_the_fixed_path():
    torch.manual_seed(0)
    model = IterativeErrorFeedback("lsp", width=16, bound=9.0, sigma=5.0, input_size=(SIDE, SIDE))
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 8, 8, generator=generator).repeat_interleave(8, -1).repeat_interleave(8, -2)
    joints = SIDE * (0.05 + 0.9 * torch.rand(4, 14, 2, generator=generator))
    batch, steps = Batch(images, joints, torch.full((4, 14), 2), LSP), 120
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 3e-3 * (1 - step / steps)
        optimiser.zero_grad()
        model.training_loss(batch, step / steps)["total"].backward()
        optimiser.step()
    walk = model.eval()(batch.images).detach()
    error = (walk - batch.joints).norm(dim=-1).mean((1, 2))
    assert float(error[0]) > 12 and float(error[4]) < 2
    assert bool((error[1:4] < error[:3] - 0.5).all())  # every step but the last was needed


# --- sizes and refusals -----------------------------------------------------------------------------------------------


def test_the_papers_size_is_a_googlenet_with_more_channels_in_and_fewer_numbers_out():
    with torch.device("meta"):
        model = models.create("ief").eval()
        plain = ief.googlenet(3, 1000)
    assert model.see(torch.empty(1, 3, 224, 224, device="meta"), model.start[None]).shape == (1, 20, 224, 224)
    widened, answer = (20 - 3) * 64 * 7 * 7, 1024 * 32 + 32
    assert parameters(plain) == 6_624_904  # torchvision's own number, the classifiers for training apart
    assert parameters(model) == 6_624_904 - 1_025_000 + widened + answer == 5_686_016
    step = giga_multiply_adds(model) / 4
    assert step == pytest.approx(1.50 + widened * 112 * 112 / 1e9, abs=0.01)
    assert (model.steps, model.bound, len(model.skeleton)) == (4, 20.0, 16)


def test_the_course_size_fits_a_laptop():
    model = models.create("ief_course").eval()
    assert giga_multiply_adds(model) < 0.12 and parameters(model) < 2e6 and model.steps == 4
    live = models.create("ief_course", input_size=(64, 64), steps=3).eval()
    assert giga_multiply_adds(live) < 0.04


def test_imagenet_weights_are_taken_but_for_the_drawn_maps_and_the_answer():
    from torchvision.models.googlenet import GoogLeNet

    torch.manual_seed(0)
    weights = GoogLeNet(init_weights=False).state_dict()  # with the classifiers that only training has
    model = IterativeErrorFeedback("lsp", input_size=(64, 64))
    answer = model.trunk.fc.weight.clone()
    model.load_imagenet(weights)
    own = model.trunk.state_dict()
    filters = own["conv1.conv.weight"]
    assert torch.equal(filters[:, :3], weights["conv1.conv.weight"]) and torch.equal(model.trunk.fc.weight, answer)
    assert float(filters[:, 3:].std()) == pytest.approx(float(weights["conv1.conv.weight"].std()), rel=0.02)
    others = [name for name in own if name != "conv1.conv.weight" and not name.startswith("fc.")]
    assert len(others) > 300 and all(torch.equal(own[name], weights[name]) for name in others)
    with pytest.raises(CourseError, match="load_imagenet needs a model with width=None"):
        tiny().load_imagenet(weights)
    with pytest.raises(CourseError, match="weights of a torchvision GoogLeNet"):
        model.load_imagenet({"layer.weight": torch.zeros(3)})


@pytest.mark.parametrize(
    "options",
    [
        *({"steps": 0}, {"bound": 0.0}, {"bound": -1.0}, {"bound": math.inf}, {"bound": math.nan}, {"sigma": 0.0}),
        *({"width": 0}, {"mode": "guess"}, {"path": "other"}),
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(CourseError, match=r"iterative error feedback (needs|takes)"):
        tiny(**options)


def test_what_does_not_fit_is_refused_in_a_sentence():
    model, images = tiny(), torch.rand(2, 3, SIDE, 48)
    for start in (torch.zeros(13, 2), torch.zeros(3, 14, 2), torch.full((14, 2), math.nan)):
        with pytest.raises(CourseError, match=r"a starting pose must be finite and have shape \(14, 2\) or \(2, 14"):
            model(images, start=start)
    with pytest.raises(CourseError, match="at least one step; asked for 0"):
        model(images, steps=0)
    with pytest.raises(CourseError, match=r"built for images of 64 x 48; got \(2, 3, 48, 64\)"):
        model(images.mT)
    with pytest.raises(CourseError, match="built for images of 64 x 48"):
        model.training_loss(Batch(images[..., :40], torch.zeros(2, 14, 2), torch.ones(2, 14), LSP), 0.0)
    for step in (5, -6):
        with pytest.raises(CourseError, match=f"the walk has steps 0 to 4; asked for step {step}"):
            model.decode(model(images), step=step)
