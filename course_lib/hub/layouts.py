"""The names that tensors have in published files: whose they are, and what the course calls the same tensors.

    authors' HRNet and pose ResNet     conv1.weight ... final_layer.bias; the course has these very names
    the zoo's                          the same behind backbone. and head. (keypoint_head. in older files)
    stacked hourglass, PyTorch         pre.0.conv.weight, hgs.0.0.up1.bn1.weight, outs.0.conv.weight; every residual
                                       block has a skip_layer there, also those that do not use it
    OpenPose, numbered                 model0.0.weight, model1_1.0.weight ... model6_2.12.bias
    OpenPose, Caffe's names            conv1_1.weight, Mconv7_stage6_L1.weight, with or without model6_1. before them
    torchvision's                      keypointrcnn_resnet50_fpn, resnet50, vgg19, also as they were saved years ago

OpenPose's limbs come in the order of its training, ours in that of the skeleton: field channels are moved, those that
the last layers of all stages give and those that the later stages hear.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.skeletons import BODY18

State = dict[str, Tensor]


class Layout(NamedTuple):
    """How the tensors of one published code are known, described and translated."""

    known_by: tuple[str, ...]  # names that are all there
    describe: Callable[[State], str]
    translate: Callable[[State], State]


def recognise(state: State) -> Layout | None:
    """Whose names these are, the zoo's prefixes left out."""
    return next((layout for layout in LAYOUTS if all(name in state for name in layout.known_by)), None)


def without_prefixes(state: State) -> State:
    """The zoo's files as their authors would have written them, and OpenPose's with Caffe's plain names."""
    if any(name.startswith("backbone.") for name in state) and not any("backbone.body." in name for name in state):
        state = {name: value for name, value in state.items() if not name.startswith("data_preprocessor.")}
        return {re.sub(r"^(backbone|keypoint_head|head)\.", "", name): value for name, value in state.items()}
    if any(CAFFE_BLOCK.match(name) for name in state):
        return {CAFFE_BLOCK.sub("", name): value for name, value in state.items()}
    return state


# --- HRNet, pose ResNet, and their starts from ImageNet ---------------------------------------------------------------

ONLY_FOR_CLASSES = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.", "fc.")
CLASSES_FUSE = re.compile(r"stage4\.2\.fuse_layers\.[123]\.")  # exchanges that end in streams the pose does not read


def _same(state: State) -> State:
    return dict(state)


def _without_classes(state: State) -> State:
    return {
        name: value
        for name, value in state.items()
        if not name.startswith(ONLY_FOR_CLASSES) and not CLASSES_FUSE.match(name)
    }


def _hrnet(state: State) -> str:
    return f"HRNet of width {_width(state, 'transition1.0.0.weight')}"


def _resnet(state: State) -> str:
    """By its third layer's blocks; ResNet-34 has as many as 50, but plainer ones."""
    blocks = {int(name.split(".")[1]) for name in state if name.startswith("layer3.")}
    depth = {2: 18, 6: 50 if "layer1.0.conv3.weight" in state else 34, 23: 101, 36: 152}.get(len(blocks))
    return f"ResNet-{depth}" if depth else f"ResNet with {len(blocks)} blocks in its third layer"


def _joints(state: State, name: str = "final_layer.weight") -> str:
    return f"for {_width(state, name)} joints"


def _width(state: State, name: str) -> int:
    """The channels that a layer gives."""
    return state[name].shape[0] if name in state and state[name].ndim else 0


# --- stacked hourglass ------------------------------------------------------------------------------------------------

