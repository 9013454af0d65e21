"""Published weights: every tensor finds its place, by value, and the network answers as an independent one does.

No published file is at hand, so files are made with the authors' exact names and shapes and random numbers. A fresh
normalisation is nearly the identity, which would hide a mistake: running statistics are random as well.
"""

from __future__ import annotations

import functools
import re

import published_files as published
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from torchvision.models import resnet50
from torchvision.models.detection import keypointrcnn_resnet50_fpn

from course_lib import checkpoints, hub, models
from course_lib.errors import CourseError
from course_lib.hub import building, layouts
from course_lib.skeletons import BODY18
from course_lib.training import Recipe, provenance, train


def agree(ours: Tensor, theirs: Tensor) -> None:
    """Equal up to what the order of summation does; random networks answer with numbers of any size."""
    spread = float(theirs.std())
    assert spread > 0
    torch.testing.assert_close(ours / spread, theirs / spread, rtol=1e-3, atol=1e-3)


def write(tmp_path, state, name="weights.pth", **options):
    torch.save(state, tmp_path / name, **options)
    return tmp_path / name


@functools.cache
def some(kind: str, *which: int):
    """A published state dict, made once."""
    return getattr(published, kind)(*which)


def found_places(state: dict[str, Tensor], model: torch.nn.Module, renamed: dict[str, str], unused=()) -> None:
    """Every published tensor is, by value, where it belongs, and the model has nothing else."""
    own = model.state_dict()
    used = {name: value for name, value in state.items() if not name.startswith(tuple(unused))}
    assert {renamed.get(name, name) for name in used} == own.keys()
    for name, value in used.items():
        assert torch.equal(own[renamed.get(name, name)], value), name
    assert not model.training


# --- HRNet and pose ResNet --------------------------------------------------------------------------------------------


