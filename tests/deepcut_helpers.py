"""Instances of DeepCut's program, and its optimum by looking at every labelling and every grouping."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import torch
from drawn_people import figures, generator

from course_lib.models.deepcut.learning import Pairs
from course_lib.models.deepcut.network import DeepCut, Dense
from course_lib.models.deepcut.pairwise import table
from course_lib.models.deepcut.program import SUPPRESSED, Program
from course_lib.pose import Crowd
from course_lib.skeletons import LSP
from course_lib.targets.discs import discs

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


def teach(pairs: Pairs, across: float = 2.0) -> None:
    """Makes up all regressions, for networks that nobody trained, and alike for a mirrored body.

    Of one class candidates are one joint where they are within 12.5 pixels; of two classes they are one person's the
    likelier, the smaller the features are.
    """
    for kind, slope, bias in (("same", -20.0, 5.0), ("geometry", -1.0, across), ("regressed", -1.0, across)):
        getattr(pairs, f"{kind}_high").fill_(50)
        getattr(pairs, f"{kind}_weights").fill_(slope)[:, -1] = bias


def standing(pictures: int, people: int, seed: int = 0) -> Crowd:
    """People of LSP's joints beside each other, near enough to reach into each other; the pictures are empty."""
    random = generator(seed)
    size = (64, 32 * (1 + people))
    joints = figures(pictures * people, random).view(pictures, people, 14, 2)
    aside = torch.arange(people) * 32.0 + 12 * torch.rand(pictures, people, generator=random)
    joints[..., 0] += aside[..., None]
    visible = torch.full((pictures, people, 14), 2)
    return Crowd(torch.zeros(pictures, 3, *size), joints, visible, torch.ones(pictures, *size), LSP)


def truth(model: DeepCut, crowd: Crowd) -> Dense:
    """What a network would say that is always right: surest in the cell nearest to a joint."""
    cells = (crowd.size[0] // model.stride, crowd.size[1] // model.stride)
    found = discs(crowd.joints / model.stride, crowd.visible, cells, model.radius / model.stride)
    batch, classes = len(crowd), len(crowd.skeleton)
    parts, offsets = torch.full((batch, classes, *cells), -8.0), torch.zeros(batch, classes, 2, *cells)
    others = torch.zeros(batch, classes, classes, 2, *cells)
    picture, joint, row, column = found.where
    parts[found.where] = 4 - found.offset.norm(dim=-1)
    offsets[picture, joint, :, row, column] = found.offset * model.stride
    person = crowd.joints[picture, found.owner]
    others[picture, joint, :, :, row, column] = person - person[torch.arange(len(joint)), joint, None]
    return Dense(parts, offsets, others)


class Seer(DeepCut):
    """Knows the truth about the pictures that it is going to be shown."""

    def foresee(self, crowds: list[Crowd]) -> Iterator[Crowd]:
        for self.crowd in crowds:
            yield self.crowd

    def forward(self, images: torch.Tensor) -> Dense:
        return truth(self, self.crowd)


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
