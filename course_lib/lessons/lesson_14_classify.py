"""Lesson 14: its core exercise, the classes of error."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from course_lib.lessons import Case, Exercise, register


def _classify(
    estimated: Tensor,
    true: Tensor,
    others: Tensor,
    area: float,
    sigmas: Tensor,
    swaps: Sequence[int],
    good: float = 0.85,
    near: float = 0.5,
) -> list[str | None]:
    answer: list[str | None] = []
    for k, place in enumerate(estimated.tolist()):
        unit = 2 * (2 * float(sigmas[k])) ** 2 * area
        meant = [(true[k], "own")]
        meant += [(true[swaps[k]], "inversion")] if swaps[k] != k else []
        meant += [(person[joint], "swap") for person in others for joint in (k, swaps[k])]
        best, kind = -1.0, ""
        for joint, name in meant:
            x, y = joint.tolist()
            if math.isnan(x + y):
                continue
            squared = (place[0] - x) ** 2 + (place[1] - y) ** 2
            ks = 0.0 if math.isnan(squared) else math.exp(-squared / unit)
            if ks > best:  # the first of equals stays
                best, kind = ks, name
        if math.isnan(float(true[k].sum())):
            answer.append(None)
        elif best < near:
            answer.append("miss")
        else:
            answer.append(("good" if best >= good else "jitter") if kind == "own" else kind)
    return answer


# left wrist, right wrist, nose, left hip, right hip, of a person with a box of 100 x 200 pixels
_SIGMAS, _SWAPS, _AREA = torch.tensor([0.062, 0.062, 0.026, 0.107, 0.107]), [1, 0, 2, 4, 3], 10600.0
_TRUE = torch.tensor([[100.0, 150.0], [10.0, 150.0], [55.0, 20.0], [80.0, 120.0], [20.0, 120.0]])
_ASIDE = torch.tensor([300.0, 0.0])
_NOBODY = torch.zeros(0, 5, 2)


def _cases(random: torch.Generator) -> Iterator[Case]:
    one = _TRUE + _ASIDE
    rest = (_AREA, _SIGMAS, _SWAPS)
    off = torch.tensor([[5.0, 0.0], [0.0, 10.0], [0.0, 0.0], [0.0, 0.0], [0.0, 40.0]])
    estimated = _TRUE + off
    estimated[2], estimated[3] = one[2], _TRUE[4]
    radii = "With sigma and area as given a wrist is good up to 7.3 pixels, and jitter up to 15.0."
    yield Case((estimated, _TRUE, one[None], *rest), "one joint of every class", radii)
    exact = "What lies exactly at a limit belongs to the better class: ks >= good, ks >= near."
    moved = _TRUE.clone()
    moved[3] = _TRUE[4]
    yield Case((moved, _TRUE, one[None], *rest, 1.0, 1.0), "ks exactly at both limits, which are 1 here", exact)
    both = _TRUE.clone()
    both[0] = both[1]
    first = "Of equally large ks the own joint wins."
    yield Case((both, both, both[None], *rest), "left and right wrist in one place, and somebody there as well", first)
    wrists = _TRUE.clone()
    wrists[0] = _TRUE[1]
    second = "Of a mirror and another person's joint that are equally near, the mirror wins."
    yield Case((wrists, _TRUE, _TRUE[None], *rest), "mirror and neighbour in one place", second)
    largest = "First find the largest of all ks, then look whose it is: an own joint above 0.5 does not settle it."
    between = _TRUE.clone()
    between[4] = _TRUE[3] - torch.tensor([30.0, 0.0])
    nearer = _TRUE.clone()
    nearer[4] = between[4] + 0.6 * (between[3] - between[4])
    yield Case((nearer, between, _NOBODY, *rest), "own hip at ks 0.72, the other one nearer still", largest)
    other_side = one.clone()
    estimated = _TRUE.clone()
    estimated[0], estimated[3] = other_side[1], other_side[4]
    theirs = "Somebody else's left wrist and right wrist are both theirs: each makes a swap."
    yield Case((estimated, _TRUE, other_side[None], *rest), "on other people's mirror joints", theirs)
    shaken = _TRUE + torch.tensor([4.0, 0.0])
    yield Case((shaken, _TRUE, _NOBODY, *rest), "4 pixels off, nobody else", "A nose is good up to 3.1 pixels only.")
    unit = "The allowed distance grows with sqrt(area)."
    yield Case((_TRUE + 12, _TRUE, _NOBODY, 16 * _AREA, _SIGMAS, _SWAPS), "a person four times as tall", unit)
    lost = _TRUE.clone()
    lost[0], lost[2, 1] = math.nan, math.nan
    yield Case((lost, _TRUE, one[None], *rest), "estimates that are NaN", "Without an estimate a joint is a miss.")
    unlabelled = _TRUE.clone()
    unlabelled[1], unlabelled[2] = math.nan, math.nan
    estimated = _TRUE.clone()
    estimated[0] = _TRUE[1]
    unknown = "A true joint that is NaN is not labelled: it gets None, and no other joint can be taken for it."
    yield Case((estimated, unlabelled, one[None], *rest), "true joints that are NaN", unknown)
    hidden = one.clone()
    hidden[0] = math.nan
    estimated = _TRUE.clone()
    estimated[0], estimated[2], estimated[3] = one[0], one[2], one[4]
    yield Case((estimated, _TRUE, hidden[None], *rest), "of a neighbour one joint is not labelled", unknown)
    for people in (0, 1, 3):
        yield Case(_at_random(people, random), f"14 joints at random, {people} others")


def _at_random(people: int, random: torch.Generator) -> tuple:
    """Joints near true, mirror and other joints in turn, none at a limit that rounding could cross."""
    swaps = [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13]
    sigmas = 0.03 + 0.08 * torch.rand(14, generator=random)
    sigmas = (sigmas + sigmas[swaps]) / 2
    while True:
        true, others = (torch.rand(shape, generator=random) * 80 for shape in ((14, 2), (people, 14, 2)))
        options = torch.cat([true[None], true[swaps][None], others])
        which = torch.randint(len(options), (14,), generator=random)
        estimated = options[which, torch.arange(14)] + 6 * torch.randn(14, 2, generator=random)
        every = torch.cat([options, others[:, swaps]])
        ks = torch.exp(-(estimated - every).square().sum(-1) / (2 * 1600 * (2 * sigmas) ** 2))
        largest = ks.topk(2, dim=0).values
        clear = [(largest[0] - limit).abs().min() > 1e-3 for limit in (0.5, 0.85)]
        # two that are nearly equal are told apart by rounding alone, unless both mean a miss
        if all(clear) and bool(((largest[0] - largest[1] > 1e-3) | (largest[0] < 0.5)).all()):
            return estimated, true, others, 1600.0, sigmas, swaps


register(
    Exercise(
        "14.classify",
        _classify,
        _cases,
        (
            "For every joint: ks to the own joint, to the mirror (if it has one), to joint and mirror of all others. "
            "Which is the largest, and is it large enough?",
            "ks = exp(-d^2 / (2 area (2 sigma)^2)): twice sigma, and the sigma of joint k for every comparison.",
            "Put the ks in one list, own first, then mirror, then others: the index of the first largest names the "
            "kind. Let ks be -1 where the joint that is compared is NaN, and 0 where the estimate is.",
        ),
    )
)
