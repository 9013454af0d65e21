"""The front end of `drag_lab`: a picture with joints to drag, a few lines of JavaScript in drag.js."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


@cache
def drag_figure() -> type[Any]:
    """The class of the widget, made when it is first asked for: the library imports without Jupyter's packages."""
    import anywidget
    import traitlets

    def shared(kind: type[traitlets.TraitType]) -> Any:
        return kind().tag(sync=True)

    class DragFigure(anywidget.AnyWidget):
        """What Python and the page share. The page moves `joints` and counts `asked`; Python answers with a report."""

        _esm = _HERE / "drag.js"
        _css = _HERE / "drag.css"
        picture = shared(traitlets.Unicode)  # a data URL
        size = shared(traitlets.List)  # width, height in pixels
        names = shared(traitlets.List)
        colours = shared(traitlets.List)  # of the joints
        limbs = shared(traitlets.List)  # [first joint, second joint, colour]
        truth = shared(traitlets.List)  # [x, y] of every joint
        start = shared(traitlets.List)
        joints = shared(traitlets.List)  # where they have been dragged
        active = shared(traitlets.Int)  # the joint that was touched last
        circles = shared(traitlets.List)  # [words, colour, radius] about the true place of that joint
        report = shared(traitlets.Unicode)  # HTML
        asked = shared(traitlets.Int)
        answered = shared(traitlets.Int)

    return DragFigure
