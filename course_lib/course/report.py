"""The pages around the lessons: the report of a run, the start page of the site, and the leaderboard."""

from __future__ import annotations

import html
import json
import math
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from course_lib import checkpoints, paths
from course_lib.course import notebooks, pages
from course_lib.course.runner import MEMORY_BUDGET, SECONDS_BUDGET, Outcome
from course_lib.errors import CourseError


def write_report(out: Path, outcomes: Sequence[Outcome], profile: str, seconds: float) -> Path:
    """Writes index.html, leaderboard.html and results.json beside the executed lessons; returns the first."""
    about = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "profile": profile,
        "seconds": round(seconds, 1),
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
    }
    results = {**about, "lessons": [asdict(outcome) for outcome in outcomes]}
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (out / "leaderboard.html").write_text(leaderboard_page(), encoding="utf-8")
    index = out / "index.html"
    index.write_text(report_page(out, outcomes, about), encoding="utf-8")
    return index


def report_page(out: Path, outcomes: Sequence[Outcome], about: Mapping[str, Any]) -> str:
    """What a run of the course did: a row a lesson."""
    passed = sum(outcome.passed for outcome in outcomes)
    verdict = "good" if passed == len(outcomes) else "bad"
    facts = (
        f"{about['date']}, profile {about['profile']}, {about['machine']}, Python {about['python']}, "
        f"torch {about['torch']}"
    )
    rows = "\n".join(_lesson_row(out, outcome) for outcome in outcomes)
    return pages.page(
        "Human pose estimation: a run of the course",
        f"<h1>Human pose estimation: a run of the course</h1>"
        f'<p class="{verdict}">{passed} of {len(outcomes)} lessons passed in {about["seconds"]:.0f} s.</p>'
        f'<p class="soft">{html.escape(facts)}</p>'
        f'<p><a href="leaderboard.html">Leaderboard</a></p>'
        f'<table><tr><th>Lesson</th><th>Status</th><th class="number">Seconds</th><th class="number">Peak GB</th>'
        f"<th>Exercises</th><th>Files</th></tr>\n{rows}</table>"
        f'<p class="soft">A lesson may take {SECONDS_BUDGET:.0f} s and {MEMORY_BUDGET / 1e9:.0f} GB with the laptop '
        "profile; more is marked. Memory is what the kernel and its children held at the worst moment.</p>",
    )


def site_page(names_and_titles: Sequence[tuple[str, str]]) -> str:
    """The start page of the committed lessons."""
    items = "\n".join(
        f'<li><a href="{html.escape(name)}.html">{html.escape(title)}</a></li>' for name, title in names_and_titles
    )
    return pages.page(
        "Human pose estimation",
        "<h1>Human pose estimation</h1><p>The lessons as they were committed, with their outputs. To run them, see the "
        f'README.</p><ul>\n{items}\n</ul><p><a href="leaderboard.html">Leaderboard</a></p>',
    )


def write_site(out: Path) -> Path:
    """The committed lessons as pages, without running them."""
    entries = [(path.stem, _write_lesson(path, out, "index.html")) for path in notebooks.find()]
    for path in sorted(paths.SOLUTIONS.glob("*.ipynb")):
        _write_lesson(path, out / paths.SOLUTIONS.name, "../index.html")
    (out / "leaderboard.html").write_text(leaderboard_page(), encoding="utf-8")
    index = out / "index.html"
    index.write_text(site_page(entries), encoding="utf-8")
    return index


