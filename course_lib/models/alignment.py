"""Where the cells of a network's maps lie on its crop, and its crop on the picture: three conventions.

The course's own is written in `geometry.py`. Published networks were trained with other ones, and whoever reads their
maps by the wrong one is off everywhere by a part of a cell: too little to see in a drawing, and counted by AP. Below, i
is a cell's column in maps of w columns, j a pixel's in crops of W, x a pixel's in the picture, c the box's middle
and s the crop's scale. All are indices, which count from the *middle* of the first pixel; rows go alike.

|                 | "cells": the course's    | "indices": simple baselines, HRNet | "intervals": UDP              |
|-----------------|--------------------------|------------------------------------|-------------------------------|
| picture -> crop | j + ½ = s(x + ½ - c)+W/2 | j = s(x - c) + W/2                 | j = s'(x - c) + (W - 1)/2     |
| the scale       | s                        | s                                  | s' = s (W - 1)/W, so for rows |
| maps -> crop    | j + ½ = (i + ½) W/w      | j = i W/w                          | j = i (W - 1)/(w - 1)         |
| mirrored maps   | turned back              | turned back, one cell to the right | turned back                   |
| when it shrinks | averages                 | takes single pixels                | takes single pixels           |

The middle of a box is a number of pixels from the picture's edge: "cells" takes it as that, the other two as an index,
half a pixel further right and down. With "indices" a peak in a mirrored map, turned back, lies 3/4 of a cell too far
left, wherever it is; moved by a whole cell it is 1/4 too far right. UDP (Junjie Huang et al., "The Devil Is in the
Details: Delving Into Unbiased Data Processing for Human Pose Estimation", CVPR 2020, arXiv 1911.07524) measures in
steps between pixels, of which there are W - 1, and needs no such mending. In the course's maps nothing is off either.

Two things are not imitated: that code leaves a peak in the second row or column where it is, which `quarter` moves by a
quarter of a cell, and puts a joint whose map is nowhere positive into the map's first cell.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from course_lib import geometry
from course_lib.errors import unknown_name

ALIGNMENTS = ("cells", "indices", "intervals")


def checked(alignment: str) -> str:
    """The alignment, if there is one of this name."""
    if alignment not in ALIGNMENTS:
        raise unknown_name("alignment", alignment, ALIGNMENTS)
    return alignment


def crop_matrix(boxes: Tensor, size: tuple[int, int], padding: float, alignment: str = "cells") -> Tensor:
    """The maps picture -> crop of boxes (..., 4), in the course's coordinates: (..., 2, 3)."""
    matrix = geometry.crop_matrix(boxes, size, padding)
    if checked(alignment) == "cells":
        return matrix
    sides = matrix.new_tensor([size[1], size[0]])
    shrink = (sides - 1) / sides if alignment == "intervals" else torch.ones_like(sides)
    linear = matrix[..., :2] * shrink[:, None]
    # x + ½ -> j + ½: the box's middle lands on W/2 + ½, or on (W - 1)/2 + ½
    middle = sides / 2 if alignment == "intervals" else sides / 2 + 0.5
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2 + 0.5
    return torch.cat([linear, middle[:, None] - linear @ centre[..., None]], dim=-1)


def crop(
    picture: Tensor, boxes: Tensor, size: tuple[int, int], padding: float, alignment: str = "cells"
) -> tuple[Tensor, Tensor]:
    """Cuts boxes (N, 4) out of one picture (3, H, W): crops (N, 3, *size) and the maps picture -> crop (N, 2, 3)."""
    if checked(alignment) == "cells":
        return geometry.crop(picture, boxes, size, padding)
    matrix = crop_matrix(boxes, size, padding, alignment)
    # a scale of 1 is said to be the largest, so that nothing is averaged
    crops = [geometry.warp(picture[None], one[None], size, largest=1.0) for one in matrix]
    return (torch.cat(crops) if crops else picture.new_zeros(0, 3, *size)), matrix


def to_crop(joints: Tensor, cells: Sequence[int], stride: int, alignment: str = "cells") -> Tensor:
    """Joints (..., 2) in units of maps with this many (rows, columns) in the pixels of the crop."""
    if checked(alignment) == "cells":
        return joints * stride
    scale = joints.new_tensor([stride, stride])
    if alignment == "intervals":
        cells = joints.new_tensor([cells[1], cells[0]])
        scale = (cells * stride - 1) / (cells - 1).clamp(min=1)
    return (joints - 0.5) * scale + 0.5


def average(maps: Tensor, mirrored: Tensor, swaps: Sequence[int], alignment: str = "cells") -> Tensor:
    """The mean of maps (..., K, h, w) and those of the mirrored crop, turned back."""
    turned = geometry.flip_maps(mirrored, swaps)
    if checked(alignment) == "indices":  # nothing is known of the first column: it stays
        turned = torch.cat([turned[..., :1], turned[..., :-1]], dim=-1)
    return (maps + turned) / 2
