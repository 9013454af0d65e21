"""What a network costs: the numbers it learns, and its multiplications."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from course_lib.models.base import PoseModel


def parameters(module: nn.Module) -> int:
    """How many numbers a module learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def giga_multiply_adds(model: PoseModel) -> float:
    """Of convolutions and matrix products, for one picture, in G, as torch counts them."""
    device = next(model.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, *model.input_size, device=device))
    return counter.get_total_flops() / 2e9
