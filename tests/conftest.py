"""What all tests share."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")  # no test opens a window
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests share the cores, and one thread adds up in one order

import nbformat
import pytest
from hypothesis import settings
from nbformat import v4

# On CI a property is tried on the same examples every time; elsewhere on new ones
settings.register_profile("course", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("course")

PARAMETERS = "profile = None\nseed = 0"


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    """A data folder with an LSP-extended of two dozen rendered people, in the authors' files."""
    import numpy as np
    import scipy.io
    from PIL import Image

    from course_lib.datasets import synthetic

    folder = tmp_path_factory.mktemp("public") / "lspet"
    (folder / "images").mkdir(parents=True)
    people = synthetic.crops(24, seed=5, size=(96, 96))
    for number, image in enumerate(people.images, 1):
        pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
        Image.fromarray(pixels).save(folder / "images" / f"im{number:05d}.jpg")
    labels = np.concatenate([people.joints + 0.5, (people.visible > 0)[..., None]], axis=-1)
    scipy.io.savemat(folder / "joints.mat", {"joints": labels.transpose(1, 2, 0).astype(float)})
    return folder.parent


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's program; on CI it must be there, elsewhere its absence skips the test."""
    names = (os.environ.get("CHROMIUM") or "", "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        told = "there is no Chromium here; install it or name it in the environment variable CHROMIUM"
        pytest.fail(told) if os.environ.get("CI") == "true" else pytest.skip(told)
    return found


@pytest.fixture
def jupyter(tmp_path) -> Iterator[tuple[str, Path]]:
    """A JupyterLab of its own, with nobody's settings: its address and the folder it shows."""
    from browser_helpers import jupyter_lab  # not above: most tests need no browser

    with jupyter_lab(tmp_path) as address_and_folder:
        yield address_and_folder


@pytest.fixture
def page(chromium) -> Iterator:
    """A page of a fresh browser."""
    from browser_helpers import new_page

    with new_page(chromium) as opened:
        yield opened


@pytest.fixture
def write_notebook() -> Callable[..., Path]:
    """Writes a small notebook: a title, a parameters cell, then the given code cells."""

    def write(path: Path, cells: Sequence[str], title: str = "A tiny lesson") -> Path:
        parameters = v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
        code = [v4.new_code_cell(source) for source in cells]
        notebook = v4.new_notebook(cells=[v4.new_markdown_cell(f"# {title}"), parameters, *code])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
        return path

    return write
