"""Lesson 04: its three exercises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.lessons import Case, Exercise, register

# --- receptive-field arithmetic ---------------------------------------------------------------------------------------


def _field(layers: Sequence[tuple[int, int, int, int]]) -> tuple[int, int, int]:
    first, second = _seen(layers, 0), _seen(layers, 1)
    return first[1] - first[0], second[0] - first[0], first[0]


def _seen(layers: Sequence[tuple[int, int, int, int]], cell: int) -> tuple[int, int]:
    """Where the pixels that a cell sees begin and end, followed back from the last layer to the picture."""
    low, high = cell, cell  # first and last cell needed of a layer's output
    for kernel, stride, padding, dilation in reversed(layers):
        low, high = low * stride - padding, high * stride - padding + dilation * (kernel - 1)
    return low, high + 1


def _field_cases(random: torch.Generator) -> Iterator[Case]:
    def convolution(kernel: int) -> tuple[int, int, int, int]:
        return kernel, 1, kernel // 2, 1

    yield Case(([(9, 1, 4, 1)],), "one convolution of 9 x 9")
    yield Case(([(3, 1, 1, 1)] * 4,), "four convolutions of 3 x 3", "Every one of them adds kernel - 1 = 2.")
    pool = "A pool of 2 x 2 in steps of 2 sees one pixel more; every step *after* it counts double."
    yield Case(([(3, 1, 1, 1), (2, 2, 0, 1), (3, 1, 1, 1)],), "a pool between two convolutions", pool)
    yield Case(([(7, 2, 3, 1), (3, 2, 1, 1), (3, 1, 1, 1)],), "strided convolutions, as in many backbones")
    yield Case(([(3, 1, 2, 2), (3, 1, 4, 4)],), "holes", "k weights with holes of d reach over d (k - 1) + 1 cells.")
    tower = [(9, 1, 4, 1), (2, 2, 0, 1)] * 3 + [convolution(5), convolution(9), convolution(1), convolution(1)]
    yield Case((tower,), "the paper's first stage")
    later = [convolution(11)] * 3 + [convolution(1)] * 2
    yield Case((tower + later,), "the paper's second stage, through the beliefs")
    released = [(9, 1, 4, 1), (3, 2, 0, 1)] * 3 + tower[6:]
    padding = "Padding moves the beginning, in steps of the layer's *input*: by padding x the stride so far."
    yield Case((released,), "the released first stage: pools of 3 x 3, not padded", padding)
    yield Case(([],), "no layer at all", "Without a layer a cell is a pixel: size 1, stride 1, start 0.")
    for number in range(3):
        drawn = torch.randint(1, 4, (5, 4), generator=random).tolist()
        yield Case(([(k, s, p - 1, d) for k, s, p, d in drawn],), f"random layers, {number + 1}")


register(
    Exercise(
        "04.field",
        _field,
        _field_cases,
        (
            "Walk through the layers and keep three numbers: size, stride and start, from 1, 1 and 0.",
            "A layer of kernel k makes the size larger by (k - 1) steps, and a step is the stride *before* this layer.",
            "size + dilation * (kernel - 1) * stride, start - padding * stride, and only then stride * own stride.",
        ),
    )
)

# --- two kinds of targets ---------------------------------------------------------------------------------------------


def _targets(joints: Tensor, visible: Tensor, size: tuple[int, int], sigma: float) -> tuple[Tensor, Tensor]:
    height, width = size
    people, count = visible.shape
    results = []
    for told in (people, 1):
        maps = torch.zeros(count + 1, height, width)
        for k in range(count):
            for n in range(told):
                if visible[n, k] > 0:
                    for row in range(height):
                        dx = torch.arange(width) + 0.5 - joints[n, k, 0]
                        away = dx**2 + (row + 0.5 - joints[n, k, 1]) ** 2
                        maps[k, row] += torch.exp(-away / (2 * sigma**2))
        maps = maps.clamp(max=1)
        maps[count] = 1 - maps[:count].max(0).values
        results.append(maps)
    return results[0], results[1]


def _targets_cases(random: torch.Generator) -> Iterator[Case]:
    def people(count: int, joints: int, height: int, width: int) -> Tensor:
        return torch.rand(count, joints, 2, generator=random) * torch.tensor([width, height])

    alone = "A cell's centre is at column + 0.5, row + 0.5; that is where the Gaussian is measured."
    yield Case((torch.tensor([[[2.5, 1.5]]]), torch.tensor([[2]]), (4, 6), 1.0), "one joint on a cell's centre", alone)
    one = "Where hills of several joints overlap, the background is 1 - the highest of them, not 1 - their sum."
    yield Case((people(1, 4, 6, 5), torch.tensor([[2, 1, 2, 2]]), (6, 5), 1.5), "one person, one joint hidden", one)
    two = "Stage 1 may find everybody's joints, the later stages only those of joints[0]."
    yield Case((people(2, 3, 8, 12), torch.full((2, 3), 2), (8, 12), 1.0), "two people, a wide map", two)
    near = torch.tensor([[[3.0, 3.0], [5.0, 5.0]], [[3.4, 3.2], [5.2, 4.8]], [[3.1, 3.3], [1.0, 6.0]]])
    clip = "Where hills of the same joint add up to more than 1, the target is 1."
    yield Case((near, torch.full((3, 2), 2), (7, 7), 1.2), "people whose joints are close to each other", clip)
    nowhere = people(2, 3, 6, 6)
    nowhere[0, 1], nowhere[1, 2] = torch.nan, torch.nan
    nan = "An unlabelled joint may hold anything, NaN included: torch.where, not a product, keeps it out."
    yield Case((nowhere, torch.tensor([[2, 0, 1], [1, 2, 0]]), (6, 6), 1.0), "unlabelled joints hold NaN", nan)
    zero = torch.zeros(1, 2, 2)
    yield Case((zero, torch.tensor([[0, 0]]), (3, 4), 1.0), "nobody labelled", "Then everything is background: 1.")
    outside = torch.tensor([[[-3.0, 2.0], [2.0, 9.5]]])
    yield Case((outside, torch.tensor([[2, 2]]), (5, 5), 2.0), "joints outside the map")


register(
    Exercise(
        "04.targets",
        _targets,
        _targets_cases,
        (
            "First a map for every person and joint, (N, K, height, width); then choose whom each stage is told of.",
            "Choose, sum over people, clip at 1; then the background from the clipped maps, as one more, the last one.",
            "The later stages' target is the first one's, made from joints[:1] and visible[:1].",
        ),
    )
)

# --- the machine ------------------------------------------------------------------------------------------------------


def _machine(
    images: Tensor, centre: Tensor, towers: nn.ModuleList, features: nn.ModuleList, heads: nn.ModuleList
) -> Tensor:
    own = towers[0](images)
    answer = [heads[0](features[0](own))]
    stage = 1
    while stage < len(heads):
        shared = towers[1](images)
        answer.append(heads[stage](torch.cat((features[stage](shared), answer[stage - 1], centre), 1)))
        stage += 1
    return torch.stack(answer)


def _beliefs_and_gradients(machine: Any, images: Tensor, centre: Tensor, *parts: nn.ModuleList) -> Any:
    images, centre = images.clone().requires_grad_(), centre.clone().requires_grad_()
    for part in parts:
        part.zero_grad()
    beliefs = machine(images, centre, *parts)
    if not isinstance(beliefs, Tensor) or beliefs.ndim != 5 or not beliefs.requires_grad:
        return beliefs
    beliefs[-1].square().sum().backward()  # as if only the last stage were asked
    first = parts[2][0].weight.grad
    return {
        "beliefs": beliefs,
        "gradient of the last stage in the first head": torch.zeros(()) if first is None else first,
        "gradient of the last stage in the picture": images.grad,
    }


def _machine_cases(random: torch.Generator) -> Iterator[Case]:
    def parts(stages: int, joints: int, channels: int = 5) -> tuple[nn.ModuleList, nn.ModuleList, nn.ModuleList]:
        towers = [nn.Conv2d(3, 4, 4, stride=4) for _ in range(min(stages, 2))]
        features = [nn.Conv2d(4, channels, 3, padding=1) for _ in range(stages)]
        inputs = [channels, *[channels + joints + 2] * (stages - 1)]
        heads = [nn.Conv2d(count, joints + 1, 3, padding=1) for count in inputs]
        made = nn.ModuleList(towers), nn.ModuleList(features), nn.ModuleList(heads)
        with torch.no_grad():
            for value in nn.ModuleList(made).parameters():
                value.copy_(0.5 * torch.randn(value.shape, generator=random))
        return made

    def given(people: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        images = torch.rand(people, 3, height, width, generator=random)
        return images, torch.rand(people, 1, height // 4, width // 4, generator=random)

    yield Case((*given(1, 8, 8), *parts(1, 2)), "a single stage", "Stage 1 sees the picture and nothing else.")
    two = "Stage 2 has a tower of its own, and puts together: its features, the beliefs of stage 1, the centre map."
    yield Case((*given(2, 8, 12), *parts(2, 3)), "two stages, pictures that are not square", two)
    four = (
        "Every later stage has a feature layer of its own on the *shared* tower, and the beliefs of the stage *before*."
    )
    yield Case((*given(2, 12, 8), *parts(4, 2)), "four stages", four)
    same = "The values may be right and the gradient wrong: has a `.detach()` cut a stage off?"
    yield Case((*given(1, 8, 8), *parts(3, 4, channels=5)), "three stages, as many features as beliefs", same)


register(
    Exercise(
        "04.machine",
        _machine,
        _machine_cases,
        (
            "A list of beliefs, begun by stage 1; a loop over the others; torch.stack at the end.",
            "torch.cat along dimension 1, in the order features, beliefs, centre map.",
            "Later stages start from towers[1](images), which needs to be computed only once.",
        ),
        ask=_beliefs_and_gradients,
    )
)
