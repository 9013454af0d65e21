"""Lesson 07: what the network answers to crowds, what it would be with help from the truth, and who is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib import metrics
from course_lib.lessons.lesson_07_part_affinity_fields import STRIDE, Drawn, drawn
from course_lib.models.paf import Answer, PartAffinityFields
from course_lib.pose import Pose, Scene
from course_lib.skeletons import Skeleton
from course_lib.targets.candidates import peaks
from course_lib.targets.grouping import Group, Links, assemble, greedy, group, optimal, pair_scores

AT_ONCE = 25  # pictures
FOUND = 0.5  # OKS from which a person is found


@dataclass
class Crowded:
    """Pictures of many people, a network's every stage for them, and what it was asked for."""

    model: PartAffinityFields
    scenes: Sequence[Scene]
    answer: Answer  # maps (S, N, K + 1, h, w), fields (S, N, 2L, h, w)
    truth: list[Drawn]

    @classmethod
    @torch.inference_mode()
    def of(cls, model: PartAffinityFields, scenes: Sequence[Scene]) -> Crowded:
        """A network's answers to scenes of one size."""
        images = torch.stack([scene.image for scene in scenes])
        parts = [model(part) for part in images.split(AT_ONCE)]
        answer = Answer(*(torch.cat([getattr(part, name) for part in parts], 1) for name in Answer._fields))
        return cls(model, scenes, answer, [drawn(scene) for scene in scenes])

    def picture(self, number: int, stage: int = -1) -> tuple[Tensor, Tensor]:
        """One picture's maps (K, h, w), without background, and fields (2L, h, w) after a stage."""
        return self.answer.maps[stage, number, :-1], self.answer.fields[stage, number]

    def poses(self, stage: int = -1, **options) -> list[list[Pose]]:
        """Everybody found; options of `grouping.group`."""
        return self.model.decode(self.answer, stage, **options)

    def errors(self) -> dict[str, list[float]]:
        """Mean squared error of maps and fields after each stage, as a share of what answering nothing costs."""
        maps = torch.stack([one.maps for one in self.truth])
        fields = torch.stack([one.fields for one in self.truth])
        return {
            "maps": [
                float((stage[:, :-1] - maps).square().mean() / maps.square().mean()) for stage in self.answer.maps
            ],
            "fields": [
                float((stage - fields).square().mean() / fields.square().mean()) for stage in self.answer.fields
            ],
        }

    def most(self, fewest: int = 3) -> int:
        """The picture, of those with so many people or more, of whose people the largest share is found."""
        crowds = [i for i, scene in enumerate(self.scenes) if len(scene.people) >= fewest]
        found = {i: who_is_found(pose, self.scenes[i]) for i, pose in enumerate(self.poses()) if i in crowds}
        return max(crowds, key=lambda i: (sum(found[i]) / len(found[i]), len(found[i])))


# --- help from the truth ----------------------------------------------------------------------------------------------


def to_poses(groups: Sequence[Group], skeleton: Skeleton) -> list[Pose]:
    """Groups (in cells) as poses in pixels, scored like the network's own."""
    whole = len(skeleton) + len(skeleton.limbs)
    return [Pose(one.joints * STRIDE, one.scores, skeleton, one.score / whole) for one in groups]


def with_drawn_answers(own: Drawn, skeleton: Skeleton, **options) -> list[Pose]:
    """What the grouping makes of a perfect network's maps and fields."""
    return to_poses(group(own.maps, own.fields, skeleton.limbs, **options), skeleton)


def with_true_joints(fields: Tensor, own: Drawn, skeleton: Skeleton) -> list[Pose]:
    """Perfect detections: the labelled joints themselves are the candidates, and fields say whose they are."""
    links = pair_scores(own.candidates, fields, skeleton.limbs, len(skeleton))
    people = assemble(own.candidates, links, greedy(links), skeleton.limbs, len(skeleton))
    return to_poses(people, skeleton)


