"""The judges of Adversarial PoseNet (`adversarial.py`): what they are, and what is asked of them."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.models.hourglass import Hourglass
from course_lib.skeletons import Skeleton

GROUPS = 4  # of a judge's normalisation


class Verdict(NamedTuple):
    """What the judges say of every joint, (B, K) each: logits, or probabilities; None where there is no such judge."""

    pose: Tensor | None
    confidence: Tensor | None


class Judge(nn.Module):
    """A logit for every joint (B, K): what an hourglass sees in `evidence`, heard where the joints' maps are high."""

    def __init__(self, channels: int, joints: int, width: int, depth: int) -> None:
        super().__init__()
        norm = partial(nn.GroupNorm, GROUPS)
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.look = nn.Sequential(Hourglass(width, depth, norm=norm), norm(width), nn.ReLU())
        self.answer = nn.Conv2d(width, joints, 1)

    def forward(self, evidence: Tensor, maps: Tensor) -> Tensor:
        """evidence (B, channels, h, w), maps (B, K, h, w)."""
        said = self.answer(self.look(self.enter(evidence)))
        where = maps.clamp(min=0) + 1 / maps[0, 0].numel()  # an empty map is judged by the whole of what is seen
        return (said * where).sum((-2, -1)) / where.sum((-2, -1))


def pose_labels(estimated: Tensor, true: Tensor, visible: Tensor, skeleton: Skeleton, delta: float) -> Tensor:
    """P's labels of made joints (B, K, 2): 1 where one is less than `delta` torsos from the truth, else 0.

    Unlabelled joints are 0, and all of a person whose torso is not labelled.
    """
    ends = [skeleton.index(name) for name in skeleton.torso]
    torso = (true[:, ends[0]] - true[:, ends[1]]).norm(dim=-1, keepdim=True)  # (B, 1)
    near = (estimated - true).norm(dim=-1) < delta * torso
    known = (visible > 0) & (visible[:, ends] > 0).all(-1, keepdim=True)
    return (near & known).float()


def confidence_labels(maps: Tensor, truth: Tensor, epsilon: float) -> Tensor:
    """C's labels (B, K) of made maps (B, K, h, w): 1 where the squared distance from the truth is below `epsilon`."""
    return ((maps - truth).square().sum((-2, -1)) < epsilon).float()


def cross_entropy(logits: Tensor, label: Tensor, asked: Tensor) -> Tensor:
    """The mean of -log D where the label is 1 and of -log(1 - D) where it is 0, of those asked; D = sigmoid(logit)."""
    each = F.binary_cross_entropy_with_logits(logits.float(), label, reduction="none")
    return (each * asked).sum() / asked.sum().clamp(min=1)
