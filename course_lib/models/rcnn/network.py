"""The whole of Mask R-CNN: what it is built of, what it is asked, and how it answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign

from course_lib import checkpoints
from course_lib.errors import CourseError, unknown_name
from course_lib.models.base import PoseModel
from course_lib.models.pyramid import TrunkPyramid
from course_lib.models.rcnn import bodies
from course_lib.models.rcnn.keypoints import BINS, KeypointHead, KeypointPredictor
from course_lib.models.rcnn.regions import ProposalHead, RegionHeads
from course_lib.pose import Crowd, Found, Pose
from course_lib.skeletons import Skeleton

Tensors = dict[str, Tensor]
RANKS = ("box", "product")
SMALLEST = 2.0  # pixels that a side of a box must have to be learned from


class MaskRCNN(PoseModel):
    """Boxes, joints and, with `masks`, pixels of everybody. As built without options: the paper's, for joints.

    body: "resnet50", or the widths of a small body's stages of strides 4, 8, ...: two residual blocks each, or
        "hourglass", lesson 06's, whose weights it can begin from.
    frozen_norm: ResNet-50's normalisations do not learn, as is usual where a GPU sees few pictures at once; their
        epsilon is then 0, as torchvision's published weights (COCO_V1) want it.
    smallest_anchor: the side of the smallest anchor box, twice as much on every further level.  anchor_steps: so many
        sizes a level, evenly between that and twice as much.  anchor_shapes: height over width.
    min_size, max_size: pictures are resized to this shorter side (in training to one of several by chance, else to the
        last), but no further than to this longer side.  input_size: what `estimate` puts a photograph into before.
    fine: joints and masks are read from the finest level whatever the box's size, where the paper takes a coarser one
        for a larger box.  grow: joints are looked for in the box grown by this.
    """

    many = True
    trained_on = "crowd"

    def __init__(
        self,
        skeleton: str | Skeleton = "coco",
        body: str | Sequence[int] = "resnet50",
        masks: bool = False,
        channels: int = 256,
        box_width: int = 1024,
        head_width: int = 512,
        head_depth: int = 8,
        mask_width: int = 256,
        frozen_norm: bool = False,
        smallest_anchor: int = 32,
        anchor_steps: int = 1,
        anchor_shapes: Sequence[float] = (0.5, 1.0, 2.0),
        min_size: int | Sequence[int] = (640, 672, 704, 736, 768, 800),
        max_size: int = 1333,
        input_size: tuple[int, int] = (800, 1088),
        fine: bool = False,
        grow: float = 1.0,
        proposals: tuple[int, int] = (2000, 1000),  # kept in training, and afterwards
        samples: int = 512,  # proposals of a picture that the box head learns from,
        people: float = 0.25,  # and the share of them, at most, that are people: those the other heads learn from
        score_threshold: float = 0.05,
        detections: int = 100,
    ) -> None:
        numbers = (channels, box_width, head_width, head_depth, mask_width, samples, detections)
        numbers = (*numbers, smallest_anchor, anchor_steps, len(anchor_shapes))
        if min(*numbers, *proposals, grow) < 1:
            raise CourseError(
                "a keypoint R-CNN needs widths, depth, anchors, proposals, samples and grow of at least 1"
            )
        super().__init__(skeleton, input_size, stride=4)
        self.backbone = bodies.pyramid(body, channels, frozen_norm, skeleton, input_size)
        hourglass = isinstance(self.backbone, TrunkPyramid)
        levels = ["0", "1", "2"] if hourglass else [str(i) for i in range(len(self.backbone.fpn.inner_blocks))]
        # torchvision's pyramid adds a coarsest level by subsampling, for proposals only
        steps = [smallest_anchor * 2 ** (step / anchor_steps) for step in range(anchor_steps)]
        sizes = tuple(tuple(round(side * 2**i) for side in steps) for i in range(len(levels) + (not hourglass)))
        anchors = AnchorGenerator(sizes, (tuple(anchor_shapes),) * len(sizes))
        kept = {"training": proposals[0], "testing": proposals[1]}
        self.rpn = RegionProposalNetwork(
            anchors,
            ProposalHead(channels, anchors.num_anchors_per_location()[0]),
            **{"fg_iou_thresh": 0.7, "bg_iou_thresh": 0.3, "batch_size_per_image": 256, "positive_fraction": 0.5},
            **{"pre_nms_top_n": kept, "post_nms_top_n": kept, "nms_thresh": 0.7},
        )
        # a box of 7 anchors' sides (224 pixels) is read from the third level, half as large from the one before
        align = partial(MultiScaleRoIAlign, sampling_ratio=2, canonical_scale=7 * smallest_anchor)
        inner = levels[:1] if fine else levels
        branch = {"mask_roi_pool": align(inner, BINS), "mask_head": MaskRCNNHeads(channels, (mask_width,) * 4, 1)}
        branch |= {"mask_predictor": MaskRCNNPredictor(mask_width, mask_width, 2)}
        self.roi_heads = RegionHeads(
            align(levels, 7),
            TwoMLPHead(channels * 7 * 7, box_width),
            FastRCNNPredictor(box_width, 2),  # background, person
            **{
                "fg_iou_thresh": 0.5,
                "bg_iou_thresh": 0.5,
                "batch_size_per_image": samples,
                "positive_fraction": people,
            },
            **{"bbox_reg_weights": None, "score_thresh": score_threshold, "nms_thresh": 0.5},
            detections_per_img=detections,
            keypoint_roi_pool=align(inner, BINS),
            keypoint_head=KeypointHead(channels, head_width, head_depth),
            keypoint_predictor=KeypointPredictor(head_width, len(self.skeleton)),
            **(branch if masks else {}),
        )
        self.roi_heads.grow = float(grow)
        # the hourglass was trained on plain pixels
        colours = ([0.0] * 3, [1.0] * 3) if hourglass else bodies.IMAGENET
        self.transform = GeneralizedRCNNTransform(min_size, max_size, *colours)

    def begin_from(self, file: str | Path) -> dict[str, Any]:
        """Takes a checkpoint of its own, or an hourglass's for its trunk, and leaves the heads as they are."""
        if not isinstance(self.backbone, TrunkPyramid) or checkpoints.read_header(file)["model"] == self.name:
            return super().begin_from(file)
        return self.backbone.begin_from(file)

    def forward(self, images: Tensor | Sequence[Tensor], targets: Sequence[Tensors] | None = None) -> Any:
        """images (B, 3, H, W), or a list of (3, H, W) of any sizes, in [0, 1] -> in eval mode a dictionary for every
        picture: boxes (N, 4), scores (N,), labels (N,), keypoints (N, K, 3), keypoints_scores (N, K) and, where it has
        that branch, masks (N, 1, H, W) from 0 to 1; best first, in the picture's pixels.

        In training mode -> the five or six losses by name, all of weight 1. `targets` then says of every picture: boxes
        (N, 4) as x0, y0, x1, y1, keypoints (N, K, 3) as x, y and 0 where unlabelled, and masks (N, H, W) where it has
        that branch; N may be 0. `labels` may be left out.
        """
        if not len(images) or any(image.ndim != 3 or len(image) != 3 for image in images):
            raise CourseError("a keypoint R-CNN takes a list of pictures (3, H, W), at least one")
        if not self.training:
            targets = None
        elif targets is None or len(targets) != len(images):
            raise CourseError("in training a keypoint R-CNN needs one target for every picture")
        else:
            targets = [self._checked(target, i) for i, target in enumerate(targets)]
        sizes = [tuple(image.shape[-2:]) for image in images]
        pictures, targets = self.transform(list(images), targets)
        features = self.backbone(pictures.tensors)
        proposals, first = self.rpn(pictures, features, targets)
        found, second = self.roi_heads(features, proposals, pictures.image_sizes, targets)
        return {**second, **first} if self.training else self.transform.postprocess(found, pictures.image_sizes, sizes)

    # --- how it is asked ---

    def training_loss(self, batch: Crowd, progress: float = 0.0) -> dict[str, Tensor]:
        """The losses by name and their sum under "total". Who is not seen, or in a strip, is not learned from."""
        terms = {name.removeprefix("loss_"): term for name, term in self(batch.images, self.targets(batch)).items()}
        return {**terms, "total": sum(terms.values())}

    def targets(self, batch: Crowd) -> list[Tensors]:
        """What is asked of every picture. The boxes are those of what is seen of a person."""
        keypoints = torch.cat([batch.joints, batch.visible[..., None].to(batch.joints)], dim=-1)
        answers = []
        for boxes, points, owners in zip(batch.boxes(), keypoints, batch.owners, strict=True):
            (able,) = ((boxes[:, 2:] - boxes[:, :2]).amin(1) >= SMALLEST).nonzero(as_tuple=True)
            target = {"boxes": boxes[able], "keypoints": points[able].float()}
            if self.roi_heads.has_mask():
                target["masks"] = (owners == able[:, None, None]).byte()
            answers.append(target)
        return answers

    def _checked(self, target: Tensors, number: int) -> Tensors:
        names = ["boxes", "keypoints", *(["masks"] if self.roi_heads.has_mask() else [])]
        if not set(names) <= target.keys():
            wanted = f"{', '.join(names[:-1])} and {names[-1]}"
            raise CourseError(f"target {number} needs {wanted}; it has {', '.join(target) or 'nothing'}")
        boxes, keypoints = target["boxes"].float(), target["keypoints"].float()
        joints = len(self.skeleton)
        if boxes.shape[1:] != (4,) or keypoints.shape != (len(boxes), joints, 3):
            raise CourseError(f"target {number} needs as many boxes (N, 4) as keypoints (N, {joints}, 3)")
        right = (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & boxes.isfinite().all(dim=1)
        if not right.all():
            raise CourseError(f"target {number} has a box without width or height: {boxes[~right][0].tolist()}")
        labels = target.get("labels", torch.ones(len(boxes), dtype=torch.int64, device=boxes.device))
        return {"boxes": boxes, "labels": labels, "keypoints": keypoints, **{n: target[n] for n in names[2:]}}

    # --- how it answers ---

    def decode(self, outputs: Sequence[Tensors], rank: str = "box") -> list[list[Pose]]:
        """What eval mode answers, as poses on the CPU, the surest first.

        rank: a person's score is the "box"'s, as in the paper, or its "product" with the joints' mean score.
        """
        if rank not in RANKS:
            raise unknown_name("rank", rank, RANKS)
        if isinstance(outputs, dict):
            raise CourseError("in training mode a keypoint R-CNN answers with losses; call eval() to get poses")
        people = []
        for output in outputs:
            parts = (output[name].detach().cpu() for name in ("keypoints", "keypoints_scores", "scores", "boxes"))
            rows = zip(*parts, strict=True)
            found = []
            for at, logits, score, box in rows:
                sure = logits.sigmoid()
                whole = float(score) * (float(sure.mean()) if rank == "product" else 1.0)
                found.append(Pose(at[:, :2], sure, self.skeleton, whole, box))
            people.append(sorted(found, key=lambda pose: -pose.score))
        return people

    def detect(self, images: Any) -> list[Found]:
        """The boxes alone of a list of pictures, as of any other detector."""
        found = []
        for poses in self.estimate(list(images)):
            boxes = [pose.box for pose in poses]
            scores = torch.tensor([pose.score for pose in poses])
            found.append(Found(torch.stack(boxes) if boxes else torch.zeros(0, 4), scores))
        return found


keypoint_rcnn = MaskRCNN
# maps of strides 4, 8 and 16 and anchors of 16 to 128 pixels suit rendered pictures of 192 x 256
keypoint_rcnn_course = partial(
    MaskRCNN,
    **{"body": (32, 64, 96), "channels": 64, "box_width": 128, "head_width": 64, "head_depth": 4},
    **{"smallest_anchor": 16, "min_size": 192, "max_size": 256, "proposals": (300, 100), "samples": 64},
    **{"input_size": (192, 256), "detections": 20},
)
mask_rcnn_course = partial(
    MaskRCNN,
    **{"skeleton": "lsp", "body": "hourglass", "masks": True, "channels": 64, "box_width": 128},
    **{"head_width": 64, "head_depth": 4, "mask_width": 32, "fine": True, "grow": 1.25},
    **{"smallest_anchor": 16, "anchor_steps": 2, "anchor_shapes": (1.0, 2.0, 3.0), "samples": 48},
    **{"people": 1 / 3, "proposals": (300, 100), "detections": 20},
    **{"min_size": 192, "max_size": 256, "input_size": (192, 256)},
)
