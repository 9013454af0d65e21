"""Tompson et al. 2015: counts, banks, contrast, dropout, crops that lie right, and which loss reaches which weights."""

import math
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from course_lib import geometry, models
from course_lib.errors import CourseError
from course_lib.models import tompson
from course_lib.models.counting import parameters
from course_lib.models.tompson import FINE_STRIDE, Answer, Bank, LocalContrast, Refiner, Tompson, crop
from course_lib.pose import Batch
from course_lib.skeletons import LSP
from course_lib.targets import heatmaps
from course_lib.training import recipes

BANK = 3 * 128 * 25 + 128 + 7 * (128 * 128 * 25 + 128) + 128 * 512 * 81 + 512  # eight 5x5 convolutions and a 9x9 one
HEAD = 512 * 256 + 256 + 256 * 16 + 16
REFINER = 4 * 2 * (128 * 128 * 25 + 128) + 16 * 128 + 16  # four paths of two, and a last layer for every joint


def multiply_adds(model):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, *model.input_size, device=next(model.parameters()).device))
    return counter.get_total_flops() / 2


def tiny(**options):
    torch.manual_seed(0)
    small = {"input_size": (64, 96), "stages": 7, "widths": (6, 8), "hidden": (12, 10), "kernel": 3, "window": 3}
    return Tompson("lsp", **{**small, "crop_size": 12, "fine_width": 5, **options})


def people(model, count=3, seed=0):
    """Noise with joints on it, none nearer to the border than a sixth."""
    generator = torch.Generator().manual_seed(seed)
    height, width = model.input_size
    joints = (1 + 4 * torch.rand(count, 14, 2, generator=generator)) / 6 * torch.tensor([width, height])
    images = torch.rand(count, 3, height, width, generator=generator)
    return Batch(images, joints, torch.full((count, 14), 2), LSP)


def with_gradient(model):
    return {name for name, p in model.named_parameters() if p.grad is not None and float(p.grad.abs().sum()) > 0}


