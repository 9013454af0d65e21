"""Lesson 06: what it measures on stacked hourglasses, and its three exercises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import geometry, metrics
from course_lib.datasets import synthetic
from course_lib.lessons import Case, Exercise, register
from course_lib.metrics.marks import Marks
from course_lib.models.base import HeatmapModel
from course_lib.models.counting import parameters
from course_lib.models.hourglass import Hourglass, Residual, StackedHourglass
from course_lib.pose import HIDDEN, VISIBLE, Batch, Person, Pose, Scene
from course_lib.training import evaluate

GREY = 0.5  # what is put over the parts of a picture that are not to be seen

# --- the network, measured --------------------------------------------------------------------------------------------


def trace(hourglass: Hourglass, cells: int) -> list[dict[str, Any]]:
    """Every residual block of one hourglass in the order in which it is computed: its path, level and map side."""
    rows: list[dict[str, Any]] = []

    def note(path: str, level: int):
        return lambda _module, _inputs, output: rows.append({"path": path, "level": level, "cells": output.shape[-1]})

    handles, level, part = [], 0, hourglass
    while isinstance(part, Hourglass):
        for path in ("upper", "before", "after"):
            handles += [block.register_forward_hook(note(path, level)) for block in getattr(part, path)]
        level, part = level + 1, part.inner
    handles += [block.register_forward_hook(note("innermost", level)) for block in part]
    width = next(m for m in hourglass.modules() if isinstance(m, nn.Conv2d)).in_channels
    with torch.no_grad():
        hourglass(torch.empty(1, width, cells, cells, device=next(hourglass.parameters()).device))
    for handle in handles:
        handle.remove()
    return rows


def reach(network: nn.Module, width: int, cells: int) -> Tensor:
    """How strongly the middle cell of the output depends on every cell of the input: (cells, cells)."""
    x = torch.randn(16, width, cells, cells, generator=torch.Generator().manual_seed(0)).requires_grad_()
    network.eval()(x)[:, :, cells // 2, cells // 2].square().sum().backward()
    return x.grad.abs().sum((0, 1))


def gradients(model: StackedHourglass, batch: Batch, stacks: Sequence[int]) -> dict[str, Tensor]:
    """The gradient of the sum of some stacks' losses (0 is the first), part by part, each as one long vector."""
    terms = model.stage_losses(model(batch.images), batch)
    names, values = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(sum(terms[i] for i in stacks), values)
    parts: dict[str, list[Tensor]] = {}
    for name, gradient in zip(names, found, strict=True):
        parts.setdefault(_part(name), []).append(gradient.flatten())
    return {name: torch.cat(part) for name, part in parts.items()}


def _part(name: str) -> str:
    words = {"hourglasses": "hourglass", "predict": "prediction"}
    first, number = name.split(".")[:2]
    return "stem" if first == "stem" else f"{words.get(first, 'feeding back')} {int(number) + 1}"


# --- what it answers on the benchmark ---------------------------------------------------------------------------------


@dataclass
class Answers:
    """The maps of every stack for N scenes, computed once; everything else in the lesson reads them."""

    model: HeatmapModel
    scenes: list[Scene]
    images: Tensor  # (N, 3, *input_size)
    maps: Tensor  # (S, N, K, h, w)
    mirrored: Tensor  # the same for the mirrored pictures, not yet turned back

    @classmethod
    def of(cls, model: HeatmapModel, scenes: list[Scene], batch: int = 50) -> Answers:
        """Asks the model about scenes of one size, whose whole picture is the box."""
        matrix = geometry.crop_matrix(_whole(scenes[0]), model.input_size, 1.0)
        pictures = torch.stack([scene.image for scene in scenes])
        images = geometry.warp(pictures, matrix.expand(len(scenes), 2, 3), model.input_size)
        with torch.inference_mode():
            maps, mirrored = (
                torch.cat([model(part) for part in some.split(batch)], dim=1)
                for some in (images, geometry.flip_images(images))
            )
        return cls(model, scenes, images, maps, mirrored)

    @property
    def people(self) -> list[Person]:
        return [scene.people[0] for scene in self.scenes]

    @property
    def stacks(self) -> int:
        return len(self.maps)

    def poses(self, stage: int = -1, maps: Tensor | None = None) -> list[Pose]:
        """One pose per scene, in the scenes' pixels."""
        scale = self.scenes[0].image.shape[-1] / self.model.input_size[1]
        found = self.model.decode(self.maps if maps is None else maps, stage=stage)
        return [pose.moved(pose.joints * scale) for (pose,) in found]

    def marks(self, stage: int = -1, alpha: float = 0.2) -> Marks:
        return evaluate.pck_marks(self.poses(stage), self.people, alpha)

    @cached_property
    def every_mark(self) -> list[Marks]:
        """PCK@0.2, stack by stack."""
        return [self.marks(stage) for stage in range(self.stacks)]

    @cached_property
    def errors(self) -> Tensor:
        """Distances (S, N, K) in pixels of the scenes."""
        true = torch.stack([person.joints for person in self.people])
        found = torch.stack([torch.stack([pose.joints for pose in self.poses(s)]) for s in range(self.stacks)])
        return (found - true).norm(dim=-1)

    def most_repaired(self, count: int) -> list[int]:
        """Scenes in which the last stack finds the most joints that the first one missed, net of joints lost."""
        first, last = self.every_mark[0].right, self.every_mark[-1].right
        gain = last.sum(1) - first.sum(1) + 0.01 * last.sum(1)  # of equal gains, the better final pose
        return gain.argsort(descending=True, stable=True)[:count].tolist()

    def hardest_repaired(self) -> tuple[int, int]:
        """(scene, joint) that is found by the last stack and was furthest away after the first."""
        repaired = self.every_mark[-1].right & self.every_mark[-1].scored
        error = torch.where(repaired, self.errors[0] - self.errors[-1], -1.0)
        return divmod(int(error.argmax()), error.shape[1])


