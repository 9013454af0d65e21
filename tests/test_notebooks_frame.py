"""What is around every lesson: links that lead both ways, times, words, descriptions of figures, the set-up cell."""

import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from course_lib import paths
from course_lib.cli import COMMANDS, main
from course_lib.course import address, alone, frame, glossary, pages, sessions
from course_lib.errors import CourseError

LESSONS = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
ALL = LESSONS + sorted(paths.SOLUTIONS.glob("*.ipynb"))
FEWEST_QUESTIONS = 3
GIT = shutil.which("git")

each = pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(paths.NOTEBOOKS)))
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def cell(path: Path, name: str) -> nbformat.NotebookNode:
    [found] = [one for one in read(path).cells if one.id == name]
    return found


def prose(path: Path) -> str:
    cells = [one for one in read(path).cells if one.id not in (frame.TOP, frame.BOTTOM)]
    return "\n\n".join(one.source for one in cells if one.cell_type == "markdown")


# --- the committed notebooks ------------------------------------------------------------------------------------------


@each
def test_its_frame_is_up_to_date(path):
    assert frame.framed(path) == path.read_text(encoding="utf-8"), "run: python -m course_lib frame"


def test_the_instructors_page_is_up_to_date():
    page = paths.NOTEBOOKS / sessions.NAME
    assert frame.instructors(page) == page.read_text(encoding="utf-8"), "run: python -m course_lib frame"


@pytest.mark.parametrize("name", [sessions.NAME, glossary.NAME])
def test_pages_beside_the_lessons_name_only_what_there_is(name):
    text = (paths.NOTEBOOKS / name).read_text(encoding="utf-8")
    assert set(re.findall(r"python -m course_lib ([a-z]+)", text)) <= set(COMMANDS)
    targets = re.findall(r"^([a-z]+):", (paths.ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"^make ([a-z]+)|`make ([a-z]+)`", text, re.MULTILINE)) <= {
        pair for target in targets for pair in ((target, ""), ("", target))
    }
    for link in re.findall(r"\]\(((?!\w+:|#)[^)\s#]+)", text):
        to_come = re.match(r"\d\d", link) and link[:2] > LESSONS[-1].stem[:2]
        assert to_come or (paths.NOTEBOOKS / link).exists(), link
    page = pages.text_page(text)
    assert "<h1" in page and not re.search(r"<(script|link|iframe)\b", page)


@each
def test_it_begins_and_ends_with_the_same_links(path):
    cells = read(path).cells
    assert [cells[1].id, cells[-1].id] == [frame.TOP, frame.BOTTOM]
    assert cells[1].source.split("\n\n")[1] == cells[-1].source.split("\n\n")[1] == frame.links(path)
    assert not re.search(r"^\*?(Previous|Next|Back to)\b.*\.ipynb\)", prose(path), re.MULTILINE), "a line by hand"


@pytest.mark.parametrize("row", [LESSONS, ALL[len(LESSONS) :]], ids=["lessons", "solutions"])
def test_previous_and_next_lead_both_ways(row):
    for before, after in pairwise(row):
        assert re.search(rf"Next: \[[^]]+\]\({after.name}\)", frame.links(before))
        assert re.search(rf"Previous: \[[^]]+\]\({before.name}\)", frame.links(after))
    assert "Previous:" not in frame.links(row[0]) and "Next:" not in frame.links(row[-1])


@each_lesson
def test_it_says_how_long_what_before_and_what_for(path):
    rows = re.findall(r"^\| \*\*(\w+)\*\* \| (.+) \|$", read(path).cells[0].source, re.MULTILINE)
    assert [label for label, _ in rows] == ["Time", "Before", "Afterwards"]
    told = dict(rows)
    assert re.fullmatch(r"[a-z ]+ to run, about \d+ minutes to read, about \d+ for the exercises", told["Time"])
    assert told["Afterwards"].startswith("you can ")


