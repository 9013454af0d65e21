"""Lesson 13, metrics: its exercises. What the lesson measures on is in `cases_13_metrics.py`, its drawings in
`figures_13_metrics.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from course_lib.lessons.checking import Case, Exercise, register

# --- PCK --------------------------------------------------------------------------------------------------------------


def _people(random: torch.Generator, count: int, noise: float) -> tuple[Tensor, Tensor, Tensor]:
    true = torch.rand(count, 14, 2, generator=random) * 100 + 20
    estimated = true + torch.randn(count, 14, 2, generator=random) * noise
    visible = torch.randint(0, 3, (count, 14), generator=random)
    visible[:, [9, 2]] = 2
    return estimated, true, visible


def _pck(estimated: Tensor, true: Tensor, visible: Tensor, alpha: float) -> float:
    right = total = 0
    for at, there, seen in zip(estimated.tolist(), true.tolist(), visible.tolist(), strict=True):
        torso = math.dist(there[9], there[2]) if seen[9] and seen[2] else 0.0
        if torso == 0:
            continue
        for k in range(14):
            total += seen[k] > 0
            right += seen[k] > 0 and math.dist(at[k], there[k]) <= alpha * torso
    return right / total


def _pck_cases(random: torch.Generator) -> Iterator[Case]:
    yield Case((*_people(random, 6, 10.0), 0.2), "six people, some joints hidden (1) or not labelled (0)")
    few, true, visible = _people(random, 2, 12.0)
    visible[0, 3:9] = 0
    visible[0, 10:] = 0
    pooled = "All labelled joints of everybody go into one pot: right answers / labelled joints."
    yield Case((few, true, visible, 0.2), "one person with five labelled joints, one with many", pooled)
    true = torch.zeros(1, 14, 2)
    true[0, 9], true[0, 2] = torch.tensor([60.0, 40.0]), torch.tensor([90.0, 80.0])
    estimated = true.clone()
    estimated[0, :5, 0] += torch.tensor([0.0, 9.9, 10.0, 10.1, 25.0])
    tie = "The torso is 50, so the tolerance is 10 px, and an error of exactly 10 px is right."
    visible = torch.tensor([[2, 1, 2, 2, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0]])
    yield Case((estimated, true, visible, 0.2), "errors 0, 9.9, 10, 10.1 and 25, and a torso of 50", tie)
    estimated, true, visible = _people(random, 3, 8.0)
    visible[1, 2] = 0
    true[1, 2] = 0.0
    lost = "Without a labelled torso nobody knows how near is near: leave the whole person out."
    yield Case((estimated, true, visible, 0.1), "a person whose right hip is not labelled", lost)
    estimated, true, visible = _people(random, 3, 3.0)
    estimated[0, 5] = math.nan
    visible[0, 5] = 2
    yield Case((estimated, true, visible, 0.2), "a joint the system did not find (NaN)", "A missing joint is a miss.")


register(
    Exercise(
        "13.pck",
        _pck,
        _pck_cases,
        (
            "The size is the distance from true[:, 9] to true[:, 2], of the truth and not of the estimate.",
            "visible 1 and 2 both count; 0 never does, neither above nor below the fraction bar.",
            "right = (error <= alpha * torso[:, None]) & scored; the answer is right.sum() / scored.sum().",
        ),
    )
)


def _oks(estimated: Tensor, true: Tensor, visible: Tensor, area: float, sigmas: Tensor) -> float:
    terms = [
        math.exp(-((x - u) ** 2 + (y - v) ** 2) / (8 * sigma**2 * area))  # 2 s^2 (2 sigma)^2 = 8 sigma^2 area
        for (x, y), (u, v), seen, sigma in zip(
            estimated.tolist(), true.tolist(), visible.tolist(), sigmas.tolist(), strict=True
        )
        if seen > 0
    ]
    return sum(terms) / len(terms) if terms else 0.0


def _oks_cases(random: torch.Generator) -> Iterator[Case]:
    coco = torch.tensor([0.026, 0.025, 0.025, 0.035, 0.035, *(s for s in _LIMB_SIGMAS for _ in range(2))])
    true = torch.rand(17, 2, generator=random) * 100
    near = true + torch.randn(17, 2, generator=random) * 4
    yield Case((near, true, torch.full((17,), 2), 9000.0, coco), "one person, everything visible")
    once = torch.zeros(17, 2)
    o1 = torch.zeros(17, dtype=torch.long)
    o1[0], o1[11], o1[9] = 2, 2, 1
    off = once.clone()
    off[0], off[11] = torch.tensor([3.0, 4.0]), torch.tensor([10.0, 0.0])
    off[14] = 500.0
    ignored = "Only three joints are labelled; divide by three, and never look at the others."
    yield Case((off, once, o1, 10_000.0, coco), "example O1 of the lesson: the answer is 0.842139", ignored)
    mixed = torch.tensor([0, 1, 2, 2, 0])
    five = torch.rand(5, 2, generator=random) * 60
    sigmas = torch.rand(5, generator=random) * 0.1 + 0.03
    moved = five + torch.randn(5, 2, generator=random) * 6
    yield Case((moved, five, mixed, 2500.0, sigmas), "five joints of one's own, some hidden, some not labelled")
    nobody = torch.zeros(17, dtype=torch.long)
    yield Case((near, true, nobody, 9000.0, coco), "nobody labelled anything", "A mean over nothing: answer 0.")


_LIMB_SIGMAS = (0.079, 0.072, 0.062, 0.107, 0.087, 0.089)

register(
    Exercise(
        "13.oks",
        _oks,
        _oks_cases,
        (
            "exp(-d**2 / (2 * area * k**2)): area is already s squared.",
            "k = 2 * sigma. With k = sigma a human annotator's own scatter would score exp(-1/2) instead of exp(-1/8).",
            "The mean is over the labelled joints only: sum of the terms with visible > 0, divided by their number.",
        ),
    )
)


def _ap(scores: Tensor, right: Tensor, people: int) -> float:
    order = sorted(range(len(scores)), key=lambda d: -float(scores[d]))
    points, hits = [], 0
    for rank, d in enumerate(order, start=1):
        hits += bool(right[d])
        points.append((hits / people, hits / rank))
    read = [max((p for r, p in points if r >= step / 100 - 1e-9), default=0.0) for step in range(101)]
    return sum(read) / 101


def _ap_cases(random: torch.Generator) -> Iterator[Case]:
    scores, right = torch.tensor([0.7, 0.9, 0.8]), torch.tensor([True, True, False])
    sort = "This is A1 of the lesson in another order: (51 x 1 + 50 x 2/3) / 101."
    yield Case((scores, right, 2), "right .9, wrong .8, right .7, two people", sort)
    beyond = "Recall ends at 1/2: at all larger recalls the precision is 0. (51 + 50 x 0) / 101."
    yield Case((torch.tensor([0.9]), torch.tensor([True]), 2), "one of two people found", beyond)
    dip = "Precision goes 1, 1/2, 2/3, 3/4: read at each recall the best precision at that recall or beyond."
    flags = torch.tensor([True, False, True, True])
    yield Case((torch.tensor([0.9, 0.8, 0.7, 0.6]), flags, 4), "precision that rises again", dip)
    for count, people in ((40, 29), (12, 7), (60, 13)):
        flags = torch.rand(count, generator=random) < 0.6
        flags[flags.cumsum(0) > people] = False
        yield Case((torch.rand(count, generator=random), flags, people), f"{count} estimates, {people} people")
    yield Case((torch.zeros(0), torch.zeros(0, dtype=torch.bool), 3), "no estimate at all", "Nothing found scores 0.")


register(
    Exercise(
        "13.ap",
        _ap,
        _ap_cases,
        (
            "Sort by falling score first. Recall divides by the number of people, not of estimates.",
            "Walk from the right: precision[i] = max(precision[i], precision[i + 1]).",
            "torch.searchsorted(recall, grid) is the first point whose recall reaches the grid's; beyond the end: 0.",
        ),
    )
)


def _pa_mpjpe(estimated: Tensor, true: Tensor) -> float:
    """Horn's closed form: the rotation is a unit quaternion, so that a mirror image cannot come out."""
    p, g = (points.double() - points.double().mean(0) for points in (estimated, true))
    m = p.T @ g
    skew = torch.stack([m[1, 2] - m[2, 1], m[2, 0] - m[0, 2], m[0, 1] - m[1, 0]])
    four = torch.zeros(4, 4, dtype=torch.float64)
    four[0, 0], four[0, 1:], four[1:, 0] = m.trace(), skew, skew
    four[1:, 1:] = m + m.T - m.trace() * torch.eye(3, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(four)
    w, axis = vectors[0, -1], vectors[1:, -1]
    turned = p + 2 * torch.linalg.cross(axis.expand_as(p), torch.linalg.cross(axis.expand_as(p), p) + w * p)
    return float((values[-1] / p.square().sum() * turned - g).norm(dim=-1).mean())


def _pa_cases(random: torch.Generator) -> Iterator[Case]:
    g = torch.tensor([[0.0, 0, 0], [100, 0, 0], [0, 200, 0], [0, 0, 300]])
    p = torch.tensor([[10.0, 20, 30], [10, 70, 30], [-90, 20, 30], [10, 20, 180]])
    yield Case((p, g), "worked example 2: turned, halved and moved", "Nothing but a similarity happened: 0.")
    mirrored = "A mirror image is another body, left and right exchanged: det(R) must be +1. Expected 55.0938."
    yield Case((g * torch.tensor([-1.0, 1, 1]), g), "worked example 4: mirrored", mirrored)
    surprise = "Least *squared* error, then the mean of distances: 12.5165, although MPJPE is 10."
    yield Case((g + torch.tensor([[0.0], [40], [0], [0]]) * torch.tensor([1.0, 0, 0]), g), "worked example 5", surprise)
    for joints in (14, 17):
        true = torch.randn(joints, 3, generator=random) * 300
        moved = true + torch.randn(joints, 3, generator=random) * 80
        turn = torch.linalg.qr(torch.randn(3, 3, generator=random))[0]
        turn[:, 0] *= torch.linalg.det(turn).sign()
        yield Case((0.4 * moved @ turn + 500, true), f"{joints} joints, turned, shrunk, moved, and 80 mm of noise")


register(
    Exercise(
        "13.pa_mpjpe",
        _pa_mpjpe,
        _pa_cases,
        (
            "Centre both, then U, S, Vt = svd(p.T @ g); R = U D Vt, with D the identity unless det(U Vt) is negative.",
            "Where D has a -1, the scale has it too: scale = (S * diag(D)).sum() / (p * p).sum().",
            "The answer is the mean of the distances |scale * p @ R - g|, not the root of the mean square.",
        ),
        tolerance=1e-3,
    )
)
