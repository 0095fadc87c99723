"""Times in which nothing is released: holidays, closing of the books, an incident elsewhere."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field, model_validator

from rollout.core.manifest import Document, Name, Text

FREEZES_SCHEMA: Literal["adapter-rollout/freezes/v1"] = "adapter-rollout/freezes/v1"


class Freeze(Document):
    """One time, from `begins` up to but without `ends`. A rollback is never frozen."""

    name: Name
    begins: AwareDatetime
    ends: AwareDatetime
    environments: tuple[Name, ...] = Field(default=(), description="Where it holds; none means everywhere.")
    reason: Text

    @model_validator(mode="after")
    def _in_order(self) -> Freeze:
        if self.begins >= self.ends:
            raise ValueError("it ends before it begins")
        return self


class Freezes(Document):
    """All freezes (`policies/freezes.yaml`)."""

    schema_: Literal["adapter-rollout/freezes/v1"] = Field(alias="schema")
    freezes: tuple[Freeze, ...] = ()
