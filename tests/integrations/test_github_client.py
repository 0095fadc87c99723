"""GitHub's limits, failures and hostile answers: waited for within the patience, told in words, never with the token."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.core.environment import GitHubForge
from rollout.errors import ForgeDenied, ForgeUnavailable, RolloutError
from rollout.integrations.github import GitHub
from rollout.integrations.github.client import Client
from rollout.integrations.github.pace import Pace, limited_s
from rollout.integrations.github.tokens import Token
from rollout.tls import trusted
from tests.support.github.book import NAME
from tests.support.github.server import TOKEN, FakeGitHub, Fault, github

PULLS = f"/repos/{NAME}/pulls"


class Time:
    """A clock that moves when somebody sleeps; `slept` is how long each time."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    @property
    def pace(self) -> Pace:
        return Pace(
            monotonic=lambda: self.now,
            epoch=lambda: self.now,
            sleep=self.sleep,
            jitter=lambda: 0.5,
            answer_s=5,
        )


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGitHub]:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", tmp_path / "origin.git"], check=True)
    with github(tmp_path / "origin.git") as fake:
        yield fake


def client(fake: FakeGitHub, time: Time, *, patience_s: float = 30) -> Client:
    made = Client(fake.url, Token("GITHUB_TOKEN"), patience_s=patience_s, pace=time.pace)
    made.begin()
    return made


@pytest.mark.parametrize(
    ("status", "headers", "body", "waited"),
    [
        (429, {"retry-after": "7"}, {"message": "slow down"}, 7.0),
        (403, {"retry-after": "7"}, {"message": "You have exceeded a secondary rate limit"}, 7.0),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1011"}, None, 11.0),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "900"}, None, 0.0),
    ],
)
def test_a_limit_is_waited_for_as_long_as_it_says(
    fake: FakeGitHub, status: int, headers: dict[str, str], body: Any, waited: float
) -> None:
    clock = Time()
    fake.faults.append(Fault("GET", status, headers, body))
    assert client(fake, clock).ask("GET", PULLS).ok
    assert clock.slept == [waited]


@pytest.mark.parametrize(
    ("status", "headers", "message", "seconds"),
    [
        (403, {}, "You have exceeded a secondary rate limit. Please wait.", 60.0),
        (429, {}, "", 60.0),
        (403, {"x-ratelimit-remaining": "0"}, "", 60.0),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"}, "", 60.0),
        (429, {"retry-after": "-5"}, "", 60.0),
        (429, {"retry-after": "9" * 400}, "", 60.0),
        (429, {"retry-after": "nan"}, "", 60.0),
        (403, {"x-ratelimit-remaining": "17"}, "Resource not accessible by integration", None),
        (200, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "99"}, "", None),
        (422, {"retry-after": "3"}, "", None),
    ],
)
def test_what_a_limit_is_and_how_long_it_lasts(
    status: int, headers: dict[str, str], message: str, seconds: float | None
) -> None:
    assert limited_s(status, headers, message, now=0.0) == seconds


def test_a_limit_that_outlasts_the_patience_is_told_at_once(fake: FakeGitHub) -> None:
    clock = Time()
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1900"}
    fake.faults.append(Fault("GET", 403, headers, {"message": "API rate limit exceeded"}))
    with pytest.raises(ForgeUnavailable, match="it limits us for 900 s more \\(API rate limit exceeded\\)"):
        client(fake, clock).ask("GET", PULLS)
    assert clock.slept == []


