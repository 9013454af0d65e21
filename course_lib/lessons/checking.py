"""Checked exercises: a learner's function against an independent reference, on cases made to catch mistakes.

A lesson module, `lesson_06_stacked_hourglass.py`, registers each of its exercises under "06.something":

    def _decode_cases(random: torch.Generator) -> Iterator[Case]:
        yield Case((torch.rand(2, 14, 5, 7, generator=random),), "maps that are not square")
        yield Case((torch.zeros(1, 1, 3, 3),), "an empty map", hint="Where nothing is found the score is 0.")

    register(
        Exercise("06.decode", reference=_decode, cases=_decode_cases, hints=("Which of x and y is the column?",))
    )

In the notebook, `check("06.decode", decode)` prints "not attempted", "not yet" with the failing case and a hint, or
"correct". Cases are the same in every run. The function gets copies, so the case that is shown is the case it had.

Two environment variables serve tests and instructors: COURSE_CHECKS=strict makes everything but "correct" an error,
and COURSE_CHECKS_LOG=file appends each verdict as a line of JSON.
"""

from __future__ import annotations

import copy
import importlib
import json
import linecache
import os
import pkgutil
import traceback
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from course_lib.errors import CourseError, unknown_name
from course_lib.lessons.comparing import describe, difference

NOT_ATTEMPTED, NOT_YET, CORRECT = "not attempted", "not yet", "correct"
_MARKS = {NOT_ATTEMPTED: "○", NOT_YET: "✗", CORRECT: "✓"}


@dataclass(frozen=True)
class Case:
    """One call of the learner's function."""

    arguments: tuple
    label: str = ""  # what is special about this case
    hint: str = ""  # shown when this case fails, before the exercise's own hints


@dataclass(frozen=True)
class Exercise:
    """What a learner is asked to write, and how one knows that it is right."""

    name: str  # "06.decode": the lesson's number, a dot, a word
    reference: Callable[..., Any]  # a right answer, written independently of the library
    cases: Callable[[torch.Generator], Iterable[Case]]  # random and odd-shaped ones; the same seed every time
    hints: tuple[str, ...]  # one for each failed attempt in turn; the last one stays
    tolerance: float = 1e-5  # absolute, and relative where the expected value is above 1
    ask: Callable[..., Any] = lambda function, *arguments: function(*arguments)  # what is done with an answer
    compare: Callable[[Any, Any], str | None] | None = None  # got, expected -> what is wrong; instead of tolerance

    def __post_init__(self) -> None:
        if not self.hints:
            raise CourseError(f"exercise '{self.name}' needs at least one hint")


@dataclass(frozen=True)
class Verdict:
    """What a check says about an answer."""

    exercise: str
    status: str  # NOT_ATTEMPTED, NOT_YET or CORRECT
    details: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return "\n    ".join([f"{_MARKS[self.status]} {self.exercise}: {self.status}", *self.details])


_EXERCISES: dict[str, Exercise] = {}
_FAILED_ATTEMPTS: dict[str, int] = {}


def register(exercise: Exercise) -> Exercise:
    """Makes an exercise known by its name."""
    _EXERCISES[exercise.name] = exercise
    return exercise


def check(name: str, function: Callable[..., Any] | None) -> None:
    """Tries the learner's function and prints the verdict.

    name: the exercise, for example "06.decode". function: the function itself, not its result.
    """
    verdict = judge(name, function, attempt=_FAILED_ATTEMPTS.get(name, 0))
    if verdict.status == NOT_YET:
        _FAILED_ATTEMPTS[name] = _FAILED_ATTEMPTS.get(name, 0) + 1
    if log := os.environ.get("COURSE_CHECKS_LOG"):
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps({"exercise": name, "status": verdict.status}) + "\n")
    if os.environ.get("COURSE_CHECKS") == "strict" and verdict.status != CORRECT:
        raise CourseError(str(verdict))
    print(verdict)


