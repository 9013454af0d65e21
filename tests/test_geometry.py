"""The coordinate convention: every way there has a way back, and pictures move as points do."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import geometry
from course_lib.errors import CourseError
from course_lib.skeletons import LSP, MPII

quick = settings(deadline=None, max_examples=60)
# Pictures of the size the course works with. Float32 keeps 24 bits, so that at 512 px a rounding is 3e-5 px.
coordinate = st.floats(0, 512, width=32)
side = st.floats(4, 512, width=32)
angle = st.floats(-3, 3, width=32)
PIXELS = 1e-4


@st.composite
def boxes(draw):
    x, y, width, height = draw(coordinate), draw(coordinate), draw(side), draw(side)
    return torch.tensor([x, y, x + width, y + height])


def points_in(box, count=20):
    """Points over the box and somewhat beyond it."""
    share = torch.rand(count, 2, generator=torch.Generator().manual_seed(0), dtype=box.dtype) * 1.5 - 0.25
    return box[:2] + share * (box[2:] - box[:2])


# --- round trips ------------------------------------------------------------------------------------------------------


@quick
@given(boxes(), st.sampled_from([(64, 64), (256, 192), (96, 128)]), st.floats(0.5, 2), angle)
def test_crop_and_back(box, size, padding, turn):
    matrix = geometry.crop_matrix(box, size, padding, turn)
    points = points_in(box)
    back = geometry.apply(geometry.invert(matrix), geometry.apply(matrix, points))
    # one rounding of the largest number in the game, seen through the scale, is all that may be lost
    scale = float(torch.linalg.det(matrix[:, :2]).abs().sqrt())
    magnitude = max(float(points.abs().max()), float(matrix[:, 2].abs().max()) / scale, 1)
    assert float((back - points).abs().max()) < max(PIXELS, 4e-7 * magnitude * 4)
    exact = matrix.double()
    back = geometry.apply(geometry.invert(exact), geometry.apply(exact, points.double()))
    assert torch.allclose(back, points.double(), atol=1e-8, rtol=0)


@quick
@given(boxes())
def test_box_units_and_back(box):
    points = points_in(box)
    units = geometry.normalise(points, box)
    back = geometry.denormalise(units, box)
    assert float((back - points).abs().max()) < 2 * PIXELS and back.dtype == torch.float32


def test_box_units_of_the_corners_and_the_centre():
    box = torch.tensor([10.0, 20.0, 30.0, 60.0])
    points = torch.tensor([[20.0, 40.0], [10.0, 20.0], [30.0, 60.0], [30.0, 20.0]])
    assert geometry.normalise(points, box).tolist() == [[0, 0], [-0.5, -0.5], [0.5, 0.5], [0.5, -0.5]]


@quick
@given(boxes(), st.sampled_from([LSP, MPII]))
def test_mirroring_twice_changes_nothing(box, skeleton):
    joints = points_in(box, len(skeleton))
    once = geometry.flip_joints(joints, 640, skeleton.swaps)
    assert torch.allclose(geometry.flip_joints(once, 640, skeleton.swaps), joints, atol=PIXELS)
    wrist = skeleton.index("left_wrist")
    assert once[wrist, 0] == 640 - joints[skeleton.index("right_wrist"), 0]


@quick
@given(angle, st.floats(0.125, 8, width=32), coordinate, coordinate)
def test_turning_there_and_back(turn, scale, x, y):
    centre, target = torch.tensor([x, y]), torch.tensor([32.0, 48.0])
    turn, scale = torch.tensor(turn), torch.tensor(scale)
    there = geometry.similarity(centre, turn, scale, target)
    back = geometry.similarity(target, -turn, 1 / scale, centre)
    points = torch.tensor([[0.0, 0.0], [100.0, 5.0], [-7.0, 300.0]])
    both = geometry.compose(there, back)
    limit = 1e-6 * 4 * max(float(there.abs().max()), 512) * max(1, 1 / float(scale))
    assert float((geometry.apply(both, points) - points).abs().max()) < limit
    assert torch.allclose(geometry.apply(there, centre[None])[0], target, atol=1e-3)


def test_a_positive_angle_turns_clockwise_on_the_screen():
    matrix = geometry.similarity(torch.zeros(2), torch.tensor(math.pi / 2), torch.tensor(1.0), torch.zeros(2))
    right, down = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert torch.allclose(geometry.apply(matrix, right), down, atol=1e-6)


@quick
@given(boxes(), boxes(), angle)
def test_composing_is_doing_one_after_the_other(first, second, turn):
    a, b = geometry.crop_matrix(first, (64, 48), angle=turn).double(), geometry.crop_matrix(second, (96, 96)).double()
    points = points_in(first).double()
    assert torch.allclose(
        geometry.apply(geometry.compose(a, b), points), geometry.apply(b, geometry.apply(a, points)), atol=1e-7
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_is_batched_and_keeps_its_type(dtype):
    box = torch.tensor([[[0, 0, 10, 20]], [[5, 5, 25, 15]]], dtype=dtype)  # (2, 1, 4)
    joints = torch.rand(2, 1, 14, 2, dtype=dtype)
    matrix = geometry.crop_matrix(box, (64, 64))
    assert matrix.shape == (2, 1, 2, 3) and geometry.apply(matrix, joints).shape == joints.shape
    for answer in (matrix, geometry.apply(matrix, joints), geometry.normalise(joints, box), geometry.invert(matrix)):
        assert answer.dtype == dtype
    one = geometry.apply(geometry.crop_matrix(box[1, 0], (64, 64)), joints[1, 0])
    assert torch.allclose(geometry.apply(matrix, joints)[1, 0], one)


def test_crops_are_differentiable_in_the_box():
    box = torch.tensor([10.0, 10.0, 50.0, 70.0], requires_grad=True)
    geometry.apply(geometry.crop_matrix(box, (64, 64)), torch.tensor([[20.0, 20.0]])).sum().backward()
    assert box.grad.isfinite().all() and box.grad.abs().sum() > 0


# --- crops ------------------------------------------------------------------------------------------------------------


def test_a_crop_without_padding_maps_the_box_onto_the_whole_crop():
    box = torch.tensor([10.0, 20.0, 42.0, 84.0])
    corners = torch.tensor([[10.0, 20.0], [42.0, 84.0]])
    crop = geometry.apply(geometry.crop_matrix(box, (128, 64), padding=1.0), corners)
    assert torch.allclose(crop, torch.tensor([[0.0, 0.0], [64.0, 128.0]]))


def test_the_short_side_is_grown_not_squeezed():
    box = torch.tensor([0.0, 0.0, 100.0, 10.0])
    matrix = geometry.crop_matrix(box, (64, 64), padding=1.0)
    assert torch.allclose(matrix[:, :2], torch.eye(2) * 0.64)
    assert torch.allclose(geometry.apply(matrix, torch.tensor([[50.0, 5.0]])), torch.tensor([[32.0, 32.0]]))


@pytest.mark.parametrize("bad", [[0, 0, 0, 5], [5, 5, 1, 9], [0, 0, math.nan, 4], [0, 0, math.inf, 4]])
def test_boxes_without_area_are_refused_and_named(bad):
    good_and_bad = torch.tensor([[0.0, 0.0, 1.0, 1.0], bad])
    for function in (
        lambda: geometry.crop_matrix(good_and_bad, (64, 64)),
        lambda: geometry.normalise(torch.zeros(2, 3, 2), good_and_bad),
        lambda: geometry.denormalise(torch.zeros(2, 3, 2), good_and_bad),
    ):
        with pytest.raises(CourseError, match="x0 < x1 and y0 < y1; got") as problem:
            function()
        assert str([float(value) for value in bad]) in str(problem.value)


def test_a_map_that_flattens_the_plane_has_no_way_back():
    with pytest.raises(CourseError, match="cannot be inverted"):
        geometry.invert(torch.tensor([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]]))


# --- pictures move as points do ---------------------------------------------------------------------------------------


def blob(x, y, height, width, sigma):
    ys, xs = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * sigma**2))[None, None]


def centre_of_mass(image):
    height, width = image.shape[-2:]
    mass = image[0, 0].double()
    x = (mass.sum(0) * (torch.arange(width) + 0.5)).sum() / mass.sum()
    y = (mass.sum(1) * (torch.arange(height) + 0.5)).sum() / mass.sum()
    return torch.stack([x, y]).float()


@settings(deadline=None, max_examples=40)
@given(
    st.floats(0.3, 4),
    angle,
    st.floats(-8, 8),
    st.floats(-8, 8),
    st.sampled_from([(80, 112), (97, 97), (128, 64)]),
)
def test_a_blob_is_warped_to_where_its_centre_is_sent(scale, turn, dx, dy, size):
    height, width, sigma = 160, 140, 8.0
    centre = torch.tensor([width / 2 + dx, height / 2 + dy])
    # small enough that the whole blob stays in view
    scale = min(scale, min(size) / (10 * sigma))
    target = torch.tensor([size[1] / 2 + 0.3, size[0] / 2 - 0.2])
    matrix = geometry.similarity(centre + 0.7, torch.tensor(turn), torch.tensor(scale), target)
    result = geometry.warp(blob(*centre, height, width, sigma), matrix[None], size)
    assert result.shape == (1, 1, *size)
    expected = geometry.apply(matrix, centre[None])[0]
    assert float((centre_of_mass(result) - expected).abs().max()) < 0.02


def test_the_identity_leaves_a_picture_alone_and_a_mirror_flips_it():
    image = torch.rand(2, 3, 13, 17)
    same = torch.eye(2, 3).expand(2, 2, 3)
    assert torch.allclose(geometry.warp(image, same, (13, 17)), image, atol=1e-5)
    mirrored = geometry.warp(image, geometry.mirror(17, image).expand(2, 2, 3), (13, 17))
    assert torch.allclose(mirrored, geometry.flip_images(image), atol=1e-5)


def test_halving_averages_four_pixels_and_what_lies_outside_is_filled():
    image = torch.rand(1, 3, 8, 8)
    half = torch.tensor([[[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]])
    expected = torch.nn.functional.avg_pool2d(image, 2)
    assert torch.allclose(geometry.warp(image, half, (4, 4)), expected, atol=1e-5)
    shifted = torch.tensor([[[1.0, 0.0, 4.0], [0.0, 1.0, 0.0]]])
    result = geometry.warp(image, shifted, (8, 8), fill=0.25)
    assert torch.allclose(result[..., 4:], image[..., :4], atol=1e-5)
    assert bool((result[..., :4] - 0.25).abs().max() < 1e-6)


def labels_one_by_one(labels, matrix, size, fill):
    """The label of the pixel that the centre of every result's pixel comes from."""
    height, width = labels.shape[-2:]
    result = torch.full((len(labels), *size), fill)
    for b, back in enumerate(geometry.invert(matrix)):
        for row in range(size[0]):
            for column in range(size[1]):
                x, y = geometry.apply(back, torch.tensor([[column + 0.5, row + 0.5]], dtype=back.dtype))[0].tolist()
                if 0 <= x < width and 0 <= y < height:
                    result[b, row, column] = labels[b, int(y), int(x)]
    return result


