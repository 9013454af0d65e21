"""How a pictorial structure is learned from labelled people: every piece by itself, in closed form where there is one.

lengths, root prior       medians and counts
springs                   maximum likelihood: a Gaussian in the joint space, a von Mises for the angle
templates                 linear discriminants: what a part's windows are like, against windows of anything
sharpness                 how far a template's answer may be trusted: the likelihood of the true states
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from course_lib.errors import CourseError
from course_lib.models.pictorial import gradients
from course_lib.models.pictorial import parts as body
from course_lib.models.pictorial.structures import CELLS, FEATURES, Beliefs, PictorialStructures
from course_lib.pose import Batch

LENGTHWISE = 1.6  # a template's extent along a part, in lengths of the part
CROSSWISE = (1.1, 14.0)  # and across: in lengths, and at least so many pixels
NEGATIVES = 8  # windows of anything for each person
RIDGE = 0.05  # of the mean variance, added to the covariance of windows
FACTORS = tuple(0.05 * 1.25**step for step in range(16))  # of a template's answer, that are tried
TRUST = (0.15, 0.25, 0.35, 0.45, 0.6, 0.8, 1.0)  # of all of them together
SHARPENING = 200  # people who decide about these
CHUNK = 50  # pictures at once


def fit(model: PictorialStructures, people: Batch, seed: int = 0) -> PictorialStructures:
    """Learns a model from people in crops of its input size; pictures may be bytes. The model is returned."""
    if people.size != model.input_size:
        raise CourseError(f"the model looks at crops of {model.input_size}, but the people come in {people.size}")
    people = observed(people)
    parts = body.states(people.joints, people.visible, model.parts)
    judges = min(SHARPENING, len(people) // 4)  # who taught the templates would trust them too much
    if not judges:
        raise CourseError(f"a body is learned from at least 4 people; got {len(people)}")
    sides = parts.centre.new_tensor([model.input_size[1], model.input_size[0]])
    inside = ((parts.centre >= 0) & (parts.centre < sides)).all(-1)
    _check_known((parts.known & inside)[judges:], model.parts)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        fit_sizes(model, parts)
        fit_springs(model, parts)
        fit_claims(model, people, parts)
        fit_templates(model, people[judges:], _some(parts, slice(judges, None)), generator)
        fit_sharpness(model, people[:judges], _some(parts, slice(judges)))
    return model.eval()


def _some(parts: body.States, which: slice) -> body.States:
    return body.States(*(one[which] for one in parts))


def observed(people: Batch) -> Batch:
    """The same people with their sides named as the observer sees them."""
    joints, visible = body.as_observed(people.joints.float(), people.visible, people.skeleton)
    return Batch(people.images, joints, visible, people.skeleton)


def pictures(people: Batch, chunk: int = CHUNK) -> Iterator[tuple[slice, Tensor]]:
    """The pictures a few at a time, as floats."""
    for start in range(0, len(people), chunk):
        some = people.images[start : start + chunk]
        yield slice(start, start + len(some)), some.float() / 255 if some.dtype == torch.uint8 else some.float()


def _check_known(known: Tensor, parts: body.Parts) -> None:
    for name, column in zip(parts.names, known.T, strict=True):
        if int(column.sum()) < 2:
            raise CourseError(
                f"part '{name}' is labelled inside the picture on {int(column.sum())} of the {len(known)} people who "
                "teach the templates; it cannot be learned from them"
            )


# --- sizes and springs ------------------------------------------------------------------------------------------------


def fit_sizes(model: PictorialStructures, parts: body.States) -> None:
    """Usual lengths, how far templates look, and where, how large and how turned the root usually is."""
    lengths = torch.stack([length[known].median() for length, known in zip(parts.length.T, parts.known.T, strict=True)])
    model.lengths.copy_(lengths)
    across = (lengths * CROSSWISE[0]).clamp(min=CROSSWISE[1])
    model.extent.copy_(torch.stack([lengths * LENGTHWISE, across], dim=-1))
    root = model.parts.parents.index(-1)
    grid = model.grid(*model.input_size)
    at, inside = model.nearest(parts, grid)
    known = parts.known[:, root] & inside[:, root]
    share = parts.centre[known, root] / parts.centre.new_tensor([model.input_size[1], model.input_size[0]])
    model.root_centre.copy_(share.mean(0))
    model.root_spread.copy_(share.std(0).clamp(min=0.02))
    counts = torch.full((len(model.scales), model.rotations), 1.0)  # one of each, so that nothing is impossible
    which = at[known, root, 0] * model.rotations + at[known, root, 1]
    counts.view(-1).index_add_(0, which.cpu(), torch.ones(len(which)))
    model.root_turn.copy_((counts / counts.sum()).log())


def fit_springs(model: PictorialStructures, parts: body.States, weights: Tensor | None = None) -> None:
    """Maximum likelihood of every spring (Felzenszwalb and Huttenlocher, section 5), on states as the grid has them.

    Where a child begins in its parent's frame is averaged over people; how far the two then miss each other, in the
    picture's directions, is the spread. It never gets below what rounding to the grid costs.
    """
    grid = model.grid(*model.input_size)
    at, _ = model.nearest(parts, grid)
    scale = torch.tensor(grid.scales)[at[..., 0]]
    angle = at[..., 1] * (2 * math.pi / grid.rotations)
    for child, parent in enumerate(model.parts.parents):
        if parent < 0:
            continue
        both = parts.known[:, child] & parts.known[:, parent]
        if int(both.sum()) < 2:
            raise CourseError(f"too few people show both {model.parts.names[parent]} and {model.parts.names[child]}")
        spring = learn_spring(
            *(one[both, parent] for one in (parts.centre, angle, scale)),
            *(one[both, child] for one in (parts.centre, angle, scale)),
            begins=parts.centre[both, child] - half(parts, child, both),
            floor=grid.stride / 2,
        )
        for name, value in spring.items():
            own = getattr(model, name if hasattr(model, name) else f"log_{name}")
            own[child] = value if hasattr(model, name) else value.log()


def learn_spring(
    centre: Tensor,
    angle: Tensor,
    scale: Tensor,
    child_centre: Tensor,
    child_angle: Tensor,
    child_scale: Tensor,
    begins: Tensor,
    floor: float = 0.0,
) -> dict[str, Tensor]:
    """The spring between a parent and a child that were seen N times: centres (N, 2), angles and scales (N,).

    `begins` (N, 2) is where the child's first end is. Returns a value for each field of `Joints`.
    """
    at_parent = body.into_frame(begins, centre, angle, scale).mean(0)
    at_child = body.into_frame(begins, child_centre, child_angle, child_scale).mean(0)
    miss = body.out_of_frame(at_parent, centre, angle, scale) - body.out_of_frame(
        at_child, child_centre, child_angle, child_scale
    )
    apart = child_angle - angle
    mean_cos, mean_sin = torch.cos(apart).mean(), torch.sin(apart).mean()
    stretch = (child_scale / scale).log()
    return {
        "at_parent": at_parent,
        "at_child": at_child,
        "spread": miss.square().mean(0).sqrt().clamp(min=max(floor, 1e-3)),
        "angle": torch.atan2(mean_sin, mean_cos),
        "kappa": body.concentration(torch.hypot(mean_cos, mean_sin)),
        "stretch": stretch.mean(),
        "stretch_spread": stretch.std().clamp(min=0.05),
    }


def fit_claims(model: PictorialStructures, people: Batch, parts: body.States) -> None:
    """Where every joint lies in the frames of the parts it belongs to."""
    ratio = parts.length / model.lengths
    for joint, owners in enumerate(model.parts.owners):
        for part in owners:
            seen = parts.known[:, part] & (people.visible[:, joint] > 0)
            if bool(seen.any()):
                own = (one[seen, part] for one in (parts.centre, parts.angle, ratio))
                model.claims[joint, part] = body.into_frame(people.joints[seen, joint], *own).mean(0)


def half(parts: body.States, part: int, which: Tensor) -> Tensor:
    """From a part's first end to its middle."""
    angle = parts.angle[which, part]
    return torch.stack([angle.cos(), angle.sin()], dim=-1) * parts.length[which, part, None] / 2


