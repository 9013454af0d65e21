"""Local search: labels and people changed step by step, without a solver, without a proof, in a fraction of the time.

Evgeny Levinkov et al., "Joint Graph Decomposition & Node Labeling: Problem, Algorithms, Applications", CVPR 2017

Brian Kernighan's and Shen Lin's idea (1970), for people and labels at once: make a chain of moves, each the best there
is even if it costs something, and keep the chain's best beginning. Where a greedy search stops, a chain goes through
worse states to better ones. A move takes one candidate to any person or to a new one, under any class, or suppresses
it; within a chain a candidate moves once. Between the chains, two people are made one wherever that costs less.

For the state there is a table T (D, C, P) of what each candidate would pay in each person under each class,

    T_dcp = a_dc + sum of b_dec c'(e) over the candidates e of person p, d left out

which a move changes in one person's slice only: D C additions, where computing it anew takes D^2 C.

The searches begin with nobody, with everybody alone, and with the best labelling found, a part of it forgotten. This
follows the idea of the paper, not its code.
"""

from __future__ import annotations

import math
from time import perf_counter

import numpy as np

from course_lib.errors import CourseError
from course_lib.models.deepcut.program import SUPPRESSED, Program
from course_lib.models.deepcut.solution import Round, Solution

BETTER = 1e-9  # a gain below is rounding, relative to the costs
FORGET = 0.4  # the share of candidates that a restart suppresses


def local_search(
    program: Program, *, restarts: int = 3, chains: bool = True, seed: int = 0, time_limit: float = math.inf
) -> Solution:
    """A labelling and grouping that no move, merger or chain of moves makes cheaper; nothing is proven about it.

    `restarts` more searches follow the first two; without `chains` it is plain greedy descent. The objectives in
    `rounds` never rise, and the clock is looked at after every chain.
    """
    if restarts < 0 or not time_limit >= 0:
        raise CourseError(f"restarts and time limit must not be negative; got {restarts} and {time_limit}")
    random, start, rounds = np.random.default_rng(seed), perf_counter(), []
    nobody = np.full(len(program), SUPPRESSED)
    best = (0.0, nobody, nobody)
    for number in range(2 + restarts if len(program) else 0):
        if number and perf_counter() - start >= time_limit:
            break
        labels, people = _beginning(program, number, best, random)
        state = _State(program, labels, people)
        improving = True
        while improving:
            improving = _merge(state)
            improving |= _chain(state, chains)
            found = program.objective(*state.numbered())
            if found < best[0]:
                best = (found, *state.numbered())
            rounds.append(Round(0, 0, -math.inf, best[0], perf_counter() - start))
            if perf_counter() - start >= time_limit:
                break
    seconds = perf_counter() - start
    return Solution(best[1].copy(), best[2].copy(), best[0], -math.inf, False, seconds, tuple(rounds))


