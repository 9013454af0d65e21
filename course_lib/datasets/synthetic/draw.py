"""Random draws with a name and a seed.

All parameters of the world are drawn on the CPU in float64, whatever device renders, so that a GPU sees the same
people. A stream's batch depends on its seed and its number only, so that training can resume anywhere.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def generator_for(*what: object) -> torch.Generator:
    """A CPU generator whose seed is a digest of the words given: ("single-val", 3) never meets ("train", 3)."""
    digest = hashlib.sha256("/".join(map(str, what)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class Draw:
    """Distributions over one generator; every method takes the shape first."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, shape: tuple[int, ...], low: float | Tensor = 0.0, high: float | Tensor = 1.0) -> Tensor:
        return torch.rand(shape, generator=self.generator, dtype=torch.float64) * (high - low) + low

    def normal(self, shape: tuple[int, ...], mean: float | Tensor = 0.0, spread: float | Tensor = 1.0) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64) * spread + mean

    def chance(self, shape: tuple[int, ...], probability: float | Tensor) -> Tensor:
        return self.uniform(shape) < probability

    def integers(self, shape: tuple[int, ...], low: int, high: int) -> Tensor:
        """Whole numbers from low up to, not including, high."""
        return torch.randint(low, high, shape, generator=self.generator)

    def pick(self, shape: tuple[int, ...], weights: list[float]) -> Tensor:
        """Indices drawn with these weights."""
        edges = torch.tensor(weights, dtype=torch.float64).cumsum(0)
        return torch.searchsorted(edges / edges[-1], self.uniform(shape), right=True).clamp(max=len(weights) - 1)
