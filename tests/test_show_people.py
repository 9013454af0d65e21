"""Drawing people, maps and diagrams: in the right place, in the right colour, and calm about bad input."""

import io
import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib import colors
from matplotlib import pyplot as plt
from PIL import Image

from course_lib import show, skeletons
from course_lib.errors import CourseError
from course_lib.pose import Batch, Person, Pose, Scene
from course_lib.show import cards
from course_lib.skeletons import Skeleton


@pytest.fixture(autouse=True)
def _quiet_and_closed():
    with warnings.catch_warnings(), plt.rc_context():
        warnings.simplefilter("error")
        plt.rcdefaults()  # another test may have set the course's style
        yield
    plt.close("all")


def standing(name="lsp", size=100.0):
    places = cards.standing(name)
    joints = torch.tensor([places[joint] for joint in skeletons.get(name).joints]) * size + size * 0.5
    return Person(joints, torch.full((len(joints),), 2), skeletons.get(name))


def bare_axes(width=200, height=200):
    """Axes that fill the figure, so that picture coordinates and rendered pixels are a plain scale apart."""
    figure = plt.figure(figsize=(width / 100, height / 100), dpi=100)
    return figure.add_axes((0, 0, 1, 1))


def rendered(ax):
    file = io.BytesIO()
    ax.figure.savefig(file, format="png", dpi=100)
    return np.asarray(Image.open(file).convert("RGB")) / 255


def near(pixel, colour, tolerance=0.08):
    return np.abs(pixel - np.array(colors.to_rgb(colour))).max() < tolerance


# --- colours ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", skeletons.names())
def test_mirrored_limbs_have_mirrored_parts(name):
    skeleton = skeletons.get(name)
    pairs = {frozenset(limb): index for index, limb in enumerate(skeleton.limbs)}
    other = {"left": "right", "right": "left"}
    for index, limb in enumerate(skeleton.limbs):
        mirrored = pairs[frozenset(skeleton.swaps[joint] for joint in limb)]
        side, _, kind = show.limb_part(skeleton, index).partition(" ")
        expected = f"{other[side]} {kind}" if kind else side
        assert show.limb_part(skeleton, mirrored) == expected
        assert show.limb_side(skeleton, mirrored) == other.get(show.limb_side(skeleton, index), "middle")


@pytest.mark.parametrize("name", skeletons.names())
def test_the_same_limb_has_the_same_colour_in_every_skeleton(name):
    skeleton = skeletons.get(name)
    limbs = {(skeleton.joints[a], skeleton.joints[b]): i for i, (a, b) in enumerate(skeleton.limbs)}
    assert show.limb_colour(skeleton, limbs["right_elbow", "right_wrist"]) == show.PART_COLOURS["right arm"]
    assert show.limb_colour(skeleton, limbs["left_hip", "left_knee"]) == show.PART_COLOURS["left leg"]
    assert show.joint_colour(skeleton, skeleton.index("left_wrist")) == show.PART_COLOURS["left arm"]


def test_sides_and_lower_limbs_differ_in_lightness_or_core():
    def lightness(part):
        return np.dot(colors.to_rgb(show.PART_COLOURS[part]), (0.2126, 0.7152, 0.0722))

    for side in ("right", "left"):
        assert lightness(f"{side} leg") - lightness(f"{side} arm") > 0.15
    assert len(set(show.PART_COLOURS.values())) == len(show.PART_COLOURS)


def test_joints_of_ones_own_get_colours():
    own = Skeleton(
        "crab", ("left_claw", "right_claw", "shell"), ((2, 0), (2, 1)), (0.1,) * 3, ("left_claw", "shell"), None
    )
    assert [show.joint_part(own, k) for k in range(3)] == ["left arm", "right arm", "torso"]
    assert [show.limb_side(own, k) for k in range(2)] == ["left", "right"]
    with pytest.raises(CourseError, match="2 limbs; there is no limb 5"):
        show.limb_colour(own, 5)


# --- poses ------------------------------------------------------------------------------------------------------------


