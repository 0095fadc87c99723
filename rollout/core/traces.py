"""What an incident left behind outside of the ledger: commits, changes of the flag, and traffic by version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

_MERGED = re.compile(r"^Merge pull request #(\d{1,9})\b|\(#(\d{1,9})\)$")
_TAKES_BACK = re.compile(r"^Rollback-Of: \S", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit, as git has it: `at` is the committer's clock, in whole seconds. All words are those of others."""

    id: str
    author: str
    at: datetime
    message: str

    @property
    def subject(self) -> str:
        """The first line of its message."""
        return self.message.partition("\n")[0].strip()

    @property
    def pull(self) -> int | None:
        """The pull request that its first line names, in the words of GitHub's merges and squashes; None if none."""
        found = _MERGED.search(self.subject)
        return int(found[1] or found[2]) if found else None

    @property
    def takes_back(self) -> bool:
        """Whether it says itself that it is the revert of a rollback."""
        return _TAKES_BACK.search(self.message) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagChange:
    """One change of a flag. `version` is what it made of the flag, None where its store does not say."""

    at: datetime
    by: str
    said: str
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagAudit:
    """Changes of a flag in a time, oldest first. `gap` says what it does not tell; None if it tells all."""

    changes: tuple[FlagChange, ...] = ()
    gap: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What one served version answered users in a time: copies of a shadow and requests of testers are left out.

    `failed` are requests whose client stayed and got no good answer, `malformed` good ones of the wrong form, `rescued`
    those of the failed ones that stable answered instead. `users` are distinct keys, `unkeyed` requests without one.
    """

    requests: int
    users: int
    unkeyed: int
    failed: int
    malformed: int
    rescued: int
    first_bad: datetime | None = None
    last_routed: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What one served version answered in the `Traffic.width_s` seconds from `at`."""

    at: datetime
    served: str
    requests: int
    failed: int
    malformed: int

    @property
    def bad(self) -> int:
        """Failed, or of the wrong form."""
        return self.failed + self.malformed


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests of users around an incident, by served name. `whole` tells whether the log reaches back to its beginning."""

    since: datetime
    until: datetime
    width_s: int
    whole: bool
    answered: Mapping[str, Answered] = field(default_factory=lambda: MappingProxyType({}))
    buckets: tuple[Bucket, ...] = ()
