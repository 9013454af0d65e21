"""The network before the program: candidates, how likely each is which joint, and what it expects of its neighbours.

Pishchulin et al. 2016 and Insafutdinov et al. 2016, as the package tells. One dense answer for the whole picture:

    parts    p_c at every cell       is this cell on somebody's joint c?       a sigmoid for every class
    offsets  from the cell to that joint                                       location refinement
    others   from that joint to the same person's joint c'                     DeeperCut's, C (C - 1) of them

Peaks of the parts, moved by the offsets, are the candidates D. Their p_dc make the unary costs; from where they are,
and from what they expect of each other, regressions (`pairwise.py`) make the pairwise ones; then the program decides.

|                  | DeeperCut's released code            | here                                             |
|------------------|--------------------------------------|--------------------------------------------------|
| network          | ResNet-101 from ImageNet, stride 8   | the hourglass of lesson 06, stride 4             |
| disc of a joint  | 17 px in pictures 340 px wide        | 5 px; people are some 80 px high                 |
| losses           | cross-entropy, 0.05 Huber, 0.05 Huber| the same                                         |
| part loss        | again inside the network             | once                                             |
| same class       | closed form in pixels                | a regression on the distance, learned            |
| candidates       | 20 a part and stage; p < 0.2 is 0    | 20 a part, peaks above 0.2                       |
| their labels     | every class                          | the map's they come from; labels="any"           |
| solver           | branch and cut, in three stages      | local search; decode(..., solver="exact")        |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import checkpoints, geometry
from course_lib.errors import CourseError, unknown_name
from course_lib.models.base import PoseModel
from course_lib.models.deepcut import learning
from course_lib.models.deepcut.learning import Detections, Pairs
from course_lib.models.deepcut.local_search import local_search
from course_lib.models.deepcut.program import Program, log_odds
from course_lib.models.deepcut.solution import Solution, to_poses
from course_lib.models.deepcut.solve import solve
from course_lib.models.deepcut.stages import solve_in_stages
from course_lib.models.hourglass import HourglassTrunk, hourglass_course
from course_lib.pose import Crowd, Pose
from course_lib.skeletons import Skeleton
from course_lib.targets import candidates
from course_lib.targets.discs import discs

SOLVERS = ("local", "exact", "stages")
LABELS = ("own", "any")
FAR = 30.0  # pixels that a neighbour's offset is measured in, for the loss
RARE = -4.0  # the first logit: nearly no cell is on a joint
STAGES = (("shoulder", "neck", "head"), ("elbow", "wrist"))  # words in the names of the first joints and the next


class Dense(NamedTuple):
    """parts (B, C, h, w) logits; offsets (B, C, 2, h, w) and others (B, C, C, 2, h, w) in pixels."""

    parts: Tensor
    offsets: Tensor
    others: Tensor


class DeepCut(PoseModel):
    """Everybody in a picture, by an integer program over what a dense network sees.

    width: channels between the trunk and the answers.  radius: of a joint's disc, in pixels.
    threshold: of a peak, and the p_dc below which a candidate cannot be that class.  most: candidates of one class.
    apart: pixels that two candidates of one class keep, in the maps and after the offsets.
    """

    many, trained_on = True, "crowd"

    def __init__(
        self,
        skeleton: str | Skeleton = "lsp",
        width: int = 64,
        radius: float = 5.0,
        threshold: float = 0.2,
        most: int = 20,
        apart: float = 6.0,
        input_size: tuple[int, int] = (192, 256),
    ) -> None:
        if width < 1 or not radius > 0 or not 0 < threshold < 1 or most < 1 or not apart >= 0:
            raise CourseError(
                "DeepCut needs a width and a number of candidates of at least 1, a positive radius, a threshold "
                f"between 0 and 1 and a distance of at least 0; got {width}, {most}, {radius}, {threshold} and {apart}"
            )
        one_person = hourglass_course(skeleton=skeleton, input_size=input_size)
        super().__init__(skeleton, input_size, one_person.stride)
        self.radius, self.threshold, self.most, self.apart = float(radius), float(threshold), most, float(apart)
        self.trunk = HourglassTrunk(one_person)
        joints = len(self.skeleton)
        self.neck = nn.Sequential(
            nn.Conv2d(self.trunk.channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.answers = nn.Conv2d(width, joints * (3 + 2 * joints), 1)
        nn.init.normal_(self.answers.weight, std=0.001)
        nn.init.zeros_(self.answers.bias)
        nn.init.constant_(self.answers.bias[:joints], RARE)
        self.pairs = Pairs(joints)

    def begin_from(self, file: str | Path) -> dict[str, Any]:
        """Takes a checkpoint of its own, or another network's trunk, and leaves its answers as they are."""
        own = checkpoints.read_header(file)["model"] == self.name
        return super().begin_from(file) if own else self.trunk.begin_from(file)

    def forward(self, images: Tensor) -> Dense:
        """images (B, 3, H, W) in [0, 1]."""
        joints = len(self.skeleton)
        answers = self.answers(self.neck(self.trunk(images)))  # (B, C + 2 C + 2 C C, h, w)
        parts, offsets, others = answers.split([joints, 2 * joints, 2 * joints**2], dim=1)
        return Dense(
            parts,
            offsets.unflatten(1, (joints, 2)) * self.radius,
            others.unflatten(1, (joints, joints, 2)) * FAR,
        )

    def loss(self, outputs: Dense, batch: Crowd) -> dict[str, Tensor]:
        """Cross-entropy of the parts, and 0.05 times Huber's loss of both kinds of offsets, in discs only."""
        truth = discs(batch.joints / self.stride, batch.visible, outputs.parts.shape[-2:], self.radius / self.stride)
        weight = F.avg_pool2d(batch.labelled[:, None].float(), self.stride)
        parts = F.binary_cross_entropy_with_logits(outputs.parts, truth.inside.float(), weight=weight)
        picture, joint, row, column = truth.where
        found = outputs.offsets[picture, joint, :, row, column]  # (n, 2)
        offsets = F.huber_loss(found / self.radius, truth.offset * self.stride / self.radius, reduction="sum")
        person = batch.joints[picture, truth.owner].nan_to_num()  # (n, C, 2)
        away = person - person[torch.arange(len(joint)), joint, None]
        known = (batch.visible[picture, truth.owner] > 0) & (torch.arange(person.shape[1]) != joint[:, None])
        expected = outputs.others[picture, joint, :, :, row, column]
        others = F.huber_loss(expected[known] / FAR, away[known] / FAR, reduction="sum")
        terms = {
            "parts": parts,
            "offsets": 0.05 * offsets / max(2 * len(joint), 1),
            "others": 0.05 * others / max(2 * int(known.sum()), 1),
        }
        return {**terms, "total": sum(terms.values())}

    def settle(self, crowds: Iterable[Crowd]) -> None:
        """Learns the pairwise probabilities from what the trained network sees of pictures with labelled people."""
        was_training = self.training
        self.eval()
        try:
            learning.learn(self, self.pairs, crowds)
        finally:
            self.train(was_training)

    # --- candidates and their program ---

    def candidates(self, outputs: Dense) -> list[Detections]:
        """What may be a joint, in every picture: peaks of the parts, moved to where they point."""
        found = []
        for parts, offsets, others in self._pictures(outputs):
            peaks = candidates.peaks(parts, self.threshold, max(1, round(self.apart / self.stride)), self.most, False)
            column, row = peaks.points.long().unbind(-1)
            seen = self._read(parts, offsets, others, peaks.joints, row, column)
            kept = _apart(seen.places, seen.probabilities[np.arange(len(row)), seen.classes], seen.classes, self.apart)
            found.append(Detections(*(values[kept] for values in seen)))
        return found

    def cells(self, outputs: Dense, most: int) -> list[Detections]:
        """In every picture `most` cells of every class that are marked as its, wherever they lie in their discs."""
        found = []
        for parts, offsets, others in self._pictures(outputs):
            joint, row, column = (parts > self.threshold).nonzero(as_tuple=True)
            rank = torch.arange(len(joint)) - torch.searchsorted(joint, joint)
            count = torch.bincount(joint, minlength=len(parts))[joint]
            kept = (rank * most) // count != ((rank - 1) * most) // count  # evenly from the first to the last
            found.append(self._read(parts, offsets, others, joint[kept], row[kept], column[kept]))
        return found

    @staticmethod
    def _pictures(outputs: Dense) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """p (C, h, w), offsets and others of one picture after the other, on the CPU; what is no number counts as 0."""
        for parts, offsets, others in zip(*(part.detach().float().cpu() for part in outputs), strict=True):
            yield parts.sigmoid().nan_to_num(), offsets.nan_to_num(), others.nan_to_num()

    def _read(
        self, parts: Tensor, offsets: Tensor, others: Tensor, joint: Tensor, row: Tensor, column: Tensor
    ) -> Detections:
        """All that is said at these cells (n,) about these classes (n,)."""
        places = (torch.stack([column, row], dim=-1) + 0.5) * self.stride + offsets[joint, :, row, column]
        expected = others[..., row, column].movedim(-1, 0)  # (n, C, C, 2)
        values = (places.double(), parts[:, row, column].T.double(), joint, expected.double())
        return Detections(*(value.numpy() for value in values))

    def program(
        self, seen: Detections, pairwise: str = "regressed", labels: str = "own", single_person: bool = False
    ) -> Program:
        """The integer program of one picture's candidates.

        pairwise: "geometry", DeepCut's features of where two candidates are, or "regressed", DeeperCut's of where they
        expect each other.  labels: a candidate may become a joint of "any" class that is likely enough there, or only
        of its "own", whose map it is a peak of. Discs of neighbouring joints overlap, so that a neck's candidate is a
        likely head as well; as a second head it is rewarded by the whole body once more, and bodies grow doubles.
        """
        if labels not in LABELS:
            raise unknown_name("choice of labels", labels, LABELS)
        unary = log_odds(seen.probabilities, prune=self.threshold)
        if labels == "own":
            unary = np.where(np.arange(unary.shape[1]) == seen.classes[:, None], unary, np.inf)
        return Program(unary, log_odds(self.pairs.probabilities(seen, pairwise)), single_person)

    def solution(self, program: Program, solver: str = "local", time_limit: float = 60.0) -> Solution:
        """Who is who: by "local" search, by the "exact" solver, or by it in DeeperCut's "stages"."""
        if solver not in SOLVERS:
            raise unknown_name("solver", solver, SOLVERS)
        if solver == "local":
            return local_search(program, time_limit=time_limit)
        if solver == "exact":
            return solve(program, time_limit=time_limit)
        return solve_in_stages(program, stages(self.skeleton), time_limit=time_limit).solution

    # --- how it answers ---

    def decode(
        self,
        outputs: Dense,
        solver: str = "local",
        pairwise: str = "regressed",
        labels: str = "own",
        time_limit: float = 60.0,
        least: int = 3,
    ) -> list[list[Pose]]:
        """The people of every picture in its pixels, the surest first. least: joints that a person must have."""
        answer = []
        for seen in self.candidates(outputs):
            solution = self.solution(self.program(seen, pairwise, labels), solver, time_limit)
            answer.append(to_poses(solution, seen.places, seen.probabilities, self.skeleton, least=least))
        return answer

    def flip_average(self, outputs: Dense, mirrored: Dense) -> Dense:
        """A mirrored vector points the other way in x, and joints change sides, on both ends."""
        swaps = list(self.skeleton.swaps)
        turn = outputs.parts.new_tensor([-1.0, 1.0])[:, None, None]
        parts = geometry.flip_maps(mirrored.parts, swaps)
        offsets = mirrored.offsets.flip(-1)[:, swaps] * turn
        others = mirrored.others.flip(-1)[:, swaps][:, :, swaps] * turn
        pairs = zip(outputs, (parts, offsets, others), strict=True)
        return Dense(*((own + other) / 2 for own, other in pairs))


def stages(skeleton: Skeleton) -> list[list[int]]:
    """DeeperCut's three: head and shoulders, then arms, then the rest of the body."""
    found = [[k for k, name in enumerate(skeleton.joints) if any(w in name for w in words)] for words in STAGES]
    rest = [k for k in range(len(skeleton)) if not any(k in stage for stage in found)]
    return [stage for stage in (*found, rest) if stage]


def _apart(places: np.ndarray, scores: np.ndarray, classes: np.ndarray, apart: float) -> np.ndarray:
    """Which candidates stay (n,) when of two of one class that are nearer than `apart` the better does."""
    near = np.linalg.norm(places[:, None] - places, axis=-1) < apart
    near &= classes[:, None] == classes
    kept: list[int] = []
    for number in np.argsort(-scores, kind="stable"):
        if not near[number, kept].any():
            kept.append(int(number))
    return np.sort(np.array(kept, dtype=int))


deepcut_course = partial(DeepCut)
