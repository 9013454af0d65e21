"""Style, tables and widgets: the same bytes and the same text each time, and pages that are whole without a kernel."""

import configparser
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image
from skimage import data

from course_lib import show
from course_lib.errors import CourseError

ROOT = Path(__file__).parents[1]
SANITIZE = ROOT / "tests" / "nbval_sanitize.cfg"


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


# --- style ------------------------------------------------------------------------------------------------------------


def photo_figure():
    figure, ax = plt.subplots(figsize=(4, 3))
    show.draw_image(ax, data.astronaut())
    return figure


def test_pngs_are_small_reproducible_and_as_large_as_the_figure():
    show.use_style()
    show.use_style()
    first, second = show.png(photo_figure()), show.png(photo_figure())
    assert first == second
    picture = Image.open(io.BytesIO(first))
    assert picture.size == (360, 270) and picture.mode == "P" and not picture.info.get("Software")
    assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert len(first) < 60_000
    line, ax = plt.subplots()
    ax.plot([0, 1])
    assert len(show.png(line, tight=True)) < 20_000


def test_drawing_needs_no_jupyter():
    code = (
        "import sys; from course_lib import show; show.use_style(); show.gallery([__import__('torch').rand(3, 8, 8)]);"
        "print([name for name in ('IPython', 'ipywidgets', 'torchvision') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# --- tables -----------------------------------------------------------------------------------------------------------


def test_a_table_as_text():
    made = show.table(
        {
            "CPM": {"PCK@0.2": show.About(0.9123), "paper": 0.905, "joints": 14},
            "mean pose": {"PCK@0.2": torch.tensor(0.5), "paper": None, "joints": np.int64(16)},
            "none": {"PCK@0.2": float("nan"), "exact": True},
        },
        title="Scores",
    )
    assert repr(made).splitlines() == [
        "Scores",
        "             PCK@0.2  paper  joints  exact",
        "---------  ---------  -----  ------  -----",
        "CPM        ≈   0.912  0.905      14      –",
        "mean pose      0.500      –      16      –",
        "none               –      –       –    yes",
    ]
    assert made._repr_html_().count("<td") == 15 and "<caption>Scores</caption>" in made._repr_html_()


def test_rows_come_in_three_forms():
    dicts = show.table([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])
    assert dicts == show.table([[1, "x"], (2, "y")], columns=["a", "b"])
    assert show.table({"one": [1, 2.0]}, columns=["a", "b"]).headings == ("", "a", "b")
    assert show.table([{"a": 1.23456, "b": 1.23456}], decimals={"a": 1, "b": 4}).rows == (("1.2", "1.2346"),)
    assert "&lt;b&gt;" in show.table([{"a": "<b>"}])._repr_html_()


def test_bad_tables_are_refused_in_one_sentence():
    with pytest.raises(CourseError, match="at least one row"):
        show.table([])
    with pytest.raises(CourseError, match="0 to 4 decimals"):
        show.table([{"a": 1.0}], decimals=6)
    with pytest.raises(CourseError, match="a row of 2 values needs 2 column names"):
        show.table([[1, 2]], columns=["a"])


def sanitized(text):
    rules = configparser.RawConfigParser()
    rules.read(SANITIZE, encoding="utf-8")
    for name in rules.sections():
        text = re.sub(rules[name]["regex"], rules[name]["replace"], text)
    return text


def test_numbers_of_another_machine_do_not_move_the_table():
    def at(value):
        return show.table([{"score": show.About(value), "time": 1.5}])

    assert repr(at(0.5)) != repr(at(31.25))
    for value in (31.25, -2.0, 1234.5):
        assert sanitized(repr(at(value))) == sanitized(repr(at(0.5)))
        assert sanitized(at(value)._repr_html_()) == sanitized(at(0.5)._repr_html_())


# --- widgets ----------------------------------------------------------------------------------------------------------


def line_at(slope, style="-", grid=False):
    if slope == 3:
        raise CourseError("three is <too> steep")
    figure, ax = plt.subplots(figsize=(2, 2))
    ax.plot([0, slope], style)
    ax.grid(grid)
    ax.set_ylim(0, 5)
    return figure


def explorer():
    controls = {"style": show.choice(["-", ":"], label="line"), "grid": show.toggle(False)}
    return show.explore(line_at, slope=show.slider(1, 4), **controls)


def test_moving_a_control_changes_the_picture():
    made = explorer()
    assert made.first.startswith(b"\x89PNG") and made.picture.value == b"" and not plt.get_fignums()
    seen = {made.first}
    for name, value in (("slope", 2), ("style", ":"), ("grid", True)):
        made.controls[name].value = value
        assert made.picture.value not in seen
        seen.add(made.picture.value)
    assert made.picture.layout.display is None and not plt.get_fignums()
    assert made.values == {"slope": 2, "style": ":", "grid": True}
    for name, value in (("slope", 1), ("style", "-"), ("grid", False)):
        made.controls[name].value = value
    assert made.picture.value == made.first == explorer().first
    assert made.controls["slope"].continuous_update is False and made.controls["style"].description == "line"


def test_an_error_while_drawing_is_told_and_then_forgotten():
    made = explorer()
    made.controls["slope"].value = 2
    good = made.picture.value
    made.controls["slope"].value = 3
    assert "CourseError: three is &lt;too&gt; steep" in made.message.value and made.picture.value == good
    made.controls["slope"].value = 4
    assert made.message.value == "" and made.picture.value != good
    with pytest.raises(CourseError, match="three is"):
        show.explore(line_at, slope=show.slider(1, 4, value=3))
    assert not plt.get_fignums()


def test_bad_controls_are_refused_in_one_sentence():
    with pytest.raises(CourseError, match="'slope' is none"):
        show.explore(line_at, slope=3)
    with pytest.raises(CourseError, match="at least one control"):
        show.explore(line_at)
    with pytest.raises(CourseError, match="must return its matplotlib Figure; got NoneType"):
        show.explore(lambda a: None, a=show.toggle())
    with pytest.raises(CourseError, match="got 1 to 4 by 1 at 5"):
        show.slider(1, 4, value=5)
    with pytest.raises(CourseError, match="one of its options"):
        show.choice([], None)


def test_sliders_are_whole_or_not():
    made = show.explore(lambda a, b: line_at(a + b), a=show.slider(0, 2), b=show.slider(0.5, 1, 0.25))
    kinds = [type(control).__name__ for control in made.controls.values()]
    assert kinds == ["IntSlider", "FloatSlider"] and made.controls["a"].step == 1


# --- a notebook -------------------------------------------------------------------------------------------------------

CELLS = (
    "import torch\nfrom matplotlib import pyplot as plt\nfrom course_lib import show\nshow.use_style()",
    "figure, ax = plt.subplots(figsize=(3, 2))\nax.set_title('A rising line')\nax.plot([1, 2])\nplt.show()\n"
    "show.caption('A line that rises.')",
    "def at(slope):\n    figure, ax = plt.subplots(figsize=(2, 2))\n    ax.plot([0, slope])\n    return figure\n"
    "show.explore(at, slope=show.slider(1, 4, label='steepness'))",
    "import time\nshow.table({'live': {'score': show.About(time.time() % 10)}, 'paper': {'score': 0.905}})",
)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    cells = [nbformat.v4.new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(CELLS)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    path = tmp_path_factory.mktemp("page") / "page.ipynb"
    nbformat.write(notebook, path)
    return notebook, path


def test_a_notebook_shows_the_picture_and_the_controls(executed):
    plain, controls = executed[0].cells[2].outputs
    assert set(plain.data) == {"image/png", "text/plain"}
    assert set(controls.data) == {"application/vnd.jupyter.widget-view+json", "text/plain"}
    assert plain.metadata["image/png"]["alt"] == "Figure drawn at steepness = 1"
    assert executed[0].cells[1].outputs[0].metadata["image/png"]["alt"] == "Figure; A rising line"
    assert controls.data["text/plain"].startswith("The figure above is drawn at steepness = 1.")
    kinds = [list(output.data) for output in executed[0].cells[1].outputs]
    assert sorted(kinds[0]) == ["image/png", "text/plain"] and "text/html" in kinds[1]


@pytest.mark.parametrize("state", [True, False])
def test_an_exported_page_has_the_picture_with_or_without_widget_state(executed, state):
    notebook = nbformat.from_dict(executed[0])
    if not state:
        del notebook.metadata["widgets"]
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert len(re.findall('<img[^>]*src="data:image/png', page)) == 2
    assert ("widget-view+json" in page) == state
    assert ("The figure above is drawn at" in page) != state


def test_a_notebook_passes_strict_comparison(executed):
    options = ["--nbval", "--nbval-current-env", f"--nbval-sanitize-with={SANITIZE}", "-p", "no:cacheprovider", "-q"]
    path = executed[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", *options, f"--rootdir={path.parent}", str(path)]
    run = subprocess.run(command, cwd=path.parent, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-2000:]
    assert "4 passed" in run.stdout
