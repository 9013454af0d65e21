"""COCO keypoints (Lin et al., ECCV 2014; keypoints since 2016), the official person_keypoints files of 2014 and 2017.

    folder/annotations/person_keypoints_val2017.json
    folder/val2017/000000000139.jpg

Keypoints are indices of pixels, the first of which is 0, so half a pixel is added; boxes are x, y, width and height
measured from the corner, which is the course's own way. v is 0 unlabelled, 1 hidden, 2 visible. Left and right are the
person's own. All this is written on the set's pages and in its evaluation code.

Nobody is left out, because the evaluation counts them all: a crowd (`Person.crowd`, one region for many people) and
people without a keypoint (`Person.ignore`) are neither to be found nor false alarms. Pictures without people stay too.
Segments are dropped, or with `masks=True` kept as they are written, and decoded when a scene is asked for.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from course_lib.datasets.masks import Segment
from course_lib.datasets.records import FROM_ZERO, TOO_LARGE, Record, Records, broken, people_of, read_json, refusing
from course_lib.errors import CourseError, unknown_name
from course_lib.pose import Person
from course_lib.skeletons import COCO

SPLITS = ("train2017", "val2017", "train2014", "val2014")
NEWEST = {"train": "train2017", "val": "val2017"}
PERSON = 1  # the category
NUMBERS = 3 * len(COCO)


def read(
    folder: str | Path, split: str = "train2017", *, masks: bool = False, problems: list[str] | None = None
) -> Records:
    """Split "train2017", "val2017", "train2014" or "val2014"; "train" and "val" are those of 2017."""
    split = NEWEST.get(split, split)
    if split not in SPLITS:
        raise unknown_name("split of COCO", split, (*SPLITS, *NEWEST))
    file = Path(folder) / "annotations" / f"person_keypoints_{split}.json"
    content = read_json(file, dict)
    _check_layout(file, content)
    pictures = _pictures(file, content["images"], problems)
    annotations = _annotations(file, content["annotations"], pictures, problems)
    people = _people(annotations)
    licences = _licences(content.get("licenses"))
    on: dict[int, list[int]] = {number: [] for number in pictures}  # image -> which annotations
    for place, annotation in enumerate(annotations):
        on[annotation["image_id"]].append(place)
    entries = []
    for number, picture in pictures.items():
        segments = [_segment(file, annotations[place], picture) for place in on[number]] if masks else []
        entries.append(
            Record(
                Path(folder) / split / picture["file_name"],
                [people[place] for place in on[number]],
                number,
                {"file_name": picture["file_name"], "licence": licences.get(str(picture.get("license")), "")},
                (picture["height"], picture["width"]),
                segments,
            )
        )
    return Records("coco", split, COCO, entries)


def _check_layout(file: Path, content: dict[str, Any]) -> None:
    for name in ("images", "annotations", "categories"):
        if not isinstance(content.get(name), list) or not all(isinstance(one, dict) for one in content[name]):
            raise CourseError(f"{file} should have a list of dictionaries '{name}'")
    person = next((one for one in content["categories"] if one.get("id") == PERSON), None)
    if person is None:
        raise broken(file, f"category {PERSON}", "id", "there is no such category, and it should be the person's")
    names = person["keypoints"] if isinstance(person.get("keypoints"), list) else []
    if tuple(names) != COCO.joints:
        wrong = [name for name in names if name not in COCO.joints]
        hint = f"it names {', '.join(map(str, wrong[:3]))}" if wrong else "they are others or in another order"
        raise broken(file, f"category {PERSON}", "keypoints", f"should name COCO's {len(COCO)} joints, but {hint}")


def _licences(given: Any) -> dict[str, str]:
    """Names of licences by their ids, as far as the file has any."""
    ones = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    return {str(one.get("id")): str(one.get("name", "")) for one in ones}


def _pictures(file: Path, images: list[dict], problems: list[str] | None) -> dict[int, dict]:
    """The images by their id, in the file's order."""
    found: dict[int, dict] = {}
    for place, image in enumerate(images):
        with refusing(problems):
            who = f"image {image.get('id', f'at place {place}')}"
            if not _is_whole(image.get("id")):
                raise broken(file, who, "id", "should be a whole number")
            if image["id"] in found:
                raise broken(file, who, "id", "is the id of two images")
            if not isinstance(image.get("file_name"), str) or not image["file_name"]:
                raise broken(file, who, "file_name", f"should be a name, but is {image.get('file_name')!r}")
            for side in ("height", "width"):
                if not _is_whole(image.get(side)) or image[side] <= 0:
                    raise broken(file, who, side, f"should be a number of pixels, but is {image.get(side)!r}")
            found[image["id"]] = image
    return found


