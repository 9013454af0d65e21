"""Which part of AlphaPose is worth what, and what wrong boxes cost: measured on crowd-val for lesson 09.

    python -m course_lib evaluate --study alphapose_study                 # some minutes of one core, with what ships
    python -m course_lib evaluate --study alphapose_study --arms FOLDER   # and with the networks of the ablation

asks the shipped detector about 100 pictures once, shows its boxes and the true ones to the networks, suppresses
doubles in several ways, and writes data/studies/alphapose_study.json. Of the networks only `full` ships. The others
(full.safetensors, no_sstn.safetensors, ... in a folder; `ARMS` says what they lack) are trained by recipes of these
names; where they are not at hand, what an earlier run found of them is kept. No number of a rule is chosen here:
lesson_09_suppression chooses them on other pictures. `--pictures` and `--out` are for trying it out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_lib import checkpoints, metrics, models, paths
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.lessons import lesson_09_boxes as tools
from course_lib.lessons import lesson_09_suppression as suppression
from course_lib.lessons import lesson_09_transformer as transformer
from course_lib.lessons import studies
from course_lib.metrics.ap import COCO_AREAS, Matches
from course_lib.models.alphapose import AlphaPose
from course_lib.pose import Batch, Found, Pose, Scene
from course_lib.training import crowds

FILE = paths.DATA / "studies" / "alphapose_study.json"
WEIGHTS, DETECTOR, TOLD = "alphapose_course", "person_detector", "hourglass_course"
BENCHMARK, PICTURES = "crowd-val", 100  # the first so many of its 200
FIRST = 10  # pictures of the short run
ARMS = {
    "full": "everything",
    "no_sstn": "without the transformer and the parallel branch",
    "no_parallel": "without the parallel branch",
    "no_pgpg": "trained on true boxes only",
    "uniform": "trained on evenly jittered boxes",
}
MOVES = {  # of true boxes, for the first figure
    "right": (-0.4, -0.25, -0.12, 0.0, 0.12, 0.25, 0.4),
    "down": (-0.4, -0.25, -0.12, 0.0, 0.12, 0.25, 0.4),
    "scale": (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0),
}
MOVED = 25  # pictures on which moves and noise are studied
NOISE = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)  # of a side
NOISY = ("full", "no_sstn")
IOU_EDGES, OVERLAP_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9), (0.0, 0.05, 0.15, 0.3, 0.5)
SURE = 0.5  # score from which a box is talked about, where boxes are counted
PARTS = ("short_run", "runs", "moves", "noise", "centring", "detection", "lost")


# --- scores -----------------------------------------------------------------------------------------------------------


def matched(poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene]) -> Matches:
    """Who found whom, as the benchmark counts."""
    return metrics.match_keypoints(poses, scenes, areas={"all": COCO_AREAS["all"]})


def scored(poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene], against: Matches | None = None) -> dict[str, Any]:
    """AP with its interval, AP50, AR, PCKh-mAP, AP by people; with `against` the difference and its interval."""
    matches = matched(poses, scenes)
    whole = matches.scores()
    row: dict[str, Any] = {"ap": whole.ap(), "ap50": whole.ap(threshold=0.5), "ar": whole.ar()}
    row |= {"pckh_map": metrics.pckh_map(poses, scenes)["mAP"], "answered": sum(map(len, poses))}
    row["ap_interval"] = list(crowds.interval(matches) or ())
    if against is not None:
        row["difference"] = row["ap"] - against.scores().ap()
        row["difference_interval"] = list(crowds.paired_interval(matches, against) or ())
    listed = torch.tensor([len(scene.people) for scene in scenes])
    row["by_people"] = {
        f"{few}-{most}": matches.scores(((listed >= few) & (listed <= most)).double().numpy()).ap()
        for few, most in crowds.GROUPS
    }
    return rounded(row)


def rounded(value: Any) -> Any:
    """The same with four digits."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value


def looked_at(model: AlphaPose, scenes: Sequence[Scene], found: Sequence[Found]) -> list[list[Pose]]:
    """A pose for every box, nothing suppressed."""
    return model.propose([scene.image for scene in scenes], found)


