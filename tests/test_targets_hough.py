"""Hough voting: the worked example, a double loop, and where perfect, noisy and broken fields place a joint."""

import math

import pytest
import torch
from hough_helpers import SIZE, fields, places

from course_lib.errors import CourseError
from course_lib.targets import heatmaps, hough

PLAIN = {"radius": 1 / math.sqrt(math.pi)}  # pi R^2 = 1


# --- voting -----------------------------------------------------------------------------------------------------------


def three_voters():
    """Three cells that vote for (10, 10), (10.5, 10) and (10, 10.25), counted from the centre of the first cell."""
    heat, offsets = torch.zeros(1, 20, 20), torch.zeros(1, 2, 20, 20)
    for (column, row), (x, y) in {(3, 4): (10, 10), (12, 9): (10.5, 10), (10, 17): (10, 10.25)}.items():
        heat[0, row, column] = 1
        offsets[0, :, row, column] = torch.tensor([x - column, y - row])
    return heat, offsets


def test_the_worked_example():
    votes = hough.vote(*three_voters(), radius=math.sqrt(3 / math.pi))[0]
    assert float(votes[10, 10]) == pytest.approx(0.75)
    assert float(votes[10, 11]) == pytest.approx(0.5 / 3)
    assert float(votes[11, 10]) == pytest.approx(0.25 / 3)
    assert float(votes.sum()) == pytest.approx(1) and int((votes > 0).sum()) == 3
    joints, scores = hough.decode(*three_voters(), radius=math.sqrt(3 / math.pi))
    torch.testing.assert_close(joints, torch.tensor([[10.5 + 0.5 / 3, 10.5 + 0.25 / 3]]))  # the mean of the three
    torch.testing.assert_close(scores, torch.tensor([0.75]))
    peak, _ = hough.decode(*three_voters(), radius=math.sqrt(3 / math.pi), reach=0)
    assert peak.tolist() == [[10.5, 10.5]]


def by_definition(heat, offsets, radius, margin):
    """f of one map, by the formula: every cell of f against every cell that votes."""
    height, width = heat.shape
    votes = torch.zeros(height + 2 * margin, width + 2 * margin)
    for row in range(len(votes)):
        for column in range(votes.shape[1]):
            x, y = column - margin + 0.5, row - margin + 0.5
            total = 0.0
            for i in range(height):
                for j in range(width):
                    dx = j + 0.5 + float(offsets[0, i, j]) - x
                    dy = i + 0.5 + float(offsets[1, i, j]) - y
                    total += max(0, 1 - abs(dx)) * max(0, 1 - abs(dy)) * float(heat[i, j])
            votes[row, column] = total / (math.pi * radius**2)
    return votes


@pytest.mark.parametrize("margin", [0, 2])
def test_votes_are_what_the_double_loop_says(margin):
    generator = torch.Generator().manual_seed(1)
    heat = torch.rand(2, 3, 5, 7, generator=generator)
    offsets = torch.randn(2, 3, 2, 5, 7, generator=generator) * 4  # a good many leave the map, some across its border
    offsets[0, 0] = offsets[0, 0].round()
    votes = hough.vote(heat, offsets, 1.3, margin)
    expected = [[by_definition(heat[b, k], offsets[b, k], 1.3, margin) for k in range(3)] for b in range(2)]
    torch.testing.assert_close(votes, torch.stack([torch.stack(row) for row in expected]), atol=1e-6, rtol=0)


def test_no_vote_is_lost_but_those_that_leave():
    joints = places(20, SIZE, beyond=-5)
    heat, offsets = fields(joints, SIZE, 3.0)
    heat = heat * torch.rand(heat.shape, generator=torch.Generator().manual_seed(2))
    votes = hough.vote(heat, offsets, 3.0)
    torch.testing.assert_close(votes.sum((-2, -1)), heat.sum((-2, -1)) / (math.pi * 9))
    for away in (SIZE[0] + 1.0, -1e6, 3e38):
        assert hough.vote(heat, offsets + away, 3.0).abs().max() == 0
        assert hough.vote(heat, offsets + away, 3.0, margin=3).isfinite().all()


