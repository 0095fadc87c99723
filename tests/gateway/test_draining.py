"""How `rollout gateway` listens and ends: its two doors, its health while it drains, and nothing lost."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rollout.cli import run
from rollout.integrations.trafficlog import TrafficLog
from tests.support.gateway import CANDIDATE, NAME, STABLE, Process, eventually, process, write_environment
from tests.support.upstream import Behaviour, FakeUpstream, serving

pytestmark = pytest.mark.e2e
STREAM = {"model": NAME, "prompt": "x", "stream": True}


@pytest.fixture
def upstream() -> FakeUpstream:
    return FakeUpstream({STABLE: Behaviour(), CANDIDATE: Behaviour()})


@pytest.fixture
def behind(upstream: FakeUpstream) -> Iterator[str]:
    with serving(upstream) as url:
        yield url


class Streaming(threading.Thread):
    """A user who is being told something."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self.told = b""
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            with httpx.stream("POST", f"{self._url}/v1/completions", json=STREAM, timeout=30) as answer:
                for chunk in answer.iter_raw():
                    self.told += chunk
        except httpx.HTTPError as error:
            self.error = error


def health(gateway: Process) -> tuple[int, str]:
    """What a load balancer sees."""
    answer = httpx.get(f"{gateway.url}/health")
    return answer.status_code, answer.json()["status"]


def listens(gateway: Process) -> bool:
    """Whether it takes connections."""
    try:
        httpx.get(f"{gateway.url}/health")
    except httpx.ConnectError:
        return False
    return True


def test_while_it_drains_it_says_so_and_still_serves(
    tmp_path: Path, upstream: FakeUpstream, behind: str
) -> None:
    upstream.models[STABLE] = Behaviour(token_delay_s=0.2)  # 5 s in all
    with process(tmp_path, behind, arguments=("--drain-delay", "3")) as gateway:
        user = Streaming(gateway.url)
        eventually(lambda: user.told)
        assert health(gateway) == (200, "ok")
        gateway.popen.send_signal(signal.SIGTERM)
        eventually(lambda: health(gateway) == (503, "draining"))
        with httpx.Client(base_url=gateway.url) as client:
            answer = client.post("/v1/completions", json={"model": NAME})
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert gateway.popen.wait(30) == 0
        user.join(30)
    assert user.told.endswith(b"data: [DONE]\n\n"), "a user who was served when it ended has the whole answer"
    counts = TrafficLog(tmp_path / "traffic.sqlite").requests(NAME)[STABLE]
    assert (counts.total, counts.failed, counts.client_left) == (2, 0, 0)


def test_what_takes_longer_than_the_drain_is_broken_off(
    tmp_path: Path, upstream: FakeUpstream, behind: str
) -> None:
    upstream.models[STABLE] = Behaviour(token_delay_s=5)
    with process(tmp_path, behind, arguments=("--drain-timeout", "1")) as gateway:
        user = Streaming(gateway.url)
        eventually(lambda: user.told)
        gateway.popen.send_signal(signal.SIGTERM)
        assert gateway.popen.wait(30) == 0
        user.join(30)
    assert isinstance(user.error, httpx.RemoteProtocolError), "it can see that its answer is not whole"
    eventually(lambda: upstream.left == 1)
    counts = TrafficLog(tmp_path / "traffic.sqlite").requests(NAME)[STABLE]
    assert (counts.total, counts.client_left) == (1, 0), "the row is there, and the user did not leave"


def test_a_second_signal_skips_the_delay(tmp_path: Path, behind: str) -> None:
    with process(tmp_path, behind, arguments=("--drain-delay", "3600")) as gateway:
        gateway.popen.send_signal(signal.SIGTERM)
        eventually(lambda: health(gateway) == (503, "draining"))
        gateway.popen.send_signal(signal.SIGTERM)
        assert gateway.popen.wait(30) == 0


def test_a_third_signal_ends_what_is_under_way(tmp_path: Path, upstream: FakeUpstream, behind: str) -> None:
    upstream.models[STABLE] = Behaviour(token_delay_s=3600)
    arguments = ("--drain-delay", "3600", "--drain-timeout", "3600")
    with process(tmp_path, behind, arguments=arguments) as gateway:
        user = Streaming(gateway.url)
        eventually(lambda: user.told)
        gateway.popen.send_signal(signal.SIGINT)
        eventually(lambda: health(gateway) == (503, "draining"))
        gateway.popen.send_signal(signal.SIGINT)
        eventually(lambda: not listens(gateway))
        assert gateway.popen.poll() is None, "it waits for what is under way"
        gateway.popen.send_signal(signal.SIGINT)
        assert gateway.popen.wait(30) == 0
        user.join(30)


def test_its_own_pages_have_a_door_of_their_own(tmp_path: Path, behind: str) -> None:
    with process(tmp_path, behind, arguments=("--admin-port", "0")) as gateway:
        assert gateway.popen.stderr is not None
        line = re.fullmatch(r"own pages on (http://127\.0\.0\.1:\d+)\n", gateway.popen.stderr.readline())
        assert line
        pages = line[1]
        assert httpx.post(f"{gateway.url}/v1/completions", json={"model": NAME}).status_code == 200
        for path in ("/rollout/status", "/rollout/metrics", "/metrics", "/rollout/hold", "/rollout/records"):
            refused = httpx.get(gateway.url + path)
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found"), path
        assert httpx.get(f"{pages}/rollout/status").json()["routes_revision"] == 1
        assert "rollout_gateway_requests_total" in httpx.get(f"{pages}/metrics").text
        assert httpx.get(f"{pages}/rollout/hold").status_code == 403, "guarded as ever"
        for path in ("/v1/completions", "/v1/chat/completions"):
            assert httpx.post(pages + path, json={"model": NAME}).status_code == 404
        for url in (gateway.url, pages):
            assert httpx.get(f"{url}/health").status_code == 200
            assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == NAME
        gateway.popen.send_signal(signal.SIGTERM)
        assert gateway.popen.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--admin-port", "0"), 2, "--admin-port needs --port"),
        (("--admin-host", "127.0.0.1"), 2, "--admin-host needs --admin-port"),
        (("--host", "192.0.2.1", "--port", "0"), 4, "cannot listen on 192.0.2.1:0: "),
        (("--host", "no.such.host.invalid", "--port", "0"), 4, "cannot listen on no.such.host.invalid:0: "),
    ],
)
def test_what_cannot_be_listened_on_is_said(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    status: int,
    said: str,
) -> None:
    write_environment(tmp_path, "http://127.0.0.1:9")
    assert run(("gateway", "-e", "test", "--root", str(tmp_path), *arguments)) == status
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(
    tmp_path: Path, behind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_environment(tmp_path, "http://127.0.0.1:9")
    arguments = ("--host", "127.0.0.1", "--port", behind.rpartition(":")[2])
    assert run(("gateway", "-e", "test", "--root", str(tmp_path), *arguments)) == 4
    assert "Address already in use" in capsys.readouterr().err
