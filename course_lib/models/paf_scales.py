"""Part affinity fields at several sizes of one picture, as Cao et al. 2017 were scored on COCO."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.errors import CourseError
from course_lib.models.paf import Answer, PartAffinityFields


@torch.no_grad()
def at_scales(model: PartAffinityFields, images: Tensor, scales: Sequence[float] = (0.5, 1.0, 1.5, 2.0)) -> Answer:
    """The last stage's answers to images (B, 3, H, W) shown at several sizes, averaged: Answer with one stage.

    A small person is best seen enlarged, a large one as a whole. Every size is padded with grey, at the right and
    below, to what the network takes, and its answer is read, cubically, at the places of the picture's own cells.
    """
    if not scales or min(scales) <= 0:
        raise CourseError(f"scales must be one or more positive factors; got {tuple(scales)}")
    height, width = images.shape[-2:]
    cells = (height // model.stride, width // model.stride)
    if (cells[0] * model.stride, cells[1] * model.stride) != (height, width) or 0 in cells:
        raise CourseError(f"at_scales needs height and width divisible by {model.stride}; got {height} x {width}")
    maps, fields = [], []
    for scale in scales:
        size = [max(1, round(n * scale)) for n in (height, width)]
        shown = images
        if size != [height, width]:
            shown = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        down, right = (-n % model.multiple for n in size)
        answer = model(F.pad(shown, (0, right, 0, down), value=0.5))
        x, y = size[1] / (size[1] + right), size[0] / (size[0] + down)  # the picture's share of what was shown
        theta = images.new_tensor([[x, 0, x - 1], [0, y, y - 1]]).expand(len(images), 2, 3)
        grid = F.affine_grid(theta, [len(images), 1, *cells], align_corners=False)
        for kept, stages in ((maps, answer.maps), (fields, answer.fields)):
            kept.append(F.grid_sample(stages[-1], grid, mode="bicubic", padding_mode="border", align_corners=False))
    return Answer(*(torch.stack(kept).mean(0, keepdim=True) for kept in (maps, fields)))
