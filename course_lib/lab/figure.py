"""The figure of the pose lab: for one system or two, its inside, its poses on the picture, and its scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import patheffects
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from course_lib.lab.insides import Glimpse, Inside, has_inside
from course_lib.lab.pictures import WHOLE, Subject
from course_lib.lab.systems import NEAR, Answer, Judged, asks_boxes, in_crop, joint_marks, judged
from course_lib.show import people, style

COLOURS = {True: style.GREEN, False: style.VERMILION, None: style.GREY}
SHORT = {"right": "r.", "left": "l."}


@dataclass(frozen=True)
class Panel:
    """What one system gets of the figure."""

    title: str
    answer: Answer
    inside: Inside
    stage: int  # as many as there are at most; who has fewer shows its last
    joint: int
    person: int  # which of the poses is looked into


def draw(subject: Subject, panels: Sequence[Panel], where: str) -> Figure:
    """One system across the page, or two side by side."""
    layouts = {1: [["inside", "pose", "scores"]], 2: [["inside", "pose"], ["scores", "scores"]]}
    size = {1: (style.PAGE, 3.6), 2: (1.12 * style.PAGE, 5.1)}[len(panels)]
    figure = plt.figure(figsize=size)
    for panel, part in zip(panels, figure.subfigures(1, len(panels), squeeze=False)[0], strict=True):
        part.suptitle(panel.title, fontsize=11, fontweight="bold")
        # a crowd needs room; who looks at everybody at once shows as much of it inside
        wide = 1.5 if subject.many and asks_boxes(panel.answer.model) else 1.0
        ratios = {1: {"width_ratios": (1, wide, 0.75)}, 2: {"height_ratios": (1, 0.8), "width_ratios": (1, wide)}}
        axes = part.subplot_mosaic(layouts[len(panels)], **ratios[len(panels)])
        judgement = judged(panel.answer, subject)
        _draw_inside(axes["inside"], panel)
        _draw_poses(axes["pose"], panel, subject, where)
        _draw_scores(axes["scores"], panel, subject, judgement, upright=len(panels) == 2)
    return figure


def _draw_inside(ax: Axes, panel: Panel) -> None:
    answer = panel.answer
    if not answer.looks or not (answer.poses or len(answer.looks) == 1):
        style.image_axes(ax, 1, 1)
        ax.text(0.5, 0.5, "no box, so nothing\nwas looked at", ha="center", va="center")
        return
    pose = answer.poses[min(panel.person, len(answer.poses) - 1)] if answer.poses else None
    look = answer.looks[0] if pose is None else answer.look_at(pose)
    glimpse = Glimpse(answer, look, None if pose is None else in_crop(pose, look))
    last = len(panel.inside.stages(glimpse)) - 1
    panel.inside.draw(ax, glimpse, min(panel.stage, last), panel.joint)
    if not has_inside(answer.model):
        ax.set_xlabel("this model has no inside to show")
    ax.title.set_fontsize(9)


def _draw_poses(ax: Axes, panel: Panel, subject: Subject, where: str) -> None:
    answer, chosen = panel.answer, min(panel.person, len(panel.answer.poses) - 1)
    people.draw_image(ax, subject.scene.image)
    for truth in subject.people:
        people.draw_pose(ax, truth, colour=style.INK, markers=False, width=1.2)
    if answer.boxes is not None and where != WHOLE:
        for (x0, y0, x1, y1), score in zip(answer.boxes.boxes.tolist(), answer.boxes.scores.tolist(), strict=True):
            look = {"fill": False, "edgecolor": style.INK, "linestyle": "--", "linewidth": 0.8}
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, alpha=0.15 + 0.7 * score, **look))
    best = max((pose.score for pose in answer.poses), default=0.0)
    for number, pose in enumerate(answer.poses):
        if len(answer.poses) == 1:
            people.draw_pose(ax, pose, width=2.4, fade=True)
            continue
        sure = 0.2 + 0.8 * max(pose.score, 0.0) / max(best, 1e-9)  # doubtful people are pale; scores may be negative
        people.draw_pose(ax, pose, width=2.2 if number == chosen else 1.4, alpha=max(sure, float(number == chosen)))
    if subject.many:
        _number(ax, subject)
    count = len(answer.poses)
    ax.set_title(f"{count} {'pose' if count == 1 else 'poses'}{_boxed(answer, where)}", fontsize=9)


def _number(ax: Axes, subject: Subject) -> None:
    """The people's numbers, as they stand beside the bars, at their highest joint."""
    look = {"fontsize": 8.5, "fontweight": "bold", "ha": "center", "va": "bottom", "zorder": 6}
    look["path_effects"] = [patheffects.withStroke(linewidth=1.6, foreground=style.PAPER)]
    for number, truth in enumerate(subject.people, 1):
        x, y = min(truth.joints[truth.visible > 0].tolist(), key=lambda place: place[1])
        ax.text(x, max(y - 3, 6), str(number), **look)


