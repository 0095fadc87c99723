"""A promotion takes two people: one who starts the run, and another one who approved it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.actions.__main__ import main
from rollout.core.lifecycle import Hastened
from rollout.demo.scratch import NAME
from tests.actions.test_step import read_outputs
from tests.support.github.book import NAME as REPOSITORY
from tests.support.github.server import TOKEN, FakeGitHub, Fault, github
from tests.support.site import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """1.1.0 in shadow."""
    folder = tmp_path_factory.mktemp("promote") / "site"
    folder.mkdir()
    site = Site.create(folder)
    site.propose("1.1.0")
    site.tick()
    return site


@pytest.fixture
def fake(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGitHub]:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    monkeypatch.chdir(site.repository.root)
    with github(tmp_path / "origin.git") as fake:
        yield fake


def promote(fake: FakeGitHub, tmp_path: Path, **other: str) -> tuple[int, dict[str, str], str]:
    given = {
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_RUN_ID": "901",
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_API_URL": fake.url,
        "GITHUB_ACTOR": "ann",
        "GITHUB_TRIGGERING_ACTOR": "ann",
        "GITHUB_OUTPUT": str(tmp_path / "outputs"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "RUNNER_TEMP": str(tmp_path),
        "ROLLOUT_INPUT_NAME": NAME,
        "ROLLOUT_INPUT_ENVIRONMENT": "demo",
        "ROLLOUT_INPUT_REASON": "stable is what is broken",
    }
    for file in ("outputs", "summary"):
        (tmp_path / file).unlink(missing_ok=True)
    status = main(["promote"], given | other)
    return status, read_outputs(tmp_path / "outputs"), (tmp_path / "summary").read_text()


def hastened(site: Site) -> list[Hastened]:
    return [entry.event for entry in site.world.ledger.read(NAME) if isinstance(entry.event, Hastened)]


@pytest.mark.parametrize(
    ("approvals", "told"),
    [
        ([], "approved by nobody"),
        ([("bob", "rejected")], "approved by nobody"),
        ([("ann", "approved")], "approved only by ann"),
        ([("Ann", "approved")], "approved only by Ann"),
        ([("bob", "approved")], "approved only by bob"),
        ([("deployer[bot]", "approved")], "approved by nobody"),
    ],
)
def test_without_another_person_nothing_is_done(
    fake: FakeGitHub, site: Site, tmp_path: Path, approvals: list[tuple[str, str]], told: str
) -> None:
    fake.book.approvals = {901: approvals}
    status, outputs, summary = promote(fake, tmp_path, GITHUB_TRIGGERING_ACTOR="bob")
    assert (status, outputs["outcome"], outputs["decision"]) == (2, "error", "")
    assert told in summary
    assert hastened(site) == []


@pytest.mark.parametrize(
    "missing", ["GITHUB_ACTOR", "GITHUB_RUN_ID", "GITHUB_REPOSITORY", "ROLLOUT_INPUT_REASON"]
)
def test_what_nobody_says_is_no_approval(fake: FakeGitHub, site: Site, tmp_path: Path, missing: str) -> None:
    fake.book.approvals = {901: [("eve", "approved")]}
    other = {missing: ""} | ({"GITHUB_TRIGGERING_ACTOR": ""} if missing == "GITHUB_ACTOR" else {})
    status, outputs, _ = promote(fake, tmp_path, **other)
    assert (status, outputs["outcome"]) == (2, "error")
    assert hastened(site) == []


def test_a_token_that_may_not_ask_is_no_approval(fake: FakeGitHub, site: Site, tmp_path: Path) -> None:
    fake.faults = [Fault("approvals", 403, body={"message": "Resource not accessible by integration"})]
    status, outputs, summary = promote(fake, tmp_path)
    assert (status, outputs["outcome"]) == (1, "error")
    assert "Resource not accessible" in summary
    assert hastened(site) == []


def test_the_ledger_names_who_approved_and_who_asked(fake: FakeGitHub, site: Site, tmp_path: Path) -> None:
    fake.book.approvals = {901: [("eve", "rejected"), ("bob", "approved")]}
    status, outputs, summary = promote(fake, tmp_path)
    assert (status, outputs["outcome"], outputs["decision"]) == (0, "pass", "promoted")
    assert f"rollout promote {NAME} in demo, approved by bob" in summary
    (event,) = hastened(site)
    assert (event.actor, event.reason) == ("bob", "stable is what is broken (asked by ann)")
