"""The obvious renderer: every shape evaluated on every sample of its whole image, one shape after the other.

An oracle for the course's renderer (same pictures) and the baseline of its benchmark.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.datasets.synthetic.renderer import SAMPLES, _shade, project
from course_lib.datasets.synthetic.shapes import Shapes


def render_naively(
    shapes: Shapes, cameras: Tensor, lights: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Colour (B, 3, H, W) weighted by coverage, coverage (B, 1, H, W) and depth (B, h, w)."""
    height, width = size[0] * SAMPLES, size[1] * SAMPLES
    cameras = cameras * SAMPLES
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    colours = torch.zeros(len(cameras), height, width, 3)
    depths = torch.full((len(cameras), height, width), torch.inf)
    for index in range(len(shapes.image)):
        image = int(shapes.image[index])
        camera, ends, radii = cameras[image], shapes.ends[index], shapes.radii[index]
        if radii.max() <= 0 or ends[:, 2].min() <= 0.05:
            continue
        a, b = project(ends, camera)
        r0, r1 = camera[0] * radii / ends[:, 2]
        along = ((x - a[0]) * (b - a)[0] + (y - a[1]) * (b - a)[1]) / (b - a).square().sum().clamp(min=1e-6)
        along = along.clamp(0, 1)
        dx, dy = x - a[0] - along * (b - a)[0], y - a[1] - along * (b - a)[1]
        radius = r0 + along * (r1 - r0)
        inside = radius.square() - dx.square() - dy.square()
        bulge = inside.clamp(min=0).sqrt() / radius
        depth = (ends[0, 2] + along * (ends[1, 2] - ends[0, 2])) * (1 - radius / camera[0] * bulge)
        nearer = (inside > 0) & (depth < depths[image])
        pixel = nearer.view(-1).nonzero()[:, 0] + image * height * width
        normal = torch.stack([dx, dy, -inside.clamp(min=0).sqrt()], -1)[nearer] / radius[nearer][:, None]
        which = torch.full((len(pixel),), index)
        colour = _shade(shapes, which, pixel, normal, depth[nearer], cameras, lights, (height, width))
        colours[image][nearer] = torch.stack(colour, -1)
        depths[image][nearer] = depth[nearer]

    def pooled(values: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(values, SAMPLES)

    return pooled(colours.permute(0, 3, 1, 2)), pooled(torch.isfinite(depths).float()[:, None]), depths
