"""Drawing people: pictures, poses, boxes, and truth beside estimate.

    figure, ax = plt.subplots()
    draw_image(ax, scene.image)
    draw_pose(ax, scene.people[0])

Coordinates are those of `geometry.py`, so a joint at (0.5, 0.5) sits in the middle of the first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib import colors, patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from course_lib import images, skeletons
from course_lib.errors import CourseError
from course_lib.pose import HIDDEN, UNLABELLED, VISIBLE, Person, Pose
from course_lib.show import limbs, style
from course_lib.skeletons import Skeleton

ERROR_DASH = (0, (1.2, 1.0))
FADE_HIDDEN = 0.5  # how opaque a limb is that ends in a hidden joint


def as_array(values: Any) -> np.ndarray:
    """A tensor, array or list as a numpy array on the CPU."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()  # numpy knows no bfloat16
    return np.asarray(values)


def as_picture(image: Any) -> np.ndarray:
    """Any picture `images.to_tensor` takes, as an array (H, W, 3) in [0, 1]."""
    return images.to_tensor(image).permute(1, 2, 0).numpy()


def draw_image(ax: Axes, image: Any, title: str | None = None, dim: float = 0.0, **options) -> None:
    """Shows a picture with its top left corner at (0, 0). `dim` up to 1 washes it out, so that overlays stand out."""
    picture = as_picture(image)
    if dim:
        picture = picture.mean(-1, keepdims=True).repeat(3, -1) * (1 - dim) + dim
    height, width = picture.shape[:2]
    ax.imshow(picture, extent=(0, width, height, 0), **options)
    style.image_axes(ax, height, width)
    if title is not None:
        ax.set_title(title)


@dataclass
class _Read:
    """What can be drawn of a person: joints (K, 2), visible (K,) with 0 where there is nothing to draw, scores (K,)."""

    joints: np.ndarray
    visible: np.ndarray
    scores: np.ndarray | None
    skeleton: Skeleton


def _read(person: Any, skeleton: Any, visible: Any, scores: Any) -> _Read:
    joints = person.joints if isinstance(person, Pose | Person) else person
    if isinstance(person, Pose | Person):
        skeleton = person.skeleton
    if skeleton is None:
        raise CourseError("joints alone do not say what connects them; give skeleton='lsp' or the like")
    skeleton = skeletons.get(skeleton)
    if visible is None:
        visible = person.visible if isinstance(person, Person) else np.full(len(skeleton), VISIBLE)
    if scores is None and isinstance(person, Pose):
        scores = person.scores
    joints, visible = as_array(joints).astype(float), as_array(visible).astype(int)
    scores = None if scores is None else np.nan_to_num(as_array(scores).astype(float), nan=0.0)
    count = len(skeleton)
    if joints.shape != (count, 2) or visible.shape != (count,) or (scores is not None and scores.shape != (count,)):
        raise CourseError(
            f"a person of skeleton '{skeleton.name}' is drawn from joints ({count}, 2), visible ({count},) and scores "
            f"({count},); got {joints.shape}, {visible.shape} and {None if scores is None else scores.shape}"
        )
    there = np.isfinite(joints).all(-1)
    return _Read(np.where(there[:, None], joints, 0.0), np.where(there, visible, UNLABELLED), scores, skeleton)


def _line_width(ax: Axes, joints: np.ndarray) -> float:
    """Points: thick enough to see on a large person, thin enough for a small one in a crowd."""
    scale_x = ax.bbox.width / max(abs(np.subtract(*ax.get_xlim())), 1e-9)
    scale_y = ax.bbox.height / max(abs(np.subtract(*ax.get_ylim())), 1e-9)
    extent = np.hypot(*np.ptp(joints, axis=0)) * min(scale_x, scale_y) * 72 / ax.figure.dpi
    return float(np.clip(0.014 * extent, 1.6, 4.0))


def _halo(width: float) -> float:
    """How much wider than a line its white halo is."""
    return min(0.7 * width, 1.8)


