"""The register of data sets: names, cards, where they lie, and what `python -m course_lib data` says of them."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import official_files as files
import pytest
import scipy.io
import torch

from course_lib import cli, datasets, paths
from course_lib.datasets import cards
from course_lib.datasets.cards import Check
from course_lib.errors import CourseError
from course_lib.lessons import lesson_00_data

NAMES = ["coco", "flic", "jhmdb", "lsp", "lspet", "mpii"]
WRITERS = {name: getattr(files, name) for name in NAMES}


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """An empty folder that COURSE_DATA names, and no data in the course's own."""
    folder = tmp_path / "shared"
    folder.mkdir()
    monkeypatch.setenv("COURSE_DATA", str(folder))
    monkeypatch.setattr(paths, "PUBLIC", tmp_path / "own")
    return folder


# --- names, cards, places ---------------------------------------------------------------------------------------------


def test_every_name_has_a_card_and_every_card_says_what_its_loader_needs():
    assert datasets.names() == NAMES
    for name in NAMES:
        card = datasets.card(name)
        assert card.key == name
        assert all((card.sides, card.box, card.terms, card.splits, card.needs, card.marks, card.checks)), name
    assert [card.name for card in cards.ALL if not card.key] == ["PoseTrack", "CrowdPose"]


def test_lesson_00_shows_the_loaders_own_cards():
    assert lesson_00_data.DATA_SETS is cards.ALL


def test_what_was_never_opened_is_marked():
    opened = {part.url: part.opened for card in cards.ALL for part in card.parts}
    assert opened.pop("http://sam.johnson.io/research/lsp_dataset.zip")
    assert opened and not any(opened.values())


def test_naming_data_sets_loads_neither_torch_nor_scipy():
    code = "import sys; from course_lib import datasets; datasets.names(); datasets.card('lsp'); datasets.find('lsp')"
    code += "; print([name for name in ('torch', 'scipy', 'numpy', 'matplotlib', 'pooch') if name in sys.modules])"
    assert printed(code) == "[]"


def test_loaders_need_no_matplotlib():
    code = "import sys\nfrom course_lib.datasets import coco, flic, jhmdb, lsp, mpii, commands, download, examine\n"
    code += "print('matplotlib' in sys.modules)"
    assert printed(code) == "False"


