"""What each piece of poselet conditioning brings, on 500 people, kept as data.

    python -m course_lib evaluate --study pictorial_ablation        # about ten minutes of one core

answers the benchmark single-val in every way of `WAYS` with the shipped weights, and writes
data/studies/pictorial_ablation.json, from which lesson 01 makes its tables. The lesson itself answers the first people
again, so that the numbers cannot drift away from the code.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from functools import partial
from typing import Any

import torch
from torch import Tensor

from course_lib import checkpoints, metrics, models, paths
from course_lib.datasets import synthetic
from course_lib.lessons import studies
from course_lib.lessons.lesson_01_failures import APART, NEAR
from course_lib.lessons.lesson_01_pictorial import as_batch
from course_lib.metrics.marks import Marks
from course_lib.models.pictorial import conditioning, fitting, tree
from course_lib.models.pictorial import parts as body
from course_lib.models.pictorial.conditioned import FAMILIES, ConditionedPictorialStructures, Predictions
from course_lib.models.pictorial.structures import Beliefs, most_probable
from course_lib.pose import Batch
from course_lib.training import evaluate

FILE = paths.DATA / "studies" / "pictorial_ablation.json"
WEIGHTS = "poselet_conditioned"
PEOPLE = 500
FIRST = 40  # whom the lesson answers again
AT_ONCE = 4
ALONE, MAP, PLAIN, ALL, ORACLE = "parts alone", "best arrangement", "plain", "all three", "all three, true classes"
SINGLE = {f"+ {family}": (family,) for family in FAMILIES}
WAYS = (ALONE, MAP, PLAIN, *SINGLE, ALL, ORACLE)
FACTORS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # times the fitted weights of the predicted unaries
FACTORED = 120  # people for whom they are tried
CERTAIN = 30.0  # log odds of a class that is known
SAMPLES = 2000  # of the bootstrap


# --- answering --------------------------------------------------------------------------------------------------------


def answers(model: ConditionedPictorialStructures, people: Batch) -> tuple[dict[str, Tensor], dict[str, float], dict]:
    """States (N, P, 4) of all people in every way; seconds a picture of two of them; shares of right classes."""
    found, seconds = defaultdict(list), defaultdict(float)
    named = {family: [0, 0] for family in FAMILIES}
    with torch.inference_mode():
        for start in range(0, len(people), AT_ONCE):
            piece = people[start : start + AT_ONCE]
            begun = time.perf_counter()
            beliefs = model(piece.images, families=())
            found[PLAIN].append(probable(model, beliefs))
            seconds[PLAIN] += time.perf_counter() - begun
            found[ALONE].append(most_probable(beliefs.unaries))
            found[MAP].append(_max_sum(model, beliefs))
            begun = time.perf_counter()
            told = model.predict(piece.images, _roots(model, found[PLAIN][-1]))
            found[ALL].append(probable(model, model.condition(beliefs, told)))
            seconds[ALL] += time.perf_counter() - begun
            for way, families in SINGLE.items():
                found[way].append(probable(model, model.condition(beliefs, told, families)))
            true = true_classes(model, piece, told.roots)
            found[ORACLE].append(probable(model, model.condition(beliefs, certain(told, true))))
            for family, own in zip(FAMILIES, true, strict=True):
                known = own >= 0
                named[family][0] += int((getattr(told, family).argmax(-1) == own)[known].sum())
                named[family][1] += int(known.sum())
    seconds[ALL] += seconds[PLAIN]  # it needs the first pass as well
    states = {way: torch.cat(found[way]) for way in WAYS}
    shares = {family: right / max(count, 1) for family, (right, count) in named.items()}
    return states, {way: taken / len(people) for way, taken in seconds.items()}, shares


def probable(model: ConditionedPictorialStructures, beliefs: Beliefs) -> Tensor:
    """Every part in its most probable state (B, P, 4)."""
    return most_probable(tree.marginals(beliefs.unaries, model.parts.parents, beliefs.springs, _grid(model)))


def _max_sum(model: ConditionedPictorialStructures, beliefs: Beliefs) -> Tensor:
    return tree.max_sum(beliefs.unaries, model.parts.parents, beliefs.springs, _grid(model)).states


def _grid(model: ConditionedPictorialStructures) -> tree.Grid:
    return model.grid(*model.input_size)


def _roots(model: ConditionedPictorialStructures, states: Tensor) -> Tensor:
    """The first pass, which has been made: (B, 2) pixels."""
    return (states[:, model.parts.parents.index(-1)][:, [3, 2]] + 0.5) * model.stride


def true_classes(model: ConditionedPictorialStructures, people: Batch, roots: Tensor) -> conditioning.Classes:
    """To which class of every family the labelled parts belong: (N, P), -1 where nobody knows.

    The nearest one, in the space in which the classes were clustered.
    """
    states = body.states(people.joints, people.visible, model.parts)
    rotation = (states.angle[..., None] - model.turn_mean).cos().argmax(-1)
    place = states.centre - roots[:, None]
    position = (place[:, :, None] - model.place_mean).square().sum(-1).argmin(-1)
    spring = torch.full_like(rotation, -1)
    both = torch.zeros_like(states.known)
    for part, parent in enumerate(model.parts.parents):
        if parent < 0:
            continue
        both[:, part] = states.known[:, part] & states.known[:, parent]
        turn = states.angle[:, part] - states.angle[:, parent]
        away = 2 - 2 * (turn[:, None] - model.typed_angle[part]).cos()
        along = torch.stack([states.angle[:, part].cos(), states.angle[:, part].sin()], -1)
        begins = states.centre[:, part] - along * states.length[:, part, None] / 2
        size = states.length[:, parent] / model.lengths[parent]
        seen = body.into_frame(begins, states.centre[:, parent], states.angle[:, parent], size.clamp(min=1e-3))
        apart = (2 * (seen[:, None] - model.typed_at_parent[part]) / model.lengths[parent]).square().sum(-1)
        spring[:, part] = (away + apart).argmin(-1)
    return conditioning.Classes(
        *(
            torch.where(known, own, -1)
            for own, known in ((rotation, states.known), (position, states.known), (spring, both))
        )
    )


def certain(told: Predictions, true: conditioning.Classes) -> Predictions:
    """The predictions with full belief in the true classes, where these are known."""
    sure = {}
    for family in FAMILIES:
        said, own = getattr(told, family), getattr(true, family)
        exact = CERTAIN * torch.nn.functional.one_hot(own.clamp(min=0), said.shape[-1]).to(said.dtype)
        sure[family] = torch.where((own >= 0)[..., None], exact.log_softmax(-1), said)
    return told._replace(**sure)


# --- scoring ----------------------------------------------------------------------------------------------------------


def pcp(joints: Tensor, people: Batch) -> Marks:
    """Which limbs of which people are found."""
    return metrics.pcp(joints, people.joints, people.visible, people.skeleton)


def paired(one: Marks, other: Marks, seed: int = 0) -> list[float]:
    """A 95 % bootstrap interval of the difference of two PCPs, the mean over limbs; people are drawn, in pairs."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(one.right), (SAMPLES, len(one.right)), generator=generator)
    times = torch.zeros(SAMPLES, len(one.right)).scatter_add_(1, drawn, torch.ones(drawn.shape))
    scored = times @ one.scored.float()
    apart = (times @ (one.right.float() - other.right.float()) / scored.clamp(min=1)).mean(1)
    return [round(value, 4) for value in apart.quantile(torch.tensor([0.025, 0.975])).tolist()]


