"""Where training's people come from: rendered, from a pool of photographs in memory, or streamed from disk, and mixed.

`Recipe.data` names the sources. "synthetic" and "easy" are one rendered person a crop, "crowd" is pictures of many
people (`people`: (fewest, most)), "boxed" people cut out of such pictures (`noise` and `padding` of their boxes: see
`boxed`); all four take settings of the synthetic world. Every other name is a public data set, with its `split` and
what else its reader takes. `share` is a source's part of every batch; those that do not say share the rest evenly.
Crowds, people in boxes and single people do not mix: a network is trained on one of the three kinds.

    data={"synthetic": {}, "lspet": {"share": 0.5, "split": "train"}}

Each source is a function from a number to a batch, and what it answers depends on nothing but that number and the seed.
So a training resumes anywhere, and many processes can make the parts of one batch without talking to each other.

A data set whose people fit into memory as small crops of bytes is decoded once and kept on the device (`Pool`). A
larger one is read from disk by worker processes, again and again, as crops of the same size, so that everything after
is the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from course_lib.datasets import pool
from course_lib.datasets.pool import Pool
from course_lib.datasets.records import Records
from course_lib.errors import CourseError
from course_lib.models.top_down import PICTURE
from course_lib.pose import Batch, Crowd
from course_lib.skeletons import Skeleton
from course_lib.training import boxed
from course_lib.training.augment import Augment, augment
from course_lib.training.recipes import WORLDS, Recipe

Batches = (
    Callable[[int], Iterator[Batch | Crowd]] | Sequence[Batch | Crowd]
)  # what the caller of `train` may give instead
RESIDENT_LIMIT = 4 * 2**30  # bytes of crops kept in a computer's memory; on a GPU, RESIDENT_SHARE of what is free
RESIDENT_SHARE = 0.4
KINDS = {"crowd": "everybody", "boxed": "one person of a crowd"}  # source of its own -> what is looked for in it
WORKERS = 4  # processes that read from disk, where the data must be streamed and nobody said how many


@dataclass
class Part:
    """One source in a mixture, and how its crops become the network's input."""

    name: str
    make: Callable[[int], Batch | Crowd]  # batch number i
    augment: Augment
    zoom: float = 1.0  # how much larger than the whole crop the network sees it, before augmentation


@dataclass
class Mixture(Dataset):
    """Batches of people from several sources: `mixture[i]` makes batch i's parts, `finish` puts them together."""

    parts: list[Part]
    size: tuple[int, int] | None  # (height, width) of the network's input; None: as large as the crops come
    device: torch.device
    workers: int = 0

    def __getitem__(self, number: int) -> list[Batch | Crowd]:
        return [part.make(number) for part in self.parts]

    def finish(self, made: list[Batch | Crowd], generator: torch.Generator) -> Batch | Crowd:
        """Augments the parts on the device and joins them."""
        done = []
        for batch, part in zip(made, self.parts, strict=True):
            batch = batch.to(self.device, non_blocking=True)
            if batch.images.dtype == torch.uint8:  # a quarter of the way to the device
                batch.images = batch.images.float() / 255
            done.append(augment(batch, generator, part.augment, self.size, part.zoom))
        return done[0] if len(done) == 1 else type(done[0]).cat(done)

    def walk(self, numbers: Iterator[int]) -> Iterator[list[Batch | Crowd]]:
        """The parts of these batches in turn, made ahead of time by the worker processes, if there are any."""
        if not self.workers:
            return (self[number] for number in numbers)
        return iter(
            DataLoader(
                self,
                batch_size=None,
                sampler=numbers,
                num_workers=self.workers,
                collate_fn=_as_it_is,
                pin_memory=self.device.type == "cuda",
                persistent_workers=True,
            )
        )


