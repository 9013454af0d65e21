"""Part affinity fields: everybody in the picture at once.

Zhe Cao, Tomas Simon, Shih-En Wei, Yaser Sheikh, "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields",
CVPR 2017 (arXiv 1611.08050); with Gines Hidalgo, "OpenPose", 2018 (arXiv 1812.08008). No detector looks for people
first: one network tells for all of them where the joints are (maps S) and which way the limbs run (fields L), and what
belongs together is read off the fields (`targets/grouping.py`). So time hardly depends on how many people there are.

    F   = trunk(image)
    "together"      L_t = phi_t(F, S_(t-1), L_(t-1))        S_t = rho_t(F, S_(t-1), L_(t-1))        t = 1 ... T
    "fields_first"  L_t = phi_t(F, L_(t-1)), t <= T_L       then S_t = rho_t(F, L_(T_L), S_(t-1)),  t > T_L
    f   = sum over t of sum over cells p of W(p) (|S_t(p) - S*(p)|^2 + |L_t(p) - L*(p)|^2)

|                      | papers                      | authors' code          | here                           |
|----------------------|-----------------------------|------------------------|--------------------------------|
| parameters, 2017     |                             | 52,311,446             | 52,311,446: 18 joints, 19 limbs|
| parameters, 2018     |                             | 26,166,084             | 26,166,084: 25 joints, 26 limbs|
| a 7x7 of 2018        | three 3x3, all put together | the same               | the same, "dense"              |
| activation of 2018   |                             | PReLU from conv4_2 on  | the same, prelu=True           |
| stages of 2018       | 5 of fields and 1 of maps   | 4 and 2                | 4 and 2, `field_stages` says   |
| output               | two branches                | maps, then fields      | `Answer(maps, fields)`         |
| joint without label  |                             | asked for nothing there| the same                       |
| loss                 | sum over cells              | half of it             | mean over cells and pictures   |
| random start         |                             | VGG-19 from ImageNet   | He; last layers near nothing   |
| pixels               |                             | x / 256 - 1/2, BGR     | x / 255 - 1/2, RGB             |
| peaks on             |                             | maps enlarged 8 times  | maps; decode(..., enlarge=8)   |

Where a field is empty, we do not know. The authors' limbs have another order than ours (`skeletons`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import checkpoints, geometry
from course_lib.errors import CourseError, unknown_name
from course_lib.models.base import PoseModel
from course_lib.models.hourglass import HourglassTrunk, hourglass_course
from course_lib.models.layers import Standardise
from course_lib.pose import Crowd, Pose
from course_lib.skeletons import Skeleton
from course_lib.targets import fields as limb_fields
from course_lib.targets import grouping

BACKBONES = ("vgg", "hourglass")
STEM_STRIDE = 4  # of the hourglass
VGG19 = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512))  # its first ten layers; a pool between two groups
ARRANGEMENTS = ("together", "fields_first")


class Answer(NamedTuple):
    """maps (S, B, K + 1, h, w), background last, and fields (T, B, 2L, h, w), of all the stages that have them."""

    maps: Tensor
    fields: Tensor


class Targets(NamedTuple):
    """What is asked: maps (B, K + 1, h, w), fields (B, 2L, h, w), and where, weight (B, h, w) from 0 to 1."""

    maps: Tensor
    fields: Tensor
    weight: Tensor


def convolution(inputs: int, outputs: int, kernel: int, norm: bool = False, prelu: bool = False) -> nn.Sequential:
    """Convolve without changing the size, normalise if asked to, ReLU or one that learns its slope."""
    layers = [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), *([nn.BatchNorm2d(outputs)] if norm else [])]
    # not in place: a block's layers are put together afterwards
    return nn.Sequential(*layers, nn.PReLU(outputs) if prelu else nn.ReLU())


class Dense(nn.Module):
    """Three 3x3 in a row, all three of which are heard: the field of a 7x7, three activations, fewer products."""

    def __init__(self, inputs: int, width: int, norm: bool, prelu: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(convolution(n, width, 3, norm, prelu) for n in (inputs, width, width))

    def forward(self, x: Tensor) -> Tensor:
        heard = []
        for layer in self.layers:
            x = layer(x)
            heard.append(x)
        return torch.cat(heard, dim=1)  # (B, 3 width, h, w)


def trunk(groups: Sequence[Sequence[int]], features: Sequence[int], norm: bool, prelu: bool) -> nn.Sequential:
    """F: groups of 3x3 layers with a halving between two of them, then as many more as `features` has."""
    layers, channels = [], 3
    for number, group in enumerate(groups):
        layers += [nn.MaxPool2d(2)] if number else []
        for layer, outputs in enumerate(group):
            last = number == len(groups) - 1 and layer == len(group) - 1
            layers.append(convolution(channels, outputs, 3, norm, prelu and last))
            channels = outputs
    for outputs in features:
        layers.append(convolution(channels, outputs, 3, norm, prelu))
        channels = outputs
    return nn.Sequential(*layers)


def plain(
    inputs: int, outputs: int, first: bool, width: int, hidden: int, kernel: int, norm: bool, prelu: bool
) -> nn.Sequential:
    """A stage's branch of 2017: three 3x3 in the first stage, five 7x7 in a later one, and two 1x1."""
    kernels, between = ((3, 3, 3), hidden) if first else ((kernel,) * 5, width)
    wide = [convolution(width if i else inputs, width, k, norm, prelu) for i, k in enumerate(kernels)]
    return nn.Sequential(*wide, convolution(width, between, 1, norm, prelu), nn.Conv2d(between, outputs, 1))


