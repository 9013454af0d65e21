"""Chen et al. 2017: which term teaches whom, and what is called a fake."""

import copy
import math

import pytest
import torch
from adversarial_helpers import JUDGES, SIZE, people, small
from torch import distributed, nn
from torch.nn import functional as F

from course_lib.models.adversarial import Answer
from course_lib.models.judges import confidence_labels, pose_labels
from course_lib.pose import HIDDEN, UNLABELLED, VISIBLE, Batch
from course_lib.skeletons import LSP, Skeleton
from course_lib.targets import heatmaps
from course_lib.training.distributed import Asked

TERMS = {"maps": "generator", "hidden": "generator"}
for judge in JUDGES:
    TERMS |= {f"{judge}_real": f"{judge}_judge", f"{judge}_fake": f"{judge}_judge", f"{judge}_adversarial": "generator"}


def gradients(term, model):
    """The parts of the model (generator, pose_judge, confidence_judge) that a term teaches anything."""
    named = list(model.named_parameters())
    found = torch.autograd.grad(term, [value for _, value in named], allow_unused=True, retain_graph=True)
    return {
        name.split(".")[0]
        for (name, _), one in zip(named, found, strict=True)
        if one is not None and float(one.abs().sum()) > 0
    }


# --- who learns from what ---------------------------------------------------------------------------------------------


def test_every_term_teaches_whom_it_should_and_nobody_else():
    model = small()
    terms = model.training_loss(people(), 0.5)
    assert set(terms) == {*TERMS, "total"}
    assert {name: gradients(terms[name], model) for name in TERMS} == {name: {part} for name, part in TERMS.items()}
    assert gradients(terms["total"], model) == {"generator", "pose_judge", "confidence_judge"}
    terms["total"].backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())


@pytest.mark.parametrize("kind", JUDGES)
def test_the_generators_gradient_goes_through_the_judge_that_is_held_still(kind):
    """Two published ports give their generator none; ours is that of a frozen copy of the judge, asked in the open."""
    model, batch = small(), people()
    found = torch.autograd.grad(model.training_loss(batch, 1.0)[f"{kind}_adversarial"], model.generator.parameters())
    model.load_state_dict(small().state_dict())  # the running statistics have moved
    frozen = copy.deepcopy(getattr(model, f"{kind}_judge")).requires_grad_(False)
    outputs, labelled = model(batch.images), batch.visible > 0
    maps, hidden = (part[-1] * labelled[..., None, None] for part in outputs)
    evidence = [maps, hidden] + ([F.avg_pool2d(batch.images, 4)] if kind == "pose" else [])
    logits = frozen(torch.cat(evidence, 1), maps)
    expected = torch.autograd.grad(F.softplus(-logits)[labelled].mean(), model.generator.parameters())
    largest = max(float(one.abs().max()) for one in expected)
    assert largest > 1e-4
    for one, other in zip(found, expected, strict=True):  # of biases before a normalisation it is rounding alone
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4 * largest)


