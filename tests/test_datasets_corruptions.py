"""Corruptions: the same for the same picture, stronger with every severity, and with labels that stay true."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from course_lib import skeletons
from course_lib.datasets import corruptions, synthetic
from course_lib.errors import CourseError
from course_lib.pose import Batch, Scene

MOVING = [name for name, one in corruptions.REGISTER.items() if one.places]
STILL = [name for name in corruptions.names() if name not in MOVING]
LSP = skeletons.get("lsp")


@pytest.fixture(scope="module")
def people() -> Batch:
    """A dozen drawn people, and none of them alike."""
    return synthetic.crops(12, seed="corruptions")


def marked(count: int = 3, size: tuple[int, int] = (96, 112)) -> Batch:
    """Black pictures with a soft white dot on each of 14 joints that stand well apart, a new place in each picture."""
    generator = torch.Generator().manual_seed(1)
    cells = torch.stack([torch.arange(14) % 4, torch.arange(14) // 4], -1) + 0.5
    joints = cells * torch.tensor([20.0, 18.0]) + torch.tensor([16.0, 12.0])
    joints = joints + torch.rand(count, 14, 2, generator=generator) * 4 - 2
    y, x = torch.meshgrid(*(torch.arange(side) + 0.5 for side in size), indexing="ij")
    apart = (torch.stack([x, y], -1) - joints[:, :, None, None]).square().sum(-1)
    dots = torch.exp(-apart / (2 * 1.3**2)).sum(1).clamp(max=1)
    return Batch(dots[:, None].repeat(1, 3, 1, 1), joints, torch.full((count, 14), 2), LSP)


def centre_near(image: torch.Tensor, joint: torch.Tensor, reach: float) -> torch.Tensor:
    """The centre of brightness of (H, W) within `reach` pixels of a joint."""
    y, x = torch.meshgrid(*(torch.arange(side) + 0.5 for side in image.shape), indexing="ij")
    weight = image * (((x - joint[0]).square() + (y - joint[1]).square()) < reach**2)
    return torch.stack([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("name", corruptions.names())
@pytest.mark.parametrize("severity", [1, 5])
def test_the_same_picture_gets_the_same_damage_whatever_stands_beside_it(people, name, severity):
    whole = corruptions.apply(people, name, severity, seed=3)
    again = corruptions.apply(people, name, severity, seed=3)
    alone = corruptions.apply(people[4:5], name, severity, seed=3)
    assert torch.equal(whole.images, again.images) and torch.equal(whole.joints, again.joints)
    torch.testing.assert_close(alone.images[0], whole.images[4], atol=2e-6, rtol=0)
    torch.testing.assert_close(alone.joints[0], whole.joints[4], atol=1e-4, rtol=0)
    assert torch.equal(alone.visible[0], whole.visible[4])
    assert whole.images.shape == people.images.shape and whole.images.dtype == people.images.dtype
    assert float(whole.images.min()) >= 0 and float(whole.images.max()) <= 1
    assert not torch.equal(whole.images, people.images)


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "motion_blur", "fog", "elastic"])
def test_another_seed_is_another_damage(people, name):
    one, other = (corruptions.apply(people[:2], name, 3, seed).images for seed in (0, 1))
    assert not torch.equal(one, other)


def test_damage_is_the_same_on_another_processors_last_bit(people):
    shaken = replace(people, images=(people.images + 1e-7).clamp(0, 1))
    one, other = (corruptions.apply(batch, "gaussian_noise", 3).images for batch in (people, shaken))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", STILL)
def test_pixels_change_more_with_every_severity(people, name):
    changes = [
        float((corruptions.apply(people, name, severity).images - people.images).square().mean())
        for severity in corruptions.SEVERITIES
    ]
    assert changes == sorted(changes) and changes[0] < changes[-1]


def test_places_change_more_with_every_severity(people):
    everywhere = replace(people, visible=torch.full_like(people.visible, 2))
    moved = {name: [corruptions.apply(everywhere, name, one) for one in corruptions.SEVERITIES] for name in MOVING}
    for name in MOVING:
        far = [float((batch.joints - people.joints).norm(dim=-1).mean()) for batch in moved[name]]
        assert far == sorted(far) and far[0] < far[-1], name
    cut = [int((batch.visible == 0).sum()) for batch in moved["truncation"]]
    assert cut == sorted(cut) and cut[0] < cut[-1]
    covered = [corruptions.apply(people, "occluder", one).visible for one in corruptions.SEVERITIES]
    hidden = [int((visible == 1).sum()) for visible in covered]
    assert hidden == sorted(hidden) and hidden[0] < hidden[-1]


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_joints_go_where_their_marks_go(name, severity):
    before = marked()
    after = corruptions.apply(before, name, severity, seed=severity)
    size = corruptions.zoom(name, severity)
    compared = 0
    for image, joints, visible in zip(after.images, after.joints, after.visible, strict=True):
        for joint, labelled in zip(joints, visible, strict=True):
            edge = min(*joint.tolist(), 112 - float(joint[0]), 96 - float(joint[1]))
            if labelled and edge > 6:
                # a dot is 1.3 pixels wide and its neighbours 18 away
                assert float((centre_near(image[0], joint, 6 * size) - joint).norm()) < 0.5
                compared += 1
            assert bool(labelled) == (edge >= 0) or abs(edge) < 1e-3
    assert compared >= 10


def test_pixels_alone_leave_joints_where_they_are(people):
    for name in STILL:
        worse = corruptions.apply(people, name, 4)
        assert torch.equal(worse.joints, people.joints)
        same = worse.visible == people.visible
        assert bool(same.all()) or name == "occluder"


def test_a_disc_hides_a_joint_and_says_so(people):
    worse = corruptions.apply(people, "occluder", 2)
    changed = (worse.images - people.images).abs().sum(1) > 0  # (B, H, W)
    for row in range(len(people)):
        newly = (worse.visible[row] == 1) & (people.visible[row] == 2)
        for joint in people.joints[row][newly]:
            x, y = joint.long().tolist()
            assert bool(changed[row, y, x])
        assert bool(changed[row].any())
    assert bool(((worse.visible == 1) | (worse.visible == people.visible)).all())
    nobody = replace(people, visible=torch.zeros_like(people.visible))
    assert torch.equal(corruptions.apply(nobody, "occluder", 5).images, nobody.images)


def test_half_a_turn_is_exact():
    before = marked()
    after = corruptions.apply(before, "rotation", 5)
    torch.testing.assert_close(after.images, before.images.flip(-1, -2), atol=1e-4, rtol=0)
    torch.testing.assert_close(after.joints, torch.tensor([112.0, 96.0]) - before.joints, atol=1e-3, rtol=0)


def test_a_scene_keeps_boxes_masks_and_sizes_true():
    scene = synthetic.scenes(1, seed="corrupted scene", people=(4, 4))[0]
    for name in corruptions.names():
        worse = corruptions.apply(scene, name, 3)
        size = corruptions.zoom(name, 3)
        assert len(worse.people) == len(scene.people) and worse.size == scene.size and worse.id == scene.id
        for person, was in zip(worse.people, scene.people, strict=True):
            assert person.area == pytest.approx(was.area * size**2)
            torch.testing.assert_close(
                person.head_box[2:] - person.head_box[:2], (was.head_box[2:] - was.head_box[:2]) * size
            )
            assert (person.joints3d is None) == (name in MOVING)
            rows, columns = person.mask.nonzero().unbind(-1)
            if len(rows):
                low = torch.stack([columns.min(), rows.min()])
                high = torch.stack([columns.max(), rows.max()]) + 1
                assert bool((person.box[:2] <= low + 2.5).all() and (person.box[2:] >= high - 2.5).all())


def test_a_scene_and_a_batch_of_it_are_damaged_alike():
    scene = synthetic.single_scenes(1, seed="alike", settings=synthetic.Settings(others=0))[0]
    person = scene.people[0]
    batch = Batch(scene.image[None], person.joints[None], person.visible[None], person.skeleton)
    for name in corruptions.names():
        one, other = corruptions.apply(scene, name, 2), corruptions.apply(batch, name, 2)
        torch.testing.assert_close(one.image, other.images[0], atol=2e-6, rtol=0)
        torch.testing.assert_close(one.people[0].joints, other.joints[0], atol=1e-4, rtol=0)
        assert torch.equal(one.people[0].visible, other.visible[0])


def test_a_picture_without_people_and_no_picture_at_all():
    empty = Scene(torch.rand(3, 40, 60), [])
    for name in corruptions.names():
        assert corruptions.apply(empty, name, 3).people == []
        nothing = Batch(torch.zeros(0, 3, 32, 32), torch.zeros(0, 14, 2), torch.zeros(0, 14), LSP)
        assert len(corruptions.apply(nothing, name, 3)) == 0


def test_lengths_grow_with_the_picture():
    blur = corruptions.REGISTER["motion_blur"]
    assert blur.strength(3, (256, 300)) == pytest.approx(2 * blur.strength(3, (128, 128)))
    turn = corruptions.REGISTER["rotation"]
    assert turn.strength(5, (256, 256)) == turn.strength(5, (64, 64)) == 180


def test_bad_input_is_told_in_one_sentence(people):
    with pytest.raises(CourseError, match="no corruption called 'motion_blurr'; did you mean 'motion_blur'"):
        corruptions.apply(people, "motion_blurr", 1)
    for severity in (0, 6, 2.5, True, "3"):
        with pytest.raises(CourseError, match="whole number from 1 to 5"):
            corruptions.apply(people, "fog", severity)
    for value in (math.nan, 1.5, -0.1):
        broken = people.images[:1].clone()
        broken[0, 0, 0, 0] = value
        with pytest.raises(CourseError, match=r"must lie in \[0, 1\]"):
            corruptions.apply(replace(people[:1], images=broken), "fog", 1)
    with pytest.raises(CourseError, match=r"floats \(B, 3, H, W\)"):
        corruptions.corrupt(people.images[0], people.joints, people.visible, "fog", 1)
    with pytest.raises(CourseError, match="need joints"):
        corruptions.corrupt(people.images, people.joints[:3], people.visible[:3], "fog", 1)
    with pytest.raises(CourseError, match="but not a Tensor"):
        corruptions.apply(people.images, "fog", 1)
    with pytest.raises(CourseError, match="no family of corruptions called 'noisy'"):
        corruptions.names("noisy")