def _write_lesson(path: Path, folder: Path, home: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    notebook = notebooks.read(path)
    (folder / f"{path.stem}.html").write_text(pages.lesson_page(notebook, path.stem, home), encoding="utf-8")
    (folder / path.name).write_bytes(path.read_bytes())
    return notebooks.title(notebook, path.stem)


# --- the leaderboard --------------------------------------------------------------------------------------------------


def leaderboard(folder: Path | None = None) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """The measured scores of the shipped weights: rows by benchmark, and what could not be listed.

    A row comes from the scores in a checkpoint's header, and from nowhere else; what finds many people has its time
    beside them, where the study of times knows it.
    """
    times = milliseconds()
    tables: dict[str, list[dict[str, Any]]] = {}
    unlisted = []
    for path in sorted((folder or paths.CHECKPOINTS).glob("*.safetensors")):
        try:
            header = checkpoints.read_header(path)
        except CourseError as error:
            unlisted.append(str(error))
            continue
        measured = {name: numbers(scores) for name, scores in header["scores"].items() if isinstance(scores, dict)}
        if not any(measured.values()):
            unlisted.append(f"{path.stem} holds no measurement")
        for benchmark, scores in measured.items():
            if scores:
                scores |= times.get((path.stem, benchmark), {})
                tables.setdefault(benchmark, []).append({"name": path.stem, "scores": scores, "header": header})
    for rows in tables.values():
        rows.sort(key=lambda row: -next(iter(row["scores"].values())))
    return dict(sorted(tables.items())), unlisted


def numbers(scores: Mapping[str, Any]) -> dict[str, float | int]:
    """The finite numbers among some scores, the ones that decide the order first.

    Of scores by number of people in a picture, those by which models are compared.
    """
    by_people = {
        f"{name}, {people}": one[name]
        for people, one in scores.get("by_people", {}).items()
        for name in _BY_PEOPLE
        if name in one
    }
    found = {
        name: value
        for name, value in (*scores.items(), *by_people.items())
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
    return {name: found[name] for name in (*_DECIDES, *found) if name in found}


def milliseconds() -> dict[tuple[str, str], dict[str, float]]:
    """By weights and benchmark, how long a picture takes: as `lessons.crowd_times` has measured it on one core."""
    file = paths.DATA / "studies" / "crowd_times.json"
    runs = json.loads(file.read_text(encoding="utf-8"))["runs"] if file.exists() else []
    return {
        (run["weights"], run["benchmark"]): {
            f"ms a picture, {people}": 1000 * one["all"] for people, one in run["seconds"].items()
        }
        for run in runs
    }


def leaderboard_page(folder: Path | None = None) -> str:
    """Every measured score of the weights that ship with the course."""
    tables, unlisted = leaderboard(folder)
    parts = [
        '<nav><a href="index.html">All lessons</a></nav><h1>Leaderboard</h1>'
        "<p>The weights that ship with the course, as they were measured when they were saved. Click a column's head "
        "to sort by it.</p>"
    ]
    parts += [f"<h2>{html.escape(benchmark)}</h2>{_score_table(rows)}" for benchmark, rows in tables.items()]
    if not tables:
        parts.append("<p>No measured weights are here yet.</p>")
    if unlisted:
        items = "".join(f"<li>{html.escape(text)}</li>" for text in unlisted)
        parts.append(f'<h2>Not listed</h2><ul class="soft">{items}</ul>')
    return pages.page("Leaderboard", "\n".join(parts), script=_SORT)


_BY_PEOPLE = ("ap", "pckh_map", "box_ap")
_DECIDES = ("ap", "pck@0.2", "box_ap")  # a table is ordered by the first of these that it has
_ABOUT = (("trained on", "data"), ("steps", "steps"), ("device", "device"), ("date", "date"), ("code", "code"))

_SORT = """
document.querySelectorAll("table").forEach(table => table.querySelectorAll("th").forEach((head, column) => {
  head.style.cursor = "pointer";
  let down = false;
  head.addEventListener("click", () => {
    down = !down;
    const body = table.tBodies[0];
    const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const order = (a, b) => (isNaN(key(a)) || isNaN(key(b))) ? key(a).localeCompare(key(b)) : key(a) - key(b);
    [...body.rows].sort((a, b) => down ? order(b, a) : order(a, b)).forEach(row => body.append(row));
  });
}));
"""


def _score_table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row["scores"]))
    heads = "".join(f'<th class="number">{html.escape(column)}</th>' for column in columns)
    heads += "".join(f"<th>{label}</th>" for label, _ in _ABOUT)
    lines = []
    for row in rows:
        cells = [f"<td>{html.escape(row['name'])}</td>"]
        for column in columns:
            value = row["scores"].get(column)
            shown = "–" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"
            cells.append(f'<td class="number" data-value="{-1 if value is None else value}">{shown}</td>')
        cells += [f"<td>{html.escape(_in_words(row['header'].get(key)))}</td>" for _, key in _ABOUT]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    body = "\n".join(lines)
    return f"<table><thead><tr><th>weights</th>{heads}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(key if isinstance(one, Mapping | list) else f"{key} {one}" for key, one in value.items())
    return "" if value is None else str(value)


def _lesson_row(out: Path, outcome: Outcome) -> str:
    def number(value: float, budget: float, shown: str) -> str:
        return f'<td class="number{" wait" if value > budget else ""}">{shown}</td>'

    status = "good" if outcome.passed else "bad"
    trouble = f"<br><code>{html.escape(outcome.message)}</code>" if outcome.message else ""
    verdicts = Counter(outcome.exercises.values())
    exercises = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()) or "none"
    files = " · ".join(
        f'<a href="{html.escape(outcome.name)}{end}">{label}</a>'
        for end, label in ((".html", "page"), (".ipynb", "notebook"))
        if (out / f"{outcome.name}{end}").exists()
    )
    return (
        f"<tr><td>{html.escape(outcome.title)}<br><span class='soft'>{html.escape(outcome.name)}</span></td>"
        f'<td><span class="{status}">{html.escape(outcome.status)}</span>{trouble}</td>'
        + number(outcome.seconds, SECONDS_BUDGET, f"{outcome.seconds:.1f}")
        + number(outcome.peak_memory, MEMORY_BUDGET, f"{outcome.peak_memory / 1e9:.2f}")
        + f"<td>{exercises}</td><td>{files}</td></tr>"
    )
