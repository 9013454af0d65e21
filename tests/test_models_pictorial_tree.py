"""Inference on a tree of parts against the enumeration of every arrangement (`tree_oracle.py`)."""

from __future__ import annotations

import math

import pytest
import torch
from tree_oracle import CASES, DOUBLE, INF, all_scores, generator, moved, only, random_joints, random_unaries, states_of

from course_lib.errors import CourseError
from course_lib.models.pictorial import tree
from course_lib.models.pictorial.tree import Grid, Joints, log_partition, marginals, max_sum, order, sample, score


@pytest.fixture(params=CASES, name="case", scope="module")
def a_case(request):
    """unaries of two pictures, parents, springs for each picture, grid, and the scores of all arrangements of both."""
    parents, grid = CASES[request.param]
    seed = list(CASES).index(request.param)
    unaries = random_unaries(2, len(parents), grid, seed=seed)
    unaries[1, 0, ..., 0, 0] = -INF  # a forbidden cell
    joints = random_joints(len(parents), seed=seed, pictures=2)
    scores = [all_scores(unaries[b], parents, Joints(*(value[b] for value in joints)), grid) for b in range(2)]
    return unaries, parents, joints, grid, scores


def test_the_cases_have_joints_outside_the_picture():
    """Or clipping would go unseen."""
    parents, grid = CASES["star"]
    joints = random_joints(len(parents), seed=4, pictures=2)
    cells = {moved(state, joints.at_parent[0, 0].tolist(), grid) for state in states_of(grid)}
    assert any(not (0 <= x < grid.size[1] and 0 <= y < grid.size[0]) for x, y in cells)


# --- exact ------------------------------------------------------------------------------------------------------------


def test_the_best_arrangement(case):
    unaries, parents, joints, grid, scores = case
    best = max_sum(unaries, parents, joints, grid)
    assert best.states.shape == (2, len(parents), 4) and best.states.dtype == torch.long
    assert best.messages.shape == unaries.shape
    for b in range(2):
        torch.testing.assert_close(best.score[b], scores[b].max(), rtol=0, atol=1e-9)
        where = torch.unravel_index(scores[b].argmax(), scores[b].shape)
        expected = [states_of(grid)[i] for i in where]
        assert [tuple(state) for state in best.states[b].tolist()] == expected
    torch.testing.assert_close(score(best.states, unaries, parents, joints, grid), best.score, rtol=0, atol=1e-9)


def test_messages_are_what_a_branch_can_do_at_best(case):
    """messages[:, p] at a state of p's parent is the highest score that p and all below it reach with that state."""
    unaries, parents, joints, grid, _ = case
    best = max_sum(unaries, parents, joints, grid)
    for part, parent in enumerate(parents):
        if parent < 0:
            assert not best.messages[:, part].any()
            continue
        branch = [part]
        for other in reversed(order(parents)):
            branch += [other] if parents[other] in branch else []
        alone = torch.zeros_like(unaries[0])
        alone[branch] = unaries[0, branch]
        springs = Joints(*(value[0] for value in joints))
        kept = tuple(parents[p] if p in branch else -1 for p in range(len(parents)))  # no other springs
        reached = all_scores(alone, kept, springs, grid).amax([p for p in range(len(parents)) if p != parent])
        torch.testing.assert_close(best.messages[0, part].flatten(), reached, rtol=0, atol=1e-9)


def test_the_posterior(case):
    unaries, parents, joints, grid, scores = case
    posterior = marginals(unaries, parents, joints, grid)
    total = log_partition(unaries, parents, joints, grid)
    for b in range(2):
        torch.testing.assert_close(total[b], scores[b].flatten().logsumexp(0), rtol=0, atol=1e-9)
        probabilities = scores[b].flatten().softmax(0).view_as(scores[b])
        for part in range(len(parents)):
            torch.testing.assert_close(posterior[b, part].flatten(), only(probabilities, part), rtol=0, atol=1e-9)
    torch.testing.assert_close(posterior.sum((2, 3, 4, 5)), torch.ones(2, len(parents), dtype=DOUBLE))
    assert not posterior[1, 0, ..., 0, 0].any()  # the forbidden cell


