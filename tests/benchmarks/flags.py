"""How soon a changed flag is obeyed, and what a decision costs: over the flag file and over LaunchDarkly's stream.

    python -m tests.benchmarks.flags [--writes 300] [--rounds 100] [--idle 20]

The service is the local LaunchDarkly in a process of its own; its REST API is called as LaunchDarkly's is, and the
SDK that hears of it is the real one. Its file is kept in memory where there is /dev/shm: how fast this disk makes a
write durable is no property of LaunchDarkly's. A round under load goes from just before the write to the last request that a
gateway process routed to the candidate, by the traffic log's own times. Everything shares this machine's cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from rollout.core.bucketing import in_share
from rollout.core.plan import Share
from rollout.integrations.evaluator import FlagFileReader, FlagStreamReader
from rollout.integrations.flagfile import FlagFile
from rollout.integrations.gateways import GatewayClient
from rollout.ports import FlagReader
from tests.benchmarks.killpath import last_routed, traffic, upstream_process, wait_for_the_candidate
from tests.support.gateway import FLAG, Process, process
from tests.support.launchdarkly import SDK_KEY, SEMANTIC, TOKEN, speaking

USERS = [f"user-{number}" for number in range(50_000)]
SETTLED_S, IDLE_HEARTBEAT_S = 0.5, 15.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--writes", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--idle", type=float, default=20.0)
    options = parser.parse_args()
    os.environ["LD_SDK_KEY"] = SDK_KEY
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory(dir=memory) as service,
        speaker_process(Path(service)) as url,
        Rest(url) as rest,
    ):
        cost_of_decisions(Path(folder), url)
        propagation(url, rest, options.writes)
        last_old_requests(Path(folder), url, rest, options.rounds)
        idle(Path(folder), url, options.idle)


class Rest:
    """The two calls of LaunchDarkly's REST API that a dial needs, over one connection."""

    def __init__(self, url: str) -> None:
        headers = {"Authorization": TOKEN, "LD-API-Version": "20240415"}
        self._client = httpx.Client(base_url=f"{url}/api/v2", headers=headers, timeout=30)
        slots = [{"value": slot, "name": slot} for slot in ("stable", "candidate")]
        defaults = {"onVariation": 0, "offVariation": 0}
        made = {"key": FLAG, "name": FLAG, "variations": slots, "defaults": defaults}
        answer = self._client.post("/flags/default", json=made).raise_for_status().json()
        self._ids = [variation["_id"] for variation in answer["variations"]]

    def __enter__(self) -> Rest:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def serve(self, share: Share) -> int:
        """Set the share, on; the new version of the flag in the environment."""
        weights = dict(zip(self._ids, share.weights, strict=True))
        dial = {"kind": "updateFallthroughVariationOrRollout", "rolloutWeights": weights}
        if share in (Share.ZERO, Share.FULL):
            variation = self._ids[int(share == Share.FULL)]
            dial = {"kind": "updateFallthroughVariationOrRollout", "variationId": variation}
        body = {"environmentKey": "production", "instructions": [{"kind": "turnFlagOn"}, dial]}
        answer = self._client.patch(f"/flags/default/{FLAG}", json=body, headers={"Content-Type": SEMANTIC})
        return int(answer.raise_for_status().json()["environments"]["production"]["version"])


