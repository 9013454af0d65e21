"""DeeperCut's way to larger programs: a few classes first (heads and shoulders), then with those fixed the next.

The published code solves for shoulders, neck and head; then for these and the arms; then for the whole body. Each stage
takes candidates of its own parts. Here a candidate waits for the stage of its likeliest class; from then on it may have
any class of the stages so far. What a stage decides stays decided, as fixed variables of the same solver:

    kept by an earlier stage            x_dc = 1, and y_de = 0 or 1 between two that were kept
    looked at, and not kept             x_dc = 0 for the classes of that stage and of those before it

It is a heuristic: a wrong head is never repaired, so the result costs at least as much as the optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from course_lib.errors import CourseError
from course_lib.models.deepcut.linear import FREE, Fixed
from course_lib.models.deepcut.program import SUPPRESSED, Program
from course_lib.models.deepcut.solution import Solution
from course_lib.models.deepcut.solve import solve


class Staged(NamedTuple):
    """The last stage's solution, whose bound believes all the earlier ones, and those of all stages."""

    solution: Solution
    stages: tuple[Solution, ...]


def solve_in_stages(program: Program, stages: Sequence[Sequence[int]], *, best_only: bool = False, **options) -> Staged:
    """Solves a program by its classes, `stages` of them at a time; options are those of `solve`, for every stage.

    With `best_only` only the likeliest candidate of a person's class is kept from stage to stage, as in the published
    code; the others are out. With it the objective is no measure any more: duplicates that attract each other count.
    """
    flat = sorted(c for stage in stages for c in stage)
    if flat != list(range(program.classes)):
        raise CourseError(
            f"the stages must name each of the {program.classes} classes once; got {[list(stage) for stage in stages]}"
        )
    size = len(program)
    x, y = np.full((size, program.classes), FREE), np.full((size, size), FREE)
    likeliest = program.unary.argmin(1)
    found: list[Solution] = []
    for number, stage in enumerate(stages):
        later = [c for following in stages[number + 1 :] for c in following]
        known = [c for before in stages[:number] for c in before] + list(stage)
        here = ~np.isin(likeliest, later)
        now = x.copy()
        now[:, later] = 0
        now[~here] = 0
        solution = solve(program, fixed=Fixed(now, y), **options)
        x[np.ix_(here, known)] = 0
        if best_only:
            solution, out = _best_of_each(program, solution)
            x[out] = 0
        found.append(solution)
        kept = np.flatnonzero(solution.labels != SUPPRESSED)
        x[kept] = 0
        x[kept, solution.labels[kept]] = 1
        y[np.ix_(kept, kept)] = solution.people[kept][:, None] == solution.people[kept]
    return Staged(found[-1], tuple(found))


def _best_of_each(program: Program, solution: Solution) -> tuple[Solution, list[int]]:
    """Of a person's candidates of one class only the cheapest, which is the likeliest; and those that are out."""
    labels, people = solution.labels.copy(), solution.people.copy()
    taken: set[tuple[int, int]] = set()
    out: list[int] = []
    kept = np.flatnonzero(labels != SUPPRESSED)
    for d in kept[np.argsort(program.unary[kept, labels[kept]], kind="stable")].tolist():
        key = (int(people[d]), int(labels[d]))
        if key in taken:
            labels[d] = people[d] = SUPPRESSED
            out.append(d)
        taken.add(key)
    objective = program.objective(labels, people)
    changed = solution._replace(labels=labels, people=people, objective=objective, proven=solution.proven and not out)
    return changed, out
