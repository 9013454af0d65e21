"""Xiao et al. 2018: published counts, torchvision's ResNet inside, and doublings that double exactly."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet18, resnet50

from course_lib import models
from course_lib.errors import CourseError
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.models.layers import Standardise
from course_lib.models.simple_baseline import SimpleBaseline
from course_lib.pose import Batch
from course_lib.skeletons import COCO
from course_lib.targets import heatmaps

# depth: parameters with 17 and 16 joints, tensors in the state dict, and multiply-adds in G at 256x192 and 384x288
# (17 joints) and at 256x256 (16): what the authors' code builds
PUBLISHED = {
    50: (33_999_697, 33_999_440, 338, 5.426, 12.209, 7.234),
    101: (52_991_825, 52_991_568, 644, 9.063, 20.391, 12.083),
    152: (68_635_473, 68_635_216, 950, 12.699, 28.573, 16.931),
}
OFFICIAL = {50: (8.991, 20.230), 101: (12.378, 27.850), 152: (15.765, 35.470)}  # what the authors' counter says
PARTS_50 = {
    **{"conv1": 9_408, "bn1": 128, "layer1": 215_808, "layer2": 1_219_584, "layer3": 7_098_368},
    **{"layer4": 14_964_736, "deconv_layers": 10_487_296, "final_layer": 4_369},
}
SIZES = ((256, 192), (384, 288))


def on_paper(**options):
    """A network whose weights take no memory and whose multiplications no time: it knows shapes alone."""
    with torch.device("meta"):
        return models.create("pose_resnet", **options).eval()


def tiny(**options):
    torch.manual_seed(0)
    small = {"depth": 18, "width": 4, "deconv_width": 6, "input_size": (64, 32), "sigma": 2.0}
    return SimpleBaseline("lsp", **{**small, **options})


def stir(module):
    """Normalisations that do something: fresh ones are near the identity, and hide what is wrong."""
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            nn.init.uniform_(one.weight, 0.5, 1.5)
            nn.init.normal_(one.bias, std=0.3)
            nn.init.normal_(one.running_mean, std=0.3)
            nn.init.uniform_(one.running_var, 0.5, 2.0)
    return module.eval()


# --- counts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", PUBLISHED)
def test_parameters_and_tensors_are_the_authors(depth):
    coco, mpii, tensors, *_ = PUBLISHED[depth]
    model = on_paper(depth=depth)
    assert parameters(model) == coco and len(model.state_dict()) == tensors
    assert parameters(on_paper(depth=depth, skeleton="mpii")) == mpii


def test_every_part_has_the_authors_count():
    model = on_paper()
    assert {name: parameters(getattr(model, name)) for name in PARTS_50} == PARTS_50
    assert sum(PARTS_50.values()) == PUBLISHED[50][0] == parameters(model)


@pytest.mark.parametrize("depth", PUBLISHED)
def test_multiply_adds_are_the_authors(depth):
    *_, small, large, square = PUBLISHED[depth]
    model = on_paper(depth=depth)
    for model.input_size, giga in zip(SIZES, (small, large), strict=True):
        assert giga_multiply_adds(model) == pytest.approx(giga, abs=6e-4)
    mpii = on_paper(depth=depth, skeleton="mpii", input_size=(256, 256))
    assert giga_multiply_adds(mpii) == pytest.approx(square, abs=6e-4)


@pytest.mark.parametrize("depth", OFFICIAL)
@pytest.mark.parametrize("size", SIZES)
def test_the_authors_counter_takes_a_transposed_convolution_four_times(depth, size):
    """It multiplies the weights of all that is called Conv by the cells of its output, and divides by 2^30."""
    model, counted, transposed = on_paper(depth=depth, input_size=size), [], []
    true = giga_multiply_adds(model)

    def count(layer, _inputs, output):
        counted.append(layer.weight.numel() * output[0, 0].numel())
        if isinstance(layer, nn.ConvTranspose2d):
            transposed.append(counted[-1])

    for layer in model.modules():
        if "Conv" in type(layer).__name__:
            layer.register_forward_hook(count)
    model(torch.zeros(1, 3, *size, device="meta"))
    assert sum(counted) / 2**30 == pytest.approx(OFFICIAL[depth][SIZES.index(size)], abs=6e-4)
    # a cell of the output hears 2 x 2 of the 4 x 4 weights: a quarter of what was counted is done
    really = sum(counted) - 3 / 4 * sum(transposed)
    assert really / 1e9 == pytest.approx(true, rel=1e-6)
    if (depth, size) == (50, SIZES[0]):
        assert sum(transposed) / 2**30 == 5.25 and sum(transposed) / 2**32 == 1.3125


def test_the_course_size_fits_a_laptop():
    model = models.create("pose_resnet_course").eval()
    assert 0.09 < giga_multiply_adds(model) < 0.12 and 2 * parameters(model) < 8e6
    assert model(torch.rand(1, 3, *model.input_size)).shape == (1, 1, 14, 24, 24)


# --- the weights have the authors' names ------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "torchvisions"), [(18, resnet18), (50, resnet50)])
def test_names_and_shapes_are_torchvisions_and_then_the_authors(depth, torchvisions):
    with torch.device("meta"):
        backbone = {name: value for name, value in torchvisions().state_dict().items() if not name.startswith("fc")}
    expected = {name: tuple(value.shape) for name, value in backbone.items()}
    inputs = 2048 if depth == 50 else 512
    for place, channels in ((0, inputs), (3, 256), (6, 256)):
        expected[f"deconv_layers.{place}.weight"] = (channels, 256, 4, 4)
        for statistic in ("weight", "bias", "running_mean", "running_var"):
            expected[f"deconv_layers.{place + 1}.{statistic}"] = (256,)
        expected[f"deconv_layers.{place + 1}.num_batches_tracked"] = ()
    expected |= {"final_layer.weight": (17, 256, 1, 1), "final_layer.bias": (17,)}
    state = on_paper(depth=depth).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == expected
    if depth == 50:
        assert expected["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
        assert expected["layer4.2.conv3.weight"] == (2048, 512, 1, 1)


@pytest.mark.parametrize(("depth", "torchvisions"), [(18, resnet18), (50, resnet50)])
def test_up_to_layer4_it_is_torchvisions_resnet(depth, torchvisions):
    torch.manual_seed(0)
    resnet, model = stir(torchvisions()), SimpleBaseline(depth=depth, deconv_width=8).eval()
    weights = {name: value for name, value in resnet.state_dict().items() if not name.startswith("fc")}
    added = {name: value for name, value in model.state_dict().items() if name.startswith(("deconv", "final"))}
    model.load_state_dict(weights | added)  # strictly
    images = torch.rand(2, 3, 64, 32)
    with torch.no_grad():
        x = model.standardise(images)
        x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(x))))
        features = model.features(images)
        for number in range(4):
            x = getattr(resnet, f"layer{number + 1}")(x)
            assert torch.allclose(features[number], x, rtol=1e-4, atol=1e-4 * float(x.std())), f"layer{number + 1}"
            assert float(x.std()) > 0.1  # else anything would be close


def test_pictures_are_standardised_as_imagenets_were():
    standardise = Standardise()
    images = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) + torch.tensor([0.229, 0.0, -0.225]).view(1, 3, 1, 1)
    result = standardise(images.expand(2, 3, 4, 5))
    assert torch.allclose(result, torch.tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(2, 3, 4, 5), atol=1e-6)
    mixed = torch.rand(2, 3, 4, 5)
    assert torch.equal(Standardise(blue_first=True)(mixed), standardise(mixed)[:, [2, 1, 0]])
    assert not standardise.state_dict() and not list(standardise.parameters())
    assert standardise.half()(images.half()).dtype == torch.float16
    other = Standardise(mean=(0.5, 0.5, 0.5), deviation=(0.25, 0.5, 1.0))
    assert other(torch.ones(1, 3, 1, 1)).flatten().tolist() == [2, 1, 0.5]


# --- down and up again ------------------------------------------------------------------------------------------------


def by_hand(layer, x):
    """A transposed convolution, weight by weight: every input cell paints its kernel onto the output."""
    count, _, height, width = x.shape
    _, outputs, kernel, _ = layer.weight.shape
    before = {2: 0, 3: 1, 4: 1}[kernel]
    canvas = torch.zeros(count, outputs, 2 * height + 2 * kernel, 2 * width + 2 * kernel)
    for row in range(height):
        for column in range(width):
            painted = torch.einsum("bi,iokl->bokl", x[:, :, row, column], layer.weight)
            canvas[:, :, 2 * row : 2 * row + kernel, 2 * column : 2 * column + kernel] += painted
    return canvas[:, :, before : before + 2 * height, before : before + 2 * width]


@pytest.mark.parametrize("kernel", [2, 3, 4])
def test_every_kernel_doubles_exactly(kernel):
    model = tiny(kernel=kernel, deconvs=1)
    layer = model.deconv_layers[0]
    assert layer.bias is None and isinstance(layer, nn.ConvTranspose2d) and len(model.deconv_layers) == 3
    x = torch.rand(2, 32, 3, 2)
    with torch.no_grad():
        assert layer(x).shape == (2, 6, 6, 4) and torch.allclose(layer(x), by_hand(layer, x), atol=1e-5)


@pytest.mark.parametrize(("deconvs", "cells"), [(1, (4, 2)), (2, (8, 4)), (3, (16, 8)), (4, (32, 16)), (5, (64, 32))])
@pytest.mark.parametrize("kernel", [2, 3, 4])
def test_the_maps_are_as_large_as_the_doublings_say(deconvs, cells, kernel):
    model = tiny(deconvs=deconvs, kernel=kernel).eval()
    assert model(torch.rand(2, 3, 64, 32)).shape == (1, 2, 14, *cells)
    assert model.stride == 32 // 2**deconvs == 64 // cells[0]


def test_what_follows_layer4():
    model = stir(tiny())
    images = torch.rand(2, 3, 64, 32)
    with torch.no_grad():
        features = model.features(images)
        shapes = [tuple(maps.shape[1:]) for maps in features]
        down, up = [(4, 16, 8), (8, 8, 4), (16, 4, 2), (32, 2, 1)], [(6, 4, 2), (6, 8, 4), (6, 16, 8)]
        assert shapes == down + up
        x = features[3]
        for place in (0, 3, 6):
            norm = model.deconv_layers[place + 1]
            x = by_hand(model.deconv_layers[place], x) - norm.running_mean[:, None, None]
            x = x / (norm.running_var + norm.eps)[:, None, None].sqrt() * norm.weight[:, None, None]
            x = (x + norm.bias[:, None, None]).clamp(min=0)
            assert torch.allclose(features[4 + place // 3], x, atol=1e-4)
        weights = model.final_layer.weight[:, :, 0, 0]
        maps = torch.einsum("kc,bchw->bkhw", weights, x) + model.final_layer.bias[:, None, None]
        assert torch.allclose(model(images)[0], maps, atol=1e-5)


def test_all_of_it_learns():
    model = tiny()
    (model(torch.rand(2, 3, 64, 32)) * torch.randn(1, 2, 14, 16, 8)).sum().backward()
    assert all(float(value.grad.abs().max()) > 0 for value in model.parameters())


def test_it_starts_with_nothing_on_its_maps():
    model = tiny(width=16, deconv_width=32)
    assert float(model(torch.rand(4, 3, 64, 32)).detach().abs().max()) < 0.05
    assert float(model.final_layer.weight.detach().std()) == pytest.approx(0.001, rel=0.2)
    assert not model.final_layer.bias.any()
    he = (2 / (64 * 9)) ** 0.5  # by what leaves a layer, as is usual for ResNets
    assert float(model.layer3[1].conv2.weight.detach().std()) == pytest.approx(he, rel=0.05)


@pytest.mark.parametrize(("height", "width"), [(64, 48), (48, 64), (33, 32), (16, 16), (0, 32)])
def test_sizes_that_cannot_be_halved_five_times_are_refused(height, width):
    with pytest.raises(CourseError, match=f"divisible by 32; got {height} x {width}"):
        tiny()(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"depth": 42}, "no depth of a ResNet called '42'; .* Known: 18, 34, 50, 101, 152"),
        ({"kernel": 5}, "no kernel of a transposed convolution called '5'; Known: 2, 3, 4"),
        ({"width": 0}, "needs channels and 1 to 5 transposed convolutions; got width=0"),
        ({"deconv_width": 0}, "deconv_width=0"),
        ({"deconvs": 0}, "deconvs=0"),
        ({"deconvs": 6}, "deconvs=6"),
    ],
)
def test_impossible_options_are_refused(options, sentence):
    with pytest.raises(CourseError, match=sentence):
        tiny(**options)


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "sigma"), [((256, 192), 2.0), ((384, 288), 3.0)])
def test_an_all_zero_answer_costs_one_here_and_0_002045_there(size, sigma):
    model = on_paper(input_size=size, sigma=sigma)
    joints = torch.tensor([size[1], size[0]]) * (0.3 + 0.4 * torch.rand(2, 17, 2))
    batch = Batch(torch.zeros(2, 3, *size), joints, torch.full((2, 17), 2), COCO)
    cells = (size[0] // 4, size[1] // 4)
    zeros, target = torch.zeros(1, 2, 17, *cells), model.targets(batch, cells)
    loss = model.loss(zeros, batch)
    assert float(loss["total"]) == float(loss["maps"]) == pytest.approx(1, abs=2e-4)
    assert float(model.loss(target[None], batch)["total"]) == 0
    theirs = F.mse_loss(zeros[0], target) / 2
    assert float(theirs) == pytest.approx(0.0020453, abs=1e-6)
    assert float(theirs) == pytest.approx(heatmaps.zero_level(cells, sigma) / 2, rel=1e-4)
    # they divide by all joints, labelled or not: one of 17 without a label, and the loss is 16/17 of it. Ours is not
    batch.visible[:, 3] = 0
    assert float(model.loss(zeros, batch)["total"]) == pytest.approx(1, abs=2e-4)
    wild = zeros.clone()
    wild[:, :, 3] = 1e6
    assert torch.equal(model.loss(wild, batch)["total"], model.loss(zeros, batch)["total"])
