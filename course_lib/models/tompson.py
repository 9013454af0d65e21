"""Tompson et al.: a coarse map of every joint, and a second look around its peak at features that are already there.

Jonathan Tompson, Ross Goroshin, Arjun Jain, Yann LeCun, Christoph Bregler, "Efficient Object Localization Using
Convolutional Networks", CVPR 2015 (arXiv 1411.4280). Pooling lets a network see the whole body and makes it forget
where exactly a joint was. A fine network gets the place back: around each coarse peak it crops features that the coarse
network computed before most of its pooling, so that looking twice costs little, and both are trained together.

    coarse   H' = head(sum over banks b of upscale(bank_b(LCN(image / 2^b))))    centre_j = argmax H'_j
    fine     G'_j = last_j(sum over 4 paths of path(crop of early features around centre_j))
    answer   centre_j + argmax G'_j                                              E3 = E1 + lambda E2

|                  | paper                            | here, as no code of the authors is known to us         |
|------------------|----------------------------------|--------------------------------------------------------|
| parameters       | not given                        | 27,975,584 with 16 joints, 24,695,696 without fine     |
| banks            | 3, one for each resolution       | the same, each with weights of its own                 |
| stages           | 11 on MPII, 7 on FLIC            | counted as convolutions from the picture to the maps   |
| widths           | 128, 512, 256 (from memory)      | 128, 512, 256                                          |
| border           | padded picture (sizes say so)    | padded maps: the same away from the border             |
| normalisation    | local contrast                   | the same; the course's size has batch norm besides     |
| dropout          | SpatialDropout before first 1x1  | the same; 0.5 is from memory                           |
| crops            | 36 and 18 cells (from memory)    | the same: conv 1 pooled and conv 2, of two banks       |
| fine paths       | 4; how deep, we could not read   | two 5x5 convolutions each                              |
| training crops   | we could not read                | around the truth, up to 3/4 of a coarse cell off       |
| loss             | squares, summed (from memory)    | their mean, in units of what an empty answer costs     |
| target           | sigma 1.5 cells (from memory)    | 1.5 cells of either map; the course's size has 1       |
| which person     | a torso is given (from memory)   | the crop around the person says it                     |
| read-out         | argmax, coarse and fine          | argmax, then DARK; decode(..., read_out="argmax")      |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import geometry, losses
from course_lib.errors import CourseError
from course_lib.models.base import HeatmapModel
from course_lib.pose import Batch, Pose
from course_lib.skeletons import Skeleton
from course_lib.targets import heatmaps

FINE_STRIDE = 2  # input pixels per cell of the fine maps: the finest bank after its first pooling
LCN_RADIUS, LCN_SIGMA = 4, 2.0  # a 9 x 9 Gaussian window; the paper's size is not known to us
FLAT = 0.01  # contrast below this, in units of white, is noise and not blown up to one

# name -> the loss, and what an answer that says nothing costs: all zeros, or the same everywhere
LOSSES = {
    "l2": (losses.heatmap_mse, heatmaps.zero_level),
    "l1": (losses.heatmap_l1, partial(heatmaps.zero_level, power=1)),
    "cross_entropy": (losses.heatmap_cross_entropy, lambda size, sigma: math.log(size[0] * size[1])),
}
# SpatialDropout zeroes whole channels, ordinary dropout single cells, whose neighbours then tell what was there
DROPOUTS = {"spatial": nn.Dropout2d, "element": nn.Dropout, "none": lambda rate: nn.Identity()}


class Answer(NamedTuple):
    """Everything the network says; without the fine network, its two parts are None. Positions in input pixels."""

    coarse: Tensor  # (B, K, H / pooling, W / pooling)
    early: list[list[Tensor]]  # of every bank, two maps (B, C, h / 2, w / 2) that crops are cut from
    centres: Tensor | None = None  # (B, K, 2) the middle of every crop: where the coarse maps are highest
    fine: Tensor | None = None  # (B, K, n, n) in cells of FINE_STRIDE pixels around the centres

    def offsets(self, method: str = "argmax", **options) -> Tensor:
        """From the centres to the fine maps' peaks, (B, K, 2)."""
        places, _ = heatmaps.read_out(self.fine.detach(), method, **options)
        return (places - self.fine.shape[-1] / 2) * FINE_STRIDE


