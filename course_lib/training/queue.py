"""The training queue: the recipes whose weights ship, one after another, the least trained first.

    python -m course_lib train --queue --minutes 9 --out runs

A call lasts as long as it was told, in rounds. A round trains one recipe until its share of the time is over, on a
cosine of its own, measures the weights and adds a line to the table. Called again with the same folder, the queue takes
up the round that was killed or stopped, and otherwise begins new rounds from the weights of the last ones (a warm
restart): training can go on for as long as there is time to lend it.

How much a recipe *needs* is the share of its `batch * steps` images that it has not shown yet, in all rounds behind the
furthest weights there are, in the folder or shipped. What is left of the time is shared in proportion to need times
`Recipe.queue`, anew before every round. Who would get too little to be worth while waits for the next call.

A round that fails is told in the table, and the queue goes on.
"""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from course_lib import checkpoints, datasets, models
from course_lib.errors import CourseError
from course_lib.training import benchmarks, provenance, recipes
from course_lib.training.distributed import World, joined, own_device
from course_lib.training.loop import Trained, train
from course_lib.training.recipes import Recipe
from course_lib.training.run import Diverged
from course_lib.training.state import read_state, refuse_other, state_file
from course_lib.training.summary import Row, Summary

LEAST_NEED = 0.05  # of a recipe that has had all it wanted: more training still helps a little
SAVE_SECONDS = 20.0  # a machine that is only lent may be taken away at any moment
LEAST_MINUTES = 1.0  # less is spent on starting and measuring rather than on learning
MEASURING = 20.0  # seconds kept back for the first evaluation, at most a tenth of the time; later ones tell
log = logging.getLogger("course_lib")


@dataclass(frozen=True)
class Round:
    """What the queue is about to do with one recipe."""

    recipe: Recipe  # with the start and the seed of this round
    resume: bool
    done: int  # images that the recipe has shown so far
    steps: int | None = None  # of an unfinished round that counts them
    minutes: float | None = None  # of an unfinished round that counts them
    images: int = 0  # images of an unfinished round so far
    minutes_before: float = 0.0  # and its minutes
    note: str = ""

    @property
    def need(self) -> float:
        """1 for a recipe that has shown nothing, 0 for one that has shown all, negative beyond."""
        return 1 - self.done / (self.recipe.batch * self.recipe.steps)


def shares(rounds: list[Round], minutes: float, least: float = LEAST_MINUTES) -> dict[str, float]:
    """Minutes for each recipe that gets any, the neediest first."""
    order = sorted(rounds, key=lambda one: -one.need)
    while order:
        weights = [max(one.need, LEAST_NEED) * one.recipe.queue for one in order]
        each = [minutes * weight / sum(weights) for weight in weights]
        if min(each) >= least or len(order) == 1:
            return {one.recipe.name: share for one, share in zip(order, each, strict=True)}
        order.pop()
    return {}


def run_queue(
    minutes: float, out: str | Path, device: str = "auto", workers: int | None = None, progress: bool = True
) -> tuple[list[Row], str]:
    """Trains for so many minutes; returns the table, and the signal that ended the queue early, if one did.

    Under `torchrun` the first process decides, measures and writes.
    """
    if not minutes > 0:
        raise CourseError(f"minutes must be above 0; got {minutes}")
    chosen = own_device(device)
    with joined(chosen) as world:
        queue = Queue(Path(out), minutes, chosen, world, workers, progress)
        while (task := world.told(queue.next_round() if world.main else None)) is not None:
            queue.do(*task)
        if world.main:
            queue.end()
    return queue.rows, queue.stopped


