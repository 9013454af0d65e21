"""What scores are worth: worked by hand, against brute force, and at the odd ends."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import metrics
from course_lib.errors import CourseError

ANSWERS = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.8, 1.0]), st.booleans()), min_size=1, max_size=12)


def test_the_error_worked_by_hand():
    scores, right = [0.1, 0.15, 0.62, 0.68, 0.9, 1.0], [0, 1, 1, 0, 1, 1]
    found = metrics.reliability(scores, right, bins=5)
    assert found.count.tolist() == [2, 0, 0, 2, 2] and found.right.tolist() == [1, 0, 0, 1, 2]
    assert found.confidence.nan_to_num(-1).tolist() == pytest.approx([0.125, -1, -1, 0.65, 0.95])
    assert found.accuracy.nan_to_num(-1).tolist() == pytest.approx([0.5, -1, -1, 0.5, 1.0])
    # (2 x 0.375 + 2 x 0.15 + 2 x 0.05) / 6
    assert found.error == pytest.approx(1.15 / 6)


def test_perfect_calibration_has_no_error_and_constant_scores_have_one():
    scores = torch.tensor([0.25] * 8 + [0.75] * 4)
    right = torch.tensor([1.0] * 2 + [0.0] * 6 + [1.0] * 3 + [0.0])
    assert metrics.reliability(scores, right).error == pytest.approx(0)
    assert metrics.reliability(torch.ones(10), right[:10]).error == pytest.approx(0.6)
    assert metrics.reliability([], []).error is None


def test_bins_hold_their_lower_edge_and_the_last_one_both():
    found = metrics.reliability([0.0, 0.5, 1.0], [1, 1, 1], bins=2)
    assert found.count.tolist() == [1, 2]
    assert metrics.reliability(torch.rand(3, 4), torch.ones(3, 4)).count.sum() == 12


def test_risk_and_coverage_by_hand():
    coverage, risk = metrics.risk_coverage([0.9, 0.8, 0.8, 0.1], [1, 0, 1, 0])
    assert coverage.tolist() == [0.25, 0.75, 1.0] and risk.tolist() == pytest.approx([0, 1 / 3, 0.5])
    # one sure, then two of which one is wrong in an order drawn by lot, then a wrong one
    assert metrics.area_under_risk([0.9, 0.8, 0.8, 0.1], [1, 0, 1, 0]) == pytest.approx((0 + 0.25 + 1 / 3 + 0.5) / 4)
    assert metrics.area_under_risk([0.5] * 4, [1, 0, 1, 0]) == pytest.approx(0.5)
    assert metrics.area_under_risk([1, 1, 0, 0], [1, 1, 0, 0]) == pytest.approx((1 / 3 + 1 / 2) / 4)
    assert metrics.area_under_risk([], []) is None and len(metrics.risk_coverage([], [])[0]) == 0


@settings(max_examples=60, deadline=None)
@given(ANSWERS)
def test_the_isotonic_map_rises_and_no_other_rising_one_fits_better(answers):
    scores, right = (torch.tensor(column, dtype=torch.float64) for column in zip(*answers, strict=True))
    fitted = metrics.fit_isotonic(scores, right)
    values = fitted(scores)
    assert (values[scores.argsort(stable=True)].diff() >= -1e-12).all()
    assert float(values.mean()) == pytest.approx(float(right.mean()))
    # the formula min over ends, max over beginnings, of means of what lies between
    for level in scores.unique():
        means = [
            min(float(right[(scores >= low) & (scores <= high)].mean()) for high in scores.unique() if high >= level)
            for low in scores.unique()
            if low <= level
        ]
        assert float(fitted(level)) == pytest.approx(max(means))


def test_the_isotonic_map_pools_ties_and_goes_straight_between_pools():
    fitted = metrics.fit_isotonic([0.2, 0.2, 0.4, 0.6, 0.8], [1, 0, 0, 1, 1])
    assert fitted.low.tolist() == [0.2, 0.6] and fitted.high.tolist() == [0.4, 0.8]
    assert fitted([0.0, 0.2, 0.4, 0.5, 0.6, 1.0]).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3, 1, 1])
    assert fitted(torch.rand(2, 3)).shape == (2, 3)


def test_calibrated_on_its_own_people_a_score_has_no_error_left():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(4000, generator=generator).double()
    right = (torch.rand(4000, generator=generator) < scores**3).double()
    before = metrics.reliability(scores, right).error
    after = metrics.reliability(metrics.fit_isotonic(scores, right)(scores), right).error
    assert before > 0.2 and after == pytest.approx(0, abs=1e-9)


def test_a_temperature_that_was_used_is_found_again():
    generator = torch.Generator().manual_seed(0)
    chance = torch.rand(20000, generator=generator).double()
    right = (torch.rand(20000, generator=generator) < chance).double()
    too_sure = torch.sigmoid(torch.logit(chance) * 2.5)
    fitted = metrics.fit_temperature(too_sure, right)
    assert fitted.value == pytest.approx(2.5, rel=0.05)
    assert metrics.reliability(fitted(too_sure), right).error < 0.02 < metrics.reliability(too_sure, right).error
    assert fitted(0.5) == pytest.approx(0.5)
    order = fitted(torch.linspace(0, 1, 50)).diff()
    assert (order >= 0).all()


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_one_class_only(right):
    scores = torch.tensor([0.6, 0.7, 0.9]) if right else torch.tensor([0.1, 0.2, 0.3])
    answers = torch.full((3,), right)
    assert metrics.fit_isotonic(scores, answers)(scores).tolist() == [right] * 3
    fitted = metrics.fit_temperature(scores, answers)
    assert 0.01 <= fitted.value < 0.011 and fitted(scores).tolist() == pytest.approx([right] * 3, abs=1e-6)
    assert metrics.area_under_risk(scores, answers) == 1 - right


def test_a_map_that_rises_keeps_the_ranking():
    generator = torch.Generator().manual_seed(3)
    scores, right = torch.rand(200, generator=generator), torch.rand(200, generator=generator) < 0.4
    before = metrics.area_under_risk(scores, right)
    after = metrics.area_under_risk(metrics.fit_temperature(scores, right)(scores), right)
    assert after == pytest.approx(before)


def test_bad_input_is_refused():
    for function in (metrics.reliability, metrics.risk_coverage, metrics.fit_isotonic, metrics.fit_temperature):
        for scores, right, words in (
            ([math.nan], [1], "lie in"),
            ([1.2], [1], "lie in"),
            ([0.5], [0.5], "right"),
            ([0.5], [math.nan], "right"),
            ([0.5, 0.5], [1], "one score"),
        ):
            with pytest.raises(CourseError, match=words):
                function(scores, right)
    for fit in (metrics.fit_isotonic, metrics.fit_temperature):
        with pytest.raises(CourseError, match="at least one"):
            fit([], [])
    with pytest.raises(CourseError, match="bin"):
        metrics.reliability([0.5], [1], bins=0)
