"""Chen et al. 2017: what a judge's word is worth, how the network begins as another one, and how it answers."""

import copy
import math

import pytest
import torch
from adversarial_helpers import JUDGES, SIZE, hourglass, people, small
from torch import nn
from torch.nn import functional as F

from course_lib import checkpoints, geometry, models
from course_lib.errors import CourseError
from course_lib.models import adversarial
from course_lib.models.adversarial import AdversarialPoseNet, Answer
from course_lib.models.counting import giga_multiply_adds, parameters
from course_lib.models.hourglass import Residual, StackedHourglass
from course_lib.models.judges import Judge
from course_lib.pose import Batch
from course_lib.skeletons import LSP, Skeleton
from course_lib.targets import heatmaps

# --- how it begins ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("stacks", [1, 2, 3])
def test_it_begins_with_exactly_the_hourglasses_poses(stacks, mode):
    network, model, images = hourglass(), small(stacks=stacks), torch.rand(2, 3, SIZE, SIZE)
    model.begin_as(network)
    expected = network.train(mode == "train")(images)
    answer = model.train(mode == "train")(images)
    assert torch.equal(answer.maps, expected[:stacks]) and float(expected.detach().std()) > 0.1
    assert answer.maps.shape == answer.hidden.shape and not torch.equal(answer.hidden, answer.maps)
    assert float(answer.hidden.detach().abs().max()) < 0.1  # nothing is hidden, at first
    own = model.generator.hourglasses
    for number in range(stacks):
        for one, value in own[2 * number + 1].named_parameters():
            assert torch.equal(value, dict(network.hourglasses[number].named_parameters())[one])


def test_what_is_new_begins_to_learn_at_once():
    model = small()
    model.begin_as(hourglass())
    model.training_loss(people(), 1.0)["total"].backward()
    for merges in (model.generator.merge_features, model.generator.merge_maps):
        assert not merges[1].weight.any() and float(merges[1].weight.grad.abs().sum()) > 0
    assert float(model.generator.predict[1].weight.grad.abs().sum()) > 0


@pytest.mark.parametrize(
    "options",
    [
        {"width": 32},
        {"depth": 1},
        {"modules": 2},
        {"reinject": False},
        {"stem_stride": 2},
        {"skeleton": "mpii"},
        {"skeleton": Skeleton("other", LSP.joints[::-1], LSP.limbs, LSP.sigmas, LSP.torso, LSP.head)},
    ],
)
def test_another_kind_of_hourglass_is_refused_and_changes_nothing(options):
    model = small()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CourseError, match="begins as a stacked hourglass of its own") as caught:
        model.begin_as(hourglass(**options))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_too_few_stacks_are_refused():
    with pytest.raises(CourseError, match="3 stacks cannot begin as a network of 2; build fewer of them"):
        small(stacks=3).begin_as(hourglass(stacks=2))


def test_it_begins_from_a_file_of_an_hourglass_or_of_its_own(tmp_path):
    header = {"recipe": "test", "data": {}, "steps": 0, "images": 0, "seed": 0, "device": "cpu", "scores": {}}
    network, file = hourglass(), tmp_path / "first.safetensors"
    checkpoints.save(file, network, {**header, "date": "2026-01-31"})
    begun = small(seed=1).eval()
    assert begun.begin_from(file)["model"] == "hourglass_course"
    images = torch.rand(2, 3, SIZE, SIZE)
    assert torch.equal(begun(images).maps, models.load("hourglass_course", file)(images)[:2])
    checkpoints.save(file, begun, {**header, "date": "2026-01-31"})
    again = small(seed=2).eval()
    assert again.begin_from(file)["model"] == "adversarial_course"
    half = {name: value.half().float() for name, value in begun.named_parameters()}
    assert all(torch.equal(value, half[name]) for name, value in again.named_parameters())
    with pytest.raises(CourseError, match="has 'confidence_judge"):
        small(confidence_weight=0.0).begin_from(file)
    checkpoints.save(file, models.create("hrnet_course"), {**header, "date": "2026-01-31"})
    with pytest.raises(CourseError, match="holds weights of 'hrnet_course'"):
        small().begin_from(file)


# --- the judges -------------------------------------------------------------------------------------------------------


def test_a_judge_is_heard_where_the_maps_are_high():
    torch.manual_seed(0)
    judge = Judge(5, 3, width=8, depth=2).eval()
    evidence, maps = torch.randn(2, 5, 16, 16), torch.zeros(2, 3, 16, 16)
    with torch.no_grad():
        said = judge.answer(judge.look(judge.enter(evidence)))
        empty = judge(evidence, maps)
        assert torch.allclose(empty, said.mean((-2, -1)), atol=1e-5)  # where nothing is claimed, all is heard
        maps[:, 0, 4, 9] = maps[:, 2, 4, 9] = 1e4
        maps[:, 1] = -5 * torch.rand(16, 16)
        heard = judge(evidence, maps)
        assert torch.allclose(heard[:, [0, 2]], said[:, [0, 2], 4, 9], atol=1e-2)
        assert torch.allclose(heard[:, 1], empty[:, 1], atol=1e-5)
    for size in (16, 24, 64):  # a bell outweighs all the rest, however large the map
        bell = heatmaps.gaussian(torch.tensor([[[size / 2, size / 2]]]), (size, size), 1.0)
        told = Judge(1, 1, width=8, depth=1)
        told.look, told.answer = nn.Identity(), nn.Identity()
        told.enter = nn.Identity()
        near = (bell > 0.01).float()
        assert float(told(near, bell)) > 0.8, size


