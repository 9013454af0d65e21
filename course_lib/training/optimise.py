"""The three parts of a training step that are not the network's: optimiser, learning rate, averaged weights."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

from course_lib.training.recipes import Recipe


def optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW whose weight decay pulls on weights only, not on a norm's scale or a bias (the one-dimensional ones)."""
    trained = [value for value in model.parameters() if value.requires_grad]
    groups = [
        {"params": [value for value in trained if value.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [value for value in trained if value.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def learning_rate(peak: float, warmup: int, step: int, progress: float) -> float:
    """peak * min(1, (step + 1) / warmup) * (1 + cos(pi * progress)) / 2: a straight rise, then a cosine down to zero.

    The rise is counted in steps, the fall in `progress` from 0 to 1, which may be a share of the steps or of the time.
    """
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return peak * rise * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2


class Average:
    """An exponential moving average of a model's weights, held in a second copy of the model, in eval mode.

    The decay warms up as min(decay, (1 + t) / (10 + t)) over the updates t, so that the random weights of the start are
    soon forgotten. Buffers (batch-normalisation statistics) are copied: they are averages already.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for mean, now in zip(self.model.parameters(), model.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)
        for mean, now in zip(self.model.buffers(), model.buffers(), strict=True):
            mean.copy_(now)

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]
