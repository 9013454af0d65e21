"""The exact solver: branch and cut by HiGHS, with a bound that says how good an answer is when time runs out.

Of the D(D-1)(D-2)/2 triangle rows hardly any ever matters, so they come lazily: solve, look for friends of friends who
are not friends, add these rows, solve again. Every round leaves rows out, so its bound holds for the whole program;
when no triangle is violated, what minimises the smaller program minimises the whole.

The tight form's relaxation, in which variables may be fractions, is so good that it comes first: a linear program is
solved in a fraction of the time, its answer violates triangles too, and where at last it violates none and is whole,
it is the optimum, and nothing has been searched. Only else the search begins, with the rows found so far.

The published solver adds triangles inside Gurobi's search, at every whole solution. HiGHS as scipy gives it calls
nobody back, so here each round is a search of its own; a few rounds are enough.
"""

from __future__ import annotations

import math
from dataclasses import replace
from time import perf_counter
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from course_lib.errors import CourseError
from course_lib.models.deepcut.linear import FREE, Fixed, Linear, linearise
from course_lib.models.deepcut.local_search import local_search
from course_lib.models.deepcut.program import SUPPRESSED, Program
from course_lib.models.deepcut.solution import Round, Solution

RELAXED_ROUNDS = 20  # so many linear programs at most
VIOLATED = 1e-4  # a triangle row that is violated by less is left alone
MOST = 5000  # triangles are added a round: the most violated
ROUNDING = 1e-6  # what two equal objectives may differ by: the solver's own tolerance
FALL_BACK = 0.1  # of the time limit is for a local search, where the relaxation does not settle it
LATE = 8e-6  # seconds a variable that HiGHS, busy with its first relaxation, may look at its clock too late

_Found = tuple[float, np.ndarray, np.ndarray]  # an objective, classes (D,) and people (D,)


class Answer(NamedTuple):
    """What HiGHS says about one set of rows."""

    x: np.ndarray | None  # (D, C) None where it found nothing
    y: np.ndarray | None  # (D, D)
    objective: float
    bound: float
    finished: bool  # within the gap, and not stopped by the clock


def minimise(rows: Linear, time_limit: float = 60.0, gap: float = 0.0) -> Answer:
    """The best of all v that satisfy the rows; nothing here knows what the variables mean."""
    try:
        from scipy.optimize import Bounds, LinearConstraint, milp
    except ImportError:
        raise CourseError(
            "the exact solver needs scipy 1.9 or newer, whose scipy.optimize.milp brings HiGHS; "
            "install it, or ask local_search, which needs no solver"
        ) from None
    if len(rows.costs) == 0:
        return Answer(*rows.values(rows.costs), 0.0, 0.0, True)
    found = milp(
        rows.costs,
        integrality=rows.whole,
        bounds=Bounds(rows.lower, rows.upper),
        constraints=LinearConstraint(rows.matrix, rows.row_lower, rows.row_upper),
        options={"time_limit": max(time_limit, 0.0), "mip_rel_gap": gap},
    )
    if found.status == 2:
        raise CourseError(
            "no labelling satisfies the program: the fixed variables contradict its rows or each other (a candidate "
            "joined to two people who are kept apart, or a pair whose costs forbid it)"
        )
    if found.status not in (0, 1):
        raise CourseError(f"the solver gave up: {found.message}")
    bound = found.mip_dual_bound
    if not rows.whole.any() and found.status == 0:
        bound = found.fun  # a linear program is its own bound
    bound = -math.inf if bound is None or math.isnan(bound) else float(bound)
    if found.x is None:
        return Answer(None, None, math.inf, bound, False)
    return Answer(*rows.values(found.x), float(found.fun), bound, found.status == 0)


