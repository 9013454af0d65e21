"""What lesson 01 computes: every part alone, the best arrangement, marginals and samples, failures, scores."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_lib import metrics
from course_lib.metrics.marks import Marks
from course_lib.models.pictorial import fitting, tree
from course_lib.models.pictorial import parts as body
from course_lib.models.pictorial.conditioned import FAMILIES, ConditionedPictorialStructures
from course_lib.models.pictorial.structures import Beliefs, PictorialStructures, most_probable
from course_lib.models.pictorial.tree import Grid, Joints
from course_lib.pose import Batch, Scene
from course_lib.show import About

AT_ONCE = 4  # pictures whose marginals are in memory together


def as_batch(scenes: Sequence[Scene]) -> Batch:
    """The first person of every scene, with the whole scene as the crop."""
    first = [scene.people[0] for scene in scenes]
    joints, visible = (torch.stack([getattr(person, name) for person in first]) for name in ("joints", "visible"))
    return Batch(torch.stack([scene.image for scene in scenes]), joints, visible, first[0].skeleton)


@dataclass
class Looked:
    """What a model says about some people; everything is computed once, when it is first asked for.

    Left and right are the observer's, for the truth and for scores, as the model has learned them.
    """

    model: PictorialStructures
    batch: Batch
    grid: Grid
    beliefs: Beliefs
    single: Tensor  # (B,) bool: nobody else is in the picture

    @classmethod
    def of(cls, model: PictorialStructures, scenes: Sequence[Scene], **options: Any) -> Looked:
        """`options` go to the model's forward."""
        batch = fitting.observed(as_batch(scenes))
        with torch.inference_mode():
            pieces = [model(images, **options) for images in batch.images.split(AT_ONCE)]
        own = pieces[0].springs.angle.ndim == 2  # springs of every picture's own
        springs = Joints(*(torch.cat(one) for one in zip(*(piece.springs for piece in pieces), strict=True)))
        unaries, seen = (torch.cat([getattr(piece, name) for piece in pieces]) for name in ("unaries", "seen"))
        beliefs = Beliefs(unaries, springs if own else pieces[0].springs, seen)
        single = torch.tensor([len(scene.people) == 1 for scene in scenes])
        return cls(model, batch, model.grid(*batch.size), beliefs, single)

    @property
    def parents(self) -> tuple[int, ...]:
        return self.model.parts.parents

    def springs(self, which: slice) -> Joints:
        springs = self.beliefs.springs
        return Joints(*(one[which] for one in springs)) if springs.angle.ndim == 2 else springs

    def own_springs(self, number: int) -> Joints:
        """The springs (P, ...) of one picture."""
        springs = self.beliefs.springs
        return Joints(*(one[number] for one in springs)) if springs.angle.ndim == 2 else springs

    def _by_pieces(self, function) -> list:
        starts = range(0, len(self.batch), AT_ONCE)
        pieces = (slice(start, start + AT_ONCE) for start in starts)
        return [function(self.beliefs.unaries[piece], self.springs(piece)) for piece in pieces]

    @cached_property
    def alone(self) -> Tensor:
        """The best state of every part by itself (B, P, 4)."""
        return most_probable(self.beliefs.unaries)

    @cached_property
    def best(self) -> Tensor:
        """The best arrangement (B, P, 4): the MAP."""
        with torch.inference_mode():
            return torch.cat([self._max_sum(*piece).states for piece in self._by_pieces(lambda *given: given)])

    @cached_property
    def probable(self) -> Tensor:
        """Every part in its most probable state (B, P, 4)."""
        return torch.cat(self._by_pieces(lambda *given: most_probable(self._marginals(*given))))

    def messages(self, number: int) -> tree.Best:
        """Max-sum on one picture, with what every part told its parent."""
        with torch.inference_mode():
            return self._max_sum(self.beliefs.unaries[number : number + 1], self.springs(slice(number, number + 1)))

    def marginals(self, number: int) -> Tensor:
        """The probability of every state of every part of one picture (P, S, R, H, W)."""
        piece = slice(number, number + 1)
        return self._marginals(self.beliefs.unaries[piece], self.springs(piece))[0]

    def samples(self, number: int, count: int, seed: int = 0) -> Tensor:
        """Arrangements drawn from the posterior of one picture (count, P, 4)."""
        piece, generator = slice(number, number + 1), torch.Generator().manual_seed(seed)
        given = (self.beliefs.unaries[piece], self.parents, self.springs(piece), self.grid)
        with torch.inference_mode():
            return tree.sample(*given, count, generator)[0]

    def score(self, number: int, states: Tensor) -> Tensor:
        """log score (...) of arrangements (..., P, 4) of one picture."""
        piece = slice(number, number + 1)
        flat = states.reshape(1, -1, *states.shape[-2:])
        with torch.inference_mode():
            told = tree.score(flat, self.beliefs.unaries[piece], self.parents, self.springs(piece), self.grid)
        return told.reshape(states.shape[:-2])

    def _max_sum(self, unaries: Tensor, springs: Joints) -> tree.Best:
        return tree.max_sum(unaries, self.parents, springs, self.grid, self.model.parts.names)

    def _marginals(self, unaries: Tensor, springs: Joints) -> Tensor:
        return tree.marginals(unaries, self.parents, springs, self.grid)

    @cached_property
    def truth(self) -> tuple[Tensor, Tensor]:
        """The states next to the true ones (B, P, 4), and for whom all parts are known and inside (B,)."""
        states = body.states(self.batch.joints, self.batch.visible, self.model.parts)
        at, inside = self.model.nearest(states, self.grid)
        return at, (states.known & inside).all(1)

    def joints(self, states: Tensor) -> Tensor:
        """Joints (..., K, 2) in pixels."""
        return self.model.joints_of(states, self.grid)

    def right(self, number: int, states: Tensor) -> Tensor:
        """Which sticks (S,) of one person the states (P, 4) have right."""
        own = self.batch[number : number + 1]
        return metrics.pcp(self.joints(states[None]), own.joints, own.visible, own.skeleton).right[0]

    def pcp(self, states: Tensor) -> Marks:
        """Who got which stick right."""
        return metrics.pcp(self.joints(states), self.batch.joints, self.batch.visible, self.batch.skeleton)


