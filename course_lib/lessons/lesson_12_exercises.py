"""Lesson 12: its three exercises."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.errors import CourseError
from course_lib.lessons import Case, Exercise, register
from course_lib.lessons.comparing import difference

# --- labels of made joints --------------------------------------------------------------------------------------------


def _labels(estimated: Tensor, true: Tensor, visible: Tensor, torso: Tensor, delta: float) -> Tensor:
    answer = torch.zeros(visible.shape)
    for one, people in enumerate(visible.tolist()):
        for k, code in enumerate(people):
            if code > 0:
                (x, y), (u, v) = estimated[one, k].tolist(), true[one, k].tolist()
                answer[one, k] = 1.0 if math.hypot(x - u, y - v) < delta * float(torso[one]) else 0.0
    return answer


def _labels_cases(random: torch.Generator) -> Iterator[Case]:
    true = torch.zeros(1, 4, 2)
    aside = torch.tensor([[[4.0, 0.0], [0.0, 19.6], [12.0, 16.0], [-32.0, 0.0]]])  # 0.1, 0.49, 0.5 and 0.8 torsos
    seen, torso = torch.full((1, 4), 2), torch.tensor([40.0])
    tie = "The third joint is exactly delta away: the rule is *less than*, so it is 0."
    yield Case((aside, true, seen, torso, 0.5), "0.1, 0.49, 0.5 and 0.8 torsos away", tie)
    hidden = torch.tensor([[2, 1, 2, 1]])
    yield Case((aside, true, hidden, torso, 0.9), "two joints are hidden", "Hidden joints are labelled: they count.")
    lost = true.clone()
    lost[0, 1:3] = torch.tensor([[math.nan, math.nan], [0.0, 19.0]])
    unlabelled = torch.tensor([[2, 0, 0, 2]])
    where = "Where visible is 0 the answer is 0, whatever the joint holds."
    yield Case((aside, lost, unlabelled, torso, 0.9), "two joints are not labelled", where)
    two = torch.tensor([40.0, 80.0])
    unit = "Distances are measured in torsos, and every person has one of their own."
    yield Case((aside.repeat(2, 1, 1), true.repeat(2, 1, 1), seen.repeat(2, 1), two, 0.45), "a larger person", unit)
    diagonal = torch.tensor([[[9.0, 9.0], [13.0, 0.0], [0.0, -13.0], [-9.0, 9.0]]])
    yield Case((diagonal, true, seen, torso, 0.32), "aslant", "The distance is Euclid's: sqrt(dx^2 + dy^2).")
    nobody = (torch.zeros(1, 4, 2), true, torch.zeros(1, 4, dtype=torch.long), torso, 0.5)
    yield Case(nobody, "nothing is labelled", "All labels are 0.")
    for people, joints in ((3, 14), (1, 1), (0, 14)):
        places = 40 * torch.rand(2, people, joints, 2, generator=random)
        codes = torch.randint(0, 3, (people, joints), generator=random)
        sizes = 30 + 30 * torch.rand(people, generator=random)
        yield Case((places[0], places[1], codes, sizes, 0.4), f"{people} people, {joints} joints")


def _without_gradient(function: Callable, estimated: Tensor, *rest: Any) -> Any:
    answer = function(estimated.requires_grad_(), *rest)
    if isinstance(answer, Tensor) and answer.requires_grad:
        raise CourseError("the labels carry a gradient back to the estimated joints; a label is a plain 0 or 1")
    return answer


register(
    Exercise(
        "12.labels",
        _labels,
        _labels_cases,
        (
            "Three steps: distances (B, K); are they below delta torsos; is the joint labelled?",
            "torso is (B,), distances are (B, K): torso[:, None] puts the two side by side.",
            "(distance < delta * torso[:, None]) & (visible > 0), as floats.",
        ),
        ask=_without_gradient,
    )
)

# --- whose weights a loss reaches -------------------------------------------------------------------------------------


class TinyGenerator(nn.Module):
    """Maps (B, K, H, W) of pictures (B, 3, H, W), by one convolution."""

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, joints, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images).sigmoid()


class TinyJudge(nn.Module):
    """A logit for every joint (B, K), of pictures and maps (B, K, H, W)."""

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3 + joints, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, joints, 1))

    def forward(self, images: Tensor, maps: Tensor) -> Tensor:
        return self.layers(torch.cat([images, maps], 1)).mean((-2, -1))


def _iteration(
    generator: nn.Module, judge: nn.Module, images: Tensor, truth: Tensor, labels: Tensor, weight: float
) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        shown = generator(images)
    real, fake = judge(images, truth), judge(images, shown)
    # -log D is softplus(-logit), -log(1 - D) is softplus(logit)
    of_judge = F.softplus(-real).mean() + (labels * F.softplus(-fake) + (1 - labels) * F.softplus(fake)).mean()
    for parameter in judge.parameters():
        parameter.requires_grad_(False)
    made = generator(images)
    of_generator = (made - truth).square().mean() + weight * F.softplus(-judge(images, made)).mean()
    for parameter in judge.parameters():
        parameter.requires_grad_(True)
    return of_judge, of_generator


def _iteration_cases(random: torch.Generator) -> Iterator[Case]:
    for batch, joints, weight, label in (
        (2, 3, 0.5, "two pictures, three joints"),
        (1, 1, 2.0, "a louder judge"),
        (3, 2, 0.0, "a judge that is not heard"),
    ):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(10**6, (1,), generator=random)))
            generator, judge = TinyGenerator(joints), TinyJudge(joints)
            for parameter in judge.parameters():  # away from D = 0.5, where labels hardly matter
                nn.init.normal_(parameter, std=0.7)
        images = torch.rand(batch, 3, 5, 6, generator=random)
        truth = torch.rand(batch, joints, 5, 6, generator=random)
        labels = (torch.rand(batch, joints, generator=random) < 0.5).float()
        yield Case((generator, judge, images, truth, labels, weight), label)


def _routes(function: Callable, generator: nn.Module, judge: nn.Module, *rest: Any) -> Any:
    """Both losses, and what of each reaches whom."""
    answer = function(generator, judge, *rest)
    if answer is None:
        return None
    if not isinstance(answer, tuple | list) or len(answer) != 2 or not all(isinstance(one, Tensor) for one in answer):
        raise CourseError("two losses are wanted, (the judge's, the generator's), both as tensors")
    parameters = [*generator.parameters(), *judge.parameters()]
    row: dict[str, Any] = {
        "weights that no longer learn": sum(not one.requires_grad for one in parameters),
        "weights with a .grad": sum(one.grad is not None for one in parameters),
    }
    if row["weights that no longer learn"]:
        return row
    for name, loss in zip(("judge's loss", "generator's loss"), answer, strict=True):
        row[name] = loss.detach()
        for who, module in (("G", generator), ("D", judge)):
            row[f"{name}, gradient in {who}"] = _reaching(loss, module)
    return row


def _reaching(loss: Tensor, module: nn.Module) -> Tensor:
    """The gradient in all weights of a module, in one row; zeros where nothing arrives."""
    own = list(module.parameters())
    if not loss.requires_grad:
        return torch.zeros(sum(one.numel() for one in own))
    found = torch.autograd.grad(loss, own, retain_graph=True, allow_unused=True)
    return torch.cat([(torch.zeros_like(one) if g is None else g).flatten() for one, g in zip(own, found, strict=True)])


_ROUTES = (
    ("judge's loss, gradient in G", "The judge's loss must not reach G: show it G(x).detach()."),
    (
        "generator's loss, gradient in D",
        "The generator's loss must not reach D: hold D's weights still while it judges.",
    ),
    ("generator's loss, gradient in G", "Do not detach the maps here: this gradient is the whole idea."),
)


def _same_routes(got: dict[str, Any], expected: dict[str, Any]) -> str | None:
    """What is wrong, the routes before the values."""
    if got["weights that no longer learn"]:
        return "afterwards some weights no longer require a gradient: hold D still for a moment only"
    if got["weights with a .grad"]:
        return "some weights have a .grad: give the losses back, and leave backward() to the caller"
    for name, words in _ROUTES:
        nothing_expected = not expected[name].any()
        if bool(got[name].any()) == nothing_expected:
            return f"{name}: expected {'none' if nothing_expected else 'some'}\n{words}"
    wrong = ((name, difference(got[name], expected[name], 1e-5)) for name in expected)
    return next((f"{name}: {words}" for name, words in wrong if words), None)


register(
    Exercise(
        "12.routing",
        _iteration,
        _iteration_cases,
        (
            "Who must learn from which loss? Write it as a table of two losses and two networks first.",
            "F.binary_cross_entropy_with_logits(logits, target): real maps have the target 1, made ones their labels.",
            "torch.func.functional_call(judge, {name: p.detach() for name, p in judge.named_parameters()}, (x, maps)) "
            "asks a judge whose weights are held still.",
        ),
        ask=_routes,
        compare=_same_routes,
    )
)

# --- BEGAN's balance --------------------------------------------------------------------------------------------------


def _balance(
    k: float, real: float, fake: float, gamma: float = 0.5, rate: float = 1e-3, weight: float = 1e-4
) -> tuple[float, float, float, float]:
    surplus = gamma * real - fake
    follows = k + rate * surplus
    follows = 0.0 if follows < 0 else 1.0 if follows > 1 else follows
    return real - k * fake, weight * fake, follows, real + (surplus if surplus > 0 else -surplus)


def _balance_cases(random: torch.Generator) -> Iterator[Case]:
    worked = "k + 0.001 * (0.5 * 0.004 - 0.001) = 0.000001."
    yield Case((0.0, 4e-3, 1e-3, 0.5, 1e-3, 1e-4), "the first worked value", worked)
    yield Case((0.0, 1e-3, 1e-3, 0.5, 1e-3, 1e-4), "the second worked value", "It would fall below 0, and stays at 0.")
    yield Case((0.9, 3.0, 0.0, 0.5, 0.5, 1e-4), "k near its ceiling", "k never rises above 1.")
    yield Case((0.5, 0.2, 0.3, 0.5, 0.1, 0.1), "k in the middle", "The judge's loss takes k as it is *now*, not k'.")
    yield Case((0.5, 0.4, 0.3, 0.0, 0.1, 0.1), "gamma is 0", "Then every made map pulls k down.")
    yield Case((0.5, 0.4, 0.3, 1.0, 0.1, 0.1), "gamma is 1")
    for number in range(4):
        k, real, fake, gamma, rate, weight = torch.rand(6, generator=random, dtype=torch.float64).tolist()
        yield Case((k, real, fake, gamma, rate, weight), f"at random, {number + 1}")


register(
    Exercise(
        "12.balance",
        _balance,
        _balance_cases,
        (
            "Four numbers, in this order: the judge's loss, the generator's term, the next k, M.",
            "The judge's loss is L_real - k L_fake; the generator's term is lambda_G L_fake.",
            "k' = min(max(k + lambda_k (gamma L_real - L_fake), 0), 1); M = L_real + |gamma L_real - L_fake|.",
        ),
        tolerance=1e-7,
    )
)
