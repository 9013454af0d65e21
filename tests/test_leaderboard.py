"""The leaderboard: rows are what was measured and nothing else, costs belong to weights, and the picture is in step."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright
from torch import nn

from course_lib import checkpoints, cli, paths
from course_lib.course import leaderboard, leaderboard_page, leaderboard_picture, pages
from course_lib.course.published import PAPERS
from course_lib.datasets import synthetic
from course_lib.errors import CourseError
from course_lib.lessons import crowd_line, crowd_times, line, studies

HEADER = {
    "model": "tiny",
    "options": {},
    "skeleton": "lsp",
    "recipe": "tiny",
    "data": {"kind": "synthetic"},
    "steps": 10,
    "images": 640,
    "seed": 0,
    "device": "cpu",
    "date": "2026-01-31",
}
ONE = {"pck@0.2": 0.5, "pcp": 0.6, "pdj@0.2": 0.52, "pckh@0.5": None}
GROUPS = {"1-2": {"ap": 0.4}, "3-4": {"ap": 0.3}, "5-7": {"ap": None}, "8-12": {"ap": 0.1}}


def write(folder: Path, name: str, scores: dict, seed: int = 0) -> Path:
    """Weights by this name, with these scores in their header."""
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, seed)
    nn.init.zeros_(model.bias)
    checkpoints.save(folder / f"{name}.safetensors", model, {**HEADER, "scores": scores})
    return folder / f"{name}.safetensors"


def run_of(folder: Path, name: str, seconds: float = 0.02, others: tuple[str, ...] = ()) -> dict:
    digests = {one: checkpoints.weights_digest(folder / f"{one}.safetensors") for one in (name, *others)}
    about = {"date": "2026-01-31", "code": "0.1", "torch": "2", "device": "cpu, 1 threads"}
    return {"weights": name, "digests": digests, "parameters": 0.5, "multiply_adds": None, "seconds": seconds, **about}


@pytest.fixture
def shipped(tmp_path) -> Path:
    """Five of the systems: three are measured, one is not, one is damaged."""
    told = {
        "single-val": ONE,
        "lspet-val": {"pck@0.2": 0.25},
        "crowd-val, true boxes": {"ap": 0.2, "by_people": GROUPS},
    }
    write(tmp_path, "hourglass_course", told)
    many = {"single-val, surest person": ONE, "crowd-val": {"by_people": {**GROUPS, "8-12": {"ap": 0.3}}}}
    many["crowd-val, true boxes"] = {"by_people": GROUPS}
    write(tmp_path, "paf_course", many)
    write(tmp_path, "hrnet_course", {"single-val": {**ONE, "pck@0.2": 0.7}})
    write(tmp_path, "cpm_course", {"single-val flipped": ONE, "crowd-val": {"by_people": GROUPS}})
    (tmp_path / "ief_course.safetensors").write_bytes(b"x" * 50)
    return tmp_path


@pytest.fixture
def file(tmp_path) -> Path:
    """Where the costs are kept; nobody has measured any yet."""
    return tmp_path / "costs.json"


# --- the rows ---------------------------------------------------------------------------------------------------------


def test_every_system_of_the_lessons_has_a_paper_and_an_idea_in_five_words():
    systems = leaderboard.systems()
    assert {one.weights for one in systems} == set(PAPERS) == {one.weights for one in (*line.SYSTEMS, *crowd_line.LINE)}
    assert [one.title[:2] for one in systems] == sorted(one.title[:2] for one in systems)
    for paper in PAPERS.values():
        assert len(paper.idea.split()) == 5, paper.idea
        assert paper.score is None or (float(paper.score.value) > 0 and paper.score.benchmark and paper.score.where)


def test_there_is_no_row_without_a_measurement(shipped, file):
    table = leaderboard.board(shipped, file)
    assert [row.weights for row in table.rows] == ["hourglass_course", "paf_course", "hrnet_course"]
    said = {text.split(":")[0]: text for text in table.unlisted}
    assert len(said) == len(leaderboard.systems()) - 3
    assert "cpm_course.safetensors carries no measurement" in said["Convolutional pose machine"]
    assert "cut short" in said["Iterative error feedback"] and "there is no checkpoint" in said["DeepPose"]
    assert not any(str(shipped) in text for text in table.unlisted)


def test_a_changed_file_is_not_listed(shipped, file):
    data = bytearray((shipped / "paf_course.safetensors").read_bytes())
    data[-1] ^= 1
    (shipped / "paf_course.safetensors").write_bytes(data)
    table = leaderboard.board(shipped, file)
    assert "paf_course" not in [row.weights for row in table.rows]
    assert any("was changed after it was written" in text for text in table.unlisted)


def test_a_row_says_what_the_header_says_and_under_which_conditions(shipped, file):
    hourglass, paf, hrnet = leaderboard.board(shipped, file).rows
    scores = {"pcp": 0.6, "pck@0.2": 0.5, "pdj@0.2": 0.52, "pckh@0.5": None, "photographs": 0.25}
    scores |= {"1-2": 0.4, "3-4": 0.3, "5-7": None, "8-12": 0.1}
    assert {name: hourglass.values[name] for name in leaderboard.SCORES} == scores
    assert (hourglass.name, hourglass.lesson, hourglass.year, hourglass.boxes) == (
        "Stacked hourglass",
        "06",
        2016,
        "true",
    )
    assert (paf.values["pck@0.2"], paf.values["photographs"], paf.boxes) == (0.5, None, "own")
    assert hrnet.values["pck@0.2"] == 0.7 and hrnet.values["1-2"] is None
    assert hourglass.values["pictures"] == 0.64
    assert all(row.values[name] is None for row in (hourglass, paf, hrnet) for name in leaderboard.COSTS)


def test_numbers_that_are_none_do_not_count():
    values = leaderboard.measured({"single-val": {"pck@0.2": float("nan"), "pcp": float("inf")}}, told=True)
    assert set(values) == set(leaderboard.SCORES) and set(values.values()) == {None}


# --- costs ------------------------------------------------------------------------------------------------------------


def test_costs_belong_to_weights_and_survive_new_scores(shipped, file):
    studies.save(file, {"made_by": leaderboard.MADE_BY, "runs": [run_of(shipped, "paf_course")]})
    table = leaderboard.board(shipped, file)
    assert table.untimed == ["Stacked hourglass", "HRNet"] and table.machine == ["cpu, 1 threads, 2026-01-31, code 0.1"]
    assert table.rows[1].values["milliseconds"] == pytest.approx(20) and table.rows[1].values["parameters"] == 0.5
    checkpoints.record(shipped / "paf_course.safetensors", {"lspet-val, surest person": {"pck@0.2": 0.1}})
    assert "Part affinity fields" not in leaderboard.board(shipped, file).untimed
    write(shipped, "paf_course", {"crowd-val": {"by_people": GROUPS}}, seed=1)
    assert "Part affinity fields" in leaderboard.board(shipped, file).untimed


def test_a_new_detector_makes_the_times_of_two_stages_old(shipped, file):
    write(shipped, "person_detector", {})
    studies.save(file, {"runs": [run_of(shipped, "paf_course", others=("person_detector",))]})
    assert "Part affinity fields" not in leaderboard.board(shipped, file).untimed
    write(shipped, "person_detector", {}, seed=1)
    assert "Part affinity fields" in leaderboard.board(shipped, file).untimed
    (shipped / "person_detector.safetensors").unlink()
    assert "Part affinity fields" in leaderboard.board(shipped, file).untimed


def test_only_missing_times_are_taken_and_what_is_interrupted_goes_on(shipped, file, monkeypatch, capsys):
    monkeypatch.setattr(paths, "CHECKPOINTS", shipped)
    (shipped / "ief_course.safetensors").unlink()
    asked = []

    def cost_of(system):
        asked.append(system.weights)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return {**run_of(shipped, system.weights), "picture": "a crop"}

    monkeypatch.setattr(leaderboard, "cost_of", cost_of)
    with pytest.raises(KeyboardInterrupt):
        leaderboard.take_times(file=file)
    assert [run["weights"] for run in leaderboard.load(file)["runs"]] == ["cpm_course"]
    assert leaderboard.take_times(file=file) == 3
    assert asked == ["cpm_course", "hourglass_course", "hourglass_course", "paf_course", "hrnet_course"]
    assert leaderboard.take_times(file=file) == 0 and len(asked) == 5
    assert leaderboard.take_times(again=True, file=file) == 4
    stored = leaderboard.load(file)
    assert stored["made_by"] == leaderboard.MADE_BY and len(stored["runs"]) == 4
    assert "20.0 ms, a crop" in capsys.readouterr().out


def test_a_crop_is_timed_for_networks_of_one_person_and_a_crowd_for_the_others(monkeypatch):
    few = {"1-2": synthetic.benchmark("crowd-val", "lsp", count=1)}
    monkeypatch.setattr(crowd_times, "pictures", lambda each: few)
    by_name = {system.weights: system for system in leaderboard.systems()}
    one, many = (leaderboard.cost_of(by_name[name]) for name in ("pose_resnet_course", "paf_course"))
    assert one["picture"] == "a person of 128 x 128 pixels" and many["picture"] == "a crowd of 256 x 192 pixels"
    for run in (one, many):
        assert run["device"] == "cpu, 1 threads" and run["seconds"] > 0 and run["multiply_adds"] > 0
        assert run["parameters"] > 0.5 and list(run["digests"]) == [run["weights"]] and json.dumps(run)


# --- benchmark by benchmark -------------------------------------------------------------------------------------------


def test_all_weights_are_listed_by_benchmark(tmp_path):
    lone = {"pck@0.1": 0.5, "pck@0.2": 0.91, "per_joint": {"wrist": 0.8}, "auc": None, "people": 9}
    write(tmp_path, "good", {"single-val": lone})
    write(tmp_path, "weak", {"single-val": {"pck@0.1": 0.6, "pck@0.2": 0.42}})
    write(tmp_path, "unmeasured", {})
    (tmp_path / "damaged.safetensors").write_bytes(b"x" * 50)
    tables, unlisted = leaderboard.by_benchmark(tmp_path)
    assert [row["name"] for row in tables["single-val"]] == ["good", "weak"]
    assert tables["single-val"][0]["scores"] == {"pck@0.2": 0.91, "pck@0.1": 0.5, "people": 9}
    assert len(unlisted) == 2 and any("unmeasured" in text for text in unlisted)
    page = leaderboard_page.page(tmp_path)
    assert page.count("<tr>") == 3 and "0.910" in page and ">9<" in page and "kind synthetic" in page
    assert "damaged.safetensors is cut short" in page and str(tmp_path) not in page


def test_crowds_are_listed_by_how_many_people_there_are(tmp_path):
    for name, ap in (("weak", 0.2), ("good", 0.6)):
        few = {"ap": ap + 0.1, "ap50": 0.9, "pckh_map": 0.7, "people": 4}
        scores = {"pckh_map": 0.5, "ap": ap, "by_people": {"1-2": few, "3-4": dict.fromkeys(few)}, "ap_interval": None}
        write(tmp_path, name, {"crowd-val": scores})
    rows = leaderboard.by_benchmark(tmp_path)[0]["crowd-val"]
    assert [row["name"] for row in rows] == ["good", "weak"]
    listed = {"ap": 0.6, "pckh_map": 0.5, "ap, 1-2": pytest.approx(0.7), "pckh_map, 1-2": 0.7}
    assert rows[0]["scores"] == listed and "0.700" in leaderboard_page.page(tmp_path)


# --- the command and the picture --------------------------------------------------------------------------------------


def test_the_command_prints_the_table_draws_it_and_writes_the_page(shipped, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(paths, "CHECKPOINTS", shipped)
    monkeypatch.setattr(leaderboard, "FILE", tmp_path / "costs.json")
    monkeypatch.setattr(leaderboard_picture, "FILE", tmp_path / "board.svg")
    runs = [run_of(shipped, name) for name in ("cpm_course", "hourglass_course", "paf_course", "hrnet_course")]
    studies.save(leaderboard.FILE, {"runs": runs})
    (shipped / "ief_course.safetensors").unlink()
    assert cli.main(["leaderboard", "--out", str(tmp_path / "page")]) == 0
    said = capsys.readouterr().out
    assert "Down and up, supervised repeatedly" in said and "90.9 PCKh MPII" in said and "0.520" in said
    assert "not listed: DeepPose: there is no checkpoint" in said and "ms, a person" not in said
    assert (tmp_path / "board.svg").exists() and "PCK" in (tmp_path / "page" / "leaderboard.html").read_text("utf-8")
    for one in shipped.glob("*.safetensors"):
        one.unlink()
    assert cli.main(["leaderboard"]) == 2 and "there is no leaderboard" in capsys.readouterr().err


def test_the_stored_picture_and_times_are_those_of_the_weights_that_ship():
    table = leaderboard.board()
    assert (table.unlisted, table.untimed) == ([], [])
    assert len(table.rows) == len(leaderboard.systems())
    same = leaderboard_picture.FILE.read_text(encoding="utf-8") == leaderboard_picture.draw(table)
    assert same, f"the weights or their scores have changed; run: {leaderboard.MADE_BY}"


def test_the_picture_shows_the_numbers_and_needs_nothing_from_elsewhere(shipped, file):
    table = leaderboard.board(shipped, file)
    picture = leaderboard_picture.draw(table)
    words = [text.text for text in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert words.count("0.50") == 2 and "0.70" in words and "Stacked hourglass" in words and "–" in words
    assert not re.search(r"href|url\(|<script|<image|@import", picture) and "prefers-color-scheme" in picture
    assert picture.count('class="told"') == 2 + 1 + 1  # hourglass in true boxes, PAF of the surest person, the legend
    assert "best PCK@0.2 on drawn people: HRNet, 0.70" in leaderboard_picture.in_words(table.rows)
    ElementTree.fromstring(leaderboard_picture.draw(leaderboard.Board([], [], [], [])))


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_says_under_which_conditions_and_links_only_what_is_there(shipped, monkeypatch, tmp_path):
    monkeypatch.setattr(leaderboard, "FILE", tmp_path / "costs.json")
    page = leaderboard_page.page(shipped, {"06": "06_stacked_hourglass.html"})
    assert '<a href="06_stacked_hourglass.html">06</a>' in page and "<td>11</td>" in page
    assert "0.400<sup>†</sup>" in page and "0.500<sup>‡</sup>" in page and "in true boxes" in page
    assert "Not timed yet: Stacked hourglass, Part affinity fields, HRNet" in page
    assert "Iterative error feedback: ief_course.safetensors is cut short" in page
    heads = re.findall(r"<th scope=\"col\"[^>]*>.*?</th>", page)
    assert all('aria-sort="none"' in head and '<button type="button">' in head for head in heads) and len(heads) > 18


def test_an_empty_leaderboard_says_so(tmp_path):
    assert "No measured weights" in leaderboard_page.page(tmp_path)


@pytest.fixture
def browser_page(chromium, shipped, monkeypatch, tmp_path) -> Page:
    """The page in a browser without a network."""
    monkeypatch.setattr(leaderboard, "FILE", tmp_path / "costs.json")
    file = pages.write(tmp_path / "site" / "leaderboard.html", leaderboard_page.page(shipped))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_context(offline=True).new_page()
        page.said = []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.goto(file.as_uri())
        yield page
        assert not page.said
        browser.close()


def column(page: Page, head: str) -> list[str]:
    """What stands in a column of the main table from top to bottom."""
    heads = page.locator("table").first.locator("thead tr").last.locator("th").all_inner_texts()
    place = next(k for k, text in enumerate(heads) if text.rstrip(" ↑↓") == head) + 1
    cells = page.locator("table").first.locator(f"tbody tr > :nth-child({place})").all_inner_texts()
    return [re.sub("[†‡]", "", text).strip() for text in cells]


def test_columns_can_be_sorted_with_what_is_missing_at_the_end(browser_page):
    table = browser_page.locator("table").first

    def press(head: str) -> None:
        table.get_by_role("button", name=head, exact=True).first.click()

    press("PCP")
    assert column(browser_page, "PCP") == ["0.600"] * 3
    press("8–12")  # the best first
    assert column(browser_page, "8–12") == ["0.300", "0.100", "–"]
    press("8–12")
    assert column(browser_page, "8–12") == ["0.100", "0.300", "–"]
    press("PDJ@0.2")
    sorted_by = table.locator('th[aria-sort]:not([aria-sort="none"])')
    assert sorted_by.count() == 1 and sorted_by.get_attribute("aria-sort") == "descending"
    press("System")
    assert column(browser_page, "System") == ["HRNet", "Part affinity fields", "Stacked hourglass"]
    press("System")
    assert column(browser_page, "System") == ["Stacked hourglass", "Part affinity fields", "HRNet"]
    assert table.locator('th[aria-sort="descending"]').inner_text().startswith("System")
    table.get_by_role("button", name="Year").focus()
    browser_page.keyboard.press("Enter")
    assert column(browser_page, "Year") == ["2016", "2017", "2019"]
    browser_page.keyboard.press("Enter")
    assert column(browser_page, "Year") == ["2019", "2017", "2016"]


def test_a_damaged_store_of_times_is_refused_in_one_sentence(shipped, file):
    file.write_text("{", encoding="utf-8")
    with pytest.raises(CourseError, match=r"costs\.json"):
        leaderboard.board(shipped, file)
