"""Mask R-CNN's keypoint network: find the people, then ask for every joint of each of them in which cell it is.

Kaiming He, Georgia Gkioxari, Piotr Dollár, Ross Girshick, "Mask R-CNN", ICCV 2017 (arXiv 1703.06870). All people share
one network's features; what each costs in addition is a small head on what is cut out of them.

    picture -> backbone -> features of strides 4, 8, 16, 32, 64
    features -> proposals -> box head                                 a box and a score for every person
    features, box -> RoIAlign 14 x 14 -> keypoint head -> 56 x 56     for every joint: in which cell of the box is it?

The keypoint half is here in the open: head, target, loss, decoding, and when each is called (`RegionHeads`). The boxes
are torchvision's work: feature pyramid, proposals, box head, sampling. All parameters have torchvision's names, so that
`keypointrcnn_resnet50_fpn`'s state dict loads strictly and answers the same.

**What RoIAlign is for.** A box lies on a map of stride 16 somewhere between the cells. RoIPool, its predecessor,
rounds the box to whole cells (an edge moves by up to half a cell, 8 pixels) and then its inner divisions again. That
there is a person survives this; where the wrist is does not: on a person 200 pixels tall one of the 56 cells is 3.6
pixels, and no later layer can tell how far the box moved. RoIAlign rounds nothing. It reads the map at exact places
by bilinear interpolation (here 2 x 2 in each of 14 x 14 bins) and takes their mean: a box moved by a quarter of a cell
is answered with features moved as far. In the paper that is worth 4.4 AP of keypoints. One shift stays: torchvision
reads cell i at i, not at its centre i + 1/2. It is half a cell for every box of a level, so that the head can learn it.

The target is one cell out of S x S, S = 56, and so the loss is the cross-entropy of a softmax over *places*,

    L = - mean over the labelled joints k inside their box of  log softmax(logits_k)[cell_k]          ln S^2 = 8.05

which is 8.05 where all places are equally likely. A softmax over places has no answer "not there": every joint of every
person is put somewhere, and how sure that is only the height of its logit can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.models.resnet import BasicBlock, resnet50
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from course_lib.errors import CourseError
from course_lib.pose import Pose
from course_lib.skeletons import Skeleton, get

Tensors = dict[str, Tensor]
Sizes = list[tuple[int, int]]  # (height, width)
BINS = 14  # a box's features for the keypoint head are BINS x BINS


class KeypointHead(nn.Sequential):
    """`depth` times a 3 x 3 convolution and a ReLU: features (N, inputs, 14, 14) -> (N, width, 14, 14)."""

    def __init__(self, inputs: int, width: int = 512, depth: int = 8) -> None:
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [_start(nn.Conv2d(width if i else inputs, width, 3, padding=1)), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class KeypointPredictor(nn.Module):
    """Features (N, inputs, 14, 14) -> logits (N, K, 56, 56): a learned doubling, then a bilinear one.

    Joints need maps that fine; for masks, which have an inside, the paper stops at 28."""

    def __init__(self, inputs: int, joints: int) -> None:
        super().__init__()
        self.kps_score_lowres = _start(nn.ConvTranspose2d(inputs, joints, 4, stride=2, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.kps_score_lowres(x), scale_factor=2, mode="bilinear", align_corners=False)


# --- target, loss, decoding -------------------------------------------------------------------------------------------


def target_cells(keypoints: Tensor, boxes: Tensor, size: int = 4 * BINS) -> tuple[Tensor, Tensor]:
    """In which cell of its box every joint is: keypoints (N, K, 3), boxes (N, 4) -> cells (N, K), asked (N, K) bool.

    col = floor(S (x - x0) / (x1 - x0)), row likewise, cell = S row + col; what lies on the far edge is in the last.
    A joint that is not labelled, or outside the box, is not asked for (`asked` is False, its cell 0).
    """
    corner, far = boxes[:, None, :2], boxes[:, None, 2:]
    places = keypoints[..., :2]
    asked = (keypoints[..., 2] > 0) & ((places >= corner) & (places <= far)).all(dim=-1)
    # a box without width has one column: any positive width then keeps the division from failing
    across = (places - corner) * (size / (far - corner).clamp(min=1e-6))
    column, row = across.floor().clamp(0, size - 1).unbind(-1)
    return torch.where(asked, row * size + column, 0).long(), asked


def keypoint_loss(logits: Tensor, cells: Tensor, asked: Tensor) -> Tensor:
    """The cross-entropy over the S^2 cells, mean over what is asked for: logits (N, K, S, S), the others (N, K)."""
    chosen = logits.flatten(-2)[asked]  # (M, S^2)
    if not len(chosen):
        return chosen.sum()  # 0, but of the network's making: backward works on it
    return F.cross_entropy(chosen, cells[asked])


def read_out(logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """logits (N, K, S, S) on boxes (N, 4) -> joints (N, K, 2) in the boxes' pixels, and their logits (N, K).

    The map is enlarged to the box's size, in whole pixels, by bicubic interpolation; the highest pixel's centre is the
    joint: x = x0 + (i + 1/2) w / ceil(w). A box less than a pixel wide is taken as one pixel wide.
    """
    count, joints = logits.shape[:2]
    places, scores = boxes.new_zeros((count, joints, 2)), logits.new_zeros((count, joints))
    sizes = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    for i, (width, height) in enumerate(sizes.ceil().int().tolist()):
        enlarged = F.interpolate(logits[i][None], size=(height, width), mode="bicubic", align_corners=False)[0]
        scores[i], best = enlarged.flatten(1).max(dim=1)
        pixel = torch.stack([best % width, best // width], dim=-1)
        places[i] = boxes[i, :2] + (pixel + 0.5) * (sizes[i] / sizes[i].ceil())
    return places, scores


class RegionHeads(RoIHeads):
    """What is done with every proposed box. The boxes first, then the joints in them.

    In training the keypoint head sees the proposals that hit a person, the true boxes among them; afterwards it sees
    the boxes that were detected, when they have been moved into place and doubles are gone.
    """

    def forward(
        self, features: Tensors, proposals: list[Tensor], image_shapes: Sizes, targets: list[Tensors] | None = None
    ) -> tuple[list[Tensors], Tensors]:
        """Features by level and boxes [(P, 4)] by picture -> (detections by picture, losses); one of them is empty."""
        if self.training:
            proposals, matches, labels, offsets = self.select_training_samples(proposals, targets)
        scores, moves = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals, image_shapes)))
        if not self.training:
            boxes, scores, labels = self.postprocess_detections(scores, moves, proposals, image_shapes)
            logits = self._logits(features, boxes, image_shapes).split([len(some) for some in boxes])
            detections = []
            for at, score, label, maps in zip(boxes, scores, labels, logits, strict=True):
                joints, heights = read_out(maps, at)
                # torchvision's form: the third number is 1 for every joint and says nothing
                answer = {"keypoints": F.pad(joints, (0, 1), value=1.0), "keypoints_scores": heights}
                detections.append({"boxes": at, "labels": label, "scores": score, **answer})
            return detections, {}
        classifier, box_reg = fastrcnn_loss(scores, moves, labels, offsets)
        people = [label > 0 for label in labels]
        boxes = [some[person] for some, person in zip(proposals, people, strict=True)]
        parts = zip(targets, matches, people, strict=True)
        keypoints = [target["keypoints"][match[person]] for target, match, person in parts]
        cells, asked = target_cells(torch.cat(keypoints), torch.cat(boxes))
        keypoint = keypoint_loss(self._logits(features, boxes, image_shapes), cells, asked)
        return [], {"loss_classifier": classifier, "loss_box_reg": box_reg, "loss_keypoint": keypoint}

    def _logits(self, features: Tensors, boxes: list[Tensor], shapes: Sizes) -> Tensor:
        return self.keypoint_predictor(self.keypoint_head(self.keypoint_roi_pool(features, boxes, shapes)))


# --- the network ------------------------------------------------------------------------------------------------------


class KeypointRCNN(GeneralizedRCNN):
    """The whole network. As built without options it is the paper's with ResNet-50 and a feature pyramid.

    body: "resnet50", or the widths of a small body's stages of strides 4, 8, ...: two residual blocks each.
    frozen_norm: ResNet-50's normalisations do not learn, as is usual where a GPU sees few pictures at once; their
        epsilon is then 0, as torchvision's published weights (COCO_V1) want it.
    smallest_anchor: the side of the smallest anchor box, twice as much on every further level.
    min_size, max_size: pictures are resized to this shorter side (in training to one of several by chance, else to the
        last), but no further than to this longer side.
    """

    def __init__(
        self,
        skeleton: str | Skeleton = "coco",
        body: str | Sequence[int] = "resnet50",
        channels: int = 256,
        box_width: int = 1024,
        head_width: int = 512,
        head_depth: int = 8,
        frozen_norm: bool = False,
        smallest_anchor: int = 32,
        min_size: int | Sequence[int] = (640, 672, 704, 736, 768, 800),
        max_size: int = 1333,
        proposals: tuple[int, int] = (2000, 1000),  # kept in training, and afterwards
        samples: int = 512,  # proposals of a picture that the box head learns from, at most a quarter of them people
        score_threshold: float = 0.05,
        detections: int = 100,
    ) -> None:
        if min(channels, box_width, head_width, head_depth, smallest_anchor, samples, detections, *proposals) < 1:
            raise CourseError("a keypoint R-CNN needs widths, depth, anchors, proposals and samples of at least 1")
        pyramid = _pyramid(body, channels, frozen_norm)
        levels = [str(i) for i in range(len(pyramid.fpn.inner_blocks))]
        # one anchor size and three shapes a level; the pyramid adds a coarsest level by subsampling, for proposals only
        sizes = tuple((smallest_anchor * 2**i,) for i in range(len(levels) + 1))
        anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
        kept = {"training": proposals[0], "testing": proposals[1]}
        rpn = RegionProposalNetwork(
            anchors,
            RPNHead(channels, anchors.num_anchors_per_location()[0]),
            **{"fg_iou_thresh": 0.7, "bg_iou_thresh": 0.3, "batch_size_per_image": 256, "positive_fraction": 0.5},
            **{"pre_nms_top_n": kept, "post_nms_top_n": kept, "nms_thresh": 0.7},
        )
        # a box of 7 anchors' sides (224 pixels) is read from the third level, half as large from the one before
        align = partial(MultiScaleRoIAlign, levels, sampling_ratio=2, canonical_scale=7 * smallest_anchor)
        heads = RegionHeads(
            align(7),
            TwoMLPHead(channels * 7 * 7, box_width),
            FastRCNNPredictor(box_width, 2),  # background, person
            **{"fg_iou_thresh": 0.5, "bg_iou_thresh": 0.5, "batch_size_per_image": samples, "positive_fraction": 0.25},
            **{"bbox_reg_weights": None, "score_thresh": score_threshold, "nms_thresh": 0.5},
            detections_per_img=detections,
            keypoint_roi_pool=align(BINS),
            keypoint_head=KeypointHead(channels, head_width, head_depth),
            keypoint_predictor=KeypointPredictor(head_width, len(get(skeleton))),
        )
        looks = GeneralizedRCNNTransform(min_size, max_size, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        super().__init__(pyramid, rpn, heads, looks)
        self.skeleton = get(skeleton)

    def forward(self, images: Sequence[Tensor], targets: Sequence[Tensors] | None = None) -> Any:
        """images [(3, H, W)] in [0, 1], of any sizes -> in eval mode a dictionary for every picture: boxes (N, 4),
        scores (N,), labels (N,), keypoints (N, K, 3), keypoints_scores (N, K), best first, in the picture's pixels.

        In training mode -> the five losses by name, all of weight 1. `targets` then says of every picture: boxes (N, 4)
        as x0, y0, x1, y1, and keypoints (N, K, 3) as x, y and 0 where unlabelled; N may be 0. `labels` may be left out.
        """
        if not len(images) or any(image.ndim != 3 or len(image) != 3 for image in images):
            raise CourseError("a keypoint R-CNN takes a list of pictures (3, H, W), at least one")
        if not self.training:
            return super().forward(list(images))
        if targets is None or len(targets) != len(images):
            raise CourseError("in training a keypoint R-CNN needs one target for every picture")
        return super().forward(list(images), [self._checked(target, i) for i, target in enumerate(targets)])

    def poses(self, outputs: Sequence[Tensors]) -> list[list[Pose]]:
        """What eval mode answers, as poses on the CPU: `score` is the box's, the joints' scores are logits."""
        if isinstance(outputs, dict):
            raise CourseError("in training mode a keypoint R-CNN answers with losses; call eval() to get poses")
        people = []
        for output in outputs:
            parts = (output[name].detach().cpu() for name in ("keypoints", "keypoints_scores", "scores", "boxes"))
            rows = zip(*parts, strict=True)
            people.append([Pose(at[:, :2], sure, self.skeleton, float(score), box) for at, sure, score, box in rows])
        return people

    def _checked(self, target: Tensors, number: int) -> Tensors:
        if not {"boxes", "keypoints"} <= target.keys():
            raise CourseError(f"target {number} needs boxes and keypoints; it has {', '.join(target) or 'nothing'}")
        boxes, keypoints = target["boxes"].float(), target["keypoints"].float()
        joints = len(self.skeleton)
        if boxes.shape[1:] != (4,) or keypoints.shape != (len(boxes), joints, 3):
            raise CourseError(f"target {number} needs as many boxes (N, 4) as keypoints (N, {joints}, 3)")
        right = (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & boxes.isfinite().all(dim=1)
        if not right.all():
            raise CourseError(f"target {number} has a box without width or height: {boxes[~right][0].tolist()}")
        labels = target.get("labels", torch.ones(len(boxes), dtype=torch.int64, device=boxes.device))
        return {"boxes": boxes, "labels": labels, "keypoints": keypoints}


def _pyramid(body: str | Sequence[int], channels: int, frozen_norm: bool) -> BackboneWithFPN:
    """Features of strides 4, 8, ... with `channels` each, the coarse ones added to the fine ones."""
    if body == "resnet50":
        network = resnet50(norm_layer=partial(FrozenBatchNorm2d, eps=0.0) if frozen_norm else nn.BatchNorm2d)
        widths = [256, 512, 1024, 2048]
    elif isinstance(body, str) or not body or any(width < 8 or width % 8 for width in body) or frozen_norm:
        raise CourseError(f"body is 'resnet50' or a few widths divisible by 8, which have no frozen_norm; got {body!r}")
    else:
        network, widths = _small_body(body), list(body)
    return BackboneWithFPN(network, {f"layer{i + 1}": str(i) for i in range(len(widths))}, widths, channels)


def _small_body(widths: Sequence[int]) -> nn.Sequential:
    """A stem, then two residual blocks a width; all halve. Group normalisation needs no large batches."""
    norm = partial(nn.GroupNorm, 8)
    network = nn.Sequential()
    network.stem = nn.Sequential(nn.Conv2d(3, widths[0], 3, 2, padding=1, bias=False), norm(widths[0]), nn.ReLU())
    for i, (before, width) in enumerate(zip([widths[0], *widths], widths, strict=False)):
        skip = nn.Sequential(nn.Conv2d(before, width, 1, stride=2, bias=False), norm(width))
        first = BasicBlock(before, width, stride=2, downsample=skip, norm_layer=norm)
        network.add_module(f"layer{i + 1}", nn.Sequential(first, BasicBlock(width, width, norm_layer=norm)))
    return network


def _start(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Conv2d | nn.ConvTranspose2d:
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer


keypoint_rcnn = KeypointRCNN
# maps of strides 4, 8 and 16 and anchors of 16 to 128 pixels suit rendered pictures of 192 x 256
keypoint_rcnn_course = partial(
    KeypointRCNN,
    **{"body": (32, 64, 96), "channels": 64, "box_width": 128, "head_width": 64, "head_depth": 4},
    **{"smallest_anchor": 16, "min_size": 192, "max_size": 256, "proposals": (300, 100), "samples": 64},
    detections=20,
)
