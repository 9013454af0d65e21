"""Lesson 11: operations counted in two ways, enlarging, mirrored peaks, silent streams, pictures that slide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import geometry, models
from course_lib.lessons.lesson_06_stacked_hourglass import Answers
from course_lib.metrics import normalised_errors, pck_curve, reference_size
from course_lib.metrics.marks import labelled_joints
from course_lib.models.base import HeatmapModel, PoseModel
from course_lib.models.hrnet import HRNet
from course_lib.models.simple_baseline import KERNELS
from course_lib.pose import HIDDEN, VISIBLE, Pose, Scene
from course_lib.skeletons import Skeleton
from course_lib.targets import heatmaps
from course_lib.training import evaluate

GIGA, BINARY_GIGA = 1e9, 2**30

# --- what a network costs, and what is printed ------------------------------------------------------------------------


class Counted(NamedTuple):
    """One convolution of a network, and how many cells it read and wrote."""

    name: str
    transposed: bool
    weights: int
    cells_in: int
    cells_out: int

    @property
    def true(self) -> int:
        """Multiply-adds. A convolution uses all weights for a cell it writes, a transposed one for a cell it reads."""
        return self.weights * (self.cells_in if self.transposed else self.cells_out)

    @property
    def as_published(self) -> int:
        """What a counter finds that multiplies the weights of every "Conv..." by the cells it writes."""
        return self.weights * self.cells_out


def convolutions(model: PoseModel, size: tuple[int, int] | None = None) -> list[Counted]:
    """Every convolution of a network, in the order in which it answers to one picture of this size."""
    found: list[Counted] = []

    def note(name: str):
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            cells = inputs[0].shape[-2:].numel(), output.shape[-2:].numel()
            found.append(Counted(name, isinstance(layer, nn.ConvTranspose2d), layer.weight.numel(), *cells))

        return hook

    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    handles = [one.register_forward_hook(note(name)) for name, one in model.named_modules() if isinstance(one, kinds)]
    with torch.no_grad():
        model(torch.empty(1, 3, *(size or model.input_size), device=next(model.parameters()).device))
    for handle in handles:
        handle.remove()
    return found


def counts(model: PoseModel, size: tuple[int, int] | None = None) -> tuple[float, float, float]:
    """Multiply-adds in 10^9, the same in 2^30, and what the counter described above prints, in 2^30."""
    layers = convolutions(model, size)
    true, printed = sum(one.true for one in layers), sum(one.as_published for one in layers)
    return true / GIGA, true / BINARY_GIGA, printed / BINARY_GIGA


def on_paper(name: str, **options: Any) -> PoseModel:
    """A network without numbers in it, for shapes and counts: costs neither memory nor time."""
    with torch.device("meta"):
        return models.create(name, **options).eval()


# --- enlarging by transposed convolutions -----------------------------------------------------------------------------


def overlaps(kernel: int, cells: int, times: int = 1) -> Tensor:
    """In how many ways a cell is reached, if maps of `cells` x `cells` are doubled so many times: (side, side)."""
    padding, more = KERNELS[kernel]
    maps, ones = torch.ones(1, 1, cells, cells), torch.ones(1, 1, kernel, kernel)
    for _ in range(times):
        maps = F.conv_transpose2d(maps, ones, stride=2, padding=padding, output_padding=more)
    return maps[0, 0]


def unevenness(kernel: int, times: int = 3, cells: int = 8) -> Tensor:
    """How large random weights make the cells that such a chain writes, by place in the period: (P, P), mean 1.

    P = 2^times. Independent weights add their squares, so the size expected is the root of the number of ways. A fair
    enlargement has 1 everywhere.
    """
    period = 2**times
    ways = overlaps(kernel, cells, times)[period * 3 : period * 4, period * 3 : period * 4]  # far from the border
    return ways.sqrt() / ways.sqrt().mean()


def shifted(
    model: HeatmapModel, images: Tensor, joints: Tensor, visible: Tensor, steps: int = 32
) -> tuple[Tensor, Tensor]:
    """How an answer wanders while the picture slides to the right under the network, a pixel at a time.

    images (N, 3, H, W) of the network's size, joints (N, K, 2) and visible (N, K) in them. Returns the answers minus
    the slide, in x and around their mean, (steps, N, K), and which joints are followed (N, K): visible ones that stay
    inside and are found at every step.
    """
    edge = steps // 2
    wide = F.pad(images, (edge, edge, 0, 0), mode="replicate")
    width = images.shape[-1]
    found = []
    with torch.inference_mode():
        for step in range(steps):
            start = steps - 1 - step  # the window goes left, so the picture goes right
            poses = model.decode(model(wide[..., start : start + width]))
            found.append(torch.stack([pose.joints for (pose,) in poses]) - torch.tensor([edge - start, 0.0]))
    answers = torch.stack(found)  # (steps, N, K, 2)
    size = reference_size(joints, visible, model.skeleton)
    near = ((answers - joints).norm(dim=-1) <= 0.2 * size[:, None]).all(0)
    room = (joints[..., 0] > edge + 4) & (joints[..., 0] < width - edge - 4)
    across = answers[..., 0]
    return across - across.mean(0), near & room & (visible == VISIBLE)


def split(off: Tensor, period: int = 4) -> tuple[Tensor, Tensor]:
    """The spread (N,) of what repeats every `period` steps in a wandering (steps, N), and of the rest."""
    repeats = off.unflatten(0, (-1, period)).mean(0)
    return repeats.std(0, correction=0), (off - repeats.repeat(len(off) // period, 1)).std(0, correction=0)


def slid(model: HeatmapModel, scenes: Sequence[Scene]) -> tuple[Tensor, Tensor]:
    """`shifted` for the first people of scenes that have the network's size."""
    people = [scene.people[0] for scene in scenes]
    joints, visible = (torch.stack([getattr(person, name) for person in people]) for name in ("joints", "visible"))
    return shifted(model, torch.stack([scene.image for scene in scenes]), joints, visible)


