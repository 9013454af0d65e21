"""The map of who took what from whom: its facts hang together, and its drawing can be read."""

import re

import pytest
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from course_lib import paths, show
from course_lib.errors import CourseError
from course_lib.lessons import family


@pytest.fixture(scope="module")
def drawn():
    show.use_style()
    figure = family.draw()
    figure.canvas.draw()
    yield figure
    plt.close(figure)


def test_every_arrow_has_two_ends_and_none_goes_back_in_time():
    for one in family.DESCENTS:
        before, after = family.find(one.before), family.find(one.after)
        assert before.year <= after.year and before.place[1] < after.place[1] and one.what
    named = {one.before for one in family.DESCENTS} | {one.after for one in family.DESCENTS}
    assert named == {f"{one.name} {one.year}" for one in family.SYSTEMS}
    with pytest.raises(CourseError, match="did you mean 'DeepPose 2014'"):
        family.find("DeepPose 2015")


def test_every_lesson_about_a_system_is_on_the_map():
    there = {path.stem[:2] for path in paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")} - {"00", "13", "14"}
    assert there == {one.lesson for one in family.SYSTEMS if one.lesson}
    assert {one.line for one in family.SYSTEMS} == set(family.LINES)


def test_words_stay_inside_their_boxes(drawn):
    [ax] = drawn.axes
    boxes = [patch.get_window_extent() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    for text in ax.texts:
        extent = text.get_window_extent()
        middle = (extent.x0 + extent.x1) / 2, (extent.y0 + extent.y1) / 2
        around = [box for box in boxes if box.contains(*middle)]
        for box in around:
            assert box.x0 <= extent.x0 and extent.x1 <= box.x1, text.get_text()
            assert box.y0 - 1 <= extent.y0 and extent.y1 <= box.y1 + 1, text.get_text()


def test_no_arrow_runs_through_a_box_or_over_words(drawn):
    [ax] = drawn.axes
    boxes = [patch.get_window_extent() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    for arrow in (patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)):
        line = arrow.get_transform().transform_path(arrow.get_path())
        points = line.interpolated(20).vertices
        touched = [box for box in boxes if any(box.padded(-2).contains(*point) for point in points)]
        assert not touched, "an arrow runs through a box"
    for number, one in enumerate(ax.texts):
        for other in ax.texts[number + 1 :]:
            assert not one.get_window_extent().padded(-1).overlaps(other.get_window_extent().padded(-1)), one.get_text()


def test_the_table_says_what_was_taken():
    rows = family.rows("07")
    assert [row["from"] for row in rows] == ["DeeperCut (2016)", "Pose machines (2016)"]
    assert [("took over" in row, "answers" in row) for row in rows] == [(False, True), (True, False)]
    assert all(re.fullmatch(r".+ \(\d{4}\)", row["system"]) for row in family.rows())
