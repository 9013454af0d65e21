"""Scenes written as a COCO keypoints data set, which pycocotools and every COCO loader read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from course_lib.errors import CourseError
from course_lib.pose import Person, Scene


def to_coco(scenes: list[Scene], folder: str | Path) -> Path:
    """Writes images/*.png and annotations.json below `folder`; returns the json's path.

    COCO counts pixels from the centre of the first one, so joints are written half a pixel less. Masks become
    uncompressed run lengths. A person without labelled joints keeps its place with num_keypoints 0.
    """
    if not scenes:
        raise CourseError("there are no scenes to write")
    skeleton = scenes[0].people[0].skeleton if scenes[0].people else None
    for scene in scenes:
        for person in scene.people:
            skeleton = skeleton or person.skeleton
            if person.skeleton.name != skeleton.name:
                raise CourseError(
                    f"scene {scene.id} has a person with skeleton '{person.skeleton.name}' in a data set of "
                    f"'{skeleton.name}'; a COCO file has one"
                )
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, scene in enumerate(scenes, start=1):
        name = f"{number:06d}.png"
        pixels = (scene.image.permute(1, 2, 0) * 255).round().byte().numpy()
        Image.fromarray(pixels).save(folder / "images" / name)
        images.append({"id": number, "file_name": name, "height": scene.size[0], "width": scene.size[1]})
        for person in scene.people:
            annotations.append(_annotation(person, len(annotations) + 1, number))
    category = {"id": 1, "name": "person", "supercategory": "person"}
    if skeleton is not None:
        category["keypoints"] = list(skeleton.joints)
        category["skeleton"] = [[a + 1, b + 1] for a, b in skeleton.limbs]
    content = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": [category]}
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return path


def _annotation(person: Person, number: int, image: int) -> dict:
    """One COCO annotation."""
    labelled = person.visible > 0
    keypoints = [
        value
        for (x, y), visible in zip(person.joints.tolist(), person.visible.tolist(), strict=True)
        for value in ((round(x - 0.5, 2), round(y - 0.5, 2), visible) if visible else (0, 0, 0))
    ]
    x0, y0, x1, y1 = person.box.tolist()
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": float(person.area),
        "iscrowd": int(person.crowd),
        "segmentation": _run_lengths(person.mask.numpy()) if person.mask is not None else [],
        "keypoints": keypoints,
        "num_keypoints": int(labelled.sum()),
    }


def _run_lengths(mask: np.ndarray) -> dict:
    """COCO's uncompressed RLE: lengths of runs down the columns, beginning with zeros."""
    flat = mask.T.reshape(-1).astype(np.int8)
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": ([0] if flat.size and flat[0] else []) + lengths}
