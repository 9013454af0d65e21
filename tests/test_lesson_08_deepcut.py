"""What lesson 08 builds and measures: instances, a pipeline, the program in words, rows left out, pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from course_lib import skeletons
from course_lib.errors import CourseError
from course_lib.lessons import lesson_08_crowd as crowd
from course_lib.lessons import lesson_08_deepcut as tools
from course_lib.lessons import lesson_08_instances as instances
from course_lib.lessons import lesson_08_study as study
from course_lib.models.deepcut.learning import Detections
from course_lib.models.deepcut.linear import linearise
from course_lib.models.deepcut.program import SUPPRESSED
from course_lib.models.deepcut.solution import Solution
from course_lib.models.deepcut.solve import minimise, solve
from course_lib.pose import Person, Scene

LSP = skeletons.get("lsp")


# --- instances and the pipeline ---------------------------------------------------------------------------------------


def test_the_six_candidates_have_their_known_optima():
    """Brute-forced once; tests/test_models_deepcut_solve.py does so again."""
    for options, single, expected in (({}, False, -23.2815), ({}, True, -16.3497), ({"lonely": 0.6}, False, -23.6870)):
        program = instances.heads_and_necks(**options).program(single_person=single)
        assert solve(program).objective == pytest.approx(expected, abs=5e-5)


def test_distances_merge_and_split():
    merged, split = (solve(instances.heads_and_necks(scale=s).program()).clusters() for s in (0.5, 1.6))
    assert {0, 2} <= set(merged[0]) and {frozenset(one) for one in split} >= {frozenset({1}), frozenset({2})}


def test_a_part_is_the_same_program_of_fewer():
    whole, part = instances.heads_and_necks(), instances.heads_and_necks().part([4, 1])
    assert np.array_equal(part.program().unary, whole.program().unary[[4, 1]])
    assert np.array_equal(part.program().pairwise[0, 1], whole.program().pairwise[4, 1])
    assert part.drawn.tolist() == whole.drawn[[4, 1]].tolist()


def test_the_pipeline_loses_what_the_program_keeps():
    known = instances.crossed_arms()
    scene, program = known.instance, known.instance.program()
    steps, best = instances.pipeline(scene.places, scene.unary, scene.pairwise, scene.limbs), solve(program)
    assert steps.labels[7] == 3 and steps.kept[8] == SUPPRESSED and steps.kept[4] == SUPPRESSED
    assert steps.people[10] == steps.people[1], "the wrong hip is joined to a neck"
    assert instances.joints_right(known, steps.kept, steps.people) == 7
    assert instances.joints_right(known, best.labels, best.people) == 10
    assert steps.score(program) > best.objective


def test_nobody_to_group():
    places, unary = np.zeros((2, 2)), np.full((2, 1), 0.1)
    steps = instances.pipeline(places, unary, np.ones((2, 2, 1, 1)), ())
    assert (steps.people == SUPPRESSED).all() and (steps.kept == SUPPRESSED).all()


def test_joints_are_right_in_one_group_a_person_only():
    known = instances.crossed_arms()
    labels, people = known.labels.copy(), known.people.copy()
    assert instances.joints_right(known, labels, people) == 10
    people[:2] = 5  # two of the first person's five stand apart
    assert instances.joints_right(known, labels, people) == 8
    labels[9] = 0
    assert instances.joints_right(known, labels, people) == 7
    assert instances.joints_right(known, known.labels, np.where(known.people < 0, -1, 0)) == 5, "one for both"


@pytest.mark.parametrize(("size", "classes"), [(1, 3), (4, 2), (9, 5)])
def test_counts_are_those_of_the_rows(size, classes):
    told = instances.counts(size, classes)
    program = instances.without_structure(size, classes, 0)
    for form in ("naive", "tight"):
        rows = linearise(program, form)
        assert len(rows.costs) == told["x"] + told["y"] + told["z"]
        assert len(rows.row_upper) == told[f"{form} rows"] + told["triangle rows"]


# --- the program in words, and with rows left out ---------------------------------------------------------------------


def test_five_things_to_do_with_two():
    options = tools.labellings_of_two(0.9, 0.4, 0.8)
    assert min(options, key=options.get) == "keep both, one person" and len(options) == 5
    assert options["keep both, one person"] == pytest.approx(-math.log(9) + math.log(1.5) - math.log(4))
    options = tools.labellings_of_two(0.9, 0.4, 0.5)
    assert min(options, key=options.get) == "keep the first"


def test_the_words_are_the_rows():
    part = instances.heads_and_necks().part([0, 1, 2])
    rows = linearise(part.program(), "naive")
    called = tools.names(rows, part.classes)
    assert len(set(called)) == len(called) == len(rows.costs) and "z12nh" in called
    assert tools.in_words(rows, "uniqueness", part.classes)[1] == "x1h + x1n <= 1"
    assert tools.in_words(rows, "triangles", part.classes)[0] == "y01 + y12 - y02 <= 1"
    assert "x0h + x1n + y01 - z01hn <= 2" in tools.in_words(rows, "products", part.classes)
    assert "= 0" in tools.in_words(linearise(part.program()), "products", part.classes)[0]
    assert tools.objective_in_words(rows, part.classes).startswith(" -2.20 x0h")


def test_every_family_left_out_is_a_nonsense_of_its_own():
    seven = instances.heads_and_necks(between=True)
    broken = {name: tools.without(seven, name) for name in tools.FAMILIES}
    whole = broken["nothing"]
    best = solve(seven.program())
    assert whole.claimed == pytest.approx(best.objective, abs=1e-3) and abs(whole.unpaid) < 1e-3
    assert (whole.several, whole.open, whole.unkept) == (0, 0, 0)
    assert broken["uniqueness"].several > 0 and broken["triangles"].open > 0 and broken["coupling"].unkept > 0
    assert broken["z at least"].unpaid > 10 and broken["z at most"].unpaid > 10
    for name, one in broken.items():
        assert one.claimed <= whole.claimed + 1e-6
        assert len(one.words(name)) == 6


def test_the_rows_are_those_of_the_program():
    seven = instances.heads_and_necks(between=True)
    rows = tools.rows_of(seven)
    assert set(tools.FAMILIES) - {"nothing"} <= set(rows.families)
    assert minimise(rows).objective == pytest.approx(solve(seven.program()).objective, abs=100 * tools.TIE)


# --- pictures ---------------------------------------------------------------------------------------------------------


def two_in_a_picture() -> tuple[Scene, Detections]:
    """Two people whose joints are all found, and one false alarm."""
    joints = torch.stack([torch.arange(14.0) * 5 + 20, torch.arange(14.0) * 9 + 20], -1)
    people = [Person(joints + shift, torch.full((14,), 2), LSP) for shift in (torch.zeros(2), torch.tensor([120.0, 0]))]
    places = np.concatenate([*(person.joints.double().numpy() for person in people), [[10.0, 180.0]]])
    classes = np.array([*range(14), *range(14), 0])
    return Scene(torch.zeros(3, 192, 256), people), Detections(
        places, np.full((29, 14), 0.1), classes, np.zeros((29, 14, 14, 2))
    )


def test_owners_and_who_is_nobodys():
    scene, found = two_in_a_picture()
    assert crowd.owners(found, scene).tolist() == [0] * 14 + [1] * 14 + [-1]
    scene.people[1].visible[:] = 0
    assert crowd.owners(found, scene)[14:].tolist() == [-1] * 15
    assert crowd.owners(found, Scene(scene.image, [])).tolist() == [-1] * 29


def test_associations_ask_where_there_is_a_choice():
    scene, found = two_in_a_picture()
    owner = crowd.owners(found, scene)
    same = (owner[:, None] == owner)[:, :, None, None] * np.ones((1, 1, 14, 14))
    assert crowd.associations(found, owner, same, [(0, 1), (5, 3)]).tolist() == [4, 4]
    assert crowd.associations(found, owner, 1 - same, [(0, 1)]).tolist() == [2, 0]
    alone = np.where(owner == 1, -1, owner)
    assert crowd.associations(found, alone, same, [(0, 1)]).tolist() == [0, 0]


def answer(people: np.ndarray, labels: np.ndarray) -> Solution:
    return Solution(labels, people, 0.0, -math.inf, False, 0.0)


def test_joints_found_give_every_answered_person_one_true_one():
    scene, found = two_in_a_picture()
    owner = crowd.owners(found, scene)
    labels = np.where(owner < 0, SUPPRESSED, found.classes)
    assert tools.joints_found(found, answer(owner, labels), scene) == 28
    assert tools.joints_found(found, answer(np.where(owner < 0, -1, 0), labels), scene) == 14
    assert tools.joints_found(found, answer(np.full(29, -1), np.full(29, -1)), scene) == 0
    swapped = np.where(labels == 0, 1, labels)
    assert tools.joints_found(found, answer(owner, swapped), scene) == 26


def test_variants_change_what_they_say():
    program = instances.without_structure(4, 3, 0)
    p = np.array([[0.9, 0.1, 0.5], [0.3, 0.1, 0.6], [0.1, 0.1, 0.7], [0.25, 0.8, 0.1]])
    found = Detections(np.zeros((4, 2)), p, np.array([0, 2, 2, 1]), np.zeros((4, 3, 3, 2)))
    same, more = crowd.variant(program, found), crowd.variant(program, found, price=0.5)
    assert np.array_equal(same.unary, program.unary) and np.array_equal(same.pairwise, program.pairwise)
    apart = more.pairwise[0, 1] - program.pairwise[0, 1]
    assert np.allclose(apart, 0.5 * (1 - np.eye(3))) and np.array_equal(more.unary, program.unary)
    likely = crowd.variant(program, found, any_label=True)
    assert np.array_equal(np.isfinite(likely.unary), p > 0.2) and likely.unary[0, 0] == pytest.approx(-np.log(9))
    single = solve(crowd.variant(program, found, no_doubles=True))
    assert all(len(set(one.values())) == len(one) for one in single.clusters())


def test_group_names_are_the_evaluations():
    def of(people: int) -> str:
        return crowd.group_of(Scene(torch.zeros(3, 4, 4), [None] * people))

    assert [of(n) for n in (1, 4, 5, 12, 0, 13)] == ["1-2", "3-4", "5-7", "8-12", "others", "others"]


def test_no_measurements_without_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(crowd.paths, "checkpoint", lambda name: tmp_path / name)
    assert crowd.measure() == {}


# --- the study --------------------------------------------------------------------------------------------------------


def test_the_stored_study_belongs_to_the_code():
    again = study.short_run()
    assert study.agree(study.load()["short_run"], again)
    other = {**again, "ways": {way: {**row, "objective": row["objective"] + 1} for way, row in again["ways"].items()}}
    assert not study.agree(other, again) and not study.agree({"ways": {}}, again)


@pytest.mark.parametrize(("size", "classes"), [(5, 8), (16, 14), (30, 8), (48, 14)])
def test_instances_have_the_size_that_was_asked_for(size, classes):
    program = study.instance(size, classes, 0, study.PRUNE)
    assert program.unary.shape == (size, classes)


def test_all_ways_agree_on_what_is_told():
    found = study.in_every_way(study.instance(10, 14, 1, study.PRUNE), [*study.EXACT, "local", "stages"])
    proven = [row for way, row in found.items() if way in study.EXACT]
    assert all(row["proven"] for row in proven) and len({row["objective"] for row in proven}) == 1
    assert all(row["objective"] >= proven[0]["objective"] - 1e-3 for row in found.values())


def test_a_way_that_is_always_late_is_asked_no_more(monkeypatch):
    monkeypatch.setattr(study, "LIMIT", 1e-6)
    monkeypatch.setattr(study, "in_every_way", lambda program, ways: {w: {"proven": w != "naive"} for w in ways})
    rows = list(study.growth("every class", 2, (4, 5), ("naive", "tight")))
    assert [row["way"] for row in rows] == ["naive", "tight"] * 2 + ["tight"] * 2


def test_curves_are_means_over_seeds():
    rows = [
        {"kind": "pruned", "way": "tight", "classes": 14, "candidates": 8, "seconds": s, "proven": s < 2}
        for s in (1, 3)
    ]
    assert study.curve({"runs": rows}, "pruned", "tight", "seconds") == {8: 2}
    assert study.late({"runs": rows}, "pruned", "tight") == {8}
    assert study.curve({"runs": rows}, "pruned", "naive", "seconds") == {}


def test_there_are_no_rows_of_that_name():
    with pytest.raises(CourseError, match="no rows called 'some'"):
        tools.without(instances.heads_and_necks(), "some")