@pytest.mark.parametrize("side", [-1, 1])
def test_of_a_vote_across_the_border_the_part_within_is_kept(side):
    heat, offsets = torch.ones(1, 1, 1), torch.tensor([side * 0.25, 0.0]).view(1, 2, 1, 1)
    assert hough.vote(heat, offsets, **PLAIN).tolist() == [[[pytest.approx(0.75)]]]
    around = hough.vote(heat, offsets, **PLAIN, margin=1)[0]
    assert around.shape == (3, 3) and float(around.sum()) == pytest.approx(1)
    assert float(around[1, 1 + side]) == pytest.approx(0.25)


def test_votes_can_be_differentiated():
    generator = torch.Generator().manual_seed(3)
    heat = torch.rand(1, 2, 4, 5, generator=generator).requires_grad_()
    offsets = torch.randn(1, 2, 2, 4, 5, generator=generator).requires_grad_()
    pull = torch.rand(1, 2, 4, 5, generator=generator)
    (hough.vote(heat, offsets, **PLAIN) * pull).sum().backward()
    step = 1e-3
    for field, index in ((heat, (0, 1, 2, 3)), (offsets, (0, 1, 0, 2, 2)), (offsets, (0, 0, 1, 1, 3))):
        there = []
        for sign in (1, -1):
            moved = [values.detach().clone() for values in (heat, offsets)]
            moved[0 if field is heat else 1][index] += sign * step
            there.append(float((hough.vote(*moved, **PLAIN) * pull).sum()))
        assert float(field.grad[index]) == pytest.approx((there[0] - there[1]) / (2 * step), abs=5e-3)


# --- where the joint is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reach", [1, 2])
@pytest.mark.parametrize("radius", [1.0, 3.1, 7.0])
def test_perfect_fields_give_the_joint_back(radius, reach):
    joints = places(300, SIZE)
    answer, scores = hough.decode(*fields(joints, SIZE, radius), radius, reach=reach)
    torch.testing.assert_close(answer, joints, atol=2e-5, rtol=0)
    assert float(scores.min()) > 0.03


def test_corners_edges_and_centres_of_the_map():
    height, width = SIZE
    joints = [[x, y] for x in (0.0, 0.01, 0.5, 1.0, width - 0.5, width) for y in (0.0, 0.49, 7.0, 7.5, height)]
    joints = torch.tensor(joints)[:, None]
    answer, _ = hough.decode(*fields(joints, SIZE, 3.1), 3.1)
    torch.testing.assert_close(answer, joints, atol=2e-5, rtol=0)


def test_a_joint_beyond_the_map_is_found_in_a_margin():
    joints = torch.tensor([[[-2.3, 7.1]], [[9.2, SIZE[0] + 3.4]], [[-1.2, -1.6]]])
    heat, offsets = fields(joints, SIZE, 5.0)
    answer, scores = hough.decode(heat, offsets, 5.0, margin=5)
    torch.testing.assert_close(answer, joints, atol=2e-5, rtol=0)
    within, _ = hough.decode(*fields(joints.clamp(min=6, max=12), SIZE, 5.0), 5.0)
    assert within.isfinite().all() and bool((scores < 0.5).all())  # a disc that is cut off has fewer voters
    answer, scores = hough.decode(heat, offsets, 5.0, margin=0)
    assert scores.tolist() == [[0.0]] * 3 and answer.tolist() == [[[0.5, 0.5]]] * 3


@pytest.mark.parametrize(
    ("phase", "count", "peak"),
    [((0, 0), 1961, 0.9987), ((0.5, 0), 1954, 0.4976), ((0.5, 0.5), 1976, 0.2516), ((0.25, 0.25), 1965, 0.5629)],
)
def test_the_peak_depends_on_where_in_its_cell_the_joint_lies(phase, count, peak):
    """Of a disc of 25 cells: as many voters as the sheet of the paper counts, and the peak they make."""
    joints = torch.tensor([[[30.5 + phase[0], 29.5 + phase[1]]]])
    heat, offsets = fields(joints, (60, 64), 25.0)
    answer, scores = hough.decode(heat, offsets, 25.0)
    assert int(heat.sum()) == count and float(scores) == pytest.approx(peak, abs=5e-5)
    torch.testing.assert_close(answer, joints, atol=1e-4, rtol=0)


