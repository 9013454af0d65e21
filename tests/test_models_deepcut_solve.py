"""The solvers of DeepCut against every labelling and every grouping, and against the clock."""

from __future__ import annotations

import builtins
import math

import numpy as np
import pytest
from deepcut_helpers import brute_force, random_program, symmetric, two_people
from hypothesis import example, given, settings
from hypothesis import strategies as st

from course_lib.errors import CourseError
from course_lib.lessons.lesson_08_instances import bodies
from course_lib.models.deepcut import solve as solver
from course_lib.models.deepcut.linear import FREE, Fixed
from course_lib.models.deepcut.local_search import local_search
from course_lib.models.deepcut.program import Program
from course_lib.models.deepcut.solution import Solution, relative_gap
from course_lib.models.deepcut.solve import grouped, minimise, solve, violated_triangles
from course_lib.models.deepcut.stages import solve_in_stages

WAYS = [(form, triangles) for form in ("tight", "naive") for triangles in ("lazy", "all")]


def check(program: Program, solution: Solution) -> None:
    """What holds of every answer, whoever gave it."""
    assert program.objective(solution.labels, solution.people) == pytest.approx(solution.objective, abs=1e-9)
    assert solution.bound <= solution.objective <= 1e-9  # nobody at all costs nothing
    assert np.array_equal(solution.labels >= 0, solution.people >= 0)
    first = [int(np.flatnonzero(solution.people == person)[0]) for person in range(solution.people.max(initial=-1) + 1)]
    assert first == sorted(first)
    objectives, bounds = ([getattr(r, name) for r in solution.rounds] for name in ("objective", "bound"))
    assert objectives == sorted(objectives, reverse=True), "the best found never gets worse"
    assert bounds == sorted(bounds), "nor does the bound"


# --- the sheet's two people -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "triangles"), WAYS)
def test_two_people(form, triangles):
    solution = solve(two_people(), form=form, triangles=triangles)
    assert solution.objective == pytest.approx(-23.2815, abs=5e-5) and solution.proven
    assert solution.clusters() == [{0: 0, 1: 1, 4: 0}, {2: 0, 3: 1}]
    assert solution.labels[5] == solution.people[5] == -1
    assert solution.gap == pytest.approx(0, abs=1e-6)
    alone = solve(two_people(single_person=True), form=form, triangles=triangles)
    assert alone.objective == pytest.approx(-16.3497, abs=5e-5) and alone.proven
    assert alone.clusters() == [{0: 0, 1: 1, 4: 0}]
    lonely = solve(two_people(lonely=0.6), form=form, triangles=triangles)
    assert lonely.objective == pytest.approx(-23.6870, abs=5e-5)
    assert lonely.clusters() == [{0: 0, 1: 1, 4: 0}, {2: 0, 3: 1}, {5: 0}]


def test_two_people_by_brute_force_and_by_search():
    for program in (two_people(), two_people(single_person=True), two_people(0.6)):
        assert local_search(program).objective == pytest.approx(solve(program).objective)
        assert brute_force(program) == pytest.approx(solve(program).objective)


# --- every labelling and every grouping -------------------------------------------------------------------------------

programs = st.builds(
    random_program,
    size=st.integers(0, 5),
    classes=st.integers(1, 3),
    seed=st.integers(0, 10**6),
    forbidden=st.sampled_from([0.0, 0.2, 0.7]),
    single_person=st.booleans(),
    spread=st.sampled_from([0.5, 2.0, 9.0]),
)


@given(programs, st.sampled_from(WAYS))
@settings(max_examples=120)
def test_exact_is_brute_force(program, way):
    solution = solve(program, form=way[0], triangles=way[1])
    check(program, solution)
    assert solution.proven
    assert solution.objective == pytest.approx(brute_force(program), abs=1e-6)


def test_all_ways_agree_where_all_cannot_be_enumerated():
    more_than_one_round = 0
    for seed in range(8):
        program = random_program(6, 2, seed, forbidden=0.1, single_person=seed % 4 == 0)
        found = [solve(program, form=form, triangles=triangles) for form, triangles in WAYS]
        for solution in found:
            check(program, solution)
            assert solution.proven and solution.objective == pytest.approx(found[0].objective, abs=1e-6)
        for solution, (form, triangles) in zip(found, WAYS, strict=True):
            relaxed = [r.relaxed for r in solution.rounds]
            assert relaxed == sorted(relaxed, reverse=True) and (form == "tight") == relaxed[0]
            assert triangles == "lazy" or all(r.violated == 0 for r in solution.rounds)
        more_than_one_round += len(found[0].rounds) > 1
    assert more_than_one_round > 2, "the lazy way was tried"


