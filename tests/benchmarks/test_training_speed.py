"""How fast a training step is, as ratios to plain fp32: `python -m course_lib speed` on every model of the course."""

from __future__ import annotations

import pytest

from course_lib import cli
from course_lib.training import recipes

# For a GPU: a small batch tells the ratios on a CPU too
PAPER_SIZE = ("adversarial", "hourglass", "hrnet", "ief", "pose_resnet")


@pytest.mark.parametrize("recipe", recipes.names())
def test_a_training_step(recipe):
    small = ["--batch", "2", "--steps", "2"] if recipe in PAPER_SIZE else []
    assert cli.main(["speed", recipe, *small]) == 0
