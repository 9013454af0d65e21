"""G-RMI: for every joint a disc and, in it, arrows to the joint, which vote for where it is.

George Papandreou, Tyler Zhu, Nori Kanazawa, Alexander Toshev, Jonathan Tompson, Chris Bregler, Kevin Murphy, "Towards
Accurate Multi-person Pose Estimation in the Wild", CVPR 2017 (arXiv 1701.01779).

    boxes (NMS 0.6) -> crops of one shape, never stretched -> discs h_k and offsets F_k -> votes f_k -> joints
    score = mean of the peaks of f_k -> OKS-NMS 0.5

What the network is asked for, its losses and the votes are in `targets/hough.py`.

|                  | paper                              | here                                            |
|------------------|------------------------------------|-------------------------------------------------|
| detector         | Faster R-CNN, ResNet-101           | any; ours is FCOS on the hourglass              |
| network          | ResNet-101, stride 8, from ImageNet| the hourglass of lesson 06, stride 4            |
| parameters, K=17 | 42.6 M                             | 0.55 M (14 joints); trunk="resnet101": 42.6 M   |
| crop             | 353 x 257 (height x width)         | 128 x 96                                        |
| box, in training | grown by 1.0 to 1.5                | the same                                        |
| box, afterwards  | grown by 1.25                      | the same                                        |
| disc of a joint  | 25 px of the crop                  | 8 px                                            |
| votes            | on the crop's pixels               | on the map's cells, centre of mass of the peak  |
| inner loss       | on heatmaps of layer 50            | none                                            |
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn
from torchvision.models.resnet import resnet101

from course_lib import checkpoints, geometry
from course_lib.errors import CourseError, unknown_name
from course_lib.models.hourglass import HourglassTrunk, hourglass_course
from course_lib.models.top_down import TopDownModel
from course_lib.pose import Crowd, Pose
from course_lib.skeletons import Skeleton
from course_lib.targets import hough
from course_lib.targets.suppression import oks_nms

RANKS = ("peaks", "box", "product")  # by what people are ranked
TRUNKS = {"hourglass": 4, "resnet101": 8}  # and their strides
FIRST = -3.0  # the first logit: few cells are in a disc


class Fields(NamedTuple):
    """logits (B, K, h, w) of the discs and offsets (B, K, 2, h, w) in cells of the map."""

    logits: Tensor
    offsets: Tensor


class GRMI(TopDownModel):
    """One person of a crop, by votes; with a detector before it, everybody.

    trunk: lesson 06's "hourglass", or "resnet101", dilated instead of halved after stride 8; that one is read directly.
    width: channels between the hourglass and the answers.  radius: of a disc, in pixels of the crop.  rank_by: the mean
    height of the joints' "peaks", the "box" score of the detector, or their "product".  same: the OKS above which the
    weaker of two poses goes.
    """

    def __init__(
        self,
        skeleton: str | Skeleton = "lsp",
        trunk: str = "hourglass",
        width: int = 64,
        radius: float = 8.0,
        rank_by: str = "peaks",
        same: float = 0.5,
        input_size: tuple[int, int] = (128, 96),
    ) -> None:
        if width < 1 or not radius > 0 or not 0 <= same <= 1:
            raise CourseError(
                f"G-RMI needs a width of at least 1, a positive radius and an OKS in [0, 1]; got {width}, {radius}, "
                f"{same}"
            )
        if rank_by not in RANKS:
            raise unknown_name("way to rank people", rank_by, RANKS)
        if trunk not in TRUNKS:
            raise unknown_name("trunk", trunk, TRUNKS)
        super().__init__(skeleton, input_size, TRUNKS[trunk])
        self.radius, self.rank_by, self.same = float(radius), rank_by, same
        if trunk == "hourglass":
            self.trunk: nn.Module = HourglassTrunk(hourglass_course(skeleton=skeleton, input_size=input_size))
            seen = self.trunk.channels
            self.neck: nn.Module = nn.Sequential(
                nn.Conv2d(seen, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
            )
        else:
            whole = resnet101(replace_stride_with_dilation=[False, True, True])
            self.trunk, self.neck = nn.Sequential(OrderedDict(list(whole.named_children())[:-2])), nn.Identity()
            width = whole.fc.in_features
        joints = len(self.skeleton)
        self.answers = nn.Conv2d(width, 3 * joints, 1)
        nn.init.normal_(self.answers.weight, std=0.001)
        nn.init.zeros_(self.answers.bias)
        nn.init.constant_(self.answers.bias[:joints], FIRST)

    def begin_from(self, file: str | Path) -> dict[str, Any]:
        """Takes a checkpoint of its own, or an hourglass for its trunk, and leaves its answers as they are."""
        own = checkpoints.read_header(file)["model"] == self.name or not isinstance(self.trunk, HourglassTrunk)
        return super().begin_from(file) if own else self.trunk.begin_from(file)

    def forward(self, images: Tensor) -> Fields:
        """images (B, 3, H, W) in [0, 1]."""
        joints = len(self.skeleton)
        logits, offsets = self.answers(self.neck(self.trunk(images))).split([joints, 2 * joints], dim=1)
        return Fields(logits, offsets.unflatten(1, (joints, 2)) * (self.radius / self.stride))

    def loss(self, outputs: Fields, batch: Crowd) -> dict[str, Tensor]:
        """Four times the logistic loss of the discs and once Huber's of the offsets, for the first person of each."""
        size = outputs.logits.shape[-2:]
        truth = hough.targets(batch.joints / self.stride, batch.visible, size, self.radius / self.stride)
        return hough.losses(outputs.logits, outputs.offsets, truth, self.stride)

    def decode(self, outputs: Fields, **options: Any) -> list[list[Pose]]:
        """The person of every crop in its pixels; options as in `hough.decode`."""
        heat, offsets = outputs.logits.detach().float().sigmoid(), outputs.offsets.detach().float()
        joints, scores = hough.decode(heat, offsets, self.radius / self.stride, **options)
        ranks, joints, scores = hough.person_score(scores).cpu(), (joints * self.stride).cpu(), scores.cpu()
        rows = zip(joints, scores, ranks, strict=True)
        return [[Pose(at, sure, self.skeleton, float(rank))] for at, sure, rank in rows]

    def rank(self, pose: Pose, box_score: float) -> float:
        """By the joints' peaks, which tell a well-found pose from a poor one in a sure box."""
        peaks = float(hough.person_score(pose.scores))
        return {"peaks": peaks, "box": box_score, "product": peaks * box_score}[self.rank_by]

    def suppress(self, poses: Sequence[Pose], unit: float = 1.0) -> list[Pose]:
        """OKS-NMS, which measures in sizes of people and needs no unit."""
        return oks_nms(poses, self.same)

    def flip_average(self, outputs: Fields, mirrored: Fields) -> Fields:
        """A mirrored arrow points the other way in x."""
        swaps = list(self.skeleton.swaps)
        logits = geometry.flip_maps(mirrored.logits, swaps)
        offsets = mirrored.offsets.flip(-1)[:, swaps] * outputs.offsets.new_tensor([-1.0, 1.0])[:, None, None]
        return Fields((outputs.logits + logits) / 2, (outputs.offsets + offsets) / 2)


# the paper's size: maps of 45 x 33
grmi = partial(GRMI, skeleton="coco", trunk="resnet101", radius=hough.RADIUS, input_size=(353, 257))
grmi_course = partial(GRMI)
