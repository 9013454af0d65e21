"""The state of an unfinished training, on disk: all that is needed to go on as if nothing had happened."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from course_lib import checkpoints
from course_lib.errors import CourseError
from course_lib.training.optimise import Average
from course_lib.training.recipes import Recipe

FORMAT = 1
KEYS = ("recipe", "model", "average", "optimiser", "step", "elapsed", "history")
AFRESH = "start afresh (--fresh, resume=False) or take another folder"


def state_file(out: str | Path, recipe: Recipe) -> Path:
    """Where a recipe's state lies under the folder `out`."""
    return Path(out) / recipe.name / "state.pt"


def save_state(
    path: Path,
    recipe: Recipe,
    model: nn.Module,
    average: Average,
    optimiser: torch.optim.Optimizer,
    **progress: Any,
) -> None:
    """Writes the state atomically. `progress` is plain numbers, lists and dicts, such as step, elapsed, history.

    No random state is kept, because none is needed: all randomness of step i is seeded from (recipe.seed, i).
    """
    state = {
        "format": FORMAT,
        "recipe": recipe.as_dict(),
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        **progress,
    }
    memory = io.BytesIO()  # torch.save would turn a full disk into an error of its own
    torch.save(state, memory)
    checkpoints.write_atomically(path, lambda file: file.write(memory.getbuffer()))


def load_state(
    path: Path, recipe: Recipe, model: nn.Module, average: Average, optimiser: torch.optim.Optimizer
) -> dict[str, Any]:
    """Fills model, average and optimiser; returns the rest. A state of another recipe is refused."""
    state = read_state(path, next(model.parameters()).device)
    refuse_other(path, state, recipe)
    try:
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CourseError(f"{path} does not fit this model ({reason}); {AFRESH}") from error
    return state


def read_state(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """All that a state on disk holds."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        form = state["format"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CourseError(f"{path} is no readable training state ({reason}); {AFRESH}") from error
    if form != FORMAT:
        raise CourseError(f"{path} was written by another version of the course (format {form}); {AFRESH}")
    if lacking := [key for key in KEYS if key not in state]:
        raise CourseError(f"{path} is no whole training state (it lacks '{lacking[0]}'); {AFRESH}")
    return state


def refuse_other(path: Path, state: dict[str, Any], recipe: Recipe) -> None:
    """Refuses a state that another recipe made."""
    if difference := recipe.difference(state["recipe"]):
        raise CourseError(f"{path} belongs to another training: {difference}; {AFRESH}")
