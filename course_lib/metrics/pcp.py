"""PCP, the percentage of correct parts: a stick is found if its ends are near enough for its own length.

For a stick with ends a, b, true length L and end errors d_a, d_b:

    strict   d_a <= 0.5 L  and  d_b <= 0.5 L        the LSP leaderboard's rule
    loose    (d_a + d_b) / 2 <= 0.5 L               an early toolbox's rule; never gives less, often much more

Traps. Papers say "PCP" for both, and "<" for "<=". A short stick (a forearm that points at the camera, a
head) leaves almost no tolerance, whatever the size of the person: this is what PCK later repaired. A stick of
true length zero (LSP has one) has no tolerance to measure with; here it is not scored.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.errors import unknown_name
from course_lib.metrics.marks import Marks, check_shapes, distances, exact, labelled_joints, within
from course_lib.skeletons import Skeleton, get

RULES = ("strict", "loose")


def stick_names(skeleton: str | Skeleton) -> tuple[str, ...]:
    """Names of the sticks that PCP scores: 'torso' first, then 'right_upper_arm' and so on."""
    return tuple(name for name, _, _ in get(skeleton).sticks())


def sticks(joints: Tensor, labelled: Tensor, skeleton: str | Skeleton) -> tuple[Tensor, Tensor]:
    """Both ends of every stick: ends (..., S, 2, D) from joints (..., K, D), known (..., S) from labelled
    (..., K).

    The torso stick runs from the middle of the hips to the middle of the shoulders; it is there for every
    skeleton that has these four joints.
    """
    ends, known = [], []
    for _, first, second in get(skeleton).sticks():
        ends.append(torch.stack([joints[..., list(index), :].mean(-2) for index in (first, second)], dim=-2))
        known.append(labelled[..., [*first, *second]].all(-1))
    return torch.stack(ends, dim=-3), torch.stack(known, dim=-1)


def pcp(
    estimated: Tensor,
    true: Tensor,
    visible: Tensor,
    skeleton: str | Skeleton = "lsp",
    threshold: float = 0.5,
    rule: str = "strict",
    comparison: str = "<=",
) -> Marks:
    """PCP of estimated (N, K, 2) against true (N, K, 2) joints, visible (N, K). LSP's score is
    `mean_of_columns`.

    A stick counts where both its true ends are labelled and differ.
    """
    skeleton = get(skeleton)
    check_shapes(estimated, true, visible, joints=len(skeleton))
    if rule not in RULES:
        raise unknown_name("PCP rule", rule, RULES)
    labelled = labelled_joints(true, visible)
    true_ends, known = sticks(exact(true), labelled, skeleton)
    ends, _ = sticks(exact(estimated), labelled, skeleton)
    length = torch.linalg.vector_norm(true_ends[..., 0, :] - true_ends[..., 1, :], dim=-1)  # (N, S)
    scored = known & (length > 0)
    errors = distances(ends, true_ends) / torch.where(scored, length, 1.0)[..., None]  # (N, S, 2)
    error = errors.amax(-1) if rule == "strict" else errors.mean(-1)
    return Marks(within(error, threshold, comparison) & scored, scored, stick_names(skeleton))
