"""Pictorial structures: features that turn, parts and their frames, what is learned, and the model as a whole."""

from __future__ import annotations

import math
import re

import drawn_people as drawn
import pytest
import torch
from drawn_people import SIZE, generator
from hypothesis import given
from hypothesis import strategies as st
from skimage.feature import hog
from torch import Tensor
from torch.nn import functional as F

from course_lib import skeletons
from course_lib.errors import CourseError
from course_lib.metrics.pcp import pcp
from course_lib.models.pictorial import fitting, gradients, tree
from course_lib.models.pictorial import parts as body
from course_lib.models.pictorial.springs import order
from course_lib.models.pictorial.structures import CELLS, PictorialStructures, most_probable
from course_lib.pose import Batch
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
SMALL = {"input_size": SIZE, "stride": 4, "rotations": 8, "scales": (1.0,)}


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=generator(seed))


def uniform(low: float, high: float, *shape: int, seed: int) -> Tensor:
    return low + (high - low) * torch.rand(*shape, dtype=torch.float64, generator=generator(seed))


@pytest.fixture(scope="module")
def people() -> Batch:
    return drawn.people(160)


@pytest.fixture(scope="module")
def others() -> Batch:
    """People whom the model has not seen."""
    return drawn.people(40, seed=1)


@pytest.fixture(scope="module")
def fitted(people) -> PictorialStructures:
    return fitting.fit(PictorialStructures("lsp", **SMALL), people)


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


# --- fitting ----------------------------------------------------------------------------------------------------------

SPRING = {
    "at_parent": (7.0, -4.0),
    "at_child": (-5.0, 1.0),
    "spread": (2.0, 3.0),
    "angle": 2.0,
    "kappa": 6.0,
    "stretch": 0.2,
    "stretch_spread": 0.15,
}


def held_by(count: int, seed: int = 0, **changed) -> tuple[Tensor, ...]:
    """Parents and children that a known spring holds: what `learn_spring` is given."""
    spring = {name: torch.tensor(value, dtype=torch.float64) for name, value in {**SPRING, **changed}.items()}
    noise = torch.randn(3, count, dtype=torch.float64, generator=generator(seed))
    centre = uniform(-50, 50, count, 2, seed=seed + 1)
    angle, scale = uniform(-9, 9, count, seed=seed + 2), uniform(0.6, 1.5, count, seed=seed + 3)
    grid = torch.linspace(-math.pi, math.pi, 2001, dtype=torch.float64)[:-1]
    weights = torch.exp(spring["kappa"] * (grid.cos() - 1))
    turn = grid[torch.multinomial(weights, count, replacement=True, generator=generator(seed + 4))]
    child_angle = angle + spring["angle"] + turn
    child_scale = scale * torch.exp(spring["stretch"] + spring["stretch_spread"] * noise[2])
    joint = (
        body.out_of_frame(spring["at_parent"].expand(count, 2), centre, angle, scale) + spring["spread"] * noise[:2].T
    )
    nothing = torch.zeros(count, 2, dtype=torch.float64)
    child_centre = joint - body.out_of_frame(spring["at_child"].expand(count, 2), nothing, child_angle, child_scale)
    return centre, angle, scale, child_centre, child_angle, child_scale, joint


def test_a_spring_is_recovered():
    """4000 people: a mean is off by a few sigma / sqrt(4000), a spread by a few percent."""
    learned = fitting.learn_spring(*held_by(4000))
    assert learned.keys() == SPRING.keys()
    assert learned["at_parent"].tolist() == pytest.approx(SPRING["at_parent"], abs=0.25)
    assert learned["at_child"].tolist() == pytest.approx(SPRING["at_child"], abs=1e-9)
    assert learned["spread"].tolist() == pytest.approx(SPRING["spread"], rel=0.06)
    assert float(learned["angle"]) == pytest.approx(SPRING["angle"], abs=0.03)
    assert float(learned["kappa"]) == pytest.approx(SPRING["kappa"], rel=0.1)
    assert float(learned["stretch"]) == pytest.approx(SPRING["stretch"], abs=0.01)
    assert float(learned["stretch_spread"]) == pytest.approx(SPRING["stretch_spread"], rel=0.06)


