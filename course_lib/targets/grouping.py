"""From maps and part affinity fields to people: peaks, line integrals, assignment, assembly.

Zhe Cao, Tomas Simon, Shih-En Wei, Yaser Sheikh, "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields",
CVPR 2017 (arXiv 1611.08050), and with Gines Hidalgo "OpenPose", 2018 (arXiv 1812.08008).

    peaks       d_j^m      the local maxima of map S_j
    pair_scores E_mn     = mean over u in [0, 1] of L_c((1 - u) d_a^m + u d_b^n) . v  +  min(H / (2 |d_b - d_a|) - 1, 0)
    assign      z_mn     = one to one within every limb type: the highest E first, or the highest sum of E
    assemble    people   = connected joints, no two of a kind

v is the unit vector from d_a to d_b. The second term punishes limbs longer than half the picture is high. A pair also
needs enough of its points on the limb: more than `share` of them with a projection above `along`. All types jointly
would be an NP-hard problem; one type at a time it is a bipartite matching, and the tree does the rest.

|                  | authors' MATLAB   | its ports to Python    | OpenPose's C++           | here             |
|------------------|-------------------|------------------------|--------------------------|------------------|
| peak above       | 0.1               | 0.1                    | 0.05                     | 0.1              |
| projection above | 0.05              | 0.05                   | 0.05                     | 0.05             |
| share, more than | 0.8               | 0.8                    | 0.95                     | 0.8              |
| points           | 10, ends included | 10, ends included      | 5 to 25, with the length | 10 inner ones    |
| mean over        | those above       | all                    | those above              | all              |
| long limbs       | punished          | punished               | allowed                  | punished         |
| joints, at least | 3                 | 4, one 3               | 3                        | 3                |
| score a joint    | 0.2               | 0.4, one 0.2           | 0.4                      | 0.4              |
| order            | limb by limb      | limb by limb           | all by score             | limb by limb     |
| merge two people | no                | yes                    | yes                      | yes              |
| peaks on         | enlarged maps     | enlarged, blurred maps | enlarged maps            | fitted parabolas |

Everything is in map units. K joints, L limbs, C candidates, M the most candidates of one joint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from course_lib.errors import CourseError, unknown_name
from course_lib.targets.candidates import Candidates, peaks
from course_lib.targets.fields import Limbs, checked_limbs

SAMPLES = 2**20  # points of the fields looked at together, which bounds the memory
ORDERS = ("limb", "score")


class Links(NamedTuple):
    """Every pair of candidates that a limb may join, (L, M, M): E, and whether the pair is possible at all."""

    scores: Tensor
    possible: Tensor


class Group(NamedTuple):
    """One person: joints (K, 2), scores (K,), 0 where a joint is missing, and what all of it adds up to.

    A missing joint is put at the mean of the others. `score` sums the joints' and the limbs' scores.
    """

    joints: Tensor
    scores: Tensor
    score: float


# --- line integrals ---------------------------------------------------------------------------------------------------


def line_integral(
    fields: Tensor,
    starts: Tensor,
    ends: Tensor,
    samples: int = 10,
    along: float = 0.05,
    share: float = 0.8,
    longest: float | None = 0.5,
    passing_only: bool = False,
) -> Links:
    """E of limbs from starts to ends (L, ..., 2) in fields (2L, H, W), and whether each is possible: (L, ...).

    samples: the middles of as many equal pieces of the limb: at the ends themselves, a limb's field breaks off. It is
        interpolated linearly between the centres of cells and goes on unchanged beyond the outermost.
    along, share: more than a `share` of the points must have a projection above `along`, and E must be above 0.
    longest: in heights of the picture; a longer limb is punished. None: any length is fine.
    passing_only: the mean over the points above `along` alone.
    Two ends at one place have no direction: E is 0, and no limb is possible.
    """
    if fields.ndim != 3 or len(fields) != 2 * len(starts) or starts.shape != ends.shape or starts.shape[-1:] != (2,):
        raise CourseError(
            f"fields must be (2L, H, W) for starts and ends (L, ..., 2); got {tuple(fields.shape)}, "
            f"{tuple(starts.shape)} and {tuple(ends.shape)}"
        )
    if samples < 1 or not 0 <= share < 1 or (longest is not None and not longest > 0):
        raise CourseError(
            "a line integral needs at least 1 sample, a share from 0 to below 1 and a longest limb above 0; got "
            f"{samples}, {share} and {longest}"
        )
    field = fields.detach().float()
    field = torch.where(field.isfinite(), field, 0.0).unflatten(0, (len(starts), 2))
    shape, height = starts.shape[:-1], field.shape[-2]
    starts, ends = starts.to(field).reshape(len(starts), -1, 2), ends.to(field).reshape(len(ends), -1, 2)
    length = (ends - starts).norm(dim=-1)  # (L, P)
    vector = (ends - starts) / torch.where(length > 0, length, 1.0)[..., None]
    extent = field.new_tensor([field.shape[-1], height])
    u = (torch.arange(samples, device=field.device)[:, None] + 0.5) / samples
    step = max(1, SAMPLES // (samples * max(len(starts), 1)))
    projections = []
    for first in range(0, starts.shape[1], step):
        a, b = starts[:, first : first + step, None], ends[:, first : first + step, None]
        grid = (a + u * (b - a)) / extent * 2 - 1  # (L, P', samples, 2): -1 and 1 are the corners
        seen = F.grid_sample(field, grid, padding_mode="border", align_corners=False)  # (L, 2, P', samples)
        projections.append((seen * vector[:, first : first + step].permute(0, 2, 1)[..., None]).sum(1))
    projection = torch.cat(projections, dim=1) if projections else starts.new_zeros(len(starts), 0, samples)
    above = projection > along
    count = above.sum(-1)
    score = (projection * above).sum(-1) / count.clamp(min=1) if passing_only else projection.mean(-1)
    if longest is not None:
        score = score + (longest * height / length.clamp(min=1e-6) - 1).clamp(max=0)
    # a share of 0.8 of 10 points is 8 of them, whatever 0.8 is in binary
    enough = count > share * samples + 1e-6
    return Links(score.reshape(shape), (enough & (score > 0)).reshape(shape))


def pair_scores(candidates: Candidates, fields: Tensor, limbs: Limbs, joints: int, **options) -> Links:
    """All pairs of the candidates of each limb's two joints: (L, M, M), in the order of `Candidates.table(joints)`.

    `options` are those of `line_integral`. Places of the table without a candidate are impossible and have E = 0.
    """
    limbs = checked_limbs(limbs, joints)
    table = candidates.table(joints)
    a, b = (table[[limb[end] for limb in limbs]] for end in (0, 1))  # (L, M)
    if table.shape[1] == 0 or not limbs:
        nothing = torch.zeros(len(limbs), table.shape[1], table.shape[1])
        return Links(nothing, nothing.bool())
    shape = (*a.shape, table.shape[1], 2)
    starts, ends = candidates.points[a][:, :, None].expand(shape), candidates.points[b][:, None].expand(shape)
    scores, possible = line_integral(fields, starts, ends, **options)
    there = (a >= 0)[:, :, None] & (b >= 0)[:, None]
    return Links(torch.where(there, scores.cpu(), 0.0), possible.cpu() & there)


# --- assignment -------------------------------------------------------------------------------------------------------


def greedy(links: Links) -> Tensor:
    """Chosen pairs (L, M, M): of every limb the highest first, then the highest of what is left.

    The sum is at least half the best possible one. All limbs are done at once: a pair that is the highest of both its
    row and its column is taken by the one-by-one rule whatever else is taken, so all such pairs are taken together.
    """
    scores, free = links.scores.double().numpy(), links.possible.numpy().copy()
    order = np.argsort(-scores, axis=None, kind="stable")
    rank = np.empty(scores.size, dtype=np.int64)
    rank[order] = np.arange(scores.size, 0, -1)  # no two are equal, and of equal scores the first counts
    rank = rank.reshape(scores.shape)
    chosen = np.zeros_like(free)
    while free.any():
        left = np.where(free, rank, 0)
        best = free & (left == left.max(2, keepdims=True)) & (left == left.max(1, keepdims=True))
        chosen |= best
        free &= ~(best.any(2, keepdims=True) | best.any(1, keepdims=True))
    return torch.from_numpy(chosen)


def optimal(links: Links) -> Tensor:
    """Chosen pairs (L, M, M) with the highest sum of every limb: the Hungarian method's answer."""
    values = torch.where(links.possible, links.scores, 0.0).double().numpy()  # an impossible pair is as good as none
    chosen = np.zeros(values.shape, dtype=bool)
    for limb, value in enumerate(values):
        rows, columns = linear_sum_assignment(value, maximize=True)
        chosen[limb, rows, columns] = True
    return torch.from_numpy(chosen) & links.possible


