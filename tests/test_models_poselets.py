"""Poselets, and the tree whose factors they choose: first piece by piece, then on a case worked out by hand."""

from __future__ import annotations

import math

import drawn_people as drawn
import pytest
import torch
from drawn_people import SIZE, SMALL, WAVING, generator, waving
from torch import Tensor

from course_lib import skeletons
from course_lib.errors import CourseError
from course_lib.models.pictorial import conditioning, fitting, gradients
from course_lib.models.pictorial import parts as body
from course_lib.models.pictorial.conditioned import FAMILIES, Classifier, ConditionedPictorialStructures, Predictions
from course_lib.models.pictorial.poselets import COST, REACH, SIZES, STEP, STRAY, Poselets, regions
from course_lib.models.pictorial.springs import Grid, Joints
from course_lib.models.pictorial.structures import PictorialStructures
from course_lib.pose import Batch

ARMS = (WAVING.index("right_hand"), WAVING.index("left_hand"))


def model_of(skeleton=WAVING, **changed) -> ConditionedPictorialStructures:
    return ConditionedPictorialStructures(skeleton, **{**SMALL, "poselets": 2, "classes": 2, **changed})


@pytest.fixture(scope="module")
def learned() -> ConditionedPictorialStructures:
    """A model of people who wave, all of it fitted."""
    people, _ = waving(200)
    return conditioning.fit(fitting.fit(model_of(), people), people)


@pytest.fixture(scope="module")
def random() -> ConditionedPictorialStructures:
    """A model of ten parts with three classes, whose numbers mean nothing but differ."""
    model = model_of("lsp", classes=3, poselets=2)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            noise = torch.rand(value.shape, generator=generator(len(name)))
            if name in ("lengths", "extent", "owned", "poselets.extent"):
                continue
            wide = "at_parent" in name or "at_child" in name or "place_mean" in name or name == "claims"
            angle = name.endswith("angle") or name == "turn_mean"
            value.copy_(20 * noise - 10 if wide else 6 * noise - 3 if angle else 0.5 + noise)
        model.place_spread.copy_(model.place_spread * 4)
        model.turn_kappa.copy_(model.turn_kappa * 6)
    return model


# --- poselets ---------------------------------------------------------------------------------------------------------


def test_the_eleven_regions_of_a_whole_body():
    skeleton = skeletons.get("lsp")
    found = regions(body.of(skeleton))
    assert list(found) == [
        "whole body",
        "upper body",
        "torso and head",
        "torso and right arm",
        "torso and left arm",
        "right arm",
        "left arm",
        "torso and legs",
        "legs",
        "right leg",
        "left leg",
    ]
    assert found["whole body"] == tuple(range(14))
    named = {region: {skeleton.joints[k] for k in joints} for region, joints in found.items()}
    assert named["right arm"] == {"right_shoulder", "right_elbow", "right_wrist"}
    assert named["left leg"] == {"left_hip", "left_knee", "left_ankle"}
    torso = {"left_hip", "right_hip", "left_shoulder", "right_shoulder"}
    assert named["torso and head"] == torso | {"neck", "head_top"}
    assert named["torso and left arm"] == torso | {"left_elbow", "left_wrist"}
    assert named["upper body"] == set(skeleton.joints) - {"left_knee", "right_knee", "left_ankle", "right_ankle"}
    assert all(joints == tuple(sorted(set(joints))) for joints in found.values())


def test_regions_of_other_bodies():
    assert regions(body.of(WAVING)) == {"whole body": (0, 1, 2, 3, 4)}  # as of a hand: no part is called arm or leg
    assert "legs" not in regions(body.of(skeletons.get("flic")))
    for name in ("mpii", "coco", "body18", "jhmdb", "flic"):
        found = regions(body.of(skeletons.get(name)))
        assert len(set(found.values())) == len(found) > 4  # no region twice


def club(angle: float, centre: Tensor, size: float = 1.0) -> Tensor:
    """A picture (1, 3, 96, 96) of a club: a bar with a thick end, which lies to the right before it is turned."""
    image, way = torch.full((3, 96, 96), 0.5), drawn.direction(torch.tensor(angle))
    drawn.draw(image, centre - 14 * size * way, centre + 14 * size * way, (0.9, 1.5 * size, 100.0))
    drawn.draw(image, centre + 5 * size * way, centre + 14 * size * way, (0.1, 5.0 * size, 100.0))
    return image[None]