def test_angles_are_averaged_on_the_circle():
    """Half of the people a little this side of pi, half beyond: their mean is pi, not 0."""
    learned = fitting.learn_spring(*held_by(2000, angle=math.pi, kappa=50.0))
    assert abs(float(learned["angle"])) == pytest.approx(math.pi, abs=0.02)
    assert float(learned["kappa"]) == pytest.approx(50, rel=0.15)


def test_a_spring_is_never_narrower_than_the_grid():
    learned = fitting.learn_spring(*held_by(200, spread=(0.0, 0.0), kappa=1e5), floor=2.0)
    assert learned["spread"].tolist() == [2.0, 2.0] and float(learned["kappa"]) == pytest.approx(
        body.KAPPA[1], rel=1e-3
    )


def changed(people: Batch, **which) -> Batch:
    own = {name: getattr(people, name) for name in ("images", "joints", "visible", "skeleton")}
    return Batch(**{**own, **which})


def test_people_who_cannot_teach_are_refused(people):
    model = PictorialStructures("lsp", **SMALL)
    with pytest.raises(CourseError, match=re.escape("crops of (64, 48), but the people come in (32, 48)")):
        fitting.fit(model, changed(people, images=people.images[..., :32, :]))
    for count in (1, 3):
        with pytest.raises(CourseError, match=f"at least 4 people; got {count}"):
            fitting.fit(model, people[:count])
    head, elbow, wrist = (LSP.index(name) for name in ("head_top", "right_elbow", "left_wrist"))
    visible = people.visible.clone()
    visible[:, head] = 0
    with pytest.raises(CourseError, match="part 'head' is labelled inside the picture on 0 of the 120 people"):
        fitting.fit(model, changed(people, visible=visible))
    visible = people.visible.clone()
    visible[40:, wrist] = 0  # labelled only on those who judge
    with pytest.raises(CourseError, match="part 'left forearm' is labelled inside the picture on 0"):
        fitting.fit(model, changed(people, visible=visible))
    joints = people.joints.clone()
    joints[1:, elbow] += 1000
    with pytest.raises(CourseError, match="part 'right upper arm' is labelled inside the picture on 0"):
        fitting.fit(model, changed(people, joints=joints))
    visible = people.visible.clone()
    visible[::2, wrist] = 0
    visible[1::2, LSP.index("left_shoulder")] = 0
    with pytest.raises(CourseError, match="too few people show both left upper arm and left forearm"):
        fitting.fit(model, changed(people, visible=visible))


def same(one: PictorialStructures, two: PictorialStructures) -> bool:
    return all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())


def test_bytes_floats_and_seeds(people):
    coarse = (people[:40].images * 255).round().byte()
    some = changed(people[:40], images=coarse)
    model = fitting.fit(PictorialStructures("lsp", **SMALL), some)
    assert not model.training and all(bool(value.isfinite().all()) for value in model.state_dict().values())
    floats = changed(some, images=coarse.float() / 255)
    assert same(model, fitting.fit(PictorialStructures("lsp", **SMALL), floats))
    other = fitting.fit(PictorialStructures("lsp", **SMALL), some, seed=1)
    assert not torch.equal(model.templates, other.templates) and torch.equal(model.lengths, other.lengths)


def test_backs_teach_what_fronts_teach(people, others, fitted):
    """Nor does it matter to the loss which way a person is labelled."""
    some, swaps = people[:40], list(LSP.swaps)
    joints = some.joints.clone()
    joints[1::2] = joints[1::2][:, swaps]
    one, two = (
        fitting.fit(PictorialStructures("lsp", **SMALL), batch) for batch in (some, changed(some, joints=joints))
    )
    assert same(one, two)
    with torch.no_grad():
        outputs = fitted(others.images[:4])
        told = [
            float(fitted.loss(outputs, changed(others[:4], joints=own))["total"])
            for own in (others.joints[:4], others.joints[:4][:, swaps])
        ]
    assert told[0] == pytest.approx(told[1], rel=1e-6)


