"""Lesson 04: what it measures on convolutional pose machines. Its exercises are in lesson_04_exercises.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import geometry, models
from course_lib.datasets import synthetic
from course_lib.lessons.lesson_04_fields import on_the_other_side
from course_lib.lessons.lesson_06_stacked_hourglass import Answers
from course_lib.models import receptive
from course_lib.models.base import HeatmapModel
from course_lib.models.cpm import ConvolutionalPoseMachine
from course_lib.pose import Batch, Person, Pose, Scene
from course_lib.training import evaluate

# What the authors' released network sees, stage by stage, and what it sees with the paper's 2 x 2 pools
PUBLISHED_FIELDS = {2: (160, 400, 640, 880, 1120, 1360), 3: (167, 407, 647, 887, 1127, 1367)}
# The field of a cell does not depend on how many channels there are, so one of everything is enough to measure it
NARROW = {"image_channels": (1, 1, 1), "feature_channels": 1, "first_channels": 1, "stage_channels": 1}
KINDS = ("head", "shoulders", "elbows", "wrists", "hips", "knees", "ankles")


# --- what a network answers on the benchmark --------------------------------------------------------------------------


def resized(scenes: Sequence[Scene], size: tuple[int, int]) -> Tensor:
    """Scenes of one size as a network's input, (N, 3, *size)."""
    height, width = scenes[0].size
    matrix = geometry.crop_matrix(torch.tensor([0.0, 0.0, width, height]), size, 1.0)
    return geometry.warp(torch.stack([scene.image for scene in scenes]), matrix.expand(len(scenes), 2, 3), size)


class Beliefs(Answers):
    """The beliefs of every stage for N scenes, computed once; `maps` (T, N, K + 1, h, w), the background last."""

    @classmethod
    def of(cls, model: HeatmapModel, scenes: list[Scene], batch: int = 50) -> Beliefs:
        images = resized(scenes, model.input_size)
        with torch.inference_mode():
            maps = torch.cat([model(part) for part in images.split(batch)], dim=1)
        return cls(model, scenes, images, maps, maps[:, :0])  # no mirrored pictures: the lesson does not turn any

    def ambiguous(self, count: int, right: int = 2, ratio: float = 0.7, peak: float = 0.15) -> list[tuple[int, int]]:
        """(scene, joint), one a scene: the map of stage 1 has clear hills, is nearly as high at the truth as at its
        peak, which lies elsewhere, and stage `right` (0 is the first) and the last one are right, the last one with
        most of the person. Whose answer moves furthest comes first. Only joints with a partner on the other side.
        """
        first, later, last = (self.every_mark[stage] for stage in (0, right, -1))
        joints = torch.stack([person.joints for person in self.people])
        maps = self.maps[0, :, : joints.shape[1]]
        tops = maps.amax((-2, -1))
        torn = (height_at(maps, joints, self.scenes[0].size[1]) >= ratio * tops) & (tops >= peak)
        whole = last.right.sum(1, keepdim=True) >= 0.7 * last.scored.sum(1, keepdim=True)
        paired = torch.tensor([partner != k for k, partner in enumerate(self.model.skeleton.swaps)])
        chosen = last.scored & last.right & later.right & ~first.right & torn & whole & paired
        best, joint = torch.where(chosen, self.errors[0] - self.errors[right], -torch.inf).max(1)
        order = [n for n in best.argsort(descending=True, stable=True).tolist() if best[n] > 0]
        return [(n, int(joint[n])) for n in order[:count]]


def height_at(maps: Tensor, joints: Tensor, width: int) -> Tensor:
    """How high maps (N, K, h, w) of pictures of this width are in the cells of joints (N, K, 2), or beside: (N, K)."""
    x, y = (joints * maps.shape[-1] / width).long().unbind(-1)
    x, y = x.clamp(0, maps.shape[-1] - 1), y.clamp(0, maps.shape[-2] - 1)
    return F.max_pool2d(maps, 3, 1, 1).flatten(-2).gather(-1, (y * maps.shape[-1] + x)[..., None])[..., 0]


