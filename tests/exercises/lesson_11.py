"""Answers to the exercises of lesson 11."""

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.models import counting
from course_lib.models.hrnet import path
from exercises import right, wrong

# --- 11.flip ----------------------------------------------------------------------------------------------------------


def turned(mirrored, swaps, shift):
    back = mirrored[:, swaps].flip(-1)
    return torch.cat([back[..., :1], back[..., :-1]], -1) if shift else back


@right("11.flip")
def in_one_line(maps, mirrored, swaps, shift):
    return (maps + turned(mirrored, swaps, shift)) / 2


@right("11.flip")
def by_padding(maps, mirrored, swaps, shift):
    back = torch.index_select(torch.flip(mirrored, [3]), 1, torch.tensor(swaps))
    padded = F.pad(back, (shift, 0, 0, 0), mode="replicate")
    return torch.stack([maps, padded[..., : maps.shape[-1]]]).mean(0)


@wrong("11.flip")
def not_mirrored_back(maps, mirrored, swaps, shift):
    return (maps + turned(mirrored.flip(-1), swaps, shift)) / 2


@wrong("11.flip")
def sides_not_exchanged(maps, mirrored, swaps, shift):
    return (maps + turned(mirrored, list(range(len(swaps))), shift)) / 2


@wrong("11.flip")
def never_moved(maps, mirrored, swaps, shift):
    return (maps + turned(mirrored, swaps, 0)) / 2


@wrong("11.flip")
def always_moved(maps, mirrored, swaps, shift):
    return (maps + turned(mirrored, swaps, 1)) / 2


@wrong("11.flip")
def moved_to_the_left(maps, mirrored, swaps, shift):
    back = turned(mirrored, swaps, 0)
    return (maps + (torch.cat([back[..., 1:], back[..., -1:]], -1) if shift else back)) / 2


@wrong("11.flip")
def moved_in_a_circle(maps, mirrored, swaps, shift):
    return (maps + turned(mirrored, swaps, 0).roll(shift, -1)) / 2


@wrong("11.flip")
def moved_before_it_is_mirrored(maps, mirrored, swaps, shift):
    moved = torch.cat([mirrored[..., :1], mirrored[..., :-1]], -1) if shift else mirrored
    return (maps + turned(moved, swaps, 0)) / 2


@wrong("11.flip")
def upside_down(maps, mirrored, swaps, shift):
    return (maps + turned(mirrored.flip(-1).flip(-2), swaps, shift)) / 2


@wrong("11.flip")
def the_sum(maps, mirrored, swaps, shift):
    return maps + turned(mirrored, swaps, shift)


@wrong("11.flip")
def both_are_moved(maps, mirrored, swaps, shift):
    mean = (maps + turned(mirrored, swaps, 0)) / 2
    return torch.cat([mean[..., :1], mean[..., :-1]], -1) if shift else mean


@wrong("11.flip")
def zeros_come_in(maps, mirrored, swaps, shift):
    back = turned(mirrored, swaps, 0)
    return (maps + F.pad(back, (shift, 0))[..., : maps.shape[-1]]) / 2


# --- 11.fuse ----------------------------------------------------------------------------------------------------------


def chain_of(i, j, channels, *, early=False, last_relu=False, stepwise=False, kernel_up=1, stride_up=1, relu=True):
    if i == j:
        return []
    if j > i:
        return [(kernel_up, stride_up, channels[j], channels[i], last_relu)]
    sizes = [channels[j]] * (i - j) + [channels[i]]
    if early:
        sizes = [channels[j]] + [channels[i]] * (i - j)
    if stepwise:
        sizes = channels[j : i + 1]
    return [(3, 2, a, b, relu and (last_relu or n + 1 < i - j)) for n, (a, b) in enumerate(itertools.pairwise(sizes))]


def total(chain, norms=2, bias=False):
    return sum(k * k * a * b + norms * b + (b if bias else 0) for k, _, a, b, _ in chain)


@right("11.fuse")
def by_a_list(i, j, channels):
    chain = chain_of(i, j, channels)
    return chain, total(chain)


@right("11.fuse")
def by_building_it(i, j, channels):
    built, chain = path(channels, i, j), []
    for layer in built.modules():
        if isinstance(layer, nn.Conv2d):
            chain.append([layer.kernel_size[0], layer.stride[0], layer.in_channels, layer.out_channels, False])
        elif isinstance(layer, nn.ReLU):
            chain[-1][-1] = True
    return [tuple(one) for one in chain], counting.parameters(built)


@wrong("11.fuse")
def relu_at_the_end(i, j, channels):
    chain = chain_of(i, j, channels, last_relu=True)
    return chain, total(chain)


@wrong("11.fuse")
def no_relu_at_all(i, j, channels):
    chain = chain_of(i, j, channels, relu=False)
    return chain, total(chain)


@wrong("11.fuse")
def channels_change_at_once(i, j, channels):
    chain = chain_of(i, j, channels, early=True)
    return chain, total(chain)


@wrong("11.fuse")
def channels_grow_step_by_step(i, j, channels):
    chain = chain_of(i, j, list(channels), stepwise=True)
    return chain, total(chain)


@wrong("11.fuse")
def a_3x3_on_the_way_up(i, j, channels):
    chain = chain_of(i, j, channels, kernel_up=3)
    return chain, total(chain)


