"""Every number the field reports, each with its conventions as named arguments and the official ones as
defaults.

    single_person(poses, people)    one pose a person: PCK, PCKh, PCP, AUC, mean error
    keypoint_ap(poses, scenes)      any number of people a picture: COCO's ten numbers
    pckh_map(poses, scenes)         the same pictures by DeepCut's and PoseTrack's rules
    box_ap(found, scenes)           COCO's numbers for detected boxes
    crowd_index(people)             how much people stand in each other's boxes
    diagnose(poses, scenes)         what kind of error every joint is
    reliability(scores, right)      what a confidence is worth

Rules that hold everywhere (what is labelled, what a missing estimate is, that nothing is ever NaN) stand in
`marks.py`.
"""

from course_lib.metrics.ap import (
    COCO_AREAS,
    COCO_MAX_ESTIMATES,
    COCO_RECALLS,
    COCO_THRESHOLDS,
    Estimates,
    KeypointScores,
    Matches,
    Truths,
    evaluate,
    match,
)
from course_lib.metrics.box_ap import BOX_AREAS, box_ap, coco_box_ap, match_boxes
from course_lib.metrics.calibration import (
    Isotonic,
    Reliability,
    Temperature,
    area_under_risk,
    fit_isotonic,
    fit_temperature,
    reliability,
    risk_coverage,
)
from course_lib.metrics.crowd import JointAnswers, all_point_ap, joint_groups, pckh_answers, pckh_map
from course_lib.metrics.crowding import (
    CROWD_EASY,
    CROWD_HARD,
    CROWD_LEVELS,
    crowd_index,
    crowd_level,
    crowd_ratios,
)
from course_lib.metrics.keypoint_ap import coco_keypoint_ap, evaluate_keypoints, keypoint_ap, match_keypoints
from course_lib.metrics.marks import Marks, distances, within
from course_lib.metrics.oks import oks, oks_matrix, oks_radius
from course_lib.metrics.pck import (
    auc,
    columns,
    head_size,
    normalised_errors,
    pck,
    pck_curve,
    pckh,
    pdj,
    reference_size,
)
from course_lib.metrics.pcp import pcp, stick_names, sticks
from course_lib.metrics.summary import single_person
from course_lib.metrics.taxonomy import (
    CLASSES,
    Diagnosis,
    corrected,
    diagnose,
    joint_classes,
    keypoint_similarity,
    rescored,
)
from course_lib.metrics.three_d import (
    align_similarity,
    auc3d,
    joint_errors_3d,
    mpjpe,
    mpjve,
    n_mpjpe,
    pa_mpjpe,
    pck3d,
)
from course_lib.metrics.tolerance import tolerance
from course_lib.metrics.tracking import Frame, Tracking, mota

__all__ = [
    "BOX_AREAS",
    "CLASSES",
    "COCO_AREAS",
    "COCO_MAX_ESTIMATES",
    "COCO_RECALLS",
    "COCO_THRESHOLDS",
    "CROWD_EASY",
    "CROWD_HARD",
    "CROWD_LEVELS",
    "Diagnosis",
    "Estimates",
    "Frame",
    "Isotonic",
    "JointAnswers",
    "KeypointScores",
    "Marks",
    "Matches",
    "Reliability",
    "Temperature",
    "Tracking",
    "Truths",
    "align_similarity",
    "all_point_ap",
    "area_under_risk",
    "auc",
    "auc3d",
    "box_ap",
    "coco_box_ap",
    "coco_keypoint_ap",
    "columns",
    "corrected",
    "crowd_index",
    "crowd_level",
    "crowd_ratios",
    "diagnose",
    "distances",
    "evaluate",
    "evaluate_keypoints",
    "fit_isotonic",
    "fit_temperature",
    "head_size",
    "joint_classes",
    "joint_errors_3d",
    "joint_groups",
    "keypoint_ap",
    "keypoint_similarity",
    "match",
    "match_boxes",
    "match_keypoints",
    "mota",
    "mpjpe",
    "mpjve",
    "n_mpjpe",
    "normalised_errors",
    "oks",
    "oks_matrix",
    "oks_radius",
    "pa_mpjpe",
    "pck",
    "pck3d",
    "pck_curve",
    "pckh",
    "pckh_answers",
    "pckh_map",
    "pcp",
    "pdj",
    "reference_size",
    "reliability",
    "rescored",
    "risk_coverage",
    "single_person",
    "stick_names",
    "sticks",
    "tolerance",
    "within",
]
