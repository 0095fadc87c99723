"""A gateway whose flags are LaunchDarkly's: from the environment document to the request, through every fault."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import httpx
import pytest

from rollout.errors import Usage
from rollout.integrations.routesfile import RoutesFile
from rollout.wiring import engine_middleware
from rollout.wiring.flags import flag_reader
from tests.support.gateway import CANDIDATE, FLAG, STABLE, environment, eventually, routes
from tests.support.launchdarkly import SDK_KEY, speaking
from tests.support.relay import relaying
from tests.support.streamed import flags_of, gateway_over, serve_all, streamed

LAST_GOOD = Path(".rollout/flags-last-good.json")


@pytest.fixture(autouse=True)
def _sdk_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_SDK_KEY", SDK_KEY)


def test_a_change_over_rest_moves_the_traffic_and_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with streamed(tmp_path, monkeypatch) as world:
        status = world.status()
        assert status["flag_source"] == "stream"
        polled = httpx.get(f"{world.speaker.url}/sdk/latest-all", headers={"Authorization": SDK_KEY})
        assert status["flag_environment"] == polled.headers["x-ld-envid"]
        assert (status["flags_ready"], status["flags_error"]) == (True, None)
        world.serve_all(0)
        eventually(lambda: world.ask() == STABLE)
        assert world.reason() == "FALLTHROUGH"
        world.speaker.patch(FLAG, {"kind": "turnFlagOff"})
        version = world.speaker.config(FLAG)["version"]
        eventually(lambda: world.status()["flag_versions"] == {FLAG: version})
        assert world.ask() == STABLE
        assert world.reason() == "OFF"
        page = world.client.get("/metrics").text
        assert f'flag_data_ready{{source="stream",environment="{status["flag_environment"]}"}} 1.0' in page


def test_a_dropped_stream_moves_nobody_and_misses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with streamed(tmp_path, monkeypatch) as world:
        world.speaker.fault("refuse-stream", on="any")
        world.speaker.fault("drop-stream")
        eventually(lambda: "status 503" in (world.status()["flags_error"] or ""))
        assert world.ask() == CANDIDATE
        world.serve_all(0)
        world.speaker.no_faults()
        eventually(lambda: world.ask() == STABLE, within_s=20)
        assert world.status()["flags_error"] is None


def test_a_malformed_event_is_made_good_by_a_new_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with streamed(tmp_path, monkeypatch) as world:
        world.speaker.fault("malformed-patch")
        world.serve_all(0)
        eventually(lambda: "malformed" in (world.status()["flags_error"] or ""))
        eventually(lambda: world.ask() == STABLE)
        eventually(lambda: world.status()["flags_error"] is None)


def test_an_unsound_rollout_is_kept_out_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with streamed(tmp_path, monkeypatch) as world:
        world.speaker.fault("reversed-weights", times=1)
        assert world.speaker.serve(FLAG, 5_000).status_code == 200
        eventually(lambda: "does not list stable first" in (world.status()["flags_error"] or ""))
        assert world.ask("ann") == CANDIDATE, "as it was before"
        assert world.speaker.serve(FLAG, 0).status_code == 200
        eventually(lambda: world.ask("ann") == STABLE)
        assert world.status()["flags_error"] is None


@pytest.mark.parametrize("what", ["deleted", "archived"])
def test_a_flag_that_is_gone_is_stable_at_once_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    with streamed(tmp_path, monkeypatch) as world:
        if what == "deleted":
            assert world.speaker.ask("DELETE", f"/flags/default/{FLAG}").status_code == 204
        else:
            assert world.speaker.patch(FLAG, {"kind": "archiveFlag"}).status_code == 200
        eventually(lambda: world.ask() == STABLE)
        assert world.reason() == "FLAG_NOT_FOUND"
        assert world.status()["flags_error"] == f"flag {FLAG} is gone"


def test_a_refused_key_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_SDK_KEY", "sdk-of-somebody-else")
    with speaking(tmp_path) as speaker:
        speaker.create(FLAG)
        with gateway_over(tmp_path, speaker, flags_of(speaker)) as world:
            eventually(lambda: "the SDK key is refused (401)" in (world.status()["flags_error"] or ""))
            assert world.ask() == STABLE
            assert world.reason() == "CLIENT_NOT_READY"
            assert "somebody-else" not in world.client.get("/rollout/status").text


def test_a_restart_of_the_service_with_other_data_is_followed(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with relaying() as relay, speaking(tmp_path / "first", heartbeat_s=0.05) as speaker:
        speaker.create(FLAG)
        for slot in (1, 0, 1):
            serve_all(speaker, slot)
        relay.target = speaker.url
        before = speaker.config(FLAG)["version"]
        flags = flags_of(speaker, relay.url, send_events=False)
        with gateway_over(tmp_path, speaker, flags) as world:
            eventually(lambda: world.ask() == CANDIDATE)
            relay.cut()
            eventually(lambda: "not connected" in (world.status()["flags_error"] or ""))
            with speaking(tmp_path / "second", heartbeat_s=0.05) as other:
                other.create(FLAG)
                relay.target = other.url
                eventually(lambda: world.ask() == STABLE, within_s=20)
                after = other.config(FLAG)["version"]
                assert after < before
                assert world.status()["flag_versions"] == {FLAG: after}
                relay.cut()


def test_a_start_while_it_is_away_takes_the_last_good_flags_until_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with relaying() as relay, speaking(tmp_path, heartbeat_s=0.05) as speaker:
        speaker.create(FLAG)
        serve_all(speaker, 1)
        relay.target = speaker.url
        flags = flags_of(speaker, relay.url, send_events=False)
        with gateway_over(tmp_path, speaker, flags) as world:
            eventually(lambda: world.ask() == CANDIDATE)
            environment_id = world.status()["flag_environment"]
        relay.cut()
        serve_all(speaker, 0)
        with gateway_over(tmp_path, speaker, flags) as world:
            assert world.ask() == CANDIDATE
            status = world.status()
            assert (status["flag_source"], status["flag_environment"]) == ("last-good", environment_id)
            assert status["flag_age_s"] > 0
            page = world.client.get("/metrics").text
            assert 'flag_data_ready{source="last-good"' in page
            relay.target = speaker.url
            eventually(lambda: world.ask() == STABLE, within_s=20)
            assert world.status()["flag_source"] == "stream"
    kept = tmp_path / LAST_GOOD
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert SDK_KEY not in kept.read_text()
    assert json.loads(kept.read_text())["environment"] == environment_id


def test_the_last_good_flags_grow_too_old_for_a_candidate(tmp_path: Path) -> None:
    with relaying() as relay, speaking(tmp_path, heartbeat_s=0.05) as speaker:
        speaker.create(FLAG)
        serve_all(speaker, 1)
        relay.target = speaker.url
        flags = flags_of(speaker, relay.url, send_events=False)
        with gateway_over(tmp_path, speaker, flags) as world:
            eventually(lambda: world.ask() == CANDIDATE)
        relay.cut()
        kept = tmp_path / LAST_GOOD
        document = json.loads(kept.read_text())
        kept.write_text(json.dumps({**document, "confirmed_at": document["confirmed_at"] - 100}))
        with gateway_over(tmp_path, speaker, flags) as world:
            assert world.ask() == CANDIDATE, "this route minds no age"
            RoutesFile(tmp_path / "routes.json", "test").update(lambda _: routes(2, max_flag_age_s=60.0))
            eventually(lambda: world.status()["routes_revision"] == 2)
            assert world.ask() == STABLE
            assert world.reason() == "OLD_FLAG"


@pytest.mark.parametrize("told", [True, False])
def test_evaluations_are_told_if_wanted_and_never_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    with streamed(tmp_path, monkeypatch, send_events=told) as world:
        world.ask("ann")
    # What waited to be told was told when the gateway ended.
    sent = [one for one in world.speaker.requests if one.path.startswith(("/bulk", "/diagnostic"))]
    assert bool(sent) is told
    assert not [one for one in sent if one.path.startswith("/diagnostic")]


@pytest.mark.parametrize("value", [None, "", "two words"])
def test_without_a_key_it_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv("LD_SDK_KEY")
    else:
        monkeypatch.setenv("LD_SDK_KEY", value)
    flags = {"kind": "launchdarkly", "project": "default", "environment": "production"}
    document = environment("http://127.0.0.1:1", flags=flags)
    for start in (flag_reader, lambda *given: engine_middleware(_nothing, *given)):
        with pytest.raises(Usage, match="LD_SDK_KEY") as raised:
            start(document, tmp_path)
        assert "two words" not in str(raised.value)


async def _nothing(*_: object) -> None:
    return
