"""Where a tree of parts must fail: one leg counted twice, and an arm of which the tree sees only half at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.lessons.lesson_01_pictorial import Looked
from course_lib.models.pictorial import parts as body
from course_lib.models.pictorial import tree
from course_lib.models.pictorial.structures import PictorialStructures
from course_lib.models.pictorial.tree import Joints
from course_lib.pose import Batch

NEAR, APART = 6.0, 14.0  # pixels: legs that lie on one another, and legs that do not


# --- one leg counted twice --------------------------------------------------------------------------------------------


def legs_apart(looked: Looked, states: Tensor) -> Tensor:
    """How far apart the middles of the two lower legs are (..., ) in states (..., P, 4): pixels."""
    names = looked.model.parts.names
    left, right = (states[..., names.index(f"{side} lower leg"), 2:].float() for side in ("left", "right"))
    return (left - right).norm(dim=-1) * looked.grid.stride


def double_counted(looked: Looked, states: Tensor) -> Tensor:
    """People (indices) whose legs lie apart, and who were answered with both lower legs in one place.

    First those of whom most else was found: there it is the legs alone that went wrong.
    """
    truth, known = looked.truth
    wrong = known & (legs_apart(looked, truth) > APART) & (legs_apart(looked, states) < NEAR)
    found = wrong.nonzero()[:, 0]
    right = looked.pcp(states).right.sum(1)
    return found[right[found].argsort(descending=True, stable=True)]


def on_one_leg(looked: Looked, states: Tensor) -> Tensor:
    """Which people (B,) have both lower legs in one place, as the states (B, P, 4) say."""
    return legs_apart(looked, states) < NEAR


def told(looked: Looked, number: int, states: Tensor) -> dict[str, float]:
    """The log score of one arrangement (P, 4): what the templates say, what the springs say, and both."""
    unaries = looked.beliefs.unaries[number]
    parts = torch.arange(len(unaries))
    seen = float(unaries[(parts, *states.unbind(-1))].sum())
    total = float(looked.score(number, states))
    return {"templates": seen, "springs": total - seen, "both": total}


def kept_apart(looked: Looked, number: int, samples: Tensor, strength: float) -> Tensor:
    """Of samples (N, P, 4) and the best arrangement the one that is best once legs repel each other."""
    tried = torch.cat([looked.best[number : number + 1], samples])
    push = strength * (-0.5 * (legs_apart(looked, tried) / NEAR).square()).exp()
    return tried[int((looked.score(number, tried) - push).argmax())]


# --- an arm seen by halves --------------------------------------------------------------------------------------------


def arm_angles(states: body.States, parts: body.Parts, side: str) -> Tensor:
    """How far the upper arm leans from hanging down, and how far the forearm bends from it: (N, 2) in radians."""
    torso, upper, fore = (parts.names.index(name) for name in ("torso", f"{side} upper arm", f"{side} forearm"))
    known = states.known[:, [torso, upper, fore]].all(1)
    lean = body.wrapped(states.angle[:, upper] - states.angle[:, torso] - math.pi)
    bend = body.wrapped(states.angle[:, fore] - states.angle[:, upper])
    return torch.stack([lean, bend], -1)[known]


def tree_prior(model: PictorialStructures, count: int, seed: int = 0) -> body.States:
    """Bodies that the springs alone would make: exact samples of the tree with no picture, the torso upright."""
    grid = model.grid(*model.input_size)
    unaries = torch.zeros(1, len(model.parts), *grid.shape)
    root, middle = model.parts.parents.index(-1), [side // 2 for side in grid.size]
    unaries[:, root] = -torch.inf
    usual = min(range(len(grid.scales)), key=lambda s: abs(math.log(grid.scales[s])))
    unaries[0, root, usual, 3 * grid.rotations // 4, middle[0], middle[1]] = 0.0
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        at = tree.sample(unaries, model.parts.parents, model.springs, grid, count, generator)[0]
    angle = at[..., 1] * (2 * math.pi / grid.rotations)
    angle = angle + (torch.rand(angle.shape, generator=generator) - 0.5) * (2 * math.pi / grid.rotations)
    length = torch.tensor(grid.scales)[at[..., 0]] * model.lengths
    return body.States((at[..., [3, 2]] + 0.5) * grid.stride, angle, length, torch.ones_like(length, dtype=torch.bool))


def of_people(people: Batch, parts: body.Parts) -> body.States:
    """The parts of labelled people."""
    return body.states(people.joints, people.visible, parts)


def together(angles: Tensor) -> float:
    """How much lean and bend (N, 2) go together: the share of arms whose bend goes on where the lean goes.

    Half of them would by chance. Arms that hang straight, or are stretched, say nothing and are left out.
    """
    lean, bend = angles.unbind(-1)
    clear = (lean.abs() > math.radians(20)) & (lean.abs() < math.radians(160)) & (bend.abs() > math.radians(20))
    return float((lean.sign() == bend.sign())[clear].float().mean())


def joined_by_halves(looked: Looked, states: Tensor) -> list[tuple[int, str]]:
    """Arms that the tree prefers to the true ones although their wrist is wrong: (person, side).

    The torso is found and the arm is not, and every piece of the answer is content: templates of both parts together,
    and both springs, each score at least as high as for the truth. First those of whom most else was found.
    """
    names, (truth, known) = looked.model.parts.names, looked.truth
    right = looked.pcp(states).right
    found: list[tuple[int, str]] = []
    for side in ("left", "right"):
        upper, fore = (names.index(f"{side} {part}") for part in ("upper arm", "forearm"))
        for number in (known & right[:, 0] & ~right[:, fore]).nonzero()[:, 0].tolist():
            mixed = truth[number].clone()
            mixed[[upper, fore]] = states[number, [upper, fore]]
            mixed[0] = states[number, 0]
            ours, true = (pieces(looked, number, one, side) for one in (mixed, truth[number]))
            if all(a >= b for a, b in zip(ours, true, strict=True)):
                found.append((number, side))
    return sorted(found, key=lambda arm: -int(right[arm[0]].sum()))


def pieces(looked: Looked, number: int, states: Tensor, side: str) -> tuple[float, float, float]:
    """What the templates of an arm, its shoulder's spring and its elbow's say about an arrangement (P, 4)."""
    arm = [looked.model.parts.names.index(f"{side} {part}") for part in ("upper arm", "forearm")]
    unaries = looked.beliefs.unaries[number]
    seen = sum(float(unaries[(part, *states[part])]) for part in arm)
    return seen, *(spring(looked, number, states, part) for part in arm)


def spring(looked: Looked, number: int, states: Tensor, part: int) -> float:
    """The log score of one spring, the one at which a part hangs."""
    parents = looked.parents
    pair = torch.stack([states[parents[part]], states[part]])[None]
    own = Joints(*(one[[parents[part], part]] for one in looked.own_springs(number)))
    nothing_seen = torch.zeros(1, 2, *looked.grid.shape)
    with torch.inference_mode():
        return float(tree.score(pair, nothing_seen, (-1, 0), own, looked.grid))
