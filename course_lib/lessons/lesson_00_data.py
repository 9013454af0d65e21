"""Lesson 00: the public data sets, what is often said about them, and the map of the course, all as data."""

from __future__ import annotations

from dataclasses import dataclass

from course_lib.datasets import cards

# --- data sets --------------------------------------------------------------------------------------------------------

DATA_SETS = cards.ALL

# What slides and posts about these sets often say, and what their own pages and files say
CLAIMS = (
    {
        "often read": "LSP-extended shows 11 sports",
        "verdict": "no",
        "what the sources say": "8 activity tags in LSP, 3 of them again in LSP-extended; 8 + 3 counts three twice",
    },
    {
        "often read": "MPII has 800 activities, or 491",
        "verdict": "no",
        "what the sources say": "410; they were drawn from a list of over 800. 491 could not be confirmed",
    },
    {
        "often read": "MPII has 26,000 pictures",
        "verdict": "no",
        "what the sources say": "24,984 in the release, with over 40,000 people",
    },
    {
        "often read": "Poselet is a data set of 153,000 people",
        "verdict": "no",
        "what the sources say": "153,615 are PoseTrack's poses; poselets are a method",
    },
    {
        "often read": "COCO has 250,000 pictures of people",
        "verdict": "no",
        "what the sources say": "250,000 are people with keypoints; 149,813 of them are in train2017, 6,352 in val2017",
    },
    {
        "often read": "J-HMDB has 21 actions",
        "verdict": "yes",
        "what the sources say": "21 actions in 928 clips (its 31,838 frames could not be confirmed)",
    },
)

# --- the course -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stop:
    """A lesson on the map of the course."""

    number: str
    short: str
    years: str
    place: tuple[float, float]
    problem: str  # what was wrong before
    answer: str


LESSONS = (
    Stop("00", "Start here", "this lesson", (0, 4.8), "", "words, coordinates, data"),
    Stop(
        "01",
        "Pictorial structures",
        "1973, 2005, 2013",
        (0, 1.6),
        "too many arrangements to try them all",
        "a tree of parts held by springs, solved exactly",
    ),
    Stop(
        "02",
        "DeepPose",
        "2014",
        (3.5, 4.8),
        "parts look alike, and trees see only neighbours",
        "one network, from the whole picture to 2K numbers",
    ),
    Stop(
        "03",
        "Heatmaps",
        "2014, 2015",
        (3.5, 1.6),
        "a number cannot say 'here or there'",
        "one map a joint; the peak is the answer",
    ),
    Stop(
        "04",
        "Pose machines",
        "2016",
        (7.0, 1.6),
        "one look sees too little around a joint",
        "stages that read the maps before them",
    ),
    Stop(
        "05",
        "Error feedback",
        "2016",
        (7.0, 4.8),
        "one shot at the answer is not enough",
        "small corrections, again and again",
    ),
    Stop(
        "06",
        "Stacked hourglass",
        "2016",
        (10.5, 1.6),
        "detail and context live at different sizes",
        "down and up again, several times",
    ),
    Stop(
        "07",
        "Part affinity fields",
        "2017",
        (10.3, -1.6),
        "grouping took minutes to hours",
        "a field that says which way each limb points",
    ),
    Stop(
        "08",
        "DeepCut",
        "2016",
        (7.0, -1.6),
        "who owns which joint?",
        "one integer program for all joints and people",
    ),
    Stop(
        "09",
        "AlphaPose",
        "2017",
        (10.75, 0),
        "boxes are shifted, or found twice",
        "straighten the crop, drop double poses",
    ),
    Stop(
        "10",
        "G-RMI, Mask R-CNN",
        "2017",
        (14.0, 0),
        "crowds in the wild",
        "a detector first, then joints inside each box",
    ),
    Stop(
        "11",
        "Baselines, HRNet",
        "2018, 2019",
        (14.0, 1.6),
        "which of the tricks matter?",
        "as simple as can be; then never give up resolution",
    ),
    Stop(
        "12",
        "Adversarial PoseNet",
        "2017",
        (14.0, 3.2),
        "maps allow bodies that cannot be",
        "a critic that knows what bodies look like",
    ),
    Stop("13", "Metrics", "for all of them", (3.5, -3.2), "better, but by what measure?", "PCP, PCK, OKS and AP"),
    Stop("14", "Open questions", "today", (14.0, -3.2), "what is still not solved?", "experiments of your own"),
)
ARROWS = (
    ("00", "01"),
    ("01", "02"),
    ("01", "03"),
    ("02", "03"),
    ("02", "05"),
    ("03", "04"),
    ("03", "05"),
    ("03", "08"),
)
ARROWS += (
    ("04", "06"),
    ("04", "07"),
    ("06", "09"),
    ("06", "11"),
    ("06", "12"),
    ("08", "07"),
    ("10", "11"),
    ("13", "14"),
)
LANES = (
    (4.8, "numbers\nas the answer"),
    (1.6, "maps\nas the answer"),
    (0.0, "many people,\nboxes first\n(top-down)"),
    (-1.6, "many people,\njoints first\n(bottom-up)"),
    (-3.2, "for all"),
)
