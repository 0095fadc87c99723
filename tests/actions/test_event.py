"""An event's payload is written by strangers: numbers and commits are taken from it, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rollout.actions.event import Event

SHA, OTHER = "a" * 40, "b" * 40


def event(tmp_path: Path, payload: object, **environment: str) -> Event:
    file = tmp_path / "event.json"
    file.write_text(payload if isinstance(payload, str) else json.dumps(payload))
    known = {"GITHUB_EVENT_PATH": str(file), "GITHUB_REPOSITORY": "acme/adapters", "GITHUB_RUN_ID": "9"}
    return Event.read(known | {"GITHUB_RUN_ATTEMPT": "2"} | environment)


def pull(repo: object, **more: Any) -> dict[str, Any]:
    head = {"sha": OTHER, "repo": repo}
    return {"pull_request": {"number": 7, "base": {"sha": SHA}, "head": head, "title": "$(id)", **more}}


def test_a_pull_request_tells_its_number_its_commits_and_whose_it_is(tmp_path: Path) -> None:
    found = event(tmp_path, pull({"full_name": "acme/adapters"}), GITHUB_EVENT_NAME="pull_request")
    assert (found.pull, found.base, found.head, found.stranger) == (7, SHA, OTHER, False)
    assert found.run == (9, 2)


def after(repository: str, kind: str) -> dict[str, Any]:
    """A run that began when another one had ended."""
    return {"workflow_run": {"event": kind, "head_repository": {"full_name": repository}}}


@pytest.mark.parametrize("repo", [{"full_name": "eve/adapters"}, None, {}, {"full_name": 7}, "acme/adapters"])
def test_a_head_that_is_not_surely_ours_is_a_strangers(tmp_path: Path, repo: object) -> None:
    assert event(tmp_path, pull(repo), GITHUB_EVENT_NAME="pull_request").stranger


@pytest.mark.parametrize("payload", ["", "{", '{"pull_request": 3}', "[" * 200_000])
@pytest.mark.parametrize("kind", ["pull_request", "pull_request_target", "pull_request_review"])
def test_a_pull_request_that_tells_nothing_is_a_strangers(tmp_path: Path, kind: str, payload: str) -> None:
    found = event(tmp_path, payload, GITHUB_EVENT_NAME=kind)
    assert (found.stranger, found.unmerged, found.base) == (True, True, None)


@pytest.mark.parametrize(
    ("kind", "payload", "stranger", "unmerged"),
    [
        ("push", {}, False, False),
        ("schedule", {}, False, False),
        ("merge_group", {"merge_group": {"base_sha": SHA}}, False, False),
        ("issue_comment", {"issue": {"pull_request": {}}}, False, True),
        ("workflow_run", after("acme/adapters", "push"), False, False),
        ("workflow_run", after("acme/adapters", "pull_request"), False, True),
        ("workflow_run", after("eve/adapters", "pull_request"), True, True),
        ("workflow_run", after("eve/adapters", "pull_request_target"), True, True),
        ("workflow_run", {}, True, True),
    ],
)
def test_what_nobody_has_merged_is_known_whatever_started_the_run(
    tmp_path: Path, kind: str, payload: Any, stranger: bool, unmerged: bool
) -> None:
    found = event(tmp_path, payload, GITHUB_EVENT_NAME=kind)
    assert (found.stranger, found.unmerged) == (stranger, unmerged)


def test_a_merge_group_tells_what_it_is_merged_to(tmp_path: Path) -> None:
    found = event(
        tmp_path, {"merge_group": {"base_sha": SHA}}, GITHUB_SHA=OTHER, GITHUB_EVENT_NAME="merge_group"
    )
    assert (found.base, found.head, found.stranger, found.pull) == (SHA, OTHER, False, None)


@pytest.mark.parametrize(("before", "base"), [(SHA, SHA), ("0" * 40, None), ("main", None), (None, None)])
def test_a_push_tells_what_the_branch_was(tmp_path: Path, before: object, base: str | None) -> None:
    assert event(tmp_path, {"before": before}, GITHUB_EVENT_NAME="push").base == base


@pytest.mark.parametrize("payload", ["", "[]", "{", "null", '{"pull_request": 3}', "[" * 200_000])
def test_what_is_no_event_tells_nothing(tmp_path: Path, payload: str) -> None:
    found = event(tmp_path, payload)
    assert (found.pull, found.base, found.head, found.stranger) == (None, None, None, False)


@pytest.mark.parametrize("number", ["7", -1, 0, 1.5, True, None])
def test_a_number_is_a_number(tmp_path: Path, number: object) -> None:
    assert event(tmp_path, pull({"full_name": "acme/adapters"}, number=number)).pull is None
