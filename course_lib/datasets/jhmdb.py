"""J-HMDB (Jhuang, Gall, Zuffi, Schmid, Black, ICCV 2013): clips of 21 actions, read as published.

    folder/joint_positions/ACTION/CLIP/joint_positions.mat     pos_img 2 x 15 x T, scale (T), viewpoint
    folder/Rename_Images/ACTION/CLIP/00001.png                 the T frames
    folder/puppet_mask/ACTION/CLIP/puppet_mask.mat             part_mask H x W x T; optional
    folder/splits/ACTION_test_split1.txt                       lines "CLIP.avi 1" (train) or "CLIP.avi 2" (test)
    folder/sub_splits/...                                      the same for sub-JHMDB, where the whole body is seen

Every frame is a scene; `clips` puts those of a clip together. The joints come from a puppet that annotators fitted, so
all 15 are given in every frame, hidden or not, and all count as visible; some lie outside of the picture. Pixels are
counted from 1. Left and right are the person's own. The meaning of the numbers in the split files is that of code
which reads them; the sets' pages were not at hand.

A person's box and area are those of the puppet's mask, and without it the box is that of the joints, a tenth larger on
each side. `scale` in the meta is the puppet's; papers that score by person size use the box's longer side instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_lib.datasets.matlab import looks, read_mat
from course_lib.datasets.records import FROM_ONE, Record, Records, broken, people_of, refusing, sensible
from course_lib.errors import CourseError, unknown_name
from course_lib.pose import VISIBLE, Person
from course_lib.skeletons import JHMDB

SPLITS = ("train", "test", "all")
FOLDS = (1, 2, 3)
TRAIN, TEST = "1", "2"  # in the split files; 0 leaves a clip out, as in the lists of HMDB51, where the clips come from
JOINTS = len(JHMDB)


@dataclass(frozen=True)
class PuppetMask:
    """A frame of a clip's masks, read again when it is asked for: those of all clips would not fit into memory."""

    file: Path
    frame: int  # from 0

    def decode(self) -> Tensor:
        """(H, W) bool."""
        return torch.from_numpy(_masks(self.file)[..., self.frame].copy())


def read(
    folder: str | Path,
    split: str = "train",
    *,
    fold: int = 1,
    sub: bool = False,
    masks: bool = False,
    problems: list[str] | None = None,
) -> Records:
    """Split "train" or "test" of a fold (1, 2 or 3), of sub-JHMDB with `sub`, or "all" frames of all clips."""
    if split not in SPLITS:
        raise unknown_name("split of J-HMDB", split, SPLITS)
    if fold not in FOLDS:
        raise CourseError(f"J-HMDB has the folds 1, 2 and 3; got {fold}")
    folder = Path(folder)
    there = sorted(file.parent for file in folder.glob("joint_positions/*/*/joint_positions.mat"))
    if not there:
        raise CourseError(f"{folder} has no joint_positions/ACTION/CLIP/joint_positions.mat")
    known = {(clip.parent.name, clip.name): clip for clip in there}
    if split == "all":
        wanted = list(known)
    else:
        lists = folder / ("sub_splits" if sub else "splits")
        wanted = _listed(lists, fold, TRAIN if split == "train" else TEST, known, problems)
    entries = []
    for action, clip in wanted:
        with refusing(problems):
            entries += _frames(folder, action, clip, masks)
    return Records("jhmdb", split, JHMDB, entries)


def clips(records: Records) -> list[Records]:
    """The records of each clip by themselves, its frames in order."""
    groups = groupby(records.entries, key=lambda entry: (entry.meta["action"], entry.meta["clip"]))
    return [replace(records, split=f"{records.split}: {name}", entries=list(frames)) for (_, name), frames in groups]


def _listed(
    folder: Path, fold: int, side: str, known: dict[tuple[str, str], Path], problems: list[str] | None
) -> list[tuple[str, str]]:
    """(action, clip) of the clips that a fold's files put on this side."""
    files = sorted(folder.glob(f"*_test_split{fold}.txt")) or sorted(folder.glob(f"*_test_split_{fold}.txt"))
    if not files:
        raise CourseError(f"{folder} has no ACTION_test_split{fold}.txt")
    found = []
    for file in files:
        action = file.name.rsplit("_test_split", 1)[0]
        for place, line in enumerate(file.read_text(encoding="utf-8").strip().splitlines(), 1):
            with refusing(problems):
                clip, clip_side = _line(file, place, line)
                if (action, clip) not in known:
                    raise broken(file, f"line {place}", "clip", f"there are no joints of '{clip}' under '{action}'")
                if clip_side == side:
                    found.append((action, clip))
    return found


