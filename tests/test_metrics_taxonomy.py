"""The classes of error on points placed by hand, and the rules that hold for all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from course_lib import metrics, skeletons
from course_lib.errors import CourseError
from course_lib.metrics import taxonomy
from course_lib.pose import Person, Pose, Scene

COCO, LSP = skeletons.get("coco"), skeletons.get("lsp")
NAMES = {number: name for number, name in enumerate(metrics.CLASSES)} | {-1: None}


def a_person(skeleton, scale=100.0, at=(0.0, 0.0), seed=0) -> torch.Tensor:
    """Joints (K, 2) on a grid, no two of them near each other at this scale."""
    order = torch.randperm(len(skeleton), generator=torch.Generator().manual_seed(seed))
    place = torch.stack([order % 5, order // 5], -1).double()
    return place * scale + torch.tensor(at, dtype=torch.float64)


def classes(estimated, true, skeleton, others=None, area=400.0, visible=None, **options):
    others = None if others is None else torch.stack(others)[None]
    visible = torch.full((1, len(skeleton)), 2) if visible is None else visible[None]
    found = metrics.joint_classes(estimated[None], true[None], visible, area, skeleton, others, **options)[0]
    return [NAMES[int(number)] for number in found]


def off(true, joint, pixels, skeleton):
    moved = true.clone()
    moved[skeleton.index(joint), 0] += pixels
    return moved


@pytest.mark.parametrize("skeleton", [COCO, LSP], ids=lambda one: one.name)
def test_every_class_on_points_placed_by_hand(skeleton):
    true, other = a_person(skeleton), a_person(skeleton, at=(2000, 0), seed=1)
    k, mirror = skeleton.index("left_wrist"), skeleton.index("right_wrist")
    unit = 2 * skeleton.sigmas[k] * 20  # of distance at area 400: ks = exp(-(d / unit)^2 / 2)
    cases = {
        "good": true[k] + torch.tensor([0.5 * unit, 0.0]),
        "jitter": true[k] + torch.tensor([0.0, 0.8 * unit]),
        "inversion": true[mirror] - torch.tensor([1.1 * unit, 0.0]),
        "swap": other[k] + torch.tensor([0.3 * unit, 0.0]),
        "miss": true[k] + torch.tensor([1.2 * unit, 0.0]),
    }
    for name, place in cases.items():
        estimated = true.clone()
        estimated[k] = place
        found = classes(estimated, true, skeleton, [other])
        assert found.pop(k) == name and set(found) == {"good"}
    estimated = true.clone()
    estimated[k] = other[mirror]
    assert classes(estimated, true, skeleton, [other])[k] == "swap", "somebody else's mirror joint is theirs, too"


def test_the_radii_of_a_person_of_100_by_200_pixels():
    area = 0.53 * 100 * 200
    for joint, near, far in (("nose", 3.1, 6.3), ("left_wrist", 7.3, 15.0), ("right_hip", 12.6, 25.9)):
        good, limit = (metrics.oks_radius(ks, area)[COCO.index(joint)].item() for ks in (0.85, 0.5))
        assert (round(good, 1), round(limit, 1)) == (near, far)
        true = a_person(COCO, scale=1000.0)
        for pixels, name in ((good - 0.01, "good"), (good + 0.01, "jitter"), (limit - 0.01, "jitter")):
            assert classes(off(true, joint, pixels, COCO), true, COCO, area=area)[COCO.index(joint)] == name
        assert classes(off(true, joint, limit + 0.01, COCO), true, COCO, area=area)[COCO.index(joint)] == "miss"


def test_both_limits_belong_to_the_better_class(monkeypatch):
    true, k = a_person(COCO), COCO.index("left_knee")
    estimated = off(true, "left_knee", 3.0, COCO)
    ks = metrics.keypoint_similarity(estimated, true, 400.0)[k].item()
    monkeypatch.setattr(taxonomy, "GOOD_FROM", ks)
    assert classes(estimated, true, COCO)[k] == "good"
    monkeypatch.setattr(taxonomy, "GOOD_FROM", math.nextafter(ks, 1))
    assert classes(estimated, true, COCO)[k] == "jitter"
    monkeypatch.setattr(taxonomy, "NEAR_FROM", ks)
    assert classes(estimated, true, COCO)[k] == "jitter"
    monkeypatch.setattr(taxonomy, "NEAR_FROM", math.nextafter(ks, 1))
    assert classes(estimated, true, COCO)[k] == "miss"


def test_of_equals_the_own_joint_wins_then_the_mirror():
    true = a_person(COCO)
    left, right = COCO.index("left_hip"), COCO.index("right_hip")
    true[left] = true[right]  # seen from the side
    assert classes(true, true, COCO)[left] == "good"
    twin = true.clone()
    assert set(classes(true, true, COCO, [twin])) == {"good"}
    true[left] = true[right] + 500
    twin[left] = twin[right] = true[right]
    estimated = true.clone()
    estimated[left] = true[right]
    assert classes(estimated, true, COCO, [twin])[left] == "inversion"


@pytest.mark.parametrize("skeleton", [COCO, LSP], ids=lambda one: one.name)
def test_left_and_right_exchanged_turns_good_joints_into_inversions_if_they_are_far_apart(skeleton):
    generator = torch.Generator().manual_seed(1)
    swaps, sided = list(skeleton.swaps), torch.tensor(skeleton.swaps) != torch.arange(len(skeleton))
    inverted = 0
    for _ in range(30):
        true = torch.rand(len(skeleton), 2, generator=generator).double() * 60
        noise = torch.randn(len(skeleton), 2, generator=generator).double()
        estimated = true + noise
        before, after = (np.array(classes(one, true, skeleton)) for one in (estimated, estimated[swaps]))
        apart = (true - true[swaps]).norm(dim=-1)
        radius = metrics.oks_radius(0.5, 400.0, skeleton)
        # good on both sides, and what was good at one joint cannot be near the other
        sure = (before == "good") & (before[swaps] == "good") & (apart > 2 * radius).numpy() & sided.numpy()
        assert set(after[sure]) <= {"inversion"}
        middle = ~sided.numpy()
        assert (after[middle] == before[middle]).all(), "joints in the middle have no mirror"
        inverted += int(sure.sum())
    assert inverted > 30


def test_two_distant_people_exchanged_after_matching_give_swaps_and_never_inversions():
    for seed in range(5):
        one, two = a_person(LSP, seed=seed), a_person(LSP, at=(5000, 0), seed=seed + 10)
        noise = torch.randn(2, 14, 2, generator=torch.Generator().manual_seed(seed)).double()
        for estimated, true, other in ((two + noise[0], one, two), (one + noise[1], two, one)):
            assert set(classes(estimated, true, LSP, [other])) == {"swap"}
            mirrored = estimated[list(LSP.swaps)]
            assert set(classes(mirrored, true, LSP, [other])) == {"swap"}


def test_lost_and_unlabelled_joints():
    true, other = a_person(LSP), a_person(LSP, at=(2000, 0))
    estimated = true.clone()
    estimated[3] = math.nan
    estimated[4, 1] = math.inf
    visible = torch.full((14,), 2)
    visible[[0, 1]] = torch.tensor([0, 1])
    found = classes(estimated, true, LSP, [other], visible=visible)
    assert found[0] is None and found[1] == "good", "hidden joints are labelled"
    assert found[3] == found[4] == "miss"
    # an unlabelled mirror or neighbour cannot be meant
    estimated = true.clone()
    left, right = LSP.index("left_ankle"), LSP.index("right_ankle")
    estimated[left], estimated[6] = true[right], other[6]
    visible = torch.full((14,), 2)
    visible[right] = 0
    assert classes(estimated, true, LSP, [other], visible=visible)[left] == "miss"
    blind = torch.full((1, 1, 14), 2)
    blind[0, 0, 6] = blind[0, 0, LSP.swaps[6]] = 0
    assert classes(estimated, true, LSP, [other], others_visible=blind)[6] == "miss"
    assert classes(estimated, true, LSP, [other])[6] == "swap"
    true[7] = math.nan
    assert classes(estimated, true, LSP)[7] is None


def test_others_are_as_large_as_themselves():
    true, other = a_person(LSP), a_person(LSP, at=(2000, 0))
    estimated = true.clone()
    estimated[0] = other[0] + torch.tensor([8.0, 0.0])
    assert classes(estimated, true, LSP, [other])[0] == "miss"
    assert classes(estimated, true, LSP, [other], others_area=torch.tensor([[6400.0]]))[0] == "swap"


def test_classes_agree_with_a_loop_over_people_and_joints():
    random = torch.Generator().manual_seed(4)
    count, people, skeleton = 25, 3, LSP
    places = torch.rand(2, count, 14, 2, generator=random).double() * 40
    others = torch.rand(count, people, 14, 2, generator=random).double() * 40
    places[0, ::3] = places[1, ::3] + torch.randn(9, 14, 2, generator=random)
    visible, seen = (torch.randint(0, 3, shape, generator=random) for shape in ((count, 14), (count, people, 14)))
    areas, theirs = (torch.rand(shape, generator=random).double() * 900 for shape in (count, (count, people)))
    found = metrics.joint_classes(places[0], places[1], visible, areas, skeleton, others, seen, theirs)
    met = set()
    for m in range(count):
        for k in range(14):
            met.add(int(found[m, k]))
            assert int(found[m, k]) == by_hand(places, others, visible, seen, areas, theirs, m, k)
    assert met == {-1, 0, 1, 2, 3, 4}


def by_hand(places, others, visible, seen, areas, theirs, m, k):
    if visible[m, k] == 0:
        return -1

    def ks(place, area):
        gap = math.dist(places[0][m, k].tolist(), place.tolist())
        return math.exp(-(gap**2) / (2 * float(area) * (2 * LSP.sigmas[k]) ** 2))

    other_side = LSP.swaps[k]
    options = [(ks(places[1][m, k], areas[m]), 2, "own")]
    if other_side != k and visible[m, other_side] > 0:
        options.append((ks(places[1][m, other_side], areas[m]), 1, "mirror"))
    for p in range(others.shape[1]):
        options += [(ks(others[m, p, j], theirs[m, p]), 0, "other") for j in (k, other_side) if seen[m, p, j] > 0]
    best, _, who = max(options)
    if best < 0.5:
        return 4
    return {"own": 0 if best >= 0.85 else 1, "mirror": 2, "other": 3}[who]


# --- pictures ---------------------------------------------------------------------------------------------------------


def person(joints, visible=None, skeleton=LSP, **fields):
    visible = torch.full((len(skeleton),), 2) if visible is None else visible
    return Person(joints.float(), visible, skeleton, area=400.0, **fields)


def pose(joints, score=1.0, skeleton=LSP):
    return Pose(joints.float(), torch.ones(len(skeleton)), skeleton, score)


def scene(*people):
    return Scene(torch.zeros(3, 8, 8), list(people))


def test_everybody_in_the_pictures_is_accounted_for():
    one, two, far = a_person(LSP), a_person(LSP, at=(2000, 0)), a_person(LSP, at=(9000, 0))
    moved = two.clone()
    moved[0] = one[0]
    scenes = [scene(person(one), person(two)), scene(), scene(person(one))]
    poses = [[pose(far, 0.9), pose(moved, 0.8), pose(one, 0.1)], [pose(one)], []]
    found = metrics.diagnose(poses, scenes)
    assert found.negatives == ((2, 0),) and found.false_positives == ((0, 0), (1, 0))
    assert (found.picture.tolist(), found.person.tolist(), found.estimate.tolist()) == ([0, 0], [1, 0], [1, 2])
    assert found.totals == {"good": 27, "jitter": 0, "inversion": 0, "swap": 1, "miss": 0}
    assert found.counts.tolist() == [[13, 0, 0, 1, 0], [14, 0, 0, 0, 0]]
    assert found.oks.tolist() == pytest.approx([13 / 14, 1.0])


def test_classes_add_up_to_the_labelled_joints_of_matched_people():
    random = torch.Generator().manual_seed(2)
    scenes, poses = [], []
    for i in range(12):
        people = [a_person(LSP, 12.0, (60.0 * n, 0), seed=i + n) for n in range(i % 4)]
        codes = torch.randint(0, 3, (len(people), 14), generator=random)
        scenes.append(scene(*(person(one, code) for one, code in zip(people, codes, strict=True))))
        poses.append([pose(one + torch.randn(14, 2, generator=random) * 4, float(i)) for one in people])
    found = metrics.diagnose(poses, scenes)
    labels = {(i, g): int((who.visible > 0).sum()) for i, one in enumerate(scenes) for g, who in enumerate(one.people)}
    met = zip(found.picture.tolist(), found.person.tolist(), strict=True)
    assert sum(found.totals.values()) == sum(labels[pair] for pair in met) > 100
    assert len(found.classes) + len(found.negatives) == sum(count > 0 for count in labels.values())
    # the same people are met as in COCO's protocol at this threshold
    matches = metrics.match_keypoints(poses, scenes, thresholds=[0.1], areas={"all": (0, 1e10)})
    assert int((matches.found & ~matches.excused).sum()) == len(found.classes)
    assert int((~matches.found).sum()) == len(found.false_positives)


def test_who_is_ignored_is_neither_found_nor_missed_but_can_be_swapped_with():
    one, two = a_person(LSP), a_person(LSP, at=(2000, 0))
    moved = one.clone()
    moved[0] = two[0]
    found = metrics.diagnose([[pose(moved), pose(two, 0.5)]], [scene(person(one), person(two, ignore=True))])
    assert found.totals["swap"] == 1 and not found.negatives and not found.false_positives
    assert len(found.classes) == 1
    unlabelled = person(two, torch.zeros(14), box=torch.tensor([2000.0, 0, 2400, 200]))
    found = metrics.diagnose([[pose(moved), pose(two, 0.5)]], [scene(person(one), unlabelled)])
    assert found.totals["miss"] == 1 and not found.negatives and not found.false_positives


def test_who_is_told_whom_to_estimate_is_not_matched():
    one, two = a_person(LSP), a_person(LSP, at=(2000, 0))
    found = metrics.diagnose([[pose(two)]], [scene(person(one), person(two))], told=True)
    assert found.totals["swap"] == 14 and found.person.tolist() == [0] and not found.negatives
    assert metrics.diagnose([[pose(two)]], [scene(person(one), person(two))]).totals["good"] == 14
    for poses, scenes in (([[]], [scene(person(one))]), ([[pose(one)]], [scene()])):
        with pytest.raises(CourseError, match="told whom"):
            metrics.diagnose(poses, scenes, told=True)


def test_nobody():
    for poses, scenes in (([], []), ([[]], [scene()])):
        found = metrics.diagnose(poses, scenes)
        assert sum(found.totals.values()) == 0 and len(found.oks) == 0
        assert metrics.corrected(poses, scenes, found, ["miss"]) == [list(own) for own in poses]
    found = metrics.diagnose([[]], [scene(person(a_person(LSP)))])
    assert found.classes.shape == (0, 14) and found.negatives == ((0, 0),)
    assert (
        metrics.joint_classes(torch.zeros(0, 14, 2), torch.zeros(0, 14, 2), torch.zeros(0, 14), 1.0, "lsp").numel() == 0
    )


def test_what_if_errors_of_a_class_were_right():
    one, two = a_person(LSP), a_person(LSP, at=(2000, 0))
    wrong = one.clone()
    wrong[0], wrong[1], wrong[2] = one[LSP.swaps[0]], two[1], one[2] + 50
    scenes, poses = [scene(person(one), person(two))], [[pose(wrong, 0.1), pose(two, 0.5), pose(two + 7000, 0.9)]]
    found = metrics.diagnose(poses, scenes)
    assert found.totals == {"good": 25, "jitter": 0, "inversion": 1, "swap": 1, "miss": 1}
    for kind, joint in (("inversion", 0), ("swap", 1), ("miss", 2)):
        better = metrics.corrected(poses, scenes, found, [kind])[0][0].joints
        assert torch.equal(better[joint], one[joint].float())
        assert (better != poses[0][0].joints).any(-1).sum() == 1
    whole = metrics.corrected(poses, scenes, found, metrics.CLASSES)
    assert torch.equal(whole[0][0].joints, one.float()) and torch.equal(poses[0][0].joints, wrong.float())
    assert [one.score for one in metrics.rescored(poses, found)[0]] == pytest.approx([11 / 14, 1.0, 0.0])
    assert metrics.keypoint_ap(metrics.rescored(whole, found), scenes)["AP"] == pytest.approx(1.0)
    with pytest.raises(CourseError, match="class of errors"):
        metrics.corrected(poses, scenes, found, ["mis"])


def test_bad_input_is_refused():
    true = a_person(LSP)[None]
    with pytest.raises(CourseError, match="estimated and true"):
        metrics.joint_classes(true, true[:, :3], torch.ones(1, 14), 1.0, "lsp")
    with pytest.raises(CourseError, match="others"):
        metrics.joint_classes(true, true, torch.ones(1, 14), 1.0, "lsp", others=true)
    with pytest.raises(CourseError, match="areas"):
        metrics.joint_classes(true, true, torch.ones(1, 14), torch.ones(3), "lsp")
    with pytest.raises(CourseError, match="0 or more"):
        metrics.joint_classes(true, true, torch.ones(1, 14), -1.0, "lsp")
