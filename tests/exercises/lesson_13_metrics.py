"""Lesson 13: plausible wrong answers to its exercises, and right ones written another way."""

import math

import numpy as np
import torch

from exercises import right, wrong

# --- 13.pck -----------------------------------------------------------------------------------------------------------


def _pck(estimated, true, visible, alpha, *, size_of=None, pair=(9, 2), labelled=None, strict=False, pooled=True):
    """PCK with one convention changed at a time."""
    source = true if size_of is None else size_of
    size = (source[:, pair[0]] - source[:, pair[1]]).norm(dim=-1)
    known = (visible[:, [9, 2]] > 0).all(-1)
    labelled = (visible > 0) if labelled is None else labelled
    scored = labelled & known[:, None]
    error = (estimated - true).norm(dim=-1) / size[:, None]
    near = (error < alpha) if strict else (error <= alpha)
    near = near & scored
    if pooled:
        return float(near.sum() / scored.sum())
    return float((near.sum(1)[known] / scored.sum(1)[known]).mean())


@right("13.pck")
def pck_vectorised(estimated, true, visible, alpha):
    return _pck(estimated, true, visible, alpha)


@right("13.pck")
def pck_in_numpy(estimated, true, visible, alpha):
    estimated, true, visible = (np.asarray(one, dtype=np.float64) for one in (estimated, true, visible))
    people = (visible[:, 9] > 0) & (visible[:, 2] > 0)
    torso = np.hypot(*(true[people, 9] - true[people, 2]).T)
    error = np.hypot(*np.moveaxis(estimated[people] - true[people], -1, 0))
    return np.mean((error <= alpha * torso[:, None])[visible[people] > 0])


@wrong("13.pck")
def pck_of_the_estimated_torso(estimated, true, visible, alpha):
    return _pck(estimated, true, visible, alpha, size_of=estimated)


@wrong("13.pck")
def pck_with_the_other_diagonal(estimated, true, visible, alpha):
    return _pck(estimated, true, visible, alpha, pair=(8, 3))


@wrong("13.pck")
def pck_mean_of_peoples_means(estimated, true, visible, alpha):
    return _pck(estimated, true, visible, alpha, pooled=False)


@wrong("13.pck")
def pck_without_ties(estimated, true, visible, alpha):
    return _pck(estimated, true, visible, alpha, strict=True)


@wrong("13.pck")
def pck_of_visible_joints_only(estimated, true, visible, alpha):
    return _pck(estimated, true, visible, alpha, labelled=visible == 2)


@wrong("13.pck")
def pck_of_all_joints(estimated, true, visible, alpha):
    return _pck(estimated, true, visible, alpha, labelled=visible >= 0)


@wrong("13.pck")
def pck_with_a_torso_nobody_labelled(estimated, true, visible, alpha):
    torso = (true[:, 9] - true[:, 2]).norm(dim=-1)
    near = (estimated - true).norm(dim=-1) <= alpha * torso[:, None]
    return float(near[visible > 0].float().mean())


@wrong("13.pck")
def pck_that_skips_missing_joints(estimated, true, visible, alpha):
    return _pck(estimated, true, visible, alpha, labelled=(visible > 0) & estimated.isfinite().all(-1))


# --- 13.oks -----------------------------------------------------------------------------------------------------------


def _oks(estimated, true, visible, area, sigmas, *, factor=2.0, labelled=None, power=1.0, count=None):
    labelled = (visible > 0) if labelled is None else labelled
    d2 = (estimated - true).double().square().sum(-1)
    terms = torch.exp(-d2 / (2 * area**power * (factor * sigmas.double()) ** 2))[labelled]
    count = max(int(labelled.sum()), 1) if count is None else count
    return float(terms.sum()) / count


@right("13.oks")
def oks_vectorised(estimated, true, visible, area, sigmas):
    return _oks(estimated, true, visible, area, sigmas)


@right("13.oks")
def oks_one_joint_at_a_time(estimated, true, visible, area, sigmas):
    values = []
    for k in range(len(sigmas)):
        if visible[k] > 0:
            d = math.hypot(*(estimated[k] - true[k]).tolist()) / math.sqrt(area)
            values.append(math.exp(-0.5 * (d / (2 * float(sigmas[k]))) ** 2))
    return sum(values) / len(values) if values else 0.0


@wrong("13.oks")
def oks_with_k_equal_sigma(estimated, true, visible, area, sigmas):
    return _oks(estimated, true, visible, area, sigmas, factor=1.0)


@wrong("13.oks")
def oks_over_all_joints(estimated, true, visible, area, sigmas):
    return _oks(estimated, true, visible, area, sigmas, labelled=visible >= 0)


@wrong("13.oks")
def oks_divided_by_all_joints(estimated, true, visible, area, sigmas):
    return _oks(estimated, true, visible, area, sigmas, count=len(sigmas))


@wrong("13.oks")
def oks_of_visible_joints_only(estimated, true, visible, area, sigmas):
    return _oks(estimated, true, visible, area, sigmas, labelled=visible == 2)