@pytest.mark.parametrize(("side", "terms"), [("judges", ("real", "fake")), ("generator", ("adversarial",))])
def test_a_step_of_one_side_leaves_the_other_as_it_was(side, terms):
    model = small()
    chosen = [f"{judge}_{term}" for judge in JUDGES for term in terms] + ["maps"] * (side == "generator")
    loss, before = model.training_loss(people(), 1.0), copy.deepcopy(dict(model.named_parameters()))
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    sum(loss[name] for name in chosen).backward()
    assert {name.split(".")[0] for name, value in model.named_parameters() if value.grad is not None} == (
        {"generator"} if side == "generator" else {"pose_judge", "confidence_judge"}
    )
    optimiser.step()
    moved = {name.split(".")[0] for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == ({"generator"} if side == "generator" else {"pose_judge", "confidence_judge"})


def test_only_the_last_stack_is_judged():
    model, batch = small(), people()
    terms = model.training_loss(batch, 1.0)
    first = model.generator.predict[0].weight  # of the first stack's pose hourglass; it is heard by the second
    assert float(torch.autograd.grad(terms["pose_adversarial"], first, retain_graph=True)[0].abs().sum()) > 0
    for merge in (model.generator.merge_maps[0], model.generator.merge_maps[1]):
        nn.init.zeros_(merge.weight)
    terms = model.training_loss(batch, 1.0)
    for name in ("pose_adversarial", "confidence_adversarial"):
        for place, judged in ((0, False), (1, False), (2, True), (3, True)):
            (found,) = torch.autograd.grad(terms[name], model.generator.predict[place].weight, retain_graph=True)
            assert (float(found.abs().sum()) > 0) == judged, (name, place)


def test_processes_that_train_together_get_the_same_gradients():
    """As one process of one: the wrapper is there, with its hooks on gradients, and its search for unused weights."""
    model, batch = small(), people()
    model.training_loss(batch, 0.0)["total"].backward()
    alone = [value.grad.clone() for value in model.parameters()]
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        asked = Asked(small(), False, torch.device("cpu"), "fp32")
        together = nn.parallel.DistributedDataParallel(asked, find_unused_parameters=True)
        together(batch, 0.0)["total"].backward()
        for one, value in zip(alone, asked.model.parameters(), strict=True):
            assert torch.allclose(one, value.grad, rtol=1e-4, atol=1e-6)
    finally:
        distributed.destroy_process_group()


# --- the terms, with judges whose word is known -----------------------------------------------------------------------


class Says(nn.Module):
    """A judge that always says the same, and remembers what it was shown."""

    def __init__(self, logits):
        super().__init__()
        self.logits, self.shown = nn.Parameter(logits), []

    def forward(self, evidence, maps):
        self.shown.append((evidence, maps))
        return self.logits.expand(len(evidence), -1)


def known(batch, sure=(0, 3), **options):
    """A model whose judges say something known, and whose last maps are the truth for the joints `sure` alone."""
    model = small(**options)
    logits = torch.linspace(-2, 2, 14)
    model.pose_judge, model.confidence_judge = Says(logits), Says(-logits)
    truth = model.truth(batch, (8, 8))
    maps = torch.rand(2, len(batch), 14, 8, 8, generator=torch.Generator().manual_seed(0))
    far = torch.zeros(8, 8)
    far[0, 0] = 1.0  # a peak in the corner, where no joint is
    maps[-1] = far
    maps[-1][:, list(sure)] = truth.maps[:, list(sure)]
    model.answered = Answer(maps.requires_grad_(), torch.rand_like(maps).requires_grad_())
    model.forward = lambda images: model.answered
    return model, logits, truth


def mean_over(asked, each):
    return float(each[asked].mean())


@pytest.mark.parametrize("labels", ["joint", "sample"])
def test_terms_are_cross_entropies_over_labelled_joints(labels):
    batch = people()
    batch.visible[1, LSP.index(LSP.torso[0])] = UNLABELLED
    model, logits, _ = known(batch, sure=(0, 3, 5), labels=labels)
    terms = {name: float(term.detach()) for name, term in model.training_loss(batch, 1.0).items()}
    labelled = batch.visible > 0
    measured = labelled.clone()
    measured[1] = False  # without a torso there is no telling what is near, so P is not asked
    right = torch.zeros(4, 14)
    if labels == "joint":
        right[:, [3, 5]] = 1  # nobody labelled joint 0
    for name, said, asked in (("pose", logits, measured), ("confidence", -logits, labelled)):
        said = said.expand(4, -1)
        yes, no = F.softplus(-said), F.softplus(said)
        assert terms[f"{name}_real"] == pytest.approx(mean_over(asked, yes), rel=1e-5)
        assert terms[f"{name}_adversarial"] == pytest.approx(mean_over(asked, yes), rel=1e-5)
        assert terms[f"{name}_fake"] == pytest.approx(mean_over(asked, right * yes + (1 - right) * no), rel=1e-5)


def test_what_the_judges_are_shown():
    batch = people()
    model, _, truth = known(batch)
    model.training_loss(batch, 1.0)
    picture = F.avg_pool2d(batch.images, 4)
    labelled = (batch.visible > 0)[..., None, None]
    for judge, ends in ((model.pose_judge, [picture]), (model.confidence_judge, [])):
        real, fake, heard = judge.shown
        assert torch.equal(real[0], torch.cat([*truth, *ends], 1)) and torch.equal(real[1], truth.maps)
        # a map that nobody labelled is empty in the truth; as it was made, it would tell the two apart
        made = [part[-1].detach() * labelled for part in model.answered]
        for evidence, maps in (fake, heard):
            assert torch.equal(evidence, torch.cat([*made, *ends], 1)) and torch.equal(maps, made[0])
        assert not fake[0].requires_grad and not fake[1].requires_grad and not real[0].requires_grad
        assert heard[0].requires_grad and heard[1].requires_grad
    assert model.pose_judge.shown[0][0].shape[1] == 31 and model.confidence_judge.shown[0][0].shape[1] == 28


def test_nobody_is_taught_by_what_nobody_labelled():
    batch, model = people(), small()
    maps = [torch.rand(2, 4, 14, 8, 8, requires_grad=True) for _ in range(2)]
    model.forward = lambda images: Answer(*maps)
    model.training_loss(batch, 1.0)["total"].backward()
    for part in maps:
        assert part.grad.isfinite().all() and not part.grad[:, batch.visible == UNLABELLED].any()
        assert (part.grad[:, batch.visible > 0].abs().sum((-2, -1)) > 0).all()
    batch.visible[:] = UNLABELLED
    terms = model.training_loss(batch, 1.0)
    assert all(float(term.detach()) == 0 for term in terms.values())
    terms["total"].backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in model.parameters())


