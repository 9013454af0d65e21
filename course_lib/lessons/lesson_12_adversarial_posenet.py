"""What lesson 12 measures live: the price of an honest doubt, odd losses, whom a loss reaches, and broken poses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.datasets import synthetic
from course_lib.lessons import lesson_12_measures as measures
from course_lib.lessons import lesson_12_study as study
from course_lib.metrics.pck import reference_size
from course_lib.models.adversarial import AdversarialPoseNet, Answer, confidence_labels, pose_labels
from course_lib.pose import Batch
from course_lib.skeletons import Skeleton
from course_lib.targets import heatmaps

# --- the problem ------------------------------------------------------------------------------------------------------


@dataclass
class Covered:
    """Heavily covered people, how long their limbs may be, and what networks answered."""

    people: Batch
    limits: Tensor  # (2, L) torsos
    joints: dict[str, Tensor]  # network -> (N, K, 2)

    @classmethod
    def of(cls, networks: dict[str, Any], looked_through: int = 150) -> Covered:
        people = study.shipped_people(looked_through)
        limits = study.limits(synthetic.Settings(**study.SHIPPED_WORLD), 600)
        joints = {name: measures.answers(network, people.images)[0] for name, network in networks.items()}
        return cls(people, limits, joints)

    def rows(self) -> dict[str, dict[str, float]]:
        """PCK@0.2 of visible and hidden joints and shares of impossible answers, of every network and of the truth."""
        answers = {**self.joints, "the truth": self.people.joints}
        rows = {}
        for name, joints in answers.items():
            row = {}
            for part in ("visible", "hidden"):
                found, asked = measures.counts(joints, self.people, part)
                row[f"{part} joints found"] = sum(found) / max(sum(asked), 1)
            odd = measures.plausibility(joints, self.people, self.limits)
            rows[name] = row | {"limbs impossible": odd["limbs"], "pairs in one place": odd["collapsed"]}
        return rows

    def odd(self, name: str) -> Tensor:
        """For every person (N,), what is impossible about a network's pose: limbs and collapsed pairs, counted."""
        torso = reference_size(self.people.joints, self.people.visible, self.people.skeleton)
        joints, true = self.joints[name].double(), self.people.joints.double()
        unit = torch.where(torso > 0, torso, math.inf)
        lengths = measures.limb_lengths(joints, unit, self.people.skeleton)
        outside = ((lengths < self.limits[0]) | (lengths > self.limits[1])).sum(1)
        pairs = measures.pairs_of(self.people.skeleton)
        mine, theirs = (
            (one[:, pairs[:, 0]] - one[:, pairs[:, 1]]).norm(dim=-1) / unit[:, None] for one in (joints, true)
        )
        return torch.where(torso > 0, outside + ((mine < measures.COLLAPSED) & (theirs > measures.APART)).sum(1), 0)

    def oddest(self, name: str, count: int = 4) -> list[int]:
        """Whose poses are the most impossible ones."""
        return self.odd(name).argsort(descending=True, stable=True)[:count].tolist()


def hedges(chance: float = 0.5, apart: float = 10.0, cells: int = 24, sigma: float = 1.0) -> dict[str, dict[str, Any]]:
    """A joint is at A with this chance, else at B. What answers cost on average, in errors of an all-zero answer."""
    places = torch.tensor([[cells / 2 - apart / 2, cells / 2], [cells / 2 + apart / 2, cells / 2]])
    here, there = heatmaps.gaussian(places, (cells, cells), sigma)
    nothing = heatmaps.zero_level((cells, cells), sigma)
    answers = {
        "nothing": torch.zeros_like(here),
        "one bell, at A": here,
        "two bells, each as high as its chance": chance * here + (1 - chance) * there,
    }
    rows = {}
    for name, answer in answers.items():
        costs = [float((answer - truth).square().mean() / nothing) for truth in (here, there)]
        rows[name] = {"map": answer, "if at A": costs[0], "if at B": costs[1]}
        rows[name]["on average"] = chance * costs[0] + (1 - chance) * costs[1]
    return rows


# --- losses and weights -----------------------------------------------------------------------------------------------


def judges_losses(scores: Tensor) -> dict[str, dict[int, Tensor]]:
    """What a judge pays for a score D of a made joint with label 0 or 1, by three readings; infinite values are cut."""
    small = 1e-3
    return {
        "as printed: -log(1 - (D - label))": {y: -torch.log((1 - (scores - y)).clamp(min=small)) for y in (0, 1)},
        "with |D - label|": {y: -torch.log((1 - (scores - y).abs()).clamp(min=small)) for y in (0, 1)},
        "cross-entropy": {
            y: F.binary_cross_entropy(scores.clamp(small, 1 - small), torch.full_like(scores, y), reduction="none")
            for y in (0, 1)
        },
    }


