"""Poselet conditioned pictorial structures: the picture chooses the springs, and the tree stays a tree.

L. Pishchulin, M. Andriluka, P. Gehler and B. Schiele, "Poselet conditioned pictorial structures", CVPR 2013. A tree
ties only neighbours: what the wrist does cannot tell the shoulder anything that the elbow does not already say. No edge
is added here either, since inference would no longer be exact. Instead poselets, which see many parts at once, are
asked before the tree is: from the strengths of their answers it is predicted, part by part and spring by spring,

    rotation    in which range of directions a part lies         a factor on its unary
    position    where it lies from the torso                     a factor on its unary
    spring      which of several sets of springs holds it        replaces the pairwise term

and what follows is the ordinary sum-product on the ordinary tree.

|                   | the authors' released code (2013)         | here                                            |
|-------------------|-------------------------------------------|-------------------------------------------------|
| what is clustered | angles as numbers, by k-means             | their cosine and sine, by k-means               |
| classifier        | sparse LDA, 30 poselets a direction       | logistic regression with small weights          |
| it is shown       | the poselets' answers near the torso      | the same, and where in the picture the torso is |
| a unary gets      | the Gaussian of the likeliest cluster     | the mixture of all clusters                     |
| its weight        | 0.05 in the log domain                    | for each part, on people who taught nothing     |
| a spring is       | one of 12, by the angle it turned         | the mean and variance of a mixture of 8, by the |
|                   |                                           | angle and by where on the parent the child is   |
| the torso         | from a first pass of the plain model      | the same                                        |
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.errors import unknown_name
from course_lib.models.pictorial import parts as body
from course_lib.models.pictorial import tree
from course_lib.models.pictorial.poselets import Poselets
from course_lib.models.pictorial.springs import Grid, Joints
from course_lib.models.pictorial.structures import Beliefs, PictorialStructures, most_probable
from course_lib.skeletons import Skeleton

FAMILIES = ("rotation", "position", "spring")


class Classifier(nn.Module):
    """Logistic regression for N targets with C classes each, on D standardised features."""

    def __init__(self, targets: int, classes: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(targets, classes, features))
        self.bias = nn.Parameter(torch.zeros(targets, classes))

    def forward(self, features: Tensor) -> Tensor:
        """features (B, D) -> log probabilities (B, N, C)."""
        return (torch.einsum("bd,ncd->bnc", features, self.weight) + self.bias).log_softmax(-1)


class Predictions(NamedTuple):
    """What the poselets say: log probabilities (B, P, C) of the classes of every family."""

    rotation: Tensor
    position: Tensor
    spring: Tensor
    roots: Tensor  # (B, 2) pixels, where the torso was found


class ConditionedPictorialStructures(PictorialStructures):
    """A pictorial structure whose unaries and springs are chosen by what the poselets answer."""

    def __init__(
        self,
        skeleton: str | Skeleton = "lsp",
        input_size: tuple[int, int] = (128, 128),
        stride: int = 4,
        rotations: int = 16,
        scales: tuple[float, ...] = (0.65, 1.0, 1.5),
        poselets: int = 16,
        classes: int = 8,
    ) -> None:
        super().__init__(skeleton, input_size, stride, rotations, scales)
        count = len(self.parts)
        self.poselets = Poselets(self.parts, len(self.skeleton), poselets, self.bins)
        features = len(self.poselets.regions) * poselets + 2  # and where the root was found
        self.classifiers = nn.ModuleDict({family: Classifier(count, classes, features) for family in FAMILIES})
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_spread", torch.ones(features))
        self.register_buffer("turn_mean", torch.zeros(count, classes))  # of every class of rotations, and how narrow
        self.register_buffer("turn_kappa", torch.zeros(count, classes))
        self.register_buffer("place_mean", torch.zeros(count, classes, 2))  # pixels from the root's centre
        self.register_buffer("place_spread", torch.full((count, classes, 2), 30.0))
        for name in Joints._fields:
            value = getattr(self.springs, name)
            self.register_buffer(f"typed_{name}", value.detach()[:, None].repeat(1, classes, *[1] * (value.ndim - 1)))
        self.register_buffer("weights", torch.ones(2, count))  # of the rotations and positions predicted for each part

    def forward(self, images: Tensor, families: Collection[str] = FAMILIES) -> Beliefs:
        """images (B, 3, H, W) -> unaries and springs as the poselets see them; without families, the plain ones."""
        plain = super().forward(images)
        if not families:
            return plain
        return self.condition(plain, self.predict(images, self.roots(plain)), families)

    def roots(self, plain: Beliefs) -> Tensor:
        """The first pass: where the plain model finds the root, (B, 2) pixels."""
        grid = self.grid(*(self.stride * side for side in plain.unaries.shape[-2:]))
        root = self.parts.parents.index(-1)
        marginals = tree.marginals(plain.unaries, self.parts.parents, plain.springs, grid, self.parts.names)
        return (most_probable(marginals)[:, root][:, [3, 2]] + 0.5) * self.stride

    def predict(self, images: Tensor, roots: Tensor) -> Predictions:
        """What the poselets of pictures (B, 3, H, W) with roots (B, 2) say of every part and spring."""
        features = self.observe(images, roots)
        features = (features - self.feature_mean) / self.feature_spread
        return Predictions(*(self.classifiers[family](features) for family in FAMILIES), roots)

    def observe(self, images: Tensor, roots: Tensor) -> Tensor:
        """What the classifiers are shown: every poselet's answer, and where in the picture the root is, (B, D)."""
        size = roots.new_tensor([images.shape[-1], images.shape[-2]])
        return torch.cat([self.poselets(images, roots), roots / size], dim=1)

    def condition(self, plain: Beliefs, told: Predictions, families: Collection[str] = FAMILIES) -> Beliefs:
        """The beliefs with the factors and the springs that were predicted, those of some families only if so asked."""
        for family in families:
            if family not in FAMILIES:
                raise unknown_name("family of predictions", family, FAMILIES)
        unaries, springs, seen = plain
        grid = self.grid(*(self.stride * side for side in unaries.shape[-2:]))
        if "rotation" in families:
            factor = self.weights[0][:, None] * self.rotation_factor(told.rotation, grid)
            unaries = unaries + factor[:, :, None, :, None, None]
        if "position" in families:
            factor = self.weights[1][:, None, None] * self.position_factor(told.position, told.roots, grid)
            unaries = unaries + factor[:, :, None, None]
        if "spring" in families:
            springs = self.expected_springs(told.spring.exp())
        return Beliefs(unaries, springs, seen)

    def rotation_factor(self, told: Tensor, grid: Grid) -> Tensor:
        """log p(rotation | poselets) (B, P, R): a mixture of von Mises densities, up to a constant."""
        angle = torch.arange(grid.rotations, device=told.device) * (2 * math.pi / grid.rotations)
        kappa = self.turn_kappa[..., None]
        density = kappa * (torch.cos(angle - self.turn_mean[..., None]) - 1)  # (P, C, R)
        density = density - torch.special.i0e(kappa).log()
        return (told[..., None] + density).logsumexp(2)

    def position_factor(self, told: Tensor, roots: Tensor, grid: Grid) -> Tensor:
        """log p(position | poselets) (B, P, H, W): a mixture of Gaussians about places seen from the root."""
        height, width = grid.size
        axes = [(torch.arange(n, device=told.device) + 0.5) * grid.stride for n in (width, height)]
        middle = roots[:, None, None] + self.place_mean  # (B, P, C, 2)
        across, down = (
            -0.5 * ((axis - middle[..., i, None]) / self.place_spread[..., i, None]).square()
            for i, axis in enumerate(axes)
        )
        flat = (told - self.place_spread.log().sum(-1)).unsqueeze(-1).unsqueeze(-1)
        factor = (flat + down[..., :, None] + across[..., None, :]).logsumexp(2)
        keep = torch.ones(len(self.parts), device=told.device)
        keep[self.parts.parents.index(-1)] = 0  # the root's place is what the others are told from
        return factor * keep[:, None, None]

    def expected_springs(self, share: Tensor) -> Joints:
        """The springs (B, P, ...) with the mean and the variance of a mixture of the types, shares (B, P, C).

        Where the poselets are sure of a type it is that type; where they know nothing it is about the plain spring.
        """
        types = Joints(*(getattr(self, f"typed_{name}") for name in Joints._fields))

        def mean(values: Tensor) -> Tensor:
            return torch.einsum("bpc,pc...->bp...", share, values)

        def variance(values: Tensor) -> Tensor:
            return (mean(values.square()) - mean(values).square()).clamp(min=0)

        length = body.resultant(types.kappa)  # of the mean direction vector
        cos, sin = mean(length * types.angle.cos()), mean(length * types.angle.sin())
        astray = variance(types.at_parent).mean(-1, keepdim=True)  # in the parent's directions, which turn
        return Joints(
            at_parent=mean(types.at_parent),
            at_child=mean(types.at_child),
            spread=(mean(types.spread.square()) + astray).sqrt(),
            angle=torch.atan2(sin, cos),
            kappa=body.concentration(torch.hypot(cos, sin)),
            stretch=mean(types.stretch),
            stretch_spread=(mean(types.stretch_spread.square()) + variance(types.stretch)).sqrt(),
        )
