"""What all counting metrics share: distances, "near enough", and the table of right and wrong answers.

One set of rules holds in every file of this folder:

- numbers are float64 on the CPU, whatever comes in;
- a joint is *labelled* where `visible` is above 0 and its true position is finite; hidden joints (1) count
  like visible
  ones, as in LSP, MPII and COCO. Pass `visible == 2` to score the visible ones only;
- an estimate that is not finite is a miss, infinitely far away;
- a person without a reference size (no head rectangle, torso not labelled or of length zero) is not scored at
  all;
- a mean over nothing is `None`. No metric returns NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.errors import CourseError, unknown_name
from course_lib.pose import Pose, Scene
from course_lib.skeletons import Skeleton

COMPARISONS = {"<=": torch.le, "<": torch.lt}


def exact(values: Tensor | Sequence) -> Tensor:
    """Anything array-like as a float64 tensor on the CPU."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
    return torch.as_tensor(values, dtype=torch.float64)


def labelled_joints(true: Tensor, visible: Tensor) -> Tensor:
    """(..., K) bool: the joints whose true position (..., K, D) is known."""
    return (torch.as_tensor(visible).cpu() > 0) & exact(true).isfinite().all(-1)


def check_shapes(estimated: Tensor, true: Tensor, visible: Tensor, dimensions: int = 2, joints: int = 0) -> None:
    """Refuses anything but estimated (N, K, D), true (N, K, D) and visible (N, K); `joints` fixes K."""
    shapes = tuple(tuple(torch.as_tensor(values).shape) for values in (estimated, true, visible))
    first = shapes[0]
    fits = len(first) == 3 and first[2] == dimensions and first[1] == (joints or first[1])
    if not fits or shapes[1] != first or shapes[2] != first[:2]:
        wanted = joints or "K"
        raise CourseError(
            f"estimated and true joints must be (N, {wanted}, {dimensions}) and visible (N, {wanted}); "
            f"got {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )


def distances(estimated: Tensor, true: Tensor) -> Tensor:
    """Euclidean distances (..., K) between joints (..., K, D); infinite where either is not finite."""
    distance = torch.linalg.vector_norm(exact(estimated) - exact(true), dim=-1)
    return torch.where(distance.isfinite(), distance, math.inf)


def within(errors: Tensor, limit: float | Tensor, comparison: str = "<=") -> Tensor:
    """errors <= limit or errors < limit: the small difference that decides every tie."""
    if comparison not in COMPARISONS:
        raise unknown_name("comparison", comparison, COMPARISONS)
    return COMPARISONS[comparison](errors, torch.as_tensor(limit, dtype=errors.dtype))


def stack(tensors: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
    """(N, *shape) float64, also when there are none."""
    return torch.stack([exact(one) for one in tensors]) if tensors else exact([]).reshape(0, *shape)


def check_scenes(poses: Sequence[Sequence[Pose]], scenes: Sequence[Scene]) -> Skeleton | None:
    """The one skeleton of everybody, None where there is nobody; refuses two skeletons, or lists of unequal length."""
    if len(poses) != len(scenes):
        raise CourseError(f"there must be one list of poses for each scene; got {len(poses)} and {len(scenes)}")
    everybody = [who for scene in scenes for who in scene.people] + [who for found in poses for who in found]
    skeletons = list(dict.fromkeys(who.skeleton for who in everybody))
    if len(skeletons) > 1:
        names = " and ".join(f"'{skeleton.name}'" for skeleton in skeletons)
        raise CourseError(f"all people must have one skeleton, but there are {names}; see skeletons.convert")
    return skeletons[0] if skeletons else None


def mean_or_none(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are there, None where none is."""
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present else None


@dataclass(frozen=True)
class Marks:
    """Who got what right: N people by K joints (or sticks). Two tables of the same kind add up."""

    right: Tensor  # (N, K) bool, never True where not scored
    scored: Tensor  # (N, K) bool
    names: tuple[str, ...]  # of the K columns
    outside: tuple[str, ...] = ()  # columns that are scored but that the means leave out

    @property
    def _inside(self) -> list[int]:
        return [k for k, name in enumerate(self.names) if name not in self.outside]

    @property
    def count(self) -> int:
        """How many answers the mean is over."""
        return int(self.scored[:, self._inside].sum())

    @property
    def unscored(self) -> int:
        """How many people were left out: nothing labelled, or no reference size."""
        return int((~self.scored.any(-1)).sum())

    @property
    def mean(self) -> float | None:
        """All scored answers pooled over the whole set: joints seen more often weigh more."""
        return int(self.right[:, self._inside].sum()) / self.count if self.count else None

    @property
    def per_name(self) -> dict[str, float | None]:
        """The share of right answers of every column, None for a column that nobody has labelled."""
        right, scored = self.right.sum(0).tolist(), self.scored.sum(0).tolist()
        return {name: r / s if s else None for name, r, s in zip(self.names, right, scored, strict=True)}

    @property
    def mean_of_columns(self) -> float | None:
        """First the share of every column, then their mean: rare joints weigh as much as common ones."""
        return mean_or_none(share for name, share in self.per_name.items() if name not in self.outside)

    @property
    def mean_of_people(self) -> float | None:
        """First the share of every person, then their mean: people with few labelled joints weigh as much."""
        right, scored = (
            self.right[:, self._inside].sum(1).tolist(),
            self.scored[:, self._inside].sum(1).tolist(),
        )
        return mean_or_none(r / s if s else None for r, s in zip(right, scored, strict=True))

    def columns(self, head: tuple[str, ...] = (), hidden: tuple[str, ...] = ()) -> dict[str, float | None]:
        """The table papers print: left and right averaged, `head` merged into one column, and the pooled mean."""
        groups: dict[str, list[float | None]] = {"head": []} if head else {}
        for name, share in self.per_name.items():
            if name in head:
                groups["head"].append(share)
            elif name not in hidden:
                groups.setdefault(name.removeprefix("left_").removeprefix("right_"), []).append(share)
        return {name: mean_or_none(shares) for name, shares in groups.items()} | {"mean": self.mean}

    def __add__(self, other: Marks) -> Marks:
        if (self.names, self.outside) != (other.names, other.outside):
            raise CourseError("two tables of marks can only be added if they score the same joints")
        right, scored = torch.cat([self.right, other.right]), torch.cat([self.scored, other.scored])
        return Marks(right, scored, self.names, self.outside)
