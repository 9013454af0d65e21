"""Lesson 05: what it measures on iterative error feedback, and its three exercises."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import geometry
from course_lib.lessons import Case, Exercise, register
from course_lib.metrics.marks import Marks
from course_lib.models.ief import IterativeErrorFeedback
from course_lib.pose import HIDDEN, VISIBLE, Batch, Person, Pose, Scene
from course_lib.targets import heatmaps
from course_lib.training import evaluate

FULL = 0.999  # a move this close to L counts as one of full length
BLIND = "goes on as it came, sees no picture"

# --- an answer that nobody looks at -----------------------------------------------------------------------------------


def off_body(poses: Sequence[Pose], people: Sequence[Person], margin: int = 1) -> Tensor:
    """Which visible joints (N, K) were put more than `margin` pixels beside their own person's silhouette."""
    off = []
    for pose, person in zip(poses, people, strict=True):
        wide = F.max_pool2d(person.mask.float()[None], 2 * margin + 1, stride=1, padding=margin)[0] > 0
        height, width = wide.shape
        x, y = pose.joints.floor().long().unbind(-1)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        on = inside & wide[y.clamp(0, height - 1), x.clamp(0, width - 1)]
        off.append(~on & (person.visible == VISIBLE))
    return torch.stack(off)


# --- what is asked ----------------------------------------------------------------------------------------------------


def kinds_of_joints(names: tuple[str, ...]) -> dict[str, list[int]]:
    """Which joints belong together: left and right ones, and head and neck."""
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        kind = "head, neck" if name in ("neck", "head_top") else name.partition("_")[2] + "s"
        groups.setdefault(kind, []).append(index)
    return groups


def needed(start: Tensor, batch: Batch, bound: float) -> Tensor:
    """How many steps of at most `bound` lead from the start to the truth: (B, K), NaN for unlabelled joints."""
    steps = ((batch.joints - start).norm(dim=-1) / bound).ceil()
    return torch.where(batch.visible > 0, steps, torch.nan)


def follow(path: Tensor, target: Tensor, bound: float) -> Tensor:
    """The best answer of somebody who sees only the drawn poses and no picture, on the fixed path.

    A joint that came by a full step goes on the same way, by a share of L that is right on average; the others have
    arrived. path, target (T, B, K, 2) -> guesses (T - 1, B, K, 2) for steps 2 to T.
    """
    moved = path[1:] - path[:-1]
    moved = torch.where(moved.norm(dim=-1, keepdim=True) > FULL * bound, moved, 0.0)
    share = (moved * target[1:]).sum((1, 2, 3)) / moved.square().sum((1, 2, 3)).clamp(min=1e-9)
    return share[:, None, None, None] * moved


def cost(model: IterativeErrorFeedback, correction: Tensor, pose: Tensor, batch: Batch) -> float:
    """The squared error of corrections, as a share of what answering nothing costs: 1 is useless, 0 is perfect."""
    target = model.target(batch.joints, pose, batch.visible)
    labelled = batch.visible > 0
    wrong = (correction - target).square().sum(-1)[labelled]
    return float(wrong.sum() / target.square().sum(-1)[labelled].sum())


def nothing_costs(model: IterativeErrorFeedback, batch: Batch) -> list[float]:
    """The loss of a network that never corrects anything, pair by pair, in units of L^2."""
    path = model.training_path(batch, model.steps)
    lengths = [model.target(batch.joints, pose, batch.visible).norm(dim=-1) / model.bound for pose in path]
    return [float(one[batch.visible > 0].square().mean()) for one in lengths]


@torch.no_grad()
def who_sees_what(model: IterativeErrorFeedback, batch: Batch) -> dict[str, list[float | None]]:
    """`cost` on the pairs of the fixed path, step by step: without a network, with one, and with wrong pictures."""
    path = model.training_path(batch, model.steps)
    rows: dict[str, list[float | None]] = {"answers nothing": [1.0] * len(path), BLIND: blind_costs(model, batch)}
    pictures = {"the network": batch.images, "the network, shown another's picture": batch.images.roll(1, 0)}
    for name, images in pictures.items():
        rows[name] = [cost(model, model.correct(images, pose), pose, batch) for pose in path]
    return rows


