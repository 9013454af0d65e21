"""Lesson 10: crops, discs with arrows, votes and grids of cells, drawn from the truth, so that no network matters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib import geometry
from course_lib.lessons import lesson_10_exercises  # noqa: F401 (registers the exercises)
from course_lib.models.base import BOX_PADDING
from course_lib.pose import Person, Scene
from course_lib.targets import heatmaps, hough

CROP = (128, 96)  # of the course's network, height and width in pixels
PAPER_CROP = (353, 257)
STRIDE, RADIUS = 4, 8.0  # of the course's network: pixels a cell, and pixels of a crop
DRAWN = (256, 192)  # the crops on which ways to decode are compared
STRIDES = (4, 8, 16)
ARGMAX, QUARTER, DARK, CELL, VOTES = "argmax", "quarter offset", "DARK", "votes, highest cell", "votes, centre of mass"
WAYS = (ARGMAX, QUARTER, DARK, CELL, VOTES)

# --- crops ------------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """One person's crop: image (3, h, w), and everybody's joints (N, K, 2) and visible (N, K) in it, theirs first."""

    image: Tensor
    joints: Tensor
    visible: Tensor


def cut(scene: Scene, who: int, size: tuple[int, int] = CROP, stretched: bool = False) -> Cut:
    """The crop of one person: their box grown by a quarter and, unless it is to be `stretched`, to the crop's shape."""
    order = [who, *(n for n in range(len(scene.people)) if n != who)]
    joints = torch.stack([scene.people[n].joints for n in order]).float()
    visible = torch.stack([scene.people[n].visible for n in order])
    box = scene.people[who].box.float()
    if stretched:
        low, high = box[:2], box[2:]
        sides = (high - low) * BOX_PADDING
        scale = torch.tensor([size[1], size[0]]) / sides
        shift = -scale * ((low + high) / 2 - sides / 2)
        matrix = torch.cat([torch.diag(scale), shift[:, None]], dim=1)
    else:
        matrix = geometry.crop_matrix(box, size, BOX_PADDING)
    image = geometry.warp(scene.image[None], matrix[None], size)[0]
    return Cut(image, geometry.apply(matrix, joints), visible)


def clear(scene: Scene, sharpness: float = 0.0165) -> bool:
    """Whether neighbouring pixels differ: little in a blurred or dark picture."""
    grey = scene.image.mean(0)
    return float((grey[:, 1:] - grey[:, :-1]).abs().mean()) >= sharpness


def close_pair(scenes: Sequence[Scene], least: float = 80.0) -> tuple[int, int]:
    """Scene and person: large, upright, seen well in a clear, bright picture that fills their crop, and in this with
    most joints of other people."""

    def crowded(number: int, who: int) -> float:
        scene = scenes[number]
        person = scene.people[who]
        high = float(person.box[3] - person.box[1]) >= least
        if not high or int((person.visible == 2).sum()) < 12 or not clear(scene):
            return -1.0
        made = cut(scene, who)
        filled = cut(Scene(torch.ones_like(scene.image), scene.people), who).image.mean() >= 0.97
        upright = float(person.joints[0, 1]) > float(person.joints[-1, 1])  # ankles below the head
        inside = ((made.joints[1:] > 0) & (made.joints[1:] < torch.tensor([CROP[1], CROP[0]]))).all(-1)
        good = bool(filled) and upright and float(scene.image.mean()) > 0.35
        return float((inside & (made.visible[1:] == 2)).sum()) - 100 * (not good)

    return max(_everybody(scenes), key=lambda place: crowded(*place))


def widest(scenes: Sequence[Scene], least: float = 50.0) -> tuple[int, int]:
    """Scene and person: of those who are large and seen well, the one whose box is the widest for its height."""

    def width(number: int, who: int) -> float:
        person = scenes[number].people[who]
        x0, y0, x1, y1 = person.box.tolist()
        well = int((person.visible == 2).sum()) >= 12 and y1 - y0 >= least and clear(scenes[number])
        return (x1 - x0) / (y1 - y0) if well else 0.0

    return max(_everybody(scenes), key=lambda place: width(*place))


