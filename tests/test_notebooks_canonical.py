"""The one form of a committed notebook: running it again changes nothing."""

import json
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from course_lib.course import canonical, notebooks
from course_lib.errors import CourseError
from course_lib.show import tables

WIDGET = """import ipywidgets as widgets
from IPython.display import display
hidden = widgets.IntSlider()
slider = widgets.IntSlider(3, description="joint", continuous_update=False)
picture = widgets.Image(value=b"not a picture")
display(widgets.VBox([slider, picture]))"""
FIGURE = """from matplotlib import pyplot as plt
plt.plot([1, 3, 2])
plt.show()"""
BAR = """import sys, time
print("37%|###   | 3/8 [00:01<00:02,  2.40it/s]", file=sys.stderr)
print(f"took ≈ {time.perf_counter():.4f} s")"""


@pytest.fixture
def refreshed(tmp_path: Path, write_notebook) -> Path:
    path = write_notebook(tmp_path / "01_tiny.ipynb", [WIDGET, FIGURE, BAR, "print('a'); print('b')\n1 + 1"])
    result = canonical.refresh(path)
    assert not result.error and result.changed_lines > 0
    return path


def test_running_again_changes_no_line(refreshed):
    before = refreshed.read_bytes()
    result = canonical.refresh(refreshed)
    assert (result.error, result.changed_lines) == ("", 0)
    assert refreshed.read_bytes() == before
    check_form(refreshed)
    edit(refreshed)


def check_form(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata) == {"kernelspec", "language_info", "widgets"}
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3, 4, 5]
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)
    assert not [out for cell in code for out in cell.outputs if out.get("name") == "stderr"]
    state = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    assert list(state) == [f"{number:032x}" for number in range(1, len(state) + 1)]
    names = [model["model_name"] for model in state.values()]
    assert names.count("IntSliderModel") == 1, "the slider that is nowhere shown is forgotten"
    [view] = [out for cell in code for out in cell.outputs if canonical.WIDGET_VIEW in out.get("data", {})]
    assert view.data[canonical.WIDGET_VIEW]["model_id"] == f"{1:032x}"


def edit(path: Path) -> None:
    """One word in a text cell changes two lines: the old one and the new one."""
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("A tiny lesson", "A small lesson"), encoding="utf-8")
    before = path.read_bytes()
    result = canonical.refresh(path, check=True)
    assert result.changed_lines == 0, "the author's own words stay as they are"
    assert path.read_bytes() == before


def test_numbers_behind_about_stay_unless_fresh_ones_are_asked_for(tmp_path, write_notebook):
    path = write_notebook(tmp_path / "01_tiny.ipynb", ["import time\nprint(f'≈ {time.time():.6f}')"])
    canonical.refresh(path)
    before = path.read_bytes()
    assert canonical.refresh(path).changed_lines == 0 and path.read_bytes() == before
    assert canonical.refresh(path, fresh=True).changed_lines > 0 and path.read_bytes() != before


def test_check_writes_nothing(tmp_path, write_notebook):
    path = write_notebook(tmp_path / "01_tiny.ipynb", ["print(1)"])
    before = path.read_bytes()
    assert canonical.refresh(path, check=True).changed_lines > 0
    assert path.read_bytes() == before


def test_a_failing_notebook_keeps_its_file(tmp_path, write_notebook):
    path = write_notebook(tmp_path / "01_tiny.ipynb", ["print(1)", "1 / 0"])
    before = path.read_bytes()
    result = canonical.refresh(path)
    assert result.error == "In [3] raised ZeroDivisionError: division by zero"
    assert path.read_bytes() == before


def test_an_unsolved_solution_is_refused(tmp_path, write_notebook):
    cell = "import os\nassert os.environ.get('COURSE_CHECKS') == 'strict', 'not strict'"
    assert not canonical.refresh(write_notebook(tmp_path / "solutions" / "01_tiny.ipynb", [cell])).error
    assert "not strict" in canonical.refresh(write_notebook(tmp_path / "01_tiny.ipynb", [cell])).error


