"""What there is to know about each published network: where the file is, what it becomes here, what it should reach.

An address stands here only if the name of its file begins or ends with digits of its SHA-256: who downloads can then
tell a file that was cut short or changed. Files without them, and those that are given out by hand, the user has to
bring. Scores are those printed beside the weights, and `measure` says what they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from course_lib.errors import unknown_name

ZOO = "https://download.openmmlab.com/mmpose/"
ZOO_COCO, ZOO_MPII = f"{ZOO}v1/body_2d_keypoint/topdown_heatmap/coco/td-hm_", f"{ZOO}top_down/"
TORCHVISION = "https://download.pytorch.org/models/"
DIGITS = (  # three ways in which names of files carry digits of their SHA-256
    re.compile(r"_([0-9a-f]{8})-\d{8}\.\w+$"),  # name_0123abcd-20221228.pth; before the others: it ends in a date
    re.compile(r"-([0-9a-f]{8})_\d{8}\.\w+$"),  # name-0123abcd_20220909.pth
    re.compile(r"-([0-9a-f]{8,64})\.\w+$"),  # name-0123abcd.pth
)


@dataclass(frozen=True)
class Card:
    """One published network."""

    name: str
    what: str  # what is in the file, in the words of `layouts.describe`
    builder: str  # a model of `models.names()`, or module:class of the hub's own
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    url: str = ""  # empty: the user has to bring the file
    digest: str = ""  # SHA-256, whole or its first digits; empty: those in the file's name
    alignment: str = "cells"
    flip: bool = False  # whether the scores are with flip test
    # whose file -> published AP or PCKh
    scores: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    measure: str = ""  # what the scores are
    covers: tuple[str, ...] = ("",)  # beginnings of the names that the file has; the rest starts by chance
    pixels: str = ""  # how the network wants its pictures' colours, where the model does not know: see `building`
    note: str = ""

    @property
    def digits(self) -> str:
        """What the SHA-256 of the published file begins with."""
        return self.digest or digits_in(self.url)


def digits_in(name: str) -> str:
    """The digits of a SHA-256 that a file's name carries; empty where it carries none."""
    for pattern in DIGITS:
        if found := pattern.search(name):
            return found[1]
    return ""


def get(name: str) -> Card:
    """A card by name."""
    if name not in CARDS:
        raise unknown_name("published network", name, CARDS)
    return CARDS[name]


AP = "AP on COCO val2017 with flip test, in the boxes of a detector with a person AP of 56.4"
PCKH = "PCKh@0.5 on MPII's validation people with flip test"
TOP_DOWN = {"alignment": "indices", "flip": True}  # simple baselines, HRNet and their zoo
MPII_NOTE = "MPII's boxes: 200 times the scale around a centre that is first moved down by 15 times the scale"
UNVERIFIED = "the file is not listed here, because no address of it with digits of its SHA-256 was found"


SMALL, LARGE, SQUARE = (256, 192), (384, 288), (256, 256)
# network, its width or depth, input, the zoo's file, and the scores of that and of the authors' own
_ROWS = (
    ("hrnet", 32, SMALL, "hrnet-w32_8xb64-210e_coco-256x192-81c58e40_20220909.pth", 0.749, 0.744),
    ("hrnet", 32, LARGE, "hrnet-w32_8xb64-210e_coco-384x288-ca5956af_20220909.pth", 0.761, 0.758),
    ("hrnet", 32, SQUARE, "hrnet/hrnet_w32_mpii_256x256-6c4f923f_20200812.pth", 0.900, 0.903),
    ("hrnet", 48, SMALL, "hrnet-w48_8xb32-210e_coco-256x192-0e67c616_20220913.pth", 0.756, 0.751),
    ("hrnet", 48, LARGE, "hrnet-w48_8xb32-210e_coco-384x288-c161b7de_20220915.pth", 0.767, 0.763),
    ("hrnet", 48, SQUARE, "hrnet/hrnet_w48_mpii_256x256-92cab7bd_20200812.pth", 0.901, None),
    ("pose_resnet", 50, SMALL, "res50_8xb64-210e_coco-256x192-04af38ce_20220923.pth", 0.718, 0.704),
    ("pose_resnet", 50, LARGE, "res50_8xb64-210e_coco-384x288-7b8db90e_20220923.pth", 0.731, 0.722),
    ("pose_resnet", 50, SQUARE, "resnet/res50_mpii_256x256-418ffc88_20200812.pth", 0.882, 0.885),
    ("pose_resnet", 101, SMALL, "res101_8xb64-210e_coco-256x192-065d3625_20220926.pth", 0.728, 0.714),
    ("pose_resnet", 101, LARGE, "", None, 0.736),  # the zoo's table links the smaller file in its place
    ("pose_resnet", 101, SQUARE, "resnet/res101_mpii_256x256-416f5d71_20200812.pth", 0.888, 0.891),
    ("pose_resnet", 152, SMALL, "res152_8xb32-210e_coco-256x192-0345f330_20220928.pth", 0.736, 0.720),
    ("pose_resnet", 152, LARGE, "res152_8xb32-210e_coco-384x288-7fbb906f_20220927.pth", 0.750, 0.743),
    ("pose_resnet", 152, SQUARE, "resnet/res152_mpii_256x256-3ecba29d_20200812.pth", 0.889, 0.896),
)


