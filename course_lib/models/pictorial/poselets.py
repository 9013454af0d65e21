"""Poselets: detectors of a piece of a pose, found by clustering how several joints lie to each other.

L. Bourdev and J. Malik, "Poselets: body part detectors trained using 3D human pose annotations", ICCV 2009, asked for
parts that look alike and mean the same, whether or not anatomy has a name for them. Here, as in the system of 2013 that
uses them (`conditioned.py`), the joints of a region of the body are clustered in the picture's plane, and every cluster
gets a template. What fires, and how strongly, tells about limbs that no single part's template finds.

|             | Bourdev and Malik, 2009     | Pishchulin et al., 2013         | here                                 |
|-------------|-----------------------------|---------------------------------|--------------------------------------|
| clustered   | joints in 3-D, around seeds | joints in 2-D, by k-means       | the same as 2013                     |
| regions     | any window                  | eleven regions of the body      | the same eleven                      |
| how many    | thousands, then a selection | about 100 a region              | 16 a region                          |
| detector    | linear SVM on HOG           | AdaBoost on gradients           | a linear discriminant on round cells |
| looked for  | everywhere                  | near where the torso says, and  | the same, one rotation step either   |
|             |                             | turned by 11 degrees either way | way, at three sizes                  |
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.errors import CourseError
from course_lib.models.pictorial import gradients
from course_lib.models.pictorial.parts import Parts

CELLS = (9, 9)  # of a poselet's template, across and down
FEATURES = 4  # pixels a cell of the features: poselets are large
TURNS = (-1, 0, 1)  # steps of rotation that a poselet is looked for in
SIZES = (0.7, 1.0, 1.4)  # of the person
REACH, STEP = 12.0, 6.0  # pixels about the expected place that are searched, and how finely
STRAY = 10.0  # pixels: a standard deviation's walk from the expected place costs as much as
COST = 0.5  # this much of the answer's own standard deviation

# region -> words of which a part's name has one
REGIONS = {
    "whole body": ("",),
    "upper body": ("torso", "head", "arm"),
    "torso and head": ("torso", "head"),
    "torso and right arm": ("torso", "right upper arm", "right forearm"),
    "torso and left arm": ("torso", "left upper arm", "left forearm"),
    "right arm": ("right upper arm", "right forearm"),
    "left arm": ("left upper arm", "left forearm"),
    "torso and legs": ("torso", "leg"),
    "legs": ("leg",),
    "right leg": ("right upper leg", "right lower leg"),
    "left leg": ("left upper leg", "left lower leg"),
}


def regions(parts: Parts) -> dict[str, tuple[int, ...]]:
    """The joints of every region that this body has; a body without any has one region, all of it."""
    found = {}
    for region, words in REGIONS.items():
        chosen = [p for p, name in enumerate(parts.names) if any(word in name for word in words)]
        joints = sorted({k for p in chosen for end in parts.ends[p] for k in end})
        if len(joints) > 2 and tuple(joints) not in found.values():
            found[region] = tuple(joints)
    return found or {"whole body": tuple(sorted({k for pair in parts.ends for end in pair for k in end}))}


class Poselets(nn.Module):
    """G regions with C clusters each."""

    def __init__(self, parts: Parts, joints: int, clusters: int, bins: int) -> None:
        super().__init__()
        self.regions = regions(parts)
        self.clusters, self.bins = clusters, bins
        count = len(self.regions)
        self.templates = nn.Parameter(torch.zeros(count, clusters, bins * CELLS[0] * CELLS[1]))
        self.register_buffer("extent", torch.full((count, 2), 40.0))  # pixels of a person of usual size
        self.register_buffer("place", torch.zeros(count, clusters, 2))  # from the root's centre to the poselet's
        self.register_buffer("shapes", torch.zeros(count, clusters, joints, 2))  # mean layout about its own centre
        self.register_buffer("members", torch.zeros(count, clusters))  # people it was learned from
        self.register_buffer("spread", torch.ones(count, clusters))  # of the answers: their standard deviation

    def forward(self, images: Tensor, roots: Tensor) -> Tensor:
        """images (B, 3, H, W), root centres (B, 2) pixels -> how strongly every poselet answers: (B, G * C).

        The strongest answer near the place where the root says that the poselet should be, over turns and sizes.
        """
        if len(images) != len(roots):
            raise CourseError(f"{len(images)} pictures came with {len(roots)} roots")
        answers = [self.answers(images, roots, size) for size in SIZES]
        return torch.stack(answers).amax((0, 4, 5)).flatten(1)

    def answers(self, images: Tensor, roots: Tensor, size: float) -> Tensor:
        """Every poselet at every place that is searched, at one size: (B, G, C, places, turns)."""
        maps, shrink = self.maps(images, size)
        offsets, found = self.offsets(), []
        for region in range(len(self.regions)):
            middle = self._middle(region)
            centres = (roots[:, None] + (middle + offsets) * size) * shrink  # (B, places, 2)
            windows = self.windows(maps, centres, region)
            answer = torch.einsum("bptd,cd->bcpt", windows, self.templates[region])
            away = (middle + offsets - self.place[region][:, None]).square().sum(-1)  # (C, places)
            cost = COST * self.spread[region][:, None] * away / (2 * STRAY**2)
            found.append(answer - cost[None, :, :, None])
        return torch.stack(found, dim=1)

    def maps(self, images: Tensor, size: float) -> tuple[Tensor, float]:
        """The features of pictures in which people of this size are of usual size, and how much they shrank."""
        maps = gradients.features(_shrunk(images, size), self.bins, FEATURES)
        return maps, maps.shape[-1] * FEATURES / images.shape[-1]

    def windows(self, maps: Tensor, centres: Tensor, region: int, turns: tuple[int, ...] = TURNS) -> Tensor:
        """What a region's templates see about centres (B, N, 2) of shrunken pictures: (B, N, turns, bins * cells)."""
        spacing = float(self.extent[region].mean()) / CELLS[0] / FEATURES  # cells should be as wide as they are apart
        maps = gradients.blur(maps, max(0.5, spacing / 2))
        lattice = gradients.lattice(self.extent[region][None], CELLS)[0]
        seen = []
        for turn in turns:
            places = gradients.turned(lattice, 2 * self.bins)[turn]
            at = (centres[:, :, None] + places).flatten(1, 2)  # (B, N * cells, 2)
            steps = torch.full((len(maps),), turn, device=maps.device)
            cells = gradients.windows(maps, torch.zeros_like(at[:, 0]), steps, at, FEATURES)  # (B, bins, N * cells)
            seen.append(cells.unflatten(2, (centres.shape[1], -1)).transpose(1, 2).flatten(2))
        return torch.stack(seen, dim=2)

    def offsets(self) -> Tensor:
        """The places that are searched about a region's usual one: (places, 2) pixels."""
        axis = torch.arange(-REACH, REACH + STEP / 2, STEP, device=self.place.device)
        return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)

    def _middle(self, region: int) -> Tensor:
        """Where a region's poselets are on average."""
        weights = self.members[region].clamp(min=1e-6)
        return (self.place[region] * weights[:, None]).sum(0) / weights.sum()


def _shrunk(images: Tensor, size: float) -> Tensor:
    if size == 1:
        return images
    sides = [FEATURES * max(1, round(side / size / FEATURES)) for side in images.shape[-2:]]
    return F.interpolate(images, sides, mode="bilinear", align_corners=False, antialias=True)
