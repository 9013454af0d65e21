"""What lesson 12 measures on covered people: who is found and who is guessed, and whether a pose can be a body's.

A joint is found if it lies within 0.2 torsos (left shoulder to right hip of the *true* pose) of its true place. Counts
are kept person by person, one hexadecimal digit each, so that two networks can be compared in pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from course_lib import metrics
from course_lib.errors import CourseError
from course_lib.metrics.pck import reference_size
from course_lib.pose import HIDDEN, VISIBLE, Batch
from course_lib.skeletons import Skeleton
from course_lib.training.evaluate import middle

HEAVILY = 1 / 3  # a person is heavily covered if at least so many of the labelled joints are hidden
PARTS = ("all", "visible", "hidden")
COLLAPSED, APART = 0.1, 0.3  # torsos: a pair's two answers nearer than the first, its true joints beyond the second
TAIL = 0.01  # a limb is possible between this quantile of true people and its mirror image


def hidden_share(visible: Tensor) -> Tensor:
    """The share (N,) of the labelled joints of visible (N, K) that are hidden; 0 where nothing is labelled."""
    return (visible == HIDDEN).sum(-1) / (visible > 0).sum(-1).clamp(min=1)


def heavily_covered(batch: Batch, least: float = HEAVILY) -> Batch:
    """Those people of a batch of whom at least this share of the labelled joints is hidden."""
    return batch[(hidden_share(batch.visible) >= least).nonzero()[:, 0]]


# --- who is found -----------------------------------------------------------------------------------------------------


def asked(visible: Tensor, part: str) -> Tensor:
    """Which joints (N, K) of a part count: "all", "visible" or "hidden" ones."""
    if part not in PARTS:
        raise CourseError(f"a part of the joints is one of {', '.join(PARTS)}; got '{part}'")
    return visible > 0 if part == "all" else visible == (VISIBLE if part == "visible" else HIDDEN)


def counts(joints: Tensor, batch: Batch, part: str) -> tuple[list[int], list[int]]:
    """How many joints of every person were found, and asked for: estimated joints (N, K, 2), one pose a person."""
    marks = metrics.pck(joints, batch.joints, batch.visible, batch.skeleton)
    which = asked(batch.visible.cpu(), part)
    return (marks.right & which).sum(1).tolist(), (marks.scored & which).sum(1).tolist()


def packed(numbers: Sequence[int]) -> str:
    """One digit a person: nobody has more than fifteen joints here."""
    return "".join(f"{number:x}" for number in numbers)


def unpacked(digits: str) -> Tensor:
    """(N,) float64."""
    return torch.tensor([int(digit, 16) for digit in digits], dtype=torch.float64)


def share(found: str, all_of_them: str) -> float | None:
    """The share of joints found, of people whose counts are packed."""
    total = unpacked(all_of_them).sum()
    return float(unpacked(found).sum() / total) if total else None


def paired(
    ones: Sequence[str], others: Sequence[str], all_of_them: str, samples: int = 2000, seed: int = 0
) -> dict[str, float]:
    """By how many points the runs `ones` find more than `others`, each shown the same people; their mean, and the
    bootstrap's 95 % interval: people are drawn with replacement, the same for all runs."""
    apart = torch.stack([unpacked(a) - unpacked(b) for a, b in zip(ones, others, strict=True)]).mean(0)
    total = unpacked(all_of_them)
    drawn = torch.randint(len(total), (samples, len(total)), generator=torch.Generator().manual_seed(seed))
    values = apart[drawn].sum(1) / total[drawn].sum(1).clamp(min=1)
    low, high = middle(values, 0.95)
    return {"points": 100 * float(apart.sum() / total.sum()), "low": 100 * low, "high": 100 * high}


# --- whether it can be a body -----------------------------------------------------------------------------------------


def limb_lengths(joints: Tensor, torso: Tensor, skeleton: Skeleton) -> Tensor:
    """The lengths (N, L) of all limbs of joints (N, K, 2), in true torsos (N,)."""
    ends = torch.tensor(skeleton.limbs)
    return (joints[:, ends[:, 0]] - joints[:, ends[:, 1]]).norm(dim=-1) / torso[:, None]


def possible_limbs(people: Batch, tail: float = TAIL) -> Tensor:
    """Between which lengths (2, L), in torsos, true people's limbs lie, but for this share at either end."""
    torso = reference_size(people.joints, people.visible, people.skeleton)
    whole = torso > 0
    lengths = limb_lengths(people.joints[whole].double(), torso[whole], people.skeleton)
    ends = torch.tensor(people.skeleton.limbs)
    labelled = (people.visible[whole][:, ends] > 0).all(-1)
    limits = [
        torch.quantile(one[known], one.new_tensor([tail, 1 - tail]))
        for one, known in zip(lengths.T, labelled.T, strict=True)
    ]
    return torch.stack(limits, 1)


