"""What one asks of the world: batches, streams, scenes, clips and the fixed benchmark sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from course_lib.datasets.synthetic.body import JOINT, turn_x, turn_y, turn_z
from course_lib.datasets.synthetic.draw import Draw, generator_for
from course_lib.datasets.synthetic.motions import motion_angles
from course_lib.datasets.synthetic.renderer import SAMPLES, Rendering, project
from course_lib.datasets.synthetic.world import (
    Cast,
    Settings,
    people_in_crops,
    people_in_scenes,
    repeated,
)
from course_lib.errors import CourseError, unknown_name
from course_lib.pose import UNLABELLED, Batch, Crowd, Person, Scene
from course_lib.skeletons import Skeleton
from course_lib.skeletons import get as get_skeleton

_CHUNK = 50  # scenes rendered at a time
_SMALLEST_MASK = 12  # pixels: of whom less can be seen, no annotator would have drawn


def crops(
    count: int,
    seed: int | str = 0,
    size: tuple[int, int] = (128, 128),
    skeleton: str | Skeleton = "lsp",
    device: torch.device | str = "cpu",
    settings: Settings | None = None,
) -> Batch:
    """`count` crops around one person each. images (B, 3, *size), joints (B, K, 2), visible (B, K).

    Joints outside the crop are unlabelled (visible 0); joints behind something are labelled, but hidden (1).
    """
    if count < 1:
        raise CourseError(f"a batch of crops needs at least one crop; asked for {count}")
    cast, images, rendering = _render_crops(count, ("crops", seed, 0), size, device, settings or Settings())
    return _batch(cast, images, rendering, get_skeleton(skeleton))


def stream(
    batch_size: int,
    seed: int | str = 0,
    size: tuple[int, int] = (128, 128),
    skeleton: str | Skeleton = "lsp",
    device: torch.device | str = "cpu",
    settings: Settings | None = None,
    start: int = 0,
) -> Iterator[Batch]:
    """Endless batches. Batch i depends on the seed and i only, so `start` resumes where training stopped."""
    skeleton, settings, index = get_skeleton(skeleton), settings or Settings(), start
    while True:
        cast, images, rendering = _render_crops(batch_size, ("stream", seed, index), size, device, settings)
        yield _batch(cast, images, rendering, skeleton)
        index += 1


def crowds(
    batch_size: int,
    seed: int | str = 0,
    size: tuple[int, int] = (192, 256),
    people: tuple[int, int] = (1, 12),
    skeleton: str | Skeleton = "lsp",
    device: torch.device | str = "cpu",
    settings: Settings | None = None,
    start: int = 0,
) -> Iterator[Crowd]:
    """Endless batches of such pictures as `scenes` gives. Batch i depends on the seed and i only, as in `stream`."""
    _check_people(people)
    skeleton, settings, index = get_skeleton(skeleton), settings or Settings(), start
    while True:
        draw = Draw(generator_for("crowds", seed, index))
        cast = people_in_scenes(draw, batch_size, size, people, settings)
        yield _crowd(cast, *cast.picture(draw, settings, device), skeleton)
        index += 1


def scenes(
    count: int,
    seed: int | str = 0,
    size: tuple[int, int] = (192, 256),
    people: tuple[int, int] = (1, 12),
    skeleton: str | Skeleton = "coco",
    device: torch.device | str = "cpu",
    settings: Settings | None = None,
) -> list[Scene]:
    """Pictures with `people[0]` to `people[1]` people each, every one with joints, box, area and mask.

    Who is hidden to the last dozen pixels is not listed, so a scene can have fewer people than were placed, even none.
    """
    _check_people(people)
    skeleton, settings = get_skeleton(skeleton), settings or Settings()
    result: list[Scene] = []
    for start in range(0, count, _CHUNK):
        draw = Draw(generator_for("scenes", seed, start))
        cast = people_in_scenes(draw, min(_CHUNK, count - start), size, people, settings)
        images, rendering = cast.picture(draw, settings, device)
        result += _scenes(cast, images, rendering, skeleton, start, f"{seed}")
    return result


def single_scenes(
    count: int,
    seed: int | str = 0,
    size: tuple[int, int] = (128, 128),
    skeleton: str | Skeleton = "lsp",
    device: torch.device | str = "cpu",
    settings: Settings | None = None,
) -> list[Scene]:
    """Crops with their whole truth: people[0] is the person to estimate, who else can be seen follows."""
    skeleton, settings = get_skeleton(skeleton), settings or Settings()
    result: list[Scene] = []
    for start in range(0, count, _CHUNK):
        where = ("single", seed, start)
        cast, images, rendering = _render_crops(min(_CHUNK, count - start), where, size, device, settings)
        result += _scenes(cast, images, rendering, skeleton, start, f"{seed}", first=True)
    return result


def clip(
    motion: str,
    seed: int | str = 0,
    frames: int = 32,
    size: tuple[int, int] = (128, 128),
    skeleton: str | Skeleton = "lsp",
    device: torch.device | str = "cpu",
    settings: Settings | None = None,
    periods: float = 1.0,
) -> list[Scene]:
    """A film of one person going through a named motion before a fixed camera, with 2D and 3D truth in every frame."""
    if frames < 1:
        raise CourseError(f"a clip needs at least one frame; asked for {frames}")
    skeleton, settings = get_skeleton(skeleton), settings or Settings()
    settings = replace(settings, others=0.0, occluders=0.0, truncation=0.0)
    draw = Draw(generator_for("clip", motion, seed))
    phase = torch.linspace(0, periods, frames + 1, dtype=torch.float64)[:-1]
    angles, roll = motion_angles(motion, phase)
    cast = repeated(people_in_crops(draw, 1, size, settings), frames)
    turned = turn_y(cast.postures.yaw) @ turn_z(roll) @ turn_x(torch.zeros_like(roll))
    cast.postures = replace(cast.postures, angles=angles, root=turned, motion=[motion] * frames)
    # one fixed camera that sees every frame
    flat = project(cast.joints()[0], torch.tensor([1.0, 0, 0], dtype=torch.float64)).flatten(0, 1)
    low, high = flat.amin(0), flat.amax(0)
    focal = 0.8 * min(size) / float((high - low).max())
    centre = torch.tensor([size[1] / 2, size[0] / 2]) - focal * (low + high) / 2
    cast.cameras = torch.cat([torch.tensor([focal]), centre]).double().expand(frames, 3)
    images, rendering = cast.picture(_SameBackground(draw), settings, device)
    result = _scenes(cast, images, rendering, skeleton, 0, f"{seed}", first=True)
    for number, scene in enumerate(result):
        scene.meta |= {"frame": number, "phase": float(phase[number])}
    return result


BENCHMARKS = {
    "single-val": {"kind": single_scenes, "count": 500, "size": (128, 128), "skeleton": "lsp"},
    "crowd-val": {"kind": scenes, "count": 200, "size": (192, 256), "skeleton": "coco"},
}


def benchmark(name: str, skeleton: str | Skeleton | None = None, count: int | None = None) -> list[Scene]:
    """A fixed, named test set, made anew from its seed; `count` takes the first so many scenes."""
    if name not in BENCHMARKS:
        raise unknown_name("benchmark", name, BENCHMARKS)
    row = BENCHMARKS[name]
    whole = row["kind"](
        min(row["count"], -(-(count or row["count"]) // _CHUNK) * _CHUNK),  # whole chunks: they share one generator
        seed=f"benchmark {name}",
        size=row["size"],
        skeleton=skeleton or row["skeleton"],
    )
    return whole[:count]


class _SameBackground(Draw):
    """Draws the first row of everything and repeats it: the frames of a clip share wall and weather."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw.generator)

    def uniform(self, shape: tuple[int, ...], low=0.0, high=1.0) -> Tensor:
        return super().uniform((1, *shape[1:]), low, high).expand(shape).clone()

    def normal(self, shape: tuple[int, ...], mean=0.0, spread=1.0) -> Tensor:
        return super().normal((1, *shape[1:]), mean, spread).expand(shape).clone()

    def integers(self, shape: tuple[int, ...], low: int, high: int) -> Tensor:
        return super().integers((1, *shape[1:]), low, high).expand(shape).clone()


