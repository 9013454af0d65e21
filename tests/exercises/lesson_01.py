"""Answers to the exercises of lesson 01."""

import itertools
import math

import numpy as np
import torch

from exercises import right, wrong

# --- 01.two_parts -----------------------------------------------------------------------------------------------------


def table(parent, child, rest, stiffness):
    i, j = torch.arange(len(parent))[:, None], torch.arange(len(child))
    return parent[:, None] + child + stiffness * (j - i - rest) ** 2


def lowest(totals):
    i, j = divmod(int(totals.argmin()), totals.shape[1])
    return i, j, float(totals[i, j])


@right("01.two_parts")
def by_a_table(parent, child, rest, stiffness):
    return lowest(table(parent, child, rest, stiffness))


@right("01.two_parts")
def by_a_message(parent, child, rest, stiffness):
    told, where = (table(parent, child, rest, stiffness) - parent[:, None]).min(1)
    i = int((parent + told).argmin())
    return i, int(where[i]), float(parent[i] + told[i])


@wrong("01.two_parts")
def every_part_alone(parent, child, rest, stiffness):
    i, j = int(parent.argmin()), int(child.argmin())
    return i, j, float(table(parent, child, rest, stiffness)[i, j])


@wrong("01.two_parts")
def the_parent_first(parent, child, rest, stiffness):
    i = int(parent.argmin())
    row = table(parent, child, rest, stiffness)[i]
    return i, int(row.argmin()), float(row.min())


@wrong("01.two_parts")
def the_child_first(parent, child, rest, stiffness):
    j = int(child.argmin())
    column = table(parent, child, rest, stiffness)[:, j]
    return int(column.argmin()), j, float(column.min())


@wrong("01.two_parts")
def rest_on_the_wrong_side(parent, child, rest, stiffness):
    return lowest(table(parent, child, -rest, stiffness))


@wrong("01.two_parts")
def no_rest(parent, child, rest, stiffness):
    return lowest(table(parent, child, 0, stiffness))


@wrong("01.two_parts")
def distance_not_squared(parent, child, rest, stiffness):
    i, j = torch.arange(len(parent))[:, None], torch.arange(len(child))
    return lowest(parent[:, None] + child + stiffness * (j - i - rest).abs())


@wrong("01.two_parts")
def half_the_stiffness(parent, child, rest, stiffness):
    return lowest(table(parent, child, rest, stiffness / 2))


@wrong("01.two_parts")
def child_and_parent_swapped(parent, child, rest, stiffness):
    i, j, cost = lowest(table(parent, child, rest, stiffness))
    return j, i, cost


@wrong("01.two_parts")
def cost_without_the_spring(parent, child, rest, stiffness):
    i, j, _ = lowest(table(parent, child, rest, stiffness))
    return i, j, float(parent[i] + child[j])


@wrong("01.two_parts")
def only_parents_whose_child_fits_on_the_line(parent, child, rest, stiffness):
    totals = table(parent, child, rest, stiffness)
    there = torch.arange(len(parent)) + rest
    totals[(there < 0) | (there >= len(child))] = math.inf
    return lowest(totals)


@wrong("01.two_parts")
def the_highest_total(parent, child, rest, stiffness):
    i, j, cost = lowest(-table(parent, child, rest, stiffness))
    return i, j, -cost


@wrong("01.two_parts")
def rows_as_long_as_the_parents_line(parent, child, rest, stiffness):
    totals = table(parent, child, rest, stiffness)
    i, j = divmod(int(totals.argmin()), len(parent))
    return i, j, float(totals.min())


# --- 01.envelope ------------------------------------------------------------------------------------------------------


def crossing(costs, weight, p, q):
    return (costs[q] + weight * q * q - costs[p] - weight * p * p) / (2 * weight * (q - p))


def scan(costs, weight, meet=crossing, again=True, afresh=True, first=-math.inf):
    kept, starts = [0], [first]
    for q in range(1, len(costs)):
        s = meet(costs, weight, kept[-1], q)
        while len(kept) > 1 and s <= starts[-1]:
            kept.pop()
            starts.pop()
            if afresh:
                s = meet(costs, weight, kept[-1], q)
            if not again:
                break
        kept.append(q)
        starts.append(s)
    return kept, starts


def read(costs, weight, kept, starts, late=0):
    values, k = [], 0
    for x in range(len(costs)):
        while k + 1 < len(kept) and starts[k + 1] < x - late:
            k += 1
        values.append(weight * (x - kept[k]) ** 2 + costs[kept[k]])
    return values