def _beginning(
    program: Program, number: int, best: tuple[float, np.ndarray, np.ndarray], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    size = len(program)
    labels, people = best[1].copy(), best[2].copy()
    if number == 0:
        return labels, people
    if number == 1 and not program.single_person:
        labels = program.unary.argmin(1)
        labels = np.where(program.unary.min(1) < math.inf, labels, SUPPRESSED)
        return labels, np.where(labels == SUPPRESSED, SUPPRESSED, np.arange(size))
    out = random.random(size) < FORGET
    labels[out] = people[out] = SUPPRESSED
    return labels, people


class _State:
    """A labelling with its table. Infinite costs are a number here that no sum of finite ones reaches."""

    def __init__(self, program: Program, labels: np.ndarray, people: np.ndarray) -> None:
        size, classes = program.unary.shape
        finite_unary = np.where(program.unary < math.inf, abs(program.unary), 0).max(1, initial=0).sum()
        finite_pairs = np.where(program.pairwise < math.inf, abs(program.pairwise), 0).max((2, 3), initial=0).sum()
        self.forbidden = 1.0 + 2 * float(finite_unary + finite_pairs)
        self.better = BETTER * self.forbidden
        self.unary = np.minimum(program.unary, self.forbidden)
        self.pairwise = np.minimum(program.pairwise, self.forbidden)
        self.single = program.single_person
        self.labels, self.people = labels.copy(), np.full(size, SUPPRESSED)
        self.table = np.zeros((size, classes, 1))  # the last person is always empty: whoever goes there is a new one
        self.sizes = np.zeros(1, dtype=int)
        _, number = np.unique(people, return_inverse=True)
        number = number - (people == SUPPRESSED).any()
        for d in np.flatnonzero(people != SUPPRESSED):
            while number[d] >= len(self.sizes) - 1:
                self._grow()
            self._add(d, int(number[d]), int(labels[d]))

    def _grow(self) -> None:
        self.table = np.concatenate([self.table, np.zeros((*self.table.shape[:2], 1))], axis=2)
        self.sizes = np.append(self.sizes, 0)

    def _add(self, d: int, person: int, label: int) -> None:
        self.table[:, :, person] += self.pairwise[:, d, :, label]
        self.labels[d], self.people[d] = label, person
        self.sizes[person] += 1
        if self.sizes[-1]:
            self._grow()

    def _remove(self, d: int) -> None:
        person, label = self.people[d], self.labels[d]
        self.table[:, :, person] -= self.pairwise[:, d, :, label]
        self.sizes[person] -= 1
        if self.sizes[person] == 0:
            self.table[:, :, person] = 0.0  # what rounding has left
        self.labels[d] = self.people[d] = SUPPRESSED

    def move(self, d: int, person: int, label: int) -> None:
        """Candidate d to a person under a class, or out of the labelling where person is SUPPRESSED."""
        if self.people[d] != SUPPRESSED:
            self._remove(d)
        if person != SUPPRESSED:
            self._add(d, person, label)

    def paid(self) -> np.ndarray:
        """What every candidate pays now, (D,)."""
        kept = self.people != SUPPRESSED
        at = np.flatnonzero(kept)
        result = np.zeros(len(kept))
        result[at] = self.unary[at, self.labels[at]] + self.table[at, self.labels[at], self.people[at]]
        return result

    def places(self) -> np.ndarray:
        """The persons a candidate may be taken to: all that have somebody, and one that is new."""
        occupied = np.flatnonzero(self.sizes)
        if self.single and len(occupied):
            return occupied
        return np.append(occupied, len(self.sizes) - 1)

    def between(self) -> np.ndarray:
        """What it would cost to make two people one, (P, P)."""
        kept = np.flatnonzero(self.people != SUPPRESSED)
        costs = np.zeros((len(self.sizes), len(self.sizes)))
        np.add.at(costs, self.people[kept], self.table[kept, self.labels[kept]])
        return costs

    def numbered(self) -> tuple[np.ndarray, np.ndarray]:
        """Classes and people (D,), people numbered by their first candidates."""
        kept = self.people != SUPPRESSED
        people = np.full(len(kept), SUPPRESSED)
        _, first, number = np.unique(self.people[kept], return_index=True, return_inverse=True)
        people[kept] = np.argsort(np.argsort(first))[number]
        return self.labels.copy(), people


def _merge(state: _State) -> bool:
    """Makes two people one, the most rewarding first, as long as that costs less. True if it happened."""
    merged = False
    while True:
        costs = state.between()
        occupied = state.sizes > 0
        costs = np.where(np.triu(occupied[:, None] & occupied, 1), costs, math.inf)
        p, q = np.unravel_index(costs.argmin(), costs.shape)
        if not costs[p, q] < -state.better:
            return merged
        for d in np.flatnonzero(state.people == q):
            state.move(d, int(p), int(state.labels[d]))
        merged = True


def _chain(state: _State, worse: bool) -> bool:
    """The best move of all unmoved candidates, again and again; then back to where the sum of gains was best.

    True if that was not the beginning. Unless moves may be `worse`, the chain ends at the first that gains nothing, and
    a candidate may move again.
    """
    size = len(state.labels)
    free = np.ones(size, dtype=bool)
    undo, total, best, length = [], 0.0, 0.0, 0
    while free.any():
        at, places, paid = np.flatnonzero(free), state.places(), state.paid()
        costs = state.unary[at, :, None] + state.table[at][:, :, places]  # (free, C, places)
        if worse:  # staying where one is would be a move that only locks
            rows = np.flatnonzero(state.people[at] != SUPPRESSED)
            costs[rows, state.labels[at[rows]], np.searchsorted(places, state.people[at[rows]])] = math.inf
        flat = costs.reshape(len(at), -1)
        choice = flat.argmin(1)
        lowest = flat[np.arange(len(at)), choice]
        out = (lowest > 0) & ((state.people[at] != SUPPRESSED) | (not worse))
        change = np.where(out, 0.0, lowest) - paid[at]
        i = int(change.argmin())
        if not worse and not change[i] < -state.better:
            break
        d = int(at[i])
        undo.append((d, int(state.people[d]), int(state.labels[d])))
        label, place = divmod(int(choice[i]), len(places))
        state.move(d, SUPPRESSED if out[i] else int(places[place]), label)
        free[d] = not worse
        total += change[i]
        if total < best - state.better:
            best, length = total, len(undo)
    for d, person, label in reversed(undo[length:]):
        state.move(d, person, label)
    return length > 0
