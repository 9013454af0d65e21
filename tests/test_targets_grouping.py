"""Grouping: every person recovered from true fields, each step against loops and enumeration, and bad input."""

import math
from itertools import permutations

import pytest
import torch
from crowds import LEAVES, crowd, figures
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_grouping import build, connect, find_peaks, integrate

from course_lib.errors import CourseError
from course_lib.skeletons import BODY18, COCO, LSP, MPII
from course_lib.targets import grouping
from course_lib.targets.candidates import Candidates, peaks
from course_lib.targets.fields import confidence_maps, limb_fields
from course_lib.targets.grouping import Links, assemble, greedy, group, line_integral, optimal, pair_scores, redundant

SIZE, WIDTH = (112, 144), 1.5
LIMBS = BODY18.limbs


def drawn(people, visible, size=SIZE, width=WIDTH):
    return confidence_maps(people, visible, size)[:-1], limb_fields(people, visible, LIMBS, size, width)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# --- everybody is found -----------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(
    st.integers(1, 8),
    st.integers(0, 10**6),
    st.sampled_from(["greedy", "optimal"]),
    st.sampled_from(["limb", "score"]),
    st.booleans(),
)
def test_all_people_are_recovered_from_true_fields(most, seed, assignment, order, hide):
    """Wherever `crowds.told_apart` says that fields can tell: to a hundredth of a cell, nobody more and nobody less."""
    people = crowd(most, SIZE, seed)
    visible = torch.full(people.shape[:2], 2)
    if hide:  # what hangs on one limb only: without it, the others still hang together
        visible[:, LEAVES] = torch.randint(0, 2, (len(people), len(LEAVES)), generator=generator(seed))
    found = group(*drawn(people, visible), LIMBS, assignment=assignment, order=order)
    assert len(found) == len(people)
    whose = set()
    for person in found:
        labelled = person.scores > 0
        distance = (person.joints - people).norm(dim=-1)  # (N, 18)
        fits = [bool((distance[n] < 0.01)[labelled].all()) for n in range(len(people))]
        assert sum(fits) == 1
        whose.add(fits.index(True))
        assert torch.equal(labelled, visible[fits.index(True)] > 0)
        assert bool((person.scores <= 1).all()) and person.score <= 18 + 19 + 1e-3
    assert len(whose) == len(people)


def test_the_crowds_are_crowded():
    """Or the property would say little: some people stand in each other's boxes."""
    people = crowd(8, SIZE, 0)
    low, high = people.amin(1), people.amax(1)
    meet = ((low[:, None] < high[None]) & (low[None] < high[:, None])).all(-1).sum() - len(people)
    assert len(people) == 8 and int(meet) // 2 >= 5


def test_one_person_alone_and_nobody():
    people = crowd(1, SIZE, 3)
    (person,) = group(*drawn(people, torch.ones(1, 18)), LIMBS)
    torch.testing.assert_close(person.joints, people[0], rtol=0, atol=1e-3)
    maps, fields = drawn(people, torch.zeros(1, 18))
    assert group(maps, fields, LIMBS) == [] == group(maps, fields, LIMBS, order="score", assignment="optimal")


def test_two_identical_people_are_one():
    people = crowd(1, SIZE, 3).repeat(2, 1, 1)
    assert len(group(*drawn(people, torch.ones(2, 18)), LIMBS)) == 1


def test_a_person_with_too_few_joints_is_nobody():
    people = crowd(1, SIZE, 3)
    for seen, expected in (((4,), 0), ((3, 4), 0), ((2, 3, 4), 1)):  # wrist, elbow, shoulder
        visible = torch.zeros(1, 18)
        visible[0, list(seen)] = 1
        found = group(*drawn(people, visible), LIMBS)
        assert len(found) == expected
        assert len(group(*drawn(people, visible), LIMBS, least_joints=2)) == (len(seen) > 1)
    missing = found[0].scores == 0
    assert int(missing.sum()) == 15
    torch.testing.assert_close(found[0].joints[missing], people[0, [2, 3, 4]].mean(0).expand(15, 2), rtol=0, atol=1e-3)
    assert group(*drawn(people, visible), LIMBS, least_score=2.0) == []


