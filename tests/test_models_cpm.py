"""Wei et al. 2016: published counts and fields, who sees and learns what, beliefs, and two kinds of targets."""

import math

import pytest
import torch
from model_helpers import reached_by
from torch.nn import functional as F

from course_lib import geometry, models
from course_lib.errors import CourseError
from course_lib.models import cpm, receptive
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.models.cpm import ConvolutionalPoseMachine
from course_lib.pose import Batch
from course_lib.skeletons import LSP, Skeleton
from course_lib.targets import heatmaps

# Stages -> parameters and G multiply-adds at 368 x 368 with 14 joints; 6 stages are the authors' network, exactly
PUBLISHED = {1: (4.39e6, 64.0), 2: (11.90e6, 134.6), 3: (16.73e6, 144.8), 6: (31_219_866, 175.438)}
NARROW = {"image_channels": (2, 2, 2), "feature_channels": 2, "first_channels": 2, "stage_channels": 2}


def tiny(skeleton="lsp", **options):
    torch.manual_seed(0)
    small = {"image_channels": (8, 8), "feature_channels": 6, "first_channels": 12, "stage_channels": 10}
    small |= {"image_kernel": 3, "feature_kernel": 3, "first_kernel": 3, "stage_kernel": 3, "pool": 2, "dropout": 0.0}
    small |= {"stages": 3, "input_size": (64, 48), "sigma": 1.0, "centre_sigma": 4.0}
    return ConvolutionalPoseMachine(skeleton, **{**small, **options})


def people(count=3, height=64, width=48, seed=0):
    generator = torch.Generator().manual_seed(seed)
    joints = 8 + torch.rand(count, 14, 2, generator=generator) * torch.tensor([width - 16.0, height - 16.0])
    return Batch(torch.rand(count, 3, height, width, generator=generator), joints, torch.full((count, 14), 2), LSP)


def awake(model):
    """Away from its cautious start, where the later layers hear next to nothing of the earlier ones."""
    with torch.no_grad():
        for head in model.heads:
            head[-1].weight.normal_(std=0.5)
    return model


# --- counts and sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stages", PUBLISHED)
def test_the_papers_size_has_the_published_counts(stages):
    count, giga = PUBLISHED[stages]
    with torch.device("meta"):
        model = models.create("cpm", stages=stages).eval()
    exact = isinstance(count, int)
    assert parameters(model) == (count if exact else pytest.approx(count, abs=5e3))
    assert giga_multiply_adds(model) == pytest.approx(giga, abs=5e-4 if exact else 0.05)
    if exact:
        assert len(model.state_dict()) == 80 and model.skeleton is LSP


def test_the_authors_network_for_upper_bodies():
    joints = tuple(f"joint_{k}" for k in range(9))
    own = Skeleton("upper", joints, (), (0.05,) * 9, (joints[0], joints[1]), None)
    with torch.device("meta"):
        model = models.create("cpm", own, stages=4).eval()
    assert parameters(model) == pytest.approx(21.3e6, abs=5e4) and giga_multiply_adds(model) == pytest.approx(
        154.5, abs=0.05
    )


@pytest.mark.parametrize("pool", [2, 3])
def test_the_papers_input_gives_46_by_46_cells(pool):
    with torch.device("meta"):
        model = models.create("cpm", pool=pool, stages=2, **NARROW)
        assert model(torch.empty(2, 3, 368, 368)).shape == (2, 2, 15, 46, 46)
        assert model(torch.empty(2, 3, 16, 24)).shape == (2, 2, 15, 2, 3)
    assert model.stride == 8


def test_pools_of_three_round_sizes_up_and_do_not_pad():
    x = torch.randn(2, 3, 8, 12)
    block = cpm.tower((4,), 3, pool=3, norm=False)[0]
    padded = F.pad(block[0](x), (0, 1, 0, 1), value=-math.inf)
    expected = padded.unfold(2, 3, 2).unfold(3, 3, 2).amax((-2, -1))
    assert torch.equal(block(x), expected) and expected.shape[-2:] == (4, 6)


