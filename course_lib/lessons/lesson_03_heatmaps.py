"""Lesson 03: what it measures on heatmaps and on Tompson's network, and its three exercises."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_lib import geometry
from course_lib.lessons import Case, Exercise, register
from course_lib.lessons.lesson_03_study import answers as answers_of
from course_lib.metrics.marks import Marks
from course_lib.models.counting import parameters
from course_lib.models.tompson import FINE_STRIDE, Answer, Tompson
from course_lib.pose import Batch, Person, Pose, Scene
from course_lib.targets import heatmaps
from course_lib.training import evaluate

CENTRE_TO_POINT = (math.sqrt(2) + math.asinh(1)) / 6  # mean distance of a unit square's points from its centre

# --- maps and losses without a network --------------------------------------------------------------------------------


def reading_errors(poolings: Sequence[int], noises: Sequence[float], side: int = 256) -> list[dict[str, Any]]:
    """Mean error in pixels of reading perfect maps (sigma 1 cell) of a picture with this side, by every method."""
    rows = []
    for pooling in poolings:
        cells = (side // pooling, side // pooling)
        found = heatmaps.error_table(sigmas=(1.0,), encoders=("fractional",), noises=noises, size=cells, count=400)
        for row in found:
            errors = {method: pooling * row[method] for method in heatmaps.READ_OUTS}
            rows.append({"pooling": pooling, "noise": row["noise"], **errors})
    return rows


def best_maps(chances: Tensor, places: Tensor, cells: int, sigma: float = 1.0) -> dict[str, Tensor]:
    """The row of cells that costs least on average, where a joint is at one of `places` (N,) with these chances.

    Squares: the mean of the targets. Absolute values: their median. Cross-entropy: their sum as a distribution, here
    multiplied by what one target sums up to, so that all have the same scale.
    """
    spots = torch.stack([places, torch.full_like(places, 0.5)], -1)
    targets = heatmaps.gaussian(spots, (1, cells), sigma)[:, 0]  # (N, cells)
    ranked, order = targets.sort(0)
    below = chances[order].cumsum(0)
    median = ranked.gather(0, (below < 0.5 - 1e-6).sum(0, keepdim=True).clamp(max=len(places) - 1))[0]
    shares = targets / targets.sum(1, keepdim=True)
    mass = (chances[:, None] * shares).sum(0)
    return {
        "squares (L2)": (chances[:, None] * targets).sum(0),
        "absolute values (L1)": median,
        "cross-entropy": mass * targets.sum(1).mean(),
    }


# --- the network, measured --------------------------------------------------------------------------------------------


def counts(model: Tompson, alone: Tompson) -> dict[str, list[float]]:
    """Parameters of every part, and what the fine network would have without sharing; `alone`: without fine network."""
    joints, refiner = len(model.skeleton), model.refiner
    fine = parameters(refiner)
    own = joints * parameters(refiner.paths) + parameters(refiner.last)
    return {
        "banks": [parameters(model.banks)],
        "head": [parameters(model.head)],
        "fine network": [fine],
        "all": [parameters(model)],
        "all but the fine network": [parameters(alone)],
        "fine networks, if every joint had one of its own": [own],
    }


PARTS = ("early stages of banks 1 and 2", "everything later in the banks", "head", "fine network")


def gradients(model: Tompson, batch: Batch, terms: Sequence[str], seed: int = 0) -> dict[str, Tensor]:
    """The gradient of the sum of some of the loss's terms, "coarse" and "fine", part by part as one long vector."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout and the crops' places
        found = model.training_loss(batch, progress=1.0)
    names, values = zip(*model.named_parameters(), strict=True)
    slopes = torch.autograd.grad(sum(found[term] for term in terms), values, allow_unused=True)
    parts: dict[str, list[Tensor]] = {part: [] for part in PARTS}
    for name, value, slope in zip(names, values, slopes, strict=True):
        parts[_part(name)].append((torch.zeros_like(value) if slope is None else slope).flatten())
    return {part: torch.cat(several) for part, several in parts.items()}


def _part(name: str) -> str:
    first, *rest = name.split(".")
    if first != "banks":
        return PARTS[2] if first == "head" else PARTS[3]
    early = int(rest[0]) < 2 and rest[1] == "stages" and int(rest[2]) < 2
    return PARTS[0] if early else PARTS[1]