@wrong("11.fuse")
def norms_forgotten(i, j, channels):
    chain = chain_of(i, j, channels)
    return chain, total(chain, norms=0)


@wrong("11.fuse")
def a_bias_as_well(i, j, channels):
    chain = chain_of(i, j, channels)
    return chain, total(chain, bias=True)


@wrong("11.fuse")
def running_statistics_counted(i, j, channels):
    chain = chain_of(i, j, channels)
    return chain, total(chain, norms=4)


@wrong("11.fuse")
def i_and_j_exchanged(i, j, channels):
    chain = chain_of(j, i, channels)
    return chain, total(chain)


@wrong("11.fuse")
def one_large_stride(i, j, channels):
    chain = [(3, 2 ** (i - j), channels[j], channels[i], False)] if j < i else chain_of(i, j, channels)
    return chain, total(chain)


@wrong("11.fuse")
def channels_always_double(i, j, channels):
    chain = chain_of(i, j, [channels[0] * 2**level for level in range(len(channels))])
    return chain, total(chain)


# --- 11.newton --------------------------------------------------------------------------------------------------------


def stepped(maps, *, log=True, mixed=True, span=2, sign=-1.0, factor=1.0, border=2, hill=True, centre=0.5, swap=False):
    lead, (height, width) = maps.shape[:-2], maps.shape[-2:]
    flat = maps.flatten(0, -3) if len(lead) else maps[None]
    values = flat.clamp(min=1e-10).log() if log else flat
    answer = []
    for one, level in zip(flat, values, strict=True):
        index = int(one.argmax())
        row, column = index // width, index % width
        place = torch.tensor([column + centre, row + centre])
        if border <= row < height - border and border <= column < width - border:
            around = level[row - 2 : row + 3, column - 2 : column + 3].double()
            g = torch.stack([around[2, 3] - around[2, 1], around[3, 2] - around[1, 2]]) / 2
            far = 2 + span, 2 - span
            xx = (around[2, far[0]] - 2 * around[2, 2] + around[2, far[1]]) / span**2
            yy = (around[far[0], 2] - 2 * around[2, 2] + around[far[1], 2]) / span**2
            xy = (around[3, 3] - around[3, 1] - around[1, 3] + around[1, 1]) / 4 if mixed else xx * 0
            matrix = torch.stack([torch.stack([xx, xy]), torch.stack([xy, yy])])
            if not hill or (xx < 0 and torch.linalg.det(matrix) > 1e-9):
                step = factor * torch.linalg.pinv(matrix) @ g
                place = place + sign * (step.flip(0) if swap else step).float()
        answer.append(place)
    return torch.stack(answer).reshape(*lead, 2)


@right("11.newton")
def by_the_inverse(maps):
    return stepped(maps)


@right("11.newton")
def by_windows(maps):
    height, width = maps.shape[-2:]
    index = maps.flatten(-2).argmax(-1)
    column, row = index % width, index // width
    log = F.pad(maps.clamp(min=1e-10).log().double(), (2, 2, 2, 2)).flatten(-2)

    def at(x, y):
        return log.gather(-1, ((row + 2 + y) * (width + 4) + column + 2 + x)[..., None])[..., 0]

    gx, gy = (at(1, 0) - at(-1, 0)) / 2, (at(0, 1) - at(0, -1)) / 2
    xx, yy = (at(2, 0) + at(-2, 0) - 2 * at(0, 0)) / 4, (at(0, 2) + at(0, -2) - 2 * at(0, 0)) / 4
    xy = (at(1, 1) + at(-1, -1) - at(1, -1) - at(-1, 1)) / 4
    determinant = xx * yy - xy**2
    inside = (column >= 2) & (column <= width - 3) & (row >= 2) & (row <= height - 3)
    good = inside & (xx < 0) & (determinant > 1e-9)
    step = torch.stack([xy * gy - yy * gx, xy * gx - xx * gy], -1) / torch.where(good, determinant, 1.0)[..., None]
    return torch.stack([column, row], -1) + 0.5 + torch.where(good[..., None], step, 0.0).float()


@wrong("11.newton")
def just_the_highest_cell(maps):
    return stepped(maps, factor=0.0)


@wrong("11.newton")
def without_the_log(maps):
    return stepped(maps, log=False)


@wrong("11.newton")
def uphill_is_the_other_way(maps):
    return stepped(maps, sign=1.0)


@wrong("11.newton")
def mixed_derivative_forgotten(maps):
    return stepped(maps, mixed=False)


@wrong("11.newton")
def second_differences_of_one_cell(maps):
    return stepped(maps, span=1)


@wrong("11.newton")
def differences_not_halved(maps):
    return stepped(maps, factor=2.0)


@wrong("11.newton")
def x_and_y_exchanged(maps):
    return stepped(maps, swap=True)


@wrong("11.newton")
def cells_begin_at_their_corner(maps):
    return stepped(maps, centre=0.0)


@wrong("11.newton")
def any_matrix_is_a_hill(maps):
    return stepped(maps, hill=False)


@wrong("11.newton")
def borders_are_stepped_from_too(maps):
    padded = F.pad(maps.flatten(0, -3)[None], (2, 2, 2, 2), mode="replicate")[0].unflatten(0, maps.shape[:-2])
    return stepped(padded) - 2
