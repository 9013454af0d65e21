"""Figures and widgets of the course. Nothing else in the library imports this package.

from course_lib import show
show.use_style()
show.gallery(scenes)
"""

from course_lib.show import style
from course_lib.show.cards import draw_skeleton_card, gallery
from course_lib.show.diagrams import Box, Diagram, draw_circles
from course_lib.show.limbs import (
    PART_COLOURS,
    joint_colour,
    joint_part,
    limb_colour,
    limb_legend,
    limb_part,
    limb_side,
)
from course_lib.show.maps import map_scale, maps_grid, overlay_map
from course_lib.show.people import draw_box, draw_image, draw_pose, draw_truth_and_estimate
from course_lib.show.style import image_axes, png, use_style
from course_lib.show.tables import About, Table, caption, table
from course_lib.show.widgets import Control, Explorer, choice, explore, slider, toggle

__all__ = [
    "PART_COLOURS",
    "About",
    "Box",
    "Control",
    "Diagram",
    "Explorer",
    "Table",
    "caption",
    "choice",
    "draw_box",
    "draw_circles",
    "draw_image",
    "draw_pose",
    "draw_skeleton_card",
    "draw_truth_and_estimate",
    "explore",
    "gallery",
    "image_axes",
    "joint_colour",
    "joint_part",
    "limb_colour",
    "limb_legend",
    "limb_part",
    "limb_side",
    "map_scale",
    "maps_grid",
    "overlay_map",
    "png",
    "slider",
    "style",
    "table",
    "toggle",
    "use_style",
]
