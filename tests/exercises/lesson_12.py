"""Answers to the exercises of lesson 12."""

import torch
from torch.func import functional_call
from torch.nn import functional as F

from exercises import right, wrong

# --- 12.labels --------------------------------------------------------------------------------------------------------


def distance(estimated, true):
    return torch.linalg.vector_norm(estimated - true, dim=-1)


@right("12.labels")
def by_tensors(estimated, true, visible, torso, delta):
    near = distance(estimated, true) < delta * torso[:, None]
    return (near & (visible > 0)).float()


@right("12.labels")
def by_squares(estimated, true, visible, torso, delta):
    squared = (estimated - true).square().sum(-1)
    answer = torch.zeros(visible.shape)
    answer[(squared < (delta * torso[:, None]) ** 2) & (visible != 0)] = 1
    return answer


@wrong("12.labels")
def tie_is_near(estimated, true, visible, torso, delta):
    return ((distance(estimated, true) <= delta * torso[:, None]) & (visible > 0)).float()


@wrong("12.labels")
def only_visible_ones(estimated, true, visible, torso, delta):
    return ((distance(estimated, true) < delta * torso[:, None]) & (visible == 2)).float()


@wrong("12.labels")
def unlabelled_count(estimated, true, visible, torso, delta):
    return (distance(estimated, true) < delta * torso[:, None]).float()


@wrong("12.labels")
def in_pixels(estimated, true, visible, torso, delta):
    return ((distance(estimated, true) < delta * 40) & (visible > 0)).float()


@wrong("12.labels")
def mean_torso(estimated, true, visible, torso, delta):
    mean = torso.mean() if len(torso) else 1.0
    return ((distance(estimated, true) < delta * mean) & (visible > 0)).float()


@wrong("12.labels")
def the_wrong_way_round(estimated, true, visible, torso, delta):
    return ((distance(estimated, true) >= delta * torso[:, None]) & (visible > 0)).float()


@wrong("12.labels")
def along_each_axis(estimated, true, visible, torso, delta):
    near = ((estimated - true).abs() < delta * torso[:, None, None]).all(-1)
    return (near & (visible > 0)).float()


@wrong("12.labels")
def squared_by_mistake(estimated, true, visible, torso, delta):
    near = (estimated - true).square().sum(-1) < delta * torso[:, None]
    return (near & (visible > 0)).float()


@wrong("12.labels")
def soft(estimated, true, visible, torso, delta):
    return torch.sigmoid(delta * torso[:, None] - distance(estimated, true)) * (visible > 0)


@wrong("12.labels")
def hard_and_soft(estimated, true, visible, torso, delta):
    d = distance(estimated, true)
    near = ((d < delta * torso[:, None]) & (visible > 0)).float()
    return near + d.nan_to_num() - d.nan_to_num().detach()


# --- 12.routing -------------------------------------------------------------------------------------------------------


def entropy(logits, target):
    return F.binary_cross_entropy_with_logits(logits, target)


def held(judge, images, maps):
    still = {name: one.detach() for name, one in judge.named_parameters()}
    return functional_call(judge, still, (images, maps))


def losses(generator, judge, images, truth, labels, weight, *, shown="detached", asked="held", goal=1.0, target=None):
    made = generator(images)
    fake = judge(images, made.detach() if shown == "detached" else made)
    real = judge(images, truth)
    of_judge = entropy(real, torch.ones_like(real)) + entropy(fake, labels if target is None else target(labels))
    judged = held(judge, images, made) if asked == "held" else judge(images, made)
    judged = held(judge, images, made.detach()) if asked == "detached" else judged
    return of_judge, F.mse_loss(made, truth) + weight * entropy(judged, torch.full_like(judged, goal))


@right("12.routing")
def by_functional_call(generator, judge, images, truth, labels, weight):
    return losses(generator, judge, images, truth, labels, weight)


@right("12.routing")
def by_a_copy(generator, judge, images, truth, labels, weight):
    import copy

    still = copy.deepcopy(judge).requires_grad_(False)
    made = generator(images)
    fake, real = judge(images, made.detach()).sigmoid(), judge(images, truth).sigmoid()
    of_judge = -torch.log(real).mean() - (labels * torch.log(fake) + (1 - labels) * torch.log(1 - fake)).mean()
    return of_judge, (made - truth).square().mean() - weight * torch.log(still(images, made).sigmoid()).mean()


@wrong("12.routing")
def judge_teaches_the_generator(generator, judge, images, truth, labels, weight):
    return losses(generator, judge, images, truth, labels, weight, shown="attached")


