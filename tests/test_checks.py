"""Exercise checks: what they say; each one refuses wrong answers and accepts a right one written another way."""

import json
from dataclasses import dataclass

import exercises
import numpy as np
import pytest
import torch
from torch import nn

from course_lib.errors import CourseError
from course_lib.lessons import Case, Exercise, check, checking, judge, register
from course_lib.lessons.comparing import describe, difference

exercises.load()
NAMES = checking.names()
FEWEST_WRONG = 3


# --- every registered exercise ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_reference_passes_its_own_check(name):
    assert judge(name, checking.find(name).reference).status == checking.CORRECT


@pytest.mark.parametrize("name", NAMES)
def test_wrong_answers_are_refused(name):
    answers = exercises.WRONG[name]
    assert len(answers) >= FEWEST_WRONG, f"{name} needs {FEWEST_WRONG} wrong answers in tests/exercises"
    for answer in answers:
        verdict = judge(name, answer)
        assert verdict.status == checking.NOT_YET, f"{answer.__name__} was called {verdict.status}"
        assert any(line.startswith("hint: ") for line in verdict.details)


@pytest.mark.parametrize("name", NAMES)
def test_right_answers_are_accepted(name):
    assert exercises.RIGHT[name], f"{name} needs a right answer in tests/exercises"
    for answer in exercises.RIGHT[name]:
        verdict = judge(name, answer)
        assert verdict.status == checking.CORRECT, f"{answer.__name__}: {verdict}"


@pytest.mark.parametrize("name", NAMES)
def test_stub_is_not_attempted(name):
    assert judge(name, lambda *arguments: None).status == checking.NOT_ATTEMPTED


@pytest.mark.parametrize("name", NAMES)
def test_exercise_tries_more_than_one_case(name):
    cases = list(checking.find(name).cases(torch.Generator().manual_seed(0)))
    assert len(cases) >= 3 or not cases[0].arguments, f"{name} has only {len(cases)} cases"


def test_answers_belong_to_exercises():
    assert set(exercises.WRONG) | set(exercises.RIGHT) <= set(NAMES)


# --- the machinery, on an exercise of its own -------------------------------------------------------------------------


def _row_sums(table: torch.Tensor) -> torch.Tensor:
    return table.sum(-1)


def _tables(random: torch.Generator):
    yield Case((torch.rand(2, 3, generator=random),), "a small table")
    yield Case((torch.rand(5, 7, generator=random),), "a large table", hint="Rows come first.")
    yield Case((torch.zeros(1, 1),))


@pytest.fixture
def sums():
    name = "99.sums"
    register(Exercise(name, _row_sums, _tables, ("Which axis is summed?", "The last axis.")))
    yield name
    checking._EXERCISES.pop(name)
    checking._FAILED_ATTEMPTS.pop(name, None)


def test_right_answer_in_another_form(sums):
    assert judge(sums, lambda table: table.numpy().sum(1)).status == checking.CORRECT
    assert judge(sums, lambda table: [float(row.sum()) for row in table]).status == checking.CORRECT


def test_stub_in_three_forms(sums):
    def unwritten(table):
        raise NotImplementedError

    for answer in (None, unwritten, lambda table: None):
        assert judge(sums, answer).status == checking.NOT_ATTEMPTED


def test_missing_return_in_one_branch(sums):
    verdict = judge(sums, lambda table: table.sum(-1) if len(table) == 2 else None)
    assert verdict.status == checking.NOT_YET
    assert "is a `return` missing?" in str(verdict)


def test_wrong_shape_and_wrong_value_are_told(sums):
    shape = str(judge(sums, lambda table: table.sum(0)))
    assert "case: a small table" in shape and "expected shape (2,)" in shape and "got shape (3,)" in shape
    value = str(judge(sums, lambda table: table.sum(-1) + 1))
    assert "expected [" in value and "got [" in value and "hint: Which axis is summed?" in value


def test_hints_go_on_with_each_failed_attempt(sums, capsys):
    for expected in ("Which axis is summed?", "The last axis.", "The last axis."):
        check(sums, lambda table: table.mean(-1))
        assert f"hint: {expected}" in capsys.readouterr().out


def test_the_failing_case_gives_its_own_hint_first(sums):
    verdict = judge(sums, lambda table: table.sum(-1) if len(table) == 2 else table.sum(-1) * 2)
    hints = [line for line in verdict.details if line.startswith("hint: ")]
    assert hints == ["hint: Rows come first.", "hint: Which axis is summed?"]


def test_an_exception_is_told_with_the_learners_line(sums):
    def breaks(table):
        return table[99]

    text = str(judge(sums, breaks))
    assert "your function raised IndexError" in text
    assert "in your line: return table[99]" in text