def printed(code: str) -> str:
    """What a fresh Python prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120).stdout.strip()


@pytest.mark.parametrize("name", NAMES)
def test_a_data_set_is_found_in_both_places_and_the_shared_one_goes_first(name, shared, tmp_path):
    assert datasets.find(name) is None
    for place in (tmp_path / "own" / name, shared / name):
        place.mkdir(parents=True)
        assert datasets.find(name) != place  # an empty folder is no data set
        WRITERS[name](place)
        assert datasets.find(name) == place


def test_the_shared_folder_itself_may_hold_the_joints_of_lsp_extended(shared):
    files.lspet(shared)
    (shared / "coco_sample").mkdir()
    files.coco(shared / "coco_sample")
    for name in ("lspet", "coco"):
        (paths.PUBLIC / name).mkdir(parents=True)
        WRITERS[name](paths.PUBLIC / name)  # what is shared goes first
    assert datasets.find("lspet") == shared and datasets.find("coco") == shared / "coco_sample"
    assert datasets.find("lsp") is None  # its joints.mat would be LSP-extended's


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda folder: datasets.read("lspe", folder), "no data set called 'lspe'; did you mean 'lspet'"),
        (lambda folder: datasets.read("lsp", None), "LSP is not on this machine; `python -m course_lib data` tells"),
        (lambda folder: datasets.read("lsp", folder / "no"), "no folder .*/no to read LSP from"),
        (lambda folder: datasets.read("lsp", folder, masks=True), "no option of the reader of LSP called 'masks'"),
        (lambda folder: datasets.read("coco", folder, "valid2017"), "did you mean 'val2017'"),
        (lambda folder: datasets.read("lsp", folder, "val"), "no split of LSP called 'val'"),
        (lambda folder: datasets.read("lspet", folder, "test"), "no split of LSP-extended called 'test'"),
        (lambda folder: datasets.read("flic", folder, "val"), "no split of FLIC called 'val'"),
        (lambda folder: datasets.read("jhmdb", folder, "val"), "no split of J-HMDB called 'val'"),
        (lambda folder: datasets.read("jhmdb", folder), "has no joint_positions/ACTION/CLIP"),
        (lambda folder: datasets.read("mpii", folder), "has no release of MPII"),
        (lambda folder: datasets.card("posetrack"), "no data set called 'posetrack'"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, says, tmp_path):
    with pytest.raises(CourseError, match=says):
        call(tmp_path)


# --- python -m course_lib data ----------------------------------------------------------------------------------------


def test_the_overview_tells_of_every_set_what_it_needs_and_whether_it_is_here(shared, capsys):
    (shared / "coco").mkdir()
    files.coco(shared / "coco")
    assert cli.main(["data"]) == 0
    said = capsys.readouterr().out
    for card in cards.ALL:
        assert card.name in said and card.home in said and all(line in said for line in card.needs)
    assert str(shared / "coco") in said and said.count("not found") == len(NAMES) - 1
    assert "lspet_dataset.zip (not opened for this course)" in said


def publish(monkeypatch, name, split, **numbers):
    """Has the card of a set publish the numbers of its little copy."""
    whole = next(card for card in cards.ALL if card.key == name)
    check = Check(split, whole.checks[0].file, published=tuple(numbers.items()))
    monkeypatch.setattr(cards, "ALL", (replace(whole, checks=(check,)),))


def test_a_whole_set_is_in_order(shared, tmp_path, capsys, monkeypatch):
    files.lspet(tmp_path)
    publish(monkeypatch, "lspet", "all", pictures=3, people=3)
    assert cli.main(["data", "check", "lspet", str(tmp_path), "--all"]) == 0
    said = capsys.readouterr().out
    assert "all: 3 pictures, 3 people, 3 labelled people, 39 labelled joints" in said
    assert "Everything is in order; every picture was opened." in said


def test_everything_that_is_wrong_is_listed_not_only_the_first(shared, tmp_path, capsys, monkeypatch):
    files.lspet(tmp_path)
    joints = scipy.io.loadmat(tmp_path / "joints.mat")["joints"]
    joints[4, 2, 0] = 7
    files.lspet(tmp_path, joints)
    (tmp_path / "images" / "im00002.jpg").unlink()
    (tmp_path / "images" / "im00003.jpg").write_bytes(b"no picture")
    publish(monkeypatch, "lspet", "all", pictures=3)
    assert cli.main(["data", "check", "lspet", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    for word in ("record 1, field 'joints'", "im00002.jpg", "im00003.jpg", "2 pictures, but 3 were published"):
        assert word in said
    assert said.count("PROBLEM") == 4 and "4 problems." in said


def test_of_many_problems_twenty_are_printed(shared, tmp_path, capsys):
    files.lspet(tmp_path, people=30)
    for picture in (tmp_path / "images").iterdir():
        picture.unlink()
    assert cli.main(["data", "check", "lspet", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert said.count("PROBLEM") == 21 and "and 12 more" in said and "32 problems." in said  # 2: 30 of 10,000


@pytest.mark.parametrize(("name", "counts"), [
    ("lsp", "train: 3 pictures, 3 people, 3 labelled people, 42 labelled joints"),
    ("flic", "test: 1 pictures, 1 people, 1 labelled people, 10 labelled joints"),
    ("mpii", "train (source mat): 3 pictures, 3 people, 2 labelled people, 4 labelled joints"),
    ("coco", "val2017: 2 pictures, 3 people, 1 labelled people, 2 labelled joints"),
    ("jhmdb", "all: 9 pictures, 9 people, 9 labelled people, 135 labelled joints, 3 clips"),
])  # fmt: skip
def test_little_copies_are_whole_but_for_the_published_numbers(name, counts, shared, capsys):
    (shared / name).mkdir()
    WRITERS[name](shared / name)
    cli.main(["data", "check", name])
    said = capsys.readouterr().out
    assert counts in said
    assert all("were published" in line for line in said.splitlines() if "PROBLEM" in line)


def test_a_set_that_is_not_there_or_broken_as_a_whole(shared, tmp_path, capsys):
    assert cli.main(["data", "check", "coco"]) == 2
    assert "COCO keypoints is in none of the places" in capsys.readouterr().err
    assert cli.main(["data", "check", "coco", str(tmp_path)]) == 1
    assert "so COCO keypoints is not there" in capsys.readouterr().out
    assert cli.main(["data", "check", "coco", str(tmp_path / "no")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    (tmp_path / "joints.mat").touch()
    assert cli.main(["data", "check", "lsp", str(tmp_path)]) == 1
    assert "joints.mat is empty" in capsys.readouterr().out


def test_sets_that_are_not_given_out_freely_or_come_in_parts(shared, capsys):
    assert cli.main(["data", "get", "mpii", "--to", "x"]) == 2
    assert "given out on its home page, human-pose.mpi-inf.mpg.de" in capsys.readouterr().err
    assert cli.main(["data", "get", "coco", "--to", "x"]) == 2
    assert "choose with --parts annotations val2017 train2017" in capsys.readouterr().err
    assert cli.main(["data", "get", "coco", "--to", "x", "--parts", "anotations"]) == 2
    assert "did you mean 'annotations'" in capsys.readouterr().err


# --- the real files, where a developer has some -----------------------------------------------------------------------


def real(name: str) -> Path:
    """The folder of a set that lies where COURSE_DATA says."""
    if not os.environ.get("COURSE_DATA") or not (folder := datasets.find(name)):
        pytest.skip(f"COURSE_DATA names no folder with {name}")
    return folder


@pytest.fixture
def build(tmp_path_factory, monkeypatch):
    """Unpacked copies go into a folder of the tests."""
    monkeypatch.setattr(paths, "BUILD", tmp_path_factory.getbasetemp() / "build")


def test_real_lsp_extended_reads_and_its_joints_lie_on_its_pictures(build):
    folder = real("lspet")
    records = datasets.read("lspet", folder, "all")
    assert len(records) >= 8500 and len(datasets.read("lspet", folder, "val")) == 500
    for scene in records[:: len(records) // 40]:
        [person] = scene.people
        labelled = person.joints[person.visible > 0]
        size = torch.tensor([scene.size[1], scene.size[0]])
        assert len(labelled) > 3 and bool(((labelled > -2) & (labelled < size + 2)).all())
    people = [entry.people[0] for entry in records.entries]
    above = [p.joints[13, 1] < p.joints[2:4, 1].mean() for p in people if (p.visible[[13, 2, 3]] > 0).all()]
    assert 0.6 < torch.stack(above).float().mean() < 0.95  # many stand, and gymnasts turn


def test_real_coco_reads_and_its_masks_fit_their_areas(build):
    records = datasets.read("coco", real("coco"), "train2017", masks=True)
    assert records.count() >= 140 and len(records) >= 28
    for scene in records:
        for person in scene.people:
            if not person.crowd:
                outside = torch.ones(scene.size, dtype=torch.bool)
                x0, y0, x1, y1 = person.box.round().long().tolist()
                outside[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1] = False
                assert not (person.mask & outside).any()
                assert abs(int(person.mask.sum()) - person.area) < 0.1 * person.area + 12


def test_a_reader_who_has_seen_enough_is_no_error():
    """`python -m course_lib data | head -1` ends without a word."""
    command = [sys.executable, "-m", "course_lib", "data"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=paths.ROOT)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() in (0, 141)
