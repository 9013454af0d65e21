"""Whose boxes a two-stage system works with: a detector's, those of a file, the true ones; and odd boxes."""

from __future__ import annotations

import json
import math
from itertools import islice
from pathlib import Path

import pytest
import torch
from crowd_helpers import FIGURE, Told
from PIL import Image
from queue_helpers import ten
from test_training_detectors import small_world, write  # noqa: F401 (a fixture)
from top_down_helpers import Centred, Finder

from course_lib import checkpoints, cli, detectors, models, paths
from course_lib.errors import CourseError
from course_lib.models.detector import GivenBoxes, TorchvisionDetector
from course_lib.photographs import found_in
from course_lib.pose import Found, Pose
from course_lib.skeletons import LSP
from course_lib.training import benchmarks, crowds

TINY = {"stacks": 1, "width": 8, "depth": 2, "input_size": (32, 32)}
PICTURE = torch.rand(3, 60, 80, generator=torch.Generator().manual_seed(0))
NAMES = ("any number", "1-2", "3-4", "5-7", "8-12")


class Single:
    """Answers a box with a figure in its corner, as sure of it as it is told by the box's left side."""

    skeleton = LSP

    def __init__(self) -> None:
        self.asked = []

    def estimate(self, images, boxes=None, flip_test=False):
        self.asked.append((boxes, flip_test))
        poses = [[(FIGURE + box[:2], torch.full((14,), 1 - float(box[0]) / 100)) for box in own] for own in boxes]
        return [[Pose(joints, scores, LSP) for joints, scores in own] for own in poses]


def found(*rows) -> Found:
    table = torch.tensor(rows).reshape(-1, 5)
    return Found(table[:, :4], table[:, 4])


# --- a single-person model behind a detector --------------------------------------------------------------------------


def test_people_are_ranked_by_box_and_joints():
    detector = GivenBoxes([found((50, 0, 70, 20, 0.9), (0, 0, 20, 20, 0.8), (20, 30, 50, 60, 0.1)), found()])
    single = Single()
    both = crowds.Detected(single, detector)
    first, second = both.estimate([PICTURE, PICTURE], flip_test=True)
    assert [pose.score for pose in first] == pytest.approx([0.8 * 1, 0.9 * 0.5, 0.1 * 0.8]) and second == []
    assert torch.equal(first[0].box, torch.tensor([0.0, 0, 20, 20])) and torch.equal(first[0].joints, FIGURE)
    assert single.asked[0][1] and both.many and both.skeleton is LSP
    assert crowds.Detected(single, GivenBoxes([found((0, 0, 9, 9, 1))])).estimate(PICTURE)[0][0].score == 1


def test_of_two_in_one_place_the_better_stays():
    """By the product, not by the box alone: the second box is surer of its joints."""
    rows = ((10, 0, 30, 30, 0.8), (8, 0, 28, 30, 0.79), (60, 0, 80, 30, 0.3))
    (kept,) = crowds.Detected(Single(), GivenBoxes([found(*rows)])).estimate([PICTURE])
    assert [pose.box[0].item() for pose in kept] == [8, 60]
    (all_,) = crowds.Detected(Single(), GivenBoxes([found(*rows)]), nms=1.0).estimate([PICTURE])
    assert len(all_) == 3


def test_given_boxes_are_answered_one_by_one():
    own = [torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9]])]
    both = crowds.Detected(Single(), GivenBoxes([]))
    assert len(both.estimate([PICTURE], boxes=own)[0]) == 2


def test_who_looks_for_everybody_is_not_put_behind_a_detector():
    for model in (Told([]), Centred(), crowds.TopDown(Single())):
        with pytest.raises(CourseError, match="looks for everybody itself"):
            crowds.Detected(model, Finder())


