"""State dicts as other people's code writes them: exact names and shapes, every number by chance."""

from __future__ import annotations

import re

import torch
from torch import Tensor

State = dict[str, Tensor]


class Builder:
    """Collects tensors under names. Running statistics are far from those of a fresh normalisation."""

    def __init__(self, seed: int = 0) -> None:
        self.state: State = {}
        self.draw = torch.Generator().manual_seed(seed)

    def convolution(self, name: str, outputs: int, inputs: int, kernel: int, bias: bool = False) -> None:
        self.state[f"{name}.weight"] = self._normal(outputs, inputs, kernel, kernel) * (2 / (inputs * kernel**2)) ** 0.5
        if bias:
            self.state[f"{name}.bias"] = self._normal(outputs) / 5

    def transposed(self, name: str, inputs: int, outputs: int, kernel: int) -> None:
        self.state[f"{name}.weight"] = self._normal(inputs, outputs, kernel, kernel) * (1 / (inputs * kernel)) ** 0.5

    def norm(self, name: str, width: int) -> None:
        self.state[f"{name}.weight"] = 0.5 + torch.rand(width, generator=self.draw)
        self.state[f"{name}.bias"] = self._normal(width) / 5
        self.state[f"{name}.running_mean"] = self._normal(width) / 5
        self.state[f"{name}.running_var"] = 0.5 + torch.rand(width, generator=self.draw)
        self.state[f"{name}.num_batches_tracked"] = torch.randint(1, 9999, (), generator=self.draw)

    def linear(self, name: str, outputs: int, inputs: int) -> None:
        self.state[f"{name}.weight"], self.state[f"{name}.bias"] = self._normal(outputs, inputs), self._normal(outputs)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.draw)


def bottleneck(to: Builder, name: str, inputs: int, width: int, first: bool) -> None:
    for n, (outputs, before, kernel) in enumerate(((width, inputs, 1), (width, width, 3), (4 * width, width, 1)), 1):
        to.convolution(f"{name}.conv{n}", outputs, before, kernel)
        to.norm(f"{name}.bn{n}", outputs)
    if first:
        to.convolution(f"{name}.downsample.0", 4 * width, inputs, 1)
        to.norm(f"{name}.downsample.1", 4 * width)


def resnet(depth: int, to: Builder) -> None:
    """A ResNet's trunk, as torchvision names it."""
    to.convolution("conv1", 64, 3, 7)
    to.norm("bn1", 64)
    inputs = 64
    for layer, count in enumerate({50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}[depth], 1):
        for block in range(count):
            bottleneck(to, f"layer{layer}.{block}", inputs, 32 * 2**layer, block == 0)
            inputs = 4 * 32 * 2**layer


def pose_resnet(depth: int = 50, joints: int = 17, seed: int = 0) -> State:
    to = Builder(seed)
    resnet(depth, to)
    for layer, inputs in ((0, 2048), (3, 256), (6, 256)):
        to.transposed(f"deconv_layers.{layer}", inputs, 256, 4)
        to.norm(f"deconv_layers.{layer + 1}", 256)
    to.convolution("final_layer", joints, 256, 1, bias=True)
    return to.state


def imagenet_resnet(depth: int = 50, seed: int = 0) -> State:
    to = Builder(seed)
    resnet(depth, to)
    to.linear("fc", 1000, 2048)
    return to.state


def hrnet(width: int = 32, joints: int = 17, seed: int = 0, classes: bool = False) -> State:
    """The authors' network; with `classes` the one for ImageNet, whose head is only hinted at."""
    to = Builder(seed)
    for n, inputs in ((1, 3), (2, 64)):
        to.convolution(f"conv{n}", 64, inputs, 3)
        to.norm(f"bn{n}", 64)
    for block in range(4):
        bottleneck(to, f"layer1.{block}", 256 if block else 64, 64, block == 0)
    channels = [width * 2**i for i in range(4)]
    for number, names in enumerate((("0", "1.0"), ("2.0",), ("3.0",)), 1):
        for name in names:
            outputs = channels[0] if name == "0" else channels[number]
            to.convolution(f"transition{number}.{name}.0", outputs, 256 if number == 1 else channels[number - 1], 3)
            to.norm(f"transition{number}.{name}.1", outputs)
    for stage, modules in ((2, 1), (3, 4), (4, 3)):
        for module in range(modules):
            here = f"stage{stage}.{module}"
            for branch in range(stage):
                for block in range(4):
                    for n in (1, 2):
                        to.convolution(
                            f"{here}.branches.{branch}.{block}.conv{n}", channels[branch], channels[branch], 3
                        )
                        to.norm(f"{here}.branches.{branch}.{block}.bn{n}", channels[branch])
            only_first = stage == 4 and module == 2 and not classes
            for i in range(1 if only_first else stage):
                for j in range(stage):
                    fuse = f"{here}.fuse_layers.{i}.{j}"
                    if j > i:
                        to.convolution(f"{fuse}.0", channels[i], channels[j], 1)
                        to.norm(f"{fuse}.1", channels[i])
                    for step in range(i - j):
                        outputs = channels[i] if step == i - j - 1 else channels[j]
                        to.convolution(f"{fuse}.{step}.0", outputs, channels[j], 3)
                        to.norm(f"{fuse}.{step}.1", outputs)
    if classes:
        bottleneck(to, "incre_modules.0.0", width, 32, first=True)
        to.convolution("downsamp_modules.0.0", 256, 128, 3, bias=True)
        to.convolution("final_layer.0", 2048, 1024, 1, bias=True)
        to.norm("final_layer.1", 2048)
        to.linear("classifier", 1000, 2048)
    else:
        to.convolution("final_layer", joints, width, 1, bias=True)
    return to.state


