"""What an evaluation measured and what it concluded: one report, complete enough to be judged again.

The report has two sections. `quality` holds every answer with its scores and depends on nothing but suite, adapters,
base and engine: shards that are merged give the same bytes as one run. `speed` holds the timings of each machine,
which are never the same twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, JsonValue, model_validator

from rollout.core.gatefile import Confidence, Gate, OnInconclusive
from rollout.core.manifest import Document, Line, MetricId, Name, Semver, Sha256
from rollout.core.score import is_known
from rollout.core.suite import Expect, ItemId, Turn
from rollout.core.verdict import Interval, Outcome, Verdict, worst

REPORT_SCHEMA: Literal["adapter-rollout/evaluation-report/v2"] = "adapter-rollout/evaluation-report/v2"

Count = Annotated[int, Field(ge=0, le=10**12)]
Value = Annotated[float, Field(ge=-1e12, le=1e12)]
Scores = dict[MetricId, Value]


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
    batch_size: int
    details: dict[str, str] = Field(default_factory=dict)


class Reply(Document):
    """One answer. `text` is cut behind 20,000 letters for the report; the scores were made from the whole."""

    text: Annotated[str, Field(max_length=20_001)]
    completion_tokens: Count
    finish_reason: Line


class Case(Document):
    """One item of the suite with its answers and scores, per side: only the metrics that apply to it.

    There is one reply for each repeat; the scores are means over them. A case of an outside task has none.
    """

    id: ItemId
    slice: Line
    tags: tuple[Line, ...] = ()
    cluster: Line | None = None
    expect: Expect
    messages: tuple[Turn, ...] = ()
    reference: Annotated[str, Field(max_length=200_000)] = ""
    replies: dict[Side, tuple[Reply, ...]] = Field(default_factory=dict)
    scores: dict[Side, Scores]

    @model_validator(mode="after")
    def _scores_are_known(self) -> Case:
        _require_metrics(name for scores in self.scores.values() for name in scores)
        return self

    @property
    def slices(self) -> tuple[str, ...]:
        """Every slice that the item is in."""
        return tuple(dict.fromkeys((self.slice, *self.tags)))

    def text(self, side: Side) -> str:
        """The first answer of a side; empty if there is none."""
        replies = self.replies.get(side, ())
        return replies[0].text if replies else ""


class Shift(Document):
    """How far an adapter moves the base on the probe texts.

    `largest` is the largest difference of a token's log-probability, None where one is not finite. `same` of
    `compared` answers of the suite are the base's own, letter by letter.
    """

    largest: Value | None
    same: Count
    compared: Count

    @model_validator(mode="after")
    def _counts_fit(self) -> Shift:
        if self.same > self.compared:
            raise ValueError("more answers are the same than were compared")
        return self


class Effect(Document):
    """The proof that adapters were applied at all: log-probabilities of fixed answers on the probe items.

    `noise` is the largest difference of a side against itself, None if not finite.
    """

    probes: Count
    noise: dict[Side, Value | None]
    shifts: dict[Side, Shift]


class Agreement(Document):
    """How far the engine is from a full-precision reference on the probe items, as the largest difference of a
    token's log-probability per side; None where one is not finite."""

    reference: Line
    probes: Count
    distances: dict[Side, Value | None]


class Repeat(Document):
    """How many answers of the stable side changed when it was asked again, in another batch.

    `differences` is the mean absolute difference of the scores, per metric.
    """

    asked: Count
    changed: Count
    differences: Scores = Field(default_factory=dict)

    @model_validator(mode="after")
    def _counts_fit(self) -> Repeat:
        if self.changed > self.asked:
            raise ValueError("more answers changed than were asked for")
        _require_metrics(self.differences)
        return self


