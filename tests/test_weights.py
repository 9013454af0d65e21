"""`weights list` and `weights adopt`: only what is better comes to ship, whole, and with its measure."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from crowd_helpers import BESIDE
from queue_helpers import FIRST, LIVE, PHOTOGRAPHS, ten

from course_lib import checkpoints, cli, models, paths, weights
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.metrics import Marks
from course_lib.skeletons import LSP
from course_lib.training import benchmarks, recipes
from course_lib.training.evaluate import interval, paired_interval
from course_lib.weights import Measured

FILE = Path("runs/first/first.safetensors")


@pytest.fixture(autouse=True)
def small_world(monkeypatch, tmp_path):
    """A benchmark of ten people, and a folder of shipped weights that is empty."""
    monkeypatch.setattr(recipes, "RECIPES", {one.name: one for one in (FIRST, LIVE, PHOTOGRAPHS, BESIDE)})
    monkeypatch.setitem(models._BUILDERS, "beside", "crowd_helpers:Beside")
    monkeypatch.setattr(
        synthetic, "benchmark", lambda name, skeleton=None: ten(name, getattr(skeleton, "name", skeleton))
    )
    monkeypatch.setattr(paths, "CHECKPOINTS", tmp_path / "shipped")
    monkeypatch.setattr(paths, "PUBLIC", tmp_path / "public")
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def write(path: Path, seed: int, recipe=FIRST, **header) -> Path:
    """Weights that say they are a recipe's, and know nothing."""
    torch.manual_seed(seed)
    model = models.create(recipe.model, skeleton=recipe.skeleton, **recipe.options)
    about = {"recipe": recipe.name, "data": recipe.data, "steps": 25, "images": 100, "seed": seed, "device": "cpu"}
    checkpoints.save(path, model, {**about, "date": "2026-01-31", "scores": {}, "start": {}, **header})
    return path


def score(path: Path) -> float:
    return benchmarks.measure(models.load("first", path), "single-val")["pck@0.2"]


@pytest.fixture
def worse_and_better(tmp_path) -> tuple[int, int]:
    """Seeds of two networks, of which one finds more joints by luck than the other."""
    scores = {seed: score(write(tmp_path / "trial.safetensors", seed)) for seed in range(8)}
    worse, better = min(scores, key=scores.get), max(scores, key=scores.get)
    assert scores[worse] < scores[better]
    return worse, better


def adopt(*options: str) -> int:
    return cli.main(["weights", "adopt", "runs", "--device", "cpu", *options])


# --- adopt ------------------------------------------------------------------------------------------------------------


def test_the_first_of_its_name_is_installed(capsys):
    write(FILE, 0)
    assert adopt("--dry-run") == 0
    assert "1 of 1 would be installed" in capsys.readouterr().out and not paths.CHECKPOINTS.exists()
    assert adopt() == 0
    assert "the first of its name" in capsys.readouterr().out
    header = checkpoints.verify(paths.checkpoint("first"))
    assert set(header["scores"]) == {"single-val", "single-val flipped"}
    assert header["scores"]["single-val"]["pck@0.2"] == score(FILE) == score(paths.checkpoint("first"))
    assert checkpoints.verify(FILE)["scores"] == {}  # the candidate is left as it was


def test_better_weights_replace_what_ships(capsys, worse_and_better):
    worse, better = worse_and_better
    old = score(write(paths.checkpoint("first"), worse))
    new = score(write(FILE, better, start={"checkpoint": "first", "recipe": "first", "images": 50}))
    assert adopt() == 0
    printed = capsys.readouterr().out
    assert "first: 150 images, on cpu, against 100 that ship" in printed
    row = next(line for line in printed.splitlines() if line.startswith("  single-val"))
    assert row.split()[:6] == ["single-val", "pck@0.2", "*", f"{old:.4f}", f"{new:.4f}", f"{new - old:+.4f}"]
    assert f"better on single-val by {100 * (new - old):.2f} points" in printed and "1 of 1 installed" in printed
    assert checkpoints.verify(paths.checkpoint("first"))["seed"] == better


def test_worse_or_equal_weights_are_not_installed(capsys, worse_and_better):
    shipped = write(paths.checkpoint("first"), worse_and_better[1]).read_bytes()
    for seed in worse_and_better:
        write(FILE, seed)
        assert adopt() == 0
        printed = capsys.readouterr().out
        assert "not installed: it is not better on single-val" in printed and "0 of 1 installed" in printed
    assert paths.checkpoint("first").read_bytes() == shipped


