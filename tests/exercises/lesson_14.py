"""Answers to the exercises of lesson 14."""

import math

import torch

from exercises import right, wrong

# --- 14.crossing ------------------------------------------------------------------------------------------------------


def least_squares(people, seconds):
    n, t = people - people.mean(), seconds - seconds.mean()
    slope = float((n * t).sum() / (n * n).sum())
    return float(seconds.mean()) - slope * float(people.mean()), slope


def met(a, b, c, d, parallel=1e-9):
    if abs(b - d) < parallel:
        return math.inf
    n = (c - a) / (b - d)
    return n if n >= 0 else math.inf


@right("14.crossing")
def by_numpy(people, top_down_seconds, bottom_up_seconds):
    import numpy as np

    (b, a), (d, c) = (np.polyfit(people.numpy(), t.numpy(), 1) for t in (top_down_seconds, bottom_up_seconds))
    return met(a, b, c, d)


@right("14.crossing")
def by_the_difference_of_the_times(people, top_down_seconds, bottom_up_seconds):
    table = torch.stack([torch.ones_like(people), people], 1)
    apart = torch.linalg.lstsq(table, (top_down_seconds - bottom_up_seconds)[:, None]).solution.flatten()
    a, b = apart.tolist()
    return math.inf if abs(b) < 1e-9 or -a / b < 0 else -a / b


@wrong("14.crossing")
def from_the_first_and_last_picture(people, top_down_seconds, bottom_up_seconds):
    def line(seconds):
        slope = float((seconds[-1] - seconds[0]) / (people[-1] - people[0]))
        return float(seconds[0] - slope * people[0]), slope

    return met(*line(top_down_seconds), *line(bottom_up_seconds))


@wrong("14.crossing")
def bottom_up_is_a_constant(people, top_down_seconds, bottom_up_seconds):
    return met(*least_squares(people, top_down_seconds), float(bottom_up_seconds.mean()), 0.0)


@wrong("14.crossing")
def lines_through_nothing(people, top_down_seconds, bottom_up_seconds):
    slopes = [float((people * t).sum() / (people * people).sum()) for t in (top_down_seconds, bottom_up_seconds)]
    return met(0.0, slopes[0], float(bottom_up_seconds.mean()), 0.0)


@wrong("14.crossing")
def also_fewer_than_nobody(people, top_down_seconds, bottom_up_seconds):
    (a, b), (c, d) = (least_squares(people, t) for t in (top_down_seconds, bottom_up_seconds))
    return math.inf if abs(b - d) < 1e-9 else (c - a) / (b - d)


@wrong("14.crossing")
def nobody_at_least(people, top_down_seconds, bottom_up_seconds):
    n = also_fewer_than_nobody(people, top_down_seconds, bottom_up_seconds)
    return max(n, 0.0)


@wrong("14.crossing")
def exactly_parallel_only(people, top_down_seconds, bottom_up_seconds):
    (a, b), (c, d) = (least_squares(people, t) for t in (top_down_seconds, bottom_up_seconds))
    return met(a, b, c, d, parallel=0.0)


@wrong("14.crossing")
def not_beyond_what_was_seen(people, top_down_seconds, bottom_up_seconds):
    (a, b), (c, d) = (least_squares(people, t) for t in (top_down_seconds, bottom_up_seconds))
    n = met(a, b, c, d)
    return n if n <= float(people.max()) else math.inf


@wrong("14.crossing")
def only_where_top_down_rises_faster(people, top_down_seconds, bottom_up_seconds):
    (a, b), (c, d) = (least_squares(people, t) for t in (top_down_seconds, bottom_up_seconds))
    return met(a, b, c, d) if b > d else math.inf


@wrong("14.crossing")
def slopes_added(people, top_down_seconds, bottom_up_seconds):
    (a, b), (c, d) = (least_squares(people, t) for t in (top_down_seconds, bottom_up_seconds))
    return met(a, b, c, -d)


@wrong("14.crossing")
def averaged_by_number_first(people, top_down_seconds, bottom_up_seconds):
    numbers = people.unique()
    means = (torch.stack([t[people == n].mean() for n in numbers]) for t in (top_down_seconds, bottom_up_seconds))
    return met(*(value for t in means for value in least_squares(numbers, t)))


@wrong("14.crossing")
def the_next_whole_person(people, top_down_seconds, bottom_up_seconds):
    (a, b), (c, d) = (least_squares(people, t) for t in (top_down_seconds, bottom_up_seconds))
    n = met(a, b, c, d)
    return n if math.isinf(n) else float(math.ceil(n))


@wrong("14.crossing")
def people_as_a_function_of_time(people, top_down_seconds, bottom_up_seconds):
    def line(seconds):  # n = p + q t, turned around
        p, q = least_squares(seconds, people) if float((seconds - seconds.mean()).abs().max()) > 1e-9 else (0.0, 0.0)
        return (-p / q, 1 / q) if q else (float(seconds.mean()), 0.0)

    return met(*line(top_down_seconds), *line(bottom_up_seconds))


