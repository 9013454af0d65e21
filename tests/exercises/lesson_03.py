"""Answers to the exercises of lesson 03."""

import math

import torch
from torch.nn import functional as F

from exercises import right, wrong

# --- 03.gaussian ------------------------------------------------------------------------------------------------------


def hill(joints, size, sigma, half=0.5, width=lambda sigma: 2 * sigma**2):
    y = torch.arange(size[0])[:, None] + half
    x = torch.arange(size[1]) + half
    away = (x - joints[:, 0, None, None]) ** 2 + (y - joints[:, 1, None, None]) ** 2
    return torch.exp(-away / width(sigma))


@right("03.gaussian")
def by_broadcasting(joints, size, sigma):
    return hill(joints, size, sigma)


@right("03.gaussian")
def as_the_library_draws(joints, size, sigma):
    from course_lib.targets import heatmaps

    return heatmaps.gaussian(joints, size, sigma)


@wrong("03.gaussian")
def rounds_the_centre(joints, size, sigma):
    return hill(joints.floor() + 0.5, size, sigma)


@wrong("03.gaussian")
def forgets_the_half_cell(joints, size, sigma):
    return hill(joints, size, sigma, half=0.0)


@wrong("03.gaussian")
def swaps_x_and_y(joints, size, sigma):
    return hill(joints.flip(-1), size, sigma)


@wrong("03.gaussian")
def swaps_height_and_width(joints, size, sigma):
    return hill(joints, (size[1], size[0]), sigma)


@wrong("03.gaussian")
def sums_to_one(joints, size, sigma):
    maps = hill(joints, size, sigma)
    return maps / maps.sum((-2, -1), keepdim=True)


@wrong("03.gaussian")
def highest_cell_made_one(joints, size, sigma):
    maps = hill(joints, size, sigma)
    return maps / maps.amax((-2, -1), keepdim=True)


@wrong("03.gaussian")
def a_density(joints, size, sigma):
    return hill(joints, size, sigma) / (2 * math.pi * sigma**2)


@wrong("03.gaussian")
def sigma_not_squared(joints, size, sigma):
    return hill(joints, size, sigma, width=lambda sigma: 2 * sigma)


@wrong("03.gaussian")
def without_the_two(joints, size, sigma):
    return hill(joints, size, sigma, width=lambda sigma: sigma**2)


@wrong("03.gaussian")
def squares_two_sigma(joints, size, sigma):
    return hill(joints, size, sigma, width=lambda sigma: (2 * sigma) ** 2)


@wrong("03.gaussian")
def pulls_joints_into_the_map(joints, size, sigma):
    return hill(joints.clamp(min=torch.zeros(2), max=torch.tensor([size[1], size[0]]).float()), size, sigma)


@wrong("03.gaussian")
def cut_off_after_two_sigma(joints, size, sigma):
    maps = hill(joints, size, sigma)
    return torch.where(maps > math.exp(-2), maps, 0.0)


# --- 03.crop ----------------------------------------------------------------------------------------------------------


def cut(maps, corner, n, mode="constant"):
    """n x n cells from a corner (left, top), the maps padded on all sides as far as needed."""
    left, top = corner
    most = max(abs(left), abs(top), left + n, top + n) + max(maps.shape[1:]) + n
    if mode == "constant":
        padded = F.pad(maps, (most,) * 4)
    else:
        padded = F.pad(maps[None], (most,) * 4, mode="replicate")[0]
    return padded[:, most + top : most + top + n, most + left : most + left + n]


def corner_of(centre, size, stride, rounded=math.floor):
    return [rounded((value - size / 2) / stride) for value in centre]


