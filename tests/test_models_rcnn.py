"""Mask R-CNN trained on crowds: what it is asked, its masks beside its joints, how it answers, and odd pictures."""

import math

import pytest
import torch
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import RoIHeads

from course_lib import checkpoints, geometry, models, paths
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.models.base import PoseModel
from course_lib.models.counting import parameters
from course_lib.models.pyramid import TrunkPyramid
from course_lib.models.rcnn import learning, target_cells
from course_lib.models.rcnn.keypoints import grown, shares
from course_lib.models.rcnn.regions import ProposalHead
from course_lib.pose import Crowd, Found, Pose
from course_lib.skeletons import LSP

SMALL = {
    **{"channels": 16, "box_width": 24, "head_width": 16, "head_depth": 1, "mask_width": 8, "input_size": (64, 96)},
    **{"proposals": (40, 20), "samples": 16, "detections": 6},
}
LOSSES = {"classifier", "box_reg", "keypoint", "mask", "objectness", "rpn_box_reg"}
HEADER = {
    **{"recipe": "test", "data": {}, "steps": 0, "images": 0, "seed": 0, "device": "cpu", "scores": {}},
    "date": "2026-01-31",
}


def small(seed=0, name="mask_rcnn_course", **options):
    torch.manual_seed(seed)
    return models.create(name, **{**SMALL, **options})


def crowd(boxes, size=(64, 96), room=None, skeleton=LSP):
    """One picture of bright boxes (N, 4) in whole pixels, later ones in front, joints spread over each."""
    boxes = torch.tensor(boxes).reshape(-1, 4)
    owners, image = torch.full(size, -1, dtype=torch.int8), torch.zeros(3, *size)
    for number, (left, top, right, bottom) in enumerate(boxes.tolist()):
        owners[top:bottom, left:right] = number
        image[:, top:bottom, left:right] = torch.tensor([0.9, 0.3 + 0.3 * number, 0.5])[:, None, None]
    spread = torch.rand(len(skeleton), 2, generator=torch.Generator().manual_seed(1))
    joints = boxes[:, None, :2] + spread * (boxes[:, None, 2:] - boxes[:, None, :2])
    visible = torch.full(joints.shape[:2], 2)
    made = Crowd(image[None], joints[None], visible[None], torch.ones(1, *size), skeleton, owners[None])
    return made.with_room(room or 0)


TWO = ((8, 6, 38, 60), (54, 10, 88, 58))


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


# --- how it answers ---------------------------------------------------------------------------------------------------


def knowing(batch, scores, **options):
    """A network whose box head has found the true boxes, and whose keypoint head draws the true cells."""
    model = small(**options).eval()
    (target,) = learning.targets(batch)
    boxes, heads = target["boxes"], model.roi_heads
    cells, asked = target_cells(target["keypoints"], grown(boxes, heads.grow))
    assert asked.all()
    drawn = F.one_hot(cells, 56 * 56).view(*cells.shape, 56, 56) * 20.0
    drawn = F.avg_pool2d(drawn, 3, stride=1, padding=1) * 9  # a learned peak is as smooth as that
    heads.postprocess_detections = lambda *_: ([boxes], [torch.tensor(scores)], [torch.ones(len(boxes)).long()])
    heads._keypoint_logits = lambda *_: drawn
    return model


@pytest.mark.parametrize("grow", [1.0, 1.25])
def test_what_is_drawn_is_read(grow):
    batch = crowd(TWO)
    with torch.no_grad():
        (poses,) = knowing(batch, [0.9, 0.8], grow=grow).decode(knowing(batch, [0.9, 0.8], grow=grow)(batch.images))
    assert [pose.score for pose in poses] == pytest.approx([0.9, 0.8])
    for pose, joints, box in zip(poses, batch.joints[0], TWO, strict=True):
        assert isinstance(pose, Pose) and pose.box.tolist() == list(box) and pose.skeleton is LSP
        sides = grow * (pose.box[2:] - pose.box[:2])
        assert ((pose.joints - joints).abs() <= 1.5 * sides / 56 + 1).all()
        assert pose.scores.shape == (14,) and (pose.scores > 0.9).all() and (pose.scores <= 1).all()


