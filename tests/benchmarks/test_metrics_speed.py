"""COCO's protocol here against pycocotools, on the 1,000 generated pictures of the tests. Prints the ratio."""

from __future__ import annotations

import time

import pytest
from generated_coco import generate, official, run

from course_lib import metrics

PICTURES = 1000


@pytest.fixture(scope="module")
def data():
    return generate(PICTURES, seed=7)


def best_time(function, rounds: int = 3) -> float:
    """Least seconds of CPU: other programs on the machine do not count."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def test_keypoint_ap(benchmark, data):
    """From parsed dictionaries to all ten numbers; pycocotools starts from its own loaded and indexed objects."""
    evaluator = official(*data)
    baseline = best_time(lambda: run(evaluator))
    loading = best_time(lambda: official(*data), 1)
    benchmark.pedantic(metrics.coco_keypoint_ap, data, rounds=15, warmup_rounds=2)
    ours = best_time(lambda: metrics.coco_keypoint_ap(*data), 15)
    benchmark.extra_info["times faster than pycocotools"] = round(baseline / ours, 1)
    print(
        f"\nAP of {PICTURES} pictures: pycocotools evaluate + accumulate {baseline:.3f} s (and {loading:.3f} s to "
        f"load), here {ours:.3f} s from dictionaries: {baseline / ours:.1f} times faster"
    )
