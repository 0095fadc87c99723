from __future__ import annotations

import json
import re
from datetime import date

import jsonschema
import pytest
from hypothesis import given, settings

from rollout.core.document import DocumentErrors, Place
from rollout.core.finding import Severity
from rollout.core.policy import CheckedAt
from rollout.core.schemas import build_schema
from rollout.errors import Unreadable
from rollout.report.findings import FORMS, Origin, exit_status, outcome, render, render_error, summary
from rollout.report.findings.json import as_json
from rollout.report.findings.markdown import MAX_BYTES, as_markdown
from rollout.report.findings.text import as_text
from tests.support.validations import FILE, finding, problem, rule, validation, validations

QUIET = settings(deadline=None, max_examples=150)
SCHEMA = jsonschema.Draft202012Validator(build_schema("findings"))
NOWHERE = Origin()


def test_a_finding_is_shown_at_its_place_with_the_whole_value_underlined() -> None:
    assert as_text(validation(finding())) == (
        f"{FILE}:3:12: error[license-known]: the license is unknown\n"
        "  3 |   license: wrong # why\n"
        "    |            ^^^^^\n"
        "  = help: Have it cleared.\n"
        "\n"
        "1 manifest, 2 rules: 1 blocking finding\n"
    )


def test_a_problem_looks_like_a_finding() -> None:
    assert as_text(validation(problems=(problem(found="x"),))) == (
        f"{FILE}:2:1: error[document-invalid]: /base/repo: the field 'repo' is missing; found x\n"
        "  2 | base:\n"
        "    | ^^^^\n"
        "\n"
        "1 manifest, 2 rules: 1 problem\n"
    )


def test_warnings_and_waived_findings_are_named_as_such() -> None:
    text = as_text(validation(finding(severity=Severity.WARN), finding(rule="other", waived_by="ann")))
    assert "warning[license-known]: the license is unknown\n" in text
    assert "waived[other]: the license is unknown\n" in text
    assert "  = waived by ann\n" in text
    assert text.endswith("1 manifest, 2 rules: 1 warning, 1 waived\n")


@pytest.mark.parametrize(
    ("line", "column", "end", "shown", "underline"),
    [
        ("a: 漢字 x", 4, 6, "a: 漢字 x", "   ^^^^"),
        ("漢字: x", 5, 6, "漢字: x", "      ^"),
        ("e\u0301: x", 5, 6, "e\u0301: x", "   ^"),
        ("\ta:\tx", 5, 6, "    a:  x", "        ^"),
        ("a: \x1b[31mx", 9, 10, "a: \\x1b[31mx", "           ^"),
        ("a: \u202ex", 5, 6, "a: \\u202ex", "         ^"),
        ("a: ##[x", 7, 8, "a: ##\\x5bx", "         ^"),
        ("a:", 3, 3, "a:", "  ^"),
        ("a: b", 90, 95, "a: b", "    ^"),
    ],
)
def test_the_caret_stands_below_what_is_meant(
    line: str, column: int, end: int, shown: str, underline: str
) -> None:
    found = finding(source_line=line, place=Place(1, column), end=Place(1, end))
    assert as_text(validation(found)).splitlines()[1:3] == [f"  1 | {shown}", f"    | {underline}"]


def test_of_a_long_line_the_part_around_the_place_is_shown() -> None:
    line = "a" * 500 + "漢" + "b" * 500
    found = finding(source_line=line, place=Place(1, 501), end=Place(1, 502))
    excerpt, below = as_text(validation(found)).splitlines()[1:3]
    assert excerpt == f"  1 | …{'a' * 40}漢{'b' * 79}…"
    assert below == f"    | {' ' * 41}^^"


def test_a_value_over_several_lines_is_underlined_to_the_end_of_its_first() -> None:
    found = finding(source_line="a: >- # text", place=Place(1, 4), end=Place(4, 2))
    assert as_text(validation(found)).splitlines()[2] == "    |    ^^^^^^^^^"


def test_problems_at_one_place_share_one_excerpt() -> None:
    missing = [problem(message=f"the field {name!r} is missing") for name in ("a", "b", "c")]
    assert as_text(validation(problems=tuple(missing))).count("2 | base:") == 1