def ties() -> st.SearchStrategy[Program]:
    """Small whole costs: many labellings cost the same."""

    def build(seed: int, size: int) -> Program:
        random = np.random.default_rng(seed)
        pairwise = random.integers(-2, 3, (size, size, 2, 2)).astype(float)
        return Program(random.integers(-1, 2, (size, 2)).astype(float), symmetric(pairwise))

    return st.builds(build, st.integers(0, 10**6), st.integers(1, 5))


@given(ties())
@settings(max_examples=40)
def test_ties_between_labellings(program):
    for solution in (solve(program), solve(program, form="naive")):
        check(program, solution)
        assert solution.objective == pytest.approx(brute_force(program), abs=1e-6)


@pytest.mark.parametrize("people", [1, 3, 9])
def test_identical_candidates(people):
    """Nine times the same head, detected at one place, is one person; repelling each other, they are nine."""
    for cost, expected in ((-2.0, 1), (2.0, people)):
        program = Program(np.full((people, 1), -1.0), np.full((people, people, 1, 1), cost))
        for solution in (solve(program), local_search(program)):
            check(program, solution)
            assert len(solution.clusters()) == expected


# --- degenerate programs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solving", [solve, local_search, lambda p: solve(p, form="naive", triangles="all")])
@pytest.mark.parametrize("single_person", [False, True])
def test_nobody_and_one(solving, single_person):
    nobody = Program(np.zeros((0, 3)), np.zeros((0, 0, 3, 3)), single_person)
    solution = solving(nobody)
    check(nobody, solution)
    assert solution.clusters() == [] and solution.objective == 0 and solution.gap in (0, math.inf)
    for cost, clusters in ((-1.0, [{0: 1}]), (1.0, []), (math.inf, [])):
        one = Program(np.array([[2.0, cost]]), np.zeros((1, 1, 2, 2)), single_person)
        solution = solving(one)
        check(one, solution)
        assert solution.clusters() == clusters


@pytest.mark.parametrize("solving", [solve, local_search, lambda p: solve(p, form="naive")])
def test_classes_that_nobody_claims(solving):
    program = two_people()
    unary = np.concatenate([np.full((6, 1), math.inf), program.unary, np.full((6, 2), math.inf)], axis=1)
    pairwise = np.full((6, 6, 5, 5), -50.0)
    pairwise[:, :, 1:3, 1:3] = program.pairwise
    solution = solving(Program(unary, pairwise))
    assert solution.objective == pytest.approx(-23.2815, abs=5e-5)
    assert solution.clusters() == [{0: 1, 1: 2, 4: 1}, {2: 1, 3: 2}]
    nothing = Program(np.full((6, 2), math.inf), program.pairwise)
    assert solving(nothing).clusters() == []


def test_hundreds_of_candidates_of_one_class():
    """Thirty people's heads, ten detections each: the triangles come lazily, the answer is proven."""
    random = np.random.default_rng(0)
    owner = np.repeat(np.arange(30), 10)
    same = owner[:, None] == owner
    pairwise = np.where(same, -2.0, 2.0)[:, :, None, None] + symmetric(random.normal(0, 0.3, (300, 300, 1, 1)))
    solution = solve(Program(np.full((300, 1), -1.0), pairwise))
    assert solution.proven and solution.people.tolist() == owner.tolist()


# --- what is fixed ----------------------------------------------------------------------------------------------------


def free(size: int, classes: int) -> Fixed:
    return Fixed(np.full((size, classes), FREE), np.full((size, size), FREE))


@given(st.integers(0, 10**6), st.sampled_from(["tight", "naive"]))
@settings(max_examples=40)
def test_fixed_variables_are_brute_force_with_costs(seed, form):
    """To fix x to 0 is to forbid it; to fix x to 1, or y, is to reward or forbid it beyond everything else."""
    random = np.random.default_rng(seed)
    program, fixed = random_program(4, 2, seed), free(4, 2)
    d, c = (int(random.integers(n)) for n in (4, 2))
    e = (d + 1) % 4
    fixed.x[d, c], fixed.x[e, 0] = 1, 0
    fixed.y[d, e] = fixed.y[e, d] = random.integers(0, 2)
    unary, pairwise = program.unary.copy(), program.pairwise.copy()
    unary[d, c] -= 1000
    unary[e, 0] = math.inf
    expected = -1000
    if fixed.y[d, e]:
        pairwise[d, e] -= 1000
        pairwise[e, d] -= 1000
        expected -= 1000
    else:
        pairwise[d, e] = pairwise[e, d] = math.inf
    solution = solve(program, form=form, fixed=fixed)
    assert solution.proven and solution.labels[d] == c and solution.labels[e] != 0
    assert (solution.people[d] == solution.people[e]) == fixed.y[d, e]
    assert solution.objective == pytest.approx(brute_force(Program(unary, pairwise)) - expected, abs=1e-6)