def test_what_programs_leave_behind_goes():
    cell = v4.new_code_cell(
        "x",
        id="mine",
        execution_count=7,
        metadata={
            "papermill": {"duration": 1.2},
            "execution": {},
            "collapsed": True,
            "tags": ["hide"],
            "scrolled": True,
        },
        outputs=[
            v4.new_output("stream", name="stdout", text="a\n"),
            v4.new_output("stream", name="stdout", text="b\n"),
            v4.new_output("execute_result", {"text/plain": "1"}, execution_count=7, metadata={"isolated": True}),
        ],
    )
    injected = v4.new_code_cell("profile = 'gpu'", metadata={"tags": ["injected-parameters"]})
    notebook = v4.new_notebook(
        cells=[injected, cell], metadata={"papermill": {}, "language_info": {"name": "python", "version": "3.12"}}
    )
    result = canonical.canonical(notebook)
    assert len(result.cells) == 1 and "papermill" not in json.dumps(result)
    [cell] = result.cells
    assert (cell.id, cell.execution_count, dict(cell.metadata)) == ("mine", 1, {"tags": ["hide"]})
    assert [output.get("text") for output in cell.outputs] == ["a\nb\n", None]
    assert cell.outputs[1].execution_count == 1
    assert canonical.canonical(result) == result


def picture(alternative: str = "", text: str = "<Figure size 1x1 with 1 Axes>") -> nbformat.NotebookNode:
    metadata = {"image/png": {"alt": alternative}} if alternative else {}
    return v4.new_output("display_data", {"image/png": "AAAA", "text/plain": text}, metadata=metadata)


def caption(text: str) -> nbformat.NotebookNode:
    shown = tables._Caption(text)
    return v4.new_output("display_data", {"text/html": shown._repr_html_(), "text/plain": repr(shown)})


def code(*outputs: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return v4.new_code_cell("x", outputs=list(outputs))


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ([code(picture(), caption("See the hill."))], ["See the hill."]),
        ([code(picture("titles"), caption("See the hill."))], ["See the hill."]),
        ([code(picture(), v4.new_output("stream", text="1"), caption("Far."))], ["Far."]),
        ([code(picture(), caption("First."), picture(), caption("Second."))], ["First.", "Second."]),
        ([code(picture()), code(caption("In the next cell."))], ["In the next cell."]),
        ([code(picture("titles")), code(picture(), caption("Another."))], ["titles", "Another."]),
        ([code(picture()), v4.new_markdown_cell("Words."), code(caption("Too far."))], [None]),
        ([code(picture(text="<figure at step = 3>"), caption("See."))], ["See. Drawn at step = 3."]),
        ([code(picture(text="<figure at step = 3>"))], ["Drawn at step = 3."]),
    ],
)
def test_a_picture_is_described_by_its_caption(cells, told):
    once = canonical.canonical(v4.new_notebook(cells=cells))
    pictures = [out for cell in once.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    assert [out.metadata.get("image/png", {}).get("alt") for out in pictures] == told
    assert canonical.canonical(once) == once


def test_cells_without_an_id_of_their_own_get_one_from_their_text():
    notebook = v4.new_notebook()
    notebook.cells = [v4.new_markdown_cell("same", id="twice") for _ in range(3)]
    ids = [cell.id for cell in canonical.canonical(notebook).cells]
    assert ids[0] == "twice" and len(set(ids)) == 3
    assert ids == [cell.id for cell in canonical.canonical(notebook).cells]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("score ≈ 0.83", "score ≈ 0.79"),
        ("loss ≈ 1.2e-05 after ≈ 4 s", "loss ≈ -3e+01 after ≈ 12.25 s"),
        ("≈83%", "≈7%"),
        ("<object at 0x7f12ab34cd56>", "<object at 0x7f99ab34cd50>"),
        ("model 0123456789abcdef0123456789abcdef", "model fedcba9876543210fedcba9876543210"),
    ],
)
def test_what_may_differ_between_runs(text, same):
    rules = canonical.sanitize_rules()
    assert rules
    for pattern, replacement in rules:
        text, same = pattern.sub(replacement, text), pattern.sub(replacement, same)
    assert text == same


@pytest.mark.parametrize(("text", "other"), [("score 0.83", "score 0.79"), ("≈ 0.8, n = 3", "≈ 0.8, n = 4")])
def test_what_may_not_differ_between_runs(text, other):
    for pattern, replacement in canonical.sanitize_rules():
        text, other = pattern.sub(replacement, text), pattern.sub(replacement, other)
    assert text != other


def test_a_damaged_notebook_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "01_broken.ipynb"
    path.write_text('{"cells": [')
    with pytest.raises(CourseError, match="not a readable notebook"):
        notebooks.read(path)


def test_names_that_no_notebook_has(tmp_path, write_notebook):
    write_notebook(tmp_path / "06_stacked_hourglass.ipynb", [])
    with pytest.raises(CourseError, match="did you mean '06_stacked_hourglass'"):
        notebooks.find(["06_stacked_hourglas"], [tmp_path])
    with pytest.raises(CourseError, match="there are no notebooks"):
        notebooks.find([], [tmp_path / "nothing"])
    assert [path.stem for path in notebooks.find(["06"], [tmp_path])] == ["06_stacked_hourglass"]
