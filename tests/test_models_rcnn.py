"""Mask R-CNN trained on crowds: what it is asked, and that boxes, joints and masks are learned together."""

import math

import pytest
import torch
from rcnn_helpers import HEADER, LOSSES, TWO, crowd, small
from torchvision.models.detection.roi_heads import RoIHeads

from course_lib import checkpoints, geometry, models, paths
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.models.base import PoseModel
from course_lib.models.counting import parameters
from course_lib.models.pyramid import TrunkPyramid
from course_lib.models.rcnn import learning, target_cells
from course_lib.models.rcnn.keypoints import grown
from course_lib.models.rcnn.regions import ProposalHead

# --- the two sizes ----------------------------------------------------------------------------------------------------


def test_both_sizes_are_models_of_the_course():
    with torch.device("meta"):
        paper, course = models.create("keypoint_rcnn"), models.create("mask_rcnn_course")
    assert parameters(paper) == 59_190_378 and not paper.roi_heads.has_mask() and len(paper.skeleton) == 17
    assert parameters(course) == 1_252_002 and course.roi_heads.has_mask() and course.skeleton.name == "lsp"
    for model in (paper, course):
        assert isinstance(model, PoseModel) and model.many and model.trained_on == "crowd"
    assert course.transform.image_mean == [0.0] * 3 and course.transform.image_std == [1.0] * 3
    assert paper.transform.image_mean == [0.485, 0.456, 0.406] and course.input_size == (192, 256)


def test_the_mask_branch_has_torchvisions_names():
    names = {name for name in small().roi_heads.state_dict() if name.startswith("mask")}
    wanted = {f"mask_head.{i}.0.{part}" for i in range(4) for part in ("weight", "bias")}
    wanted |= {f"mask_predictor.{layer}.{p}" for layer in ("conv5_mask", "mask_fcn_logits") for p in ("weight", "bias")}
    assert names == wanted


def test_pictures_of_the_models_own_size_are_not_resized():
    model = small().eval()
    picture = torch.rand(3, 64, 96)
    assert torch.equal(model.transform([picture])[0].tensors[0], picture)


def test_the_pyramid_has_three_strides_and_begins_from_any_trunk():
    pyramid = TrunkPyramid("lsp", channels=16, input_size=(64, 96))
    maps = pyramid(torch.rand(2, 3, 64, 96))
    assert {name: tuple(level.shape) for name, level in maps.items()} == {
        **{"0": (2, 16, 16, 24), "1": (2, 16, 8, 12), "2": (2, 16, 4, 6)}
    }
    assert pyramid.out_channels == 16 and pyramid.stride == 4 and pyramid.multiple == 32
    for name in ("hourglass_course", "paf_course"):
        before = pyramid.lateral[0].weight.detach().clone()
        assert pyramid.begin_from(paths.checkpoint(name))["model"] == name
        assert torch.equal(pyramid.lateral[0].weight, before)
    own = models.load("paf_course").trunk.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in pyramid.trunk.state_dict().items())
    with pytest.raises(CourseError, match="divisible by 32; got 50 x 64"):
        pyramid(torch.rand(1, 3, 50, 64))


# --- what it is asked -------------------------------------------------------------------------------------------------


def test_who_is_seen_is_asked_for_with_the_box_of_what_is_seen():
    batch = crowd([(4, 4, 30, 50), (60, 5, 80, 50), (50, 0, 61, 64), (58, 0, 96, 64)], room=6)
    # the second stands wholly behind the last, and of the third eight columns are seen
    (target,) = learning.targets(batch)
    assert target["boxes"].tolist() == [[4, 4, 30, 50], [50, 0, 58, 64], [58, 0, 96, 64]]
    assert torch.equal(target["keypoints"][..., :2], batch.joints[0, [0, 2, 3]])
    assert (target["keypoints"][..., 2] == 2).all() and target["masks"].shape == (3, 64, 96)
    assert target["masks"].sum((1, 2)).tolist() == [26 * 46, 8 * 64, 38 * 64]
    assert torch.equal(target["masks"][1].bool(), batch.owners[0] == 2)
    assert "masks" not in learning.targets(batch, masks=False)[0]


@pytest.mark.parametrize("box", [(5, 5, 6, 40), (5, 5, 40, 6), (5, 5, 6, 6)])
def test_strips_and_single_pixels_are_left_out(box):
    (target,) = learning.targets(crowd([box, *TWO]))
    assert target["boxes"].tolist() == [list(one) for one in TWO] and len(target["masks"]) == 2
    (target,) = learning.targets(crowd([(5, 5, 7, 7)]))
    assert target["boxes"].tolist() == [[5, 5, 7, 7]]