# --- blocks -----------------------------------------------------------------------------------------------------------


class LocalContrast(nn.Module):
    """Local contrast normalisation: v = x - mean, y = v / max(s, mean of s, FLAT), both over a Gaussian window.

    Mean and deviation s are taken over the window and all colours together, so that colours stay what they are.
    """

    def forward(self, images: Tensor) -> Tensor:
        x = images.float()
        inside = self._blur(torch.ones_like(x[:1, :1]))  # less than 1 near the border, where the window hangs over
        v = x - self._blur(x.mean(1, keepdim=True)) / inside
        deviation = (self._blur(v.square().mean(1, keepdim=True)) / inside).sqrt()  # (B, 1, H, W)
        usual = deviation.mean((-2, -1), keepdim=True).clamp(min=FLAT)
        return (v / torch.maximum(deviation, usual)).to(images.dtype)

    @staticmethod
    def _blur(maps: Tensor) -> Tensor:
        """By sums rather than convolutions, which autocast would compute in half precision."""
        bell = [math.exp(-((step / LCN_SIGMA) ** 2) / 2) for step in range(-LCN_RADIUS, LCN_RADIUS + 1)]
        sizes = maps.shape
        maps = F.pad(maps, (LCN_RADIUS,) * 4)
        for axis in (-2, -1):
            maps = sum(part / sum(bell) * maps.narrow(axis, i, sizes[axis]) for i, part in enumerate(bell))
        return maps


def stage(inputs: int, outputs: int, kernel: int, batch_norm: bool) -> nn.Sequential:
    """Convolution and ReLU, with batch normalisation between them if wanted."""
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=not batch_norm)
    return nn.Sequential(convolution, *([nn.BatchNorm2d(outputs)] if batch_norm else []), nn.ReLU(inplace=True))


