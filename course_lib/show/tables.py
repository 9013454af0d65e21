"""Small tables of scores, and captions: HTML in Jupyter, aligned text everywhere else.

The text of a table is the same on every machine, so notebook tests compare it strictly. A number that depends on the
machine (a live training's score, a time) is wrapped in `About`, is written behind "≈", and never moves its column.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from course_lib.errors import CourseError

NOTHING = "–"
_ABOUT_WIDTH = 9  # places kept for a number behind "≈", so that its length does not show


@dataclass(frozen=True)
class About:
    """A number that differs from machine to machine."""

    value: float


@dataclass(frozen=True)
class Table:
    """Rows of text cells under their headings. `numeric` says which columns stand to the right."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    title: str = ""

    def __repr__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.headings, *self.rows, strict=True)]
        lines = [self.title] if self.title else []
        for row in (self.headings, tuple("-" * width for width in widths), *self.rows):
            pads = zip(row, widths, self.numeric, strict=True)
            lines.append("  ".join(cell.rjust(w) if right else cell.ljust(w) for cell, w, right in pads).rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        def line(cells: Sequence[str], tag: str) -> str:
            sides = ("right" if right else "left" for right in self.numeric)
            inside = (
                f'<{tag} style="text-align:{side};white-space:nowrap">{html.escape(cell)}</{tag}>'
                for cell, side in zip(cells, sides, strict=True)
            )
            return f"<tr>{''.join(inside)}</tr>"

        title = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        body = "\n".join(line(row, "td") for row in self.rows)
        return f"<table>{title}\n<thead>{line(self.headings, 'th')}</thead>\n<tbody>\n{body}\n</tbody></table>"


def table(
    rows: Mapping[str, Any] | Iterable[Any],
    columns: Sequence[str] | None = None,
    *,
    decimals: int | Mapping[str, int] = 3,
    title: str = "",
) -> Table:
    """A table from a list of dicts, a list of lists (then `columns` names them), or a dict of either by row name.

        table({"CPM": {"PCK@0.2": About(0.91), "paper": 0.905}, "mean pose": {"PCK@0.2": 0.0712}})

    `decimals` (at most 4) is for all columns or by column name. Missing values and NaN show as a dash.
    """
    for places in decimals.values() if isinstance(decimals, Mapping) else (decimals,):
        if not 0 <= places <= 4:
            raise CourseError(f"a table shows 0 to 4 decimals, more would differ between machines; got {places}")
    listed = _listed(rows, columns)
    if not listed:
        raise CourseError("a table needs at least one row; got none")
    headings = tuple(dict.fromkeys(name for row in listed for name in row)) if columns is None else tuple(columns)
    if columns is not None and isinstance(rows, Mapping):
        headings = ("", *headings)
    values = [[row.get(name) for name in headings] for row in listed]
    texts = []
    for row in values:
        places = [decimals.get(name, 3) if isinstance(decimals, Mapping) else decimals for name in headings]
        texts.append(tuple(cell(value, count) for value, count in zip(row, places, strict=True)))
    numeric = tuple(not any(isinstance(v, str) for v in column) for column in zip(*values, strict=True))
    return Table(tuple(map(str, headings)), tuple(texts), numeric, title)


def _listed(rows: Mapping[str, Any] | Iterable[Any], columns: Sequence[str] | None) -> list[dict[str, Any]]:
    """All forms of rows as a list of dicts; a row's name is under the heading ''."""
    named = rows.items() if isinstance(rows, Mapping) else ((None, row) for row in rows)
    listed = []
    for name, row in named:
        if not isinstance(row, Mapping):
            row = list(row) if isinstance(row, Sequence) and not isinstance(row, str) else [row]
            if columns is None or len(row) != len(columns):
                raise CourseError(f"a row of {len(row)} values needs {len(row)} column names; got {columns}")
            row = dict(zip(columns, row, strict=True))
        listed.append({**({} if name is None else {"": name}), **row})
    return listed


def cell(value: Any, decimals: int = 3) -> str:
    """One value as a table shows it."""
    if isinstance(value, About):
        return "≈" + cell(value.value, decimals).rjust(_ABOUT_WIDTH - 1)
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:  # a number of torch or numpy
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.{decimals}f}" if isinstance(value, float) else f"{value}"


class _Caption:
    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        look = "opacity:0.75;font-size:0.92em;max-width:52em;margin:0 0 0.8em 0"
        return f'<p style="{look}">{html.escape(self.text)}</p>'


def caption(text: str) -> None:
    """Displays the sentence below a figure that says what to see in it. Call it after `plt.show()`."""
    from IPython.display import display

    display(_Caption(text))
