"""What may happen to a picture between the world and the network, in five severities, with the labels kept true.

    corruptions.names()                                            # gaussian_noise, shot_noise, ...
    worse = corruptions.apply(batch, "motion_blur", severity=3)    # a Batch for a Batch, a Scene for a Scene
    corruptions.REGISTER["rotation"].strengths                     # what the five severities mean

Four rules. *Deterministic*: seed, name and picture decide everything. *One by one*: what happens to a picture does not
depend on its neighbours in the batch. *Nested*: the five severities of a picture draw the same random numbers, so that
one is a stronger version of the other. *True labels*: where pixels move, joints, masks and boxes move with them; who
leaves the picture becomes unlabelled, and a joint that gets covered becomes hidden.

The eleven of FAMILIES "noise", "blur", "weather" and "digital" happen to the pixels of a finished picture; those of
"scene" change what is to be seen in it. Lengths are in 128ths of the picture's shorter side: pixels, for the course's
crops. What comes into the picture from beyond its border is black.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from course_lib import geometry
from course_lib.datasets.corruptions_motion import Motion, Shift, Warp
from course_lib.errors import CourseError, unknown_name
from course_lib.pose import HIDDEN, UNLABELLED, VISIBLE, Batch, Person, Scene

SEVERITIES = (1, 2, 3, 4, 5)
FAMILIES = ("noise", "blur", "weather", "digital", "scene")
_SIDE = 128  # pixels of the shorter side for which lengths are given
_GRAIN, _STEPS = 4, 32  # a picture's fingerprint: the means of 4 x 4 parts, in 32nds


class Draws:
    """Random numbers for B pictures, each from a generator of its own that only the picture itself decides."""

    def __init__(self, images: Tensor, name: str, seed: int | str) -> None:
        # Coarse means, so that the last bit of a pixel, which depends on the processor, does not change everything.
        coarse = (F.adaptive_avg_pool2d(images, _GRAIN) * _STEPS).round().to(torch.uint8).cpu()
        words = [f"corruption/{name}/{seed}/".encode() + one.numpy().tobytes() for one in coarse]
        seeds = [int.from_bytes(hashlib.sha256(one).digest()[:7], "big") for one in words]
        self.generators = [torch.Generator().manual_seed(one) for one in seeds]
        self.images = images

    def _each(self, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        return torch.stack([draw(generator) for generator in self.generators]).to(self.images.device)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B, *shape) between low and high."""
        return self._each(lambda generator: torch.rand(shape, generator=generator)) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) standard normal."""
        return self._each(lambda generator: torch.randn(shape, generator=generator))

    def poisson(self, rates: Tensor) -> Tensor:
        """How many events there are where so many are expected: of the shape of rates (B, ...)."""
        pairs = zip(rates.cpu(), self.generators, strict=True)
        return torch.stack([torch.poisson(rate, generator) for rate, generator in pairs]).to(rates.device)

    def clouds(self, channels: int, cells: int) -> Tensor:
        """Smooth random fields (B, channels, H, W), bicubic between cells x cells independent normal values."""
        grid = self.normal(channels, cells + 3, cells + 3)
        size = self.images.shape[-2:]
        whole = F.interpolate(grid, scale_factor=16, mode="bicubic", align_corners=False)
        inside = whole[..., 16:-16, 16:-16]
        return F.interpolate(inside, size=size, mode="bilinear", align_corners=False)


# --- pixels: images (B, 3, H, W) in, the same shape out -----------------------------------------------------------


def _gaussian_noise(images: Tensor, strength: float, draws: Draws) -> Tensor:
    return images + strength * draws.normal(*images.shape[1:])


def _shot_noise(images: Tensor, strength: float, draws: Draws) -> Tensor:
    return draws.poisson(images * strength) / strength


def _impulse_noise(images: Tensor, strength: float, draws: Draws) -> Tensor:
    struck = draws.uniform(1, *images.shape[-2:])
    images = torch.where(struck < strength / 2, 0.0, images)
    return torch.where(struck > 1 - strength / 2, 1.0, images)


def _blurred(images: Tensor, kernels: Tensor) -> Tensor:
    """images (B, 3, H, W) under kernels (B, n, n), n odd; the border repeats."""
    reach, size = kernels.shape[-1] // 2, images.shape[-2:]
    padded = F.pad(images, (reach,) * 4, "replicate").flatten(0, 1)[None]
    weights = (kernels / kernels.sum((-2, -1), keepdim=True)).repeat_interleave(3, 0)[:, None]
    return F.conv2d(padded, weights, groups=len(weights))[0].view(-1, 3, *size)


def _grid(images: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """x and y (n, n) of a kernel's cells that reaches so far, its middle at 0."""
    cells = torch.arange(-math.ceil(reach), math.ceil(reach) + 1, device=images.device, dtype=images.dtype)
    y, x = torch.meshgrid(cells, cells, indexing="ij")
    return x, y


