"""Two stages: boxes of any detector, good and bad, become poses in the picture's pixels, ranked and suppressed."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from painted import THREE
from torch import Tensor, nn

from course_lib import models
from course_lib.errors import CourseError
from course_lib.models import top_down
from course_lib.models.detector import GivenBoxes, PersonDetector
from course_lib.models.top_down import TopDownModel
from course_lib.pose import Found, Pose

PICTURE = (60, 80)
BOXES = torch.tensor([[10.0, 10, 30, 30], [40.0, 20, 60, 40], [20.0, 30, 40, 50]])


class Middle(TopDownModel):
    """Says that everybody's three joints are in the middle, the top left and the bottom right of the crop it is shown,
    and is as sure of that as the middle of the crop is bright."""

    def __init__(self) -> None:
        super().__init__(THREE, (32, 32))
        self.one = nn.Parameter(torch.ones(()))
        self.flipped = 0

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :, 16, 16].mean(1) * self.one

    def decode(self, outputs: Tensor) -> list[list[Pose]]:
        joints = torch.tensor([[16.0, 16.0], [0.0, 0.0], [32.0, 32.0]])
        return [[Pose(joints, one.expand(3).clone(), THREE, float(one))] for one in outputs.cpu()]

    def flip_average(self, outputs: Tensor, mirrored: Tensor) -> Tensor:
        self.flipped += 1
        return (outputs + mirrored) / 2

    def suppress(self, poses, unit=1.0):
        return sorted((pose for pose in poses if pose.score > 0.2), key=lambda pose: -pose.score)


def grey(value=0.5, size=PICTURE):
    return torch.full((3, *size), value)


def found(boxes=BOXES, scores=(0.3, 0.9, 0.6)):
    return Found(torch.as_tensor(boxes), torch.as_tensor(scores))


def middles(boxes):
    return (boxes[:, :2] + boxes[:, 2:]) / 2


class Noted:
    """A detector that finds the same in every picture, and remembers what it was asked."""

    def __init__(self, answer: Found) -> None:
        self.answer, self.asked = answer, []

    def detect(self, images):
        self.asked += [tuple(image.shape) for image in images]
        return [self.answer for _ in images]


# --- boxes become poses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("padding", "used"), [(None, 1.25), (1.0, 1.0), (2.0, 2.0)])
def test_given_boxes_are_answered_in_order_with_a_pose_each(padding, used):
    boxes = torch.cat([BOXES, BOXES[:1]])  # one of them twice
    poses = Middle().estimate(grey(), boxes, padding=padding)[0]
    joints = torch.stack([pose.joints for pose in poses])
    torch.testing.assert_close(joints[:, 0], middles(boxes), rtol=0, atol=1e-4)
    torch.testing.assert_close(joints[:, 1], middles(boxes) - used * 10, rtol=0, atol=1e-3)  # boxes of 20 px
    torch.testing.assert_close(torch.stack([pose.box for pose in poses]), boxes)
    assert [pose.score for pose in poses] == pytest.approx([0.5] * 4)


def test_given_boxes_are_not_suppressed_and_those_beside_the_picture_have_no_score():
    model, boxes = Middle(), torch.tensor([[-60.0, -60, -20, -20], [10.0, 10, 30, 30], [70.0, 50, 120, 90]])
    poses = model.estimate(grey(0.1), boxes)[0]
    assert [pose.score for pose in poses] == pytest.approx([0.0, 0.1, 0.0])
    assert poses[0].scores.tolist() == [0.0] * 3 and len(model.suppress(poses)) == 0
    assert model.estimate(grey(), torch.zeros(0, 4)) == [[]]
    assert [len(own) for own in model.estimate([grey(), grey()], [BOXES, torch.zeros(0, 4)])] == [3, 0]


@pytest.mark.parametrize("bad", [[5.0, 5, 5, 9], [9.0, 9, 5, 5], [0.0, 0, math.nan, 4], [0.0, 0, math.inf, 4]])
def test_given_boxes_of_nothing_are_refused_and_proposed_ones_left_out(bad):
    boxes = torch.cat([BOXES, torch.tensor([bad])])
    with pytest.raises(CourseError, match="x0 < x1 and y0 < y1"):
        Middle().estimate(grey(), boxes)
    model = Middle()
    model.detector = Noted(found(boxes, (0.3, 0.9, 0.6, 1.0)))
    assert [pose.box.tolist() for pose in model.estimate(grey())[0]] == BOXES[[1, 2]].tolist()  # 0.15 is too little
    assert len(model.propose([grey()], [boxes])[0]) == 3


def test_people_are_ranked_by_box_and_joints():
    picture = grey(0.0)
    for box, value in zip(BOXES.int().tolist(), (0.9, 0.3, 0.8), strict=True):
        picture[:, box[1] + 5 : box[3] - 5, box[0] + 5 : box[2] - 5] = value
    poses = Middle().propose([picture], [found()])[0]
    assert [pose.score for pose in poses] == pytest.approx([0.9 * 0.3, 0.6 * 0.8, 0.3 * 0.9], abs=1e-3)
    torch.testing.assert_close(torch.stack([pose.joints[0] for pose in poses]), middles(BOXES[[1, 2, 0]]))
    model = Middle()
    model.detector = Noted(found())
    kept = model.estimate(picture)[0]  # suppressed: none below 0.2, the best first
    assert [pose.score for pose in kept] == pytest.approx([0.48, 0.27, 0.27], abs=1e-3)


def test_boxes_without_scores_are_equally_sure_and_keep_their_order():
    for boxes in (BOXES, BOXES.tolist(), BOXES.numpy()):
        poses = Middle().propose([grey()], [boxes])[0]
        assert [pose.box.tolist() for pose in poses] == BOXES.tolist()
        assert [pose.score for pose in poses] == pytest.approx([0.5] * 3)


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ((5.0, 5.0, 6.0, 6.0), True),  # one pixel
        ((5.0, 5.0, 5.5, 40.0), False),  # half of one
        ((-30.0, -30.0, 10.0, 10.0), True),  # partly in the picture
        ((-30.0, 10.0, 0.5, 30.0), False),  # half a pixel of it is
        ((80.0, 10.0, 90.0, 30.0), False),  # right of it
        ((10.0, 60.0, 30.0, 90.0), False),  # below it
        ((-500.0, -500.0, 500.0, 500.0), True),  # all around it
        ((1e6, 1e6, 2e6, 2e6), False),
    ],
)
def test_boxes_in_which_nobody_could_be_seen_are_left_out(box, kept):
    poses = Middle().propose([grey()], [found(torch.tensor([box]), (0.5,))])[0]
    assert len(poses) == kept
    for pose in poses:
        assert bool(pose.joints.isfinite().all()) and pose.box.tolist() == list(box)
        torch.testing.assert_close(pose.joints[0], middles(pose.box[None])[0], rtol=1e-5, atol=1e-3)


def test_of_hundreds_of_boxes_the_surest_are_looked_at():
    corner = torch.rand(400, 2, generator=torch.Generator().manual_seed(0)) * 40
    boxes, scores = torch.cat([corner, corner + 15], 1), torch.rand(400, generator=torch.Generator().manual_seed(1))
    poses = Middle().propose([grey()], [found(boxes, scores)])[0]
    order = scores.argsort(descending=True)[: top_down.MOST_BOXES]
    assert len(poses) == top_down.MOST_BOXES == 100
    assert torch.equal(torch.stack([pose.box for pose in poses]), boxes[order])
    assert [pose.score for pose in poses] == pytest.approx((0.5 * scores[order]).tolist(), abs=1e-6)


def test_a_box_found_twice_gives_two_poses_for_suppression_to_judge():
    poses = Middle().propose([grey()], [found(BOXES[[0, 0, 0]], (0.5, 0.7, 0.6))])[0]
    assert len(poses) == 3 and all(torch.equal(pose.joints, poses[0].joints) for pose in poses)
    assert [pose.score for pose in poses] == pytest.approx([0.35, 0.3, 0.25])


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_one_picture_or_many_of_any_size():
    model = Middle()
    model.detector = detector = Noted(found())
    for images, count in (
        (grey(), 1),
        ([grey(), grey(size=(50, 90))], 2),
        (torch.stack([grey(), grey(), grey()]), 3),
        ([], 0),
        ((torch.rand(50, 70) * 255).byte().numpy(), 1),
    ):
        detector.asked.clear()
        answers = model.estimate(images)
        assert len(answers) == len(detector.asked) == count
        assert all(shape[0] == 3 for shape in detector.asked)
    model.detector = Noted(found(torch.zeros(0, 4), torch.zeros(0)))
    assert model.estimate([grey(), grey()]) == [[], []]
    with pytest.raises(CourseError, match="not finite"):
        model.estimate(grey(math.nan))


def test_every_picture_has_its_own_boxes():
    model = Middle()
    model.detector = GivenBoxes([found(BOXES[:1], (0.9,)), found(BOXES[1:], (0.8, 0.9))])
    answers = model.estimate([grey(), grey()])
    assert [[pose.box.tolist() for pose in own] for own in answers] == [BOXES[:1].tolist(), BOXES[[2, 1]].tolist()]


@pytest.mark.parametrize("boxes", [None, BOXES])
def test_mirror_images_are_looked_at_if_asked_for(boxes):
    model = Middle()
    model.detector = Noted(found())
    assert len(model.estimate(grey(), boxes, flip_test=True)[0]) >= 2 and model.flipped == 1
    model.estimate(grey(), boxes)
    assert model.flipped == 1


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ([BOXES, BOXES], "1 pictures came with the boxes of 2"),
        ([BOXES[:, :3]], r"boxes \(N, 4\) and scores \(N,\); got \(3, 3\)"),
        ([Found(BOXES, torch.ones(2))], r"got \(3, 4\) and \(2,\)"),
        ([Found(BOXES, torch.ones(3, 1))], r"got \(3, 4\) and \(3, 1\)"),
        ([BOXES[0]], r"got \(4,\)"),
    ],
)
def test_what_is_no_boxes_is_refused(told, says):
    with pytest.raises(CourseError, match=says) as caught:
        Middle().propose([grey()], told)
    assert "\n" not in str(caught.value)


# --- the detector is a guest ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return PersonDetector(channels=32, input_size=(64, 64)).eval()


def test_a_detector_is_no_part_of_the_network(small):
    model = Middle()
    model.detector = small
    assert model.detector is small and list(model.state_dict()) == ["one"]
    assert [name for name, _ in model.named_parameters()] == ["one"] and list(model.children()) == []
    model.train()
    assert not small.training
    model.double()
    assert next(small.parameters()).dtype == torch.float32 and len(model.estimate(grey(), BOXES)[0]) == 3
    model.eval()
    small.train()
    assert model.estimate(grey()) is not None and small.training and not model.training
    small.eval()
    again = Middle()
    again.load_state_dict(model.state_dict())


def test_a_copy_has_a_copy_of_the_detector(small):
    model = Middle()
    model.detector = small
    twin = copy.deepcopy(model)
    assert isinstance(twin.detector, PersonDetector) and twin.detector is not small and twin.one is not model.one
    twin.detector = Noted(found())
    assert model.detector is small
    fresh = copy.deepcopy(Middle())
    fresh.detector = small
    assert fresh.detector is small and Middle()._detector is None


def test_the_detector_that_ships_is_loaded_once_and_when_it_is_needed(monkeypatch, small):
    asked = []
    monkeypatch.setattr(models, "load", lambda name: asked.append(name) or small)
    model = Middle()
    model.estimate(grey(), BOXES)
    model.propose([grey()], [BOXES])
    assert asked == []
    model.estimate(grey())
    model.estimate([grey(), grey()])
    assert asked == ["person_detector"] and model.detector is small
    model.detector = told = Noted(found())
    assert model.detector is told and list(model.state_dict()) == ["one"]


def test_mode_and_training_data_are_said():
    model = Middle().train()
    model.detector = Noted(found())
    model.estimate(grey())
    assert model.training and model.many and model.takes_boxes and model.trained_on == "boxed"