def test_a_damaged_file_is_refused_and_the_rest_goes_on(capsys):
    write(FILE, 0)
    damaged = write(Path("runs/photographs/photographs.safetensors"), 0, PHOTOGRAPHS)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert adopt() == 1
    printed = capsys.readouterr().out
    assert "photographs: refused:" in printed and "its digest differs" in printed
    assert paths.checkpoint("first").exists() and not paths.checkpoint("photographs").exists()


def test_what_ships_may_itself_be_damaged(capsys):
    write(FILE, 1)
    paths.CHECKPOINTS.mkdir()
    paths.checkpoint("first").write_bytes(b"nothing")
    assert adopt() == 0
    assert "what ships is damaged and counts as missing" in capsys.readouterr().out
    assert checkpoints.verify(paths.checkpoint("first"))["seed"] == 1


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        (replace(FIRST, name="unknown"), "unknown"),
        (FIRST, "photographs"),
        (replace(FIRST, data={"synthetic": {"others": 0.0}}), "first"),
        (replace(FIRST, options={**FIRST.options, "width": 16}), "first"),
        (replace(FIRST, skeleton="mpii"), "first"),
    ],
)
def test_what_no_recipe_makes_is_refused(capsys, recipe, name):
    write(Path(f"runs/{name}.safetensors"), 0, recipe)
    assert adopt() == 1
    printed = capsys.readouterr().out
    assert f"{name}: refused:" in printed and printed.count("\n") == 2
    assert not paths.CHECKPOINTS.exists()


def test_weights_that_are_not_meant_to_ship_are_left_out(capsys):
    write(Path("runs/live/live.safetensors"), 0, LIVE)
    assert adopt() == 0
    assert "live: left out" in capsys.readouterr().out and not paths.CHECKPOINTS.exists()


@pytest.mark.parametrize(
    ("where", "name", "said"),
    [(checkpoints, "SHIPPED_LIMIT", "the limit of what ships"), (weights, "TOTAL_LIMIT", "all weights would have")],
)
def test_too_large_is_refused(capsys, monkeypatch, where, name, said):
    size = write(FILE, 0).stat().st_size
    write(paths.checkpoint("first"), 1)
    monkeypatch.setattr(where, name, size + 10)  # what it replaces does not count
    assert adopt("--dry-run") == 0
    monkeypatch.setattr(where, name, size - 1)
    assert adopt() == 1
    assert said in capsys.readouterr().out and checkpoints.verify(paths.checkpoint("first"))["seed"] == 1


def test_weights_are_installed_whole_or_not_at_all(capsys, monkeypatch, worse_and_better):
    worse, better = worse_and_better
    shipped = write(paths.checkpoint("first"), worse).read_bytes()
    write(FILE, better)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.os, "fsync", full)
        assert adopt() == 1
    assert "No space left on device; the file that was there is unchanged" in capsys.readouterr().out
    assert paths.checkpoint("first").read_bytes() == shipped
    assert [file.name for file in paths.CHECKPOINTS.iterdir()] == ["first.safetensors"]


def test_photographs_decide_where_they_were_trained_on(capsys):
    write(paths.checkpoint("photographs"), 0, PHOTOGRAPHS)
    write(Path("runs/photographs/photographs.safetensors"), 1, PHOTOGRAPHS)
    assert adopt() == 0
    assert "not installed: 'lspet-val' decides about it, and cannot be measured" in capsys.readouterr().out


def test_a_fall_on_the_other_benchmark_is_said_aloud(capsys):
    def row(name: str, before: float, after: float, low: float) -> Measured:
        return Measured(name, {}, after, before, (low, 1.0))

    clear, fall = row("lspet-val", 0.50, 0.58, 0.03), row("single-val", 0.70, 0.68, -0.03)
    assert weights._better("photographs", [fall, clear], "lspet-val", first=False)
    printed = capsys.readouterr().out
    assert "better on lspet-val by 8.00 points\n" in printed and "BUT WORSE on single-val, by 2.00 points" in printed
    assert weights._better("photographs", [row("single-val", 0.5, 0.51, -0.01)], "single-val", first=False)
    assert "which may be chance" in capsys.readouterr().out
    assert weights._better("photographs", [row("single-val", 0.7, 0.692, 0), clear], "lspet-val", first=False)
    assert "WORSE" not in capsys.readouterr().out
    assert not weights._better("photographs", [row("single-val", 0.5, 0.9, 0), fall], "lspet-val", first=False)


