"""Instances of DeepCut's program, and its optimum by looking at every labelling and every grouping."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from course_lib.models.deepcut.pairwise import same_class, table
from course_lib.models.deepcut.program import SUPPRESSED, Program

# two people of a head and a neck, a second detection of one head, and a candidate far away
PLACES = np.array([[0, 0], [0, 20], [60, 0], [60, 20], [3, 1], [150, 80]], dtype=float)
UNARY = np.array([[0.9, 0.1], [0.1, 0.8], [0.85, 0.1], [0.1, 0.9], [0.7, 0.1], [0.4, 0.1]])
NECK = np.array([0.0, 20.0])  # seen from the head


def two_people(lonely: float = 0.4, single_person: bool = False) -> Program:
    unary = UNARY.copy()
    unary[5, 0] = lonely
    return Program.of_probabilities(unary, table(2, PLACES, head_to_neck), single_person=single_person)


def head_to_neck(head: int, neck: int) -> np.ndarray:
    apart = np.linalg.norm(PLACES[None] - PLACES[:, None] - NECK, axis=-1)
    return 1 / (1 + np.exp(0.3 * apart - 3))


def random_program(
    size: int, classes: int, seed: int, *, forbidden: float = 0.0, single_person: bool = False, spread: float = 2.0
) -> Program:
    """Costs without any structure, which are the hardest; some of them infinite."""
    random = np.random.default_rng(seed)
    unary = random.normal(-0.3, spread, (size, classes))
    pairwise = random.normal(0, spread, (size, size, classes, classes))
    unary[random.random(unary.shape) < forbidden] = np.inf
    pairwise[random.random(pairwise.shape) < forbidden] = np.inf
    return Program(unary, symmetric(pairwise), single_person)


def symmetric(pairwise: np.ndarray) -> np.ndarray:
    """Costs (D, D, C, C) whose lower half repeats the upper."""
    upper = np.triu(np.ones(pairwise.shape[:2], dtype=bool), 1)[:, :, None, None]
    return np.where(upper, pairwise, pairwise.transpose(1, 0, 3, 2))


def bodies(people: int, classes: int, clutter: int, seed: int = 0, prune: float | None = None) -> Program:
    """Candidates such as a detector might give: the joints of people with the same body, and clutter."""
    random = np.random.default_rng(seed)
    side = 150 * np.sqrt(people)
    body, centres = random.uniform((-60, -90), (60, 90), (classes, 2)), random.uniform(0, side, (people, 2))
    joints = (centres[:, None] + body + random.normal(0, 6, (people, classes, 2))).reshape(-1, 2)
    places = np.concatenate([joints, random.uniform(-60, side + 60, (clutter, 2))])
    labels = np.concatenate([np.tile(np.arange(classes), people), random.integers(0, classes, clutter)])
    size = len(places)
    logits = random.normal(-3, 1, (size, classes))
    sure = np.where(np.arange(size) < len(joints), 2.0, 0.0)
    logits[np.arange(size), labels] = random.normal(sure, 1.3)
    offset = places[None] - places[:, None]

    def across(c: int, k: int) -> np.ndarray:
        apart = np.linalg.norm(offset - (body[k] - body[c]), axis=-1)
        return same_class(apart, middle=20.0)

    program = Program.of_probabilities(1 / (1 + np.exp(-logits)), table(classes, places, across))
    if prune is None:
        return program
    return Program(np.where(1 / (1 + np.exp(-logits)) <= prune, np.inf, program.unary), program.pairwise)


# --- the oracle -------------------------------------------------------------------------------------------------------


def partitions(size: int) -> Iterator[tuple[int, ...]]:
    """All ways to group `size` things: the group of each, groups numbered by their first things."""

    def grow(groups: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(groups) == size:
            yield groups
            return
        for group in range(max(groups, default=-1) + 2):
            yield from grow((*groups, group))

    return grow(())


def brute_force(program: Program) -> float:
    """The least cost of all labellings and groupings, from the definition; nothing of the solvers is used."""
    size, classes = program.unary.shape
    labels = np.array(list(product(range(SUPPRESSED, classes), repeat=size))).reshape((classes + 1) ** size, size)
    unary = sum(
        (np.where(labels[:, d] < 0, 0.0, program.unary[d, labels[:, d]]) for d in range(size)), np.zeros(len(labels))
    )
    pairs = [(d, e) for d in range(size) for e in range(d)]
    between = {}
    for d, e in pairs:
        kept = (labels[:, d] >= 0) & (labels[:, e] >= 0)
        between[d, e] = np.where(kept, program.pairwise[d, e, labels[:, d], labels[:, e]], 0.0)
    best = np.inf
    for groups in partitions(size):
        if program.single_person and len(set(groups)) > 1:
            continue
        best = min(best, (unary + sum(between[d, e] for d, e in pairs if groups[d] == groups[e])).min())
    return float(best)
