"""What is done with every proposed box: a better box and its score first, then the joints and the pixels in it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss, maskrcnn_inference, maskrcnn_loss
from torchvision.models.detection.rpn import RPNHead

from course_lib.models.rcnn.keypoints import grown, keypoint_loss, read_out, shares, target_cells

Tensors = dict[str, Tensor]
Sizes = list[tuple[int, int]]  # (height, width)


class ProposalHead(RPNHead):
    """torchvision's, but it answers in single precision: autocast's half would round boxes to whole pixels."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        scores, moves = super().forward(x)
        return [score.float() for score in scores], [move.float() for move in moves]


class RegionHeads(RoIHeads):
    """torchvision's, with the keypoint branch written out.

    grow: joints may be in the box grown by this.  sure: what is said with every joint, its "logit" or its "share".

    In training the heads for joints and masks see the proposals that hit a person, the true boxes among them;
    afterwards they see the boxes that were detected, when they have been moved into place and doubles are gone.
    """

    grow: float = 1.0
    sure: str = "logit"

    def forward(
        self, features: Tensors, proposals: list[Tensor], image_shapes: Sizes, targets: list[Tensors] | None = None
    ) -> tuple[list[Tensors], Tensors]:
        """Features by level and boxes [(P, 4)] by picture -> (detections by picture, losses); one of them is empty."""
        if self.training:
            proposals, matches, labels, offsets = self.select_training_samples(proposals, targets)
        seen = self.box_head(self.box_roi_pool(features, proposals, image_shapes))
        scores, moves = (answer.float() for answer in self.box_predictor(seen))
        if not self.training:
            return self._detections(features, image_shapes, scores, moves, proposals), {}
        classifier, box_reg = fastrcnn_loss(scores, moves, labels, offsets)
        people = [label > 0 for label in labels]
        boxes = [some[person] for some, person in zip(proposals, people, strict=True)]
        owners = [match[person] for match, person in zip(matches, people, strict=True)]
        losses = {"loss_classifier": classifier, "loss_box_reg": box_reg}
        losses["loss_keypoint"] = self._keypoint_loss(features, image_shapes, boxes, owners, targets)
        if self.has_mask():
            logits = self._mask_logits(features, image_shapes, boxes)
            masks, labels = ([target[name] for target in targets] for name in ("masks", "labels"))
            losses["loss_mask"] = maskrcnn_loss(logits, boxes, masks, labels, owners)
        return [], losses

    def _detections(
        self, features: Tensors, shapes: Sizes, scores: Tensor, moves: Tensor, proposals: list[Tensor]
    ) -> list[Tensors]:
        boxes, scores, labels = self.postprocess_detections(scores, moves, proposals, shapes)
        counts = [len(some) for some in boxes]
        logits, regions = self._keypoint_logits(features, shapes, boxes), grown(torch.cat(boxes), self.grow)
        joints, sure = read_out(logits, regions)
        sure = shares(logits, joints, regions) if self.sure == "share" else sure
        # torchvision's form: the third number is 1 for every joint and says nothing
        columns = {"boxes": boxes, "labels": labels, "scores": scores}
        columns["keypoints"] = F.pad(joints, (0, 1), value=1.0).split(counts)
        columns["keypoints_scores"] = sure.split(counts)
        if self.has_mask():
            columns["masks"] = maskrcnn_inference(self._mask_logits(features, shapes, boxes), labels)
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _keypoint_loss(
        self, features: Tensors, shapes: Sizes, boxes: list[Tensor], owners: list[Tensor], targets: list[Tensors]
    ) -> Tensor:
        keypoints = [target["keypoints"][owner] for target, owner in zip(targets, owners, strict=True)]
        cells, asked = target_cells(torch.cat(keypoints), grown(torch.cat(boxes), self.grow))
        return keypoint_loss(self._keypoint_logits(features, shapes, boxes), cells, asked)

    def _keypoint_logits(self, features: Tensors, shapes: Sizes, boxes: list[Tensor]) -> Tensor:
        """Boxes [(N, 4)] by picture -> (all N, K, 56, 56)."""
        boxes = [grown(some, self.grow) for some in boxes]
        return self.keypoint_predictor(self.keypoint_head(self.keypoint_roi_pool(features, boxes, shapes))).float()

    def _mask_logits(self, features: Tensors, shapes: Sizes, boxes: list[Tensor]) -> Tensor:
        """Boxes [(N, 4)] by picture -> (all N, 2, 28, 28): of nothing, which is not used, and of a person."""
        return self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes, shapes))).float()
