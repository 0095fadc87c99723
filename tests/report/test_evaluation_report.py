"""What people see of an evaluation in a terminal, in JSON and in a comment: verdict first, worst first, harmless."""

from __future__ import annotations

import json
import re

import click
import pytest

from rollout.core.evaluation import Case, EvalReport, Evaluation, Reply, Side
from rollout.core.gate import conclude_quality, conclude_speed
from rollout.core.suite import Turn
from rollout.core.verdict import Interval, Outcome, Verdict
from rollout.report.evaluation import headline, to_html, to_json, to_markdown, to_text
from rollout.report.evaluation.lines import open_verdicts
from rollout.report.evaluation.markdown import MAX_BYTES, escaped, fenced
from rollout.report.evaluation.plain import plain
from rollout.report.evaluation.proof import prove
from tests.support.reports import faithful, sample_evaluation, sample_report

HOSTILE = (
    "\x1b[31mred\x1b[0m \x07 \u202egnp.exe\n"
    "```\n</details><script>alert(1)</script> ![x](http://evil.example/x.png) @team #1 | www.evil.example"
)
ONE_LINE = HOSTILE.replace("\n", " ")


@pytest.fixture(scope="module")
def passing() -> Evaluation:
    return sample_evaluation(says=faithful)


@pytest.fixture(scope="module")
def failing() -> Evaluation:
    return sample_evaluation()


@pytest.fixture(scope="module")
def several(failing: Evaluation) -> Evaluation:
    return Evaluation(reports=(sample_report(suite="safety", says=faithful), *failing.reports))


def text_of(evaluation: Evaluation) -> str:
    return click.unstyle(to_text(evaluation))


def concluding(evaluation: Evaluation, *verdicts: Verdict) -> Evaluation:
    """The first report with these verdicts and no others."""
    report = evaluation.reports[0]
    quality = report.quality.model_copy(update={"verdicts": verdicts})
    speed = report.speed.model_copy(update={"verdicts": ()})
    return Evaluation(reports=(report.model_copy(update={"quality": quality, "speed": speed}),))


def measuring(report: EvalReport, **changes: object) -> EvalReport:
    measured = report.measured.model_copy(update=changes)
    return report.model_copy(update={"quality": report.quality.model_copy(update={"measured": measured})})


def test_the_verdict_is_the_first_line(passing: Evaluation, failing: Evaluation) -> None:
    assert re.match(r"PASS  support-bot 1\.2\.0 may go on: all \d+ checks passed\n", text_of(passing))
    first, second = text_of(failing).splitlines()[:2]
    assert first == "FAIL  support-bot 1.2.0 is blocked: 2 failed of 14 checks"
    assert (
        second
        == "against champion 1.1.0 and base rollout-demo/tiny-llama@0d0d0d0, on support-triage (320 cases)"
    )


def test_the_failing_slice_is_the_first_reason_and_the_first_row(failing: Evaluation) -> None:
    lines = text_of(failing).splitlines()
    assert lines[3].split()[:2] == ["FAIL", "slice/invoice"]
    head = next(place for place, line in enumerate(lines) if line.startswith("  slice "))
    assert lines[head + 1].split()[0] == "invoice"
    assert lines[head + 1].endswith("FAIL")


def test_a_failed_metric_is_the_first_of_its_table(failing: Evaluation) -> None:
    lines = text_of(failing).splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("  metric "))
    assert lines[head + 1].startswith("  valid JSON ")
    assert lines[head + 1].endswith("FAIL")


def test_a_failed_gate_names_value_interval_n_threshold_cases_and_the_command(failing: Evaluation) -> None:
    report = failing.reports[0]
    for told in (text_of(failing), to_markdown(failing)):
        assert re.search(
            r"value 93\.9%[;| ·]+interval 91\.1% to 95\.9% \(90%\)[;| ·]+n 280[;| ·]+allowed ≥ 95\.0%", told
        )
        assert "cases invoice-001, invoice-002" in told
        assert escaped(report.command) in told or report.command in told
    verdict = next(each for each in report.verdicts if each.subject == "gate/json_compliance")
    broken = {
        case.id for case in report.measured.cases if case.scores[Side.CANDIDATE].get("json_compliance") == 0
    }
    assert {case.id for case in prove(report, verdict).cases} == broken
    assert len(broken) == 17


