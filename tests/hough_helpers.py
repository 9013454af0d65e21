"""Perfect answers of a network that votes, and joints to ask it about."""

import torch

from course_lib.targets import hough

SIZE = (24, 18)


def cells(size):
    """The centres (2, h, w) of a map's cells."""
    x, y = (torch.arange(n) + 0.5 for n in (size[1], size[0]))
    return torch.stack([x.expand(size), y[:, None].expand(size)])


def fields(joints, size, radius):
    """The perfect answer for joints (B, K, 2): probabilities (B, K, h, w) and offsets (B, K, 2, h, w)."""
    truth = hough.targets(joints[:, None], torch.ones(joints.shape[:-1])[:, None], size, radius)
    offsets = torch.zeros(*joints.shape[:2], 2, *size)
    picture, joint, row, column = truth.discs.where
    offsets[picture, joint, :, row, column] = truth.discs.offset
    return truth.discs.inside.float(), offsets


def places(count, size, seed=0, beyond=0.0):
    """Joints (count, 1, 2) anywhere on the map, the border included, or `beyond` cells outside it."""
    extent = torch.tensor([size[1], size[0]])
    return torch.rand(count, 1, 2, generator=torch.Generator().manual_seed(seed)) * (extent + 2 * beyond) - beyond
