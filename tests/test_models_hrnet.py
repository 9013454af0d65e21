"""Sun et al. 2019: published counts and names, an exchange computed by hand, and which stream hears which."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_lib import models
from course_lib.errors import CourseError
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.models.hrnet import HighResolutionModule, HRNet
from course_lib.pose import Batch
from course_lib.skeletons import LSP

# width: parameters with 17 and 16 joints, multiply-adds in G at 256x192 and 384x288 (17 joints) and 256x256 (16)
PUBLISHED = {
    32: (28_536_113, 28_536_080, 7.645, 17.201, 10.193),
    48: (63_595_745, 63_595_696, 15.692, 35.307, 20.922),
}
PARTS = {
    "conv1": (1_728, 1_728),
    "bn1": (128, 128),
    "conv2": (36_864, 36_864),
    "bn2": (128, 128),
    "layer1": (286_208, 286_208),
    "transition1": (221_376, 332_064),
    "stage2": (390_848, 878_112),
    "transition2": (73_984, 166_272),
    "stage3": (6_821_632, 15_335_040),
    "transition3": (295_424, 664_320),
    "stage4": (20_407_232, 45_894_048),
    "final_layer": (561, 833),
}
MOMENTS = ["stem", "stage 1", "stage 2, module 1"]
MOMENTS += [f"stage 3, module {place}" for place in range(1, 5)] + [f"stage 4, module {place}" for place in range(1, 4)]


def on_paper(**options):
    """A network whose weights take no memory and whose multiplications no time: it knows shapes alone."""
    with torch.device("meta"):
        return models.create("hrnet", **options).eval()


def stir(module):
    """Normalisations that do something, and weights that are not nearly nothing."""
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            nn.init.uniform_(one.weight, 0.5, 1.5)
            nn.init.normal_(one.bias, std=0.3)
            nn.init.normal_(one.running_mean, std=0.3)
            nn.init.uniform_(one.running_var, 0.5, 2.0)
    return module.eval()


def tiny(**options):
    torch.manual_seed(0)
    small = {"width": 3, "stem": 4, "blocks": 1, "modules": (1, 2, 2), "input_size": (64, 32), "sigma": 1.0}
    return stir(HRNet("lsp", **{**small, **options}))


# --- counts and names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", PUBLISHED)
def test_parameters_and_tensors_are_the_authors(width):
    coco, mpii, *_ = PUBLISHED[width]
    model = on_paper(width=width)
    assert parameters(model) == coco and parameters(on_paper(width=width, skeleton="mpii")) == mpii
    assert len(model.state_dict()) == 1754 and len(list(model.parameters())) == 878
    column = list(PUBLISHED).index(width)
    counts = {name: parameters(getattr(model, name)) for name in PARTS}
    assert counts == {name: both[column] for name, both in PARTS.items()} and sum(counts.values()) == coco


@pytest.mark.parametrize("width", PUBLISHED)
def test_multiply_adds_are_the_authors(width):
    *_, small, large, square = PUBLISHED[width]
    model = on_paper(width=width)
    for model.input_size, giga in (((256, 192), small), ((384, 288), large)):
        assert giga_multiply_adds(model) == pytest.approx(giga, abs=6e-4)
    mpii = on_paper(width=width, skeleton="mpii", input_size=(256, 256))
    assert giga_multiply_adds(mpii) == pytest.approx(square, abs=6e-4)


def authors_convolutions(width, joints):
    """The convolutions and normalisations of the authors' code by name, from the text of the fact sheet."""
    channels, named = [width * 2**i for i in range(4)], {}

    def convolve(name, inputs, outputs, kernel, norm):
        named[f"{name}.weight"] = (outputs, inputs, kernel, kernel)
        for statistic in ("weight", "bias", "running_mean", "running_var"):
            named[f"{norm}.{statistic}"] = (outputs,)
        named[f"{norm}.num_batches_tracked"] = ()

    convolve("conv1", 3, 64, 3, "bn1")
    convolve("conv2", 64, 64, 3, "bn2")
    for block in range(4):
        inputs = 256 if block else 64
        for place, (enter, leave, kernel) in enumerate([(inputs, 64, 1), (64, 64, 3), (64, 256, 1)], 1):
            convolve(f"layer1.{block}.conv{place}", enter, leave, kernel, f"layer1.{block}.bn{place}")
    convolve("layer1.0.downsample.0", 64, 256, 1, "layer1.0.downsample.1")
    convolve("transition1.0.0", 256, width, 3, "transition1.0.1")
    for number, enter in ((1, 256), (2, channels[1]), (3, channels[2])):
        start = f"transition{number}.{number}.0"
        convolve(f"{start}.0", enter, channels[number], 3, f"{start}.1")
    for stage, count in ((2, 1), (3, 4), (4, 3)):
        for module in range(count):
            start = f"stage{stage}.{module}"
            for stream in range(stage):
                for block in range(4):
                    name = f"{start}.branches.{stream}.{block}"
                    for place in (1, 2):
                        convolve(f"{name}.conv{place}", channels[stream], channels[stream], 3, f"{name}.bn{place}")
            for i in range(1 if (stage, module) == (4, 2) else stage):
                for j in range(stage):
                    name = f"{start}.fuse_layers.{i}.{j}"
                    if j > i:
                        convolve(f"{name}.0", channels[j], channels[i], 1, f"{name}.1")
                    for step in range(i - j):
                        leave = channels[i] if step == i - j - 1 else channels[j]
                        convolve(f"{name}.{step}.0", channels[j], leave, 3, f"{name}.{step}.1")
    return named | {"final_layer.weight": (joints, width, 1, 1), "final_layer.bias": (joints,)}


