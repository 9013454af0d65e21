"""Poselets in lesson 01: what is in their clusters, what they answer, and what the tree makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from course_lib import geometry, show
from course_lib.lessons.lesson_01_figures import backdrop, draw_learned
from course_lib.lessons.lesson_01_pictorial import AT_ONCE, Looked
from course_lib.lessons.lesson_01_pictures import body_on
from course_lib.models.pictorial import conditioning
from course_lib.models.pictorial import parts as body
from course_lib.models.pictorial.conditioned import ConditionedPictorialStructures
from course_lib.models.pictorial.structures import Beliefs, most_probable
from course_lib.models.pictorial.tree import Joints
from course_lib.pose import Batch
from course_lib.show import style

SIDE = 96  # pixels of a portrait


class Portrait(NamedTuple):
    """One poselet: the mean picture of people of its cluster, and the mean layout of its joints."""

    picture: Tensor  # (3, SIDE, SIDE)
    joints: Tensor  # (K, 2) pixels of the picture
    inside: Tensor  # (K,) 2 where a joint belongs to the region, else 0
    people: int


def portraits(model: ConditionedPictorialStructures, people: Batch, region: str, count: int) -> list[Portrait]:
    """The clusters of a region that most of these people belong to."""
    own, number = model.poselets, list(model.poselets.regions).index(region)
    index = list(own.regions[region])
    states = body.states(people.joints, people.visible, model.parts)
    size = conditioning.person_size(states, model.lengths)
    usable = ((people.visible[:, index] > 0).all(1) & (size > 0)).nonzero()[:, 0]
    there = people.joints[usable][:, index]
    centre = there.mean(1)
    layout = (there - centre[:, None]) / size[usable, None, None]
    shapes = own.shapes[number][:, index]
    who = (layout[:, None] - shapes).square().sum((2, 3)).argmin(1)  # (N,)
    half = own.extent[number].max() / 2 * size[usable, None]
    matrix = geometry.crop_matrix(torch.cat([centre - half, centre + half], -1), (SIDE, SIDE), padding=1.1)
    found = []
    for cluster in who.bincount(minlength=own.clusters).argsort(descending=True, stable=True)[:count].tolist():
        mine = who == cluster
        pictures = geometry.warp(people.images[usable[mine]], matrix[mine], (SIDE, SIDE), fill=0.5)
        joints = own.shapes[number, cluster] * (SIDE / 1.1 / float(own.extent[number].max())) + SIDE / 2
        inside = torch.zeros(len(joints), dtype=torch.long)
        inside[index] = 2
        found.append(Portrait(pictures.mean(0), joints, inside, int(mine.sum())))
    return found


def draw_portraits(rows: dict[str, list[Portrait]], skeleton: object) -> Figure:
    """Mean pictures, and below them the layouts that made them."""
    count = max(map(len, rows.values()))
    figure, axes = plt.subplots(2 * len(rows), count, figsize=(style.PAGE, 2.55 * len(rows)))
    for row, (region, found) in enumerate(rows.items()):
        for above, below, one in zip(axes[2 * row], axes[2 * row + 1], found, strict=True):
            grey = one.picture.mean(0, keepdim=True)
            bright = (0.5 + 0.28 * (grey - grey.mean()) / grey.std()).clamp(0, 1)  # a mean picture is pale
            show.draw_image(above, bright.expand(3, -1, -1), f"{one.people} people")
            show.draw_image(below, torch.ones_like(one.picture))
            show.draw_pose(below, one.joints, skeleton, visible=one.inside)
        axes[2 * row, 0].set_ylabel(region)
    return figure


def answers(model: ConditionedPictorialStructures, images: Tensor, roots: Tensor) -> Tensor:
    """How strongly every poselet answers (B, G, C), in its own standard deviations above its mean."""
    count = len(model.poselets.regions) * model.poselets.clusters  # what follows tells of the root
    with torch.inference_mode():
        told = (model.observe(images, roots) - model.feature_mean) / model.feature_spread
    return told[:, :count].unflatten(1, (len(model.poselets.regions), -1))


def most_spoken_of(plain: Looked, count: int = 4, among: int = 12) -> int:
    """Of some people whose torso is found the one for whom poselets of `count` regions answer most strongly."""
    found = plain.pcp(plain.probable).right[:, 0].nonzero()[:among, 0]
    told = answers(plain.model, plain.batch.images[found], roots(plain)[found]).amax(2)  # (B, G)
    return int(found[told.topk(count, dim=1).values.mean(1).argmax()])


def draw_answers(looked: Looked, number: int, count: int = 4) -> Figure:
    """A picture, and the layouts of the poselets that answer most strongly, each where it is expected."""
    model: ConditionedPictorialStructures = looked.model
    image, root = looked.batch.images[number], roots(looked)[number : number + 1]
    told = answers(model, image[None], root)[0]  # (G, C)
    names, own = list(model.poselets.regions), model.poselets
    figure, axes = plt.subplots(1, count + 1, figsize=(style.PAGE, 2.3))
    show.draw_image(axes[0], image, "the picture")
    best = told.amax(1).argsort(descending=True)[:count].tolist()  # of different regions
    for ax, region in zip(axes[1:], best, strict=True):
        cluster = int(told[region].argmax())
        joints = own.shapes[region, cluster] + own.place[region, cluster] + root[0]
        inside = torch.zeros(len(joints), dtype=torch.long)
        inside[list(own.regions[names[region]])] = 2
        show.draw_image(
            ax, backdrop(image), f"{names[region]}\n{float(told[region, cluster]):+.1f} deviations", dim=0.45
        )
        show.draw_pose(ax, joints, looked.batch.skeleton, visible=inside)
    return figure


def roots(plain: Looked) -> Tensor:
    """Where the first pass finds the torso (B, 2), in pixels."""
    at = plain.probable[:, plain.parents.index(-1)]
    return (at[:, [3, 2]] + 0.5) * plain.grid.stride


def conditioned(plain: Looked) -> Looked:
    """The same people with what poselets say, going on from the first pass; the model must be the conditioned one."""
    model: ConditionedPictorialStructures = plain.model
    places, found = roots(plain), []
    with torch.inference_mode():
        for start in range(0, len(plain.batch), AT_ONCE):
            piece = slice(start, start + AT_ONCE)
            told = model.predict(plain.batch.images[piece], places[piece])
            unaries, springs, seen = plain.beliefs
            found.append(model.condition(Beliefs(unaries[piece], springs, seen[piece]), told))
    springs = Joints(*(torch.cat(one) for one in zip(*(one.springs for one in found), strict=True)))
    return replace(plain, beliefs=Beliefs(torch.cat([one.unaries for one in found]), springs, plain.beliefs.seen))


# --- the springs of a picture -----------------------------------------------------------------------------------------


def draw_choice(plain: Looked, chosen: Looked, numbers: Sequence[int]) -> Figure:
    """A picture a row: the plain answer, the springs that were chosen, the answer with them, the truth."""
    titles = (
        "one set of springs\nfor everybody",
        "its answer",
        "the springs that\nposelets choose",
        "the answer with them",
    )
    figure, axes = plt.subplots(len(numbers), 5, figsize=(style.PAGE, 1.95 * len(numbers) + 0.3), squeeze=False)
    names, lengths = plain.model.parts.names, plain.model.lengths.tolist()
    for row, number in zip(axes, numbers, strict=True):
        for ax, looked in ((row[0], plain), (row[2], chosen)):
            draw_learned(ax, names, plain.parents, looked.own_springs(number), lengths)
            ax.set(xlim=(-48, 48), ylim=(60, -46), aspect="equal")
            ax.axis("off")
        body_on(row[1], plain, number, plain.probable[number], "")
        body_on(row[3], chosen, number, chosen.probable[number], "")
        body_on(row[4], chosen, number, chosen.truth[0][number], "")
    for ax, title in zip(axes[0], (*titles, "the truth"), strict=True):
        ax.set_title(title)
    return figure


def blended(plain: Looked, chosen: Looked, number: int, weight: float, springs: bool) -> Tensor:
    """Most probable states (P, 4) with predicted unaries at a weight (0: none), and with plain or chosen springs."""
    one, other = plain.beliefs.unaries[number], chosen.beliefs.unaries[number]
    own = (chosen if springs else plain).own_springs(number)
    return most_probable(plain._marginals((one + weight * (other - one))[None], own))[0]


def draw_blend(plain: Looked, chosen: Looked, numbers: Sequence[int], weight: float, springs: bool) -> Figure:
    """Some people with a weight of the predictions, and how many of their limbs are found."""
    figure, axes = plt.subplots(1, len(numbers), figsize=(style.PAGE, 2.7))
    for ax, number in zip(axes, numbers, strict=True):
        states = blended(plain, chosen, number, weight, springs)
        right = int(plain.right(number, states).sum())
        body_on(ax, plain, number, states, f"{right} of {len(states)} limbs found")
    return figure


def most_improved(plain: Looked, chosen: Looked, among: Tensor, count: int) -> list[int]:
    """Of some people (indices) those of whom most limbs are found more with chosen springs than with plain ones."""
    gain = chosen.pcp(chosen.probable).right.sum(1) - plain.pcp(plain.probable).right.sum(1)
    return among[gain[among].argsort(descending=True, stable=True)][:count].tolist()


def found_now(chosen: Looked, arms: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Which of these arms (person, side) are right in both parts, with each part in its most probable state."""
    names, right = chosen.model.parts.names, chosen.pcp(chosen.probable).right
    both = {side: [names.index(f"{side} {part}") for part in ("upper arm", "forearm")] for side in ("left", "right")}
    return [(number, side) for number, side in arms if bool(right[number, both[side]].all())]
