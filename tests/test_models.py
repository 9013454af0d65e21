"""The model contract: building by name, losses, answers, and estimating on any picture."""

import inspect

import numpy as np
import pytest
import torch
from deepcut_helpers import teach
from PIL import Image
from torch.utils._pytree import tree_leaves

from course_lib import checkpoints, geometry, losses, models
from course_lib.errors import CourseError
from course_lib.models.base import PoseModel
from course_lib.pose import Batch, Crowd, Pose
from course_lib.skeletons import LSP, Skeleton
from course_lib.targets import heatmaps

# Every model under its name, made small enough for a test.
REGIONS = {
    **{"channels": 16, "box_width": 24, "head_width": 16, "head_depth": 1, "mask_width": 8, "input_size": (64, 64)},
    **{"proposals": (40, 20), "samples": 16},
}
SMALL = {
    "adversarial": {"stacks": 2, "width": 16, "depth": 2, "judge_width": 8, "input_size": (64, 48)},
    "adversarial_course": {"stacks": 2, "width": 16, "judge_width": 8, "input_size": (64, 64)},
    "alphapose": {"stacks": 2, "width": 16, "depth": 2, "input_size": (64, 48), "parallel": 1},
    "alphapose_course": {"stacks": 2, "width": 16, "input_size": (64, 64)},
    "cpm": {
        **{"stages": 2, "image_channels": (8, 8), "image_kernel": 3, "feature_channels": 6, "first_channels": 12},
        **{"first_kernel": 3, "stage_channels": 10, "stage_kernel": 5, "input_size": (64, 48)},
    },
    "cpm_course": {"stages": 2, "image_channels": (8, 12), "first_channels": 16, "input_size": (64, 64)},
    "deepcut_course": {"width": 8, "input_size": (64, 64)},
    "deeppose": {"channels": (8, 8, 8, 8, 8), "hidden": 32, "input_size": (64, 64)},
    "deeppose_course": {"channels": (16, 16, 16, 16, 16), "hidden": 64, "input_size": (64, 64), "shrink": 1},
    "grmi": {"trunk": "hourglass", "width": 8, "radius": 8.0, "input_size": (64, 64)},
    "grmi_course": {"width": 8, "input_size": (64, 64)},
    "hourglass": {"stacks": 2, "width": 16, "depth": 2, "input_size": (64, 48)},
    "hourglass_course": {"stacks": 2, "width": 16, "input_size": (64, 64)},
    "hrnet": {"width": 4, "stem": 4, "blocks": 1, "modules": (1, 1, 2), "input_size": (64, 32)},
    "hrnet_course": {"width": 8, "stem": 8, "blocks": 1, "modules": (1, 1, 1), "input_size": (64, 64)},
    "ief": {"width": 8, "steps": 3, "bound": 6.0, "sigma": 4.0, "input_size": (64, 48)},
    "ief_course": {"width": 16, "input_size": (64, 64)},
    "keypoint_rcnn": {**REGIONS, "body": (16, 24), "smallest_anchor": 16, "min_size": 64, "max_size": 64},
    "mask_rcnn_course": REGIONS,
    "paf": {"stages": 2, "groups": ((4,), (8,), (8,)), "feature_channels": (8, 8), "width": 8, "hidden": 8}
    | {"input_size": (64, 48)},
    "paf_course": {"stages": 2, "width": 8, "hidden": 8, "input_size": (64, 64)},
    "pictorial_structures": {"input_size": (64, 48), "rotations": 8, "scales": (1.0,)},
    "pose_resnet": {"width": 4, "deconv_width": 8, "input_size": (64, 32)},
    "pose_resnet_course": {"width": 8, "deconv_width": 16, "input_size": (64, 64)},
    "poselet_conditioned": {"input_size": (64, 48), "rotations": 8, "scales": (0.8, 1.2), "poselets": 3, "classes": 2},
    "tompson": {"input_size": (64, 96), "stages": 7, "widths": (8,), "hidden": (16, 8), "crop_size": 12},
    "tompson_course": {"input_size": (64, 64), "fine_width": 16},
}
DETECTORS = ("person_detector",)  # they answer with boxes, and are tested by themselves
BY_REGION = ("keypoint_rcnn", "mask_rcnn_course")  # they learn from proposals: see `training_loss`; no flip test
# Models that learn four images by heart in a few steps, and with which other options
LEARNERS = {
    "adversarial_course": {"width": 32, "stacks": 1},
    "cpm_course": {"image_channels": (16, 32), "first_channels": 48},
    "deeppose_course": {},
    "hourglass_course": {"width": 32},
    "tompson_course": {"rate": 0.0},
}
CLASSICAL = ("pictorial_structures", "poselet_conditioned")  # they have no flip test
# What DeepCut's local search finds hangs on the order of its candidates too; its own tests mirror the dense answers
OF_POSES = [name for name in models.names() if name not in DETECTORS]
MIRRORED = [name for name in OF_POSES if name not in (*CLASSICAL, *BY_REGION, "deepcut_course")]
every_model = pytest.mark.parametrize("name", OF_POSES)
every_loss = pytest.mark.parametrize("name", [name for name in OF_POSES if name not in BY_REGION])


