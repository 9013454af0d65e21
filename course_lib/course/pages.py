"""Lessons as web pages that open from disk: one file each, no request to anywhere, and no link that leads nowhere.

Formulas become MathML, which browsers draw themselves. Pictures are embedded. A widget cannot live without a kernel,
so its place says what to do; the plain figure above it shows its first state.
"""

from __future__ import annotations

import copy
import html
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

import latex2mathml.converter
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

from course_lib.course.canonical import WIDGET_VIEW
from course_lib.course.notebooks import title
from course_lib.errors import CourseError

SOURCES = "source"  # the folder of pages that show files of the course, see `sources`
_STYLE = Path(__file__).with_name("style.css")


def page(heading: str, body: str, script: str = "", extra_style: str = "") -> str:
    """A whole page around a body."""
    style = _STYLE.read_text(encoding="utf-8") + extra_style
    scripts = f"<script>{script}</script>" if script else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(heading)}</title><style>{style}</style></head>\n"
        f"<body>\n{body}\n{scripts}</body></html>\n"
    )


def write(file: Path, text: str) -> Path:
    """Writes a page, with the folder it lies in; returns the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def links(targets: Mapping[str, str]) -> str:
    """The line of links at a page's head: where they lead by what they say."""
    items = (f'<a href="{html.escape(target)}">{html.escape(text)}</a>' for text, target in targets.items())
    return f"<nav>{' · '.join(items)}</nav>"


def lesson_page(notebook: NotebookNode, name: str, home: str = "index.html") -> str:
    """An executed notebook as a page. `name` is its file's stem, `home` the page to go back to."""
    body, _ = _Exporter().from_notebook_node(_to_read(notebook))
    up = home.removesuffix("index.html")
    head = links({"Start": home, "Leaderboard": f"{up}leaderboard.html", "this notebook": f"{name}.ipynb"})
    return page(title(notebook, name), f"{head}\n{_linked(body, up)}", extra_style=colours())


def text_page(text: str, home: str = "index.html") -> str:
    """A page of the course that is no notebook, such as the glossary, from its Markdown."""
    heading = re.search(r"^#\s+(.+)$", text, re.MULTILINE)
    up = home.removesuffix("index.html")
    head = links({"Start": home, "Leaderboard": f"{up}leaderboard.html"})
    return page(heading[1] if heading else "", f"{head}\n{_linked(markdown(text), up)}")


def markdown(text: str) -> str:
    """Markdown as HTML. Its headings can be linked to by the names that GitHub gives them."""

    def named(found: re.Match) -> str:
        words = html.unescape(re.sub("<[^>]+>", "", found[2])).lower()
        place = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        return f'<h{found[1]} id="{html.escape(place)}">{found[2]}</h{found[1]}>'

    return re.sub(
        r'<h(\d) id="[^"]*">(.*?)<a class="anchor-link".*?</a></h\1>', named, _markdown(text), flags=re.DOTALL
    )


def without_dead_links(text: str, folder: Path) -> str:
    """A page that lies in a folder, with links to what is not there turned into their words."""

    def kept(found: re.Match) -> str:
        target = found[1].partition("#")[0]
        there = not target or re.match("[a-z]+:", target) or (folder / target).exists()
        return found[0] if there else found[2]

    return re.sub(r'<a href="([^"]*)"[^>]*>(.*?)</a>', kept, text, flags=re.DOTALL)


def _linked(body: str, up: str) -> str:
    """Lessons link to each other, to the pages beside them and to the library; here all of these are pages.

    up: the way from the page to the folder of the lessons, "" or "../".
    """
    body = re.sub(r'(href="(?![a-z]+:)[^"#]+)\.ipynb(["#])', r"\1.html\2", body)
    body = re.sub(r'(href="(?:\.\./)?(?:glossary|instructors))\.md(["#])', r"\1.html\2", body)
    out_of_notebooks = re.escape(f"{up}../")
    return re.sub(
        rf'href="{out_of_notebooks}((?:course_lib|tests|data)/[^"#]+|[A-Z]+\.md|Makefile)(["#])',
        rf'href="{up}{SOURCES}/\1.html\2',
        body,
    )


def colours() -> str:
    """How code is coloured, by day and by night."""
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return f"{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}\n.highlight {{ background: none }}"


def mathml(formula: str, display: str) -> str:
    """LaTeX as MathML; display is "inline" or "block". A formula that the converter does not know is refused."""
    text = re.sub(r"\\operatorname\*?\{", r"\\mathrm{", formula.strip())
    text = re.sub(r"\\(begin|end)\{(?:aligned|align|split)\*?\}", r"\\\1{align*}", text)
    try:
        result = latex2mathml.converter.convert(text, display=display)
        ElementTree.fromstring(result)
    except Exception as error:
        raise CourseError(f"cannot draw the formula {formula.strip()!r}: {error or type(error).__name__}") from None
    if unknown := re.findall(r">(\\[A-Za-z]+)<", result):
        raise CourseError(f"cannot draw {unknown[0]} in the formula {formula.strip()!r}")
    # only \left and \right make bars grow in LaTeX; MathML would stretch every one
    return re.sub(r"<mo>(&#x(?:02016|0007C);)</mo>", r'<mo stretchy="false">\1</mo>', result)


class _Renderer(IPythonRenderer):
    """Markdown whose formulas come out as MathML, or as their source where that fails."""

    def block_math(self, body: str) -> str:
        return _math(body, "block")

    def inline_math(self, body: str) -> str:
        return _math(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return _math(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")


def _math(body: str, display: str) -> str:
    try:
        formula = mathml(body, display)
    except CourseError:
        formula = f"<code>{html.escape(body)}</code>"
    return f'<div class="formula">{formula}</div>' if display == "block" else formula


class _Exporter(HTMLExporter):
    def __init__(self) -> None:
        super().__init__(template_name="basic")

    def default_filters(self):
        yield from super().default_filters()
        yield "markdown2html", _markdown


def _markdown(source: str) -> str:
    return MarkdownWithMath(renderer=_Renderer(escape=False)).render(source)


def _to_read(notebook: NotebookNode) -> NotebookNode:
    """The notebook without what only a kernel can use: its set-up cell and its widgets."""
    notebook = copy.deepcopy(notebook)
    notebook.cells = [cell for cell in notebook.cells if "setup" not in cell.metadata.get("tags", [])]
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if WIDGET_VIEW in output.get("data", {}):
                del output.data[WIDGET_VIEW]
                if re.match(r"[A-Z]\w+\(", output.data.get("text/plain", "")):  # a widget's Python name says nothing
                    output.data["text/plain"] = "Run this notebook in Jupyter to see the controls."
    return notebook
