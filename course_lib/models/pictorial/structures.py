"""Pictorial structures: a body as rigid parts that look like something and springs that hold them together.

M. Fischler and R. Elschlager, "The representation and matching of pictorial structures", IEEE Transactions on
Computers, 1973, had the idea; P. Felzenszwalb and D. Huttenlocher, "Pictorial structures for object recognition", IJCV
61, 2005, made it exact and linear in the number of places; M. Andriluka, S. Roth and B. Schiele, "Pictorial structures
revisited", CVPR 2009, gave the parts detectors that were learned, and answer with every part's marginal.

    p(L | I)  ~  prod_i p(I | l_i)  prod_(i, j) p(l_i, l_j)        l = (x, y, rotation, scale), (i, j) a tree

|            | 1973, 2005                 | 2009                             | here                                    |
|------------|----------------------------|----------------------------------|-----------------------------------------|
| a part is  | a rectangle of silhouette  | AdaBoost on shape context        | a linear template on round HOG cells    |
| springs    | Gaussian in joint space    | the same                         | the same                                |
| inference  | min-sum, samples           | sum-product by convolution       | all three (`tree.py`), marginals answer |
| learning   | maximum likelihood         | maximum likelihood, AdaBoost     | maximum likelihood (`fitting.py`)       |
| scale      | part of the state          | given                            | part of the state                       |

The parts are ten. A state's scale is the length of a stick over its usual length, so that it also says how far a limb
points towards the camera. "Left" and "right" are the observer's, as in all of this work: see `parts.as_observed`.
Everything is differentiable besides: `loss` is the negative log-likelihood of the true arrangement among all
arrangements, with which templates and springs could be trained on.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.errors import CourseError
from course_lib.models.base import PoseModel
from course_lib.models.pictorial import gradients, tree
from course_lib.models.pictorial import parts as body
from course_lib.models.pictorial.springs import Grid, Joints, order
from course_lib.pose import Batch, Pose
from course_lib.skeletons import Skeleton

CELLS = (9, 7)  # of a template, along and across its part
FEATURES = 2  # pixels a cell of the features; the grid of states may be coarser


class Beliefs(NamedTuple):
    """What a picture says about every part alone, and the springs between them."""

    unaries: Tensor  # (B, P, S, R, H, W) log scores of every state
    springs: Joints  # tensors (P, ...), or (B, P, ...) where every picture has its own
    seen: Tensor  # (B,) bool: whether the templates see anything at all


class PictorialStructures(PoseModel):
    """P parts with S scales, R rotations and places on a grid of `stride` pixels."""

    def __init__(
        self,
        skeleton: str | Skeleton = "lsp",
        input_size: tuple[int, int] = (128, 128),
        stride: int = 4,
        rotations: int = 16,
        scales: tuple[float, ...] = (0.65, 1.0, 1.5),
    ) -> None:
        super().__init__(skeleton, input_size, stride)
        if rotations < 4 or rotations % 2:
            raise CourseError(f"rotations must be even and at least 4, so that bins turn with them; got {rotations}")
        if stride % FEATURES:
            raise CourseError(f"the stride must be a multiple of {FEATURES} pixels; got {stride}")
        self.rotations, self.scales, self.bins = rotations, tuple(scales), rotations // 2
        self.parts = body.of(self.skeleton)
        order(self.parts.parents, self.parts.names)  # refuses what is no tree
        count = len(self.parts)
        self.templates = nn.Parameter(torch.zeros(count, self.bins, CELLS[0] * CELLS[1]))
        self.log_sharpness = nn.Parameter(torch.zeros(count))
        self.log_spread = nn.Parameter(torch.full((count, 2), math.log(4.0)))
        self.log_kappa = nn.Parameter(torch.zeros(count))
        self.log_stretch_spread = nn.Parameter(torch.full((count,), math.log(0.3)))
        self.register_buffer("lengths", torch.full((count,), 20.0))  # the usual ones, pixels
        self.register_buffer("extent", torch.full((count, 2), 20.0))  # of a template, along and across
        self.register_buffer("at_parent", torch.zeros(count, 2))
        self.register_buffer("at_child", torch.zeros(count, 2))
        self.register_buffer("angle", torch.zeros(count))
        self.register_buffer("stretch", torch.zeros(count))
        self.register_buffer("root_centre", torch.full((2,), 0.5))  # share of the picture's width and height
        self.register_buffer("root_spread", torch.full((2,), 0.25))
        self.register_buffer("root_turn", torch.zeros(len(self.scales), rotations))  # log prior of scale and rotation
        self.register_buffer("claims", torch.zeros(len(self.skeleton), count, 2))  # joints in the frames of the parts
        owned = torch.zeros(len(self.skeleton), count)
        for joint, owners in enumerate(self.parts.owners):
            owned[joint, list(owners)] = 1 / len(owners)
        self.register_buffer("owned", owned, persistent=False)

    @property
    def springs(self) -> Joints:
        """The learned springs, stored with the child at their end."""
        return Joints(
            at_parent=self.at_parent,
            at_child=self.at_child,
            spread=self.log_spread.exp(),
            angle=self.angle,
            kappa=self.log_kappa.exp(),
            stretch=self.stretch,
            stretch_spread=self.log_stretch_spread.exp(),
        )

    def grid(self, height: int, width: int) -> Grid:
        """The states of a picture of this size."""
        if height % self.stride or width % self.stride:
            raise CourseError(f"pictures must be multiples of {self.stride} pixels; got {height} x {width}")
        longest = int((self.lengths * min(self.scales)).argmax())
        if min(height, width) < self.lengths[longest] * min(self.scales):
            raise CourseError(
                f"a picture of {height} x {width} pixels is smaller than a part: the {self.parts.names[longest]} alone "
                f"has {float(self.lengths[longest]) * min(self.scales):.0f}; enlarge it, or let `estimate` do so"
            )
        return Grid((height // self.stride, width // self.stride), self.stride, self.rotations, self.scales)

    # --- forward: what every part says alone ---

    def forward(self, images: Tensor) -> Beliefs:
        """images (B, 3, H, W) -> unaries (B, P, S, R, H / stride, W / stride), and the springs."""
        grid = self.grid(*images.shape[-2:])
        return self.believe(self.responses(images, grid), grid)

    def believe(self, responses: Tensor, grid: Grid) -> Beliefs:
        """What follows from the templates' responses (B, P, S, R, h, w): each as sharp as it deserves to be."""
        prior = torch.zeros_like(responses[:1])
        prior[:, self.parts.parents.index(-1)] = self.root_prior(grid)
        low, high = responses.detach().flatten(1).aminmax(dim=1)
        sharp = self.log_sharpness.exp()[:, None, None, None, None]
        return Beliefs(sharp * responses + prior, self.springs, low < high)

    def responses(self, images: Tensor, grid: Grid) -> Tensor:
        """How well every template fits in every state: (B, P, S, R, h, w). A larger part is a smaller picture."""
        step, answers = self.stride // FEATURES, []
        turned = [
            gradients.kernel(template, extent, CELLS, self.rotations, FEATURES, step)
            for template, extent in zip(self.templates, self.extent, strict=True)
        ]
        for scale in self.scales:
            maps = self.features(images, scale)
            answer = torch.stack([gradients.responses(maps, kernel, step) for kernel in turned], dim=1)
            if answer.shape[-2:] != grid.size:
                answer = F.interpolate(answer.flatten(1, 2), grid.size, mode="bilinear", align_corners=False)
            answers.append(answer.reshape(len(images), len(self.parts), self.rotations, *grid.size))
        return torch.stack(answers, dim=2)

    def features(self, images: Tensor, scale: float) -> Tensor:
        """Oriented gradients (B, bins, h, w) of the pictures shrunk by a scale."""
        if scale != 1:
            cells = [max(1, round(side / scale / self.stride)) for side in images.shape[-2:]]
            size = [self.stride * n for n in cells]
            images = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        return gradients.features(images, self.bins, FEATURES)

    def root_prior(self, grid: Grid) -> Tensor:
        """Where the trunk of the person in a box usually is: log prior (S, R, h, w), up to a constant."""
        height, width = grid.size
        x = (torch.arange(width, device=self.lengths.device) + 0.5) / width
        y = (torch.arange(height, device=self.lengths.device) + 0.5) / height
        across = ((x - self.root_centre[0]) / self.root_spread[0]).square()
        down = ((y - self.root_centre[1]) / self.root_spread[1]).square()
        return self.root_turn[:, :, None, None] - 0.5 * (down[:, None] + across)

    # --- loss ---

    def loss(self, outputs: Beliefs, batch: Batch) -> dict[str, Tensor]:
        """-log p(true arrangement | picture) a part, over the people whose parts are all labelled and inside."""
        grid = self.grid(*batch.size)
        parts = body.states(*body.as_observed(batch.joints, batch.visible, self.skeleton), self.parts)
        at, inside = self.nearest(parts, grid)
        keep = (parts.known & inside).all(1)
        unaries = outputs.unaries
        told = tree.score(at[:, None], unaries, self.parts.parents, outputs.springs, grid)[:, 0]
        missed = tree.log_partition(unaries, self.parts.parents, outputs.springs, grid) - told
        total = (missed * keep).sum() / (keep.sum().clamp(min=1) * len(self.parts))
        return {"likelihood": total, "total": total}

    def nearest(self, parts: body.States, grid: Grid) -> tuple[Tensor, Tensor]:
        """The states (N, P, 4) of the grid next to true ones, as scale, rotation, row, column; and which are inside."""
        ratio = parts.length / self.lengths
        scales = torch.tensor(grid.scales, device=ratio.device)
        scale = (ratio.clamp(min=1e-6).log()[..., None] - scales.log()).abs().argmin(-1)
        turn = (parts.angle * (grid.rotations / (2 * math.pi))).round().long() % grid.rotations
        cell = (parts.centre / grid.stride).floor().long()
        limit = cell.new_tensor([grid.size[1], grid.size[0]])
        inside = ((cell >= 0) & (cell < limit)).all(-1)
        cell = cell.clamp(min=0).minimum(limit - 1)
        return torch.stack([scale, turn, cell[..., 1], cell[..., 0]], dim=-1), inside

    # --- decode ---

    def decode(self, outputs: Beliefs, method: str = "marginal") -> list[list[Pose]]:
        """One pose a picture: every part in its most probable state by itself, or with "map" the best arrangement.

        A joint is where the parts that end in it say, on average. Its score is the probability that they lie within a
        cell of their states; where a picture has no gradient at all nothing was seen, and the scores are 0.
        """
        grid = self.grid(*(self.stride * side for side in outputs.unaries.shape[-2:]))
        marginals = tree.marginals(outputs.unaries, self.parts.parents, outputs.springs, grid, self.parts.names)
        if method == "map":
            at = tree.max_sum(outputs.unaries, self.parts.parents, outputs.springs, grid, self.parts.names).states
        elif method == "marginal":
            at = most_probable(marginals)
        else:
            raise CourseError(f"a pose is read out by 'marginal' or 'map'; got '{method}'")
        where = F.avg_pool2d(marginals.sum((2, 3)), 3, stride=1, padding=1) * 9  # probability within a cell
        near = where.flatten(2).gather(2, (at[..., 2] * grid.size[1] + at[..., 3])[..., None])[..., 0]
        scores = (near * outputs.seen[:, None]).clamp(0, 1) @ self.owned.T.to(near.dtype)
        joints = self.joints_of(at, grid)
        return [
            [Pose(one.float().cpu(), score.float().cpu(), self.skeleton, float(score.mean()))]
            for one, score in zip(joints, scores, strict=True)
        ]

    def joints_of(self, at: Tensor, grid: Grid) -> Tensor:
        """Joints (..., K, 2) of states (..., P, 4)."""
        centre = (at[..., [3, 2]] + 0.5) * grid.stride  # (..., P, 2)
        angle = at[..., 1] * (2 * math.pi / grid.rotations)
        scale = torch.tensor(grid.scales, device=at.device)[at[..., 0]]
        every = (one[..., None, :] for one in (angle, scale))
        claimed = body.out_of_frame(self.claims, centre[..., None, :, :], *every)  # (..., K, P, 2)
        return (claimed * self.owned[..., None]).sum(-2)


def most_probable(marginals: Tensor) -> Tensor:
    """The state (B, P, 4) of the highest marginal (B, P, S, R, H, W) of every part."""
    best = marginals.flatten(2).argmax(-1)
    return torch.stack(torch.unravel_index(best, marginals.shape[2:]), dim=-1)
