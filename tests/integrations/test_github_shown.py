"""A release as GitHub shows it: deployments with a status for each share, and check runs with annotations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.integrations.github.checkruns import MOST, Annotation, CheckRuns, Conclusion
from rollout.integrations.github.client import Client
from rollout.integrations.github.deployments import Deployments, Step, Walk
from rollout.integrations.github.tokens import Token
from tests.integrations.test_github_client import Time
from tests.support.github.book import NAME
from tests.support.github.server import TOKEN, FakeGitHub, Fault, github

WALK = Walk("prod", "b" * 64, 3, "c" * 40, production=True)
STEPS = [
    Step("in_progress", "5 %: 340 of 400 requests"),
    Step("in_progress", "25 %: 1,727 of 2,000 requests", "https://example.com", "http://example.com/log"),
    Step("success", "promoted"),
]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGitHub]:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    with github(tmp_path / "origin.git") as fake:
        yield fake


def client(fake: FakeGitHub) -> Client:
    made = Client(fake.url, Token("GITHUB_TOKEN"), patience_s=30, pace=Time().pace)
    made.begin()
    return made


def deployments(fake: FakeGitHub) -> Deployments:
    return Deployments(client(fake), NAME)


def put(fake: FakeGitHub, **other: object) -> object:
    wanted = {"name": "quality", "external_id": "bot/1", "conclusion": Conclusion.PASSED, "title": "t"}
    return CheckRuns(client(fake), NAME).put("c" * 40, **{**wanted, "summary": "s", **other})  # type: ignore[arg-type]


def said(fake: FakeGitHub) -> list[tuple[str, str]]:
    return [(each["state"], each["description"]) for each in fake.book.deployed[1]]


def test_repeated_ticks_make_one_deployment_and_each_status_once_in_order(fake: FakeGitHub) -> None:
    fake.page = 1
    assert [deployments(fake).show(WALK, STEPS[:most]).written for most in (1, 1, 3, 3)] == [1, 0, 2, 0]
    assert len(fake.book.deployments) == 1
    assert fake.book.deployments[0]["production_environment"] is True
    assert said(fake) == [(step.state, step.description) for step in STEPS]


@pytest.mark.parametrize(
    "other",
    [
        replace(WALK, generation=4),
        replace(WALK, identity="a" * 64),
        replace(WALK, environment="test", production=False),
    ],
)
def test_another_walk_is_another_deployment(fake: FakeGitHub, other: Walk) -> None:
    deployments(fake).show(WALK, STEPS)
    assert deployments(fake).show(other, STEPS).written == 3
    assert len(fake.book.deployments) == 2


def test_a_payload_that_is_given_back_as_text_is_found_again(fake: FakeGitHub) -> None:
    deployments(fake).show(WALK, STEPS)
    fake.book.deployments[0]["payload"] = json.dumps(WALK.payload)
    assert deployments(fake).show(WALK, STEPS).written == 0
    assert len(fake.book.deployments) == 1


def test_an_address_that_is_no_https_is_left_out_and_a_long_description_is_cut(fake: FakeGitHub) -> None:
    long = Step("failure", "taken back: " + "x" * 300)
    deployments(fake).show(WALK, [STEPS[1], long])
    assert deployments(fake).show(WALK, [STEPS[1], long]).written == 0
    first, second = fake.book.deployed[1]
    assert first["environment_url"] == "https://example.com"
    assert "log_url" not in first
    assert len(second["description"]) == 140


def test_the_same_share_twice_in_a_walk_is_two_statuses(fake: FakeGitHub) -> None:
    steps = [STEPS[0], Step("inactive", "superseded"), STEPS[0]]
    assert deployments(fake).show(WALK, steps[:2]).written == 2
    assert deployments(fake).show(WALK, steps).written == 1


def test_a_status_that_was_made_though_nobody_was_told_is_not_made_again(fake: FakeGitHub) -> None:
    fake.faults.append(Fault("POST .*/statuses", 502, after=True))
    first = deployments(fake).show(WALK, STEPS)
    assert (first.written, first.denied is None) == (0, False)
    assert deployments(fake).show(WALK, STEPS).written == 2
    assert len(said(fake)) == 3


@pytest.mark.parametrize("line", ["POST .*/deployments$", "POST .*/statuses$", "GET .*/deployments"])
def test_a_deployment_that_github_refuses_is_an_outcome(fake: FakeGitHub, line: str) -> None:
    fake.forbidden = re.compile(line)
    shown = deployments(fake).show(WALK, STEPS)
    assert shown.written == 0
    assert shown.denied is not None
    assert "403" in shown.denied
    assert TOKEN not in shown.denied


def test_a_check_is_made_once_and_then_changed(fake: FakeGitHub) -> None:
    put(fake)
    put(fake, conclusion=Conclusion.AWAITS_PERSON)
    put(fake, external_id="bot/2", conclusion=Conclusion.FAILED)
    assert [run["conclusion"] for run in fake.book.runs] == ["action_required", "failure"]


def test_annotations_go_fifty_at_a_time_and_the_rest_is_told(fake: FakeGitHub) -> None:
    put(fake, annotations=[Annotation("a.yaml", at + 1, "wrong") for at in range(612)])
    run = fake.book.runs[0]
    assert [each["start_line"] for each in run["said"]] == list(range(1, 501))
    assert run["output"]["summary"].startswith("112 more annotations")
    assert sum(line.startswith(("POST", "PATCH")) for line in fake.lines) == 10


def test_a_long_summary_and_text_are_cut(fake: FakeGitHub) -> None:
    put(fake, summary="s" * 70_000, text="t" * 70_000)
    output = fake.book.runs[0]["output"]
    assert [len(output[part]) for part in ("summary", "text")] == [MOST, MOST]
    assert output["summary"].endswith("longer than a check may be.\n")


@pytest.mark.parametrize("line", ["POST .*/check-runs", "GET .*/check-runs"])
def test_a_check_without_the_right_to_write_it_is_an_outcome(fake: FakeGitHub, line: str) -> None:
    fake.forbidden = re.compile(line)
    checked = put(fake)
    assert "403" in str(checked.denied)  # type: ignore[attr-defined]
    assert fake.book.runs == []
