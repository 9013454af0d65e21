"""What lesson 00 draws and measures. Its exercises are in `lesson_00_start_here`."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course_lib import geometry, metrics, show
from course_lib.datasets import synthetic
from course_lib.lessons import lesson_00_data as data
from course_lib.models.base import BOX_PADDING, PoseModel
from course_lib.pose import HIDDEN, UNLABELLED, VISIBLE, Person, Pose, Scene
from course_lib.show import style
from course_lib.targets import heatmaps

ALONE = synthetic.Settings(others=0.0, occluders=0.0, truncation=0.0, blur=0.0, noise=0.0)
EVERYDAY = replace(ALONE, natural=1.0, sport=0.0, free=0.0)
FOREARMS = (("left_elbow", "left_wrist"), ("right_elbow", "right_wrist"))

# --- why it is hard ---------------------------------------------------------------------------------------------------


def share(person: Person, value: int) -> float:
    """The share of a person's joints whose visibility has this value."""
    return float((person.visible == value).double().mean())


def seen_length(person: Person, first: str, second: str) -> float:
    """How much of a limb's length the picture shows: 1 across the line of sight, 0 along it."""
    start, end = (person.joints3d[person.skeleton.index(name)] for name in (first, second))
    along = end - start
    return float(along[:2].norm() / along.norm())


def difficulties(seed: int = 0, count: int = 16) -> list[tuple[str, Scene]]:
    """Eight titled scenes, each the clearest of `count` of its kind."""

    def world(**changes: float) -> list[Scene]:
        return synthetic.single_scenes(count, seed=seed, settings=replace(EVERYDAY, **changes))

    def head_below_hips(scene: Scene) -> float:
        person = scene.people[0]
        joints = {name: person.joints[person.skeleton.index(name), 1] for name in ("head_top", "left_hip")}
        return float(joints["head_top"] - joints["left_hip"])

    def hides(scene: Scene) -> float:
        return share(scene.people[0], HIDDEN)

    def forearms(scene: Scene) -> float:
        return sum(seen_length(scene.people[0], *limb) for limb in FOREARMS)

    def cut(scene: Scene) -> float:
        outside = share(scene.people[0], UNLABELLED)
        return outside if outside < 0.6 else 0.0

    alone, blocked = world(), world(occluders=1.0)  # the same people in both
    more = [hides(after) - hides(before) for before, after in zip(alone, blocked, strict=True)]
    return [
        ("the body hides itself", max(alone, key=hides)),
        ("things in front", blocked[more.index(max(more))]),
        ("other people", max(world(others=1.0), key=lambda scene: hides(scene) + len(scene.people))),
        ("cut by the frame", max(world(truncation=1.0), key=cut)),
        ("seen from behind", max(alone, key=lambda scene: (scene.meta["view"] == "back") - hides(scene))),
        ("limbs seen end-on", min(alone, key=forearms)),
        ("blur and noise", world(blur=1.0, noise=0.2)[1]),
        ("any way up", max(world(natural=0.0, free=1.0), key=head_below_hips)),
    ]


def where_joints_go(count: int = 200, seed: int = 0) -> list[dict[str, object]]:
    """The share of joints that are visible, hidden, and outside the picture, as the world gets harder."""
    usual = synthetic.Settings()
    worlds = {
        "one person alone": ALONE,
        "and things in front": replace(ALONE, occluders=usual.occluders),
        "and other people": replace(ALONE, occluders=usual.occluders, others=usual.others),
        "and crops that cut (the benchmark)": usual,
    }
    rows = []
    for name, settings in worlds.items():
        visible = synthetic.crops(count, seed=seed, size=(64, 64), settings=settings).visible
        values = {"visible": VISIBLE, "hidden": HIDDEN, "outside": UNLABELLED}
        rows.append({"world": name} | {word: float((visible == v).double().mean()) for word, v in values.items()})
    return rows


TURNING = replace(EVERYDAY, clutter=0, photographs=0.0)


