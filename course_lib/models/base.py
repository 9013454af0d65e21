"""What every learned model of the course can do: forward, loss, decode, and estimate, the whole way on any photograph.

    forward(images)            -> outputs      raw, every stage kept, so that one can look inside
    loss(outputs, batch)       -> dict         named terms and their sum under "total"
    decode(outputs)            -> poses        in the pixels of what forward was given
    estimate(images, boxes)    -> poses        in the pixels of the photographs

A model writes the first three; estimate is shared: box -> crop -> forward -> decode -> back into the photograph.
Between crop and decode it asks `look`: that is forward, unless a model wants more of the photograph than its crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import checkpoints, geometry, losses
from course_lib.errors import CourseError
from course_lib.images import to_tensor
from course_lib.models import alignment
from course_lib.pose import Batch, Crowd, Pose
from course_lib.skeletons import Skeleton, get
from course_lib.targets import heatmaps

BOX_PADDING = 1.25  # a person's box is grown by this before it is cut out, as in nearly all of the literature
CROPS_AT_ONCE = 32  # bounds the memory of estimate, not what it answers


class PoseModel(nn.Module):
    """A network that answers with poses. `input_size` is (height, width), `stride` input pixels per output cell."""

    many: bool = False  # whether it looks for everybody in the picture
    trained_on: str = ""  # "crowd" or "boxed" if it is trained on that kind of data, and not on people one by one
    name: str = ""  # what `models.create` was asked for, and the options it was given; checkpoints store both
    options: dict[str, Any]

    def __init__(self, skeleton: str | Skeleton, input_size: tuple[int, int], stride: int = 1) -> None:
        super().__init__()
        self.skeleton = get(skeleton)
        self.input_size = (int(input_size[0]), int(input_size[1]))
        self.stride = stride
        self.options = {}

    def forward(self, images: Tensor) -> Any:
        """images (B, 3, H, W) in [0, 1] -> the raw answer."""
        raise NotImplementedError

    def loss(self, outputs: Any, batch: Batch | Crowd) -> dict[str, Tensor]:
        """Named terms, their sum under "total"."""
        raise NotImplementedError

    def decode(self, outputs: Any) -> list[list[Pose]]:
        """The poses of every image, in its pixels."""
        raise NotImplementedError

    def begin_from(self, file: str | Path) -> dict[str, Any]:
        """Takes a checkpoint's weights as its first ones; returns the file's header. Who is built on another network
        may take that one's."""
        return checkpoints.load_into(file, self)

    def cut_out(self, picture: Tensor, boxes: Tensor, padding: float) -> tuple[Tensor, Tensor]:
        """The crops (N, 3, *input_size) of boxes (N, 4) and the maps picture -> crop (N, 2, 3)."""
        return geometry.crop(picture, boxes, self.input_size, padding)

    def look(self, crops: Tensor, pictures: Sequence[Tensor], matrices: Tensor) -> Any:
        """The raw answer to crops (N, 3, H, W), which the maps `matrices` (N, 2, 3) cut out of N `pictures` (3, h, w).

        The hook of `estimate` for models that go back to the picture for detail that the crop has lost.
        """
        return self(crops)

    def flip_average(self, outputs: Any, mirrored: Any) -> Any:
        """The mean of an answer and the answer to the mirrored image, turned back. Models that allow it say how."""
        raise CourseError(f"{type(self).__name__} has no flip test")

    def estimate(
        self,
        images: Any,
        boxes: Tensor | Sequence | None = None,
        flip_test: bool = False,
        padding: float | None = None,
    ) -> list[list[Pose]]:
        """Estimates poses on one picture or a list of pictures of any size: one list of poses per picture.

        A picture is whatever `images.to_tensor` takes. `boxes` are (N, 4) for one picture, a list of such for a list;
        each is grown by `padding` (1.25) and cut out. Without boxes the whole picture is the box, not grown. The
        model's mode and device are kept; poses come back on the CPU. Where a box lies wholly beside the picture, all
        scores are 0. `flip_test` averages with the answer to the mirrored picture.
        """
        device = next(self.parameters()).device
        listed, single = as_list(images)
        pictures = [to_tensor(image).to(device) for image in listed]
        given = [None] * len(pictures) if boxes is None else [boxes] if single else list(boxes)
        if len(given) != len(pictures):
            raise CourseError(f"{len(pictures)} pictures came with the boxes of {len(given)}")
        results: list[list[Pose]] = [[] for _ in pictures]
        asked = []  # (index of the picture, box, crop, matrix picture -> crop), one for every box
        for index, (picture, own) in enumerate(zip(pictures, given, strict=True)):
            grow = padding if padding is not None else 1.0 if own is None else BOX_PADDING
            own = _as_boxes(own, picture)
            crops, matrices = self.cut_out(picture, own, grow)
            asked += zip([index] * len(own), own, crops, matrices, strict=True)
        for start in range(0, len(asked), CROPS_AT_ONCE):
            part = asked[start : start + CROPS_AT_ONCE]
            crops, matrices = (torch.stack([one[at] for one in part]) for at in (2, 3))
            answers = self._answer(crops, [pictures[index] for index, *_ in part], matrices, flip_test)
            for (index, box, _, matrix), poses in zip(part, answers, strict=True):
                inside = geometry.box_area(geometry.clip_box(box, *pictures[index].shape[-2:])) > 0
                results[index] += [_moved_back(pose, matrix.cpu(), box.cpu(), bool(inside)) for pose in poses]
        return results

    @torch.inference_mode()
    def _answer(self, crops: Tensor, pictures: Sequence[Tensor], matrices: Tensor, flip_test: bool) -> list[list[Pose]]:
        """Poses of crops (N, 3, H, W) in their pixels."""
        crops = crops.to(next(self.parameters()).dtype)
        was_training = self.training
        self.eval()
        try:
            outputs = self.look(crops, pictures, matrices)
            if flip_test:
                turned = geometry.compose(matrices, geometry.mirror(crops.shape[-1], matrices).expand_as(matrices))
                mirrored = self.look(geometry.flip_images(crops), pictures, turned)
                outputs = self.flip_average(outputs, mirrored)
            return self.decode(outputs)
        finally:
            self.train(was_training)