MIDDLE, ROOT = torch.tensor([52.0, 44.0]), torch.tensor([[40.0, 50.0]])


@pytest.fixture
def planted() -> Poselets:
    """One region, one cluster: the club, 12 right of the root and 6 above."""
    own = Poselets(body.of(WAVING), len(WAVING), 1, 8)
    own.place[0, 0], own.members[0, 0] = MIDDLE - ROOT[0], 20
    maps, _ = own.maps(club(0.0, MIDDLE), 1.0)
    window = own.windows(maps, MIDDLE.view(1, 1, 2), 0, (0,))[0, 0, 0]
    with torch.no_grad():
        own.templates[0, 0] = window - window.mean()
    own.spread[0, 0] = 2.0
    return own


def test_what_was_planted_answers_where_it_is(planted):
    with torch.no_grad():
        answers = planted.answers(club(0.0, MIDDLE), ROOT, 1.0)
        flat = planted.answers(torch.full((1, 3, 96, 96), 0.5), ROOT, 1.0)
    offsets = planted.offsets()
    assert offsets.shape == (25, 2) and offsets[0].tolist() == [-REACH, -REACH] and offsets[1].tolist() == [-REACH, -6]
    assert answers.shape == (1, 1, 1, 25, 3)
    straight = answers[0, 0, 0, :, 1]
    assert int(answers[0, 0, 0].argmax()) == 12 * 3 + 1 and not offsets[12].any()
    for turn in range(3):  # where there is nothing to see, only the way costs
        cost = COST * 2.0 * offsets.square().sum(-1) / (2 * STRAY**2)
        torch.testing.assert_close(flat[0, 0, 0, :, turn], -cost, rtol=0, atol=1e-5)
    upwards = [int(((offsets - torch.tensor([0.0, -STEP * n])).abs().sum(-1) == 0).nonzero()) for n in range(3)]
    near = straight[upwards].tolist()
    assert near[0] > near[1] > near[2]


def test_answers_fall_with_distance(planted):
    """The nearer the root is to where it should be, the stronger; beyond the reach hardly anything is left."""
    with torch.no_grad():
        told = [float(planted(club(0.0, MIDDLE), ROOT - torch.tensor([[float(way), 0.0]]))) for way in (0, 6, 12, 30)]
        best = float(planted.templates[0, 0].square().sum())
    assert told == sorted(told, reverse=True) and told[0] >= 0.9 * best and told[-1] < 0.8 * told[0]


@pytest.mark.parametrize("turn", [-1, 0, 1])
def test_poselets_are_looked_for_a_step_either_way(planted, turn):
    picture = club(turn * 2 * math.pi / 16, MIDDLE)
    with torch.no_grad():
        answers = planted.answers(picture, ROOT, 1.0)[0, 0, 0, 12]
        far = planted.answers(club(turn * 2 * math.pi / 16 + math.pi / 2, MIDDLE), ROOT, 1.0)[0, 0, 0, 12]
    assert int(answers.argmax()) == turn + 1 and float(far.max()) < 0.5 * float(answers.max())


@pytest.mark.parametrize("index", range(3))
def test_poselets_are_looked_for_at_three_sizes(planted, index):
    """Of a larger person everything is larger: the way from the root as well."""
    root = torch.tensor([[38.0, 52.0]])
    picture = club(0.0, root[0] + SIZES[index] * (MIDDLE - ROOT[0]), SIZES[index])
    with torch.no_grad():
        answers = torch.stack([planted.answers(picture, root, size)[0, 0, 0, 12, 1] for size in SIZES])
        assert int(answers.argmax()) == index
        assert float(planted(picture, root)) >= float(answers.max())


def test_every_picture_has_its_root(planted):
    pictures, roots = torch.cat([club(0.0, MIDDLE), club(1.0, MIDDLE)]), torch.cat([ROOT, ROOT + 5])
    with torch.no_grad():
        both = planted(pictures, roots)
        assert both.shape == (2, 1)
        torch.testing.assert_close(both[1:], planted(pictures[1:], roots[1:]))
        with pytest.raises(CourseError, match="2 pictures came with 1 roots"):
            planted(pictures, ROOT)


# --- clusters and sizes -----------------------------------------------------------------------------------------------