def test_contradictions():
    fixed = free(6, 2)
    for d, e, joined in ((0, 1, 1), (1, 2, 1), (0, 2, 0)):
        fixed.y[d, e] = fixed.y[e, d] = joined
    for triangles in ("lazy", "all"):
        with pytest.raises(CourseError, match="no labelling satisfies the program: the fixed variables contradict"):
            solve(two_people(), fixed=fixed, triangles=triangles)
    apart = free(6, 2)
    apart.x[0, 0] = apart.x[2, 0] = 1
    apart.y[0, 2] = apart.y[2, 0] = 0
    assert solve(two_people(), fixed=apart).proven
    with pytest.raises(CourseError, match="no labelling satisfies the program"):
        solve(two_people(single_person=True), fixed=apart)


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=25)
def test_stages_keep_what_they_decided(seed, best_only):
    program = bodies(2, 5, 3, seed)
    staged = solve_in_stages(program, [[3, 1], [0], [2, 4]], best_only=best_only)
    known: list[int] = []
    for number, (stage, before, now) in enumerate(
        zip([[3, 1], [0], [2, 4]], [None, *staged.stages], staged.stages, strict=False)
    ):
        known += stage
        assert set(now.labels) <= {-1, *known}
        assert program.objective(now.labels, now.people) == pytest.approx(now.objective)
        if number:
            kept = before.labels >= 0
            same = before.people[kept][:, None] == before.people[kept]
            still = now.labels[kept] >= 0
            assert best_only or still.all()
            assert (before.labels[kept] == now.labels[kept])[still].all()
            assert (same == (now.people[kept][:, None] == now.people[kept]))[np.ix_(still, still)].all()
    assert staged.solution is staged.stages[-1]
    if best_only:
        pairs = list(zip(now.people[now.people >= 0].tolist(), now.labels[now.labels >= 0].tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)
    else:
        assert staged.solution.objective >= solve(program).objective - 1e-6


def test_one_stage_is_the_whole_program():
    program = bodies(2, 4, 3, 1)
    assert solve_in_stages(program, [range(4)]).solution.objective == pytest.approx(solve(program).objective)
    assert solve_in_stages(two_people(), [[0], [1]]).solution.objective == pytest.approx(-23.2815, abs=5e-5)
    for wrong in ([[0]], [[0, 1], [1]], [[0], [2]], []):
        with pytest.raises(CourseError, match="must name each of the 2 classes once"):
            solve_in_stages(two_people(), wrong)


def test_a_wrong_head_is_never_repaired():
    """Two heads that attract each other a little become one person before their necks can object."""
    pairwise = np.zeros((4, 4, 2, 2))
    pairwise[0, 1, 0, 0] = -0.5
    pairwise[0, 2, 0, 1] = pairwise[1, 3, 0, 1] = -3
    pairwise[0, 3, 0, 1] = pairwise[1, 2, 0, 1] = 4
    unary = np.array([[-2, math.inf]] * 2 + [[math.inf, -2]] * 2)
    program = Program(unary, symmetric(pairwise))
    best, staged = solve(program), solve_in_stages(program, [[0], [1]])
    assert best.clusters() == [{0: 0, 2: 1}, {1: 0, 3: 1}] and best.objective == pytest.approx(-14)
    assert staged.stages[0].clusters() == [{0: 0, 1: 0}]
    assert staged.solution.objective == pytest.approx(-8.5)


# --- the clock, the bound, the solver ---------------------------------------------------------------------------------


def test_a_time_limit_gives_the_best_found_with_its_bound():
    """The naive form of this needs minutes; the tight one, asked for the truth, does not."""
    program = bodies(2, 10, 2, 2)
    truth = solve(program)
    short = solve(program, form="naive", time_limit=1.0)
    check(program, short)
    assert truth.proven and not short.proven
    assert short.bound <= truth.objective + 1e-6 <= short.objective + 1e-5
    assert short.objective < 0.9 * truth.objective, "the local search found most of it"
    assert 0 < short.gap < math.inf


@pytest.mark.parametrize("form", ["tight", "naive"])
def test_no_time_at_all(form):
    program = random_program(20, 3, 1)
    solution = solve(program, form=form, time_limit=1e-9)
    check(program, solution)
    assert not solution.proven and solution.bound == pytest.approx(program.least())
    fixed = free(20, 3)
    fixed.x[3, 1] = 1
    early = solve(program, form=form, time_limit=1e-9, fixed=fixed)
    assert early.clusters() == [{3: 1}] and early.objective == pytest.approx(program.unary[3, 1])
    fixed.y[3, 4] = fixed.y[4, 3] = 1  # and 4 may be of any class
    with pytest.raises(CourseError, match="nothing that agrees with the fixed variables was found in 1e-09 seconds"):
        solve(program, form=form, time_limit=1e-9, fixed=fixed)


def test_an_intransitive_answer_is_repaired(monkeypatch):
    """The clock stops after the first round, which left two friends of a friend apart."""
    pairwise = np.zeros((3, 3, 1, 1))
    pairwise[0, 1] = pairwise[1, 2] = -3
    pairwise[0, 2] = 5
    program = Program(np.full((3, 1), -1.0), symmetric(pairwise))
    real = solver.minimise
    monkeypatch.setattr(solver, "minimise", lambda *arguments: real(*arguments)._replace(finished=False))
    solution = solve(program)
    check(program, solution)
    assert solution.rounds[0].violated == 1 and solution.rounds[0].objective == pytest.approx(-4)
    assert solution.objective == pytest.approx(-6), "found by the local search"
    assert solution.bound == pytest.approx(-9)


def test_a_gap_that_is_asked_for():
    program = random_program(8, 2, 3)
    truth, near = solve(program), solve(program, gap=0.3)
    assert near.bound <= truth.objective + 1e-6 and near.gap <= 0.3 + 1e-6 and near.proven


def test_relative_gap():
    assert relative_gap(-10, -12) == pytest.approx(0.2)
    assert relative_gap(-10, -10) == relative_gap(0, 0) == 0
    assert relative_gap(0, -1) == relative_gap(-1, -math.inf) == math.inf


def test_without_the_solver(monkeypatch):
    real = builtins.__import__

    def absent(name, globals=None, locals=None, fromlist=(), level=0):
        if name == "scipy.optimize" and "milp" in (fromlist or ()):
            raise ImportError(name)
        return real(name, globals, locals, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(CourseError, match=r"needs scipy 1\.9 or newer, whose scipy\.optimize\.milp brings HiGHS"):
        solve(two_people())
    assert local_search(two_people()).objective == pytest.approx(-23.2815, abs=5e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"triangles": "some"}, "'lazy' or 'all' at once; got 'some'"),
        ({"form": "some"}, "no form called 'some'"),
        ({"time_limit": 0}, "time limit must be positive"),
        ({"time_limit": math.nan}, "time limit must be positive"),
        ({"gap": -0.1}, "the gap not negative"),
    ],
)
def test_options_that_are_none(options, message):
    with pytest.raises(CourseError, match=message):
        solve(two_people(), **options)


