"""What is measured, never how: metric definitions and the samples that sources return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from itertools import pairwise
from math import isfinite
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, model_validator

from rollout.core.duration import Duration
from rollout.core.manifest import Document, Line, MetricId, Name, Text

METRIC_SCHEMA: Literal["adapter-rollout/metric/v1"] = "adapter-rollout/metric/v1"


class Direction(StrEnum):
    """Which way is better."""

    LOWER = "lower_is_better"
    HIGHER = "higher_is_better"


class Stage(StrEnum):
    """Where a metric is judged."""

    SHADOW = "shadow"
    CANARY = "canary"
    BAKE = "bake"


class Requirement(StrEnum):
    """What a state of a plan asks of a metric before the release goes on.

    `no_harm`: time and samples have passed, and no harm is shown. `non_inferior`: it is proven to be no worse.
    """

    NO_HARM = "no_harm"
    NON_INFERIOR = "non_inferior"


class Kind(StrEnum):
    """What is compared: shares of requests, quantiles of a latency, or means of a score between 0 and 1."""

    RATE = "rate"
    LATENCY = "latency"
    SCORE = "score"


class Event(StrEnum):
    """What counts as *bad* for one request, as the gateway recorded it.

    `rejected` (4xx but 408, 429, and 404 where the adapter is not loaded) is part of `error` wherever there is a
    control. At 100 % it is not, for clients are rejected for their own mistakes too: there a metric of its own says
    how many are usual.
    `thumbs_down` counts answers of which their users said what they think, and only where users see answers.
    `empty` is a good answer without a text; `invalid` one whose values or times are no numbers.
    """

    ERROR = "error"
    REJECTED = "rejected"
    TIMEOUT = "timeout"
    FORMAT_INVALID = "format_invalid"
    REFUSED = "refused"
    EMPTY = "empty"
    INVALID = "invalid"
    PERSONAL_DATA = "personal_data"
    TOXIC = "toxic"
    SLOW = "slow"
    THUMBS_DOWN = "thumbs_down"


class Measure(StrEnum):
    """Which time of an answer: to its first token, between its tokens, to its end, or to its end by token."""

    FIRST_TOKEN = "first_token"  # noqa: S105 - a time, not a password
    INTER_TOKEN = "inter_token"  # noqa: S105
    END_TO_END = "end_to_end"
    PER_TOKEN = "per_token"  # noqa: S105


class Score(StrEnum):
    """A value between 0 and 1 that an answer has: what its user said, or what was seen in it.

    Copies of the shadow have no users. `format` and `compliance` are 1 where an answer has the form that is declared,
    and where it does not refuse; of a shadow they are compared pair by pair.
    """

    FEEDBACK = "feedback"
    FORMAT = "format"
    COMPLIANCE = "compliance"


class Unit(StrEnum):
    """What a rate counts. `unit_minute` counts a user (or a conversation) once a minute, bad if any request was.

    So a client that sends a thousand requests has one voice, as the judge assumes of what it counts.
    """

    REQUEST = "request"
    UNIT_MINUTE = "unit_minute"


class ErrorClass(StrEnum):
    """Why a request got no good answer, told apart by who can mend it."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    BROKEN_OFF = "broken_off"
    IN_BAND = "in_band"
    NOT_FINITE = "not_finite"
    UNREADABLE = "unreadable"
    WRONG_MODEL = "wrong_model"
    GATEWAY = "gateway"


class NotCopied(StrEnum):
    """Why a request that the shadow's sample wanted was not copied.

    The first four say that a copy would not have been comparable, the others that there was no room for it.
    """

    TOOLS = "tools"
    EFFECTS = "effects"
    TOO_LONG = "too_long"
    UNREADABLE = "unreadable"
    HELD = "held"
    LOAD = "load"
    BUDGET = "budget"
    WAITING_ROOM = "waiting_room"
    DRAINING = "draining"


class OnMissing(StrEnum):
    """What no data means. There is no `pass`."""

    INCONCLUSIVE = "inconclusive"
    FAIL = "fail"


Quantile = Annotated[float, Field(gt=0, lt=1)]


