"""The rows of DeepCut's program: what they allow, how many there are, what each family guards against."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from deepcut_helpers import random_program, symmetric, two_people
from scipy.optimize import linprog

from course_lib.errors import CourseError
from course_lib.models.deepcut.linear import FREE, Fixed, Linear, linearise
from course_lib.models.deepcut.program import Program, log_odds
from course_lib.models.deepcut.solve import grouped, minimise

FORMS = ("tight", "naive")


def satisfied(rows: Linear, v: np.ndarray) -> np.ndarray:
    """Which of the vectors (n, V) satisfy all rows and bounds."""
    values = v @ rows.matrix.T.toarray()
    inside = (rows.lower <= v).all(1) & (v <= rows.upper).all(1)
    return inside & (values >= rows.row_lower - 1e-9).all(1) & (values <= rows.row_upper + 1e-9).all(1)


# --- what the rows allow ----------------------------------------------------------------------------------------------


def meant(x: np.ndarray, y: np.ndarray, program: Program) -> bool:
    """What x (D, C) and y (D, D) should satisfy, in words: one class at most, only the kept are joined, joined is an
    equivalence, nothing forbidden is joined; in a single-person program all kept are joined."""
    if (x.sum(1) > 1).any() or (x[program.unary == math.inf] == 1).any():
        return False
    kept = x.sum(1) == 1
    for d, e in product(range(len(x)), repeat=2):
        if d == e:
            continue
        if y[d, e] and not (kept[d] and kept[e]):
            return False
        if y[d, e] and program.pairwise[d, e, x[d].argmax(), x[e].argmax()] == math.inf:
            return False
        if program.single_person and kept[d] and kept[e] and not y[d, e]:
            return False
        if any(y[d, e] and y[e, f] and not y[d, f] for f in range(len(x)) if f not in (d, e)):
            return False
    return True


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("single_person", "forbidden"), [(False, 0.3), (True, 0.0)])
def test_z_is_the_product_everywhere(form, single_person, forbidden):
    """All x and y of three candidates and two classes: allowed are those that are meant, each with one z only."""
    program = random_program(3, 2, 5, forbidden=forbidden, single_person=single_person)
    rows = linearise(program, form)
    count, pairs = len(rows.costs), list(zip(*np.triu_indices(3, 1), strict=True))
    allowed = 0
    for bits in product((0, 1), repeat=6 + 3):
        x, y = np.array(bits[:6]).reshape(3, 2), np.zeros((3, 3), dtype=int)
        for (d, e), joined in zip(pairs, bits[6:], strict=True):
            y[d, e] = y[e, d] = joined
        missing = (x[rows.x < 0] == 1).any() or (y[rows.y < 0] == 1).any()
        truth = {int(rows.x[d, c]): x[d, c] for d in range(3) for c in range(2)}
        truth |= {int(rows.y[d, e]): y[d, e] for d, e in pairs}
        products = {int(rows.z[p, c, k]): x[d, c] * x[e, k] * y[d, e]
                    for p, (d, e) in enumerate(pairs) for c in range(2) for k in range(2)}  # fmt: skip
        if missing:
            assert not meant(x, y, program)
            continue
        bounds = [(truth[at], truth[at]) if at in truth else (0, 1) for at in range(count)]
        within = [(max(low, a), min(high, b)) for (low, high), a, b in zip(bounds, rows.lower, rows.upper, strict=True)]
        if any(low > high for low, high in within):
            assert not meant(x, y, program)
            continue
        costs = np.random.default_rng(0).random(count)
        least = extreme(rows, costs, within)
        assert (least is not None) == meant(x, y, program)
        if least is None:
            continue
        allowed += 1
        expected = np.array([(truth | products)[at] for at in range(count)])
        for answer in (least, extreme(rows, -costs, within)):  # the least and the most of a random sum: one point
            np.testing.assert_allclose(answer, expected, atol=1e-7)
        assert satisfied(rows, expected[None]).all()
    assert allowed > 5


def extreme(rows: Linear, costs: np.ndarray, bounds: list[tuple[float, float]]) -> np.ndarray | None:
    matrix = rows.matrix.toarray()
    finite = rows.row_lower > -math.inf
    found = linprog(
        costs,
        np.concatenate([matrix, -matrix[finite]]),
        np.concatenate([rows.row_upper, -rows.row_lower[finite]]),
        bounds=bounds,
    )
    return found.x if found.status == 0 else None


def test_the_tight_relaxation_is_contained_in_the_naive_one():
    for seed in range(10):
        program = random_program(5, 3, seed)
        tight, naive = (linearise(program, form) for form in FORMS)
        bounds = []
        for rows in (tight, naive):
            relaxed = [(0.0, 1.0)] * len(rows.costs)
            bounds.append(float(rows.costs @ extreme(rows, rows.costs, relaxed)))
        assert bounds[1] <= bounds[0] + 1e-9
    assert bounds[1] < bounds[0] - 1


# --- how many ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "classes"), [(1, 3), (2, 1), (4, 2), (7, 3), (20, 14)])
def test_sizes(size, classes):
    """The counts of the paper's program: products by pairs and pairs of classes, triangles by triples."""
    program, pairs = random_program(size, classes, 0), size * (size - 1) // 2
    triangles = size * (size - 1) * (size - 2) // 2
    for form, rows in ((form, linearise(program, form)) for form in FORMS):
        assert (rows.x >= 0).sum() == size * classes
        assert (rows.y >= 0).sum() == 2 * pairs
        assert (rows.z >= 0).sum() == classes**2 * pairs
        assert len(rows.costs) == size * classes + pairs + classes**2 * pairs
        counts = {name: len(numbers) for name, numbers in rows.families.items()}
        assert counts["uniqueness"] == size and counts["triangles"] == triangles
        if form == "naive":
            assert counts["coupling"] == size * (size - 1) and counts["products"] == 4 * classes**2 * pairs
        else:
            assert "coupling" not in counts and counts["products"] == (2 * classes + 1) * pairs
        assert sum(counts.values()) == rows.matrix.shape[0]
        assert "triangles" not in linearise(program, form, triangles=False).families
    single = linearise(Program(program.unary, program.pairwise, single_person=True))
    assert len(single.families["single"]) == pairs


