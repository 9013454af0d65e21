"""The figures of lesson 09 that show pictures: boxes that are moved, doubles, crops before and after, and failures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from course_lib import geometry, show
from course_lib.lessons import lesson_09_boxes as tools
from course_lib.lessons import lesson_09_transformer as transformer
from course_lib.lessons.lesson_09_charts import draw_noise
from course_lib.models.alphapose import AlphaPose, stn, window
from course_lib.pose import Found, Person, Pose, Scene
from course_lib.show import style

PEOPLE = (style.BLUE, style.VERMILION, style.GREEN, style.ORANGE, style.PINK, style.SKY, style.INK)


def alone(scenes: Sequence[Scene], least: float = 90.0) -> tuple[Scene, Person]:
    """The largest of the people who are whole and touch nobody else's box, and the picture they are in."""
    able = [
        (scene, person)
        for scene in scenes
        for person, shared in zip(tools.people_of(scene), tools.overlap(scene).tolist(), strict=True)
        if shared == 0 and bool((person.visible == 2).all()) and bool((person.box[:2] > 4).all())
    ]
    tall = [pair for pair in able if float(pair[1].box[3] - pair[1].box[1]) >= least] or able
    return max(tall, key=lambda pair: float(pair[1].box[3] - pair[1].box[1]))


def likeness(pose: Pose, person: Person) -> float:
    """OKS of a pose with a person."""
    return float(tools.like_own([pose], [person])[0])


def draw_moved(scene: Scene, person: Person, box: Tensor, pose: Pose, crop: Tensor) -> Figure:
    """The picture with the true box and the moved one; the crop; and what comes out of it."""
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 2.9), width_ratios=(1.33, 1, 1.33))
    iou = float(geometry.box_iou(person.box[None], box[None]))
    show.draw_image(axes[0], scene.image, f"IoU with the true box: {iou:.2f}")
    show.draw_box(axes[0], person.box, colour=style.GREEN)
    show.draw_box(axes[0], box, colour=style.VERMILION, dashed=True)
    show.draw_image(axes[1], crop, "what the network is shown")
    show.draw_image(axes[2], scene.image, f"its pose: OKS {likeness(pose, person):.2f}", dim=0.25)
    show.draw_truth_and_estimate(axes[2], person, pose)
    return figure


def draw_doubles(scene: Scene, found: Found, poses: Sequence[Pose], kept: Sequence[Pose]) -> Figure:
    """Every box, every pose, and what is left after suppression; one colour a person, red for nobody's."""
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 2.7))
    titles = (f"{len(found.boxes)} boxes", f"{len(poses)} poses", f"{len(kept)} poses stay of {len(poses)}")
    for ax, title in zip(axes, titles, strict=True):
        show.draw_image(ax, scene.image, title, dim=0.25)
    whose = nearest(found.boxes, scene)
    for box, own in zip(found.boxes, whose, strict=True):
        show.draw_box(axes[0], box, colour=colour_of(own), width=1.3)
    for ax, some in ((axes[1], poses), (axes[2], kept)):
        boxes = torch.stack([pose.box for pose in some]) if some else torch.zeros(0, 4)
        for pose, own in zip(some, nearest(boxes, scene), strict=True):
            show.draw_pose(ax, pose, colour=colour_of(own), width=1.6)
    return figure


def colour_of(own: int) -> str:
    """A person's colour, grey for nobody's."""
    return style.GREY if own < 0 else PEOPLE[own % len(PEOPLE)]


def nearest(boxes: Tensor, scene: Scene) -> list[int]:
    """Whom (N,) each box covers best, -1 with less than half of the union."""
    true = [person.box for person in tools.people_of(scene)]
    if not len(boxes) or not true:
        return [-1] * len(boxes)
    best, whom = geometry.box_iou(boxes, torch.stack(true)).max(1)
    return torch.where(best >= tools.FOUND, whom, -1).tolist()


