"""A world of one picture kind for lesson 03: two arms, of which either may be the one that is asked for.

The brighter an arm, the likelier it is the one; the label says which it was this time. Nothing in the picture tells
more than the chance, so nobody can do better than to answer with what is likely: the question is how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib import losses
from course_lib.targets import heatmaps

SIDE, STRIDE, SIGMA = 32, 2, 1.0  # pixels of a picture, pixels a cell, cells
SHOULDER = (16.0, 3.0)
CHANNELS, HIDDEN = 16, 32


@dataclass
class Arms:
    """N pictures (N, 1, 32, 32) with both wrists (N, 2, 2), left first, and the one that was labelled (N, 2)."""

    images: Tensor
    wrists: Tensor
    chances: Tensor  # (N,) of the left one
    labelled: Tensor


def arms(count: int, generator: torch.Generator, chance: float | Sequence[float] | None = None) -> Arms:
    """Pictures drawn at random, with this chance of the left wrist, or these, or with all chances from 0 to 1."""
    low = torch.tensor([[3.0, 14.0], [20.0, 14.0]])
    wrists = low + torch.rand(count, 2, 2, generator=generator) * torch.tensor([9.0, 15.0])
    chances = torch.rand(count, generator=generator)
    if chance is not None:
        chances = torch.as_tensor(chance, dtype=torch.float32).expand(count)
    left = torch.rand(count, generator=generator) < chances
    images = draw(wrists, chances) + 0.05 * torch.randn(count, 1, SIDE, SIDE, generator=generator)
    return Arms(images, wrists, chances, torch.where(left[:, None], wrists[:, 0], wrists[:, 1]))


def draw(wrists: Tensor, chances: Tensor) -> Tensor:
    """Two arms from one shoulder to wrists (N, 2, 2), as bright as each of them is likely: (N, 1, 32, 32)."""
    bright = 0.1 + 0.9 * torch.stack([chances, 1 - chances], -1)
    way = torch.linspace(0, 1, 12)[:, None]
    points = torch.tensor(SHOULDER) * (1 - way) + wrists[:, :, None] * way  # (N, 2, 12, 2)
    arm = heatmaps.gaussian(points, (SIDE, SIDE), 0.8).amax(2)
    hand = heatmaps.gaussian(wrists, (SIDE, SIDE), 2.0)
    return (torch.maximum(0.6 * arm, hand) * bright[..., None, None]).amax(1, keepdim=True)


def body() -> nn.Sequential:
    """What both networks share in kind: features (N, 16, 16, 16) of a picture."""
    return nn.Sequential(
        nn.Conv2d(1, CHANNELS, 5, stride=STRIDE, padding=2),
        nn.ReLU(),
        nn.Conv2d(CHANNELS, CHANNELS, 5, padding=2),
        nn.ReLU(),
    )


def regressor() -> nn.Sequential:
    """Answers with two numbers, x and y, from -1 to 1 across the picture."""
    cells = (SIDE // STRIDE) ** 2
    return nn.Sequential(body(), nn.Flatten(), nn.Linear(CHANNELS * cells, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2))


def mapper() -> nn.Sequential:
    """Answers with a map (N, 1, 16, 16)."""
    return nn.Sequential(body(), nn.Conv2d(CHANNELS, 1, 1))


def fit(network: nn.Module, kind: str, steps: int, seed: int, batch: int = 32) -> nn.Module:
    """Trains by squared errors: of the two numbers (kind "numbers"), or of the map's cells (kind "map")."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    one = torch.ones(batch, 1)
    for _ in range(steps):
        some = arms(batch, generator)
        answer = network(some.images)
        if kind == "numbers":
            loss = losses.coordinate_l2(answer[:, None], some.labelled[:, None] / (SIDE / 2) - 1, one)
        else:
            target = heatmaps.gaussian(some.labelled[:, None] / STRIDE, answer.shape[-2:], SIGMA)
            loss = losses.heatmap_mse(answer, target, one)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


@torch.inference_mode()
def points(network: nn.Module, images: Tensor) -> Tensor:
    """Where a regressor points, in pixels (N, 2)."""
    return (network(images) + 1) * (SIDE / 2)


@torch.inference_mode()
def peaks(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The maps (N, 16, 16) and where each is highest, in pixels (N, 2)."""
    maps = network(images)
    joints, _ = heatmaps.read_out(maps, "dark", sigma=SIGMA)
    return maps[:, 0], joints[:, 0] * STRIDE


def heights(maps: Tensor, places: Tensor) -> Tensor:
    """The values of maps (N, 16, 16) at places (N, 2) in pixels."""
    x, y = (places / STRIDE).long().clamp(0, SIDE // STRIDE - 1).unbind(-1)
    return maps[torch.arange(len(maps)), y, x]


def nearest(answers: Tensor, wrists: Tensor) -> Tensor:
    """Distance (N,) of answers (N, 2) from the nearer of both wrists."""
    return (answers[:, None] - wrists).norm(dim=-1).amin(1)