def _top_down(
    builder: str, number: int, size: tuple[int, int], file: str, zoo: float | None, authors: float | None
) -> Card:
    """HRNet or a pose ResNet: MPII's where the input is square, else COCO's."""
    on_mpii, wide = size == SQUARE, builder == "hrnet"
    options = {"skeleton": "mpii" if on_mpii else "coco", "input_size": size, "sigma": 3.0 if size == LARGE else 2.0}
    options |= {"width" if wide else "depth": number, "read_out": "quarter"}
    scores = {"the zoo's file": zoo, "the authors' file": authors}
    return Card(
        f"{builder}{'_w' if wide else ''}{number}" + ("_mpii" if on_mpii else "_384x288" if size == LARGE else ""),
        f"{'HRNet of width ' if wide else 'pose ResNet-'}{number} for {16 if on_mpii else 17} joints",
        builder,
        MappingProxyType(options),
        f"{ZOO_MPII if on_mpii else ZOO_COCO}{file}" if file else "",
        scores=MappingProxyType({whose: score for whose, score in scores.items() if score is not None}),
        measure=PCKH if on_mpii else AP,
        note=MPII_NOTE if on_mpii else "",
        **TOP_DOWN,
    )


_UDP = {"skeleton": "coco", "width": 32, "input_size": SMALL, "sigma": 2.0, "read_out": "dark"}


def _hourglass(stacks: int, score: float) -> Card:
    return Card(
        f"hourglass_{stacks}stack",
        f"stacked hourglass of {stacks} stacks for 16 joints",
        "hourglass",
        MappingProxyType({"skeleton": "mpii", "stacks": stacks, "read_out": "quarter"}),
        flip=True,
        scores=MappingProxyType({"the authors' PyTorch file": score}),
        measure="PCK of 16 joints at half the head's size on MPII's validation people, as that code counts",
        note=f"{MPII_NOTE}; the file is given out by hand",
    )


def _resnet(depth: int, digits: str) -> Card:
    return Card(
        f"resnet{depth}_imagenet",
        f"ResNet-{depth} for ImageNet",
        "pose_resnet",
        MappingProxyType({"depth": depth}),
        f"{TORCHVISION}resnet{depth}-{digits}.pth",
        covers=("conv1.", "bn1.", "layer"),
        note=f"{START} of a simple baseline",
    )


def _hrnet(width: int, digits: str) -> Card:
    return Card(
        f"hrnet_w{width}_imagenet",
        f"HRNet of width {width} for ImageNet",
        "hrnet",
        MappingProxyType({"width": width}),
        f"{ZOO}pretrain_models/hrnet_w{width}-{digits}.pth",
        covers=("conv1.", "conv2.", "bn1.", "bn2.", "layer1.", "transition", "stage"),
        note=f"{START} of HRNet",
    )


START = "a start for the training"
VGG_LAYERS = (0, 1, 3, 4, 6, 7, 8, 9, 11, 12)  # of the trunk: VGG-19's first ten convolutions, between its pools
CARDS = {
    card.name: card
    for card in (
        *(_top_down(*row) for row in _ROWS),
        Card(
            "hrnet_w32_udp",
            "HRNet of width 32 for 17 joints",
            "hrnet",
            MappingProxyType(_UDP),
            alignment="intervals",
            flip=True,
            note=f"HRNet trained with UDP's coordinates and Gaussian maps; {UNVERIFIED}",
        ),
        Card(
            "hrnet_w32_dark",
            "HRNet of width 32 for 17 joints",
            "hrnet",
            MappingProxyType(_UDP),
            scores=MappingProxyType({"the paper": 0.756}),
            measure=AP,
            note=f"HRNet trained with DARK's unrounded targets; {UNVERIFIED}",
            **TOP_DOWN,
        ),
        _hourglass(2, 0.883),
        _hourglass(8, 0.902),
        Card(
            "openpose",
            "OpenPose of 2017 for 18 joints and 19 limbs",
            "course_lib.hub.whole:OpenPose",
            pixels="caffe",
            scores=MappingProxyType({"the paper, at four sizes": 0.584}),
            measure="AP on 1,160 pictures of COCO's validation set",
            note="the authors' Caffe weights, which two PyTorch codes give out by hand, each in its layout",
        ),
        Card(
            "keypoint_rcnn",
            "torchvision's Keypoint R-CNN for 17 joints",
            "course_lib.hub.whole:KeypointRCNN",
            MappingProxyType({"frozen_norm": True}),
            f"{TORCHVISION}keypointrcnn_resnet50_fpn_coco-fc266e95.pth",
            scores=MappingProxyType({"torchvision's file": 0.650}),
            measure="AP on COCO val2017, in the boxes that it finds itself",
        ),
        *(_resnet(depth, digits) for depth, digits in ((50, "0676ba61"), (101, "63fe2227"), (152, "394f9c45"))),
        *(_hrnet(width, digits) for width, digits in ((32, "36af842e"), (48, "8ef0771d"))),
        Card(
            "vgg19_imagenet",
            "VGG-19 for ImageNet",
            "paf",
            url=f"{TORCHVISION}vgg19-dcbb9e9d.pth",
            covers=tuple(f"trunk.{layer}." for layer in VGG_LAYERS),
            pixels="imagenet",
            note=f"{START} of part affinity fields",
        ),
    )
}