def drawable(states: Tensor, grid: Grid) -> list[tuple[float, float, float, float]]:
    """States (P, 4) as (x, y, angle, scale), in pixels and radians."""
    found = []
    for scale, rotation, row, column in states.tolist():
        place = ((column + 0.5) * grid.stride, (row + 0.5) * grid.stride)
        found.append((*place, rotation * 2 * math.pi / grid.rotations, grid.scales[scale]))
    return found


def candidates(unary: Tensor, grid: Grid, count: int, apart: float = 10.0) -> list[tuple[float, float, float, float]]:
    """The best states of one part's unary (S, R, H, W), no two of them nearer than `apart` pixels."""
    found: list[tuple[float, float, float, float]] = []
    for flat in unary.flatten().argsort(descending=True)[:4000].tolist():
        at = torch.stack(torch.unravel_index(torch.tensor(flat), unary.shape))
        state = drawable(at[None], grid)[0]
        if all(math.dist(state[:2], other[:2]) >= apart for other in found):
            found.append(state)
        if len(found) == count:
            break
    return found


def place_map(scores: Tensor) -> Tensor:
    """Log scores (S, R, H, W) as a map (H, W): how probable a place is beside the best, in any rotation and length."""
    told = scores.logsumexp((0, 1))
    return (told - told.max()).exp()


def arrangements(grid: Grid, parts: int) -> tuple[int, float]:
    """How many states a part has, and the decimal logarithm of how many arrangements there are."""
    states = grid.size[0] * grid.size[1] * grid.rotations * len(grid.scales)
    return states, parts * math.log10(states)


def springs_alone(people: Batch) -> PictorialStructures:
    """A body whose sizes and springs are learned from labels; no picture is looked at, so it has no templates."""
    model = PictorialStructures(people.skeleton, people.size)
    states = body.states(people.joints, people.visible, model.parts)
    with torch.no_grad():
        fitting.fit_sizes(model, states)
        fitting.fit_springs(model, states)
    return model.eval()


def clearest_few(looked: Looked, count: int, alone: bool = False) -> list[int]:
    """People whom springs help most: most limbs found by the best arrangement beyond those that parts find alone.

    `alone`: only pictures with nobody else in them and all parts known.
    """
    gain = (looked.pcp(looked.best).right.sum(1) - looked.pcp(looked.alone).right.sum(1)).float()
    allowed = looked.truth[1].clone()
    if alone:
        allowed &= looked.single
    gain = torch.where(allowed, gain, -99.0)
    return gain.argsort(descending=True, stable=True)[:count].tolist()


