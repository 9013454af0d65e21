"""Lesson 11: its three exercises."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from course_lib import skeletons
from course_lib.lessons import Case, Exercise, register

# --- the flip test ----------------------------------------------------------------------------------------------------


def _flip(maps: Tensor, mirrored: Tensor, swaps: list[int], shift: int) -> Tensor:
    answer = torch.empty_like(maps)
    width = maps.shape[-1]
    for joint, partner in enumerate(swaps):
        for column in range(width):
            source = column - shift if column >= shift else column  # nothing comes in from outside
            other = mirrored[:, partner, :, width - 1 - source]
            answer[:, joint, :, column] = (maps[:, joint, :, column] + other) / 2
    return answer


def _flip_cases(random: torch.Generator) -> Iterator[Case]:
    def pair(*shape: int) -> tuple[Tensor, Tensor]:
        return torch.rand(*shape, generator=random), torch.rand(*shape, generator=random)

    one = torch.zeros(1, 1, 1, 5)
    one[..., 1] = 1.0
    back = "Mirror the second maps back first: column 0 becomes the last one."
    yield Case((one, one.flip(-1), [0], 0), "a joint without a partner, corners on corners", back)
    moved = "With shift 1 the maps that were mirrored back move one column to the right, before the mean."
    yield Case((one, one.flip(-1).roll(1, -1), [0], 1), "the same joint in the authors' alignment", moved)
    named = "After mirroring, the left wrist is in the right wrist's map: exchange the joints of the second maps."
    yield Case((*pair(1, 2, 3, 4), [1, 0], 0), "a left and a right joint", named)
    lsp = list(skeletons.get("lsp").swaps)
    yield Case((*pair(2, 14, 6, 9), lsp, 0), "two people, maps that are not square", named)
    yield Case((*pair(2, 14, 6, 9), lsp, 1), "the same with a shift", "The first column keeps what it had before.")
    yield Case((*pair(3, 3, 4, 1), [0, 2, 1], 1), "maps of a single column", "There is no column to move: it stays.")


register(
    Exercise(
        "11.flip",
        _flip,
        _flip_cases,
        (
            "Three things are done to the second maps, in any order, before the mean: mirror back, exchange, shift.",
            "mirrored[:, swaps].flip(-1) has every joint in its own map and every column in its place.",
            "torch.cat([back[..., :1], back[..., :-1]], dim=-1) moves by one column; the first one stays as it was.",
        ),
    )
)

# --- a path of the exchange -------------------------------------------------------------------------------------------


def _fuse(i: int, j: int, channels: list[int]) -> tuple[list[tuple[int, int, int, int, bool]], int]:
    if i == j:
        return [], 0
    if j > i:
        chain = [(1, 1, channels[j], channels[i], False)]
    else:
        chain = []
        for step in range(j, i):
            is_last = step == i - 1
            chain.append((3, 2, channels[j], channels[i] if is_last else channels[j], not is_last))
    parameters = 0
    for kernel, _, inputs, outputs, _ in chain:
        parameters += kernel**2 * inputs * outputs + 2 * outputs
    return chain, parameters


def _fuse_cases(random: torch.Generator) -> Iterator[Case]:
    usual = [32, 64, 128, 256]
    yield Case((1, 1, usual), "a stream to itself", "The identity has no convolution and no parameters.")
    up = "From a coarser stream (j > i): one convolution of 1x1, then enlarging, which learns nothing."
    yield Case((0, 1, usual), "one step up", up)
    yield Case((0, 3, usual), "three steps up", "Still a single 1x1: nearest enlarges by 8 at once.")
    down = "From a finer stream (j < i): 3x3 with stride 2, and no ReLU after the last of them."
    yield Case((1, 0, usual), "one step down", down)
    yield Case((2, 0, usual), "two steps down", "The channels stay those of x_j until the last convolution.")
    yield Case((3, 0, usual), "three steps down", "ReLU after every convolution but the last.")
    yield Case((3, 1, [48, 96, 192, 384]), "another width")
    odd = "Channels need not double: take them from the list."
    for _ in range(3):
        channels = torch.randint(3, 40, (5,), generator=random).tolist()
        yield Case((4, 0, channels), "five streams, down", odd)
        yield Case((1, 4, channels), "five streams, up", odd)


register(
    Exercise(
        "11.fuse",
        _fuse,
        _fuse_cases,
        (
            "A convolution without bias has kernel x kernel x inputs x outputs weights.",
            "A batch normalisation of c channels learns 2 c numbers, and there is one after every convolution.",
            "For j < i there are i - j convolutions: the first i - j - 1 from C_j to C_j, the last from C_j to C_i.",
        ),
    )
)

# --- DARK's step ------------------------------------------------------------------------------------------------------


def _newton(maps: Tensor) -> Tensor:
    height, width = maps.shape[-2:]
    found = []
    for one in maps.reshape(-1, height, width).double():
        flat = one.flatten().tolist()
        place = flat.index(max(flat))
        row, column = divmod(place, width)
        x, y = column + 0.5, row + 0.5
        if 2 <= row <= height - 3 and 2 <= column <= width - 3:

            def log(across: int, down: int, one=one, row=row, column=column) -> float:
                return math.log(max(float(one[row + down, column + across]), 1e-10))

            gradient = [(log(1, 0) - log(-1, 0)) / 2, (log(0, 1) - log(0, -1)) / 2]
            xx = (log(2, 0) - 2 * log(0, 0) + log(-2, 0)) / 4
            yy = (log(0, 2) - 2 * log(0, 0) + log(0, -2)) / 4
            xy = (log(1, 1) - log(1, -1) - log(-1, 1) + log(-1, -1)) / 4
            determinant = xx * yy - xy * xy
            if xx < 0 and determinant > 1e-9:
                x -= (yy * gradient[0] - xy * gradient[1]) / determinant
                y -= (xx * gradient[1] - xy * gradient[0]) / determinant
        found.append([x, y])
    return torch.tensor(found, dtype=torch.float32).reshape(*maps.shape[:-2], 2)


def _bell(centre: tuple[float, float], size: tuple[int, int], wide: float, narrow: float, turn: float) -> Tensor:
    """A bell, longer in one direction than across it: (height, width)."""
    y, x = torch.meshgrid(*(torch.arange(side) + 0.5 for side in size), indexing="ij")
    x, y = x - centre[0], y - centre[1]
    along, across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    return torch.exp(-(along**2) / (2 * wide**2) - across**2 / (2 * narrow**2))


def _newton_cases(random: torch.Generator) -> Iterator[Case]:
    middle = _bell((4.5, 3.5), (7, 9), 1.5, 1.5, 0.0)
    yield Case((middle[None],), "a bell right on a cell's centre", "Nothing to move: the gradient is 0.")
    round_ = _bell((5.8, 4.2), (9, 11), 1.5, 1.5, 0.0)
    log = "Take the log first: of a bell it is a parabola, and one step is exact."
    yield Case((round_[None],), "a round bell between cells", log)
    uneven = torch.stack([_bell((5.7, 4.3), (9, 12), 2.0, 1.2, 0.0), _bell((6.2, 4.9), (9, 12), 1.1, 2.2, 0.0)])
    yield Case((uneven,), "bells that are wider in x, and in y", "x and y have second derivatives of their own.")
    turned = torch.stack([_bell((5.7, 5.4), (11, 12), 2.4, 1.1, angle) for angle in (0.6, -0.7)])
    mixed = "A turned bell has a mixed derivative: the step is the inverse of the whole 2 x 2 matrix times g."
    yield Case((turned[None],), "turned bells", mixed)
    two = _bell((5.2, 5.4), (12, 12), 1.6, 1.6, 0.0) + 0.6 * _bell((8.4, 7.1), (12, 12), 1.8, 1.3, 0.4)
    spans = "First differences are L(+1) - L(-1) over 2; second ones L(+2) - 2 L(0) + L(-2) over 4, as DARK takes them."
    yield Case((two[None],), "two bells that overlap: no parabola", spans)
    border = torch.stack([_bell(place, (8, 9), 1.5, 1.5, 0.0) for place in ((1.2, 4.2), (7.9, 4.3), (4.2, 6.8))])
    yield Case((border,), "peaks within two cells of the border", "There the answer is the centre of the highest cell.")
    flat = torch.full((2, 6, 7), 0.3)
    flat[1, 3, 3], flat[1, 3, 1], flat[1, 3, 5], flat[1, 3, 4] = 0.5, 0.45, 0.45, 0.4
    flat[1, 2, 2], flat[1, 4, 4] = 0.49, 0.49  # a ridge from corner to corner
    no_hill = "If xx is not negative or the determinant not above 1e-9, it is no hill: answer the cell's centre."
    yield Case((flat,), "maps that have no hill", no_hill)
    zero = torch.zeros(1, 7, 7)
    zero[0, 3, 3] = 1.0
    yield Case((zero,), "a single cell, zeros around it", "log(0) is minus infinity: clamp the map at 1e-10 first.")
    noise = torch.rand(2, 3, 8, 10, generator=random)
    yield Case((_bell((5.3, 4.2), (8, 10), 1.7, 1.7, 0.0) + 0.01 * noise,), "more leading axes, a little noise")


register(
    Exercise(
        "11.newton",
        _newton,
        _newton_cases,
        (
            "mu = m - H^-1 g, with g and H of the log of the map at the highest cell m.",
            "H^-1 g = (yy gx - xy gy, xx gy - xy gx) / (xx yy - xy^2).",
            "maps.flatten(-2).argmax(-1), then // and % by the width, give the row and the column.",
        ),
        tolerance=1e-3,
    )
)
