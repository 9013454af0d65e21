"""Gives the kernels that nbval starts the same environment as every other unwatched run of a notebook.

Where notebooks were tested, the last lines say how many of their outputs are compared, and how many are not.
"""

import os
from collections.abc import Iterable, Iterator

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Runs before nbval starts a notebook's kernel; solutions must be right, lessons need not be solved."""
    if item.path.suffix != ".ipynb":
        return
    from course_lib.course import notebooks

    wanted = notebooks.environment(strict=notebooks.is_solution(item.path))
    for name in os.environ.keys() - wanted.keys() - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update(wanted)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what passing tests keep to themselves."""
    reports = (report for some in terminalreporter.stats.values() for report in some)
    if not any(("test_notebooks.py" in name or ".ipynb" in name) for name in _names(reports)):
        return
    from course_lib.course import notebooks, report

    terminalreporter.write_line(report.compared_in_words(*notebooks.compared()))


def _names(reports: Iterable[object]) -> Iterator[str]:
    return (str(getattr(one, "nodeid", "")) for one in reports)
