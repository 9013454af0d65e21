"""Limb fields and maps of several people against the definition, cell by cell, and where nothing is asked."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib import geometry
from course_lib.errors import CourseError
from course_lib.pose import Person
from course_lib.skeletons import BODY18, COCO, LSP, get
from course_lib.targets import heatmaps
from course_lib.targets.fields import confidence_maps, flip, labelled_weight, limb_counts, limb_fields

INF = math.inf
SIZE = (14, 19)


def crowd(people=3, joints=5, seed=0, size=SIZE, lead=()):
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(*lead, people, joints, 2, generator=generator) * torch.tensor([size[1], size[0]])
    return places, torch.randint(0, 3, (*lead, people, joints), generator=generator)


def by_definition(joints, visible, limbs, size, width, overlap, beyond=0.0):
    """Of one picture, number by number."""
    field = torch.zeros(2 * len(limbs), *size)
    for c, (a, b) in enumerate(limbs):
        for row in range(size[0]):
            for column in range(size[1]):
                found = []
                for person, seen in zip(joints.tolist(), visible.tolist(), strict=True):
                    (ax, ay), (bx, by) = person[a], person[b]
                    length = math.hypot(bx - ax, by - ay)
                    if not (seen[a] and seen[b] and length):
                        continue
                    vx, vy = (bx - ax) / length, (by - ay) / length
                    px, py = column + 0.5 - ax, row + 0.5 - ay
                    if -beyond <= vx * px + vy * py <= length + beyond and abs(vx * py - vy * px) <= width:
                        found.append((vx, vy))
                if found:
                    many = {"average": found, "last": found[-1:], "sum": found}[overlap]
                    share = len(many) if overlap == "average" else 1
                    field[2 * c, row, column] = sum(v[0] for v in many) / share
                    field[2 * c + 1, row, column] = sum(v[1] for v in many) / share
    return field


@pytest.mark.parametrize("overlap", ["average", "last", "sum"])
@pytest.mark.parametrize("width", [0.7, 1.0, 2.6])
def test_fields_are_what_the_paper_defines(overlap, width):
    limbs = ((0, 1), (1, 2), (4, 0), (3, 4))
    joints, visible = crowd(4, 5, seed=3)
    found = limb_fields(joints, visible, limbs, SIZE, width, overlap)
    torch.testing.assert_close(found, by_definition(joints, visible, limbs, SIZE, width, overlap))
    longer = limb_fields(joints, visible, limbs, SIZE, width, overlap, 1.3)
    torch.testing.assert_close(longer, by_definition(joints, visible, limbs, SIZE, width, overlap, 1.3))
    assert not torch.equal(longer, found)
    assert bool((limb_counts(joints, visible, limbs, SIZE, width) > 1).any()) or width < 1  # or overlaps go unseen


def test_where_two_people_cross_the_field_is_the_mean_and_the_authors_code_keeps_the_last():
    joints = torch.tensor([[[2.0, 8.0], [14.0, 8.0]], [[8.0, 2.0], [8.0, 14.0]]])  # to the right, and down
    visible, limbs = torch.full((2, 2), 2), ((0, 1),)
    fields = {name: limb_fields(joints, visible, limbs, (16, 16), 1.0, name) for name in ("average", "last", "sum")}
    assert fields["average"][:, 7, 7].tolist() == [0.5, 0.5]
    assert fields["last"][:, 7, 7].tolist() == [0.0, 1.0]
    assert fields["sum"][:, 7, 7].tolist() == [1.0, 1.0]
    counts = limb_counts(joints, visible, limbs, (16, 16), 1.0)
    assert counts.shape == (1, 16, 16) and counts[0, 7, 7] == 2 and counts[0, 7, 4] == 1 and counts[0, 0, 0] == 0
    alone = counts[0] < 2
    for name in ("last", "sum"):
        assert torch.equal(fields[name][:, alone], fields["average"][:, alone])


def test_pictures_are_drawn_one_by_one():
    joints, visible = crowd(3, 5, lead=(2, 4))
    limbs = ((0, 1), (2, 4))
    fields, maps = limb_fields(joints, visible, limbs, SIZE), confidence_maps(joints, visible, SIZE)
    assert fields.shape == (2, 4, 4, *SIZE) and maps.shape == (2, 4, 6, *SIZE)
    assert torch.equal(fields[1, 2], limb_fields(joints[1, 2], visible[1, 2], limbs, SIZE))
    assert torch.equal(maps[1, 2], confidence_maps(joints[1, 2], visible[1, 2], SIZE))


def test_people_who_are_missing_change_nothing():
    joints, visible = crowd(3, 5)
    more = torch.cat([joints, torch.full((2, 5, 2), math.nan)]), torch.cat([visible, torch.zeros(2, 5).long()])
    limbs = ((0, 1), (2, 4))
    assert torch.equal(limb_fields(*more, limbs, SIZE), limb_fields(joints, visible, limbs, SIZE))
    assert torch.equal(confidence_maps(*more, SIZE), confidence_maps(joints, visible, SIZE))


def test_nobody_makes_background():
    for joints, visible in ((torch.zeros(0, 5, 2), torch.zeros(0, 5)), (torch.zeros(2, 5, 2), torch.zeros(2, 5))):
        assert not limb_fields(joints, visible, ((0, 1),), SIZE).any()
        assert limb_counts(joints, visible, ((0, 1),), SIZE).shape == (1, *SIZE)
        maps = confidence_maps(joints, visible, SIZE)
        assert not maps[:-1].any() and bool((maps[-1] == 1).all())


def test_a_limb_without_length_or_with_one_end_is_not_drawn():
    joints, visible = torch.full((1, 3, 2), 5.0), torch.tensor([[2, 1, 0]])
    joints[0, 2] = 9
    assert not limb_fields(joints, visible, ((0, 1), (1, 2)), SIZE).any()
    joints[0, 1, 0] = 9
    assert limb_fields(joints, visible, ((0, 1), (1, 2)), SIZE)[:2].any()  # hidden joints are drawn


def test_a_limb_shorter_than_a_cell_may_not_be_drawn_unless_it_reaches_beyond_its_ends():
    joints, visible = torch.tensor([[[3.6, 5.2], [4.1, 5.2]]]), torch.ones(1, 2)
    assert not limb_fields(joints, visible, ((0, 1),), SIZE).any()
    longer = limb_fields(joints, visible, ((0, 1),), SIZE, beyond=0.5)
    assert longer[0, 4:6, 3:5].eq(1).all() and not longer[1].any()
    assert torch.equal(limb_counts(joints, visible, ((0, 1),), SIZE, beyond=0.5)[0], longer[0])


@given(st.floats(0, 2 * math.pi), st.floats(0.8, 3.0), st.floats(4.0, 20.0))
def test_vectors_have_length_one_and_point_to_the_second_joint(angle, width, length):
    direction = torch.tensor([math.cos(angle), math.sin(angle)])
    joints = 24 + torch.stack([-direction, direction])[None] * length / 2
    field = limb_fields(joints, torch.ones(1, 2), ((0, 1),), (48, 48), width)
    inside = field.norm(dim=0) > 0
    torch.testing.assert_close(field[:, inside], direction[:, None].expand(2, int(inside.sum())), rtol=0, atol=1e-5)
    # the area of the rectangle, up to what a border through cells can cost
    assert abs(float(inside.sum()) - 2 * width * length) <= 2 * width + length + 2
    back = limb_fields(joints.flip(1), torch.ones(1, 2), ((0, 1),), (48, 48), width)
    assert int((back != -field).sum()) <= 8  # the ends may round differently


# --- maps -------------------------------------------------------------------------------------------------------------


def test_maps_are_the_largest_of_all_people_and_a_background():
    joints, visible = crowd(4, 5, seed=1)
    maps = confidence_maps(joints, visible, SIZE, 1.3)
    bells = heatmaps.gaussian(joints, SIZE, 1.3) * (visible > 0)[..., None, None]
    torch.testing.assert_close(maps[:-1], bells.amax(0))
    torch.testing.assert_close(maps[-1], 1 - maps[:-1].amax(0))
    torch.testing.assert_close(confidence_maps(joints, visible, SIZE, 1.3, "sum")[:-1], bells.sum(0).clamp(max=1))


def test_two_people_near_each_other_keep_two_peaks():
    joints, visible = torch.tensor([[[7.5, 7.5]], [[9.5, 7.5]]]), torch.ones(2, 1)
    row = confidence_maps(joints, visible, (15, 18), 0.875)[0, 7]
    assert row[7] > row[8] < row[9]
    summed = confidence_maps(joints, visible, (15, 18), 1.25, "sum")[0, 7]
    assert bool((summed[7:10] == 1).all())  # a plateau: nobody can tell two from three


# --- mirror images ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lsp", "mpii", "coco", "body18", "flic", "jhmdb"])
def test_drawing_and_mirroring_may_change_places(name):
    skeleton = get(name)
    joints, visible = crowd(3, len(skeleton), seed=2)
    fields = limb_fields(joints, visible, skeleton.limbs, SIZE, 1.2)
    mirrored = limb_fields(
        *(geometry.flip_joints(joints, SIZE[1], skeleton.swaps), visible[:, list(skeleton.swaps)]),
        *(skeleton.limbs, SIZE, 1.2),
    )
    turned = flip(fields, skeleton.limbs, skeleton.swaps)
    torch.testing.assert_close(turned, mirrored, rtol=0, atol=1e-5)
    torch.testing.assert_close(flip(turned, skeleton.limbs, skeleton.swaps), fields, rtol=0, atol=0)


def test_a_limb_from_hip_to_hip_turns_round():
    """In LSP it runs from the right to the left one, and in the mirror the right one is where the left one was."""
    hips = LSP.limbs.index((LSP.index("right_hip"), LSP.index("left_hip")))
    fields = torch.rand(2 * len(LSP.limbs), 3, 4)
    turned = flip(fields, LSP.limbs, LSP.swaps)
    assert torch.equal(turned[2 * hips], fields[2 * hips].flip(-1))
    assert torch.equal(turned[2 * hips + 1], -fields[2 * hips + 1].flip(-1))


def test_limbs_without_a_mirror_image():
    with pytest.raises(CourseError, match=r"limb \(5, 7\) has no mirror image \(6, 8\)"):
        flip(torch.zeros(2, 3, 4), ((5, 7),), COCO.swaps)
    with pytest.raises(CourseError, match=r"fields of 19 limbs must be \(\.\.\., 38, H, W\)"):
        flip(torch.zeros(19, 3, 4), BODY18.limbs, BODY18.swaps)


# --- where nothing is asked -------------------------------------------------------------------------------------------


def person(labelled=True, **more):
    return Person(torch.ones(17, 2), torch.full((17,), 2 if labelled else 0), COCO, **more)


def test_weight_is_the_share_of_a_cell_that_is_free():
    mask = torch.zeros(16, 24, dtype=torch.bool)
    mask[:3, :4] = True  # three rows of the first cell, of 4 x 4
    box = torch.tensor([8.0, 8.0, 16.0, 12.0])
    people = [person(mask=~mask, box=box), person(False, mask=mask), person(crowd=True, box=box), person(False)]
    weight = labelled_weight(people, (16, 24), 4)
    expected = torch.ones(4, 6)
    expected[0, 0], expected[2, 2:4] = 0.25, 0.0
    assert torch.equal(weight, expected)
    assert torch.equal(labelled_weight([], (16, 24), 4), torch.ones(4, 6))
    beside = person(False, box=torch.tensor([-9.0, -5.0, 4.0, 4.0]))
    assert labelled_weight([beside], (16, 24), 4).sum() == 23


def test_what_cannot_be_weighed():
    with pytest.raises(CourseError, match="16 x 23 pixels cannot be divided into cells of stride 4"):
        labelled_weight([], (16, 23), 4)
    with pytest.raises(CourseError, match="a mask must be 16 x 24 as its picture"):
        labelled_weight([person(False, mask=torch.ones(16, 20))], (16, 24), 4)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_bad_input():
    joints, visible = crowd()
    limbs = ((0, 1),)
    for wrong in ((joints[0], visible[0]), (joints[..., :1], visible), (joints, visible[:, :4])):
        with pytest.raises(CourseError, match=r"people must be joints \(\.\.\., N, K, 2\)"):
            limb_fields(*wrong, limbs, SIZE)
    for bad in (math.nan, INF):
        broken = joints.clone()
        broken[0, 0, 1] = bad
        with pytest.raises(CourseError, match="a labelled joint must lie at finite coordinates"):
            limb_fields(broken, torch.ones(3, 5), limbs, SIZE)
    for limb in ((0, 0), (0, 5), (-1, 2)):
        with pytest.raises(CourseError, match="a limb joins two different ones of the 5 joints"):
            limb_fields(joints, visible, (limb,), SIZE)
    for width in (0.0, -1.0, math.nan):
        with pytest.raises(CourseError, match="width of a limb must be a positive number"):
            limb_fields(joints, visible, limbs, SIZE, width)
    with pytest.raises(CourseError, match=r"beyond at least 0; got 1.0 and -0.5$"):
        limb_fields(joints, visible, limbs, SIZE, beyond=-0.5)
    with pytest.raises(CourseError, match="did you mean 'average'"):
        limb_fields(joints, visible, limbs, SIZE, overlap="averages")
    with pytest.raises(CourseError, match="way to combine people called 'mean'"):
        confidence_maps(joints, visible, SIZE, combine="mean")
