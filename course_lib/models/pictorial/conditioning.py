"""How poselets and what is predicted from them are learned, after the plain model: see `conditioned.py`.

People who taught the templates answer them too well. So some people make the poselets, and others, on which the plain
model has to find the torso first with all its errors, teach what their answers mean; the weights of the predictions are
fitted on people who taught nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from course_lib.errors import CourseError
from course_lib.models.pictorial import fitting
from course_lib.models.pictorial import parts as body
from course_lib.models.pictorial import poselets as answering
from course_lib.models.pictorial.conditioned import FAMILIES, Classifier, ConditionedPictorialStructures
from course_lib.models.pictorial.springs import Joints
from course_lib.pose import Batch

MAKING, TUNING = 0.43, 0.07  # shares of the people: the first make the poselets, the last fit the weights
WEIGHTS = (0.0, 0.2, 0.5, 1.0)  # of the predicted factors, that are tried
RESTARTS = 10  # of k-means
MARGIN = 1.3  # a poselet's template reaches beyond its joints
DECAY, STEPS = 0.03, 60  # of the logistic regression: cost of squared weights, and how long it is improved
FEWEST = 10  # people without whom there is no class
NARROWEST = 4.0  # pixels, of a class of positions


class Classes(NamedTuple):
    """To which class of every family people belong: (N, P), -1 where unknown."""

    rotation: Tensor
    position: Tensor
    spring: Tensor


def fit(model: ConditionedPictorialStructures, people: Batch, seed: int = 0) -> ConditionedPictorialStructures:
    """Learns poselets and predictions for a model whose parts and springs were fitted before (`fitting.fit`)."""
    if people.size != model.input_size:
        raise CourseError(f"the model looks at crops of {model.input_size}, but the people come in {people.size}")
    people = fitting.observed(people)
    making, tuning = round(MAKING * len(people)), round((1 - TUNING) * len(people))
    with torch.no_grad():
        fit_poselets(model, people[:making], seed)
        fit_predictions(model, people[making:tuning], seed)
        fit_weights(model, people[tuning:])
    return model.eval()


# --- poselets ---------------------------------------------------------------------------------------------------------


def fit_poselets(model: ConditionedPictorialStructures, people: Batch, seed: int) -> None:
    """Clusters the layouts of every region, and gives every cluster a linear discriminant."""
    own = model.poselets
    states = body.states(people.joints, people.visible, model.parts)
    size = person_size(states, model.lengths)
    root = model.parts.parents.index(-1)
    layouts = []  # of every region: who is in which cluster, and where
    for region, joints in enumerate(own.regions.values()):
        index = list(joints)
        usable = ((people.visible[:, index] > 0).all(1) & states.known[:, root] & (size > 0)).nonzero()[:, 0]
        if len(usable) < FEWEST * own.clusters:
            raise CourseError(f"{len(usable)} people show the region '{list(own.regions)[region]}'; too few to cluster")
        there = people.joints[usable][:, index]
        centre = there.mean(1)
        layout = (there - centre[:, None]) / size[usable, None, None]
        who = clusters(layout.flatten(1), own.clusters, seed)
        offset = (centre - states.centre[usable, root]) / size[usable, None]
        own.extent[region] = 2 * MARGIN * layout.abs().flatten(0, 1).quantile(0.9, dim=0)
        for cluster in range(own.clusters):
            mine = who == cluster
            own.members[region, cluster] = int(mine.sum())
            if bool(mine.any()):
                own.place[region, cluster] = offset[mine].mean(0)
                own.shapes[region, cluster, index] = layout[mine].mean(0)
        layouts.append((usable, who, centre))
    _fit_templates(model, people, layouts, size, torch.Generator().manual_seed(seed))


def person_size(states: body.States, lengths: Tensor) -> Tensor:
    """How large people are (N,), 1 being usual: the median over their parts, since some point towards the camera."""
    ratio = (states.length / lengths).masked_fill(~states.known, torch.nan)
    return ratio.nanmedian(1).values.nan_to_num(0.0)


def clusters(points: Tensor, count: int, seed: int) -> Tensor:
    """k-means of points (N, D): the cluster (N,) of each, the best of some restarts."""
    data = points.double().numpy()
    best, result = math.inf, None
    for restart in range(RESTARTS):
        centres, who = kmeans2(data, count, minit="++", seed=seed + restart, missing="warn")
        cost = float(np.square(data - centres[who]).sum())
        if cost < best:
            best, result = cost, who
    return torch.as_tensor(result, dtype=torch.long)


def _fit_templates(
    model: ConditionedPictorialStructures,
    people: Batch,
    layouts: list[tuple[Tensor, Tensor, Tensor]],
    sizes: Tensor,
    generator: torch.Generator,
) -> None:
    own = model.poselets
    width = own.templates.shape[-1]
    sums = torch.zeros(len(own.regions), own.clusters, width, dtype=torch.float64)
    anything = fitting.Moments(len(own.regions), width, squares=True)
    limits = torch.tensor([model.input_size[1], model.input_size[0]])
    levels = (sizes.clamp(min=1e-6).log()[:, None] - torch.tensor(answering.SIZES).log()).abs().argmin(1)
    for rows, images in fitting.pictures(people):
        for level, size in enumerate(answering.SIZES):
            maps, shrink = own.maps(images, size)
            random = torch.rand(len(images), 3, 2, generator=generator) * limits * shrink
            for region, (usable, who, centre) in enumerate(layouts):
                here = ((usable >= rows.start) & (usable < rows.stop) & (levels[usable] == level)).nonzero()[:, 0]
                true = own.windows(maps[usable[here] - rows.start], centre[here][:, None] * shrink, region, (0,))
                sums[region].index_add_(0, who[here], true.flatten(1).double())
                anything.add(region, own.windows(maps, random, region, (0,)).flatten(0, 2))
    for region in range(len(own.regions)):
        covariance = anything.covariance(region)
        covariance += fitting.RIDGE * covariance.diagonal().mean() * torch.eye(width, dtype=covariance.dtype)
        means = sums[region] / own.members[region].clamp(min=1)[:, None]
        apart = means - anything.mean(region)
        templates = torch.linalg.solve(covariance, apart.T).T
        own.templates[region] = templates.float()
        own.spread[region] = (templates @ covariance * templates).sum(-1).sqrt().float()


# --- what they mean ---------------------------------------------------------------------------------------------------


def fit_predictions(model: ConditionedPictorialStructures, people: Batch, seed: int) -> None:
    """Classes of rotations, positions and springs; their parameters; and the classifiers that name them."""
    states = body.states(people.joints, people.visible, model.parts)
    roots, features = observe(model, people)
    model.feature_mean.copy_(features.mean(0))
    model.feature_spread.copy_(features.std(0).clamp(min=1e-3))
    features = (features - model.feature_mean) / model.feature_spread
    classes = fit_classes(model, people, states, roots, seed)
    for family, own in zip(FAMILIES, classes, strict=True):
        fit_classifier(model.classifiers[family], features, own)


def observe(model: ConditionedPictorialStructures, people: Batch) -> tuple[Tensor, Tensor]:
    """Where the plain model finds the roots (N, 2), and what the poselets answer there (N, D)."""
    roots, features = [], []
    for _, images in fitting.pictures(people):
        roots.append(model.roots(model(images, families=())))
        features.append(model.observe(images, roots[-1]))
    return torch.cat(roots), torch.cat(features)


def fit_classes(
    model: ConditionedPictorialStructures, people: Batch, states: body.States, roots: Tensor, seed: int
) -> Classes:
    """Clusters what is to be predicted, part by part, and learns every class's parameters."""
    count, kinds = len(model.parts), model.turn_mean.shape[1]
    found = Classes(*(torch.full((len(people), count), -1) for _ in FAMILIES))
    for part in range(count):
        known, parent = states.known[:, part], model.parts.parents[part]
        both = known if parent < 0 else known & states.known[:, parent]
        if int(both.sum()) < FEWEST:
            raise CourseError(
                f"part '{model.parts.names[part]}' is labelled on {int(both.sum())} of the {len(people)} people who "
                "teach the predictions; too few to cluster"
            )
        angle, place = states.angle[known, part], states.centre[known, part] - roots[known]
        turn = clusters(_direction(angle), kinds, seed)
        found.rotation[known, part] = turn
        where = clusters(place, kinds, seed)
        found.position[known, part] = where
        for kind in range(kinds):
            _learn_kind(model, part, kind, angle[turn == kind], place[where == kind])
        if parent >= 0:
            found.spring[both, part] = _learn_types(model, states, part, parent, both, seed)
    return found


