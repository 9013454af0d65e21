"""Pictures in: from a file, Pillow, numpy or torch, of any common kind, to one form: (3, H, W) float32 in [0, 1]."""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from course_lib.errors import CourseError

CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
MOST_PIXELS = 100_000_000  # of an upload: more is no photograph, and would fill the memory
OVERSHOOT = 0.5  # a resampled float picture may leave [0, 1] by so much and is clamped; one in 0..255 is refused


def read(path: str | Path) -> Tensor:
    """Reads a picture file as (3, H, W) float32 in [0, 1], turned upright as its EXIF data say."""
    return _opened(path, f"'{path}'")


def decode(content: bytes, name: str, longest: int | None = None, most: int = MOST_PIXELS) -> Tensor:
    """As `read`, from the bytes of a file called `name`, such as an upload.

    A picture of more than `most` pixels is refused before it is unpacked. longest: of a larger picture's sides, to
    which it is made smaller.
    """
    return _opened(io.BytesIO(content), f"'{name}'", longest, most)


def _opened(file: str | Path | io.BytesIO, who: str, longest: int | None = None, most: int | None = None) -> Tensor:
    try:
        with warnings.catch_warnings():
            if most is not None:  # then the limit is ours
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(file)
        with picture:
            if most is not None and picture.width * picture.height > most:
                millions = picture.width * picture.height / 1e6
                raise CourseError(
                    f"picture {who} has {millions:.0f} million pixels; {most / 1e6:.0f} million are the most"
                )
            if longest is not None and max(picture.size) > longest:
                picture = _smaller(picture, longest)
            return _from_pillow(picture, f"picture {who}")
    except CourseError:
        raise
    except FileNotFoundError:
        raise CourseError(f"there is no picture {who}") from None
    except UnidentifiedImageError:
        raise CourseError(f"{who} is not a picture of a known format") from None
    # what Pillow raises on damaged files depends on the format
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError, Image.DecompressionBombError) as problem:
        raise CourseError(f"picture {who} cannot be read: {problem}") from None


def _smaller(picture: Image.Image, longest: int) -> Image.Image:
    """A copy whose longer side is `longest`; what is written about the picture stays with it."""
    if picture.mode in ("1", "P", "PA", "LA"):  # averages of palette numbers would be other colours
        picture = picture.convert("RGBA" if "transparency" in picture.info or "A" in picture.mode else "RGB")
    if picture.mode in ("L", "RGB", "RGBA", "CMYK", "YCbCr"):
        picture.thumbnail((longest, longest))
    else:  # wide greys and floats can only be thinned out
        step = math.ceil(max(picture.size) / longest)
        picture = picture.resize([max(1, side // step) for side in picture.size], Image.Resampling.NEAREST)
    return picture


def to_tensor(picture: Any) -> Tensor:
    """Any picture as (3, H, W) float32 in [0, 1], on the CPU.

    Takes a path, a Pillow image, a numpy array (H, W), (H, W, 1) grey, (H, W, 3) RGB or (H, W, 4) RGBA, or a tensor
    (H, W), (1, H, W), (3, H, W) or (4, H, W). Grey is repeated; what is transparent shows a white page. Floats lie in
    [0, 1], booleans are black and white, 8-bit integers are divided by 255 and unsigned 16-bit ones by 65535; other
    integers count as 8-bit where none exceeds 255, else as 16-bit.
    """
    if isinstance(picture, str | Path):
        return read(picture)
    if isinstance(picture, Image.Image):
        return _from_pillow(picture, "the Pillow picture")
    if isinstance(picture, np.ndarray):
        return _finish(picture, f"the numpy picture of shape {picture.shape}")
    if isinstance(picture, Tensor):
        who = f"the tensor picture of shape {tuple(picture.shape)}"
        if picture.ndim == 3 and picture.shape[0] not in CHANNELS:
            raise CourseError(f"{who} should be (channels, H, W) with 1, 3 or 4 channels")
        values = picture.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
        return _finish(np.moveaxis(values, 0, -1) if values.ndim == 3 else values, who)
    kind = type(picture).__name__
    raise CourseError(f"a picture can be a path, a Pillow image, a numpy array or a tensor, but not a {kind}")


def _from_pillow(picture: Image.Image, who: str) -> Tensor:
    picture = ImageOps.exif_transpose(picture)
    if "transparency" in picture.info or picture.mode in ("LA", "PA", "La", "RGBa"):
        picture = picture.convert("RGBA")
    elif picture.mode not in ("1", "L", "RGB", "RGBA", "F") and not picture.mode.startswith("I"):
        picture = picture.convert("RGB")  # palettes, CMYK, YCbCr, HSV, LAB; all modes that start with I are wide greys
    return _finish(np.array(picture), who)


def _finish(values: np.ndarray, who: str) -> Tensor:
    """An array (H, W) or (H, W, channels) of any type, checked, as the one form."""
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[-1] not in CHANNELS):
        raise CourseError(f"{who} should be (H, W) or (H, W, channels) with 1, 3 or 4 channels")
    if values.size == 0:
        raise CourseError(f"{who} is empty")
    values = _unit(values, who)
    if values.ndim == 2:
        values = values[..., None]
    if values.shape[-1] == 4:
        alpha = values[..., 3:]
        values = values[..., :3] * alpha + (1 - alpha)
    pixels = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
    return pixels.expand(3, -1, -1).contiguous()


def _unit(values: np.ndarray, who: str) -> np.ndarray:
    """Values of any type as float32 in [0, 1]."""
    kind = values.dtype.kind
    if kind == "b":
        return values.astype(np.float32)
    if kind in "iu":
        if values.min() < 0 or values.max() > 65535:
            raise CourseError(f"{who} holds {values.dtype} values outside 0 to 65535")
        eight_bit = values.max() <= 255 and not (kind == "u" and values.itemsize == 2)
        return (values / (255 if eight_bit else 65535)).astype(np.float32)
    if kind == "f":
        if not np.isfinite(values).all():
            raise CourseError(f"{who} holds values that are not finite (NaN or infinity)")
        low, high = float(values.min()), float(values.max())
        if low < -OVERSHOOT or high > 1 + OVERSHOOT:
            raise CourseError(f"{who} holds floats from {low:g} to {high:g}; floats must lie in [0, 1]")
        return values.clip(0, 1).astype(np.float32)
    raise CourseError(f"{who} holds {values.dtype} values, which are not brightnesses")
