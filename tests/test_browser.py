"""A learner's browser: JupyterLab opens a lesson, runs all of it, and a slider moved by key changes the picture."""

import shutil

import pytest
from browser_helpers import ERRORS, REDRAW_SECONDS, press, run_all

from course_lib import paths

LESSONS = [
    name
    for name in ("00_start_here", "13_metrics", "14_open_questions")
    if (paths.NOTEBOOKS / f"{name}.ipynb").exists()
]

# One slider is connected to the picture, the other to nothing: the test's own control
TINY = [
    "from matplotlib import pyplot as plt\nfrom course_lib import show",
    """def draw(joint):
    figure, ax = plt.subplots(figsize=(3, 2))
    ax.bar([joint], [1])
    ax.set_xlim(-1, 10)
    return figure

show.explore(draw, joint=show.slider(0, 9))""",
    """from IPython.display import display
import ipywidgets as widgets
picture = widgets.Image(value=show.png(draw(3)), format="png")
display(widgets.VBox([picture, widgets.IntSlider(3, 0, 9, description="unconnected")]))
plt.close("all")""",
]


def test_a_slider_moves_its_picture_and_another_does_not(page, jupyter, write_notebook):
    address, folder = jupyter
    write_notebook(folder / "tiny.ipynb", TINY)
    complaints = run_all(page, address, "tiny.ipynb")
    assert page.evaluate(ERRORS) == []
    before, after = press(page, 0, REDRAW_SECONDS)
    assert before and after and before != after
    again, later = press(page, 0, REDRAW_SECONDS)
    assert again == after and later not in (before, after)
    before, after = press(page, 1, 3)
    assert before and before == after, "a slider that is connected to nothing must change nothing"
    assert complaints == []


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lessons_slider_moves_its_picture(page, jupyter, lesson):
    address, folder = jupyter
    shutil.copy(paths.NOTEBOOKS / f"{lesson}.ipynb", folder)
    complaints = run_all(page, address, f"{lesson}.ipynb")
    assert page.evaluate(ERRORS) == []
    before, after = press(page, 0, REDRAW_SECONDS)
    assert before and after and before != after
    assert complaints == []
