"""Newell et al. 2016: published counts, the recursion, and which loss reaches which weights."""

import pytest
import torch
from model_helpers import reached_by
from torch.nn import functional as F

from course_lib import models
from course_lib.errors import CourseError
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.models.hourglass import Hourglass, Residual, StackedHourglass
from course_lib.pose import Batch
from course_lib.skeletons import LSP

# What the authors' PyTorch port uses of its parameters, and its multiply-adds as torch counts them (8 stacks) or as
# measured with another counter (1 and 2 stacks: 5.18 and 8.38 G, which include the normalisations).
PUBLISHED = {1: (3_426_448, 5.18), 2: (6_570_400, 8.38), 4: (12_858_304, None), 8: (25_434_112, 27.440)}


def tiny(**options):
    torch.manual_seed(0)
    return StackedHourglass("lsp", **{"stacks": 2, "width": 16, "depth": 2, "input_size": (64, 64), **options})


# --- counts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stacks", PUBLISHED)
def test_the_papers_size_has_the_published_counts(stacks):
    count, giga = PUBLISHED[stacks]
    with torch.device("meta"):
        model = models.create("hourglass", stacks=stacks).eval()
    assert parameters(model) == count
    if giga is not None:
        assert giga_multiply_adds(model) == pytest.approx(giga, rel=1e-4 if stacks == 8 else 0.01)


def test_one_hourglass_of_the_paper():
    with torch.device("meta"):
        hourglass, residual = Hourglass(256, 4), Residual(256, 256)
    assert parameters(hourglass) == 2_788_864 and parameters(residual) == 214_528
    assert sum(isinstance(module, Residual) for module in hourglass.modules()) == 3 * 4 + 1
    with torch.device("meta"):
        assert parameters(Hourglass(256, 4, modules=3)) == 3 * 2_788_864


def test_the_course_size_fits_a_laptop():
    model = models.create("hourglass_course").eval()
    assert giga_multiply_adds(model) < 0.12 and parameters(model) < 1.5e6
    assert len(model(torch.rand(1, 3, *model.input_size))) >= 3  # stacks, for their refinement to be seen
    live = models.create("hourglass_course", stacks=1, width=32).eval()
    assert giga_multiply_adds(live) < 0.02


# --- the network ------------------------------------------------------------------------------------------------------


def step_by_step(hourglass, x):
    """The same hourglass without recursion: all the way down, then all the way up."""
    levels, skips = [], []
    while isinstance(hourglass, Hourglass):
        levels.append(hourglass)
        skips.append(hourglass.upper(x))
        x = hourglass.before(F.max_pool2d(x, 2))
        hourglass = hourglass.inner
    x = hourglass(x)
    for level, skip in zip(reversed(levels), reversed(skips), strict=True):
        x = level.after(x)
        x = skip + x.repeat_interleave(2, -1).repeat_interleave(2, -2)
    return x


@pytest.mark.parametrize(("depth", "height", "width"), [(1, 2, 6), (2, 8, 4), (3, 24, 16), (4, 16, 48)])
def test_the_recursion_equals_going_down_and_up_step_by_step(depth, height, width):
    torch.manual_seed(0)
    hourglass = Hourglass(8, depth, modules=2).eval()
    x = torch.randn(2, 8, height, width)
    result = hourglass(x)
    assert result.shape == x.shape
    assert torch.allclose(result, step_by_step(hourglass, x), atol=1e-6)


def test_sizes_that_cannot_be_halved_are_refused():
    with pytest.raises(CourseError, match="hourglass of depth 3 needs height and width divisible by 8; got 8 x 12"):
        Hourglass(8, 3)(torch.zeros(1, 8, 8, 12))
    with pytest.raises(CourseError, match="divisible by 16; got 64 x 50"):
        tiny()(torch.zeros(1, 3, 64, 50))


@pytest.mark.parametrize(("stem_stride", "cells"), [(4, (12, 20)), (2, (24, 40))])
def test_every_stacks_maps_are_kept(stem_stride, cells):
    model = tiny(stem_stride=stem_stride, stacks=3)
    maps = model(torch.rand(2, 3, 48, 80))
    assert maps.shape == (3, 2, 14, *cells) and model.stride == stem_stride
    assert float(maps.detach().abs().max()) < 0.1  # starts near zero, as the target mostly is
    poses = [model.decode(maps, stage=stage)[0][0].joints for stage in range(3)]
    assert torch.equal(poses[2], model.decode(maps)[0][0].joints) and not torch.equal(poses[0], poses[2])


def test_decoding_a_perfect_answer_gives_the_joints():
    model = tiny(input_size=(96, 128))
    joints = torch.rand(3, 14, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([108.0, 76.0]) + 10
    batch = Batch(torch.zeros(3, 3, 96, 128), joints, torch.ones(3, 14), LSP)
    outputs = model.targets(batch, (24, 32))[None]
    for read_out, error in (("dark", 0.01), ("quarter", 1.5), ("argmax", 2.9)):
        answer = torch.stack([pose.joints for (pose,) in model.decode(outputs, read_out=read_out)])
        assert float((answer - joints).norm(dim=-1).max()) < error


@pytest.mark.parametrize(
    "options",
    [
        {"stacks": 0},
        {"depth": 0},
        {"modules": 0},
        {"width": 18},
        {"width": 0},
        {"stem_stride": 8},
        {"supervise": "none"},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(CourseError, match=r"a stacked hourglass (needs|takes)"):
        tiny(**options)


# --- who learns from which loss ---------------------------------------------------------------------------------------


def part(name):
    """stem, hourglasses.0, ...: the part of the network that a parameter belongs to."""
    return "stem" if name.startswith("stem") else ".".join(name.split(".")[:2])


def test_a_loss_on_the_first_stack_does_not_reach_the_second():
    assert reached_by(tiny(), 0, part) == {"stem", "hourglasses.0", "predict.0"}


def test_a_loss_on_the_second_stack_reaches_the_stem_through_features_and_predictions():
    both_paths = {"merge_features.0", "merge_maps.0", "predict.0"}
    assert reached_by(tiny(), 1, part) == both_paths | {"stem", "hourglasses.0", "hourglasses.1", "predict.1"}


@pytest.mark.parametrize("cut", ["merge_features", "merge_maps"])
def test_either_path_alone_carries_the_gradient_to_the_first_hourglass(cut):
    model = tiny()
    with torch.no_grad():
        getattr(model, cut)[0].weight.zero_()
    assert "hourglasses.0" in reached_by(model, 1, part)


def test_without_re_injection_the_first_prediction_does_not_feed_the_second_stack():
    model = tiny(reinject=False)
    assert reached_by(model, 1, part) == {"stem", "hourglasses.0", "merge_features.0", "hourglasses.1", "predict.1"}
    assert parameters(tiny()) - parameters(model) == 14 * 16 + 16


@pytest.mark.parametrize(
    ("supervise", "terms"), [("all", ["stack_1", "stack_2", "total"]), ("last", ["stack_2", "total"])]
)
def test_supervising_all_stacks_or_the_last(supervise, terms):
    model = tiny(supervise=supervise)
    batch = Batch(torch.rand(2, 3, 64, 64), torch.rand(2, 14, 2) * 64, torch.ones(2, 14), LSP)
    loss = model.loss(model(batch.images), batch)
    assert sorted(loss) == terms
    loss["total"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
