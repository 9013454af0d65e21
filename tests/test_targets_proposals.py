"""Boxes as a detector might have drawn them: what was put in is learned, by pose, and comes out again."""

from __future__ import annotations

import json
import math

import pytest
import scipy.stats
import torch

from course_lib import geometry
from course_lib.errors import CourseError
from course_lib.skeletons import COCO, LSP
from course_lib.targets import proposals
from course_lib.targets.proposals import Proposals, moved, offsets

HIPS = [LSP.index(f"{side}_hip") for side in ("left", "right")]
SHOULDERS = [LSP.index(f"{side}_shoulder") for side in ("left", "right")]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def figure(arms_up):
    """Joints (14, 2) of somebody with a torso of 30 px, arms up or down."""
    joints = torch.zeros(14, 2)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rows = {"hip": 0.0, "shoulder": -30.0, "knee": 20.0, "ankle": 40.0}
        rows |= {"elbow": -50.0, "wrist": -70.0} if arms_up else {"elbow": -15.0, "wrist": 0.0}
        for part, y in rows.items():
            joints[LSP.index(f"{side}_{part}")] = torch.tensor([8 * sign, y])
    joints[LSP.index("neck")], joints[LSP.index("head_top")] = torch.tensor([0.0, -33]), torch.tensor([0.0, -48])
    return joints


def people(count, seed=0):
    """Joints (count, 14, 2) of people of any size anywhere, every second one with raised arms; and their boxes."""
    size = 0.5 + torch.rand(count, 1, 1, generator=generator(seed)) * 2
    place = torch.rand(count, 1, 2, generator=generator(seed + 1)) * 500
    both = torch.stack([figure(False), figure(True)])[torch.arange(count) % 2]
    joints = (both + torch.randn(both.shape, generator=generator(seed + 2))) * size + place
    visible = torch.full((count, 14), 2)
    return joints, visible, geometry.box_of(joints, visible, 0.1)


def drawn(count, means, spreads, seed=5):
    """Offsets (count, 4), normal about a mean (2, 4) with deviations (2, 4), one for arms down and one for arms up."""
    kind = torch.arange(count) % 2
    return torch.tensor(means)[kind] + random(count, 4, seed=seed).float() * torch.tensor(spreads)[kind]


MEANS = [[0.05, -0.1, 0.1, 0.0], [-0.05, 0.2, 0.0, 0.1]]
SPREADS = [[0.05, 0.03, 0.08, 0.04], [0.02, 0.06, 0.03, 0.05]]


@pytest.fixture(scope="module")
def data():
    joints, visible, true = people(2000)
    return joints, visible, true, moved(true, drawn(2000, MEANS, SPREADS))


@pytest.fixture(scope="module")
def learned(data):
    return Proposals.fit(*data, atoms=2, components=1)


# --- boxes and offsets ------------------------------------------------------------------------------------------------


def test_offsets_are_in_sides_of_the_true_box():
    true, found = torch.tensor([[10.0, 20, 30, 60]]), torch.tensor([[12.0, 24, 31, 50]])
    delta = offsets(true, found)
    assert delta[0].tolist() == pytest.approx([0.1, 0.1, 0.05, -0.25])
    torch.testing.assert_close(moved(true, delta), found)
    assert moved(true, torch.zeros(1, 4)).tolist() == true.tolist() and moved(true[:0], delta[:0]).shape == (0, 4)


def test_a_box_never_turns_inside_out():
    boxes = torch.tensor([[10.0, 20, 30, 60]]).expand(500, 4)
    after = moved(boxes, random(500, 4) * 3)
    assert bool((after[:, 2:] - after[:, :2] >= 0.1 * torch.tensor([20.0, 40.0]) - 1e-4).all())
    crossed = moved(boxes[:1], torch.tensor([[0.9, 0.0, -0.5, 0.0]]))[0]
    assert crossed.tolist() == pytest.approx([23, 20, 25, 60])  # 28 and 20 crossed: a tenth about their middle


