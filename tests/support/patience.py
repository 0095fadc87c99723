"""Time that passes when it is waited for: what a client waits is recorded, and no test waits."""

from __future__ import annotations

import time

from rollout.integrations.launchdarkly.pace import Pace


class Waits:
    """All waits so far, in seconds; the clock is the real one and what was waited."""

    def __init__(self, *, jitter: float = 0.5, answer_s: float = 10.0) -> None:
        self.seconds: list[float] = []
        self.pace = Pace(
            monotonic=lambda: time.monotonic() + sum(self.seconds),
            epoch=lambda: time.time() + sum(self.seconds),
            sleep=self.seconds.append,
            jitter=lambda: jitter,
            answer_s=answer_s,
        )
