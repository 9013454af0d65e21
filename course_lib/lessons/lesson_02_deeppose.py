"""Lesson 02: what it measures on DeepPose, its part templates, and what it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import geometry, losses, metrics
from course_lib.metrics.marks import Marks
from course_lib.models.counting import parameters
from course_lib.models.deeppose import Cascade, DeepPose, LocalResponse, Stage
from course_lib.pose import HIDDEN, VISIBLE, Batch, Person, Pose, Scene
from course_lib.targets import heatmaps
from course_lib.training import evaluate

CELL = 4  # pixels along a side of the part templates' histograms
GREY = 0.5  # what is put over a joint that is not to be seen
LIMBS = {"upper arm": "upper_arm", "lower arm": "forearm", "upper leg": "upper_leg", "lower leg": "lower_leg"}

# --- the network, counted ---------------------------------------------------------------------------------------------


def layers(stage: Stage, view: int) -> list[dict[str, Any]]:
    """Every layer that computes something, in order: what it gives, what it learns, what it costs."""
    words = {nn.Conv2d: "convolution", nn.MaxPool2d: "max-pool", nn.Linear: "fully connected", LocalResponse: "LRN"}
    rows: list[dict[str, Any]] = []

    def note(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        row = {"layer": words[type(module)], "kernel": None, "gives": None}
        if isinstance(module, nn.Conv2d):
            row["kernel"] = f"{module.kernel_size[0]} x {module.kernel_size[0]} / {module.stride[0]}"
        elif isinstance(module, nn.MaxPool2d):
            row["kernel"] = f"{module.kernel_size} x {module.kernel_size} / {module.stride}"
        row["gives"] = " x ".join(map(str, [*output.shape[2:], output.shape[1]]))
        weights = parameters(module)
        places = output[0, 0].numel() if output.ndim == 4 else 1
        matrix = module.weight.numel() if isinstance(module, nn.Conv2d | nn.Linear) else 0
        rows.append({**row, "parameters": weights or None, "M multiply-adds": matrix * places / 1e6 or None})

    handles = [module.register_forward_hook(note) for module in stage.modules() if type(module) in words]
    with torch.no_grad():
        stage(torch.empty(1, 3, view, view, device=next(stage.parameters()).device))
    for handle in handles:
        handle.remove()
    return rows


def sides(view: int, padding: tuple[int, int], round_up: bool, kernel: int = 11, stride: int = 4) -> list[int]:
    """Sides of the maps after the first convolution and after three poolings of 3 x 3 / 2, by arithmetic."""
    found = [(view + sum(padding) - kernel) // stride + 1]
    for _ in range(3):
        steps = found[-1] - 3
        found.append((-(-steps // 2) if round_up else steps // 2) + 1)
    return found


# --- part templates: what one could do before -------------------------------------------------------------------------


def orientations(images: Tensor) -> Tensor:
    """Histograms of gradient orientations: images (B, 3, H, W) -> (B, 8, H / CELL, W / CELL), of about equal energy."""
    grey = F.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    dx = (grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2])[:, 0]
    dy = (grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1])[:, 0]
    which = (torch.atan2(dy, dx).remainder(torch.pi) / torch.pi * 8).long().clamp(max=7)
    votes = F.one_hot(which, 8).permute(0, 3, 1, 2) * torch.hypot(dx, dy)[:, None]
    cells = F.avg_pool2d(votes, CELL)
    energy = F.avg_pool2d(cells.square().sum(1, keepdim=True), 3, 1, 1, count_include_pad=False)
    return cells / (energy + 1e-3).sqrt()


class Templates:
    """One linear template a joint on 7 x 7 cells of oriented gradients. The place where it fits best is the answer."""

    def __init__(self, batch: Batch, window: int = 7) -> None:
        self.window, self.skeleton = window, batch.skeleton
        looks = self._looks(batch.images)  # (B, places, D)
        size = (batch.size[0] // CELL, batch.size[1] // CELL)
        wanted = heatmaps.gaussian(batch.joints / CELL, size, 0.8).flatten(2).transpose(1, 2)  # (B, places, K)
        x, y = looks.flatten(0, 1), wanted.flatten(0, 1)
        square = (x.T @ x).double() + 10.0 * torch.eye(x.shape[1], dtype=torch.float64)
        self.weights = torch.linalg.solve(square, (x.T @ y).double()).float()  # (D, K), ridge regression

    def _looks(self, images: Tensor) -> Tensor:
        found = F.unfold(orientations(images), self.window, padding=self.window // 2).transpose(1, 2)
        return torch.cat([found, torch.ones_like(found[..., :1])], dim=-1)

    def maps(self, images: Tensor) -> Tensor:
        """How well every template fits everywhere: (B, K, h, w)."""
        fit = (self._looks(images) @ self.weights).transpose(1, 2)
        return fit.unflatten(2, (images.shape[-2] // CELL, images.shape[-1] // CELL))

    def joints(self, images: Tensor) -> Tensor:
        """Where they fit best: (B, K, 2) in pixels."""
        return heatmaps.read_out(self.maps(images), "argmax")[0] * CELL


def as_batch(scenes: Sequence[Scene]) -> Batch:
    """The first person of every scene, with the whole scene as the crop."""
    first = [scene.people[0] for scene in scenes]
    joints, visible = (torch.stack([getattr(person, name) for person in first]) for name in ("joints", "visible"))
    return Batch(torch.stack([scene.image for scene in scenes]), joints, visible, first[0].skeleton)


def one_joint_each(batch: Batch) -> Tensor:
    """(B,) a visible joint of everybody, every joint about as often as any other."""
    turn = (5 * torch.arange(len(batch)))[:, None] + torch.arange(len(batch.skeleton))
    order = turn % len(batch.skeleton)
    seen = batch.visible.gather(1, order) == VISIBLE
    return order.gather(1, seen.float().argmax(1, keepdim=True))[:, 0]


def cover(images: Tensor, points: Tensor, side: float) -> Tensor:
    """Images (B, 3, H, W) with a grey square about one point (B, 2) of each."""
    rows, columns = (torch.arange(length) + 0.5 for length in images.shape[-2:])
    inside = (rows - points[:, 1:]).abs()[:, None, :, None] <= side / 2
    return torch.where(inside & ((columns - points[:, :1]).abs()[:, None, None, :] <= side / 2), GREY, images)


def found_at(joints: Tensor, batch: Batch, chosen: Tensor) -> Tensor:
    """(B,) which people's chosen joint was found, by PCK@0.2."""
    marks = metrics.pck(joints, batch.joints, batch.visible, batch.skeleton)
    return marks.right.gather(1, chosen[:, None])[:, 0]


