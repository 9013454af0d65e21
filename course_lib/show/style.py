"""One look for every figure of the course, and small PNG files that come out the same bytes each time.

Colours are Okabe and Ito's, told apart with every common kind of colour blindness. A notebook calls `use_style()`
once; figures then measure `PAGE` inches across at most, which is 810 px on screen.
"""

from __future__ import annotations

import io
import sys

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

BLUE, SKY, ORANGE, VERMILION = "#0072B2", "#56B4E9", "#E69F00", "#D55E00"
GREEN, PINK, INK, GREY, PAPER = "#009E73", "#CC79A7", "#222222", "#8A8A8A", "#FFFFFF"
CYCLE = (BLUE, VERMILION, GREEN, ORANGE, PINK, SKY, INK)

DPI = 90
PAGE = 9.0  # inches: the widest a figure should be

_PLAIN_BACKENDS = ("agg", "inline", "module://matplotlib_inline.backend_inline")

_STYLE = {
    "figure.dpi": DPI,
    "figure.figsize": (PAGE, 3.6),
    "figure.constrained_layout.use": True,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "font.family": ["DejaVu Sans"],  # ships with matplotlib, so that figures are the same on every machine
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10.0,
    "figure.titlesize": 12.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#666666",
    "xtick.color": "#666666",
    "ytick.color": "#666666",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.0,
    "axes.prop_cycle": matplotlib.cycler(color=CYCLE),
    "image.cmap": "viridis",
}


def use_style() -> None:
    """Makes the course's style the default, in notebooks and in scripts. Calling it again does no harm."""
    matplotlib.rcParams.update(_STYLE)
    # only a notebook has already imported IPython; a training job never needs it
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if hasattr(shell, "kernel") and plt.get_backend().lower() in _PLAIN_BACKENDS:
        # into the page, even where the notebook was started from a shell with MPLBACKEND=Agg
        shell.enable_matplotlib("inline")
        formatter = shell.display_formatter.formatters["image/png"]
        formatter.for_type(Figure, lambda figure: (png(figure, tight=True), {"alt": alternative_text(figure)}))


def alternative_text(figure: Figure) -> str:
    """What a reader who cannot see the figure is told: its titles."""
    titles = [figure.get_suptitle(), *(ax.get_title() for ax in figure.axes)]
    return "; ".join(["Figure", *filter(None, titles)])


def png(figure: Figure, tight: bool = False) -> bytes:
    """The figure as a small PNG: at most 256 colours (dithered), no date and no version inside.

    `tight` cuts white margins away; without it the picture has exactly the figure's size, which a slider wants.
    """
    raw = io.BytesIO()
    box = {"bbox_inches": "tight", "pad_inches": 0.06} if tight else {}
    figure.savefig(raw, format="png", dpi=figure.dpi, metadata={"Software": None}, **box)
    picture = Image.open(raw).convert("RGB")
    palette = picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    table = np.array(palette.getpalette()).reshape(-1, 3)
    table[(table > 250).all(-1)] = 255  # the page stays white
    palette.putpalette(table.ravel().tolist())
    few = io.BytesIO()
    picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(few, "png", optimize=True)
    return min(raw.getvalue(), few.getvalue(), key=len)


def image_axes(ax: Axes, height: float, width: float) -> None:
    """Sets axes up for a picture: corner (0, 0) at the top left, square pixels, no ticks, no frame."""
    ax.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], aspect="equal")
    ax.autoscale(False)  # a joint outside the picture must not shrink it
    ax.spines[:].set_visible(False)
