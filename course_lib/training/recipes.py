"""Everything that decides how a model is trained, as plain values, so that a run can be repeated and told about."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
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
    start: str = ""  # whose weights training begins with: a shipped checkpoint, or a file *.safetensors
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


# What a few seconds of training on a CPU can learn: one person, everyday postures, facing us, soft backgrounds.
EASY = {
    **{"natural": 1.0, "sport": 0.0, "free": 0.0, "turn": 30.0},
    **{"others": 0.0, "occluders": 0.0, "clutter": 0, "truncation": 0.0},
    **{"photographs": 0.0, "blur": 0.0, "noise": 0.02},
}

# The rendered sources of data, and how they differ from the benchmark's world. In the hard world a network that answers
# with numbers stays with the mean pose for long; some easy pictures among the others show it the way out.
# A crowd is a whole picture of people instead of a crop around one; "boxed" are people cut out of such pictures.
WORLDS: dict[str, dict[str, Any]] = {
    **{"synthetic": {}, "easy": EASY, "crowd": {"people": (1, 12)}},
    "boxed": {"people": (1, 12), "noise": "none", "padding": 1.25},
}

# The synthetic stream never repeats a picture, and turns, shifts and covers people itself.
RENDERED = Augment(geometry=0.0, flip=0.0, patches=0)
# Of an easy world's pictures a pool is enough, if they are moved a little each time.
EASILY = Augment(rotation=15.0, scale=0.15, shift=0.06, patches=0, noise=0.0, grey=0.0)
# Crowds of a pool are turned, scaled and shifted a little each time; the world has posts enough to stand before them.
IN_CROWDS = Augment(rotation=20.0, scale=0.25, shift=0.1, patches=0)
# Where people are in their boxes, and how large, is for the noise of the boxes to change; neighbours cover them.
IN_BOXES = Augment(rotation=30.0, scale=0.0, shift=0.0, patches=1)
# Some thousand photographs are seen many times over, and athletes come in every orientation.
PHOTOGRAPHED = Augment(rotation=60.0, scale=0.25, shift=0.06, geometry=0.9, patches=1, brightness=0.2)
# For networks that answer with numbers: turned people cost them much more than they cost networks that answer with maps
GENTLY = replace(PHOTOGRAPHED, rotation=30.0)
REGRESSED = {"synthetic": {}, "easy": {"share": 0.25}, "lspet": {"share": 0.35, "split": "train"}}

# What most recipes of one kind have in common. LIVE: before the learner's eyes, within twenty seconds of a CPU.
LIVE: dict[str, Any] = {
    **{"data": {"synthetic": EASY}, "pool": 56, "batch": 16, "warmup": 10, "ema": 0.97},
    **{"augment": EASILY, "precision": "bf16"},
}
# Weights that ship; in the easy world a shorter training will do.
SHIPPED: dict[str, Any] = {"batch": 64, "steps": 12_000, "augment": RENDERED, "precision": "bf16", "queue": 1}
CROWDED: dict[str, Any] = {
    **{"data": {"crowd": {}}, "batch": 16, "steps": 20_000, "learning_rate": 1.5e-3, "warmup": 300},
    **{"augment": IN_CROWDS, "precision": "bf16", "queue": 1},
}
BOXED: dict[str, Any] = {
    **{"batch": 64, "steps": 12_000, "learning_rate": 1e-3, "warmup": 300},
    **{"augment": IN_BOXES, "precision": "bf16", "queue": 1},
}
TO_SEE: dict[str, Any] = {
    **{"data": {"easy": {}}, "pool": 300, "batch": 32, "steps": 6_000, "warmup": 100},
    **{"augment": EASILY, "precision": "bf16", "queue": 0.3},
}

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "deeppose_course",  # ships with the course: goes on from the easy world, with stage 1, stage 2, stage 3
            model="deeppose_course",
            data=REGRESSED,
            start="deeppose_easy",
            learning_rate=1e-3,
            warmup=200,
            photo_augment=GENTLY,
            **SHIPPED,
        ),
        Recipe(
            "deeppose_easy",  # ships too: in the easy world numbers are soon learned, and the cascade can be seen
            model="deeppose_course",
            learning_rate=1e-3,
            **TO_SEE,
        ),
        Recipe(
            "deeppose_live",  # trained before the learner's eyes in lesson 02: two stages
            model="deeppose_course",
            options={
                **{"stages": 2, "stem": (5, 2), "channels": (32, 64, 64, 64, 64), "hidden": 256},
                **{"first_share": 0.65},
            },
            steps=320,
            learning_rate=1.2e-3,
            **LIVE,
        ),
        Recipe(
            "deeppose",  # the paper's size and data, for a GPU; crops are shifted and mirrored, as in the paper
            model="deeppose",
            data={"lspet": {"split": "train"}},
            batch=128,
            steps=200_000,
            learning_rate=5e-4,
            warmup=1000,
            ema=0.9998,
            photo_augment=Augment(
                rotation=0.0,
                scale=0.0,
                shift=0.1,
                brightness=0.0,
                contrast=0.0,
                gain=0.0,
                grey=0.0,
                patches=0,
                noise=0.0,
            ),
        ),
        Recipe(
            "hourglass_synthetic",  # has never seen a photograph of a person; ships, to be compared with the next
            model="hourglass_course",
            learning_rate=2e-3,
            warmup=300,
            **SHIPPED,
        ),
        Recipe(
            "hourglass_course",  # ships with the course: goes on from there with as many photographs as rendered people
            model="hourglass_course",
            data={"synthetic": {}, "lspet": {"share": 0.5, "split": "train"}},
            start="hourglass_synthetic",
            learning_rate=1.5e-3,
            warmup=200,
            photo_augment=PHOTOGRAPHED,
            **SHIPPED,
        ),
        Recipe(
            "hourglass_live",  # trained before the learner's eyes in lesson 06, in an easier world than the benchmark's
            model="hourglass_course",
            options={"stacks": 2, "width": 32, "input_size": (64, 64)},
            steps=260,
            learning_rate=6e-3,
            **LIVE,
        ),
        Recipe(
            "cpm_course",  # six stages on as many photographs as rendered people; stands on its own
            model="cpm_course",
            data={"synthetic": {}, "lspet": {"share": 0.5, "split": "train"}},
            learning_rate=3e-3,
            warmup=300,
            photo_augment=PHOTOGRAPHED,
            **SHIPPED,
        ),
        Recipe(
            "cpm_live",  # trained before the learner's eyes in lesson 04, in an easier world than the benchmark's
            model="cpm_course",
            options={"stages": 3, "input_size": (64, 64)},
            steps=260,
            learning_rate=6e-3,
            **LIVE,
        ),
        Recipe(
            # The paper's size, for a GPU. Batch, turning and scaling are the authors', who took 600,000 steps of SGD,
            # momentum 0.9, weight decay 5e-4, at a rate of 8e-5 for the sum of squares, which AdamW has no use for
            "cpm",
            model="cpm",
            data={"synthetic": {}, "lspet": {"share": 0.5, "split": "train"}},
            batch=16,
            steps=200_000,
            learning_rate=2e-4,
            warmup=1000,
            ema=0.9998,
            augment=Augment(rotation=40.0, scale=0.3, shift=0.0),
            photo_augment=Augment(rotation=40.0, scale=0.3, shift=0.0),
        ),
        Recipe(
            "pose_resnet_course",  # ships with the course; as many photographs as rendered people, from nothing
            model="pose_resnet_course",
            data={"synthetic": {}, "lspet": {"share": 0.5, "split": "train"}},
            learning_rate=2e-3,
            warmup=300,
            photo_augment=PHOTOGRAPHED,
            **SHIPPED,
        ),
        Recipe(
            "hrnet_course",  # the same for the network that keeps its fine maps
            model="hrnet_course",
            data={"synthetic": {}, "lspet": {"share": 0.5, "split": "train"}},
            learning_rate=2e-3,
            warmup=300,
            photo_augment=PHOTOGRAPHED,
            **SHIPPED,
        ),
        Recipe(
            "hrnet_live",  # trained before the learner's eyes in lesson 11, in an easier world than the benchmark's
            model="hrnet_course",
            options={"width": 16, "stem": 16, "blocks": 1, "modules": (1, 1, 1), "input_size": (64, 64)},
            steps=260,
            learning_rate=4e-3,
            **LIVE,
        ),
        Recipe(
            "hourglass",  # the paper's size, for a GPU
            model="hourglass",
            skeleton="mpii",
            batch=32,
            steps=100_000,
            learning_rate=5e-4,
            warmup=1000,
            ema=0.9998,
            augment=Augment(half_body=0.1),
            compile=True,
        ),
        Recipe(
            # ships with the course; its trunk begins from the network that knows one person
            "paf_course",
            model="paf_course",
            start="hourglass_course",
            **CROWDED,
        ),
        Recipe(
            "paf_live",  # trained before the learner's eyes in lesson 07: two stages on a trunk that knows one person
            model="paf_course",
            options={"stages": 2, "input_size": (96, 128)},
            data={"crowd": EASY | {"people": (2, 4)}},
            start="hourglass_course",
            pool=16,
            batch=8,
            steps=50,
            learning_rate=3e-3,
            warmup=8,
            ema=0.9,
            augment=EASILY,
            precision="bf16",
        ),
        Recipe(
            "deepcut_course",  # ships with the course; its trunk begins from the one that has seen crowds
            model="deepcut_course",
            start="paf_course",
            **CROWDED,
        ),
        Recipe(
            "alphapose_course",  # ships with the course; learns from boxes such as its detector draws
            model="alphapose_course",
            data={"boxed": {"noise": "detector", "padding": 1.3}},
            start="hourglass_course",
            **BOXED,
        ),
        Recipe(
            "grmi_course",  # ships with the course; boxes are grown by 1.0 to 1.5, as in the paper
            model="grmi_course",
            data={"boxed": {"padding": [1.0, 1.5]}},
            start="alphapose_course",
            **BOXED,
        ),
        Recipe(
            "mask_rcnn_course",  # ships with the course; its trunk begins from the one that has seen crowds
            model="mask_rcnn_course",
            start="paf_course",
            **CROWDED | {"batch": 8, "warmup": 60},
            options={"trunk_rests": 0.6},
        ),
        Recipe(
            "person_detector",  # ships with the course; its trunk begins from the one that has seen most crowds
            model="person_detector",
            start="deepcut_course",
            **CROWDED,
        ),
        Recipe(
            # The paper's size, for a GPU. Turning, scaling and length are the authors', who took SGD at a rate for
            # the sum of squares, which AdamW has no use for, batches of 20 and VGG-19 from ImageNet
            "paf",
            model="paf",
            skeleton="body18",
            data={"crowd": {}},
            batch=20,
            steps=440_000,
            learning_rate=2e-4,
            warmup=1000,
            ema=0.9998,
            augment=Augment(rotation=40.0, scale=0.3, shift=0.1, patches=0),
        ),
        Recipe(
            "ief_course",  # ships with the course: first the whole way; then phase t of the path's four takes t tenths
            model="ief_course",
            data=REGRESSED,
            learning_rate=2e-3,
            warmup=300,
            photo_augment=GENTLY,
            **SHIPPED,
        ),
        Recipe(
            "ief_easy",  # ships too: in the easy world numbers are soon learned, and the walk can be seen
            model="ief_course",
            learning_rate=2e-3,
            **TO_SEE,
        ),
        Recipe(
            "ief_live",  # trained before the learner's eyes in lesson 05: three longer steps of a smaller picture
            model="ief_course",
            options={"steps": 3, "bound": 9.0, "sigma": 3.5, "whole_way": 0.0, "input_size": (64, 64)},
            data={"synthetic": EASY},
            pool=28,
            batch=32,
            steps=340,
            learning_rate=3e-3,
            warmup=20,
            ema=0.97,
            augment=EASILY,
            precision="bf16",
        ),
        Recipe(
            # The paper's size, for a GPU. It began from ImageNet: see load_imagenet. Neither its optimiser, rate and
            # batch are known to us nor for sure its length; this is about 3 epochs a phase over MPII's people
            "ief",
            model="ief",
            skeleton="mpii",
            batch=32,
            steps=24_000,
            learning_rate=5e-4,
            warmup=1000,
            ema=0.999,
            augment=Augment(rotation=0.0, scale=0.25),
        ),
        Recipe(
            "tompson_course",  # ships with the course: coarse maps first, then the fine ones, then both
            model="tompson_course",
            data={"synthetic": {}, "lspet": {"share": 0.5, "split": "train"}},
            learning_rate=2e-3,
            warmup=300,
            photo_augment=PHOTOGRAPHED,
            **SHIPPED,
        ),
        Recipe(
            "tompson_live",  # trained before the learner's eyes in lesson 03
            model="tompson_course",
            options={"input_size": (64, 64), "rate": 0.1},
            steps=200,
            learning_rate=6e-3,
            **LIVE,
        ),
        Recipe(
            "tompson",  # the paper's size, for a GPU; its augmentation, but neither rate nor batch are known to us
            model="tompson",
            skeleton="mpii",
            batch=32,
            steps=100_000,
            learning_rate=5e-4,
            warmup=1000,
            ema=0.9998,
            augment=Augment(rotation=20.0, scale=0.5),
        ),
    )
}


def names() -> list[str]:
    """The recipes that `get` knows."""
    return sorted(RECIPES)


def get(name: str | Recipe) -> Recipe:
    """A recipe by name; a Recipe passes through."""
    if isinstance(name, Recipe):
        return name
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]
