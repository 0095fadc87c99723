"""How soon a flag write is felt, and what one decision costs. (tests/benchmarks/gateways.py has the gateway's price.)

    python -m tests.benchmarks.gateway

Everything runs on loopback: a trivial upstream in a process of its own, the gateway in another, the requests here.
"""

from __future__ import annotations

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
from tests.support.gateway import CANDIDATE, FLAG, NAME, STABLE, environment, routes
from tests.support.upstream import Behaviour, FakeUpstream, serving

BODY = {"model": NAME, "messages": [{"role": "user", "content": "Where is my parcel?"}]}
PATH = "/v1/chat/completions"


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        flags = FlagFile(root / "flags.json")
        flags.create(FLAG, by="benchmark")
        dial(flags, 50_000)
        RoutesFile(root / "routes.json", "test").update(lambda _: routes())
        upstream, upstream_url = in_process(_upstream)
        gateway, gateway_url = in_process(_gateway, root, upstream_url)
        try:
            felt_by_requests(flags, gateway_url)
        finally:
            gateway.terminate()
            upstream.terminate()
            gateway.join()
        evaluation(root)


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