class Query(Document):
    """A metric that the gateways do not measure, asked of a provider of the environment, once for each arm and look.

    `{name}`, `{served}`, `{stable}`, `{stage}`, `{since}` and `{until}` (Unix seconds) stand for the comparison; a
    statement binds them as `:served`. A Prometheus is asked for the selectors `total` and `bad`, or `values`. Of the
    others, `ask` is what is asked (a path, a statement), and the rest name members (JSON pointers) or columns.

    A rate has `total` and `bad`, which counts what the metric is about: where higher is better, the good ones. A
    latency has `values` in milliseconds, or two names with a comma: a histogram's upper edges, the last one null, and
    its counts. A score has `values` from 0 to 1, or in shadow two names: stable's and the candidate's, pair by pair.
    """

    provider: Name
    ask: Text | None = None
    total: Text | None = None
    bad: Text | None = None
    values: Text | None = None


class MetricSpec(Document):
    """One metric (`policies/metrics/<id>.yaml`): the same in shadow, canary and at 100 %.

    `kind: rate` compares how often `event` happened, `latency` the `quantiles` of the time `measure`, `score` the mean
    of `score`. With `source`, a provider is asked instead of the gateways.

    What is no harm: `tolerance` is an odds ratio (rate), a ratio of times (latency) or a loss (score) up to which a
    difference is not called harm. What is proof: `max_abs` (an absolute difference of rates, or a loss of score),
    `max_odds` (an odds ratio) or `max_ratio` (of times) is the largest harm accepted; of two, either is enough.
    At 100 %, where no control is left, `max_rate` and `max_ms` (for the largest quantile) are absolute limits.
    """

    schema_: Literal["adapter-rollout/metric/v1"] = Field(alias="schema")
    id: MetricId
    title: Line
    kind: Kind
    event: Event | None = None
    measure: Measure | None = None
    score: Score | None = None
    source: Query | None = None
    per: Unit = Unit.REQUEST
    design_effect: float | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="How many dependent requests say as much as one. If not given, it is measured by users.",
    )
    direction: Direction
    quantiles: tuple[Quantile, ...] = Field(default=(0.5, 0.95), min_length=1, max_length=4)
    by_length: bool = Field(
        default=False, description="Compare answers of like length only, for adapters that talk more or less."
    )
    buckets: tuple[float, ...] | None = Field(
        default=None, max_length=200, description="Upper edges in milliseconds, as a histogram has them."
    )
    slow_after_ms: float | None = Field(default=None, gt=0)
    max_abs: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        # Its name in the first releases, which the policy of a release under way may still have.
        validation_alias=AliasChoices("max_abs", "margin"),
    )
    max_odds: float | None = Field(default=None, gt=1, le=100)
    max_ratio: float | None = Field(default=None, gt=1, le=100)
    tolerance: float | None = Field(default=None, ge=0, le=10)
    max_rate: float | None = Field(
        default=None, gt=0, lt=1, description="Absolute limit, judged at 100 %, where no control is left."
    )
    max_ms: float | None = Field(
        default=None, gt=0, description="Absolute limit of the largest quantile, judged at 100 %."
    )
    min_samples: int = Field(ge=1, description="Requests in each arm below which nothing is concluded.")
    max_silence: Duration = Field(
        default=timedelta(minutes=30), description="Longest time without data of an arm that is looked at."
    )
    on_missing: OnMissing
    stages: tuple[Stage, ...] = Field(min_length=1)
    required: bool = True

    @model_validator(mode="after")
    def _fits_its_kind(self) -> MetricSpec:
        for complaint in _misfits(self):
            raise ValueError(complaint)
        return self

    @property
    def tolerated(self) -> float:
        """The harm that is not called so: an odds ratio, a ratio of times, or a loss of score."""
        if self.tolerance is not None:
            return self.tolerance
        return {Kind.RATE: 1.25, Kind.LATENCY: 1.05, Kind.SCORE: 0.0}[self.kind]


