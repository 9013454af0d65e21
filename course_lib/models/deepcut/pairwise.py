"""How likely two candidates belong to one person: what the program's pairwise costs are made of.

    same class       p = 1 / (1 + exp(0.2 dist - 7.5))                     1/2 at 37.5 pixels, closed form
    another class    p = 1 / (1 + exp(-(w . features + bias)))             one logistic regression a pair of classes

The features are DeepCut's `geometry` (where the second candidate is, seen from the first) or DeeperCut's `regressed`
(how far that is from where a network, having seen the picture, expected it). Both are in pixels of pictures in which
people have the same size: nothing here knows a scale, and 37.5 pixels are little or much.

| | published code | here |
|---|---|---|
| same class | closed form, or a regression on dist and dist^2 | closed form |
| geometry | 13 terms and the 2 C class scores of both | the 13 terms |
| others | as many as of one person | so for `fit_body`; at their true frequency for a network's candidates |
| angle | of the offset | between the offset and the mean offset, which no turn makes jump |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from course_lib.errors import CourseError

SLOPE, MIDDLE = 0.2, 37.5  # of the same class: the published code's, in pixels
LOSS_WEIGHT = 1e-3  # of the logistic loss against 1/2 |w|^2: the published code's
STEPS, STILL = 50, 1e-8  # of Newton's method, and the gradient at which it stops


def same_class(distance: ArrayLike, slope: float = SLOPE, middle: float = MIDDLE) -> np.ndarray:
    """The probability that two candidates so many pixels apart are one joint of one person; shape as given."""
    return _sigmoid(slope * (middle - np.asarray(distance, dtype=float)))


def geometry(first: ArrayLike, second: ArrayLike, mean: ArrayLike) -> np.ndarray:
    """DeepCut's 13 features (..., 13) of places (..., 2), for the mean offset (2,) of the second class from the first.

    x, y, x y, x^2, y^2, (x y)^2, angle, angle^2, |angle|, exp -|angle|, dist, dist^2, exp -dist, for the offset
    without its mean.
    """
    offset, mean = np.asarray(second, dtype=float) - np.asarray(first, dtype=float), np.asarray(mean, dtype=float)
    x, y = np.moveaxis(offset - mean, -1, 0)
    angle, dist = _angle_between(offset, mean), np.hypot(x, y)
    terms = [x, y, x * y, x**2, y**2, (x * y) ** 2, angle, angle**2, abs(angle), np.exp(-abs(angle))]
    return np.stack([*terms, dist, dist**2, np.exp(-dist)], axis=-1)


def regressed(first: ArrayLike, second: ArrayLike, forward: ArrayLike, backward: ArrayLike) -> np.ndarray:
    """DeeperCut's 8 features (..., 8) of places (..., 2) and the offsets that a network predicts at them (..., 2):
    `forward` at the first candidate to the person's second joint, `backward` at the second to the first.

    For each of the two how far the prediction is from the truth, in pixels and as an angle, and exp(-value) of both.
    """
    actual = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    forward, backward = np.asarray(forward, dtype=float), np.asarray(backward, dtype=float)
    terms = []
    for true, predicted in ((actual, forward), (-actual, backward)):
        terms += [np.linalg.norm(true - predicted, axis=-1), abs(_angle_between(true, predicted))]
    return np.stack([*terms, *(np.exp(-term) for term in terms)], axis=-1)


def _angle_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """From b to a, in (-pi, pi]; 0 where one of them has no length."""
    cross = b[..., 0] * a[..., 1] - b[..., 1] * a[..., 0]
    return np.arctan2(cross, (a * b).sum(-1))


# --- logistic regression ----------------------------------------------------------------------------------------------


class Logistic(NamedTuple):
    """p = sigmoid(w . scaled + bias), features scaled to [0, 1] over the examples it was fitted to."""

    low: np.ndarray  # (F,)
    high: np.ndarray  # (F,)
    weights: np.ndarray  # (F + 1,) the bias last

    def probability(self, features: ArrayLike) -> np.ndarray:
        """Of features (..., F)."""
        return _sigmoid(self._scaled(np.asarray(features, dtype=float)) @ self.weights)

    def _scaled(self, features: np.ndarray) -> np.ndarray:
        span = np.where(self.high > self.low, self.high - self.low, 1.0)
        # as far outside as inside is enough: a squared distance grows without end, what it was fitted to does not
        scaled = ((features - self.low) / span).clip(-1, 2)
        return np.concatenate([scaled, np.ones((*scaled.shape[:-1], 1))], axis=-1)

    @classmethod
    def fit(
        cls,
        features: ArrayLike,
        same: ArrayLike,
        loss_weight: float = LOSS_WEIGHT,
        balance: bool = True,
        seed: int = 0,
    ) -> Logistic:
        """minimise 1/2 |w|^2 + loss_weight * sum of log(1 + exp(-s w . f)), s = 1 for pairs (n, F) of one person, -1
        for the others. To `balance` them, as the published code does, of the others as many are drawn as there are of
        the first kind: then 1/2 means "as likely as not, were they as frequent". Else it is a true probability."""
        features, same = np.asarray(features, dtype=float), np.asarray(same, dtype=bool)
        if features.ndim != 2 or same.shape != features.shape[:1] or not np.isfinite(features).all():
            raise CourseError(
                f"a regression needs finite features (n, F) and n truths; got {features.shape} and {same.shape}"
            )
        if same.all() or not same.any():
            raise CourseError(
                f"a regression needs pairs of one person and pairs of two; of {len(same)} all are of one kind"
            )
        if not loss_weight > 0:
            raise CourseError(f"the weight of the loss must be positive; got {loss_weight}")
        ours, others = np.flatnonzero(same), np.flatnonzero(~same)
        if balance and len(others) > len(ours):
            others = np.random.default_rng(seed).choice(others, len(ours), replace=False)
        chosen = np.concatenate([ours, others])
        model = cls(features[chosen].min(0), features[chosen].max(0), np.zeros(features.shape[1] + 1))
        f, sign = model._scaled(features[chosen]), np.where(same[chosen], 1.0, -1.0)
        return model._replace(weights=_newton(f * sign[:, None], loss_weight))


def _newton(signed: np.ndarray, loss_weight: float) -> np.ndarray:
    """The w (F,) that minimises 1/2 |w|^2 + loss_weight * sum log(1 + exp(-signed w)), by Newton's method."""

    def cost(w: np.ndarray) -> float:
        return 0.5 * w @ w + loss_weight * np.logaddexp(0, -signed @ w).sum()

    w = np.zeros(signed.shape[1])
    for _ in range(STEPS):
        wrong = _sigmoid(-signed @ w)
        gradient = w - loss_weight * signed.T @ wrong
        if abs(gradient).max() < STILL:
            break
        curvature = np.eye(len(w)) + loss_weight * (signed.T * (wrong * (1 - wrong))) @ signed
        step, length = np.linalg.solve(curvature, gradient), 1.0
        while cost(w - length * step) > cost(w) and length > 1e-6:
            length /= 2
        w = w - length * step
    return w


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * values))  # never overflows