def test_what_is_said_of_joints_that_lie_outside_is_true():
    batch = next(synthetic.crowds(24, seed=5, size=(192, 256), skeleton="lsp"))
    targets = learning.targets(batch, masks=False)
    keypoints, boxes = (torch.cat([target[name] for target in targets]) for name in ("keypoints", "boxes"))
    labelled = int((keypoints[..., 2] > 0).sum())
    outside = [1 - int(target_cells(keypoints, grown(boxes, by))[1].sum()) / labelled for by in (1, 1.25)]
    assert outside == pytest.approx([1 / 13, 1 / 23], abs=0.01)


def test_boxes_grow_about_their_middle():
    boxes = torch.tensor([[10.0, 20.0, 30.0, 60.0]])
    assert grown(boxes, 1.5).tolist() == [[5, 10, 35, 70]] and grown(boxes, 1.0) is boxes
    assert grown(boxes[:0], 1.25).shape == (0, 4)


# --- learning ---------------------------------------------------------------------------------------------------------


def test_every_branch_learns():
    model = small().train()
    torch.manual_seed(0)
    terms = model.training_loss(crowd(TWO), 0.5)
    assert terms.keys() == LOSSES | {"total"} and all(term.isfinite() and term > 0 for term in terms.values())
    said = {name: float(term.detach()) for name, term in terms.items()}
    assert said["total"] == pytest.approx(sum(said[name] for name in LOSSES))
    assert said["keypoint"] == pytest.approx(8.05, abs=0.7)
    terms["total"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    heads = model.roi_heads
    for part in (model.backbone.trunk, model.rpn, heads.box_head, heads.mask_head, heads.keypoint_head):
        assert sum(float(p.grad.abs().sum()) for p in part.parameters()) > 0


@pytest.mark.parametrize("training", [True, False])
def test_joints_are_looked_for_in_the_grown_box_and_masks_in_the_box_itself(training):
    model, seen = small(grow=1.5, score_threshold=0.0).train(training), {}
    for name in ("keypoint_roi_pool", "mask_roi_pool"):
        pool = getattr(model.roi_heads, name)
        pool.register_forward_hook(lambda _, given, __, name=name: seen.update({name: torch.cat(given[1])}))
    model.training_loss(crowd(TWO)) if training else model(crowd(TWO).images)
    assert len(seen["mask_roi_pool"]) > 1
    assert torch.equal(seen["keypoint_roi_pool"], grown(seen["mask_roi_pool"], 1.5))


@pytest.mark.parametrize(("grow", "asked"), [(1.0, False), (1.5, True)])
def test_joints_beside_the_box_are_asked_for_where_it_is_grown(grow, asked):
    batch, model = crowd([(30, 20, 60, 50)]), small(grow=grow, people=1.0).train()
    batch.joints[:] = torch.tensor([65.0, 35.0])
    model.rpn.forward = lambda *_: ([torch.zeros(0, 4)], {})  # the true box is the only one
    assert (model.training_loss(batch)["keypoint"].detach() > 0) == asked


def test_boxes_are_read_by_their_size_and_all_else_finely():
    fine, plain = small(reads=1).roi_heads, small(fine=False).roi_heads
    for pool in (fine.keypoint_roi_pool, fine.mask_roi_pool):
        assert pool.featmap_names == ["0"] and pool.sampling_ratio == 1 and pool.output_size == (14, 14)
    for pool in (fine.box_roi_pool, plain.keypoint_roi_pool, plain.mask_roi_pool):
        assert pool.featmap_names == ["0", "1", "2"] and pool.sampling_ratio == 2 and pool.canonical_scale == 112


def test_without_masks_there_are_the_five_losses_of_the_joints_network():
    terms = small(masks=False).train().training_loss(crowd(TWO))
    assert terms.keys() == (LOSSES - {"mask"}) | {"total"}


@pytest.mark.parametrize("room", [0, 20])
def test_a_picture_without_people_teaches_that_nobody_is_there(room):
    model = small().train()
    terms = model.training_loss(crowd([], room=room))
    terms["total"].backward()
    assert not any(terms[name].detach() for name in ("keypoint", "mask", "box_reg", "rpn_box_reg"))
    assert terms["classifier"] > 0 and terms["objectness"] > 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_people_without_labelled_joints_and_joints_that_are_no_numbers():
    batch = crowd(TWO)
    batch.visible[0, 0] = 0
    batch.joints[0, 0] = math.nan
    terms = small().train().training_loss(batch)
    assert all(term.isfinite() for term in terms.values()) and terms["keypoint"] > 0
    batch.visible[:] = 0
    assert small().train().training_loss(batch)["keypoint"] == 0


def test_at_first_the_trunk_may_rest():
    model = small(trunk_rests=0.5).train()
    for progress, learns in ((0.0, False), (0.49, False), (0.5, True), (1.0, True)):
        model.zero_grad(set_to_none=True)
        model.training_loss(crowd(TWO), progress)["total"].backward()
        grads = [parameter.grad for parameter in model.backbone.trunk.parameters()]
        assert all((grad is not None) == learns for grad in grads)
        assert all(parameter.grad is not None for parameter in model.backbone.lateral.parameters())


def test_a_whole_pyramid_is_taken_from_another_network(tmp_path):
    file, model = tmp_path / "model.safetensors", small()
    checkpoints.save(file, model, HEADER)
    pyramid = TrunkPyramid("lsp", 16, (64, 96))
    assert pyramid.begin_from(file)["model"] == "mask_rcnn_course"
    own = model.backbone.state_dict()
    assert all(
        torch.allclose(value.float(), own[name].float(), rtol=1e-3, atol=1e-4)
        for name, value in pyramid.state_dict().items()
    )


def test_autocast_halves_the_layers_but_not_the_boxes():
    model = small().train()
    with torch.autocast("cpu", torch.bfloat16):
        terms = model.training_loss(crowd(TWO))
        outputs = model.eval()(torch.rand(2, 3, 64, 96))
        scores, moves = ProposalHead(16, 3)([torch.rand(1, 16, 4, 4)])
    terms["total"].backward()
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())
    assert {value.dtype for part in (scores, moves) for value in part} == {torch.float32}
    assert all(output["boxes"].dtype == output["keypoints"].dtype == torch.float32 for output in outputs)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_it_learns_a_picture_by_heart():
    model = small(head_depth=2, samples=32).train()
    model.begin_from(paths.checkpoint("hourglass_course"))
    batch = crowd(TWO)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for i in range(80):
        torch.manual_seed(i)
        optimiser.param_groups[0]["lr"] = 3e-3 if i < 55 else 5e-4
        optimiser.zero_grad()
        model.training_loss(batch)["total"].backward()
        optimiser.step()
    with torch.no_grad():
        (output,) = model.eval()(batch.images)
    assert (output["scores"][:2] > 0.5).all()
    order = output["boxes"][:2, 0].argsort()
    assert float(geometry.box_iou(output["boxes"][order], torch.tensor(TWO).float()).diagonal().min()) > 0.7
    masks, true = output["masks"][order, 0] > 0.5, torch.stack([batch.owners[0] == i for i in range(2)])
    assert bool(((masks & true).sum((1, 2)) / (masks | true).sum((1, 2)) > 0.6).all())
    far = (output["keypoints"][order][..., :2] - batch.joints[0]).norm(dim=-1)
    assert float(far.median()) < 2


