"""The one training loop. Lessons, the command line and GPU jobs all call `train`.

    >>> trained = train("hourglass_live")
    >>> trained.model.estimate(image)

Three decisions shape it:

- **Everything random is a function of (seed, step).** Before step i the generators are seeded from both, and batch i of
  every source of data depends on nothing else. So a state on disk needs no random state, and a run that was killed and
  taken up again gives the same bytes as one that was not (on one device and one version of torch).
- **The learning rate is a function of progress**, a number from 0 to 1. Trained for a number of `steps`, progress is
  step / steps and the run can be repeated exactly. Trained for a number of `minutes`, it is elapsed / minutes: the
  cosine ends at the deadline however fast the machine, and the result depends on its speed.
- **Only checked weights are kept.** Losses and gradient norms are fetched every few steps, so that a GPU is not kept
  waiting; a state is written only after all of them were finite.

What a model learns in another way than by gradients, it learns at the end: a method `settle(batches)` is then given an
endless row of further batches.

Special training is a hook on the model, not a second loop: a model with a method `training_loss(batch, progress) ->
dict` (named terms, their sum under "total") is asked for that instead of `loss(forward(images), batch)`, and may there
choose its own inputs, stages or opponents. It runs under autocast: what it computes losses from it casts to float.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from course_lib import checkpoints
from course_lib.errors import CourseError
from course_lib.progress import progress_bar
from course_lib.training import recipes
from course_lib.training.distributed import joined, lost_another, own_device
from course_lib.training.recipes import Recipe
from course_lib.training.run import Run, random_states_kept
from course_lib.training.signals import Signals
from course_lib.training.sources import Batches, mixture
from course_lib.training.state import state_file

FETCH_EVERY = 10  # steps between looks at the losses
log = logging.getLogger("course_lib")


@dataclass
class Trained:
    """What `train` gives back."""

    model: nn.Module  # the averaged weights, in eval mode
    history: dict[str, list]  # one entry a step; "validation" one entry, a dict, for each time it was asked for
    header: dict[str, Any]  # what a checkpoint says about itself, scores still to be measured
    stopped: str = ""  # the signal that ended the training early, if one did

    def data_share(self) -> float:
        """The share of time that was spent making batches rather than learning from them."""
        data = sum(self.history["data_seconds"])
        return data / max(data + sum(self.history["step_seconds"]), 1e-9)


def train(
    recipe: str | Recipe,
    *,
    model: nn.Module | None = None,
    device: str | torch.device = "auto",
    steps: int | None = None,
    minutes: float | None = None,
    deadline: float | None = None,
    out: str | Path | None = None,
    resume: bool = True,
    progress: bool = True,
    batches: Batches | None = None,
    workers: int | None = None,
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
    validate_every: int = 500,
    save_every: int | None = None,
    save_seconds: float = 60.0,
) -> Trained:
    """Trains a recipe for `steps` (the recipe's own, where neither is given), or `minutes`, or whichever ends first.

    With a folder `out`, the state is written to out/<recipe>/state.pt every `save_seconds` (and every `save_every`
    steps), a training found there is resumed, and its weights end up in out/<recipe>/<recipe>.safetensors. `minutes`
    counts what earlier runs of the same training took, and not the reading of data; it is shortened to end by
    `deadline`, a moment of `time.monotonic()`. Ctrl-C or SIGTERM ends the training after the current step,
    with everything kept.

    `model` trains your own instead of the recipe's; `batches` replaces the recipe's data: batches that are cycled, or a
    function from a step to the batches from there on. `workers` processes make batches ahead of time; without a number,
    only what is read from disk at every step gets some. `validate(averaged model)` is called every `validate_every`
    steps and at the end.

    Started by `torchrun`, the processes train one model together: see `distributed`. The first one saves and validates.
    """
    device = own_device(device)
    with joined(device) as world:
        run = Run.prepare(recipes.get(recipe), model, device, world, steps, minutes)
        if out is not None:
            run.file = state_file(out, run.recipe)
        if run.file and resume and run.file.exists():
            run.load()
        elif model is None and run.recipe.start:
            run.begin_from(run.recipe.start)
        run.source = mixture(run.recipe, run.model, device, run.recipe.batch // run.chunks, batches, workers)
        run.begin(deadline)
        with Signals() as signals, random_states_kept(device), _Bar(run, progress and world.main) as bar:
            try:
                ended = _steps(run, signals, bar, validate, validate_every, save_every, save_seconds)
            except Exception as error:
                if world.count > 1 and lost_another(error):
                    sentence = run.rescue(error)
                    log.warning("%s", sentence)  # at once: who started the processes may end this one any moment
                    raise CourseError(sentence) from error
                raise
        header = run.header()
        stopped = signals.caught or ended
        if not stopped and hasattr(run.average.model, "settle"):
            try:
                run.average.model.settle(run.further_batches())
            except CourseError as error:  # the weights are worth keeping all the same
                log.warning("%s; the model was trained by gradients alone", error)
    trained = Trained(run.average.model, run.history, header, stopped)
    if run.file and world.main and not trained.stopped:
        try:
            checkpoints.save(run.file.with_name(f"{run.recipe.name}.safetensors"), trained.model, trained.header)
        except CourseError as error:
            log.warning("%s; the trained model is in memory only", error)
    return trained


def _steps(
    run: Run,
    signals: Signals,
    bar: _Bar,
    validate: Callable[[nn.Module], dict[str, float]] | None,
    validate_every: int,
    save_every: int | None,
    save_seconds: float,
) -> str:
    """Steps until the end; returns what ended them early, or nothing."""
    main = run.world.main
    made = run.source.walk(run.chunk_numbers())
    while True:
        stop, progress = run.world.agree(bool(signals.caught), run.step, run.progress())
        if stop or progress >= 1:
            break
        run.one_step(made, progress)
        must_save = bool(save_every) and run.step % save_every == 0
        if run.step % FETCH_EVERY == 0 or must_save:
            run.fetch()
            bar.show()
        if validate and main and run.step % validate_every == 0:
            run.validate(validate)
        late = not run.pending and time.monotonic() - run.saved_at > save_seconds
        if run.file and main and (must_save or late):
            run.save()
    run.fetch()
    bar.show()
    if validate and main and not stop:
        run.validate(validate)
    if run.file and main:
        run.save()
    return (signals.caught or "SIGTERM") if stop else ""


class _Bar:
    """One short line of progress."""

    def __init__(self, run: Run, wanted: bool) -> None:
        self.run, self.from_step, self.since = run, run.step, time.monotonic()
        form = "{desc} {percentage:3.0f}%|{bar:24}| {elapsed}{postfix}"
        self.bar = progress_bar(total=1.0, desc=run.recipe.name, bar_format=form, wanted=wanted)

    def __enter__(self) -> _Bar:
        return self

    def show(self) -> None:
        run, passed = self.run, time.monotonic() - self.since
        speed = (run.step - self.from_step) * run.recipe.batch / max(passed, 1e-9)
        self.bar.n = min(run.progress(), 1.0)
        loss = run.history["loss"][-1] if run.step else math.nan
        self.bar.set_postfix_str(f"step {run.step} loss {loss:.4f} {speed:.0f} images/s")

    def __exit__(self, *error: object) -> None:
        self.bar.close()
