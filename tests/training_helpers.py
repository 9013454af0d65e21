"""A model and a data stream small enough to train in a blink, and a script that trains them in another process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib import losses
from course_lib.errors import CourseError
from course_lib.models.base import PoseModel
from course_lib.pose import Batch, Pose
from course_lib.skeletons import LSP
from course_lib.training import train
from course_lib.training.augment import Augment
from course_lib.training.recipes import Recipe

SIZE = 32
SCRIPT = str(Path(__file__))  # what other processes run
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"}


class Tiny(PoseModel):
    """Two convolutions, batch normalisation, dropout and a linear layer: every kind of state a training has."""

    def __init__(self, skeleton: str = "lsp", width: int = 8) -> None:
        super().__init__(skeleton, (SIZE, SIZE))
        self.name, self.options = "tiny", {"width": width}
        self.body = nn.Sequential(
            *(nn.Conv2d(3, width, 3, stride=4, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, stride=2, padding=1), nn.Flatten(), nn.Dropout(0.1)),
            nn.Linear(width * (SIZE // 8) ** 2, 2 * len(self.skeleton)),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images).unflatten(-1, (-1, 2))

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        assert outputs.dtype == torch.float32
        return {"total": losses.coordinate_l2(outputs, batch.joints / SIZE, batch.visible)}

    def decode(self, outputs: Tensor) -> list[list[Pose]]:
        scores = torch.ones(len(self.skeleton))
        return [[Pose(joints * SIZE, scores, self.skeleton)] for joints in outputs]


RECIPE = Recipe("tiny", model="tiny", steps=40, batch=4, warmup=5, augment=Augment(half_body=0.3), seed=3)


def tiny(seed: int = 0, **options) -> Tiny:
    """The same fresh weights for the same seed."""
    torch.manual_seed(seed)
    return Tiny(**options)


def stream(start: int) -> Iterator[Batch]:
    """Batch i depends on i alone."""
    while True:
        generator = torch.Generator().manual_seed(start)
        joints = torch.rand(4, len(LSP), 2, generator=generator) * SIZE
        visible = torch.randint(0, 3, (4, len(LSP)), generator=generator)
        yield Batch(torch.rand(4, 3, SIZE, SIZE, generator=generator), joints, visible, LSP)
        start += 1


SHARED = replace(RECIPE, chunk=2)  # a batch is two chunks, for one process or for two


def alone(out: Path) -> None:
    """Trains without end in sight, saving every five steps, until somebody kills the process."""
    train(RECIPE, model=tiny(), batches=noted, out=out, device="cpu", progress=False, save_every=5)


def together(out: Path, steps: int = 12) -> None:
    """One of several processes that train together."""
    train(SHARED, model=tiny(), batches=noted, out=out, device="cpu", progress=False, steps=steps, save_every=5)


def endless(out: Path) -> None:
    together(out, steps=100_000)


def noted(start: int) -> Iterator[Batch]:
    """The stream, telling on standard output who takes which batch."""
    for number, batch in enumerate(stream(start), start):
        os.write(1, f"{os.environ.get('RANK', 0)} {os.getpid()} {number}\n".encode())  # in one piece
        yield batch


if __name__ == "__main__":
    try:
        {"alone": alone, "together": together, "endless": endless}[sys.argv[1]](Path(sys.argv[2]))
    except CourseError as error:
        sys.exit(f"course_lib: {error}")
