"""Lesson 08: instances of DeepCut's program, made by hand or drawn at random, and the pipeline they are set against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from course_lib.models.deepcut.pairwise import same_class, table
from course_lib.models.deepcut.program import SUPPRESSED, Program
from course_lib.models.deepcut.solution import Solution
from course_lib.targets.candidates import Candidates
from course_lib.targets.grouping import Links, assemble, greedy

# --- two people of a head and a neck ----------------------------------------------------------------------------------

# a second detection of the first head, and a candidate far away
PLACES = np.array([[0, 0], [0, 20], [60, 0], [60, 20], [3, 1], [150, 80]], dtype=float)
UNARY = np.array([[0.9, 0.1], [0.1, 0.8], [0.85, 0.1], [0.1, 0.9], [0.7, 0.1], [0.4, 0.1]])  # head, neck
NECK = np.array([0.0, 20.0])  # seen from the head
SPREAD = np.array([[0, 0], [4, 52], [120, 0], [120, 52], [34, -30], [176, 26], [74, -30]], dtype=float)  # to be drawn


@dataclass(frozen=True)
class Instance:
    """What a program is made of, and what is needed to draw it."""

    places: np.ndarray  # (D, 2)
    unary: np.ndarray  # (D, C) probabilities
    pairwise: np.ndarray  # (D, D, C, C) probabilities
    classes: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]  # a tree, for a pipeline and for drawing
    drawn: np.ndarray | None = None  # (D, 2) where candidates are put in a drawing that is not to scale

    def program(self, single_person: bool = False, prune: float | None = None) -> Program:
        return Program.of_probabilities(self.unary, self.pairwise, prune=prune, single_person=single_person)

    def part(self, which: Sequence[int]) -> Instance:
        """Some of the candidates alone."""
        at = np.asarray(which)
        drawn = None if self.drawn is None else self.drawn[at]
        pairs = self.pairwise[np.ix_(at, at)]
        return replace(self, places=self.places[at], unary=self.unary[at], pairwise=pairs, drawn=drawn)


def heads_and_necks(lonely: float = 0.4, scale: float = 1.0, between: bool = False) -> Instance:
    """Two heads with their necks, a head found twice, and a doubtful one far away.

    `lonely` is the probability of the last, `scale` makes everything farther apart without telling the model, which
    expects necks 20 pixels below heads; `between` puts one more doubtful head half-way between the two people, whose
    necks are then surer.
    """
    places, unary = scale * PLACES, UNARY.copy()
    unary[5, 0] = lonely
    if between:
        unary[[1, 3]] = 0.001, 0.9
        places = np.concatenate([places, scale * np.array([[30.0, 2.0]])])
        unary = np.concatenate([unary, [[0.55, 0.1]]])

    def across(_head: int, _neck: int) -> np.ndarray:
        apart = np.linalg.norm(places[None] - places[:, None] - NECK, axis=-1)
        return 1 / (1 + np.exp(0.3 * apart - 3))

    return Instance(places, unary, table(2, places, across), ("head", "neck"), ((0, 1),), SPREAD[: len(places)])


# --- two people who cross their arms ----------------------------------------------------------------------------------

CLASSES = ("head", "neck", "elbow", "wrist", "hip")
LIMBS = ((0, 1), (1, 2), (2, 3), (1, 4))
_ONE = np.array([[70, 28], [70, 56], [99, 80], [126, 74], [70, 116]], dtype=float)
_TWO = np.array([[170, 30], [170, 58], [142, 82], [115, 83], [171, 117]], dtype=float)
TRUTH = np.stack([_ONE, _TWO])  # (people, C, 2)
NEAR = 12.0  # pixels at which two detections are as likely the same joint as not


class Known(NamedTuple):
    """An instance and whose joint each candidate truly is: (D,) person and class, SUPPRESSED for a false alarm."""

    instance: Instance
    people: np.ndarray
    labels: np.ndarray


def crossed_arms() -> Known:
    """Ten joints and two false alarms, of the kinds that a detector gives.

    Two wrists lie closer than a suppression radius; an elbow looks a little more like a wrist; a hip is hardly seen,
    and something that is none, not far away, is seen better.
    """
    places = np.concatenate([*TRUTH, [[95, 113], [206, 150]]])
    people = np.array([0] * 5 + [1] * 5 + [SUPPRESSED] * 2)
    labels = np.array([*range(5), *range(5), SUPPRESSED, SUPPRESSED])
    sure = np.array([0.95, 0.9, 0.8, 0.85, 0.38, 0.92, 0.88, 0.44, 0.75, 0.8])
    unary = np.full((12, 5), 0.04)
    unary[np.arange(10), labels[:10]] = sure
    unary[7, 3] = 0.56  # an elbow that could be a wrist
    unary[10, 4], unary[11, 0] = 0.6, 0.35
    typical = np.mean([np.linalg.norm(joints[:, None] - joints, axis=-1) for joints in TRUTH], axis=0)
    apart = np.linalg.norm(places[:, None] - places, axis=-1)

    def across(c: int, k: int) -> np.ndarray:
        return same_class(abs(apart - typical[c, k]), slope=0.45, middle=8.0)

    p = table(len(CLASSES), places, across)
    for c in range(len(CLASSES)):
        p[:, :, c, c] = same_class(apart, slope=0.4, middle=NEAR)
    return Known(Instance(places, unary, p, CLASSES, LIMBS), people, labels)


# --- the pipeline -----------------------------------------------------------------------------------------------------


class Stages(NamedTuple):
    """What a pipeline has after each of its steps."""

    labels: np.ndarray  # (D,) after labelling; SUPPRESSED where below the threshold
    kept: np.ndarray  # (D,) the same after suppression
    people: np.ndarray  # (D,) persons after grouping

    def score(self, program: Program) -> float:
        """What the program would pay for it."""
        labels = np.where(self.people == SUPPRESSED, SUPPRESSED, self.kept)
        return program.objective(labels, self.people)


def pipeline(
    places: np.ndarray,
    unary: np.ndarray,
    pairwise: np.ndarray,
    limbs: Sequence[tuple[int, int]],
    *,
    threshold: float = 0.5,
    radius: float = 15.0,
) -> Stages:
    """One decision after the other: a class each, non-maximum suppression, greedy grouping along a tree.

    A candidate gets its likeliest class and is dropped below `threshold`; of two of a class within `radius` pixels the
    likelier stays; then the limbs are taken from the most to the least probable, as lesson 07 takes them.
    """
    labels = np.where(unary.max(1) >= threshold, unary.argmax(1), SUPPRESSED)
    kept = labels.copy()
    for d in np.argsort(-unary.max(1), kind="stable"):
        near = (np.linalg.norm(places - places[d], axis=1) < radius) & (kept == kept[d]) & (kept[d] != SUPPRESSED)
        near[d] = False
        kept[near] = SUPPRESSED
    return Stages(labels, kept, grouped_along_limbs(places, unary, pairwise, kept, limbs))


def grouped_along_limbs(
    places: np.ndarray, unary: np.ndarray, pairwise: np.ndarray, labels: np.ndarray, limbs: Sequence[tuple[int, int]]
) -> np.ndarray:
    """Persons (D,) of labelled candidates, by lesson 07's greedy matching with pairwise probabilities for scores."""
    kept = np.flatnonzero(labels != SUPPRESSED)
    order = kept[np.lexsort((-unary[kept, labels[kept]], labels[kept]))]
    points = torch.from_numpy(np.asarray(places, dtype=float)[order]).float()
    found = Candidates(points, torch.from_numpy(unary[order, labels[order]]).float(), torch.from_numpy(labels[order]))
    at = found.table(unary.shape[1]).numpy()  # (C, M)
    people = np.full(len(labels), SUPPRESSED)
    if at.shape[1] == 0:
        return people
    scores = np.zeros((len(limbs), at.shape[1], at.shape[1]))
    for number, (c, k) in enumerate(limbs):
        first, second = order[at[c]], order[at[k]]
        there = (at[c] >= 0)[:, None] & (at[k] >= 0)
        scores[number] = np.where(there, pairwise[first[:, None], second, c, k], 0.0)
    links = Links(torch.from_numpy(scores).float(), torch.from_numpy(scores > 0.5))
    groups = assemble(found, links, greedy(links), limbs, unary.shape[1], least_joints=2, least_score=0.0)
    for person, group in enumerate(groups):
        for c in np.flatnonzero(group.scores.numpy() > 0):
            same = (labels == c) & (abs(places - group.joints[c].numpy()).max(1) < 1e-3) & (people == SUPPRESSED)
            people[np.flatnonzero(same)[:1]] = person
    return people


