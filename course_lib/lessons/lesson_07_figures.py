"""The figures of lesson 07 that need no network. Each function returns its figure; a cell ends with plt.show()."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course_lib import show
from course_lib.lessons import lesson_07_part_affinity_fields as tools
from course_lib.pose import Person, Pose, Scene
from course_lib.show import style
from course_lib.show.fields import draw_arrows, draw_field, draw_wheel, strongest
from course_lib.targets.fields import limb_fields
from course_lib.targets.grouping import Group, line_integral

RULE_COLOURS = dict(zip(tools.RULES, (style.VERMILION, style.ORANGE, style.BLUE), strict=True))
PEOPLE = (style.BLUE, style.VERMILION, style.GREEN, style.ORANGE, style.PINK, style.SKY, style.INK)


def person_colour(number: int) -> str:
    return PEOPLE[number % len(PEOPLE)]


def limb_name(scene: Scene, limb: int) -> str:
    """For example "right elbow to right wrist"."""
    skeleton = scene.people[0].skeleton
    return " to ".join(skeleton.joints[end].replace("_", " ") for end in skeleton.limbs[limb])


# --- the problem ------------------------------------------------------------------------------------------------------


def draw_one_answer(scene: Scene, alone: Pose, in_boxes: Sequence[Pose]) -> Figure:
    """What a network for one person answers to a whole picture, and to every true box."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(0.84 * style.PAGE, 3.0))
    show.draw_image(left, scene.image, "the whole picture as the crop: one answer")
    show.draw_pose(left, alone)
    show.draw_image(right, scene.image, f"{len(in_boxes)} boxes, told to it: {len(in_boxes)} runs")
    for pose in in_boxes:
        show.draw_pose(right, pose)
    for person in scene.people:
        show.draw_box(right, person.box, colour=style.INK)
    return figure


def draw_owners(scene: Scene, own: tools.Drawn, links: dict[str, Tensor], joint: str) -> Figure:
    """One joint's map, all joints that the maps find, and who is linked with whom by several rules, wrong links red."""
    figure, axes = plt.subplots(2, 2, figsize=(0.9 * style.PAGE, 6.4))
    index = scene.people[0].skeleton.index(joint)
    show.overlay_map(axes[0, 0], scene.image, own.maps[index], maximum=1.0, title=f"the map for '{joint}', everybody's")
    show.draw_image(axes[0, 1], scene.image, "all joints that the 14 maps know. Whose are they?", dim=0.5)
    _dots(axes[0, 1], scene, own)
    for ax, (rule, chosen) in zip(axes[1], links.items(), strict=True):
        found = tools.wrong_links(scene, own, chosen)
        wrong = sum(is_wrong for *_, is_wrong in found)
        show.draw_image(ax, scene.image, f"linked by the {rule}: {wrong} of {len(found)} wrong", dim=0.5)
        for a, b, is_wrong in sorted(found, key=lambda link: link[2]):
            colour, width = (style.VERMILION, 3.0) if is_wrong else (style.INK, 1.6)
            ax.plot(*zip(a.tolist(), b.tolist(), strict=True), color=colour, linewidth=width, solid_capstyle="round")
        _dots(ax, scene, own, size=10)
    return figure


def _dots(ax: Axes, scene: Scene, own: tools.Drawn, size: float = 22) -> None:
    skeleton = scene.people[0].skeleton
    shades = [show.joint_colour(skeleton, k) for k in own.candidates.joints.tolist()]
    look = {"edgecolors": style.PAPER, "linewidths": 0.7, "zorder": 4}
    ax.scatter(*(own.candidates.points * tools.STRIDE).T.numpy(), s=size, c=shades, **look)