def mixture(
    recipe: Recipe,
    model: nn.Module,
    device: torch.device,
    count: int,
    batches: Batches | None = None,
    workers: int | None = None,
) -> Mixture:
    """What a recipe trains on, in batches of `count`; `batches` replaces it: a list to cycle, or number -> iterator.

    `workers` processes make batches ahead of time, on the CPU; by default only what is streamed from disk gets some.
    """
    if batches is not None:
        return Mixture([Part("given", _Given(batches), recipe.augment)], None, device, workers or 0)
    size, counts, public = model.input_size, shares(recipe, count), {}
    _check_kind(recipe, model)
    for name in recipe.data:
        if name not in WORLDS and counts[name]:
            public[name] = _people(recipe, name, pool.pool_size(size), device)
    if workers is None:
        workers = WORKERS if any(people.streamed for people in public.values()) else 0
    where = torch.device("cpu") if workers else device  # only one process should talk to a GPU
    parts = []
    for name, number in counts.items():
        if name in public:
            make = public[name].source(number, recipe.seed, model.skeleton, where)
            parts.append(Part(name, make, recipe.photo_augment, pool.MARGIN))
        elif number:
            zoom = pool.MARGIN if name == "boxed" else 1.0
            parts.append(Part(name, _rendered(recipe, name, number, size, where), recipe.augment, zoom))
    return Mixture(parts, size, device, workers)


def shares(recipe: Recipe, count: int) -> dict[str, int]:
    """How many of `count` people each source gives; rounding never loses one."""
    said = {name: settings["share"] for name, settings in recipe.data.items() if "share" in settings}
    silent = len(recipe.data) - len(said)
    whole = all(isinstance(share, int | float) and 0 <= share <= 1 for share in said.values())
    rest = 1 - sum(said.values()) if whole else -1
    if not recipe.data or rest < -1e-9 or (not silent and rest > 1e-9):
        raise CourseError(
            f"recipe '{recipe.name}': the shares of its data should lie in [0, 1] and make 1 together; got "
            + (", ".join(f"{name} {share}" for name, share in said.items()) or "no source of data")
        )
    each = {name: said.get(name, rest / max(silent, 1)) for name in recipe.data}
    ends = [round(count * total) for total in itertools.accumulate(each.values())]
    return {name: end - begin for name, begin, end in zip(each, [0, *ends], ends)}  # noqa: B905


# --- the kinds of sources ---------------------------------------------------------------------------------------------


@dataclass
class _Rendered:
    """Batch i of a synthetic stream; with `pool`, the first so many, rendered once and gone round."""

    stream: Callable[..., Iterator[Batch | Crowd]]
    count: int
    where: dict[str, Any]
    pool: int = 0
    kept: list[Batch | Crowd] = field(default_factory=list)

    def __call__(self, number: int) -> Batch | Crowd:
        if not self.pool:
            return next(self.stream(self.count, start=number, **self.where))
        if not self.kept:  # as bytes, which is all the world's pictures are, in a quarter of the room
            first = itertools.islice(self.stream(self.count, start=0, **self.where), self.pool)
            self.kept = [replace(batch, images=(batch.images * 255).round().byte()) for batch in first]
        return self.kept[number % self.pool]


@dataclass(frozen=True)
class _People:
    """Those of a public data set who can be learned from."""

    records: Records
    able: list[tuple[int, int]]  # (record, person)
    size: tuple[int, int]  # of the crops
    streamed: bool  # too many to keep

    def source(self, count: int, seed: int, skeleton: Skeleton, device: torch.device) -> Callable[[int], Batch]:
        if self.streamed:
            return _FromDisk(count, seed, self.records, self.able, skeleton, self.size)
        kept = Pool.of(self.records, skeleton, self.size, device, progress=f"reading {self.records.name}")
        return _FromPool(count, seed, kept)


@dataclass
class _FromPool:
    """Batch i of an endless shuffled walk through people in memory."""

    count: int
    seed: int
    pool: Pool

    def __call__(self, number: int) -> Batch:
        return self.pool.batch(pool.order(len(self.pool), self.seed, number * self.count, self.count), floats=False)


@dataclass
class _FromDisk:
    """The same walk, every person read and cut out when it is their turn."""

    count: int
    seed: int
    records: Records
    people: list[tuple[int, int]]  # (record, person)
    skeleton: Skeleton
    size: tuple[int, int]

    def __call__(self, number: int) -> Batch:
        cut = []
        for row in pool.order(len(self.people), self.seed, number * self.count, self.count).tolist():
            record, person = self.people[row]
            cut.append(pool.cut(self.records[record], self.records.entries[record].people[person], self.size))
        return Pool.stack(cut, self.skeleton, "cpu").batch(torch.arange(len(cut)), floats=False)