# --- the same as torchvision's ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_joints_and_masks_together_are_torchvisions(training):
    """`RoIHeads.forward` asked of the very same heads, in the paper's form: nothing is grown or read from one level."""
    model = small(body=(16, 24), fine=False, grow=1.0, sure="logit", score_threshold=0.0).train(training)
    images = torch.rand(2, 3, 64, 96)
    targets = [learning.checked(learning.targets(crowd(boxes))[0], 0, 14, True) for boxes in (TWO, TWO[:1])]
    answers = []
    with torch.no_grad():
        pictures, asked = model.transform(list(images), targets if training else None)
        features = model.backbone(pictures.tensors)
        for forward in (type(model.roi_heads).forward, RoIHeads.forward):
            torch.manual_seed(0)
            proposals, _ = model.rpn(pictures, features, asked)
            answers.append(forward(model.roi_heads, features, proposals, pictures.image_sizes, asked))
    (ours, mine), (theirs, its) = answers
    assert mine.keys() == its.keys() and len(mine) == 4 * training
    assert all(torch.allclose(mine[name], its[name], rtol=1e-5, atol=1e-6) for name in its)
    assert len(ours) == len(theirs) == (0 if training else 2)
    for own, other in zip(ours, theirs, strict=True):
        assert own.keys() == other.keys() and len(own["masks"]) > 1
        assert all(torch.allclose(own[name], other[name], rtol=1e-5, atol=1e-4) for name in other)
