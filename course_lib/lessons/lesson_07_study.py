"""What limits lesson 07's network, what each threshold is worth, and what everything costs: measured on crowd-val.

    python -m course_lib evaluate --study paf_study        # some minutes of one core

shows all 200 pictures to the shipped weights once (and once mirrored, and at four sizes), groups the answers in many
ways, and writes data/studies/paf_study.json. The file also holds the scores on the first pictures, which the lesson
repeats, so that the numbers cannot drift away from weights and code. `--scenes` and `--out` are for trying it out.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from course_lib import checkpoints, geometry, metrics, models, paths
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.lessons import lesson_07_part_affinity_fields as tools
from course_lib.lessons import studies
from course_lib.lessons.lesson_07_people import (
    AT_ONCE,
    Crowded,
    false_people,
    who_is_found,
    with_drawn_answers,
    with_true_joints,
    with_true_owners,
)
from course_lib.models.paf_scales import at_scales
from course_lib.pose import Pose, Scene
from course_lib.targets.candidates import peaks
from course_lib.targets.grouping import greedy, group, optimal, pair_scores
from course_lib.training.crowds import GROUPS

FILE = paths.DATA / "studies" / "paf_study.json"
WEIGHTS, ONE_PERSON = "paf_course", "hourglass_course"
FIRST = 12  # pictures of the short run
SIZES = (0.5, 1.0, 1.5, 2.0)  # the paper's

# arm -> options of the grouping that differ from its own
THRESHOLDS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "peak above 0.05": {"threshold": 0.05},
    "peak above 0.2": {"threshold": 0.2},
    "peak above 0.3": {"threshold": 0.3},
    "projection above 0.2": {"along": 0.2},
    "any share of points": {"share": 0.0},
    "all but none of the points (0.95)": {"share": 0.95},
    "any length of limb": {"longest": None},
    "mean over passing points": {"passing_only": True},
    "1 joint is enough": {"least_joints": 1},
    "5 joints at least": {"least_joints": 5},
    "any score a joint": {"least_score": 0.0},
    "score a joint 0.2": {"least_score": 0.2},
    "score a joint 0.6": {"least_score": 0.6},
    "optimal assignment": {"assignment": "optimal"},
    "all limbs by score": {"order": "score"},
}
# of a person's height in pixels, and of how much of their box somebody else's covers, where the lesson cuts
EDGES = {"height, pixels": (0, 30, 45, 60, 80), "overlap of boxes (IoU)": (0, 0.05, 0.15, 0.3, 0.5)}
ORACLES = ("own joints, own fields", "true joints, own fields", "own joints, true owners", "drawn maps and fields")


def scored(poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene]) -> dict[str, Any]:
    """AP, AP50, AR and PCKh-mAP, and AP and PCKh-mAP by how many people there are."""
    matches = metrics.match_keypoints(poses, scenes)
    listed = np.array([len(scene.people) for scene in scenes])
    groups = {f"{few}-{most}": (listed >= few) & (listed <= most) for few, most in GROUPS}
    whole = matches.scores()
    row = {"ap": whole.ap(), "ap50": whole.ap(threshold=0.5), "ar": whole.ar()}
    row |= {"pckh_map": metrics.pckh_map(poses, scenes)["mAP"], "by_people": {}}
    for name, chosen in groups.items():
        some = [i for i in range(len(scenes)) if chosen[i]]
        mean = metrics.pckh_map([poses[i] for i in some], [scenes[i] for i in some])["mAP"]
        row["by_people"][name] = {"ap": matches.scores(chosen.astype(float)).ap(), "pckh_map": mean}
    return _rounded(row)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return None if value is None else round(float(value), 4)


def helped(crowded: Crowded) -> dict[str, list[list[Pose]]]:
    """Everybody found by each of ORACLES."""
    skeleton, rows = crowded.model.skeleton, {name: [] for name in ORACLES}
    for number, (own, scene) in enumerate(zip(crowded.truth, crowded.scenes, strict=True)):
        maps, fields = crowded.picture(number)
        rows[ORACLES[1]].append(with_true_joints(fields, own, skeleton))
        rows[ORACLES[2]].append(with_true_owners(maps, own, scene))
        rows[ORACLES[3]].append(with_drawn_answers(own, skeleton))
    rows[ORACLES[0]] = crowded.poses()
    return rows


@torch.inference_mode()
def other_looks(crowded: Crowded) -> dict[str, list[list[Pose]]]:
    """With the mirrored picture, at several sizes, and with maps enlarged before peaks are looked for."""
    model, rows = crowded.model, {"with the mirrored picture": [], f"at sizes {SIZES}": [], "maps enlarged 4 times": []}
    for start in range(0, len(crowded.scenes), AT_ONCE):
        images = torch.stack([scene.image for scene in crowded.scenes[start : start + AT_ONCE]])
        own = model(images)
        averaged = model.flip_average(own, model(geometry.flip_images(images)))
        for name, poses in zip(
            rows,
            (model.decode(averaged), model.decode(at_scales(model, images, SIZES)), model.decode(own, enlarge=4)),
            strict=True,
        ):
            rows[name] += poses
    return rows


def assignments(crowded: Crowded) -> dict[str, Any]:
    """How often the best assignment is another one than the greedy one, and what it gains, on the network's fields."""
    limbs, count = crowded.model.skeleton.limbs, len(crowded.model.skeleton)
    asked = different = 0
    sums, best_sums, worst = 0.0, 0.0, 1.0
    for number in range(len(crowded.scenes)):
        maps, fields = crowded.picture(number)
        links = pair_scores(peaks(maps), fields, limbs, count)
        if not links.scores.numel():
            continue
        one, other = greedy(links), optimal(links)
        contested = links.possible.flatten(1).sum(1) > 1
        asked += int(contested.sum())
        different += int((one != other).flatten(1).any(1).sum())
        each, best = ((links.scores * chosen).flatten(1).sum(1) for chosen in (one, other))
        sums, best_sums = sums + float(each.sum()), best_sums + float(best.sum())
        worst = min(worst, float((each / best.clamp(min=1e-9))[best > 0].min()) if bool((best > 0).any()) else 1.0)
    return _rounded({"limbs": asked, "different": different, "ratio": sums / max(best_sums, 1e-9), "worst": worst})


