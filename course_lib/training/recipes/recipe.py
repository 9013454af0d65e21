"""Everything that decides how a model is trained, as plain values, so that a run can be repeated and told about."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from course_lib.errors import CourseError, unknown_name
from course_lib.training.augment import Augment

PRECISIONS = ("auto", "fp32", "bf16")
# What a training under way may change: how long it lasts, what it once began from, its place in the queue
FREE = ("steps", "start", "queue")


@dataclass(frozen=True)
class Recipe:
    """How to train one model. Vary one with `dataclasses.replace(recipe, batch=64)`."""

    name: str
    model: str  # a name that models.create knows
    options: dict[str, Any] = field(default_factory=dict)  # what models.create gets besides
    skeleton: str = "lsp"
    data: dict[str, dict] = field(default_factory=lambda: {"synthetic": {}})  # source -> its settings
    pool: int = 0  # render so many batches once and go round them; 0 never shows a picture twice
    batch: int = 32  # over all devices together
    chunk: int = 0  # at most so many crops at a time on one device, gradients added up; 0: the device's whole part
    steps: int = 10_000
    learning_rate: float = 1e-3  # the highest, at the end of the warm-up
    warmup: int = 200  # steps
    weight_decay: float = 0.01  # of weights, not of norms and biases
    ema: float = 0.999  # decay of the averaged weights, which are the ones that count
    clip: float = 1.0  # largest norm of the gradient
    augment: Augment = field(default_factory=Augment)  # of rendered people, or of batches given by the caller
    photo_augment: Augment = field(default_factory=lambda: Augment(rotation=45.0, half_body=0.1))  # of photographs
    start: str = ""  # whose weights training begins with: a shipped checkpoint, a file *.safetensors, or hub:NAME
    queue: float = 0  # weight in the training queue, which trains the recipes whose weights ship; 0: not in it
    seed: int = 0
    precision: str = "auto"  # bf16 on GPUs that have it, else fp32; "bf16" asks for it on a CPU that has it too
    channels_last: bool = True
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("batch", "steps", "learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise CourseError(f"recipe '{self.name}': {name} must be above 0; got {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise CourseError(f"recipe '{self.name}': ema must lie in [0, 1); got {self.ema}")
        if not self.queue >= 0:
            raise CourseError(f"recipe '{self.name}': queue must not be negative; got {self.queue}")
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)

    def as_dict(self) -> dict[str, Any]:
        """The recipe in words and numbers, as a training state remembers it."""
        return asdict(self)

    def difference(self, other: dict[str, Any]) -> str | None:
        """The first field in which a remembered recipe differs, those of FREE apart; None where there is none."""
        own = self.as_dict()
        for one in fields(self):
            if one.name not in FREE and own[one.name] != other.get(one.name):
                return f"{one.name} was {other.get(one.name)!r} and is now {own[one.name]!r}"
        return None
