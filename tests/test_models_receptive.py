"""Receptive fields: the rule by hand, fields from the layers against fields from gradients, and what is refused."""

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from course_lib import models
from course_lib.errors import CourseError
from course_lib.models import receptive
from course_lib.models.receptive import Field


def strip(*layers):
    """A network of 2 channels from layers, or from (kernel, stride, padding, dilation) of convolutions."""
    made = [layer if isinstance(layer, nn.Module) else nn.Conv2d(2, 2, *layer) for layer in layers]
    return nn.Sequential(*(part for layer in made for part in (layer, nn.ReLU()))).eval()


def clipped(box, height, width):
    limit = torch.tensor([width, height, width, height])
    return torch.minimum(box.clamp(min=0), limit)


# --- the rule ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(3, 2, 3), Field((3, 3), (1, 1), (0, 0))),
        (nn.Conv2d(3, 2, 3, padding=1), Field((3, 3), (1, 1), (-1, -1))),
        (nn.Conv2d(3, 2, 3, padding=2, dilation=2), Field((5, 5), (1, 1), (-2, -2))),
        (nn.Conv2d(3, 2, (1, 5), stride=(1, 2), padding=(0, 2)), Field((1, 5), (1, 2), (0, -2))),
        (nn.Conv2d(3, 3, 3, groups=3), Field((3, 3), (1, 1), (0, 0))),
        (nn.MaxPool2d(2), Field((2, 2), (2, 2), (0, 0))),
        (nn.MaxPool2d(3, 2, dilation=2), Field((5, 5), (2, 2), (0, 0))),
        (nn.MaxPool2d(3, 2, padding=1), Field((3, 3), (2, 2), (-1, -1))),
        (nn.AvgPool2d(9, 8, ceil_mode=True), Field((9, 9), (8, 8), (0, 0))),
        (nn.AvgPool2d(2), Field((2, 2), (2, 2), (0, 0))),
        (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Sigmoid()), Field()),
    ],
)
def test_one_layer_by_hand(layer, expected):
    assert receptive.computed(layer, torch.zeros(1, 3, 24, 32)) == expected
    assert receptive.computed(layer.to("meta"), torch.zeros(1, 3, 24, 32, device="meta")) == expected


@pytest.mark.parametrize("pool", [F.max_pool2d, F.avg_pool2d])
def test_a_pool_without_a_stride_steps_by_its_kernel(pool):
    field = receptive.computed(lambda x: pool(x, (2, 3)), torch.zeros(1, 3, 24, 30))
    assert field == Field((2, 3), (2, 3), (0, 0))


def test_two_layers_by_hand():
    # cell i of the second layer covers the first's cells 2i - 1 .. 2i + 1, each of them pixels 2j .. 2j + 1
    network = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 2, 3, stride=2, padding=1))
    field = receptive.computed(network, torch.zeros(1, 3, 16, 16))
    assert field == Field((6, 6), (4, 4), (-2, -2))
    assert field.box((0, 1)).tolist() == [2, -2, 8, 4] and field.box((2, 0)).tolist() == [-2, 6, 4, 12]
    assert field.offset() == (-1.0, -1.0)  # its middle is at 1, the first cell's at 2


def test_pools_without_padding_look_beside_their_cells():
    def released(padding):
        pools = [nn.MaxPool2d(3, 2, padding=padding, ceil_mode=not padding) for _ in range(3)]
        return receptive.computed(nn.Sequential(*pools), torch.zeros(1, 1, 32, 32)).offset()

    assert released(0) == (3.5, 3.5) and released(1) == (-3.5, -3.5)
    assert receptive.computed(nn.Sequential(*[nn.MaxPool2d(2)] * 3), torch.zeros(1, 1, 32, 32)).offset() == (0, 0)


# --- from the layers and by gradient ----------------------------------------------------------------------------------

