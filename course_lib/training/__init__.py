"""Training: recipes say how, `train` does it, `evaluate` measures what came of it."""

from course_lib.training import recipes
from course_lib.training.loop import Trained, train
from course_lib.training.recipes import Recipe

__all__ = ["Recipe", "Trained", "recipes", "train"]