def joints_right(scene: Known, labels: np.ndarray, people: np.ndarray) -> int:
    """How many true joints have their class, and are in the group that has most of their person's joints."""
    right = (labels == scene.labels) & (scene.labels != SUPPRESSED) & (people != SUPPRESSED)
    taken, total = set(), 0
    for person in range(scene.people.max() + 1):
        own = people[right & (scene.people == person)]
        counts = {int(g): int((own == g).sum()) for g in set(own.tolist()) if g not in taken}
        if counts:
            best = max(counts, key=lambda g: counts[g])
            taken.add(best)
            total += counts[best]
    return total


# --- instances of any size --------------------------------------------------------------------------------------------


def bodies(people: int, classes: int, clutter: int, seed: int = 0, prune: float | None = None) -> Program:
    """Candidates such as a detector might give: the joints of people with the same body, and clutter."""
    random = np.random.default_rng(seed)
    side = 150 * math.sqrt(people)
    body, centres = random.uniform((-60, -90), (60, 90), (classes, 2)), random.uniform(0, side, (people, 2))
    joints = (centres[:, None] + body + random.normal(0, 6, (people, classes, 2))).reshape(-1, 2)
    places = np.concatenate([joints, random.uniform(-60, side + 60, (clutter, 2))])
    labels = np.concatenate([np.tile(np.arange(classes), people), random.integers(0, classes, clutter)])
    size = len(places)
    logits = random.normal(-3, 1, (size, classes))
    logits[np.arange(size), labels] = random.normal(np.where(np.arange(size) < len(joints), 2.0, 0.0), 1.3)
    unary = 1 / (1 + np.exp(-logits))
    offset = places[None] - places[:, None]

    def across(c: int, k: int) -> np.ndarray:
        return same_class(np.linalg.norm(offset - (body[k] - body[c]), axis=-1), middle=20.0)

    program = Program.of_probabilities(unary, table(classes, places, across))
    return program if prune is None else Program(np.where(unary <= prune, math.inf, program.unary), program.pairwise)


