"""Lesson 08's exercises: costs from probabilities, transitivity as rows, and a search without a solver."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import torch

from course_lib.lessons import Case, Exercise, register
from course_lib.lessons.lesson_08_instances import bodies, heads_and_necks, without_structure
from course_lib.models.deepcut.program import SUPPRESSED, Program
from course_lib.models.deepcut.solve import solve

# --- costs ------------------------------------------------------------------------------------------------------------


def _cost(probabilities: np.ndarray, clip: float) -> np.ndarray:
    flat = [min(max(float(p), clip), 1 - clip) for p in probabilities.ravel()]
    return np.array([math.log1p(-p) - math.log(p) for p in flat]).reshape(probabilities.shape)


def _cost_cases(random: torch.Generator) -> Iterator[Case]:
    sign = "What is likelier than not must be rewarded: p above 1/2 has a negative cost."
    yield Case((np.array([0.9, 0.1, 0.75]), 1e-4), "three probabilities", sign)
    yield Case((np.array([0.5]), 1e-4), "one half", "At 1/2 there is nothing to gain and nothing to lose.")
    clip = "Clip the probabilities to [clip, 1 - clip] first; then no logarithm is infinite."
    yield Case((np.array([0.0, 1.0, 0.3]), 1e-4), "certainty", clip)
    yield Case((np.array([[1e-6, 0.02], [0.97, 1 - 1e-7]]), 0.05), "a wider clip, two rows", clip)
    yield Case((torch.rand(3, 3, 2, 2, generator=random, dtype=torch.float64).numpy(), 1e-3), "a table of pairs")


register(
    Exercise(
        "08.cost",
        _cost,
        _cost_cases,
        (
            "np.clip first, then np.log.",
            "log (1 - p) / p is the logarithm of the odds against.",
            "Clip p, not the cost: p within clip of 0 or 1 counts as clip or 1 - clip.",
        ),
    )
)

# --- transitivity -----------------------------------------------------------------------------------------------------


def _triangle(number: np.ndarray, d: int, e: int, f: int, variables: int) -> tuple[np.ndarray, np.ndarray]:
    matrix = np.zeros((3, variables))
    sides = [number[d, e], number[e, f], number[d, f]]
    for row in range(3):
        for side in range(3):
            matrix[row, sides[side]] = -1.0 if side == row else 1.0
    return matrix, np.ones(3)


def _allowed(function: Any, number: np.ndarray, d: int, e: int, f: int, variables: int) -> Any:
    """Which vectors the learner's rows allow: all y of 0 and 1 of the triple, and some of fractions."""
    answer = function(number, d, e, f, variables)
    if not isinstance(answer, tuple) or len(answer) != 2:
        return answer
    matrix, upper = (np.asarray(part, dtype=float) for part in answer)
    if matrix.ndim != 2 or matrix.shape[1] != variables or upper.shape != matrix.shape[:1]:
        return {"rows": f"{matrix.shape} with {upper.shape} right-hand sides"}
    sides = {"y_de": number[d, e], "y_ef": number[e, f], "y_df": number[d, f]}
    found: dict[str, Any] = {"rows": f"(R, {variables}) with (R,) right-hand sides"}
    for values in [*product((0, 1), repeat=3), (0.6, 0.6, 0.1), (0.5, 0.5, 0.0), (0.8, 0.4, 0.8), (0.2, 0.3, 0.9)]:
        words = ", ".join(f"{name} = {value:g}" for name, value in zip(sides, values, strict=True))
        for rest in (0.0, 1.0):  # the other variables have no say
            v = np.full(variables, rest)
            v[list(sides.values())] = values
            others = "" if rest == 0 else ", all other variables 1"
            found[f"allowed: {words}{others}"] = bool((matrix @ v <= upper + 1e-9).all())
    return found


def _told(got: Any, expected: Any) -> str | None:
    """The first promise that is broken, in words."""
    if not isinstance(got, dict):
        return "expected two arrays: matrix (R, V) and upper (R,)"
    for key, right in expected.items():
        if got.get(key) != right:
            return f"{key}: expected {right}\ngot {got.get(key)}"
    return None


def _triangle_cases(random: torch.Generator) -> Iterator[Case]:
    def numbers(size: int, first: int, shuffle: bool = False) -> tuple[np.ndarray, int]:
        count = size * (size - 1) // 2
        order = torch.randperm(count, generator=random).numpy() if shuffle else np.arange(count)
        number = np.full((size, size), -1)
        number[np.triu_indices(size, 1)] = first + order
        return np.maximum(number, number.T), first + count + 2

    three, variables = numbers(3, 0)
    turn = "d and f may be friends through e; so may d and e through f, and e and f through d: three rows."
    yield Case((three, 0, 1, 2, variables), "three candidates", turn)
    five, variables = numbers(5, 4)
    at = "The columns are number[d, e], number[e, f] and number[d, f]; all others stay 0."
    yield Case((five, 1, 3, 4, variables), "three of five candidates", at)
    mixed, variables = numbers(6, 7, shuffle=True)
    yield Case((mixed, 5, 0, 2, variables), "candidates in any order", at)


register(
    Exercise(
        "08.triangle",
        _triangle,
        _triangle_cases,
        (
            "y_de + y_ef - y_df <= 1 says: if d and e, and e and f, then d and f.",
            "Two coefficients are +1 and one is -1 in every row, and every right-hand side is 1.",
            "All three or none: the rows together allow 000, 100, 010, 001 and 111.",
        ),
        ask=_allowed,
        compare=_told,
    )
)

