"""What attribution costs: microseconds a request on the event loop, and what is done beside it.

python -m tests.benchmarks.telemetry
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

from rollout.core.environment import KeptTexts
from rollout.core.metric import Feedback, RequestRecord, Texts
from rollout.core.plan import Share
from rollout.gateway.answer import AnswerReader
from rollout.gateway.examining import Examiner
from rollout.gateway.keeping import Keeping
from rollout.gateway.looks import Looks
from rollout.gateway.spoken import Spoken
from rollout.gateway.telemetry import Telemetry
from rollout.ports import FlagDataStatus
from tests.contracts.test_metric_source import record

TEXT = "It is billing, dear customer. " * 20
BODY = json.dumps({"model": "bot", "messages": [{"role": "user", "content": "my order 4711 is late " * 40}]})
EVENT = {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": " token"}, "finish_reason": None}]}
STREAM = [b"data: " + json.dumps(EVENT).encode() + b"\n\n"] * 2000 + [b"data: [DONE]\n\n"]


class Nowhere:
    """A recorder that keeps nothing."""

    def record(self, request: RequestRecord, texts: Texts | None = None) -> None:
        pass

    def tell(self, feedback: Feedback) -> None:
        pass

    def close(self) -> None:
        pass


def microseconds(act: Callable[[int], object], times: int) -> float:
    """Of one call, on average, of the best of three rounds."""
    rounds = []
    for _ in range(3):
        begun = time.perf_counter()
        for number in range(times):
            act(number)
        rounds.append((time.perf_counter() - begun) / times * 1e6)
    return min(rounds)


def row(number: int) -> RequestRecord:
    timed: dict[str, Any] = {
        "first_token_ms": 20.0,
        "inter_token_ms": 5.0,
        "prompt_tokens": 9,
        "finish_reason": "stop",
    }
    return record(request_id=uuid.uuid4().hex, key_hash=f"k{number % 500}", routed_at=time.time(), **timed)


def read_a_stream(_: int) -> None:
    reader = AnswerReader()
    reader.start(200, [(b"content-type", b"text/event-stream")])
    for chunk in STREAM:
        reader.feed(chunk)
    reader.finish()


def main() -> None:
    """Print the figures."""
    rows = [row(number) for number in range(1000)]
    spoken = Spoken(request=BODY.encode(), text=TEXT, overlong=False, check=None)
    examiner = Examiner(Nowhere(), Looks(), Keeping())
    telemetry = Telemetry(Nowhere(), salt=b"x", examiner=examiner)

    def begin_and_end(number: int) -> None:
        telemetry.begin(rows[number].served, shadow=False)
        telemetry.end(rows[number], spoken)

    flags = FlagDataStatus(ready=True, age_s=0.0, error=None, versions={})
    both = Looks(refusals=Share.FULL, personal_data=Share.FULL)
    redacting = Keeping(texts=KeptTexts.REDACTED)
    figures = {
        "on the event loop, a request": microseconds(begin_and_end, 1000),
        "on the event loop, an event of a stream": microseconds(read_a_stream, 3) / len(STREAM),
        "on the event loop, the page of one adapter": microseconds(
            lambda _: telemetry.exposition(flags, routes_revision=1, routes_age_s=0.0), 50
        ),
        "beside it, a refusal looked for": microseconds(
            lambda number: Looks(refusals=Share.FULL).at(rows[number], spoken, hurried=False), 1000
        ),
        "beside it, personal data too": microseconds(
            lambda number: both.at(rows[number], spoken, hurried=False), 1000
        ),
        "beside it, texts redacted": microseconds(lambda _: redacting.of(spoken), 200),
    }
    telemetry.close()
    for what, took in figures.items():
        print(f"{what:<45} {took:>10.1f} µs")


if __name__ == "__main__":
    main()