def test_numbers_of_the_fact_sheet():
    """Fifty candidates of fourteen classes."""
    rows = linearise(random_program(50, 14, 0), triangles=False)
    assert len(rows.costs) == 700 + 1225 + 240_100


def test_what_is_forbidden_or_fixed_to_0_has_no_variable():
    program = two_people()
    unary = program.unary.copy()
    unary[5] = math.inf
    unary[0, 1] = math.inf
    without = linearise(Program(unary, program.pairwise))
    assert (without.x >= 0).sum() == 9 and (without.y >= 0).sum() == 20 and (without.y[5] < 0).all()
    x = np.full((6, 2), FREE)
    x[5], x[0, 1] = 0, 0
    fixed = linearise(program, fixed=Fixed(x, np.full((6, 6), FREE)))
    assert len(fixed.costs) == len(without.costs) and np.array_equal(fixed.x, without.x)
    np.testing.assert_array_equal(fixed.costs, without.costs)


def test_triangles_one_by_one_are_all_triangles():
    program = random_program(5, 2, 0)
    lazy, full = linearise(program, triangles=False), linearise(program)
    three = np.array([(d, e, f) for d, e, f in product(range(5), repeat=3) if d < f and e not in (d, f)])
    added = lazy.with_triangles(three[:7]).with_triangles(three[7:])
    rows = [
        {tuple(row) for row in found.matrix.toarray()[found.families["triangles"]].tolist()} for found in (added, full)
    ]
    assert rows[0] == rows[1] and len(added.families["triangles"]) == len(full.families["triangles"]) == 30


# --- what each family guards against ----------------------------------------------------------------------------------


