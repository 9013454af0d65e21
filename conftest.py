"""Gives the kernels that nbval starts the same environment as every other unwatched run of a notebook."""

import os

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
