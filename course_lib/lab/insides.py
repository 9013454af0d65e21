"""What can be seen inside each kind of model: one small drawing each, in a table by the name of the model's class.

    [inside, ...] = insides(model)          every view of a model, the most telling first
    inside.stages(glimpse)                  the names of its stages, for a slider
    inside.draw(ax, glimpse, stage, joint)

A contributor's new model draws here with its parent's views; a model that has none says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from course_lib.lab.systems import Answer, Look
from course_lib.pose import Pose
from course_lib.show import fields, limbs, people, style
from course_lib.show.maps import overlay_map
from course_lib.show.walks import trails

SURE = 0.3  # of a box's score: less sure ones are not drawn
RING = {"marker": "o", "markersize": 10, "markeredgewidth": 2.0, "markerfacecolor": "none", "linestyle": "none"}
PEOPLE = (style.BLUE, style.VERMILION, style.GREEN, style.ORANGE, style.PINK, style.SKY, style.INK)


@dataclass(frozen=True)
class Glimpse:
    """One look of a model at a crop, and the pose that came of it, in the crop's pixels."""

    answer: Answer
    look: Look
    pose: Pose | None

    @property
    def model(self) -> Any:
        return self.answer.model

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, computed once for this look."""
        key = (name, self.look.place, id(self.look.outputs))
        if key not in self.answer.notes:
            self.answer.notes[key] = make()
        return self.answer.notes[key]

    def words(self, joint: int) -> str:
        return self.model.skeleton.joints[joint].replace("_", " ")


@dataclass(frozen=True)
class Inside:
    """One way to look into a model."""

    words: str
    stages: Callable[[Glimpse], Sequence[str]]
    draw: Callable[[Axes, Glimpse, int, int], None]


def numbered(count: int) -> tuple[str, ...]:
    return tuple(f"stage {number + 1} of {count}" for number in range(count))


def once(glimpse: Glimpse) -> Sequence[str]:
    """The stages of what has only one."""
    return ("",)


def _titled(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _ring(ax: Axes, glimpse: Glimpse, joint: int) -> None:
    """Where the answer puts the joint."""
    if glimpse.pose is not None:
        place = glimpse.pose.joints[joint].tolist()
        ax.plot(*place, markeredgecolor=style.PAPER, **{**RING, "markeredgewidth": 4.0})
        ax.plot(*place, markeredgecolor=style.SKY, **RING)


def _draw_map(
    ax: Axes, glimpse: Glimpse, joint: int, one: Tensor, stage: str, image: Any = None, top: float | None = None
) -> None:
    """A joint's map over the crop (or over `image`): brightest at `top`, else at its own peak."""
    picture = glimpse.look.crop if image is None else image
    title = _titled(glimpse.words(joint), stage, f"peak {float(one.max()):.2f}")
    overlay_map(ax, picture, one.clamp(min=0), maximum=top, title=title)
    if image is None:
        _ring(ax, glimpse, joint)


# --- single-person networks of maps -----------------------------------------------------------------------------------


def _maps_view(words: str, stack: Callable[[Any], Tensor], shown: Callable[[Any], Tensor] | None = None) -> Inside:
    """A view of maps (S, B, K, h, w) in the outputs; `shown` is what the network saw, if it was not the crop."""

    def stages(glimpse: Glimpse) -> Sequence[str]:
        count = len(stack(glimpse.look.outputs))
        return numbered(count) if count > 1 else ("",)

    def draw(ax: Axes, glimpse: Glimpse, stage: int, joint: int) -> None:
        outputs, place = glimpse.look.outputs, glimpse.look.place
        image = None if shown is None else shown(outputs)[place]
        maps = stack(outputs)[:, place, joint]
        # one scale for all stages, so that they compare
        _draw_map(ax, glimpse, joint, maps[stage], stages(glimpse)[stage], image, max(float(maps.max()), 1e-3))

    return Inside(words, stages, draw)


MAPS = _maps_view("map of one joint", lambda outputs: outputs)


