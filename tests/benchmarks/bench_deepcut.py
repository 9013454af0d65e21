"""DeepCut's program against the number of candidates: its size, seconds of the exact ways and the search."""

from __future__ import annotations

import time

import pytest

from course_lib.lessons.lesson_08_instances import bodies
from course_lib.models.deepcut.linear import linearise
from course_lib.models.deepcut.local_search import local_search
from course_lib.models.deepcut.program import Program
from course_lib.models.deepcut.solve import solve
from course_lib.models.deepcut.stages import solve_in_stages

LIMIT = 40.0  # seconds a solver may take; longer is told as such
CLASSES = 14
PRUNE = 0.1  # a detector gives most candidates one or two classes
EVERY_CLASS = {
    "10": (1, 6, 4),
    "18": (2, 6, 6),
    "16": (1, 14, 2),
    "32": (2, 14, 4),
    "50": (3, 14, 8),
}  # people, classes, clutter
PRUNED = {
    "16": (1, 14, 2),
    "34": (2, 14, 6),
    "52": (3, 14, 10),
    "80": (5, 14, 10),
    "132": (8, 14, 20),
    "200": (12, 14, 32),
}
STAGES = ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11, 12, 13))
WAYS = {
    "naive, all triangles": {"form": "naive", "triangles": "all"},
    "naive, lazy": {"form": "naive"},
    "tight, all triangles": {"triangles": "all"},
    "tight, lazy": {},
}


def told(solution) -> str:
    late = "" if solution.proven else f" (gap {100 * min(solution.gap, 99):.0f} %)"
    return f"{solution.seconds:.2f} s{late}"


def compare(program: Program, ways: dict[str, dict]) -> dict[str, float]:
    """Prints one line a way; seconds of each. What is proven must agree, and nothing may cost less than a bound."""
    seconds, solutions = {}, []
    for name, options in ways.items():
        solution = solve(program, time_limit=LIMIT, **options)
        seconds[name] = solution.seconds
        solutions.append(solution)
        rounds = len(solution.rounds)
        print(
            f"  {name:<22} {solution.variables:>8,} variables {solution.rows:>9,} rows {rounds} rounds "
            f"{solution.objective:>11.3f} {told(solution)}"
        )
    start = time.perf_counter()
    found = local_search(program)
    seconds["local"] = time.perf_counter() - start
    proven, bound = [one.objective for one in solutions if one.proven], max(one.bound for one in solutions)
    assert proven == pytest.approx([min(proven)] * len(proven) if proven else [], abs=1e-4)
    assert min(one.objective for one in (*solutions, found)) >= bound - 1e-4
    above = 100 * (found.objective - solution.objective) / abs(solution.objective)
    print(f"  {'local search':<22} {found.objective:>54.3f} {seconds['local']:.3f} s, {above:.2f} % above the last")
    return seconds


@pytest.mark.benchmark(group="deepcut")
@pytest.mark.parametrize("name", EVERY_CLASS)
def test_every_candidate_may_have_every_class(benchmark, name):
    people, classes, clutter = EVERY_CLASS[name]
    program = bodies(people, classes, clutter)
    print(f"\n{len(program)} candidates, {classes} classes, nothing pruned")
    ways = WAYS if len(program) < 17 else {key: WAYS[key] for key in ("naive, lazy", "tight, lazy")}
    seconds = benchmark.pedantic(compare, (program, ways), rounds=1, iterations=1)
    print(f"  naive / tight: {seconds['naive, lazy'] / seconds['tight, lazy']:.1f}")


@pytest.mark.benchmark(group="deepcut")
@pytest.mark.parametrize("name", PRUNED)
def test_classes_below_a_tenth_are_left_out(benchmark, name):
    people, classes, clutter = PRUNED[name]
    program = bodies(people, classes, clutter, prune=PRUNE)
    print(f"\n{len(program)} candidates, {classes} classes, those below {PRUNE} pruned")
    ways = {key: WAYS[key] for key in ("tight, all triangles", "tight, lazy")}
    if len(program) < 60:
        ways = {"naive, lazy": WAYS["naive, lazy"], **ways}
    else:
        del ways["tight, all triangles"]
    seconds = benchmark.pedantic(compare, (program, ways), rounds=1, iterations=1)
    staged = solve_in_stages(program, STAGES, time_limit=LIMIT)
    took = sum(stage.seconds for stage in staged.stages)
    print(f"  {'in three stages':<22} {staged.solution.objective:>54.3f} {took:.2f} s")
    print(f"  exact / local search: {seconds['tight, lazy'] / seconds['local']:.0f}")


@pytest.mark.benchmark(group="deepcut")
def test_making_the_rows(benchmark):
    program = bodies(3, 14, 8)
    rows = benchmark.pedantic(linearise, (program, "tight", False), rounds=3)
    size = len(program)
    assert len(rows.costs) == size * 14 + size * (size - 1) // 2 * (1 + 14**2)
    print(f"\n{size} candidates: {len(rows.costs):,} variables")
