"""Who may do what, and what a stranger is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rollout.errors import Unreadable, Usage
from rollout.flagserver.tokens import ROLLBACK, SDK_KEY, WRITER, tokens_of
from tests.support.launchdarkly import Speaker, speaking

ON = {"kind": "turnFlagOn"}


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Speaker]:
    with speaking(tmp_path_factory.mktemp("flags")) as speaker:
        speaker.create("lora-x")
        yield speaker


@pytest.mark.parametrize("given", ["", "api-nobody", "ünknown"])
def test_a_stranger_learns_nothing(speaker: Speaker, given: str) -> None:
    for path in ("/caller-identity", "/flags/default/lora-x", "/flags/default/there-is-none", "/nowhere"):
        answer = speaker.client.get(f"{speaker.url}/api/v2{path}", headers={"Authorization": given.encode()})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert given == "" or given not in answer.text


def test_a_bearer_token_is_told_that_tokens_are_sent_raw(speaker: Speaker) -> None:
    answer = speaker.ask("GET", "/caller-identity", token=f"Bearer {speaker.token}")
    assert (answer.status_code, "without `Bearer`" in answer.json()["message"]) == (401, True)
    assert speaker.token not in answer.text


def test_an_sdk_key_is_told_that_it_is_one(speaker: Speaker) -> None:
    answer = speaker.ask("GET", "/caller-identity", token=speaker.sdk_key)
    assert (answer.status_code, "SDK key" in answer.json()["message"]) == (401, True)


def test_a_reader_reads_and_does_not_write(speaker: Speaker) -> None:
    before = speaker.flag("lora-x")
    assert speaker.ask("GET", "/flags/default/lora-x", token=speaker.reader_token).status_code == 200
    answer = speaker.patch("lora-x", ON, token=speaker.reader_token)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert speaker.flag("lora-x") == before


def test_an_overridden_method_does_not_make_a_reader_a_writer(speaker: Speaker) -> None:
    headers = {"X-HTTP-Method-Override": "PATCH"}
    answer = speaker.ask(
        "POST", "/flags/default/lora-x", token=speaker.reader_token, headers=headers, json=[]
    )
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/flags/other/lora-x", "project"),
        ("/flags/default/other", "flag"),
        ("/flags/default/lora-x?env=staging", "environment"),
        ("/projects/default/environments/staging", "environment"),
        ("/projects/default/flags/other/environments/production/approval-requests", "flag"),
        ("/projects/default/flags/lora-x/environments/production/approval-requests/none", "approval request"),
        ("/flag-statuses/default/staging/lora-x", "environment"),
        ("/auditlog/none", "audit log entry"),
    ],
)
def test_what_there_is_not_is_named(speaker: Speaker, path: str, what: str) -> None:
    answer = speaker.ask("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert what in answer.json()["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"NaN",
        b'{"a": Infinity}',
        b"[" * 100_000,
        b'{"key": "\\ud800", "name": "x"}',
        b"\xff",
        b"1",
    ],
)
def test_a_body_that_is_no_document_is_refused(speaker: Speaker, body: bytes) -> None:
    answer = speaker.ask("POST", "/flags/default", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_a_body_without_end_is_refused(speaker: Speaker) -> None:
    answer = speaker.ask("POST", "/flags/default", content=b" " * 2_000_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "a b", "x" * 300, ".hidden", "ö"])
def test_keys_that_are_none_make_no_flags(speaker: Speaker, key: str) -> None:
    answer = speaker.ask("POST", "/flags/default", json={"key": key, "name": "x"})
    assert (answer.status_code, "key" in answer.json()["message"]) == (400, True)


def test_events_that_are_none_are_refused_and_a_bomb_is_not_blown_up(speaker: Speaker) -> None:
    import gzip

    headers = {"Authorization": speaker.sdk_key, "Content-Encoding": "gzip"}
    bomb = gzip.compress(b"[" + b" " * 40_000_000 + b"]")
    for body in (b"not gzip", bomb):
        answer = httpx.post(f"{speaker.url}/bulk", headers=headers, content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    odd = [
        {"kind": "summary", "features": {"lora-x": 1, "other": {}}},
        1,
        {"kind": "summary", "features": []},
    ]
    answer = httpx.post(f"{speaker.url}/bulk", headers={"Authorization": speaker.sdk_key}, json=odd)
    assert answer.status_code == 202


def test_too_many_requests_in_ten_seconds_are_refused_with_the_time_to_come_back(tmp_path: Path) -> None:
    with speaking(tmp_path, rate_limit=3) as speaker:
        answers = [speaker.ask("GET", "/caller-identity") for _ in range(12)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert refused[0].json()["code"] == "rate_limited"
        assert refused[0].headers["x-ratelimit-route-remaining"] == "0"
        assert int(refused[0].headers["x-ratelimit-reset"]) % 10_000 == 0
        assert speaker.ask("GET", "/caller-identity", token=speaker.rollback_token).status_code == 200


def test_tokens_are_made_once_and_only_their_owner_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (WRITER, ROLLBACK, SDK_KEY, "LD_READER_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "deep" / "flags.tokens"
    made = tokens_of(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert tokens_of(path) == made
    assert made.access.sdk_key not in repr(made)
    monkeypatch.setenv(WRITER, "api-of-my-own-choice")
    again = tokens_of(path)
    assert again.access.tokens[0].secret == "api-of-my-own-choice"
    assert again.access.sdk_key == made.access.sdk_key
    assert "api-of-my-own-choice" not in path.read_text()


def test_a_token_file_that_others_may_read_or_a_link_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SDK_KEY, raising=False)
    path = tmp_path / "tokens"
    path.write_text("export LD_SDK_KEY=sdk-0123456789abcdef\n")
    path.chmod(0o644)
    with pytest.raises(Unreadable, match="read by others"):
        tokens_of(path)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(Unreadable, match="cannot be read"):
        tokens_of(tmp_path / "link")


def test_one_token_for_two_things_is_refused_without_saying_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WRITER, "api-the-same-for-both")
    monkeypatch.setenv(ROLLBACK, "api-the-same-for-both")
    with pytest.raises(Usage, match="the same token") as caught:
        tokens_of(tmp_path / "tokens")
    assert "api-the-same" not in str(caught.value)


def test_no_token_is_in_the_flag_file(speaker: Speaker) -> None:
    speaker.patch("lora-x", ON).raise_for_status()
    content = speaker.path.read_text()
    assert json.loads(content)
    for secret in (speaker.token, speaker.rollback_token, speaker.sdk_key):
        assert secret not in content
