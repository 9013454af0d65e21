"""What people do: named motions, each a few sine waves on the body's angles, and postures drawn from them.

A motion is a table row per angle: `base + swing * sin(2 pi (phase + shift))`. A name without a side is written for
both; in `alternating` motions the right side runs half a period later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from course_lib.datasets.synthetic.body import ANGLES, LIMITS, turn_x, turn_y, turn_z
from course_lib.datasets.synthetic.draw import Draw
from course_lib.errors import unknown_name


@dataclass(frozen=True)
class Motion:
    """A motion with period 1. Waves are (base, swing, shift) in degrees and periods."""

    waves: dict[str, tuple[float, float, float]]
    alternating: bool = False
    roll: tuple[float, float] = (0.0, 0.0)  # of the whole body: start, degrees a period
    family: str = "natural"  # or "sport": how a posture is drawn by default
    table: Tensor = field(init=False, repr=False, compare=False)  # (24, 3)

    def __post_init__(self) -> None:
        rows = torch.zeros(len(ANGLES), 3, dtype=torch.float64)
        for name, wave in self.waves.items():
            for side in ("left_", "right_", ""):
                if side + name in ANGLES:
                    rows[ANGLES.index(side + name)] = torch.tensor(wave, dtype=torch.float64)
                    if side == "right_" and self.alternating:
                        rows[ANGLES.index(side + name), 2] += 0.5
        object.__setattr__(self, "table", rows)


_WALK_LEGS = {"leg_up": (8, 24, 0), "knee": (24, 20, -0.25), "ankle": (0, 10, 0.2)}
_RUN_LEGS = {"leg_up": (26, 42, 0), "knee": (55, 42, -0.2), "ankle": (-6, 16, 0.2)}
_SEAT = {"leg_up": (86, 2, 0), "knee": (84, 4, 0), "leg_out": (9, 1, 0)}

_MOTIONS = {
    "stand": Motion({"arm_out": (9, 2, 0), "arm_up": (4, 4, 0), "elbow": (14, 4, 0), "lean": (0, 3, 0)}),
    "walk": Motion(
        _WALK_LEGS | {"arm_up": (0, 26, 0.5), "arm_out": (7, 0, 0), "elbow": (20, 10, 0.5), "turn": (0, 7, 0.5)},
        alternating=True,
    ),
    "wave": Motion(
        {"left_arm_out": (125, 14, 0), "left_elbow": (45, 35, 0.1), "left_arm_twist": (40, 20, 0)}
        | {"right_arm_out": (9, 2, 0), "right_elbow": (14, 4, 0), "lean": (-4, 3, 0)}
    ),
    "sit": Motion(_SEAT | {"arm_up": (32, 6, 0), "elbow": (52, 8, 0.2), "arm_out": (9, 3, 0), "bend": (6, 5, 0)}),
    "talk": Motion(
        {"arm_up": (28, 14, 0), "elbow": (85, 25, 0.15), "arm_out": (12, 6, 0), "nod": (0, 8, 0), "look": (0, 22, 0.3)},
        alternating=True,
    ),
    "phone": Motion(
        {"left_arm_out": (22, 4, 0), "left_arm_up": (48, 5, 0), "left_elbow": (132, 5, 0), "right_elbow": (16, 4, 0)}
        | {"left_arm_twist": (-8, 3, 0), "right_arm_out": (8, 3, 0), "nod": (8, 6, 0), "lean": (0, 3, 0)}
    ),
    "pick_up": Motion(
        {"bend": (34, 32, -0.25), "leg_up": (38, 34, -0.25), "knee": (40, 36, -0.25), "arm_up": (38, 30, -0.25)}
        | {"elbow": (12, 8, 0), "nod": (10, 10, 0)}
    ),
    "run": Motion(
        _RUN_LEGS | {"arm_up": (0, 42, 0.5), "elbow": (92, 16, 0.5), "arm_out": (12, 0, 0), "bend": (13, 2, 0)},
        alternating=True,
        family="sport",
    ),
    "jumping_jack": Motion(
        {"arm_out": (84, 72, -0.25), "leg_out": (16, 18, -0.25), "elbow": (12, 6, 0), "knee": (10, 8, 0.25)}
        | {"leg_up": (6, 4, 0.25)},
        family="sport",
    ),
    "squat": Motion(
        {"leg_up": (54, 52, -0.25), "knee": (58, 56, -0.25), "arm_up": (46, 42, -0.25), "bend": (18, 16, -0.25)}
        | {"leg_out": (14, 4, 0), "ankle": (8, 10, -0.25)},
        family="sport",
    ),
    "kick": Motion(
        {"left_leg_up": (34, 58, 0), "left_knee": (46, 42, -0.35), "right_knee": (14, 10, 0), "bend": (-4, 10, 0.5)}
        | {"left_arm_up": (-4, 28, 0.5), "right_arm_up": (14, 34, 0), "arm_out": (36, 12, 0), "turn": (0, 14, 0)},
        family="sport",
    ),
    "throw": Motion(
        {"right_arm_up": (88, 74, 0), "right_arm_out": (48, 24, 0.3), "right_elbow": (70, 48, 0.4)}
        | {
            "left_arm_up": (34, 30, 0.5),
            "left_arm_out": (36, 10, 0),
            "turn": (0, 30, 0.1),
            "left_leg_up": (24, 22, 0.2),
        }
        | {"left_knee": (30, 16, 0.1), "right_knee": (20, 10, 0), "bend": (8, 12, 0.4)},
        family="sport",
    ),
    "lunge": Motion(
        {"left_leg_up": (46, 34, -0.25), "left_knee": (48, 38, -0.25), "right_leg_up": (-12, 10, 0.25)}
        | {"right_knee": (38, 26, -0.25), "arm_up": (28, 40, 0.1), "arm_out": (28, 18, 0), "elbow": (34, 26, 0.2)},
        family="sport",
    ),
    "punch": Motion(
        {"arm_up": (66, 22, 0), "elbow": (78, 60, 0.5), "arm_out": (12, 8, 0), "turn": (0, 24, 0), "knee": (20, 8, 0)}
        | {"leg_up": (16, 14, 0.5), "leg_out": (12, 2, 0), "bend": (10, 3, 0)},
        alternating=True,
        family="sport",
    ),
    "jump": Motion(
        {"arm_up": (88, 78, 0), "elbow": (20, 14, 0), "leg_up": (24, 34, 0.5), "knee": (36, 34, 0.5)}
        | {"leg_out": (8, 5, 0), "ankle": (-12, 16, 0.5), "bend": (8, 14, 0.5)},
        family="sport",
    ),
    "cartwheel": Motion(
        {
            "arm_out": (150, 12, 0),
            "leg_out": (46, 12, 0.25),
            "elbow": (8, 5, 0),
            "knee": (6, 5, 0),
            "leg_up": (4, 4, 0),
        },
        roll=(90.0, 360.0),
        family="sport",
    ),
    "handstand": Motion(
        {
            "arm_up": (164, 5, 0),
            "leg_up": (6, 14, 0),
            "leg_out": (10, 8, 0.3),
            "knee": (14, 14, 0.2),
            "bend": (-6, 5, 0),
        },
        roll=(180.0, 0.0),
        family="sport",
    ),
}
MOTIONS = tuple(_MOTIONS)
_FREE = "free"  # any angle the joints allow, any way up


def motion_angles(name: str, phase: Tensor) -> tuple[Tensor, Tensor]:
    """Angles (P, 24) and the body's roll (P,), both in degrees, of a named motion at these phases (P,)."""
    if name not in _MOTIONS:
        raise unknown_name("motion", name, MOTIONS)
    motion = _MOTIONS[name]
    base, swing, shift = motion.table.unbind(-1)
    return base + swing * torch.sin(2 * math.pi * (phase[:, None] + shift)), motion.roll[0] + motion.roll[1] * phase