def test_the_course_size_fits_a_laptop():
    model = models.create("cpm_course").eval()
    assert giga_multiply_adds(model) < 0.15 and parameters(model) < 1e6
    assert len(model(torch.rand(1, 3, *model.input_size))) >= 3  # stages, for their refinement to be seen


# --- what a cell can see ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pool", "first", "offset"), [(2, 160, 0.0), (3, 167, 3.5)])
def test_every_stage_has_the_papers_receptive_field(pool, first, offset):
    with torch.device("meta"):
        fields = receptive.computed(models.create("cpm", pool=pool), torch.empty(1, 3, 64, 64))
    assert [field.size for field in fields] == [(first + 240 * t, first + 240 * t) for t in range(6)]
    for field in fields:
        assert field.stride == (8, 8) and field.offset() == (offset, offset)


@pytest.mark.parametrize("pool", [2, 3])
def test_the_gradient_finds_the_same_fields(pool):
    model = models.create("cpm", pool=pool, **NARROW)
    fields = receptive.computed(model, torch.zeros(1, 3, 16, 16))
    images = torch.rand(1, 3, 16, 1440, generator=torch.Generator().manual_seed(0))
    for stage, field in enumerate(fields):
        found = receptive.measured(model, images, (1, 90), lambda beliefs, stage=stage: beliefs[stage])
        assert found[[0, 2]].tolist() == field.box((1, 90))[[0, 2]].tolist()


def test_the_course_size_grows_its_field_over_the_whole_person():
    model = models.create("cpm_course")
    sizes = [field.size[0] for field in receptive.computed(model, torch.zeros(1, 3, 64, 64))]
    assert sizes == sorted(set(sizes)) and sizes[0] < 0.5 * 96 and sizes[-1] > 96


# --- the network ------------------------------------------------------------------------------------------------------


def test_every_stages_beliefs_are_kept_and_start_as_background():
    model = tiny().eval()
    beliefs = model(torch.rand(2, 3, 48, 80))
    assert beliefs.shape == (3, 2, 15, 12, 20) and model.stride == 4
    assert float(beliefs[:, :, :14].detach().abs().max()) < 0.05
    assert float((beliefs[:, :, 14] - 1).detach().abs().max()) < 0.05


def test_a_stage_reads_features_beliefs_and_centre_in_this_order():
    model = awake(tiny(stages=2)).eval()
    images, centre = torch.rand(2, 3, 64, 48), torch.tensor([[10.0, 20.0], [40.0, 50.0]])
    first = model.heads[0](model.features[0](model.tower(images)))
    features = model.features[1](model.shared_tower(images))
    together = torch.cat([features, first, model.centre_map(images, centre)], 1)
    beliefs = model(images, centre)
    assert torch.allclose(beliefs[0], first) and torch.allclose(beliefs[1], model.heads[1](together))
    assert not torch.allclose(model.tower(images), model.shared_tower(images))


def test_beliefs_are_linear():
    model = awake(tiny())
    assert float(model(torch.rand(1, 3, 64, 48)).detach().amin()) < -0.1


def test_only_later_stages_are_told_who_is_meant():
    model = awake(tiny()).eval()
    images = torch.rand(2, 3, 64, 48)
    default, middle = model(images), model(images, torch.tensor([[24.0, 32.0]] * 2))
    moved = model(images, torch.tensor([[24.0, 32.0], [4.0, 32.0]]))
    assert torch.equal(default, middle)
    assert torch.equal(default[0], moved[0])
    assert torch.equal(default[:, 0], moved[:, 0]) and not torch.equal(default[1, 1], moved[1, 1])


