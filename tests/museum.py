"""The museum: broken data sets, each with what its refusal must name: the file, the record and the field.

A piece writes a small data set in the official format (`official_files.py`) and breaks one thing in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from official_files import (
    COCO_FILE,
    HEIGHT,
    MPII_FILE,
    WIDTH,
    coco,
    coco_content,
    flic,
    flic_example,
    jhmdb,
    jhmdb_clip,
    jhmdb_masks,
    lsp,
    lspet,
    mpii,
    mpii_entry,
    mpii_json,
    mpii_person,
    mpii_point,
    picture,
)


@dataclass(frozen=True)
class Piece:
    """A broken data set and what its refusal must name."""

    title: str
    name: str  # of the data set
    make: Callable[[Path], Any]  # writes it, broken
    says: tuple[str, ...]  # file, record, field, and a word on what is wrong
    split: str = "train"
    options: dict[str, Any] = field(default_factory=dict)
    opened: bool = False  # what is wrong shows only when the first picture is asked for


def cut(file: str, share: float = 0.5) -> Callable[[Path], None]:
    """Cuts a file short."""

    def do(folder: Path) -> None:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: int(len(content) * share)])

    return do


def both(first: Callable[[Path], Any], second: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Writes, then breaks."""

    def do(folder: Path) -> None:
        first(folder)
        second(folder)

    return do


def table(axes: str, row: int, column: int, value: float) -> Callable[[Path], None]:
    """LSP (or LSP-extended) with one number of person 2 replaced; row is the joint, column x, y or flag."""

    def do(folder: Path) -> None:
        (lsp if axes == "lsp" else lspet)(folder)
        joints = scipy.io.loadmat(folder / "joints.mat")["joints"]
        joints[(column, row, 1) if axes == "lsp" else (row, column, 1)] = value
        (lsp if axes == "lsp" else lspet)(folder, joints)

    return do


def coco_piece(title: str, *says: str, **changes: Any) -> Piece:
    """COCO with fields of annotation 3 replaced."""

    def make(folder: Path) -> None:
        content = coco_content()
        content["annotations"][2] |= changes
        coco(folder, content)

    return Piece(title, "coco", make, (COCO_FILE, *says), "val2017")


def mpii_piece(title: str, person: dict[str, Any], *says: str) -> Piece:
    """The release with this as its second person."""
    return Piece(title, "mpii", lambda folder: mpii(folder, [[mpii_person(), person], []]), (MPII_FILE, *says))


def json_piece(title: str, changes: dict[str, Any], *says: str) -> Piece:
    """The json with fields of its second person replaced."""
    people = [mpii_entry(), mpii_entry(**changes)]
    return Piece(title, "mpii", lambda f: mpii_json(f, people), ("valid.json", *says), "valid", {"source": "json"})


def flic_piece(title: str, changes: dict[str, Any], *says: str) -> Piece:
    """FLIC with fields of its second picture replaced."""
    examples = [flic_example(1, True), flic_example(2, True, **changes)]
    return Piece(title, "flic", lambda folder: flic(folder, examples), ("examples.mat", "record 2", *says))


def clip_piece(title: str, changes: dict[str, Any], *says: str) -> Piece:
    """J-HMDB with variables of its second clip replaced."""
    make = both(jhmdb, lambda folder: jhmdb_clip(folder, "catch", "b_ball", 3, **changes))
    return Piece(title, "jhmdb", make, ("joint_positions.mat", *says), "test")


def spoilt(width: int, value: Any) -> np.ndarray:
    """J-HMDB's positions with joint 4 of frame 2 replaced."""
    joints = np.ones((2, width, 3))
    joints[0, 4, 1] = value
    return joints


ANNOTATION, SECOND, CLIP = "annotation 3", "annolist(1).annorect(2)", "clip catch/b_ball"

