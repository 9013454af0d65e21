"""Every arrangement of a small tree of parts, enumerated without the library: the oracle of its inference."""

from __future__ import annotations

import math
from itertools import product

import torch

from course_lib.models.pictorial.tree import Grid, Joints

DOUBLE = torch.float64
INF = math.inf


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_joints(parts: int, reach: float = 9.0, seed: int = 0, pictures: int | None = None) -> Joints:
    """Springs of all kinds: joints up to a few cells away, in every direction; with `pictures`, a set for each."""
    random, lead = generator(seed), (() if pictures is None else (pictures,))

    def draw(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(*lead, parts, *shape, dtype=DOUBLE, generator=random)

    return Joints(
        at_parent=draw(-reach, reach, 2),
        at_child=draw(-reach, reach, 2),
        spread=draw(2.0, 9.0, 2),
        angle=draw(-3.0, 3.0),
        kappa=draw(0.1, 3.0),
        stretch=draw(-0.3, 0.3),
        stretch_spread=draw(0.1, 0.6),
    )


def random_unaries(pictures: int, parts: int, grid: Grid, size: float = 2.0, seed: int = 0) -> torch.Tensor:
    return size * torch.randn(pictures, parts, *grid.shape, dtype=DOUBLE, generator=generator(seed))


# --- the oracle -------------------------------------------------------------------------------------------------------


def states_of(grid: Grid) -> list[tuple[int, int, int, int]]:
    return list(product(*map(range, grid.shape)))


def moved(state: tuple[int, int, int, int], joint: list[float], grid: Grid) -> tuple[int, int]:
    """u = cell + round(s R(theta) joint / stride) as x, y."""
    s, r, row, column = state
    turned = grid.scales[s] * complex(*joint) * complex(math.cos(a := 2 * math.pi * r / grid.rotations), math.sin(a))
    return column + round(turned.real / grid.stride), row + round(turned.imag / grid.stride)


def springs_between(j: Joints, part: int, grid: Grid) -> torch.Tensor:
    """psi of one edge for every two states, (parent, child)."""
    states = states_of(grid)
    up = [moved(state, j.at_parent[part].tolist(), grid) for state in states]
    down = [moved(state, j.at_child[part].tolist(), grid) for state in states]
    (dx, dy), angle, kappa = j.spread[part].tolist(), float(j.angle[part]), float(j.kappa[part])
    stretch, stretch_spread = float(j.stretch[part]), float(j.stretch_spread[part])
    table = []
    for parent, u in zip(states, up, strict=True):
        for child, v in zip(states, down, strict=True):
            apart = ((u[0] - v[0]) * grid.stride / dx) ** 2 + ((u[1] - v[1]) * grid.stride / dy) ** 2
            turn = kappa * (math.cos(2 * math.pi * (child[1] - parent[1]) / grid.rotations - angle) - 1)
            growth = math.log(grid.scales[child[0]] / grid.scales[parent[0]]) - stretch
            table.append(-0.5 * apart + turn - 0.5 * (growth / stretch_spread) ** 2)
    return torch.tensor(table, dtype=DOUBLE).view(len(states), len(states))


def all_scores(unaries: torch.Tensor, parents: tuple[int, ...], joints: Joints, grid: Grid) -> torch.Tensor:
    """The score of every arrangement of one picture, (h, ..., h): one dimension a part."""
    states, total = states_of(grid), torch.zeros((), dtype=DOUBLE)

    def spread_over(values: torch.Tensor, *parts: int) -> torch.Tensor:
        shape = [1] * len(parents)
        for part in parts:
            shape[part] = len(states)
        return values.reshape(shape)

    for part, parent in enumerate(parents):
        total = total + spread_over(unaries[part].flatten(), part)
        if parent >= 0:
            pairs = springs_between(joints, part, grid)
            total = total + spread_over(pairs if parent < part else pairs.T, part, parent)
    return total


def only(probabilities: torch.Tensor, *parts: int) -> torch.Tensor:
    """The joint distribution of some parts, in the order of their numbers."""
    others = [part for part in range(probabilities.ndim) if part not in parts]
    return probabilities.sum(others) if others else probabilities


CASES = {
    "a part alone": ((-1,), Grid((3, 2), 4, 3, (1.0,))),
    "two parts": ((1, -1), Grid((3, 5), 4, 4, (0.7, 1.0, 1.5))),
    "chain": ((-1, 0, 1, 2), Grid((2, 3), 4, 2, (1.0,))),
    "chain, upside down": ((1, 2, 3, -1), Grid((4, 1), 3, 3, (1.0,))),
    "star": ((1, -1, 1, 1), Grid((3, 2), 4, 2, (0.8, 1.25))),
    "square": ((2, 2, -1), Grid((3, 3), 4, 4, (1.0,))),
    "both": ((2, 0, -1, 2), Grid((1, 4), 5, 3, (1.0,))),
}