def test_without_uniqueness_a_candidate_is_two_joints():
    unary = np.array([[-1.0, -2.0]])
    rows = linearise(Program(unary, np.zeros((1, 1, 2, 2))))
    assert minimise(rows).objective == pytest.approx(-2)
    assert minimise(rows.without("uniqueness")).x.tolist() == [[1, 1]]


def chain() -> Program:
    """Two pairs attract each other, the third repels more than both together."""
    pairwise = np.zeros((3, 3, 1, 1))
    pairwise[0, 1] = pairwise[1, 2] = -2
    pairwise[0, 2] = 5
    return Program(np.full((3, 1), -1.0), symmetric(pairwise))


@pytest.mark.parametrize("form", FORMS)
def test_without_triangles_friends_of_friends_are_none(form):
    rows = linearise(chain(), form)
    assert minimise(rows).objective == pytest.approx(-5)
    answer = minimise(rows.without("triangles"))
    assert answer.objective == pytest.approx(-7)
    assert answer.y[0, 1] == answer.y[1, 2] == 1 and answer.y[0, 2] == 0
    assert grouped(answer.x, answer.y)[1].tolist() == [0, 0, 0], "components merge them silently"


def test_without_coupling_the_suppressed_join_people():
    """A chain over a candidate that nobody pays for: y of a suppressed candidate costs nothing by itself."""
    program = random_program(3, 1, 0)
    rows = linearise(program, "naive")
    assert satisfied(rows.without("coupling", "products"), joined_but_suppressed(rows)).all()
    assert not satisfied(rows, joined_but_suppressed(rows)).any()


def joined_but_suppressed(rows: Linear) -> np.ndarray:
    v = np.zeros((1, len(rows.costs)))
    v[0, rows.y[rows.y >= 0]] = 1
    return v


@pytest.mark.parametrize("form", FORMS)
def test_without_products_every_reward_is_free(form):
    program = two_people()
    answer = minimise(linearise(program, form).without("products"))
    assert answer.objective < -23.2815 - 10
    assert answer.objective == pytest.approx(
        np.minimum(program.unary.min(1), 0).sum() + np.minimum(program.pairwise, 0).sum() / 2
    )


def test_without_forbidden_the_forbidden_is_free():
    pairwise = np.zeros((3, 3, 2, 2))
    pairwise[0, 1, 0, 0] = math.inf
    pairwise[0, 2] = pairwise[1, 2] = -2
    rows = linearise(Program(np.tile([-1.0, 9.0], (3, 1)), symmetric(pairwise)), "naive")
    assert minimise(rows).objective == pytest.approx(-5)
    assert minimise(rows.without("forbidden")).objective == pytest.approx(-7)


def test_unknown_rows():
    with pytest.raises(CourseError, match="no rows called 'triangle'; there are uniqueness, products, triangles"):
        linearise(two_people()).without("triangle")
    with pytest.raises(CourseError, match="no form called 'loose'"):
        linearise(two_people(), "loose")


# --- costs ------------------------------------------------------------------------------------------------------------


def test_log_odds():
    np.testing.assert_allclose(log_odds([0.5, 0.9, 0.1]), [0, -math.log(9), math.log(9)])
    np.testing.assert_allclose(log_odds([0, 1], clip=1e-4), [math.log(9999), -math.log(9999)])
    assert log_odds([0.003, 0.5], prune=1 / 255).tolist() == [math.inf, 0]
    assert (log_odds([0.6, 0.51]) < 0).all(), "a probability above 1/2 is a reward"
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(CourseError, match=r"lie in \[0, 1\]; at \[1\]"):
            log_odds([0.5, bad])
    for clip in (0, 0.5, math.nan):
        with pytest.raises(CourseError, match="clip must lie"):
            log_odds([0.5], clip=clip)