# --- what is learned --------------------------------------------------------------------------------------------------


def test_a_known_mixture_is_recovered():
    """One atom with two Gaussians: three boxes of ten are far off."""
    joints, visible, true = people(4000, seed=3)
    far = torch.rand(4000, generator=generator(9)) < 0.3
    mean = torch.where(far[:, None], torch.tensor([0.4, 0.3, -0.2, 0.5]), torch.tensor([0.0, -0.05, 0.05, 0.0]))
    spread = torch.where(far[:, None], 0.1, 0.04)
    delta = (mean + random(4000, 4).float() * spread).double()
    delta[:, 2] += delta[:, 0]  # sides that move together
    found = true + (delta * (true[:, 2:] - true[:, :2]).repeat(1, 2)).float()
    fitted = Proposals.fit(joints, visible, true, found, atoms=1, components=2)
    order = fitted.weights[0].argsort()
    assert fitted.weights[0, order].tolist() == pytest.approx([0.3, 0.7], abs=0.03)
    for component, own, deviation in zip(order.tolist(), (far, ~far), (0.1, 0.04), strict=True):
        assert fitted.means[0, component].tolist() == pytest.approx(delta[own].mean(0).tolist(), abs=0.01)
        expected = torch.cov(delta[own].T) + 1e-4 * torch.eye(4)
        assert float((fitted.covariances[0, component] - expected).abs().max()) < 0.1 * deviation**2
        assert float(expected[0, 2]) > 0.8 * deviation**2


def test_each_kind_of_pose_has_its_own_offsets(data, learned):
    joints, visible, _, _ = data
    atom = learned.atom(joints, visible)
    down, up = int(atom[0]), int(atom[1])
    assert down != up and atom.tolist() == [down, up] * 1000
    for one, mean, spread in zip((down, up), MEANS, SPREADS, strict=True):
        assert learned.means[one, 0].tolist() == pytest.approx(mean, abs=0.012)
        deviation = learned.covariances[one, 0].diagonal().sqrt()
        assert deviation.tolist() == pytest.approx(spread, abs=0.01)
    assert float(learned.weights.sum(1).min()) == pytest.approx(1)


def test_atoms_are_poses_with_the_hips_at_zero_and_a_torso_of_one(learned):
    hips, shoulders = learned.centres[:, HIPS].mean(1), learned.centres[:, SHOULDERS].mean(1)
    assert float(hips.abs().max()) < 1e-6
    assert (shoulders - hips).norm(dim=-1).tolist() == pytest.approx([1, 1], abs=0.01)


def test_an_atom_does_not_depend_on_place_size_or_what_is_hidden(data, learned):
    joints, visible, _, _ = data
    atom = learned.atom(joints, visible)
    assert torch.equal(learned.atom(joints * 3 + 50, visible), atom)
    some = visible.clone()
    some[:, LSP.index("left_wrist")] = 0
    some[:, LSP.index("head_top")] = 0
    wild = joints.clone()
    wild[:, LSP.index("left_wrist")], wild[:, LSP.index("head_top")] = math.nan, 1e9
    assert torch.equal(learned.atom(wild, some), atom)
    torsoless = visible.clone()
    torsoless[:, HIPS[0]] = 0
    assert not learned.atom(joints, torsoless).any()  # the first atom


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_samples_have_the_fitted_mean_and_covariance(data, learned):
    joints, visible, true, _ = data
    atom = learned.atom(joints, visible)
    some = [offsets(true, learned.sample(joints, visible, true, generator(n))) for n in range(4)]
    for one in range(2):
        delta = torch.cat([own[atom == one] for own in some])
        error = learned.covariances[one, 0].diagonal().sqrt() / math.sqrt(len(delta))
        assert bool(((delta.mean(0) - learned.means[one, 0]).abs() < 3 * error).all())
        assert torch.allclose(torch.cov(delta.T), learned.covariances[one, 0], atol=4e-4)


