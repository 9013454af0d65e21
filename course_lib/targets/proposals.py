"""Pose-guided proposals: the boxes that a detector might have drawn around a person in this pose.

Hao-Shu Fang, Shuqin Xie, Yu-Wing Tai, Cewu Lu, "RMPE: Regional Multi-person Pose Estimation", ICCV 2017 (arXiv
1612.00137), there called PGPG. A network that is trained on true boxes has never seen the boxes it will be given. How
far a detector is off depends on the pose: it cuts off a raised arm sooner than a shoulder. So the offsets of detected
boxes from true ones are learned for each kind of pose, and more of them are drawn while training:

    delta = (detected - true) / (width, height, width, height)     of the true box, for x0, y0, x1, y1
    P(delta | pose) ~ P(delta | atom(pose)) = sum_m w_m N(delta; mu_m, Sigma_m)

An atom is a cluster of poses with torsos of one length; a mixture of Gaussians is fitted to the offsets in each. How
many atoms and Gaussians the authors took we could not verify; eight atoms of two Gaussians are ours.

A atoms, M Gaussians, K joints, P people.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_lib import paths
from course_lib.errors import CourseError
from course_lib.skeletons import Skeleton, get

FILE = paths.DATA / "studies" / "proposals.json"  # of the detector that ships
ROUNDS = 100  # of k-means and of expectation-maximisation, at most
LEAST = 30  # offsets in a cluster for a mixture of their own; with fewer it takes everybody's
FLOOR = 1e-4  # added to variances of offsets, (1 % of a side) squared


@dataclass
class Proposals:
    """What was learned: the atoms and the offsets of boxes in each."""

    skeleton: Skeleton
    centres: Tensor  # (A, K, 2) poses, the middle of the hips at 0, the torso 1 long
    weights: Tensor  # (A, M)
    means: Tensor  # (A, M, 4)
    covariances: Tensor  # (A, M, 4, 4)

    @classmethod
    def fit(
        cls,
        joints: Tensor,
        visible: Tensor,
        true: Tensor,
        detected: Tensor,
        skeleton: str | Skeleton = "lsp",
        atoms: int = 8,
        components: int = 2,
        seed: int = 0,
    ) -> Proposals:
        """joints (P, K, 2), visible (P, K), boxes true (P, 4) and detected (P, 4) of P people. Those with boxes that
        are not finite, or with a true box that has no area, are left out."""
        skeleton, shapes = get(skeleton), [tuple(part.shape) for part in (joints, visible, true, detected)]
        people = len(joints)
        if shapes != [(people, len(skeleton), 2), (people, len(skeleton)), (people, 4), (people, 4)] or people < 2:
            raise CourseError(f"proposals need joints, visible and two boxes of at least 2 people; got {shapes}")
        if atoms < 1 or components < 1:
            raise CourseError(f"proposals need at least one atom and one Gaussian; got {atoms} and {components}")
        right = torch.cat([true, detected], 1).isfinite().all(-1) & (true[:, 2:] > true[:, :2]).all(-1)
        joints, visible, true, detected = joints[right], visible[right], true[right], detected[right]
        generator = torch.Generator().manual_seed(seed)
        poses, known = _aligned(joints, visible, skeleton)
        usable = known.any(-1)
        if int(usable.sum()) < atoms:
            raise CourseError(f"{atoms} atoms need as many people with a visible torso; got {int(usable.sum())}")
        centres = _clusters(poses[usable], known[usable], atoms, generator)
        delta = offsets(true, detected)
        atom = torch.where(usable, _nearest(poses, known, centres), -1)
        fits = [delta[atom == one] if int((atom == one).sum()) >= LEAST else delta for one in range(atoms)]
        mixtures = [_mixture(some, components, generator) for some in fits]
        return cls(skeleton, centres, *(torch.stack(parts) for parts in zip(*mixtures, strict=True)))

    def atom(self, joints: Tensor, visible: Tensor) -> Tensor:
        """The atom (P,) of poses (P, K, 2); of those without a visible torso the first."""
        poses, known = _aligned(joints, visible, self.skeleton)
        return _nearest(poses, known, self.centres)

    def sample(self, joints: Tensor, visible: Tensor, boxes: Tensor, generator: torch.Generator) -> Tensor:
        """One box (P, 4) that a detector might have drawn, of people with joints (P, K, 2) and true boxes (P, 4)."""
        atom = self.atom(joints.cpu(), visible.cpu())
        component = torch.multinomial(self.weights[atom], 1, generator=generator)[:, 0] if len(atom) else atom
        spread = torch.linalg.cholesky(self.covariances)[atom, component]  # (P, 4, 4)
        noise = torch.randn(len(atom), 4, 1, generator=generator, dtype=spread.dtype)
        return moved(boxes, self.means[atom, component] + (spread @ noise)[..., 0])

    def uniform(self, boxes: Tensor, generator: torch.Generator) -> Tensor:
        """The same boxes (P, 4) with every side moved evenly, as far on average as the mixtures do, whatever the pose:
        what remains of the idea without the pose."""
        mean = (self.weights[..., None] * self.means).sum(1)  # (A, 4)
        second = self.covariances.diagonal(dim1=-2, dim2=-1) + self.means.square()
        spread = ((self.weights[..., None] * second).sum(1) - mean.square()).mean(0).sqrt()
        noise = 2 * torch.rand(len(boxes), 4, generator=generator, dtype=spread.dtype) - 1
        return moved(boxes, noise * math.sqrt(3) * spread)

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, for a file."""
        numbers = {"centres": self.centres, "weights": self.weights, "means": self.means}
        numbers |= {"covariances": self.covariances}
        rounded = {name: (value * 1e6).round().div(1e6).tolist() for name, value in numbers.items()}
        return {"skeleton": self.skeleton.name, **rounded}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Proposals:
        """What `as_dict` gave."""
        try:
            names = ("centres", "weights", "means", "covariances")
            numbers = [torch.tensor(stored[name], dtype=torch.float64) for name in names]
            skeleton = get(stored["skeleton"])
        except (KeyError, TypeError, ValueError) as error:
            raise CourseError(f"these are no proposals: {error}") from error
        atoms, components = numbers[1].shape if numbers[1].ndim == 2 else (0, 0)
        right = [(atoms, len(skeleton), 2), (atoms, components), (atoms, components, 4), (atoms, components, 4, 4)]
        if [tuple(number.shape) for number in numbers] != right or not atoms:
            raise CourseError(f"these are no proposals: their shapes are {[tuple(one.shape) for one in numbers]}")
        shares, failed = numbers[1], torch.linalg.cholesky_ex(numbers[3]).info != 0
        finite = all(bool(number.isfinite().all()) for number in numbers)
        if not finite or bool(failed.any()) or bool((shares < 0).any() | ((shares.sum(1) - 1).abs() > 1e-3).any()):
            raise CourseError("these are no proposals: their numbers are not those of mixtures of Gaussians")
        return cls(skeleton, *numbers)


