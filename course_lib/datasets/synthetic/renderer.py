"""Draws shapes: one batched z-buffer over exactly those pixels that a shape may touch.

The obvious way evaluates every limb on every pixel of every image; a limb covers about one pixel in fifty. Here the
pixels in the bounding box of every shape are written out as one long list (E entries, ragged, no padding), tested
against the shape in a few vector operations, and fought out in a depth buffer by a scatter-minimum whose key is the
depth with the entry's own number behind it: the smallest key is the nearest surface and says at once which entry won.
Only winners are shaded. The same lines run on a CPU and on a GPU.

Image b has a pinhole camera (focal, centre x, centre y) in pixels. All sizes are doubled inside (2x2 samples a pixel).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.datasets.synthetic.shapes import HEAD, NO_CUT, Shapes

SAMPLES = 2  # along each side of a pixel
_DEPTH_STEPS = 2.0**16  # depth buffer steps a metre
_NEAR = 0.05  # metres: what comes closer to the camera is not drawn


@dataclass
class Rendering:
    """What the renderer saw of B images of H x W pixels, h = SAMPLES H and w = SAMPLES W samples."""

    colour: Tensor  # (B, 3, H, W) light from shapes, already weighted by `alpha`
    alpha: Tensor  # (B, 1, H, W) how much of the pixel shapes cover
    nearest: Tensor  # (B, h, w) the depth buffer's keys: depth steps << 32 | entry
    seen: tuple[Tensor, Tensor]  # flat index (N,) of the N covered samples, and who is in front there: -1 a thing

    def depth_at(self, image: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Metres from the camera to the nearest surface at these samples; very far where there is none."""
        return (self.nearest[image, y, x] >> 32).double() / _DEPTH_STEPS

    def owners(self) -> Tensor:
        """(B, h, w) long: the person in front, -1 a thing, -2 nothing."""
        owner = torch.full_like(self.nearest, -2)
        owner.view(-1)[self.seen[0]] = self.seen[1]
        return owner


def project(points: Tensor, cameras: Tensor) -> Tensor:
    """Pixels (..., 2) of points (..., 3) seen by cameras (..., 3): focal x / z + centre."""
    return cameras[..., :1] * points[..., :2] / points[..., 2:].clamp(min=_NEAR) + cameras[..., 1:]


