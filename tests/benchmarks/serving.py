"""Measures the embedded server on the demo family: `python -m tests.benchmarks.serving`.

Start time, resident memory, and latency and throughput of chat answers of 20 tokens, whole and streamed, with the
base and two adapters in turn. Prints one JSON object. Clients run in this process, on the same cores.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from rollout.demo.model import ARTIFACTS
from tests.support.servers import rollout_serve

MODELS = ("base", "v1.0", "v1.1")
TOKENS = 20


def main() -> None:
    """Start the server, put it under load, print the figures."""
    adapters = ARTIFACTS / "adapters"
    options = ["--adapter", f"v1.0={adapters / '1.0.0'}", "--adapter", f"v1.1={adapters / '1.1.0'}"]
    started = time.perf_counter()
    with rollout_serve(ARTIFACTS / "base", *options) as served:
        figures: dict[str, Any] = {"start_s": round(time.perf_counter() - started, 1)}
        for clients, requests in ((1, 40), (16, 480)):
            for stream in (False, True):
                name = f"{clients} clients, {'streamed' if stream else 'whole'}"
                figures[name] = asyncio.run(
                    load(served.url, clients=clients, requests=requests, stream=stream)
                )
        figures["rss_mib"] = resident_mib(served.process.pid)
    print(json.dumps(figures, indent=2))


async def load(url: str, *, clients: int, requests: int, stream: bool) -> dict[str, float]:
    """Throughput, and latency in milliseconds: whole answers, and the first event of streams."""
    numbers = iter(range(requests))
    whole: list[float] = []
    first: list[float] = []
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        started = time.perf_counter()
        await asyncio.gather(*(user(client, numbers, stream, whole, first) for _ in range(clients)))
        seconds = time.perf_counter() - started
    figures = {"requests_per_s": round(requests / seconds, 1), **quantiles("ms", whole)}
    return figures | (quantiles("first_event_ms", first) if stream else {})


async def user(
    client: httpx.AsyncClient, numbers: Iterator[int], stream: bool, whole: list[float], first: list[float]
) -> None:
    """One simulated user: the next request as soon as the last one is answered."""
    for number in numbers:
        body = {
            "model": MODELS[number % len(MODELS)],
            "messages": [
                {"role": "user", "content": f"my invoice {number} is wrong, please help me with it"}
            ],
            "max_tokens": TOKENS,
            "temperature": 0,
            "ignore_eos": True,
            "stream": stream,
        }
        started = time.perf_counter()
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            seen = False
            async for _ in response.aiter_bytes():
                if not seen:
                    first.append(time.perf_counter() - started)
                    seen = True
        whole.append(time.perf_counter() - started)


def quantiles(name: str, seconds: list[float]) -> dict[str, float]:
    """P50 and P95 in milliseconds."""
    cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    return {f"p50_{name}": round(cuts[9] * 1e3, 1), f"p95_{name}": round(cuts[18] * 1e3, 1)}


def resident_mib(process: int) -> int:
    """Resident memory of a process, from /proc."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0


if __name__ == "__main__":
    main()