@torch.no_grad()
def blind_costs(model: IterativeErrorFeedback, batch: Batch) -> list[float | None]:
    """`cost` of `follow`; before the first step there is nothing to follow."""
    path = model.training_path(batch, model.steps)
    target = torch.stack([model.target(batch.joints, pose, batch.visible) for pose in path])
    guesses = zip(follow(path, target, model.bound), path[1:], strict=True)
    return [None, *(cost(model, guess, pose, batch) for guess, pose in guesses)]


def drawn_input(model: IterativeErrorFeedback, image: Tensor, pose: Tensor) -> Tensor:
    """What the network sees of a pose (K, 2), as one map a joint and the mark: (K + 1, H, W) from 0 to 1."""
    return (model.see(image[None], pose[None])[0, 3:] + 1) / 2


# --- what it answers --------------------------------------------------------------------------------------------------


@dataclass
class Walks:
    """The walks of one model over N scenes, computed once; everything else in the lesson reads them."""

    model: IterativeErrorFeedback
    scenes: list[Scene]
    images: Tensor  # (N, 3, *input_size)
    walk: Tensor  # (T + 1, N, K, 2) in pixels of the crops
    scale: float  # pixels of the scene for each of the crop

    @classmethod
    def of(cls, model: IterativeErrorFeedback, scenes: list[Scene], steps: int | None = None) -> Walks:
        """Asks the model about scenes of one size, whose whole picture is the box; `steps` may be more than T."""
        height, width = scenes[0].size
        matrix = geometry.crop_matrix(torch.tensor([0.0, 0.0, width, height]), model.input_size, 1.0)
        pictures = torch.stack([scene.image for scene in scenes])
        images = geometry.warp(pictures, matrix.expand(len(scenes), 2, 3), model.input_size)
        return cls(model, scenes, images, walked(model, images, steps=steps), width / model.input_size[1])

    @property
    def people(self) -> list[Person]:
        return [scene.people[0] for scene in self.scenes]

    @cached_property
    def batch(self) -> Batch:
        """The scenes as the model sees them, with their truth in its pixels."""
        joints = torch.stack([person.joints for person in self.people]) / self.scale
        visible = torch.stack([person.visible for person in self.people])
        return Batch(self.images, joints, visible, self.model.skeleton)

    def poses(self, step: int = -1) -> list[Pose]:
        """One pose per scene after a step, in the scenes' pixels."""
        return [pose.moved(pose.joints * self.scale) for (pose,) in self.model.decode(self.walk, step=step)]

    @cached_property
    def every_mark(self) -> list[Marks]:
        """PCK@0.2, step by step; 0 is the start."""
        return [evaluate.pck_marks(self.poses(step), self.people) for step in range(len(self.walk))]

    @cached_property
    def errors(self) -> Tensor:
        """Distances (T + 1, N, K) in pixels of the crops, NaN where nothing is labelled."""
        away = (self.walk - self.batch.joints).norm(dim=-1)
        return torch.where(self.batch.visible > 0, away, torch.nan)

    def mean_errors(self) -> list[float]:
        """Over all labelled joints, step by step."""
        return self.errors.flatten(1).nanmean(1).tolist()

    def by_need(self) -> dict[str, list[float]]:
        """The mean error step by step, of joints that start out one step of L from the truth, two steps, more."""
        steps = needed(self.model.start, self.batch, self.model.bound)
        groups = {"at most L away at the start": steps <= 1, "up to 2 L": steps == 2, "farther": steps > 2}
        return {name: [float(errors[mask].mean()) for errors in self.errors] for name, mask in groups.items()}

    def shift_alone(self) -> float:
        """PCK@0.2 of the start, moved as a whole to where the person really is: what no network needs limbs for."""
        start, seen = self.walk[0], (self.batch.visible > 0)[..., None]
        shift = torch.where(seen, self.batch.joints - start, 0.0).sum(1, keepdim=True) / seen.sum(1, keepdim=True)
        poses = [pose.moved(joints * self.scale) for pose, joints in zip(self.poses(0), start + shift, strict=True)]
        return float(evaluate.pck_marks(poses, self.people).mean)

    def common_share(self) -> float:
        """Which part of the first step's length is the same for all joints of a person."""
        step = self.walk[1] - self.walk[0]
        return float(step.mean(1).norm(dim=-1).mean() / step.norm(dim=-1).mean())

    def most_repaired(self, count: int, step: int) -> list[int]:
        """Scenes in which this step finds the most joints that the start missed, net of joints lost."""
        first, last = self.every_mark[0].right, self.every_mark[step].right
        gain = last.sum(1) - first.sum(1) + 0.01 * last.sum(1)  # of equal gains, the better final pose
        return gain.argsort(descending=True, stable=True)[:count].tolist()