def _defocus_blur(images: Tensor, strength: float, draws: Draws) -> Tensor:
    x, y = _grid(images, strength)
    disc = (strength + 0.5 - (x * x + y * y).sqrt()).clamp(0, 1)  # its rim is one pixel soft
    return _blurred(images, disc.expand(len(images), -1, -1))


def _motion_blur(images: Tensor, strength: float, draws: Draws) -> Tensor:
    x, y = _grid(images, strength / 2)
    angle = draws.uniform(1, 1, high=math.pi)
    along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    beyond = (along.abs() - strength / 2).clamp(min=0)
    return _blurred(images, (1 - (across * across + beyond * beyond).sqrt()).clamp(0, 1))


def _fog(images: Tensor, strength: float, draws: Draws) -> Tensor:
    thickness = (strength * (1 + 0.35 * draws.clouds(1, 4))).clamp(0, 0.95)
    return images + thickness * (0.85 - images)


def _brightness(images: Tensor, strength: float, draws: Draws) -> Tensor:
    return images + strength


def _contrast(images: Tensor, strength: float, draws: Draws) -> Tensor:
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + strength * (images - mean)


def _pixelate(images: Tensor, strength: float, draws: Draws) -> Tensor:
    size = images.shape[-2:]
    few = [max(1, round(side / strength)) for side in size]
    return F.interpolate(F.interpolate(images, size=few, mode="area"), size=size, mode="nearest")


def _jpeg(images: Tensor, strength: float, draws: Draws) -> Tensor:
    read = []
    for image in (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "jpeg", quality=round(strength))
        read.append(torch.from_numpy(np.asarray(Image.open(file)).copy()))
    return torch.stack(read).permute(0, 3, 1, 2).to(images) / 255


# --- places: how points of the picture move -----------------------------------------------------------------------


def _elastic(images: Tensor, strength: float, draws: Draws) -> Motion:
    field = draws.clouds(2, 5)
    furthest = field.square().sum(1, keepdim=True).amax((-2, -1), keepdim=True).sqrt()
    return Shift(field / furthest.clamp(min=1e-6) * strength)


def _rotation(images: Tensor, strength: float, draws: Draws) -> Motion:
    angle = torch.where(draws.uniform() < 0.5, -1.0, 1.0) * math.radians(strength)
    middle = _middle(images)
    return Warp(geometry.similarity(middle, angle, torch.ones_like(angle), middle))


def _scale(images: Tensor, strength: float, draws: Draws) -> Motion:
    middle = _middle(images)
    size = middle.new_full((len(images),), strength)
    return Warp(geometry.similarity(middle, torch.zeros_like(size), size, middle))


def _truncation(images: Tensor, strength: float, draws: Draws) -> Motion:
    """The picture slides out of its frame, to one of four sides."""
    quarter = (draws.uniform() * 4).floor() * (math.pi / 2)
    way = torch.stack([quarter.cos(), quarter.sin()], -1).round()
    one = torch.ones_like(quarter)
    middle = _middle(images)
    return Warp(geometry.similarity(middle, 0 * one, one, middle + way * 2 * middle * strength))


def _middle(images: Tensor) -> Tensor:
    return images.new_tensor([images.shape[-1] / 2, images.shape[-2] / 2]).expand(len(images), 2)


# --- the register -------------------------------------------------------------------------------------------------

Pixels = Callable[[Tensor, float, Draws], Tensor]
Places = Callable[[Tensor, float, Draws], Motion]


@dataclass(frozen=True)
class Corruption:
    """One way in which a picture gets worse."""

    family: str
    strengths: tuple[float, float, float, float, float]  # of severity 1 to 5
    unit: str  # what a strength is
    pixels: Pixels | None = None  # either what it does to pixels,
    places: Places | None = None  # or where it moves everything; the disc, which needs joints, does neither
    is_length: bool = False  # whether strengths are in 128ths of the picture's shorter side

    def strength(self, severity: int, size: tuple[int, int]) -> float:
        """What a severity means in a picture of this (height, width)."""
        return self.strengths[severity - 1] * (min(size) / _SIDE if self.is_length else 1)