def draw_pose(
    ax: Axes,
    person: Pose | Person | Any,
    skeleton: str | Skeleton | None = None,
    *,
    visible: Any = None,
    scores: Any = None,
    threshold: float | None = None,
    fade: bool = False,
    colour: str | None = None,
    labels: bool | str = False,
    alpha: float = 1.0,
    width: float | None = None,
    markers: bool = True,
) -> None:
    """Draws one person: a `Pose`, a `Person`, or bare joints (K, 2) with their skeleton.

    Visible joints are filled, hidden ones hollow with paler limbs, unlabelled or NaN ones left out with their limbs.
    `threshold` leaves out joints whose score is below it; `fade` makes joints as opaque as their score is high,
    beside the person's best. `colour` draws all in one colour. `labels` is True or "names", or "numbers". `width`
    is the limbs' in points; without it, it follows the person's size on the page. `markers` draws the joints' discs.
    """
    read = _read(person, skeleton, visible, scores)
    if threshold is not None and read.scores is not None:
        read.visible = np.where(read.scores >= threshold, read.visible, UNLABELLED)
    drawn = read.visible > UNLABELLED
    if not drawn.any():
        return
    points = read.joints[drawn]
    if not ax.images and ax.get_autoscale_on():  # no picture below: make room for the person, y down as in pictures
        ax.update_datalim(points)
        ax.set_aspect("equal")
        ax.autoscale_view()
        ax.yaxis.set_inverted(True)
    width = width or _line_width(ax, points)
    opacity = np.full(len(drawn), float(alpha))
    if fade and read.scores is not None:
        best = max(read.scores[drawn].max(), 1e-9)
        opacity *= np.clip(read.scores / best, 0.12, 1.0)
    _draw_limbs(ax, read, drawn, opacity, width, colour)
    if markers:
        _draw_joints(ax, read, drawn, opacity, width, colour)
    if labels:
        _draw_labels(ax, read, drawn, numbers=labels == "numbers")


def _draw_limbs(
    ax: Axes, read: _Read, drawn: np.ndarray, opacity: np.ndarray, width: float, colour: str | None
) -> None:
    lines, cores, shades, core_shades, halos = [], [], [], [], []
    for index, (first, second) in enumerate(read.skeleton.limbs):
        if not (drawn[first] and drawn[second]):
            continue
        hidden = HIDDEN in (read.visible[first], read.visible[second])
        strength = min(opacity[first], opacity[second]) * (FADE_HIDDEN if hidden else 1.0)
        line = read.joints[[first, second]]
        lines.append(line)
        shades.append(colors.to_rgba(colour or limbs.limb_colour(read.skeleton, index), strength))
        halos.append(colors.to_rgba(style.PAPER, 0.85 * strength))
        if colour is None and width >= limbs.CORE_FROM and limbs.limb_side(read.skeleton, index) == "left":
            cores.append(line)
            core_shades.append(colors.to_rgba(style.PAPER, strength))
    layers = [(lines, halos, width + _halo(width)), (lines, shades, width), (cores, core_shades, width * limbs.CORE)]
    for segments, shade, thickness in layers:
        stack = LineCollection(segments, colors=shade, linewidths=thickness, capstyle="round", zorder=3)
        ax.add_collection(stack, autolim=False)


def _draw_joints(
    ax: Axes, read: _Read, drawn: np.ndarray, opacity: np.ndarray, width: float, colour: str | None
) -> None:
    shades = [colors.to_rgba(colour or limbs.joint_colour(read.skeleton, k), opacity[k]) for k in range(len(drawn))]
    for hidden in (True, False):
        which = np.flatnonzero(drawn & ((read.visible == HIDDEN) == hidden))
        shade = np.array([shades[k] for k in which]).reshape(-1, 4)
        paper = np.array([colors.to_rgba(style.PAPER, opacity[k]) for k in which]).reshape(-1, 4)
        ax.scatter(
            *read.joints[which].T,
            s=(2.3 * width + 0.6) ** 2,
            facecolors=paper if hidden else shade,
            edgecolors=shade if hidden else paper,
            linewidths=max(0.55 * width, 0.7) if hidden else max(0.3 * width, 0.5),
            zorder=3,
        )