@pytest.mark.parametrize("kind", ["single", "top down"])
def test_odd_boxes_and_hundreds_have_a_sane_answer(kind):
    odd = [(math.nan, 0, 9, 9, 0.9), (5, 5, 5, 9, 0.9), (9, 9, 0, 0, 0.9), (-50, 0, -9, 9, 0.9), (0, 0, 9, 9, math.nan)]
    odd += [(100, 100, 120, 130, 0.9), (0, 0, math.inf, 9, 0.9), (0, 0, 0.2, 0.2, 0.9)]
    same = [(5, 5, 40, 40, 0.8)] * 3
    network = models.create("hourglass_course", **TINY).eval()

    def answer(*rows):
        detector = GivenBoxes([found(*rows)])
        return detectors.plugged(network if kind == "single" else Centred(), detector).estimate([PICTURE])[0]

    assert answer() == answer(*odd) == []
    (pose,) = answer(*odd, *same)
    assert pose.joints.isfinite().all() and torch.equal(pose.box, torch.tensor([5.0, 5, 40, 40]))
    many = [(x % 40, x // 40, x % 40 + 20, x // 40 + 30, 0.5 + x / 1000) for x in range(300)]
    people = answer(*many)
    assert 1 <= len(people) <= 100 and all(pose.joints.isfinite().all() for pose in people)


# --- any detector -----------------------------------------------------------------------------------------------------


def test_a_top_down_model_asks_the_detector_it_is_given():
    model, detector = Centred(), GivenBoxes([found((10, 10, 30, 30, 0.5))])
    assert detectors.plugged(model, detector) is model and model.detector is detector
    (pose,) = model.estimate([PICTURE])[0]
    torch.testing.assert_close(pose.joints, torch.full((14, 2), 20.0))


@pytest.mark.usefixtures("small_world")
def test_true_boxes_for_a_top_down_model():
    """Told where everybody is, it needs no detector, and answers each box."""
    examiner = benchmarks.Examiner()
    scores, _ = examiner.examine(crowds.TopDown(Centred()), "crowd-val")
    assert scores["people"] == 87 and scores["ar"] is not None
    scene = ten("crowd-val", "lsp")[0]
    (poses,) = crowds.TopDown(Centred()).estimate([scene.image], [crowds.true_boxes(scene)])
    assert len(poses) == len(scene.people)


def test_the_words_about_scores():
    single = Single()
    assert detectors.words(single, "person_detector") == "detected"
    assert detectors.words(Centred(), "person_detector") == ""
    other = Path("somewhere/mine.safetensors")
    assert detectors.words(Centred(), "person_detector", other) == "detected by person_detector (mine)"
    assert detectors.words(single, "mask_rcnn_course") == "detected by mask_rcnn_course"


def test_torchvisions_detectors_answer_with_the_weights_of_a_file(tmp_path):
    from torchvision.models import detection

    torch.manual_seed(0)
    network = detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    torch.save(network.state_dict(), tmp_path / "own.pth")
    detector = detectors.load("torchvision:ssdlite320_mobilenet_v3_large", tmp_path / "own.pth")
    assert isinstance(detector, TorchvisionDetector) and isinstance(detector.detect([PICTURE])[0], Found)
    for key, value in detector.network.state_dict().items():
        assert torch.equal(value, network.state_dict()[key])


@pytest.mark.usefixtures("small_world")
@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("torchvision:fasterrcnn_resnet50_fpn", None, "comes without weights: name the file of its state dict"),
        ("torchvision:fasterrcnn_resnet50_fnp", None, "did you mean 'fasterrcnn_resnet50_fpn'"),
        ("torchvision:ssdlite320_mobilenet_v3_large", "nowhere", "the weights 'file.pth' cannot be read"),
        ("torchvision:ssdlite320_mobilenet_v3_large", b"nothing", "holds no state dict that torch can read"),
        ("torchvision:ssdlite320_mobilenet_v3_large", b"", "holds no state dict that torch can read"),
        ("torchvision:ssdlite320_mobilenet_v3_large", [1, 2], "holds other weights"),
        ("torchvision:ssdlite320_mobilenet_v3_large", {"a": 1}, "holds other weights"),
        ("hourglas_course", None, "there is no shipped checkpoint called 'hourglas_course'"),
        ("single", None, "'single' finds no boxes; detectors are person_detector"),
    ],
)
def test_what_is_no_detector_is_refused_in_one_sentence(name, content, says):
    write(str(paths.checkpoint("single")), "hourglass_course", **TINY)
    if isinstance(content, bytes):
        Path("file.pth").write_bytes(content)
    elif content is not None and content != "nowhere":
        torch.save(content, "file.pth")
    with pytest.raises(CourseError) as caught:
        detectors.load(name, None if content is None else Path("file.pth"))
    assert says in str(caught.value) and "\n" not in str(caught.value)


# --- files ------------------------------------------------------------------------------------------------------------


