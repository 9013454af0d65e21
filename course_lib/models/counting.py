"""What a network costs: the numbers it learns, and its multiplications."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from course_lib.models.base import PoseModel


def parameters(module: nn.Module) -> int:
    """How many numbers a module has learned to answer with; what only helped in training is left out."""
    dropped = tuple(f"{name}." for name in getattr(module, "only_in_training", ()))
    return sum(value.numel() for name, value in module.named_parameters() if not name.startswith(dropped))


def giga_multiply_adds(model: PoseModel) -> float:
    """Of convolutions and matrix products, for one picture, in G, as torch counts them."""
    device, was_training = next(model.parameters()).device, model.training
    model.eval()  # an empty picture must not enter any normalisation's statistics
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(1, 3, *model.input_size, device=device))
    finally:
        model.train(was_training)
    return counter.get_total_flops() / 2e9
