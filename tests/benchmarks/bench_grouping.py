"""Grouping a crowd of thirty: the ratio to loops over pairs, connections and people, and growth with the crowd."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from course_lib.lessons.lesson_07_study import seconds as least_seconds
from course_lib.skeletons import BODY18
from course_lib.targets.candidates import peaks
from course_lib.targets.fields import confidence_maps, limb_fields
from course_lib.targets.grouping import assemble, greedy, group, optimal, pair_scores

sys.path.insert(0, str(Path(__file__).parents[1]))
from crowds import figures
from naive_grouping import build, connect, find_peaks

LIMBS, SIZE, PEOPLE = BODY18.limbs, (92, 164), 30  # cells of 8 pixels: a picture of 736 x 1312


def answers(people: int):
    """Maps and fields of a crowd, with some noise, as a network gives them."""
    generator = torch.Generator().manual_seed(people)
    joints = figures(people, SIZE, generator, (20.0, 50.0))
    visible = torch.ones(joints.shape[:2])
    maps, fields = confidence_maps(joints, visible, SIZE)[:-1], limb_fields(joints, visible, LIMBS, SIZE)
    maps = maps + 0.02 * torch.randn(maps.shape, generator=generator)
    return maps, fields + 0.05 * torch.randn(fields.shape, generator=generator)


@pytest.mark.benchmark(group="grouping")
def test_a_crowd_against_loops(benchmark):
    maps, fields = answers(PEOPLE)
    maps_array, fields_array = maps.numpy(), fields.numpy()
    found, loops = peaks(maps), find_peaks(maps_array)
    connections = connect(loops, fields_array, LIMBS)
    links = pair_scores(found, fields, LIMBS, 18)
    chosen = greedy(links)
    people = benchmark.pedantic(group, (maps, fields, LIMBS), rounds=5, warmup_rounds=1)
    expected = build(loops, connections, LIMBS, redundant=(17, 18))
    assert len(people) == len(expected)
    for person, (joints, score) in zip(people, expected, strict=True):
        assert person.score == pytest.approx(score, abs=1e-2) and int((person.scores > 0).sum()) == len(joints)
    steps = {
        "peaks": (lambda: find_peaks(maps_array), lambda: peaks(maps)),
        "pairs and assignment": (
            lambda: connect(loops, fields_array, LIMBS),
            lambda: greedy(pair_scores(found, fields, LIMBS, 18)),
        ),
        "assembly": (
            lambda: build(loops, connections, LIMBS, redundant=(17, 18)),
            lambda: assemble(found, links, chosen, LIMBS, 18),
        ),
    }
    print(f"\n{len(found.scores)} candidates, {sum(map(len, connections))} connections, {len(people)} people")
    seconds = {name: (least_seconds(slow, 2), least_seconds(fast, 5)) for name, (slow, fast) in steps.items()}
    seconds["all"] = tuple(sum(times) for times in zip(*seconds.values(), strict=True))
    for name, (slow, fast) in seconds.items():
        print(f"{name:>22}: loops {slow * 1e3:8.1f} ms, here {fast * 1e3:6.1f} ms: {slow / fast:5.1f} x")
    slow, fast = seconds["all"]
    assert slow > 10 * fast


def growth(crowds: tuple[int, ...] = (1, 5, 10, 20, 30)) -> list[tuple]:
    """People, candidates, and seconds with either assignment."""
    rows = []
    for people in crowds:
        maps, fields = answers(people)
        times = (
            least_seconds(partial(group, maps, fields, LIMBS, assignment=name), 5) for name in ("greedy", "optimal")
        )
        rows.append((people, len(peaks(maps).scores), *times))
    return rows


@pytest.mark.benchmark(group="grouping")
def test_growth_with_the_crowd(benchmark):
    print(f"\n{'people':>8} {'candidates':>12} {'greedy':>10} {'optimal':>10}")
    rows = benchmark.pedantic(growth, rounds=1, iterations=1)
    for people, candidates, first, second in rows:
        print(f"{people:>8} {candidates:>12} {first * 1e3:>7.1f} ms {second * 1e3:>7.1f} ms")
    (few, _, *before), (many, _, *after) = rows[0], rows[-1]
    assert all(late < many / few * early for early, late in zip(before, after, strict=True))  # less than in proportion


@pytest.mark.benchmark(group="grouping")
def test_how_far_greedy_is_from_the_best(benchmark):
    """The sum over all limbs, and how many limbs are assigned in the same way."""
    maps, fields = answers(PEOPLE)
    links = pair_scores(peaks(maps), fields, LIMBS, 18)
    chosen, best = benchmark.pedantic(lambda: (greedy(links), optimal(links)), rounds=3)
    ratio = float(links.scores[chosen].sum() / links.scores[best].sum())
    same = int((chosen == best).flatten(1).all(1).sum())
    assert 0.5 <= ratio <= 1 + 1e-6
    print(f"\ngreedy reaches {ratio:.4f} of the best sum; {same} of {len(LIMBS)} limbs are assigned alike")
