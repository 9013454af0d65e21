"""PCP, PCK, PCKh, PDJ and AUC on examples worked by hand, and what they do with input that is not whole."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import metrics, skeletons
from course_lib.errors import CourseError
from course_lib.pose import Person, Pose

LSP, MPII, COCO = skeletons.get("lsp"), skeletons.get("mpii"), skeletons.get("coco")


def body(skeleton=LSP, seed: int = 0, people: int = 1) -> torch.Tensor:
    """Random true joints (N, K, 2), nowhere near each other."""
    return torch.rand(people, len(skeleton), 2, generator=torch.Generator().manual_seed(seed)) * 200


def everything(joints: torch.Tensor) -> torch.Tensor:
    return torch.full(joints.shape[:-1], 2.0)


# --- PCP --------------------------------------------------------------------------------------------------------------

LIMB_ERRORS = ((30, 40), (60, 30), (50, 50), (100, 100))


def four_limbs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Four limbs of length 100 that share no joint, with the end errors of LIMB_ERRORS; nothing else is labelled."""
    true, visible = torch.zeros(1, len(LSP), 2), torch.zeros(1, len(LSP))
    estimated = true.clone()
    limbs = ("right_shoulder right_elbow", "left_shoulder left_elbow", "right_knee right_ankle", "left_knee left_ankle")
    for row, (limb, errors) in enumerate(zip(limbs, LIMB_ERRORS, strict=True)):
        for end, (name, error) in enumerate(zip(limb.split(), errors, strict=True)):
            k = LSP.index(name)
            true[0, k] = torch.tensor([100.0 * end, 300.0 * row])
            estimated[0, k] = true[0, k] + torch.tensor([0.0, error])
            visible[0, k] = 1 + end
    return estimated, true, visible


@pytest.mark.parametrize(
    ("rule", "comparison", "expected"),
    [("strict", "<=", 0.5), ("strict", "<", 0.25), ("loose", "<=", 0.75), ("loose", "<", 0.5)],
)
def test_pcp_worked_example(rule, comparison, expected):
    marks = metrics.pcp(*four_limbs(), "lsp", rule=rule, comparison=comparison)
    assert marks.count == 4
    assert marks.mean == marks.mean_of_columns == expected


@pytest.mark.parametrize(("name", "count"), [("lsp", 10), ("mpii", 10), ("coco", 9), ("body18", 9)])
def test_pcp_sticks_of_every_skeleton(name, count):
    names = metrics.stick_names(name)
    assert len(names) == count
    assert names[0] == "torso" and {"right_forearm", "left_upper_leg"} <= set(names)
    assert ("head" in names) == (name in ("lsp", "mpii"))


def test_pcp_torso_runs_between_the_midpoints():
    true = body()
    ends, known = metrics.sticks(true, everything(true) > 0, "lsp")
    hips = (true[0, LSP.index("left_hip")] + true[0, LSP.index("right_hip")]) / 2
    assert torch.allclose(ends[0, 0, 0], hips)
    assert bool(known.all())
    # both hips wrong by the same amount in opposite directions leave the torso where it is
    estimated = true.clone()
    estimated[0, LSP.index("left_hip")] += 1000
    estimated[0, LSP.index("right_hip")] -= 1000
    found = metrics.pcp(estimated, true, everything(true)).per_name
    assert found["torso"] == 1.0 and found["left_upper_leg"] == 0.0


def test_pcp_does_not_score_a_stick_without_length():
    true = body()
    true[0, LSP.index("head_top")] = true[0, LSP.index("neck")]
    marks = metrics.pcp(true, true, everything(true))
    assert marks.per_name["head"] is None
    assert (marks.count, marks.mean) == (9, 1.0)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_pcp_loose_never_gives_less_than_strict(seed):
    true = body(people=5, seed=seed)
    estimated = true + torch.randn(true.shape, generator=torch.Generator().manual_seed(seed + 1)) * 30
    strict, loose = (metrics.pcp(estimated, true, everything(true), rule=rule) for rule in ("strict", "loose"))
    assert bool((loose.right | ~strict.right).all())


# --- PCK and PDJ ------------------------------------------------------------------------------------------------------

PCK_ERRORS = (0.0, 9.9, 10.0, 10.1, 25.0)


