"""AlphaPose (RMPE): a two-stage system that does not trust its boxes.

Hao-Shu Fang, Shuqin Xie, Yu-Wing Tai, Cewu Lu, "RMPE: Regional Multi-person Pose Estimation", ICCV 2017 (arXiv
1612.00137). Three things around any detector and any single-person network:

    SSTN   crop -> STN (theta) -> single-person network -> SDTN (gamma = theta^-1) -> pose in the crop     this file
    PGPG   boxes for training like those the detector draws                                   targets/proposals.py
    NMS    which of several poses of one person stay                                          targets/suppression.py

The STN looks at the crop once and answers with the affine map that puts the person in the middle; SDTN undoes it. Both
coordinates lie in [-1, 1], s in the crop and t in the re-centred frame:

    (x_s, y_s) = theta (x_t, y_t, 1)          (x_t, y_t) = gamma (x_s, y_s, 1)
    [gamma_1 gamma_2] = [theta_1 theta_2]^-1                gamma_3 = -[gamma_1 gamma_2] theta_3

THE DIRECTION. To warp pictures one asks of every place of the result where it comes from. So the STN samples crops by
theta, and maps go back by gamma; but a *point* found at t lies at theta(t) in the crop. Applying the wrong one twice
cancels out and looks right.

As SDTN undoes whatever the STN did, the loss of the pose hardly says where the person should be put. A second, frozen
single-person network does: it must find the centred pose in what the STN shows it, has no SDTN, and can make its loss
smaller in one way only, by having the STN centre the person. Afterwards it is dropped.

|                   | paper                          | here (course size)                                    |
|-------------------|--------------------------------|-------------------------------------------------------|
| STN               | ResNet-18                      | a copy of the network's first stack and a linear      |
|                   |                                | layer on its maps; localiser="resnet18"               |
| single person     | stacked hourglass, 256 x 256   | the hourglass of lesson 06, 96 x 96                   |
| parallel branch   | hourglass of 4 stacks, frozen  | its own first stack as it was, frozen                 |
| its label         | the centred pose               | the pose as a crop around the true joints shows it    |
| its loss          | MSE of maps                    | of blurred maps, so that it pulls from further away   |
| box               | grown by 1.3                   | the same                                              |
| rank of a person  | not said in what we could read | box score times mean joint score                      |
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import resnet18

from course_lib import checkpoints, geometry
from course_lib.errors import CourseError, unknown_name
from course_lib.models.hourglass import StackedHourglass
from course_lib.models.top_down import TopDownModel
from course_lib.pose import Batch, Crowd, Pose
from course_lib.skeletons import Skeleton
from course_lib.targets import heatmaps
from course_lib.targets.suppression import NAMES, NmsParameters, pose_nms

LOCALISERS = ("maps", "resnet18")
READ = (6, 6)  # what the linear layer reads the maps at
MARGIN = 0.1  # the joints' tight box, grown by this on each side, is about the person's box
LEAST = 0.25  # of the crop's height or width: a smaller box of joints does not tell where the person is
BLUR = 5  # cells, twice: what the parallel branch's maps are averaged over


class Regional(NamedTuple):
    """maps (S, B, K, h, w) of what the network was shown: `seen` (B, 3, H, W), where theta (B, 2, 3) is in the crop."""

    maps: Tensor
    theta: Tensor
    seen: Tensor


# --- the two transformers ---------------------------------------------------------------------------------------------


def stn(images: Tensor, theta: Tensor) -> Tensor:
    """Crops (B, C, H, W) -> as large re-centred ones: at t they show what the crop has at theta(t)."""
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def inverse_affine(theta: Tensor) -> Tensor:
    """gamma (..., 2, 3) of theta (..., 2, 3)."""
    a, b, c, d = theta[..., :2].flatten(-2).unbind(-1)
    determinant = a * d - b * c
    gamma = torch.stack([d, -b, -c, a], dim=-1).unflatten(-1, (2, 2)) / determinant[..., None, None]
    return torch.cat([gamma, -gamma @ theta[..., 2:]], dim=-1)


def sdtn_points(points: Tensor, theta: Tensor, size: tuple[int, int]) -> Tensor:
    """Points (B, K, 2) in pixels of the re-centred frame -> in pixels of the crop; both are `size` (height, width)."""
    half = points.new_tensor([size[1], size[0]]) / 2
    return geometry.apply(theta, points / half - 1) * half + half


def window(theta: Tensor, size: tuple[int, int]) -> Tensor:
    """The corners (5, 2), closed, of what theta (2, 3) lets the network see, in pixels of the crop."""
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]])
    half = torch.tensor([size[1], size[0]]) / 2
    return geometry.apply(theta, corners) * half + half


def warp_maps(maps: Tensor, gamma: Tensor) -> Tensor:
    """Maps (S, B, K, h, w) of the re-centred frame -> of the crop."""
    return torch.stack([stn(stage, gamma) for stage in maps])


# --- the network ------------------------------------------------------------------------------------------------------


class AlphaPose(TopDownModel):
    """The single-person network between its two transformers; with a detector before it, everybody.

    transformer: without it the network sees the crop as it is.  parallel: stacks of the frozen branch, 0 for none.
    """

    padding = 1.3
    only_in_training = ("parallel",)

    def __init__(
        self,
        skeleton: str | Skeleton = "lsp",
        stacks: int = 3,
        width: int = 64,
        depth: int = 3,
        input_size: tuple[int, int] = (96, 96),
        transformer: bool = True,
        localiser: str = "maps",
        parallel: int = 1,
    ) -> None:
        if localiser not in LOCALISERS:
            raise unknown_name("localiser", localiser, LOCALISERS)
        if not 0 <= parallel <= stacks:
            raise CourseError(f"the parallel branch has 0 to {stacks} of the network's stacks; got {parallel}")
        hourglass = partial(StackedHourglass, skeleton, width=width, depth=depth, input_size=input_size)
        sppe = hourglass(stacks=stacks)
        super().__init__(skeleton, input_size, sppe.stride)
        self.sppe = sppe
        self.localiser = None
        if transformer:
            self.localiser = Localiser(hourglass(stacks=1)) if localiser == "maps" else _resnet()
        self.parallel = hourglass(stacks=parallel).requires_grad_(False).eval() if transformer and parallel else None
        self.register_buffer("nms_numbers", torch.tensor([getattr(NmsParameters(), name) for name in NAMES]))
        self._copy_stacks()

    @property
    def nms(self) -> NmsParameters:
        """The four numbers of pose NMS, which ship with the weights."""
        return NmsParameters(*self.nms_numbers.tolist())

    def _copy_stacks(self) -> None:
        """Makes the frozen branch, and what the localiser looks with, copies of the network's first stacks."""
        own = self.sppe.state_dict()
        looks = self.localiser.looks if isinstance(self.localiser, Localiser) else None
        for copy in (self.parallel, looks):
            if copy is not None:
                copy.load_state_dict({name: own[name] for name in copy.state_dict()})

    def train(self, mode: bool = True) -> AlphaPose:
        """The frozen branch never trains: its normalisations stay as they are, too."""
        super().train(mode)
        if self.parallel is not None:
            self.parallel.eval()
        return self

    def begin_from(self, file: str | Path) -> dict[str, Any]:
        """Takes a checkpoint of its own, or the single-person network of an hourglass or of another AlphaPose."""
        header = checkpoints.read_header(file)
        if header["model"] == self.name and header["options"] == json.loads(json.dumps(self.options)):
            return checkpoints.load_into(file, self)
        checkpoints.load_into(file, self.sppe, part="sppe" if header["model"].startswith("alphapose") else "")
        self._copy_stacks()
        return header

    # --- how it answers ---

    def theta(self, images: Tensor) -> Tensor:
        """Where in the crops (B, 3, H, W) the people are: (B, 2, 3)."""
        same = torch.eye(2, 3, device=images.device).expand(len(images), 2, 3)
        return same if self.localiser is None else same + self.localiser(images).float().view(-1, 2, 3)

    def forward(self, images: Tensor) -> Regional:
        """images (B, 3, H, W) in [0, 1]."""
        theta = self.theta(images)
        if self.localiser is None:
            return Regional(self.sppe(images), theta, images)
        with torch.autocast(images.device.type, enabled=False):  # places need all their digits
            seen = stn(images.float(), theta).to(images.dtype)
        return Regional(self.sppe(seen), theta, seen)

    def decode(self, outputs: Regional, stage: int = -1) -> list[list[Pose]]:
        """The person of every crop in its pixels: read where the network saw it, then moved back, which is SDTN."""
        maps = outputs.maps[stage].detach().float()
        joints, scores = heatmaps.read_out(maps, self.sppe.read_out, sigma=self.sppe.sigma)
        size = (maps.shape[-2] * self.stride, maps.shape[-1] * self.stride)
        joints = sdtn_points(joints * self.stride, outputs.theta.detach().float(), size).cpu()
        pairs = zip(joints, scores.clamp(0, 1).cpu(), strict=True)
        return [[Pose(one, score, self.skeleton, float(score.mean()))] for one, score in pairs]

    def suppress(self, poses: Sequence[Pose], unit: float = 1.0) -> list[Pose]:
        """Parametric pose NMS, whose sigma2 is in squared pixels and grows with the picture."""
        return pose_nms(poses, replace(self.nms, sigma2=self.nms.sigma2 * unit**2))

    def flip_average(self, outputs: Regional, mirrored: Regional) -> Regional:
        """The two looked at different frames, so their maps are averaged in the crop's."""
        one, other = (warp_maps(each.maps.float(), inverse_affine(each.theta)) for each in (outputs, mirrored))
        same = torch.eye(2, 3, device=one.device).expand_as(outputs.theta)
        return Regional(self.sppe.flip_average(one, other), same, outputs.seen)

    # --- how it learns ---

    def loss(self, outputs: Regional, batch: Batch | Crowd) -> dict[str, Tensor]:
        """The error in the crop of all stacks' "maps", 1 each being an all-zero answer; and how far what was seen is
        from being "centred", by the parallel branch, 1 being an all-zero answer again."""
        one = batch.first() if isinstance(batch, Crowd) else batch
        maps = outputs.maps.float()
        back = maps if self.localiser is None else warp_maps(maps, inverse_affine(outputs.theta))
        terms = {"maps": sum(self.sppe.stage_losses(back, one))}
        if self.parallel is not None:
            terms["centred"] = self._off_centre(outputs.seen, one)
        return {**terms, "total": sum(terms.values())}

    def _off_centre(self, seen: Tensor, one: Batch) -> Tensor:
        size = (seen.shape[-2], seen.shape[-1])
        labelled = one.visible > 0
        joints = torch.where(labelled[..., None], one.joints, 0.0)
        box, whole = geometry.box_of(joints, labelled, MARGIN), joints.new_tensor([0, 0, size[1], size[0]])
        sides = box[:, 2:] - box[:, :2]
        told = (sides > 0).all(-1) & (sides / whole[2:] >= LEAST).any(-1)
        box, labelled = torch.where(told[:, None], box, whole), labelled & told[:, None]
        centred = geometry.apply(geometry.crop_matrix(box, size, self.padding), joints)
        maps = self.parallel(seen)[-1].float()
        target = heatmaps.gaussian(centred / self.stride, maps.shape[-2:], self.sppe.sigma)
        weight = labelled.to(maps.dtype)[..., None, None]
        wrong = (weight * (_blurred(maps) - _blurred(target))).square().sum()
        return wrong / (weight * _blurred(target)).square().sum().clamp(min=1e-6)


def _blurred(maps: Tensor) -> Tensor:
    for _ in range(2):
        maps = F.avg_pool2d(maps, BLUR, stride=1, padding=BLUR // 2)
    return maps


class Localiser(nn.Module):
    """Crops (B, 3, H, W) -> six numbers (B, 6), all zero before training, read off the maps of a one-stack hourglass.

    Where the middle of all joints is, and how far they spread, is linear in their maps.
    """

    def __init__(self, looks: StackedHourglass) -> None:
        super().__init__()
        self.looks = looks
        self.reads = _silent(nn.Linear(len(looks.skeleton) * READ[0] * READ[1], 6))

    def forward(self, images: Tensor) -> Tensor:
        return self.reads(F.adaptive_avg_pool2d(self.looks(images)[-1], READ).flatten(1))


def _resnet() -> nn.Module:
    network = resnet18(num_classes=6)
    _silent(network.fc)
    return network


def _silent(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


alphapose = partial(
    AlphaPose,
    **{"skeleton": "mpii", "stacks": 8, "width": 256, "depth": 4, "input_size": (256, 256)},
    **{"localiser": "resnet18", "parallel": 4},
)
alphapose_course = partial(AlphaPose)
