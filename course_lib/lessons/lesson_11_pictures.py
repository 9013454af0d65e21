"""Pictures of lesson 11 that look into networks: streams, feature maps, the parts of a sum, and wrong poses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from course_lib import show
from course_lib.lessons import lesson_11_simple_baselines_and_hrnet as tools
from course_lib.lessons.lesson_06_stacked_hourglass import Answers
from course_lib.models.hrnet import HRNet
from course_lib.models.simple_baseline import SimpleBaseline
from course_lib.pose import HIDDEN, Pose
from course_lib.show import style


@dataclass
class Flow:
    """Some pictures and every stream at every moment on the way through an HRNet."""

    images: Tensor  # (N, 3, H, W)
    moments: list[tuple[str, list[Tensor]]]

    @classmethod
    @torch.inference_mode()
    def of(cls, model: HRNet, images: Tensor) -> Flow:
        return cls(images, model.flow(images))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.moments]


def strength(maps: Tensor) -> Tensor:
    """How far the channels of maps (C, h, w) are from their own means in every cell, above the quietest one: (h, w)."""
    spread = (maps - maps.mean((1, 2), keepdim=True)).square().mean(0).sqrt()
    return spread - spread.min()


def liveliest(maps: Tensor) -> int:
    """The channel of maps (C, h, w) that varies most over the picture."""
    return int(maps.flatten(1).var(1).argmax())


def draw_moment(flow: Flow, number: int, moment: int) -> Figure:
    """The streams that leave one moment: above what goes on in every cell, below the channel that varies most."""
    name, streams = flow.moments[moment]
    figure, axes = plt.subplots(2, 4, figsize=(style.PAGE, 4.9))
    for level, (above, below) in enumerate(axes.T):
        if level >= len(streams):
            for ax in (above, below):
                ax.axis("off")
            continue
        maps = streams[level][number]
        channel = liveliest(maps)
        words = f"1/{4 * 2**level}: {maps.shape[0]} of {maps.shape[-2]} x {maps.shape[-1]}"
        show.overlay_map(above, flow.images[number], strength(maps), title=words)
        show.draw_image(below, flow.images[number], f"channel {channel} of {maps.shape[0]}")
        span = (0, flow.images.shape[-1], flow.images.shape[-2], 0)
        below.imshow(maps[channel].numpy(), extent=span, cmap="viridis", interpolation="nearest")
    figure.suptitle(f"after {name}")
    return figure


@torch.inference_mode()
def draw_both(baseline: SimpleBaseline, network: HRNet, image: Tensor) -> Figure:
    """What goes on in the maps of both networks, from the first to the last, on one picture (3, H, W)."""
    down_and_up = [maps[0] for maps in baseline.features(image[None])]
    kept = [streams[0][0] for _, streams in network.flow(image[None])]
    columns = max(len(down_and_up), len(kept))
    figure, axes = plt.subplots(2, columns, figsize=(style.PAGE, 2 * style.PAGE / columns + 0.9))
    for row, all_maps, words in zip(axes, (down_and_up, kept), ("baseline", "HRNet, finest"), strict=True):
        for place, ax in enumerate(row):
            if place >= len(all_maps):
                ax.axis("off")
                continue
            maps = all_maps[place]
            show.overlay_map(ax, image, strength(maps))
            ax.set_title(f"{maps.shape[-2]} x {maps.shape[-1]}", fontsize=9)
        row[0].set_ylabel(words, fontsize=9)
    return figure


def draw_terms(last: tools.LastFusion, answers: Answers, number: int, joint: str) -> Figure:
    """One joint's map as a sum: what each of the four streams says before the ReLU, and the map that comes out."""
    index = answers.model.skeleton.index(joint.replace(" ", "_"))
    shares = last.shares(number, index)
    top = max(float(share.abs().max()) for share in shares)
    image = answers.images[number]
    figure, axes = plt.subplots(1, 5, figsize=(style.PAGE, 2.1))
    span = (0, image.shape[-1], image.shape[-2], 0)
    place = answers.people[number].joints[index] * image.shape[-1] / answers.scenes[number].image.shape[-1]
    for level, (ax, share) in enumerate(zip(axes, shares, strict=False)):
        show.draw_image(ax, image, f"1/{4 * 2**level} says", dim=0.5)
        ax.imshow(share.numpy(), extent=span, cmap="RdBu_r", vmin=-top, vmax=top, alpha=0.8, interpolation="nearest")
    show.overlay_map(axes[4], image, answers.maps[-1, number, index].clamp(min=0), title=f"{joint}: the map")
    for ax in axes:
        ax.plot(*place.tolist(), "+", color=style.GREEN, markersize=11, markeredgewidth=2.2)
    return figure


