"""Answers to the exercises of lesson 06."""

import torch
from torch.nn import functional as F

from exercises import right, wrong

# --- 06.blocks --------------------------------------------------------------------------------------------------------


def block(width, norms=True, biases=True, middle=None):
    middle = middle or width // 2
    weights = width * middle + 9 * middle * middle + middle * width
    return weights + norms * (2 * width + 4 * middle) + biases * (2 * middle + width)


@right("06.blocks")
def by_formula(depth, width, modules=1):
    count = (3 * depth + 1) * modules
    return count, count * block(width)


@right("06.blocks")
def by_building(depth, width, modules=1):
    from course_lib.models.hourglass import Hourglass, Residual

    whole = Hourglass(width, depth, modules)
    return sum(isinstance(m, Residual) for m in whole.modules()), sum(p.numel() for p in whole.parameters())


@wrong("06.blocks")
def forgets_the_innermost(depth, width, modules=1):
    return 3 * depth * modules, 3 * depth * modules * block(width)


@wrong("06.blocks")
def one_innermost_block_whatever_the_modules(depth, width, modules=1):
    count = 3 * depth * modules + 1
    return count, count * block(width)


@wrong("06.blocks")
def four_blocks_a_level(depth, width, modules=1):
    count = (4 * depth + 1) * modules
    return count, count * block(width)


@wrong("06.blocks")
def no_biases(depth, width, modules=1):
    count = (3 * depth + 1) * modules
    return count, count * block(width, biases=False)


@wrong("06.blocks")
def no_norms(depth, width, modules=1):
    count = (3 * depth + 1) * modules
    return count, count * block(width, norms=False)


@wrong("06.blocks")
def no_bottleneck(depth, width, modules=1):
    count = (3 * depth + 1) * modules
    return count, count * block(width, middle=width)


# --- 06.decode --------------------------------------------------------------------------------------------------------


def peak(maps):
    scores, index = maps.flatten(-2).max(-1)
    return scores, index % maps.shape[-1], index // maps.shape[-1]


def neighbours(maps, x, y):
    """The four values around a peak, the map's edge repeated beyond the border."""
    padded = F.pad(maps.reshape(-1, 1, *maps.shape[-2:]), (1, 1, 1, 1), mode="replicate").reshape(
        *maps.shape[:-2], maps.shape[-2] + 2, maps.shape[-1] + 2
    )
    flat, wide = padded.flatten(-2), padded.shape[-1]
    steps = ((-1, 0), (1, 0), (0, -1), (0, 1))
    return [flat.gather(-1, ((y + 1 + dy) * wide + x + 1 + dx)[..., None])[..., 0] for dx, dy in steps]


def shifted(maps, size=0.25, border=True, sign=torch.sign, centre=0.5):
    scores, x, y = peak(maps)
    left, right_, up, down = neighbours(maps, x, y)
    inside = (x > 0) & (x < maps.shape[-1] - 1) & (y > 0) & (y < maps.shape[-2] - 1)
    move = torch.stack([sign(right_ - left), sign(down - up)], -1) * size
    move = torch.where(inside[..., None], move, 0.0) if border else move
    return torch.stack([x, y], -1) + centre + move, scores


@right("06.decode")
def by_padding(maps):
    return shifted(maps)


@right("06.decode")
def by_the_library(maps):
    from course_lib.targets import heatmaps

    return heatmaps.quarter(maps)


@wrong("06.decode")
def swaps_row_and_column(maps):
    joints, scores = shifted(maps)
    return joints.flip(-1), scores


@wrong("06.decode")
def divides_by_the_height(maps):
    scores, index = maps.flatten(-2).max(-1)
    return torch.stack([index % maps.shape[-2], index // maps.shape[-2]], -1) + 0.5, scores


@wrong("06.decode")
def plain_argmax(maps):
    return shifted(maps, size=0.0)


@wrong("06.decode")
def forgets_the_cell_centre(maps):
    return shifted(maps, centre=0.0)


@wrong("06.decode")
def moves_away_from_the_higher_neighbour(maps):
    return shifted(maps, size=-0.25)


@wrong("06.decode")
def moves_at_ties(maps):
    return shifted(maps, sign=lambda d: torch.where(d > 0, 1.0, -1.0))


@wrong("06.decode")
def moves_on_the_border(maps):
    return shifted(maps, border=False)


@wrong("06.decode")
def empty_maps_answer_the_corner(maps):
    joints, scores = shifted(maps)
    return torch.where(scores[..., None] > 0, joints, 0.0), scores


# --- 06.loss ----------------------------------------------------------------------------------------------------------


@right("06.loss")
def masked_first(maps, target, visible):
    labelled = visible > 0
    difference = torch.where(labelled[..., None, None], maps - target, 0.0)
    return difference.square().mean((-2, -1)).sum() / labelled.sum().clamp(min=1)


@right("06.loss")
def as_the_library_does(maps, target, visible):
    from course_lib import losses

    return sum(losses.heatmap_mse(stack, target, visible) for stack in maps)


@wrong("06.loss")
def mean_over_stacks(maps, target, visible):
    return masked_first(maps, target, visible) / len(maps)


@wrong("06.loss")
def last_stack_only(maps, target, visible):
    return masked_first(maps[-1:], target, visible)


@wrong("06.loss")
def mask_multiplied_afterwards(maps, target, visible):
    labelled = (visible > 0).float()
    each = (maps - target).square().mean((-2, -1))
    return (each * labelled).sum() / labelled.sum().clamp(min=1)


@wrong("06.loss")
def hidden_joints_do_not_count(maps, target, visible):
    return masked_first(maps, target, (visible == 2).int())


@wrong("06.loss")
def unlabelled_joints_are_asked_for_nothing(maps, target, visible):
    empty = torch.where((visible > 0)[..., None, None], target, 0.0)
    return (maps - empty).square().mean((-2, -1)).mean((-2, -1)).sum()


@wrong("06.loss")
def divides_by_all_joints(maps, target, visible):
    return masked_first(maps, target, visible) * (visible > 0).float().mean()


@wrong("06.loss")
def weighs_by_visibility(maps, target, visible):
    difference = torch.where((visible > 0)[..., None, None], maps - target, 0.0)
    return (difference.square().mean((-2, -1)) * visible).sum() / visible.sum().clamp(min=1)


@wrong("06.loss")
def detached(maps, target, visible):
    return masked_first(maps.detach(), target, visible)


@wrong("06.loss")
def nobody_gives_nan(maps, target, visible):
    labelled = visible > 0
    difference = torch.where(labelled[..., None, None], maps - target, 0.0)
    return difference.square().mean((-2, -1)).sum() / labelled.sum()