@each_lesson
def test_it_has_three_exercises_and_folded_questions(path):
    headings = re.findall(r"^#+ .*\b(Warm-up|Core|Stretch)\b", prose(path), re.MULTILINE)
    assert headings == ["Warm-up", "Core", "Stretch"]
    checks = [one for one in read(path).cells if one.cell_type == "code" and "lessons.check(" in one.source]
    assert len(checks) >= len(headings)
    questions = re.findall(r"<details>\s*<summary>Answer", prose(path))
    assert len(questions) >= FEWEST_QUESTIONS
    assert prose(path).count("<details>") == prose(path).count("</details>")


@each
def test_every_figure_is_described(path):
    for one in read(path).cells:
        for output in one.get("outputs", []):
            if "image/png" in output.get("data", {}):
                words = output.metadata.get("image/png", {}).get("alt", "")
                assert len(words) > 30 and not words.startswith(("Drawn at", "Figure")), f"{one.id}: no show.caption"


@each_lesson
def test_its_page_speaks_the_descriptions(path):
    page = pages.lesson_page(read(path), path.stem)
    pictures = re.findall(r"<img\b[^>]*>", page)
    assert all(re.search(r"""alt=("[^"]{30,}"|'[^']{30,}')""", picture) for picture in pictures)
    assert "find_spec" not in page, "the set-up cell is for kernels"
    assert not re.search(r'href="(?!\w+:)[^"]*\.ipynb#', page)


def test_its_map_is_in_lesson_00():
    file, heading = frame.MAP.split("#")
    assert re.search(rf"^#+ {heading.replace('-', ' ')}$", prose(paths.NOTEBOOKS / file), re.MULTILINE)


# --- the glossary -----------------------------------------------------------------------------------------------------

ENTRIES = glossary.read()
# abbreviations that are names of machines, meetings or networks, or that every reader of the course knows
KNOWN = frozenset(
    re.findall(
        r"\w+",
        """
        AISTATS API APSIPA BMVC CMU CNN CPU CVPR DC ECCV FLOP GB GPU GTX HMDB ICCV ICML IEEE IJCV JPEG JSON MATLAB NIPS
        DEKR MMPose NVIDIA NaN NeurIPS PAMI PDF PNG PyTorch RGB RTMO RTMPose ReLU SSD TPAMI VGG ViTPose
        """,
    )
)


def test_the_glossary_is_in_order():
    assert 60 <= len(ENTRIES) <= 120
    assert len({entry.anchor for entry in ENTRIES}) == len(ENTRIES)
    terms = [entry.term.lower() for entry in ENTRIES]
    assert terms == sorted(terms)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.anchor)
def test_an_entry_is_short_and_belongs_to_its_lesson(entry):
    sentences = re.findall(r"[.?](?=\s|\)|$)", re.sub(r"\(.*?\)", "", entry.text))
    assert 1 <= len(sentences) <= 3, entry.text
    path = paths.NOTEBOOKS / entry.file
    if entry.lesson > LESSONS[-1].stem[:2]:
        pytest.skip("its lesson is still to come")
    assert path in LESSONS and path.stem[:2] == entry.lesson
    text = " ".join(one.source for one in read(path).cells if one.id != frame.TOP).lower()
    assert any(word[:5].lower() in text for word in re.findall(r"\w{2,}", entry.term)), "the lesson never says so"


@each_lesson
def test_its_words_are_in_the_glossary(path):
    anchors = re.findall(rf"\({glossary.NAME}#([^)]+)\)", cell(path, frame.TOP).source)
    assert anchors == [entry.anchor for entry in ENTRIES if entry.lesson == path.stem[:2]] and anchors


@each_lesson
def test_its_abbreviations_are_explained(path):
    explained = set(re.findall(r"\w+", " ".join(f"{entry.term} {entry.text}" for entry in ENTRIES)))
    text = re.sub(r"\]\([^)]*\)|`[^`]*`|\$[^$]*\$|https?:\S+", " ", prose(path))
    for name in set(re.findall(r"\b(?:[A-Z]{2,}[a-z0-9]{0,2}|[a-z][A-Z]{2,}|[A-Z][a-z]?[A-Z]{2,}\w*)\b", text)):
        plain = re.sub(r"_?V?\d+$|s$", "", name)
        assert {name, plain} & (explained | KNOWN), f"{name} is not in the glossary"