def test_in_a_larger_picture_all_is_moved_back():
    """Twice as large and in a wider picture: a box and its joints come back in that picture's pixels."""
    batch = crowd(TWO)
    picture = F.interpolate(batch.images, scale_factor=2, mode="nearest")[0]
    (poses,) = knowing(batch, [0.9, 0.8]).estimate(picture)
    assert [pose.box.tolist() for pose in poses] == [[2 * side for side in box] for box in TWO]
    assert float((poses[0].joints - 2 * batch.joints[0, 0]).abs().max()) < 5
    (found,) = knowing(batch, [0.4, 0.8]).detect([picture])
    assert isinstance(found, Found) and found.scores.tolist() == pytest.approx([0.8, 0.4])
    assert found.boxes.tolist() == [[2 * side for side in box] for box in TWO[::-1]]


def test_people_rank_by_their_boxes_or_with_their_joints():
    outputs = [
        {
            **{"keypoints": torch.rand(2, 14, 3), "boxes": torch.rand(2, 4), "scores": torch.tensor([0.9, 0.8])},
            "keypoints_scores": torch.tensor([[0.1] * 14, [0.5] * 14]),
        }
    ]
    model = small().eval()
    assert [pose.score for pose in model.decode(outputs, "box")[0]] == pytest.approx([0.9, 0.8])
    ((first, second),) = model.decode(outputs, rank="product")
    assert [first.score, second.score] == pytest.approx([0.4, 0.09])
    assert torch.equal(first.joints, outputs[0]["keypoints"][1, :, :2])
    (pose, _), outputs[0]["keypoints_scores"][:] = small(sure="logit").eval().decode(outputs)[0], 0
    assert float(pose.scores[0]) == pytest.approx(1 / (1 + math.exp(-0.1)))
    with pytest.raises(CourseError, match="no rank called 'boxes'; did you mean 'box'"):
        model.decode(outputs, "boxes")


def test_a_share_is_that_of_the_softmax_near_the_joint():
    box = torch.tensor([[0.0, 0.0, 56.0, 112.0]])
    joints = torch.tensor([[[20.5, 41.0], [0.5, 1.0], [55.9, 111.9]]])
    even = torch.zeros(1, 3, 56, 56)
    assert shares(even, joints, box).tolist() == [pytest.approx([49 / 3136, 16 / 3136, 16 / 3136])]
    one = even.clone()
    one[0, :, 20, 20] = 40
    assert shares(one, joints, box).tolist() == [pytest.approx([1, 0, 0])]
    one[0, :, 50, 50] = 40  # it might as well be there
    assert shares(one, joints, box).tolist() == [pytest.approx([0.5, 0, 0])]
    one[0, :, 20, 20] = 0
    one[0, :, 23, 17] = 40  # three cells away are near
    assert shares(one, joints, box).tolist() == [pytest.approx([0.5, 0, 0])]
    assert torch.allclose(shares(one + 1000, joints, box), shares(one, joints, box))
    assert shares(even[:0], joints[:0], box[:0]).shape == (0, 3)


def test_it_finds_who_is_there_in_any_picture():
    model = small().eval()
    outputs = model(torch.rand(3, 3, 64, 96))
    assert len(outputs) == 3 and outputs[0].keys() == {
        "boxes",
        "labels",
        "scores",
        "keypoints",
        "keypoints_scores",
        "masks",
    }
    for output in outputs:
        count = len(output["boxes"])
        assert output["masks"].shape == (count, 1, 64, 96) and 0 <= output["masks"].min() <= output["masks"].max() <= 1
        assert output["keypoints"].shape == (count, 14, 3)
    poses = model.estimate([torch.rand(3, 20, 30), torch.rand(3, 300, 100), torch.rand(3, 1, 1)])
    assert len(poses) == 3 and all(pose.joints.isfinite().all() for people in poses for pose in people)
    assert model.estimate([]) == [] and model.detect([]) == []
    (found,) = model.detect([torch.rand(3, 20, 30)])
    assert (found.boxes >= 0).all() and (found.boxes <= torch.tensor([30, 20, 30, 20])).all()


