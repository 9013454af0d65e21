"""Suppression of boxes and poses: cases worked by hand, loops over every pair, and bad input."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from suppression_helpers import BODY, BOX, crowd, generator, pose, same

from course_lib import metrics
from course_lib.errors import CourseError
from course_lib.pose import Pose
from course_lib.skeletons import COCO, LSP
from course_lib.targets.suppression import AREAS, NmsParameters, box_nms, oks_nms, pose_nms, similarity

PARAMETERS = NmsParameters(sigma1=1.0, sigma2=50.0, weight=0.5, threshold=8.0)


def one_by_one(poses, goes):
    """The rule itself: best first, goes(kept, other)."""
    left, kept = sorted(poses, key=lambda one: -one.score), []
    while left:
        kept.append(left.pop(0))
        left = [other for other in left if not goes(kept[-1], other)]
    return kept


def d_of(kept, other, parameters, fraction=0.1):
    """d joint by joint in plain Python, or None where it lies too near to the threshold to be compared."""
    a, b = kept.joints.double().tolist(), other.joints.double().tolist()
    there = [p for p in a if all(map(math.isfinite, p))] or [[0, 0]]
    box = [f(p[i] for p in there) for f in (min, max) for i in (0, 1)] if kept.box is None else kept.box.tolist()
    total = 0.0
    for n in range(len(a)):
        if all(map(math.isfinite, a[n] + b[n])):
            x, y = abs(a[n][0] - b[n][0]), abs(a[n][1] - b[n][1])
            total += parameters.weight * math.exp(-(x * x + y * y) / parameters.sigma2)
            if x <= fraction * max(box[2] - box[0], 0) / 2 and y <= fraction * max(box[3] - box[1], 0) / 2:
                c = [max(float(one.scores[n]), 0.0) for one in (kept, other)]
                total += math.tanh(c[0] / parameters.sigma1) * math.tanh(c[1] / parameters.sigma1)
    return total


# --- boxes ------------------------------------------------------------------------------------------------------------


def test_boxes_by_hand():
    """0 and 1 share 80 of 120 (IoU 2/3), 1 and 2 also; 0 and 2 share 60 of 140 (3/7)."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [4, 0, 14, 10], [50, 50, 60, 60]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.95])
    assert box_nms(boxes, scores).tolist() == [3, 0, 2]  # 2 is like 1 alone, and 1 is gone
    assert box_nms(boxes, scores, 0.4).tolist() == [3, 0]
    assert box_nms(boxes, scores, 0.7).tolist() == [3, 0, 1, 2]
    assert box_nms(boxes[[0, 0]], torch.tensor([0.5, 0.5]), 1.0).tolist() == [0, 1]  # above, not at, the threshold


def test_no_boxes_and_boxes_without_area():
    assert box_nms(torch.zeros(0, 4), torch.zeros(0)).tolist() == []
    assert box_nms(torch.zeros(3, 4), torch.tensor([1.0, 3.0, 2.0])).tolist() == [1, 2, 0]
    few = torch.randint(0, 3, (500,), generator=generator())  # of equal scores the first
    assert box_nms(torch.zeros(500, 4), few).tolist() == sorted(range(500), key=lambda i: -few[i])
    inside_out = torch.tensor([[5.0, 5, 0, 0], [0, 0, 5, 5]])
    assert box_nms(inside_out, torch.ones(2)).tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_boxes_against_a_loop_and_in_any_order(seed):
    corner, side = (torch.rand(300, 2, generator=generator(seed + k)).double() * 40 for k in (0, 9))
    boxes, scores = torch.cat([corner, corner + side], 1), torch.randperm(300, generator=generator(seed)).double()

    def iou(a, b):
        (p, q, r, s), (t, u, v, w) = boxes[a].tolist(), boxes[b].tolist()
        shared = max(0, min(r, v) - max(p, t)) * max(0, min(s, w) - max(q, u))
        return shared / ((r - p) * (s - q) + (v - t) * (w - u) - shared)

    left, kept = sorted(range(300), key=lambda i: -scores[i]), []
    while left:
        kept.append(left.pop(0))
        left = [i for i in left if iou(kept[-1], i) <= 0.3]
    assert box_nms(boxes, scores, 0.3).tolist() == kept
    assert 20 < len(kept) < 200
    order = torch.randperm(300, generator=generator(seed + 1))
    assert order[box_nms(boxes[order], scores[order], 0.3)].tolist() == kept