def dense(inputs: int, outputs: int, first: bool, width: int, hidden: int, norm: bool, prelu: bool) -> nn.Sequential:
    """A stage of 2018: five dense blocks and two 1x1, narrower in the first stage of fields and the first of maps."""
    wide, between = (width * 3 // 4, hidden // 2) if first else (width, hidden)
    blocks = [Dense(3 * wide if i else inputs, wide, norm, prelu) for i in range(5)]
    return nn.Sequential(*blocks, convolution(3 * wide, between, 1, norm, prelu), nn.Conv2d(between, outputs, 1))


class PartAffinityFields(PoseModel):
    """OpenPose. `forward` keeps every stage; `decode` gives as many people as it finds.

    stages: T.  arrangement: "together", as in 2017, or "fields_first", as in 2018, where the first `field_stages` are
        of fields and the others of maps.
    backbone: "vgg", the papers' trunk, or "hourglass", that of lesson 06, whose weights it can begin from.
    groups: channels of "vgg"'s 3x3 layers; between two groups the maps are halved, so the stride is
        2^(len(groups) - 1).  feature_channels: of the two 3x3 after them.
    width: channels of a stage's wide layers.  hidden: of the 1x1 in a first stage ("together"), or in every other
        stage ("fields_first", whose two first stages are 3/4 as wide and have half as many).
    kernel: of "together"'s later stages.  norm: batch normalisation.  prelu: from the trunk's last layer on.
    sigma, limb_width, beyond: of the targets, in cells: the bells, and a limb's reach to each side and past its ends.
    """

    many, trained_on = True, "crowd"

    def __init__(
        self,
        skeleton: str | Skeleton = "body18",
        stages: int = 6,
        arrangement: str = "together",
        field_stages: int = 4,
        backbone: str = "vgg",
        groups: Sequence[Sequence[int]] = VGG19,
        feature_channels: tuple[int, int] = (256, 128),
        width: int = 128,
        hidden: int = 512,
        kernel: int = 7,
        norm: bool = False,
        prelu: bool = False,
        input_size: tuple[int, int] = (368, 368),
        sigma: float = limb_fields.SIGMA,
        limb_width: float = limb_fields.WIDTH,
        beyond: float = 0.0,
    ) -> None:
        if arrangement not in ARRANGEMENTS:
            raise unknown_name("arrangement", arrangement, ARRANGEMENTS)
        if backbone not in BACKBONES:
            raise unknown_name("backbone", backbone, BACKBONES)
        groups = tuple(tuple(group) for group in groups)
        widths = (*(channels for group in groups for channels in group), *feature_channels, width // 4, hidden // 2)
        if stages < 1 or not groups or not all(groups) or min(widths) < 1 or kernel < 1 or kernel % 2 == 0:
            raise CourseError(
                "part affinity fields need a stage, a layer in every group, a channel in every layer (4 in `width`, 2 "
                f"in `hidden`) and an odd kernel; got stages={stages}, groups={groups}, "
                f"feature_channels={tuple(feature_channels)}, width={width}, hidden={hidden} and kernel={kernel}"
            )
        if arrangement == "fields_first" and not 0 < field_stages < stages:
            raise CourseError(
                f"of {stages} stages at least one must be of fields and one of maps; got field_stages={field_stages}"
            )
        super().__init__(skeleton, input_size, 2 ** (len(groups) - 1) if backbone == "vgg" else STEM_STRIDE)
        if not self.skeleton.limbs:
            raise CourseError(f"skeleton '{self.skeleton.name}' has no limbs, so nothing can say whose a joint is")
        self.arrangement, self.sigma = arrangement, float(sigma)
        self.limb_width, self.beyond = float(limb_width), float(beyond)
        style = {"norm": norm, "prelu": prelu}
        if backbone == "vgg":
            self.trunk, features = trunk(groups, feature_channels, **style), feature_channels[-1]
            self.standardise = Standardise((0.5,) * 3, (1.0,) * 3)
        else:
            self.trunk = HourglassTrunk(
                hourglass_course(skeleton=skeleton, stem_stride=STEM_STRIDE, input_size=input_size)
            )
            features = self.trunk.channels
        # what height and width of a picture must be divisible by
        self.multiple = self.stride if backbone == "vgg" else self.stride * 2**self.trunk.network.depth
        fields, maps = 2 * len(self.skeleton.limbs), len(self.skeleton) + 1
        if arrangement == "together":
            head = partial(plain, width=width, hidden=hidden, kernel=kernel, **style)
            heard = [features + (t > 0) * (fields + maps) for t in range(stages)]
            self.field_heads = nn.ModuleList(head(n, fields, t == 0) for t, n in enumerate(heard))
            self.map_heads = nn.ModuleList(head(n, maps, t == 0) for t, n in enumerate(heard))
        else:
            head = partial(dense, width=width, hidden=hidden, **style)
            heard = [features + (t > 0) * fields for t in range(field_stages)]
            self.field_heads = nn.ModuleList(head(n, fields, t == 0) for t, n in enumerate(heard))
            heard = [features + fields + (t > 0) * maps for t in range(stages - field_stages)]
            self.map_heads = nn.ModuleList(head(n, maps, t == 0) for t, n in enumerate(heard))
        self._start()

    def _start(self) -> None:
        own = [self.field_heads, self.map_heads, *([] if isinstance(self.trunk, HourglassTrunk) else [self.trunk])]
        for module in (module for part in own for module in part.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        for head in (*self.field_heads, *self.map_heads):  # nearly all of the target is: no limb, no joint, background
            nn.init.normal_(head[-1].weight, std=0.001)
        for head in self.map_heads:
            nn.init.ones_(head[-1].bias[-1:])

    def begin_from(self, file: str | Path) -> dict[str, Any]:
        """Takes a checkpoint of its own, or an hourglass's for its trunk, and leaves the stages as they are."""
        if not isinstance(self.trunk, HourglassTrunk) or checkpoints.read_header(file)["model"] == self.name:
            return super().begin_from(file)
        return self.trunk.begin_from(file)

    # --- the network ---

    def forward(self, images: Tensor) -> Answer:
        """images (B, 3, H, W) in [0, 1]."""
        if isinstance(self.trunk, HourglassTrunk):
            features = self.trunk(images)  # (B, F, h, w)
        else:
            height, width = images.shape[-2:]
            if height % self.multiple or width % self.multiple or not height or not width:
                raise CourseError(
                    f"{type(self).__name__} needs height and width divisible by {self.multiple}; got {height} x {width}"
                )
            features = self.trunk(self.standardise(images))
        fields, maps = [], []
        if self.arrangement == "together":
            heard = features
            for field_head, map_head in zip(self.field_heads, self.map_heads, strict=True):
                fields.append(field_head(heard))
                maps.append(map_head(heard))
                heard = torch.cat([fields[-1], maps[-1], features], dim=1)
        else:
            for head in self.field_heads:
                fields.append(head(torch.cat([features, *fields[-1:]], dim=1)))
            for head in self.map_heads:
                maps.append(head(torch.cat([features, fields[-1], *maps[-1:]], dim=1)))
        return Answer(torch.stack(maps), torch.stack(fields))

    # --- how it is asked ---

    def loss(self, outputs: Answer, batch: Crowd) -> dict[str, Tensor]:
        """Every stage's error, and their sum under "total"."""
        weight = F.avg_pool2d(batch.labelled[:, None].float(), self.stride)[:, 0]
        return compare(outputs, self.targets(batch.joints, batch.visible, batch.size, weight))

    def targets(self, joints: Tensor, visible: Tensor, size: tuple[int, int], weight: Tensor | None = None) -> Targets:
        """For people joints (B, N, K, 2) in pixels, visible (B, N, K), who is missing unlabelled; pictures of `size`.

        weight (B, h, w): where the answer counts (`targets.fields.labelled_weight`); by default everywhere.
        """
        cells = (size[0] // self.stride, size[1] // self.stride)
        if weight is None:
            weight = torch.ones(len(joints), *cells, device=joints.device)
        if weight.shape != (len(joints), *cells):
            raise CourseError(f"weight must have shape {(len(joints), *cells)}; got {tuple(weight.shape)}")
        maps = limb_fields.confidence_maps(joints / self.stride, visible, cells, self.sigma)
        limbs = (self.skeleton.limbs, cells, self.limb_width)
        fields = limb_fields.limb_fields(joints / self.stride, visible, *limbs, beyond=self.beyond)
        return Targets(maps, fields, weight)

    # --- how it answers ---

    def decode(self, outputs: Answer, stage: int = -1, enlarge: int = 1, **options) -> list[list[Pose]]:
        """The people of every picture in its pixels, the surest first; none where nobody is.

        stage: of the maps and of the fields; the last fields where there are no more stages of them than that.
        enlarge: the maps and fields by this factor before peaks are looked for.  options: those of `grouping.group`.
        A person with all joints and limbs at their best has score 1.
        """
        maps, fields = outputs.maps[stage].detach(), outputs.fields[min(stage, len(outputs.fields) - 1)].detach()
        if enlarge > 1:
            maps, fields = (F.interpolate(x.float(), scale_factor=enlarge, mode="bicubic") for x in (maps, fields))
        whole = len(self.skeleton) + len(self.skeleton.limbs)
        return [
            [
                Pose(person.joints * (self.stride / enlarge), person.scores, self.skeleton, person.score / whole)
                for person in grouping.group(own_maps[:-1], own_fields, self.skeleton.limbs, **options)
            ]
            for own_maps, own_fields in zip(maps, fields, strict=True)
        ]

    def flip_average(self, outputs: Answer, mirrored: Answer) -> Answer:
        swaps = self.skeleton.swaps
        maps = geometry.flip_maps(mirrored.maps, (*swaps, len(swaps)))  # the background stays the background
        fields = limb_fields.flip(mirrored.fields, self.skeleton.limbs, swaps)
        return Answer((outputs.maps + maps) / 2, (outputs.fields + fields) / 2)


def compare(outputs: Answer, targets: Targets) -> dict[str, Tensor]:
    """f of every stage of maps and of fields, and their sum under "total".

    The paper's sums over cells are means over cells and pictures here, so that a learning rate does not hang on the
    size of the maps; channels are summed, and every cell counts by its weight. What a cell of weight 0 is asked for,
    be it NaN, never reaches the value or the gradient.
    """
    terms = {}
    for name, stages, target in (("maps", outputs.maps, targets.maps), ("fields", outputs.fields, targets.fields)):
        if stages.shape[1:] != target.shape or targets.weight.shape != (len(target), *target.shape[-2:]):
            raise CourseError(
                f"{name} (stages, B, C, h, w), their target (B, C, h, w) and weight (B, h, w) must agree; got "
                f"{tuple(stages.shape)}, {tuple(target.shape)} and {tuple(targets.weight.shape)}"
            )
        weight = targets.weight[:, None].float()
        for number, stage in enumerate(stages, 1):
            difference = torch.where(weight > 0, stage.float() - target.float(), 0.0)
            terms[f"{name}_{number}"] = (weight * difference.square()).sum(1).mean()
    return {**terms, "total": sum(terms.values())}


paf = PartAffinityFields
# Where VGG began from ImageNet, it begins from a network that knows one person, and that has seen the whole picture
# before the first stage: 3x3 will do. Its people are small, so cells have 4 pixels, and limbs reach past their ends:
# else one that is shorter than a cell would not be drawn.
paf_course = partial(
    PartAffinityFields,
    skeleton="lsp",
    stages=3,
    backbone="hourglass",
    width=32,
    hidden=64,
    kernel=3,
    norm=True,
    input_size=(192, 256),
    sigma=1.0,
    beyond=1.0,
)
