"""`evaluate --data coco` on a small folder in COCO's own format, made here, held against pycocotools and by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import generated_coco
import numpy as np
import published_files as published
import pytest
import torch
from PIL import Image

from course_lib import cli, hub, images, models
from course_lib.hub import building
from course_lib.models.base import HeatmapModel
from course_lib.models.detector import GivenBoxes
from course_lib.models.paf import Answer
from course_lib.pose import Found, Pose
from course_lib.skeletons import COCO, get
from course_lib.targets import heatmaps
from course_lib.targets.suppression import oks_nms
from course_lib.training import coco

SIZE = (96, 120)  # of the pictures


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """COCO's folder with six pictures, of which one is empty and one has a crowd."""
    draw = np.random.default_rng(2)
    home = tmp_path / "data" / "coco"
    (home / "annotations").mkdir(parents=True)
    (home / "val2017").mkdir()
    pictures, people = [], []
    for number in range(6):
        name = f"{number:012d}.jpg"
        Image.fromarray(draw.integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(home / "val2017" / name)
        pictures.append({"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1], "license": 1})
        for _ in range(0 if number == 5 else 1 + number % 2):
            people.append(person(draw, number, len(people) + 1))
    people[-1]["iscrowd"] = 1
    people[1]["keypoints"], people[1]["num_keypoints"] = [0] * 51, 0
    content = {
        "images": pictures,
        "annotations": people,
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.joints), "skeleton": []}],
    }
    (home / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps(content))
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return home


def person(draw: np.random.Generator, picture: int, number: int) -> dict:
    x, y, width, height = *draw.integers(0, 40, 2).tolist(), 50, 50
    [[pose]] = Knows().estimate(torch.zeros(3, *SIZE), boxes=[[x, y, x + width, y + height]])
    joints = (pose.joints.numpy() - 0.5 + draw.normal(0, 2.5, (17, 2))).round(1)
    keypoints = np.concatenate([joints, np.full((17, 1), 2)], 1).ravel().tolist()
    box = [float(value) for value in (x, y, width, height)]
    places = {"image_id": picture, "category_id": 1, "id": number, "bbox": box, "segmentation": []}
    return {**places, "keypoints": keypoints, "num_keypoints": 17, "area": 0.6 * width * height, "iscrowd": 0}


@pytest.fixture
def detections(folder) -> Path:
    """Boxes of a detector: the true ones moved about, doubled, and some of nobody."""
    draw = np.random.default_rng(1)
    content = json.loads((folder / "annotations" / "person_keypoints_val2017.json").read_text())
    found = []
    for one in content["annotations"]:
        for _ in range(2):
            moved = (np.array(one["bbox"]) + draw.normal(0, 2, 4)).round(2).tolist()
            score = round(float(draw.uniform(0.3, 1)), 3)
            found.append({"image_id": one["image_id"], "category_id": 1, "bbox": moved, "score": score})
    found.append({"image_id": 5, "category_id": 1, "bbox": [3.0, 4.0, 30.0, 60.0], "score": 0.9})
    found.append({"image_id": 5, "category_id": 7, "bbox": [3.0, 4.0, 30.0, 60.0], "score": 0.9})
    (folder / coco.DETECTIONS).parent.mkdir()
    (folder / coco.DETECTIONS).write_text(json.dumps(found))
    return folder / coco.DETECTIONS


class Knows(HeatmapModel):
    """Sees nothing: its map of a joint is highest at the place that is written in the crop's own pixels."""

    name = "knows"

    def __init__(self) -> None:
        super().__init__("coco", (64, 48), 4, 2.0, "quarter")
        self.alignment = "indices"
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, pictures):
        draw = torch.Generator().manual_seed(0)
        places = 3 + torch.rand(17, 2, generator=draw) * torch.tensor([6.0, 10.0])
        brightness = pictures.mean((1, 2, 3))[:, None, None, None]
        return (heatmaps.gaussian(places, (16, 12), 2.0) * (0.5 + brightness))[None]


