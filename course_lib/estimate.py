"""`python -m course_lib estimate`: the poses on a photograph, or on folders full of them.

Photographs are read, answered and drawn a few at a time, so that memory does not grow with their number. One that
cannot be read is reported and skipped; whatever is finished stays, also after Ctrl-C. The exit status is 0 if all were
done, 1 if some were skipped, 2 if nothing could be done, and 128 + n after signal n (130 for Ctrl-C).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from course_lib import checkpoints, detectors, hub, images, paths
from course_lib.errors import CourseError
from course_lib.photographs import PERSON, SUFFIXES, Photo, distinct, find_photos, give_boxes
from course_lib.progress import progress_bar

if TYPE_CHECKING:
    from torch import Tensor

    from course_lib.models.base import PoseModel
    from course_lib.models.detector import Detector
    from course_lib.pose import Pose
    from course_lib.training.evaluate import Estimator

PHOTOS_AT_ONCE = 8
PEOPLE_AT_ONCE = 32  # or as soon as they have so many boxes
PIXELS_AT_ONCE = 12_000_000  # or so many pixels: one photograph of a good camera
DRAWN_SIDE = 800  # pixels of the longer side of a drawing, at least
DRAWN_SHORT_SIDE = 10  # pixels of the shorter side, at least
QUALITY = {"PNG": {"compress_level": 4}, "JPEG": {"quality": 90}}  # level 6 takes twice the time to save another 5 %
PAGE = 8.0  # inches of the longer side: lines measured in points then have the same share of every drawing


def add_parsers(subparsers: Any) -> None:
    """Adds the command to what `ArgumentParser.add_subparsers` gave."""
    parser = subparsers.add_parser(
        "estimate",
        help="find the person on photographs and draw the pose",
        description="Estimates the poses on photographs. Models of many people (paf_course, deepcut_course, "
        "alphapose_course, grmi_course, mask_rcnn_course) look for everybody. A model of one person looks for nobody: "
        "without a box, one person is assumed to fill the whole picture, so where somebody fills only a part of it, "
        "give --box or --boxes, or a --detector that finds them. Exit status: 0 all done, 1 some photographs were "
        "skipped, 2 nothing could be done, 130 interrupted (what is done stays).",
    )
    parser.add_argument("photos", type=Path, nargs="+", metavar="PHOTO", help="a picture, or a folder with all in it")
    add_model_options(parser)
    people = parser.add_mutually_exclusive_group()
    corners = ("X0", "Y0", "X1", "Y1")
    people.add_argument("--box", type=float, nargs=4, metavar=corners, help="where the person is on one photograph")
    people.add_argument(
        "--boxes",
        type=Path,
        help='people\'s boxes as in COCO: a JSON list of {"image_id" or "file_name", "bbox": [x, y, width, height]}; '
        "entries of a category_id other than 1, a person, are left out. Every box is answered with a pose; only a "
        'model that looks at boxes to find everybody takes those with a "score" for a detector\'s, and drops doubles',
    )
    detectors.add_options(parser, people)
    drawings = parser.add_mutually_exclusive_group()
    drawings.add_argument("--out", type=Path, help="the drawing (PHOTO_pose.png); for several, their folder (poses)")
    drawings.add_argument("--no-drawings", action="store_true", help="only write --json")
    parser.add_argument("--json", type=Path, help="also write the poses in the format of COCO results")
    parser.set_defaults(func=estimate)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options that say which model answers, and how; `load_model` reads them."""
    parser.add_argument(
        "--model",
        default="hourglass_course",
        help="name of a shipped model (%(default)s), or hub:NAME for weights that their authors published",
    )
    parser.add_argument("--checkpoint", type=Path, help="a file with weights, instead of those shipped or published")
    parser.add_argument(
        "--flip", action=argparse.BooleanOptionalAction, help="average with the answer to the mirrored picture"
    )
    parser.add_argument("--device", default="auto", help="auto (the default), cuda, mps or cpu")


def load_model(arguments: argparse.Namespace) -> tuple[PoseModel, Path]:
    """The model that was asked for, on its device, and the file its weights are from."""
    from course_lib import models
    from course_lib.training import devices

    device = devices.choose(arguments.device)
    if arguments.model.startswith(hub.PREFIX):
        name = arguments.model.removeprefix(hub.PREFIX)
        file = arguments.checkpoint or hub.fetch(name, progress=True)
        return hub.load(name, file).to(device), file
    model = models.load(arguments.model, arguments.checkpoint).to(device)
    return model, arguments.checkpoint or paths.checkpoint(arguments.model)