def load(file: Path = FILE) -> Proposals:
    """The proposals of the detector that ships."""
    if not file.is_file():
        raise CourseError(
            f"there are no proposals in {file}; `python -m course_lib evaluate --study proposals` learns some"
        )
    try:
        stored = json.loads(file.read_text())["proposals"]
    except (ValueError, KeyError, TypeError) as error:
        raise CourseError(f"{file} holds no proposals: {error}") from error
    return Proposals.from_dict(stored)


def offsets(true: Tensor, detected: Tensor) -> Tensor:
    """delta (P, 4) of boxes (P, 4), in sides of the true ones."""
    sides = (true[:, 2:] - true[:, :2]).clamp(min=1e-6).repeat(1, 2)
    return ((detected - true) / sides).double()


def moved(boxes: Tensor, delta: Tensor) -> Tensor:
    """Boxes (P, 4) with their sides moved by delta (P, 4); a side never passes the opposite one."""
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    low, high = (boxes + delta.to(boxes) * sides).split(2, dim=1)
    middle, half = (low + high) / 2, ((high - low) / 2).clamp(min=0.05 * sides[:, :2])
    return torch.cat([middle - half, middle + half], dim=1)


# --- the parts --------------------------------------------------------------------------------------------------------


def _aligned(joints: Tensor, visible: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """Poses (P, K, 2) with the middle of the hips at 0 and a torso of length 1, and which joints are known (P, K).
    Without a whole torso nothing is."""
    hips, shoulders = ([skeleton.index(f"{side}_{part}") for side in ("left", "right")] for part in ("hip", "shoulder"))
    joints, known = joints.double(), (visible > 0) & joints.isfinite().all(-1)
    whole = known[:, hips + shoulders].all(-1)
    joints = torch.where(known[..., None], joints, 0.0)
    low, high = joints[:, hips].mean(1), joints[:, shoulders].mean(1)
    length = (high - low).norm(dim=-1)
    whole &= length > 1
    poses = (joints - low[:, None]) / torch.where(whole, length, 1.0)[:, None, None]
    known = known & whole[:, None]
    return torch.where(known[..., None], poses, 0.0), known


def _distances(poses: Tensor, known: Tensor, centres: Tensor) -> Tensor:
    """Mean squared distance (P, A) of what is known of a pose to every centre."""
    squared = (poses[:, None] - centres).square().sum(-1)  # (P, A, K)
    return (squared * known[:, None]).sum(-1) / known.sum(-1).clamp(min=1)[:, None]


def _nearest(poses: Tensor, known: Tensor, centres: Tensor) -> Tensor:
    return _distances(poses, known, centres).argmin(1)


def _clusters(poses: Tensor, known: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """k-means with missing joints: centres (count, K, 2). Begins far apart (k-means++) and ends when nobody moves."""
    mean = (poses * known[..., None]).sum(0) / known.sum(0).clamp(min=1)[:, None]
    filled = torch.where(known[..., None], poses, mean)
    first = int(torch.randint(len(poses), (), generator=generator))
    centres = filled[first : first + 1]
    while len(centres) < count:
        far = _distances(poses, known, centres).amin(1)
        far = far if float(far.sum()) > 0 else torch.ones_like(far)
        centres = torch.cat([centres, filled[torch.multinomial(far, 1, generator=generator)]])
    atom = _nearest(poses, known, centres)
    for _ in range(ROUNDS):
        for one in range(count):
            own, there = poses[atom == one], known[atom == one]
            seen = there.sum(0)[:, None]
            centres[one] = torch.where(seen > 0, (own * there[..., None]).sum(0) / seen.clamp(min=1), centres[one])
        before, atom = atom, _nearest(poses, known, centres)
        if bool((atom == before).all()):
            break
    return centres


def _mixture(delta: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Expectation-maximisation: weights (M,), means (M, 4), covariances (M, 4, 4) of offsets (n, 4).

    Begins with everybody's Gaussian, the means moved apart at random, so that one of them can become the tails'."""
    floor = FLOOR * torch.eye(4, dtype=delta.dtype)
    whole = torch.cov(delta.T, correction=0) + floor
    weights = delta.new_full((count,), 1 / count)
    spread = torch.linalg.cholesky(whole)
    shift = torch.randn(count, 4, 1, generator=generator, dtype=delta.dtype) if count > 1 else delta.new_zeros(1, 4, 1)
    means, covariances = delta.mean(0) + 0.5 * (spread @ shift)[..., 0], whole.expand(count, 4, 4).clone()
    before = -math.inf
    for _ in range(ROUNDS):
        normal = torch.distributions.MultivariateNormal(means, covariances)
        logs = normal.log_prob(delta[:, None]) + weights.log()  # (n, M)
        value = float(logs.logsumexp(1).mean())
        share = logs.softmax(1)
        total = share.sum(0).clamp(min=1e-9)
        weights, means = total / total.sum(), (share.T @ delta) / total[:, None]
        away = delta[:, None] - means
        covariances = torch.einsum("nm,nmi,nmj->mij", share, away, away) / total[:, None, None] + floor
        if value - before < 1e-7:
            break
        before = value
    return weights, means, covariances
