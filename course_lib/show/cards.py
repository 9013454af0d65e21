"""Whole figures of people: galleries of pictures, and the card that shows what joints a skeleton has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib import skeletons
from course_lib.errors import CourseError
from course_lib.pose import Batch, Person, Pose, Scene
from course_lib.show import limbs, style
from course_lib.show import people as draw
from course_lib.skeletons import Skeleton

# A person who stands and looks at us, y down, one unit tall; x as (0 or the distance to the body's middle). The
# head is drawn large, or nose, eyes and ears would fall together.
_STANDING = {
    "head_top": (0.0, 0.0),
    "face": (0.0, 0.1),
    "nose": (0.0, 0.12),
    "eye": (0.07, 0.06),
    "ear": (0.135, 0.1),
    "neck": (0.0, 0.2),
    "thorax": (0.0, 0.285),
    "shoulder": (0.16, 0.285),
    "elbow": (0.225, 0.43),
    "wrist": (0.27, 0.58),
    "belly": (0.0, 0.46),
    "pelvis": (0.0, 0.57),
    "hip": (0.1, 0.57),
    "knee": (0.12, 0.78),
    "ankle": (0.13, 0.98),
}


def standing(skeleton: str | Skeleton) -> dict[str, tuple[float, float]]:
    """Where each joint of the standing figure is. The person's right is on our left. Unknown joints are left out."""
    places = {}
    for name in skeletons.get(skeleton).joints:
        side, _, rest = name.partition("_")
        key = rest if side in ("left", "right") else name
        if key in _STANDING:
            x, y = _STANDING[key]
            places[name] = (-x if side == "right" else x, y)
    if "neck" in places and "head_top" not in places:  # BODY-18's neck is the middle of the shoulders
        places["neck"] = _STANDING["thorax"]
    return places


def draw_skeleton_card(
    ax: Axes, skeleton: str | Skeleton, places: dict[str, tuple[float, float]] | None = None
) -> None:
    """A standing figure with the skeleton's joint numbers and limb colours, and the list of its joints below.

    Each row of the list is one joint: its number on the person's right, its name, its number on the left. The two
    numbers of a row change places when a picture is mirrored. `places` puts joints of one's own on the figure, by name.
    """
    skeleton = skeletons.get(skeleton)
    places = {**standing(skeleton), **(places or {})}
    joints = [places.get(name, (math.nan, math.nan)) for name in skeleton.joints]
    ax.set(xlim=(-0.42, 0.42), ylim=(1.72, -0.2), aspect="equal")
    ax.axis("off")
    ax.set_title(f"{skeleton.name.upper()}: {len(skeleton)} joints", fontweight="bold")
    ax.text(-0.4, -0.1, "person's\nright", ha="left", va="center", fontsize=8.5, color=style.VERMILION)
    ax.text(0.4, -0.1, "person's\nleft", ha="right", va="center", fontsize=8.5, color=style.BLUE)
    draw.draw_pose(ax, joints, skeleton, width=4.0)
    for number, place in enumerate(joints):
        if math.isfinite(place[0]):
            look = {"facecolor": style.PAPER, "edgecolor": limbs.joint_colour(skeleton, number), "linewidth": 1.4}
            words = {"ha": "center", "va": "center", "fontsize": 6.5, "zorder": 5}
            ax.text(*place, f"{number}", **words, bbox={"boxstyle": "circle,pad=0.18", **look})
    _list_joints(ax, skeleton)


def _list_joints(ax: Axes, skeleton: Skeleton) -> None:
    rows = []
    for number, name in enumerate(skeleton.joints):
        other = skeleton.swaps[number]
        if other == number:
            rows.append(("", f"{name}  {number}", ""))
        elif skeleton.side(number) == "right":
            rows.append((str(number), name.removeprefix("right_"), str(other)))
    for row, (right, name, left) in enumerate(rows):
        y = 1.1 + row * 0.064
        ax.text(-0.27, y, right, ha="right", va="center", fontsize=8.5, color=style.VERMILION, fontweight="bold")
        ax.text(0.0, y, name.replace("_", " "), ha="center", va="center", fontsize=8.5)
        ax.text(0.27, y, left, ha="left", va="center", fontsize=8.5, color=style.BLUE, fontweight="bold")


def gallery(
    images: Batch | Sequence[Any],
    poses: Sequence[Any] | None = None,
    people: Sequence[Any] | None = None,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    width: float | None = None,
    **options,
) -> Figure:
    """Pictures in rows, with estimated `poses` and true `people` drawn on them; one entry of each per picture.

    images: pictures, or Scenes (which bring their people), or a Batch (which brings its one person each). An entry of
    `poses` or `people` is one person or a list of them; with exactly one of each, errors are drawn too. The figure is
    `width` inches wide: the page, or half of it for one column. Options go to `draw_pose`. End the cell with
    `plt.show()`, or Jupyter shows the figure twice.

        show.gallery(batch[:8])
        show.gallery(scenes, poses=model.estimate([scene.image for scene in scenes]))
    """
    pictures, own = _pictures(images)
    people = own if people is None else people
    count = len(pictures)
    for name, given in (("poses", poses), ("people", people), ("titles", titles)):
        if given is not None and len(given) != count:
            raise CourseError(f"a gallery of {count} pictures needs {count} {name}; got {len(given)}")
    columns = min(columns or _columns(count), count)
    rows = math.ceil(count / columns)
    width = width or min(style.PAGE, columns * style.PAGE / 2)
    arrays = [draw.as_picture(picture) for picture in pictures]
    aspect = max(array.shape[0] / array.shape[1] for array in arrays)
    height = rows * (width / columns * aspect + (0.28 if titles else 0.06))
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False)
    for ax in axes.flat[count:]:
        ax.axis("off")
    for index, ax in enumerate(axes.flat[:count]):
        draw.draw_image(ax, arrays[index], titles[index] if titles else None)
        true = _listed(people[index]) if people is not None else []
        found = _listed(poses[index]) if poses is not None else []
        _draw_people(ax, true, found, options)
    return figure


def _draw_people(ax: Axes, true: list, found: list, options: dict) -> None:
    if len(true) == len(found) == 1 and isinstance(true[0], Person) and isinstance(found[0], Pose):
        draw.draw_truth_and_estimate(ax, true[0], found[0], **options)
        return
    for person in true:
        draw.draw_pose(ax, person, **{**options, **({"colour": style.INK} if found else {})})
    for pose in found:
        draw.draw_pose(ax, pose, **options)


def _pictures(images: Batch | Sequence[Any]) -> tuple[list, list | None]:
    """The pictures, and their people where they bring some."""
    if isinstance(images, Batch):
        joined = zip(images.joints, images.visible, strict=True)
        pictures, people = (
            list(images.images),
            [Person(joints, seen, images.skeleton) for joints, seen in joined],
        )
    else:
        pictures = [item.image if isinstance(item, Scene) else item for item in images]
        people = [item.people if isinstance(item, Scene) else [] for item in images]
    if not pictures:
        raise CourseError("a gallery needs at least one picture; got none")
    return pictures, people if any(isinstance(p, Person) or p for p in people) else None


def _listed(entry: Any) -> list:
    return list(entry) if isinstance(entry, list | tuple) else [] if entry is None else [entry]


def _columns(count: int) -> int:
    """As few rows of at most six as hold the pictures, filled evenly."""
    return math.ceil(count / math.ceil(count / 6))