DISC = "occluder"
REGISTER = {
    "gaussian_noise": Corruption("noise", (0.04, 0.08, 0.12, 0.18, 0.26), "standard deviation", _gaussian_noise),
    "shot_noise": Corruption("noise", (100, 50, 25, 12, 6), "photons of a white pixel", _shot_noise),
    "impulse_noise": Corruption("noise", (0.01, 0.03, 0.07, 0.13, 0.22), "share of pixels struck", _impulse_noise),
    "defocus_blur": Corruption("blur", (0.8, 1.5, 2.3, 3.3, 5.0), "radius", _defocus_blur, is_length=True),
    "motion_blur": Corruption("blur", (3, 6, 9, 13, 19), "length of the smear", _motion_blur, is_length=True),
    "fog": Corruption("weather", (0.2, 0.35, 0.5, 0.65, 0.8), "share of white, on average", _fog),
    "brightness": Corruption("weather", (0.1, 0.2, 0.3, 0.4, 0.5), "added", _brightness),
    "contrast": Corruption("digital", (0.7, 0.5, 0.35, 0.2, 0.1), "share that is left", _contrast),
    "elastic": Corruption("digital", (1.5, 3, 4.5, 6, 8), "furthest move", places=_elastic, is_length=True),
    "pixelate": Corruption("digital", (2, 3, 4, 6, 8), "side of a block", _pixelate, is_length=True),
    "jpeg": Corruption("digital", (40, 25, 15, 8, 4), "quality", _jpeg),
    DISC: Corruption("scene", (0.05, 0.09, 0.14, 0.2, 0.28), "radius, share of the person's longer side"),
    "truncation": Corruption("scene", (0.08, 0.16, 0.25, 0.35, 0.45), "share cut off", places=_truncation),
    "rotation": Corruption("scene", (15, 30, 60, 90, 180), "degrees", places=_rotation),
    "scale": Corruption("scene", (0.85, 0.7, 0.55, 0.4, 0.3), "size that is left", places=_scale),
}


def names(family: str | None = None) -> list[str]:
    """The corruptions, family by family; or those of one family."""
    if family is not None and family not in FAMILIES:
        raise unknown_name("family of corruptions", family, FAMILIES)
    return [name for name, one in REGISTER.items() if family in (None, one.family)]


def motion(images: Tensor, name: str, severity: int, seed: int | str = 0) -> Motion | None:
    """How the points of pictures (B, 3, H, W) move; None for what leaves everything in its place."""
    one = _checked(images, name, severity)
    if one.places is None or not len(images):
        return None
    return one.places(images, one.strength(severity, images.shape[-2:]), Draws(images, name, seed))


