"""DeepCut's network: the loss by definition, candidates, what it learns of pairs, and people."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from deepcut_helpers import Seer, standing, teach, truth
from torch.nn import functional as F

from course_lib import checkpoints, models
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.models.deepcut import learning, network
from course_lib.models.deepcut.network import DeepCut, Dense
from course_lib.skeletons import BODY18, LSP, Skeleton
from course_lib.training.augment import NONE, augment
from course_lib.training.recipes import EASY

SMALL = {"width": 8, "input_size": (64, 64)}
HEADER = {"recipe": "test", "data": {}, "steps": 0, "images": 0, "seed": 0, "device": "cpu", "scores": {}}


def small(**options):
    torch.manual_seed(0)
    return models.create("deepcut_course", **{**SMALL, **options})


@pytest.fixture(scope="module")
def seer():
    """A network that is always right, and has learned its pairs from 36 pictures."""
    torch.manual_seed(0)
    model = Seer(**SMALL)
    model.settle(model.foresee([standing(4, 3, seed) for seed in range(9)]))
    return model


def nearest(poses, crowd, number=0):
    """How far the farthest labelled joint of every person of a picture is from the nearest pose's, (N,)."""
    found = torch.stack([pose.joints for pose in poses])  # (P, K, 2)
    distance = (found[:, None] - crowd.joints[number]).norm(dim=-1)
    return torch.where(crowd.visible[number] > 0, distance, 0.0).amax(-1).amin(0)


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_over_discs():
    model, crowd = small(), standing(2, 2)
    crowd.visible[0, 0, 4] = 0
    crowd.joints[0, 0, 4] = math.nan
    random = torch.Generator().manual_seed(1)
    right = truth(model, crowd)
    outputs = Dense(*(part + torch.randn(part.shape, generator=random) for part in right))
    terms = model.loss(outputs, crowd)
    inside, offsets, others = right.parts > -8, [], []
    for b, c, y, x in inside.nonzero().tolist():
        offsets.append(huber((outputs.offsets - right.offsets)[b, c, :, y, x] / model.radius))
        vectors = right.others[b, c, :, :, y, x]
        for k in range(14):
            if k != c and bool(vectors[k].isfinite().all()):
                others.append(huber((outputs.others - right.others)[b, c, k, :, y, x] / network.FAR))
    expected = float(F.binary_cross_entropy_with_logits(outputs.parts, inside.float()))
    assert float(terms["parts"]) == pytest.approx(expected, rel=1e-5)
    assert float(terms["offsets"]) == pytest.approx(0.05 * np.mean(offsets), rel=1e-4)
    assert float(terms["others"]) == pytest.approx(0.05 * np.mean(others), rel=1e-4)
    assert len(others) < 13 * len(offsets)
    assert float(terms["total"]) == pytest.approx(sum(float(terms[n]) for n in ("parts", "offsets", "others")))
    exact = model.loss(Dense(right.parts * 30, right.offsets, right.others.nan_to_num()), crowd)
    assert float(exact["offsets"]) < 1e-10 and float(exact["others"]) < 1e-10


def huber(difference):
    return float(torch.where(difference.abs() < 1, difference.square() / 2, difference.abs() - 0.5).mean())


def test_the_truth_about_a_mirrored_picture_is_the_mirrored_truth():
    model, crowd = small(), standing(3, 3)
    crowd.visible[:, 1, ::3] = 0
    mirrored = augment(crowd, torch.Generator().manual_seed(0), replace(NONE, flip=1.0))
    assert not torch.equal(mirrored.joints, crowd.joints)
    right = truth(model, crowd)
    for one, other in zip(model.flip_average(right, truth(model, mirrored)), right, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3)


def test_mirror_images_are_averaged():
    model, images = small(), torch.rand(2, 3, 64, 64)
    model.eval().answers.weight.data.normal_()
    with torch.no_grad():
        outputs, turned = model(images), model(images.flip(-1))
    one, other = model.flip_average(outputs, turned), model.flip_average(turned, outputs)
    for a, b in zip(model.flip_average(one, other), one, strict=True):  # each is the other, mirrored
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


# --- candidates -------------------------------------------------------------------------------------------------------


def test_candidates_of_a_right_answer_lie_on_the_joints(seer):
    crowd = standing(3, 3, seed=50)
    crowd.visible[0] = 0  # nobody there
    for number, seen in enumerate(seer.candidates(truth(seer, crowd))):
        joints = crowd.joints[number].double().numpy()
        distance = np.linalg.norm(joints[:, seen.classes] - seen.places, axis=-1)  # (N, D)
        assert len(seen.places) == (0 if number == 0 else len(seen.classes))
        assert seen.probabilities.shape == (len(seen.places), 14) and seen.others.shape[1:] == (14, 14, 2)
        if not number:
            continue
        assert len(seen.places) > 30 and distance.min(0).max() < 1e-3
        owner = distance.argmin(0)
        for k in range(14):
            expected = joints[owner, k] - joints[owner, seen.classes]
            np.testing.assert_allclose(seen.others[np.arange(len(owner)), seen.classes, k], expected, atol=1e-3)
        for c in range(14):  # two of one class keep their distance
            own = seen.places[seen.classes == c]
            apart = np.linalg.norm(own[:, None] - own, axis=-1) + 1e9 * np.eye(len(own))
            assert apart.min(initial=np.inf) >= seer.apart