# --- OKS --------------------------------------------------------------------------------------------------------------


def oks_at(distance, area):
    return sum(math.exp(-(distance**2) / (2 * area * (2 * s) ** 2)) for s in COCO.sigmas) / 17


def test_near_duplicates_and_somebody_else():
    """G-RMI's rule on two poses with OKS 0.92 and a third far off."""
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if oks_at(middle, 0.53 * 20_000) > 0.92 else (low, middle)
    poses = [pose(x=low, score=0.8), pose(score=0.9), pose(x=500.0, score=0.7)]
    assert same(oks_nms(poses, 0.5, size="box"), poses[1:])
    assert same(oks_nms(poses, 0.91, size="box"), poses[1:])
    assert same(oks_nms(poses, 0.95, size="box"), [poses[1], poses[0], poses[2]])
    assert len(oks_nms([pose(), pose()], 1.0)) == 2  # above, not at, the threshold


@pytest.mark.parametrize(
    ("rule", "area"), [("mean", 25_000), ("kept", 10_000), ("smaller", 10_000), ("larger", 40_000)]
)
def test_whose_area(rule, area):
    small, large = torch.tensor([0.0, 0, 100, 100]), torch.tensor([0.0, 0, 200, 200])
    likeness = oks_at(9.0, 0.53 * area)
    poses = [pose(score=0.9, box=small), pose(x=9.0, score=0.8, box=large)]
    for threshold, count in ((likeness - 1e-4, 1), (likeness + 1e-4, 2)):
        assert len(oks_nms(poses, threshold, rule, "box")) == count
    if rule == "kept":  # now the large one is kept
        poses = [replace(poses[0], score=0.7), poses[1]]
        assert len(oks_nms(poses, oks_at(9.0, 0.53 * 40_000) - 1e-4, rule, "box")) == 1
        assert len(oks_nms(poses, oks_at(9.0, 0.53 * 40_000) + 1e-4, rule, "box")) == 2


def test_the_area_of_joints_and_of_boxes():
    width, height = (BODY.amax(0) - BODY.amin(0)).tolist()
    likeness = oks_at(6.0, 0.53 * width * height)
    poses = [pose(score=0.9, box=None), pose(x=6.0, box=BOX * 100, score=0.8)]
    assert len(oks_nms(poses, likeness - 1e-4)) == 1
    assert len(oks_nms(poses, likeness + 1e-4)) == 2
    with pytest.raises(CourseError, match="no box to take its area from"):
        oks_nms(poses, size="box")


def test_joints_of_the_kept_pose_count():
    """16 of 17 joints missing in the other: OKS 1/17. In the kept one: only the last counts."""
    few = BODY.clone()
    few[1:] = math.nan
    for score, count in ((0.5, 2), (0.9, 1)):
        poses = [pose(score=0.7), pose(joints=few, score=score)]
        assert len(oks_nms(poses, 0.5, size="box")) == count
    nowhere = pose(joints=torch.full((17, 2), math.nan))
    assert len(oks_nms([nowhere, nowhere, pose()])) == 3  # without joints nothing is like anything


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 6), st.sampled_from(sorted(AREAS)))
def test_oks_against_a_loop(seed, people, copies, rule):
    poses = crowd(seed, people, copies)

    def area(one):
        there = one.joints[one.joints.isfinite().all(1)].double()
        return 0.53 * (there.amax(0) - there.amin(0)).prod() if len(there) else torch.tensor(0.0).double()

    def goes(kept, other):
        visible = kept.joints.isfinite().all(1)
        true = torch.where(visible[:, None], kept.joints, 0.0)
        both = AREAS[rule](area(kept), area(other))
        return float(metrics.oks(other.joints, true, visible, both)) > 0.3

    assert same(oks_nms(poses, 0.3, rule), one_by_one(poses, goes))


# --- parametric pose NMS ----------------------------------------------------------------------------------------------