def test_the_ten_numbers_are_pycocotools(folder, detections, capsys, monkeypatch):
    monkeypatch.setattr(coco, "evaluate", recording := Recording(coco.evaluate))
    monkeypatch.setattr(models, "load", lambda *_: Knows())
    assert cli.main(["evaluate", "--data", "coco", "--model", "knows", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"coco val2017, boxes of {detections.name}: knows (knows.safetensors)"
    assert lines[3] == "5 people in 6 pictures" and recording.calls == 1 and len(lines) == 4
    content = json.loads((folder / "annotations" / "person_keypoints_val2017.json").read_text())
    results = [result for number in range(6) for result in by_hand(folder, detections, number)]
    evaluator = generated_coco.run(generated_coco.official(content["annotations"], results, list(range(6))))
    theirs = generated_coco.ten_numbers(evaluator)
    assert [float(value) if value != "-" else -1.0 for value in lines[2].split()] == pytest.approx(theirs, abs=1e-4)
    assert 0.05 < theirs[0] < 0.95  # else little was compared


class Recording:
    def __init__(self, function) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *arguments):
        self.calls += 1
        return self.function(*arguments)


def by_hand(folder: Path, detections: Path, number: int) -> list[dict]:
    """One picture's results as COCO's file has them: crop after crop, rescored, doubles gone."""
    picture, model = images.read(folder / "val2017" / f"{number:012d}.jpg"), Knows()
    people = []
    for one in json.loads(detections.read_text()):
        if one["image_id"] != number or one["category_id"] != 1:
            continue
        x, y, width, height = one["bbox"]
        [[pose]] = model.estimate(picture, boxes=[[x, y, x + width, y + height]])
        confident = [score for score in pose.scores.tolist() if score > 0.2]
        score = one["score"] * (sum(confident) / len(confident) if confident else 0)
        wide = max(width, height * 48 / 64) * 1.25
        people.append({"joints": pose.joints.double().numpy() - 0.5, "score": score, "area": wide * wide * 64 / 48})
    people.sort(key=lambda one: -one["score"])
    kept: list[dict] = []
    variances = (2 * np.array(COCO.sigmas)) ** 2
    for one in people:
        likeness = [
            np.exp(
                -((one["joints"] - k["joints"]) ** 2).sum(1) / variances / ((one["area"] + k["area"]) / 2) / 2
            ).mean()
            for k in kept
        ]
        if not likeness or max(likeness) <= 0.9:
            kept.append(one)
    return [
        {
            "image_id": number,
            "category_id": 1,
            "keypoints": np.concatenate([one["joints"], np.ones((17, 1))], 1).ravel().tolist(),
            "score": one["score"],
        }
        for one in kept
    ]


def test_a_published_network_takes_the_papers_boxes_and_its_flip_test_by_itself(folder, detections, capsys):
    torch.save(published.zoo(published.pose_resnet(50)), "zoo.pth")
    command = [
        "evaluate",
        "--data",
        "coco",
        "--model",
        "hub:pose_resnet50",
        "--checkpoint",
        "zoo.pth",
        "--device",
        "cpu",
    ]
    assert cli.main([*command, "--pictures", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"coco val2017, boxes of {detections.name}, flip test: hub:pose_resnet50 (zoo.pth)"
    assert lines[1].split() == ["AP", "AP50", "AP75", "AP-M", "AP-L", "AR", "AR50", "AR75", "AR-M", "AR-L"]
    assert lines[3] == "1 people in 1 pictures"
    assert lines[4].startswith("published, AP on COCO val2017 with flip test, in the boxes of a detector")
    assert lines[4].endswith(": 0.718 (the zoo's file), 0.704 (the authors' file)")
    assert cli.main([*command, "--pictures", "2", "--no-flip", "--boxes", "true"]) == 0
    assert capsys.readouterr().out.startswith("coco val2017, true boxes: hub:pose_resnet50 (zoo.pth)")
    detections.unlink()
    assert cli.main([*command, "--pictures", "1", "--no-flip"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("There are no detected boxes (COCO_val2017_detections_AP_H_56_person.json), so")
    assert lines[1] == "coco val2017, true boxes: hub:pose_resnet50 (zoo.pth)"
    assert cli.main(["estimate", str(folder / "val2017" / "000000000001.jpg"), *command[3:], "--out", "drawn.png"]) == 0
    assert Path("drawn.png").is_file()


def test_a_model_that_finds_everybody_is_shown_the_pictures_alone(folder, capsys, monkeypatch):
    class Everybody(Knows):
        many, name = True, "everybody"

        def __init__(self):
            super().__init__()
            self.skeleton = get("body18")

        def estimate(self, images, boxes=None, flip_test=False):
            joints = torch.full((18, 2), 40.0)
            return [[Pose(joints, torch.ones(18), self.skeleton)] for _ in images]

    monkeypatch.setattr(models, "load", lambda *_: Everybody())
    command = ["evaluate", "--data", "coco", "--model", "everybody", "--device", "cpu"]
    assert cli.main(command) == 0
    assert capsys.readouterr().out.startswith("coco val2017: everybody (everybody.safetensors)")
    assert cli.main([*command, "--boxes", "true"]) == 2
    assert "'everybody' looks for everybody itself; it takes neither" in capsys.readouterr().err


def test_rescoring_and_suppression_on_poses_made_by_hand():
    model = Knows()
    system = coco.InBoxes(model, GivenBoxes([]))
    joints = torch.rand(17, 2) * 40
    sure, doubtful = torch.full((17,), 0.1), torch.full((17,), 0.1)
    sure[:2] = torch.tensor([0.9, 0.5])
    boxes = torch.tensor([[0.0, 0.0, 40.0, 40.0]] * 3)
    poses = [Pose(joints, sure, COCO), Pose(joints + 0.1, sure, COCO), Pose(joints + 30, doubtful, COCO)]
    kept = system.ranked(poses, Found(boxes, torch.tensor([0.5, 1.0, 0.9])))
    assert [round(pose.score, 6) for pose in kept] == [0.7, 0.0]
    assert (
        torch.equal(kept[0].joints, joints + 0.1) and system.ranked([], Found(torch.zeros(0, 4), torch.zeros(0))) == []
    )


def test_areas_that_are_given_decide_how_near_is_alike():
    joints = torch.rand(17, 2, generator=torch.Generator().manual_seed(0)) * 40
    poses = [Pose(joints, torch.ones(17), COCO, 1.0), Pose(joints + 2, torch.ones(17), COCO, 0.5)]
    assert len(oks_nms(poses, 0.9, areas=torch.tensor([1e5, 1e5]))) == 1
    assert len(oks_nms(poses, 0.9, areas=torch.tensor([1e3, 1e3]))) == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--data", "coco", "--model", "hourglass_course"],
            "skeleton 'lsp' of hourglass_course lacks 5 of them, such as nose",
        ),
        (["--data", "coco", "--record"], "--baseline and --record are for the course's own benchmarks"),
        (["--split", "val2014"], "--split and --pictures are for --data coco"),
        (["--data", "coco", "--pictures", "0"], "--pictures must be at least 1; got 0"),
        (["--data", "coco", "--model", "hub:hrnet"], "no published network called 'hrnet'; did you mean 'hrnet_w"),
        (["--model", "hub:hrnet_w32", "--record"], "which the file of hub:hrnet_w32 is not"),
        (["--data", "coco", "--model", "hub:openpose"], "the weights of 'openpose' cannot be downloaded"),
        (["--data", "coco", "--model", "knows", "--split", "val2014"], "has no val2014, but val2017; see --split"),
        (["--data", "coco", "--model", "knows", "--boxes", "nowhere.json"], "'nowhere.json' cannot be read"),
        (["--data", "coco", "--model", "person_detector"], "finds boxes and no poses; give it as --detector"),
    ],
)
def test_what_does_not_go_together_is_told_in_one_sentence(folder, options, sentence, capsys, monkeypatch):
    load = models.load
    monkeypatch.setattr(models, "load", lambda name, *rest: Knows() if name == "knows" else load(name, *rest))
    assert cli.main(["evaluate", "--device", "cpu", *options]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


def test_without_coco_it_says_where_to_look(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setattr(models, "load", lambda *_: Knows())
    assert cli.main(["evaluate", "--data", "coco", "--model", "knows", "--device", "cpu"]) == 2
    assert "COCO is not on this machine" in capsys.readouterr().err


# --- networks that look at whole pictures -----------------------------------------------------------------------------


def test_keypoint_rcnn_is_shown_pictures_as_they_are_and_counts_from_the_corner(monkeypatch):
    model = building_of("keypoint_rcnn")
    seen = []

    def forward(pictures):
        seen.append(pictures[0].shape)
        keypoints = torch.full((1, 17, 3), 20.0)
        numbers = {"scores": torch.tensor([0.9]), "boxes": torch.tensor([[1.0, 2, 30, 40]])}
        return [{**numbers, "keypoints": keypoints, "keypoints_scores": torch.zeros(1, 17)}]

    monkeypatch.setattr(type(model), "forward", lambda self, pictures: forward(pictures))
    [[pose]] = model.estimate(torch.rand(3, 51, 70))
    assert seen == [(3, 51, 70)] and bool((pose.joints == 20.5).all()) and pose.score == pytest.approx(0.9)
    assert not model.training


def building_of(name: str):
    small = {"openpose": {"width": 8, "hidden": 8, "groups": ((8,), (8,), (8,), (8,)), "feature_channels": (8, 8)}}
    small["keypoint_rcnn"] = {"body": (8, 8), "channels": 8, "box_width": 8, "head_width": 8, "head_depth": 1}
    return building.empty(replace(hub.card(name), options=small[name])).eval()


def test_openpose_finds_a_person_where_one_was_drawn(monkeypatch):
    """Maps and fields as asked for in training, instead of a network: the person comes back to the pixel."""
    model = building_of("openpose")
    joints = 20 + torch.rand(18, 2, generator=torch.Generator().manual_seed(3)) * torch.tensor([120.0, 70.0])
    picture, shapes = torch.rand(3, 110, 160), []

    def forward(images):
        shapes.append(tuple(images.shape[-2:]))
        larger = images.shape[-2] / picture.shape[-2]
        maps, fields, _ = model.targets(joints[None, None] * larger, torch.full((1, 1, 18), 2), images.shape[-2:])
        return Answer(maps[None], fields[None])

    monkeypatch.setattr(type(model), "forward", lambda self, images: forward(images))
    [people] = model.estimate(picture)
    assert [height for height, _ in shapes] == [184, 368, 552, 736] and all(width % 8 == 0 for _, width in shapes)
    assert len(people) == 1
    there = people[0].scores > 0
    assert int(there.sum()) >= 15
    assert float((people[0].joints - joints)[there].norm(dim=1).max()) < 1.5
