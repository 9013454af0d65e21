"""Receptive fields: which pixels an output cell can see, worked out from a network's layers and measured by gradient.

Along each axis, output cell i sees the pixels that fill [start + stride * i, start + stride * i + size). A layer with
kernel k, stride s, padding p and dilation d makes of such a field

    size' = size + d (k - 1) stride        start' = start - p stride        stride' = s stride

and where two paths meet, the field is the smallest that holds both. `computed` runs a network once, watches the
operations that are really executed, and applies this rule; `gradient` asks a network itself. Both must agree, and a
test holds them to it.

What `computed` follows: convolutions (strided, padded, dilated, grouped), max and average pools, everything that works
cell by cell (activations, sums, batch normalisation in eval mode, dropout), channels put together or stages stacked,
nearest-neighbour enlargement, and any number of paths of those. Cells of an enlarged map see fields of different
places: for them the field is the one that holds all. It does not depend on the picture's size, so a small picture will
do; pixels beyond the border are counted as if they were there. Anything else (linear layers, attention, means over a
map, reshaped maps, bilinear enlargement) is refused by name.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from course_lib.errors import CourseError

Network = Callable[[Tensor], Any]
Pair = tuple[int, int]  # (down, across)


@dataclass(frozen=True)
class Field:
    """The receptive field of the cells of one map. All three as (down, across), in pixels of the input."""

    size: Pair = (1, 1)
    stride: Pair = (1, 1)
    start: Pair = (0, 0)  # of cell (0, 0); negative where it begins in the padding

    def through(self, kernel: Pair, stride: Pair = (1, 1), padding: Pair = (0, 0), dilation: Pair = (1, 1)) -> Field:
        """The field one layer further on."""
        axes = range(2)
        return Field(
            tuple(self.size[a] + dilation[a] * (kernel[a] - 1) * self.stride[a] for a in axes),
            tuple(self.stride[a] * stride[a] for a in axes),
            tuple(self.start[a] - padding[a] * self.stride[a] for a in axes),
        )

    def enlarged(self, factors: Pair) -> Field:
        """The field after every cell was repeated so many times: one that holds those of all the repetitions."""
        if any(stride % factor for stride, factor in zip(self.stride, factors, strict=True)):
            raise CourseError(f"a map of stride {self.stride} cannot be followed when it is enlarged by {factors}")
        stride = tuple(stride // factor for stride, factor in zip(self.stride, factors, strict=True))
        extra = tuple(stride[a] * (factors[a] - 1) for a in range(2))
        return Field(
            tuple(self.size[a] + extra[a] for a in range(2)), stride, tuple(self.start[a] - extra[a] for a in range(2))
        )

    def joined(self, other: Field) -> Field:
        """The field of cells that two paths lead to."""
        if self.stride != other.stride:
            raise CourseError(
                f"two paths meet with strides {self.stride} and {other.stride}, so no one field holds both"
            )
        start = tuple(min(pair) for pair in zip(self.start, other.start, strict=True))
        ends = [max(f.start[a] + f.size[a] for f in (self, other)) for a in range(2)]
        return Field(tuple(ends[a] - start[a] for a in range(2)), self.stride, start)

    def box(self, cell: Pair) -> Tensor:
        """(4,) x0, y0, x1, y1 of what the cell (row, column) sees, in the picture's coordinates."""
        top, left = (self.start[a] + self.stride[a] * cell[a] for a in range(2))
        return torch.tensor([left, top, left + self.size[1], top + self.size[0]], dtype=torch.float32)

    def offset(self) -> tuple[float, float]:
        """By how many pixels (down, across) the middle of what a cell sees lies beside the middle of the cell."""
        down, across = (self.start[a] + self.size[a] / 2 - self.stride[a] / 2 for a in range(2))
        return down, across


# --- from the layers --------------------------------------------------------------------------------------------------


def computed(network: Network, images: Tensor) -> Any:
    """The field of every output of `network(images)`: a Field, or a list of them, nested as the outputs are.

    Outputs that were stacked along a first axis, as the stages of a model's answer, come as a list. An output that the
    picture does not reach is None. `images` (B, C, H, W) may be of any size that the network takes, and on "meta".
    """
    watch = _Watch()
    watch.fields[images] = Field()
    training = isinstance(network, nn.Module) and network.training
    if training:
        network.eval()
    try:
        with torch.no_grad(), watch:
            outputs = network(images)
    finally:
        if training:
            network.train()
    return watch.of(outputs)


class _Watch(TorchDispatchMode):
    """Follows fields through the operations that are executed, whatever Python code calls them."""

    def __init__(self) -> None:
        super().__init__()
        # a Field, or a list of them for what was stacked along the first axis
        self.fields = WeakTensorKeyDictionary()

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        given = [tensor for tensor in _tensors((args, kwargs or {})) if tensor in self.fields]
        if given:
            field = self._after(operation, args, [self.fields[tensor] for tensor in given])
            for tensor in _tensors(result):
                self.fields[tensor] = field
        return result

    def of(self, outputs: Any) -> Any:
        if isinstance(outputs, Tensor):
            return self.fields.get(outputs)
        if isinstance(outputs, dict):
            return {name: self.of(output) for name, output in outputs.items()}
        return [self.of(output) for output in outputs]

    def _after(self, operation: Any, args: tuple, fields: list[Any]) -> Any:
        name = operation.overloadpacket.__name__
        axis = args[1] if name in ("cat", "stack", "select") and len(args) > 1 else 0
        if name == "stack" and axis == 0:
            return [self.fields.get(tensor) for tensor in args[0]]
        if name == "select" and axis == 0 and isinstance(fields[0], list):
            return fields[0][args[2]]
        cell_by_cell = torch.Tag.pointwise in operation.tags or name in _CELL_BY_CELL
        eval_norm = name == "native_batch_norm" and not args[5]  # args[5]: training, where it mixes all cells
        if cell_by_cell or eval_norm or (name == "cat" and axis in (1, -3)):
            return _join(fields)
        if name not in _WINDOWS or (name == "convolution" and args[6]):  # args[6]: transposed
            raise CourseError(f"the receptive field cannot be followed through the operation '{operation}'")
        return _WINDOWS[name](_join(fields), *args)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for item in value for tensor in _tensors(item)] if isinstance(value, list | tuple) else []


