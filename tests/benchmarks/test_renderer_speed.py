"""How fast people are drawn: crops a second, the ratio to the obvious renderer, and the share of live training."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
import torch

from course_lib import training
from course_lib.datasets import synthetic
from course_lib.datasets.synthetic import renderer, world
from course_lib.datasets.synthetic.draw import Draw, generator_for

sys.path.insert(0, str(Path(__file__).parents[1]))
from naive_renderer import render_naively

COUNT = 64


def _shapes() -> tuple:
    cast = world.people_in_crops(Draw(generator_for("speed")), COUNT, (128, 128), world.Settings())
    joints, frames = cast.joints()
    people = world.dress(cast.body, joints, frames, cast.wear, cast.image, torch.arange(len(joints)))
    shapes = world.Shapes.cat([people, cast.things]).to("cpu", torch.float32)
    return shapes, cast.cameras.float(), cast.lights.float(), cast.size


def _seconds(function, *arguments, repeat: int = 1) -> float:
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        function(*arguments)
        best = min(best, time.perf_counter() - start)
    return best


@pytest.mark.benchmark(group="renderer")
def test_crops_a_second(benchmark):
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)  # the tests' own setting is one
    crops = synthetic.stream(COUNT, seed=0)
    next(crops)
    made = benchmark.pedantic(lambda: next(crops), rounds=8)
    torch.set_num_threads(1)
    assert made.images.shape == (COUNT, 3, 128, 128)
    print(f"\n{COUNT / benchmark.stats.stats.min:.0f} crops of 128 x 128 a second, {threads} threads")


@pytest.mark.benchmark(group="renderer")
def test_ratio_to_the_obvious_renderer(benchmark):
    """The same pictures by one full-frame pass a limb: shapes only, without background and camera."""
    arguments = _shapes()
    benchmark.pedantic(renderer.render, args=arguments, rounds=5)
    slow = _seconds(render_naively, *arguments)
    fast = benchmark.stats.stats.min
    assert fast < slow
    print(f"\nfull frame a limb {slow:.1f} s, here {fast:.3f} s: {slow / fast:.0f} x")


@pytest.mark.benchmark(group="renderer")
def test_share_of_live_training(benchmark):
    trained = benchmark.pedantic(lambda: training.train("hourglass_live", progress=False), rounds=1, iterations=1)
    assert trained.data_share() < 0.5
    print(f"\nrendering takes {trained.data_share():.0%} of live training")
