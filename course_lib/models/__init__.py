"""The learned models by name: `names()` lists them, `create(name)` builds one, `load(name)` brings a trained one.

>>> model = create("hourglass_course", stacks=1, width=32)
>>> poses = model.estimate(image)                              # doctest: +SKIP
"""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.errors import CourseError, unknown_name

if TYPE_CHECKING:
    from course_lib.models.base import PoseModel
    from course_lib.skeletons import Skeleton

# name -> where its builder is; a module is imported when one of its models is asked for
_BUILDERS = {
    "adversarial": "course_lib.models.adversarial:adversarial",
    "adversarial_course": "course_lib.models.adversarial:adversarial_course",
    "alphapose": "course_lib.models.alphapose:alphapose",
    "alphapose_course": "course_lib.models.alphapose:alphapose_course",
    "cpm": "course_lib.models.cpm:cpm",
    "cpm_course": "course_lib.models.cpm:cpm_course",
    "deepcut_course": "course_lib.models.deepcut.network:deepcut_course",
    "deeppose": "course_lib.models.deeppose:deeppose",
    "deeppose_course": "course_lib.models.deeppose:deeppose_course",
    "grmi": "course_lib.models.grmi:grmi",
    "grmi_course": "course_lib.models.grmi:grmi_course",
    "hourglass": "course_lib.models.hourglass:hourglass",
    "hourglass_course": "course_lib.models.hourglass:hourglass_course",
    "hrnet": "course_lib.models.hrnet:hrnet",
    "hrnet_course": "course_lib.models.hrnet:hrnet_course",
    "ief": "course_lib.models.ief:ief",
    "ief_course": "course_lib.models.ief:ief_course",
    "keypoint_rcnn": "course_lib.models.rcnn:keypoint_rcnn",
    "mask_rcnn_course": "course_lib.models.rcnn:mask_rcnn_course",
    "paf": "course_lib.models.paf:paf",
    "paf_course": "course_lib.models.paf:paf_course",
    "person_detector": "course_lib.models.detector:person_detector",
    "pictorial_structures": "course_lib.models.pictorial.structures:PictorialStructures",
    "pose_resnet": "course_lib.models.simple_baseline:pose_resnet",
    "pose_resnet_course": "course_lib.models.simple_baseline:pose_resnet_course",
    "poselet_conditioned": "course_lib.models.pictorial.conditioned:ConditionedPictorialStructures",
    "tompson": "course_lib.models.tompson:tompson",
    "tompson_course": "course_lib.models.tompson:tompson_course",
}


def names() -> list[str]:
    """The models that `create` knows."""
    return sorted(_BUILDERS)


def create(name: str, skeleton: str | Skeleton | None = None, **options) -> PoseModel:
    """Builds a model with fresh weights. Without a skeleton it gets its own usual one (`options(name)` tells).

    What was asked for stays on the model as `model.name` and `model.options`, so that a checkpoint can build it again.
    """
    known = _options(name)
    for option in options:
        if option not in known or option == "skeleton":
            own = ", ".join(key for key in known if key != "skeleton")
            raise CourseError(f"model '{name}' has no option '{option}'; its options are {own}")
    chosen = dict(options) if skeleton is None else {"skeleton": skeleton, **options}
    model = _builder(name)(**chosen)
    model.name, model.options = name, options
    return model


def options(name: str) -> dict[str, object]:
    """A model's options with their defaults."""
    return dict(_options(name))


def load(name: str, path: str | Path | None = None) -> PoseModel:
    """A trained model in eval mode: the shipped checkpoint called `name`, or the one in the file `path`."""
    from course_lib import checkpoints, paths

    file = Path(path) if path is not None else paths.checkpoint(name)
    if not file.is_file():
        if path is not None:
            raise CourseError(f"there is no checkpoint {file}; train one with `python -m course_lib train`")
        raise unknown_name(
            "shipped checkpoint", name, (entry.stem for entry in paths.CHECKPOINTS.glob("*.safetensors"))
        )
    header = checkpoints.read_header(file)
    model = create(header["model"], skeleton=header["skeleton"], **header["options"])
    checkpoints.load_into(file, model)
    return model.eval()


def _builder(name: str):
    if name not in _BUILDERS:
        raise unknown_name("model", name, _BUILDERS)
    module, builder = _BUILDERS[name].split(":")
    return getattr(import_module(module), builder)


def _options(name: str) -> dict[str, object]:
    return {key: parameter.default for key, parameter in inspect.signature(_builder(name)).parameters.items()}
