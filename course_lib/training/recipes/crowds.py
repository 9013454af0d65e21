"""Networks that look at pictures of many people."""

from __future__ import annotations

from course_lib.training.augment import Augment
from course_lib.training.recipes.recipe import Recipe
from course_lib.training.recipes.worlds import BOXED, CROWDED, EASILY, EASY

RECIPES = (
    Recipe(
        # ships with the course; its trunk begins from the network that knows one person
        "paf_course",
        model="paf_course",
        start="hourglass_course",
        **CROWDED,
    ),
    Recipe(
        "paf_live",  # trained before the learner's eyes in lesson 07: two stages on a trunk that knows one person
        model="paf_course",
        options={"stages": 2, "input_size": (96, 128)},
        data={"crowd": EASY | {"people": (2, 4)}},
        start="hourglass_course",
        pool=16,
        batch=8,
        steps=50,
        learning_rate=3e-3,
        warmup=8,
        ema=0.9,
        augment=EASILY,
        precision="bf16",
    ),
    Recipe(
        "deepcut_course",  # ships with the course; its trunk begins from the one that has seen crowds
        model="deepcut_course",
        start="paf_course",
        **CROWDED,
    ),
    Recipe(
        "alphapose_course",  # ships with the course; learns from boxes such as its detector draws
        model="alphapose_course",
        data={"boxed": {"noise": "detector", "padding": 1.3}},
        start="hourglass_course",
        **BOXED,
    ),
    Recipe(
        "grmi_course",  # ships with the course; boxes are grown by 1.0 to 1.5, as in the paper
        model="grmi_course",
        data={"boxed": {"padding": [1.0, 1.5]}},
        start="alphapose_course",
        **BOXED,
    ),
    Recipe(
        "mask_rcnn_course",  # ships with the course; its trunk begins from the one that has seen crowds
        model="mask_rcnn_course",
        start="paf_course",
        **CROWDED | {"batch": 8, "warmup": 60},
        options={"trunk_rests": 0.6},
    ),
    Recipe(
        "person_detector",  # ships with the course; its trunk begins from the one that has seen most crowds
        model="person_detector",
        start="deepcut_course",
        **CROWDED,
    ),
    Recipe(
        # The paper's size, for a GPU. Turning, scaling and length are the authors', who took SGD at a rate for
        # the sum of squares, which AdamW has no use for, batches of 20 and VGG-19 from ImageNet
        "paf",
        model="paf",
        skeleton="body18",
        data={"crowd": {}},
        batch=20,
        steps=440_000,
        learning_rate=2e-4,
        warmup=1000,
        ema=0.9998,
        augment=Augment(rotation=40.0, scale=0.3, shift=0.1, patches=0),
    ),
)
