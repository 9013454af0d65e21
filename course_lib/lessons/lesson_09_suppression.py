"""The four numbers of AlphaPose's pose NMS, learned on pictures that are no benchmark's, as the paper learns them.

    python -m course_lib evaluate --study pose_nms                 # a minute of one core

shows the pictures to the shipped detector and network, suppresses doubles with many values of the numbers, two at a
time, keeps those with the highest AP, stores them and the surfaces in data/studies/pose_nms.json, and writes the
numbers into the shipped weights. The rules that it is compared with, box NMS and OKS-NMS, have a number of their own,
chosen on the same pictures. Weights that are trained anew need this run again, then that of lesson_09_study.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from course_lib import checkpoints, metrics, models, paths
from course_lib.datasets import synthetic
from course_lib.lessons import studies
from course_lib.metrics.ap import COCO_AREAS
from course_lib.models.alphapose import AlphaPose
from course_lib.pose import Pose, Scene
from course_lib.targets.suppression import NAMES, NmsParameters, box_nms, oks_nms, pose_nms, similarity
from course_lib.targets.suppression_search import Learned, learn_parameters

FILE = paths.DATA / "studies" / "pose_nms.json"
WEIGHTS, PEOPLE = "alphapose_course", "lesson 09 suppression"  # seed of pictures that nobody is tested on
PICTURES, AT_ONCE = 100, 25
GRID = {
    "sigma1": (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4),
    "sigma2": (4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0),
    "weight": (0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 4.0),
    "threshold": (0.25, 0.5, 1.0, 2.0, 3.0, 4.5, 6.0, 8.0, 11.0, 15.0, 20.0, 28.0),
}
START = NmsParameters(0.4, 32.0, 1.0, 6.0)  # the middle of the grid
LATER = "the later code's numbers"
THRESHOLDS = tuple(round(0.1 * step, 1) for step in range(1, 10))  # of the two other rules


# --- the rules --------------------------------------------------------------------------------------------------------


def as_printed(poses: Sequence[Pose], parameters: NmsParameters) -> list[Pose]:
    """Pose NMS with the inequality as the paper's equation 7 has it: pose j goes if d(i, j) <= eta."""
    d = similarity(poses, parameters)
    rest = sorted(range(len(poses)), key=lambda i: -poses[i].score)
    kept = []
    while rest:
        best, *others = rest
        kept.append(poses[best])
        rest = [j for j in others if not float(d[best, j]) <= parameters.threshold]
    return kept


def by_boxes(poses: Sequence[Pose], threshold: float) -> list[Pose]:
    """Box NMS of the boxes in which the poses were looked for."""
    if not poses:
        return []
    boxes, scores = torch.stack([pose.box for pose in poses]), torch.tensor([pose.score for pose in poses])
    return [poses[i] for i in box_nms(boxes, scores, threshold).tolist()]


RULES: dict[str, Callable[[Sequence[Pose], Any], list[Pose]]] = {
    "pose NMS": pose_nms,
    "pose NMS as printed": as_printed,
    "OKS-NMS": oks_nms,
    "box NMS": by_boxes,
    "nothing suppressed": lambda poses, _: sorted(poses, key=lambda pose: -pose.score),
}


def options(numbers: dict[str, Any]) -> dict[str, Any]:
    """What every rule is told: the numbers that were chosen for one network."""
    four = NmsParameters(**numbers["parameters"])
    rest = {"OKS-NMS": numbers["OKS-NMS"]["threshold"], "box NMS": numbers["box NMS"]["threshold"]}
    return {"pose NMS": four, "pose NMS as printed": four, **rest, "nothing suppressed": None}


# --- learning ---------------------------------------------------------------------------------------------------------


def average_precision(poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene]) -> float:
    """What is made as large as possible: AP as the benchmark counts it."""
    found = metrics.match_keypoints(poses, scenes, areas={"all": COCO_AREAS["all"]}).scores().ap()
    return 0.0 if found is None else found


def learned(poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene]) -> Learned:
    """The four numbers for these poses."""
    return learn_parameters(poses, scenes, average_precision, START, GRID)


