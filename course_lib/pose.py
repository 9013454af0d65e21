"""The nouns of the course: an estimate is a `Pose`, a true person a `Person`, a picture with people a `Scene`.

Models answer with poses, data sets give scenes, training eats batches. Coordinates follow `geometry.py`: x right,
y down, the picture's top left *corner* is (0, 0).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from course_lib.errors import CourseError
from course_lib.skeletons import Skeleton

UNLABELLED, HIDDEN, VISIBLE = 0, 1, 2  # the three values of `visible`, as in COCO


@dataclass
class Pose:
    """One estimated person. K joints."""

    joints: Tensor  # (K, 2) x, y in pixels of the picture it was estimated on
    scores: Tensor  # (K,) confidence of each joint, comparable within one model only
    skeleton: Skeleton
    score: float = 1.0  # confidence of the whole person; ranks people in AP
    box: Tensor | None = None  # (4,) x0, y0, x1, y1 the person was looked for in

    def moved(self, joints: Tensor) -> Pose:
        """The same pose with its joints elsewhere."""
        return replace(self, joints=joints)


class Found(NamedTuple):
    """What a detector says of one picture, the surest box first."""

    boxes: Tensor  # (N, 4) x0, y0, x1, y1 in the picture's pixels
    scores: Tensor  # (N,) in [0, 1]


@dataclass
class Person:
    """One true person. What a data set does not know stays None."""

    joints: Tensor  # (K, 2) x, y; anything where visible is 0
    visible: Tensor  # (K,) 0 unlabelled, 1 labelled but hidden, 2 visible
    skeleton: Skeleton
    box: Tensor | None = None  # (4,) x0, y0, x1, y1
    area: float | None = None  # segment area in pixels, which OKS calls s^2
    mask: Tensor | None = None  # (H, W) bool, the visible segment
    head_box: Tensor | None = None  # (4,) the head rectangle that PCKh measures with
    joints3d: Tensor | None = None  # (K, 3) millimetres, camera coordinates
    crowd: bool = False  # a group labelled as one region (COCO's iscrowd)
    ignore: bool = False  # neither a hit nor a miss in AP


@dataclass
class Scene:
    """A picture and the people in it."""

    image: Tensor  # (3, H, W) float in [0, 1]
    people: list[Person]
    id: int | str = 0
    meta: dict = field(default_factory=dict)  # file name, action, camera: whatever else is known

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image.shape[-2], self.image.shape[-1]


class _Pictures:
    """What `Batch` and `Crowd` share: a picture is a row of every tensor they have."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures."""
        return self.images.shape[-2], self.images.shape[-1]

    def to(self, device: torch.device | str, **options) -> Self:
        """The same pictures on another device."""
        return self._each(lambda tensor: tensor.to(device, **options))

    def pin_memory(self) -> Self:
        """The same pictures where a GPU can fetch them by itself; DataLoader asks for this."""
        return self._each(Tensor.pin_memory)

    def __getitem__(self, which: slice | Tensor) -> Self:
        return self._each(lambda tensor: tensor[which])

    def _each(self, function: Callable[[Tensor], Tensor]) -> Self:
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **{name: function(value) for name, value in tensors.items()})

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Several of them as one."""
        if not parts:
            raise CourseError("there are no batches to put together")
        names = {name for part in parts for name, value in vars(part).items() if isinstance(value, Tensor)}
        if any(getattr(part, name) is None for part in parts for name in names):
            raise CourseError("some of the batches to put together lack what others have")
        return replace(parts[0], **{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


@dataclass
class Batch(_Pictures):
    """B crops with one person each, the form in which single-person networks are trained."""

    images: Tensor  # (B, 3, H, W) float in [0, 1]
    joints: Tensor  # (B, K, 2) in the crops' pixels
    visible: Tensor  # (B, K) 0, 1, 2
    skeleton: Skeleton

    def __post_init__(self) -> None:
        shapes = (tuple(self.images.shape), tuple(self.joints.shape), tuple(self.visible.shape))
        count, joints = len(self.images), len(self.skeleton)
        if self.images.ndim != 4 or shapes[1:] != ((count, joints, 2), (count, joints)):
            raise CourseError(
                f"a batch of skeleton '{self.skeleton.name}' needs images (B, 3, H, W), joints (B, {joints}, 2) and "
                f"visible (B, {joints}); got {shapes[0]}, {shapes[1]}, {shapes[2]}"
            )


@dataclass
class Crowd(_Pictures):
    """B pictures with any number of people, the form in which networks that look at everybody at once are trained.

    All pictures have room for N people; a place where nobody is has no labelled joint. In crops around people, the
    form in which networks are trained that are shown one person of many, the first is the one who is meant.
    """

    images: Tensor  # (B, 3, H, W) float in [0, 1]
    joints: Tensor  # (B, N, K, 2) in the pictures' pixels
    visible: Tensor  # (B, N, K) 0, 1, 2
    labelled: Tensor  # (B, H, W) 1 where all who are there are labelled, 0 where somebody is whom nobody labelled
    skeleton: Skeleton
    owners: Tensor | None = None  # (B, H, W) int8, the place of the person whom a pixel shows, -1 for nobody

    def __post_init__(self) -> None:
        shapes = [tuple(part.shape) for part in (self.images, self.joints, self.visible, self.labelled)]
        if self.owners is not None and self.owners.shape != self.labelled.shape:
            raise CourseError(f"a crowd's owners must be as large as its pictures; got {tuple(self.owners.shape)}")
        count, joints = len(self.images), len(self.skeleton)
        people = self.joints.shape[1] if self.joints.ndim == 4 else -1
        right = [(count, people, joints, 2), (count, people, joints), (count, *shapes[0][2:])]
        if self.images.ndim != 4 or shapes[1:] != right:
            raise CourseError(
                f"a crowd of skeleton '{self.skeleton.name}' needs images (B, 3, H, W), joints (B, N, {joints}, 2), "
                f"visible (B, N, {joints}) and labelled (B, H, W); got " + ", ".join(map(str, shapes))
            )

    @classmethod
    def cat(cls, parts: Sequence[Crowd]) -> Crowd:
        """Several crowds as one, with room for the largest."""
        most = max((part.joints.shape[1] for part in parts), default=0)
        return super().cat([part.with_room(most) for part in parts])

    def with_room(self, people: int) -> Crowd:
        """The same pictures with room for so many people, or for all that are there if these are more."""
        more = max(0, people - self.joints.shape[1])
        joints = torch.nn.functional.pad(self.joints, (0, 0, 0, 0, 0, more))
        return replace(self, joints=joints, visible=torch.nn.functional.pad(self.visible, (0, 0, 0, more)))

    def first(self) -> Batch:
        """The people who are meant, of crops around people."""
        if self.joints.shape[1] == 0:
            raise CourseError("a crowd without room for anybody has no first person")
        return Batch(self.images, self.joints[:, 0], self.visible[:, 0], self.skeleton)

    def boxes(self) -> Tensor:
        """The tight boxes (B, N, 4) of what is seen of everybody; zeros for those of whom nothing is."""
        if self.owners is None:
            raise CourseError("this crowd does not say whom its pixels show, so nobody has a box")
        seen = self.owners[:, None] == torch.arange(self.joints.shape[1], device=self.owners.device)[:, None, None]
        ends = []
        for along in (seen.any(-2), seen.any(-1)):  # columns (B, N, W), rows (B, N, H)
            number = torch.arange(along.shape[-1], device=along.device)
            first = torch.where(along, number, along.shape[-1]).amin(-1)
            ends.append((first, torch.where(along, number + 1, 0).amax(-1)))
        (left, right), (top, bottom) = ends
        there = (right > 0)[..., None]
        return torch.where(there, torch.stack([left, top, right, bottom], -1), 0).float()