def test_both_terms_by_hand():
    """Moved by (3, 4): inside of 5 and 10, |k - k|^2 = 25."""
    poses = [pose(confidence=0.5), pose(3.0, 4.0, confidence=0.8)]
    soft, spatial = 17 * math.tanh(0.5) * math.tanh(0.8), 17 * math.exp(-25 / 50)
    assert similarity(poses, PARAMETERS)[0, 1].item() == pytest.approx(soft + 0.5 * spatial, abs=1e-6)
    narrow = replace(PARAMETERS, sigma1=0.25, weight=0.0)
    assert similarity(poses, narrow)[0, 1].item() == pytest.approx(17 * math.tanh(2) * math.tanh(3.2), abs=1e-6)
    for x, y, inside in ((5, 10, True), (5.001, 10, False), (5, 10.001, False), (-5, -10, True), (0, 11, False)):
        found = similarity([pose(), pose(x, y)], replace(PARAMETERS, weight=0.0))[0, 1].item()
        assert found == pytest.approx(17 * math.tanh(1) ** 2 if inside else 0.0, abs=1e-12)


def test_the_kept_pose_s_box_counts():
    poses = [pose(), pose(6.0, box=BOX * 2)]
    d = similarity(poses, replace(PARAMETERS, weight=0.0))
    assert d[0, 1] == 0 and d[1, 0].item() == pytest.approx(17 * math.tanh(1) ** 2)
    d = similarity([pose(), pose(6.0)], replace(PARAMETERS, weight=0.0), fraction=0.2)
    assert d[0, 1] == d[1, 0] > 9


def test_two_copies_reach_the_highest_d():
    """17 tanh(1)^2 + 1.7 x 17 = 38.8 with the default numbers; at confidence 0.3, 30.3: place decides."""
    assert similarity([pose(), pose()])[0, 1].item() == pytest.approx(38.76, abs=0.005)
    assert similarity([pose(confidence=0.3)] * 2)[0, 1].item() == pytest.approx(30.34, abs=0.005)


def test_copies_go_and_others_stay():
    """The inequality as it is printed would do the opposite: keep the copies and remove whoever is far off."""
    poses = [pose(score=0.6), pose(score=0.9), pose(900.0, score=0.5), pose(score=0.7)]
    d = similarity(poses)
    assert d[1, 0] >= 22.48 and d[1, 3] >= 22.48 and d[1, 2] <= 22.48
    assert same(pose_nms(poses), [poses[1], poses[2]])
    printed = one_by_one(poses, lambda kept, other: d_of(kept, other, NmsParameters()) <= 22.48)
    assert same(printed, [poses[1], poses[3], poses[0]])


def test_at_the_threshold_a_pose_goes():
    poses = [pose(), pose(score=0.5)]
    d = float(similarity(poses, PARAMETERS)[0, 1])
    assert len(pose_nms(poses, replace(PARAMETERS, threshold=d))) == 1
    assert len(pose_nms(poses, replace(PARAMETERS, threshold=math.nextafter(d, 99)))) == 2


def test_who_is_removed_removes_nobody():
    """A chain, each pose like the next only: the first and the third stay."""
    poses = [pose(4.0 * i, score=1 - i / 10) for i in range(4)]
    assert same(pose_nms(poses, replace(PARAMETERS, weight=0.0)), [poses[0], poses[2]])


def test_far_apart_at_every_joint():
    far = 3.001 * math.sqrt(2.65)
    assert len(pose_nms([pose(), pose(far)])) == 2


@pytest.mark.parametrize("rule", [pose_nms, oks_nms])
def test_none_one_and_many_copies(rule):
    assert rule([]) == []
    one = pose(score=0.1)
    assert same(rule([one]), [one])
    copies = [pose() for _ in range(50)]
    assert same(rule(copies), copies[:1])  # of equal scores the first
    assert same(rule(copies[::-1]), copies[-1:])
    assert similarity([]).shape == (0, 0)


def test_missing_joints_and_sides():
    joints = BODY.clone()
    joints[3:] = math.nan
    joints[3, 0] = 5.0  # half a place is none
    few = pose(joints=joints, scores=torch.full((17,), math.nan).index_fill(0, torch.arange(3), 1.0))
    d = similarity([few, pose()], PARAMETERS)
    assert d.flatten().tolist()[:3] == pytest.approx([3 * math.tanh(1) ** 2 + 1.5] * 3, abs=1e-12)
    nowhere = pose(joints=torch.full((17, 2), math.inf))
    assert not similarity([nowhere, nowhere, pose()], PARAMETERS)[:2].any()
    assert len(pose_nms([nowhere, nowhere, pose()])) == 3
    flat = [pose(box=torch.zeros(4)), pose(box=torch.tensor([9.0, 9, 0, 0])), pose(0.5, box=torch.zeros(4))]
    d = similarity(flat, replace(PARAMETERS, weight=0.0))
    assert bool((d[:2, :2] > 9).all()) and not d[:2, 2].any()  # only equal joints coincide
    point = pose(joints=torch.full((17, 2), 7.0), box=None)
    assert len(pose_nms([point, point])) == 1 and len(oks_nms([point, point])) == 1