def as_list(images: Any) -> tuple[list[Any], bool]:
    """A picture, or a list or tensor (B, 3, H, W) of them, as a list; and whether it was a single one."""
    single = not isinstance(images, list | tuple) and not (isinstance(images, Tensor) and images.ndim == 4)
    return [images] if single else list(images), single


def _moved_back(pose: Pose, matrix: Tensor, box: Tensor, inside: bool) -> Pose:
    """A pose of a crop in the picture's pixels; one whose box lies beside the picture has score 0.

    Who looks for everybody may say with each pose in which box it found it; all others looked in the crop's.
    """
    back = geometry.invert(matrix)
    joints = geometry.apply(back, pose.joints)
    box = box if pose.box is None else geometry.apply(back, pose.box.view(2, 2)).view(4)
    scores = pose.scores.clone() if inside else torch.zeros_like(pose.scores)
    return replace(pose, joints=joints, scores=scores, score=pose.score if inside else 0.0, box=box)


def _as_boxes(boxes: Any, picture: Tensor) -> Tensor:
    """Boxes (N, 4) as float32; the whole picture where none are given."""
    if boxes is None:
        return picture.new_tensor([[0.0, 0.0, picture.shape[-1], picture.shape[-2]]])
    boxes = torch.as_tensor(boxes, dtype=torch.float32, device=picture.device)
    if boxes.numel() == 0:
        return boxes.new_zeros(0, 4)
    if boxes.ndim != 2 or boxes.shape[-1] != 4:
        raise CourseError(f"boxes of one picture must have shape (N, 4) as x0, y0, x1, y1; got {tuple(boxes.shape)}")
    return boxes


class HeatmapModel(PoseModel):
    """A single-person network that answers with maps (S, B, K, h, w): S stages, of which the last is its word.

    Weights that were trained elsewhere may want their crops cut and their maps read by another `alignment`.
    """

    alignment: str = "cells"

    def __init__(
        self,
        skeleton: str | Skeleton,
        input_size: tuple[int, int],
        stride: int,
        sigma: float,
        read_out: str,
    ) -> None:
        super().__init__(skeleton, input_size, stride)
        self.sigma = sigma  # cells
        self.read_out = read_out

    def targets(self, batch: Batch, size: tuple[int, int]) -> Tensor:
        """The maps (B, K, *size) asked for."""
        return heatmaps.gaussian(batch.joints / self.stride, size, self.sigma)

    def stage_losses(self, maps: Tensor, batch: Batch) -> list[Tensor]:
        """Every stage's mean squared error in units of what an all-zero answer costs: 1 is nothing, 0 perfect."""
        size = (maps.shape[-2], maps.shape[-1])
        target, nothing = self.targets(batch, size), heatmaps.zero_level(size, self.sigma)
        return [losses.heatmap_mse(stage, target, batch.visible) / nothing for stage in maps]

    def decode(self, outputs: Tensor, stage: int = -1, read_out: str | None = None) -> list[list[Pose]]:
        """One pose per image from one stage's maps; joint scores are peak heights, their mean ranks the person."""
        method = read_out or self.read_out
        options = {"sigma": self.sigma} if method == "dark" else {}
        joints, scores = heatmaps.read_out(outputs[stage].detach(), method, **options)
        joints = alignment.to_crop(joints, outputs.shape[-2:], self.stride, self.alignment)
        joints, scores = joints.cpu(), scores.cpu()
        return [
            [Pose(one, score, self.skeleton, float(score.mean()))] for one, score in zip(joints, scores, strict=True)
        ]

    def flip_average(self, outputs: Tensor, mirrored: Tensor) -> Tensor:
        return alignment.average(outputs, mirrored, self.skeleton.swaps, self.alignment)

    def cut_out(self, picture: Tensor, boxes: Tensor, padding: float) -> tuple[Tensor, Tensor]:
        return alignment.crop(picture, boxes, self.input_size, padding, self.alignment)
