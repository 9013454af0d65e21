"""Lesson 14: its exercise on robustness."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from course_lib.lessons import Case, Exercise, register

Change = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor] | None]
_PLACES = ((4.5, 3.5), (9.5, 7.5), (2.5, 10.5), (12.5, 5.5))  # x, y of the joints of the first picture


def _robustness(
    score: Callable[[Tensor, Tensor], float], images: Tensor, joints: Tensor, corruptions: dict[str, Change]
) -> tuple[float, float | None, float | None]:
    clean, total, kinds = score(images, joints), 0.0, 0
    for change in corruptions.values():
        added, times = 0.0, 0
        for severity in (1, 2, 3, 4, 5):
            changed = change(images.clone(), joints.clone(), severity)
            if changed is not None:
                added, times = added + score(changed[0], changed[1]), times + 1
        if times > 0:
            total, kinds = total + added / times, kinds + 1
    mpc = None if kinds == 0 else total / kinds
    return clean, mpc, None if mpc is None or clean == 0 else mpc / clean


# --- toys that can be checked by hand ---------------------------------------------------------------------------------


def brightness_at(images: Tensor, joints: Tensor) -> float:
    """The mean brightness of the pixels in which joints (B, K, 2) lie; nothing is bright outside the picture."""
    height, width = images.shape[-2:]
    values = []
    for image, row in zip(images, joints.tolist(), strict=True):
        for x, y in row:
            inside = 0 <= x < width and 0 <= y < height
            values.append(float(image[:, int(y), int(x)].mean()) if inside else 0.0)
    return sum(values) / len(values)


def dimmed(images: Tensor, joints: Tensor, severity: int) -> tuple[Tensor, Tensor]:
    """Takes a tenth of the light with every severity."""
    return images * (1 - severity / 10), joints


def darkened(images: Tensor, joints: Tensor, severity: int) -> tuple[Tensor, Tensor]:
    """Black from severity 3 on."""
    return images * max(0.0, 1 - severity / 3), joints


def slid(images: Tensor, joints: Tensor, severity: int) -> tuple[Tensor, Tensor]:
    """Moves the picture to the right, around its edge, and the joints with it."""
    shift = torch.tensor([float(severity), 0.0])
    moved = joints + shift
    moved[..., 0] %= images.shape[-1]
    return images.roll(severity, -1), moved


def dimmed_twice(images: Tensor, joints: Tensor, severity: int) -> tuple[Tensor, Tensor] | None:
    """Knows severities 2 and 5 only."""
    return dimmed(images, joints, severity) if severity in (2, 5) else None


def never(images: Tensor, joints: Tensor, severity: int) -> None:
    """Knows no severity."""
    return None


def _lit(joints: Tensor, light: float = 1.0, size: tuple[int, int] = (12, 16)) -> Tensor:
    """Black pictures whose joints' pixels shine."""
    images = torch.zeros(len(joints), 3, *size)
    for image, row in zip(images, joints.tolist(), strict=True):
        for x, y in row:
            image[:, int(y), int(x)] = light
    return images


def _robustness_cases(random: torch.Generator) -> Iterator[Case]:
    joints = torch.tensor([_PLACES])
    bright = _lit(joints)
    plain = "Five severities: 0.9, 0.8, 0.7, 0.6, 0.5. Their mean is 0.7."
    yield Case((brightness_at, bright, joints, {"dimmed": dimmed}), "one corruption of the pixels", plain)
    moves = "The picture slides, and the joints slide with it: nothing is lost. Which joints did you score against?"
    yield Case((brightness_at, bright, joints, {"slid": slid}), "a corruption that moves the joints", moves)
    both = {"dimmed": dimmed, "slid": slid}
    yield Case((brightness_at, _lit(joints, 0.5), joints, both), "two corruptions, clean 0.5", "Each starts clean.")
    dark = "A score of 0 is a score; only None means that a severity is missing."
    yield Case((brightness_at, bright, joints, {"darkened": darkened}), "scores of 0", dark)
    some = "First the mean over a corruption's own severities, then over corruptions: each kind weighs the same."
    missing = {"dimmed twice": dimmed_twice, "slid": slid}
    yield Case((brightness_at, bright, joints, missing), "one has severities 2 and 5 only", some)
    none = {"never": never, "dimmed": dimmed}
    yield Case((brightness_at, bright, joints, none), "one has no severity", "Then it does not count at all.")
    yield Case((brightness_at, bright, joints, {"never": never}), "nothing was measured", "Then mPC and rPC are None.")
    yield Case((brightness_at, bright, joints, {}), "no corruptions", "Then mPC and rPC are None.")
    black = (brightness_at, torch.zeros(1, 3, 12, 16), joints, {"dimmed": dimmed})
    yield Case(black, "clean is 0", "Of nothing no share is left: rPC is None. mPC is still a number.")
    for people in (1, 3):
        places = torch.rand(people, 5, 2, generator=random) * torch.tensor([16.0, 12.0])
        images = torch.rand(people, 3, 12, 16, generator=random)
        every = {"slid": slid, "darkened": darkened, "dimmed twice": dimmed_twice, "never": never, "dimmed": dimmed}
        yield Case((brightness_at, images, places, every), f"{people} pictures at random")


register(
    Exercise(
        "14.mpc",
        _robustness,
        _robustness_cases,
        (
            "Two loops: over corruptions, and in each over severities 1 to 5. Both means come after their own loop.",
            "changed = corruption(images, joints, severity); skip it `if changed is None`, else score(*changed).",
            "means = [mean of one corruption's scores, for those that have any]; mPC = mean of means, or None; "
            "rPC = mPC / clean, or None where mPC is None or clean is 0.",
        ),
    )
)
