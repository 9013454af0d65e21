"""Whose boxes a two-stage system works with: its own detector's, any other's, those of a file, or the true ones.

    --detector NAME                  one of the course's: person_detector, mask_rcnn_course
    --detector torchvision:NAME      one of torchvision's, with --detector-weights FILE, its state dict
    --detector hub:keypoint_rcnn     torchvision's weights, downloaded
    --boxes FILE                     a list as in COCO's results: image_id, bbox [x, y, width, height], score

A top-down model asks that detector instead of its own; a single-person model is put behind it.
"""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError, unknown_name

if TYPE_CHECKING:
    import torch

    from course_lib.models.detector import Detector
    from course_lib.training.evaluate import Estimator

OWN = "person_detector"  # what top-down models ask unless they are told otherwise
FOREIGN = "torchvision:"


def add_options(parser: argparse.ArgumentParser, people: Any) -> None:
    """--detector, among the options `people` that exclude each other, and --detector-weights."""
    people.add_argument(
        "--detector",
        metavar="NAME",
        help=f"who finds the people for a model that looks at one at a time: {OWN}, mask_rcnn_course, or "
        f"{FOREIGN}NAME, such as {FOREIGN}fasterrcnn_resnet50_fpn",
    )
    parser.add_argument(
        "--detector-weights", type=Path, metavar="FILE", help="its weights, instead of the shipped ones"
    )


def given(arguments: argparse.Namespace) -> Detector | None:
    """The detector that was asked for, on the model's device; None where none was."""
    from course_lib.training import devices

    if arguments.detector is None:
        if arguments.detector_weights:
            raise CourseError("--detector-weights needs a --detector that they are for")
        return None
    return load(arguments.detector, arguments.detector_weights, devices.choose(arguments.device))


def load(name: str, weights: Path | None = None, device: torch.device | str = "cpu") -> Detector:
    """A detector by name: one of the course's with its shipped weights, or torchvision's with those of a file."""
    from course_lib import hub, models

    if name.startswith(FOREIGN):
        return _of_torchvision(name.removeprefix(FOREIGN), weights, device)
    if name.startswith(hub.PREFIX):
        detector = hub.load(name.removeprefix(hub.PREFIX), weights, progress=True)
    else:
        detector = models.load(name, weights)
    if not hasattr(detector, "detect"):
        raise CourseError(f"'{name}' finds no boxes; detectors are {OWN}, mask_rcnn_course and {FOREIGN}NAME")
    return detector.to(device)


def plugged(model: Estimator, detector: Detector) -> Estimator:
    """A model that finds everybody in the boxes of this detector."""
    from course_lib.training import crowds

    if crowds.finds_boxes(model):
        raise CourseError(f"{_name(model)} is a detector itself; give it as --detector beside a model that finds poses")
    if crowds.takes_boxes(model):
        model.detector = detector
        return model
    return crowds.Detected(model, detector)


def words(model: Estimator, name: str, weights: Path | None = None) -> str:
    """What is said of scores with this detector; nothing for a top-down model's own."""
    from course_lib.training import crowds

    if name == OWN and weights is None:
        return "" if crowds.takes_boxes(model) else crowds.Detected.told
    return f"{crowds.Detected.told} by {name}{f' ({weights.stem})' if weights else ''}"


def _name(model: Any) -> str:
    return getattr(model, "name", "") or type(model).__name__


def _of_torchvision(name: str, weights: Path | None, device: torch.device | str) -> Detector:
    import torch
    from torchvision.models import detection, get_model, list_models

    from course_lib.models.detector import TorchvisionDetector

    if name not in (known := list_models(module=detection)):
        raise unknown_name("detection network of torchvision", name, known)
    if weights is None:
        raise CourseError(f"{FOREIGN}{name} comes without weights: name the file of its state dict, --detector-weights")
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CourseError(f"the weights '{weights}' cannot be read: {error.strerror or error}") from None
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError):
        raise CourseError(f"'{weights}' holds no state dict that torch can read without running code") from None
    network = get_model(name, weights=None, weights_backbone=None)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError):
        raise CourseError(f"'{weights}' holds other weights than those of torchvision's {name} for COCO") from None
    return TorchvisionDetector(network.to(device))
