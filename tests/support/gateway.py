"""A whole gateway over a folder: flag file, routes file, traffic log, and a fake upstream behind it."""

from __future__ import annotations

import atexit
import functools
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx
from ruamel.yaml import YAML

from rollout.core.environment import Environment
from rollout.core.plan import Share
from rollout.core.routes import Routes
from rollout.integrations.flagfile import FlagFile
from rollout.integrations.routesfile import RoutesFile
from rollout.integrations.trafficlog import TrafficLog
from rollout.wiring import gateway_app
from tests.support.upstream import Behaviour, FakeUpstream, serving

NAME, FLAG = "support-bot", "lora-support-bot"
STABLE, CANDIDATE = "support-bot-1.0.0-aaaaaaaaaaaa", "support-bot-1.1.0-bbbbbbbbbbbb"
SCHEMA = {"type": "object", "required": ["intent"], "properties": {"intent": {"type": "string"}}}

T = TypeVar("T")


def environment(*replicas: str, **changes: Any) -> Environment:
    """The environment `test`, with paths relative to its root."""
    document = {
        "schema": "adapter-rollout/environment/v1",
        "stage": "development",
        "name": "test",
        "replicas": [{"name": f"r{number}", "url": url} for number, url in enumerate(replicas)],
        "gateways": [{"name": "g0", "url": "http://127.0.0.1:8000"}],
        "adapter_folder": "adapters",
        "server": {
            "base": "base",
            "max_lora_rank": 16,
            "max_loras": 4,
            "dtype": "float32",
            "quantization": "none",
        },
        "flags": {"kind": "file", "path": "flags.json"},
        "metrics": {"kind": "traffic-log", "path": "traffic.sqlite"},
        "ledger": {"kind": "folder", "path": "ledger"},
        "routes": "routes.json",
        "evidence": "evidence",
    }
    return Environment.model_validate({**document, **changes})


def routes(revision: int = 1, **changes: Any) -> Routes:
    """One route with both slots filled."""
    route = {"flag": FLAG, "stable": STABLE, "candidate": CANDIDATE, "response_schema": SCHEMA, **changes}
    return Routes.model_validate({"environment": "test", "revision": revision, "routes": {NAME: route}})


@dataclass
class World:
    """A running gateway and everything around it."""

    root: Path
    url: str
    client: httpx.Client
    flags: FlagFile
    routes: RoutesFile
    log: TrafficLog
    upstream: FakeUpstream
    upstream_url: str = ""

    def ask(self, user: str | None = None, **changes: Any) -> httpx.Response:
        """One chat completion for the logical name."""
        headers = {"x-user-id": user} if user else {}
        body = {"model": NAME, "messages": [{"role": "user", "content": "hi"}], **changes}
        return self.client.post("/v1/chat/completions", json=body, headers=headers)

    def dial(self, share: str) -> None:
        """Set the share and wait until the gateway has it."""
        self.flags.create(FLAG, by="test")
        version = self.flags.write(
            FLAG, Share.parse(share), turn_on=True, expect_version=None, by="test", comment=""
        ).version
        eventually(lambda: self.status()["flag_versions"].get(FLAG) == version)

    def route(self, revision: int, **changes: Any) -> None:
        """Write routes and wait until the gateway has them."""
        self.routes.update(lambda _: routes(revision, **changes))
        eventually(lambda: self.status()["routes_revision"] == revision)

    def status(self) -> dict[str, Any]:
        """The gateway's own page."""
        return self.client.get("/rollout/status").json()

    def rows(self, least: int = 1) -> list[dict[str, Any]]:
        """Every row of the traffic log, `least` or more, once everything under way is recorded.

        That there is none takes a second to be sure of; where more are due, it gives up after ten.
        """
        deadline, last, alike = time.monotonic() + (1 if least == 1 else 10), None, 0
        while True:
            time.sleep(0.12)
            found = self._recorded()
            alike = alike + 1 if found == last else 0
            if (len(found) >= least and alike == 2) or time.monotonic() > deadline:
                return found
            last = found

    def _recorded(self) -> list[dict[str, Any]]:
        import sqlite3

        with sqlite3.connect(self.root / "traffic.sqlite") as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute("SELECT * FROM requests ORDER BY id")]


@contextmanager
def running(root: Path, *, replicas: tuple[str, ...] = (), **changes: Any) -> Iterator[World]:
    """A gateway in front of one fake upstream that has both adapters."""
    document = environment(*replicas, _upstream_url(), **changes)
    upstream = _behind.app = FakeUpstream({STABLE: Behaviour(), CANDIDATE: Behaviour()})
    RoutesFile(root / "routes.json", "test").update(lambda _: routes())
    with serving(gateway_app(document, root)) as url, httpx.Client(base_url=url, timeout=10) as client:
        yield World(
            root=root,
            url=url,
            client=client,
            flags=FlagFile(root / "flags.json"),
            routes=RoutesFile(root / "routes.json", "test"),
            log=TrafficLog(root / "traffic.sqlite"),
            upstream=upstream,
            upstream_url=_upstream_url(),
        )


class _Behind:
    """The app of the one upstream server of the test process; a server a test would cost half a second."""

    app = FakeUpstream()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


_behind = _Behind()


@functools.cache
def _upstream_url() -> str:
    server = serving(_behind)
    atexit.register(server.__exit__, None, None, None)
    return server.__enter__()


@contextmanager
def process(root: Path, *replicas: str, arguments: tuple[str, ...] = (), **changes: Any) -> Iterator[Process]:
    """`rollout gateway` over a folder, in a process of its own."""
    write_environment(root, *replicas, **changes)
    RoutesFile(root / "routes.json", "test").update(lambda _: routes())
    FlagFile(root / "flags.json").create(FLAG, by="test")
    command = ["rollout", "gateway", "--environment", "test", "--root", str(root), "--port", "0", *arguments]
    popen = subprocess.Popen([sys.executable, "-m", *command], stderr=subprocess.PIPE, text=True)
    try:
        assert popen.stderr is not None
        line = popen.stderr.readline()
        ready = re.fullmatch(r"ready on (http://127\.0\.0\.1:\d+)\n", line)
        assert ready, line + popen.stderr.read()
        yield Process(popen, ready[1])
    finally:
        popen.kill()
        popen.communicate()


class Process(NamedTuple):
    """A gateway process and its URL."""

    popen: subprocess.Popen[str]
    url: str


def write_environment(root: Path, *replicas: str, **changes: Any) -> None:
    """The document of `environment(...)` where a gateway looks for it."""
    path = root / "policies" / "environments" / "test.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    document = environment(*replicas, **changes).model_dump(mode="json", by_alias=True)
    draft = path.with_suffix(".draft")
    with draft.open("w") as file:
        YAML(typ="safe", pure=True).dump(document, file)
    draft.replace(path)


def eventually(condition: Callable[[], T], *, within_s: float = 5.0) -> T:
    """Wait until a condition holds."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)