def test_findings_come_in_the_order_of_the_files() -> None:
    found = [
        finding(file="b.yaml"),
        finding(place=Place(9, 1)),
        finding(place=Place(2, 1)),
        finding(file="a.yaml"),
    ]
    heads = re.findall(r"^(\S+?:\d+):\d+: error", as_text(validation(*found)), re.MULTILINE)
    assert heads == ["a.yaml:3", "b.yaml:3", f"{FILE}:2", f"{FILE}:9"]


def test_the_worst_is_told_first_and_not_what_stands_first() -> None:
    found = [finding(file="a.yaml", waived_by="ann"), finding(severity=Severity.WARN), finding(file="z.yaml")]
    heads = re.findall(r"^(\S+?):\d+:\d+: (\w+)\[", as_text(validation(*found)), re.MULTILINE)
    assert heads == [("z.yaml", "error"), (FILE, "warning"), ("a.yaml", "waived")]


def test_a_waived_finding_says_who_excuses_it_until_when_and_why() -> None:
    waived = validation(
        finding(waived_by="ann", waiver_reason="Cleared\nby legal.", waiver_expires=date(2027, 1, 31))
    )
    told = "waived by ann, expires 2027-01-31: Cleared by legal."
    assert f"  = {told}\n" in as_text(waived)
    assert f"| `{told}` |" in as_markdown(waived, NOWHERE)
    (entry,) = json.loads(as_json(waived))["findings"]
    assert (entry["waiver_reason"], entry["waiver_expires"]) == ("Cleared\nby legal.", "2027-01-31")


def test_what_is_asked_at_release_is_told_apart_from_what_needs_a_base() -> None:
    rules = (rule(), rule("compared"), rule("later", stage="release"))
    found = validation(rulebook=rules, unchecked=("compared", "later"))
    assert as_text(found).splitlines()[:2] == [
        "note: without --base not checked: compared",
        "note: checked at release only (--release): later",
    ]
    checked = {each["id"]: each["checked"] for each in json.loads(as_json(found))["rules"]}
    assert checked == {"license-known": True, "compared": False, "later": False}


def test_at_release_a_rule_that_compares_lacks_a_base_whatever_its_stage() -> None:
    rules = (rule(), rule("later", stage="release"))
    text = as_text(validation(rulebook=rules, unchecked=("later",), at=CheckedAt.RELEASE))
    assert text.splitlines()[0] == "note: without --base not checked: later"


def test_of_very_many_findings_none_is_left_out_for_a_lesser_one() -> None:
    lesser = [finding(severity=Severity.WARN, place=Place(line, 1)) for line in range(1, 80)]
    text = as_text(validation(*lesser, finding(place=Place(500, 1))))
    assert f"{FILE}:500:1: error" in text
    assert text.count("warning[") == 49
    assert "and 30 warnings more; --format json shows them all\n" in text


def test_sixty_problems_of_one_manifest_stay_readable() -> None:
    wrong = tuple(problem(place=Place(line, 1), end=Place(line, 3)) for line in range(1, 61))
    lines = as_text(validation(problems=wrong)).splitlines()
    assert len(lines) <= 205
    assert lines[-3:] == [
        "and 10 errors more; --format json shows them all",
        "",
        "1 manifest, 2 rules: 60 problems",
    ]


def test_colours_are_there_only_where_they_are_asked_for() -> None:
    plain, coloured = as_text(validation(finding())), as_text(validation(finding()), colour=True)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain != coloured


def test_what_a_reader_could_take_for_granted_is_said() -> None:
    text = as_text(validation(checked=(), unchecked=("other",), retired=("manifests/old.yaml",)))
    assert text.splitlines() == [
        "note: without --base not checked: other",
        "note: manifests/old.yaml is gone: its adapter is retired",
        "note: no manifest differs from the base",
        "0 manifests, 2 rules: nothing found",
    ]


