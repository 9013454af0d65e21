"""Where things are: the one coordinate convention, boxes, crops, N(y; b) and its inverse, flips and rotations.

THE CONVENTION. Coordinates are continuous and measured from the picture's top left *corner*; x runs right, y down. The
pixel in column j fills [j, j + 1), so its centre is at j + 0.5, and a picture of width W spans 0 to W:

    corner 0         1         2         3 = W
           |  px 0   |  px 1   |  px 2   |
    centre     0.5       1.5       2.5

Nothing then ever needs a half-pixel term: shrinking by s divides coordinates by s, mirroring is x -> W - x, and a
heatmap of stride s is just a smaller picture. Data sets that store pixel *indices* (the centre of the first pixel is
0, or 1 in MATLAB's files) are shifted by +0.5 (or -0.5) when they are read, and back when they are written.

A box is (x0, y0, x1, y1). An affine map is a (..., 2, 3) matrix A that takes p to A[:, :2] p + A[:, 2].
Everything is batched (leading dimensions broadcast), differentiable, and keeps its input's dtype and device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.errors import CourseError

# --- affine maps ------------------------------------------------------------------------------------------------------


def apply(matrix: Tensor, points: Tensor) -> Tensor:
    """Moves points (..., N, 2) by affine maps (..., 2, 3)."""
    return points @ matrix[..., :2].transpose(-1, -2) + matrix[..., None, :, 2]


def compose(first: Tensor, then: Tensor) -> Tensor:
    """The map that does `first`, then `then`."""
    linear = then[..., :2] @ first[..., :2]
    shift = then[..., :2] @ first[..., 2:] + then[..., 2:]
    return torch.cat([linear, shift], dim=-1)


def _determinant(matrix: Tensor) -> Tensor:
    return matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0]


def invert(matrix: Tensor) -> Tensor:
    """The map back. A map that flattens the plane (zero scale) has none and is refused."""
    if bool((_determinant(matrix) == 0).any()):
        raise CourseError("an affine map with zero determinant cannot be inverted (a scale or a box side is zero)")
    return _inverse(matrix)


def _inverse(matrix: Tensor) -> Tensor:
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    determinant = _determinant(matrix)
    linear = torch.stack([d, -b, -c, a], dim=-1).unflatten(-1, (2, 2)) / determinant[..., None, None]
    return torch.cat([linear, -linear @ matrix[..., 2:]], dim=-1)


def similarity(centre: Tensor, angle: Tensor, scale: Tensor, target: Tensor) -> Tensor:
    """Turns by `angle` (radians, clockwise as seen on screen) and scales about `centre`, which lands on `target`.

    centre, target (..., 2); angle, scale (...). Returns (..., 2, 3).
    """
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    linear = torch.stack([cos, -sin, sin, cos], dim=-1).unflatten(-1, (2, 2))
    return torch.cat([linear, target[..., None] - linear @ centre[..., None]], dim=-1)


def mirror(width: float, like: Tensor) -> Tensor:
    """The map x -> width - x as a (2, 3) matrix. Remember to permute left and right joints as well."""
    return like.new_tensor([[-1.0, 0.0, float(width)], [0.0, 1.0, 0.0]])


# --- boxes ------------------------------------------------------------------------------------------------------------


def box_of(joints: Tensor, labelled: Tensor, padding: float = 0.0) -> Tensor:
    """The tight box of the labelled joints, grown by `padding` times its size on each side.

    joints (..., K, 2), labelled (..., K) -> (..., 4). With nobody labelled the box is all zeros.
    """
    keep = (labelled > 0)[..., None]
    low = joints.masked_fill(~keep, math.inf).amin(-2)
    high = joints.masked_fill(~keep, -math.inf).amax(-2)
    some = keep.any(-2)
    low, high = torch.where(some, low, 0), torch.where(some, high, 0)
    grow = (high - low) * padding
    return torch.cat([low - grow, high + grow], dim=-1)


def box_area(box: Tensor) -> Tensor:
    """Area of boxes (..., 4); an inside-out box has area zero."""
    return (box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every box in a (N, 4) with every box in b (M, 4): (N, M). Empty boxes meet nobody."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = (high - low).clamp(min=0).prod(-1)
    union = box_area(a)[:, None] + box_area(b)[None] - overlap
    return overlap / union.clamp(min=torch.finfo(a.dtype).tiny)


def clip_box(box: Tensor, height: float, width: float) -> Tensor:
    """The part of boxes (..., 4) that lies inside a picture."""
    limit = box.new_tensor([width, height, width, height])
    return torch.minimum(box.clamp(min=0), limit)


def _checked(box: Tensor) -> Tensor:
    sides = box[..., 2:] - box[..., :2]
    if not bool(torch.isfinite(box).all()) or bool((sides <= 0).any()):
        bad = box.reshape(-1, 4)[(~(torch.isfinite(box).all(-1) & (sides > 0).all(-1))).reshape(-1)][0]
        raise CourseError(f"a box must be finite with x0 < x1 and y0 < y1; got {[round(v, 2) for v in bad.tolist()]}")
    return box


# --- N(y; b): DeepPose's normalisation --------------------------------------------------------------------------------


def normalise(joints: Tensor, box: Tensor) -> Tensor:
    """N(y; b): joints (..., K, 2) in units of box (..., 4): (0, 0) its centre, (+-0.5, +-0.5) its corners.

    Toshev and Szegedy 2014: y_i' = diag(1/b_w, 1/b_h) (y_i - b_c). A box without area is refused.
    """
    box = _checked(box)
    centre, sides = (box[..., :2] + box[..., 2:]) / 2, box[..., 2:] - box[..., :2]
    return (joints - centre[..., None, :]) / sides[..., None, :]


def denormalise(joints: Tensor, box: Tensor) -> Tensor:
    """N^-1(y; b): the way back from box units to picture pixels."""
    box = _checked(box)
    centre, sides = (box[..., :2] + box[..., 2:]) / 2, box[..., 2:] - box[..., :2]
    return joints * sides[..., None, :] + centre[..., None, :]


# --- crops ------------------------------------------------------------------------------------------------------------


def crop_matrix(box: Tensor, size: tuple[int, int], padding: float = 1.25, angle: float | Tensor = 0.0) -> Tensor:
    """The map from picture to crop: the box, grown by `padding` and to the crop's aspect ratio, fills `size`.

    box (..., 4), size (height, width) -> (..., 2, 3). Nothing is stretched: the short side is grown, not squeezed.
    """
    box = _checked(box)
    height, width = size
    sides = (box[..., 2:] - box[..., :2]) * padding
    scale = torch.minimum(width / sides[..., 0], height / sides[..., 1])
    centre = (box[..., :2] + box[..., 2:]) / 2
    angle = torch.as_tensor(angle, dtype=box.dtype, device=box.device).expand(scale.shape)
    target = box.new_tensor([width / 2, height / 2]).expand(centre.shape)
    return similarity(centre, angle, scale, target)


def warp(
    images: Tensor, matrix: Tensor, size: tuple[int, int], fill: float = 0.0, largest: float | None = None
) -> Tensor:
    """Resamples images (B, C, H, W) through maps picture -> result (B, 2, 3): (B, C, height, width).

    Bilinear; what lies outside the picture becomes `fill`. When shrinking by two or more, the picture is first
    averaged down by whole factors, so that fine texture does not alias. Who knows a bound of the maps' `largest` scale
    says so (they must not be flat then): to look for it makes the CPU wait for a GPU.
    """
    height, width = size
    if known := largest is not None:
        shrink = 1 / largest
    else:
        shrink = float(_determinant(matrix).abs().amax().clamp(min=1e-12)) ** -0.5
    factor = max(1, min(int(shrink), images.shape[-2], images.shape[-1]))
    if factor > 1:
        whole = (images.shape[-2] // factor * factor, images.shape[-1] // factor * factor)
        images = F.avg_pool2d(images[..., : whole[0], : whole[1]], factor)
        scaling = matrix.new_tensor([[factor, 0, 0], [0, factor, 0]])
        matrix = compose(scaling.expand(matrix.shape), matrix)
    points = _sources(_inverse(matrix) if known else invert(matrix), size)
    extent = points.new_tensor([images.shape[-1], images.shape[-2]])
    inside = ((points >= 0) & (points <= extent)).all(-1).unflatten(1, (height, width))[:, None]  # (B, 1, *size)
    # grid_sample's align_corners=False is this very convention, rescaled to [-1, 1]. Its own zero padding would fade
    # the outermost half pixel of the picture, so the border is extended and then cut off.
    grid = (points / extent * 2 - 1).unflatten(1, (height, width)).to(images.dtype)
    sampled = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return torch.where(inside, sampled, fill)


def warp_labels(labels: Tensor, matrix: Tensor, size: tuple[int, int], fill: int) -> Tensor:
    """Resamples labels (B, H, W) through maps picture -> result (B, 2, 3): those of the nearest pixels, (B, *size).

    What lies outside the picture becomes `fill`. Maps must not be flat."""
    column, row = _sources(_inverse(matrix), size).floor().unbind(-1)  # (B, height * width)
    inside = (column >= 0) & (column < labels.shape[-1]) & (row >= 0) & (row < labels.shape[-2])
    index = torch.where(inside, row * labels.shape[-1] + column, 0).long()
    taken = labels.flatten(1).gather(1, index)
    return torch.where(inside, taken, fill).to(labels.dtype).unflatten(1, size)


def _sources(back: Tensor, size: tuple[int, int]) -> Tensor:
    """Where the centres of the result's pixels come from (B, height * width, 2), by the maps result -> picture."""
    ys, xs = torch.meshgrid(
        *(torch.arange(side, dtype=back.dtype, device=back.device) + 0.5 for side in size), indexing="ij"
    )
    return apply(back, torch.stack([xs, ys], dim=-1).reshape(1, -1, 2))