def corrupt(
    images: Tensor, joints: Tensor, visible: Tensor, name: str, severity: int, seed: int | str = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Changed copies of images (B, 3, H, W) in [0, 1], joints (B, ..., K, 2) in pixels and visible (B, ..., K).

    The disc covers one labelled joint of each person. A joint that was not labelled stays so, wherever it goes.
    """
    one = _checked(images, name, severity)
    if joints.shape[:-1] != visible.shape or joints.shape[-1:] != (2,) or len(joints) != len(images):
        raise CourseError(
            f"{len(images)} pictures to corrupt need joints ({len(images)}, ..., K, 2) and visible ({len(images)}, "
            f"..., K); got {tuple(joints.shape)} and {tuple(visible.shape)}"
        )
    if not len(images):
        return images, joints, visible
    strength, draws = one.strength(severity, images.shape[-2:]), Draws(images, name, seed)
    if one.places is not None:
        moved = one.places(images, strength, draws)
        points = moved.points(joints.flatten(1, -2)).view(joints.shape)
        limit = points.new_tensor([images.shape[-1], images.shape[-2]])
        inside = ((points >= 0) & (points < limit)).all(-1)
        return moved.images(images).clamp(0, 1), points, visible.masked_fill(~inside, UNLABELLED)
    if one.pixels is None:
        return _covered(images, joints, visible, strength, draws)
    return one.pixels(images, strength, draws).clamp(0, 1), joints, visible


def _covered(
    images: Tensor, joints: Tensor, visible: Tensor, strength: float, draws: Draws
) -> tuple[Tensor, Tensor, Tensor]:
    """A disc of one colour on one labelled joint of each person."""
    if not joints.numel():
        return images, joints, visible
    people = joints.reshape(len(joints), -1, *joints.shape[-2:])  # (B, N, K, 2)
    known = visible.reshape(people.shape[:-1]) > 0
    box = geometry.box_of(people, known)
    radius = strength * (box[..., 2:] - box[..., :2]).amax(-1)  # (B, N)
    chosen = (draws.uniform(*known.shape[1:]) * known).argmax(-1)  # an unlabelled joint is never the largest
    centre = people.gather(2, chosen[..., None, None].expand(-1, -1, 1, 2))[:, :, 0]
    there = known.any(-1)
    y, x = torch.meshgrid(
        *(torch.arange(side, device=images.device) + 0.5 for side in images.shape[-2:]), indexing="ij"
    )
    apart = torch.stack([x, y], -1)[None, None] - centre[:, :, None, None]  # (B, N, H, W, 2)
    disc = (apart.norm(dim=-1) < radius[..., None, None]) & there[..., None, None]
    colour = draws.uniform(3, 1, 1)
    images = torch.where(disc.any(1)[:, None], colour, images)
    # a joint may lie under the disc of somebody else: every joint (B, M) against every disc (B, N)
    everywhere = people.flatten(1, 2)
    under = (torch.cdist(everywhere, centre) < torch.where(there, radius, 0)[:, None]).any(-1).view(visible.shape)
    return images, joints, torch.where(under & (visible == VISIBLE), HIDDEN, visible)


def apply(what: Scene | Batch, name: str, severity: int, seed: int | str = 0) -> Scene | Batch:
    """A changed copy of a scene or of a batch, labels and all.

    A person's area keeps the size of before the damage, but for the scale: who is cut off or covered did not become
    smaller, and OKS must not become stricter. Places in space (joints3d) are given up where a picture was turned.
    """
    if isinstance(what, Batch):
        images, joints, visible = corrupt(what.images, what.joints, what.visible, name, severity, seed)
        return replace(what, images=images, joints=joints, visible=visible)
    if not isinstance(what, Scene):
        raise CourseError(f"a Scene or a Batch can be corrupted, but not a {type(what).__name__}")
    images, people = what.image[None], what.people
    count = len(people[0].skeleton) if people else 0
    joints = torch.stack([one.joints for one in people])[None] if people else torch.zeros(1, 0, count, 2)
    visible = torch.stack([one.visible for one in people])[None] if people else torch.zeros(1, 0, count)
    changed, joints, visible = corrupt(images, joints.float(), visible, name, severity, seed)
    moved = motion(images, name, severity, seed)
    rows = zip(people, joints[0], visible[0], strict=True)
    return replace(what, image=changed[0], people=[_moved(*row, moved, what.size) for row in rows])


def zoom(name: str, severity: int) -> float:
    """How large people are afterwards, as a share of before: what a reference size must be multiplied by."""
    return _known(name, severity).strengths[severity - 1] if name == "scale" else 1.0


def _moved(person: Person, joints: Tensor, visible: Tensor, moved: Motion | None, size: tuple[int, int]) -> Person:
    person = replace(person, joints=joints, visible=visible)
    if moved is None:
        return person
    grown = moved.zoom
    changed: dict = {"joints3d": None, "area": None if person.area is None else person.area * grown**2}
    if person.mask is not None:
        changed["mask"] = moved.labels(person.mask[None].long(), 0)[0].bool()
    if person.box is not None:
        x0, y0, x1, y1 = person.box.tolist()
        corners = person.box.new_tensor([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        around = moved.points(corners[None])[0]
        changed["box"] = geometry.clip_box(torch.cat([around.amin(0), around.amax(0)]), *size)
    if person.head_box is not None:  # the square turns with the head, but PCKh must not become more lenient
        low, high = person.head_box[:2], person.head_box[2:]
        centre = moved.points(((low + high) / 2)[None, None])[0, 0]
        changed["head_box"] = torch.cat([centre - (high - low) / 2 * grown, centre + (high - low) / 2 * grown])
    return replace(person, **changed)


def _known(name: str, severity: int) -> Corruption:
    if name not in REGISTER:
        raise unknown_name("corruption", name, REGISTER)
    if isinstance(severity, bool) or severity not in SEVERITIES:
        raise CourseError(f"the severity of a corruption is a whole number from 1 to 5; got {severity!r}")
    return REGISTER[name]


def _checked(images: Tensor, name: str, severity: int) -> Corruption:
    one = _known(name, severity)
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise CourseError(
            f"pictures to corrupt are floats (B, 3, H, W); got {tuple(images.shape)} of {str(images.dtype)[6:]}"
        )
    if images.numel() and not bool(((images >= 0) & (images <= 1)).all()):
        raise CourseError("pictures to corrupt must lie in [0, 1]; some values are NaN or lie outside")
    return one