@given(st.integers(1, 7), st.integers(0, 10**6))
@example(7, 0)
def test_violated_triangles(size, seed):
    y = np.triu(np.random.default_rng(seed).integers(0, 2, (size, size)), 1)
    y = (y + y.T) * 0.9999999
    expected = {
        (d, e, f)
        for d in range(size) for e in range(size) for f in range(d + 1, size)
        if e not in (d, f) and y[d, e] > 0.5 and y[e, f] > 0.5 and y[d, f] < 0.5
    }  # fmt: skip
    before = y.copy()
    found = violated_triangles(y)
    assert {tuple(row) for row in found.tolist()} == expected and len(found) == len(expected)
    assert np.array_equal(y, before)


def test_grouping_rounds():
    """Solvers answer 0.9999999."""
    x = np.array([[0.9999999, 1e-8], [0, 1], [1e-9, 0], [1e-9, 1]])
    y = np.zeros((4, 4))
    y[1, 3] = y[3, 1] = 0.9999999
    labels, people = grouped(x, y)
    assert labels.tolist() == [0, 1, -1, 1] and people.tolist() == [0, 1, -1, 1]


def test_minimise_tells_what_failed(monkeypatch):
    import scipy.optimize

    from course_lib.models.deepcut.linear import linearise

    class Failed:
        status, message, x, mip_dual_bound = 4, "numbers ran away", None, None

    monkeypatch.setattr(scipy.optimize, "milp", lambda *arguments, **options: Failed)
    with pytest.raises(CourseError, match="the solver gave up: numbers ran away"):
        minimise(linearise(two_people()))
