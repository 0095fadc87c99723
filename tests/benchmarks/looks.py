"""What one look costs out of a large traffic log: milliseconds a metric, and by which index its rows are found.

python -m tests.benchmarks.looks [rows]
"""

from __future__ import annotations

import random
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rollout.core.metric import Feedback, MetricSpec, RequestRecord, Stage
from rollout.integrations.trafficlog import TrafficLog, TrafficLogRecorder
from tests.contracts.test_metric_kinds import latency, score
from tests.contracts.test_metric_source import CANDIDATE, STABLE, comparison, record, spec
from tests.support.remote import log_client

A_LOOK = 2_000
METRICS: tuple[MetricSpec, ...] = (
    spec("error"),
    spec("error", per="unit_minute"),
    spec("timeout"),
    spec("invalid"),
    spec("empty"),
    latency("end_to_end", by_length=True),
    latency("first_token"),
    score("feedback"),
)
SHADOW = (*METRICS[:-1], score("format"))


def rows(number: int) -> Iterator[RequestRecord]:
    """A day: five of a hundred requests are the candidate's, one of ten of stable's is copied."""
    chance = random.Random(1)
    for place in range(number):
        values: dict[str, Any] = {
            "request_id": f"{place:032x}",
            "key_hash": f"{chance.randrange(20_000):016x}",
            "routed_at": 1e9 + place * 0.01,
            "latency_ms": chance.lognormvariate(6, 0.6),
            "first_token_ms": chance.lognormvariate(4, 0.6),
            "prompt_tokens": chance.randrange(2000),
            "completion_tokens": chance.randrange(1, 1500),
            "status": 500 if chance.random() < 0.01 else 200,
        }
        if place % 10 == 9:
            yield record(CANDIDATE, **values, shadow=True, pair=f"{place - 1:032x}")
        else:
            served = CANDIDATE if chance.random() < 0.05 else STABLE
            yield record(served, **values, mirrored=place % 10 == 8)


def fill(path: Path, number: int) -> None:
    """Write the log as gateways do, with feedback on one answer of fifty."""
    recorder = TrafficLogRecorder(path, capacity=number + 1)
    for place, row in enumerate(rows(number)):
        recorder.record(row)
        if place % 50 == 0:
            recorder.tell(Feedback(request_id=row.request_id, at=row.routed_at, thumbs=1, score=0.5))
        if place % 2_000 == 0:
            _wait(recorder)
    _wait(recorder)
    recorder.close()


def _wait(recorder: TrafficLogRecorder) -> None:
    while recorder._rows or recorder._told:
        time.sleep(0.01)


def milliseconds(act: Callable[[], object]) -> float:
    """The best of five."""
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        act()
        times.append((time.perf_counter() - begun) * 1000)
    return min(times)


def look(source: Any, metrics: tuple[MetricSpec, ...], stage: Stage, since: str, until: str) -> float:
    """Print a line a metric; the answer is what all of them took."""
    whole = 0.0
    for metric in metrics:
        ask = partial(source.samples, metric, comparison(stage), since=since, until=until)
        found, took = ask(), milliseconds(ask)
        print(
            f"  {metric.id:12} {metric.per:12} {found.stable.total:7,} {found.candidate.total:6,} {took:8.2f} ms"
        )
        whole += took
    return whole


def plans(path: Path, metrics: tuple[MetricSpec, ...], stage: Stage) -> set[str]:
    """How SQLite finds the rows of each statement of these metrics."""
    told: set[str] = set()
    log = TrafficLog(path)
    mark, _, newest = log.edge().partition(":")
    with sqlite3.connect(path) as connection, log._reading() as reading:
        statements: list[str] = []
        reading.set_trace_callback(statements.append)
        from rollout.integrations.trafficlog.looks import look_at

        for metric in metrics:
            window = int(newest) - A_LOOK, int(newest)
            look_at(reading, metric, comparison(stage), window, since=mark, until=mark)
        for statement in statements:
            steps = connection.execute(f"EXPLAIN QUERY PLAN {statement}")
            told |= {
                step[3] for step in steps if "requests" in step[3] or "INDEX" in step[3] or "SCAN" in step[3]
            }
    return told


def main() -> None:
    """Print the figures."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with TemporaryDirectory() as folder:
        path = Path(folder) / "traffic.sqlite"
        begun = time.perf_counter()
        fill(path, number)
        size = path.stat().st_size / 2**20
        print(f"{number:,} rows, {size:.0f} MiB, written in {time.perf_counter() - begun:.0f} s")
        log, gateway = TrafficLog(path), log_client(path)
        until = log.edge()
        mark, _, newest = until.partition(":")
        for what, source in (("the log", log), ("a gateway over HTTP", gateway)):
            for stage, metrics in ((Stage.CANARY, METRICS), (Stage.SHADOW, SHADOW)):
                print(f"a look of {A_LOOK:,} rows, {stage}, by {what}")
                whole = look(source, metrics, stage, f"{mark}:{int(newest) - A_LOOK}", until)
                print(f"  all {len(metrics)} metrics: {whole:.1f} ms")
        print("the whole log at once, canary")
        look(log, METRICS, Stage.CANARY, f"{mark}:0", until)
        print("how rows are found")
        for step in sorted(plans(path, METRICS, Stage.CANARY) | plans(path, SHADOW, Stage.SHADOW)):
            print(f"  {step}")


if __name__ == "__main__":
    main()
