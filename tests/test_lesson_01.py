"""Lesson 01's own tools: the traced envelope against the definition, springs at rest, figures that can be drawn."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from matplotlib import pyplot as plt

from course_lib.datasets import synthetic
from course_lib.lessons import lesson_01_envelope as envelope
from course_lib.lessons import lesson_01_failures as failures
from course_lib.lessons import lesson_01_figures as figures
from course_lib.lessons import lesson_01_pictorial as tools
from course_lib.lessons import lesson_01_poselets as poselets
from course_lib.lessons import lesson_01_study as study
from course_lib.lessons.lesson_01_growth import growth
from course_lib.models.pictorial import transform
from course_lib.models.pictorial.conditioned import ConditionedPictorialStructures, Predictions

COSTS = some.lists(some.floats(-50, 50), min_size=1, max_size=30)


@settings(max_examples=200, deadline=None)
@given(costs=COSTS, weight=some.floats(1e-3, 1e3))
def test_traced_envelope_is_the_quadratic_definition(costs, weight):
    last = envelope.trace(costs, weight)[-1]
    x = np.arange(len(costs))
    wanted = (weight * (x[:, None] - x) ** 2 + np.array(costs)).min(1)
    assert np.allclose(envelope.read(costs, weight, last), wanted, rtol=0, atol=1e-9 * max(1.0, weight * len(x) ** 2))


@settings(max_examples=100, deadline=None)
@given(costs=COSTS, weight=some.floats(1e-2, 1e2))
def test_every_position_enters_once_and_leaves_at_most_once(costs, weight):
    steps = envelope.trace(costs, weight)
    gone = [place for step in steps for place in step.sent_away]
    assert [step.place for step in steps] == list(range(len(costs)))
    assert len(gone) == len(set(gone)) and not set(gone) & set(steps[-1].kept)
    assert len(gone) + len(steps[-1].kept) == len(costs)
    for step in steps:
        assert step.starts[0] == -math.inf and list(step.starts) == sorted(step.starts)
        assert step.kept[-1] == step.place  # the newest is lowest far to the right, however high it begins


def test_traced_envelope_agrees_with_the_library():
    costs = torch.rand(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 20
    values, where = (line[0] for line in transform.lower_envelope(costs[None], 0.3))
    last = envelope.trace(costs.tolist(), 0.3)[-1]
    assert torch.allclose(values, torch.tensor(envelope.read(costs.tolist(), 0.3, last), dtype=torch.float64))
    assert set(where.tolist()) <= set(last.kept)


def springs(count, generator):
    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    return SimpleNamespace(
        at_parent=10 * normal(count, 2),
        at_child=5 * normal(count, 2),
        spread=1 + normal(count, 2).abs(),
        angle=normal(count),
        kappa=1 + normal(count).abs(),
        stretch=0.2 * normal(count),
    )


def test_springs_at_rest_are_not_stretched():
    parents = [2, 2, -1, 0, 3]  # children may stand before their parents
    joints = springs(5, torch.Generator().manual_seed(1))
    parts = figures.arranged(parents, joints, (10.0, 20.0, 0.4, 1.0))
    assert parts[2] == (10.0, 20.0, 0.4, 1.0)
    for p, parent in enumerate(parents):
        if parent >= 0:
            one = figures.at(parts[parent], joints.at_parent[p].tolist())
            other = figures.at(parts[p], joints.at_child[p].tolist())
            assert np.allclose(one, other, atol=1e-5)
            assert math.isclose(parts[p][2] - parts[parent][2], float(joints.angle[p]), abs_tol=1e-6)
            assert math.isclose(math.log(parts[p][3] / parts[parent][3]), float(joints.stretch[p]), abs_tol=1e-6)


def test_a_part_is_as_long_as_its_scale_says_and_turns_clockwise():
    box = figures.corners((5.0, 7.0, math.pi / 2, 2.0), length=10, width=4)
    assert np.allclose(box.mean(0), (5, 7))
    assert np.allclose(np.ptp(box, axis=0), (4, 20))  # its axis points down the picture: y grows downwards
    assert np.allclose(figures.at((0, 0, math.pi / 2, 1.0), (1.0, 0.0)), (0, 1), atol=1e-12)


def test_two_thirds_of_the_directions():
    assert figures.two_thirds(0.0) == pytest.approx(2 / 3 * math.pi, abs=0.01)  # any direction is as good as any other
    assert figures.two_thirds(400.0) == pytest.approx(0.9674 / 20, abs=0.003)  # a normal distribution


def test_first_figures_can_be_drawn():
    names = ("torso", "head", "right forearm")
    joints = springs(3, torch.Generator().manual_seed(2))
    costs = [3.0, 6.5, 1.5, 3.0, 5.0, 2.4]
    drawn = [figures.draw_springs(names, (-1, 0, 0), joints, (20.0, 10.0, 12.0))]
    drawn += [envelope.draw_step(costs, 0.5, number) for number in range(len(costs) + 2)]
    drawn += [figures.draw_two_parts(torch.rand(6), torch.rand(6), 1, 0.5)]
    drawn += [envelope.draw_growth(growth((8, 16), lines=4, repeats=1))]
    drawn += [figures.draw_lean_and_bend({"people": torch.randn(5, 2), "the tree": torch.randn(7, 2)})]
    assert all(isinstance(one, plt.Figure) for one in drawn)
    plt.close("all")


# --- on a model that was never shown a picture ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people():
    return synthetic.crops(60, seed=4)


@pytest.fixture(scope="module")
def looked(people):
    model = tools.springs_alone(people)
    torch.manual_seed(0)
    with torch.no_grad():
        model.templates.normal_(std=0.05)
    return tools.Looked.of(model, synthetic.single_scenes(3, seed="lesson 01 tests"))


def test_the_best_arrangement_beats_every_other_answer(looked):
    for number in range(3):
        best = looked.score(number, looked.best[number])
        tried = torch.cat([looked.samples(number, 20), looked.alone[number][None], looked.probable[number][None]])
        assert bool((looked.score(number, tried) <= best + 1e-3).all())
        assert torch.allclose(looked.marginals(number).sum((1, 2, 3, 4)).float(), torch.ones(10), atol=1e-4)
        told = failures.told(looked, number, looked.best[number])
        assert math.isclose(told["templates"] + told["springs"], told["both"], abs_tol=1e-4)
        assert torch.equal(failures.kept_apart(looked, number, looked.samples(number, 5), 0.0), looked.best[number])


def test_legs_on_one_another_are_found(looked):
    states = looked.truth[0].clone()
    names = looked.model.parts.names
    left, right = names.index("left lower leg"), names.index("right lower leg")
    looked.truth[1][:] = True
    states[0, left, 2:], states[0, right, 2:] = torch.tensor([5, 5]), torch.tensor([5, 15])
    looked.truth[0][0] = states[0]
    assert math.isclose(float(failures.legs_apart(looked, states)[0]), 10 * looked.grid.stride)
    together = states.clone()
    together[0, left, 2:] = together[0, right, 2:]
    assert 0 in failures.double_counted(looked, together).tolist()
    assert 0 not in failures.double_counted(looked, states).tolist()


def test_candidates_are_the_best_and_lie_apart(looked):
    unary = looked.beliefs.unaries[0, 3]
    found = tools.candidates(unary, looked.grid, count=6, apart=12.0)
    first = tools.drawable(looked.alone[0, 3:4], looked.grid)[0]
    assert found[0] == pytest.approx(first) and len(found) == 6
    assert all(math.dist(a[:2], b[:2]) >= 12 for i, a in enumerate(found) for b in found[:i])
    assert float(tools.place_map(unary).max()) == pytest.approx(1.0)


def test_the_trees_own_bodies_have_no_idea_of_lean_and_bend(looked, people):
    invented = failures.tree_prior(looked.model, 1500)
    pairs = torch.cat([failures.arm_angles(invented, looked.model.parts, side) for side in ("left", "right")])
    assert abs(failures.together(pairs) - 0.5) < 0.06
    bent = torch.tensor([[1.0, 1.0], [-1.0, -0.5], [1.0, -1.0], [0.1, 1.0]])  # the last one hangs straight
    assert failures.together(bent) == pytest.approx(2 / 3)
    hanging = failures.arm_angles(failures.of_people(people, looked.model.parts), looked.model.parts, "left")
    assert hanging.shape[1] == 2 and float(hanging.abs().max()) <= math.pi + 1e-5


def test_doubt_counts_states(looked):
    flat = tools.Looked(looked.model, looked.batch, looked.grid, looked.beliefs, looked.single)
    alone, together = tools.doubt(flat, 0)["torso"]
    assert together >= 1 and 1 <= alone <= tools.arrangements(looked.grid, 10)[0]


def test_portraits_show_members_of_a_cluster(people):
    model = ConditionedPictorialStructures(poselets=2)
    index = list(model.poselets.regions["legs"])
    number = list(model.poselets.regions).index("legs")
    states = failures.of_people(people, model.parts)
    with torch.no_grad():
        model.lengths.copy_(torch.nan_to_num(states.length).median(0).values)
        model.poselets.shapes[number, 0, index, 1] = torch.linspace(-20, 20, len(index))
    found = poselets.portraits(model, people, "legs", 2)
    assert len(found) == 2 and found[0].people >= found[1].people
    assert found[0].picture.shape == (3, poselets.SIDE, poselets.SIDE)
    assert (found[0].inside > 0).sum() == len(index)


# --- the study --------------------------------------------------------------------------------------------------------


def test_paired_interval_of_one_answer_with_itself_is_nothing(people):
    exact, away = study.pcp(people.joints, people), study.pcp(people.joints + 200, people)
    assert study.paired(exact, exact) == [0, 0]
    assert study.paired(exact, away) == [1, 1]
    torch.manual_seed(0)
    half = torch.where(torch.rand(len(people), 1, 1) < 0.5, people.joints, people.joints + 200)
    low, high = study.paired(study.pcp(half, people), away)
    assert low < study.pcp(half, people).mean_of_columns < high and high - low < 0.4


def test_true_classes_are_the_nearest_ones_and_certain_is_certain(people):
    model = ConditionedPictorialStructures(poselets=2, classes=4)
    parts = failures.of_people(people, model.parts)
    with torch.no_grad():
        model.turn_mean.copy_(torch.arange(4) * math.pi / 2)
        model.place_mean[:, 1] = 1000.0
        model.typed_angle.copy_(torch.arange(4) * math.pi / 2)
    true = study.true_classes(model, people, torch.full((len(people), 2), 64.0))
    quarter = (parts.angle / (math.pi / 2)).round().long() % 4
    assert torch.equal(true.rotation[parts.known], quarter[parts.known])
    assert bool((true.rotation[~parts.known] == -1).all()) and bool((true.position != 1).all())
    root = model.parts.parents.index(-1)
    assert bool((true.spring[:, root] == -1).all())
    unsure = torch.zeros(len(people), len(model.parts), 4).log_softmax(-1)
    told = study.certain(Predictions(unsure, unsure, unsure, torch.zeros(len(people), 2)), true)
    assert torch.equal(told.rotation.argmax(-1)[parts.known], true.rotation[parts.known])
    assert float(told.rotation[parts.known].amax(-1).min()) > -1e-6
    assert torch.equal(told.spring[:, root], unsure[:, root])


def test_stored_study_is_whole():
    stored = study.load()
    assert tuple(stored["rows"]) == study.WAYS and stored["people"] == study.PEOPLE
    for row in stored["rows"].values():
        shares = row["pcp"]
        kinds = ("upper_leg", "lower_leg", "upper_arm", "forearm")
        total = (shares["torso"] + shares["head"] + 2 * sum(shares[kind] for kind in kinds)) / 10
        assert shares["total"] == pytest.approx(total, abs=2e-4)
        assert row["pcp_own_sides"] <= shares["total"] and row["legs_on_one"] <= stored["legs_apart"]


def test_joined_by_halves_prefers_every_piece_of_the_wrong_arm(looked):
    for number, side in failures.joined_by_halves(looked, looked.best):
        ours, true = (failures.pieces(looked, number, one[number], side) for one in (looked.best, looked.truth[0]))
        assert ours[0] >= true[0] and ours[2] >= true[2]


def test_springs_and_templates_make_up_the_score(looked):
    states = looked.best[0]
    springs = sum(failures.spring(looked, 0, states, part) for part in range(1, len(states)))
    assert springs == pytest.approx(failures.told(looked, 0, states)["springs"], abs=1e-3)