@dataclass
class Postures:
    """P people's postures."""

    angles: Tensor  # (P, 24) degrees
    root: Tensor  # (P, 3, 3) body frame to ground frame (x right, y up, z towards the camera)
    yaw: Tensor  # (P,) degrees; 0 faces the camera, 180 shows the back
    motion: list[str]


def draw_postures(draw: Draw, count: int, mix: tuple[float, float, float], turn: float) -> Postures:
    """Postures in the mix (natural, sport, free), facing at most `turn` degrees away from the camera."""
    names = [*MOTIONS, _FREE]
    families = {"natural": mix[0], "sport": mix[1]}
    members = {family: sum(m.family == family for m in _MOTIONS.values()) for family in families}
    weights = [families[m.family] / members[m.family] for m in _MOTIONS.values()] + [mix[2]]
    picks = draw.pick((count,), weights)
    phase = draw.uniform((count,))
    waves = torch.stack([motion_angles(name, phase)[0] for name in MOTIONS])
    rolls = torch.stack([motion_angles(name, phase)[1] for name in MOTIONS])
    rows = torch.arange(count)
    known = picks.clamp(max=len(MOTIONS) - 1)
    angles = waves[known, rows] + draw.normal((count, len(ANGLES)), 0.0, 7.0)
    roll = rolls[known, rows] + draw.normal((count,), 0.0, 5.0)

    low, high = LIMITS[:, 0], LIMITS[:, 1]
    anywhere = draw.uniform((count, len(ANGLES)), low, high)
    # people's arms are rarely where the motion alone would put them
    arms = torch.tensor(["arm" in name or "elbow" in name for name in ANGLES])
    left = torch.tensor([name.startswith("left") for name in ANGLES])
    for side in (left, ~left):
        loose = draw.chance((count, 1), 0.22) & arms & side
        angles = torch.where(loose, anywhere, angles)
    free = picks == len(MOTIONS)
    # free postures: trunk and legs at 0.75 of their range, else nearly all would be contorted
    middle = LIMITS.mean(-1)
    angles = torch.where(free[:, None], middle + (anywhere - middle) * 0.75, angles)
    roll = torch.where(free, draw.uniform((count,), -180, 180), roll)

    angles = torch.where(draw.chance((count, 1), 0.5), mirror_angles(angles), angles).clamp(low, high)
    yaw = draw.uniform((count,), -turn, turn)
    pitch = draw.normal((count,), 0.0, 4.0)
    pitch = torch.where(free, draw.normal((count,), 0.0, 35.0), pitch)
    return Postures(angles, turn_y(yaw) @ turn_z(roll) @ turn_x(pitch), yaw, [names[i] for i in picks.tolist()])


def mirror_angles(angles: Tensor) -> Tensor:
    """The posture seen in a mirror: sides exchanged, sideways angles of the trunk reversed."""
    order = [ANGLES.index(_other_side(name)) for name in ANGLES]
    sign = torch.tensor([-1.0 if name in ("lean", "turn", "tilt", "look") else 1.0 for name in ANGLES])
    return angles[:, order] * sign.to(angles)


def _other_side(name: str) -> str:
    if name.startswith("left_"):
        return name.replace("left_", "right_")
    return name.replace("right_", "left_")
