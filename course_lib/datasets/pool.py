"""Photographs of single persons, decoded once and kept as bytes on the device that trains.

A data set of some thousand people fits into memory when every person is one small crop of bytes: at 144 x 144, a
thousand take 62 MB. From then on a batch costs one indexing, and all augmentation happens in batches where the network
is; no file is touched again. The crop is cut wider than the network looks (`MARGIN`), so that a person can be turned,
shrunk and shifted without black corners coming in.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib import geometry
from course_lib.datasets.records import Record, Records
from course_lib.errors import CourseError
from course_lib.pose import Batch, Person, Scene
from course_lib.progress import progress_bar
from course_lib.skeletons import Skeleton, convert

BOX_PADDING = 1.25  # as at estimating: a person's box is grown by this before it is cut out
MARGIN = 1.25  # the crop kept is this much wider than what the network looks at
SHARPNESS = 1.2  # pixels kept for every pixel the network sees, so that zooming in finds detail


@dataclass(frozen=True)
class Pool:
    """N people as crops of bytes, on one device."""

    images: Tensor  # (N, 3, H, W) uint8
    joints: Tensor  # (N, K, 2) in the crops' pixels
    visible: Tensor  # (N, K)
    skeleton: Skeleton

    @classmethod
    def of(
        cls,
        records: Records,
        skeleton: Skeleton,
        size: tuple[int, int],
        device: torch.device | str = "cpu",
        margin: float = MARGIN,
        progress: str = "",
    ) -> Pool:
        """Cuts everybody who can be learned from out of their pictures; `progress` names the bar."""

        def cuts_of(record: Record) -> list[tuple[Tensor, Person]]:
            able = [person for person in record.people if learnable(person)]
            scene = record.scene() if able else None
            return [cut(scene, person, size, margin) for person in able]

        with ThreadPoolExecutor(os.cpu_count()) as threads:  # decoding and cutting let other threads run
            made = threads.map(cuts_of, records.entries)
            made = progress_bar(made, desc=progress, total=len(records), wanted=bool(progress))
            cuts = [one for several in made for one in several]
        return cls.stack(cuts, skeleton, device)

    @classmethod
    def stack(cls, crops: Sequence[tuple[Tensor, Person]], skeleton: Skeleton, device: torch.device | str) -> Pool:
        """From crops (3, H, W) uint8 with their person."""
        if not crops:
            raise CourseError("nobody in these pictures has both a box and a labelled joint to learn from")
        images = torch.stack([image for image, _ in crops])
        labels = [convert(person.joints, person.visible, person.skeleton, skeleton) for _, person in crops]
        joints, visible = (torch.stack(part) for part in zip(*labels, strict=True))
        return cls(images.to(device), joints.to(device), visible.to(device), skeleton)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: Tensor, floats: bool = True) -> Batch:
        """These people (B,), with images as floats in [0, 1] or still as bytes."""
        rows = rows.to(self.images.device)
        images = self.images[rows].float() / 255 if floats else self.images[rows]
        return Batch(images, self.joints[rows], self.visible[rows], self.skeleton)


def pool_size(input_size: tuple[int, int]) -> tuple[int, int]:
    """The size of the crops to keep for a network with this input, a whole number of 8 pixels."""
    height, width = (8 * round(side * MARGIN * SHARPNESS / 8) for side in input_size)
    return height, width


def learnable(person: Person) -> bool:
    """Whether a person has a box to cut out and a joint to ask for; a crowd has neither."""
    boxed = person.box is not None and float(geometry.box_area(person.box)) > 0
    return boxed and not person.crowd and bool((person.visible > 0).any())


def cut(scene: Scene, person: Person, size: tuple[int, int], margin: float = MARGIN) -> tuple[Tensor, Person]:
    """The crop (3, *size) uint8 around one person of a scene, and the person in the crop's pixels."""
    crops, matrix = geometry.crop(scene.image, person.box[None], size, BOX_PADDING * margin)
    joints = geometry.apply(matrix[0], person.joints)
    inside = ((joints >= 0) & (joints < joints.new_tensor([size[1], size[0]]))).all(-1)
    return (crops[0] * 255).round().byte(), Person(joints, person.visible * inside, person.skeleton)


def order(count: int, seed: int, first: int, length: int) -> Tensor:
    """Places `first` to `first + length` of an endless shuffled walk through `count` people, every round a new shuffle.

    Where a place leads depends on the seed and the place only, so a training can go on anywhere in the walk.
    """
    places = []
    while length > 0:
        lap, at = divmod(first, count)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + lap)
        part = torch.randperm(count, generator=generator)[at : at + length]
        places.append(part)
        first, length = first + len(part), length - len(part)
    return torch.cat(places)


def single_scenes(records: Records, skeleton: Skeleton, size: tuple[int, int] = (128, 128)) -> list[Scene]:
    """Everybody as a scene of their own, as single-person networks are asked: the whole crop is the box."""
    people = Pool.of(records, skeleton, size, margin=1.0)
    labels = zip(people.images, people.joints, people.visible, strict=True)
    return [
        Scene(image.float() / 255, [Person(joints, visible, skeleton)], id=number)
        for number, (image, joints, visible) in enumerate(labels, 1)
    ]
