"""What lesson 10 draws and measures: crops, discs, votes, cuts of features, grids of cells, ranks, and its study."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torchvision import ops

from course_lib import geometry, models, skeletons
from course_lib.errors import CourseError
from course_lib.lessons import lesson_10_grmi_and_mask_rcnn as tools
from course_lib.lessons import lesson_10_live as live
from course_lib.lessons import lesson_10_people as people
from course_lib.lessons import lesson_10_regions as regions
from course_lib.lessons import lesson_10_study as study
from course_lib.models.grmi import Fields
from course_lib.pose import Batch, Found, Person, Pose, Scene
from course_lib.show.cards import standing
from course_lib.targets import hough

LSP = skeletons.get("lsp")
FIGURE = torch.tensor([standing(LSP)[name] for name in LSP.joints])


def somebody(x, height=120.0, y=30.0, hidden=0):
    """A standing person whose middle is at x, everything but the first `hidden` joints visible."""
    joints = FIGURE * height + torch.tensor([x, y])
    box = torch.cat([joints.amin(0) - 4, joints.amax(0) + 4])
    visible = torch.full((14,), 2)
    visible[:hidden] = 1
    return Person(joints, visible, LSP, box=box, area=0.3 * height**2)


def scene_of(*persons):
    noise = torch.rand(3, 192, 256, generator=torch.Generator().manual_seed(0))
    return Scene(noise, list(persons))


# --- crops ------------------------------------------------------------------------------------------------------------


def test_a_padded_crop_keeps_proportions_and_a_squeezed_one_does_not():
    person = somebody(100.0)
    for stretched in (False, True):
        made = tools.cut(scene_of(person), 0, stretched=stretched)
        assert made.image.shape == (3, *tools.CROP)
        spread, before = made.joints[0].std(0), person.joints.std(0)
        across, down = (spread / before).tolist()
        assert (across == pytest.approx(down, rel=1e-4)) is not stretched
    sides = geometry.box_of(tools.cut(scene_of(person), 0, stretched=True).joints[0], torch.ones(14))
    assert float(sides[2] - sides[0]) < tools.CROP[1] / 1.25 and float(sides[3] - sides[1]) < tools.CROP[0] / 1.25


def test_the_one_who_is_meant_stands_first_in_a_crop():
    scene = scene_of(somebody(60.0), somebody(180.0, hidden=3))
    made = tools.cut(scene, 1)
    assert made.visible[0].tolist() == scene.people[1].visible.tolist()
    assert bool(((made.joints[0] > 0) & (made.joints[0] < torch.tensor([96, 128]))).all())
    assert bool((made.joints[1, :, 0] < 0).all())


def test_people_are_picked_by_code():
    alone, close = scene_of(somebody(128.0)), scene_of(somebody(128.0), somebody(140.0), somebody(60.0, hidden=9))
    assert tools.close_pair([alone, close]) in ((1, 0), (1, 1))
    flat = somebody(128.0)
    flat.box = torch.tensor([20.0, 60.0, 200.0, 130.0])
    assert tools.widest([alone, scene_of(somebody(60.0), flat)]) == (1, 1)
    both = scene_of(somebody(60.0, hidden=5), somebody(150.0))
    assert tools.standing(both) is both.people[1]
    assert tools.clear(alone) and not tools.clear(Scene(torch.full((3, 20, 30), 0.5), []))


# --- discs and votes --------------------------------------------------------------------------------------------------


def test_every_cell_of_a_drawn_disc_points_to_the_joint():
    joints = tools.places(5, (24, 18), margin=4.0)
    assert bool((joints >= 4).all()) and bool((joints <= torch.tensor([14.0, 20.0])).all())
    heat, offsets = tools.fields(joints, (24, 18), 3.0)
    for n in range(5):
        row, column = heat[n, 0].nonzero(as_tuple=True)
        ends = torch.stack([column, row], -1) + 0.5 + offsets[n, 0, :, row, column].T
        torch.testing.assert_close(ends, joints[n].expand_as(ends))


def test_noise_that_is_scattered_averages_out_and_a_shared_one_does_not():
    clean = tools.fields(torch.full((200, 1, 2), 12.3), (24, 24), 6.0)
    errors = {}
    for kind in ("scatter", "shared"):
        joints, _ = hough.decode(*tools.noisy(*clean, **{kind: 1.0}), 6.0)
        errors[kind] = float((joints - 12.3).norm(dim=-1).mean())
    assert errors["scatter"] < 0.25 and errors["shared"] == pytest.approx(math.sqrt(math.pi / 2), rel=0.15)
    heat, _ = tools.noisy(*clean, doubt=0.4)
    assert float(heat.min()) >= 0 and float(heat.max()) <= 1


@pytest.mark.parametrize("stride", tools.STRIDES)
def test_what_the_ways_to_decode_cost(stride):
    clean = tools.decoding(stride)
    assert clean[tools.ARGMAX] == pytest.approx(0.3826 * stride, rel=0.1) == clean[tools.CELL]
    assert clean[tools.DARK] < 1e-3 and clean[tools.VOTES] < 1e-3 < clean[tools.QUARTER] < 0.6 * clean[tools.ARGMAX]
    wrong = tools.decoding(stride, shared=4.0)
    assert min(wrong.values()) > 4.0  # no reading repairs a network that is wrong: 4 sqrt(pi / 2) = 5.0


def test_the_worked_votes():
    votes = hough.vote(*tools.three_voters(), radius=math.sqrt(3 / math.pi))[0]
    for (row, column), value in {(10, 10): 0.75, (10, 11): 0.5 / 3, (11, 10): 0.25 / 3}.items():
        assert float(votes[row, column]) == pytest.approx(value)


@pytest.mark.parametrize(
    ("phase", "voters", "height"),
    [((0, 0), 1961, 0.9987), ((0.5, 0), 1954, 0.4976), ((0.5, 0.5), 1976, 0.2516), ((0.25, 0.25), 1965, 0.5629)],
)
def test_the_peak_and_what_makes_up_for_it(phase, voters, height):
    one = tools.peak(phase)
    assert one.voters == voters and one.peak == pytest.approx(height, abs=5e-5)
    assert 0.8 < one.blurred < 1 and one.mass == pytest.approx(voters / (math.pi * 625), abs=1e-4)


def test_peaks_by_phase_are_lowest_at_the_corners():
    peaks = tools.peaks_by_phase(5, radius=8.0)
    assert peaks.shape == (5, 5) and peaks.argmax() == 12
    assert float(peaks[2, 2] / peaks[0, 0]) == pytest.approx(4, rel=0.1)


def test_losses_before_anything_is_learned():
    start = tools.first_losses(tools.PAPER_CROP, 25.0, 1)
    assert start["heatmaps"] == pytest.approx(math.log(2), abs=1e-6)
    assert start["offsets"] == pytest.approx(2 / 3 * 25 - 0.5, rel=0.01)  # mean distance in a disc, Huber's half off


# --- cutting out ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [4, 16])
def test_what_each_way_to_cut_misses(stride):
    pool, old, align = (regions.missed(way, stride, count=50) for way in (regions.POOL, regions.OLD, regions.ALIGN))
    assert align.mean < 1e-3 and align.worst < 1e-2
    assert old.mean == pytest.approx(stride / math.sqrt(2), rel=1e-3) and old.left < 1e-3
    assert pool.left > 0.3 * stride and pool.worst > pool.mean


def test_bins_are_meant_to_look_at_their_middles():
    middles = regions.meant(torch.tensor([[10.0, 20.0, 14.0, 28.0]]), 2)
    assert middles[0].tolist() == [[[11.0, 22.0], [13.0, 22.0]], [[11.0, 26.0], [13.0, 26.0]]]


def test_a_networks_cut_can_be_exchanged():
    torch.manual_seed(0)
    model = models.create("mask_rcnn_course").eval()
    image, boxes = torch.rand(3, 192, 256), torch.tensor([[33.0, 21.0, 75.0, 150.0]])
    own = regions.logits_of(model, image, boxes)
    assert own.shape == (1, 14, 56, 56)
    for arm, change in regions.POOLINGS.items():
        other = regions.logits_of(change(models.create("mask_rcnn_course").eval()), image, boxes)
        assert other.shape == own.shape and bool(other.isfinite().all()), arm
    features = {"0": torch.rand(1, 5, 48, 64)}
    align = ops.MultiScaleRoIAlign(["0"], 14, 2)
    whole, between = torch.tensor([[16.0, 20.0, 60.0, 120.0]]), torch.tensor([[17.0, 21.5, 61.0, 120.0]])
    rounded = regions.Rounded(align, 4.0)
    expected = ops.roi_align(features["0"], [whole], 14, 0.25, 2)
    torch.testing.assert_close(rounded(features, [whole], [(192, 256)]), expected)
    torch.testing.assert_close(rounded(features, [between], [(192, 256)]), expected)  # 21.5 / 4 rounds to 5


# --- one cell of so many ----------------------------------------------------------------------------------------------


def test_what_a_grid_costs():
    assert tools.grid_error(100.0, 50, shape=1.0) == pytest.approx(0.3826 * 2, rel=0.03)
    assert tools.grid_error(500.0, 56) == pytest.approx(5 * tools.grid_error(100.0, 56))
    values = [regions.best_oks(cells, 0.025) for cells in (14, 28, 56, 112)]
    assert values == sorted(values) and values[0] < 0.75 and values[2] > 0.95
    names = regions.joints_in_order(skeletons.get("coco"))
    assert names[0][0] == "eye" and names[-1][0] == "hip" and len(names) == 9


# --- live -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def seen():
    generator = torch.Generator().manual_seed(0)
    joints = 96 * torch.rand(40, 14, 2, generator=generator)
    joints[0, 0] = -5.0  # beside the crop
    batch = Batch(torch.zeros(40, 3, 96, 96), joints, torch.full((40, 14), 2), LSP)
    return live.Seen(torch.randn(40, 78, 24, 24, generator=generator), batch)


def test_three_answers_begin_where_they_should(seen):
    network = live.ThreeAnswers(78, 14)
    with torch.inference_mode():
        terms = live.losses(network(seen.features), seen)
    assert float(terms[live.GAUSSIAN]) == pytest.approx(1) and float(terms["disc"]) == pytest.approx(4 * math.log(2))
    assert float(terms[live.SOFTMAX]) == pytest.approx(live.uniform_level()) == pytest.approx(math.log(144))
    assert not bool(seen.labelled()[0, 0]) and int(seen.labelled().sum()) == 40 * 14 - 1


def test_three_answers_learn_by_heart(seen):
    network, history = live.train(seen, 30)
    assert all(values[-1] < values[0] for values in history.values())
    errors = live.errors(network, seen)
    assert len(errors) == 7 and all(len(error) == 40 * 14 - 1 for error in errors.values())


# --- ranks and crops of a network -------------------------------------------------------------------------------------


@pytest.fixture
def boxed():
    """What a perfect network would answer."""
    model = models.create("grmi_course")
    scenes = [scene_of(somebody(60.0), somebody(180.0, hidden=2)), scene_of(), scene_of(somebody(100.0, 90.0))]
    made = people.Boxed.of(model, scenes)
    heat, offsets = tools.fields(made.joints / model.stride, (32, 24), made.radius)
    made.fields = Fields(torch.logit(heat, eps=1e-4), offsets)
    return made, scenes


def test_a_perfect_network_read_in_three_ways(boxed):
    made, scenes = boxed
    assert made.owner == [(0, 0), (0, 1), (2, 0)] and int(made.seen().sum()) == 14 + 12 + 14
    assert float(made.errors(people.VOTES).max()) < 0.05
    assert 1.0 < float(made.errors(people.CELL).mean()) < 2.9 < float(made.errors(people.HEAT).max()) < 8.1
    arrows = made.arrows()
    assert len(arrows.shared) == 40 and float(arrows.shared.max()) < 1e-3 and float(arrows.scatter.max()) < 1e-3
    poses = made.poses(people.VOTES, len(scenes))
    assert [len(own) for own in poses] == [2, 0, 1]
    torch.testing.assert_close(poses[2][0].joints, scenes[2].people[0].joints, atol=0.1, rtol=0)
    assert study.scored(poses, scenes)["ap"] == pytest.approx(1)


def test_arrows_that_miss_together_and_by_themselves(boxed):
    made, _ = boxed
    made.fields = made.fields._replace(offsets=made.fields.offsets + 0.5)
    assert float(made.arrows().shared.median()) == pytest.approx(0.5 * 4 * math.sqrt(2), rel=1e-3)
    assert float(made.arrows().scatter.max()) < 1e-3
    noise = torch.randn(made.fields.offsets.shape, generator=torch.Generator().manual_seed(0))
    made.fields = made.fields._replace(offsets=made.fields.offsets - 0.5 + noise)
    assert float(made.arrows().scatter.median()) == pytest.approx(4 * math.sqrt(2), rel=0.15)


def test_ranks_decide_who_survives():
    true = somebody(60.0)
    other = somebody(180.0)
    box = torch.tensor([0.0, 0.0, 50.0, 50.0])
    rows = ((true, 0.9, 0.2), (true, 0.5, 0.8), (other, 0.6, 0.5))  # mean peak, box score
    poses = [Pose(one.joints, torch.full((14,), peak), LSP, peak, box) for one, peak, _ in rows]
    proposed = people.Proposed([poses], [torch.tensor([score for *_, score in rows])])
    assert [pose.score for pose in proposed.ranked("peaks")[0]] == pytest.approx([0.9, 0.6])
    assert [pose.score for pose in proposed.ranked("box")[0]] == pytest.approx([0.8, 0.5])
    assert [pose.score for pose in proposed.ranked("product")[0]] == pytest.approx([0.4, 0.3])
    assert len(proposed.ranked("peaks", None)[0]) == 3
    assert people.likeness(poses, scene_of(true)).tolist() == pytest.approx([1, 1, 0], abs=1e-3)
    assert people.likeness([], scene_of(true)).tolist() == []


def test_proposals_keep_their_boxes_scores():
    model, scene = models.create("grmi_course"), scene_of(somebody(60.0), somebody(180.0))
    boxes = torch.stack([one.box for one in scene.people])
    found = [Found(torch.cat([boxes, torch.tensor([[500.0, 500, 600, 600]])]), torch.tensor([0.3, 0.7, 0.9]))]
    proposed = people.Proposed.of(model, [scene], found)
    pairs = zip(proposed.poses[0], proposed.box_scores[0], strict=True)
    by_box = {round(float(pose.box[0])): round(float(score), 2) for pose, score in pairs}
    assert by_box == {round(float(boxes[0, 0])): 0.3, round(float(boxes[1, 0])): 0.7}


def test_how_often_the_order_is_right():
    alike = torch.tensor([0.1, 0.5, 0.9])
    assert people.order_kept(torch.tensor([1.0, 2.0, 3.0]), alike) == 1
    assert people.order_kept(torch.tensor([3.0, 2.0, 1.0]), alike) == 0
    assert people.order_kept(torch.tensor([2.0, 1.0, 3.0]), alike) == pytest.approx(2 / 3)
    assert people.order_kept(torch.ones(3), alike) == 0.5


# --- the study --------------------------------------------------------------------------------------------------------


def test_short_runs_agree_but_for_rounding():
    one = {"pictures": 12, **{name: {"ap": 0.2, "pckh_map": 0.3} for name in (study.GRMI, study.MASK)}}
    other = json.loads(json.dumps(one))
    other[study.MASK]["ap"] += 0.001
    assert study.agree(one, other)
    other[study.MASK]["ap"] += 0.1
    assert not study.agree(one, other) and not study.agree(one, {**one, "pictures": 11})


def test_a_study_of_other_weights_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "identity", lambda: {study.GRMI: {"steps": 2}})
    file = tmp_path / "study.json"
    file.write_text(json.dumps({"made_by": "python -m x", "weights": {study.GRMI: {"steps": 1}}}), encoding="utf-8")
    with pytest.raises(CourseError, match="`python -m x` measures again"):
        study.load(file)


def test_arms_are_found_by_part():
    runs = [{"part": "rank", "arm": "box", "ap": 0.1}, {"part": "same", "arm": "0.5", "ap": 0.2}]
    assert study.arms({"runs": runs}, "same") == {"0.5": runs[1]}
    found = study.true_boxes([scene_of(somebody(60.0)), scene_of()])
    assert found[0].boxes.shape == (1, 4) and found[1].boxes.shape == (0, 4)
