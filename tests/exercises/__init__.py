"""Wrong and right answers to the exercises, one module a lesson.

Every exercise needs at least three plausible wrong answers, which its check must refuse, and a right one written
differently from the reference, which it must accept. In `tests/exercises/lesson_06.py`:

    from exercises import right, wrong

    @wrong("06.decode")
    def swaps_row_and_column(maps): ...

    @right("06.decode")
    def by_sorting(maps): ...

`tests/test_checks.py` finds them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Callable
from typing import Any

Answer = Callable[..., Any]

WRONG: dict[str, list[Answer]] = defaultdict(list)
RIGHT: dict[str, list[Answer]] = defaultdict(list)


def wrong(exercise: str) -> Callable[[Answer], Answer]:
    """Marks a function as a wrong answer."""
    return _collector(WRONG, exercise)


def right(exercise: str) -> Callable[[Answer], Answer]:
    """Marks a function as a right answer."""
    return _collector(RIGHT, exercise)


def load() -> None:
    """Imports every module of answers."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def _collector(shelf: dict[str, list[Answer]], exercise: str) -> Callable[[Answer], Answer]:
    def collect(answer: Answer) -> Answer:
        shelf[exercise].append(answer)
        return answer

    return collect
