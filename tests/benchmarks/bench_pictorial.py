"""Inference on a tree of parts: how it grows, how long a whole body takes, and the ratio to comparing all pairs."""

from __future__ import annotations

import math
import time

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from course_lib.lessons.lesson_01_growth import growth
from course_lib.models.pictorial.tree import Grid, Joints, log_partition, marginals, max_sum, sample

BODY = (-1, 0, 0, 0, 0, 0, 1, 2, 3, 4)  # a torso, a head, upper and lower limbs
GRIDS = {
    "128 x 128, one scale": Grid((128, 128), 1, 16, (1.0,)),
    "32 x 32, three": Grid((32, 32), 4, 16, (0.8, 1, 1.2)),
}


def best_time(function, rounds: int = 3) -> float:
    """Least seconds of CPU: what else runs on the machine counts little."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def random_body(parts: int, grid: Grid) -> tuple[Tensor, Joints]:
    random = torch.Generator().manual_seed(0)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(parts, *shape, generator=random)

    places = (draw(-20, 20, 2), draw(-20, 20, 2), draw(2, 6, 2))
    joints = Joints(*places, draw(-3, 3), draw(0, 4), draw(-0.1, 0.1), draw(0.1, 0.3))
    return 3 * torch.randn(1, parts, *grid.shape, generator=random), joints


@pytest.mark.benchmark(group="pictorial")
def test_growth_of_the_distance_transform(benchmark):
    measured = benchmark.pedantic(growth, kwargs={"lines": 4096}, rounds=1, iterations=1)
    print(f"\n{'places a line':>14} {'definition':>12} {'envelope':>12} {'ratio':>8}")
    for row in zip(measured.sizes, *measured.seconds.values(), measured.ratios(), strict=True):
        print("{:>14} {:>10.4f} s {:>10.4f} s {:>8.1f}".format(*row))
    cheap, dear = (measured.exponents[name] for name in ("envelope", "definition"))
    assert cheap < dear
    print("exponents " + ", ".join(f"{name} {value:.2f}" for name, value in measured.exponents.items()))


@pytest.mark.benchmark(group="pictorial")
@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("function", [max_sum, marginals, log_partition, sample])
def test_a_body_of_ten_parts(benchmark, name, function):
    grid = GRIDS[name]
    unaries, joints = random_body(len(BODY), grid)
    more = (100,) if function is sample else ()
    answer = benchmark.pedantic(function, (unaries, BODY, joints, grid, *more), rounds=3, warmup_rounds=1)
    assert all(bool(part.isfinite().all()) for part in tree_leaves(answer) if isinstance(part, Tensor))
    seconds = best_time(lambda: function(unaries, BODY, joints, grid, *more))
    print(f"\n{function.__name__}, {name}, 16 rotations: {seconds:.2f} s a picture")


def all_pairs(unary: Tensor, joints: Joints, grid: Grid, together, step: int = 64) -> Tensor:
    """What part 1 tells the root, by looking at every pair of states: together(scores (parents, children), dim=1)."""
    states = torch.cartesian_prod(*map(torch.arange, grid.shape))
    turn, cells = 2 * math.pi * states[:, 1] / grid.rotations, states[:, [3, 2]]
    rate = grid.stride / joints.spread[1]
    at_parent, at_child = (
        (cells + grid.offsets(point[1])[states[:, 0], states[:, 1]]) * rate
        for point in (joints.at_parent, joints.at_child)
    )
    told = []
    for i in range(0, len(states), step):
        parent = slice(i, i + step)
        apart = (at_parent[parent, None] - at_child).square().sum(-1)
        angle = (turn - turn[parent, None] - joints.angle[1]).cos() - 1
        told.append(together(unary.flatten() - 0.5 * apart + joints.kappa[1] * angle, 1))
    return torch.cat(told).view(grid.shape)


@pytest.mark.benchmark(group="pictorial")
def test_one_message_against_all_pairs(benchmark):
    grid = Grid((32, 32), 4, 16, (1.0,))
    unaries, joints = random_body(2, grid)
    joints = joints._replace(stretch=torch.zeros(2))
    best = benchmark.pedantic(max_sum, (unaries, (-1, 0), joints, grid), rounds=5, warmup_rounds=1)
    for function, together in ((max_sum, torch.amax), (log_partition, torch.logsumexp)):
        start = time.process_time()
        message = all_pairs(unaries[0, 1], joints, grid, together)
        slow = time.process_time() - start
        fast = best_time(lambda function=function: function(unaries, (-1, 0), joints, grid), 5)
        if function is max_sum:
            torch.testing.assert_close(message, best.messages[0, 1], rtol=0, atol=1e-3)
        else:
            total = (message + unaries[0, 0]).flatten().logsumexp(0)
            torch.testing.assert_close(total[None], log_partition(unaries, (-1, 0), joints, grid), rtol=0, atol=1e-3)
        assert fast < slow
        print(f"\n{function.__name__}: all pairs {slow:.1f} s, here {fast:.3f} s: {slow / fast:.0f} x")
