"""Answers to the exercises of lesson 09."""

import torch

from course_lib.pose import Pose
from course_lib.skeletons import get
from course_lib.targets.suppression import NmsParameters, similarity
from course_lib.targets.suppression import pose_nms as by_course
from exercises import right, wrong

# --- 09.way_back ------------------------------------------------------------------------------------------------------


def carried(matrix, points):
    return points @ matrix[..., :2].transpose(-1, -2) + matrix[:, None, :, 2]


def inverse(theta):
    linear = torch.linalg.inv(theta[..., :2])
    return torch.cat([linear, -linear @ theta[..., 2:]], -1)


@right("09.way_back")
def by_a_solver(theta, points):
    row = torch.tensor([[[0.0, 0.0, 1.0]]]).expand(len(theta), -1, -1)
    return torch.linalg.inv(torch.cat([theta, row], 1))[:, :2], carried(theta, points)


@right("09.way_back")
def by_the_formula(theta, points):
    return inverse(theta), torch.einsum("bij,bkj->bki", theta[..., :2], points) + theta[..., 2][:, None]


@wrong("09.way_back")
def joints_by_gamma(theta, points):
    return inverse(theta), carried(inverse(theta), points)


@wrong("09.way_back")
def shift_only_negated(theta, points):
    linear = torch.linalg.inv(theta[..., :2])
    return torch.cat([linear, -theta[..., 2:]], -1), carried(theta, points)


@wrong("09.way_back")
def shift_without_its_sign(theta, points):
    linear = torch.linalg.inv(theta[..., :2])
    return torch.cat([linear, linear @ theta[..., 2:]], -1), carried(theta, points)


@wrong("09.way_back")
def transposed(theta, points):
    linear = theta[..., :2].transpose(-1, -2)
    return torch.cat([linear, -linear @ theta[..., 2:]], -1), carried(theta, points)


@wrong("09.way_back")
def entry_by_entry(theta, points):
    linear = torch.where(theta[..., :2] != 0, 1 / theta[..., :2], 0)
    return torch.cat([linear, -linear @ theta[..., 2:]], -1), carried(theta, points)


@wrong("09.way_back")
def no_determinant(theta, points):
    a, b, c, d = theta[:, 0, 0], theta[:, 0, 1], theta[:, 1, 0], theta[:, 1, 1]
    linear = torch.stack([d, -b, -c, a], -1).unflatten(-1, (2, 2))
    return torch.cat([linear, -linear @ theta[..., 2:]], -1), carried(theta, points)


@wrong("09.way_back")
def row_vectors(theta, points):
    return inverse(theta), points @ theta[..., :2] + theta[:, None, :, 2]


@wrong("09.way_back")
def joints_stay(theta, points):
    return inverse(theta), points


@wrong("09.way_back")
def joints_forth_and_back(theta, points):
    return inverse(theta), carried(theta, carried(inverse(theta), points))


@wrong("09.way_back")
def the_first_crops_map_for_all(theta, points):
    return inverse(theta), carried(theta[:1].expand_as(theta), points)


# --- 09.pose_nms ------------------------------------------------------------------------------------------------------


def table(
    joints, confidences, boxes, numbers, *, half=0.05, square=True, use="kept", bend="tanh", both=True, mean=False
):
    """d (N, N)."""
    sigma1, sigma2, weight, _ = numbers
    apart = joints[:, None] - joints[None]
    sides = boxes[:, 2:] - boxes[:, :2]
    limit = half * (sides[:, None] if use == "kept" else sides[None])[:, :, None]
    near = (apart.abs() <= limit).all(-1)
    sure = torch.tanh(confidences / sigma1) if bend == "tanh" else confidences
    sure = torch.tanh(confidences) / sigma1 if bend == "late" else sure
    weights = sure[:, None] * sure[None] if both else sure[:, None].expand(-1, len(joints), -1)
    squared = apart.square().sum(-1)
    alike = torch.exp(-(squared if square else squared.sqrt()) / sigma2)
    terms = near * weights + weight * alike
    return terms.mean(-1) if mean else terms.sum(-1)


