"""Augmentation: labels stay on the pixels they label."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import kstest, truncnorm

from course_lib import skeletons
from course_lib.errors import CourseError
from course_lib.pose import Batch
from course_lib.training import augment as module
from course_lib.training.augment import NONE, Augment, augment, lower_body

SKELETON = skeletons.get("lsp")
STRONG = Augment(rotation=90, scale=0.4, shift=0.2, geometry=1.0, half_body=0.5)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dotted(count: int = 14, size: tuple[int, int] = (96, 128), seed: int = 0) -> Batch:
    """Image b shows one white blob, where its joint b % K is; the other joints are elsewhere."""
    height, width = size
    joints = torch.rand(count, len(SKELETON), 2, generator=generator(seed)) * torch.tensor([width, height])
    ys, xs = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    marked = joints[torch.arange(count), torch.arange(count) % len(SKELETON)]
    far = (xs - marked[:, 0, None, None]) ** 2 + (ys - marked[:, 1, None, None]) ** 2
    images = torch.exp(-far / (2 * 2.0**2))[:, None].expand(-1, 3, -1, -1).clone()
    return Batch(images, joints, torch.full((count, len(SKELETON)), 2), SKELETON)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_joints_follow_their_pixels(flip):
    """The blob that marked joint k is found where joint k is said to be, under its new name in a mirrored crop."""
    settings = replace(STRONG, half_body=0.3, flip=flip, patches=0, noise=0, brightness=0, contrast=0, gain=0, grey=0)
    ys, xs = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(128) + 0.5, indexing="ij")
    checked = 0
    for seed in range(4):
        batch = dotted(28, seed=seed)
        after = augment(batch, generator(seed), settings)
        for b in range(len(batch)):
            k = b % len(SKELETON)
            name = SKELETON.swaps[k] if flip else k
            whole = margin(batch.joints[b, k]) > 8 and margin(after.joints[b, name]) > 18  # the blob is not cut off
            if not whole:
                continue
            assert after.visible[b, name] == 2
            weight = after.images[b].mean(0)
            found = torch.stack([(weight * xs).sum(), (weight * ys).sum()]) / weight.sum()
            assert (after.joints[b, name] - found).norm() < 0.25
            checked += 1
    assert checked > 25


def margin(joint: torch.Tensor) -> float:
    """How far a joint is from the border of a 96 x 128 crop."""
    return float(torch.minimum(joint, torch.tensor([128.0, 96.0]) - joint).min())


def test_a_flip_renames_joints_and_twice_is_identity():
    batch = dotted()
    batch.visible[:, ::3] = 1
    only_flip = replace(NONE, flip=1.0)
    once = augment(batch, generator(), only_flip)
    torch.testing.assert_close(once.images, batch.images.flip(-1), atol=1e-5, rtol=0)
    ankle, other = SKELETON.index("left_ankle"), SKELETON.index("right_ankle")
    mirrored = batch.joints[:, ankle] * torch.tensor([-1, 1]) + torch.tensor([128, 0])
    torch.testing.assert_close(once.joints[:, other], mirrored)
    assert torch.equal(once.visible, batch.visible[:, list(SKELETON.swaps)])
    twice = augment(once, generator(), only_flip)
    torch.testing.assert_close(twice.joints, batch.joints, atol=1e-4, rtol=0)
    torch.testing.assert_close(twice.images, batch.images, atol=1e-5, rtol=0)
    assert torch.equal(twice.visible, batch.visible)


def test_same_seed_same_bytes_and_the_input_is_left_alone():
    batch = dotted()
    kept = Batch(batch.images.clone(), batch.joints.clone(), batch.visible.clone(), SKELETON)
    first, second, other = (augment(batch, generator(seed), STRONG) for seed in (1, 1, 2))
    for name in ("images", "joints", "visible"):
        assert torch.equal(getattr(first, name), getattr(second, name))
        assert torch.equal(getattr(batch, name), getattr(kept, name))
    assert not torch.equal(first.images, other.images)
    assert first.images.shape == batch.images.shape and first.images.amin() >= 0 and first.images.amax() <= 1


def test_joints_that_leave_the_crop_are_unlabelled():
    batch = dotted(200)
    after = augment(batch, generator(), STRONG)
    inside = ((after.joints >= 0) & (after.joints < torch.tensor([128, 96]))).all(-1)
    assert (after.visible[~inside] == 0).all() and 0.05 < (~inside).float().mean() < 0.7
    unlabelled = Batch(batch.images, batch.joints, torch.zeros_like(batch.visible), SKELETON)
    assert (augment(unlabelled, generator(), STRONG).visible == 0).all()


def test_patches_hide_the_joints_they_cover():
    batch = dotted(100)
    batch.images = torch.rand(100, 3, 96, 128, generator=generator(1))
    batch.visible[:, 0] = 0
    after = augment(batch, generator(), replace(NONE, patches=2, patch=1.0))
    assert torch.equal(after.joints, batch.joints)
    assert set(after.visible[:, 1:].unique().tolist()) == {1, 2} and (after.visible[:, 0] == 0).all()
    hidden = after.visible[:, 1:] == 1
    assert 0.01 < hidden.float().mean() < 0.3
    columns, rows = batch.joints[:, 1:].long().unbind(-1)
    changed = ((after.images - batch.images).abs() > 1e-4).any(1)[torch.arange(100)[:, None], rows, columns]
    # a joint's own pixel may lie half in, half out of a patch
    assert changed[hidden].float().mean() > 0.98 and changed[~hidden].float().mean() < 0.02


def test_half_body_zooms_in_on_one_half():
    batch = dotted(300)
    settings = replace(NONE, half_body=1.0)
    after = augment(batch, generator(), settings)
    lower = lower_body(SKELETON)
    assert lower.sum() == 6
    kept = (after.visible > 0).float()
    whole = (kept[:, lower].amin(-1) == 1) | (kept[:, ~lower].amin(-1) == 1)
    assert whole.all() and kept.mean() < 0.999
    few = Batch(batch.images, batch.joints, batch.visible.clone(), SKELETON)
    few.visible[:, 7:] = 0
    assert torch.equal(augment(few, generator(), settings).visible, few.visible)


def test_strengths_are_truncated_normals():
    draws = module._Draw(20_000, torch.device("cpu"), generator()).cut_normal()
    assert draws.abs().max() <= 1
    assert kstest(draws.numpy(), truncnorm(-1, 1).cdf).pvalue > 0.01
    # of rotations up to 80 degrees, 56 % stay below 40
    assert (draws.abs() < 0.5).float().mean() == pytest.approx(0.5609, abs=0.01)


def test_rotation_stays_within_its_bound():
    batch = dotted(500)
    after = augment(batch, generator(), replace(NONE, rotation=30, geometry=1.0))
    before, now = (one.joints[:, 0] - one.joints[:, 1] for one in (batch, after))
    turned = torch.atan2(now[:, 1], now[:, 0]) - torch.atan2(before[:, 1], before[:, 0])
    turned = torch.remainder(turned + math.pi, 2 * math.pi) - math.pi
    assert 25 < math.degrees(turned.abs().max()) <= 30.01
    torch.testing.assert_close(now.norm(dim=-1), before.norm(dim=-1), atol=1e-3, rtol=1e-3)


def test_colour_changes_no_label_and_grey_is_grey():
    batch = dotted()
    batch.images[:, 0] *= 0.5
    after = augment(batch, generator(), replace(NONE, grey=1.0))
    assert torch.equal(after.images[:, 0], after.images[:, 1]) and torch.equal(after.joints, batch.joints)
    colour = replace(NONE, brightness=0.2, contrast=0.3, gain=0.2, noise=0.05)
    after = augment(batch, generator(), colour)
    assert torch.equal(after.joints, batch.joints) and torch.equal(after.visible, batch.visible)
    assert 0.01 < (after.images - batch.images).abs().mean() < 0.3


def test_nothing_and_nobody():
    batch = dotted(3)
    assert augment(batch, generator(), NONE) is batch
    assert len(augment(batch[:0], generator(), STRONG)) == 0


@pytest.mark.parametrize("change", [{"flip": 1.5}, {"rotation": -1}, {"patches": 99}, {"scale": float("nan")}])
def test_impossible_strengths_are_refused(change):
    with pytest.raises(CourseError, match=f"augmentation '{next(iter(change))}' must lie between"):
        Augment(**change)
