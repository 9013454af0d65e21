"""The nouns: batches hold together, poses move without changing the original."""

import pytest
import torch

from course_lib.errors import CourseError
from course_lib.pose import Batch, Crowd, Found, Pose, Scene
from course_lib.skeletons import COCO, LSP


def batch(count=5):
    images = torch.arange(count).float().view(-1, 1, 1, 1).expand(-1, 3, 4, 6)
    return Batch(images, torch.zeros(count, 14, 2), torch.full((count, 14), 2), LSP)


def test_a_batch_is_sliced_counted_and_put_together():
    whole = batch()
    assert len(whole) == 5 and whole.size == (4, 6)
    parts = [whole[:2], whole[torch.tensor([2, 3, 4])]]
    assert [len(part) for part in parts] == [2, 3]
    assert torch.equal(Batch.cat(parts).images, whole.images)
    assert whole.to("cpu").skeleton is LSP and len(whole[:0]) == 0


@pytest.mark.parametrize(
    ("images", "joints", "visible", "skeleton"),
    [
        ((5, 3, 4, 6), (5, 14, 2), (5, 14), COCO),
        ((3, 4, 6), (14, 2), (14,), LSP),
        ((5, 3, 4, 6), (4, 14, 2), (5, 14), LSP),
        ((5, 3, 4, 6), (5, 14, 3), (5, 14), LSP),
        ((5, 3, 4, 6), (5, 14, 2), (5, 14, 1), LSP),
    ],
)
def test_a_batch_whose_parts_do_not_fit_is_refused_with_the_shapes_it_needs(images, joints, visible, skeleton):
    with pytest.raises(CourseError, match=rf"skeleton '{skeleton.name}' needs .*joints \(B, {len(skeleton)}, 2\)"):
        Batch(torch.zeros(images), torch.zeros(joints), torch.zeros(visible), skeleton)


def test_nothing_cannot_be_put_together():
    with pytest.raises(CourseError, match="no batches"):
        Batch.cat([])


def test_a_moved_pose_leaves_the_old_one_alone():
    pose = Pose(torch.zeros(14, 2), torch.ones(14), LSP, score=0.5)
    moved = pose.moved(torch.ones(14, 2))
    assert moved.score == 0.5 and float(moved.joints.sum()) == 28 and float(pose.joints.sum()) == 0


def test_a_scene_knows_its_height_and_width():
    assert Scene(torch.zeros(3, 7, 9), []).size == (7, 9)


# --- crowds -----------------------------------------------------------------------------------------------------------


def crowd(count=2, people=3):
    shapes = ((count, 3, 4, 6), (count, people, 14, 2), (count, people, 14), (count, 4, 6))
    images, joints, visible, labelled = (torch.rand(shape) for shape in shapes)
    return Crowd(images, joints, (1 + 2 * visible).long(), labelled, LSP)


def test_crowds_of_different_size_are_put_together_and_taken_apart():
    parts = [crowd(2, 3), crowd(1, 0), crowd(3, 5)]
    whole = Crowd.cat(parts)
    assert len(whole) == 6 and whole.size == (4, 6) and whole.joints.shape == (6, 5, 14, 2)
    for part, rows in zip(parts, (slice(0, 2), slice(2, 3), slice(3, 6)), strict=True):
        again, room = whole[rows], part.joints.shape[1]
        for name in ("images", "labelled"):
            assert torch.equal(getattr(again, name), getattr(part, name))
        assert torch.equal(again.joints[:, :room], part.joints) and torch.equal(again.visible[:, :room], part.visible)
        assert not again.visible[:, room:].any()
    assert whole.visible.dtype == torch.long and parts[1].joints.shape == (1, 0, 14, 2)
    assert torch.equal(whole[torch.tensor([5, 0])].images, whole.images[[5, 0]])
    assert whole.to("cpu").skeleton is LSP and len(whole[:0]) == 0


def test_room_is_only_added():
    one = crowd(2, 3)
    assert one.with_room(7).joints.shape == (2, 7, 14, 2) and one.with_room(2).visible.shape == (2, 3, 14)