# --- 14.classify ------------------------------------------------------------------------------------------------------


def similarities(estimated, true, others, area, sigmas, swaps, factor=2.0):
    """ks (2 + 2P, K): own, mirror, others, others' mirrors; -1 where nothing can be meant."""
    swaps = torch.tensor(swaps)
    mirror = torch.where((swaps == torch.arange(len(swaps)))[:, None], torch.nan, true[swaps])
    meant = torch.cat([true[None], mirror[None], others, others[:, swaps]])
    ks = torch.exp(-(estimated - meant).square().sum(-1) / (2 * area * (factor * sigmas) ** 2)).nan_to_num(0.0)
    return torch.where(meant.isnan().any(-1), -1.0, ks)


def named(ks, true, good=0.85, near=0.5):
    names = []
    for k in range(len(true)):
        best = int(ks[:, k].argmax())
        value = float(ks[best, k])
        kind = "inversion" if best == 1 else "swap" if best > 1 else "good" if value >= good else "jitter"
        names.append(None if bool(true[k].isnan().any()) else kind if value >= near else "miss")
    return names


@right("14.classify")
def by_one_table(estimated, true, others, area, sigmas, swaps, good=0.85, near=0.5):
    return named(similarities(estimated, true, others, area, sigmas, swaps), true, good, near)


@right("14.classify")
def by_nearest_joint(estimated, true, others, area, sigmas, swaps, good=0.85, near=0.5):
    answer = []
    for k in range(len(true)):
        if true[k].isnan().any():
            answer.append(None)
            continue
        meant = [("own", true[k])] + ([("inversion", true[swaps[k]])] if swaps[k] != k else [])
        meant += [("swap", other[j]) for other in others for j in {k, swaps[k]}]
        gaps = [(float((estimated[k] - place).norm()), name) for name, place in meant]
        gaps = [(gap, name) for gap, name in gaps if gap == gap]
        gap, name = min(gaps, key=lambda pair: pair[0], default=(float("inf"), "own"))  # the first of equals
        reach = float(2 * sigmas[k]) * area**0.5
        if gap > reach * (-2 * math.log(near)) ** 0.5:
            answer.append("miss")
        elif name == "own":
            answer.append("good" if gap <= reach * (-2 * math.log(good)) ** 0.5 else "jitter")
        else:
            answer.append(name)
    return answer


@wrong("14.classify")
def single_sigma(estimated, true, others, area, sigmas, swaps, good=0.85, near=0.5):
    return named(similarities(estimated, true, others, area, sigmas, swaps, factor=1.0), true, good, near)


@wrong("14.classify")
def limits_excluded(estimated, true, others, area, sigmas, swaps, good=0.85, near=0.5):
    return named(similarities(estimated, true, others, area, sigmas, swaps), true, good + 1e-6, near)


@wrong("14.classify")
def near_excluded(estimated, true, others, area, sigmas, swaps, good=0.85, near=0.5):
    return named(similarities(estimated, true, others, area, sigmas, swaps), true, good, near + 1e-6)


@wrong("14.classify")
def own_joint_settles_it(estimated, true, others, area, sigmas, swaps, good=0.85, near=0.5):
    ks = similarities(estimated, true, others, area, sigmas, swaps)
    ks[1:, ks[0] >= near] = -1
    return named(ks, true, good, near)


@wrong("14.classify")
def others_have_no_mirror(estimated, true, others, area, sigmas, swaps, good=0.85, near=0.5):
    ks = similarities(estimated, true, others, area, sigmas, swaps)
    return named(ks[: 2 + len(others)], true, good, near)


@wrong("14.classify")
def every_left_and_right_mistake_is_an_inversion(estimated, true, others, area, sigmas, swaps, good=0.85, near=0.5):
    names = by_one_table(estimated, true, others, area, sigmas, swaps, good, near)
    ks = similarities(estimated, true, others, area, sigmas, swaps)[2 + len(others) :]
    return ["inversion" if name == "swap" and float(ks[:, k].max()) >= near else name for k, name in enumerate(names)]


@wrong("14.classify")
def the_middle_mirrors_itself(estimated, true, others, area, sigmas, swaps, good=0.85, near=0.5):
    names = by_one_table(estimated, true, others, area, sigmas, swaps, good, near)
    return ["inversion" if swaps[k] == k and name in ("good", "jitter") else name for k, name in enumerate(names)]


@wrong("14.classify")
def others_win_ties(estimated, true, others, area, sigmas, swaps, good=0.85, near=0.5):
    ks = similarities(estimated, true, others, area, sigmas, swaps)
    return named(torch.cat([ks[:1] - 1e-6, ks[1:]]), true, good - 1e-5, near - 1e-5)


@wrong("14.classify")
def unlabelled_are_misses(estimated, true, others, area, sigmas, swaps, good=0.85, near=0.5):
    return [name or "miss" for name in by_one_table(estimated, true, others, area, sigmas, swaps, good, near)]


