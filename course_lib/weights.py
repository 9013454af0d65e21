"""`python -m course_lib weights list | adopt`: what ships, and how something better comes to ship.

    python -m course_lib train --queue --minutes 9 --out runs
    python -m course_lib weights adopt runs

Candidates and the weights that ship are measured afresh, on the same people. One benchmark decides: photographs for a
recipe that trains on photographs, pictures of many people for one that trains on those (by its poses; a detector by its
boxes), else rendered people one by one. Another is not averaged in, since a point on one is not worth a point on the
other; but where the candidate falls behind there, that is said aloud. How far chance could move the difference is said
too: people, or pictures of many, are drawn anew many times over, the same for both.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib import checkpoints, paths
from course_lib.errors import CourseError

TOTAL_LIMIT = 45 * checkpoints.MEGABYTE  # of all weights that ship together
FALL = 0.01  # on another benchmark, from which on it is said aloud: a point


def add_parsers(subparsers: Any) -> None:
    """Adds the command to what `ArgumentParser.add_subparsers` gave."""
    parser = subparsers.add_parser("weights", help="list the weights that ship, or adopt better ones")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    action = actions.add_parser("list", help="what ships, where it comes from and what it scores")
    action.set_defaults(func=list_weights)
    action = actions.add_parser(
        "adopt",
        help="install the weights of a folder of trainings that are better than what ships",
        description="Measures the weights in a folder of trainings, and those that ship, on the same people, and "
        "installs what is better. Exit status: 0 all was examined, 1 a file was refused, 2 nothing could be done.",
    )
    action.add_argument("folder", type=Path, metavar="DIR", help="what was --out of the trainings")
    action.add_argument("--dry-run", action="store_true", help="only tell what would be installed")
    action.add_argument("--device", default="auto", help="auto (the default), cuda, mps or cpu")
    action.set_defaults(func=adopt)


# --- list -------------------------------------------------------------------------------------------------------------


def list_weights(arguments: argparse.Namespace) -> int:
    """Prints a few lines for each checkpoint that ships."""
    from course_lib.training import benchmarks, provenance

    files, broken = sorted(paths.CHECKPOINTS.glob(f"*{provenance.SUFFIX}")), 0
    for file in files:
        try:
            header = checkpoints.verify(file)
        except CourseError as error:
            print(f"{file.stem}: {error}")
            broken += 1
            continue
        print(f"{file.stem}: {file.stat().st_size:,} bytes, {header['date']}, on {header['device']}")
        print(f"  recipe {header['recipe']}, trained on {', '.join(header['data']) or 'nothing'}")
        if changed := ", ".join(f"{key} {value}" for key, value in header.get("changed", {}).items()):
            print(f"  unlike the recipe: {changed}")
        print(f"  {header['steps']:,} steps, {provenance.images_in_all(header):,} images in all{_begun(header)}")
        for name, scores in header["scores"].items():
            deciding = dict.fromkeys(benchmarks.HEADLINES.values())
            numbers = [f"{key} {scores[key]:.4f}" for key in deciding if isinstance(scores.get(key), float)]
            print(f"  {name}: {', '.join(numbers) or 'measured'}")
    print(f"{len(files)} files, {_total() / checkpoints.MEGABYTE:.2f} of {TOTAL_LIMIT / checkpoints.MEGABYTE:g} MB")
    return int(broken > 0)


def _begun(header: dict[str, Any]) -> str:
    start = header.get("start")
    if not isinstance(start, dict) or not start:
        return ""
    return f", begun from {start['checkpoint']}" + (f" of {start['images']:,}" if start["images"] else "")


def _total(without: Path | None = None) -> int:
    """Bytes of all weights that ship."""
    return sum(file.stat().st_size for file in paths.CHECKPOINTS.glob("*.safetensors") if file != without)


# --- adopt ------------------------------------------------------------------------------------------------------------


def adopt(arguments: argparse.Namespace) -> int:
    """Installs what is better; 1 where a file was refused."""
    from course_lib.training import devices
    from course_lib.training.provenance import SUFFIX

    files = sorted({*arguments.folder.glob(f"*{SUFFIX}"), *arguments.folder.glob(f"*/*{SUFFIX}")})
    if not files:
        raise CourseError(
            f"there are no weights in {arguments.folder}; `train --out {arguments.folder}` puts some there"
        )
    judge = Judge(devices.choose(arguments.device))
    installed = refused = 0
    for file in files:
        try:
            installed += judge.decide(file, arguments.dry_run)
        except CourseError as error:
            print(f"{file.stem}: refused: {error}")
            refused += 1
    print(f"{installed} of {len(files)} {'would be installed' if arguments.dry_run else 'installed'}")
    return int(refused > 0)


@dataclass(frozen=True)
class Measured:
    """One benchmark's answer about a candidate and what ships."""

    name: str
    scores: dict[str, Any]  # the candidate's
    candidate: float | None
    shipped: float | None = None
    interval: tuple[float, float] | None = None  # of the difference

    @property
    def difference(self) -> float | None:
        """Above 0 where the candidate is better."""
        return None if self.candidate is None or self.shipped is None else self.candidate - self.shipped


