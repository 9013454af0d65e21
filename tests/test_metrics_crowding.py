"""The crowd index: examples worked by hand, properties, and what plausible mistakes would answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import metrics, skeletons
from course_lib.errors import CourseError
from course_lib.metrics.crowding import CROWD_EASY, CROWD_HARD, CROWD_LEVELS
from course_lib.pose import Person

LSP = skeletons.get("lsp")


def somebody(*joints: tuple[float, float], box=None, **known) -> Person:
    """Somebody of whom the first joints are labelled, in the given places."""
    places, visible = torch.full((14, 2), -500.0), torch.zeros(14, dtype=torch.long)
    for k, place in enumerate(joints):
        places[k], visible[k] = torch.tensor(place), 1 + k % 2
    return Person(places, visible, LSP, box=None if box is None else torch.tensor(box, dtype=torch.float32), **known)


LEFT = somebody((1, 1), (3, 3), (5, 9), (9, 5), box=(0, 0, 10, 10))  # four joints of their own


def by_hand(people: list[Person]) -> list[float | None]:
    """The definition, joint after joint, of people who all have boxes."""
    ratios: list[float | None] = []
    for i, one in enumerate(people):
        count = {True: 0, False: 0}
        x0, y0, x1, y1 = one.box.tolist()
        for j, other in enumerate(people):
            for (x, y), code in zip(other.joints.tolist(), other.visible.tolist(), strict=True):
                count[i == j] += code > 0 and math.isfinite(x + y) and x0 <= x <= x1 and y0 <= y <= y1
        ratios.append(count[False] / count[True] if count[True] else None)
    return ratios


# --- worked by hand ---------------------------------------------------------------------------------------------------


def test_two_people_one_of_whom_stands_in_the_others_box():
    """One of B's two joints lies in A's box, none of A's four in B's: (1/4 + 0/2) / 2."""
    beside = somebody((9, 9), (15, 9), box=(8.5, 8.5, 16, 16))
    assert metrics.crowd_ratios([LEFT, beside]) == [0.25, 0.0]
    assert metrics.crowd_index([LEFT, beside]) == 0.125
    # (the ratio of all joints to all joints, which is another number, would be 1/6)


def test_two_people_in_one_place_have_an_index_of_one():
    assert metrics.crowd_index([LEFT, LEFT]) == 1.0
    assert metrics.crowd_index([LEFT] * 5) == 4.0  # nothing is cut off at 1


def test_it_is_joints_that_are_counted_and_not_boxes_that_overlap():
    """Most of the boxes is common to both, but all joints lie in the second box and in the first only its own."""
    other = somebody((10.5, 5), (10.5, 8), box=(0.5, 0.5, 11, 11))
    assert metrics.crowd_ratios([LEFT, other]) == [0.0, 4 / 2]


def test_only_labelled_joints_count_and_hidden_ones_are_labelled():
    seen, hidden, unknown = (somebody((2, 2), (20, 20), box=(20, 20, 20, 20)) for _ in range(3))
    hidden.visible[0], unknown.visible[0] = 1, 0
    assert [metrics.crowd_ratios([LEFT, one])[0] for one in (seen, hidden, unknown)] == [0.25, 0.25, 0.0]


def test_joints_that_are_not_finite_are_not_labelled():
    lost = somebody((2, 2), (math.nan, 3), (math.inf, 4), box=(0, 0, 4, 4))
    assert metrics.crowd_ratios([LEFT, lost]) == [0.25, 2.0]  # of mine (1, 1) and (3, 3) lie there


def test_the_denominator_is_ones_own_joints_inside_the_box_not_all_that_are_labelled():
    reaching = somebody((1, 1), (50, 50), (60, 60), (70, 70), box=(0, 0, 10, 10))
    assert metrics.crowd_ratios([reaching, somebody((2, 2), box=(2, 2, 2, 2))]) == [1.0, 0.0]


# --- what the formula leaves open -------------------------------------------------------------------------------------


def test_nobody_has_no_index_and_a_single_person_zero():
    assert metrics.crowd_index([]) is None and metrics.crowd_ratios([]) == []
    assert metrics.crowd_index([LEFT]) == 0.0


def test_without_a_box_that_of_the_labelled_joints_stands_for_it():
    bare = somebody((1, 1), (3, 3), (5, 9), (9, 5))
    other = somebody((9.5, 9), (20, 20), box=(15, 15, 25, 25))
    assert metrics.crowd_ratios([LEFT, other])[0] == 0.25
    assert metrics.crowd_ratios([bare, other])[0] == 0.0  # the joints' box ends at x = 9
    assert metrics.crowd_ratios([bare, somebody((9, 9), (9, 1), box=(9, 1, 9, 9))])[0] == 0.5  # edges belong to it


def test_a_box_without_area_can_still_hold_a_joint():
    one = somebody((4, 4), box=(4, 4, 4, 4))
    assert metrics.crowd_ratios([one, somebody((4, 4), (4, 4.1), box=(0, 0, 9, 9))]) == [1.0, 0.5]
    assert metrics.crowd_ratios([somebody((4, 4)), LEFT]) == [0.0, 0.25]  # a single labelled joint, no box


def test_who_has_no_joint_in_their_own_box_is_left_out_but_still_stands_in_others():
    hand = somebody((2, 2), box=(30, 30, 32, 32))
    assert metrics.crowd_ratios([LEFT, hand]) == [0.25, None]
    assert metrics.crowd_index([LEFT, hand]) == 0.25  # and not (0.25 + 0) / 2
    nothing = somebody(box=(0, 0, 10, 10))
    assert metrics.crowd_ratios([LEFT, nothing]) == [0.0, None]
    assert metrics.crowd_index([nothing, somebody()]) is None


def test_a_group_that_is_labelled_as_one_region_is_nobodys_box():
    group = somebody((2, 2), box=(0, 0, 10, 10), crowd=True)
    assert metrics.crowd_ratios([LEFT, group]) == [0.25, None]
    ignored = somebody((2, 2), box=(0, 0, 10, 10), ignore=True)  # a person all the same
    assert metrics.crowd_ratios([LEFT, ignored]) == [0.25, 4.0]


@pytest.mark.parametrize("box", [(0, 0, math.nan, 4), (5, 0, 4, 4), (0, 0, 4, math.inf), (0, 0, 4)])
def test_a_box_that_is_none_is_refused_in_one_sentence(box):
    with pytest.raises(CourseError, match=r"person 1 has the box .* x0 <= x1 and y0 <= y1"):
        metrics.crowd_ratios([LEFT, somebody((1, 1), box=box)])


@pytest.mark.parametrize("size", [2, 14])
def test_skeletons_may_differ_from_person_to_person(size):
    few = Person(torch.full((size, 2), 5.0), torch.full((size,), 2), LSP, box=torch.tensor([20.0, 20, 30, 30]))
    assert metrics.crowd_ratios([LEFT, few]) == [size / 4, None]


# --- levels -----------------------------------------------------------------------------------------------------------


def test_levels_are_the_evaluators():
    assert (CROWD_EASY, CROWD_HARD, CROWD_LEVELS) == (0.2, 0.8, ("easy", "medium", "hard"))
    values = (0.0, 0.15, 0.1999, 0.2, 0.5, 0.7999, 0.8, 1.0, 7.5)
    expected = ["easy"] * 3 + ["medium"] * 3 + ["hard"] * 3
    assert [metrics.crowd_level(one) for one in values] == expected
    assert [metrics.crowd_level(one) for one in np.array(values)] == expected  # NumPy adds its booleans by "or"
    for bad in (-0.1, math.nan):
        with pytest.raises(CourseError, match="a crowd index is a number of at least 0"):
            metrics.crowd_level(bad)


# --- properties -------------------------------------------------------------------------------------------------------


@st.composite
def crowds(draw):
    """Up to six people on a small grid, so that joints often lie on edges."""
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    people = []
    for _ in range(draw(st.integers(1, 6))):
        joints = torch.randint(0, 9, (14, 2), generator=random).float()
        visible = torch.randint(0, 3, (14,), generator=random)
        corners = torch.randint(0, 9, (2, 2), generator=random).float().sort(0).values
        people.append(Person(joints, visible, LSP, box=corners.flatten()))
    return people


def moved(people: list[Person], scale: float, by: float) -> list[Person]:
    return [Person(one.joints * scale + by, one.visible, LSP, box=one.box * scale + by) for one in people]


@settings(max_examples=60, deadline=None)
@given(crowds(), st.sampled_from([0.5, 2.0, 8.0]), st.sampled_from([-64.0, 0.0, 32.0]))
def test_it_is_the_definition_wherever_the_people_stand_and_however_large_they_are(people, scale, by):
    ratios = metrics.crowd_ratios(people)
    assert ratios == by_hand(people) == metrics.crowd_ratios(moved(people, scale, by))
    there = [one for one in ratios if one is not None]
    index = metrics.crowd_index(people)
    assert index is None if not there else index == pytest.approx(sum(there) / len(there)) and index >= 0


@settings(max_examples=30, deadline=None)
@given(crowds(), st.randoms(use_true_random=False))
def test_the_order_of_people_does_not_matter_and_somebody_far_away_only_thins_the_mean(people, random):
    order = list(range(len(people)))
    random.shuffle(order)
    ratios = metrics.crowd_ratios(people)
    assert metrics.crowd_ratios([people[i] for i in order]) == [ratios[i] for i in order]
    far = moved([LEFT], 1.0, 1000.0)
    assert metrics.crowd_ratios([*people, *far]) == [*ratios, 0.0]