def _everybody(scenes: Sequence[Scene]) -> list[tuple[int, int]]:
    return [(number, who) for number, scene in enumerate(scenes) for who in range(len(scene.people))]


# --- discs and arrows -------------------------------------------------------------------------------------------------


def fields(joints: Tensor, size: tuple[int, int], radius: float) -> tuple[Tensor, Tensor]:
    """The perfect answer for joints (B, K, 2) in cells: probabilities (B, K, h, w) and offsets (B, K, 2, h, w)."""
    truth = hough.targets(joints[:, None], torch.ones(joints.shape[:-1])[:, None], size, radius)
    offsets = torch.zeros(*joints.shape[:2], 2, *size)
    picture, joint, row, column = truth.discs.where
    offsets[picture, joint, :, row, column] = truth.discs.offset
    return truth.discs.inside.float(), offsets


def noisy(
    heat: Tensor, offsets: Tensor, doubt: float = 0.0, scatter: float = 0.0, shared: float = 0.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """A perfect answer made worse: `doubt` on every probability, `scatter` on every arrow by itself, and `shared`, the
    same for all arrows of a map; standard deviations, the last two in cells."""
    generator = torch.Generator().manual_seed(seed)
    heat = (heat + doubt * torch.randn(heat.shape, generator=generator)).clamp(0, 1)
    offsets = offsets + scatter * torch.randn(offsets.shape, generator=generator)
    common = torch.randn(*offsets.shape[:-2], 1, 1, generator=generator)
    return heat, offsets + shared * common


def places(count: int, size: tuple[int, int], margin: float = 0.0, seed: int = 0) -> Tensor:
    """Joints (count, 1, 2) anywhere on a map, in cells, but no nearer to its border than `margin`."""
    extent = torch.tensor([size[1], size[0]]) - 2 * margin
    return margin + torch.rand(count, 1, 2, generator=torch.Generator().manual_seed(seed)) * extent


def decoding(
    stride: int, doubt: float = 0.0, scatter: float = 0.0, shared: float = 0.0, count: int = 300
) -> dict[str, float]:
    """Mean distance in pixels of a joint from where each of WAYS puts it, on maps of crops of 256 x 192.

    doubt: noise on every cell, of Gaussians with sigma 1 cell and of discs.  scatter: of every arrow, in pixels.
    shared: how far the network is wrong about the joint altogether, in pixels, whatever it draws there.
    No joint is nearer to the border than three of the largest cells, since DARK looks two cells far.
    """
    size, radius = (DRAWN[0] // stride, DRAWN[1] // stride), hough.RADIUS / stride
    joints = places(count, size, margin=3 * max(STRIDES) / stride, seed=stride)
    generator = torch.Generator().manual_seed(1)
    believed = joints + shared / stride * torch.randn(joints.shape, generator=generator)
    bells = heatmaps.gaussian(believed, size, 1.0)
    bells = bells + doubt * torch.randn(bells.shape, generator=generator)
    heat, offsets = noisy(*fields(believed, size, radius), doubt, scatter / stride)
    answers = {
        ARGMAX: heatmaps.argmax(bells),
        QUARTER: heatmaps.quarter(bells),
        DARK: heatmaps.dark(bells, sigma=1.0),
        CELL: hough.decode(heat, offsets, radius, reach=0),
        VOTES: hough.decode(heat, offsets, radius),
    }
    return {way: stride * float((place - joints).norm(dim=-1).mean()) for way, (place, _) in answers.items()}


# --- votes ------------------------------------------------------------------------------------------------------------

WORKED = (((3, 4), (10, 10)), ((12, 9), (10.5, 10)), ((10, 17), (10, 10.25)))  # three voters, and where they point


def three_voters() -> tuple[Tensor, Tensor]:
    """Three cells of a map that vote near (10, 10), counted from the centre of the first cell: heat, offsets."""
    heat, offsets = torch.zeros(1, 20, 20), torch.zeros(1, 2, 20, 20)
    for (column, row), (x, y) in WORKED:
        heat[0, row, column] = 1
        offsets[0, :, row, column] = torch.tensor([x - column, y - row])
    return heat, offsets


class Peak(NamedTuple):
    """What becomes of a perfect disc's votes: how many voters, the highest cell of f, that of f `blurred`, and the sum
    of the 3 x 3 cells around the highest."""

    voters: int
    peak: float
    blurred: float
    mass: float


def peak(phase: tuple[float, float], radius: float = hough.RADIUS, blur: float = 1.5) -> Peak:
    """Of a joint that lies so far (in cells) from the centre of its cell."""
    size = (int(2 * radius) + 14, int(2 * radius) + 14)
    middle = torch.tensor([size[1] // 2 + 0.5, size[0] // 2 + 0.5])
    heat, offsets = fields((middle + torch.tensor(phase)).view(1, 1, 2), size, radius)
    votes = hough.vote(heat, offsets, radius)
    high, row = votes.max(-2).values.max(-1), votes.max(-1).values.argmax(-1)
    column = votes[0, 0, row[0, 0]].argmax()
    window = votes[0, 0, row[0, 0] - 1 : row[0, 0] + 2, column - 1 : column + 2]
    return Peak(int(heat.sum()), float(high.values), float(blurred(votes, blur).max()), float(window.sum()))


def blurred(votes: Tensor, sigma: float) -> Tensor:
    """Votes (1, 1, h, w) blurred by a Gaussian whose middle is 1: a vote in a cell's centre keeps its height."""
    reach = math.ceil(3 * sigma)
    bell = torch.exp(-((torch.arange(-reach, reach + 1) / sigma) ** 2) / 2).view(1, 1, -1, 1)
    across = torch.nn.functional.conv2d(votes, bell, padding=(reach, 0))
    return torch.nn.functional.conv2d(across, bell.transpose(-1, -2), padding=(0, reach))


def peaks_by_phase(steps: int = 21, radius: float = hough.RADIUS) -> Tensor:
    """The peak (steps, steps) of a perfect disc's votes, by how far the joint is from a cell's centre: -0.5 to 0.5."""
    size = (int(2 * radius) + 10, int(2 * radius) + 10)
    phase = torch.linspace(-0.5, 0.5, steps)
    shift = torch.stack(torch.meshgrid(phase, phase, indexing="xy"), -1).view(1, -1, 2)
    middle = torch.tensor([size[1] // 2 + 0.5, size[0] // 2 + 0.5])
    votes = hough.vote(*fields(middle + shift, size, radius), radius)
    return votes.flatten(-2).amax(-1).view(steps, steps)


# --- losses before anything is learned --------------------------------------------------------------------------------


def first_losses(size: tuple[int, int], radius: float, stride: float) -> dict[str, float]:
    """Both losses, without their weights, of a network that answers 0 everywhere, for a joint amid a map (h, w)."""
    truth = hough.targets(
        torch.tensor([[[[size[1] / 2, size[0] / 2]]]]), torch.ones(1, 1, 1), size, radius
    )  # one picture, one person, one joint
    zeros = torch.zeros(1, 1, *size)
    heat = hough.heatmap_loss(zeros, truth)
    arrows = hough.offset_loss(torch.zeros(1, 1, 2, *size), truth, stride)
    return {"heatmaps": float(heat), "offsets": float(arrows)}


# --- one cell of S x S ------------------------------------------------------------------------------------------------


def grid_error(height: float, cells: int, shape: float = 0.5, count: int = 4000) -> float:
    """How far a joint is on average from the centre of its cell, in pixels, if a person's box, so many pixels high and
    `shape` times as wide, is cut into cells x cells."""
    inside = torch.rand(count, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    return float((inside * torch.tensor([shape * height, height]) / cells).norm(dim=-1).mean())


def standing(scene: Scene, least: float = 90.0) -> Person:
    """Somebody large of whom most is seen."""
    large = [one for one in scene.people if float(one.box[3] - one.box[1]) >= least] or scene.people
    return max(large, key=lambda one: int((one.visible == 2).sum()))