def estimate(arguments: argparse.Namespace) -> int:
    """Draws the poses on every photograph and writes them down."""
    many = len(arguments.photos) > 1 or arguments.photos[0].is_dir()
    _check(arguments, many)
    out = arguments.out or (Path("poses") if many else None)
    photos, problems = find_photos(arguments.photos, apart=out if many and not arguments.no_drawings else None)
    for problem in problems:
        _complain(problem)
    if not photos:
        return 2
    if not arguments.no_drawings:
        _name_drawings(photos, out, many)
    if arguments.box:
        photos[0].boxes = [arguments.box]
    scored = give_boxes(photos, arguments.boxes) if arguments.boxes else False
    done, stopped = _estimate_all(photos, _model(arguments), arguments, many, scored)
    if done:
        _tell(photos, out, arguments.json, done, many)
    if stopped:
        _complain(f"stopped by {stopped} after {done} of {len(photos)} photographs")
        return 128 + getattr(signal, stopped)
    if many and done < len(photos):
        print(f"skipped: {len(photos) - done} of {len(photos)} photographs")
    return 2 if not done else int(done < len(photos) or bool(problems))


def draw(picture: Tensor, poses: Sequence[Pose], kind: str = "PNG") -> bytes:
    """A picture (3, H, W) with poses over it as an image file; small pictures are enlarged to tell limbs apart."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    from course_lib import show

    height, width = picture.shape[-2:]
    larger = max(1.0, DRAWN_SIDE / max(height, width))
    size = [max(round(larger * side), DRAWN_SHORT_SIDE) for side in (width, height)]
    photo = Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
    photo = photo.resize(size, Image.Resampling.BICUBIC)
    dpi = max(size) / PAGE
    figure = Figure(figsize=[(side + 0.01) / dpi for side in size], dpi=dpi, facecolor="none")  # rounded down to size
    canvas = FigureCanvasAgg(figure)
    ax = figure.add_axes((0, 0, 1, 1), facecolor="none")
    show.image_axes(ax, height, width)
    ax.set_aspect("auto")  # a very narrow picture is stretched
    for pose in poses:
        show.draw_pose(ax, pose, fade=True)
    canvas.draw()
    overlay = Image.fromarray(np.asarray(canvas.buffer_rgba()))
    photo.paste(overlay, mask=overlay)
    drawing = io.BytesIO()
    photo.save(drawing, kind, **QUALITY[kind])
    return drawing.getvalue()


def coco_result(image_id: int | str, pose: Pose) -> dict[str, Any]:
    """One entry of a COCO results file; COCO counts from the centre of the first pixel, we from its corner."""
    numbers = []
    for (x, y), score in zip((pose.joints - 0.5).tolist(), pose.scores.tolist(), strict=True):
        numbers += [round(x, 2), round(y, 2), round(score, 4)]
    return {"image_id": image_id, "category_id": PERSON, "keypoints": numbers, "score": round(pose.score, 4)}


# --- the run ----------------------------------------------------------------------------------------------------------


def _estimate_all(
    photos: Sequence[Photo], model: Estimator, arguments: argparse.Namespace, many: bool, scored: bool
) -> tuple[int, str]:
    """How many photographs were done, and the signal that ended it early, if one did."""
    from course_lib.training.signals import Signals

    results, done = [], 0
    with Signals("photograph") as signals:
        try:
            with progress_bar(total=len(photos), desc="poses", unit="photo", wanted=many) as bar:
                for batch in _batches(photos, bar):
                    for (photo, picture), poses in zip(batch, _poses(batch, model, arguments, scored), strict=True):
                        if photo.drawing:
                            _write(photo.drawing, draw(picture, poses, _kind(photo.drawing)))
                        results += [coco_result(photo.image_id, pose) for pose in poses]
                        done += 1
                        bar.update()
                        if signals.caught:
                            return done, signals.caught
        finally:
            if arguments.json and done:
                _write(arguments.json, json.dumps(results, indent=1).encode())
    return done, signals.caught


def _model(arguments: argparse.Namespace) -> Estimator:
    """The model that was asked for, behind the detector that was."""
    from course_lib.training import crowds

    model, _ = load_model(arguments)
    if crowds.finds_boxes(model):
        raise CourseError(
            f"'{arguments.model}' finds boxes and no poses; give it as --detector beside a model that finds poses"
        )
    detector = detectors.given(arguments)
    return detectors.plugged(model, detector) if detector else model


def _poses(
    batch: Sequence[tuple[Photo, Tensor]], model: Estimator, arguments: argparse.Namespace, scored: bool
) -> list[list[Pose]]:
    """The poses on each of a few photographs: in their boxes, if they were given some."""
    from course_lib.training import crowds

    photos, pictures = zip(*batch, strict=True)
    if scored and crowds.takes_boxes(model):
        model = detectors.plugged(model, _as_found(photos))
    elif arguments.box or arguments.boxes:
        boxes = [photo.boxes for photo in photos]
        if crowds.takes_boxes(model):
            boxes = [own or [] for own in boxes]  # of whom the file says nothing
        return model.estimate(list(pictures), boxes=boxes, flip_test=arguments.flip)
    return model.estimate(list(pictures), flip_test=arguments.flip)


def _as_found(photos: Sequence[Photo]) -> Detector:
    """The boxes of a file as what a detector says of these photographs; nobody where it says nothing."""
    import torch

    from course_lib.models.detector import GivenBoxes, surest_first

    boxes = [torch.tensor(photo.boxes or [], dtype=torch.float32).reshape(-1, 4) for photo in photos]
    return GivenBoxes([surest_first(own, torch.tensor(p.scores)) for own, p in zip(boxes, photos, strict=True)])


def _batches(photos: Sequence[Photo], bar: tqdm) -> Iterator[list[tuple[Photo, Tensor]]]:
    """A few photographs at a time, always in the same list, so that the last few are gone before the next are read."""
    batch = []
    for photo in photos:
        try:
            batch.append((photo, _read(photo.file)))
        except CourseError as error:
            _complain(str(error))
            bar.update()
        people = sum(1 if one.boxes is None else len(one.boxes) for one, _ in batch)
        pixels = sum(picture[0].numel() for _, picture in batch)
        if len(batch) == PHOTOS_AT_ONCE or people >= PEOPLE_AT_ONCE or pixels >= PIXELS_AT_ONCE:
            yield batch
            batch.clear()
    if batch:
        yield batch


def _read(file: Path) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow says of a damaged file before it gives up; the error says enough
        return images.read(file)


def _write(file: Path, content: bytes) -> None:
    checkpoints.write_atomically(file, lambda opened: opened.write(content))


def _complain(sentence: str) -> None:
    tqdm.write(f"course_lib: {sentence}", file=sys.stderr)  # above the bar


def _tell(photos: Sequence[Photo], out: Path | None, poses: Path | None, done: int, many: bool) -> None:
    if photos[0].drawing:
        print(f"drawings: {out} ({done})" if many else f"drawing: {photos[0].drawing}")
    if poses:
        print(f"poses: {poses}" if many else f"pose: {poses}")


# --- what was given ---------------------------------------------------------------------------------------------------


def _check(arguments: argparse.Namespace, many: bool) -> None:
    if many and arguments.box:
        raise CourseError("--box is for a single photograph; for several, give a list of boxes with --boxes")
    if arguments.no_drawings and not arguments.json:
        raise CourseError("with --no-drawings nothing would be written; name a file for the poses with --json")
    if arguments.json and arguments.json.is_dir():
        raise CourseError(f"--json should be a file, but '{arguments.json}' is a folder")
    out = arguments.out
    if many and out and (out.is_file() or out.suffix.lower() in SUFFIXES):
        raise CourseError(f"--out should be a folder where there are several photographs, but '{out}' is a file")


def _name_drawings(photos: Sequence[Photo], out: Path | None, many: bool) -> None:
    """Mirrors the photographs' folders below `out`; a single drawing is `out` itself."""
    if many:
        names = distinct([(str(photo.relative.with_suffix("")), str(photo.relative)) for photo in photos])
        for photo, name in zip(photos, names, strict=True):
            photo.drawing = out / f"{name}_pose.png"
    else:
        name = f"{photos[0].file.stem}_pose.png"
        photos[0].drawing = out / name if out and out.is_dir() else out or Path(name)
    originals = {os.path.realpath(photo.file) for photo in photos}
    for photo in photos:
        if os.path.realpath(photo.drawing) in originals:
            raise CourseError(f"the drawing '{photo.drawing}' would replace a photograph; name another place by --out")


def _kind(drawing: Path) -> str:
    return "JPEG" if drawing.suffix.lower() in (".jpg", ".jpeg") else "PNG"
