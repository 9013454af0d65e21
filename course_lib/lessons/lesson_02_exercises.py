"""The three exercises of lesson 02."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from course_lib.lessons import Case, Exercise, register

SMALLEST = 10.0  # pixels: a torso shorter than this counts as this long

# --- 02.normalise -----------------------------------------------------------------------------------------------------


def _normalise(joints: Tensor, box: Tensor, inverse: bool = False) -> Tensor:
    people = joints.reshape(-1, *joints.shape[-2:])
    result = []
    for points, (x0, y0, x1, y1) in zip(people.tolist(), box.reshape(-1, 4).tolist(), strict=True):
        width, height, middle = x1 - x0, y1 - y0, ((x0 + x1) / 2, (y0 + y1) / 2)
        if inverse:
            result.append([[x * width + middle[0], y * height + middle[1]] for x, y in points])
        else:
            result.append([[(x - middle[0]) / width, (y - middle[1]) / height] for x, y in points])
    return torch.tensor(result).reshape(joints.shape)


def _normalise_cases(random: torch.Generator) -> Iterator[Case]:
    box = torch.tensor([0.0, 0.0, 10.0, 10.0])
    corners = torch.tensor([[5.0, 5.0], [0.0, 0.0], [10.0, 10.0], [10.0, 0.0]])
    yield Case((corners, box), "a box that begins at 0", "Its middle becomes (0, 0), a corner (+-0.5, +-0.5).")
    away = torch.tensor([20.0, 30.0, 40.0, 50.0])
    place = "Take the box's centre off, not its corner."
    yield Case((torch.tensor([[30.0, 40.0], [25.0, 45.0]]), away), "a box further down the picture", place)
    tall = torch.tensor([4.0, -6.0, 24.0, 54.0])
    axes = "x is divided by the width, y by the height."
    yield Case((40 * torch.rand(14, 2, generator=random), tall), "a box three times as tall as wide", axes)
    back = "The way back multiplies first and adds the centre then."
    yield Case((corners / 10 - 0.5, box, True), "the inverse", back)
    yield Case((torch.rand(14, 2, generator=random) - 0.5, tall, True), "the inverse, in a tall box", back)
    low = 50 * torch.rand(3, 2, generator=random)
    boxes = torch.cat([low, low + 10 + 40 * torch.rand(3, 2, generator=random)], -1)
    several = "box[..., :2] is (B, 2), but joints are (B, K, 2): box[..., None, :2] lines them up."
    yield Case((100 * torch.rand(3, 14, 2, generator=random), boxes), "three people with a box each", several)
    yield Case((torch.rand(3, 3, 2, generator=random), boxes, True), "the same back, with three joints", several)


register(
    Exercise(
        "02.normalise",
        _normalise,
        _normalise_cases,
        (
            "A box is x0, y0, x1, y1: its centre is the mean of the corners, its sides are their difference.",
            "N: (y - centre) / sides. Its inverse undoes the two steps in the opposite order.",
        ),
        tolerance=1e-4,
    )
)

# --- 02.cascade_step --------------------------------------------------------------------------------------------------


def _cascade_step(joints: Tensor, answers: Tensor, sigma: float, torso: tuple[int, int]) -> tuple[Tensor, Tensor]:
    boxes, better = [], []
    for pose, said in zip(joints.tolist(), answers.tolist(), strict=True):
        side = sigma * max(math.dist(pose[torso[0]], pose[torso[1]]), SMALLEST)
        boxes.append([[x - side / 2, y - side / 2, x + side / 2, y + side / 2] for x, y in pose])
        own = [said[i][i] for i in range(len(pose))]
        better.append([[x + dx * side, y + dy * side] for (x, y), (dx, dy) in zip(pose, own, strict=True)])
    return torch.tensor(boxes), torch.tensor(better)


def _cascade_cases(random: torch.Generator) -> Iterator[Case]:
    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=random)

    three = torch.tensor([[[20.0, 20.0], [50.0, 60.0], [30.0, 70.0]]])
    box = "Its side is sigma times the distance of the two torso joints; the joint is in its middle."
    yield Case((three, torch.zeros(1, 3, 3, 2), 1.0, (0, 1)), "the network corrects nothing", box)
    said = torch.zeros(1, 3, 3, 2)
    said[0, 0, 0], said[0, 1, 1], said[0, 2, 2] = torch.tensor([[0.1, 0.0], [0.0, -0.2], [0.5, 0.5]])
    scale = "An answer is in units of the box: times the side, it is in pixels."
    yield Case((three, said, 1.0, (0, 1)), "every box's own joint is corrected", scale)
    own = "answers[b, i, j] is what was said about joint j in the box of joint i; only i = j is wanted."
    yield Case((three, rand(1, 3, 3, 2) - 0.5, 1.0, (0, 1)), "the network also speaks of other joints", own)
    yield Case((three, rand(1, 3, 3, 2) - 0.5, 2.0, (0, 2)), "another sigma, another torso", box)
    pose = 96 * rand(4, 14, 2)
    yield Case((pose, rand(4, 14, 14, 2) - 0.5, 1.5, (9, 2)), "four people of 14 joints, each with a torso")
    flat = 96 * rand(2, 14, 2)
    flat[0, 9] = flat[0, 2] + torch.tensor([3.0, 4.0])
    short = f"From the side a torso has hardly a diagonal. Below {SMALLEST:g} pixels it counts as {SMALLEST:g}."
    yield Case((flat, rand(2, 14, 14, 2) - 0.5, 2.0, (9, 2)), "a person seen from the side", short)


register(
    Exercise(
        "02.cascade_step",
        _cascade_step,
        _cascade_cases,
        (
            "Three steps: a side for every person, a box around every joint, a correction times the side.",
            "answers.diagonal(dim1=1, dim2=2) puts the joints last: (B, 2, K).",
        ),
        tolerance=1e-4,
    )
)

# --- 02.simulate ------------------------------------------------------------------------------------------------------


def _simulate(
    predicted: Tensor, true: Tensor, visible: Tensor, joints: Tensor, sides: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    centres = torch.empty_like(joints)
    for k in range(joints.shape[1]):
        for axis in range(2):
            pairs = zip(predicted[:, k, axis].tolist(), true[:, k, axis].tolist(), visible[:, k].tolist(), strict=True)
            errors = [said - is_ for said, is_, seen in pairs if seen > 0]
            mean = sum(errors) / max(len(errors), 1)
            variance = sum((error - mean) ** 2 for error in errors) / max(len(errors), 1)
            centres[:, k, axis] = joints[:, k, axis] + mean + math.sqrt(variance) * noise[:, k, axis]
    return centres, (joints - centres) / sides[:, None, None]


def _simulate_cases(random: torch.Generator) -> Iterator[Case]:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    def case(people: int, count: int, new: int, mean: Tensor, spread: Tensor, hidden: float, same: bool) -> tuple:
        true = 20 * normal(people, count, 2)
        error = mean + spread * normal(people, count, 2)
        seen = torch.where(torch.rand(people, count, generator=random) < hidden, 0, 2)
        true = torch.where((seen > 0)[..., None], true, torch.nan)
        noise = torch.zeros(new, count, 2) if same else normal(new, count, 2)
        return true + error, true, seen, 30 * normal(new, count, 2), 10 + 20 * torch.rand(new, generator=random), noise

    shift = torch.tensor([[4.0, -2.0]])
    sign = "delta is what stage 1 said minus the truth: the simulated box lies where stage 1 would have put it."
    yield Case(case(6, 1, 2, shift, torch.zeros(1, 2), 0.0, True), "everybody wrong by the same", sign)
    joint = "Every joint has a mean of its own, and a deviation."
    two = torch.tensor([[1.0, 0.0], [-6.0, 5.0]])
    yield Case(case(8, 2, 3, two, torch.tensor([[0.5, 0.5], [4.0, 4.0]]), 0.0, False), "a hip and a wrist", joint)
    axes = "x and y have a deviation each: the square root of the mean squared distance from their own mean."
    one = torch.zeros(1, 2)
    yield Case(case(9, 1, 4, one, torch.tensor([[1.0, 6.0]]), 0.0, False), "errors larger downwards", axes)
    spread = 1 + 4 * torch.rand(14, 2, generator=random)
    missing = "An unlabelled joint holds NaN. It counts in no mean; divide by the number of labelled ones."
    whole = case(40, 14, 5, 3 * normal(14, 2), spread, 0.3, False)
    whole[2][1::3] = torch.where(whole[2][1::3] > 0, 1, 0)  # hidden joints are labelled
    yield Case(whole, "a training set with unlabelled and with hidden joints", missing)


register(
    Exercise(
        "02.simulate",
        _simulate,
        _simulate_cases,
        (
            "errors = predicted - true; mean and deviation for every joint and axis, over those who "
            "have it labelled; centres = joints + mean + deviation * noise.",
            "torch.where(labelled[..., None], predicted - true, 0.0) keeps NaN out of a sum.",
            "The target is N(y; b) for a square box about the centre: (joints - centres) / sides.",
        ),
        tolerance=1e-4,
    )
)