def told(model: Any, scenes: Sequence[Scene], boxes: Sequence[Tensor]) -> list[list[Pose]]:
    """One pose for each of the boxes, in their order."""
    return model.estimate([scene.image for scene in scenes], boxes=list(boxes))


# --- the parts --------------------------------------------------------------------------------------------------------


def ablation(
    networks: dict[str, AlphaPose],
    scenes: Sequence[Scene],
    found: Sequence[Found],
    poses: Sequence[Sequence[Pose]],
    numbers: dict[str, Any],
) -> list[dict[str, Any]]:
    """Every network with the detector's boxes, and with the true ones; the full one, of which `poses` are known, also
    with every rule. The rules' numbers were chosen for the full network, on other pictures.
    """
    true = [crowds.true_boxes(scene) for scene in scenes]
    choices = suppression.options(numbers["full"])
    kept = {rule: [suppression.RULES[rule](one, value) for one in poses] for rule, value in choices.items()}
    full = matched(kept["pose NMS"], scenes)
    rows = [{"arm": "full", **scored(kept.pop("pose NMS"), scenes)}]
    rows += [{"arm": rule, **scored(some, scenes, full)} for rule, some in kept.items()]
    for arm, model in networks.items():
        if arm != "full":
            own = looked_at(model, scenes, found)
            left = [suppression.RULES["pose NMS"](one, choices["pose NMS"]) for one in own]
            rows.append({"arm": arm, **scored(left, scenes, full)})
        rows.append({"arm": f"{arm}, true boxes", **scored(told(model, scenes, true), scenes, full)})
    return rows


def moves(models_told: dict[str, Any], scenes: Sequence[Scene]) -> dict[str, Any]:
    """The share of people found, and their mean OKS, in true boxes that are moved."""
    people = [tools.people_of(scene) for scene in scenes]
    true = [crowds.true_boxes(scene) for scene in scenes]
    rows: dict[str, Any] = {}
    for name, model in models_told.items():
        rows[name] = {}
        for move, values in MOVES.items():
            alike = [_alike(model, scenes, people, [tools.moved(b, **{move: value}) for b in true]) for value in values]
            rows[name][move] = {
                "found": [float((one >= tools.FOUND).double().mean()) for one in alike],
                "oks": [float(one.mean()) for one in alike],
            }
    return rounded({"values": {name: list(values) for name, values in MOVES.items()}, "systems": rows})


def _alike(model: Any, scenes: Sequence[Scene], people: Sequence[list], boxes: Sequence[Tensor]) -> Tensor:
    answers = told(model, scenes, boxes)
    return torch.cat([tools.like_own(poses, own) for poses, own in zip(answers, people, strict=True)])


def noise(networks: dict[str, Any], scenes: Sequence[Scene]) -> list[dict[str, Any]]:
    """AP and the share found of networks that are told true boxes whose sides are off by more and more."""
    people = [tools.people_of(scene) for scene in scenes]
    rows = []
    for amount in NOISE:
        boxes = [tools.jittered(crowds.true_boxes(scene), amount, f"noise {scene.id}") for scene in scenes]
        for arm, model in networks.items():
            poses = told(model, scenes, boxes)
            alike = torch.cat([tools.like_own(one, own) for one, own in zip(poses, people, strict=True)])
            row = {"arm": arm, "noise": amount, "found": float((alike >= tools.FOUND).double().mean())}
            matches = matched(poses, scenes)
            row |= {"ap": matches.scores().ap(), "ap_interval": list(crowds.interval(matches) or ())}
            rows.append(rounded(row))
    return rows


