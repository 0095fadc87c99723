"""Pull requests at GitHub: found, opened, merged when nothing is left to wait for, and closed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollout.core.environment import GitHubForge
from rollout.core.lifecycle import RolledBack, Version
from rollout.core.plan import Share
from rollout.core.pullrequest import MergeState, PullRequest, PullState
from rollout.core.revertproposal import RevertProposal
from rollout.errors import ForgeDenied, ForgeUnavailable
from rollout.integrations.github import GitHub
from tests.support.github.book import NAME
from tests.support.github.server import TOKEN, FakeGitHub, Fault, github

BAD = Version(
    version="1.1.0",
    identity="b" * 64,
    served_name="bot-1.1.0-bbbbbbbbbbbb",
    path="bot.yaml",
    commit="c" * 40,
    manifest_sha256="d" * 64,
)
STABLE = BAD.model_copy(
    update={"version": "1.0.0", "served_name": "bot-1.0.0-aaaaaaaaaaaa", "identity": "a" * 64}
)
EVENT = RolledBack(
    at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    actor="ann",
    environment="prod",
    name="bot",
    tool="1",
    reason="wrong answers",
    automatic=False,
    bad=BAD,
    from_share=Share.parse("10%"),
    flag_version=3,
    flag_written_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
)
PROPOSAL = RevertProposal(event=EVENT, bad=BAD, stable=STABLE)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """main with a manifest, and the revert of it on its own branch."""
    folder = tmp_path / "origin.git"
    clone = tmp_path / "clone"
    run = subprocess.run
    run(["git", "init", "-q", "--bare", "-b", "main", folder], check=True)
    run(["git", "clone", "-q", folder, clone], check=True, capture_output=True)

    def commit(content: str, branch: str) -> None:
        (clone / "bot.yaml").write_text(content)
        words = ["-c", "user.name=a", "-c", "user.email=a@a"]
        run(["git", "-C", clone, "add", "-A"], check=True)
        run(["git", "-C", clone, *words, "commit", "-qm", content], check=True)
        run(["git", "-C", clone, "push", "-q", "origin", f"HEAD:refs/heads/{branch}"], check=True)

    commit("bad", "main")
    commit("good", PROPOSAL.branch)
    return folder


@pytest.fixture
def fake(origin: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGitHub]:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    with github(origin) as fake:
        yield fake


def forge(fake: FakeGitHub, prefix: str = "") -> GitHub:
    where = GitHubForge(kind="github", repository=NAME, api=fake.url + prefix, patience_s=5)
    return GitHub(where, base="main")


def opened(fake: FakeGitHub) -> PullRequest:
    return forge(fake).open(PROPOSAL)


def test_a_branch_without_one_has_none(fake: FakeGitHub) -> None:
    assert forge(fake).find(PROPOSAL.branch) is None


def test_one_that_is_opened_is_found_with_its_words(fake: FakeGitHub) -> None:
    pull = opened(fake)
    assert (pull.number, pull.state, pull.head) == (1, PullState.OPEN, fake.book.remote.tip(PROPOSAL.branch))
    assert forge(fake).find(PROPOSAL.branch) == replace(pull, merge_state=MergeState.UNKNOWN)
    assert fake.book.pulls[0].title == "Roll back bot to 1.0.0"
    assert "Rollback-Of: bot-1.1.0-bbbbbbbbbbbb" in fake.book.pulls[0].body


def test_opening_it_twice_finds_the_first(fake: FakeGitHub) -> None:
    assert opened(fake) == replace(opened(fake), merge_state=MergeState.CLEAN)
    assert len(fake.book.pulls) == 1


def test_an_open_one_is_preferred_to_newer_ones_that_are_closed(fake: FakeGitHub) -> None:
    for _ in range(3):
        forge(fake).open(PROPOSAL)
        fake.book.pulls[-1].state = "closed"
    fake.book.pulls[1].state = "open"
    found = forge(fake).find(PROPOSAL.branch)
    assert found is not None
    assert found.number == 2


def test_it_is_found_however_many_there_were_before(fake: FakeGitHub) -> None:
    fake.page = 2
    for _ in range(5):
        forge(fake).open(PROPOSAL)
        fake.book.pulls[-1].state = "closed"
    fake.book.pulls[0].state = "open"
    found = forge(fake).find(PROPOSAL.branch)
    assert found is not None
    assert found.number == 1
    assert sum("page=" in line.replace("per_page=", "") for line in fake.lines) == 2


def test_a_branch_of_the_same_name_in_a_fork_is_not_ours(fake: FakeGitHub) -> None:
    opened(fake)
    shown = fake._shown(fake.book.pulls[0], simple=True)
    shown["head"]["repo"]["full_name"] = "mallory/adapters"
    fake.faults.append(Fault("GET .*/pulls", 200, body=[shown]))
    assert forge(fake).find(PROPOSAL.branch) is None


def test_a_branch_that_github_does_not_know_yet_is_waited_for(fake: FakeGitHub) -> None:
    tip = fake.book.remote.tip(PROPOSAL.branch)
    fake.book.remote.git("update-ref", "-d", f"refs/heads/{PROPOSAL.branch}")

    def appear(*_: object) -> str | None:
        fake.book.remote.git("update-ref", f"refs/heads/{PROPOSAL.branch}", str(tip))
        del fake.book.remote.tip  # type: ignore[method-assign]
        return None

    fake.book.remote.tip = appear  # type: ignore[method-assign]
    assert opened(fake).head == tip


def test_what_waits_for_nothing_is_merged_at_once_with_our_message(fake: FakeGitHub) -> None:
    merged = forge(fake).merge_when_ready(opened(fake), PROPOSAL)
    assert merged.state is PullState.MERGED
    assert fake.book.remote.read("bot.yaml") == b"good"
    message = fake.book.remote.git("log", "-1", "--format=%B", "main")
    assert message.startswith("Roll back bot to 1.0.0 (#1)\n")
    trailer = fake.book.remote.git("log", "-1", "--format=%(trailers:key=Rollback-Of,valueonly)", "main")
    assert trailer.strip() == "bot-1.1.0-bbbbbbbbbbbb"


def test_what_waits_for_checks_merges_by_itself_once_they_pass(fake: FakeGitHub) -> None:
    fake.book.required = {"validate", "lint"}
    pull = opened(fake)
    fake.book.checks[pull.head] = {"validate": None}
    waiting = forge(fake).merge_when_ready(pull, PROPOSAL)
    assert (waiting.state, waiting.merge_state, waiting.auto_merge) == (
        PullState.OPEN,
        MergeState.BLOCKED,
        True,
    )
    assert waiting.waits_for == "its checks; checks: 1 pending; then it merges by itself"
    fake.book.checks[pull.head] = {"validate": "success", "lint": "success"}
    found = forge(fake).find(PROPOSAL.branch)
    assert found is not None
    assert found.state is PullState.MERGED
    trailer = fake.book.remote.git("log", "-1", "--format=%(trailers:key=Reason,valueonly)", "main")
    assert trailer.strip() == "wrong answers"


def test_checks_and_statuses_that_failed_are_named(fake: FakeGitHub) -> None:
    fake.book.required = {"validate"}
    pull = opened(fake)
    fake.book.checks[pull.head] = {"validate": "failure", "docs": "skipped"}
    fake.book.statuses[pull.head] = {"ci/old": "error", "ci/other": "success", "ci/slow": "pending"}
    waiting = forge(fake).merge_when_ready(pull, PROPOSAL)
    assert "checks: 2 passed, 1 pending, 2 failed (ci/old, validate)" in waiting.waits_for


def test_checks_that_may_not_be_read_are_left_out(fake: FakeGitHub) -> None:
    fake.book.reviews_missing = True
    pull = opened(fake)
    fake.forbidden = re.compile("check-runs")
    waiting = forge(fake).merge_when_ready(pull, PROPOSAL)
    assert waiting.checks is None
    assert waiting.waits_for == "a review, or required checks; then it merges by itself"


def test_enabling_it_twice_changes_nothing(fake: FakeGitHub) -> None:
    fake.book.reviews_missing = True
    pull = opened(fake)
    first, again = (forge(fake).merge_when_ready(pull, PROPOSAL) for _ in range(2))
    assert first == again
    assert sum("graphql" in line for line in fake.lines) == 1


def test_a_repository_without_auto_merge_leaves_it_to_a_person_and_says_so(fake: FakeGitHub) -> None:
    fake.book.reviews_missing, fake.book.allow_auto_merge = True, False
    waiting = forge(fake).merge_when_ready(opened(fake), PROPOSAL)
    assert not waiting.auto_merge
    assert waiting.waits_for.endswith(
        "then somebody has to merge it: Auto merge is not allowed for this repository"
    )


@pytest.mark.parametrize("allowed", ["squash", "rebase", "merge"])
def test_it_is_merged_the_way_that_the_repository_allows(fake: FakeGitHub, allowed: str) -> None:
    fake.book.methods = {allowed}
    assert forge(fake).merge_when_ready(opened(fake), PROPOSAL).state is PullState.MERGED


@pytest.mark.parametrize("how", ["auto", "now"])
def test_a_way_that_turns_out_not_to_be_allowed_is_followed_by_the_next(fake: FakeGitHub, how: str) -> None:
    fake.book.methods = {"merge"}
    fake.book.reviews_missing = how == "auto"
    pull = opened(fake)
    untold = fake._repository(None)  # type: ignore[arg-type]
    body = {key: value for key, value in json.loads(untold.body).items() if not key.startswith("allow_")}
    fake.faults.append(Fault(f"GET /repos/{NAME}$", 200, body=body, times=9))
    result = forge(fake).merge_when_ready(pull, PROPOSAL)
    assert result.auto_merge if how == "auto" else result.state is PullState.MERGED


def test_one_that_became_ready_in_between_is_merged_at_once(fake: FakeGitHub) -> None:
    """GitHub does not enable auto-merge where there is nothing to wait for."""
    pull = opened(fake)
    seen = fake._shown(fake.book.pulls[0]) | {"mergeable_state": "blocked"}
    fake.faults.append(Fault("GET .*/pulls/1", 200, body=seen))
    assert forge(fake).merge_when_ready(pull, PROPOSAL).state is PullState.MERGED


def test_a_merge_state_that_is_still_worked_out_is_waited_for(fake: FakeGitHub) -> None:
    pull = opened(fake)
    fake.book.undecided = 2
    assert forge(fake).merge_when_ready(pull, PROPOSAL).state is PullState.MERGED


def test_nothing_but_the_commit_that_was_proposed_is_merged(fake: FakeGitHub) -> None:
    pull = replace(opened(fake), head="e" * 40)
    with pytest.raises(ForgeUnavailable, match=r"is at .* and not at eeeeeeeeeeee yet"):
        forge(fake).merge_when_ready(pull, PROPOSAL)
    assert fake.book.remote.read("bot.yaml") == b"bad"


def test_a_push_between_the_look_and_the_merge_is_not_merged(fake: FakeGitHub) -> None:
    pull = opened(fake)
    stale = fake._shown(fake.book.pulls[0])
    fake.book.remote.git("update-ref", f"refs/heads/{PROPOSAL.branch}", str(fake.book.remote.tip("main")))
    fake.faults.append(Fault("GET .*/pulls/1", 200, body=stale))
    left = forge(fake).merge_when_ready(pull, PROPOSAL)
    assert left.state is PullState.OPEN
    assert "Head sha didn't match" in (left.auto_merge_refused or "")


def test_one_that_is_closed_or_merged_is_left_as_it_is(fake: FakeGitHub) -> None:
    pull = opened(fake)
    forge(fake).close(pull)
    assert forge(fake).merge_when_ready(pull, PROPOSAL).state is PullState.CLOSED
    assert fake.book.remote.read("bot.yaml") == b"bad"


def test_a_comment_is_made_once_for_its_key(fake: FakeGitHub) -> None:
    pull = opened(fake)
    fake.page = 2
    for text in ("a", "b", "c"):
        fake.book.say(fake.book.pulls[0], text, "eve")
    for _ in range(2):
        forge(fake).comment(pull, "Not needed.", key="why")
    assert fake.book.pulls[0].comments == ["a", "b", "c", "<!-- rollout:why -->\nNot needed."]


def test_a_comment_that_may_have_been_made_is_not_made_twice(fake: FakeGitHub) -> None:
    pull = opened(fake)
    fake.faults.append(Fault("POST .*/comments", 502, after=True))
    with pytest.raises(ForgeUnavailable, match="nobody knows whether it was done"):
        forge(fake).comment(pull, "Not needed.", key="why")
    forge(fake).comment(pull, "Not needed.", key="why")
    assert len(fake.book.pulls[0].comments) == 1


def test_one_that_may_have_been_opened_is_found_and_not_opened_twice(fake: FakeGitHub) -> None:
    fake.faults.append(Fault("POST .*/pulls", 502, after=True))
    assert opened(fake).number == 1
    assert len(fake.book.pulls) == 1


def test_a_branch_with_nothing_to_merge_is_told_in_githubs_words(fake: FakeGitHub) -> None:
    fake.book.remote.git("update-ref", f"refs/heads/{PROPOSAL.branch}", str(fake.book.remote.tip("main")))
    with pytest.raises(
        ForgeDenied, match="422 to a new pull request: Validation Failed: No commits between main"
    ):
        opened(fake)


def test_an_enterprise_server_has_both_its_apis_below_one_host(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    with github(origin, prefix="/api/v3") as fake:
        fake.book.reviews_missing = True
        there = forge(fake, "/api/v3")
        assert there.merge_when_ready(there.open(PROPOSAL), PROPOSAL).auto_merge
        assert "POST /api/graphql" in fake.lines