def test_clusters_are_found():
    middles = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [9.0, 9.0]])
    truth = torch.arange(80) % 4
    points = middles[truth] + 0.5 * torch.randn(80, 2, generator=generator())
    who = conditioning.clusters(points, 4, seed=3)
    assert who.dtype == torch.long and sorted({(int(a), int(b)) for a, b in zip(truth, who, strict=True)}) == sorted(
        {(int(kind), int(who[truth == kind][0])) for kind in range(4)}
    )
    assert len(set(who.tolist())) == 4
    assert torch.equal(who, conditioning.clusters(points, 4, seed=3))
    vague = torch.rand(60, 3, generator=generator())
    assert torch.equal(conditioning.clusters(vague, 5, 0), conditioning.clusters(vague, 5, 0))


def test_the_size_of_people():
    """The median over the parts that are known; a person of whom nothing is known has none."""
    length = torch.tensor([[10.0, 30.0, 4.0], [20.0, 20.0, 20.0], [0.0, 50.0, 8.0], [1.0, 1.0, 1.0]])
    known = torch.tensor([[True] * 3, [True] * 3, [False, False, True], [False] * 3])
    states = body.States(torch.zeros(4, 3, 2), torch.zeros(4, 3), length, known)
    assert conditioning.person_size(states, torch.tensor([10.0, 20.0, 8.0])).tolist() == [1.0, 2.0, 1.0, 0.0]


# --- factors ----------------------------------------------------------------------------------------------------------


def shares(parts: int, classes: int, pictures: int = 2, seed: int = 0) -> Tensor:
    return torch.rand(pictures, parts, classes, generator=generator(seed)).softmax(-1)


def types_of(model: ConditionedPictorialStructures) -> Joints:
    return Joints(*(getattr(model, f"typed_{name}") for name in Joints._fields))


@pytest.mark.parametrize("kind", range(3))
def test_who_is_sure_of_a_type_gets_that_type(random, kind):
    share = torch.zeros(2, 10, 3)
    share[..., kind] = 1
    springs = random.expected_springs(share)
    for name, got, own in zip(Joints._fields, springs, types_of(random), strict=True):
        wanted = own[:, kind].expand(2, *own[:, kind].shape)
        if name == "angle":
            got, wanted = (torch.stack([one.cos(), one.sin()]) for one in (got, wanted))
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)


def test_who_is_unsure_gets_wider_springs(random):
    """The variance of a mixture is the mean of the variances and what the means differ by: never less."""
    share, types = shares(10, 3), types_of(random)
    springs = random.expected_springs(share)

    def mean(values: Tensor) -> Tensor:
        return torch.stack(
            [sum(share[b, :, c].view(-1, *[1] * (values.ndim - 2)) * values[:, c] for c in range(3)) for b in range(2)]
        )

    for name in ("at_parent", "at_child", "stretch"):
        torch.testing.assert_close(getattr(springs, name), mean(getattr(types, name)))
    assert bool((springs.spread.square() >= mean(types.spread.square()) - 1e-5).all())
    between = mean(types.stretch.square()) - mean(types.stretch).square()
    torch.testing.assert_close(springs.stretch_spread.square(), mean(types.stretch_spread.square()) + between)
    length = body.resultant(types.kappa)
    assert bool((body.resultant(springs.kappa) <= mean(length) + 1e-4).all())
    vector = torch.stack([mean(length * types.angle.cos()), mean(length * types.angle.sin())], dim=-1)
    sure = vector.norm(dim=-1) > 0.1
    direction = torch.stack([springs.angle.cos(), springs.angle.sin()], dim=-1)
    torch.testing.assert_close(direction[sure], (vector / vector.norm(dim=-1, keepdim=True))[sure], rtol=0, atol=1e-4)
    assert float((springs.spread.square() - mean(types.spread.square())).amin(-1).mean()) > 1  # for they do differ


