"""Lesson 13, metrics: what is measured on. Its people, worked cases of COCO's protocol, and a toy detector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib import metrics
from course_lib.datasets import synthetic
from course_lib.pose import VISIBLE, Person, Pose, Scene
from course_lib.skeletons import LSP

PLAIN = synthetic.Settings(
    natural=1, sport=0, free=0, turn=30, others=0, occluders=0, clutter=0, truncation=0, photographs=0, blur=0, noise=0
)
HERO_SEED = 11  # somebody who waves, seen whole, against a quiet background

# --- people -----------------------------------------------------------------------------------------------------------


def hero() -> Scene:
    """The person every metric of the lesson is drawn on, 256 x 256."""
    return synthetic.single_scenes(1, seed=HERO_SEED, size=(256, 256), settings=PLAIN)[0]


def shrunk(scene: Scene, factor: float) -> Scene:
    """The same picture, smaller: lengths times `factor`, areas times its square."""
    image = F.interpolate(scene.image[None], scale_factor=factor, mode="bilinear", antialias=True)[0]
    people = [
        replace(
            person,
            joints=person.joints * factor,
            box=person.box * factor,
            head_box=person.head_box * factor,
            area=person.area * factor**2,
            mask=None,
        )
        for person in scene.people
    ]
    return replace(scene, image=image.clamp(0, 1), people=people)


def truth(people: Sequence[Person]) -> tuple[Tensor, Tensor]:
    """Joints (N, K, 2) in float64 and visible (N, K) of a list of people."""
    return torch.stack([who.joints for who in people]).double(), torch.stack([who.visible for who in people])


def poses_of(joints: Tensor, people: Sequence[Person]) -> list[Pose]:
    """Estimated joints (N, K, 2) as poses."""
    return [Pose(at, torch.ones(len(at)), who.skeleton) for at, who in zip(joints, people, strict=True)]


def mean_oks(joints: Tensor, people: Sequence[Person]) -> float:
    """Mean OKS of estimated joints (N, K, 2), over people with a labelled joint and an area."""
    true, visible = truth(people)
    keep = (visible > 0).any(-1) & torch.tensor([who.area > 0 for who in people])
    area = torch.tensor([who.area for who in people])[keep]
    return float(metrics.oks(joints[keep], true[keep], visible[keep], area, people[0].skeleton).mean())


def single_ap(joints: Tensor, people: Sequence[Person]) -> float:
    """COCO's AP of one estimate for each person, every person in a picture of its own."""
    scenes = [Scene(torch.zeros(3, 1, 1), [who]) for who in people]
    return metrics.keypoint_ap([[pose] for pose in poses_of(joints, people)], scenes)["AP"]


def all_scores(joints: Tensor, people: Sequence[Person]) -> dict[str, float]:
    """Every number of the lesson for estimated joints (N, K, 2), one estimate for each person."""
    true, visible = truth(people)
    short = metrics.single_person(poses_of(joints, people), people)
    return {
        "PCP strict": short["pcp"],
        "PCP loose": metrics.pcp(joints, true, visible, rule="loose").mean_of_columns,
        "PCK@0.2": short["pck@0.2"],
        "PCK@0.1": short["pck@0.1"],
        "AUC": short["auc"],
        "PCKh@0.5": short["pckh@0.5"],
        "PCKh@0.1": short["pckh@0.1"],
        "OKS": mean_oks(joints, people),
        "AP": single_ap(joints, people),
        "px off": short["mean_error"],
    }


def shortest_forearm(scenes: Sequence[Scene]) -> tuple[int, str]:
    """Scene and side of the forearm that is shortest beside its torso, both its ends visible, nobody else there."""
    found = []
    for index, scene in enumerate(scenes):
        person = scene.people[0]
        torso = float(metrics.reference_size(person.joints[None], person.visible[None], LSP)[0])
        for side in ("right", "left"):
            elbow, wrist = (LSP.index(f"{side}_{name}") for name in ("elbow", "wrist"))
            seen = bool((person.visible[[elbow, wrist]] == VISIBLE).all()) and torso > 0
            if seen and len(scene.people) == 1:
                found.append((float((person.joints[elbow] - person.joints[wrist]).norm()) / torso, index, side))
    return min(found)[1:]


# --- COCO's protocol: worked cases ------------------------------------------------------------------------------------

AREA, FAR = 10_000.0, 99
Worked = tuple[str, list[dict], list[dict], dict[str, float | None]]