@torch.no_grad()
def walked(
    model: IterativeErrorFeedback, images: Tensor, start: Tensor | None = None, steps: int | None = None
) -> Tensor:
    """The walks (T + 1, N, K, 2) of many pictures, a hundred at a time."""
    starts = [None] * math.ceil(len(images) / 100) if start is None else start.split(100)
    parts = zip(images.split(100), starts, strict=True)
    return torch.cat([model(some, start=first, steps=steps) for some, first in parts], dim=1)


def starting_poses(model: IterativeErrorFeedback, batch: Batch) -> dict[str, Tensor]:
    """Where one might let it start: (N, K, 2) each."""
    usual = model.start.expand(len(batch), -1, -1)
    truth = torch.where((batch.visible > 0)[..., None], batch.joints, usual)
    height, width = model.input_size
    return {
        "the usual start": usual,
        "moved right by an eighth": usual + usual.new_tensor([width / 8, 0.0]),
        "moved right by a quarter": usual + usual.new_tensor([width / 4, 0.0]),
        "everything in the middle": usual.new_tensor([width / 2, height / 2]).expand_as(usual),
        "another person's pose": truth.roll(1, 0),
        "upside down": torch.stack([usual[..., 0], height - usual[..., 1]], dim=-1),
        "the truth itself": truth,
    }


@torch.no_grad()
def field(model: IterativeErrorFeedback, image: Tensor, pose: Tensor, joint: int, cells: int = 9) -> tuple[Tensor, ...]:
    """Places (cells^2, 2) where one joint of a pose (K, 2) is put, the rest left alone, and its corrections there."""
    height, width = model.input_size
    rows, columns = ((torch.arange(cells) + 0.5) * side / cells for side in (height, width))
    places = torch.cartesian_prod(rows, columns).flip(-1)
    poses = pose.repeat(len(places), 1, 1)
    poses[:, joint] = places
    return places, model.correct(image.expand(len(places), -1, -1, -1), poses)[:, joint]


@torch.no_grad()
def sent_back(model: IterativeErrorFeedback, batch: Batch, distance: float, seed: int = 0) -> float:
    """Every labelled joint in turn is drawn `distance` pixels beside the truth, all others on it: pixels sent back.

    Whoever compares the drawing with the picture answers `distance`, or L if that is less.
    """
    truth = torch.where((batch.visible > 0)[..., None], batch.joints, model.start)
    angle = 2 * math.pi * torch.rand(batch.visible.shape, generator=torch.Generator().manual_seed(seed))
    aside = torch.stack([angle.cos(), angle.sin()], dim=-1)  # (B, K, 2)
    before, back = model.correct(batch.images, truth), []
    for joint in range(len(model.skeleton)):
        pose = truth.clone()
        pose[:, joint] += distance * aside[:, joint]
        change = (model.correct(batch.images, pose) - before)[:, joint]
        back.append(-(change * aside[:, joint]).sum(-1)[batch.visible[:, joint] > 0])
    return float(torch.cat(back).mean())


# --- exercises --------------------------------------------------------------------------------------------------------


