"""Discs of several people against a loop, nobody at all, and joints of which nobody knows where they are."""

import math

import pytest
import torch

from course_lib.errors import CourseError
from course_lib.targets.discs import discs

SIZE = (9, 13)


def by_definition(joints, visible, size, radius):
    """{(picture, joint, row, column): (person, x, y)} cell by cell."""
    found = {}
    for b, people in enumerate(joints.tolist()):
        for k in range(joints.shape[2]):
            for row in range(size[0]):
                for column in range(size[1]):
                    near = []
                    for n, person in enumerate(people):
                        x, y = person[k][0] - column - 0.5, person[k][1] - row - 0.5
                        if visible[b, n, k] > 0 and math.hypot(x, y) <= radius:
                            near.append((math.hypot(x, y), n, x, y))
                    if near:
                        found[b, k, row, column] = min(near)[1:]
    return found


def random_people(pictures=2, people=4, joints=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    where = torch.rand(pictures, people, joints, 2, generator=generator) * torch.tensor([18.0, 14.0]) - 2.5
    return where, torch.randint(0, 3, where.shape[:-1], generator=generator)


@pytest.mark.parametrize("radius", [0.4, 1.25, 3.0])
def test_discs_are_what_the_definition_says(radius):
    joints, visible = random_people()
    found, expected = discs(joints, visible, SIZE, radius), by_definition(*random_people(), SIZE, radius)
    keys = list(zip(*(axis.tolist() for axis in found.where), strict=True))
    assert keys == sorted(expected) and int(found.inside.sum()) == len(keys) > 5
    assert all(bool(found.inside[key]) for key in keys)
    for key, owner, offset in zip(keys, found.owner.tolist(), found.offset.tolist(), strict=True):
        person, *vector = expected[key]
        assert owner == person and offset == pytest.approx(vector, abs=1e-5)


def test_everybody_is_one_of_the_overlapping():
    """Of two people in one place the first has it, and of two near each other everyone the half that is nearer."""
    joints = torch.tensor([[5.0, 4.5], [5.0, 4.5], [8.0, 4.5]]).view(1, 3, 1, 2)
    found = discs(joints, torch.ones(1, 3, 1), SIZE, 2.5)
    assert set(found.owner.tolist()) == {0, 2}
    column = found.where[3]
    assert bool((found.owner[column < 6] == 0).all()) and bool((found.owner[column > 6] == 2).all())


@pytest.mark.parametrize("people", [0, 2])
def test_nobody_has_no_discs(people):
    found = discs(torch.full((2, people, 3, 2), math.nan), torch.zeros(2, people, 3), SIZE, 2.0)
    assert not found.inside.any() and found.inside.shape == (2, 3, *SIZE)
    assert found.owner.shape == (0,) and found.offset.shape == (0, 2)


def test_who_is_missing_or_outside_changes_nothing():
    joints, visible = random_people()
    more = torch.cat([torch.full((2, 1, 3, 2), math.nan), joints, torch.full((2, 1, 3, 2), 500.0)], 1)
    seen = torch.cat([torch.zeros(2, 1, 3), visible, torch.ones(2, 1, 3)], 1)
    one, other = discs(joints, visible, SIZE, 2.0), discs(more, seen, SIZE, 2.0)
    assert torch.equal(one.inside, other.inside) and torch.equal(one.owner + 1, other.owner)
    torch.testing.assert_close(one.offset, other.offset)


def test_bad_input():
    joints, visible = random_people()
    for wrong in ((joints[0], visible[0], SIZE, 2.0), (joints, visible[:1], SIZE, 2.0), (joints, visible, SIZE, 0.0)):
        with pytest.raises(CourseError, match="a positive radius; got"):
            discs(*wrong)
    with pytest.raises(CourseError, match="a labelled joint must lie at finite coordinates"):
        discs(torch.full_like(joints, math.inf), torch.ones_like(visible), SIZE, 2.0)