def test_fields_that_cannot_tell():
    """Two forearms cross at a small angle. In the middle the field is their mean, and the wrong pairs fit it better."""
    people = torch.tensor([[[10.0, 5.0], [14.0, 35.0]], [[14.0, 5.0], [10.0, 35.0]]])
    maps = confidence_maps(people, torch.ones(2, 2), (40, 25))[:-1]
    fields = limb_fields(people, torch.ones(2, 2), ((0, 1),), (40, 25), 2.5)
    found = peaks(maps)
    links = pair_scores(found, fields, ((0, 1),), 2, longest=None)
    elbows, wrists = found.table(2)
    straight = (found.points[elbows][:, None, 0] - found.points[wrists][None, :, 0]).abs() < 1  # (2, 2)
    assert bool(links.possible.all()) and links.scores[0][straight].min() > links.scores[0][~straight].max()
    for assign in (greedy, optimal):
        assert torch.equal(assign(links)[0], straight)


# --- line integrals ---------------------------------------------------------------------------------------------------


@given(st.floats(0, 2 * math.pi), st.floats(0, 2 * math.pi), st.floats(0.5, 12.0), st.integers(1, 25))
def test_in_a_constant_field_the_integral_is_a_cosine(turn, angle, length, samples):
    fields = torch.tensor([math.cos(turn), math.sin(turn)])[:, None, None].expand(2, 24, 30)
    a = torch.tensor([[[15.0, 12.0]]])
    b = a + length * torch.tensor([math.cos(angle), math.sin(angle)])
    score, possible = line_integral(fields, a, b, samples=samples, longest=None)
    cosine = math.cos(angle - turn)
    assert float(score) == pytest.approx(cosine, abs=1e-5)
    if abs(cosine - 0.05) > 1e-4:
        assert bool(possible) == (cosine > 0.05)
    back, _ = line_integral(-fields, b, a, samples=samples, longest=None)
    assert float(back) == pytest.approx(float(score), abs=1e-5)


def test_integrals_against_a_loop():
    fields = torch.randn(6, 17, 21, generator=generator()) + 0.3
    a, b = torch.rand(2, 3, 40, 2, generator=generator(1)) * torch.tensor([21.0, 17.0])
    for options in ({}, {"samples": 4, "share": 0.5, "along": -0.2}, {"longest": 0.2}):
        scores, possible = line_integral(fields, a, b, **options)
        for c in range(3):
            for p in range(40):
                expected = integrate(fields[2 * c : 2 * c + 2].numpy(), a[c, p].numpy(), b[c, p].numpy(), **options)
                assert float(scores[c, p]) == pytest.approx(expected[0], abs=1e-4)
                assert bool(possible[c, p]) == expected[1]


def test_eight_of_ten_points_are_not_enough():
    """The left part of the field points along the limb: up to 7, 8, 9 and all of the ten points lie in it."""
    a, b = torch.tensor([[[0.0, 2.0]]]), torch.tensor([[[40.0, 2.0]]])
    for points, enough in ((7, False), (8, False), (9, True), (10, True)):
        fields = torch.zeros(2, 90, 40)
        fields[0, :, : 4 * points] = 1
        score, possible = line_integral(fields, a, b)
        assert bool(possible) == enough and float(score) == pytest.approx(points / 10, abs=1e-5)
        assert float(line_integral(fields, a, b, passing_only=True).scores) == pytest.approx(1.0)
        assert bool(line_integral(fields, a, b, share=0.65).possible)


def test_long_limbs_are_punished():
    fields = torch.ones(2, 20, 100)
    fields[1] = 0
    a = torch.tensor([[[5.0, 10.0]]])
    for length, expected in ((4.0, 1.0), (10.0, 1.0), (20.0, 0.5), (40.0, 0.25), (80.0, 0.125)):
        score, possible = line_integral(fields, a, a + torch.tensor([length, 0.0]))
        assert float(score) == pytest.approx(expected) and bool(possible)
        assert float(line_integral(fields, a, a + torch.tensor([length, 0.0]), longest=None).scores) == pytest.approx(1)
    assert not bool(line_integral(fields * 0.8, a, a + torch.tensor([80.0, 0.0])).possible)


