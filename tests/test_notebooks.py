"""The committed lessons: complete, executed, small, and with enough output for nbval to compare."""

import json
import re
from pathlib import Path

import nbformat
import papermill
import pytest
from nbconvert.filters.markdown_mistune import MarkdownWithMath

from course_lib import paths
from course_lib.course import canonical, notebooks, pages
from course_lib.lessons import checking

LESSONS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
SOLUTIONS = sorted(paths.SOLUTIONS.glob("*.ipynb"))
ALL = LESSONS + SOLUTIONS
MOST_BYTES = 1_500_000
MOST_LINES = 40  # of one code cell; longer code belongs into the library
FEWEST_COMPARED = {"notebooks": 5, "solutions": 3}  # cells whose printed output nbval compares
MOST_IGNORED = 3  # cells in the whole course whose output nbval does not compare
SOMEBODYS_FOLDER = re.compile(r"(?<![\w.])/(home|Users|root|tmp|work|var|opt|usr)/|[A-Z]:\\\\")

each = pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(paths.NOTEBOOKS)))
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def checked(path: Path) -> list[str]:
    """The exercises a notebook checks."""
    return [name for cell in code_cells(path) for name in re.findall(r"\bcheck\(\s*[\"']([\w.]+)[\"']", cell.source)]


def test_lessons_are_numbered_and_in_order():
    numbers = [path.stem.split("_")[0] for path in LESSONS]
    assert all(re.fullmatch(r"\d\d", number) for number in numbers)
    assert len(set(numbers)) == len(numbers)


@each
def test_it_starts_with_a_title(path):
    first = read(path).cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    assert sum(bool(re.match(r"# ", cell.source)) for cell in read(path).cells if cell.cell_type == "markdown") == 1


@each
def test_it_sets_itself_up_and_then_holds_the_parameters(path):
    setup, parameters, *_ = code_cells(path)
    assert setup.metadata.get("tags") == ["setup"] and not setup.outputs
    assert parameters.metadata.get("tags") == ["parameters"]
    assert set(papermill.inspect_notebook(str(path))) == {"profile", "seed"}


@each
def test_it_was_run_from_top_to_bottom(path):
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


@each
def test_it_shows_neither_errors_nor_warnings(path):
    for number, cell in enumerate(code_cells(path), 1):
        for output in cell.outputs:
            assert output.output_type != "error", f"code cell {number}"
            assert output.get("name") != "stderr", f"code cell {number}: {output.text[:200]}"


@each
def test_it_is_canonical(path):
    text = path.read_text(encoding="utf-8")
    same = canonical.text_of(canonical.canonical(read(path))) == text
    assert same, "run: python -m course_lib notebooks " + path.stem.split("_")[0]


@each
def test_nbval_has_enough_to_compare(path):
    compared = [
        cell
        for cell in code_cells(path)
        if not notebooks.ignores(cell) and any(notebooks.words(out).strip() for out in cell.outputs)
    ]
    assert len(compared) >= FEWEST_COMPARED[path.parent.name]


def test_few_outputs_are_ignored():
    """The report of a run and the last lines of the tests say how many there are."""
    ignored = [
        f"{path.name}: {cell.source.splitlines()[0]}"
        for path in ALL
        for cell in code_cells(path)
        if notebooks.ignores(cell)
    ]
    assert len(ignored) <= MOST_IGNORED, ignored
    assert notebooks.compared()[1] == len(ignored)


@each
def test_cells_and_file_are_small(path):
    assert path.stat().st_size <= MOST_BYTES
    for number, cell in enumerate(code_cells(path), 1):
        assert len(cell.source.splitlines()) <= MOST_LINES, f"code cell {number}"


@each
def test_it_names_no_folder_of_somebodys_machine(path):
    for cell in read(path).cells:
        for text in (cell.source, *(notebooks.words(output) for output in cell.get("outputs", []))):
            assert not SOMEBODYS_FOLDER.search(text), SOMEBODYS_FOLDER.search(text)[0]
            assert str(paths.ROOT) not in text


@each
def test_its_links_lead_somewhere(path):
    for cell in read(path).cells:
        for target in re.findall(r"\]\(((?!\w+:|#)[^)\s#]+)", cell.source if cell.cell_type == "markdown" else ""):
            assert (path.parent / target).exists(), target


@each
def test_its_formulas_can_be_drawn(path, monkeypatch):
    monkeypatch.setattr(pages, "_math", pages.mathml)  # which refuses what it does not know
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            MarkdownWithMath(renderer=pages._Renderer(escape=False)).render(cell.source)


@each
def test_its_page_needs_no_network(path):
    page = pages.lesson_page(read(path), path.stem)
    assert not re.search(r"<(script|link|iframe)\b", page)
    assert not re.search(r"<img[^>]+src=\"(?!data:)", page)


@each_lesson
def test_a_lesson_with_exercises_has_solutions(path):
    if checked(path):
        assert (paths.SOLUTIONS / path.name).exists()


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_solutions_solve_their_lessons_exercises(path):
    lesson = paths.NOTEBOOKS / path.name
    assert lesson.exists()
    assert sorted(checked(path)) == sorted(checked(lesson))
    said = " ".join(notebooks.words(output) for cell in code_cells(path) for output in cell.outputs)
    for name in checked(path):
        assert f"{name}: {checking.CORRECT}" in said


@each_lesson
def test_a_lesson_leaves_its_exercises_to_the_learner(path):
    said = " ".join(notebooks.words(output) for cell in code_cells(path) for output in cell.outputs)
    for name in checked(path):
        assert f"{name}: {checking.NOT_ATTEMPTED}" in said


def test_every_exercise_stands_in_its_lesson():
    asked = {name for path in LESSONS for name in checked(path)}
    assert asked == set(checking.names())


@each
def test_widgets_kept_in_the_file_are_whole(path):
    notebook = read(path)
    state = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    text = json.dumps(notebook.metadata.get("widgets", {}))
    assert set(re.findall(r"IPY_MODEL_([0-9a-f]{32})", text)) <= set(state)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            view = output.get("data", {}).get(canonical.WIDGET_VIEW)
            assert view is None or view["model_id"] in state


def test_finding_notebooks_by_number():
    if not LESSONS:
        pytest.skip("no lesson is here yet")
    number = LESSONS[0].stem.split("_")[0]
    assert notebooks.find([number]) == [LESSONS[0]]
