"""What is around every lesson, made from one source: links, badges, times, words, and the set-up cell.

`python -m course_lib frame` writes three cells into each lesson and each of its solutions, "frame-top", "setup" and
"frame-bottom", and brings the table at the lesson's head into one form. Nothing else in a notebook changes, and doing
it twice changes nothing. A lesson's neighbours are the notebooks before and after it in its folder; its words come
from the glossary; the course's address from pyproject.toml (see address.py).
"""

from __future__ import annotations

import argparse
import copy
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4

from course_lib import paths
from course_lib.course import address, canonical, glossary, notebooks, sessions
from course_lib.errors import CourseError

TOP, SETUP, BOTTOM = "frame-top", "setup", "frame-bottom"
MAP = "00_start_here.ipynb#Who-begat-whom"  # the heading of lesson 00 over the figure of lessons.family

# The rule by which times are told. Nobody's reading was measured; it comes near to what the lessons' authors noted.
WORDS_A_MINUTE = 180
CODE_LINES_A_MINUTE = 20
MINUTES_A_FIGURE = 0.5
MINUTES_OF_EXERCISES = (10, 15, 20)  # warm-up, core, stretch

_LABELS = {
    "time": "Time",
    "you need": "Before",
    "before": "Before",
    "after": "Afterwards",
    "afterwards": "Afterwards",
    "afterwards you can": "Afterwards",
}
_ROW = re.compile(r"^\| *\*{0,2}([A-Za-z ]+?)\*{0,2} *\| *(.*?) *\|$", re.MULTILINE)
_RUN = re.compile(r"((?:about|under|less than) (?:a minute|\d+ seconds|half a minute))")

_SETUP = """\
# Does nothing where the course is installed. A notebook on its own, as in Colab, fetches the course and what it needs.
import importlib.util

if importlib.util.find_spec("course_lib") is None:
    import os
    import pathlib
    import subprocess
    import sys

    address = "{address}"
    here = pathlib.Path.cwd()
    if any((folder / "course_lib").is_dir() for folder in here.parents):
        raise SystemExit("This Python does not have the course: start with `make lab`, or choose the kernel that does.")
    home = here / "human-pose-estimation"
    if not (home / "course_lib").is_dir():
        fetch = ["git", "clone", "--quiet", "--depth=1", address, str(home)]
        unasked = os.environ | {{"GIT_TERMINAL_PROMPT": "0"}}  # a wrong address must not wait for a password
        try:
            subprocess.run(fetch, check=True, env=unasked)
        except (OSError, subprocess.CalledProcessError):
            raise SystemExit(f"Put the course into {{home}} and run this again: {{address}} did not answer.") from None
    sys.path.insert(0, str(home))
    from course_lib.course import alone

    alone.install()"""


def add_parsers(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command `frame`."""
    parser = subparsers.add_parser("frame", help="write links, badges, times and the set-up cell into the notebooks")
    parser.add_argument("names", nargs="*", metavar="NOTEBOOK", help="numbers, names or files; none means all")
    parser.add_argument("--check", action="store_true", help="write nothing, only tell what would change")
    parser.add_argument("--repository", metavar="ADDRESS", help="where the course is published, kept in pyproject.toml")
    parser.set_defaults(func=_frame)


def _frame(arguments: argparse.Namespace) -> int:
    found = notebooks.find(arguments.names, [paths.NOTEBOOKS, paths.SOLUTIONS])
    if arguments.repository and (arguments.names or arguments.check):
        raise CourseError("--repository rewrites every notebook: give neither notebooks nor --check with it")
    if arguments.repository:
        print(f"The course's address is now {address.write(arguments.repository)}")
    pages = [path for path in (paths.NOTEBOOKS / sessions.NAME,) if path.exists() and not arguments.names]
    changed = []
    for path in (*found, *pages):
        text = instructors(path) if path in pages else framed(path)
        if text != path.read_text(encoding="utf-8"):
            changed.append(path)
            if not arguments.check:
                path.write_text(text, encoding="utf-8")
    for path in changed:
        print(f"{_name(path)}: {'would change' if arguments.check else 'changed'}")
    count = len(found) + len(pages)
    print(f"{count - len(changed)} of {count} files were as they should be")
    return 1 if changed and arguments.check else 0


def _name(path: Path) -> str:
    path = path.resolve()
    return str(path.relative_to(paths.NOTEBOOKS)) if path.is_relative_to(paths.NOTEBOOKS) else str(path)


def framed(path: Path) -> str:
    """The notebook's text with its frame; the file itself stays as it is."""
    if not re.match(r"\d\d_", path.name):
        raise CourseError(f"a lesson's file is called NN_name.ipynb, by which its place is known; not {path.name}")
    notebook = notebooks.read(path)
    if not notebook.cells or not notebook.cells[0].source.startswith("# "):
        raise CourseError(f"{path.name} begins without a cell for its title (# ...)")
    cells = [cell for cell in notebook.cells if cell.id not in (TOP, SETUP, BOTTOM)]
    parameters = [n for n, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])]
    if not parameters:
        raise CourseError(f"{path.name} has no code cell tagged 'parameters'")
    own = copy.deepcopy(cells)
    if not notebooks.is_solution(path):
        cells[0].source = with_head(cells[0].source, own)
    executed = any(cell.get("execution_count") for cell in cells)
    setup = v4.new_code_cell(
        _SETUP.format(address=address.read()),
        id=SETUP,
        metadata={"tags": ["setup"], "jupyter": {"source_hidden": True}},  # folded in JupyterLab
        execution_count=1 if executed else None,
    )
    cells.insert(parameters[0], setup)
    cells.insert(1, v4.new_markdown_cell(_top(path, own), id=TOP))
    cells.append(v4.new_markdown_cell(f"**Where next?**\n\n{links(path)}", id=BOTTOM))
    notebook.cells = cells
    return canonical.text_of(canonical.canonical(nbformat.from_dict(notebook)))


