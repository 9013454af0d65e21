"""The ways into the course agree with each other: pyproject.toml, environment.yml, Makefile, CI, README."""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

from course_lib import __version__, cli, paths

PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())
CONDA = yaml.safe_load((paths.ROOT / "environment.yml").read_text())
MAKEFILE = (paths.ROOT / "Makefile").read_text()
DOCUMENTS = ("README.md", "CONTRIBUTING.md")


def bounds(lines: list[str]) -> dict[str, str]:
    """Name and bounds of each requirement; comments and the course itself left out."""
    requirements = [Requirement(line) for line in lines if not line.startswith("-e")]
    return {one.name: str(one.specifier) for one in requirements}


def text_of(name: str) -> str:
    return (paths.ROOT / name).read_text(encoding="utf-8")


def test_environment_names_the_same_packages_and_bounds():
    wanted = bounds(PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["test"])
    [pip] = [entry["pip"] for entry in CONDA["dependencies"] if isinstance(entry, dict)]
    assert bounds(pip) == wanted
    assert "-e ." in pip


def test_environment_has_the_same_python():
    [python] = [entry for entry in CONDA["dependencies"] if str(entry).startswith("python")]
    assert Requirement(python).specifier == Requirement(f"python{PROJECT['project']['requires-python']}").specifier


def test_every_dependency_says_why_and_none_is_pinned():
    block = text_of("pyproject.toml").split("dependencies = [")[1].split("]\n\n[project.scripts]")[0]
    lines = [line for line in block.splitlines() if line.strip().startswith('"')]
    assert lines and all("#" in line for line in lines)
    assert "==" not in block and "+cpu" not in block


def test_torch_and_torchvision_bounds():
    wanted = bounds(PROJECT["project"]["dependencies"])
    assert (wanted["torch"], wanted["torchvision"]) == (">=2.11", ">=0.26")


def test_the_version_is_written_once():
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "course_lib.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_ci_runs_make_test_and_nothing_else():
    lines = [line for line in text_of(".ci/run").splitlines() if line and not line.startswith("#")]
    assert lines == [
        "set -euo pipefail",
        'cd "$(dirname "${BASH_SOURCE[0]}")/.."',
        'export CI="${CI:-true}"',
        "exec make test",
    ]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_name_only_what_there_is(name):
    text = text_of(name)
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    code = "\n".join(part for pair in re.findall(r"```\w*\n(.*?)```|`([^`\n]+)`", text, re.DOTALL) for part in pair)
    for target in re.findall(r"^(?:.*&& )?make ([a-z]+)", code, re.MULTILINE):
        assert target in targets, f"make {target}"
    for command in re.findall(r"python -m course_lib ([a-z]+)", code):
        assert command in cli.COMMANDS, command
    for link in re.findall(r"\]\(((?!\w+:|#)[^)\s#]+)", text):
        assert (paths.ROOT / link).exists(), link
    for path in re.findall(r"`((?:course_lib|tests|notebooks|data)/[\w/.-]+)`", text):
        if not re.search(r"NN|yours", path):
            assert (paths.ROOT / path).exists(), path


def test_the_readme_lists_every_lesson():
    rows = re.findall(r"^\| (\d\d) [^|]+\| [^|]+ \|$", text_of("README.md"), re.MULTILINE)
    assert rows == sorted(path.stem[:2] for path in paths.NOTEBOOKS.glob("*.ipynb"))


def test_the_licence_is_mit():
    assert text_of("LICENSE").startswith("MIT License") and PROJECT["project"]["license"] == "MIT"
