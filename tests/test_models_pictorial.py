"""Pictorial structures: what is learned from people, and the model as a whole."""

from __future__ import annotations

import math
import re

import drawn_people as drawn
import pytest
import torch
from drawn_people import SIZE, SMALL, generator
from torch import Tensor
from torch.nn import functional as F

from course_lib.errors import CourseError
from course_lib.metrics.pcp import pcp
from course_lib.models.pictorial import fitting, tree
from course_lib.models.pictorial import parts as body
from course_lib.models.pictorial.structures import PictorialStructures, most_probable
from course_lib.pose import Batch
from course_lib.skeletons import LSP, Skeleton


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
