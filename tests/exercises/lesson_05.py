"""Answers to the exercises of lesson 05."""

import torch

from exercises import right, wrong

# --- 05.bounded -------------------------------------------------------------------------------------------------------


@right("05.bounded")
def clamps_the_length_from_below(u, bound):
    return u * bound / u.norm(dim=-1, keepdim=True).clamp(min=bound)


@right("05.bounded")
def by_cases(u, bound):
    length = torch.hypot(u[..., 0], u[..., 1])[..., None]
    direction = u / torch.where(length > 0, length, 1.0)
    return torch.where(length > bound, bound * direction, u)


@right("05.bounded")
def by_the_library(u, bound):
    from course_lib.models import ief

    return ief.bounded(u, bound)


@wrong("05.bounded")
def clips_each_coordinate(u, bound):
    return u.clamp(-bound, bound)


@wrong("05.bounded")
def divides_by_zero(u, bound):
    length = u.norm(dim=-1, keepdim=True)
    return u / length * length.clamp(max=bound)


@wrong("05.bounded")
def always_a_full_step(u, bound):
    return bound * u / u.norm(dim=-1, keepdim=True).clamp(min=1e-6)


@wrong("05.bounded")
def bounds_the_whole_pose(u, bound):
    return u * (bound / u.flatten().norm().clamp(min=bound))


@wrong("05.bounded")
def shortens_all_joints_like_the_longest(u, bound):
    return u * (bound / u.norm(dim=-1).max().clamp(min=bound))


@wrong("05.bounded")
def measures_the_larger_coordinate(u, bound):
    return u * (bound / u.abs().amax(-1, keepdim=True).clamp(min=bound))


@wrong("05.bounded")
def adds_the_coordinates_up(u, bound):
    return u * (bound / u.abs().sum(-1, keepdim=True).clamp(min=bound))


@wrong("05.bounded")
def squashes_smoothly(u, bound):
    length = u.norm(dim=-1, keepdim=True)
    return bound * torch.tanh(length / bound) * u / length.clamp(min=1e-9)


@wrong("05.bounded")
def drops_what_is_too_long(u, bound):
    return torch.where(u.norm(dim=-1, keepdim=True) > bound, 0.0, u)


# --- 05.path ----------------------------------------------------------------------------------------------------------


def targets(joints, pose, visible, bound):
    left = torch.where((visible > 0)[..., None], joints - pose, torch.zeros(()))
    return clamps_the_length_from_below(left, bound)


@right("05.path")
def step_by_step(start, joints, visible, bound, steps):
    pose, poses, asked = start.expand_as(joints), [], []
    for _ in range(steps):
        poses.append(pose)
        asked.append(targets(joints, pose, visible, bound))
        pose = pose + asked[-1]
    return torch.stack(poses), torch.stack(asked)


@right("05.path")
def along_the_straight_line(start, joints, visible, bound, steps):
    way = torch.where((visible > 0)[..., None], joints - start, 0.0)
    length = way.norm(dim=-1, keepdim=True)
    gone = torch.minimum(bound * torch.arange(steps + 1)[:, None, None, None], length)
    poses = start + way / length.clamp(min=1e-9) * gone
    return poses[:-1], poses[1:] - poses[:-1]


@right("05.path")
def as_the_model_does(start, joints, visible, bound, steps):
    from course_lib.models import ief

    poses = [start.expand_as(joints)]
    for _ in range(steps):
        poses.append(poses[-1] + ief.bounded(torch.where(visible[..., None] > 0, joints - poses[-1], 0.0), bound))
    poses = torch.stack(poses)
    return poses[:-1], poses.diff(dim=0)


@wrong("05.path")
def targets_without_a_bound(start, joints, visible, bound, steps):
    poses, _ = step_by_step(start, joints, visible, bound, steps)
    return poses, torch.where((visible > 0)[..., None], joints - poses, 0.0)


@wrong("05.path")
def equal_parts_of_the_way(start, joints, visible, bound, steps):
    way = torch.where((visible > 0)[..., None], joints - start, 0.0)
    poses = start + way * (torch.arange(steps + 1) / steps)[:, None, None, None]
    return poses[:-1], poses[1:] - poses[:-1]


@wrong("05.path")
def target_always_from_the_start(start, joints, visible, bound, steps):
    asked = targets(joints, start, visible, bound).expand(steps, *joints.shape)
    return start + torch.arange(steps)[:, None, None, None] * asked, asked


@wrong("05.path")
def begins_after_the_first_step(start, joints, visible, bound, steps):
    poses, asked = step_by_step(start, joints, visible, bound, steps + 1)
    return poses[1:], asked[1:]


