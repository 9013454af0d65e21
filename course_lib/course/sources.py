"""Pages that show the files of the course to which its lessons link: code with numbered lines, and written pages."""

from __future__ import annotations

import html
import re
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound

from course_lib import paths
from course_lib.course import pages
from course_lib.errors import CourseError

_LINK = re.compile(rf'href="(?:\.\./)*{pages.SOURCES}/([^"#]+)\.html')


def write_sources(folder: Path) -> list[Path]:
    """Writes a page for every file of the course that pages in a folder link to, and so on; returns them."""
    waiting = [*folder.glob("*.html"), *folder.glob(f"{paths.SOLUTIONS.name}/*.html")]
    written: dict[str, Path] = {}
    while waiting:
        text = waiting.pop().read_text(encoding="utf-8")
        for name in sorted({*_LINK.findall(text)} - written.keys()):
            file = paths.ROOT / name
            if not file.is_file():
                raise CourseError(f"a page links to {name}, which the course does not have")
            written[name] = pages.write(folder / pages.SOURCES / f"{name}.html", source_page(file))
            waiting.append(written[name])
    return list(written.values())


def source_page(file: Path) -> str:
    """A file of the course to read."""
    name = file.relative_to(paths.ROOT).as_posix()
    up = "../" * (name.count("/") + 1)
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        body = _linked(pages.markdown(text), up)
    else:
        lines = HtmlFormatter(linenos="inline", lineanchors="L")  # a line's anchor is L-12
        body = f"<h1><code>{html.escape(name)}</code></h1>{highlight(text, _lexer(file), lines)}"
    return pages.page(name, f"{pages.links({'Start': f'{up}index.html'})}\n{body}", extra_style=pages.colours())


def _lexer(file: Path):
    try:
        return get_lexer_for_filename(file.name)
    except ClassNotFound:
        return TextLexer()


def _linked(body: str, up: str) -> str:
    """A written page of the course's top folder: its links lead to pages, its pictures are those of the site."""

    def there(found: re.Match) -> str:
        target, place, words = found[1], found[2] or "", found[3]
        if re.match("[a-z]+:|#", target) or not target:
            return found[0]
        if target.startswith(f"{paths.NOTEBOOKS.name}/") and target.endswith((".ipynb", ".md")):
            page = f"{up}{target.partition('/')[2].rpartition('.')[0]}.html"
        elif (paths.ROOT / target).is_file():
            page = f"{up}{pages.SOURCES}/{target}.html"
        else:
            return words  # a folder has no page
        return f'<a href="{page}{place}">{words}</a>'

    body = re.sub(r'<a href="([^"#]*)(#[^"]*)?"[^>]*>(.*?)</a>', there, body, flags=re.DOTALL)
    body = re.sub(r'(<img[^>]*src=")data/([^"/]+")', rf"\1{up}\2", body)
    return re.sub(r'<img[^>]*src="https?:[^>]*alt="([^"]*)"[^>]*>', r"\1", body)
