"""Published networks that look at whole pictures, shown to them as their authors showed them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.images import to_tensor
from course_lib.models.base import as_list
from course_lib.models.paf import PartAffinityFields
from course_lib.models.paf_scales import at_scales
from course_lib.models.rcnn import MaskRCNN
from course_lib.pose import Pose

HALF_PIXEL = 0.5  # from an index, which counts from the first pixel's middle, to the course's coordinates


class _Whole:
    """`estimate` without boxes shows one picture after another by `see`; with boxes it is the model's own."""

    def estimate(
        self,
        images: Any,
        boxes: Tensor | Sequence | None = None,
        flip_test: bool = False,
        padding: float | None = None,
    ) -> list[list[Pose]]:
        """Everybody in one picture or a list of pictures, in its pixels. Arguments as in `PoseModel.estimate`."""
        if boxes is not None:
            return super().estimate(images, boxes, flip_test, padding)
        parameter, was_training = next(self.parameters()), self.training
        self.eval()
        try:
            with torch.inference_mode():
                pictures = (to_tensor(image).to(parameter.device, parameter.dtype) for image in as_list(images)[0])
                return [self.see(picture, flip_test) for picture in pictures]
        finally:
            self.train(was_training)


class OpenPose(_Whole, PartAffinityFields):
    """The network of 2017, shown every picture at heights of 184, 368, 552 and 736 pixels.

    Maps and fields of the four are averaged and enlarged to the pixels of the second; people are put together as in the
    authors' MATLAB code. A part that is missing in a person lies at the mean of its others, with score 0.
    """

    height: int = 368
    scales: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0)
    grouping = {"passing_only": True, "least_joints": 3, "least_score": 0.2, "radius": 6}  # noqa: RUF012

    def see(self, picture: Tensor, flip_test: bool = False) -> list[Pose]:
        """The people of one picture (3, H, W)."""
        larger = self.height / picture.shape[-2]
        size = (self.height, max(1, round(picture.shape[-1] * larger)))
        shown = F.interpolate(picture[None], size, mode="bilinear", antialias=True, align_corners=False)
        down, right = (-side % self.stride for side in size)
        shown = F.pad(shown, (0, right, 0, down), value=0.5)
        answer = at_scales(self, shown, self.scales)
        if flip_test:
            answer = self.flip_average(answer, at_scales(self, shown.flip(-1), self.scales))
        [people] = self.decode(answer, enlarge=self.stride, **self.grouping)
        back = picture.new_tensor([picture.shape[-1] / size[1], picture.shape[-2] / size[0]]).cpu()
        return [pose.moved(pose.joints * back) for pose in people]


class KeypointRCNN(_Whole, MaskRCNN):
    """torchvision's network, shown every picture at the size that it was trained for.

    It learned from COCO's numbers as they stand in the files, which count from the first pixel's middle.
    """

    def see(self, picture: Tensor, flip_test: bool = False) -> list[Pose]:
        """The people of one picture (3, H, W)."""
        if flip_test:
            self.flip_average(None, None)  # refuses: there is none for it
        [people] = self.decode(self([picture]))
        return [replace(pose, joints=pose.joints + HALF_PIXEL) for pose in people]
