"""The pose lab: a picture, one system or two, what they have inside, what they answer, and how right it is.

    lab.pose_lab()                                                # one drawn person, the stacked hourglass
    lab.pose_lab(picture="a drawn crowd", system="07 Part affinity fields", second="09 AlphaPose")
    lab.pose_lab(damage=True)                                     # with sliders that make the picture worse

As with `explore`, the first state is a plain picture on the page, and the controls bring it to life where a kernel
runs. Weights are loaded when a system is first chosen, and kept; a system is asked once about a picture, so that moving
the stage only draws again.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from matplotlib import pyplot as plt

from course_lib.errors import CourseError, unknown_name
from course_lib.lab import figure as figures
from course_lib.lab import insides, pictures, systems
from course_lib.lab.insides import Glimpse, Inside
from course_lib.lab.pictures import DAMAGES, DRAWN, OWN, PICTURES, Subject
from course_lib.lab.systems import Answer
from course_lib.show import style
from course_lib.show.widgets import Still

NONE = "none"
SYSTEM = "06 Stacked hourglass"
NUMBERS = 50  # drawn pictures to choose from
KEPT = 24  # answers that are kept


class PoseLab:
    """The widget behind `pose_lab`: its `controls` by name, the `picture` that follows them, the `message` below."""

    def __init__(self, system: str, second: str | None, picture: str, number: int, damage: bool) -> None:
        self.systems = systems.systems()
        _check(system, second, picture, number, self.systems)
        self._answers: dict[Any, Answer] = {}
        self._own: Subject | None = None
        self._quiet = True
        self._build(system, second or NONE, picture, number, damage)
        self._fit(new_picture=True, new_system=True)
        self.first = self._render()  # an error here is the author's, so it is raised
        self._quiet = False
        for control in self.controls.values():
            control.observe(self._follow, names="value")
        self._still = Still()

    # --- what stands on the page --------------------------------------------------------------------------------------

    def _build(self, system: str, second: str, picture: str, number: int, damage: bool) -> None:
        widgets = _ipywidgets()
        words = {"style": {"description_width": "initial"}}

        def choose(label: str, options: Sequence[str], value: str) -> Any:
            layout = widgets.Layout(width="max-content")  # one each: some are hidden at times
            return widgets.Dropdown(options=options, value=value, description=label, layout=layout, **words)

        def slider(label: str, least: int, most: int, value: int) -> Any:
            layout = widgets.Layout(width="17em", max_width="100%")
            return widgets.IntSlider(
                value, least, most, description=label, continuous_update=False, layout=layout, **words
            )

        titles = list(self.systems)
        self.controls = {
            "picture": choose("picture", PICTURES, picture),
            "number": slider("number", 0, NUMBERS - 1, number),
            "upload": widgets.FileUpload(accept="image/*", multiple=False, description="your own"),
            "where": choose("one-person systems see", [pictures.WHOLE], pictures.WHOLE),
            "system": choose("system", titles, system),
            "inside": choose("inside", ["–"], "–"),
            "second": choose("second system", [NONE, *titles], second),
            "second_inside": choose("inside", ["–"], "–"),
            "stage": slider("stage", 1, 2, 1),
            "joint": choose("joint", ["–"], "–"),
            "person": slider("person", 1, 2, 1),
        }
        if damage:
            self.controls |= {name: slider(name, 0, 5, 0) for name in DAMAGES}
        hidden = widgets.Layout(width="max-content", max_width="100%", display="none")
        self.picture, self.message = widgets.Image(format="png", layout=hidden), widgets.HTML()
        rows = [("picture", "number", "upload", "where"), ("system", "inside"), ("second", "second_inside")]
        rows += [("stage", "joint", "person"), *([tuple(DAMAGES)] if damage else [])]
        wrap = widgets.Layout(flex_flow="row wrap")
        lines = [widgets.Box([self.controls[name] for name in row], layout=wrap) for row in rows]
        self.box = widgets.VBox([self.picture, self.message, *lines])

    def display(self) -> None:
        """Shows the plain picture, then the controls. Outside Jupyter it shows nothing."""
        names = ["picture", "system", *(["second"] if self.values["second"] != NONE else [])]
        state = ", ".join(f"{name} = {self.values[name]}" for name in names)
        self._still.display(self.first, state, self.box)

    def _ipython_display_(self) -> None:
        """`pose_lab` has displayed it already; as a cell's last line it shows nothing more."""

    @property
    def values(self) -> dict[str, Any]:
        """What the controls say now."""
        return {name: control.value for name, control in self.controls.items() if name != "upload"}

    # --- what the controls mean ---------------------------------------------------------------------------------------

    @property
    def subject(self) -> Subject:
        """The picture that is chosen, with the damage that is chosen."""
        values = self.values
        if values["picture"] == OWN and self._own is not None:
            given = self._own
        else:
            given = pictures.subject(values["picture"], values["number"] if values["picture"] in DRAWN else 0)
        severities = {name: values[name] for name in DAMAGES if values.get(name)}
        return pictures.damaged(given, severities) if severities else given

    @property
    def chosen(self) -> list[tuple[str, str]]:
        """Title and view of the systems that are shown, one or two."""
        values = self.values
        pairs = [(values["system"], values["inside"]), (values["second"], values["second_inside"])]
        return [(title, view) for title, view in pairs if title != NONE]

    def answer(self, title: str) -> Answer:
        """What a system says about the chosen picture; asked once."""
        values = self.values
        key = (title, *(values.get(name) for name in ("picture", "number", "where", *DAMAGES)), id(self._own))
        if key not in self._answers:
            asked = systems.ask(self.systems[title], self.subject, values["where"])
            while len(self._answers) >= KEPT:
                del self._answers[next(iter(self._answers))]
            self._answers[key] = asked
        return self._answers[key]

    def _fit(self, new_picture: bool = False, new_system: bool = False) -> None:
        """Lets every control offer what there is to choose with this picture and these systems."""
        values, controls = self.values, self.controls
        subject = self.subject
        _offer(controls["where"], subject.asked, fresh=new_picture)
        controls["number"].disabled = values["picture"] not in DRAWN
        views = {"inside": values["system"], "second_inside": values["second"]}
        for name, title in views.items():
            own = ["–"] if title == NONE else [one.words for one in self._views(title)]
            _offer(controls[name], own)
            controls[name].layout.display = "none" if title == NONE else None
        answers = [self.answer(title) for title, _ in self.chosen]
        controls["where"].disabled = not any(systems.asks_boxes(answer.model) for answer in answers)
        joints = [name.replace("_", " ") for name in answers[0].model.skeleton.joints]
        _offer(controls["joint"], joints, usual="right wrist")
        stages = [len(stages) for stages in self._stages(answers)]
        _range(controls["stage"], max(stages, default=1), last=new_system)
        _range(controls["person"], max(len(answer.poses) for answer in answers))

    def _views(self, title: str) -> tuple[Inside, ...]:
        return insides.insides(systems.loaded(self.systems[title]))

    def _view(self, title: str, words: str) -> Inside:
        return next((one for one in self._views(title) if one.words == words), self._views(title)[0])

    def _stages(self, answers: Sequence[Answer]) -> Iterator[Sequence[str]]:
        """The names of the stages of the chosen views."""
        for answer, (title, words) in zip(answers, self.chosen, strict=True):
            if answer.looks:
                yield self._view(title, words).stages(Glimpse(answer, answer.looks[0], None))

    def _panels(self) -> list[figures.Panel]:
        values = self.values
        joint = self.controls["joint"].options.index(values["joint"])
        rest = {"stage": values["stage"] - 1, "joint": joint, "person": values["person"] - 1}
        chosen = self.chosen
        return [figures.Panel(title, self.answer(title), self._view(title, view), **rest) for title, view in chosen]

    def _render(self) -> bytes:
        before = set(plt.get_fignums())
        try:
            return style.png(figures.draw(self.subject, self._panels(), self.values["where"]))
        finally:  # left open, the figure would be shown a second time when the cell ends
            for number in set(plt.get_fignums()) - before:
                plt.close(number)

    # --- what happens when one is moved -------------------------------------------------------------------------------

    def _follow(self, change: Any) -> None:
        """Draws what the controls say now; whatever goes wrong is told in a sentence, and the last picture stays."""
        if self._quiet:
            return
        try:
            with self._silently():
                if change["owner"] is self.controls["upload"]:
                    self._take_upload()
                self._working()
                moved = next(name for name, control in self.controls.items() if control is change["owner"])
                new_system = moved in ("system", "second", "inside", "second_inside")
                self._fit(new_picture=moved in ("picture", "upload"), new_system=new_system)
                picture = self._render()
        except CourseError as error:
            self._tell(str(error))
            return
        except Exception as error:
            self._tell(f"{type(error).__name__}: {error}")
            return
        self.message.value = ""
        self._still.hand_over(self.picture, picture)

    @contextmanager
    def _silently(self) -> Iterator[None]:
        """Controls that are set in here draw nothing by themselves."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def _take_upload(self) -> None:
        files = self.controls["upload"].value
        if not files:
            return
        [file] = files
        self.controls["upload"].value = ()  # the same file may come again
        self._own = pictures.uploaded(file["name"], bytes(file["content"]))
        self.controls["picture"].options = (*PICTURES, OWN)
        self.controls["picture"].value = OWN

    def _working(self) -> None:
        names = " and ".join(html.escape(title) for title, _ in self.chosen)
        self.message.value = f"<span>Working: {names} …</span>"

    def _tell(self, sentence: str) -> None:
        self.message.value = f'<span style="color:{style.VERMILION}">Not drawn. {html.escape(sentence)}</span>'


def pose_lab(
    system: str = SYSTEM,
    second: str | None = None,
    picture: str = pictures.ONE,
    number: int = 0,
    damage: bool = False,
) -> PoseLab:
    """Displays the lab: systems by their title ("06 Stacked hourglass"), a picture, and which of the drawn ones.

    With `second` two systems stand side by side; `damage` adds sliders that blur, grain, turn and cover the picture.
    """
    lab = PoseLab(system, second, picture, number, damage)
    lab.display()
    return lab


def _ipywidgets() -> Any:
    try:
        import ipywidgets
    except ImportError as error:
        raise CourseError("the pose lab needs ipywidgets; the command `estimate` draws poses without it") from error
    return ipywidgets


def _check(system: str, second: str | None, picture: str, number: int, known: dict[str, str]) -> None:
    for title in (system, *([] if second is None else [second])):
        if title not in known:
            raise unknown_name("system of the pose lab", title, known)
    if picture not in PICTURES:
        raise unknown_name("picture", picture, PICTURES)
    if not 0 <= number < NUMBERS:
        raise CourseError(f"drawn pictures have numbers from 0 to {NUMBERS - 1}; got {number}")


def _offer(control: Any, options: Sequence[str], usual: str | None = None, fresh: bool = False) -> None:
    """Gives a dropdown other options; what was chosen stays where it can, unless it is to begin afresh."""
    options = tuple(options)
    if tuple(control.options) == options and not fresh:
        return
    kept = control.value if control.value in options and not fresh else usual if usual in options else options[0]
    control.options = options
    control.value = kept


def _range(control: Any, most: int, last: bool = False) -> None:
    """Gives a slider from 1 another end; with nothing to choose it cannot be moved. `last`: it goes to its end."""
    control.disabled = most < 2
    value = most if last else min(control.value, most)
    control.value = min(value, control.max)
    control.max = max(most, 2)
    control.value = max(value, 1)
