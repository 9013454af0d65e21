"""Is a data set that somebody downloaded whole? Everything is read, counted, and compared with what was published."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from course_lib import datasets
from course_lib.datasets.cards import Card, Check
from course_lib.datasets.records import Record, Records
from course_lib.errors import CourseError

SAMPLE = 20  # pictures opened in each split, unless all are asked for


@dataclass
class Report:
    """What was found: a line for each split, and everything that is wrong."""

    counts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def examine(name: str, folder: Path, all_pictures: bool = False) -> Report:
    """Reads all annotations of a data set, looks whether every picture is there, and opens a sample or all of them."""
    known, report = datasets.card(name), Report()
    if not folder.is_dir():
        raise CourseError(f"there is no folder {folder}")
    checks = [check for check in known.checks if any(folder.glob(check.file))]
    if not checks:
        wanted = " or ".join(dict.fromkeys(check.file for check in known.checks))
        report.problems.append(f"{folder} has no {wanted}, so {known.name} is not there")
    for check in checks:
        try:
            options = {**dict(check.options), "problems": report.problems}
            records = datasets.read(name, folder, check.split, **options)
        except CourseError as error:
            report.problems.append(str(error))
            continue
        _count(known, check, records, report)
        _open(records, all_pictures, report)
    return report


def title(check: Check) -> str:
    """A split in words: 'train (source json)'."""
    options = [f"{name} {value}" for name, value in check.options if not isinstance(value, bool)]
    return f"{check.split} ({', '.join(options)})" if options else check.split


def _count(known: Card, check: Check, records: Records, report: Report) -> None:
    """Adds a line of counts; each that differs from the published one is a problem."""
    found = count(records)
    published = dict(check.published)
    words = [f"{number:,} {what}" for what, number in found.items()]
    report.counts.append(f"{title(check)}: {', '.join(words)}")
    for what, number in published.items():
        if found[what] != number:
            says = f"{known.name}, split {title(check)}: {found[what]:,} {what}, but {number:,} were published"
            report.problems.append(says)


def count(records: Records) -> Counter[str]:
    """Pictures, people, and how many of those have a labelled joint; clips, where pictures are frames."""
    found = Counter(pictures=len(records), people=records.count())
    labelled = [int((person.visible > 0).sum()) for entry in records.entries for person in entry.people]
    found["labelled people"], found["labelled joints"] = sum(number > 0 for number in labelled), sum(labelled)
    if clips := {(one.meta["action"], one.meta["clip"]) for one in records.entries if "clip" in one.meta}:
        found["clips"] = len(clips)
    return found


def _open(records: Records, all_pictures: bool, report: Report) -> None:
    """Every picture should be there, and those that are opened should be pictures of the right size."""
    there: list[Record] = []
    for entry in records.entries:
        if entry.file.is_file():
            there.append(entry)
        else:
            report.problems.append(f"record {entry.id}: there is no picture '{entry.file}'")
    step = 1 if all_pictures else max(1, len(there) // SAMPLE)
    for entry in there[::step]:
        try:
            entry.scene()
        except CourseError as error:
            report.problems.append(str(error))
