"""One training in many processes, as `torchrun` starts them: who they are, and the few words they exchange.

    torchrun --nproc-per-node=4 -m course_lib train hourglass

Every process holds the whole model and takes its part of every batch; gradients are averaged, so all take the same
step. A batch is cut into chunks whose people and random changes depend on the seed and the chunk's number alone. How
many devices share the chunks therefore decides how long a step takes and not what is learned: one process that takes
two chunks one after the other learns what two processes learn with one chunk each, up to rounding.

Gradients travel over NCCL between GPUs. What must be agreed at every step (how far along, whether to stop) travels over
gloo between CPUs, so that no GPU is kept waiting for it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from course_lib.errors import CourseError
from course_lib.pose import Batch, Crowd
from course_lib.training import devices
from course_lib.training.recipes import Recipe


@dataclass(frozen=True)
class World:
    """The processes that train together, seen from one of them."""

    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def agree(self, stop: bool, step: int, progress: float) -> tuple[bool, float]:
        """Whether anybody wants to stop, and the main process's progress. All must be at the same step."""
        if self.count == 1:
            return stop, progress
        said = torch.zeros(self.count, 3, dtype=torch.float64)
        said[self.rank] = torch.tensor([float(stop), step, progress], dtype=torch.float64)
        dist.all_reduce(said)
        steps = said[:, 1]
        if bool((steps != steps[0]).any()):
            raise CourseError(
                f"the processes are at different steps ({', '.join(f'{one:.0f}' for one in steps.tolist())}): the "
                "folder of states (out, --out) must be one that all machines share"
            )
        return bool(said[:, 0].any()), float(said[0, 2])

    def told(self, value: Any) -> Any:
        """What the main process says, to all; what the others say is not heard."""
        if self.count == 1:
            return value
        said = [value]
        dist.broadcast_object_list(said, device=torch.device("cpu"))
        return said[0]

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over all processes."""
        if self.count > 1:
            dist.all_reduce(values)
            values /= self.count
        return values


def world_size() -> int:
    """How many processes `torchrun` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "RANK" in os.environ else 1


def is_main() -> bool:
    """Whether this process is the only one, or the first that `torchrun` started."""
    return world_size() == 1 or int(os.environ["RANK"]) == 0


def own_device(device: str | torch.device) -> torch.device:
    """The device of this process: where several share a machine with GPUs, each takes the one of its number."""
    chosen = devices.choose(device)
    if chosen.type == "cuda" and chosen.index is None and world_size() > 1:
        chosen = devices.choose(f"cuda:{os.environ.get('LOCAL_RANK', 0)}")
        torch.cuda.set_device(chosen)
    return chosen


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Joins the processes that `torchrun` started, for as long as the context lasts."""
    if world_size() == 1:
        yield World()
        return
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        if ours:
            dist.destroy_process_group()


def lost_another(error: BaseException) -> bool:
    """Whether an error says that another process went away, rather than that something is wrong here."""
    if isinstance(error, CourseError) or not dist.is_initialized():
        return False
    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(word in text for word in ("gloo", "nccl", "connection", "peer"))


def chunks_of(recipe: Recipe, processes: int) -> int:
    """Into how many equal chunks a batch is cut: none above `recipe.chunk` crops, and as many for every process."""
    most = min(recipe.chunk or recipe.batch, recipe.batch)
    for count in range(processes, recipe.batch + 1, processes):
        if recipe.batch % count == 0 and recipe.batch // count <= most:
            return count
    raise CourseError(
        f"recipe '{recipe.name}': a batch of {recipe.batch} cannot be shared evenly by {processes} processes; "
        "take a number of processes that divides it"
    )


class Asked(nn.Module):
    """A model together with the question training asks it, as one forward: that is what can be spread over devices."""

    def __init__(self, model: nn.Module, compiled: bool, device: torch.device, precision: str) -> None:
        super().__init__()
        self.model, self.device, self.precision = model, device, precision
        self.network = [torch.compile(model) if compiled else model]  # in a list: not a second copy of the parameters

    def forward(self, batch: Batch | Crowd, progress: float) -> dict[str, Tensor]:
        """The losses by name, their sum under "total"."""
        with devices.autocast(self.device, self.precision):
            special = getattr(self.model, "training_loss", None)
            answer = special(batch, progress) if special else self.network[0](batch.images)
        return answer if special else self.model.loss(devices.to_float(answer), batch)


def spread(asked: Asked, world: World) -> tuple[nn.Module, Any]:
    """`asked` as all processes ask it together, and the context in which gradients wait for a later chunk."""
    if world.count == 1:
        return asked, nullcontext
    special = hasattr(asked.model, "training_loss")  # such a model may leave parts of itself out of a step
    spreading = nn.parallel.DistributedDataParallel
    renamed = "forward_sync_buffers" in inspect.signature(spreading).parameters  # the older name warns since 2.15
    own_buffers = {"forward_sync_buffers" if renamed else "broadcast_buffers": False}
    together = spreading(asked, find_unused_parameters=special, **own_buffers)
    return together, together.no_sync


class Buffers:
    """A model's buffers (batch normalisation's running statistics) over a step of several chunks.

    Each chunk starts from the step's first values, and the mean of what the chunks made of them is kept, so that the
    order of the chunks, and who takes which, changes nothing. Integers (step counters) move once.
    """

    def __init__(self, model: nn.Module, chunks: int, world: World) -> None:
        kept = model.state_dict().keys()  # what is not kept is constant
        self.all = [one for name, one in model.named_buffers() if name in kept] if chunks > 1 else []
        self.chunks, self.world = chunks, world
        self.before: list[Tensor] = []
        self.total: list[Tensor] = []

    def start(self) -> None:
        self.before = [one.clone() for one in self.all]
        self.total = [torch.zeros_like(one) for one in self.all]

    def back(self) -> None:
        """To the first values: before every chunk, and where a step could not be finished."""
        for one, before in zip(self.all, self.before, strict=True):
            one.copy_(before)

    def after_chunk(self) -> None:
        for one, total in zip(self.all, self.total, strict=True):
            total += one

    def finish(self) -> None:
        own = self.chunks // self.world.count
        for one, total in zip(self.all, self.total, strict=True):
            if one.is_floating_point():
                one.copy_(self.world.mean(total / own))
