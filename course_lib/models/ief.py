"""Iterative error feedback: draw the guess onto the picture, ask what is wrong with it, move a little, look again.

Joao Carreira, Pulkit Agrawal, Katerina Fragkiadaki, Jitendra Malik, "Human Pose Estimation with Iterative Error
Feedback", CVPR 2016 (arXiv 1507.06550). A network that maps a picture straight to a pose never sees the pose it
answers with. Here the answer goes back into the input, as one Gaussian a joint beside the colours, and the network
predicts a bounded correction of it; the same weights take every step.

    x_t = I + g(y_t)  (stacked as channels);   eps_t = f(x_t);   y_(t+1) = y_t + eps_t,      y_0 one pose for everybody
    e(y, y_t) = min(L, ||u||) u / ||u||,  u = y - y_t, for every joint;      loss = sum_t ||eps_t - e(y, y_t)||^2

Fixed path consolidation: training shows the network not the poses it reaches but those on the ideal way from y_0 to the
truth, in steps of at most L; of T phases, phase t trains steps 1 to t. Nothing is unrolled.

|                   | paper (most of it second-hand)     | authors' demo code     | here                               |
|-------------------|------------------------------------|------------------------|------------------------------------|
| f                 | GoogLeNet, trained on ImageNet     | the same               | torchvision's GoogLeNet: batch     |
|                   |                                    |                        | norm, 3x3 for 5x5; `load_imagenet` |
| filters of g(y)   | noise of variance 0.1              | released with the rest | noise as strong as the colours'    |
| y_0               | median of training poses, or mean  | a stored constant      | mean of the first training crops   |
| T and L           | 4 steps of at most 20 px in 224    | 4 steps                | the same; 9 px in 96               |
| Gaussians         | size not known to us               | sigma 22.4 px, rounded | sigma 22.4 px, not rounded         |
| their values      | not known to us                    | +-50 beside 0 to 255   | +-1 beside colours of +-1          |
| mark, never moved | a point on the torso               | the crop's middle      | the crop's middle                  |
| prediction        | linear; its target is bounded      | linear, not clipped    | linear, not clipped                |
| before phase 1    | ImageNet                           | the same               | `load_imagenet`, or `whole_way`    |
| phase t           | equal epochs over t pairs a person | not released           | a share of t in 1 + 2 + ... + T    |
| score of a joint  | none                               | none                   | L / (L + length of the last step)  |
"""

from __future__ import annotations

import itertools
import math
from functools import partial

import torch
from torch import Tensor, nn

from course_lib import geometry, losses
from course_lib.errors import CourseError
from course_lib.models.base import PoseModel
from course_lib.pose import Batch, Pose
from course_lib.skeletons import Skeleton
from course_lib.targets import heatmaps

MODES = ("ief", "iterate", "direct")
PATHS = ("fixed", "own")
START_CROPS = 1000.0  # labelled examples of a joint whose mean is its starting point; then the point stays
MAP_FILTERS = 0.25  # how strong the small trunk's first filters are on the drawn maps: they are many, the colours three


def bounded(u: Tensor, bound: float) -> Tensor:
    """e = min(L, ||u||) u / ||u||: displacements u (..., 2), none longer than `bound`; 0 stays 0.

    It is the vector that is shortened, so that the direction is kept; a limit on x and y by themselves would bend it.
    """
    if math.isinf(bound):
        return u
    length = u.norm(dim=-1, keepdim=True)
    return u * (bound / length.clamp(min=bound))


