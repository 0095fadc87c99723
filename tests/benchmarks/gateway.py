"""What the gateway costs: latency beside a direct request, throughput, and how soon a flag write is felt.

    python -m tests.benchmarks.gateway [--requests 1500] [--clients 16]

Everything runs on loopback: a trivial upstream in a process of its own, the gateway in another, the load here.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from rollout.core.flag import Slot
from rollout.core.plan import Share
from rollout.integrations.evaluator import FlagFileReader
from rollout.integrations.flagfile import FlagFile
from rollout.integrations.routesfile import RoutesFile
from rollout.integrations.trafficlog import TrafficLog
from tests.support.gateway import CANDIDATE, FLAG, NAME, STABLE, environment, routes
from tests.support.upstream import Behaviour, FakeUpstream, serving

BODY = {"model": NAME, "messages": [{"role": "user", "content": "Where is my parcel?"}]}
PATH = "/v1/chat/completions"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        flags = FlagFile(root / "flags.json")
        flags.create(FLAG, by="benchmark")
        dial(flags, 50_000)
        RoutesFile(root / "routes.json", "test").update(lambda _: routes())
        upstream, upstream_url = in_process(_upstream)
        gateway, gateway_url = in_process(_gateway, root, upstream_url)
        try:
            overhead(upstream_url, gateway_url, options.requests)
            for name, url, model in (("direct", upstream_url, STABLE), ("gateway", gateway_url, NAME)):
                rate = asyncio.run(throughput(url, model, options.requests * 2, options.clients))
                print(f"throughput, {name:8} {options.clients} clients: {rate:8.0f} requests/s")
            felt_by_requests(flags, gateway_url)
        finally:
            gateway.terminate()
            upstream.terminate()
            gateway.join()
        counts = TrafficLog(root / "traffic.sqlite").requests(NAME)
        print("rows in the traffic log:", sum(count.total for count in counts.values()))
        evaluation(root)


def overhead(upstream_url: str, gateway_url: str, requests: int) -> None:
    """One client, one request after the other, direct and through the gateway by turns."""
    direct, through = [], []
    with httpx.Client(base_url=upstream_url) as plain, httpx.Client(base_url=gateway_url) as routed:
        for number in range(requests):
            headers = {"x-user-id": f"user-{number}"}
            direct.append(timed(plain, {**BODY, "model": STABLE}, headers))
            through.append(timed(routed, BODY, headers))
    for name, times in (("direct", direct), ("gateway", through)):
        report(f"latency, {name}", times[50:])
    print(f"added by the gateway: p50 {statistics.median(through) - statistics.median(direct):.2f} ms")


async def throughput(url: str, model: str, requests: int, clients: int) -> float:
    """Requests a second with `clients` in a closed loop."""
    async with httpx.AsyncClient(base_url=url) as client:

        async def work(share: int) -> None:
            for number in range(share):
                headers = {"x-user-id": f"user-{number}"}
                answer = await client.post(PATH, json={**BODY, "model": model}, headers=headers)
                answer.raise_for_status()

        begun = time.perf_counter()
        await asyncio.gather(*(work(requests // clients) for _ in range(clients)))
        return requests // clients * clients / (time.perf_counter() - begun)


def felt_by_requests(flags: FlagFile, url: str) -> None:
    """From before the flag write until a request through the gateway is routed otherwise."""
    times = []
    with httpx.Client(base_url=url) as client:
        for turn in range(40):
            share, wanted = (100_000, CANDIDATE) if turn % 2 else (0, STABLE)
            time.sleep(0.013 * (turn % 5))
            begun = time.perf_counter()
            dial(flags, share)
            while client.post(PATH, json=BODY).headers["x-rollout-adapter"] != wanted:
                pass
            times.append((time.perf_counter() - begun) * 1000)
    report("flag write until a request moved", times[1:])


def evaluation(root: Path) -> None:
    """One decision, in this process."""
    reader = FlagFileReader(root / "flags.json")
    times = []
    for number in range(20_000):
        begun = time.perf_counter()
        assert reader.slot(FLAG, f"user-{number}").slot in Slot
        times.append((time.perf_counter() - begun) * 1000)
    reader.close()
    report("one decision", times)


def dial(flags: FlagFile, thousandths: int) -> None:
    """Set the share."""
    flags.write(FLAG, Share(thousandths), turn_on=True, expect_version=None, by="benchmark", comment="")


def timed(client: httpx.Client, body: dict[str, object], headers: dict[str, str]) -> float:
    """Milliseconds of one request."""
    begun = time.perf_counter()
    client.post(PATH, json=body, headers=headers).raise_for_status()
    return (time.perf_counter() - begun) * 1000


def report(name: str, times: list[float]) -> None:
    """One line."""
    times = sorted(times)
    p99 = times[int(len(times) * 0.99)]
    print(f"{name}: p50 {statistics.median(times):.3f} ms, p99 {p99:.3f} ms, max {times[-1]:.3f} ms")


def in_process(target: object, *arguments: object) -> tuple[multiprocessing.process.BaseProcess, str]:
    """Start a server in a process of its own; gives it and its URL."""
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=target, args=(there, *arguments), daemon=True)  # type: ignore[arg-type]
    process.start()
    return process, here.recv()


def _upstream(pipe: Connection) -> None:
    _serve(pipe, FakeUpstream({STABLE: Behaviour(), CANDIDATE: Behaviour()}))


def _gateway(pipe: Connection, root: Path, upstream_url: str) -> None:
    from rollout.wiring import gateway_app

    _serve(pipe, gateway_app(environment(upstream_url), root))


def _serve(pipe: Connection, app: object) -> None:
    import signal
    import threading

    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with serving(app) as url:
        pipe.send(url)
        while not ended.wait(0.2):
            pass


if __name__ == "__main__":
    main()
