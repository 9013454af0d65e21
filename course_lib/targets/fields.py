"""Part affinity fields: what a network is asked for when it must say which joints belong to one person.

Zhe Cao, Tomas Simon, Shih-En Wei, Yaser Sheikh, "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields",
CVPR 2017 (arXiv 1611.08050). A map tells where there is a wrist, a field tells at every cell of a forearm where its
wrist lies: along L limbs, two numbers a limb. For limb c of person k, from joint a to joint b, v = (b - a) / |b - a|,

    L*_ck(p) = v   where 0 <= v.(p - a) <= |b - a| and |v_perp.(p - a)| <= width;   0 elsewhere
    L*_c(p)  = (1 / n_c(p)) sum over k of L*_ck(p)         n_c(p) people have limb c at p
    S*_j(p)  = max over k of exp(-|p - x_jk|^2 / (2 sigma^2))
    W(p)     = 0 where people are whose joints nobody labelled, 1 elsewhere

All is in map units (see `heatmaps`): a map of stride s is drawn from joints / s, and p are the centres of the cells.
Channels 2c and 2c + 1 are x and y of limb c. People stand on one axis, (..., N, K, 2); who is missing is unlabelled.

|                     | paper                  | authors' data layers          | here                         |
|---------------------|------------------------|-------------------------------|------------------------------|
| two limbs at a cell | averaged               | the later person overwrites   | averaged; overlap="last"     |
| two bells at a cell | the larger             | added, cut at 1               | the larger; combine="sum"    |
| sigma               | exp(-d^2 / sigma^2)    | exp(-d^2 / (2 sigma^2)), 7 px | with the 2; 0.875 cells of 8 |
| width of a limb     | sigma_l, number not    | 1 cell to each side, and up   | 1 cell to each side, not     |
|                     | known                  | to 1 cell beyond its ends     | beyond its ends; beyond=1.0  |
| where a cell is     |                        | fields half a cell off maps   | both at the cell's centre    |
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.errors import CourseError, unknown_name
from course_lib.pose import Person
from course_lib.targets import heatmaps

Limbs = Sequence[tuple[int, int]]

OVERLAPS = ("average", "last", "sum")
COMBINATIONS = ("max", "sum")
WIDTH = 1.0  # cells to each side of a limb, the authors' code's
SIGMA = 0.875  # cells: 7 pixels of stride 8, the authors' code's

# --- fields -----------------------------------------------------------------------------------------------------------


def limb_fields(
    joints: Tensor,
    visible: Tensor,
    limbs: Limbs,
    size: tuple[int, int],
    width: float = WIDTH,
    overlap: str = "average",
    beyond: float = 0.0,
) -> Tensor:
    """Draws the limbs of people, joints (..., N, K, 2) and visible (..., N, K), as fields (..., 2L, *size).

    `width` is the reach to each side, `beyond` past the ends: where it is 0, as in the paper, a limb shorter than a
    cell may hold no cell's centre, and then nothing tells whose its joints are. `overlap` says what a cell holds where
    several people have the same limb: their "average" as in the paper, the "last" of them as in the authors' code, or
    their "sum".
    A limb of which a joint is unlabelled, or whose two joints are one point, has no direction and is not drawn.
    """
    if overlap not in OVERLAPS:
        raise unknown_name("rule of overlap", overlap, OVERLAPS)
    joints, visible, limbs = _checked(joints, visible, limbs)
    if not width > 0 or not beyond >= 0:
        raise CourseError(
            f"the width of a limb must be a positive number of cells, and beyond at least 0; got {width} and {beyond}"
        )
    field = joints.new_zeros(*joints.shape[:-3], len(limbs), 2, *size)
    people = joints.new_zeros(*joints.shape[:-3], len(limbs), 1, *size)  # n_c(p)
    for person in range(joints.shape[-3]):  # one after the other: all at once needs N times the memory
        vector, inside = _limbs_of(joints[..., person, :, :], visible[..., person, :], limbs, size, width, beyond)
        own = inside * vector[..., None, None]  # (..., L, 2, *size)
        field = torch.where(inside, own, field) if overlap == "last" else field + own
        people = people + inside
    if overlap == "average":
        field = field / people.clamp(min=1)
    return field.flatten(-4, -3)


def limb_counts(
    joints: Tensor, visible: Tensor, limbs: Limbs, size: tuple[int, int], width: float = WIDTH, beyond: float = 0.0
) -> Tensor:
    """n_c(p): how many people have limb c at each cell, (..., L, *size)."""
    joints, visible, limbs = _checked(joints, visible, limbs)
    people = joints.new_zeros(*joints.shape[:-3], len(limbs), *size)
    for person in range(joints.shape[-3]):
        _, inside = _limbs_of(joints[..., person, :, :], visible[..., person, :], limbs, size, width, beyond)
        people = people + inside.squeeze(-3)
    return people


def _limbs_of(
    joints: Tensor,
    visible: Tensor,
    limbs: list[tuple[int, int]],
    size: tuple[int, int],
    width: float,
    beyond: float,
) -> tuple[Tensor, Tensor]:
    """Of one person (..., K, 2): the unit vectors v (..., L, 2) and which cells they fill (..., L, 1, *size)."""
    a, b = (joints[..., [limb[end] for limb in limbs], :] for end in (0, 1))
    both = (visible[..., [limb[0] for limb in limbs]] > 0) & (visible[..., [limb[1] for limb in limbs]] > 0)
    length = (b - a).norm(dim=-1)  # (..., L)
    drawn = both & (length > 0)
    vector = (b - a) / torch.where(drawn, length, 1.0)[..., None]
    cells_x, cells_y = (torch.arange(n, device=joints.device) + 0.5 for n in (size[1], size[0]))
    x = cells_x - a[..., 0, None, None]  # (..., L, 1, W)
    y = cells_y[:, None] - a[..., 1, None, None]  # (..., L, H, 1)
    vx, vy = vector[..., 0, None, None], vector[..., 1, None, None]
    along, across = vx * x + vy * y, vx * y - vy * x
    inside = (along >= -beyond) & (along <= length[..., None, None] + beyond) & (across.abs() <= width)
    inside = inside & drawn[..., None, None]
    return vector, inside[..., None, :, :]


def flip(fields: Tensor, limbs: Limbs, swaps: Sequence[int]) -> Tensor:
    """Mirrors fields (..., 2L, H, W) left to right; `swaps` are the joints' (see `skeletons`).

    Three things happen: cells change sides, limbs change names, and vectors turn round in x. A limb that is its own
    mirror image with its ends exchanged, such as one from hip to hip, turns round as a whole.
    """
    field = _by_limb(fields, limbs).flip(-1)
    source, sign = _mirrored(limbs, swaps)
    turn = field.new_tensor([[-s, s] for s in sign])
    return (field[..., source, :, :, :] * turn[..., None, None]).flatten(-4, -3)


def _mirrored(limbs: Limbs, swaps: Sequence[int]) -> tuple[list[int], list[float]]:
    """For every limb the one that the mirrored picture shows in its place, and -1 where that runs the other way."""
    known = {tuple(limb): c for c, limb in enumerate(limbs)}
    source, sign = [], []
    for a, b in limbs:
        there = (swaps[a], swaps[b])
        if there not in known and there[::-1] not in known:
            raise CourseError(f"limb {(a, b)} has no mirror image {there} among the limbs, so fields cannot be flipped")
        source.append(known.get(there, known.get(there[::-1], 0)))
        sign.append(1.0 if there in known else -1.0)
    return source, sign


def _by_limb(fields: Tensor, limbs: Limbs) -> Tensor:
    """Fields (..., 2L, H, W) as (..., L, 2, H, W)."""
    if fields.ndim < 3 or fields.shape[-3] != 2 * len(limbs):
        raise CourseError(
            f"fields of {len(limbs)} limbs must be (..., {2 * len(limbs)}, H, W); got {tuple(fields.shape)}"
        )
    return fields.unflatten(-3, (len(limbs), 2))


# --- maps -------------------------------------------------------------------------------------------------------------


def confidence_maps(
    joints: Tensor, visible: Tensor, size: tuple[int, int], sigma: float = SIGMA, combine: str = "max"
) -> Tensor:
    """All people's joints (..., N, K, 2) in K maps and a background, (..., K + 1, *size).

    The background is 1 - max_j S*_j. The "max" over people leaves two peaks where people are near each other; the
    "sum" of the authors' code, cut at 1, makes one plateau of them.
    """
    if combine not in COMBINATIONS:
        raise unknown_name("way to combine people", combine, COMBINATIONS)
    joints, visible, _ = _checked(joints, visible)
    maps = joints.new_zeros(*joints.shape[:-3], joints.shape[-2], *size)
    for person in range(joints.shape[-3]):
        own = heatmaps.gaussian(joints[..., person, :, :], size, sigma)
        own = own * (visible[..., person, :, None, None] > 0)
        maps = torch.maximum(maps, own) if combine == "max" else maps + own
    maps = maps.clamp(max=1)
    return torch.cat([maps, 1 - maps.amax(-3, keepdim=True)], dim=-3)


def _checked(joints: Tensor, visible: Tensor, limbs: Limbs | None = None) -> tuple[Tensor, Tensor, list]:
    """Float joints with zeros where unlabelled, or an unlabelled NaN would reach every cell."""
    if joints.ndim < 3 or joints.shape[-1] != 2 or visible.shape != joints.shape[:-1]:
        raise CourseError(
            "people must be joints (..., N, K, 2) and visible (..., N, K); "
            f"got {tuple(joints.shape)} and {tuple(visible.shape)}"
        )
    joints = torch.where(visible[..., None] > 0, joints.float(), 0.0)
    if not bool(joints.isfinite().all()):
        raise CourseError("a labelled joint must lie at finite coordinates; some are NaN or infinite")
    if limbs is None:
        return joints, visible, []
    return joints, visible, checked_limbs(limbs, joints.shape[-2])


def checked_limbs(limbs: Limbs, joints: int) -> list[tuple[int, int]]:
    """Limbs as pairs of numbers of two different joints below `joints`."""
    pairs = [(int(a), int(b)) for a, b in limbs]
    for a, b in pairs:
        if a == b or not (0 <= a < joints and 0 <= b < joints):
            raise CourseError(f"a limb joins two different ones of the {joints} joints 0 to {joints - 1}; got {(a, b)}")
    return pairs


# --- where nothing is asked -------------------------------------------------------------------------------------------


def labelled_weight(people: Sequence[Person], size: tuple[int, int], stride: int) -> Tensor:
    """W for a picture of `size` pixels, (H / stride, W / stride): the share of every cell without unlabelled people.

    Unlabelled are groups marked as a crowd and people without a single labelled joint. What they cover is their mask,
    or their box where there is none. A network that finds them is right, so it must be neither praised nor blamed.
    """
    height, width = size
    if stride < 1 or height < stride or width < stride or height % stride or width % stride:
        raise CourseError(f"a picture of {height} x {width} pixels cannot be divided into cells of stride {stride}")
    covered = torch.zeros(height, width)
    for person in people:
        if not person.crowd and bool((person.visible > 0).any()):
            continue
        if person.mask is not None:
            if tuple(person.mask.shape) != (height, width):
                raise CourseError(f"a mask must be {height} x {width} as its picture; got {tuple(person.mask.shape)}")
            covered[person.mask.cpu().bool()] = 1
        elif person.box is not None:
            x0, y0, x1, y1 = (max(0, round(float(edge))) for edge in person.box)
            covered[y0:y1, x0:x1] = 1
    return 1 - F.avg_pool2d(covered[None, None], stride)[0, 0]
