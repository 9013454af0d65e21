"""What the tests of single models share."""

from __future__ import annotations

from collections.abc import Callable

import torch

from course_lib.models.base import PoseModel


def reached_by(model: PoseModel, stage: int, part: Callable[[str], str]) -> set[str]:
    """The parts of a model that get a gradient from one stage's maps; `part` names the part of a parameter."""
    model.zero_grad(set_to_none=True)
    maps = model(torch.rand(2, 3, *model.input_size))[stage]
    # random weights on the maps: their plain sum would hide what a normalisation cancels
    (maps * torch.randn(maps.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    return {part(n) for n, p in model.named_parameters() if p.grad is not None and float(p.grad.abs().sum()) > 0}
