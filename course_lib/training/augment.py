"""Augmentation of whole batches, on the device the batch lies on.

Turning, scaling, shifting, mirroring and zooming in on half a body are multiplied into one affine map per crop and
applied in one resampling; colour, patches and noise follow. All randomness comes from one torch.Generator, which must
live on the batch's device, so the same seed gives the same bytes.

What becomes of the labels: a joint that leaves the crop becomes unlabelled (visible 0), since nothing in the crop tells
where it is. A joint under a patch becomes hidden (visible 1): it can still be inferred, and is still asked for.

Strengths that say "+-" are multiplied by a standard normal cut off at +-1, as is usual for top-down pose networks, so
that small changes are commoner than large ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from course_lib import geometry
from course_lib.errors import CourseError
from course_lib.pose import HIDDEN, UNLABELLED, Batch, Crowd
from course_lib.skeletons import Skeleton

LOWER_BODY = ("hip", "knee", "ankle", "pelvis")
HALF_BODY_JOINTS = 8  # a crop with fewer labelled joints already shows half a body
HALF_BODY_PADDING = 0.25  # on each side: the new box is 1.5 times as wide as the half's joints
HALF_BODY_ZOOM = 2.5  # at most, so that a folded arm does not fill the crop with blur
PATCH_SIDES = (0.08, 0.35)  # in units of the crop's side
LUMA = (0.299, 0.587, 0.114)  # Rec. 601 weights of red, green and blue


@dataclass(frozen=True)
class Augment:
    """How strongly to augment; 0 switches a thing off."""

    rotation: float = 30.0  # +- degrees
    scale: float = 0.25  # +- this share of the size
    shift: float = 0.08  # +- this share of the crop's sides
    geometry: float = 0.8  # chance that a crop is turned, scaled and shifted at all
    flip: float = 0.5  # chance
    half_body: float = 0.0  # chance
    brightness: float = 0.15  # +- added
    contrast: float = 0.25  # +- about the crop's mean
    gain: float = 0.15  # +- for each colour channel by itself
    grey: float = 0.05  # chance
    patches: int = 2  # at most so many
    patch: float = 0.3  # chance of each
    noise: float = 0.03  # standard deviation at most

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            high = 180.0 if field.name == "rotation" else 8 if field.name == "patches" else 1.0
            if not 0 <= value <= high:
                raise CourseError(f"augmentation '{field.name}' must lie between 0 and {high:g}; got {value}")


NONE = Augment(**{field.name: 0 for field in fields(Augment)})


def augment(
    batch: Batch | Crowd,
    generator: torch.Generator,
    settings: Augment | None = None,
    size: tuple[int, int] | None = None,
    zoom: float = 1.0,
) -> Batch | Crowd:
    """A changed copy of a batch: images (B, 3, H, W), joints (B, ..., K, 2) and visible (B, ..., K) change together.

    The copy is of `size` (height, width), by default the batch's own, and shows the middle of the batch's crops `zoom`
    times as large as would fit: crops wider than what the network sees let a person be turned without black corners.
    """
    settings = Augment() if settings is None else settings
    size = batch.size if size is None else size
    same = zoom == 1 and size == batch.size
    if not len(batch) or (same and settings == NONE):
        return batch
    draw = _Draw(len(batch), batch.images.device, generator)
    if not same or settings.geometry or settings.flip or settings.half_body:
        batch = _move(batch, draw, settings, size, zoom)
    images = _colour(batch.images, draw, settings)
    changed = _patches(images, batch, draw, settings)
    if settings.noise:
        strength = draw.uniform(1, 1, 1) * settings.noise
        images = changed["images"]
        changed["images"] = (images + strength * draw.normal_like(images)).clamp(0, 1)
    return replace(batch, **changed)


class _Draw:
    """Random numbers for B crops, all from one generator."""

    def __init__(self, count: int, device: torch.device, generator: torch.Generator) -> None:
        if generator.device.type != device.type:
            raise CourseError(f"the generator is on {generator.device}, but the batch is on {device}")
        self.count, self.device, self.generator = count, device, generator

    def uniform(self, *shape: int) -> Tensor:
        """(B, *shape) in [0, 1)."""
        return torch.rand(self.count, *shape, device=self.device, generator=self.generator)

    def cut_normal(self, *shape: int) -> Tensor:
        """(B, *shape) standard normal, conditioned on lying in [-1, 1]."""
        within = math.erf(math.sqrt(0.5))
        return math.sqrt(2) * torch.erfinv(within * (2 * self.uniform(*shape) - 1))

    def chance(self, probability: float, *shape: int) -> Tensor:
        """(B, *shape) bool."""
        return self.uniform(*shape) < probability

    def normal_like(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, device=self.device, generator=self.generator, dtype=like.dtype)


# --- where things are -------------------------------------------------------------------------------------------------


def _move(batch: Batch, draw: _Draw, settings: Augment, size: tuple[int, int], zoom: float) -> Batch:
    (height, width), (old_height, old_width) = size, batch.size
    before, after = batch.joints.new_tensor([old_width, old_height]), batch.joints.new_tensor([width, height])
    fit = min(width / old_width, height / old_height)
    moved = draw.chance(settings.geometry)
    angle = draw.cut_normal() * math.radians(settings.rotation) * moved
    scale = (zoom + zoom * draw.cut_normal() * settings.scale * moved).clamp(min=0.1)
    target = after * (0.5 + draw.cut_normal(2) * settings.shift * moved[:, None])
    centre = (before / 2).expand(len(batch), 2)
    if settings.half_body:
        centre, scale = _half_body(batch, draw, settings.half_body, centre, scale, zoom)
    matrix = geometry.similarity(centre, angle, fit * scale, target)
    flip = draw.chance(settings.flip)
    mirrored = geometry.compose(matrix, geometry.mirror(width, matrix).expand_as(matrix))
    matrix = torch.where(flip[:, None, None], mirrored, matrix)
    largest = fit * zoom * (1 + settings.scale) * (HALF_BODY_ZOOM if settings.half_body else 1)
    images = geometry.warp(batch.images, matrix, size, largest=largest).clamp(0, 1)
    joints = geometry.apply(matrix, batch.joints.flatten(1, -2)).view(batch.joints.shape)  # people and joints alike
    swaps, visible = list(batch.skeleton.swaps), batch.visible
    joints = torch.where(_rows(flip, joints), joints[..., swaps, :], joints)
    visible = torch.where(_rows(flip, visible), visible[..., swaps], visible)
    inside = ((joints >= 0) & (joints < after)).all(-1)
    changed = {"images": images, "joints": joints, "visible": visible.masked_fill(~inside, UNLABELLED)}
    if isinstance(batch, Crowd):  # what lies beyond the picture is black, and there is truly nobody
        changed["labelled"] = geometry.warp(batch.labelled[:, None], matrix, size, 1.0, largest)[:, 0]
        if batch.owners is not None:
            changed["owners"] = geometry.warp_labels(batch.owners, matrix, size, fill=-1)
    return replace(batch, **changed)


def _rows(values: Tensor, like: Tensor) -> Tensor:
    """One value for every picture (B,), or one pair (B, 2), to be compared with a tensor (B, ...)."""
    return values.view(len(values), *[1] * (like.ndim - values.ndim), *values.shape[1:])


def _half_body(
    batch: Batch, draw: _Draw, chance: float, centre: Tensor, scale: Tensor, zoom: float
) -> tuple[Tensor, Tensor]:
    """Centre and scale that make the upper or lower half fill the crop, for some of those that show enough joints."""
    if isinstance(batch, Crowd):
        raise CourseError("half a body can be shown of one person only; for crowds set half_body to 0")
    height, width = batch.size
    lower = lower_body(batch.skeleton).to(draw.device)
    wanted = torch.where(draw.chance(0.5)[:, None], lower, ~lower)  # (B, K)
    labelled = batch.visible > 0
    half = labelled & wanted
    enough = (labelled.sum(-1) >= HALF_BODY_JOINTS) & (half.sum(-1) >= 3)
    chosen = draw.chance(chance) & enough
    box = geometry.box_of(batch.joints, half, HALF_BODY_PADDING)
    sides = (box[:, 2:] - box[:, :2]).clamp(min=1)
    closer = torch.minimum(width / sides[:, 0], height / sides[:, 1]).clamp(max=HALF_BODY_ZOOM * zoom)
    centre = torch.where(chosen[:, None], (box[:, :2] + box[:, 2:]) / 2, centre)
    return centre, torch.where(chosen, closer * scale / zoom, scale)


def lower_body(skeleton: Skeleton) -> Tensor:
    """(K,) bool: which joints belong to hips and legs."""
    return torch.tensor([any(part in name for part in LOWER_BODY) for name in skeleton.joints])


# --- what they look like ----------------------------------------------------------------------------------------------


def _colour(images: Tensor, draw: _Draw, settings: Augment) -> Tensor:
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    contrast = 1 + draw.cut_normal(1, 1, 1) * settings.contrast
    gain = 1 + draw.cut_normal(3, 1, 1) * settings.gain
    brightness = draw.cut_normal(1, 1, 1) * settings.brightness
    images = ((images - mean) * contrast + mean + brightness) * gain
    luma = (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    grey = draw.chance(settings.grey, 1, 1, 1)
    return torch.where(grey, luma, images).clamp(0, 1)


def _patches(images: Tensor, batch: Batch, draw: _Draw, settings: Augment) -> dict[str, Tensor]:
    """Covers rectangles with one colour or with a piece of the batch's next picture."""
    height, width = batch.size
    size = images.new_tensor([width, height])
    columns = torch.arange(width, device=images.device) + 0.5
    rows = torch.arange(height, device=images.device) + 0.5
    others, visible, owners = images.roll(1, 0), batch.visible, getattr(batch, "owners", None)
    for _ in range(settings.patches):
        there = draw.chance(settings.patch)
        centre = draw.uniform(2) * size
        half = (PATCH_SIDES[0] + draw.uniform(2) * (PATCH_SIDES[1] - PATCH_SIDES[0])) * size / 2
        low, high = centre - half, centre + half  # (B, 2)
        across = (columns >= low[:, :1]) & (columns < high[:, :1])  # (B, W)
        down = (rows >= low[:, 1:]) & (rows < high[:, 1:])  # (B, H)
        covered = (down[:, :, None] & across[:, None, :] & there[:, None, None])[:, None]  # (B, 1, H, W)
        plain = draw.chance(0.5, 1, 1, 1)
        filling = torch.where(plain, draw.uniform(3, 1, 1), others)
        images = torch.where(covered, filling, images)
        joints = batch.joints
        under = ((joints >= _rows(low, joints)) & (joints < _rows(high, joints))).all(-1) & _rows(there, visible)
        visible = torch.where(under & (visible > HIDDEN), HIDDEN, visible)
        owners = None if owners is None else owners.masked_fill(covered[:, 0], -1)
    changed = {"images": images, "visible": visible}
    return changed if owners is None else changed | {"owners": owners}