@wrong("12.routing")
def generator_teaches_the_judge(generator, judge, images, truth, labels, weight):
    return losses(generator, judge, images, truth, labels, weight, asked="attached")


@wrong("12.routing")
def as_in_two_ports(generator, judge, images, truth, labels, weight):
    return losses(generator, judge, images, truth, labels, weight, asked="detached")


@wrong("12.routing")
def all_made_ones_are_fake(generator, judge, images, truth, labels, weight):
    return losses(generator, judge, images, truth, labels, weight, target=torch.zeros_like)


@wrong("12.routing")
def labels_upside_down(generator, judge, images, truth, labels, weight):
    return losses(generator, judge, images, truth, labels, weight, target=lambda label: 1 - label)


@wrong("12.routing")
def wants_to_be_called_fake(generator, judge, images, truth, labels, weight):
    return losses(generator, judge, images, truth, labels, weight, goal=0.0)


@wrong("12.routing")
def the_judge_stays_frozen(generator, judge, images, truth, labels, weight):
    of_judge, _ = losses(generator, judge, images, truth, labels, weight)
    judge.requires_grad_(False)
    made = generator(images)
    judged = judge(images, made)
    return of_judge, F.mse_loss(made, truth) + weight * entropy(judged, torch.ones_like(judged))


@wrong("12.routing")
def goes_backward_itself(generator, judge, images, truth, labels, weight):
    of_judge, of_generator = losses(generator, judge, images, truth, labels, weight)
    of_judge.backward(retain_graph=True)
    of_generator.backward(retain_graph=True)
    return of_judge, of_generator


@wrong("12.routing")
def everything_without_gradient(generator, judge, images, truth, labels, weight):
    with torch.no_grad():
        return losses(generator, judge, images, truth, labels, weight)


@wrong("12.routing")
def no_real_ones(generator, judge, images, truth, labels, weight):
    _, of_generator = losses(generator, judge, images, truth, labels, weight)
    fake = judge(images, generator(images).detach())
    return entropy(fake, labels), of_generator


@wrong("12.routing")
def weight_on_the_wrong_term(generator, judge, images, truth, labels, weight):
    of_judge, _ = losses(generator, judge, images, truth, labels, weight)
    made = generator(images)
    judged = held(judge, images, made)
    return of_judge, weight * F.mse_loss(made, truth) + entropy(judged, torch.ones_like(judged))


# --- 12.balance -------------------------------------------------------------------------------------------------------


def balanced(k, real, fake, gamma, rate, weight, *, clip=True, sign=1.0, on="real", late=False, plain=False):
    surplus = gamma * real - fake if on == "real" else real - gamma * fake
    follows = k + sign * rate * surplus
    follows = min(max(follows, 0.0), 1.0) if clip else follows
    measure = real + (surplus if plain else abs(surplus))
    return real - (follows if late else k) * fake, weight * fake, follows, measure


@right("12.balance")
def by_tensor(k, real, fake, gamma=0.5, rate=1e-3, weight=1e-4):
    surplus = torch.tensor(gamma * real - fake, dtype=torch.float64)
    return real - k * fake, weight * fake, (k + rate * surplus).clamp(0, 1), real + surplus.abs()


@wrong("12.balance")
def never_clipped(k, real, fake, gamma=0.5, rate=1e-3, weight=1e-4):
    return balanced(k, real, fake, gamma, rate, weight, clip=False)


@wrong("12.balance")
def the_other_direction(k, real, fake, gamma=0.5, rate=1e-3, weight=1e-4):
    return balanced(k, real, fake, gamma, rate, weight, sign=-1.0)


@wrong("12.balance")
def gamma_at_the_made_ones(k, real, fake, gamma=0.5, rate=1e-3, weight=1e-4):
    return balanced(k, real, fake, gamma, rate, weight, on="fake")


@wrong("12.balance")
def with_the_next_k(k, real, fake, gamma=0.5, rate=1e-3, weight=1e-4):
    return balanced(k, real, fake, gamma, rate, weight, late=True)


@wrong("12.balance")
def measure_without_absolute_value(k, real, fake, gamma=0.5, rate=1e-3, weight=1e-4):
    return balanced(k, real, fake, gamma, rate, weight, plain=True)


@wrong("12.balance")
def rate_forgotten(k, real, fake, gamma=0.5, rate=1e-3, weight=1e-4):
    return balanced(k, real, fake, gamma, 1.0, weight)


@wrong("12.balance")
def the_generator_wants_more_error(k, real, fake, gamma=0.5, rate=1e-3, weight=1e-4):
    of_judge, of_generator, follows, measure = balanced(k, real, fake, gamma, rate, weight)
    return of_judge, -of_generator, follows, measure
