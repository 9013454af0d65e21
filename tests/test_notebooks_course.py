"""The batch run: one lesson that fails, hangs or loses its kernel never stops the others, and the report tells."""

import json
import re
import threading
import time
from dataclasses import replace

import pytest
from nbformat import v4

from course_lib import cli, paths
from course_lib.course import canonical, pages, report, runner
from course_lib.errors import CourseError

pytestmark = pytest.mark.xdist_group("course")  # one process, so that the course runs once

LESSONS = {
    "00_good": [
        "import os",
        "print(profile, os.environ['OMP_NUM_THREADS'], os.getcwd().endswith('notebooks'))",
        "block = bytearray(300_000_000)\nblock[::4096] = b'x' * len(block[::4096])",
    ],
    "01_fails": ["print('before')", "raise ValueError('the learner sees <this>')", "print('after')"],
    "02_dies": ["import os", "os._exit(9)"],
    "03_hangs": ["import time", "time.sleep(600)"],
}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course of four lessons, run once: its folder, its outcomes by name."""
    folder = tmp_path_factory.mktemp("course")
    lessons = []
    for name, cells in LESSONS.items():
        parameters = v4.new_code_cell("profile = None\nseed = 0", metadata={"tags": ["parameters"]})
        notebook = v4.new_notebook(cells=[v4.new_markdown_cell(f"# Lesson {name}"), parameters])
        notebook.cells += [v4.new_code_cell(cell) for cell in cells]
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path = folder / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(notebook))
        lessons.append(path)
    run = runner.Course(lessons, folder / "out", jobs=2, cell_seconds=10)
    outcomes = run.run()
    report.write_report(run.out, outcomes, "laptop", 12.0)
    return run.out, {outcome.name: outcome for outcome in outcomes}


def test_each_lesson_has_its_own_end(course):
    _, outcomes = course
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "00_good": "passed",
        "01_fails": "failed",
        "02_dies": "kernel died",
        "03_hangs": "too slow",
    }
    assert outcomes["01_fails"].message == "In [4] raised ValueError: the learner sees <this>"
    assert "the kernel died in In [4]" in outcomes["02_dies"].message
    assert outcomes["03_hangs"].message == "In [4] took longer than 10 s"


def test_what_is_printed_otherwise_than_committed_is_told(tmp_path, write_notebook):
    cells = ["import os, time\nprint('same')", "print(f'≈ {time.time()}')", "print(os.getpid())"]
    path = write_notebook(tmp_path / "00_clock.ipynb", cells)
    canonical.refresh(path)
    [outcome] = runner.Course([path], tmp_path / "out", jobs=1).run()
    assert outcome.passed and outcome.different == [4]
    assert "not as committed: In [4]" in runner.summary([outcome], 1.0)
    assert "0 of 1 finished lessons printed what is committed" in runner.summary([outcome], 1.0)
    assert "committed" not in runner.summary([replace(outcome, different=None)], 1.0)
    path.write_text(path.read_text().replace("os.getpid()", "'always'"))
    canonical.refresh(path)
    [again] = runner.Course([path], tmp_path / "out", jobs=1).run()
    assert again.passed and again.different == []
    assert "1 of 1 finished lessons printed" in report.passed([again], {"seconds": 1.0})


def test_time_and_memory_are_measured(course):
    _, outcomes = course
    good = outcomes["00_good"]
    assert 0.3e9 < good.peak_memory < 1.5e9
    assert good.seconds > 0.5
    assert outcomes["03_hangs"].seconds >= 10


def test_executed_copies_and_pages_are_there(course):
    out, _ = course
    for name in LESSONS:
        assert (out / f"{name}.ipynb").exists() and (out / f"{name}.html").exists()
    assert "laptop 1 True" in (out / "00_good.html").read_text(encoding="utf-8")
    assert not list(out.glob("*.json*")) or {path.name for path in out.glob("*.json*")} == {"results.json"}


def test_the_report_tells_it_all(course):
    out, _ = course
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "1 of 4 lessons passed" in page
    for words in ("Lesson 00_good", "kernel died", "too slow", "the learner sees &lt;this&gt;", "leaderboard.html"):
        assert words in page
    assert not re.search(r"(src|href)=\"?(https?:)?//", page)
    for target in re.findall(r'href="([^"]+)"', page):
        assert (out / target).exists(), target
    assert re.search(r"tests compare the outputs of \d+ cells and ignore those of \d+", page)
    results = json.loads((out / "results.json").read_text())
    assert [lesson["name"] for lesson in results["lessons"]] == list(LESSONS)


def test_the_summary_says_what_is_wrong(course):
    _, outcomes = course
    text = runner.summary(list(outcomes.values()), 30.2)
    assert "1 of 4 lessons passed in 31 s" in text
    assert "02_dies: the kernel died" in text


def test_over_the_budget_is_said():
    slow = runner.Outcome("06_slow", "Slow", "passed", 61.0, 4_000_000_000)
    assert runner.line_of(slow).endswith("over the budget of time and memory")
    assert "over" not in runner.line_of(runner.Outcome("06_quick", "Quick", "passed", 59.0, 2_000_000_000))


def test_a_worker_that_is_killed_half_way_is_told_and_the_rest_goes_on(tmp_path, write_notebook):
    cell = "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)"
    lessons = [
        write_notebook(tmp_path / f"{name}.ipynb", [code]) for name, code in (("00_kills", cell), ("01_good", ""))
    ]
    killed, good = runner.Course(lessons, tmp_path / "out", jobs=1).run()
    assert killed.status == "worker died" and "signal 9 ended it" in killed.message and good.passed
    page = report.write_report(tmp_path / "out", [killed, good], "laptop", 3.0).read_text(encoding="utf-8")
    assert "1 of 2 lessons passed" in page and "signal 9 ended it" in page and 'href="01_good.html"' in page
    assert 'href="00_kills.html"' not in page  # it has none


def test_an_interrupt_ends_every_lesson(tmp_path, write_notebook):
    lessons = [write_notebook(tmp_path / f"0{n}_waits.ipynb", ["import time\ntime.sleep(300)"]) for n in range(3)]
    course = runner.Course(lessons, tmp_path / "out", jobs=2)
    threading.Timer(5, course._stop.set).start()
    started = time.monotonic()
    assert {outcome.status for outcome in course.run()} == {"worker died"}
    assert time.monotonic() - started < 60


def test_the_command_returns_failure(tmp_path, write_notebook, monkeypatch, capsys):
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    write_notebook(tmp_path / "00_good.ipynb", ["print(profile)"])
    write_notebook(tmp_path / "01_bad.ipynb", ["1 / 0"])
    assert cli.main(["course", "--out", str(tmp_path / "out"), "--lessons", "00"]) == 0
    assert cli.main(["course", "--out", str(tmp_path / "out"), "--jobs", "2"]) == 1
    assert "01_bad: In [3] raised ZeroDivisionError" in capsys.readouterr().out
    assert cli.main(["course", "--lessons", "7"]) == 2
    with pytest.raises(CourseError, match="at least one job"):
        runner.Course([tmp_path], jobs=0)


def test_checking_a_learners_notebook(tmp_path, write_notebook, capsys):
    exercise = """from course_lib.lessons import *
