"""Lesson 08: DeepCut's program in words, with rows taken away, and on pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from course_lib.lessons import lesson_08_crowd as crowd
from course_lib.lessons.lesson_08_instances import Instance
from course_lib.models.deepcut import pairwise
from course_lib.models.deepcut.learning import HIT, Detections
from course_lib.models.deepcut.linear import Linear, linearise
from course_lib.models.deepcut.local_search import local_search
from course_lib.models.deepcut.network import DeepCut, Dense
from course_lib.models.deepcut.program import SUPPRESSED, Program, log_odds
from course_lib.models.deepcut.solution import Solution
from course_lib.models.deepcut.solve import Answer, minimise
from course_lib.pose import Scene

TIE = 1e-4  # what a friendship earns where it would cost nothing, so that it shows

# --- the smallest program ---------------------------------------------------------------------------------------------


def labellings_of_two(first: float, second: float, together: float) -> dict[str, float]:
    """All that can be done with two candidates of one class each, and what it costs."""
    a, b, both = (float(log_odds(p)) for p in (first, second, together))
    return {
        "keep nobody": 0.0,
        "keep the first": a,
        "keep the second": b,
        "keep both, two people": a + b,
        "keep both, one person": a + b + both,
    }


# --- the program in words ---------------------------------------------------------------------------------------------


def names(rows: Linear, classes: Sequence[str]) -> list[str]:
    """x0h, y01, z01hn: what the variables are called, in their order."""
    found = [""] * len(rows.costs)
    for d, c in np.argwhere(rows.x >= 0):
        found[rows.x[d, c]] = f"x{d}{classes[c][0]}"
    pairs = list(zip(*np.triu_indices(len(rows.y), 1), strict=True))
    for number, (d, e) in enumerate(pairs):
        if rows.y[d, e] >= 0:
            found[rows.y[d, e]] = f"y{d}{e}"
        for c, k in np.argwhere(rows.z[number] >= 0):
            found[rows.z[number, c, k]] = f"z{d}{e}{classes[c][0]}{classes[k][0]}"
    return found


def objective_in_words(rows: Linear, classes: Sequence[str], width: int = 6) -> str:
    """The sum that is minimised, `width` terms a line."""
    terms = [f"{cost:+6.2f} {name}" for cost, name in zip(rows.costs, names(rows, classes), strict=True) if cost]
    lines = ["  ".join(terms[start : start + width]) for start in range(0, len(terms), width)]
    return "\n".join(lines)


def in_words(rows: Linear, family: str, classes: Sequence[str]) -> list[str]:
    """The rows of a family, one a line."""
    called, lines = names(rows, classes), []
    for row in rows.families[family]:
        part = rows.matrix[[row]].tocoo()
        order = np.lexsort((part.coords[1], -part.data))
        terms = [f"{'-' if part.data[i] < 0 else '+'} {called[part.coords[1][i]]}" for i in order]
        left = " ".join(terms).removeprefix("+ ")
        sign = "=" if rows.row_lower[row] == rows.row_upper[row] else "<="
        lines.append(f"{left} {sign} {rows.row_upper[row]:g}")
    return lines


# --- without some rows ------------------------------------------------------------------------------------------------

FAMILIES = {
    "nothing": "all rows are there",
    "uniqueness": "one class a candidate",
    "coupling": "only the kept have friends",
    "triangles": "friends of friends are friends",
    "z at least": "z is 1 if x, x and y are",
    "z at most": "z is 0 if one of x, x, y is",
}


def rows_of(instance: Instance) -> Linear:
    """The naive rows of an instance, with "products" told apart; friendships that cost nothing are made to show."""
    rows = linearise(instance.program(), "naive")
    products = rows.families["products"]
    forced = rows.row_upper[products] == 2
    families = {name: numbers for name, numbers in rows.families.items() if name != "products"}
    families |= {"z at least": products[forced], "z at most": products[~forced]}
    costs = rows.costs.copy()
    costs[np.unique(rows.y[rows.y >= 0])] -= TIE
    return replace(rows, families=families, costs=costs)


class Broken(NamedTuple):
    """An answer to too few rows."""

    answer: Answer
    claimed: float  # what the solver says it costs
    several: int  # candidates of more than one class
    open: int  # triples in which friends of a friend are no friends
    unkept: int  # friendships of the suppressed
    unpaid: float  # what all friendships between the kept would cost, honestly, less what is claimed

    def words(self, removed: str) -> list[str]:
        """What there is to see."""
        return [
            f"left out: {removed}" + ("" if removed == "nothing" else f",\n   which said: {FAMILIES[removed]}"),
            f"the solver claims {self.claimed:.2f}",
            f"candidates of several classes: {self.several}",
            f"friends of friends who are no friends: {self.open}",
            f"friendships of suppressed candidates: {self.unkept}",
            f"honestly counted it would cost {self.claimed + self.unpaid:.2f}",
        ]


def without(instance: Instance, removed: str) -> Broken:
    """What the solver answers when a family of rows is left out; the others stay."""
    rows = rows_of(instance)
    rows = rows if removed == "nothing" else rows.without(removed)
    answer = minimise(rows)
    x, y, program = answer.x > 0.5, answer.y > 0.5, instance.program()
    kept = x.any(1)
    d, e = np.nonzero(np.triu(y, 1))
    honest = program.unary[x].sum() + sum(
        program.pairwise[i, j][np.ix_(x[i], x[j])].sum() for i, j in zip(d, e, strict=True)
    )
    claimed = answer.objective + TIE * len(d)
    triples = np.argwhere(np.triu(~y, 1))
    return Broken(
        answer,
        claimed=claimed,
        several=int((x.sum(1) > 1).sum()),
        open=sum(int((y[i] & y[j]).sum()) for i, j in triples),
        unkept=int((~kept[d] | ~kept[e]).sum()),
        unpaid=float(honest - claimed),
    )


# --- on pictures ------------------------------------------------------------------------------------------------------


class Picture(NamedTuple):
    """A picture with everything that was made of it."""

    scene: Scene
    found: Detections
    program: Program
    solution: Solution  # of the program, by local search
    greedy: Solution  # of the same candidates, by lesson 07's matching

    @property
    def gain(self) -> int:
        """How many more true joints the program finds."""
        return joints_found(self.found, self.solution, self.scene) - joints_found(self.found, self.greedy, self.scene)

    @property
    def share(self) -> float:
        """The share of the true joints that the program finds."""
        labelled = sum(int((person.visible > 0).sum()) for person in self.scene.people)
        return joints_found(self.found, self.solution, self.scene) / max(labelled, 1)


def joints_found(found: Detections, solution: Solution, scene: Scene) -> int:
    """Joints in the right place in the right person, when every answered person stands for one true one at most."""
    people = max(int(solution.people.max(initial=SUPPRESSED)) + 1, 0)
    if not people or not scene.people:
        return 0
    joints = torch.stack([person.joints for person in scene.people]).double().numpy()
    labelled = torch.stack([person.visible for person in scene.people]).numpy() > 0
    hits = np.zeros((people, len(joints), joints.shape[1]), dtype=bool)
    for d in np.flatnonzero(solution.people != SUPPRESSED):
        c = solution.labels[d]
        near = np.linalg.norm(joints[:, c] - found.places[d], axis=-1) <= HIT
        hits[solution.people[d], :, c] |= near & labelled[:, c]
    counts = hits.sum(-1)
    return int(counts[linear_sum_assignment(counts, maximize=True)].sum())


def looked_at(model: DeepCut, scene: Scene) -> Picture:
    """A picture's candidates, its program, and two answers to it."""
    found = crowd.seen(model, scene)
    program = model.program(found)
    greedy = crowd.greedily(model, found, model.pairs.probabilities(found))
    return Picture(scene, found, program, local_search(program), greedy)


