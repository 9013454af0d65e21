"""Clothes for a skeleton: every person becomes some thirty rounded cones with colours, patterns, a face and hair.

A shape is a cone with round ends between two points of the camera's space (x right, y down, z away, metres). The
renderer draws nothing else: limbs, rucksacks, posts in front of people and clutter behind them are all shapes.
Colours are looked up in the shape's own frame (left, up, front), so that a shirt has a front, a sleeve ends at the
elbow, and stripes bend with the body.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from course_lib.datasets.synthetic.body import JOINT, Proportions
from course_lib.datasets.synthetic.draw import Draw

PLAIN, HEAD = 0, 1  # kinds of surface
NO_CUT = 9.0  # metres: a cut farther down than any shape reaches


@dataclass
class Shapes:
    """M shapes. A shape of radius 0 is left out."""

    ends: Tensor  # (M, 2, 3) the two centres
    radii: Tensor  # (M, 2)
    image: Tensor  # (M,) long: which image it stands in
    owner: Tensor  # (M,) long: which person it belongs to, -1 for things
    origin: Tensor  # (M, 3) zero of the colour frame
    frame: Tensor  # (M, 3, 3) columns: left, up, front
    colours: Tensor  # (M, 3, 3) main, other (below the cut), second (pattern and decoration)
    cut: Tensor  # (M,) main colour above -cut metres (up axis), other colour below
    pattern: Tensor  # (M, 5) weights of: stripes across, stripes along, checks; threshold; stripes a metre
    badge: Tensor  # (M, 3) half width, low, high of a decoration on the front; width 0 for none
    kind: Tensor  # (M,) long: PLAIN or HEAD
    face: Tensor  # (M, 3) hairline height, hairline slope, eyes drawn (1) or not (0); only for heads

    @staticmethod
    def cat(parts: list[Shapes]) -> Shapes:
        return Shapes(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Shapes)))

    def __getitem__(self, which: Tensor) -> Shapes:
        return Shapes(*(getattr(self, f.name)[which] for f in fields(Shapes)))

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Shapes:
        """On the renderer's device and in its precision; indices stay whole numbers."""
        values = (getattr(self, f.name) for f in fields(Shapes))
        return Shapes(*(v.to(device, dtype if v.is_floating_point() else None) for v in values))


@dataclass
class Wardrobe:
    """What P people look like: drawn once, worn in every frame of a clip."""

    skin: Tensor  # (P, 3)
    hair: Tensor  # (P, 3)
    shirt: Tensor  # (P, 2, 3) main and second colour
    trousers: Tensor  # (P, 2, 3)
    shoes: Tensor  # (P, 3)
    thing: Tensor  # (P, 3) rucksack
    shirt_pattern: Tensor  # (P, 5)
    trouser_pattern: Tensor  # (P, 5)
    sleeve: Tensor  # (P,) covered part of the arm, 0 to 2 (shoulder to elbow to wrist)
    leg: Tensor  # (P,) covered part of the leg, 0.3 to 2
    badge: Tensor  # (P, 3)
    skirt: Tensor  # (P,) radius of its hem, 0 for none
    rucksack: Tensor  # (P,) radius, 0 for none
    long_hair: Tensor  # (P,) radius, 0 for none
    face: Tensor  # (P, 3)
    loose: Tensor  # (P,) metres between cloth and skin


def _colours(draw: Draw, shape: tuple[int, ...]) -> Tensor:
    """Cloth colours: hue free, saturation and brightness as cloth has them, many of them grey, white or dark."""
    hue = draw.uniform((*shape, 1)) + torch.tensor([0.0, 1 / 3, 2 / 3], dtype=torch.float64)
    pure = (torch.abs((hue % 1.0) * 6 - 3) - 1).clamp(0, 1)
    saturation = draw.uniform((*shape, 1)) * torch.where(draw.chance((*shape, 1), 0.35), 0.15, 0.9)
    return (1 - saturation * (1 - pure)) * draw.uniform((*shape, 1), 0.08, 1.0)


def _patterns(draw: Draw, count: int) -> Tensor:
    """Weights (P, 5): plain, stripes across, stripes along, checks, or blotches of all three."""
    table = torch.tensor([[0, 0, 0, 9], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0.7, 0.7, 0.9, 0.5]])
    chosen = table.double()[draw.pick((count,), [0.5, 0.2, 0.1, 0.1, 0.1])]
    return torch.cat([chosen, draw.uniform((count, 1), 4, 16)], dim=-1)