def draw_crossings(angles: Sequence[float], errors: dict[str, list[dict[str, float]]]) -> Figure:
    """For each arrangement: what it looks like at 60 degrees, and every rule's share of wrong links by angle."""
    figure, axes = plt.subplots(2, 2, figsize=(style.PAGE, 5.6), width_ratios=(1, 3.2))
    for row, (arrangement, values) in zip(axes, errors.items(), strict=True):
        limbs = tools.arms(arrangement, 60) - torch.tensor([tools.ROOM[1], tools.ROOM[0]]) / 2
        for number, limb in enumerate(limbs):
            colour = PEOPLE[number]
            row[0].plot(*limb.T, "-", color=colour, linewidth=4, solid_capstyle="round")
            row[0].plot(*limb[0], "o", color=colour, markersize=9)
            row[0].plot(*limb[1], "s", color=colour, markersize=8)
        if arrangement == tools.IN_A_ROW:
            for a, b in ((0, 2), (2, 0)):
                row[0].plot(*torch.stack([limbs[a, 0], limbs[b, 1]]).T, "--", color=style.GREY, linewidth=1.4)
        row[0].set(aspect="equal", xlim=(-5, 5), ylim=(6, -6), title=arrangement)
        row[0].axis("off")
        for rule in tools.RULES:
            shares = [one[rule] for one in values]
            row[1].plot(angles, shares, "o-", color=RULE_COLOURS[rule], label=rule, markersize=4)
        row[1].set(ylim=(-0.03, 1.03), ylabel="share linked wrong", xticks=range(0, 181, 30))
    axes[0, 1].legend(loc="center right")
    axes[0, 1].set_title("the true links cross at this angle")
    axes[1, 1].set(title="the wrong links (dashed) cross at this angle", xlabel="angle, degrees")
    return figure


# --- the idea ---------------------------------------------------------------------------------------------------------


def draw_idea(scene: Scene, own: tools.Drawn, limb: int | None) -> Figure:
    """A picture's fields in colours, one limb's or all of them, and the same limb's vectors around one person."""
    figure = plt.figure(figsize=(style.PAGE, 3.75))
    left, right = figure.subplots(1, 2, width_ratios=(4, 3))
    one = strongest(own.fields) if limb is None else own.fields[2 * limb : 2 * limb + 2]
    words = "all 14 limbs, the longest vector of each cell" if limb is None else limb_name(scene, limb)
    draw_field(left, one, scene.image, words)
    wheel = left.inset_axes((0.0, 0.0, 0.26, 0.34))
    draw_wheel(wheel)
    cells = _around(scene, limb, one.shape[-2:])
    show.draw_box(left, torch.tensor(cells) * tools.STRIDE, colour=style.INK)
    height, width = one.shape[-2:]
    picture = scene.image.mean(0).numpy() * 0.3 + 0.7
    right.imshow(picture, extent=(0, width, height, 0), cmap="gray", vmin=0, vmax=1)
    draw_arrows(right, one, cells)
    right.set_title("the frame, larger: one vector a cell")
    return figure


def _around(scene: Scene, limb: int | None, size: Sequence[int], reach: int = 9) -> tuple[int, int, int, int]:
    """A window of cells around a limb of the person whose limb is longest in the picture."""
    a, b = scene.people[0].skeleton.limbs[6 if limb is None else limb]
    whole = [one for one in scene.people if one.visible[a] > 0 and one.visible[b] > 0]
    who = max(whole, key=lambda one: float((one.joints[a] - one.joints[b]).norm()))
    x, y = ((who.joints[a] + who.joints[b]) / 2 / tools.STRIDE).tolist()
    x0 = int(min(max(x - reach, 0), size[1] - 2 * reach))
    y0 = int(min(max(y - reach, 0), size[0] - 2 * reach))
    return x0, y0, x0 + 2 * reach, y0 + 2 * reach


# --- what is asked ----------------------------------------------------------------------------------------------------


