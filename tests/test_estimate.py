"""`python -m course_lib estimate` as a user types it, on photographs as users have them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from pycocotools.coco import COCO

from course_lib import checkpoints, cli, estimate, images, models, paths
from course_lib.pose import Pose
from course_lib.skeletons import LSP

ORIENTATION = 0x0112  # the EXIF field


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    header = {"recipe": "none", "data": {}, "steps": 0, "images": 0, "seed": 0, "device": "cpu", "scores": {}}
    torch.manual_seed(0)
    model = models.create("hourglass_course", stacks=1, width=8, depth=2, input_size=(32, 32))
    checkpoints.save(path, model, {**header, "date": "2026-01-31"})
    return path


@pytest.fixture
def command(monkeypatch, tmp_path, weights):
    """Runs `estimate` in a folder of its own and returns the exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TQDM_DISABLE", "1")

    def run(*arguments: str) -> int:
        return cli.main(["estimate", *arguments, "--checkpoint", str(weights), "--device", "cpu"])

    return run


def picture(seed: int = 0, shape: tuple[int, ...] = (60, 40, 3)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def save(path: str, seed: int = 0) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path)


def poses(file: str = "poses.json") -> dict[int | str, list[list[float]]]:
    """The keypoints of everybody, by picture."""
    found = {}
    for entry in json.loads(Path(file).read_text()):
        found.setdefault(entry["image_id"], []).append(entry["keypoints"])
    return found


def drawings(folder: str = "drawn") -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in Path(folder).rglob("*.*"))


def sentences(capsys) -> list[str]:
    """What was said on the error output."""
    return capsys.readouterr().err.splitlines()


# --- one photograph ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(60, 40, 3), (60, 40), (60, 40, 4), (1, 1, 3), (2, 900), (801, 333, 3)])
def test_draws_on_a_picture_of_any_size(capsys, command, shape):
    picture(0, shape).save("photo.png")
    assert command("photo.png", "--json", "poses.json") == 0
    assert capsys.readouterr().out.splitlines() == ["drawing: photo_pose.png", "pose: poses.json"]
    drawn = Image.open("photo_pose.png")
    assert max(drawn.size) == max(800, *shape)
    assert min(drawn.size) == max(10, round(max(drawn.size) * min(shape[:2]) / max(shape[:2])))
    (result,) = json.loads(Path("poses.json").read_text())
    assert len(result["keypoints"]) == 3 * 14 and result["image_id"] == "photo" and result["category_id"] == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_kind_of_pixel_is_read(command, mode):
    wide = Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(60, 40) * 27)
    (wide if mode == "I;16" else picture().convert(mode)).save("photo.tif")
    assert Image.open("photo.tif").mode == mode
    assert command("photo.tif", "--json", "poses.json") == 0
    assert Image.open("photo_pose.png").size == (533, 800) and len(poses()["photo"]) == 1


def test_a_box_says_where_the_person_is(command):
    Image.new("RGB", (200, 100), "grey").save("photo.png")
    box = ["--box", "100", "20", "160", "80"]
    assert command("photo.png", *box, "--json", "a.json", "--out", "a.png") == 0
    xs = poses("a.json")["photo"][0][::3]
    assert min(xs) > 90 and max(xs) < 170 and Path("a.png").exists()


def test_the_drawing_goes_where_it_is_told(command):
    save("photo.jpg")
    Path("there").mkdir()
    assert command("photo.jpg", "--out", "there") == 0 and Image.open("there/photo_pose.png").format == "PNG"
    assert command("photo.jpg", "--out", "new/drawn.jpg") == 0 and Image.open("new/drawn.jpg").format == "JPEG"
    before = Path("photo.jpg").read_bytes()
    assert command("photo.jpg", "--out", "photo.jpg") == 2 and Path("photo.jpg").read_bytes() == before


def test_a_turned_photograph_gives_the_poses_of_its_upright_twin(command):
    exif = Image.Exif()
    for orientation in range(2, 9):
        exif[ORIENTATION] = orientation
        picture(1, (50, 90, 3)).save(f"turned{orientation}.jpg", exif=exif)
        with Image.open(f"turned{orientation}.jpg") as turned:
            ImageOps.exif_transpose(turned).save(f"upright{orientation}.png", exif=Image.Exif())
    turned = [f"turned{orientation}.jpg" for orientation in range(2, 9)]
    assert command(*turned, "--json", "turned.json", "--out", "drawn") == 0
    assert command(*[f"upright{n}.png" for n in range(2, 9)], "--json", "upright.json", "--out", "drawn") == 0
    found, expected = poses("turned.json"), poses("upright.json")
    for n in range(2, 9):
        assert found[f"turned{n}"] == expected[f"upright{n}"]
        one, two = (Image.open(f"drawn/{name}{n}_pose.png") for name in ("turned", "upright"))
        assert one.size == two.size == ((800, 444) if n < 5 else (444, 800)) and one.tobytes() == two.tobytes()
    assert found["turned6"] != found["turned3"]


