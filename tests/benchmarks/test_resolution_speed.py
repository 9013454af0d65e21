"""The networks of lessons 11 and 12 beside plain implementations of the same, in one run: ratios of their times.

The plain simple baseline is torchvision's ResNet with three layers behind it. The plain HRNet runs the same layers one
after another as the paper's formula says, every output stream by itself. The plain adversarial step is the paper's
Algorithm 1: six updates with an optimiser each, one after the other.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from statistics import median

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import resnet50

from course_lib import models
from course_lib.pose import Batch
from course_lib.skeletons import get

REPEATS = 5


def crops(model, count: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    height, width = model.input_size
    joints = torch.rand(count, len(model.skeleton), 2, generator=generator) * torch.tensor([width, height])
    images = torch.rand(count, 3, height, width, generator=generator)
    return Batch(images, joints, torch.full(joints.shape[:2], 2), get(model.skeleton.name))


def seconds(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """The median times of two things done by turns, after one of each that is not counted."""
    taken: tuple[list[float], list[float]] = ([], [])
    for repeat in range(REPEATS + 1):
        for what, kept in zip((first, second), taken, strict=True):
            start = time.perf_counter()
            what()
            if repeat:
                kept.append(time.perf_counter() - start)
    return median(taken[0]), median(taken[1])


def report(name: str, ours: float, plain: float) -> None:
    print(f"\n{name}: {1000 * ours:.0f} ms, {ours / plain:.2f} of the plain one's {1000 * plain:.0f} ms", end="")
    assert ours < 2 * plain  # a slower one than that would be a defect


class PlainBaseline(nn.Module):
    def __init__(self, joints: int = 17) -> None:
        super().__init__()
        self.body = nn.Sequential(OrderedDict(list(resnet50().named_children())[:-2]))
        layers, inputs = [], 2048
        for _ in range(3):
            layers += [nn.ConvTranspose2d(inputs, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU()]
            inputs = 256
        self.head = nn.Sequential(*layers, nn.Conv2d(256, joints, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))[None]


def plain_hrnet(model: nn.Module, images: Tensor) -> Tensor:
    """The layers of an HRNet, one after another."""
    x = F.relu(model.bn2(model.conv2(F.relu(model.bn1(model.conv1(model.standardise(images)))))))
    streams = [model.layer1(x)]
    for number in (2, 3, 4):
        transition = getattr(model, f"transition{number - 1}")
        streams = [transition[i](streams[min(i, len(streams) - 1)]) for i in range(number)]
        for module in getattr(model, f"stage{number}"):
            for i, branch in enumerate(module.branches):
                streams[i] = branch(streams[i])
            fused = []
            for row in module.fuse_layers:
                total = torch.zeros_like(streams[len(fused)])
                for j, layers in enumerate(row):
                    total = total + layers(streams[j])
                fused.append(F.relu(total))
            streams = fused
    return model.final_layer(streams[0])[None]


def stepped(model: nn.Module, forward: Callable[[Tensor], Tensor], asked, batch: Batch) -> Callable[[], None]:
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        asked.loss(forward(batch.images), batch)["total"].backward()
        optimiser.step()

    return step


@pytest.mark.parametrize("name", ["pose_resnet", "hrnet", "hrnet_course"])
def test_networks_beside_plain_ones(name):
    model = models.create(name)
    if name == "pose_resnet":
        plain: nn.Module = PlainBaseline()
        run = plain.forward
    else:
        plain = models.create(name)

        def run(images: Tensor) -> Tensor:
            return plain_hrnet(plain, images)

    batch = crops(model, 32 if name.endswith("_course") else 2)
    with torch.inference_mode():
        model.eval(), plain.eval()
        report(f"{name}, forward", *seconds(lambda: model(batch.images), lambda: run(batch.images)))
    model.train(), plain.train()
    own, other = stepped(model, model, model, batch), stepped(plain, run, model, batch)
    report(f"{name}, training step", *seconds(own, other))


def test_one_step_of_all_beside_six_updates():
    model = models.create("adversarial_course").train()
    batch = crops(model, 16)
    judges = {name: getattr(model, f"{name}_judge") for name in ("pose", "confidence")}
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    each = {part: torch.optim.RMSprop(part.parameters(), lr=1e-4) for part in (model.generator, *judges.values())}
    picture, size = F.avg_pool2d(batch.images, model.stride), tuple(side // model.stride for side in model.input_size)

    def at_once() -> None:
        optimiser.zero_grad()
        model.training_loss(batch, 1.0)["total"].backward()
        optimiser.step()

    def moved(part: nn.Module, loss: Tensor) -> None:
        each[part].zero_grad()
        loss.backward()
        each[part].step()

    def said(name: str, maps: Tensor, hidden: Tensor) -> Tensor:
        return judges[name](torch.cat([maps, hidden, *([picture] if name == "pose" else [])], dim=1), maps)

    def six() -> None:
        outputs = model(batch.images)
        moved(model.generator, model.loss(outputs, batch)["total"])
        made, truth = [part[-1].detach() for part in outputs], model.truth(batch, size)
        for name, judge in judges.items():
            for shown, label in ((made, 0.0), (truth, 1.0)):
                logits = said(name, *shown)
                moved(judge, F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label)))
        outputs = model(batch.images)
        heard = sum(F.softplus(-said(name, outputs.maps[-1], outputs.hidden[-1])).mean() for name in judges)
        moved(model.generator, model.loss(outputs, batch)["total"] + 0.003 * heard)

    report("adversarial_course, one step beside Algorithm 1's six updates", *seconds(at_once, six))
    model.eval()
    with torch.inference_mode():
        times = seconds(lambda: model(batch.images), lambda: model.generator(batch.images))
    report("adversarial_course beside its bare hourglasses, forward", *times)