@pytest.mark.parametrize(("layers", "stride"), [((8, 8), 4), ((8, 8, 8), 8)])
def test_the_centre_map_is_a_gaussian_averaged_over_cells(layers, stride):
    model = tiny(image_channels=layers)
    images = torch.zeros(1, 3, 64, 48)
    found = model.centre_map(images, torch.tensor([[20.5, 30.5]]))[0, 0]
    assert found.shape == (64 // stride, 48 // stride)
    for row, column in ((0, 0), (3, 2), (64 // stride - 1, 48 // stride - 1)):
        ys = [y for y in range(row * stride, row * stride + stride + 1) if y < 64]
        xs = [x for x in range(column * stride, column * stride + stride + 1) if x < 48]
        values = [math.exp(-((x - 20) ** 2 + (y - 30) ** 2) / (2 * 4.0**2)) for y in ys for x in xs]
        assert float(found[row, column]) == pytest.approx(sum(values) / len(values), abs=1e-6)


def test_dropout_works_in_the_first_stage_in_training_only():
    images = torch.rand(1, 3, 64, 48)
    model = awake(tiny(dropout=0.5))
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))
    assert [sum(isinstance(m, torch.nn.Dropout) for m in head.modules()) for head in model.heads] == [2, 0, 0]


@pytest.mark.parametrize(
    ("images", "centre", "sentence"),
    [
        ((1, 3, 64, 50), None, "height and width divisible by 4; got 64 x 50"),
        ((2, 3, 64, 48), (1, 2), r"centre must have shape \(2, 2\) as x, y; got \(1, 2\)"),
    ],
)
def test_pictures_and_centres_of_the_wrong_size_are_refused(images, centre, sentence):
    with pytest.raises(CourseError, match=sentence):
        tiny()(torch.zeros(images), None if centre is None else torch.zeros(centre))


@pytest.mark.parametrize(
    "options",
    [
        {"stages": 0},
        {"image_channels": ()},
        {"image_channels": (8, 0)},
        {"feature_channels": 0},
        {"first_channels": 0},
        {"stage_channels": 0},
        {"image_kernel": 4},
        {"feature_kernel": 2},
        {"first_kernel": 0},
        {"stage_kernel": 10},
        {"pool": 4},
        {"supervise": "first"},
        {"centre_sigma": 0.0},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(CourseError, match=r"a convolutional pose machine (needs|takes)"):
        tiny(**options)


# --- who learns from which loss ---------------------------------------------------------------------------------------


def part(name):
    """tower, features.0, heads.0, ...: the part of the network that a parameter belongs to."""
    return name.split(".")[0] if "tower" in name else ".".join(name.split(".")[:2])


def test_a_loss_reaches_all_earlier_stages_and_no_later_one():
    first, second = {"tower", "features.0", "heads.0"}, {"shared_tower", "features.1", "heads.1"}
    assert reached_by(tiny(), 0, part) == first
    assert reached_by(tiny(), 1, part) == first | second
    assert reached_by(tiny(), 2, part) == first | second | {"features.2", "heads.2"}


def test_a_later_stage_learns_from_the_picture_without_the_beliefs():
    model = tiny(stages=2)
    with torch.no_grad():
        model.heads[1][0][0].weight[:, 6:] = 0  # deaf to beliefs and centre
    assert reached_by(model, 1, part) == {"shared_tower", "features.1", "heads.1"}


@pytest.mark.parametrize(
    ("supervise", "terms"), [("all", ["stage_1", "stage_2", "stage_3", "total"]), ("last", ["stage_3", "total"])]
)
def test_supervising_all_stages_or_the_last(supervise, terms):
    model, batch = tiny(supervise=supervise), people()
    loss = model.loss(model(batch.images), batch)
    assert sorted(loss) == terms
    everything = tiny().loss(tiny()(batch.images), batch)
    assert torch.equal(loss["stage_3"], everything["stage_3"])
    loss["total"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


# --- targets and loss -------------------------------------------------------------------------------------------------


def test_targets_are_gaussians_and_what_they_leave():
    model, batch = tiny(), people()
    target = model.targets(batch, (16, 12))
    assert target.shape == (3, 15, 16, 12)
    assert torch.equal(target[:, :14], heatmaps.gaussian(batch.joints / 4, (16, 12), 1.0))
    assert torch.allclose(target[:, 14] + target[:, :14].amax(1), torch.ones(3, 16, 12))
    batch.visible[1, 3] = 0
    batch.joints[1, 3] = float("nan")
    without = model.targets(batch, (16, 12))
    assert bool((without[1, 3] == 0).all()) and torch.equal(without[[0, 2]], target[[0, 2]])
    assert bool((without[1, 14] >= target[1, 14]).all())


def test_the_first_stage_may_find_everybody_the_later_ones_only_who_is_meant():
    model, batch = tiny(), people(1)
    batch.joints[:] = torch.tensor([14.0, 14.0])
    elsewhere, here = torch.tensor([38.0, 50.0]).expand(1, 1, 14, 2), batch.joints[:, None]
    joints, visible = torch.cat([elsewhere, here], 1), torch.ones(1, 2, 14)
    visible[:, :, 5] = 0
    alone, both = model.targets(batch, (16, 12)), model.targets(batch, (16, 12), (joints, visible))
    assert float(both.max()) <= 1  # the second one stands where the person does, and adds nothing above 1
    assert float(both[0, 0, 3, 3]) == 1 and float(both[0, 0, 12, 9]) == pytest.approx(
        float(alone[0, 0, 3, 3]), abs=1e-5
    )
    assert float(alone[0, 0, 12, 9]) < 1e-6 and torch.equal(both[0, 5], alone[0, 5])
    assert float(both[0, 14, 12, 9]) < 0.3 < 0.9 < float(alone[0, 14, 12, 9])
    # an answer with two people is right for stage 1, and wrong for the others
    answer = torch.stack([both, both, alone])
    terms = model.loss(answer, batch, (joints, visible))
    assert terms["stage_1"] == terms["stage_3"] == 0 and float(terms["stage_2"]) > 0.5
    assert float(model.loss(answer, batch)["stage_1"]) > 0.5
    last = tiny(supervise="last").loss(torch.stack([alone]), batch, (joints, visible))
    assert float(last["stage_1"]) > 0.5  # the only stage is the first


def test_the_gaussians_of_people_close_to_each_other_add_up():
    model, batch = tiny(), people(1)
    batch.joints[:] = torch.tensor([22.0, 34.0])  # cell (8, 5), its middle
    apart = torch.tensor([12.0, 0.0])  # three cells to the right
    target = model.targets(batch, (16, 12), (batch.joints[:, None] + apart, batch.visible[:, None]))
    assert float(target[0, 3, 8, 6]) == pytest.approx(math.exp(-1 / 2) + math.exp(-4 / 2), abs=1e-6)
    assert float(target[0, 14, 8, 6]) == pytest.approx(1 - math.exp(-1 / 2) - math.exp(-4 / 2), abs=1e-6)


def test_the_last_of_several_stages_is_not_taken_for_the_first():
    model, batch = tiny(supervise="last"), people(1)
    other = (batch.joints[:, None] + 9, batch.visible[:, None])
    alone = model.targets(batch, (16, 12))
    assert float(model.loss(torch.stack([alone] * 3), batch, other)["total"]) == 0


def test_the_loss_is_the_papers_sum_of_squares_up_to_one_constant():
    model, batch = tiny(), people(2)
    beliefs = torch.randn(3, 2, 15, 16, 12, generator=torch.Generator().manual_seed(1))
    target = model.targets(batch, (16, 12))
    squares = (beliefs - target).square().sum((1, 2, 3, 4)) / 2  # a person's f_t, the mean of two people
    expected = squares / (14 * math.pi * 1.0**2)  # what an all-zero answer's 14 joint maps cost
    found = torch.stack(model.stage_losses(beliefs, batch))
    assert torch.allclose(found, expected, rtol=1e-5)
    assert float(model.loss(beliefs, batch)["total"]) == pytest.approx(float(expected.sum()), rel=1e-5)
    assert all(float(term) == 0 for term in model.stage_losses(target[None], batch))


def test_the_background_is_asked_only_of_those_whose_joints_are_all_labelled():
    model, batch = tiny(), people(2)
    batch.visible[1, 0] = 0
    beliefs = torch.zeros(1, 2, 15, 16, 12)
    changed = beliefs.clone()
    changed[0, 1, 14] = 3.0  # the background of the second person, one of whose joints nobody knows
    assert torch.equal(model.stage_losses(beliefs, batch)[0], model.stage_losses(changed, batch)[0])
    changed[0, 0, 14] = 3.0
    assert not torch.equal(model.stage_losses(beliefs, batch)[0], model.stage_losses(changed, batch)[0])


# --- training ---------------------------------------------------------------------------------------------------------


class Told(ConvolutionalPoseMachine):
    """Remembers which centres it was told."""

    def forward(self, images, centre=None):
        self.centre = centre
        return super().forward(images, centre)


def test_training_tells_half_of_the_people_where_they_are():
    torch.manual_seed(0)
    model = Told(**{**NARROW, "stages": 2, "input_size": (64, 48), "image_kernel": 1, "first_kernel": 1})
    batch = people(200)
    batch.visible[:, 7:] = 0
    batch.joints[:, 7:] = float("nan")
    batch.visible[100:] = 0
    terms = model.training_loss(batch, 0.0)
    known = batch.joints[:100, :7]
    own = (known.amin(1) + known.amax(1)) / 2
    told, default = (model.centre[:100] == own).all(-1), (model.centre == torch.tensor([24.0, 32.0])).all(-1)
    assert 30 < int(told.sum()) < 70 and bool((told ^ default[:100]).all())
    assert bool(default[100:].all())  # of whom nothing is known, nothing can be told
    assert torch.allclose(terms["total"], terms["stage_1"] + terms["stage_2"]) and terms["total"].isfinite()


def test_training_in_half_precision_reaches_every_weight():
    model, batch = awake(tiny(norm=True)).train().to(memory_format=torch.channels_last), people(4)
    with torch.autocast("cpu", torch.bfloat16):
        terms = model.training_loss(batch, 0.5)
    assert all(term.dtype == torch.float32 for term in terms.values())
    terms["total"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


# --- answers ----------------------------------------------------------------------------------------------------------


def test_decoding_a_perfect_answer_gives_the_joints_and_no_background():
    model = tiny(input_size=(96, 128))
    joints = torch.rand(3, 14, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([108.0, 76.0]) + 10
    batch = Batch(torch.zeros(3, 3, 96, 128), joints, torch.ones(3, 14), LSP)
    empty = torch.zeros(3, 15, 24, 32)
    outputs = torch.stack([empty, model.targets(batch, (24, 32))])
    for read_out, error in (("dark", 0.01), ("quarter", 1.5), ("argmax", 2.9)):
        answer = torch.stack([pose.joints for (pose,) in model.decode(outputs, read_out=read_out)])
        assert answer.shape == (3, 14, 2) and float((answer - joints).norm(dim=-1).max()) < error
    ((nobody,), *_) = model.decode(outputs, stage=0)
    assert nobody.score == 0 and nobody.scores.shape == (14,)


def test_the_flip_average_keeps_the_background_in_its_place():
    model, batch = tiny(), people(1)
    mirrored = Batch(
        geometry.flip_images(batch.images), geometry.flip_joints(batch.joints, 48, LSP.swaps), batch.visible, LSP
    )
    target, other = (model.targets(one, (16, 12))[None] for one in (batch, mirrored))
    assert torch.allclose(model.flip_average(target, other), target, atol=1e-6)