def links(crowded: Crowded) -> dict[str, dict[str, dict[str, float]]]:
    """What becomes of limbs whose joints are given, the true ones: the share that is linked right, and how many links
    there are, for each limb, that join two people. By how near the ends are, by learned and by drawn fields."""
    rules: dict[str, Callable] = {
        tools.NEAREST: lambda scene, own, fields: tools.links_by(tools.NEAREST, scene, own),
        "learned field": lambda scene, own, fields: tools.links_by(tools.FIELD, scene, own._replace(fields=fields)),
        "drawn field": lambda scene, own, fields: tools.links_by(tools.FIELD, scene, own),
    }
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for rule, links_of in rules.items():
        every = []
        for number, (scene, own) in enumerate(zip(crowded.scenes, crowded.truth, strict=True)):
            chosen = greedy(links_of(scene, own, crowded.picture(number)[1]))
            every.append((len(scene.people), tools.judged(own, chosen, tools.limbs_of(scene))))
        rows[rule] = {}
        for few, most in (*GROUPS, (1, 99)):
            some = [one for people, one in every if few <= people <= most]
            limbs = max(sum(one.limbs for one in some), 1)
            right, wrong = (sum(getattr(one, name) for one in some) / limbs for name in ("right", "wrong"))
            rows[rule]["all" if most == 99 else f"{few}-{most}"] = {"right": right, "joining two people": wrong}
    return _rounded(rows)


def breaking(poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene]) -> dict[str, Any]:
    """The share of people found by how large they are and by how much of their box others' boxes cover."""
    people: list[tuple[float, float, bool]] = []
    for found, scene in zip(poses, scenes, strict=True):
        boxes = torch.stack([person.box for person in scene.people])
        shared = geometry.box_iou(boxes, boxes).fill_diagonal_(0).amax(1)
        for person, own, yes in zip(scene.people, shared.tolist(), who_is_found(found, scene), strict=True):
            people.append((float(person.box[3] - person.box[1]), own, yes))
    rows: dict[str, Any] = {}
    for column, (title, edges) in enumerate(EDGES.items()):
        rows[title] = {}
        for low, high in pairwise((*edges, math.inf)):
            some = [yes for *values, yes in people if low <= values[column] < high]
            name = f"{low} to {high}" if high < math.inf else f"{low} and more"
            rows[title][name] = {"people": len(some), "found": round(sum(some) / len(some), 4) if some else None}
    rows["estimates"] = sum(map(len, poses))
    rows["nobody's"] = sum(false_people(found, scene) for found, scene in zip(poses, scenes, strict=True))
    return rows


# --- what it costs ----------------------------------------------------------------------------------------------------


