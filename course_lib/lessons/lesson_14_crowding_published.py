"""What others measured on CrowdPose's photographs: AP in all, and on its easy, medium and hard pictures.

As CrowdPose's authors and a public model zoo (MMPose) list them. None where a number is not listed. The levels are
those of the evaluation code: crowd index below 0.2, below 0.8, and the rest.
"""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """A row of the table; AP in points of 100."""

    family: str
    ap: float | None
    easy: float | None
    medium: float | None
    hard: float | None


CROWDPOSE = {
    "OpenPose": Published("bottom-up, 2017", None, 62.7, 48.7, 32.3),
    "Mask R-CNN": Published("top-down", 57.2, 69.4, 57.9, 45.8),
    "CrowdPose's own": Published("top-down, joints shared out by a graph", 66.0, 75.5, 66.3, 57.4),
    "SimpleBaseline, ResNet-50": Published("top-down", 63.7, 73.8, 65.0, 50.6),
    "HRNet-W32": Published("top-down", 67.5, 77.0, 68.7, 55.3),
    "HigherHRNet-W32": Published("bottom-up, with HRNet-W32 inside", 65.5, 72.8, 66.0, 57.7),
    "DEKR-W32": Published("bottom-up, direct offsets", 66.3, 74.0, 67.1, 57.6),
    "RTMPose-m": Published("top-down", 70.6, 79.9, 71.9, 58.2),
}
SAME_BACKBONE = ("HRNet-W32", "HigherHRNet-W32")  # the one pair whose families differ in little else


def differences() -> dict[str, float]:
    """By how many points top-down lies above bottom-up with one and the same backbone, level by level."""
    one, other = (CROWDPOSE[name] for name in SAME_BACKBONE)
    return {level: getattr(one, level) - getattr(other, level) for level in ("easy", "medium", "hard")}
