"""The two-stage systems: first a detector says where people are, then a network is asked about each of them.

    picture -> detector -> boxes -> crops -> the network -> poses -> ranked -> doubles suppressed

Any detector can take the first place. What a system adds to a single-person network is how it ranks what it found and
which of several poses of one person it keeps: `rank` and `suppress`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from course_lib.errors import CourseError
from course_lib.images import to_tensor
from course_lib.models.base import PoseModel, as_list
from course_lib.models.detector import Detector, surest_first
from course_lib.pose import Found, Pose

DETECTOR = "person_detector"  # the one that ships
MOST_BOXES = 100  # of one picture that are looked at, the surest; a detector may return hundreds
PICTURE = (192, 256)  # height and width of the crowded pictures that the systems of the course learn from
SMALLEST = 1.0  # pixels of a side: in a smaller box nothing is looked for


class TopDownModel(PoseModel):
    """Finds everybody: `estimate(picture)` asks its detector for boxes. Told the boxes, it answers each with one pose.

    `detector` may be set to anything with a method `detect`; unless it is, the one that ships is loaded when needed.
    """

    many, trained_on, takes_boxes = True, "boxed", True
    padding: float = 1.25  # boxes are grown by this before they are cut out
    _detector: Detector | None = None

    @property
    def detector(self) -> Detector:
        """Who says where people are. It is no part of the model's weights."""
        if self._detector is None:
            from course_lib import models  # not above: `models` knows this file

            self.detector = models.load(DETECTOR)
        return self._detector

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "detector":  # past nn.Module, which would take its weights for its own
            self.__dict__["_detector"] = value
        else:
            super().__setattr__(name, value)

    def rank(self, pose: Pose, box_score: float) -> float:
        """How sure we are of a person, from its joints and its box; AP ranks by this."""
        return box_score * float(pose.scores.mean())

    def suppress(self, poses: Sequence[Pose], unit: float = 1.0) -> list[Pose]:
        """Which of the poses of one picture stay, the best first.

        unit: how many of its pixels are as long as one of the pictures that the system has learned from.
        """
        raise NotImplementedError

    def propose(
        self, images: Sequence[Any], found: Sequence[Found | Tensor] | None = None, flip_test: bool = False
    ) -> list[list[Pose]]:
        """One pose for every box of every picture, ranked, nothing suppressed.

        found: what a detector said of every picture, or boxes (N, 4) that are all equally sure; without it the detector
        is asked. Boxes that are not finite, lie beside the picture or are less than a pixel wide or high are left out.
        """
        pictures = [to_tensor(image) for image in images]
        found = self.detector.detect(pictures) if found is None else found
        if len(found) != len(pictures):
            raise CourseError(f"{len(pictures)} pictures came with the boxes of {len(found)}")
        sure = [usable(one, picture.shape[-2:]) for one, picture in zip(found, pictures, strict=True)]
        poses = super().estimate(pictures, [one.boxes for one in sure], flip_test, self.padding)
        return [
            [replace(pose, score=self.rank(pose, float(score))) for pose, score in zip(own, one.scores, strict=True)]
            for own, one in zip(poses, sure, strict=True)
        ]

    def estimate(
        self,
        images: Any,
        boxes: Tensor | Sequence | None = None,
        flip_test: bool = False,
        padding: float | None = None,
    ) -> list[list[Pose]]:
        """Everybody in one picture or a list of pictures; or, told the boxes, one pose for each of them in their order.

        Arguments as in `PoseModel.estimate`; `padding` is for given boxes only.
        """
        if boxes is not None:
            poses = super().estimate(images, boxes, flip_test, self.padding if padding is None else padding)
            return [[replace(pose, score=self.rank(pose, 1.0) * (pose.score > 0)) for pose in own] for own in poses]
        pictures = [to_tensor(image) for image in as_list(images)[0]]
        units = [max(picture.shape[-2] / PICTURE[0], picture.shape[-1] / PICTURE[1]) for picture in pictures]
        proposed = self.propose(pictures, None, flip_test)
        return [self.suppress(own, unit) for own, unit in zip(proposed, units, strict=True)]


def usable(found: Found | Tensor | Sequence, size: Sequence[int]) -> Found:
    """The surest boxes that a person could be seen in."""
    if not isinstance(found, Found):
        boxes = torch.as_tensor(found, dtype=torch.float32)
        found = Found(boxes.reshape(-1, 4) if boxes.numel() == 0 else boxes, torch.ones(len(boxes)))
    if found.boxes.ndim != 2 or found.boxes.shape[-1] != 4 or found.scores.shape != found.boxes.shape[:1]:
        raise CourseError(
            "what is found in a picture is boxes (N, 4) and scores (N,); got "
            f"{tuple(found.boxes.shape)} and {tuple(found.scores.shape)}"
        )
    boxes, scores = surest_first(*found)
    height, width = size
    inside = torch.stack([boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)], -1).flatten(1)
    wide = (inside[:, 2:] - inside[:, :2] >= SMALLEST).all(-1)
    return Found(boxes[wide][:MOST_BOXES], scores[wide][:MOST_BOXES])
