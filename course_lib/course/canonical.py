"""Committed notebooks that change only when the lesson does.

Running a notebook usually rewrites hundreds of its lines: times, ids, widget models, metadata. `refresh` runs it and
writes the one form in which the same lesson is the same file, byte for byte. Numbers behind a "≈" and whatever else
tests/nbval_sanitize.cfg names may differ from run to run; where nothing else differs the old output stays, unless
`fresh` is asked for, as it should be when weights or machine have changed.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from course_lib import paths
from course_lib.course import notebooks
from course_lib.errors import CourseError

CELL_SECONDS = 600
_WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": notebooks.KERNEL},
    "language_info": {"name": "python"},
}
_CELL_METADATA = ("tags", "jupyter")  # what an author sets by hand; all else is left by programs
_ID = re.compile(r"[0-9a-f]{32}")
_CAPTION = re.compile(r'<p style="opacity:[^"]*max-width:')  # how show.caption begins
_DRAWN_AT = re.compile(r"<figure at (.*)>", re.DOTALL)  # show.explore's words for its picture
_BAR = re.compile(r"\d+%\|.*\||\r|it/s\]|s/it\]")


@dataclass(frozen=True)
class Refreshed:
    """What became of one notebook."""

    path: Path
    changed_lines: int
    error: str = ""


def refresh(path: Path, check: bool = False, seconds: float = CELL_SECONDS, fresh: bool = False) -> Refreshed:
    """Runs a notebook and rewrites it canonically; with `check` it only tells how many lines would change.

    With `fresh` every output is the new run's, also where only numbers behind a "≈" differ.

    A notebook that fails keeps its file, and the error says which cell.
    """
    before = path.read_text(encoding="utf-8")
    old = notebooks.read(path)
    strict = notebooks.is_solution(path)
    try:
        new = execute(old, path.parent, notebooks.environment(strict=strict), seconds)
    except CourseError as error:
        return Refreshed(path, 0, str(error))
    new = canonical(new)
    after = text_of(new if fresh else _keep_equal_outputs(new, old, sanitize_rules()))
    changed = sum(line[:1] in "+-" and line[:3] not in ("+++", "---") for line in _diff(before, after))
    if changed and not check:
        path.write_text(after, encoding="utf-8")
    return Refreshed(path, changed)


def execute(
    notebook: NotebookNode, folder: Path, environment: dict[str, str], seconds: float | None, go_on: bool = False
) -> NotebookNode:
    """A copy of the notebook, run from top to bottom in `folder` by a kernel of its own.

    `go_on` runs the cells behind one that fails; otherwise the failure is a CourseError.
    """
    fresh = copy.deepcopy(notebook)
    fresh.metadata.pop("widgets", None)
    client = NotebookClient(
        fresh,
        timeout=seconds,
        startup_timeout=120,
        kernel_name=notebooks.KERNEL,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        allow_errors=go_on,
    )
    try:
        client.execute(env=environment, stderr=subprocess.DEVNULL)
    except CellExecutionError as error:
        code = [cell for cell in fresh.cells if cell.cell_type == "code"]
        number = next((i for i, cell in enumerate(code, 1) if _failed(cell)), 0)
        raise CourseError(f"In [{number}] raised {error.ename}: {error.evalue}") from None
    except CellTimeoutError:
        raise CourseError(f"a cell took longer than {seconds:.0f} s") from None
    except DeadKernelError:
        raise CourseError("the kernel died (too little memory is the usual reason)") from None
    return fresh


def canonical(notebook: NotebookNode) -> NotebookNode:
    """The same notebook without anything that a program left behind. Doing it twice changes nothing."""
    notebook = copy.deepcopy(notebook)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    widgets = notebook.metadata.get("widgets")
    notebook.metadata = nbformat.from_dict(_METADATA | ({"widgets": widgets} if widgets else {}))
    taken: set[str] = set()
    count = 0
    for cell in notebook.cells:
        cell.id = _cell_id(cell, taken)
        cell.metadata = nbformat.from_dict(
            {key: cell.metadata[key] for key in _CELL_METADATA if cell.metadata.get(key)}
        )
        if cell.cell_type == "code":
            count += cell.execution_count is not None
            cell.execution_count = count if cell.execution_count is not None else None
            cell.outputs = _outputs(cell)
    _describe_pictures(notebook.cells)
    return _renumber_widgets(notebook)


def different(run: NotebookNode, committed: NotebookNode) -> list[int]:
    """The code cells, numbered from 1, whose printed outputs are not those of the committed notebook.

    What may differ between runs does not count, nor do pictures: their bytes depend on the machine's fonts.
    """
    rules = sanitize_rules()
    pairs = zip(*(_code_cells(canonical(one)) for one in (run, committed)), strict=False)
    return [number for number, (one, other) in enumerate(pairs, 1) if _words(one, rules) != _words(other, rules)]


def text_of(notebook: NotebookNode) -> str:
    """The notebook as it is written to disk."""
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def sanitize_rules(path: Path | None = None) -> list[tuple[re.Pattern, str]]:
    """What may differ between runs, from the file that nbval reads too."""
    path = path or paths.ROOT / "tests" / "nbval_sanitize.cfg"
    if not path.exists():
        return []
    pairs = re.findall(r"^regex: (.*)$\n^replace: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [(re.compile(regex), replacement) for regex, replacement in pairs]


# --- outputs ----------------------------------------------------------------------------------------------------------


def _outputs(cell: NotebookNode) -> list[NotebookNode]:
    kept: list[NotebookNode] = []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stderr" and _BAR.search(output.text):
            continue
        if "data" in output and WIDGET_VIEW in output.data and _BAR.search(output.data.get("text/plain", "")):
            continue  # tqdm's notebook bar
        if (
            output.output_type == "stream"
            and kept
            and kept[-1].output_type == "stream"
            and kept[-1].name == output.name
        ):
            kept[-1].text += output.text
            continue
        if "metadata" in output:
            output.metadata = nbformat.from_dict(_own_words(output))
        if "execution_count" in output:
            output.execution_count = cell.execution_count
        kept.append(output)
    return kept


def _describe_pictures(cells: list[NotebookNode]) -> None:
    """Gives every picture the words of its caption as the text for readers who cannot see it ("alt").

    A caption stands behind its picture, in the same cell or as the first thing of the next one. Without a caption,
    what the drawing program had to say stays.
    """
    for place, cell in enumerate(cells):
        outputs = cell.get("outputs", [])
        following = cells[place + 1].get("outputs", [])[:1] if place + 1 < len(cells) else []
        for number, output in enumerate(outputs):
            if "image/png" not in output.get("data", {}):
                continue
            words = next(filter(None, map(_caption, [*outputs[number + 1 :], *following])), "")
            if drawn := _DRAWN_AT.fullmatch(output.data.get("text/plain", "")):
                words = f"{words} Drawn at {drawn[1]}.".strip()
            if words:
                output.metadata = nbformat.from_dict({"image/png": {"alt": words}})


def _caption(output: NotebookNode) -> str:
    """The sentence that show.caption has displayed, or nothing."""
    data = output.get("data", {})
    return data.get("text/plain", "") if _CAPTION.match(data.get("text/html", "")) else ""


def _own_words(output: NotebookNode) -> dict[str, dict[str, str]]:
    alternative = output.metadata.get("image/png", {}).get("alt")
    return {"image/png": {"alt": alternative}} if alternative else {}


def _keep_equal_outputs(new: NotebookNode, old: NotebookNode, rules: list[tuple[re.Pattern, str]]) -> NotebookNode:
    """Takes a cell's old outputs where they differ from the new ones only in what may differ."""
    by_id = {cell.id: cell for cell in canonical(old).cells if cell.cell_type == "code"}
    for cell in new.cells:
        before = by_id.get(cell.id)
        if cell.cell_type != "code" or before is None or before.source != cell.source:
            continue
        if _sanitized(before.outputs, rules) == _sanitized(cell.outputs, rules):
            cell.outputs = before.outputs
    return new


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _words(cell: NotebookNode, rules: list[tuple[re.Pattern, str]]) -> str:
    """What a cell printed, comparable."""
    cell = copy.deepcopy(cell)
    for output in cell.outputs:
        for kind in [kind for kind in output.get("data", {}) if not kind.startswith("text/")]:
            del output.data[kind]
    return _sanitized(cell.outputs, rules)


