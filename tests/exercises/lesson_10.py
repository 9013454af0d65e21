"""Answers to lesson 10's exercises."""

from __future__ import annotations

import math

import torch
from torchvision import ops

from course_lib.metrics import oks
from course_lib.targets import hough
from exercises import right, wrong

# --- 10.vote ----------------------------------------------------------------------------------------------------------


def cast(column, row, offset, probability, radius, size, centre=0.5, area=True, shares=None, exchanged=False):
    x, y = column + 0.5 + offset[0], row + 0.5 + offset[1]
    if exchanged:
        x, y = y, x
    shares = shares or (lambda d: (1 - d.abs()).clamp(min=0))
    across = shares(torch.arange(size[1]) + centre - x)
    down = shares(torch.arange(size[0]) + centre - y)
    votes = down[:, None] * across[None] * probability
    return votes / (math.pi * radius**2) if area else votes


@right("10.vote")
def outer_product(column, row, offset, probability, radius, size):
    return cast(column, row, offset, probability, radius, size)


@right("10.vote")
def by_the_library(column, row, offset, probability, radius, size):
    heat, offsets = torch.zeros(1, *size), torch.zeros(1, 2, *size)
    heat[0, row, column], offsets[0, :, row, column] = probability, offset
    return hough.vote(heat, offsets, radius)[0]


@wrong("10.vote")
def whole_to_the_nearest_cell(column, row, offset, probability, radius, size):
    nearest = cast(column, row, offset, probability, radius, size, shares=lambda d: (d.abs() <= 0.5).float())
    return nearest


@wrong("10.vote")
def not_divided_by_the_area(column, row, offset, probability, radius, size):
    return cast(column, row, offset, probability, radius, size, area=False)


@wrong("10.vote")
def divided_by_the_radius_squared(column, row, offset, probability, radius, size):
    return math.pi * cast(column, row, offset, probability, radius, size)


@wrong("10.vote")
def probability_forgotten(column, row, offset, probability, radius, size):
    return cast(column, row, offset, 1.0, radius, size)


@wrong("10.vote")
def centres_at_whole_numbers(column, row, offset, probability, radius, size):
    return cast(column, row, offset, probability, radius, size, centre=0.0)


@wrong("10.vote")
def x_down_and_y_across(column, row, offset, probability, radius, size):
    return cast(column, row, offset, probability, radius, size, exchanged=True)


@wrong("10.vote")
def offset_taken_backwards(column, row, offset, probability, radius, size):
    return cast(column, row, -offset, probability, radius, size)


@wrong("10.vote")
def shares_by_distance_not_by_axis(column, row, offset, probability, radius, size):
    x, y = column + offset[0], row + offset[1]
    away = torch.hypot((torch.arange(size[1]) - x)[None], (torch.arange(size[0]) - y)[:, None])
    return (1 - away).clamp(min=0) * probability / (math.pi * radius**2)


@wrong("10.vote")
def lost_parts_given_to_the_others(column, row, offset, probability, radius, size):
    votes = cast(column, row, offset, probability, radius, size)
    return votes / votes.sum().clamp(min=1e-9) * probability / (math.pi * radius**2)


def by_index(column, row, offset, probability, radius, size, index):
    x, y = column + float(offset[0]), row + float(offset[1])
    left, top = math.floor(x), math.floor(y)
    votes = torch.zeros(size)
    for i in (top, top + 1):
        for j in (left, left + 1):
            share = (1 - abs(x - j)) * (1 - abs(y - i)) * probability / (math.pi * radius**2)
            votes[index(i, size[0]), index(j, size[1])] += share
    return votes


@wrong("10.vote")
def negative_indices_wrap_around(column, row, offset, probability, radius, size):
    return by_index(column, row, offset, probability, radius, size, lambda i, n: i % n)


@wrong("10.vote")
def moved_to_the_border(column, row, offset, probability, radius, size):
    return by_index(column, row, offset, probability, radius, size, lambda i, n: min(max(i, 0), n - 1))


# --- 10.oks_nms -------------------------------------------------------------------------------------------------------


