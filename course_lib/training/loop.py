"""The one training loop. Lessons, the command line and GPU jobs all call `train`.

    >>> trained = train("hourglass_live")
    >>> trained.model.estimate(image)

Three decisions shape it:

- **Everything random is a function of (seed, step).** Before step i the generators are seeded from both, and batch i of
  the data stream depends on nothing else. So a state on disk needs no random state, and a run that was killed and taken
  up again gives the same bytes as one that was not (on one device and one version of torch).
- **The learning rate is a function of progress**, a number from 0 to 1. Trained for a number of `steps`, progress is
  step / steps and the run can be repeated exactly. Trained for a number of `minutes`, it is elapsed / minutes: the
  cosine ends at the deadline however fast the machine, and the result depends on its speed.
- **Only checked weights are kept.** Losses and gradient norms are fetched every few steps, so that a GPU is not kept
  waiting; a state is written only after all of them were finite.

Special training is a hook on the model, not a second loop: a model with a method `training_loss(batch, progress) ->
dict` (named terms, their sum under "total") is asked for that instead of `loss(forward(images), batch)`, and may there
choose its own inputs, stages or opponents. It runs under autocast: what it computes losses from it casts to float.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_lib import checkpoints
from course_lib.errors import CourseError, unknown_name
from course_lib.pose import Batch
from course_lib.training import devices, recipes
from course_lib.training.augment import augment
from course_lib.training.optimise import Average, learning_rate, optimiser
from course_lib.training.recipes import Recipe
from course_lib.training.signals import Signals
from course_lib.training.state import load_state, save_state, state_file

FETCH_EVERY = 10  # steps between looks at the losses
NO_LIMIT = 10**9  # steps, where only time counts
Batches = Callable[[int], Iterator[Batch]] | Sequence[Batch]
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
    out: str | Path | None = None,
    resume: bool = True,
    progress: bool = True,
    batches: Batches | None = None,
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
    validate_every: int = 500,
    save_every: int | None = None,
    save_seconds: float = 60.0,
) -> Trained:
    """Trains a recipe for `steps` (the recipe's own, where neither is given), or `minutes`, or whichever ends first.

    With a folder `out`, the state is written to out/<recipe>/state.pt every `save_seconds` (and every `save_every`
    steps), a training found there is resumed, and its weights end up in out/<recipe>/<recipe>.safetensors. `minutes`
    counts what earlier runs of the same training took. Ctrl-C or SIGTERM ends the training after the current step,
    with everything kept.

    `model` trains your own instead of the recipe's; `batches` replaces the recipe's data: batches that are cycled, or a
    function from a step to the batches from there on. `validate(averaged model)` is called every `validate_every` steps
    and at the end.
    """
    run = _Run.prepare(recipes.get(recipe), model, devices.choose(device), steps, minutes)
    if out is not None:
        run.file = state_file(out, run.recipe)
        if resume and run.file.exists():
            run.load()
    source = _source(run.recipe, run.model, run.device, batches)(run.step)
    with Signals() as signals, _random_states_kept(run.device), _Bar(run, progress) as bar:
        while run.progress() < 1 and not signals.caught:
            run.one_step(source)
            must_save = bool(save_every) and run.step % save_every == 0
            if run.step % FETCH_EVERY == 0 or must_save:
                run.fetch()
                bar.show()
            if validate and run.step % validate_every == 0:
                run.validate(validate)
            late = not run.pending and time.monotonic() - run.saved_at > save_seconds
            if run.file and (must_save or late):
                run.save()
        run.fetch()
        bar.show()
        if validate and not signals.caught:
            run.validate(validate)
        if run.file:
            run.save()
    trained = Trained(run.average.model, run.history, run.header(), signals.caught)
    if run.file and not trained.stopped:
        try:
            checkpoints.save(run.file.with_name(f"{run.recipe.name}.safetensors"), trained.model, trained.header)
        except CourseError as error:
            log.warning("%s; the trained model is in memory only", error)
    return trained


def step_seed(seed: int, step: int) -> int:
    """A seed for everything random in one step; neighbouring steps get unrelated ones."""
    return int.from_bytes(hashlib.sha256(f"{seed} {step}".encode()).digest()[:8], "big") >> 1


@dataclass
class _Run:
    """One training under way."""

    recipe: Recipe
    model: nn.Module
    network: Callable[[Tensor], Any]  # the model, or the compiled model
    average: Average
    optimiser: torch.optim.Optimizer
    generator: torch.Generator
    device: torch.device
    precision: str
    steps: int
    budget: float  # seconds
    file: Path | None = None
    step: int = 0  # steps done
    elapsed_before: float = 0.0  # seconds, in earlier runs
    started: float = field(default_factory=time.monotonic)
    saved_at: float = field(default_factory=time.monotonic)
    saved_step: int = 0
    history: dict[str, list] = field(default_factory=lambda: {"validation": []})
    pending: list[tuple] = field(default_factory=list)  # steps whose numbers were not fetched yet

    @classmethod
    def prepare(
        cls,
        recipe: Recipe,
        model: nn.Module | None,
        device: torch.device,
        steps: int | None,
        minutes: float | None,
    ) -> _Run:
        for name, value in (("steps", steps), ("minutes", minutes)):
            if value is not None and not value > 0:
                raise CourseError(f"{name} must be above 0; got {value}")
        if model is None:
            from course_lib import models

            with _random_states_kept(device):
                torch.manual_seed(step_seed(recipe.seed, -1))
                model = models.create(recipe.model, skeleton=recipe.skeleton, **recipe.options)
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        model = model.to(device, memory_format=layout).train()
        return cls(
            recipe=recipe,
            model=model,
            network=torch.compile(model) if recipe.compile else model,
            average=Average(model, recipe.ema),
            optimiser=optimiser(model, recipe),
            generator=torch.Generator(device),
            device=device,
            precision=devices.precision_on(device, recipe.precision),
            steps=steps or (recipe.steps if minutes is None else NO_LIMIT),
            budget=math.inf if minutes is None else 60.0 * minutes,
        )

    # --- where it stands ---

    def elapsed(self) -> float:
        return self.elapsed_before + time.monotonic() - self.started

    def progress(self) -> float:
        return max(self.step / self.steps, self.elapsed() / self.budget)

    def warmup(self) -> int:
        """The recipe's, but no more than a tenth of a short training."""
        return min(self.recipe.warmup, self.steps // 10)

    def header(self) -> dict[str, Any]:
        return {
            "model": self.recipe.model,
            "options": self.recipe.options,
            "skeleton": getattr(getattr(self.model, "skeleton", None), "name", self.recipe.skeleton),
            "recipe": self.recipe.name,
            "data": self.recipe.data,
            "steps": self.step,
            "images": self.history.get("images", [0])[-1],
            "seed": self.recipe.seed,
            "device": _device_name(self.device),
            "precision": self.precision,
            "minutes": round(self.elapsed() / 60, 2),
            "date": date.today().isoformat(),
            "code": checkpoints.code_version(),
            "scores": {},
        }

    # --- one step ---

    def one_step(self, source: Iterator[Batch]) -> None:
        recipe, clock = self.recipe, devices.Clock(self.device)
        progress = self.progress()
        rate = learning_rate(recipe.learning_rate, self.warmup(), self.step, progress)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        torch.manual_seed(step_seed(recipe.seed, self.step))
        self.generator.manual_seed(step_seed(recipe.seed, self.step))
        begin = clock.mark()
        batch = augment(next(source).to(self.device), self.generator, recipe.augment)
        ready = clock.mark()
        terms = self.backward(batch, progress)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        self.optimiser.step()
        self.average.update(self.model)
        self.step += 1
        numbers = torch.stack([norm.detach().float(), *(term.detach().float() for term in terms.values())])
        self.pending.append((list(terms), numbers, rate, len(batch), clock, begin, ready, clock.mark()))

    def backward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Losses by name, with their total's gradient in the model's parameters."""
        if self.recipe.channels_last:
            batch.images = batch.images.contiguous(memory_format=torch.channels_last)
        try:
            return self._backward(batch, progress)
        except Exception as error:
            if self.network is self.model or self.history.get("step") or isinstance(error, CourseError):
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            log.warning("torch.compile failed (%s); training goes on without it", reason)
            self.network = self.model
            return self._backward(batch, progress)

    def _backward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        self.optimiser.zero_grad(set_to_none=True)
        with devices.autocast(self.device, self.precision):
            special = getattr(self.model, "training_loss", None)
            answer = special(batch, progress) if special else self.network(batch.images)
        terms = answer if special else self.model.loss(devices.to_float(answer), batch)
        terms["total"].backward()
        return terms

    def fetch(self) -> None:
        """Brings the numbers of the last steps into the history, and stops the training where one is not finite."""
        first = self.step - len(self.pending)
        for step, (names, numbers, rate, images, clock, begin, ready, end) in enumerate(self.pending, first):
            norm, *losses = numbers.tolist()
            if not all(math.isfinite(value) for value in (norm, *losses)):
                raise CourseError(self.bad_news(step, dict(zip(names, losses, strict=True))["total"], norm))
            row = {"loss" if name == "total" else name: value for name, value in zip(names, losses, strict=True)}
            row |= {"step": step, "learning_rate": rate, "gradient_norm": norm}
            row |= {"images": images + (self.history.get("images") or [0])[-1]}
            row |= {"data_seconds": clock.seconds(begin, ready), "step_seconds": clock.seconds(ready, end)}
            for name, value in row.items():
                self.history.setdefault(name, []).append(value)
        self.pending.clear()

    def bad_news(self, step: int, loss: float, norm: float) -> str:
        what = f"the loss became {loss}" if not math.isfinite(loss) else f"the gradient's norm became {norm}"
        kept = "no state was kept, since no folder (out, --out) was given"
        if self.file:
            kept = f"the last good state, of step {self.saved_step}, is {self.file}"
            kept = kept if self.file.exists() else f"nothing good had been saved yet in {self.file.parent}"
        return (
            f"training '{self.recipe.name}' stopped at step {step}: {what}; {kept}. Try half the learning rate "
            f"({self.recipe.learning_rate / 2:g}), a longer warm-up, or precision 'fp32'"
        )

    def validate(self, function: Callable[[nn.Module], dict[str, float]]) -> None:
        self.fetch()
        if [row["step"] for row in self.history["validation"][-1:]] != [self.step]:
            self.history["validation"].append({"step": self.step, **function(self.average.model)})

    # --- on disk ---

    def save(self) -> None:
        self.fetch()
        progress = {"step": self.step, "elapsed": self.elapsed(), "history": self.history}
        try:
            save_state(self.file, self.recipe, self.model, self.average, self.optimiser, **progress)
            self.saved_step = self.step
        except CourseError as error:  # what was learned so far is worth more than the file
            log.warning("%s; training goes on", error)
        self.saved_at = time.monotonic()

    def load(self) -> None:
        state = load_state(self.file, self.recipe, self.model, self.average, self.optimiser)
        self.step = self.saved_step = state["step"]
        self.elapsed_before, self.history = state["elapsed"], state["history"]


# --- what surrounds it ------------------------------------------------------------------------------------------------


def _source(
    recipe: Recipe, model: nn.Module, device: torch.device, batches: Batches | None
) -> Callable[[int], Iterator[Batch]]:
    """A function from a step to the batches from there on."""
    if callable(batches):
        return batches
    if batches is not None:
        if not len(batches):
            raise CourseError("there are no batches to train on")
        return _cycle(lambda: batches)
    if list(recipe.data) != ["synthetic"]:
        raise unknown_name("source of training data", ", ".join(recipe.data), ["synthetic"])
    from course_lib.datasets import synthetic

    settings = synthetic.Settings(**recipe.data["synthetic"])
    where = {"size": model.input_size, "skeleton": recipe.skeleton, "device": device}

    def stream(start: int) -> Iterator[Batch]:
        return synthetic.stream(recipe.batch, seed=recipe.seed, settings=settings, start=start, **where)

    return _cycle(lambda: list(itertools.islice(stream(0), recipe.pool))) if recipe.pool else stream


def _cycle(make: Callable[[], Sequence[Batch]]) -> Callable[[int], Iterator[Batch]]:
    """Goes round a few batches; they are made when the first one is asked for."""

    def batches_from(start: int) -> Iterator[Batch]:
        pool = make()
        yield from (pool[step % len(pool)] for step in range(start, NO_LIMIT))

    return batches_from


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type


def _random_states_kept(device: torch.device) -> Any:
    """A context after which torch's global generators stand where they stood before."""
    if device.type != "cuda":
        return torch.random.fork_rng([])
    return torch.random.fork_rng([torch.cuda.current_device() if device.index is None else device.index])


class _Bar:
    """One short line of progress."""

    def __init__(self, run: _Run, wanted: bool) -> None:
        self.run, self.from_step, self.since = run, run.step, time.monotonic()
        form = "{desc} {percentage:3.0f}%|{bar:24}| {elapsed}{postfix}"
        unwatched = os.environ.get("TQDM_DISABLE", "0") not in ("", "0")  # tqdm's notebook bar ignores it
        self.bar = tqdm(total=1.0, desc=run.recipe.name, bar_format=form, disable=unwatched or not wanted)

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