def judge(name: str, function: Callable[..., Any] | None, attempt: int = 0) -> Verdict:
    """The verdict on a function, without printing it. `attempt` counts earlier failures and picks the hint."""
    exercise = find(name)
    if function is None:
        return Verdict(name, NOT_ATTEMPTED, ("Write the function above, run its cell, then run this one again.",))
    if not callable(function):
        return Verdict(name, NOT_YET, (f"check needs the function itself; got {describe(function)}",))
    random = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    with torch.random.fork_rng(devices=[]):  # neither the cases nor the answers disturb the notebook's seed
        torch.manual_seed(0)
        for number, case in enumerate(exercise.cases(random)):
            status, trouble = _try(exercise, function, case, first=number == 0)
            if status != CORRECT:
                return Verdict(name, status, trouble + _advice(exercise, case, status, attempt))
    return Verdict(name, CORRECT)


def find(name: str) -> Exercise:
    """An exercise by name; its lesson's module is loaded when it is first needed."""
    lesson = str(name).partition(".")[0]
    if name not in _EXERCISES:
        for module in _modules():
            if module.split("_")[1] == lesson:
                importlib.import_module(f"course_lib.lessons.{module}")
    if name not in _EXERCISES:
        raise unknown_name("exercise", name, names())
    return _EXERCISES[name]


def names() -> list[str]:
    """Every exercise of every lesson."""
    for module in _modules():
        importlib.import_module(f"course_lib.lessons.{module}")
    return sorted(_EXERCISES)


def _modules() -> list[str]:
    import course_lib.lessons as package

    return [module.name for module in pkgutil.iter_modules(package.__path__) if module.name.startswith("lesson_")]


def _try(exercise: Exercise, function: Callable[..., Any], case: Case, first: bool) -> tuple[str, tuple[str, ...]]:
    """Runs one case: the status, and for a failure the lines that say what happened."""
    expected = exercise.ask(exercise.reference, *copy.deepcopy(case.arguments))
    given = copy.deepcopy(case.arguments)
    try:
        got = exercise.ask(function, *given)
    except Exception as error:
        if first and isinstance(error, NotImplementedError):
            return NOT_ATTEMPTED, ()
        return NOT_YET, (*_told(case), *_where(error, function))
    if got is None and expected is not None:
        if first:
            return NOT_ATTEMPTED, ()
        return NOT_YET, (*_told(case), f"expected {describe(expected)}", "got None: is a `return` missing?")
    compare = exercise.compare or (lambda a, b: difference(a, b, exercise.tolerance))
    if wrong := compare(got, expected):
        return NOT_YET, (*_told(case), *wrong.splitlines())
    for place, (before, after) in enumerate(zip(case.arguments, given, strict=True), 1):
        if not isinstance(before, torch.nn.Module) and difference(after, before, 0.0):
            return NOT_YET, (
                *_told(case),
                f"right, but the function changed its argument {place} in place",
            )
    return CORRECT, ()


def _told(case: Case) -> tuple[str, ...]:
    given = "; ".join(describe(argument) for argument in case.arguments)
    lines = (f"case: {case.label}",) if case.label else ()
    return (*lines, f"given {given}") if given else lines


def _advice(exercise: Exercise, case: Case, status: str, attempt: int) -> tuple[str, ...]:
    if status == NOT_ATTEMPTED:
        return ("Your function still returns nothing. Write it, run its cell, then run this one again.",)
    hint = exercise.hints[min(attempt, len(exercise.hints) - 1)]
    return tuple(f"hint: {text}" for text in (case.hint, hint) if text)


def _where(error: Exception, function: Callable[..., Any]) -> tuple[str, ...]:
    """The error, with the learner's own line it came from."""
    message = str(error).strip().splitlines()
    text = f"your function raised {type(error).__name__}" + (f": {message[0]}" if message else "")
    own = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    source = linecache.getline(lines[-1].filename, lines[-1].lineno).strip() if lines and lines[-1].lineno else ""
    return (text, f"in your line: {source}") if source else (text,)