CONVOLUTION = st.tuples(st.sampled_from([1, 2, 3, 5]), st.sampled_from([1, 2]), st.integers(0, 3), st.integers(1, 3))
OTHERS = [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(3, 2, padding=1), nn.LeakyReLU()]
OTHERS += [nn.MaxPool2d(3, 1, padding=1), nn.BatchNorm2d(2), nn.UpsamplingNearest2d(scale_factor=1)]


@settings(max_examples=60, deadline=None)
@given(st.lists(CONVOLUTION | st.sampled_from(OTHERS), min_size=1, max_size=4), st.data())
def test_layers_and_gradient_agree_for_any_sequence(layers, data):
    network = strip(*layers)
    images = torch.rand(1, 2, 60, 260, generator=torch.Generator().manual_seed(0))
    try:
        height, width = network(images).shape[-2:]
    except RuntimeError:  # a kernel larger than the map that the layers before it leave
        reject()
    field = receptive.computed(network, images)
    anywhere = data.draw(st.tuples(st.integers(0, height - 1), st.integers(0, width - 1)))
    for cell in (anywhere, (height // 2, width // 2)):
        box, found = field.box(cell), receptive.measured(network, images, cell)
        inside = clipped(box, 60, 260)
        whole = box == inside  # of which sides the border cuts nothing off
        across, down = bool(whole[0] and whole[2]), bool(whole[1] and whole[3])
        if found is not None:
            assert bool((found[:2] >= inside[:2]).all() and (found[2:] <= inside[2:]).all())
        if across:
            assert found is None or found[[0, 2]].tolist() == box[[0, 2]].tolist()
        assert found is not None or not (across and down)


class Paths(nn.Module):
    """A short path and a long one that meet, and a map that no picture reaches."""

    def __init__(self, meet):
        super().__init__()
        self.meet = meet
        self.short = nn.Conv2d(1, 1, 3, stride=2, padding=1)
        self.long = nn.Sequential(nn.Conv2d(1, 1, (7, 9), padding=(1, 4)), nn.MaxPool2d(2, ceil_mode=True))

    def forward(self, x):
        a, b = self.short(x), self.long(F.relu(x))
        a, constant = F.max_pool2d(a, (3, 1), 1), torch.full(b.shape, 2.0, dtype=b.dtype)
        return torch.cat([constant, a, b], dim=1) if self.meet == "cat" else a + b * constant


@pytest.mark.parametrize("meet", ["add", "cat"])
def test_where_paths_meet_the_field_holds_both(meet):
    network = Paths(meet)
    images = torch.rand(1, 1, 34, 40)
    # down: the short path sees -1 .. 5 through its pool of three, the long one -1 .. 6; across: 3 and 10
    field = receptive.computed(network, images)
    assert field == Field((8, 10), (2, 2), (-1, -4))
    assert torch.equal(receptive.measured(network, images, (5, 9)), field.box((5, 9)))


def test_every_stacked_stage_has_its_own_field():
    model = models.create("hourglass", "lsp", stacks=2, width=16, depth=1, input_size=(64, 64)).train()
    images = torch.rand(1, 3, 64, 64)
    fields = receptive.computed(model, images)
    assert len(fields) == 2 and fields[0].size < fields[1].size and model.training
    model.eval()
    assert receptive.computed(lambda x: model(x)[1], images) == fields[1]
    assert receptive.computed(lambda x: {"last": model(x)[-1], "none": torch.ones(3)}, images) == {
        "last": fields[1],
        "none": None,
    }


def test_the_field_of_an_enlarged_map_holds_those_of_all_its_cells():
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(4), nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 2)).eval()
    images = torch.rand(1, 1, 66, 66)
    field = receptive.computed(network, images)
    assert field == Field((10, 10), (2, 2), (-2, -2))  # pools see 6 every 4; two neighbours at most 10, at least 6
    # an odd cell looks at two repetitions of different cells, an even one at two of the same
    assert torch.equal(receptive.measured(network, images, (9, 11)), field.box((9, 11)))
    inner = field.box((9, 10)) + torch.tensor([2.0, 0.0, -2.0, 0.0])
    assert torch.equal(receptive.measured(network, images, (9, 10)), inner)