def _boxed(answer: Answer, where: str) -> str:
    if answer.boxes is None:
        return ", no boxes needed"
    if where == WHOLE:
        return ", the picture is the box"
    count = len(answer.boxes.boxes)
    return f" in {count} {'told' if answer.told else 'detected'} {'box' if count == 1 else 'boxes'}"


def _draw_scores(ax: Axes, panel: Panel, subject: Subject, judgement: Judged | None, upright: bool) -> None:
    if judgement is not None and subject.many:
        _draw_people(ax, panel, judgement, upright)
    else:
        _draw_joints(ax, panel, subject, judgement, upright)
    ax.title.set_fontsize(9)


def _draw_people(ax: Axes, panel: Panel, judgement: Judged, upright: bool) -> None:
    """OKS of every person, and how many estimates are nobody's."""
    names = [f"person {number + 1}" for number in range(len(judgement.oks))]
    _bars(ax, names, judgement.oks, [value >= NEAR for value in judgement.oks], upright)
    spare = len(panel.answer.poses) - len(judgement.pairs)
    more = f"; {spare} nobody's" if spare else ""
    ax.set_title(f"OKS: {judgement.found} of {len(names)} found (0.5){more}")
    _line(ax, NEAR, upright)


def _draw_joints(ax: Axes, panel: Panel, subject: Subject, judgement: Judged | None, upright: bool) -> None:
    """How sure every joint is said to be; green and red where we know the truth."""
    answer = panel.answer
    number = min(panel.person, len(answer.poses) - 1)
    if judgement is not None:
        number = judgement.pairs.get(0, number)
    if number < 0:
        ax.axis("off")
        ax.text(0.5, 0.5, "nobody was found", ha="center", va="center", transform=ax.transAxes)
        return
    pose = answer.poses[number]
    names = [_short(name) for name in pose.skeleton.joints]
    marks: list[bool | None] = [None] * len(names)
    title = "how sure it is of every joint"
    if judgement is not None:
        right, scored = joint_marks(answer, subject, 0, number)
        marks = [one if known else None for one, known in zip(right, scored, strict=True)]
        title = f"PCK@0.2: {sum(right)} of {sum(scored)} right (filled)\nOKS {judgement.oks[0]:.2f}"
    values = pose.scores.nan_to_num(0.0).clamp(0, 1).tolist()
    _bars(ax, names, values, marks, upright)
    ax.set_title(title)
    (ax.set_ylabel if upright else ax.set_xlabel)("score of the joint", fontsize=8)
    ticks = ax.get_xticklabels() if upright else ax.get_yticklabels()
    ticks[panel.joint].set_fontweight("bold")


def _bars(ax: Axes, names: Sequence[str], values: Sequence[float], marks: Sequence[bool | None], upright: bool) -> None:
    """Bars that are filled where something is right, hollow where it is wrong, grey where nobody knows."""
    places = range(len(names))
    edges = [COLOURS[mark] for mark in marks]
    look = {"edgecolor": edges, "color": [style.PAPER if mark is False else COLOURS[mark] for mark in marks]}
    if upright:
        ax.bar(places, values, width=0.75, linewidth=1.2, **look)
        ax.set(ylim=(0, 1), xticks=places)
        ax.set_xticklabels(names, rotation=90, fontsize=8)
    else:
        ax.barh(places, values, height=0.75, linewidth=1.2, **look)
        ax.set(xlim=(0, 1), yticks=places, ylim=(len(names) - 0.4, -0.6))
        ax.set_yticklabels(names, fontsize=8)
    ax.grid(axis="y" if upright else "x", alpha=0.3)


def _line(ax: Axes, value: float, upright: bool) -> None:
    line = ax.axhline if upright else ax.axvline
    line(value, color=style.INK, linewidth=1, linestyle=":")


def _short(name: str) -> str:
    side, _, rest = name.partition("_")
    return f"{SHORT[side]} {rest}".replace("_", " ") if side in SHORT else name.replace("_", " ")