def propagation(url: str, rest: Rest, writes: int) -> None:
    """How long from before each PATCH until the SDK decides by it."""
    reader, ended = FlagStreamReader(SDK_KEY, stream_uri=url, patience_s=5), threading.Event()
    seen: dict[int | None, float] = {}

    def watch() -> None:
        while not ended.is_set():
            seen.setdefault(reader.slot(FLAG, "ann").version, time.perf_counter())
            time.sleep(0.0002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    spent, answered = [], []
    try:
        for number in range(writes):
            begun = time.perf_counter()
            version = rest.serve(Share(1000 + number))
            answered.append((time.perf_counter() - begun) * 1000)
            while version not in seen:
                time.sleep(0.0002)
            spent.append((seen[version] - begun) * 1000)
            time.sleep(random.random() * 0.02)
    finally:
        ended.set()
        watcher.join()
        reader.close()
    report("PATCH sent to its answer", answered)
    report("PATCH sent to changed evaluation", spent)


def last_old_requests(folder: Path, url: str, rest: Rest, rounds: int) -> None:
    """The same to the last request that a gateway under load gives to the version of before."""
    with upstream_process() as upstream:
        with gateway(folder / "streaming", upstream, flags=stream_of(url)) as found:
            spent = rounds_of(folder / "streaming", found.url, rest.serve, rounds)
            report("PATCH sent to the last request routed to the old version, stream", spent)
        with gateway(folder / "filing", upstream) as found:
            file = FlagFile(folder / "filing" / "flags.json")
            spent = rounds_of(folder / "filing", found.url, lambda share: dial(file, share), rounds)
            report("flag file written to the last request routed to the old version, file", spent)


def rounds_of(root: Path, url: str, serve: Callable[[Share], object], rounds: int) -> list[float]:
    """Milliseconds of each round."""
    client = GatewayClient("g0", url)
    with traffic([url]):
        return [one_round(root, client, serve) for _ in range(rounds)]


def one_round(root: Path, client: GatewayClient, serve: Callable[[Share], object]) -> float:
    """From just before the write to the last request that was routed to the candidate; milliseconds."""
    serve(Share.FULL)
    wait_for_the_candidate([client])
    time.sleep(random.random() * 0.1)  # any moment of a poll
    begun = time.time()
    serve(Share.ZERO)
    time.sleep(SETTLED_S)
    return max(0.0, last_routed(root) - begun) * 1000


def dial(flags: FlagFile, share: Share) -> None:
    """Set the share in a file."""
    flags.write(FLAG, share, turn_on=True, expect_version=None, by="benchmark", comment="")


def cost_of_decisions(folder: Path, url: str) -> None:
    """What one decision takes, over each reader."""
    path = folder / "costs.json"
    FlagFile(path).create(FLAG, by="benchmark")
    dial(FlagFile(path), Share.parse("25%"))
    cost("flag file", FlagFileReader(path))
    cost("stream", FlagStreamReader(SDK_KEY, stream_uri=url, patience_s=5))
    telling = FlagStreamReader(SDK_KEY, stream_uri=url, events_uri=url, patience_s=5)
    cost("stream, telling LaunchDarkly", telling)
    begun = time.perf_counter()
    for user in USERS:
        in_share(FLAG, "salt", user)
    print(f"bucket function alone: {(time.perf_counter() - begun) / len(USERS) * 1e6:.1f} us", flush=True)


def cost(what: str, reader: FlagReader) -> None:
    """Print the median of five passes over all users."""
    while not reader.status().ready:
        time.sleep(0.01)
    passes = []
    for _ in range(5):
        begun = time.perf_counter()
        for user in USERS:
            reader.slot(FLAG, user)
        passes.append((time.perf_counter() - begun) / len(USERS) * 1e6)
    reader.close()
    print(f"one decision, {what}: {statistics.median(passes):.1f} us", flush=True)


def idle(folder: Path, url: str, seconds: float) -> None:
    """What a gateway takes that nobody asks: share of a core, and memory."""
    for what, flags in (("stream", stream_of(url)), ("file", {"kind": "file", "path": "flags.json"})):
        with gateway(folder / f"idle-{what}", "http://127.0.0.1:9", flags=flags) as found:
            time.sleep(3)
            before = processor_s(found.popen.pid)
            time.sleep(seconds)
            share = (processor_s(found.popen.pid) - before) / seconds
            pages = int(Path(f"/proc/{found.popen.pid}/statm").read_text().split()[1])
            memory_mb = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
            print(f"idle gateway, {what}: {share:.2%} of a core, {memory_mb:.0f} MB", flush=True)


def processor_s(pid: int) -> float:
    """Seconds of processor that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stream_of(url: str) -> dict[str, object]:
    """The `flags` of an environment whose service is at this address."""
    named = {"kind": "launchdarkly", "project": "default", "environment": "production"}
    return {**named, "api": url, "stream": url, "events": url}


@contextmanager
def gateway(root: Path, upstream: str, **changes: Any) -> Iterator[Process]:
    """A `rollout gateway` over a folder of its own."""
    root.mkdir()
    with process(root, upstream, **changes) as found:
        assert found.popen.stderr is not None
        threading.Thread(target=found.popen.stderr.read, daemon=True).start()
        yield found


@contextmanager
def speaker_process(folder: Path) -> Iterator[str]:
    """The local LaunchDarkly in a process of its own; its URL."""
    pipe, end = multiprocessing.Pipe()
    speaker = multiprocessing.get_context("fork").Process(target=_speak, args=(end, folder), daemon=True)
    speaker.start()
    try:
        yield pipe.recv()
    finally:
        speaker.terminate()


def _speak(end: object, folder: Path) -> None:
    with speaking(
        folder, path=folder / "service.json", heartbeat_s=IDLE_HEARTBEAT_S, rate_limit=10**9
    ) as speaker:
        end.send(speaker.url)  # type: ignore[attr-defined]
        threading.Event().wait()


def report(what: str, milliseconds: list[float]) -> None:
    """One line."""
    ordered = sorted(milliseconds)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

    print(
        f"{what}: p50 {at(0.5):.1f} ms, p95 {at(0.95):.1f} ms, p99 {at(0.99):.1f} ms, max {ordered[-1]:.1f} ms"
        f" ({len(ordered)} times)",
        flush=True,
    )


if __name__ == "__main__":
    main()
