"""What lesson 09 measures: moved boxes, the transformer there and back, rules for doubles, how a detector errs."""

from __future__ import annotations

import pytest
import torch

from course_lib import geometry, models, skeletons
from course_lib.lessons import lesson_09_boxes as tools
from course_lib.lessons import lesson_09_figures as figures
from course_lib.lessons import lesson_09_pictures as pictures
from course_lib.lessons import lesson_09_proposals as proposals
from course_lib.lessons import lesson_09_study as study
from course_lib.lessons import lesson_09_suppression as suppression
from course_lib.lessons import lesson_09_transformer as transformer
from course_lib.models.alphapose import inverse_affine, window
from course_lib.pose import Batch, Found, Person, Pose, Scene
from course_lib.show.cards import standing
from course_lib.targets.proposals import Proposals
from course_lib.targets.suppression import NmsParameters

LSP = skeletons.get("lsp")
FIGURE = torch.tensor([standing(LSP)[name] for name in LSP.joints])


def somebody(x, height=120.0, y=30.0):
    """A standing person whose middle is at x, everything visible."""
    joints = FIGURE * height + torch.tensor([x, y])
    box = torch.cat([joints.amin(0) - 4, joints.amax(0) + 4])
    return Person(joints, torch.full((14,), 2), LSP, box=box, area=0.3 * height**2, head_box=box)


def as_pose(person, score=1.0, shift=0.0):
    return Pose(person.joints + shift, torch.full((14,), 0.9), LSP, score, person.box + shift)


@pytest.fixture
def scene():
    return Scene(torch.full((3, 192, 256), 0.5), [somebody(60.0), somebody(180.0)])


# --- boxes ------------------------------------------------------------------------------------------------------------


def test_boxes_move_in_shares_of_their_own_sides():
    boxes = torch.tensor([[10.0, 20.0, 30.0, 120.0]])
    assert tools.moved(boxes, right=0.5).tolist() == [[20, 20, 40, 120]]
    assert tools.moved(boxes, down=-0.1).tolist() == [[10, 10, 30, 110]]
    assert tools.moved(boxes, scale=2.0).tolist() == [[0, -30, 40, 170]]
    assert torch.equal(tools.moved(boxes), boxes)


@pytest.mark.parametrize("share", [1 / 3, 0.5**0.5])
def test_the_bands_of_the_first_figure_end_at_an_iou_of_one_half(share):
    boxes = torch.tensor([[10.0, 20.0, 30.0, 120.0]])
    other = tools.moved(boxes, right=share) if share < 0.5 else tools.moved(boxes, scale=share)
    assert float(geometry.box_iou(boxes, other)) == pytest.approx(0.5, abs=1e-5)


def test_noise_grows_along_the_same_lines_and_stays_within_its_bound():
    boxes = torch.tensor([[10.0, 20.0, 30.0, 120.0], [0.0, 0.0, 50.0, 50.0]])
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    small, large = ((tools.jittered(boxes, amount, "a") - boxes) / sides for amount in (0.1, 0.3))
    assert torch.allclose(3 * small, large, atol=1e-5) and float(large.abs().max()) <= 0.3
    assert not torch.allclose(tools.jittered(boxes, 0.3, "b"), tools.jittered(boxes, 0.3, "a"))
    assert torch.equal(tools.jittered(boxes, 0.0), boxes) and tools.jittered(boxes[:0], 0.2).shape == (0, 4)


def test_who_is_covered_and_how_often(scene):
    first, second = (person.box for person in scene.people)
    boxes = torch.stack([first, first + 2, first + 300])
    assert tools.covered(boxes, scene)[0] == 1 and tools.covered(boxes, scene)[1] == 0
    assert tools.times_found(boxes, scene).tolist() == [2, 0]
    assert tools.times_found(torch.zeros(0, 4), scene).tolist() == [0, 0]
    assert pictures.nearest(torch.stack([second, first + 300]), scene) == [1, -1]
    assert tools.overlap(scene).tolist() == [0, 0]
    scene.people.append(somebody(66.0))
    assert tools.overlap(scene)[1] == 0 and tools.overlap(scene)[0] == tools.overlap(scene)[2] > 0.5