def _direction(angle: Tensor) -> Tensor:
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def _learn_kind(model: ConditionedPictorialStructures, part: int, kind: int, angle: Tensor, place: Tensor) -> None:
    if len(angle):
        mean = _direction(angle).mean(0)
        model.turn_mean[part, kind] = torch.atan2(mean[1], mean[0])
        model.turn_kappa[part, kind] = body.concentration(mean.norm())
    if len(place) > 1:
        model.place_mean[part, kind] = place.mean(0)
        model.place_spread[part, kind] = place.std(0).clamp(min=NARROWEST)


def _learn_types(
    model: ConditionedPictorialStructures, states: body.States, part: int, parent: int, both: Tensor, seed: int
) -> Tensor:
    """The types of one spring: clusters of how far the child is turned against its parent and where it begins."""
    grid = model.grid(*model.input_size)
    at, _ = model.nearest(states, grid)
    scale, angle = torch.tensor(grid.scales)[at[..., 0]], at[..., 1] * (2 * math.pi / grid.rotations)
    begins = states.centre[both, part] - fitting.half(states, part, both)
    seen = [one[both, parent] for one in (states.centre, angle, scale)]
    seen += [one[both, part] for one in (states.centre, angle, scale)]
    from_parent = body.into_frame(begins, *seen[:3]) / model.lengths[parent]
    types = clusters(
        torch.cat([_direction(states.angle[both, part] - states.angle[both, parent]), 2 * from_parent], 1),
        model.turn_mean.shape[1],
        seed,
    )
    plain = dict(zip(Joints._fields, (one[part] for one in model.springs), strict=True))
    for kind in range(model.turn_mean.shape[1]):
        mine = types == kind
        spring = plain
        if int(mine.sum()) >= FEWEST:
            spring = fitting.learn_spring(*(one[mine] for one in seen), begins[mine], floor=grid.stride / 2)
        for name, value in spring.items():
            getattr(model, f"typed_{name}")[part, kind] = value
    return types