def test_coco_counts_from_the_first_pixels_centre():
    pose = Pose(torch.full((14, 2), 0.5), torch.ones(14), LSP, 0.25)
    result = estimate.coco_result("photo", pose)
    assert result["keypoints"] == [0.0, 0.0, 1.0] * 14 and result["score"] == 0.25


def test_lines_take_the_same_share_of_every_drawing():
    shares = []
    for side in (40, 800, 3200):
        joints = torch.stack([torch.linspace(0.2, 0.8, 14), torch.linspace(0.9, 0.1, 14)], dim=-1) * side
        grey = torch.full((3, side, side), 0.5)
        drawn = np.asarray(Image.open(io.BytesIO(estimate.draw(grey, [Pose(joints, torch.ones(14), LSP)]))), dtype=int)
        shares.append((abs(drawn - 128).max(-1) > 20).mean())
    assert shares[1] > 0.005 and shares == pytest.approx([shares[1]] * 3, rel=0.1)  # edges are softer in few pixels


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_is_all_pictures_below_it(capsys, command):
    for number, name in enumerate(("b.png", "a.JPG", "deep/er/a.png", "deep/c.webp", ".hidden.png", ".git/d.png")):
        save(f"photos/{name}", number)
    Path("photos/notes.txt").write_text("no picture")
    assert command("photos", "--out", "drawn", "--json", "poses.json") == 0
    assert drawings() == ["a_pose.png", "b_pose.png", "deep/c_pose.png", "deep/er/a_pose.png"]
    assert list(poses()) == ["a", "b", "c", "deep/er/a"]  # in the order of the paths
    assert capsys.readouterr().out.splitlines() == ["drawings: drawn (4)", "poses: poses.json"]


def test_equal_names_stay_apart(command):
    for number, name in enumerate(("one/000123.jpg", "two/000123.jpg", "two/a.jpg", "two/a.png", "a.jpg.png")):
        save(name, number)
    save("two/A.webp", 9)
    assert command("one", "two", "a.jpg.png", "two/a.jpg", "--out", "drawn", "--json", "poses.json") == 0
    ids = {"one/000123", "two/000123", "two/a.jpg", "two/a.png", "two/A.webp", "a.jpg"}
    assert set(poses()) == ids and all(len(people) == 1 for people in poses().values())
    apart = {"two/a.jpg_pose.png", "two/a.png_pose.png", "two/A.webp_pose.png", "a.jpg_pose.png"}
    assert set(drawings()) == apart | {"one/000123_pose.png", "two/000123_pose.png"}


def test_every_photograph_in_a_folder_is_answered_as_if_alone(command):
    for number in range(11):
        save(f"photos/{number}.png", number)
    assert command("photos", "--no-drawings", "--flip", "--json", "poses.json") == 0
    together = poses()
    assert together.keys() == set(range(11)) and not Path("poses").exists()
    for number in (0, 7, 8, 10):
        assert command(f"photos/{number}.png", "--no-drawings", "--flip", "--json", "one.json") == 0
        np.testing.assert_allclose(together[number], poses("one.json")[number], atol=0.02)


def test_drawings_are_not_photographs_of_the_next_run(command):
    save("photos/a.png")
    for _ in range(2):
        assert command("photos", "--out", "photos/drawn") == 0
        assert drawings("photos") == ["a.png", "drawn/a_pose.png"]
    save("b.png"), save("b_pose.png")
    before = Path("b_pose.png").read_bytes()
    assert command("b.png", "b_pose.png", "--out", ".") == 2 and Path("b_pose.png").read_bytes() == before


def test_results_go_into_cocos_own_evaluation(command):
    save("photos/000000000139.jpg", 1)
    save("photos/COCO_val2014_000000000042.jpg", 2)
    assert command("photos", "--no-drawings", "--json", "poses.json") == 0
    truth = COCO()
    truth.dataset = {"images": [{"id": 139}, {"id": 42}], "annotations": [], "categories": [{"id": 1}]}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        results = truth.loadRes("poses.json")
    assert sorted(results.getImgIds()) == [42, 139] and len(results.getAnnIds(imgIds=[139])) == 1