def place(number: int) -> Tensor:
    """Joints (17, 2) of somebody; people of different number are far apart."""
    k = torch.arange(17, dtype=torch.float64)
    return torch.stack([5 * k + 10_000 * number, 11 * k % 100], -1)


def annotation(
    number: int, image: int = 1, area: float = AREA, empty: bool = False, crowd: bool = False
) -> dict[str, object]:
    """A true person as COCO's file has it."""
    joints = place(number)
    flags = torch.full((17, 1), 0.0 if empty else 2.0, dtype=torch.float64)
    low, high = joints.amin(0), joints.amax(0)
    return {
        "image_id": image,
        "keypoints": torch.cat([joints * (not empty), flags], 1).flatten().tolist(),
        "num_keypoints": 0 if empty else 17,
        "bbox": [*low.tolist(), *(high - low).tolist()],
        "area": area,
        "iscrowd": int(crowd),
    }


def result(number: int, score: float, shift: float = 0.0, image: int = 1) -> dict[str, object]:
    """An estimated person: `place(number)` with all joints moved to the right by `shift` pixels."""
    joints = place(number) + torch.tensor([shift, 0.0])
    return {
        "image_id": image,
        "keypoints": torch.cat([joints, torch.ones(17, 1)], 1).flatten().tolist(),
        "score": score,
    }


def shift_for(similarity: float) -> float:
    """By how many pixels all 17 joints of a person of area 10,000 must move for this OKS."""
    low, high = 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        moved = place(0) + torch.tensor([middle, 0.0])
        low, high = (middle, high) if metrics.oks(moved, place(0), torch.ones(17), AREA) > similarity else (low, middle)
    return low


def protocol_cases() -> dict[str, Worked]:
    """name -> (what happens, annotations, results, the numbers worked out by hand)."""
    one, two = annotation(0), [annotation(0), annotation(1)]
    empty, crowd = annotation(1, area=5000.0, empty=True), annotation(1, area=5000.0, empty=True, crowd=True)
    wrong = [result(FAR + k, 0.9 - k / 100) for k in range(20)]
    three = [annotation(number, image=number) for number in range(3)]
    graded = [result(0, 0.9, shift_for(0.97), 0), result(1, 0.8, shift_for(0.72), 1)]
    both = [result(0, 0.9), result(1, 0.95)]
    scored = [result(0, 0.9), result(FAR, 0.8), result(1, 0.7)]
    late = [result(FAR, 0.9), result(0, 0.8), result(1, 0.7)]
    uneven = {"AP": 0.5, "AP50": 67 / 101, "AP75": 34 / 101, "AR": 0.5}
    cases: dict[str, Worked] = {
        "A1": ("2 people; right .9, wrong .8, right .7", two, scored, {"AP": (51 + 50 * 2 / 3) / 101, "AR": 1.0}),
        "A2": ("the wrong one has the top score", two, late, {"AP": 2 / 3, "AR": 1.0}),
        "A3": ("2 people, one found", two, [result(0, 0.9)], {"AP": 51 / 101, "AR": 0.5}),
        "A4": ("1 person, every joint 5 px off", [one], [result(0, 0.9, 5.0)], {"AP": 0.8, "AP75": 1.0}),
        "A5": ("one of 2 people has no labelled joint", [one, empty], both, {"AP": 1.0, "AR": 1.0}),
        "A5b": ("the same, that person not annotated at all", [one], both, {"AP": 0.5, "AR": 1.0}),
        "A5c": ("A5 with a second estimate there", [one, empty], [*both, result(1, 0.94)], {"AP": 0.5}),
        "A5d": ("A5c, the region marked as a crowd", [one, crowd], [*both, result(1, 0.94)], {"AP": 1.0}),
        "A9": ("right .9, its duplicate .8", [one], [result(0, 0.9), result(0, 0.8)], {"AP": 1.0}),
        "A10": ("5 px off .9, the perfect one .8", [one], [result(0, 0.9, 5.0), result(0, 0.8)], {"AP": 0.9}),
        "A12": ("3 people; OKS .97 at .9, OKS .72 at .8", three, graded, uneven),
        "A13": ("20 wrong ones above the right one", [one], [*wrong, result(0, 0.1)], {"AP": 0.0, "AR": 0.0}),
        "A14": ("19 wrong ones above the right one", [one], [*wrong[:19], result(0, 0.1)], {"AP": 0.05, "AR": 1.0}),
    }
    sizes = {1023: (None, None), 1024: (1.0, None), 9216: (1.0, 1.0), 9217: (None, 1.0)}
    for area, (medium, large) in sizes.items():
        person = [annotation(0, area=float(area))]
        expected = {"AP_medium": medium, "AP_large": large}
        cases[f"A15, {area}"] = (f"1 person of area {area}, found", person, [result(0, 0.9)], expected)
    return cases