# --- what it answers --------------------------------------------------------------------------------------------------


@dataclass
class Answers:
    """What every stage said about N scenes of one size, computed once; everything else in the lesson reads it."""

    model: DeepPose
    scenes: list[Scene]
    crops: Tensor  # (N, 3, *input_size)
    cascade: Cascade  # answers (S, N, K, 2), boxes (S, N, K, 4) in the crops' pixels
    matrices: Tensor = field(repr=False)  # (N, 2, 3) scene -> crop

    @classmethod
    def of(
        cls,
        model: DeepPose,
        scenes: list[Scene],
        boxes: Tensor | None = None,
        detail: float | None = None,
        first_only: bool = False,
        batch: int = 25,
    ) -> Answers:
        """Asks about scenes whose whole picture is the box, or a box each (N, 4).

        detail: None cuts the later stages' boxes out of the scene itself; a number cuts them out of the crop, which
        is made so many times smaller and large again. first_only leaves the later stages, which cost most, out.
        """
        pictures = torch.stack([scene.image for scene in scenes])
        if boxes is None:
            boxes = pictures.new_tensor([0.0, 0.0, pictures.shape[-1], pictures.shape[-2]]).expand(len(scenes), 4)
        matrices = geometry.crop_matrix(boxes, model.input_size, 1.0)
        crops = geometry.warp(pictures, matrices, model.input_size)
        sources, maps = pictures, matrices  # where the later stages' boxes are cut out
        if detail is not None:
            small = F.interpolate(crops, scale_factor=1 / detail, mode="area")
            sources = F.interpolate(small, size=model.input_size, mode="bilinear")
            maps = torch.eye(2, 3).expand_as(matrices)
        parts = []
        with torch.inference_mode():
            for some in torch.arange(len(scenes)).split(batch):
                if first_only:
                    said = model.stages[0](model.whole_view(crops[some]))
                    parts.append(Cascade(said[None], model.whole_box(crops).expand(1, *said.shape[:2], 4)))
                else:
                    parts.append(model.look(crops[some], list(sources[some]), maps[some]))
        joined = Cascade(*(torch.cat(values, dim=1) for values in zip(*parts, strict=True)))
        return cls(model, scenes, crops, joined, matrices)

    @property
    def stages(self) -> int:
        return len(self.cascade.answers)

    @cached_property
    def people(self) -> list[Person]:
        return [scene.people[0] for scene in self.scenes]

    @cached_property
    def joints(self) -> Tensor:
        """y^s (S, N, K, 2) in the scenes' pixels."""
        return geometry.apply(geometry.invert(self.matrices), self.cascade.joints)

    @cached_property
    def truth(self) -> Tensor:
        """(N, K, 2) in the scenes' pixels."""
        return torch.stack([person.joints for person in self.people])

    @cached_property
    def true_crop_joints(self) -> Tensor:
        """(N, K, 2) in the crops' pixels."""
        return geometry.apply(self.matrices, self.truth)

    @cached_property
    def visible(self) -> Tensor:
        return torch.stack([person.visible for person in self.people])

    @cached_property
    def torso(self) -> Tensor:
        """(N,) pixels of the scenes; 0 where it is not known."""
        return metrics.reference_size(self.truth, self.visible, self.model.skeleton).float()

    @cached_property
    def errors(self) -> Tensor:
        """Distances (S, N, K) in torsos."""
        return (self.joints - self.truth).norm(dim=-1) / self.torso.clamp(min=1e-6)[:, None]

    @cached_property
    def scored(self) -> Tensor:
        return (self.visible > 0) & (self.torso > 0)[:, None]

    def views(self, *names: str) -> Tensor:
        """(N,) people seen from one of these sides."""
        return torch.tensor([scene.meta["view"] in names for scene in self.scenes])

    def poses(self, stage: int = -1) -> list[Pose]:
        ones = torch.ones(len(self.model.skeleton))
        return [Pose(joints, ones, self.model.skeleton) for joints in self.joints[stage]]

    def marks(self, stage: int = -1, alpha: float = 0.2) -> Marks:
        return evaluate.pck_marks(self.poses(stage), self.people, alpha)

    def share(self, stage: int, mask: Tensor, alpha: float = 0.2) -> float:
        """PCK over the joints of a mask that broadcasts to (N, K)."""
        chosen = self.scored & mask
        return float((self.errors[stage][chosen] <= alpha).float().mean())

    def best(self) -> int:
        """Whom the last stage answers best, of people with all joints labelled that the first stage found in part."""
        whole = self.scored.all(1) & ((self.errors[0] <= 0.2).sum(1) < self.scored.shape[1] - 2)
        return int(torch.where(whole, -self.errors[-1].clamp(max=1).mean(1), -torch.inf).argmax())

    def most_improved(self, count: int) -> list[int]:
        """People of whom the last stage finds the most joints that the first one missed, net of joints lost."""
        first, last = ((self.errors[s] <= 0.2) & self.scored for s in (0, -1))
        gain = last.sum(1) - first.sum(1) + 0.01 * last.sum(1)  # of equal gains, the better final pose
        return gain.argsort(descending=True, stable=True)[:count].tolist()


