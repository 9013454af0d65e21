"""Pictures of every common kind come in alike; broken ones are refused by name."""

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib.errors import CourseError
from course_lib.images import read, to_tensor

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RGB[..., 0]
EXPECTED = torch.from_numpy(RGB / 255).permute(2, 0, 1).float()


def alike(picture, expected, tolerance=1e-6):
    tensor = to_tensor(picture)
    assert tensor.dtype == torch.float32 and tensor.shape == expected.shape and tensor.is_contiguous()
    assert torch.allclose(tensor, expected, atol=tolerance)


# --- arrays and tensors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "picture",
    [
        RGB,
        RGB / 255,
        (RGB / 255).astype(np.float32),
        RGB.astype(np.int64),
        RGB.astype(np.uint16) * 257,
        (RGB.astype(np.uint16) * 257).astype(">u2"),
        RGB.astype(np.int32) * 257,
        RGB[:, ::-1][:, ::-1],
        np.asfortranarray(RGB),
        np.dstack([RGB, np.full((5, 7), 255, np.uint8)]),
        Image.fromarray(RGB),
        torch.from_numpy(RGB).permute(2, 0, 1),
        EXPECTED,
        EXPECTED.double(),
        torch.cat([EXPECTED, torch.ones(1, 5, 7)]),
    ],
)
def test_colour_in_all_forms(picture):
    alike(picture, EXPECTED)


@pytest.mark.parametrize(
    "picture",
    [
        GREY,
        GREY[..., None],
        GREY.astype(np.uint16) * 257,
        Image.fromarray(GREY),
        Image.fromarray(GREY / np.float32(255)),
        Image.fromarray(GREY.astype(np.uint16) * 257),
        torch.from_numpy(GREY),
        torch.from_numpy(GREY)[None],
        torch.from_numpy(GREY / 255),
    ],
)
def test_grey_in_all_forms(picture):
    alike(picture, EXPECTED[:1].expand(3, 5, 7))


def test_black_and_white():
    white = GREY > 127
    expected = torch.from_numpy(white).float().expand(3, 5, 7)
    for picture in (white, Image.fromarray(white), torch.from_numpy(white)):
        alike(picture, expected)


def test_a_dark_16_bit_picture_stays_dark():
    assert float(to_tensor(np.full((2, 2), 200, np.uint16)).max()) == pytest.approx(200 / 65535)


def test_transparent_pixels_show_a_white_page():
    picture = np.zeros((1, 3, 4), np.uint8)
    picture[..., 3] = [0, 255, 51]
    expected = torch.tensor([1.0, 0.0, 0.8]).expand(3, 1, 3)
    palette = Image.fromarray(picture[..., :3]).convert("P")
    palette.info["transparency"] = 0
    alike(picture, expected)
    alike(Image.fromarray(picture), expected)
    alike(Image.fromarray(picture).convert("LA"), expected)
    alike(palette, torch.ones(3, 1, 3))


def test_half_precision_overshoot_and_one_pixel():
    alike(EXPECTED.bfloat16(), EXPECTED, tolerance=3e-3)
    alike(np.array([[-0.1, 0.5, 1.2]]), torch.tensor([[0.0, 0.5, 1.0]]).expand(3, 1, 3))
    assert to_tensor(np.uint8([[255]])).shape == to_tensor(torch.ones(1, 1)).shape == (3, 1, 1)


def test_the_callers_picture_is_left_alone():
    own = EXPECTED.clone().requires_grad_()
    tensor = to_tensor(own)
    tensor[:] = 0
    assert torch.equal(own.detach(), EXPECTED) and not tensor.requires_grad
    array = (RGB / 255).astype(np.float32)
    to_tensor(array)[:] = 0
    assert array.max() > 0


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        (np.zeros((0, 4, 3)), "is empty"),
        (torch.zeros(3, 4, 0), "is empty"),
        (np.full((2, 2), np.nan), "not finite"),
        (torch.full((3, 2, 2), float("inf")), "not finite"),
        (np.full((2, 2), 200.0), "floats from 200 to 200; floats must lie in"),
        (np.full((2, 2), -3), "outside 0 to 65535"),
        (np.full((2, 2), 70000), "outside 0 to 65535"),
        (np.zeros((3, 9, 9)), r"should be \(H, W\) or \(H, W, channels\)"),
        (np.zeros((2, 2, 2)), r"should be \(H, W\)"),
        (np.zeros(4), r"should be \(H, W\)"),
        (torch.zeros(9, 9, 3), r"should be \(channels, H, W\)"),
        (torch.zeros(2, 3, 9, 9), r"should be \(H, W\)"),
        (np.array([["a", "b"]]), "not brightnesses"),
        (np.zeros((2, 2), complex), "not brightnesses"),
        (None, "but not a NoneType"),
        (7, "but not a int"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_sentence(picture, sentence):
    with pytest.raises(CourseError, match=sentence):
        to_tensor(picture)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "mode"),
    [("png", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")]
    + [("tif", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK")]
    + [("bmp", mode) for mode in ("1", "L", "P", "RGB", "RGBA")]
    + [("gif", mode) for mode in ("1", "L", "P", "RGB", "RGBA")]
    + [("jpg", mode) for mode in ("1", "L", "RGB", "CMYK")],
)
def test_files_of_common_kinds_are_read(tmp_path, ending, mode):
    picture = Image.fromarray(GREY.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(RGB).convert(mode)
    picture.save(tmp_path / f"picture.{ending}")
    tensor = to_tensor(str(tmp_path / f"picture.{ending}"))
    assert tensor.shape == (3, 5, 7) and float(tensor.min()) >= 0 and float(tensor.max()) <= 1
    assert float(tensor.std()) > 0.1


def test_a_16_bit_file_keeps_its_brightness(tmp_path):
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert torch.allclose(read(tmp_path / "deep.png"), EXPECTED[:1].expand(3, 5, 7), atol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_rotation_is_honoured(tmp_path, orientation):
    upright = Image.fromarray(RGB)
    undo = {  # how a camera stores an upright picture under each EXIF orientation
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.png", exif=exif)
    alike(tmp_path / "photo.png", EXPECTED)


def test_files_that_cannot_be_read_are_named(tmp_path):
    whole, broken, text, empty = (tmp_path / name for name in ("whole.png", "broken.png", "text.jpg", "empty.png"))
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole)
    broken.write_bytes(whole.read_bytes()[:3000])
    text.write_text("not a picture")
    empty.write_bytes(b"")
    for path, sentence in (
        (tmp_path / "nowhere.png", "there is no picture"),
        (broken, "cannot be read"),
        (text, "not a picture of a known format"),
        (empty, "not a picture of a known format"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(CourseError, match=sentence) as problem:
            read(path)
        assert str(path) in str(problem.value)
