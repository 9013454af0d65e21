"""Files of weights: downloads checked before they get their name, and everything that can be wrong with a file."""

from __future__ import annotations

import hashlib
import http.server
import io
import pickle
import sys
import threading
import types
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import published_files as published
import pytest
import torch
from safetensors.torch import save_file

from course_lib import checkpoints, hub, models
from course_lib.errors import CourseError
from course_lib.hub import building, cards, files
from course_lib.hub.cards import CARDS, Card

CONTENT = hashlib.sha256(b"weights").digest() * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


# --- downloads --------------------------------------------------------------------------------------------------------


@pytest.fixture
def address(tmp_path):
    """The address of a server on this machine, and the folder it gives out."""
    folder = tmp_path / "server"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}", folder
    running.shutdown()
    running.server_close()


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Path:
    """The folder that downloads go to."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "weights"


STYLES = [f"net-{DIGEST[:8]}_20200727.pth", f"net_{DIGEST[:8]}-20221228.pth", f"net-{DIGEST[:8]}.pth"]


@pytest.mark.parametrize("name", [*STYLES, f"net-{DIGEST}.pth"])
def test_digits_in_a_files_name_are_found_and_checked(name, address, shelf):
    url, folder = address
    (folder / name).write_bytes(CONTENT)
    card = Card("net", "a net", "hrnet", url=f"{url}/{name}")
    assert DIGEST.startswith(card.digits) and len(card.digits) >= 8
    file = files.fetch(card)
    assert file == shelf / name and file.read_bytes() == CONTENT
    assert (shelf / f"{name}.sha256").read_text().split() == [DIGEST, name]
    (folder / name).unlink()
    assert files.fetch(card) == file  # what is there and whole is not asked for again


@pytest.mark.parametrize("harm", ["truncated", "one byte", "empty"])
@pytest.mark.parametrize("name", STYLES)
def test_what_is_not_the_published_file_is_refused_and_not_kept(name, harm, address, shelf):
    url, folder = address
    broken = {"truncated": CONTENT[:-100], "one byte": b"x" + CONTENT[1:], "empty": b""}[harm]
    (folder / name).write_bytes(broken)
    with pytest.raises(
        CourseError, match=rf"not the published one of 'net': .* not with {DIGEST[:8]}; .* was not kept$"
    ):
        files.fetch(Card("net", "a net", "hrnet", url=f"{url}/{name}"))
    assert list(shelf.iterdir()) == []
    (folder / name).write_bytes(CONTENT)
    assert files.fetch(Card("net", "a net", "hrnet", url=f"{url}/{name}")).read_bytes() == CONTENT


def test_a_file_that_was_put_there_is_checked_and_one_that_changes_is_fetched_again(address, shelf):
    url, folder = address
    card = Card("net", "a net", "hrnet", url=f"{url}/{STYLES[0]}")
    (folder / STYLES[0]).write_bytes(CONTENT)
    shelf.mkdir(parents=True)
    (shelf / STYLES[0]).write_bytes(CONTENT[1:])
    with pytest.raises(CourseError, match=r"can be deleted \(.*\)$"):
        files.fetch(card)
    (shelf / STYLES[0]).write_bytes(CONTENT)
    assert files.fetch(card) and (shelf / f"{STYLES[0]}.sha256").exists()
    (shelf / STYLES[0]).write_bytes(CONTENT[:-1])
    assert files.fetch(card).read_bytes() == CONTENT


def test_a_server_that_lacks_the_file_and_a_card_without_an_address(address, shelf):
    with pytest.raises(CourseError, match=r"answered 404 .* look at its authors' page"):
        files.fetch(Card("net", "a net", "hrnet", url=f"{address[0]}/{STYLES[0]}"))
    with pytest.raises(CourseError, match=r"'openpose' cannot be downloaded .* hub.load\('openpose', file\)"):
        hub.load("openpose")


def test_every_address_carries_digits():
    assert len(hub.names()) == len(CARDS) > 20
    assert all(bool(card.url) == bool(card.digits) for card in CARDS.values())
    assert cards.digits_in("res50_coco_256x192-ec54d7f3_20200709.pth") == "ec54d7f3"
    assert cards.digits_in("dekr_coco-512x512_ac7c17bf-20221228.pth") == "ac7c17bf"
    assert cards.digits_in("resnet50-0676ba61.pth") == "0676ba61"
    assert cards.digits_in("checkpoint_iter_370000.pth") == cards.digits_in("") == ""
    with pytest.raises(CourseError, match="no published network called 'hrnet_w33'; did you mean 'hrnet_w32'"):
        hub.card("hrnet_w33")


CHEAP = ("hrnet_w32_mpii", "pose_resnet50_384x288", "hourglass_2stack", "openpose", "keypoint_rcnn", "vgg19_imagenet")


@pytest.mark.parametrize("name", CHEAP)
def test_a_card_builds_what_it_says(name):
    card = hub.card(name)
    with torch.device("meta"):
        model = building.empty(card)
    assert model.name == f"hub:{name}" and dict(model.options) == dict(card.options)
    if " joints" in card.what:
        assert f"for {len(model.skeleton)} joints" in card.what


# --- what a file may hold ---------------------------------------------------------------------------------------------


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("where", ["beside", "inside"])
def test_a_file_with_code_in_it_is_refused_and_the_code_not_run(where, zipped, tmp_path):
    trap, file = Trap(tmp_path / "sprung"), tmp_path / "evil.pth"
    weights = {"conv1.weight": torch.zeros(1), "trap": trap} if where == "inside" else {"conv1.weight": torch.zeros(1)}
    torch.save({"state_dict": weights, "meta": trap}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        CourseError, match=r"evil.pth' is refused: it holds '.*', which is no tensor, and to read that can run code"
    ):
        hub.load("hrnet_w32", file)
    assert not (tmp_path / "sprung").exists()
    file.write_bytes(pickle.dumps(trap))
    with pytest.raises(CourseError, match=r"evil.pth' is (refused|damaged)"):
        hub.load("hrnet_w32", file)
    assert not (tmp_path / "sprung").exists()


def test_what_toolkits_write_beside_their_weights_is_read_past(tmp_path):
    beside = {
        "sigmas": np.array([0.026, 0.025]),
        "ids": np.arange(3),
        "one": np.float64(2.5),
        "flags": np.array([True]),
    }
    for zipped in (True, False):
        theirs = {"meta": beside, "state_dict": {"a": torch.ones(2)}}
        torch.save(theirs, tmp_path / "zoo.pth", _use_new_zipfile_serialization=zipped)
        assert torch.equal(files.read(tmp_path / "zoo.pth")["a"], torch.ones(2))


def test_a_toolkits_history_is_neither_run_nor_kept(tmp_path, monkeypatch):
    """It holds methods of its class, which a pickle fetches by getattr."""
    names = ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer")
    rooms = {name: types.ModuleType(name) for name in names}

    class HistoryBuffer:
        def __init__(self):
            self.methods = {"mean": self.mean}

        def mean(self):
            raise AssertionError("it was run")

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = names[-1], "HistoryBuffer"
    rooms[names[-1]].HistoryBuffer = HistoryBuffer
    with monkeypatch.context() as patch:
        for name, room in rooms.items():
            patch.setitem(sys.modules, name, room)
        for number, zipped in enumerate((True, False)):
            theirs = {"message_hub": {"loss": HistoryBuffer()}, "state_dict": {"a": torch.ones(2)}}
            torch.save(theirs, tmp_path / f"{number}.pth", _use_new_zipfile_serialization=zipped)
    for number in (0, 1):
        assert files.read(tmp_path / f"{number}.pth").keys() == {"a"}


def written(folder: Path, kind: str) -> Path:
    """A file that is no weights, of one kind or another."""
    file = folder / "weights.pth"
    if kind == "a folder":
        file.mkdir()
    elif kind != "nothing":
        content = io.BytesIO()
        torch.save({"conv1.weight": torch.rand(40, 40)}, content)
        whole = content.getvalue()
        makers = {
            "empty": lambda: b"",
            "cut short": lambda: whole[: len(whole) // 2],
            "text": lambda: b"<html>Not found</html>",
            "zeros": lambda: bytes(5000),
            "another archive": lambda: archive(),
            "safetensors cut short": lambda: (800).to_bytes(8, "little") + b"{" + b" " * 900,
        }
        file.write_bytes(makers[kind]())
    return file


def archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as opened:
        opened.writestr("readme.txt", "hello")
    return content.getvalue()


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("nothing", "there is no file '"),
        ("a folder", "is a folder, not a file with weights"),
        ("empty", "is empty"),
        ("cut short", "cut short or not weights"),
        ("text", "is damaged, or not a file of weights"),
        ("zeros", "is damaged|cut short"),
        ("another archive", "cut short or not weights"),
        ("safetensors cut short", "cut short or no safetensors file"),
    ],
)
def test_files_that_are_no_weights(kind, sentence, tmp_path):
    with pytest.raises(CourseError, match=sentence) as told:
        hub.load("hrnet_w32", written(tmp_path, kind))
    assert "\n" not in str(told.value) and "Traceback" not in str(told.value)


LOOPED: dict = {}
LOOPED["model"] = LOOPED


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([torch.zeros(2)], r"holds no tensors by name \(a state dict\), but something of type list"),
        ({}, "holds no tensors by name .* but nothing"),
        ({"state_dict": None}, "but nothing"),
        (
            {"epoch": 3, "a": torch.zeros(1)},
            "holds no state dict: 'epoch' in it is something of type int, not a tensor",
        ),
        (LOOPED, "holds no state dict: 'model' in it is something of type dict"),
        ({3: torch.zeros(1)}, "3 in it is something of type Tensor"),
        ({"conv1.weight": torch.tensor([float("nan")])}, "'conv1.weight' in '.*' holds NaN or infinity"),
        (
            {"a.b": torch.zeros(1)},
            "holds 1 tensors such as 'a.b', which is no layout known here; 'hrnet_w32' should be",
        ),
    ],
)
def test_files_that_hold_something_else(content, sentence, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CourseError, match=sentence):
        hub.load("hrnet_w32", tmp_path / "other.pth")


def test_the_courses_own_checkpoint_is_sent_to_where_it_belongs(tmp_path):
    model = models.create("hourglass_course", stacks=1, width=8, depth=2, input_size=(32, 32))
    header = {"recipe": "none", "data": {}, "steps": 0, "images": 0, "seed": 0, "device": "cpu", "scores": {}}
    checkpoints.save(tmp_path / "own.safetensors", model, {**header, "date": "2026-01-31"})
    with pytest.raises(CourseError, match=r"is a checkpoint of the course itself; models\.load reads it"):
        hub.load("hourglass_2stack", tmp_path / "own.safetensors")


# --- the wrong weights ------------------------------------------------------------------------------------------------


def small_hrnet(width: int = 32, joints: int = 17) -> dict[str, torch.Tensor]:
    """Enough of an HRNet to be known as one."""
    return {
        "conv2.weight": torch.zeros(64, 64, 3, 3),
        "transition1.0.0.weight": torch.zeros(width, 256, 3, 3),
        "stage4.0.branches.0.0.conv1.weight": torch.zeros(width, width, 3, 3),
        "final_layer.weight": torch.zeros(joints, width, 1, 1),
    }


@pytest.mark.parametrize(
    ("name", "state", "sentences"),
    [
        (
            "hrnet_w32",
            small_hrnet(48),
            ["looks like HRNet of width 48 for 17 joints, but 'hrnet_w32' is HRNet of width 32 for 17 joints", "lacks"],
        ),
        (
            "hrnet_w32",
            small_hrnet(),
            ["looks like HRNet of width 32 for 17 joints, as 'hrnet_w32' should be, but it lacks"],
        ),
        (
            "hourglass_2stack",
            small_hrnet(),
            [
                "looks like HRNet of width 32",
                "is stacked hourglass of 2 stacks",
                "lacks 'stem.0.weight' and",
                "has 'conv2.w",
            ],
        ),
        ("openpose", {"model0.0.weight": torch.zeros(64, 3, 3, 3), "model1_1.0.weight": torch.zeros(1)}, ["lacks"]),
        (
            "vgg19_imagenet",
            {"features.0.weight": torch.zeros(1), "classifier.0.weight": torch.zeros(1)},
            ["VGG-3", "lacks"],
        ),
    ],
)
def test_the_wrong_weights_are_called_by_their_name(name, state, sentences, tmp_path):
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(CourseError) as told:
        hub.load(name, tmp_path / "other.pth")
    assert all(sentence in str(told.value) for sentence in sentences), told.value


def test_weights_for_cocos_joints_are_not_taken_for_mpiis(tmp_path):
    torch.save(published.pose_resnet(50), tmp_path / "coco.pth")
    with pytest.raises(CourseError) as told:
        hub.load("pose_resnet50_mpii", tmp_path / "coco.pth")
    assert "looks like pose ResNet-50 for 17 joints, but 'pose_resnet50_mpii' is pose ResNet-50 for 16" in str(
        told.value
    )
    assert "'final_layer.weight' of shape (17, 256, 1, 1) instead of (16, 256, 1, 1), and 1 more" in str(told.value)


def test_one_tensor_too_few_or_too_many_is_told(tmp_path):
    state = published.pose_resnet(50)
    moved = {name.replace("layer2.0.bn1.bias", "layer2.0.bn1.shift"): value for name, value in state.items()}
    torch.save(moved, tmp_path / "moved.pth")
    with pytest.raises(
        CourseError, match=r"it lacks 'layer2\.0\.bn1\.bias', and it has 'layer2\.0\.bn1\.shift' besides$"
    ):
        hub.load("pose_resnet50", tmp_path / "moved.pth")
    save_file(state, tmp_path / "right.safetensors")
    data = bytearray((tmp_path / "right.safetensors").read_bytes())
    (tmp_path / "short.safetensors").write_bytes(data[:-1000])
    with pytest.raises(CourseError, match="cut short or no safetensors"):
        hub.load("pose_resnet50", tmp_path / "short.safetensors")


def test_a_card_can_be_added_with_a_whole_digest():
    card = replace(CARDS["hrnet_w32"], digest="ab" * 32)
    assert card.digits == "ab" * 32
