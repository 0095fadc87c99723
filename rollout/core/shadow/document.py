"""The report of a shadow comparison: what was seen of the traffic, what was measured of it, and what follows."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from rollout.core.evaluation import (
    BaseFacts,
    Contender,
    Count,
    Measured,
    MetricRow,
    Rules,
    ShardTimings,
    Side,
    Value,
)
from rollout.core.manifest import Document, Line, MetricId, Name, Sha256
from rollout.core.metric import MetricSpec, NotCopied
from rollout.core.verdict import Outcome, Verdict, worst

SHADOW_SCHEMA: Literal["adapter-rollout/shadow-report/v1"] = "adapter-rollout/shadow-report/v1"


class ShadowSubject(Document):
    """Who is compared, and by which rules: everything that is settled before the first pair is read.

    Without a stable adapter the base model is it. `set_aside` are gates that say nothing of traffic, each with why.
    """

    environment: Name
    name: Name
    stable: Contender | None
    candidate: Contender
    base: BaseFacts
    plan: Name
    suite: Name
    suite_digest: Sha256
    gates_name: Name
    gates_digest: Sha256
    min_pairs: Count
    rules: Rules
    set_aside: dict[MetricId, Line] = Field(default_factory=dict)
    specs: tuple[MetricSpec, ...]
    alpha: float
    alpha_advance: float

    @property
    def opponent(self) -> Side:
        """What the candidate is compared with."""
        return Side.BASE if self.stable is None else Side.CHAMPION


class Lateness(Document):
    """How long after its time a request was sent, in milliseconds: what a late generator hides of the latency."""

    p50_ms: Value
    p99_ms: Value
    largest_ms: Value


class Replayed(Document):
    """How recorded questions were asked again, at the times at which they once came."""

    questions: Count = Field(description="Questions of the record, before anything was left out.")
    skipped: dict[NotCopied, Count] = Field(default_factory=dict)
    sent: Count
    not_sent: Count = Field(description="Due while the most requests were under way; not put off.")
    unfinished: Count = Field(default=0, description="Given up when the replay was stopped.")
    stopped: bool = False
    speed: float
    pace: Line | None = Field(default=None, description="How fast they were asked, for people.")
    max_in_flight: Count
    seconds: Value
    lateness: Lateness | None = Field(description="None if nothing was sent.")
    targets: tuple[Line, ...]


class Traffic(Document):
    """What became of the requests that could have been compared.

    `requests` are those of stable in the window, `copied` of them were to be copied, `pairs` have both answers.
    `left_out` are pairs beyond the number that was asked for; the others are compared. `one_sided` counts, by metric,
    pairs of good answers of which one only has it. `unread` says why the log could not be read.
    """

    source: Line
    since: AwareDatetime | None = None
    requests: Count = 0
    copied: Count = 0
    not_copied: dict[NotCopied, Count] = Field(default_factory=dict)
    pairs: Count = 0
    left_out: Count = 0
    without_texts: Count = 0
    one_sided: dict[MetricId, Count] = Field(default_factory=dict)
    redacted: bool = False
    unread: Line | None = None
    replayed: Replayed | None = None

    @property
    def compared(self) -> int:
        """Pairs that the report rests on."""
        return self.pairs - self.left_out

    @property
    def lost(self) -> int:
        """Copies that were begun or waited, and whose answer is not there."""
        return max(0, self.copied - self.pairs)


class FailureRow(Document):
    """One way to fail, and how many requests failed so; `both` counts pairs of which both did."""

    kind: Line
    stable: Count
    candidate: Count
    both: Count


class ShadowReport(Document):
    """One comparison over traffic. Not an evaluation: it proves nothing of what users did not ask."""

    schema_: Literal["adapter-rollout/shadow-report/v1"] = Field(default=SHADOW_SCHEMA, alias="schema")
    tool: Line
    command: Line
    started_at: AwareDatetime
    finished_at: AwareDatetime
    subject: ShadowSubject
    traffic: Traffic
    measured: Measured
    failures: tuple[FailureRow, ...]
    metrics: tuple[MetricRow, ...]
    timings: ShardTimings
    verdicts: tuple[Verdict, ...] = Field(min_length=1)
    notes: tuple[Line, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The worst outcome of the required verdicts."""
        return worst(verdict.outcome for verdict in self.verdicts if verdict.required)