def with_true_owners(maps: Tensor, own: Drawn, scene: Scene) -> list[Pose]:
    """Perfect association: every true joint takes the peak of its map that is nearest to it, no two the same, if it is
    within half a head's size, as in PCKh. Peaks that nobody takes are left out, and so is who has less than 3 joints.
    """
    found, skeleton = peaks(maps), scene.people[0].skeleton
    count = len(skeleton)
    table = found.table(count)  # (K, M)
    if not table.shape[1]:
        return []
    heads = torch.stack([metrics.head_size(person.head_box) for person in scene.people]).float()
    reach = (0.5 * heads / STRIDE).clamp(min=1.0)  # (N,) cells
    away = (own.joints.transpose(0, 1)[:, :, None] - found.points[table][:, None]).norm(dim=-1)  # (K, N, M)
    possible = (own.visible.T > 0)[:, :, None] & (table >= 0)[:, None] & (away < reach[:, None])
    side = max(away.shape[1:])
    room = (0, side - away.shape[2], 0, side - away.shape[1])
    nearness, possible = (torch.nn.functional.pad(x, room) for x in (1000 - away, possible))
    chosen = optimal(Links(nearness, possible))[:, : away.shape[1], : away.shape[2]]  # (K, N, M)
    people = []
    for own_peaks in chosen.transpose(0, 1):  # (K, M)
        there = own_peaks.any(1)
        if int(there.sum()) < 3:
            continue
        which = table[torch.arange(count), own_peaks.long().argmax(1)]
        points, scores = found.points[which], torch.where(there, found.scores[which], 0.0)
        points = torch.where(there[:, None], points, points[there].mean(0))
        people.append(Group(points, scores, float(scores.sum()) * (count + len(skeleton.limbs)) / count))
    return to_poses(people, skeleton)


# --- who is found -----------------------------------------------------------------------------------------------------


def likeness(poses: Sequence[Pose], scene: Scene) -> Tensor:
    """OKS of every estimate with every person (D, G)."""
    people = scene.people
    if not poses or not people:
        return torch.zeros(len(poses), len(people))
    true, visible = (torch.stack([getattr(one, name) for one in people]) for name in ("joints", "visible"))
    area = torch.tensor([one.area for one in people])
    estimated = torch.stack([pose.joints for pose in poses])
    return metrics.oks_matrix(estimated, true, visible, area, people[0].skeleton)


def who_is_found(poses: Sequence[Pose], scene: Scene) -> list[bool]:
    """For each person, whether an estimate is theirs: no estimate counts twice, the most alike pairs come first."""
    alike = likeness(poses, scene)
    taken = greedy(Links(*_square(alike, alike >= FOUND)))[0, : len(poses), : len(scene.people)]
    return taken.any(0).tolist()


def false_people(poses: Sequence[Pose], scene: Scene) -> int:
    """How many estimates are nobody's."""
    return len(poses) - sum(who_is_found(poses, scene))


def _square(scores: Tensor, possible: Tensor) -> tuple[Tensor, Tensor]:
    side = max(*scores.shape, 1)
    room = (0, side - scores.shape[1], 0, side - scores.shape[0])
    return tuple(torch.nn.functional.pad(x, room)[None] for x in (scores, possible))


def mixed(poses: Sequence[Pose], scene: Scene, least: int = 3) -> list[tuple[int, tuple[int, int]]]:
    """Estimates made of two people: at least so many joints each are nearest to one's and to another's same joint."""
    found = []
    for number, pose in enumerate(poses):
        true = torch.stack([one.joints for one in scene.people])
        away = (pose.joints - true).norm(dim=-1)  # (G, K)
        away[torch.stack([one.visible for one in scene.people]) == 0] = torch.inf
        own = away.argmin(0)[(pose.scores > 0) & (away.amin(0) < 8)]  # a joint farther from everybody is nobody's
        count = torch.bincount(own, minlength=len(scene.people))
        high = count.topk(min(2, len(count)))
        if len(high.values) == 2 and int(high.values[1]) >= least:
            found.append((number, tuple(high.indices.tolist())))
    return found