@wrong("13.oks")
def oks_with_the_area_squared(estimated, true, visible, area, sigmas):
    return _oks(estimated, true, visible, area, sigmas, power=2.0)


@wrong("13.oks")
def oks_that_divides_by_nobody(estimated, true, visible, area, sigmas):
    terms = torch.exp(-(estimated - true).square().sum(-1) / (8 * area * sigmas**2))
    return terms[visible > 0].mean()


@wrong("13.oks")
def oks_of_the_mean_error(estimated, true, visible, area, sigmas):
    labelled = visible > 0
    e = (estimated - true).square().sum(-1)[labelled] / (8 * area * sigmas[labelled] ** 2)
    return torch.exp(-e.mean()) if labelled.any() else 0.0


# --- 13.ap ------------------------------------------------------------------------------------------------------------


def _ap(scores, flags, people, *, order=True, envelope=True, side="left", beyond=0.0, grid=101):
    scores, flags = np.asarray(scores, dtype=np.float64), np.asarray(flags, dtype=bool)
    flags = flags[np.argsort(-scores, kind="stable")] if order else flags
    hits = np.cumsum(flags)
    recall, precision = hits / people, hits / np.arange(1, len(flags) + 1)
    if envelope:
        precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, grid), side=side)
    last = beyond if beyond == 0 or not len(precision) else precision[-1]
    return float(np.mean([precision[i] if i < len(precision) else last for i in at]))


@right("13.ap")
def ap_in_numpy(scores, flags, people):
    return _ap(scores, flags, people)


@right("13.ap")
def ap_by_steps_of_recall(scores, flags, people):
    """Every hit owns the grid points between the recall before it and its own."""
    flags = flags[torch.argsort(scores, descending=True)].tolist()
    rates = [sum(flags[: i + 1]) / (i + 1) for i in range(len(flags))]
    total, before, hits = 0.0, -1, 0
    for i, hit in enumerate(flags):
        if hit:
            hits += 1
            last = 100 * hits // people
            total += (last - before) * max(rates[i:])
            before = last
    return total / 101


@wrong("13.ap")
def ap_without_sorting(scores, flags, people):
    return _ap(scores, flags, people, order=False)


@wrong("13.ap")
def ap_without_the_envelope(scores, flags, people):
    return _ap(scores, flags, people, envelope=False)


@wrong("13.ap")
def ap_read_one_point_late(scores, flags, people):
    return _ap(scores, flags, people, side="right")


@wrong("13.ap")
def ap_that_goes_on_beyond_the_last_recall(scores, flags, people):
    return _ap(scores, flags, people, beyond=1.0)


@wrong("13.ap")
def ap_at_eleven_recalls(scores, flags, people):
    return _ap(scores, flags, people, grid=11)


@wrong("13.ap")
def ap_with_recall_of_the_found(scores, flags, people):
    return _ap(scores, flags, max(int(flags.sum()), 1))


@wrong("13.ap")
def ap_as_an_area(scores, flags, people):
    order = torch.argsort(scores, descending=True)
    hits = flags[order].double().cumsum(0)
    precision = hits / torch.arange(1, len(hits) + 1)
    return float(precision[flags[order]].sum()) / people


# --- 13.pa_mpjpe ------------------------------------------------------------------------------------------------------


def _procrustes(estimated, true, *, proper=True, sign_in_scale=True, scaled=True, transposed=False, squares=False):
    p, g = estimated.double() - estimated.double().mean(0), true.double() - true.double().mean(0)
    u, s, vt = torch.linalg.svd(p.T @ g)
    d = torch.ones(3, dtype=torch.float64)
    if proper:
        d[-1] = torch.linalg.det(u @ vt).sign()
    turn = u @ torch.diag(d) @ vt
    scale = (s * (d if sign_in_scale else 1)).sum() / p.square().sum() if scaled else 1.0
    error = (scale * p @ (turn.T if transposed else turn) - g).norm(dim=-1)
    return float(error.square().mean().sqrt() if squares else error.mean())


@right("13.pa_mpjpe")
def pa_by_svd(estimated, true):
    return _procrustes(estimated, true)


@wrong("13.pa_mpjpe")
def pa_that_forgives_mirrors(estimated, true):
    return _procrustes(estimated, true, proper=False)


@wrong("13.pa_mpjpe")
def pa_with_a_mirrored_scale(estimated, true):
    return _procrustes(estimated, true, sign_in_scale=False)


@wrong("13.pa_mpjpe")
def pa_without_scale(estimated, true):
    return _procrustes(estimated, true, scaled=False)


@wrong("13.pa_mpjpe")
def pa_turned_the_wrong_way(estimated, true):
    return _procrustes(estimated, true, transposed=True)


@wrong("13.pa_mpjpe")
def pa_as_root_mean_square(estimated, true):
    return _procrustes(estimated, true, squares=True)


@wrong("13.pa_mpjpe")
def pa_centred_on_the_first_joint(estimated, true):
    p, g = estimated - estimated[:1], true - true[:1]
    u, s, vt = torch.linalg.svd(p.T @ g)
    return float((s.sum() / p.square().sum() * p @ (u @ vt) - g).norm(dim=-1).mean())
