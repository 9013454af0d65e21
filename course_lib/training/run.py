"""One training under way: where it stands, one step of it, and its state on disk. `loop.train` drives it."""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import checkpoints, hub
from course_lib.errors import CourseError
from course_lib.pose import Batch, Crowd
from course_lib.training import devices, provenance
from course_lib.training.distributed import Asked, Buffers, World, chunks_of, lost_another, spread
from course_lib.training.optimise import Average, learning_rate, optimiser
from course_lib.training.recipes import Recipe
from course_lib.training.sources import Mixture
from course_lib.training.state import load_state, save_state

NO_LIMIT = 10**9  # steps, where only time counts
log = logging.getLogger("course_lib")


class Diverged(CourseError):
    """A loss or a gradient is no longer finite, so there is nothing to go on from but the state before."""


@dataclass
class Run:
    """One training under way."""

    recipe: Recipe
    model: nn.Module
    world: World
    asked: Asked
    together: nn.Module  # `asked`, by itself or spread over the processes
    waiting: Callable[[], Any]  # the context in which gradients wait for a later chunk
    chunks: int  # into which all processes together cut a batch
    buffers: Buffers
    average: Average
    optimiser: torch.optim.Optimizer
    generator: torch.Generator
    device: torch.device
    precision: str
    steps: int
    budget: float  # seconds, earlier runs included
    source: Mixture | None = None
    file: Path | None = None
    start: dict[str, Any] = field(default_factory=dict)  # what it began from, as `provenance` says it
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
        world: World,
        steps: int | None,
        minutes: float | None,
    ) -> Run:
        for name, value in (("steps", steps), ("minutes", minutes)):
            if value is not None and not value > 0:
                raise CourseError(f"{name} must be above 0; got {value}")
        if model is None:
            from course_lib import models

            with random_states_kept(device):
                torch.manual_seed(step_seed(recipe.seed, -1))
                model = models.create(recipe.model, skeleton=recipe.skeleton, **recipe.options)
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        model = model.to(device, memory_format=layout).train()
        precision = devices.precision_on(device, recipe.precision)
        asked = Asked(model, recipe.compile, device, precision)
        together, waiting = spread(asked, world)
        chunks = chunks_of(recipe, world.count)
        return cls(
            recipe=recipe,
            model=model,
            world=world,
            asked=asked,
            together=together,
            waiting=waiting,
            chunks=chunks,
            buffers=Buffers(model, chunks, world),
            average=Average(model, recipe.ema),
            optimiser=optimiser(model, recipe),
            generator=torch.Generator(device),
            device=device,
            precision=precision,
            steps=steps or (recipe.steps if minutes is None else NO_LIMIT),
            budget=math.inf if minutes is None else 60.0 * minutes,
        )

    def begin(self, deadline: float | None) -> None:
        """Starts the clock, now that all data is at hand, and sees to it that the end comes by the deadline."""
        self.started = time.monotonic()
        if deadline is None:
            return
        left = max(deadline - self.started, 0.0)
        if not left and not self.step:
            raise CourseError(f"training '{self.recipe.name}' had no time left after its data was read; give it more")
        self.budget = min(self.budget, self.elapsed_before + left)

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
            "start": self.start,
            "data": self.recipe.data,
            "changed": provenance.changed(self.recipe),
            "steps": self.step,
            "images": self.history.get("images", [0])[-1],
            "seed": self.recipe.seed,
            "device": devices.describe(self.device),
            "precision": self.precision,
            "minutes": round(self.elapsed() / 60, 2),
            "date": date.today().isoformat(),
            "code": checkpoints.code_version(),
            "scores": {},
        }

    # --- one step ---

    def own_chunks(self) -> range:
        """Which chunks of a batch this process takes."""
        each = self.chunks // self.world.count
        return range(self.world.rank * each, (self.world.rank + 1) * each)

    def chunk_numbers(self) -> Iterator[int]:
        """The numbers of all chunks that this process will take, from this step on."""
        return (step * self.chunks + chunk for step in itertools.count(self.step) for chunk in self.own_chunks())

    def one_step(self, made: Iterator[list[Batch | Crowd]], progress: float) -> None:
        recipe, clock, own = self.recipe, devices.Clock(self.device), self.own_chunks()
        rate = learning_rate(recipe.learning_rate, self.warmup(), self.step, progress)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        self.buffers.start()
        marks, sums, images = [clock.mark()], {}, 0
        for chunk in own:
            number = self.step * self.chunks + chunk
            torch.manual_seed(step_seed(recipe.seed, number))
            self.generator.manual_seed(step_seed(recipe.seed, number))
            batch = self.source.finish(next(made), self.generator)
            marks.append(clock.mark())
            self.buffers.back()
            with nullcontext() if chunk == own[-1] else self.waiting():
                terms = self.backward(batch, progress, 1 / len(own))
            self.buffers.after_chunk()
            marks.append(clock.mark())
            images += len(batch) * self.world.count
            for name, term in terms.items():
                sums[name] = sums.get(name, 0) + term.detach().float() / len(own)
        self.buffers.finish()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        self.optimiser.step()
        self.average.update(self.model)
        self.step += 1
        numbers = torch.stack([norm.detach().float(), *sums.values()])
        self.pending.append((list(sums), numbers, rate, images, clock, [*marks, clock.mark()]))

    def further_batches(self) -> Iterator[Batch | Crowd]:
        """Those that would come next; every process gets the same."""
        for number in itertools.count(self.step * self.chunks):
            self.generator.manual_seed(step_seed(self.recipe.seed, number))
            yield self.source.finish(self.source[number], self.generator)

    def backward(self, batch: Batch | Crowd, progress: float, share: float) -> dict[str, Tensor]:
        """Losses by name, with the gradient of `share` times their total added to the parameters'."""
        if self.recipe.channels_last:
            batch.images = batch.images.contiguous(memory_format=torch.channels_last)
        try:
            terms = self.together(batch, progress)
            (terms["total"] * share).backward()
        except Exception as error:
            plain = self.asked.network[0] is self.model
            if plain or self.history.get("step") or isinstance(error, CourseError) or lost_another(error):
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            log.warning("torch.compile failed (%s); training goes on without it", reason)
            self.asked.network[0] = self.model
            self.optimiser.zero_grad(set_to_none=True)
            return self.backward(batch, progress, share)
        return terms

    def fetch(self) -> None:
        """Brings the numbers of the last steps into the history, and stops the training where one is not finite."""
        first = self.step - len(self.pending)
        for step, (names, numbers, rate, images, clock, marks) in enumerate(self.pending, first):
            norm, *losses = numbers.tolist()
            if not all(math.isfinite(value) for value in (norm, *losses)):
                raise Diverged(self.bad_news(step, dict(zip(names, losses, strict=True))["total"], norm))
            row = {"loss" if name == "total" else name: value for name, value in zip(names, losses, strict=True)}
            row |= {"step": step, "learning_rate": rate, "gradient_norm": norm}
            row |= {"images": images + (self.history.get("images") or [0])[-1]}
            # the stretches between the marks are data and learning by turns, then the optimiser's
            spans = [clock.seconds(first, then) for first, then in itertools.pairwise(marks)]
            row |= {"data_seconds": sum(spans[:-1:2]), "step_seconds": sum(spans[1::2]) + spans[-1]}
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
        progress = {"step": self.step, "elapsed": self.elapsed(), "history": self.history, "start": self.start}
        progress |= {"budget": self.budget, "steps": self.steps}
        try:
            save_state(self.file, self.recipe, self.model, self.average, self.optimiser, **progress)
            self.saved_step = self.step
        except CourseError as error:  # what was learned so far is worth more than the file
            log.warning("%s; training goes on", error)
        self.saved_at = time.monotonic()

    def rescue(self, error: Exception) -> str:
        """Keeps the last whole step where another process went away in the middle of the next, and says so."""
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        self.buffers.back()
        if self.file and self.world.main:
            self.save()
        kept = f"the state of step {self.saved_step} is in {self.file}, and the same command goes on from it"
        if not self.world.main:
            kept = f"the state that the first process saved last is {self.file}"
        return (
            f"training '{self.recipe.name}' ended at step {self.step}, because another of its {self.world.count} "
            f"processes did ({reason}); {kept if self.file else 'no state was kept, since no folder was given'}"
        )

    def load(self) -> None:
        state = load_state(self.file, self.recipe, self.model, self.average, self.optimiser)
        self.step = self.saved_step = state["step"]
        self.elapsed_before, self.history = state["elapsed"], state["history"]
        self.start = state.get("start", {})  # states from before 'start' was kept began from nothing

    def begin_from(self, start: str) -> None:
        """Takes as the first weights those that a recipe's `start` names."""
        if start.startswith(hub.PREFIX):
            name = start.removeprefix(hub.PREFIX)
            file = self.world.told(str(hub.fetch(name, self.world.main)) if self.world.main else None)
            self.start = hub.begin(self.model, name, file)
        else:
            file = provenance.start_file(start)
            self.start = provenance.as_start(file, self.model.begin_from(file))
        self.average.model.load_state_dict(self.model.state_dict())


def step_seed(seed: int, step: int) -> int:
    """A seed for everything random in one step; neighbouring steps get unrelated ones."""
    return int.from_bytes(hashlib.sha256(f"{seed} {step}".encode()).digest()[:8], "big") >> 1


def random_states_kept(device: torch.device) -> Any:
    """A context after which torch's global generators stand where they stood before."""
    if device.type != "cuda":
        return torch.random.fork_rng([])
    return torch.random.fork_rng([torch.cuda.current_device() if device.index is None else device.index])