@right("01.envelope")
def with_two_lists(costs, weight):
    kept, starts = scan(costs, weight)
    return kept, starts, read(costs, weight, kept, starts)


@right("01.envelope")
def as_the_hull_of_lifted_points(costs, weight):
    """w (x - p)^2 + f(p) = w x^2 + [lifted(p) - 2 w p x]: lines, whose envelope is the points' lower convex hull."""
    lifted = np.array(costs) + weight * np.arange(len(costs)) ** 2
    hull = []
    for q in range(len(costs)):
        while len(hull) > 1 and (lifted[hull[-1]] - lifted[hull[-2]]) * (q - hull[-1]) >= (
            lifted[q] - lifted[hull[-1]]
        ) * (hull[-1] - hull[-2]):
            hull.pop()
        hull.append(q)
    hull = np.array(hull)
    starts = np.concatenate([[-np.inf], np.diff(lifted[hull]) / (2 * weight * np.diff(hull))])
    owner = hull[np.searchsorted(starts, np.arange(len(costs)), side="left").clip(min=1) - 1]
    return hull, starts, weight * (np.arange(len(costs)) - owner) ** 2 + np.array(costs)[owner]


@wrong("01.envelope")
def sends_one_away_at_most(costs, weight):
    kept, starts = scan(costs, weight, again=False)
    return kept, starts, read(costs, weight, kept, starts)


@wrong("01.envelope")
def sends_nobody_away(costs, weight):
    kept = list(range(len(costs)))
    starts = [-math.inf, *(crossing(costs, weight, q - 1, q) for q in kept[1:])]
    return kept, starts, read(costs, weight, kept, starts)


@wrong("01.envelope")
def crossing_not_computed_again(costs, weight):
    kept, starts = scan(costs, weight, afresh=False)
    return kept, starts, read(costs, weight, kept, starts)


@wrong("01.envelope")
def crossing_without_the_squares(costs, weight):
    kept, starts = scan(costs, weight, lambda f, w, p, q: (f[q] - f[p]) / (2 * w * (q - p)))
    return kept, starts, read(costs, weight, kept, starts)


@wrong("01.envelope")
def crossing_without_the_weight(costs, weight):
    kept, starts = scan(costs, weight, lambda f, w, p, q: crossing(f, 1.0, p, q))
    return kept, starts, read(costs, weight, kept, starts)


@wrong("01.envelope")
def crossing_without_the_two(costs, weight):
    kept, starts = scan(costs, weight, lambda f, w, p, q: 2 * crossing(f, w, p, q))
    return kept, starts, read(costs, weight, kept, starts)


@wrong("01.envelope")
def an_upper_envelope(costs, weight):
    kept, starts = scan([-cost for cost in costs], weight)
    return kept, starts, read(costs, weight, kept, starts)


@wrong("01.envelope")
def starts_at_zero(costs, weight):
    kept, starts = scan(costs, weight, first=0.0)
    return kept, starts, read(costs, weight, kept, starts)


@wrong("01.envelope")
def only_those_that_win_at_a_whole_number(costs, weight):
    x = np.arange(len(costs))
    won = (weight * (x[:, None] - x) ** 2 + np.array(costs)).argmin(1)
    kept = sorted(set(won.tolist()))
    starts = [-math.inf, *(crossing(costs, weight, p, q) for p, q in itertools.pairwise(kept))]
    return kept, starts, read(costs, weight, kept, starts)


@wrong("01.envelope")
def reads_one_place_too_late(costs, weight):
    kept, starts = scan(costs, weight)
    return kept, starts, read(costs, weight, kept, starts, late=1)


@wrong("01.envelope")
def values_without_the_costs(costs, weight):
    kept, starts = scan(costs, weight)
    return kept, starts, read([0.0] * len(costs), weight, kept, starts)


@wrong("01.envelope")
def values_without_the_weight(costs, weight):
    kept, starts = scan(costs, weight)
    return kept, starts, read(costs, 1.0, kept, starts)


# --- 01.joint ---------------------------------------------------------------------------------------------------------


def turned(points, angles):
    cos, sin = torch.cos(angles), torch.sin(angles)
    x, y = points[..., 0], points[..., 1]
    return torch.stack([cos * x - sin * y, sin * x + cos * y], -1)