def test_two_ends_at_one_place_are_no_limb():
    a = torch.full((1, 3, 2), 4.0)
    score, possible = line_integral(torch.ones(2, 8, 8), a, a)
    assert not score.any() and not possible.any()


def test_many_pairs_are_looked_at_in_pieces(monkeypatch):
    fields, a = torch.randn(4, 9, 9, generator=generator()), 9 * torch.rand(2, 50, 2, generator=generator())
    whole = line_integral(fields, a, a.flip(1))
    monkeypatch.setattr(grouping, "SAMPLES", 60)
    for one, other in zip(whole, line_integral(fields, a, a.flip(1)), strict=True):
        assert torch.equal(one, other)


# --- assignment -------------------------------------------------------------------------------------------------------


def links_of(*matrices):
    scores = torch.tensor(matrices, dtype=torch.float32)
    return Links(scores, scores > 0)


def total(links, chosen):
    return float(links.scores[chosen].sum())


def test_greedy_can_lose_nearly_half():
    links = links_of([[0.9, 0.8], [0.8, 0.0]])
    assert greedy(links).tolist() == [[[True, False], [False, False]]]
    assert optimal(links).tolist() == [[[False, True], [True, False]]]
    assert (total(links, greedy(links)), total(links, optimal(links))) == pytest.approx((0.9, 1.6))


@settings(max_examples=60)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 10**6), st.booleans())
def test_assignments_against_loops_and_enumeration(count, limbs, seed, ties):
    scores = torch.rand(limbs, count, count, generator=generator(seed))
    scores = (scores * 3).round() / 3 if ties else scores
    links = Links(scores, (torch.rand(scores.shape, generator=generator(seed + 1)) < 0.7) & (scores > 0))
    mine, best = greedy(links), optimal(links)
    for chosen in (mine, best):
        assert not bool((chosen & ~links.possible).any())
        assert int(chosen.sum(1).max()) <= 1 and int(chosen.sum(2).max()) <= 1
    for c in range(limbs):
        taken = []
        cells = [(m, n) for m in range(count) for n in range(count) if links.possible[c, m, n]]
        for m, n in sorted(cells, key=lambda cell: -float(scores[c, cell[0], cell[1]])):
            if all(m != other[0] and n != other[1] for other in taken):
                taken.append((m, n))
        assert sorted(taken) == [tuple(cell) for cell in mine[c].nonzero().tolist()]
        values = torch.where(links.possible[c], scores[c], 0.0)
        highest = max(float(values[range(count), list(order)].sum()) for order in permutations(range(count)))
        assert float(values[best[c]].sum()) == pytest.approx(highest, abs=1e-5)
        assert float(values[mine[c]].sum()) >= highest / 2 - 1e-5


# --- assembly ---------------------------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(st.integers(0, 6), st.integers(0, 10**6))
def test_the_whole_way_against_loops_on_noisy_fields(count, seed):
    people = figures(count, (48, 64), generator(seed), (22.0, 40.0))
    maps, fields = drawn(people, torch.ones(people.shape[:2]), (48, 64), 1.0)
    maps = maps + 0.1 * torch.randn(maps.shape, generator=generator(seed))
    fields = fields + 0.2 * torch.randn(fields.shape, generator=generator(seed))
    found = group(maps, fields, LIMBS, 0.25)
    loops = find_peaks(maps.numpy(), 0.25)
    expected = build(loops, connect(loops, fields.numpy(), LIMBS), LIMBS, redundant=(17, 18))
    assert len(found) == len(expected)
    for person, (joints, score) in zip(found, expected, strict=True):
        assert person.score == pytest.approx(score, abs=1e-2)
        assert set((person.scores > 0).nonzero().flatten().tolist()) == set(joints)
        for joint, (x, y, height) in joints.items():
            assert person.joints[joint].tolist() == pytest.approx([x, y], abs=1e-3)
            assert float(person.scores[joint]) == pytest.approx(height, abs=1e-5)