class Judge:
    """Compares candidates with what ships, on benchmarks that are made once."""

    def __init__(self, device: Any) -> None:
        from course_lib.training import benchmarks

        self.device, self.examiner = device, benchmarks.Examiner()

    def decide(self, file: Path, dry_run: bool) -> bool:
        """Whether a candidate is installed, or would be; prints why. One that cannot be is a CourseError."""
        from course_lib.training import benchmarks

        header = _examined(file)
        if header is None:
            return False
        shipped = self._shipped(file.stem)
        rows = self._measure(file, shipped[0] if shipped else None)
        decisive = benchmarks.decisive(header["data"], [row.name for row in rows])
        _tell(file.stem, header, shipped[1] if shipped else None, rows, decisive)
        if not _better(file.stem, rows, decisive, first=shipped is None):
            return False
        if not dry_run:
            scores = {row.name: row.scores for row in rows} | self._flipped(file)
            _install(file, scores)
        return True

    def _shipped(self, name: str) -> tuple[Path, dict[str, Any]] | None:
        """The weights that ship under this name, and their header; a damaged file is as good as none."""
        file = paths.checkpoint(name)
        if not file.exists():
            return None
        try:
            return file, checkpoints.verify(file)
        except CourseError as error:
            print(f"{name}: what ships is damaged and counts as missing ({error})")
            return None

    def _measure(self, file: Path, shipped: Path | None) -> list[Measured]:
        from course_lib import models
        from course_lib.training import benchmarks

        new = models.load(file.stem, file).to(self.device)
        old = models.load(file.stem, shipped).to(self.device) if shipped else None
        if old and old.skeleton.joints != new.skeleton.joints:
            raise CourseError(
                f"it estimates the joints of '{new.skeleton.name}', what ships those of '{old.skeleton.name}'"
            )
        rows = []
        for name in benchmarks.possible(new):
            scores, marks = self.examiner.examine(new, name)
            if old is None:
                rows.append(Measured(name, scores, benchmarks.headline(name, scores)))
                continue
            theirs, their_marks = self.examiner.examine(old, name)
            pair = (benchmarks.headline(name, one) for one in (scores, theirs))
            rows.append(Measured(name, scores, *pair, benchmarks.paired_interval(marks, their_marks)))
        return rows

    def _flipped(self, file: Path) -> dict[str, Any]:
        """What the candidate scores with the mirrored picture's answer averaged in, where its model can."""
        from course_lib import models
        from course_lib.models.base import PoseModel
        from course_lib.training import benchmarks

        model = models.load(file.stem, file).to(self.device)
        if not isinstance(model, PoseModel) or type(model).flip_average is PoseModel.flip_average:
            return {}
        names = [name for name in benchmarks.possible(model) if name != benchmarks.BOXES]
        return {f"{name} flipped": self.examiner.examine(model, name, True)[0] for name in names}