def _annotations(
    file: Path, annotations: list[dict], pictures: dict[int, dict], problems: list[str] | None
) -> list[dict]:
    """Those in order, each checked."""
    good, ids = [], set()
    for place, annotation in enumerate(annotations):
        with refusing(problems):
            who = f"annotation {annotation.get('id', f'at place {place}')}"
            if not _is_whole(annotation.get("id")):
                raise broken(file, who, "id", "should be a whole number")
            if annotation["id"] in ids:
                raise broken(file, who, "id", "is the id of two annotations")
            ids.add(annotation["id"])
            if name_and_problem := _problem(annotation, pictures):
                raise broken(file, who, *name_and_problem)
            good.append(annotation)
    return good


def _problem(one: dict, pictures: dict[int, dict]) -> tuple[str, str] | None:
    """The first field of an annotation that is wrong, and what is wrong with it."""
    if not _is_whole(one.get("image_id")) or one["image_id"] not in pictures:
        return "image_id", f"is {one.get('image_id')!r}, and there is no such image in the file"
    if one.get("category_id") != PERSON:
        return "category_id", f"is {one.get('category_id')!r}, but everybody here is a person, category {PERSON}"
    keypoints = one.get("keypoints")
    if not isinstance(keypoints, list) or len(keypoints) != NUMBERS:
        length = len(keypoints) if isinstance(keypoints, list) else "no list of"
        return "keypoints", f"should be {NUMBERS} numbers, x, y and v of {len(COCO)} joints, but is {length} numbers"
    if strange := [value for value in keypoints if not _is_number(value)]:
        return "keypoints", f"should be numbers, but one is {strange[0]!r}"
    if strange := [value for value in keypoints[2::3] if value not in (0, 1, 2)]:
        return "keypoints", f"v should be 0, 1 or 2, but one is {strange[0]!r}"
    box = one.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return "bbox", f"should be four numbers, but is {box!r}"
    if box[2] < 0 or box[3] < 0:
        return "bbox", f"has a negative width or height: {box}"
    if not _is_number(one.get("area")) or one["area"] < 0:
        return "area", f"should be a number of pixels, but is {one.get('area')!r}"
    if one.get("iscrowd") not in (0, 1):
        return "iscrowd", f"should be 0 or 1, but is {one.get('iscrowd')!r}"
    if not _is_whole(one.get("num_keypoints")):
        return "num_keypoints", f"should be a whole number, but is {one.get('num_keypoints')!r}"
    return None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < TOO_LARGE


def _people(annotations: list[dict]) -> list[Person]:
    table = np.array([one["keypoints"] for one in annotations], dtype=np.float64).reshape(-1, len(COCO), 3)
    boxes = np.array([one["bbox"] for one in annotations], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    people = people_of(table[..., :2], table[..., 2], COCO, FROM_ZERO, boxes)
    return [
        replace(person, area=float(one["area"]), crowd=bool(one["iscrowd"]), ignore=one["num_keypoints"] == 0)
        for person, one in zip(people, annotations, strict=True)
    ]


def _segment(file: Path, annotation: dict, picture: dict) -> Segment | None:
    where = f"{file}, annotation {annotation['id']}, field 'segmentation'"
    shape = annotation.get("segmentation")
    return Segment(shape, picture["height"], picture["width"], where) if shape else None
