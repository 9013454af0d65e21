"""What the tests of Adversarial PoseNet share: networks and people small enough for a blink."""

from __future__ import annotations

import math

import torch
from torch import nn

from course_lib import models
from course_lib.models.adversarial import AdversarialPoseNet
from course_lib.models.hourglass import StackedHourglass
from course_lib.pose import UNLABELLED, Batch
from course_lib.skeletons import LSP

SIZE = 32
SMALL = {"stacks": 2, "width": 16, "depth": 2, "judge_width": 8, "input_size": (SIZE, SIZE)}
JUDGES = ("pose", "confidence")


def small(seed: int = 0, **options) -> AdversarialPoseNet:
    """The same fresh weights for the same seed."""
    torch.manual_seed(seed)
    return models.create("adversarial_course", **{**SMALL, **options})


def hourglass(seed: int = 5, **options) -> StackedHourglass:
    """A stacked hourglass whose every number matters: normalisations stirred, maps far from zero."""
    torch.manual_seed(seed)
    options = {**{"stacks": 3, "width": 16, "depth": 2, "input_size": (SIZE, SIZE)}, **options}
    network = models.create("hourglass_course", **options)
    for one in network.modules():
        if isinstance(one, nn.BatchNorm2d):
            nn.init.normal_(one.running_mean, std=0.3)
            nn.init.uniform_(one.running_var, 0.5, 2.0)
    for one in network.predict:
        nn.init.normal_(one.weight, std=0.3)
    return network.eval()


def people(count: int = 4, size: int = SIZE, seed: int = 3) -> Batch:
    """Pictures of noise, joints well inside: unlabelled ones (their place is NaN), hidden and visible ones.

    Torsos are long, so that a joint's own cell is never far from it.
    """
    generator = torch.Generator().manual_seed(seed)
    joints = 0.2 + 0.6 * torch.rand(count, 14, 2, generator=generator)
    ends = [LSP.index(name) for name in LSP.torso]
    joints[:, ends] = torch.tensor([[0.75, 0.25], [0.3, 0.7]])
    visible = torch.randint(1, 3, (count, 14), generator=generator)
    visible[:, [0, 13]] = UNLABELLED  # neither is an end of the torso
    joints[visible == UNLABELLED] = math.nan
    return Batch(torch.rand(count, 3, size, size, generator=generator), size * joints, visible, LSP)
