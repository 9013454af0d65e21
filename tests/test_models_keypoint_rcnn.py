"""He et al. 2017: the same network as torchvision's, what the joints' target and read-out say, and odd boxes."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F
from torchvision.models.detection import KeypointRCNN as Theirs
from torchvision.models.detection import keypointrcnn_resnet50_fpn
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints, keypointrcnn_loss, keypoints_to_heatmap
from torchvision.ops import MultiScaleRoIAlign, roi_align, roi_pool

from course_lib.errors import CourseError
from course_lib.models.counting import parameters
from course_lib.models.rcnn import (
    KeypointHead,
    KeypointPredictor,
    MaskRCNN,
    keypoint_loss,
    keypoint_rcnn,
    mask_rcnn_course,
    read_out,
    target_cells,
)
from course_lib.pose import Pose

SMALL = {"min_size": 64, "max_size": 96}
LOSSES = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg", "loss_keypoint"}


def tiny(seed=0, **options):
    """A network that a test can train."""
    torch.manual_seed(seed)
    sizes = {"body": (16, 24), "channels": 16, "box_width": 32, "head_width": 16, "head_depth": 2, **SMALL}
    few = {"smallest_anchor": 16, "proposals": (50, 20), "samples": 16, "detections": 5}
    return MaskRCNN(**{**sizes, **few, **options})


def one_person(boxes=((12.0, 8.0, 44.0, 60.0),)):
    """A bright box on a dark picture (3, 64, 64), its joints spread over it."""
    picture = torch.zeros(3, 64, 64)
    picture[:, 8:60, 12:44] = 0.8
    boxes = torch.tensor(boxes).reshape(-1, 4)
    spread = torch.rand(17, 2, generator=torch.Generator().manual_seed(1))
    joints = boxes[:, None, :2] + spread * (boxes[:, None, 2:] - boxes[:, None, :2])
    return picture, {"boxes": boxes, "keypoints": F.pad(joints, (0, 1), value=2.0)}


def losses(model, picture, target, seed=0):
    torch.manual_seed(seed)  # which proposals are sampled
    return model([picture], [target])


# --- the same network as torchvision's --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair():
    """torchvision's network and ours, with the same weights; running statistics and all are drawn at random."""
    torch.manual_seed(0)
    theirs = keypointrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        **SMALL,
        **{"rpn_pre_nms_top_n_test": 50, "rpn_post_nms_top_n_test": 50, "box_detections_per_img": 3},
        **{"rpn_pre_nms_top_n_train": 50, "rpn_post_nms_top_n_train": 50, "box_batch_size_per_image": 8},
    )
    with torch.no_grad():
        for name, value in theirs.state_dict().items():
            if ".bn" in name or "downsample.1" in name:
                if name.endswith("running_var") or name.endswith("weight"):
                    value.uniform_(0.4, 0.9)
                elif value.is_floating_point():
                    value.normal_(std=0.1)
            elif name.endswith("bias"):
                value.normal_(std=0.05)
    with torch.device("meta"):
        ours = MaskRCNN(**SMALL, proposals=(50, 50), samples=8, detections=3)
    ours.to_empty(device="cpu")
    ours.rpn.anchor_generator = copy.deepcopy(theirs.rpn.anchor_generator)  # its sizes were made on meta, too
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def test_the_papers_network_has_the_published_counts():
    with torch.device("meta"):
        model, frozen = keypoint_rcnn(), keypoint_rcnn(frozen_norm=True)
    assert parameters(model) == 59_190_378 and parameters(frozen) == 59_137_258
    assert len(model.state_dict()) == 366  # with the counters of the normalisations that learn
    heads = model.roi_heads
    assert parameters(heads.keypoint_head) == 17_698_816 and parameters(heads.keypoint_predictor) == 139_281
    assert parameters(heads.box_head) == 13_895_680 and parameters(model.rpn) == 593_935
    assert parameters(model.backbone.fpn) == 3_344_384


def test_state_dicts_go_both_ways_by_name_and_shape():
    with torch.device("meta"):
        ours, theirs = keypoint_rcnn(), keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    mine, its = ours.state_dict(), theirs.state_dict()
    assert {name: value.shape for name, value in mine.items()} == {name: value.shape for name, value in its.items()}
    theirs.load_state_dict(mine, strict=True, assign=True)
    ours.load_state_dict(its, strict=True, assign=True)


def test_weights_of_a_frozen_network_go_into_both_forms():
    with torch.device("meta"):
        learning, frozen = keypoint_rcnn(), keypoint_rcnn(frozen_norm=True)
    frozen.load_state_dict(learning.state_dict(), strict=True)
    assert frozen.backbone.body.bn1.eps == 0.0
    assert not any(name.startswith("backbone.body.bn1") for name, _ in frozen.named_parameters())


