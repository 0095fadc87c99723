"""What can be made to go wrong, and that it goes wrong in exactly that way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rollout.errors import Usage
from rollout.flagserver.faults import FAULTS
from tests.support.launchdarkly import SEMANTIC, Speaker, speaking

KEY = "lora-x"
ON = {"kind": "turnFlagOn"}


@pytest.fixture
def speaker(tmp_path: Path) -> Iterator[Speaker]:
    with speaking(tmp_path, faults=True) as speaker:
        speaker.create(KEY)
        speaker.requests.clear()
        yield speaker


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("400-pending", 400, "invalid_request"),
        ("401", 401, "unauthorized"),
        ("403", 403, "forbidden"),
        ("404", 404, "not_found"),
        ("405", 405, "method_not_allowed"),
        ("409", 409, "optimistic_locking_error"),
        ("422", 422, "patch_failed"),
        ("500", 500, "internal_service_error"),
        ("429-route", 429, "rate_limited"),
    ],
)
def test_a_fault_is_met_as_often_as_it_was_asked_for_and_nothing_is_written(
    speaker: Speaker, name: str, status: int, code: str
) -> None:
    speaker.fault(name, times=2)
    for _ in range(2):
        answer = speaker.patch(KEY, ON)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert speaker.config(KEY)["on"] is False, "reading is spared, and nothing was written"
    assert speaker.patch(KEY, ON).status_code == 200


@pytest.mark.parametrize("name", ["502", "503"])
def test_a_proxy_answers_with_a_page_and_no_json(speaker: Speaker, name: str) -> None:
    speaker.fault(name, times=1)
    answer = speaker.patch(KEY, ON)
    assert (answer.status_code, answer.headers["content-type"]) == (int(name), "text/html; charset=utf-8")
    with pytest.raises(ValueError):
        answer.json()


@pytest.mark.parametrize(
    ("name", "headers", "lead"),
    [
        ("429-global", {"x-ratelimit-global-remaining": "0"}, "x-ratelimit-reset"),
        ("429-route", {"x-ratelimit-route-remaining": "0"}, "x-ratelimit-reset"),
        ("429-token", {"x-ratelimit-auth-token-remaining": "0"}, "x-ratelimit-auth-token-reset"),
    ],
)
def test_a_rate_limit_carries_the_headers_of_its_family_alone(
    speaker: Speaker, name: str, headers: dict[str, str], lead: str
) -> None:
    speaker.fault(name, times=1, seconds=7)
    before = time.time()
    answer = speaker.patch(KEY, ON)
    assert headers.items() <= dict(answer.headers).items()
    family = {header for header in answer.headers if header.startswith("x-ratelimit")}
    assert len(family) == 3
    assert before + 6.9 <= int(answer.headers[lead]) / 1000 <= time.time() + 7.1
    assert "retry-after" not in answer.headers


def test_a_limit_of_addresses_says_retry_after_and_a_past_reset_has_passed(speaker: Speaker) -> None:
    speaker.fault("429-ip", times=1, seconds=3)
    by_address = speaker.patch(KEY, ON)
    assert by_address.headers["retry-after"] == "3"
    assert not any(header.startswith("x-ratelimit") for header in by_address.headers)
    speaker.fault("429-past", times=1)
    assert int(speaker.patch(KEY, ON).headers["x-ratelimit-reset"]) < time.time() * 1000


def test_a_pending_change_is_passed_by_who_ignores_conflicts_and_approval_by_who_bypasses(
    speaker: Speaker,
) -> None:
    speaker.fault("400-pending")
    speaker.fault("405")
    assert speaker.patch(KEY, ON).status_code == 400
    assert speaker.patch(KEY, ON, ignoreConflicts="true").status_code == 405
    both = speaker.patch(KEY, ON, token=speaker.rollback_token, ignoreConflicts="true")
    assert both.status_code == 200
    speaker.no_faults()
    speaker.fault("405")
    assert speaker.patch(KEY, ON, dryRun="true").status_code == 200
    speaker.create("another")  # neither is about anything but changes of a flag


def test_without_an_answer_nothing_was_done_before_and_all_was_done_after(speaker: Speaker) -> None:
    for name, on in (("timeout-before", False), ("timeout-after", True)):
        speaker.fault(name, times=1)
        with pytest.raises(httpx.ReadTimeout):
            _patch_with_little_patience(speaker)
        while speaker.config(KEY)["on"] is not on:
            time.sleep(0.01)  # it may still be about to be done
        assert speaker.config(KEY)["version"] == 1 + on, name
    assert [one.status for one in speaker.writes] == [None, None]


def test_a_slow_answer_comes(speaker: Speaker) -> None:
    speaker.fault("slow", times=1, seconds=0.3)
    before = time.monotonic()
    assert speaker.patch(KEY, ON).status_code == 200
    assert time.monotonic() - before >= 0.3


def test_an_answer_that_drips_never_tires_a_reader_that_counts_from_the_last_byte(speaker: Speaker) -> None:
    speaker.fault("drip", times=1, on="read")
    headers, url = {"Authorization": speaker.token}, f"{speaker.url}/api/v2/caller-identity"
    before = time.monotonic()
    with httpx.stream("GET", url, headers=headers) as answer:
        chunks = answer.iter_raw()
        first = [next(chunks) for _ in range(3)]
        assert time.monotonic() - before >= 0.4
        assert (answer.status_code, b"".join(first)[:2]) == (200, b'{"')
        assert len(b"".join(first)) < int(answer.headers["content-length"]), "the rest is still to come"


def test_a_lost_write_looks_like_one_that_was_made(speaker: Speaker) -> None:
    speaker.fault("lost-write", times=1)
    answer = speaker.patch(KEY, ON)
    assert answer.json()["environments"]["production"]["on"] is True
    assert (speaker.config(KEY)["on"], speaker.config(KEY)["version"]) == (False, 1)


def test_a_foreign_write_just_before_ours_makes_two_versions(speaker: Speaker) -> None:
    speaker.fault("foreign-write", times=1)
    answer = speaker.patch(KEY, ON)
    assert answer.json()["environments"]["production"]["version"] == 3
    names = [entry["subject"]["name"] for entry in speaker.ask("GET", "/auditlog").json()["items"]]
    assert names[:2] == ["writer", "somebody else"]


def test_weights_in_reverse_are_stored_and_shown_in_reverse(speaker: Speaker) -> None:
    speaker.fault("reversed-weights", times=1)
    answer = speaker.serve(KEY, 5_000)
    shown = answer.json()["environments"]["production"]["fallthrough"]["rollout"]["variations"]
    assert [part["variation"] for part in shown] == [1, 0]
    assert speaker.config(KEY)["fallthrough"]["rollout"]["variations"] == shown
    assert answer.json()["environments"]["production"]["version"] == 2


def test_a_preview_shows_weights_in_reverse_and_stores_nothing(speaker: Speaker) -> None:
    speaker.fault("reversed-weights", times=1)
    answer = speaker.serve(KEY, 5_000, dryRun="true")
    shown = answer.json()["environments"]["production"]["fallthrough"]["rollout"]["variations"]
    assert [part["variation"] for part in shown] == [1, 0]
    assert speaker.config(KEY)["fallthrough"] == {"variation": 0}


def test_faults_may_be_on_for_reading_or_for_everything(speaker: Speaker) -> None:
    speaker.fault("500", on="read")
    assert speaker.ask("GET", "/caller-identity").status_code == 500
    assert speaker.patch(KEY, ON).status_code == 200
    speaker.no_faults()
    speaker.fault("500", on="any")
    assert {speaker.ask("GET", "/caller-identity").status_code, speaker.patch(KEY, ON).status_code} == {500}
    speaker.no_faults()
    assert speaker.ask("GET", "/caller-identity").status_code == 200


def test_a_fault_that_there_is_not_is_refused(speaker: Speaker) -> None:
    with pytest.raises(Usage, match="there is no fault 'gremlins'"):
        speaker.fault("gremlins")
    with pytest.raises(Usage, match="write, read or any"):
        speaker.fault("500", on="never")


def test_users_switch_faults_over_http_where_that_was_asked_for(speaker: Speaker) -> None:
    headers = {"Authorization": speaker.token}
    page = f"{speaker.url}/faults"
    made = httpx.post(page, headers=headers, json={"name": "409", "times": 1})
    assert (made.status_code, made.json()) == (201, {"on": ["409"]})
    assert httpx.get(page, headers=headers).json()["faults"] == dict(FAULTS)
    assert speaker.patch(KEY, ON).status_code == 409
    httpx.post(page, headers=headers, json={"name": "500"})
    assert httpx.delete(page, headers=headers).status_code == 204
    assert speaker.patch(KEY, ON).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "gremlins"},
        {"name": "409", "times": 0},
        {"name": "slow", "seconds": 1e9},
        {"name": "409", "x": 1},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_over_http(speaker: Speaker, body: dict[str, object]) -> None:
    headers = {"Authorization": speaker.token}
    answer = httpx.post(f"{speaker.url}/faults", headers=headers, json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_only_writers_switch_faults_and_without_the_option_nobody(speaker: Speaker, tmp_path: Path) -> None:
    reader = {"Authorization": speaker.reader_token}
    assert httpx.post(f"{speaker.url}/faults", headers=reader, json={"name": "409"}).status_code == 403
    assert httpx.post(f"{speaker.url}/faults", json={"name": "409"}).status_code == 401
    with speaking(tmp_path / "other") as plain:
        headers = {"Authorization": plain.token}
        assert httpx.post(f"{plain.url}/faults", headers=headers, json={"name": "409"}).status_code == 404


def _patch_with_little_patience(speaker: Speaker) -> None:
    body = {"environmentKey": "production", "instructions": [ON]}
    headers = {"Authorization": speaker.token, "Content-Type": SEMANTIC}
    url = f"{speaker.url}/api/v2/flags/default/{KEY}"
    httpx.patch(url, headers=headers, json=body, timeout=0.5)