def perfect(model, joints, centres=None):
    """What a model would say that knows the joints: Gaussians on the coarse maps, and around the centres."""
    size = (model.input_size[0] // model.stride, model.input_size[1] // model.stride)
    coarse = heatmaps.gaussian(joints / model.stride, size, model.sigma)
    centres = model.peaks(coarse) if centres is None else centres
    cells = model.refiner.size
    fine = heatmaps.gaussian((joints - centres) / FINE_STRIDE + cells / 2, (cells, cells), model.sigma)
    return Answer(coarse, [], centres, fine)


# --- counts and sizes -------------------------------------------------------------------------------------------------


def test_the_papers_size_has_the_parameters_of_its_layers():
    with torch.device("meta"):
        model, coarse = models.create("tompson"), models.create("tompson", fine=False)
    assert parameters(model) == 3 * BANK + HEAD + REFINER == 27_975_584
    assert parameters(coarse) == 3 * BANK + HEAD
    assert "27,975,584" in tompson.__doc__


def test_the_papers_size_has_the_multiply_adds_of_its_layers():
    convolution = 128 * 128 * 25
    finest = 3 * 128 * 25 * 256**2 + convolution * (128**2 + 64**2 + 5 * 32**2) + 128 * 512 * 81 * 32**2
    coarse = finest * 21 // 16 + (512 * 256 + 256 * 16) * 32**2  # banks of a quarter and a sixteenth besides
    fine = 16 * (2 * convolution * (2 * 36**2 + 2 * 19**2) + 128 * 36**2)
    with torch.device("meta"):
        assert multiply_adds(models.create("tompson").eval()) == coarse + fine
        assert multiply_adds(models.create("tompson", fine=False).eval()) == coarse


def test_the_course_size_fits_a_laptop():
    model = models.create("tompson_course").eval()
    assert multiply_adds(model) < 0.115e9 and parameters(model) < 0.7e6


@pytest.mark.parametrize(("pooling", "cells"), [(4, (16, 32)), (8, (8, 16)), (16, (4, 8))])
def test_pooling_decides_the_coarse_cells_and_nothing_else(pooling, cells):
    model = tiny(pooling=pooling, jitter=0.5).eval()
    answer = model(torch.rand(2, 3, 64, 128))
    assert answer.coarse.shape == (2, 14, *cells) and answer.fine.shape == (2, 14, 12, 12) and model.stride == pooling
    assert answer.centres.shape == answer.offsets().shape == (2, 14, 2)
    assert torch.equal(answer.centres, heatmaps.argmax(answer.coarse)[0] * pooling)
    assert torch.equal(answer.offsets(), (heatmaps.argmax(answer.fine)[0] - 6) * FINE_STRIDE)
    assert parameters(model) == parameters(tiny())
    assert float(answer.coarse.detach().abs().max()) < 0.2  # starts near zero, as the target mostly is


def bare(bank):
    """The same bank with convolutions that are not padded."""
    bank = deepcopy(bank)
    for module in bank.modules():
        if isinstance(module, nn.Conv2d):
            module.padding = (0, 0)
    return bank


def test_padded_maps_answer_as_the_papers_padded_picture_does():
    """The published sizes: 420 x 300, a picture of 360 x 240 with 30 more on each side, makes maps of 90 x 60."""
    torch.manual_seed(0)
    bank = Bank((4, 4, 4), 5, 2, 8, 9, norm=False)
    for size, context in (((300, 420), (60, 90)), ((180, 240), (30, 45))):
        assert bare(bank)(torch.zeros(1, 3, *size))[0].shape[-2:] == context
    picture = torch.randn(1, 3, 96, 120)
    own, theirs = bank(picture)[0], bare(bank)(F.pad(picture, (30,) * 4))[0]
    assert own.shape == theirs.shape == (1, 8, 24, 30)
    within = (..., slice(8, -8), slice(8, -8))  # 30 pixels from the border on, no padding is in sight
    assert torch.allclose(own[within], theirs[within], atol=1e-5) and not torch.allclose(own, theirs, atol=1e-3)


def test_the_fine_network_is_given_the_second_stages_input_and_output():
    bank = Bank((4, 5, 6), 3, 3, 8, 3, norm=False)
    x = torch.rand(1, 3, 16, 24)
    first = F.max_pool2d(bank.stages[0](x), 2)
    context, early = bank(x)
    assert torch.equal(early[0], first) and torch.equal(early[1], bank.stages[1](first))
    assert early[1].shape == (1, 5, 8, 12) and context.shape == (1, 8, 2, 3)


def test_lower_banks_see_averages_so_that_fine_stripes_do_not_alias():
    model, seen = tiny(fine=False), []
    model.contrast.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    stripes = (torch.arange(96) % 2).float().expand(1, 3, 64, 96)
    model(stripes)
    assert [images.shape[-1] for images in seen] == [96, 48, 24]
    assert torch.equal(seen[0], stripes) and all(bool((images == 0.5).all()) for images in seen[1:])


# --- local contrast normalisation -------------------------------------------------------------------------------------


def test_contrast_is_the_windows_weighted_mean_and_deviation():
    images = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bell = heatmaps.gaussian(torch.tensor([[4.5, 4.5]]), (9, 9), tompson.LCN_SIGMA)[0].double()

    def window(maps, row, column):
        """The weighted mean of the 9 x 9 cells around one, of which some may lie outside."""
        total = weight = 0
        for r in range(max(row - 4, 0), min(row + 5, 20)):
            for c in range(max(column - 4, 0), min(column + 5, 24)):
                total, weight = total + bell[r - row + 4, c - column + 4] * maps[:, r, c].mean(), weight
                weight = weight + bell[r - row + 4, c - column + 4]
        return total / weight

    every = [(r, c) for r in range(20) for c in range(24)]
    v = images[0] - torch.stack([window(images[0], r, c) for r, c in every]).view(20, 24)
    deviation = torch.stack([window(v**2, r, c) for r, c in every]).view(20, 24).sqrt()
    expected = v / deviation.clamp(min=float(deviation.mean()))
    assert torch.allclose(LocalContrast()(images)[0], expected, atol=1e-4)


def test_contrast_forgets_light_and_leaves_flat_pictures_at_zero():
    contrast, images = LocalContrast(), torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(contrast(0.4 * images + 0.3), contrast(images), atol=1e-4)
    assert float(contrast(torch.full((1, 3, 16, 16), 0.7)).abs().max()) < 1e-4
    speck = contrast(0.5 + 1e-3 * torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    assert float(speck.std()) < 0.2  # noise below FLAT is not blown up to a texture
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(contrast(images), contrast(images.double()).float(), atol=1e-4)
    rough = images.bfloat16()
    assert contrast(rough).dtype == torch.bfloat16
    assert torch.allclose(contrast(rough).float(), contrast(rough.float()), atol=0.01)  # rounded once, at the end


# --- dropout ----------------------------------------------------------------------------------------------------------


def test_spatial_dropout_takes_whole_maps_before_the_first_1x1_convolution():
    model = tiny(rate=0.3, hidden=(200, 8), fine=False)
    seen = []
    model.dropout.register_forward_hook(lambda module, given, gives: seen.append((given[0], gives)))
    with torch.no_grad():
        model.train()(torch.rand(60, 3, 64, 96))
        model.eval()(torch.rand(1, 3, 64, 96))
    (before, after), (plain, kept) = seen
    ratio = torch.where(before > 0, after / before, torch.nan).flatten(2)  # (B, channels, cells)
    alive = [row[row.isfinite()] for row in ratio.flatten(0, 1)]
    alive = [row for row in alive if len(row) > 1]
    assert len(alive) > 5000 and model.head[0][0].kernel_size == (1, 1)
    assert all(bool((row == row[0]).all()) or torch.allclose(row, row[0].expand_as(row), rtol=1e-5) for row in alive)
    values = torch.stack([row[0] for row in alive])
    dropped = values == 0
    assert abs(float(dropped.float().mean()) - 0.3) < 0.02
    assert torch.allclose(values[~dropped], torch.tensor(1 / 0.7), rtol=1e-5)
    assert torch.equal(plain, kept)


@pytest.mark.parametrize(("dropout", "cells"), [("spatial", {0.0, 1.0}), ("element", None), ("none", {1.0})])
def test_the_kinds_of_dropout_differ_in_what_goes_together(dropout, cells):
    layer = tiny(dropout=dropout, rate=0.5).dropout.train()
    shares = (layer(torch.ones(4, 12, 8, 8)) > 0).float().mean((-2, -1)).unique()
    if cells is not None:
        assert set(shares.tolist()) == cells
    else:  # every map keeps about half of its cells
        assert shares.min() > 0.2 and shares.max() < 0.8


# --- crops ------------------------------------------------------------------------------------------------------------


def places(height, width, stride):
    """Maps (1, 2, h, w) whose every cell says where its centre lies in the picture, in pixels."""
    y, x = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
    return (torch.stack([x, y]).float()[None] + 0.5) * stride


def test_a_crop_holds_the_asked_cells_and_zeros_beyond_the_border():
    maps = torch.arange(1.0, 25.0).view(1, 1, 4, 6).repeat(2, 2, 1, 1)
    maps[1, 1] *= 100
    cut = crop(maps, torch.tensor([[[1, 1], [-1, 2]], [[5, 3], [-9, 40]]]), 2)
    assert cut.shape == (4, 2, 2, 2)
    assert cut[0, 0].tolist() == [[8, 9], [14, 15]] and cut[1, 1].tolist() == [[0, 13], [0, 19]]
    assert cut[2, 1].tolist() == [[2400, 0], [0, 0]] and float(cut[3].abs().sum()) == 0
    doubled = crop(maps, torch.tensor([[[1, 2]], [[0, 0]]]), 3, times=2)
    large = maps.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.equal(doubled[0], large[0, :, 2:5, 1:4])


def test_gradients_flow_through_a_crop_to_the_cells_it_shows():
    maps = torch.rand(1, 1, 4, 6, requires_grad=True)
    crop(maps, torch.tensor([[[1, 1], [2, 1]]]), 2).sum().backward()
    expected = torch.zeros(4, 6)
    expected[1:3, 1:3] += 1
    expected[1:3, 2:4] += 1
    assert torch.equal(maps.grad[0, 0], expected)


@pytest.mark.parametrize("centre", [(40.0, 22.0), (42.0, 24.0), (2.0, 62.0), (96.0, 0.0)])
@pytest.mark.parametrize("path", range(4))
def test_every_banks_crop_lies_around_the_centre(centre, path):
    refiner = Refiner((2,) * 4, 2, 1, 3, 12, joints=1, norm=False)
    refiner.paths = nn.ModuleList(nn.Identity() for _ in range(4))
    level, layer = divmod(path, 2)
    early = [[torch.zeros(1, 2, 64 // step, 96 // step) for _ in range(2)] for step in (2, 4)]
    early[level][layer] = places(64, 96, FINE_STRIDE * 2**level)
    corners = (torch.tensor([[centre]]) / FINE_STRIDE).long() - 6
    fine = torch.cat([refiner_says(refiner, early, corners, axis) for axis in (0, 1)])
    true = places(24, 24, FINE_STRIDE)[0] - 12 + torch.tensor(centre)[:, None, None]
    inside = ((true > 0) & (true < torch.tensor([96, 64])[:, None, None])).all(0)
    error = (fine - true).abs() * inside
    assert float(error.max()) == (0 if level == 0 else 1) and bool((fine[:, ~inside] == 0).all())
    if inside.all():
        assert torch.allclose((fine - true).mean((-2, -1)), torch.zeros(2), atol=1e-5)  # no shift between the banks


def test_the_second_look_lies_around_the_coarse_peaks():
    model, seen = tiny(), []
    model.refiner.register_forward_pre_hook(lambda module, given: seen.append(given))
    answer = model.eval()(torch.rand(2, 3, 64, 96))
    ((early, corners),) = seen
    assert torch.equal(FINE_STRIDE * (corners + 12 // 2), answer.centres.long())  # the middle of 12 cells
    assert [features.shape[-1] for bank in early[:2] for features in bank] == [48, 48, 24, 24]


def refiner_says(refiner, early, corners, axis):
    """The sum of the paths, of which the last layer lets one channel through."""
    with torch.no_grad():
        refiner.last.weight.zero_()[0, axis] = 1
        refiner.last.bias.zero_()
        return refiner(early, corners)[0]


def test_the_fine_network_is_shared_by_all_joints_but_for_its_last_layer():
    model = tiny()
    with torch.device("meta"):
        many = models.create("tompson", "coco")
        few = models.create("tompson", "lsp")
    assert parameters(many.refiner) - parameters(few.refiner) == 3 * (128 + 1)
    batch = people(model)
    model(batch.images).fine[:, 4].square().sum().backward()
    grad = model.refiner.last.weight.grad.flatten(1).abs().sum(1)
    assert grad[4] > 0 and float(grad.sum() - grad[4]) == 0
    assert {name.split(".")[2] for name in with_gradient(model) if name.startswith("refiner.paths")} == set("0123")


@pytest.mark.parametrize(("banks", "paths"), [(1, 2), (2, 4), (3, 4)])
def test_fewer_banks_and_a_flat_network_work_as_well(banks, paths):
    model = tiny(banks=banks)
    assert len(model.banks) == banks and len(model.refiner.paths) == paths
    batch = people(model)
    model.loss(model(batch.images), batch)["total"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


# --- what it is asked -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", tompson.LOSSES)
def test_every_loss_is_measured_in_answers_that_say_nothing(loss):
    model = tiny(loss=loss, weight=0.5, sigma=1.0, input_size=(128, 192))
    batch = people(model)
    answer = perfect(model, batch.joints)
    nothing = answer._replace(coarse=torch.zeros_like(answer.coarse), fine=torch.zeros_like(answer.fine))
    terms = model.loss(nothing, batch)
    assert float(terms["coarse"]) == pytest.approx(1, abs=0.02)
    assert float(terms["fine"]) == pytest.approx(0.5, abs=0.02)
    if loss != "cross_entropy":
        assert {float(term) for term in model.loss(answer, batch).values()} == {0.0}
    else:  # at best the entropy of the target remains, ln(2 pi e sigma^2) for a Gaussian
        logits = answer._replace(coarse=(answer.coarse + 1e-30).log(), fine=(answer.fine + 1e-30).log())
        best = math.log(2 * math.pi * math.e * model.sigma**2) / math.log(16 * 24)
        assert float(model.loss(logits, batch)["coarse"]) == pytest.approx(best, rel=0.02)


def test_one_joint_by_hand():
    model = tiny(weight=0.25, sigma=1.0, input_size=(64, 64))
    joints = torch.full((1, 14, 2), 36.0)  # the middle of coarse cell (4, 4)
    coarse, fine = torch.zeros(1, 14, 8, 8), torch.zeros(1, 14, 12, 12)
    batch = Batch(torch.zeros(1, 3, 64, 64), joints, torch.tensor([[2] + [0] * 13]), LSP)
    centres = torch.full((1, 14, 2), 28.0)  # one cell away: the joint lies on fine cell 10, at its corner
    terms = model.loss(Answer(coarse, [], centres, fine), batch)
    cells = torch.arange(8) + 0.5
    squares = torch.exp(-((cells - 4.5) ** 2)).sum() ** 2
    assert float(terms["coarse"]) == pytest.approx(float(squares) / math.pi, rel=1e-5)
    cells = torch.arange(12) + 0.5
    squares = torch.exp(-((cells - 10) ** 2)).sum() ** 2
    assert float(terms["fine"]) == pytest.approx(0.25 * float(squares) / math.pi, rel=1e-5)
    assert float(terms["total"]) == pytest.approx(float(terms["coarse"] + terms["fine"]))
    away = model.loss(Answer(coarse, [], centres - 8, fine), batch)
    assert float(away["fine"]) == 0 and away["coarse"] == terms["coarse"]  # outside its crop, and not counted


def test_the_fine_loss_reaches_the_early_features_of_two_banks_and_no_more():
    model = tiny()
    batch = people(model)
    batch.joints = model(batch.images).centres + 3  # inside every crop
    model.loss(model(batch.images), batch)["fine"].backward()
    parts = {".".join(name.split(".")[:4]) for name in with_gradient(model) if not name.startswith("refiner")}
    assert parts == {f"banks.{bank}.stages.{stage}" for bank in (0, 1) for stage in (0, 1)}
    model.zero_grad(set_to_none=True)
    model.loss(model(batch.images), batch)["coarse"].backward()
    assert not any(name.startswith("refiner") for name in with_gradient(model))
    assert {"banks.2.stages.3.0.weight", "head.1.weight"} <= with_gradient(model)


def test_training_goes_from_coarse_to_fine_to_both():
    model = tiny(phases=(0.5, 0.7), rate=0.0)
    batch = people(model)
    reached = {}
    for progress in (0.0, 0.49, 0.5, 0.69, 0.7, 1.0):
        model.zero_grad(set_to_none=True)
        terms = model.training_loss(batch, progress)
        terms["total"].backward()
        assert list(terms) == ["coarse", "fine", "total"]
        assert float((terms["coarse"] + terms["fine"] - terms["total"]).detach()) == pytest.approx(0, abs=1e-5)
        assert (float(terms["fine"].detach()) > 0) == (progress >= 0.5)
        reached[progress] = {name.split(".")[0] for name in with_gradient(model)}
    assert reached[0.0] == reached[0.49] == {"banks", "head"}
    assert reached[0.5] == reached[0.69] == {"refiner"}
    assert reached[0.7] == reached[1.0] == {"banks", "head", "refiner"}


def test_training_without_the_fine_network_is_the_coarse_loss():
    model = tiny(fine=False, rate=0.0)
    batch = people(model)
    answer = model(batch.images)
    assert answer.fine is answer.centres is None
    terms = model.training_loss(batch, 0.9)
    assert torch.equal(terms["coarse"], model.loss(answer, batch)["total"]) and float(terms["fine"]) == 0
    assert torch.equal(terms["total"], terms["coarse"])
    (pose,) = model.decode(answer)[0]
    assert torch.equal(pose.joints, model.decode(answer, stage=0)[0][0].joints)
    assert model.estimate(batch.images, flip_test=True)[0][0].joints.shape == (14, 2)


def test_crops_of_training_lie_around_the_truth_and_unlabelled_joints_where_the_coarse_maps_say():
    model = tiny(jitter=0.5)
    batch = people(model, count=200)
    batch.visible[:, 3], batch.joints[:, 3] = 0, math.nan
    coarse = torch.randn(200, 14, 8, 12)
    centres = model.training_centres(coarse, batch)
    off = (centres - batch.joints)[batch.visible > 0]
    assert float(off.abs().max()) <= 4 + FINE_STRIDE / 2 and bool((centres % FINE_STRIDE == 0).all())
    assert float(off.mean().abs()) < 0.15 and float(off.std()) == pytest.approx(8 / 12**0.5, abs=0.2)
    assert torch.equal(centres[:, 3], model.peaks(coarse)[:, 3])


def test_unlabelled_joints_never_count_in_training():
    model = tiny(phases=(0.0, 0.0), rate=0.0)
    batch = people(model)
    batch.visible[0, :5] = 0
    batch.joints[0, :5] = math.nan
    for visible in (batch.visible, torch.zeros_like(batch.visible)):
        model.zero_grad(set_to_none=True)
        terms = model.training_loss(Batch(batch.images, batch.joints, visible, LSP), 0.9)
        terms["total"].backward()
        assert terms["total"].isfinite() and all(p.grad.isfinite().all() for p in model.parameters())
    assert {float(term.detach()) for term in terms.values()} == {0.0}


@pytest.mark.parametrize("loss", tompson.LOSSES)
@pytest.mark.parametrize("progress", [0.0, 0.35, 0.9])
def test_training_works_in_half_precision_and_with_channels_last(loss, progress):
    model = tiny(loss=loss, batch_norm=True, jitter=0.0)
    batch = people(model)
    values = []
    for layout in (torch.contiguous_format, torch.channels_last):
        own = deepcopy(model).train().to(memory_format=layout)
        own.dropout = nn.Identity()
        images = batch.images.contiguous(memory_format=layout)
        for half in (False, True):
            own.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                terms = own.training_loss(Batch(images, batch.joints, batch.visible, LSP), progress)
            terms["total"].backward()
            assert all(term.dtype == torch.float32 for term in terms.values())
            assert all(p.grad.isfinite().all() for p in own.parameters() if p.grad is not None)
            values.append(float(terms["total"].detach()))
    assert values[2] == pytest.approx(values[0], rel=1e-4) and values[1] == pytest.approx(values[0], rel=0.02)
    assert values[3] == pytest.approx(values[0], rel=0.02)


# --- how it answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", [4, 8, 16])
def test_decoding_a_perfect_answer(pooling):
    model = tiny(pooling=pooling, input_size=(128, 192), sigma=1.0, crop_size=28)
    batch = people(model, count=20)
    answer = perfect(model, batch.joints)

    def errors(**options):
        found = torch.stack([pose.joints for (pose,) in model.decode(answer, **options)])
        return (found - batch.joints).abs().amax(-1)

    coarse, fine = errors(stage=0, read_out="argmax"), errors(read_out="argmax")
    assert float(coarse.max()) <= pooling / 2 + 1e-4 and float(fine.max()) <= FINE_STRIDE / 2 + 1e-4
    # half a cell at most, a quarter on average, on each axis: the larger of two axes is a third off
    assert float(coarse.mean()) == pytest.approx(pooling / 3, rel=0.1)
    assert float(fine.mean()) == pytest.approx(FINE_STRIDE / 3, rel=0.1)
    assert float(errors().max()) < 0.05 and float(errors(stage=1, read_out="dark").max()) < 0.05
    by_sum = answer.centres + answer.offsets()
    told = torch.stack([pose.joints for (pose,) in model.decode(answer, read_out="argmax")])
    assert torch.equal(told, by_sum)
    scores = torch.stack([pose.scores for (pose,) in model.decode(answer)])
    assert torch.equal(scores, answer.coarse.amax((-2, -1)))


def test_cross_entropys_maps_are_read_as_heights_like_all_others():
    model = tiny(loss="cross_entropy", input_size=(128, 192), sigma=1.0)
    batch = people(model)
    answer = perfect(model, batch.joints)
    logits = answer._replace(coarse=(answer.coarse + 1e-30).log() + 7, fine=(answer.fine + 1e-30).log() - 7)
    assert torch.allclose(model.heights(logits.coarse), answer.coarse, atol=0.02)
    for (pose,), true in zip(model.decode(logits), batch.joints, strict=True):
        assert torch.allclose(pose.joints, true, atol=0.1) and 0.7 < float(pose.scores.min()) <= 1.05
    plain = tiny()
    assert plain.heights(answer.coarse) is answer.coarse


def test_the_flip_test_looks_again_around_the_peaks_of_the_averaged_maps():
    model = tiny().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)  # maps with peaks
        images = torch.rand(2, 3, 64, 96)
        one, other = model(images), model(geometry.flip_images(images))
        both, turned = model.flip_average(one, other), model.flip_average(other, one)
        same = model.flip_average(one, one._replace(coarse=geometry.flip_maps(one.coarse, LSP.swaps)))
    mean = (one.coarse + geometry.flip_maps(other.coarse, LSP.swaps)) / 2
    assert torch.equal(both.coarse, mean) and torch.equal(both.centres, model.peaks(mean))
    assert bool((both.centres != one.centres).any())  # neither picture's own crops would do
    assert torch.allclose(geometry.flip_maps(turned.fine, LSP.swaps), both.fine, atol=1e-5)
    at = (both.centres / FINE_STRIDE).long() - 6
    mirrored = (geometry.flip_joints(both.centres, 96, LSP.swaps) / FINE_STRIDE).long() - 6
    with torch.no_grad():
        own, theirs = model.refiner(one.early, at), model.refiner(other.early, mirrored)
    assert torch.allclose(both.fine, (own + geometry.flip_maps(theirs, LSP.swaps)) / 2, atol=1e-6)
    assert torch.equal(same.centres, one.centres)


@pytest.mark.parametrize("loss", tompson.LOSSES)
def test_plausible_places_all_stay_on_the_map_unless_it_is_asked_for_absolute_values(loss):
    """The best map where a joint is at one of three places by chance: mean, distribution and median of the targets."""
    places = torch.tensor([12.0, 44.0, 84.0])
    chances = torch.tensor([0.4, 0.35, 0.25])
    model = tiny(loss=loss, fine=False, input_size=(64, 96), sigma=1.0)
    maps = torch.zeros(1, 14, 8, 12, requires_grad=True)
    optimiser = torch.optim.Adam([maps], 0.02 if loss == "l1" else 0.1)  # l1 goes on trembling by as much
    for _ in range(200):
        optimiser.zero_grad()
        joints = [torch.tensor([float(x), 28.0]).expand(1, 14, 2) / 8 for x in places]
        costs = torch.stack([model.error(maps, joint, torch.ones(1, 14)) for joint in joints])
        (chances * costs).sum().backward()
        optimiser.step()
    heights = model.heights(maps.detach())[0, 0, 3]  # the row they lie in
    if loss == "l1":  # everywhere "no joint here" is the likelier answer
        assert float(heights.abs().max()) < 0.15
    else:
        assert torch.allclose(heights[[1, 5, 10]], chances, atol=0.1)
        assert float(heights[[3, 7, 8]].max()) < 0.15  # and nothing between them, where a regressor would point


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"pooling": 2}, "pooling 4, 8 or 16"),
        ({"pooling": 12}, "pooling 4, 8 or 16"),
        ({"banks": 0}, "one to three banks"),
        ({"banks": 4}, "one to three banks"),
        ({"stages": 5}, "at least 3 stages more than it halves"),
        ({"stages": 6, "pooling": 16}, "at least 3 stages more than it halves"),
        ({"loss": "l3"}, "takes loss l2, l1, cross_entropy"),
        ({"dropout": "channel"}, "dropout spatial, element, none"),
        ({"rate": 1.0}, r"a rate in \[0, 1\)"),
        ({"crop_size": 11}, "an even crop_size"),
        ({"crop_size": 6}, "holds a joint"),
        ({"jitter": -0.1}, "holds a joint"),
        ({"phases": (0.6, 0.5)}, "phases that rise"),
    ],
)
def test_impossible_options_are_refused(options, sentence):
    with pytest.raises(CourseError, match=sentence):
        tiny(**options)


def test_pictures_that_cannot_be_halved_are_refused():
    with pytest.raises(CourseError, match="Tompson needs height and width divisible by 32; got 64 x 80"):
        tiny()(torch.zeros(1, 3, 64, 80))
    assert tiny(banks=2)(torch.zeros(1, 3, 64, 80)).coarse.shape == (1, 14, 8, 10)


def test_estimates_on_pictures_of_odd_sizes():
    model = tiny()
    pictures = [torch.rand(3, 37, 91), torch.rand(3, 5, 3)]
    boxes = [[[3.0, 4.0, 60.5, 33.0], [-20.0, 0.0, 30.0, 40.0]], None]
    for flip_test in (False, True):
        found = model.estimate(pictures, boxes, flip_test=flip_test)
        assert [len(poses) for poses in found] == [2, 1]
        assert all(pose.joints.isfinite().all() and pose.scores.isfinite().all() for poses in found for pose in poses)


@pytest.mark.parametrize("name", ["tompson", "tompson_course", "tompson_live"])
def test_recipes_build_their_model(name):
    recipe = recipes.get(name)
    with torch.device("meta"):
        model = models.create(recipe.model, recipe.skeleton, **recipe.options)
    assert isinstance(model, Tompson) and model.refiner is not None