def _bounded(u: Tensor, bound: float) -> Tensor:
    answers = []
    for x, y in u.reshape(-1, 2).tolist():
        length = math.hypot(x, y)
        share = bound / length if length > bound else 1.0
        answers.append([share * x, share * y])
    return torch.tensor(answers, dtype=u.dtype).reshape(u.shape)


def _bounded_cases(random: torch.Generator) -> Iterator[Case]:
    long = "A vector of length 50 becomes one of length 20 that points the same way."
    yield Case((torch.tensor([30.0, 40.0]), 20.0), "one vector, too long", long)
    short = "What is within reach is asked for in full, not at length L."
    yield Case((torch.tensor([[3.0, -4.0], [-12.0, 5.0]]), 13.0), "vectors no longer than L", short)
    zero = "Where nothing is to be done the answer is (0, 0): no direction exists, so none may be computed."
    yield Case((torch.zeros(3, 2), 9.0), "nothing to correct", zero)
    each = "Every joint has a limit of its own; a joint far away must not shorten the others."
    mixed = torch.tensor([[[0.5, 0.0], [60.0, 80.0], [0.0, 0.0], [-7.0, -24.0]]])
    yield Case((mixed, 10.0), "one person: joints near, far and right", each)
    yield Case((40 * torch.randn(3, 14, 2, generator=random), 20.0), "three people")
    yield Case((0.3 * torch.randn(2, 1, 5, 2, generator=random), 0.25), "a bound below 1, more leading axes")


def _path(start: Tensor, joints: Tensor, visible: Tensor, bound: float, steps: int) -> tuple[Tensor, Tensor]:
    poses, targets = torch.zeros(steps, *joints.shape), torch.zeros(steps, *joints.shape)
    for b in range(len(joints)):
        for k in range(len(start)):
            x, y = start[k].tolist()
            for t in range(steps):
                poses[t, b, k] = torch.tensor([x, y])
                if visible[b, k] > 0:
                    dx, dy = float(joints[b, k, 0]) - x, float(joints[b, k, 1]) - y
                    share = min(1.0, bound / max(math.hypot(dx, dy), 1e-12))
                    targets[t, b, k] = torch.tensor([share * dx, share * dy])
                    x, y = x + share * dx, y + share * dy
    return poses, targets


def _path_cases(random: torch.Generator) -> Iterator[Case]:
    one = (torch.tensor([[10.0, 10.0]]), torch.tensor([[[45.0, 10.0]]]), torch.tensor([[2]]))
    first = "35 pixels to go, at most 20 a step: poses x = 10, 30, 45 and targets 20, 15, 0."
    yield Case((*one, 20.0, 3), "one joint, 35 pixels away", first)
    start = 64 * torch.rand(5, 2, generator=random)
    joints = 64 * torch.rand(3, 5, 2, generator=random)
    yield Case((start, joints, torch.full((3, 5), VISIBLE), 9.0, 4), "three people, five joints")
    arrived = "A joint that is there stays there: pose the truth, target (0, 0), and no NaN."
    yield Case((start, start[None].clone(), torch.full((1, 5), VISIBLE), 9.0, 2), "everybody is there already", arrived)
    seen = torch.tensor([[VISIBLE, HIDDEN, 0, 0, VISIBLE]])
    holes = joints[:1].clone()
    holes[0, 2], holes[0, 3] = torch.nan, -1.0
    nobody = "Nobody knows where an unlabelled joint (0) should go: it never leaves the start, and its target is 0."
    yield Case((start, holes, seen, 9.0, 3), "a hidden joint, and two unlabelled ones", nobody)
    far = torch.tensor([[[200.0, 10.0]]])
    reach = "The path takes steps of at most L, also where T of them do not suffice."
    yield Case((one[0], far, one[2], 20.0, 4), "a joint out of reach", reach)
    yield Case((*one, 20.0, 1), "a single step", "With one step there is one pair: the start, and its target.")


