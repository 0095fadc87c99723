"""From a write to an evaluation, with LaunchDarkly's own SDK over real sockets."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from ldclient import Context, LDClient
from ldclient.config import Config

from rollout.core.plan import Share
from rollout.integrations.flagfile import FlagFile
from tests.support.launchdarkly import Speaker, speaking

KEY = "lora-x"
ON = {"kind": "turnFlagOn"}
USER = Context.create("user-1")


@pytest.fixture
def speaker(tmp_path: Path) -> Iterator[Speaker]:
    with speaking(tmp_path) as speaker:
        speaker.create(KEY)
        speaker.patch(KEY, ON).raise_for_status()
        yield speaker


@contextmanager
def sdk(speaker: Speaker, **more: Any) -> Iterator[LDClient]:
    urls = {"base_uri": speaker.url, "stream_uri": speaker.url, "events_uri": speaker.url}
    config = Config(more.pop("sdk_key", speaker.sdk_key), diagnostic_opt_out=True, **urls, **more)
    client = LDClient(config, start_wait=10)
    try:
        yield client
    finally:
        client.close()


def served(client: LDClient) -> str:
    return client.variation(KEY, USER, "default")


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.002)


def serve(speaker: Speaker, slot: int) -> None:
    chosen = speaker.variation_ids(KEY)[slot]
    dial = {"kind": "updateFallthroughVariationOrRollout", "variationId": chosen}
    speaker.patch(KEY, dial).raise_for_status()


def test_a_write_changes_what_a_streaming_sdk_evaluates(speaker: Speaker) -> None:
    with sdk(speaker) as client:
        assert (client.is_initialized(), served(client)) == (True, "stable")
        serve(speaker, 1)
        until(lambda: served(client) == "candidate", "the candidate")
        speaker.patch(KEY, {"kind": "turnFlagOff"}).raise_for_status()
        until(lambda: served(client) == "stable", "stable")


def test_a_polling_sdk_gets_the_same_flags(speaker: Speaker) -> None:
    serve(speaker, 1)
    with sdk(speaker, stream=False) as client:
        assert (client.is_initialized(), served(client)) == (True, "candidate")


def test_polling_again_costs_nothing_where_nothing_changed(speaker: Speaker) -> None:
    headers = {"Authorization": speaker.sdk_key}
    first = httpx.get(f"{speaker.url}/sdk/latest-all", headers=headers)
    assert first.headers["x-ld-envid"]
    again = {**headers, "If-None-Match": first.headers["etag"]}
    assert httpx.get(f"{speaker.url}/sdk/latest-all", headers=again).status_code == 304
    serve(speaker, 1)
    assert httpx.get(f"{speaker.url}/sdk/latest-all", headers=again).status_code == 200


def test_the_stream_is_chunked_names_the_environment_and_says_nothing_of_writers(speaker: Speaker) -> None:
    with _raw_stream(speaker) as lines:
        assert b"transfer-encoding: chunked" in lines.head.lower()
        environment = speaker.ask("GET", "/projects/default/environments/production").json()["_id"]
        assert f"x-ld-envid: {environment}".encode() in lines.head.lower()
        put = lines.event()
        assert put[0] == "put"
        assert set(put[1]["data"]["flags"]) == {KEY}
        assert "x-adapter-rollout" not in json.dumps(put)
        serve(speaker, 1)
        kind, patch = lines.event()
        assert (kind, patch["path"], patch["data"]["version"]) == ("patch", f"/flags/{KEY}", 3)


def test_heartbeats_are_comments(tmp_path: Path) -> None:
    with speaking(tmp_path, heartbeat_s=0.02) as speaker, _raw_stream(speaker) as lines:
        assert lines.event()[0] == "put"
        assert lines.line() == ":"


def test_a_change_of_the_file_by_the_embedded_store_is_streamed_with_its_author(speaker: Speaker) -> None:
    with sdk(speaker) as client:
        store = FlagFile(speaker.path)
        version = store.read(KEY).version  # type: ignore[union-attr]
        written = store.write(
            KEY, Share.FULL, turn_on=False, expect_version=version, by="ann@example.org", comment="by hand"
        )
        until(lambda: served(client) == "candidate", "the candidate")
        assert speaker.config(KEY)["version"] == written.version == version + 1
    newest = _log(speaker)[0]
    assert (newest["member"]["email"], newest["comment"]) == ("ann@example.org", "by hand")


def test_an_edit_without_a_new_version_gets_one_for_sdks_would_ignore_it(speaker: Speaker) -> None:
    with sdk(speaker) as client:
        before = speaker.config(KEY)["version"]
        _edit(speaker, lambda flag: flag.update(fallthrough={"variation": 1}, version=1))
        until(lambda: served(client) == "candidate", "the candidate")
        assert speaker.config(KEY)["version"] == before + 1
        assert json.loads(speaker.path.read_text())["flags"][KEY]["version"] == before + 1


def test_an_old_copy_of_the_whole_file_is_streamed_as_something_new(speaker: Speaker) -> None:
    with sdk(speaker) as client:
        old = speaker.path.read_bytes()
        serve(speaker, 1)
        until(lambda: served(client) == "candidate", "the candidate")
        speaker.path.write_bytes(old)
        until(lambda: served(client) == "stable", "stable")
        assert speaker.config(KEY)["version"] == 4


def test_a_flag_that_is_deleted_and_made_again_is_above_what_was_streamed(speaker: Speaker) -> None:
    with sdk(speaker) as client:
        serve(speaker, 1)
        until(lambda: served(client) == "candidate", "the candidate")
        speaker.ask("DELETE", f"/flags/default/{KEY}").raise_for_status()
        until(lambda: served(client) == "default", "the code's default")
        assert speaker.create(KEY)["environments"]["production"]["version"] > 3
        until(lambda: served(client) == "stable", "stable")


def test_a_flag_that_leaves_the_file_leaves_the_sdk_and_may_return(speaker: Speaker) -> None:
    with sdk(speaker) as client:
        flag = json.loads(speaker.path.read_text())["flags"][KEY]
        _edit_all(speaker, lambda flags: flags.pop(KEY))
        until(lambda: served(client) == "default", "the code's default")
        assert speaker.ask("GET", f"/flags/default/{KEY}").status_code == 404
        _edit_all(speaker, lambda flags: flags.update({KEY: flag}))
        until(lambda: served(client) == "stable", "stable")


def test_an_archived_flag_is_not_streamed_and_comes_back_restored(speaker: Speaker) -> None:
    with sdk(speaker) as client:
        speaker.patch(KEY, {"kind": "archiveFlag"}).raise_for_status()
        until(lambda: served(client) == "default", "the code's default")
        assert speaker.flag(KEY)["archived"] is True
        assert KEY not in json.loads(speaker.path.read_text())["flags"]
        speaker.patch(KEY, {"kind": "restoreFlag"}).raise_for_status()
        until(lambda: served(client) == "stable", "stable")


@pytest.mark.parametrize(
    "spoilt",
    [
        b"",
        b"{",
        b"[]",
        b'{"flags": 1}',
        b"\xff\xfe",
        b'{"flags": {}, "x-launchdarkly": {"records": {"a": 1}}}',
    ],
)
def test_a_spoilt_file_changes_nothing_for_readers_and_refuses_writers(
    speaker: Speaker, spoilt: bytes
) -> None:
    with sdk(speaker) as client:
        serve(speaker, 1)
        until(lambda: served(client) == "candidate", "the candidate")
        speaker.path.write_bytes(spoilt)
        refused = speaker.patch(KEY, {"kind": "turnFlagOff"})
        assert (refused.status_code, refused.json()["code"]) == (503, "service_unavailable")
        assert "flag file" in refused.json()["message"]
        assert speaker.path.read_bytes() == spoilt
        assert (served(client), speaker.config(KEY)["version"]) == ("candidate", 3)


def test_a_missing_file_is_not_made_anew_while_the_server_runs(speaker: Speaker) -> None:
    speaker.path.unlink()
    assert speaker.patch(KEY, {"kind": "turnFlagOff"}).status_code == 503
    assert not speaker.path.exists()
    assert speaker.config(KEY)["on"] is True


def test_a_flag_that_somebody_spoilt_stays_as_it_was_and_can_be_turned_off(speaker: Speaker) -> None:
    with sdk(speaker) as client:
        serve(speaker, 1)
        until(lambda: served(client) == "candidate", "the candidate")
        _edit_all(speaker, lambda flags: flags.update({KEY: {"key": KEY, "on": "yes"}}))
        speaker.patch(KEY, {"kind": "turnFlagOff"}).raise_for_status()
        until(lambda: served(client) == "stable", "stable")


def test_a_restart_loses_nothing(tmp_path: Path) -> None:
    with speaking(tmp_path) as speaker:
        speaker.create(KEY, tags=["adapter"], description="The dial.")
        speaker.patch(KEY, ON, comment="first").raise_for_status()
        approvals = f"/projects/default/flags/{KEY}/environments/production/approval-requests"
        asked = {"description": "later", "instructions": [{"kind": "turnFlagOff"}]}
        speaker.ask("POST", approvals, json=asked).raise_for_status()
        with sdk(speaker) as client:
            served(client)
            client.flush()
            until(lambda: _status(speaker)["name"] == "active", "the evaluation to be known")
        before = [speaker.flag(KEY), _log(speaker), _status(speaker), speaker.ask("GET", approvals).json()]
        place = "/projects/default/environments/production"
        environment = speaker.ask("GET", place).json()["_id"]
    with speaking(tmp_path) as speaker:
        after = [speaker.flag(KEY), _log(speaker), _status(speaker), speaker.ask("GET", approvals).json()]
        assert after == before
        assert speaker.ask("GET", place).json()["_id"] == environment


def test_a_change_made_while_the_server_was_away_is_noticed(tmp_path: Path) -> None:
    with speaking(tmp_path) as speaker:
        speaker.create(KEY)
    FlagFile(speaker.path).write(
        KEY, Share.FULL, turn_on=True, expect_version=1, by="ann", comment="while it was away"
    )
    with speaking(tmp_path) as speaker, sdk(speaker) as client:
        assert served(client) == "candidate"
        assert _log(speaker)[0]["comment"] == "while it was away"


def test_what_another_server_wrote_and_somebody_undid_is_streamed_both_times(speaker: Speaker) -> None:
    with sdk(speaker) as client:
        before = speaker.path.read_bytes()
        with speaking(speaker.path.parent) as second:
            serve(second, 1)
            until(lambda: served(client) == "candidate", "the candidate")
        speaker.path.write_bytes(before)
        until(lambda: served(client) == "stable", "stable")


def test_two_servers_over_one_file_tell_the_same(speaker: Speaker) -> None:
    with speaking(speaker.path.parent) as second, sdk(speaker) as first_sdk, sdk(second) as second_sdk:
        serve(second, 1)
        until(lambda: served(first_sdk) == served(second_sdk) == "candidate", "the candidate at both")
        speaker.patch(KEY, {"kind": "turnFlagOff"}).raise_for_status()
        until(lambda: served(first_sdk) == served(second_sdk) == "stable", "stable at both")
        assert speaker.config(KEY)["version"] == 4
        until(lambda: second.config(KEY) == speaker.config(KEY), "the same answer")


def test_a_client_that_never_reads_holds_up_nobody_and_is_dropped(tmp_path: Path) -> None:
    with speaking(tmp_path) as speaker:
        # Half a megabyte a change: no buffer of a kernel takes many of them.
        speaker.create(KEY, variations=[{"value": "stable"}, {"value": "x" * 500_000}])
        idle = _connected(speaker)
        with sdk(speaker) as client:
            for number in range(40):
                speaker.patch(KEY, ON if number % 2 else {"kind": "turnFlagOff"}).raise_for_status()
            until(lambda: _version(client) == speaker.config(KEY)["version"], "the last version")
        received = 0
        while chunk := idle.recv(1 << 20):
            received += len(chunk)
        assert received < 40 * 500_000, "the stream ended before all that happened was sent"
        idle.close()


def test_a_dropped_stream_is_taken_up_again_with_what_happened_meanwhile(speaker: Speaker) -> None:
    with sdk(speaker, initial_reconnect_delay=0.05) as client:
        speaker.fault("refuse-stream", on="read", times=1)
        speaker.fault("drop-stream")
        serve(speaker, 1)
        until(lambda: served(client) == "candidate", "the candidate")


def test_a_half_open_stream_says_nothing_more_and_stays(tmp_path: Path) -> None:
    with speaking(tmp_path, heartbeat_s=0.02) as speaker:
        speaker.create(KEY)
        with _raw_stream(speaker) as frozen:
            assert frozen.event()[0] == "put"
            speaker.fault("half-open")
            frozen.drain()
            with _raw_stream(speaker) as live:
                live.event()
                speaker.patch(KEY, ON).raise_for_status()
                assert live.event()[0] == "patch"
            assert frozen.silent()


def test_a_malformed_patch_does_not_change_the_last_good_flag(speaker: Speaker) -> None:
    with sdk(speaker, initial_reconnect_delay=0.05) as client:
        speaker.fault("malformed-patch")
        serve(speaker, 1)
        until(lambda: served(client) == "candidate", "the candidate, after a new stream")
        assert sum(one.path == "/all" for one in speaker.requests) == 2


def test_an_evaluation_makes_the_flag_active_and_names_the_kinds_of_contexts(speaker: Speaker) -> None:
    assert _status(speaker)["name"] == "new"
    with sdk(speaker) as client:
        served(client)
        client.variation(KEY, Context.create("acme", "tenant"), "default")
        client.flush()
        until(lambda: _status(speaker)["name"] == "active", "the evaluation to be known")
    flag = speaker.ask("GET", f"/flags/default/{KEY}", params={"expand": "evaluation"}).json()
    assert flag["environments"]["production"]["evaluation"] == {"contextKinds": ["tenant", "user"]}
    assert "user-1" not in speaker.path.read_text()


def test_a_wrong_sdk_key_is_refused_and_never_initialises(speaker: Speaker) -> None:
    for wrong in (speaker.token, "sdk-nobody", ""):
        for path in ("/all", "/sdk/latest-all"):
            answer = httpx.get(f"{speaker.url}{path}", headers={"Authorization": wrong})
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        answer = httpx.post(f"{speaker.url}/bulk", headers={"Authorization": wrong}, json=[])
        assert answer.status_code == 401


def test_the_server_stops_at_once_although_a_stream_is_open(tmp_path: Path) -> None:
    with speaking(tmp_path) as speaker:
        lines = _Stream(speaker)
        assert lines.event()[0] == "put"
    assert lines.ended()


class _Stream:
    def __init__(self, speaker: Speaker) -> None:
        self._socket = _connected(speaker)
        self._file = self._socket.makefile("rb")
        self.head = b""
        while (line := self._file.readline()).strip():
            self.head += line

    def line(self) -> str:
        """The next line that is not empty, without the lengths of chunks."""
        while True:
            text = self._file.readline().decode().strip()
            if text and not all(char in "0123456789abcdef" for char in text):
                return text

    def event(self) -> tuple[str, Any]:
        line = self.line()
        while not line.startswith("event: "):
            line = self.line()
        return line.removeprefix("event: "), json.loads(self.line().removeprefix("data: "))

    def drain(self) -> None:
        """Read what was on its way."""
        self._socket.settimeout(0.5)
        try:
            while self._socket.recv(65536):
                pass
        except TimeoutError:
            return
        raise AssertionError("the stream ended")

    def silent(self) -> bool:
        """Neither data nor an end."""
        self._socket.settimeout(0.3)
        try:
            self._socket.recv(1)
        except TimeoutError:
            return True
        return False

    def ended(self) -> bool:
        self._socket.settimeout(10)
        return self._file.read()[-5:] in (b"", b"0\r\n\r\n")

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@contextmanager
def _raw_stream(speaker: Speaker) -> Iterator[_Stream]:
    stream = _Stream(speaker)
    try:
        yield stream
    finally:
        stream.close()


def _connected(speaker: Speaker) -> socket.socket:
    url = urlsplit(speaker.url)
    connection = socket.create_connection((url.hostname, url.port), timeout=20)
    connection.sendall(
        f"GET /all HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {speaker.sdk_key}\r\n\r\n".encode()
    )
    return connection


def _version(client: LDClient) -> int:
    state = client.all_flags_state(USER).to_json_dict()["$flagsState"]
    return state.get(KEY, {}).get("version", 0)


def _edit(speaker: Speaker, change: Callable[[dict[str, Any]], Any]) -> None:
    _edit_all(speaker, lambda flags: change(flags[KEY]))


def _edit_all(speaker: Speaker, change: Callable[[dict[str, Any]], Any]) -> None:
    """As an editor does it: beside, and then in its place."""
    document = json.loads(speaker.path.read_text())
    change(document["flags"])
    beside = speaker.path.with_suffix(".edited")
    beside.write_text(json.dumps(document, indent=4))
    beside.replace(speaker.path)


def _status(speaker: Speaker) -> dict[str, Any]:
    return speaker.ask("GET", f"/flag-statuses/default/production/{KEY}").json()


def _log(speaker: Speaker) -> list[dict[str, Any]]:
    return speaker.ask("GET", "/auditlog", params={"limit": "20"}).json()["items"]
