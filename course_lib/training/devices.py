"""Which device computes, in which precision, and how long it takes there."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from course_lib.errors import CourseError


def choose(device: str | torch.device = "auto") -> torch.device:
    """'auto' is cuda, then mps, then cpu. A device that this machine lacks is refused."""
    if str(device) == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(name)
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise CourseError(f"this machine cannot compute on device '{device}' ({reason}); try 'auto' or 'cpu'") from None
    return chosen


def describe(device: torch.device) -> str:
    """The device in a few words, as checkpoints and tables name it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself, rather than imitating it slowly."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()
        return any(value for name, value in capabilities.items() if "bf16" in name)
    return False


def precision_on(device: torch.device, wanted: str) -> str:
    """'bf16' or 'fp32'. 'auto' takes bf16 on GPUs only, so that a CPU gives the digits of plain arithmetic."""
    if wanted == "fp32" or (wanted == "auto" and device.type == "cpu"):
        return "fp32"
    return "bf16" if has_bfloat16(device) else "fp32"


def autocast(device: torch.device, precision: str) -> Any:
    """The context in which a network computes in this precision."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def to_float(outputs: Any) -> Any:
    """Every floating tensor in nested lists, tuples and dicts as float32, since losses need more than 8 bits."""
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.is_floating_point() else outputs
    if isinstance(outputs, dict):
        return {key: to_float(value) for key, value in outputs.items()}
    if isinstance(outputs, tuple) and hasattr(outputs, "_fields"):
        return type(outputs)(*(to_float(value) for value in outputs))
    if isinstance(outputs, list | tuple):
        return type(outputs)(to_float(value) for value in outputs)
    return outputs


class Clock:
    """Measures stretches of work without making a GPU wait: `mark()` now, `seconds(a, b)` later."""

    def __init__(self, device: torch.device) -> None:
        self.events = device.type == "cuda"

    def mark(self) -> Any:
        if not self.events:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, first: Any, last: Any) -> float:
        """Time between two marks; waits until the device has reached the last."""
        if not self.events:
            return last - first
        last.synchronize()
        return first.elapsed_time(last) / 1000