def test_verdicts_are_probabilities_of_one_stack():
    model, batch = small(), people()
    outputs = model(batch.images)
    shown = Answer(outputs.maps[-1], outputs.hidden[-1])
    verdict = model.judge(shown, batch.images)
    for said in verdict:
        assert said.shape == (4, 14) and not said.requires_grad and bool(((said > 0) & (said < 1)).all())
    evidence = torch.cat([*shown, F.avg_pool2d(batch.images, 4)], 1)
    assert torch.equal(verdict.pose, model.pose_judge(evidence, shown.maps).sigmoid())
    assert torch.equal(verdict.confidence, model.confidence_judge(evidence[:, :28], shown.maps).sigmoid())
    other = torch.rand_like(batch.images)
    assert torch.equal(model.judge(shown, other).confidence, verdict.confidence)  # it does not see the picture
    assert not torch.equal(model.judge(shown, other).pose, verdict.pose)
    for wrong in (outputs, Answer(*(part[..., :4, :4] for part in shown))):
        with pytest.raises(CourseError, match=r"judges take one stack's maps \(B, K, h, w\), 4 times smaller"):
            model.judge(wrong, batch.images)


def test_true_and_made_maps_never_mix_inside_a_judge():
    model, batch = small(), people()
    assert not any(
        isinstance(one, nn.BatchNorm2d)
        for judge in (model.pose_judge, model.confidence_judge)
        for one in judge.modules()
    )
    assert not list(model.pose_judge.buffers())
    shown = model.truth(batch, (8, 8))
    one_by_one = [model.judge(Answer(*(part[i : i + 1] for part in shown)), batch.images[i : i + 1]) for i in range(4)]
    together = model.judge(shown, batch.images)
    assert torch.allclose(torch.cat([one.pose for one in one_by_one]), together.pose, atol=1e-5)


# Somebody who faces us, in pixels, in the order of LSP's joints
STANDING = torch.tensor(
    [
        *([11.0, 28.0], [11.0, 23.0], [12.0, 17.0], [20.0, 17.0], [21.0, 23.0], [21.0, 28.0], [6.0, 17.0]),
        *([7.0, 13.0], [11.0, 8.0], [21.0, 8.0], [25.0, 13.0], [26.0, 17.0], [16.0, 7.0], [16.0, 3.0]),
    ]
)


def test_a_judge_learns_to_tell_swapped_legs_from_right_ones():
    """A generator that swaps the ankles and knees of people who all face us: the judges find it out."""
    model = small(judge_width=16, stacks=1)
    generator = torch.Generator().manual_seed(0)
    swapped = list(range(14))
    for leg in ("knee", "ankle"):
        left, right = LSP.index(f"left_{leg}"), LSP.index(f"right_{leg}")
        swapped[left], swapped[right] = right, left
    wrong = [joint for joint in range(14) if swapped[joint] != joint]
    right = [joint for joint in range(14) if swapped[joint] == joint]

    def lesson():
        moved, shaken = (torch.randn(16, count, 2, generator=generator) for count in (1, 14))
        joints = STANDING + moved + 0.5 * shaken
        return Batch(torch.rand(16, 3, SIZE, SIZE, generator=generator), joints, torch.full((16, 14), 2), LSP)

    optimiser = torch.optim.Adam([*model.pose_judge.parameters(), *model.confidence_judge.parameters()], 1e-2)
    for _ in range(30):
        batch = lesson()
        truth = model.truth(batch, (8, 8))
        made = Answer(*(part[None][:, :, swapped] for part in truth))
        model.forward = lambda images, made=made: made
        optimiser.zero_grad()
        model.training_loss(batch, 0.0)["total"].backward()
        optimiser.step()
    batch = lesson()
    truth = model.truth(batch, (8, 8))
    real, fake = (model.judge(shown, batch.images) for shown in (truth, Answer(truth.maps[:, swapped], truth.hidden)))
    for kind in JUDGES:
        one, other = (getattr(verdict, kind) for verdict in (real, fake))
        assert float((one[:, wrong] > 0.5).float().mean()) > 0.9, kind
        assert float((other[:, wrong] < 0.5).float().mean()) > 0.9, kind
        assert float((other[:, right] > 0.5).float().mean()) > 0.9, kind  # what is right is not called a fake