def alike(a, b, area, sigmas, k=2.0, power=2, reduce=torch.mean, half=2.0):
    distance = (a - b).norm(dim=-1)
    return reduce(torch.exp(-(distance**power) / (half * area * (k * sigmas) ** 2)))


def suppress(joints, scores, areas, sigmas, threshold, among="kept", area="mean", meets=None, ordered=True, **options):
    meets = meets or (lambda value: value > threshold)
    rule = {"mean": lambda i, j: (areas[i] + areas[j]) / 2, "kept": lambda i, j: areas[i]}
    rule |= {"other": lambda i, j: areas[j], "larger": lambda i, j: torch.maximum(areas[i], areas[j])}
    rule |= {"smaller": lambda i, j: torch.minimum(areas[i], areas[j])}
    order = torch.argsort(scores, descending=True, stable=True).tolist() if ordered else list(range(len(scores)))
    kept, seen = [], []
    for j in order:
        better = kept if among == "kept" else seen
        if not any(bool(meets(alike(joints[i], joints[j], rule[area](i, j), sigmas, **options))) for i in better):
            kept.append(j)
        seen.append(j)
    return torch.tensor(kept, dtype=torch.long)


@right("10.oks_nms")
def down_the_list(joints, scores, areas, sigmas, threshold):
    return suppress(joints, scores, areas, sigmas, threshold)


@right("10.oks_nms")
def with_a_matrix(joints, scores, areas, sigmas, threshold):
    count = len(scores)
    if not count:
        return torch.zeros(0, dtype=torch.long)
    size = (areas[:, None] + areas[None]) / 2
    table = oks(joints[:, None], joints[None], torch.ones(count, joints.shape[1]), size, sigmas)
    left, kept = torch.argsort(scores, descending=True, stable=True), []
    while len(left):
        kept.append(int(left[0]))
        left = left[1:][table[left[0], left[1:]] <= threshold]
    return torch.tensor(kept)


@wrong("10.oks_nms")
def removed_poses_remove_others(joints, scores, areas, sigmas, threshold):
    return suppress(joints, scores, areas, sigmas, threshold, among="all")


@wrong("10.oks_nms")
def sigma_instead_of_twice_sigma(joints, scores, areas, sigmas, threshold):
    return suppress(joints, scores, areas, sigmas, threshold, k=1.0)


@wrong("10.oks_nms")
def distance_not_squared(joints, scores, areas, sigmas, threshold):
    return suppress(joints, scores, areas, sigmas, threshold, power=1)


@wrong("10.oks_nms")
def the_two_forgotten(joints, scores, areas, sigmas, threshold):
    return suppress(joints, scores, areas, sigmas, threshold, half=1.0)


@wrong("10.oks_nms")
def area_of_the_kept_one(joints, scores, areas, sigmas, threshold):
    return suppress(joints, scores, areas, sigmas, threshold, area="kept")


@wrong("10.oks_nms")
def area_of_the_other_one(joints, scores, areas, sigmas, threshold):
    return suppress(joints, scores, areas, sigmas, threshold, area="other")


@wrong("10.oks_nms")
def the_larger_area(joints, scores, areas, sigmas, threshold):
    return suppress(joints, scores, areas, sigmas, threshold, area="larger")


@wrong("10.oks_nms")
def the_smaller_area(joints, scores, areas, sigmas, threshold):
    return suppress(joints, scores, areas, sigmas, threshold, area="smaller")


@wrong("10.oks_nms")
def at_the_threshold_as_well(joints, scores, areas, sigmas, threshold):
    return suppress(joints, scores, areas, sigmas, threshold, meets=lambda value: value >= threshold)


@wrong("10.oks_nms")
def sum_instead_of_mean(joints, scores, areas, sigmas, threshold):
    return suppress(joints, scores, areas, sigmas, threshold, reduce=torch.sum)


@wrong("10.oks_nms")
def the_best_joint_decides(joints, scores, areas, sigmas, threshold):
    return suppress(joints, scores, areas, sigmas, threshold, reduce=torch.max)


@wrong("10.oks_nms")
def in_the_order_of_the_list(joints, scores, areas, sigmas, threshold):
    return suppress(joints, scores, areas, sigmas, threshold, ordered=False)