def zoo(state: State, head: str = "head") -> State:
    """The same as a toolkit's zoo writes it."""
    renamed = {"data_preprocessor.mean": torch.rand(3, 1, 1), "data_preprocessor.std": torch.rand(3, 1, 1)}
    for name, value in state.items():
        renamed[f"{head if name.startswith(('deconv_layers', 'final_layer')) else 'backbone'}.{name}"] = value
    return renamed


def hourglass(stacks: int, joints: int = 16, width: int = 256, seed: int = 0) -> State:
    """The authors' PyTorch network, skip layers that nothing uses included."""
    to = Builder(seed)

    def residual(name: str, inputs: int, outputs: int) -> None:
        middle = outputs // 2
        for n, (after, before, kernel) in enumerate(
            ((middle, inputs, 1), (middle, middle, 3), (outputs, middle, 1)), 1
        ):
            to.norm(f"{name}.bn{n}", before)
            to.convolution(f"{name}.conv{n}.conv", after, before, kernel, bias=True)
        to.convolution(f"{name}.skip_layer.conv", outputs, inputs, 1, bias=True)

    def glass(name: str, depth: int) -> None:
        for part in ("up1", "low1", "low3"):
            residual(f"{name}.{part}", width, width)
        residual(f"{name}.low2", width, width) if depth == 1 else glass(f"{name}.low2", depth - 1)

    to.convolution("pre.0.conv", 64, 3, 7, bias=True)
    to.norm("pre.0.bn", 64)
    for place, inputs, outputs in ((1, 64, 128), (3, 128, 128), (4, 128, width)):
        residual(f"pre.{place}", inputs, outputs)
    for i in range(stacks):
        glass(f"hgs.{i}.0", 4)
        residual(f"features.{i}.0", width, width)
        to.convolution(f"features.{i}.1.conv", width, width, 1, bias=True)
        to.norm(f"features.{i}.1.bn", width)
        to.convolution(f"outs.{i}.conv", joints, width, 1, bias=True)
        if i < stacks - 1:
            to.convolution(f"merge_features.{i}.conv.conv", width, width, 1, bias=True)
            to.convolution(f"merge_preds.{i}.conv.conv", width, joints, 1, bias=True)
    return to.state


VGG = ((3, 64), (64, 64), (64, 128), (128, 128), (128, 256), *((256, 256),) * 3, (256, 512), (512, 512))


def openpose(seed: int = 0) -> State:
    """OpenPose of 2017 under the numbered names."""
    to = Builder(seed)
    places = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25)
    for place, (inputs, outputs) in zip(places, (*VGG, (512, 256), (256, 128)), strict=True):
        to.convolution(f"model0.{place}", outputs, inputs, 3, bias=True)
    for stage in range(1, 7):
        for branch, channels in ((1, 38), (2, 19)):
            if stage == 1:
                layers = [(128, 128, 3)] * 3 + [(128, 512, 1), (512, channels, 1)]
            else:
                layers = [(185, 128, 7)] + [(128, 128, 7)] * 4 + [(128, 128, 1), (128, channels, 1)]
            for n, (inputs, outputs, kernel) in enumerate(layers):
                to.convolution(f"model{stage}_{branch}.{2 * n}", outputs, inputs, kernel, bias=True)
    return to.state


def caffe_names(state: State, blocks: bool) -> State:
    """OpenPose's numbered names as Caffe's; with `blocks` each behind the block it belongs to."""
    trunk = ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "3_4", "4_1", "4_2", "4_3_CPM", "4_4_CPM")
    places = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25)
    renamed = {}
    for name, value in state.items():
        block, place, kind = name.split(".")
        if block == "model0":
            caffe = f"conv{trunk[places.index(int(place))]}"
        else:
            stage, branch = re.fullmatch(r"model(\d)_(\d)", block).groups()
            n = int(place) // 2 + 1
            caffe = f"conv5_{n}_CPM_L{branch}" if stage == "1" else f"Mconv{n}_stage{stage}_L{branch}"
        renamed[f"{block}.{caffe}.{kind}" if blocks else f"{caffe}.{kind}"] = value
    return renamed


def vgg19(seed: int = 0) -> State:
    """VGG-19 for ImageNet, its large layers made small: they are left out anyway."""
    to = Builder(seed)
    places = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
    for place, (inputs, outputs) in zip(places, (*VGG, *((512, 512),) * 6), strict=True):
        to.convolution(f"features.{place}", outputs, inputs, 3, bias=True)
    for n in (0, 3, 6):
        to.linear(f"classifier.{n}", 8, 8)
    return to.state