def test_it_answers_as_torchvisions_network_does(pair):
    theirs, ours = (model.eval() for model in pair)
    picture = torch.rand(3, 50, 70, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        (expected,), (answer,) = theirs([picture]), ours([picture])
    assert answer.keys() == expected.keys() and len(expected["boxes"]) == 3
    for name, value in expected.items():
        assert answer[name].dtype == value.dtype
        assert torch.allclose(answer[name], value, rtol=1e-5, atol=1e-5), name
    assert float(expected["keypoints_scores"].std()) > 1e-3  # the heads had something to say


def test_it_learns_from_the_same_losses_as_torchvisions_network(pair):
    theirs, ours = (model.train() for model in pair)
    picture, target = one_person()
    with torch.no_grad():
        expected = losses(theirs, picture, {**target, "labels": torch.ones(1, dtype=torch.int64)})
        answer = losses(ours, picture, target)
    assert answer.keys() == expected.keys() == LOSSES
    for name, value in expected.items():
        assert torch.allclose(answer[name], value, rtol=1e-5, atol=1e-5), name


def test_the_small_body_works_in_torchvisions_own_class():
    ours = tiny().eval()
    heads = {"keypoint_head": ours.roi_heads.keypoint_head, "keypoint_predictor": ours.roi_heads.keypoint_predictor}
    pools = {"box_roi_pool": ours.roi_heads.box_roi_pool, "keypoint_roi_pool": ours.roi_heads.keypoint_roi_pool}
    box = {"box_head": ours.roi_heads.box_head, "box_predictor": ours.roi_heads.box_predictor}
    few = {"rpn_pre_nms_top_n_test": 20, "rpn_post_nms_top_n_test": 20, "box_detections_per_img": 5}
    rpn = {"rpn_anchor_generator": ours.rpn.anchor_generator, "rpn_head": ours.rpn.head}
    theirs = Theirs(ours.backbone, **SMALL, **heads, **pools, **box, **few, **rpn).eval()
    pictures = [torch.rand(3, 64, 64), torch.rand(3, 40, 90)]
    with torch.no_grad():
        for expected, answer in zip(theirs(pictures), ours(pictures), strict=True):
            assert all(torch.allclose(answer[name], expected[name], atol=1e-5) for name in expected)


# --- the head, the target, the loss, the decoding ---------------------------------------------------------------------


@pytest.mark.parametrize("people", [0, 1, 3])
def test_the_head_makes_maps_of_56_by_56(people):
    head, predictor = KeypointHead(8, width=12, depth=3), KeypointPredictor(12, 17)
    features = head(torch.rand(people, 8, 14, 14))
    assert features.shape == (people, 12, 14, 14) and predictor(features).shape == (people, 17, 56, 56)
    assert [name for name, _ in head.named_parameters()][::2] == ["0.weight", "2.weight", "4.weight"]


def test_target_cells_worked_by_hand():
    box = torch.tensor([[10.0, 20.0, 66.0, 132.0]])
    keypoints = torch.tensor(
        [[[38.4, 76, 1], [66, 132, 2], [10, 20, 1], [9.9, 50, 1], [38.4, 76, 0], [math.nan, 5, 0]]]
    )
    cells, asked = target_cells(keypoints, box)
    assert cells.tolist() == [[1596, 3135, 0, 0, 0, 0]] and asked.tolist() == [[True] * 3 + [False] * 3]


def test_targets_and_loss_equal_torchvisions():
    torch.manual_seed(0)
    corner = torch.rand(40, 2) * 50
    boxes = torch.cat([corner, corner + 1 + torch.rand(40, 2) * 120], dim=1)
    keypoints = torch.cat([torch.rand(40, 17, 2) * 120, torch.randint(0, 3, (40, 17, 1)).float()], dim=2)
    cells, asked = target_cells(keypoints, boxes)
    expected, valid = keypoints_to_heatmap(keypoints, boxes, 56)
    assert torch.equal(cells, expected) and torch.equal(asked, valid.bool()) and 50 < int(asked.sum()) < 600
    logits = torch.randn(40, 17, 56, 56)
    theirs = keypointrcnn_loss(logits, [boxes], [keypoints], [torch.arange(40)])
    assert torch.allclose(keypoint_loss(logits, cells, asked), theirs)


def test_who_finds_all_places_alike_has_the_loss_of_3136_places():
    logits = torch.zeros(2, 17, 56, 56)
    cells, asked = torch.randint(0, 3136, (2, 17)), torch.rand(2, 17) > 0.5
    assert float(keypoint_loss(logits, cells, asked)) == pytest.approx(8.0507, abs=1e-4)
    falling = [
        float(keypoint_loss(F.one_hot(cells, 3136).reshape(logits.shape) * h, cells, asked)) for h in (5.0, 20.0)
    ]
    assert 8.0507 > falling[0] > falling[1] and falling[1] < 1e-4


@pytest.mark.parametrize("people", [0, 2])
def test_nothing_to_ask_costs_nothing_and_can_be_learned_from(people):
    logits = torch.randn(people, 17, 56, 56, requires_grad=True)
    loss = keypoint_loss(logits, torch.zeros(people, 17, dtype=torch.int64), torch.zeros(people, 17, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0 and not logits.grad.any()


def test_read_out_equals_torchvisions():
    torch.manual_seed(0)
    corner = torch.rand(12, 2) * 50 - 20
    boxes = torch.cat([corner, corner + torch.rand(12, 2) * 100], dim=1)
    boxes[0, 2:] = boxes[0, :2] + 0.25  # less than a pixel
    boxes[1, 2:] = boxes[1, :2] - 3  # turned inside out
    maps = torch.randn(12, 17, 56, 56)
    places, scores = read_out(maps, boxes)
    expected, logits = heatmaps_to_keypoints(maps, boxes)
    assert torch.allclose(places, expected[..., :2], atol=1e-4) and torch.allclose(scores, logits)


@pytest.mark.parametrize("side", [(56.0, 56.0), (80.3, 200.7), (300.0, 57.1)])
def test_what_is_put_into_a_cell_is_read_out_of_it(side):
    box = torch.tensor([[-7.5, 3.25, -7.5 + side[0], 3.25 + side[1]]])
    keypoints = F.pad(box[:, None, :2] + torch.rand(1, 30, 2) * torch.tensor(side), (0, 1), value=1.0)
    cells, asked = target_cells(keypoints, box)
    assert asked.all()
    places, scores = read_out(F.one_hot(cells, 3136).reshape(1, 30, 56, 56) * 20.0, box)
    assert ((places - keypoints[..., :2]).abs() <= torch.tensor(side) / 56 + 1).all() and (scores > 10).all()


def test_a_box_of_one_pixel_has_all_joints_in_its_middle():
    places, scores = read_out(torch.randn(1, 17, 56, 56), torch.tensor([[5.0, 6.0, 6.0, 7.0]]))
    assert torch.equal(places, torch.tensor([5.5, 6.5]).expand(1, 17, 2)) and scores.isfinite().all()
    cells, asked = target_cells(torch.tensor([[[5.5, 6.5, 1.0]]]), torch.tensor([[5.0, 6.0, 6.0, 7.0]]))
    assert cells.tolist() == [[28 * 56 + 28]] and asked.all()
    cells, asked = target_cells(torch.tensor([[[5.0, 6.0, 1.0]]]), torch.tensor([[5.0, 6.0, 5.0, 7.0]]))  # no width
    assert cells.tolist() == [[0]] and asked.all()


def test_roi_align_moves_with_the_box_where_pooling_jumps():
    """What the module says of both, on a map of stride 16 whose cells hold where they are."""
    column = (torch.arange(20.0) + 0.5) * 16
    ramp = column.expand(1, 1, 20, 20).contiguous()

    def middle(pool, left):
        box = torch.tensor([[0.0, left, 64.0, left + 112.0, 176.0]])
        return float(pool(ramp, box, 14, spatial_scale=1 / 16).mean()) - (left + 56)

    for left in (64.0, 68.0, 72.5, 77.0):
        assert middle(roi_align, left) == pytest.approx(8.0, abs=1e-3)  # half a cell, everywhere the same
    errors = [middle(roi_pool, left) for left in (64.0, 68.0, 71.0, 73.0, 77.0)]
    assert max(errors) - min(errors) > 8


def test_levels_are_shared_out_as_the_paper_does():
    pool = tiny(smallest_anchor=32).roi_heads.keypoint_roi_pool
    assert isinstance(pool, MultiScaleRoIAlign) and pool.canonical_scale == 224 and pool.output_size == (14, 14)


# --- the whole way ----------------------------------------------------------------------------------------------------


def test_one_step_lowers_the_loss():
    model = tiny().train()
    picture, target = one_person()
    step = torch.optim.SGD(model.parameters(), lr=0.002)
    before = losses(model, picture, target)
    assert before.keys() == LOSSES and float(before["loss_keypoint"].detach()) == pytest.approx(8.05, abs=0.5)
    sum(before.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    step.step()
    with torch.no_grad():
        after = losses(model, picture, target)
    assert float(sum(after.values())) < float(sum(before.values()).detach())


def test_it_learns_one_person_by_heart():
    model = tiny().train()
    picture, target = one_person()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.003)
    for i in range(100):
        optimiser.zero_grad()
        sum(losses(model, picture, target, seed=i).values()).backward()
        optimiser.step()
    with torch.no_grad():
        ((best, *_),) = model.eval().decode(model([picture]))
    assert best.score > 0.5 and float((best.box - target["boxes"][0]).abs().max()) < 8
    assert float((best.joints - target["keypoints"][0, :, :2]).norm(dim=1).median()) < 4


@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param((), id="nobody"),
        pytest.param(((30.0, 30.0, 31.0, 31.0),), id="one pixel"),
        pytest.param(((-90.0, -90.0, -40.0, -30.0),), id="beside the picture"),
        pytest.param(((40.0, 40.0, 140.0, 120.0), (-20.0, 5.0, 30.0, 50.0)), id="partly outside"),
    ],
)
def test_it_learns_from_any_boxes(boxes):
    model = tiny().train()
    answer = losses(model, *one_person(boxes))
    sum(answer.values()).backward()
    assert all(value.isfinite() for value in answer.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert bool(answer["loss_keypoint"] > 0) == bool(boxes)


def test_where_nobody_is_found_there_are_no_poses():
    model = tiny(score_threshold=1.0).eval()
    with torch.no_grad():
        outputs = model([torch.rand(3, 64, 64), torch.rand(3, 20, 30)])
    assert [tuple(output["keypoints"].shape) for output in outputs] == [(0, 17, 3)] * 2
    assert model.decode(outputs) == [[], []]


def test_poses_are_the_detections_best_first():
    model = tiny(skeleton="lsp").eval()
    outputs = model([torch.rand(3, 64, 64)])
    (poses,) = model.decode(outputs)
    assert 0 < len(poses) <= 5 and all(isinstance(pose, Pose) and pose.skeleton.name == "lsp" for pose in poses)
    assert poses[0].joints.shape == (14, 2) and poses[0].scores.shape == (14,) and poses[0].box.shape == (4,)
    assert [pose.score for pose in poses] == sorted((pose.score for pose in poses), reverse=True)
    assert torch.equal(poses[0].joints, outputs[0]["keypoints"][0, :, :2]) and not poses[0].joints.requires_grad


def test_the_course_size_fits_a_laptop():
    with torch.device("meta"):
        model = mask_rcnn_course()
    assert parameters(model) < 2e6 and model.roi_heads.keypoint_roi_pool.canonical_scale == 112
    assert len(mask_rcnn_course(skeleton="lsp", body=(8, 16)).skeleton) == 14


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"body": "vgg"}, {"body": ()}, {"body": (12,)}, {"frozen_norm": True}])
def test_impossible_bodies_are_refused(options):
    with pytest.raises(CourseError, match="body is 'resnet50' or a few widths divisible by 8"):
        tiny(**options)