def _examined(file: Path) -> dict[str, Any] | None:
    """A candidate's header; None, with a sentence, for one that is not meant to ship; what is wrong is refused."""
    from course_lib.training import provenance, recipes

    header = checkpoints.verify(file)
    recipe = recipes.get(header["recipe"])
    if not recipe.queue:
        print(f"{file.stem}: left out, since recipe '{recipe.name}' is not one whose weights ship (Recipe.queue)")
        return None
    if file.stem != recipe.name or not provenance.same_training(header, recipe):
        raise CourseError(
            f"{file} is not what recipe '{recipe.name}' makes: the file's name, the model, its options, the skeleton "
            "and the data must be the recipe's"
        )
    size = file.stat().st_size
    if size > checkpoints.SHIPPED_LIMIT:
        limit = checkpoints.SHIPPED_LIMIT / checkpoints.MEGABYTE
        raise CourseError(
            f"{file} has {size / checkpoints.MEGABYTE:.1f} MB, but {limit:g} MB is the limit of what ships"
        )
    together = _total(without=paths.checkpoint(recipe.name)) + size
    if together > TOTAL_LIMIT:
        raise CourseError(
            f"with {file} all weights would have {together / checkpoints.MEGABYTE:.1f} MB together, but "
            f"{TOTAL_LIMIT / checkpoints.MEGABYTE:g} MB is the limit"
        )
    return header


def _tell(
    name: str, header: dict[str, Any], shipped: dict[str, Any] | None, rows: Iterable[Measured], decisive: str
) -> None:
    """The table of one candidate; the benchmark that decides has a star."""
    from course_lib.training import benchmarks, provenance

    against = f"{provenance.images_in_all(shipped):,} that ship" if shipped else "nothing that ships"
    print(f"{name}: {provenance.images_in_all(header):,} images, on {header['device']}, against {against}")
    print(f"  {'':26}{'ships':>10}{'candidate':>11}{'difference':>12}  95 % of samples")
    for row in rows:
        label = f"{row.name} {benchmarks.HEADLINES[row.name]}{' *' if row.name == decisive else ''}"
        between = f"  {row.interval[0]:+.4f} to {row.interval[1]:+.4f}" if row.interval else ""
        print(
            f"  {label:26}{_number(row.shipped):>10}{_number(row.candidate):>11}{_signed(row.difference):>12}{between}"
        )


def _better(name: str, rows: list[Measured], decisive: str, first: bool) -> bool:
    """Whether the benchmark that decides speaks for the candidate; says so, and what speaks against it."""
    if first:
        print("  the first of its name")
        return True
    row = next((row for row in rows if row.name == decisive), None)
    if row is None or row.difference is None:
        print(f"  not installed: '{decisive}' decides about it, and cannot be measured on this machine")
        return False
    if row.difference <= 0:
        print(f"  not installed: it is not better on {decisive}")
        return False
    chance = row.interval is not None and row.interval[0] <= 0
    print(f"  better on {decisive} by {100 * row.difference:.2f} points{', which may be chance' if chance else ''}")
    for other in rows:
        if other is not row and other.difference is not None and other.difference < -FALL:
            print(f"  BUT WORSE on {other.name}, by {-100 * other.difference:.2f} points")
    return True


def _install(file: Path, scores: dict[str, Any]) -> None:
    """Puts a candidate with its scores in the place of what ships, whole or not at all."""
    target = paths.checkpoint(file.stem)
    checkpoints.record(file, scores, to=target, limit=checkpoints.SHIPPED_LIMIT)
    print(f"  installed: {target}, {target.stat().st_size / checkpoints.MEGABYTE:.2f} MB")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"