def small(name, skeleton="lsp", **options):
    torch.manual_seed(0)
    model = models.create(name, skeleton, **{**SMALL[name], **options})
    if name == "deepcut_course":
        teach(model.pairs)
    return model


def stirred(name):
    """A model whose maps have peaks: fresh weights answer with next to nothing."""
    model = small(name)
    with torch.no_grad():
        for part, parameter in model.named_parameters():
            if not part.startswith("localiser"):  # or AlphaPose would look miles away
                parameter += 0.07 * torch.randn_like(parameter)
        if name == "deepcut_course":
            model.answers.bias[: len(LSP)] += 2
    return model


def stick_figures(count, size, skeleton=LSP, seed=0):
    """A batch of four-colour stick figures: every joint a blob of its own colour on grey noise."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    extent = torch.tensor([width, height])
    joints = extent * (0.15 + 0.7 * torch.rand(count, len(skeleton), 2, generator=generator))
    blobs = heatmaps.gaussian(joints, size, sigma=2.5)  # (B, K, H, W)
    colours = torch.rand(len(skeleton), 3, generator=generator)
    images = torch.einsum("bkhw,kc->bchw", blobs, colours) + 0.1 * torch.rand(count, 3, *size, generator=generator)
    return Batch(images.clamp(0, 1), joints, torch.full((count, len(skeleton)), 2), skeleton)


def lesson_for(model, count):
    """What a model is trained on: one stick figure a picture, or two for those that look for everybody."""
    one, other = (stick_figures(count, model.input_size, seed=seed) for seed in (0, 1))
    if not model.many:
        return one
    joints, visible = torch.stack([one.joints, other.joints], 1), torch.stack([one.visible, other.visible], 1)
    return Crowd(torch.maximum(one.images, other.images), joints, visible, torch.ones(count, *one.size), LSP)


# --- building ---------------------------------------------------------------------------------------------------------


def test_every_model_has_a_small_form_in_this_file():
    assert sorted([*SMALL, *DETECTORS]) == models.names()


@every_model
def test_models_know_their_name_options_and_sizes(name):
    model = small(name)
    assert isinstance(model, PoseModel) and model.skeleton is LSP
    assert model.name == name and model.options == SMALL[name]
    assert model.input_size == SMALL[name]["input_size"] and model.stride >= 1
    again = models.create(model.name, model.skeleton, **model.options)
    assert [p.shape for p in again.parameters()] == [p.shape for p in model.parameters()]


def test_a_model_without_a_skeleton_gets_its_usual_one():
    assert models.options("hourglass")["skeleton"] == "mpii"
    assert models.create("hourglass_course").skeleton.name == models.options("hourglass_course")["skeleton"] == "lsp"


@every_model
def test_models_take_a_skeleton_of_ones_own(name):
    own = Skeleton("hand", ("wrist", "thumb", "finger"), ((0, 1), (0, 2)), (0.05,) * 3, ("wrist", "thumb"), None)
    model = small(name, own)
    model.train(name not in BY_REGION)  # in training those answer with losses
    (poses,) = model.decode(model(torch.rand(1, 3, *model.input_size)))
    assert all(len(pose.joints) == 3 for pose in poses) and (len(poses) == 1 or model.many)


def test_names_and_options_nobody_knows_are_refused_with_what_is_known():
    with pytest.raises(CourseError, match="did you mean 'hourglass'"):
        models.create("hourglas")
    with pytest.raises(CourseError, match=r"has no option 'stakcs'; its options are stacks, width, depth"):
        models.create("hourglass", stakcs=2)
    with pytest.raises(CourseError, match="no skeleton called 'cat'"):
        models.create("hourglass_course", "cat")


@every_model
def test_the_first_sentence_says_what_a_module_is_and_whose(name):
    module = inspect.getmodule(type(small(name)))
    assert "20" in module.__doc__ and "|" in module.__doc__  # a year, and the table of paper / code / here


# --- weights ----------------------------------------------------------------------------------------------------------


@every_model
def test_a_saved_model_is_loaded_again_and_answers_the_same(name, tmp_path):
    model = small(name).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())  # what a checkpoint keeps
    header = {"recipe": "test", "data": {}, "steps": 0, "images": 0, "seed": 0, "device": "cpu", "scores": {}}
    checkpoints.save(tmp_path / "model.safetensors", model, {**header, "date": "2026-01-31"})
    loaded = models.load(name, tmp_path / "model.safetensors")
    assert not loaded.training and loaded.input_size == model.input_size
    images = torch.rand(2, 3, *model.input_size)
    for one, other in zip(tree_leaves(loaded(images)), tree_leaves(model(images)), strict=True):
        assert torch.equal(one, other)


def test_a_checkpoint_that_is_not_there_is_told_in_a_sentence(tmp_path):
    with pytest.raises(CourseError, match=r"there is no checkpoint .*nowhere\.safetensors; train one with"):
        models.load("hourglass_course", tmp_path / "nowhere.safetensors")
    with pytest.raises(CourseError, match="no shipped checkpoint called 'hourglas'; did you mean 'hourglass_course'"):
        models.load("hourglas")


# --- answers ----------------------------------------------------------------------------------------------------------


@every_model
def test_a_batch_answers_as_its_images_do_one_by_one(name):
    # stirred, proposals become slivers, in which all places are equally likely
    model = (stirred(name) if small(name).many and name not in BY_REGION else small(name)).eval()
    images = torch.rand(3, 3, *model.input_size)
    together = model.decode(model(images))
    assert len(together) == 3 and any(together) and (model.many or all(len(poses) == 1 for poses in together))
    for index in range(3):
        for alone, pose in zip(model.decode(model(images[index : index + 1]))[0], together[index], strict=True):
            assert isinstance(alone, Pose) and alone.skeleton is LSP
            assert torch.allclose(alone.joints, pose.joints, atol=1e-2)
            assert torch.allclose(alone.scores, pose.scores, atol=1e-5)


@every_loss
def test_the_loss_ignores_unlabelled_joints_and_sums_its_terms(name):
    model = small(name).eval()
    batch = lesson_for(model, 3)
    batch.visible[0, ..., :5] = 0
    batch.visible[1] = 1
    outputs = model(batch.images)
    terms = model.loss(outputs, batch)
    parts = [term.detach() for term_name, term in terms.items() if term_name != "total"]
    assert float(terms["total"].detach()) == pytest.approx(float(sum(parts)), rel=1e-5)
    batch.joints[0, ..., :5, :] = float("nan")
    assert torch.equal(model.loss(outputs, batch)["total"], terms["total"])
    batch.visible[:] = 0
    if model.many:  # else it would be asked to find nobody
        batch.labelled[:] = 0
    nothing = model.loss(model(batch.images), batch)["total"]
    nothing.backward()
    assert nothing.detach() == 0 and all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@every_loss
def test_half_precision_autocast_trains(name):
    model = small(name).train()
    batch = lesson_for(model, 4)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(model(batch.images), batch)["total"]
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", LEARNERS)
def test_four_images_are_learned_by_heart(name):
    model = small(name, **LEARNERS[name]).train().to(memory_format=torch.channels_last)
    batch = stick_figures(4, model.input_size)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        model.loss(model(batch.images), batch)["total"].backward()
        optimiser.step()
    poses = model.estimate(batch.images)
    answer = torch.stack([pose.joints for (pose,) in poses])
    torso = 0.25 * model.input_size[0]
    correct = (answer - batch.joints).norm(dim=-1) <= 0.2 * torso
    assert bool(correct.all()), f"{int((~correct).sum())} joints of {correct.numel()} are wrong"
    assert min(float(pose.scores.min()) for (pose,) in poses) > 0.5


# --- estimating -------------------------------------------------------------------------------------------------------


class Finder(PoseModel):
    """Answers with the brightest pixel of every crop, for all joints: a model whose right answer is known."""

    def __init__(self):
        super().__init__("lsp", (64, 48))
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.seen = []

    def forward(self, images):
        self.seen.append((images.shape, self.training, torch.is_grad_enabled()))
        return images.mean(1, keepdim=True).expand(-1, 14, -1, -1) * self.weight

    def decode(self, outputs):
        joints, scores = heatmaps.dark(outputs, sigma=2.0)
        return [[Pose(j, s, self.skeleton, float(s.mean()))] for j, s in zip(joints, scores, strict=True)]


def spot(x, y, height=90, width=120, sigma=3.0):
    return heatmaps.gaussian(torch.tensor([[x, y]]), (height, width), sigma)[0]


@pytest.mark.parametrize("boxes", [None, [[20.0, 10.0, 80.0, 90.0]], [[-30.0, -10.0, 60.0, 70.0]]])
def test_estimates_come_back_in_the_pixels_of_the_picture(boxes):
    model = Finder().train()
    (pose,) = model.estimate(spot(47.3, 38.8), boxes=boxes)[0]
    assert torch.allclose(pose.joints, torch.tensor([47.3, 38.8]).expand(14, 2), atol=0.15)
    assert pose.box.tolist() == ([0, 0, 120, 90] if boxes is None else boxes[0])
    assert pose.scores.shape == (14,) and pose.score > 0.5
    assert model.training and model.seen == [((1, 3, 64, 48), False, False)]
    (pose.joints.requires_grad_() * pose.scores[:, None]).sum().backward()  # ordinary tensors, fit for further use


def test_boxes_are_grown_by_a_quarter_unless_told_otherwise():
    model = Finder()
    outside = spot(9.0, 45.0)  # left of the box, within its padding
    box = [[10.0, 10.0, 70.0, 80.0]]
    assert abs(float(model.estimate(outside, box)[0][0].joints[0, 0]) - 9) < 0.5
    assert float(model.estimate(outside, box, padding=1.0)[0][0].joints[0, 0]) > 0


def test_many_pictures_of_many_sizes_with_any_number_of_boxes():
    model = Finder()
    pictures = [spot(30.0, 30.0), spot(50.0, 20.0, 40, 200), spot(5.5, 5.5, 11, 11, 1.0)]
    boxes = [torch.tensor([[10.0, 10.0, 50.0, 60.0]] * 40), [], None]
    answers = model.estimate(pictures, boxes)
    assert [len(poses) for poses in answers] == [40, 0, 1]
    assert len(model.seen) == 2  # 41 crops, 32 at once
    assert torch.allclose(answers[0][39].joints[0], torch.tensor([30.0, 30.0]), atol=0.1)
    assert torch.allclose(answers[2][0].joints[0], torch.tensor([5.5, 5.5]), atol=0.1)
    assert model.estimate([]) == [] and model.estimate(pictures[0], torch.zeros(0, 4)) == [[]]
    whole = model.estimate(torch.stack([pictures[0], pictures[0]]).repeat(1, 1, 1)[:, None])
    assert len(whole) == 2 and len(whole[0]) == 1


def test_a_box_beside_the_picture_gives_a_pose_that_claims_nothing():
    beside, partly = Finder().estimate(spot(47.0, 38.0), [[130.0, 0.0, 160.0, 50.0], [-400.0, -300.0, 60.0, 70.0]])[0]
    assert beside.score == 0 and bool((beside.scores == 0).all()) and beside.joints.isfinite().all()
    assert partly.score > 0


@pytest.mark.parametrize(
    ("boxes", "sentence"),
    [
        ([[5.0, 5.0, 5.0, 9.0]], "x0 < x1 and y0 < y1"),
        ([[5.0, 5.0, float("nan"), 9.0]], "must be finite"),
        ([5.0, 5.0, 8.0, 9.0], r"shape \(N, 4\)"),
        ([[5.0, 5.0, 8.0]], r"shape \(N, 4\)"),
    ],
)
def test_boxes_that_are_none_are_refused(boxes, sentence):
    with pytest.raises(CourseError, match=sentence):
        Finder().estimate(spot(47.0, 38.0), boxes)


def test_pictures_and_boxes_must_match_in_number():
    with pytest.raises(CourseError, match="2 pictures came with the boxes of 1"):
        Finder().estimate([spot(47.0, 38.0)] * 2, [[[0.0, 0.0, 5.0, 5.0]]])


@pytest.mark.parametrize("name", [*CLASSICAL, *BY_REGION])
def test_some_systems_have_no_flip_test(name):
    with pytest.raises(CourseError, match="has no flip test"):
        small(name).estimate(spot(47.0, 38.0), flip_test=True)


def test_a_model_without_a_flip_test_says_so():
    with pytest.raises(CourseError, match="Finder has no flip test"):
        Finder().estimate(spot(47.0, 38.0), flip_test=True)


@every_model
@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((40, 30), np.uint8),
        np.full((40, 30, 1), 7, np.uint8),
        np.full((40, 30, 4), 70, np.uint8),
        np.full((40, 30), 700, np.uint16),
        np.ones((1, 1)),
        np.ones((1, 300)),
        Image.new("RGBA", (30, 40)),
        torch.rand(3, 40, 30),
    ],
)
def test_every_model_estimates_on_every_kind_of_picture(name, picture):
    model = small(name)
    (poses,) = model.estimate(picture)
    assert len(poses) == 1 or model.many
    for pose in poses:
        assert pose.joints.shape == (14, 2) and pose.joints.isfinite().all() and pose.scores.isfinite().all()


@every_model
def test_broken_pictures_are_refused_by_name(name, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(CourseError, match=r"broken\.jpg"):
        small(name).estimate([torch.rand(3, 8, 8), tmp_path / "broken.jpg"])
    with pytest.raises(CourseError, match="not finite"):
        small(name).estimate(torch.full((3, 8, 8), float("nan")))


@pytest.mark.parametrize("name", MIRRORED)
def test_with_the_flip_test_a_mirrored_picture_has_the_mirrored_pose(name):
    model = stirred(name)
    picture = stick_figures(1, (64, 48)).images[0]
    # a detector need not see a mirrored picture as it sees the other
    told = {"boxes": [[0.0, 0.0, 48.0, 64.0]]} if getattr(model, "takes_boxes", False) else {}
    (poses,) = model.estimate(picture, flip_test=True, **told)
    (mirrored,) = model.estimate(geometry.flip_images(picture), flip_test=True, **told)
    assert len(poses) == 1 or (model.many and poses)
    for pose, other in zip(poses, mirrored, strict=True):
        back = geometry.flip_joints(other.joints, 48, LSP.swaps)
        assert torch.allclose(back, pose.joints, atol=0.05)
        assert torch.allclose(other.scores[list(LSP.swaps)], pose.scores, atol=1e-4)


def test_stage_losses_are_measured_in_all_zero_answers():
    model = small("hourglass_course")
    batch = stick_figures(8, model.input_size)
    zeros = torch.zeros(2, 8, 14, 16, 16)
    for loss in model.stage_losses(zeros, batch):
        assert float(loss) == pytest.approx(1, abs=0.05)
    perfect = model.targets(batch, (16, 16))
    assert float(model.stage_losses(perfect[None], batch)[0]) == 0
    plain = losses.heatmap_mse(zeros[0], perfect, batch.visible)
    assert torch.equal(model.stage_losses(zeros, batch)[0], plain / heatmaps.zero_level((16, 16), model.sigma))
