"""Writers of small, whole data sets in the formats of the official files, with pictures of plain grey."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

HEIGHT, WIDTH = 24, 32
COCO_FILE, MPII_FILE = "person_keypoints_val2017.json", "mpii_human_pose_v1_u12_1.mat"
COCO_JOINTS = ["nose"]
COCO_JOINTS += [
    f"{side}_{name}"
    for name in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
]


def picture(file: Path, height: int = HEIGHT, width: int = WIDTH) -> None:
    """A small grey picture."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 90, 90)).save(file)


def lsp(folder: Path, joints: np.ndarray | None = None, people: int = 3) -> None:
    """LSP: joints 3 x 14 x N, 1 = hidden; joint k of person n at (10 n + k, k), the first one hidden."""
    if joints is None:
        joints = np.zeros((3, 14, people))
        joints[0] = np.arange(14)[:, None] + 10 * np.arange(1, people + 1)
        joints[1] = np.arange(14)[:, None]
        joints[2, 0] = 1
    scipy.io.savemat(folder / "joints.mat", {"joints": joints})
    for number in range(1, people + 1):
        picture(folder / "images" / f"im{number:04d}.jpg")


def lspet(folder: Path, joints: np.ndarray | None = None, people: int = 3) -> None:
    """LSP-extended: joints 14 x 3 x N, 1 = labelled; the same places, the first joint unlabelled."""
    if joints is None:
        joints = np.ones((14, 3, people))
        joints[:, 0] = np.arange(14)[:, None] + 10 * np.arange(1, people + 1)
        joints[:, 1] = np.arange(14)[:, None]
        joints[0] = np.array([-5.0, -7.0, 0.0])[:, None]
    scipy.io.savemat(folder / "joints.mat", {"joints": joints})
    for number in range(1, people + 1):
        picture(folder / "images" / f"im{number:05d}.jpg")


def flic_example(number: int, train: bool, **changes: Any) -> dict[str, Any]:
    """A picture of FLIC: column c of `coords` at (c + 1, 2 c + 1); its right wrist is unlabelled."""
    coords = np.full((2, 29), np.nan)
    for column in (0, 1, 2, 3, 4, 6, 9, 12, 13, 16):
        coords[:, column] = column + 1, 2 * column + 1
    return {
        "poselet_hit_idx": float(number),
        "moviename": "a-film",
        "coords": coords,
        "filepath": f"a-film-{number:05d}.jpg",
        "imgdims": np.array([HEIGHT, WIDTH, 3.0]),
        "currframe": 10.0 * number,
        "torsobox": np.array([5.0, 6.0, 15.0, 20.0]),
        "istrain": np.array(train),
        "istest": np.array(not train),
        **changes,
    }


def flic(folder: Path, examples: list[dict[str, Any]] | None = None) -> None:
    """FLIC: two pictures to train on, one to test."""
    examples = examples or [flic_example(1, True), flic_example(2, True), flic_example(3, False)]
    scipy.io.savemat(folder / "examples.mat", {"examples": struct_array(examples)})
    for number in range(1, len(examples) + 1):
        picture(folder / "images" / f"a-film-{number:05d}.jpg")


def struct_array(structs: list[dict[str, Any]]) -> np.ndarray:
    """MATLAB's struct array: every structure has every field, empty where it was not given."""
    names = list(dict.fromkeys(name for struct in structs for name in struct))
    array = np.empty((1, len(structs)), dtype=[(name, object) for name in names])
    for place, struct in enumerate(structs):
        for name in names:
            array[0, place][name] = struct.get(name, np.zeros((0, 0)))
    return array


def mpii_point(joint: int, x: float, y: float, *visible: Any) -> dict[str, Any]:
    """A point of the release; without `visible` the field is empty."""
    return {"x": x, "y": y, "id": float(joint), **({"is_visible": visible[0]} if visible else {})}