@pytest.mark.parametrize(
    ("changes", "name", "status"),
    [
        ({}, "pass", 0),
        ({"findings": (finding(severity=Severity.WARN), finding(waived_by="ann"))}, "pass", 0),
        ({"findings": (finding(),)}, "blocked", 1),
        ({"findings": (finding(),), "problems": (problem(),)}, "unreadable", 3),
    ],
)
def test_the_worst_decides(changes: dict[str, object], name: str, status: int) -> None:
    assert (outcome(validation(**changes)), exit_status(validation(**changes))) == (name, status)


@QUIET
@given(validations)
def test_no_line_of_a_text_is_a_command_or_moves_the_cursor(found: object) -> None:
    text = as_text(found)  # type: ignore[arg-type]
    assert not any(line.strip().startswith("::") for line in re.split(r"[\n\r]", text))
    assert "##[" not in text
    assert all(character.isprintable() or character == "\n" for character in text)


@QUIET
@given(validations)
def test_json_is_what_its_schema_says_and_nothing_is_lost(found: object) -> None:
    text = as_json(found)  # type: ignore[arg-type]
    document = json.loads(text)
    SCHEMA.validate(document)
    assert len(document["findings"]) == len(found.findings)  # type: ignore[attr-defined]
    assert len(document["problems"]) == len(found.problems)  # type: ignore[attr-defined]
    assert "##[" not in text
    assert all(character.isprintable() or character == "\n" for character in text)


def test_json_names_everything_about_a_finding() -> None:
    document = json.loads(as_json(validation(finding(), finding(waived_by="ann"), unchecked=("other",))))
    assert document["findings"][0] == {
        "rule": "license-known",
        "severity": "block",
        "blocks": True,
        "waived_by": None,
        "waiver_reason": None,
        "waiver_expires": None,
        "can_be_waived": True,
        "message": "the license is unknown",
        "remediation": "Have it cleared.",
        "file": FILE,
        "line": 3,
        "column": 12,
        "end_line": 3,
        "end_column": 17,
        "pointer": "/risk/license",
    }
    assert document["counts"] == {"problems": 0, "blocking": 1, "warnings": 0, "waived": 1}
    assert [(each["id"], each["checked"]) for each in document["rules"]] == [
        ("license-known", True),
        ("other", False),
    ]


@pytest.mark.parametrize("change", [{"schema": "v2"}, {"more": 1}, {"exit_status": "1"}, {"outcome": "fine"}])
def test_the_schema_refuses_other_documents(change: dict[str, object]) -> None:
    document = json.loads(as_json(validation(finding())))
    with pytest.raises(jsonschema.ValidationError):
        SCHEMA.validate({**document, **change})


@pytest.mark.parametrize("field", ["schema", "counts", "rules", "problems", "findings", "exit_status"])
def test_the_schema_asks_for_every_field(field: str) -> None:
    document = json.loads(as_json(validation(finding())))
    del document[field]
    with pytest.raises(jsonschema.ValidationError, match="is a required property"):
        SCHEMA.validate(document)


def test_markdown_says_the_verdict_first_and_folds_what_does_not_block() -> None:
    found = [finding(), finding(rule="other", severity=Severity.WARN), finding(rule="other", waived_by="ann")]
    assert as_markdown(validation(*found, unchecked=("other",)), NOWHERE) == (
        "### ❌ this change is blocked\n"
        "\n"
        "1 manifest, 2 rules: 1 blocking finding, 1 warning, 1 waived\n"
        "\n"
        "| Where | What | What to do |\n"
        "|---|---|---|\n"
        f"| `{FILE}:3` | `license-known` `the license is unknown` | `Have it cleared.` |\n"
        "\n"
        "<details><summary>1 warning</summary>\n"
        "\n"
        "| Where | What | What to do |\n"
        "|---|---|---|\n"
        f"| `{FILE}:3` | `other` `the license is unknown` | `Have it cleared.` |\n"
        "\n"
        "</details>\n"
        "\n"
        "<details><summary>1 waived</summary>\n"
        "\n"
        "| Where | What | What to do |\n"
        "|---|---|---|\n"
        f"| `{FILE}:3` | `other` `the license is unknown` | `waived by ann` |\n"
        "\n"
        "</details>\n"
        "\n"
        f"Checked: `{FILE}`\n"
        "\n"
        "- `without --base not checked: other`\n"
    )