class Measured(Document):
    """Everything about quality that was measured, before anything is concluded from it.

    `planned` counts the items of the suite: fewer cases are a sample of it. `unasked` are its slices without a case.
    """

    planned: Count
    unasked: tuple[Line, ...] = ()
    cases: tuple[Case, ...]
    effect: Effect
    agreement: Agreement | None
    noise: dict[Side, Repeat]
    not_finite: dict[Side, Count] = Field(description="Answers whose log-probability is not a finite number.")
    missing: dict[MetricId, Line] = Field(
        default_factory=dict, description="Why a metric that the suite asks for could not be measured."
    )
    leak: Verdict | None = Field(
        default=None,
        description="Whether items of the suite stand in the training data, where it is at hand.",
    )
    stopped: Line | None = Field(default=None, description="Why nothing was asked after the first proofs.")

    @model_validator(mode="after")
    def _is_possible(self) -> Measured:
        ids = [case.id for case in self.cases]
        if len(set(ids)) != len(ids):
            raise ValueError("a case is there twice")
        if sum(bool(case.messages) for case in self.cases) > self.planned:
            raise ValueError("there are more cases than the suite has items")
        return self

    @property
    def opponent(self) -> Side:
        """What the candidate is compared with: the champion, or the base where there is none."""
        return Side.CHAMPION if any(Side.CHAMPION in case.scores for case in self.cases) else Side.BASE

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides that were measured, in the order base, champion, candidate."""
        return tuple(side for side in Side if any(side in case.scores for case in self.cases))

    @property
    def is_sample(self) -> bool:
        """Whether only a part of the suite was asked."""
        return len([case for case in self.cases if case.messages]) < self.planned


class Timing(Document):
    """One answer that was timed alone. Times are None if the clock gave no finite one."""

    item: ItemId
    milliseconds: Value | None
    first_token_ms: Value | None = None
    tokens: Count


class ShardTimings(Document):
    """What one machine timed; `shard` is `i/n`."""

    shard: Line
    hardware: Line
    threads: int
    timings: dict[Side, tuple[Timing, ...]]


class Rules(Document):
    """What the policy asks of the measurements."""

    gates: dict[MetricId, Gate] = Field(min_length=1)
    confidence: Confidence
    seed: int
    on_inconclusive: OnInconclusive
    agreement: Literal["required", "optional"]

    @model_validator(mode="after")
    def _gates_name_metrics(self) -> Rules:
        _require_metrics(self.gates)
        return self


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


class Subject(Document):
    """What is evaluated, on what, by which rules: everything that is settled before the first answer."""

    suite: Name
    suite_digest: Sha256
    gates_name: Name
    gates_digest: Sha256
    candidate: Contender
    champion: Contender | None
    base: BaseFacts
    engine: EngineFacts
    max_tokens: int
    repeats: int
    rules: Rules
    panel: dict[str, dict[str, str]] = Field(
        default_factory=dict, description="Outside scorers that were asked, with their models and versions."
    )
    reported: dict[str, float] = Field(
        default_factory=dict, description="What the trainer claims; never trusted."
    )


class Quality(Document):
    """The section that is the same, byte by byte, however the work was divided."""

    subject: Subject
    measured: Measured
    metrics: tuple[MetricRow, ...]
    slices: tuple[SliceRow, ...] = Field(description="Worst first.")
    verdicts: tuple[Verdict, ...] = Field(min_length=1)

    @property
    def content(self) -> bytes:
        """The section as canonical JSON."""
        return _canonical(self.model_dump(mode="json", by_alias=True))


class Speed(Document):
    """The section of the timings. Intervals that an answer took are compared within one shard only."""

    shards: tuple[ShardTimings, ...]
    metrics: tuple[MetricRow, ...]
    verdicts: tuple[Verdict, ...]


class EvalReport(Document):
    """The evaluation of one candidate on one suite. Immutable; its `digest` is what the ledger points to."""

    schema_: Literal["adapter-rollout/evaluation-report/v2"] = Field(default=REPORT_SCHEMA, alias="schema")
    tool: Line
    started_at: AwareDatetime
    finished_at: AwareDatetime
    command: Line = Field(description="The command line that gives this report again.")
    quality: Quality
    speed: Speed
    notes: tuple[Line, ...] = Field(
        default=(), description="What outside scorers say of themselves, and what was kept from before."
    )

    @property
    def subject(self) -> Subject:
        """What was evaluated."""
        return self.quality.subject

    @property
    def measured(self) -> Measured:
        """What was measured of its quality."""
        return self.quality.measured

    @property
    def metrics(self) -> tuple[MetricRow, ...]:
        """The rows of both sections."""
        return (*self.quality.metrics, *self.speed.metrics)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdicts of both sections."""
        return (*self.quality.verdicts, *self.speed.verdicts)

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


class Partial(Document):
    """What one shard found of one suite: the part of a report that can be measured before the others are known."""

    shard: Annotated[str, Field(pattern=r"^[0-9]{1,5}/[0-9]{1,5}$")]
    tool: Line
    started_at: AwareDatetime
    finished_at: AwareDatetime
    command: Line
    subject: Subject
    measured: Measured
    timings: ShardTimings
    notes: tuple[Line, ...] = ()


class Shard(Document):
    """The file of one shard, to be merged with the others: one partial for each suite."""

    schema_: Literal["adapter-rollout/evaluation-shard/v1"] = Field(
        default="adapter-rollout/evaluation-shard/v1", alias="schema"
    )
    partials: tuple[Partial, ...] = Field(min_length=1)


class Evaluation(Document):
    """Reports, one for each candidate and suite that its policy asks for; mostly there is one candidate."""

    schema_: Literal["adapter-rollout/evaluation/v1"] = Field(
        default="adapter-rollout/evaluation/v1", alias="schema"
    )
    reports: tuple[EvalReport, ...] = Field(min_length=1)

    @property
    def outcome(self) -> Outcome:
        """The worst outcome of all reports."""
        return worst(report.outcome for report in self.reports)


def _require_metrics(names: Iterable[str]) -> None:
    for name in names:
        if not is_known(name, None):
            raise ValueError(f"there is no metric {name!r}")


def _canonical(value: JsonValue) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()