def test_who_knows_nothing_gets_the_plain_spring(learned):
    """Types of the people, in the shares that they have among them, are on average what all people are."""
    people, _ = waving(300, seed=7)
    model = model_of()
    states = body.states(people.joints, people.visible, model.parts)
    with torch.no_grad():
        fitting.fit_sizes(model, states)
        fitting.fit_springs(model, states)
        classes = conditioning.fit_classes(model, people, states, states.centre[:, 0] + 0.5, 0)
    frequency = torch.stack([(classes.spring == kind).float().mean(0) for kind in range(2)], dim=-1)
    springs, plain = model.expected_springs(frequency[None]), model.springs
    for name in ("at_parent", "at_child", "stretch"):
        torch.testing.assert_close(getattr(springs, name)[0, 1:], getattr(plain, name)[1:], rtol=0, atol=1e-3)
    away = body.wrapped(springs.angle[0, 1:] - plain.angle[1:])
    assert float(away.abs().max()) < 1e-3
    torch.testing.assert_close(springs.kappa[0, 1:], plain.kappa[1:], rtol=0.01, atol=0)
    torch.testing.assert_close(springs.spread[0, 1:], plain.spread[1:], rtol=0.2, atol=0)
    arms = types_of(model).angle[1:3]
    assert float(body.wrapped(arms[:, 0] - arms[:, 1]).abs().min()) > 1  # up is not down


def test_rotations_are_a_mixture_of_densities(random):
    grid = Grid((16, 12), 4, 720, (1.0,))
    told = shares(10, 3).log()
    factor = random.rotation_factor(told, grid)
    assert factor.shape == (2, 10, 720)
    torch.testing.assert_close(factor.exp().mean(-1), torch.ones(2, 10), rtol=1e-4, atol=0)  # over 2 pi, left out
    for picture, part, turn in ((0, 0, 0), (0, 3, 100), (1, 9, 500)):
        mixture = 0.0
        for kind in range(3):
            kappa, mean = float(random.turn_kappa[part, kind]), float(random.turn_mean[part, kind])
            bessel = float(torch.special.i0(torch.tensor(kappa, dtype=torch.float64)))
            mixture += (
                float(told[picture, part, kind].exp())
                * math.exp(kappa * math.cos(math.pi * turn / 360 - mean))
                / bessel
            )
        assert float(factor[picture, part, turn].exp()) == pytest.approx(mixture, rel=1e-3)


def test_positions_are_a_mixture_of_densities(random):
    told, roots = shares(10, 3).log(), torch.tensor([[60.0, 70.0], [75.0, 64.0]])
    grid = random.grid(128, 144)
    factor = random.position_factor(told, roots, grid)
    assert factor.shape == (2, 10, 32, 36) and not factor[:, 0].any()  # the root is what the others are told from
    whole = factor[:, 1:].exp().sum((-1, -2)) * 4**2 / (2 * math.pi)
    torch.testing.assert_close(whole, torch.ones(2, 9), rtol=0.01, atol=0)
    for picture, part, row, column in ((0, 1, 17, 15), (0, 5, 18, 14), (1, 9, 15, 20)):
        mixture = 0.0
        for kind in range(3):
            (mx, my), (sx, sy) = random.place_mean[part, kind].tolist(), random.place_spread[part, kind].tolist()
            x, y = 4 * (column + 0.5) - float(roots[picture, 0]), 4 * (row + 0.5) - float(roots[picture, 1])
            density = math.exp(-0.5 * ((x - mx) / sx) ** 2 - 0.5 * ((y - my) / sy) ** 2) / (sx * sy)
            mixture += float(told[picture, part, kind].exp()) * density
        assert float(factor[picture, part, row, column].exp()) == pytest.approx(mixture, rel=1e-3)


# --- the whole model --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def others() -> tuple[Batch, Tensor]:
    return waving(40, seed=1)


def test_without_families_it_is_the_plain_model(learned, others):
    plain = PictorialStructures(WAVING, **SMALL)
    plain.load_state_dict({name: learned.state_dict()[name] for name in plain.state_dict()})
    images = others[0].images[:3]
    one, two = plain(images), learned(images, families=())
    assert torch.equal(one.unaries, two.unaries)
    assert all(torch.equal(a, b) for a, b in zip(one.springs, two.springs, strict=True))
    for (a,), (b,) in zip(plain.decode(one), learned.decode(two), strict=True):
        assert torch.equal(a.joints, b.joints) and torch.equal(a.scores, b.scores)


def test_families_by_name(learned, random, others):
    images = others[0].images[:2]
    with torch.no_grad():
        with pytest.raises(CourseError, match="there is no family of predictions called 'rotations'"):
            learned(images, ("rotation", "rotations"))
        plain, told = (
            random(images, ()),
            Predictions(*(shares(10, 3).log() for _ in FAMILIES), torch.full((2, 2), 30.0)),
        )
        for family in FAMILIES:
            seen = random.condition(plain, told, (family,))
            assert torch.equal(seen.unaries, plain.unaries) == (family == "spring")
            assert (seen.springs is plain.springs) == (family != "spring")
        both, rotation = (random.condition(plain, told, some) for some in (("rotation", "spring"), ("rotation",)))
        assert torch.equal(both.unaries, rotation.unaries)


