"""Human pose estimation, from pictorial structures to HRNet: the library behind the course's notebooks.

    >>> import course_lib
    >>> model = course_lib.models.load("hourglass_course")  # loads torch and the model only now
    >>> poses = model.estimate(photo)

A submodule is imported when it is first touched, so that `import course_lib` costs next to nothing.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

__version__ = "0.1.0"


def _submodules() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]


def __getattr__(name: str) -> ModuleType:
    if name.startswith("_") or name not in _submodules():
        raise AttributeError(f"module 'course_lib' has no attribute '{name}'")
    return importlib.import_module(f"course_lib.{name}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_submodules()])