def test_the_cases_of_a_failed_slice_are_those_that_fell_in_it(failing: Evaluation) -> None:
    report = failing.reports[0]
    proof = prove(report, open_verdicts(report)[0])
    assert len(proof.cases) == 14
    assert all(case.slice == "invoice" for case in proof.cases)
    assert proof.named(2) == "invoice-001, invoice-002 and 12 more"
    assert proof.value == "−30.0 points"
    assert "invoice-001" not in proof.reason, "cases are named once"


def test_a_loss_beyond_the_margin_names_the_margin() -> None:
    def forgets(side: Side, slice_: str, right: str, chance: object) -> str:
        return "no" if side is Side.CANDIDATE and slice_ in ("invoice", "refund", "login") else right

    report = sample_report(says=forgets)
    verdict = next(each for each in report.verdicts if each.subject == "champion/exact_match")
    assert verdict.outcome is Outcome.FAIL
    figures = dict(prove(report, verdict).figures)
    assert figures["allowed"] == "loss < 5.0 points"
    assert figures["value"].startswith("−")
    assert figures["n"] == "280"


def test_columns_are_aligned(failing: Evaluation) -> None:
    lines = text_of(failing).splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("  metric "))
    table = lines[head : lines.index("", head)]
    end = table[0].index("candidate") + len("candidate")
    assert all(len(row) > end and row[end - 1] != " " and row[end] == " " for row in table)


def test_three_answers_that_fell_are_shown(failing: Evaluation) -> None:
    text = text_of(failing)
    assert text.count("\n    champion   ") == text.count("\n    candidate  ") == 3
    assert text.count("invoice, fell") == 3
    assert '    candidate  {"intent": "billing"' in text


def test_that_no_answer_differs_is_said(passing: Evaluation) -> None:
    assert "no answer differs from the champion's" in text_of(passing)


def test_every_verdict_that_is_no_pass_is_shown_with_its_reason(failing: Evaluation) -> None:
    text, markdown = text_of(failing), to_markdown(failing)
    report = failing.reports[0]
    assert open_verdicts(report)
    for verdict in open_verdicts(report):
        reason = prove(report, verdict).reason
        assert reason in text
        assert escaped(reason) in markdown


def test_noise_agreement_effect_missing_metrics_and_machines_are_told(failing: Evaluation) -> None:
    for told in (text_of(failing), to_markdown(failing).replace("&#96;", "`").replace("&#95;", "_")):
        assert "2 of 32 answers of the champion changed when asked again" in told
        assert "from transformers 5.17.0 float32, 8 probes: base 0.012" in told
        assert "candidate moves it by 5.1 (0 of 320 answers the same, noise 2.4e-07)" in told
        assert "empty_tone: the package is not installed (extra `toxicity`)" in told
        assert "1/2 on Intel Xeon Platinum 8481C, 2 threads; 2/2 on Intel" in told
        assert "exact_match 97.0% (by the trainer, not trusted)" in told


def test_what_was_not_measured_is_never_told_as_if_it_were(passing: Evaluation) -> None:
    report = measuring(passing.reports[0], agreement=None, noise={})
    text = text_of(Evaluation(reports=(report,)))
    assert re.search(r"^agreement  not measured$", text, re.MULTILINE)
    assert re.search(r"^noise      nothing was asked twice$", text, re.MULTILINE)


def test_a_part_of_a_suite_is_called_one(failing: Evaluation) -> None:
    part = sample_evaluation(per_slice=5, planned=114)
    for told in (text_of(part), to_markdown(part)):
        assert "a part of support-triage: 40 of 114 cases" in told
    assert "a part of" not in text_of(failing)


def test_without_a_champion_the_base_is_what_is_compared_with() -> None:
    text = text_of(sample_evaluation(champion=False))
    assert "against base rollout-demo/tiny-llama@0d0d0d0, as there is no champion yet" in text
    head = next(line for line in text.splitlines() if line.startswith("  metric "))
    assert head.split()[1:3] == ["base", "candidate"]


def test_of_several_suites_the_bad_one_comes_first(several: Evaluation) -> None:
    assert headline(several) == "support-bot 1.2.0 is blocked by 1 of 2 suites: support-triage"
    text, markdown = text_of(several), to_markdown(several)
    assert text.startswith(f"FAIL  {headline(several)}\n")
    assert text.index("== support-triage  FAIL  2 failed of 14 checks") < text.index(
        "== safety  PASS  passed all 14 checks"
    )
    assert markdown.index("### ❌ support-triage: 2 failed") < markdown.index(
        "### ✅ safety: passed all 14 checks"
    )


