"""Where the course lies on the web. It stands in one place: [project.urls] in pyproject.toml.

Until somebody has published the course, that place holds YOUR_ACCOUNT: accounts that one can open have no underscore in
their names, so nobody will sit at that address.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from course_lib import paths
from course_lib.errors import CourseError

BRANCH = "main"
_GITHUB = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")
_LINE = re.compile(r'^Repository = "[^"]*"$', re.MULTILINE)


def read(project: Path | None = None) -> str:
    """The course's address, as pyproject.toml says."""
    path = project or paths.ROOT / "pyproject.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    except (OSError, tomllib.TOMLDecodeError, KeyError):
        raise CourseError(f"{path.name} has no Repository in [project.urls]") from None


def write(address: str, project: Path | None = None) -> str:
    """Puts another address in that place and returns it, without ".git" or "/" at its end."""
    path = project or paths.ROOT / "pyproject.toml"
    short = address.strip().rstrip("/").removesuffix(".git")
    if not _GITHUB.fullmatch(short):
        raise CourseError(
            f"Colab and Binder open what lies at https://github.com/ACCOUNT/NAME, which {address!r} is not"
        )
    read(path)
    text = path.read_text(encoding="utf-8")
    path.write_text(_LINE.sub(f'Repository = "{short}"', text, count=1), encoding="utf-8")
    return short


def colab(file: str, address: str) -> str:
    """The address under which Colab opens a notebook of the course; `file` from the course's folder."""
    return f"https://colab.research.google.com/github/{_short(address)}/blob/{BRANCH}/{file}"


def binder(file: str, address: str) -> str:
    """The address under which Binder builds the course's environment and opens a notebook in JupyterLab."""
    return f"https://mybinder.org/v2/gh/{_short(address)}/{BRANCH}?urlpath=lab/tree/{file}"


def _short(address: str) -> str:
    return address.removeprefix("https://github.com/")