def _render_crops(
    count: int, where: tuple, size: tuple[int, int], device: torch.device | str, settings: Settings
) -> tuple[Cast, Tensor, Rendering]:
    draw = Draw(generator_for(*where))
    cast = people_in_crops(draw, count, size, settings)
    return cast, *cast.picture(draw, settings, device)


def _batch(cast: Cast, images: Tensor, rendering: Rendering, skeleton: Skeleton) -> Batch:
    joints, visible, _ = cast.truth(skeleton, rendering)
    count = len(images)
    return Batch(images, joints[:count].float().to(images.device), visible[:count].to(images.device), skeleton)


def _crowd(cast: Cast, images: Tensor, rendering: Rendering, skeleton: Skeleton) -> Crowd:
    """People's numbers in the cast become their places; of whom too little can be seen, nothing is labelled."""
    joints, visible, _ = cast.truth(skeleton, rendering)
    total, device = len(cast.image), images.device
    owners = _owners_of_pixels(rendering.owners())
    pixels = torch.bincount(owners[owners >= 0], minlength=total).cpu()
    visible = visible.masked_fill((pixels < _SMALLEST_MASK)[:, None], UNLABELLED)
    number = torch.bincount(cast.image, minlength=len(images))
    place = torch.arange(total) - (number.cumsum(0) - number)[cast.image]  # in a scene's cast people stand in a row
    room = (len(images), int(number.max()) if total else 0, len(skeleton))
    all_joints, all_visible = torch.zeros(*room, 2), torch.zeros(room, dtype=torch.long)
    all_joints[cast.image, place], all_visible[cast.image, place] = joints.float(), visible.long()
    labelled = torch.ones(len(images), *images.shape[-2:], device=device)
    seen = torch.where(owners >= 0, place.to(device)[owners.clamp(min=0)] if total else owners, -1).to(torch.int8)
    return Crowd(images, all_joints.to(device), all_visible.to(device), labelled, skeleton, seen)


