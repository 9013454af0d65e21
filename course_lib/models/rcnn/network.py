"""The whole of Mask R-CNN: what it is built of, what it is asked, and how it answers.

He, Gkioxari, Dollár and Girshick 2017, as the package tells.

|                     | paper                      | `keypoint_rcnn`           | `mask_rcnn_course`                    |
|---------------------|----------------------------|---------------------------|---------------------------------------|
| body                | ResNet-50 and a pyramid    | the same                  | lesson 06's hourglass, three strides  |
| parameters          | not given                  | 59,190,378, torchvision's | 1.25 million                          |
| joints are read     | by the box's size          | the same                  | always at stride 4                    |
| where joints may be | in the box                 | the same                  | in the box grown by `grow`            |
| masks beside joints | both tried                 | masks=True                | both                                  |
| a person's rank     | the box's score            | the same                  | decode(..., rank="box")               |
"""

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

from course_lib import checkpoints, geometry
from course_lib.errors import CourseError, unknown_name
from course_lib.images import to_tensor
from course_lib.models.base import PoseModel
from course_lib.models.detector import surest_first
from course_lib.models.pyramid import TrunkPyramid
from course_lib.models.rcnn import bodies, learning
from course_lib.models.rcnn.keypoints import BINS, KeypointHead, KeypointPredictor, grown
from course_lib.models.rcnn.regions import ProposalHead, RegionHeads
from course_lib.pose import Crowd, Found, Pose
from course_lib.skeletons import Skeleton

Tensors = dict[str, Tensor]
RANKS = ("box", "product")
SURE = ("logit", "share")


