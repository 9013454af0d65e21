"""The commands course, notebooks, site, leaderboard and check of `python -m course_lib`."""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from course_lib import paths
from course_lib.errors import CourseError


def add_parsers(subparsers: argparse._SubParsersAction) -> None:
    """Adds this module's commands; each parser's `func` takes the arguments and returns the exit status."""
    course = subparsers.add_parser("course", help="run every lesson in batch and write a report")
    course.add_argument("--lessons", nargs="+", default=[], metavar="LESSON", help="numbers or names, such as 06 13")
    course.add_argument("--jobs", type=int, default=2, help="lessons at a time (default 2)")
    course.add_argument("--profile", choices=("laptop", "gpu"), default="laptop")
    course.add_argument("--out", type=Path, default=paths.BUILD / "course", help="folder for what comes out")
    course.set_defaults(func=_course)

    refresh = subparsers.add_parser("notebooks", help="run the committed notebooks again and rewrite their outputs")
    refresh.add_argument("names", nargs="*", metavar="NOTEBOOK", help="numbers, names or files; none means all")
    refresh.add_argument("--check", action="store_true", help="write nothing, only tell what would change")
    refresh.add_argument("--fresh", action="store_true", help="also renew outputs in which only ≈ numbers differ")
    refresh.add_argument("--jobs", type=int, default=2, help="notebooks at a time (default 2)")
    refresh.set_defaults(func=_notebooks)

    site = subparsers.add_parser("site", help="turn the committed lessons into web pages")
    site.add_argument("--out", type=Path, default=paths.BUILD / "site", help="folder for the pages")
    site.set_defaults(func=_site)

    board = subparsers.add_parser("leaderboard", help="put every system of the course into one table")
    board.add_argument("--again", action="store_true", help="take all times anew, not only those that are missing")
    board.add_argument("--out", type=Path, metavar="FOLDER", help="also write leaderboard.html, which can be sorted")
    board.set_defaults(func=_leaderboard)

    check = subparsers.add_parser("check", help="run notebooks and tell the verdict on each exercise in them")
    check.add_argument("names", nargs="+", metavar="NOTEBOOK", help="files, or numbers of lessons")
    check.set_defaults(func=_check)


def _course(arguments: argparse.Namespace) -> int:
    from course_lib.course import notebooks, report, runner

    course = runner.Course(notebooks.find(arguments.lessons), arguments.out, arguments.jobs, arguments.profile)
    started = time.perf_counter()
    outcomes = course.run()
    seconds = time.perf_counter() - started
    index = report.write_report(course.out, outcomes, arguments.profile, seconds)
    print(runner.summary(outcomes, seconds))
    print(f"Report: {index}")
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def _notebooks(arguments: argparse.Namespace) -> int:
    from course_lib.course import canonical, notebooks

    found = notebooks.find(arguments.names, [paths.NOTEBOOKS, paths.SOLUTIONS])
    with ThreadPoolExecutor(max(1, arguments.jobs)) as pool:
        results = []
        for result in pool.map(lambda path: canonical.refresh(path, arguments.check, fresh=arguments.fresh), found):
            results.append(result)
            name = (
                result.path.relative_to(paths.NOTEBOOKS) if result.path.is_relative_to(paths.NOTEBOOKS) else result.path
            )
            verb = "would change" if arguments.check else "changed"
            print(f"{name}: {result.error or f'{result.changed_lines} lines {verb}'}", flush=True)
    failed = any(result.error for result in results)
    return 1 if failed or (arguments.check and any(result.changed_lines for result in results)) else 0


def _site(arguments: argparse.Namespace) -> int:
    from course_lib.course import site

    print(f"Site: {site.write_site(arguments.out.resolve())}")
    return 0


def _leaderboard(arguments: argparse.Namespace) -> int:
    from course_lib import show
    from course_lib.course import leaderboard, leaderboard_page, leaderboard_picture, pages

    leaderboard.take_times(arguments.again)
    table = leaderboard.board()
    if not table.rows:
        raise CourseError("no weights are here whose scores were measured, so that there is no leaderboard")
    places = {"M": 2, "G": 2, "ms": 0, "shown": 0}
    for rows in leaderboard.texts(table):
        print(show.table(rows, decimals=places), end="\n\n")
    print(*(f"not listed: {text}" for text in table.unlisted), sep="\n", end="\n" if table.unlisted else "")
    print(f"Picture: {leaderboard_picture.write(table)}")
    if arguments.out:
        print(f"Page: {pages.write(arguments.out / 'leaderboard.html', leaderboard_page.page())}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from course_lib.course import canonical, notebooks, runner

    right = True
    for path in notebooks.find(arguments.names):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "checks.jsonl"
            environment = notebooks.environment() | {"COURSE_CHECKS_LOG": str(log)}
            try:
                canonical.execute(notebooks.read(path), path.parent, environment, runner.CELL_SECONDS, go_on=True)
                trouble = ""
            except CourseError as error:
                trouble = str(error)
            verdicts = runner.verdicts(log)
        print(f"{path.name}: {trouble or ('' if verdicts else 'it has no exercises')}".rstrip(": "))
        for name, verdict in verdicts.items():
            print(f"  {name:<30} {verdict}")
        right = right and not trouble and all(verdict == "correct" for verdict in verdicts.values())
    return 0 if right else 1
