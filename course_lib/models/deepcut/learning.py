"""The pairwise probabilities of a network's candidates: which regressions there are, and how they are learned.

Candidates of pictures whose people are known are given to the people whose joints they hit. Two candidates of one
person are then an example of "same", two of different people of "other": one logistic regression for every two classes,
on DeepCut's features and another on DeeperCut's, and one for candidates of the same class, on their distance. They live
in buffers, so that they travel with the network's weights.

In a crowd of n people a pair has n - 1 chances in n to be of two of them. The published code learns from as many pairs
of the one kind as of the other; here, where the whole picture is one program, pairs count
as often as they occur. Fitted to balanced pairs, the probabilities join people who have nothing to do with each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from course_lib.errors import CourseError, unknown_name
from course_lib.models.deepcut import pairwise
from course_lib.models.deepcut.pairwise import Logistic
from course_lib.pose import Crowd

FEATURES = {"geometry": 13, "regressed": 8}
PICTURES = 600  # that are looked at
HIT = 8.0  # pixels from a joint within which a candidate is somebody's
CELLS = 12  # of a class's discs in one picture are compared for the regression of the same class
SAME_WEIGHT, BETWEEN_WEIGHT = 100.0, 10.0  # of the loss against 1/2 |w|^2: some thousand examples need no prior


class Detections(NamedTuple):
    """D candidates of one picture: places (D, 2) in pixels, probabilities (D, C), classes (D,) whose map each is a peak
    of, others (D, C, C, 2): from candidate d, were it c, to the same person's c', as the network expects it."""

    places: np.ndarray
    probabilities: np.ndarray
    classes: np.ndarray
    others: np.ndarray


class Pairs(nn.Module):
    """All that is known about two candidates: buffers of C (C - 1) / 2 regressions for each kind of features."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.between = [(c, k) for c in range(classes) for k in range(c + 1, classes)]
        for kind, features in FEATURES.items():
            for name, width in (("low", features), ("high", features), ("weights", features + 1)):
                self.register_buffer(f"{kind}_{name}", torch.zeros(len(self.between), width))
        for name, width in (("low", 1), ("high", 1), ("weights", 2)):
            self.register_buffer(f"same_{name}", torch.zeros(1, width))
        self.register_buffer("offsets", torch.zeros(classes, classes, 2))  # the mean one from class to class

    def probabilities(self, seen: Detections, kind: str = "regressed") -> np.ndarray:
        """p_decc' (D, D, C, C)."""
        if kind not in FEATURES:
            raise unknown_name("kind of pairwise features", kind, FEATURES)
        if not bool(self.same_weights.any()):
            raise CourseError("the pairwise probabilities were never learned: train the network, or call settle")
        numbers = {pair: number for number, pair in enumerate(self.between)}
        models = {pair: self.regression(kind, number) for pair, number in numbers.items()}
        near, mean = self.regression("same", 0), self.offsets.double().cpu().numpy()

        def across(c: int, k: int) -> np.ndarray:
            return models[c, k].probability(_features(kind, seen, c, k, mean[c, k]))

        return pairwise.table(self.classes, seen.places, across, lambda distance: near.probability(distance[..., None]))

    def keep(self, kind: str, number: int, model: Logistic) -> None:
        """Stores a regression."""
        for name, value in model._asdict().items():
            getattr(self, f"{kind}_{name}")[number] = torch.from_numpy(value).float()

    def regression(self, kind: str, number: int) -> Logistic:
        """The one of "geometry" or "regressed" for the classes `between[number]`, or the only one of "same"."""
        values = (getattr(self, f"{kind}_{name}")[number] for name in Logistic._fields)
        return Logistic(*(value.double().cpu().numpy() for value in values))


def _features(kind: str, seen: Detections, c: int, k: int, mean: np.ndarray) -> np.ndarray:
    """(D, D, F) of candidate d as class c and candidate e as class k."""
    first, second = seen.places[:, None], seen.places[None]
    if kind == "geometry":
        return pairwise.geometry(first, second, mean)
    return pairwise.regressed(first, second, seen.others[:, None, c, k], seen.others[None, :, k, c])