def _walk(
    network: nn.Module, draw: Callable, images: Tensor, start: Tensor, mark: Tensor, bound: float, steps: int
) -> Tensor:
    walk = torch.empty(steps + 1, len(images), *start.shape)
    walk[0] = start
    poses = [walk[0]]
    for _ in range(steps):
        points = [torch.cat([pose, mark[None]]) for pose in poses[-1].detach()]
        seen = torch.stack([torch.cat([image, draw(p)]) for image, p in zip(images, points, strict=True)])
        poses.append(poses[-1].detach() + bound * network(seen))
    return torch.stack(poses)


def _walk_and_gradient(walk: Any, network: nn.Module, *given: Any) -> Any:
    """The walk, what the network was shown, and the gradient of a fixed sum over all poses in its weights."""
    shown: list[Tensor] = []
    handle = network.register_forward_pre_hook(lambda _module, inputs: shown.append(inputs[0].detach().clone()))
    network.zero_grad(set_to_none=True)
    with torch.enable_grad():
        poses = walk(network, *given)
    handle.remove()
    if not isinstance(poses, Tensor):
        return poses
    if poses.requires_grad:
        weights = torch.cos(torch.arange(poses.numel())).reshape(poses.shape)
        (weights * poses).sum().backward()
    learned = [torch.zeros_like(p) if p.grad is None else p.grad for p in network.parameters()]
    return {
        "walk": poses.detach(),
        "times the network was asked": len(shown),
        "what it was shown": shown,
        "gradient in its weights": torch.cat([one.flatten() for one in learned]),
    }


def small_maps(points: Tensor) -> Tensor:
    """Points (..., N, 2) in pixels of a picture of 8 x 6 -> one Gaussian for each (..., N, 6, 8)."""
    return heatmaps.gaussian(points, (6, 8), 1.5)


def small_network(channels: int, joints: int, random: torch.Generator) -> nn.Module:
    """A network for pictures of 8 x 6: one linear layer that answers (B, K, 2), in units of L."""
    layer = nn.Linear(channels * 6 * 8, 2 * joints)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.15 * torch.randn(parameter.shape, generator=random))
    return nn.Sequential(nn.Flatten(), layer, nn.Tanh(), nn.Unflatten(1, (joints, 2)))


def _walk_cases(random: torch.Generator) -> Iterator[Case]:
    def case(people: int, joints: int, bound: float, steps: int, label: str, hint: str = "") -> Case:
        network = small_network(3 + joints + 1, joints, random)
        images, start = torch.rand(people, 3, 6, 8, generator=random), 6 * torch.rand(joints, 2, generator=random)
        return Case((network, small_maps, images, start, torch.tensor([4.0, 3.0]), bound, steps), label, hint)

    yield case(1, 2, 2.0, 1, "one person, one step", "Two poses come out: the start, and the one after the step.")
    yield case(3, 4, 1.5, 4, "three people, four steps", "Is it the pose of the step before that is drawn each time?")
    yield case(2, 1, 6.0, 7, "more steps, longer ones", "Nothing is cut off: the network's answer is taken as it is.")


register(
    Exercise(
        "05.bounded",
        _bounded,
        _bounded_cases,
        (
            "The length is that of the vector (x, y): one number for every joint.",
            "Divide by something that cannot be zero: `length.clamp(min=bound)` is never less than L.",
        ),
    )
)
register(
    Exercise(
        "05.path",
        _path,
        _path_cases,
        (
            "Pose t + 1 is pose t plus target t; the first pose is the start.",
            "The target is measured from the pose of its own step, not from the start.",
            "torch.where((visible > 0)[..., None], joints - pose, 0.0) keeps NaN out, before anything is divided.",
        ),
    )
)
register(
    Exercise(
        "05.walk",
        _walk,
        _walk_cases,
        (
            "Channels come in the order colours, joints, mark; the mark is drawn anew each time and never moves.",
            "Only the last correction may carry a gradient out of a step: draw and add to `pose.detach()`.",
            "The network's answer is in units of L.",
        ),
        ask=_walk_and_gradient,
    )
)
