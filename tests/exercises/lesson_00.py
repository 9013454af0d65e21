"""Answers to the exercises of lesson 00."""

import numpy as np
import torch

from course_lib import geometry
from course_lib.skeletons import LSP
from exercises import right, wrong

# --- 00.box


@right("00.box")
def box_with_numpy(joints, visible, padding):
    kept = joints.numpy()[visible.numpy() > 0]
    if kept.size == 0:
        return np.zeros(4)
    low, high = kept.min(0), kept.max(0)
    return np.concatenate([low - padding * (high - low), high + padding * (high - low)])


@right("00.box")
def box_of_the_library(joints, visible, padding):
    return geometry.box_of(joints, visible, padding)


@wrong("00.box")
def box_of_all_joints(joints, visible, padding):
    low, high = joints.amin(0), joints.amax(0)
    grow = padding * (high - low)
    return torch.cat([low - grow, high + grow])


@wrong("00.box")
def box_of_the_visible_only(joints, visible, padding):
    return geometry.box_of(joints, visible == 2, padding)


@wrong("00.box")
def box_padded_in_pixels(joints, visible, padding):
    box = geometry.box_of(joints, visible)
    return box + padding * torch.tensor([-1.0, -1, 1, 1])


@wrong("00.box")
def box_padded_once_in_all(joints, visible, padding):
    return geometry.box_of(joints, visible, padding / 2)


@wrong("00.box")
def box_by_multiplying(joints, visible, padding):
    return geometry.box_of(joints * (visible > 0)[:, None], torch.ones_like(visible), padding)


@wrong("00.box")
def box_with_rows_first(joints, visible, padding):
    return geometry.box_of(joints, visible, padding)[[1, 0, 3, 2]]


@wrong("00.box")
def box_as_corner_and_size(joints, visible, padding):
    box = geometry.box_of(joints, visible, padding)
    return torch.cat([box[:2], box[2:] - box[:2]])


@wrong("00.box")
def box_that_breaks_without_anybody(joints, visible, padding):
    kept = joints[visible > 0]
    low, high = kept.amin(0), kept.amax(0)
    return torch.cat([low - padding * (high - low), high + padding * (high - low)])


# --- 00.mirror


def _partners(names):
    other = {"left": "right", "right": "left"}
    parts = [name.split("_", 1) for name in names]
    return [names.index(f"{other[first]}_{rest[0]}") if first in other else k for k, (first, *rest) in enumerate(parts)]


@right("00.mirror")
def mirror_by_indexing(joints, visible, width, names):
    order = _partners(names)
    return (joints * torch.tensor([-1.0, 1.0]) + torch.tensor([width, 0.0]))[order], visible[order]


@wrong("00.mirror")
def mirror_without_renaming(joints, visible, width, names):
    return geometry.flip_joints(joints, width, range(len(names))), visible


@wrong("00.mirror")
def mirror_without_flipping(joints, visible, width, names):
    order = _partners(names)
    return joints[order], visible[order]


@wrong("00.mirror")
def mirror_leaves_visibility(joints, visible, width, names):
    return geometry.flip_joints(joints, width, _partners(names)), visible


@wrong("00.mirror")
def mirror_of_pixel_indices(joints, visible, width, names):
    order = _partners(names)
    return geometry.flip_joints(joints, width - 1, order), visible[order]


@wrong("00.mirror")
def mirror_reverses_the_list(joints, visible, width, names):
    return geometry.flip_joints(joints, width, range(len(names))).flip(0), visible.flip(0)


@wrong("00.mirror")
def mirror_knows_lsp_only(joints, visible, width, names):
    order = list(LSP.swaps) if len(names) == len(LSP) else list(range(len(names)))
    return geometry.flip_joints(joints, width, order), visible[order]


@wrong("00.mirror")
def mirror_upside_down(joints, visible, width, names):
    order = _partners(names)
    return torch.stack([joints[:, 0], width - joints[:, 1]], -1)[order], visible[order]


# --- 00.mean_pose


@right("00.mean_pose")
def mean_with_nanmean(joints, visible, boxes):
    placed = geometry.normalise(joints, boxes)
    placed = torch.where((visible > 0)[..., None], placed, torch.nan)
    return placed.nanmean(0).nan_to_num(0.0)


@wrong("00.mean_pose")
def mean_over_everybody(joints, visible, boxes):
    return geometry.normalise(joints, boxes).mean(0)


@wrong("00.mean_pose")
def mean_divided_by_all_people(joints, visible, boxes):
    placed = geometry.normalise(joints, boxes)
    return torch.where((visible > 0)[..., None], placed, 0.0).mean(0)


@wrong("00.mean_pose")
def mean_in_pixels(joints, visible, boxes):
    labelled = (visible > 0)[..., None]
    return torch.where(labelled, joints, 0.0).sum(0) / labelled.sum(0).clamp(min=1)


@wrong("00.mean_pose")
def mean_from_the_corner(joints, visible, boxes):
    return mean_with_nanmean(joints, visible, boxes) + 0.5


@wrong("00.mean_pose")
def mean_of_the_visible_only(joints, visible, boxes):
    return mean_with_nanmean(joints, visible - 1, boxes)


@wrong("00.mean_pose")
def mean_with_nan_for_the_unknown(joints, visible, boxes):
    placed = geometry.normalise(joints, boxes)
    return torch.where((visible > 0)[..., None], placed, torch.nan).nanmean(0)


@wrong("00.mean_pose")
def mean_by_multiplying(joints, visible, boxes):
    labelled = (visible > 0)[..., None].float()
    return (geometry.normalise(joints, boxes) * labelled).sum(0) / labelled.sum(0).clamp(min=1)


@wrong("00.mean_pose")
def mean_by_the_longer_side(joints, visible, boxes):
    side = (boxes[:, 2:] - boxes[:, :2]).amax(-1)
    centre = (boxes[:, 2:] + boxes[:, :2]) / 2
    square = torch.cat([centre - side[:, None] / 2, centre + side[:, None] / 2], -1)
    return mean_with_nanmean(joints, visible, square)
