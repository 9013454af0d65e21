"""What Mask R-CNN is asked of a picture in training: everybody's box, joints and pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.errors import CourseError
from course_lib.pose import Crowd

SMALLEST = 2.0  # pixels that a side of a box must have to be learned from


def targets(batch: Crowd, masks: bool = True) -> list[dict[str, Tensor]]:
    """For every picture boxes (N, 4), keypoints (N, K, 3) and, if wanted, masks (N, H, W) of the people in it.

    A box is that of what is seen of a person; who is not seen, or as a strip only, is left out. A box before which
    somebody stands ends where that one begins, so that hidden joints may lie outside. There they are not asked for:
    of the rendered crowds' joints that are one in thirteen, and one in 23 where boxes are grown by 1.25.
    """
    keypoints = torch.cat([batch.joints, batch.visible[..., None].to(batch.joints)], dim=-1).float()
    answers = []
    for boxes, points, owners in zip(batch.boxes(), keypoints, batch.owners, strict=True):
        (seen,) = ((boxes[:, 2:] - boxes[:, :2]).amin(1) >= SMALLEST).nonzero(as_tuple=True)
        target = {"boxes": boxes[seen], "keypoints": points[seen]}
        answers.append(target | ({"masks": (owners == seen[:, None, None]).byte()} if masks else {}))
    return answers


def checked(target: dict[str, Tensor], number: int, joints: int, masks: bool) -> dict[str, Tensor]:
    """One picture's target with labels, all of which are 1, person; what cannot be learned from is refused."""
    names = ["boxes", "keypoints", *(["masks"] if masks else [])]
    if not set(names) <= target.keys():
        wanted = f"{', '.join(names[:-1])} and {names[-1]}"
        raise CourseError(f"target {number} needs {wanted}; it has {', '.join(target) or 'nothing'}")
    boxes, keypoints = target["boxes"].float(), target["keypoints"].float()
    if boxes.shape[1:] != (4,) or keypoints.shape != (len(boxes), joints, 3):
        raise CourseError(f"target {number} needs as many boxes (N, 4) as keypoints (N, {joints}, 3)")
    if masks and (target["masks"].ndim != 3 or len(target["masks"]) != len(boxes)):
        raise CourseError(f"target {number} needs as many masks (N, H, W) as boxes (N, 4)")
    right = (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & boxes.isfinite().all(dim=1)
    if not right.all():
        raise CourseError(f"target {number} has a box without width or height: {boxes[~right][0].tolist()}")
    labels = target.get("labels", torch.ones(len(boxes), dtype=torch.int64, device=boxes.device))
    return {"boxes": boxes, "labels": labels, "keypoints": keypoints, **{name: target[name] for name in names[2:]}}
