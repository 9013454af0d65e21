"""A notebook on its own, as Colab opens it: what the set-up cell does once it has fetched the course.

This runs before anything is installed, so it needs Python alone.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from course_lib import paths

# They run lessons in batch, serve them and make pages of them; a notebook that is open already needs none of that
_NOT_NEEDED = frozenset({"jupyterlab", "papermill", "nbclient", "nbconvert", "nbformat", "latex2mathml"})


def install(project: Path | None = None) -> None:
    """Lets pip install what a lesson needs and this Python lacks, or has in a version that is too old.

    Where that fails, one sentence says what to do.
    """
    needed = requirements(project or paths.ROOT / "pyproject.toml")
    try:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *needed], check=True)
    except (OSError, subprocess.CalledProcessError):
        raise SystemExit(
            "pip could not install what the lesson needs: look above for its reason, or follow the course's README on "
            "your own machine."
        ) from None


def requirements(project: Path) -> list[str]:
    """What pyproject.toml asks for, without the packages that only serve or convert notebooks."""
    listed = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    return [one for one in listed if re.match(r"[\w.-]+", one)[0] not in _NOT_NEEDED]
