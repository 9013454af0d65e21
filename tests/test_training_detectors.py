"""Detectors are measured, trained, queued, adopted and listed like any other model, by the AP of their boxes."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from crowd_helpers import Told, found, scene, somebody
from queue_helpers import stepping, ten
from top_down_helpers import BUILDERS, CENTRED, FINDER, Both, Centred, Finder

from course_lib import checkpoints, cli, metrics, models, paths
from course_lib.course import leaderboard, leaderboard_page
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.pose import Found, Scene
from course_lib.training import benchmarks, boxes, crowds, queue, recipes, speed

COUNTS = (1, 2, 3, 4, 5, 7, 8, 12)  # both ends of every group
SCORES = ("box_ap", "box_ap50", "box_ap75", "box_ar")
SCENES = [scene(number, people) for number, people in enumerate(COUNTS)]


class ToldBoxes:
    """Answers picture number i with the i-th rows of x0, y0, x1, y1, score."""

    def __init__(self, answers) -> None:
        self.answers = answers

    def detect(self, images) -> list[Found]:
        rows = [torch.tensor(self.answers[round(float(image.mean()) * 1000)]).reshape(-1, 5) for image in images]
        return [Found(one[:, :4], one[:, 4]) for one in rows]


def box(number: int, score: float = 0.5) -> list[float]:
    return [*somebody(number).box.tolist(), score]


TRUTH = [[box(one) for one in range(people)] for people in COUNTS]


def uneven(seed: int, share: float, pictures: int = 40) -> ToldBoxes:
    """Some of the people of `scene(i, i % 9)`, among false alarms."""
    draw = random.Random(seed)
    answers = []
    for number in range(pictures):
        hits = [box(one, draw.random()) for one in range(number % 9) if draw.random() < share]
        answers.append([*hits, *(box(20 + k, draw.random()) for k in range(draw.randint(0, 2)))])
    return ToldBoxes(answers)


# --- scores -----------------------------------------------------------------------------------------------------------


def test_the_true_boxes_are_perfect_in_every_group():
    result = boxes.examine(ToldBoxes(TRUTH), SCENES)
    assert list(result["by_people"]) == ["1-2", "3-4", "5-7", "8-12"]
    for one in (result, *result["by_people"].values()):
        assert [one[name] for name in SCORES] == pytest.approx([1] * 4)
    assert [one["people"] for one in result["by_people"].values()] == [3, 7, 12, 20] and result["people"] == 42
    assert [one["pictures"] for one in result["by_people"].values()] == [2] * 4 and result["pictures"] == 8
    assert result["box_ap_interval"] == pytest.approx((1, 1))


def test_no_boxes_score_nothing_and_nobody_gives_no_score():
    result = boxes.examine(ToldBoxes([[]] * 8), SCENES[:4])
    assert [result[name] for name in SCORES] == [0] * 4 and result["box_ap_interval"] == (0, 0)
    assert result["by_people"]["8-12"] == {**dict.fromkeys(SCORES), "people": 0, "pictures": 0}
    for empty in ([], [scene(0, 0)]):
        result = boxes.examine(ToldBoxes(TRUTH), empty)
        assert [result[name] for name in SCORES] == [None] * 4 and result["box_ap_interval"] is None


def test_a_worked_example():
    """Four people in two pictures, by falling score: a hit, a false alarm, a hit 4 of 40 pixels aside, IoU 0.818."""
    aside = [*(somebody(2).box + torch.tensor([4.0, 0, 4, 0])).tolist(), 0.7]
    result = boxes.examine(ToldBoxes([[box(0, 0.9)], [box(9, 0.8), aside]]), [scene(0, 1), scene(1, 3)])
    low, high = 26 / 101, (26 + 25 * 2 / 3) / 101  # with a hit of two, precision is 1 up to recall 1/4, 2/3 up to 1/2
    assert (result["box_ap50"], result["box_ap75"]) == pytest.approx((high, high))
    assert result["box_ap"] == pytest.approx((7 * high + 3 * low) / 10)
    assert result["box_ar"] == pytest.approx((7 * 0.5 + 3 * 0.25) / 10)


def test_people_who_do_not_count_and_pictures_of_nobody():
    scenes = [Scene(torch.zeros(3, 8, 8), [somebody(0), somebody(1, ignore=True)]), scene(1, 0)]
    result = boxes.examine(ToldBoxes([[box(0, 0.5), box(1, 0.9)], [box(3, 0.4)]]), scenes)
    assert result["box_ap"] == pytest.approx(1) and result["people"] == 1 and result["pictures"] == 2
    result = boxes.examine(ToldBoxes([[box(0, 0.5)], [box(3, 0.9)]]), scenes)
    assert result["box_ap"] == pytest.approx(0.5) and result["by_people"]["1-2"]["box_ap"] == pytest.approx(1)


def test_two_detectors_are_compared_in_pairs():
    scenes = [scene(number, number % 9) for number in range(40)]
    (worse, one), (better, other) = (boxes.examined(uneven(0, share), scenes) for share in (0.5, 0.8))
    difference = better["box_ap"] - worse["box_ap"]
    low, high = benchmarks.paired_interval(other, one)
    assert 0 < low < difference < high and better["box_ap_interval"][0] < better["box_ap"]
    assert better["box_ap"] == metrics.box_ap(boxes.detected(uneven(0, 0.8), scenes), scenes)["AP"]


def test_a_detector_that_leaves_a_picture_out_is_refused():
    silent = ToldBoxes(TRUTH)
    silent.detect = lambda images: []
    with pytest.raises(CourseError, match=r"ToldBoxes must answer every picture .* 0 answers for 8 pictures"):
        boxes.examine(silent, SCENES)


# --- who is measured on what ------------------------------------------------------------------------------------------


def test_who_is_measured_on_what():
    finder, both, centred = Finder(), Both(), Centred()
    assert benchmarks.possible(finder) == ("crowd-val, boxes",)
    assert benchmarks.possible(both) == ("crowd-val", "crowd-val, boxes") == benchmarks.on_pictures(both, "crowd-val")
    for model in (centred, crowds.TopDown(centred), Told([])):
        assert benchmarks.possible(model) == ("crowd-val",) == benchmarks.on_pictures(model, "crowd-val")
    assert benchmarks.on_pictures(finder, "crowd-val") == ("crowd-val, boxes",)
    assert benchmarks.on_pictures(finder, "single-val") == ("single-val",)
    assert [benchmarks.title(one, "crowd-val, boxes") for one in (finder, both)] == ["crowd-val, boxes"] * 2
    assert benchmarks.title(centred, "crowd-val") == "crowd-val"
    assert benchmarks.title(crowds.TopDown(centred), "crowd-val") == "crowd-val, true boxes"
    single = models.create("hourglass_course", width=8, stacks=1)
    assert benchmarks.title(crowds.Detected(single, finder), "crowd-val") == "crowd-val, detected"
    assert benchmarks.headline("crowd-val, boxes", {"box_ap": 0.5, "ap": 0.25}) == 0.5


def test_what_decides():
    assert benchmarks.decisive({"boxed": {}}) == "crowd-val" == benchmarks.decisive(["crowd"], ["crowd-val"])
    assert benchmarks.decisive(["crowd"], ["crowd-val, boxes"]) == "crowd-val, boxes"
    assert benchmarks.decisive(["crowd"], ["crowd-val", "crowd-val, boxes"]) == "crowd-val"
    assert benchmarks.decisive(["synthetic", "lspet"], ["single-val"]) == "lspet-val"


def test_one_examiner_makes_the_pictures_once(monkeypatch):
    made = []
    monkeypatch.setattr(synthetic, "benchmark", lambda name, skeleton: made.append(name) or ten(name, skeleton.name))
    examiner = benchmarks.Examiner()
    own, _ = examiner.examine(Both(), "crowd-val")
    found_boxes, who = examiner.examine(Finder(), "crowd-val, boxes")
    assert made == ["crowd-val"] and own["people"] == found_boxes["people"] and who.pictures == 10
    assert 0 < found_boxes["box_ap75"] < found_boxes["box_ap50"] <= 1
    for model, name, flip, says in (
        (Finder(), "crowd-val", False, "Finder finds boxes and no poses; it is measured on 'crowd-val, boxes'"),
        (Finder(), "single-val", False, "not on 'single-val'"),
        (Centred(), "crowd-val, boxes", False, "Centred finds no boxes"),
        (Finder(), "crowd-val, boxes", True, "no flip test"),
    ):
        with pytest.raises(CourseError, match=says):
            examiner.examine(model, name, flip)
    with pytest.raises(CourseError, match="mean pose finds no boxes"):
        benchmarks.training_people("crowd-val, boxes", "lsp")


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_world(monkeypatch, tmp_path):
    """Ten pictures, a folder to itself, and no weights that ship."""
    monkeypatch.setattr(recipes, "RECIPES", {one.name: one for one in (FINDER, CENTRED)})
    for name, builder in BUILDERS.items():
        monkeypatch.setitem(models._BUILDERS, name, builder)
    monkeypatch.setattr(
        synthetic, "benchmark", lambda name, skeleton=None: ten(name, getattr(skeleton, "name", skeleton))
    )
    monkeypatch.setattr(paths, "CHECKPOINTS", tmp_path / "shipped")
    monkeypatch.setattr(paths, "PUBLIC", tmp_path / "public")
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def write(file: str, name: str, by: float = 2.0, **options) -> Path:
    """A checkpoint of a model, or of a helper's; a detector's boxes are so many pixels beside their place."""
    model = models.create(name, **options)
    if hasattr(model, "by"):
        model.by.data.fill_(by)
    header = {"recipe": name, "data": {"crowd": {"people": [1, 3]}}, "steps": 25, "images": 100, "seed": 0}
    checkpoints.save(Path(file), model, {**header, "device": "cpu", "date": "2026-01-31", "scores": {}, "start": {}})
    return Path(file)


@pytest.mark.usefixtures("small_world")
def test_a_detector_is_trained_and_evaluated(capsys):
    command = ["train", "finder", "--device", "cpu", "--quiet", "--steps", "2", "--ship", "ship.safetensors"]
    assert cli.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("crowd-val, boxes: finder")
    assert lines[at + 1].split()[3:] == ["AP", "AP50", "AP75", "AR", "people", "pictures"]
    assert [line.split()[0] for line in lines[at + 2 : at + 7]] == ["any", "1-2", "3-4", "5-7", "8-12"]
    assert "box_ap would lie between 0." in lines[at + 7]
    (name, scores), *none = checkpoints.read_header(Path("ship.safetensors"))["scores"].items()
    assert name == "crowd-val, boxes" and not none and 0 < scores["box_ap"] < 1
    assert lines[at + 2].split()[2] == f"{scores['box_ap']:.4f}"


@pytest.mark.usefixtures("small_world")
def test_evaluate_records_boxes_and_poses_together(capsys):
    for name, titles in (("finder", ["crowd-val, boxes"]), ("both", ["crowd-val", "crowd-val, boxes"])):
        file = write(f"{name}.safetensors", name)
        command = ["evaluate", "--checkpoint", str(file), "--device", "cpu", "--record"]
        for more in ([], ["--data", "crowd-val"], ["--data", "all"]):
            assert cli.main([*command, *more]) == 0
            lines = capsys.readouterr().out.splitlines()
            assert [line for line in lines if line.endswith(f": {name}")] == [f"{one}: {name}" for one in titles]
        recorded = checkpoints.read_header(file)["scores"]
        assert list(recorded) == titles and recorded["crowd-val, boxes"]["pictures"] == 10
    assert cli.main([*command, "--flip"]) == 0
    assert set(checkpoints.read_header(file)["scores"]) == {*titles, "crowd-val flipped"}
    finder = ["evaluate", "--checkpoint", "finder.safetensors", "--device", "cpu"]
    for more, says in (
        (["--flip"], "no flip test"),
        (["--baseline"], "has no --baseline"),
        (["--data", "single-val"], "measured on 'crowd-val, boxes', not on 'single-val'"),
        (["--boxes", "true"], "is a detector itself"),
        (["--detector", "finder"], "is a detector itself"),
    ):
        assert cli.main([*finder, "--model", "finder", *more]) == 2
        said = capsys.readouterr().err
        assert says in said and said.count("\n") == 1


@pytest.mark.usefixtures("small_world")
def test_the_better_detector_comes_to_ship(capsys):
    for by, ends in (
        (4.0, "the first of its name"),
        (8.0, "it is not better on crowd-val, boxes"),
        (1.0, "installed:"),
    ):
        write("runs/finder/finder.safetensors", "finder", by)
        assert cli.main(["weights", "adopt", "runs", "--device", "cpu"]) == 0
        said = capsys.readouterr().out
        assert ends in said and "crowd-val, boxes box_ap *" in said
    assert "better on crowd-val, boxes by" in said
    (name, scores), *none = checkpoints.read_header(paths.checkpoint("finder"))["scores"].items()
    assert name == "crowd-val, boxes" and not none
    assert cli.main(["weights", "list"]) == 0
    assert f"  crowd-val, boxes: box_ap {scores['box_ap']:.4f}" in capsys.readouterr().out


@pytest.mark.usefixtures("small_world")
def test_the_queue_trains_a_detector(capsys, monkeypatch):
    monkeypatch.setattr(recipes, "RECIPES", {"finder": FINDER})
    monkeypatch.setattr(queue, "LEAST_MINUTES", 0.01)
    monkeypatch.setattr(queue, "train", stepping(2))
    assert cli.main(["train", "--queue", "--minutes", "0.5", "--device", "cpu", "--quiet", "--out", "runs"]) == 0
    head, row, *_ = capsys.readouterr().out.splitlines()
    score = checkpoints.read_header(Path("runs/finder/finder.safetensors"))["scores"]["crowd-val, boxes"]["box_ap"]
    assert "crowd-val, boxes" in head and row.startswith("finder") and f"{score:.4f}" in row


@pytest.mark.usefixtures("small_world")
def test_the_leaderboard_lists_boxes_by_number_of_people():
    write(str(paths.checkpoint("finder")), "finder")
    assert cli.main(["evaluate", "--model", "finder", "--device", "cpu", "--record"]) == 0
    tables, unlisted = leaderboard.by_benchmark(paths.CHECKPOINTS)
    (row,) = tables["crowd-val, boxes"]
    assert not unlisted and next(iter(row["scores"])) == "box_ap" and 0 < row["scores"]["box_ap, 5-7"] <= 1
    assert "box_ap, 8-12" in leaderboard_page.page(paths.CHECKPOINTS)


@pytest.mark.usefixtures("small_world")
@pytest.mark.parametrize("recipe", [FINDER, replace(CENTRED, data={"boxed": {"people": [1, 3]}})])
def test_a_training_step_of_either_stage_is_timed(recipe):
    rows = list(speed.measure(recipe, torch.device("cpu"), steps=1, batch=2))
    assert rows[0].variant == "plain fp32" and rows[0].images > 0
    assert all(row.note or row.images > 0 for row in rows)


def test_poses_beside_boxes_are_not_mixed_up():
    """The same people by poses and by boxes: two answers, one set of people."""
    poses, who = crowds.examined(Told([[found(one) for one in range(people)] for people in COUNTS]), SCENES)
    own, matches = boxes.examined(ToldBoxes(TRUTH), SCENES)
    assert poses["people"] == own["people"] and not set(SCORES) & poses.keys()
    assert benchmarks.paired_interval(who, matches) == (0, 0)
