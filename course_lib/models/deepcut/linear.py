"""DeepCut's program as rows of a matrix, which is what a solver of integer programs reads.

The rows, by the names that `Linear.families` and `Linear.without` know:

    uniqueness  sum_c x_dc <= 1
    coupling    y_de <= sum_c x_dc,  y_de <= sum_c x_ec                     only the kept are joined
    products    x_dc + x_ec' + y_de - z_decc' <= 2                          naive: z is not too small,
                z <= x_dc,  z <= x_ec',  z <= y_de                          nor too large
                sum_cc' z_decc' = y_de                                      tight: a joined pair has a pair of classes,
                sum_c' z_decc' <= x_dc,  sum_c z_decc' <= x_ec'             the one that x says
    forbidden   x_dc + x_ec' + y_de <= 2                                    naive: those that have no z, being infinite
    triangles   y_de + y_ef - y_df <= 1, in its three rotations             friends of friends are friends
    single      sum_c x_dc + sum_c x_ec - y_de <= 1                         at most one person, where asked for

The tight form uses uniqueness to need 2 C + 1 rows a pair instead of 4 C^2 + 2, contains coupling, and its z come out
whole by themselves. Both have the same solutions; relaxed to fractions the tight one is much smaller.

| | papers | here |
|---|---|---|
| uniqueness | x_dc + x_dc' <= 1 for all c < c' | one row a candidate, which says the same |
| products | naive | naive or tight |
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array, csr_array, vstack

from course_lib.errors import CourseError
from course_lib.models.deepcut.program import Program

FREE = -1  # a variable that is not fixed
ENTRIES = 40_000_000  # of the largest matrix that is built: about 2 GB with what the solver makes of it


class Fixed(NamedTuple):
    """Variables that are decided beforehand: 0, 1 or FREE."""

    x: np.ndarray  # (D, C)
    y: np.ndarray  # (D, D); [d, e] and [e, d] say the same


@dataclass(frozen=True)
class Linear:
    """minimise costs v  subject to  row_lower <= matrix v <= row_upper  and  lower <= v <= upper, v = (x, y, z)."""

    costs: np.ndarray  # (V,)
    lower: np.ndarray  # (V,)
    upper: np.ndarray  # (V,)
    whole: np.ndarray  # (V,) 1 where the variable must be an integer
    matrix: csr_array  # (R, V)
    row_lower: np.ndarray  # (R,)
    row_upper: np.ndarray  # (R,)
    families: dict[str, np.ndarray]  # the numbers of their rows
    x: np.ndarray  # (D, C) the variable's number, -1 where there is none
    y: np.ndarray  # (D, D) symmetric, likewise
    z: np.ndarray  # (P, C, C) likewise, of the pairs in the order of np.triu_indices

    def without(self, *names: str) -> Linear:
        """The same with some families of rows left out, to see what each guards against."""
        keep = np.ones(len(self.row_upper), dtype=bool)
        for name in names:
            if name not in self.families:
                raise CourseError(f"there are no rows called '{name}'; there are {', '.join(self.families)}")
            keep[self.families[name]] = False
        number = keep.cumsum() - 1
        families = {name: number[rows] for name, rows in self.families.items() if name not in names}
        matrix, lower, upper = self.matrix[keep], self.row_lower[keep], self.row_upper[keep]
        return replace(self, matrix=matrix, row_lower=lower, row_upper=upper, families=families)

    def with_triangles(self, triangles: np.ndarray) -> Linear:
        """The same with rows y_de + y_ef - y_df <= 1 for the (d, e, f) (T, 3), e in the middle."""
        d, e, f = triangles.T
        rows = _Rows(len(self.costs))
        rows.add("triangles", [self.y[d, e], self.y[e, f], self.y[d, f]], (1, 1, -1), upper=1)
        matrix, lower, upper, _ = rows.stacked()
        before = self.families.get("triangles", np.zeros(0, dtype=int))
        added = len(self.row_upper) + np.arange(len(upper))
        return replace(
            self,
            matrix=vstack([self.matrix, matrix], format="csr"),
            row_lower=np.concatenate([self.row_lower, lower]),
            row_upper=np.concatenate([self.row_upper, upper]),
            families=self.families | {"triangles": np.concatenate([before, added])},
        )

    def values(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x (D, C) and y (D, D) of a vector of all variables; 0 where there is no variable."""
        return tuple(np.where(at >= 0, v[at], 0.0) for at in (self.x, self.y)) if len(v) else (self.x * 0.0, self.y * 0)