def detection(scenes: Sequence[Scene], found: Sequence[Found]) -> dict[str, Any]:
    """How well people are covered by boxes, how often they are found, and whom the detector misses."""
    best = torch.cat([tools.covered(one.boxes, scene) for one, scene in zip(found, scenes, strict=True)])
    sure = [one.boxes[one.scores >= SURE] for one in found]
    times = torch.cat([tools.times_found(one, scene) for one, scene in zip(sure, scenes, strict=True)])
    shared = torch.cat([tools.overlap(scene) for scene in scenes])
    height = torch.cat([torch.stack([p.box[3] - p.box[1] for p in tools.people_of(s)]) for s in scenes if s.people])
    met = best >= tools.FOUND
    return {
        "people": len(best),
        "boxes": sum(len(one.boxes) for one in found),
        "sure": {"score": SURE, "boxes": sum(map(len, sure)), "times": times.bincount(minlength=4).tolist()},
        "covered": round(float(met.double().mean()), 4),
        "iou": [int(((best >= low) & (best < low + 0.1)).sum()) for low in IOU_EDGES],
        "iou_from": list(IOU_EDGES),
        "by_overlap": tools.shares(shared, OVERLAP_EDGES, met),
        "by_height": tools.shares(height, (0, 30, 45, 60, 80), met),
    }


def lost(
    scenes: Sequence[Scene], found: Sequence[Found], poses: Sequence[Sequence[Pose]], parameters: Any
) -> dict[str, Any]:
    """Where people are lost: never in a box, in a box but not in the pose, removed with the doubles, found."""
    rows: dict[str, list[Tensor]] = {"box": [], "pose": [], "kept": [], "overlap": []}
    for one, own, scene in zip(found, poses, scenes, strict=True):
        kept = suppression.RULES["pose NMS"](own, parameters)
        rows["box"].append(tools.covered(one.boxes, scene) >= tools.FOUND)
        rows["pose"].append(tools.best_likeness(own, scene) >= tools.FOUND)
        rows["kept"].append(tools.best_likeness(kept, scene) >= tools.FOUND)
        rows["overlap"].append(tools.overlap(scene))
    box, pose, kept, shared = (torch.cat(values) for values in rows.values())
    return {
        "people": len(box),
        "no box": int((~box & ~pose).sum()),
        "box, wrong pose": int((box & ~pose).sum()),
        "removed": int((pose & ~kept).sum()),
        "found": int((pose & kept).sum()),
        "found by overlap": tools.shares(shared, OVERLAP_EDGES, pose & kept),
        "boxed by overlap": tools.shares(shared, OVERLAP_EDGES, box),
    }


def centring(networks: dict[str, AlphaPose], scenes: Sequence[Scene]) -> list[dict[str, Any]]:
    """How far people are from the middle of the crop, and of what the transformer shows, in boxes that are off more and
    more. In sides of the frame; sizes as the mean absolute logarithm of how many times too large."""
    rows = []
    for amount in NOISE:
        crops = []
        for scene in scenes:
            people = tools.people_of(scene)
            if people:
                boxes = tools.jittered(crowds.true_boxes(scene), amount, f"noise {scene.id}")
                model = next(iter(networks.values()))
                crops.append(transformer.cut_out(scene, people, boxes, model.input_size, model.padding))
        batch = Batch.cat(crops)
        boxes = transformer.own_box(batch)
        for arm, model in networks.items():
            with torch.inference_mode():
                theta = torch.cat([model.theta(part) for part in batch.images.split(64)])
            row: dict[str, Any] = {"arm": arm, "noise": amount}
            for name, one in (("before", transformer.SAME.expand_as(theta)), ("after", theta)):
                away, large = transformer.off_middle(one, boxes, batch.size, model.padding)
                row[name] = {"away": float(away.mean()), "size": float(large.clamp(min=1e-3).log().abs().mean())}
            rows.append(rounded(row))
    return rows


# --- the whole --------------------------------------------------------------------------------------------------------


def arms_at_hand(folder: Path | None) -> dict[str, AlphaPose]:
    """The shipped network as "full", and those of a folder; only it when there is none."""
    networks = {"full": models.load(WEIGHTS)}
    for arm in ARMS:
        file = (folder or Path()) / f"{arm}.safetensors"
        if folder and arm != "full" and file.exists():
            networks[arm] = suppression.network(file)
    return {arm: suppression.quick(model) for arm, model in networks.items()}


def identity() -> dict[str, Any]:
    """What changes whenever one of the shipped weights is trained anew."""
    headers = {name: checkpoints.read_header(paths.checkpoint(name)) for name in (WEIGHTS, DETECTOR)}
    return {
        name: {key: header[key] for key in ("recipe", "steps", "images", "seed")} for name, header in headers.items()
    }