@pytest.mark.parametrize(("sigma", "loudness"), [(1.0, 1.0), (2.0, 1.0), (1.0, 7.0)])
def test_the_papers_balance_between_the_terms(sigma, loudness):
    """L_G of the paper is half the sum of squares of a joint's map, and stands beside 1/180 and 1/220."""
    batch = people(size=64)  # room enough for a bell of sigma 2
    model = small(sigma=sigma, loudness=loudness, stacks=1)
    torch.nn.init.normal_(model.generator.predict[0].weight, std=0.2)
    outputs, labelled = model(batch.images), batch.visible > 0
    target = torch.where(labelled[..., None, None], model.targets(batch, (16, 16)), 0.0)
    half_sums = 0.5 * (outputs.maps[0] - target).square().sum((-2, -1))[labelled].mean()
    hidden = torch.where((batch.visible == HIDDEN)[..., None, None], target, 0.0)
    half_sums = half_sums + 0.5 * (outputs.hidden[0] - hidden).square().sum((-2, -1))[labelled].mean()
    terms = {name: float(term.detach()) for name, term in model.training_loss(batch, 1.0).items()}
    our_unit = (terms["maps"] + terms["hidden"]) / float(half_sums.detach())  # of ours in one of the paper's
    others = sum(terms[f"{judge}_{term}"] for judge in JUDGES for term in ("real", "fake"))
    added = terms["total"] - terms["maps"] - terms["hidden"] - others
    expected = loudness * our_unit * (terms["pose_adversarial"] / 180 + terms["confidence_adversarial"] / 220)
    assert added == pytest.approx(expected, rel=2e-3)
    assert our_unit == pytest.approx(2 / (math.pi * sigma**2), rel=1e-4)


@pytest.mark.parametrize(("listens_from", "deaf", "hears"), [(0.1, 0.0999, 0.1), (0.0, None, 0.0), (0.5, 0.4, 1.0)])
def test_the_generator_hears_the_judges_from_a_share_of_the_training_on(listens_from, deaf, hears):
    batch = people()
    model = small(listens_from=listens_from)
    if deaf is not None:
        terms = model.training_loss(batch, deaf)
        assert set(terms) == {*TERMS, "total"}  # a history has the same columns at every step
        assert float(terms["pose_adversarial"]) == float(terms["confidence_adversarial"]) == 0
        quiet = sum(terms[name] for name in TERMS)
        assert float(terms["total"].detach()) == pytest.approx(float(quiet.detach()), rel=1e-5)
    terms = model.training_loss(batch, hears)
    assert float(terms["pose_adversarial"].detach()) > 0 and float(terms["confidence_adversarial"].detach()) > 0


@pytest.mark.parametrize("absent", [("pose",), ("confidence",), JUDGES])
def test_a_weight_of_zero_means_no_such_judge(absent):
    model, batch = small(**{f"{name}_weight": 0.0 for name in absent}), people()
    terms = model.training_loss(batch, 1.0)
    assert set(terms) == {"total"} | {name for name in TERMS if not name.startswith(absent)}
    verdict = model.judge(Answer(*(part[-1] for part in model(batch.images))), batch.images)
    for name in JUDGES:
        there = name not in absent
        assert (getattr(model, f"{name}_judge") is not None) == there == (getattr(verdict, name) is not None)
        assert any(key.startswith(name) for key in model.state_dict()) == there
    if absent == JUDGES:
        assert torch.equal(terms["total"], terms["maps"] + terms["hidden"])
    # the generators of both begin alike, so that they can be compared
    other = small().generator.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in small(pose_weight=0.0).generator.state_dict().items())


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_hidden_joints_are_asked_for_twice():
    model = small()
    joints = SIZE * (0.2 + 0.6 * torch.rand(1, 14, 2))
    visible = torch.full((1, 14), VISIBLE)
    visible[0, 4], visible[0, 7] = HIDDEN, UNLABELLED
    joints[0, 7] = math.nan
    truth = model.truth(Batch(torch.zeros(1, 3, SIZE, SIZE), joints, visible, LSP), (8, 8))
    bells = heatmaps.gaussian(joints / 4, (8, 8), 1.0)
    for joint in range(14):
        assert torch.equal(truth.maps[0, joint], torch.zeros(8, 8) if joint == 7 else bells[0, joint])
        assert torch.equal(truth.hidden[0, joint], bells[0, joint] if joint == 4 else torch.zeros(8, 8))