def draw_wardrobe(draw: Draw, count: int, cues: float) -> Wardrobe:
    """Clothes for P people; with chance 1 - cues a person has no face, hairline or badge to tell front from back."""
    tone = draw.uniform((count, 1)) ** 0.8
    dark, light = torch.tensor([0.22, 0.13, 0.09]).double(), torch.tensor([0.98, 0.82, 0.70]).double()
    skin = dark + (light - dark) * tone + draw.normal((count, 3), 0, 0.02)
    ages = draw.uniform((count, 1))
    black, blond = torch.tensor([0.06, 0.05, 0.05]).double(), torch.tensor([0.80, 0.62, 0.36]).double()
    hair = torch.where(draw.chance((count, 1), 0.15), ages * 0.5 + 0.4, black + (blond - black) * ages**2)
    told = draw.chance((count,), cues)
    hairline = torch.where(draw.chance((count,), 0.1), -3.0, draw.uniform((count,), -0.1, 0.35))
    badge = torch.stack([draw.uniform((count,), 0.012, 0.09), draw.uniform((count,), 0.1, 0.28)], -1)
    badge = torch.cat([badge, badge[:, 1:] + draw.uniform((count, 1), 0.08, 0.3)], -1)
    badge[:, 0] *= draw.chance((count,), 0.6) & told
    face = torch.stack([hairline, draw.uniform((count,), 0.5, 0.8), torch.ones(count).double()], -1)
    face = torch.where(told[:, None], face, torch.tensor([-9.0, 0.0, 0.0]).double())
    return Wardrobe(
        skin=skin.clamp(0.03, 1),
        hair=hair.expand(count, 3).clone(),
        shirt=_colours(draw, (count, 2)),
        trousers=_colours(draw, (count, 2)) * 0.75,
        shoes=_colours(draw, (count,)) * 0.8,
        thing=_colours(draw, (count,)) * 0.7,
        shirt_pattern=_patterns(draw, count),
        trouser_pattern=torch.where(
            draw.chance((count, 1), 0.8), torch.tensor([0, 0, 0, 9, 1.0]).double(), _patterns(draw, count)
        ),
        sleeve=torch.where(draw.chance((count,), 0.5), 2.0, draw.uniform((count,), 0.0, 1.3)),
        leg=torch.where(draw.chance((count,), 0.62), 1.95, draw.uniform((count,), 0.35, 1.3)),
        badge=badge,
        skirt=draw.uniform((count,), 0.12, 0.2) * draw.chance((count,), 0.1),
        rucksack=draw.uniform((count,), 0.08, 0.13) * draw.chance((count,), 0.1),
        long_hair=draw.uniform((count,), 0.05, 0.085) * (draw.chance((count,), 0.3) & told & (hairline > -1)),
        face=face,
        loose=draw.uniform((count,), 0.0, 0.016),
    )