def test_graphql_limits_with_status_200(fake: FakeGitHub) -> None:
    from rollout.integrations.github.automerge import enable

    limited = {"errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]}
    fake.faults.append(Fault("POST /graphql", 200, body=limited))
    with pytest.raises(ForgeUnavailable, match="API rate limit exceeded"):
        enable(client(fake, Time()), {"pullRequestId": "PR_1"})


def test_graphql_errors_of_no_known_kind_are_errors(fake: FakeGitHub) -> None:
    from rollout.integrations.github.automerge import enable

    fake.faults.append(Fault("POST /graphql", 200, body={"errors": 5, "message": "it is broken"}))
    assert enable(client(fake, Time()), {"pullRequestId": "PR_1"}) == "it is broken"


def test_checks_whose_conclusion_is_no_word_have_failed(fake: FakeGitHub) -> None:
    from rollout.integrations.github.checks import checks_of

    runs = [{"name": "a", "status": "completed", "conclusion": []}, {"name": "b", "status": "completed"}]
    fake.faults.append(Fault("GET", 200, body={"check_runs": runs}))
    fake.faults.append(Fault("GET", 200, body={"statuses": [{"context": "c", "state": {}}]}))
    found = checks_of(client(fake, Time()), NAME, "b" * 40)
    assert found is not None
    assert (found.passed, found.pending, found.failed) == (0, 0, ("a", "b", "c"))


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_that_fails_is_asked_again_ever_more_slowly(fake: FakeGitHub, status: int) -> None:
    clock = Time()
    fake.faults.append(Fault("GET", status, body={"message": "Server Error"}, times=3))
    assert client(fake, clock).ask("GET", PULLS).ok
    assert clock.slept == [0.25, 0.5, 1.0]


def test_a_server_that_goes_on_failing_is_given_up(fake: FakeGitHub) -> None:
    clock = Time()
    fake.faults.append(Fault("GET", 503, times=99))
    with pytest.raises(ForgeUnavailable, match="it answered 503"):
        client(fake, clock, patience_s=2).ask("GET", PULLS)
    assert sum(clock.slept) < 2


def test_an_answer_that_is_no_json_is_asked_for_again(fake: FakeGitHub) -> None:
    from starlette.responses import HTMLResponse

    clock, whole = Time(), fake._respond
    pages = [HTMLResponse("<html>Unicorn!</html>")]
    fake._respond = lambda *words: pages.pop() if pages else whole(*words)  # type: ignore[method-assign]
    assert client(fake, clock).ask("GET", PULLS).ok
    assert clock.slept == [0.25]


def test_one_that_is_away_is_told_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    away = Client("http://127.0.0.1:9", Token("GITHUB_TOKEN"), patience_s=1, pace=Time().pace)
    away.begin()
    with pytest.raises(
        ForgeUnavailable, match=r"GitHub at http://127.0.0.1:9 .*no answer \(ConnectError\)"
    ) as caught:
        away.ask("GET", PULLS)
    assert caught.value.exit_status == 4
    assert "Run the command again" in caught.value.advice


def test_one_that_is_silent_is_not_waited_for_longer_than_the_patience() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        where = GitHubForge(
            kind="github",
            repository=NAME,
            api=f"http://127.0.0.1:{server.getsockname()[1]}",
            patience_s=0.5,
            token_env="PATH_TO_NOWHERE",
        )
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("PATH_TO_NOWHERE", TOKEN)
            began = time.monotonic()
            with pytest.raises(ForgeUnavailable, match="no answer"):
                GitHub(where, base="main").find("x")
            assert time.monotonic() - began < 10


def test_a_redirect_is_not_followed_with_the_token(fake: FakeGitHub) -> None:
    elsewhere = {"location": f"{fake.url}/repositories/1/pulls"}
    fake.faults.append(Fault("GET", 301, elsewhere, {"message": "Moved Permanently"}))
    with pytest.raises(ForgeDenied, match="answered 301: what was asked for is somewhere else") as caught:
        client(fake, Time()).ask("GET", PULLS)
    assert "`forge.repository`" in caught.value.advice
    assert len(fake.lines) == 1


def test_the_next_page_is_asked_for_at_the_same_server_alone(fake: FakeGitHub) -> None:
    foreign = {"link": '<http://127.0.0.1:1/steal?page=2>; rel="next"'}
    fake.faults.append(Fault("GET", 200, foreign, []))
    assert list(client(fake, Time()).pages(PULLS, {})) == []
    assert len(fake.lines) == 1


def test_pages_without_end_are_given_up(fake: FakeGitHub) -> None:
    fake.faults.append(Fault("GET", 200, {"link": f'<{PULLS}?page=2>; rel="next"'}, [], times=999))
    with pytest.raises(ForgeUnavailable, match="more than 50 pages"):
        list(client(fake, Time()).pages(PULLS, {}))


def test_a_next_page_that_is_no_address_is_told(fake: FakeGitHub) -> None:
    fake.faults.append(Fault("GET", 200, {"link": '<https://[::1>; rel="next"'}, []))
    with pytest.raises(ForgeUnavailable, match="the next page that it names is no address"):
        list(client(fake, Time()).pages(PULLS, {}))


def test_an_answer_that_is_not_packed_as_it_says_is_asked_for_again(fake: FakeGitHub) -> None:
    clock = Time()
    fake.faults.append(Fault("GET", 200, {"content-encoding": "gzip"}, []))
    assert client(fake, clock).ask("GET", PULLS).ok
    assert clock.slept == [0.25]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTPS_PROXY", "gopher://ann:s3cret@proxy.example.org"),
        ("ALL_PROXY", "socks4://ann:s3cret@proxy.example.org"),
        ("SSL_CERT_FILE", "/nowhere/s3cret.pem"),
    ],
)
def test_a_proxy_or_certificates_that_are_none_are_told_without_their_words(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    trusted.cache_clear()
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    monkeypatch.setenv(variable, value)
    asked = Client("https://api.github.example.org", Token("GITHUB_TOKEN"), patience_s=1, pace=Time().pace)
    asked.begin()
    with pytest.raises(ForgeDenied, match="no connection to GitHub can be made") as caught:
        asked.ask("GET", PULLS)
    assert variable in caught.value.advice
    assert "s3cret" not in f"{caught.value} {caught.value.advice}"


def test_a_missing_token_is_told_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    here = GitHub(GitHubForge(kind="github", repository=NAME), base="main")
    with pytest.raises(ForgeDenied, match="GITHUB_TOKEN is not set") as caught:
        here.find("x")
    assert caught.value.exit_status == 1
    assert "`Contents` and `Pull requests`" in caught.value.advice


def test_what_is_no_token_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", f"{TOKEN}\n{TOKEN}")
    with pytest.raises(ForgeDenied, match="holds something that is no token") as caught:
        GitHub(GitHubForge(kind="github", repository=NAME), base="main").find("x")
    assert "s3cret" not in f"{caught.value} {caught.value.advice}"


@pytest.mark.parametrize(("status", "message"), [(401, "Bad credentials"), (403, "Resource not accessible")])
def test_a_refusal_names_the_variable_and_the_rights(fake: FakeGitHub, status: int, message: str) -> None:
    fake.faults.append(Fault("GET", status, body={"message": message}))
    with pytest.raises(ForgeDenied, match=f"{status} to the token in GITHUB_TOKEN: {message}") as caught:
        client(fake, Time()).ask("GET", PULLS)
    assert "`Pull requests`" in caught.value.advice


@pytest.mark.parametrize("echo", [TOKEN, f"a {TOKEN} b", "\n".join(TOKEN), f"Bearer {TOKEN}"])
@pytest.mark.parametrize("status", [401, 404, 422, 429])
def test_a_token_that_is_sent_back_is_never_told(fake: FakeGitHub, echo: str, status: int) -> None:
    fake.faults.append(
        Fault("GET", status, {"retry-after": "999"}, {"message": echo, "errors": [{"message": echo}]})
    )
    told = []
    asked = client(fake, Time())
    try:
        told.append(repr(asked.ask("GET", PULLS)))
    except RolloutError as error:
        told += [str(error), error.advice, repr(error)]
    assert told
    assert TOKEN not in " ".join(told)
    assert TOKEN not in repr(asked) + repr(GitHub(GitHubForge(kind="github", repository=NAME), base="main"))


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"number": "x"},
        {"number": 1, "node_id": "n", "html_url": "u", "head": None, "state": "open"},
    ],
)
def test_what_is_no_pull_request_is_an_answer_of_something_else(body: Any) -> None:
    from rollout.integrations.github.pulls import pull_of

    with pytest.raises(ForgeUnavailable, match="no pull request"):
        pull_of(body)