def test_all_suites_must_pass_for_the_headline_to_say_so(passing: Evaluation) -> None:
    both = Evaluation(reports=(*passing.reports, sample_report(suite="safety", says=faithful)))
    assert headline(both) == "support-bot 1.2.0 may go on: all 2 suites passed"


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
    passing: Evaluation, outcome: Outcome, required: bool, said: str
) -> None:
    verdict = Verdict(subject="x", outcome=outcome, reason="y", required=required)
    assert headline(concluding(passing, verdict)).endswith(said)
    assert headline(concluding(passing, verdict).reports[0]).endswith(said)


def test_json_is_the_evaluation(failing: Evaluation) -> None:
    assert Evaluation.model_validate_json(to_json(failing), strict=True) == failing
    assert json.loads(to_json(failing))["schema"] == "adapter-rollout/evaluation/v1"
    assert json.loads(to_json(failing))["reports"][0]["schema"] == "adapter-rollout/evaluation-report/v2"


def test_markdown_opens_with_its_mark_and_one_alert(passing: Evaluation, failing: Evaluation) -> None:
    for evaluation, alert in ((passing, "[!TIP]"), (failing, "[!CAUTION]")):
        lines = to_markdown(evaluation).splitlines()
        assert lines[0] == "<!-- rollout evaluate: support-bot -->"
        assert lines[2] == f"> {alert}"
        assert lines[3].startswith("> **support-bot 1.2.0 ")


def test_every_row_of_a_markdown_table_has_as_many_cells_as_its_head(several: Evaluation) -> None:
    tables: list[list[str]] = [[]]
    for line in to_markdown(several).splitlines():
        if line.startswith("|"):
            tables[-1].append(line)
        elif tables[-1]:
            tables.append([])
    assert len([table for table in tables if table]) == 4
    assert all(len({row.count("|") for row in table}) == 1 for table in tables if table)


def test_a_comment_fits_into_github_and_says_what_it_leaves_out(failing: Evaluation) -> None:
    long = Reply(text="word " * 4000, completion_tokens=1, finish_reason="length")
    report = failing.reports[0]
    cases = tuple(
        case.model_copy(update={"replies": dict.fromkeys(Side, (long,)), "reference": "long " * 1500})
        for case in report.measured.cases
    )
    many = tuple(measuring(report, cases=cases) for _ in range(12))
    markdown = to_markdown(Evaluation(reports=many))
    assert 40_000 < len(markdown.encode()) <= MAX_BYTES < 65_536
    assert re.search(r"\(\d+ more left out\)|there is no room to show them", markdown)
    assert markdown.count("<details>") == markdown.count("</details>")


def test_even_reasons_without_end_fit_into_a_comment(failing: Evaluation) -> None:
    verdicts = [
        Verdict(subject=f"slice/{'s' * 250}{number}", outcome=Outcome.FAIL, reason="r" * 9000)
        for number in range(50)
    ]
    many = Evaluation(reports=concluding(failing, *verdicts).reports * 12)
    markdown = to_markdown(many)
    assert len(markdown.encode()) <= MAX_BYTES
    assert "The rest does not fit into a comment" in markdown


def hostile(evaluation: Evaluation) -> Evaluation:
    """One case, one slice and one verdict that say everything that could do harm."""
    report = evaluation.reports[0]
    reply = Reply(text=HOSTILE, completion_tokens=1, finish_reason="stop")
    case: Case = report.measured.cases[0].model_copy(
        update={
            "slice": ONE_LINE,
            "messages": (Turn(role="user", content=HOSTILE),),
            "reference": HOSTILE,
            "replies": {side: (reply.model_copy(update={"text": f"{side} {HOSTILE}"}),) for side in Side},
        }
    )
    measured = report.measured.model_copy(
        update={"cases": (case,), "planned": 1, "missing": {"tone": ONE_LINE}}
    )
    quality = report.quality.model_copy(
        update={
            "measured": measured,
            "slices": (report.quality.slices[0].model_copy(update={"slice": ONE_LINE}),),
            "verdicts": (Verdict(subject=f"slice/{ONE_LINE}", outcome=Outcome.FAIL, reason=HOSTILE),),
        }
    )
    return Evaluation(reports=(report.model_copy(update={"quality": quality, "command": ONE_LINE}),))


def test_text_of_a_model_cannot_move_the_cursor_or_colour_the_terminal(failing: Evaluation) -> None:
    text = text_of(hostile(failing))
    for harm in ("\x1b", "\x07", "\u202e"):
        assert harm not in text
    assert "candidate \\u001b[31mred" in text


