"""What is measured, never how: metric definitions and the samples that sources return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from pydantic import Field, model_validator

from rollout.core.manifest import Document, Line, MetricId

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


class Event(StrEnum):
    """What counts as *bad* for one request, as the gateway recorded it.

    `rejected` (4xx but 408, 429, and 404 where the adapter is not loaded) is part of `error` wherever there is a
    control. At 100 % it is not, for clients are rejected for their own mistakes too: there a metric of its own says
    how many are usual.
    `thumbs_down` counts answers of which their users said what they think, and only where users see answers.
    """

    ERROR = "error"
    REJECTED = "rejected"
    FORMAT_INVALID = "format_invalid"
    SLOW = "slow"
    THUMBS_DOWN = "thumbs_down"


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


class MetricSpec(Document):
    """One metric (`policies/metrics/<id>.yaml`).

    `kind: rate` counts requests on which `event` happened. `margin` is the largest harm accepted, as an
    absolute difference of rates (0.02 = two points). `tolerance` is the odds ratio up to which a difference
    is not called harm. `slow_after_ms` is the limit beyond which an answer is slow.
    """

    schema_: Literal["adapter-rollout/metric/v1"] = Field(alias="schema")
    id: MetricId
    title: Line
    kind: Literal["rate"]
    event: Event
    per: Unit = Unit.REQUEST
    direction: Literal[Direction.LOWER]
    slow_after_ms: float | None = Field(default=None, gt=0)
    margin: float = Field(gt=0, lt=1)
    tolerance: float = Field(default=1.25, ge=1, le=10)
    max_rate: float | None = Field(
        default=None, gt=0, lt=1, description="Absolute limit, judged at 100 %, where no control is left."
    )
    min_samples: int = Field(ge=1, description="Requests in each arm below which nothing is concluded.")
    on_missing: OnMissing
    stages: tuple[Stage, ...] = Field(min_length=1)
    required: bool = True

    @model_validator(mode="after")
    def _somebody_sees_what_is_judged(self) -> MetricSpec:
        if self.event is Event.THUMBS_DOWN and Stage.SHADOW in self.stages:
            raise ValueError(
                "nobody sees the answers of shadow copies, so that nobody can say what they think"
            )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many requests an arm answered in a window, and how many of them were bad."""

    total: int
    bad: int

    def __post_init__(self) -> None:
        if not 0 <= self.bad <= self.total:
            raise ValueError(f"{self.bad} bad of {self.total} is impossible")


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What a source saw of one metric between two edges of its own clock.

    The edges are opaque to everyone but the source: the next look starts where this one ended, so that no
    request is counted twice or left out. A missing arm is `None`, which is not the same as zero requests.
    """

    metric: str
    since: str
    until: str
    stable: Counts | None
    candidate: Counts | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Which two served adapters are compared, under which logical name, in which stage."""

    name: str
    stable: str
    candidate: str
    stage: Stage


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