def linearise(program: Program, form: str = "tight", triangles: bool = True, fixed: Fixed | None = None) -> Linear:
    """Variables and rows of a program, in the "tight" or the "naive" form; without triangles where they come lazily.

    What is fixed to 0 and what is forbidden gets no variable at all.
    """
    if form not in ("tight", "naive"):
        raise CourseError(f"there is no form called '{form}' of the products; there are tight and naive")
    size, classes = program.unary.shape
    allowed, lower_y, upper_y = _allowed(program, fixed)
    alive = allowed.any(1)
    d, e = np.triu_indices(size, 1)
    both = allowed[d, :, None] & allowed[e, None, :]  # (P, C, C)
    costs = program.pairwise[d, e]
    possible = both & (costs < math.inf)
    pairs, product_count = alive[d] & alive[e], int(possible.sum())
    _refuse_large(form, product_count, int(alive.sum()), triangles)

    x = _numbers(allowed, 0)
    of_pair = _numbers(pairs, x.max(initial=-1) + 1)
    z = _numbers(possible, x.max(initial=-1) + 1 + int(pairs.sum()))
    y = np.full((size, size), -1)
    y[d, e] = y[e, d] = of_pair
    count = int(allowed.sum() + pairs.sum() + product_count)

    rows = _Rows(count)
    rows.add("uniqueness", [*x[alive].T], (1,) * classes, upper=1)
    p, c, k = np.nonzero(possible)
    first, second, joined, product = x[d[p], c], x[e[p], k], of_pair[p], z[p, c, k]
    at_d, at_e, at_y, at_z = x[d[pairs]], x[e[pairs]], of_pair[pairs], z[pairs]  # (pairs, C), (pairs, C), (pairs,)
    if form == "tight":
        rows.add(
            "products", [*at_z.reshape(len(at_z), classes**2).T, at_y], (1,) * classes**2 + (-1,), lower=0, upper=0
        )
        for side, own in ((at_z, at_d), (at_z.transpose(0, 2, 1), at_e)):
            there = own >= 0
            rows.add("products", [*side[there].T, own[there]], (1,) * classes + (-1,), upper=0)
    else:
        for own in (at_d, at_e):
            rows.add("coupling", [at_y, *own.T], (1,) + (-1,) * classes, upper=0)
        rows.add("products", [first, second, joined, product], (1, 1, 1, -1), upper=2)
        for factor in (first, second, joined):
            rows.add("products", [product, factor], (1, -1), upper=0)
        p, c, k = np.nonzero(both & ~possible)
        rows.add("forbidden", [x[d[p], c], x[e[p], k], of_pair[p]], (1, 1, 1), upper=2)
    if program.single_person:
        rows.add("single", [*at_d.T, *at_e.T, at_y], (1,) * (2 * classes) + (-1,), upper=1)
    if triangles:
        three = np.array(list(combinations(np.flatnonzero(alive), 3)), dtype=int).reshape(-1, 3)
        for turn in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            i, j, k = three[:, turn].T
            rows.add("triangles", [y[i, j], y[j, k], y[i, k]], (1, 1, -1), upper=1)

    matrix, row_lower, row_upper, families = rows.stacked()
    lower, upper, objective = np.zeros(count), np.ones(count), np.zeros(count)
    objective[x[allowed]], objective[z[possible]] = program.unary[allowed], costs[possible]
    if fixed is not None:
        lower[x[allowed]] = fixed.x[allowed] == 1
        lower[at_y], upper[at_y] = lower_y[d, e][pairs], upper_y[d, e][pairs]
    upper[at_y[~possible[pairs].any((1, 2))]] = 0  # no pair of classes would do
    whole = np.ones(count)
    if form == "tight":
        whole[z[possible]] = 0
    return Linear(objective, lower, upper, whole, matrix, row_lower, row_upper, families, x, y, z)


