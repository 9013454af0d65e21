"""People for the tests and benchmarks of everything that must tell people apart: stick figures in map units."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.skeletons import BODY18
from course_lib.targets.fields import limb_counts

# BODY-18, standing, one unit high, the middle at the neck
FIGURE = torch.tensor(
    [
        *((0, -0.12), (0, 0)),
        *((-0.11, 0.01), (-0.16, 0.2), (-0.18, 0.36)),
        *((0.11, 0.01), (0.16, 0.2), (0.18, 0.36)),
        *((-0.08, 0.33), (-0.09, 0.57), (-0.1, 0.82)),
        *((0.08, 0.33), (0.09, 0.57), (0.1, 0.82)),
        *((-0.05, -0.17), (0.05, -0.17), (-0.1, -0.14), (0.1, -0.14)),
    ]
)
LEAVES = [BODY18.index(name) for name in ("left_wrist", "right_wrist", "left_ankle", "right_ankle", "left_ear")]


def figures(count: int, size: tuple[int, int], generator: torch.Generator, height: tuple[float, float]) -> Tensor:
    """Turned, bent and somewhere, wholly inside: joints (count, 18, 2)."""
    made = []
    while len(made) < count:
        random = torch.rand(5, generator=generator)
        high, angle = height[0] + (height[1] - height[0]) * float(random[0]), float(random[1] - 0.5) * 2.4
        turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        shape = FIGURE * torch.tensor([0.7 + 0.9 * float(random[2]), 1.0])
        shape = (shape + 0.02 * torch.randn(18, 2, generator=generator)) @ turn * high
        room = torch.tensor([size[1], size[0]]) - 2 - (shape.amax(0) - shape.amin(0))
        if bool((room > 0).all()):
            made.append(shape - shape.amin(0) + 1 + random[3:] * room)
    return torch.stack(made) if made else torch.zeros(0, 18, 2)


def lines_along_limbs(people: Tensor, size: tuple[int, int], width: float) -> float:
    """The largest share of a line between two people's ends of a limb that runs along drawn limbs of that kind."""
    limbs = BODY18.limbs
    drawn = (limb_counts(people, torch.ones(people.shape[:2]), limbs, size, width) > 0).float()[:, None]
    a, b = (people[:, [limb[end] for limb in limbs]].transpose(0, 1) for end in (0, 1))  # (L, N, 2)
    u = torch.linspace(0, 1, 61)[:, None]
    points = a[:, :, None, None] + u * (b[:, None] - a[:, :, None])[..., None, :]  # (L, N, N, 61, 2)
    grid = points.flatten(1, 2) / torch.tensor([size[1], size[0]]) * 2 - 1
    near = F.grid_sample(drawn, grid, padding_mode="border", align_corners=False)[:, 0] > 0
    share = near.float().mean(-1).view(len(limbs), len(people), len(people))
    return float((share - 2 * torch.eye(len(people))).max())


def told_apart(people: Tensor, size: tuple[int, int], width: float) -> bool:
    """Whether fields can tell these people apart at all, by geometry alone.

    Equal joints are a limb's full width apart, equal limbs share no cell, no limb is shorter than two cells, and no
    line from one person's joint to another's runs for the most part along such limbs.
    """
    limbs = torch.tensor(BODY18.limbs)
    length = (people[:, limbs[:, 0]] - people[:, limbs[:, 1]]).norm(dim=-1)
    apart = (people[:, None] - people[None]).norm(dim=-1).amin(-1) + 1e9 * torch.eye(len(people))
    if bool(length.min() < 2) or bool(apart.min() < 2 * width):
        return False
    counts = limb_counts(people, torch.ones(people.shape[:2]), BODY18.limbs, size, width)
    return bool(counts.max() <= 1) and lines_along_limbs(people, size, width) < 0.6


def crowd(
    most: int, size: tuple[int, int], seed: int, width: float = 1.5, height: tuple[float, float] = (45.0, 70.0)
) -> Tensor:
    """Up to `most` people who can be told apart, joints (N, 18, 2); as many as find room in 12 tries each."""
    generator = torch.Generator().manual_seed(seed)
    people = torch.zeros(0, 18, 2)
    for _ in range(12 * most):
        more = torch.cat([people, figures(1, size, generator, height)])
        if len(people) < most and told_apart(more, size, width):
            people = more
    return people