def _draw_labels(ax: Axes, read: _Read, drawn: np.ndarray, numbers: bool) -> None:
    """Names on both sides of the person, pushed apart where they would overlap."""
    size = 7.5
    middle = read.joints[drawn, 0].mean()
    to_points = ax.transData.transform(read.joints) * 72 / ax.figure.dpi  # y up
    for right in (False, True):
        which = np.flatnonzero(drawn & ((read.joints[:, 0] > middle) == right))
        lowest = np.inf
        for k in sorted(which, key=lambda k: -to_points[k, 1]):
            height = min(to_points[k, 1], lowest - 1.15 * size)
            lowest = height
            ax.annotate(
                str(k) if numbers else read.skeleton.joints[k].replace("_", " "),
                read.joints[k],
                xytext=(7 if right else -7, height - to_points[k, 1]),
                textcoords="offset points",
                ha="left" if right else "right",
                va="center",
                fontsize=size,
                color=style.INK,
                zorder=4,
                path_effects=[patheffects.withStroke(linewidth=2.2, foreground=style.PAPER)],
            )


def draw_box(
    ax: Axes,
    box: Any,
    label: str | None = None,
    *,
    colour: str = style.ORANGE,
    width: float = 1.6,
    dashed: bool = False,
) -> None:
    """Draws a box (4,) given as x0, y0, x1, y1, with a label on its upper edge."""
    x0, y0, x1, y1 = _four(box)
    path = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
    ax.plot(*path.T, color=style.PAPER, linewidth=width + 1.6, alpha=0.85, zorder=2.5, solid_joinstyle="miter")
    ax.plot(*path.T, color=colour, linewidth=width, zorder=2.5, linestyle=(0, (3, 2)) if dashed else "-")
    if label is not None:
        ax.annotate(
            label,
            (x0, y0),
            xytext=(2, -2),
            textcoords="offset points",
            ha="left",
            va="top",
            fontsize=8,
            color=style.INK,
            zorder=4,
            bbox={"boxstyle": "square,pad=0.2", "facecolor": style.PAPER, "edgecolor": "none", "alpha": 0.85},
        )


def _four(box: Any) -> np.ndarray:
    values = as_array(box).astype(float)
    if values.shape != (4,) or not np.isfinite(values).all():
        raise CourseError(f"a box to draw is four finite numbers x0, y0, x1, y1; got {values.tolist()}")
    return values


def draw_truth_and_estimate(
    ax: Axes, truth: Person, estimate: Pose, *, errors: bool = True, width: float | None = None, **options
) -> None:
    """The truth as a dark line, the estimate in limb colours over it, and a dotted segment from each true joint.

    A truth in another skeleton is converted where its joints allow. Options go to `draw_pose` for the estimate.
    """
    seen = _read(truth, None, None, None)
    found = _read(estimate, None, None, None)
    if seen.skeleton != found.skeleton:
        joints, visible = skeletons.convert(
            torch.as_tensor(seen.joints), torch.as_tensor(seen.visible), seen.skeleton, found.skeleton
        )
        seen = _read(joints, found.skeleton, visible, None)
    labelled = seen.visible > UNLABELLED
    width = width or _line_width(ax, (seen.joints[labelled] if labelled.any() else found.joints))
    true = {"visible": seen.visible, "colour": style.INK, "width": 0.7 * width, "markers": False}
    draw_pose(ax, seen.joints, seen.skeleton, **true)
    both = labelled & (found.visible > UNLABELLED)
    if errors and both.any():
        pairs = np.stack([seen.joints[both], found.joints[both]], axis=1)
        for shade, thickness in ((style.PAPER, 1.15 * width), (style.INK, 0.45 * width)):
            dots = LineCollection(pairs, colors=shade, linewidths=thickness, linestyles=ERROR_DASH, zorder=3)
            ax.add_collection(dots, autolim=False)
    draw_pose(ax, estimate, width=width, **options)
