"""The report as people see it: the verdict first, nothing hidden, nothing that text from a model can do to it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest

from rollout.core.evaluation import EvalReport, Side
from rollout.core.verdict import Outcome, Verdict
from rollout.report.evaluation import headline, to_json
from rollout.report.evaluation_markdown import escaped, fenced, to_markdown
from rollout.report.evaluation_text import plain, to_text
from tests.usecases.test_evaluate import Bench


@pytest.fixture(scope="module")
def passing(tmp_path_factory: pytest.TempPathFactory) -> EvalReport:
    return Bench(tmp_path_factory.mktemp("passing")).run()


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> EvalReport:
    bench = Bench(tmp_path_factory.mktemp("failing"))
    bench.candidate_says(lambda prompt, text: text.removesuffix('"}') if "invoice" in prompt else text)
    return bench.run()


def test_the_verdict_is_the_first_line(passing: EvalReport, failing: EvalReport) -> None:
    assert click.unstyle(to_text(passing)).startswith("PASS  support-bot 1.1.0 may go on: all ")
    first, second = click.unstyle(to_text(failing)).splitlines()[:2]
    assert re.fullmatch(r"FAIL  support-bot 1\.1\.0 is blocked: \d failed of \d+ checks", first)
    assert second == "against champion 1.0.0 and base rollout-demo/tiny-llama@0000000, on triage (160 items)"


def test_the_failing_slice_is_the_first_reason_and_the_first_row(failing: EvalReport) -> None:
    lines = click.unstyle(to_text(failing)).splitlines()
    assert lines[3].split()[:2] == ["FAIL", "slice/invoice"]
    head = next(place for place, line in enumerate(lines) if line.startswith("  slice "))
    assert lines[head + 1].split()[0] == "invoice"
    assert lines[head + 1].endswith("FAIL")


def test_columns_are_aligned(failing: EvalReport) -> None:
    lines = click.unstyle(to_text(failing)).splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("  metric "))
    table = lines[head : lines.index("", head)]
    end = table[0].index("candidate") + len("candidate")
    assert all(len(row) > end and row[end - 1] != " " and row[end] == " " for row in table)


def test_three_answers_before_and_after_are_shown(failing: EvalReport) -> None:
    text = click.unstyle(to_text(failing))
    assert text.count("\n    champion   ") == text.count("\n    candidate  ") == 3
    assert '    candidate  {"intent": "invoice", "priority": "low\n' in text


def test_every_verdict_that_is_no_pass_is_shown_with_its_reason(failing: EvalReport) -> None:
    text, markdown = click.unstyle(to_text(failing)), to_markdown(failing)
    for verdict in failing.verdicts:
        if verdict.outcome is not Outcome.PASS:
            assert verdict.reason in text
            assert escaped(verdict.reason) in markdown


def test_the_footer_says_what_it_is_about_and_how_to_do_it_again(passing: EvalReport) -> None:
    text = click.unstyle(to_text(passing))
    for fact in (
        passing.digest,
        passing.suite_digest[:12],
        passing.gates_digest[:12],
        passing.command,
        "recorded 1",
    ):
        assert fact in text
        assert escaped(fact) in to_markdown(passing)
    assert "exact_match 99.0% (by the trainer, not trusted)" in text


def test_json_is_the_report(failing: EvalReport) -> None:
    assert EvalReport.model_validate_json(to_json(failing), strict=True) == failing
    assert json.loads(to_json(failing))["schema"] == "adapter-rollout/evaluation-report/v1"


def test_markdown_opens_with_its_mark_and_one_alert(passing: EvalReport, failing: EvalReport) -> None:
    for report, alert in ((passing, "[!TIP]"), (failing, "[!CAUTION]")):
        lines = to_markdown(report).splitlines()
        assert lines[0] == "<!-- rollout evaluate: support-bot -->"
        assert lines[2] == f"> {alert}"
        assert lines[3].startswith("> **support-bot 1.1.0 ")


def test_every_row_of_a_markdown_table_has_as_many_cells_as_its_head(failing: EvalReport) -> None:
    table: list[str] = []
    for line in [*to_markdown(failing).splitlines(), ""]:
        if line.startswith("|"):
            table.append(line)
        elif table:
            assert len({row.count("|") for row in table}) == 1
            table = []


def test_a_comment_fits_into_github(failing: EvalReport) -> None:
    assert len(to_markdown(failing)) < 65_536


@pytest.mark.parametrize(
    ("outcome", "required", "said"),
    [
        (Outcome.INCONCLUSIVE, True, "is not settled: 1 inconclusive of 1 checks"),
        (Outcome.NO_DATA, True, "is blocked: 1 without data of 1 checks"),
        (Outcome.ERROR, True, "is blocked: 1 in error of 1 checks"),
        (Outcome.PASS, False, "is blocked: there was no check"),
    ],
)
def test_the_headline_never_sounds_better_than_the_outcome(
    passing: EvalReport, outcome: Outcome, required: bool, said: str
) -> None:
    verdict = Verdict(subject="x", outcome=outcome, reason="y", required=required)
    assert headline(passing.model_copy(update={"verdicts": (verdict,)})).endswith(said)


HOSTILE = (
    "\x1b[31mred\x1b[0m \x07 \u202egnp.exe\n"
    "```\n</details><script>alert(1)</script> ![x](http://evil.example/x.png) @team #1 | www.evil.example"
)


def hostile(report: EvalReport) -> EvalReport:
    example = report.examples[0].model_copy(
        update={"answers": dict.fromkeys(Side, HOSTILE), "slice": HOSTILE, "reference": HOSTILE}
    )
    row = report.slices[0].model_copy(update={"slice": HOSTILE})
    verdict = Verdict(subject=f"slice/{HOSTILE}", outcome=Outcome.FAIL, reason=HOSTILE)
    return report.model_copy(
        update={"examples": (example,), "slices": (row,), "verdicts": (verdict,), "command": HOSTILE}
    )


def test_text_of_a_model_cannot_move_the_cursor_or_colour_the_terminal(failing: EvalReport) -> None:
    text = click.unstyle(to_text(hostile(failing)))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "\\u001b[31mred" in text


def test_text_of_a_model_stays_text_in_markdown(failing: EvalReport) -> None:
    markdown = to_markdown(hostile(failing))
    outside = re.sub(r"^(`{3,})text\n.*?\n\1$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    for harm in ("<script", "![x]", "@team", " #1", "\x1b", "\u202e", "www.evil", "http://", "\n```"):
        assert harm not in outside, harm
    assert markdown.count("<details>") == outside.count("<details>") == outside.count("</details>") == 2


def test_a_fence_is_longer_than_any_in_its_text() -> None:
    assert fenced("a\n````\nb").startswith("`````text\n")
    assert fenced("") == "```text\n(empty)\n```"


def test_long_text_is_cut_where_it_is_shown() -> None:
    assert len(plain("x" * 1000)) == 100
    assert len(fenced("x" * 100_000)) < 2000


def test_a_report_is_written_without_colours_to_a_file(passing: EvalReport, tmp_path: Path) -> None:
    assert click.unstyle(to_text(passing)) != to_text(passing)
