"""OKS on examples worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import metrics, skeletons
from course_lib.errors import CourseError

COCO = skeletons.get("coco")
AREA = 10_000.0


def shifted(**errors: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One person whose named joints are labelled (v = 1) and estimated this far off."""
    true, visible = torch.full((17, 2), 50.0), torch.zeros(17)
    estimated = true.clone()
    for name, error in errors.items():
        visible[COCO.index(name)] = 1
        estimated[COCO.index(name)] += torch.tensor(error)
    return estimated, true, visible


def test_worked_o1():
    assert float(metrics.oks(*shifted(nose=(3.0, 4.0)), AREA)) == pytest.approx(0.629847, abs=1e-6)
    assert float(metrics.oks(*shifted(left_hip=(0.0, 10.0)), AREA)) == pytest.approx(0.896569, abs=1e-6)
    three = shifted(nose=(3.0, 4.0), left_hip=(0.0, 10.0), left_wrist=(0.0, 0.0))
    assert float(metrics.oks(*three, AREA)) == pytest.approx(0.842139, abs=1e-6)


def test_k_is_two_sigma():
    """An error of one, two and three human sigmas (in units of sqrt(area))."""
    sigma = COCO.sigmas[COCO.index("left_wrist")]
    for count, expected in ((1, 0.8825), (2, 0.6065), (3, 0.3247)):
        three = shifted(left_wrist=(count * sigma * math.sqrt(AREA), 0.0))
        assert float(metrics.oks(*three, AREA)) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("joint", "radii"),
    [
        ("nose", (6.123, 3.944, 2.965, 1.666)),
        ("left_wrist", (14.600, 9.406, 7.069, 3.972)),
        ("right_hip", (25.197, 16.232, 12.201, 6.854)),
    ],
)
def test_radius_table(joint, radii):
    for threshold, radius in zip((0.50, 0.75, 0.85, 0.95), radii, strict=True):
        assert float(metrics.oks_radius(threshold, AREA)[COCO.index(joint)]) == pytest.approx(radius, abs=6e-4)
        assert float(metrics.oks(*shifted(**{joint: (0.0, radius)}), AREA)) == pytest.approx(threshold, abs=2e-4)


def test_size_effect():
    for side, expected in ((32, 0.0418), (96, 0.7027), (200, 0.9219)):
        assert float(metrics.oks(*shifted(right_wrist=(10.0, 0.0)), side**2)) == pytest.approx(expected, abs=5e-5)


def test_matrix_is_every_pair():
    generator = torch.Generator().manual_seed(0)
    estimated, true = (torch.rand(count, 17, 2, generator=generator) * 40 for count in (5, 3))
    visible = torch.randint(0, 3, (3, 17), generator=generator)
    visible[2] = 0
    boxes = torch.tensor([[0.0, 0.0, 30.0, 30.0]]).expand(3, 4)
    area = torch.tensor([900.0, 400.0, 500.0])
    matrix = metrics.oks_matrix(estimated, true, visible, area, "coco", boxes)
    assert matrix.shape == (5, 3)
    for d in range(5):
        for g in range(3):
            one = metrics.oks(estimated[d], true[g], visible[g], area[g], COCO, boxes[g])
            assert float(one) == pytest.approx(float(matrix[d, g]), abs=1e-12)
    assert metrics.oks_matrix(estimated, true, visible, area)[:, 2].tolist() == [0.0] * 5  # no boxes, nothing to meet


def test_a_person_without_labels_is_its_box_grown_threefold():
    """Box (200, 200) with sides 50 and 100: grown, x is 150 to 300. All inside but the nose, 10 px out."""
    inside = torch.full((17, 2), 250.0)
    box = torch.tensor([200.0, 200.0, 250.0, 300.0])
    arguments = (torch.zeros(17, 2), torch.zeros(17), 5000.0, "coco", box)
    assert float(metrics.oks(inside, *arguments)) == 1.0
    inside[0] = torch.tensor([140.0, 400.0])
    expected = (16 + math.exp(-100 / (2 * 5000 * 0.052**2))) / 17
    assert expected == pytest.approx(0.942633, abs=1e-6)
    assert float(metrics.oks(inside, *arguments)) == pytest.approx(expected, abs=1e-12)


def test_everything_broadcasts():
    """One pose against one person of three sizes: a larger person tolerates more."""
    three = shifted(nose=(3.0, 4.0), left_hip=(0.0, 10.0))
    values = metrics.oks(*three, torch.tensor([1e3, 1e4, 1e5]))
    assert values.tolist() == [float(metrics.oks(*three, area)) for area in (1e3, 1e4, 1e5)]
    assert values[0] < values[1] < values[2]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.floats(0, 1e6), st.floats(0, 1e4))
def test_oks_lies_between_nothing_and_one(seed, area, noise):
    generator = torch.Generator().manual_seed(seed)
    true = torch.rand(4, 17, 2, generator=generator) * 300
    visible = torch.randint(0, 3, (4, 17), generator=generator)
    estimated = true + torch.randn(true.shape, generator=generator) * noise
    estimated[0, :3], estimated[1, 2] = math.nan, math.inf
    values = metrics.oks(estimated, true, visible, torch.tensor([area] * 4))
    assert bool(((values >= 0) & (values <= 1)).all())
    assert float(metrics.oks(true[3], true[3], torch.ones(17), area)) == 1.0


def test_own_joints_have_own_sigmas():
    true, estimated = torch.zeros(1, 3, 2), torch.ones(1, 3, 2)
    assert float(metrics.oks(estimated, true, torch.ones(1, 3), 100.0, [0.05, 0.1, 0.2])) > 0
    with pytest.raises(CourseError, match="17 sigmas"):
        metrics.oks(estimated, true, torch.ones(1, 3), 100.0)
    with pytest.raises(CourseError, match="positive"):
        metrics.oks(estimated, true, torch.ones(1, 3), 100.0, [0.05, 0.0, 0.2])
    with pytest.raises(CourseError, match="area"):
        metrics.oks(estimated, true, torch.ones(1, 3), -1.0, [0.05, 0.1, 0.2])
    with pytest.raises(CourseError, match="threshold"):
        metrics.oks_radius(0.0, AREA)