@pytest.mark.parametrize("seed", [1, 2])
def test_drawn_boxes_meet_true_ones_as_detected_boxes_do(data, seed):
    joints, visible, true, found = data
    fitted = Proposals.fit(joints[::2], visible[::2], true[::2], found[::2], atoms=3, components=2)
    rest = slice(1, None, 2)  # whom it was not fitted to: raised arms, of which it has seen none
    joints, visible, true, found = (part[::2] for part in (joints, visible, true, found))
    sample = fitted.sample(joints, visible, true, generator(seed))

    def overlap(boxes):
        return geometry.box_iou(true, boxes).diagonal().numpy()

    assert scipy.stats.ks_2samp(overlap(found), overlap(sample)).pvalue > 0.05
    even = fitted.uniform(true, generator(seed))
    assert scipy.stats.ks_2samp(overlap(found), overlap(even)).pvalue < 0.05
    assert len(data[0][rest]) == 1000


def test_even_noise_is_as_strong_and_knows_no_pose(data, learned):
    _, _, true, _ = data
    delta = offsets(true, learned.uniform(true, generator()))
    spread = learned.covariances[:, 0].diagonal(dim1=-2, dim2=-1).mean(0).sqrt()
    assert delta.std(0).tolist() == pytest.approx(spread.tolist(), rel=0.06)
    assert float((delta.abs().amax(0) / spread).max()) < math.sqrt(3) + 1e-3
    assert float((delta.mean(0) / spread).abs().max()) < 3 / math.sqrt(2000)
    assert float((delta[::2].mean(0) - delta[1::2].mean(0)).abs().max()) < 0.01


def test_the_same_seed_draws_the_same_boxes(data, learned):
    joints, visible, true, _ = (part[:50] for part in data)
    first, again, other = (learned.sample(joints, visible, true, generator(seed)) for seed in (4, 4, 5))
    assert torch.equal(first, again) and not torch.equal(first, other) and first.dtype == true.dtype
    assert learned.sample(joints[:0], visible[:0], true[:0], generator()).shape == (0, 4)
    flat = torch.tensor([[5.0, 5, 5, 9]]).expand(50, 4)
    assert bool(learned.sample(joints, visible, flat, generator()).isfinite().all())


# --- too little, and damage -------------------------------------------------------------------------------------------


def test_small_clusters_take_everybodys_offsets():
    joints, visible, true = people(140)
    joints, visible, true = joints[:100:2], visible[:100:2], true[:100:2]  # arms down
    few = [part[1::2] for part in people(20, seed=8)]  # arms up
    joints, visible, true = (torch.cat(pair) for pair in zip((joints, visible, true), few, strict=True))
    delta = random(60, 4) * 0.03 + 0.1
    fitted = Proposals.fit(joints, visible, true, moved(true, delta.float()), atoms=2, components=1)
    small = int(fitted.atom(joints[-1:], visible[-1:]))
    assert fitted.means[small, 0].tolist() == pytest.approx(delta.mean(0).tolist(), abs=1e-4)
    assert fitted.means[1 - small, 0].tolist() == pytest.approx(delta[:50].mean(0).tolist(), abs=1e-4)


