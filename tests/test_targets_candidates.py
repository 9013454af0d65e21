"""Peaks of maps: against a loop, where the bells were, one of a plateau, and not too many."""

import numpy as np
import pytest
import torch
from naive_grouping import find_peaks

from course_lib.targets.candidates import peaks
from course_lib.targets.fields import confidence_maps


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_peaks_against_a_loop():
    maps = torch.rand(4, 9, 13, generator=generator())
    maps[2] = (maps[2] * 4).round() / 4  # many equal neighbours
    found, expected = peaks(maps, 0.3), find_peaks(maps.numpy(), 0.3)
    for joint in range(4):
        own = found.joints == joint
        mine = sorted(torch.cat([found.points[own], found.scores[own, None]], dim=1).tolist())
        np.testing.assert_allclose(mine, sorted(expected[joint]), atol=1e-4)
        assert found.scores[own].tolist() == sorted(found.scores[own].tolist(), reverse=True)
    assert found.joints.tolist() == sorted(found.joints.tolist())


def test_peaks_of_bells_are_their_centres():
    centres = 2 + torch.rand(30, 1, 2, generator=generator()) * torch.tensor([14.0, 9.0])
    for centre in centres:
        found = peaks(confidence_maps(centre[None], torch.ones(1, 1), (13, 18))[:-1])
        torch.testing.assert_close(found.points, centre, rtol=0, atol=1e-4)


def test_peaks_that_are_not_refined_are_the_centres_of_their_cells():
    maps = torch.rand(3, 7, 8, generator=generator())
    exact, coarse = peaks(maps), peaks(maps, refine=False)
    assert torch.equal(exact.scores, coarse.scores) and torch.equal(exact.joints, coarse.joints)
    assert bool((coarse.points % 1 == 0.5).all())
    column, row = coarse.points.long().unbind(-1)
    assert torch.equal(maps[coarse.joints, row, column], coarse.scores)
    assert float((exact.points - coarse.points).abs().max()) <= 0.5
    assert not torch.equal(exact.points, coarse.points)
    none = peaks(torch.zeros(3, 7, 8), refine=False)
    assert none.points.shape == (0, 2) and len(none.scores) == 0


def test_a_plateau_is_one_peak():
    maps = torch.zeros(1, 8, 9)
    maps[0, 2:4, 3:6] = 0.7
    maps[0, 7, 8] = 0.4  # a corner
    found = peaks(maps)
    assert found.scores.tolist() == pytest.approx([0.7, 0.4])
    assert found.points[1].tolist() == [8.5, 7.5]
    assert len(peaks(torch.ones(1, 5, 5)).scores) == 1


def test_how_peaks_are_limited():
    maps = torch.zeros(2, 5, 12)
    maps[:, 2, 1::3] = torch.tensor([0.4, 0.9, 0.2, 0.6])
    assert peaks(maps, most=2).scores.tolist() == pytest.approx([0.9, 0.6] * 2)
    assert peaks(maps, 0.4).scores.tolist() == pytest.approx([0.9, 0.6] * 2)  # above, not at
    assert peaks(maps, radius=3).scores.tolist() == pytest.approx([0.9, 0.6] * 2)
    table = peaks(maps).table(3)
    assert table.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [-1] * 4]