class MaskRCNN(PoseModel):
    """Boxes, joints and, with `masks`, pixels of everybody. As built without options: the paper's, for joints.

    body: "resnet50", or the widths of a small body's stages of strides 4, 8, ...: two residual blocks each, or
        "hourglass", lesson 06's, whose weights it can begin from.
    frozen_norm: ResNet-50's normalisations do not learn, as is usual where a GPU sees few pictures at once; their
        epsilon is then 0, as torchvision's published weights (COCO_V1) want it.
    smallest_anchor: the side of the smallest anchor box, twice as much on every further level.  anchor_steps: so many
        sizes a level, evenly between that and twice as much.  anchor_shapes: height over width.
    min_size, max_size: pictures are resized to this shorter side (in training to one of several by chance, else to the
        last), but no further than to this longer side; None: as `input_size`, into which `estimate` fits photographs.
    fine: joints and masks are read from the finest level whatever the box's size, where the paper takes a coarser one
        for a larger box.  reads: places across and down that RoIAlign reads for them in a bin.
    grow: joints are looked for in the box grown by this. The box is that of what is seen of a person, and every joint
        is asked for.
    trunk_rests: the share of a training, from its start, in which the hourglass stays as it began.
    sure: how sure a joint is said to be, by its "logit", as torchvision, or by the "share" of the softmax that lies
        close by.  rank: what ranks people, the "box"'s score, as in the paper, or its "product" with the joints' mean.
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
        min_size: int | Sequence[int] | None = (640, 672, 704, 736, 768, 800),
        max_size: int | None = 1333,
        input_size: tuple[int, int] = (800, 1088),
        fine: bool = False,
        reads: int = 2,
        grow: float = 1.0,
        proposals: tuple[int, int] = (2000, 1000),  # kept in training, and afterwards
        samples: int = 512,  # proposals of a picture that the box head learns from,
        people: float = 0.25,  # and the share of them, at most, that are people: those the other heads learn from
        score_threshold: float = 0.05,
        detections: int = 100,
        trunk_rests: float = 0.0,
        sure: str = "logit",
        rank: str = "box",
    ) -> None:
        numbers = (channels, box_width, head_width, head_depth, mask_width, samples, detections)
        numbers = (*numbers, reads, smallest_anchor, anchor_steps, len(anchor_shapes))
        if min(*numbers, *proposals, grow) < 1:
            raise CourseError(
                "a keypoint R-CNN needs widths, depth, anchors, proposals, samples and grow of at least 1"
            )
        for kind, name, known in (("measure of a joint", sure, SURE), ("rank", rank, RANKS)):
            if name not in known:
                raise unknown_name(kind, name, known)
        super().__init__(skeleton, input_size, stride=4)
        self.rank, self.trunk_rests = rank, float(trunk_rests)
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
        align = partial(MultiScaleRoIAlign, canonical_scale=7 * smallest_anchor)
        inner = levels[:1] if fine else levels
        branch = {
            "mask_roi_pool": align(inner, BINS, reads),
            "mask_head": MaskRCNNHeads(channels, (mask_width,) * 4, 1),
        }
        branch |= {"mask_predictor": MaskRCNNPredictor(mask_width, mask_width, 2)}
        self.roi_heads = RegionHeads(
            align(levels, 7, 2),
            TwoMLPHead(channels * 7 * 7, box_width),
            FastRCNNPredictor(box_width, 2),  # background, person
            **{"fg_iou_thresh": 0.5, "bg_iou_thresh": 0.5, "bbox_reg_weights": None, "nms_thresh": 0.5},
            **{"batch_size_per_image": samples, "positive_fraction": people},
            **{"score_thresh": score_threshold, "detections_per_img": detections},
            keypoint_roi_pool=align(inner, BINS, reads),
            keypoint_head=KeypointHead(channels, head_width, head_depth),
            keypoint_predictor=KeypointPredictor(head_width, len(self.skeleton)),
            **(branch if masks else {}),
        )
        self.roi_heads.grow, self.roi_heads.sure = float(grow), sure
        # the hourglass was trained on plain pixels
        colours = ([0.0] * 3, [1.0] * 3) if hourglass else bodies.IMAGENET
        shorter, longer = min_size or min(self.input_size), max_size or max(self.input_size)
        self.transform = GeneralizedRCNNTransform(shorter, longer, *colours)

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
            masks = self.roi_heads.has_mask()
            targets = [learning.checked(target, i, len(self.skeleton), masks) for i, target in enumerate(targets)]
        sizes = [tuple(image.shape[-2:]) for image in images]
        pictures, targets = self.transform(list(images), targets)
        features = self.backbone(pictures.tensors)
        proposals, first = self.rpn(pictures, features, targets)
        found, second = self.roi_heads(features, proposals, pictures.image_sizes, targets)
        return {**second, **first} if self.training else self.transform.postprocess(found, pictures.image_sizes, sizes)

    def training_loss(self, batch: Crowd, progress: float = 0.0) -> dict[str, Tensor]:
        """The losses by name, all of weight 1, and their sum under "total"."""
        if isinstance(self.backbone, TrunkPyramid):
            self.backbone.trunk_learns = progress >= self.trunk_rests
        losses = self(batch.images, learning.targets(batch, self.roi_heads.has_mask()))
        terms = {name.removeprefix("loss_"): loss for name, loss in losses.items()}
        return {**terms, "total": sum(terms.values())}

    # --- how it answers ---

    def decode(self, outputs: Sequence[Tensors], rank: str | None = None) -> list[list[Pose]]:
        """What eval mode answers, as poses on the CPU, the surest first. rank: the model's own, unless given.

        A joint's score is its share, or its logit brought between 0 and 1.
        """
        rank = self.rank if rank is None else rank
        if rank not in RANKS:
            raise unknown_name("rank", rank, RANKS)
        if isinstance(outputs, dict):
            raise CourseError("in training mode a keypoint R-CNN answers with losses; call eval() to get poses")
        people = []
        for output in outputs:
            names = ("keypoints", "keypoints_scores", "scores", "boxes")
            joints, sure, scores, boxes = (output[name].detach().cpu() for name in names)
            sure = sure.sigmoid() if self.roi_heads.sure == "logit" else sure
            ranks = scores * sure.mean(1) if rank == "product" else scores
            people.append(
                [
                    Pose(joints[i, :, :2], sure[i], self.skeleton, float(ranks[i]), boxes[i])
                    for i in ranks.argsort(descending=True, stable=True).tolist()
                ]
            )
        return people

    @torch.inference_mode()
    def joint_logits(self, image: Tensor, boxes: Tensor) -> Tensor:
        """What the keypoint head answers (N, K, 56, 56) for boxes (N, 4) of a picture (3, H, W) of its own size."""
        heads = self.roi_heads
        pictures, _ = self.transform([image])
        cut = heads.keypoint_roi_pool(self.backbone(pictures.tensors), [grown(boxes, heads.grow)], pictures.image_sizes)
        return heads.keypoint_predictor(heads.keypoint_head(cut)).float()

    def detect(self, images: Sequence[Any]) -> list[Found]:
        """The boxes alone, in the pictures' pixels, as of any other detector."""
        found = []
        for poses, image in zip(self.estimate(list(images)), images, strict=True):
            boxes = torch.stack([pose.box for pose in poses]) if poses else torch.zeros(0, 4)
            inside = geometry.clip_box(boxes, *to_tensor(image).shape[-2:])
            found.append(surest_first(inside, torch.tensor([pose.score for pose in poses])))
        return found


keypoint_rcnn = MaskRCNN
# anchors of 16 to 128 pixels suit rendered pictures of 192 x 256; people there are higher than wide, and six in a
# picture on average, so that more than a quarter of the samples may be people
mask_rcnn_course = partial(
    MaskRCNN,
    **{"skeleton": "lsp", "body": "hourglass", "masks": True, "channels": 64, "box_width": 128},
    **{"head_width": 64, "head_depth": 4, "mask_width": 32, "fine": True, "grow": 1.25},
    **{"smallest_anchor": 16, "anchor_steps": 2, "anchor_shapes": (1.0, 2.0, 3.0), "samples": 48},
    **{"people": 1 / 3, "proposals": (300, 100), "detections": 20, "sure": "share"},
    **{"min_size": None, "max_size": None, "input_size": (192, 256)},
)