_HOURGLASS = (
    (r"^pre\.0\.conv\.", "stem.0."),
    (r"^pre\.0\.bn\.", "stem.1."),
    (r"^pre\.1\.", "stem.3."),
    (r"^pre\.3\.", "stem.5."),
    (r"^pre\.4\.", "stem.6."),
    (r"^hgs\.(\d+)\.0\.", r"hourglasses.\1.0."),
    (r"^features\.(\d+)\.0\.", r"hourglasses.\1.1.0."),
    (r"^features\.(\d+)\.1\.conv\.", r"hourglasses.\1.2."),
    (r"^features\.(\d+)\.1\.bn\.", r"hourglasses.\1.3."),
    (r"^outs\.(\d+)\.conv\.", r"predict.\1."),
    (r"^merge_features\.(\d+)\.conv\.conv\.", r"merge_features.\1."),
    (r"^merge_preds\.(\d+)\.conv\.conv\.", r"merge_maps.\1."),
    (r"\.up1\.", ".upper.0."),
    (r"\.low1\.", ".before.0."),
    (r"\.low3\.", ".after.0."),
    (r"\.low2\.(?=bn|conv|skip)", ".inner.0."),  # the smallest hourglass is a residual block
    (r"\.low2(?=\.)", ".inner"),
    (r"\.bn1\.", ".branch.0."),
    (r"\.conv1\.conv\.", ".branch.2."),
    (r"\.bn2\.", ".branch.3."),
    (r"\.conv2\.conv\.", ".branch.5."),
    (r"\.bn3\.", ".branch.6."),
    (r"\.conv3\.conv\.", ".branch.8."),
    (r"\.skip_layer\.conv\.", ".skip."),
)


def _hourglass(state: State) -> State:
    translated = {}
    for name, value in state.items():
        for pattern, ours in _HOURGLASS:
            name = re.sub(pattern, ours, name)
        translated[name] = value
    # a block whose width stays the same adds its input as it is; its skip layer was never used
    for name in [name for name in translated if name.endswith(".skip.weight")]:
        if len(set(translated[name].shape[:2])) == 1:
            del translated[name]
            translated.pop(name.replace(".weight", ".bias"), None)
    return translated


def _stacks(state: State) -> int:
    return len({name.split(".")[1] for name in state if name.startswith("outs.")})


# --- OpenPose of 2017 -------------------------------------------------------------------------------------------------

CAFFE_BLOCK = re.compile(r"^model\d(_[12])?\.(?=M?conv)")
STAGES = 6
# joints of the limbs in the order of the field channels; each has x and y
OPENPOSE_LIMBS = (
    *((1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 2), (2, 3), (3, 4), (2, 16)),
    *((1, 5), (5, 6), (6, 7), (5, 17), (1, 0), (0, 14), (0, 15), (14, 16), (15, 17)),
)
_TRUNK = (
    *("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv3_4", "conv4_1", "conv4_2"),
    *("conv4_3_CPM", "conv4_4_CPM"),
)
_OUR_TRUNK = (0, 1, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14)  # pools lie between
_VGG = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25)  # places of the convolutions, ReLUs and pools counted


def _openpose_names() -> list[tuple[str, str, str]]:
    """Every convolution as the numbered ports, Caffe and the course call it."""
    table = [
        (f"model0.{place}", caffe, f"trunk.{ours}.0")
        for place, caffe, ours in zip(_VGG, _TRUNK, _OUR_TRUNK, strict=True)
    ]
    for stage in range(1, STAGES + 1):
        layers = 5 if stage == 1 else 7
        for branch, head in ((1, "field_heads"), (2, "map_heads")):
            for n in range(layers):
                caffe = f"conv5_{n + 1}_CPM_L{branch}" if stage == 1 else f"Mconv{n + 1}_stage{stage}_L{branch}"
                ours = f"{head}.{stage - 1}.{n}" + (".0" if n < layers - 1 else "")
                table.append((f"model{stage}_{branch}.{2 * n}", caffe, ours))
    return table


OPENPOSE = _openpose_names()


def field_channels() -> list[int]:
    """Which of OpenPose's 38 field channels is the first, the second, ... of ours."""
    return [2 * OPENPOSE_LIMBS.index(limb) + axis for limb in BODY18.limbs for axis in (0, 1)]