@pytest.mark.parametrize("width", PUBLISHED)
def test_every_tensor_has_the_authors_name_and_shape(width):
    expected = authors_convolutions(width, 17)
    state = on_paper(width=width).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == expected and len(expected) == 1754
    if width == 32:
        assert expected["transition1.1.0.0.weight"] == (64, 256, 3, 3)
        assert expected["stage3.0.fuse_layers.0.2.0.weight"] == (32, 128, 1, 1)
        assert expected["stage3.0.fuse_layers.2.0.0.0.weight"] == (32, 32, 3, 3)
        assert expected["stage3.0.fuse_layers.2.0.1.0.weight"] == (128, 32, 3, 3)
        assert expected["stage2.0.fuse_layers.0.1.0.weight"] == (32, 64, 1, 1)
        assert expected["stage2.0.fuse_layers.1.0.0.0.weight"] == (64, 32, 3, 3)


def test_the_course_size_fits_a_laptop_and_exchanges_five_times():
    model = models.create("hrnet_course").eval()
    assert 0.09 < giga_multiply_adds(model) < 0.12 and 2 * parameters(model) < 8e6
    assert model(torch.rand(1, 3, *model.input_size)).shape == (1, 1, 14, 24, 24)
    assert sum(bool(one.fuse_layers) for one in model.modules() if isinstance(one, HighResolutionModule)) == 5


# --- by hand ----------------------------------------------------------------------------------------------------------


