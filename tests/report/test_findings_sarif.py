from __future__ import annotations

import json
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest
from hypothesis import given, settings

from rollout.core.document import Place
from rollout.core.finding import Severity
from rollout.core.validation import Validation
from rollout.errors import Unreadable
from rollout.report.findings import Origin
from rollout.report.findings.sarif import as_sarif, error_as_sarif
from tests.support.adapters import REPOSITORY
from tests.support.validations import FILE, finding, problem, rule, validation, validations

# The schema that OASIS publishes with the standard, as schemastore.org serves it.
SCHEMA = json.loads((REPOSITORY / "tests/golden/sarif-schema-2.1.0.json").read_text())
CHECK = jsonschema.Draft7Validator(SCHEMA, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER)
ORIGIN = Origin(
    prefix=PurePosixPath("ml"), repository="https://github.com/acme/x", revision="ab" * 20, branch="main"
)


def run_of(found: Validation, origin: Origin = ORIGIN) -> dict[str, Any]:
    log = json.loads(as_sarif(found, origin))
    CHECK.validate(log)
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    return run  # type: ignore[no-any-return]


def test_a_result_says_rule_level_message_and_region() -> None:
    (result,) = run_of(validation(finding()))["results"]
    fingerprint = result.pop("partialFingerprints")["ruleFileAndField/v1"]
    assert result == {
        "ruleId": "license-known",
        "ruleIndex": 0,
        "level": "error",
        "message": {"text": "the license is unknown. Have it cleared."},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": f"ml/{FILE}", "uriBaseId": "%SRCROOT%", "index": 0},
                    "region": {"startLine": 3, "startColumn": 12, "endLine": 3, "endColumn": 17},
                },
                "logicalLocations": [{"fullyQualifiedName": "/risk/license"}],
            }
        ],
        "suppressions": [],
    }
    assert fingerprint.endswith(":1")


def test_every_rule_that_was_asked_is_described() -> None:
    run = run_of(
        validation(rulebook=(rule(severity="warn"), rule("other", docs="https://acme.example/other")))
    )
    known, other = run["tool"]["driver"]["rules"]
    assert known == {
        "id": "license-known",
        "name": "LicenseKnown",
        "shortDescription": {"text": "The rule license-known"},
        "fullDescription": {"text": "Because."},
        "help": {"text": "Do it.", "markdown": "Do it.\n\n*Why:* Because."},
        "defaultConfiguration": {"level": "warning"},
        "helpUri": f"https://github.com/acme/x/blob/{'ab' * 20}/ml/policies/README.md#license-known",
    }
    assert other["helpUri"] == "https://acme.example/other"
    assert run["results"] == []


def test_without_a_forge_there_is_neither_provenance_nor_a_link_that_leads_nowhere() -> None:
    run = run_of(validation(), Origin())
    assert "versionControlProvenance" not in run
    assert "helpUri" not in run["tool"]["driver"]["rules"][0]


def test_the_provenance_is_that_of_the_workflow() -> None:
    assert run_of(validation())["versionControlProvenance"] == [
        {
            "repositoryUri": "https://github.com/acme/x",
            "revisionId": "ab" * 20,
            "branch": "main",
            "mappedTo": {"uriBaseId": "%SRCROOT%"},
        }
    ]


def test_a_finding_of_no_rule_of_the_policy_is_described_as_well() -> None:
    run = run_of(
        validation(finding(rule="rego_rule"), finding(rule="artifact-readable"), problems=(problem(),))
    )
    rules = run["tool"]["driver"]["rules"]
    assert [each["id"] for each in rules[2:]] == ["document-invalid", "artifact-readable", "rego_rule"]
    assert rules[4]["name"] == "RegoRule"
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


def test_what_was_waived_is_suppressed_and_keeps_its_level() -> None:
    (result,) = run_of(validation(finding(waived_by="ann")))["results"]
    assert result["level"] == "error"
    assert result["suppressions"] == [
        {"kind": "external", "status": "accepted", "justification": "waived by ann"}
    ]