def draw_wrong(answers: Answers, poses: Sequence[Pose], chosen: Sequence[int]) -> Figure:
    """True poses, hidden joints hollow, above what the network answered."""
    figure, axes = plt.subplots(2, len(chosen), figsize=(style.PAGE, 2 * style.PAGE / len(chosen) + 0.5))
    for (above, below), number in zip(axes.T, chosen, strict=True):
        person = answers.people[number]
        hidden = int((person.visible == HIDDEN).sum())
        show.draw_image(above, answers.scenes[number].image, f"the truth, {hidden} joints hidden")
        show.draw_pose(above, person)
        show.draw_image(below, answers.scenes[number].image, "the answer")
        show.draw_pose(below, poses[number])
    return figure


def most_wrong(answers: Answers, poses: Sequence[Pose], count: int = 4) -> list[int]:
    """Scenes with hidden joints whose answers have the most overlong limbs and doubled joints."""
    overlong, _, _ = tools.stretched(poses, answers)
    faults = overlong.sum(1) + tools.doubled(poses, answers)[0].sum(1)
    hidden = torch.tensor([int((person.visible == HIDDEN).sum()) for person in answers.people])
    return (faults * (hidden >= 2)).argsort(descending=True, stable=True)[:count].tolist()


def implausible(answers: Answers, poses: Sequence[Pose]) -> dict[str, float]:
    """How often answers are no poses, in percent: limbs longer than 99 of 100 true ones, seen and with a hidden end,
    and pairs of a left and a right joint that are apart, but were put on one place."""
    overlong, known, hidden = tools.stretched(poses, answers)
    doubled, apart = tools.doubled(poses, answers)
    shares = {"overlong limbs, both ends visible": overlong[known & ~hidden], "with an end hidden": overlong[hidden]}
    shares["left and right on one place"] = doubled[apart]
    return {name: 100 * float(marks.float().mean()) for name, marks in shares.items()}


def draw_live(history: Mapping[str, list], validation: str, levels: Mapping[str, float]) -> Figure:
    """The loss beside the cost of an empty answer, and the score beside what needs no learning."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.2))
    values = np.convolve(history["loss"], np.ones(9) / 9, mode="valid")
    left.plot(np.arange(len(values)) + 4, values, color=style.BLUE)
    left.axhline(1, color=style.INK, linewidth=1.2, linestyle="--")
    left.text(len(history["loss"]), 1.02, "an empty answer costs 1", ha="right", va="bottom", fontsize=9)
    left.set(xlabel="step", ylabel="loss", ylim=(0, 1.15), title="What it costs")
    rows = history["validation"]
    right.plot([row["step"] for row in rows], [row[validation] for row in rows], "o-", color=style.BLUE)
    for (name, level), dashes in zip(levels.items(), ("--", ":"), strict=False):
        right.axhline(level, color=style.INK, linewidth=1.2, linestyle=dashes, label=name)
    right.set(xlabel="step", ylabel=validation.replace("pck", "PCK"), xlim=(0, None), ylim=(0, None))
    right.set_title("What it finds on people it never saw")
    right.legend(loc="upper left")
    return figure
