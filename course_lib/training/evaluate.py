"""How good a single-person model is: estimates on scenes, scores, how far to trust them, and what guessing reaches.

Protocol of the course's single-person benchmark: a scene is a crop around its first person, the whole crop is the box,
and nothing else is told. Everybody else in the crop is there to confuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from course_lib import metrics
from course_lib.errors import CourseError
from course_lib.metrics.marks import Marks, stack
from course_lib.models.base import PoseModel
from course_lib.pose import Batch, Person, Pose, Scene
from course_lib.skeletons import Skeleton


class Estimator(Protocol):
    """Whatever answers like a model: a network, a classical system, the mean pose."""

    skeleton: Skeleton

    def estimate(self, images: Any, boxes: Any = None, flip_test: bool = False) -> list[list[Pose]]: ...


def estimates(model: Estimator, scenes: Sequence[Scene], batch: int = 50, flip_test: bool = False) -> list[Pose]:
    """One pose per scene, in the scene's pixels: the most confident, where a model gives several."""
    found: list[Pose] = []
    for start in range(0, len(scenes), batch):
        images = [scene.image for scene in scenes[start : start + batch]]
        for image, poses in zip(images, model.estimate(images, flip_test=flip_test), strict=True):
            found.append(max(poses, key=lambda pose: pose.score) if poses else _nobody(model.skeleton, image))
    return found


def single_person(
    model: Estimator, scenes: Sequence[Scene], batch: int = 50, flip_test: bool = False
) -> dict[str, Any]:
    """The course's scores of a model on scenes whose first person is to be estimated.

    They are those of `metrics.single_person`, with "pck@0.2_interval" (low, high) besides: see `interval`.
    """
    return examined(model, scenes, batch, flip_test)[0]


def examined(
    model: Estimator, scenes: Sequence[Scene], batch: int = 50, flip_test: bool = False
) -> tuple[dict[str, Any], Marks | None]:
    """The scores of `single_person`, and who was found by PCK@0.2, so that two models can be compared in pairs."""
    people = first_people(model, scenes)
    poses = estimates(model, scenes, batch, flip_test)
    marks = pck_marks(poses, people) if people else None
    scores = metrics.single_person(poses, people)
    return {**scores, "pck@0.2_interval": interval(marks) if marks else None}, marks


def pck_marks(poses: Sequence[Pose], people: Sequence[Person], alpha: float = 0.2) -> Marks:
    """Which joints of which people were found, by PCK with the torso as the measure."""
    skeleton = people[0].skeleton
    estimated, true = (stack([one.joints for one in ones], (len(skeleton), 2)) for ones in (poses, people))
    visible = stack([person.visible for person in people], (len(skeleton),))
    return metrics.pck(estimated, true, visible, skeleton, alpha)


def first_people(model: Estimator, scenes: Sequence[Scene]) -> list[Person]:
    """Who is to be estimated. A scene with nobody, or with joints the model does not know, is refused."""
    for scene in scenes:
        if not scene.people:
            raise CourseError(f"scene {scene.id} has nobody in it, so there is no one to estimate")
        check_skeleton(model, scene)
    return [scene.people[0] for scene in scenes]


def check_skeleton(model: Estimator, scene: Scene) -> None:
    """Refuses a scene that is labelled with other joints than a model's."""
    own = model.skeleton
    for true in {person.skeleton for person in scene.people}:
        if own.joints != true.joints:
            raise CourseError(
                f"scene {scene.id} is labelled with skeleton '{true.name}', but the model has '{own.name}'; make the "
                f"scenes with skeleton='{own.name}'"
            )


def interval(marks: Marks, level: float = 0.95, samples: int = 2000, seed: int = 0) -> tuple[float, float] | None:
    """A bootstrap confidence interval for `marks.mean`: people, not joints, are drawn with replacement.

    The joints of one person are right or wrong together, so that 500 people say far less than 7,000 joints would.
    None where nothing is scored.
    """
    if not marks.count:
        return None
    return middle(_shares_of_samples(marks, samples, seed), level)


def paired_interval(
    one: Marks, other: Marks, level: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float] | None:
    """A bootstrap confidence interval for `one.mean - other.mean` of two models that were shown the same people.

    Both are scored on the same drawn people every time, so that people whom both find hard cancel: the interval is much
    narrower than two separate ones suggest. None where nothing is scored.
    """
    if one.names != other.names or not torch.equal(one.scored, other.scored):
        raise CourseError("two models can only be compared in pairs on the same joints of the same people")
    if not one.count:
        return None
    return middle(_shares_of_samples(one, samples, seed) - _shares_of_samples(other, samples, seed), level)


def _shares_of_samples(marks: Marks, samples: int, seed: int) -> Tensor:
    """The share of right answers in every sample of people; the same seed draws the same people."""
    inside = [k for k, name in enumerate(marks.names) if name not in marks.outside]
    right, scored = marks.right[:, inside].sum(1).double(), marks.scored[:, inside].sum(1).double()
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(right), (samples, len(right)), generator=generator)
    totals = scored[drawn].sum(1)
    return right[drawn].sum(1)[totals > 0] / totals[totals > 0]


def middle(values: Tensor, level: float) -> tuple[float, float]:
    """Between which values this share of them lies."""
    tail = (1 - level) / 2
    low, high = torch.quantile(values, values.new_tensor([tail, 1 - tail])).tolist()
    return low, high


class MeanPose(PoseModel):
    """Answers every crop with the same pose, the mean of those it was shown. What a network must beat."""

    def __init__(self, joints: Tensor, seen: Tensor, skeleton: Skeleton, size: tuple[int, int]) -> None:
        super().__init__(skeleton, size)
        self.joints = nn.Parameter(joints, requires_grad=False)  # (K, 2) in pixels of a crop of this size
        self.seen = nn.Parameter(seen, requires_grad=False)  # (K,) share of crops in which a joint is labelled

    @classmethod
    def of(cls, batches: Iterable[Batch], count: int = 1000) -> MeanPose:
        """The mean over the first `count` crops of a stream; a joint counts where it is labelled."""
        total = labelled = None
        crops = 0
        for batch in batches:
            mask = (batch.visible > 0).double()[..., None]
            here = (batch.joints.double().nan_to_num() * mask).sum(0)
            total = here if total is None else total + here
            labelled = mask.sum(0) if labelled is None else labelled + mask.sum(0)
            crops += len(batch)
            if crops >= count:
                break
        if total is None:
            raise CourseError("a mean pose needs at least one batch")
        centre = total.new_tensor([batch.size[1] / 2, batch.size[0] / 2])
        joints = torch.where(labelled > 0, total / labelled.clamp(min=1), centre)
        return cls(joints.float(), (labelled[:, 0] / crops).float(), batch.skeleton, batch.size)

    def forward(self, images: Tensor) -> Tensor:
        return self.joints.expand(len(images), -1, -1)

    def decode(self, outputs: Tensor) -> list[list[Pose]]:
        scores = self.seen.detach().cpu()
        return [[Pose(one.detach().cpu(), scores, self.skeleton, float(scores.mean()))] for one in outputs]


def _nobody(skeleton: Skeleton, image: Tensor) -> Pose:
    """The answer of a model that found no one: everything in the middle, without confidence."""
    centre = torch.tensor([image.shape[-1] / 2, image.shape[-2] / 2])
    return Pose(centre.repeat(len(skeleton), 1), torch.zeros(len(skeleton)), skeleton, 0.0)
