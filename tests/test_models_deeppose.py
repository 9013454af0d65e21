"""Toshev and Szegedy 2014: the printed sizes, the cascade's equations, and who is trained when and on what."""

import math

import pytest
import torch
from test_models import stick_figures
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from course_lib import geometry, losses, models
from course_lib.errors import CourseError
from course_lib.models import deeppose
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.models.deeppose import Cascade, DeepPose, LocalResponse
from course_lib.pose import Batch
from course_lib.skeletons import LSP, Skeleton
from course_lib.targets import heatmaps

# The sheet's table: layer by layer, without groups
LAYERS = [34_944, 614_656, 885_120, 1_327_488, 884_992, 37_752_832, 16_781_312, 114_716]
SHOULDER, HIP = LSP.index("left_shoulder"), LSP.index("right_hip")
ALL = len(LSP)


def tiny(stages=3, **options):
    torch.manual_seed(0)
    small = {"stem": (5, 2), "channels": (4, 6, 6, 6, 4), "hidden": 8, "input_size": (64, 64), "shrink": 2}
    return DeepPose("lsp", stages, **{**small, "dropout": 0.0, "first_share": 0.5, **options})


class Says(nn.Module):
    """Answers every view with the same numbers, and remembers what it was shown."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.seen = nn.Parameter(torch.as_tensor(answer, dtype=torch.float32)), []

    def forward(self, views):
        self.seen.append(views)
        return self.answer.expand(len(views), ALL, 2)


class Points(nn.Module):
    """Answers every joint with where the light of its view is concentrated."""

    def forward(self, views):
        light = views.mean(1).square()
        places = (torch.arange(views.shape[-1]) + 0.5) / views.shape[-1] - 0.5
        x, y = (light.sum(1) @ places), (light.sum(2) @ places)
        return (torch.stack([x, y], -1) / light.sum((1, 2))[:, None].clamp(min=1e-6))[:, None].expand(-1, ALL, -1)


def pose(torso=(20.0, 10.0), size=64):
    """A pose (K, 2) whose left shoulder is `torso` away from the right hip."""
    joints = 0.3 * size + 0.4 * size * torch.rand(ALL, 2, generator=torch.Generator().manual_seed(0))
    joints[HIP] = joints[SHOULDER] + torch.tensor(torso)
    return joints


def batch_of(joints, visible=None, size=64):
    visible = torch.full(joints.shape[:2], 2) if visible is None else visible
    images = torch.rand(len(joints), 3, size, size, generator=torch.Generator().manual_seed(1))
    return Batch(images, joints, visible, LSP)


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_the_papers_layers_have_the_printed_sizes():
    with torch.device("meta"):
        model = models.create("deeppose", stages=1).eval()
    weighted = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert [parameters(module) for module in weighted] == LAYERS
    assert parameters(model) == sum(LAYERS) == 58_396_060
    shapes, x = [], torch.empty(1, 3, 220, 220, device="meta")
    for module in model.stages[0].features:
        x = module(x)
        if isinstance(module, nn.ZeroPad2d | nn.Conv2d | nn.MaxPool2d):
            shapes.append(tuple(x.shape[1:]))
    assert shapes[:3] == [(3, 227, 227), (96, 55, 55), (96, 27, 27)] and model.stages[0].features[0].padding[:2] == (
        3,
        4,
    )
    assert shapes[3:] == [(256, 27, 27), (256, 13, 13), (384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6)]
    kinds = [type(module).__name__ for module in model.stages[0].features]
    assert kinds[:5] == ["ZeroPad2d", "Conv2d", "ReLU", "LocalResponse", "MaxPool2d"]
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.6, 0.6]


def test_the_papers_other_count_and_its_multiply_adds():
    with torch.device("meta"):
        assert parameters(models.create("deeppose", stages=1, grouped=True)) == 56_982_940
        assert parameters(models.create("deeppose")) == 3 * sum(LAYERS)
        model = models.create("deeppose", stages=1).eval()
        assert giga_multiply_adds(model) == pytest.approx(1.131, abs=5e-4)


def test_the_course_size_fits_a_laptop():
    model = models.create("deeppose_course").eval()
    assert parameters(model) < 2e6 and len(model.stages) == 3
    assert giga_multiply_adds(model) < 0.42  # 29 looks, as in the paper
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.stages[0](torch.rand(1, 3, model.view, model.view))
    assert counter.get_total_flops() / 2e9 < 0.015


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"input_size": (64, 48)}, r"square input_size that shrink divides; got \(64, 48\) and shrink=2"),
        ({"shrink": 3}, "square input_size that shrink divides"),
        ({"shrink": 4}, "DeepPose sees 16 x 16 pixels with a first stride of 2: too little"),
        ({"stages": 0}, "stages and boxes of at least 1.*stages=0"),
        ({"boxes": 0}, "boxes=0"),
        ({"channels": (4, 4, 4)}, "five numbers of channels"),
        ({"first_share": 0.0}, "first_share=0.0"),
        ({"sigma": 0.0}, "sigma=0.0"),
    ],
)
def test_impossible_options_are_refused(options, sentence):
    with pytest.raises(CourseError, match=sentence):
        tiny(**options)


def test_images_of_another_size_are_refused():
    with pytest.raises(CourseError, match="DeepPose takes images of 64 x 64; got 64 x 48"):
        tiny()(torch.zeros(1, 3, 64, 48))


def test_local_response_by_hand_and_as_torch_has_it():
    x = torch.zeros(1, 6, 1, 1)
    x[0, :, 0, 0] = torch.tensor([1.0, -2.0, 3.0, 0.5, 4.0, 1.0])
    out = LocalResponse(k=2.0, alpha=0.1)(x)[0, :, 0, 0]
    assert float(out[1]) == pytest.approx(-2 / (2 + 0.1 * (1 + 4 + 9 + 0.25)) ** 0.75, rel=1e-5)  # neighbours -1 .. 3
    assert float(out[5]) == pytest.approx(1 / (2 + 0.1 * (0.25 + 16 + 1)) ** 0.75, rel=1e-5)
    x = torch.randn(2, 9, 4, 3)  # torch divides alpha by the number of neighbours
    assert torch.allclose(LocalResponse(2.0, 0.1)(x), F.local_response_norm(x, 5, 0.5, 0.75, 2.0), atol=1e-6)
    layers = [module for module in tiny().modules() if isinstance(module, LocalResponse)]
    assert len(layers) == 6 and layers[0].alpha == pytest.approx(1e-4 * (255 / 4) ** 2)
    assert not any(isinstance(module, LocalResponse) for module in tiny(lrn=False).modules())


# --- the cascade ------------------------------------------------------------------------------------------------------


def test_stage_1_answers_in_units_of_the_whole_crop():
    model = tiny(1)
    model.stages[0] = Says(geometry.normalise(pose(), torch.tensor([0.0, 0.0, 64.0, 64.0])))
    outputs = model(torch.rand(2, 3, 64, 64))
    assert torch.allclose(outputs.joints, pose().expand(1, 2, ALL, 2), atol=1e-4)
    assert model.stages[0].seen[0].shape == (2, 3, 32, 32)


def test_a_later_stage_adds_its_displacement_times_the_side_of_the_box():
    model = tiny(3, sigma=2.0)
    displacements = 0.01 * torch.arange(2 * ALL).view(ALL, 2) - 0.1  # every output its own
    model.stages = nn.ModuleList([Says((pose() - 32) / 64), Says(displacements), Says(torch.zeros(ALL, 2))])
    outputs = model(torch.rand(2, 3, 64, 64))
    side = 2.0 * math.hypot(20, 10)
    second = pose() + displacements * side
    assert torch.allclose(
        outputs.boxes[1, 1, :, 2:] - outputs.boxes[1, 1, :, :2], torch.full((ALL, 2), side), atol=1e-3
    )
    assert torch.allclose((outputs.boxes[1, 0, :, 2:] + outputs.boxes[1, 0, :, :2]) / 2, pose(), atol=1e-3)
    assert torch.allclose(outputs.joints[1], second.expand(2, ALL, 2), atol=1e-3)  # output i of the box of joint i
    own = 2.0 * float((second[SHOULDER] - second[HIP]).norm())  # diam of y^2, not of y^1
    assert torch.allclose(outputs.boxes[2, :, :, 2] - outputs.boxes[2, :, :, 0], torch.full((2, ALL), own), atol=1e-3)


def test_a_box_never_gets_smaller_than_a_tenth_of_the_crop():
    model = tiny(sigma=1.5)
    boxes = model.boxes_around(pose()[None], pose(torso=(1.0, 0.0))[None])
    assert torch.allclose(boxes[..., 2] - boxes[..., 0], torch.full((1, ALL), 1.5 * 6.4), atol=1e-4)


def test_a_stage_that_finds_what_its_box_shows_puts_the_joint_there():
    model = tiny(2, sigma=1.0)
    model.stages = nn.ModuleList([Says((pose() - 32) / 64), Points()])
    place = pose()[4] + torch.tensor([3.0, -4.0])
    images = torch.exp(-(torch.cdist(_centres(64), place[None]) ** 2) / 4).view(1, 1, 64, 64).expand(1, 3, -1, -1)
    outputs = model(images)
    assert torch.allclose(outputs.joints[1, 0, 4], place, atol=0.1)
    assert float((outputs.joints[0, 0, 4].detach() - place).norm()) == pytest.approx(5, abs=1e-3)


def _centres(size):
    rows, columns = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    return torch.stack([columns, rows], -1).view(-1, 2)


def test_estimating_cuts_the_boxes_out_of_the_picture_and_not_out_of_the_crop():
    generator = torch.Generator().manual_seed(3)
    picture, box = torch.rand(3, 431, 350, generator=generator), torch.tensor([40.0, 60.0, 330.0, 400.0])
    model = tiny(2, sigma=0.4).eval()
    model.stages = nn.ModuleList([Says((pose() - 32) / 64), Says(torch.full((ALL, 2), 0.1))])
    ((answer,),) = model.estimate(picture, box[None])
    (views,) = model.stages[1].seen  # (K, 3, 32, 32)
    scale = 64 / (1.25 * 340)
    side = 0.4 * math.hypot(20, 10) / scale  # pixels of the picture
    centres = (pose() - 32) / scale + torch.tensor([185.0, 230.0])
    boxes = torch.cat([centres - side / 2, centres + side / 2], -1)
    assert torch.allclose(answer.joints, centres + 0.1 * side, atol=0.05)
    expected, _ = geometry.crop(picture, boxes, (32, 32), padding=1.0)
    assert torch.allclose(views, expected, atol=1e-3)
    crop, _ = geometry.crop(picture, box[None], (64, 64))
    blurred = model.cut(crop, model(crop).boxes[1])
    assert float((blurred - expected).abs().mean()) > 0.05  # the crop has lost what the picture shows


def test_a_picture_that_is_its_own_crop_is_answered_as_by_forward():
    model = tiny(sigma=0.5).eval()  # boxes that need no averaging down, which forward leaves out
    _shake(model)
    picture = torch.rand(3, 64, 64)
    outputs = model(picture[None])
    assert float((outputs.joints[2] - outputs.joints[0]).detach().abs().max()) > 0.5  # later stages say something
    assert torch.allclose(model.estimate(picture)[0][0].joints, outputs.joints[-1, 0], atol=1e-2)


def _shake(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (97, 41), (700, 20)])
def test_pictures_of_odd_sizes_and_boxes_half_outside(size):
    model = tiny().eval()
    _shake(model)
    height, width = size
    boxes = [[-0.5 * width, -height, 0.5 * width, 0.9 * height]]
    (whole,), (part,) = model.estimate(torch.rand(3, *size)), model.estimate(torch.rand(3, *size), boxes)
    assert whole[0].joints.isfinite().all() and part[0].joints.isfinite().all()


def test_many_people_in_pictures_of_different_sizes_are_answered_one_by_one():
    model = tiny().eval()
    _shake(model)
    pictures = [torch.rand(3, 90, 120), torch.rand(3, 300, 200)]
    boxes = [[[10.0, 10.0, 80.0, 80.0], [30.0, 5.0, 110.0, 85.0]], [[20.0, 30.0, 180.0, 280.0]]]
    together = model.estimate(pictures, boxes, flip_test=True)
    for picture, own, poses in zip(pictures, boxes, together, strict=True):
        for box, answer in zip(own, poses, strict=True):
            alone = model.estimate(picture, [box], flip_test=True)[0][0]
            assert torch.allclose(answer.joints, alone.joints, atol=0.05)


def test_every_stage_can_be_read_out_and_claims_no_confidence():
    model = tiny()
    _shake(model)
    outputs = model(torch.rand(2, 3, 64, 64))
    assert outputs.answers.shape == (3, 2, ALL, 2) and outputs.boxes.shape == (3, 2, ALL, 4)
    for stage in range(3):
        read = torch.stack([one.joints for (one,) in model.decode(outputs, stage)])
        assert torch.equal(read, outputs.joints[stage].detach())
    assert model.decode(outputs)[0][0].scores.tolist() == [1.0] * ALL


def test_the_flip_test_averages_every_stage():
    model = tiny(2)
    boxes = torch.tensor([0.0, 0.0, 64.0, 64.0]).expand(2, 1, ALL, 4)
    first, second = torch.rand(2, 2, 1, ALL, 2) - 0.5
    mean = model.flip_average(Cascade(first, boxes), Cascade(second, boxes)).joints
    turned = (second * 64 + 32)[..., list(LSP.swaps), :] * torch.tensor([-1.0, 1.0]) + torch.tensor([64.0, 0.0])
    assert torch.allclose(mean, ((first * 64 + 32) + turned) / 2, atol=1e-3)


# --- how it is asked and trained --------------------------------------------------------------------------------------


def test_the_loss_of_every_stage_by_hand():
    model = tiny(2)
    answers = torch.zeros(2, 1, ALL, 2)
    answers[1] = 0.25
    boxes = torch.stack([torch.tensor([0.0, 0.0, 64.0, 64.0]).expand(1, ALL, 4), torch.zeros(1, ALL, 4)])
    boxes[1, ..., 2:] = 10.0
    joints = torch.tensor([40.0, 26.0]).repeat(1, ALL, 1)
    visible = torch.ones(1, ALL)
    visible[0, 3:] = 0
    joints[0, 3:] = float("nan")
    terms = model.loss(Cascade(answers, boxes), batch_of(joints, visible))
    assert float(terms["stage_1"]) == pytest.approx((8 / 64) ** 2 + (6 / 64) ** 2)
    assert float(terms["stage_2"]) == pytest.approx((3.5 - 0.25) ** 2 + (2.1 - 0.25) ** 2, rel=1e-5)
    assert float(terms["total"]) == pytest.approx(float(terms["stage_1"] + terms["stage_2"]))


def test_a_stages_error_does_not_reach_the_stage_before():
    model = tiny()
    _shake(model)
    batch = stick_figures(2, (64, 64))
    model.loss(model(batch.images), batch)["stage_2"].backward()
    reached = {name.split(".")[1] for name, one in model.named_parameters() if bool(one.grad.any())}
    assert reached == {"1"}


@pytest.mark.parametrize(
    ("first_share", "turns"),
    [
        (0.5, {0.0: 0, 0.49: 0, 0.5: 1, 0.74: 1, 0.76: 2, 0.99: 2, 1.0: 2, 1.2: 2}),
        (1.0, {0.0: 0, 0.99: 0}),
        (3 / 17, {0.17: 0, 0.18: 1, 0.58: 1, 0.6: 2}),
    ],
)
def test_stages_take_turns(first_share, turns):
    model = tiny(first_share=first_share)
    assert {progress: model.stage_at(progress) for progress in turns} == turns
    assert [tiny(1).stage_at(progress) for progress in (0.0, 0.7, 1.0)] == [0, 0, 0]


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_only_the_stage_whose_turn_it_is_learns(turn):
    model = tiny(boxes=ALL).train()  # all joints, so that every output is asked for
    terms = model.training_loss(stick_figures(3, (64, 64)), 0.1 + 0.4 * turn)
    assert list(terms) == ["stage_1", "stage_2", "stage_3", "total"]
    assert float(terms["total"]) == float(terms[f"stage_{turn + 1}"]) > 0
    assert sum(float(term) for term in terms.values()) == 2 * float(terms["total"])
    terms["total"].backward()
    for name, parameter in model.named_parameters():
        learns = parameter.grad is not None and bool(parameter.grad.isfinite().all())
        assert learns == name.startswith(f"stages.{turn}."), name
    assert model.training


def test_stage_1_is_asked_for_joints_in_units_of_the_crop():
    model = tiny(dropout=0.0)
    batch = stick_figures(3, (64, 64))
    batch.visible[1, :7] = 0
    answers = model.stages[0](F.avg_pool2d(batch.images, 2))
    expected = losses.coordinate_l2(answers, batch.joints / 64 - 0.5, batch.visible)
    assert float(model.training_loss(batch, 0.0)["total"]) == pytest.approx(float(expected), rel=1e-5)


def test_the_errors_of_the_trained_stage_are_measured_per_joint():
    model = tiny(2)
    generator = torch.Generator().manual_seed(0)
    offsets = torch.stack([torch.linspace(-6, 6, ALL), torch.linspace(3, -3, ALL)], -1)  # pixels, per joint
    spread = torch.linspace(1, 4, ALL)[:, None] * torch.tensor([1.0, 0.5])
    model.stages[0] = Says((pose() - 32) / 64)
    for _ in range(150):
        errors = offsets + spread * torch.randn(16, ALL, 2, generator=generator)
        visible = torch.full((16, ALL), 2)
        visible[::2, 0] = 0
        joints = pose() - errors
        joints[::2, 0] = float("nan")
        model.observe(batch_of(joints, visible), 1)
    mean, deviation = model.displacements(1)
    assert torch.allclose(mean * 64, offsets, atol=0.3)
    assert torch.allclose(deviation * 64, spread, rtol=0.05)
    assert model.errors[0, :, 0].tolist() == [1200.0] + [2400.0] * (ALL - 1)
    assert "errors" in model.state_dict()


def test_errors_are_forgotten_while_their_stage_is_trained_again():
    model = tiny()
    batch = stick_figures(3, (64, 64))
    model.training_loss(batch, 0.6)
    assert bool((model.errors[0, :, 0] == 3).all()) and not model.errors[1].any()
    model.training_loss(batch, 0.6)
    assert bool((model.errors[0, :, 0] == 6).all())
    model.training_loss(batch, 0.9)
    assert bool((model.errors[0, :, 0] == 6).all()) and bool((model.errors[1, :, 0] == 3).all())
    model.training_loss(batch, 0.6)
    assert not model.errors[1].any()
    model.training_loss(batch, 0.0)
    assert not model.errors.any()


def test_stage_3_corrects_the_errors_of_stage_2():
    model = tiny(3)
    moved = torch.full((ALL, 2), 0.25)
    model.stages = nn.ModuleList([Says((pose() - 32) / 64), Says(moved), Says(moved)])
    model.training_loss(batch_of(pose()[None]), 0.9)
    assert torch.allclose(model.displacements(2)[0], torch.full((ALL, 2), 0.5 * math.hypot(20, 10) / 64), atol=1e-4)


def test_simulated_boxes_are_drawn_from_the_fitted_normal():
    model = tiny(2, boxes=3, sigma=1.0)
    mean = torch.stack([torch.linspace(-0.1, 0.1, ALL), torch.linspace(0.05, 0.0, ALL)], -1)
    deviation = torch.linspace(0.02, 0.08, ALL)[:, None] * torch.tensor([1.0, 2.0])
    count = 50.0
    model.errors[0] = torch.cat([torch.ones(ALL, 1), mean, deviation.square() + mean.square()], -1) * count
    torch.manual_seed(0)
    which, boxes, joints, labelled = model.simulate(batch_of(pose().expand(60_000, ALL, 2), size=1), 1)
    assert which.shape == (60_000, 3) and bool(labelled.all())
    assert bool((which.sort(-1).values.diff(dim=-1) > 0).all())  # different joints of a person
    assert torch.equal(joints, pose()[which])
    assert torch.allclose(boxes[..., 2:] - boxes[..., :2], torch.tensor(math.hypot(20, 10)), atol=1e-3)
    delta = (boxes[..., :2] + boxes[..., 2:]) / 2 - joints
    for joint in range(ALL):
        own = delta[which == joint] / 64
        assert len(own) > 10_000
        assert torch.allclose(own.mean(0), mean[joint], atol=0.05 * float(deviation[joint].max()))
        assert torch.allclose(own.std(0), deviation[joint], rtol=0.05)


def test_the_target_of_a_simulated_box_is_the_joint_in_units_of_the_box():
    model = tiny(2, boxes=ALL, sigma=2.0)
    answers = torch.rand(ALL, 2) - 0.5
    model.stages = nn.ModuleList([Says((pose() - 32) / 64), Says(answers)])
    batch = batch_of((pose() + torch.tensor([4.0, -2.0]))[None])  # stage 1 is wrong by the same for everybody
    loss = model.training_loss(batch, 0.9)["total"]
    target = torch.tensor([4.0, -2.0]) / (2 * math.hypot(20, 10))
    assert float(loss) == pytest.approx(float((answers - target).square().sum(-1).mean()), rel=1e-3)
    assert model.stages[1].seen[-1].shape == (ALL, 3, 32, 32)


def test_joints_without_label_or_torso_are_not_asked_for():
    model = tiny(2, boxes=ALL)
    batch = stick_figures(3, (64, 64))
    batch.visible[0, HIP] = 0  # nobody knows how large the boxes are
    batch.visible[1, :2] = 0
    batch.joints[0, HIP] = batch.joints[1, :2] = float("nan")
    which, boxes, _, labelled = model.simulate(batch, 1)
    assert not labelled[0].any() and labelled[2].all() and boxes.isfinite().all()
    assert sorted(which[1][~labelled[1]].tolist()) == [0, 1]
    terms = model.training_loss(batch, 0.9)
    terms["total"].backward()
    assert all(one.grad is None or one.grad.isfinite().all() for one in model.parameters())
    model.boxes, batch.visible[1, 3:9] = 5, 0  # six are left
    which, _, _, labelled = model.simulate(batch, 1)
    assert labelled[1:].all()  # those that are labelled come first
    batch.visible[:] = 0
    nothing = model.training_loss(batch, 0.9)["total"]
    nothing.backward()
    assert float(nothing) == 0


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_later_stage_begins_with_the_weights_of_the_one_before(warm_start):
    model = tiny(warm_start=warm_start)
    _shake(model)
    model.training_loss(stick_figures(2, (64, 64)), 0.6)
    first, second = (stage.state_dict() for stage in model.stages[:2])
    same = {name for name in first if torch.equal(first[name], second[name])}
    assert same == ({name for name in first if not name.startswith("answer")} if warm_start else set())
    with torch.no_grad():
        model.stages[0].features[1].weight += 1
    again = tiny(warm_start=warm_start)
    again.load_state_dict(model.state_dict())  # a training taken up again does not begin again
    again.training_loss(stick_figures(2, (64, 64)), 0.6)
    assert torch.equal(again.stages[1].features[1].weight, model.stages[1].features[1].weight)
    assert model.begun.tolist() == [0, 1, 0]


@pytest.mark.parametrize("progress", [0.0, 0.6, 0.9])
def test_half_precision_and_channels_last(progress):
    model = tiny().train().to(memory_format=torch.channels_last)
    batch = stick_figures(3, (64, 64))
    batch.images = batch.images.contiguous(memory_format=torch.channels_last)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        half = model.training_loss(batch, progress)["total"]
    half.backward()
    fresh = tiny()
    torch.manual_seed(1)
    whole = fresh.training_loss(batch, progress)["total"]
    assert half.dtype == torch.float32 and float(half) == pytest.approx(float(whole), rel=0.02)
    assert bool((model.errors - fresh.errors).abs().max() < 0.05)


def test_everything_random_in_a_step_follows_the_global_seed():
    def loss(seed):
        model = tiny(dropout=0.5).train()
        torch.manual_seed(seed)
        return float(model.training_loss(stick_figures(4, (64, 64)), 0.9)["total"])

    assert loss(1) == loss(1) != loss(2)


def test_a_second_stage_learns_what_the_first_gets_wrong():
    """Everybody stands as the mean pose does, but up to 6 pixels beside it, where the first stage always points."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(ALL, 3, generator=generator)

    def shifted(count):
        joints = pose() + 12 * torch.rand(count, 1, 2, generator=generator) - 6
        images = torch.einsum("bkhw,kc->bchw", heatmaps.gaussian(joints, (64, 64), 2.5), colours)
        return Batch(images.clamp(0, 1), joints, torch.full((count, ALL), 2), LSP)

    model = tiny(2, channels=(8, 16, 16, 16, 16), hidden=64).train()
    model.stages[0] = Says((pose() - 32) / 64)
    optimiser = torch.optim.Adam(model.stages[1].parameters(), 3e-3)
    torch.manual_seed(0)
    for _ in range(100):
        optimiser.zero_grad()
        model.training_loss(shifted(16), 0.9)["total"].backward()
        optimiser.step()
    batch = shifted(64)
    with torch.no_grad():
        first, second = (model.eval()(batch.images).joints - batch.joints).norm(dim=-1).mean((1, 2)).tolist()
    assert 4 < first < 5.5 and second < 0.5 * first, (first, second)


def test_a_skeleton_of_ones_own_has_boxes_of_its_own_torso():
    own = Skeleton("hand", ("wrist", "thumb", "finger"), ((0, 1), (0, 2)), (0.05,) * 3, ("wrist", "finger"), None)
    model = DeepPose(own, 2, (64, 64), 2, (5, 2), (4, 4, 4, 4, 4), 8, sigma=1.0)
    joints = torch.tensor([[[10.0, 10.0], [20.0, 30.0], [10.0, 40.0]]])
    boxes = model.boxes_around(joints, joints)
    assert torch.allclose(boxes[0, 1], torch.tensor([5.0, 15.0, 35.0, 45.0]))


def test_memory_is_bounded_without_changing_the_answer(monkeypatch):
    model = tiny().eval()
    _shake(model)
    images = torch.rand(3, 3, 64, 64)
    whole = model(images)
    monkeypatch.setattr(deeppose, "VIEWS_AT_ONCE", 5)
    assert torch.allclose(model(images).joints, whole.joints, atol=1e-3)
