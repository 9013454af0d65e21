"""Scores of single-person models, the mean pose, and how far to trust a number."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from training_helpers import SIZE, stream, tiny

from course_lib.errors import CourseError
from course_lib.metrics import Marks
from course_lib.pose import Batch, Person, Pose, Scene
from course_lib.skeletons import COCO, LSP
from course_lib.training.evaluate import MeanPose, estimates, interval, single_person


def scenes(count: int = 7, size: int = SIZE) -> list[Scene]:
    generator = torch.Generator().manual_seed(0)
    joints = torch.rand(count, 14, 2, generator=generator) * size
    visible = torch.full((14,), 2)
    return [Scene(torch.rand(3, size, size, generator=generator), [Person(one, visible, LSP)]) for one in joints]


class Oracle:
    """Knows every answer, and on every second picture also a worse one of which it is less sure."""

    skeleton = LSP

    def __init__(self, known: list[Scene]) -> None:
        self.known = {scene.image.sum().item(): scene.people[0].joints for scene in known}

    def estimate(self, images, boxes=None, flip_test=False):
        answers = []
        for index, image in enumerate(images):
            joints = self.known[image.sum().item()]
            wrong = Pose(joints + 100, torch.ones(14), LSP, 0.1)
            answers.append([wrong] * (index % 2) + [Pose(joints, torch.ones(14), LSP, 0.9)])
        return answers


class Blind:
    skeleton = LSP

    def estimate(self, images, boxes=None, flip_test=False):
        return [[] for _ in images]


def test_a_perfect_model_is_perfect_and_a_blind_one_is_answered_for():
    scores = single_person(Oracle(scenes()), scenes(), batch=3)
    assert scores["pck@0.2"] == 1 and scores["mean_error"] == 0 and scores["people"] == 7
    assert scores["pck@0.2_interval"] == (1, 1)
    assert single_person(Blind(), scenes())["pck@0.2"] < 0.5
    poses = estimates(Blind(), scenes(2))
    assert (poses[0].joints == SIZE / 2).all() and poses[0].score == 0


def test_the_batch_size_changes_nothing():
    model = tiny().eval()
    one, many = (estimates(model, scenes(), batch=batch) for batch in (1, 50))
    for a, b in zip(one, many, strict=True):
        torch.testing.assert_close(a.joints, b.joints, rtol=1e-5, atol=1e-4)


def test_scenes_that_cannot_be_scored_are_refused():
    empty = [*scenes(1), Scene(torch.zeros(3, 8, 8), [], id=77)]
    with pytest.raises(CourseError, match="scene 77 has nobody in it"):
        single_person(Oracle(empty[:1]), empty)
    other = [Scene(torch.zeros(3, 8, 8), [Person(torch.zeros(17, 2), torch.ones(17), COCO)])]
    with pytest.raises(CourseError, match="labelled with skeleton 'coco', but the model has 'lsp'"):
        single_person(Oracle([]), other)


def test_the_mean_pose_is_the_mean_of_labelled_joints():
    batches = list(islice(stream(0), 5))
    batches[0].visible[:] = 0
    batches[0].joints[:] = float("nan")
    for batch in batches:
        batch.visible[:, 3] = 0  # a joint that nobody has labelled
    mean = MeanPose.of(batches, count=15)
    joints = torch.cat([batch.joints for batch in batches[:4]])
    labelled = torch.cat([batch.visible for batch in batches[:4]]) > 0
    for k in range(14):
        expected = joints[labelled[:, k], k].mean(0) if k != 3 else torch.tensor([SIZE / 2, SIZE / 2])
        torch.testing.assert_close(mean.joints[k].data, expected)
    (small,), (large,) = mean.estimate([torch.zeros(3, SIZE, SIZE), torch.zeros(3, 2 * SIZE, 2 * SIZE)])
    torch.testing.assert_close(large.joints, 2 * small.joints)
    torch.testing.assert_close(small.scores, labelled.float().mean(0))
    with pytest.raises(CourseError, match="at least one batch"):
        MeanPose.of([])


def test_the_mean_pose_goes_where_the_box_is():
    batch = Batch(torch.zeros(1, 3, SIZE, SIZE), torch.full((1, 14, 2), SIZE / 2), torch.ones(1, 14), LSP)
    mean = MeanPose.of([batch])
    ((pose,),) = (mean.estimate(torch.zeros(3, 50, 90), boxes=torch.tensor([[10.0, 20.0, 30.0, 40.0]])),)
    torch.testing.assert_close(pose[0].joints, torch.tensor([20.0, 30.0]).expand(14, 2))


def test_the_interval_draws_people_and_not_joints():
    generator = torch.Generator().manual_seed(1)
    people = torch.rand(200, generator=generator) < 0.7
    scored = torch.rand(200, 14, generator=generator) < 0.8
    marks = Marks(people[:, None] & scored, scored, LSP.joints)
    low, high = interval(marks)
    assert low < marks.mean < high and interval(marks) == (low, high)
    # people are all right or all wrong: the binomial spread of 200 throws, not of 2,240
    expected = 2 * 1.96 * (0.7 * 0.3 / 200) ** 0.5
    assert high - low == pytest.approx(expected, rel=0.15)
    narrow = interval(marks, level=0.5)
    assert low < narrow[0] < narrow[1] < high
    assert interval(Marks(scored & False, scored & False, LSP.joints)) is None
