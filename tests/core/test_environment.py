"""What an environment document may say of its flags, and of where its evidence is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from rollout.core.environment import BranchEvidence, Environment, LaunchDarklyFlags


def launchdarkly(**changes: Any) -> LaunchDarklyFlags:
    return LaunchDarklyFlags.model_validate(
        {"kind": "launchdarkly", "project": "default", "environment": "production", **changes}
    )


@pytest.mark.parametrize("changes", [{}, {"max_age_s": None}, {"max_age_s": 200.0}])
def test_flag_data_may_grow_as_old_as_a_heartbeat_takes(changes: dict[str, Any]) -> None:
    launchdarkly(**changes)


def test_flag_data_of_launchdarkly_cannot_be_younger_than_its_heartbeats() -> None:
    with pytest.raises(ValidationError, match="a sign of life every three minutes"):
        launchdarkly(max_age_s=60.0)
    assert launchdarkly(max_age_s=60.0, stream="http://127.0.0.1:8030").max_age_s == 60.0


@pytest.mark.parametrize(
    "changes",
    [{"project": "../other"}, {"environment": "a/b"}, {"token_env": "api-1234"}, {"api": "ftp://x"}],
)
def test_what_would_lead_elsewhere_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        launchdarkly(**changes)


def environment(**changes: Any) -> Environment:
    document = yaml.safe_load(Path("policies/environments/local.yaml").read_text())
    return Environment.model_validate({**document, **changes})


def test_evidence_is_a_folder_or_a_branch() -> None:
    assert environment(evidence=".rollout/evidence").evidence == ".rollout/evidence"
    assert environment(evidence={"kind": "branch"}).evidence == BranchEvidence(kind="branch")


@pytest.mark.parametrize(
    "changes",
    [
        {"evidence": {"kind": "branch", "branch": "main"}},
        {"evidence": {"kind": "branch", "branch": "x"}, "ledger": {"kind": "branch", "branch": "x"}},
        {"ledger": {"kind": "branch", "branch": "main"}},
    ],
)
def test_manifests_ledger_and_evidence_are_on_branches_of_their_own(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="need a branch each: two of them name the same"):
        environment(**changes)


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        ({"kind": "folder", "path": "x"}, "Input should be 'branch'"),
        ({"kind": "branch", "brnch": "x"}, "Extra inputs are not permitted"),
        ({}, "Field required"),
        (3, "Input should be a valid string"),
        ("", "at least 1 character"),
    ],
)
def test_what_is_no_evidence_is_told_of_the_form_that_was_meant(evidence: object, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        environment(evidence=evidence)