@pytest.mark.parametrize(("comparison", "expected"), [("<=", 0.6), ("<", 0.4)])
def test_pck_worked_example(comparison, expected):
    """Left shoulder (60, 40), right hip (90, 80): a torso of 50 px, a tolerance of 10."""
    names = ("left_shoulder", "right_hip", "right_knee", "left_wrist", "head_top")
    true, visible = body().round().double(), torch.zeros(1, len(LSP))
    true[0, LSP.index("left_shoulder")] = torch.tensor([60.0, 40.0], dtype=torch.float64)
    true[0, LSP.index("right_hip")] = torch.tensor([90.0, 80.0], dtype=torch.float64)
    estimated = true.clone()
    for name, error in zip(names, PCK_ERRORS, strict=True):
        visible[0, LSP.index(name)] = 2
        estimated[0, LSP.index(name), 1] += error
    marks = metrics.pck(estimated, true, visible, "lsp", comparison=comparison)
    assert (marks.count, marks.mean) == (5, expected)


def test_reference_sizes():
    true = torch.zeros(1, len(LSP), 2)
    for name, place in {
        "left_shoulder": (60, 40), "right_hip": (90, 80), "right_shoulder": (100, 40), "left_hip": (100, 100),
        "head_top": (80, 0), "left_ankle": (95, 170),
    }.items():  # fmt: skip
        true[0, LSP.index(name)] = torch.tensor(place, dtype=torch.float32)
    visible = (true.sum(-1) > 0).float()
    assert metrics.reference_size(true, visible, "lsp").tolist() == [50.0]
    assert metrics.reference_size(true, visible, "lsp", "other_diagonal").tolist() == [60.0]
    assert metrics.reference_size(true, visible, "lsp", "box").tolist() == [170.0]
    assert metrics.reference_size(true, visible, "lsp", ("right_shoulder", "left_shoulder")).tolist() == [40.0]
    assert metrics.reference_size(true, torch.zeros(1, 14), "lsp", "box").tolist() == [0.0]
    with pytest.raises(CourseError, match="did you mean 'torso'"):
        metrics.reference_size(true, visible, "lsp", "torsos")


def test_pdj_is_pck_with_a_torso_diagonal():
    true = body(people=20)
    estimated = true + torch.randn(true.shape, generator=torch.Generator().manual_seed(1)) * 30
    three = (estimated, true, everything(true))
    assert metrics.pdj(*three).mean == metrics.pck(*three).mean
    right_to_left = metrics.reference_size(true, everything(true), "lsp", "other_diagonal")
    other = metrics.pdj(*three, reference="other_diagonal")
    assert other.mean == metrics.pck(*three, reference=right_to_left).mean != metrics.pdj(*three).mean


def test_hidden_joints_count_and_unlabelled_ones_do_not():
    true = body()
    visible = torch.tensor([[0.0, 1.0] + [2.0] * 12])
    estimated = true.clone()
    estimated[0, :2] += 1000
    assert metrics.pck(estimated, true, visible).mean == 12 / 13
    assert metrics.pck(estimated, true, visible == 2).mean == 1.0


def test_means_over_joints_people_and_all_together():
    true = body(people=2)
    visible = torch.zeros(2, len(LSP))
    torso = [LSP.index("left_shoulder"), LSP.index("right_hip")]
    visible[0, torso] = 2
    visible[1] = 2
    estimated = true.clone()
    estimated[0, torso[0]] += 1000
    marks = metrics.pck(estimated, true, visible)
    assert marks.mean == 15 / 16
    assert marks.mean_of_people == (0.5 + 1) / 2
    assert marks.mean_of_columns == (13 + 0.5) / 14


def test_nobody_nothing_and_nan():
    true = body(people=3)
    visible = everything(true)
    nothing = metrics.pck(true[:0], true[:0], visible[:0])
    assert nothing.mean is nothing.mean_of_columns is nothing.mean_of_people is None
    assert set(nothing.per_name.values()) == {None}
    visible[0] = 0  # nobody labelled
    visible[1, LSP.index("right_hip")] = 0  # no torso
    estimated = true.clone()
    estimated[2, 0] = math.nan
    marks = metrics.pck(estimated, true, visible)
    assert (marks.unscored, marks.count, marks.mean) == (2, 14, 13 / 14)
    degenerate = true.clone()
    degenerate[2] = 7.0  # a torso of length zero measures nothing, even where the estimate is exact
    assert metrics.pck(degenerate, degenerate, visible).mean is None


