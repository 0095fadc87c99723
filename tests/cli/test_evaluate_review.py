"""Stored reports from the command line: shown in every form, given to reviewers, judged again with what they say."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from rollout.core.evaluation import Evaluation
from rollout.report.evaluation import to_html, to_json, to_markdown
from tests.support.commands import rollout
from tests.support.reports import faithful, sample_evaluation


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return sample_evaluation()


@pytest.fixture
def stored(evaluation: Evaluation, tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    path.write_text(to_json(evaluation), encoding="utf-8")
    return path


def exported(stored: Path, *words: str) -> Path:
    sheet = stored.parent / "sheet.csv"
    ended = rollout("evaluate", "review", "export", str(stored), "--output", str(sheet), *words)
    assert ended.status == 0, ended.err
    return sheet


def fill(sheet: Path, reviewer: str) -> Path:
    """The sheet as a spreadsheet saves it: without a mark at its beginning, quotes only where they are needed."""
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    filled = sheet.with_name(f"{reviewer}.csv")
    with filled.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "preference": "tie", "reviewer": reviewer} for row in rows)
    return filled


def test_a_stored_report_is_shown_in_every_form(stored: Path, evaluation: Evaluation) -> None:
    for form, render in (("json", to_json), ("markdown", to_markdown), ("html", to_html)):
        ended = rollout("evaluate", "show", str(stored), "--format", form)
        assert (ended.status, ended.out) == (0, render(evaluation))
    assert rollout("evaluate", "show", str(stored)).out.startswith("FAIL  support-bot 1.2.0 is blocked")


def test_showing_a_report_to_a_file_says_its_headline(stored: Path, evaluation: Evaluation) -> None:
    page = stored.with_name("page.html")
    ended = rollout("evaluate", "show", str(stored), "--format", "html", "--output", str(page))
    assert page.read_text(encoding="utf-8") == to_html(evaluation)
    assert "support-bot 1.2.0 is blocked" in ended.err
    assert ended.out == ""


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"schema": "adapter-rollout/evaluation/v1", "reports": []}')
    ended = rollout("evaluate", "show", str(path))
    assert ended.status == 3
    assert "is no stored evaluation" in ended.err


def test_reviews_go_out_and_come_back(stored: Path) -> None:
    sheet = exported(stored, "--cases", "10", "--seed", "3")
    filled = [str(fill(sheet, name)) for name in ("Ada", "Bo")]
    ended = rollout("evaluate", "review", "import", str(stored), *filled, "--seed", "3", "--format", "json")
    judged = Evaluation.model_validate_json(ended.out, strict=True)
    told = judged.reports[0].subject.panel["human review"]
    assert (told["reviewers"], told["cases"], told["seed"]) == ("2", "10", "3")
    assert "human_preference" in {row.metric for row in judged.reports[0].metrics}
    assert ended.status == 1, "the report is still blocked by what blocked it"


def test_a_wrong_seed_is_refused_with_file_and_line(stored: Path) -> None:
    filled = fill(exported(stored, "--seed", "3"), "Ada")
    ended = rollout("evaluate", "review", "import", str(stored), str(filled), "--seed", "4")
    assert ended.status == 3
    assert f"{filled}:" in ended.err
    assert "another seed" in ended.err


def test_a_report_in_which_nothing_differs_has_nothing_to_review(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(to_json(sample_evaluation(says=faithful, per_slice=5)), encoding="utf-8")
    ended = rollout("evaluate", "review", "export", str(path), "--output", str(tmp_path / "sheet.csv"))
    assert ended.status == 3
    assert "There is nothing to review" in ended.err
    assert not (tmp_path / "sheet.csv").exists()