def greedy(d, scores, eta, *, printed=False, sort=True, strict=False):
    rest = scores.argsort(descending=True, stable=True).tolist() if sort else list(range(len(scores)))
    kept = []
    while rest:
        best, rest = rest[0], rest[1:]
        kept.append(best)
        goes = d[best] <= eta if printed else d[best] > eta if strict else d[best] >= eta
        rest = [j for j in rest if not bool(goes[j])]
    return kept


@right("09.pose_nms")
def by_a_table(joints, confidences, boxes, scores, numbers):
    return greedy(table(joints, confidences, boxes, numbers), scores, numbers[3])


@right("09.pose_nms")
def by_the_library(joints, confidences, boxes, scores, numbers):
    parts = zip(joints, confidences, boxes, scores, strict=True)
    poses = [Pose(joint, sure, get("lsp"), float(score), box) for joint, sure, box, score in parts]
    number = {id(pose): i for i, pose in enumerate(poses)}
    return [number[id(pose)] for pose in by_course(poses, NmsParameters(*numbers))]


@right("09.pose_nms")
def by_marking(joints, confidences, boxes, scores, numbers):
    parts = zip(joints, confidences, boxes, scores, strict=True)
    poses = [Pose(joint, sure, get("lsp"), float(score), box) for joint, sure, box, score in parts]
    d = similarity(poses, NmsParameters(*numbers))
    alive, kept = torch.ones(len(poses), dtype=torch.bool), []
    for i in torch.argsort(-scores).tolist():
        if alive[i]:
            kept.append(i)
            alive &= d[i] < numbers[3]
    return kept


@wrong("09.pose_nms")
def as_printed(joints, confidences, boxes, scores, numbers):
    return greedy(table(joints, confidences, boxes, numbers), scores, numbers[3], printed=True)


@wrong("09.pose_nms")
def a_tie_stays(joints, confidences, boxes, scores, numbers):
    return greedy(table(joints, confidences, boxes, numbers), scores, numbers[3], strict=True)


@wrong("09.pose_nms")
def in_the_order_given(joints, confidences, boxes, scores, numbers):
    return greedy(table(joints, confidences, boxes, numbers), scores, numbers[3], sort=False)


@wrong("09.pose_nms")
def who_is_gone_removes_too(joints, confidences, boxes, scores, numbers):
    d = table(joints, confidences, boxes, numbers)
    order = scores.argsort(descending=True).tolist()
    return [j for n, j in enumerate(order) if not any(bool(d[i, j] >= numbers[3]) for i in order[:n])]


@wrong("09.pose_nms")
def compares_with_itself(joints, confidences, boxes, scores, numbers):
    d = table(joints, confidences, boxes, numbers)
    return [j for j in scores.argsort(descending=True).tolist() if not bool((d[:, j] >= numbers[3]).any())]


@wrong("09.pose_nms")
def a_tenth_on_either_side(joints, confidences, boxes, scores, numbers):
    return greedy(table(joints, confidences, boxes, numbers, half=0.1), scores, numbers[3])


@wrong("09.pose_nms")
def distance_not_squared(joints, confidences, boxes, scores, numbers):
    return greedy(table(joints, confidences, boxes, numbers, square=False), scores, numbers[3])


@wrong("09.pose_nms")
def the_other_ones_box(joints, confidences, boxes, scores, numbers):
    return greedy(table(joints, confidences, boxes, numbers, use="other"), scores, numbers[3])


@wrong("09.pose_nms")
def without_tanh(joints, confidences, boxes, scores, numbers):
    return greedy(table(joints, confidences, boxes, numbers, bend="none"), scores, numbers[3])


@wrong("09.pose_nms")
def sigma1_after_tanh(joints, confidences, boxes, scores, numbers):
    return greedy(table(joints, confidences, boxes, numbers, bend="late"), scores, numbers[3])


