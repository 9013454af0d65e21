"""`python -m course_lib doctor`: is this machine ready for the course, and if not, what to do.

Each examination answers with one `Finding`. Only problems make the exit status 1; a laptop without a GPU is in order.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from course_lib import paths
from course_lib.errors import CourseError

GOOD, NOTE, PROBLEM = "ok", "note", "PROBLEM"
_OLDEST_PYTHON = (3, 11)
_DISK_TO_RUN = 1e9  # executed notebooks, pages and training checkpoints
_MEMORY_TO_RUN = 4e9  # the largest lesson takes 3 GB, and the browser wants some


@dataclass(frozen=True)
class Finding:
    """What one examination found."""

    subject: str
    state: str  # GOOD, NOTE or PROBLEM
    text: str
    advice: str = ""  # what to do, where something is to be done


def add_parsers(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command `doctor`."""
    parser = subparsers.add_parser("doctor", help="tell whether this machine is ready for the course")
    parser.set_defaults(func=lambda arguments: examine())


def examine() -> int:
    """Prints every finding; 0 where there is no problem, else 1."""
    problems = 0
    for examination in (_python, _packages, _torch, _torchvision, _gpu, _kernel, _weights, _room):
        for finding in _findings(examination):
            problems += finding.state == PROBLEM
            print(f"{finding.state:>8}  {finding.subject}: {finding.text}", flush=True)
            if finding.advice:
                print(f"{'':>8}  -> {finding.advice}", flush=True)
    print("Everything is in order." if problems == 0 else f"{problems} to mend; see the arrows.")
    return int(problems > 0)


def _findings(examination: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """An examination that breaks is itself a finding: a doctor must not fall ill."""
    try:
        return list(examination())
    except Exception as error:
        subject = examination.__name__.removeprefix("_")
        return [Finding(subject, PROBLEM, f"could not be examined ({type(error).__name__}: {error})", _REINSTALL)]


_REINSTALL = "install the course again: pip install --editable . (or delete .venv and run make test)"
_PAIR = (
    "torch and torchvision must belong together: pip uninstall torch torchvision, then let one command choose both: "
    "pip install --editable ."
)


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    if sys.version_info < _OLDEST_PYTHON:
        yield Finding("Python", PROBLEM, f"{version} is too old", "install Python 3.11 or newer")
    else:
        yield Finding("Python", GOOD, f"{version} in {sys.prefix}")


def _packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(text) for text in metadata.requires("course-lib") or []]
    except metadata.PackageNotFoundError:
        yield Finding("packages", PROBLEM, "the course itself is not installed", "pip install --editable .")
        return
    wrong = []
    needed = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    for one in needed:
        try:
            version = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{one.name} is missing")
            continue
        if not one.specifier.contains(version, prereleases=True):
            wrong.append(f"{one.name} is {version}, not {one.specifier}")
    if wrong:
        yield Finding("packages", PROBLEM, "; ".join(wrong), _REINSTALL)
    else:
        yield Finding("packages", GOOD, f"all {len(needed)} are here in versions that fit")


def _torch() -> Iterator[Finding]:
    try:
        import torch

        total = float(torch.ones(2, 2).mm(torch.ones(2, 2)).sum())
    except Exception as error:
        yield Finding("torch", PROBLEM, f"does not start ({type(error).__name__}: {error})", _REINSTALL)
        return
    if total != 8.0:
        yield Finding("torch", PROBLEM, f"multiplies wrongly (8 came out as {total})", _REINSTALL)
    else:
        yield Finding("torch", GOOD, f"{torch.__version__}, {torch.get_num_threads()} threads")


def _torchvision() -> Iterator[Finding]:
    try:
        import torch
        import torchvision
        from torchvision.ops import nms

        kept = nms(torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2.1]]), torch.tensor([0.9, 0.8]), 0.5)
    except Exception as error:
        yield Finding("torchvision", PROBLEM, f"does not fit torch ({str(error).splitlines()[0]})", _PAIR)
        return
    if kept.tolist() != [0]:
        yield Finding("torchvision", PROBLEM, "its operators give wrong answers", _PAIR)
    else:
        yield Finding("torchvision", GOOD, torchvision.__version__)


def _gpu() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        torch.ones(8, device="cuda").sum().item()
        yield Finding("GPU", GOOD, f"{names}; lessons use it with profile 'gpu'")
    elif torch.backends.mps.is_available():
        yield Finding("GPU", GOOD, "Apple's (mps); lessons use it with profile 'gpu'")
    elif shutil.which("nvidia-smi"):
        yield Finding(
            "GPU",
            NOTE,
            f"this machine has NVIDIA's driver, but torch (built for CUDA {torch.version.cuda}) cannot use it",
            "update the driver, or install a torch built for its CUDA version; without it the course runs on the CPU",
        )
    else:
        yield Finding("GPU", GOOD, "none, and none is needed: the course runs on the CPU")


def _kernel() -> Iterator[Finding]:
    from jupyter_client.manager import start_new_kernel

    how = f"{sys.executable} -m pip install ipykernel && {sys.executable} -m ipykernel install --sys-prefix"
    try:
        manager, client = start_new_kernel(kernel_name="python3", startup_timeout=60, stderr=subprocess.DEVNULL)
    except Exception as error:
        yield Finding("Jupyter kernel", PROBLEM, f"'python3' does not start ({error})", how)
        return
    try:
        said: list[str] = []
        client.execute_interactive(
            "import sys; print(sys.prefix)",
            timeout=60,
            output_hook=lambda message: said.append(message["content"].get("text", "")),
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    prefix = "".join(said).strip()
    if prefix and Path(prefix).resolve() != Path(sys.prefix).resolve():
        advice = f"remove the other one (jupyter kernelspec list shows where it lies), or: {how}"
        yield Finding("Jupyter kernel", PROBLEM, f"'python3' starts another Python, {prefix}", advice)
    else:
        yield Finding("Jupyter kernel", GOOD, "'python3' starts this Python")


def _weights() -> Iterator[Finding]:
    from course_lib import checkpoints

    files = sorted(paths.CHECKPOINTS.glob("*.safetensors"))
    if not files:
        where = f"there are none in {paths.CHECKPOINTS}"
        yield Finding("weights", PROBLEM, where, "clone the course again, or set COURSE_LIB_DATA to its data folder")
        return
    whole = []
    for file in files:
        try:
            checkpoints.verify(file)
            whole.append(file.stem)
        except CourseError as error:
            yield Finding("weights", PROBLEM, str(error), f"git checkout -- {file}")
    if whole:
        yield Finding("weights", GOOD, f"{', '.join(whole)}: readable, digest right")


def _room() -> Iterator[Finding]:
    import psutil

    free = shutil.disk_usage(Path.cwd()).free
    if free < _DISK_TO_RUN:
        yield Finding("disk", PROBLEM, f"only {free / 1e9:.1f} GB are free here", "make room for 1 GB")
    else:
        yield Finding("disk", GOOD, f"{free / 1e9:.0f} GB free")
    memory = psutil.virtual_memory().total
    if memory < _MEMORY_TO_RUN:
        yield Finding("memory", NOTE, f"{memory / 1e9:.1f} GB in all", "run one lesson at a time: make course JOBS=1")
    else:
        yield Finding("memory", GOOD, f"{memory / 1e9:.0f} GB")