def test_nan_in_the_truth_means_unlabelled():
    true = body()
    estimated = true.clone()
    true[0, LSP.index("left_wrist")] = math.nan
    marks = metrics.pck(estimated, true, everything(true))
    assert marks.count == 13 and marks.mean == 1.0


def test_marks_of_two_halves_add_up():
    true = body(people=10)
    estimated = true + torch.randn(true.shape, generator=torch.Generator().manual_seed(1)) * 40
    three = (estimated, true, everything(true))
    halves = [metrics.pck(*(values[part] for values in three)) for part in (slice(0, 4), slice(4, 10))]
    assert (halves[0] + halves[1]).per_name == metrics.pck(*three).per_name
    with pytest.raises(CourseError):
        halves[0] + metrics.pcp(*three)


@pytest.mark.parametrize("shape", [(1, 13, 2), (1, 14, 3), (14, 2)])
def test_wrong_shapes_are_refused_in_one_sentence(shape):
    true = torch.zeros(shape)
    with pytest.raises(CourseError, match=r"must be \(N, 14, 2\)"):
        metrics.pck(true, true, torch.ones(shape[:-1]))


# --- PCKh -------------------------------------------------------------------------------------------------------------

HEAD = torch.tensor([[100.0, 50.0, 130.0, 90.0]])
HEAD_ERRORS = (5.0, 14.0, 15.0, 16.0, 19.0, 21.0)
SCORED = ("right_ankle", "left_knee", "head_top", "neck", "left_wrist", "right_hip")


def six_errors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    true = body(MPII).round()
    estimated, visible = true.clone(), torch.zeros(1, len(MPII))
    for name, error in zip(SCORED, HEAD_ERRORS, strict=True):
        estimated[0, MPII.index(name), 0] += error
        visible[0, MPII.index(name)] = 1
    return estimated, true, visible


def test_head_size_is_six_tenths_of_the_diagonal():
    assert metrics.head_size(HEAD).tolist() == [30.0]
    assert metrics.head_size(torch.full((1, 4), math.nan)).tolist() == [0.0]


@pytest.mark.parametrize(
    ("scale", "comparison", "right"),
    [(0.6, "<=", 3), (0.6, "<", 2), (0.8, "<=", 5), (0.8, "<", 5), (1.0, "<=", 6), (1.0, "<", 6)],
)
def test_pckh_worked_example(scale, comparison, right):
    """Scale 0.8 is the vertical "head bone" of 40 px, 1.0 the whole diagonal: tolerances 15, 20 and 25 px."""
    marks = metrics.pckh(*six_errors(), HEAD, scale=scale, comparison=comparison)
    assert (marks.count, marks.mean) == (6, right / 6)


def test_pckh_leaves_pelvis_and_thorax_out_of_the_mean_but_not_the_neck():
    true = body(MPII).round()
    for name, inside in (("pelvis", False), ("thorax", False), ("neck", True), ("head_top", True)):
        estimated = true.clone()
        estimated[0, MPII.index(name)] += 500
        marks = metrics.pckh(estimated, true, everything(true), HEAD)
        assert marks.mean == (13 / 14 if inside else 1.0), name
        assert marks.per_name[name] == 0.0
        assert metrics.pckh(estimated, true, everything(true), HEAD, outside=()).mean == 15 / 16


def test_pckh_mean_is_weighted_by_how_often_a_joint_is_labelled():
    true = body(MPII, people=4).round()
    visible = torch.zeros(4, len(MPII))
    visible[:, MPII.index("head_top")] = 2
    visible[0, MPII.index("left_ankle")] = 1
    estimated = true.clone()
    estimated[0, MPII.index("left_ankle")] += 500
    marks = metrics.pckh(estimated, true, visible, HEAD.expand(4, 4))
    assert marks.mean == 4 / 5
    assert marks.mean_of_columns == 0.5


def test_pckh_at_ten_and_at_eleven_hundredths_differ():
    true = body(MPII).round()
    estimated = true.clone()
    estimated[0, :, 0] += 0.105 * 30
    assert metrics.pckh(estimated, true, everything(true), HEAD, alpha=0.10).mean == 0.0
    assert metrics.pckh(estimated, true, everything(true), HEAD, alpha=0.11).mean == 1.0