@pytest.mark.parametrize("dtype", [torch.int8, torch.long])
def test_labels_are_those_of_the_nearest_pixels(dtype):
    labels = torch.randint(-1, 9, (6, 7, 11), generator=torch.Generator().manual_seed(0)).to(dtype)
    turn, scale = torch.tensor([0.0, 0.3, -2.0, 0.7, 1.2, 0.1]), torch.tensor([1.0, 0.4, 1.7, 3.0, 0.9, 1.1])
    centre, target = torch.tensor([5.2, 3.3]).expand(6, 2), torch.tensor([4.1, 5.7]).expand(6, 2)
    matrix = geometry.similarity(centre, turn, scale, target).double()
    for size, fill in (((9, 8), -1), ((3, 14), 7)):
        moved = geometry.warp_labels(labels, matrix, size, fill)
        assert moved.dtype == dtype and torch.equal(moved, labels_one_by_one(labels, matrix, size, fill).to(dtype))
        assert bool((moved == fill).any())


def test_labels_stay_and_are_mirrored_and_shifted_as_pictures_are():
    labels = torch.arange(2 * 5 * 7).view(2, 5, 7)
    same = torch.eye(2, 3).expand(2, 2, 3)
    assert torch.equal(geometry.warp_labels(labels, same, (5, 7), -1), labels)
    mirrored = geometry.warp_labels(labels, geometry.mirror(7, torch.zeros(())).expand(2, 2, 3), (5, 7), -1)
    assert torch.equal(mirrored, labels.flip(-1))
    moved = geometry.warp_labels(labels, torch.tensor([[[1.0, 0, 2], [0, 1, -1]]]).expand(2, 2, 3), (5, 7), -1)
    assert torch.equal(moved[:, :4, 2:], labels[:, 1:, :5])
    assert bool((moved[:, 4] == -1).all()) and bool((moved[..., :2] == -1).all())
    assert geometry.warp_labels(labels[:0], same[:0], (3, 3), -1).shape == (0, 3, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (37, 3), (500, 333)])
