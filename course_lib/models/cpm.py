"""Convolutional pose machines.

Shih-En Wei, Varun Ramakrishna, Takeo Kanade, Yaser Sheikh, "Convolutional Pose Machines", CVPR 2016 (arXiv 1602.00134).
A wrist alone is a blob; what tells whose and which it is lies elsewhere in the body. So the network is asked several
times in a row, and every stage sees, over a wider and wider field, what the stage before believed of *all* joints. No
graphical model is written down: where a hand may be, given an elbow, is learned by the convolutions.

    b_1 = g_1(x)        b_t = g_t(x', b_(t-1), centre)  for t >= 2        b_t has K + 1 channels, the last is background
    f_t = sum over channels p and cells z of (b_t^p(z) - b_*^p(z))^2      F = sum over t of f_t

|                | paper                     | authors' Caffe code                | here                              |
|----------------|---------------------------|------------------------------------|-----------------------------------|
| stages, joints | 3 in most studies         | 6, 14 joints (FLIC: 4, 9 joints)   | 6, 14: 31,219,866 parameters      |
| fields         | 160, 400 px, as 2x2 pools | 167, 407: 3x3, sizes rounded up    | the code's; pool=2 is the paper's |
| image features | shared                    | shared from stage 2 on, then 5x5   | the code's                        |
| centre map     |                           | sigma 21 px, averages of 9x9       | the same; default: crop's middle  |
| target         | Gaussian, background      | cut below 1 %, summed, clipped     | summed and clipped, not cut       |
| of stage 1     |                           | everybody in the crop              | whoever `loss` is told of         |
| loss           | sum of squares            | half the sum over the batch size   | in all-zero answers' joint maps   |
| unlabelled     |                           | asked for a map of zeros           | not asked; nor is its background  |
| random start   |                           | Gaussian, 0.01; biases 0           | He; last layers near "background" |
| read-out       |                           | argmax of 7 scales' maps, enlarged | DARK, one scale                   |

Where a field is empty, we do not know. The target's sigma is said to be 7 pixels of 368, which we could not check.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import geometry, losses
from course_lib.errors import CourseError
from course_lib.models.base import HeatmapModel
from course_lib.pose import Batch, Pose
from course_lib.skeletons import Skeleton
from course_lib.targets import heatmaps

TOLD = 0.5  # share of the people in training whose own middle is told; the others get the crop's, as `estimate` does


def convolution(inputs: int, outputs: int, kernel: int, norm: bool = False) -> nn.Sequential:
    """Convolve without changing the size, normalise if asked to, ReLU."""
    layers = [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)]
    return nn.Sequential(*layers, *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU(inplace=True))


def tower(channels: tuple[int, ...], kernel: int, pool: int, norm: bool) -> nn.Sequential:
    """Image features: every block convolves and halves, so the picture shrinks by 2^len(channels)."""
    pairs = zip((3, *channels[:-1]), channels, strict=True)
    # Caffe rounds sizes up and does not pad: a 3x3 pool of 368 pixels has 184 cells, the last of them two pixels wide
    return nn.Sequential(
        *(nn.Sequential(convolution(a, b, kernel, norm), nn.MaxPool2d(pool, 2, ceil_mode=True)) for a, b in pairs)
    )


class ConvolutionalPoseMachine(HeatmapModel):
    """T stages. `forward` gives the beliefs of all: (T, B, K + 1, H / stride, W / stride), background last.

    image_channels, image_kernel: the tower of convolve-and-halve blocks; stage 1 has one, all later stages share one.
    feature_channels, feature_kernel: what each stage makes of its tower's maps by a layer of its own.
    first_channels, first_kernel: the widest layer of stage 1.  stage_channels, stage_kernel: of the later ones.
    sigma: of the target, in cells.  centre_sigma: of the centre map, in pixels of the input.
    norm: batch normalisation, which the paper does not have.
    supervise: compare the beliefs of "all" stages with the target, as the paper does, or of the "last" alone.
    """

    def __init__(
        self,
        skeleton: str | Skeleton = "lsp",
        stages: int = 6,
        image_channels: tuple[int, ...] = (128, 128, 128),
        image_kernel: int = 9,
        feature_channels: int = 32,
        feature_kernel: int = 5,
        first_channels: int = 512,
        first_kernel: int = 9,
        stage_channels: int = 128,
        stage_kernel: int = 11,
        pool: int = 3,
        dropout: float = 0.5,
        norm: bool = False,
        input_size: tuple[int, int] = (368, 368),
        sigma: float = 0.875,
        centre_sigma: float = 21.0,
        supervise: str = "all",
        read_out: str = "dark",
    ) -> None:
        image_channels = tuple(image_channels)
        super().__init__(skeleton, input_size, 2 ** len(image_channels), sigma, read_out)
        widths = (*image_channels, feature_channels, first_channels, stage_channels)
        kernels = (image_kernel, feature_kernel, first_kernel, stage_kernel)
        if (
            stages < 1
            or not image_channels
            or min(widths) < 1
            or any(kernel < 1 or kernel % 2 == 0 for kernel in kernels)
        ):
            raise CourseError(
                "a convolutional pose machine needs at least one stage, one image layer and one channel everywhere, "
                f"and odd kernels; got stages={stages}, channels {widths} and kernels {kernels}"
            )
        if pool not in (2, 3) or supervise not in ("all", "last") or not centre_sigma > 0:
            raise CourseError(
                "a convolutional pose machine takes pool 2 or 3, supervise 'all' or 'last' and a centre_sigma above 0; "
                f"got pool={pool}, supervise={supervise!r}, centre_sigma={centre_sigma}"
            )
        self.centre_sigma, self.supervise = float(centre_sigma), supervise
        beliefs = len(self.skeleton) + 1
        self.tower = tower(image_channels, image_kernel, pool, norm)
        self.shared_tower = tower(image_channels, image_kernel, pool, norm) if stages > 1 else None
        self.features = nn.ModuleList(
            convolution(image_channels[-1], feature_channels, feature_kernel, norm) for _ in range(stages)
        )
        first = nn.Sequential(
            *(convolution(feature_channels, first_channels, first_kernel, norm), nn.Dropout(dropout)),
            *(convolution(first_channels, first_channels, 1, norm), nn.Dropout(dropout)),
            nn.Conv2d(first_channels, beliefs, 1),
        )
        later = (
            nn.Sequential(
                convolution(feature_channels + beliefs + 1, stage_channels, stage_kernel, norm),
                *(convolution(stage_channels, stage_channels, stage_kernel, norm) for _ in range(2)),
                convolution(stage_channels, stage_channels, 1, norm),
                nn.Conv2d(stage_channels, beliefs, 1),
            )
            for _ in range(stages - 1)
        )
        self.heads = nn.ModuleList([first, *later])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        for head in self.heads:  # no joints anywhere, background everywhere: nearly all of the target is that
            nn.init.normal_(head[-1].weight, std=0.001)
            nn.init.ones_(head[-1].bias[-1:])

    # --- the network ---

    def forward(self, images: Tensor, centre: Tensor | None = None) -> Tensor:
        """images (B, 3, H, W); centre (B, 2), who is meant, in their pixels: by default their middle."""
        height, width = images.shape[-2:]
        if height % self.stride or width % self.stride or not height or not width:
            raise CourseError(
                f"{type(self).__name__} needs height and width divisible by {self.stride}; got {height} x {width}"
            )
        beliefs = [self.heads[0](self.features[0](self.tower(images)))]  # each (B, K + 1, H / stride, W / stride)
        if self.shared_tower is not None:
            shared = self.shared_tower(images)
            where = self.centre_map(images, centre).to(shared.dtype)
            for features, head in zip(self.features[1:], self.heads[1:], strict=True):
                beliefs.append(head(torch.cat([features(shared), beliefs[-1], where], dim=1)))
        return torch.stack(beliefs)

    def centre_map(self, images: Tensor, centre: Tensor | None = None) -> Tensor:
        """A Gaussian at the person who is meant, averaged over cells a pixel wider than the stride: (B, 1, h, w)."""
        height, width = images.shape[-2:]
        if centre is None:
            centre = torch.tensor([width / 2, height / 2], device=images.device).expand(len(images), 2)
        if centre.shape != (len(images), 2):
            raise CourseError(f"centre must have shape ({len(images)}, 2) as x, y; got {tuple(centre.shape)}")
        whole = heatmaps.gaussian(centre[:, None], (height, width), self.centre_sigma)
        return F.avg_pool2d(whole, self.stride + 1, self.stride, ceil_mode=True)

    # --- how it is asked ---

    def targets(self, batch: Batch, size: tuple[int, int], others: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """b_* (B, K + 1, *size): a Gaussian for every labelled joint, and the background 1 - max_p b_*^p.

        `others` = joints (B, N, K, 2) and visible (B, N, K) are further people, whose Gaussians are added, up to 1.
        """
        joints, visible = batch.joints[:, None], batch.visible[:, None]
        if others is not None:
            joints, visible = torch.cat([joints, others[0]], dim=1), torch.cat([visible, others[1]], dim=1)
        maps = heatmaps.gaussian(joints / self.stride, size, self.sigma)  # (B, 1 + N, K, *size)
        maps = torch.where(visible[..., None, None] > 0, maps, 0.0).sum(1).clamp(max=1)
        return torch.cat([maps, 1 - maps.amax(1, keepdim=True)], dim=1)

    def stage_losses(
        self, beliefs: Tensor, batch: Batch, others: tuple[Tensor, Tensor] | None = None, first: int = 0
    ) -> list[Tensor]:
        """f_t of stages first + 1, first + 2, ..., over what an all-zero answer's K joint maps cost.

        The background weighs as one more channel, as in the paper; it is unknown where a joint is unlabelled.
        """
        size, joints = (beliefs.shape[-2], beliefs.shape[-1]), len(self.skeleton)
        complete = (batch.visible > 0).all(-1, keepdim=True)  # (B, 1)
        nothing = heatmaps.zero_level(size, self.sigma)
        result = []
        for stage, belief in enumerate(beliefs, first):
            # stage 1 is not told who is meant, so finding the same joint of somebody else is no mistake of its own
            target = self.targets(batch, size, others if stage == 0 else None)
            parts = losses.heatmap_mse(belief[:, :joints], target[:, :joints], batch.visible)
            background = losses.heatmap_mse(belief[:, joints:], target[:, joints:], complete)
            result.append((parts + background / joints) / nothing)
        return result

    def loss(self, outputs: Tensor, batch: Batch, others: tuple[Tensor, Tensor] | None = None) -> dict[str, Tensor]:
        """Every supervised stage's error and their sum; `others` is who else stage 1 may find (see `targets`)."""
        first = 0 if self.supervise == "all" else len(outputs) - 1
        stages = self.stage_losses(outputs[first:], batch, others, first)
        terms = {f"stage_{first + i + 1}": term for i, term in enumerate(stages)}
        return {**terms, "total": sum(stages)}

    def training_loss(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The loss with a centre map that says something: for some people the middle of their labelled joints."""
        height, width = batch.size
        middle = batch.joints.new_tensor([width / 2, height / 2])
        box = geometry.box_of(batch.joints, batch.visible)
        known = (batch.visible > 0).any(-1) & (torch.rand(len(batch), device=middle.device) < TOLD)
        centre = torch.where(known[:, None], (box[:, :2] + box[:, 2:]) / 2, middle)
        return self.loss(self(batch.images, centre), batch)

    # --- how it answers ---

    def decode(self, outputs: Tensor, stage: int = -1, read_out: str | None = None) -> list[list[Pose]]:
        """One pose per image from one stage's beliefs, without the background."""
        return super().decode(outputs[:, :, : len(self.skeleton)], stage, read_out)

    def flip_average(self, outputs: Tensor, mirrored: Tensor) -> Tensor:
        swaps = (*self.skeleton.swaps, len(self.skeleton))  # the background stays the background
        return (outputs + geometry.flip_maps(mirrored, swaps)) / 2


cpm = ConvolutionalPoseMachine
# 0.14 G multiply-adds. Fields of 34, 58, 82, 106, 130 and 154 of the 96 pixels: the third stage sees most of a person.
cpm_course = partial(
    ConvolutionalPoseMachine,
    image_channels=(16, 32),
    image_kernel=3,
    feature_channels=16,
    feature_kernel=3,
    first_channels=48,
    first_kernel=5,
    stage_channels=32,
    stage_kernel=3,
    pool=2,
    dropout=0.0,
    norm=True,
    input_size=(96, 96),
    sigma=1.0,
    centre_sigma=5.5,
)