def test_official_columns():
    true = body(MPII).round()
    estimated = true.clone()
    for name in ("neck", "pelvis", "left_knee"):
        estimated[0, MPII.index(name)] += 500
    table = metrics.columns(metrics.pckh(estimated, true, everything(true), HEAD), "mpii")
    assert list(table) == ["head", "ankle", "knee", "hip", "wrist", "elbow", "shoulder", "mean"]
    assert (table["head"], table["knee"], table["mean"]) == (1.0, 0.5, 12 / 14)
    lsp = body()
    estimated = lsp.clone()
    estimated[0, LSP.index("neck")] += 500
    assert metrics.columns(metrics.pck(estimated, lsp, everything(lsp)), "lsp")["head"] == 0.5


# --- AUC --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("definition", "expected"), [("mean", 46 / 84), ("trapezoid", 0.55), ("mmpose", 67 / 80)])
def test_auc_three_definitions(definition, expected):
    errors = torch.tensor([0.0, 0.05, 0.12, 0.3], dtype=torch.float64)
    assert metrics.auc(errors, definition=definition) == pytest.approx(expected, abs=1e-12)


def test_auc_leaves_out_what_is_not_scored():
    errors = torch.tensor([[0.0, 0.3]], dtype=torch.float64)
    assert metrics.auc(errors, torch.tensor([[True, False]])) == 1.0
    assert metrics.auc(errors, torch.tensor([[False, False]])) is None
    assert metrics.auc(errors, torch.tensor([[False, False]]), "mmpose") is None
    assert metrics.pck_curve(errors, [0.0, 0.3]).tolist() == [0.5, 1.0]


def test_unknown_conventions_are_named():
    true = body()
    with pytest.raises(CourseError, match="comparison"):
        metrics.pck(true, true, everything(true), comparison="=<")
    with pytest.raises(CourseError, match="AUC definition"):
        metrics.auc(torch.zeros(3), definition="area")
    with pytest.raises(CourseError, match="PCP rule"):
        metrics.pcp(true, true, everything(true), rule="stict")


# --- the front, and tolerances ----------------------------------------------------------------------------------------


def test_single_person_agrees_with_each_metric():
    true = body(MPII, people=30)
    estimated = true + torch.randn(true.shape, generator=torch.Generator().manual_seed(3)) * 12
    heads = HEAD.expand(30, 4)
    people = [Person(joints, everything(joints), MPII, head_box=head) for joints, head in zip(true, heads, strict=True)]
    poses = [Pose(joints, torch.ones(16), MPII) for joints in estimated]
    scores = metrics.single_person(poses, people)
    three = (estimated, true, everything(true))
    assert scores["pck@0.2"] == metrics.pck(*three, "mpii").mean
    assert scores["pck@0.1"] == metrics.pck(*three, "mpii", 0.1).mean
    assert scores["pdj@0.2"] == metrics.pdj(*three, "mpii", reference="other_diagonal").mean
    assert scores["pckh@0.5"] == metrics.pckh(*three, heads).mean
    assert scores["pckh@0.1"] == metrics.pckh(*three, heads, alpha=0.1).mean
    assert scores["pcp"] == metrics.pcp(*three, "mpii").mean_of_columns
    assert scores["mean_error"] == pytest.approx(float((estimated - true).norm(dim=-1).mean()), rel=1e-6)
    assert scores["per_joint"].keys() == set(MPII.joints)
    assert (scores["people"], scores["joints"], scores["unscored"], scores["missing"]) == (30, 480, 0, 0)


def test_single_person_measures_pdj_with_the_other_diagonal_of_the_torso():
    """Left shoulder to right hip 50 px, right shoulder to left hip 100 px: 15 px off is inside the latter only."""
    true = body().round()
    places = {"left_shoulder": (60, 40), "right_hip": (90, 80), "right_shoulder": (100, 0), "left_hip": (100, 100)}
    for name, place in places.items():
        true[0, LSP.index(name)] = torch.tensor(place, dtype=torch.float32)
    estimated = true.clone()
    estimated[0, LSP.index("left_wrist"), 0] += 15
    person, pose = Person(true[0], torch.full((14,), 2.0), LSP), Pose(estimated[0], torch.ones(14), LSP)
    scores = metrics.single_person([pose], [person])
    assert (scores["pck@0.2"], scores["pdj@0.2"]) == (13 / 14, 1.0)
    hip_unlabelled = torch.full((14,), 2.0)
    hip_unlabelled[LSP.index("left_hip")] = 0
    scores = metrics.single_person([pose], [Person(true[0], hip_unlabelled, LSP)])
    assert (scores["pck@0.2"], scores["pdj@0.2"]) == (12 / 13, None)


