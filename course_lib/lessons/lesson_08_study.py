"""How DeepCut's program grows and what its solvers take for it: measured for lesson 08, kept as data.

    python -m course_lib evaluate --study deepcut_study        # some seven minutes of one core

solves instances of many sizes in every way the course has, times them, and writes data/studies/deepcut_study.json, from
which the lesson draws its figures. With weights for the network it adds what happens on pictures (lesson_08_crowd).
Seconds belong to the machine that made them; sizes and objectives do not, and the lesson repeats some of these.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import scipy
import torch

from course_lib import paths
from course_lib.lessons import lesson_08_crowd, studies
from course_lib.lessons.lesson_08_instances import bodies, without_structure
from course_lib.models.deepcut.local_search import local_search
from course_lib.models.deepcut.program import Program
from course_lib.models.deepcut.solution import Solution
from course_lib.models.deepcut.solve import solve
from course_lib.models.deepcut.stages import solve_in_stages

FILE = paths.DATA / "studies" / "deepcut_study.json"
LIMIT = 8.0  # seconds a solver may take
SEEDS = (0, 1)
PRUNE = 0.1  # a detector gives most candidates one or two classes
EVERY_CLASS = {4: (8, 16, 32, 64), 8: (8, 16, 32, 64), 14: (8, 16, 32, 48)}  # classes -> candidates
PRUNED = (16, 32, 64, 100, 150, 200)  # candidates, of 14 classes
STAGES = ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11, 12, 13))
EXACT = {
    "naive": {"form": "naive"},
    "tight": {},
    "naive, all triangles": {"form": "naive", "triangles": "all"},
    "tight, all triangles": {"triangles": "all"},
}
SEARCHES = {
    "descent, 2 starts": {"chains": False, "restarts": 0},
    "chains, 2 starts": {"restarts": 0},
    "chains, 5 starts": {"restarts": 3},
}
SHORT = (16, 14, 0)  # candidates, classes, seed of what the lesson repeats
CLOCKS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # seconds, for one instance that needs more
CLOCKED = {"people": 2, "classes": 10, "clutter": 2, "seed": 2}
MANY = {"people": 45, "no structure": 30}  # instances on which the searches are compared with the optimum


def instance(size: int, classes: int, seed: int, prune: float | None = None) -> Program:
    """`size` candidates of as many people as fit, one in six of them a false alarm or more."""
    people = max(1, round(size * 5 / 6) // classes)
    if people * classes > size:  # so few candidates do not make a person
        return instance_of_one(size, classes, seed, prune)
    return bodies(people, classes, size - people * classes, seed, prune)


def instance_of_one(size: int, classes: int, seed: int, prune: float | None = None) -> Program:
    """The first candidates of one person."""
    whole = bodies(1, classes, 0, seed, prune)
    return Program(whole.unary[:size], whole.pairwise[:size, :size])


def told(solution: Solution) -> dict[str, Any]:
    """What is kept of a solution."""
    return {
        "variables": solution.variables,
        "rows": solution.rows,
        "rounds": len(solution.rounds),
        "objective": round(solution.objective, 4),
        "bound": None if math.isinf(solution.bound) else round(solution.bound, 4),
        "proven": bool(solution.proven),
        "seconds": round(solution.seconds, 4),
    }


def in_every_way(program: Program, ways: Sequence[str], limit: float = LIMIT) -> dict[str, dict[str, Any]]:
    """One instance solved in some of the exact ways, by search, and in stages."""
    found = {way: told(solve(program, time_limit=limit, **EXACT[way])) for way in ways if way in EXACT}
    if "local" in ways:
        found["local"] = told(local_search(program))
    if "stages" in ways:
        staged = solve_in_stages(program, STAGES, time_limit=limit)
        seconds = sum(stage.seconds for stage in staged.stages)
        found["stages"] = told(staged.solution) | {"seconds": round(seconds, 4)}
    return found


def growth(kind: str, classes: int, sizes: Sequence[int], ways: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Larger and larger instances; a way that ran into the limit with all seeds is not asked about larger ones."""
    ways = list(ways)
    for size in sizes:
        late: dict[str, int] = dict.fromkeys(ways, 0)
        for seed in SEEDS:
            program = instance(size, classes, seed, PRUNE if kind == "pruned" else None)
            for way, row in in_every_way(program, ways).items():
                yield {"kind": kind, "candidates": size, "classes": classes, "seed": seed, "way": way, **row}
                late[way] += way in EXACT and not row["proven"]
        ways = [way for way in ways if late[way] < len(SEEDS)]


