"""The distance transform in linear time against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.errors import CourseError
from course_lib.models.pictorial import transform
from course_lib.models.pictorial.transform import distance_transform, lower_envelope, quadratic_transform

INF = torch.inf


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_hand(costs: list[float], weight: float, x: int) -> float:
    return min(weight * (x - y) ** 2 + cost for y, cost in enumerate(costs))


def agree(costs: torch.Tensor, weight, start=0, length=None) -> None:
    """Values as by the definition, and sources that have these values."""
    values, where = lower_envelope(costs, weight, start, length)
    expected, _ = quadratic_transform(costs, weight, start, length)
    torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-9)
    assert where.dtype == torch.long and 0 <= int(where.min()) <= int(where.max()) < costs.shape[-1]
    weight, start = torch.as_tensor(weight, dtype=torch.float64)[..., None], torch.as_tensor(start)[..., None]
    way = start + torch.arange(values.shape[-1]) - where
    torch.testing.assert_close(weight * way**2 + costs.gather(-1, where), values, rtol=1e-12, atol=1e-9)
    assert not bool((where[(values == INF)] != 0).any())


# --- one line ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [lower_envelope, quadratic_transform])
def test_three_parabolas_by_hand(function):
    """Tips at (0, 0), (1, 5) and (3, 1): the middle one is nowhere lowest, the other two meet between 1 and 2."""
    costs = torch.tensor([0.0, 5.0, INF, 1.0])
    values, where = function(costs, 1.0, -1, 6)
    assert values.tolist() == [1, 0, 1, 2, 1, 2]  # x = -1 ... 4
    assert where.tolist() == [0, 0, 0, 3, 3, 3]


@given(
    costs=st.lists(st.integers(-3, 3) | st.floats(-100, 100) | st.just(math.inf), min_size=1, max_size=14),
    exponent=st.floats(-3, 3),
    start=st.integers(-20, 20),
    length=st.integers(1, 24),
)
@settings(max_examples=300)
def test_any_line(costs, exponent, start, length):
    line, weight = torch.tensor(costs, dtype=torch.float64), 10**exponent
    agree(line, weight, start, length)
    values, _ = lower_envelope(line, weight, start, length)
    expected = torch.tensor([by_hand(costs, weight, x) for x in range(start, start + length)], dtype=torch.float64)
    torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("weight", [0.001, 0.05, 1.0, 1000.0])
def test_many_lines_at_once(weight):
    """Noise, ties, gaps, floors with one deep well anywhere: lines that drop nothing beside lines that drop all."""
    lines = random(6, 40, 70) * 5
    lines[1] = lines[1].round()
    lines[2] = torch.where(random(40, 70, seed=1) > 0, lines[2], INF)
    lines[3] = 0.0
    lines[3, torch.arange(40), torch.randint(70, (40,), generator=torch.Generator().manual_seed(2))] = -1e5
    lines[4] = -(torch.arange(70.0) ** 2)  # every source beats all before it
    lines[5] = INF
    lines[5, :35, 69] = 2.0
    agree(lines, weight)
    agree(lines, weight, -30, 130)
    agree(lines, weight, 90, 3)


def test_every_line_may_have_its_own_weight_and_start():
    costs, weight = random(4, 5, 12), random(4, 5, seed=1).exp()
    start = torch.arange(20).view(4, 5) - 10
    agree(costs, weight, start, 9)
    agree(costs, weight[:1], start[:, :1], 9)  # what broadcasts is one for all
    values, where = lower_envelope(costs, weight, start, 9)
    alone = lower_envelope(costs[3, 2], float(weight[3, 2]), int(start[3, 2]), 9)
    assert torch.equal(values[3, 2], alone[0]) and torch.equal(where[3, 2], alone[1])


def test_a_line_of_nothing():
    values, where = lower_envelope(torch.full((2, 5), INF), 1.0)
    assert bool((values == INF).all()) and where.tolist() == [[0] * 5] * 2


def test_precision_is_kept():
    """Large squares must not swallow small costs: in single precision at 500, where 1e3 * 500^2 is 2.5e8."""
    costs = random(8, 512).float()
    values, _ = lower_envelope(costs, 1000.0)
    assert values.dtype == torch.float32
    expected, _ = quadratic_transform(costs.double(), 1000.0)
    torch.testing.assert_close(values.double(), expected, rtol=1e-6, atol=1e-6)


def test_gradients_go_to_the_sources_and_the_weight():
    costs, weight = random(3, 8).requires_grad_(), random(3, seed=1).exp().requires_grad_()
    assert torch.autograd.gradcheck(lambda *inputs: lower_envelope(*inputs, -3, 14)[0], (costs, weight))


@pytest.mark.parametrize("kind", ["noise", "wells", "deep wells", "falling"])
def test_the_work_is_linear(kind, monkeypatch):
    """Comparisons of two parabolas a source, counted: they do not grow with the line, nor do all lines wait for one."""
    compared, rounds = {}, {}
    crossing = transform._crossing
    for count in (32, 128, 512):
        compared[count] = rounds[count] = 0

        def counting(new, *rest, count=count):
            compared[count] += new.numel()
            rounds[count] += 1
            return crossing(new, *rest)

        monkeypatch.setattr(transform, "_crossing", counting)
        lines = random(64, count) * 30
        if "wells" in kind:  # a floor, and somewhere a source that beats all or some of those before it
            lines = torch.zeros(64, count)
            depth = (1.0 if kind == "deep wells" else 0.1) * count**2
            lines[torch.arange(64), torch.randint(count, (64,), generator=torch.Generator().manual_seed(1))] = -depth
        elif kind == "falling":
            lines = -(torch.arange(float(count)) ** 2) * torch.linspace(0.1, 2, 64)[:, None]
        lower_envelope(lines, 1.0)
        assert compared[count] <= 3 * 64 * count
        assert rounds[count] <= count * (1 + transform.PATIENCE + 2 * math.log2(count))


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_picture_by_its_definition():
    """Not square, another weight along y than along x, seen from a window that is partly outside."""
    costs = random(3, 5, 7) * 4
    costs[1, 2:, 3:] = INF
    wx, wy, x0, y0, size = 0.3, 1.7, -4, 2, (6, 13)
    values, rows, columns = distance_transform(costs, (wx, wy), (x0, y0), size)
    assert values.shape == rows.shape == columns.shape == (3, *size)
    y, x = y0 + torch.arange(6.0).double()[:, None, None, None], x0 + torch.arange(13.0).double()[:, None, None]
    way = wx * (x - torch.arange(7)) ** 2 + wy * (y - torch.arange(5)[:, None]) ** 2  # (*size, 5, 7)
    torch.testing.assert_close(values, (way + costs[:, None, None]).amin((-1, -2)), rtol=0, atol=1e-9)
    picture = torch.arange(3)[:, None, None]
    again = wx * (x[..., 0, 0] - columns) ** 2 + wy * (y[..., 0, 0] - rows) ** 2 + costs[picture, rows, columns]
    torch.testing.assert_close(again, values, rtol=0, atol=1e-9)


def test_a_weight_and_a_window_for_every_picture():
    costs = random(2, 3, 6, 4)
    weights = tuple(random(2, 3, seed=seed).exp() for seed in (1, 2))
    start = (torch.arange(6).view(2, 3) - 2, torch.tensor([[-1], [3]]))
    whole = distance_transform(costs, weights, start, (5, 8))
    for i in range(2):
        for j in range(3):
            own = (int(start[0][i, j]), int(start[1][i, 0]))
            alone = distance_transform(costs[i, j], tuple(float(weight[i, j]) for weight in weights), own, (5, 8))
            assert all(torch.equal(a[i, j], b) for a, b in zip(whole, alone, strict=True))


def test_a_picture_of_nothing_and_one_of_a_single_cell():
    values, rows, columns = distance_transform(torch.full((3, 4), INF), (1.0, 1.0))
    assert bool((values == INF).all()) and not rows.any() and not columns.any()
    assert distance_transform(torch.tensor([[2.0]]), (1.0, 3.0), (2, 1), (1, 1))[0].item() == 2 + 4 + 3


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [lower_envelope, quadratic_transform])
@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf, torch.tensor([1.0, 0.0])])
def test_weights_must_be_positive(function, weight):
    with pytest.raises(CourseError, match="weight of a distance transform must be above 0"):
        function(torch.zeros(2, 3), weight)


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_costs_must_not_be_endless(bad):
    costs = torch.zeros(2, 3)
    costs[1, 2] = bad
    with pytest.raises(CourseError, match="numbers or \\+inf"):
        lower_envelope(costs, 1.0)
    with pytest.raises(CourseError, match="numbers or \\+inf"):
        distance_transform(costs, (1.0, 1.0))


def test_nothing_can_be_made_of_nothing():
    for costs, length in ((torch.zeros(2, 0), None), (torch.zeros(3), 0), (torch.zeros(3, dtype=torch.long), None)):
        with pytest.raises(CourseError, match="at least one"):
            lower_envelope(costs, 1.0, 0, length)
    with pytest.raises(CourseError, match="two dimensions"):
        distance_transform(torch.zeros(3), (1.0, 1.0))
