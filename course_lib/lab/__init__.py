"""The pose lab: every system of the course on any picture, seen from inside, and joints that one can drag.

    from course_lib import lab
    lab.pose_lab()      # choose a picture and a system, or two; look inside; see the scores
    lab.drag_lab()      # drag a joint and watch the metrics

This room stands on top of all others: it shows models, pictures and metrics together.
"""

from course_lib.lab.dragging import DragLab, drag_lab
from course_lib.lab.widget import PoseLab, pose_lab

__all__ = ["DragLab", "PoseLab", "drag_lab", "pose_lab"]
