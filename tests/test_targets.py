"""Heatmaps: what is drawn, what every read-out can and cannot get back."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.errors import CourseError
from course_lib.targets import heatmaps

METHODS = tuple(heatmaps.READ_OUTS)
every_method = pytest.mark.parametrize("method", METHODS)


# --- drawing ----------------------------------------------------------------------------------------------------------


def test_a_target_is_the_formula_at_every_cell():
    joints, (height, width), sigma = torch.tensor([[[5.3, 2.9], [-1.0, 40.0]]]), (7, 11), 1.7
    maps = heatmaps.gaussian(joints, (height, width), sigma)
    assert maps.shape == (1, 2, 7, 11) and maps.dtype == torch.float32
    for joint, (x, y) in enumerate(joints[0].tolist()):
        for row in range(height):
            for column in range(width):
                distance = (column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2
                assert maps[0, joint, row, column] == pytest.approx(math.exp(-distance / (2 * sigma**2)), abs=1e-6)


def test_a_joint_in_the_middle_of_a_cell_has_peak_one():
    assert heatmaps.gaussian(torch.tensor([[3.5, 4.5]]), (8, 8), 0.7)[0, 4, 3] == 1


def test_half_precision_joints_are_drawn_in_full_precision():
    joints = torch.tensor([[30.25, 17.5]])
    expected = heatmaps.gaussian(joints, (64, 64), 2.0)
    assert torch.equal(heatmaps.gaussian(joints.bfloat16(), (64, 64), 2.0), expected)


@pytest.mark.parametrize("sigma", [0, -1, math.nan])
def test_a_sigma_that_is_not_positive_is_refused(sigma):
    with pytest.raises(CourseError, match="sigma must be a positive number"):
        heatmaps.gaussian(torch.zeros(1, 2), (8, 8), sigma)


@pytest.mark.parametrize(("size", "sigma"), [((32, 32), 1.0), ((46, 46), 1.5), ((64, 48), 2.0), ((64, 64), 3.0)])
def test_the_zero_level_is_what_an_all_zero_answer_costs(size, sigma):
    joints = torch.tensor([size[1] / 2, size[0] / 2]) + torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    cost = heatmaps.gaussian(joints, size, sigma).square().mean()
    assert float(cost) == pytest.approx(heatmaps.zero_level(size, sigma), rel=1e-3)
    assert heatmaps.zero_level((64, 64), 1.0) == pytest.approx(0.00077, abs=5e-6)
    absolute = heatmaps.gaussian(joints, size, sigma).abs().mean()
    assert float(absolute) == pytest.approx(heatmaps.zero_level(size, sigma, power=1), rel=1e-3)


# --- reading out ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from([1.0, 1.5, 2.0, 3.0]), st.sampled_from([(24, 40), (64, 48)]))
def test_dark_undoes_drawing_anywhere_but_on_the_last_two_cells(x, y, sigma, size):
    joint = torch.tensor([2.001 + x * (size[1] - 4.002), 2.001 + y * (size[0] - 4.002)])
    answer, score = heatmaps.dark(heatmaps.gaussian(joint[None], size, sigma), sigma)
    assert float((answer - joint).norm()) < 1e-3
    assert 0.75 < float(score) <= 1


@pytest.mark.parametrize("blur", [1.0, 2.0, 3.0])
def test_the_blur_of_dark_does_not_move_the_top_whatever_its_width(blur):
    joints = 30 + 4 * torch.rand(100, 2, generator=torch.Generator().manual_seed(1))
    answer, _ = heatmaps.dark(heatmaps.gaussian(joints, (64, 64), 2.0), blur)
    assert float((answer - joints).norm(dim=-1).max()) < 2e-3


@every_method
def test_a_joint_in_the_middle_of_a_cell_is_read_exactly(method):
    joints = torch.tensor([[20.5, 30.5], [33.5, 20.5]])
    answer, score = heatmaps.read_out(heatmaps.gaussian(joints, (48, 56), 2.0), method)
    assert torch.allclose(answer, joints, atol=2e-3) and torch.allclose(score, torch.ones(2))


def test_the_quarter_offset_goes_towards_the_higher_neighbour_of_each_axis():
    maps = torch.zeros(3, 5, 5)
    maps[:, 2, 2] = 1
    maps[0, 2, 3], maps[0, 1, 2] = 0.5, 0.4  # right and up
    maps[1, 2, 1] = 0.5  # left, and a tie up and down
    joints, _ = heatmaps.quarter(maps)
    assert joints.tolist() == [[2.75, 2.25], [2.25, 2.5], [2.5, 2.5]]


def test_peaks_on_the_border_are_returned_unshifted():
    for x, y in ((0, 2), (4, 2), (2, 0), (2, 4), (0, 0), (4, 4)):
        maps = 0.5 * torch.rand(1, 5, 5, generator=torch.Generator().manual_seed(2))
        maps[0, y, x] = 1
        for method in ("argmax", "quarter", "dark"):
            assert heatmaps.read_out(maps, method)[0].tolist() == [[x + 0.5, y + 0.5]]


def test_the_mean_one_dimensional_error_of_the_quarter_offset_is_an_eighth():
    joints = torch.stack([torch.linspace(30, 31, 1001)[:-1], torch.full((1000,), 30.5)], dim=-1)
    maps = heatmaps.gaussian(joints, (64, 64), 2.0)
    for method, error in (("argmax", 0.25), ("quarter", 0.125)):
        answer, _ = heatmaps.read_out(maps, method)
        assert float((answer - joints)[:, 0].abs().mean()) == pytest.approx(error, abs=0.002)


@every_method
@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, -math.inf])
def test_maps_without_an_answer_have_score_zero_and_a_place(method, value):
    maps = torch.full((2, 3, 6, 7), value)
    joints, scores = heatmaps.read_out(maps, method)
    assert joints.shape == (2, 3, 2) and bool((scores == 0).all())
    assert torch.allclose(joints, joints[:1, :1].expand(2, 3, 2)) and joints.isfinite().all()
    assert bool(((joints >= 0) & (joints <= 7)).all())
    if method != "softargmax":  # whose expectation over nothing is the middle
        assert joints[0, 0].tolist() == [0.5, 0.5]


@every_method
def test_one_bad_map_does_not_touch_its_neighbours(method):
    maps = heatmaps.gaussian(torch.full((4, 2), 10.3), (24, 24), 2.0)
    good, _ = heatmaps.read_out(maps, method)
    maps[2, 3, 3] = math.nan
    mixed, scores = heatmaps.read_out(maps, method)
    keep = [0, 1, 3]
    assert torch.equal(mixed[keep], good[keep]) and scores[2] == 0


@every_method
def test_batched_equals_single_and_half_precision_is_computed_in_full(method):
    joints = 4 + 16 * torch.rand(2, 3, 5, 2, generator=torch.Generator().manual_seed(3))
    maps = heatmaps.gaussian(joints, (24, 26), 1.5).bfloat16()
    together, scores = heatmaps.read_out(maps, method)
    assert together.dtype == scores.dtype == torch.float32 and together.shape == (2, 3, 5, 2)
    alone, _ = heatmaps.read_out(maps[1, 2, 4:5].float(), method)
    assert torch.allclose(together[1, 2, 4:5], alone, atol=1e-5)
    empty, scores = heatmaps.read_out(maps[:0], method)
    assert empty.shape == (0, 3, 5, 2) and scores.shape == (0, 3, 5)


@every_method
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2)])
def test_tiny_maps_are_read(method, size):
    joints, _ = heatmaps.read_out(torch.rand(2, *size), method)
    assert joints.isfinite().all()
    assert bool((joints > 0).all()) and bool((joints < torch.tensor([size[1], size[0]])).all())


@every_method
def test_values_below_zero_do_not_lead_astray(method):
    noise = 0.05 * torch.randn(200, 32, 32, generator=torch.Generator().manual_seed(4))
    maps = heatmaps.gaussian(torch.full((200, 2), 16.2), (32, 32), 1.5) + noise
    options = {"beta": 100.0} if method == "softargmax" else {}
    joints, _ = heatmaps.read_out(maps, method, **options)
    assert float((joints - 16.2).norm(dim=-1).max()) < 2.5


def test_a_saddle_or_a_plateau_is_no_hill_and_falls_back():
    plateau = torch.ones(1, 16, 16)
    assert heatmaps.dark(plateau)[0].tolist() == [[0.5, 0.5]]
    ridge = heatmaps.gaussian(torch.tensor([[8.5, 8.5]]), (16, 16), 2.0)[:, 8:9].expand(1, 16, 16).clone()
    joints, _ = heatmaps.dark(ridge, 2.0)
    assert joints.isfinite().all() and float(joints[0, 0]) == pytest.approx(8.5, abs=0.3)


def test_soft_argmax_can_be_trained_through_and_averages_two_peaks():
    maps = heatmaps.gaussian(torch.tensor([[12.0, 20.0]]), (32, 32), 2.0).requires_grad_()
    heatmaps.softargmax(maps)[0].sum().backward()
    assert maps.grad.isfinite().all() and float(maps.grad.abs().sum()) > 0
    two = heatmaps.gaussian(torch.tensor([[10.5, 32.5]]), (64, 64), 2.0)
    two = two + 0.9 * heatmaps.gaussian(torch.tensor([[45.5, 32.5]]), (64, 64), 2.0)
    off = {beta: abs(float(heatmaps.softargmax(two, beta)[0][0, 0]) - 10.5) for beta in (20.0, 50.0, 100.0)}
    assert off[20.0] == pytest.approx(4.5, abs=0.5) and off[50.0] == pytest.approx(0.24, abs=0.05) and off[100.0] < 0.01


def test_a_low_beta_is_pulled_to_the_middle():
    maps = heatmaps.gaussian(torch.tensor([[10.5, 32.0]]), (64, 64), 2.0)  # cell index 10 of 64
    for beta, index in ((1.0, 31.3), (5.0, 27.4), (10.0, 11.3), (20.0, 10.0)):
        assert float(heatmaps.softargmax(maps, beta)[0][0, 0]) - 0.5 == pytest.approx(index, abs=0.06)


def test_unknown_names_and_wrong_shapes_are_refused():
    with pytest.raises(CourseError, match="did you mean 'quarter'"):
        heatmaps.read_out(torch.zeros(1, 4, 4), "quater")
    for shape in ((4, 4), (1, 0, 4)):
        with pytest.raises(CourseError, match=r"\(\.\.\., K, H, W\)"):
            heatmaps.read_out(torch.zeros(shape), "argmax")
    with pytest.raises(CourseError, match="no encoder called 'ceiled'"):
        heatmaps.error_table(encoders=["ceiled"], count=1)
    with pytest.raises(CourseError, match="leave no room for sigma 3"):
        heatmaps.error_table(size=(16, 16), sigmas=[3], count=1)


# --- the table of what drawing and reading out cost -------------------------------------------------------------------

THEORY = {"argmax": 0.3826, "quarter": 0.1913, "floored": 0.7655}


@pytest.fixture(scope="module")
def table():
    rows = heatmaps.error_table(sigmas=(1.0, 2.0, 3.0), size=(32, 32), count=1500)
    return {(row["sigma"], row["encoder"], row["noise"]): row for row in rows}


def test_the_table_has_a_row_for_every_combination(table):
    assert len(table) == 3 * 3 * 2 and all(set(METHODS) < set(row) for row in table.values())


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0])
def test_fractional_targets_can_be_read_back(table, sigma):
    clean, noisy = table[sigma, "fractional", 0.0], table[sigma, "fractional", 0.02]
    assert clean["argmax"] == pytest.approx(THEORY["argmax"], abs=0.01)
    assert clean["quarter"] == pytest.approx(THEORY["quarter"], abs=0.01)
    assert clean["dark"] < 0.001
    assert noisy["dark"] == pytest.approx(0.02, abs=0.003)
    assert clean["centroid"] == pytest.approx({1.0: 0.032, 2.0: 0.221, 3.0: 0.302}[sigma], abs=0.01)
    assert clean["softargmax"] == pytest.approx({1.0: 0.329, 2.0: 0.200, 3.0: 0.059}[sigma], rel=0.7)


@pytest.mark.parametrize("encoder", ["rounded", "floored"])
@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0])
def test_no_read_out_repairs_a_target_that_was_snapped_to_a_cell(table, sigma, encoder):
    row = table[sigma, encoder, 0.0]
    expected = THEORY["argmax"] if encoder == "rounded" else THEORY["floored"]
    assert all(row[method] == pytest.approx(expected, abs=0.02) for method in METHODS)


def test_the_table_is_the_same_every_time():
    one, two = (heatmaps.error_table(sigmas=[2.0], count=50, size=(24, 24), seed=7) for _ in range(2))
    assert one == two != heatmaps.error_table(sigmas=[2.0], count=50, size=(24, 24), seed=8)
