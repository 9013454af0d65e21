"""One person found several times: which boxes and poses to keep. Three rules, all of them greedy.

The best of what is left is kept, whatever is too much like it goes, and so on until nothing is left.

    box_nms    IoU of boxes > threshold
    oks_nms    OKS of poses > threshold. George Papandreou et al., "Towards Accurate Multi-person Pose Estimation in the
               Wild" (G-RMI), CVPR 2017 (arXiv 1701.01779): threshold 0.5 after boxes with IoU 0.6
    pose_nms   d of poses >= eta. Hao-Shu Fang, Shuqin Xie, Yu-Wing Tai, Cewu Lu, "RMPE: Regional Multi-person Pose
               Estimation" (AlphaPose), ICCV 2017 (arXiv 1612.00137)

The last measures with four numbers. i is the pose that is kept, k_i^n its joint n, c_i^n that joint's confidence:

    K_sim(i, j) = sum over n with k_j^n in B(k_i^n) of  tanh(c_i^n / sigma1) tanh(c_j^n / sigma1)
    H_sim(i, j) = sum over n of  exp( -|k_i^n - k_j^n|^2 / sigma2 )
    d(i, j)     = K_sim + lambda H_sim                           pose j goes if d(i, j) >= eta

B(k_i^n) has its middle at k_i^n and sides a tenth as long as those of the box of pose i, so K_sim is not symmetric:
it is about the number of joints that coincide and are sure in both. THE INEQUALITY: the paper's equation 7 removes
pose j if d <= eta. That is a slip: d grows with likeness, so as printed the rule would keep the copies and remove
everybody else. Here it is d >= eta, as in the authors' code, which otherwise goes its own ways:

|                     | paper, and here           | authors' later code                          |
|---------------------|---------------------------|----------------------------------------------|
| joints coincide     | box of a tenth            | closer than 1 px                             |
| H_sim               | squared distance          | plain distance                               |
| a pose goes also if | -                         | 5 of its joints are near, 7 px at the most   |
| the pose that stays | as it was                 | merged with those that go, scored anew       |

Poses are ranked by `Pose.score`; of equal scores the first in the list counts as better. A joint that is not finite is
missing. N poses, K joints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_lib.errors import CourseError, unknown_name
from course_lib.geometry import box_area, box_iou, box_of
from course_lib.pose import Pose
from course_lib.skeletons import Skeleton

# --- boxes and OKS ----------------------------------------------------------------------------------------------------


def box_nms(boxes: Tensor, scores: Tensor, threshold: float = 0.6) -> Tensor:
    """Indices (M,) of the boxes to keep, the best first, of boxes (N, 4) with scores (N,).

    A box goes if its IoU with a better one that stays is above the threshold. Boxes without area meet nobody.
    """
    boxes, scores = _exact(boxes), _exact(scores)
    fits = scores.ndim == 1 and boxes.shape == (len(scores), 4)
    if not fits or not bool(boxes.isfinite().all()) or bool(scores.isnan().any()):
        raise CourseError(
            "box_nms needs finite boxes (N, 4) and scores (N,) that are numbers; got "
            f"{tuple(boxes.shape)} and {tuple(scores.shape)}"
        )
    _check_threshold(threshold)

    def meets(i: int, rest: np.ndarray) -> np.ndarray:
        return (box_iou(boxes[i : i + 1], boxes[rest])[0] > threshold).numpy()

    return torch.tensor(_greedy(scores.numpy(), meets), dtype=torch.long)


# whose area the OKS of two estimates is measured with: of the kept pose's and the other's
AREAS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": lambda kept, other: (kept + other) / 2,
    "kept": lambda kept, other: kept.expand_as(other),
    "smaller": torch.minimum,
    "larger": torch.maximum,
}
SIZES = ("joints", "box")  # the box that a pose's own area is taken from


def oks_nms(
    poses: Sequence[Pose],
    threshold: float = 0.5,
    area: str = "mean",
    size: str = "joints",
    sigmas: str | Skeleton | Sequence[float] | Tensor | None = None,
    areas: Tensor | None = None,
) -> list[Pose]:
    """The poses to keep, the best first: a pose goes if its OKS with a better one that stays is above the threshold.

    OKS wants a true person, and here are two estimates. The kept one stands for the truth: only joints that it has
    count, and one that the other lacks adds 0. An estimate has no segment either, so its area is 0.53 of a box's, as
    for people without a segment elsewhere in the course. Two decisions are left:

    size: "joints" is the tight box of the finite joints; "box" is `Pose.box`, in which the person was looked for.
        The first is there for every model, and no detector's margin and no box of a whole picture enters it. It is
        zero for joints along a line upright or level, where only an exact copy is alike.
    area: "mean" of the two areas, with which the better of the two need not be known; "kept", "smaller", "larger".
        "kept" lets a small pose that is ranked below a large one go more easily than the other way round.
    sigmas: the skeleton's own unless given.  areas: (N,) of the poses, instead of what `size` says.
    """
    # not above: models may import this file, and models must load without the metrics
    from course_lib.metrics.keypoint_ap import BOX_TO_AREA
    from course_lib.metrics.oks import oks

    if area not in AREAS:
        raise unknown_name("rule for the area", area, AREAS)
    if size not in SIZES:
        raise unknown_name("box of a pose", size, SIZES)
    _check_threshold(threshold)
    if not poses:
        return []
    people = People.of(poses)
    joints = torch.from_numpy(people.joints)
    there = joints.isfinite().all(-1)
    if areas is None:
        if size == "box" and any(pose.box is None for pose in poses):
            raise CourseError("a pose has no box to take its area from; use size='joints'")
        boxes = box_of(joints, there) if size == "joints" else torch.stack([_exact(pose.box) for pose in poses])
        areas = BOX_TO_AREA * box_area(boxes)
    areas, sigmas = _exact(areas), poses[0].skeleton if sigmas is None else sigmas

    def meets(i: int, rest: np.ndarray) -> np.ndarray:
        alike = oks(joints[rest], joints[i], there[i], AREAS[area](areas[i], areas[rest]), sigmas)
        return (alike > threshold).numpy()

    return [poses[i] for i in _greedy(people.score, meets)]


# --- parametric pose NMS ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NmsParameters:
    """The four numbers of `pose_nms`. d is at most K tanh(c / sigma1)^2 + weight K, for two copies of a pose.

    The defaults stand in the authors' later code, where they belong to other measures (see the table above) and to
    its pictures: sigma2 is in pixels, squared ones here. Numbers for one's own poses come from
    `suppression_search.learn_parameters`.
    """

    sigma1: float = 1.0  # confidence at which tanh has bent
    sigma2: float = 2.65  # px^2: joints sqrt(sigma2) apart add 1/e to H_sim
    weight: float = 1.7  # lambda, of H_sim against K_sim
    threshold: float = 22.48  # eta

    def __post_init__(self) -> None:
        positive = (self.sigma1, self.sigma2, self.threshold)
        if not all(math.isfinite(value) and value > 0 for value in positive) or not 0 <= self.weight < math.inf:
            raise CourseError(
                "pose NMS needs finite sigma1, sigma2 and threshold above 0 and a weight of 0 or more; got "
                f"{', '.join(f'{name}={getattr(self, name):g}' for name in NAMES)}"
            )


NAMES = tuple(field.name for field in fields(NmsParameters))


def similarity(poses: Sequence[Pose], parameters: NmsParameters | None = None, fraction: float = 0.1) -> Tensor:
    """d(i, j) of all pairs, (N, N), row i with the box of pose i. Options as in `pose_nms`."""
    parameters = parameters or NmsParameters()
    people = People.of(poses, fraction)
    i, j = np.arange(len(poses))[:, None], np.arange(len(poses))[None]
    return torch.from_numpy(people.likeness(i, j, parameters))


def pose_nms(poses: Sequence[Pose], parameters: NmsParameters | None = None, fraction: float = 0.1) -> list[Pose]:
    """The poses to keep, the best first: a pose goes if d with a better one that stays is at least the threshold eta.

    fraction: sides of the box around each joint, in sides of the kept pose's `box`; without one, of the tight box of
        its finite joints. The border belongs to the box, so where it has no extent equal joints still coincide.
    A joint that is missing in either pose adds nothing, and a confidence below 0 counts as 0.
    """
    parameters = parameters or NmsParameters()
    people = People.of(poses, fraction)

    def meets(i: int, rest: np.ndarray) -> np.ndarray:
        return people.likeness(i, rest, parameters) >= parameters.threshold

    return [poses[i] for i in _greedy(people.score, meets)]


# --- what the rules share ---------------------------------------------------------------------------------------------


class People(NamedTuple):
    """Poses as arrays: joints (N, K, 2), confidences (N, K), half the sides (N, 2) of B(k), pose scores (N,)."""

    joints: np.ndarray
    confidences: np.ndarray
    half: np.ndarray
    score: np.ndarray

    @classmethod
    def of(cls, poses: Sequence[Pose], fraction: float = 0.1) -> People:
        skeletons = list(dict.fromkeys(pose.skeleton for pose in poses))
        if len(skeletons) > 1:
            raise CourseError(f"poses can be compared if they have one skeleton; got {', '.join(map(str, skeletons))}")
        if not (math.isfinite(fraction) and fraction >= 0):
            raise CourseError(f"the box around a joint is a fraction of the pose's box, 0 or more; got {fraction}")
        count = len(skeletons[0]) if poses else 1  # any, so that arrays of nobody have a shape
        for pose in poses:
            shapes = [tuple(part.shape) for part in (pose.joints, pose.scores, pose.box) if part is not None]
            if shapes != [(count, 2), (count,), (4,)][: len(shapes)]:
                raise CourseError(
                    f"a pose needs joints ({count}, 2), scores ({count},) and a box (4,) or none; got "
                    + ", ".join(map(str, shapes))
                )
        joints = torch.cat([torch.zeros(0, count, 2).double(), *(_exact(pose.joints)[None] for pose in poses)])
        scores = torch.cat([torch.zeros(0, count).double(), *(_exact(pose.scores)[None] for pose in poses)])
        there = joints.isfinite().all(-1)
        if bool(scores[there].isnan().any()):
            raise CourseError("a joint that was found has a score that is not a number")
        boxes = box_of(joints, there)
        for i, pose in enumerate(poses):
            if pose.box is not None:
                boxes[i] = _exact(pose.box)
        if not bool(boxes.isfinite().all()):
            raise CourseError("a pose has a box that is not finite")
        half = fraction / 2 * (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
        joints = torch.where(there[..., None], joints, math.nan)
        ranks = np.array([float(pose.score) for pose in poses], dtype=np.float64)
        if np.isnan(ranks).any():
            raise CourseError("a pose has a score that is not a number and cannot be ranked")
        return cls(joints.numpy(), torch.where(there, scores, 0.0).clamp(min=0).numpy(), half.numpy(), ranks)

    def likeness(self, i: int | np.ndarray, j: np.ndarray, parameters: NmsParameters) -> np.ndarray:
        """d (...) of poses i, which are kept, and j: indices (...) that broadcast."""
        matching = self.soft_matching(i, j, parameters.sigma1)
        return matching + parameters.weight * self.spatial(i, j, parameters.sigma2)

    def soft_matching(self, i: int | np.ndarray, j: np.ndarray, sigma1: float) -> np.ndarray:
        """K_sim (...) of poses i and j, with the boxes of i."""
        sure = np.tanh(self.confidences / sigma1)
        near = (np.abs(self.joints[i] - self.joints[j]) <= self.half[i][..., None, :]).all(-1)  # never where NaN
        return (sure[i] * sure[j] * near).sum(-1)

    def spatial(self, i: int | np.ndarray, j: np.ndarray, sigma2: float) -> np.ndarray:
        """H_sim (...) of poses i and j."""
        squared = ((self.joints[i] - self.joints[j]) ** 2).sum(-1)
        return np.exp(-np.where(np.isnan(squared), math.inf, squared) / sigma2).sum(-1)


def _greedy(scores: np.ndarray, meets: Callable[[int, np.ndarray], np.ndarray]) -> list[int]:
    """Indices to keep, the best first. meets(i, rest): which of the others are too much like i, bool (len(rest),)."""
    rest, kept = np.argsort(-scores, kind="stable"), []
    while len(rest):
        kept.append(int(rest[0]))
        rest = rest[1:]
        rest = rest[~meets(kept[-1], rest)]
    return kept


def _exact(values: Tensor) -> Tensor:
    return values.detach().cpu().double()


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold <= 1:
        raise CourseError(f"a likeness lies between 0 and 1, and so must its threshold; got {threshold}")