def coco(boxes: torch.Tensor, image_id, scores=None) -> list[dict]:
    rows = []
    for place, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        row = {"image_id": image_id, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
        rows.append(row if scores is None else {**row, "score": scores[place]})
    return rows


def test_boxes_of_a_file_belong_to_their_pictures(tmp_path):
    one = {"category_id": 1, "score": 0.25}
    entries = [
        {"image_id": 7, "bbox": [10, 20, 16, 24], **one},
        {"image_id": "7", "bbox": [0, 0, 8, 8.5], "score": 0.75},
        {"file_name": "somewhere/000009.png", "bbox": [1, 2, 3, 4]},
        {"image_id": 7, "bbox": [5, 6, 7, 8], "category_id": 62},
        {"image_id": 12345, "bbox": [0, 0, 1, 1], **one},
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    seven, eight, nine = found_in(tmp_path / "boxes.json", [7, 8, 9])
    assert seven.boxes.tolist() == [[0, 0, 8, 8.5], [10, 20, 26, 44]] and seven.scores.tolist() == [0.75, 0.25]
    assert eight.boxes.shape == (0, 4) and nine.boxes.tolist() == [[1, 2, 4, 6]] and nine.scores.tolist() == [1]


ENTRY = '{"image_id": 1, "bbox": [1, 2, 3, 4]'
FILES = [
    ("[]", "no entry in 'boxes.json' is a person's box in one of these 10 pictures; their image_id is 1, 2, 3, ..."),
    ('[{"image_id": 999, "bbox": [1, 2, 3, 4], "score": 1}]', "no entry in 'boxes.json'"),
    (f'[{ENTRY}, "score": NaN}}]', "score of entry 0 (counting from 0) in 'boxes.json' should be a number from 0 to 1"),
    (f'[{ENTRY}}}, {ENTRY}, "score": 1.5}}]', "score of entry 1"),
    (f'[{ENTRY}, "score": "high"}}]', 'got "high"'),
    (f'[{ENTRY}, "score": true}}]', "score of entry 0"),
    ('[{"image_id": 1, "bbox": [1, NaN, 3, 4]}]', "bbox of entry 0"),
    ('[{"image_id": 1, "bbox": [1, 2, 0, 4]}]', "bbox of entry 0"),
    ("no json", "are no JSON"),
    (None, "the boxes 'boxes.json' cannot be read"),
]


@pytest.mark.usefixtures("small_world")
@pytest.mark.parametrize(("content", "says"), FILES)
def test_a_bad_file_is_told_in_one_sentence(capsys, content, says):
    file = write("centred.safetensors", "centred")
    if content is not None:
        Path("boxes.json").write_text(content)
    command = ["evaluate", "--checkpoint", str(file), "--device", "cpu", "--boxes", "boxes.json"]
    assert cli.main(command) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


# --- evaluate ---------------------------------------------------------------------------------------------------------


def table(capsys) -> tuple[str, dict[str, list[str]]]:
    """The title, and the numbers of each row."""
    title, _, *rows = capsys.readouterr().out.splitlines()
    return title, {name: row.removeprefix(name).split() for name, row in zip(NAMES, rows, strict=False)}


@pytest.mark.usefixtures("small_world")
def test_evaluate_with_whosever_boxes(capsys):
    scenes = ten("crowd-val", "lsp")
    entries = [one for scene in scenes for one in coco(crowds.true_boxes(scene), scene.id, [0.9] * len(scene.people))]
    Path("true.json").write_text(json.dumps(entries))
    twice = [one | {"bbox": [one["bbox"][0] - 500, *one["bbox"][1:]]} for one in entries]
    Path("odd.json").write_text(json.dumps(entries + twice + entries[:5]))
    write(str(paths.checkpoint("person_detector")), "finder", by=0.0)
    single, top_down = write("single.safetensors", "hourglass_course", **TINY), write("centred.safetensors", "centred")
    seen = {}
    for file, options, title in (
        (single, ["--detector", "person_detector"], "crowd-val, detected: single"),
        (single, ["--boxes", "true.json"], "crowd-val, boxes of true.json: single"),
        (single, ["--boxes", "odd.json"], "crowd-val, boxes of odd.json: single"),
        (single, ["--boxes", "true"], "crowd-val, true boxes: single"),
        (top_down, [], "crowd-val: centred"),
        (top_down, ["--detector", "person_detector"], "crowd-val: centred"),
        (top_down, ["--boxes", "true"], "crowd-val, true boxes: centred"),
        (top_down, ["--boxes", "true.json"], "crowd-val, boxes of true.json: centred"),
    ):
        command = ["evaluate", "--checkpoint", str(file), "--device", "cpu", "--record", *options]
        assert cli.main(command) == 0
        said, rows = table(capsys)
        assert said == title and rows["any number"][-2:] == ["87", "10"]
        seen[file.stem, *options] = rows["any number"]
    assert seen["single", "--boxes", "odd.json"] == seen["single", "--boxes", "true.json"]
    assert seen["centred", "--detector", "person_detector"] == seen[("centred",)]
    assert set(checkpoints.read_header(top_down)["scores"]) == {
        *("crowd-val", "crowd-val, true boxes", "crowd-val, boxes of true.json"),
    }


@pytest.mark.usefixtures("small_world")
def test_the_mean_pose_is_put_into_the_same_boxes(capsys, monkeypatch):
    people = benchmarks.training_people
    monkeypatch.setattr(benchmarks, "training_people", lambda *which: islice(people(*which), 5))
    write(str(paths.checkpoint("person_detector")), "finder", by=0.0)
    file = write("centred.safetensors", "centred")
    command = ["evaluate", "--checkpoint", str(file), "--device", "cpu", "--baseline"]
    for options, told in (
        ([], "mean pose, true boxes"),
        (["--boxes", "true"], "mean pose"),
        (
            ["--detector", "person_detector", "--detector-weights", str(paths.checkpoint("person_detector"))],
            "mean pose",
        ),
    ):
        assert cli.main([*command, *options]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].endswith(": centred") and lines[8].split(": ")[1] == told


@pytest.mark.usefixtures("small_world")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--data", "single-val", "--boxes", "true"], "are for crowd-val, not for single-val"),
        (["--detector-weights", "x.pth"], "--detector-weights needs a --detector"),
        (["--detector", "single"], "'single' finds no boxes"),
        (["--boxes", "nowhere.json"], "the boxes 'nowhere.json' cannot be read"),
    ],
)
def test_options_that_do_not_fit_end_with_one_sentence(capsys, options, says):
    file = write(str(paths.checkpoint("single")), "hourglass_course", **TINY)
    assert cli.main(["evaluate", "--checkpoint", str(file), "--device", "cpu", *options]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
    write("bottom.safetensors", "both")
    for more in (["--boxes", "true"], ["--detector", "person_detector"]):
        write(str(paths.checkpoint("person_detector")), "finder")
        assert cli.main(["evaluate", "--checkpoint", "bottom.safetensors", "--device", "cpu", *more]) == 2
        assert "looks for everybody itself" in capsys.readouterr().err


# --- estimate ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_world")
def test_estimate_finds_people_by_a_detector_or_in_a_files_boxes(capsys):
    scenes = ten("crowd-val", "lsp")[:3]
    Path("photos").mkdir()
    for scene in scenes:
        pixels = (scene.image.permute(1, 2, 0) * 255).round().byte().numpy()
        Image.fromarray(pixels).save(f"photos/{scene.id:06d}.png")
    write(str(paths.checkpoint("person_detector")), "finder", by=0.0)
    single, top_down = write("single.safetensors", "hourglass_course", **TINY), write("centred.safetensors", "centred")
    first = crowds.true_boxes(scenes[0])
    Path("plain.json").write_text(json.dumps(coco(first, 1)))
    Path("scored.json").write_text(json.dumps(coco(first, 1, [0.5] * len(first))))
    everybody, whole = [len(scene.people) for scene in scenes], [1, 1, 1]
    for file, options, expected in (
        (single, [], whole),
        (single, ["--detector", "person_detector"], None),  # doubles may go
        (single, ["--boxes", "plain.json"], [len(first), 1, 1]),
        (top_down, [], whole),  # the helper keeps the best of a picture
        (top_down, ["--detector", "person_detector"], whole),
        (top_down, ["--boxes", "plain.json"], [len(first), 0, 0]),
        (top_down, ["--boxes", "scored.json"], [1, 0, 0]),
    ):
        command = ["estimate", "photos", "--no-drawings", "--json", "poses.json", "--checkpoint", str(file)]
        assert cli.main([*command, "--device", "cpu", *options]) == 0
        told = [entry["image_id"] for entry in json.loads(Path("poses.json").read_text())]
        counts = [told.count(number) for number in (1, 2, 3)]
        assert counts == expected if expected else all(0 < c <= n for c, n in zip(counts, everybody, strict=True))
    capsys.readouterr()
    for options, says in (
        (["--model", "finder", "--checkpoint", str(paths.checkpoint("person_detector"))], "finds boxes and no poses"),
        (["--checkpoint", str(single), "--detector", "single"], "no shipped checkpoint called 'single'"),
    ):
        assert cli.main(["estimate", "photos", "--device", "cpu", *options]) == 2
        said = capsys.readouterr().err
        assert says in said and said.count("\n") == 1