def test_a_joint_lies_on_the_pixel_it_names():
    picture = torch.zeros(3, 20, 20)
    ax = bare_axes()
    show.draw_image(ax, picture)
    joints = torch.full((14, 2), math.nan)
    joints[0] = torch.tensor([5.5, 12.5])  # the middle of column 5, row 12
    show.draw_pose(ax, joints, "lsp", width=3.0)
    pixels = rendered(ax)
    assert near(pixels[125, 55], show.joint_colour("lsp", 0))
    lit = np.argwhere(pixels.sum(-1) > 0.3)
    assert np.allclose(lit.mean(0) + 0.5, (125, 55), atol=0.6)  # row, column; the disc is round about the joint


def test_what_is_unlabelled_or_not_a_number_is_not_drawn():
    ax = bare_axes()
    show.draw_image(ax, torch.zeros(3, 20, 20))
    empty = rendered(ax)
    person = standing(size=10)
    show.draw_pose(ax, person.joints, person.skeleton, visible=torch.zeros(14))
    show.draw_pose(ax, person.joints * math.nan, person.skeleton)
    show.draw_pose(ax, Pose(person.joints, torch.zeros(14), person.skeleton), threshold=0.5)
    assert not ax.collections
    assert (rendered(ax) == empty).all()


def test_a_limb_needs_both_ends_and_hidden_joints_are_hollow():
    person = standing()
    ax = bare_axes()
    show.draw_image(ax, torch.zeros(3, 200, 200))
    person.visible[person.skeleton.index("right_wrist")] = 0
    person.visible[person.skeleton.index("left_wrist")] = 1
    show.draw_pose(ax, person)
    halos, limbs, _, hollow, filled = ax.collections
    assert len(limbs.get_segments()) == len(halos.get_segments()) == len(person.skeleton.limbs) - 1
    assert sorted(set(limbs.get_colors()[:, 3])) == [0.5, 1.0]
    assert len(hollow.get_offsets()) == 1 and len(filled.get_offsets()) == 12
    assert near(hollow.get_facecolors()[0, :3], "white")
    assert near(hollow.get_edgecolors()[0, :3], show.PART_COLOURS["left arm"])


def test_scores_hide_and_fade_joints():
    person = standing()
    pose = Pose(person.joints, torch.linspace(0.1, 1.0, 14), person.skeleton)
    ax = bare_axes()
    show.draw_pose(ax, pose, threshold=0.5, fade=True)
    filled = ax.collections[-1]
    assert len(filled.get_offsets()) == int((pose.scores >= 0.5).sum())
    assert filled.get_facecolors()[-1, 3] == 1.0 > filled.get_facecolors()[0, 3] >= 0.5
    show.draw_pose(ax, Pose(person.joints, torch.full((14,), math.nan), person.skeleton), fade=True)


def test_one_colour_means_one_colour_and_no_core():
    ax = bare_axes()
    show.draw_image(ax, torch.zeros(3, 200, 200))
    show.draw_pose(ax, standing(), colour="white", labels=True)
    _, limbs, cores, _, _ = ax.collections
    assert (limbs.get_colors()[:, :3] == 1).all() and not len(cores.get_segments())
    assert len(ax.texts) == 14


def test_labels_do_not_overlap():
    ax = bare_axes(600, 600)
    show.draw_image(ax, torch.ones(3, 200, 200))
    show.draw_pose(ax, standing("coco"), labels="names")
    renderer = ax.figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in ax.texts]
    sides = [[b for b, t in zip(boxes, ax.texts, strict=True) if t.get_ha() == side] for side in ("left", "right")]
    for side in sides:
        side.sort(key=lambda box: box.y0)
        assert all(lower.y1 <= upper.y0 + 2 for lower, upper in pairwise(side))


