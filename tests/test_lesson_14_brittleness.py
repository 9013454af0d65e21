"""The study of brittleness: who is shown what, a book that goes on where it stopped, and scores one can recount."""

from __future__ import annotations

import math

import pytest
import torch
from matplotlib import pyplot as plt

from course_lib.datasets import corruptions
from course_lib.errors import CourseError
from course_lib.lessons import lesson_14_brittleness as study
from course_lib.lessons import lesson_14_brittleness_charts as charts
from course_lib.lessons import lesson_14_brittleness_scores as scores
from course_lib.lessons import studies
from course_lib.lessons.lesson_12_measures import packed
from course_lib.models.base import PoseModel
from course_lib.pose import Pose

NETWORK, CLASSICAL = "hourglass_course", "pictorial_structures"


class Oracle(PoseModel):
    """Answers with the true joints of the people it knows by the sum of their pixels; of others with their middle."""

    def __init__(self, here: study.Shown) -> None:
        batch = here.batch
        super().__init__(batch.skeleton, batch.size)
        self.known = {round(float(i.sum()), 1): j for i, j in zip(batch.images, batch.joints, strict=True)}

    def estimate(self, images, boxes=None, flip_test=False):
        centre = torch.full((14, 2), 64.0)
        found = [self.known.get(round(float(image.sum()), 1), centre) for image in images]
        return [[Pose(joints, torch.full((14,), 0.5), self.skeleton)] for joints in found]


@pytest.fixture
def small(monkeypatch):
    """Few people, few conditions, and a system that knows the clean people by heart."""
    for name, value in {"PEOPLE": 6, "WORLD_PEOPLE": 8, "VIEW_PEOPLE": 6, "FEW": 4}.items():
        monkeypatch.setattr(study, name, value)
    monkeypatch.setattr(study, "SHORT", (NETWORK, ("fog 1",), 3))
    whole = study.conditions
    kept = {"clean", "fog 3", "elastic 3", "occluder 3", "half cut off", "cues 0"}
    monkeypatch.setattr(study, "conditions", lambda *given: [one for one in whole(*given) if one in kept])
    asked = []
    everybody = study.people(8)
    monkeypatch.setattr(study, "people", lambda count=8, settings=None: _of(everybody, count))
    monkeypatch.setattr(study.models, "load", lambda name: asked.append(name) or Oracle(everybody))
    return asked


def _of(here: study.Shown, count: int) -> study.Shown:
    return study.Shown(here.batch[:count], here.torso[:count], here.views[:count])


def test_the_book_goes_on_where_it_stopped_and_forgets_other_weights(small, tmp_path, monkeypatch, capsys):
    file = tmp_path / "study.json"
    call = ["--out", str(file), "--systems", NETWORK, CLASSICAL, "--part", "corruptions"]
    study.main(call)
    first = studies.load(file)
    before = {run["system"]: run["conditions"] for run in first["runs"]}
    assert set(before) == {NETWORK, CLASSICAL} and set(first["short_run"]) == {"fog 1"}
    assert set(before[NETWORK]) == {"clean", "fog 3", "elastic 3", "occluder 3"} == set(before[CLASSICAL])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and "PCK@0.2 1.000" in lines[0]
    study.main(call)
    assert capsys.readouterr().out == "" and studies.load(file) == first
    study.main([*call[:4], "--part", "worlds", "views"])
    more = {run["system"]: run["conditions"] for run in studies.load(file)["runs"]}
    assert set(more[NETWORK]) - set(before[NETWORK]) == {"half cut off", "cues 0"}
    assert more[CLASSICAL] == before[CLASSICAL]
    monkeypatch.setattr(study, "identity", lambda weights: "other")
    capsys.readouterr()
    study.main([*call[:4], "--part", "corruptions"])
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_who_knows_the_clean_people_by_heart_loses_everything(small, tmp_path):
    file = tmp_path / "study.json"
    study.main(["--out", str(file), "--systems", NETWORK, CLASSICAL, "--part", "corruptions", "views"])
    told = scores.Scores(studies.load(file))
    assert told.systems == [CLASSICAL, NETWORK] and told.fast == [NETWORK]
    for name in (NETWORK, CLASSICAL):
        kept = told.kept(name, "fog 3")
        assert kept.clean == 1 and kept.score < 0.3 and kept.low <= kept.ratio <= kept.high < 0.5
    assert told.has(NETWORK, "cues 0") and not told.has(CLASSICAL, "cues 0")
    assert told.views(NETWORK, 0.0)["front"]["pck"] == 1
    with pytest.raises(CourseError, match="was not shown fog 1"):
        told.robustness(NETWORK, ["fog"])


