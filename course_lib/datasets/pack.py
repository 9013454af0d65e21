"""A data set of single people made small enough to carry to a machine that lends a GPU for minutes.

Every picture is cut down to the crop that training keeps of it anyway (`pool`) and written again in LSP-extended's own
layout, numbers kept, so that `lsp.read_extended` reads the copy as it reads the original, split for split.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image
from torch import Tensor

from course_lib import checkpoints
from course_lib.datasets import pool
from course_lib.datasets.records import Records
from course_lib.errors import CourseError
from course_lib.progress import progress_bar
from course_lib.skeletons import LSP


def pack(records: Records, folder: Path, side: int, quality: int, progress: bool = False) -> int:
    """Writes joints.mat and images.tar, to be put beside each other on the other machine; returns their bytes.

    Who cannot be learned from keeps a number without labels, and no picture.
    """
    if records.skeleton is not LSP or any(len(entry.people) != 1 for entry in records.entries):
        raise CourseError(f"only a data set of one person a picture in LSP's joints can be packed, not {records.name}")
    if not 32 <= side <= 1024 or not 1 <= quality <= 95:
        raise CourseError(f"the side should lie in [32, 1024] and the quality in [1, 95]; got {side} and {quality}")
    able = [entry for entry in records.entries if pool.learnable(entry.people[0])]
    table = np.zeros((len(LSP), 3, max((int(entry.id) for entry in records.entries), default=0)))
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for entry in progress_bar(able, desc="packing", wanted=progress):
            number = int(entry.id)
            image, person = pool.cut(entry.scene(), entry.people[0], (side, side))
            table[:, :2, number - 1] = person.joints + 0.5  # the file counts pixels from 1
            table[:, 2, number - 1] = person.visible > 0
            picture = _jpeg(image, quality)
            member = tarfile.TarInfo(f"images/im{number:05d}.jpg")
            member.size = len(picture)
            tar.addfile(member, io.BytesIO(picture))
    joints = io.BytesIO()
    scipy.io.savemat(joints, {"joints": table}, do_compression=True)
    for name, content in (("joints.mat", joints), ("images.tar", archive)):
        checkpoints.write_atomically(folder / name, lambda file, content=content: file.write(content.getbuffer()))
    return sum((folder / name).stat().st_size for name in ("joints.mat", "images.tar"))


def _jpeg(image: Tensor, quality: int) -> bytes:
    """A picture (3, H, W) uint8."""
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, format="jpeg", quality=quality)
    return file.getvalue()