def legs(states: Tensor, model: ConditionedPictorialStructures) -> Tensor:
    """Pixels between the middles of both lower legs (N,)."""
    left, right = (states[:, model.parts.names.index(f"{side} lower leg"), 2:].float() for side in ("left", "right"))
    return (left - right).norm(dim=-1) * model.stride


def study(model: ConditionedPictorialStructures, count: int = PEOPLE) -> dict[str, Any]:
    """Every way of answering, scored."""
    own = as_batch(synthetic.benchmark("single-val", count=count))  # with their own left and right
    people = fitting.observed(own)  # with the observer's, as the models have learned it
    states, seconds, shares = answers(model, people)
    grid = _grid(model)
    joints = {way: model.joints_of(at, grid) for way, at in states.items()}
    found = {way: pcp(said, people) for way, said in joints.items()}
    pck = {way: metrics.pck(said, own.joints, own.visible, own.skeleton, 0.2) for way, said in joints.items()}
    parts = body.states(people.joints, people.visible, model.parts)
    true, inside = model.nearest(parts, grid)
    apart = (parts.known & inside).all(1) & (legs(true, model) > APART)
    torso, first = found[PLAIN].right[:, 0], torch.arange(len(people)) < FIRST  # whom the first pass finds
    rows = {}
    for way in WAYS:
        rows[way] = {
            "pcp": _round(found[way].columns() | {"total": found[way].mean_of_columns}),
            "pcp_first": round(_of(found[way], first).mean, 4),
            "pcp_minus_plain": paired(found[way], found[PLAIN]),
            "pcp_torso_found": round(_of(found[way], torso).mean_of_columns, 4),
            "pcp_torso_found_minus_plain": paired(_of(found[way], torso), _of(found[PLAIN], torso)),
            "pcp_own_sides": round(pcp(joints[way], own).mean_of_columns, 4),
            "pck@0.2_own_sides": round(pck[way].mean, 4),
            "pck_own_sides_minus_plain": [round(one, 4) for one in evaluate.paired_interval(pck[way], pck[PLAIN])],
            "legs_on_one": int((apart & (legs(states[way], model) < NEAR)).sum()),
        }
        print(way, rows[way], flush=True)
    return {
        "what": "the first people of single-val, answered in several ways with the same detectors; left and right are "
        "the observer's, except where it says 'own_sides'",
        "made_by": "python -m course_lib evaluate --study pictorial_ablation",
        "weights": WEIGHTS,
        "people": len(people),
        "date": date.today().isoformat(),
        "code": checkpoints.code_version(),
        "torch": torch.__version__,
        "device": f"cpu, {torch.get_num_threads()} threads",
        "legs_apart": int(apart.sum()),
        "torso_found": int(torso.sum()),
        "seconds": {way: round(taken, 3) for way, taken in seconds.items()},
        "right_classes": _round(shares),
        "factors": by_factor(model, people[:FACTORED]),
        "rows": rows,
    }


