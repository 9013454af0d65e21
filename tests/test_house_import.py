"""Importing is cheap, imports point one way, a GPU job needs no Jupyter, and the command line speaks plainly."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import course_lib
from course_lib import cli, paths

PACKAGE = Path(course_lib.__file__).parent
LONGEST_FILE = 400
MODULES = sorted(module.name for module in pkgutil.walk_packages([str(PACKAGE)], "course_lib."))
JUPYTER = (
    "IPython",
    "anywidget",
    "ipykernel",
    "ipywidgets",
    "jupyter",
    "jupyterlab",
    "nbclient",
    "nbconvert",
    "nbformat",
    "papermill",
)
UPSTAIRS = ("lessons", "course", "cli", "doctor", "show", "lab")
# What a room of the library must not import when it is imported itself
FORBIDDEN = {
    "skeletons": ("pose", "geometry", "targets", "losses", "models", "datasets", "training", "metrics", *UPSTAIRS),
    "pose": ("geometry", "targets", "losses", "models", "datasets", "training", "metrics", *UPSTAIRS),
    "geometry": ("pose", "targets", "losses", "models", "datasets", "training", "metrics", *UPSTAIRS),
    "targets": ("models", "datasets", "training", "metrics", *UPSTAIRS),
    "losses": ("models", "datasets", "training", "metrics", *UPSTAIRS),
    "models": ("datasets", "training", "metrics", *UPSTAIRS),
    "datasets": ("models", "training", "metrics", *UPSTAIRS),
    "metrics": ("models", "datasets", "training", *UPSTAIRS),
    "training": UPSTAIRS,
    "show": ("models", "datasets", "training", "lessons", "course", "cli", "doctor", "lab"),
    "lab": ("lessons", "course", "cli", "doctor"),
}


def run(code: str) -> str:
    """What a fresh Python prints for some code."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_the_library_imports_nothing_else():
    code = "import sys, course_lib; print([m for m in sys.modules if m.startswith(('course_lib.', 'torch', 'numpy'))])"
    assert run(code).strip() == "[]"


def test_submodules_load_when_touched():
    assert course_lib.skeletons.get("lsp").name == "lsp"
    assert {"models", "metrics", "skeletons", "training"} <= set(dir(course_lib))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = course_lib.nonsense


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_every_module_can_be_imported(name):
    importlib.import_module(name)


def test_a_gpu_job_needs_no_jupyter():
    """Everything but the lessons' own rooms imports while every Jupyter package is missing."""
    rooms = [
        name
        for name in MODULES
        if not name.startswith(("course_lib.course", "course_lib.lessons.lesson_")) and "__main__" not in name
    ]
    code = f"""
import importlib, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {JUPYTER} or name.startswith("jupyter"):
            raise ModuleNotFoundError(f"{{name}} is not installed here", name=name)
sys.meta_path.insert(0, Missing())
for name in {rooms}:
    importlib.import_module(name)
print("ok")
"""
    assert run(code).strip() == "ok"


def imported(file: Path) -> set[str]:
    """The rooms of the library that a file imports when it is imported, not inside its functions."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in found if name.startswith("course_lib.")}


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports_point_one_way(room):
    files = sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]
    for file in files:
        assert not imported(file) & set(FORBIDDEN[room]), file


def test_files_can_be_read_in_one_go():
    long = {
        str(file): count
        for file in PACKAGE.rglob("*.py")
        if (count := len(file.read_text().splitlines())) > LONGEST_FILE
    }
    assert not long


# --- the command line -------------------------------------------------------------------------------------------------


def test_help_answers_without_torch():
    code = """
import sys
from course_lib import cli
try:
    cli.main(["--help"])
except SystemExit as end:
    assert end.code == 0
assert "torch" not in sys.modules and "numpy" not in sys.modules
"""
    overview = run(code)
    assert all(command in overview for command in cli.COMMANDS)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    assert f"python -m course_lib {command}" in capsys.readouterr().out


def test_commands_and_modules_agree():
    import argparse

    for module in {module for module, _ in cli.COMMANDS.values()}:
        subparsers = argparse.ArgumentParser().add_subparsers()
        importlib.import_module(module).add_parsers(subparsers)
        assert set(subparsers.choices) == {name for name, (where, _) in cli.COMMANDS.items() if where == module}


@pytest.mark.parametrize("arguments", [["train", "hourglas_course"], ["course", "--lessons", "99"]])
def test_bad_input_ends_with_one_sentence(arguments, capsys):
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("course_lib: ") and said.count("\n") == 1 and "Traceback" not in said


def test_the_package_runs_as_a_module():
    result = subprocess.run(
        [sys.executable, "-m", "course_lib", "--version"], capture_output=True, text=True, cwd=paths.ROOT
    )
    assert result.stdout.strip() == f"course_lib {course_lib.__version__}"
