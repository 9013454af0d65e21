"""How crowded a picture is: the crowd index, and the levels that AP is told apart by.

    CI = mean over people i of  N_i^b / N_i^a

N_i^a is how many labelled joints of person i lie in i's own box, N_i^b how many of other people lie in that box: 0
where everybody stands alone, 1 where a box holds as many joints of others as of its owner. This is the index as the
text of CrowdPose (Li et al. 2019) is usually quoted; we could not check the wording, so take the formula, not the
name, as what is computed here. Nothing keeps a single ratio below 1, and nothing is cut off there.

What the formula leaves open, and what is done:

- nobody in the picture: there is no mean, the index is None;
- one person: no joint of others, 0;
- a person without a box: the tight box of their labelled joints stands for it;
- a box without area is a box: its edges belong to it, so that it can still hold a joint;
- a person of whom no labelled joint lies in their own box (nobody labelled any, or all that is seen is a hand) has no
  ratio and is left out of the mean; their joints still count in the boxes of others;
- a region that is labelled as a group (`crowd`) is nobody's box; joints of it, if any, are those of others;
- joints whose position is not finite are not labelled, as everywhere in `metrics`.

The levels are those of CrowdPose's evaluation code: easy below 0.2, medium below 0.8, hard from there on. The paper
itself is usually quoted with 0.1 instead of 0.2 (unchecked, too), so a table of levels must say which it used.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from course_lib.errors import CourseError
from course_lib.geometry import box_of
from course_lib.metrics.marks import exact, labelled_joints, mean_or_none, stack
from course_lib.pose import Person

CROWD_EASY, CROWD_HARD = 0.2, 0.8  # easy is below the one, hard from the other on
CROWD_LEVELS = ("easy", "medium", "hard")


def crowd_index(people: Sequence[Person]) -> float | None:
    """The mean of `crowd_ratios`; None where nobody has one."""
    return mean_or_none(crowd_ratios(people))


def crowd_ratios(people: Sequence[Person]) -> list[float | None]:
    """Joints of others to joints of one's own in everybody's box; None where there are none of one's own."""
    labelled = [labelled_joints(one.joints, one.visible) for one in people]
    points = [exact(one.joints)[own] for one, own in zip(people, labelled, strict=True)]
    owner = torch.repeat_interleave(torch.arange(len(people)), torch.tensor([len(own) for own in points]).long())
    boxes = stack([_box(place, one, own) for place, (one, own) in enumerate(zip(people, labelled, strict=True))], (4,))
    everything = torch.cat([exact([]).reshape(0, 2), *points])  # (M, 2)
    inside = ((everything >= boxes[:, None, :2]) & (everything <= boxes[:, None, 2:])).all(-1)  # (N, M)
    mine = owner == torch.arange(len(people))[:, None]
    own, others = (inside & mine).sum(-1).tolist(), (inside & ~mine).sum(-1).tolist()
    return [b / a if a and not one.crowd else None for one, a, b in zip(people, own, others, strict=True)]


def crowd_level(index: float) -> str:
    """ "easy", "medium" or "hard", by CrowdPose's evaluation code."""
    if not index >= 0:
        raise CourseError(f"a crowd index is a number of at least 0; got {index}")
    return CROWD_LEVELS[sum(bool(index >= edge) for edge in (CROWD_EASY, CROWD_HARD))]


def _box(place: int, person: Person, labelled: Tensor) -> Tensor:
    """The person's box (4,), or that of their labelled joints (K,)."""
    if person.box is None:
        return box_of(exact(person.joints), labelled)
    box = exact(person.box)
    if box.shape != (4,) or not bool(box.isfinite().all()) or bool((box[2:] < box[:2]).any()):
        raise CourseError(
            f"person {place} has the box {box.tolist()}; it must be four finite numbers with x0 <= x1 and y0 <= y1"
        )
    return box