def typical(off: Mapping[str, Tensor]) -> int:
    """Which of the joints followed (steps, N) wanders in all networks most nearly as much as the middle one."""
    spreads = torch.stack([one.std(0) for one in off.values()])
    return int((spreads - spreads.median(1, keepdim=True).values).abs().sum(0).argmin())


# --- the mirrored picture ---------------------------------------------------------------------------------------------

ALIGNMENTS = {  # how a place becomes a place of the map, both counted from the first cell's centre
    "authors' code: index / 4": lambda x, width, stride: x / stride,
    "UDP: index x (w - 1) / (W - 1)": lambda x, width, stride: x * (width // stride - 1) / (width - 1),
    "here: corners on corners": lambda x, width, stride: (x + 0.5) / stride - 0.5,
}


def mirrored_peaks(
    alignment: str, x: Tensor, width: int = 192, stride: int = 4, sigma: float = 2.0
) -> dict[str, Tensor]:
    """Where the peak lies in the four maps of a flip test, minus where it should, in cells: (N,) each.

    x (N,): a joint's column, counted from the first pixel's centre. The maps are drawn as a perfect network would.
    """
    place, cells = ALIGNMENTS[alignment], width // stride
    own = place(x, width, stride)
    maps, mirrored = (row_of(at, cells, sigma) for at in (own, place(width - 1 - x, width, stride)))
    back = mirrored.flip(-1)
    moved = torch.cat([back[..., :1], back[..., :-1]], dim=-1)
    rows = {
        "original": maps,
        "mirrored back": back,
        "and moved by one cell": moved,
        "mean of original and last": (maps + moved) / 2,
    }
    return {name: peak(row) - own for name, row in rows.items()}


def row_of(place: Tensor, cells: int, sigma: float) -> Tensor:
    """Bells (N, cells) of peak 1 about places (N,), counted from the first cell's centre."""
    return torch.exp(-((torch.arange(cells) - place[:, None]) ** 2) / (2 * sigma**2))


def peak(rows: Tensor) -> Tensor:
    """Where rows (N, cells) are highest: Newton's step on the log, exact for a bell."""
    middle = rows.argmax(-1, keepdim=True)
    low, top, high = (rows.gather(-1, middle + step)[:, 0].log() for step in (-1, 0, 1))
    return middle[:, 0] - (high - low) / (2 * (high - 2 * top + low))


def flip_tests(answers: Answers) -> dict[str, Tensor]:
    """The maps (1, N, K, h, w) that different flip tests make of an answer and the answer to the mirrored pictures."""
    back = geometry.flip_maps(answers.mirrored, answers.model.skeleton.swaps)
    moved = torch.cat([back[..., :1], back[..., :-1]], dim=-1)
    return {
        "no flip test": answers.maps,
        "mirrored answers alone": back,
        "mean of both": (answers.maps + back) / 2,
        "mean, the mirrored one moved by one cell": (answers.maps + moved) / 2,
        "mean, left and right not exchanged": (answers.maps + answers.mirrored.flip(-1)) / 2,
    }


def graded(answers: Answers, maps: Tensor | None = None, read_out: str = "dark") -> dict[str, float]:
    """PCK from coarse to fine, of a network's own maps or of others made from them."""
    scale = answers.scenes[0].image.shape[-1] / answers.model.input_size[1]
    found = answers.model.decode(answers.maps if maps is None else maps, read_out=read_out)
    poses = [pose.moved(pose.joints * scale) for (pose,) in found]
    return {f"PCK@{alpha}": evaluate.pck_marks(poses, answers.people, alpha).mean for alpha in (0.2, 0.1, 0.05)}


def curve(answers: Answers, alphas: Tensor) -> Tensor:
    """PCK at every threshold (T,)."""
    estimated, true = (torch.stack([one.joints for one in ones]) for ones in (answers.poses(), answers.people))
    visible = torch.stack([person.visible for person in answers.people])
    size = reference_size(true, visible, answers.model.skeleton)
    errors, scored = normalised_errors(estimated, true, visible, size)
    return pck_curve(errors, alphas, scored)


def torso_in_cells(answers: Answers) -> float:
    """The median torso of the people, in cells of the network's map."""
    true, visible = (torch.stack([getattr(who, name) for who in answers.people]) for name in ("joints", "visible"))
    size = reference_size(true, visible, answers.model.skeleton)
    cells = answers.model.input_size[1] / answers.scenes[0].image.shape[-1] / answers.model.stride
    return float(size[size > 0].median()) * cells


def clearest(scenes: Sequence[Scene]) -> int:
    """The scene of one person, all visible, who differs most in colour from what is around them."""

    def contrast(scene: Scene) -> float:
        person = scene.people[0]
        if len(scene.people) > 1 or int((person.visible == VISIBLE).sum()) < 13:
            return 0.0
        inside = person.mask.bool()
        return float((scene.image[:, inside].mean(1) - scene.image[:, ~inside].mean(1)).abs().sum())

    return max(range(len(scenes)), key=lambda number: contrast(scenes[number]))


def best_answered(answers: Answers, count: int) -> list[int]:
    """Scenes with all joints visible in which a network finds the most, the closest of them first."""
    seen = torch.tensor([int((person.visible == VISIBLE).sum()) for person in answers.people])
    closeness = answers.errors[-1].clamp(max=30).mean(1) + 100.0 * (seen < 13)
    return closeness.argsort(stable=True)[:count].tolist()


# --- the streams ------------------------------------------------------------------------------------------------------


class LastFusion(NamedTuple):
    """The four streams (N, C_i, h_i, w_i) that the last module of an HRNet is about to add up."""

    model: HRNet
    streams: list[Tensor]

    @classmethod
    @torch.inference_mode()
    def of(cls, model: HRNet, images: Tensor) -> LastFusion:
        parts = []
        for part in images.split(50):
            entering, last = model.flow(part)[-2][1], model.stage4[-1]
            parts.append([branch(stream) for branch, stream in zip(last.branches, entering, strict=True)])
        return cls(model, [torch.cat(level) for level in zip(*parts, strict=True)])

    def terms(self, streams: Sequence[Tensor] | None = None) -> list[Tensor]:
        """T_0j(x_j): what every stream adds to the finest one, (N, C_0, h, w) each."""
        paths = self.model.stage4[-1].fuse_layers[0]
        return [path(stream) for path, stream in zip(paths, self.streams if streams is None else streams, strict=True)]

    @torch.inference_mode()
    def maps(self, silent: Sequence[int] = (), by_mean: bool = False) -> Tensor:
        """The maps (1, N, K, h, w), with some streams replaced by zeros, or by their mean over all pictures."""
        streams = list(self.streams)
        for j in silent:
            level = streams[j]
            streams[j] = level.mean((0, 2, 3), keepdim=True).expand_as(level) if by_mean else torch.zeros_like(level)
        return self.model.final_layer(F.relu(sum(self.terms(streams))))[None]

    @torch.inference_mode()
    def shares(self, picture: int, joint: int) -> list[Tensor]:
        """Every stream's part in one joint's map, before the ReLU: (h, w) each, around its mean."""
        weights = self.model.final_layer.weight[joint, :, 0, 0]
        parts = [torch.einsum("c,chw->hw", weights, term[picture]) for term in self.terms()]
        return [part - part.mean() for part in parts]


@torch.inference_mode()
def hard_of_hearing(model: HRNet, images: Tensor, exchanges: int) -> Tensor:
    """The maps (1, N, K, h, w) where in the last so many exchanges the finest stream hears the others' mean only."""
    modules = [module for number in (2, 3, 4) for module in getattr(model, f"stage{number}") if module.fuse_layers]
    deaf = modules[len(modules) - exchanges :]
    paths = [path for module in deaf for path in list(module.fuse_layers[0])[1:]]
    handles = [
        path.register_forward_hook(lambda _path, _inputs, heard: heard.mean((0, 2, 3), keepdim=True).expand_as(heard))
        for path in paths
    ]
    maps = torch.cat([model(part) for part in images.split(50)], dim=1)
    for handle in handles:
        handle.remove()
    return maps


def paths_of(model: HRNet, module: str = "stage4.0") -> list[list[tuple[list[str], int]]]:
    """What stands on every path T_ij of a module, step by step, and how many parameters it has; by i, then j."""
    exchange = model.get_submodule(module).fuse_layers
    table = []
    for row in exchange:
        cells = []
        for one in row:
            steps = []
            for layer in one.modules():
                if isinstance(layer, nn.Conv2d):
                    size = f"{layer.kernel_size[0]}x{layer.kernel_size[0]}" + (" /2" if layer.stride[0] == 2 else "")
                    steps.append(f"{size}  {layer.in_channels} → {layer.out_channels}")
                elif isinstance(layer, nn.ReLU):
                    steps[-1] += ", ReLU"
                elif isinstance(layer, nn.Upsample):
                    steps.append(f"nearest, x{int(layer.scale_factor)}")
            cells.append((steps, sum(value.numel() for value in one.parameters())))
        table.append(cells)
    return table


# --- reading out ------------------------------------------------------------------------------------------------------

INPUTS = ((128, 96), (192, 144), (256, 192), (384, 288))
READ_OUTS = {"argmax": "argmax", "quarter": "quarter offset", "dark": "DARK", "softargmax": "integral"}


def read_out_bench(noise: float = 0.0, encoder: str = "fractional", sigma: float = 2.0) -> dict[str, list[float]]:
    """Mean error of perfect maps at a quarter of `INPUTS`, in thousandths of the person's crop height, by read-out."""
    rows: dict[str, list[float]] = {title: [] for title in READ_OUTS.values()}
    for height, width in INPUTS:
        size = height // 4, width // 4
        [row] = heatmaps.error_table(tuple(READ_OUTS), (sigma,), (encoder,), (noise,), size, count=400)
        for method, title in READ_OUTS.items():
            rows[title].append(1000 * row[method] / size[0])
    return rows


# --- where it breaks --------------------------------------------------------------------------------------------------


def limb_lengths(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Lengths (N, L) of the limbs of joints (N, K, 2)."""
    ends = torch.tensor(skeleton.limbs)
    return (joints[:, ends[:, 0]] - joints[:, ends[:, 1]]).norm(dim=-1)


def stretched(poses: Sequence[Pose], answers: Answers) -> tuple[Tensor, Tensor, Tensor]:
    """Which limbs (N, L) are longer than 99 of 100 true ones of that kind, measured by the person's height.

    Also which limbs are labelled at both ends, and which of these have a hidden end.
    """
    people, skeleton = answers.people, answers.model.skeleton
    true, found = (torch.stack([one.joints for one in ones]) for ones in (people, poses))
    visible = torch.stack([person.visible for person in people])
    labelled = labelled_joints(true, visible)
    box = geometry.box_of(true.float(), labelled)
    height = (box[:, 2:] - box[:, :2]).amax(-1, keepdim=True)
    ends = torch.tensor(skeleton.limbs)
    known, hidden = labelled[:, ends].all(-1), (visible == HIDDEN)[:, ends].any(-1)
    share = (limb_lengths(true, skeleton) / height).masked_fill(~known, torch.nan)
    longest = torch.nanquantile(share.float(), 0.99, dim=0)
    return (limb_lengths(found, skeleton) / height > longest) & known, known, hidden & known


def doubled(poses: Sequence[Pose], answers: Answers) -> tuple[Tensor, Tensor]:
    """Which (N, pairs) left and right joints were put on one place (0.1 torsos), and which are 0.4 or more apart.

    The first are among the second. Pairs are elbows, wrists, knees and ankles.
    """
    people, skeleton = answers.people, answers.model.skeleton
    true, found = (torch.stack([one.joints for one in ones]) for ones in (people, poses))
    visible = torch.stack([person.visible for person in people])
    torso = reference_size(true, visible, skeleton)[:, None]
    names = ("elbow", "wrist", "knee", "ankle")
    pairs = torch.tensor([[skeleton.index(f"{side}_{name}") for side in ("left", "right")] for name in names])
    apart, answered = ((ones[:, pairs[:, 0]] - ones[:, pairs[:, 1]]).norm(dim=-1) / torso for ones in (true, found))
    asked = (visible[:, pairs] > 0).all(-1) & (torso > 0) & (apart > 0.4)
    return asked & (answered < 0.1), asked
