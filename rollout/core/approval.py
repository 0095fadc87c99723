"""Who said yes to a change, apart from those who made it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import Field

from rollout.core.manifest import Change, Document, GitSha, Line

PULL_REQUEST_SCHEMA: Literal["adapter-rollout/pull-request/v1"] = "adapter-rollout/pull-request/v1"


class Review(Document):
    """One approving review, of one commit."""

    by: Line
    commit: GitSha


class PullRequest(Document):
    """What the forge knows of a pull request; a workflow writes it, never the author of the change."""

    schema_: Literal["adapter-rollout/pull-request/v1"] = Field(alias="schema")
    number: int = Field(ge=1)
    author: Line
    head: GitSha
    teams: tuple[Line, ...] = Field(default=(), max_length=256, description="Teams that the author is in.")
    labels: tuple[Line, ...] = Field(default=(), max_length=256)
    approvals: tuple[Review, ...] = Field(default=(), max_length=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Names as rules see them: everybody who approved, those of them who did not make the change, and roles."""

    by: tuple[str, ...]
    others: tuple[str, ...]
    roles: tuple[str, ...]

    def as_input(self) -> Mapping[str, object]:
        """Plain data for policy expressions."""
        return {name: list(values) for name, values in asdict(self).items()}


def approval_of(change: Change, pull_request: PullRequest | None, authors: Iterable[str]) -> Approval:
    """Who approved a change, each under the one name that `person` gives.

    Where the forge was asked, only its reviews of the very head count, since anybody can write a name into a
    manifest; an approval in the manifest then needs such a review to count. `authors` are all names of those who
    made the change.
    """
    declared = {person(approval.by): approval.role for approval in change.approvals}
    made = {person(author) for author in authors}
    if pull_request is None:
        by = set(declared)
    else:
        made.add(person(pull_request.author))
        by = {person(review.by) for review in pull_request.approvals if review.commit == pull_request.head}
    by.discard("")
    return Approval(
        by=tuple(sorted(by)),
        others=tuple(sorted(by - made)),
        roles=tuple(sorted({role for name, role in declared.items() if name in by - made})),
    )


def person(text: str) -> str:
    """One name for whoever is written so: without @, case, width, odd blanks or what cannot be seen.

    Empty for what names nobody.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    seen = "".join(character for character in folded if unicodedata.category(character) != "Cf")
    return " ".join(seen.split()).lstrip("@ ")


def are_two(one: str, other: str) -> bool:
    """Whether two names are of two people: however they are written, with what blanks, and neither names nobody."""
    first, second = (person(each).replace(" ", "") for each in (one, other))
    return bool(first and second) and first != second


def is_somebody(text: str) -> bool:
    """Whether a name may be a person's: not nobody's, and not of an app, as forges write those."""
    return person(text) not in ("", "unknown") and not person(text).endswith("[bot]")