def test_of_two_near_each_other_the_better_stays():
    places = np.array([[0, 0], [3, 0], [8, 0], [3, 1]], dtype=float)
    scores, classes = np.array([0.5, 0.9, 0.4, 0.8]), np.array([0, 0, 0, 1])
    assert network._apart(places, scores, classes, 6.0).tolist() == [1, 3]
    assert network._apart(places, scores, classes, 4.0).tolist() == [1, 2, 3]
    assert network._apart(places, scores, classes, 0.0).tolist() == [0, 1, 2, 3]
    assert network._apart(places[:0], scores[:0], classes[:0], 6.0).tolist() == []


def test_cells_are_taken_evenly_from_all_that_are_marked():
    model = small()
    parts = torch.full((1, 14, 8, 8), -9.0)
    parts[0, 3], parts[0, 5, 2, :3] = 9.0, 9.0
    (seen,) = model.cells(Dense(parts, torch.zeros(1, 14, 2, 8, 8), torch.zeros(1, 14, 14, 2, 8, 8)), 8)
    assert np.bincount(seen.classes, minlength=14)[[3, 5]].tolist() == [8, 3] and len(seen.classes) == 11
    rows = seen.places[seen.classes == 3, 1] / model.stride
    assert rows.tolist() == [0.5 + row for row in range(8)]


# --- pairs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", learning.FEATURES)
def test_what_is_learned_of_pairs_tells_people_apart(seer, kind):
    same, other = [], []
    crowd = standing(4, 3, seed=60)
    for number, seen in enumerate(seer.candidates(truth(seer, crowd))):
        p = seer.pairs.probabilities(seen, kind)
        np.testing.assert_allclose(p, p.transpose(1, 0, 3, 2))
        labelled = (crowd.visible[number] > 0).numpy()
        owner = learning._owners(seen.places, seen.classes, crowd.joints[number].numpy(), labelled)
        d, e = np.nonzero(seen.classes[:, None] != seen.classes)
        chosen, mine = p[d, e, seen.classes[d], seen.classes[e]], owner[d] == owner[e]
        same.append(chosen[mine])
        other.append(chosen[~mine])
    same, other = np.concatenate(same), np.concatenate(other)
    assert min(len(same), len(other)) > 500
    assert same.mean() > 0.7 and other.mean() < 0.35
    assert (same > 0.5).mean() > 0.85 and (other < 0.5).mean() > 0.85


def test_one_joint_seen_twice_is_one_joint(seer):
    near = seer.pairs.regression("same", 0).probability(np.array([[0.0], [3.0], [40.0]]))
    assert near[0] > 0.5 > near[2] and near[0] >= near[1] > near[2]


def test_mean_offsets_are_those_of_the_people(seer):
    joints = torch.cat([standing(4, 3, seed).joints.flatten(0, 1) for seed in range(9)])
    head, neck = LSP.index("head_top"), LSP.index("neck")
    expected = (joints[:, neck] - joints[:, head]).mean(0)
    torch.testing.assert_close(seer.pairs.offsets[head, neck], expected, rtol=0, atol=0.5)
    assert torch.equal(seer.pairs.offsets[neck, head], -seer.pairs.offsets[head, neck])


def test_pairs_travel_with_the_weights(seer, tmp_path):
    model = small()
    model.pairs.load_state_dict(seer.pairs.state_dict())
    checkpoints.save(tmp_path / "deepcut.safetensors", model, {**HEADER, "date": "2026-01-31"})
    loaded = models.load("deepcut_course", tmp_path / "deepcut.safetensors")
    for name, buffer in seer.pairs.state_dict().items():
        assert torch.equal(loaded.pairs.state_dict()[name], buffer), name


def test_what_is_looked_at_is_left_alone_and_looked_at_no_longer_than_asked():
    model = small().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shown = []

    def pictures():
        for seed in range(10):
            shown.append(seed)
            yield standing(2, 1, seed)

    with pytest.raises(CourseError, match="sees too few joints of these people") as caught:
        model.settle(pictures())
    assert "\n" not in str(caught.value) and model.training and len(shown) == 10
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    shown.clear()
    with pytest.raises(CourseError, match="sees too few"):
        learning.learn(model, model.pairs, pictures(), pictures=5)
    assert len(shown) == 3


@pytest.mark.parametrize("crowds", [[], [standing(3, 1)], [standing(3, 3)[:0]]])
def test_nobody_learns_from_nobody_or_from_people_who_are_alone(crowds):
    """And what could be learned is then not learned by half."""
    model = Seer(**SMALL)
    with pytest.raises(CourseError, match="sees too few joints"):
        model.settle(model.foresee(crowds))
    assert not any(bool(buffer.any()) for buffer in model.pairs.buffers())


