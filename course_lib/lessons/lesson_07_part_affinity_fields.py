"""Lesson 07: who is linked with whom by several rules, with true joints and drawn maps, so that no network matters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.geometry import box_iou
from course_lib.lessons import lesson_07_exercises  # noqa: F401 (registers the exercises)
from course_lib.pose import Scene
from course_lib.targets.candidates import Candidates, peaks
from course_lib.targets.fields import confidence_maps, limb_fields
from course_lib.targets.grouping import Group, Links, assemble, greedy, line_integral, pair_scores

STRIDE = 4  # pixels a cell, as in the course's network
SIGMA, WIDTH, BEYOND = 1.0, 1.0, 1.0  # of its targets, in cells
NEAREST, MIDDLE, FIELD = "nearest joint", "mid-point", "field"
RULES = (NEAREST, MIDDLE, FIELD)

# --- what is drawn from the truth -------------------------------------------------------------------------------------


class Drawn(NamedTuple):
    """What a perfect network would answer to a picture, and whose every joint is. All in cells.

    joints (N, K, 2), visible (N, K), maps (K, h, w), fields (2L, h, w); candidates: the labelled joints themselves, and
    owners (C,) the numbers of their people.
    """

    joints: Tensor
    visible: Tensor
    maps: Tensor
    fields: Tensor
    candidates: Candidates
    owners: Tensor


def drawn(scene: Scene) -> Drawn:
    """The targets of a scene."""
    skeleton = scene.people[0].skeleton
    joints = torch.stack([person.joints for person in scene.people]) / STRIDE
    visible = torch.stack([person.visible for person in scene.people])
    cells = (scene.size[0] // STRIDE, scene.size[1] // STRIDE)
    maps = confidence_maps(joints, visible, cells, SIGMA)[:-1]
    fields = limb_fields(joints, visible, skeleton.limbs, cells, WIDTH, beyond=BEYOND)
    joint, owner = (visible.T > 0).nonzero(as_tuple=True)  # joint by joint, as candidates are listed
    candidates = Candidates(joints[owner, joint], torch.ones(len(owner)), joint)
    return Drawn(joints, visible, maps, fields, candidates, owner)


def ends(candidates: Candidates, limbs: Sequence[tuple[int, int]], joints: int) -> tuple[Tensor, Tensor]:
    """The numbers of the candidates that a limb may join, (L, M) each, -1 where there are no more."""
    table = candidates.table(joints)
    return table[[a for a, _ in limbs]], table[[b for _, b in limbs]]


# --- three rules ------------------------------------------------------------------------------------------------------


def links_by(rule: str, scene: Scene, own: Drawn) -> Links:
    """Every pair's score, (L, M, M), by one of RULES: how near the ends are, what a map of the limbs' middles holds
    halfway between them, or E in the field."""
    skeleton = scene.people[0].skeleton
    limbs, count = skeleton.limbs, len(skeleton)
    if rule == FIELD:
        return pair_scores(own.candidates, own.fields, limbs, count)
    first, second = ends(own.candidates, limbs, count)
    there = (first >= 0)[:, :, None] & (second >= 0)[:, None]
    starts, stops = own.candidates.points[first][:, :, None], own.candidates.points[second][:, None]
    if rule == NEAREST:
        return Links(-(stops - starts).norm(dim=-1), there)
    a, b = [a for a, _ in limbs], [b for _, b in limbs]
    middles = (own.joints[:, a] + own.joints[:, b]) / 2
    both = (own.visible[:, a] > 0) & (own.visible[:, b] > 0)
    maps = confidence_maps(middles, both, own.maps.shape[-2:], SIGMA)[:-1]
    scores = torch.where(there, sampled(maps, (starts + stops) / 2), 0.0)
    return Links(scores, there & (scores > 0.1))


def sampled(maps: Tensor, points: Tensor) -> Tensor:
    """Maps (L, h, w) at points (L, ..., 2) in cells, between the centres of cells linearly."""
    size = maps.new_tensor([maps.shape[-1], maps.shape[-2]])
    grid = (points / size * 2 - 1).flatten(1, -2)[:, None]
    seen = F.grid_sample(maps[:, None], grid, padding_mode="border", align_corners=False)
    return seen[:, 0, 0].view(points.shape[:-1])


class Judged(NamedTuple):
    """Of all limbs that are wholly labelled, how many are linked right; how many links join two people."""

    limbs: int
    right: int
    wrong: int


def judged(own: Drawn, chosen: Tensor, limbs: Sequence[tuple[int, int]]) -> Judged:
    """Chosen links (L, M, M) against the truth."""
    first, second = ends(own.candidates, limbs, own.visible.shape[1])
    limb, m, n = chosen.nonzero(as_tuple=True)
    same = own.owners[first[limb, m]] == own.owners[second[limb, n]]
    a, b = [a for a, _ in limbs], [b for _, b in limbs]
    labelled = (own.visible[:, a] > 0) & (own.visible[:, b] > 0)
    return Judged(int(labelled.sum()), int(same.sum()), int((~same).sum()))


def compare(scenes: Sequence[Scene], groups: Sequence[tuple[int, int]]) -> dict[str, dict[str, float]]:
    """The share of limbs that each rule does not link right, by the number of people in the picture."""
    rows: dict[str, dict[str, float]] = {}
    known = [(scene, drawn(scene)) for scene in scenes]
    for rule in RULES:
        every = [judged(own, greedy(links_by(rule, scene, own)), limbs_of(scene)) for scene, own in known]
        rows[rule] = {}
        for low, high in (*groups, (1, 99)):
            some = [one for one, (scene, _) in zip(every, known, strict=True) if low <= len(scene.people) <= high]
            name = "all" if high == 99 else f"{low} to {high} people"
            rows[rule][name] = 1 - sum(one.right for one in some) / sum(one.limbs for one in some)
    return rows


def limbs_of(scene: Scene) -> tuple[tuple[int, int], ...]:
    return scene.people[0].skeleton.limbs


def wrong_links(scene: Scene, own: Drawn, chosen: Tensor) -> list[tuple[Tensor, Tensor, bool]]:
    """Chosen links as start, end (in pixels), and whether they join two people."""
    first, second = ends(own.candidates, limbs_of(scene), own.visible.shape[1])
    found = []
    for limb, m, n in chosen.nonzero().tolist():
        a, b = first[limb, m], second[limb, n]
        wrong = bool(own.owners[a] != own.owners[b])
        found.append((own.candidates.points[a] * STRIDE, own.candidates.points[b] * STRIDE, wrong))
    return found


def repaired(scenes: Sequence[Scene], people: tuple[int, int] = (3, 5)) -> int:
    """The scene with so many people in which the field repairs most of what the nearest joint links wrong."""

    def gain(scene: Scene) -> int:
        if not people[0] <= len(scene.people) <= people[1]:
            return -1
        own = drawn(scene)
        nearest, field = (judged(own, greedy(links_by(rule, scene, own)), limbs_of(scene)) for rule in (NEAREST, FIELD))
        return nearest.wrong - 3 * field.wrong

    return max(range(len(scenes)), key=lambda number: gain(scenes[number]))


# --- crossing links ---------------------------------------------------------------------------------------------------

LENGTH, ROOM = 10.0, (40, 84)  # cells: of a limb, of the map
JITTER, NOISE = 0.4, 0.15  # standard deviations: of a joint's place, in cells, and of what maps and fields hold
CROSSING, IN_A_ROW = "two arms cross", "three arms side by side"


def arms(arrangement: str, angle: float) -> Tensor:
    """Limbs (N, 2, 2) in cells. In CROSSING the two true limbs cross at this angle; IN_A_ROW, those of three people
    are parallel, and the wrong links of the first with the third would cross at it."""
    half, centre = math.radians(angle) / 2, torch.tensor([ROOM[1] / 2, ROOM[0] / 2])
    along, across = LENGTH / 2 * math.cos(half), LENGTH / 2 * math.sin(half)
    if arrangement == CROSSING:
        corners = [[[-across, -along], [across, along]], [[across, -along], [-across, along]]]
    else:
        apart = LENGTH / 2 * math.tan(half)
        corners = [[[x, -LENGTH / 2], [x, LENGTH / 2]] for x in (-apart, 0.0, apart)]
    return torch.tensor(corners) + centre


def crossing_errors(arrangement: str, angle: float, tries: int = 100, seed: int = 0) -> dict[str, float]:
    """The share of limbs that each rule links wrong, over `tries` pictures with their own noise.

    Maps and fields are drawn from the true limbs and made noisy; the ends that are to be joined are a little off.
    """
    generator = torch.Generator().manual_seed(seed)
    true = arms(arrangement, angle)
    people = len(true)
    true = true + 0.8 * torch.randn(tries, 1, 1, 2, generator=generator)  # anywhere on the grid of cells
    seen = true + JITTER * torch.randn(true.shape, generator=generator)
    there = torch.ones(tries, people, 2)
    fields = limb_fields(true, there, [(0, 1)], ROOM, WIDTH, beyond=BEYOND).flatten(0, 1)
    middles = confidence_maps(true.mean(2, keepdim=True), there[..., :1], ROOM, SIGMA)[:, 0]
    fields = fields + NOISE * torch.randn(fields.shape, generator=generator)
    middles = middles + NOISE * torch.randn(middles.shape, generator=generator)
    starts = seen[:, :, None, 0].expand(tries, people, people, 2)
    stops = seen[:, None, :, 1].expand(tries, people, people, 2)
    every = torch.ones(tries, people, people, dtype=torch.bool)
    scores = {
        NEAREST: -(stops - starts).norm(dim=-1),
        MIDDLE: sampled(middles, (starts + stops) / 2),
        FIELD: line_integral(fields, starts, stops).scores,
    }
    chosen = {rule: greedy(Links(score, every)) for rule, score in scores.items()}
    return {rule: 1 - float(one.diagonal(dim1=1, dim2=2).float().mean()) for rule, one in chosen.items()}


# --- two people sliding together --------------------------------------------------------------------------------------


def profile(distance: float, combine: str, sigma: float = SIGMA, size: tuple[int, int] = (9, 33)) -> tuple[Tensor, int]:
    """The middle row of a map of two people's joints so many cells apart, and how many peaks the map has."""
    middle = torch.tensor([size[1] / 2, size[0] / 2])
    joints = torch.stack([middle - torch.tensor([side * distance / 2, 0.0]) for side in (1.0, -1.0)])[:, None]
    maps = confidence_maps(joints, torch.ones(2, 1), size, sigma, combine)[:1]
    return maps[0, size[0] // 2], len(peaks(maps, 0.1).scores)


def merged_below(combine: str, sigma: float = SIGMA) -> float:
    """The smallest distance in cells, in steps of a tenth, from which two people always make two peaks."""
    for tenth in range(80, 0, -1):
        if profile(tenth / 10, combine, sigma)[1] < 2:
            return (tenth + 1) / 10
    return 0.0


# --- assembly, limb by limb -------------------------------------------------------------------------------------------


def assembled(maps: Tensor, fields: Tensor, scene: Scene, limbs: int) -> list[Group]:
    """Who there is when only the first so many limbs have been joined. Nobody is left out for being small yet."""
    skeleton = scene.people[0].skeleton
    found = peaks(maps)
    links = pair_scores(found, fields, skeleton.limbs, len(skeleton))
    chosen = greedy(links)
    chosen[limbs:] = False
    return assemble(found, links, chosen, skeleton.limbs, len(skeleton), least_joints=2, least_score=0.0)


# --- what the figures need --------------------------------------------------------------------------------------------


def pair_for_slider(own: Drawn, limb: int, scene: Scene) -> tuple[int, int]:
    """A person with a whole, long limb, and the one whose end of it is nearest to theirs, but not too near."""
    a, b = limbs_of(scene)[limb]
    whole = ((own.visible[:, a] > 0) & (own.visible[:, b] > 0)).nonzero()[:, 0].tolist()
    first = max(whole, key=lambda n: float((own.joints[n, a] - own.joints[n, b]).norm()))
    away = {n: float((own.joints[first, b] - own.joints[n, b]).norm()) for n in whole if n != first}
    return first, min(away, key=lambda n: abs(away[n] - 6))


def clearest(scenes: Sequence[Scene], people: int) -> int:
    """The scene of so many people whose smallest is largest, and who cover each other least."""

    def clear(scene: Scene) -> float:
        boxes = torch.stack([person.box for person in scene.people])
        shared = box_iou(boxes, boxes).fill_diagonal_(0)
        return float((boxes[:, 3] - boxes[:, 1]).min()) / scene.size[0] - float(shared.max())

    return max((i for i, one in enumerate(scenes) if len(one.people) == people), key=lambda i: clear(scenes[i]))


def window_around(points: Tensor, size: tuple[int, int], margin: float = 22) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 in pixels: a part of a picture of `size`, four by three, with these points (N, 2) inside."""
    low, high = points.amin(0) - margin, points.amax(0) + margin
    half = max(float(high[0] - low[0]) / 8, float(high[1] - low[1]) / 6)
    half = min(half, size[1] / 8, size[0] / 6)
    x = min(max(float(low[0] + high[0]) / 2, 4 * half), size[1] - 4 * half)
    y = min(max(float(low[1] + high[1]) / 2, 3 * half), size[0] - 3 * half)
    return x - 4 * half, y - 3 * half, x + 4 * half, y + 3 * half


def pairs(own: Drawn, scene: Scene) -> int:
    """How many pairs of candidates the limbs of a picture might join."""
    count = torch.bincount(own.candidates.joints, minlength=own.visible.shape[1])
    return sum(int(count[a] * count[b]) for a, b in limbs_of(scene))