ASSIGNMENTS = {"greedy": greedy, "optimal": optimal}

# --- assembly ---------------------------------------------------------------------------------------------------------


def redundant(limbs: Limbs) -> list[bool]:
    """Which limbs join what the limbs before them have joined already; without these the others are a tree."""
    root: dict[int, int] = {}

    def top(joint: int) -> int:
        while joint in root:
            joint = root[joint]
        return joint

    found = []
    for a, b in limbs:
        a, b = top(a), top(b)
        found.append(a == b)
        if a != b:
            root[a] = b
    return found


def assemble(
    candidates: Candidates,
    links: Links,
    chosen: Tensor,
    limbs: Limbs,
    joints: int,
    order: str = "limb",
    confidence: float = 0.1,
    least_joints: int = 3,
    least_score: float = 0.4,
) -> list[Group]:
    """People from chosen pairs (L, M, M), the highest score first.

    order: "limb" goes limb by limb, and a redundant limb may only complete or join people; "score" takes all pairs
        from the highest of E + `confidence` (s_a + s_b) to the lowest, so that a doubtful limb spoils nothing sure.
    Two free ends start a person. A free end joins the other's person if that has no such joint yet, and two people
    become one if no joint is in both; else the pair is dropped.
    least_joints, least_score: who has fewer joints, or a lower sum of joints and limbs a joint, is nobody.
    """
    if order not in ORDERS:
        raise unknown_name("order of assembly", order, ORDERS)
    limbs = checked_limbs(limbs, joints)
    limb, m, n = chosen.nonzero(as_tuple=True)
    table, ends = candidates.table(joints), torch.tensor(limbs, dtype=torch.long).view(-1, 2)[limb]
    a, b, e = table[ends[:, 0], m], table[ends[:, 1], n], links.scores[limb, m, n]
    if order == "score":
        ranked = torch.argsort(
            e + confidence * (candidates.scores[a] + candidates.scores[b]), descending=True, stable=True
        )
    else:
        ranked = torch.arange(len(limb))  # `nonzero` went limb by limb already
    weak = redundant(limbs) if order == "limb" else [False] * len(limbs)
    owner: dict[int, _Assembled] = {}
    for c, first, second, score in zip(*(values[ranked].tolist() for values in (limb, a, b, e)), strict=True):
        (j, k), one, two = limbs[c], owner.get(first), owner.get(second)
        if one is None and two is None:
            if not weak[c]:
                owner[first] = owner[second] = _Assembled({j: first, k: second}, score)
        elif one is two:
            one.score += score
        elif two is None or one is None:
            person, joint, candidate = (one, k, second) if two is None else (two, j, first)
            if joint not in person.slots:
                person.slots[joint] = candidate
                person.score += score
                owner[candidate] = person
        elif one.slots.keys().isdisjoint(two.slots):
            one.slots |= two.slots
            one.score += two.score + score
            owner |= dict.fromkeys(two.slots.values(), one)
    people = list({id(person): person for person in owner.values()}.values())
    slots = torch.tensor([[person.slots.get(j, -1) for j in range(joints)] for person in people], dtype=torch.long)
    slots = slots.view(-1, joints)  # (N, K)
    there = slots >= 0
    points, scores = candidates.points[slots], torch.where(there, candidates.scores[slots], 0.0)
    count = there.sum(1)
    middle = (points * there[..., None]).sum(1) / count[:, None]
    points = torch.where(there[..., None], points, middle[:, None])
    total = scores.sum(1) + torch.tensor([person.score for person in people])
    best = torch.argsort(total, descending=True, stable=True)
    kept = best[((count >= least_joints) & (total >= least_score * count))[best]]
    return [Group(points[n], scores[n], float(total[n])) for n in kept]


