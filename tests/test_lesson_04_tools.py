"""What lesson 04 measures: wrong sides, second hills, fields, and that its stored study belongs to the code."""

from __future__ import annotations

import pytest
import torch

from course_lib import skeletons
from course_lib.lessons import lesson_04_convolutional_pose_machines as tools
from course_lib.lessons import lesson_04_fields as study
from course_lib.models.receptive import Field
from course_lib.pose import Person, Pose, Scene

LSP = skeletons.get("lsp")


@pytest.fixture
def person():
    places = torch.stack([10.0 + 6 * torch.arange(14.0), 20.0 + 5 * torch.arange(14.0)], -1)
    return Person(places, torch.full((14,), 2), LSP)


def answer(person, **moves):
    """The truth, except that some joints stand where others are, or at a place of their own."""
    joints = person.joints.clone()
    for name, to in moves.items():
        joints[LSP.index(name)] = person.joints[LSP.index(to)] if isinstance(to, str) else torch.tensor(to)
    return Pose(joints, torch.ones(14), LSP)


def test_only_a_missed_joint_on_its_partner_is_on_the_other_side(person):
    moves = {"left_ankle": "right_ankle", "left_wrist": "right_ankle", "left_knee": (0.0, 0.0)}
    other = study.on_the_other_side([answer(person, **moves)], [person])
    assert [LSP.joints[k] for k in other[0].nonzero()[:, 0]] == ["left_ankle"]


def test_joints_without_a_label_are_on_no_side(person):
    found = answer(person, left_ankle="right_ankle", left_knee="right_knee")
    person.visible[LSP.index("left_ankle")] = 0
    person.visible[LSP.index("right_knee")] = 0  # nobody knows where the other knee is
    assert not study.on_the_other_side([found], [person]).any()


def test_mistakes_are_shares_of_a_kind(person):
    rows = tools.mistakes([answer(person, left_ankle="right_ankle", left_wrist=(0.0, 0.0))], [person])
    assert rows["ankles"] == pytest.approx((0.5, 0.5, 0.0)) and rows["wrists"] == pytest.approx((0.5, 0.0, 0.5))
    assert rows["head"] == (1.0, 0.0, 0.0) and set(rows) == set(tools.KINDS)
    assert sorted(k for which in tools.kinds(LSP.joints).values() for k in which) == list(range(14))


def test_the_right_side_counts_only_joints_that_have_two(person):
    poses = [answer(person, left_ankle="right_ankle", left_wrist=(0.0, 0.0), neck=(0.0, 0.0))]
    assert tools.right_side(poses, [person]) == pytest.approx(10 / 11)  # 12 with a partner, one wrist lost


def test_the_second_hill_is_a_local_maximum_far_from_the_first():
    one = torch.zeros(3, 12, 12)
    one[:, 2, 2], one[:, 2, 3] = 1.0, 0.9  # a shoulder of the same hill
    one[1, 9, 8] = 0.6
    one[2] = -1.0
    assert tools.second_hill(one).tolist() == pytest.approx([0.0, 0.6, 0.0])


def test_the_other_hill_is_found_where_the_map_is_high_at_the_truth(person):
    scene = Scene(torch.zeros(3, 96, 96), [person])
    ankles, wrists = ((LSP.index(f"{side}_{part}") for side in ("left", "right")) for part in ("ankle", "wrist"))
    poses, maps = [answer(person, left_ankle="right_ankle", left_wrist="right_wrist")], torch.zeros(1, 14, 24, 24)
    for (left, right), height in ((tuple(ankles), 0.9), (tuple(wrists), 0.5)):
        for joint, value in ((right, 1.0), (left, height)):
            x, y = (person.joints[joint] / 4).long().tolist()
            maps[0, left, y, x] = value
    assert tools.other_hill(maps, poses, [scene]) == (0, LSP.index("left_ankle"))


def test_influence_spread_evenly_is_near_by_the_share_of_its_pixels():
    field = Field((16, 16), (4, 4), (-6, -6))
    sight = tools.Sight(torch.zeros(3, 32, 32), torch.tensor([14.0, 14.0]), [field], (3, 3), [torch.zeros(32, 32)])
    sight.listens[0][6:22, 6:22] = 1.0
    assert sight.near(0) == (0.25, 0.25)
    sight.listens[0][10:18, 10:18] = 3.0
    assert sight.near(0) == (0.5, 0.25)


@pytest.mark.parametrize("pool", [2, 3])
def test_the_papers_fields_both_ways(pool):
    assert tuple(field.size[0] for field in tools.fields_of_the_paper(pool)) == tools.PUBLISHED_FIELDS[pool]
    assert tuple(field.size[0] for field in tools.field_with(6, 11, pool)) == tools.PUBLISHED_FIELDS[pool]


def test_gradients_are_listed_for_every_convolution():
    from course_lib.datasets import synthetic

    model = tools.started(tools.STARTS[0], "last")
    sizes = tools.gradient_sizes(model, synthetic.crops(2, size=(64, 64)))
    count = sum(isinstance(module, torch.nn.Conv2d) for module in model.modules())
    assert sum(map(len, sizes.values())) == count and min(min(values) for values in sizes.values()) > 0
    assert len(sizes) == 7 and sizes["stage 1"][0] < 1e-6 * sizes["stage 6"][0]


def test_the_arms_differ_in_what_they_say():
    assert [study.field(arm) for arm in study.FAMILIES["larger kernels"]] == [10, 26, 34, 50]
    spread = study.FAMILIES["nine weights, spread wider"]
    assert [study.field(arm) for arm in spread] == [26, 34, 50, 66]
    weights = {arm: sum(p.numel() for p in study.network(arm).parameters()) for arm in study.ARMS}
    assert len({weights[arm] for arm in spread}) == 1
    [wide] = study.FAMILIES["narrow field, as many weights as 9 x 9"]
    assert study.field(wide) == 26 and weights[wide] == pytest.approx(weights["9 x 9"], rel=0.01)


def test_the_stored_study_is_whole():
    result = study.load()
    assert {(run["arm"], run["seed"]) for run in result["runs"]} == {(a, s) for a in study.ARMS for s in study.SEEDS}
    assert result["arms"] == study.ARMS and result["steps"] == study.STEPS