# --- a toy detector ---------------------------------------------------------------------------------------------------


def toy_detector(scenes: Sequence[Scene], seed: int = 0) -> list[list[Pose]]:
    """Answers made from the truth: joints scattered by 0.3 to 3 human sigmas, some people missed, some found twice,
    some found where nobody is. All scores are 1: `rescored` gives them meaning.
    """
    generator = torch.Generator().manual_seed(seed)

    def scattered(person: Person, low: float, high: float) -> Pose:
        level = low * (high / low) ** float(torch.rand((), generator=generator))
        spread = torch.tensor(person.skeleton.sigmas)[:, None] * math.sqrt(max(person.area, 50.0)) * level
        noise = torch.randn(person.joints.shape, generator=generator)
        return Pose(person.joints + spread * noise, torch.ones(len(noise)), person.skeleton)

    found = []
    for scene in scenes:
        here = []
        for person in scene.people:
            luck = torch.rand(3, generator=generator)
            if luck[0] < 0.85:
                here.append(scattered(person, 0.3, 3.0))
            if luck[1] < 0.15:
                here.append(scattered(person, 0.6, 3.0))
            if luck[2] < 0.15:
                ghost = scattered(person, 1.0, 3.0)
                here.append(ghost.moved(ghost.joints.flip(0)))  # joints in the wrong order: a person-like nobody
        found.append(here)
    return found


def quality(poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene]) -> list[list[float]]:
    """The OKS of every estimate with the person most like it: what an ideal score would know."""
    values = []
    for found, scene in zip(poses, scenes, strict=True):
        if not found or not scene.people:
            values.append([0.0] * len(found))
            continue
        true, visible = truth(scene.people)
        area = torch.tensor([who.area for who in scene.people])
        alike = metrics.oks_matrix(torch.stack([p.joints for p in found]), true, visible, area, found[0].skeleton)
        values.append(alike.amax(1).tolist())
    return values


def rescored(
    poses: Sequence[Sequence[Pose]], values: Sequence[Sequence[float]], honesty: float, seed: int = 0
) -> list[list[Pose]]:
    """The same poses with score = honesty x value + (1 - honesty) x chance."""
    generator = torch.Generator().manual_seed(seed)
    chance = [torch.rand(len(found), generator=generator).tolist() for found in poses]
    result = []
    for row in zip(poses, values, chance, strict=True):
        scores = [(pose, honesty * value + (1 - honesty) * luck) for pose, value, luck in zip(*row, strict=True)]
        result.append([replace(p, score=score, scores=torch.full_like(p.scores, score)) for p, score in scores])
    return result


def step_case(scene: Scene, seed: int = 7) -> tuple[Scene, list[Pose]]:
    """Four people and five estimates to follow through the protocol by hand, best score first."""
    generator = torch.Generator().manual_seed(seed)
    people = sorted(scene.people, key=lambda who: float(who.joints[:, 0].mean()))
    plan = [(3, 0.6, 0, 0.95), (0, 1.2, 0, 0.90), (0, 1.0, 118, 0.80), (3, 1.5, 0, 0.70), (1, 1.5, 0, 0.60)]
    poses = []
    for who, level, aside, score in plan:
        person = people[who]
        spread = torch.tensor(person.skeleton.sigmas)[:, None] * math.sqrt(person.area) * level
        joints = person.joints + spread * torch.randn(person.joints.shape, generator=generator)
        poses.append(Pose(joints + torch.tensor([aside, -4.0 * (aside > 0)]), torch.ones(17), person.skeleton, score))
    return replace(scene, people=people), poses


def match_in_order(alike: Tensor, threshold: float) -> list[int]:
    """COCO's matching where nobody is ignored: the person each estimate takes, best score first, -1 for nobody.

    alike (D, G) is the OKS of every estimate with every person.
    """
    free, taken = set(range(alike.shape[1])), []
    for row in alike.tolist():
        best = max(free, key=lambda person: row[person], default=None)
        hit = best is not None and row[best] >= threshold
        taken.append(best if hit else -1)
        free -= {best} if hit else set()
    return taken