def test_hundreds_of_boxes_are_answered():
    model = small(proposals=(800, 800), detections=300, score_threshold=0.0).eval()
    (output,) = model(torch.rand(1, 3, 64, 96))
    assert len(output["boxes"]) > 100 and all(value.isfinite().all() for value in output.values())
    assert len(model.decode([output])[0]) == len(output["boxes"])


def test_in_a_picture_without_numbers_there_is_nobody():
    model = small().eval()
    (nothing, something) = model(torch.stack([torch.full((3, 64, 96), math.nan), torch.rand(3, 64, 96)]))
    assert len(nothing["boxes"]) == 0 and nothing["masks"].shape == (0, 1, 64, 96) and len(something["boxes"])
    assert model.decode([nothing]) == [[]]
    with pytest.raises(CourseError):
        model.estimate(torch.full((3, 64, 96), math.nan))


def test_it_says_that_it_has_no_flip_test():
    with pytest.raises(CourseError, match="MaskRCNN has no flip test"):
        small().estimate(torch.rand(3, 64, 96), flip_test=True)


# --- weights ----------------------------------------------------------------------------------------------------------


def test_a_saved_network_answers_the_same(tmp_path):
    model = small().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    checkpoints.save(tmp_path / "model.safetensors", model, HEADER)
    loaded = models.load("mask_rcnn_course", tmp_path / "model.safetensors")
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        for one, other in zip(loaded(images), model(images), strict=True):
            assert all(torch.equal(one[name], other[name]) for name in other)
    other = small(seed=1)
    assert other.begin_from(tmp_path / "model.safetensors")["model"] == "mask_rcnn_course"
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), model.parameters(), strict=True))


def test_it_begins_from_a_network_that_knows_one_person():
    model = small()
    head = model.roi_heads.keypoint_head[0].weight.detach().clone()
    assert model.begin_from(paths.checkpoint("hourglass_course"))["model"] == "hourglass_course"
    own = models.load("hourglass_course").state_dict()
    assert all(torch.equal(value, own[name]) for name, value in model.backbone.trunk.network.state_dict().items())
    assert torch.equal(model.roi_heads.keypoint_head[0].weight, head)
    with pytest.raises(CourseError, match=r"holds weights of 'deeppose_course', which has no part 'trunk\.network'"):
        model.begin_from(paths.checkpoint("deeppose_course"))
    with pytest.raises(CourseError, match="holds weights of 'hourglass_course', but the model is 'mask_rcnn_course'"):
        small(body=(16, 24)).begin_from(paths.checkpoint("hourglass_course"))


# --- bad input --------------------------------------------------------------------------------------------------------


def test_impossible_options_are_refused():
    for options in ({"grow": 0.5}, {"anchor_shapes": ()}, {"anchor_steps": 0}, {"mask_width": 0}, {"samples": 0}):
        with pytest.raises(CourseError, match="of at least 1"):
            small(**options)
    with pytest.raises(CourseError, match="no rank called 'joints'"):
        small(rank="joints")
    with pytest.raises(CourseError, match="no measure of a joint called 'shares'; did you mean 'share'"):
        small(sure="shares")
    with pytest.raises(CourseError, match="frozen_norm"):
        small(frozen_norm=True)


def test_targets_without_masks_are_refused():
    model, (target,) = small().train(), learning.targets(crowd(TWO))
    masks = target.pop("masks")
    with pytest.raises(CourseError, match="target 0 needs boxes, keypoints and masks; it has boxes, keypoints"):
        model(torch.rand(1, 3, 64, 96), [target])
    for wrong in (masks[0], masks[:1]):
        with pytest.raises(CourseError, match=r"target 0 needs as many masks \(N, H, W\) as boxes"):
            model(torch.rand(1, 3, 64, 96), [{**target, "masks": wrong}])
    with pytest.raises(CourseError, match="does not say whom its pixels show"):
        model.training_loss(
            Crowd(torch.rand(1, 3, 64, 96), torch.rand(1, 1, 14, 2), torch.ones(1, 1, 14), torch.ones(1, 64, 96), LSP)
        )
