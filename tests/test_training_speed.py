"""The table of speeds: every variant trains, ratios are to the first row, and what a machine lacks is said."""

from __future__ import annotations

import math
import re

import pytest
import torch

from course_lib import cli
from course_lib.training import devices, recipes, speed
from course_lib.training.recipes import Recipe

OPTIONS = {"stacks": 1, "width": 8, "depth": 2, "input_size": (32, 32)}
RECIPE = Recipe("little", model="hourglass_course", options=OPTIONS, batch=3)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Compiling takes a minute; that it may fail is tested with the loop."""
    without = {name: switches for name, switches in speed.VARIANTS.items() if not switches.get("compile")}
    monkeypatch.setattr(speed, "VARIANTS", without)
    monkeypatch.setitem(recipes.RECIPES, "little", RECIPE)


def test_the_command_prints_ratios_to_plain_training(capsys):
    assert cli.main(["speed", "little", "--device", "cpu", "--steps", "2"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("little, batches of 3, on cpu")
    assert [row.split("  ")[1] for row in rows] == [*speed.VARIANTS, "as the recipe says, own data"]
    speeds = [float(re.search(r"([\d.]+) images/s", row)[1]) for row in rows if "nan" not in row]
    ratios = [float(re.search(r"([\d.]+) x", row)[1]) for row in rows if "nan" not in row]
    assert ratios[0] == 1
    for images, ratio in zip(speeds, ratios, strict=True):
        assert ratio == pytest.approx(images / speeds[0], abs=0.02, rel=0.02)
    assert re.search(r"waits for data \d+% of the time$", rows[-1])


def test_what_a_device_lacks_is_said_instead_of_imitated(monkeypatch):
    monkeypatch.setattr(devices, "has_bfloat16", lambda device: False)
    rows = list(speed.measure(RECIPE, CPU, steps=1))
    lacking = [row for row in rows if math.isnan(row.images)]
    assert [row.variant for row in lacking] == ["bf16", "bf16, channels_last"]
    assert all("no bfloat16" in row.note for row in lacking)


def test_missing_data_leaves_the_network_s_own_speeds(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setattr("course_lib.paths.PUBLIC", tmp_path)
    mixed = Recipe("mixed", "hourglass_course", OPTIONS, data={"lspet": {}}, batch=2, start="hourglass_synthetic")
    *rows, last = speed.measure(mixed, CPU, steps=1)
    assert all(row.images > 0 for row in rows) and "not on this machine" in last.note
