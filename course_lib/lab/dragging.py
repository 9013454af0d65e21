"""A drawn person whose estimated joints can be dragged, while every metric follows.

    lab.drag_lab()                        # drag the rings; or go to one with the tab key and use the arrow keys
    lab.drag_lab(number=7, joint="left_ankle", pose=pose)

The page shows a still figure of the start, whatever shows it; where a kernel runs and the page can run anywidget, the
figure that can be dragged takes its place.
"""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from PIL import Image
from torch import Tensor

from course_lib.errors import CourseError
from course_lib.lab import pictures, readings
from course_lib.lab.front_end import drag_figure
from course_lib.pose import Person, Pose
from course_lib.show import limbs, people, style
from course_lib.show.tables import caption
from course_lib.show.widgets import Still

SPREAD = 0.05  # of the joints at the start: a standard deviation, in torsos
SLIP = (0.3, 0.1)  # by how much the first joint lies off at the start, in torsos
NUMBER, JOINT = 7, "right_wrist"


class DragLab:
    """The widget behind `drag_lab`: its `figure` on the page, and the `reading` of where its joints are now."""

    def __init__(self, person: Person, image: Tensor, joints: Tensor, joint: int) -> None:
        _check(person, joints)
        self.person, self.image = person, image
        self.start = _tenths(joints)
        self.first = _png(self._draw(joint))
        self.joint = joint
        self.figure = self._figure()
        self._still = Still()

    @property
    def reading(self) -> Any:
        """What the metrics say now: rows about the joint that was touched last, and about the person."""
        joints = self.start if self.figure is None else self.figure.joints
        joint = self.joint if self.figure is None else self.figure.active
        return readings.read(self.person, torch.tensor(joints), joint)

    def move(self, joint: str, x: float, y: float) -> Any:
        """Puts a joint somewhere, as the mouse would; answers with the new reading."""
        if self.figure is None:
            raise CourseError("nothing can be moved without anywidget; install it by `pip install anywidget`")
        number = self.person.skeleton.index(joint)
        joints = [list(place) for place in self.figure.joints]
        joints[number] = [float(x), float(y)]
        self.figure.joints, self.figure.active = joints, number
        self.figure.asked += 1
        return self.reading

    def display(self) -> None:
        """Shows the still figure, then the one that can be dragged. Outside Jupyter it shows nothing."""
        name = self.person.skeleton.joints[self.joint].replace("_", " ")
        state = f"the start, with the {name} out of place"
        if self.figure is None:
            self._still.display(self.first, state, None)
            caption("To drag the joints, install anywidget (pip install anywidget) and run this cell again.")
            return
        import ipywidgets

        self._still.display(self.first, state, ipywidgets.VBox([self.figure]))

    def _ipython_display_(self) -> None:
        """`drag_lab` has displayed it already; as a cell's last line it shows nothing more."""

    # --- the page -----------------------------------------------------------------------------------------------------

    def _figure(self) -> Any:
        try:
            figure = drag_figure()
        except ImportError:
            return None
        skeleton = self.person.skeleton
        height, width = self.image.shape[-2:]
        made = figure(
            picture=_data_url(self.image),
            size=[width, height],
            names=[name.replace("_", " ") for name in skeleton.joints],
            colours=[limbs.joint_colour(skeleton, k) for k in range(len(skeleton))],
            limbs=[[*limb, limbs.limb_colour(skeleton, i)] for i, limb in enumerate(skeleton.limbs)],
            truth=_tenths(self.person.joints),
            start=self.start,
            joints=self.start,
            active=self.joint,
        )
        self._measure(made)
        made.observe(lambda change: self._measure(change["owner"]), names="asked")
        return made

    def _measure(self, figure: Any) -> None:
        """Answers what the page asks; what goes wrong is told on the page."""
        try:
            joints = torch.tensor(figure.joints, dtype=torch.float64)
            _check(self.person, joints)
            joint = int(figure.active)
            reading = readings.read(self.person, joints, joint)
            figure.report = readings.as_html(reading, figure.names[joint])
            figure.circles = [list(one) for one in readings.circles(self.person, joint)]
        except Exception as error:
            figure.report = f'<p class="note">Not measured. {html.escape(f"{type(error).__name__}: {error}")}</p>'
        figure.answered = figure.asked

    # --- the still figure ---------------------------------------------------------------------------------------------

    def _draw(self, joint: int) -> Figure:
        joints, skeleton = torch.tensor(self.start), self.person.skeleton
        figure, (left, right) = plt.subplots(1, 2, figsize=(0.92 * style.PAGE, 4.0), width_ratios=(1, 1))
        people.draw_image(left, self.image)
        people.draw_pose(left, self.person, colour=style.INK, markers=False, width=1.4)
        people.draw_pose(left, joints, skeleton, width=2.4)
        for words, colour, radius in readings.circles(self.person, joint):
            centre = tuple(self.person.joints[joint].tolist())
            left.add_patch(Circle(centre, radius, fill=False, edgecolor=colour, linewidth=2, label=words, zorder=5))
        left.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), fontsize=8, ncols=1)
        right.axis("off")
        reading = readings.read(self.person, joints, joint)
        lines = _lines(skeleton.joints[joint].replace("_", " "), reading.joint)
        lines += _lines("the whole person", reading.person)
        right.text(0, 1, "\n".join(lines), va="top", family="monospace", fontsize=8.5, transform=right.transAxes)
        return figure


def drag_lab(number: int = NUMBER, joint: str = JOINT, pose: Pose | None = None) -> DragLab:
    """Displays a drawn person, number so and so of the pose lab's, with joints to drag.

    pose: the estimate to begin with, in that picture's pixels; by default one that is nearly right, but for `joint`.
    """
    given = pictures.subject(pictures.ONE, number)
    person = given.scene.people[0]
    index = person.skeleton.index(joint)
    joints = _nearly(person, index) if pose is None else pose.joints
    lab = DragLab(person, given.scene.image, joints, index)
    lab.display()
    return lab


def _nearly(person: Person, joint: int) -> Tensor:
    """The true joints (K, 2), each a little off and one a lot."""
    a, b = (person.joints[person.skeleton.index(name)] for name in person.skeleton.torso)
    torso = float((a - b).norm())
    off = torch.randn(person.joints.shape, generator=torch.Generator().manual_seed(0)) * SPREAD
    off[joint] = torch.tensor(SLIP)
    return person.joints + off * torso


def _check(person: Person, joints: Tensor) -> None:
    if person.area is None:
        raise CourseError("OKS needs the person's area, and this person has none")
    wanted = (len(person.skeleton), 2)
    if tuple(joints.shape) != wanted or not bool(joints.isfinite().all()):
        raise CourseError(f"the joints to drag must be finite and of shape {wanted}; got {tuple(joints.shape)}")


def _tenths(joints: Tensor) -> list[list[float]]:
    """Rounded, so that the notebook's file does not hang on the last digits of a sum."""
    return [[round(float(x), 1), round(float(y), 1)] for x, y in joints]


def _data_url(image: Tensor) -> str:
    raw = io.BytesIO()
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(raw, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(raw.getvalue()).decode()}"


def _png(figure: Figure) -> bytes:
    try:
        return style.png(figure)
    finally:
        plt.close(figure)


def _lines(title: str, rows: Any) -> list[str]:
    marks = {True: "right", False: "WRONG", None: ""}
    return [title.upper(), *(f"{row.name:24}{row.value:>24}  {marks[row.right]}".rstrip() for row in rows), ""]
