"""What a confidence is worth: whether it says how often one is right, and whether it ranks the right ones first.

    reliability      the joints in bins of their score: mean score beside the share that is right
    its .error       ECE, the expected calibration error: sum over bins of (n_b / n) |accuracy_b - mean score_b|
    risk_coverage    answer only the surest share of all joints: how many of those are wrong?
    fit_isotonic     the rising step curve that fits best, by pool adjacent violators
    fit_temperature  p = sigmoid(logit(score) / T), with the T that makes what happened likeliest

A map that was fitted is called with scores and answers with calibrated ones. It keeps the order of scores (isotonic
maps may make some equal), so it repairs what a score means and not how well it ranks. Fit on other people than those on
whom it is judged. Scores lie in [0, 1], none is NaN; everything is float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from course_lib.errors import CourseError
from course_lib.metrics.marks import exact

SHARPEST = 100.0  # the most that a temperature divides or multiplies logits by
_EDGE = 1e-6  # how near scores come to 0 and 1 before their logit is taken


@dataclass(frozen=True)
class Reliability:
    """Joints in B bins of equal width by their score; in an empty bin the sums are 0."""

    count: Tensor  # (B,) joints
    score: Tensor  # (B,) sum of their scores
    right: Tensor  # (B,) how many are right

    @property
    def confidence(self) -> Tensor:
        """The mean score of every bin (B,), NaN where it is empty."""
        return self.score / self.count

    @property
    def accuracy(self) -> Tensor:
        """The share of every bin that is right (B,), NaN where it is empty."""
        return self.right / self.count

    @property
    def error(self) -> float | None:
        """ECE; None where there is nothing."""
        total = float(self.count.sum())
        # (n_b / n) |right_b / n_b - score_b / n_b|: an empty bin adds nothing
        return float((self.right - self.score).abs().sum()) / total if total else None


def reliability(scores: Tensor | Sequence, right: Tensor | Sequence, bins: int = 10) -> Reliability:
    """The bins of scores (any shape) and right, of the same shape. Bin b holds b / B <= score < (b + 1) / B, the last
    one a score of 1 as well."""
    if bins < 1:
        raise CourseError(f"reliability needs at least one bin; got {bins}")
    scores, right = _checked(scores, right)
    where = (scores * bins).long().clamp(max=bins - 1)
    sums = (torch.bincount(where, weights, minlength=bins) for weights in (torch.ones_like(scores), scores, right))
    return Reliability(*(one.double() for one in sums))


def risk_coverage(scores: Tensor | Sequence, right: Tensor | Sequence) -> tuple[Tensor, Tensor]:
    """coverage and risk (C,): of the surest share of all, how many are wrong. A point for every different score, the
    highest first, for equal scores can only be answered together. The last risk is that of answering all."""
    scores, right = _checked(scores, right)
    values, where = scores.unique(return_inverse=True)  # rising
    count, wrong = (
        torch.bincount(where, weights, minlength=len(values)).double().flip(0).cumsum(0)
        for weights in (torch.ones_like(right), 1 - right)
    )
    return count / max(len(scores), 1), wrong / count


def area_under_risk(scores: Tensor | Sequence, right: Tensor | Sequence) -> float | None:
    """The mean risk over all coverages: 0 is perfect, and a score that says nothing has the share of wrong ones.

    Among equal scores the order is taken as drawn by lot: between two points of `risk_coverage` the number of wrong
    ones grows evenly. None where there is nothing.
    """
    coverage, risk = risk_coverage(scores, right)
    if not len(coverage):
        return None
    total = len(_checked(scores, right)[0])
    answered = torch.arange(1, total + 1, dtype=torch.float64)
    zero = coverage.new_zeros(1)
    wrong = np.interp(answered, torch.cat([zero, coverage * total]), torch.cat([zero, risk * coverage * total]))
    return float((torch.as_tensor(wrong) / answered).mean())


@dataclass(frozen=True)
class Isotonic:
    """A rising map: constant where scores were pooled, straight in between, constant beyond both ends."""

    low: Tensor  # (P,) lowest score of every pool
    high: Tensor  # (P,) highest score of every pool
    value: Tensor  # (P,) what they mean

    def __call__(self, scores: Tensor | Sequence) -> Tensor:
        """Calibrated scores, of the same shape."""
        scores = exact(scores)
        knots, values = torch.stack([self.low, self.high], 1).flatten(), self.value.repeat_interleave(2)
        return torch.as_tensor(np.interp(scores.numpy(), knots.numpy(), values.numpy())).reshape(scores.shape)


@dataclass(frozen=True)
class Temperature:
    """sigmoid(logit(score) / value): above 1 it takes confidence away, below 1 it adds some."""

    value: float

    def __call__(self, scores: Tensor | Sequence) -> Tensor:
        """Calibrated scores, of the same shape."""
        return torch.sigmoid(_logit(exact(scores)) / self.value)


def fit_isotonic(scores: Tensor | Sequence, right: Tensor | Sequence) -> Isotonic:
    """The rising map with the smallest squared error, by pool adjacent violators (PAV).

    Equal scores are one pool from the start. Then, from the lowest score up: as long as a pool means no more than the
    one before it, the two become one.
    """
    scores, right = _checked(scores, right, some=True)
    values, where = scores.unique(return_inverse=True)
    sums = torch.bincount(where, right).tolist()
    counts = torch.bincount(where).tolist()
    pools: list[tuple[float, float, float, int]] = []  # lowest, highest, how many right, how many
    for value, one, count in zip(values.tolist(), sums, counts, strict=True):
        pool = (value, value, one, count)
        while pools and pools[-1][2] * pool[3] >= pool[2] * pools[-1][3]:  # means compared without a division
            before = pools.pop()
            pool = (before[0], pool[1], before[2] + pool[2], before[3] + pool[3])
        pools.append(pool)
    low, high, good, count = (torch.tensor(column, dtype=torch.float64) for column in zip(*pools, strict=True))
    return Isotonic(low, high, good / count)


def fit_temperature(scores: Tensor | Sequence, right: Tensor | Sequence) -> Temperature:
    """The temperature under which what happened is likeliest, between 1/100 and 100.

    Where all are right, or all wrong, no temperature is too extreme, and the limit is what comes out.
    """
    scores, right = _checked(scores, right, some=True)
    signed = torch.where(right > 0, _logit(scores), -_logit(scores))

    def loss(log_temperature: float) -> float:
        return float(torch.nn.functional.softplus(-signed * np.exp(-log_temperature)).mean())

    bound = float(np.log(SHARPEST))
    found = minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6})
    return Temperature(float(np.exp(found.x)))


def _logit(scores: Tensor) -> Tensor:
    return torch.logit(scores, eps=_EDGE)


def _checked(scores: Tensor | Sequence, right: Tensor | Sequence, some: bool = False) -> tuple[Tensor, Tensor]:
    """Scores and 0 or 1 (N,) each, float64."""
    scores, right = exact(scores), exact(right)
    if scores.shape != right.shape:
        raise CourseError(
            f"there must be one score for each answer; got shapes {tuple(scores.shape)} and {tuple(right.shape)}"
        )
    if not bool(((scores >= 0) & (scores <= 1)).all()):
        bad = scores[~((scores >= 0) & (scores <= 1))][0]
        raise CourseError(f"scores must lie in [0, 1] to be read as probabilities; got {bad:g}")
    if not bool(((right == 0) | (right == 1)).all()):
        raise CourseError("an answer is right (1) or wrong (0); got something else")
    if some and not scores.numel():
        raise CourseError("a calibration needs at least one score to be fitted")
    return scores.flatten(), right.flatten()