# --- the line of links ------------------------------------------------------------------------------------------------


def links(path: Path) -> str:
    """Where one can go from a lesson or from its solutions."""
    solution = notebooks.is_solution(path)
    lessons = path.parent.parent if solution else path.parent
    up = "../" if solution else ""
    before, after = _neighbours(path)
    other = lessons / path.name if solution else lessons / paths.SOLUTIONS.name / path.name
    parts = [f"Previous: {_link(before)}"] if before else []
    if solution and other.exists():
        parts.append(f"[Back to lesson {path.stem[:2]}](../{path.name})")
    parts.append(f"[Start]({up}00_start_here.ipynb)")
    if after:
        parts.append(f"Next: {_link(after)}")
    if not solution and other.exists():
        parts.append(f"[Solutions]({paths.SOLUTIONS.name}/{path.name})")
    parts += [f"[Glossary]({up}{glossary.NAME})", f"[Map]({up}{MAP})"]
    return " · ".join(parts)


def instructors(path: Path) -> str:
    """The instructors' page, with the times of the lessons beside it."""
    times = {}
    for lesson in sorted(path.parent.glob("[0-9][0-9]_*.ipynb")):
        notebook = notebooks.read(lesson)
        minutes = _rounded(reading_minutes(notebook.cells)), exercise_minutes(notebook.cells)
        times[lesson.stem[:2]] = sessions.Times(_short_title(notebook, lesson.stem), lesson.name, *minutes)
    return sessions.page(path.read_text(encoding="utf-8"), times)


def _neighbours(path: Path) -> tuple[Path | None, Path | None]:
    row = sorted(path.resolve().parent.glob("[0-9][0-9]_*.ipynb"))
    place = row.index(path.resolve())
    return (row[place - 1] if place else None), (row[place + 1] if place + 1 < len(row) else None)


def _link(path: Path) -> str:
    return f"[{_short_title(notebooks.read(path), path.stem)}]({path.name})"


def _short_title(notebook: NotebookNode, default: str) -> str:
    return notebooks.title(notebook, default).split(":")[0].replace(" · ", " ")


# --- the head ---------------------------------------------------------------------------------------------------------


def _top(path: Path, cells: list[NotebookNode]) -> str:
    solution = notebooks.is_solution(path)
    lessons = path.parent.parent if solution else path.parent
    file = f"{paths.NOTEBOOKS.name}/{path.resolve().relative_to(lessons.resolve()).as_posix()}"
    here = address.read()
    away = f"[Open in Colab]({address.colab(file, here)}) · [Launch in Binder]({address.binder(file, here)})"
    parts = [away, links(path)]  # JupyterLab lays a cell's buttons over the right end of its first line: a short one
    if solution:
        parts[0] += f" · about {_rounded(reading_minutes(cells))} minutes to read"
    words = [entry for entry in glossary.read(lessons) if entry.lesson == path.stem[:2]]
    if words and not solution:
        listed = ", ".join(f"[{entry.term}]({glossary.NAME}#{entry.anchor})" for entry in words)
        parts.append(f"**Words of this lesson:** {listed}.")
    return "\n\n".join(parts)


def with_head(source: str, cells: list[NotebookNode]) -> str:
    """A lesson's first cell with its table's rows called Time, Before and Afterwards, and the times filled in."""

    def row(found: re.Match) -> str:
        label = _LABELS.get(found[1].strip().lower())
        if label is None:
            return found[0]
        text = found[2]
        if label == "Time":
            text = _times(text, cells)
        if label == "Afterwards" and not text.startswith("you can "):
            text = f"you can {text}"
        return f"| **{label}** | {text} |"

    return _ROW.sub(row, source)


def _times(text: str, cells: list[NotebookNode]) -> str:
    """The author's words for running it, then the times that the rule gives."""
    run = _RUN.search(text)
    parts = [f"{run[1]} to run"] if run else []
    parts.append(f"about {_rounded(reading_minutes(cells))} minutes to read")
    if exercises := exercise_minutes(cells):
        parts.append(f"about {exercises} for the exercises")
    return ", ".join(parts)


def reading_minutes(cells: list[NotebookNode]) -> float:
    """How long a reader may need for the prose, the figures and the code, by the rule above.

    The times themselves and the frame do not count, so that writing them does not change them.
    """
    words = lines = figures = 0
    for cell in cells:
        if cell.id in (TOP, SETUP, BOTTOM):
            continue
        if cell.cell_type == "markdown":
            words += len(re.sub(r"(?mi)^\| *\*{0,2}time\*{0,2} *\|.*$", "", cell.source).split())
        else:
            lines += len(cell.source.splitlines())
            figures += sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
    return words / WORDS_A_MINUTE + lines / CODE_LINES_A_MINUTE + MINUTES_A_FIGURE * figures


def exercise_minutes(cells: list[NotebookNode]) -> int:
    """How long the exercises may take: there are three, each longer than the one before."""
    checks = sum(len(re.findall(r"lessons\.check\(", cell.source)) for cell in cells if cell.cell_type == "code")
    return sum(MINUTES_OF_EXERCISES[:checks])


def _rounded(minutes: float) -> int:
    return max(5, 5 * round(minutes / 5))