class Queue:
    """One call of the queue."""

    def __init__(
        self, out: Path, minutes: float, device: torch.device, world: World, workers: int | None, progress: bool
    ) -> None:
        self.out, self.minutes, self.device, self.world = out, minutes, device, world
        self.workers, self.progress = workers, progress
        self.deadline = time.monotonic() + 60 * minutes
        self.reserve = min(MEASURING, 6 * minutes)
        self.waiting = [recipe for recipe in recipes.RECIPES.values() if recipe.queue > 0]
        self.rows: list[Row] = []
        self.summary = Summary(out, minutes, device, self.rows) if world.main else None
        self.stopped = ""
        self.examiner = benchmarks.Examiner()

    def left(self) -> float:
        """Minutes."""
        return (self.deadline - time.monotonic()) / 60

    # --- which recipe is next ---

    def next_round(self) -> tuple[Round, float] | None:
        """The neediest recipe's round and its minutes; None where the call is over."""
        for recipe in list(self.waiting):
            if missing := [name for name in recipe.data if name not in recipes.WORLDS and datasets.find(name) is None]:
                self.waiting.remove(recipe)
                said = f"skipped: it needs the data set '{missing[0]}', which is not on this machine"
                self.add(Row(recipe.name, "skipped", note=said))
        if not self.waiting and all(row.outcome == "skipped" for row in self.rows):
            why = "; ".join(f"{row.recipe} was {row.note}" for row in self.rows) or "no recipe has a weight in it"
            raise CourseError(f"the queue has nothing to train: {why}")
        begun = any(row.outcome != "skipped" for row in self.rows)
        if self.stopped or not self.waiting or self.left() <= (LEAST_MINUTES if begun else 0):
            return None
        rounds = {recipe.name: self.plan(recipe) for recipe in self.waiting}
        name, share = next(iter(shares(list(rounds.values()), self.left(), LEAST_MINUTES).items()))
        return rounds[name], share

    def plan(self, recipe: Recipe) -> Round:
        """The round that was not finished, or a new one from the furthest weights."""
        notes: list[str] = []
        own = provenance.furthest(recipe, self.out, recipe.name, notes)
        done = provenance.images_of_recipe(own[1]) if own else 0
        if state := self.unfinished(recipe, notes):
            header = {"recipe": recipe.name, "start": state.get("start"), "images": images_of(state)}
            steps, seconds = state.get("steps"), state.get("budget")
            return Round(
                recipe=replace(recipe, seed=state["recipe"]["seed"]),
                resume=True,
                done=max(done, provenance.images_of_recipe(header)),
                steps=steps,
                minutes=None if seconds is None else seconds / 60,
                images=header["images"],
                minutes_before=state["elapsed"] / 60,
                note="; ".join([*notes, f"goes on from step {state['step']}"]),
            )
        origin = own or (provenance.furthest(recipe, self.out, recipe.start, notes) if recipe.start else None)
        if origin is None:
            return Round(recipe, False, done, note="; ".join(notes))
        file, header = origin
        behind = provenance.images_in_all(header)
        # with its own seed a round would be shown the people of the first one again
        again = replace(recipe, start=str(file), seed=recipe.seed + behind)
        which = "its own weights" if own else f"{file.stem}'s weights"
        return Round(again, False, done, note="; ".join([*notes, f"from {which} of {behind:,} images"]))

    def unfinished(self, recipe: Recipe, notes: list[str]) -> dict[str, Any] | None:
        """The state of a round that did not reach its end, or whose weights were not written."""
        file = state_file(self.out, recipe)
        if not file.exists():
            return None
        try:
            state = read_state(file)
            refuse_other(file, state, replace(recipe, seed=state["recipe"].get("seed", recipe.seed)))
        except CourseError as error:
            set_aside(file)
            notes.append(f"the state that was there is put aside ({error})")
            log.warning("%s", notes[-1])
            return None
        ended = state["elapsed"] >= state.get("budget", 0) or state["step"] >= state.get("steps", 0)
        return None if ended and self.written(recipe.name, images_of(state), state.get("start", {})) else state

    def written(self, name: str, images: int, start: dict[str, Any]) -> bool:
        """Whether the weights that these images made of that start are on disk."""
        try:
            header = checkpoints.verify(provenance.weights_file(self.out, name))
        except CourseError:
            return False
        return header["images"] == images and header.get("start", {}) == start

    # --- one round ---

    def do(self, task: Round, share: float) -> None:
        """Trains and measures; what goes wrong becomes a line of the table."""
        recipe, until = task.recipe, time.monotonic() + 60 * share
        self.waiting = [one for one in self.waiting if one.name != recipe.name]
        row = Row(recipe.name, "failed", note=task.note)
        try:
            self.train_and_measure(task, until, row)
        except Exception as error:
            diverged = isinstance(error, Diverged)  # every process notices that at once
            if self.world.count > 1 and row.outcome != "trained" and not diverged:
                raise  # what befalls one process leaves the others waiting for it
            if diverged and self.world.main:
                set_aside(state_file(self.out, recipe))
            if not isinstance(error, CourseError):
                log.warning("training '%s' failed", recipe.name, exc_info=True)
            row.outcome, row.note = "failed", failure(error)
        self.tidy()
        self.add(row)
        if task.resume and row.outcome == "trained" and until - time.monotonic() > 60 * LEAST_MINUTES:
            self.waiting.append(recipes.get(recipe.name))  # it had little to finish, and may want more

    def train_and_measure(self, task: Round, until: float, row: Row) -> None:
        trained = train(
            task.recipe,
            device=self.device,
            steps=task.steps,
            minutes=task.minutes or self.minutes,
            deadline=until - self.reserve,
            out=self.out,
            resume=task.resume,
            progress=self.progress,
            workers=self.workers,
            save_seconds=SAVE_SECONDS,
        )
        row.outcome = "trained"
        row.tell(trained.header, trained.history, task.images, task.minutes_before)
        if trained.stopped:
            self.stopped, row.outcome = trained.stopped, "stopped"
            row.note = f"stopped by {trained.stopped}; the same command goes on from here"
        elif self.world.main:
            self.measure(trained, row)

    def measure(self, trained: Trained, row: Row) -> None:
        """Measures the weights that lie on disk, which are what will ship."""
        begin, header = time.monotonic(), trained.header
        file = provenance.weights_file(self.out, row.recipe)
        if not self.written(row.recipe, header["images"], header["start"]):
            raise CourseError(f"the weights could not be written to {file}; the state beside it goes on")
        row.bytes = file.stat().st_size
        if row.bytes > checkpoints.SHIPPED_LIMIT:
            row.add(f"too large to ship: {checkpoints.SHIPPED_LIMIT / checkpoints.MEGABYTE:g} MB is the limit")
        model = models.load(header["model"], file).to(self.device)
        scores = {}
        for name in benchmarks.possible(model):
            try:
                scores[name], _ = self.examiner.examine(model, name)
                row.scores[name] = benchmarks.headline(name, scores[name])
            except CourseError as error:
                row.add(f"{name} could not be measured: {error}")
        checkpoints.record(file, scores)
        self.reserve = max(self.reserve, time.monotonic() - begin)

    def tidy(self) -> None:
        """Gives back what a round held on the device."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    # --- the table ---

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if self.summary:
            self.summary.add()

    def end(self) -> None:
        """Lines for those whose turn did not come."""
        for recipe in self.waiting:
            if not self.stopped and all(row.recipe != recipe.name for row in self.rows):
                self.add(Row(recipe.name, "waiting", note="no time was left for it; call the queue again"))


# --- files ------------------------------------------------------------------------------------------------------------


def images_of(state: Mapping[str, Any]) -> int:
    """The images that a state's training has shown."""
    return (state["history"].get("images") or [0])[-1]


def set_aside(file: Path) -> None:
    """Keeps a state that nothing can go on from under another name, where the next round does not overwrite it."""
    if file.exists():
        os.replace(file, file.with_name(f"{file.name}.aside"))


def failure(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, CourseError):
        return str(error)
    reason = (str(error).splitlines() or [""])[0]
    if isinstance(error, torch.OutOfMemoryError):
        return f"out of memory ({reason}); a smaller Recipe.chunk needs less"
    return f"{type(error).__name__}: {reason}"
