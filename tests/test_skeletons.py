"""The layouts of the course and of data sets, their left/right swaps, and moving joints from one to another."""

import pytest
import torch

from course_lib import skeletons
from course_lib.errors import CourseError

ALL = [skeletons.get(name) for name in (*skeletons.names(), "flic", "jhmdb")]
each = pytest.mark.parametrize("skeleton", ALL, ids=lambda skeleton: skeleton.name)


def test_layouts_have_their_published_numbers_of_joints():
    course = {"lsp": 14, "mpii": 16, "coco": 17, "body18": 18}
    assert {skeleton.name: len(skeleton) for skeleton in ALL} == {**course, "flic": 11, "jhmdb": 15}
    assert skeletons.names() == sorted(course)


def test_flic_and_jhmdb_have_their_published_orders():
    flic = "lsho lelb lwri rsho relb rwri lhip rhip leye reye nose"
    assert " ".join(short(joint) for joint in skeletons.FLIC.joints) == flic
    assert skeletons.FLIC.swaps == (3, 4, 5, 0, 1, 2, 7, 6, 9, 8, 10)  # the channel map of the hourglass authors' code
    jhmdb = "neck bell face rsho lsho rhip lhip relb lelb rkne lkne rwri lwri rank lank"
    assert " ".join(short(joint) for joint in skeletons.JHMDB.joints) == jhmdb
    published = {(13, 9), (9, 5), (5, 1), (1, 6), (6, 10), (10, 14), (1, 0), (0, 2), (0, 3), (3, 7), (7, 11)}
    published |= {(0, 4), (4, 8), (8, 12)}
    assert {frozenset(limb) for limb in skeletons.JHMDB.limbs} == {frozenset(limb) for limb in published}


def short(joint: str) -> str:
    """'left_shoulder' -> 'lsho', the way data sets abbreviate."""
    side, _, name = joint.rpartition("_")
    return side[:1] + name[:3] if side else name[:4]


@each
def test_swapping_left_and_right_twice_changes_nothing(skeleton):
    swaps = skeleton.swaps
    assert [swaps[k] for k in swaps] == list(range(len(skeleton)))
    for k, other in enumerate(swaps):
        assert {skeleton.side(k), skeleton.side(other)} in ({"left", "right"}, {"middle"})


@each
def test_limbs_join_all_joints_and_are_themselves_symmetric(skeleton):
    limbs = {frozenset(limb) for limb in skeleton.limbs}
    assert len(limbs) == len(skeleton.limbs) and all(len(limb) == 2 for limb in limbs)
    assert {frozenset(skeleton.swaps[k] for k in limb) for limb in limbs} == limbs
    reached, frontier = {0}, [0]
    while frontier:
        here = frontier.pop()
        new = {k for limb in limbs if here in limb for k in limb} - reached
        reached |= new
        frontier += new
    assert reached == set(range(len(skeleton)))


@each
def test_every_joint_has_a_sigma_equal_to_its_mirror_image(skeleton):
    assert len(skeleton.sigmas) == len(skeleton) and min(skeleton.sigmas) > 0
    assert all(skeleton.sigmas[k] == skeleton.sigmas[skeleton.swaps[k]] for k in range(len(skeleton)))
    for stick in (skeleton.torso, *([skeleton.head] if skeleton.head else []), *skeleton.pcp):
        assert all(joint in skeleton.joints for joint in stick)


def test_coco_sigmas_are_the_published_ones_in_the_published_order():
    published = [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]
    assert skeletons.get("coco").sigmas == tuple(value / 1000 for value in published)


def test_get_takes_names_in_any_case_and_skeletons_and_suggests_the_nearest():
    assert skeletons.get("LSP") is skeletons.get(skeletons.LSP) is skeletons.LSP
    with pytest.raises(CourseError, match="did you mean 'mpii'"):
        skeletons.get("mpi")
    with pytest.raises(CourseError, match="no skeleton called '14'"):
        skeletons.get(14)
    with pytest.raises(CourseError, match="did you mean 'left_knee'"):
        skeletons.LSP.index("left_nee")


def test_a_skeleton_of_ones_own_gets_its_swaps():
    own = skeletons.Skeleton(
        "cross", ("top", "left_end", "right_end"), ((0, 1), (0, 2)), (0.1,) * 3, ("top", "top"), None
    )
    assert own.swaps == (0, 2, 1) and skeletons.get(own) is own


# --- convert ----------------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("target", ALL, ids=lambda skeleton: skeleton.name)
def test_converting_keeps_what_both_layouts_mean_by_the_same_name(skeleton, target):
    joints = torch.randn(5, len(skeleton), 2, generator=torch.Generator().manual_seed(0))
    visible = torch.full((5, len(skeleton)), 2)
    new, new_visible = skeletons.convert(joints, visible, skeleton, target)
    assert new.shape == (5, len(target), 2) and new_visible.shape == (5, len(target))
    for k, name in enumerate(target.joints):
        if name in skeleton.joints and name != "neck":
            assert torch.equal(new[:, k], joints[:, skeleton.index(name)]) and bool((new_visible[:, k] == 2).all())
    unlabelled = new_visible == 0
    assert bool((new[unlabelled] == 0).all())
    if skeleton is target:
        assert torch.equal(new, joints)


def test_body18_neck_is_the_middle_of_the_shoulders_and_is_nobody_elses_neck():
    joints = torch.arange(28.0).view(14, 2)
    visible = torch.full((14,), 2)
    visible[skeletons.LSP.index("left_shoulder")] = 1
    new, seen = skeletons.convert(joints, visible, "lsp", "body18")
    neck = skeletons.BODY18.index("neck")
    shoulders = [skeletons.LSP.index(f"{side}_shoulder") for side in ("left", "right")]
    assert torch.equal(new[neck], joints[shoulders].mean(0)) and seen[neck] == 1
    for layout in ("lsp", "mpii"):
        _, seen = skeletons.convert(torch.ones(18, 2), torch.full((18,), 2), "body18", layout)
        assert seen[skeletons.get(layout).index("neck")] == 0


def test_a_midpoint_needs_both_ends():
    visible = torch.full((14,), 2)
    visible[skeletons.LSP.index("left_hip")] = 0
    joints = torch.full((14, 3), 7.0)
    new, seen = skeletons.convert(joints, visible, "lsp", "mpii")
    pelvis, thorax = skeletons.MPII.index("pelvis"), skeletons.MPII.index("thorax")
    assert seen[pelvis] == 0 and bool((new[pelvis] == 0).all())
    assert seen[thorax] == 2 and new.shape == (16, 3)


def test_converting_refuses_a_wrong_number_of_joints():
    with pytest.raises(CourseError, match="skeleton 'lsp' has 14 joints"):
        skeletons.convert(torch.zeros(16, 2), torch.zeros(16), "lsp", "coco")
