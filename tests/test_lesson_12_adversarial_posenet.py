"""What lesson 12 measures: covered people, impossible poses, doubts, labels, broken maps, and the judges' study."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib import metrics, models, skeletons
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.lessons import lesson_12_adversarial_posenet as tools
from course_lib.lessons import lesson_12_measures as measures
from course_lib.lessons import lesson_12_study as study
from course_lib.pose import Batch
from course_lib.show.cards import standing

LSP = skeletons.get("lsp")
FIGURE = torch.tensor([standing(LSP)[name] for name in LSP.joints])


def people(count=3, height=80.0):
    """Standing people in crops of 96 x 96, everything visible."""
    joints = (FIGURE * height + torch.tensor([48.0, 8.0])).repeat(count, 1, 1)
    return Batch(torch.rand(count, 3, 96, 96), joints, torch.full((count, 14), 2), LSP)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return models.create("adversarial_course", stacks=1, width=16, judge_width=8).eval()


# --- who counts -------------------------------------------------------------------------------------------------------


def test_heavily_covered_are_those_with_a_third_of_their_labelled_joints_hidden():
    batch = people(4)
    batch.visible[1, :5] = 1  # 5 of 14 hidden
    batch.visible[2, :4] = 1  # 4 of 14
    batch.visible[3, :3], batch.visible[3, 3:9] = 1, 0  # 3 of 8
    assert measures.hidden_share(batch.visible).tolist() == pytest.approx([0, 5 / 14, 4 / 14, 3 / 8])
    assert torch.equal(measures.heavily_covered(batch).visible, batch.visible[[1, 3]])
    assert measures.hidden_share(torch.zeros(1, 14)).tolist() == [0]


def test_counts_are_those_of_pck_taken_apart():
    batch = people(5)
    batch.visible = torch.randint(0, 3, (5, 14), generator=torch.Generator().manual_seed(0))
    batch.visible[:, [LSP.index(name) for name in LSP.torso]] = 2
    joints = batch.joints + 8 * torch.randn(batch.joints.shape, generator=torch.Generator().manual_seed(1))
    found = {part: measures.counts(joints, batch, part) for part in measures.PARTS}
    assert [a + b for a, b in zip(found["visible"][0], found["hidden"][0], strict=True)] == found["all"][0]
    whole = metrics.pck(joints, batch.joints, batch.visible, LSP)
    assert sum(found["all"][0]) / sum(found["all"][1]) == pytest.approx(whole.mean)
    with pytest.raises(CourseError, match="all, visible, hidden"):
        measures.counts(joints, batch, "covered")


def test_packed_counts_come_back_and_compare_in_pairs():
    numbers = [0, 3, 9, 10, 14]
    assert measures.packed(numbers) == "039ae" and measures.unpacked("039ae").tolist() == numbers
    assert measures.share("12", "24") == 0.5 and measures.share("0", "0") is None
    same = measures.paired(["12ab", "1234"], ["12ab", "1234"], "eeee")
    assert same == {"points": 0, "low": 0, "high": 0}
    better = measures.paired(["4444"], ["2222"], "8888")
    assert better["points"] == better["low"] == better["high"] == pytest.approx(25)
    mixed = measures.paired(["4" * 40 + "2" * 40], ["3" * 80], "8" * 80)
    assert mixed["low"] < 0 == mixed["points"] < mixed["high"]


# --- what is possible -------------------------------------------------------------------------------------------------


def test_true_people_are_possible_and_broken_ones_are_not():
    made = synthetic.crops(200, "limbs", (16, 16), settings=study.world())
    limits = measures.possible_limbs(made)
    assert (limits[0] < limits[1]).all()
    true = measures.plausibility(made.joints, made, limits)
    assert 0 < true["limbs"] <= 0.03 and true["collapsed"] == true["swapped"] == 0
    batch = people(2)
    swapped = measures.plausibility(batch.joints[:, list(LSP.swaps)], batch, limits)
    assert swapped["swapped"] == 1 and swapped["collapsed"] == 0
    one_leg = batch.joints.clone()
    one_leg[:, LSP.index("left_ankle")] = one_leg[:, LSP.index("right_ankle")]
    odd = measures.plausibility(one_leg, batch, limits)
    assert 0 < odd["collapsed"] < 0.5 and odd["swapped"] == 0
    nowhere = measures.plausibility(torch.zeros_like(batch.joints), batch, limits)
    assert nowhere["limbs"] == nowhere["people"] == nowhere["collapsed"] == 1


def test_ranking_is_the_area_under_the_curve():
    hidden = torch.tensor([True, False, True, False])
    assert measures.ranking(torch.tensor([0.9, 0.1, 0.8, 0.2]), hidden) == {"auc": 1, "ap": 1}
    assert measures.ranking(torch.tensor([0.1, 0.9, 0.2, 0.8]), hidden)["auc"] == 0
    assert measures.ranking(torch.ones(4), hidden)["auc"] == 0.5
    assert measures.ranking(torch.tensor([0.9, 0.8, 0.1, 0.2]), hidden)["ap"] == pytest.approx((1 + 2 / 4) / 2)
    assert measures.ranking(torch.ones(2), torch.tensor([True, True])) == {"auc": None, "ap": None}


def test_a_pair_is_compared_with_brute_force():
    scores = torch.rand(60, generator=torch.Generator().manual_seed(2)).mul(10).round()
    hidden = torch.rand(60, generator=torch.Generator().manual_seed(3)) < 0.4
    wins = [(a > b) + 0.5 * (a == b) for a in scores[hidden].tolist() for b in scores[~hidden].tolist()]
    assert measures.ranking(scores, hidden)["auc"] == pytest.approx(sum(wins) / len(wins))


# --- doubts, losses, weights ------------------------------------------------------------------------------------------


def test_a_hedge_costs_half_of_an_answer():
    rows = tools.hedges(chance=0.5)
    assert [round(row["on average"], 3) for row in rows.values()] == [1.0, 1.0, 0.5]
    uneven = tools.hedges(chance=0.8)["two bells, each as high as its chance"]["on average"]
    assert uneven == pytest.approx(2 * 0.8 * 0.2, abs=1e-3)  # the variance of the truth, in bells
    assert uneven < tools.hedges(chance=0.8)["one bell, at A"]["on average"] == pytest.approx(0.4, abs=1e-3)


def test_the_printed_loss_is_lowest_at_zero_for_both_labels():
    scores = torch.linspace(0, 1, 101)
    printed, absolute, entropy = tools.judges_losses(scores).values()
    assert [int(printed[label].argmin()) for label in (0, 1)] == [0, 0]
    assert [int(absolute[label].argmin()) for label in (0, 1)] == [0, 100]
    for label in (0, 1):
        assert torch.allclose(absolute[label][1:-1], entropy[label][1:-1], atol=1e-4)


def test_weights_keep_their_place_in_every_way_of_counting(small):
    rows = tools.loudness(beta=1 / 180)
    assert {round(cost / weight, 4) for cost, weight, _ in rows.values()} == {round(90 * math.pi, 4)}
    unit = 2 / (math.pi * small.sigma**2)
    assert rows["in all-zero answers (the course)"][1] == pytest.approx(small.pose_weight * unit)
    assert rows["mean over the cells of 64 x 64"][2] == pytest.approx(2048)


def test_every_term_reaches_those_it_is_meant_for(small):
    reached = tools.reaches(small, people(2))
    who = {name: [part for part, value in row.items() if value] for name, row in reached.items()}
    assert who["maps: squared error"] == who["to convince P"] == who["to convince C"] == ["generator"]
    assert who["P, true maps"] == who["P, made maps"] == ["P"] and who["C, true maps"] == who["C, made maps"] == ["C"]
    assert who["to convince P, maps detached"] == []


# --- labels and broken maps -------------------------------------------------------------------------------------------


def test_labels_grow_with_their_thresholds(small):
    made = tools.Made.of(small, people(4))
    strict, lax = made.labels(0.05, 0.1), made.labels(5.0, 50.0)
    assert all((a <= b).all() for a, b in zip(strict, lax, strict=True))
    assert lax[1].all() and float(made.map_errors().min()) > 0
    perfect = tools.Made(made.people, made.people.joints, made.truth, made.truth, made.nothing)
    assert all(labels.all() for labels in perfect.labels(0.01, 0.01)) and not perfect.map_errors().any()
    assert 0 <= tools.half_right(made) < 4


def test_maps_are_broken_where_it_is_said_and_nowhere_else(small):
    batch = people(3)
    batch.joints[1] += 5
    batch.visible[:, LSP.index("right_wrist")] = 1
    truth = tools.both_kinds(small, batch)["true maps"]
    cases = tools.broken(truth, LSP)
    assert cases[tools.AS_THEY_ARE] == (truth, [])
    for name, (shown, wrong) in cases.items():
        changed = (shown.maps != truth.maps).flatten(2).any(-1).any(0).nonzero()[:, 0].tolist()
        assert changed == sorted(wrong), name
    ankles = [LSP.index("right_ankle"), LSP.index("left_ankle")]
    assert torch.equal(cases[tools.LEGS][0].maps[:, ankles], truth.maps[:, ankles[::-1]])
    wrist = LSP.index("right_wrist")
    heights = {name: shown.maps[:, wrist].amax((-2, -1)) for name, (shown, _) in cases.items()}
    assert torch.allclose(3 * heights[tools.FLAT], heights[tools.AS_THEY_ARE])
    assert torch.allclose(heights[tools.ARM], heights[tools.AS_THEY_ARE])
    assert torch.allclose(2 * heights[tools.TWO], heights[tools.AS_THEY_ARE], atol=1e-3)
    moved = cases[tools.ARM][0]
    assert torch.equal(moved.hidden[:, wrist], truth.hidden[:, wrist].roll(tools.MOVED, -1))


def test_verdicts_are_levels_for_whole_maps_and_changes_for_broken_ones(small):
    batch = people(3)
    table = tools.verdicts(small, batch)
    assert set(table[tools.LEGS]) == {"P, true maps", "C, true maps", "P, made maps", "C, made maps"}
    assert all(0 < value < 1 for value in table[tools.AS_THEY_ARE].values())
    shown = tools.both_kinds(small, batch)["made maps"]
    legs = tools.broken(shown, LSP)[tools.LEGS]
    with torch.inference_mode():
        change = [small.judge(one, batch.images).pose[:, legs[1]].mean() for one in (legs[0], shown)]
    assert table[tools.LEGS]["P, made maps"] == pytest.approx(float(change[0] - change[1]), abs=1e-6)
    known = tools.what_they_know(small, batch)
    assert set(known) == {"P", "C"} and set(known["P"]) == {"the judge", "the height of the peak"}


def test_before_and_after_are_counted():
    batch = people(3)
    moved = batch.joints.clone()
    moved[1] += 60.0
    counted = tools.better_worse(batch.joints, moved, batch)
    assert counted == {"both": 28, "only before": 14, "only after": 0, "neither": 0}
    assert tools.changed_most(batch.joints, moved, batch, 1) == [1]


# --- the study --------------------------------------------------------------------------------------------------------


def run(arm, seed, found, hidden=0.5):
    part = {"visible": found, "hidden": found}
    return {"arm": arm, "seed": seed, "found": part, "pck@0.2": {"all": 0.5, "visible": 0.5, "hidden": hidden}}


def test_differences_are_told_seed_by_seed_with_both_kinds_of_chance():
    stored = {"asked": {"visible": "8888", "hidden": "6666"}, "runs": []}
    for seed, gain in enumerate((0.02, 0.01, 0.03)):
        stored["runs"] += [run(study.NONE_OF_THEM, seed, "4343"), run(study.BOTH, seed, "4444", 0.5 + gain)]
    rows = study.differences(stored, "hidden")
    assert list(rows) == [study.BOTH]
    row = rows[study.BOTH]
    assert [row[f"seed {seed}"] for seed in range(3)] == pytest.approx([2, 1, 3]) and row["mean"] == pytest.approx(2)
    assert row["trainings"] == pytest.approx((2 - 4.303 / math.sqrt(3), 2 + 4.303 / math.sqrt(3)))
    assert row["people"][0] < row["people"][1] and study.student([1.0]) is None


def test_arms_differ_in_their_judges_alone():
    options = {arm: study.recipe(arm).options for arm in study.ARMS}
    for arm, own in options.items():
        assert {key: value for key, value in own.items() if options[study.BOTH].get(key) != value} == study.ARMS[arm]
    built = {arm: models.create("adversarial_course", **own) for arm, own in options.items()}
    assert built[study.NONE_OF_THEM].pose_judge is built[study.NONE_OF_THEM].confidence_judge is None
    assert built[study.ONLY_C].pose_judge is None and built[study.ONLY_P].confidence_judge is None
    assert built[study.LOUD].loudness == 100 and built[study.HARD].labels == "sample"


def test_the_stored_study_holds_every_run_on_the_same_people():
    stored = study.load()
    runs = {(one["arm"], one["seed"]) for one in stored["runs"]}
    assert runs == {(arm, seed) for arm in study.ARMS for seed in study.SEEDS if arm not in study.ONCE or seed == 0}
    for one in stored["runs"]:
        for part, digits in stored["asked"].items():
            assert len(one["found"][part]) == stored["held_out"]
            assert measures.share(one["found"][part], digits) == pytest.approx(one["pck@0.2"][part], abs=1e-4)
    assert stored["hidden_share"] >= 1 / 3 and stored["arms"] == study.ARMS
    assert {row["one"] for row in stored["shipped"]["pairs"]} <= set(study.SHIPPED)
    assert stored["shipped"]["weights"] == study.identity(), "--shipped measures the weights that ship now"