def test_pictures_of_any_size_are_cropped_without_changing_their_brightness(size):
    image = torch.full((3, *size), 0.6)
    height, width = size
    # the middle half of the picture lies wholly inside it
    box = torch.tensor([[width * 0.25, height * 0.25, width * 0.75, height * 0.75]])
    crops, matrix = geometry.crop(image, box, (32, 32), padding=1.0)
    assert crops.shape == (1, 3, 32, 32) and matrix.shape == (1, 2, 3)
    assert float(crops[0, :, 16, 16].mean()) == pytest.approx(0.6, abs=1e-5)


def test_no_boxes_give_no_crops():
    crops, matrix = geometry.crop(torch.rand(3, 9, 9), torch.zeros(0, 4), (32, 16))
    assert crops.shape == (0, 3, 32, 16) and matrix.shape == (0, 2, 3)


def test_a_crop_of_many_boxes_equals_the_crops_one_by_one():
    image = torch.rand(3, 200, 150)
    box = torch.tensor([[0.0, 0.0, 150.0, 200.0], [10.0, 10.0, 30.0, 40.0], [-50.0, -50.0, 20.0, 20.0]])
    crops, _ = geometry.crop(image, box, (32, 32))
    for one, crop in zip(box, crops, strict=True):
        assert torch.equal(geometry.crop(image, one[None], (32, 32))[0][0], crop)


