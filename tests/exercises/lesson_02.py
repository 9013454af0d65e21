"""Answers to the exercises of lesson 02."""

import torch

from exercises import right, wrong

# --- 02.normalise -----------------------------------------------------------------------------------------------------


def parts(box):
    return (box[..., None, :2] + box[..., None, 2:]) / 2, box[..., None, 2:] - box[..., None, :2]


@right("02.normalise")
def with_tensors(joints, box, inverse=False):
    centre, sides = parts(box)
    return joints * sides + centre if inverse else (joints - centre) / sides


@right("02.normalise")
def by_the_library(joints, box, inverse=False):
    from course_lib import geometry

    return (geometry.denormalise if inverse else geometry.normalise)(joints, box)


@wrong("02.normalise")
def both_axes_by_the_width(joints, box, inverse=False):
    centre, sides = parts(box)
    sides = sides[..., :1]
    return joints * sides + centre if inverse else (joints - centre) / sides


@wrong("02.normalise")
def from_the_corner(joints, box, inverse=False):
    _, sides = parts(box)
    corner = box[..., None, :2]
    return joints * sides + corner if inverse else (joints - corner) / sides


@wrong("02.normalise")
def divides_before_it_takes_the_centre_off(joints, box, inverse=False):
    centre, sides = parts(box)
    return (joints + centre) * sides if inverse else joints / sides - centre


@wrong("02.normalise")
def forgets_to_add_the_centre_back(joints, box, inverse=False):
    centre, sides = parts(box)
    return joints * sides if inverse else (joints - centre) / sides


@wrong("02.normalise")
def half_sides(joints, box, inverse=False):
    centre, sides = parts(box)
    return joints * sides / 2 + centre if inverse else (joints - centre) / (sides / 2)


@wrong("02.normalise")
def no_inverse(joints, box, inverse=False):
    return with_tensors(joints, box)


@wrong("02.normalise")
def last_two_numbers_are_the_sides(joints, box, inverse=False):
    centre, sides = box[..., None, :2] + box[..., None, 2:] / 2, box[..., None, 2:]
    return joints * sides + centre if inverse else (joints - centre) / sides


@wrong("02.normalise")
def one_person_only(joints, box, inverse=False):
    centre, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    return joints * sides + centre if inverse else (joints - centre) / sides


# --- 02.cascade_step --------------------------------------------------------------------------------------------------


def step(joints, answers, sigma, torso, smallest=10.0, corner=False, pick=None, scaled=True, half=True):
    side = (joints[:, torso[0]] - joints[:, torso[1]]).norm(dim=-1).clamp(min=smallest) * sigma
    side = side[:, None, None]
    low = joints if corner else joints - side / (2 if half else 1)
    boxes = torch.cat([low, low + side * (1 if half or corner else 2)], -1)
    own = answers.diagonal(dim1=1, dim2=2).transpose(1, 2) if pick is None else pick(answers)
    return boxes, joints + own * (side if scaled else 1.0)


@right("02.cascade_step")
def whole_tensors(joints, answers, sigma, torso):
    return step(joints, answers, sigma, torso)


@right("02.cascade_step")
def person_by_person(joints, answers, sigma, torso):
    found = []
    for pose, said in zip(joints, answers, strict=True):
        torch_side = sigma * torch.dist(pose[torso[0]], pose[torso[1]]).clamp(min=10)
        boxes = torch.stack([torch.cat([joint - torch_side / 2, joint + torch_side / 2]) for joint in pose])
        found.append((boxes, torch.stack([joint + said[i, i] * torch_side for i, joint in enumerate(pose)])))
    return torch.stack([boxes for boxes, _ in found]), torch.stack([better for _, better in found])


@wrong("02.cascade_step")
def adds_the_answer_without_the_side(joints, answers, sigma, torso):
    return step(joints, answers, sigma, torso, scaled=False)


@wrong("02.cascade_step")
def output_0_for_every_joint(joints, answers, sigma, torso):
    return step(joints, answers, sigma, torso, pick=lambda said: said[:, :, 0])


@wrong("02.cascade_step")
def the_first_box_for_every_joint(joints, answers, sigma, torso):
    return step(joints, answers, sigma, torso, pick=lambda said: said[:, 0])


@wrong("02.cascade_step")
def mean_over_all_boxes(joints, answers, sigma, torso):
    return step(joints, answers, sigma, torso, pick=lambda said: said.mean(1))


