"""DeepPose: joints as numbers, refined by a cascade.

Alexander Toshev, Christian Szegedy, "DeepPose: Human Pose Estimation via Deep Neural Networks", CVPR 2014
(arXiv 1312.4659). A network that sees the whole person at once can answer with the joints' coordinates directly, hidden
ones included. Its small input makes it imprecise, so two more networks look at every joint again, in a smaller box.

    stage 1        y^1   = N^-1( psi(N(x; b0); theta_1); b0 )                    b0: the whole crop
    stage s >= 2   b_i   = ( y_i^(s-1), sides sigma diam(y^(s-1)) )              diam: the torso's diagonal
                   y_i^s = N^-1( psi_i(N(x; b_i); theta_s); b_i )                = y_i^(s-1) + displacement
    theta_s        = argmin sum_i || N(y_i; b_i) - psi_i(N(x; b_i); theta_s) ||^2, over labelled joints

A later stage is trained on simulated predictions: boxes around y_i + delta, where delta is drawn from the normal
distribution that fits the errors of the trained stage before.

|                    | paper                             | ports                   | here                             |
|--------------------|-----------------------------------|-------------------------|----------------------------------|
| parameters, K = 14 | "about 40 M", say summaries       | differ                  | the printed layers: 58,396,060 a |
|                    |                                   |                         | stage; grouped: 56,982,940       |
| 220 / 4 = 55       | as printed                        | 53, by padding 1        | 3 pixels before and 4 after      |
| network of stage s | one with 2 K outputs or one for   | stage 1 only, or one    | one; of what it says about joint |
|                    | every joint: not clear            | for every joint         | i's box, output i counts         |
| simulated boxes    | 40 a joint, drawn beforehand      | none                    | `boxes` a person at every step   |
| displacements      | mean and variance, unit not known | none                    | of x and y, in units of b0       |
| start of stage s   | not known                         |                         | random; course: as stage s - 1   |
| LRN                | constants not known               | differ                  | those usually given for AlexNet, |
|                    |                                   |                         | whose pixels are 0 to 255        |
| dropout            | 0.6 is dropped                    | 0.6                     | 0.6; course: none                |
| optimiser          | AdaGrad, says a port; rate 0.0005 | AdaGrad, Adam           | AdamW                            |
| starting box       | whole picture or a detector's box | the true joints' box,   | the crop that is given           |
|                    |                                   | when tested too         |                                  |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import geometry, losses
from course_lib.errors import CourseError
from course_lib.models.base import PoseModel
from course_lib.pose import Batch, Pose
from course_lib.skeletons import Skeleton

PIXELS = 63.75  # 8-bit steps to one unit of the network's input, which then spans -2 to 2
SMALLEST_TORSO = 0.1  # of the crop's side: seen from the side, a torso has hardly a diagonal, and a box needs an area
OBSERVED = 16  # people a step whose errors are measured; finding them with the cascade costs as much as learning
VIEWS_AT_ONCE = 112  # bounds the memory of a forward, not what it answers


class LocalResponse(nn.Module):
    """LRN: a_c / (k + alpha sum a_c'^2)^(3/4), c' being c and its two neighbours on each side, at the same place."""

    def __init__(self, k: float = 2.0, alpha: float = 1e-4 * PIXELS**2) -> None:
        super().__init__()
        self.k, self.alpha = k, alpha

    def forward(self, x: Tensor) -> Tensor:
        squares = F.pad(x.square(), (0, 0, 0, 0, 2, 2))
        total = sum(squares[:, shift : shift + x.shape[1]] for shift in range(5))
        root = (self.k + self.alpha * total).rsqrt()
        return x * (root * root.sqrt())  # a power would take half as long again


class Stage(nn.Module):
    """psi: seven layers with weights, and an eighth that answers with two numbers for every joint."""

    def __init__(
        self,
        joints: int,
        view: int,
        stem: tuple[int, int],
        channels: Sequence[int],
        hidden: int,
        dropout: float,
        groups: int,
        lrn: bool,
    ) -> None:
        super().__init__()
        (kernel, stride), (a, b, c, d, e) = stem, channels
        missing = (math.ceil(view / stride) - 1) * stride + kernel - view  # pixels, for view / stride places: "SAME"
        before = missing // 2
        normalise = LocalResponse if lrn else nn.Identity
        self.features = nn.Sequential(  # sides for 220 x 220
            *(nn.ZeroPad2d((before, missing - before) * 2), nn.Conv2d(3, a, kernel, stride), nn.ReLU()),  # 55
            *(normalise(), nn.MaxPool2d(3, 2)),  # 27
            *(nn.Conv2d(a, b, 5, padding=2, groups=groups), nn.ReLU(), normalise(), nn.MaxPool2d(3, 2)),  # 13
            *(nn.Conv2d(b, c, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(c, d, 3, padding=1, groups=groups), nn.ReLU()),
            *(nn.Conv2d(d, e, 3, padding=1, groups=groups), nn.ReLU(), nn.MaxPool2d(3, 2)),  # 6
        )
        side = math.ceil(view / stride)
        for _ in range(3):
            side = (side - 3) // 2 + 1
        if side < 1:
            raise CourseError(
                f"DeepPose sees {view} x {view} pixels with a first stride of {stride}: too little to be pooled three "
                "times; take a larger input_size or a smaller stride or shrink"
            )
        self.regress = nn.Sequential(
            *(nn.Linear(e * side**2, hidden), nn.ReLU(), nn.Dropout(dropout)),  # dropout: the share that is dropped
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)),
        )
        self.answer = nn.Linear(hidden, 2 * joints)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        nn.init.normal_(self.answer.weight, std=0.001)  # the first answer is the middle of the box

    def forward(self, views: Tensor) -> Tensor:
        """views (N, 3, view, view) in [0, 1] -> (N, K, 2) in units of the box that was cut out, in float32."""
        features = self.features((views - 0.5) * (255 / PIXELS)).flatten(1)
        return self.answer(self.regress(features)).float().unflatten(-1, (-1, 2))

    def begin_as(self, other: Stage) -> None:
        """Takes the weights of another stage, but for the last layer."""
        own = {name: value for name, value in self.state_dict().items() if name.startswith("answer.")}
        self.load_state_dict({**other.state_dict(), **own})


class Cascade(NamedTuple):
    """What every stage answered: S stages, B people."""

    answers: Tensor  # (S, B, K, 2) in units of the box: 0 is its middle, +-0.5 its border
    boxes: Tensor  # (S, B, K, 4) in the crop's pixels: where the stage looked for the joint

    @property
    def joints(self) -> Tensor:
        """y^s (S, B, K, 2) in the crop's pixels."""
        return geometry.denormalise(self.answers[..., None, :], self.boxes)[..., 0, :]


class DeepPose(PoseModel):
    """S stages with weights of their own. `forward` gives a `Cascade`; `look` cuts boxes out of the whole picture.

    sigma: a joint's box in torso diagonals; the paper took 2.0 for LSP and 1.0 for FLIC.
    shrink: every stage sees so many times fewer pixels along a side than a crop has.
    first_share: part of the training that stage 1 gets; the others share the rest. In the paper it was 3 days of 17.
    boxes: joints of a person that a later stage is shown at every step.
    warm_start: a later stage begins with the weights of the one before, but for its last layer, not with random ones.
    grouped: split the second, fourth and fifth convolution in two, as AlexNet did.
    """

    def __init__(
        self,
        skeleton: str | Skeleton = "lsp",
        stages: int = 3,
        input_size: tuple[int, int] = (220, 220),
        shrink: int = 1,
        stem: tuple[int, int] = (11, 4),
        channels: Sequence[int] = (96, 256, 384, 384, 256),
        hidden: int = 4096,
        dropout: float = 0.6,
        sigma: float = 2.0,
        first_share: float = 3 / 17,
        boxes: int = 4,
        warm_start: bool = False,
        grouped: bool = False,
        lrn: bool = True,
    ) -> None:
        super().__init__(skeleton, input_size)
        side = self.input_size[0]
        if self.input_size[1] != side or shrink < 1 or side % shrink:
            raise CourseError(
                f"DeepPose takes a square input_size that shrink divides; got {tuple(input_size)} and shrink={shrink}"
            )
        if min(stages, boxes) < 1 or len(channels) != 5 or not 0 < first_share <= 1 or not sigma > 0:
            raise CourseError(
                "DeepPose needs stages and boxes of at least 1, five numbers of channels, a first_share in (0, 1] and "
                f"sigma above 0; got {stages=}, {boxes=}, {channels=}, {first_share=}, {sigma=}"
            )
        self.shrink, self.view = shrink, side // shrink
        self.sigma, self.first_share, self.boxes, self.warm_start = sigma, first_share, boxes, warm_start
        joints, groups = len(self.skeleton), 2 if grouped else 1
        self.stages = nn.ModuleList(
            Stage(joints, self.view, stem, channels, hidden, dropout, groups, lrn) for _ in range(stages)
        )
        # of every stage but the last: how many errors were seen, and the sums of dx, dy, dx^2, dy^2
        self.register_buffer("errors", torch.zeros(stages - 1, joints, 5))
        self.register_buffer("begun", torch.zeros(stages))  # 1 for every stage whose training has begun

    # --- the cascade ---

    def forward(self, images: Tensor) -> Cascade:
        return self._cascade(images, partial(self.cut, images), len(self.stages))

    def look(self, crops: Tensor, pictures: Sequence[Tensor], matrices: Tensor) -> Cascade:
        """As `forward`, but the later stages see the picture itself, not the crop that may have been made smaller."""

        def cut(boxes: Tensor) -> Tensor:
            people = zip(pictures, matrices, boxes, strict=True)
            return torch.cat([self._views(picture[None], of, matrix).to(crops) for picture, matrix, of in people])

        return self._cascade(crops, cut, len(self.stages))

    def _cascade(self, crops: Tensor, cut: Callable[[Tensor], Tensor], stages: int) -> Cascade:
        """The first stages' answers to crops (B, 3, H, W); `cut` turns boxes (B, K, 4) into views (B K, 3, v, v)."""
        answers = [self.stages[0](self.whole_view(crops))]  # (B, K, 2)
        boxes = [self.whole_box(crops).expand(*answers[0].shape[:2], 4)]
        for stage in self.stages[1:stages]:
            joints = Cascade(answers[-1].detach(), boxes[-1]).joints  # a stage's error is not the one's before
            boxes.append(self.boxes_around(joints, joints))
            parts = cut(boxes[-1]).split(VIEWS_AT_ONCE)
            everything = torch.cat([stage(part) for part in parts]).unflatten(0, joints.shape[:2])  # (B, K, K, 2)
            answers.append(everything.diagonal(dim1=1, dim2=2).transpose(1, 2))  # psi_i of the box of joint i
        return Cascade(torch.stack(answers), torch.stack(boxes))

    def whole_box(self, crops: Tensor) -> Tensor:
        """b0 (4,)"""
        side = float(self.input_size[0])
        return torch.tensor([0.0, 0.0, side, side], device=crops.device)

    def whole_view(self, crops: Tensor) -> Tensor:
        """N(x; b0): crops (B, 3, H, W) as stage 1 sees them (B, 3, view, view)."""
        if tuple(crops.shape[-2:]) != self.input_size:
            height, width = self.input_size
            raise CourseError(f"DeepPose takes images of {height} x {width}; got {crops.shape[-2]} x {crops.shape[-1]}")
        return F.avg_pool2d(crops, self.shrink) if self.shrink > 1 else crops

    def boxes_around(self, centres: Tensor, joints: Tensor) -> Tensor:
        """Square boxes (B, N, 4) around centres (B, N, 2), with sides sigma diam(y) of joints y (B, K, 2)."""
        a, b = (self.skeleton.index(name) for name in self.skeleton.torso)
        torso = (joints[:, a] - joints[:, b]).norm(dim=-1)
        half = self.sigma / 2 * torso.clamp(min=SMALLEST_TORSO * self.input_size[0])
        return torch.cat([centres - half[:, None, None], centres + half[:, None, None]], dim=-1)

    def cut(self, crops: Tensor, boxes: Tensor) -> Tensor:
        """N(x; b): boxes (B, N, 4) cut out of their own crop (B, 3, H, W), as (B N, 3, view, view)."""
        count = boxes.shape[1]
        return self._views(crops.repeat_interleave(count, 0), boxes.flatten(0, 1))

    def _views(self, pictures: Tensor, boxes: Tensor, matrix: Tensor | None = None) -> Tensor:
        """Boxes (N, 4) of crops (N, 3, H, W), or of the one picture (1, 3, h, w) that `matrix` (2, 3) cut a crop of."""
        size = (self.view, self.view)
        to_view = geometry.crop_matrix(boxes, size, padding=1.0)
        if matrix is None:
            # no box has less than its smallest side, so all are sampled alike and a GPU need not be asked
            largest = self.view / (self.sigma * SMALLEST_TORSO * self.input_size[0])
            return geometry.warp(pictures, to_view, size, largest=largest)
        to_view = geometry.compose(matrix.expand(len(boxes), 2, 3), to_view)
        return geometry.warp(pictures.expand(len(boxes), -1, -1, -1), to_view, size)

    # --- how it is asked ---

    def loss(self, outputs: Cascade, batch: Batch) -> dict[str, Tensor]:
        """Every stage's squared distance in units of its own boxes, and their sum."""
        each = [self._error(*stage, batch.joints, batch.visible) for stage in zip(*outputs, strict=True)]
        return {**{f"stage_{s}": term for s, term in enumerate(each, 1)}, "total": sum(each)}

    def _error(self, answers: Tensor, boxes: Tensor, joints: Tensor, labelled: Tensor) -> Tensor:
        """|| psi_i - N(y_i; b_i) ||^2, the mean over labelled joints. All (B, N, ...)."""
        target = geometry.normalise(joints[..., None, :], boxes)[..., 0, :]
        return losses.coordinate_l2(answers, target, labelled)

    # --- how it is trained ---

    def stage_at(self, progress: float) -> int:
        """Which stage is trained, from 0: one after the other."""
        later = (progress - self.first_share) / max(1 - self.first_share, 1e-9) * (len(self.stages) - 1)
        return min(max(math.floor(later) + 1, 0), len(self.stages) - 1)

    def training_loss(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The loss of the stage whose turn it is; that of the others is 0 and reaches nobody."""
        turn = self.stage_at(progress)
        self.errors[turn:] = 0  # this stage is changing, so what is known of its errors no longer holds
        if self.warm_start and turn and not self.begun[turn]:
            self.stages[turn].begin_as(self.stages[turn - 1])
        self.begun[turn] = 1
        if turn == 0:
            answers = self.stages[0](self.whole_view(batch.images))
            loss = self._error(answers, self.whole_box(batch.images).expand(*answers.shape[:2], 4), *_known(batch))
        else:
            self.observe(batch[:OBSERVED], turn)
            which, boxes, joints, labelled = self.simulate(batch, turn)
            everything = self.stages[turn](self.cut(batch.images, boxes)).unflatten(0, which.shape)  # (B, N, K, 2)
            answers = everything.take_along_dim(which[..., None, None], dim=2)[:, :, 0]
            loss = self._error(answers, boxes, joints, labelled)
        terms = {f"stage_{s + 1}": loss if s == turn else torch.zeros_like(loss) for s in range(len(self.stages))}
        return {**terms, "total": loss}

    @torch.no_grad()
    def observe(self, batch: Batch, turn: int) -> None:
        """Adds to what is known of the errors y^s - y of the stage before, s = `turn` counted from 1."""
        was_training = self.training
        self.eval()
        found = self._cascade(batch.images, partial(self.cut, batch.images), turn).joints[-1]
        self.train(was_training)
        joints, labelled = _known(batch)
        error = (found - joints) / self.input_size[0]
        one = torch.cat([torch.ones_like(error[..., :1]), error, error.square()], dim=-1)  # (B, K, 5)
        self.errors[turn - 1] += (one * labelled[..., None]).sum(0)

    def displacements(self, turn: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (K, 2) of the errors that stage `turn` (from 0) is to correct, in crop sides."""
        count, total, squares = self.errors[turn - 1].split([1, 2, 2], dim=-1)
        mean = total / count.clamp(min=1)
        return mean, (squares / count.clamp(min=1) - mean.square()).clamp(min=0).sqrt()

    def simulate(self, batch: Batch, turn: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """D_A: some joints of everybody (B, N), boxes (B, N, 4) around y_i + delta, y_i (B, N, 2), labelled (B, N)."""
        joints, labelled = _known(batch)
        torso = [self.skeleton.index(name) for name in self.skeleton.torso]
        labelled = labelled & labelled[:, torso].all(-1, keepdim=True)  # else nobody knows how large a box is
        which = torch.multinomial(labelled + 1e-6, min(self.boxes, len(self.skeleton)))
        mean, deviation = self.displacements(turn)
        delta = mean + deviation * torch.randn_like(joints)  # (B, K, 2)
        centres = joints + delta * self.input_size[0]
        pick = partial(torch.take_along_dim, indices=which[..., None], dim=1)
        return which, self.boxes_around(pick(centres), joints), pick(joints), labelled.gather(1, which)

    # --- how it answers ---

    def decode(self, outputs: Cascade, stage: int = -1) -> list[list[Pose]]:
        """One pose per image from one stage. Coordinates come without confidence, so that every score is 1."""
        ones = torch.ones(len(self.skeleton))
        return [[Pose(joints, ones.clone(), self.skeleton)] for joints in outputs.joints[stage].detach().cpu()]

    def flip_average(self, outputs: Cascade, mirrored: Cascade) -> Cascade:
        turned = geometry.flip_joints(mirrored.joints, self.input_size[1], self.skeleton.swaps)
        mean = (outputs.joints + turned) / 2
        return Cascade(geometry.normalise(mean[..., None, :], outputs.boxes)[..., 0, :], outputs.boxes)


def _known(batch: Batch) -> tuple[Tensor, Tensor]:
    """Joints (B, K, 2), the middle of the crop where unlabelled, whatever was written there; labelled (B, K)."""
    labelled = batch.visible > 0
    middle = batch.joints.new_tensor([batch.size[1] / 2, batch.size[0] / 2])
    return torch.where(labelled[..., None], batch.joints, middle), labelled


deeppose = DeepPose
# Stage 1 sees 48 x 48, where the layers have sides 24, 11, 5 and 2: the person is found, but not to the pixel. Among
# people who never come twice there is nothing to forget, so dropout would only slow learning down (to a mean pose).
deeppose_course = partial(
    DeepPose,
    input_size=(96, 96),
    shrink=2,
    stem=(7, 2),
    channels=(32, 64, 96, 96, 64),
    hidden=512,
    dropout=0.0,
    first_share=0.55,
    warm_start=True,
)