def chosen(rule: str, poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene]) -> dict[str, Any]:
    """The threshold of a rule with one number, and the AP at every threshold."""
    aps = [average_precision([RULES[rule](one, threshold) for one in poses], scenes) for threshold in THRESHOLDS]
    best = THRESHOLDS[max(range(len(aps)), key=aps.__getitem__)]
    return {"threshold": best, "thresholds": list(THRESHOLDS), "ap": [round(ap, 4) for ap in aps]}


def numbers_of(model: AlphaPose, scenes: Sequence[Scene], found: Sequence[Any]) -> tuple[dict[str, Any], Learned]:
    """What every rule is told, for one network."""
    poses = model.propose([scene.image for scene in scenes], found)
    result = learned(poses, scenes)
    row = {
        "parameters": asdict(result.parameters),
        "ap": round(result.value, 4),
        "converged": result.converged,
        **{rule: chosen(rule, poses, scenes) for rule in ("OKS-NMS", "box NMS")},
        "nothing suppressed": round(average_precision(poses, scenes), 4),
        LATER: round(average_precision([pose_nms(one) for one in poses], scenes), 4),
    }
    return row, result


def measure(pictures: int = PICTURES) -> dict[str, Any]:
    """The numbers of the shipped network."""
    model = quick(models.load(WEIGHTS))
    scenes = synthetic.scenes(pictures, PEOPLE, (192, 256), skeleton=model.skeleton)
    images = [scene.image for scene in scenes]
    found = [one for at in range(0, len(images), AT_ONCE) for one in model.detector.detect(images[at : at + AT_ONCE])]
    row, result = numbers_of(model, scenes, found)
    return {
        "what": "what pose NMS, OKS-NMS and box NMS are told, chosen on pictures that are no benchmark's",
        "made_by": "python -m course_lib evaluate --study pose_nms",
        **studies.provenance(WEIGHTS),
        "weights": identity(),
        "pictures": len(scenes),
        "people": sum(len(scene.people) for scene in scenes),
        "poses": sum(len(one.boxes) for one in found),
        "full": row,
        "steps": [
            {
                "names": list(step.names),
                "values": [list(values) for values in step.values],
                "surface": [[round(value, 4) for value in row] for row in step.surface.tolist()],
                "parameters": asdict(step.parameters),
            }
            for step in result.steps
        ],
    }


def network(file: Path) -> AlphaPose:
    """A network of the ablation, from its file, which tells its options."""
    header = checkpoints.read_header(file)
    model = models.create(header["model"], header["skeleton"], **header["options"])
    checkpoints.load_into(file, model)
    return model.eval()


def quick(model: AlphaPose) -> AlphaPose:
    """The same model whose single-person network computes in bfloat16, with a third of the time on a CPU and errors of
    less than a hundredth in its maps. Whatever has to do with places keeps all its digits."""
    model.sppe.to(memory_format=torch.channels_last)
    model.sppe.forward = torch.autocast("cpu", torch.bfloat16)(model.sppe.forward)
    return model


def identity() -> dict[str, Any]:
    """What changes whenever the network is trained anew."""
    header = checkpoints.read_header(paths.checkpoint(WEIGHTS))
    return {key: header[key] for key in ("recipe", "steps", "images", "seed")}


def ship(parameters: NmsParameters, file: Path | None = None) -> None:
    """Writes the four numbers into the network's weights; everything else in the file stays as it is."""
    file = file or paths.checkpoint(WEIGHTS)
    header, model = checkpoints.read_header(file), network(file)
    model.nms_numbers.copy_(torch.tensor([getattr(parameters, name) for name in NAMES]))
    checkpoints.save(file, model, header, checkpoints.SHIPPED_LIMIT)


def load(file: Path = FILE) -> dict[str, Any]:
    """The stored study."""
    return studies.load(file)


def main(arguments: Sequence[str] | None = None) -> None:
    """Learns, stores, and writes the numbers into the weights."""
    parser = argparse.ArgumentParser(description="the four numbers of pose NMS")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--keep-weights", action="store_true", help="do not write the numbers into the shipped weights")
    given = parser.parse_args(arguments)
    study = measure(given.pictures)
    studies.save(given.out, study)
    if not given.keep_weights:
        ship(NmsParameters(**study["full"]["parameters"]))
