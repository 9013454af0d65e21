"""The synthetic world: bodies, motions, truth, seeds, pictures, export."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from naive_renderer import render_naively

from course_lib.datasets import synthetic
from course_lib.datasets.synthetic import body, motions, renderer, world
from course_lib.datasets.synthetic.draw import Draw, generator_for
from course_lib.errors import CourseError
from course_lib.skeletons import Skeleton, get

PLAIN = synthetic.Settings(others=0, occluders=0, clutter=0, truncation=0, blur=0, noise=0)
GOLDEN = Path(__file__).parent / "golden"


def _person(**angles: float) -> body.Posed:
    draw = Draw(generator_for("one"))
    values = torch.zeros(1, len(body.ANGLES), dtype=torch.float64)
    for name, value in angles.items():
        values[0, body.ANGLES.index(name)] = value
    return body.pose_body(body.draw_proportions(draw, 1), values, torch.eye(3, dtype=torch.float64)[None])


def _at(posed: body.Posed, joint: str) -> torch.Tensor:
    return posed.joints[0, body.JOINT[joint]]


# --- bodies -----------------------------------------------------------------------------------------------------------


def test_a_person_at_rest_stands_upright_with_left_on_the_left():
    rest = _person()
    assert _at(rest, "head_top")[1] > _at(rest, "neck")[1] > _at(rest, "pelvis")[1] > _at(rest, "left_ankle")[1]
    assert _at(rest, "left_wrist")[0] > 0 > _at(rest, "right_wrist")[0]
    assert _at(rest, "nose")[2] > _at(rest, "head")[2] and _at(rest, "left_toe")[2] > _at(rest, "left_ankle")[2]


@pytest.mark.parametrize(
    ("angle", "joint", "axis", "sign"),
    [
        ("left_arm_up", "left_wrist", 2, 1),
        ("left_arm_out", "left_wrist", 0, 1),
        ("right_arm_out", "right_wrist", 0, -1),
        ("left_knee", "left_ankle", 2, -1),
        ("left_elbow", "left_wrist", 2, 1),
        ("right_leg_up", "right_knee", 2, 1),
        ("bend", "head", 2, 1),
        ("lean", "head", 0, -1),
    ],
)
def test_every_joint_bends_the_way_joints_bend(angle, joint, axis, sign):
    moved = _at(_person(**{angle: 25.0}), joint) - _at(_person(), joint)
    assert moved[axis] * sign > 0.01


def test_bones_keep_their_length_in_every_posture():
    draw = Draw(generator_for("bones"))
    people = body.draw_proportions(draw, 40)
    postures = motions.draw_postures(draw, 40, (0.4, 0.3, 0.3), 180)
    joints = body.pose_body(people, postures.angles, postures.root).joints
    for first, second, bone in (
        ("left_shoulder", "left_elbow", "upper_arm"),
        ("right_knee", "right_ankle", "shin"),
        ("pelvis", "thorax", "trunk"),
    ):
        length = (joints[:, body.JOINT[first]] - joints[:, body.JOINT[second]]).norm(dim=-1)
        torch.testing.assert_close(length, people.bones[bone])


def test_angles_stay_within_their_limits():
    postures = motions.draw_postures(Draw(generator_for("limits")), 300, (0.2, 0.3, 0.5), 180)
    assert (postures.angles >= body.LIMITS[:, 0]).all() and (postures.angles <= body.LIMITS[:, 1]).all()
    beyond = torch.full((1, len(body.ANGLES)), 1e4, dtype=torch.float64)
    people = body.draw_proportions(Draw(generator_for(0)), 1)
    root = torch.eye(3, dtype=torch.float64)[None]
    limited = body.pose_body(people, body.LIMITS[None, :, 1], root).joints
    torch.testing.assert_close(body.pose_body(people, beyond, root).joints, limited)


def test_mirrored_angles_give_the_mirrored_body():
    draw = Draw(generator_for("mirror"))
    people = body.draw_proportions(draw, 20)
    postures = motions.draw_postures(draw, 20, (0, 0, 1), 180)
    root = torch.eye(3, dtype=torch.float64).expand(20, 3, 3)
    one = body.pose_body(people, postures.angles, root).joints
    other = body.pose_body(people, motions.mirror_angles(postures.angles), root).joints
    swaps = [body.JOINT[world.mirror_name(name)] for name in body.JOINTS]
    torch.testing.assert_close(other, one[:, swaps] * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_the_renderer_draws_what_the_obvious_one_draws():
    draw = Draw(generator_for("oracle"))
    cast = world.people_in_crops(draw, 4, (48, 64), world.Settings(truncation=0.5))
    joints, frames = cast.joints()
    owner = torch.arange(len(joints))
    people = world.dress(cast.body, joints, frames, cast.wear, cast.image, owner)
    shapes = world.Shapes.cat([people, cast.things]).to("cpu", torch.float32)
    cameras, lights = cast.cameras.float(), cast.lights.float()
    fast = renderer.render(shapes, cameras, lights, cast.size)
    colour, alpha, depth = render_naively(shapes, cameras, lights, cast.size)
    # surfaces that touch at the same depth may be won by either
    assert ((fast.colour - colour).abs().amax(1) > 0.02).float().mean() < 0.002
    torch.testing.assert_close(fast.alpha, alpha)
    covered = torch.isfinite(depth)
    found = fast.nearest < 2**62
    assert torch.equal(covered, found)
    image, row, column = covered.nonzero().unbind(-1)
    torch.testing.assert_close(fast.depth_at(image, column, row).float(), depth[covered], atol=2e-4, rtol=0)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_people():
    one, two = synthetic.crops(6, seed=3, size=(64, 64)), synthetic.crops(6, seed=3, size=(64, 64))
    assert torch.equal(one.images, two.images) and torch.equal(one.joints, two.joints)
    assert torch.equal(one.visible, two.visible)
    other = synthetic.crops(6, seed=4, size=(64, 64))
    assert not torch.allclose(one.joints, other.joints)


def test_a_stream_can_be_taken_up_anywhere():
    whole = synthetic.stream(4, seed=1, size=(32, 32))
    batches = [next(whole) for _ in range(4)]
    later = next(synthetic.stream(4, seed=1, size=(32, 32), start=3))
    assert torch.equal(batches[3].images, later.images) and torch.equal(batches[3].joints, later.joints)
    assert not torch.equal(batches[0].images, batches[1].images)


def test_pictures_are_8_bit_pictures():
    images = synthetic.crops(3, seed=0, size=(40, 56)).images
    assert images.shape == (3, 3, 40, 56) and images.min() >= 0 and images.max() <= 1
    torch.testing.assert_close(images * 255, (images * 255).round(), atol=1e-4, rtol=0)


def test_people_take_up_the_picture_they_are_asked_to():
    scenes = synthetic.single_scenes(30, seed=1, settings=PLAIN)
    extent = torch.stack([s.people[0].box[2:] - s.people[0].box[:2] for s in scenes]).amax(-1)
    assert (extent > 50).all() and (extent < 128).all()


def test_left_is_right_in_the_picture_from_the_front_and_left_from_behind():
    lsp = get("lsp")
    left, right = lsp.index("left_shoulder"), lsp.index("right_shoulder")
    easy = synthetic.Settings(others=0, occluders=0, natural=1, sport=0, free=0)
    sides = {"front": [], "back": []}
    for scene in synthetic.single_scenes(60, seed=5, settings=easy):
        if scene.meta["view"] in sides:
            joints = scene.people[0].joints
            sides[scene.meta["view"]].append(bool(joints[left, 0] > joints[right, 0]))
    assert len(sides["front"]) > 8 and len(sides["back"]) > 8
    assert np.mean(sides["front"]) > 0.95 and np.mean(sides["back"]) < 0.05


def test_faces_are_seen_from_the_front_only():
    coco = get("coco")
    easy = synthetic.Settings(others=0, occluders=0, clutter=0, natural=1, sport=0, free=0)
    seen = {"front": [], "back": []}
    for scene in synthetic.single_scenes(60, seed=6, skeleton="coco", settings=easy):
        if scene.meta["view"] in seen:
            seen[scene.meta["view"]].append(float(scene.people[0].visible[coco.index("nose")] == 2))
    # some look over their shoulder
    assert np.mean(seen["front"]) > 0.9 and np.mean(seen["back"]) < 0.3


def test_joints_outside_the_picture_are_unlabelled_and_none_other_are():
    batch = synthetic.crops(60, seed=2, size=(64, 64), settings=synthetic.Settings(truncation=1.0))
    inside = ((batch.joints >= 0) & (batch.joints < 64)).all(-1)
    assert torch.equal(batch.visible > 0, inside) and not inside.all()


def test_things_in_front_hide_joints_and_never_show_one():
    settings = synthetic.Settings(occluders=1.0, others=0, clutter=0)
    cast = world.people_in_crops(Draw(generator_for("things")), 60, (64, 64), settings)
    rendering = cast.picture(Draw(generator_for("paint")), settings, "cpu")[1]
    covered = cast.truth(get("lsp"), rendering)[1]
    cast.things = cast.things[torch.zeros(0, dtype=torch.long)]
    rendering = cast.picture(Draw(generator_for("paint")), settings, "cpu")[1]
    free = cast.truth(get("lsp"), rendering)[1]
    assert (covered <= free).all() and 15 < (covered < free).sum() < 200


# --- truth ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowd():
    return synthetic.scenes(24, seed=11, people=(1, 12))


def test_masks_boxes_and_areas_agree(crowd):
    for scene in crowd:
        total = torch.zeros(scene.size)
        for person in scene.people:
            rows, columns = person.mask.any(1).nonzero()[:, 0], person.mask.any(0).nonzero()[:, 0]
            expected = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
            assert person.box.tolist() == expected
            assert abs(person.area - float(person.mask.sum())) < 0.25 * person.area + 8
            total += person.mask
        assert total.max() <= 1  # no pixel belongs to two people


def test_visible_joints_lie_on_their_owner(crowd):
    hits = []
    for scene in crowd:
        for person in scene.people:
            for (x, y), visible in zip(person.joints.long().tolist(), person.visible.tolist(), strict=True):
                if visible == 2:
                    hits.append(bool(person.mask[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].any()))
    assert len(hits) > 500 and np.mean(hits) > 0.97


def test_the_nearer_person_is_in_front(crowd):
    # where two masks' boxes overlap, pixels around the nearer one's visible hips are hers
    compared = 0
    for scene in crowd:
        for person in scene.people:
            hips = person.visible[[11, 12]] == 2
            for x, y in person.joints[[11, 12]][hips].long().tolist():
                for other in scene.people:
                    if other is not person and other.joints3d[:, 2].min() > person.joints3d[:, 2].max():
                        compared += 1
                        assert not other.mask[y, x] or person.mask[y, x]
    assert compared > 50


def test_truth_in_space_projects_to_truth_in_the_picture():
    frames = synthetic.clip("walk", seed=1, frames=6)
    space = torch.stack([f.people[0].joints3d for f in frames]).double() / 1000
    flat = torch.stack([f.people[0].joints for f in frames]).double()
    # one camera for the whole clip: x = f X / Z + c is linear in f and c
    ratio = (space[..., 0] / space[..., 2]).reshape(-1)
    system = torch.stack([ratio, torch.ones_like(ratio)], -1)
    solution = torch.linalg.lstsq(system, flat[..., 0].reshape(-1, 1)).solution
    torch.testing.assert_close(system @ solution, flat[..., 0].reshape(-1, 1), atol=1e-3, rtol=0)


@pytest.mark.parametrize("motion", synthetic.MOTIONS)
def test_every_motion_is_a_closed_film_that_moves(motion):
    frames = synthetic.clip(motion, seed=0, frames=8, size=(48, 48))
    joints = torch.stack([f.people[0].joints for f in frames])
    steps = (joints.roll(-1, 0) - joints).norm(dim=-1).amax(-1)
    assert len(frames) == 8 and all(f.meta["motion"] == motion for f in frames)
    assert joints.std(0).max() > 0.1
    assert steps[-1] <= steps[:-1].max() * 1.8  # the last frame leads back to the first
    assert joints.min() > -1 and joints.max() < 49


def test_people_at_most_turned_so_far():
    facing = synthetic.single_scenes(30, seed=4, settings=synthetic.Settings(turn=30))
    assert {scene.meta["view"] for scene in facing} == {"front"}


@pytest.mark.parametrize("name", ["lsp", "mpii", "coco", "body18"])
def test_every_skeleton_can_be_asked_for(name):
    batch = synthetic.crops(2, seed=0, size=(32, 32), skeleton=name)
    assert batch.joints.shape == (2, len(get(name)), 2) and (batch.visible > 0).any()


# --- what can go wrong ------------------------------------------------------------------------------------------------


def test_empty_scenes_are_scenes():
    scenes = synthetic.scenes(2, seed=0, people=(0, 0))
    assert [len(scene.people) for scene in scenes] == [0, 0] and scenes[0].image.shape == (3, 192, 256)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: synthetic.crops(0), "at least one crop"),
        (lambda: synthetic.scenes(1, people=(3, 1)), "fewest <= most"),
        (lambda: synthetic.Settings(blur=1.5), "'blur' is a share"),
        (lambda: synthetic.Settings(natural=0, sport=0, free=0), "above 0"),
        (lambda: synthetic.clip("wlak"), "did you mean 'walk'"),
        (lambda: synthetic.clip("walk", frames=0), "at least one frame"),
        (lambda: synthetic.benchmark("single_val"), "did you mean 'single-val'"),
        (lambda: synthetic.crops(1, skeleton="loo"), "no skeleton called 'loo'"),
        (
            lambda: synthetic.crops(1, skeleton=Skeleton("cat", ("tail",), (), (0.1,), ("tail", "tail"), None)),
            "no joint 'tail'",
        ),
        (lambda: synthetic.to_coco([], "nowhere"), "no scenes to write"),
    ],
)
def test_impossible_wishes_get_one_sentence(call, says):
    with pytest.raises(CourseError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


# --- export -----------------------------------------------------------------------------------------------------------


def test_pycocotools_reads_the_export(tmp_path, crowd, capsys):
    from pycocotools.coco import COCO

    scenes = [*crowd[:5], *synthetic.scenes(1, seed=0, people=(0, 0))]
    coco = COCO(str(synthetic.to_coco(scenes, tmp_path)))
    assert len(coco.getImgIds()) == 6 and coco.loadCats(1)[0]["keypoints"][0] == "nose"
    for number, scene in enumerate(scenes, start=1):
        annotations = coco.loadAnns(coco.getAnnIds(number))
        assert len(annotations) == len(scene.people)
        assert (tmp_path / "images" / coco.loadImgs(number)[0]["file_name"]).exists()
        for annotation, person in zip(annotations, scene.people, strict=True):
            assert np.array_equal(coco.annToMask(annotation).astype(bool), person.mask.numpy())
            points = torch.tensor(annotation["keypoints"]).view(-1, 3)
            seen = person.visible > 0
            torch.testing.assert_close(points[seen, :2] + 0.5, person.joints[seen], atol=0.006, rtol=0)
            assert annotation["num_keypoints"] == int(seen.sum())


def test_an_export_has_one_skeleton(tmp_path):
    mixed = synthetic.single_scenes(1, seed=0) + synthetic.single_scenes(1, seed=0, skeleton="coco")
    with pytest.raises(CourseError, match="a COCO file has one"):
        synthetic.to_coco(mixed, tmp_path)


# --- the fixed benchmark sets -----------------------------------------------------------------------------------------

# sha256 of the joints in hundredths of a pixel. People are computed in double precision, so this holds on every
# machine; pixels and depth tests are single precision and are compared with a small tolerance.
DIGESTS = {
    "single-val": "c09d73090cc321fe1dc56b7e4e4dd2d8ec89aa83bd6a9bf3c7fd768e6493aec4",
    "crowd-val": "7e820af89153eeb425e2a70c072c0e9006612ae675796e40ccdc561ab6c26f1a",
}


def fingerprint(name: str) -> tuple[str, np.ndarray, np.ndarray]:
    """Digest of the joints, 8x8 thumbnails of all images, and visible flags of a benchmark."""
    scenes = synthetic.benchmark(name)
    people = [person for scene in scenes for person in scene.people]
    joints = torch.stack([person.joints for person in people]).double().mul(100).round().long()
    thumbs = torch.stack([torch.nn.functional.adaptive_avg_pool2d(scene.image.mean(0)[None], 8) for scene in scenes])
    visible = torch.stack([person.visible for person in people]).numpy().astype(np.uint8)
    return hashlib.sha256(joints.numpy().tobytes()).hexdigest(), (thumbs * 255).byte().numpy(), visible


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_benchmarks_never_change(name):
    digest, thumbs, visible = fingerprint(name)
    golden = np.load(GOLDEN / f"{name}.npz")
    assert digest == DIGESTS[name]
    assert np.abs(thumbs.astype(int) - golden["thumbs"]).max() <= 2
    assert (visible == golden["visible"]).mean() > 0.999


def test_the_first_of_a_benchmark_are_the_same_as_in_the_whole():
    some = synthetic.benchmark("crowd-val", count=3)
    more = synthetic.benchmark("crowd-val", count=55)
    assert len(some) == 3 and len(more) == 55
    assert torch.equal(some[2].image, more[2].image)
