"""COCO's protocol here against pycocotools, on the 1,000 generated pictures of the tests. Prints ratios."""

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
    """Least seconds of CPU: what else runs on the machine counts little."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def test_keypoint_ap(benchmark, data):
    """From parsed dictionaries to the ten numbers; pycocotools starts from what it has already loaded and indexed."""
    evaluator = official(*data)
    baseline, loading = best_time(lambda: run(evaluator)), best_time(lambda: official(*data), 1)
    benchmark.pedantic(metrics.coco_keypoint_ap, data, rounds=10, warmup_rounds=2)
    ours = best_time(lambda: metrics.coco_keypoint_ap(*data), 15)
    assert ours < baseline
    benchmark.extra_info["times as fast as pycocotools"] = round(baseline / ours, 1)
    print(
        f"\npycocotools, {PICTURES} pictures: evaluate + accumulate {baseline:.3f} s, loading before it {loading:.3f} s"
    )
    print(f"here, from the same dictionaries: {ours:.3f} s, {baseline / ours:.1f} times as fast")