def test_flipped_maps_belong_to_flipped_joints():
    maps = torch.zeros(1, 14, 8, 8)
    wrist = LSP.index("left_wrist")
    maps[0, wrist, 2, 1] = 1  # cell centre (1.5, 2.5)
    flipped = geometry.flip_maps(maps, LSP.swaps)
    joint = geometry.flip_joints(torch.tensor([1.5, 2.5]).expand(14, 2), 8, LSP.swaps)[LSP.swaps[wrist]]
    assert flipped[0, LSP.swaps[wrist], int(joint[1]), int(joint[0])] == 1
    assert torch.equal(geometry.flip_maps(flipped, LSP.swaps), maps)


# --- boxes ------------------------------------------------------------------------------------------------------------


def test_the_box_of_joints_ignores_the_unlabelled_and_survives_having_none():
    joints = torch.tensor([[[1.0, 2.0], [5.0, 10.0], [math.nan, 99.0]], [[1.0, 1.0]] * 3])
    labelled = torch.tensor([[2, 1, 0], [0, 0, 0]])
    assert geometry.box_of(joints, labelled).tolist() == [[1, 2, 5, 10], [0, 0, 0, 0]]
    assert geometry.box_of(joints, labelled, padding=0.5)[0].tolist() == [-1, -2, 7, 14]


@quick
@given(boxes(), boxes())
def test_overlap_of_boxes(a, b):
    overlap = geometry.box_iou(torch.stack([a, b]), torch.stack([a, b]))
    assert torch.allclose(overlap.diagonal(), torch.ones(2)) and torch.equal(overlap, overlap.T)
    assert float(overlap.min()) >= 0 and float(overlap.max()) <= 1 + 1e-6


def test_overlap_by_hand_and_of_empty_boxes():
    a = torch.tensor([[0.0, 0.0, 2.0, 2.0], [3.0, 3.0, 3.0, 3.0], [2.0, 2.0, 1.0, 1.0]])
    b = torch.tensor([[1.0, 1.0, 3.0, 3.0]])
    assert geometry.box_iou(a, b)[:, 0].tolist() == [pytest.approx(1 / 7), 0, 0]
    assert geometry.box_iou(a, torch.zeros(0, 4)).shape == (3, 0)
    assert geometry.clip_box(torch.tensor([-5.0, 2.0, 50.0, 9.0]), 8, 20).tolist() == [0, 2, 20, 8]
