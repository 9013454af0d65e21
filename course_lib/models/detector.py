"""Who is where: a detector of people, and the one thing a top-down system asks of any detector.

    detect(images) -> [Found(boxes, scores)]        of every picture, the surest first

Zhi Tian, Chunhua Shen, Hao Chen, Tong He, "FCOS: Fully Convolutional One-Stage Object Detection", ICCV 2019 (arXiv
1904.01355), as torchvision builds it, on lesson 06's hourglass. At every cell x of maps of strides 4, 8 and 16:

    p      is this the middle of somebody?                     focal loss
    l t r b  how far are the sides of the box around them?     generalised IoU
    c      how near is x to the middle of that box?            cross-entropy, sqrt(min(l,r)/max(l,r) min(t,b)/max(t,b))
    score  = sqrt(p c), and box NMS of what is above the threshold

Every level is responsible for people of its size. The systems of the lessons came with other detectors (Faster R-CNN,
SSD); what they do with boxes does not depend on whose they are, so that any detector can stand in this one's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS, FCOSHead

from course_lib import checkpoints, geometry
from course_lib.errors import CourseError
from course_lib.images import to_tensor
from course_lib.models.pyramid import LEVELS, TrunkPyramid
from course_lib.pose import Crowd, Found
from course_lib.skeletons import Skeleton, get

AT_ONCE = 32  # pictures; bounds memory, not the answer
SMALLEST = 2.0  # pixels of a side: less is no box to learn from
BOX_TOWER = 2  # convolutions before each answer, of the four that torchvision takes


class Detector(Protocol):
    """Whatever says where people are."""

    def detect(self, images: Sequence[Any]) -> list[Found]:
        """Everybody in every picture."""
        ...


class PersonDetector(nn.Module):
    """FCOS for people on the trunk of lesson 06, for pictures of any size, which are fitted into `input_size`.

    threshold: of the scores that are kept.  nms: the IoU above which the weaker of two boxes goes.  most: boxes of one
    picture.
    """

    many, finds, trained_on = True, "boxes", "crowd"
    name: str = ""
    options: dict[str, Any]

    def __init__(
        self,
        skeleton: str | Skeleton = "lsp",
        channels: int = 64,
        threshold: float = 0.3,
        nms: float = 0.6,
        most: int = 30,
        input_size: tuple[int, int] = (192, 256),
    ) -> None:
        super().__init__()
        if channels < 32 or channels % 32 or not 0 <= threshold < 1 or not 0 <= nms <= 1 or most < 1:
            raise CourseError(
                "a person detector needs channels in multiples of 32, a threshold in [0, 1), an NMS in [0, 1] and at "
                f"least one box; got {channels}, {threshold}, {nms} and {most}"
            )
        self.skeleton, self.options = get(skeleton), {}
        self.input_size = (int(input_size[0]), int(input_size[1]))
        pyramid = TrunkPyramid(self.skeleton, channels, self.input_size)
        self.stride = pyramid.stride
        sizes = tuple((self.stride * 2**level,) for level in range(LEVELS))
        self.network = _FCOS(
            pyramid,
            num_classes=1,
            head=FCOSHead(channels, 1, 1, BOX_TOWER),
            anchor_generator=AnchorGenerator(sizes, ((1.0,),) * LEVELS),
            # the pictures come in the right size, and the trunk is used to plain pixels
            **{"min_size": min(self.input_size), "max_size": max(self.input_size)},
            **{"image_mean": [0.0] * 3, "image_std": [1.0] * 3, "size_divisible": 1},
            **{"score_thresh": threshold, "nms_thresh": nms, "detections_per_img": most},
        )

    def begin_from(self, file: str | Path) -> dict[str, Any]:
        """Takes a checkpoint of its own, or another network's trunk, and leaves its answers as they are."""
        own = checkpoints.read_header(file)["model"] == self.name
        return checkpoints.load_into(file, self) if own else self.network.backbone.begin_from(file)

    def forward(self, images: Tensor) -> list[Found]:
        """images (B, 3, H, W) in [0, 1], H and W as `input_size` -> in eval mode what is found in each."""
        if self.training:
            raise CourseError("a person detector answers in eval mode; training asks for `training_loss`")
        return [Found(answer["boxes"], answer["scores"]) for answer in self.network(list(images))]

    def training_loss(self, batch: Crowd, progress: float) -> dict[str, Tensor]:
        """The three losses of FCOS, all of weight 1. A box is that of what can be seen of a person."""
        if not self.training:
            raise CourseError("a person detector learns in training mode; in eval mode it answers")
        boxes = batch.boxes()
        there = (batch.visible > 0).any(-1) & ((boxes[..., 2:] - boxes[..., :2]).amin(-1) >= SMALLEST)
        targets = []
        for own, some in zip(boxes, there, strict=True):
            targets.append({"boxes": own[some], "labels": own.new_zeros(int(some.sum()), dtype=torch.long)})
        terms = self.network(list(batch.images), targets)
        return {**terms, "total": sum(terms.values())}

    @torch.no_grad()
    def detect(self, images: Sequence[Any]) -> list[Found]:
        """Everybody in every picture, in its pixels, on the CPU. Mode and device are kept."""
        parameter, was_training = next(self.parameters()), self.training
        found: list[Found] = []
        self.eval()
        try:
            for start in range(0, len(images), AT_ONCE):
                pictures = [to_tensor(image).to(parameter.device) for image in images[start : start + AT_ONCE]]
                wholes = [picture.new_tensor([[0, 0, picture.shape[-1], picture.shape[-2]]]) for picture in pictures]
                pairs = zip(pictures, wholes, strict=True)
                cut = [geometry.crop(picture, whole, self.input_size, padding=1.0) for picture, whole in pairs]
                answers = self(torch.cat([crops for crops, _ in cut]).to(parameter.dtype))
                for answer, (_, matrix), picture in zip(answers, cut, pictures, strict=True):
                    found.append(_in_the_picture(answer, matrix[0], picture.shape[-2:]))
        finally:
            self.train(was_training)
        return found


