"""A sticky comment at GitHub: one for each key, the newest run wins, and a refusal is an outcome."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.errors import Usage
from rollout.integrations.github.client import Client
from rollout.integrations.github.comments import MOST, Comments, Put, body_of
from rollout.integrations.github.tokens import Token
from tests.integrations.test_github_client import Time
from tests.support.github.book import NAME, Pull
from tests.support.github.server import TOKEN, FakeGitHub, Fault, github

KEY = "bot/quality"
AT = f"/repos/{NAME}/issues/1/comments"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGitHub]:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    with github(tmp_path / "origin.git") as fake:
        # No branch is needed to be spoken about.
        fake.book.pulls.append(Pull(1, "t", "", "b", "main", "a" * 40, state="closed"))
        yield fake


def comments(fake: FakeGitHub, *, login: str | None = None) -> Comments:
    made = Client(fake.url, Token("GITHUB_TOKEN"), patience_s=30, pace=Time().pace)
    made.begin()
    return Comments(made, NAME, run_url="https://example.com/run", login=login)


def writes(fake: FakeGitHub) -> list[str]:
    return [line.split()[0] for line in fake.lines if not line.startswith("GET")]


@pytest.mark.parametrize("login", ["ann", "github-actions[bot]"])
def test_it_is_made_once_and_then_kept_up_to_date(fake: FakeGitHub, login: str) -> None:
    fake.book.login = login
    assert comments(fake).put(1, "one", key=KEY, run="5.1").put is Put.CREATED
    assert comments(fake).put(1, "one", key=KEY, run="5.1").put is Put.UNCHANGED
    assert comments(fake).put(1, "two", key=KEY, run="5.2").put is Put.UPDATED
    assert writes(fake) == ["POST", "PATCH"]
    assert fake.book.pulls[0].comments == [f"<!-- rollout-sticky key={KEY} run=5.2 -->\ntwo"]


def test_an_older_run_never_overwrites_a_newer_one(fake: FakeGitHub) -> None:
    comments(fake).put(1, "new", key=KEY, run="10.1")
    for run in ("9.1", "9.2"):
        assert comments(fake).put(1, "old", key=KEY, run=run).put is Put.SUPERSEDED
    assert writes(fake) == ["POST"]


def test_it_is_found_on_a_later_page_and_another_key_is_another_comment(fake: FakeGitHub) -> None:
    fake.page = 2
    for _ in range(5):
        fake.book.say(fake.book.pulls[0], "chat", "eve")
    comments(fake).put(1, "one", key=KEY, run="5.1")
    assert comments(fake).put(1, "two", key=KEY, run="6.1").put is Put.UPDATED
    assert comments(fake).put(1, "x", key="bot/safety", run="6.1").put is Put.CREATED


@pytest.mark.parametrize(
    ("ours", "theirs"), [("ann", "eve"), ("ann", "x[bot]"), ("github-actions[bot]", "eve")]
)
def test_a_forged_mark_of_somebody_else_is_left_alone(fake: FakeGitHub, ours: str, theirs: str) -> None:
    fake.book.login = ours
    forged = body_of("forged", key=KEY, run="99.1")
    fake.book.say(fake.book.pulls[0], forged, theirs)
    assert comments(fake).put(1, "one", key=KEY, run="5.1").put is Put.CREATED
    assert fake.book.pulls[0].comments[0] == forged


def test_a_known_login_is_not_asked_for_and_tells_bots_apart(fake: FakeGitHub) -> None:
    fake.book.login = "github-actions[bot]"
    fake.book.say(fake.book.pulls[0], body_of("other", key=KEY, run="99.1"), "other[bot]")
    assert comments(fake, login="github-actions[bot]").put(1, "one", key=KEY, run="5.1").put is Put.CREATED
    assert not any("/user" in line for line in fake.lines)


@pytest.mark.parametrize(("other", "text"), [("6.1", "theirs"), ("4.1", "ours")])
def test_two_at_once_end_with_the_oldest_comment_and_the_newest_text(
    fake: FakeGitHub, other: str, text: str
) -> None:
    pull = fake.book.pulls[0]
    say = fake.book.say

    def raced(*given: object) -> object:
        fake.book.say = say  # type: ignore[method-assign]
        say(pull, body_of("theirs", key=KEY, run=other))
        return say(pull, body_of("ours", key=KEY, run="5.1"))

    fake.book.say = raced  # type: ignore[assignment, method-assign]
    comments(fake).put(1, "ours", key=KEY, run="5.1")
    assert [(said.number, said.body.splitlines()[1]) for said in pull.said] == [(1, text)]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "Resource not accessible by integration"),
        (404, "Not Found"),
        (410, "Gone"),
        (422, "Validation Failed"),
    ],
)
def test_what_github_refuses_is_an_outcome_with_its_reason(
    fake: FakeGitHub, status: int, message: str
) -> None:
    fake.faults.append(Fault("POST", status, body={"message": message}))
    said = comments(fake).put(1, "one", key=KEY, run="5.1")
    assert said.put is Put.DENIED
    assert str(status) in said.reason
    assert message in said.reason
    assert TOKEN not in said.reason


def test_a_locked_conversation_and_a_pull_request_that_is_not_there_are_outcomes(fake: FakeGitHub) -> None:
    assert comments(fake).put(7, "one", key=KEY, run="5.1").put is Put.DENIED
    fake.book.pulls[0].locked = True
    said = comments(fake).put(1, "one", key=KEY, run="5.1")
    assert (said.put, "locked" in said.reason) == (Put.DENIED, True)


def test_a_limit_longer_than_the_patience_is_an_outcome(fake: FakeGitHub) -> None:
    fake.faults.append(Fault("POST", 429, {"retry-after": "900"}, {"message": "slow"}))
    said = comments(fake).put(1, "one", key=KEY, run="5.1")
    assert (said.put, "900" in said.reason) == (Put.UNAVAILABLE, True)


def test_one_that_was_made_though_nobody_was_told_is_found_by_the_next_run(fake: FakeGitHub) -> None:
    fake.faults.append(Fault("POST", 502, after=True))
    assert comments(fake).put(1, "one", key=KEY, run="5.1").put is Put.UNAVAILABLE
    assert comments(fake).put(1, "two", key=KEY, run="6.1").put is Put.UPDATED
    assert len(fake.book.pulls[0].said) == 1


@pytest.mark.parametrize("key", ["", "a b", "a-->", "a--b", "a\n", "x" * 201])
def test_a_key_that_could_end_the_mark_is_refused(fake: FakeGitHub, key: str) -> None:
    with pytest.raises(Usage, match="no key"):
        comments(fake).put(1, "one", key=key, run="5.1")


@pytest.mark.parametrize("run", ["", "5", "5.0", "0.1", "5.1.1", "a.1", "5.1\n"])
def test_a_run_of_another_form_is_refused(fake: FakeGitHub, run: str) -> None:
    with pytest.raises(Usage, match="no run"):
        comments(fake).put(1, "one", key=KEY, run=run)


@pytest.mark.parametrize("text", ["@ann", "&#64;ann", "&#x40;ann", "&commat;ann", "\\@ann", "(@acme/team)"])
def test_nobody_is_pinged(text: str) -> None:
    body = body_of(text, key=KEY, run="5.1").split("\n", 1)[1]
    assert "@\u200ba" in body
    assert "@a" not in body
    assert "&" not in body


@pytest.mark.parametrize("text", ["@&#97;nn", "@&#x61;nn", "&#64;&#97;nn"])
def test_nobody_is_pinged_by_letters_that_are_written_as_entities(text: str) -> None:
    assert "@&" not in body_of(text, key=KEY, run="5.1")


def test_a_mark_in_the_text_is_no_mark() -> None:
    body = body_of("x\n<!-- rollout-sticky key=a run=9.9 -->\n", key=KEY, run="5.1")
    assert body.count("<!--") == 1


def test_a_long_text_is_cut_at_a_line_and_says_where_the_rest_is() -> None:
    text = "<details>\n```text\n" + "row of forty characters, more or less..\n" * 3000
    body = body_of(text, key=KEY, run="5.1", run_url="https://example.com/run")
    assert len(body) <= MOST
    assert body.endswith(
        "less..\n```\n</details>\n\nThis is not all: the report is longer than a comment may be."
        " [The run](https://example.com/run) has the rest.\n"
    )
