from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given, settings

from rollout.core.finding import Severity
from rollout.core.validation import Validation
from rollout.errors import Unreadable
from rollout.report.findings.junit import as_junit, error_as_junit
from tests.support.validations import FILE, finding, problem, rule, validation, validations


def suites(found: Validation) -> ElementTree.Element:
    return ElementTree.fromstring(as_junit(found).encode())


def test_every_rule_is_a_case_of_every_manifest() -> None:
    root = suites(validation(checked=(FILE, "b.yaml")))
    assert [suite.get("name") for suite in root] == [FILE, "b.yaml"]
    assert [case.get("name") for case in root[0]] == [
        "license-known: The rule license-known",
        "other: The rule other",
    ]
    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("4", "0", "0")


def test_what_blocks_fails_and_says_where_and_what_to_do() -> None:
    root = suites(validation(finding(), finding(message="again")))
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.get("message") == "the license is unknown"
    assert failure.text == (
        f"{FILE}:3:12: the license is unknown\n  help: Have it cleared.\n{FILE}:3:12: again\n  help: Have it cleared."
    )
    assert (root.get("tests"), root.get("failures"), root[0].get("failures")) == ("2", "1", "1")


def test_warnings_and_what_was_waived_pass_and_are_told() -> None:
    root = suites(validation(finding(severity=Severity.WARN), finding(rule="other", waived_by="ann")))
    assert root.get("failures") == "0"
    assert [output.text for output in root.iter("system-out")] == [
        f"warning: {FILE}:3:12: the license is unknown\n  help: Have it cleared.",
        f"waived: {FILE}:3:12: the license is unknown\n  waived by ann",
    ]


def test_a_rule_that_was_not_checked_is_skipped_unless_it_found_something() -> None:
    assert suites(validation(unchecked=("other",))).get("skipped") == "1"
    assert suites(validation(finding(rule="other"), unchecked=("other",))).get("skipped") == "0"


def test_a_rule_of_the_release_has_not_passed_in_a_pull_request() -> None:
    found = validation(rulebook=(rule(), rule("later", stage="release")), unchecked=("later",))
    (case,) = [case for case in suites(found).iter("testcase") if case.get("name", "").startswith("later")]
    skipped = case.find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "it is asked at release"


def test_a_run_that_could_not_be_done_is_one_case_with_an_error() -> None:
    root = ElementTree.fromstring(error_as_junit(Unreadable("no rules <\x00>", advice="Merge them.")))
    assert (root.get("tests"), root.get("errors"), root.get("failures")) == ("1", "1", "0")
    error = root.find(".//testcase/error")
    assert error is not None
    assert (error.get("message"), error.get("type"), error.text) == (
        "no rules <\\x00>",
        "inputs-unreadable",
        "Merge them.\nrunbook: rollout runbook inputs-unreadable",
    )


def test_where_the_manifest_cannot_be_read_no_rule_has_passed() -> None:
    root = suites(validation(problems=(problem(), problem(message="another"))))
    assert [case.get("name", "").split(":")[0] for case in root.iter("testcase")] == ["document-invalid"]
    assert (root.get("tests"), root.get("failures")) == ("1", "1")


def test_a_finding_in_another_file_has_a_suite_without_the_rules_of_manifests() -> None:
    root = suites(
        validation(finding(file="policies/waivers.yaml", rule="waiver-current", severity=Severity.WARN))
    )
    assert [(suite.get("name"), suite.get("tests")) for suite in root] == [
        (FILE, "2"),
        ("policies/waivers.yaml", "1"),
    ]


@settings(deadline=None, max_examples=150)
@given(validations)
def test_any_validation_is_xml_that_parsers_accept(found: Validation) -> None:
    text = as_junit(found)
    root = ElementTree.fromstring(text.encode())
    assert "##[" not in text
    assert not any(line.strip().startswith("::") for line in text.splitlines())
    blocked = {(each.file, each.rule) for each in found.findings if each.blocks}
    blocked |= {(each.source, "document-invalid") for each in found.problems}
    assert len(list(root.iter("failure"))) == len(blocked) == int(root.get("failures", ""))


def test_the_rules_of_the_policy_are_those_that_were_asked() -> None:
    assert suites(validation(rulebook=(rule("one"),))).get("tests") == "1"
