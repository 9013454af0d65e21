"""Published networks read by the convention they were trained with: held against their authors' steps in plain numpy.

The numpy side knows pixel indices only: it solves the affine map from three pairs of points, reads cells, and maps them
back. The course's side goes through `estimate`, so that nothing between box and joint is left out.
"""

import numpy as np
import pytest
import torch

from course_lib import geometry, models
from course_lib.errors import CourseError
from course_lib.models import alignment
from course_lib.models.base import HeatmapModel
from course_lib.skeletons import COCO
from course_lib.targets import heatmaps

HEIGHT, WIDTH, STRIDE = 64, 48, 4
ROWS, COLUMNS = HEIGHT // STRIDE, WIDTH // STRIDE
PAIRS = [(k, swap) for k, swap in enumerate(COCO.swaps) if k < swap]


class Told(HeatmapModel):
    """Answers with maps made by hand: one lot for the crops as they are, one for the mirrored ones."""

    def __init__(self, maps: torch.Tensor, mirrored: torch.Tensor, convention: str, read_out: str) -> None:
        super().__init__("coco", (HEIGHT, WIDTH), STRIDE, 2.0, read_out)
        self.alignment = convention
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.answers, self.seen = [maps, mirrored], []

    def forward(self, images):
        self.seen.append(images)
        return self.answers[len(self.seen) - 1][None]


def smooth_maps(seed: int, count: int = 3) -> torch.Tensor:
    """Maps (count, 17, ROWS, COLUMNS) with one hill each, two cells or more from the border."""
    draw = torch.Generator().manual_seed(seed)
    room = torch.tensor([COLUMNS - 5.0, ROWS - 5.0])
    places = 2.5 + torch.rand(count, 17, 2, generator=draw) * room
    maps = heatmaps.gaussian(places, (ROWS, COLUMNS), 1.0) * (0.5 + torch.rand(count, 17, 1, 1, generator=draw) / 2)
    return maps + 0.01 * torch.rand(maps.shape, generator=draw)


def boxes_of(seed: int, count: int = 3) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    corners, sides = torch.rand(count, 2, generator=draw) * 90 - 10, 8 + torch.rand(count, 2, generator=draw) * 150
    return torch.cat([corners, corners + sides], 1)


# --- simple baselines and HRNet, in indices ---------------------------------------------------------------------------