def test_factors_are_weighted(random):
    images, grid = torch.rand(2, 3, *SIZE, generator=generator()), random.grid(*SIZE)
    with torch.no_grad():
        plain = random(images, ())
        told = random.predict(images, random.roots(plain))
        seen = random.condition(plain, told, ("rotation", "position"))
        rotation = random.rotation_factor(told.rotation, grid)[:, :, None, :, None, None]
        position = random.position_factor(told.position, told.roots, grid)[:, :, None, None]
    weights = random.weights[..., None, None, None, None]
    added = weights[0] * rotation + weights[1] * position
    torch.testing.assert_close(seen.unaries, plain.unaries + added, rtol=1e-5, atol=1e-2)
    assert added.shape == (2, 10, 1, 8, 16, 12)


def test_a_pictures_springs_are_its_own(learned, others):
    images = others[0].images[:2]
    with torch.no_grad():
        plain = learned(images, ())
        told = learned.predict(images, learned.roots(plain))
        spring = told.spring.clone()
        spring[1] = spring[1].flip(-1)
        one, two = (learned.condition(plain, told._replace(spring=some), ("spring",)) for some in (told.spring, spring))
        (first, second), (same, changed) = (learned.decode(some) for some in (one, two))
    assert torch.equal(first[0].joints, same[0].joints) and torch.equal(first[0].scores, same[0].scores)
    assert float((second[0].joints - changed[0].joints)[list(ARMS)].norm(dim=-1).max()) > 8  # down is up


def test_a_batch_is_its_pictures(learned, others):
    images = others[0].images[:3]
    with torch.no_grad():
        together = learned(images)
        for n in range(3):
            alone = learned(images[n : n + 1])
            torch.testing.assert_close(together.unaries[n], alone.unaries[0], rtol=0, atol=1e-3)
            for a, b in zip(together.springs, alone.springs, strict=True):
                torch.testing.assert_close(a[n], b[0], rtol=1e-3, atol=1e-3)


def test_a_flat_picture_gives_a_pose_without_trust(learned):
    with torch.no_grad():
        ((pose,),) = learned.decode(learned(torch.full((1, 3, *SIZE), 0.4)))
    assert bool(pose.joints.isfinite().all()) and not pose.scores.any() and pose.score == 0


def arms_right(model: ConditionedPictorialStructures, people: Batch, families: tuple[str, ...]) -> float:
    """The share of hands that are found: up and down are 16 pixels apart."""
    with torch.no_grad():
        found = torch.stack([pose.joints for (pose,) in model.decode(model(people.images, families))])
    return float(((found - people.joints).norm(dim=-1)[:, ARMS] < 6).float().mean())


def loss(model: ConditionedPictorialStructures, people: Batch, families: tuple[str, ...]) -> float:
    with torch.no_grad():
        return float(model.loss(model(people.images, families), people)["total"])


def test_the_picture_chooses_the_springs(learned, others):
    """The idea of the paper on a case done by hand.

    All people have four arms, two of which are theirs: both up or both down. Templates see four equal arms, and no
    tree knows which: half of the answers are right. A patch beside the foot tells; only the poselet sees it.
    """
    people, _ = others
    plain = arms_right(learned, people, ())
    assert 0.3 < plain < 0.7
    for families in (("spring",), FAMILIES):
        assert arms_right(learned, people, families) > 0.85 > plain + 0.15, families
    each = model_of().eval()  # with springs that fit nothing else may be needed; alone, each of the others does it too
    each.load_state_dict(learned.state_dict())
    each.weights.fill_(1.0)
    for families in (("rotation",), ("position",)):
        assert arms_right(each, people, families) > 0.75 > plain + 0.1, families
        assert loss(each, people, families) < loss(each, people, ()) - 0.1
    told = learned.predict(people.images, learned.roots(learned(people.images, ())))
    agree = (told.rotation[:, 1].argmax(-1) == others[1]).float().mean().item()
    assert max(agree, 1 - agree) > 0.8


