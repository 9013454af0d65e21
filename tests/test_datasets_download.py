"""Archives come whole or not at all: broken connections, wrong digests, full disks, and archives that mean harm."""

import errno
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from dataclasses import replace

import official_files as files
import pytest

from course_lib import cli, datasets
from course_lib.datasets import cards, download
from course_lib.datasets.cards import Part
from course_lib.errors import CourseError

CONTENT = hashlib.sha256(b"").digest() * 10_000  # 320 kB


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `content` under any name but /missing; breaks off as often as asked, after `limit` bytes."""

    content, version, limit, breaks, ranges, announce = CONTENT, '"one"', 100_000, 0, True, True

    def do_GET(self):
        kind = type(self)
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        start, asked = 0, self.headers.get("Range")
        kind.asked.append(asked)
        if asked and kind.ranges and self.headers.get("If-Range") == kind.version:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(kind.content) - 1}/{len(kind.content)}")
        else:
            self.send_response(200)
        if kind.announce:
            self.send_header("Content-Length", str(len(kind.content) - start))
        if kind.version:
            self.send_header("ETag", kind.version)
        self.end_headers()
        rest = kind.content[start:]
        if kind.breaks:
            kind.breaks -= 1
            rest = rest[: kind.limit]
        self.wfile.write(rest)

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    """A server on this machine, and its handler class, on which a test sets how it behaves."""
    handler = type("Handler", (Server,), {"asked": []})
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    handler.url = f"http://127.0.0.1:{running.server_port}"
    yield handler
    running.shutdown()
    running.server_close()


def part(server, name="set.zip", opened=True):
    return Part("all", f"{server.url}/{name}", opened)


def left_over(folder):
    return sorted(file.name for file in folder.iterdir())


def test_an_archive_comes_whole_and_its_digest_beside_it(server, tmp_path):
    archive = download.fetch(part(server), tmp_path / "new")
    assert archive.read_bytes() == CONTENT
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert (tmp_path / "new" / "set.zip.sha256").read_text() == f"{digest}  set.zip\n"
    assert left_over(tmp_path / "new") == ["set.zip", "set.zip.sha256"]
    assert download.fetch(part(server), tmp_path / "new") == archive
    assert len(server.asked) == 1  # what is there and whole is not fetched again


def test_a_broken_connection_is_gone_on_with_at_once(server, tmp_path):
    server.breaks = 2
    assert download.fetch(part(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"]


def test_a_later_run_goes_on_where_the_last_one_gave_up(server, tmp_path, monkeypatch):
    server.breaks, server.limit = 2, 100_000
    monkeypatch.setattr(download, "TRIES", 1)

    class Dead(Exception):
        pass

    original, calls = download.Resuming._go_on, []

    def dies(self, url, bar):
        if calls:
            raise Dead  # the machine is switched off
        calls.append(1)
        original(self, url, bar)

    monkeypatch.setattr(download.Resuming, "_go_on", dies)
    with pytest.raises(Dead):
        download.fetch(part(server), tmp_path)
    assert (tmp_path / "set.zip.part").stat().st_size == 100_000 and not (tmp_path / "set.zip").exists()
    monkeypatch.setattr(download.Resuming, "_go_on", original)
    assert download.fetch(part(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"]


def test_a_server_that_always_breaks_off_is_given_up_and_the_rest_kept(server, tmp_path):
    server.breaks, server.limit = 100, 0
    with pytest.raises(CourseError, match=r"broke off 5 times after 0\.0 MB; the same command goes on from there"):
        download.fetch(part(server), tmp_path)


def test_what_changed_meanwhile_is_fetched_from_the_beginning(server, tmp_path, monkeypatch):
    server.breaks = 1
    original = download.Resuming._go_on

    def and_then_it_changes(self, url, bar):
        original(self, url, bar)
        server.content, server.version = CONTENT[::-1], '"two"'

    monkeypatch.setattr(download.Resuming, "_go_on", and_then_it_changes)
    assert download.fetch(part(server), tmp_path).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("lacks", [{"ranges": False}, {"version": ""}, {"announce": False}])
def test_servers_that_know_less_are_served_too(server, tmp_path, lacks):
    for name, value in lacks.items():
        setattr(server, name, value)
    server.breaks = 0 if "announce" in lacks else 1  # without a length nobody can tell that it broke off
    assert download.fetch(part(server), tmp_path).read_bytes() == CONTENT


def test_an_address_that_is_gone_says_whether_it_was_ever_opened(server, tmp_path):
    with pytest.raises(CourseError, match=r"/missing.zip answered 404 Not Found$"):
        download.fetch(part(server, "missing.zip"), tmp_path)
    with pytest.raises(CourseError, match="404 Not Found; this address was never opened for the course"):
        download.fetch(part(server, "missing.zip", opened=False), tmp_path)
    assert left_over(tmp_path) == []


def test_no_network_is_one_sentence(tmp_path):
    with pytest.raises(CourseError, match="cannot be reached"):
        download.fetch(Part("all", "http://127.0.0.1:9/set.zip", True), tmp_path)


def test_another_digest_than_at_first_is_refused_and_not_kept(server, tmp_path):
    (tmp_path / "set.zip.sha256").write_text("0" * 64 + "  set.zip\n")
    with pytest.raises(CourseError, match=r"is not what it was when .*set\.zip.sha256 was written"):
        download.fetch(part(server), tmp_path)
    assert left_over(tmp_path) == ["set.zip.sha256"]


def test_an_archive_damaged_on_disk_is_fetched_again(server, tmp_path):
    archive = download.fetch(part(server), tmp_path)
    archive.write_bytes(CONTENT[:-1])
    assert download.fetch(part(server), tmp_path).read_bytes() == CONTENT


def test_an_archive_put_there_by_hand_gets_its_digest(server, tmp_path):
    (tmp_path / "set.zip").write_bytes(b"by hand")
    assert download.fetch(part(server), tmp_path).read_bytes() == b"by hand"
    assert not server.asked and (tmp_path / "set.zip.sha256").exists()


def test_a_digest_file_of_something_else_is_refused(server, tmp_path):
    (tmp_path / "set.zip.sha256").write_text("hello\n")
    with pytest.raises(CourseError, match="should begin with a SHA-256 digest"):
        download.fetch(part(server), tmp_path)


class Full(io.BytesIO):
    """A file on a disk that is full."""

    def write(self, block):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_sentence_and_the_rest_is_kept(server, tmp_path, monkeypatch):
    server.breaks = 1
    copy, calls = download.Resuming._copy, []

    def fills_up(self, answer, file, bar):
        calls.append(1)
        copy(self, answer, file if len(calls) == 1 else Full(), bar)

    monkeypatch.setattr(download.Resuming, "_copy", fills_up)
    with pytest.raises(CourseError, match=r"set.zip cannot be written: No space left on device"):
        download.fetch(part(server), tmp_path)
    monkeypatch.setattr(download.Resuming, "_copy", copy)
    assert download.fetch(part(server), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=100000-"


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CourseError, match=r"the folder .*file/set cannot be made"):
        download.fetch(part(server), tmp_path / "file" / "set")


# --- unpacking --------------------------------------------------------------------------------------------------------


def zipped(file, names):
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, f"content of {name}")
    return file


def tarred(file, names, kind=tarfile.REGTYPE):
    with tarfile.open(file, "w:gz" if file.suffix == ".gz" else "w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            member.size = 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"fine"))
    return file


@pytest.mark.parametrize(
    "archive", [lambda f: zipped(f / "a.zip", ["images/a.jpg", "joints.mat"]), lambda f: tarred(f / "a.tar", ["b"])]
)
def test_archives_are_unpacked(archive, tmp_path):
    file = archive(tmp_path)
    count = download.unpack(file, tmp_path / "out")
    assert count == len([one for one in (tmp_path / "out").rglob("*") if one.is_file()]) > 0


@pytest.mark.parametrize("name", ["../evil", "/evil", "images/../../evil", "..\\evil", "C:\\evil"])
@pytest.mark.parametrize("write", [zipped, tarred])
def test_names_that_lead_out_are_refused_before_anything_is_written(write, name, tmp_path):
    file = write(tmp_path / ("a.zip" if write is zipped else "a.tar.gz"), ["good", name])
    with pytest.raises(CourseError, match="leads out of the folder"):
        download.unpack(file, tmp_path / "out" / "here")
    assert not (tmp_path / "out").exists() and not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind, tmp_path):
    with pytest.raises(CourseError, match="holds 'link', which is neither a file nor a folder"):
        download.unpack(tarred(tmp_path / "a.tar", ["link"], kind), tmp_path / "out")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("write", [zipped, tarred])
def test_damaged_archives_are_refused_in_one_sentence(write, share, tmp_path):
    names = [f"images/{number}.jpg" for number in range(40)]
    file = write(tmp_path / ("a.zip" if write is zipped else "a.tar.gz"), names)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(CourseError, match="is damaged or no archive"):
        download.unpack(file, tmp_path / "out")
    with pytest.raises(CourseError, match="there is no archive"):
        download.unpack(tmp_path / "nothing.tar", tmp_path / "out")


# --- python -m course_lib data get ------------------------------------------------------------------------------------


def test_getting_a_set_fetches_checks_and_unpacks_it(server, tmp_path, capsys, monkeypatch):
    files.lspet(tmp_path)
    with tarfile.open(tmp_path / "packed.tar.gz", "w:gz") as packed:
        packed.add(tmp_path / "joints.mat", "joints.mat")
        packed.add(tmp_path / "images", "images")
    server.content, server.breaks, server.limit = (tmp_path / "packed.tar.gz").read_bytes(), 1, 500
    whole = next(card for card in cards.ALL if card.key == "lspet")
    parts = (part(server, "lspet_dataset.tar.gz", opened=False),)
    monkeypatch.setattr(cards, "ALL", (replace(whole, parts=parts),))
    there = tmp_path / "there"
    assert cli.main(["data", "get", "lspet", "--to", str(there)]) == 0
    said = capsys.readouterr().out
    assert "was never opened for the course; it may not work" in said and "4 files unpacked" in said
    assert whole.terms in said and f"data check lspet {there}" in said
    assert len(datasets.read("lspet", there, "all")) == 3 and server.asked == [None, "bytes=500-"]
    server.breaks = 0
    parts = (part(server, "missing.zip", opened=False),)
    monkeypatch.setattr(cards, "ALL", (replace(whole, parts=parts),))
    assert cli.main(["data", "get", "lspet", "--to", str(there)]) == 2
    assert "404 Not Found; this address was never opened" in capsys.readouterr().err


# --- pictures that stay packed ----------------------------------------------------------------------------------------


def test_pictures_in_tars_beside_the_joints_are_unpacked_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "lspet"
    folder.mkdir()
    files.lspet(folder)
    with tarfile.open(folder / "crops.tar", "w") as archive:
        archive.add(folder / "images", "images")
    for picture in (folder / "images").iterdir():
        picture.unlink()
    (folder / "images").rmdir()
    before = left_over(folder)
    first = datasets.read("lspet", folder, "all")
    assert first[2].image.shape == (3, files.HEIGHT, files.WIDTH)
    assert left_over(folder) == before  # the folder may be one that nobody can write to
    again = datasets.read("lspet", folder, "all")
    assert again.entries[0].file == first.entries[0].file
    assert len(list((tmp_path / "build" / "public").iterdir())) == 1
    with tarfile.open(folder / "more.tar", "w"):
        pass
    assert datasets.read("lspet", folder, "all").entries[0].file != first.entries[0].file