class ByHand:
    """HRNet from the names of its weights alone: convolution after convolution, as the paper's text tells it."""

    def __init__(self, model):
        self.state, self.model = model.state_dict(), model

    def norm(self, name, x):
        value = {key: self.state[f"{name}.{key}"].view(-1, 1, 1) for key in ("weight", "bias")}
        mean, variance = (self.state[f"{name}.running_{key}"].view(-1, 1, 1) for key in ("mean", "var"))
        return (x - mean) / (variance + 1e-5).sqrt() * value["weight"] + value["bias"]

    def convolve(self, name, norm, x, stride=1):
        weight = self.state[f"{name}.weight"]
        return self.norm(norm, F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2))

    def block(self, name, x):
        count = 3 if f"{name}.conv3.weight" in self.state else 2
        y = x
        for place in range(1, count + 1):
            y = self.convolve(f"{name}.conv{place}", f"{name}.bn{place}", y)
            y = y.clamp(min=0) if place < count else y
        if f"{name}.downsample.0.weight" in self.state:
            x = self.convolve(f"{name}.downsample.0", f"{name}.downsample.1", x)
        return (x + y).clamp(min=0)

    def fuse(self, name, i, streams):
        total = torch.zeros_like(streams[i])
        for j, x in enumerate(streams):
            if j > i:  # coarser: every cell becomes 2^(j - i) x 2^(j - i) equal ones
                x = self.convolve(f"{name}.{i}.{j}.0", f"{name}.{i}.{j}.1", x)
                x = x.repeat_interleave(2 ** (j - i), -1).repeat_interleave(2 ** (j - i), -2)
            for step in range(i - j):
                x = self.convolve(f"{name}.{i}.{j}.{step}.0", f"{name}.{i}.{j}.{step}.1", x, stride=2)
                if step < i - j - 1:
                    x = x.clamp(min=0)
            total = total + x
        return total.clamp(min=0)

    def module(self, name, streams, outputs):
        blocks = {key.split(".")[4] for key in self.state if key.startswith(f"{name}.branches.0.")}
        for block in sorted(blocks):
            streams = [self.block(f"{name}.branches.{i}.{block}", x) for i, x in enumerate(streams)]
        if not any(key.startswith(f"{name}.fuse_layers") for key in self.state):
            return streams
        return [self.fuse(f"{name}.fuse_layers", i, streams) for i in range(outputs)]

    def __call__(self, images):
        x = self.model.standardise(images)
        for number in (1, 2):
            x = self.convolve(f"conv{number}", f"bn{number}", x, stride=2).clamp(min=0)
        for block in range(len(self.model.layer1)):
            x = self.block(f"layer1.{block}", x)
        streams = [self.convolve("transition1.0.0", "transition1.0.1", x).clamp(min=0)]
        coarsest = x
        for stage in (2, 3, 4):
            name = f"transition{stage - 1}.{stage - 1}.0"
            streams = [*streams, self.convolve(f"{name}.0", f"{name}.1", coarsest, stride=2).clamp(min=0)]
            count = len(getattr(self.model, f"stage{stage}"))
            for module in range(count):
                only = stage == 4 and module == count - 1 and self.model.mix is None
                streams = self.module(f"stage{stage}.{module}", streams, 1 if only else stage)
            coarsest = streams[-1]
        if self.model.mix is not None:
            size = streams[0].shape[-2:]
            parts = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in streams]
            x = self.convolve("mix.0", "mix.1", torch.cat(parts, 1)).clamp(min=0)
            assert x.shape[1] == 15 * streams[0].shape[1]
            streams = [x]
        return F.conv2d(streams[0], self.state["final_layer.weight"], self.state["final_layer.bias"])


@pytest.mark.parametrize("head", ["high", "all"])
@pytest.mark.parametrize("exchange", ["all", "stages", "last"])
def test_the_network_is_what_the_papers_text_tells(head, exchange):
    model = tiny(head=head, exchange=exchange)
    nn.init.normal_(model.final_layer.weight, std=0.3)
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        maps = model(images)
        assert maps.shape == (1, 2, 14, 16, 24) and float(maps.std()) > 0.1
        assert torch.allclose(maps[0], ByHand(model)(images), atol=1e-4 * float(maps.abs().max()))


