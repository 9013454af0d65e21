"""The leaderboard as a picture for the README: a small SVG that is the same bytes for the same numbers.

It brings its own paper, light or dark as the reader's system wishes, so that it can be read on any page.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from course_lib import checkpoints, paths
from course_lib.course.leaderboard import COLUMNS, DRAWN, PHOTOGRAPHED, Board, Row

FILE = paths.DATA / "leaderboard.svg"
WIDTH, ROW, TOP, MARGIN = 960, 26, 88, 16
_NAME, _YEAR, _IDEA, _PUBLISHED = MARGIN + 24, 236, 276, 826  # where columns of words begin
# a column of numbers -> where it ends, and over how many pixels its bar may grow
_NUMBERS = {
    "parameters": (522, 0),
    "milliseconds": (564, 0),
    "pck@0.2": (626, 52),
    "photographs": (684, 52),
    "1-2": (750, 52),
    "8-12": (808, 52),
}
_HEADS = {"parameters": "M", "milliseconds": "ms", "pck@0.2": "drawn", "photographs": "photo"}
_OVER = {(578, 688): "PCK@0.2", (702, 812): "OKS-AP, people"}
_STYLE = """
text { font: 12.5px system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif; fill: #222 }
.paper { fill: #fff; stroke: #d0d7de } .line { stroke: #e4e8ec } .soft { fill: #5d6670 } .small { font-size: 10.5px }
.head { font-size: 17px; font-weight: 650 }
.name { font-size: 12px; font-weight: 600 } .idea { font-size: 11.5px } .right { text-anchor: end }
.middle { text-anchor: middle } .bar { fill: #bfe0f5 } .told { fill: #f6ddb0 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6e6e6 } .paper { fill: #16181c; stroke: #3a3f46 } .line { stroke: #2b3036 } .soft { fill: #a5adb5 }
  .bar { fill: #1d4f70 } .told { fill: #5d4513 }
}
"""


def draw(table: Board) -> str:
    """The picture's text."""
    height = TOP + ROW * len(table.rows) + 78
    title = "Every system of the course on one leaderboard"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-labelledby="title about">',
        f'<title id="title">{title}</title><desc id="about">{html.escape(in_words(table.rows))}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10"/>',
        _text(MARGIN, 34, title, "head"),
        _text(WIDTH - MARGIN, 34, "small networks of the course, measured on one machine", "soft right"),
        *_heads(),
    ]
    best = {name: max((row.values[name] or 0 for row in table.rows), default=0) for name in _NUMBERS}
    for place, row in enumerate(table.rows):
        parts += _row(row, TOP + ROW * place, best)
    parts += _foot(TOP + ROW * len(table.rows))
    return "\n".join([*parts, "</svg>", ""])


def write(table: Board, file: Path | None = None) -> Path:
    """Writes the picture; returns the file."""
    file = file or FILE
    checkpoints.write_atomically(file, lambda out: out.write(draw(table).encode()))
    return file


def in_words(rows: Sequence[Row]) -> str:
    """What the picture says, for who cannot see it: the best of every column of scores."""
    told = []
    for name, head in (("pck@0.2", "PCK@0.2 on drawn people"), ("photographs", "PCK@0.2 on photographs")):
        scored = [row for row in rows if row.values[name] is not None]
        if scored:
            best = max(scored, key=lambda row: row.values[name])
            told.append(f"best {head}: {best.name}, {best.values[name]:.2f}")
    return f"{len(rows)} systems, a row each; {'; '.join(told)}."


def _heads() -> list[str]:
    y = TOP - 12
    heads = [_text(MARGIN, y, "System", "soft"), _text(_YEAR, y, "Year", "soft")]
    heads += [_text(_IDEA, y, "Idea", "soft"), _text(_PUBLISHED, y, "Published", "soft")]
    heads += [
        _text(right, y, _HEADS.get(name, COLUMNS[name].heading), "soft right") for name, (right, _) in _NUMBERS.items()
    ]
    heads += [_text((left + right) // 2, y - 18, head, "soft small middle") for (left, right), head in _OVER.items()]
    return heads


def _row(row: Row, y: int, best: dict[str, float]) -> list[str]:
    base = y + 17
    parts = [
        f'<line class="line" x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y}" y2="{y}"/>',
        _text(MARGIN, base, row.lesson, "soft small"),
        _text(_NAME, base, row.name, "name"),
        _text(_YEAR, base, str(row.year)),
        _text(_IDEA, base, row.paper.idea, "idea"),
        _text(_PUBLISHED, base, str(row.paper.score or "–"), "soft small"),
    ]
    for name, (right, room) in _NUMBERS.items():
        value = row.values[name]
        if value is not None and room:
            wide = room * value / best[name]
            kind = "bar" if row.told == (name in DRAWN | PHOTOGRAPHED) else "told"
            parts.append(
                f'<rect class="{kind}" x="{right + 4 - room}" y="{y + 4}" width="{wide:.1f}" height="18" rx="2"/>'
            )
        parts.append(_text(right, base, _number(name, value), "right"))
    return parts


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name == "milliseconds":
        return f"{value:.0f}"
    return f"{value:.2f}" if value < 0.995 or name != "parameters" else f"{value:.1f}"


def _foot(y: int) -> list[str]:
    lines = (
        "M: million parameters. ms: of one thread, for a crop of one person, or for a whole crowd where a system finds "
        "everybody itself.",
        "Bars: share of the column's best. Left of a name: its lesson. Published: in the paper, with large networks on "
        "photographs.",
    )
    swatches = [
        f'<rect class="told" x="{MARGIN}" y="{y + 51}" width="14" height="12" rx="2"/>',
        _text(
            MARGIN + 20,
            y + 61,
            "Other conditions: AP in true boxes, for networks of one person; PCK of the person they are surest of, for "
            "systems of many.",
            "soft small",
        ),
    ]
    return [*(_text(MARGIN, y + 21 + 17 * k, text, "soft small") for k, text in enumerate(lines)), *swatches]


def _text(x: int, y: int, text: str, kind: str = "") -> str:
    look = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{look}>{html.escape(text)}</text>'