def test_a_joint_outside_leaves_the_picture_alone_and_no_picture_means_y_down():
    ax = bare_axes()
    show.draw_image(ax, torch.zeros(3, 20, 30))
    show.draw_pose(ax, standing(size=500))
    show.draw_box(ax, [-50, -50, 90, 90], "box")
    show.draw_circles(ax, [[400, 400]], 9.0)
    assert ax.get_xlim() == (0, 30) and ax.get_ylim() == (20, 0)
    _, free = plt.subplots()
    show.draw_pose(free, standing(size=500))
    show.draw_pose(free, standing(size=900))
    low, high = free.get_ylim()
    assert low > 500 > high  # inverted, and grown with the second person
    assert free.get_xlim()[1] > 700


def test_truth_in_another_skeleton_is_converted():
    ax = bare_axes()
    show.draw_image(ax, torch.zeros(3, 200, 200))
    truth, found = standing("mpii"), standing("coco")
    show.draw_truth_and_estimate(ax, truth, Pose(found.joints + 5, torch.ones(17), found.skeleton), fade=True)
    segments = [c.get_segments() for c in ax.collections if hasattr(c, "get_segments")]
    errors = [s for s in segments if len(s) == 12]  # MPII and COCO share twelve joints
    assert len(errors) >= 2 and np.allclose(errors[-1][0][1] - errors[-1][0][0], 5)


def test_bad_people_are_refused_in_one_sentence():
    ax = bare_axes()
    with pytest.raises(CourseError, match="give skeleton="):
        show.draw_pose(ax, torch.zeros(14, 2))
    with pytest.raises(CourseError, match=r"joints \(14, 2\).*got \(13, 2\)"):
        show.draw_pose(ax, torch.zeros(13, 2), "lsp")
    with pytest.raises(CourseError, match="four finite numbers"):
        show.draw_box(ax, [0, 0, math.nan, 1])
    with pytest.raises(CourseError):
        show.draw_image(ax, torch.zeros(5, 4, 4))


# --- galleries and cards ----------------------------------------------------------------------------------------------


def test_galleries_take_batches_scenes_and_pictures():
    people = [standing() for _ in range(7)]
    pictures = torch.rand(7, 3, 200, 200)
    batch = Batch(
        pictures, torch.stack([p.joints for p in people]), torch.stack([p.visible for p in people]), people[0].skeleton
    )
    poses = [Pose(p.joints + 3, torch.ones(14), p.skeleton) for p in people]
    assert len(show.gallery(batch).axes) == 8  # 2 rows of 4, the last one empty
    assert not show.gallery(batch).axes[7].axison
    scenes = [Scene(torch.rand(3, 40, 60), people[:2]), Scene(torch.rand(3, 60, 40), [])]
    mixed = show.gallery(scenes, poses=[poses[:3], None], titles=["two", "none"])
    assert len(mixed.axes) == 2 and not mixed.axes[1].collections and mixed.axes[0].collections
    both = show.gallery(batch[:2], poses=[[poses[0]], poses[1]], columns=1)
    assert len(both.axes) == 2
    assert not show.gallery(list(pictures[:3])).axes[0].collections


def test_bad_galleries_are_refused_in_one_sentence():
    with pytest.raises(CourseError, match="at least one picture"):
        show.gallery([])
    with pytest.raises(CourseError, match="2 pictures needs 2 titles; got 1"):
        show.gallery(torch.rand(2, 3, 8, 8), titles=["one"])


@pytest.mark.parametrize("name", skeletons.names())
def test_cards_show_every_joint_with_the_right_hand_on_our_left(name):
    skeleton, ax = skeletons.get(name), bare_axes()
    show.draw_skeleton_card(ax, name)
    shown = [text.get_text() for text in ax.texts]
    for number, joint in enumerate(skeleton.joints):
        expected = 2 if skeleton.side(number) != "middle" else 1  # in the disc, and in the list unless named there
        assert shown.count(str(number)) == expected, joint
    places = cards.standing(name)
    assert places["right_wrist"][0] < 0 < places["left_wrist"][0]
    assert list(places) == list(skeleton.joints)