def short_run() -> dict[str, Any]:
    """The scores on the first pictures: stored with the study, and measured again by the lesson."""
    scenes = synthetic.benchmark(BENCHMARK, skeleton="lsp", count=FIRST)
    found = models.load(WEIGHTS).estimate([scene.image for scene in scenes])
    row = scored(found, scenes)
    return {"pictures": FIRST, "ap": row["ap"], "pckh_map": row["pckh_map"], "answered": row["answered"]}


def merged(new: list[dict[str, Any]], old: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The new rows, and of the old ones those of networks that were not at hand."""
    known = {row["arm"].split(",")[0] for row in new}
    return new + [row for row in old if row["arm"].split(",")[0] in set(ARMS) - known]


def measure(
    folder: Path | None = None,
    pictures: int = PICTURES,
    old: dict[str, Any] | None = None,
    parts: Sequence[str] = PARTS,
) -> dict[str, Any]:
    """The study, or some parts of it; what is not measured is as the `old` one has it."""
    torch.set_num_threads(1)
    networks, old, numbers = arms_at_hand(folder), old or {}, suppression.load()
    full, four = networks["full"], suppression.options(numbers["full"])["pose NMS"]
    scenes = synthetic.benchmark(BENCHMARK, skeleton=full.skeleton, count=pictures)
    some = scenes[:MOVED]
    found = full.detector.detect([scene.image for scene in scenes])
    poses = looked_at(full, scenes, found) if {"runs", "lost"} & set(parts) else []
    with_stn = {arm: model for arm, model in networks.items() if model.localiser is not None}
    noisy = {arm: networks[arm] for arm in NOISY if arm in networks}
    makers: dict[str, Callable[[], Any]] = {
        "runs": lambda: merged(ablation(networks, scenes, found, poses, numbers), old.get("runs", [])),
        "moves": lambda: {"pictures": len(some), **moves({TOLD: models.load(TOLD)}, some)},
        "noise": lambda: merged(noise(noisy, some), old.get("noise", [])),
        "centring": lambda: merged(centring(with_stn, some), old.get("centring", [])),
        "detection": lambda: detection(scenes, found),
        "lost": lambda: lost(scenes, found, poses, four),
        "short_run": short_run,
    }
    return {
        "what": "what each part of AlphaPose is worth on crowd-val, and what wrong boxes cost",
        "made_by": "python -m course_lib evaluate --study alphapose_study",
        **studies.provenance(WEIGHTS),
        "weights": identity(),
        "trained": {**old.get("trained", {}), **trained(folder, networks)},
        "pictures": len(scenes),
        **{part: makers[part]() if part in parts else old.get(part) for part in PARTS},
    }


def trained(folder: Path | None, networks: dict[str, AlphaPose]) -> dict[str, Any]:
    """How long each network was trained, and by what recipe."""
    files = {arm: paths.checkpoint(WEIGHTS) if arm == "full" else folder / f"{arm}.safetensors" for arm in networks}
    headers = {arm: checkpoints.read_header(file) for arm, file in files.items()}
    return {arm: {key: header[key] for key in ("recipe", "steps", "images")} for arm, header in headers.items()}


def load(file: Path = FILE) -> dict[str, Any]:
    """The stored study, which must be about the weights that ship now."""
    study = studies.load(file)
    if study["weights"] != identity():
        raise CourseError(f"{file} was measured with other weights than ship now; `{study['made_by']}` measures again")
    return study


def arm(study: dict[str, Any], name: str) -> dict[str, Any]:
    """One row of the ablation; what is not there was never measured."""
    return next((row for row in study["runs"] if row["arm"] == name), {})


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the study and writes it."""
    parser = argparse.ArgumentParser(description="the study of lesson 09")
    parser.add_argument("--arms", type=Path, help="a folder with the networks of the ablation")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="only the first so many")
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="only some parts; else all of them")
    given = parser.parse_args(arguments)
    old = studies.load(given.out) if given.out.exists() else None
    studies.save(given.out, measure(given.arms, given.pictures, old, given.parts))