def test_changing_the_input_is_caught(sums):
    def in_place(table):
        answer = table.sum(-1)
        table.zero_()
        return answer

    verdict = judge(sums, in_place)
    assert verdict.status == checking.NOT_YET
    assert "changed its argument 1 in place" in str(verdict)


def test_cases_do_not_change_and_the_notebooks_seed_is_left_alone(sums):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first = str(judge(sums, lambda table: table * torch.rand(1)))
    assert torch.equal(torch.rand(1), expected)
    assert str(judge(sums, lambda table: table * torch.rand(1))) == first


def test_a_result_instead_of_a_function(sums):
    assert "needs the function itself" in str(judge(sums, torch.ones(2)))


def test_strict_mode_raises(sums, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_CHECKS", "strict")
    check(sums, _row_sums)
    assert "correct" in capsys.readouterr().out
    for answer in (None, lambda table: table.sum(0)):
        with pytest.raises(CourseError, match=r"99\.sums"):
            check(sums, answer)


def test_verdicts_can_be_logged(sums, monkeypatch, tmp_path):
    log = tmp_path / "checks.jsonl"
    monkeypatch.setenv("COURSE_CHECKS_LOG", str(log))
    check(sums, None)
    check(sums, _row_sums)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["status"] for entry in entries] == [checking.NOT_ATTEMPTED, checking.CORRECT]


def test_unknown_exercise_suggests_the_nearest(sums):
    with pytest.raises(CourseError, match=r"did you mean '99\.sums'"):
        judge("99.sum", _row_sums)


def test_an_exercise_about_gradients():
    def gradient(function, x):
        x = x.clone().requires_grad_()
        function(x).backward()
        return x.grad

    name = "99.gradient"

    def cases(random):
        return (Case((torch.rand(n, generator=random),)) for n in (1, 4))

    register(Exercise(name, lambda x: (x**2).sum(), cases, ("Square, then sum.",), ask=gradient))
    assert judge(name, lambda x: (x * x).sum()).status == checking.CORRECT
    assert judge(name, lambda x: (x.detach() ** 2).sum() + x.sum()).status == checking.NOT_YET
    checking._EXERCISES.pop(name)


# --- comparing --------------------------------------------------------------------------------------------------------


@dataclass
class Pair:
    left: torch.Tensor
    right: str


class Plain:
    def __init__(self, value):
        self.value = value


EQUAL = [
    (1, 1.0),
    (np.float32(0.5), 0.5),
    (torch.tensor(True), True),
    ([1, 2], torch.tensor([1.0, 2.0])),
    (torch.tensor([float("nan"), float("inf")]), torch.tensor([float("nan"), float("inf")])),
    ((torch.ones(2), "a"), (torch.ones(2), "a")),
    ([1, 2], (1, 2)),
    ({"a": 1.0}, {"a": 1.0}),
    (Pair(torch.ones(2), "x"), Pair(torch.ones(2), "x")),
    (Plain(3), Plain(3)),
    (None, None),
    (1e6 + 1, 1e6),
    (torch.zeros(0, 2), torch.zeros(0, 2)),
]
UNEQUAL = [
    (1.1, 1.0, "expected 1"),
    (torch.ones(2), torch.ones(3), "expected shape (3,)"),
    (torch.tensor([1.0, float("nan")]), torch.ones(2), "got [1, nan]"),
    (torch.tensor([-float("inf")]), torch.tensor([float("inf")]), "got [-inf]"),
    ("a", "b", "expected 'b'"),
    (None, 1.0, "got None"),
    ("text", torch.ones(2), "got 'text'"),
    ([1, 2, 3], (1, 2), "expected 2 values"),
    ((torch.ones(2), torch.zeros(2)), (torch.ones(2), torch.ones(2)), "at [1]: expected"),
    ({"a": 1}, {"b": 1}, "keys ['b']"),
    (Pair(torch.ones(2), "x"), Pair(torch.zeros(2), "x"), "at left: expected"),
    (torch.ones(3), torch.ones(3, dtype=torch.bool), "True or False"),
    (torch.zeros(5, 5), torch.eye(5), "at index [0, 0] of (5, 5)"),
    (Plain(3), Plain(4), "expected 4"),
    (object, 3.0, "got a type"),
]


@pytest.mark.parametrize(("got", "expected"), EQUAL)
def test_equal_values(got, expected):
    assert difference(got, expected, 1e-5) is None


@pytest.mark.parametrize(("got", "expected", "words"), UNEQUAL)
def test_unequal_values_are_told(got, expected, words):
    assert words in (difference(got, expected, 1e-5) or "")


def test_descriptions_are_short():
    for value in (torch.rand(3, 64, 64), list(range(1000)), {i: i for i in range(100)}, nn.Linear(9, 9), "word"):
        assert len(describe(value)) < 120
