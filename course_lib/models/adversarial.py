"""Adversarial PoseNet: two judges tell a network of hourglasses which of its joints no body would have.

Yu Chen, Chunhua Shen, Xiu-Shen Wei, Lingqiao Liu, Jian Yang, "Adversarial PoseNet: A Structure-aware Convolutional
Network for Human Pose Estimation", ICCV 2017 (arXiv 1705.00389). A loss that compares maps cell by cell forgives a
pose that no body can take, as long as every joint by itself is a fair guess. A judge P sees picture and maps and says
of each joint whether it can be there; a judge C sees the maps alone and says of each whether it is one clear bell. Both
are trained beside the network, which learns to convince them. Afterwards nobody needs them.

    stack s: pose hourglass -> maps y_s; occlusion hourglass -> maps z_s of the joints that are hidden
    L_G = sum over stacks of |y_s - y*|^2 + |z_s - z*|^2     labels   p_i = [d_i < delta], c_i = [|y_i - y*_i|^2 < e]
    judges:     P(x, y*, z*) -> 1, P(x, y, z) -> p           C(y*, z*) -> 1, C(y, z) -> c
    generator:  L_G + alpha (C(y, z) -> 1) + beta (P(x, y, z) -> 1),   alpha = 1 / 220, beta = 1 / 180

|                        | paper                              | here                                               |
|------------------------|------------------------------------|----------------------------------------------------|
| code                   | never published                    |                                                    |
| generator              | 4 stacks, 512 wide                 | the same ("adversarial"); 2 stacks, 64 wide        |
| judges                 | encoder and decoder with skips     | an hourglass, heard where the maps are high        |
| delta, e               | not given                          | 0.2 torsos; half of an all-zero answer's error     |
| judges' loss           | log(1 - (D - label)), no likelihood| binary cross-entropy against the label             |
| the generator's        | log(1 - (D - label))               | -log D, which is steep where D is sure of a fake   |
| who moves when         | six updates, one after the other   | one step of all; who teaches is held still         |
| judged                 | not said                           | the last stack                                     |
| alpha, beta            | beside half the sum of squares     | the same ratio: our squares count in all-zero ones |
| a judge's normalisation| not said                           | over groups: true and made maps never mix          |
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from course_lib import checkpoints, geometry, losses
from course_lib.errors import CourseError, unknown_name
from course_lib.models.base import HeatmapModel
from course_lib.models.hourglass import StackedHourglass
from course_lib.models.judges import GROUPS, Judge, Verdict, confidence_labels, cross_entropy, pose_labels
from course_lib.pose import HIDDEN, Batch, Pose
from course_lib.skeletons import Skeleton
from course_lib.targets import heatmaps

LABELS = ("joint", "sample")


class Answer(NamedTuple):
    """maps (S, B, K, h, w) of the joints and hidden (S, B, K, h, w) of those that are hidden, of all stacks."""

    maps: Tensor
    hidden: Tensor


class AdversarialPoseNet(HeatmapModel):
    """stacks: of a pose and an occlusion hourglass each.  width, depth: theirs.  judge_width: channels of the judges.

    pose_weight, confidence_weight: beta and alpha; at 0 there is no such judge.  loudness: what both are multiplied by.
    delta: in torsos.  epsilon: in errors of an all-zero answer.  labels: made joints are labelled by the "joint", or
    all of them as made, by the "sample", which did not converge for the authors.
    listens_from: the share of a training after which the generator hears the judges.
    """

    only_in_training = ("pose_judge", "confidence_judge")

    def __init__(
        self,
        skeleton: str | Skeleton = "mpii",
        stacks: int = 4,
        width: int = 512,
        depth: int = 4,
        judge_width: int = 128,
        pose_weight: float = 1 / 180,
        confidence_weight: float = 1 / 220,
        loudness: float = 1.0,
        delta: float = 0.2,
        epsilon: float = 0.5,
        labels: str = "joint",
        listens_from: float = 0.1,
        input_size: tuple[int, int] = (256, 256),
        sigma: float = 1.0,
        read_out: str = "dark",
    ) -> None:
        super().__init__(skeleton, input_size, 4, sigma, read_out)
        if labels not in LABELS:
            raise unknown_name("way to label made joints", labels, LABELS)
        if stacks < 1 or judge_width < GROUPS or judge_width % (2 * GROUPS):
            raise CourseError(
                f"an adversarial pose network needs a stack, and judges of a multiple of {2 * GROUPS} channels; got "
                f"stacks={stacks}, judge_width={judge_width}"
            )
        volumes = (pose_weight, confidence_weight, loudness)
        if not (all(0 <= one < math.inf for one in volumes) and delta > 0 and epsilon > 0):
            raise CourseError(
                "judges need finite weights and a loudness of at least 0 and positive delta and epsilon; got "
                f"{pose_weight=}, {confidence_weight=}, {loudness=}, {delta=}, {epsilon=}"
            )
        self.pose_weight, self.confidence_weight, self.loudness = pose_weight, confidence_weight, loudness
        self.delta, self.epsilon, self.labels, self.listens_from = delta, epsilon, labels, listens_from
        # pose and occlusion hourglasses by turns; each hears those before it, as the stacks of lesson 06 do
        self.generator = StackedHourglass(self.skeleton, 2 * stacks, width, depth, input_size=input_size, sigma=sigma)
        joints = len(self.skeleton)
        judge = partial(Judge, joints=joints, width=judge_width, depth=depth)
        self.pose_judge = judge(3 + 2 * joints) if pose_weight else None
        self.confidence_judge = judge(2 * joints) if confidence_weight else None

    def begin_from(self, file: str | Path) -> dict[str, Any]:
        """Takes a checkpoint of its own, or a stacked hourglass, which then answers as it did: see `begin_as`."""
        header = checkpoints.read_header(file)
        if not header["model"].startswith("hourglass"):
            return super().begin_from(file)
        from course_lib import models

        self.begin_as(models.load(header["model"], file))
        return header

    @torch.no_grad()
    def begin_as(self, network: StackedHourglass) -> None:
        """Pose hourglasses become those of `network`; occlusion ones too, but are not heard at first."""
        own, stacks = self.generator, len(self.generator.hourglasses) // 2
        if len(network.hourglasses) < stacks:
            raise CourseError(
                f"{stacks} stacks cannot begin as a network of {len(network.hourglasses)}; build fewer of them"
            )
        if not _alike(own, network):
            raise CourseError(
                "an adversarial pose network begins as a stacked hourglass of its own joints, stride, width and depth, "
                "whose maps are fed back; this one differs"
            )
        own.stem.load_state_dict(network.stem.state_dict())
        for number in range(2 * stacks):
            stack, is_pose = number // 2, number % 2 == 0
            own.hourglasses[number].load_state_dict(network.hourglasses[stack].state_dict())
            if is_pose:
                own.predict[number].load_state_dict(network.predict[stack].state_dict())
            for merge in ("merge_features", "merge_maps"):
                to, taken = getattr(own, merge), getattr(network, merge)
                if is_pose and stack < len(taken):
                    to[number].load_state_dict(taken[stack].state_dict())
                elif number < len(to):
                    nn.init.zeros_(to[number].weight)
                    nn.init.zeros_(to[number].bias)

    def forward(self, images: Tensor) -> Answer:
        """images (B, 3, H, W) in [0, 1]. The judges have no part in it."""
        maps = self.generator(images)
        return Answer(maps[0::2], maps[1::2])

    # --- how it is asked ---

    def truth(self, batch: Batch, size: tuple[int, int]) -> Answer:
        """The bells of the labelled joints, and of those among them that are hidden: (B, K, *size) each."""
        bells = self.targets(batch, size)
        seen = batch.visible[..., None, None]
        return Answer(torch.where(seen > 0, bells, 0.0), torch.where(seen == HIDDEN, bells, 0.0))

    def loss(self, outputs: Answer, batch: Batch) -> dict[str, Tensor]:
        """L_G of both kinds of maps, of all stacks, in errors of an all-zero answer to a joint that is there."""
        size = outputs.maps.shape[-2:]
        truth, nothing = self.truth(batch, size), heatmaps.zero_level(size, self.sigma)
        terms = {
            name: sum(losses.heatmap_mse(stage, right, batch.visible) for stage in made) / nothing
            for name, made, right in zip(("maps", "hidden"), outputs, truth, strict=True)
        }
        return {**terms, "total": sum(terms.values())}

    def training_loss(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Everything that is learned from a batch, in one "total" whose parts reach whom they should and nobody else.

        The adversarial terms stand beside it as they are; in the total they have the weights beta and alpha.
        """
        outputs = Answer(*(part.float() for part in self(batch.images)))
        terms = self.loss(outputs, batch)
        seen = batch.visible[..., None, None] > 0
        # an unlabelled joint's map is empty in the truth: shown as it was made, it would give the made ones away
        made = Answer(*(torch.where(seen, part[-1], 0.0) for part in outputs))
        truth = self.truth(batch, outputs.maps.shape[-2:])
        picture, listens = F.avg_pool2d(batch.images, self.stride), progress >= self.listens_from
        labelled = batch.visible > 0
        torso = [self.skeleton.index(name) for name in self.skeleton.torso]
        whole = labelled & labelled[:, torso].all(-1, keepdim=True)  # else nobody knows what is near
        # of half the sum of squares, which the paper's weights stand beside, an all-zero answer costs pi sigma^2 / 2
        unit = self.loudness * 2 / (math.pi * self.sigma**2)
        for name, weight, labels, asked in (
            ("pose", self.pose_weight, self._pose_labels, whole),
            ("confidence", self.confidence_weight, self._confidence_labels, labelled),
        ):
            if getattr(self, f"{name}_judge") is None:
                continue
            ones = torch.ones_like(made.maps[..., 0, 0])
            label = labels(made.maps.detach(), truth, batch) if self.labels == "joint" else torch.zeros_like(ones)
            of_truth = self._judged(name, truth, picture)
            of_made = self._judged(name, Answer(*(part.detach() for part in made)), picture)
            terms[f"{name}_real"] = cross_entropy(of_truth, ones, asked)
            terms[f"{name}_fake"] = cross_entropy(of_made, label, asked)
            terms["total"] = terms["total"] + terms[f"{name}_real"] + terms[f"{name}_fake"]
            if listens:
                heard = cross_entropy(self._judged(name, made, picture, held_still=True), ones, asked)
                terms["total"] = terms["total"] + weight * unit * heard
            terms[f"{name}_adversarial"] = heard if listens else torch.zeros_like(terms["maps"])
        return terms

    def _judged(self, name: str, shown: Answer, picture: Tensor, held_still: bool = False) -> Tensor:
        """A judge's logits (B, K) of maps; gradients go through one that is held still, but do not reach it."""
        judge = getattr(self, f"{name}_judge")
        evidence = torch.cat([*shown, *([picture] if name == "pose" else [])], dim=1)
        if not held_still:
            return judge(evidence, shown.maps)
        still = {key: value.detach() for key, value in judge.named_parameters()}
        return functional_call(judge, still, (evidence, shown.maps))

    def _pose_labels(self, maps: Tensor, truth: Answer, batch: Batch) -> Tensor:
        joints = heatmaps.argmax(maps)[0] * self.stride
        return pose_labels(joints, batch.joints, batch.visible, self.skeleton, self.delta)

    def _confidence_labels(self, maps: Tensor, truth: Answer, batch: Batch) -> Tensor:
        nothing = heatmaps.zero_level((1, 1), self.sigma)  # an all-zero answer's sum of squares
        return confidence_labels(maps, truth.maps, self.epsilon * nothing)

    @torch.no_grad()
    def judge(self, shown: Answer, images: Tensor) -> Verdict:
        """The probabilities with which the judges call the joints of one stack's maps (B, K, h, w) real."""
        picture, names = F.avg_pool2d(images, self.stride), ("pose", "confidence")
        if shown.maps.ndim != 4 or shown.maps.shape[-2:] != picture.shape[-2:]:
            raise CourseError(
                f"judges take one stack's maps (B, K, h, w), {self.stride} times smaller than the pictures; got "
                f"{tuple(shown.maps.shape)} and pictures {tuple(images.shape)}"
            )
        there = {name: getattr(self, f"{name}_judge") is not None for name in names}
        return Verdict(*(self._judged(name, shown, picture).sigmoid() if there[name] else None for name in names))

    # --- how it answers ---

    def decode(self, outputs: Answer, stage: int = -1, read_out: str | None = None) -> list[list[Pose]]:
        """As any network of heatmaps, from one stack's."""
        return super().decode(outputs.maps, stage, read_out)

    def flip_average(self, outputs: Answer, mirrored: Answer) -> Answer:
        swaps = self.skeleton.swaps
        return Answer(*((a + geometry.flip_maps(b, swaps)) / 2 for a, b in zip(outputs, mirrored, strict=True)))


def _alike(one: StackedHourglass, other: StackedHourglass) -> bool:
    """Whether the weights of one's hourglasses mean the same in the other."""
    kinds = [(own.skeleton.joints, own.stride, own.merge_maps is not None) for own in (one, other)]
    parts = [nn.ModuleList([own.stem, own.hourglasses[0], own.predict[0]]).state_dict() for own in (one, other)]
    shapes = [{name: value.shape for name, value in part.items()} for part in parts]
    return kinds[0] == kinds[1] and shapes[0] == shapes[1]


adversarial = AdversarialPoseNet
# Its generator can begin as `hourglass_course`
adversarial_course = partial(
    AdversarialPoseNet, skeleton="lsp", stacks=2, width=64, depth=3, judge_width=32, input_size=(96, 96)
)
