"""Stick people that the tests of the pictorial models draw themselves, so that the truth about them is known."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.pose import Batch
from course_lib.skeletons import LSP, Skeleton

SIZE = (64, 48)
SMALL = {"input_size": SIZE, "stride": 4, "rotations": 8, "scales": (1.0,)}  # options of a model of such people
# stick -> brightness, half width in pixels, pixels from one stripe to the next, all of their own
LOOKS = (
    (0.9, 4.0, 100.0),
    (0.1, 1.6, 100.0),
    (0.8, 1.6, 4.0),
    (0.2, 1.2, 5.0),
    (0.7, 1.2, 100.0),
    (0.15, 2.2, 100.0),
    (0.75, 2.2, 5.0),
    (0.25, 1.6, 4.0),
    (0.85, 1.6, 100.0),
    (0.95, 3.0, 100.0),
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bar(size: tuple[int, int], first: Tensor, second: Tensor, half: float) -> tuple[Tensor, Tensor]:
    """How much of every pixel a bar with round ends covers (H, W), and how far along it the pixel is, in pixels."""
    y, x = (torch.arange(n) + 0.5 for n in size)
    along = second - first
    length = along.norm()
    apart_x, apart_y = x[None] - first[0], y[:, None] - first[1]
    place = (apart_x * along[0] + apart_y * along[1]) / length
    near = place.clamp(min=0).minimum(length) / length
    away = torch.hypot(apart_x - near * along[0], apart_y - near * along[1])
    return (half + 0.5 - away).clamp(0, 1), place


def draw(image: Tensor, first: Tensor, second: Tensor, look: tuple[float, float, float]) -> None:
    """Puts a bar into an image (3, H, W); stripes cross it where the look has any."""
    brightness, half, stripes = look
    cover, place = bar((image.shape[-2], image.shape[-1]), first, second, half)
    shade = brightness + (0.5 - brightness) * 0.8 * ((place % stripes) > stripes / 2) * (stripes < 50)
    image += cover * (shade - image)


def direction(angle: Tensor) -> Tensor:
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def figures(count: int, random: torch.Generator) -> Tensor:
    """LSP joints (N, 14, 2) of people whose limbs swing about hanging down, in pictures of 64 x 48."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=random)

    middle = torch.tensor([24.0, 29.0]) + 2.5 * normal(2)
    up = direction(-torch.pi / 2 + 0.2 * normal())  # from the hips to the shoulders
    across = torch.stack([-up[:, 1], up[:, 0]], dim=-1)  # to the picture's right
    joints = torch.zeros(count, 14, 2)
    for side, sign in (("right", -1), ("left", 1)):
        hip = middle - 7 * up + 3.5 * sign * across
        shoulder = middle + 7 * up + 5 * sign * across
        chain = {"hip": hip, "shoulder": shoulder}
        for start, end, length, swing in (
            ("hip", "knee", 10.0, 0.35),
            ("knee", "ankle", 9.0, 0.3),
            ("shoulder", "elbow", 9.0, 0.9),
            ("elbow", "wrist", 8.0, 0.7),
        ):
            before = chain.get(f"{start} angle", torch.full((count,), torch.pi / 2))
            angle = before + swing * normal() - sign * (0.3 if start == "shoulder" else 0.0)
            chain[f"{end} angle"] = angle
            chain[end] = chain[start] + length * direction(angle)
        for name in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"):
            joints[:, LSP.index(f"{side}_{name}")] = chain[name]
    joints[:, LSP.index("neck")] = middle + 8 * up
    joints[:, LSP.index("head_top")] = middle + 8 * up + 9 * direction(-torch.pi / 2 + 0.3 * normal())
    return joints


def people(count: int, seed: int = 0, clutter: int = 6, noise: float = 0.03) -> Batch:
    """LSP people before bars that are nobody's; every part looks different."""
    random = generator(seed)
    joints = figures(count, random)
    images = torch.full((count, 3, *SIZE), 0.5)
    sides = torch.tensor([48.0, 64.0])
    for image, own in zip(images, joints, strict=True):
        for look in torch.randint(1, len(LOOKS), (clutter,), generator=random).tolist():
            place = torch.rand(2, generator=random) * sides
            turn = direction(2 * torch.pi * torch.rand((), generator=random))
            draw(image, place, place + 9 * turn, LOOKS[look])
        for (_, first, second), look in zip(LSP.sticks(), LOOKS, strict=True):
            draw(image, own[list(first)].mean(0), own[list(second)].mean(0), look)
    images += noise * torch.randn(images.shape, generator=random)
    return Batch(images.clamp(0, 1), joints, torch.full((count, 14), 2), LSP)


# --- people who wave ----------------------------------------------------------------------------------------------


WAVING = Skeleton(
    "waving",
    ("waist", "chest", "right_hand", "left_hand", "foot"),
    limbs=((0, 1), (1, 2), (1, 3), (0, 4)),
    sigmas=(0.1,) * 5,
    torso=("waist", "chest"),
    head=None,
)
DOWN, UP = 0, 1


def waving(count: int, seed: int = 0, told: bool = True) -> tuple[Batch, Tensor]:
    """People with both arms up or both down, and which (N,). All four arms are drawn alike, so arms do not tell.

    What tells is a patch beside the foot: at the picture's left where they are up, at its right where they are down.
    """
    random = generator(seed)
    which = torch.randint(2, (count,), generator=random)
    images, joints = torch.full((count, 3, *SIZE), 0.5), torch.zeros(count, 5, 2)
    for image, own, up in zip(images, joints, which.tolist(), strict=True):
        waist = torch.tensor([24.0, 38.0]) + 1.5 * torch.randn(2, generator=random)
        chest = waist + torch.tensor([0.0, -14.0]) + torch.randn(2, generator=random)
        ends = {}
        for pose, rise in ((UP, -8.0), (DOWN, 8.0)):
            for sign in (-1.0, 1.0):
                ends[pose, sign] = chest + torch.tensor([10.0 * sign, rise]) + torch.randn(2, generator=random)
                draw(image, chest, ends[pose, sign], (0.9, 1.5, 100.0))
        foot = waist + torch.tensor([0.0, 16.0]) + torch.randn(2, generator=random)
        draw(image, waist, foot, (0.1, 2.0, 100.0))
        draw(image, waist, chest, (0.2, 4.0, 5.0))
        if told:
            patch = foot + torch.tensor([-15.0 if up else 15.0, -10.0])
            draw(image, patch, patch + torch.tensor([0.0, 9.0]), (0.95, 4.0, 100.0))
        own.copy_(torch.stack([waist, chest, ends[up, -1.0], ends[up, 1.0], foot]))
    images += 0.02 * torch.randn(images.shape, generator=random)
    return Batch(images.clamp(0, 1), joints, torch.full((count, 5), 2), WAVING), which