@wrong("02.cascade_step")
def side_without_sigma(joints, answers, sigma, torso):
    return step(joints, answers, 1.0, torso)


@wrong("02.cascade_step")
def one_torso_for_everybody(joints, answers, sigma, torso):
    side = (joints[:, torso[0]] - joints[:, torso[1]]).norm(dim=-1).mean().clamp(min=10) * sigma
    own = answers.diagonal(dim1=1, dim2=2).transpose(1, 2)
    return torch.cat([joints - side / 2, joints + side / 2], -1), joints + own * side


@wrong("02.cascade_step")
def the_joint_in_the_boxs_corner(joints, answers, sigma, torso):
    return step(joints, answers, sigma, torso, corner=True)


@wrong("02.cascade_step")
def sides_twice_as_long(joints, answers, sigma, torso):
    return step(joints, answers, sigma, torso, half=False)


@wrong("02.cascade_step")
def no_smallest_torso(joints, answers, sigma, torso):
    return step(joints, answers, sigma, torso, smallest=0.0)


@wrong("02.cascade_step")
def smallest_side_instead_of_smallest_torso(joints, answers, sigma, torso):
    side = ((joints[:, torso[0]] - joints[:, torso[1]]).norm(dim=-1) * sigma).clamp(min=10)[:, None, None]
    own = answers.diagonal(dim1=1, dim2=2).transpose(1, 2)
    return torch.cat([joints - side / 2, joints + side / 2], -1), joints + own * side


# --- 02.simulate ------------------------------------------------------------------------------------------------------


def drawn(predicted, true, visible, joints, sides, noise, **ways):
    labelled = (visible > ways.get("least", 0))[..., None]
    errors = torch.where(labelled, predicted - true, 0.0) * ways.get("sign", 1)
    count = labelled.sum(0).clamp(min=1) if ways.get("masked", True) else len(errors)
    mean = errors.sum(0) / count
    variance = torch.where(labelled, errors - mean, 0.0).square().sum(0) / (count - ways.get("lost", 0))
    if ways.get("pooled"):
        mean, variance = mean.mean(0, keepdim=True), variance.mean(0, keepdim=True)
    if ways.get("round"):
        variance = variance.mean(-1, keepdim=True)
    deviation = variance if ways.get("squared") else variance.sqrt()
    centres = joints * ways.get("around", 1) + mean * ways.get("centred", 1) + deviation * noise
    return centres, ways.get("turned", 1) * (joints - centres) / (sides[:, None, None] if ways.get("units", 1) else 1)


@right("02.simulate")
def by_sums(predicted, true, visible, joints, sides, noise):
    return drawn(predicted, true, visible, joints, sides, noise)


@right("02.simulate")
def joint_by_joint(predicted, true, visible, joints, sides, noise):
    centres = joints.clone()
    for k in range(joints.shape[1]):
        errors = (predicted - true)[visible[:, k] > 0, k]
        centres[:, k] += errors.mean(0) + errors.std(0, unbiased=False) * noise[:, k]
    return centres, -(centres - joints) / sides.reshape(-1, 1, 1)


@wrong("02.simulate")
def boxes_around_the_truth(predicted, true, visible, joints, sides, noise):
    return joints.clone(), torch.zeros_like(joints)


@wrong("02.simulate")
def truth_minus_predicted(*given):
    return drawn(*given, sign=-1)


@wrong("02.simulate")
def one_normal_for_all_joints(*given):
    return drawn(*given, pooled=True)


@wrong("02.simulate")
def one_deviation_for_both_axes(*given):
    return drawn(*given, round=True)


@wrong("02.simulate")
def variance_as_deviation(*given):
    return drawn(*given, squared=True)


@wrong("02.simulate")
def no_mean(*given):
    return drawn(*given, centred=0)


@wrong("02.simulate")
def unlabelled_joints_counted(*given):
    return drawn(*given, masked=False)


@wrong("02.simulate")
def only_visible_joints(*given):
    return drawn(*given, least=1)


@wrong("02.simulate")
def nan_let_in(predicted, true, visible, joints, sides, noise):
    errors = predicted - true
    centres = joints + errors.mean(0) + errors.std(0, unbiased=False) * noise
    return centres, (joints - centres) / sides[:, None, None]


@wrong("02.simulate")
def target_points_away(*given):
    return drawn(*given, turned=-1)


@wrong("02.simulate")
def target_in_pixels(*given):
    return drawn(*given, units=0)
