"""Alerts on their way: a receiver that dies in the middle, several that are told the same, and a real Alertmanager."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from rollout.core.lifecycle import Phase, RolledBack
from rollout.demo.scratch import ENVIRONMENT, NAME
from tests.support.aftermath import reverts
from tests.support.alerts import alert, body
from tests.support.receiving import BEARER, SECRET, receiving
from tests.support.site import Site

pytestmark = pytest.mark.e2e
_PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def ramping(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """1.1.0 at 10 %."""
    folder = tmp_path_factory.mktemp("ramping") / "site"
    folder.mkdir()
    site = Site.create(folder)
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    return site


@pytest.fixture
def site(ramping: Site, tmp_path: Path) -> Iterator[Site]:
    copied = ramping.copy(tmp_path / "site")
    yield copied
    shutil.rmtree(copied.folder, ignore_errors=True)


def sent(site: Site) -> bytes:
    return body(alert(NAME, environment=ENVIRONMENT, began=site.clock.time))


def post(url: str, content: bytes) -> httpx.Response:
    return httpx.post(f"{url}/alerts", content=content, headers=BEARER, timeout=_PATIENCE_S)


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def rollbacks(site: Site) -> int:
    return sum(isinstance(entry.event, RolledBack) for entry in site.world.ledger.read(NAME))


def all_is_done(site: Site) -> bool:
    state = site.state
    return state.phase is Phase.TAKEN_BACK and state.unfinished_rollback is None


def test_a_receiver_that_is_killed_in_the_middle_leaves_what_the_next_one_finishes(site: Site) -> None:
    gate = site.folder / "may-go-on"
    hook = site.folder / "origin.git/hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nwhile [ ! -e {gate} ]; do sleep 0.05; done\n")
    hook.chmod(0o755)
    said = sent(site)
    with receiving(site) as first:
        lost = threading.Thread(target=lambda: _try(first.url, said))
        lost.start()
        wait_for(lambda: rollbacks(site) == 1)
        os.kill(first.process.pid, signal.SIGKILL)
        lost.join(_PATIENCE_S)
    gate.touch()
    wait_for(lambda: not _pushing(site))
    with receiving(site) as second:
        answer = post(second.url, said)
        assert answer.status_code == 200, answer.text
        again = post(second.url, said)
    assert again.json()["alerts"][0]["why"] == "this alert has taken it back before"
    assert (rollbacks(site), len(reverts(site)), all_is_done(site)) == (1, 1, True)


def test_several_receivers_that_are_told_at_once_are_one_rollback(site: Site) -> None:
    said, statuses = sent(site), []
    with receiving(site) as one, receiving(site) as other:
        threads = [
            threading.Thread(target=lambda url=url: statuses.append(post(url, said).status_code))
            for url in (one.url, other.url, one.url, other.url)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_PATIENCE_S)
        wait_for(lambda: post(one.url, said).status_code == 200)
    assert len(statuses) == 4
    assert (rollbacks(site), len(reverts(site)), all_is_done(site)) == (1, 1, True)


def test_what_is_under_way_is_finished_before_a_receiver_ends(site: Site) -> None:
    gate = site.folder / "may-go-on"
    hook = site.folder / "origin.git/hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nwhile [ ! -e {gate} ]; do sleep 0.05; done\n")
    hook.chmod(0o755)
    found: list[httpx.Response] = []
    with receiving(site) as process:
        sending = threading.Thread(target=lambda: found.append(post(process.url, sent(site))))
        sending.start()
        wait_for(lambda: rollbacks(site) == 1)
        process.process.terminate()
        gate.touch()
        sending.join(_PATIENCE_S)
        assert process.process.wait(_PATIENCE_S) == 0
    assert [answer.status_code for answer in found] == [200]
    assert all_is_done(site)


_ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
_required = os.environ.get("CI") == "true" or os.environ.get("ROLLOUT_REQUIRE_ALL") == "1"


@pytest.mark.prometheus
@pytest.mark.skipif(
    _ALERTMANAGER is None and not _required,
    reason="Alertmanager is not installed, so nothing here was proven on it: apt-get install prometheus-alertmanager",
)
@pytest.mark.parametrize("scheme", ["bearer", "basic"])
def test_a_real_alertmanager_sends_until_it_is_done(site: Site, tmp_path: Path, scheme: str) -> None:
    port = _free_port()
    access = {
        "bearer": {"authorization": {"credentials": SECRET}},
        "basic": {"basic_auth": {"username": "alertmanager", "password": SECRET}},
    }[scheme]
    config = {
        "route": {
            "receiver": "rollout",
            "group_by": ["adapter", "environment"],
            "group_wait": "0s",
            "group_interval": "1s",
            "repeat_interval": "1s",
        },
        "receivers": [
            {
                "name": "rollout",
                "webhook_configs": [
                    {"url": f"http://127.0.0.1:{port}/alerts", "http_config": access, "send_resolved": True}
                ],
            }
        ],
    }
    (tmp_path / "alertmanager.yml").write_text(json.dumps(config))
    own = _free_port()
    with (tmp_path / "log").open("wb") as log:
        alertmanager = subprocess.Popen(
            [
                str(_ALERTMANAGER),
                f"--config.file={tmp_path / 'alertmanager.yml'}",
                f"--storage.path={tmp_path / 'store'}",
                f"--web.listen-address=127.0.0.1:{own}",
                "--cluster.listen-address=",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(lambda: _answers(f"http://127.0.0.1:{own}/-/ready"))
        # It sets the time of a body's alerts itself, unless whoever alerts does; the site's clock stands still.
        began = site.clock.time + timedelta(seconds=1)
        labels = alert(NAME, environment=ENVIRONMENT, began=began)["labels"]
        told = {
            "labels": labels,
            "annotations": {
                "summary": "errors burn the budget",
                "runbook": "rollout runbook candidate-errors",
            },
            "startsAt": began.isoformat(),
            "endsAt": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
            "generatorURL": "http://prometheus:9090/graph",
        }
        httpx.post(f"http://127.0.0.1:{own}/api/v2/alerts", json=[told]).raise_for_status()
        # Nobody listens yet: it keeps what it could not deliver, and tries again.
        with receiving(site, port) as process:
            wait_for(lambda: all_is_done(site))
            wait_for(lambda: any("has taken it back before" in line for line in process.said))
            httpx.post(
                f"http://127.0.0.1:{own}/api/v2/alerts",
                json=[told | {"endsAt": datetime.now(UTC).isoformat()}],
            ).raise_for_status()
            wait_for(lambda: any("nothing to do: it has ended" in line for line in process.said))
    finally:
        alertmanager.terminate()
        alertmanager.wait(_PATIENCE_S)
    event = site.state.rolled_back
    assert event is not None
    assert event.alert is not None
    assert event.alert.began == began
    assert "errors burn the budget" in event.reason
    assert (rollbacks(site), len(reverts(site))) == (1, 1)


def _try(url: str, content: bytes) -> None:
    with suppress(httpx.HTTPError):
        post(url, content)


def _pushing(site: Site) -> bool:
    """Whether a git of a dead receiver still runs its hook."""
    hook = str(site.folder / "origin.git")
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if hook.encode() in entry.read_bytes():
                return True
    return False


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(url, timeout=5).status_code == 200
    return False
