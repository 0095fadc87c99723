"""How fast, and on what evidence: the plan of a release."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Literal

from pydantic import Field, model_validator

from rollout.core.duration import Duration
from rollout.core.manifest import Document, Line, MetricId, Name
from rollout.core.metric import Requirement
from rollout.core.ring import LARGEST_RING, NOBODY, Reach, RingKey, marks
from rollout.core.share import WHOLE as WHOLE
from rollout.core.share import Share as Share
from rollout.core.window import Window

PLAN_SCHEMA: Literal["adapter-rollout/plan/v1"] = "adapter-rollout/plan/v1"


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

    The first step may be a `ring` instead: named users, by the environment's context key, and nobody else. They stay
    on the candidate through all later steps. `pause` names the person, or the role, who must let the release go on
    from here with `rollout resume`.
    """

    share: Share = Field(
        default=Share.ZERO, description="Share of users; of the first step, unless it is a ring."
    )
    ring: tuple[RingKey, ...] = Field(
        default=(),
        max_length=LARGEST_RING,
        description="Keys of users or tenants who get the candidate before anybody else. Readable in git and in the flag.",
    )
    bake: Duration
    min_samples: int = Field(ge=1)
    requires: Requirement = Requirement.NON_INFERIOR
    deadline: Duration | None = Field(default=None, description="Instead of the plan's.")
    pause: Line | None = Field(default=None, description="Who must let the release go on from here.")

    @model_validator(mode="after")
    def _a_ring_is_not_drawn(self) -> Step:
        if not self.ring:
            return self
        twice = sorted({key for key in self.ring if self.ring.count(key) > 1})
        if twice:
            raise ValueError(f"the ring names somebody twice: {', '.join(twice[:3])}")
        if self.share != Share.ZERO:
            raise ValueError("a ring is a step of its own: give the share to the step behind it")
        if self.requires is not Requirement.NO_HARM:
            raise ValueError(
                "a ring is chosen and not drawn by chance, so that it proves nothing: it must require `no_harm`"
            )
        return self

    @property
    def place(self) -> str:
        """Who is on the candidate from here on, in words: `5%`, `a ring of 3`."""
        return f"a ring of {len(self.ring)}" if self.ring else str(self.share)


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
    cool_down: Duration = Field(
        default=timedelta(hours=1),
        description="How long nothing new begins after a rollback, unless a person runs `rollout promote`.",
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
        if any(step.ring for step in self.steps[1:]):
            raise ValueError("only the first step can be a ring: it comes before anybody is drawn")
        if shares[0] == Share.ZERO and not self.ring:
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

    @property
    def ring(self) -> tuple[str, ...]:
        """Keys of those who come first; nobody in a plan without a ring."""
        return self.steps[0].ring

    def ring_at(self, step: int) -> frozenset[str]:
        """Whom the flag names at a step: the ring below 100 %, where everybody gets it."""
        return frozenset(self.ring) if 0 <= step < len(self.steps) - 1 else NOBODY

    def without_ring(self) -> Plan:
        """The same plan for those who are drawn by chance."""
        return self.model_copy(update={"steps": self.steps[1:]}) if self.ring else self

    def reach_at(self, step: int) -> Reach:
        """Who gets the candidate at a step."""
        return Reach(share=self.steps[step].share, ring=marks(self.ring_at(step)))

    def as_input(self) -> dict[str, object]:
        """Plain data for policy expressions: shares in percent, times in seconds.

        A ring is apart, as the shadow is: what a rule asks of steps it asks of those in which users are drawn.
        """
        first = self.steps[0] if self.ring else None
        return {
            "name": self.name,
            "shadow": self.shadow
            and {"seconds": self.shadow.duration.total_seconds(), "pairs": self.shadow.pairs},
            "ring": first
            and {
                "users": len(first.ring),
                "bake_seconds": first.bake.total_seconds(),
                "min_samples": first.min_samples,
            },
            "steps": [
                {
                    "percent": step.share.fraction * 100,
                    "bake_seconds": step.bake.total_seconds(),
                    "min_samples": step.min_samples,
                }
                for step in self.steps
                if not step.ring
            ],
            "rollback_window_seconds": self.rollback_window.total_seconds(),
            "deadline_seconds": self.deadline.total_seconds(),
            "max_unkeyed_percent": self.max_unkeyed.fraction * 100,
            "sample_ratio_alpha": self.sample_ratio_alpha,
            "metrics": list(self.metrics),
        }
