"""Gate files: which limits a candidate keeps, and how much worse than the champion it may be.

The form that is common in the field (`gates: {metric: {min, max, description}}`) loads as it is; everything else
has a strict default.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from rollout.core.manifest import Document, Line, MetricId
from rollout.core.score import OF_TRAFFIC, is_known, metric

GATES_SCHEMA: Literal["adapter-rollout/gates/v1"] = "adapter-rollout/gates/v1"

_LARGEST_LOSS = 0.5
"""A larger one would let an adapter pass that answers half of everything worse."""
Confidence = Annotated[float, Field(ge=0.8, lt=1)]


class OnInconclusive(StrEnum):
    """What a comparison with the champion that is not settled means for the release. There is no `pass`."""

    BLOCK = "block"
    WARN = "warn"


class Margin(Document):
    """The largest loss that is accepted, in the metric's own unit (rates as fractions).

    `confidence` is one-sided: 0.95 shows two-sided intervals of 90 %. None takes that of the gate file.
    """

    max_loss: float = Field(gt=0)
    confidence: Confidence | None = None


class SliceLimits(Document):
    """What the metric must keep in every slice: absolute limits, and a proven loss beyond `max_loss` fails."""

    min: float | None = None
    max: float | None = None
    max_loss: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _limits_something(self) -> SliceLimits:
        if self.min is None and self.max is None and self.max_loss is None:
            raise ValueError("slices need min, max or max_loss: without any of them they would always pass")
        _check_order(self.min, self.max)
        return self


class Gate(Document):
    """What is asked of one metric of the candidate, in the metric's own unit.

    A gate that is not `required` is shown and blocks nothing.
    """

    min: float | None = None
    max: float | None = None
    vs_champion: Margin | None = Field(
        default=None, description="Against the base where there is no champion."
    )
    vs_base: Margin | None = None
    slices: SliceLimits | None = None
    required: bool = True
    description: Line | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> Gate:
        asked = (self.min, self.max, self.vs_champion, self.vs_base, self.slices)
        if all(each is None for each in asked):
            raise ValueError(
                "a gate needs min, max, vs_champion, vs_base or slices: else it would always pass"
            )
        _check_order(self.min, self.max)
        return self


class Gates(Document):
    """A gate file (`policies/gates/<name>.yaml`).

    Where no required gate names a margin against the champion, right answers may fall by 5 points at most. `agreement`
    says whether a serving engine must be shown to agree with a full-precision reference.
    """

    schema_: Literal["adapter-rollout/gates/v1"] = Field(default=GATES_SCHEMA, alias="schema")
    gates: dict[MetricId, Gate] = Field(min_length=1)
    confidence: Confidence = 0.95
    seed: int = Field(default=1, ge=0, lt=2**32)
    on_inconclusive: OnInconclusive = OnInconclusive.BLOCK
    agreement: Literal["required", "optional"] = "required"

    @model_validator(mode="after")
    def _gates_name_metrics(self) -> Gates:
        for name, gate in self.gates.items():
            if not is_known(name, None):
                raise ValueError(f"there is no metric {name!r}")
            if name in OF_TRAFFIC:
                raise ValueError(f"{name} is measured in shadow traffic only: an evaluation would never pass")
            paired = gate.vs_champion or gate.vs_base or gate.slices
            if paired is not None and metric(name).timed:
                raise ValueError(f"{name} is timed and not paired by item: it takes min or max, not a margin")
            lost = gate.slices is not None and gate.slices.max_loss is not None
            if metric(name).absolute and (gate.vs_champion or gate.vs_base or lost):
                raise ValueError(
                    f"{name} speaks of the candidate alone: it takes min or max, not a margin against another side"
                )
            if metric(name).is_bounded:
                _check_fractions(name, gate)
        return self


def _check_fractions(name: str, gate: Gate) -> None:
    """Limits that no value can break, or none can keep, gate nothing: 5 is meant as points, or not meant at all."""
    slices = gate.slices
    limits = [limit for each in (gate, slices) if each is not None for limit in (each.min, each.max)]
    losses = (gate.vs_champion, gate.vs_base, slices)
    for limit in limits:
        if limit is not None and not 0 <= limit <= 1:
            raise ValueError(
                f"{name} lies between 0 and 1, not at {limit:g}: limits are fractions, 0.05 are 5 points"
            )
    for each in losses:
        if each is not None and each.max_loss is not None and each.max_loss > _LARGEST_LOSS:
            raise ValueError(
                f"{name} may lose {each.max_loss:g}, {_LARGEST_LOSS:g} is the most: losses are fractions, 0.05 are 5 points"
            )


def _check_order(low: float | None, high: float | None) -> None:
    if low is not None and high is not None and low > high:
        raise ValueError(f"min {low:g} is above max {high:g}: nothing can pass")