def test_markdown_links_to_the_line_where_the_forge_is_known() -> None:
    origin = Origin(repository="https://github.com/acme/ml", revision="ab" * 20)
    row = as_markdown(validation(finding(file="a b/#x.yaml")), origin).splitlines()[6]
    assert row.startswith(
        f"| [`a b/#x.yaml:3`](https://github.com/acme/ml/blob/{'ab' * 20}/a%20b/%23x.yaml#L3) |"
    )


def test_markdown_fits_into_a_comment_and_counts_what_it_leaves_out() -> None:
    long = "長" * 300
    blocking = [finding(message=f"{number} {long}", place=Place(number, 1)) for number in range(1, 200)]
    warnings = [
        finding(severity=Severity.WARN, message=long, place=Place(number, 1)) for number in range(1, 200)
    ]
    text = as_markdown(validation(*warnings, *blocking), NOWHERE)
    assert len(text.encode()) <= MAX_BYTES
    shown = text.count("`license-known`")
    assert 40 < shown < 70
    assert f"| … | and {199 - shown} more | |" in text
    assert "<summary>199 warnings</summary>" in text
    assert "| … | and 199 more | |" in text


@QUIET
@given(validations)
def test_nothing_in_markdown_leaves_its_code_span_or_its_table(found: object) -> None:
    for line in as_markdown(found, NOWHERE).splitlines():  # type: ignore[arg-type]
        outside = re.sub(r"`[^`]*`", "x", line)
        assert re.fullmatch(
            r"(### [❌✅] [a-z ]+|[\w ,:-]*|\|[-x|, …a-z0-9A-Z]*\||</?details>(<summary>[a-z0-9 ]+</summary>)?|"
            r"Checked: [x, ]+( and \d+ more)?|- x)",
            outside,
        ), outside
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 4
        assert "\\\\|" not in line


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_text_that_ends_with_a_line_end(form: str) -> None:
    text = render(validation(finding(), rulebook=(rule(),)), NOWHERE, form)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


NO_RULES = Unreadable("there are no rules ::x", advice="Merge `them` first.")


def test_a_run_that_could_not_be_done_is_no_empty_report() -> None:
    document = json.loads(render_error(NO_RULES, NOWHERE, "json"))
    SCHEMA.validate(document)
    assert (document["outcome"], document["exit_status"]) == ("unreadable", 3)
    assert document["error"] == {
        "code": "inputs-unreadable",
        "message": "there are no rules ::x",
        "advice": "Merge `them` first.",
        "runbook": "inputs-unreadable",
    }
    assert render_error(NO_RULES, NOWHERE, "github") == (
        "::error title=rollout%3A inputs-unreadable::there are no rules ::x%0AMerge `them` first.%0A"
        "runbook: rollout runbook inputs-unreadable\n"
    )
    assert render_error(NO_RULES, NOWHERE, "text") == (
        "error[inputs-unreadable]: there are no rules ::x\n  Merge `them` first.\n"
        "runbook: rollout runbook inputs-unreadable\n"
    )
    assert render_error(NO_RULES, NOWHERE, "markdown") == (
        "### ❌ nothing could be checked\n\n`there are no rules ::x`\n\n`Merge 'them' first.`\n\n"
        "What to do: `rollout runbook inputs-unreadable`\n"
    )


@pytest.mark.parametrize("form", FORMS)
def test_policies_that_cannot_be_read_are_told_at_their_lines(form: str) -> None:
    secret = problem(source="policies/waivers.yaml", message="not https://ann:hunter2@example.org")
    text = render_error(DocumentErrors((secret,)), NOWHERE, form)
    assert "policies/waivers.yaml" in text
    assert "hunter2" not in text
    assert "differs from the base" not in text


def test_the_summary_counts_in_the_right_number() -> None:
    assert summary(validation(rulebook=(rule(),))) == "1 manifest, 1 rule: nothing found"
    assert summary(validation(finding(), finding())) == "1 manifest, 2 rules: 2 blocking findings"