def clearest(looked: Looked) -> int:
    """The one of `clearest_few` who is alone in the picture."""
    return clearest_few(looked, 1, alone=True)[0]


# --- learning ---------------------------------------------------------------------------------------------------------


class Clouds(NamedTuple):
    """Where joints lie in the frames of parts, by the figure's titles; and which part each frame is of."""

    points: dict[str, Tensor]  # (N, 2) pixels at the part's usual length
    owners: dict[str, tuple[int, str]]  # the part's number and name


def joint_clouds(people: Batch) -> Clouds:
    """The elbow in the upper arm's frame; the right shoulder in the torso's, as one's own right and the observer's."""
    points, owners = {}, {}
    for title, some, child in (
        ("elbow, in the right upper arm", people, "right forearm"),
        ("right shoulder, in the torso:\nthe person's own right", people, "right upper arm"),
        ("right shoulder, in the torso:\nthe observer's right", fitting.observed(people), "right upper arm"),
    ):
        parts = body.of(some.skeleton)
        states = body.states(some.joints, some.visible, parts)
        p = parts.names.index(child)
        parent = parts.parents[p]
        both = states.known[:, p] & states.known[:, parent]
        begins = some.joints[both][:, list(parts.ends[p][0])].mean(1)
        size = torch.ones_like(states.length[both, parent])
        points[title] = body.into_frame(begins, states.centre[both, parent], states.angle[both, parent], size)
        owners[title] = (parent, parts.names[parent])
    return Clouds(points, owners)


# --- beliefs ----------------------------------------------------------------------------------------------------------


def doubt(looked: Looked, number: int) -> dict[str, tuple[float, float]]:
    """For every part: exp of the entropy over its states, by its template alone and with all others."""
    alone = looked.beliefs.unaries[number].flatten(1).double().softmax(-1)
    marginal = looked.marginals(number).flatten(1).double()

    def states(p: Tensor) -> float:
        return float(torch.special.entr(p).sum().exp())

    pairs = zip(alone, marginal, strict=True)
    return {name: (states(a), states(m)) for name, (a, m) in zip(looked.model.parts.names, pairs, strict=True)}


def most_torn(looked: Looked) -> int:
    """Whose best arrangement and most probable states differ most, of those found well enough by the latter."""
    apart = (looked.joints(looked.best) - looked.joints(looked.probable)).norm(dim=-1).mean(1)
    well = looked.pcp(looked.probable).right.sum(1) >= 5
    return int(torch.where(well & looked.single, apart, -1.0).argmax())


# --- scores -----------------------------------------------------------------------------------------------------------

LIMBS = ("torso", "upper leg", "lower leg", "upper arm", "forearm", "head", "total")


def by_limb(marks: Marks) -> list[About]:
    """PCP in percent in the order in which papers print it; the total counts every limb once."""
    columns = marks.columns()
    shares = [columns[name.replace(" ", "_")] for name in LIMBS[:-1]]
    return [About(100 * share) for share in (*shares, marks.mean_of_columns)]


def seconds_by_side(model: PictorialStructures, sides: Sequence[int], seed: int = 0) -> dict[int, tuple[float, float]]:
    """Seconds of one picture by its side in pixels: for the best arrangement, and for all marginals; best of two."""
    generator = torch.Generator().manual_seed(seed)
    taken = {}
    for side in sides:
        grid = model.grid(side, side)
        unaries = torch.randn(1, len(model.parts), *grid.shape, generator=generator)
        given = (unaries, model.parts.parents, model.springs, grid)
        times = []
        for way in (tree.max_sum, tree.marginals):
            runs = []
            for _ in range(2):
                begun = time.perf_counter()
                way(*given)
                runs.append(time.perf_counter() - begun)
            times.append(min(runs))
        taken[side] = (times[0], times[1])
    return taken


def seconds_a_picture(model: ConditionedPictorialStructures, images: Tensor) -> dict[str, float]:
    """Seconds from pictures (B, 3, H, W) to poses, for each picture: with plain springs, and with chosen ones."""
    taken = {}
    for way, families in {"plain": (), "with poselets": FAMILIES}.items():
        begun = time.perf_counter()
        with torch.inference_mode():
            model.decode(model(images, families))
        taken[way] = (time.perf_counter() - begun) / len(images)
    return taken