def block(s, name, x, layers, stride=1):
    """A residual block with so many convolutions, by names."""
    y = x
    for n in range(1, layers + 1):
        weight = s[f"{name}.conv{n}.weight"]
        moves = stride if n == 2 and layers == 3 else 1
        y = norm(s, f"{name}.bn{n}", F.conv2d(y, weight, None, moves, weight.shape[-1] // 2))
        y = F.relu(y) if n < layers else y
    if f"{name}.downsample.0.weight" in s:
        x = norm(s, f"{name}.downsample.1", F.conv2d(x, s[f"{name}.downsample.0.weight"], None, stride))
    return F.relu(x + y)


def norm(s, name, x):
    return F.batch_norm(x, *(s[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")))


def independent_hrnet(s: dict[str, Tensor], images: Tensor) -> Tensor:
    """HRNet written as a function of the authors' names."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (images - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)

    def step(name, x, stride, relu=True):
        weight = s[f"{name}.0.weight"]
        x = norm(s, f"{name}.1", F.conv2d(x, weight, None, stride, weight.shape[-1] // 2))
        return F.relu(x) if relu else x

    for n in (1, 2):
        x = F.relu(norm(s, f"bn{n}", F.conv2d(x, s[f"conv{n}.weight"], None, 2, 1)))
    for b in range(4):
        x = block(s, f"layer1.{b}", x, 3)
    streams = [step("transition1.0", x, 1), step("transition1.1.0", x, 2)]
    for stage, modules in ((2, 1), (3, 4), (4, 3)):
        if stage > 2:
            streams.append(step(f"transition{stage - 1}.{stage - 1}.0", streams[-1], 2))
        for m in range(modules):
            here = f"stage{stage}.{m}"
            for i in range(stage):
                for b in range(4):
                    streams[i] = block(s, f"{here}.branches.{i}.{b}", streams[i], 2)
            mixed = []
            for i in range(1 if (stage, m) == (4, 2) else stage):
                total = streams[i]
                for j in range(stage):
                    y, fuse = streams[j], f"{here}.fuse_layers.{i}.{j}"
                    if j > i:
                        y = step(fuse, y, 1, relu=False).repeat_interleave(2 ** (j - i), -1)
                        y = y.repeat_interleave(2 ** (j - i), -2)
                    for k in range(i - j):
                        y = step(f"{fuse}.{k}", y, 2, relu=k < i - j - 1)
                    total = total + y if j != i else total
                mixed.append(F.relu(total))
            streams = mixed
    return F.conv2d(streams[0], s["final_layer.weight"], s["final_layer.bias"])


def test_hrnet_answers_as_an_independent_one(tmp_path):
    state = some("hrnet", 32)
    assert len(state) == 1754 and sum(v.numel() for k, v in state.items() if is_weight(k)) == 28_536_113
    model = hub.load("hrnet_w32", write(tmp_path, {"state_dict": state, "epoch": 3}))
    found_places(state, model, {})
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        maps, expected = model(images)[0], independent_hrnet(state, images)
    agree(maps, expected)
    assert (model.alignment, model.read_out, model.input_size, model.sigma) == ("indices", "quarter", (256, 192), 2.0)
    assert model.name == "hub:hrnet_w32" and model.skeleton.name == "coco"


def is_weight(name: str) -> bool:
    return not name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def independent_pose_resnet(s: dict[str, Tensor], images: Tensor) -> Tensor:
    """torchvision's ResNet-50, then the transposed convolutions by hand."""
    trunk = resnet50()
    trunk.load_state_dict({k: v for k, v in s.items() if not k.startswith(("deconv", "final"))}, strict=False)
    trunk.eval()
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (images - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    x = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(x))))
    x = trunk.layer4(trunk.layer3(trunk.layer2(trunk.layer1(x))))
    for n in (0, 3, 6):
        x = F.conv_transpose2d(x, s[f"deconv_layers.{n}.weight"], stride=2, padding=1)
        x = F.relu(norm(s, f"deconv_layers.{n + 1}", x))
    return F.conv2d(x, s["final_layer.weight"], s["final_layer.bias"])


@pytest.mark.parametrize("head", ["", "head", "keypoint_head"])
def test_pose_resnet_answers_as_an_independent_one_whoever_wrote_the_file(head, tmp_path):
    state = some("pose_resnet", 50)
    assert len(state) == 338
    theirs = {"meta": {"epoch": 1}, "state_dict": published.zoo(state, head)} if head else state
    model = hub.load("pose_resnet50", write(tmp_path, theirs, _use_new_zipfile_serialization=not head))
    found_places(state, model, {})
    if not head:
        images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            agree(model(images)[0], independent_pose_resnet(state, images))


@pytest.mark.parametrize("prefix", ["module.", "model.module.", "module.model."])
def test_prefixes_half_precision_and_safetensors(prefix, tmp_path):
    state = some("pose_resnet", 50)
    halves = {f"{prefix}{k}": v.half() if v.is_floating_point() else v for k, v in state.items()}
    if prefix == "module.":
        save_file(halves, tmp_path / "weights.safetensors")
        file = tmp_path / "weights.safetensors"
    else:
        file = write(tmp_path, {"model": halves})
    model = hub.load("pose_resnet50", file)
    own = model.state_dict()
    assert all(torch.equal(own[k], v.half().float() if v.is_floating_point() else v) for k, v in state.items())
    assert all(value.dtype in (torch.float32, torch.int64) for value in own.values())


def test_files_from_before_batches_were_counted(tmp_path):
    state = {k: v for k, v in some("pose_resnet", 50).items() if not k.endswith("num_batches_tracked")}
    own = hub.load("pose_resnet50", write(tmp_path, state)).state_dict()
    assert all(torch.equal(own[k], v) for k, v in state.items())


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("resnet50_imagenet", lambda: some("imagenet_resnet", 50)),
        ("hrnet_w32_imagenet", lambda: published.hrnet(32, classes=True)),
        ("vgg19_imagenet", lambda: some("vgg19")),
    ],
)
def test_starts_from_imagenet(name, state, tmp_path):
    state, card = state(), hub.card(name)
    own = hub.load(name, write(tmp_path, state)).state_dict()
    translated = {k: v for k, v in own.items() if k.startswith(card.covers)}
    used = {k: v for k, v in state.items() if not layouts.CLASSES_FUSE.match(k)}
    used = {k: v for k, v in used.items() if not k.startswith(layouts.ONLY_FOR_CLASSES)}
    if name.startswith("vgg"):
        used = {k: v for k, v in used.items() if int(k.split(".")[1]) < 23}
        assert len(translated) == len(used) == 20
        assert all(torch.equal(a, b) for a, b in zip(translated.values(), used.values(), strict=True))
    else:
        assert translated.keys() == used.keys() and all(torch.equal(own[k], v) for k, v in used.items())


def test_a_training_begins_from_published_weights_and_says_so(tmp_path, monkeypatch):
    state, file = some("imagenet_resnet", 50), write(tmp_path, some("imagenet_resnet", 50), "resnet50.pth")
    monkeypatch.setattr(hub, "fetch", lambda name, progress: {"resnet50_imagenet": file}[name])
    recipe = Recipe(
        "begun",
        model="pose_resnet",
        options={"deconv_width": 8, "input_size": (32, 32)},
        skeleton="coco",
        batch=2,
        learning_rate=1e-12,
        weight_decay=0.0,
        start="hub:resnet50_imagenet",
    )
    trained = train(recipe, steps=1, device="cpu", out=tmp_path / "runs", progress=False)
    learned = {name: value for name, value in trained.model.named_parameters() if name in state}
    assert len(learned) == 159
    for name, value in learned.items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=1e-6)
    header = checkpoints.read_header(tmp_path / "runs" / "begun" / "begun.safetensors")
    assert header["start"]["checkpoint"] == "hub:resnet50_imagenet" and len(header["start"]["digest"]) == 64
    assert provenance.images_in_all(header) == provenance.images_of_recipe(header) == 2


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        ("hrnet_course", {}, "'resnet50_imagenet' is for 'pose_resnet', and 'hrnet_course' cannot begin from it"),
        ("pose_resnet", {"width": 32}, "has 'conv1.weight' of shape (64, 3, 7, 7) instead of (32, 3, 7, 7)"),
    ],
)
def test_a_network_that_cannot_begin_so_is_told_and_left_as_it_was(model, options, says, tmp_path):
    network, file = models.create(model, **options), write(tmp_path, some("imagenet_resnet", 50))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(CourseError, match=re.escape(says)) as caught:
        hub.begin(network, "resnet50_imagenet", file)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# --- stacked hourglass ------------------------------------------------------------------------------------------------