def test_an_answer_without_end_is_not_read_to_its_end(fake: FakeGitHub) -> None:
    clock = Time()
    fake.faults.append(Fault("GET", 200, body=["x" * 1_000_000] * 9, times=99))
    with pytest.raises(ForgeUnavailable, match="ReadError"):
        client(fake, clock, patience_s=1).ask("GET", PULLS)


def test_words_of_github_are_shown_on_one_line_and_cut(fake: FakeGitHub) -> None:
    errors = [
        {"resource": "PullRequest", "field": "base", "code": "invalid"},
        "\x1b[31mred\n",
        7,
        {"message": "y" * 999},
    ]
    fake.faults.append(Fault("GET", 422, body={"message": "Validation Failed", "errors": errors}))
    answer = client(fake, Time()).ask("GET", PULLS)
    assert answer.message.startswith("Validation Failed: PullRequest base invalid: [31mred")
    assert len(answer.message) == 300
    assert answer.message.isprintable()


@pytest.mark.parametrize(
    "api", ["http://github.example.org", "http://127.0.0.1.evil.org", "http://localhost.evil.org/x"]
)
def test_a_token_goes_to_no_other_machine_in_the_clear(api: str) -> None:
    with pytest.raises(ValueError, match="over https:// alone"):
        GitHubForge(kind="github", repository=NAME, api=api)