def test_without_pairs_there_are_no_people():
    with pytest.raises(CourseError, match="pairwise probabilities were never learned") as caught:
        small().decode(truth(small(), standing(1, 1)))
    assert "\n" not in str(caught.value)


# --- people -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pairwise", learning.FEATURES)
def test_a_right_answer_is_decoded_to_everybody(seer, pairwise):
    crowd = standing(4, 3, seed=70)
    found = seer.decode(truth(seer, crowd), pairwise=pairwise)
    for number, poses in enumerate(found):
        assert [pose.score for pose in poses] == sorted((pose.score for pose in poses), reverse=True)
        assert all(pose.skeleton is LSP and pose.joints.isfinite().all() for pose in poses)
        if pairwise == "regressed":
            assert len(poses) == 3
            assert float(nearest(poses, crowd, number).median()) < 0.1
    assert abs(sum(map(len, found)) - 12) <= 2


def test_every_solver_finds_one_person(seer):
    crowd = standing(1, 1, seed=80)
    for solver in network.SOLVERS:
        (poses,) = seer.decode(truth(seer, crowd), solver=solver)
        assert len(poses) == 1 and float(nearest(poses, crowd).max()) < 5  # one hip may be taken for the other
    with pytest.raises(CourseError, match="did you mean 'local'"):
        seer.decode(truth(seer, crowd), solver="locale")
    with pytest.raises(CourseError, match="did you mean 'geometry'"):
        seer.decode(truth(seer, crowd), pairwise="geometri")


def test_stages_name_every_joint_once_and_none_is_empty():
    names = [[LSP.joints[k] for k in stage] for stage in network.stages(LSP)]
    assert sorted(names[0]) == ["head_top", "left_shoulder", "neck", "right_shoulder"]
    assert sorted(names[1]) == ["left_elbow", "left_wrist", "right_elbow", "right_wrist"] and len(names[2]) == 6
    hand = Skeleton("hand", ("wrist", "thumb", "finger"), ((0, 1), (0, 2)), (0.05,) * 3, ("wrist", "thumb"), None)
    assert network.stages(hand) == [[0], [1, 2]]
    assert sorted(k for stage in network.stages(BODY18) for k in stage) == list(range(18))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("part", Dense._fields)
def test_answers_that_are_no_numbers_do_not_end_in_a_crash(seer, part, value):
    right = truth(seer, standing(2, 2))
    broken = getattr(right, part).clone()
    broken[0] = value
    broken[1, ..., ::2] = value
    for poses in seer.decode(right._replace(**{part: broken}), time_limit=1.0):
        assert all(bool(pose.scores.isfinite().all()) for pose in poses)


def test_hundreds_of_candidates_are_limited_and_solved_in_time():
    model = small(threshold=0.05, apart=0.0)
    teach(model.pairs)
    random = torch.Generator().manual_seed(0)
    noise = [torch.randn(1, 14, *rest, 48, 64, generator=random) * 3 for rest in ((), (2,), (14, 2))]
    (seen,) = model.candidates(Dense(*noise))
    assert len(seen.places) == 14 * model.most and np.bincount(seen.classes).tolist() == [model.most] * 14
    few = seen._replace(**{name: getattr(seen, name)[::2] for name in seen._fields})
    solution = model.solution(model.program(few), time_limit=0.2)
    assert solution.objective < 0 and len(solution.labels) == 140


def test_impossible_networks_are_refused():
    for wrong in ({"width": 0}, {"radius": 0.0}, {"threshold": 1.0}, {"most": 0}, {"apart": -1.0}):
        with pytest.raises(CourseError, match="DeepCut needs a width"):
            small(**wrong)
    with pytest.raises(CourseError, match="divisible by 32"):
        small()(torch.rand(1, 3, 48, 64))


def test_some_pictures_of_the_easy_world_are_learned_by_heart_and_everybody_is_found():
    """The whole way: train, settle, estimate. People are 20 pixels high, and discs must not cover half of them."""
    size, steps = (64, 96), 80
    world = synthetic.Settings(**EASY)
    crowd = next(synthetic.crowds(4, seed=2, size=size, people=(2, 2), settings=world))
    torch.manual_seed(0)
    model = DeepCut(width=32, radius=3.5, input_size=size).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), 8e-3)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 8e-3 if step < 0.75 * steps else 2e-3
        optimiser.zero_grad()
        model.loss(model(crowd.images), crowd)["total"].backward()
        optimiser.step()
    model.settle([crowd] * 2)
    found = model.estimate(list(crowd.images))
    assert [len(poses) for poses in found] == crowd.visible.any(-1).sum(-1).tolist()
    right = []
    for poses, joints, visible in zip(found, crowd.joints, crowd.visible, strict=True):
        near = torch.stack([(pose.joints - joints).norm(dim=-1) < 5 for pose in poses])  # (P, N, K)
        shares = [near[:, n, visible[n] > 0].float().mean(-1) for n in range(len(joints))]
        assert len({int(share.argmax()) for share in shares}) == len(joints)  # everybody has a pose of their own
        right += [float(share.max()) for share in shares]
    assert min(right) > 0.4 and np.mean(right) > 0.7, right