def loudness(beta: float = 1 / 180, cells: int = 64 * 64, sigma: float = 1.0) -> dict[str, list[float]]:
    """For ways to count the squared error of a map: what an all-zero answer costs, the weight that keeps beta's place
    beside it, and how many times too loud 1/180 would be there."""
    half_sum = math.pi * sigma**2 / 2  # half of the sum over cells of a squared bell
    ways = {
        "half the sum over cells (the paper)": half_sum,
        "in all-zero answers (the course)": 1.0,
        "mean over the cells of 64 x 64": 2 * half_sum / cells,
    }
    return {name: [cost, beta * cost / half_sum, half_sum / cost] for name, cost in ways.items()}


# --- whom a loss reaches ----------------------------------------------------------------------------------------------


def reaches(model: AdversarialPoseNet, batch: Batch) -> dict[str, dict[str, float | None]]:
    """How long the gradient of every term is in the weights of generator and judges; None where nothing arrives."""
    terms = model.training_loss(batch, 1.0)
    outputs = model(batch.images)
    still = Answer(outputs.maps[-1].detach(), outputs.hidden[-1].detach())
    picture = F.avg_pool2d(batch.images, model.stride)
    cut_off = model._judged("pose", still, picture, held_still=True)
    told = {
        "maps: squared error": terms["maps"],
        "hidden: squared error": terms["hidden"],
        "P, true maps": terms["pose_real"],
        "P, made maps": terms["pose_fake"],
        "C, true maps": terms["confidence_real"],
        "C, made maps": terms["confidence_fake"],
        "to convince P": terms["pose_adversarial"],
        "to convince C": terms["confidence_adversarial"],
        "to convince P, maps detached": F.softplus(-cut_off).mean(),
    }
    parts = {"generator": model.generator, "P": model.pose_judge, "C": model.confidence_judge}
    return {name: {who: _length(term, part) for who, part in parts.items()} for name, term in told.items()}


def _length(term: Tensor, module: nn.Module) -> float | None:
    if not term.requires_grad:
        return None
    own = list(module.parameters())
    found = [one for one in torch.autograd.grad(term, own, retain_graph=True, allow_unused=True) if one is not None]
    return math.sqrt(sum(float(one.square().sum()) for one in found)) if found else None


# --- labels -----------------------------------------------------------------------------------------------------------


@dataclass
class Made:
    """What a network made of people, as the labels see it."""

    people: Batch
    joints: Tensor  # (N, K, 2), the centres of the highest cells
    maps: Tensor  # (N, K, h, w)
    truth: Tensor  # (N, K, h, w)
    nothing: float  # an all-zero answer's sum of squares

    @classmethod
    @torch.inference_mode()
    def of(cls, model: Any, people: Batch) -> Made:
        outputs = model(people.images)
        maps = (outputs.maps if isinstance(outputs, Answer) else outputs)[-1]
        joints = heatmaps.argmax(maps)[0] * model.stride
        truth = model.targets(people, maps.shape[-2:])
        return cls(people, joints, maps, truth, heatmaps.zero_level((1, 1), model.sigma))

    def labels(self, delta: float, epsilon: float) -> tuple[Tensor, Tensor]:
        """P's and C's (N, K)."""
        people = self.people
        of_p = pose_labels(self.joints, people.joints, people.visible, people.skeleton, delta)
        return of_p, confidence_labels(self.maps, self.truth, epsilon * self.nothing)

    def map_errors(self) -> Tensor:
        """Squared distances (N, K) of made and true maps, in all-zero answers."""
        return (self.maps - self.truth).square().sum((-2, -1)) / self.nothing


def half_right(made: Made, delta: float = 0.2, epsilon: float = 0.5) -> int:
    """Somebody of whose joints about half get a one, and whose two judges' labels differ as often as can be."""
    known = made.people.visible > 0
    of_p, of_c = made.labels(delta, epsilon)
    share = (of_p * known).sum(1) / known.sum(1).clamp(min=1)
    differ = ((of_p != of_c) & known).sum(1)
    return int((differ - 10 * (share - 0.5).abs()).argmax())


# --- broken poses -----------------------------------------------------------------------------------------------------

AS_THEY_ARE, LEGS, ARM, TWO, FLAT, OTHER = (
    "as they are",
    "legs swapped",
    "an arm moved away",
    "a map with two peaks",
    "a flat, wide bell",
    "another person's maps",
)
MOVED = 7  # cells an arm is moved by; what leaves the map enters on the other side