def _check_people(people: tuple[int, int]) -> None:
    if not 0 <= people[0] <= people[1]:
        raise CourseError(f"people must be (fewest, most) with 0 <= fewest <= most; got {people}")


def _view(yaw: float) -> str:
    turned = abs((yaw + 180) % 360 - 180)
    return "front" if turned < 60 else "back" if turned > 120 else "side"


def _scenes(
    cast: Cast,
    images: Tensor,
    rendering: Rendering,
    skeleton: Skeleton,
    start: int,
    seed: str,
    first: bool = False,
) -> list[Scene]:
    """Scenes with full truth; with `first`, image b's person b is listed first and always."""
    joints, visible, space = (part.float() for part in cast.truth(skeleton, rendering))
    owners = rendering.owners().cpu()
    masks = _owners_of_pixels(owners)
    heads = _head_boxes(cast).float()
    images = images.cpu()
    result = []
    for number, image in enumerate(images):
        people, motions, views = [], [], []
        for index in (cast.image == number).nonzero()[:, 0].tolist():
            mask = masks[number] == index
            main = first and index == number
            if int(mask.sum()) < _SMALLEST_MASK and not main:
                continue
            people.append(
                Person(
                    joints=joints[index],
                    visible=visible[index].long(),
                    skeleton=skeleton,
                    box=_mask_box(mask),
                    area=float((owners[number] == index).sum()) / SAMPLES**2,
                    mask=mask,
                    head_box=heads[index],
                    joints3d=space[index] * 1000,
                )
            )
            motions.append(cast.postures.motion[index])
            views.append(_view(float(cast.postures.yaw[index])))
        meta = {"seed": seed, "motions": motions, "views": views}
        if people:
            meta |= {"motion": motions[0], "view": views[0]}
        result.append(Scene(image, people, id=start + number + 1, meta=meta))
    return result


def _owners_of_pixels(owners: Tensor) -> Tensor:
    """Of samples' owners (B, h, w) the pixels' (B, H, W): whom three of a pixel's four samples show, or two of them
    with the first; elsewhere -1."""
    first, *others = (owners[:, y::SAMPLES, x::SAMPLES] for y in range(SAMPLES) for x in range(SAMPLES))
    alone = torch.stack([first != other for other in others]).all(0)
    agree = torch.stack([others[0] == other for other in others[1:]]).all(0)
    return torch.where(alone, torch.where(agree, others[0], -1), first)


def _mask_box(mask: Tensor) -> Tensor:
    """The tight box of a mask; zeros for an empty one."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    if not len(rows):
        return torch.zeros(4)
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()


def _head_boxes(cast: Cast) -> Tensor:
    """The square around each head (P, 4), as annotators of MPII draw it."""
    space = cast.joints()[0]
    head = space[:, JOINT["head"]]
    camera = cast.cameras[cast.image]
    centre = project(head, camera)
    radius = camera[:, :1] * cast.body.bones["head"][:, None] * 0.52 / head[:, 2:].clamp(min=0.05)
    return torch.cat([centre - radius, centre + radius], -1)