class _Given:
    """Batches that the caller made: a list to cycle, or a function from a number to the batches from there on."""

    def __init__(self, batches: Batches) -> None:
        if not callable(batches) and not len(batches):
            raise CourseError("there are no batches to train on")
        self.batches = batches
        self.iterator: Iterator[Batch] | None = None
        self.next = 0

    def __call__(self, number: int) -> Batch:
        if not callable(self.batches):
            return self.batches[number % len(self.batches)]
        if self.iterator is None:
            self.iterator, self.next = iter(self.batches(number)), number
        ahead = number - self.next
        self.next = number + 1
        try:
            return next(itertools.islice(self.iterator, ahead, None))
        except StopIteration:
            raise CourseError(f"the batches that training was given ended before number {number}") from None


def _check_kind(recipe: Recipe, model: nn.Module) -> None:
    """Whether a recipe's data is what its model is meant to be trained on."""
    given = ", ".join(recipe.data)
    for name in KINDS:
        if name in recipe.data and len(recipe.data) > 1:
            raise CourseError(
                f"recipe '{recipe.name}': '{name}' does not mix with single people or other kinds ({given})"
            )
    meant = getattr(model, "trained_on", "")
    looks = f"recipe '{recipe.name}': model '{recipe.model}' looks for {KINDS.get(meant, 'one person')}"
    if meant and meant not in recipe.data:
        raise CourseError(f"{looks}, so it is trained on '{meant}'; got {given}")
    if other := next((name for name in KINDS if name != meant and name in recipe.data), None):
        raise CourseError(f"{looks}, so it is not trained on '{other}'; got {given}")


def _rendered(
    recipe: Recipe, name: str, count: int, size: tuple[int, int], device: torch.device
) -> Callable[[int], Batch | Crowd]:
    from course_lib.datasets import synthetic

    settings = WORLDS[name] | {key: value for key, value in recipe.data[name].items() if key != "share"}
    of_boxes = {key: settings.pop(key) for key in ("noise", "padding") if name == "boxed"}
    # other people in every world; those in boxes stand in the same pictures as crowds do
    seed = recipe.seed if name == "synthetic" else f"{recipe.seed} {'crowd' if name == 'boxed' else name}"
    where = {"size": PICTURE if name == "boxed" else size, "skeleton": recipe.skeleton, "device": device}
    if many := name in KINDS:
        where["people"] = tuple(settings.pop("people"))
    where |= {"seed": seed, "settings": synthetic.Settings(**settings)}
    pictures = -(-count // boxed.PEOPLE) if name == "boxed" else count
    made = _Rendered(synthetic.crowds if many else synthetic.stream, pictures, where, recipe.pool)
    return boxed.Boxed(made, count, size, recipe.seed, **of_boxes) if name == "boxed" else made


def _people(recipe: Recipe, name: str, size: tuple[int, int], device: torch.device) -> _People:
    """Everybody in a public data set who can be learned from, and whether they fit into memory."""
    records = _records(recipe, name, {key: value for key, value in recipe.data[name].items() if key != "share"})
    able = [(i, j) for i, j in records.people() if pool.learnable(records.entries[i].people[j])]
    return _People(records, able, size, len(able) * 3 * size[0] * size[1] > _room(device))


def _records(recipe: Recipe, name: str, settings: dict) -> Records:
    from course_lib import datasets

    folder = datasets.find(name)
    if folder is None:
        raise CourseError(
            f"recipe '{recipe.name}' trains on the data set '{name}', which is not on this machine: "
            f"`python -m course_lib data` tells where it comes from and where to put it"
        )
    return datasets.read(name, folder, **settings)


def _room(device: torch.device) -> int:
    """Bytes that photographs may take on a device."""
    if device.type == "cuda":
        return int(RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0])
    return RESIDENT_LIMIT


def _as_it_is(made: list[Batch]) -> list[Batch]:
    return made