def test_the_loss_counts_all_stacks_in_all_zero_answers():
    model = small(stacks=3, input_size=(128, 128))
    batch = people(count=6, size=128)
    zeros = Answer(torch.zeros(3, 6, 14, 32, 32), torch.zeros(3, 6, 14, 32, 32))
    terms = model.loss(zeros, batch)
    assert set(terms) == {"maps", "hidden", "total"} and float(terms["maps"]) == pytest.approx(3, rel=1e-3)
    share = float((batch.visible == HIDDEN).sum() / (batch.visible > 0).sum())
    assert float(terms["hidden"]) == pytest.approx(3 * share, rel=1e-3)
    truth = model.truth(batch, (32, 32))
    perfect = Answer(*(part.expand(3, *part.shape) for part in truth))
    assert float(model.loss(perfect, batch)["total"]) == 0


def test_pose_labels_are_strict_and_know_what_they_do_not_know():
    own = Skeleton("row", tuple("abcdef"), ((0, 1),), (0.05,) * 6, ("e", "f"), None)
    true, estimated = torch.zeros(3, 6, 2), torch.zeros(3, 6, 2)
    true[:, 5, 0] = 8.0  # the torso from e to f
    estimated[:, :, 0] = 8 * torch.tensor([0.1, 0.49, 0.5, 0.8, 0.0, 1.0])  # the sheet's distances, in torsos
    visible = torch.full((3, 6), 2)
    visible[1, 0], visible[2, 4] = UNLABELLED, UNLABELLED
    visible[0, 1] = HIDDEN
    true[1, 0], true[2, 4] = math.nan, 1e6  # what is not labelled may be anything
    labels = pose_labels(estimated.requires_grad_(), true, visible, own, 0.5)
    assert labels.tolist() == [[1, 1, 0, 0, 1, 1], [0, 1, 0, 0, 1, 1], [0] * 6]
    assert not labels.requires_grad and labels.dtype == torch.float32
    assert pose_labels(estimated, true, visible, own, 0.51).tolist()[0] == [1, 1, 1, 0, 1, 1]
    doubled = pose_labels(estimated * 2, true * 2, visible, own, 0.5)
    assert torch.equal(doubled, labels)  # a torso is a torso, however large the picture


def test_confidence_labels_are_strict_and_take_a_sum_of_squares():
    truth, maps = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    maps[0, 0, 0, 0] = maps[0, 1, 0, 0] = maps[0, 1, 3, 2] = 0.5
    maps[0, 2] = -0.5
    labels = confidence_labels(maps.requires_grad_(), truth, 0.5)
    assert labels.tolist() == [[1, 0, 0]]  # 0.25, 0.5, which is not below 0.5, and 4
    assert not labels.requires_grad
    assert confidence_labels(maps, truth, 0.51).tolist() == [[1, 1, 0]]


@pytest.mark.parametrize(("height", "label"), [(0.31, 1), (0.28, 0)])
def test_epsilon_counts_in_all_zero_answers(height, label):
    """A bell of height a is wrong by (1 - a)^2 of an all-zero answer: half of one at a = 0.293."""
    model, batch = small(sigma=1.0, input_size=(64, 64)), people(size=64)
    truth = model.truth(batch, (16, 16))
    labels = model._confidence_labels(height * truth.maps, truth, batch)
    assert bool((labels[batch.visible > 0] == label).all())


@pytest.mark.parametrize(("off", "label"), [(0, 1), (1, 1), (2, 0)])
def test_delta_counts_in_torsos_of_the_picture(off, label):
    """Peaks `off` cells of 4 pixels beside joints in cells' middles; a torso of 30 pixels, of which 0.2 are 6."""
    model = small(input_size=(64, 64))
    joints = torch.full((1, 14, 2), 22.0)
    joints[0, [LSP.index(name) for name in LSP.torso]] = torch.tensor([[18.0, 10.0], [18.0, 40.0]])
    batch = Batch(torch.zeros(1, 3, 64, 64), joints, torch.full((1, 14), 2), LSP)
    maps = heatmaps.gaussian(joints / 4 + torch.tensor([off, 0]), (16, 16), 1.0)
    labels = model._pose_labels(maps, model.truth(batch, (16, 16)), batch)
    assert labels.tolist() == [[label] * 14]