def test_objective_by_hand():
    program = two_people()
    odds = np.log([0.1 / 0.9, 0.2 / 0.8])
    distance = 0.2 * math.hypot(3, 1) - 7.5
    expected = odds.sum() + math.log(0.3 / 0.7) + distance - 3 + (0.3 * math.hypot(3, 1) - 3)
    assert program.objective([0, 1, -1, -1, 0, -1], [0, 0, -1, -1, 0, -1]) == pytest.approx(expected)
    assert program.objective([-1] * 6, [-1] * 6) == 0
    assert program.objective([0, -1, -1, 1, -1, -1], [0, -1, -1, 1, -1, -1]) == pytest.approx(-2 * math.log(9))
    single = two_people(single_person=True)
    assert single.objective([0, -1, -1, 1, -1, -1], [0, -1, -1, 1, -1, -1]) == math.inf


@pytest.mark.parametrize(
    ("labels", "people", "message"),
    [
        ([0] * 5, [0] * 5, "6 candidates need as many"),
        ([2] * 6, [0] * 6, "numbered from 0 to 1"),
        ([-2] * 6, [0] * 6, "numbered from 0 to 1"),
        ([0] * 6, [-1] * 6, "a suppressed one neither"),
    ],
)
def test_what_is_no_labelling(labels, people, message):
    with pytest.raises(CourseError, match=message):
        two_people().objective(labels, people)


def test_costs_that_are_none():
    good = two_people()
    for bad in (math.nan, -math.inf):
        unary, pairwise = good.unary.copy(), good.pairwise.copy()
        unary[3, 1] = bad
        with pytest.raises(CourseError, match=r"unary costs must be numbers, .* at \[3, 1\]"):
            Program(unary, good.pairwise)
        pairwise[1, 2, 0, 1] = pairwise[2, 1, 1, 0] = bad
        with pytest.raises(CourseError, match=r"pairwise costs must be numbers, .* at \[1, 2, 0, 1\]"):
            Program(good.unary, pairwise)
    for unary, pairwise in (
        (good.unary[:5], good.pairwise),
        (good.unary[0], good.pairwise),
        (good.unary, good.pairwise[:, :, :1]),
        (good.unary[:, :0], good.pairwise[:, :, :0, :0]),
    ):
        with pytest.raises(CourseError, match=r"needs unary costs \(D, C\)"):
            Program(unary, pairwise)
    with pytest.raises(CourseError, match="must be an array of numbers"):
        Program([["many", "few"]], good.pairwise)
    lopsided = good.pairwise.copy()
    lopsided[0, 1, 0, 1] += 1
    with pytest.raises(CourseError, match=r"at \[0, 1, 0, 1\] there is .*, the other way round"):
        Program(good.unary, lopsided)


def test_the_diagonal_is_not_read():
    good = two_people()
    pairwise = good.pairwise.copy()
    pairwise[range(6), range(6)] = math.nan
    np.testing.assert_array_equal(Program(good.unary, pairwise).pairwise, good.pairwise)


def test_too_large_a_program():
    size = 500
    many = Program(np.zeros((size, 1)), np.zeros((size, size, 1, 1)))
    with pytest.raises(CourseError, match=r"500 candidates .* more than 40,000,000: prune .* lazily"):
        linearise(many)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:5], y), "fixed variables must be x"),
        (lambda x, y: (x, np.triu(np.ones((6, 6), dtype=int))), "a symmetric y"),
        (lambda x, y: (np.ones_like(x), y), "candidate 0 is fixed to several classes"),
        (lambda x, y: (np.zeros_like(x), np.ones_like(y)), "candidate 0 is fixed to belong to a person"),
    ],
)
def test_what_cannot_be_fixed(change, message):
    free = Fixed(np.full((6, 2), FREE), np.full((6, 6), FREE))
    with pytest.raises(CourseError, match=message):
        linearise(two_people(), fixed=Fixed(*change(*free)))


def test_fixed_to_what_is_forbidden():
    program = random_program(2, 2, 0)
    unary = program.unary.copy()
    unary[1, 0] = math.inf
    x = np.full((2, 2), FREE)
    x[1, 0] = 1
    with pytest.raises(CourseError, match="candidate 1 is fixed to class 0, which its costs forbid"):
        linearise(Program(unary, program.pairwise), fixed=Fixed(x, np.full((2, 2), FREE)))