@torch.enable_grad()
def fit_classifier(classifier: Classifier, features: Tensor, classes: Tensor) -> None:
    """Multinomial logistic regression of classes (N, P), -1 unknown, on features (N, D), its weights kept small."""
    known, classes = (classes >= 0).float(), classes.clamp(min=0)
    share = known / known.sum().clamp(min=1) * classes.shape[1]
    optimiser = torch.optim.LBFGS(classifier.parameters(), max_iter=STEPS, line_search_fn="strong_wolfe")

    def cost() -> Tensor:
        optimiser.zero_grad()
        told = classifier(features).gather(2, classes[..., None])[..., 0]
        total = DECAY * classifier.weight.square().sum() - (told * share).sum()
        total.backward()
        return total

    optimiser.step(cost)


def fit_weights(model: ConditionedPictorialStructures, people: Batch) -> None:
    """The weights of predicted rotations and positions, for every part the one with which it is found most often."""
    model.weights.zero_()
    told = []
    for rows, images in fitting.pictures(people):
        plain = model(images, families=())
        told.append((people[rows], plain, model.predict(images, model.roots(plain))))
    for own in model.weights:
        found = []
        for weight in WEIGHTS:
            own.fill_(weight)
            found.append(sum(fitting.parts_found(model, model.condition(*seen), some) for some, *seen in told))
        own.copy_(torch.tensor(WEIGHTS)[torch.stack(found).argmax(0)])
