"""Which notebooks there are, and the environment in which they run when nobody watches."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_lib import paths
from course_lib.errors import CourseError, unknown_name

KERNEL = "python3"


def find(names: Sequence[str] = (), folders: Sequence[Path] | None = None) -> list[Path]:
    """Notebooks in course order. A name is a path, a lesson's number ("06"), or the whole stem; none means all.

    folders: where to look, by default the lessons alone.
    """
    folders = [paths.NOTEBOOKS] if folders is None else folders
    there = [path for folder in folders for path in sorted(folder.glob("*.ipynb"))]
    if not names:
        if not there:
            raise CourseError(f"there are no notebooks in {', '.join(str(folder) for folder in folders)}")
        return there
    found: list[Path] = []
    for name in names:
        if name.endswith(".ipynb") and Path(name).is_file():
            found.append(Path(name).resolve())
            continue
        stem = Path(name).stem
        matching = [path for path in there if path.stem == stem or path.stem.split("_")[0] == stem]
        if not matching:
            raise unknown_name("lesson", name, [path.stem for path in there])
        found += matching
    return list(dict.fromkeys(found))


def read(path: Path) -> NotebookNode:
    """A notebook from disk, refused in one sentence where it is damaged."""
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.validator.ValidationError) as error:
        raise CourseError(f"{path} is not a readable notebook: {str(error).splitlines()[0]}") from None


def title(notebook: NotebookNode, default: str = "") -> str:
    """The text of the first heading."""
    for cell in notebook.cells:
        heading = re.search(r"^#\s+(.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else None
        if heading:
            return heading[1].strip()
    return default


def ignores(cell: NotebookNode) -> bool:
    """Whether nbval does not compare a cell's outputs, by a tag or a comment."""
    marker = re.search(r"#\s*(PYTEST_VALIDATE_IGNORE_OUTPUT|NBVAL_(IGNORE_OUTPUT|SKIP|RAISES_EXCEPTION))", cell.source)
    return bool(marker) or bool(_IGNORING & set(cell.metadata.get("tags", [])))


def words(output: NotebookNode) -> str:
    """All text of an output."""
    if output.output_type == "stream":
        return output.text
    return " ".join(str(value) for kind, value in output.get("data", {}).items() if kind.startswith("text/"))


def compared() -> tuple[int, int]:
    """Of how many cells of the committed notebooks nbval compares printed outputs, and of how many it ignores them."""
    cells = [
        cell
        for path in find(folders=[paths.NOTEBOOKS, paths.SOLUTIONS])
        for cell in read(path).cells
        if cell.cell_type == "code"
    ]
    printed = [cell for cell in cells if any(words(output).strip() for output in cell.outputs)]
    return sum(not ignores(cell) for cell in printed), sum(map(ignores, cells))


_IGNORING = frozenset({"nbval-ignore-output", "nbval-skip", "nbval-raises-exception", "raises-exception"})


def environment(profile: str = "laptop", threads: int = 1, strict: bool = False) -> dict[str, str]:
    """The environment variables of a kernel whose outputs are kept.

    One thread gives the same sums on machines of any size. `strict` makes unsolved exercises an error.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    number = str(threads)
    return kept | {
        "COURSE_PROFILE": profile,
        "OMP_NUM_THREADS": number,
        "MKL_NUM_THREADS": number,
        "PYTHONHASHSEED": "0",
        "TQDM_DISABLE": "1",  # progress bars tell time, which no two runs agree about
        "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's python3, not another one of the user's
        **({"COURSE_CHECKS": "strict"} if strict else {}),
    }


# What a surrounding program may have set, and a lesson must not see
_NOT_INHERITED = frozenset({"MPLBACKEND", "COURSE_CHECKS", "COURSE_CHECKS_LOG", "PYTEST_CURRENT_TEST"})


def is_solution(path: Path) -> bool:
    """Whether a notebook belongs to the worked solutions."""
    return path.resolve().parent.name == paths.SOLUTIONS.name
