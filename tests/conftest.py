"""What all tests share."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")  # no test opens a window
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests share the cores, and one thread adds up in one order

import nbformat
import pytest
from hypothesis import settings
from nbformat import v4

# On CI a property is tried on the same examples every time; elsewhere on new ones
settings.register_profile("course", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("course")

PARAMETERS = "profile = None\nseed = 0"


@pytest.fixture
def write_notebook() -> Callable[..., Path]:
    """Writes a small notebook: a title, a parameters cell, then the given code cells."""

    def write(path: Path, cells: Sequence[str], title: str = "A tiny lesson") -> Path:
        parameters = v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
        code = [v4.new_code_cell(source) for source in cells]
        notebook = v4.new_notebook(cells=[v4.new_markdown_cell(f"# {title}"), parameters, *code])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
        return path

    return write
