"""Lesson 10: one small body with three ways to answer, trained while one waits.

The features are those of the shipped hourglass, which does not learn here; so all three ways see exactly the same. What
differs is what a cell is asked: how near the joint is (a Gaussian), whether and where (a disc with arrows), or which of
all cells it is (a softmax over places).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import models
from course_lib.datasets import synthetic
from course_lib.models.hourglass import StackedHourglass
from course_lib.models.rcnn import keypoint_loss, read_out, target_cells
from course_lib.pose import Batch
from course_lib.targets import heatmaps, hough
from course_lib.targets.hough import Targets

SIDE, STRIDE = 96, 8  # pixels of a crop and of a cell
CELLS = SIDE // STRIDE
RADIUS, SIGMA = 10.0 / STRIDE, 1.0  # of discs and of Gaussians, in cells
GAUSSIAN, DISC, SOFTMAX = "Gaussian", "disc and arrows", "one cell of all"
WAYS = (GAUSSIAN, DISC, SOFTMAX)
TRAIN, TEST = 400, 120  # crops
BATCH, RATE = 32, 4e-3


@dataclass
class Seen:
    """Crops as the hourglass sees them: features (B, C, 24, 24), and whose joints are where in pixels."""

    features: Tensor
    people: Batch

    @classmethod
    @torch.inference_mode()
    def of(cls, network: StackedHourglass, people: Batch) -> Seen:
        """The features before the last maps, and these maps."""
        parts = []
        for images in people.images.split(40):
            maps, features = network.looked_into(images)
            parts.append(torch.cat([features, maps[-1]], dim=1))
        return cls(torch.cat(parts).clone(), people)

    def labelled(self) -> Tensor:
        """Which joints (B, K) are known and lie in the crop."""
        inside = ((self.people.joints > 0) & (self.people.joints < SIDE)).all(-1)
        return inside & (self.people.visible > 0)


def people(train: int = TRAIN, test: int = TEST, seed: int = 0) -> tuple[Seen, Seen]:
    """Crops to learn from, and other ones."""
    network = models.load("hourglass_course")
    size, skeleton = (SIDE, SIDE), network.skeleton
    crops = (synthetic.crops(n, f"lesson 10 {seed} {n}", size, skeleton) for n in (train, test))
    first, second = (Seen.of(network, some) for some in crops)
    return first, second


class ThreeAnswers(nn.Module):
    """Two convolutions that halve the features, and three ways to answer from what they give."""

    def __init__(self, inputs: int, joints: int, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(inputs, width, 3, stride=2, padding=1), nn.GroupNorm(8, width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.ReLU()),
        )
        outputs = {GAUSSIAN: joints, DISC: 3 * joints, SOFTMAX: joints}
        self.heads = nn.ModuleList(nn.Conv2d(width, outputs[way], 1) for way in WAYS)
        for head in self.heads:
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        hidden = self.body(features)  # (B, width, 12, 12)
        answers = dict(zip(WAYS, (head(hidden) for head in self.heads), strict=True))
        joints = answers[GAUSSIAN].shape[1]
        logits, offsets = answers[DISC].split([joints, 2 * joints], dim=1)
        return {**answers, DISC: (logits, offsets.unflatten(1, (joints, 2)))}


def asked(seen: Seen) -> tuple[Tensor, Targets, tuple[Tensor, Tensor]]:
    """What the three ways are asked for: Gaussians, discs, and cells with whether they count."""
    joints, labelled = seen.people.joints / STRIDE, seen.labelled()
    bells = heatmaps.gaussian(joints, (CELLS, CELLS), SIGMA)
    discs = hough.targets(joints[:, None], labelled[:, None], (CELLS, CELLS), RADIUS)
    boxes = joints.new_tensor([0.0, 0.0, CELLS, CELLS]).expand(len(joints), 4)
    return bells, discs, target_cells(torch.cat([joints, labelled[..., None]], -1), boxes, CELLS)


def losses(answers: dict, seen: Seen) -> dict[str, Tensor]:
    """The loss of every way: the Gaussians' in units of an answer of zeros, and two terms of the discs."""
    bells, discs, (cells, counts) = asked(seen)
    weight = seen.labelled()[..., None, None]
    square = ((answers[GAUSSIAN] - bells).square() * weight).sum() / (bells.square() * weight).sum()
    parts = hough.losses(*answers[DISC], discs, STRIDE)
    terms = {GAUSSIAN: square, "disc": parts["heatmaps"], "arrows": parts["offsets"]}
    return {**terms, SOFTMAX: keypoint_loss(answers[SOFTMAX], cells, counts)}


def train(seen: Seen, steps: int, seed: int = 0) -> tuple[ThreeAnswers, dict[str, list[float]]]:
    """The body and all three ways at once, their losses added."""
    torch.manual_seed(seed)
    network = ThreeAnswers(seen.features.shape[1], seen.people.joints.shape[1])
    optimiser = torch.optim.AdamW(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    history: dict[str, list[float]] = {}
    for _ in range(steps):
        rows = torch.randint(len(seen.people), (BATCH,))
        terms = losses(network(seen.features[rows]), Seen(seen.features[rows], seen.people[rows]))
        optimiser.zero_grad()
        # the Gaussians' and arrows' gradients would else be small beside the others' in the body they share
        sum(terms.values()).backward()
        optimiser.step()
        schedule.step()
        for name, term in terms.items():
            history.setdefault(name, []).append(float(term.detach()))
    return network.eval(), history


@torch.inference_mode()
def errors(network: ThreeAnswers, seen: Seen) -> dict[str, Tensor]:
    """Distances in pixels of every labelled joint from where each read-out of each way puts it."""
    answers = network(seen.features)
    bells, (logits, offsets) = answers[GAUSSIAN], answers[DISC]
    heat = logits.sigmoid()
    boxes = torch.tensor([0.0, 0.0, SIDE, SIDE]).expand(len(heat), 4)
    places = {
        "Gaussian: argmax": heatmaps.argmax(bells)[0] * STRIDE,
        "Gaussian: quarter offset": heatmaps.quarter(bells)[0] * STRIDE,
        "Gaussian: DARK": heatmaps.dark(bells, sigma=SIGMA)[0] * STRIDE,
        "disc alone: argmax": heatmaps.argmax(heat)[0] * STRIDE,
        "disc and arrows: votes": hough.decode(heat, offsets, RADIUS)[0] * STRIDE,
        "softmax: argmax": heatmaps.argmax(answers[SOFTMAX])[0] * STRIDE,
        "softmax: enlarged first": read_out(answers[SOFTMAX], boxes)[0],
    }
    there = seen.labelled()
    return {name: (place - seen.people.joints).norm(dim=-1)[there] for name, place in places.items()}


def uniform_level() -> float:
    """What the softmax costs before anything is learned: every cell is equally likely."""
    return float(F.cross_entropy(torch.zeros(1, CELLS**2), torch.tensor([0])))