def _scanlines(centres: Tensor, radius: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Every row of pixels that a shape may touch: shape, row, first column, number of columns (R,).

    On screen a shape lies within the hull of two discs, centres (M, 2, 2), radius (M, 2): on a row, between the
    outermost of the two discs and the two outer tangents, whose normals n satisfy n . (c1 - c0) = r0 - r1.
    """
    height, width = size
    low = (centres[..., 1] - radius).amin(1).floor().clamp(0, height).long()
    high = (centres[..., 1] + radius).amax(1).ceil().clamp(0, height).long()
    count = (high - low).clamp(min=0)
    which = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    row = torch.arange(len(which), device=count.device) - pick(torch.cumsum(count, 0) - count - low, which)

    delta = centres[:, 1] - centres[:, 0]
    length = delta.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    delta = delta / length
    lean = ((radius[:, :1] - radius[:, 1:]) / length).clamp(-1, 1)
    side = torch.stack([-delta[:, 1], delta[:, 0]], -1) * (1 - lean * lean).sqrt()
    tangents = torch.stack([lean * delta + side, lean * delta - side], 1)  # (M, 2 tangents, 2)
    points = centres[:, None] + tangents[:, :, None] * radius[:, None, :, None]  # (M, 2 tangents, 2 discs, 2)

    y = row[:, None] + 0.5
    inside = pick(radius, which).square() - (y - pick(centres[..., 1], which)).square()
    reach = inside.clamp(min=0).sqrt() + 1  # a row's pixels are a pixel high: allow one more
    on_disc = inside > -radius.new_tensor(1.0) - 2 * pick(radius, which)
    start, stop = pick(points, which).unbind(2)
    rise = stop[..., 1] - start[..., 1]
    share = (y - start[..., 1]) / torch.where(rise.abs() < 1e-6, 1e-6, rise)
    on_tangent = (share >= 0) & (share <= 1)
    crossing = start[..., 0] + share * (stop[..., 0] - start[..., 0])
    middle = pick(centres[..., 0], which)
    left = torch.cat([torch.where(on_disc, middle - reach, width), torch.where(on_tangent, crossing - 1, width)], -1)
    right = torch.cat([torch.where(on_disc, middle + reach, 0), torch.where(on_tangent, crossing + 1, 0)], -1)
    left = left.amin(-1).floor().clamp(0, width).long()
    right = right.amax(-1).ceil().clamp(0, width).long()
    return which, row, left, (right - left).clamp(min=0)


def pick(values: Tensor, which: Tensor) -> Tensor:
    """values[which]; index_select copies whole rows and is several times faster on a CPU."""
    return values.index_select(0, which)


def render(shapes: Shapes, cameras: Tensor, lights: Tensor, size: tuple[int, int]) -> Rendering:
    """Draws all shapes of B images.

    cameras (B, 3): focal length, centre x, centre y in pixels. lights (B, 4): direction to the light, ambient share.
    """
    device, images = cameras.device, len(cameras)
    height, width = size[0] * SAMPLES, size[1] * SAMPLES
    cameras = cameras * SAMPLES
    # of shapes without size, or wholly behind the camera, nothing is to be seen
    shapes = shapes[(shapes.radii.amax(-1) > 0) & (shapes.ends[..., 2].amin(-1) > _NEAR)]
    camera = pick(cameras, shapes.image)
    centres = project(shapes.ends, camera[:, None])
    depth = shapes.ends[..., 2]
    radii = camera[:, :1] * shapes.radii / depth
    of_row, row, first, count = _scanlines(centres, radii, (height, width))

    # everything that is the same along a row is worked out once a row, and handed to its pixels
    delta = centres[:, 1] - centres[:, 0]
    per_pixel = delta / delta.square().sum(-1, keepdim=True).clamp(min=1e-6)
    y = row + 0.5 - pick(centres[:, 0, 1], of_row)
    rows = torch.arange(len(of_row), device=device, dtype=torch.int32)
    line = torch.repeat_interleave(rows, count)
    before = (torch.cumsum(count, 0) - count - first).int()
    column = torch.arange(len(line), device=device, dtype=torch.int32) - pick(before, line)
    x = column + pick(0.5 - pick(centres[:, 0, 0], of_row), line)
    base, slope = y * pick(per_pixel[:, 1], of_row), pick(per_pixel[:, 0], of_row)
    along = torch.addcmul(pick(base, line), x, pick(slope, line)).clamp_(0, 1)
    x = torch.addcmul(x, along, pick(pick(delta[:, 0], of_row), line), value=-1)
    y = torch.addcmul(pick(y, line), along, pick(pick(delta[:, 1], of_row), line), value=-1)
    start, change = pick(radii[:, 0], of_row), pick(radii[:, 1] - radii[:, 0], of_row)
    radius = torch.addcmul(pick(start, line), along, pick(change, line))
    inside = radius * radius - x * x - y * y
    keep = (inside > 0).nonzero()[:, 0].int()

    line, along, radius = pick(line, keep), pick(along, keep), pick(radius, keep)
    which = pick(of_row.int(), line)
    normal = torch.stack([pick(x, keep), pick(y, keep), -pick(inside, keep).sqrt()], -1) / radius[:, None]
    pixel_depth = torch.addcmul(pick(depth[:, 0], which), along, pick(depth[:, 1] - depth[:, 0], which))
    # the round surface bulges towards the camera by the radius, in metres, times the normal's depth
    pixel_depth = pixel_depth * (1 + radius / pick(camera[:, 0], which) * normal[:, 2])
    pixel = pick(pick(shapes.image, of_row) * (height * width) + row * width, line) + pick(column, keep)

    nearest = torch.full((images * height * width,), 2**62, dtype=torch.long, device=device)
    key = ((pixel_depth.clamp(_NEAR, 1000) * _DEPTH_STEPS).long() << 32) + torch.arange(len(pixel), device=device)
    nearest.scatter_reduce_(0, pixel, key, "amin")
    winner = (key == pick(nearest, pixel)).nonzero()[:, 0].int()

    which, pixel, normal, pixel_depth = (pick(part, winner) for part in (which, pixel, normal, pixel_depth))
    colour = _shade(shapes, which, pixel, normal, pixel_depth, cameras, lights, (height, width))

    row = torch.div(pixel, width, rounding_mode="floor")  # counted over all images
    image_row = torch.div(row, SAMPLES, rounding_mode="floor")
    target = image_row * size[1] + torch.div(pixel - row * width, SAMPLES, rounding_mode="floor")
    sums = normal.new_zeros(4, images * size[0] * size[1])
    for total, values in zip(sums, [*colour, torch.ones_like(colour[0])], strict=True):
        total.scatter_add_(0, target, values)
    sums = (sums / SAMPLES**2).view(4, images, *size).transpose(0, 1)

    nearest = nearest.view(images, height, width)
    return Rendering(sums[:, :3], sums[:, 3:], nearest, (pixel, pick(shapes.owner, which)))


def _shade(
    shapes: Shapes,
    which: Tensor,
    pixel: Tensor,
    normal: Tensor,
    depth: Tensor,
    cameras: Tensor,
    lights: Tensor,
    size: tuple[int, int],
) -> list[Tensor]:
    """Red, green and blue (N,) of the N winning samples: cloth, pattern, badge, face and hair, then light."""
    light = pick(lights, shapes.image)
    ambient = pick(light[:, 3].contiguous(), which)
    lit = (normal * pick(light[:, :3], which)).sum(-1).clamp_(min=0)
    lit = ambient + (1 - ambient) * lit
    # most surfaces have one colour; only the others need to know where on the body they are
    plain = (shapes.pattern[:, :3] == 0).all(-1) & (shapes.badge[:, 0] <= 0) & (shapes.cut >= NO_CUT)
    choice = torch.zeros_like(which)
    detailed = pick((~plain | (shapes.kind == HEAD)), which).nonzero()[:, 0]
    parts = (pick(part, detailed) for part in (which, pixel, depth))
    choice[detailed] = _surface(shapes, *parts, cameras, size).to(choice.dtype)
    return [pick(shapes.colours[..., channel].flatten(), which * 3 + choice) * lit for channel in range(3)]


def _surface(
    shapes: Shapes, which: Tensor, pixel: Tensor, depth: Tensor, cameras: Tensor, size: tuple[int, int]
) -> Tensor:
    """Which of its shape's three colours a sample has (N,): 0 main, 1 below the cut (or hair), 2 pattern (or face)."""
    height, width = size
    image = pick(shapes.image, which)
    camera = pick(cameras, image)
    at = pixel - image * (height * width)
    row = torch.div(at, width, rounding_mode="floor")
    screen = torch.stack([at - row * width, row], -1) + 0.5
    point = torch.cat([(screen - camera[:, 1:]) / camera[:, :1] * depth[:, None], depth[:, None]], -1)
    point = point - pick(shapes.origin, which)
    left, up, front = torch.bmm(point[:, None], pick(shapes.frame, which))[:, 0].unbind(-1)

    across, lengthwise, checks, least, beat = pick(shapes.pattern, which).unbind(-1)
    half, low, high = pick(shapes.badge, which).unbind(-1)
    beat = 2 * torch.pi * beat
    rings, stripes = torch.sin(beat * up), torch.sin(beat * left)
    second = across * rings + lengthwise * stripes + checks * rings * stripes > least
    second |= (front > 0) & (left.abs() < half) & (up > low) & (up < high)
    # bare skin below the cut has no pattern
    choice = torch.where(up < -pick(shapes.cut, which), 1, torch.where(second, 2, 0))

    head = (pick(shapes.kind, which) == HEAD).nonzero()[:, 0]
    radius = pick(shapes.radii.amax(-1), pick(which, head))
    x, y, z = (pick(axis, head) / radius for axis in (left, up, front))
    line, slope, seen = pick(shapes.face, pick(which, head)).unbind(-1)
    eyes = (x.abs() - 0.36).square() + (y - 0.12).square() < 0.022
    mouth = x.square() * 0.3 + (y + 0.6).square() < 0.016
    hair = z < line + slope * y - 0.1
    choice[head] = torch.where(hair, 1, torch.where((eyes | mouth) & (z > 0) & (seen > 0), 2, 0))
    return choice