# --- all pairs of classes ---------------------------------------------------------------------------------------------


class Body(NamedTuple):
    """The geometry of C classes: a mean offset and a regression for every two of them."""

    offsets: np.ndarray  # (C, C, 2) from the first class to the second
    models: dict[tuple[int, int], Logistic]  # of c < c'

    def probabilities(self, places: ArrayLike) -> np.ndarray:
        """p_decc' (D, D, C, C) of candidates at places (D, 2)."""
        places = checked_places(places)
        first, second = places[:, None], places[None]
        return table(
            len(self.offsets),
            places,
            lambda c, k: self.models[c, k].probability(geometry(first, second, self.offsets[c, k])),
        )


def table(
    classes: int,
    places: ArrayLike,
    across: Callable[[int, int], np.ndarray],
    near: Callable[[np.ndarray], np.ndarray] = same_class,
) -> np.ndarray:
    """p_decc' (D, D, C, C): near(distances (D, D)) within a class, and across(c, c') (D, D) for every c < c'."""
    places = checked_places(places)
    size = len(places)
    p = np.empty((size, size, classes, classes))
    same = near(np.linalg.norm(places[:, None] - places, axis=-1))
    for c in range(classes):
        p[:, :, c, c] = same
        for k in range(c + 1, classes):
            p[:, :, c, k] = between = across(c, k)
            p[:, :, k, c] = between.T
    return p


def checked_places(places: ArrayLike) -> np.ndarray:
    """Places (D, 2) that are numbers."""
    places = np.asarray(places, dtype=float)
    if places.ndim != 2 or places.shape[1] != 2 or not np.isfinite(places).all():
        raise CourseError(f"candidates are at finite places (D, 2); got {places.shape}, or some that are not finite")
    return places


def fit_body(
    pictures: Iterable[tuple[ArrayLike, ArrayLike]],
    *,
    noise: float = 0.0,
    loss_weight: float = LOSS_WEIGHT,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> Body:
    """Learns a body from pictures of several people: joints (N, C, 2) and which of them are labelled (N, C).

    Two joints of one person are an example of "same", two of different people in one picture one of "other". `noise` is
    the standard deviation, in pixels, of what is added to the joints, because a detector does not hit them exactly.
    """
    random = np.random.default_rng(seed)
    people = [(np.asarray(joints, dtype=float), np.asarray(seen) > 0) for joints, seen in pictures]
    if not people or len({joints.shape[1:] for joints, _ in people}) > 1:
        raise CourseError("a body is learned from pictures that all have the same joints (N, C, 2); these have not")
    people = [(joints + noise * random.standard_normal(joints.shape), seen) for joints, seen in people]
    classes = people[0][0].shape[1]
    offsets, models = np.zeros((classes, classes, 2)), {}
    for c in range(classes):
        for k in range(c + 1, classes):
            first, second, same = (np.concatenate(part) for part in zip(*_pairs(people, c, k), strict=True))
            if not same.any() or same.all():
                which = f"{c} and {k}" if names is None else f"'{names[c]}' and '{names[k]}'"
                raise CourseError(
                    f"joints {which} are never seen together on one person, or never on two people of one picture; "
                    "a regression needs both"
                )
            mean = (second - first)[same].mean(0)
            offsets[c, k], offsets[k, c] = mean, -mean
            models[c, k] = Logistic.fit(geometry(first, second, mean), same, loss_weight, seed=seed)
    return Body(offsets, models)


def _pairs(
    people: list[tuple[np.ndarray, np.ndarray]], c: int, k: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Places of joint c (n, 2), of joint k (n, 2), and whether they are one person's (n,), picture by picture."""
    found = []
    for joints, seen in people:
        i, j = np.nonzero(seen[:, None, c] & seen[None, :, k])
        found.append((joints[i, c], joints[j, k], i == j))
    return found