def learn(network: Any, pairs: Pairs, crowds: Iterable[Crowd], pictures: int = PICTURES) -> None:
    """Fits all regressions to what a DeepCut network sees of so many pictures of labelled crowds, or none of them."""
    same: list[tuple[np.ndarray, np.ndarray]] = []
    hits: dict[tuple[int, int], list[tuple[np.ndarray, ...]]] = defaultdict(list)  # what `regressed` takes, and truths
    for seen, cells, joints, labelled in _looked_at(network, crowds, pictures):
        same += _same_class(cells, joints, labelled)
        owner = _owners(seen.places, seen.classes, joints, labelled)
        for c, k in pairs.between:
            d, e = (np.flatnonzero((seen.classes == one) & (owner >= 0)) for one in (c, k))
            if len(d) and len(e):
                d, e = (x.ravel() for x in np.meshgrid(d, e, indexing="ij"))
                expected = seen.others[d, c, k], seen.others[e, k, c]
                hits[c, k].append((seen.places[d], seen.places[e], *expected, owner[d] == owner[e]))
    examples = {pair: tuple(np.concatenate(part) for part in zip(*rows, strict=True)) for pair, rows in hits.items()}
    distances, alike = (np.concatenate(part) for part in zip(*same, strict=True)) if same else (np.zeros(0),) * 2
    truths = [alike, *(mine for *_, mine in examples.values())]
    if len(examples) < len(pairs.between) or not all(mine.any() and not mine.all() for mine in truths):
        raise CourseError("the network sees too few joints of these people to learn who belongs to whom from them")
    pairs.keep("same", 0, Logistic.fit(distances[:, None], alike, SAME_WEIGHT, balance=False))
    for number, pair in enumerate(pairs.between):
        first, second, forward, backward, mine = examples[pair]
        mean = (second - first)[mine].mean(0)
        pairs.offsets[pair], pairs.offsets[pair[::-1]] = (torch.from_numpy(x).float() for x in (mean, -mean))
        mean = pairs.offsets[pair].double().cpu().numpy()
        features = {"geometry": pairwise.geometry(first, second, mean)}
        features["regressed"] = pairwise.regressed(first, second, forward, backward)
        for kind, values in features.items():
            pairs.keep(kind, number, Logistic.fit(values, mine, BETWEEN_WEIGHT, balance=False))


def _looked_at(
    network: Any, crowds: Iterable[Crowd], pictures: int
) -> Iterator[tuple[Detections, Detections, np.ndarray, np.ndarray]]:
    """What the network sees of every picture, some cells of its discs, and the truth: joints (N, C, 2), labelled."""
    seen = 0
    device = next(network.parameters()).device
    for crowd in crowds:
        with torch.no_grad():
            outputs = network(crowd.images.to(device))
        cells = network.cells(outputs, CELLS)
        truth = zip(crowd.joints.cpu().double().numpy(), (crowd.visible > 0).cpu().numpy(), strict=True)
        for found, own, (joints, labelled) in zip(network.candidates(outputs), cells, truth, strict=True):
            yield found, own, joints, labelled
        seen += len(crowd)
        if seen >= pictures:
            return


def _owners(places: np.ndarray, classes: np.ndarray, joints: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Whose joint of its class each candidate hits, (D,), -1 where nobody's."""
    if not len(places) or not len(joints):
        return np.full(len(places), -1)
    distance = np.linalg.norm(joints[:, classes] - places, axis=-1)  # (N, D)
    distance = np.where(labelled[:, classes], distance, np.inf)
    return np.where(distance.min(0) <= HIT, distance.argmin(0), -1)


def _same_class(cells: Detections, joints: np.ndarray, labelled: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """How far two cells of one class point from each other, and whether they hit the same person's joint."""
    owner, found = _owners(cells.places, cells.classes, joints, labelled), []
    for c in np.unique(cells.classes):
        own = np.flatnonzero((cells.classes == c) & (owner >= 0))
        i, j = np.triu_indices(len(own), 1)
        apart = np.linalg.norm(cells.places[own[i]] - cells.places[own[j]], axis=-1)
        found.append((apart, owner[own[i]] == owner[own[j]]))
    return found