@wrong("14.classify")
def lost_joints_are_left_out(estimated, true, others, area, sigmas, swaps, good=0.85, near=0.5):
    names = by_one_table(estimated, true, others, area, sigmas, swaps, good, near)
    return [None if bool(estimated[k].isnan().any()) else name for k, name in enumerate(names)]


@wrong("14.classify")
def area_is_a_length(estimated, true, others, area, sigmas, swaps, good=0.85, near=0.5):
    return by_one_table(estimated, true, others, area**2 / 10600, sigmas, swaps, good, near)


@wrong("14.classify")
def only_the_own_joint(estimated, true, others, area, sigmas, swaps, good=0.85, near=0.5):
    return by_one_table(estimated, true, others[:0], area, sigmas, list(range(len(swaps))), good, near)


# --- 14.mpc -----------------------------------------------------------------------------------------------------------


def all_scores(score, images, joints, corruptions, severities=range(1, 6)):
    """By corruption: the scores of the severities that it has."""
    answers = {name: [one(images, joints, severity) for severity in severities] for name, one in corruptions.items()}
    return {name: [score(*one) for one in some if one is not None] for name, some in answers.items()}


def mean_or_nothing(values):
    values = list(values)
    return sum(values) / len(values) if values else None


def ratio(part, whole):
    return None if part is None or not whole else part / whole


@right("14.mpc")
def in_comprehensions(score, images, joints, corruptions):
    clean = score(images, joints)
    means = (mean_or_nothing(some) for some in all_scores(score, images, joints, corruptions).values())
    mpc = mean_or_nothing(one for one in means if one is not None)
    return clean, mpc, ratio(mpc, clean)


@right("14.mpc")
def by_a_table(score, images, joints, corruptions):
    table = torch.full((len(corruptions), 5), torch.nan, dtype=torch.float64)
    for row, corruption in enumerate(corruptions.values()):
        for severity in range(5):
            changed = corruption(images, joints, severity + 1)
            if changed is not None:
                table[row, severity] = score(*changed)
    rows = table.nanmean(1)
    mpc = float(rows.nanmean()) if bool(rows.isfinite().any()) else None
    clean = score(images, joints)
    return [clean, mpc, ratio(mpc, clean)]


@wrong("14.mpc")
def against_the_old_joints(score, images, joints, corruptions):
    def old(changed, _):
        return score(changed, joints)

    clean, mpc, _ = in_comprehensions(old, images, joints, corruptions)
    return clean, mpc, ratio(mpc, clean)


@wrong("14.mpc")
def one_mean_over_everything(score, images, joints, corruptions):
    clean = score(images, joints)
    some = all_scores(score, images, joints, corruptions).values()
    mpc = mean_or_nothing(one for row in some for one in row)
    return clean, mpc, ratio(mpc, clean)


@wrong("14.mpc")
def missing_is_zero(score, images, joints, corruptions):
    clean = score(images, joints)
    means = [sum(row) / 5 for row in all_scores(score, images, joints, corruptions).values()]
    mpc = mean_or_nothing(means)
    return clean, mpc, ratio(mpc, clean)


@wrong("14.mpc")
def zero_is_missing(score, images, joints, corruptions):
    clean = score(images, joints)
    means = (mean_or_nothing(filter(None, row)) for row in all_scores(score, images, joints, corruptions).values())
    mpc = mean_or_nothing(one for one in means if one is not None)
    return clean, mpc, ratio(mpc, clean)


@wrong("14.mpc")
def one_upon_the_other(score, images, joints, corruptions):
    clean, means = score(images, joints), []
    for corruption in corruptions.values():
        row = []
        for severity in range(1, 6):
            changed = corruption(images, joints, severity)
            if changed is not None:
                images, joints = changed
                row.append(score(images, joints))
        means += [sum(row) / len(row)] if row else []
    mpc = mean_or_nothing(means)
    return clean, mpc, ratio(mpc, clean)


@wrong("14.mpc")
def severities_from_zero(score, images, joints, corruptions):
    clean = score(images, joints)
    rows = all_scores(score, images, joints, corruptions, range(5)).values()
    mpc = mean_or_nothing(sum(row) / len(row) for row in rows if row)
    return clean, mpc, ratio(mpc, clean)


@wrong("14.mpc")
def what_is_lost(score, images, joints, corruptions):
    clean, mpc, kept = in_comprehensions(score, images, joints, corruptions)
    return clean, mpc, None if kept is None else 1 - kept


@wrong("14.mpc")
def divides_by_zero(score, images, joints, corruptions):
    clean, mpc, _ = in_comprehensions(score, images, joints, corruptions)
    return clean, mpc, None if mpc is None else mpc / clean


@wrong("14.mpc")
def zero_where_nothing_is_known(score, images, joints, corruptions):
    clean, mpc, kept = in_comprehensions(score, images, joints, corruptions)
    return clean, mpc or 0.0, kept or 0.0