def _draw_tompson(ax: Axes, glimpse: Glimpse, stage: int, joint: int) -> None:
    from course_lib.models.tompson import FINE_STRIDE, in_place

    outputs, place = glimpse.look.outputs, glimpse.look.place
    fine = outputs.fine is not None and stage == 1
    maps = glimpse.model.heights(outputs.fine if fine else outputs.coarse)[place, joint]
    centre = None if outputs.centres is None else outputs.centres[place, joint]
    one = in_place(maps, centre, glimpse.look.crop.shape[-2:]) if fine else maps
    _draw_map(ax, glimpse, joint, one, _tompson_stages(glimpse)[stage])
    if centre is not None:
        half = outputs.fine.shape[-1] * FINE_STRIDE / 2
        people.draw_box(ax, torch.cat([centre - half, centre + half]), colour=style.SKY, width=1.2)


def _tompson_stages(glimpse: Glimpse) -> Sequence[str]:
    return ("coarse",) if glimpse.look.outputs.fine is None else ("coarse", "fine")


# --- single-person networks of numbers --------------------------------------------------------------------------------


def _draw_cascade(ax: Axes, glimpse: Glimpse, stage: int, joint: int) -> None:
    outputs, place = glimpse.look.outputs, glimpse.look.place
    way = outputs.joints[: stage + 1, place, joint]
    title = _titled(glimpse.words(joint), numbered(len(outputs.joints))[stage])
    people.draw_image(ax, glimpse.look.crop, title, dim=0.2)
    people.draw_pose(ax, outputs.joints[stage, place], glimpse.model.skeleton, alpha=0.45)
    people.draw_box(ax, outputs.boxes[stage, place, joint], colour=style.ORANGE)
    ax.plot(*way.T, ".-", color=style.INK, markersize=6, linewidth=1.6, zorder=6)
    ax.plot(*way[-1], markeredgecolor=style.SKY, zorder=7, **RING)


def _draw_steps(ax: Axes, glimpse: Glimpse, stage: int, joint: int) -> None:
    walk, skeleton = glimpse.look.outputs[: stage + 1, glimpse.look.place], glimpse.model.skeleton
    people.draw_image(ax, glimpse.look.crop, _step_names(glimpse)[stage], dim=0.3)
    people.draw_pose(ax, walk[-1], skeleton, alpha=0.45, markers=False)
    trails(ax, walk, walk[-1], torch.zeros(len(skeleton)), skeleton)
    ax.plot(*walk[-1, joint], markeredgecolor=style.SKY, zorder=7, **RING)


def _step_names(glimpse: Glimpse) -> Sequence[str]:
    last = len(glimpse.look.outputs) - 1
    return ("the start: the mean pose", *(f"after step {number} of {last}" for number in range(1, last + 1)))


# --- pictorial structures ---------------------------------------------------------------------------------------------


def _draw_part(ax: Axes, glimpse: Glimpse, stage: int, joint: int) -> None:
    model = glimpse.model
    part = model.parts.owners[joint][0]
    alone, together = glimpse.once("parts", lambda: _part_maps(glimpse))
    one = (alone, together)[stage][part]
    title = _titled(model.parts.names[part].replace("_", " "), PART_STAGES[stage])
    overlay_map(ax, glimpse.look.crop, one, title=title)  # on its own scale: shares of hundreds of cells are small
    _ring(ax, glimpse, joint)


PART_STAGES = ("its template alone", "with the springs")


def _part_maps(glimpse: Glimpse) -> tuple[Tensor, Tensor]:
    """Where every part may be, over all rotations and scales: by itself, and in the company of the others (P, h, w)."""
    from course_lib.models.pictorial import tree

    model, outputs = glimpse.model, glimpse.look.outputs
    here = slice(glimpse.look.place, glimpse.look.place + 1)
    unaries = outputs.unaries[here].clone()
    springs = type(outputs.springs)(
        *(value[here] if outputs.springs.angle.ndim == 2 else value for value in outputs.springs)
    )
    grid = model.grid(*glimpse.look.crop.shape[-2:])
    alone = unaries[0].flatten(1).softmax(-1).view_as(unaries[0]).sum((1, 2))
    together = tree.marginals(unaries, model.parts.parents, springs, grid, model.parts.names)[0].sum((1, 2))
    return alone, together.detach()


# --- everybody at once ------------------------------------------------------------------------------------------------