def test_a_confidence_below_zero_is_none():
    assert similarity([pose(confidence=-2.0)] * 2, replace(PARAMETERS, weight=0.0))[0, 1] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 6), st.floats(0, 15), st.booleans())
def test_poses_against_a_loop(seed, people, copies, offset, equal_scores):
    poses = crowd(seed, people, copies, equal_scores)
    parameters = NmsParameters(sigma1=0.5, sigma2=30.0, weight=0.4, threshold=0.01 + offset)
    d = similarity(poses, parameters)
    naive = torch.tensor([[d_of(a, b, parameters) for b in poses] for a in poses])
    torch.testing.assert_close(d.float(), naive, atol=1e-5, rtol=1e-5)
    if float((d - parameters.threshold).abs().min()) > 1e-4:  # else the last digit decides
        expected = one_by_one(poses, lambda a, b: d_of(a, b, parameters) >= parameters.threshold)
        assert same(pose_nms(poses, parameters), expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.randoms())
def test_any_order(seed, random):
    poses = crowd(seed, 4, 4)
    assert len({one.score for one in poses}) == len(poses)
    mixed = random.sample(poses, len(poses))
    for rule in (oks_nms, lambda found: pose_nms(found, PARAMETERS)):
        assert same(rule(mixed), rule(poses))


def test_hundreds_of_poses():
    """Sixty people with ten copies each, every copy nearer than 1 px: sixty stay, the best of each."""
    g = generator(3)
    poses = [
        Pose(BODY + torch.tensor([150.0 * p, 0.0]) + 0.3 * torch.rand(2, generator=g), torch.ones(17), COCO, score)
        for p in range(60)
        for score in torch.rand(10, generator=g).tolist()
    ]
    best = sorted(
        (max(poses[i : i + 10], key=lambda one: one.score) for i in range(0, 600, 10)), key=lambda p: -p.score
    )
    assert same(pose_nms(poses), best)
    assert same(oks_nms(poses), best)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_what_does_not_fit():
    for wrong in (
        (torch.zeros(2, 3), torch.zeros(2)),
        (torch.zeros(2, 4), torch.zeros(3)),
        (torch.full((1, 4), math.nan), torch.zeros(1)),
        (torch.zeros(1, 4), torch.full((1,), math.nan)),
    ):
        with pytest.raises(CourseError, match="box_nms needs finite boxes"):
            box_nms(*wrong)
    for threshold in (-0.1, 1.1, math.nan):
        with pytest.raises(CourseError, match="between 0 and 1"):
            box_nms(torch.zeros(1, 4), torch.zeros(1), threshold)
        with pytest.raises(CourseError, match="between 0 and 1"):
            oks_nms([pose()], threshold)
    with pytest.raises(CourseError, match="did you mean 'mean'"):
        oks_nms([], area="means")
    with pytest.raises(CourseError, match="did you mean 'joints'"):
        oks_nms([], size="joint")
    other = Pose(torch.zeros(14, 2), torch.zeros(14), LSP)
    for rule in (oks_nms, pose_nms):
        for wrong, message in (
            ([pose(), other], "one skeleton"),
            ([pose(joints=BODY[:16])], r"a pose needs joints \(17, 2\)"),
            ([pose(scores=torch.ones(16))], r"a pose needs joints \(17, 2\)"),
            ([replace(pose(), box=torch.zeros(5))], r"a pose needs joints \(17, 2\)"),
            ([pose(box=torch.full((4,), math.nan))], "box that is not finite"),
            ([pose(score=math.nan)], "cannot be ranked"),
            ([pose(confidence=math.nan)], "a joint that was found"),
        ):
            with pytest.raises(CourseError, match=message):
                rule(wrong)
    with pytest.raises(CourseError, match="a fraction of the pose's box"):
        pose_nms([pose()], fraction=-0.1)
    for wrong in ({"sigma1": 0.0}, {"sigma2": -1.0}, {"threshold": math.nan}, {"weight": -0.1}, {"weight": math.inf}):
        with pytest.raises(CourseError, match="pose NMS needs finite sigma1"):
            NmsParameters(**wrong)