def test_scores_of_given_arrangements(case):
    unaries, parents, joints, grid, scores = case
    states = torch.tensor(states_of(grid))
    choice = torch.randint(len(states), (2, 5, 3, len(parents)), generator=generator())
    expected = torch.stack([scores[b][tuple(choice[b].unbind(-1))] for b in range(2)])
    found = score(states[choice], unaries, parents, joints, grid)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_scores_broadcast_over_pictures():
    parents, grid = CASES["chain"]
    unaries, joints = random_unaries(3, 4, grid), random_joints(4)
    states = sample(unaries[:1], parents, joints, grid, 6, generator())[0]  # (6, 4, 4)
    for_all = score(states[None], unaries, parents, joints, grid)
    assert for_all.shape == (3, 6)
    torch.testing.assert_close(for_all[2], score(states[None], unaries[2:], parents, joints, grid)[0])
    torch.testing.assert_close(score(states, unaries[1:2], parents, joints, grid), for_all[1])  # six with one picture's
    torch.testing.assert_close(score(states[4], unaries, parents, joints, grid), for_all[:, 4])


def fits(observed: torch.Tensor, expected: torch.Tensor) -> bool:
    """Pearson's chi-square with five standard deviations of room; rare cells are counted together."""
    count = observed.sum()
    expected = expected * count
    rare = expected < 5
    observed = torch.cat([observed[~rare], observed[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    used = expected > 0
    free = max(int(used.sum()) - 1, 1)
    assert float(observed[~used].sum()) == 0
    statistic = float(((observed - expected)[used] ** 2 / expected[used]).sum())
    return statistic < free + 5 * math.sqrt(2 * free)


def test_samples_follow_the_posterior(case):
    unaries, parents, joints, grid, scores = case
    states = sample(unaries, parents, joints, grid, 20_000, generator(3))
    assert states.shape == (2, 20_000, len(parents), 4)
    cells = len(states_of(grid))
    number = torch.zeros(states.shape[:-1], dtype=torch.long)
    for axis, length in enumerate(grid.shape):
        number = number * length + states[..., axis]
    for b in range(2):
        probabilities = scores[b].flatten().softmax(0).view_as(scores[b])
        for part, parent in enumerate(parents):
            counts = number[b, :, part].bincount(minlength=cells).double()
            assert fits(counts, only(probabilities, part))
            if parent >= 0:
                low, high = sorted((part, parent))
                pairs = (number[b, :, low] * cells + number[b, :, high]).bincount(minlength=cells**2).double()
                assert fits(pairs, only(probabilities, low, high).flatten())


def test_the_same_seed_gives_the_same_samples():
    parents, grid = CASES["star"]
    arguments = (random_unaries(2, 4, grid), parents, random_joints(4), grid, 50)
    assert torch.equal(sample(*arguments, generator(1)), sample(*arguments, generator(1)))
    assert not torch.equal(sample(*arguments, generator(1)), sample(*arguments, generator(2)))


def test_no_draw_is_impossible(monkeypatch):
    """Whatever the random number is, 0 and the last one below 1 too, a state of weight 0 is not drawn."""
    weights = torch.tensor([[0.0, 0.0, 3.0, 0.0, 0.1, 0.0, 0.0]], dtype=DOUBLE)
    for number, expected in ((0.0, 2), (0.5, 2), (0.99, 4), (1 - 2**-53, 4), (1.0, 4)):
        monkeypatch.setattr(torch, "rand", lambda *shape, number=number, **_: torch.full(shape, number, dtype=DOUBLE))
        assert tree._draw(weights, None).tolist() == [[expected]]


# --- what the two questions mean --------------------------------------------------------------------------------------


def test_the_best_arrangement_is_not_the_most_probable_state_of_every_part():
    """The best pair is at the left, but three good children stand around the other place of the parent."""
    grid = Grid((1, 6), 1, 1, (1.0,))
    unaries = torch.full((1, 2, *grid.shape), -INF, dtype=DOUBLE)
    unaries[0, 0, 0, 0, 0, 0], unaries[0, 0, 0, 0, 0, 4] = 0.5, 0.0
    unaries[0, 1, 0, 0, 0, [0, 3, 4, 5]] = 0.0
    zero, one = torch.zeros(2, dtype=DOUBLE), torch.ones(2, dtype=DOUBLE)
    joints = Joints(torch.zeros(2, 2), torch.zeros(2, 2), torch.full((2, 2), 1.5, dtype=DOUBLE), zero, zero, zero, one)
    best = max_sum(unaries, (-1, 0), joints, grid)
    posterior = marginals(unaries, (-1, 0), joints, grid)
    assert best.states[0, :, 3].tolist() == [0, 0]
    assert int(posterior[0, 0].argmax()) == 4


def test_the_best_arrangement_beats_the_parts_own_choices(case):
    unaries, parents, joints, grid, _ = case
    best = max_sum(unaries, parents, joints, grid)
    for values in (unaries, marginals(unaries, parents, joints, grid)):
        own = torch.stack(torch.unravel_index(values.flatten(2).argmax(-1), grid.shape), dim=-1)
        assert bool((score(own, unaries, parents, joints, grid) <= best.score + 1e-9).all())


def test_moving_all_evidence_moves_the_answer():
    grid, parents, joints = Grid((9, 11), 4, 4, (0.8, 1.2)), (-1, 0, 1, 0), random_joints(4, seed=5)
    inside = random_unaries(1, 4, Grid((4, 5), 4, 4, (0.8, 1.2)), 3.0)
    placed = []
    for row, column in ((0, 0), (5, 6), (2, 1)):
        unaries = torch.full((1, 4, *grid.shape), -INF, dtype=DOUBLE)
        unaries[..., row : row + 4, column : column + 5] = inside
        best, posterior = max_sum(unaries, parents, joints, grid), marginals(unaries, parents, joints, grid)
        back = best.states - torch.tensor([0, 0, row, column])
        window = posterior[..., row : row + 4, column : column + 5]
        placed.append((back, best.score, window, log_partition(unaries, parents, joints, grid)))
    for other in placed[1:]:
        assert torch.equal(other[0], placed[0][0])
        for a, b in zip(other[1:], placed[0][1:], strict=True):
            torch.testing.assert_close(a, b)


def test_a_joint_is_where_the_rotated_frames_put_it():
    """Two stiff parts, turned by a quarter: the child's end at its x = -8 sits on the parent's end at its x = +8."""
    grid = Grid((16, 16), 4, 4, (1.0,))
    flat = torch.zeros(2, dtype=DOUBLE)
    joints = Joints(
        at_parent=torch.tensor([[0.0, 0.0], [8.0, 0.0]]),
        at_child=torch.tensor([[0.0, 0.0], [-8.0, 0.0]]),
        spread=torch.full((2, 2), 0.5, dtype=DOUBLE),
        angle=torch.tensor([0.0, math.pi / 2]),
        kappa=flat + 50,
        stretch=flat,
        stretch_spread=flat + 1,
    )
    unaries = torch.zeros(1, 2, *grid.shape, dtype=DOUBLE)
    unaries[0, 0, 0, 1, 5, 9] = 9.0  # the parent's x axis points down: its joint is two cells below
    best = max_sum(unaries, (-1, 0), joints, grid)
    # the child's x axis points left, so its end at -8 is two cells to the right of its centre
    assert best.states[0].tolist() == [[0, 1, 5, 9], [0, 2, 7, 7]]
    assert float(best.score) == pytest.approx(9.0)


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case_name", ["chain", "star"])
def test_gradients_of_log_partition_and_score(case_name):
    parents, grid = CASES[case_name]
    if case_name == "star":
        grid = Grid((2, 2), 4, 2, (0.8, 1.25))
    joints = random_joints(4, seed=2)
    unaries = random_unaries(2, 4, grid).requires_grad_()
    learned = [value.clone().requires_grad_() for value in joints[2:]]
    states = sample(unaries.detach(), parents, joints, grid, 3, generator())

    def total(unaries, *springs):
        return log_partition(unaries, parents, Joints(*joints[:2], *springs), grid)

    def of_states(unaries, *springs):
        return score(states, unaries, parents, Joints(*joints[:2], *springs), grid)

    assert torch.autograd.gradcheck(total, (unaries, *learned))
    assert torch.autograd.gradcheck(of_states, (unaries, *learned))


def test_springs_can_be_learned_from_samples():
    """- log p of arrangements drawn with one spread is lower at that spread than at others."""
    grid, parents = Grid((8, 8), 1, 2, (1.0,)), (-1, 0)
    joints = random_joints(2, reach=2.0)._replace(spread=torch.full((2, 2), 1.5, dtype=DOUBLE))
    unaries = torch.zeros(1, 2, *grid.shape, dtype=DOUBLE)
    states = sample(unaries, parents, joints, grid, 3000, generator())

    def cost(spread: float) -> float:
        rest = (unaries, parents, joints._replace(spread=torch.full((2, 2), spread, dtype=DOUBLE)), grid)
        return float(log_partition(*rest) - score(states, *rest).mean())

    assert cost(1.5) < min(cost(1.2), cost(1.9))


# --- batches, modes, precision ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [1, 10**9])
def test_pictures_together_and_one_by_one(cells, monkeypatch):
    """Also with springs of their own, and taken through memory in pieces or all at once."""
    monkeypatch.setattr(tree, "CELLS", cells)
    grid, parents = Grid((4, 5), 4, 3, (0.9, 1.1)), (-1, 0, 1, 0)
    unaries, joints = random_unaries(3, 4, grid), random_joints(4, pictures=3)
    best = max_sum(unaries, parents, joints, grid)
    posterior = marginals(unaries, parents, joints, grid)
    total = log_partition(unaries, parents, joints, grid)
    values = score(best.states, unaries, parents, joints, grid)
    for b in range(3):
        own = (unaries[b : b + 1], parents, Joints(*(value[b] for value in joints)), grid)
        alone = max_sum(*own)
        assert torch.equal(alone.states[0], best.states[b])
        torch.testing.assert_close(alone.score[0], best.score[b])
        torch.testing.assert_close(alone.messages[0], best.messages[b])
        torch.testing.assert_close(marginals(*own)[0], posterior[b])
        torch.testing.assert_close(log_partition(*own)[0], total[b])
        torch.testing.assert_close(score(alone.states, *own)[0], values[b])
    shared = joints._replace(spread=joints.spread[0])  # one for all beside one for each
    repeated = joints._replace(spread=joints.spread[:1].expand(3, -1, -1))
    found = log_partition(unaries, parents, shared, grid)
    torch.testing.assert_close(found, log_partition(unaries, parents, repeated, grid))


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_without_gradients(mode):
    parents, grid = CASES["star"]
    unaries, joints = random_unaries(1, 4, grid), random_joints(4)
    expected = marginals(unaries, parents, joints, grid), max_sum(unaries, parents, joints, grid).score
    with mode():
        inside = (unaries.clone(), parents, Joints(*(value.clone() for value in joints)), grid)
        torch.testing.assert_close(marginals(*inside), expected[0])
        torch.testing.assert_close(max_sum(*inside).score, expected[1])
        states = sample(*inside, 4, generator())
        assert log_partition(*inside).shape == (1,) and score(states, *inside).shape == (1, 4)


def test_nothing_given_is_changed_or_tracked():
    parents, grid = CASES["star"]
    unaries, joints = random_unaries(1, 4, grid).requires_grad_(), random_joints(4)
    joints = Joints(*(value.requires_grad_() for value in joints))
    before = unaries.detach().clone()
    for found in (*max_sum(unaries, parents, joints, grid), marginals(unaries, parents, joints, grid)):
        assert not found.requires_grad
    sample(unaries, parents, joints, grid, 3)
    assert torch.equal(unaries, before) and unaries.grad is None


@pytest.mark.parametrize("spread", [0.4, 4.0])
@pytest.mark.parametrize("seed", range(4))
def test_single_precision_survives_large_scores(seed, spread):
    """Also where stiff springs let nobody have the own best state, and all that counts is below e^-103 of it."""
    parents, grid = CASES["star"]
    double = (torch.rand(2, 4, *grid.shape, dtype=DOUBLE, generator=generator(seed)) - 0.5) * 200
    joints = random_joints(4, seed=seed)._replace(spread=torch.full((4, 2), spread, dtype=DOUBLE))
    single = (double.float(), parents, joints, grid)
    total, posterior, best = log_partition(*single), marginals(*single), max_sum(*single)
    assert total.dtype == posterior.dtype == best.score.dtype == best.messages.dtype == torch.float32
    truth = all_scores(double.float().double()[0], parents, joints, grid)
    torch.testing.assert_close(total[0].double(), truth.flatten().logsumexp(0), rtol=1e-6, atol=1e-4)
    torch.testing.assert_close(best.score[0].double(), truth.max(), rtol=1e-5, atol=1e-3)
    probabilities = truth.flatten().softmax(0).view_as(truth)
    for part in range(4):
        torch.testing.assert_close(posterior[0, part].flatten().double(), only(probabilities, part), rtol=0, atol=1e-6)


def test_a_constant_moves_the_total_and_nothing_else():
    parents, grid = CASES["star"]
    unaries, joints = random_unaries(1, 4, grid), random_joints(4)
    raised = unaries.clone()
    raised[:, 2] += 5000.0
    torch.testing.assert_close(
        log_partition(raised, parents, joints, grid), log_partition(unaries, parents, joints, grid) + 5000
    )
    torch.testing.assert_close(marginals(raised, parents, joints, grid), marginals(unaries, parents, joints, grid))


def test_what_the_root_has_for_a_spring_is_not_read():
    parents, grid = CASES["star"]
    unaries, joints = random_unaries(1, 4, grid), random_joints(4)
    spoilt = Joints(*(value.clone() for value in joints))
    for value in spoilt:
        value[1] = math.nan
    assert torch.equal(marginals(unaries, parents, spoilt, grid), marginals(unaries, parents, joints, grid))
    assert torch.equal(max_sum(unaries, parents, spoilt, grid).states, max_sum(unaries, parents, joints, grid).states)


# --- bad input --------------------------------------------------------------------------------------------------------

NAMES = ("torso", "left arm", "left forearm", "head")


def test_the_order_is_from_the_leaves_to_the_root():
    parents = (3, 4, 1, -1, 3, 0)
    found = order(parents)
    assert sorted(found) == list(range(6)) and found[-1] == 3
    assert all(found.index(part) < found.index(parent) for part, parent in enumerate(parents) if parent >= 0)
    assert order((-1,)) == (0,)


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ((), "at least one part"),
        ((-1, 2, 1, 0), "cycle, 'left arm' -> 'left forearm' -> 'left arm'$"),
        ((1, 2, 0, 0), "no part is the root.*cycle, 'torso' -> 'left arm' -> 'left forearm' -> 'torso'$"),
        ((-1, 0, 2, 0), "cycle, 'left forearm' -> 'left forearm'$"),
        ((-1, 2, 3, 2), "cycle, 'left forearm' -> 'head' -> 'left forearm'$"),  # the arm hangs on it, but is not in it
        ((-1, 0, -1, 0), "one root.*there are 2: 'torso', 'left forearm'"),
        ((-1, 0, 7, 0), "part 'left forearm' hangs on a missing part, 7"),
        ((-1, 0, -2, 0), "part 'left forearm' hangs on a missing part, -2"),
        ((-1, 0), "2 parts has 4 names"),
    ],
)
def test_what_is_no_tree(parents, message):
    names = NAMES if parents else None
    with pytest.raises(CourseError, match=message):
        order(parents, names)
    for function in (max_sum, log_partition, marginals):
        with pytest.raises(CourseError, match=message):
            function(torch.zeros(1, 4, 1, 1, 2, 2), parents, random_joints(4), Grid((2, 2), 1, 1, (1.0,)), names)


def test_parts_without_names_are_told_by_their_numbers():
    with pytest.raises(CourseError, match=r"cycle, 1 -> 2 -> 1$"):
        order((-1, 2, 1, 0))


FUNCTIONS = {
    "max_sum": max_sum,
    "log_partition": log_partition,
    "marginals": marginals,
    "sample": lambda *arguments: sample(*arguments[:4], 3, None, *arguments[4:]),
    "score": lambda *arguments: score(torch.zeros(4, 4, dtype=torch.long), *arguments),
}


@pytest.fixture(params=FUNCTIONS, name="function")
def a_function(request):
    return FUNCTIONS[request.param]


def good() -> tuple[torch.Tensor, tuple[int, ...], Joints, Grid]:
    grid = Grid((3, 2), 4, 2, (1.0,))
    return random_unaries(2, 4, grid), (-1, 0, 1, 0), random_joints(4), grid


def test_a_part_that_fits_nowhere(function):
    unaries, *rest = good()
    unaries[1, 2] = -INF
    with pytest.raises(CourseError, match="part 'left forearm' fits nowhere in picture 1"):
        function(unaries, *rest, NAMES)
    with pytest.raises(CourseError, match="part 2 fits nowhere"):
        function(unaries, *rest)


@pytest.mark.parametrize("bad", [math.nan, INF])
def test_scores_that_are_no_numbers(function, bad):
    unaries, *rest = good()
    unaries[0, 3, 0, 1, 2, 1] = bad
    with pytest.raises(CourseError, match="part 'head' in picture 0 contain NaN or \\+inf"):
        function(unaries, *rest, NAMES)


def test_shapes_that_do_not_fit(function):
    unaries, parents, joints, grid = good()
    for wrong in (unaries[0], unaries[:, :3], unaries[..., :1], unaries[:0], unaries.long()):
        with pytest.raises(CourseError, match="unaries must be floating-point scores"):
            function(wrong, parents, joints, grid)
    for field in Joints._fields:
        value = getattr(joints, field)
        for wrong in (value[:3], value[None].expand(3, *value.shape), value.sum()):
            with pytest.raises(CourseError, match=f"joints.{field} must have shape"):
                function(unaries, parents, joints._replace(**{field: wrong}), grid)


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        *((field, math.nan) for field in Joints._fields),
        *(("spread", 0.0), ("spread", -1.0), ("stretch_spread", 0.0), ("kappa", -0.1), ("kappa", INF)),
    ],
)
def test_springs_that_are_none(function, field, bad):
    unaries, parents, joints, grid = good()
    getattr(joints, field)[2, ...] = bad
    with pytest.raises(CourseError, match=f"joints.{field} of part 'left forearm' must be"):
        function(unaries, parents, joints, grid, NAMES)