def most_doubled(
    scenes: Sequence[Scene],
    poses: Sequence[Sequence[Pose]],
    kept: Sequence[Sequence[Pose]],
    people: tuple[int, int] = (3, 5),
) -> int:
    """The picture, of those with some people, in which the most poses were suppressed."""
    some = [i for i, scene in enumerate(scenes) if people[0] <= len(tools.people_of(scene)) <= people[1]]
    return max(some, key=lambda i: len(poses[i]) - len(kept[i]))


def draw_found(scenes: Sequence[Scene], found: Sequence[Found], least: float) -> Figure:
    """Pictures with the boxes that are sure enough, and whoever is missed in red."""
    figure, axes = plt.subplots(1, len(scenes), figsize=(style.PAGE, 0.86 * style.PAGE / len(scenes)))
    for ax, scene, one in zip(axes, scenes, found, strict=True):
        sure = one.boxes[one.scores >= least]
        missed = tools.covered(sure, scene) < tools.FOUND
        show.draw_image(ax, scene.image, f"{len(missed)} people, {int(missed.sum())} missed", dim=0.1)
        for box in sure:
            show.draw_box(ax, box, colour=style.SKY, width=1.3)
        for person, gone in zip(tools.people_of(scene), missed.tolist(), strict=True):
            if gone:
                show.draw_box(ax, person.box, colour=style.VERMILION, width=1.5, dashed=True)
    return figure


# --- crops before and after -------------------------------------------------------------------------------------------


def draw_descents(batch: Any, descents: dict[str, transformer.Descent], crop: int, at: Sequence[int]) -> Figure:
    """What theta lets the network see after some steps, for one crop, by each term; below, how far people are off."""
    figure = plt.figure(figsize=(style.PAGE, 5.9))
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.75, 1))
    axes = top.subplots(len(descents), len(at) + 1)
    for number, (row, (name, descent)) in enumerate(zip(axes, descents.items(), strict=True)):
        show.draw_image(row[0], batch.images[crop], "the crop, and the window" if number == 0 else None)
        for step, strength in zip(at, torch.linspace(0.35, 1, len(at)).tolist(), strict=True):
            corners = window(descent.theta[step, crop], batch.size)
            row[0].plot(*corners.T, color=style.ORANGE, linewidth=1.6, alpha=strength)
        for ax, step in zip(row[1:], at, strict=True):
            seen = stn(batch.images[crop : crop + 1], descent.theta[step, crop : crop + 1])[0]
            show.draw_image(ax, seen, f"step {step}")
            ax.axvline(batch.size[1] / 2, color=style.PAPER, linewidth=0.6)
            ax.axhline(batch.size[0] / 2, color=style.PAPER, linewidth=0.6)
        row[0].annotate(name, (-0.08, 0.5), xycoords="axes fraction", rotation=90, ha="right", va="center", fontsize=9)
    looks = (style.VERMILION, style.BLUE)
    left, right = bottom.subplots(1, 2)
    for (name, descent), colour in zip(descents.items(), looks, strict=True):
        left.plot(descent.away, color=colour, linewidth=0.9, alpha=0.5)
        left.plot(descent.away.mean(1), color=colour, linewidth=2.6, label=name)
        right.plot((100 * torch.tensor(descent.loss) / descent.loss[0]).tolist(), color=colour, linewidth=2.6)
    left.set(xlabel="step", title="distance from the middle, in sides of the frame", ylim=(0, None))
    left.legend(loc="upper right")
    right.set(xlabel="step", title="the loss that was asked for, % of its first", ylim=(0, None))
    return figure