def _join(fields: Sequence[Any]) -> Field:
    """One field that holds all of these, lists of fields among them."""
    flat = [field for item in fields for field in (item if isinstance(item, list) else [item]) if field is not None]
    whole = flat[0]
    for field in flat[1:]:
        whole = whole.joined(field)
    return whole


def _pair(value: int | Sequence[int]) -> Pair:
    values = [value] if isinstance(value, int) else list(value)
    return (values[0], values[-1])


def _convolution(field: Field, x: Tensor, weight: Tensor, bias: Tensor | None, stride, padding, dilation, *_) -> Field:
    return field.through(_pair(weight.shape[2:]), _pair(stride), _pair(padding), _pair(dilation))


def _pool(field: Field, x: Tensor, kernel, stride=(), padding=0, *rest) -> Field:
    return field.through(_pair(kernel), _pair(stride or kernel), _pair(padding))


def _max_pool(field: Field, x: Tensor, kernel, stride=(), padding=0, dilation=1, *_) -> Field:
    return field.through(_pair(kernel), _pair(stride or kernel), _pair(padding), _pair(dilation))


def _nearest(field: Field, x: Tensor, size: Sequence[int], *_) -> Field:
    factors = tuple(new // old for new, old in zip(size, x.shape[-2:], strict=True))
    if any(factor < 1 or old * factor != new for factor, old, new in zip(factors, x.shape[-2:], size, strict=True)):
        raise CourseError(f"maps of {tuple(x.shape[-2:])} cells are made {tuple(size)}, which is no whole factor")
    return field.enlarged(factors)


_WINDOWS = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _max_pool,
    "avg_pool2d": _pool,
    "upsample_nearest2d": _nearest,
}
# What torch does not itself tag as working element by element; of batch normalisation, the forms of eval mode
_CELL_BY_CELL = {
    *("stack", "detach", "alias", "native_dropout", "_to_copy", "_native_batch_norm_legit_no_training"),
    *("cudnn_batch_norm", "miopen_batch_norm"),
}


# --- by gradient ------------------------------------------------------------------------------------------------------


def gradient(network: Network, images: Tensor, cell: Pair, output: Callable[[Any], Tensor] | None = None) -> Tensor:
    """How strongly every pixel moves the cell (row, column) of a map: (H, W), sum over pictures and channels of
    |d sum_c maps[..., c, row, column] / d image|, for maps (..., C, h, w) = output(network(images)).

    This is what the network with its own weights uses: less than it could see, and most of it near the middle.
    """
    images = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        outputs = network(images)
        maps = output(outputs) if output else outputs
        if not isinstance(maps, Tensor) or maps.ndim < 3:
            raise CourseError("the gradient needs one output with maps (..., C, h, w); pick it with `output`")
        height, width = maps.shape[-2:]
        if not (0 <= cell[0] < height and 0 <= cell[1] < width):
            raise CourseError(f"the cell (row, column) {tuple(cell)} is not on a map of {height} x {width} cells")
        if not maps.requires_grad:
            raise CourseError("no gradient leads from this output back to the picture")
        (moved,) = torch.autograd.grad(maps[..., cell[0], cell[1]].sum(), images, allow_unused=True)
    return images.new_zeros(images.shape[-2:]) if moved is None else moved.abs().sum((0, 1))


def measured(
    network: nn.Module, images: Tensor, cell: Pair, output: Callable[[Any], Tensor] | None = None
) -> Tensor | None:
    """(4,) x0, y0, x1, y1 of all pixels that can move a cell at all; None if no pixel does.

    It is found on a copy of the network (see `averaging`), for `images` (B, C, H, W) with no pixel below 0.
    """
    seen = gradient(averaging(network), images.double(), cell, output) > 0
    if not bool(seen.any()):
        return None
    rows, columns = seen.any(1).nonzero()[:, 0], seen.any(0).nonzero()[:, 0]
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()


def averaging(network: nn.Module) -> nn.Module:
    """A copy in double precision whose convolutions and max pools average and whose normalisations do nothing.

    All its gradients are positive: no two paths cancel, no ReLU is closed, no pool listens to one pixel only, and a far
    corner's tiny share is not lost. Pools that are called as functions stay; there, several random pictures help.
    """
    network = copy.deepcopy(network).double().eval()
    with torch.no_grad():
        for module in list(network.modules()):
            for name, pool in module._modules.items():  # named_children would skip a pool that is used twice
                if isinstance(pool, nn.MaxPool2d) and _pair(pool.dilation) == (1, 1):
                    setattr(module, name, nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode))
            if isinstance(module, nn.Conv2d):
                module.weight.fill_(1 / module.weight[0].numel())
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                if module.weight is not None:
                    module.weight.fill_(1)
            if isinstance(module, nn.Conv2d | nn.BatchNorm2d) and module.bias is not None:
                module.bias.zero_()
    return network