def draw_sliding(distance: float) -> Figure:
    """Two people's joints in one map, so many cells apart, put together by the maximum and by the sum."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 2.7), sharey=True)
    titles = {"max": "the larger of the two (the paper)", "sum": "the sum, cut at 1 (the authors' data layer)"}
    for ax, (combine, title) in zip(axes, titles.items(), strict=True):
        row, count = tools.profile(distance, combine)
        places = np.arange(len(row)) + 0.5 - len(row) / 2
        ax.bar(places, row, width=0.9, color=style.SKY)
        fine = np.linspace(places[0], places[-1], 400)
        for side in (-1, 1):
            bell = np.exp(-((fine - side * distance / 2) ** 2) / (2 * tools.SIGMA**2))
            ax.plot(fine, bell, color=style.INK, linewidth=1.2, linestyle="--")
        ax.set(title=f"{title}: {count} peak{'s' if count > 1 else ''}", xlabel="cells", ylim=(0, 1.1), xlim=(-8, 8))
    return figure


def draw_overlaps(angle: float, people: int = 2) -> Figure:
    """The same limb of two people crossing at an angle, as the three rules draw it."""
    limbs, middle = tools.arms(tools.CROSSING, angle), tools.ROOM[1] // 2
    figure, axes = plt.subplots(1, 3, figsize=(style.PAGE, 3.45))
    titles = {"average": "average (the paper)", "last": "the later overwrites (code)", "sum": "sum"}
    for ax, (rule, title) in zip(axes, titles.items(), strict=True):
        field = limb_fields(limbs, torch.ones(people, 2), [(0, 1)], tools.ROOM, overlap=rule)
        draw_arrows(ax, field, (middle - 7, 13, middle + 7, 27), scale=0.85)
        for limb in limbs:
            ax.plot(*limb.T, color=style.GREY, linewidth=1, zorder=0)
        ax.set_title(title)
    return figure


def draw_weight(scene: Scene, weight: Tensor, unlabelled: Sequence[Person]) -> Figure:
    """A picture of which some people are not labelled, and where its targets count."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(0.8 * style.PAGE, 2.9))
    show.draw_image(left, scene.image, "labelled, and not labelled (frame)")
    for person in scene.people:
        if any(person is one for one in unlabelled):
            show.draw_box(left, person.box, colour=style.INK)
        else:
            show.draw_pose(left, person)
    show.draw_image(right, scene.image, "W: white counts, black does not", dim=0.5)
    height, width = scene.size
    right.imshow(weight, extent=(0, width, height, 0), cmap="gray", vmin=0, vmax=1, alpha=0.75, interpolation="nearest")
    style.image_axes(right, height, width)
    return figure


# --- line integrals ---------------------------------------------------------------------------------------------------


def draw_integral(
    scene: Scene,
    fields: Tensor,
    limb: int,
    start: Tensor,
    end: Tensor,
    samples: int = 10,
    window: Sequence[float] | None = None,
) -> Figure:
    """A candidate limb (in cells) over its field, what each of its points contributes, and the verdict.

    window: x0, y0, x1, y1 in pixels, the part of the picture that is shown.
    """
    field = fields[2 * limb : 2 * limb + 2]
    links = line_integral(field, start[None], end[None], samples)
    single = [line_integral(field, *_piece(start, end, n, samples), samples=1, longest=None) for n in range(samples)]
    projections = np.array([float(one.scores[0]) for one in single])
    length, height = float((end - start).norm()), field.shape[-2]
    penalty = min(0.5 * height / max(length, 1e-6) - 1, 0)
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.6), width_ratios=(1.25, 1))
    draw_field(left, field, scene.image, limb_name(scene, limb))
    wheel = left.inset_axes((0.0, 0.0, 0.24, 0.32))
    draw_wheel(wheel, words=False)
    u = (np.arange(samples) + 0.5) / samples
    a, b = (one.numpy() * tools.STRIDE for one in (start, end))
    left.plot(*np.stack([a, b]).T, color=style.INK, linewidth=1.4)
    places = a + u[:, None] * (b - a)
    shades = [style.BLUE if value > 0.05 else style.VERMILION for value in projections]
    left.scatter(*places.T, c=shades, s=22, edgecolors=style.PAPER, linewidths=0.6, zorder=5)
    left.plot(*a, "o", color=style.INK, markersize=7)
    left.plot(*b, "s", color=style.INK, markersize=7)
    if window is not None:
        left.set(xlim=(window[0], window[2]), ylim=(window[3], window[1]))
    right.bar(u, projections, width=0.8 / samples, color=shades)
    right.axhline(0.05, color=style.GREY, linewidth=1, linestyle=":")
    right.axhline(projections.mean(), color=style.INK, linewidth=1.5, linestyle="--", label="mean")
    above = int((projections > 0.05).sum())
    verdict = "possible" if bool(links.possible[0]) else "not a limb"
    sums = f"mean {projections.mean():.2f} {penalty:+.2f} (length) = E {float(links.scores[0]):.2f}"
    right.set(ylim=(-1.05, 1.05), xlim=(0, 1), xlabel="from the start (disc) to the end (square)")
    right.set(ylabel="field along the limb", title=f"{sums}\n{above} of {samples} points above 0.05: {verdict}")
    right.legend(loc="lower left")
    return figure


def _piece(start: Tensor, end: Tensor, number: int, samples: int) -> tuple[Tensor, Tensor]:
    """The n-th of equal pieces of a candidate limb: its middle is the n-th point."""
    return (start + number / samples * (end - start))[None], (start + (number + 1) / samples * (end - start))[None]


