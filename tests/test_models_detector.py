"""Detectors of people: what FCOS is asked, whose boxes come back where, other people's networks, and given boxes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from course_lib import checkpoints, geometry, models
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.models import detector as module
from course_lib.models.counting import parameters
from course_lib.models.detector import GivenBoxes, PersonDetector, TorchvisionDetector, surest_first
from course_lib.pose import Crowd, Found
from course_lib.skeletons import LSP

SIZE = (64, 96)
HEADER = {"recipe": "r", "data": {}, "steps": 1, "images": 2, "seed": 0, "device": "cpu", "scores": {}}
HEADER |= {"date": "2026-01-31"}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def small(**options):
    torch.manual_seed(0)
    return PersonDetector(**{"channels": 32, "input_size": SIZE, **options})


def crowd(owners, labelled_people=None):
    """Pictures that show these people (B, H, W); all of them are labelled, but those that are not."""
    count = max(1, int(owners.max()) + 1)
    visible = torch.full((len(owners), count, 14), 2)
    if labelled_people is not None:
        visible = visible * torch.as_tensor(labelled_people)[None, :, None]
    images = torch.rand(len(owners), 3, *owners.shape[1:], generator=generator())
    joints = torch.zeros(len(owners), count, 14, 2)
    return Crowd(images, joints, visible, torch.ones(owners.shape), LSP, owners.to(torch.int8))


def owners_of(boxes, size=SIZE):
    """One picture (1, H, W): the later ones stand in front."""
    owners = torch.full((1, *size), -1)
    for person, (x0, y0, x1, y1) in enumerate(boxes):
        owners[0, y0:y1, x0:x1] = person
    return owners


class Stub(nn.Module):
    """A detection network that answers with what a function says of a picture, and remembers its targets."""

    def __init__(self, answer=None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.answer, self.targets, self.sizes = answer, None, []

    def forward(self, images, targets=None):
        self.targets = targets
        self.sizes += [tuple(image.shape) for image in images]
        return {"loss": self.weight} if targets is not None else [self.answer(image) for image in images]


def bright(image):
    """The tight box of what is bright, and of all there is besides."""
    there = image.mean(0) > 0.5
    rows, columns = there.any(1).nonzero()[:, 0], there.any(0).nonzero()[:, 0]
    if not len(rows):
        return {"boxes": image.new_zeros(0, 4), "scores": image.new_zeros(0), "labels": torch.zeros(0).long()}
    box = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()
    beyond = box + torch.tensor([-900.0, -900, 900, 900])
    return {
        "boxes": torch.stack([beyond, box]),
        "scores": torch.tensor([0.4, 0.8]),
        "labels": torch.ones(2, dtype=torch.long),
    }


# --- what it is asked -------------------------------------------------------------------------------------------------


def test_it_is_asked_for_everybody_who_is_labelled_and_can_be_seen():
    detector = small().train()
    detector.network = stub = Stub()
    boxes = [(2, 3, 20, 40), (10, 5, 30, 50), (50, 1, 51, 60), (60, 10, 90, 11), (70, 30, 72, 32), (40, 40, 48, 48)]
    batch = crowd(owners_of(boxes), [1, 1, 1, 1, 1, 0])
    terms = detector.training_loss(batch, 0.5)
    (targets,) = stub.targets
    # the first is half behind the second; of one pixel's width nobody learns, and nobody labelled the last
    assert targets["boxes"].tolist() == [[2, 3, 20, 40], [10, 5, 30, 50], [70, 30, 72, 32]]
    assert targets["labels"].tolist() == [0, 0, 0] and list(terms) == ["loss", "total"]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_losses_are_finite_and_reach_everything(precision):
    detector = small().train()
    owners = torch.cat([owners_of([(4, 4, 40, 60), (50, 10, 58, 22)]), owners_of([])])  # nobody is in the second
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        terms = detector.training_loss(crowd(owners), 0.0)
    assert {"classification", "bbox_regression", "bbox_ctrness", "total"} == set(terms)
    assert all(term.dtype == torch.float32 and bool(term.isfinite()) for term in terms.values())
    assert float(terms["total"].detach()) == pytest.approx(sum(float(terms[n].detach()) for n in terms if n != "total"))
    terms["total"].backward()
    silent = {name for name, value in detector.named_parameters() if value.grad is None}
    assert all("predict" in name or "merge" in name for name in silent)  # maps that no answer is read from
    gradients = [value.grad for value in detector.parameters() if value.grad is not None]
    assert all(bool(one.isfinite().all()) for one in gradients) and len(gradients) > 100


def test_pictures_of_nobody_can_be_learned_from():
    detector = small().train()
    terms = detector.training_loss(crowd(owners_of([])), 0.0)
    terms["total"].backward()
    assert bool(terms["total"].isfinite()) and float(terms["bbox_regression"].detach()) == 0
    assert float(terms["classification"].detach()) > 0


def test_mode_matters():
    detector, batch = small(), crowd(owners_of([(4, 4, 40, 60)]))
    with pytest.raises(CourseError, match="answers in eval mode"):
        detector.train()(batch.images)
    with pytest.raises(CourseError, match="training mode"):
        detector.eval().training_loss(batch, 0.0)
    with pytest.raises(CourseError, match="does not say whom its pixels show"):
        detector.train().training_loss(Crowd(*(vars(batch)[n] for n in list(vars(batch))[:5])), 0.0)


# --- what comes back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [SIZE, (192, 256), (50, 300), (400, 90), (31, 33)])
def test_boxes_are_in_the_pixels_of_the_picture(size):
    height, width = size
    detector = small()
    detector.network = stub = Stub(bright)
    picture = torch.zeros(3, *size)
    true = [width // 4, height // 3, width // 4 + width // 2, height // 3 + height // 2]
    picture[:, true[1] : true[3], true[0] : true[2]] = 1
    found = detector.detect([picture])[0]
    assert stub.sizes == [(3, *SIZE)] and found.scores.tolist() == pytest.approx([0.8, 0.4])
    pixel = max(height / SIZE[0], width / SIZE[1])  # of the network's picture, in the picture's own
    assert float((found.boxes[0] - torch.tensor(true)).abs().max()) <= pixel + 1e-3
    assert found.boxes[1].tolist() == pytest.approx([0, 0, width, height], abs=1e-3)


@pytest.fixture(scope="module")
def eager():
    """It finds something everywhere, as it has learned nothing."""
    detector = small(threshold=0.0, nms=0.5, most=7).eval()
    detector.network.head.classification_head.cls_logits.bias.data.fill_(1.0)
    detector.network.head.regression_head.bbox_reg.bias.data.fill_(2.0)  # two cells to every side
    return detector


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (700, 20), (64, 96), (200, 150)])
def test_pictures_of_any_size_are_answered(eager, size):
    found = eager.detect([torch.rand(3, *size, generator=generator())])[0]
    assert found.boxes.shape == (len(found.scores), 4) and len(found.boxes) <= 7
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert bool((found.scores >= 0).all() & (found.scores <= 1).all())
    assert bool((found.boxes[:, 2:] > found.boxes[:, :2]).all()) and bool((found.boxes >= 0).all())
    assert bool((found.boxes <= torch.tensor([size[1], size[0]] * 2)).all())
    if len(found.boxes):
        apart = geometry.box_iou(found.boxes, found.boxes).fill_diagonal_(0)
        assert size != SIZE or float(apart.max()) <= 0.5 + 1e-4


def test_many_pictures_are_answered_as_each_alone(eager, monkeypatch):
    pictures = [torch.rand(3, 40 + 10 * n, 70, generator=generator(n)) for n in range(5)]
    whole = eager.train().detect(pictures)
    assert eager.training and eager.eval().detect([]) == []
    monkeypatch.setattr(module, "AT_ONCE", 2)
    for parts, alone in zip(eager.detect(pictures), whole, strict=True):
        torch.testing.assert_close(parts.boxes, alone.boxes, rtol=0, atol=1e-2)
        torch.testing.assert_close(parts.scores, alone.scores, rtol=1e-4, atol=1e-5)
    assert len(whole[0].boxes) == 7 and not eager.training
    whole[0].boxes[:, 0] += 1  # they are the caller's to change
    grey = (pictures[0][0] * 255).byte().numpy()
    assert len(eager.detect([grey])[0].boxes) == 7
    with pytest.raises(CourseError, match="not finite"):
        eager.detect([pictures[0] * math.nan])


def test_only_sure_boxes_are_kept(eager):
    picture = torch.rand(3, *SIZE, generator=generator())
    scores = eager.detect([picture])[0].scores
    sure = small(threshold=float(scores[3]) - 1e-6, nms=0.5, most=7).eval()
    sure.load_state_dict(eager.state_dict())
    assert len(sure.detect([picture])[0].scores) == 4


def test_the_weights_that_ship_find_most_people():
    detector, found, there = models.load("person_detector"), 0, 0
    scenes = synthetic.scenes(8, seed="the detector's test", skeleton="lsp", people=(1, 6))
    for scene, own in zip(scenes, detector.detect([scene.image for scene in scenes]), strict=True):
        true = torch.stack([person.box for person in scene.people])
        true = true[(true[:, 2:] - true[:, :2]).amin(-1) > 12]
        found += int((geometry.box_iou(true, own.boxes) > 0.5).any(1).sum())
        there += len(true)
    assert there > 15 and found > 0.75 * there


# --- other detectors --------------------------------------------------------------------------------------------------


def test_a_network_of_torchvision_can_stand_in():
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

    torch.manual_seed(0)
    network = fasterrcnn_mobilenet_v3_large_320_fpn(
        **{"weights": None, "weights_backbone": None, "num_classes": 3, "box_score_thresh": 0.0},
        **{"min_size": 64, "max_size": 96, "box_detections_per_img": 200},
    ).train()
    pictures = [torch.rand(3, 60, 80, generator=generator()), torch.rand(3, 33, 44, generator=generator(1))]
    found = TorchvisionDetector(network, person=2, threshold=0.0).detect(pictures)
    assert network.training and len(found) == 2
    with torch.no_grad():
        answers = network.eval()(pictures)
    for own, answer in zip(found, answers, strict=True):
        people = answer["labels"] == 2
        assert 0 < int(people.sum()) < len(people)
        torch.testing.assert_close(own.boxes, answer["boxes"][people], rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(own.scores, answer["scores"][people], rtol=1e-4, atol=1e-5)


def test_of_other_networks_the_people_are_kept():
    def answer(image):
        return {
            "boxes": torch.tensor([[0.0, 0, 9, 9], [1.0, 1, 5, 5], [2.0, 2, 6, 6], [3.0, 3, 7, 7]]),
            "scores": torch.tensor([0.3, 0.9, 0.8, 0.2]),
            "labels": torch.tensor([1, 17, 1, 1]),
        }

    found = TorchvisionDetector(Stub(answer), threshold=0.3).detect([torch.rand(3, 9, 9)])[0]
    assert found.scores.tolist() == pytest.approx([0.8, 0.3]) and found.boxes[:, 0].tolist() == [2, 0]
    with pytest.raises(CourseError, match="boxes, scores, labels; got boxes, masks"):
        stub = Stub(lambda image: {"boxes": torch.zeros(0, 4), "masks": None})
        TorchvisionDetector(stub).detect([torch.rand(3, 9, 9)])


def test_given_boxes_come_in_turn_and_end():
    given = [Found(torch.full((1, 4), float(n)), torch.ones(1)) for n in range(3)]
    detector = GivenBoxes(given)
    assert detector.detect([torch.rand(3, 4, 4)] * 2) == given[:2] and detector.detect([]) == []
    with pytest.raises(CourseError, match="given for 3 pictures; asked for 4 in all"):
        detector.detect([torch.rand(3, 4, 4)] * 2)
    assert detector.detect([torch.rand(3, 4, 4)]) == given[2:]


def test_the_surest_come_first_and_what_is_no_box_goes():
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 3, 3], [0, 0, math.nan, 1], [4, 4, 4, 9], [5, 5, 4, 4], [0, 0, 4, 4]])
    found = surest_first(boxes.double(), torch.tensor([0.5, 0.9, 1.0, 1.0, 1.0, 0.5]))
    assert found.boxes.tolist() == boxes[[1, 0, 5]].tolist() and found.boxes.dtype == torch.float32
    assert surest_first(boxes[:1], torch.tensor([math.nan])).boxes.shape == (0, 4)


# --- what it weighs, and where it begins ------------------------------------------------------------------------------


def test_counts():
    detector = models.create("person_detector")
    assert parameters(detector) == 733_008 and detector.input_size == (192, 256) and detector.stride == 4
    assert detector.many and detector.finds == "boxes" and detector.trained_on == "crowd"


@pytest.mark.parametrize(
    "options",
    [{"channels": 48}, {"channels": 0}, {"threshold": 1.0}, {"threshold": -0.1}, {"nms": 1.1}, {"most": 0}],
)
def test_impossible_detectors_are_refused(options):
    with pytest.raises(CourseError, match="a person detector needs channels in multiples of 32"):
        PersonDetector(**options)


def test_it_begins_from_an_hourglass_another_trunk_or_itself(tmp_path):
    file, options = tmp_path / "begin.safetensors", {"channels": 32, "input_size": (64, 96)}
    one_person = models.create("hourglass_course", input_size=SIZE)
    checkpoints.save(file, one_person, HEADER)
    begun = models.create("person_detector", **options)
    kept = begun.network.head.regression_head.bbox_reg.weight.clone()
    assert begun.begin_from(file)["model"] == "hourglass_course"
    trunk = begun.network.backbone.trunk.network.stem[0].weight
    assert torch.equal(trunk, one_person.stem[0].weight.half().float())
    assert torch.equal(begun.network.head.regression_head.bbox_reg.weight, kept)
    checkpoints.save(file, models.create("grmi_course", input_size=(64, 96)), HEADER)
    assert begun.begin_from(file)["model"] == "grmi_course" and not torch.equal(trunk, one_person.stem[0].weight)
    begun.network.head.regression_head.bbox_reg.bias.data.fill_(0.5)
    checkpoints.save(file, begun, HEADER)
    again = models.create("person_detector", **options)
    again.begin_from(file)
    assert again.network.head.regression_head.bbox_reg.bias.unique().tolist() == [0.5]