def broken(shown: Answer, skeleton: Skeleton) -> dict[str, tuple[Answer, list[int]]]:
    """One stack's maps (B, K, h, w), each broken in one way; and the numbers of the joints that are wrong now.

    Bells stay bells, but for the right wrist's in two of the ways: half of it moves to the opposite place, or it is
    blurred to a third of its height.
    """
    legs = [skeleton.index(f"{side}_{part}") for side in ("right", "left") for part in ("hip", "knee", "ankle")]
    arm, wrist = [skeleton.index("right_elbow"), skeleton.index("right_wrist")], [skeleton.index("right_wrist")]
    crossed = list(range(len(skeleton)))
    for one, other in zip(legs, legs[3:] + legs[:3], strict=True):
        crossed[one] = other
    moved = Answer(*(_with(part, arm, part[:, arm].roll(MOVED, -1)) for part in shown))
    own = shown.maps[:, wrist]
    wide = F.avg_pool2d(F.avg_pool2d(own, 3, 1, 1), 3, 1, 1)
    wide = wide * own.amax((-2, -1), keepdim=True) / (3 * wide.amax((-2, -1), keepdim=True)).clamp(min=1e-6)
    return {
        AS_THEY_ARE: (shown, []),
        LEGS: (Answer(*(part[:, crossed] for part in shown)), legs),
        ARM: (moved, arm),
        TWO: (Answer(_with(shown.maps, wrist, (own + own.flip(-2, -1)) / 2), shown.hidden), wrist),
        FLAT: (Answer(_with(shown.maps, wrist, wide), shown.hidden), wrist),
        OTHER: (Answer(*(part.roll(1, 0) for part in shown)), list(range(len(skeleton)))),
    }


def _with(maps: Tensor, joints: list[int], others: Tensor) -> Tensor:
    """The same maps with other ones for some joints."""
    maps = maps.clone()
    maps[:, joints] = others
    return maps


def both_kinds(model: AdversarialPoseNet, people: Batch) -> dict[str, Answer]:
    """The true maps of people, and those that the network made of them in its last stack."""
    made = model(people.images)
    made = Answer(made.maps[-1], made.hidden[-1])
    return {"true maps": model.truth(people, made.maps.shape[-2:]), "made maps": made}


@torch.inference_mode()
def verdicts(model: AdversarialPoseNet, people: Batch) -> dict[str, dict[str, float]]:
    """How real the judges call maps as they are; then, how that changes for the very joints that were broken."""
    labelled, rows = people.visible > 0, {}
    for kind, shown in both_kinds(model, people).items():
        before = model.judge(shown, people.images)
        for name, (worse, wrong) in broken(shown, people.skeleton).items():
            after, which = model.judge(worse, people.images), wrong or list(range(len(people.skeleton)))
            known = labelled[:, which]
            for letter, one, other in zip("PC", after, before, strict=True):
                value = float(one[:, which][known].mean())
                value -= float(other[:, which][known].mean()) if wrong else 0.0
                rows.setdefault(name, {})[f"{letter}, {kind}"] = value
    return rows


@torch.inference_mode()
def what_they_know(model: AdversarialPoseNet, people: Batch) -> dict[str, dict[str, float | None]]:
    """How well made joints that deserve a one are ranked above those that do not: by a judge, and by a map's peak."""
    made, shown = Made.of(model, people), both_kinds(model, people)["made maps"]
    verdict, peaks, known = model.judge(shown, people.images), shown.maps.amax((-2, -1)), people.visible > 0
    rows = {}
    for name, label, said in zip(("P", "C"), made.labels(model.delta, model.epsilon), verdict, strict=True):
        rows[name] = {
            f"{who}": measures.ranking(score[known], label[known] > 0)["auc"]
            for who, score in (("the judge", said), ("the height of the peak", peaks))
        }
    return rows


def everything_seen(people: Batch) -> list[int]:
    """People all of whose joints are labelled, those with the fewest hidden ones first."""
    whole = (people.visible > 0).all(1)
    order = torch.where(whole, measures.hidden_share(people.visible), 2.0).argsort(stable=True)
    return [i for i in order.tolist() if bool(whole[i])]


# --- before and after -------------------------------------------------------------------------------------------------


def changed_most(before: Tensor, after: Tensor, people: Batch, count: int = 4) -> list[int]:
    """Whose poses two networks answer most differently, in torsos, a joint counting for one at most."""
    torso = reference_size(people.joints, people.visible, people.skeleton)
    moved = (before - after).norm(dim=-1) / torch.where(torso > 0, torso, math.inf)[:, None]
    return moved.clamp(max=1.0).sum(1).argsort(descending=True, stable=True)[:count].tolist()


def better_worse(before: Tensor, after: Tensor, people: Batch) -> dict[str, int]:
    """How many joints only one of two networks finds, and how many both or neither."""
    skeleton = people.skeleton
    found = [pose_labels(one, people.joints, people.visible, skeleton, 0.2) > 0 for one in (before, after)]
    known = people.visible > 0
    pairs = {"both": (True, True), "only before": (True, False), "only after": (False, True), "neither": (False, False)}
    return {name: int(((found[0] == one) & (found[1] == other) & known).sum()) for name, (one, other) in pairs.items()}
