"""The world: who stands where, seen by which camera, and what is true about it.

`people_in_crops` and `people_in_scenes` place people on the ground in front of a camera; `Cast.picture` renders them,
and `Cast.truth` says where every joint is and whether it can be seen. The ground frame is x right, y up, z towards the
camera; the camera frame is x right, y down, z away from the camera. Metres.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.datasets.synthetic.backgrounds import draw_backgrounds, noise
from course_lib.datasets.synthetic.body import (
    JOINT,
    JOINT_DEPTH,
    JOINTS,
    Proportions,
    draw_proportions,
    pose_body,
    turn_x,
)
from course_lib.datasets.synthetic.draw import Draw
from course_lib.datasets.synthetic.motions import Postures, draw_postures
from course_lib.datasets.synthetic.renderer import SAMPLES, Rendering, project, render
from course_lib.datasets.synthetic.shapes import Shapes, Wardrobe, draw_things, draw_wardrobe, dress
from course_lib.errors import CourseError
from course_lib.skeletons import Skeleton, mirror_name

_TO_CAMERA = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))


@dataclass(frozen=True)
class Settings:
    """How hard the world is. The defaults are the course's benchmark."""

    natural: float = 0.55  # shares of postures: everyday motions,
    sport: float = 0.30  # sports,
    free: float = 0.15  # any angle the joints allow, any way up
    turn: float = 180.0  # people face at most so many degrees away from the camera
    others: float = 0.45  # chance of each of two further people in a crop
    occluders: float = 0.35  # chance of each of two things in front
    clutter: int = 4  # most things behind
    truncation: float = 0.12  # chance that the crop cuts the person
    photographs: float = 0.5  # share of backgrounds that are pictures
    cues: float = 1.0  # chance of a face, hair and badge, which tell front from back
    blur: float = 0.3  # chance of blur
    noise: float = 0.05  # most sensor noise, standard deviation in [0, 1]

    def __post_init__(self) -> None:
        for name in ("natural", "sport", "free", "others", "occluders", "truncation", "photographs", "cues", "blur"):
            if not 0 <= getattr(self, name) <= 1:
                raise CourseError(f"setting '{name}' is a share and must lie in 0..1; got {getattr(self, name)}")
        if self.natural + self.sport + self.free <= 0:
            raise CourseError("at least one of the settings natural, sport and free must be above 0")