PIECES = (
    # LSP and LSP-extended
    Piece("nothing in the folder", "lsp", lambda f: None, ("joints.mat", "there is no file")),
    Piece("an empty file", "lsp", lambda f: (f / "joints.mat").touch(), ("joints.mat", "is empty")),
    Piece("a cut .mat", "lsp", both(lsp, cut("joints.mat")), ("joints.mat", "no readable MATLAB file")),
    Piece(
        "another variable",
        "lsp",
        lambda f: scipy.io.savemat(f / "joints.mat", {"points": 1}),
        ("joints.mat", "'joints'", "holds points"),
    ),
    Piece("LSP-extended read as LSP", "lsp", lspet, ("joints.mat", "'joints'", "3 x 14 x N", "how LSP-extended is")),
    Piece("LSP read as LSP-extended", "lspet", lsp, ("joints.mat", "'joints'", "14 x 3 x N", "how LSP is")),
    Piece(
        "letters for numbers",
        "lsp",
        lambda f: scipy.io.savemat(f / "joints.mat", {"joints": "three people"}),
        ("joints.mat", "'joints'", "should be numbers"),
    ),
    Piece("a flag of 2", "lsp", table("lsp", 5, 2, 2.0), ("joints.mat", "record 2", "'joints'", "flag of joint 5")),
    Piece("a NaN", "lspet", table("lspet", 4, 0, np.nan), ("joints.mat", "record 2", "'joints'", "joint 4", "nan")),
    Piece(
        "a picture that is not there",
        "lsp",
        both(lsp, lambda f: (f / "images" / "im0001.jpg").unlink()),
        ("im0001.jpg", "record 1", "no picture"),
        opened=True,
    ),
    Piece(
        "a damaged picture",
        "lsp",
        both(lsp, cut("images/im0001.jpg")),
        ("im0001.jpg", "record 1", "cannot be read"),
        opened=True,
    ),
    # FLIC
    flic_piece("coordinates lying down", {"coords": np.zeros((29, 2))}, "'coords'", "29 x 2"),
    flic_piece("coordinates in words", {"coords": "none"}, "'coords'", "2 x 29"),
    flic_piece("a torso inside out", {"torsobox": np.array([15.0, 6, 5, 20])}, "'torsobox'", "x1 < x2"),
    flic_piece("half a training picture", {"istrain": 0.5}, "'istrain'", "0 or 1"),
    flic_piece("no file's name", {"filepath": ""}, "'filepath'", "file's name"),
    # MPII's release
    mpii_piece("a seventeenth joint", mpii_person([mpii_point(16, 1.0, 1.0)]), SECOND, "point(1)", "'id'", "0 to 15"),
    mpii_piece(
        "a joint twice",
        mpii_person([mpii_point(3, 1.0, 1.0), mpii_point(3, 2.0, 2.0)]),
        SECOND,
        "point(2)",
        "'id'",
        "second time",
    ),
    mpii_piece("a joint nowhere", mpii_person([mpii_point(3, 1.0, np.nan)]), SECOND, "point(1)", "'x, y'", "nan"),
    mpii_piece("half visible", mpii_person([mpii_point(3, 1.0, 1.0, 0.5)]), SECOND, "'is_visible'", "0.5"),
    mpii_piece("a negative scale", mpii_person(scale=-1.0), SECOND, "'scale'", "above 0"),
    mpii_piece("half a head", mpii_person(x2=np.zeros((0, 0))), SECOND, "'x1, y1, x2, y2'", "head's rectangle"),
    Piece(
        "training marks too few",
        "mpii",
        lambda f: mpii(f, img_train=np.ones((1, 2))),
        (MPII_FILE, "RELEASE", "'img_train'", "4 numbers"),
    ),
    Piece("people of the test", "mpii", mpii, ("MPII's test labels", "'test'", "never published"), "test"),
    # MPII's json
    json_piece("fifteen joints", {"joints": [[1.0, 1.0]] * 15}, "record 1", "'joints'", "16 x 2"),
    json_piece("a place in words", {"center": ["here", 2]}, "record 1", "'center'", "finite"),
    json_piece("a flag of 3", {"joints_vis": [3] * 16}, "record 1", "'joints_vis'", "0 or 1"),
    json_piece("no picture's name", {"image": 5}, "record 1", "'image'", "5"),
    json_piece("a negative height", {"scale": -0.5}, "record 1", "'scale'", "above 0"),
    Piece(
        "a dictionary for a list",
        "mpii",
        lambda f: mpii_json(f, {"people": []}),
        ("valid.json", "should hold a list", "a dictionary"),
        "valid",
        {"source": "json"},
    ),
    # COCO
    Piece(
        "a cut .json", "coco", both(coco, cut(f"annotations/{COCO_FILE}")), (COCO_FILE, "no readable JSON"), "val2017"
    ),
    Piece(
        "a list for a dictionary", "coco", lambda f: coco(f, [1]), (COCO_FILE, "should hold a dictionary"), "val2017"
    ),
    Piece(
        "no annotations",
        "coco",
        lambda f: coco(f, {"images": [], "categories": []}),
        (COCO_FILE, "'annotations'"),
        "val2017",
    ),
    Piece(
        "another set's joints",
        "coco",
        lambda f: coco(f, coco_content(categories=[{"id": 1, "keypoints": ["tail"]}])),
        (COCO_FILE, "category 1", "'keypoints'", "tail"),
        "val2017",
    ),
    Piece(
        "an image without height",
        "coco",
        lambda f: coco(f, coco_content(images=[{"id": 7, "file_name": "a.jpg", "height": 0, "width": 3}])),
        (COCO_FILE, "image 7", "'height'", "is 0"),
        "val2017",
    ),
    Piece(
        "two images of one id",
        "coco",
        lambda f: coco(f, coco_content(images=coco_content()["images"][:1] * 2)),
        (COCO_FILE, "image 7", "'id'", "two images"),
        "val2017",
    ),
    coco_piece("fifty numbers", ANNOTATION, "'keypoints'", "is 50 numbers", keypoints=[0] * 50),
    coco_piece("a word among numbers", ANNOTATION, "'keypoints'", "'12'", keypoints=["12"] + [0] * 50),
    coco_piece("v of 3", ANNOTATION, "'keypoints'", "0, 1 or 2", keypoints=[1, 1, 3] + [0] * 48),
    coco_piece("a NaN in the json", ANNOTATION, "'keypoints'", "nan", keypoints=[float("nan")] + [0] * 50),
    coco_piece("a negative width", ANNOTATION, "'bbox'", "negative", bbox=[1, 1, -2, 3]),
    coco_piece("a negative area", ANNOTATION, "'area'", "-4", area=-4),
    coco_piece("an annotation of no image", ANNOTATION, "'image_id'", "is 8", image_id=8),
    coco_piece("a dog", ANNOTATION, "'category_id'", "is 18", category_id=18),
    coco_piece("an id twice", "annotation 2", "'id'", "two annotations", id=2),
    coco_piece("half a crowd", ANNOTATION, "'iscrowd'", "0.5", iscrowd=0.5),
    Piece(
        "a picture of another size",
        "coco",
        both(coco, lambda f: picture(f / "val2017" / "000000000007.jpg", 30, 30)),
        ("000000000007.jpg", "record 7", "30 x 30", "32 x 24"),
        "val2017",
        opened=True,
    ),
    # J-HMDB
    clip_piece("fourteen joints", {"pos_img": spoilt(14, 1.0)}, CLIP, "'pos_img'", "2 x 14 x 3"),
    clip_piece("a joint at infinity", {"pos_img": spoilt(15, np.inf)}, CLIP, "'pos_img'", "joint 4 in frame 2"),
    clip_piece("two scales for three frames", {"scale": np.ones((1, 2))}, CLIP, "'scale'", "3 numbers"),
    clip_piece("no size at all", {"scale": np.zeros((1, 3))}, CLIP, "'scale'", "above 0"),
    Piece(
        "masks of another length",
        "jhmdb",
        both(jhmdb, lambda f: jhmdb_masks(f, np.ones((HEIGHT, WIDTH, 5), dtype=np.uint8))),
        ("puppet_mask.mat", "clip catch/a_ball", "'part_mask'", "has 5 frames"),
    ),
    Piece(
        "a split with an unknown clip",
        "jhmdb",
        both(jhmdb, lambda f: (f / "splits" / "wave_test_split1.txt").write_text("hello.avi 1\nbye.avi 2\n")),
        ("wave_test_split1.txt", "line 2", "'clip'", "'bye'"),
    ),
    Piece(
        "a split of three sides",
        "jhmdb",
        both(jhmdb, lambda f: (f / "splits" / "wave_test_split1.txt").write_text("hello.avi 3\n")),
        ("wave_test_split1.txt", "line 1", "'side'", "hello.avi 3"),
    ),
)


def _segment_piece(title: str, shape: Any, *says: str) -> Piece:
    """COCO with another segment for the first annotation; it shows when the scene is asked for."""
    content = coco_content()
    content["annotations"][0]["segmentation"] = shape
    says = (COCO_FILE, "annotation 1", "'segmentation'", *says)
    return Piece(title, "coco", lambda folder: coco(folder, content), says, "val2017", {"masks": True}, opened=True)


PIECES += (
    _segment_piece("runs of another size", {"size": [HEIGHT, 9], "counts": [1]}, f"[{HEIGHT}, {WIDTH}]"),
    _segment_piece("runs that do not fill it", {"size": [HEIGHT, WIDTH], "counts": [5, 5]}, "cover 10 pixels"),
    _segment_piece("runs cut short", {"size": [HEIGHT, WIDTH], "counts": "0P"}, "middle of a number"),
    _segment_piece("runs in no digits", {"size": [HEIGHT, WIDTH], "counts": "0 0"}, "' '"),
    _segment_piece("a polygon of two corners", [[1, 2, 3, 4]], "three corners"),
)
