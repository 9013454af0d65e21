"""The site: every page is there, every link leads somewhere inside it, and nothing is fetched from a network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest

from course_lib import cli, paths
from course_lib.course import notebooks, pages, report, site, sources
from course_lib.course.runner import Outcome
from course_lib.errors import CourseError

pytestmark = pytest.mark.xdist_group("site")  # one process, so that the site is made once
ELSEWHERE = re.compile(r"(https?|mailto):")
FETCHING = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src", "video": "src"}


class Links(HTMLParser):
    """What a page links to, what it needs, and where in it one can go."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.needs: list[str] = []
        self.places: set[str] = set()
        self.styles = ""
        self._in_style = False
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.places |= {found[name] for name in ("id", "name") if found.get(name)}
        self._in_style = tag == "style"
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag in FETCHING and found.get(FETCHING[tag]):
            self.needs.append(found[FETCHING[tag]])

    def handle_data(self, data):
        if self._in_style:
            self.styles += data


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The whole site of the committed lessons, with the report of a run."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "BUILD", folder / "build")
        where = {"date": "2026-01-31T10:00:00", "machine": "Linux", "python": "3", "torch": "2", "profile": "laptop"}
        about = {**where, "seconds": 500.0, "outputs_compared": 7, "outputs_ignored": 0}
        name = "06_stacked_hourglass"
        outcome = {"name": name, "title": "06", "status": "passed", "seconds": 9.0, "peak_memory": 10**9}
        (folder / "build" / "course").mkdir(parents=True)
        results = json.dumps({**about, "lessons": [outcome]})
        (folder / "build" / "course" / report.RESULTS).write_text(results, encoding="utf-8")
        site.write_site(folder / "site")
    return folder / "site"


def every_page(folder: Path) -> Iterator[tuple[Path, Links]]:
    for file in sorted(folder.rglob("*.html")):
        yield file, Links(file)


def test_every_link_leads_somewhere_inside_the_site(made):
    read = {file: page for file, page in every_page(made)}
    assert len(read) > 2 * len(notebooks.find())
    dead = []
    for file, page in read.items():
        for link in page.links:
            if ELSEWHERE.match(link):
                continue
            target, _, place = link.partition("#")
            there = (file.parent / unquote(target)).resolve() if target else file
            if not there.is_file() or not there.is_relative_to(made.resolve()):
                dead.append(f"{file.relative_to(made)}: {link}")
            elif place and there.suffix == ".html" and not {place, unquote(place)} & read[there].places:
                dead.append(f"{file.relative_to(made)}: {link} has no such place")
    assert not dead, "\n".join(dead[:20])


def test_nothing_is_fetched_from_a_network(made):
    for file, page in every_page(made):
        for need in page.needs:
            assert need.startswith("data:") or (file.parent / need).is_file(), f"{file.name}: {need[:80]}"
        assert not re.search(r"@import|url\((?!#|['\"]?data:)", page.styles), file.name
    assert "http" not in re.sub(r'xmlns="[^"]*"', "", (made / "leaderboard.svg").read_text(encoding="utf-8"))


def test_every_page_leads_back_to_the_start_and_the_start_to_every_page(made):
    start = Links(made / "index.html").links
    for path in notebooks.find():
        assert f"{path.stem}.html" in start and "index.html" in Links(made / f"{path.stem}.html").links
    for path in paths.SOLUTIONS.glob("*.ipynb"):
        assert f"solutions/{path.stem}.html" in start
        assert "../index.html" in Links(made / "solutions" / f"{path.stem}.html").links
    for text in paths.NOTEBOOKS.glob("*.md"):
        assert "index.html" in Links(made / f"{text.stem}.html").links
    assert {"leaderboard.html", site.RUN} <= set(start)
    assert "index.html" in Links(made / "leaderboard.html").links


def test_lessons_lead_to_their_neighbours(made):
    stems = [path.stem for path in notebooks.find()]
    for one, after in pairwise(stems):
        assert f"{after}.html" in Links(made / f"{one}.html").links, f"{one} does not lead to {after}"
        assert f"{one}.html" in Links(made / f"{after}.html").links, f"{after} does not lead back to {one}"