# --- the command ------------------------------------------------------------------------------------------------------


HEAD = "# 01 · A tiny lesson: small\n\n| | |\n|---|---|\n| Time | about a minute to run, long |\n| After | know |"


def test_framing_twice_changes_nothing_and_no_other_cell(tmp_path, write_notebook):
    path = write_notebook(tmp_path / "01_tiny.ipynb", ["print(1)", 'lessons.check("01.a", None)'], HEAD[2:])
    write_notebook(tmp_path / "02_next.ipynb", [], "02 · Next: one")
    own = [one.source for one in read(path).cells[1:]]
    path.write_text(frame.framed(path), encoding="utf-8")
    assert frame.framed(path) == path.read_text(encoding="utf-8")
    cells = read(path).cells
    assert [one.id for one in cells[1:3]] == [frame.TOP, frame.SETUP]
    assert [one.source for one in cells[3:-1]] == own
    assert (
        "| **Time** | about a minute to run, about 5 minutes to read, about 10 for the exercises |" in cells[0].source
    )
    assert "| **Afterwards** | you can know |" in cells[0].source
    assert "Next: [02 Next](02_next.ipynb)" in cells[-1].source and "Previous" not in cells[-1].source
    assert "Words of this lesson" not in cells[1].source, "there is no glossary beside it"
    solution = write_notebook(tmp_path / "solutions" / "01_tiny.ipynb", ["print(1)"])
    assert "[Back to lesson 01](../01_tiny.ipynb)" in frame.framed(solution)
    assert "[Solutions](solutions/01_tiny.ipynb)" in frame.framed(path)


def test_check_writes_nothing(tmp_path, write_notebook, capsys):
    path = write_notebook(tmp_path / "01_tiny.ipynb", ["print(1)"])
    before = path.read_bytes()
    assert main(["frame", str(path), "--check"]) == 1 and path.read_bytes() == before
    assert main(["frame", str(path)]) == 0 and path.read_bytes() != before
    assert main(["frame", str(path), "--check"]) == 0
    assert "1 of 1 files were as they should be" in capsys.readouterr().out


def test_what_cannot_be_framed_is_refused(tmp_path, write_notebook, capsys):
    path = write_notebook(tmp_path / "01_tiny.ipynb", [])
    notebook = read(path)
    del notebook.cells[1]
    nbformat.write(notebook, path)
    assert main(["frame", str(path)]) == 2
    assert "no code cell tagged 'parameters'" in capsys.readouterr().err
    assert main(["frame", str(write_notebook(tmp_path / "mine.ipynb", []))]) == 2
    assert "called NN_name.ipynb" in capsys.readouterr().err
    assert main(["frame", str(path), "--repository", "https://github.com/me/it"]) == 2


def test_the_address_stands_in_one_place(tmp_path):
    project = tmp_path / "pyproject.toml"
    shutil.copy(paths.ROOT / "pyproject.toml", project)
    before = project.read_text(encoding="utf-8")
    assert address.write("https://github.com/me/my.course.git/", project) == "https://github.com/me/my.course"
    assert address.read(project) == "https://github.com/me/my.course"
    assert sum(one != two for one, two in zip(before.splitlines(), project.read_text().splitlines(), strict=True)) == 1
    assert address.colab("notebooks/a.ipynb", "https://github.com/me/it").endswith(
        "/github/me/it/blob/main/notebooks/a.ipynb"
    )
    assert address.binder("notebooks/a.ipynb", "https://github.com/me/it").endswith(
        "/gh/me/it/main?urlpath=lab/tree/notebooks/a.ipynb"
    )
    for wrong in (
        "github.com/me/it",
        "https://example.org/me/it",
        "https://github.com/me",
        'https://github.com/me/"it',
    ):
        with pytest.raises(CourseError, match="ACCOUNT/NAME"):
            address.write(wrong, project)


# --- a notebook on its own --------------------------------------------------------------------------------------------

