"""What every candidate is evaluated on, whatever its manifest picks (`policies/evaluation.yaml`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rollout.core.manifest import Document, Name

EVALUATION_SCHEMA: Literal["adapter-rollout/evaluation-policy/v1"] = "adapter-rollout/evaluation-policy/v1"


class EvaluationPolicy(Document):
    """The suites that are required of all adapters, beside the one that a manifest names."""

    schema_: Literal["adapter-rollout/evaluation-policy/v1"] = Field(alias="schema")
    required_suites: tuple[Name, ...] = Field(min_length=1, max_length=32)

    @model_validator(mode="after")
    def _names_each_once(self) -> EvaluationPolicy:
        if len(set(self.required_suites)) != len(self.required_suites):
            raise ValueError("a suite is required twice")
        return self