def test_people_are_measured_as_they_were_before_the_damage(monkeypatch):
    everybody = study.people(8)
    monkeypatch.setattr(study, "people", lambda count=8, settings=None: _of(everybody, count))
    shrunk = study.shown("scale 5", 6)
    torch.testing.assert_close(shrunk.torso, everybody.torso[:6] * corruptions.zoom("scale", 5))
    cut = study.shown("truncation 5", 6)
    assert torch.equal(cut.torso, everybody.torso[:6])
    assert int(cut.scored.sum()) < int(_of(everybody, 6).scored.sum())
    disc = study.shown("occluder 4", 6)
    assert bool(disc.covered.any()) and not bool((disc.covered & ~disc.scored).any())
    assert bool((disc.batch.visible[disc.covered] == 1).all())
    assert study.shown("fog 4", 6).before is None


def test_the_black_frame_of_a_shrunk_picture_is_filled_from_its_border(monkeypatch):
    everybody = study.people(8)
    monkeypatch.setattr(study, "people", lambda count=8, settings=None: _of(everybody, count))
    small = study.shown("scale 4", 3)
    filled = scores.without_frame(small).batch.images
    assert bool((small.batch.images.sum(1) == 0).any(2).any(1).all())
    assert bool((filled.sum(1) > 0).float().mean() > 0.99)
    inner = slice(40, 88)  # the picture itself stays
    assert torch.equal(filled[..., inner, inner], small.batch.images[..., inner, inner])


def test_joints_are_packed_and_unpacked():
    right = torch.rand(7, 14, generator=torch.Generator().manual_seed(0)) < 0.4
    assert torch.equal(study.unpacked_joints(study.packed_joints(right)), right)
    assert study.unpacked_joints("").shape == (0, 14)


def _by_hand() -> scores.Scores:
    """Four people with ten joints; clean finds 8 of each, fog leaves 8 - severity, and elastic loses a joint."""
    asked = {"clean": {"asked": "aaaa"}}
    runs = {"clean": {"right": "8888", "score": 0.8, "joints": ""}}
    for severity in corruptions.SEVERITIES:
        asked[f"fog {severity}"] = {"asked": "aaaa"}
        runs[f"fog {severity}"] = {"right": packed([8 - severity] * 4), "clean": "8888", "score": 0.4}
        asked[f"elastic {severity}"] = {"asked": "9999"}
        runs[f"elastic {severity}"] = {"right": "3333", "clean": "6666", "score": 0.4}
    return scores.Scores({"asked": asked, "runs": [{"system": NETWORK, "kind": "single", "conditions": runs}]})


def test_scores_are_those_one_counts_by_hand():
    told = _by_hand()
    fog = told.kept(NETWORK, "fog 2")
    assert (fog.clean, fog.score) == (0.8, 0.6) and fog.ratio == pytest.approx(0.75)
    assert fog.low == pytest.approx(0.75) == fog.high  # everybody loses the same
    assert told.kept(NETWORK, "elastic 1").ratio == pytest.approx(0.5)
    both = told.robustness(NETWORK, ["fog", "elastic"])
    assert both.mpc == pytest.approx((0.5 + 1 / 3) / 2) and both.rpc == pytest.approx(both.mpc / 0.8)
    assert both.rpc_interval == pytest.approx((both.rpc, both.rpc))
    assert told.grid(NETWORK, ["fog"]).tolist()[0] == pytest.approx([7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8])
    assert math.isnan(told.grid(NETWORK, ["jpeg"])[0, 0])
    assert told.confidence(NETWORK, "fog 1") == pytest.approx(0.5)
    with pytest.raises(CourseError, match="did you mean 'hourglass_course'"):
        told.kept("hourglass", "fog 1")


def test_published_ratios_are_those_of_their_row():
    for rows in scores.PUBLISHED.values():
        for clean, mpc, rpc in rows:
            assert 100 * mpc / clean == pytest.approx(rpc, abs=0.12)


def test_the_gap_names_who_never_saw_a_photograph():
    rows = scores.gap()
    assert rows["hourglass_course"]["shown"] == "yes" and rows["pictorial_structures"]["shown"] == "never"
    assert rows["adversarial_course"]["shown"] == "at first"
    figure = charts.draw_gap(rows)
    assert len(figure.axes[0].get_yticks()) == len(rows)
    plt.close(figure)


def test_the_stored_study_is_whole():
    told = scores.Scores(study.load())
    assert told.systems == list(scores.TITLES) and set(told.crowds()) == set(study.crowd_systems())
    for name in told.systems:
        wanted = {one for part in study.PARTS[:3] for one in study.conditions(part, name)}
        assert set(told.runs(name)) == wanted
    for row in told.crowds().values():
        assert set(row) == set(study.conditions("crowds"))
    for draw in (charts.draw_factors, charts.draw_curves, charts.draw_disc, charts.draw_crowds):
        plt.close(draw(told))
    for name in told.fast:
        row = told.robustness(name)
        assert row.rpc == pytest.approx(row.mpc / row.clean) and row.rpc_interval[0] < row.rpc < row.rpc_interval[1]
        plt.close(charts.draw_grid(told, name))
        plt.close(charts.draw_views(told, name))
        points, low, high = told.without_cues(name)
        assert low <= points <= high
