"""What an adapter is proven on: suites and their items.

A suite belongs to the policy, not to the adapter: its digest covers the suite's own bytes, the items' and the
response schema's, so that two reports compare only where it is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints, ValidationError, model_validator

from rollout.core.document import DocumentErrors, Place, Problem
from rollout.core.expectation import Assertion
from rollout.core.expectation import Expect as Expect
from rollout.core.gatefile import Gates
from rollout.core.manifest import Document, Line, Name, Sha256
from rollout.core.panel import Panel
from rollout.core.score import is_known
from rollout.errors import Unreadable

SUITE_SCHEMA: Literal["adapter-rollout/suite/v1"] = "adapter-rollout/suite/v1"

ItemId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$")]
FieldName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
# Below the suite's own folder: a policy commit pins the suite with all that it reads.
PathBelow = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$")
]
Prompt = Annotated[str, StringConstraints(min_length=1, max_length=200_000)]


class Turn(Document):
    """One turn of the prompt."""

    role: Literal["system", "user", "assistant"]
    content: Prompt


class Item(Document):
    """One line of a suite's JSONL: a prompt with what is expected. The id pairs the arms.

    The prompt is a conversation (`messages`), or a text to be continued as it is, without a chat template
    (`prompt`). `slice` and `tags` are the parts of the suite that it belongs to; items of one `cluster` (the same
    document, the same customer) are not independent of each other.
    """

    id: ItemId
    messages: tuple[Turn, ...] = Field(default=(), max_length=200)
    prompt: Prompt | None = None
    reference: str = Field(default="", max_length=200_000, description="The answer of a good adapter.")
    slice: Line
    tags: tuple[Line, ...] = Field(default=(), max_length=32)
    cluster: Line | None = None
    expect: Expect = Expect.TEXT
    assert_: tuple[Assertion, ...] = Field(default=(), alias="assert", max_length=64)
    response_schema: dict[str, JsonValue] | None = Field(default=None, alias="schema")

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What the model is asked: the conversation, or the prompt as a turn of the user."""
        return self.messages if self.prompt is None else (Turn(role="user", content=self.prompt),)

    @model_validator(mode="after")
    def _asks_something(self) -> Item:
        if (self.prompt is None) is (not self.messages):
            raise ValueError("an item has either messages or a prompt")
        if self.messages and self.messages[-1].role != "user":
            raise ValueError("the last message must be the user's")
        return self

    @model_validator(mode="after")
    def _can_be_scored(self) -> Item:
        if self.expect in (Expect.JSON, Expect.TEXT) and not self.reference.strip():
            raise ValueError(f"an item that expects {self.expect.value} needs a reference")
        if self.expect is Expect.ASSERT and not self.assert_:
            raise ValueError("an item that expects its assertions to hold needs some")
        return self


class Latency(Document):
    """How speed is measured: one request at a time, on so many items, after so many that do not count."""

    samples: int = Field(default=16, ge=4, le=2000)
    warmup: int = Field(default=3, ge=1, le=100)


class Sampling(Document):
    """How answers are drawn. Temperature 0 is greedy: the same answer each time."""

    temperature: float = Field(default=0, ge=0, le=2)
    seed: int = Field(default=0, ge=0, lt=2**31)


class Suite(Document):
    """A golden suite (`policies/suites/<name>.yaml`): what is asked. How it is judged stands in its gate file."""

    schema_: Literal["adapter-rollout/suite/v1"] = Field(alias="schema")
    name: Name
    description: Line | None = None
    items: PathBelow = Field(description="JSONL, relative to this file and below its folder.")
    items_sha256: Sha256 | None = None
    response_schema: PathBelow | None = Field(
        default=None, description="JSON Schema of the answers that are JSON."
    )
    fields: tuple[FieldName, ...] = Field(
        default=(), max_length=32, description="Compared exactly, one by one."
    )
    max_tokens: int = Field(ge=1, le=32_768)
    repeats: int = Field(default=1, ge=1, le=64, description="Answers to each item and from each side.")
    sampling: Sampling = Sampling()
    latency: Latency = Latency()
    refusals: tuple[Line, ...] = Field(
        default=(),
        max_length=200,
        description="How else a refusal begins: openings of a sentence, beside those that are known.",
    )
    panel: Panel = Panel()
    gates: Name = Field(description="Name of the gate file.")

    @model_validator(mode="after")
    def _repeats_measure_something(self) -> Suite:
        if self.repeats > 1 and self.sampling.temperature == 0:
            raise ValueError(
                "at temperature 0 every repeat is the same answer and would measure nothing: "
                "set sampling.temperature, or leave out repeats"
            )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """A suite with everything that it names, read and checked, and the digests of both policies."""

    suite: Suite
    items: tuple[Item, ...]
    response_schema: dict[str, JsonValue] | None
    gates: Gates
    suite_digest: str
    gates_digest: str


def read_items(content: bytes, source: str) -> tuple[Item, ...]:
    """The items of a JSONL file. Blank lines are skipped.

    Raises DocumentErrors with file and line of every bad line and of every id that was there before, Unreadable
    if there is no item at all.
    """
    found: dict[str, int] = {}
    items: list[Item] = []
    problems: list[Problem] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            item = Item.model_validate_json(line, strict=True)
        except ValidationError as error:
            problems += _problems(error, source, number)
            continue
        if (first := found.setdefault(item.id, number)) != number:
            problems.append(_problem(source, number, ("id",), f"{item.id!r} is also the id of line {first}"))
        items.append(item)
    if problems:
        raise DocumentErrors(tuple(problems))
    if not items:
        raise Unreadable(f"{source}: there is no item; an empty suite proves nothing")
    return tuple(items)


def check_fit(suite: Suite, items: Iterable[Item], gates: Gates, source: str) -> None:
    """Raise Unreadable where suite, items and gates do not belong together."""
    plain = [item.id for item in items if item.expect is Expect.JSON and item.response_schema is None]
    if plain and not (suite.fields or suite.response_schema):
        raise Unreadable(
            f"{source}: items expect JSON, but the suite names neither fields nor a response_schema: {plain[0]}"
        )
    if unknown := [name for name in gates.gates if not is_known(name, suite.fields)]:
        raise Unreadable(
            f"{source}: gate file {suite.gates!r} has gates on fields it does not compare: {unknown}"
        )


def digest_of(*parts: bytes) -> str:
    """sha256 over parts of any content; moving bytes from one part to the next changes it."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _problems(error: ValidationError, source: str, line: int) -> list[Problem]:
    return [
        _problem(source, line, tuple(each["loc"]), each["msg"]) for each in error.errors(include_input=False)
    ]


def _problem(source: str, line: int, pointer: tuple[str | int, ...], message: str) -> Problem:
    return Problem(source=source, place=Place(line, 1), pointer=pointer, message=message)