def test_likeness_is_of_ones_own_person_or_of_the_best(scene):
    poses = [as_pose(person) for person in scene.people]
    assert tools.like_own(poses, scene.people).tolist() == [1, 1]
    assert float(tools.like_own(poses[::-1], scene.people).max()) < 0.01
    assert tools.best_likeness(poses[::-1], scene).tolist() == [1, 1]
    assert tools.best_likeness([], scene).tolist() == [0, 0]


def test_shares_are_counted_between_edges():
    rows = tools.shares(torch.tensor([0.0, 0.1, 0.2, 0.9]), (0.0, 0.15, 0.5, 0.95), torch.tensor([1, 0, 1, 1]) > 0)
    assert [row["people"] for row in rows] == [2, 1, 1, 0]
    assert [row["share"] for row in rows] == [0.5, 1.0, 1.0, None]


# --- the transformer --------------------------------------------------------------------------------------------------


def test_a_dot_comes_home_by_theta_and_not_by_gamma():
    trip = transformer.dot(transformer.affine(0.25, -0.15, 1.5, 20), (62.0, 35.0))
    assert float((trip.by_theta - trip.start).norm()) < 0.1 < 10 < float((trip.by_gamma - trip.start).norm())


def test_a_joint_comes_home_only_where_all_agree_on_the_corners():
    def worst(*corners):
        return max(transformer.round_trip(transformer.affine(e, -e / 2, 1.5), corners=corners) for e in (0.1, 0.3, 0.5))

    assert worst(False, False) < 0.01
    assert min(worst(True, True), worst(False, True), worst(True, False)) > 0.05


def test_the_window_is_what_theta_shows():
    assert window(transformer.SAME, (96, 64))[[0, 2]].tolist() == [[0, 0], [64, 96]]
    assert window(transformer.affine(0.5, 0, 2.0), (96, 96))[[0, 2]].tolist() == [[48, 24], [96, 72]]


def test_a_person_in_a_true_box_is_in_the_middle_and_of_the_right_size(scene):
    person = scene.people[0]
    model = models.create("alphapose_course")
    batch = transformer.cut_out(scene, [person], transformer.own_box(_whole(person)), (96, 96), model.padding)
    away, large = transformer.off_middle(transformer.SAME[None], transformer.own_box(batch), (96, 96), model.padding)
    assert float(away) == pytest.approx(0, abs=1e-4) and float(large) == pytest.approx(1, abs=1e-4)
    moved = tools.moved(transformer.own_box(_whole(person)), down=0.2, scale=2.0)
    batch = transformer.cut_out(scene, [person], moved, (96, 96), model.padding)
    away, large = transformer.off_middle(transformer.SAME[None], transformer.own_box(batch), (96, 96), model.padding)
    assert float(large) == pytest.approx(0.5, abs=1e-4) and float(away) == pytest.approx(0.1 / 1.3, abs=1e-3)


def _whole(person):
    return Batch(torch.zeros(1, 3, 192, 256), person.joints[None], person.visible[None], LSP)


def test_what_repairs_a_box_is_the_inverse_of_what_went_wrong(scene):
    """A window on the true box's place in the wrong crop shows the person in the middle."""
    person = scene.people[0]
    right = transformer.own_box(_whole(person))
    wrong = tools.moved(right, right=0.3, scale=1.5)
    batch = transformer.cut_out(scene, [person], wrong, (96, 96), 1.3)
    crop_of_right = geometry.crop_matrix(right, (96, 96), 1.3)[0]
    crop_of_wrong = geometry.crop_matrix(wrong, (96, 96), 1.3)[0]
    pixels = geometry.compose(geometry.invert(crop_of_right), crop_of_wrong)  # frame -> wrong crop, in pixels
    half = torch.tensor([[1 / 48, 0, -1], [0, 1 / 48, -1]])
    theta = geometry.compose(geometry.compose(geometry.invert(half), pixels), half)
    away, large = transformer.off_middle(theta[None], transformer.own_box(batch), (96, 96), 1.3)
    assert float(away) == pytest.approx(0, abs=1e-4) and float(large) == pytest.approx(1, abs=1e-4)
    assert torch.allclose(geometry.compose(theta, inverse_affine(theta)), torch.eye(2, 3), atol=1e-5)


