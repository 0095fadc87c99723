"""Without proof a release goes on only if another person than whoever asked let the run in; the ledger names both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.actions.__main__ import main
from rollout.core.plan import Share
from rollout.demo.scratch import ENVIRONMENT, NAME
from tests.actions.test_step import read_outputs
from tests.support.github.server import TOKEN, FakeGitHub, Fault, github
from tests.support.site import Site

RUN = 901
PLACE = ("production-promote",)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("promote") / "site"
    folder.mkdir()
    site = Site.create(folder)
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    return site


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGitHub]:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    with github(tmp_path / "origin.git") as fake:
        yield fake


@pytest.fixture
def environment(tmp_path: Path, fake: FakeGitHub, site: Site, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(site.repository.root)
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": "workflow_dispatch",
        "GITHUB_REPOSITORY": "acme/adapters",
        "GITHUB_RUN_ID": str(RUN),
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_API_URL": fake.url,
        "GITHUB_ACTOR": "Ann",
        "GITHUB_TRIGGERING_ACTOR": "bea",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "GITHUB_OUTPUT": str(tmp_path / "outputs"),
        "RUNNER_TEMP": str(tmp_path),
        "ROLLOUT_INPUT_NAME": NAME,
        "ROLLOUT_INPUT_ENVIRONMENT": ENVIRONMENT,
        "ROLLOUT_INPUT_REASON": "stable answers nonsense; $(touch was-here)",
        "ROLLOUT_INPUT_APPROVAL": PLACE[0],
    }


def refused(environment: dict[str, str], site: Site) -> str:
    """Why; nothing is in the ledger."""
    before = site.world.ledger.read(NAME)
    assert main(["promote"], environment) != 0
    assert site.world.ledger.read(NAME) == before
    outputs = read_outputs(Path(environment["GITHUB_OUTPUT"]))
    assert (outputs["outcome"], outputs["decision"]) == ("error", "")
    return Path(environment["GITHUB_STEP_SUMMARY"]).read_text()


@pytest.mark.parametrize(
    ("approvals", "told"),
    [
        ([], "by nobody: it takes another person than Ann and bea"),
        ([(RUN, "ann", "approved", PLACE)], "only by ann: it takes another person"),
        ([(RUN, "BEA", "approved", PLACE)], "only by BEA"),
        ([(RUN, "cy", "rejected", PLACE)], "by nobody"),
        ([(RUN, "cy", "pending", PLACE)], "by nobody"),
        ([(RUN, "cy", "approved", ("staging",))], "was let into production-promote by nobody"),
        ([(RUN, "cy", "approved", ())], "by nobody"),
        ([(RUN, "helper[bot]", "approved", PLACE)], "by nobody"),
        ([(RUN + 1, "cy", "approved", PLACE)], "by nobody"),
    ],
)
def test_nobody_promotes_without_another_person(
    environment: dict[str, str], fake: FakeGitHub, site: Site, approvals: list[Any], told: str
) -> None:
    fake.book.approvals = approvals
    why = refused(environment, site)
    assert told in why
    assert "prevents self-review" in why


def test_who_approved_a_run_once_has_not_approved_it_again(
    environment: dict[str, str], fake: FakeGitHub, site: Site
) -> None:
    fake.book.approvals = [(RUN, "cy", "approved", PLACE), (RUN, "ann", "approved", PLACE)]
    why = refused({**environment, "GITHUB_RUN_ATTEMPT": "2"}, site)
    assert "this is attempt 2 of the run" in why
    assert "Start a new run" in why


@pytest.mark.parametrize(
    ("without", "told"),
    [
        ("GITHUB_RUN_ID", "nobody says which run this is and who started it"),
        ("GITHUB_REPOSITORY", "nobody says which run this is and who started it"),
        ("ROLLOUT_INPUT_APPROVAL", "input `approval` is missing"),
        ("ROLLOUT_INPUT_REASON", "input `reason` is missing"),
        ("ROLLOUT_INPUT_NAME", "input `name` is missing"),
    ],
)
def test_what_is_not_known_is_no_approval(
    environment: dict[str, str], fake: FakeGitHub, site: Site, without: str, told: str
) -> None:
    fake.book.approvals = [(RUN, "cy", "approved", PLACE)]
    assert told in refused({**environment, without: ""}, site)


def test_a_run_that_nobody_is_said_to_have_started_promotes_nothing(
    environment: dict[str, str], fake: FakeGitHub, site: Site
) -> None:
    fake.book.approvals = [(RUN, "cy", "approved", PLACE)]
    nobody = {**environment, "GITHUB_ACTOR": "a b", "GITHUB_TRIGGERING_ACTOR": ""}
    assert "who started it" in refused(nobody, site)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("approvals", 403, body={"message": "Resource not accessible by integration"}),
        Fault("approvals", 404, body={"message": "Not Found"}),
        Fault("approvals", 200, body={"user": {"login": "cy"}}),
        Fault("approvals", 200, body=["cy", {"state": "approved", "user": "cy", "environments": PLACE}]),
    ],
)
def test_an_answer_that_says_nothing_is_no_approval(
    environment: dict[str, str], fake: FakeGitHub, site: Site, fault: Fault
) -> None:
    fake.faults.append(fault)
    refused(environment, site)


def test_who_approved_acts_and_who_asked_is_in_the_reason(
    environment: dict[str, str], fake: FakeGitHub, site: Site
) -> None:
    fake.book.approvals = [(RUN, "ann", "approved", PLACE), (RUN, "cy", "approved", PLACE)]
    assert main(["promote"], environment) == 0
    outputs = read_outputs(Path(environment["GITHUB_OUTPUT"]))
    assert (outputs["outcome"], outputs["decision"]) == ("pass", "promoted")
    entry = list(site.world.ledger.read(NAME))[-1]
    assert entry.event.actor == "cy"
    assert str(entry.event.model_dump()["reason"]) == (
        "stable answers nonsense; $(touch was-here)"
        f" (asked by Ann and bea in https://github.com/acme/adapters/actions/runs/{RUN})"
    )
    assert not Path("was-here").exists()
    summary = Path(environment["GITHUB_STEP_SUMMARY"]).read_text()
    assert f"rollout promote {NAME} in {ENVIRONMENT}, approved by cy" in summary
    assert fake.violations == []


def test_a_release_that_waits_for_a_person_goes_on(
    environment: dict[str, str], fake: FakeGitHub, site: Site
) -> None:
    fake.book.approvals = [(RUN, "cy", "approved", PLACE)]
    site.world.flags.write(
        site.key, Share.parse("5%"), turn_on=False, expect_version=None, by="eve", comment=""
    )
    site.tick()
    assert main(["promote"], {**environment, "ROLLOUT_INPUT_VERB": "resume"}) == 0
    assert read_outputs(Path(environment["GITHUB_OUTPUT"]))["decision"] == "resumed"


def test_there_is_no_third_verb(environment: dict[str, str], fake: FakeGitHub, site: Site) -> None:
    fake.book.approvals = [(RUN, "cy", "approved", PLACE)]
    why = refused({**environment, "ROLLOUT_INPUT_VERB": "rollback"}, site)
    assert "is none of promote, resume" in why