def test_states_that_do_not_exist():
    unaries, parents, joints, grid = good()
    states = torch.zeros(2, 4, 4, dtype=torch.long)
    for axis, length in enumerate(grid.shape):
        for bad in (-1, length):
            outside = states.clone()
            outside[1, 2, axis] = bad
            with pytest.raises(CourseError, match="states must lie on the grid"):
                score(outside, unaries, parents, joints, grid)
    for wrong in (states[:, :3], states[..., :3], states[0, 0], states.expand(3, 2, 4, 4)):
        with pytest.raises(CourseError, match="states must have shape"):
            score(wrong, unaries, parents, joints, grid)


def test_parts_that_contradict_each_other_beyond_numbers():
    """The best arrangement can still be told."""
    grid, parents = Grid((1, 40), 4, 1, (1.0,)), (-1, 0)
    unaries = torch.full((2, 2, *grid.shape), -INF, dtype=DOUBLE)
    unaries[0] = 0.0
    unaries[1, 0, ..., 0] = unaries[1, 1, ..., 30] = 0.0
    joints = random_joints(2)._replace(spread=torch.full((2, 2), 0.5), at_parent=torch.zeros(2, 2))
    joints = joints._replace(at_child=torch.zeros(2, 2))
    for function in (log_partition, marginals, FUNCTIONS["sample"]):
        with pytest.raises(CourseError, match="in picture 1 the parts contradict each other"):
            function(unaries, parents, joints, grid)
    assert max_sum(unaries, parents, joints, grid).states[1, :, 3].tolist() == [0, 30]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (0, 3)}, "at least one cell"),
        ({"stride": 0}, "at least one cell"),
        ({"rotations": 0}, "at least one cell"),
        ({"scales": ()}, "positive and increasing"),
        ({"scales": (1.0, 0.5)}, "positive and increasing"),
        ({"scales": (0.0, 1.0)}, "positive and increasing"),
        ({"scales": (1.0, INF)}, "positive and increasing"),
    ],
)
def test_grids_that_are_none(change, message):
    with pytest.raises(CourseError, match=message):
        Grid(**{"size": (2, 2), "stride": 4, "rotations": 4, "scales": (1.0,), **change})
