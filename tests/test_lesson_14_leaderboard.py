"""Lesson 14's figure of the leaderboard: every measured system, its name where it can be read."""

from __future__ import annotations

from itertools import pairwise

import pytest
from matplotlib import pyplot as plt

from course_lib.course import leaderboard
from course_lib.course.leaderboard import Board, Row
from course_lib.course.published import PAPERS
from course_lib.lessons import lesson_14_leaderboard


def row(weights: str, year: int, score: float | None, spent: float | None = 20.0, told: bool = True) -> Row:
    values = dict.fromkeys(leaderboard.COLUMNS) | {"pck@0.2": score, "milliseconds": spent, "pictures": 100.0}
    return Row(weights, weights, "06", year, PAPERS[weights], told, values)


def test_names_are_moved_apart_but_keep_their_order():
    places = lesson_14_leaderboard.spread([0.5, 0.1, 0.505, 0.5], gap=0.04)
    order = sorted(places)
    assert all(high - low >= 0.04 - 1e-6 for low, high in pairwise(order))
    assert places[1] == pytest.approx(0.1) and places[2] == max(places)
    assert sum(places) == pytest.approx(1.605)
    assert lesson_14_leaderboard.spread([]) == []


def test_the_figure_shows_who_was_measured_and_who_was_timed():
    rows = [row("hourglass_course", 2016, 0.7), row("paf_course", 2017, 0.4, None, told=False)]
    rows.append(row("hrnet_course", 2019, None))
    years, times, shown = lesson_14_leaderboard.draw(Board(rows, [], [], [])).axes
    assert [text.get_text() for text in years.texts] == ["06 hourglass_course", "06 paf_course"]
    assert [text.get_text() for text in times.texts] == ["06"]
    assert [text.get_text() for text in shown.texts] == ["06", "06"]
    plt.close("all")


def test_the_best_of_a_column_is_somebody_who_was_measured():
    rows = [row("hourglass_course", 2016, 0.7), row("hrnet_course", 2019, None), row("cpm_course", 2016, 0.8)]
    assert lesson_14_leaderboard.best(Board(rows, [], [], []), "pck@0.2").weights == "cpm_course"
