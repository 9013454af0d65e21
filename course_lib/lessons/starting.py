"""The first line of every lesson: one style, one seed, one choice between a laptop and a GPU."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from course_lib.errors import unknown_name

PROFILES = ("laptop", "gpu")
_MOST_THREADS = 8  # the lessons' small networks gain nothing from more
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Lesson:
    """How this run of a lesson goes."""

    profile: str  # "laptop" or "gpu"
    seed: int
    device: torch.device

    def choose(self, *, laptop: _Value, gpu: _Value) -> _Value:
        """The value that belongs to this profile."""
        return gpu if self.profile == "gpu" else laptop

    def steps(self, *, laptop: int, gpu: int) -> int:
        """How many training steps this profile can afford."""
        return self.choose(laptop=laptop, gpu=gpu)


def start(profile: str | None = None, seed: int = 0) -> Lesson:
    """Sets the course's figure style and seeds everything; says which profile and device the lesson runs with.

    `profile` None asks the environment variable COURSE_PROFILE, and without it the answer is "laptop". The laptop
    profile always computes on the CPU, so that a lesson shows the same numbers everywhere; "gpu" takes the best device
    there is and trains for real.
    """
    from course_lib import show
    from course_lib.training import devices

    profile = profile or os.environ.get("COURSE_PROFILE") or "laptop"
    if profile not in PROFILES:
        raise unknown_name("profile", profile, PROFILES)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (for libraries that draw from NumPy's global generator)
    torch.manual_seed(seed)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(os.cpu_count() or 1, _MOST_THREADS))
    show.use_style()
    device = torch.device("cpu") if profile == "laptop" else devices.choose("auto")
    if profile == "gpu" and device.type == "cpu":
        print("Profile 'gpu' was asked for, but this machine has no GPU: the lesson will train for hours on the CPU.")
    return Lesson(profile, seed, device)
