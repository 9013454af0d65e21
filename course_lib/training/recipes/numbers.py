"""Networks that answer with numbers: DeepPose and iterative error feedback."""

from __future__ import annotations

from course_lib.training.augment import Augment
from course_lib.training.recipes.recipe import Recipe
from course_lib.training.recipes.worlds import EASILY, EASY, GENTLY, LIVE, REGRESSED, SHIPPED, TO_SEE

RECIPES = (
    Recipe(
        "deeppose_course",  # ships with the course: goes on from the easy world, with stage 1, stage 2, stage 3
        model="deeppose_course",
        data=REGRESSED,
        start="deeppose_easy",
        learning_rate=1e-3,
        warmup=200,
        photo_augment=GENTLY,
        **SHIPPED,
    ),
    Recipe(
        "deeppose_easy",  # ships too: in the easy world numbers are soon learned, and the cascade can be seen
        model="deeppose_course",
        learning_rate=1e-3,
        **TO_SEE,
    ),
    Recipe(
        "deeppose_live",  # trained before the learner's eyes in lesson 02: two stages
        model="deeppose_course",
        options={
            **{"stages": 2, "stem": (5, 2), "channels": (32, 64, 64, 64, 64), "hidden": 256},
            **{"first_share": 0.65},
        },
        steps=320,
        learning_rate=1.2e-3,
        **LIVE,
    ),
    Recipe(
        "deeppose",  # the paper's size and data, for a GPU; crops are shifted and mirrored, as in the paper
        model="deeppose",
        data={"lspet": {"split": "train"}},
        batch=128,
        steps=200_000,
        learning_rate=5e-4,
        warmup=1000,
        ema=0.9998,
        photo_augment=Augment(
            rotation=0.0,
            scale=0.0,
            shift=0.1,
            brightness=0.0,
            contrast=0.0,
            gain=0.0,
            grey=0.0,
            patches=0,
            noise=0.0,
        ),
    ),
    Recipe(
        "ief_course",  # ships with the course: first the whole way; then phase t of the path's four takes t tenths
        model="ief_course",
        data=REGRESSED,
        learning_rate=2e-3,
        warmup=300,
        photo_augment=GENTLY,
        **SHIPPED,
    ),
    Recipe(
        "ief_easy",  # ships too: in the easy world numbers are soon learned, and the walk can be seen
        model="ief_course",
        learning_rate=2e-3,
        **TO_SEE,
    ),
    Recipe(
        "ief_live",  # trained before the learner's eyes in lesson 05: three longer steps of a smaller picture
        model="ief_course",
        options={"steps": 3, "bound": 9.0, "sigma": 3.5, "whole_way": 0.0, "input_size": (64, 64)},
        data={"synthetic": EASY},
        pool=28,
        batch=32,
        steps=340,
        learning_rate=3e-3,
        warmup=20,
        ema=0.97,
        augment=EASILY,
        precision="bf16",
    ),
    Recipe(
        # The paper's size, for a GPU. It began from ImageNet: see load_imagenet. Neither its optimiser, rate and
        # batch are known to us nor for sure its length; this is about 3 epochs a phase over MPII's people
        "ief",
        model="ief",
        skeleton="mpii",
        batch=32,
        steps=24_000,
        learning_rate=5e-4,
        warmup=1000,
        ema=0.999,
        augment=Augment(rotation=0.0, scale=0.25),
    ),
)
