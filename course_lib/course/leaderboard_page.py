"""The leaderboard as a web page: every column can be sorted by, with mouse or keyboard, and nothing is fetched."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from course_lib.course import leaderboard, pages
from course_lib.course.leaderboard import COLUMNS, COSTS, CROWDED, DRAWN, PHOTOGRAPHED, Board, Row

MISSING = "–"
SUREST = "‡"  # marks scores of who was not told which person of a crop is meant
TOLD = "†"  # marks scores of who was told where everybody is


def page(folder: Path | None = None, lessons: Mapping[str, str] | None = None, home: str = "index.html") -> str:
    """The whole page, of the weights in a folder.

    lessons: where the page of each lesson is, by its number; others are not linked.
    """
    table = leaderboard.board(folder)
    tables, unlisted = leaderboard.by_benchmark(folder)
    parts = ["<h1>Leaderboard</h1>", _INTRODUCTION]
    if table.rows:
        parts += [main_table(table.rows, lessons or {}), _notes(table)]
    if tables:
        parts.append("<h2>Benchmark by benchmark</h2><p>Every score of every checkpoint that ships.</p>")
        parts += [f"<h3>{html.escape(name)}</h3>{score_table(rows, name)}" for name, rows in tables.items()]
    else:
        parts.append("<p>No measured weights are here yet.</p>")
    if missing := [*table.unlisted, *unlisted]:
        items = "".join(f"<li>{html.escape(text)}</li>" for text in missing)
        parts.append(f'<h2>Not listed</h2><ul class="soft">{items}</ul>')
    body = f'{pages.links({"Start": home})}\n<main class="wide">{"".join(parts)}</main>'
    return pages.page("Leaderboard", body, script=_SORT)


def main_table(rows: Sequence[Row], lessons: Mapping[str, str]) -> str:
    """One row a system, all columns."""
    heads = [_head(text) for text in ("System", "Lesson", "Year", "Idea in five words")]
    for name, column in COLUMNS.items():
        if name == next(iter(CROWDED)):
            heads.append(_head("boxes"))
        heads.append(_head(column.heading, number=True, down=column.more_is_better))
    heads.append(_head("Published"))
    spans = [("", 4), *_groups(), ("by the paper", 1)]
    over = "".join(f'<th colspan="{wide}" scope="colgroup">{html.escape(text)}</th>' for text, wide in spans)
    lines = "\n".join(_line(row, lessons) for row in rows)
    caption = "Every system of the course. A column's head sorts by it."
    return _table(f'<tr class="groups">{over}</tr>\n<tr>{"".join(heads)}</tr>', lines, caption)


def score_table(rows: Sequence[Mapping[str, Any]], benchmark: str) -> str:
    """All scores of one benchmark, with where the weights come from."""
    columns = list(dict.fromkeys(name for row in rows for name in row["scores"]))
    heads = _head("weights") + "".join(_head(column, number=True, down=True) for column in columns)
    heads += "".join(_head(label) for label, _ in _ABOUT)
    lines = []
    for row in rows:
        cells = [f'<th scope="row">{html.escape(row["name"])}</th>']
        cells += [_number(row["scores"].get(column)) for column in columns]
        cells += [_text(_in_words(row["header"].get(key))) for _, key in _ABOUT]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return _table(f"<tr>{heads}</tr>", "\n".join(lines), f"All scores on {benchmark}")


# --- the parts --------------------------------------------------------------------------------------------------------

_ABOUT = (("trained on", "data"), ("steps", "steps"), ("device", "device"), ("date", "date"), ("code", "code"))

_INTRODUCTION = (
    "<p>Every system of the course in one table. Scores were measured on the weights that ship and stand in their "
    "headers; times were taken on one machine, one thread. These are small networks, and some were shown ten times as "
    "many pictures as others: what stands higher need not be the better idea. What the papers published, with large "
    "networks on photographs, has a column of its own and is not to be compared with the others.</p>"
)


def _notes(table: Board) -> str:
    """What one must know to read the main table."""
    people = ", ".join(column.heading for column in CROWDED.values())
    notes = [
        f"{TOLD} in true boxes: a network for one person does not look for people; it is told where each of them is. "
        "The others find everybody themselves, which is the harder task.",
        f"{SUREST} by the surest person: a system that finds everybody is not told which person of a crop is meant, "
        "and answers with the one it is surest of.",
        "One drawn person: 500 crops of single-val. Photographs: 500 crops of LSP-extended. PCK and PDJ measure with "
        "the two diagonals of the torso, PCKh with the head, PCP with the limb itself.",
        f"OKS-AP: 200 drawn pictures of crowd-val, by how many people are in a picture ({people}).",
        "An image is a crop of one person for the systems that are told where people are, and a whole crowd for the "
        "others. Thousand pictures: all that were shown in training, with those that the first weights had seen; "
        "multiply-adds and parameters of those that look for boxes first include the detector and every box.",
        *(f"Times: {where}." for where in table.machine),
    ]
    if table.untimed:
        notes.append(f"Not timed yet: {', '.join(table.untimed)}. `{leaderboard.MADE_BY}` takes the times.")
    sources = (
        f"{row.name}: {row.paper.score} ({row.paper.score.where})" if row.paper.score else f"{row.name}: none verified"
        for row in table.rows
    )
    items = "".join(f"<li>{html.escape(text)}</li>" for text in notes)
    where = f"<details><summary>Where the published scores stand</summary><ul>{_items(sources)}</ul></details>"
    return f'<ul class="soft">{items}</ul>{where}'


def _items(texts: Iterable[str]) -> str:
    return "".join(f"<li>{html.escape(text)}</li>" for text in texts)


def _groups() -> list[tuple[str, int]]:
    """The headings over several columns, and over how many; the boxes stand among those of crowds."""
    of = [(group, len(list(own))) for group, own in groupby(COLUMNS.values(), key=lambda column: column.group)]
    return [(group, wide + (group == CROWDED["1-2"].group)) for group, wide in of]


def _line(row: Row, lessons: Mapping[str, str]) -> str:
    link = html.escape(row.lesson)
    if row.lesson in lessons:
        link = f'<a href="{html.escape(lessons[row.lesson])}">{link}</a>'
    cells = [f'<th scope="row">{html.escape(row.name)}</th>', f"<td>{link}</td>", f'<td data-value="{row.year}">']
    cells[-1] += f"{row.year}</td>"
    cells.append(f'<td class="words">{html.escape(row.paper.idea)}</td>')
    for name, column in COLUMNS.items():
        if name == next(iter(CROWDED)):
            cells.append(_text(row.boxes))
        mark = TOLD if row.told and name in CROWDED else SUREST if not row.told and name in DRAWN | PHOTOGRAPHED else ""
        cells.append(_number(row.values[name], column.decimals, "" if name in COSTS else mark))
    score = row.paper.score
    by = f"{score.benchmark} {score.metric} {score.value}" if score else ""  # sorted within a benchmark
    shown = f"<strong>{score.value}</strong> {html.escape(f'{score.metric} {score.benchmark}')}" if score else MISSING
    cells.append(f'<td class="published" data-value="{html.escape(by)}">{shown}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _table(heads: str, lines: str, caption: str) -> str:
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(caption)}"><table class="sortable">'
        f'<caption class="soft">{html.escape(caption)}</caption>'
        f"<thead>{heads}</thead><tbody>\n{lines}\n</tbody></table></div>"
    )


def _head(text: str, number: bool = False, down: bool = False) -> str:
    """A column's head; `down` where the largest is what one wants to see first."""
    first = ' data-first="descending"' if down else ""
    kind = ' class="number"' if number else ""
    said = html.escape(text).replace("@", "<wbr>@")
    return f'<th scope="col" aria-sort="none"{kind}{first}><button type="button">{said}</button></th>'