# --- templates --------------------------------------------------------------------------------------------------------


def fit_templates(model: PictorialStructures, people: Batch, parts: body.States, generator: torch.Generator) -> None:
    """Linear discriminants w = (C + r I)^-1 (m - m0): m a part's mean window, m0 and C mean and covariance of any."""
    grid = model.grid(*model.input_size)
    at, inside = model.nearest(parts, grid)
    places = gradients.turned(gradients.lattice(model.extent, CELLS), model.rotations)  # (R, P, cells, 2)
    count, size = len(model.parts), model.templates[0].numel()
    ours = Moments(count, size)
    anything = Moments(count, size, squares=True)
    for rows, images in pictures(people):
        maps = [model.features(images, scale) for scale in model.scales]
        for part in range(count):
            some = (parts.known & inside)[rows, part].nonzero()[:, 0]
            states = (at[rows, part][some], parts.centre[rows, part][some])
            ours.add(part, _windows(model, maps, some, *states, places[:, part]))
            random = _anywhere(len(images) * NEGATIVES, model, generator)
            which = torch.arange(len(images)).repeat(NEGATIVES)
            anything.add(part, _windows(model, maps, which, *random, places[:, part]))
    for part in range(count):
        covariance = anything.covariance(part)
        covariance += RIDGE * covariance.diagonal().mean() * torch.eye(size, dtype=covariance.dtype)
        template = torch.linalg.solve(covariance, ours.mean(part) - anything.mean(part))
        model.templates[part] = template.view_as(model.templates[part]).float()


