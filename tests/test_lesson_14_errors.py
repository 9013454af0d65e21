"""The study of errors and scores: its counts add up, it takes up where it was stopped, and it can be drawn."""

from __future__ import annotations

import itertools

import pytest
import torch
from matplotlib import pyplot as plt

from course_lib import metrics, skeletons
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.lessons import lesson_14_error_figures as figures
from course_lib.lessons import lesson_14_errors as study
from course_lib.pose import Pose

LSP = skeletons.get("lsp")


def nearly(model, scenes, many):
    """Answers with everybody, or with the first, a few pixels off, sure of it by chance."""
    draw = torch.Generator().manual_seed(len(scenes))
    poses = []
    for scene in scenes:
        people = scene.people if many else scene.people[:1]
        made = [person.joints + 4 * torch.randn(14, 2, generator=draw) for person in people]
        poses.append([Pose(one, torch.rand(14, generator=draw) * 1.2 - 0.1, LSP, 0.5) for one in made])
    return poses


@pytest.fixture(scope="module")
def crowd():
    return synthetic.scenes(6, seed="errors test", people=(1, 4), skeleton="lsp")


@pytest.fixture(scope="module")
def answers(crowd):
    """Everybody but the first of each picture, a little off, and one where nobody is."""
    draw = torch.Generator().manual_seed(1)
    poses = []
    for scene in crowd:
        found = [person.joints + 3 * torch.randn(14, 2, generator=draw) for person in scene.people[1:]]
        poses.append(
            [Pose(joints, torch.full((14,), 0.6), LSP, 0.5) for joints in [*found, torch.full((14, 2), -900.0)]]
        )
    return poses


def test_all_labelled_joints_are_counted_once_and_views_add_up(crowd, answers):
    found = metrics.diagnose(answers, crowd)
    counts = study.counts_of(found, crowd)
    labelled = [sum(int((person.visible > 0).sum()) for person in scene.people) for scene in crowd]
    assert counts.sum(1).tolist() == labelled
    assert counts[:, -1].sum() > 0 and len(found.false_positives) >= len(crowd)
    views = sum(study.counts_of(found, crowd, view) for view in figures.VIEWS)
    assert torch.equal(views, counts)
    row = study.shares(counts)
    assert sum(row["counts"]) == sum(labelled)
    for (low, high), number in zip(row["intervals"], row["counts"], strict=True):
        assert low <= number / sum(labelled) <= high


def test_scores_are_those_of_the_labelled_joints_of_people_who_were_found(crowd, answers):
    found = metrics.diagnose(answers, crowd)
    score, right, picture = study.scored(found, answers)
    assert len(score) == int((found.classes >= 0).sum()) and score.unique().tolist() == pytest.approx([0.6])
    assert right.sum() == found.totals["good"] + found.totals["jitter"] and 0 < right.mean() < 1
    assert set(picture.tolist()) == set(found.picture.tolist())
    nobody = metrics.diagnose([[] for _ in crowd], crowd)
    assert [len(part) for part in study.scored(nobody, [[] for _ in crowd])] == [0, 0, 0]


def test_scores_that_mean_what_they_say_have_the_error_of_chance():
    draw = torch.Generator().manual_seed(0)
    score = torch.rand(3000, generator=draw).double()
    right = (torch.rand(3000, generator=draw) < score).double()
    picture = torch.arange(3000) // 10
    found = study.judged(score, right, picture)
    assert found["ece"] < 2 * found["floor"] < 0.06
    assert found["interval"][0] < found["too high by"] < found["interval"][1]
    assert found["interval"][0] < 0 < found["interval"][1]
    assert study.judged(score**2, right, picture)["too high by"] == pytest.approx(-1 / 6, abs=0.02)


def test_ranking_lies_between_nothing_and_perfect():
    draw = torch.Generator().manual_seed(0)
    right = (torch.rand(500, generator=draw) < 0.6).double()
    wrong = float(1 - right.mean())
    nothing, perfect = study.ranked(torch.ones(500), right), study.ranked(right, right)
    assert nothing["risk"] == pytest.approx([wrong] * study.STEPS, abs=1e-4)
    assert nothing["area"] == pytest.approx(wrong, abs=1e-4) and perfect["area"] == perfect["perfect"] < wrong / 2


def test_corrupted_pictures_keep_their_people(crowd):
    worse = study.corrupted(crowd[:2])
    for one, other in zip(crowd[:2], worse, strict=True):
        assert not torch.equal(one.image, other.image) and one.meta == other.meta
        assert all(torch.equal(a.joints, b.joints) for a, b in zip(one.people, other.people, strict=True))


def test_sets_are_drawn_from_seeds_and_hold_what_they_say():
    one, other = (study.people("clean", False, 2) for _ in range(2))
    assert all(torch.equal(a.image, b.image) for a, b in zip(one, other, strict=True))
    assert all(len(scene.people) == 1 for scene in one)
    assert all(len(scene.people) <= 3 for scene in study.people("clean", True, 5))
    with pytest.raises(CourseError, match="set of people"):
        study.people("cleen", False)


def a_system(many: bool) -> study.System:
    return study.System("hourglass_course", "00 Many" if many else "00 One", ("hourglass_course",), many)