def by_hand(joints, pairs, limbs, **options):
    """One candidate at every entry of `joints`; pairs of candidates (limb, first, second, score)."""
    joints = torch.tensor(joints)
    candidates = Candidates(torch.rand(len(joints), 2, generator=generator()), torch.ones(len(joints)), joints)
    count = int(joints.max()) + 1
    table = candidates.table(count)
    scores = torch.zeros(len(limbs), table.shape[1], table.shape[1])
    place = {int(c): m for row in table for m, c in enumerate(row) if c >= 0}
    for limb, a, b, score in pairs:
        scores[limb, place[a], place[b]] = score
    options = {"least_joints": 1, "least_score": 0.0, **options}
    found = assemble(candidates, Links(scores, scores > 0), scores > 0, limbs, count, **options)
    where = {tuple(point.tolist()): c for c, point in enumerate(candidates.points)}
    return [
        {where[tuple(point.tolist())] for point, score in zip(g.joints, g.scores, strict=True) if score > 0}
        for g in found
    ]


def test_a_redundant_limb_completes_people_but_starts_none():
    assert [limb for limb, again in enumerate(redundant(LIMBS)) if again] == [17, 18]
    for skeleton in (LSP, MPII, COCO, BODY18):
        assert sum(not again for again in redundant(skeleton.limbs)) == len(skeleton) - 1  # a tree over all joints
    limbs = ((0, 1), (1, 2), (0, 2))
    assert by_hand([0, 1, 2], [(0, 0, 1, 0.5), (2, 0, 2, 0.5)], limbs) == [{0, 1, 2}]
    assert by_hand([0, 1, 2], [(2, 0, 2, 0.5)], limbs) == []
    assert by_hand([0, 1, 2], [(2, 0, 2, 0.5)], limbs, order="score") == [{0, 2}]


def test_two_halves_become_one_unless_they_share_a_joint():
    limbs = ((0, 1), (2, 3), (1, 2))
    halves = [(0, 0, 1, 0.5), (1, 2, 3, 0.5), (2, 1, 2, 0.5)]
    assert by_hand([0, 1, 2, 3], halves, limbs) == [{0, 1, 2, 3}]
    limbs = ((0, 1), (0, 2), (1, 2))  # both have a joint 0
    apart = by_hand([0, 0, 1, 2], [(0, 0, 2, 0.5), (1, 1, 3, 0.5), (2, 2, 3, 0.5)], limbs)
    assert sorted(map(sorted, apart)) == [[0, 2], [1, 3]]


def test_the_order_decides_who_gets_a_joint():
    """A doubtful neck pulls the elbow away from its own arm when its limb comes first, and not when the surest do."""
    limbs = ((0, 1), (1, 2), (0, 2))
    pairs = [(0, 0, 2, 0.2), (1, 2, 4, 0.9), (2, 1, 4, 0.8)]  # candidates 0 and 1 are both joint 0
    assert {0, 2, 4} in by_hand([0, 0, 1, 1, 2], pairs, limbs)
    assert {1, 2, 4} in by_hand([0, 0, 1, 1, 2], pairs, limbs, order="score")


def test_scores_add_up_and_rank():
    limbs = ((0, 1), (1, 2), (0, 2))
    joints = torch.tensor([0, 0, 1, 1, 2])
    candidates = Candidates(torch.zeros(5, 2), torch.tensor([0.5, 0.4, 0.6, 0.9, 0.7]), joints)
    scores = torch.zeros(3, 2, 2)
    scores[0, 0, 0], scores[0, 1, 1], scores[1, 0, 0], scores[2, 0, 0] = 0.3, 0.2, 0.1, 0.25
    found = assemble(candidates, Links(scores, scores > 0), scores > 0, limbs, 3, least_joints=2, least_score=0.1)
    assert [g.score for g in found] == pytest.approx([0.5 + 0.6 + 0.7 + 0.3 + 0.1 + 0.25, 0.4 + 0.9 + 0.2])
    kept = assemble(candidates, Links(scores, scores > 0), scores > 0, limbs, 3, least_joints=2, least_score=0.78)
    assert len(kept) == 1  # 2.45 of three joints, 1.5 of two