STRANGER = """
import sys
from pathlib import Path
sys.meta_path = [one for one in sys.meta_path if not str(getattr(one, "__module__", "")).startswith("__editable__")]
sys.path = [one for one in sys.path if not (Path(one) / "course_lib").is_dir()]
import importlib.util
assert importlib.util.find_spec("course_lib") is None
exec(compile(Path(sys.argv[1]).read_text(), "cell", "exec"))
from course_lib import paths
print(paths.checkpoint("paf_course").exists(), paths.ROOT)
"""
PIP = """
import os, sys
open(os.environ["STUB_LOG"], "w").write(" ".join(sys.argv[1:]))
sys.exit(int(os.environ["STUB_STATUS"]))
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A git repository with the course's code and one file of weights."""
    if GIT is None:
        pytest.skip("git is not here")
    folder = tmp_path_factory.mktemp("published") / "course"
    shutil.copytree(paths.ROOT / "course_lib", folder / "course_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(paths.ROOT / "pyproject.toml", folder)
    (folder / "data" / "checkpoints").mkdir(parents=True)
    shutil.copy(paths.checkpoint("paf_course"), folder / "data" / "checkpoints")
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    for command in (["init", "--quiet"], ["add", "--all"], [*who, "commit", "--quiet", "--message", "all"]):
        subprocess.run([GIT, *command], cwd=folder, check=True)
    return folder


def alone_at(folder: Path, where: str, pip_status: int = 0) -> subprocess.CompletedProcess:
    """Runs the set-up cell of a lesson in a Python that does not know the course, with a pip that only takes notes."""
    folder.mkdir(exist_ok=True)
    source = cell(LESSONS[0], frame.SETUP).source
    assert source.count(address.read()) == 1
    (folder / "cell.py").write_text(source.replace(address.read(), where))
    (folder / "stub" / "pip").mkdir(parents=True)
    (folder / "stub" / "pip" / "__init__.py").touch()
    (folder / "stub" / "pip" / "__main__.py").write_text(PIP)
    unknown = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COURSE", "GIT"))}
    notes = {"PYTHONPATH": str(folder / "stub"), "STUB_LOG": str(folder / "pip.log"), "STUB_STATUS": str(pip_status)}
    command = [sys.executable, "-c", STRANGER, str(folder / "cell.py")]
    return subprocess.run(command, cwd=folder, env=unknown | notes, capture_output=True, text=True)


def test_a_lone_notebook_fetches_the_course(tmp_path, repository):
    run = alone_at(tmp_path / "colab", str(repository))
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["True", str(tmp_path / "colab" / "human-pose-estimation")]
    asked = (tmp_path / "colab" / "pip.log").read_text()
    assert asked == " ".join(["install", "--quiet", *alone.requirements(paths.ROOT / "pyproject.toml")])
    assert "torch>=" in asked and "matplotlib>=" in asked and "jupyterlab" not in asked


@pytest.mark.parametrize("failing", ["git", "pip"])
def test_a_lone_notebook_that_cannot_be_set_up_says_what_to_do(tmp_path, repository, failing):
    folder = tmp_path / "colab"
    run = alone_at(folder, str(repository if failing == "pip" else tmp_path / "nowhere"), pip_status=1)
    assert run.returncode != 0 and "Traceback" not in run.stderr
    last = run.stderr.strip().splitlines()[-1]
    assert (f"Put the course into {folder / 'human-pose-estimation'}" if failing == "git" else "pip could not") in last


def test_a_notebook_inside_the_course_points_to_the_kernel(tmp_path):
    (tmp_path / "course_lib").mkdir()
    run = alone_at(tmp_path / "notebooks", str(tmp_path / "nowhere"))
    assert run.returncode != 0 and run.stderr.strip().endswith("or choose the kernel that does.")
    assert not (tmp_path / "notebooks" / "human-pose-estimation").exists()


def test_where_the_course_is_installed_the_cell_does_nothing(tmp_path, capfd):
    names = {}
    exec(cell(LESSONS[0], frame.SETUP).source, names)
    assert capfd.readouterr() == ("", "")
    assert set(names) - {"__builtins__"} == {"importlib"}
