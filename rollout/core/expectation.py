"""What a suite's item asks of an answer: its kind, and assertions on its text."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, JsonValue, StringConstraints, model_validator

from rollout.core.automaton import Automaton
from rollout.core.manifest import Document


class Expect(StrEnum):
    """What a right answer is: JSON or a text like the reference, a refusal, or one that its assertions hold of."""

    JSON = "json"
    REFUSAL = "refusal"
    TEXT = "text"
    ASSERT = "assert"


class Check(StrEnum):
    """What can be asserted of a text. `i` ignores case; the names are those of promptfoo."""

    EQUALS = "equals"
    CONTAINS = "contains"
    ICONTAINS = "icontains"
    CONTAINS_ANY = "contains-any"
    ICONTAINS_ANY = "icontains-any"
    CONTAINS_ALL = "contains-all"
    ICONTAINS_ALL = "icontains-all"
    STARTS_WITH = "starts-with"
    REGEX = "regex"
    IS_JSON = "is-json"
    CONTAINS_JSON = "contains-json"
    IS_REFUSAL = "is-refusal"
    ROUGE_L = "rouge-l"


Value = (
    Annotated[str, StringConstraints(max_length=100_000)]
    | Annotated[tuple[str, ...], Field(max_length=1000)]
    | dict[str, JsonValue]
)

_TEXT = {Check.EQUALS, Check.CONTAINS, Check.ICONTAINS, Check.STARTS_WITH, Check.REGEX, Check.ROUGE_L}
_LIST = {Check.CONTAINS_ANY, Check.ICONTAINS_ANY, Check.CONTAINS_ALL, Check.ICONTAINS_ALL}
_JSON = {Check.IS_JSON, Check.CONTAINS_JSON}


class Assertion(Document):
    """One thing that must hold of the answer; `not-` before the type turns it round.

    `value` is a text, a list of texts or a JSON Schema, as the type needs it; `threshold` belongs to rouge-l.
    """

    type: Annotated[str, StringConstraints(pattern=rf"^(not-)?({'|'.join(Check)})$")]
    value: Value | None = None
    threshold: float | None = Field(default=None, gt=0, le=1)

    @property
    def check(self) -> Check:
        """The type without its `not-`."""
        return Check(self.type.removeprefix("not-"))

    @property
    def negated(self) -> bool:
        """Whether it must not hold."""
        return self.type.startswith("not-")

    @model_validator(mode="after")
    def _has_its_value(self) -> Assertion:
        if self.check in _TEXT and not (isinstance(self.value, str) and self.value):
            raise ValueError(f"{self.type} needs a text as its value")
        if self.check in _LIST and not (isinstance(self.value, tuple) and self.value and all(self.value)):
            raise ValueError(f"{self.type} needs a list of texts as its value, none of them empty")
        if self.check in _JSON and not (self.value is None or isinstance(self.value, dict)):
            raise ValueError(f"{self.type} takes a JSON Schema as its value, or none")
        if self.check is Check.IS_REFUSAL and self.value is not None:
            raise ValueError(f"{self.type} takes no value")
        if self.threshold is not None and self.check is not Check.ROUGE_L:
            raise ValueError(f"{self.type} takes no threshold")
        if self.check is Check.REGEX and isinstance(self.value, str):
            Automaton(self.value)
        return self
