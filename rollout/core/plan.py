"""How fast, and on what evidence: exact shares and the plan of a release."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any, ClassVar, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from rollout.core.duration import Duration
from rollout.core.manifest import Document, Line, MetricId, Name
from rollout.core.metric import Requirement
from rollout.core.window import Window

PLAN_SCHEMA: Literal["adapter-rollout/plan/v1"] = "adapter-rollout/plan/v1"

WHOLE = 100_000
_SHARE = re.compile(r"^(\d{1,3})(?:\.(\d{1,3}))?\s?%$")


@dataclass(frozen=True, slots=True, order=True)
class Share:
    """A share of traffic in whole thousandths of a percent, 0 to 100000: exact, as flags store it."""

    thousandths: int

    ZERO: ClassVar[Share]
    FULL: ClassVar[Share]

    def __post_init__(self) -> None:
        if type(self.thousandths) is not int or not 0 <= self.thousandths <= WHOLE:
            raise ValueError(f"a share is 0 to {WHOLE} thousandths of a percent, not {self.thousandths!r}")

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read `12.5%`. Raises ValueError on anything finer than 0.001 % or outside 0 to 100 %."""
        match = _SHARE.match(text)
        if match is None:
            raise ValueError(f"{text!r} is not a share; write it like '5%' or '12.5%'")
        return cls(int(match[1]) * 1000 + int((match[2] or "").ljust(3, "0")))

    def __str__(self) -> str:
        whole, rest = divmod(self.thousandths, 1000)
        return f"{whole}.{rest:03d}".rstrip("0").rstrip(".") + "%"

    @property
    def weights(self) -> tuple[int, int]:
        """(stable, candidate) as a flag's weights; they sum to 100000."""
        return WHOLE - self.thousandths, self.thousandths

    @property
    def fraction(self) -> float:
        """Between 0 and 1."""
        return self.thousandths / WHOLE

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": _SHARE.pattern, "examples": ["5%", "12.5%"]}

    @classmethod
    def _validate(cls, value: object) -> Share:
        if isinstance(value, Share):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        raise ValueError("a share is written like '5%'")


Share.ZERO = Share(0)
Share.FULL = Share(WHOLE)


class OnInconclusive(StrEnum):
    """What to do when a deadline passes and nothing is proven."""

    HOLD = "hold"
    ROLL_BACK = "roll_back"


class OnNewVersion(StrEnum):
    """What a newer manifest does to a release that is under way: wait, replace it by way of stable, or be refused."""

    QUEUE = "queue"
    SUPERSEDE = "supersede"
    REJECT = "reject"


class Shadow(Document):
    """Mirrored traffic before any user sees the candidate. `pairs` are compared answers."""

    duration: Duration
    pairs: int = Field(ge=1)
    sample: Share = Field(default=Share.FULL, description="Share of requests that are mirrored.")
    requires: Requirement = Requirement.NON_INFERIOR
    deadline: Duration | None = Field(default=None, description="Instead of the plan's.")


class Step(Document):
    """One share, held for at least `bake` and until `min_samples` candidate requests were judged.

    `pause` names the person, or the role, who must let the release go on from here with `rollout resume`.
    """

    share: Share
    bake: Duration
    min_samples: int = Field(ge=1)
    requires: Requirement = Requirement.NON_INFERIOR
    deadline: Duration | None = Field(default=None, description="Instead of the plan's.")
    pause: Line | None = Field(default=None, description="Who must let the release go on from here.")


class Plan(Document):
    """How one release walks (`policies/plans/<name>.yaml`).

    The last step is 100 %; its `bake` is how long everything is watched there before it is promoted.
    """

    schema_: Literal["adapter-rollout/plan/v1"] = Field(alias="schema")
    name: Name
    shadow: Shadow | None = None
    steps: tuple[Step, ...] = Field(min_length=1, max_length=32)
    rollback_window: Duration = Field(
        default=timedelta(days=7), description="How long the previous version stays loaded after promotion."
    )
    deadline: Duration = Field(description="The longest time in any one state.")
    on_inconclusive: OnInconclusive = OnInconclusive.HOLD
    on_new_version: OnNewVersion = OnNewVersion.QUEUE
    failure_budget: int = Field(
        default=0, ge=0, description="Looks that may show harm before it is acted on."
    )
    consecutive_failures: int | None = Field(
        default=None,
        ge=1,
        description="Looks in a row that show harm which are acted on, whatever the budget is.",
    )
    consecutive_successes: int = Field(
        default=1, ge=1, description="Looks in a row that must pass before the release goes on."
    )
    error_budget: int = Field(default=5, ge=0, description="Looks in a row that may end in an error.")
    windows: tuple[Window, ...] = Field(
        default=(),
        max_length=32,
        description="When the share may rise; none means always. Rollback is always allowed.",
    )
    alpha: float = Field(default=0.01, gt=0, le=0.2, description="False rollbacks accepted, per release.")
    alpha_advance: float = Field(
        default=0.05, gt=0, le=0.2, description="False advances accepted, per metric and step."
    )
    max_unkeyed: Share = Field(
        default=Share(20_000),
        description="Share of requests that may come without a key below 100 %; they all get stable.",
    )
    sample_ratio_alpha: float = Field(
        default=0.001,
        gt=0,
        le=0.1,
        description="False alarms accepted, per step, of the check that users get the share that the flag says.",
    )
    metrics: tuple[MetricId, ...] = Field(min_length=1, max_length=64)

    @model_validator(mode="after")
    def _shares_rise_to_the_whole(self) -> Plan:
        shares = [step.share for step in self.steps]
        if any(later <= earlier for earlier, later in pairwise(shares)):
            raise ValueError("steps must rise: each share larger than the one before")
        if shares[0] == Share.ZERO:
            raise ValueError("the first step must be above 0 %; a step without users is `shadow`")
        if shares[-1] != Share.FULL:
            raise ValueError("the last step must be 100 %, or the release would never end")
        return self

    @model_validator(mode="after")
    def _everybody_gets_only_what_is_proven(self) -> Plan:
        """At 100 % no control is left, so that the proof must come before it."""
        before = self.steps[-2] if len(self.steps) > 1 else self.shadow
        if before is None:
            raise ValueError("a plan of 100 % alone proves nothing: name a shadow, or a step before it")
        if before.requires is not Requirement.NON_INFERIOR:
            raise ValueError("what comes before 100 % must require `non_inferior`: there no control is left")
        return self

    def as_input(self) -> dict[str, object]:
        """Plain data for policy expressions: shares in percent, times in seconds."""
        return {
            "name": self.name,
            "shadow": self.shadow
            and {"seconds": self.shadow.duration.total_seconds(), "pairs": self.shadow.pairs},
            "steps": [
                {
                    "percent": step.share.fraction * 100,
                    "bake_seconds": step.bake.total_seconds(),
                    "min_samples": step.min_samples,
                }
                for step in self.steps
            ],
            "rollback_window_seconds": self.rollback_window.total_seconds(),
            "deadline_seconds": self.deadline.total_seconds(),
            "max_unkeyed_percent": self.max_unkeyed.fraction * 100,
            "sample_ratio_alpha": self.sample_ratio_alpha,
            "metrics": list(self.metrics),
        }