def seconds(function: Callable[[], Any], rounds: int = 3) -> float:
    """The least CPU time of a few runs: what else the machine does counts little."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def costs(crowded: Crowded, each: int = 4) -> dict[str, dict[str, float]]:
    """Seconds by how many people there are: the network, the grouping, and one crop after another with true boxes."""
    one_person, rows = models.load(ONE_PERSON), {}
    for count in range(1, 13):
        some = [i for i, scene in enumerate(crowded.scenes) if len(scene.people) == count][:each]
        if not some:
            continue
        row: dict[str, list[float]] = {"network": [], "grouping": [], "top-down": []}
        for i in some:
            scene = crowded.scenes[i]
            maps, fields = crowded.picture(i)
            boxes = torch.stack([person.box for person in scene.people])
            with torch.inference_mode():
                row["network"].append(seconds(partial(crowded.model, scene.image[None])))
            row["grouping"].append(seconds(partial(group, maps, fields, crowded.model.skeleton.limbs)))
            row["top-down"].append(seconds(partial(one_person.estimate, scene.image, boxes)))
        rows[str(count)] = {name: round(median(times), 5) for name, times in row.items()}
    return rows


def against_loops(crowds: Sequence[int] = (1, 5, 10, 20, 30)) -> list[dict[str, float]]:
    """Seconds of the grouping and of the tests' loops on drawn crowds; loops are only where the tests are."""
    file = Path(__file__).parents[2] / "tests" / "naive_grouping.py"
    if not file.exists():
        raise CourseError(f"the study compares with the loops in {file}, which is not here: run it in a checkout")
    spec = importlib.util.spec_from_file_location("naive_grouping", file)
    loops = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loops)

    def by_loops(maps: np.ndarray, fields: np.ndarray, limbs: Sequence) -> list:
        found = loops.find_peaks(maps)
        return loops.build(found, loops.connect(found, fields, limbs), limbs)

    rows = []
    for count in crowds:
        [scene] = synthetic.scenes(1, f"lesson 07 study {count}", (384, 512), (count, count), "lsp")
        own, limbs = tools.drawn(scene), tools.limbs_of(scene)
        generator = torch.Generator().manual_seed(count)
        maps = own.maps + 0.02 * torch.randn(own.maps.shape, generator=generator)
        fields = own.fields + 0.05 * torch.randn(own.fields.shape, generator=generator)
        row = {"people": len(scene.people), "candidates": len(peaks(maps).scores)}
        row["loops"] = round(seconds(partial(by_loops, maps.numpy(), fields.numpy(), limbs), 2), 5)
        row["grouping"] = round(seconds(partial(group, maps, fields, limbs)), 5)
        rows.append(row)
    return rows


# --- the whole --------------------------------------------------------------------------------------------------------


def identity() -> dict[str, Any]:
    """What changes whenever the weights are trained anew."""
    header = checkpoints.read_header(paths.checkpoint(WEIGHTS))
    return {key: header[key] for key in ("recipe", "steps", "images", "seed")}


def short_run() -> dict[str, Any]:
    """The scores on the first pictures: stored with the study, and measured again by the lesson."""
    scenes = synthetic.benchmark("crowd-val", skeleton="lsp", count=FIRST)
    crowded = Crowded.of(models.load(WEIGHTS), scenes)
    of = scored(crowded.poses(), scenes)
    return {"pictures": FIRST, "ap": of["ap"], "pckh_map": of["pckh_map"]}


def measure(pictures: int | None = None) -> dict[str, Any]:
    """The whole study."""
    scenes = synthetic.benchmark("crowd-val", skeleton="lsp", count=pictures)
    crowded = Crowded.of(models.load(WEIGHTS), scenes)
    arms = {f"stage {stage + 1}": crowded.poses(stage) for stage in range(len(crowded.answer.maps))}
    arms |= helped(crowded) | {name: crowded.poses(**options) for name, options in THRESHOLDS.items()}
    arms |= other_looks(crowded)
    study = {"made_by": "python -m course_lib evaluate --study paf_study", **studies.provenance(WEIGHTS)}
    study |= {"weights": identity(), "pictures": len(scenes), "short_run": short_run()}
    study["runs"] = [{"arm": name, **scored(poses, scenes)} for name, poses in arms.items()]
    study["errors"] = _rounded({name: dict(enumerate(values, 1)) for name, values in crowded.errors().items()})
    study |= {"assignments": assignments(crowded), "links": links(crowded)}
    study |= {"breaking": breaking(crowded.poses(), scenes), "seconds": costs(crowded), "loops": against_loops()}
    return study


def load(file: Path = FILE) -> dict[str, Any]:
    """The stored study, which must be about the weights that ship now."""
    study = studies.load(file)
    if study["weights"] != identity():
        raise CourseError(
            f"{file} was measured with other weights than '{WEIGHTS}' has now; `{study['made_by']}` measures again"
        )
    return study


def arm(study: dict[str, Any], name: str) -> dict[str, Any]:
    """One way's scores."""
    return next(run for run in study["runs"] if run["arm"] == name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the study and writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, help="only the first so many pictures")
    parser.add_argument("--out", type=Path, default=FILE)
    given = parser.parse_args(arguments)
    studies.save(given.out, measure(given.scenes))
