"""DeepCut's local search, its pairwise probabilities, and the people that come out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from deepcut_helpers import PLACES, UNARY, brute_force, random_program, symmetric, two_people
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from course_lib import skeletons
from course_lib.errors import CourseError
from course_lib.lessons.lesson_08_instances import bodies
from course_lib.models.deepcut import local_search as search
from course_lib.models.deepcut.local_search import local_search
from course_lib.models.deepcut.pairwise import Logistic, fit_body, geometry, regressed, same_class, table
from course_lib.models.deepcut.program import Program
from course_lib.models.deepcut.solution import relative_gap, to_poses
from course_lib.models.deepcut.solve import solve

# --- local search -----------------------------------------------------------------------------------------------------


@given(
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.3, 0.8]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=150)
def test_search_is_feasible_and_never_below_the_optimum(size, classes, seed, forbidden, single_person, chains):
    program = random_program(size, classes, seed, forbidden=forbidden, single_person=single_person)
    found = local_search(program, chains=chains, seed=seed)
    assert found.objective == program.objective(found.labels, found.people) < math.inf
    assert brute_force(program) - 1e-9 <= found.objective <= 0
    objectives = [r.objective for r in found.rounds]
    assert objectives == sorted(objectives, reverse=True)
    assert found.bound == -math.inf and not found.proven


def test_no_single_move_is_left():
    """Every candidate tried under every class in every person, in a new one and in none, from the definition."""
    for seed in range(12):
        program = random_program(7, 2, seed, forbidden=0.2, single_person=seed % 3 == 0)
        for chains in (True, False):
            found = local_search(program, chains=chains, restarts=0)
            for d in range(7):
                for c in range(-1, 2):
                    for person in range(found.people.max() + 2) if c >= 0 else (-1,):
                        labels, people = found.labels.copy(), found.people.copy()
                        labels[d], people[d] = c, person
                        assert program.objective(labels, people) >= found.objective - 1e-6


def test_the_table_stays_what_it_says():
    """After a hundred moves and back, T is still the sum it should be."""
    program, random = random_program(9, 3, 0, forbidden=0.1), np.random.default_rng(0)
    state = search._State(program, np.full(9, -1), np.full(9, -1))
    for _ in range(300):
        places = state.places()
        d, place = int(random.integers(9)), int(random.choice([-1, *places]))
        state.move(d, place, int(random.integers(3)) if place >= 0 else -1)
        assert np.array_equal(state.labels >= 0, state.people >= 0)
        for person in range(len(state.sizes)):
            members = np.flatnonzero(state.people == person)
            expected = state.pairwise[:, members, :, state.labels[members]].sum(0)
            expected = expected if len(members) else np.zeros((9, 3))
            np.testing.assert_allclose(state.table[:, :, person], expected, atol=1e-9 * state.forbidden)
            assert state.sizes[person] == len(members)
        assert state.sizes[-1] == 0, "there is always an empty person"
    labels, people = state.numbered()
    kept = state.people >= 0
    same = state.people[kept][:, None] == state.people[kept]
    assert np.array_equal(labels, state.labels)
    assert np.array_equal(people[kept][:, None] == people[kept], same)


def test_chains_go_where_greed_does_not():
    """On costs without structure, where much has to change together; the beginnings are the same."""
    programs = [random_program(20, 3, seed) for seed in range(12)]
    greedy, chains, restarts = (
        np.mean([local_search(program, **options).objective for program in programs])
        for options in ({"chains": False, "restarts": 0}, {"restarts": 0}, {})
    )
    assert restarts <= chains < 1.005 * greedy < 0


def test_on_bodies_it_is_nearly_exact():
    gaps = []
    for seed in range(20):
        program = bodies(2, 5, 4, seed)
        gaps.append(relative_gap(local_search(program).objective, solve(program).bound))
    assert np.mean(np.array(gaps) < 0.01) >= 0.9 and min(gaps) >= 0


def test_a_merger_that_no_single_move_finds():
    """Two pairs, inside strongly bound, between them weakly: moving one candidate alone loses, moving two wins."""
    pairwise = np.zeros((4, 4, 1, 1))
    pairwise[0, 1] = pairwise[2, 3] = -5
    for d, e in ((0, 2), (0, 3), (1, 2), (1, 3)):
        pairwise[d, e] = -1
    program = Program(np.full((4, 1), -1.0), symmetric(pairwise))
    state = search._State(program, np.zeros(4, dtype=int), np.array([0, 0, 1, 1]))
    assert search._merge(state)
    assert state.numbered()[1].tolist() == [0, 0, 0, 0]
    assert not search._merge(state)


def test_the_same_seed_is_the_same_search():
    program = bodies(3, 5, 5, 1)
    first, second = local_search(program, seed=3), local_search(program, seed=3)
    assert np.array_equal(first.people, second.people) and np.array_equal(first.labels, second.labels)


def test_search_by_the_clock():
    program = bodies(3, 6, 5, 1)
    short = local_search(program, time_limit=0)
    assert len(short.rounds) == 1 and short.objective < 0
    for options in ({"restarts": -1}, {"time_limit": -1}, {"time_limit": math.nan}):
        with pytest.raises(CourseError, match="must not be negative"):
            local_search(program, **options)


def test_hundreds_of_candidates():
    program = bodies(20, 8, 40, 0, prune=0.1)
    found = local_search(program, restarts=0)
    assert len(program) == 200 and found.objective == pytest.approx(program.objective(found.labels, found.people))
    assert 15 <= sum(len(members) > 3 for members in found.clusters()) <= 25


# --- pairwise ---------------------------------------------------------------------------------------------------------


def test_same_class():
    np.testing.assert_allclose(same_class([37.5, 0]), [0.5, 1 / (1 + math.exp(-7.5))])
    assert same_class(1e6) == 0 and (np.diff(same_class(np.arange(200.0))) < 0).all()


def test_geometry_by_hand():
    found = geometry([10.0, 10.0], [13.0, 34.0], [0.0, 20.0])
    angle = math.atan2(24, 3) - math.pi / 2
    expected = [3, 4, 12, 9, 16, 144, angle, angle**2, -angle, math.exp(angle), 5, 25, math.exp(-5)]
    np.testing.assert_allclose(found, expected)
    assert geometry(np.zeros((4, 1, 2)), np.zeros((1, 5, 2)), [0.0, 1.0]).shape == (4, 5, 13)
    assert np.isfinite(geometry([0.0, 0.0], [0.0, 0.0], [0.0, 0.0])).all()
    around = [geometry([0.0, 0.0], [-9.0, side], [-10.0, 0.0])[6] for side in (-1e-6, 1e-6)]
    assert abs(around[0] - around[1]) < 1e-5, "no jump at 180 degrees"


def test_regressed_by_hand():
    found = regressed([0.0, 0.0], [0.0, 10.0], [0.0, 7.0], [-10.0, 0.0])
    near, far, turn = 3, math.hypot(10, 10), math.pi / 2
    expected = [near, 0, far, turn, math.exp(-near), 1, math.exp(-far), math.exp(-turn)]
    np.testing.assert_allclose(found, expected)
    perfect = regressed([1.0, 2.0], [4.0, 6.0], [3.0, 4.0], [-3.0, -4.0])
    np.testing.assert_allclose(perfect, [0, 0, 0, 0, 1, 1, 1, 1], atol=1e-12)


def test_newton_finds_what_a_general_minimiser_finds():
    random = np.random.default_rng(0)
    features = random.normal(size=(80, 3)) * [1, 10, 0.1] + [5, -3, 0]
    same = features @ [1.0, 0.1, 4.0] + random.normal(size=80) > 5
    model = Logistic.fit(features, same, loss_weight=0.5)
    chosen = np.flatnonzero(same)
    others = np.flatnonzero(~same)
    if len(others) > len(chosen):
        others = np.random.default_rng(0).choice(others, len(chosen), replace=False)
    chosen = np.concatenate([chosen, others])
    low, high = features[chosen].min(0), features[chosen].max(0)
    scaled = np.concatenate([(features[chosen] - low) / (high - low), np.ones((len(chosen), 1))], axis=1)
    sign = np.where(same[chosen], 1, -1)

    def cost(w):
        return 0.5 * w @ w + 0.5 * np.log1p(np.exp(-sign * (scaled @ w))).sum()

    np.testing.assert_allclose(model.weights, minimize(cost, np.zeros(4), tol=1e-12).x, atol=1e-4)
    p = model.probability(features)
    assert p[same].mean() > p[~same].mean() + 0.05
    assert Logistic.fit(np.full((4, 2), 3.0), [1, 1, 0, 0]).probability([3.0, 3.0]) == pytest.approx(0.5)
    assert np.isfinite(model.probability(features * 1e9)).all()


def crowd(count: int, seed: int, spread: float = 4.0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures of three people with a head, a neck and a hip."""
    random = np.random.default_rng(seed)
    body = np.array([[0.0, 0.0], [0.0, 20.0], [0.0, 60.0]])
    pictures = []
    for _ in range(count):
        joints = random.uniform(0, 300, (3, 1, 2)) + body + random.normal(0, spread, (3, 3, 2))
        pictures.append((joints, random.integers(0, 3, (3, 3))))
    return pictures