def small_trunk(channels: int, width: int, size: tuple[int, int], answers: int) -> nn.Sequential:
    """Four convolutions that halve each, and two linear layers that still know where on the maps something lies."""
    widths = [channels, width, width * 3 // 2, width * 2, width * 3]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    features, hidden = widths[-1] * math.ceil(size[0] / 16) * math.ceil(size[1] / 16), 8 * width
    layers += [nn.Flatten(), nn.Linear(features, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, answers)]
    with torch.no_grad():
        layers[0].weight[:, 3:] *= MAP_FILTERS
    return nn.Sequential(*layers)


def googlenet(channels: int, answers: int) -> nn.Module:
    """torchvision's GoogLeNet with a wider first convolution and a linear answer."""
    from torchvision.models.googlenet import BasicConv2d, GoogLeNet  # takes seconds to import

    network = GoogLeNet(num_classes=answers, aux_logits=False, init_weights=False)
    network.conv1 = BasicConv2d(channels, 64, kernel_size=7, stride=2, padding=3)
    return network


class IterativeErrorFeedback(PoseModel):
    """T steps of one network. `forward` gives the walk, all poses from the start on: (T + 1, B, K, 2), in pixels.

    width: None for GoogLeNet, else the first layer of the small trunk.
    mode: "ief"; "iterate" asks every step for the whole displacement; "direct" does so once, from the start.
    path: train on the poses of the ideal way ("fixed"), or on those that the network reaches itself ("own"). The ideal
        way of "iterate" ends after one step and teaches the others only to stay, so there the default is "own".
    curriculum: train the steps one after the other, or all from the beginning.
    whole_way: part of the training, at its beginning, in which the network is asked for the whole displacement from the
        start, to learn to see people. The paper began with a network that could see: it had learned from ImageNet.
    bound, sigma: L and the Gaussians' size, in pixels. L is the unit of the answer in every mode.
    """

    def __init__(
        self,
        skeleton: str | Skeleton = "mpii",
        width: int | None = None,
        steps: int = 4,
        bound: float = 20.0,
        sigma: float = 22.4,
        mode: str = "ief",
        path: str | None = None,
        curriculum: bool = True,
        whole_way: float = 0.0,
        input_size: tuple[int, int] = (224, 224),
    ) -> None:
        super().__init__(skeleton, input_size)
        if steps < 1 or not (0 < bound < math.inf and 0 < sigma < math.inf) or (width is not None and width < 1):
            raise CourseError(
                "iterative error feedback needs at least one step, a positive bound and sigma in pixels, and a width "
                f"of None or at least 1; got steps={steps}, bound={bound}, sigma={sigma}, width={width}"
            )
        path = path or ("own" if mode == "iterate" else "fixed")
        if not 0 <= whole_way < 1:
            raise CourseError(f"whole_way is a part of the training, at least 0 and below 1; got {whole_way}")
        if mode not in MODES or path not in PATHS:
            raise CourseError(
                f"iterative error feedback takes a mode of {', '.join(MODES)} and a path of {' or '.join(PATHS)}; got "
                f"mode={mode!r}, path={path!r}"
            )
        self.steps = 1 if mode == "direct" else steps
        self.bound, self.sigma, self.path, self.curriculum = float(bound), float(sigma), path, curriculum
        self.whole_way = whole_way
        self.limit = self.bound if mode == "ief" else math.inf  # how long a correction may be that is asked for
        joints = len(self.skeleton)
        channels, answers = 3 + joints + 1, 2 * joints
        if width is None:
            self.trunk = googlenet(channels, answers)
            last = self.trunk.fc
        else:
            self.trunk = small_trunk(channels, width, self.input_size, answers)
            last = self.trunk[-1]
        nn.init.normal_(last.weight, std=0.001)  # the first corrections are near zero
        nn.init.zeros_(last.bias)
        middle = torch.tensor([self.input_size[1] / 2, self.input_size[0] / 2])
        self.register_buffer("mark", middle.clone(), persistent=False)
        self.register_buffer("start", middle.repeat(joints, 1))  # y_0 (K, 2)
        self.register_buffer("start_seen", torch.zeros(joints))  # how many labelled examples made it

    # --- the network --------------------------------------------------------------------------------------------------

    def see(self, images: Tensor, pose: Tensor) -> Tensor:
        """x_t = I + g(y_t): colours, a Gaussian for every joint of `pose` (B, K, 2), and the mark; all from -1 to 1."""
        size = (images.shape[-2], images.shape[-1])
        drawn = torch.cat([pose, self.mark.expand(len(pose), 1, 2)], dim=1)
        maps = heatmaps.gaussian(drawn, size, self.sigma).to(images.dtype)
        return torch.cat([images, maps], dim=1).mul_(2).sub_(1)  # (B, 3 + K + 1, H, W)

    def correct(self, images: Tensor, pose: Tensor) -> Tensor:
        """eps_t = f(x_t): one correction (B, K, 2), in pixels. No gradient flows into the pose."""
        return self.trunk(self.see(images, pose.detach())).float().unflatten(-1, (-1, 2)) * self.bound

    def forward(self, images: Tensor, start: Tensor | None = None, steps: int | None = None) -> Tensor:
        """y_0 ... y_T. `start` (K, 2) or (B, K, 2) replaces y_0; `steps` may be more than the network was trained for.

        Every step's gradient ends at that step: y_t enters it as a number that is simply there.
        """
        self._check(images, start, steps)
        pose = (self.start if start is None else start.to(self.start)).expand(len(images), -1, -1)
        walk = [pose]
        for _ in range(steps or self.steps):
            pose = pose.detach() + self.correct(images, pose)
            walk.append(pose)
        return torch.stack(walk)

    def _check(self, images: Tensor, start: Tensor | None, steps: int | None) -> None:
        if images.shape[-2:] != self.input_size:
            height, width = self.input_size
            raise CourseError(
                f"this {type(self).__name__} was built for images of {height} x {width}; got {tuple(images.shape)}"
            )
        own = tuple(self.start.shape)
        if start is not None and (tuple(start.shape) not in (own, (len(images), *own)) or not start.isfinite().all()):
            raise CourseError(
                f"a starting pose must be finite and have shape {own} or {(len(images), *own)}; got "
                f"{tuple(start.shape)}"
            )
        if steps is not None and steps < 1:
            raise CourseError(f"iterative error feedback takes at least one step; asked for {steps}")

    # --- how it is asked ----------------------------------------------------------------------------------------------

    def target(self, joints: Tensor, pose: Tensor, visible: Tensor, limit: float | None = None) -> Tensor:
        """e(y, y_t) (B, K, 2) in pixels; 0 for unlabelled joints, whose truth nobody knows."""
        labelled = (visible > 0)[..., None]
        return bounded(torch.where(labelled, joints - pose, 0.0), self.limit if limit is None else limit)

    def _error(
        self, correction: Tensor, pose: Tensor, batch: Batch, visible: Tensor, limit: float | None = None
    ) -> Tensor:
        """h: the squared distance from the correction to its target in units of L, averaged over labelled joints."""
        target = self.target(batch.joints, pose, batch.visible, limit)
        return losses.coordinate_l2(correction / self.bound, target / self.bound, visible)

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Every step of a walk against what would have been right where it stood, and their sum."""
        before, correction = outputs[:-1].detach(), outputs[1:] - outputs[:-1].detach()
        steps = [self._error(eps, pose, batch, batch.visible) for eps, pose in zip(correction, before, strict=True)]
        return {**{f"step_{t}": term for t, term in enumerate(steps, 1)}, "total": sum(steps)}

    def phase(self, progress: float) -> int:
        """How many steps are trained by now: phase t of T lasts t / (1 + 2 + ... + T), as it has t pairs a picture."""
        if not self.curriculum:
            return self.steps
        done = (progress - self.whole_way) / (1 - self.whole_way) * self.steps * (self.steps + 1)
        return next((t for t in range(1, self.steps) if done < t * (t + 1)), self.steps)

    def training_loss(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Fixed path consolidation: the pairs (pose on the path, correction) of phase 1, 2, ... T, one a crop.

        The paper's set holds t pairs for every picture in phase t, and training draws from it; so does this, and all
        modes cost one pass of the network a crop. A step that is not trained yet, or that no crop drew, has loss 0.
        """
        self._check(batch.images, None, None)
        self.fit_start(batch)
        if progress < self.whole_way:
            return self._whole_way(batch)
        phase = self.phase(progress)
        drawn = torch.randint(phase, (len(batch),), device=batch.images.device)  # which step each crop trains
        path = self.training_path(batch, phase)  # (phase, B, K, 2)
        pose = path[drawn, torch.arange(len(batch), device=drawn.device)]
        correction = self.correct(batch.images, pose)
        terms = {"whole_way": correction.new_zeros(())} if self.whole_way else {}
        for t in range(self.steps):
            theirs = torch.where((drawn == t)[:, None], batch.visible, 0)
            terms[f"step_{t + 1}"] = self._error(correction, pose, batch, theirs)
        return {**terms, "total": sum(terms.values())}

    def _whole_way(self, batch: Batch) -> dict[str, Tensor]:
        """The displacement from y_0 to the truth, however long."""
        start = self.start.expand(len(batch), -1, -1)
        error = self._error(self.correct(batch.images, start), start, batch, batch.visible, math.inf)
        waiting = {f"step_{t}": error.new_zeros(()) for t in range(1, self.steps + 1)}
        return {"whole_way": error, **waiting, "total": error}

    @torch.no_grad()
    def training_path(self, batch: Batch, steps: int) -> Tensor:
        """The poses (steps, B, K, 2) that steps 1, 2, ... start from; an unlabelled joint never leaves y_0 if fixed."""
        path = [self.start.expand(len(batch), -1, -1)]
        for _ in range(steps - 1):
            if self.path == "fixed":
                step = self.target(batch.joints, path[-1], batch.visible)
            else:
                step = self.correct(batch.images, path[-1])
            path.append(path[-1] + step)
        return torch.stack(path)

    @torch.no_grad()
    def fit_start(self, batch: Batch) -> None:
        """Takes a batch into y_0, the mean of the first START_CROPS labelled examples of every joint."""
        labelled = (batch.visible > 0) & (self.start_seen < START_CROPS)  # (B, K)
        count = labelled.sum(0)
        away = torch.where(labelled[..., None], batch.joints - self.start, 0.0).sum(0)
        self.start_seen += count
        self.start += away / self.start_seen.clamp(min=1)[:, None]

    def load_imagenet(self, weights: dict[str, Tensor]) -> None:
        """Begins from a torchvision GoogLeNet's state dict: its colours' filters are kept, the drawn maps get noise."""
        own = self.trunk.state_dict()
        taken = {name: value for name, value in weights.items() if name in own and not name.startswith("fc.")}
        colours = taken.get("conv1.conv.weight")
        if "fc.weight" not in own or colours is None or colours.shape[1] != 3:
            raise CourseError("load_imagenet needs a model with width=None and the weights of a torchvision GoogLeNet")
        filters = torch.randn(own["conv1.conv.weight"].shape) * colours.std()
        filters[:, :3] = colours
        self.trunk.load_state_dict({**own, **taken, "conv1.conv.weight": filters})

    # --- how it answers -----------------------------------------------------------------------------------------------

    def decode(self, outputs: Tensor, step: int = -1) -> list[list[Pose]]:
        """One pose per image, as it stands after a step (0: the start). A joint that came to rest has a score near 1.

        The score is L / (L + length of the step that led there): 1/2 for a joint still walking at full length.
        """
        walk = outputs.detach().float()
        if not -len(walk) <= step < len(walk):
            raise CourseError(f"the walk has steps 0 to {len(walk) - 1}; asked for step {step}")
        step %= len(walk)
        moved = (walk[step] - walk[step - 1]).norm(dim=-1) if step else torch.full_like(walk[0, ..., 0], math.inf)
        joints, scores = walk[step].cpu(), (self.bound / (self.bound + moved)).cpu()
        return [
            [Pose(one, score, self.skeleton, float(score.mean()))] for one, score in zip(joints, scores, strict=True)
        ]

    def flip_average(self, outputs: Tensor, mirrored: Tensor) -> Tensor:
        return (outputs + geometry.flip_joints(mirrored, self.input_size[1], self.skeleton.swaps)) / 2


ief = IterativeErrorFeedback
# Four steps of 0.027 G multiply-adds. L is the paper's share of the crop's side; the Gaussians are half as wide, with
# which a small network learns sooner
ief_course = partial(
    IterativeErrorFeedback, skeleton="lsp", width=32, bound=9.0, sigma=5.0, whole_way=0.4, input_size=(96, 96)
)
