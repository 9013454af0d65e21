"""Which colour a limb has: by body part, the same in every skeleton.

The person's right is warm and solid, the left is cool with a white core, so that the sides can be told apart on
screen, in print without colour, and with any kind of colour blindness.
"""

from __future__ import annotations

from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from course_lib import skeletons
from course_lib.errors import CourseError
from course_lib.show import style
from course_lib.skeletons import Skeleton

PART_COLOURS = {
    "right arm": style.VERMILION,
    "left arm": style.BLUE,
    "right leg": style.ORANGE,
    "left leg": style.SKY,
    "torso": style.GREEN,
    "head": style.PINK,
}
CORE = 0.34  # width of the white core of a left limb, as a share of the limb's
CORE_FROM = 2.0  # points: thinner limbs have none, it would wash their colour out

_KINDS = {
    **dict.fromkeys(("shoulder", "elbow", "wrist"), "arm"),
    **dict.fromkeys(("hip", "knee", "ankle"), "leg"),
    **dict.fromkeys(("neck", "thorax", "belly", "pelvis"), "torso"),
    **dict.fromkeys(("head_top", "face", "nose", "eye", "ear"), "head"),
}


def joint_part(skeleton: str | Skeleton, joint: int) -> str:
    """The body part of a joint: 'right arm', 'torso', ... A joint the course never named counts as an arm or torso."""
    skeleton = skeletons.get(skeleton)
    side = skeleton.side(joint)
    kind = _KINDS.get(skeleton.joints[joint].removeprefix(f"{side}_"), "torso" if side == "middle" else "arm")
    return kind if side == "middle" or kind in ("torso", "head") else f"{side} {kind}"


def limb_part(skeleton: str | Skeleton, limb: int) -> str:
    """The body part of a limb: that of its ends where they agree, else the head or the torso between them."""
    skeleton = skeletons.get(skeleton)
    if not -len(skeleton.limbs) <= limb < len(skeleton.limbs):
        raise CourseError(f"skeleton '{skeleton.name}' has {len(skeleton.limbs)} limbs; there is no limb {limb}")
    first, second = (joint_part(skeleton, joint) for joint in skeleton.limbs[limb])
    if first == second:
        return first
    return "head" if "head" in (first, second) else "torso"


def limb_side(skeleton: str | Skeleton, limb: int) -> str:
    """'left', 'right' or 'middle', the person's own: a limb from the middle to one side belongs to that side."""
    skeleton = skeletons.get(skeleton)
    sides = {skeleton.side(joint) for joint in skeleton.limbs[limb]} - {"middle"}
    return sides.pop() if len(sides) == 1 else "middle"


def limb_colour(skeleton: str | Skeleton, limb: int) -> str:
    """The colour of limb number `limb` of a skeleton, as '#rrggbb'."""
    return PART_COLOURS[limb_part(skeleton, limb)]


def joint_colour(skeleton: str | Skeleton, joint: int) -> str:
    """The colour of joint number `joint` of a skeleton, as '#rrggbb'."""
    return PART_COLOURS[joint_part(skeleton, joint)]


def limb_legend(where: Axes | Figure, **options) -> Legend:
    """The key to the limb colours, above a figure or inside axes. Options go to matplotlib's `legend`."""
    handles = []
    for part, colour in PART_COLOURS.items():
        core = patheffects.Stroke(linewidth=5 * CORE, foreground=style.PAPER)
        effects = [patheffects.Normal(), core] if part.startswith("left") else []
        handles.append(Line2D([], [], color=colour, linewidth=5, label=part, path_effects=effects))
    place = {"loc": "outside upper center", "ncols": 6} if isinstance(where, Figure) else {}
    return where.legend(handles=handles, **{**place, "handlelength": 1.6, "columnspacing": 1.4, **options})