def _sanitized(outputs: Iterable[NotebookNode], rules: list[tuple[re.Pattern, str]]) -> str:
    def clean(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {inner: clean(inner, value[inner]) for inner in sorted(value)}
        if isinstance(value, list):
            return [clean(key, one) for one in value]
        if isinstance(value, str) and not key.startswith("image/") and key != "model_id":
            for pattern, replacement in rules:
                value = pattern.sub(replacement, value)
        return value

    return json.dumps([clean("", output) for output in outputs])


# --- ids --------------------------------------------------------------------------------------------------------------


def _cell_id(cell: NotebookNode, taken: set[str]) -> str:
    """The cell's own id; where it has none, or another cell has it too, one made from its text."""
    name, repeat = cell.get("id"), 0
    while not name or name in taken:
        name = hashlib.sha256(f"{repeat}{cell.source}".encode()).hexdigest()[:8]
        repeat += 1
    taken.add(name)
    return name


def _renumber_widgets(notebook: NotebookNode) -> NotebookNode:
    """Gives widget models the ids 1, 2, 3, in the order in which the page reaches them, and forgets the others."""
    models = notebook.metadata.get("widgets", {}).get(_WIDGET_STATE, {}).get("state", {})
    order: dict[str, str] = {}

    def reach(model: str) -> None:
        if model in order:
            return
        order[model] = f"{len(order) + 1:032x}"
        inside = json.dumps(models.get(model, {}), sort_keys=True)
        for other in re.findall(rf"IPY_MODEL_({_ID.pattern})", inside):
            reach(other)

    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if WIDGET_VIEW in output.get("data", {}):
                reach(output.data[WIDGET_VIEW]["model_id"])
    if models:
        kept = {model: _without_defaults(models[model]) for model in order if model in models}
        notebook.metadata.widgets[_WIDGET_STATE]["state"] = kept
        if not kept:
            del notebook.metadata["widgets"]
    text = json.dumps(notebook)
    return nbformat.from_dict(json.loads(_ID.sub(lambda found: order.get(found[0], found[0]), text)))


def _without_defaults(model: dict[str, Any]) -> dict[str, Any]:
    """A widget's layout is forty properties, nearly all of them null, which is their default."""
    if model.get("model_name") != "LayoutModel":
        return model
    return {**model, "state": {key: value for key, value in model["state"].items() if value is not None}}


def _failed(cell: NotebookNode) -> bool:
    return any(output.output_type == "error" for output in cell.get("outputs", []))


def _diff(before: str, after: str) -> Iterable[str]:
    return difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