def fitted(parent, child, joint, **ways):
    back, scaled = ways.get("back", -1), ways.get("scaled", True)

    def inside(part):
        seen = turned(joint - part[:, :2], back * part[:, 2])
        return (seen / part[:, 3:] if scaled else seen).mean(0)

    def outside(point, part):
        return part[:, :2] + turned(point.expand(len(part), 2), part[:, 2]) * (part[:, 3:] if scaled else 1)

    at_parent, at_child = inside(parent), inside(child)
    missed = outside(at_parent, parent) - outside(at_child, child)
    if ways.get("own_frame"):
        missed = turned(missed, -parent[:, 2]) / parent[:, 3:]
    if ways.get("to_the_truth"):
        missed = outside(at_parent, parent) - joint
    if ways.get("centred"):
        missed = missed - missed.mean(0)
    square = missed.square().sum(0) / (len(joint) - ways.get("lost", 0))
    if ways.get("round"):
        square = square.mean().expand(2)
    spread = square if ways.get("squared") else square.sqrt()
    turn = (child[:, 2] - parent[:, 2]) * ways.get("sign", 1)
    cos, sin = turn.cos().mean(), turn.sin().mean()
    angle, r = torch.atan2(sin, cos), torch.hypot(cos, sin)
    angle = ways.get("angle", lambda turn: angle)(turn)
    kappa = ways.get("kappa", lambda r, turn: r * (2 - r**2) / (1 - r**2))(r, turn)
    return at_parent, at_child, spread, angle, kappa


@right("01.joint")
def with_tensors(parent, child, joint):
    return fitted(parent, child, joint)


@right("01.joint")
def with_complex_numbers(parent, child, joint):
    def read_part(part):
        part = part.numpy()
        return part[:, 0] + 1j * part[:, 1], part[:, 3] * np.exp(1j * part[:, 2])

    (one, how), (other, which) = read_part(parent), read_part(child)
    where = joint.numpy() @ np.array([1, 1j])
    at_parent, at_child = ((where - one) / how).mean(), ((where - other) / which).mean()
    missed = one + how * at_parent - other - which * at_child
    mean = (which / how / abs(which / how)).mean()
    r = abs(mean)
    pairs = [np.array([z.real, z.imag]) for z in (at_parent, at_child)]
    spread = np.sqrt([np.mean(missed.real**2), np.mean(missed.imag**2)])
    return *pairs, spread, np.angle(mean), r * (2 - r**2) / (1 - r**2)


@wrong("01.joint")
def turned_the_wrong_way(*given):
    return fitted(*given, back=1)


@wrong("01.joint")
def not_turned_at_all(*given):
    return fitted(*given, back=0)


@wrong("01.joint")
def scale_forgotten(*given):
    return fitted(*given, scaled=False)


@wrong("01.joint")
def parent_minus_child(*given):
    return fitted(*given, sign=-1)


@wrong("01.joint")
def plain_mean_of_angles(*given):
    return fitted(*given, angle=lambda turn: turn.mean())


@wrong("01.joint")
def mean_of_wrapped_angles(*given):
    return fitted(*given, angle=lambda turn: torch.remainder(turn + math.pi, 2 * math.pi).mean() - math.pi)


@wrong("01.joint")
def atan_without_a_quadrant(*given):
    return fitted(*given, angle=lambda turn: torch.atan(turn.sin().mean() / turn.cos().mean()))


@wrong("01.joint")
def variance_as_spread(*given):
    return fitted(*given, squared=True)


@wrong("01.joint")
def spread_about_its_mean(*given):
    return fitted(*given, centred=True)


@wrong("01.joint")
def spread_by_n_minus_1(*given):
    return fitted(*given, lost=1)


@wrong("01.joint")
def spread_in_the_parents_frame(*given):
    return fitted(*given, own_frame=True)


@wrong("01.joint")
def spread_of_the_parents_guess_alone(*given):
    return fitted(*given, to_the_truth=True)


@wrong("01.joint")
def one_spread_for_both_axes(*given):
    return fitted(*given, round=True)


@wrong("01.joint")
def kappa_as_one_over_the_variance(*given):
    return fitted(*given, kappa=lambda r, turn: 1 / turn.var(unbiased=False))


@wrong("01.joint")
def kappa_as_the_mean_length(*given):
    return fitted(*given, kappa=lambda r, turn: r)


@wrong("01.joint")
def frames_swapped(parent, child, joint):
    at_parent, at_child, *rest = fitted(parent, child, joint)
    return at_child, at_parent, *rest
