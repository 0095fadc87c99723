"""What people see of a comparison over traffic: the verdict first, every reason, and nothing that a model wrote obeyed."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import click
import pytest

from rollout.core.gate import metric_rows
from rollout.core.metric import NotCopied, Pair
from rollout.core.shadow.cases import PairReader
from rollout.core.shadow.conclude import failures_of, measured_of, timed_rows, timings_of, verdicts_on
from rollout.core.shadow.document import Lateness, Replayed, ShadowReport, Traffic
from rollout.report.evaluation.markdown import MAX_BYTES
from rollout.report.shadow import headline, to_html, to_markdown, to_text
from rollout.report.shadow.lines import WHY
from tests.support.shadows import pair, subject, suite

HOSTILE = (
    "\x1b[31mred\x1b[0m \x07 \u202egnp.exe\n"
    "```\n</details><script>alert(1)</script> ![x](http://evil.example/x.png) @team #1"
)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def report(pairs: list[Pair], **traffic: object) -> ShadowReport:
    golden = suite({"exact_match": {"min": 0.9}})
    about = subject(golden)
    reader = PairReader.of(golden, whole=True)
    cases = [case for each in pairs if (case := reader.read(each, about.opponent)) is not None]
    told = Traffic.model_validate({"source": "the traffic log", "pairs": len(pairs), **traffic})
    measured, timings = measured_of(about, cases, {}), timings_of(about, pairs, "here")
    return ShadowReport(
        tool="0",
        command="rollout shadow support-triage -e test",
        started_at=NOW,
        finished_at=NOW,
        subject=about,
        traffic=told,
        measured=measured,
        failures=failures_of(pairs),
        metrics=(*metric_rows(measured, about.rules), *timed_rows(about, timings)),
        timings=timings,
        verdicts=verdicts_on(about, told, measured, pairs),
    )


def text(of: ShadowReport) -> str:
    return click.unstyle(to_text(of))


@pytest.fixture(scope="module")
def worse() -> ShadowReport:
    hostile = {"said": HOSTILE, "format_valid": False, "refused": True, "stable": {"refused": False}}
    return report(
        [pair(n, status=500 if n == 7 else 200, **(hostile if n % 3 == 0 else {})) for n in range(120)]
    )


@pytest.fixture(scope="module")
def good() -> ShadowReport:
    return report([pair(n) for n in range(200)])


def test_the_verdict_comes_first_and_names_the_candidate(worse: ShadowReport, good: ShadowReport) -> None:
    assert text(good).startswith("PASS  support-triage 1.1.0 may go on: all 6 checks passed\n")
    assert text(worse).startswith(
        f"FAIL  {headline(worse)}\nagainst stable 1.0.0 (the champion) in test, 120 pairs"
    )


def test_every_form_says_how_many_pairs_were_compared_and_what_was_set_aside(good: ShadowReport) -> None:
    for form in (text(good), to_markdown(good), to_html(good)):
        assert "200 pairs, of which 200 have two good answers; 100 are the least" in form
        assert "the right answer must be known" in form


def test_failures_are_a_table_of_both_sides(worse: ShadowReport) -> None:
    assert re.search(r"failed with +stable +candidate +both\n +status 5xx +0 +1 +0", text(worse))
    assert "| status 5xx | 0 | 1 | 0 |" in to_markdown(worse)


def test_the_worst_answers_are_shown_and_nothing_in_them_is_obeyed(worse: ShadowReport) -> None:
    shown = text(worse)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\\u001b[31mred" in shown
    page, comment = to_html(worse), to_markdown(worse)
    assert "<script>alert(1)</script>" not in page
    assert "\x1b" not in page
    assert "````" in comment, "a fence in an answer ends no fence of ours"
    assert comment.startswith("<!-- rollout shadow: support-triage -->")
    assert len(comment.encode()) <= MAX_BYTES


def test_a_comment_holds_no_more_than_a_forge_takes() -> None:
    long = report([pair(n, said="word " * 4000) for n in range(40)])
    assert len(to_markdown(long).encode()) <= MAX_BYTES


def test_every_reason_for_no_copy_has_its_words() -> None:
    assert set(WHY) == set(NotCopied)


def test_what_was_not_copied_is_told_the_commonest_first() -> None:
    found = report(
        [pair(n) for n in range(10)],
        requests=30,
        copied=12,
        not_copied={"tools": 3, "budget": 9},
    )
    told = text(found)
    assert "12 of 30 requests of stable were copied, 2 of them without an answer yet or given up" in told
    assert "9 came when the tokens of the minute were used up, 3 needed tools" in told


def test_a_replay_tells_its_speed_its_lateness_and_what_it_did_not_send() -> None:
    replayed = Replayed(
        questions=20,
        sent=12,
        not_sent=7,
        skipped={NotCopied.EFFECTS: 1},
        speed=2.0,
        max_in_flight=4,
        seconds=3.25,
        lateness=Lateness(p50_ms=0.2, p99_ms=1.5, largest_ms=9.0),
        targets=("http://127.0.0.1:8000",),
        stopped=True,
    )
    told = text(report([pair(n) for n in range(12)], replayed=replayed))
    assert "12 of 20 questions, each to both, in 3.2 s, 2 times as fast as they came, 7 not sent" in told
    assert "0.2 ms at P50, 1.5 at P99, 9.0 at most" in told
    assert "the replay was stopped: 12 of 20 questions were sent to both" in told


def test_texts_that_were_kept_without_personal_data_are_told_so() -> None:
    pairs = [pair(n, said=None if n else "x") for n in range(5)]
    told = text(report(pairs, without_texts=4, redacted=True))
    assert "kept of 1 of 5 pairs, without personal data; the others tell what the gateway measured" in told


def test_a_report_of_nothing_can_be_drawn_in_every_form() -> None:
    empty = report([], unread="there is no traffic log")
    for form in (text(empty), to_markdown(empty), to_html(empty)):
        assert "there is no traffic log" in form


def test_a_report_is_read_back_as_it_was_written(worse: ShadowReport) -> None:
    assert ShadowReport.model_validate_json(worse.model_dump_json(by_alias=True)) == worse
