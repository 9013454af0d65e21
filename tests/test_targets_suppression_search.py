"""The search of pose NMS's four numbers: against plain loops over scenes and grids, what it asks, and bad input."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from suppression_helpers import BODY, BOX, crowd, generator, pose, same

from course_lib import metrics
from course_lib.errors import CourseError
from course_lib.pose import Person, Pose, Scene
from course_lib.skeletons import COCO
from course_lib.targets.suppression import NmsParameters, pose_nms, similarity
from course_lib.targets.suppression_search import FACTORS, PAIRS, learn_parameters


def validation(count=6):
    """Scenes of two people who stand near each other, each found three times: poses and scenes."""
    poses, scenes, g = [], [], generator(5)
    for s in range(count):
        people = [BODY + torch.tensor([30.0 * p, 5.0 * s]) for p in range(2)]
        who = [Person(joints, torch.full((17,), 2), COCO, BOX, 10_000.0) for joints in people]
        scenes.append(Scene(torch.zeros(3, 4, 4), who, s))
        found = []
        for person, joints in enumerate(people):
            for copy in range(3):
                moved = joints + torch.randn(17, 2, generator=g) * (2 + copy)
                found.append(Pose(moved, torch.full((17,), 0.9 - 0.2 * copy), COCO, 0.9 - 0.2 * copy - 0.3 * person))
        poses.append(found)
    return poses, scenes


def average_precision(kept, scenes):
    return metrics.keypoint_ap(kept, scenes)["AP"]


GRID = {"sigma1": (0.3, 1, 3), "sigma2": (1, 10, 100, 5000), "weight": (0.5, 2), "threshold": (5, 10, 20, 40)}


def test_every_step_against_a_loop():
    """The surface of every step is that of pose_nms on every scene; the numbers follow its highest value."""
    poses, scenes = validation()
    start = NmsParameters(1.0, 5000.0, 2.0, 40.0)
    learned = learn_parameters(poses, scenes, average_precision, start, GRID)
    best = start
    for step in learned.steps:
        for i, a in enumerate(step.values[0]):
            for j, b in enumerate(step.values[1]):
                tried = replace(best, **dict(zip(step.names, (a, b), strict=True)))
                kept = [pose_nms(found, tried) for found in poses]
                assert step.surface[i, j].item() == average_precision(kept, scenes)
        assert step.surface.shape == tuple(len(GRID[name]) for name in step.names)
        best = step.parameters
        assert average_precision([pose_nms(found, best) for found in poses], scenes) >= step.surface.max()
    assert learned.converged and best == learned.parameters
    assert [step.names for step in learned.steps] == list(PAIRS) * (len(learned.steps) // 2)
    assert learned.value == average_precision([pose_nms(found, best) for found in poses], scenes)
    everybody = average_precision(poses, scenes)
    assert learned.value > everybody
    assert all(len(pose_nms(found, best)) == 2 for found in poses)


def test_the_objective_is_asked_once_for_each_choice_and_gets_the_best_first():
    poses, scenes = validation(3)
    asked = []

    def count(kept, same_scenes):
        assert same_scenes is scenes and len(kept) == 3
        assert all(one.score >= two.score for found in kept for one, two in pairwise(found))
        asked.append(tuple(tuple(id(one) for one in found) for found in kept))
        return -abs(sum(map(len, kept)) - 7)

    learned = learn_parameters([found[::-1] for found in poses], scenes, count, NmsParameters(1, 50, 1, 10))
    assert len(asked) == len(set(asked)) < sum(step.surface.numel() for step in learned.steps)
    assert learned.steps[0].values[1] == tuple(50 * factor for factor in FACTORS)
    assert learned.value == max(-abs(sum(map(len, kept)) - 7) for kept in asked)


def test_nothing_changes_without_a_better_value():
    poses, scenes = validation(2)
    start = NmsParameters(0.77, 3.0, 1.1, 9.0)
    learned = learn_parameters(poses, scenes, lambda kept, scenes: 0.5, start, GRID)
    assert (learned.parameters, learned.value, len(learned.steps), learned.converged) == (start, 0.5, 2, True)
    short = learn_parameters(poses, scenes, lambda kept, _: -sum(map(len, kept)), NmsParameters(1, 1, 1, 99), rounds=1)
    assert not short.converged and short.value > -12


def test_scenes_without_poses():
    poses, scenes = validation(3)
    poses[0], poses[2] = [], poses[2][:1]
    learned = learn_parameters(poses, scenes, average_precision, grid=GRID)
    assert learned.converged
    nothing = learn_parameters([[], []], scenes[:2], lambda kept, _: float(kept == [[], []]), grid=GRID)
    assert nothing.value == 1.0
    assert learn_parameters([], [], lambda kept, _: float(kept == [])).value == 1.0


def test_scenes_of_hundreds_of_poses_keep_who_pose_nms_keeps():
    poses = [crowd(seed, people, 9) for seed, people in ((1, 30), (2, 1), (3, 12))]
    scenes = [Scene(torch.zeros(3, 2, 2), []) for _ in poses]
    grid = {"sigma1": (0.5,), "sigma2": (30.0,), "weight": (0.4,), "threshold": (2.0, 4.0, 6.0)}
    seen = []
    learn_parameters(poses, scenes, lambda kept, _: seen.append(kept) or 0.0, NmsParameters(0.5, 30, 0.4, 2), grid)
    expected = [[pose_nms(f, NmsParameters(0.5, 30, 0.4, eta)) for f in poses] for eta in grid["threshold"]]
    assert len(seen) == 3
    for kept, wanted in zip(seen, expected, strict=True):
        assert all(same(one, two) for one, two in zip(kept, wanted, strict=True))


def test_chains_and_the_threshold_itself():
    """Every pose is like the next one only, so every second one stays, in each scene; at the threshold a pose goes."""
    poses = [[pose(4.0 * i, score=1 - i / 20) for i in range(count)] for count in (5, 0, 9, 4)]
    scenes = [Scene(torch.zeros(3, 2, 2), []) for _ in poses]
    d = float(similarity(poses[0], NmsParameters(weight=0.0))[0, 1])
    seen = []
    learn_parameters(
        *(poses, scenes, lambda kept, _: seen.append(kept) or 0.0),
        start=NmsParameters(weight=0.0, threshold=d),
        grid={"weight": (0.0,), "threshold": (d, math.nextafter(d, 99))},
        pairs=[("weight", "threshold")],
    )
    assert [[same(one, two[::2]) for one, two in zip(seen[0], poses, strict=True)]] == [[True] * 4]
    assert len(seen) == 2 and all(same(one, two) for one, two in zip(seen[1], poses, strict=True))


def test_what_cannot_be_searched():
    poses, scenes = validation(1)

    def search(objective=average_precision, poses=poses, **options):
        return learn_parameters(poses, scenes, objective, **options)

    for value in (None, math.nan):
        with pytest.raises(CourseError, match="must be a finite number"):
            search(lambda kept, scenes, value=value: value)
    with pytest.raises(CourseError, match="did you mean 'weight'"):
        search(grid={"wieght": (1.0,)})
    with pytest.raises(CourseError, match="number of pose NMS called 'eta'"):
        search(pairs=[("eta", "weight")])
    for options in ({"pairs": []}, {"pairs": [("weight", "weight")]}, {"pairs": [("weight",)]}, {"rounds": 0}):
        with pytest.raises(CourseError, match="pairs of two different numbers"):
            search(**options)
    with pytest.raises(CourseError, match="without values to try"):
        search(grid={"weight": ()})
    with pytest.raises(CourseError, match="one list of poses for each scene"):
        search(poses=[[], []])