def test_two_halves_add_up_with_the_limb_between_them():
    limbs, count = ((0, 1), (2, 3), (1, 2)), 4
    candidates = Candidates(torch.zeros(4, 2), torch.tensor([0.5, 0.6, 0.7, 0.8]), torch.arange(4))
    scores = torch.tensor([0.1, 0.2, 0.4]).view(3, 1, 1)
    (person,) = assemble(candidates, Links(scores, scores > 0), scores > 0, limbs, count)
    assert person.score == pytest.approx(2.6 + 0.7)


def test_joints_with_fewer_candidates_have_no_pairs_beyond_them():
    candidates = Candidates(10 * torch.rand(4, 2, generator=generator()), torch.ones(4), torch.tensor([0, 0, 0, 1]))
    links = pair_scores(candidates, torch.ones(2, 10, 10), ((0, 1),), 2, share=0.0, along=-9.0)
    assert links.scores.shape == (1, 3, 3)
    assert not links.scores[..., 1:].any() and not links.possible[..., 1:].any()
    assert bool(links.scores[..., 0].all())


# --- bad input --------------------------------------------------------------------------------------------------------


def test_answers_that_are_no_numbers_are_answers_of_nothing():
    people = crowd(2, SIZE, 5)
    maps, fields = drawn(people, torch.ones(2, 18))
    for bad in (math.nan, math.inf, -math.inf):
        assert group(maps, torch.full_like(fields, bad), LIMBS) == []
        assert group(torch.full_like(maps, bad), fields, LIMBS) == []
        broken = fields.clone()
        broken[:, ::7, ::5] = bad
        for person in group(maps, broken, LIMBS):
            assert bool(person.joints.isfinite().all()) and math.isfinite(person.score)


def test_hundreds_of_candidates():
    maps = torch.rand(18, 60, 80, generator=generator())
    fields = torch.randn(38, 60, 80, generator=generator())
    assert 300 < len(peaks(maps, most=10_000).scores) / 18 < 700
    for order in grouping.ORDERS:
        found = group(maps, fields, LIMBS, share=0.0, along=-9.0, order=order, least_joints=1, least_score=0.0)
        seen = [tuple(p.tolist()) for g in found for p, s in zip(g.joints, g.scores, strict=True) if s > 0]
        assert len(found) > 50
        assert len(set(seen)) >= 0.99 * len(seen)  # nobody has anybody else's joint


def test_one_joint_or_no_limbs():
    maps = confidence_maps(torch.tensor([[[5.0, 5.0]]]), torch.ones(1, 1), (9, 9))[:-1]
    assert group(maps, torch.zeros(0, 9, 9), ()) == []
    both = torch.cat([maps, torch.zeros_like(maps)])
    assert group(both, torch.ones(2, 9, 9), ((0, 1),)) == []


def test_what_does_not_fit():
    maps, fields = torch.zeros(18, 9, 9), torch.zeros(38, 9, 9)
    for wrong in ((maps[0], fields), (maps, fields[:37]), (maps, fields[:, :8])):
        with pytest.raises(CourseError, match=r"maps \(K, H, W\) of 19 limbs need fields \(38, H, W\)"):
            group(*wrong, LIMBS)
    with pytest.raises(CourseError, match="assignment called 'hungarian'"):
        group(maps, fields, LIMBS, assignment="hungarian")
    with pytest.raises(CourseError, match="did you mean 'score'"):
        group(maps, fields, LIMBS, order="scores")
    for options in ({"threshold": -1.0}, {"threshold": math.nan}, {"radius": 0}, {"most": 0}):
        with pytest.raises(CourseError, match="peaks needs maps"):
            group(maps, fields, LIMBS, **options)
    for options in ({"samples": 0}, {"share": 1.0}, {"share": math.nan}, {"longest": 0.0}):
        with pytest.raises(CourseError, match="a line integral needs at least 1 sample"):
            line_integral(torch.zeros(2, 4, 4), torch.zeros(1, 1, 2), torch.ones(1, 1, 2), **options)
    with pytest.raises(CourseError, match="fields must be"):
        line_integral(torch.zeros(2, 4, 4), torch.zeros(2, 1, 2), torch.ones(2, 1, 2))
    with pytest.raises(CourseError, match="joins two different ones of the 18 joints"):
        group(maps, fields, (*LIMBS[:-1], (3, 18)))
