"""Below pictorial structures: features that turn, and parts with their frames."""

from __future__ import annotations

import math

import drawn_people as drawn
import pytest
import torch
from drawn_people import SIZE, SMALL, generator
from hypothesis import given
from hypothesis import strategies as st
from skimage.feature import hog
from torch import Tensor

from course_lib import skeletons
from course_lib.errors import CourseError
from course_lib.models.pictorial import gradients
from course_lib.models.pictorial import parts as body
from course_lib.models.pictorial.springs import order
from course_lib.models.pictorial.structures import CELLS, PictorialStructures
from course_lib.skeletons import LSP, Skeleton

FINGERS = ("thumb", "index", "middle", "ring", "little")
HAND = Skeleton(
    "hand",
    ("wrist", *(f"{finger}_{bone}" for finger in FINGERS for bone in range(4))),
    limbs=tuple((0 if bone == 0 else 4 * f + bone, 4 * f + bone + 1) for f in range(5) for bone in range(4)),
    sigmas=(0.1,) * 21,
    torso=("wrist", "middle_0"),
    head=None,
)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=generator(seed))


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bins", [2, 4, 6, 8])
def test_a_turned_picture_has_turned_features(bins):
    """A quarter turn is half of the bins, whatever the picture: nothing is lost, at the border neither."""
    images = rand(2, 3, 32, 44)
    straight = gradients.features(images, bins, 2)
    turned = gradients.features(torch.rot90(images, -1, (-2, -1)), bins, 2)
    assert turned.shape == (2, bins, 22, 16) and float(turned.min()) >= 0 and float(turned.std()) > 0.01
    torch.testing.assert_close(turned, torch.rot90(straight, -1, (-2, -1)).roll(bins // 2, 1), rtol=0, atol=2e-4)


def ramp(angle: float, size: int = 32) -> Tensor:
    """Brightness that rises in one direction, clockwise from the right."""
    centre = torch.arange(size) - (size - 1) / 2
    return (0.5 + 0.01 * (math.cos(angle) * centre + math.sin(angle) * centre[:, None])).expand(1, 3, -1, -1)


@pytest.mark.parametrize("half_turn", [0, 1])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.25, 3.0, 3.5, 5.0])
def test_orientations_are_shared_between_two_bins(place, half_turn):
    """A gradient between two bins is shared in proportion; up and down count alike; after the last bin is the first."""
    votes = gradients.features(ramp(math.pi * (place / 6 + half_turn)), 6, 2)[0, :, 5:11, 5:11].square().mean((1, 2))
    expected, lower = torch.zeros(6), int(place)
    expected[lower] += 1 - (place - lower)
    expected[(lower + 1) % 6] += place - lower
    torch.testing.assert_close(votes / votes.sum(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("grey", [0.0, 0.3, 1.0])
def test_a_flat_picture_has_no_features(grey):
    images = torch.full((1, 3, 24, 32), grey)
    assert not gradients.features(images, 4, 2).any()
    model = PictorialStructures("lsp", SIZE, scales=(0.65, 1.0, 1.5))  # shrinking and enlarging must add nothing
    assert not any(model.features(images, scale).any() for scale in model.scales)


def test_the_strongest_channel_counts():
    colour = torch.zeros(1, 3, 32, 32)
    colour[:, 1] = ramp(0.0)[:, 0]
    colour[:, 2] = 0.3 * ramp(math.pi / 2)[:, 0]
    assert torch.equal(gradients.features(colour, 4, 2), gradients.features(ramp(0.0), 4, 2))


def test_contrast_hardly_counts_but_noise_is_not_made_loud():
    """A cell's squares add up to E / (E + FLOOR): half for a gradient of the floor's size, next to 0 far below."""
    for contrast in (0.001, 0.02, 0.5):
        slope = contrast * ramp(0.0) / 0.01  # its gradient is the contrast
        energy = gradients.features(slope, 4, 2)[0, :, 5:11, 5:11].square().sum(0)
        torch.testing.assert_close(
            energy.mean(), torch.tensor(contrast / (contrast + gradients.FLOOR)), rtol=0.02, atol=0
        )
    picture = drawn.people(1, noise=0).images
    loud, soft, brighter = (gradients.features(image, 4, 2) for image in (picture, picture * 0.5, picture + 0.3))
    assert float((loud - soft).abs().max()) < 0.25 * float(loud.max())
    torch.testing.assert_close(brighter, loud, rtol=0, atol=1e-3)


@pytest.mark.parametrize("number", range(8))
def test_the_dominant_orientation_is_that_of_scikit_image(number):
    """A grating 5 degrees beyond the middle of bin b: nearest to our bin b, and in their interval b."""
    angle = math.radians(22.5 * number + 5)
    steps = torch.arange(48)
    grating = 0.5 + 0.4 * torch.sin((math.cos(angle) * steps + math.sin(angle) * steps[:, None]) * 0.7)
    theirs = hog(grating.numpy(), 8, (8, 8), (1, 1), feature_vector=False).sum((0, 1, 2, 3))
    ours = gradients.features(grating.expand(1, 3, -1, -1), 8, 2).square().sum((0, 2, 3))
    assert int(theirs.argmax()) == int(ours.argmax()) == number


def test_blur_keeps_what_is_even_and_the_whole():
    torch.testing.assert_close(gradients.blur(torch.ones(1, 2, 9, 20), 2.0), torch.ones(1, 2, 9, 20))
    point = torch.zeros(1, 1, 21, 21)
    point[..., 10, 10] = 1
    cell = gradients.blur(point, 1.5)[0, 0]
    assert float(cell.sum()) == pytest.approx(1, abs=1e-5)
    assert float((cell.sum(0) * (torch.arange(21) - 10) ** 2).sum()) == pytest.approx(1.5**2, rel=0.06)
    assert float((cell - cell.T).abs().max()) < 1e-7


def test_lattice_by_hand():
    places = gradients.lattice(torch.tensor([[20.0, 6.0]]), (3, 2))
    assert places.tolist() == [[[-10, -3], [-10, 3], [0, -3], [0, 3], [10, -3], [10, 3]]]
    turned = gradients.turned(places, 4)[1]  # a quarter turn clockwise on the screen: right becomes down
    torch.testing.assert_close(turned[0, 4], torch.tensor([3.0, 10.0]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_kernels_answer_what_the_windows_hold(step):
    """The convolution's answer is the inner product of the template with what it sees, in every cell and rotation."""
    parts, rotations, cells, stride = 3, 8, (5, 4), 2
    extent = torch.tensor([[17.0, 9.0], [6.0, 11.0], [25.0, 25.0]])
    templates, maps = rand(parts, rotations // 2, 20) - 0.4, rand(1, rotations // 2, 18, 24, seed=1)
    answers = []
    for template, own in zip(templates, extent, strict=True):
        kernel = gradients.kernel(template, own, cells, rotations, stride, step)
        assert kernel.shape[:2] == (rotations, rotations // 2) and kernel.shape[-1] % 2 == step % 2
        answers += gradients.responses(maps, kernel, step)
    y, x = torch.meshgrid(torch.arange(18 // step), torch.arange(24 // step), indexing="ij")
    centres = (torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5) * (stride * step)
    places = gradients.turned(gradients.lattice(extent, cells), rotations)
    for part in range(parts):
        for turn in range(rotations):
            turns = torch.full((len(centres),), turn)
            own = places[turns, part]
            seen = gradients.windows(maps.expand(len(centres), -1, -1, -1), centres, turns, own, stride)
            told = (seen * templates[part]).sum((1, 2)).view_as(answers[part][turn])
            torch.testing.assert_close(answers[part][turn], told, rtol=0, atol=1e-4)


def test_windows_turn_with_the_picture():
    """What a frame sees does not change when frame and picture are turned together by a quarter."""
    images = rand(1, 3, 40, 40)
    places = gradients.turned(gradients.lattice(torch.tensor([[12.0, 8.0]]), (4, 3)), 8)[:, 0]
    straight, turned = (gradients.features(torch.rot90(images, -k, (-2, -1)), 4, 2) for k in (0, 1))
    one = gradients.windows(straight, torch.tensor([[15.0, 22.0]]), torch.tensor([1]), places[[1]], 2)
    two = gradients.windows(turned, torch.tensor([[40 - 22.0, 15.0]]), torch.tensor([3]), places[[3]], 2)
    torch.testing.assert_close(one, two, rtol=0, atol=1e-3)


def test_a_template_finds_how_far_its_pattern_is_turned():
    """A club with a thick end, learned lying to the right, in 16 directions: the right one answers best."""
    extent, centre = torch.tensor([[26.0, 14.0]]), torch.tensor([[32.0, 32.0]])

    def club(angle: float) -> Tensor:
        image, way = torch.full((3, 64, 64), 0.5), drawn.direction(torch.tensor(angle))
        drawn.draw(image, centre[0] - 10 * way, centre[0] + 10 * way, (0.9, 1.0, 100.0))
        drawn.draw(image, centre[0] + 4 * way, centre[0] + 10 * way, (0.9, 3.5, 100.0))
        return gradients.features(image[None], 8, 2)

    places = gradients.turned(gradients.lattice(extent, CELLS), 16)
    window = gradients.windows(club(0.0), centre, torch.tensor([0]), places[0], 2)
    template = window - window.mean()
    kernel = gradients.kernel(template[0], extent[0], CELLS, 16, 2, 2)
    for turn in range(16):
        answers = gradients.responses(club(2 * math.pi * turn / 16), kernel, 2)
        best = torch.unravel_index(answers[0].argmax(), answers[0].shape)
        assert int(best[0]) == turn and all(int(cell) in (7, 8) for cell in best[1:])


# --- parts ------------------------------------------------------------------------------------------------------------


def test_the_ten_parts_of_lsp_by_hand():
    parts = body.of(LSP)
    assert parts.names == (
        "torso",
        "right upper arm",
        "left upper arm",
        "right forearm",
        "left forearm",
        "right upper leg",
        "left upper leg",
        "right lower leg",
        "left lower leg",
        "head",
    )
    assert parts.parents == (-1, 0, 0, 1, 2, 0, 0, 5, 6, 0)
    assert parts.ends[0] == ((3, 2), (9, 8)) and parts.ends[3] == ((7,), (6,)) and parts.ends[9] == ((12,), (13,))
    assert parts.owners[LSP.index("right_elbow")] == (1, 3) and parts.owners[LSP.index("left_hip")] == (0, 6)
    assert parts.owners[LSP.index("left_ankle")] == (8,) and len(parts) == 10


@pytest.mark.parametrize(
    "name, count", [("lsp", 10), ("mpii", 10), ("coco", 9), ("body18", 9), ("flic", 5), ("jhmdb", 9)]
)
def test_parts_of_every_skeleton(name, count):
    skeleton = skeletons.get(name)
    parts = body.of(skeleton)
    assert len(parts) == count == len(set(parts.names)) and parts.names[0] == "torso" and parts.parents[0] == -1
    assert order(parts.parents)[-1] == 0
    for part, parent in enumerate(parts.parents):
        if "forearm" in parts.names[part] or "lower" in parts.names[part]:
            assert parts.ends[parent][1] == parts.ends[part][0]  # hangs where the other ends
        else:
            assert parent == (-1 if part == 0 else 0)
    for joint, owners in enumerate(parts.owners):
        ended = [part for part, (a, b) in enumerate(parts.ends) if joint in a + b]
        assert list(owners) == (ended or [0])
    assert parts.owners[skeleton.index("right_elbow")] and (name != "coco" or parts.owners[0] == (0,))  # the nose


def test_the_parts_of_a_hand():
    parts = body.of(HAND)
    assert len(parts) == 20 and parts.names[:2] == ("wrist-thumb 0", "thumb 0-thumb 1")
    assert parts.parents[:6] == (-1, 0, 1, 2, 0, 4) and order(parts.parents, parts.names)[-1] == 0
    assert parts.owners[0] == (0, 4, 8, 12, 16)
    assert len(PictorialStructures(HAND, **SMALL).parts) == 20


def test_what_cannot_be_cut_is_refused():
    bare = Skeleton("dots", ("left_dot", "right_dot"), (), (0.1, 0.1), ("left_dot", "right_dot"), None)
    with pytest.raises(CourseError, match="skeleton 'dots' has no limbs"):
        body.of(bare)
    names = ("a", "b", "c", "d")
    ring = Skeleton("ring", names, ((0, 1), (2, 3), (3, 2)), (0.1,) * 4, ("a", "b"), None)
    with pytest.raises(CourseError, match="go round in a cycle"):
        PictorialStructures(ring, **SMALL)


def test_frames_by_hand():
    """A part that points down: ahead of it is below, and to its right hand, clockwise, is the picture's left."""
    centre, angle, scale = torch.tensor([10.0, 10.0]), torch.tensor(math.pi / 2), torch.tensor(2.0)
    for point, own in (((10.0, 14.0), (2.0, 0.0)), ((8.0, 10.0), (0.0, 1.0))):
        seen = body.into_frame(torch.tensor(point), centre, angle, scale)
        torch.testing.assert_close(seen, torch.tensor(own), rtol=0, atol=1e-6)
        back = body.out_of_frame(torch.tensor(own), centre, angle, scale)
        torch.testing.assert_close(back, torch.tensor(point), rtol=0, atol=1e-5)


@given(
    numbers=st.lists(st.floats(-200, 200), min_size=4, max_size=4),
    angle=st.floats(-10, 10),
    scale=st.floats(0.05, 20),
)
def test_frames_undo_each_other(numbers, angle, scale):
    point, centre = torch.tensor(numbers, dtype=torch.float64).view(2, 2)
    frame = (centre, *torch.tensor([angle, scale], dtype=torch.float64))
    torch.testing.assert_close(body.out_of_frame(body.into_frame(point, *frame), *frame), point, rtol=0, atol=1e-9)
    torch.testing.assert_close(body.into_frame(body.out_of_frame(point, *frame), *frame), point, rtol=0, atol=1e-9)
    seen = body.into_frame(point, *frame)
    assert float(seen.norm()) == pytest.approx(float((point - centre).norm()) / scale, abs=1e-8)


def test_the_first_axis_runs_along_the_part():
    joints, visible = drawn.figures(5, generator()), torch.full((5, 14), 2)
    parts = body.of(LSP)
    states = body.states(joints, visible, parts)
    assert bool(states.known.all())
    for part, (first, second) in enumerate(parts.ends):
        for end, sign in ((first, -1), (second, 1)):
            own = (states.centre[:, part], states.angle[:, part], states.length[:, part])
            seen = body.into_frame(joints[:, list(end)].mean(1), *own)
            torch.testing.assert_close(seen, torch.tensor([[0.5 * sign, 0.0]]).expand(5, 2), rtol=0, atol=1e-5)


def test_states_of_a_person_who_is_turned():
    joints, visible = drawn.figures(3, generator()), torch.full((3, 14), 2)
    turned = torch.stack([64 - joints[..., 1], joints[..., 0]], dim=-1)
    one, two = (body.states(some, visible, body.of(LSP)) for some in (joints, turned))
    torch.testing.assert_close(two.length, one.length)
    torch.testing.assert_close(two.centre, torch.stack([64 - one.centre[..., 1], one.centre[..., 0]], dim=-1))
    assert float(body.wrapped(two.angle - one.angle - math.pi / 2).abs().max()) < 1e-5


def test_sides_are_those_that_the_observer_sees():
    """Of those who turn their backs left and right are exchanged, in all joints alike; nobody else is touched."""
    front, visible = drawn.figures(6, generator()), torch.randint(3, (6, 14), generator=generator(1))
    swaps = list(LSP.swaps)
    trunk = [k for k, name in enumerate(LSP.joints) if name.split("_")[-1] in ("shoulder", "hip")]
    visible[:, trunk] = 1
    joints, labels = front.clone(), visible.clone()
    joints[::2], labels[::2] = front[::2][:, swaps], visible[::2][:, swaps]
    for some, seen in ((joints, labels), (front, visible)):
        named, known = body.as_observed(some, seen, LSP)
        assert torch.equal(named, front) and torch.equal(known, visible)
    turned = torch.stack([-joints[..., 1], joints[..., 0]], dim=-1)  # lying, the trunk tells what is up
    named, _ = body.as_observed(turned, labels, LSP)
    assert torch.equal(named, torch.stack([-front[..., 1], front[..., 0]], dim=-1))
    twisted = front.clone()
    arms = [k for k, name in enumerate(LSP.joints) if name.split("_")[-1] in ("shoulder", "elbow", "wrist")]
    twisted[:, arms] = front[:, [swaps[k] for k in arms]]  # the chest turned away, the legs not
    assert torch.equal(body.as_observed(twisted, visible, LSP)[0], front)
    unknown = labels.clone()
    unknown[:, trunk[0]] = 0  # without a hip nobody can tell, and nothing is touched
    assert all(
        torch.equal(*pair) for pair in zip(body.as_observed(joints, unknown, LSP), (joints, unknown), strict=True)
    )
    fingers = torch.rand(2, 21, 2, generator=generator())
    assert body.as_observed(fingers, torch.ones(2, 21), HAND)[0] is fingers  # no trunk, no back


@pytest.mark.parametrize("trouble", ["unlabelled", "NaN", "NaN and unlabelled", "endless", "zero length"])
def test_what_is_not_known(trouble):
    """A missing elbow costs the upper arm and the forearm of one person, nothing else."""
    joints, visible = drawn.figures(2, generator()), torch.full((2, 14), 1)
    elbow = LSP.index("right_elbow")
    lost = {1, 3}
    if "unlabelled" in trouble:
        visible[0, elbow] = 0
    if "NaN" in trouble:
        joints[0, elbow, 1] = torch.nan
    elif trouble == "endless":
        joints[0, elbow, 0] = torch.inf
    elif trouble == "zero length":
        joints[0, elbow] = joints[0, LSP.index("right_wrist")]
        lost = {3}
    known = body.states(joints, visible, body.of(LSP)).known
    assert bool(known[1].all()) and {part for part in range(10) if not known[0, part]} == lost


def test_concentration_undoes_resultant():
    kappa = torch.logspace(math.log10(0.06), math.log10(190), 40, dtype=torch.float64)
    torch.testing.assert_close(body.concentration(body.resultant(kappa)), kappa, rtol=1e-6, atol=0)
    limits = body.concentration(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    assert limits == pytest.approx(body.KAPPA, rel=1e-6)
    angles = torch.arange(100000, dtype=torch.float64) * (2 * math.pi / 100000)
    density = torch.exp(3.0 * angles.cos())
    mean = float((density * angles.cos()).sum() / density.sum())
    assert float(body.resultant(torch.tensor(3.0, dtype=torch.float64))) == pytest.approx(mean, rel=1e-9)


def test_wrapped_angles():
    angles = torch.tensor([0.0, math.pi, -math.pi, 3.5, 7.0, -20.0], dtype=torch.float64)
    seen = body.wrapped(angles)
    assert float(seen.min()) >= -math.pi and float(seen.max()) < math.pi
    torch.testing.assert_close(torch.stack([seen.cos(), seen.sin()]), torch.stack([angles.cos(), angles.sin()]))