def test_people_with_unusable_boxes_or_torsos_do_not_spoil_it(data):
    joints, visible, true, found = (part[:300].clone() for part in data)
    expected = Proposals.fit(joints[4:], visible[4:], true[4:], found[4:], atoms=2, components=1)
    true[0], true[1] = torch.tensor([5.0, 5, 5, 9]), torch.tensor([9.0, 9, 5, 5])
    found[2], true[3] = torch.tensor([0.0, 0, math.nan, 1]), torch.tensor([0.0, 0, math.inf, 1])
    fitted = Proposals.fit(joints, visible, true, found, atoms=2, components=1)
    torch.testing.assert_close(fitted.means, expected.means)
    visible[:20, HIPS] = 0
    again = Proposals.fit(joints, visible, true, found, atoms=2, components=1)
    assert float((again.means.sort(0).values - expected.means.sort(0).values).abs().max()) < 0.02
    joints[50:] = joints[50].clone()  # nearly everybody in one pose: more atoms than poses
    assert bool(Proposals.fit(joints, visible, true, found, atoms=40).means.isfinite().all())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"people": 1}, "of at least 2 people"),
        ({"people": 3}, "8 atoms need as many people with a visible torso; got 3"),
        ({"visible": 0}, "8 atoms need as many people with a visible torso; got 0"),
        ({"atoms": 0}, "at least one atom and one Gaussian; got 0 and 2"),
        ({"components": 0}, "at least one atom and one Gaussian; got 8 and 0"),
        ({"skeleton": "coco"}, "need joints, visible and two boxes"),
    ],
)
def test_too_little_to_learn_from_is_refused(data, change, says):
    options = {name: value for name, value in change.items() if name not in ("people", "visible")}
    joints, visible, true, found = (part[: change.get("people", 100)] for part in data)
    with pytest.raises(CourseError, match=says) as caught:
        Proposals.fit(joints, visible * change.get("visible", 1), true, found, **options)
    assert "\n" not in str(caught.value)


def test_what_is_written_is_read(data, learned, tmp_path):
    file = tmp_path / "proposals.json"
    file.write_text(json.dumps({"proposals": learned.as_dict(), "what": "a test"}))
    again = proposals.load(file)
    assert again.skeleton is LSP and again.as_dict() == learned.as_dict()
    for name in ("centres", "weights", "means", "covariances"):
        torch.testing.assert_close(getattr(again, name), getattr(learned, name), rtol=0, atol=1e-6)
    joints, visible, true, _ = (part[:40] for part in data)
    first, second = (one.sample(joints, visible, true, generator()) for one in (learned, again))
    torch.testing.assert_close(first, second, rtol=0, atol=0.02)


def damaged(**changes):
    """What changes a stored dict."""
    return lambda stored: {key: value for key, value in (stored | changes).items() if value is not None}


DAMAGE = {
    "no weights": damaged(weights=None),
    "no skeleton": damaged(skeleton=None),
    "another skeleton": damaged(skeleton="coco"),
    "no such skeleton": damaged(skeleton="lps"),
    "ragged": damaged(weights=[[1.0], [0.5, 0.5]]),
    "a number": damaged(weights=1.0),
    "more weights": damaged(weights=[[0.5, 0.5]] * 2),
    "words": damaged(means="many"),
    "negative": damaged(weights=[[-1.0], [1.0]]),
    "more than everybody": damaged(weights=[[1.5], [1.0]]),
    "no number": damaged(means=[[[math.nan] * 4]] * 2),
    "flat": damaged(covariances=[[[[0.0] * 4] * 4]] * 2),
    "a list": lambda stored: [stored],
    "nothing": lambda stored: None,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_proposals_are_refused(learned, damage):
    with pytest.raises(CourseError, match="no proposals") as caught:
        Proposals.from_dict(DAMAGE[damage](learned.as_dict()))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3", '{"proposals": 3}', '{"proposals": {}}'])
def test_damaged_files_are_refused(tmp_path, text):
    with pytest.raises(CourseError, match="there are no proposals in"):
        proposals.load(tmp_path / "nowhere.json")
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(CourseError, match="no proposals"):
        proposals.load(tmp_path / "bad.json")


def test_those_that_ship_are_of_a_detector_that_is_somewhat_off():
    shipped = proposals.load()
    assert shipped.skeleton is LSP and shipped.weights.shape == (8, 2) and len(COCO) != shipped.centres.shape[1]
    joints, visible, true = people(400)
    sample = shipped.sample(joints, visible, true, generator())
    overlap = geometry.box_iou(true, sample).diagonal()
    assert 0.6 < float(overlap.mean()) < 0.95 and float(overlap.min()) > 0