def solve(
    program: Program,
    *,
    form: str = "tight",
    triangles: str = "lazy",
    time_limit: float = 60.0,
    gap: float = 0.0,
    fixed: Fixed | None = None,
) -> Solution:
    """The best labelling and grouping, or the best one found in `time_limit` seconds with its proven bound.

    `form` is "tight" or "naive", `triangles` "lazy" or "all", `gap` the relative gap at which a search may stop. When
    the clock stops it, what HiGHS has is compared with a local search, so that there is always an answer; fixed
    variables, which a local search does not know, can be an exception. HiGHS looks at the clock between its own steps,
    so it is stopped early by what a step of that size may take, and not even begun where that is the whole limit.
    """
    if triangles not in ("lazy", "all"):
        raise CourseError(f"triangles are added 'lazy' or 'all' at once; got {triangles!r}")
    if not time_limit > 0 or not gap >= 0:
        raise CourseError(f"the time limit must be positive and the gap not negative; got {time_limit} s and {gap}")
    start = perf_counter()
    rows = linearise(program, form, triangles == "all", fixed)
    best, bound, history, relaxing = _nobody(program, fixed), program.least(), [], form == "tight"
    reserve = (FALL_BACK * time_limit if fixed is None else 0.0) + LATE * len(rows.costs)
    searched = fixed is not None  # a local search knows nothing of fixed variables
    while (left := time_limit - reserve - (perf_counter() - start)) > 0:
        if not relaxing and not searched:  # before the long part: what is found here, no clock can take away
            best, searched = _searched(program, best, FALL_BACK * time_limit), True
        answer = minimise(replace(rows, whole=0 * rows.whole) if relaxing else rows, left, gap)
        bound = max(bound, answer.bound)
        violated = np.zeros((0, 3), dtype=int)
        if answer.x is not None:
            violated = violated_triangles(answer.y)
            best = min(best, _repaired(program, answer, fixed), key=lambda found: found[0])
        seconds = perf_counter() - start
        history.append(Round(len(rows.row_upper), len(violated), bound, best[0], seconds, relaxing))
        if not answer.finished or best[0] - bound <= _allowed_gap(best[0], gap):
            break
        if len(violated):
            rows = rows.with_triangles(violated)
        elif not relaxing:
            break
        relaxing = relaxing and len(violated) > 0 and len(history) < RELAXED_ROUNDS
    if not searched and best[0] - bound > _allowed_gap(best[0], gap):
        best = _searched(program, best, max(time_limit - (perf_counter() - start), 0.0))
    if best[0] == math.inf:
        raise CourseError(
            f"nothing that agrees with the fixed variables was found in {time_limit:g} seconds; give it more time"
        )
    return Solution(
        labels=best[1],
        people=best[2],
        objective=best[0],
        bound=min(bound, best[0]),
        proven=best[0] - bound <= _allowed_gap(best[0], gap),
        seconds=perf_counter() - start,
        rounds=tuple(history),
        variables=len(rows.costs),
        rows=len(rows.row_upper),
    )


def _searched(program: Program, best: _Found, time_limit: float) -> _Found:
    other = local_search(program, time_limit=time_limit)
    return min(best, (other.objective, other.labels, other.people), key=lambda found: found[0])


def _allowed_gap(objective: float, gap: float) -> float:
    return gap * abs(objective) + ROUNDING * max(1.0, abs(objective))


def violated_triangles(y: np.ndarray) -> np.ndarray:
    """The (d, e, f) (T, 3) with d < f and y_de + y_ef - y_df > 1, for y (D, D) of fractions or of 0 and 1."""
    found, excess = [np.zeros((0, 3), dtype=int)], [np.zeros(0)]
    for e in range(len(y)):
        friends = np.flatnonzero(y[e] > VIOLATED)
        friends = friends[friends != e]
        near = y[e, friends]
        over = np.triu(near[:, None] + near - y[np.ix_(friends, friends)] - 1, 1)
        i, k = np.nonzero(over > VIOLATED)
        found.append(np.stack([friends[i], np.full(len(i), e), friends[k]], axis=1))
        excess.append(over[i, k])
    order = np.argsort(-np.concatenate(excess), kind="stable")[:MOST]
    return np.concatenate(found)[order]


def grouped(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes and people (D,) of variables: people are the connected components of y among the kept."""
    labels = np.where((x > 0.5).any(1), x.argmax(1) if x.size else 0, SUPPRESSED)
    kept = np.flatnonzero(labels != SUPPRESSED)
    people = np.full(len(labels), SUPPRESSED)
    _, part = connected_components(csr_array(y[np.ix_(kept, kept)] > 0.5), directed=False)
    _, first, number = np.unique(part, return_index=True, return_inverse=True)
    people[kept] = np.argsort(np.argsort(first))[number]  # people are numbered by their first candidate
    return labels, people


def _repaired(program: Program, answer: Answer, fixed: Fixed | None) -> _Found:
    """An answer as a labelling, where friends of friends have become friends; infinite if that may not be."""
    labels, people = grouped(answer.x, answer.y)
    cost = program.objective(labels, people)
    return (cost if fixed is None or _agrees(labels, people, fixed) else math.inf), labels, people


def _nobody(program: Program, fixed: Fixed | None) -> _Found:
    """The labelling that keeps nothing but what is fixed to be kept; infinite where more than that is fixed."""
    none = np.full(len(program), SUPPRESSED)
    if fixed is None:
        return 0.0, none, none.copy()
    labels, people = grouped(fixed.x == 1, fixed.y == 1)
    cost = program.objective(labels, people) if _agrees(labels, people, fixed) else math.inf
    return cost, labels, people


def _agrees(labels: np.ndarray, people: np.ndarray, fixed: Fixed) -> bool:
    x = labels[:, None] == np.arange(fixed.x.shape[1])
    y = (people[:, None] == people) & (people[:, None] >= 0)
    other = ~np.eye(len(people), dtype=bool)
    same_x, same_y = (fixed.x == FREE) | (fixed.x == x), (fixed.y == FREE) | (fixed.y == y)
    return bool(same_x.all() and same_y[other].all())
