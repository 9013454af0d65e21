"""What the tests of Mask R-CNN share: a small network, and people who are drawn as boxes."""

import torch

from course_lib import models
from course_lib.pose import Crowd
from course_lib.skeletons import LSP

SMALL = {
    **{"channels": 16, "box_width": 24, "head_width": 16, "head_depth": 1, "mask_width": 8, "input_size": (64, 96)},
    **{"proposals": (40, 20), "samples": 16, "detections": 6},
}
LOSSES = {"classifier", "box_reg", "keypoint", "mask", "objectness", "rpn_box_reg"}
HEADER = {
    **{"recipe": "test", "data": {}, "steps": 0, "images": 0, "seed": 0, "device": "cpu", "scores": {}},
    "date": "2026-01-31",
}


def small(seed=0, name="mask_rcnn_course", **options):
    torch.manual_seed(seed)
    return models.create(name, **{**SMALL, **options})


def crowd(boxes, size=(64, 96), room=None, skeleton=LSP):
    """One picture of bright boxes (N, 4) in whole pixels, later ones in front, joints spread over each."""
    boxes = torch.tensor(boxes).reshape(-1, 4)
    owners, image = torch.full(size, -1, dtype=torch.int8), torch.zeros(3, *size)
    for number, (left, top, right, bottom) in enumerate(boxes.tolist()):
        owners[top:bottom, left:right] = number
        image[:, top:bottom, left:right] = torch.tensor([0.9, 0.3 + 0.3 * number, 0.5])[:, None, None]
    spread = torch.rand(len(skeleton), 2, generator=torch.Generator().manual_seed(1))
    joints = boxes[:, None, :2] + spread * (boxes[:, None, 2:] - boxes[:, None, :2])
    visible = torch.full(joints.shape[:2], 2)
    made = Crowd(image[None], joints[None], visible[None], torch.ones(1, *size), skeleton, owners[None])
    return made.with_room(room or 0)


TWO = ((8, 6, 38, 60), (54, 10, 88, 58))