def draw_crops(model: AlphaPose, batch: Any, columns: int = 6) -> Figure:
    """Crops as they come, with the window that the transformer chose, and what it shows the network."""
    with torch.inference_mode():
        theta = model.theta(batch.images)
        seen = stn(batch.images, theta)
    count = min(columns, len(batch))
    figure, axes = plt.subplots(2, count, figsize=(style.PAGE, 2.15 * style.PAGE / count))
    for column in range(count):
        show.draw_image(axes[0, column], batch.images[column])
        axes[0, column].plot(*window(theta[column], batch.size).T, color=style.ORANGE, linewidth=1.8)
        show.draw_image(axes[1, column], seen[column])
        for row in axes[:, column]:
            row.axvline(batch.size[1] / 2, color=style.PAPER, linewidth=0.6, linestyle=":")
            row.axhline(batch.size[0] / 2, color=style.PAPER, linewidth=0.6, linestyle=":")
    for ax, words in zip(axes[:, 0], ("crop, window", "after the STN"), strict=True):
        ax.annotate(words, (-0.06, 0.5), xycoords="axes fraction", rotation=90, ha="right", va="center", fontsize=9)
    return figure


def draw_jittered(scene: Scene, boxes: Tensor, poses: Sequence[Pose], study: dict[str, Any], noise: float) -> Figure:
    """A picture with boxes that are off, the poses in them, and the curves of the study at this noise."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.2), width_ratios=(1, 1.1))
    people = tools.people_of(scene)
    good = int((tools.like_own(poses, people) >= tools.FOUND).sum())
    show.draw_image(left, scene.image, f"{good} of {len(people)} people found", dim=0.2)
    for number, (box, pose) in enumerate(zip(boxes, poses, strict=True)):
        show.draw_box(left, box, colour=colour_of(number), width=1.1)
        show.draw_pose(left, pose, colour=colour_of(number), width=1.6)
    draw_noise(study, right, noise)
    return figure


# --- where it breaks --------------------------------------------------------------------------------------------------

NO_BOX, MIXED_UP, REMOVED = "in no box", "in a box, wrong pose", "removed as a double"


def failures(
    scenes: Sequence[Scene], found: Sequence[Found], poses: Sequence[Sequence[Pose]], kept: Sequence[Sequence[Pose]]
) -> dict[str, tuple[int, int]]:
    """For every kind of loss a picture and the person in it: of several the largest person."""
    kinds: dict[str, tuple[float, int, int]] = {}
    for number, scene in enumerate(scenes):
        boxed = tools.covered(found[number].boxes, scene) >= tools.FOUND
        posed = tools.best_likeness(poses[number], scene) >= tools.FOUND
        left = tools.best_likeness(kept[number], scene) >= tools.FOUND
        for who, person in enumerate(tools.people_of(scene)):
            kind = None
            if not boxed[who] and not posed[who]:
                kind = NO_BOX
            elif not posed[who]:
                kind = MIXED_UP
            elif not left[who]:
                kind = REMOVED
            size = float(geometry.box_area(person.box))
            if kind and size > kinds.get(kind, (0.0, 0, 0))[0]:
                kinds[kind] = (size, number, who)
    return {kind: kinds[kind][1:] for kind in (NO_BOX, MIXED_UP, REMOVED) if kind in kinds}


def draw_failures(scenes: Sequence[Scene], kept: Sequence[Sequence[Pose]], kinds: dict[str, tuple[int, int]]) -> Figure:
    """For every kind of loss its picture, what was found in it, and the person who was lost, framed."""
    figure, axes = plt.subplots(1, len(kinds), figsize=(style.PAGE, 2.75), squeeze=False)
    for ax, (kind, (number, who)) in zip(axes[0], kinds.items(), strict=True):
        scene = scenes[number]
        show.draw_image(ax, scene.image, kind, dim=0.2)
        for pose in kept[number]:
            show.draw_pose(ax, pose, colour=style.GREY, width=1.5)
        person = tools.people_of(scene)[who]
        show.draw_pose(ax, person, colour=style.VERMILION, width=1.5)
        show.draw_box(ax, person.box, colour=style.VERMILION)
    return figure