def _fields_view(words: str, chosen: Callable[[Glimpse, int], list[int]]) -> Inside:
    """A view of part affinity fields: of some limbs, chosen by the joint, the longest vector of every cell."""

    def stages(glimpse: Glimpse) -> Sequence[str]:
        return numbered(len(glimpse.look.outputs.fields))

    def draw(ax: Axes, glimpse: Glimpse, stage: int, joint: int) -> None:
        vectors = glimpse.look.outputs.fields[stage, glimpse.look.place].unflatten(0, (-1, 2))
        field = fields.strongest(vectors[chosen(glimpse, joint)].flatten(0, 1))
        fields.draw_field(ax, field, glimpse.look.crop, f"{words}, {stages(glimpse)[stage]}")
        fields.draw_wheel(ax.inset_axes((0.0, 0.0, 0.24, 0.32)), words=False)

    return Inside(words, stages, draw)


def _limbs_at(glimpse: Glimpse, joint: int) -> list[int]:
    return [number for number, limb in enumerate(glimpse.model.skeleton.limbs) if joint in limb]


def _all_limbs(glimpse: Glimpse, joint: int) -> list[int]:
    return list(range(len(glimpse.model.skeleton.limbs)))


def _draw_candidates(ax: Axes, glimpse: Glimpse, stage: int, joint: int) -> None:
    seen, solution = glimpse.once("program", lambda: _solved(glimpse))
    skeleton = glimpse.model.skeleton
    people.draw_image(ax, glimpse.look.crop, CANDIDATE_STAGES[stage], dim=0.45)
    for place, kind, person in zip(seen.places, seen.classes, solution.people, strict=True):
        colour = limbs.joint_colour(skeleton, int(kind)) if stage == 0 else PEOPLE[person % len(PEOPLE)]
        kept = stage == 0 or person >= 0
        ax.plot(*place, "o" if kept else "x", color=colour if kept else style.INK, markersize=4.5)
    for place in seen.places[seen.classes == joint]:
        ax.plot(*place, markeredgecolor=style.SKY, **RING)


CANDIDATE_STAGES = ("candidates, by body part", "who is whose; x: dropped")


def _solved(glimpse: Glimpse) -> tuple[Any, Any]:
    model, place = glimpse.model, glimpse.look.place
    seen = model.candidates(type(glimpse.look.outputs)(*(part[place : place + 1] for part in glimpse.look.outputs)))[0]
    return seen, model.solution(model.program(seen))


# --- one person after another -----------------------------------------------------------------------------------------


def _draw_window(ax: Axes, glimpse: Glimpse, stage: int, joint: int) -> None:
    from course_lib.models.alphapose import window

    outputs, place, crop = glimpse.look.outputs, glimpse.look.place, glimpse.look.crop
    picture = crop if stage == 0 else outputs.seen[place]
    people.draw_image(ax, picture, WINDOW_STAGES[stage])
    if stage == 0:
        corners = window(outputs.theta[place], crop.shape[-2:])
        ax.plot(*corners.T, color=style.PAPER, linewidth=3.5)
        ax.plot(*corners.T, color=style.ORANGE, linewidth=1.8)


WINDOW_STAGES = ("the box, and where it looks", "what it sees")


def _draw_votes(ax: Axes, glimpse: Glimpse, stage: int, joint: int) -> None:
    from course_lib.targets import hough

    outputs, place, model = glimpse.look.outputs, glimpse.look.place, glimpse.model
    heat, offsets = outputs.logits[place, joint].float().sigmoid(), outputs.offsets[place, joint].float()
    if stage == 1:
        vectors = offsets * heat / (model.radius / model.stride)
        fields.draw_field(ax, vectors, glimpse.look.crop, f"{glimpse.words(joint)}, the way to it")
        fields.draw_wheel(ax.inset_axes((0.0, 0.0, 0.24, 0.32)), words=False)
        return
    one = heat if stage == 0 else hough.vote(heat[None], offsets[None], model.radius / model.stride)[0]
    _draw_map(ax, glimpse, joint, one, VOTE_STAGES[stage])


VOTE_STAGES = ("near the joint?", "the way to it", "the votes")


