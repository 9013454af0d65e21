"""The synthetic world: endless, seeded, licence-free people with exact truth.

    batch = synthetic.crops(64, seed=0)                     # 64 crops around one person each, as a Batch
    for batch in synthetic.stream(64, seed=1): ...          # endless training batches
    for crowd in synthetic.crowds(16, seed=1): ...          # endless training pictures of many people
    scenes = synthetic.scenes(10, seed=0, people=(1, 12))   # pictures with many people, as Scenes
    frames = synthetic.clip("walk", seed=3)                 # a short film of one motion
    scenes = synthetic.benchmark("single-val")              # the course's fixed test sets

The same seed gives the same people on every machine and device; pixels agree up to the rounding of the processor.
"""

from course_lib.datasets.synthetic.export import to_coco
from course_lib.datasets.synthetic.motions import MOTIONS
from course_lib.datasets.synthetic.sets import (
    BENCHMARKS,
    benchmark,
    clip,
    crops,
    crowds,
    scenes,
    single_scenes,
    stream,
)
from course_lib.datasets.synthetic.world import Settings

__all__ = [
    "BENCHMARKS",
    "MOTIONS",
    "Settings",
    "benchmark",
    "clip",
    "crops",
    "crowds",
    "scenes",
    "single_scenes",
    "stream",
    "to_coco",
]