def independent_hourglass(s: dict[str, Tensor], images: Tensor, stacks: int) -> list[Tensor]:
    def conv(name, x, stride=1):
        weight = s[f"{name}.weight"]
        return F.conv2d(x, weight, s[f"{name}.bias"], stride, weight.shape[-1] // 2)

    def residual(name, x):
        y = x
        for n in (1, 2, 3):
            y = conv(f"{name}.conv{n}.conv", F.relu(norm(s, f"{name}.bn{n}", y)))
        return y + (x if x.shape[1] == y.shape[1] else conv(f"{name}.skip_layer.conv", x))

    def glass(name, x, depth):
        low = residual(f"{name}.low1", F.max_pool2d(x, 2))
        low = glass(f"{name}.low2", low, depth - 1) if depth > 1 else residual(f"{name}.low2", low)
        low = residual(f"{name}.low3", low).repeat_interleave(2, -1).repeat_interleave(2, -2)
        return residual(f"{name}.up1", x) + low

    x = F.relu(norm(s, "pre.0.bn", conv("pre.0.conv", images, 2)))
    x = F.max_pool2d(residual("pre.1", x), 2)
    x = residual("pre.4", residual("pre.3", x))
    answers = []
    for i in range(stacks):
        y = residual(f"features.{i}.0", glass(f"hgs.{i}.0", x, 4))
        y = F.relu(norm(s, f"features.{i}.1.bn", conv(f"features.{i}.1.conv", y)))
        answers.append(conv(f"outs.{i}.conv", y))
        if i < stacks - 1:
            x = x + conv(f"merge_preds.{i}.conv.conv", answers[-1]) + conv(f"merge_features.{i}.conv.conv", y)
    return answers


def test_the_authors_hourglass_answers_as_an_independent_one(tmp_path):
    state = published.hourglass(2)
    assert len(state) == 742
    theirs = {"state_dict": {f"model.module.{k}": v for k, v in state.items()}, "optimizer": {"lr": 1e-3}, "epoch": 9}
    model = hub.load("hourglass_2stack", write(tmp_path, theirs))
    assert sum(parameter.numel() for parameter in model.parameters()) == 6_570_400
    values = {value.double().sum().item() for value in state.values()}  # every tensor of the model is one of the file's
    assert all(value.double().sum().item() in values for value in model.state_dict().values())
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for ours, theirs in zip(model(images), independent_hourglass(state, images, 2), strict=True):
            agree(ours, theirs)
    assert (model.alignment, model.read_out) == ("cells", "quarter")


def test_eight_stacks_have_the_published_number_of_tensors():
    with torch.device("meta"):
        model = building.empty(hub.card("hourglass_8stack"))
    assert sum(parameter.numel() for parameter in model.parameters()) == 25_434_112
    few, many = len(published.hourglass(1, width=64)), len(published.hourglass(3, width=64))
    assert few + 7 * (many - few) // 2 == 2752


# --- OpenPose ---------------------------------------------------------------------------------------------------------

# fields in the order of the training, as joints of the body
TRAINED_LIMBS = [
    *("neck-right_hip", "right_hip-right_knee", "right_knee-right_ankle"),
    *("neck-left_hip", "left_hip-left_knee", "left_knee-left_ankle"),
    *("neck-right_shoulder", "right_shoulder-right_elbow", "right_elbow-right_wrist", "right_shoulder-right_ear"),
    *("neck-left_shoulder", "left_shoulder-left_elbow", "left_elbow-left_wrist", "left_shoulder-left_ear"),
    *("neck-nose", "nose-right_eye", "nose-left_eye", "right_eye-right_ear", "left_eye-left_ear"),
]


def independent_openpose(s: dict[str, Tensor], images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The fields and maps of every stage, in the authors' order."""
    x = images.flip(1) * 255 / 256 - 0.5
    for place in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25):
        if place in (5, 10, 19):
            x = F.max_pool2d(x, 2)
        x = F.relu(F.conv2d(x, s[f"model0.{place}.weight"], s[f"model0.{place}.bias"], padding=1))
    features, heard, stages = x, x, []
    for stage in range(1, 7):
        answers = []
        for branch in (1, 2):
            y = heard
            for n in range(5 if stage == 1 else 7):
                name = f"model{stage}_{branch}.{2 * n}"
                y = F.conv2d(F.relu(y) if n else y, s[f"{name}.weight"], s[f"{name}.bias"], padding="same")
            answers.append(y)
        stages.append(tuple(answers))
        heard = torch.cat([*answers, features], dim=1)
    return stages


@pytest.mark.parametrize("names", ["numbered", "caffe", "blocks"])
def test_openpose_answers_as_an_independent_one_with_its_limbs_in_our_order(names, tmp_path):
    state = some("openpose")
    assert len(state) == 184 and sum(value.numel() for value in state.values()) == 52_311_446
    theirs = state if names == "numbered" else published.caffe_names(state, blocks=names == "blocks")
    model = hub.load("openpose", write(tmp_path, theirs))
    sums = {round(float(value.double().square().sum()), 3) for value in state.values()}
    assert all(round(float(value.double().square().sum()), 3) in sums for value in model.state_dict().values())
    if names == "blocks":
        return
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = model(images), independent_openpose(state, images)
    for stage, (fields, maps) in enumerate(theirs):
        agree(ours.maps[stage], maps)
        for limb, (a, b) in enumerate(BODY18.limbs):
            place = TRAINED_LIMBS.index(f"{BODY18.joints[a]}-{BODY18.joints[b]}")
            agree(ours.fields[stage, :, 2 * limb : 2 * limb + 2], fields[:, 2 * place : 2 * place + 2])


# --- torchvision ------------------------------------------------------------------------------------------------------


def test_keypoint_rcnn_with_the_names_of_its_published_file(tmp_path):
    torch.manual_seed(0)
    theirs = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None, trainable_backbone_layers=5)
    state = {}
    for name, value in theirs.state_dict().items():
        value = torch.rand(value.shape) + 0.5 if name.endswith("running_var") else value
        if name.endswith("num_batches_tracked"):
            continue
        for new, old in (("rpn.head.conv.0.0.", "rpn.head.conv."), ("_blocks.0.0.", "_blocks.0.")):
            name = name.replace(new, old)  # as they were called when the file was made
        state[name] = value
    model = hub.load("keypoint_rcnn", write(tmp_path, state))
    own = model.state_dict()
    assert len(own) == len(state)
    assert all(torch.equal(own[k], state[k]) for k in state if k in own) and len(own.keys() & state.keys()) > 250
    assert torch.equal(own["rpn.head.conv.0.0.weight"], state["rpn.head.conv.weight"])
    norms = [one for one in model.backbone.body.modules() if type(one).__name__ == "FrozenBatchNorm2d"]
    assert norms and all(one.eps == 0 for one in norms)
