"""`rollout gateway` as a process: ready line, status through the port, and an orderly end."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import httpx
import pytest

from rollout.errors import ServingUnavailable
from rollout.integrations.gateways import GatewayClient
from rollout.integrations.trafficlog import TrafficLog
from tests.support.gateway import CANDIDATE, FLAG, NAME, STABLE, eventually, process
from tests.support.upstream import Behaviour, FakeUpstream, serving

pytestmark = pytest.mark.e2e


def test_a_gateway_tells_its_status_to_its_client_and_ends_in_order(tmp_path: Path) -> None:
    upstream = FakeUpstream({STABLE: Behaviour(token_delay_s=0.1), CANDIDATE: Behaviour()})
    with serving(upstream) as upstream_url, process(tmp_path, upstream_url) as gateway:
        url = gateway.url
        streamed: list[bytes] = []

        def stream() -> None:
            body = {"model": NAME, "prompt": "x", "stream": True}
            with httpx.stream("POST", f"{url}/v1/completions", json=body) as answer:
                streamed.extend(answer.iter_raw())

        user = threading.Thread(target=stream)
        user.start()
        client = GatewayClient("g0", url)
        status = eventually(lambda: found if (found := client.status()).in_flight.get(STABLE) else None)
        assert status.routes_revision == 1
        assert status.flag_versions == {FLAG: 1}
        assert status.flag_age_s < 5
        assert set(status.last_routed) == {STABLE}
        gateway.popen.send_signal(signal.SIGTERM)
        assert gateway.popen.wait(10) == 0
        user.join(10)
    assert b"".join(streamed) == b"".join(upstream.events("/v1/completions", STABLE, '{"intent": "billing"}'))
    counts = TrafficLog(tmp_path / "traffic.sqlite").requests(NAME)[STABLE]
    assert (counts.total, counts.failed, counts.client_left) == (1, 0, 0), (
        "the row was written before the end"
    )


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", None])
def test_a_gateway_that_does_not_tell_its_status_is_unavailable(url: str | None) -> None:
    with (
        serving(FakeUpstream()) as other,
        pytest.raises(ServingUnavailable, match=r"gateway g0 (did not answer|answered something)"),
    ):
        GatewayClient("g0", url or other).status()