def _misfits(spec: MetricSpec) -> list[str]:
    """Why the fields do not go together; nothing here is guessed for anybody."""
    kind, found = spec.kind, []
    what: dict[Kind, tuple[str, object]] = {
        Kind.RATE: ("event", spec.event),
        Kind.LATENCY: ("measure", spec.measure),
        Kind.SCORE: ("score", spec.score),
    }
    name, value = what[kind]
    if (value is None) == (spec.source is None):
        found.append(f"a metric of kind {kind} says either `{name}` or the `source` that it is asked of")
    found += [
        f"`{other}` does not belong to kind {kind}"
        for of, (other, given) in what.items()
        if of is not kind and given is not None
    ]
    proofs = {Kind.RATE: ("max_abs", "max_odds"), Kind.LATENCY: ("max_ratio",), Kind.SCORE: ("max_abs",)}
    for limit in ("max_abs", "max_odds", "max_ratio"):
        if getattr(spec, limit) is not None and limit not in proofs[kind]:
            found.append(f"`{limit}` does not belong to kind {kind}")
    if all(getattr(spec, limit) is None for limit in proofs[kind]):
        found.append(
            f"kind {kind} needs {' or '.join(f'`{each}`' for each in proofs[kind])}: the largest harm accepted"
        )
    if kind is not Kind.SCORE and spec.tolerated < 1:
        found.append("`tolerance` is a ratio, 1 or more")
    if kind is Kind.SCORE and spec.tolerated >= 1:
        found.append("`tolerance` is a loss of score, below 1")
    if spec.max_ratio is not None and spec.max_ratio <= spec.tolerated:
        found.append("`max_ratio` must be above `tolerance`, or it would be harm and proof at once")
    if kind is Kind.LATENCY and spec.direction is not Direction.LOWER:
        found.append("a latency is better when it is lower")
    if kind is Kind.SCORE and spec.direction is not Direction.HIGHER:
        found.append("a score is better when it is higher")
    if kind is Kind.RATE and spec.event is not None and spec.direction is not Direction.LOWER:
        found.append(f"{spec.event} is something bad: lower is better")
    if spec.event is Event.SLOW and spec.slow_after_ms is None:
        found.append("`slow` needs `slow_after_ms`")
    if Stage.SHADOW in spec.stages and (spec.event is Event.THUMBS_DOWN or spec.score is Score.FEEDBACK):
        found.append("nobody sees the answers of shadow copies, so that nobody can say what they think")
    if spec.buckets is not None and (
        any(later <= earlier for earlier, later in pairwise(spec.buckets))
        or not all(isfinite(edge) and edge > 0 for edge in spec.buckets)
    ):
        found.append("`buckets` rise, and are above 0")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many requests an arm answered in a window, and how many of them were bad."""

    total: int
    bad: int

    def __post_init__(self) -> None:
        if not 0 <= self.bad <= self.total:
            raise ValueError(f"{self.bad} bad of {self.total} is impossible")


class Test(StrEnum):
    """Which question a table answers: is it worse than tolerated, or is it no worse than accepted?"""

    __test__ = False  # none of pytest's

    HARM = "harm"
    ADVANCE = "advance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Of one stratum of a look: how many of the slowest ones of both arms together are whose.

    The candidate's times were divided by the ratio that `test` allows; then `1 - quantile` of all of them, or as many
    as a histogram's edge has above it, are marked. `stable.bad` and `candidate.bad` are the marked ones.
    """

    quantile: float
    test: Test
    stratum: str = ""
    stable: Counts
    candidate: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """How many values of a score an arm has, their sum and the sum of their squares. Values are 0 to 1."""

    number: int
    sum: float
    squares: float

    def __post_init__(self) -> None:
        if self.number < 0 or not isfinite(self.sum) or not isfinite(self.squares):
            raise ValueError("moments of a score are finite numbers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """How bad requests of one arm come in heaps: of its requests whose unit is known `total`, and `bad` of them.

    Each bad one is put beside the other requests of its unit: those of this look, and twice (as it is theirs too) those
    that the unit had before in this canary. There are `others`, of which `alike` are bad as well.
    """

    total: int
    bad: int
    others: int = 0
    alike: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """How like each other scores of one unit are: of those whose unit is known `number`, their sum and their squares'.

    Each is put beside the other ones of its unit, both ways: those of this look, and those that the unit had before in
    this release. There are `others` such; `firsts` sums the one of each two, and `products` both. Of a shadow's pairs
    what is summed are differences, -1 to 1.
    """

    number: int
    sum: float
    squares: float
    others: int = 0
    firsts: float = 0.0
    products: float = 0.0

    def __post_init__(self) -> None:
        sums = self.sum, self.squares, self.firsts, self.products
        if min(self.number, self.others) < 0 or not all(isfinite(each) for each in sums):
            raise ValueError("how like scores of one unit are is told in finite numbers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What a source saw of one metric between two edges of its own clock.

    The edges are opaque to everyone but the source: the next look starts where this one ended, so that no
    request is counted twice or left out. A missing arm is `None`, which is not the same as zero requests.

    A rate has counts. A latency has counts (`bad`: beyond `max_ms`) and `marks` for each of its quantiles, tests and
    strata. A score has counts (nothing is bad) and either `differences` (candidate minus stable, of each pair, -1 to 1)
    or the `moments` of stable and candidate. `clusters` are those of stable and of the candidate, None where nobody
    knows whose requests are; `slow` are the same of a latency, by quantile (`P95`): what is bad there is among the slowest
    of both arms together. `alike` says of a score how it goes by units: once of pairs, else of stable and of the candidate,
    and never where nobody knows whose they are. `observed` are quantiles or means of this look by arm, for people to read.
    `query` is what was asked outside, `late` how many came after their look was closed.
    """

    metric: str
    since: str
    until: str
    stable: Counts | None
    candidate: Counts | None
    marks: tuple[Marks, ...] = ()
    differences: tuple[float, ...] = ()
    moments: tuple[Moments, Moments] | None = None
    clusters: tuple[Clusters, Clusters] | None = None
    slow: Mapping[str, tuple[Clusters, Clusters]] = field(default_factory=dict)
    alike: tuple[Alike, ...] = ()
    observed: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    query: tuple[str, ...] = ()
    late: int = 0

    def __post_init__(self) -> None:
        if not all(isfinite(each) and -1 <= each <= 1 for each in self.differences):
            raise ValueError("differences of scores are between -1 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Which two served adapters are compared, under which logical name, in which stage.

    `ring` tells that nobody but a ring is on the candidate: only then what its users got counts as the candidate's.
    """

    name: str
    stable: str
    candidate: str
    stage: Stage
    ring: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One answered request, or one shadow copy of it, as the gateway saw it. Never holds a prompt or an answer.

    Times are Unix seconds, durations milliseconds. `status` is the upstream's HTTP status, 499 if the client
    left, 0 if no answer came. `format_valid` is None where no format is declared or the answer was cut off by
    the client. `pair` is the request id that a shadow copy belongs to. `retry_of` is the id of the candidate's
    failure that stable answered instead: such an answer, and one that a tester had `pinned`, was not dealt at
    random and counts in no comparison. `cold` marks answers for which an adapter may have had to be loaded first.
    `inter_token_ms` is the mean time between tokens. `refused`, `personal_data` and `toxic` are None where nobody
    looked. `not_copied` says why a request of the shadow's sample was not copied after all.
    """

    request_id: str
    name: str
    served: str
    slot: str
    shadow: bool
    mirrored: bool
    pair: str | None
    keyed: bool
    key_hash: str | None
    flag_version: int | None
    flag_reason: str
    routed_at: float
    first_byte_ms: float | None
    latency_ms: float
    status: int
    error: str | None
    format_valid: bool | None
    completion_tokens: int | None
    output_chars: int
    error_class: ErrorClass | None = None
    conversation_hash: str | None = None
    path: str = ""
    streamed: bool = False
    replica: str | None = None
    cold: bool = False
    retry_of: str | None = None
    pinned: bool = False
    first_token_ms: float | None = None
    inter_token_ms: float | None = None
    prompt_tokens: int | None = None
    finish_reason: str | None = None
    refused: bool | None = None
    personal_data: bool | None = None
    toxic: bool | None = None
    not_copied: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What was asked and answered, where an environment keeps that: the request's JSON, and the answer's text."""

    request: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What a user, or a business event, said of one answer. At least one of the three values is there.

    `thumbs` is -1 or 1, `score` is between 0 and 1. `at` is Unix seconds.
    """

    request_id: str
    at: float
    thumbs: int | None = None
    score: float | None = None
    conversion: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A request of stable and its shadow copy, both complete. `texts` are None where they were not kept."""

    stable: RequestRecord
    candidate: RequestRecord
    stable_texts: Texts | None
    candidate_texts: Texts | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """What became of stable's requests of a window: how many there were, and were or were not copied, and why not.

    `pairs` are copies that were carried to their end.
    """

    requests: int
    copied: int
    not_copied: Mapping[NotCopied, int]
    pairs: int
