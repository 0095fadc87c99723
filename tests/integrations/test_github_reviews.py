"""Who made a change and who approved it: GitHub's word, the last of each person, and only of those who may approve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.core.approval import PullRequest
from rollout.core.environment import GitHubForge
from rollout.errors import ForgeDenied, ForgeUnavailable
from rollout.integrations.github import GitHub
from tests.integrations.test_github_client import Time
from tests.support.github.book import NAME, Pull
from tests.support.github.server import TOKEN, FakeGitHub, Fault, github

HEAD, MERGE, OTHER = "a" * 40, "b" * 40, "c" * 40


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGitHub]:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    with github(tmp_path / "origin.git") as fake:
        fake.book.pulls.append(
            Pull(1, "t", "", "release", "main", HEAD, state="closed", merged_by_commit=MERGE, author="ann")
        )
        fake.book.permissions = {"ann": "write", "bob": "write", "eve": "read", "root": "admin"}
        fake.book.teams = {"support": {"ann"}}
        yield fake


def asked(fake: FakeGitHub, commit: str = MERGE, *, team: str = "support") -> PullRequest | None:
    where = GitHubForge(kind="github", repository=NAME, api=fake.url, patience_s=30)
    return GitHub(where, base="main", pace=Time().pace).reviewed(commit, team=team)


def approvals(fake: FakeGitHub) -> list[tuple[str, str]]:
    found = asked(fake)
    assert found is not None
    return [(review.by, review.commit) for review in found.approvals]


def test_the_pull_request_of_a_merge_is_told_as_it_is(fake: FakeGitHub) -> None:
    fake.book.pulls[0].labels = ["hold", "urgent"]
    fake.book.pulls[0].reviews = [("bob", "APPROVED", HEAD)]
    found = asked(fake)
    assert found is not None
    assert (found.number, found.author, found.head) == (1, "ann", HEAD)
    assert (found.labels, found.teams) == (("hold", "urgent"), ("support",))
    assert [(review.by, review.commit) for review in found.approvals] == [("bob", HEAD)]


def test_each_persons_last_decision_counts(fake: FakeGitHub) -> None:
    fake.page = 2
    fake.book.pulls[0].reviews = [
        ("bob", "APPROVED", OTHER),
        ("bob", "COMMENTED", HEAD),
        ("root", "CHANGES_REQUESTED", HEAD),
        ("root", "APPROVED", HEAD),
        ("ann", "APPROVED", HEAD),
        ("ann", "DISMISSED", HEAD),
    ]
    assert approvals(fake) == [("bob", OTHER), ("root", HEAD)]


def test_whoever_may_only_read_approves_nothing(fake: FakeGitHub) -> None:
    fake.book.pulls[0].reviews = [("eve", "APPROVED", HEAD), ("stranger", "APPROVED", HEAD)]
    assert approvals(fake) == []


@pytest.mark.parametrize(
    "change",
    [
        {"merged_by_commit": None},
        {"base": "next"},
        {"merged_by_commit": OTHER, "head": OTHER},
    ],
)
def test_what_was_not_merged_here_as_this_commit_vouches_for_nothing(
    fake: FakeGitHub, change: dict[str, str]
) -> None:
    for name, value in change.items():
        setattr(fake.book.pulls[0], name, value)
    assert asked(fake) is None


def test_of_a_rebase_the_one_pull_request_counts_and_of_several_none(fake: FakeGitHub) -> None:
    fake.book.brought = {1: {OTHER}}
    found = asked(fake, OTHER)
    assert found is not None
    assert found.number == 1
    fake.book.pulls.append(
        Pull(2, "t", "", "other", "main", "d" * 40, state="closed", merged_by_commit="e" * 40)
    )
    fake.book.brought = {1: {OTHER}, 2: {OTHER}}
    assert asked(fake, OTHER) is None


def test_a_token_that_may_not_ask_about_teams_knows_of_none(fake: FakeGitHub) -> None:
    fake.book.login = "github-actions[bot]"
    found = asked(fake)
    assert found is not None
    assert found.teams == ()


def test_a_member_of_another_team_is_in_none(fake: FakeGitHub) -> None:
    found = asked(fake, team="legal/../support")
    assert found is not None
    assert found.teams == ()


def test_a_forge_that_is_away_or_refuses_vouches_for_nothing(fake: FakeGitHub) -> None:
    fake.faults = [Fault("pulls", 503, times=99)]
    with pytest.raises(ForgeUnavailable):
        asked(fake)
    fake.faults = [Fault("pulls", 404, body={"message": "Not Found"}, times=99)]
    with pytest.raises(ForgeDenied, match="404"):
        asked(fake)


def test_an_answer_without_an_author_is_none(fake: FakeGitHub) -> None:
    told = {"number": 1, "merged_at": "x", "merge_commit_sha": MERGE, "user": None, "head": {"sha": HEAD}}
    told["base"] = {"ref": "main", "repo": {"full_name": NAME}}
    fake.faults = [Fault("commits", 200, body=[told])]
    with pytest.raises(ForgeDenied, match="says not who made it"):
        asked(fake)
