"""What the papers say of the systems on the leaderboard: the idea in five words, and one score with its benchmark.

Listed are only scores that were read in the paper, in its authors' code or pages, or in a later paper's table that says
whose they are. They were reached by networks of the papers' size on photographs, and belong beside ours, never among
them.
"""

from __future__ import annotations

from typing import NamedTuple


class Score(NamedTuple):
    """A published score, as it is printed there."""

    value: str
    metric: str
    benchmark: str
    where: str  # in which table it can be looked up

    def __str__(self) -> str:
        return f"{self.value} {self.metric} {self.benchmark}"


class Paper(NamedTuple):
    """A system's paper."""

    idea: str  # in five words
    score: Score | None = None  # None: none was found in a source that could be read
    name: str = ""  # where the lesson's own is not enough beside all the others


def _limbs(value: str, where: str) -> Score:
    return Score(value, "PCP", "LSP limbs", where)


def _mpii(value: str, where: str) -> Score:
    return Score(value, "PCKh", "MPII", where)


def _coco(value: str, where: str) -> Score:
    return Score(value, "AP", "COCO test-dev", where)


PAPERS = {
    "pictorial_structures": Paper("Parts on springs, inferred exactly"),
    "poselet_conditioned": Paper(
        "Poselets move the tree's springs", _limbs("0.56", "in DeepPose's Table 1, its protocol differs"), "Poselets"
    ),
    "deeppose_course": Paper("Coordinates regressed in a cascade", _limbs("0.61", "Table 1, third stage")),
    "tompson_course": Paper(
        "Heatmaps first, then finer patches", _mpii("82.0", "as the hourglass paper lists it, test set")
    ),
    "cpm_course": Paper("Stages read each other's beliefs", _mpii("88.5", "test set, LSP added in training")),
    "ief_course": Paper(
        "Corrections predicted and fed back", _mpii("81.3", "as the hourglass paper lists it, test set")
    ),
    "hourglass_course": Paper("Down and up, supervised repeatedly", _mpii("90.9", "test set, eight stacks")),
    "paf_course": Paper("Vector fields pair up joints", _coco("61.8", "Table 3 of the first version")),
    "deepcut_course": Paper(
        "Joint ownership as integer program",
        Score("54.1", "mAP", "MPII crowds", "288 pictures, as OpenPose's paper lists it, Table 1"),
    ),
    "alphapose_course": Paper("Estimate well in bad boxes", _coco("61.8", "Table 2")),
    "grmi_course": Paper("Joints found by offset votes", _coco("64.9", "trained on COCO alone")),
    "mask_rcnn_course": Paper("Boxes and joints, one network", _coco("63.1", "Table 4")),
    "pose_resnet_course": Paper("Just a backbone, then upsampling", _coco("73.7", "ResNet-152 at 384 x 288")),
    "hrnet_course": Paper("High resolution kept all along", _coco("75.5", "Table 2, W48 at 384 x 288")),
    "adversarial_course": Paper(
        "Two judges reject impossible poses", Score("93.1", "PCK@0.2", "LSP", "Table 1 of the second version")
    ),
}