def lesson_three(model: nn.Module, scenes: list[Scene], batch: int = 50) -> tuple[Tensor, list[Pose]]:
    """The coarse maps (N, K, h, w) of lesson 03's network and its poses in the scenes' pixels."""
    images, scale = resized(scenes, model.input_size), scenes[0].image.shape[-1] / model.input_size[1]
    maps, poses = [], []
    with torch.inference_mode():
        for part in images.split(batch):
            answer = model(part)
            maps.append(answer.coarse)
            poses += [pose.moved(pose.joints * scale) for (pose,) in model.decode(answer)]
    return torch.cat(maps), poses


def second_hill(maps: Tensor, apart: int = 3) -> Tensor:
    """The height of the highest local maximum more than `apart` cells away from the highest one: (...,)."""
    height, width = maps.shape[-2:]
    flat = maps.reshape(-1, 1, height, width)
    tops = (F.max_pool2d(flat, 3, 1, 1) == flat)[:, 0]
    peak = flat.flatten(1).argmax(1)
    rows, columns = torch.arange(height), torch.arange(width)
    far = (rows - (peak // width)[:, None]).abs()[:, :, None] > apart
    far = far | ((columns - (peak % width)[:, None]).abs()[:, None, :] > apart)
    return torch.where(tops & far, flat[:, 0], 0.0).amax((-2, -1)).clamp(min=0).reshape(maps.shape[:-2])


def other_hill(maps: Tensor, poses: Sequence[Pose], scenes: Sequence[Scene], ratio: float = 0.7) -> tuple[int, int]:
    """(scene, joint) whose answer stands on the joint of the other side, though the map is nearly as high at the truth.

    Of all such the one with the two joints furthest apart.
    """
    people = [scene.people[0] for scene in scenes]
    joints = torch.stack([person.joints for person in people])
    torn = height_at(maps, joints, scenes[0].size[1]) >= ratio * maps.amax((-2, -1))
    apart = (joints - joints[:, list(people[0].skeleton.swaps)]).norm(dim=-1)
    return divmod(int(torch.where(on_the_other_side(poses, people) & torn, apart, -1.0).argmax()), joints.shape[1])


def mistakes(poses: Sequence[Pose], people: Sequence[Person]) -> dict[str, tuple[float, float, float]]:
    """Of each kind of joint: the share that is found, that stands on the joint of the other side, and elsewhere."""
    marks, swapped = evaluate.pck_marks(poses, people), on_the_other_side(poses, people)
    result = {}
    for kind, which in kinds(people[0].skeleton.joints).items():
        count = marks.scored[:, which].sum()
        right, other = (float((mask & marks.scored)[:, which].sum() / count) for mask in (marks.right, swapped))
        result[kind] = (right, other, 1 - right - other)
    return result


def right_side(poses: Sequence[Pose], people: Sequence[Person]) -> float:
    """Of the answers that stand on the joint or on its partner of the other side, the share on the joint itself."""
    marks, swapped = evaluate.pck_marks(poses, people), on_the_other_side(poses, people)
    paired = [k for k, partner in enumerate(people[0].skeleton.swaps) if partner != k]
    right = (marks.right & marks.scored)[:, paired].sum()
    return float(right / (right + swapped[:, paired].sum()).clamp(min=1))


def kinds(names: Sequence[str]) -> dict[str, list[int]]:
    """Indices of joints by kind, left and right together."""
    groups: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for index, name in enumerate(names):
        groups["head" if name in ("neck", "head_top") else name.partition("_")[2] + "s"].append(index)
    return groups


# --- what a cell sees -------------------------------------------------------------------------------------------------


def fields_of_the_paper(pool: int) -> list[receptive.Field]:
    """Worked out from the layers of the network in the paper's size; costs neither memory nor time."""
    with torch.device("meta"):
        return receptive.computed(models.create("cpm", pool=pool), torch.empty(1, 3, 64, 64))


def measured_fields(pool: int, cells: int = 174) -> list[int]:
    """The same by gradient, in pixels along a strip of one row of cells that is long enough for the last stage."""
    strip = torch.rand(1, 3, 8, 8 * cells, generator=torch.Generator().manual_seed(0))
    sizes = []
    for stages in range(1, 7):
        model = models.create("cpm", stages=stages, pool=pool, **NARROW)
        x0, _, x1, _ = receptive.measured(model, strip, (0, cells // 2), lambda beliefs: beliefs[-1])
        sizes.append(int(x1 - x0))
    return sizes


def field_with(stages: int, kernel: int, pool: int) -> list[receptive.Field]:
    """Fields of a network of the paper's kind whose later stages have other kernels."""
    with torch.device("meta"):
        model = models.create("cpm", stages=stages, stage_kernel=kernel, pool=pool, **NARROW)
        return receptive.computed(model, torch.empty(1, 3, 64, 64))


@dataclass
class Sight:
    """One joint, what each stage could see of it and what it listens to."""

    image: Tensor  # (3, H, W)
    joint: Tensor  # (2,)
    fields: list[receptive.Field]
    cell: tuple[int, int]
    listens: list[Tensor]  # (H, W) for each of the first stages

    def near(self, stage: int) -> tuple[float, float]:
        """The share of all influence, and of all pixels, that lies in the inner half (along each axis) of a field."""
        x0, y0, x1, y1 = self.fields[stage].box(self.cell).tolist()
        heat = self.listens[stage]
        y, x = (torch.arange(length) + 0.5 for length in heat.shape)
        away = torch.maximum(((y - (y0 + y1) / 2) / (y1 - y0)).abs()[:, None], ((x - (x0 + x1) / 2) / (x1 - x0)).abs())
        inner, whole = away <= 0.25, away <= 0.5
        return float(heat[inner].sum() / heat.sum()), float(inner.sum() / whole.sum())


def sight(model: ConvolutionalPoseMachine, image: Tensor, joint: Tensor, index: int, listening: int = 3) -> Sight:
    """What every stage can see around a joint's cell, and which pixels move the first stages' belief in that joint."""
    cell = (int(joint[1] / model.stride), int(joint[0] / model.stride))
    fields = receptive.computed(model, image[None])
    listens = [
        receptive.gradient(model, image[None], cell, lambda beliefs, t=stage: beliefs[t, :, index : index + 1])
        for stage in range(listening)
    ]
    return Sight(image, joint, fields, cell, listens)


# --- gradients at the start -------------------------------------------------------------------------------------------

STARTS = ("He, last layers near zero (this course)", "Gaussian of 0.01 (the authors)", "He everywhere")


def started(start: str, supervise: str, norm: bool = False, seed: int = 0) -> ConvolutionalPoseMachine:
    """Six stages of the course's size with one of the three random starts, in double precision."""
    torch.manual_seed(seed)
    model = models.create("cpm_course", input_size=(64, 64), norm=norm, supervise=supervise)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and start == STARTS[1]:
                module.weight.normal_(std=0.01)
                module.bias.zero_()
        for head in model.heads:
            if start == STARTS[2]:
                nn.init.kaiming_normal_(head[-1].weight, nonlinearity="relu")
    return model.double().train()


def gradient_sizes(model: ConvolutionalPoseMachine, batch: Batch) -> dict[str, list[float]]:
    """The root mean square of the gradient of each convolution's weights, in the order of the picture's way."""
    model.loss(model(batch.images.double()), batch)["total"].backward()
    parts: dict[str, nn.Module] = {"stage 1": nn.ModuleList([model.tower, model.features[0], model.heads[0]])}
    parts["shared tower"] = model.shared_tower
    for stage in range(1, len(model.heads)):
        parts[f"stage {stage + 1}"] = nn.ModuleList([model.features[stage], model.heads[stage]])
    return {
        name: [float(m.weight.grad.square().mean().sqrt()) for m in part.modules() if isinstance(m, nn.Conv2d)]
        for name, part in parts.items()
    }


# --- two people in a crop ---------------------------------------------------------------------------------------------


def two_people(size: tuple[int, int], seed: str = "lesson 04", tries: int = 40) -> list[Scene]:
    """Crops with two people side by side who can be seen, the first one meant; the largest people come first."""
    easy = synthetic.Settings(sport=0, free=0, natural=1, turn=60, occluders=0, truncation=0, others=0.7)
    scenes = synthetic.single_scenes(tries, seed, size, settings=easy)
    return sorted((scene for scene in scenes if _clearly_two(scene) > 0), key=_clearly_two, reverse=True)


def _clearly_two(scene: Scene) -> float:
    """How tall the smaller of two people is who stand side by side and can be seen whole; else below 0."""
    if len(scene.people) != 2:
        return -1.0
    one, other = (person.joints.mean(0) for person in scene.people)
    heights = [float((person.box[2:] - person.box[:2]).max()) for person in scene.people]
    visible = torch.stack([person.visible for person in scene.people])
    whole = bool((visible > 0).all()) and float((one - other).norm()) > 0.35 * min(heights)
    return min(heights) * float((visible[1] == 2).float().mean()) if whole else -1.0


def batch_of(scene: Scene) -> tuple[Batch, tuple[Tensor, Tensor]]:
    """The first person as a batch of one, and the others in the form that the model's loss takes."""
    person, *others = scene.people
    batch = Batch(scene.image[None], person.joints[None], person.visible[None], person.skeleton)
    joints, visible = (torch.stack([getattr(one, name) for one in others])[None] for name in ("joints", "visible"))
    return batch, (joints, visible)


@dataclass
class Moved:
    """The centre map carried from one person to another, while the picture stays, and the answers on the way."""

    scene: Scene  # at the network's size; its people are the two, left one first
    centres: Tensor  # (T, 2)
    beliefs: Tensor  # (S, T, K + 1, h, w)
    poses: list[list[Pose]]  # stage by stage
    distances: Tensor  # (S, T, 2) mean distance of the answer to either person, in pixels


def moved(model: ConvolutionalPoseMachine, scene: Scene, steps: int = 13) -> Moved:
    """Asks about one picture again and again, with another centre each time."""
    two = sorted(scene.people[:2], key=lambda person: float(person.joints[:, 0].mean()))
    ends = torch.stack([(person.box[:2] + person.box[2:]) / 2 for person in two])
    share = torch.linspace(0, 1, steps)[:, None]
    centres = ends[0] * (1 - share) + ends[1] * share
    with torch.inference_mode():
        beliefs = model(scene.image.expand(steps, -1, -1, -1), centres)
    poses = [[pose for (pose,) in model.decode(beliefs, stage=stage)] for stage in range(len(beliefs))]
    apart = [[[_distance(pose, person) for person in two] for pose in stage] for stage in poses]
    return Moved(Scene(scene.image, two), centres, beliefs, poses, torch.tensor(apart))


def well_told(model: ConvolutionalPoseMachine, scenes: Sequence[Scene]) -> Scene:
    """The scene of two people in which the model answers best for whichever of the two is meant."""
    worst = [float(moved(model, scene, steps=2).distances[-1].diagonal().max()) for scene in scenes]
    return scenes[worst.index(min(worst))]


def right_person(model: ConvolutionalPoseMachine, scenes: Sequence[Scene]) -> list[float]:
    """How often each stage's answer is nearer to the person whom the centre map points at; each is asked for once."""
    hits = []
    for scene in scenes:
        nearer = moved(model, scene, steps=2).distances.argmin(-1)  # (S, 2)
        hits.append(nearer == torch.tensor([0, 1]))
    return torch.stack(hits).float().mean((0, 2)).tolist()


def _distance(pose: Pose, person: Person) -> float:
    return float((pose.joints - person.joints).norm(dim=-1)[person.visible > 0].mean())


def sizes(model_name: str, stages: int, **options: Any) -> tuple[int, float]:
    """Parameters, and G multiply-adds for one picture, of a network with so many stages."""
    from course_lib.models.counting import giga_multiply_adds, parameters

    with torch.device("meta"):
        model = models.create(model_name, stages=stages, **options).eval()
    return parameters(model), giga_multiply_adds(model)