def _draw_regions(ax: Axes, glimpse: Glimpse, stage: int, joint: int) -> None:
    output = glimpse.look.outputs[glimpse.look.place]
    sure = (output["scores"] >= SURE).nonzero()[:, 0].tolist()
    title = f"{len(sure)} of {len(output['boxes'])} boxes: score from {SURE}"
    people.draw_image(ax, glimpse.look.crop, title, dim=0.35)
    if "masks" in output:
        shades = np.zeros((*output["masks"].shape[-2:], 4))
        for number in sure:
            shades[(output["masks"][number, 0] > 0.5).cpu().numpy()] = (*_rgb(PEOPLE[number % len(PEOPLE)]), 0.45)
        height, width = shades.shape[:2]
        ax.imshow(shades, extent=(0, width, height, 0))
    for number in sure:
        label = f"{float(output['scores'][number]):.2f}"
        people.draw_box(ax, output["boxes"][number], label, colour=PEOPLE[number % len(PEOPLE)], width=1.1)


def _draw_regions_map(ax: Axes, glimpse: Glimpse, stage: int, joint: int) -> None:
    from course_lib.models.rcnn.keypoints import grown

    output, crop = glimpse.look.outputs[glimpse.look.place], glimpse.look.crop
    boxes = output["boxes"]
    people.draw_image(ax, crop, f"{glimpse.words(joint)}, box by box", dim=0.4)
    if not len(boxes):
        return
    logits = glimpse.once("logits", lambda: glimpse.model.joint_logits(crop, boxes))[:, joint]
    for logit, box in zip(logits, grown(boxes, glimpse.model.roi_heads.grow).tolist(), strict=True):
        share = logit.flatten().softmax(0).view_as(logit)
        shades = np.zeros((*share.shape, 4))
        shades[..., :3] = _rgb(style.VERMILION)
        shades[..., 3] = 0.9 * (share / share.max()).sqrt().numpy()
        ax.imshow(shades, extent=(box[0], box[2], box[3], box[1]), interpolation="nearest")
        people.draw_box(ax, box, colour=style.GREY, width=0.8)
    style.image_axes(ax, *crop.shape[-2:])


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def _draw_crop(ax: Axes, glimpse: Glimpse, stage: int, joint: int) -> None:
    people.draw_image(ax, glimpse.look.crop, "what it was shown")
    _ring(ax, glimpse, joint)


# --- the table --------------------------------------------------------------------------------------------------------

SHOWN = Inside("what it was shown", once, _draw_crop)
INSIDES: dict[str, tuple[Inside, ...]] = {
    "HeatmapModel": (MAPS,),
    "Tompson": (Inside("map of one joint", _tompson_stages, _draw_tompson),),
    "AdversarialPoseNet": (
        _maps_view("map of one joint", lambda outputs: outputs.maps),
        _maps_view("map of it hidden", lambda outputs: outputs.hidden),
    ),
    "DeepPose": (Inside("boxes of the cascade", lambda g: numbered(len(g.look.outputs.joints)), _draw_cascade),),
    "IterativeErrorFeedback": (Inside("steps of all joints", _step_names, _draw_steps),),
    "PictorialStructures": (Inside("scores of a part", lambda g: PART_STAGES, _draw_part),),
    "PartAffinityFields": (
        _fields_view("fields of all limbs", _all_limbs),
        _fields_view("fields at the joint", _limbs_at),
        _maps_view("map of one joint", lambda outputs: outputs.maps),
    ),
    "DeepCut": (
        Inside("candidates", lambda g: CANDIDATE_STAGES, _draw_candidates),
        _maps_view("map of one joint", lambda outputs: outputs.parts.sigmoid()[None]),
    ),
    "AlphaPose": (
        Inside("where it looks", lambda g: WINDOW_STAGES, _draw_window),
        _maps_view("map of one joint", lambda outputs: outputs.maps, lambda outputs: outputs.seen),
    ),
    "GRMI": (Inside("disc, offsets, votes", lambda g: VOTE_STAGES, _draw_votes),),
    "MaskRCNN": (
        Inside("boxes and masks", once, _draw_regions),
        Inside("one joint, box by box", once, _draw_regions_map),
    ),
}


def insides(model: Any) -> tuple[Inside, ...]:
    """The views of a model, by the first of its classes that has any; then what it was shown."""
    own = next((INSIDES[one.__name__] for one in type(model).__mro__ if one.__name__ in INSIDES), ())
    return (*own, SHOWN)


def has_inside(model: Any) -> bool:
    return len(insides(model)) > 1