@pytest.mark.parametrize(
    ("found", "code", "successful"),
    [
        (validation(), 0, True),
        (validation(finding()), 1, True),
        (validation(problems=(problem(),)), 3, False),
    ],
)
def test_the_invocation_says_how_the_process_ended(found: Validation, code: int, successful: bool) -> None:
    (invocation,) = run_of(found)["invocations"]
    assert (invocation["exitCode"], invocation["executionSuccessful"]) == (code, successful)


def test_a_run_that_could_not_be_done_is_a_notification_and_no_empty_success() -> None:
    log = json.loads(error_as_sarif(Unreadable("there are no rules", advice="Merge them."), ORIGIN))
    CHECK.validate(log)
    (invocation,) = log["runs"][0]["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 3)
    (why,) = invocation["toolExecutionNotifications"]
    assert (why["level"], why["message"]["text"]) == (
        "error",
        "there are no rules Merge them. (runbook: rollout runbook inputs-unreadable)",
    )


def test_a_rule_that_was_not_checked_is_named() -> None:
    (invocation,) = run_of(validation(unchecked=("other",)))["invocations"]
    (note,) = invocation["toolConfigurationNotifications"]
    assert note["associatedRule"] == {"id": "other", "index": 1}


def fingerprints(*found: Any, **changes: Any) -> list[str]:
    results = run_of(validation(*found, **changes))["results"]
    return [result["partialFingerprints"]["ruleFileAndField/v1"] for result in results]


def test_a_fingerprint_survives_lines_that_move_and_another_wrong_value() -> None:
    moved = finding(place=Place(30, 1), end=None, source_line="x", message="the license is another")
    assert fingerprints(finding()) == fingerprints(moved)


@pytest.mark.parametrize("change", [{"rule": "other"}, {"file": "b.yaml"}, {"pointer": "/name"}])
def test_another_rule_file_or_field_has_another_fingerprint(change: dict[str, str]) -> None:
    assert fingerprints(finding()) != fingerprints(finding(**change))


def test_two_findings_of_one_rule_at_one_field_are_told_apart() -> None:
    first, second = fingerprints(finding(message="a"), finding(message="b"))
    assert (first[:-2], first[-2:], second[-2:]) == (second[:-2], ":1", ":2")


def test_two_problems_of_one_field_are_told_apart_by_what_they_say() -> None:
    wrong = (problem(), problem(message="another"))
    assert len({mark.split(":")[0] for mark in fingerprints(problems=wrong)}) == 2


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("a b/ü#?.yaml", "ml/a%20b/%C3%BC%23%3F.yaml"),
        ("x:y%41.yaml", "ml/x%3Ay%2541.yaml"),
        ("half\udcff.yaml", "ml/half%FF.yaml"),
        ("http://evil/", "ml/http%3A/evil"),
    ],
)
def test_a_name_is_a_relative_path_whatever_it_holds(name: str, uri: str) -> None:
    run = run_of(validation(finding(file=name), checked=(name,)))
    assert [artifact["location"]["uri"] for artifact in run["artifacts"]] == [uri]


def test_a_message_makes_no_link() -> None:
    (result,) = run_of(validation(finding(message="see [here](https://evil.example)")))["results"]
    assert "](" not in result["message"]["text"]


@settings(deadline=None, max_examples=100)
@given(validations)
def test_any_validation_is_valid_sarif(found: Validation) -> None:
    run = run_of(found)
    assert len(run["results"]) == len(found.findings) + len(found.problems)
    names = {unquote(artifact["location"]["uri"], errors="surrogateescape") for artifact in run["artifacts"]}
    assert len(names) == len(run["artifacts"]) >= len(set(found.checked))
    for result in run["results"]:
        where = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert run["artifacts"][where["index"]]["location"]["uri"] == where["uri"]
        assert not where["uri"].startswith("/")


def test_the_schema_is_not_one_that_accepts_anything() -> None:
    log = json.loads(as_sarif(validation(finding()), ORIGIN))
    log["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError, match="fatal"):
        CHECK.validate(log)


def test_the_order_of_what_was_found_does_not_matter() -> None:
    one, other = finding(), finding(rule="other", severity=Severity.WARN)
    assert as_sarif(validation(one, other), ORIGIN) == as_sarif(validation(other, one), ORIGIN)
    assert as_sarif(validation(one), ORIGIN) != as_sarif(validation(replace(one, message="x")), ORIGIN)
