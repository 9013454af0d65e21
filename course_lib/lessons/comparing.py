"""Comparing a learner's answer with the expected one, and saying in a few words how they differ."""

from __future__ import annotations

import dataclasses
import numbers
from typing import Any

import numpy as np
import torch
from torch import Tensor

_SMALL = 16  # tensors of up to so many elements are shown whole


def describe(value: Any) -> str:
    """A value in a few words: small tensors whole, large ones by shape, numbers with six digits."""
    if isinstance(value, np.ndarray):
        value = torch.as_tensor(value)
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        if value.numel() > _SMALL:
            return f"a tensor {tuple(value.shape)}"
        return _rounded(value.tolist()) if value.ndim else _rounded(value.item())
    if isinstance(value, float):
        return _rounded(value)
    if isinstance(value, list | tuple):
        inside = ", ".join(describe(one) for one in value[:4]) + (", ..." if len(value) > 4 else "")
        return f"({inside})" if isinstance(value, tuple) else f"[{inside}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {describe(one)}" for key, one in list(value.items())[:6]) + "}"
    if isinstance(value, str | int | None):
        return repr(value)
    return f"a {type(value).__name__}"


def difference(got: Any, expected: Any, tolerance: float, place: str = "") -> str | None:
    """What is wrong with `got`, in one to three lines; None where it equals `expected` within the tolerance.

    Tensors, arrays and numbers compare by value, whatever their precision or device; lists, tuples, dicts and
    dataclasses entry by entry; everything else by ==.
    """
    if _is_array(expected):
        return _array_difference(got, expected, tolerance, place)
    at = f"at {place.lstrip('.')}: " if place else ""
    if isinstance(expected, list | tuple):
        if not isinstance(got, list | tuple) or len(got) != len(expected):
            return f"{at}expected {len(expected)} values, {describe(expected)}\ngot {describe(got)}"
        pairs = [(f"{place}[{i}]", one, other) for i, (one, other) in enumerate(zip(got, expected, strict=True))]
    elif isinstance(expected, dict):
        if not isinstance(got, dict) or got.keys() != expected.keys():
            keys = list(got) if isinstance(got, dict) else describe(got)
            return f"{at}expected a dict with keys {list(expected)}\ngot {keys}"
        pairs = [(f"{place}[{key!r}]", got[key], expected[key]) for key in expected]
    elif dataclasses.is_dataclass(expected):
        if type(got) is not type(expected):
            return f"{at}expected {describe(expected)}\ngot {describe(got)}"
        fields = [one.name for one in dataclasses.fields(expected)]
        pairs = [(f"{place}.{name}", getattr(got, name), getattr(expected, name)) for name in fields]
    elif type(expected).__eq__ is object.__eq__ and type(got) is type(expected) and hasattr(expected, "__dict__"):
        return difference(vars(got), vars(expected), tolerance, place)
    else:
        equal = got is expected or (type(got) is type(expected) and got == expected)
        return None if equal else f"{at}expected {describe(expected)}\ngot {describe(got)}"
    return next((wrong for name, one, other in pairs if (wrong := difference(one, other, tolerance, name))), None)


def _array_difference(got: Any, expected: Any, tolerance: float, place: str) -> str | None:
    expected = torch.as_tensor(expected).detach().cpu()
    at = f"at {place.lstrip('.')}: " if place else ""
    try:
        got = torch.as_tensor(got).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        return f"{at}expected {describe(expected)}\ngot {describe(got)}"
    if got.shape != expected.shape:
        return f"{at}expected {_shape(expected)}\ngot {_shape(got)}"
    if got.is_complex() or expected.is_complex():
        return None if torch.equal(got, expected) else f"{at}expected {describe(expected)}\ngot {describe(got)}"
    if expected.dtype == torch.bool and got.dtype != torch.bool:
        return f"{at}expected True or False values\ngot numbers of type {str(got.dtype).removeprefix('torch.')}"
    one, other = got.double(), expected.double()
    off = (one - other).abs().nan_to_num(nan=torch.inf) > tolerance * other.abs().clamp(min=1).nan_to_num()
    off &= ~((one == other) | (one.isnan() & other.isnan()))  # equal infinities, and NaN where NaN is right
    if not bool(off.any()):
        return None
    if got.numel() <= _SMALL:
        return f"{at}expected {describe(expected)}\ngot {describe(got)}"
    worst = ((one - other).abs().nan_to_num(nan=torch.inf) * off).argmax()
    index = [int(i) for i in torch.unravel_index(worst, got.shape)]
    return (
        f"{at}expected {describe(expected[tuple(index)])} at index {index} of {tuple(got.shape)}\n"
        f"got {describe(got[tuple(index)])} there; {int(off.sum())} of {got.numel()} values are off"
    )


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray | np.generic | numbers.Real)


def _shape(value: Tensor) -> str:
    return f"shape {tuple(value.shape)}" if value.ndim else f"the single number {describe(value)}"


def _rounded(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_rounded(one) for one in value) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