def crop(image: Tensor, boxes: Tensor, size: tuple[int, int], padding: float = 1.25) -> tuple[Tensor, Tensor]:
    """Cuts boxes (N, 4) out of one image (3, H, W): crops (N, 3, *size) and the maps picture -> crop (N, 2, 3)."""
    matrix = crop_matrix(boxes, size, padding)
    crops = [warp(image[None], one[None], size) for one in matrix]
    return (torch.cat(crops) if crops else image.new_zeros(0, image.shape[0], *size)), matrix


# --- flips ------------------------------------------------------------------------------------------------------------


def flip_images(images: Tensor) -> Tensor:
    """Mirrors images or maps (..., H, W) left to right."""
    return images.flip(-1)


def flip_joints(joints: Tensor, width: float, swaps: Sequence[int]) -> Tensor:
    """Mirrors joints (..., K, 2) in a picture of this width and gives every joint its new name."""
    flipped = torch.stack([width - joints[..., 0], joints[..., 1]], dim=-1)
    return flipped[..., list(swaps), :]


def flip_maps(maps: Tensor, swaps: Sequence[int]) -> Tensor:
    """Mirrors heatmaps (..., K, H, W) and gives every channel its new name. No one-cell shift is needed here."""
    return maps.flip(-1)[..., list(swaps), :, :]