# --- the network ------------------------------------------------------------------------------------------------------


def test_the_judges_are_no_part_of_the_answer():
    model = models.create("adversarial_course").eval()
    assert parameters(model) == parameters(model.generator) < sum(value.numel() for value in model.parameters())
    assert model.only_in_training == ("pose_judge", "confidence_judge")
    plain = models.create("adversarial_course", pose_weight=0.0, confidence_weight=0.0).eval()
    assert parameters(plain) == parameters(model) == sum(value.numel() for value in plain.parameters())
    assert (
        giga_multiply_adds(model)
        == giga_multiply_adds(plain)
        == pytest.approx(giga_multiply_adds(StackedHourglass("lsp", 4, 64, 3, input_size=(96, 96))))
    )
    assert 2 * sum(value.numel() for value in model.parameters()) < 8e6


def test_the_papers_size():
    with torch.device("meta"):
        model, block = models.create("adversarial"), Residual(512, 512)
    assert parameters(block) == 855_040
    assert len(model.generator.hourglasses) == 8 and len(model.skeleton) == 16 and model.input_size == (256, 256)
    assert model(torch.zeros(1, 3, 256, 256, device="meta")).hidden.shape == (4, 1, 16, 64, 64)
    assert (model.pose_weight, model.confidence_weight) == (1 / 180, 1 / 220)


def test_pose_and_occlusion_maps_come_by_turns_and_poses_are_read_off_the_first():
    model, images = small(stacks=3).eval(), torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        all_maps, answer = model.generator(images), model(images)
    assert torch.equal(answer.maps, all_maps[[0, 2, 4]]) and torch.equal(answer.hidden, all_maps[[1, 3, 5]])
    for stage, place in ((-1, 4), (0, 0), (1, 2)):
        for method in (None, "argmax"):
            (pose,), _ = model.decode(answer, stage=stage, read_out=method)
            options = {"sigma": 1.0} if method is None else {}
            joints, scores = heatmaps.read_out(all_maps[place, :1], method or "dark", **options)
            assert torch.equal(pose.joints, 4 * joints[0]) and torch.equal(pose.scores, scores[0])


def test_the_flip_test_averages_both_kinds_of_maps():
    model, (one, other) = small(), torch.rand(2, 2, 3, 14, 8, 8)
    average = model.flip_average(Answer(one[:1], one[1:]), Answer(other[:1], other[1:]))
    for part, place in ((average.maps, slice(0, 1)), (average.hidden, slice(1, 2))):
        mirrored = geometry.flip_maps(other[place], LSP.swaps)
        assert torch.allclose(part, (one[place] + mirrored) / 2)


def test_a_picture_that_is_not_finite_makes_a_pose_that_claims_nothing():
    model = small().eval()
    (pose,) = model.decode(model(torch.full((1, 3, SIZE, SIZE), math.nan)))[0]
    assert pose.joints.isfinite().all() and not pose.scores.any()
    with pytest.raises(CourseError, match="not finite"):
        model.estimate(torch.full((3, 8, 8), math.nan))


def test_half_precision_autocast_trains_all_of_it():
    model = small()
    with torch.autocast("cpu", torch.bfloat16):
        terms = model.training_loss(people(), 1.0)
    assert all(term.dtype == torch.float32 and bool(term.isfinite()) for term in terms.values())
    plain = small().training_loss(people(), 1.0)
    for name, term in terms.items():
        assert float(term.detach()) == pytest.approx(float(plain[name].detach()), rel=0.05), name
    terms["total"].backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"labels": "hard"}, "no way to label made joints called 'hard'"),
        ({"stacks": 0}, "needs a stack"),
        ({"judge_width": 12}, "a multiple of 8 channels; got stacks=2, judge_width=12"),
        ({"judge_width": 0}, "judge_width=0"),
        ({"pose_weight": -1.0}, "pose_weight=-1.0"),
        ({"confidence_weight": math.nan}, "confidence_weight=nan"),
        ({"loudness": -1.0}, "loudness=-1.0"),
        ({"loudness": math.inf}, "loudness=inf"),
        ({"delta": 0.0}, "delta=0.0"),
        ({"epsilon": math.nan}, "epsilon=nan"),
        ({"width": 18}, "a stacked hourglass needs"),
    ],
)
def test_impossible_options_are_refused(options, sentence):
    with pytest.raises(CourseError, match=sentence):
        small(**options)


def test_sizes_that_cannot_be_halved_are_refused():
    with pytest.raises(CourseError, match="divisible by 16; got 32 x 40"):
        small()(torch.zeros(1, 3, 32, 40))


def test_the_module_is_the_one_that_the_names_build():
    assert isinstance(small(), AdversarialPoseNet) and models.options("adversarial_course")["stacks"] == 2
    assert adversarial.LABELS == ("joint", "sample") == (small().labels, small(labels="sample").labels)