def pairs_of(skeleton: Skeleton) -> Tensor:
    """(P, 2): the joints that have a partner on the other side."""
    return torch.tensor([(k, other) for k, other in enumerate(skeleton.swaps) if k < other])


def plausibility(joints: Tensor, batch: Batch, limits: Tensor) -> dict[str, float]:
    """Shares of answers that cannot be right for a reason that needs no look at the picture.

    "limbs": too short or too long for a body of this torso. "collapsed": a left and a right joint answered in one
    place, though the true ones lie apart. "swapped": each of the two answered where the other one is.
    """
    torso = reference_size(batch.joints, batch.visible, batch.skeleton)
    whole = torso > 0
    torso, joints, true = torso[whole], joints[whole].double(), batch.joints[whole].double()
    lengths = limb_lengths(joints, torso, batch.skeleton)
    outside = (lengths < limits[0]) | (lengths > limits[1])
    pairs = pairs_of(batch.skeleton)
    known = (batch.visible[whole][:, pairs] > 0).all(-1)  # (N, P)
    mine, theirs = joints[:, pairs], true[:, pairs]  # (N, P, 2 sides, 2)
    far = known & ((theirs[:, :, 0] - theirs[:, :, 1]).norm(dim=-1) / torso[:, None] > APART)
    one_place = (mine[:, :, 0] - mine[:, :, 1]).norm(dim=-1) / torso[:, None] < COLLAPSED
    crossed = ((mine - theirs.flip(2)).norm(dim=-1) / torso[:, None, None] <= 0.2).all(-1)
    total = far.sum().clamp(min=1)
    return {
        "limbs": float(outside.double().mean()),
        "people": float(outside.any(1).double().mean()),
        "collapsed": float((one_place & far).sum() / total),
        "swapped": float((crossed & far).sum() / total),
    }


# --- whether it knows what it cannot see ------------------------------------------------------------------------------


def ranking(scores: Tensor, hidden: Tensor) -> dict[str, float | None]:
    """How well scores (M,) rank the hidden (M,) bool above the visible ones.

    "auc": the chance that a hidden joint has a higher score than a visible one, 0.5 by chance. "ap": average precision,
    by chance the share of hidden ones. Equal scores count half, and stand in the order given.
    """
    hidden = hidden.bool()
    yes, no = int(hidden.sum()), int((~hidden).sum())
    if not yes or not no:
        return {"auc": None, "ap": None}
    scores = scores.double()
    above = torch.searchsorted(scores[~hidden].sort().values, scores[hidden])
    not_below = torch.searchsorted(scores[~hidden].sort().values, scores[hidden], right=True)
    auc = float((above + not_below).double().mean() / (2 * no))
    right = hidden[scores.argsort(descending=True, stable=True)].double()
    precision = right.cumsum(0) / torch.arange(1, len(right) + 1)
    return {"auc": auc, "ap": float((precision * right).sum() / yes)}


# --- a network on covered people --------------------------------------------------------------------------------------


@torch.inference_mode()
def answers(model: Any, images: Tensor, at_once: int = 100) -> tuple[Tensor, Tensor, Tensor | None]:
    """Joints (N, K, 2), peaks of the pose maps (N, K) and of the occlusion maps (N, K), or None for a network without
    any, of crops (N, 3, H, W) in the network's own size."""
    joints, peaks, hidden = [], [], []
    for part in images.split(at_once):
        outputs = model(part)
        poses = [pose for (pose,) in model.decode(outputs)]
        joints.append(torch.stack([pose.joints for pose in poses]))
        peaks.append(torch.stack([pose.scores for pose in poses]))
        if hasattr(outputs, "hidden"):
            hidden.append(outputs.hidden[-1].float().amax((-2, -1)).cpu())
    return torch.cat(joints), torch.cat(peaks), torch.cat(hidden) if hidden else None


def measured(model: Any, batch: Batch, limits: Tensor) -> dict[str, Any]:
    """Everything the study keeps of a network on covered people."""
    joints, peaks, hidden = answers(model, batch.images)
    found = {part: counts(joints, batch, part) for part in PARTS}
    row: dict[str, Any] = {"pck@0.2": {part: _share(*found[part]) for part in PARTS}}
    row["found"] = {part: packed(found[part][0]) for part in ("visible", "hidden")}
    row["implausible"] = rounded(plausibility(joints, batch, limits))
    known = batch.visible > 0
    is_hidden = batch.visible[known] == HIDDEN
    if hidden is not None:
        row["occlusion maps"] = rounded(ranking(hidden[known], is_hidden))
    row["low pose peaks"] = rounded(ranking(-peaks[known], is_hidden))
    return row


def _share(found: Sequence[int], all_of_them: Sequence[int]) -> float:
    return round(sum(found) / max(sum(all_of_them), 1), 4)


def rounded(values: dict[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 4) for name, value in values.items()}