class Bank(nn.Module):
    """One resolution: stages, the first `pools` of which end in pooling by 2, then a large window for context."""

    def __init__(self, widths: Sequence[int], kernel: int, pools: int, hidden: int, window: int, norm: bool) -> None:
        super().__init__()
        self.pools = pools
        inputs = (3, *widths[:-1])
        self.stages = nn.ModuleList(stage(a, b, kernel, norm) for a, b in zip(inputs, widths, strict=True))
        self.context = stage(widths[-1], hidden, window, norm)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Context (B, hidden, h / 2^pools, w / 2^pools), and what the fine network may crop, (B, C, h / 2, w / 2)."""
        early = []
        for number, one in enumerate(self.stages, 1):
            x = one(x)
            if number == 2:
                early.append(x)
            x = F.max_pool2d(x, 2) if number <= self.pools else x
            if number == 1:
                early.append(x)
        return self.context(x), early


def crop(maps: Tensor, corners: Tensor, size: int, times: int = 1) -> Tensor:
    """Cuts `size` x `size` cells out of maps (B, C, H, W) at whole-numbered corners (B, K, 2): (B * K, C, size, size).

    `times`: as if the maps had been enlarged so often, each cell repeated. Beyond the border there are zeros.
    """
    batch, channels, height, width = maps.shape
    x, y = (corners[..., None] + torch.arange(size, device=maps.device)).unbind(-2)  # (B, K, size) each
    x, y = (axis.div(times, rounding_mode="floor") for axis in (x, y))
    across, down = (x >= 0) & (x < width), (y >= 0) & (y < height)
    inside = down[..., :, None] & across[..., None, :]  # (B, K, size, size)
    first = torch.arange(batch, device=maps.device)[:, None, None, None] * (height * width)
    cells = first + y.clamp(0, height - 1)[..., :, None] * width + x.clamp(0, width - 1)[..., None, :]
    rows = maps.permute(0, 2, 3, 1).reshape(-1, channels).index_select(0, cells.flatten())
    rows = rows * inside.reshape(-1, 1)
    return rows.view(-1, size, size, channels).permute(0, 3, 1, 2)


class Refiner(nn.Module):
    """The fine network, one for all joints: a path for each cropped map, their sum, and a last 1x1 layer per joint."""

    def __init__(
        self, inputs: Sequence[int], width: int, depth: int, kernel: int, size: int, joints: int, norm: bool
    ) -> None:
        super().__init__()
        self.size = size
        self.paths = nn.ModuleList(
            nn.Sequential(*(stage(width if i else channels, width, kernel, norm) for i in range(depth)))
            for channels in inputs
        )
        self.last = nn.Conv2d(joints * width, joints, 1, groups=joints)

    def forward(self, early: list[list[Tensor]], corners: Tensor) -> Tensor:
        """Early features of up to two banks, corners (B, K, 2) of the crops in fine cells -> maps (B, K, n, n)."""
        total = 0
        for number, path in enumerate(self.paths):
            level, layer = divmod(number, 2)
            if level == 0:
                total = total + path(crop(early[0][layer], corners, self.size))
            else:  # cells twice as large: half as many cover the same part of the picture, one more where cut in two
                half = corners.div(2, rounding_mode="floor")
                cells = path(crop(early[1][layer], half, self.size // 2 + 1))
                total = total + crop(cells, (corners - 2 * half).flatten(0, 1)[:, None], self.size, times=2)
        return self.last(total.reshape(*corners.shape[:1], -1, self.size, self.size))


# --- the network ------------------------------------------------------------------------------------------------------


class Tompson(HeatmapModel):
    """Multi-resolution coarse maps of stride `pooling`, and with `fine` a second look of `crop_size` fine cells.

    stages: convolutions from the picture to the maps, of which the last three are context and head.
    weight: lambda in E1 + lambda E2, which weighs as it does in the paper, since both maps have the same sigma.
    phases: shares of the training after which the fine network starts to learn, the coarse one being frozen, and after
    which both learn. jitter: how far training's crops lie off the truth, in coarse cells.
    """

    def __init__(
        self,
        skeleton: str | Skeleton = "mpii",
        input_size: tuple[int, int] = (256, 256),
        pooling: int = 8,
        banks: int = 3,
        stages: int = 11,
        widths: Sequence[int] = (128,),  # of the stages in turn, the last one for all that follow
        hidden: tuple[int, int] = (512, 256),
        kernel: int = 5,
        window: int = 9,
        batch_norm: bool = False,
        dropout: str = "spatial",
        rate: float = 0.5,
        loss: str = "l2",
        sigma: float = 1.5,  # cells, of coarse and fine maps alike
        fine: bool = True,
        crop_size: int = 36,
        fine_width: int = 128,
        fine_depth: int = 2,
        weight: float = 0.1,
        phases: tuple[float, float] = (0.3, 0.4),
        jitter: float = 0.75,
        read_out: str = "dark",
    ) -> None:
        super().__init__(skeleton, input_size, pooling, sigma, read_out)
        if pooling not in (4, 8, 16) or not 1 <= banks <= 3 or stages < 3 + math.log2(pooling):
            raise CourseError(
                "Tompson's network takes pooling 4, 8 or 16, one to three banks and at least 3 stages more than it "
                f"halves; got pooling={pooling}, banks={banks}, stages={stages}"
            )
        if loss not in LOSSES or dropout not in DROPOUTS or not 0 <= rate < 1:
            raise CourseError(
                f"Tompson's network takes loss {', '.join(LOSSES)}, dropout {', '.join(DROPOUTS)} and a rate in "
                f"[0, 1); got loss={loss!r}, dropout={dropout!r}, rate={rate}"
            )
        holds = crop_size >= 4 and crop_size % 2 == 0 and 0 <= jitter * pooling < crop_size
        if fine and not (holds and 0 <= phases[0] <= phases[1]):
            raise CourseError(
                "Tompson's fine network takes an even crop_size of at least 4 cells that holds a joint jitter coarse "
                f"cells off its middle, and phases that rise; got crop_size={crop_size}, jitter={jitter}, {phases=}"
            )
        joints, depth = len(self.skeleton), stages - 3
        widths = (*widths, *[widths[-1]] * depth)[:depth]
        self.kind, self.weight, self.phases, self.jitter = loss, weight, tuple(phases), jitter
        pools = int(math.log2(pooling))
        self.contrast = LocalContrast()
        self.banks = nn.ModuleList(Bank(widths, kernel, pools, hidden[0], window, batch_norm) for _ in range(banks))
        self.dropout = DROPOUTS[dropout](rate)
        self.head = nn.Sequential(stage(hidden[0], hidden[1], 1, batch_norm), nn.Conv2d(hidden[1], joints, 1))
        self.refiner = None
        if fine:
            inputs = widths[:2] * min(banks, 2)
            self.refiner = Refiner(inputs, fine_width, fine_depth, kernel, crop_size, joints, batch_norm)
        self._start()

    def _start(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for layer in (self.head[-1], *([self.refiner.last] if self.refiner else [])):
            nn.init.normal_(layer.weight, std=0.001)  # maps start near zero, as their targets are

    def forward(self, images: Tensor) -> Answer:
        coarse, early = self.first_look(images)
        if self.refiner is None:
            return Answer(coarse, early)
        return self.second_look(coarse, early, self.peaks(coarse))

    def first_look(self, images: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
        """Coarse maps (B, K, H / pooling, W / pooling), and every bank's early features."""
        multiple = self.stride * 2 ** (len(self.banks) - 1)
        height, width = images.shape[-2:]
        if height % multiple or width % multiple or not height or not width:
            raise CourseError(f"Tompson needs height and width divisible by {multiple}; got {height} x {width}")
        total, early = 0, []
        for level, bank in enumerate(self.banks):
            smaller = F.avg_pool2d(images, 2**level) if level else images
            context, features = bank(self.contrast(smaller))
            total = total + (F.interpolate(context, scale_factor=2**level, mode="nearest") if level else context)
            early.append(features)
        return self.head(self.dropout(total)), early

    def second_look(self, coarse: Tensor, early: list[list[Tensor]], centres: Tensor) -> Answer:
        """The answer with fine maps around centres (B, K, 2), multiples of FINE_STRIDE. No gradient moves these."""
        corners = (centres / FINE_STRIDE).round().long() - self.refiner.size // 2
        return Answer(coarse, early, centres, self.refiner(early, corners))

    def peaks(self, coarse: Tensor) -> Tensor:
        """The centres (B, K, 2) of the highest cells, in pixels; always whole fine cells."""
        return heatmaps.argmax(coarse.detach())[0] * self.stride

    # --- what it is asked ---

    def loss(self, outputs: Answer, batch: Batch) -> dict[str, Tensor]:
        """E1 and lambda E2, each in units of an empty answer. A joint outside its crop does not count in E2."""
        terms = {"coarse": self.error(outputs.coarse, batch.joints / self.stride, batch.visible)}
        if outputs.fine is not None:
            size = outputs.fine.shape[-1]
            places = (batch.joints - outputs.centres) / FINE_STRIDE + size / 2
            inside = ((places >= 0) & (places < size)).all(-1)
            terms["fine"] = self.weight * self.error(outputs.fine, places, batch.visible * inside)
        return {**terms, "total": sum(terms.values())}

    def error(self, maps: Tensor, joints: Tensor, visible: Tensor) -> Tensor:
        """The chosen loss of maps (B, K, h, w) against Gaussians at joints (B, K, 2) in cells."""
        compare, nothing = LOSSES[self.kind]
        size = (maps.shape[-2], maps.shape[-1])
        return compare(maps, heatmaps.gaussian(joints, size, self.sigma), visible) / nothing(size, self.sigma)

    def training_loss(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """First the coarse network; then, with that frozen, the fine one; then both. Crops lie around the truth."""
        begins, together = self.phases
        frozen = self.refiner is not None and begins <= progress < together
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            coarse, early = self.first_look(batch.images)
        if self.refiner is None or progress < begins:
            terms = self.loss(Answer(coarse, early), batch)
            return {"coarse": terms["coarse"], "fine": torch.zeros_like(terms["total"]), "total": terms["total"]}
        return self.loss(self.second_look(coarse, early, self.training_centres(coarse, batch)), batch)

    def training_centres(self, coarse: Tensor, batch: Batch) -> Tensor:
        """Every labelled joint, moved by up to `jitter` coarse cells: as far off as a coarse peak may be."""
        off = (2 * torch.rand_like(batch.joints) - 1) * self.jitter * self.stride
        moved = ((batch.joints + off) / FINE_STRIDE).round() * FINE_STRIDE
        return torch.where((batch.visible > 0)[..., None], moved, self.peaks(coarse))

    # --- how it answers ---

    def heights(self, maps: Tensor) -> Tensor:
        """Maps with peaks near 1 whatever the loss was: what cross-entropy trained becomes 2 pi sigma^2 softmax."""
        if self.kind != "cross_entropy":
            return maps
        return 2 * math.pi * self.sigma**2 * maps.float().flatten(-2).softmax(-1).view_as(maps)

    def decode(self, outputs: Answer, stage: int = -1, read_out: str | None = None) -> list[list[Pose]]:
        """One pose per image: of the coarse maps alone (stage 0), or moved to the fine maps' peaks (1 or -1).

        Scores are always the heights of the coarse peaks: a fine map is never told that its joint may not be there.
        """
        poses = super().decode(self.heights(outputs.coarse)[None], read_out=read_out)
        if stage == 0 or outputs.fine is None:
            return poses
        method = read_out or self.read_out
        options = {"sigma": self.sigma} if method == "dark" else {}
        fine = outputs._replace(fine=self.heights(outputs.fine))
        joints = outputs.centres + fine.offsets(method, **options)
        return [[pose.moved(one)] for (pose,), one in zip(poses, joints.cpu(), strict=True)]

    def flip_average(self, outputs: Answer, mirrored: Answer) -> Answer:
        """Averages the coarse maps, then what both pictures show when looked at again around the new peaks."""
        coarse = super().flip_average(outputs.coarse, mirrored.coarse)
        if outputs.fine is None:
            return Answer(coarse, outputs.early)
        swaps, centres = self.skeleton.swaps, self.peaks(coarse)
        theirs = geometry.flip_joints(centres, coarse.shape[-1] * self.stride, swaps)
        answer = self.second_look(coarse, outputs.early, centres)
        other = self.second_look(mirrored.coarse, mirrored.early, theirs)
        return answer._replace(fine=(answer.fine + geometry.flip_maps(other.fine, swaps)) / 2)


def in_place(fine: Tensor, centre: Tensor, picture: Sequence[int]) -> Tensor:
    """A fine map (n, n) in the cells of a whole picture, zero elsewhere."""
    n = fine.shape[-1]
    rows, columns = picture[0] // FINE_STRIDE, picture[1] // FINE_STRIDE
    whole = torch.zeros(rows + 2 * n, columns + 2 * n)
    left, top = ((centre / FINE_STRIDE).round().long() - n // 2 + n).tolist()
    whole[top : top + n, left : left + n] = fine
    return whole[n : n + rows, n : n + columns]


tompson = Tompson
# coarse maps of 12 x 12 cells: what pooling loses, and what the fine network brings back, is plain to see
tompson_course = partial(
    Tompson,
    skeleton="lsp",
    input_size=(96, 96),
    stages=7,
    widths=(16, 32, 64, 64),
    hidden=(96, 64),
    kernel=3,
    window=5,
    batch_norm=True,
    rate=0.2,
    sigma=1.0,
    crop_size=10,
    fine_width=24,
)