def turned(degrees: Sequence[float], seed: int = 0, cues: float = 1.0) -> list[Scene]:
    """One person, seen again and again while turning away from us by up to 180 degrees."""
    who = _turner(seed)
    return [synthetic.single_scenes(1, who, settings=replace(TURNING, turn=angle, cues=cues))[0] for angle in degrees]


@functools.lru_cache
def _turner(seed: int, tries: int = 30) -> str:
    """The seed of somebody easy to see who turns nearly as far as `turn` allows: the angle is a random share of it."""

    def facing(scene: Scene) -> float:
        """1 where the person's left shoulder is wholly on our right, as in a front view; -1 from behind."""
        person = scene.people[0]
        left, right = (person.joints3d[person.skeleton.index(f"{side}_shoulder")] for side in ("left", "right"))
        return float((left - right)[0] / (left - right).norm())

    def stands_out(scene: Scene) -> float:
        mask = scene.people[0].mask
        return float((scene.image[:, mask].mean(1) - scene.image[:, ~mask].mean(1)).norm())

    seeds = [f"turn {seed} {number}" for number in range(tries)]
    scenes = {who: synthetic.single_scenes(1, who, settings=TURNING)[0] for who in seeds}
    return max(scenes, key=lambda who: (facing(scenes[who]) < -0.9, stands_out(scenes[who])))


def closeup(scene: Scene, size: tuple[int, int] = (96, 96), padding: float = 1.3) -> tuple[Tensor, Person]:
    """The picture around a scene's first person, and that person in it."""
    person = scene.people[0]
    box = geometry.box_of(person.joints, person.visible)
    crops, matrices = geometry.crop(scene.image, box[None], size, padding)
    return crops[0], replace(person, joints=geometry.apply(matrices[0], person.joints))


def observer_names(scene: Scene) -> Person:
    """The scene's first person with left and right as an observer sees them: exchanged in back views."""
    person = scene.people[0]
    if scene.meta["view"] != "back":
        return person
    swaps = list(person.skeleton.swaps)
    return replace(person, joints=person.joints[swaps], visible=person.visible[swaps])


def as_pose(person: Person) -> Pose:
    """The truth, handed in as an answer."""
    return Pose(person.joints, torch.ones(len(person.skeleton)), person.skeleton)


def draw_mean_pose(ax: Axes, model: PoseModel, people: Sequence[Person], names: Sequence[str]) -> None:
    """The mean pose, the clouds of true joints it stands for, and the median person's PCK circle at each."""
    [[pose]] = model.estimate(torch.zeros(3, *model.input_size))
    radius = torch.stack([metrics.tolerance(person).max() for person in people]).median()
    style.image_axes(ax, *model.input_size)
    ax.spines[:].set_visible(True)
    for name in names:
        k = model.skeleton.index(name)
        cloud = torch.stack([person.joints[k] for person in people if person.visible[k] > UNLABELLED])
        ax.scatter(*cloud.T, s=9, alpha=0.45, color=show.joint_colour(model.skeleton, k), linewidths=0)
        show.draw_circles(ax, pose.joints[k], radius, colour=style.INK, fill=0.0)
    show.draw_pose(ax, pose, width=2.4)


# --- coordinates ------------------------------------------------------------------------------------------------------


def draw_pixels(ax: Axes, height: int = 4, width: int = 6) -> None:
    """A picture of a few pixels with its coordinates: whole numbers on the corners, halves in the centres."""
    shade = (torch.arange(height)[:, None] + torch.arange(width)) % 2 * 0.08 + 0.86
    show.draw_image(ax, shade.expand(3, -1, -1))
    ax.set(xticks=range(width + 1), yticks=range(height + 1), title="coordinates are measured from the corner")
    ax.xaxis.tick_top()
    ax.tick_params(length=0, pad=7)
    for row in range(height):
        ax.scatter([x + 0.5 for x in range(width)], [row + 0.5] * width, s=9, color=style.GREY)
    words = {"fontsize": 8.5, "ha": "center", "va": "center"}
    ax.scatter([0.5], [0.5], s=40, color=style.BLUE, zorder=3)
    ax.text(0.5, 0.22, "(0.5, 0.5)", color=style.BLUE, **words)
    ax.scatter([0], [0], s=60, color=style.VERMILION, zorder=3, clip_on=False)
    ax.text(-0.5, -0.42, "(0, 0)", color=style.VERMILION, clip_on=False, **words)
    ax.scatter([width], [height], s=60, color=style.VERMILION, zorder=3, clip_on=False)
    ax.text(width - 0.1, height + 0.25, f"({width}, {height}) = (W, H)", color=style.VERMILION, **words)
    ax.scatter([4.2], [2.7], s=70, marker="*", color=style.INK, zorder=3)
    ax.text(4.25, 2.3, "joint (4.2, 2.7)", **words)
    ax.text(4.25, 3.25, "in pixel column 4, row 2", **words)