def test_a_body_is_learned_and_people_are_told_apart():
    body = fit_body(crowd(60, 0), noise=2.0, loss_weight=1.0)
    np.testing.assert_allclose(body.offsets[0, 2], [0, 60], atol=3)
    np.testing.assert_array_equal(body.offsets, -body.offsets.transpose(1, 0, 2))
    right = total = 0
    for joints, _ in crowd(20, 1):
        p = body.probabilities(joints.reshape(-1, 2))
        np.testing.assert_allclose(p, p.transpose(1, 0, 3, 2), rtol=1e-12)
        assert ((p >= 0) & (p <= 1)).all()
        person, c = np.divmod(np.arange(9), 3)
        across = c[:, None] != c
        said = p[np.arange(9)[:, None], np.arange(9), c[:, None], c] > 0.5
        right += (said == (person[:, None] == person))[across].sum()
        total += across.sum()
    assert right / total > 0.95


def test_from_places_to_people():
    """The whole way: learn a body, build the program, solve it, and get the people back."""
    body = fit_body(crowd(60, 0), loss_weight=1.0)
    places = np.array([[50, 50], [50, 70], [51, 111], [200, 80], [201, 99], [198, 141], [52, 51], [120, 300]], float)
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    unary = np.full((8, 3), 0.02)
    unary[np.arange(8), labels] = [0.9, 0.8, 0.9, 0.7, 0.8, 0.6, 0.6, 0.3]
    program = Program.of_probabilities(unary, body.probabilities(places))
    solution = solve(program)
    assert solution.clusters() == [{0: 0, 1: 1, 2: 2, 6: 0}, {3: 0, 4: 1, 5: 2}]
    assert local_search(program).objective == pytest.approx(solution.objective)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Logistic.fit(np.zeros((3, 2)), [1, 1, 1]), "of 3 all are of one kind"),
        (lambda: Logistic.fit(np.zeros((3, 2)), [0, 0, 0]), "of 3 all are of one kind"),
        (lambda: Logistic.fit(np.zeros((0, 2)), []), "of 0 all are of one kind"),
        (lambda: Logistic.fit(np.zeros((3, 2)), [1, 0]), "finite features"),
        (lambda: Logistic.fit(np.full((2, 2), math.nan), [1, 0]), "finite features"),
        (lambda: Logistic.fit(np.zeros((2, 2)), [1, 0], loss_weight=0), "weight of the loss must be positive"),
        (lambda: fit_body([]), "a body is learned from pictures"),
        (
            lambda: fit_body([(np.zeros((2, 3, 2)), np.ones((2, 3))), (np.zeros((2, 4, 2)), np.ones((2, 4)))]),
            "same joi",
        ),
        (lambda: fit_body([(np.zeros((1, 2, 2)), np.ones((1, 2)))]), "joints 0 and 1 are never seen together"),
        (
            lambda: fit_body([(np.zeros((2, 2, 2)), np.array([[1, 0], [0, 1]]))], names=("head", "neck")),
            "joints 'head' and 'neck' are never",
        ),
        (lambda: table(2, [[0.0, math.nan]], same_class), "finite places"),
        (lambda: table(2, [0.0, 1.0], same_class), "finite places"),
    ],
)
def test_what_nothing_is_learned_from(call, message):
    with pytest.raises(CourseError, match=message):
        call()