def test_damaged_files_are_told_and_skipped(capsys, command):
    save("photos/good.png")
    whole = io.BytesIO()
    picture(0, (200, 200, 3)).save(whole, "jpeg")
    Path("photos/cut.jpg").write_bytes(whole.getvalue()[:5000])
    Path("photos/text.jpg").write_text("Dear diary")
    Path("photos/zero.png").write_bytes(b"")
    avif = io.BytesIO()
    picture().save(avif, "avif")
    Path("photos/broken.avif").write_bytes(
        avif.getvalue().split(b"mdat")[0] + b"mdat" + bytes(5000)
    )  # Pillow's RuntimeError
    assert command("photos", "nowhere.png", "--out", "drawn", "--json", "poses.json") == 1
    assert list(poses()) == ["good"] and drawings() == ["photos/good_pose.png"]
    out, err = capsys.readouterr()
    assert "skipped: 4 of 5 photographs" in out
    said = err.splitlines()
    assert len(said) == 5 and all(line.startswith("course_lib: ") for line in said)
    for name in ("nowhere.png", "photos/broken.avif", "photos/cut.jpg", "photos/text.jpg", "photos/zero.png"):
        assert sum(f"'{name}'" in line for line in said) == 1


def test_nothing_done_is_status_2_and_leaves_older_poses(capsys, command):
    Path("photos/empty").mkdir(parents=True)
    Path("photos/text.jpg").write_text("Dear diary")
    Path("poses.json").write_text("[]")
    assert command("photos", "--json", "poses.json") == 2 and Path("poses.json").read_text() == "[]"
    assert command("photos/text.jpg") == 2
    assert command("photos/empty") == 2
    assert "there is no picture in folder 'photos/empty'" in sentences(capsys)[-1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.jpg"], "there is no picture 'nowhere.jpg'"),
        (["a.png", "b.png", "--box", "0", "0", "9", "9"], "--box is for a single photograph"),
        (["a.png", "--box", "9", "0", "0", "9"], "x0 < x1"),
        (["a.png", "--no-drawings"], "name a file for the poses with --json"),
        (["a.png", "--json", "."], "'.' is a folder"),
        (["a.png", "b.png", "--out", "drawn.png"], "--out should be a folder"),
        ([".", "--out", "."], "name another folder by --out"),
        (["a.png", "--boxes", "nowhere.json"], "'nowhere.json' cannot be read: No such file"),
        (["a.png", "--checkpoint", "nowhere"], "there is no checkpoint nowhere"),
    ],
)
def test_bad_arguments_end_with_one_sentence(capsys, command, arguments, sentence):
    save("a.png"), save("b.png")
    assert (cli.main(["estimate", *arguments]) if "--checkpoint" in arguments else command(*arguments)) == 2
    (said,) = sentences(capsys)
    assert said.startswith("course_lib: ") and sentence in said


def test_a_bar_shows_how_far_it_is(capsys, command, monkeypatch):
    save("photos/a.png"), save("photos/b.png")
    assert command("photos") == 0 and "2/2" not in capsys.readouterr().err
    monkeypatch.setenv("TQDM_DISABLE", "0")
    assert command("photos") == 0 and "2/2" in capsys.readouterr().err


# --- boxes ------------------------------------------------------------------------------------------------------------