@pytest.fixture(scope="module")
def stored():
    """A whole study of two systems that are nearly right, on few people."""
    patch = pytest.MonkeyPatch()
    patch.setattr(study, "PEOPLE", dict.fromkeys(study.SETS, 8))
    patch.setattr(study, "PICTURES", dict.fromkeys(study.SETS, 6))
    patch.setattr(study, "answers", nearly)
    pictures = study.Pictures()
    runs = [study.measure(a_system(many), pictures) for many in (False, True)]
    patch.undo()
    return {**study.about(), "short_run": {}, "runs": runs}


def test_a_run_says_everything_about_its_system(stored):
    for run in stored["runs"]:
        assert set(run["sets"]) == {*study.SETS, study.CORRUPTED}
        clean = run["sets"][study.CLEAN]
        views = [sum(clean[view]["counts"]) for view in figures.VIEWS]
        assert sum(views) == sum(clean["all"]["counts"]) > 0
        assert ("ap" in run["sets"]["crowded"]) == run["many"]
        for test in (study.EVERYDAY, study.CORRUPTED):
            assert {"as it is", "isotonic", "temperature", "ranking"} == set(run["scores"][test])
            assert len(run["scores"][test]["ranking"]["risk"]) == study.STEPS
    one, many = stored["runs"]
    assert one["sets"][study.EVERYDAY]["all"]["counts"][-1] == 0 and many["sets"]["crowded"]["people"] > 20


def test_everything_can_be_drawn(stored):
    drawn = [figures.draw_classes(stored, which) for which in figures.choices(stored)]
    drawn += [figures.draw_views(stored), figures.draw_gains(stored), figures.draw_calibration(stored)]
    drawn += [figures.draw_reliability(stored, "00 One"), figures.draw_risk(stored, ["00 One", "00 Many"])]
    for figure in drawn:
        figure.canvas.draw()
        assert figure.axes and all(ax.has_data() for ax in figure.axes)
        plt.close(figure)


def test_every_class_finds_its_example_and_is_drawn(monkeypatch):
    scenes = synthetic.single_scenes(8, seed="errors test", settings=synthetic.Settings(others=1.0, occluders=0.0))
    poses = []
    for number, scene in enumerate(scenes):
        joints, person = scene.people[0].joints.clone(), scene.people[0]
        if number % 4 == 1:
            joints = joints[list(LSP.swaps)]
        if number % 4 == 2 and len(scene.people) > 1:
            joints = scene.people[1].joints.clone()
        if number % 4 == 3:
            joints = joints + metrics.oks_radius(0.65, person.area, "lsp")[:, None].float() * 0.7
        joints[LSP.index("left_wrist")] = -30.0
        poses.append([Pose(joints, torch.ones(14), LSP)])
    found = metrics.diagnose(poses, scenes, told=True)
    shown = figures.Live(scenes, {"hourglass_course": poses}, {"hourglass_course": found})
    chosen = figures.examples(shown)
    assert [one.kind for one in chosen] == list(metrics.CLASSES)
    assert len({one.picture for one in chosen}) == len(chosen)
    for one in chosen:
        assert metrics.CLASSES[int(found.classes[one.picture, one.joint])] == one.kind
    figure = figures.draw_examples(shown, chosen)
    figure.canvas.draw()
    plt.close(figure)


def test_a_study_goes_on_where_it_stopped_and_repeats_what_has_new_weights(tmp_path, monkeypatch, capsys):
    measured, digests = [], itertools.repeat("first")
    chosen = [study.System(name, name, ("hourglass_course",), False) for name in ("one", "two")]
    monkeypatch.setattr(study, "systems", lambda: tuple(chosen))
    monkeypatch.setattr(study, "short_run", lambda: {"hourglass_course": [1]})
    monkeypatch.setattr(study.System, "digests", lambda self: [next(digests)])
    row = {"all": {"counts": [1, 0, 0, 0, 0, 0]}}

    def measure(system, pictures):
        measured.append(system.name)
        return {"name": system.name, "digests": system.digests(), "sets": {study.EVERYDAY: row}}

    monkeypatch.setattr(study, "measure", measure)
    file = tmp_path / "errors.json"
    study.main(["--weights", "two", "--out", str(file)])
    study.main(["--out", str(file)])
    assert measured == ["two", "one"] and [run["name"] for run in study.studies.load(file)["runs"]] == ["one", "two"]
    study.main(["--out", str(file)])
    assert measured == ["two", "one"] and "1.000 good" in capsys.readouterr().out
    digests = itertools.repeat("second")
    study.main(["--weights", "one", "--out", str(file)])
    assert measured == ["two", "one", "one"]
    with pytest.raises(CourseError, match="system of the study"):
        study.main(["--weights", "three", "--out", str(file)])


def test_the_systems_are_those_of_both_lines():
    found = {system.name: system for system in study.systems()}
    assert study.BEHIND in found and found["paf_course"].weights == ("paf_course",)
    assert found["grmi_course"].weights == ("grmi_course", "person_detector")
    assert len({system.title for system in found.values()}) == len(found)
    assert study.how_many(found["deepcut_course"], "clean") * 2 == study.how_many(found["paf_course"], "clean")
    assert study.how_many(found["pictorial_structures"], "clean") < study.how_many(found["hrnet_course"], "clean")
    digests = found[study.BEHIND].digests()
    assert len(digests) == 2 and all(len(one) == 64 for one in digests)