@dataclass
class _Assembled:
    """A person in the making: joint -> candidate, and the sum of the limbs' E."""

    slots: dict[int, int]
    score: float


# --- the whole way ----------------------------------------------------------------------------------------------------


def group(
    maps: Tensor,
    fields: Tensor,
    limbs: Limbs,
    threshold: float = 0.1,
    radius: int = 1,
    most: int = 128,
    samples: int = 10,
    along: float = 0.05,
    share: float = 0.8,
    longest: float | None = 0.5,
    passing_only: bool = False,
    assignment: str = "greedy",
    order: str = "limb",
    confidence: float = 0.1,
    least_joints: int = 3,
    least_score: float = 0.4,
) -> list[Group]:
    """The people of one picture, from maps (K, H, W) without background and fields (2L, H, W) of the same size."""
    if assignment not in ASSIGNMENTS:
        raise unknown_name("assignment", assignment, ASSIGNMENTS)
    if maps.ndim != 3 or fields.shape != (2 * len(limbs), *maps.shape[-2:]):
        raise CourseError(
            f"maps (K, H, W) of {len(limbs)} limbs need fields ({2 * len(limbs)}, H, W) of one size; got "
            f"{tuple(maps.shape)} and {tuple(fields.shape)}"
        )
    found = peaks(maps, threshold, radius, most)
    links = pair_scores(
        *(found, fields, limbs, len(maps)),
        samples=samples,
        along=along,
        share=share,
        longest=longest,
        passing_only=passing_only,
    )
    chosen = ASSIGNMENTS[assignment](links)
    return assemble(found, links, chosen, limbs, len(maps), order, confidence, least_joints, least_score)