class TorchvisionDetector:
    """Any of torchvision's detection networks as a detector of people. `person` is the number of that class: 1 in
    networks for COCO."""

    def __init__(self, network: nn.Module, person: int = 1, threshold: float = 0.05) -> None:
        self.network, self.person, self.threshold = network, person, threshold

    @torch.no_grad()
    def detect(self, images: Sequence[Any]) -> list[Found]:
        """Everybody in every picture, in its pixels, on the CPU."""
        parameter, was_training = next(self.network.parameters()), self.network.training
        found: list[Found] = []
        self.network.eval()
        try:
            for image in images:
                answer = self.network([to_tensor(image).to(parameter.device, parameter.dtype)])[0]
                if not {"boxes", "scores", "labels"} <= answer.keys():
                    raise CourseError(
                        f"a detection network answers with boxes, scores, labels; got {', '.join(answer)}"
                    )
                kept = (answer["labels"] == self.person) & (answer["scores"] >= self.threshold)
                found.append(surest_first(answer["boxes"][kept], answer["scores"][kept]))
        finally:
            self.network.train(was_training)
        return found


class GivenBoxes:
    """A detector that was told: it answers with one `Found` after the other, for as many pictures as it was given."""

    def __init__(self, found: Sequence[Found]) -> None:
        self.found, self.next = list(found), 0

    def detect(self, images: Sequence[Any]) -> list[Found]:
        """What was given for the next pictures; in the order in which it was given."""
        if self.next + len(images) > len(self.found):
            raise CourseError(
                f"boxes were given for {len(self.found)} pictures; asked for {self.next + len(images)} in all"
            )
        self.next += len(images)
        return self.found[self.next - len(images) : self.next]


def surest_first(boxes: Tensor, scores: Tensor) -> Found:
    """Boxes (N, 4) and scores (N,) on the CPU, sorted; what is not finite or has no area is left out."""
    boxes, scores = boxes.detach().cpu().float(), scores.detach().cpu().float()
    right = boxes.isfinite().all(-1) & scores.isfinite() & (boxes[:, 2:] > boxes[:, :2]).all(-1)
    boxes, scores = boxes[right], scores[right]
    order = scores.argsort(descending=True, stable=True)
    return Found(boxes[order], scores[order])


def _in_the_picture(answer: Found, matrix: Tensor, size: Sequence[int]) -> Found:
    """Boxes of a fitted picture in the pixels of the picture itself, cut off at its borders."""
    corners = geometry.apply(geometry.invert(matrix), answer.boxes.view(-1, 2)).view(-1, 4)
    return surest_first(geometry.clip_box(corners, *size), answer.scores)


class _FCOS(FCOS):
    """Losses and boxes need more digits than the network: they are computed in fp32 under any autocast."""

    def compute_loss(self, targets: Any, head_outputs: dict[str, Tensor], *rest: Any) -> dict[str, Tensor]:
        with torch.autocast(next(iter(head_outputs.values())).device.type, enabled=False):
            outputs = {name: value.float() for name, value in head_outputs.items()}
            return super().compute_loss(targets, outputs, *rest)


person_detector = PersonDetector