def test_a_model_that_finds_everybody_is_judged_on_crowds(capsys):
    """Two pixels beside everybody's place are better than four, and seven are worse."""

    def beside(path: Path, by: float) -> Path:
        model = models.create("beside")
        model.by.data.fill_(by)
        about = {"recipe": "beside", "data": BESIDE.data, "steps": 2, "images": 4, "seed": 0, "device": "cpu"}
        checkpoints.save(path, model, {**about, "date": "2026-01-31", "scores": {}, "start": {}})
        return path

    old = beside(paths.checkpoint("beside"), 4)
    candidate = beside(Path("runs/beside/beside.safetensors"), 7)
    assert adopt() == 0
    assert "not installed: it is not better on crowd-val" in capsys.readouterr().out
    beside(candidate, 2)
    assert adopt() == 0
    printed = capsys.readouterr().out
    (row,) = (line.split() for line in printed.splitlines() if "-val ap" in line)
    before, after, difference, low, high = (float(one) for one in row[3:] if one != "to")
    assert row[:3] == ["crowd-val", "ap", "*"] and before + difference == pytest.approx(after, abs=2e-4)
    assert 0 < low < difference < high and "which may be chance" not in printed and "1 of 1 installed" in printed
    scores = checkpoints.verify(old)["scores"]
    assert list(scores) == ["crowd-val"] and scores["crowd-val"]["ap"] == pytest.approx(after, abs=1e-4)
    assert cli.main(["weights", "list"]) == 0
    assert f"crowd-val: ap {scores['crowd-val']['ap']:.4f}\n" in capsys.readouterr().out


def test_a_folder_without_weights_ends_with_one_sentence(capsys):
    assert adopt() == 2
    assert "there are no weights in runs" in capsys.readouterr().err


# --- list -------------------------------------------------------------------------------------------------------------


def test_list_tells_where_weights_come_from(capsys):
    start = {"checkpoint": "elsewhere", "recipe": "other", "images": 1000, "recipe_images": 1000}
    scores = {"single-val": {"pck@0.2": 0.75}}
    write(paths.checkpoint("first"), 0, start=start, scores=scores, changed={"batch": 32, "pool": 300})
    write(paths.checkpoint("old"), 0, start="")
    assert cli.main(["weights", "list"]) == 0
    printed = capsys.readouterr().out
    assert "recipe first, trained on synthetic" in printed and "2026-01-31, on cpu" in printed
    assert "unlike the recipe: batch 32, pool 300\n" in printed and printed.count("unlike") == 1
    assert "25 steps, 1,100 images in all, begun from elsewhere of 1,000" in printed
    assert "single-val: pck@0.2 0.7500" in printed and "25 steps, 100 images in all\n" in printed
    assert "2 files" in printed and "of 45 MB" in printed
    paths.checkpoint("old").write_bytes(b"nothing")
    assert cli.main(["weights", "list"]) == 1
    assert "old: " in capsys.readouterr().out


# --- the interval of a difference -------------------------------------------------------------------------------------


def marks(right: torch.Tensor, scored: torch.Tensor | None = None) -> Marks:
    scored = torch.ones_like(right) if scored is None else scored
    return Marks(right & scored, scored, LSP.joints)


def test_people_that_both_find_hard_cancel():
    """The second model misses what the first misses, and one joint of every tenth person more."""
    generator = torch.Generator().manual_seed(0)
    easy = (torch.rand(400, 1, generator=generator) < 0.6).expand(400, 14)
    other = easy.clone()
    other[::10, 0] = False
    low, high = paired_interval(marks(easy), marks(other))
    difference = marks(easy).mean - marks(other).mean
    assert 0 < low < difference < high
    apart = interval(marks(easy))
    assert high - low < 0.1 * (apart[1] - apart[0])
    # the spread of a mean of 400 independent differences of 1/14
    each = (easy.double() - other.double()).mean(1)
    assert high - low == pytest.approx(2 * 1.96 * float(each.std()) / 400**0.5, rel=0.15)
    assert paired_interval(marks(other), marks(easy)) == pytest.approx((-high, -low))
    assert paired_interval(marks(easy), marks(easy)) == (0, 0)


def test_only_the_same_people_are_compared():
    right = torch.rand(5, 14) < 0.5
    with pytest.raises(CourseError, match="same joints of the same people"):
        paired_interval(marks(right), marks(right[:4]))
    nobody = torch.zeros_like(right)
    assert paired_interval(marks(right, nobody), marks(right, nobody)) is None
