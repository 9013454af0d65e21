"""The pose lab in a learner's browser: its picture follows sliders and dropdowns, its joints mouse and keys."""

import time

from browser_helpers import ERRORS, PICTURES, REDRAW_SECONDS, press_slider, run_all
from playwright.sync_api import Locator, Page

JOINT = "right wrist"
# The last one is the test's own control: nobody listens to what is dragged there
CELLS = [
    "from course_lib import lab, show\nshow.use_style()",
    "lab.pose_lab()",
    "lab.drag_lab()",
    "deaf = lab.drag_lab()\ndeaf.figure.unobserve_all()",
]


def awaited(read, good, seconds: float = REDRAW_SECONDS) -> str:
    """What `read` gives once it is good, or when the time is up."""
    deadline = time.monotonic() + seconds
    while not good(after := read()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return after


def changed(read, before: str, seconds: float = REDRAW_SECONDS) -> str:
    """What `read` gives once it differs from before, or when the time is up."""
    return awaited(read, lambda after: after != before, seconds)


def report(widget: Locator) -> str:
    return widget.locator("[aria-live]").inner_text()


def drag(page: Page, widget: Locator, right: float, down: float) -> None:
    """Drags the joint with the mouse, by so many pixels of the screen."""
    place = widget.locator(f'circle[data-joint="{JOINT}"]').bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right, y + down, steps=4)
    page.mouse.up()


def test_the_lab_follows_sliders_dropdowns_mouse_and_keys(page, jupyter, write_notebook):
    address, folder = jupyter
    write_notebook(folder / "lab.ipynb", CELLS)
    complaints = run_all(page, address, "lab.ipynb")
    assert page.evaluate(ERRORS) == []

    # a slider, then another system
    stage = page.locator(".widget-hslider", has_text="stage").locator("[role=slider]")
    before, after = press_slider(page, stage, REDRAW_SECONDS)
    assert before and after and before != after
    page.get_by_label("system", exact=True).select_option("02 DeepPose")
    other = changed(lambda: stage.evaluate(PICTURES), after)
    assert other and other not in (before, after)

    # a joint, by the mouse and by the keys
    live, deaf = (page.locator(".drag-lab").nth(number) for number in (0, 1))
    live.scroll_into_view_if_needed()
    still = live.evaluate("one => getComputedStyle(one.closest('.jp-OutputArea-child').previousElementSibling).display")
    assert still == "none", "the still figure stands beside the one that can be dragged"
    start = report(live)
    assert JOINT in start and "OKS" in start
    drag(page, live, 60, 30)
    dragged = changed(lambda: report(live), start)
    assert dragged != start
    live.locator('circle[data-joint="left ankle"]').focus()
    # every step of the mouse is answered first
    chosen = awaited(lambda: report(live), lambda said: "left ankle" in said)
    assert "left ankle" in chosen
    page.keyboard.press("Shift+ArrowRight")
    moved = changed(lambda: report(live), chosen)
    assert moved != chosen and "left ankle" in moved
    page.keyboard.press("a")  # no other key moves anything, and the cell stays the one that it was
    assert changed(lambda: report(live), moved, 1) == moved

    # the control: the joint moves there, too, but the numbers cannot, and the page says so
    deaf.scroll_into_view_if_needed()
    circle = deaf.locator(f'circle[data-joint="{JOINT}"]')
    at, said = circle.get_attribute("cx"), report(deaf)
    drag(page, deaf, 60, 30)
    assert circle.get_attribute("cx") != at
    deaf.get_by_text("Nobody measures").wait_for(timeout=10_000)
    assert report(deaf) == said
    assert complaints == []