def row(poses: Sequence[Pose], people: Sequence[Person]) -> dict[str, float]:
    """One line of the lesson's table."""
    scores = metrics.single_person(poses, people)
    low, high = evaluate.interval(evaluate.pck_marks(poses, people))
    return {"PDJ@0.1": scores["pck@0.1"], "PDJ@0.2": scores["pck@0.2"], "low": low, "high": high} | {
        "error, px": scores["mean_error"]
    }


def limb_row(poses: Sequence[Pose], people: Sequence[Person], rule: str = "strict") -> dict[str, float]:
    """PCP@0.5 of the four kinds of limbs, and their mean, as the paper's Table 1 has them."""
    joints, true = (torch.stack([one.joints for one in ones]) for ones in (poses, people))
    visible = torch.stack([person.visible for person in people])
    each = metrics.pcp(joints, true, visible, people[0].skeleton, rule=rule).per_name
    found = {word: (each[f"left_{name}"] + each[f"right_{name}"]) / 2 for word, name in LIMBS.items()}
    return found | {"average": sum(found.values()) / len(found)}


def gain(before: Answers, after: Answers, stages: tuple[int, int], alpha: float) -> tuple[float, float, float]:
    """How much PDJ grew from one answer to another of the same people, and the 95 % interval over people."""
    one, other = before.marks(stages[0], alpha), after.marks(stages[1], alpha)
    return other.mean - one.mean, *evaluate.paired_interval(other, one)


def idle_costs(model: DeepPose, batch: Batch, seed: int = 0) -> tuple[float, float]:
    """What it costs stage 1 to answer everybody with the mean pose, and stage 2 never to move a joint."""
    labelled = (batch.visible > 0)[..., None]
    mean = ((batch.joints * labelled).sum(0) / labelled.sum(0).clamp(min=1)).expand_as(batch.joints)
    first = losses.coordinate_l2(*(part / model.input_size[0] for part in (mean, batch.joints)), batch.visible)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, boxes, joints, known = model.simulate(batch, 1)
    target = geometry.normalise(joints[..., None, :], boxes)[..., 0, :]
    return float(first), float(losses.coordinate_l2(torch.zeros_like(target), target, known))


# --- left and right ---------------------------------------------------------------------------------------------------


def nearer_when_swapped(answers: Answers, stage: int) -> Tensor:
    """(N,) is the answer with left and right exchanged nearer to the truth? Over joints that have a partner."""
    skeleton = answers.model.skeleton
    swaps = torch.tensor(skeleton.swaps)
    sided = (swaps != torch.arange(len(swaps))) & answers.scored & answers.scored[:, swaps]
    own = (answers.joints[stage] - answers.truth).norm(dim=-1)
    other = (answers.joints[stage][:, swaps] - answers.truth).norm(dim=-1)
    return torch.where(sided, other - own, 0.0).sum(1) < 0