def draw_matrix(scene: Scene, own: tools.Drawn, limb: int, scores: Tensor, chosen: Tensor) -> Figure:
    """Everybody's two ends of a limb, numbered, and E of every pair; the chosen pairs are framed."""
    first, second = tools.ends(own.candidates, [scene.people[0].skeleton.limbs[limb]], own.visible.shape[1])
    rows, columns = int((first >= 0).sum()), int((second >= 0).sum())
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.6), width_ratios=(1.25, 1))
    draw_field(left, own.fields[2 * limb : 2 * limb + 2], scene.image, limb_name(scene, limb), dim=0.55)
    words = {"ha": "center", "va": "center", "fontsize": 7, "color": style.PAPER, "fontweight": "bold"}
    for numbers, letters, shape in ((first, "ABCDEFGHIJKLMNOP", "circle"), (second, "abcdefghijklmnop", "square")):
        for letter, candidate in zip(letters, numbers[0].tolist(), strict=False):
            if candidate >= 0:
                ground = {"boxstyle": f"{shape},pad=0.2", "facecolor": style.INK, "edgecolor": style.PAPER}
                left.text(*(own.candidates.points[candidate] * tools.STRIDE), letter, bbox=ground, **words)
    shown = scores[limb, :rows, :columns]
    right.imshow(shown, cmap="RdBu", vmin=-1, vmax=1)
    for row in range(rows):
        for column in range(columns):
            value = float(shown[row, column])
            colour = style.PAPER if abs(value) > 0.6 else style.INK
            right.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7.5, color=colour)
            if chosen[limb, row, column]:
                frame = {"fill": False, "edgecolor": style.INK, "linewidth": 2.4}
                right.add_patch(plt.Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, **frame))
    right.set(xticks=range(columns), yticks=range(rows), title="E of every pair")
    right.set_xticklabels("abcdefghijklmnop"[:columns])
    right.set_yticklabels("ABCDEFGHIJKLMNOP"[:rows])
    right.tick_params(length=0)
    right.spines[:].set_visible(False)
    return figure


# --- matching and assembly --------------------------------------------------------------------------------------------


def draw_trap(scores: Tensor, choices: dict[str, Tensor]) -> Figure:
    """Pairs of two starts and two ends with their scores, and what each way of matching takes."""
    figure, axes = plt.subplots(1, len(choices), figsize=(0.8 * style.PAGE, 2.6))
    for ax, (name, chosen) in zip(axes, choices.items(), strict=True):
        for m in range(2):
            for n in range(2):
                taken = bool(chosen[m, n])
                look = {"color": style.BLUE, "linewidth": 4} if taken else {"color": "#CCCCCC", "linewidth": 1.6}
                ax.plot([0, 1], [m, n], zorder=1, **look)
                place = 0.27 if m != n else 0.5
                y = m + place * (n - m)
                ground = {"boxstyle": "square,pad=0.15", "facecolor": style.PAPER, "edgecolor": "none"}
                ax.text(place, y, f"{float(scores[m, n]):.1f}", ha="center", va="center", bbox=ground, zorder=3)
        for x, names in ((0, "AB"), (1, "ab")):
            for y, letter in enumerate(names):
                ax.plot(x, y, "o", color=style.INK, markersize=15, zorder=4)
                ax.text(x, y, letter, color=style.PAPER, ha="center", va="center", fontsize=9, zorder=5)
        ax.set(xlim=(-0.2, 1.2), ylim=(1.35, -0.35), title=f"{name}: {float(scores[chosen].sum()):.1f}")
        ax.axis("off")
    return figure


def draw_assembly(scene: Scene, groups: Sequence[Group], limbs: int) -> Figure:
    """People as far as the first so many limbs have joined them, each in a colour."""
    skeleton = scene.people[0].skeleton
    figure, ax = plt.subplots(figsize=(0.62 * style.PAGE, 4.4))
    last = limb_name(scene, limbs - 1)
    parts = f"{len(groups)} part{'s' if len(groups) != 1 else ''}"
    show.draw_image(ax, scene.image, f"{limbs} of {len(skeleton.limbs)} limbs ({last}): {parts}", dim=0.5)
    for group in sorted(groups, key=lambda one: float(one.joints[:, 0].mean())):
        number = sum(float(other.joints[:, 0].mean()) < float(group.joints[:, 0].mean()) for other in groups)
        person = Person(group.joints * tools.STRIDE, (group.scores > 0).long() * 2, skeleton)
        show.draw_pose(ax, person, colour=person_colour(number))
    return figure