def centre_and_size(box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middle of x, y, w, h, and its sides grown to the crop's shape and by a quarter."""
    x, y, w, h = box
    aspect = WIDTH / HEIGHT
    if w > aspect * h:
        h = w / aspect
    else:
        w = h * aspect
    return np.array([x + box[2] / 2, y + box[3] / 2]), np.array([w, h]) * 1.25


def three_point_affine(centre: np.ndarray, size: np.ndarray, width: float, height: float) -> np.ndarray:
    """The affine map (2, 3), as from three pairs of points: the middle, one above it, one beside that."""
    source = centre - np.array([[0, 0], [0, size[0] / 2], [size[0] / 2, size[0] / 2]])
    target = np.array([width, height]) / 2 - np.array([[0, 0], [0, width / 2], [width / 2, width / 2]])
    return np.linalg.solve(np.c_[source, np.ones(3)], target).T


def turned_back(maps: np.ndarray, shift: bool) -> np.ndarray:
    maps = maps[..., ::-1].copy()
    for a, b in PAIRS:
        maps[:, [a, b]] = maps[:, [b, a]]
    if shift:
        maps[..., 1:] = maps[..., :-1].copy()
    return maps


def quarter_offset(heat: np.ndarray) -> np.ndarray:
    """Index coordinates of the highest cell, a quarter of a cell towards the higher neighbours."""
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    place = np.array([x, y], dtype=float)
    if 1 < x < COLUMNS - 1 and 1 < y < ROWS - 1:
        place += 0.25 * np.sign([heat[y, x + 1] - heat[y, x - 1], heat[y + 1, x] - heat[y - 1, x]])
    return place


def plain_bilinear(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The crop: every pixel index of it looked up in the picture, zero outside. Only pixels well inside are exact."""
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    places = back @ np.stack([columns.ravel(), rows.ravel(), np.ones(rows.size)])
    padded = np.pad(picture, 2)
    x, y = np.clip(places + 2, 0, np.array(padded.shape)[::-1, None] - 2)
    left, top = np.floor([x, y]).astype(int)
    dx, dy = x - left, y - top
    values = (
        padded[top, left] * (1 - dx) * (1 - dy)
        + padded[top, left + 1] * dx * (1 - dy)
        + padded[top + 1, left] * (1 - dx) * dy
        + padded[top + 1, left + 1] * dx * dy
    )
    inside = (places >= 0).all(0) & (places <= np.array(picture.shape)[::-1, None] - 1).all(0)
    return np.where(inside, values, np.nan).reshape(HEIGHT, WIDTH)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_indices_agree_with_the_authors_steps(flip, seed):
    maps, mirrored, boxes = smooth_maps(seed), smooth_maps(seed + 1), boxes_of(seed)
    picture = torch.rand(3, 120, 150, generator=torch.Generator().manual_seed(seed))
    model = Told(maps, mirrored, "indices", "quarter")
    [poses] = model.estimate(picture, boxes=boxes, flip_test=flip)
    heat = maps.numpy()
    if flip:
        heat = (heat + turned_back(mirrored.numpy(), shift=True)) / 2
    for person, pose in enumerate(poses):
        x0, y0, x1, y1 = boxes[person].double().numpy()
        centre, size = centre_and_size(np.array([x0, y0, x1 - x0, y1 - y0]))
        to_maps = three_point_affine(centre, size, COLUMNS, ROWS)
        back = np.linalg.inv(np.vstack([to_maps, [0, 0, 1]]))
        for k in range(17):
            expected = back[:2] @ [*quarter_offset(heat[person, k]), 1]
            assert np.abs(pose.joints[k].numpy() - 0.5 - expected).max() < 1e-3  # the file's pixels count from 0
            assert abs(float(pose.scores[k]) - heat[person, k].max()) < 1e-6
        expected = plain_bilinear(picture[0].double().numpy(), three_point_affine(centre, size, WIDTH, HEIGHT))
        there = np.isfinite(expected)
        assert np.abs(model.seen[0][person, 0].numpy() - expected)[there].max(initial=0) < 2e-3


# --- UDP, in intervals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_intervals_agree_with_udp(flip, seed):
    maps, mirrored, boxes = smooth_maps(seed), smooth_maps(seed + 1), boxes_of(seed)
    picture = torch.rand(3, 120, 150, generator=torch.Generator().manual_seed(seed))
    model = Told(maps, mirrored, "intervals", "argmax")
    [poses] = model.estimate(picture, boxes=boxes, flip_test=flip)
    heat = maps.numpy()
    if flip:
        heat = (heat + turned_back(mirrored.numpy(), shift=False)) / 2
    for person, pose in enumerate(poses):
        x0, y0, x1, y1 = boxes[person].double().numpy()
        centre, size = centre_and_size(np.array([x0, y0, x1 - x0, y1 - y0]))
        for k in range(17):
            y, x = np.unravel_index(heat[person, k].argmax(), (ROWS, COLUMNS))
            expected = np.array([x, y]) * size / [COLUMNS - 1, ROWS - 1] + centre - size / 2
            assert np.abs(pose.joints[k].numpy() - 0.5 - expected).max() < 1e-3
        # the crop by the same rule: its first and last pixels lie on the edges of the box
        scale = np.array([WIDTH - 1, HEIGHT - 1]) / size
        matrix = np.c_[np.diag(scale), -scale * (centre - size / 2)]
        expected = plain_bilinear(picture[0].double().numpy(), matrix)
        there = np.isfinite(expected)
        assert np.abs(model.seen[0][person, 0].numpy() - expected)[there].max(initial=0) < 2e-3


# --- what the conventions say of themselves ---------------------------------------------------------------------------


def test_a_mirrored_peak_is_off_by_what_the_table_says():
    """A joint at x in the crop is drawn at x / 4 there and at (W - 1 - x) / 4 in the mirrored one, all in indices."""
    x = torch.linspace(10, 38, 57, dtype=torch.float64)
    back = COLUMNS - 1 - (WIDTH - 1 - x) / STRIDE  # where the peak of the mirrored map lies, turned back
    torch.testing.assert_close(back - x / STRIDE, torch.full_like(x, -0.75))
    udp = (COLUMNS - 1) / (WIDTH - 1)
    torch.testing.assert_close(COLUMNS - 1 - (WIDTH - 1 - x) * udp, x * udp)


@pytest.mark.parametrize("convention", alignment.ALIGNMENTS)
def test_crop_and_maps_belong_together(convention):
    """What a cell shows in the crop is at the same place in the picture, whatever the crop's size."""
    box = torch.tensor([[20.0, 10.0, 80.0, 130.0]])
    cell = torch.tensor([[[5.5, 7.5], [0.5, 0.5], [11.5, 15.5]]])
    found = []
    for stride in (2, 4, 8):
        size = (ROWS * stride, COLUMNS * stride)
        matrix = alignment.crop_matrix(box, size, 1.25, convention)
        found.append(
            geometry.apply(geometry.invert(matrix), alignment.to_crop(cell, (ROWS, COLUMNS), stride, convention))
        )
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=1e-3)


def test_the_default_is_the_courses_own_to_the_last_bit():
    torch.manual_seed(0)
    model = models.create("hourglass_course", stacks=1, width=8, depth=2, input_size=(32, 32)).eval()
    picture, boxes = torch.rand(3, 50, 60), torch.tensor([[5.0, 4.0, 40.0, 47.0], [-3.0, 0.0, 70.0, 20.0]])
    crops, matrices = geometry.crop(picture, boxes, (32, 32), 1.25)
    with torch.inference_mode():
        maps = (model(crops) + geometry.flip_maps(model(crops.flip(-1)), model.skeleton.swaps)) / 2
    joints, scores = heatmaps.read_out(maps[-1], "dark", sigma=1.0)
    [poses] = model.estimate(picture, boxes=boxes, flip_test=True)
    for pose, one, score, matrix in zip(poses, joints * 4, scores, matrices, strict=True):
        assert torch.equal(pose.joints, geometry.apply(geometry.invert(matrix), one))
        assert torch.equal(pose.scores, score)


def test_an_unknown_alignment_is_refused_in_one_sentence():
    with pytest.raises(CourseError, match="no alignment called 'pixels'; did you mean 'cells'"):
        alignment.to_crop(torch.zeros(1, 2), (4, 4), 4, "pixels")


def test_no_boxes_and_single_cells_do_no_harm():
    empty, matrices = alignment.crop(torch.rand(3, 8, 9), torch.zeros(0, 4), (8, 8), 1.25, "indices")
    assert empty.shape == (0, 3, 8, 8) and matrices.shape == (0, 2, 3)
    assert alignment.to_crop(torch.tensor([[0.5, 0.5]]), (1, 1), 4, "intervals").isfinite().all()