def mpii_person(points: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """A person of the release with a head rectangle, scale and objpos."""
    if points is None:
        points = [mpii_point(0, 4.0, 20.0, 0.0), mpii_point(8, 6.0, 5.0), mpii_point(9, 6.0, 2.0, "1")]
    head = {"x1": 5.0, "y1": 1.0, "x2": 8.0, "y2": 5.0}
    middle = {"scale": 0.125, "objpos": {"x": 10.0, "y": 12.0}}
    return {**head, **middle, "annopoints": {"point": struct_array(points)} if points else np.zeros((0, 0)), **changes}


def mpii(folder: Path, people: list[list[dict[str, Any]]] | None = None, **changes: Any) -> None:
    """The release: pictures with two, one and no people to train on, and one to test, whose people have no joints."""
    if people is None:
        head_only = {"x1": 9.0, "y1": 1.0, "x2": 12.0, "y2": 5.0}
        people = [[mpii_person(), mpii_person([])], [mpii_person([mpii_point(6, 3.0, 4.0, 1.0)])], [], [head_only]]
    annolist = [
        {
            "image": {"name": f"{number:09d}.jpg"},
            "annorect": struct_array(ones) if ones else np.zeros((0, 0)),
            "vidx": float(number),
            "frame_sec": 7.0,
        }
        for number, ones in enumerate(people, 1)
    ]
    lone = np.empty((len(people), 1), dtype=object)
    for place, ones in enumerate(people):
        lone[place, 0] = np.array([[1.0]]) if ones else np.zeros((0, 0))
    release = {
        "annolist": struct_array(annolist),
        "img_train": np.array([[1.0] * (len(people) - 1) + [0.0]]),
        "single_person": lone,
        "act": struct_array([{"act_name": "skiing", "cat_name": "sports", "act_id": 1.0} for _ in people]),
        **changes,
    }
    scipy.io.savemat(folder / MPII_FILE, {"RELEASE": release})
    for number in range(1, len(people) + 1):
        picture(folder / "images" / f"{number:09d}.jpg")


def mpii_entry(image: str = "000000001.jpg", **changes: Any) -> dict[str, Any]:
    """A person of the json: joint k at (k + 1, 2 k + 1); the pelvis is missing."""
    joints = [[k + 1.0, 2 * k + 1.0] for k in range(16)]
    seen = [1] * 16
    joints[6], seen[6] = [-1.0, -1.0], 0
    return {"image": image, "joints": joints, "joints_vis": seen, "center": [10.0, 12.0], "scale": 0.125, **changes}


def mpii_json(folder: Path, content: Any = None) -> None:
    """The json: two people in the first picture, one in the second."""
    (folder / "annot").mkdir(exist_ok=True)
    people = [mpii_entry(), mpii_entry("000000002.jpg"), mpii_entry()]
    for split in ("train", "valid"):
        write(folder / "annot" / f"{split}.json", people if content is None else content)
    for number in (1, 2):
        picture(folder / "images" / f"{number:09d}.jpg")


def coco_person(number: int, image: int = 7, **changes: Any) -> dict[str, Any]:
    """An annotation: nose visible, left eye hidden, the others unlabelled."""
    keypoints = [10, 5, 2, 11, 4, 1] + [0, 0, 0] * 15
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": [8.0, 2.0, 6.0, 10.0],
        "area": 30.5,
        "iscrowd": 0,
        "segmentation": [[8, 2, 14, 2, 14, 12, 8, 12]],
        "keypoints": keypoints,
        "num_keypoints": 2,
        **changes,
    }


def coco_content(**changes: Any) -> dict[str, Any]:
    """Picture 7 with a person, a crowd and one without keypoints; picture 9 with nobody."""
    names = ("000000000007.jpg", "000000000009.jpg")
    images = [
        {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH, "license": 3}
        for number, name in zip((7, 9), names, strict=True)
    ]
    nobody = {"keypoints": [0] * 51, "num_keypoints": 0}
    runs = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT, HEIGHT, HEIGHT * (WIDTH - 2)]}  # the second column
    return {
        "info": {},
        "licenses": [{"id": 3, "name": "Attribution-ShareAlike License", "url": ""}],
        "images": images,
        "annotations": [
            coco_person(1),
            coco_person(2, iscrowd=1, segmentation=runs, **nobody),
            coco_person(3, bbox=[3.0, 3.0, 0.0, 4.0], **nobody),
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO_JOINTS), "skeleton": []}],
        **changes,
    }


def coco(folder: Path, content: Any = None) -> None:
    """COCO's val2017 with two pictures."""
    (folder / "annotations").mkdir(exist_ok=True)
    write(folder / "annotations" / COCO_FILE, coco_content() if content is None else content)
    for number in (7, 9):
        picture(folder / "val2017" / f"{number:012d}.jpg")


def jhmdb(folder: Path, frames: int = 3) -> None:
    """J-HMDB: two clips of one action and one of another; joint k of frame t at (k + t, 2 k); masks for the first."""
    for action, clip in (("catch", "a_ball"), ("catch", "b_ball"), ("wave", "hello")):
        jhmdb_clip(folder, action, clip, frames)
    (folder / "splits").mkdir(exist_ok=True)
    for fold in (1, 2, 3):
        (folder / "splits" / f"catch_test_split{fold}.txt").write_text("a_ball.avi 1\nb_ball.avi 2\n")
        (folder / "splits" / f"wave_test_split{fold}.txt").write_text("hello.avi 1\n")
    masks = np.zeros((HEIGHT, WIDTH, frames), dtype=np.uint8)
    masks[4:10, 6:9] = 2  # the parts are numbered
    jhmdb_masks(folder, masks)


def jhmdb_clip(folder: Path, action: str, clip: str, frames: int, **changes: Any) -> None:
    """A clip's joints and frames."""
    joints = np.zeros((2, 15, frames))
    joints[0] = np.arange(15)[:, None] + np.arange(1, frames + 1)
    joints[1] = 2 * np.arange(15)[:, None]
    variables = {"pos_img": joints, "pos_world": joints / 100, "scale": np.ones((1, frames)), "viewpoint": "E"}
    place = folder / "joint_positions" / action / clip
    place.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(place / "joint_positions.mat", {**variables, **changes})
    for frame in range(1, frames + 1):
        picture(folder / "Rename_Images" / action / clip / f"{frame:05d}.png")


def jhmdb_masks(folder: Path, masks: np.ndarray) -> None:
    """The puppet masks of the first clip."""
    place = folder / "puppet_mask" / "catch" / "a_ball"
    place.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(place / "puppet_mask.mat", {"part_mask": masks})


def write(file: Path, content: Any) -> None:
    """JSON."""
    file.write_text(json.dumps(content), encoding="utf-8")