@pytest.mark.parametrize(
    ("joints", "visible", "labelled"),
    [
        ((2, 14, 2), (2, 14), (2, 4, 6)),
        ((2, 3, 17, 2), (2, 3, 17), (2, 4, 6)),
        ((1, 3, 14, 2), (2, 3, 14), (2, 4, 6)),
        ((2, 3, 14, 2), (2, 4, 14), (2, 4, 6)),
        ((2, 3, 14, 2), (2, 3, 14), (2, 4, 5)),
        ((2, 3, 14, 2), (2, 3, 14), (2, 1, 4, 6)),
    ],
)
def test_a_crowd_whose_parts_do_not_fit_is_refused_with_the_shapes_it_needs(joints, visible, labelled):
    with pytest.raises(CourseError, match=r"images .*joints \(B, N, 14, 2\), .*labelled \(B, H, W\); got") as caught:
        Crowd(torch.zeros(2, 3, 4, 6), torch.zeros(joints), torch.zeros(visible), torch.zeros(labelled), LSP)
    assert "\n" not in str(caught.value)
    with pytest.raises(CourseError, match="no batches"):
        Crowd.cat([])


def test_crowds_know_whom_a_pixel_shows_together_or_not_at_all():
    parts = [crowd(2, 3), crowd(1, 5)]
    for part in parts:
        part.owners = torch.randint(-1, 3, part.labelled.shape).to(torch.int8)
    whole = Crowd.cat(parts)
    assert torch.equal(whole.owners, torch.cat([part.owners for part in parts])) and whole.owners.dtype == torch.int8
    assert torch.equal(whole[1:].owners, whole.owners[1:]) and torch.equal(whole.with_room(9).owners, whole.owners)
    assert Crowd.cat([crowd(), crowd()]).owners is None and crowd().to("cpu").owners is None
    for mixed in ([parts[0], crowd()], [crowd(), parts[0]]):
        with pytest.raises(CourseError, match="lack what others have"):
            Crowd.cat(mixed)
    for shape in ((2, 4, 5), (1, 4, 6), (2, 1, 4, 6)):
        with pytest.raises(CourseError, match="owners must be as large as its pictures"):
            Crowd(parts[0].images, parts[0].joints, parts[0].visible, parts[0].labelled, LSP, torch.zeros(shape))


def tight_boxes(owners, people):
    """Pixel by pixel."""
    boxes = torch.zeros(len(owners), people, 4)
    for b, picture in enumerate(owners.tolist()):
        for person in range(people):
            places = [(x, y) for y, row in enumerate(picture) for x, one in enumerate(row) if one == person]
            if places:
                columns, rows = zip(*places, strict=True)
                boxes[b, person] = torch.tensor([min(columns), min(rows), max(columns) + 1, max(rows) + 1])
    return boxes


def test_boxes_are_tight_around_what_is_seen_of_everybody():
    one = crowd(3, 6)
    with pytest.raises(CourseError, match="does not say whom its pixels show"):
        one.boxes()
    one.owners = torch.randint(-1, 5, (3, 4, 6), generator=torch.Generator().manual_seed(2)).to(torch.int8)
    one.owners[1] = -1  # nobody is seen in the second picture
    one.owners[2, :, :1], one.owners[2, :, 1:] = 0, 4
    boxes = one.boxes()
    assert boxes.dtype == torch.float32 and torch.equal(boxes, tight_boxes(one.owners, 6))
    assert not boxes[1].any() and not boxes[:, 5].any() and boxes[0].any() and boxes[2, 4].tolist() == [1, 0, 6, 4]
    assert one[:0].boxes().shape == (0, 6, 4)
    nobody = Crowd(one.images, one.joints[:, :0], one.visible[:, :0], one.labelled, LSP, one.owners)
    assert nobody.boxes().shape == (3, 0, 4)


def test_the_first_of_a_crowd_is_a_batch():
    one = crowd(2, 3)
    first = one.first()
    assert type(first) is Batch and first.images is one.images and first.skeleton is LSP
    assert torch.equal(first.joints, one.joints[:, 0]) and torch.equal(first.visible, one.visible[:, 0])
    with pytest.raises(CourseError, match="without room for anybody"):
        crowd(2, 0).first()


def test_what_is_found_is_boxes_and_scores():
    found = Found(torch.zeros(2, 4), torch.ones(2))
    boxes, scores = found
    assert boxes is found.boxes and scores is found.scores
