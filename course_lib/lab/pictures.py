"""The pictures of the pose lab: drawn people with their truth, a photograph, one's own picture, and damage to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_lib import images
from course_lib.errors import CourseError, unknown_name
from course_lib.pose import Person, Scene
from course_lib.skeletons import get

if TYPE_CHECKING:
    from course_lib.pose import Found

ONE, CROWD, ASTRONAUT, OWN = "one drawn person", "a drawn crowd", "the astronaut", "your own picture"
DRAWN = (ONE, CROWD)
PICTURES = (*DRAWN, ASTRONAUT)
WHOLE, TOLD, DETECTED = "the whole picture", "boxes that are told", "boxes of the detector"
ASTRONAUT_BOX = (30.0, 0.0, 430.0, 512.0)  # drawn by hand, as in lesson 00
PEOPLE = (3, 8)  # of a drawn crowd
LONGEST = 640  # pixels of an uploaded picture's longer side: networks here see 256 at most
SURE = 0.5  # of a detector's score: with it there are about as many boxes as people
MOST_BYTES = 30_000_000  # of an upload
# what the sliders of "break it" do: label -> name in `datasets.corruptions`
DAMAGES = {"blur": "defocus_blur", "noise": "gaussian_noise", "rotation": "rotation", "occluder": "occluder"}


@dataclass(frozen=True)
class Subject:
    """A picture to look at, what is true about it, and where one-person systems may look."""

    title: str
    scene: Scene
    many: bool  # whether everybody is to be found, not one person
    asked: tuple[str, ...]  # ways to tell a one-person system where to look, the usual one first

    @property
    def people(self) -> list[Person]:
        """Those whose joints are known."""
        return [person for person in self.scene.people if bool((person.visible > 0).any())]

    @property
    def boxes(self) -> Tensor:
        """The boxes (N, 4) that may be told."""
        boxes = [person.box for person in self.scene.people if person.box is not None]
        return torch.stack(boxes).float() if boxes else torch.zeros(0, 4)


@lru_cache(maxsize=32)
def subject(title: str, number: int = 0) -> Subject:
    """One of PICTURES; `number` is which of the endless drawn ones."""
    from course_lib.datasets import synthetic

    if title == ONE:
        [scene] = synthetic.single_scenes(1, seed=f"pose lab {number}")
        only = replace(scene, people=scene.people[:1])  # the one who is meant
        return Subject(f"{title}, number {number}", only, False, (WHOLE, TOLD, DETECTED))
    if title == CROWD:
        [scene] = synthetic.scenes(1, seed=f"pose lab {number}", people=PEOPLE, skeleton="lsp")
        return Subject(f"{title}, number {number}", scene, True, (TOLD, DETECTED, WHOLE))
    if title == ASTRONAUT:
        from skimage import data

        box = torch.tensor(ASTRONAUT_BOX)
        skeleton = get("lsp")
        unknown = torch.zeros(len(skeleton), dtype=torch.long)
        person = Person(torch.zeros(len(skeleton), 2), unknown, skeleton, box=box)
        scene = Scene(images.to_tensor(data.astronaut()), [person], id="astronaut")
        return Subject(title, scene, False, (TOLD, DETECTED, WHOLE))
    raise unknown_name("picture", title, PICTURES)


def uploaded(name: str, content: bytes) -> Subject:
    """A learner's own picture from the bytes of its file; anything else is one clear sentence."""
    if not content:
        raise CourseError(f"'{name}' is empty")
    if len(content) > MOST_BYTES:
        raise CourseError(f"'{name}' has {len(content) / 1e6:.0f} MB; {MOST_BYTES / 1e6:.0f} MB are the most")
    image = images.decode(content, name, LONGEST)
    if min(image.shape[-2:]) < 16:
        raise CourseError(f"'{name}' is only {image.shape[-1]} x {image.shape[-2]} pixels; nobody can be seen in it")
    return Subject(f"{OWN}, {name}", Scene(image, [], id=name), False, (DETECTED, WHOLE))


def damaged(given: Subject, severities: Mapping[str, int]) -> Subject:
    """The picture with some of DAMAGES, each of severity 1 to 5 or 0 for none; the truth moves along."""
    from course_lib.datasets import corruptions

    scene = given.scene
    for label, severity in severities.items():
        # without joints nobody can be covered
        if severity and (label != "occluder" or given.people):
            scene = corruptions.apply(scene, DAMAGES[label], severity)
    return replace(given, scene=scene)


def found_by(detector: Any, given: Subject) -> Found:
    """The boxes (N, 4) and scores (N,) of those a detector is sure of, or of the surest one where it is of none.

    Average precision wants doubtful boxes as well; who looks at one picture would drown in them.
    """
    from course_lib.models.top_down import usable
    from course_lib.pose import Found

    found = usable(detector.detect([given.scene.image])[0], given.scene.size)  # the surest first
    count = max(1, int((found.scores >= SURE).sum()))
    return Found(found.boxes[:count], found.scores[:count])
