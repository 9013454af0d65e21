"""Pictures that follow sliders, on pages that stay whole without a kernel.

`explore` displays two things. First the figure at the controls' first state, as a plain picture: every viewer shows
it. Then the controls. When a control is first moved, the plain picture makes room for one inside the widget, in the
same place, and that one follows from then on.

Why not a single output that holds the widget and, as a fallback, the picture? JupyterLab always prefers the widget of
such a bundle, and where no kernel knows it any more shows "Error displaying widget: model not found" and no picture.
A page exported with widget state but read offline would lose the picture as well. This way the worst that can happen
is a picture without sliders, and the file holds each picture once.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from course_lib.errors import CourseError
from course_lib.show import style


@dataclass(frozen=True)
class Control:
    """What a control offers; the widget is made from it later, so that this needs no Jupyter."""

    kind: str  # "slider", "choice" or "toggle"
    value: Any
    options: tuple = ()  # of a slider: minimum, maximum, step
    label: str | None = None


def slider(
    minimum: float,
    maximum: float,
    step: float | None = None,
    value: float | None = None,
    label: str | None = None,
) -> Control:
    """A number between two others. All whole: a whole-number slider, by ones unless `step` says otherwise."""
    whole = all(isinstance(v, int) for v in (minimum, maximum, step, value) if v is not None)
    value = minimum if value is None else value
    step = (1 if whole else (maximum - minimum) / 50) if step is None else step
    if not (minimum < maximum and minimum <= value <= maximum and step > 0):
        raise CourseError(
            f"a slider needs minimum < maximum, a step above 0 and its value between; got {minimum} to {maximum} by "
            f"{step} at {value}"
        )
    return Control("slider", value, (minimum, maximum, step), label)


def choice(options: Sequence[Any], value: Any = None, label: str | None = None) -> Control:
    """One of several values."""
    options = tuple(options)
    value = options[0] if value is None and options else value
    if value not in options:
        raise CourseError(f"a choice starts at one of its options {list(options)}; got {value!r}")
    return Control("choice", value, options, label)


def toggle(value: bool = False, label: str | None = None) -> Control:
    """Yes or no."""
    return Control("toggle", bool(value), (), label)


class Still:
    """The plain picture of a widget's first state, which every viewer shows, and the widget below it."""

    def __init__(self) -> None:
        self._plain: Any = None

    def display(self, picture: bytes, state: str, widget: Any) -> None:
        """Shows a PNG, then the widget if there is one. Outside Jupyter it shows nothing. `state`: of the picture."""
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython() is None:  # a script: there is no page to show it on
            return
        plain = {"image/png": picture, "text/plain": f"<figure at {state}>"}
        spoken = {"image/png": {"alt": f"Figure drawn at {state}"}}
        self._plain = display(plain, raw=True, metadata=spoken, display_id=True)
        if widget is None:
            return
        bundle = widget._repr_mimebundle_()
        words = f"The figure above is drawn at {state}. Run this notebook in Jupyter to change that."
        display({**bundle, "text/plain": words}, raw=True)

    def hand_over(self, image: Any, picture: bytes) -> None:
        """Shows a PNG in the widget's image; the first time the plain picture makes room for it."""
        image.value = picture
        if image.layout.display == "none":
            image.layout.display = None
            if self._plain is not None:
                self._plain.update({"text/html": "<span></span>", "text/plain": ""}, raw=True)


class Explorer:
    """The widget behind `explore`: its `controls` by name, the `picture` that follows them, the `message` below."""

    def __init__(self, draw: Callable[..., Figure], specs: dict[str, Control]) -> None:
        try:
            import ipywidgets
        except ImportError as error:
            raise CourseError("explore needs ipywidgets; without it, call draw(...) yourself for a figure") from error
        if not specs:
            raise CourseError("explore needs at least one control, made by slider, choice or toggle")
        wrong = [name for name, spec in specs.items() if not isinstance(spec, Control)]
        if wrong:
            raise CourseError(f"explore takes controls made by slider, choice or toggle; '{', '.join(wrong)}' is none")
        self.draw = draw
        self.specs = specs
        self.controls = {name: _widget(ipywidgets, name, spec) for name, spec in specs.items()}
        self.first = self._render()  # an error here is the author's, so it is raised
        hidden = ipywidgets.Layout(width="max-content", max_width="100%", display="none")
        self.picture = ipywidgets.Image(format="png", layout=hidden)
        self.message = ipywidgets.HTML()
        rows = ipywidgets.Layout(flex_flow="row wrap")
        self.box = ipywidgets.VBox(
            [self.picture, ipywidgets.Box(list(self.controls.values()), layout=rows), self.message]
        )
        for control in self.controls.values():
            control.observe(self._follow, names="value")
        self._still = Still()

    @property
    def values(self) -> dict[str, Any]:
        """What the controls say now."""
        return {name: control.value for name, control in self.controls.items()}

    def display(self) -> None:
        """Shows the plain picture, then the controls. Outside Jupyter it shows nothing."""
        state = ", ".join(f"{self.specs[name].label or name} = {value}" for name, value in self.values.items())
        self._still.display(self.first, state, self.box)

    def _ipython_display_(self) -> None:
        """`explore` has displayed it already; as a cell's last line it shows nothing more."""

    def _render(self) -> bytes:
        before = set(plt.get_fignums())
        try:
            figure = self.draw(**self.values)
            if not isinstance(figure, Figure):
                raise CourseError(f"draw must return its matplotlib Figure; got {type(figure).__name__}")
            return style.png(figure)
        finally:  # left open, the figure would be shown a second time when the cell ends
            for number in set(plt.get_fignums()) - before:
                plt.close(number)

    def _follow(self, _change: Any) -> None:
        try:
            picture = self._render()
        except Exception as error:
            reason = html.escape(f"{type(error).__name__}: {error}")
            self.message.value = f'<span style="color:{style.VERMILION}">Not drawn. {reason}</span>'
            return
        self.message.value = ""
        self._still.hand_over(self.picture, picture)


def explore(draw: Callable[..., Figure], **controls: Control) -> Explorer:
    """Displays the figure `draw(**values)` returns, with controls that redraw it.

        def at(sigma, method):
            figure, ax = plt.subplots()
            ...
            return figure

        explore(at, sigma=slider(0.5, 3.0, 0.25, 1.0), method=choice(["argmax", "dark"]))

    An error inside `draw` is raised the first time and later shown in a line below the controls, the last good picture
    staying. The same figure gives the same bytes, so notebooks re-run without changes.
    """
    explorer = Explorer(draw, controls)
    explorer.display()
    return explorer


def _widget(ipywidgets: Any, name: str, spec: Control) -> Any:
    words = {"description": spec.label or name.replace("_", " "), "style": {"description_width": "initial"}}
    if spec.kind == "toggle":
        return ipywidgets.Checkbox(spec.value, indent=False, **words)
    if spec.kind == "choice":
        options = [(str(option), option) for option in spec.options]
        narrow = ipywidgets.Layout(width="max-content")
        return ipywidgets.Dropdown(options=options, value=spec.value, layout=narrow, **words)
    minimum, maximum, step = spec.options
    limits = {"min": minimum, "max": maximum, "step": step, "value": spec.value, "continuous_update": False}
    whole = all(isinstance(v, int) for v in (*spec.options, spec.value))
    wide = ipywidgets.Layout(width="24em", max_width="100%")
    return (ipywidgets.IntSlider if whole else ipywidgets.FloatSlider)(**limits, **words, layout=wide)
