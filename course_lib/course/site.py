"""The static site: the committed lessons as web pages that open from disk, with a start page around them."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from course_lib import paths
from course_lib.course import leaderboard_picture, notebooks, pages, report

RUN = "run.html"  # the report of the last run of the course
MAP = "Who-begat-whom"  # the place of the first lesson where the map of all systems is


class Entry(NamedTuple):
    """A lesson on the start page."""

    stem: str
    title: str
    time: str  # what its head says of the time it takes
    solved: bool  # whether its exercises are worked out


def write_site(out: Path) -> Path:
    """Writes the whole site; returns its start page. Nothing is run."""
    found = notebooks.find()
    for path in found:
        _write_lesson(path, out, "index.html")
    solutions = sorted(paths.SOLUTIONS.glob("*.ipynb"))
    for path in solutions:
        _write_lesson(path, out / paths.SOLUTIONS.name, "../index.html")
    if leaderboard_picture.FILE.exists():
        shutil.copyfile(leaderboard_picture.FILE, out / leaderboard_picture.FILE.name)
    solved = {path.name for path in solutions}
    entries = [entry(path, path.name in solved) for path in found]
    index = pages.write(out / "index.html", start_page(out, entries, _write_run(out)))
    report.write_around(out)
    return index


def entry(path: Path, solved: bool) -> Entry:
    """What the start page says of a lesson."""
    notebook = notebooks.read(path)
    head = notebook.cells[0].source if notebook.cells else ""
    time = re.search(r"^\| *\**Time\** *\| *(.*?) *\|$", head, re.MULTILINE)
    return Entry(path.stem, notebooks.title(notebook, path.stem), time[1] if time else "", solved)


def start_page(out: Path, entries: Sequence[Entry], last: str = "") -> str:
    """What the course is, its lessons in order, and what stands around them.

    last: what came of the last run, in a sentence.
    """
    texts = [("glossary", "Glossary"), ("instructors", "For instructors")]
    around = {"Leaderboard": "leaderboard.html"}
    around |= {name: f"{stem}.html" for stem, name in texts if (paths.NOTEBOOKS / f"{stem}.md").exists()}
    if any(f'id="{MAP}"' in page.read_text(encoding="utf-8") for page in out.glob("00_*.html")):
        around["Map"] = f"{entries[0].stem}.html#{MAP}"
    around |= {"The last run": RUN} if last else {}
    parts = [
        "<h1>Human pose estimation, a course you can run</h1>",
        "<p>Where are a person's elbows, knees and wrists in a photograph? Every lesson takes one answer, from the "
        "pictorial structures of 1973 to HRNet in 2019, and builds it: the idea as a drawing, the mathematics beside "
        "the code, a small training that runs on a laptop, a look inside, and the scores it reaches.</p>",
        "<p>These pages show the lessons as they were last run, with all figures and numbers. Sliders and exercises "
        "need Jupyter: in the course's folder, <code>make lab</code> opens the first lesson, and "
        f'<a href="{pages.SOURCES}/README.md.html">the README</a> tells the rest.</p>',
        "<h2>Lessons</h2>",
        f'<ol class="lessons" start="0">{"".join(_item(one) for one in entries)}</ol>',
        "<h2>Leaderboard</h2><p>Every system of the course, measured on the weights that ship. "
        '<a href="leaderboard.html">The whole table</a> has more columns and can be sorted by each of them.</p>',
    ]
    if (out / leaderboard_picture.FILE.name).exists():
        words = "The leaderboard of all systems of the course as a picture; the page it links to has the same as text."
        image = f'<img src="{leaderboard_picture.FILE.name}" alt="{words}">'
        parts.append(f'<p class="picture"><a href="leaderboard.html">{image}</a></p>')
    if last:
        parts.append(f'<h2>The last run</h2><p>{html.escape(last)} <a href="{RUN}">The report.</a></p>')
    return pages.page("Human pose estimation", f"{pages.links(around)}\n{''.join(parts)}")


def _item(lesson: Entry) -> str:
    """A lesson's number and name, its line, and how long it takes."""
    number, _, rest = lesson.title.partition(" · ")
    name, _, line = (rest or lesson.title).partition(": ")
    said = [f'<span class="line">{html.escape(line)}</span>'] if line else []
    if lesson.time:
        said.append(f'<span class="soft">{html.escape(lesson.time)}</span>')
    solutions = (
        f' · <a href="{paths.SOLUTIONS.name}/{html.escape(lesson.stem)}.html">solutions</a>' if lesson.solved else ""
    )
    value = f' value="{int(number)}"' if rest and number.isdigit() else ""
    return (
        f'<li{value}><a href="{html.escape(lesson.stem)}.html"><strong>{html.escape(name)}</strong></a>{solutions}'
        f"{''.join(f'<br>{text}' for text in said)}</li>"
    )


def _write_lesson(path: Path, folder: Path, home: str) -> None:
    page = pages.lesson_page(notebooks.read(path), path.stem, home)
    pages.write(folder / f"{path.stem}.html", page)
    shutil.copyfile(path, folder / path.name)


def _write_run(out: Path) -> str:
    """The report of the last `make course`, and that run in a sentence; nothing where there was none."""
    results = report.read_results(paths.BUILD / "course")
    if results is None:
        return ""
    outcomes, about = results
    pages.write(out / RUN, report.report_page(out, outcomes, about, "index.html"))
    return f"{report.passed(outcomes, about)} That was on {about['date'][:10]}."
