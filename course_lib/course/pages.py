"""Lessons as web pages that open from disk: one file each, no script and no request to anywhere.

Formulas become MathML, which browsers draw themselves. Pictures are embedded. A widget cannot live without a kernel,
so its place says what to do; the plain figure above it shows its first state.
"""

from __future__ import annotations

import copy
import html
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import latex2mathml.converter
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

from course_lib.course.canonical import WIDGET_VIEW
from course_lib.course.notebooks import title
from course_lib.errors import CourseError

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


def lesson_page(notebook: NotebookNode, name: str, home: str = "index.html") -> str:
    """An executed notebook as a page. `name` is its file's stem, `home` the page to go back to."""
    body, _ = _Exporter().from_notebook_node(_without_widgets(notebook))
    body = re.sub(r'(href="(?![a-z]+:)[^"#]+)\.ipynb(["#])', r"\1.html\2", body)  # lessons link to each other
    links = f'<nav><a href="{home}">All lessons</a> · <a href="{html.escape(name)}.ipynb">this notebook</a></nav>'
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    colours = f"{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}\n.highlight {{ background: none }}"
    return page(title(notebook, name), f"{links}\n{body}", extra_style=colours)


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
        yield "markdown2html", lambda source: MarkdownWithMath(renderer=_Renderer(escape=False)).render(source)


def _without_widgets(notebook: NotebookNode) -> NotebookNode:
    notebook = copy.deepcopy(notebook)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if WIDGET_VIEW in output.get("data", {}):
                del output.data[WIDGET_VIEW]
                if re.match(r"[A-Z]\w+\(", output.data.get("text/plain", "")):  # a widget's Python name says nothing
                    output.data["text/plain"] = "Run this notebook in Jupyter to see the controls."
    return notebook