def test_sizes_are_those_of_the_people(fitted, people):
    states = body.states(people.joints, people.visible, fitted.parts)
    torch.testing.assert_close(fitted.lengths, states.length.median(0).values)
    torch.testing.assert_close(fitted.root_centre * torch.tensor([48.0, 64.0]), states.centre[:, 0].mean(0))
    assert float(fitted.root_turn.exp().sum()) == pytest.approx(1, abs=1e-5)
    assert int(fitted.root_turn[0].argmax()) == 6  # upwards: three quarters of eight
    joint, part = LSP.index("left_wrist"), 4
    torch.testing.assert_close(
        fitted.claims[joint, part], torch.tensor([float(fitted.lengths[part]) / 2, 0]), rtol=0, atol=1e-3
    )


def test_springs_hold_ends_together(fitted):
    """A forearm's first end is at the second end of its upper arm: half a length from each middle."""
    for child, parent in ((3, 1), (4, 2), (7, 5), (8, 6)):
        half = fitted.lengths / 2
        assert fitted.at_child[child].tolist() == pytest.approx([-float(half[child]), 0], abs=0.7)  # angles are rounded
        assert fitted.at_parent[child].tolist() == pytest.approx([float(half[parent]), 0], abs=0.7)
    shoulder = fitted.at_parent[1:3]  # the torso's own axis points up; the right one is to its left, as we see it
    assert shoulder[:, 0].tolist() == pytest.approx([7, 7], abs=0.7)
    assert shoulder[:, 1].tolist() == pytest.approx([-5, 5], abs=0.7)
    assert float(fitted.log_spread.detach().exp()[1:].min()) >= 2 - 1e-4  # half a cell


def test_templates_do_not_depend_on_size(fitted, people):
    """People half as large again, in states of that scale, teach the same templates."""
    large = PictorialStructures("lsp", (96, 72), stride=4, rotations=8, scales=(1.5,))
    large.load_state_dict(fitted.state_dict())
    usual = PictorialStructures("lsp", **SMALL)
    usual.load_state_dict(fitted.state_dict())
    images = F.interpolate(people.images[:60], large.input_size, mode="bilinear", antialias=True)
    some = changed(people[:60], images=images, joints=people.joints[:60] * 1.5)
    with torch.no_grad():
        for model, batch in ((usual, people[:60]), (large, some)):
            states = body.states(batch.joints, batch.visible, model.parts)
            fitting.fit_templates(model, batch, states, generator())
        for one, two in zip(usual.templates, large.templates, strict=True):
            assert float(torch.corrcoef(torch.stack([one.flatten(), two.flatten()]))[0, 1]) > 0.6


def right(joints: Tensor, people: Batch) -> float:
    return pcp(joints, people.joints, people.visible, people.skeleton).mean_of_columns


def read_out(model: PictorialStructures, images: Tensor, method: str = "marginal") -> Tensor:
    with torch.no_grad():
        return torch.stack([one.joints for (one,) in model.decode(model(images), method)])


@pytest.mark.parametrize("method", ["marginal", "map"])
def test_sticks_of_new_people_are_found(fitted, people, others, method):
    """Among bars that are nobody's. By itself a part is often elsewhere; where it usually is, it seldom is."""
    found = right(read_out(fitted, others.images, method), others)
    with torch.no_grad():
        unaries = fitted(others.images).unaries
    alone = right(fitted.joints_of(most_probable(unaries), fitted.grid(*SIZE)), others)
    usual = right(people.joints.mean(0).expand_as(others.joints), others)
    assert found > 0.7 and found > alone + 0.3 and found > usual + 0.2, (found, alone, usual)