def by_factor(model: ConditionedPictorialStructures, people: Batch, factors: Sequence[float] = FACTORS) -> dict:
    """PCP of all three families, with the fitted weights of the predicted unaries times a factor."""
    fitted, said = model.weights.clone(), defaultdict(list)
    with torch.inference_mode():
        for start in range(0, len(people), AT_ONCE):
            images = people.images[start : start + AT_ONCE]
            beliefs = model(images, families=())
            told = model.predict(images, model.roots(beliefs))
            for factor in factors:
                model.weights.copy_(fitted * factor)
                said[factor].append(probable(model, model.condition(beliefs, told)))
            model.weights.copy_(fitted)
    grid = _grid(model)
    totals = {factor: pcp(model.joints_of(torch.cat(at), grid), people).mean_of_columns for factor, at in said.items()}
    return {
        "people": len(people),
        "fitted": [_listed(row) for row in fitted],
        "pcp": {str(factor): round(totals[factor], 4) for factor in factors},
    }


def _of(marks: Marks, some: Tensor) -> Marks:
    """The marks of some people (N,) bool."""
    return Marks(marks.right[some], marks.scored[some], marks.names)


def _round(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def _listed(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]


save, load = partial(studies.save, FILE), partial(studies.load, FILE)


main = partial(studies.make, FILE, lambda: study(models.load(WEIGHTS)))