def _number(value: float | None, decimals: int = 3, mark: str = "") -> str:
    if value is None:
        return f'<td class="number" data-value="">{MISSING}</td>'
    shown = str(value) if isinstance(value, int) else f"{value:.{decimals}f}"
    return f'<td class="number" data-value="{value}">{shown}{f"<sup>{mark}</sup>" if mark else ""}</td>'


def _text(text: str) -> str:
    return f"<td>{html.escape(text)}</td>"


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(key if isinstance(one, Mapping | list) else f"{key} {one}" for key, one in value.items())
    return "" if value is None else str(value)


# Numbers are compared as numbers; what is missing stays at the end, whichever way the others go.
_SORT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const now = head.getAttribute("aria-sort");
    const turned = {ascending: "descending", descending: "ascending"};
    const way = turned[now] ?? head.dataset.first ?? "ascending";
    const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const rows = [...table.tBodies[0].rows];
    const known = rows.filter(row => key(row) !== ""), missing = rows.filter(row => key(row) === "");
    const numbers = known.every(row => !isNaN(key(row)));
    const order = (a, b) => numbers ? key(a) - key(b) : key(a).localeCompare(key(b), "en", {numeric: true});
    known.sort((a, b) => way === "ascending" ? order(a, b) : order(b, a));
    table.tBodies[0].append(...known, ...missing);
    heads.forEach(other => other.setAttribute("aria-sort", other === head ? way : "none"));
  }));
}
"""
