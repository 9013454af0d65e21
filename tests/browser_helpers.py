"""A learner's browser: JupyterLab on a port of its own, Chromium, and what the tests do with them.

The fixtures `chromium`, `jupyter` and `page` stand in conftest.py. Needs Chromium: the program that the environment
variable CHROMIUM names, or one on the path.
"""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import ConsoleMessage, Locator, Page, sync_playwright

from course_lib.course import notebooks

START_SECONDS, RUN_SECONDS, REDRAW_SECONDS = 90, 240, 30
TOKEN = "browser-test"

READY = """() => {
  const panel = window.jupyterapp?.shell.currentWidget;
  const kernel = panel?.sessionContext?.session?.kernel;
  return !!panel?.content?.model && kernel?.connectionStatus === "connected" && kernel.status === "idle";
}"""
DONE = """() => {
  const panel = window.jupyterapp.shell.currentWidget;
  const code = [...panel.content.model.cells].filter(cell => cell.type === "code");
  return code.every(cell => cell.executionCount !== null || !cell.sharedModel.source.trim())
    && panel.sessionContext.session.kernel.status === "idle";
}"""
ERRORS = """() => [...window.jupyterapp.shell.currentWidget.content.model.cells].flatMap(cell =>
  (cell.type === "code" ? cell.sharedModel.getOutputs() : []).filter(out => out.output_type === "error")
    .map(out => `${out.ename}: ${out.evalue}`))"""
# A fingerprint of the visible pictures in the cell of one slider
PICTURES = """async handle => {
  const cell = handle.closest(".jp-Cell");
  const seen = [...cell.querySelectorAll(".jp-OutputArea img")].filter(one => one.offsetParent && one.naturalWidth);
  const prints = await Promise.all(seen.map(async image => {
    const bytes = await (await fetch(image.src)).arrayBuffer();
    return [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))].slice(0, 8).join(".");
  }));
  return prints.join(" ");
}"""


@contextmanager
def jupyter_lab(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A JupyterLab of its own, with nobody's settings: its address and the folder it shows."""
    folder = tmp_path / "lessons"
    settings = tmp_path / "settings" / "@jupyterlab"
    for name, content in {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"windowingMode": "none"},  # cells off screen exist as well
    }.items():
        file = settings / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    own |= {
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "spaces"),
    }
    own |= {"IPYTHONDIR": str(tmp_path / "ipython")}
    options = {"ServerApp.ip": "127.0.0.1", "ServerApp.port": port, "ServerApp.port_retries": 0}
    options |= {"ServerApp.root_dir": folder, "IdentityProvider.token": TOKEN, "ServerApp.open_browser": False}
    options |= {"ServerApp.allow_root": True, "LabApp.expose_app_in_browser": True}
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
    with open(tmp_path / "lab.log", "w") as log:
        server = subprocess.Popen(command, env=notebooks.environment() | own, stdout=log, stderr=log, cwd=folder)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/status?token={TOKEN}", server, tmp_path / "lab.log")
        yield f"http://127.0.0.1:{port}", folder
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


@contextmanager
def new_page(chromium: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1280, "height": 1000})
        opened.set_default_timeout(START_SECONDS * 1000)  # a busy machine needs longer than the usual half minute
        yield opened
        browser.close()


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, f"JupyterLab ended at once:\n{log.read_text()[-3000:]}"
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"JupyterLab did not answer in {START_SECONDS} s:\n{log.read_text()[-3000:]}")


def run_all(page: Page, address: str, notebook: str) -> list[str]:
    """Opens a notebook and runs all its cells; the list goes on to collect what the console complains about."""
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        # JupyterLab looks for optional files, such as a user's style sheet; that they are absent is no error
        if message.type == "error" and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{address}/lab/tree/{notebook}?token={TOKEN}")
    page.wait_for_function(READY, timeout=START_SECONDS * 1000)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_function(DONE, timeout=RUN_SECONDS * 1000)
    return complaints


def press(page: Page, slider: int, seconds: float) -> tuple[str, str]:
    """Moves a slider by one key; the pictures of its cell before, and after they changed or the time was up."""
    return press_slider(page, page.locator(".jp-OutputArea [role=slider]").nth(slider), seconds)


def press_slider(page: Page, handle: Locator, seconds: float) -> tuple[str, str]:
    """As `press`, for a slider that was found otherwise."""
    handle.scroll_into_view_if_needed()
    handle.focus()
    before = handle.evaluate(PICTURES)
    stands_at = float(handle.get_attribute("aria-valuenow") or 0)
    ends_at = float(handle.get_attribute("aria-valuemax") or 0)
    page.keyboard.press("ArrowLeft" if stands_at >= ends_at else "ArrowRight")
    deadline = time.monotonic() + seconds
    while (after := handle.evaluate(PICTURES)) == before and time.monotonic() < deadline:
        page.wait_for_timeout(200)
    assert float(handle.get_attribute("aria-valuenow") or 0) != stands_at, "the key did not move the slider"
    return before, after