@right("03.crop")
def by_padding(maps, centre, size, stride):
    return cut(maps, corner_of(centre, size, stride), size // stride)


@right("03.crop")
def by_indices_and_a_mask(maps, centre, size, stride):
    n = size // stride
    x, y = ((value - size // 2) // stride + torch.arange(n) for value in centre)
    inside = ((y >= 0) & (y < maps.shape[1]))[:, None] & ((x >= 0) & (x < maps.shape[2]))
    rows, columns = y.clamp(0, maps.shape[1] - 1), x.clamp(0, maps.shape[2] - 1)
    return maps[:, rows[:, None], columns] * inside


@right("03.crop")
def as_the_library_cuts(maps, centre, size, stride):
    from course_lib.models.tompson import crop

    return crop(maps[None], torch.tensor([[corner_of(centre, size, stride)]]), size // stride)[0]


@wrong("03.crop")
def swaps_x_and_y_of_the_centre(maps, centre, size, stride):
    return by_padding(maps, centre[::-1], size, stride)


@wrong("03.crop")
def repeats_the_edge(maps, centre, size, stride):
    return cut(maps, corner_of(centre, size, stride), size // stride, mode="replicate")


@wrong("03.crop")
def starts_at_the_centre(maps, centre, size, stride):
    return cut(maps, [value // stride for value in centre], size // stride)


@wrong("03.crop")
def rounds_the_corner_up(maps, centre, size, stride):
    return cut(maps, corner_of(centre, size, stride, math.ceil), size // stride)


@wrong("03.crop")
def rounds_towards_zero(maps, centre, size, stride):
    return cut(maps, corner_of(centre, size, stride, int), size // stride)


@wrong("03.crop")
def wraps_round(maps, centre, size, stride):
    n = size // stride
    left, top = corner_of(centre, size, stride)
    rows, columns = (top + torch.arange(n)) % maps.shape[1], (left + torch.arange(n)) % maps.shape[2]
    return maps[:, rows[:, None], columns]


@wrong("03.crop")
def pushes_the_window_inside(maps, centre, size, stride):
    n = size // stride
    corner = corner_of(centre, size, stride)
    corner = [min(max(at, 0), max(most - n, 0)) for at, most in zip(corner, maps.shape[:0:-1], strict=True)]
    return cut(maps, corner, n)


@wrong("03.crop")
def forgets_the_stride(maps, centre, size, stride):
    return cut(maps, corner_of(centre, size, 1), size // stride)


@wrong("03.crop")
def as_many_cells_as_pixels(maps, centre, size, stride):
    return cut(maps, corner_of(centre, size, stride), size)


# --- 03.locate --------------------------------------------------------------------------------------------------------


def peak(maps):
    scores, index = maps.flatten(-2).max(-1)
    return torch.stack([index % maps.shape[-1], index // maps.shape[-1]], -1), scores


def located(coarse, fine, pooling, stride, coarse_half=0.5, fine_half=0.5, middle=0.5, step=None):
    (cell, scores), (small, _) = peak(coarse), peak(fine)
    offset = small + fine_half - middle * fine.shape[-1]
    return (cell + coarse_half) * pooling + offset * (stride if step is None else step), scores


@right("03.locate")
def by_peaks(coarse, fine, pooling, stride):
    return located(coarse, fine, pooling, stride)


@right("03.locate")
def as_the_library_reads(coarse, fine, pooling, stride):
    from course_lib.targets import heatmaps

    cells, scores = heatmaps.argmax(coarse)
    places, _ = heatmaps.argmax(fine)
    return cells * pooling + (places - fine.shape[-1] / 2) * stride, scores


@wrong("03.locate")
def offset_in_cells(coarse, fine, pooling, stride):
    return located(coarse, fine, pooling, stride, step=1)


@wrong("03.locate")
def offset_times_the_pooling(coarse, fine, pooling, stride):
    return located(coarse, fine, pooling, stride, step=pooling)


@wrong("03.locate")
def fine_cells_always_two_pixels(coarse, fine, pooling, stride):
    return located(coarse, fine, pooling, stride, step=2)


@wrong("03.locate")
def offset_from_the_corner(coarse, fine, pooling, stride):
    return located(coarse, fine, pooling, stride, middle=0.0)


@wrong("03.locate")
def forgets_the_coarse_half_cell(coarse, fine, pooling, stride):
    return located(coarse, fine, pooling, stride, coarse_half=0.0)


@wrong("03.locate")
def forgets_the_fine_half_cell(coarse, fine, pooling, stride):
    return located(coarse, fine, pooling, stride, fine_half=0.0)


@wrong("03.locate")
def swaps_row_and_column(coarse, fine, pooling, stride):
    joints, scores = located(coarse, fine, pooling, stride)
    return joints.flip(-1), scores


@wrong("03.locate")
def scores_of_the_fine_maps(coarse, fine, pooling, stride):
    return located(coarse, fine, pooling, stride)[0], peak(fine)[1]


@wrong("03.locate")
def coarse_only(coarse, fine, pooling, stride):
    cell, scores = peak(coarse)
    return (cell + 0.5) * pooling, scores


@wrong("03.locate")
def subtracts_the_offset(coarse, fine, pooling, stride):
    return located(coarse, fine, pooling, stride, step=-stride)