def test_cards_take_joints_of_ones_own():
    own = Skeleton(
        "tail", ("left_hip", "right_hip", "tail"), ((0, 1), (0, 2)), (0.1,) * 3, ("left_hip", "right_hip"), None
    )
    ax, other = bare_axes(), bare_axes()
    show.draw_skeleton_card(ax, own)
    show.draw_skeleton_card(other, own, places={"tail": (0.0, 0.7)})
    assert len(other.texts) == len(ax.texts) + 1


# --- maps -------------------------------------------------------------------------------------------------------------


def test_a_cell_covers_its_part_of_the_picture():
    heatmap = torch.zeros(4, 5)
    heatmap[1, 3] = 2.0  # stride 8: x 24 to 32, y 8 to 16
    ax = bare_axes(200, 160)
    show.overlay_map(ax, torch.ones(3, 32, 40), heatmap, dim=0.0)
    pixels = rendered(ax)
    touched = np.argwhere((pixels < 0.99).any(-1))
    assert touched.min(0).tolist() == [40, 120] and touched.max(0).tolist() == [79, 159]


def test_empty_negative_and_broken_maps_are_clear():
    ax = bare_axes()
    for heatmap in (torch.zeros(4, 4), -torch.ones(4, 4), torch.full((1, 4, 4), math.nan)):
        show.overlay_map(ax, torch.ones(3, 16, 16), heatmap)
        assert (np.asarray(ax.images[-1].get_array())[..., 3] == 0).all()
    with pytest.raises(CourseError, match=r"shape \(height, width\)"):
        show.overlay_map(ax, torch.ones(3, 16, 16), torch.zeros(2, 4, 4))


def test_grids_of_maps():
    figure = show.maps_grid(torch.rand(3, 16, 16), torch.rand(7, 4, 4), [f"joint_{k}" for k in range(7)])
    assert [ax.get_title()[:7] for ax in figure.axes[:7]] == [f"joint {k}" for k in range(7)]
    assert len(figure.axes) == 8
    ax = figure.axes[0]
    show.map_scale(ax, 1.0, "belief")
    with pytest.raises(CourseError, match="at least one map"):
        show.maps_grid(torch.rand(3, 16, 16), torch.rand(0, 4, 4))
    with pytest.raises(CourseError, match="2 maps need 2 names"):
        show.maps_grid(torch.rand(3, 16, 16), torch.rand(2, 4, 4), ["one"])


# --- diagrams ---------------------------------------------------------------------------------------------------------


def test_circles_have_their_radius_in_pixels_of_the_picture():
    ax = bare_axes()
    show.draw_image(ax, torch.ones(3, 50, 50))
    show.draw_circles(ax, [[20.0, 30.0], [math.nan, 1.0]], 10.0, "tolerance", fill=1.0)
    inside = np.argwhere((rendered(ax) < 0.95).any(-1)) / 4  # rows, columns; four rendered pixels each
    assert np.allclose(inside.mean(0), (30, 20), atol=0.3)
    assert np.allclose(np.ptp(inside, axis=0), 20, atol=1.0)


def test_diagrams_grow_with_what_is_drawn():
    _, ax = plt.subplots()
    diagram = show.Diagram(ax)
    first, second = diagram.box(0, 0, "one"), diagram.box(6, 3, "two", colour="#CC79A7")
    diagram.arrow(first, second, "then", bend=0.4)
    diagram.arrow(second.side("top"), (6, 5), dashed=True)
    diagram.frame([first, second], "both")
    assert ax.get_xlim()[0] < -0.9 and ax.get_xlim()[1] > 6.9 and ax.get_ylim()[1] > 3.4
    assert second.side("left") == (5.1, 3.0)
    ax.figure.canvas.draw()
    with pytest.raises(CourseError, match="got 'front'"):
        first.side("front")
    with pytest.raises(CourseError, match="at least one box"):
        diagram.frame([])


def test_the_legend_names_every_part():
    figure, ax = plt.subplots()
    for where in (figure, ax):
        assert [text.get_text() for text in show.limb_legend(where).get_texts()] == list(show.PART_COLOURS)
