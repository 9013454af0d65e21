"""MOTA, people followed through a clip, as PoseTrack counts it: each joint type by itself, then the mean.

    MOTA = 1 - (misses + false alarms + identity switches) / true joints

In every frame a true joint keeps the track it had while that one is still within tolerance; the rest are
matched so that as many as possible are, at the least distance. A switch is a true joint that is found again
under another track. MOTA can be negative, and it depends much on which joints the system keeps: report the
score threshold beside it (mAP hardly cares).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from course_lib.errors import CourseError
from course_lib.metrics.marks import distances, exact, labelled_joints, mean_or_none, within

FAR = 1e6  # cost of a match out of tolerance: any number of real ones comes before it


@dataclass
class Frame:
    """What is true and what is estimated in one frame: G people, P estimates, K joint types."""

    true: Tensor  # (G, K, 2)
    visible: Tensor  # (G, K)
    size: Tensor  # (G,) reference size, for PCKh's tolerance the head size
    identities: Sequence[int]  # G, who is who through the clip
    estimated: Tensor  # (P, K, 2), NaN where there is none
    tracks: Sequence[int]  # P, who the system says is who


@dataclass
class Tracking:
    """Counts over a clip for each of K joint types, (K,) each."""

    labelled: Tensor
    misses: Tensor
    false_alarms: Tensor
    switches: Tensor

    @property
    def mota_of_joints(self) -> list[float | None]:
        """MOTA of every joint type; None where none is labelled."""
        wrong = self.misses + self.false_alarms + self.switches
        return [1 - w / n if n else None for w, n in zip(wrong.tolist(), self.labelled.tolist(), strict=True)]

    @property
    def mota(self) -> float | None:
        """The mean over joint types that are labelled."""
        return mean_or_none(self.mota_of_joints)

    @property
    def precision(self) -> float | None:
        """Share of the estimated joints that were right, all joint types together."""
        hits = int((self.labelled - self.misses).sum())
        return hits / (hits + int(self.false_alarms.sum())) if hits + int(self.false_alarms.sum()) else None

    @property
    def recall(self) -> float | None:
        """Share of the true joints that were found, all joint types together."""
        total = int(self.labelled.sum())
        return int((self.labelled - self.misses).sum()) / total if total else None


def mota(frames: Sequence[Frame], alpha: float = 0.5, comparison: str = "<=") -> Tracking:
    """Follows every joint type through the frames of one clip; a match needs d / size <= alpha.

    People without a size are not scored. Clips with cuts are evaluated one by one and their counts added.
    """
    if not frames:
        raise CourseError("MOTA needs at least one frame")
    joints = exact(frames[0].true).shape[1]
    counts = torch.zeros(4, joints, dtype=torch.long)
    last: list[dict[int, int]] = [{} for _ in range(joints)]  # track of every identity, by joint type
    for frame in frames:
        size = exact(frame.size)
        labelled = labelled_joints(frame.true, frame.visible) & (size > 0)[:, None]  # (G, K)
        present = exact(frame.estimated).isfinite().all(-1)  # (P, K)
        errors = distances(exact(frame.true)[:, None], exact(frame.estimated)[None]) / size[:, None, None]
        near = within(errors, alpha, comparison)  # (G, P, K)
        for k in range(joints):
            people, estimates = labelled[:, k].nonzero()[:, 0], present[:, k].nonzero()[:, 0]
            pair = (people[:, None], estimates[None], k)
            names = [frame.identities[g] for g in people], [frame.tracks[p] for p in estimates]
            matches = _follow(errors[pair], near[pair], *names, last[k])
            switches = sum(last[k].get(who, track) != track for who, track in matches)
            last[k].update(matches)
            missed, false_alarms = len(people) - len(matches), len(estimates) - len(matches)
            counts[:, k] += torch.tensor([len(people), missed, false_alarms, switches])
    return Tracking(*counts)


def _follow(
    errors: Tensor, near: Tensor, identities: list[int], tracks: list[int], last: dict[int, int]
) -> list[tuple[int, int]]:
    """(identity, track) pairs of one joint type in one frame, from errors and near (G, P)."""
    pairs = []
    for g, who in enumerate(identities):
        if last.get(who) in tracks and near[g, tracks.index(last[who])]:
            pairs.append((g, tracks.index(last[who])))
    free_people = [g for g in range(len(identities)) if g not in {g for g, _ in pairs}]
    free_tracks = [p for p in range(len(tracks)) if p not in {p for _, p in pairs}]
    if free_people and free_tracks:
        open_ = near[free_people][:, free_tracks]
        cost = torch.where(open_, errors[free_people][:, free_tracks], FAR)
        rows, cols = linear_sum_assignment(cost.numpy())
        pairs += [(free_people[r], free_tracks[c]) for r, c in zip(rows, cols, strict=True) if open_[r, c]]
    return [(identities[g], tracks[p]) for g, p in pairs]