def _openpose(names: int) -> Callable[[State], State]:
    """The translation from the numbered names (0) or from Caffe's (1)."""
    ours_by_theirs = {row[names]: row[2] for row in OPENPOSE}

    def translate(state: State) -> State:
        translated = {}
        for name, value in state.items():
            layer, _, kind = name.rpartition(".")
            translated[f"{ours_by_theirs[layer]}.{kind}" if layer in ours_by_theirs else name] = value
        order = torch.tensor(field_channels())
        for stage in range(STAGES):
            last = f"field_heads.{stage}.{4 if stage == 0 else 6}"
            for name in (f"{last}.weight", f"{last}.bias"):
                if name in translated and translated[name].shape[:1] == order.shape:
                    translated[name] = translated[name][order]
            for name in (f"{head}.{stage}.0.0.weight" for head in ("field_heads", "map_heads")):
                heard = translated.get(name)
                if stage and heard is not None and heard.ndim == 4 and heard.shape[1] > len(order):  # fields come first
                    translated[name] = torch.cat([heard[:, : len(order)][:, order], heard[:, len(order) :]], dim=1)
        return translated

    return translate


def _openpose_words(fields: str, maps: str) -> Callable[[State], str]:
    def describe(state: State) -> str:
        joints, channels = _width(state, f"{maps}.weight") - 1, _width(state, f"{fields}.weight")
        return f"OpenPose of 2017 for {joints} joints and {channels // 2} limbs"

    return describe


# --- torchvision ------------------------------------------------------------------------------------------------------


def _keypoint_rcnn(state: State) -> State:
    """Names as of today: convolutions of the pyramid and of the proposals were once not in blocks of their own."""
    renamed = {re.sub(r"^(rpn\.head\.conv)\.(weight|bias)$", r"\1.0.0.\2", name): v for name, v in state.items()}
    old = re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$")
    return {old.sub(r"\1.0.\2", name): value for name, value in renamed.items()}


def _vgg(state: State) -> State:
    places = zip(_VGG[:10], _OUR_TRUNK[:10], strict=True)
    renamed = {f"features.{place}": f"trunk.{ours}.0" for place, ours in places}
    translated = {}
    for name, value in state.items():
        layer, _, kind = name.rpartition(".")
        if layer in renamed:
            translated[f"{renamed[layer]}.{kind}"] = value
        elif not name.startswith(("classifier.", "features.")):
            translated[name] = value
    return translated


def _vgg_words(state: State) -> str:
    layers = 3 + sum(name.startswith("features.") and value.ndim == 4 for name, value in state.items())
    norm = " with batch normalisation" if any("running_mean" in name for name in state) else ""
    return f"VGG-{layers}{norm} for ImageNet"


# the first that fits; what has more marks stands before what has fewer
LAYOUTS = (
    Layout(
        ("stage4.0.branches.0.0.conv1.weight", "classifier.weight"),
        lambda s: f"{_hrnet(s)} for ImageNet",
        _without_classes,
    ),
    Layout(("stage4.0.branches.0.0.conv1.weight", "conv2.weight"), lambda s: f"{_hrnet(s)} {_joints(s)}", _same),
    Layout(("layer4.0.conv1.weight", "deconv_layers.0.weight"), lambda s: f"pose {_resnet(s)} {_joints(s)}", _same),
    Layout(("layer4.0.conv1.weight", "fc.weight"), lambda s: f"{_resnet(s)} for ImageNet", _without_classes),
    Layout(
        ("hgs.0.0.up1.bn1.weight", "outs.0.conv.weight"),
        lambda s: f"stacked hourglass of {_stacks(s)} stacks {_joints(s, 'outs.0.conv.weight')}",
        _hourglass,
    ),
    Layout(("model0.0.weight", "model1_1.0.weight"), _openpose_words("model1_1.8", "model1_2.8"), _openpose(0)),
    Layout(
        ("conv1_1.weight", "conv5_5_CPM_L1.weight"), _openpose_words("conv5_5_CPM_L1", "conv5_5_CPM_L2"), _openpose(1)
    ),
    Layout(
        ("backbone.body.conv1.weight", "roi_heads.keypoint_predictor.kps_score_lowres.bias"),
        lambda s: f"torchvision's Keypoint R-CNN {_joints(s, 'roi_heads.keypoint_predictor.kps_score_lowres.bias')}",
        _keypoint_rcnn,
    ),
    Layout(("features.0.weight", "classifier.0.weight"), _vgg_words, _vgg),
)