def test_the_gradient_of_a_known_network():
    network = nn.Conv2d(2, 2, 3, padding=1, bias=False)
    with torch.no_grad():
        network.weight[0, 0] = torch.arange(9.0).view(3, 3)
        network.weight[1, 0] = torch.arange(9.0).flip(0).view(3, 3) - 18  # the sum over the outputs is -10 everywhere
        network.weight[:, 1] = -network.weight[:, 0]  # and what one colour adds, the other takes away
    images = torch.rand(3, 2, 5, 6)
    seen = receptive.gradient(network, images, (0, 2))
    expected = torch.zeros(5, 6)
    expected[0:2, 1:4] = 3 * 2 * 10
    assert torch.allclose(seen, expected)
    both = receptive.gradient(lambda x: [x, network(x)], images, (0, 2), output=lambda maps: maps[1])
    assert torch.allclose(both, expected) and images.grad is None


def test_measuring_leaves_the_network_as_it_was():
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1), nn.MaxPool2d(2)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert receptive.measured(network, torch.rand(1, 1, 9, 9), (1, 1)).tolist() == [2, 2, 6, 6]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training and isinstance(network[2], nn.MaxPool2d) and network[0].weight.grad is None


@pytest.mark.parametrize("sleeping", ["running_mean", "weight", "bias", "convolution"])
def test_what_a_network_learned_does_not_hide_its_field(sleeping):
    convolution, norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)
    with torch.no_grad():
        norm.running_mean.fill_(1e3 if sleeping == "running_mean" else 0)
        norm.weight.fill_(-1 if sleeping == "weight" else 1)
        norm.bias.fill_(-1e3 if sleeping == "bias" else 0)
        convolution.bias.fill_(-1e3 if sleeping == "convolution" else 0)
    network = nn.Sequential(convolution, norm, nn.ReLU())
    assert receptive.measured(network, torch.rand(1, 1, 9, 9), (2, 4)).tolist() == [4, 2, 7, 5]


def test_a_cell_that_sees_only_padding_sees_nothing():
    network = nn.Conv2d(1, 1, 1, padding=2)
    assert receptive.measured(network, torch.rand(1, 1, 8, 8), (0, 0)) is None


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (nn.ConvTranspose2d(3, 3, 2, stride=2), "cannot be followed through the operation 'aten.convolution"),
        (nn.Linear(32, 4), "cannot be followed through the operation 'aten"),
        (nn.AdaptiveAvgPool2d(1), "cannot be followed through"),
        (nn.Upsample(scale_factor=2, mode="bilinear"), "'aten.upsample_bilinear2d"),
        (lambda x: x - x.mean((2, 3), keepdim=True), "'aten.mean"),
        (nn.Upsample(scale_factor=2), "a map of stride .1, 1. cannot be followed"),
        (nn.Sequential(nn.MaxPool2d(2), nn.Upsample((20, 16))), "no whole factor"),
        (lambda x: nn.BatchNorm2d(3)(x), "batch_norm"),
        (lambda x: torch.cat([x, x], dim=2), "'aten.cat"),
        (lambda x: x[:, :2], "'aten.slice"),
        (lambda x: F.max_pool2d(x, (24, 32), 2) + x, "two paths meet with strides"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(network, sentence):
    with pytest.raises(CourseError, match=sentence):
        receptive.computed(network, torch.zeros(1, 3, 24, 32))


def test_a_gradient_needs_one_map_and_a_cell_on_it():
    network, images = nn.MaxPool2d(2), torch.rand(1, 1, 8, 6)
    with pytest.raises(CourseError, match=r"the cell \(row, column\) \(4, 0\) is not on a map of 4 x 3 cells"):
        receptive.gradient(network, images, (4, 0))
    with pytest.raises(CourseError, match="needs one output with maps"):
        receptive.gradient(lambda x: [network(x)], images, (0, 0))
    with pytest.raises(CourseError, match="no gradient leads"):
        receptive.gradient(lambda x: network(x).detach(), images, (0, 0))