def _line(file: Path, place: int, line: str) -> tuple[str, str]:
    """Clip and side of a line such as 'catch_a_ball.avi 1'; names of clips hold no spaces."""
    parts = line.split()
    if len(parts) != 2 or parts[1] not in ("0", TRAIN, TEST):
        raise broken(file, f"line {place}", "side", f"should be 'CLIP.avi 1' or 'CLIP.avi 2', but is '{line}'")
    return parts[0].removesuffix(".avi"), parts[1]


def _frames(folder: Path, action: str, clip: str, masks: bool) -> list[Record]:
    """A record for each frame of a clip."""
    who = f"clip {action}/{clip}"
    file = folder / "joint_positions" / action / clip / "joint_positions.mat"
    variables = read_mat(file, "pos_img", "scale")
    joints = _positions(file, who, np.asarray(variables["pos_img"]))  # (T, 15, 2)
    count = len(joints)
    scale = np.atleast_1d(np.asarray(variables["scale"]))
    if scale.dtype.kind not in "fiu" or scale.shape != (count,) or not (sensible(scale) & (scale > 0)).all():
        raise broken(file, who, "scale", f"should be {count} numbers above 0, one a frame, but is {str(scale)[:60]}")
    people = people_of(joints, np.full((count, JOINTS), VISIBLE), JHMDB, FROM_ONE)
    puppet = folder / "puppet_mask" / action / clip / "puppet_mask.mat"
    size = None
    if puppet.is_file():
        segments = _masks(puppet)
        if segments.shape[-1] != count:
            says = f"has {segments.shape[-1]} frames, but the clip's joints have {count}"
            raise broken(puppet, who, "part_mask", says)
        size = segments.shape[:2]
        people = [_outlined(person, segments[..., frame]) for frame, person in enumerate(people)]
    view = str(variables.get("viewpoint", ""))
    pictures = folder / "Rename_Images" / action / clip
    return [
        Record(
            pictures / f"{frame + 1:05d}.png",
            [person],
            f"{action}/{clip}/{frame + 1:05d}",
            {"action": action, "clip": clip, "frame": frame + 1, "scale": float(scale[frame]), "viewpoint": view},
            size,
            [PuppetMask(puppet, frame)] if masks and size else (),
        )
        for frame, person in enumerate(people)
    ]


def _positions(file: Path, who: str, joints: np.ndarray) -> np.ndarray:
    """(T, 15, 2) from pos_img."""
    if joints.ndim == 2:  # a clip of one frame: its last axis, of length one, was left out
        joints = joints[..., None]
    if joints.dtype.kind not in "fiu" or joints.ndim != 3 or joints.shape[:2] != (2, JOINTS):
        raise broken(file, who, "pos_img", f"should be numbers, 2 x {JOINTS} x frames, but is {looks(joints)}")
    if not sensible(joints).all():
        frame, joint = np.argwhere(~sensible(joints).all(0).T)[0].tolist()
        raise broken(file, who, "pos_img", f"has no place for joint {joint} in frame {frame + 1}")
    return joints.transpose(2, 1, 0).astype(np.float64)


@lru_cache(maxsize=2)  # frames of a clip are asked for one after the other
def _masks(file: Path) -> np.ndarray:
    """(H, W, T) bool, True on the puppet."""
    masks = np.asarray(read_mat(file, "part_mask")["part_mask"])
    if masks.ndim == 2:
        masks = masks[..., None]
    if masks.ndim != 3 or masks.dtype.kind not in "uib":
        who = f"clip {file.parent.parent.name}/{file.parent.name}"
        raise broken(file, who, "part_mask", f"should be whole numbers, H x W x frames, but is {looks(masks)}")
    return masks > 0


def _outlined(person: Person, mask: np.ndarray) -> Person:
    """The person with the box and the area of a mask (H, W); an empty one changes nothing."""
    if not mask.any():
        return person
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    box = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=torch.float32)
    return replace(person, box=box, area=float(mask.sum()))