def test_where_nothing_tells_nothing_is_gained():
    """The same people without the patch: the control."""
    people, _ = waving(140, told=False)
    model = conditioning.fit(fitting.fit(model_of(), people), people)
    unseen, which = waving(40, seed=1, told=False)
    assert 0.3 < arms_right(model, unseen, FAMILIES) < 0.7
    told = model.predict(unseen.images, model.roots(model(unseen.images, ())))
    agree = (told.rotation[:, 1].argmax(-1) == which).float().mean().item()
    assert 0.25 < agree < 0.75


# --- learning ---------------------------------------------------------------------------------------------------------


def test_what_is_learned_of_people_who_wave(learned):
    """Two clusters, arms up and arms down, each of about half of those who make the poselets."""
    assert float(learned.poselets.members.sum()) == round(conditioning.MAKING * 200)
    assert float(learned.poselets.members.min()) > 30
    hands = learned.poselets.shapes[0, :, list(ARMS), 1]  # from the poselet's centre down
    assert float((hands[0] - hands[1]).abs().min()) == pytest.approx(16 * 3 / 5, abs=1)  # the centre moves as well
    means = learned.turn_mean[1:3].sort(-1).values
    assert means.flatten().tolist() == pytest.approx([-2.45, 2.45, -0.68, 0.68], abs=0.15)
    assert all(bool(value.isfinite().all()) for value in learned.state_dict().values()) and not learned.training
    assert float(learned.turn_kappa[1:3].min()) > 20


def test_the_same_seed_learns_the_same_and_bytes_do(learned):
    people, _ = waving(80)
    coarse = (people.images * 255).round().byte()
    models = []
    for images in (coarse, coarse.float() / 255):
        batch = Batch(images, people.joints, people.visible, WAVING)
        models.append(conditioning.fit(fitting.fit(model_of(), batch), batch, seed=2))
    for name, value in models[0].state_dict().items():
        assert torch.equal(value, models[1].state_dict()[name]), name


def test_people_who_cannot_teach_are_refused():
    people, _ = waving(80)
    model = fitting.fit(model_of(), people)
    with pytest.raises(CourseError, match=r"crops of \(64, 48\), but the people come in \(64, 40\)"):
        conditioning.fit(model, Batch(people.images[..., :40], people.joints, people.visible, WAVING))
    with pytest.raises(CourseError, match="17 people show the region 'whole body'; too few to cluster"):
        conditioning.fit(model, people[:40])
    visible = people.visible.clone()
    visible[34:, ARMS[0]] = 0  # labelled on those who make the poselets, on none of those who teach the predictions
    with pytest.raises(CourseError, match="part 'chest-right hand' is labelled on 0 of the 40 people"):
        conditioning.fit(model, Batch(people.images, people.joints, visible, WAVING))


def test_a_classifier_separates_and_knows_frequencies():
    """Two classes apart along one of three features; of a third class nobody is, and it is never named."""
    truth = (torch.rand(600, generator=generator()) < 0.25).long()
    features = torch.randn(600, 3, generator=generator(1))
    features[:, 1] += 6 * truth
    classifier = Classifier(targets=2, classes=3, features=3)
    with torch.no_grad():
        conditioning.fit_classifier(classifier, features, torch.stack([truth, torch.full((600,), -1)], dim=1))
        told = classifier(features)
    assert float((told[:, 0].argmax(-1) == truth).float().mean()) > 0.98
    assert told.exp().sum(-1).sub(1).abs().max() < 1e-5 and float(told[:, 0, 2].exp().max()) < 1e-3
    assert float(told[:, 0, 1].exp().mean()) == pytest.approx(float(truth.float().mean()), abs=0.02)
    torch.testing.assert_close(told[:, 1].exp(), torch.full((600, 3), 1 / 3))  # nobody taught it


def test_state_dict_round_trip(learned, others):
    again = model_of().eval()
    again.load_state_dict(learned.state_dict())
    with torch.no_grad():
        one, two = learned(others[0].images[:2]), again(others[0].images[:2])
    assert torch.equal(one.unaries, two.unaries)
    assert all(torch.equal(a, b) for a, b in zip(one.springs, two.springs, strict=True))


def test_poselets_turn_by_whole_bins():
    """A poselet of half as many bins as rotations turns by whole bins, like the parts."""
    own = model_of("lsp")
    assert own.poselets.bins == own.bins == own.rotations // 2
    lattice = gradients.lattice(own.poselets.extent[:1], (9, 9))
    assert own.poselets.templates.shape == (11, 2, own.bins * lattice.shape[1])