def test_text_of_a_model_stays_text_in_markdown(failing: Evaluation) -> None:
    markdown = to_markdown(hostile(failing))
    outside = re.sub(r"^(`{3,})text\n.*?\n\1$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    assert outside.count("&#60;/details&#62;") > 3
    for harm in ("<script", "![x]", "@team", " #1", "\x1b", "\u202e", "www.evil", "http://", "\n```"):
        assert harm not in outside, harm
    assert markdown.count("<details>") == outside.count("<details>") == outside.count("</details>") == 2


def test_a_fence_is_longer_than_any_in_its_text() -> None:
    assert fenced("a\n````\nb").startswith("`````text\n")
    assert fenced("") == "```text\n(empty)\n```"


def test_long_text_is_cut_where_it_is_shown() -> None:
    assert len(plain("x" * 1000)) == 100
    assert len(fenced("x" * 100_000)) < 2000


def test_an_interval_that_is_not_known_is_not_invented(passing: Evaluation) -> None:
    verdict = Verdict(
        subject="gate/latency_p95_ms", outcome=Outcome.FAIL, reason="slow", effect=900.0, samples=(0, 40)
    )
    proof = prove(passing.reports[0], verdict)
    assert dict(proof.figures) == {"value": "900 ms", "n": "40", "allowed": "≤ 400 ms"}
    known = Verdict(
        subject="gate/latency_p95_ms",
        outcome=Outcome.FAIL,
        reason="slow",
        interval=Interval(low=800.0, high=950.0, confidence=0.9),
    )
    assert dict(prove(passing.reports[0], known).figures)["interval"] == "800 ms to 950 ms (90%)"


def test_a_run_that_stopped_before_the_first_question_says_why(failing: Evaluation) -> None:
    report = failing.reports[0]
    subject, measured = report.subject, report.measured
    stopped = measured.model_copy(update={"cases": (), "stopped": "the adapter has no effect", "noise": {}})
    bare = report.model_copy(
        update={"quality": conclude_quality(subject, stopped), "speed": conclude_speed(subject.rules, ())}
    )
    evaluation = Evaluation(reports=(bare,))
    for told in (text_of(evaluation), to_markdown(evaluation), to_html(evaluation)):
        assert "support-triage, of which nothing was asked: the adapter has no effect" in told
        assert "no answer differs" not in told
    assert "  metric " not in text_of(evaluation)


def test_what_outside_scorers_say_and_what_leaked_is_told(failing: Evaluation) -> None:
    leak = Verdict(subject="leak", outcome=Outcome.PASS, reason="no item stands in the training data")
    report = measuring(failing.reports[0], leak=leak).model_copy(update={"notes": ("judge: 3 answers kept",)})
    for told in (text_of(Evaluation(reports=(report,))), to_html(Evaluation(reports=(report,)))):
        assert "judge: 3 answers kept" in told
        assert "no item stands in the training data" in told


@pytest.fixture(scope="module")
def fleet(passing: Evaluation, failing: Evaluation) -> Evaluation:
    """Two adapters on one suite."""
    [good] = passing.reports
    named = good.subject.candidate.model_copy(update={"name": "invoice-reader", "version": "2.0.0"})
    subject = good.subject.model_copy(update={"candidate": named})
    other = good.model_copy(update={"quality": good.quality.model_copy(update={"subject": subject})})
    return Evaluation(reports=(other, *failing.reports))


def test_several_adapters_are_told_apart_wherever_they_are_on_one_suite(fleet: Evaluation) -> None:
    assert headline(fleet) == "1 of 2 adapters blocked: support-bot 1.2.0"
    good, bad = "invoice-reader-2.0.0/support-triage", "support-bot-1.2.0/support-triage"
    text = click.unstyle(to_text(fleet))
    assert text.index(f"== {bad}  FAIL") < text.index(f"== {good}  PASS"), "worst first"
    comment = to_markdown(fleet)
    assert comment.index(escaped(bad)) < comment.index(escaped(good))
    page = to_html(fleet)
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert f'id="suite-{good}"' in page
    assert "2 adapters, evaluated" in page
    assert all(report.digest in text and report.digest in page for report in fleet.reports)


def test_several_adapters_that_may_all_go_on(fleet: Evaluation) -> None:
    good = fleet.reports[0]
    named = good.subject.candidate.model_copy(update={"name": "other"})
    subject = good.subject.model_copy(update={"candidate": named})
    other = good.model_copy(update={"quality": good.quality.model_copy(update={"subject": subject})})
    assert headline(Evaluation(reports=(good, other))) == "all 2 adapters may go on"
