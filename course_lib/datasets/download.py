"""Archives in: fetched through pooch, gone on with where a download broke off, checked by digest, unpacked with care.

An archive grows in `NAME.part` until it is whole. None of the data sets' authors publishes digests. So the digest of
the first download is written beside the archive, in `NAME.sha256`, and every later use of the archive is held against
it: that shows an archive that was damaged or changed since, but not one that was wrong from the beginning.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tqdm.auto import tqdm

from course_lib.datasets.cards import Part
from course_lib.errors import CourseError
from course_lib.progress import progress_bar

TRIES = 5  # connections that may break off one after the other without a byte gained
BLOCK = 1 << 20
PATIENCE = 60  # seconds a server may be silent


Check = Callable[[Path], None]  # raises CourseError where a file is not what it should be


def fetch(part: Part, folder: Path, progress: bool = False, check: Check | None = None) -> Path:
    """The archive of a part, downloaded into `folder` unless it is there already, with the digest it had at first.

    What has no digest yet must pass the `check` before it gets one; what does not pass is not kept.
    """
    import pooch

    name = part.url.rsplit("/", 1)[1]
    archive = folder / name
    digest = _recorded(archive)
    _make(folder)
    if archive.is_file() and digest is None:
        if check:
            check(archive)
        _record(archive)  # put there by hand
        return archive
    pooch.get_logger().setLevel("ERROR")
    try:
        resuming = Resuming(archive, part, progress, check)
        got = pooch.retrieve(part.url, digest, fname=name, path=folder, downloader=resuming)
    except CourseError:
        raise
    except ValueError as error:  # pooch's word for another digest
        raise CourseError(
            f"{part.url} is not what it was when {_digest_file(archive)} was written: the download is damaged or the "
            f"authors changed the file; delete the digest to take it as it is now"
        ) from error
    except OSError as error:
        raise CourseError(f"{archive} cannot be written: {error.strerror or error}") from error
    if digest is None:
        _record(archive)
    return Path(got)


class Resuming:
    """A downloader for pooch that goes on where the last one broke off."""

    def __init__(self, archive: Path, part: Part, progress: bool = False, check: Check | None = None) -> None:
        self.rest = archive.with_name(f"{archive.name}.part")
        self.version = archive.with_name(f"{archive.name}.part.version")  # which state of the file the rest is of
        self.part, self.progress, self.check = part, progress, check

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        misses = 0
        while not self._whole(url):
            before = self._size()
            options = {"unit": "B", "unit_scale": True, "desc": self.rest.stem, "leave": False}
            with progress_bar(wanted=self.progress, **options) as bar:
                self._go_on(url, bar)
            misses = 0 if self._size() > before else misses + 1
            if misses == TRIES:
                megabytes = f"{self._size() / 1e6:.1f} MB"
                raise CourseError(
                    f"{url} broke off {TRIES} times after {megabytes}; the same command goes on from there"
                )
        try:
            if self.check:
                self.check(self.rest)
        except CourseError:
            self._forget()
            raise
        shutil.move(self.rest, output_file)
        self._forget()

    def _size(self) -> int:
        return self.rest.stat().st_size if self.rest.exists() else 0

    def _whole(self, url: str) -> bool:
        """Whether everything the server announced is there."""
        if not self.version.exists():
            return False
        size = self.version.read_text(encoding="utf-8").splitlines()[0]
        return size.isdigit() and self._size() == int(size)

    def _forget(self) -> None:
        self.rest.unlink(missing_ok=True)
        self.version.unlink(missing_ok=True)

    def _go_on(self, url: str, bar: tqdm) -> None:
        """One connection; returns when it ends, however far it came."""
        start = self._size()
        known = self.version.read_text(encoding="utf-8").splitlines() if self.version.exists() else []
        request = urllib.request.Request(url)
        if start and len(known) == 2 and known[1]:
            request.add_header("Range", f"bytes={start}-")
            request.add_header("If-Range", known[1])  # another version of the file is sent from its beginning
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                going_on = answer.status == http.client.PARTIAL_CONTENT
                self._note(answer, start if going_on else 0)
                bar.total = None if answer.length is None else answer.length + (start if going_on else 0)
                bar.update(start if going_on else 0)
                with open(self.rest, "ab" if going_on else "wb") as file:
                    self._copy(answer, file, bar)
        except urllib.error.HTTPError as error:
            self._forget()  # also where the server no longer has so many bytes as were fetched
            raise CourseError(f"{url} answered {error.code} {error.reason}{self._doubt()}") from error
        except urllib.error.URLError as error:
            raise CourseError(f"{url} cannot be reached ({error.reason}){self._doubt()}") from error
        except (http.client.HTTPException, ConnectionError, TimeoutError):
            return  # the server hung up before it answered

    def _note(self, answer: http.client.HTTPResponse, start: int) -> None:
        """Writes down how long the whole file is and which version of it this is."""
        size = "" if answer.length is None else str(start + answer.length)
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        weak = version.startswith("W/")  # may not be asked for by range
        self.version.write_text(f"{size}\n{'' if weak else version}\n", encoding="utf-8")

    def _copy(self, answer: http.client.HTTPResponse, file: IO[bytes], bar: tqdm) -> None:
        announced = answer.length is not None
        while True:
            try:
                block = answer.read(BLOCK)
            except (http.client.IncompleteRead, TimeoutError, ConnectionError):
                return
            if not block:
                break
            file.write(block)
            bar.update(len(block))
        if not announced:  # the end of the connection is the end of the file
            file.flush()
            self.version.write_text(f"{self._size()}\n\n", encoding="utf-8")

    def _doubt(self) -> str:
        """What to think of an address that does not work."""
        return (
            "" if self.part.opened else "; this address was never opened for the course, so look at its authors' page"
        )


# --- digests ----------------------------------------------------------------------------------------------------------


def _digest_file(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.sha256")


def _recorded(archive: Path) -> str | None:
    """The digest that was written at the first download, for pooch."""
    file = _digest_file(archive)
    if not file.is_file():
        return None
    words = file.read_text(encoding="utf-8").split()
    if not words or len(words[0]) != 64:
        raise CourseError(f"{file} should begin with a SHA-256 digest of 64 digits; delete it to have it written again")
    return f"sha256:{words[0].lower()}"


def _record(archive: Path) -> None:
    with open(archive, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _digest_file(archive).write_text(f"{digest}  {archive.name}\n", encoding="utf-8")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CourseError(f"the folder {folder} cannot be made: {error.strerror or error}") from error


# --- unpacking --------------------------------------------------------------------------------------------------------


def unpack(archive: Path, folder: Path) -> int:
    """Unpacks a .zip or .tar file, compressed or not, into a folder; how many files that were.

    A name that leads out of the folder is refused, and so is everything but plain files and folders, before anything
    is written.
    """
    try:
        with zipfile.ZipFile(archive) if zipfile.is_zipfile(archive) else tarfile.open(archive) as opened:
            members = list(_members(archive, opened))
            for place, name in members:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                source = opened.open(place) if isinstance(opened, zipfile.ZipFile) else opened.extractfile(place)
                with source, open(target, "wb") as file:
                    shutil.copyfileobj(source, file, BLOCK)
    except FileNotFoundError as error:
        raise CourseError(f"there is no archive {archive}") from error
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise CourseError(f"{archive} is damaged or no archive ({error}); delete it and get it again") from error
    except OSError as error:
        raise CourseError(f"{archive} cannot be unpacked into {folder}: {error.strerror or error}") from error
    return len(members)


def _members(archive: Path, opened: zipfile.ZipFile | tarfile.TarFile) -> Iterator[tuple[Any, PurePosixPath]]:
    """The plain files of an archive, with their names."""
    zipped = isinstance(opened, zipfile.ZipFile)
    for member in opened.infolist() if zipped else opened:
        name = member.filename if zipped else member.name
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in name:
            raise CourseError(f"{archive} holds '{name}', which leads out of the folder it is unpacked into")
        if member.is_dir() if zipped else member.isdir():
            continue
        if not zipped and not member.isfile():
            raise CourseError(f"{archive} holds '{name}', which is neither a file nor a folder")
        yield member, path


def unpacked_copy(folder: Path, archives: Sequence[Path], cache: Path) -> Path:
    """A folder below `cache` with what lies in `folder` beside these archives, and what is in them.

    It is made once, and made again when one of the files changes, so that a data set may lie packed in a folder that
    nobody can write to.
    """
    files = [*archives, *sorted(folder.glob("*.mat"))]
    state = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    mark = hashlib.sha256(repr((str(folder.resolve()), state)).encode()).hexdigest()[:12]
    copy = cache / f"{folder.name}-{mark}"
    if not copy.is_dir():
        _make(cache)
        growing = Path(tempfile.mkdtemp(prefix=f"{copy.name}-", dir=cache))
        for archive in archives:
            unpack(archive, growing)
        for file in folder.glob("*.mat"):
            shutil.copyfile(file, growing / file.name)
        try:
            growing.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(growing)
    return copy