@dataclass
class Cast:
    """P people before the cameras of B images, with all that is needed to draw them."""

    body: Proportions
    postures: Postures
    wear: Wardrobe
    image: Tensor  # (P,) long
    place: Tensor  # (P, 3) pelvis, ground frame
    view: Tensor  # (B, 3, 3) ground to camera frame
    eye: Tensor  # (B, 3) the camera, ground frame
    cameras: Tensor  # (B, 3) focal, centre x, centre y in pixels
    things: Shapes
    lights: Tensor  # (B, 4)
    size: tuple[int, int]

    def joints(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Joints (P, 26, 3) and part frames (P, 3, 3) in the camera frame."""
        posed = pose_body(self.body, self.postures.angles, self.postures.root)
        view, eye = self.view[self.image], self.eye[self.image]
        joints = (posed.joints + (self.place - eye)[:, None]) @ view.transpose(-1, -2)
        return joints, {name: view @ frame for name, frame in posed.frames.items()}

    def picture(self, draw: Draw, settings: Settings, device: torch.device | str) -> tuple[Tensor, Rendering]:
        """Images (B, 3, H, W) in [0, 1], in steps of 1/255, and the renderer's depth and owners."""
        joints, frames = self.joints()
        owner = torch.arange(len(joints))
        shapes = Shapes.cat([dress(self.body, joints, frames, self.wear, self.image, owner), self.things])
        rendering = render(
            shapes.to(device, torch.float32), self.cameras.float().to(device), self.lights.float().to(device), self.size
        )
        images = draw_backgrounds(draw, len(self.cameras), self.size, settings.photographs, device)
        images.mul_(1 - rendering.alpha).add_(rendering.colour)
        return _photograph(draw, images, settings), rendering

    def truth(self, skeleton: Skeleton, rendering: Rendering) -> tuple[Tensor, Tensor, Tensor]:
        """Joints (P, K, 2) in pixels, visible (P, K) by depth test, and joints in space (P, K, 3)."""
        select = selection(skeleton)
        space = select @ self.joints()[0]
        flat = project(space, self.cameras[self.image][:, None])
        limit = flat.new_tensor([self.size[1], self.size[0]])
        in_frame = ((flat >= 0) & (flat < limit)).all(-1) & (space[..., 2] > 0.1)
        sample = torch.minimum((flat * SAMPLES).clamp(min=0), limit * SAMPLES - 1).long()
        where = (self.image[:, None].expand(sample.shape[:2]), sample[..., 0], sample[..., 1])
        surface = rendering.depth_at(*(part.to(rendering.nearest.device) for part in where)).cpu()
        flesh = (select @ JOINT_DEPTH) * (self.body.height * self.body.build.clamp(min=1))[:, None]
        seen = surface > space[..., 2] - 1.8 * flesh
        return flat, torch.where(in_frame, torch.where(seen, 2, 1), 0), space


def selection(skeleton: Skeleton) -> Tensor:
    """Which of the world's 26 joints make up a skeleton's joints: weights (K, 26)."""
    weights = torch.zeros(len(skeleton), len(JOINTS), dtype=torch.float64)
    for k, name in enumerate(skeleton.joints):
        sources = [name]
        if name == "neck" and skeleton.name == "body18":  # OpenPose's neck is the middle of the shoulders
            sources = ["left_shoulder", "right_shoulder"]
        for source in sources:
            if source not in JOINT:
                raise CourseError(
                    f"the synthetic world has no joint '{name}' (skeleton '{skeleton.name}'); it knows: "
                    + ", ".join(joint for joint in JOINTS if mirror_name(joint) <= joint)
                )
            weights[k, JOINT[source]] = 1 / len(sources)
    return weights


def _photograph(draw: Draw, images: Tensor, settings: Settings) -> Tensor:
    """What a camera does: exposure, colour cast, contrast, blur, noise, 8 bits."""
    count, device = len(images), images.device

    def each(values: Tensor) -> Tensor:
        return values.float().to(device).view(count, -1, 1, 1)

    # contrast about a middle grey, exposure and cast in one step; some pictures lose their colour
    contrast = each(draw.uniform((count,), 0.7, 1.2))
    gain = each(draw.uniform((count, 3), 0.88, 1.12) * draw.uniform((count, 1), 0.65, 1.25)) * contrast
    images = images.mul_(gain).add_(0.45 * (1 - contrast))
    pale = draw.chance((count,), 0.25)
    grey, pale = each(draw.uniform((count,)))[pale.to(device)], pale.to(device)
    images[pale] += (images[pale].mean(1, keepdim=True) - images[pale]) * grey

    soft = draw.chance((count,), settings.blur)
    spread = draw.uniform((count,), 0.4, 1.4)[soft] * images.shape[-1] / 128
    if len(spread):
        taps = torch.exp(-torch.arange(-3, 4).square() / (2 * spread[:, None].square()))
        taps = (taps / taps.sum(-1, keepdim=True)).float().to(device).repeat_interleave(3, 0)
        blurred = images[soft.to(device)].flatten(0, 1)[None]
        blurred = F.conv2d(F.pad(blurred, (3, 3, 0, 0), "replicate"), taps[:, None, None, :], groups=len(taps))
        blurred = F.conv2d(F.pad(blurred, (0, 0, 3, 3), "replicate"), taps[:, None, :, None], groups=len(taps))
        images[soft.to(device)] = blurred[0].view(-1, 3, *images.shape[-2:])
    strength = each(draw.uniform((count,), 0, settings.noise))
    images.addcmul_(noise(draw, tuple(images.shape), device), strength)
    return images.clamp_(0, 1).mul_(255).round_().div_(255)


def _lights(draw: Draw, count: int) -> Tensor:
    """Light from above and in front, more or less hard: (B, 4) direction towards the light, and the ambient share."""
    direction = torch.stack(
        [draw.normal((count,), 0, 0.7), draw.uniform((count,), -1.2, -0.1), draw.uniform((count,), -1.2, -0.3)], -1
    )
    direction = direction / direction.norm(dim=-1, keepdim=True)
    return torch.cat([direction, draw.uniform((count, 1), 0.35, 0.8)], -1)


def _lowest(body: Proportions, postures: Postures) -> Tensor:
    """Height of the lowest joint over the pelvis (P,), a negative number."""
    return pose_body(body, postures.angles, postures.root).joints[..., 1].amin(-1) - 0.03


def people_in_crops(draw: Draw, count: int, size: tuple[int, int], settings: Settings) -> Cast:
    """B crops around person b of image b; further people (index B and up) and things may be in the way."""
    extra = torch.cat([torch.arange(count)[draw.chance((count,), settings.others * share)] for share in (1.0, 0.4)])
    image = torch.cat([torch.arange(count), extra])
    people = len(image)
    body = draw_proportions(draw, people)
    postures = draw_postures(draw, people, (settings.natural, settings.sport, settings.free), settings.turn)
    wear = draw_wardrobe(draw, people, settings.cues)
    # everybody stands on the ground of the first; neighbours beside or behind, in front only when well to the side
    low = _lowest(body, postures)
    aside = draw.uniform((people,), 0.3, 1.3) * torch.where(draw.chance((people,), 0.5), 1.0, -1.0)
    nearer = torch.where(aside.abs() > 0.55, draw.uniform((people,), -1.6, 1.0), draw.uniform((people,), -1.6, -0.3))
    place = torch.stack([aside, low[image] - low, nearer], -1)
    place[:count] = 0

    distance = draw.uniform((count,), 2.6, 8.0)
    view = _TO_CAMERA @ turn_x(draw.normal((count,), 6.0, 12.0).clamp(-30, 40))
    eye = -(view.transpose(-1, -2) @ torch.stack([torch.zeros(count), torch.zeros(count), distance], -1)[..., None])
    unit = torch.tensor([1.0, 0, 0], dtype=torch.float64).expand(count, 3)
    cast = Cast(body, postures, wear, image, place, view, eye[..., 0], unit, None, _lights(draw, count), size)

    # the camera is pointed so that the person fills a share of the crop, off centre by what is left over
    flat = project(cast.joints()[0][:count], unit[:, None])
    low_corner, high_corner = flat.amin(1), flat.amax(1)
    extent = (high_corner - low_corner).amax(-1)
    cut = draw.chance((count,), settings.truncation)
    share = torch.where(cut, draw.uniform((count,), 0.9, 1.4), draw.uniform((count,), 0.55, 0.82))
    focal = share * min(size) / extent
    room = torch.where(cut, 0.25, (0.9 - share) / 2)[:, None] * min(size)
    shift = draw.uniform((count, 2), -1, 1) * room
    middle = torch.tensor([size[1] / 2, size[0] / 2], dtype=torch.float64)
    centre = middle - focal[:, None] * (low_corner + high_corner) / 2 + shift
    cast.cameras = torch.cat([focal[:, None], centre], -1)
    cast.things = _things(draw, cast, distance, settings)
    return cast


def people_in_scenes(
    draw: Draw, count: int, size: tuple[int, int], people: tuple[int, int], settings: Settings
) -> Cast:
    """B scenes with people[0] to people[1] people on one ground plane each."""
    number = draw.integers((count,), people[0], people[1] + 1)
    image = torch.repeat_interleave(torch.arange(count), number)
    total = len(image)
    body = draw_proportions(draw, total)
    postures = draw_postures(draw, total, (settings.natural, settings.sport, settings.free), settings.turn)
    wear = draw_wardrobe(draw, total, settings.cues)

    focal = draw.uniform((count,), 0.95, 1.4) * size[0]
    height = draw.uniform((count,), 1.0, 2.4)
    middle = draw.uniform((count,), 4.0, 6.5)
    view = _TO_CAMERA @ turn_x(torch.rad2deg(torch.atan((height - 0.85) / middle)))
    eye = torch.stack([torch.zeros(count).double(), height, torch.zeros(count).double()], -1)

    # two candidates a person, the one farther from those already there wins: people crowd, but do not merge
    spread = (size[1] / 2 / focal)[image]
    place = torch.zeros(total, 3, dtype=torch.float64)
    options = torch.stack([draw.uniform((total, 2), -1, 1), draw.uniform((total, 2), 2.6, 8.5)], -1)
    options[..., 0] *= options[..., 1] * spread[:, None] * 0.85
    for person in range(total):
        before = place[:person][image[:person] == image[person]][:, [0, 2]]
        gap = torch.cdist(options[person] * torch.tensor([1.0, -1.0]), before).amin(-1) if len(before) else None
        best = options[person, 0 if gap is None else int(gap.argmax())]
        place[person] = torch.stack([best[0], torch.zeros(()).double(), -best[1]])
    place[:, 1] = -_lowest(body, postures)

    cameras = torch.stack([focal, torch.full_like(focal, size[1] / 2), torch.full_like(focal, size[0] / 2)], -1)
    cast = Cast(body, postures, wear, image, place, view, eye, cameras, None, _lights(draw, count), size)
    cast.things = _things(draw, cast, draw.uniform((count,), 2.0, 5.0), settings)
    return cast


def _things(draw: Draw, cast: Cast, distance: Tensor, settings: Settings) -> Shapes:
    """Occluders nearer than `distance` (B,), clutter farther: posts, boughs, balls, anywhere in the picture."""
    count = len(cast.cameras)
    front = torch.cat([torch.arange(count)[draw.chance((count,), settings.occluders * s)] for s in (1.0, 0.3)])
    behind = torch.arange(count).repeat(settings.clutter)[draw.chance((count * settings.clutter,), 0.6)]
    image = torch.cat([front, behind])
    near = torch.arange(len(image)) < len(front)
    total = len(image)
    depth = distance[image] * torch.where(near, draw.uniform((total,), 0.4, 0.8), draw.uniform((total,), 1.5, 2.5))
    span = torch.tensor([cast.size[1], cast.size[0]], dtype=torch.float64)
    start = draw.uniform((total, 2), -0.1, 1.1)
    reach = torch.where(near, draw.uniform((total,), 0.15, 0.9), draw.uniform((total,), 0.05, 0.7))
    angle = draw.uniform((total,), 0, 2 * torch.pi)
    stop = start + torch.stack([torch.cos(angle), torch.sin(angle)], -1) * reach[:, None]
    thickness = torch.where(near, draw.uniform((total,), 0.015, 0.06), draw.uniform((total,), 0.008, 0.055))
    camera = cast.cameras[image]
    ends = [
        torch.cat([(spot * span - camera[:, 1:]) / camera[:, :1] * depth[:, None], depth[:, None]], -1)
        for spot in (start, stop)
    ]
    radius = thickness * min(cast.size) / camera[:, 0] * depth
    taper = draw.uniform((total,), 0.6, 1.4)
    return draw_things(draw, torch.stack(ends, 1), torch.stack([radius, radius * taper], -1), image)


def repeated(cast: Cast, frames: int) -> Cast:
    """One image's cast, standing before the camera for `frames` images."""
    rows = torch.arange(len(cast.image)).repeat(frames)

    def again(value):
        if isinstance(value, Tensor):
            return value[rows]
        return {name: item[rows] for name, item in value.items()} if isinstance(value, dict) else value

    def all_of(thing):
        return replace(thing, **{name: again(value) for name, value in vars(thing).items()})

    image = torch.arange(frames).repeat_interleave(len(cast.image))
    views = {name: getattr(cast, name).repeat_interleave(frames, 0) for name in ("view", "eye", "cameras", "lights")}
    things = cast.things[torch.arange(len(cast.things.image)).repeat(frames)]
    things.image = torch.arange(frames).repeat_interleave(len(cast.things.image))
    postures = replace(
        cast.postures,
        angles=cast.postures.angles[rows],
        root=cast.postures.root[rows],
        yaw=cast.postures.yaw[rows],
        motion=cast.postures.motion * frames,
    )
    return replace(
        cast,
        body=all_of(cast.body),
        wear=all_of(cast.wear),
        postures=postures,
        image=image,
        place=cast.place[rows],
        things=things,
        **views,
    )
