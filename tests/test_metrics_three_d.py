"""Errors in space on examples worked by hand, and what alignment may and may not forgive."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import metrics
from course_lib.errors import CourseError

TRUE = torch.tensor([[[0, 0, 0], [100, 0, 0], [0, 200, 0], [0, 0, 300]]], dtype=torch.float64)


def test_worked_1_limits():
    true = torch.zeros(1, 5, 3)
    estimated = true.clone().double()
    estimated[0, :, 0] = torch.tensor([0, 100, 149.9, 150, 200], dtype=torch.float64)
    assert metrics.mpjpe(estimated, true) == pytest.approx(119.98, abs=1e-9)
    assert metrics.pck3d(estimated, true).mean == 0.6
    assert metrics.pck3d(estimated, true, comparison="<=").mean == 0.8
    assert metrics.auc3d(estimated, true) == pytest.approx(41 / 155, abs=1e-12)
    assert metrics.auc3d(estimated, true, limit=195) > metrics.auc3d(estimated, true)


def test_worked_2_a_similar_pose():
    estimated = torch.tensor([[[10, 20, 30], [10, 70, 30], [-90, 20, 30], [10, 20, 180]]], dtype=torch.float64)
    assert metrics.mpjpe(estimated, TRUE, root=None) == pytest.approx(120.2126, abs=1e-4)
    assert metrics.mpjpe(estimated, TRUE) == pytest.approx(121.3525, abs=1e-4)
    assert metrics.n_mpjpe(estimated, TRUE) == pytest.approx(115.9463, abs=1e-4)
    assert metrics.pa_mpjpe(estimated, TRUE) == pytest.approx(0, abs=1e-9)
    aligned, scale, rotation = metrics.align_similarity(estimated, TRUE, torch.ones(1, 4))
    assert float(scale) == pytest.approx(2, abs=1e-12)
    assert torch.allclose(aligned, TRUE, atol=1e-9)
    assert float(torch.linalg.det(rotation)) == pytest.approx(1)


def test_worked_3_half_the_size():
    assert metrics.mpjpe(0.5 * TRUE, TRUE) == pytest.approx(75)
    assert metrics.n_mpjpe(0.5 * TRUE, TRUE) == pytest.approx(0, abs=1e-9)
    assert metrics.pa_mpjpe(0.5 * TRUE, TRUE) == pytest.approx(0, abs=1e-9)


def test_worked_4_a_mirrored_pose_is_not_forgiven():
    mirrored = TRUE * torch.tensor([-1.0, 1.0, 1.0])
    assert metrics.pa_mpjpe(mirrored, TRUE) == pytest.approx(55.0938, abs=1e-4)
    _, scale, _ = metrics.align_similarity(mirrored, TRUE, torch.ones(1, 4))
    assert float(scale) == pytest.approx(0.914162, abs=1e-6)
    wrong, _, _ = metrics.align_similarity(mirrored, TRUE, torch.ones(1, 4), reflection=True)
    assert torch.allclose(wrong, TRUE, atol=1e-9)


def test_worked_5_alignment_can_make_it_worse():
    estimated = TRUE.clone()
    estimated[0, 1, 0] += 40
    assert metrics.mpjpe(estimated, TRUE) == pytest.approx(10)
    assert metrics.pa_mpjpe(estimated, TRUE) == pytest.approx(12.5165, abs=1e-4)
    _, scale, _ = metrics.align_similarity(estimated, TRUE, torch.ones(1, 4))
    assert float(scale) == pytest.approx(0.963870, abs=1e-6)


def random_pose(seed: int, people: int = 3, joints: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(people, joints, 3, dtype=torch.float64, generator=generator) * 300


def random_rotation(seed: int) -> torch.Tensor:
    q, _ = torch.linalg.qr(random_pose(seed, 1, 3)[0])
    return q * torch.linalg.det(q)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.floats(0.01, 100), st.floats(-5000, 5000))
def test_pa_mpjpe_forgives_every_similarity_and_no_mirror(seed, scale, shift):
    true, estimated = random_pose(seed), random_pose(seed) + 0.2 * random_pose(seed + 1)
    moved = scale * estimated @ random_rotation(seed + 2) + shift
    assert metrics.pa_mpjpe(moved, true) == pytest.approx(metrics.pa_mpjpe(estimated, true), abs=1e-6)
    assert metrics.pa_mpjpe(scale * true @ random_rotation(seed) + shift, true) == pytest.approx(0, abs=1e-6)
    assert metrics.pa_mpjpe(true * torch.tensor([-1.0, 1.0, 1.0]), true) > 1


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_procrustes_has_the_least_squared_error_of_all_similarities(seed):
    true, estimated = random_pose(seed, people=1), random_pose(seed + 1, people=1)
    best, scale, _ = metrics.align_similarity(estimated, true, torch.ones(1, 16))
    turned = scale * estimated @ random_rotation(seed + 2) + true.mean(1, keepdim=True)
    root_aligned = estimated - estimated[:, :1] + true[:, :1]
    for candidate in (turned, root_aligned, estimated):
        assert float(((best - true) ** 2).sum()) <= float(((candidate - true) ** 2).sum())


def test_unlabelled_joints_play_no_part():
    true, estimated = random_pose(0), random_pose(1)
    visible = torch.ones(3, 16)
    visible[:, 5:] = 0
    broken, wild = true.clone(), estimated.clone()
    broken[:, 5:], wild[:, 5:] = math.nan, 1e6
    for metric in (metrics.mpjpe, metrics.n_mpjpe, metrics.pa_mpjpe, metrics.auc3d, metrics.mpjve):
        assert metric(wild, broken, visible) == pytest.approx(metric(estimated[:, :5], true[:, :5]))


def test_a_missing_joint_is_infinitely_far_and_never_nan():
    true, estimated = random_pose(0), random_pose(0)
    estimated[1, 3] = math.nan
    assert metrics.mpjpe(estimated, true) == math.inf
    assert metrics.pa_mpjpe(estimated, true) == metrics.n_mpjpe(estimated, true) == math.inf
    errors, scored = metrics.joint_errors_3d(estimated, true, align="similarity")
    assert bool(scored.all()) and bool(errors[1].isinf().all())
    assert float(errors[[0, 2]].max()) < 1e-9
    assert metrics.pck3d(estimated, true).mean == 47 / 48


def test_nothing_to_measure_is_none():
    true = random_pose(0)
    for metric in (metrics.mpjpe, metrics.n_mpjpe, metrics.pa_mpjpe, metrics.auc3d, metrics.mpjve):
        assert metric(true, true, torch.zeros(3, 16)) is None
        assert metric(true[:0], true[:0]) is None
    no_root = torch.ones(3, 16)
    no_root[:, 0] = 0
    assert metrics.mpjpe(true, true, no_root) is None
    assert metrics.mpjpe(true, true, no_root, root=1) == 0.0


def test_a_pose_shrunk_to_a_point_has_an_answer():
    point = torch.zeros_like(TRUE)
    assert math.isfinite(metrics.pa_mpjpe(point, TRUE)) and math.isfinite(metrics.n_mpjpe(point, TRUE))
    one = torch.zeros(1, 4)
    one[0, 2] = 1
    assert metrics.pa_mpjpe(TRUE + 50, TRUE, one) == pytest.approx(0, abs=1e-9)


def test_root_may_be_the_middle_of_two_joints():
    true = random_pose(0)
    shift = torch.zeros(3, 16, 3, dtype=torch.float64)
    shift[:, 2], shift[:, 3] = 10.0, -10.0
    assert metrics.mpjpe(true + shift, true, root=(2, 3)) == pytest.approx(2 * math.sqrt(300) / 16)
    with pytest.raises(CourseError, match="root"):
        metrics.mpjpe(true, true, root=16)


def test_mpjve():
    """A constant offset has no velocity error; a jump of 30 mm in one of two steps has 15 a frame on average."""
    true = random_pose(0, people=1).expand(3, 16, 3)
    assert metrics.mpjve(true + 100, true) == pytest.approx(0, abs=1e-9)
    jump = true.clone()
    jump[2, :, 0] += 30
    assert metrics.mpjve(jump, true) == pytest.approx(15)
    assert metrics.mpjve(jump, true, root=0) == pytest.approx(0, abs=1e-9)
    assert metrics.mpjve(true[:1], true[:1]) is None
    visible = torch.ones(3, 16)
    visible[2, :15] = 0  # the jump is seen in one joint only, the second step of the others is not measured
    assert metrics.mpjve(jump, true, visible) == metrics.mpjve(jump.flip(0), true, visible.flip(0))
    assert metrics.mpjve(jump, true, visible) == pytest.approx(30 / 17)


def test_bad_shapes_and_names():
    with pytest.raises(CourseError, match=r"\(N, K, 3\)"):
        metrics.mpjpe(TRUE[..., :2], TRUE[..., :2])
    with pytest.raises(CourseError, match="alignment"):
        metrics.joint_errors_3d(TRUE, TRUE, align="rigid")
