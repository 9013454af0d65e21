"""MPII Human Pose (Andriluka, Pishchulin, Gehler, Schiele, CVPR 2014): the release's .mat, and the customary json.

    folder/mpii_human_pose_v1_u12_1.mat     `RELEASE`; also where its own archive puts it, one folder deeper
    folder/annot/train.json, valid.json     the json that came with later networks' code; also in folder itself
    folder/images/015601864.jpg

|                     | the release (source="mat")                 | the json (source="json")                    |
| ------------------- | ------------------------------------------ | ------------------------------------------- |
| split "train"       | all pictures with img_train = 1            | without the customary validation people     |
| split "valid"       | unknown to it, contained in its "train"    | 2,958 people who are never trained on       |
| hidden joints       | told: is_visible 0                         | not told: a labelled joint counts as visible |
| head rectangle      | yes, which PCKh measures with              | no                                          |

So never train on the release's "train" when you test on the json's "valid". The labels of the test pictures were never
published. Left and right are the person's own. Pixels are counted from 1, MATLAB's way; the json's numbers are taken to
be the release's own.

A person's box is the usual one, 200 x scale around objpos (scale is the person's height in units of 200 pixels), or,
where these are missing, that of the joints. Somebody without a labelled joint stays, as `Person.ignore`. What the
release says of each person is in the scene's meta, in the order of its people: scale, objpos, single_person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from course_lib.datasets.matlab import get, is_struct, looks, number, numbers, read_mat, structs
from course_lib.datasets.records import FROM_ONE, Record, Records, broken, people_of, read_json, refusing, sensible
from course_lib.errors import CourseError, unknown_name
from course_lib.pose import HIDDEN, UNLABELLED, VISIBLE, Person
from course_lib.skeletons import MPII

PIXELS_PER_SCALE = 200
JOINTS = len(MPII)
NO_TEST_LABELS = "MPII's test labels were never published, so there is nobody to read in its split 'test'"


def read(
    folder: str | Path,
    split: str = "train",
    *,
    source: str = "mat",
    single: bool = False,
    problems: list[str] | None = None,
) -> Records:
    """Split "train" of the release; "train" or "valid" with source="json". With `single`, one record a person."""
    sources = {"mat": ("train",), "json": ("train", "valid")}
    if source not in sources:
        raise unknown_name("source of MPII", source, sources)
    if split == "test":
        raise CourseError(NO_TEST_LABELS)
    if split not in sources[source]:
        hint = " (the customary split is in the json: source='json')" if source == "mat" else ""
        raise CourseError(f"{unknown_name(f'split of MPII in its {source}', split, sources[source])}{hint}")
    entries = (_read_release if source == "mat" else _read_json)(Path(folder), split, problems)
    if single:
        entries = [one for entry in entries for one in _alone(entry)]
    return Records("mpii", split, MPII, entries)


def _alone(entry: Record) -> list[Record]:
    """A record for each person of one."""
    lists = ("scale", "objpos", "single_person")
    return [
        replace(
            entry,
            people=[person],
            id=f"{entry.id}/{place + 1}",
            meta={key: [value[place]] if key in lists else value for key, value in entry.meta.items()},
        )
        for place, person in enumerate(entry.people)
    ]


def _first_file(folder: Path, patterns: Sequence[str], what: str) -> Path:
    found = [file for pattern in patterns for file in sorted(folder.glob(pattern))]
    if not found:
        raise CourseError(f"{folder} has no {what}, neither as {' nor as '.join(patterns)}")
    return found[0]


def _person(joints: np.ndarray, visible: np.ndarray, scale: float, objpos: np.ndarray) -> Person:
    """Joints (16, 2) and objpos (2,) as the file has them; scale and objpos NaN where it has none."""
    half = PIXELS_PER_SCALE * scale / 2
    box = None
    if sensible(objpos).all() and half > 0:
        box = np.concatenate([objpos + FROM_ONE - half, objpos + FROM_ONE + half])[None]
    [person] = people_of(joints[None], visible[None], MPII, FROM_ONE, box)
    return replace(person, ignore=not visible.any())


# --- the release ------------------------------------------------------------------------------------------------------


def _read_release(folder: Path, split: str, problems: list[str] | None) -> list[Record]:
    file = _first_file(folder, ("mpii_human_pose_v1*.mat", "*/mpii_human_pose_v1*.mat"), "release of MPII")
    release = read_mat(file, "RELEASE")["RELEASE"]
    pictures = structs(getattr(release, "annolist", None)) if is_struct(release) else None
    if not pictures:
        raise CourseError(f"{file}: the variable 'RELEASE' should be a structure with a list of pictures, 'annolist'")
    train = numbers(getattr(release, "img_train", ()))
    if len(train) != len(pictures) or not np.isin(train, (0, 1)).all():
        says = f"should be {len(pictures)} numbers 0 or 1, one a picture, but is {len(train)} numbers"
        raise broken(file, "RELEASE", "img_train", says)
    acts = _column(structs(getattr(release, "act", None)), len(pictures))
    lone = getattr(release, "single_person", ())
    lone = [lone] if len(pictures) == 1 else _column(list(np.asarray(lone, dtype=object).ravel()), len(pictures))
    entries = []
    for place in np.flatnonzero(train).tolist():
        with refusing(problems):
            entries.append(_picture(file, folder, place + 1, pictures[place], acts[place], lone[place]))
    return entries


def _column(values: list | None, count: int) -> list:
    """What the release says of each picture; None of all where it says nothing that fits."""
    return values if values and len(values) == count else [None] * count


def _picture(file: Path, folder: Path, place: int, picture: Any, act: Any, lone: Any) -> Record:
    """A picture of `annolist`, number `place` from 1, with its activity and the numbers of its single people."""
    who = f"annolist({place})"
    name = get(get(picture, "image"), "name")
    if not isinstance(name, str):
        raise broken(file, who, "image.name", f"should be a file's name, but is {name!r}")
    rectangles = structs(get(picture, "annorect"))
    if rectangles is None:
        raise broken(file, who, "annorect", "should be a list of structures")
    alone = {int(one) for one in numbers(() if lone is None else lone)}
    people, meta = [], {"scale": [], "objpos": [], "single_person": []}
    for order, rectangle in enumerate(rectangles, 1):
        person, scale, objpos = _annotated(file, f"{who}.annorect({order})", rectangle)
        people.append(person)
        meta["scale"].append(scale)
        meta["objpos"].append(objpos)
        meta["single_person"].append(order in alone)
    for key, value in (("activity", get(act, "act_name")), ("category", get(act, "cat_name"))):
        meta[key] = value if isinstance(value, str) else None
    meta |= {key: None if get(picture, key) is None else number(get(picture, key)) for key in ("vidx", "frame_sec")}
    return Record(folder / "images" / name, people, place, meta)


def _annotated(file: Path, who: str, rectangle: Any) -> tuple[Person, float | None, tuple[float, float] | None]:
    """A person of `annorect`, with scale and objpos."""
    scale, objpos = get(rectangle, "scale"), get(rectangle, "objpos")
    size = float("nan") if scale is None else number(scale)
    if scale is not None and not (sensible(size) and size > 0):
        raise broken(file, who, "scale", f"should be a number above 0, but is {scale!r}")
    centre = np.array([float("nan") if get(objpos, axis) is None else number(get(objpos, axis)) for axis in "xy"])
    person = _person(*_points(file, who, rectangle), size, centre)
    corners = [get(rectangle, name) for name in ("x1", "y1", "x2", "y2")]
    if any(corner is not None for corner in corners):
        head = np.array([number(corner) for corner in corners])
        if not sensible(head).all():
            raise broken(file, who, "x1, y1, x2, y2", f"should be the head's rectangle, but is {head.tolist()}")
        low, high = np.minimum(head[:2], head[2:]), np.maximum(head[:2], head[2:])
        head_box = torch.from_numpy((np.concatenate([low, high]) + FROM_ONE).astype(np.float32))
        person = replace(person, head_box=head_box)
    where = tuple((centre + FROM_ONE).tolist()) if sensible(centre).all() else None
    return person, None if scale is None else size, where


def _points(file: Path, who: str, rectangle: Any) -> tuple[np.ndarray, np.ndarray]:
    """Joints (16, 2) and visible (16,) of `annopoints`; a joint that is not in the list is unlabelled."""
    joints, visible = np.zeros((JOINTS, 2)), np.full(JOINTS, UNLABELLED)
    points = structs(get(get(rectangle, "annopoints"), "point"))
    if points is None:
        raise broken(file, who, "annopoints.point", "should be a list of structures")
    for order, point in enumerate(points, 1):
        here = f"{who}.annopoints.point({order})"
        joint = number(getattr(point, "id", None))
        if joint not in range(JOINTS):
            raise broken(
                file, here, "id", f"should be a joint, 0 to {JOINTS - 1}, but is {getattr(point, 'id', None)!r}"
            )
        joint = int(joint)
        if visible[joint] != UNLABELLED:
            raise broken(file, here, "id", f"names joint {joint} a second time")
        place = [number(getattr(point, axis, None)) for axis in "xy"]
        if not sensible(place).all():
            raise broken(file, here, "x, y", f"should be numbers, but are {place}")
        joints[joint], visible[joint] = place, _visibility(file, here, get(point, "is_visible"))
    return joints, visible


def _visibility(file: Path, who: str, flag: Any) -> int:
    """is_visible is 1 or 0, as a number or as a letter; where it is empty, nobody said that the joint is hidden."""
    value = {"0": 0.0, "1": 1.0}.get(flag) if isinstance(flag, str) else number(flag)
    if flag is None or value == 1:
        return VISIBLE
    if value == 0:
        return HIDDEN
    raise broken(file, who, "is_visible", f"should be 0, 1 or empty, but is {flag!r}")


# --- the json ---------------------------------------------------------------------------------------------------------


def _read_json(folder: Path, split: str, problems: list[str] | None) -> list[Record]:
    file = _first_file(folder, (f"annot/{split}.json", f"{split}.json"), f"json of the split '{split}'")
    gathered: dict[str, tuple[list, dict]] = {}  # picture -> its people, and what is known of them
    for place, one in enumerate(read_json(file, list)):
        with refusing(problems):
            who = f"record {place}"
            person, meta = _listed(file, who, one)
            people, metas = gathered.setdefault(one["image"], ([], {"scale": [], "objpos": []}))
            people.append(person)
            for key, value in meta.items():
                metas[key].append(value)
    return [Record(folder / "images" / name, people, name, meta) for name, (people, meta) in gathered.items()]


def _listed(file: Path, who: str, one: Any) -> tuple[Person, dict[str, Any]]:
    """A person of the list, with scale and objpos."""
    if not isinstance(one, dict):
        raise broken(file, who, "image", "should be in a dictionary, but there is none")
    if not isinstance(one.get("image"), str) or not one["image"]:
        raise broken(file, who, "image", f"should be a file's name, but is {one.get('image')!r}")
    if "joints" not in one:
        raise broken(file, who, "joints", f"is missing; {NO_TEST_LABELS}")
    joints = _array(file, who, one, "joints", (JOINTS, 2))
    labelled = _array(file, who, one, "joints_vis", (JOINTS,))
    if not np.isin(labelled, (0, 1)).all():
        raise broken(file, who, "joints_vis", f"should be 0 or 1, but is {one['joints_vis']}")
    centre = _array(file, who, one, "center", (2,))
    scale = float(_array(file, who, one, "scale", ()))
    if scale <= 0:
        raise broken(file, who, "scale", f"should be a number above 0, but is {scale:g}")
    person = _person(joints, np.where(labelled > 0, VISIBLE, UNLABELLED), scale, centre)
    return person, {"scale": scale, "objpos": tuple((centre + FROM_ONE).tolist())}


def _array(file: Path, who: str, one: dict[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        values = np.array(one.get(name))
    except ValueError:  # lists of different lengths
        values = np.array(None)
    if values.dtype.kind not in "fi" or values.shape != shape or not sensible(values).all():
        size = " x ".join(map(str, shape))
        kind = f"{size} finite numbers" if shape else "a finite number"
        raise broken(file, who, name, f"should be {kind}, but is {_what(values, shape, one.get(name))}")
    return values.astype(np.float64)


def _what(values: np.ndarray, shape: tuple[int, ...], given: Any) -> str:
    """What is there instead of numbers of this shape."""
    return looks(values) if values.dtype.kind in "fi" and values.shape != shape else str(given)[:60]
