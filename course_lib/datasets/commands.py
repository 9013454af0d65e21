"""`python -m course_lib data`: which public data sets there are, whether a downloaded one is whole, and getting one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from course_lib import datasets
from course_lib.datasets import cards
from course_lib.errors import CourseError, unknown_name

SIDE, QUALITY = 136, 80  # of a packed picture: 5 kB each
MOST_PROBLEMS = 20  # printed; the rest is counted


def add_parsers(subparsers: Any) -> None:
    """Adds the command `data` with its actions."""
    parser = subparsers.add_parser("data", help="list the public data sets, check a downloaded one, or get one")
    parser.set_defaults(func=lambda arguments: overview())
    actions = parser.add_subparsers(title="actions", metavar="ACTION")

    action = actions.add_parser("check", help="read everything in a folder and compare with what was published")
    action.add_argument("name", help=f"one of {', '.join(datasets.names())}")
    action.add_argument("folder", type=Path, nargs="?", help="where it lies (default: where the course looks)")
    action.add_argument("--all", action="store_true", help="open every picture, not a sample")
    action.set_defaults(func=lambda arguments: check(arguments.name, arguments.folder, arguments.all))

    action = actions.add_parser("get", help="download and unpack, where that is allowed without asking")
    action.add_argument("name", help=f"one of {', '.join(_open_sets())}")
    action.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where to put it")
    action.add_argument("--parts", nargs="+", default=[], help="which archives, where a set has several")
    action.set_defaults(func=lambda arguments: get(arguments.name, arguments.to, arguments.parts))

    action = actions.add_parser("pack", help="write a small copy to carry to another machine")
    action.add_argument("name", choices=("lspet",), help="lspet")
    action.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where to put joints.mat, images.tar")
    action.add_argument("--side", type=int, default=SIDE, help="pixels of a person's crop (%(default)s)")
    action.add_argument("--quality", type=int, default=QUALITY, help="of the JPEGs (%(default)s)")
    action.set_defaults(func=lambda arguments: pack(arguments.name, arguments.to, arguments.side, arguments.quality))


def overview() -> int:
    """Prints every card."""
    for card in cards.ALL:
        counts = f"pictures: {card.pictures}; people: {card.people}; joints: {card.joints}"
        print(f"{card.key or '-':<7} {card.name} ({card.year}). {counts}")
        for title, text in _lines(card):
            print(f"        {title:<9} {text}")
        print()
    print("Put a set into the folder $COURSE_DATA/NAME, or data/public/NAME in the course's folder. Then:")
    print("python -m course_lib data check NAME")
    return 0


def _lines(card: cards.Card) -> list[tuple[str, str]]:
    home = ("home page", card.home)
    if not card.key:
        return [home, ("loader", "none")]
    where = datasets.find(card.key)
    lines = [("needs", card.needs[0]), *[("", more) for more in card.needs[1:]]]
    lines += [("splits", card.splits), ("sides", card.sides), ("box", card.box), ("terms", card.terms), home]
    for part in card.parts:
        lines.append(("archive", part.url if part.opened else f"{part.url} (not opened for this course)"))
    return [*lines, ("here", "not found" if where is None else str(where))]


def check(name: str, folder: Path | None, all_pictures: bool) -> int:
    """Prints the counts and everything that is wrong; 1 where something is."""
    from course_lib.datasets.examine import examine

    known = datasets.card(name)
    folder = folder or datasets.find(name)
    if folder is None:
        raise CourseError(f"{known.name} is in none of the places where the course looks; name its folder")
    report = examine(name, folder, all_pictures)
    print(f"{known.name} in {folder}")
    for line in report.counts:
        print(f"   found  {line}")
    for problem in report.problems[:MOST_PROBLEMS]:
        print(f" PROBLEM  {problem}")
    if len(report.problems) > MOST_PROBLEMS:
        print(f" PROBLEM  and {len(report.problems) - MOST_PROBLEMS:,} more")
    how = "every picture was opened" if all_pictures else "a sample of the pictures was opened"
    wrong = len(report.problems)
    print(f"{wrong:,} problem{'' if wrong == 1 else 's'}." if wrong else f"Everything is in order; {how}.")
    return int(wrong > 0)


def _open_sets() -> list[str]:
    return sorted(card.key for card in cards.ALL if card.parts)


def get(name: str, folder: Path, wanted: list[str]) -> int:
    """Downloads a set's archives into a folder, checks their digests and unpacks them there."""
    from course_lib.datasets import download

    known = datasets.card(name)
    if not known.parts:
        says = f"{known.name} is given out on its home page, {known.home}, and not by the course"
        raise CourseError(f"{says}; the course can get {', '.join(_open_sets())}")
    parts = {part.name: part for part in known.parts}
    for part in wanted:
        if part not in parts:
            raise unknown_name(f"part of {known.name}", part, parts)
    if not wanted and len(parts) > 1:
        raise CourseError(f"{known.name} comes in parts, some of them large: choose with --parts {' '.join(parts)}")
    for part in [parts[one] for one in wanted or parts]:
        if not part.opened:
            print(f"{part.url}: this address was never opened for the course; it may not work")
        archive = download.fetch(part, folder, progress=True)
        count = download.unpack(archive, folder)
        print(f"{archive}: {count:,} files unpacked; its digest is in {archive.name}.sha256")
    print(f"terms: {known.terms}")
    print(f"python -m course_lib data check {name} {folder}")
    return 0


def pack(name: str, folder: Path, side: int, quality: int) -> int:
    """Writes the small copy of all splits and says how large it is."""
    from course_lib.datasets.pack import pack as write

    size = write(datasets.read(name, datasets.find(name), "all"), folder, side, quality, progress=True)
    print(f"{folder}: joints.mat and images.tar, {size / 1e6:.1f} MB; call the folder {name}, its parent COURSE_DATA")
    return 0