class Moments:
    """Sums of windows, part by part, and of their products."""

    def __init__(self, parts: int, size: int, squares: bool = False) -> None:
        self.count = torch.zeros(parts)
        self.sums = torch.zeros(parts, size, dtype=torch.float64)
        self.products = torch.zeros(parts, size, size, dtype=torch.float64) if squares else None

    def add(self, part: int, windows: Tensor) -> None:
        """windows (N, bins, cells)."""
        flat = windows.flatten(1).double()
        self.count[part] += len(flat)
        self.sums[part] += flat.sum(0)
        if self.products is not None:
            self.products[part] += flat.T @ flat

    def mean(self, part: int) -> Tensor:
        return self.sums[part] / self.count[part]

    def covariance(self, part: int) -> Tensor:
        mean = self.mean(part)
        return self.products[part] / self.count[part] - torch.outer(mean, mean)


def _windows(
    model: PictorialStructures, maps: list[Tensor], which: Tensor, at: Tensor, centre: Tensor, places: Tensor
) -> Tensor:
    """What a part sees in pictures `which` (N,), in states at (N, 4) about centres (N, 2), at places (R, cells, 2)."""
    seen = maps[0].new_zeros(len(which), *model.templates.shape[1:])
    for index in range(len(model.scales)):
        mine = at[:, 0] == index
        turns, maps_of = at[mine, 1], maps[index]
        shrink = maps_of.shape[-1] * FEATURES / model.input_size[1]  # about 1 / scale
        seen[mine] = gradients.windows(maps_of[which[mine]], centre[mine] * shrink, turns, places[turns], FEATURES)
    return seen


def _anywhere(count: int, model: PictorialStructures, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random states (N, 4), of which only scale and rotation matter here, and centres (N, 2)."""
    at = torch.zeros(count, 4, dtype=torch.long)
    at[:, 0] = torch.randint(len(model.scales), (count,), generator=generator)
    at[:, 1] = torch.randint(model.rotations, (count,), generator=generator)
    size = torch.tensor([model.input_size[1], model.input_size[0]])
    return at, torch.rand(count, 2, generator=generator) * size


def fit_sharpness(model: PictorialStructures, people: Batch, parts: body.States) -> None:
    """The factor of every template with which the true states are likeliest among all states of their picture.

    Then one factor for all, with which most parts are found: parts overlap, so that together they tell less than each
    by itself.
    """
    grid = model.grid(*model.input_size)
    at, inside = model.nearest(parts, grid)
    usable = parts.known & inside
    told = torch.zeros(len(model.parts), len(FACTORS))
    seen = []
    for rows, images in pictures(people):
        responses = model.responses(images, grid)
        seen.append((people[rows], responses))
        each = (torch.arange(len(images))[:, None], torch.arange(len(model.parts)))
        truth = responses[(*each, *at[rows].unbind(-1))]  # (B, P)
        for index, factor in enumerate(FACTORS):
            log_sum = (factor * responses).flatten(2).logsumexp(-1)
            told[:, index] += ((factor * truth - log_sum) * usable[rows]).sum(0)
    alone = torch.tensor(FACTORS)[told.argmax(1)].log()
    found = {}
    for factor in TRUST:
        model.log_sharpness.copy_(alone + math.log(factor))
        found[factor] = sum(
            int(parts_found(model, model.believe(responses, grid), some).sum()) for some, responses in seen
        )
    model.log_sharpness.copy_(alone + math.log(max(found, key=found.get)))


def parts_found(model: PictorialStructures, beliefs: Beliefs, people: Batch) -> Tensor:
    """How many of each part (P,) are found in people: both ends within half the part's length of the true ones."""
    estimated = torch.stack([pose.joints for (pose,) in model.decode(beliefs)])
    found = []
    for first, second in model.parts.ends:
        own = [(estimated[:, list(end)].mean(1), people.joints[:, list(end)].mean(1)) for end in (first, second)]
        length = (own[0][1] - own[1][1]).norm(dim=-1)
        near = torch.stack([(one - true).norm(dim=-1) <= length / 2 for one, true in own]).all(0)
        found.append((near & (people.visible[:, [*first, *second]] > 0).all(1)).sum())
    return torch.stack(found)
