"""What recipes are made of: worlds of rendered people, ways to change pictures, and what recipes of a kind share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from course_lib.training.augment import Augment

# What a few seconds of training on a CPU can learn: one person, everyday postures, facing us, soft backgrounds.
EASY = {
    **{"natural": 1.0, "sport": 0.0, "free": 0.0, "turn": 30.0},
    **{"others": 0.0, "occluders": 0.0, "clutter": 0, "truncation": 0.0},
    **{"photographs": 0.0, "blur": 0.0, "noise": 0.02},
}

# The rendered sources of data, and how they differ from the benchmark's world. In the hard world a network that answers
# with numbers stays with the mean pose for long; some easy pictures among the others show it the way out.
# A crowd is a whole picture of people instead of a crop around one; "boxed" are people cut out of such pictures.
WORLDS: dict[str, dict[str, Any]] = {
    **{"synthetic": {}, "easy": EASY, "crowd": {"people": (1, 12)}},
    "boxed": {"people": (1, 12), "noise": "none", "padding": 1.25},
}

# The synthetic stream never repeats a picture, and turns, shifts and covers people itself.
RENDERED = Augment(geometry=0.0, flip=0.0, patches=0)
# The same, with more in the way: a joint under a patch is known to be hidden.
COVERED = replace(RENDERED, patches=3, patch=0.5)
# Of an easy world's pictures a pool is enough, if they are moved a little each time.
EASILY = Augment(rotation=15.0, scale=0.15, shift=0.06, patches=0, noise=0.0, grey=0.0)
# Crowds of a pool are turned, scaled and shifted a little each time; the world has posts enough to stand before them.
IN_CROWDS = Augment(rotation=20.0, scale=0.25, shift=0.1, patches=0)
# Where people are in their boxes, and how large, is for the noise of the boxes to change; neighbours cover them.
IN_BOXES = Augment(rotation=30.0, scale=0.0, shift=0.0, patches=1)
# Some thousand photographs are seen many times over, and athletes come in every orientation.
PHOTOGRAPHED = Augment(rotation=60.0, scale=0.25, shift=0.06, geometry=0.9, patches=1, brightness=0.2)
# For networks that answer with numbers: turned people cost them much more than they cost networks that answer with maps
GENTLY = replace(PHOTOGRAPHED, rotation=30.0)
REGRESSED = {"synthetic": {}, "easy": {"share": 0.25}, "lspet": {"share": 0.35, "split": "train"}}

# What most recipes of one kind have in common. LIVE: before the learner's eyes, within twenty seconds of a CPU.
LIVE: dict[str, Any] = {
    **{"data": {"synthetic": EASY}, "pool": 56, "batch": 16, "warmup": 10, "ema": 0.97},
    **{"augment": EASILY, "precision": "bf16"},
}
# Weights that ship; in the easy world a shorter training will do.
SHIPPED: dict[str, Any] = {"batch": 64, "steps": 12_000, "augment": RENDERED, "precision": "bf16", "queue": 1}
CROWDED: dict[str, Any] = {
    **{"data": {"crowd": {}}, "batch": 16, "steps": 20_000, "learning_rate": 1.5e-3, "warmup": 300},
    **{"augment": IN_CROWDS, "precision": "bf16", "queue": 1},
}
BOXED: dict[str, Any] = {
    **{"batch": 64, "steps": 12_000, "learning_rate": 1e-3, "warmup": 300},
    **{"augment": IN_BOXES, "precision": "bf16", "queue": 1},
}
TO_SEE: dict[str, Any] = {
    **{"data": {"easy": {}}, "pool": 300, "batch": 32, "steps": 6_000, "warmup": 100},
    **{"augment": EASILY, "precision": "bf16", "queue": 0.3},
}
