"""Answers to the exercises of lesson 08."""

import numpy as np

from exercises import right, wrong

# --- 08.cost ----------------------------------------------------------------------------------------------------------


@right("08.cost")
def in_two_lines(p, clip):
    p = np.clip(p, clip, 1 - clip)
    return np.log((1 - p) / p)


@right("08.cost")
def by_the_library(p, clip):
    from course_lib.models.deepcut.program import log_odds

    return log_odds(p, clip)


@wrong("08.cost")
def the_wrong_sign(p, clip):
    p = np.clip(p, clip, 1 - clip)
    return np.log(p / (1 - p))


@wrong("08.cost")
def without_a_clip(p, clip):
    with np.errstate(divide="ignore"):
        return np.log((1 - p) / p)


@wrong("08.cost")
def minus_log_of_p(p, clip):
    return -np.log(np.clip(p, clip, 1 - clip))


@wrong("08.cost")
def clipped_from_below_only(p, clip):
    p = np.maximum(p, clip)
    return np.log((1 - p + 1e-12) / p)


@wrong("08.cost")
def the_usual_clip_whatever_is_asked(p, clip):
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return np.log((1 - p) / p)


@wrong("08.cost")
def the_base_of_bits(p, clip):
    p = np.clip(p, clip, 1 - clip)
    return np.log2((1 - p) / p)


# --- 08.triangle ------------------------------------------------------------------------------------------------------


def rows(number, d, e, f, variables, factors, upper=1.0):
    matrix = np.zeros((len(factors), variables))
    for row, (a, b, c) in zip(matrix, factors, strict=True):
        row[number[d, e]], row[number[e, f]], row[number[d, f]] = a, b, c
    return matrix, np.full(len(factors), upper)


@right("08.triangle")
def three_rotations(number, d, e, f, variables):
    return rows(number, d, e, f, variables, [(1, 1, -1), (-1, 1, 1), (1, -1, 1)])


@right("08.triangle")
def three_rotations_doubled_in_another_order(number, d, e, f, variables):
    return rows(number, f, d, e, variables, [(2, -2, 2), (2, 2, -2), (-2, 2, 2)], 2.0)


@wrong("08.triangle")
def one_rotation(number, d, e, f, variables):
    return rows(number, d, e, f, variables, [(1, 1, -1)])


@wrong("08.triangle")
def two_rotations(number, d, e, f, variables):
    return rows(number, d, e, f, variables, [(1, 1, -1), (-1, 1, 1)])


@wrong("08.triangle")
def no_minus(number, d, e, f, variables):
    return rows(number, d, e, f, variables, [(1, 1, 1)], 2.0)


@wrong("08.triangle")
def too_loose(number, d, e, f, variables):
    return rows(number, d, e, f, variables, [(1, 1, -1), (-1, 1, 1), (1, -1, 1)], 2.0)


@wrong("08.triangle")
def the_first_three_columns(number, d, e, f, variables):
    matrix = np.zeros((3, variables))
    matrix[:, :3] = 1 - 2 * np.eye(3)
    return matrix, np.ones(3)


@wrong("08.triangle")
def whole_numbers_only(number, d, e, f, variables):
    """Right for 0 and 1, but weaker between."""
    return rows(number, d, e, f, variables, [(1, 1, -1.5), (-1.5, 1, 1), (1, -1.5, 1)], 1.0)


@wrong("08.triangle")
def the_columns_of_candidates(number, d, e, f, variables):
    matrix = np.zeros((3, variables))
    for row, at in enumerate(((d, e, f), (e, f, d), (f, d, e))):
        matrix[row, list(at)] = 1, 1, -1
    return matrix, np.ones(3)


# --- 08.search --------------------------------------------------------------------------------------------------------


def moves(program, labels, people, *, new=True, suppress=True, relabel=True):
    persons = sorted(set(people[people >= 0].tolist()))
    for d in range(len(labels)):
        targets = [*persons, max(persons, default=-1) + 1] if new else persons or [0]
        places = [(c, p) for p in targets for c in range(program.classes)]
        if not relabel and labels[d] >= 0:
            places = [(c, p) for c, p in places if c == labels[d]]
        for c, p in [*places, *([(-1, -1)] if suppress else [])]:
            other, owner = labels.copy(), people.copy()
            other[d], owner[d] = c, p
            yield other, owner


def mergers(people):
    persons = sorted(set(people[people >= 0].tolist()))
    for i, p in enumerate(persons):
        for q in persons[i + 1 :]:
            yield np.where(people == q, p, people)


def descend(program, labels, people, merge=True, sweeps=10**6, **options):
    cost = program.objective(labels, people)
    for _ in range(sweeps):
        options_now = list(moves(program, labels, people, **options))
        if merge:
            options_now += [(labels, owner) for owner in mergers(people)]
        best = min(options_now, key=lambda one: program.objective(*one))
        if not program.objective(*best) < cost - 1e-9:
            break
        (labels, people), cost = best, program.objective(*best)
    return labels, people


@right("08.search")
def best_first(program, labels, people):
    return descend(program, labels, people)


@right("08.search")
def by_the_library_without_chains(program, labels, people):
    from course_lib.models.deepcut import local_search as search

    state = search._State(program, labels, people)
    improving = True
    while improving:
        improving = search._merge(state)
        improving |= search._chain(state, False)
    return state.numbered()


@wrong("08.search")
def never_merges(program, labels, people):
    return descend(program, labels, people, merge=False)


@wrong("08.search")
def never_suppresses(program, labels, people):
    return descend(program, labels, people, suppress=False)


@wrong("08.search")
def never_makes_a_new_person(program, labels, people):
    return descend(program, labels, people, new=False)


@wrong("08.search")
def never_changes_a_class(program, labels, people):
    return descend(program, labels, people, relabel=False)


@wrong("08.search")
def stops_after_three_moves(program, labels, people):
    return descend(program, labels, people, sweeps=3)


@wrong("08.search")
def changes_nothing(program, labels, people):
    return labels, people


@wrong("08.search")
def forgets_the_person_of_the_suppressed(program, labels, people):
    labels, people = descend(program, labels, people)
    return labels, np.where(people < 0, 0, people)


@wrong("08.search")
def everybody_alone(program, labels, people):
    labels = np.where(program.unary.min(1) < 0, program.unary.argmin(1), -1)
    return labels, np.where(labels >= 0, np.arange(len(labels)), -1)