def _whole(scene: Scene) -> Tensor:
    height, width = scene.size
    return torch.tensor([0.0, 0.0, width, height])


def row(poses: Sequence[Pose], people: Sequence[Person]) -> dict[str, Any]:
    """One line of the lesson's table."""
    marks, scores = evaluate.pck_marks(poses, people), metrics.single_person(poses, people)
    low, high = evaluate.interval(marks)
    columns = {name: value for name, value in metrics.columns(marks, people[0].skeleton).items() if name != "mean"}
    return {**columns, "PCK@0.2": scores["pck@0.2"], "low": low, "high": high, "PCP": scores["pcp"]} | {
        "error, px": scores["mean_error"]
    }


def gain(before: Marks, after: Marks, samples: int = 2000) -> tuple[float, float, float]:
    """How much PCK grew from one answer to another of the same people, and its 95 % interval over people."""
    generator = torch.Generator().manual_seed(0)
    more = (after.right.sum(1) - before.right.sum(1)).double()
    scored = after.scored.sum(1).double()
    drawn = torch.randint(len(more), (samples, len(more)), generator=generator)
    shares = more[drawn].sum(1) / scored[drawn].sum(1)
    low, high = torch.quantile(shares, shares.new_tensor([0.025, 0.975])).tolist()
    return float(more.sum() / scored.sum()), low, high


def breakdown(answers: Answers) -> dict[str, tuple[int, float]]:
    """How many joints of a kind there are, and the share of them that the last stack finds."""
    marks = answers.every_mark[-1]
    visible = torch.stack([person.visible for person in answers.people])
    alone = torch.tensor([len(scene.people) == 1 for scene in answers.scenes])[:, None]
    kinds = {"visible joints": visible == VISIBLE, "hidden joints": visible == HIDDEN}
    kinds |= {"alone in the picture": alone, "with other people": ~alone}
    for view in ("front", "side", "back"):
        kinds[f"seen from the {view}"] = torch.tensor([scene.meta["view"] == view for scene in answers.scenes])[:, None]
    counts = {name: int((marks.scored & mask).sum()) for name, mask in kinds.items()}
    return {name: (counts[name], int((marks.right & mask).sum()) / counts[name]) for name, mask in kinds.items()}


# --- how much must be seen --------------------------------------------------------------------------------------------


def pick_joints(scenes: Sequence[Scene], count: int) -> list[tuple[int, int]]:
    """(scene, joint) of visible joints, one a scene, every joint about as often as any other."""
    joints = len(scenes[0].people[0].skeleton)
    wanted = [(number, 5 * number % joints) for number in range(len(scenes))]
    return [(n, k) for n, k in wanted if int(scenes[n].people[0].visible[k]) == VISIBLE][:count]


def named(answers: Answers, chosen: Sequence[tuple[int, int]], side: float | None) -> Tensor:
    """Which joint's map is the highest at every chosen joint: (N,) indices.

    Only a square of `side` pixels of the scene around the joint is left to see; the rest is grey. None: everything.
    """
    scale = answers.model.input_size[1] / answers.scenes[0].image.shape[-1]
    joints = torch.stack([answers.people[n].joints[k] for n, k in chosen]) * scale  # (N, 2)
    images = answers.images[[n for n, _ in chosen]]
    if side is not None:
        rows, columns = (torch.arange(length) + 0.5 for length in images.shape[-2:])
        inside = (rows - joints[:, 1:]).abs()[:, None, :, None] <= side * scale / 2
        inside = inside & ((columns - joints[:, :1]).abs()[:, None, None, :] <= side * scale / 2)
        images = torch.where(inside, images, GREY)
    with torch.inference_mode():
        maps = answers.model(images)[-1]
    x, y = (joints / answers.model.stride).long().unbind(-1)
    return maps[torch.arange(len(chosen)), :, y, x].argmax(-1)