# --- structures -------------------------------------------------------------------------------------------------------


def test_settings_that_make_no_sense():
    for rotations in (2, 7):
        with pytest.raises(CourseError, match="rotations must be even and at least 4"):
            PictorialStructures("lsp", SIZE, rotations=rotations)
    with pytest.raises(CourseError, match="stride must be a multiple of 2 pixels; got 3"):
        PictorialStructures("lsp", SIZE, stride=3)


def test_pictures_of_a_wrong_size(fitted):
    with pytest.raises(CourseError, match="multiples of 4 pixels; got 62 x 48"):
        fitted(torch.zeros(1, 3, 62, 48))
    with pytest.raises(CourseError, match="a picture of 12 x 8 pixels is smaller than a part: the torso alone has 1"):
        fitted(torch.zeros(1, 3, 12, 8))


@pytest.mark.parametrize("size", [(64, 48), (40, 72), (100, 44)])
def test_any_size_that_is_a_multiple_of_the_stride(fitted, size):
    images = rand(1, 3, *size)
    outputs = fitted(images)
    assert outputs.unaries.shape == (1, 10, 1, 8, size[0] // 4, size[1] // 4)
    ((pose,),) = fitted.decode(outputs)
    assert pose.joints.shape == (14, 2) and bool(pose.joints.isfinite().all())
    reach = torch.tensor([size[1], size[0]]) + 20
    assert bool((pose.joints > -20).all()) and bool((pose.joints < reach).all())


def test_answers_move_with_the_picture(fitted, people):
    """By whole cells, far from the border. The prior on the trunk's place does not move, and is no part of them."""
    canvas = torch.full((2, 3, 144, 128), 0.5)
    canvas[0, :, 32:96, 32:80] = canvas[1, :, 44:108, 40:88] = people.images[70]
    with torch.no_grad():
        answers = fitted.responses(canvas, fitted.grid(144, 128))[:, :, 0]
    one, two = answers[0, ..., 8:24, 8:20], answers[1, ..., 11:27, 10:22]
    torch.testing.assert_close(one, two, rtol=0, atol=1e-2)
    assert float(one.std()) > 1


def test_a_larger_person_is_seen_in_states_of_a_larger_scale(fitted, others):
    """As strongly as before, and where it has got to; a smaller one, of whom details are lost, nearly so."""
    model = PictorialStructures("lsp", **{**SMALL, "scales": (0.5, 1.0, 1.5)})
    model.load_state_dict({**fitted.state_dict(), "root_turn": model.root_turn})
    images = others.images[:8]
    with torch.no_grad():
        usual = model.responses(images, model.grid(*SIZE))
        for index, factor, alike in ((0, 0.5, 0.6), (2, 1.5, 0.9)):
            size = (round(64 * factor), round(48 * factor))
            resized = F.interpolate(images, size, mode="bilinear", antialias=True)
            answers = model.responses(resized, model.grid(*size))
            wanted = F.interpolate(usual[:, :, 1].flatten(1, 2), answers.shape[-2:], mode="bilinear", antialias=True)
            agree = [
                float(torch.corrcoef(torch.stack([answers[:, :, scale].flatten(), wanted.flatten()]))[0, 1])
                for scale in range(3)
            ]
            assert max(agree) == agree[index] > alike and sorted(agree)[1] < agree[index] - 0.1, agree


@pytest.mark.parametrize("method", ["marginal", "map"])
@pytest.mark.parametrize("grey", [0.0, 0.3, 1.0])
def test_a_flat_picture_gives_a_pose_without_trust(people, fitted, grey, method):
    model = PictorialStructures("lsp", **{**SMALL, "scales": (0.65, 1.0, 1.5)})
    model.load_state_dict({**fitted.state_dict(), "root_turn": model.root_turn})
    images = people.images[:2].clone()
    images[0] = grey
    with torch.no_grad():
        ((flat,), (seen,)) = model.decode(model(images), method)
    assert bool(flat.joints.isfinite().all()) and not flat.scores.any() and flat.score == 0
    assert 0 < float(seen.scores.min()) <= float(seen.scores.max()) <= 1


def test_a_skeleton_of_one_limb():
    """Nothing hangs on anything; a flat picture is no better seen than with ten parts."""
    stick = Skeleton("stick", ("tail", "tip"), ((0, 1),), (0.1, 0.1), ("tail", "tip"), None)
    joints = torch.tensor([[[14.0, 32.0], [34.0, 32.0]]]) + 4 * torch.randn(60, 1, 2, generator=generator())
    images = torch.full((60, 3, *SIZE), 0.5)
    for image, own in zip(images, joints, strict=True):
        drawn.draw(image, own[0], own[0] + 14.0 * torch.tensor([1.0, 0.0]), (0.1, 1.5, 100.0))
        drawn.draw(image, own[0] + torch.tensor([14.0, 0.0]), own[1], (0.9, 4.0, 100.0))
    batch = Batch(images, joints, torch.full((60, 2), 2), stick)
    model = fitting.fit(PictorialStructures(stick, **SMALL), batch[:40])
    error = (read_out(model, images[40:]) - joints[40:]).norm(dim=-1)
    assert float((error < 5).float().mean()) > 0.85
    ((flat,),) = model.decode(model(torch.full((1, 3, *SIZE), 0.5)))
    assert not flat.scores.any()


def test_read_outs(fitted, others):
    """Marginals are the tree's marginals, and the map is the tree's best arrangement."""
    with torch.no_grad():
        outputs, grid = fitted(others.images[:4]), fitted.grid(*SIZE)
    parents = fitted.parts.parents
    best = tree.max_sum(outputs.unaries, parents, outputs.springs, grid).states
    torch.testing.assert_close(read_out(fitted, others.images[:4], "map"), fitted.joints_of(best, grid))
    marginals = tree.marginals(outputs.unaries, parents, outputs.springs, grid)
    likely = most_probable(marginals)
    torch.testing.assert_close(read_out(fitted, others.images[:4]), fitted.joints_of(likely, grid))
    for picture in range(4):
        for part in range(10):
            assert marginals[(picture, part, *likely[picture, part])] == marginals[picture, part].max()
    where = marginals[0, 3].sum((0, 1))  # the score of a wrist: its forearm's probability about its cell
    row, column = likely[0, 3, 2:].tolist()
    near = where[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].sum()
    ((pose,), *_) = fitted.decode(outputs)
    assert float(pose.scores[LSP.index("right_wrist")]) == pytest.approx(min(float(near), 1), abs=1e-5)
    with pytest.raises(CourseError, match="by 'marginal' or 'map'; got 'mode'"):
        fitted.decode(outputs, "mode")


def test_joints_of_undoes_nearest(fitted):
    """But for rounding: half a cell's diagonal, half a step of rotation at the end of half a part, and its length."""
    joints, visible = drawn.figures(30, generator(3)), torch.full((30, 14), 2)
    states = body.states(joints, visible, fitted.parts)
    model = PictorialStructures("lsp", SIZE, rotations=64, scales=tuple(0.5 * 1.02**n for n in range(70)))
    model.lengths.copy_(fitted.lengths)
    fitting.fit_claims(model, Batch(torch.zeros(30, 3, *SIZE), joints, visible, LSP), states)
    grid = model.grid(*SIZE)
    at, inside = model.nearest(states, grid)
    usable = inside.all(1)
    again = model.joints_of(at, grid)
    assert int(usable.sum()) > 15
    for joint in (
        joint for joint in range(14) if "hip" not in LSP.joints[joint] and "shoulder" not in LSP.joints[joint]
    ):
        half = states.length[usable][:, list(model.parts.owners[joint])].amax(1) / 2
        allowed = 4 / math.sqrt(2) + half * (math.pi / 64 + 0.02)
        error = (again[usable, joint] - joints[usable, joint]).norm(dim=-1)
        assert bool((error <= allowed).all()), LSP.joints[joint]
    turns = at[..., 1] * (2 * math.pi / 64)
    assert float(body.wrapped(turns - states.angle)[usable].abs().max()) <= math.pi / 64 + 1e-5
    outside, inside = model.nearest(states._replace(centre=states.centre - 100), grid)
    assert not inside.any() and int(outside.min()) >= 0  # clamped, and told


def test_loss_is_minus_log_p(fitted, others):
    outputs, grid = fitted(others.images[:6]), fitted.grid(*SIZE)
    at, inside = fitted.nearest(body.states(others.joints[:6], others.visible[:6], fitted.parts), grid)
    keep = [person for person in range(6) if bool(inside[person].all())]
    assert len(keep) > 2
    parents = fitted.parts.parents
    told = tree.log_partition(outputs.unaries, parents, outputs.springs, grid)
    told = told - tree.score(at[:, None], outputs.unaries, parents, outputs.springs, grid)[:, 0]
    terms = fitted.loss(outputs, others[:6])
    assert terms.keys() == {"likelihood", "total"}
    assert terms["total"].item() == pytest.approx(told[keep].mean().item() / 10, rel=1e-4)
    raised = outputs.unaries.detach().clone()
    for n in keep:
        raised[(n, torch.arange(10), *at[n].unbind(-1))] += 1.0
    assert 0 < fitted.loss(outputs._replace(unaries=raised), others[:6])["total"].item() < terms["total"].item() - 0.01


def test_people_who_are_not_labelled_do_not_count(fitted, others):
    visible = others.visible[:4].clone()
    visible[2, LSP.index("left_knee")] = 0
    visible[3] = 0
    joints = others.joints[:4].clone()
    joints[3] = torch.nan
    some = changed(others[:4], visible=visible, joints=joints)
    outputs = fitted(others.images[:4])
    alone = fitted.loss(fitted(others.images[:2]), others[:2])["total"].item()
    assert fitted.loss(outputs, some)["total"].item() == pytest.approx(alone, rel=1e-4) and alone > 0
    fitted.zero_grad()
    nobody = fitted.loss(fitted(others.images[:2]), changed(others[:2], visible=torch.zeros(2, 14, dtype=torch.long)))
    nobody["total"].backward()
    assert nobody["total"].item() == 0
    for name, parameter in fitted.named_parameters():
        assert parameter.grad is None or not parameter.grad.any(), name
    fitted.zero_grad(set_to_none=True)


def test_gradient_descent_lowers_the_loss(fitted, others):
    """Everything can be trained on: templates, sharpness and springs."""
    model = PictorialStructures("lsp", **SMALL)
    model.load_state_dict(fitted.state_dict())
    rows = fitted.nearest(body.states(others.joints, others.visible, fitted.parts), fitted.grid(*SIZE))[1].all(1)
    four = others[rows][:4]
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    history = []
    for _ in range(6):
        optimiser.zero_grad()
        total = model.loss(model(four.images), four)["total"]
        total.backward()
        if not history:
            moved = {name for name, own in model.named_parameters() if own.grad is not None and bool(own.grad.any())}
            assert moved == {"templates", "log_sharpness", "log_spread", "log_kappa"}  # one scale: none to compare
        optimiser.step()
        history.append(total.item())
    assert history[-1] < history[0] - 0.1, history


def test_a_batch_is_its_pictures(fitted, others):
    images = others.images[:3]
    together = fitted(images)
    for n, pose in enumerate(fitted.decode(together)):
        alone = fitted(images[n : n + 1])
        torch.testing.assert_close(together.unaries[n], alone.unaries[0], rtol=0, atol=1e-4)
        ((own,),) = fitted.decode(alone)
        torch.testing.assert_close(pose[0].joints, own.joints)
        torch.testing.assert_close(pose[0].scores, own.scores, rtol=0, atol=1e-4)