def dress(
    body: Proportions, joints: Tensor, frames: dict[str, Tensor], wear: Wardrobe, image: Tensor, owner: Tensor
) -> Shapes:
    """The shapes of P people whose joints (P, 26, 3) and part frames (P, 3, 3) are given in camera space."""
    at = {name: joints[:, index] for name, index in JOINT.items()}
    tall, zero = body.height, torch.zeros_like(body.height)
    thick = body.height * body.build
    plain = torch.zeros_like(wear.shirt_pattern) + torch.tensor([0, 0, 0, 9.0, 1]).double()
    no_badge, no_face = torch.zeros_like(wear.badge), torch.zeros_like(wear.face)
    rows: list[dict[str, Tensor]] = []

    def along(base: Tensor, frame: Tensor, left=zero, up=zero, front=zero) -> Tensor:
        return base + (frame @ torch.stack([left, up, front], -1)[..., None])[..., 0]

    def add(start, end, first, last, frame, colours, **more) -> None:
        """One shape between two points, with its two radii; `more` overrides the defaults of its surface."""
        surface = {"origin": start, "cut": zero + NO_CUT, "pattern": plain, "badge": no_badge, "face": no_face}
        surface |= {"kind": torch.full_like(image, PLAIN)} | more
        geometry = {"ends": torch.stack([start, end], 1), "radii": torch.stack([first + zero, last + zero], 1)}
        rows.append(geometry | surface | {"frame": frame, "colours": torch.stack(colours, 1)})

    chest, pelvis, head = frames["chest"], frames["pelvis"], frames["head"]
    skin, shirt, legs = (wear.skin,) * 3, (wear.shirt[:, 0], wear.trousers[:, 0], wear.shirt[:, 1]), wear.trousers
    size = body.bones["head"]
    low, high = along(at["head"], head, up=-size * 0.14), along(at["head"], head, up=size * 0.1)
    features = {"kind": torch.full_like(image, HEAD), "face": wear.face, "origin": at["head"]}
    add(low, high, size * 0.4, size * 0.46, head, (wear.skin, wear.hair, wear.skin * 0.45), **features)
    bridge = along(at["nose"], head, up=size * 0.12, front=-size * 0.08)
    add(bridge, at["nose"], size * 0.07 * wear.face[:, 2], size * 0.1 * wear.face[:, 2], head, skin)
    nape = along(at["head"], head, up=-size * 0.1, front=-size * 0.28)
    tips = along(nape, head, up=-size * 0.9, front=-size * 0.12)
    add(nape, tips, wear.long_hair, wear.long_hair * 0.8, head, (wear.hair,) * 3)
    add(at["thorax"], along(at["neck"], head, up=size * 0.12), thick * 0.034, thick * 0.031, chest, skin)

    # the trunk: one bar across the shoulders, three columns down, one bar across the hips; trousers start at the cut
    waist = tall * 0.02
    inner = {s: along(at[f"{s}_shoulder"], chest, sign * -tall * 0.022, -tall * 0.02) for s, sign in _SIDES}
    trunk = {"pattern": wear.shirt_pattern, "badge": wear.badge, "cut": -waist, "origin": at["pelvis"]}
    add(inner["left"], inner["right"], thick * 0.05, thick * 0.05, chest, shirt, **trunk)
    for side, _ in _SIDES:
        flank = along(at[f"{side}_hip"], pelvis, up=tall * 0.03)
        add(inner[side], flank, thick * 0.056, thick * 0.05, chest, shirt, **trunk)
    belly = along(at["pelvis"], pelvis, up=tall * 0.05, front=tall * 0.008)
    add(along(at["thorax"], chest, up=-tall * 0.03), belly, thick * 0.056, thick * 0.066, chest, shirt, **trunk)
    bottom = (legs[:, 0], legs[:, 0], legs[:, 1])
    add(at["left_hip"], at["right_hip"], thick * 0.063, thick * 0.063, pelvis, bottom, pattern=wear.trouser_pattern)
    hem = along((at["left_knee"] + at["right_knee"]) / 2, pelvis, up=tall * 0.06)
    has_skirt = (wear.skirt > 0).double()
    add(at["pelvis"], hem, thick * 0.075 * has_skirt, wear.skirt, pelvis, bottom, pattern=wear.trouser_pattern)
    back = along(at["thorax"], chest, up=-tall * 0.06, front=-tall * 0.085)
    add(back, along(back, chest, up=-tall * 0.13), wear.rucksack, wear.rucksack * 1.15, chest, (wear.thing,) * 3)

    outfits = {
        "sleeve": ((wear.shirt[:, 0], wear.skin, wear.shirt[:, 1]), wear.shirt_pattern, wear.sleeve),
        "leg": ((legs[:, 0], wear.skin, legs[:, 1]), wear.trouser_pattern, wear.leg),
    }
    for side, _ in _SIDES:
        for start, end, part, bone, first, last, outfit, begins in _LIMBS:
            colours, pattern, covered = outfits[outfit]
            extra = wear.loose * (covered > begins + 0.45)
            frame, cut = frames[f"{side}_{part}"], (covered - begins) * body.bones[bone]
            radii = thick * first + extra, thick * last + extra
            add(at[f"{side}_{start}"], at[f"{side}_{end}"], *radii, frame, colours, pattern=pattern, cut=cut)
        add(at[f"{side}_wrist"], at[f"{side}_hand"], thick * 0.019, thick * 0.023, frames[f"{side}_forearm"], skin)
        shoe = (wear.shoes,) * 3
        add(at[f"{side}_ankle"], at[f"{side}_toe"], thick * 0.027, thick * 0.021, frames[f"{side}_foot"], shoe)

    per_person = len(rows)
    return Shapes(
        image=image.repeat_interleave(per_person),
        owner=owner.repeat_interleave(per_person),
        **{name: torch.stack([row[name] for row in rows], 1).flatten(0, 1) for name in rows[0]},
    )


_SIDES = (("left", 1.0), ("right", -1.0))
# from joint, to joint, frame, bone, the two radii (of body height), what covers it, and where on that it begins
_LIMBS = (
    ("shoulder", "elbow", "arm", "upper_arm", 0.031, 0.024, "sleeve", 0),
    ("elbow", "wrist", "forearm", "forearm", 0.024, 0.018, "sleeve", 1),
    ("hip", "knee", "thigh", "thigh", 0.056, 0.034, "leg", 0),
    ("knee", "ankle", "shin", "shin", 0.034, 0.023, "leg", 1),
)


def draw_things(draw: Draw, ends: Tensor, radii: Tensor, image: Tensor) -> Shapes:
    """Things that are nobody: posts and furniture in front of people, clutter behind them. ends (M, 2, 3)."""
    count = len(ends)
    return Shapes(
        ends=ends,
        radii=radii,
        image=image,
        owner=torch.full((count,), -1),
        origin=ends[:, 0],
        frame=torch.linalg.qr(draw.normal((count, 3, 3)))[0],
        colours=_colours(draw, (count, 3)),
        cut=torch.full((count,), NO_CUT).double(),
        pattern=_patterns(draw, count),
        badge=torch.zeros(count, 3).double(),
        kind=torch.zeros(count, dtype=torch.long),
        face=torch.zeros(count, 3).double(),
    )
