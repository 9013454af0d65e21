"""The course's glossary, notebooks/glossary.md, as data: which words there are, and in which lesson each one begins.

An entry is a paragraph with an anchor, its term in bold, a few sentences, and a link to its lesson at the end:

    <a id="pck"></a>**PCK**, *percentage of correct keypoints*: ... [lesson 13](13_metrics.ipynb)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from course_lib import paths
from course_lib.errors import CourseError

NAME = "glossary.md"
_ENTRY = re.compile(
    r'^<a id="(?P<anchor>[a-z0-9-]+)"></a>\*\*(?P<term>[^*]+)\*\*(?P<text>.*?)\s+'
    r"\[lesson\s+(?P<number>\d\d)\]\((?P<file>[^)]+)\)$",
    re.DOTALL,
)


@dataclass(frozen=True)
class Entry:
    """A word of the course."""

    anchor: str
    term: str
    text: str  # what stands between the term and the link to its lesson
    lesson: str  # "06"
    file: str  # where that link leads


def read(folder: Path | None = None) -> list[Entry]:
    """The entries in the file's order; none where a folder of notebooks has no glossary."""
    path = (folder or paths.NOTEBOOKS) / NAME
    if not path.exists():
        return []
    entries = []
    for paragraph in path.read_text(encoding="utf-8").split("\n\n"):
        if not paragraph.startswith("<a id="):
            continue
        found = _ENTRY.match(paragraph.strip())
        if not found:
            raise CourseError(
                f"{path.name}: an entry is an anchor, **a term**, its text and [lesson NN](file) at the end; "
                f"this one is not: {paragraph[:60]!r}"
            )
        text = " ".join(found["text"].split())
        entries.append(Entry(found["anchor"], found["term"], text, found["number"], found["file"]))
    return entries