def test_single_person_with_holes():
    joints = body(COCO)[0]
    whole, hidden = everything(joints), torch.zeros(17)
    lost = torch.full((17, 2), math.nan)
    people = [Person(joints, whole, COCO), Person(joints, whole, COCO), Person(joints, hidden, COCO)]
    poses = [Pose(at, torch.ones(17), COCO) for at in (joints, lost, joints)]
    scores = metrics.single_person(poses, people)
    assert (scores["pck@0.2"], scores["pcp"], scores["mean_error"]) == (0.5, 0.5, 0.0)
    assert scores["pckh@0.5"] is None  # nobody has a head rectangle
    assert (scores["people"], scores["joints"], scores["unscored"], scores["missing"]) == (3, 34, 1, 17)
    empty = metrics.single_person([], [])
    assert empty.keys() == scores.keys()
    assert empty["pck@0.2"] is None and empty["people"] == 0
    with pytest.raises(CourseError, match="one pose for each person"):
        metrics.single_person(poses[:1], people)
    with pytest.raises(CourseError, match="one skeleton"):
        metrics.single_person([Pose(body()[0], torch.ones(14), LSP)], people[:1])


def test_tolerance_is_the_border_of_each_metric():
    """A joint just inside its circle passes, just outside it fails."""
    joints = body(MPII, seed=5)[0].double()
    person = Person(joints, torch.full((16,), 2.0), MPII, area=9000.0, head_box=HEAD[0])
    three = (joints[None], torch.full((1, 16), 2.0))
    score = {
        "pck": lambda at: metrics.pck(at, *three, "mpii").right[0],
        "pckh": lambda at: metrics.pckh(at, *three, HEAD).right[0],
    }
    for metric in ("pck", "pckh"):
        radius = metrics.tolerance(person, metric)
        for factor, passes in ((0.999, True), (1.001, False)):
            moved = joints + torch.stack([radius * factor, torch.zeros(16)], dim=-1)
            assert bool((score[metric](moved[None]) == passes).all()), metric
    radius = metrics.tolerance(person, "oks", 0.75)
    for k in range(16):
        alone = torch.zeros(16)
        alone[k] = 1
        moved = joints.clone()
        moved[k, 0] += radius[k]
        assert float(metrics.oks(moved, joints, alone, 9000.0, "mpii")) == pytest.approx(0.75, abs=1e-9)


def test_tolerance_of_pcp_is_half_the_shortest_stick():
    joints = torch.zeros(14, 2)
    joints[LSP.index("right_shoulder")] = torch.tensor([0.0, 0.0])
    joints[LSP.index("right_elbow")] = torch.tensor([100.0, 0.0])
    joints[LSP.index("right_wrist")] = torch.tensor([100.0, 40.0])
    visible = torch.zeros(14)
    visible[[LSP.index(name) for name in ("right_shoulder", "right_elbow", "right_wrist", "left_knee")]] = 2
    radius = metrics.tolerance(Person(joints, visible, LSP), "pcp")
    at = {name: float(radius[LSP.index(name)]) for name in LSP.joints}
    assert (at["right_shoulder"], at["right_elbow"], at["right_wrist"]) == (50.0, 20.0, 20.0)
    assert at["left_knee"] == at["neck"] == 0.0


def test_tolerance_without_what_it_needs():
    person = Person(torch.zeros(14, 2), torch.zeros(14), LSP)
    assert metrics.tolerance(person, "pck").tolist() == [0.0] * 14
    assert metrics.tolerance(person, "pckh").tolist() == [0.0] * 14
    with pytest.raises(CourseError, match="area"):
        metrics.tolerance(person, "oks")
    with pytest.raises(CourseError, match="did you mean"):
        metrics.tolerance(person, "pkc")