def test_impossible_sizes_are_refused():
    with pytest.raises(CourseError, match="of at least 1"):
        tiny(head_depth=0)


def test_bad_pictures_and_targets_are_refused():
    model = tiny().train()
    picture, target = one_person()
    for wrong in ([], [picture[0]], [picture[:1]]):
        with pytest.raises(CourseError, match=r"a list of pictures \(3, H, W\)"):
            model(wrong, [target] * len(wrong))
    for wrong in (None, [], [target, target]):
        with pytest.raises(CourseError, match="one target for every picture"):
            model([picture], wrong)
    for wrong in ({"boxes": target["boxes"][0]}, {"keypoints": target["keypoints"][:, :14]}):
        with pytest.raises(CourseError, match="target 0 needs as many boxes"):
            model([picture], [{**target, **wrong}])
    for wrong in ([5.0, 5.0, 5.0, 9.0], [9.0, 5.0, 5.0, 9.0], [math.nan, 5.0, 7.0, 9.0], [1.0, 5.0, math.inf, 9.0]):
        with pytest.raises(CourseError, match="target 0 has a box without width or height"):
            model([picture], [{**target, "boxes": torch.tensor([wrong])}])
    with pytest.raises(CourseError, match="target 0 needs boxes and keypoints; it has boxes"):
        model([picture], [{"boxes": target["boxes"]}])
    with pytest.raises(CourseError, match="call eval"):
        model.decode(model([picture], [target]))
