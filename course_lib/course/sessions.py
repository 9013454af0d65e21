"""The course in six sessions and in twelve: which lessons, how long, what to do in class and what to leave for home.

`python -m course_lib frame` writes the tables into notebooks/instructors.md, with the minutes of the lessons that are
there, so that page and lessons cannot drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from course_lib.errors import CourseError

NAME = "instructors.md"


@dataclass(frozen=True)
class Session:
    """One meeting."""

    lessons: tuple[str, ...]
    in_class: str
    at_home: str


SIX = (
    Session(
        ("00", "01"),
        "Name the joints of somebody in the room, and whose left is left. Then 01 up to messages on paper: two parts, "
        "five places, by hand.",
        "Warm-ups of both; 01 core",
    ),
    Session(
        ("02", "03"),
        "Before the sliders of 02 section 13 and 03 section 1 move, everybody notes down where the answer will go. "
        "Run both live trainings.",
        "Warm-ups of both; 03 core",
    ),
    Session(
        ("04", "05", "06"),
        "One question for three lessons: what does the second look see that the first did not? Walk through the stages "
        "of 04 and 06 under the slider; read 05's study as a result against its paper.",
        "04 warm-up, 05 core, 06 core",
    ),
    Session(
        ("13", "07", "08"),
        "13 first, with the wrist slider on the screen: the room bets on each bar before it moves. Then the same "
        "candidates twice, grouped by 07's greedy rule and by 08's program.",
        "13 core, 07 core, 08 warm-up",
    ),
    Session(
        ("09", "10"),
        "Move the box of 09 section 1 until the pose breaks. Count votes on squared paper with 10 section 4.",
        "09 core, 10 warm-up; 10 stretch for the quick",
    ),
    Session(
        ("11", "12", "14"),
        "Exchange paths of 11 on the board; the ablation of 12 as an exercise in doubt; then the open questions "
        "in three groups, one for each, five minutes each to report.",
        "11 warm-up, 12 core, one exercise of 14",
    ),
)
TWELVE = (
    Session(("00",), "Joints, skeletons, half a pixel; everybody's first exercise is solved together.", "00 core"),
    Session(("01",), "Messages on paper, then the distance transform under its slider.", "01 core"),
    Session(
        ("02",),
        "Predict, then move: one answer where two are possible (section 6), and two people (section 13).",
        "02 warm-up and core",
    ),
    Session(("03",), "Draw a heatmap on squared paper, read it out in four ways.", "03 core"),
    Session(
        ("04", "05"), "Two ways to look again; whose weights are shared, and what that costs.", "04 core, 05 warm-up"
    ),
    Session(("06",), "Count an hourglass on the board; read the gradients of section 6.", "06 core and stretch"),
    Session(("13",), "The room bets on the bars. Then precision and recall of five answers by hand.", "13 core"),
    Session(("07", "08"), "The same candidates, grouped greedily and by a program.", "07 core, 08 core"),
    Session(("09",), "Wrong boxes; which direction of a transformer moves a point.", "09 core"),
    Session(("10",), "Votes on squared paper; RoIPool's error with a ruler.", "10 core"),
    Session(("11", "12"), "What the studies show, and what three seeds cannot show.", "11 core, 12 warm-up"),
    Session(
        ("14",), "Three groups, three questions, and what experiment would settle each.", "a question of one's own"
    ),
)


@dataclass(frozen=True)
class Times:
    """A lesson's minutes."""

    title: str
    file: str
    reading: int
    exercises: int


def page(text: str, times: Mapping[str, Times]) -> str:
    """The instructors' page with its three tables renewed; lessons that are not there are left out of them."""
    tables = {"lessons": _lessons(times), "six": _plan(SIX, times), "twelve": _plan(TWELVE, times)}
    for name, table in tables.items():
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if not block.search(text):
            raise CourseError(f"{NAME} has no place for its table: <!-- {name} --> ... <!-- end of {name} -->")
        text = block.sub(lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", text)
    return text


def _lessons(times: Mapping[str, Times]) -> str:
    rows = [f"| [{one.title}]({one.file}) | {one.reading} | {one.exercises} |" for one in times.values()]
    total = [sum(one.reading for one in times.values()), sum(one.exercises for one in times.values())]
    head = ["| Lesson | Reading, minutes | Exercises, minutes |", "| --- | ---: | ---: |"]
    return "\n".join([*head, *rows, f"| all | {total[0]} | {total[1]} |"])


def _plan(sessions: Sequence[Session], times: Mapping[str, Times]) -> str:
    lines = ["| Session | Lessons | Reading, minutes | In class | At home |", "| ---: | --- | ---: | --- | --- |"]
    for number, session in enumerate(sessions, 1):
        there = [lesson for lesson in session.lessons if lesson in times]
        if not there:
            continue
        links = ", ".join(f"[{lesson}]({times[lesson].file})" for lesson in there)
        minutes = sum(times[lesson].reading for lesson in there)
        lines.append(f"| {number} | {links} | {minutes} | {session.in_class} | {session.at_home} |")
    return "\n".join(lines)