# --- people -----------------------------------------------------------------------------------------------------------


def test_poses():
    skeleton = skeletons.get("lsp")
    joints = [skeleton.index("head_top"), skeleton.index("neck")]
    poses = to_poses(solve(two_people(0.6)), PLACES, UNARY, skeleton, joints)
    assert [pose.joints[joints].tolist() for pose in poses] == [[[60, 0], [60, 20]], [[0, 0], [0, 20]]]
    assert poses[0].score == pytest.approx((0.85 + 0.9) / 14) and poses[1].score == pytest.approx(1.7 / 14)
    assert poses[0].scores[joints].tolist() == pytest.approx([0.85, 0.9])
    others = [k for k in range(14) if k not in joints]
    assert (poses[0].scores[others] == 0).all() and poses[0].joints[others[0]].tolist() == [60, 10]
    mean = to_poses(solve(two_people()), PLACES, UNARY, skeleton, joints, read_out="mean")[1]
    assert mean.joints[joints[0]].tolist() == pytest.approx([3 * 0.7 / 1.6, 0.7 / 1.6])
    lonely = to_poses(solve(two_people(0.6)), PLACES, UNARY, skeleton, joints, least=1)
    assert len(lonely) == 3 and lonely[2].joints[joints[0]].tolist() == [150, 80]


def test_poses_of_nobody():
    nobody = local_search(Program(np.zeros((0, 14)), np.zeros((0, 0, 14, 14))))
    assert to_poses(nobody, np.zeros((0, 2)), np.zeros((0, 14)), skeletons.get("lsp")) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"places": PLACES[:5]}, "6 candidates of 2 classes need places"),
        ({"probabilities": UNARY[:, :1]}, "6 candidates of 2 classes need places"),
        ({"joints": None}, "6 candidates of 14 classes"),
        ({"joints": [3, 3]}, "every class must be another joint of the 14 in 'lsp'"),
        ({"joints": [3, 14]}, "every class must be another joint of the 14 in 'lsp'"),
        ({"read_out": "median"}, "read out as 'best' or as 'mean'; got 'median'"),
    ],
)
def test_poses_that_are_none(change, message):
    arguments = {"places": PLACES, "probabilities": UNARY, "skeleton": skeletons.get("lsp"), "joints": [13, 12]}
    with pytest.raises(CourseError, match=message):
        to_poses(solve(two_people()), **(arguments | change))