def draw_strides(ax: Axes, pixels: int = 16, stride: int = 4, cell: int = 2) -> None:
    """A row of pixels above a row of map cells, and where the middle of one cell lies: right, and half a cell off."""
    ax.set(xlim=(-0.6, pixels + 0.6), ylim=(-2.6, 3.4), title=f"a map of stride {stride} is the same ruler")
    ax.axis("off")
    for x in range(pixels):
        ax.add_patch(plt.Rectangle((x, 1), 1, 1, facecolor="#DDDDDD" if x % 2 else "#EEEEEE", edgecolor="white"))
    for c in range(pixels // stride):
        look = {"facecolor": "#9CC9E8" if c == cell else "#D9ECF8", "edgecolor": "white", "linewidth": 2}
        ax.add_patch(plt.Rectangle((c * stride, -1), stride, 1.4, **look))
        ax.text((c + 0.5) * stride, -0.3, f"cell {c}", ha="center", va="center", fontsize=9)
    for x in range(0, pixels + 1, stride):
        ax.text(x, -1.35, f"{x / stride:.0f}", ha="center", va="center", fontsize=9, color=style.GREY)
        ax.text(x, 2.3, f"{x}", ha="center", va="center", fontsize=9, color=style.GREY)
    right, wrong = (cell + 0.5) * stride, cell * stride
    for x, colour in ((right, style.GREEN), (wrong, style.VERMILION)):
        ax.plot([x, x], [-1, 2], color=colour, linewidth=2, linestyle="-" if x == right else (0, (2, 2)))
    ax.text(right + 0.3, 2.95, f"({cell} + 0.5) x {stride} = {right:.0f}", color=style.GREEN, ha="left", fontsize=9.5)
    ax.text(wrong - 0.3, 2.95, f"{cell} x {stride} = {wrong}", color=style.VERMILION, ha="right", fontsize=9.5)
    ax.annotate("", (right, -2.0), (wrong, -2.0), arrowprops={"arrowstyle": "<->", "color": style.VERMILION})
    ax.text(right + 0.3, -2.0, f"half a cell = {right - wrong:.0f} pixels", va="center", fontsize=9.5)


def slips(people: Sequence[Person], size: tuple[int, int], stride: int = 4, sigma: float = 1.5) -> list[dict]:
    """What a perfect network loses when its maps are drawn or read with a slip: mean pixels off, and OKS.

    The maps are drawn from the truth. Joints nearer than 4 sigma to the border are left out.
    """
    cells = (size[0] // stride, size[1] // stride)
    joints = torch.stack([person.joints for person in people])
    margin = 4 * sigma * stride
    limit = torch.tensor([size[1], size[0]]) - margin
    inside = ((joints > margin) & (joints < limit)).all(-1) & (torch.stack([p.visible for p in people]) > UNLABELLED)
    areas = torch.tensor([person.area for person in people])
    scale = (areas.clamp(min=1)[:, None] * 2 * (2 * torch.tensor(people[0].skeleton.sigmas)) ** 2)[inside]

    def answer(encoder: str, method: str, shift: float = 0.0) -> Tensor:
        maps = heatmaps.gaussian(heatmaps.ENCODERS[encoder](joints / stride), cells, sigma)
        options = {"sigma": sigma} if method == "dark" else {}
        return (heatmaps.read_out(maps, method, **options)[0] + shift) * stride

    cases = {
        "nothing": answer("fractional", "dark"),
        "labels half a pixel low": joints - 0.5,
        "where in its cell the peak is": answer("fractional", "argmax"),
        "half a cell, in the targets": answer("floored", "dark"),
        "half a cell, in reading": answer("fractional", "argmax", -0.5),
    }
    rows = []
    for name, found in cases.items():
        off = (found - joints).norm(dim=-1)[inside]
        rows.append(
            {"forgotten": name, "pixels off": float(off.mean()), "OKS": float((-(off**2) / scale).exp().mean())}
        )
    return rows


# --- top-down and bottom-up -------------------------------------------------------------------------------------------


def crowded(scenes: Sequence[Scene], most: int = 4) -> tuple[Scene, int, int]:
    """The scene of 3 to `most` people, all of good size, in which two boxes overlap most, and who those two are."""
    best = (-1.0, scenes[0], 0, 0)
    for scene in scenes:
        if not 3 <= len(scene.people) <= most or min(person.area for person in scene.people) < 300:
            continue
        boxes = torch.stack([person.box for person in scene.people])
        overlap = geometry.box_iou(boxes, boxes).fill_diagonal_(0)
        at = int(overlap.argmax())
        if float(overlap.max()) > best[0]:
            best = (float(overlap.max()), scene, at // len(boxes), at % len(boxes))
    return best[1:]


def two_ways(scene: Scene, model: PoseModel) -> Figure:
    """Top-down above, with the model's live answers; bottom-up below, drawn with the true joints."""
    figure = plt.figure(figsize=(style.PAGE, 4.0))
    grid = figure.add_gridspec(2, 4)
    boxes = torch.stack([person.box for person in scene.people])
    poses = model.estimate(scene.image, boxes)[0]
    titles = ("top-down: find boxes", "cut them out", "one pose per crop", "put them back")
    axes = [figure.add_subplot(grid[0, column]) for column in (0, 3)]
    for ax, title in zip(axes, (titles[0], titles[3]), strict=True):
        show.draw_image(ax, scene.image, title)
    for person, pose in zip(scene.people, poses, strict=True):
        show.draw_box(axes[0], person.box)
        show.draw_pose(axes[1], pose)
    crops, matrices = geometry.crop(scene.image, boxes, model.input_size, BOX_PADDING)
    columns = math.ceil(len(crops) / 2)
    height, width = (side + 6 for side in model.input_size)
    sheet = torch.ones(3, 2 * height - 6, columns * width - 6)
    corners = [torch.tensor([(i % columns) * width, (i // columns) * height]) for i in range(len(crops))]
    for crop, (x, y) in zip(crops, corners, strict=True):
        sheet[:, y : y + height - 6, x : x + width - 6] = crop
    for column in (1, 2):
        ax = figure.add_subplot(grid[0, column])
        show.draw_image(ax, sheet, titles[column])
        for pose, matrix, corner in zip(poses, matrices, corners, strict=True) if column == 2 else ():
            show.draw_pose(ax, pose.moved(geometry.apply(matrix, pose.joints) + corner), width=1.8)
    _bottom_up([figure.add_subplot(grid[1, column]) for column in range(4)], scene)
    return figure


def _bottom_up(axes: Sequence[Axes], scene: Scene) -> None:
    titles = (
        "bottom-up: the whole picture",
        "all joints of all people",
        "which could be linked?",
        "grouped into people",
    )
    for ax, title in zip(axes, titles, strict=True):
        show.draw_image(ax, scene.image, title, dim=0.0 if ax is axes[0] else 0.55)
    skeleton = scene.people[0].skeleton
    for first, second in skeleton.limbs:
        for one in scene.people:
            for other in scene.people:
                if one.visible[first] and other.visible[second]:
                    ends = torch.stack([one.joints[first], other.joints[second]])
                    axes[2].plot(*ends.T, color=style.INK, linewidth=0.5, alpha=0.5)
    for person in scene.people:
        for k in torch.nonzero(person.visible)[:, 0].tolist():
            for ax in axes[1:3]:
                look = {"color": show.joint_colour(skeleton, k), "edgecolors": "white", "linewidths": 0.5, "zorder": 3}
                ax.scatter(*person.joints[k], s=16, **look)
        show.draw_pose(axes[3], person)


def strangers(scenes: Sequence[Scene]) -> float:
    """The share of people whose box also holds a labelled joint of somebody else."""
    boxes = [(scene, person) for scene in scenes for person in scene.people]
    count = 0
    for scene, person in boxes:
        low, high = person.box[:2], person.box[2:]
        others = [one for one in scene.people if one is not person]
        count += any(bool(((o.joints > low) & (o.joints < high)).all(-1)[o.visible > 0].any()) for o in others)
    return count / max(len(boxes), 1)


def nearest_is_wrong(scenes: Sequence[Scene], first: str = "left_elbow", second: str = "left_wrist") -> tuple[int, int]:
    """How often the nearest joint of the right kind belongs to somebody else, and out of how many."""
    wrong = total = 0
    for scene in scenes:
        pairs = [(p.skeleton.index(first), p.skeleton.index(second), p) for p in scene.people]
        ends = [p.joints[b] if p.visible[b] else torch.full((2,), torch.inf) for _, b, p in pairs]
        for own, (a, b, person) in enumerate(pairs):
            if len(pairs) > 1 and person.visible[a] and person.visible[b]:
                distance = torch.stack([(end - person.joints[a]).norm() for end in ends])
                wrong, total = wrong + int(distance.argmin() != own), total + 1
    return wrong, total


# --- the world's truth, and the map of the course ---------------------------------------------------------------------


def draw_depth_order(ax: Axes, scene: Scene) -> None:
    """Everybody's mask, the nearer the darker, numbered from the nearest."""
    depth = [float(person.joints3d[:, 2].mean()) for person in scene.people]
    order = sorted(range(len(depth)), key=depth.__getitem__)
    show.draw_image(ax, scene.image, dim=0.8)
    for rank, index in enumerate(order):
        mask = scene.people[index].mask
        shade = torch.zeros(*mask.shape, 4)
        colour = plt.get_cmap("viridis")(0.9 * rank / max(len(order) - 1, 1))
        shade[mask] = torch.tensor(colour, dtype=torch.float32)
        ax.imshow(shade.numpy(), extent=(0, mask.shape[1], mask.shape[0], 0))
        rows, columns = mask.nonzero().double().median(0).values.tolist()
        ground = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": "none"}
        words = f"{rank + 1}"
        ax.text(columns, rows, words, fontsize=8, ha="center", va="center", bbox=ground)


def draw_from_side(ax: Axes, person: Person, degrees: float) -> None:
    """The joints in space, seen from a camera that walked round the person by so many degrees."""
    middle = person.joints3d.mean(0)
    x, y, z = (person.joints3d - middle).T / 1000
    angle = math.radians(degrees)
    flat = torch.stack([x * math.cos(angle) + z * math.sin(angle), y], -1)
    ax.set(xlim=(-1.2, 1.2), ylim=(1.2, -1.2), aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    ax.autoscale(False)
    show.draw_pose(ax, flat, person.skeleton, width=3.0)


def draw_course(ax: Axes) -> None:
    """The fifteen lessons by time and by kind of answer."""
    diagram = show.Diagram(ax)
    boxes = {}
    for lesson in data.LESSONS:
        text = f"{lesson.number} {lesson.short}\n{lesson.years}"
        boxes[lesson.number] = diagram.box(*lesson.place, text, width=3.0, height=0.95, size=7.3, colour=style.GREEN)
    for start, end in data.ARROWS:
        diagram.arrow(boxes[start], boxes[end])
    for y, words in data.LANES:
        diagram.text(-1.8, y, words, size=8.0, colour=style.GREY, align="right")
    diagram.text(-4.4, 0.0, "")  # the axes grow for where words are anchored, not for how long they are
