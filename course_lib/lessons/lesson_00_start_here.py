"""Lesson 00: its three exercises.

What the lesson draws and measures is in `lesson_00_figures`, its tables and the map of the course in `lesson_00_data`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from course_lib import skeletons
from course_lib.lessons import Case, Exercise, register
from course_lib.pose import HIDDEN, UNLABELLED, VISIBLE
from course_lib.skeletons import mirror_name

# --- exercise 1: a box around the labelled joints ---------------------------------------------------------------------


def _box(joints: Tensor, visible: Tensor, padding: float) -> Tensor:
    places = [point for point, flag in zip(joints.tolist(), visible.tolist(), strict=True) if flag != UNLABELLED]
    if not places:
        return torch.zeros(4)
    columns, rows = zip(*places, strict=True)
    across, down = padding * (max(columns) - min(columns)), padding * (max(rows) - min(rows))
    return torch.tensor([min(columns) - across, min(rows) - down, max(columns) + across, max(rows) + down])


def _box_cases(random: torch.Generator) -> Iterator[Case]:
    joints = torch.tensor([[10.0, 20.0], [30.0, 60.0], [20.0, 50.0]])
    everywhere = torch.full((3,), VISIBLE)
    yield Case((joints, everywhere, 0.0), "three visible joints, no padding")
    yield Case(
        (joints, everywhere, 0.25), "a quarter more on each side", "The box is 20 wide and 40 high: grow by both."
    )
    some = torch.tensor([VISIBLE, UNLABELLED, HIDDEN])
    yield Case((joints, some, 0.0), "one joint unlabelled, one hidden", "Hidden (1) is labelled: only 0 stays out.")
    lost = torch.tensor([[10.0, 20.0], [30.0, 60.0], [torch.nan, torch.nan]])
    marks = torch.tensor([VISIBLE, VISIBLE, UNLABELLED])
    yield Case(
        (lost, marks, 0.1), "an unlabelled joint is NaN", "NaN times 0 is NaN: pick joints out, do not multiply."
    )
    yield Case((joints, torch.zeros(3, dtype=torch.long), 0.1), "nobody labelled", "Then the box is four zeros.")
    for count in (1, 17):
        places = 200 * torch.rand(count, 2, generator=random) - 50
        marks = torch.randint(0, 3, (count,), generator=random).clamp(min=1 if count == 1 else 0)
        yield Case((places, marks, 0.3), f"{count} random joints, some outside the picture")


register(
    Exercise(
        "00.box",
        _box,
        _box_cases,
        (
            "Keep the joints with visible > 0, then take the smallest and the largest x and y.",
            "The answer is x0, y0, x1, y1; `padding` is a share of the box's own width (for x) and height (for y).",
        ),
    )
)

# --- exercise 2: a pose in the mirror ---------------------------------------------------------------------------------


def _mirror(joints: Tensor, visible: Tensor, width: float, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    new_joints, new_visible = torch.empty_like(joints), torch.empty_like(visible)
    for k, name in enumerate(names):
        other = list(names).index(mirror_name(name))
        new_joints[other, 0], new_joints[other, 1] = width - joints[k, 0], joints[k, 1]
        new_visible[other] = visible[k]
    return new_joints, new_visible


def _mirror_cases(random: torch.Generator) -> Iterator[Case]:
    names = ("nose", "left_wrist", "right_wrist")
    joints = torch.tensor([[5.0, 1.0], [8.0, 4.0], [2.0, 4.0]])
    yield Case(
        (joints, torch.full((3,), VISIBLE), 10.0, names),
        "nose, left wrist, right wrist in a picture of width 10",
        "After mirroring, the person's left wrist is where the right one was seen.",
    )
    yield Case(
        (joints, torch.tensor([VISIBLE, HIDDEN, UNLABELLED]), 10.0, names),
        "the left wrist hidden, the right one unlabelled",
        "Visibility belongs to the joint and moves with it.",
    )
    for name, width in (("lsp", 127.0), ("coco", 64.0), ("body18", 96.5)):
        layout = skeletons.get(name)
        places = width * torch.rand(len(layout), 2, generator=random)
        marks = torch.randint(0, 3, (len(layout),), generator=random)
        told = "Which joints change places is written in the names; it differs from layout to layout."
        yield Case((places, marks, width, layout.joints), f"the layout of {name.upper()}, width {width:g}", told)


register(
    Exercise(
        "00.mirror",
        _mirror,
        _mirror_cases,
        (
            "Two things happen: x becomes width - x, and left_ and right_ joints change places in the list.",
            "Look up each name's partner: for 'left_knee' names.index('right_knee'); for 'neck' it is itself.",
        ),
    )
)

# --- exercise 3: the mean pose ----------------------------------------------------------------------------------------


def _mean_pose(joints: Tensor, visible: Tensor, boxes: Tensor) -> Tensor:
    count = joints.shape[1]
    mean = torch.zeros(count, 2)
    for k in range(count):
        placed = []
        for person, marks, (x0, y0, x1, y1) in zip(joints, visible, boxes.tolist(), strict=True):
            if int(marks[k]) != UNLABELLED:
                x, y = person[k].tolist()
                placed.append(((x - (x0 + x1) / 2) / (x1 - x0), (y - (y0 + y1) / 2) / (y1 - y0)))
        if placed:
            mean[k] = torch.tensor(placed).mean(0)
    return mean


def _mean_pose_cases(random: torch.Generator) -> Iterator[Case]:
    joints = torch.tensor([[[2.0, 2.0], [8.0, 2.0]], [[10.0, 20.0], [30.0, 60.0]]])
    boxes = torch.tensor([[0.0, 0.0, 10.0, 4.0], [0.0, 0.0, 40.0, 80.0]])
    seen = torch.full((2, 2), VISIBLE)
    yield Case(
        (joints, seen, boxes), "two people in boxes of different sizes", "Bring each to its box before averaging."
    )
    yield Case((joints, seen, boxes + 100), "the boxes lie elsewhere", "The box's middle becomes (0, 0).")
    some = torch.tensor([[VISIBLE, UNLABELLED], [HIDDEN, HIDDEN]])
    lost = joints.clone()
    lost[0, 1] = torch.nan
    yield Case(
        (lost, some, boxes),
        "one joint labelled in one person only",
        "Divide each joint by how many people have it labelled, and let no NaN in.",
    )
    never = torch.tensor([[VISIBLE, UNLABELLED], [VISIBLE, UNLABELLED]])
    yield Case((joints, never, boxes), "a joint nobody has labelled", "With nothing known, answer the middle: (0, 0).")
    for people, layout in ((9, 14), (30, 5)):
        corner = 100 * torch.rand(people, 2, generator=random)
        sides = 20 + 100 * torch.rand(people, 2, generator=random)
        places = corner[:, None] + sides[:, None] * (1.4 * torch.rand(people, layout, 2, generator=random) - 0.2)
        marks = torch.randint(0, 3, (people, layout), generator=random)
        case = (places, marks, torch.cat([corner, corner + sides], -1))
        yield Case(case, f"{people} people with {layout} joints")


register(
    Exercise(
        "00.mean_pose",
        _mean_pose,
        _mean_pose_cases,
        (
            "First N(y; b): subtract the box's centre, divide by its width and height. Then a mean over people.",
            "torch.where(labelled, value, 0).sum(0) / labelled.sum(0).clamp(min=1) is a mean over the labelled ones.",
        ),
    )
)
