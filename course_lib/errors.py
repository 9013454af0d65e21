"""The one kind of error the course raises for bad input, and the "did you mean" that goes with it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CourseError(ValueError):
    """Bad input, told in one sentence: what was wrong, where, and what would be right."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> CourseError:
    """The error for a name nobody knows, with the nearest known one suggested.

    >>> print(unknown_name("model", "hourglas", ["hourglass", "hrnet"]))
    there is no model called 'hourglas'; did you mean 'hourglass'? Known: hourglass, hrnet
    """
    known = [str(one) for one in sorted(known)]
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.4)
    hint = f"; did you mean '{near[0]}'?" if near else ";"
    return CourseError(f"there is no {kind} called '{name}'{hint} Known: {', '.join(known) or 'none'}")
