"""Answers to lesson 07's exercises."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment

from course_lib.targets import fields as limb_fields
from course_lib.targets.grouping import Links, greedy, optimal
from exercises import right, wrong

# --- 07.integral ------------------------------------------------------------------------------------------------------


def measure(
    field,
    start,
    end,
    places=lambda: (torch.arange(10) + 0.5) / 10,
    unit=True,
    half=0.5,
    side="height",
    penalty=lambda value: value.clamp(max=0),
    share=lambda count: count > 8,
    mean=lambda values: values.mean(),
    positive=True,
    exchanged=False,
):
    height, width = field.shape[1:]
    vector = end - start
    length = vector.norm()
    if length == 0:
        return 0.0, False
    points = start + places()[:, None] * vector
    column = points[:, 0].floor().long().clamp(0, width - 1)
    row = points[:, 1].floor().long().clamp(0, height - 1)
    if exchanged:
        row, column = column.clamp(max=height - 1), row.clamp(max=width - 1)
    values = (field[:, row, column] * (vector / length if unit else vector)[:, None]).sum(0)
    score = mean(values) + penalty(half * (height if side == "height" else width) / length - 1)
    enough = share(int((values > 0.05).sum()))
    return float(score), bool(enough and (score > 0 or not positive))


@right("07.integral")
def all_points_at_once(field, start, end):
    return measure(field, start, end)


@right("07.integral")
def by_integers_and_angles(field, start, end):
    import math

    length = math.dist(start.tolist(), end.tolist())
    if not length:
        return torch.tensor(0.0), torch.tensor(False)
    angle = torch.atan2(end[1] - start[1], end[0] - start[0])
    passed, total = 0, 0.0
    for n in range(10):
        x, y = (start + (2 * n + 1) / 20 * (end - start)).tolist()
        x, y = sorted((0, math.floor(x), field.shape[2] - 1))[1], sorted((0, math.floor(y), field.shape[1] - 1))[1]
        value = float(field[0, y, x] * angle.cos() + field[1, y, x] * angle.sin())
        total, passed = total + value, passed + (value > 0.05)
    score = total / 10 - max(0.0, 1 - 0.5 * field.shape[1] / length)
    return score, passed >= 9 and score > 0


@wrong("07.integral")
def not_a_unit_vector(field, start, end):
    return measure(field, start, end, unit=False)


@wrong("07.integral")
def length_of_the_field_instead_of_its_projection(field, start, end):
    score, possible = measure(field.norm(dim=0) * torch.ones(2, 1, 1), start, end)
    return abs(score), possible


@wrong("07.integral")
def eight_are_enough(field, start, end):
    return measure(field, start, end, share=lambda count: count >= 8)


@wrong("07.integral")
def all_must_pass(field, start, end):
    return measure(field, start, end, share=lambda count: count == 10)


@wrong("07.integral")
def mean_over_passing_points(field, start, end):
    return measure(field, start, end, mean=lambda values: values[values > 0.05].sum() / max((values > 0.05).sum(), 1))


@wrong("07.integral")
def no_penalty(field, start, end):
    return measure(field, start, end, penalty=torch.zeros_like)


@wrong("07.integral")
def short_limbs_are_rewarded(field, start, end):
    return measure(field, start, end, penalty=lambda value: value)


@wrong("07.integral")
def penalty_by_the_width(field, start, end):
    return measure(field, start, end, side="width")


@wrong("07.integral")
def penalty_from_the_whole_height(field, start, end):
    return measure(field, start, end, half=1.0)


@wrong("07.integral")
def with_both_ends(field, start, end):
    return measure(field, start, end, places=lambda: torch.linspace(0, 1, 10))


@wrong("07.integral")
def row_and_column_exchanged(field, start, end):
    return measure(field, start, end, exchanged=True)


@wrong("07.integral")
def any_sign_of_e(field, start, end):
    return measure(field, start, end, share=lambda count: True, positive=False)


@wrong("07.integral")
def not_guarded_against_length_zero(field, start, end):
    vector = (end - start) / (end - start).norm()
    points = start + (torch.arange(10)[:, None] + 0.5) / 10 * (end - start)
    x, y = (points[:, k].long().clamp(0, field.shape[2 - k] - 1) for k in (0, 1))
    values = (field[:, y, x] * vector[:, None]).sum(0)
    score = values.mean() + (0.5 * field.shape[1] / (end - start).norm() - 1).clamp(max=0)
    return float(score), bool((values > 0.05).sum() > 8 and score > 0)


@wrong("07.integral")
def from_the_end_to_the_start(field, start, end):
    return measure(field, end, start)


# --- 07.matchings -----------------------------------------------------------------------------------------------------


def one_by_one(scores, least=0.0):
    left, chosen = scores.clone(), torch.zeros(scores.shape, dtype=torch.bool)
    while left.numel() and left.max() > least:
        m, n = divmod(int(left.argmax()), left.shape[1])
        chosen[m, n] = True
        left[m], left[:, n] = -torch.inf, -torch.inf
    return chosen


def best_sum(values, scores, keep=True):
    chosen = torch.zeros(scores.shape, dtype=torch.bool)
    chosen[linear_sum_assignment(values, maximize=True)] = True
    return chosen & (scores > 0) if keep else chosen


@right("07.matchings")
def highest_first_and_hungarian(scores):
    return one_by_one(scores), best_sum(scores.clamp(min=0), scores)


@right("07.matchings")
def by_the_library(scores):
    side = max(*scores.shape, 1)
    room = (0, side - scores.shape[1], 0, side - scores.shape[0])
    square = torch.nn.functional.pad(scores, room)[None]
    links = Links(square, square > 0)
    return tuple(f(links)[0, : scores.shape[0], : scores.shape[1]] for f in (greedy, optimal))


@wrong("07.matchings")
def greedy_twice(scores):
    return one_by_one(scores), one_by_one(scores)


@wrong("07.matchings")
def best_twice(scores):
    best = best_sum(scores.clamp(min=0), scores)
    return best, best


@wrong("07.matchings")
def best_with_negative_pairs(scores):
    return one_by_one(scores), best_sum(scores, scores, keep=False)


@wrong("07.matchings")
def negative_ones_dropped_afterwards(scores):
    return one_by_one(scores), best_sum(scores, scores)


@wrong("07.matchings")
def greedy_takes_what_is_left(scores):
    return one_by_one(scores, least=-10.0), best_sum(scores.clamp(min=0), scores)


@wrong("07.matchings")
def every_start_takes_its_best_end(scores):
    chosen = torch.zeros(scores.shape, dtype=torch.bool)
    if scores.numel():
        chosen[torch.arange(len(scores)), scores.argmax(1)] = True
    return chosen & (scores > 0), best_sum(scores.clamp(min=0), scores)


@wrong("07.matchings")
def row_after_row(scores):
    chosen = torch.zeros(scores.shape, dtype=torch.bool)
    for m in range(len(scores)):
        free = torch.where(chosen.any(0), -torch.inf, scores[m])
        if free.max() > 0:
            chosen[m, free.argmax()] = True
    return chosen, best_sum(scores.clamp(min=0), scores)


@wrong("07.matchings")
def smallest_sum(scores):
    chosen = torch.zeros(scores.shape, dtype=torch.bool)
    chosen[linear_sum_assignment(scores.clamp(min=0))] = True
    return one_by_one(scores), chosen & (scores > 0)


# --- 07.flip ----------------------------------------------------------------------------------------------------------


def mirrored_joints(joints, fields, swaps):
    turned = joints[:, list(swaps)].clone()
    turned[..., 0] = fields.shape[-1] - turned[..., 0]
    return turned


def mirrored(fields, limbs, swaps, x=-1.0, y=1.0, reverse=True, permute=True, flip=True):
    by_limb = fields.unflatten(0, (len(limbs), 2))
    if flip:
        by_limb = by_limb.flip(-1)
    new = by_limb.clone()
    for c, (a, b) in enumerate(limbs):
        pair = (swaps[a], swaps[b])
        same = pair in list(limbs)
        source = list(limbs).index(pair if same else pair[::-1]) if permute else c
        sign = -1.0 if not same and reverse else 1.0
        new[c] = sign * by_limb[source] * torch.tensor([x, y])[:, None, None]
    return new.flatten(0, 1)


@right("07.flip")
def limb_by_limb(joints, fields, limbs, swaps):
    return mirrored_joints(joints, fields, swaps), mirrored(fields, limbs, swaps)


@right("07.flip")
def by_the_librarys_flip(joints, fields, limbs, swaps):
    width = fields.shape[-1]
    turned = torch.stack([width - joints[..., 0], joints[..., 1]], -1)[:, list(swaps)]
    return turned, limb_fields.flip(fields, limbs, swaps)


@wrong("07.flip")
def sides_not_exchanged(joints, fields, limbs, swaps):
    return mirrored_joints(joints, fields, swaps), mirrored(fields, limbs, swaps, permute=False)


@wrong("07.flip")
def vectors_not_turned(joints, fields, limbs, swaps):
    return mirrored_joints(joints, fields, swaps), mirrored(fields, limbs, swaps, x=1.0)


@wrong("07.flip")
def vectors_turned_in_y_too(joints, fields, limbs, swaps):
    return mirrored_joints(joints, fields, swaps), mirrored(fields, limbs, swaps, y=-1.0)


@wrong("07.flip")
def hips_not_turned_round(joints, fields, limbs, swaps):
    return mirrored_joints(joints, fields, swaps), mirrored(fields, limbs, swaps, reverse=False)


@wrong("07.flip")
def cells_stay_where_they_are(joints, fields, limbs, swaps):
    return mirrored_joints(joints, fields, swaps), mirrored(fields, limbs, swaps, flip=False)


@wrong("07.flip")
def joints_by_whole_cells(joints, fields, limbs, swaps):
    turned = joints[:, list(swaps)].clone()
    turned[..., 0] = fields.shape[-1] - 1 - turned[..., 0]
    return turned, mirrored(fields, limbs, swaps)


@wrong("07.flip")
def joints_keep_their_names(joints, fields, limbs, swaps):
    turned = joints.clone()
    turned[..., 0] = fields.shape[-1] - turned[..., 0]
    return turned, mirrored(fields, limbs, swaps)