# --- a search ---------------------------------------------------------------------------------------------------------


def _moves(program: Program, labels: np.ndarray, people: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every labelling that is one move or one merger away."""
    persons = sorted(set(people.tolist()) - {SUPPRESSED})
    for d in range(len(labels)):
        places = [(SUPPRESSED, SUPPRESSED)]
        places += [(c, p) for c in range(program.classes) for p in [*persons, max(persons, default=-1) + 1]]
        for c, p in places:
            if (c, p) != (labels[d], people[d]):
                other, owner = labels.copy(), people.copy()
                other[d], owner[d] = c, p
                yield other, owner
    for p, q in product(persons, persons):
        if p < q:
            yield labels.copy(), np.where(people == q, p, people)


def _search(program: Program, labels: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cost = program.objective(labels, people)
    while True:
        best = min(_moves(program, labels, people), key=lambda move: program.objective(*move), default=None)
        if best is None or program.objective(*best) > cost - 1e-9:
            return labels, people
        (labels, people), cost = best, program.objective(*best)


def _judged(function: Any, programs: list[Program], starts: list[tuple[np.ndarray, np.ndarray]], best: Any) -> Any:
    """What is asked of every answer, and of all of them together."""
    close, kept = 0, {"feasible": True, "never costlier than the start": True}
    kept |= {"no single move is left that costs less": True, "no merger is left that costs less": True}
    for program, (labels, people), optimum in zip(programs, starts, best, strict=True):
        before = program.objective(labels, people)
        answer = function(program, labels.copy(), people.copy())
        if answer is None:
            return None
        try:
            labels, people = (np.asarray(part) for part in answer)
            after = program.objective(labels, people)
        except (ValueError, TypeError) as error:
            return {"feasible": f"no: {error}"}
        kept["feasible"] &= math.isfinite(after)
        kept["never costlier than the start"] &= after <= before + 1e-9
        persons = len(set(people.tolist()))
        for other, owner in _moves(program, labels, people):
            if program.objective(other, owner) < after - 1e-6:
                merged = len(set(owner.tolist())) < persons and np.array_equal(other, labels)
                merged = merged and int((owner != people).sum()) > 1
                kept[f"no {'merger' if merged else 'single move'} is left that costs less"] = False
        close += after <= optimum + 0.01 * abs(optimum) + 1e-9
    share = "within 1 % of the optimum in 9 of 10 instances"
    return kept | ({share: close >= 0.9 * len(programs)} if len(programs) >= 10 else {})


def _search_cases(random: torch.Generator) -> Iterator[Case]:
    def nobody(program: Program) -> tuple[np.ndarray, np.ndarray]:
        return np.full(len(program), SUPPRESSED), np.full(len(program), SUPPRESSED)

    def case(programs: list[Program], starts: list[Any], label: str, hint: str) -> Case:
        return Case((programs, starts, [solve(program).objective for program in programs]), label, hint)

    heads = heads_and_necks().program()
    yield case(
        [heads], [nobody(heads)], "six candidates, nobody kept", "Try every class, with every person and a new one."
    )
    pairs = np.zeros((4, 4, 1, 1))
    pairs[...] = -1.0
    pairs[0, 1] = pairs[1, 0] = pairs[2, 3] = pairs[3, 2] = -3.0
    two = Program(np.full((4, 1), -1.0), pairs)
    hint = "No single move helps here, but making the two people one does: try mergers too."
    yield case([two], [(np.zeros(4, dtype=int), np.array([0, 0, 1, 1]))], "two people who are one", hint)
    lone = Program(np.array([[-2.0], [3.0], [0.5]]), np.zeros((3, 3, 1, 1)))
    drop = "Somebody is kept who costs more than he brings: suppressing is a move."
    yield case([lone], [(np.zeros(3, dtype=int), np.arange(3))], "everybody kept", drop)
    split = Program(np.full((3, 1), -1.0), np.full((3, 3, 1, 1), 2.0))
    apart = "A candidate may become a person of its own."
    yield case([split], [(np.zeros(3, dtype=int), np.zeros(3, dtype=int))], "three who repel each other", apart)
    wrong = Program(np.array([[-1.0, -3.0], [-3.0, -1.0]]), np.zeros((2, 2, 2, 2)))
    hint = "A candidate may change its class where it is."
    yield case([wrong], [(np.array([0, 1]), np.zeros(2, dtype=int))], "a wrong class", hint)
    forbidden = bodies(2, 3, 2, seed=1, prune=0.1)
    yield case([forbidden], [nobody(forbidden)], "infinite costs", "What is forbidden must not be chosen.")
    again = [without_structure(6, 2, seed) for seed in range(4)]
    hint = "After a move others may have become worth while: go on until none is."
    yield case(again, [nobody(one) for one in again], "costs without people behind them", hint)
    many = [bodies(2, 3, 3, seed=seed) for seed in range(10)]
    yield case(many, [nobody(one) for one in many], "ten instances of two people", "Take the best move, not the first.")


register(
    Exercise(
        "08.search",
        _search,
        _search_cases,
        (
            "A loop: look at all moves and all mergers, make the best one if it costs less, else stop.",
            "A move changes labels[d] and people[d] together: both SUPPRESSED, or neither.",
            "program.objective(labels, people) says what a labelling costs; infinite is forbidden.",
        ),
        ask=_judged,
        compare=_told,
    )
)