def signed_width(joints: Tensor, answers: Answers, part: str = "shoulder") -> tuple[Tensor, Tensor]:
    """How wide the answer has the shoulders: 1 as in truth, 0 both in one place, -1 exchanged; and (N,) who counts.

    People who were answered (not NaN), and whose true width is at least a third of their torso: from the side there is
    no width.
    """
    left, right = (answers.model.skeleton.index(f"{side}_{part}") for side in ("left", "right"))
    true = answers.truth[:, left] - answers.truth[:, right]
    said = joints[:, left] - joints[:, right]
    usable = answers.scored[:, left] & answers.scored[:, right] & (true.norm(dim=-1) > answers.torso / 3)
    usable = usable & said.isfinite().all(-1)
    return (said * true).sum(-1) / true.square().sum(-1).clamp(min=1e-6), usable


# --- boxes ------------------------------------------------------------------------------------------------------------


def trade_off(answers: Answers, sigmas: Sequence[float]) -> list[dict[str, float]]:
    """For several sigmas: how much a box around stage 1's joint magnifies, and how often it holds the joint at all."""
    crop, true = answers.cascade.joints[0], answers.true_crop_joints
    a, b = (answers.model.skeleton.index(name) for name in answers.model.skeleton.torso)
    rows = []
    for sigma in sigmas:
        side = sigma * (crop[:, a] - crop[:, b]).norm(dim=-1).clamp(min=0.1 * answers.model.input_size[0])  # (N,)
        inside = ((crop - true).abs().amax(-1) <= side[:, None] / 2)[answers.scored].float()
        zoom = float((answers.model.input_size[0] / side).median())
        rows.append({"sigma": sigma, "times as large as in stage 1": zoom, "joint lies inside": float(inside.mean())})
    return rows


def shifted_boxes(scenes: Sequence[Scene], share: float, seed: int = 0) -> Tensor:
    """The whole picture as a box, moved by up to this share of its sides, each way at random: (N, 4)."""
    height, width = scenes[0].size
    box = torch.tensor([0.0, 0.0, width, height])
    way = 2 * torch.rand(len(scenes), 2, generator=torch.Generator().manual_seed(seed)) - 1
    move = share * way * torch.tensor([float(width), float(height)])
    return box + move.repeat(1, 2)


def torso_shares(answers: Answers) -> Tensor:
    """(S,) the median length of the answered torso diagonal, true = 1: the ruler of the next stage's boxes."""
    a, b = (answers.model.skeleton.index(name) for name in answers.model.skeleton.torso)
    said = (answers.joints[:, :, a] - answers.joints[:, :, b]).norm(dim=-1)
    known = answers.torso > 0
    return (said[:, known] / answers.torso[known]).median(1).values


# --- what an answer depends on ----------------------------------------------------------------------------------------


def influence(model: DeepPose, crops: Tensor, joint: int, blur: int = 7) -> Tensor:
    """How strongly stage 1's answer for one joint depends on every pixel: (B, H, W), smoothed, strongest = 1."""
    crops = crops.clone().requires_grad_()
    model.stages[0](model.whole_view(crops))[:, joint].sum().backward()
    strength = F.avg_pool2d(crops.grad.abs().sum(1, keepdim=True), blur, 1, blur // 2)[:, 0]
    return strength / strength.amax((1, 2), keepdim=True)


def share_near(strength: Tensor, points: Tensor, radius: float) -> float:
    """Which share of maps (N, H, W) lies within a radius of points (N, 2), the mean over maps."""
    rows, columns = (torch.arange(length) + 0.5 for length in strength.shape[-2:])
    away = torch.hypot((columns - points[:, :1])[:, None, :], (rows - points[:, 1:])[:, :, None])
    return float(((strength * (away <= radius)).sum((1, 2)) / strength.sum((1, 2))).mean())


def breakdown(answers: Answers, stages: Sequence[int] = (0, -1)) -> dict[str, list[Any]]:
    """How many joints of a kind there are, and the share of them that some stages find."""
    alone = torch.tensor([len(scene.people) == 1 for scene in answers.scenes])[:, None]
    kinds = {"visible joints": answers.visible == VISIBLE, "hidden joints": answers.visible == HIDDEN}
    kinds |= {"alone in the picture": alone, "with other people": ~alone}
    kinds |= {f"seen from the {view}": answers.views(view)[:, None] for view in ("front", "side", "back")}
    return {
        name: [int((answers.scored & mask).sum()), *(answers.share(stage, mask) for stage in stages)]
        for name, mask in kinds.items()
    }