def test_boxes_are_cocos_and_belong_to_their_photographs(command):
    for number, name in enumerate(("000007.png", "two.png", "in/three.png", "none.png", "chairs.png")):
        save(f"photos/{name}", number)
    entries = [
        {"image_id": 7, "bbox": [10, 20, 16, 24], "score": 0.5},
        {"image_id": 7, "bbox": [0, 0, 8, 8.5], "category_id": 1},
        {"image_id": "two", "bbox": [4, 4, 10, 10]},
        {"file_name": "in/three.png", "bbox": [5, 6, 7, 8]},
        {"image_id": "chairs", "bbox": [5, 6, 7, 8], "category_id": 62},
        {"image_id": 99, "bbox": [0, 0, 1, 1]},
    ]
    Path("boxes.json").write_text(json.dumps(entries))
    assert command("photos", "--no-drawings", "--json", "poses.json", "--boxes", "boxes.json") == 0
    found = poses()
    assert {name: len(people) for name, people in found.items()} == {7: 2, "two": 1, "three": 1, "none": 1, "chairs": 1}
    for name, file, corners in (
        (7, "000007.png", "10 20 26 44"),
        ("two", "two.png", "4 4 14 14"),
        ("three", "in/three.png", "5 6 12 14"),
        ("none", "none.png", ""),
        ("chairs", "chairs.png", ""),
    ):
        box = ["--box", *corners.split()] if corners else []
        assert command(f"photos/{file}", *box, "--no-drawings", "--json", "one.json") == 0
        np.testing.assert_allclose(found[name][0], poses("one.json")[name][0], atol=0.02)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("no json", "the boxes 'boxes.json' are no JSON"),
        ('{"annotations": []}', "'boxes.json' should hold a list of boxes"),
        ('[{"image_id": "a", "bbox": [1, 2, 3, 4]}, 5]', "the content of entry 1 (counting from 0) in 'boxes.json'"),
        ('[{"bbox": [1, 2, 3, 4]}]', "image_id of entry 0 (counting from 0) in 'boxes.json' should be a number"),
        ('[{"image_id": 1.5, "bbox": [1, 2, 3, 4]}]', "image_id of entry 0"),
        ('[{"image_id": true, "bbox": [1, 2, 3, 4]}]', "image_id of entry 0"),
        ('[{"file_name": 5, "bbox": [1, 2, 3, 4]}]', "file_name of entry 0 (counting from 0) in 'boxes.json'"),
        ('[{"image_id": "a"}]', "bbox of entry 0 (counting from 0) in 'boxes.json' should be [x, y, width, height]"),
        ('[{"image_id": "a", "bbox": [1, 2, 3]}]', "got [1, 2, 3]"),
        ('[{"image_id": "a", "bbox": [1, 2, 3, 0]}]', "bbox of entry 0"),
        ('[{"image_id": "a", "bbox": [1, 2, 3, NaN]}]', "bbox of entry 0"),
        ('[{"image_id": "a", "bbox": [1, 2, 3, "4"]}]', "bbox of entry 0"),
        ('[{"image_id": "a", "bbox": [1, 2, 3, true]}]', "bbox of entry 0"),
        ('[{"image_id": "c", "bbox": [1, 2, 3, 4]}]', "no entry in 'boxes.json' is a person's box"),
        (
            '[{"image_id": "b", "bbox": [1, 2, 3, 4]}]',
            "image_id 'b' of entry 0 (counting from 0) in 'boxes.json' fits 2",
        ),
        ('[{"file_name": "b.png", "bbox": [1, 2, 3, 4]}]', "such as 'one/b.png'"),
    ],
)
def test_bad_boxes_are_told_with_file_entry_and_field(capsys, command, content, sentence):
    save("photos/a.png"), save("photos/one/b.png"), save("photos/two/b.png")
    Path("boxes.json").write_text(content)
    assert command("photos", "--boxes", "boxes.json") == 2
    (said,) = sentences(capsys)
    assert sentence in said


# --- the run ----------------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_photographs(command, monkeypatch):
    save("one.png")
    for number in range(40):
        Path("photos").mkdir(exist_ok=True)
        Path(f"photos/{number}.png").write_bytes(Path("one.png").read_bytes())
    alive, most, whole = weakref.WeakSet(), [0], images.read

    def read(path):
        pixels = whole(path)
        alive.add(pixels)
        most.append(len(alive))
        return pixels

    monkeypatch.setattr(images, "read", read)
    assert command("photos", "--no-drawings", "--json", "poses.json") == 0 and len(poses()) == 40
    assert 2 <= max(most) <= estimate.PHOTOS_AT_ONCE + 1  # the batch, and the one that was drawn last
    monkeypatch.setattr(estimate, "PIXELS_AT_ONCE", 2 * 60 * 40)
    most.clear()
    assert command("photos", "--no-drawings", "--json", "poses.json") == 0
    assert max(most) <= 3


def test_an_interrupt_keeps_what_is_done(tmp_path, weights):
    for number in range(400):
        save(f"{tmp_path}/photos/{number:03d}.png", number)
    command = [sys.executable, "-m", "course_lib", "estimate", "photos", "--out", "drawn", "--json", "poses.json"]
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT), "TQDM_DISABLE": "1"}
    process = subprocess.Popen(
        [*command, "--checkpoint", str(weights), "--device", "cpu"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("drawn/*.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "stopped by SIGINT after" in said and "Traceback" not in said
    done = [f"{number:03d}_pose.png" for number in poses(f"{tmp_path}/poses.json")]
    assert done == drawings(f"{tmp_path}/drawn") and 0 < len(done) < 400


def test_a_full_disk_keeps_the_poses_that_are_drawn(capsys, command, monkeypatch):
    save("photos/a.png"), save("photos/b.png")
    Path("drawn/b_pose.png").mkdir(parents=True)
    assert command("photos", "--out", "drawn", "--json", "poses.json") == 2
    assert list(poses()) == ["a"] and "could not write drawn/b_pose.png" in sentences(capsys)[-1]


def test_no_jupyter_is_needed(weights, tmp_path):
    save(f"{tmp_path}/photos/a.png")
    script = (
        "import sys\n"
        "for name in ('IPython', 'ipywidgets', 'jupyterlab', 'nbformat', 'nbclient', 'papermill', 'ipykernel'):\n"
        "    sys.modules[name] = None\n"
        "from course_lib import cli\n"
        f"assert cli.main(['estimate', 'photos', '--checkpoint', {str(weights)!r}]) == 0\n"
        "import course_lib.training.loop, course_lib.training.evaluate\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
