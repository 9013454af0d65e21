"""Who begat whom: the systems of the course, and what each took from the ones before it, on one page.

An arrow is drawn where a lesson shows the relation. A solid one means that a piece of the earlier system is at work in
the later one; a dashed one, that the later system answers a limit of the earlier.
"""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from course_lib.errors import unknown_name
from course_lib.show import style
from course_lib.show.diagrams import Box, Diagram

LINES = {  # the lines of descent and their colours
    "trees of parts": style.GREEN,
    "regression": style.PINK,
    "heatmaps": style.BLUE,
    "iterative refinement": style.SKY,
    "high resolution": style.INK,
    "bottom-up": style.ORANGE,
    "top-down": style.VERMILION,
    "from outside": style.GREY,
}


@dataclass(frozen=True)
class System:
    """A system and where it stands on the page."""

    name: str
    year: int
    line: str
    lesson: str  # "" where no lesson is about it
    words: str  # what is new, in two short lines
    place: tuple[float, float]  # column, row


@dataclass(frozen=True)
class Descent:
    """A later system and one before it."""

    before: str
    after: str
    what: str  # what was taken, or what the answer is to
    taken: bool = True  # else the later system takes nothing over: it answers
    bend: float = 0.0  # of its arrow


SYSTEMS = (
    System("Pictorial structures", 1973, "trees of parts", "01", "parts of a body,\nheld by springs", (1, 0)),
    System("Efficient matching", 2005, "trees of parts", "01", "a tree: exact,\nand in linear time", (1, 1)),
    System("Poselets", 2009, "trees of parts", "01", "detectors of whole\npieces of pose", (0, 1.5)),
    System("Poselet conditioned", 2013, "trees of parts", "01", "the picture chooses\nthe springs", (0.5, 2.4)),
    System("DeepPose", 2014, "regression", "02", "one network, from the\npicture to numbers", (3, 3.3)),
    System("Tompson et al.", 2014, "heatmaps", "03", "a map for each joint,\nsprings as filters", (2, 3.3)),
    System("Tompson et al.", 2015, "heatmaps", "03", "coarse maps, then\na second look", (2, 4.3)),
    System("Spatial transformer", 2015, "from outside", "", "a network that moves\nits own picture", (4, 4.3)),
    System("Faster R-CNN", 2015, "from outside", "", "a network that\nproposes boxes", (5, 4.3)),
    System("DeepCut", 2016, "bottom-up", "08", "joints of everybody,\none integer program", (0, 4.3)),
    System("DeeperCut", 2016, "bottom-up", "08", "better pairs,\nsolved in stages", (0, 5.3)),
    System("Pose machines", 2016, "iterative refinement", "04", "stages that read\nthe maps before", (1, 5.3)),
    System("Stacked hourglass", 2016, "iterative refinement", "06", "down and up again,\nseveral times", (2, 5.3)),
    System("Error feedback", 2016, "iterative refinement", "05", "draws its answer,\nlooks, corrects it", (3, 5.3)),
    System("Part affinity fields", 2017, "bottom-up", "07", "arrows along limbs\nsay who owns what", (0, 6.3)),
    System("Adversarial PoseNet", 2017, "heatmaps", "12", "two judges of what\na body can be", (1, 6.3)),
    System("AlphaPose", 2017, "top-down", "09", "bears with wrong\nand doubled boxes", (3, 6.3)),
    System("G-RMI", 2017, "top-down", "10", "discs and arrows\nvote for a place", (4, 6.3)),
    System("Mask R-CNN", 2017, "top-down", "10", "boxes and joints\nfrom one trunk", (5, 6.3)),
    System("Simple baseline", 2018, "heatmaps", "11", "a classifier and\nthree layers up", (2, 7.3)),
    System("HRNet", 2019, "high resolution", "11", "never gives up\nits fine maps", (2, 8.3)),
)
DESCENTS = (
    Descent("Pictorial structures 1973", "Efficient matching 2005", "parts and springs"),
    Descent("Efficient matching 2005", "Poselet conditioned 2013", "the tree and its inference"),
    Descent("Poselets 2009", "Poselet conditioned 2013", "the detectors"),
    Descent("Efficient matching 2005", "Tompson et al. 2014", "a graphical model of where joints lie"),
    Descent("Tompson et al. 2014", "Tompson et al. 2015", "the coarse maps"),
    Descent("DeepPose 2014", "Tompson et al. 2015", "numbers cannot hold two places open", taken=False),
    Descent("DeepPose 2014", "Error feedback 2016", "nobody looks at the answer", taken=False),
    Descent("Tompson et al. 2015", "Pose machines 2016", "which joint lies where, written down by hand", taken=False),
    Descent("Tompson et al. 2015", "Stacked hourglass 2016", "pyramids and crops to join near and far", taken=False),
    Descent("Poselet conditioned 2013", "DeepCut 2016", "one person, and only a tree", taken=False),
    Descent("DeepCut 2016", "DeeperCut 2016", "the program"),
    Descent("DeeperCut 2016", "Part affinity fields 2017", "minutes for a picture", taken=False),
    Descent("Pose machines 2016", "Part affinity fields 2017", "stages, with a loss at each"),
    Descent("Stacked hourglass 2016", "Adversarial PoseNet 2017", "the network that makes maps"),
    Descent("Stacked hourglass 2016", "AlphaPose 2017", "the network for one person"),
    Descent("Spatial transformer 2015", "AlphaPose 2017", "the transformer before it", bend=-0.12),
    Descent("Faster R-CNN 2015", "G-RMI 2017", "the detector"),
    Descent("Faster R-CNN 2015", "Mask R-CNN 2017", "boxes and features cut by them"),
    Descent("Stacked hourglass 2016", "Simple baseline 2018", "stages and copies that go around", taken=False),
    Descent("Simple baseline 2018", "HRNet 2019", "its pipeline: boxes, crops, targets"),
)

