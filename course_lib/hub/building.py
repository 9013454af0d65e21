"""From a published state dict to a model of the course: recognised, translated, all in its place, or refused."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from course_lib.errors import CourseError
from course_lib.hub import layouts
from course_lib.hub.cards import Card
from course_lib.hub.layouts import State
from course_lib.models.layers import Standardise

if TYPE_CHECKING:
    from course_lib.models.base import PoseModel

# colours as networks were trained to see them, from RGB in [0, 1]
PIXELS = {
    "imagenet": lambda: Standardise(),
    # blue first, byte / 256 - 1/2
    "caffe": lambda: Standardise((128 / 255,) * 3, (256 / 255,) * 3, blue_first=True),
}


def build(card: Card, state: State, file: Path) -> PoseModel:
    """The card's model in eval mode with these tensors; nothing missing, nothing left over."""
    model = empty(card)
    model.load_state_dict(fitting(card, state, file, model.state_dict()), strict=card.covers == ("",))
    return model.eval()


def begin(card: Card, state: State, file: Path, model: PoseModel) -> None:
    """Gives a model what these tensors cover of it; the rest stays as it is."""
    if model.name != card.builder:
        raise CourseError(f"'{card.name}' is for '{card.builder}', and '{model.name}' cannot begin from it")
    model.load_state_dict(fitting(card, state, file, model.state_dict()), strict=card.covers == ("",))


def fitting(card: Card, state: State, file: Path, own: State) -> State:
    """These tensors by the names of `own`, a model's, of which they are all that the card covers."""
    state = layouts.without_prefixes(state)
    layout = layouts.recognise(state)
    if layout is None:
        raise CourseError(
            f"'{file}' holds {len(state)} tensors such as '{next(iter(state))}', which is no layout known here; "
            f"'{card.name}' should be {card.what}"
        )
    found = layout.describe(state)
    translated = _with_counters(layout.translate(state), own)
    if problems := _problems(card, translated, own):
        if found == card.what:
            raise CourseError(f"'{file}' looks like {found}, as '{card.name}' should be, but it {problems}")
        raise CourseError(f"'{file}' looks like {found}, but '{card.name}' is {card.what}: the file {problems}")
    if found != card.what:
        raise CourseError(f"'{file}' looks like {found}, but '{card.name}' is {card.what}")
    return translated


def empty(card: Card) -> PoseModel:
    """The card's model with weights by chance."""
    from course_lib import models

    if ":" in card.builder:
        module, builder = card.builder.split(":")
        model = getattr(import_module(module), builder)(**card.options)
    else:
        model = models.create(card.builder, **card.options)
    model.name, model.options = f"hub:{card.name}", dict(card.options)
    if card.alignment != "cells":
        model.alignment = card.alignment
    if card.pixels:
        model.standardise = PIXELS[card.pixels]()
    return model


def _with_counters(state: State, own: State) -> State:
    """Normalisations that were saved before torch counted their batches get a counter, which no answer depends on."""
    counters = {
        name: torch.zeros((), dtype=torch.long)
        for name in own
        if name.endswith("num_batches_tracked")
        and name not in state
        and name.replace("num_batches_tracked", "running_var") in state
    }
    return {**state, **counters}


def _problems(card: Card, state: State, own: State) -> str:
    """What is missing, left over or of another shape, in words; empty where all is well."""
    wanted = {name for name in own if name.startswith(card.covers)}
    said = []
    if missing := [name for name in own if name in wanted and name not in state]:
        said.append(f"lacks {_some(missing)}")
    if extra := [name for name in state if name not in wanted]:
        said.append(f"has {_some(extra)} besides")
    wrong = [name for name in own if name in wanted and name in state and state[name].shape != own[name].shape]
    if wrong:
        there, right = (tuple(tensors[wrong[0]].shape) for tensors in (state, own))
        more = f", and {len(wrong) - 1} more of other shapes" if len(wrong) > 1 else ""
        said.append(f"has '{wrong[0]}' of shape {there} instead of {right}{more}")
    return ", and it ".join(said)


def _some(names: list[str]) -> str:
    return f"'{names[0]}'" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
