"""One person found many times: poses for the tests of everything that keeps one of them."""

import math
from dataclasses import replace

import torch

from course_lib.pose import Pose
from course_lib.skeletons import COCO

BOX = torch.tensor([0.0, 0.0, 100.0, 200.0])  # B(k): 10 x 20, so 5 to the left and right, 10 up and down


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


BODY = (torch.rand(17, 2, generator=generator()) * torch.tensor([100.0, 200.0])).round()


def pose(x=0.0, y=0.0, confidence=1.0, score=1.0, box=BOX, **known):
    """The same body, moved; its box moves with it."""
    shift = torch.tensor([x, y])
    box = None if box is None else box + shift.repeat(2)
    return replace(Pose(BODY + shift, torch.full((17,), confidence), COCO, score, box), **known)


def crowd(seed, people, copies, equal_scores=False):
    """Shaken copies of people: some joints missing, some boxes missing, flat or large, some poses exact copies."""
    g, found = generator(seed), []
    for _ in range(people):
        body = torch.rand(17, 2, generator=g) * 40 + torch.rand(2, generator=g) * 60
        for _ in range(copies):
            random = torch.rand(8, generator=g).tolist()
            joints = body + torch.randn(17, 2, generator=g) * 4 * random[0]
            if random[1] < 0.4:
                joints[torch.rand(17, generator=g) < random[2]] = [math.nan, math.inf][random[3] < 0.5]
            box = torch.tensor([0.0, 0.0, 120 * random[4], 90.0])
            box = None if random[5] < 0.3 else box * torch.tensor([1.0, 1.0, 1.0, random[6] > 0.2])
            score = 0.5 if equal_scores else random[7]
            found.append(Pose(joints, torch.rand(17, generator=g) * 1.2 - 0.2, COCO, score, box))
        found.append(replace(found[-1], score=found[-1].score * (1 if equal_scores else 0.9)))
    return [found[i] for i in torch.randperm(len(found), generator=g)]


def same(found, expected):
    return [id(one) for one in found] == [id(one) for one in expected]