_ACROSS, _DOWN = 2.0, 1.42  # between columns and between rows, in the units of the drawing
_WIDE, _HIGH = 1.78, 0.94


def find(name_and_year: str) -> System:
    """A system by its name and year, as descents have them."""
    for system in SYSTEMS:
        if f"{system.name} {system.year}" == name_and_year:
            return system
    raise unknown_name("system", name_and_year, [f"{one.name} {one.year}" for one in SYSTEMS])


def rows(lesson: str | None = None) -> list[dict[str, str]]:
    """The arrows in words, for a table: all of them, or those that end at a lesson's systems."""
    return [
        {
            "system": f"{find(one.after).name} ({find(one.after).year})",
            "lesson": find(one.after).lesson,
            "from": f"{find(one.before).name} ({find(one.before).year})",
            "took over" if one.taken else "answers": one.what,
        }
        for one in DESCENTS
        if lesson in (None, find(one.after).lesson)
    ]


def draw() -> Figure:
    """All systems, time running down, with an arrow from each one to those that came of it."""
    figure, ax = plt.subplots(figsize=(9.0, 9.6))
    diagram = Diagram(ax)
    boxes = {f"{system.name} {system.year}": _draw_system(diagram, system) for system in SYSTEMS}
    for one in DESCENTS:
        colour = LINES[find(one.before).line]
        diagram.arrow(boxes[one.before], boxes[one.after], dashed=not one.taken, colour=colour, bend=one.bend)
    _draw_legend(diagram)
    return figure


def _draw_system(diagram: Diagram, system: System) -> Box:
    x, y = system.place[0] * _ACROSS, -system.place[1] * _DOWN
    box = diagram.box(x, y, width=_WIDE, height=_HIGH, colour=LINES[system.line])
    over = {"ha": "center", "zorder": 3}
    diagram.ax.text(x, y + 0.41, system.name, va="top", fontsize=7.3, fontweight="bold", **over)
    where = f"{system.year} · lesson {system.lesson}" if system.lesson else str(system.year)
    diagram.ax.text(x, y + 0.17, where, va="top", fontsize=6.6, color="#555555", **over)
    diagram.ax.text(x, y - 0.42, system.words, va="bottom", fontsize=7.0, linespacing=1.15, **over)
    return box


def _draw_legend(diagram: Diagram) -> None:
    left, top = 2.65 * _ACROSS, 0.3
    for number, (line, colour) in enumerate(LINES.items()):
        x, y = left + 2.6 * (number % 2), top - 0.36 * (number // 2)
        diagram.box(x, y, width=0.34, height=0.24, colour=colour)
        diagram.ax.text(x + 0.3, y, line, va="center", fontsize=8.0)
    for number, (words, dashed) in enumerate((("a piece of it lives on", False), ("an answer to it", True))):
        x, y = left + 2.6 * number, top - 0.36 * (len(LINES) // 2) - 0.15
        diagram.arrow((x - 0.25, y), (x + 0.4, y), dashed=dashed)
        diagram.ax.text(x + 0.5, y, words, va="center", fontsize=8.0)