@pytest.mark.parametrize("stride", [4, 8, 16])
def test_offsets_see_within_a_cell_and_argmax_does_not(stride):
    """Mean error in pixels, of votes that are 1 pixel off on each axis, against the cell an argmax gives."""
    size, radius = (256 // stride, 192 // stride), hough.RADIUS / stride
    joints = places(200, size, seed=stride)
    heat, offsets = fields(joints, size, radius)
    offsets = offsets + torch.randn(offsets.shape, generator=torch.Generator().manual_seed(4)) / stride

    def error(answer):
        return float((answer - joints).norm(dim=-1).mean()) * stride

    cell = error(heatmaps.argmax(heatmaps.gaussian(joints, size, 2.0))[0])
    assert cell == pytest.approx(0.3826 * stride, rel=0.1)  # the mean distance of a point in a square from its centre
    assert error(hough.decode(heat, offsets, radius, reach=0)[0]) > 0.9 * cell
    assert error(hough.decode(heat, offsets, radius)[0]) < cell / 6
    assert error(heatmaps.argmax(heat)[0]) > hough.RADIUS / 2  # a flat disc's first cell is on its border


def test_fields_that_are_not_finite_have_no_votes():
    joints = places(3, SIZE)
    heat, offsets = fields(joints.expand(3, 4, 2), SIZE, 3.1)
    heat[0, 1, 5, 6], offsets[1, 2, 0, 3, 3], offsets[2, 3, 1, 0, 0] = math.nan, math.inf, math.nan
    answer, scores = hough.decode(heat, offsets, 3.1)
    broken = torch.zeros(3, 4, dtype=torch.bool)
    broken[0, 1] = broken[1, 2] = broken[2, 3] = True
    assert bool((scores[broken] == 0).all()) and bool((answer[broken] == 0.5).all())
    torch.testing.assert_close(answer[~broken], joints.expand(3, 4, 2)[~broken], atol=2e-5, rtol=0)
    assert bool((hough.decode(torch.zeros_like(heat), offsets.nan_to_num(), 3.1)[1] == 0).all())


def test_half_precision_is_read_in_full():
    heat, offsets = fields(places(5, SIZE), SIZE, 3.1)
    heat, offsets = heat.bfloat16(), offsets.bfloat16()
    answer = hough.decode(heat, offsets, 3.1)
    assert all(torch.equal(a, b) for a, b in zip(answer, hough.decode(heat.float(), offsets.float(), 3.1), strict=True))


def test_a_persons_score_is_the_mean_of_the_peaks():
    joints = torch.tensor([[[5.5, 6.5], [9.0, 8.5], [11.0, 12.0]], [[7.5, 7.5], [8.5, 9.5], [60.0, 60.0]]])
    _, scores = hough.decode(*fields(joints, SIZE, 4.0), 4.0)
    score = hough.person_score(scores)
    torch.testing.assert_close(score, scores.sum(-1) / 3)
    full = fields(joints[1:, :1], SIZE, 4.0)[0].sum() / (math.pi * 16)  # all voters of a disc in one cell
    assert float(scores[1, 2]) == 0 and float(score[1]) == pytest.approx(float(full) * 2 / 3)
    assert hough.person_score(torch.zeros(0, 3)).shape == (0,)


def test_bad_input():
    heat, offsets = fields(places(2, SIZE), SIZE, 3.0)
    for wrong in ({"offsets": offsets[:, :, 0]}, {"radius": 0}, {"radius": math.nan}, {"margin": -1}):
        with pytest.raises(CourseError, match="a margin of 0 or more; got"):
            hough.vote(**{"heat": heat, "offsets": offsets, "radius": 3.0, **wrong})
    with pytest.raises(CourseError, match="K >= 1 joints"):
        hough.person_score(torch.zeros(4, 0))
