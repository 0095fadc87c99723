"""Approvals and scheduled changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.launchdarkly import Speaker, speaking

KEY = "lora-x"
ON, OFF = {"kind": "turnFlagOn"}, {"kind": "turnFlagOff"}
_FLAG = f"/projects/default/flags/{KEY}/environments/production"
_REQUESTS = f"{_FLAG}/approval-requests"


@pytest.fixture
def speaker(tmp_path: Path) -> Iterator[Speaker]:
    with speaking(tmp_path) as speaker:
        speaker.create(KEY, tags=["adapter"])
        yield speaker


def require(speaker: Speaker, **settings: Any) -> None:
    operations = [
        {"op": "replace", "path": f"/approvalSettings/{name}", "value": value}
        for name, value in {"required": True, **settings}.items()
    ]
    place = "/projects/default/environments/production"
    speaker.ask("PATCH", place, json=operations).raise_for_status()


def ask(speaker: Speaker, *instructions: dict[str, Any], **more: Any) -> dict[str, Any]:
    body = {"description": "a step", "instructions": list(instructions), **more}
    answer = speaker.ask("POST", _REQUESTS, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def review(speaker: Speaker, id_: str, kind: str, token: str | None = None) -> httpx.Response:
    path = f"{_REQUESTS}/{id_}/reviews"
    return speaker.ask("POST", path, json={"kind": kind}, token=token or speaker.reviewer_token)


def apply(speaker: Speaker, id_: str) -> httpx.Response:
    return speaker.ask("POST", f"{_REQUESTS}/{id_}/apply", json={"comment": "as approved"})


def test_where_approval_is_required_a_patch_is_405_and_nothing_changes(speaker: Speaker) -> None:
    require(speaker)
    answer = speaker.patch(KEY, ON)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert "require an approval" in answer.json()["message"]
    assert (speaker.config(KEY)["on"], speaker.config(KEY)["version"]) == (False, 1)


def test_a_token_that_bypasses_is_not_held_up(speaker: Speaker) -> None:
    require(speaker)
    assert speaker.patch(KEY, ON, token=speaker.rollback_token).status_code == 200
    assert speaker.config(KEY)["on"] is True


def test_approval_may_be_required_of_tagged_flags_alone(speaker: Speaker) -> None:
    speaker.create("untagged")
    require(speaker, requiredApprovalTags=["adapter"])
    assert speaker.patch("untagged", ON).status_code == 200
    assert speaker.patch(KEY, ON).status_code == 405


def test_a_request_is_approved_by_somebody_else_and_then_applied_once(speaker: Speaker) -> None:
    require(speaker)
    id_ = ask(speaker, ON)["_id"]
    early = apply(speaker, id_)
    assert (early.status_code, "not approved" in early.json()["message"]) == (403, True)
    own = review(speaker, id_, "approve", speaker.token)
    assert (own.status_code, "of their own" in own.json()["message"]) == (403, True)
    assert review(speaker, id_, "approve").json()["reviewStatus"] == "approved"
    assert speaker.config(KEY)["on"] is False
    assert apply(speaker, id_).json()["status"] == "completed"
    assert (speaker.config(KEY)["on"], speaker.config(KEY)["version"]) == (True, 2)
    again = apply(speaker, id_)
    assert (again.status_code, "completed" in again.json()["message"]) == (400, True)
    assert speaker.config(KEY)["version"] == 2


def test_as_many_approve_as_the_environment_wants_and_a_decline_stops_it(speaker: Speaker) -> None:
    require(speaker, minNumApprovals=2)
    id_ = ask(speaker, ON)["_id"]
    assert review(speaker, id_, "approve").json()["reviewStatus"] == "pending"
    assert review(speaker, id_, "approve").json()["reviewStatus"] == "pending", "one reviewer counts once"
    assert review(speaker, id_, "decline", speaker.rollback_token).json()["reviewStatus"] == "declined"
    refused = apply(speaker, id_)
    assert (refused.status_code, "declined" in refused.json()["message"]) == (403, True)
    assert review(speaker, id_, "approve", speaker.rollback_token).json()["reviewStatus"] == "approved"


def test_a_comment_approves_nothing(speaker: Speaker) -> None:
    id_ = ask(speaker, ON)["_id"]
    said = review(speaker, id_, "comment", speaker.token).json()
    assert (said["reviewStatus"], said["allReviews"][0]["kind"]) == ("pending", "comment")
    assert review(speaker, id_, "applaud").status_code == 400


def test_a_request_can_be_withdrawn(speaker: Speaker) -> None:
    id_ = ask(speaker, ON)["_id"]
    assert speaker.ask("DELETE", f"{_REQUESTS}/{id_}").status_code == 204
    assert speaker.ask("GET", f"{_REQUESTS}/{id_}").status_code == 404
    assert speaker.ask("GET", _REQUESTS).json()["items"] == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"instructions": [ON]}, "description"),
        ({"description": "x", "instructions": []}, "at least one"),
        ({"description": "x", "instructions": [{"kind": "magic"}]}, "unknown kind"),
        ({"description": "x", "instructions": [ON], "executionDate": "soon"}, "executionDate"),
    ],
)
def test_a_request_that_says_too_little_is_refused(
    speaker: Speaker, body: dict[str, Any], reason: str
) -> None:
    answer = speaker.ask("POST", _REQUESTS, json=body)
    assert (answer.status_code, reason in answer.json()["message"]) == (400, True), answer.text


def test_an_approved_request_that_can_no_longer_be_carried_out_says_why(speaker: Speaker) -> None:
    _, candidate = speaker.variation_ids(KEY)
    clause = {"attribute": "email", "op": "in", "values": ["a@example.org"]}
    made = speaker.patch(KEY, {"kind": "addRule", "clauses": [clause], "variationId": candidate}).json()
    remove = {"kind": "removeRule", "ruleId": made["environments"]["production"]["rules"][0]["_id"]}
    id_ = ask(speaker, remove)["_id"]
    review(speaker, id_, "approve").raise_for_status()
    speaker.patch(KEY, remove, ignoreConflicts="true").raise_for_status()
    assert "no rule" in speaker.ask("GET", f"{_REQUESTS}/{id_}").json()["conflicts"][0]["reason"]
    refused = apply(speaker, id_)
    assert (refused.status_code, "no rule" in refused.json()["message"]) == (400, True)


def test_only_approval_settings_of_an_environment_can_be_changed(speaker: Speaker) -> None:
    place = "/projects/default/environments/production"
    for path, value in [
        ("/key", "x"),
        ("/approvalSettings/required", "yes"),
        ("/approvalSettings/minNumApprovals", 9),
        ("/approvalSettings/surprise", 1),
    ]:
        answer = speaker.ask("PATCH", place, json=[{"op": "add", "path": path, "value": value}])
        assert answer.status_code == 400, path
    assert "approvalSettings" not in speaker.ask("GET", place).json()


def test_a_scheduled_change_is_made_at_its_time_by_the_scheduler(speaker: Speaker) -> None:
    soon = round((time.time() + 0.4) * 1000)
    body = {"executionDate": soon, "instructions": [ON], "comment": "at night"}
    assert speaker.ask("POST", f"{_FLAG}/scheduled-changes", json=body).status_code == 201
    deadline = time.monotonic() + 60
    while not speaker.config(KEY)["on"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert speaker.ask("GET", f"{_FLAG}/scheduled-changes").json()["items"] == []
    newest = speaker.ask("GET", "/auditlog").json()["items"][0]
    assert (newest["subject"]["name"], newest["comment"]) == ("scheduled change", "at night")
    assert newest["date"] >= soon


def test_what_is_scheduled_must_lie_ahead_and_does_not_go_round_approvals(speaker: Speaker) -> None:
    path = f"{_FLAG}/scheduled-changes"
    late = speaker.ask("POST", path, json={"executionDate": 1, "instructions": [ON]})
    assert (late.status_code, "time to come" in late.json()["message"]) == (400, True)
    require(speaker)
    tomorrow = round((time.time() + 86400) * 1000)
    refused = speaker.ask("POST", path, json={"executionDate": tomorrow, "instructions": [ON]})
    assert refused.status_code == 405


def test_releases_are_beta(speaker: Speaker) -> None:
    answer = speaker.ask("GET", f"{_FLAG}/releases")
    assert (answer.status_code, "beta" in answer.json()["message"]) == (403, True)
