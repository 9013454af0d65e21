"""Lesson 09: its three exercises."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from course_lib import skeletons
from course_lib.lessons import Case, Exercise, register
from course_lib.show.cards import standing

# --- the way back through the transformer -----------------------------------------------------------------------------


def _way_back(theta: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    gamma, places = torch.empty_like(theta), torch.empty_like(points)
    for one, ((a, b, e), (c, d, f)) in enumerate(theta.tolist()):
        determinant = a * d - b * c
        gamma[one] = torch.tensor([[d, -b, b * f - d * e], [-c, a, c * e - a * f]]) / determinant
        for k, (x, y) in enumerate(points[one].tolist()):
            places[one, k, 0], places[one, k, 1] = a * x + b * y + e, c * x + d * y + f
    return gamma, places


def _way_back_cases(random: torch.Generator) -> Iterator[Case]:
    identity = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    some = torch.tensor([[[0.0, 0.0], [0.5, -0.25], [-1.0, 1.0]]])
    yield Case((identity, some), "nothing is moved", "Then gamma is theta, and joints stay where they are.")
    moved = torch.tensor([[[1.0, 0.0, 0.3], [0.0, 1.0, -0.2]]])
    yield Case((moved, some), "a shift", "The way back shifts the other way; joints go back to the crop by theta.")
    zoomed = torch.tensor([[[0.5, 0.0, 0.3], [0.0, 0.5, -0.2]]])
    both = "theta3 is where the middle comes from; the way back must undo the zoom first: gamma3 = -gamma12 theta3."
    yield Case((zoomed, some), "a zoom and a shift", both)
    uneven = torch.tensor([[[0.8, 0.0, 0.1], [0.0, 0.4, 0.0]]])
    yield Case((uneven, some), "another zoom in x than in y", "Divide by the determinant, a d - b c.")
    turned = torch.tensor([[[0.5, -0.4, 0.0], [0.3, 0.9, 0.0]]])
    yield Case((turned, some), "turned and sheared", "A matrix is inverted as a whole, not entry by entry or by .T.")
    for count, joints in ((1, 14), (5, 1), (3, 0)):
        linear = torch.eye(2) + 0.4 * (torch.rand(count, 2, 2, generator=random) - 0.5)
        theta = torch.cat([linear, torch.rand(count, 2, 1, generator=random) - 0.5], -1)
        points = 2 * torch.rand(count, joints, 2, generator=random) - 1
        yield Case((theta, points), f"{count} random maps, {joints} joints each", "Every crop has a theta of its own.")


register(
    Exercise(
        "09.way_back",
        _way_back,
        _way_back_cases,
        (
            "The STN fills pixel t of its answer from pixel theta t of the crop. Which way does that carry a joint?",
            "gamma12 = theta12^-1 = [[d, -b], [-c, a]] / (a d - b c), and gamma3 = -gamma12 theta3.",
            "A joint read at t lies at theta12 t + theta3 of the crop. gamma goes the other way: crop to STN.",
        ),
    )
)

# --- pose NMS ---------------------------------------------------------------------------------------------------------


def _likeness(
    kept: Tensor, other: Tensor, sure: Tensor, also: Tensor, box: Tensor, numbers: tuple[float, float, float, float]
) -> float:
    sigma1, sigma2, weight, _ = numbers
    wide, high = (float(box[2 + axis] - box[axis]) / 20 for axis in (0, 1))
    total = 0.0
    for (x, y), (u, v), c, e in zip(kept.tolist(), other.tolist(), sure.tolist(), also.tolist(), strict=True):
        if abs(u - x) <= wide and abs(v - y) <= high:
            total += math.tanh(c / sigma1) * math.tanh(e / sigma1)
        total += weight * math.exp(-((u - x) ** 2 + (v - y) ** 2) / sigma2)
    return total


def _pose_nms(
    joints: Tensor, confidences: Tensor, boxes: Tensor, scores: Tensor, numbers: tuple[float, float, float, float]
) -> list[int]:
    rest, kept = sorted(range(len(scores)), key=lambda i: -float(scores[i])), []
    while rest:
        best, *others = rest
        kept.append(best)
        rest = [
            j
            for j in others
            if _likeness(joints[best], joints[j], confidences[best], confidences[j], boxes[best], numbers) < numbers[3]
        ]
    return kept


FIGURE = torch.tensor([place for place in standing(skeletons.get("lsp")).values()])


def _people(*places: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
    """Upright people 14 joints each, by x, y and height: joints (N, 14, 2) and their boxes (N, 4)."""
    joints = torch.stack([FIGURE * height + torch.tensor([x, y]) for x, y, height in places])
    return joints, torch.cat([joints.amin(1) - 4, joints.amax(1) + 4], -1)


def _pose_nms_cases(random: torch.Generator) -> Iterator[Case]:
    sure = (1.0, 100.0, 1.0, 8.0)

    def case(places, confidences, scores, numbers, label, hint, boxes=None) -> Case:
        joints, own = _people(*places)
        levels = torch.tensor(confidences)[:, None].expand(-1, joints.shape[1]).clone()
        return Case((joints, levels, own if boxes is None else boxes, torch.tensor(scores), numbers), label, hint)

    twice = [(60.0, 20.0, 100.0), (61.0, 20.0, 100.0), (180.0, 20.0, 100.0)]
    slip = "The better of two alike stays, and who is unlike it stays as well: pose j goes if d >= eta."
    yield case(twice, [0.9, 0.9, 0.9], [0.9, 0.8, 0.7], sure, "one person twice, and somebody else", slip)
    order = "Begin with the best score, wherever in the list it stands, and answer in the order of scores."
    yield case(twice, [0.9, 0.9, 0.9], [0.5, 0.8, 0.9], sure, "the best comes last", order)
    chain = [(60.0, 20.0, 100.0), (66.0, 20.0, 100.0), (72.0, 20.0, 100.0)]
    gone = "Who is gone removes nobody: the third is unlike the first, and the second no longer counts."
    yield case(chain, [0.9] * 3, [0.9, 0.8, 0.7], (1.0, 60.0, 1.0, 7.5), "three in a row, 6 pixels apart", gone)
    tanh = "K_sim weighs joints by tanh(c / sigma1) of both: two who are not sure are less alike."
    for eta in (7.0, 9.0):
        yield case(twice[:2], [0.9, 0.1], [0.9, 0.1], (0.5, 1.0, 1.0, eta), f"the copy is not sure, eta = {eta}", tanh)
    bent = "Divide by sigma1 *before* the tanh."
    yield case(twice[:2], [1.0, 1.0], [0.9, 0.8], (2.0, 0.5, 0.0, 2.5), "a large sigma1", bent)
    near = [(60.0, 20.0, 100.0), (64.0, 20.0, 100.0)]
    tenth = "B(k) has sides of a *tenth* of the kept pose's box, so k_j may be a twentieth away on either side."
    yield case(near, [2.0, 2.0], [0.9, 0.8], (1.0, 1.0, 0.0, 5.0), "4 pixels beside, K_sim alone", tenth)
    square = "H_sim is exp(-distance^2 / sigma2), with the *squared* distance."
    yield case(near, [0.0, 0.0], [0.9, 0.8], (1.0, 9.0, 1.0, 4.6), "4 pixels beside, H_sim alone", square)
    large, small = torch.tensor([0.0, 0.0, 200.0, 200.0]), torch.tensor([50.0, 10.0, 80.0, 90.0])
    whose = "The box is that of the pose that is kept, i, not of the other one."
    for boxes, name in ((torch.stack([large, small]), "large"), (torch.stack([small, large]), "small")):
        label = f"the kept pose's box is the {name} one"
        yield case(near, [2.0, 2.0], [0.9, 0.8], (1.0, 1.0, 0.0, 5.0), label, whose, boxes)
    border = "Here d is exactly eta: the number of joints. A pose goes if d >= eta, not only if d > eta."
    copies = [(60.0, 20.0, 100.0)] * 2
    yield case(copies, [0.0, 0.0], [0.9, 0.8], (1.0, 9.0, 1.0, 14.0), "a copy, d = eta", border)
    summed = "Both terms are sums over the joints, and lambda weighs the second."
    yield case(near, [0.9, 0.9], [0.9, 0.8], (1.0, 20.0, 0.2, 3.0), "a small lambda", summed)
    yield case(twice[:1], [0.9], [0.9], sure, "a single pose", "Nobody is compared with itself.")
    empty = (torch.zeros(0, 14, 2), torch.zeros(0, 14), torch.zeros(0, 4), torch.zeros(0))
    yield Case((*empty, sure), "nobody at all", "Answer an empty list.")
    for number in range(4):
        places = [tuple(place) for place in (torch.rand(9, 3, generator=random) * 12 + 60).tolist()]
        joints, boxes = _people(*places)
        joints = joints + torch.randn(joints.shape, generator=random)
        confidences, scores = torch.rand(9, 14, generator=random), torch.rand(9, generator=random)
        numbers = (0.6, 20.0, 1.3, 7.0 + number)
        yield Case((joints, confidences, boxes, scores, numbers), f"nine random poses, {number + 1}")


register(
    Exercise(
        "09.pose_nms",
        _pose_nms,
        _pose_nms_cases,
        (
            "Write d(i, j) first and try it on two copies: then H_sim is the number of joints.",
            "K: (|x_j - x_i| <= w_i / 20) & (|y_j - y_i| <= h_i / 20), times tanh(c_i / sigma1) tanh(c_j / sigma1).",
            "Take the best of the rest; keep it; of the others keep in the rest only those with d < eta; repeat.",
        ),
    )
)

# --- boxes as wrong as a detector's -----------------------------------------------------------------------------------


def _proposals(true: Tensor, detected: Tensor, atoms: Tensor, people: Tensor, of: Tensor, noise: Tensor) -> Tensor:
    boxes = torch.empty_like(people)
    for one, (person, atom) in enumerate(zip(people, of.tolist(), strict=True)):
        rows = []
        for a, b, own in zip(true.tolist(), detected.tolist(), atoms.tolist(), strict=True):
            if own == atom:
                sides = [a[2] - a[0], a[3] - a[1]] * 2
                rows.append([(q - p) / s for p, q, s in zip(a, b, sides, strict=True)])
        offsets = torch.tensor(rows, dtype=torch.float64)
        mean = offsets.sum(0) / len(rows)
        covariance = (offsets - mean).T @ (offsets - mean) / len(rows)
        lower = torch.linalg.cholesky(covariance)
        drawn = mean + lower @ noise[one].double()
        wide, high = float(person[2] - person[0]), float(person[3] - person[1])
        boxes[one] = person + (drawn * torch.tensor([wide, high, wide, high])).to(person.dtype)
    return boxes


def _proposals_cases(random: torch.Generator) -> Iterator[Case]:
    def boxes(count: int, wide: float, high: float) -> Tensor:
        corner = 100 * torch.rand(count, 2, generator=random)
        sides = torch.tensor([wide, high]) * (0.8 + 0.4 * torch.rand(count, 2, generator=random))
        return torch.cat([corner, corner + sides], -1)

    def found(true: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        sides = (true[:, 2:] - true[:, :2]).repeat(1, 2)
        return true + sides * (mean + torch.randn(len(true), 4, generator=random) @ spread)

    mix = 0.08 * torch.randn(4, 4, generator=random)
    mean = torch.tensor([0.05, -0.1, 0.2, 0.02])
    alone = torch.zeros(60, dtype=torch.long)
    true = boxes(60, 40, 90)
    middle = "Without noise a box is the person's, moved by the atom's mean offset, in sides of the person's box."
    still = (true, found(true, mean, mix), alone, boxes(2, 20, 30), torch.zeros(2, dtype=torch.long))
    yield Case((*still, torch.zeros(2, 4)), "one atom, no noise", middle)
    sides = "x by the width, y by the height, and always of the *true* box."
    yield Case((*still, torch.eye(4)[:2]), "one atom, noise on one side", sides)
    together = "Sides err together: the covariance is 4 x 4, L its lower Cholesky factor; the offset is mean + L noise."
    yield Case((*still, torch.randn(2, 4, generator=random)), "one atom, noise on all sides", together)
    atoms = torch.arange(90) % 3
    true = torch.cat([boxes(45, 30, 90), boxes(45, 90, 40)])
    err = torch.tensor([[0.1, 0.0, 0.0, 0.0], [0.0, 0.3, 0.0, -0.1], [-0.2, 0.0, 0.1, 0.2]])[atoms]
    detected = found(true, err, mix)
    of = torch.tensor([2, 0, 1, 1, 0])
    noise = torch.randn(5, 4, generator=random)
    own = "Each atom has its own mean and covariance; a person gets those of the atom that is theirs."
    yield Case((true, detected, atoms, boxes(5, 50, 50), of, noise), "three atoms", own)
    few = "Divide by the number of pairs of the atom, not by one less."
    yield Case((true[:18], detected[:18], atoms[:18], boxes(5, 70, 20), of, noise), "six pairs an atom", few)
    yield Case((true, detected, atoms, boxes(1, 9, 80), of[:1], noise[:1]), "one person only")


register(
    Exercise(
        "09.proposals",
        _proposals,
        _proposals_cases,
        (
            "Three steps: offsets of the pairs; mean and covariance of each atom; one offset drawn for every person.",
            "offset = (detected - true) / (w, h, w, h) of the true box; covariance = centred.T @ centred / count.",
            "box = person + (w, h, w, h) * (mean + cholesky(covariance) @ noise), the person's own w and h.",
        ),
        tolerance=1e-3,
    )
)