def before_dropout(model: Tompson, images: Tensor) -> Tensor:
    """The features (N, C, h, w) that dropout is about to hit."""
    caught: list[Tensor] = []
    handle = model.dropout.register_forward_hook(lambda _module, inputs, _output: caught.append(inputs[0].detach()))
    with torch.inference_mode():
        model.first_look(images)
    handle.remove()
    return torch.cat(caught)


def guessed_from_neighbours(maps: Tensor) -> float:
    """How much of a cell its four neighbours tell: squared correlation with their mean, averaged over channels."""
    inner = maps[..., 1:-1, 1:-1]
    around = (maps[..., :-2, 1:-1] + maps[..., 2:, 1:-1] + maps[..., 1:-1, :-2] + maps[..., 1:-1, 2:]) / 4
    one, other = (part.transpose(0, 1).flatten(1) for part in (inner, around))  # (C, N * cells)
    one, other = (part - part.mean(1, keepdim=True) for part in (one, other))
    spread = (one.square().sum(1) * other.square().sum(1)).clamp(min=1e-12)
    alive = one.square().sum(1) > 1e-6
    return float(((one * other).sum(1).square() / spread)[alive].mean())


# --- what it answers on a benchmark -----------------------------------------------------------------------------------


@dataclass
class Answers:
    """The answer for N scenes, computed once; everything else in the lesson reads it."""

    model: Tompson
    scenes: list[Scene]
    images: Tensor  # (N, 3, *input_size)
    answer: Answer  # of all of them, without the early features

    @classmethod
    def of(cls, model: Tompson, scenes: list[Scene]) -> Answers:
        """Asks the model about scenes of one size, whose whole picture is the box."""
        height, width = scenes[0].size
        matrix = geometry.crop_matrix(torch.tensor([0.0, 0.0, width, height]), model.input_size, 1.0)
        pictures = torch.stack([scene.image for scene in scenes])
        images = geometry.warp(pictures, matrix.expand(len(scenes), 2, 3), model.input_size)
        return cls(model, scenes, images, answers_of(model, images))

    @property
    def people(self) -> list[Person]:
        return [scene.people[0] for scene in self.scenes]

    @property
    def scale(self) -> float:
        """Pixels of a scene in one pixel of what the network sees."""
        return self.scenes[0].image.shape[-1] / self.model.input_size[1]

    @property
    def truth(self) -> Tensor:
        """True joints (N, K, 2) in the pixels that the network sees."""
        return torch.stack([person.joints for person in self.people]) / self.scale

    @property
    def labelled(self) -> Tensor:
        return torch.stack([person.visible for person in self.people]) > 0

    def joints(self, stage: int, read_out: str = "dark") -> Tensor:
        """Answers (N, K, 2) of the coarse maps (stage 0) or the fine ones (1), in the pixels the network sees."""
        poses = self.model.decode(self.answer, stage=stage, read_out=read_out)
        return torch.stack([pose.joints for (pose,) in poses])

    def poses(self, stage: int, read_out: str = "dark") -> list[Pose]:
        """One pose per scene, in the scenes' pixels."""
        found = self.model.decode(self.answer, stage=stage, read_out=read_out)
        return [pose.moved(pose.joints * self.scale) for (pose,) in found]

    def marks(self, stage: int, read_out: str = "dark", alpha: float = 0.2) -> Marks:
        return evaluate.pck_marks(self.poses(stage, read_out), self.people, alpha)

    def in_window(self) -> Tensor:
        """Labelled joints (N, K) that lie in the window which the fine network looks at."""
        away = (self.truth - self.answer.centres).abs().amax(-1)
        return self.labelled & (away < self.model.refiner.size * FINE_STRIDE / 2)

    def moved(self, by: float) -> tuple[float, float]:
        """Of the joints in their windows, shares that the fine maps bring nearer, and further off, by so much."""
        coarse, fine = ((self.joints(stage) - self.truth).norm(dim=-1)[self.in_window()] for stage in (0, 1))
        return float((coarse - fine >= by).float().mean()), float((fine - coarse >= by).float().mean())

    def brought_home(self, count: int) -> list[tuple[int, int]]:
        """(scene, joint), one a scene: coarse over 3 pixels off, fine under 1.5, by the fine peak's height."""
        coarse, fine = ((self.joints(stage, "argmax") - self.truth).norm(dim=-1) for stage in (0, 1))
        return self._highest(self.answer.fine, self.labelled & (coarse > 3) & (fine < 1.5), count)

    def led_astray(self, count: int) -> list[tuple[int, int]]:
        """(scene, joint), one a scene: the truth is far from the window, by the height of the coarse peak."""
        away = (self.truth - self.answer.centres).abs().amax(-1)
        far = away > self.model.refiner.size * FINE_STRIDE  # twice half the window
        return self._highest(self.answer.coarse, self.labelled & far, count)

    def _highest(self, maps: Tensor, mask: Tensor, count: int) -> list[tuple[int, int]]:
        heights = self.model.heights(maps).amax((-2, -1))
        height, joint = torch.where(mask, heights, -torch.inf).max(1)
        return [(n, int(joint[n])) for n in height.argsort(descending=True, stable=True)[:count].tolist()]