def without_structure(size: int, classes: int, seed: int) -> Program:
    """Costs drawn without any bodies behind them, which are the hardest."""
    random = np.random.default_rng(seed)
    pairwise = random.normal(0, 2, (size, size, classes, classes))
    upper = np.triu(np.ones((size, size), dtype=bool), 1)[:, :, None, None]
    pairwise = np.where(upper, pairwise, pairwise.transpose(1, 0, 3, 2))
    return Program(random.normal(-0.3, 2, (size, classes)), pairwise)


def counts(size: int, classes: int) -> dict[str, int]:
    """Variables and rows of the program with nothing pruned, by the formulas."""
    pairs = size * (size - 1) // 2
    return {
        "x": size * classes,
        "y": pairs,
        "z": classes**2 * pairs,
        "naive rows": size + 2 * pairs + 4 * classes**2 * pairs,
        "tight rows": size + (2 * classes + 1) * pairs,
        "triangle rows": size * (size - 1) * (size - 2) // 2,
    }


def clusters_text(solution: Solution, classes: Sequence[str]) -> str:
    """The people of a solution in words."""
    people = ["{" + ", ".join(f"{d} {classes[c]}" for d, c in one.items()) + "}" for one in solution.clusters()]
    out = np.flatnonzero(solution.labels == SUPPRESSED).tolist()
    return "  ".join([*people, f"suppressed: {', '.join(map(str, out))}" if out else "nobody suppressed"])