# --- two people, one answer -------------------------------------------------------------------------------------------


@dataclass
class Slide:
    """A box that moves from one person to another, and what the network answers on the way."""

    scene: Scene
    boxes: Tensor  # (T, 4)
    poses: list[Pose]
    distances: Tensor  # (T, 2) mean distance of the answer to each of the two, in units of the box


def slide(model: HeatmapModel, steps: int = 25, tries: int = 60) -> Slide:
    """Looks for two people side by side whom the model answers well, and moves the box from one to the other."""
    easy = synthetic.Settings(sport=0, free=0, natural=1, turn=60, occluders=0, truncation=0, others=0.7)
    scenes = synthetic.single_scenes(tries, "lesson 06", (128, 192), model.skeleton, settings=easy)
    best = None
    for scene in scenes:
        if len(scene.people) != 2 or not _side_by_side(*scene.people):
            continue
        ends = sorted(scene.people, key=lambda person: float(person.box[0] + person.box[2]))
        found = _slide(model, Scene(scene.image, ends), 2)
        worst = float(found.distances.diagonal().max())  # the answer at either end, against the person there
        if best is None or worst < best[0]:
            best = worst, found.scene
    return _slide(model, best[1], steps)


def _side_by_side(one: Person, other: Person) -> bool:
    sizes = [float((person.box[2:] - person.box[:2]).max()) for person in (one, other)]
    apart = float((one.box[[0, 2]].mean() - other.box[[0, 2]].mean()).abs())
    labelled = all(int((person.visible > 0).sum()) >= 13 for person in (one, other))
    return labelled and min(sizes) > 0.65 * max(sizes) and min(sizes) > 60 and 0.35 < apart / max(sizes) < 1.1


def _slide(model: HeatmapModel, scene: Scene, steps: int) -> Slide:
    centres = torch.stack([(person.box[:2] + person.box[2:]) / 2 for person in scene.people])
    side = max(float((person.box[2:] - person.box[:2]).max()) for person in scene.people)
    share = torch.linspace(0, 1, steps)[:, None]
    middle = centres[0] * (1 - share) + centres[1] * share
    boxes = torch.cat([middle - side / 2, middle + side / 2], dim=-1)
    (poses,) = model.estimate([scene.image], [boxes])
    errors = [[_distance(pose, person) / side for person in scene.people] for pose in poses]
    return Slide(scene, boxes, poses, torch.tensor(errors))


def _distance(pose: Pose, person: Person) -> float:
    return float((pose.joints - person.joints).norm(dim=-1)[person.visible > 0].mean())


# --- exercises --------------------------------------------------------------------------------------------------------


def _blocks(depth: int, width: int, modules: int = 1) -> tuple[int, int]:
    if depth == 0:
        return modules, modules * parameters(Residual(width, width))
    inner, weights = _blocks(depth - 1, width, modules)
    return inner + 3 * modules, weights + 3 * modules * parameters(Residual(width, width))


def _block_cases(random: torch.Generator) -> Iterator[Case]:
    smallest = (
        "Depth 1 has one skip path, and a block before, inside and after: 4 in all. If only [1] is off, count one block"
        " again: are the biases and the normalisations in it?"
    )
    yield Case((1, 8), "the smallest hourglass", smallest)
    yield Case((4, 256), "the paper's")
    yield Case((3, 64), "the course's")
    yield Case((2, 36, 3), "three blocks at every place")
    yield Case((6, 12), "a deep one")


def _decode(maps: Tensor) -> tuple[Tensor, Tensor]:
    height, width = maps.shape[-2:]
    joints, scores = [], []
    for one in maps.reshape(-1, height, width):
        highest = float(one.max())
        y, x = next((y, x) for y in range(height) for x in range(width) if float(one[y, x]) == highest)
        place = [x + 0.5, y + 0.5]
        if 0 < x < width - 1 and 0 < y < height - 1:
            across, down = one[y, x + 1] - one[y, x - 1], one[y + 1, x] - one[y - 1, x]
            place = [place[0] + 0.25 * float(across.sign()), place[1] + 0.25 * float(down.sign())]
        joints.append(place)
        scores.append(highest)
    lead = maps.shape[:-2]
    return torch.tensor(joints).reshape(*lead, 2), torch.tensor(scores).reshape(lead)


