"""A load generator that costs as little as what it measures allows: raw HTTP/1.1 over uvloop.

    python -m tests.benchmarks.load URL MODEL [--clients 1] [--seconds 5] [--rate R]

Without a rate it is a closed loop: each client asks again as soon as it is answered. With one it is an open loop:
requests leave at random times, R a second on average, however many are still unanswered. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httptools
import uvloop

WARM_UP_S = 1.0


@dataclass
class Measured:
    """Milliseconds of every request that was answered after the warm-up, and how many were not answered well."""

    begun: float
    until: float
    times: list[float] = field(default_factory=list)
    errors: int = 0

    def note(self, started: float, status: int) -> None:
        """One request is over."""
        if self.begun <= started < self.until:
            if status == 200:
                self.times.append((time.perf_counter() - started) * 1000)
            else:
                self.errors += 1


class Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It is open."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits gets no answer."""
        self._tell(0)

    def data_received(self, data: bytes) -> None:
        """A part of an answer."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        self._tell(self._parser.get_status_code())

    async def ask(self, request: bytes) -> int:
        """The status of the answer; 0 if there is none."""
        if self._transport.is_closing():
            return 0
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    @property
    def closed(self) -> bool:
        """Whether it cannot be used again."""
        return self._transport.is_closing()

    def _tell(self, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)


class Load:
    """Requests for one model, each by another user."""

    def __init__(self, url: str, model: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        message = {"role": "user", "content": "Where is my parcel? " * 10}
        self._body = json.dumps({"model": model, "messages": [message]}).encode()
        self._number = 0
        self._free: list[Client] = []

    async def closed_loop(self, clients: int, measured: Measured) -> None:
        """As fast as it goes."""
        await asyncio.gather(*(self._repeat(measured) for _ in range(clients)))

    async def open_loop(self, rate: float, measured: Measured) -> None:
        """At a rate of its own."""
        dice, asked = random.Random(1), set()
        due = time.perf_counter()
        while due < measured.until:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(self._once(measured))
            asked.add(task)
            task.add_done_callback(asked.discard)
            due += dice.expovariate(rate)
        if asked:
            await asyncio.wait(asked, timeout=30)
        measured.errors += len(asked)

    async def _repeat(self, measured: Measured) -> None:
        while time.perf_counter() < measured.until:
            await self._once(measured)

    async def _once(self, measured: Measured) -> None:
        started = time.perf_counter()
        client = self._free.pop() if self._free else await self._connect()
        measured.note(started, await client.ask(self._request()))
        if not client.closed:
            self._free.append(client)

    async def _connect(self) -> Client:
        _, client = await asyncio.get_running_loop().create_connection(Client, self._host, self._port)
        return client

    def _request(self) -> bytes:
        self._number += 1
        return (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: benchmark\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer sk-benchmark\r\nx-user-id: user-%d\r\ncontent-length: %d\r\n\r\n%s"
            % (self._number, len(self._body), self._body)
        )


async def run(url: str, model: str, clients: int, seconds: float, rate: float | None) -> dict[str, float]:
    """Put the load on, and say how long answers took."""
    begun = time.perf_counter() + WARM_UP_S
    measured = Measured(begun, begun + seconds)
    load = Load(url, model)
    await (load.open_loop(rate, measured) if rate else load.closed_loop(clients, measured))
    times = sorted(measured.times)
    return {
        "answered": len(times),
        "errors": measured.errors,
        "rate": len(times) / seconds,
        "p50": times[len(times) // 2] if times else float("nan"),
        "p99": times[int(len(times) * 0.99)] if times else float("nan"),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rate", type=float)
    options = parser.parse_args()
    print(json.dumps(uvloop.run(run(**vars(options)))))


if __name__ == "__main__":
    main()