def test_descending_moves_theta_alone(scene):
    torch.manual_seed(0)
    model = models.create("alphapose_course", stacks=1, width=32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = transformer.in_trouble([scene], 2, model, least=60.0)
    assert len(batch) == 2
    for term in ("maps", "centred"):
        path = transformer.descend(model, batch, term, steps=3)
        assert path.theta.shape == (4, 2, 2, 3) and path.away.shape == (4, 2) and len(path.loss) == 4
        assert torch.equal(path.theta[0], transformer.SAME.expand(2, 2, 3))
        assert not torch.equal(path.theta[-1], path.theta[0])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


# --- suppression ------------------------------------------------------------------------------------------------------


def test_the_printed_rule_keeps_copies_and_loses_the_others(scene):
    first, second = scene.people
    poses = [as_pose(first, 0.9), as_pose(first, 0.8, 0.5), as_pose(second, 0.7)]
    numbers = NmsParameters(0.5, 30.0, 1.0, 8.0)
    assert suppression.RULES["pose NMS"](poses, numbers) == [poses[0], poses[2]]
    assert suppression.as_printed(poses, numbers) == [poses[0], poses[1]]
    assert suppression.by_boxes(poses, 0.5) == [poses[0], poses[2]]
    assert suppression.RULES["nothing suppressed"](poses[::-1], None) == poses
    assert suppression.by_boxes([], 0.5) == [] and suppression.as_printed([], numbers) == []


def test_a_rules_threshold_is_the_one_with_the_highest_ap(scene):
    first, second = scene.people
    poses = [[as_pose(first, 0.9), as_pose(first, 0.8, 6.0), as_pose(second, 0.7)]]
    row = suppression.chosen("box NMS", poses, [scene])
    assert max(row["ap"]) == row["ap"][row["thresholds"].index(row["threshold"])] == 1
    assert row["ap"][-1] < 1  # two copies 6 pixels apart overlap by less than 0.9


def test_two_drawn_people_are_alike_where_they_coincide():
    near, far = (figures.two_people(apart, 0.9, 0.9) for apart in (0.0, 60.0))
    numbers = NmsParameters(0.5, 30.0, 1.0, 8.0)
    assert len(suppression.RULES["pose NMS"](near, numbers)) == 1
    assert len(suppression.RULES["pose NMS"](far, numbers)) == 2


# --- how a detector errs ----------------------------------------------------------------------------------------------


class Told:
    """A detector that answers with true boxes, moved."""

    def __init__(self, found):
        self.found = found

    def detect(self, images):
        return self.found[: len(images)]


def test_boxes_are_paired_with_whom_they_cover(scene):
    first, second = (person.box for person in scene.people)
    boxes = torch.stack([first + 3, first, second + 300, second])
    found = [Found(boxes, torch.tensor([0.9, 0.8, 0.7, 0.1]))]
    pairs = proposals.paired(Told(found), [scene], LSP)
    assert torch.equal(pairs.true, torch.stack([first, first])) and torch.equal(pairs.detected, boxes[:2])
    assert pairs.joints.shape == (2, 14, 2) and float(pairs.iou[1]) == 1 and 0.5 < float(pairs.iou[0]) < 1
    assert len(proposals.paired(Told(found), [scene], LSP, least=0.0).true) == 3
    nobody = proposals.paired(Told([Found(torch.zeros(0, 4), torch.zeros(0))]), [scene], LSP)
    assert len(nobody.true) == len(nobody.iou) == 0 and nobody.joints.shape == (0, 14, 2)


def test_boxes_are_drawn_by_atom():
    joints = torch.cat([FIGURE.expand(60, 14, 2) * 100, FIGURE.flip(1).expand(60, 14, 2) * 100])  # upright and lying
    joints = joints + torch.randn(joints.shape, generator=torch.Generator().manual_seed(0))
    true = torch.cat([joints.amin(1), joints.amax(1)], -1)
    off = torch.tensor([[0.3, 0, 0.3, 0]] * 60 + [[0, -0.3, 0, -0.3]] * 60)
    detected = true + off * (true[:, 2:] - true[:, :2]).repeat(1, 2)
    fitted = Proposals.fit(joints, torch.full((120, 14), 2), true, detected, atoms=2, components=1)
    atoms = fitted.atom(joints, torch.full((120, 14), 2))
    unit = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(120, 4)
    drawn = tools.drawn(fitted, atoms, unit, torch.Generator().manual_seed(0)) - unit
    assert torch.allclose(drawn.float(), off, atol=0.08)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_every_kind_of_loss_is_told_from_the_others(scene):
    first = scene.people[0]
    third = somebody(120.0, 80.0, 60.0)
    scene.people.append(third)
    found = [Found(torch.stack([first.box, third.box]), torch.tensor([0.9, 0.8]))]
    wrong = as_pose(first, 0.9)
    wrong.joints = wrong.joints + 90
    good = as_pose(third, 0.8)
    kinds = pictures.failures([scene], found, [[wrong, good]], [[wrong]])
    assert kinds == {pictures.NO_BOX: (0, 1), pictures.MIXED_UP: (0, 0), pictures.REMOVED: (0, 2)}


def test_the_most_doubled_picture_is_the_one_in_which_most_of_the_surest_go(scene):
    first, second = (as_pose(person) for person in scene.people)
    poses = [[first, second], [first, first, second], [first, second, second, second]]
    kept = [[first, second]] * 3
    assert pictures.most_doubled([scene] * 3, poses, kept, people=(2, 3)) == 2
    assert pictures.most_doubled([scene] * 2, poses[:2], kept[:2], people=(2, 3)) == 1


# --- the studies ------------------------------------------------------------------------------------------------------


def test_perfect_people_score_one_and_a_difference_from_oneself_is_nothing(scene):
    poses = [[as_pose(person) for person in scene.people]]
    row = study.scored(poses, [scene], study.matched(poses, [scene]))
    assert row["ap"] == row["pckh_map"] == row["by_people"]["1-2"] == 1 and row["by_people"]["8-12"] is None
    assert row["difference"] == 0 and row["difference_interval"] == [0, 0] and row["answered"] == 2


def test_what_was_measured_of_absent_networks_is_kept():
    old = [{"arm": "full", "ap": 1}, {"arm": "no_sstn", "ap": 2}, {"arm": "no_sstn, true boxes", "ap": 3}]
    old.append({"arm": "box NMS", "ap": 4})
    assert study.merged([{"arm": "full", "ap": 5}], old) == [{"arm": "full", "ap": 5}, *old[1:3]]


def test_the_stored_studies_are_whole_and_of_the_weights_that_ship():
    result, numbers, errors = study.load(), suppression.load(), proposals.load()
    arms = {row["arm"] for row in result["runs"]}
    assert arms >= {
        "full",
        "no_sstn",
        "no_pgpg",
        "full, true boxes",
        "nothing suppressed",
        "box NMS",
        "OKS-NMS",
        "pose NMS as printed",
    }
    assert result["pictures"] == study.PICTURES and result["detection"]["people"] == result["lost"]["people"]
    parts = ("no box", "box, wrong pose", "removed", "found")
    assert sum(result["lost"][kind] for kind in parts) == result["lost"]["people"]
    assert {row["arm"] for row in result["noise"]} == set(study.NOISY)
    assert numbers["weights"] == suppression.identity() and errors["weights"] == proposals.identity()
    learned = NmsParameters(**numbers["full"]["parameters"])
    shipped = models.load(study.WEIGHTS).nms
    assert all(getattr(shipped, name) == pytest.approx(getattr(learned, name)) for name in suppression.NAMES)
