"""What came of asking recorded questions again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rollout.core.estimate import quantile
from rollout.core.metric import NotCopied, Pair
from rollout.core.shadow.document import Lateness, Replayed


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How questions are asked again: `speed` times as fast as they came, at most `max_in_flight` at once.

    With a `rate` they come evenly, so many a second times the speed, whenever they came once.
    """

    speed: float
    max_in_flight: int
    timeout_s: float
    stream: bool
    seed: int
    rate: float | None = None

    @property
    def told(self) -> str:
        """For people."""
        if self.rate is None:
            return f"{self.speed:g} times as fast as they came"
        return f"{self.rate * self.speed:g} a second"


@dataclass(frozen=True, slots=True, kw_only=True)
class Echoes:
    """The answers of both sides. `late_ms` is how long after its time each request was really sent."""

    pairs: Sequence[Pair]
    skipped: Mapping[NotCopied, int]
    not_sent: int
    unfinished: int
    stopped: bool
    seconds: float
    late_ms: Sequence[float]

    def account(self, questions: int, pace: Pace, targets: Sequence[str]) -> Replayed:
        """As a report tells it."""
        late = self.late_ms
        return Replayed(
            questions=questions,
            skipped=dict(self.skipped),
            sent=len(self.pairs) + self.unfinished,
            not_sent=self.not_sent,
            unfinished=self.unfinished,
            stopped=self.stopped,
            speed=pace.speed,
            pace=pace.told,
            max_in_flight=pace.max_in_flight,
            seconds=self.seconds,
            lateness=Lateness(p50_ms=quantile(late, 0.5), p99_ms=quantile(late, 0.99), largest_ms=max(late))
            if late
            else None,
            targets=tuple(targets),
        )
