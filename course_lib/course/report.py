"""The report of a run of the course: a row a lesson, in index.html beside the executed lessons."""

from __future__ import annotations

import html
import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from course_lib import paths
from course_lib.course import leaderboard_page, notebooks, pages, sources
from course_lib.course.runner import MEMORY_BUDGET, SECONDS_BUDGET, Outcome, compared, remarks

RESULTS = "results.json"
HEADING = "Human pose estimation: a run of the course"


def write_report(out: Path, outcomes: Sequence[Outcome], profile: str, seconds: float) -> Path:
    """Writes index.html, leaderboard.html and results.json beside the executed lessons; returns the first."""
    compared, ignored = notebooks.compared()
    about = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "profile": profile,
        "seconds": round(seconds, 1),
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "outputs_compared": compared,
        "outputs_ignored": ignored,
    }
    results = {**about, "lessons": [asdict(outcome) for outcome in outcomes]}
    (out / RESULTS).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_around(out)
    index = pages.write(out / "index.html", report_page(out, outcomes, about))
    for page in out.glob("*.html"):  # a run of some lessons has no pages of the others
        pages.write(page, pages.without_dead_links(page.read_text(encoding="utf-8"), out))
    return index


def write_around(out: Path) -> None:
    """Writes what stands around the lessons in a folder: the leaderboard, texts, and files that they link to."""
    lessons = {file.stem[:2]: file.name for file in out.glob("[0-9][0-9]_*.html")}
    pages.write(out / "leaderboard.html", leaderboard_page.page(lessons=lessons))
    for text in sorted(paths.NOTEBOOKS.glob("*.md")):
        pages.write(out / f"{text.stem}.html", pages.text_page(text.read_text(encoding="utf-8")))
    sources.write_sources(out)


def read_results(folder: Path) -> tuple[list[Outcome], dict[str, Any]] | None:
    """The outcomes of the last run into a folder and what is said about it; None where there was none."""
    try:
        about = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        return [Outcome(**lesson) for lesson in about.pop("lessons")], about
    except (OSError, ValueError, TypeError, KeyError):  # none, or one of another version
        return None


def report_page(out: Path, outcomes: Sequence[Outcome], about: Mapping[str, Any], home: str = "") -> str:
    """What a run of the course did: a row a lesson. Files in `out` are linked."""
    verdict = "good" if all(outcome.passed for outcome in outcomes) else "bad"
    facts = (
        f"{about['date']}, profile {about['profile']}, {about['machine']}, Python {about['python']}, "
        f"torch {about['torch']}"
    )
    heads = "<th>Lesson</th><th>Status</th><th class='number'>Seconds</th><th class='number'>Peak GB</th>"
    rows = "\n".join(_row(out, outcome) for outcome in outcomes)
    links = {"Start": home} if home else {}
    return pages.page(
        HEADING,
        f"{pages.links({**links, 'Leaderboard': 'leaderboard.html'})}<h1>{HEADING}</h1>"
        f'<p class="{verdict}">{passed(outcomes, about)}</p>'
        f'<p class="soft">{html.escape(facts)}</p>'
        f"<table><tr>{heads}<th>Exercises</th><th>Files</th></tr>\n{rows}</table>"
        f'<p class="soft">A lesson may take {SECONDS_BUDGET:.0f} s and {MEMORY_BUDGET / 1e9:.0f} GB with the laptop '
        "profile; more is marked. Memory is what the kernel and its children held at the worst moment. "
        f"{html.escape(compared_in_words(about['outputs_compared'], about['outputs_ignored']))}</p>",
    )


def passed(outcomes: Sequence[Outcome], about: Mapping[str, Any]) -> str:
    """The run in a sentence."""
    count = sum(outcome.passed for outcome in outcomes)
    return f"{count} of {len(outcomes)} lessons passed in {about['seconds']:.0f} s. {compared(outcomes)}".rstrip()


def compared_in_words(compared: int, ignored: int) -> str:
    """How much of the committed notebooks the tests compare."""
    return f"Of the committed notebooks, tests compare the outputs of {compared} cells and ignore those of {ignored}."


def _row(out: Path, outcome: Outcome) -> str:
    def number(value: float, budget: float, shown: str) -> str:
        return f'<td class="number{" wait" if value > budget else ""}">{shown}</td>'

    status = "good" if outcome.passed else "bad"
    said = "".join(f"<br><code>{html.escape(text)}</code>" for text in remarks(outcome))
    verdicts = Counter(outcome.exercises.values())
    exercises = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()) or "none"
    files = " · ".join(
        f'<a href="{html.escape(outcome.name)}{end}">{label}</a>'
        for end, label in ((".html", "page"), (".ipynb", "notebook"))
        if (out / f"{outcome.name}{end}").exists()
    )
    return (
        f"<tr><td>{html.escape(outcome.title)}<br><span class='soft'>{html.escape(outcome.name)}</span></td>"
        f'<td><span class="{status}">{html.escape(outcome.status)}</span>{said}</td>'
        + number(outcome.seconds, SECONDS_BUDGET, f"{outcome.seconds:.1f}")
        + number(outcome.peak_memory, MEMORY_BUDGET, f"{outcome.peak_memory / 1e9:.2f}")
        + f"<td>{exercises}</td><td>{files}</td></tr>"
    )