def telling(
    model: DeepCut, scenes: Sequence[Scene], people: Sequence[int] = (2, 3, 4), most: int = 45
) -> list[Picture]:
    """The pictures of so many people and candidates, those first in which the program compares best with greed."""
    chosen = [looked_at(model, scene) for scene in scenes if len(scene.people) in people]
    chosen = [one for one in chosen if 0 < len(one.found.places) <= most]
    return sorted(chosen, key=lambda one: (-one.gain, len(one.found.places)))


def shown(chosen: Sequence[Picture], share: float = 0.8) -> Picture:
    """The first in which the program finds such a share of the joints, so that there is something to look at."""
    return next((one for one in chosen if one.share >= share), chosen[0])


def doubtful(found: Detections) -> int:
    """The candidate whose second likeliest class is likeliest."""
    return int(np.sort(found.probabilities, axis=1)[:, -2].argmax())


def expected_places(model: DeepCut, outputs: Dense, d: int, found: Detections, joint: int) -> dict[str, np.ndarray]:
    """How likely every cell (h, w) of the picture is the `joint` of candidate d's person, by both kinds of features."""
    c = int(found.classes[d])
    height, width = outputs.parts.shape[-2:]
    row, column = np.mgrid[:height, :width]
    places = (np.stack([column, row], -1) + 0.5) * model.stride  # (h, w, 2)
    backward = outputs.others[0, joint, c].movedim(0, -1).double().numpy()  # (h, w, 2): from there to c
    forward = np.broadcast_to(found.others[d, c, joint], places.shape)
    here = np.broadcast_to(found.places[d], places.shape)
    swapped = joint < c  # regressions are of c < c'
    ends = (places, here) if swapped else (here, places)
    offsets = (backward, forward) if swapped else (forward, backward)
    pair = (min(c, joint), max(c, joint))
    number, mean = model.pairs.between.index(pair), model.pairs.offsets[pair].double().numpy()
    features = {"geometry": pairwise.geometry(*ends, mean), "regressed": pairwise.regressed(*ends, *offsets)}
    return {kind: model.pairs.regression(kind, number).probability(values) for kind, values in features.items()}
