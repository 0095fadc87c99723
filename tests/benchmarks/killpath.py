"""How soon nobody gets an adapter any more, over four gateway processes under traffic.

    python -m tests.benchmarks.killpath [--rounds 100] [--gateways 4]

Each round gives everyone the candidate, then either holds it at all gateways at once (the kill path) or writes
0 % into the flag file. What is counted is the time from just before that act to the last request that any gateway
routed to the candidate, by the traffic log's own times. All processes run on this machine and share its cores.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ruamel.yaml import YAML

from rollout.core.plan import Share
from rollout.integrations.flagfile import FlagFile
from rollout.integrations.gateways import GatewayClient
from rollout.integrations.routesfile import RoutesFile
from tests.support.gateway import CANDIDATE, FLAG, NAME, STABLE, environment, routes
from tests.support.upstream import Behaviour, FakeUpstream, serving

TOKEN, VARIABLE = "token-of-the-benchmark", "BENCHMARK_TOKEN"
SETTLED_S, PAUSE_S = 0.5, 0.005


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--gateways", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root = Path(folder)
        flags = FlagFile(root / "flags.json")
        flags.create(FLAG, by="benchmark")
        dial(flags, Share.FULL)
        RoutesFile(root / "routes.json", "test").update(lambda _: routes())
        upstream = stack.enter_context(upstream_process())
        urls = [stack.enter_context(gateway(root, upstream)) for _ in range(options.gateways)]
        stack.enter_context(traffic(urls))
        clients = [GatewayClient(f"g{number}", url, token=TOKEN) for number, url in enumerate(urls)]
        kills = [kill(root, clients, flags) for _ in range(options.rounds)]
        report(f"hold at {len(urls)} gateways to the last request routed to it", kills)
        writes = [flag_write(root, clients, flags) for _ in range(options.rounds)]
        report(f"flag file change to the last request routed to it, {len(urls)} gateways", writes)


def kill(root: Path, clients: list[GatewayClient], flags: FlagFile) -> float:
    """One round of the kill path; milliseconds."""

    def act() -> None:
        with ThreadPoolExecutor(len(clients)) as threads:
            list(
                threads.map(
                    lambda each: each.hold(served=CANDIDATE, by="benchmark", reason="a drill"), clients
                )
            )

    spent = round_of(root, clients, flags, act)
    clients[0].lift(CANDIDATE)
    while any(CANDIDATE in client.held() for client in clients):
        time.sleep(0.01)  # they share a folder, and hear it from there
    return spent


def flag_write(root: Path, clients: list[GatewayClient], flags: FlagFile) -> float:
    """One round of the flag file; milliseconds."""
    return round_of(root, clients, flags, lambda: dial(flags, Share.ZERO))


def round_of(root: Path, clients: list[GatewayClient], flags: FlagFile, act: Callable[[], None]) -> float:
    """From just before the act to the last request that was routed to the candidate; milliseconds."""
    dial(flags, Share.FULL)
    wait_for_the_candidate(clients)
    time.sleep(random.random() * 0.1)  # any moment of the gateways' polls
    begun = time.time()
    act()
    time.sleep(SETTLED_S)
    return max(0.0, last_routed(root) - begun) * 1000


def wait_for_the_candidate(clients: list[GatewayClient]) -> None:
    """Wait until every gateway routes its stream to the candidate."""
    since = time.time()
    for client in clients:
        while client.status().last_routed.get(CANDIDATE, 0) < since:
            time.sleep(0.01)


def last_routed(root: Path) -> float:
    """Unix time of the last request to the candidate, from the log."""
    with sqlite3.connect(root / "traffic.sqlite") as connection:
        found = connection.execute(
            "SELECT max(routed_at) FROM requests WHERE served = ? AND shadow = 0", (CANDIDATE,)
        ).fetchone()
    return float(found[0])


def dial(flags: FlagFile, share: Share) -> None:
    """Set the share."""
    flags.write(FLAG, share, turn_on=True, expect_version=None, by="benchmark", comment="")


@contextmanager
def gateway(root: Path, upstream: str) -> Iterator[str]:
    """A `rollout gateway` over the folder; its URL."""
    folder = root / "policies" / "environments"
    folder.mkdir(parents=True, exist_ok=True)
    gateways = [{"name": "g0", "url": "http://127.0.0.1:8000", "token_env": VARIABLE}]
    document = environment(upstream, gateways=gateways).model_dump(mode="json", by_alias=True)
    with (folder / "test.yaml").open("w") as file:
        YAML(typ="safe", pure=True).dump(document, file)
    words = [sys.executable, "-m", "rollout", "gateway", "-e", "test", "--root", str(root), "--port", "0"]
    settings = {**os.environ, VARIABLE: TOKEN}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=settings)
    try:
        assert process.stderr is not None
        lines: list[str] = []
        while not (found := re.search(r"ready on (\S+)", lines[-1] if lines else "")):
            lines.append(process.stderr.readline())
            assert lines[-1], "".join(lines)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield found[1]
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def upstream_process() -> Iterator[str]:
    """A trivial upstream in a process of its own; its URL."""
    pipe, end = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_upstream, args=(end,), daemon=True)
    process.start()
    try:
        yield pipe.recv()
    finally:
        process.terminate()


def _upstream(end: object) -> None:
    with serving(FakeUpstream({STABLE: Behaviour(), CANDIDATE: Behaviour()})) as url:
        end.send(url)  # type: ignore[attr-defined]
        threading.Event().wait()


@contextmanager
def traffic(urls: list[str]) -> Iterator[None]:
    """One stream of requests to each gateway, from a process of its own."""
    process = multiprocessing.get_context("fork").Process(target=_traffic, args=(urls,), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()


def _traffic(urls: list[str]) -> None:
    import aiohttp

    async def stream(session: aiohttp.ClientSession, url: str) -> None:
        body, number = {"model": NAME, "messages": [{"role": "user", "content": "hi"}]}, 0
        while True:
            number += 1
            headers = {"x-user-id": f"user-{number}"}
            async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
                await answer.read()
            await asyncio.sleep(PAUSE_S)

    async def streams() -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(stream(session, url) for url in urls))

    asyncio.run(streams())


def report(what: str, milliseconds: list[float]) -> None:
    """One line."""
    ordered = sorted(milliseconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    print(
        f"{what}: p50 {statistics.median(ordered):.0f} ms, p99 {p99:.0f} ms, max {ordered[-1]:.0f} ms"
        f" ({len(ordered)} rounds)",
        flush=True,
    )


if __name__ == "__main__":
    main()