@wrong("10.oks_nms")
def answered_in_the_order_of_the_list(joints, scores, areas, sigmas, threshold):
    return suppress(joints, scores, areas, sigmas, threshold).sort().values


@wrong("10.oks_nms")
def those_that_are_alike_are_kept(joints, scores, areas, sigmas, threshold):
    return suppress(joints, scores, areas, sigmas, threshold, meets=lambda value: value <= threshold)


@wrong("10.oks_nms")
def by_the_boxes(joints, scores, areas, sigmas, threshold):
    boxes = torch.cat([joints.amin(1), joints.amax(1)], 1) if len(joints) else torch.zeros(0, 4)
    return ops.nms(boxes, scores, threshold)


# --- 10.roi_align -----------------------------------------------------------------------------------------------------


def read(features, x, y):
    """features (H, W) at x (..., ), y (...), where whole numbers are centres."""
    height, width = features.shape
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, top = x.floor().long(), y.floor().long()
    right, low = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    u, v = x - left, y - top
    above = (1 - u) * features[top, left] + u * features[top, right]
    below = (1 - u) * features[low, left] + u * features[low, right]
    return (1 - v) * above + v * below


def aligned(features, box, bins, samples, shift=0.5, first=0.5, reading=read, reduce=None, exchanged=False):
    count = bins * samples
    u = (torch.arange(count) + first) / count
    x, y = box[0] + u * (box[2] - box[0]) - shift, box[1] + u * (box[3] - box[1]) - shift
    values = reading(features, x[None].expand(count, -1), y[:, None].expand(-1, count))
    values = values.T if exchanged else values
    each = values.reshape(bins, samples, bins, samples).transpose(1, 2).flatten(2)
    return each.mean(-1) if reduce is None else reduce(each)


@right("10.roi_align")
def all_points_at_once(features, box, bins, samples):
    return aligned(features, box, bins, samples)


@right("10.roi_align")
def by_torchvision(features, box, bins, samples):
    return ops.roi_align(features[None, None], [box[None]], bins, 1.0, samples, aligned=True)[0, 0]


@wrong("10.roi_align")
def half_a_cell_forgotten(features, box, bins, samples):
    return aligned(features, box, bins, samples, shift=0.0)


@wrong("10.roi_align")
def torchvisions_older_convention(features, box, bins, samples):
    return ops.roi_align(features[None, None], [box[None]], bins, 1.0, samples, aligned=False)[0, 0]


@wrong("10.roi_align")
def box_rounded_to_cells(features, box, bins, samples):
    return aligned(features, box.round(), bins, samples)


@wrong("10.roi_align")
def roi_pool(features, box, bins, samples):
    return ops.roi_pool(features[None, None], [box[None]], bins, 1.0)[0, 0]


@wrong("10.roi_align")
def nearest_cell(features, box, bins, samples):
    return aligned(features, box, bins, samples, reading=lambda f, x, y: read(f, x.round(), y.round()))


@wrong("10.roi_align")
def maximum_of_the_points(features, box, bins, samples):
    return aligned(features, box, bins, samples, reduce=lambda each: each.amax(-1))


@wrong("10.roi_align")
def sum_of_the_points(features, box, bins, samples):
    return aligned(features, box, bins, samples, reduce=lambda each: each.sum(-1))


@wrong("10.roi_align")
def one_point_in_the_middle_of_a_bin(features, box, bins, samples):
    return aligned(features, box, bins, 1)


@wrong("10.roi_align")
def points_at_the_corners(features, box, bins, samples):
    return aligned(features, box, bins, samples, first=0.0)


@wrong("10.roi_align")
def rows_and_columns_exchanged(features, box, bins, samples):
    return aligned(features, box, bins, samples, exchanged=True)


@wrong("10.roi_align")
def nothing_beyond_the_outermost_centres(features, box, bins, samples):
    def reading(f, x, y):
        inside = (x >= 0) & (y >= 0) & (x <= f.shape[1] - 1) & (y <= f.shape[0] - 1)
        return read(f, x, y) * inside

    return aligned(features, box, bins, samples, reading=reading)


@wrong("10.roi_align")
def box_given_by_its_width(features, box, bins, samples):
    return aligned(features, torch.cat([box[:2], box[:2] + box[2:]]), bins, samples)