def _decode_cases(random: torch.Generator) -> Iterator[Case]:
    one = torch.zeros(1, 5, 7)
    one[0, 1, 4], one[0, 1, 5], one[0, 2, 4] = 1.0, 0.5, 0.4
    quarter = "Column 4: its centre is at 4.5, and its right neighbour is the higher one, so a quarter is added: 4.75."
    yield Case((one,), "one peak, its right and its lower neighbour higher than the left and the upper one", quarter)
    yield Case((torch.rand(2, 14, 6, 9, generator=random),), "two people, maps that are not square")
    tie = torch.zeros(1, 7, 7)
    tie[0, 3, 3], tie[0, 3, 2], tie[0, 3, 4], tie[0, 2, 3] = 1.0, 0.3, 0.3, 0.2
    yield Case((tie,), "left and right neighbour equally high", "Where the neighbours are equal nothing moves.")
    border = torch.zeros(4, 5, 6)
    for k, (y, x) in enumerate([(0, 3), (4, 2), (2, 0), (3, 5)]):
        border[k, y, x] = 1.0
        border[k, min(max(y, 1), 3), min(max(x, 1), 4)] += 0.5
    yield Case((border,), "peaks on the border", "A peak on any border stays at its cell's centre, on both axes.")
    yield Case((torch.zeros(3, 4, 4),), "empty maps", "argmax answers with the first of equal cells: the top left one.")
    yield Case((-torch.rand(2, 5, 5, generator=random) - 0.1,), "maps below zero everywhere")
    yield Case((torch.rand(3, 2, 4, 8, 5, generator=random),), "more leading axes")


def _loss(maps: Tensor, target: Tensor, visible: Tensor) -> Tensor:
    total = maps.sum() * 0.0
    people, joints = visible.shape
    labelled = [(b, k) for b in range(people) for k in range(joints) if visible[b, k] > 0]
    for stack in maps:
        for b, k in labelled:
            total = total + (stack[b, k] - target[b, k]).pow(2).mean() / len(labelled)
    return total


def _loss_and_gradient(loss: Any, maps: Tensor, target: Tensor, visible: Tensor) -> Any:
    maps = maps.clone().requires_grad_()
    value = loss(maps, target, visible)
    if value is None:
        return None
    if isinstance(value, Tensor) and value.numel() == 1 and value.requires_grad:
        value.backward()
    return {"loss": value, "gradient in the maps": torch.zeros_like(maps) if maps.grad is None else maps.grad}


def _loss_cases(random: torch.Generator) -> Iterator[Case]:
    def maps(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    yield Case((maps(1, 1, 2, 4, 4), maps(1, 2, 4, 4), torch.tensor([[2, 2]])), "one stack, all visible")
    yield Case((maps(3, 2, 3, 4, 5), maps(2, 3, 4, 5), torch.full((2, 3), 2)), "three stacks", "Add up the stacks.")
    hidden = "A hidden joint (1) is labelled: it counts. Only 0 does not."
    seen = torch.tensor([[2, 1, 0], [1, 0, 0]])
    yield Case((maps(2, 2, 3, 6, 4), maps(2, 3, 6, 4), seen), "hidden and unlabelled joints", hidden)
    target = maps(2, 2, 3, 3)
    target[0, 1] = torch.nan
    nan = "0 * NaN is NaN: choose what counts before you square it, do not multiply afterwards."
    yield Case((maps(2, 2, 2, 3, 3), target, torch.tensor([[2, 0], [1, 2]])), "an unlabelled joint holds NaN", nan)
    nobody = "With nothing labelled there is nothing to divide by: answer 0."
    yield Case((maps(2, 1, 2, 3, 3), maps(1, 2, 3, 3), torch.zeros(1, 2)), "nobody is labelled", nobody)


register(
    Exercise(
        "06.blocks",
        _blocks,
        _block_cases,
        (
            "How many places hold a block at each level, and what is left in the middle?",
            "A convolution of k x k from a to b channels has k * k * a * b weights and b biases; a batch "
            "normalisation of c channels learns 2 * c numbers.",
            "One block of width w, with m = w // 2: norms 2w + 2m + 2m, then w to m, 3 x 3 m to m, and m to w.",
        ),
    )
)
register(
    Exercise(
        "06.decode",
        _decode,
        _decode_cases,
        ("Which of x and y is the column?", "The centre of cell c lies at c + 0.5.", "torch.sign(0) is 0."),
    )
)
register(
    Exercise(
        "06.loss",
        _loss,
        _loss_cases,
        (
            "Mean over cells, then mean over the labelled joints of the whole batch, then the sum over stacks.",
            "torch.where(labelled[..., None, None], difference, 0.0) before squaring keeps NaN out.",
        ),
        ask=_loss_and_gradient,
    )
)
