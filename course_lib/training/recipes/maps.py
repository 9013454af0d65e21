"""Networks that answer with maps, of one person."""

from __future__ import annotations

from dataclasses import replace

from course_lib.training.augment import Augment
from course_lib.training.recipes.recipe import Recipe
from course_lib.training.recipes.worlds import COVERED, EASILY, EASY, LIVE, PHOTOGRAPHED, SHIPPED

RECIPES = (
    Recipe(
        "hourglass_synthetic",  # has never seen a photograph of a person; ships, to be compared with the next
        model="hourglass_course",
        learning_rate=2e-3,
        warmup=300,
        **SHIPPED,
    ),
    Recipe(
        "hourglass_course",  # ships with the course: goes on from there with as many photographs as rendered people
        model="hourglass_course",
        data={"synthetic": {}, "lspet": {"share": 0.5, "split": "train"}},
        start="hourglass_synthetic",
        learning_rate=1.5e-3,
        warmup=200,
        photo_augment=PHOTOGRAPHED,
        **SHIPPED,
    ),
    Recipe(
        "hourglass_live",  # trained before the learner's eyes in lesson 06, in an easier world than the benchmark's
        model="hourglass_course",
        options={"stacks": 2, "width": 32, "input_size": (64, 64)},
        steps=260,
        learning_rate=6e-3,
        **LIVE,
    ),
    Recipe(
        "cpm_course",  # six stages on as many photographs as rendered people; stands on its own
        model="cpm_course",
        data={"synthetic": {}, "lspet": {"share": 0.5, "split": "train"}},
        learning_rate=3e-3,
        warmup=300,
        photo_augment=PHOTOGRAPHED,
        **SHIPPED,
    ),
    Recipe(
        "cpm_live",  # trained before the learner's eyes in lesson 04, in an easier world than the benchmark's
        model="cpm_course",
        options={"stages": 3, "input_size": (64, 64)},
        steps=260,
        learning_rate=6e-3,
        **LIVE,
    ),
    Recipe(
        # The paper's size, for a GPU. Batch, turning and scaling are the authors', who took 600,000 steps of SGD,
        # momentum 0.9, weight decay 5e-4, at a rate of 8e-5 for the sum of squares, which AdamW has no use for
        "cpm",
        model="cpm",
        data={"synthetic": {}, "lspet": {"share": 0.5, "split": "train"}},
        batch=16,
        steps=200_000,
        learning_rate=2e-4,
        warmup=1000,
        ema=0.9998,
        augment=Augment(rotation=40.0, scale=0.3, shift=0.0),
        photo_augment=Augment(rotation=40.0, scale=0.3, shift=0.0),
    ),
    Recipe(
        "pose_resnet_course",  # ships with the course; as many photographs as rendered people, from nothing
        model="pose_resnet_course",
        data={"synthetic": {}, "lspet": {"share": 0.5, "split": "train"}},
        learning_rate=2e-3,
        warmup=300,
        photo_augment=PHOTOGRAPHED,
        **SHIPPED,
    ),
    Recipe(
        "hrnet_course",  # the same for the network that keeps its fine maps
        model="hrnet_course",
        data={"synthetic": {}, "lspet": {"share": 0.5, "split": "train"}},
        learning_rate=2e-3,
        warmup=300,
        photo_augment=PHOTOGRAPHED,
        **SHIPPED,
    ),
    Recipe(
        "hrnet_live",  # trained before the learner's eyes in lesson 11, in an easier world than the benchmark's
        model="hrnet_course",
        options={"width": 16, "stem": 16, "blocks": 1, "modules": (1, 1, 1), "input_size": (64, 64)},
        steps=180,
        learning_rate=4e-3,
        **LIVE,
    ),
    Recipe(
        # ships with the course: goes on from the hourglass of lesson 06 with rendered people alone, of whom it is known
        # what is hidden. The gradient is clipped so high that the judges' part does not take from the generator's
        "adversarial_course",
        model="adversarial_course",
        start="hourglass_course",
        learning_rate=1e-3,
        warmup=200,
        clip=20.0,
        **SHIPPED | {"augment": COVERED},
    ),
    Recipe(
        "adversarial_plain",  # ships too: the same without the judges, to be compared with it
        model="adversarial_course",
        options={"pose_weight": 0.0, "confidence_weight": 0.0},
        start="hourglass_course",
        learning_rate=1e-3,
        warmup=200,
        clip=20.0,
        **SHIPPED | {"augment": COVERED},
    ),
    Recipe(
        "adversarial_live",  # trained before the learner's eyes in lesson 12: one stack, people behind posts
        model="adversarial_course",
        options={"stacks": 1, "width": 32, "judge_width": 16, "input_size": (64, 64)},
        steps=200,
        learning_rate=4e-3,
        clip=20.0,
        **LIVE | {"data": {"synthetic": EASY | {"occluders": 1.0}}, "augment": replace(EASILY, patches=3, patch=0.5)},
    ),
    Recipe(
        "hourglass",  # the paper's size, for a GPU
        model="hourglass",
        skeleton="mpii",
        batch=32,
        steps=100_000,
        learning_rate=5e-4,
        warmup=1000,
        ema=0.9998,
        augment=Augment(half_body=0.1),
        compile=True,
    ),
    Recipe(
        "tompson_course",  # ships with the course: coarse maps first, then the fine ones, then both
        model="tompson_course",
        data={"synthetic": {}, "lspet": {"share": 0.5, "split": "train"}},
        learning_rate=2e-3,
        warmup=300,
        photo_augment=PHOTOGRAPHED,
        **SHIPPED,
    ),
    Recipe(
        "tompson_live",  # trained before the learner's eyes in lesson 03
        model="tompson_course",
        options={"input_size": (64, 64), "rate": 0.1},
        steps=200,
        learning_rate=6e-3,
        **LIVE,
    ),
    Recipe(
        "tompson",  # the paper's size, for a GPU; its augmentation, but neither rate nor batch are known to us
        model="tompson",
        skeleton="mpii",
        batch=32,
        steps=100_000,
        learning_rate=5e-4,
        warmup=1000,
        ema=0.9998,
        augment=Augment(rotation=20.0, scale=0.5),
    ),
    Recipe(
        # The paper's size and data, for a GPU: 140 epochs in batches of 128. The authors' turning and scaling are drawn
        # from a bell, cut at twice these numbers (scales at these), where ours are even
        "pose_resnet",
        model="pose_resnet",
        skeleton="coco",
        data={"coco": {"split": "train"}},
        batch=128,
        steps=164_000,
        learning_rate=1e-3,
        warmup=1000,
        ema=0.9998,
        photo_augment=Augment(rotation=40.0, scale=0.3, shift=0.0, patches=0),
        start="hub:resnet50_imagenet",
    ),
    Recipe(
        "hrnet",  # the same of the network that keeps its fine maps, in 210 epochs
        model="hrnet",
        skeleton="coco",
        data={"coco": {"split": "train"}},
        batch=128,
        steps=246_000,
        learning_rate=1e-3,
        warmup=1000,
        ema=0.9998,
        photo_augment=Augment(rotation=45.0, scale=0.35, shift=0.0, half_body=0.3, patches=0),
        start="hub:hrnet_w32_imagenet",
    ),
    Recipe(
        "adversarial",  # the paper's size, for a GPU; turning and scaling are the paper's, its batch is not known
        model="adversarial",
        skeleton="mpii",
        batch=16,
        steps=400_000,
        learning_rate=2.5e-4,
        warmup=1000,
        ema=0.9998,
        augment=Augment(rotation=30.0, scale=0.25, patches=0),
    ),
)