@wrong("05.path")
def one_pose_too_many(start, joints, visible, bound, steps):
    poses, asked = step_by_step(start, joints, visible, bound, steps + 1)
    return poses, asked[:-1]


@wrong("05.path")
def the_pose_after_beside_the_target(start, joints, visible, bound, steps):
    poses, asked = step_by_step(start, joints, visible, bound, steps + 1)
    return poses[1:], asked[:-1]


@wrong("05.path")
def unlabelled_joints_walk_too(start, joints, visible, bound, steps):
    return step_by_step(start, joints, torch.ones_like(visible), bound, steps)


@wrong("05.path")
def hidden_joints_stay(start, joints, visible, bound, steps):
    return step_by_step(start, joints, (visible == 2).int(), bound, steps)


@wrong("05.path")
def masks_afterwards(start, joints, visible, bound, steps):
    poses, asked = step_by_step(start, joints, torch.ones_like(visible), bound, steps)
    seen = (visible > 0)[..., None].float()
    return start + (poses - start) * seen, asked * seen


@wrong("05.path")
def goes_to_the_truth_at_once(start, joints, visible, bound, steps):
    return step_by_step(start, joints, visible, 1e9, steps)


@wrong("05.path")
def clips_the_coordinates(start, joints, visible, bound, steps):
    pose, poses, asked = start.expand_as(joints), [], []
    for _ in range(steps):
        poses.append(pose)
        asked.append(torch.where((visible > 0)[..., None], joints - pose, 0.0).clamp(-bound, bound))
        pose = pose + asked[-1]
    return torch.stack(poses), torch.stack(asked)


# --- 05.walk ----------------------------------------------------------------------------------------------------------


def looks(network, draw, images, start, mark, bound, steps, **habits):
    """A walk with, or without, bad habits."""
    pose = start.expand(len(images), *start.shape)
    walk, shifted = [pose], mark
    for _ in range(steps):
        drawn = pose if habits.get("gradient_through_poses") else pose.detach()
        drawn = walk[0] if habits.get("draws_the_start") else drawn
        points = torch.cat([drawn, shifted.expand(len(images), 1, 2)], 1)
        maps = draw(points)
        channels = [maps, images] if habits.get("maps_first") else [images, maps]
        step = bound * network(torch.cat(channels, 1))
        step = step.detach() if habits.get("detaches_the_step") else step
        step = step / bound if habits.get("forgets_the_unit") else step
        step = clamps_the_length_from_below(step, bound) if habits.get("cuts_off") else step
        before = walk[0] if habits.get("adds_to_the_start") else pose
        before = before if habits.get("gradient_through_poses") else before.detach()
        pose = step if habits.get("forgets_to_add") else before + step
        shifted = shifted + step.detach().mean() if habits.get("moves_the_mark") else shifted
        walk.append(pose)
    return torch.stack(walk)


@right("05.walk")
def by_expanding(network, draw, images, start, mark, bound, steps):
    return looks(network, draw, images, start, mark, bound, steps)


@right("05.walk")
def into_one_tensor(network, draw, images, start, mark, bound, steps):
    people = len(images)
    poses = [start.repeat(people, 1, 1)]
    maps = draw(mark.repeat(people, 1, 1))
    for _ in range(steps):
        now = poses[-1].detach()
        poses.append(now + bound * network(torch.cat((images, draw(now), maps), dim=1)))
    return torch.stack(poses)


def _habit(name):
    def answer(network, draw, images, start, mark, bound, steps):
        return looks(network, draw, images, start, mark, bound, steps, **{name: True})

    answer.__name__ = name
    return wrong("05.walk")(answer)


for habit in (
    "gradient_through_poses",
    "draws_the_start",
    "maps_first",
    "detaches_the_step",
    "forgets_the_unit",
    "cuts_off",
    "adds_to_the_start",
    "forgets_to_add",
    "moves_the_mark",
):
    _habit(habit)


@wrong("05.walk")
def forgets_the_start(network, draw, images, start, mark, bound, steps):
    return looks(network, draw, images, start, mark, bound, steps)[1:]


@wrong("05.walk")
def one_step_too_many(network, draw, images, start, mark, bound, steps):
    return looks(network, draw, images, start, mark, bound, steps + 1)


@wrong("05.walk")
def asks_once_and_repeats_the_answer(network, draw, images, start, mark, bound, steps):
    first = looks(network, draw, images, start, mark, bound, 1)
    return torch.stack([first[0] + t * (first[1] - first[0]) for t in range(steps + 1)])


@wrong("05.walk")
def only_the_last_pose(network, draw, images, start, mark, bound, steps):
    return looks(network, draw, images, start, mark, bound, steps)[-1]