import torch
register(Exercise("99.double", lambda x: 2 * x, lambda random: [Case((torch.ones(2),))], ("Twice.",)))
check("99.double", lambda x: {answer})"""
    right = write_notebook(tmp_path / "right.ipynb", [exercise.format(answer="x + x")])
    wrong = write_notebook(tmp_path / "wrong.ipynb", ["1 / 0", exercise.format(answer="x ** 2")])
    assert cli.main(["check", str(right)]) == 0
    assert cli.main(["check", str(wrong)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "right.ipynb" and lines[1].split() == ["99.double", "correct"]
    assert lines[3].split() == ["99.double", "not", "yet"]


# --- pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "formula",
    [
        r"\frac{1}{B} \sum_{b,k} v_{bk} \lVert \hat H_{bk} - H_{bk} \rVert_2^2",
        r"\begin{aligned} a &= b \\ c &= d \end{aligned}",
        r"\operatorname*{arg\,max}_{(x, y)} H(x, y)",
        r"\begin{cases} 1 & x > 0 \\ 0 & \text{otherwise} \end{cases}",
        r"N(\mathbf{y}; b)^{-1} \in \mathbb{R}^{K \times 2}",
    ],
)
def test_formulas_become_mathml(formula):
    result = pages.mathml(formula, "block")
    assert result.startswith("<math") and 'display="block"' in result
    assert "\\" not in result


def test_a_formula_it_cannot_draw_is_refused():
    with pytest.raises(CourseError, match="cannot draw"):
        pages.mathml(r"\begin{nonsense} a & b \end{nonsense}", "inline")


def test_a_lesson_page_stands_alone():
    widget = v4.new_output(
        "display_data",
        {canonical.WIDGET_VIEW: {"model_id": "1"}, "text/plain": "IntSlider(value=3)"},
    )
    cells = [
        v4.new_markdown_cell(
            "# Title\n\nSee [six](06_six.ipynb#part) and $a_i$.\n\n$$b^2$$\n\n<details>more</details>"
        ),
        v4.new_code_cell("print('<b>')", outputs=[v4.new_output("stream", text="<b>\n"), widget]),
    ]
    page = pages.lesson_page(v4.new_notebook(cells=cells), "00_title")
    assert 'href="06_six.html#part"' in page and 'href="00_title.ipynb"' in page
    assert page.count("<math") == 2 and "<details>more</details>" in page
    assert "&lt;b&gt;" in page and "IntSlider" not in page and "to see the controls" in page
    assert "<script" not in page
