"""What lesson 07 measures: links by three rules, crossing arms, help from the truth, and who is found."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_lib import skeletons
from course_lib.errors import CourseError
from course_lib.lessons import crowd_line
from course_lib.lessons import lesson_07_part_affinity_fields as tools
from course_lib.lessons import lesson_07_people as people
from course_lib.lessons import lesson_07_pictures as pictures
from course_lib.lessons import lesson_07_study as study
from course_lib.pose import Person, Pose, Scene
from course_lib.show.cards import standing
from course_lib.show.fields import coloured, strongest
from course_lib.targets.grouping import greedy
from course_lib.training import recipes

LSP = skeletons.get("lsp")
FIGURE = torch.tensor([standing(LSP)[name] for name in LSP.joints])


def somebody(x, height=120.0, y=30.0):
    """A standing person whose middle is at x, everything visible."""
    joints = FIGURE * height + torch.tensor([x, y])
    box = torch.cat([joints.amin(0) - 4, joints.amax(0) + 4])
    head = torch.cat([joints[LSP.index("head_top")] - 8, joints[LSP.index("head_top")] + 8])
    return Person(joints, torch.full((14,), 2), LSP, box=box, area=0.3 * height**2, head_box=head)


@pytest.fixture
def scene():
    return Scene(torch.full((3, 192, 256), 0.5), [somebody(60.0), somebody(180.0)])


def as_pose(person, score=1.0):
    return Pose(person.joints.clone(), torch.ones(14), LSP, score)


# --- links ------------------------------------------------------------------------------------------------------------


def test_the_truth_is_drawn_in_cells_and_every_candidate_has_its_owner(scene):
    scene.people[1].visible[3] = 0
    own = tools.drawn(scene)
    assert own.maps.shape == (14, 48, 64) and own.fields.shape == (28, 48, 64)
    assert len(own.owners) == 27 and (own.candidates.joints.diff() >= 0).all()
    where = torch.stack([scene.people[n].joints[k] for n, k in zip(own.owners, own.candidates.joints, strict=True)])
    assert torch.allclose(own.candidates.points * tools.STRIDE, where)


@pytest.mark.parametrize("rule", tools.RULES)
def test_people_who_stand_apart_are_linked_right_by_every_rule(scene, rule):
    own = tools.drawn(scene)
    result = tools.judged(own, greedy(tools.links_by(rule, scene, own)), LSP.limbs)
    assert result == (28, 28, 0)


def test_a_wrong_link_is_one_between_two_people(scene):
    own = tools.drawn(scene)
    chosen = greedy(tools.links_by(tools.FIELD, scene, own))
    chosen[3] = chosen[3].flip(1)  # the two right elbows change owners
    result = tools.judged(own, chosen, LSP.limbs)
    assert result == (28, 26, 2)
    wrong = [(a, b) for a, b, is_wrong in tools.wrong_links(scene, own, chosen) if is_wrong]
    assert len(wrong) == 2 and min(float((a - b).norm()) for a, b in wrong) > 80
    assert tools.pairs(own, scene) == 14 * 4


def test_each_shortcut_has_an_arrangement_that_breaks_it():
    crossing, row = (tools.crossing_errors(one, 90.0) for one in (tools.CROSSING, tools.IN_A_ROW))
    assert crossing[tools.NEAREST] > 0.9 and max(crossing[tools.MIDDLE], crossing[tools.FIELD]) < 0.05
    assert row[tools.MIDDLE] > 0.2 and max(row[tools.NEAREST], row[tools.FIELD]) < 0.05
    assert min(tools.crossing_errors(tools.CROSSING, 5.0).values()) > 0.2  # nothing helps there


@pytest.mark.parametrize("angle", [30.0, 90.0])
def test_the_links_cross_at_the_angle(angle):
    first, second = tools.arms(tools.CROSSING, angle)
    true = torch.nn.functional.cosine_similarity(first[1] - first[0], second[1] - second[0], dim=0)
    left, _, right = tools.arms(tools.IN_A_ROW, angle)
    wrong = torch.nn.functional.cosine_similarity(right[1] - left[0], left[1] - right[0], dim=0)
    expected = np.cos(np.radians(angle))
    assert float(true) == pytest.approx(expected, abs=1e-5) and float(wrong) == pytest.approx(expected, abs=1e-5)


def test_the_maximum_keeps_people_apart_longer_than_the_sum():
    assert tools.profile(2.0, "max")[1] == 2 and tools.profile(2.0, "sum")[1] == 1
    assert tools.merged_below("max") < 1.5 < 2 < tools.merged_below("sum") < 3
    assert tools.profile(0.0, "max")[1] == 1


def test_maps_are_sampled_between_the_centres_of_cells():
    maps = torch.arange(6.0).expand(2, 4, 6)
    points = torch.tensor([[[0.5, 0.5], [2.0, 1.0]], [[5.5, 3.5], [-9.0, 2.0]]])
    assert torch.allclose(tools.sampled(maps, points), torch.tensor([[0.0, 1.5], [5.0, 0.0]]), atol=1e-5)


def test_the_assembly_grows_to_all_people(scene):
    own = tools.drawn(scene)
    joints = [
        sum(int((g.scores > 0).sum()) for g in tools.assembled(own.maps, own.fields, scene, n)) for n in (1, 7, 14)
    ]
    assert joints == [4, 16, 28]


def test_the_clearest_picture_has_no_small_and_no_covered_people(scene):
    small = Scene(scene.image, [somebody(60.0), somebody(180.0, height=40.0)])
    covered = Scene(scene.image, [somebody(60.0), somebody(66.0)])
    alone = Scene(scene.image, [somebody(60.0, height=150.0)])
    assert tools.clearest([small, covered, scene, alone], 2) == 2


def test_the_window_holds_the_points_and_lies_in_the_picture():
    points = torch.tensor([[20.0, 20.0], [60.0, 30.0]])
    x0, y0, x1, y1 = tools.window_around(points, (192, 256))
    assert 0 <= x0 < 20 and 60 < x1 <= 256 and 0 <= y0 < 20 and 30 < y1 <= 192
    assert (x1 - x0) / (y1 - y0) == pytest.approx(4 / 3)


# --- colours ----------------------------------------------------------------------------------------------------------


def test_a_colour_tells_direction_and_length():
    vectors = torch.tensor([[[1.0, 0.5, 0.0, -1.0]], [[0.0, 0.0, 0.0, 0.0]]])
    shades = coloured(vectors)[0]
    assert np.allclose(shades[:, 3], [1, 0.5, 0, 1]) and np.allclose(shades[0, :3], shades[1, :3])
    assert np.allclose(shades[0, :3], [0.92, 0, 0]) and np.allclose(shades[3, :3], [0, 0.92, 0.92])


def test_of_several_limbs_the_longest_vector_is_shown():
    fields = torch.tensor([0.3, 0.0, 0.0, -0.8])[:, None, None].expand(4, 2, 3)
    assert strongest(fields)[:, 1, 2].tolist() == pytest.approx([0.0, -0.8])


# --- people -----------------------------------------------------------------------------------------------------------


def test_people_drawn_from_the_truth_are_found(scene):
    own = tools.drawn(scene)
    for poses in (people.with_drawn_answers(own, LSP), people.with_true_joints(own.fields, own, LSP)):
        assert people.who_is_found(poses, scene) == [True, True] and people.false_people(poses, scene) == 0


def test_true_owners_take_the_nearest_peak_within_half_a_head(scene):
    own = tools.drawn(scene)
    maps = own.maps.clone()
    maps[0] = 0  # nothing knows the right ankles
    maps[6] = maps[6].roll(9, 1)  # the right wrists are 36 pixels off
    poses = people.with_true_owners(maps, own, scene)
    assert len(poses) == 2
    for pose, person in zip(poses, scene.people, strict=True):
        assert pose.scores[[0, 6]].tolist() == [0, 0] and int((pose.scores > 0).sum()) == 12
        there = pose.scores > 0
        assert float((pose.joints - person.joints)[there].norm(dim=-1).max()) < 1
    assert people.with_true_owners(torch.zeros_like(maps), own, scene) == []


def test_one_estimate_finds_one_person(scene):
    first, second = scene.people
    assert people.who_is_found([as_pose(first), as_pose(first)], scene) == [True, False]
    assert people.false_people([as_pose(first), as_pose(first), as_pose(second)], scene) == 1
    assert people.who_is_found([], scene) == [False, False]


def test_an_estimate_of_two_peoples_joints_is_mixed(scene):
    first, second = (as_pose(person) for person in scene.people)
    both = as_pose(scene.people[0])
    both.joints[:6] = second.joints[:6]
    assert people.mixed([first, both, second], scene) == [(1, (0, 1))]
    both.joints[:6] += 40  # away from everybody: missed, but not mixed
    assert people.mixed([both], scene) == []


def test_the_best_picture_is_the_one_with_the_largest_share_found(scene):
    class Known(people.Crowded):
        def poses(self, stage=-1, **options):
            return [[as_pose(person) for person in one.people[:2]] for one in self.scenes]

    three = Scene(scene.image, [*scene.people, somebody(120.0)])
    assert Known(None, [three, scene, three], None, []).most(2) == 1
    assert Known(None, [three, scene, three], None, []).most(3) == 0


def test_failures_are_told_from_each_other(scene):
    scene.people.append(somebody(120.0, height=30.0))
    found = [as_pose(person) for person in scene.people[:2]]
    assert pictures.small_and_missed(found, scene) == 2
    assert pictures.surest_nobody(found, scene) is None
    stray = Pose(torch.rand(14, 2) * 9, torch.ones(14), LSP, 0.3)
    assert pictures.surest_nobody([*found, stray], scene) == 2


# --- the study --------------------------------------------------------------------------------------------------------


def test_perfect_people_score_one_and_groups_without_pictures_none(scene):
    row = study.scored([[as_pose(person) for person in scene.people]], [scene])
    assert row["ap"] == row["pckh_map"] == row["by_people"]["1-2"]["ap"] == 1
    assert row["by_people"]["8-12"]["ap"] is None


def test_the_stored_study_is_whole():
    result = study.load()
    arms = {run["arm"] for run in result["runs"]}
    assert arms >= {*study.ORACLES, *study.THRESHOLDS, "stage 1", "stage 2", "stage 3"}
    assert set(result) >= {"errors", "assignments", "links", "breaking", "seconds", "loops"}
    assert result["made_by"] == "python -m course_lib evaluate --study paf_study"
    assert result["data"] == recipes.get(study.WEIGHTS).data
    assert result["pictures"] == 200 and 0.5 <= result["assignments"]["worst"] <= 1


# --- the line of all multi-person systems -----------------------------------------------------------------------------


def test_a_lesson_shows_the_systems_up_to_its_own():
    told = [crowd_line.MEAN_POSE, crowd_line.TOP_DOWN]
    assert list(crowd_line.measured("paf_course")) == [*told, "07 Part affinity fields"]
    assert list(crowd_line.measured()) == [*told, *(system.title for system in crowd_line.SYSTEMS)]
    with pytest.raises(CourseError, match="did you mean 'paf_course'"):
        crowd_line.measured("paf_curse")