def against_the_optimum() -> list[dict[str, Any]]:
    """How far above the optimum the searches end, in percent: 30 to 50 candidates of people, or 9 of costs alone."""
    rows = []
    for kind, seed in ((kind, seed) for kind, many in MANY.items() for seed in range(many)):
        if kind == "people":
            program = instance(30 + seed % 21, (6, 10, 14)[seed % 3], 1000 + seed, PRUNE)
        else:
            program = without_structure(9, 2, seed)
        best = solve(program, time_limit=LIMIT)
        if not best.proven:
            continue
        row: dict[str, Any] = {"kind": kind, "candidates": len(program), "exact": round(best.seconds, 4)}
        for name, options in SEARCHES.items():
            found = local_search(program, **options)
            above = 100 * (found.objective - best.objective) / abs(best.objective)
            row[name] = {"above": round(max(above, 0.0), 4), "seconds": round(found.seconds, 4)}
        rows.append(row)
    return rows


def against_the_clock() -> dict[str, Any]:
    """What the naive form has found and proven when it is stopped."""
    program = bodies(**CLOCKED)
    stopped = [{"limit": limit, **told(solve(program, form="naive", time_limit=limit))} for limit in CLOCKS]
    return {"instance": CLOCKED, "candidates": len(program), "truth": told(solve(program)), "stopped": stopped}


def short_run(size: int = SHORT[0], classes: int = SHORT[1], seed: int = SHORT[2]) -> dict[str, Any]:
    """What does not depend on the machine, of one small instance."""
    found = in_every_way(instance(size, classes, seed, PRUNE), ("naive", "tight", "local"))
    kept = {way: {key: row[key] for key in ("variables", "objective")} for way, row in found.items()}
    return {"size": size, "classes": classes, "seed": seed, "ways": kept}


def agree(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two short runs are of the same code: the same variables, and the same optima but for rounding."""
    pairs = [(a, other["ways"].get(way)) for way, a in one["ways"].items()]
    return len(one["ways"]) == len(other["ways"]) and all(
        b is not None and a["variables"] == b["variables"] and abs(a["objective"] - b["objective"]) < 1e-2
        for a, b in pairs
    )


def study(pictures: int | None = None) -> dict[str, Any]:
    """Everything, and where it is from. `pictures` limits the part with the network."""
    torch.set_num_threads(1)
    runs = [
        row
        for classes, sizes in EVERY_CLASS.items()
        for row in growth("every class", classes, sizes, ("naive", "tight", "local"))
    ]
    runs += growth("pruned", 14, PRUNED, ("naive", "tight", "tight, all triangles", "local", "stages"))
    found = {
        "what": "sizes of DeepCut's program, and seconds of its solvers, on random instances and on pictures",
        "made_by": "python -m course_lib evaluate --study deepcut_study",
        **studies.provenance(lesson_08_crowd.WEIGHTS),
        "scipy": scipy.__version__,
        "device": f"one core of {os.cpu_count()}, {platform.machine()}",
        "limit": LIMIT,
        "prune": PRUNE,
        "seeds": list(SEEDS),
        "short_run": short_run(),
        "runs": runs,
        "against_the_optimum": against_the_optimum(),
        "against_the_clock": against_the_clock(),
    }
    return found | lesson_08_crowd.measure(pictures)


def load(file: Path = FILE) -> dict[str, Any]:
    """The stored study."""
    return studies.load(file)


def curve(result: dict[str, Any], kind: str, way: str, value: str, classes: int = 14) -> dict[int, float]:
    """A value's mean over seeds against the number of candidates, for the ways that went so far."""
    rows = [r for r in result["runs"] if (r["kind"], r["way"], r["classes"]) == (kind, way, classes)]
    sizes = sorted({r["candidates"] for r in rows})
    return {size: fmean(r[value] for r in rows if r["candidates"] == size) for size in sizes}


def late(result: dict[str, Any], kind: str, way: str, classes: int = 14) -> set[int]:
    """Numbers of candidates at which a way met the limit with some seed."""
    rows = [r for r in result["runs"] if (r["kind"], r["way"], r["classes"]) == (kind, way, classes)]
    return {r["candidates"] for r in rows if not r["proven"]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the study and writes it."""
    parser = argparse.ArgumentParser(description="the study of lesson 08")
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--pictures", type=int, help="how many pictures the network looks at; all, unless given")
    given = parser.parse_args(arguments)
    studies.save(given.out, study(given.pictures))