def kinds(answers: Answers) -> dict[str, tuple[int, float, float]]:
    """Where coarse peaks lie: of every kind the count, and the share found by the coarse and by the fine maps."""
    swaps = list(answers.model.skeleton.swaps)
    half = answers.model.refiner.size * FINE_STRIDE / 2
    middle = torch.tensor([swap == k for k, swap in enumerate(swaps)])
    other = (answers.truth[:, swaps] - answers.answer.centres).abs().amax(-1) < half
    inside = answers.in_window()
    twin = answers.labelled & ~inside & other & answers.labelled[:, swaps] & ~middle
    masks = {
        "the joint is in the window": inside,
        "its partner of the other side is, the joint is not": twin,
        "neither is": answers.labelled & ~inside & ~twin,
    }
    coarse, fine = answers.marks(0), answers.marks(1)
    rows = {}
    for name, mask in masks.items():
        scored = mask & coarse.scored
        total = int(scored.sum())
        shares = [int((marks.right & scored).sum()) / max(total, 1) for marks in (coarse, fine)]
        rows[name] = (total, *shares)
    return rows


# --- exercises --------------------------------------------------------------------------------------------------------


def _gaussian(joints: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    maps = torch.zeros(len(joints), *size)
    for k, (x, y) in enumerate(joints.tolist()):
        for row in range(size[0]):
            for column in range(size[1]):
                away = (column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2
                maps[k, row, column] = math.exp(-away / (2 * sigma**2))
    return maps


def _gaussian_cases(random: torch.Generator) -> Iterator[Case]:
    half = "The centre of cell c lies at c + 0.5, so a joint at (2.5, 1.5) sits in the middle of column 2 and row 1."
    yield Case((torch.tensor([[2.5, 1.5]]), (4, 4), 1.0), "a joint in the middle of a cell", half)
    whole = "Do not move the joint to a cell first: the hill's top may lie between cells, and no cell is then 1."
    yield Case((torch.tensor([[2.0, 1.75]]), (4, 4), 1.0), "a joint between the centres of cells", whole)
    wide = "Sizes are (height, width); a joint is (x, y); the column is x."
    yield Case((torch.rand(2, 2, generator=random) * 4, (4, 7), 1.0), "a map wider than high", wide)
    yield Case((torch.rand(3, 2, generator=random) * 8, (9, 8), 2.0), "a wider hill", "Is sigma squared?")
    yield Case((torch.rand(3, 2, generator=random) * 8, (9, 8), 0.6), "a narrow hill", "Is sigma squared?")
    out = "The hill's flank still reaches into the map. Leave the joint where it is."
    yield Case((torch.tensor([[-0.6, 2.2], [5.4, 6.1]]), (6, 5), 1.0), "joints beyond the border", out)


def _crop(maps: Tensor, centre: tuple[int, int], size: int, stride: int) -> Tensor:
    n = size // stride
    left, top = (math.floor((value - size / 2) / stride) for value in centre)
    cut = torch.zeros(maps.shape[0], n, n)
    for row in range(n):
        for column in range(n):
            y, x = top + row, left + column
            if 0 <= y < maps.shape[1] and 0 <= x < maps.shape[2]:
                cut[:, row, column] = maps[:, y, x]
    return cut


def _crop_cases(random: torch.Generator) -> Iterator[Case]:
    def maps(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=random) + 0.1

    corner = "The window starts half its size before the centre."
    yield Case((maps(1, 6, 6), (4, 3), 4, 1), "a window inside, cells of one pixel", corner)
    yield Case((maps(2, 5, 9), (12, 6), 4, 2), "cells of two pixels, maps that are not square", "x is the column.")
    zeros = "Beyond the border there is nothing: zeros, neither the edge again nor the other end of the map."
    yield Case((maps(2, 6, 6), (2, 10), 8, 2), "a window over the left and the lower border", zeros)
    yield Case((maps(2, 6, 5), (10, 2), 8, 2), "a window over the right and the upper border", zeros)
    down = "A corner inside a cell takes that whole cell: round down, also below zero."
    yield Case((maps(2, 6, 6), (14, 10), 8, 4), "a corner inside a cell", down)
    yield Case((maps(1, 6, 6), (2, 2), 8, 4), "a corner inside a cell that is left of the border", down)
    yield Case((maps(3, 4, 4), (40, -30), 8, 2), "a window wholly beside the map", zeros)


def _locate(coarse: Tensor, fine: Tensor, pooling: int, stride: int) -> tuple[Tensor, Tensor]:
    joints, scores = [], []
    for high, low in zip(coarse, fine, strict=True):
        row, column = divmod(int(high.flatten().argmax()), high.shape[1])
        down, across = divmod(int(low.flatten().argmax()), low.shape[1])
        x = (column + 0.5) * pooling + (across + 0.5 - low.shape[1] / 2) * stride
        y = (row + 0.5) * pooling + (down + 0.5 - low.shape[0] / 2) * stride
        joints.append([x, y])
        scores.append(float(high[row, column]))
    return torch.tensor(joints), torch.tensor(scores)


def _locate_cases(random: torch.Generator) -> Iterator[Case]:
    def one(height: int, width: int, *places: tuple[int, int]) -> Tensor:
        maps = torch.rand(len(places), height, width, generator=random) * 0.3
        for k, (x, y) in enumerate(places):
            maps[k, y, x] = 0.6 + 0.1 * k
        return maps

    still = (
        "Two cells touch in the middle of an even window. The peak is in one of them, half a cell off: half of `stride`"
        " pixels."
    )
    yield Case((one(4, 4, (2, 1)), one(6, 6, (3, 3)), 8, 2), "a fine peak beside the middle", still)
    units = "A step in the fine map is `stride` pixels, a step in the coarse one `pooling`."
    yield Case((one(4, 4, (1, 3)), one(6, 6, (5, 0)), 8, 2), "a fine peak in a corner", units)
    yield Case((one(3, 6, (5, 0), (0, 2)), one(8, 8, (1, 6), (7, 4)), 16, 2), "pooling 16, a wide map")
    yield Case((one(5, 5, (4, 2), (2, 2), (0, 0)), one(4, 4, (0, 1), (2, 3), (3, 3)), 4, 2), "pooling 4, three joints")
    yield Case((one(4, 5, (3, 1)), one(6, 6, (2, 4)), 8, 4), "fine cells of four pixels", units)
    score = "The score is the height of the coarse peak: only the coarse map was ever told that a joint may be absent."
    yield Case((0.2 * one(4, 4, (2, 2)), one(6, 6, (3, 2)), 8, 2), "a low coarse peak, a high fine one", score)


register(
    Exercise(
        "03.gaussian",
        _gaussian,
        _gaussian_cases,
        (
            "H(p) = exp(-|p - c|^2 / (2 sigma^2)), at the cells' centres p.",
            "torch.arange(width) + 0.5 are the columns' centres. A round hill is a bell along x times one along y.",
        ),
    )
)
register(
    Exercise(
        "03.crop",
        _crop,
        _crop_cases,
        (
            "Pad the maps with zeros, or keep only those indices that lie inside.",
            "math.floor rounds down on both sides of zero; int() and // on positive numbers only look alike.",
        ),
    )
)
register(
    Exercise(
        "03.locate",
        _locate,
        _locate_cases,
        (
            "The window's middle is the centre of the highest coarse cell, in pixels.",
            "The offset is the fine peak's cell centre, less half the window, times the fine cells' size.",
        ),
    )
)
