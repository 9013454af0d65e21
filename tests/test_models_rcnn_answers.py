"""Mask R-CNN's answers: joints, shares and ranks, any picture, hundreds of boxes, weights on disk, what it refuses."""

import math

import pytest
import torch
from rcnn_helpers import HEADER, TWO, crowd, small
from torch.nn import functional as F

from course_lib import checkpoints, models, paths
from course_lib.errors import CourseError
from course_lib.models.rcnn import learning, target_cells
from course_lib.models.rcnn.keypoints import grown, shares
from course_lib.pose import Crowd, Found, Pose
from course_lib.skeletons import LSP

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
