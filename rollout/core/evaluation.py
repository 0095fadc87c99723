"""What an evaluation measured and what it concluded: one report, complete enough to be judged again.

The report holds the scores of every item, so `gate(report.measured, report.rules)` gives the same verdicts
from the stored file as it gave on the day; `rollout.core.gate.is_tampered` asks exactly that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import fsum, isfinite
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, JsonValue

from rollout.core.manifest import Document, Line, MetricId, Name, Semver, Sha256
from rollout.core.suite import Expect, Gate, ItemId, OnInconclusive, Turn
from rollout.core.verdict import Interval, Outcome, Verdict, worst

REPORT_SCHEMA: Literal["adapter-rollout/evaluation-report/v1"] = "adapter-rollout/evaluation-report/v1"

Count = Annotated[int, Field(ge=0)]
Answer = Annotated[str, Field(max_length=200_000)]
Scores = dict[MetricId, float]


class Side(StrEnum):
    """Whose answer it is. Without a champion (a first release), the candidate is compared with the base."""

    BASE = "base"
    CHAMPION = "champion"
    CANDIDATE = "candidate"


class Contender(Document):
    """One adapter version under evaluation."""

    name: Name
    version: Semver
    served_name: Line
    identity: Sha256


class BaseFacts(Document):
    """The base model under all of them."""

    repo: Line
    revision: Line
    quantization: Line
    dtype: Line


class EngineFacts(Document):
    """What generated the answers: two reports compare only where it is the same."""

    name: Line
    version: Line
    dtype: Line
    quantization: Line
    device: Line
    threads: int
    batch_size: int
    details: dict[str, str] = Field(default_factory=dict)


class ItemScores(Document):
    """The scores of one item, per side: only the metrics that apply to it."""

    id: ItemId
    slice: Line
    expect: Expect
    scores: dict[Side, Scores]


class Timing(Document):
    """One answer that was timed alone. `milliseconds` is None if the clock gave no finite time."""

    item: ItemId
    milliseconds: float | None
    tokens: Count


class Shift(Document):
    """How far an adapter moves the base on the probe texts.

    `largest` is the largest difference of a token's log-probability, None where one is not finite. `same` of
    `compared` answers of the suite are the base's own, letter by letter.
    """

    largest: float | None
    same: Count
    compared: Count


class Effect(Document):
    """The proof that adapters were applied at all. `noise` is the base against itself, None if not finite."""

    probes: Count
    noise: float | None
    shifts: dict[Side, Shift]


class Repeat(Document):
    """How many answers changed when the same side was asked again, alone instead of in a batch."""

    asked: Count
    changed: Count


class Measured(Document):
    """Everything that was measured, before anything is concluded from it."""

    items: tuple[ItemScores, ...]
    timings: dict[Side, tuple[Timing, ...]]
    effect: Effect
    repeats: dict[Side, Repeat]
    not_finite: dict[Side, Count] = Field(description="Answers whose log-probability is not a finite number.")

    @property
    def opponent(self) -> Side:
        """What the candidate is compared with: the champion, or the base where there is none."""
        return Side.CHAMPION if any(Side.CHAMPION in item.scores for item in self.items) else Side.BASE

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides that were measured, in the order base, champion, candidate."""
        return tuple(side for side in Side if any(side in item.scores for item in self.items))


class Rules(Document):
    """What the policy asks of the measurements."""

    gates: dict[MetricId, Gate] = Field(min_length=1)
    champion_margin: dict[MetricId, float] = Field(min_length=1)
    confidence: float
    seed: int
    on_inconclusive: OnInconclusive


class Estimate(Document):
    """A metric of one side. `value` is None if nothing was measured (`n` is 0) or it is not finite."""

    value: float | None
    n: Count


class MetricRow(Document):
    """One metric of all sides; `effect` is candidate minus opponent over the items that both answered."""

    metric: MetricId
    sides: dict[Side, Estimate]
    effect: float | None = None
    interval: Interval | None = None


class SliceRow(Document):
    """One slice: right answers and valid JSON per side; `lost` and `gained` against the opponent.

    `p` is the one-sided p-value of a drop, adjusted for all slices.
    """

    slice: Line
    n: Count
    success: dict[Side, float]
    json_compliance: dict[Side, float]
    lost: Count
    gained: Count
    p: float


class Example(Document):
    """One item with its answers; `drop` is how much its score fell against the opponent."""

    id: ItemId
    slice: Line
    messages: tuple[Turn, ...]
    reference: str
    answers: dict[Side, Answer]
    drop: float


class EvalReport(Document):
    """The evaluation of one candidate. Immutable; its `digest` is what the ledger points to."""

    schema_: Literal["adapter-rollout/evaluation-report/v1"] = Field(default=REPORT_SCHEMA, alias="schema")
    tool: Line
    started_at: AwareDatetime
    finished_at: AwareDatetime
    command: Line = Field(description="The command line that gives this report again.")
    suite: Name
    suite_digest: Sha256
    gates_name: Name
    gates_digest: Sha256
    candidate: Contender
    champion: Contender | None
    base: BaseFacts
    engine: EngineFacts
    max_tokens: int
    rules: Rules
    measured: Measured
    metrics: tuple[MetricRow, ...]
    slices: tuple[SliceRow, ...] = Field(description="Worst first.")
    verdicts: tuple[Verdict, ...] = Field(min_length=1)
    examples: tuple[Example, ...] = Field(description="Worst first.")
    reported: dict[str, float] = Field(
        default_factory=dict, description="What the trainer claims; never trusted."
    )

    @property
    def outcome(self) -> Outcome:
        """The worst outcome of the required verdicts."""
        return worst(verdict.outcome for verdict in self.verdicts if verdict.required)

    @property
    def content(self) -> bytes:
        """The report as canonical JSON: sorted keys, no spaces, UTF-8."""
        return _canonical(self.model_dump(mode="json", by_alias=True))

    @property
    def digest(self) -> str:
        """sha256 of `content`."""
        return hashlib.sha256(self.content).hexdigest()


def estimate(measured: Measured, name: str, side: Side) -> Estimate:
    """One metric of one side: the mean over the items that have it, or the figure of the timed answers."""
    if name in _TIMED:
        return _timed(measured.timings.get(side, ()), name)
    values = [scores[name] for item in measured.items if name in (scores := item.scores.get(side, {}))]
    if not values:
        return Estimate(value=None, n=0)
    mean = fsum(values) / len(values)
    return Estimate(value=mean if isfinite(mean) else None, n=len(values))


def quantile(values: Sequence[float], share: float) -> float:
    """The quantile by linear interpolation between order statistics. Raises ValueError if there is no value."""
    if not values:
        raise ValueError("there is no value to take a quantile of")
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


_TIMED: Mapping[str, float | None] = {
    "latency_p50_ms": 0.5,
    "latency_p95_ms": 0.95,
    "tokens_per_second": None,
}


def _timed(timings: Sequence[Timing], name: str) -> Estimate:
    spent = [timing.milliseconds for timing in timings if timing.milliseconds is not None]
    if len(spent) != len(timings) or not spent or fsum(spent) <= 0:
        return Estimate(value=None, n=len(timings))
    share = _TIMED[name]
    if share is not None:
        return Estimate(value=quantile(spent, share), n=len(spent))
    return Estimate(value=1000 * sum(timing.tokens for timing in timings) / fsum(spent), n=len(spent))


def _canonical(value: JsonValue) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()