def _allowed(program: Program, fixed: Fixed | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which x may be 1 (D, C), and the bounds of y (D, D)."""
    size = len(program)
    allowed = program.unary < math.inf
    lower, upper = np.zeros((size, size)), np.ones((size, size))
    if fixed is None:
        return allowed, lower, upper
    if fixed.x.shape != allowed.shape or fixed.y.shape != lower.shape or not np.array_equal(fixed.y, fixed.y.T):
        raise CourseError(
            f"fixed variables must be x {allowed.shape} and a symmetric y {lower.shape}; "
            f"got {fixed.x.shape} and {fixed.y.shape}"
        )
    taken = fixed.x == 1
    bad = taken & ~allowed
    if bad.any():
        d, c = np.argwhere(bad)[0]
        raise CourseError(f"candidate {d} is fixed to class {c}, which its costs forbid")
    if (several := taken.sum(1) > 1).any():
        raise CourseError(f"candidate {int(several.argmax())} is fixed to several classes; it can have one")
    allowed = allowed & (fixed.x != 0) & (taken | ~taken.any(1, keepdims=True))
    lower, upper = (fixed.y == 1).astype(float), (fixed.y != 0).astype(float)
    alone = lower.any(1) & ~allowed.any(1)
    if alone.any():
        raise CourseError(f"candidate {int(alone.argmax())} is fixed to belong to a person, and has no class left")
    return allowed, lower, upper


def _refuse_large(form: str, products: int, alive: int, triangles: bool) -> None:
    entries = products * (3 if form == "tight" else 10) + (3 * alive * (alive - 1) * (alive - 2) // 2) * triangles
    if entries > ENTRIES:
        raise CourseError(
            f"{alive} candidates with {products:,} products of classes make a matrix of about {entries:,} entries, "
            f"more than {ENTRIES:,}: prune improbable classes and pairs, keep fewer candidates, add triangles lazily, "
            "use the tight form, solve in stages, or ask local_search"
        )


def _numbers(there: np.ndarray, first: int) -> np.ndarray:
    """Consecutive numbers from `first` where `there`, -1 elsewhere."""
    return np.where(there, first - 1 + np.cumsum(there).reshape(there.shape), -1)


class _Rows:
    """Collects rows of a sparse matrix, family by family."""

    def __init__(self, columns: int) -> None:
        self.columns, self.count = columns, 0
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.bounds: list[np.ndarray] = []
        self.families: dict[str, list[np.ndarray]] = {}

    def add(
        self, name: str, columns: list[np.ndarray], factors: tuple[int, ...], *, lower: float = -math.inf, upper: float
    ) -> None:
        """n rows sum_i factors[i] v[columns[i]]; a column of -1 is a variable that does not exist, and so is 0."""
        n = len(columns[0])
        at = np.stack(columns, axis=1)  # (n, m)
        there = at >= 0
        rows = np.broadcast_to(self.count + np.arange(n)[:, None], at.shape)[there]
        values = np.broadcast_to(np.asarray(factors, dtype=float), at.shape)[there]
        self.parts.append((rows, at[there], values))
        self.bounds.append(np.broadcast_to([lower, upper], (n, 2)))
        self.families.setdefault(name, []).append(self.count + np.arange(n))
        self.count += n

    def stacked(self) -> tuple[csr_array, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        rows, columns, values = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        matrix = coo_array((values, (rows, columns)), shape=(self.count, self.columns)).tocsr()
        lower, upper = np.concatenate(self.bounds).T
        return matrix, lower, upper, {name: np.concatenate(numbers) for name, numbers in self.families.items()}