@pytest.mark.parametrize("outputs", [1, 2, 3, 4])
def test_an_exchange_is_a_sum_of_streams_brought_to_one_size(outputs):
    torch.manual_seed(1)
    module = stir(HighResolutionModule((2, 3, 4, 5), blocks=2, outputs=outputs))
    assert len(module.fuse_layers) == outputs
    streams = [torch.randn(2, channels, 16 // 2**i, 24 // 2**i) for i, channels in enumerate((2, 3, 4, 5))]
    with torch.no_grad():
        result = module(streams)
        by_hand = ByHand(module)
        by_hand.state = {f"one.0.{name}": value for name, value in by_hand.state.items()}
        expected = by_hand.module("one.0", streams, outputs)
    assert len(result) == outputs
    for one, other, before in zip(result, expected, streams, strict=False):
        assert one.shape == before.shape and float(one.min()) >= 0
        assert torch.allclose(one, other, atol=1e-4)


# --- who hears whom ---------------------------------------------------------------------------------------------------


def heard(module, channels=(2, 3, 4)):
    """For every stream that leaves a module: the streams that entered it from which it has heard something."""
    streams = [torch.randn(1, c, 8 // 2**i, 8 // 2**i, requires_grad=True) for i, c in enumerate(channels)]
    told = []
    for result in module(streams):
        loss = (result * torch.randn_like(result)).sum()
        gradients = torch.autograd.grad(loss, streams, allow_unused=True, retain_graph=True)
        told.append({j for j, one in enumerate(gradients) if one is not None and float(one.abs().sum()) > 0})
    return told


def test_a_module_that_exchanges_lets_all_streams_hear_all():
    torch.manual_seed(0)
    assert heard(stir(HighResolutionModule((2, 3, 4), 1, outputs=3))) == [{0, 1, 2}] * 3
    assert heard(stir(HighResolutionModule((2, 3, 4), 1, outputs=1))) == [{0, 1, 2}]
    assert heard(stir(HighResolutionModule((2, 3, 4), 1, outputs=3, exchange=False))) == [{0}, {1}, {2}]
    assert heard(stir(HighResolutionModule((2, 3, 4), 1, outputs=2, exchange=False))) == [{0}, {1}]
    assert heard(stir(HighResolutionModule((2,), 1, outputs=1)), channels=(2,)) == [{0}]


@pytest.mark.parametrize(
    ("exchange", "modules"),
    [("all", [1, 1, 1, 1, 1, 1, 1, 1]), ("stages", [1, 0, 0, 0, 1, 0, 0, 1]), ("last", [0, 0, 0, 0, 0, 0, 0, 1])],
)
def test_there_are_eight_three_or_one_exchanges(exchange, modules):
    """The three rows of the paper's Table 6."""
    model = on_paper(exchange=exchange)
    exchanges = [one for one in model.modules() if isinstance(one, HighResolutionModule)]
    assert [int(bool(one.fuse_layers)) for one in exchanges] == modules
    meeting = [one for one in exchanges if one.fuse_layers]
    assert [len(one.fuse_layers) for one in meeting] == [*(len(one.branches) for one in meeting[:-1]), 1]


@pytest.mark.parametrize(
    ("exchange", "fine", "coarse"),
    [("all", {0, 1}, {0, 1}), ("stages", {0, 1}, {0, 1}), ("last", {0}, {1})],
)
def test_the_fine_stream_hears_the_coarse_one_where_there_was_an_exchange(exchange, fine, coarse):
    """Who of stage 2's two streams reaches the finest and the coarsest stream that enter the last module."""
    model = tiny(exchange=exchange, modules=(2, 1, 2))
    moments = dict(model.flow(torch.rand(1, 3, 64, 64)))
    before, after = moments["stage 2, module 1"], moments["stage 4, module 1"]
    assert len(before) == 2 and len(after) == 4

    def reached(result):
        gradients = torch.autograd.grad(result.square().sum(), before, allow_unused=True, retain_graph=True)
        return {j for j, one in enumerate(gradients) if one is not None and float(one.abs().sum()) > 0}

    assert reached(after[0]) == fine and reached(after[3]) == coarse
    assert reached(model.read(moments["stage 4, module 2"])) == {0, 1}


@pytest.mark.parametrize("head", ["high", "all"])
@pytest.mark.parametrize("exchange", ["all", "stages", "last"])
def test_all_of_it_learns(head, exchange):
    """Else processes that train together would wait for a gradient that never comes."""
    model = tiny(head=head, exchange=exchange).train()
    (model(torch.rand(2, 3, 64, 64)) * torch.randn(1, 2, 14, 16, 16)).sum().backward()
    assert all(value.grad is not None and float(value.grad.abs().max()) > 0 for value in model.parameters())


def test_the_flow_tells_every_moment():
    model = tiny(modules=(1, 4, 3)).eval()
    images = torch.rand(2, 3, 64, 32)
    flow = model.flow(images)
    assert [name for name, _ in flow] == MOMENTS
    for name, streams in flow[2:]:
        count = 1 if name == "stage 4, module 3" else int(name[6])
        assert [tuple(x.shape) for x in streams] == [(2, 3 * 2**i, 16 // 2**i, 8 // 2**i) for i in range(count)]
        assert all(float(x.detach().min()) >= 0 for x in streams)
    assert flow[0][1][0].shape == (2, 4, 16, 8) and flow[1][1][0].shape == (2, 16, 16, 8)
    assert torch.equal(model.read(flow[-1][1]), model(images))
    assert len(tiny(head="all").flow(torch.rand(1, 3, 64, 32))[-1][1]) == 4


def test_a_stream_of_a_moment_is_not_written_over_later():
    model, images = tiny(), torch.rand(1, 3, 64, 32)
    with torch.no_grad():
        flow = model.flow(images)
        stem = F.relu(model.bn2(model.conv2(F.relu(model.bn1(model.conv1(model.standardise(images)))))))
        assert torch.equal(flow[0][1][0], stem) and torch.equal(flow[1][1][0], model.layer1(stem))
        again = model.stage3[1](flow[3][1])
        assert all(torch.equal(one, other) for one, other in zip(again, flow[4][1], strict=True))


# --- the head, the start, and what is refused -------------------------------------------------------------------------


def test_the_second_versions_head_sees_fifteen_widths():
    model = on_paper(head="all")
    assert model.final_layer.in_channels == 15 * 32 and model.mix[0].weight.shape == (480, 480, 1, 1)
    last = len(model.stage4) - 1
    rows = [name for name in model.state_dict() if name.startswith(f"stage4.{last}.fuse_layers.3.")]
    assert rows and on_paper().mix is None
    assert len(model.mix) == 3 and isinstance(model.mix[2], nn.ReLU)


def test_it_starts_with_nothing_on_its_maps():
    torch.manual_seed(0)
    model = HRNet("lsp", width=16, stem=16, blocks=1, modules=(1, 1, 1), input_size=(64, 64))
    assert float(model(torch.rand(4, 3, 64, 64)).detach().abs().max()) < 0.1
    assert float(model.final_layer.weight.detach().std()) == pytest.approx(0.001, rel=0.2)
    assert not model.final_layer.bias.any()
    weight = model.stage4[0].branches[3][0].conv1.weight.detach()
    assert float(weight.std()) == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize(("height", "width"), [(64, 48), (48, 64), (33, 32), (16, 16), (0, 32)])
def test_sizes_whose_streams_would_not_meet_are_refused(height, width):
    with pytest.raises(CourseError, match=f"divisible by 32; got {height} x {width}"):
        tiny()(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"exchange": "always"}, "no way to exchange called 'always'; .*Known: all, last, stages"),
        ({"exchange": "al"}, "did you mean 'all'"),
        ({"head": "low"}, "no head called 'low'; Known: all, high"),
        ({"width": 0}, "width=0"),
        ({"stem": 0}, "stem=0"),
        ({"blocks": 0}, "blocks=0"),
        ({"modules": (1, 4)}, r"three numbers of modules; .*modules=\(1, 4\)"),
        ({"modules": (1, 4, 3, 2)}, "three numbers of modules"),
        ({"modules": (1, 0, 3)}, r"modules=\(1, 0, 3\)"),
    ],
)
def test_impossible_options_are_refused(options, sentence):
    with pytest.raises(CourseError, match=sentence):
        tiny(**options)


def test_the_loss_is_measured_in_all_zero_answers():
    model = tiny(input_size=(256, 192), sigma=2.0)
    joints = torch.tensor([192.0, 256.0]) * (0.3 + 0.4 * torch.rand(2, 14, 2))
    batch = Batch(torch.zeros(2, 3, 256, 192), joints, torch.full((2, 14), 1), LSP)
    zeros = torch.zeros(1, 2, 14, 64, 48)
    loss = model.loss(zeros, batch)
    assert set(loss) == {"maps", "total"} and float(loss["total"]) == pytest.approx(1, abs=2e-4)
    target = model.targets(batch, (64, 48))
    assert float(F.mse_loss(zeros[0], target) / 2) == pytest.approx(0.0020453, abs=1e-6)  # in the authors' units
    assert float(model.loss(target[None], batch)["total"]) == 0
    answer = torch.stack([pose.joints for (pose,) in model.decode(target[None])])
    assert torch.allclose(answer, joints, atol=0.01)