@wrong("09.pose_nms")
def sure_in_the_kept_one_only(joints, confidences, boxes, scores, numbers):
    return greedy(table(joints, confidences, boxes, numbers, both=False), scores, numbers[3])


@wrong("09.pose_nms")
def means_not_sums(joints, confidences, boxes, scores, numbers):
    return greedy(table(joints, confidences, boxes, numbers, mean=True), scores, numbers[3])


@wrong("09.pose_nms")
def lambda_forgotten(joints, confidences, boxes, scores, numbers):
    numbers = (numbers[0], numbers[1], 1.0, numbers[3])
    return greedy(table(joints, confidences, boxes, numbers), scores, numbers[3])


@wrong("09.pose_nms")
def sorted_by_place(joints, confidences, boxes, scores, numbers):
    return sorted(greedy(table(joints, confidences, boxes, numbers), scores, numbers[3]))


# --- 09.proposals -----------------------------------------------------------------------------------------------------


def sampled(
    true,
    detected,
    atoms,
    people,
    of,
    noise,
    *,
    by="true",
    sides=(0, 1, 0, 1),
    spread="cholesky",
    mean=True,
    each=True,
    less=0,
    scale=True,
):
    base = (true if by == "true" else detected)[:, 2:] - (true if by == "true" else detected)[:, :2]
    offsets = (detected - true) / (base[:, list(sides)] if scale else 1.0)
    boxes = []
    for person, atom, one in zip(people, of, noise, strict=True):
        own = offsets[atoms == atom] if each else offsets
        middle = own.mean(0)
        covariance = (own - middle).T @ (own - middle) / (len(own) - less)
        if spread == "sides":
            drawn = covariance.diagonal().sqrt() * one
        else:
            lower = torch.linalg.cholesky(covariance)
            drawn = {"cholesky": lower, "upper": lower.T, "variance": covariance}[spread] @ one
        size = (person[2:] - person[:2])[list(sides)] if scale else 1.0
        boxes.append(person + size * (drawn + (middle if mean else 0)))
    return torch.stack(boxes)


@right("09.proposals")
def in_three_steps(*arguments):
    return sampled(*arguments)


@right("09.proposals")
def by_torch(true, detected, atoms, people, of, noise):
    offsets = (detected - true) / (true[:, [2, 3, 2, 3]] - true[:, [0, 1, 0, 1]])
    answer = people.clone()
    for one in of.unique():
        own = offsets[atoms == one]
        lower = torch.linalg.cholesky(torch.cov(own.T, correction=0))
        here = of == one
        sides = people[here][:, [2, 3, 2, 3]] - people[here][:, [0, 1, 0, 1]]
        answer[here] += sides * (own.mean(0) + noise[here] @ lower.T)
    return answer


@wrong("09.proposals")
def in_sides_of_the_detected_box(*arguments):
    return sampled(*arguments, by="detected")


@wrong("09.proposals")
def in_widths_only(*arguments):
    return sampled(*arguments, sides=(0, 0, 0, 0))


@wrong("09.proposals")
def width_and_height_exchanged(*arguments):
    return sampled(*arguments, sides=(1, 0, 1, 0))


@wrong("09.proposals")
def in_pixels(*arguments):
    return sampled(*arguments, scale=False)


@wrong("09.proposals")
def every_side_for_itself(*arguments):
    return sampled(*arguments, spread="sides")


@wrong("09.proposals")
def the_covariance_itself(*arguments):
    return sampled(*arguments, spread="variance")


@wrong("09.proposals")
def the_upper_factor(*arguments):
    return sampled(*arguments, spread="upper")


@wrong("09.proposals")
def around_the_true_box(*arguments):
    return sampled(*arguments, mean=False)


@wrong("09.proposals")
def one_cloud_for_all(*arguments):
    return sampled(*arguments, each=False)


@wrong("09.proposals")
def one_less(*arguments):
    return sampled(*arguments, less=1)