def test_the_start_page_tells_each_lesson_in_a_line_and_how_long_it_takes(made):
    page = (made / "index.html").read_text(encoding="utf-8")
    assert page.count('<span class="line">') == len(notebooks.find()) == page.count("<li")
    assert page.count("to read") >= len(notebooks.find())
    assert 'src="leaderboard.svg"' in page and "1 of 1 lessons passed in 500 s. That was on 2026-01-31." in page


def test_the_leaderboard_links_the_lessons(made):
    links = Links(made / "leaderboard.html").links
    assert {f"{path.stem}.html" for path in notebooks.find() if path.stem[:2] not in ("00", "13", "14")} <= set(links)


def test_the_report_of_the_last_run_is_part_of_it_only_where_there_was_one(made, tmp_path, monkeypatch):
    assert "passed in 500 s" in (made / site.RUN).read_text(encoding="utf-8")
    monkeypatch.setattr(paths, "BUILD", tmp_path)
    assert site._write_run(tmp_path) == "" and not (tmp_path / site.RUN).exists()
    (tmp_path / "course").mkdir()
    for content in ("{", "{}", '{"lessons": [{"nobody": 1}]}'):
        (tmp_path / "course" / report.RESULTS).write_text(content, encoding="utf-8")
        assert report.read_results(tmp_path / "course") is None


def test_files_that_lessons_link_to_are_shown(made, tmp_path):
    page = (made / "source" / "course_lib" / "models" / "hourglass.py.html").read_text(encoding="utf-8")
    assert "class" in page and 'name="L-1"' in page and "../../../index.html" in page
    for name in ("README.md", "CONTRIBUTING.md"):
        text = sources.source_page(paths.ROOT / name)
        assert "<h1" in text and "../index.html" in text and not re.search(r"<img[^>]*https?:", text)
    assert 'href="../source/course_lib/geometry.py.html"' in text and 'id="add-a-paper"' in text
    pages.write(tmp_path / "00_a.html", '<a href="source/course_lib/nothing.py.html">code</a>')
    with pytest.raises(CourseError, match=r"course_lib/nothing\.py, which the course does not have"):
        sources.write_sources(tmp_path)


def test_a_report_has_no_links_to_lessons_that_were_not_run(tmp_path, write_notebook):
    source = "[here](00_a.ipynb#x), [there](01_b.ipynb), [code](../course_lib/pose.py), [away](https://arxiv.org/abs/1)"
    notebook = notebooks.read(write_notebook(tmp_path / "00_a.ipynb", [], title=f"A\n\n{source}"))
    pages.write(tmp_path / "00_a.html", pages.lesson_page(notebook, "00_a"))
    outcome = Outcome("00_a", "A", "passed", 1.0, 10**9)
    report.write_report(tmp_path, [outcome], "laptop", 1.0)
    links = Links(tmp_path / "00_a.html").links
    assert "00_a.html#x" in links and "source/course_lib/pose.py.html" in links and "https://arxiv.org/abs/1" in links
    assert "01_b.html" not in links and "there" in (tmp_path / "00_a.html").read_text(encoding="utf-8")


def test_the_command_says_where_the_site_is(tmp_path, write_notebook, monkeypatch, capsys):
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(paths, "SOLUTIONS", tmp_path / "notebooks" / "solutions")
    title = "00 · A: b\n\n| **Time** | an hour to read |"
    write_notebook(tmp_path / "notebooks" / "00_a.ipynb", ["print(1)"], title=title)
    (tmp_path / "notebooks" / "glossary.md").write_text("# Words\n\n[A](00_a.ipynb)\n", encoding="utf-8")
    assert cli.main(["site", "--out", str(tmp_path / "site")]) == 0
    assert str(tmp_path / "site" / "index.html") in capsys.readouterr().out
    start = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "<strong>A</strong>" in start and ">b<" in start and "an hour to read" in start
    assert 'href="glossary.html"' in start and "solutions" not in start and 'href="instructors.html"' not in start
    assert 'href="00_a.html"' in (tmp_path / "site" / "glossary.html").read_text(encoding="utf-8")
