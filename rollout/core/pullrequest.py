"""A pull request as a forge tells of it: where it stands, and what it waits for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_FEW = 3


class PullState(StrEnum):
    """Whether it is decided."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


class MergeState(StrEnum):
    """Whether an open pull request can be merged now, in GitHub's words."""

    CLEAN = "clean"
    UNSTABLE = "unstable"
    HAS_HOOKS = "has_hooks"
    BLOCKED = "blocked"
    BEHIND = "behind"
    DIRTY = "dirty"
    DRAFT = "draft"
    UNKNOWN = "unknown"

    @property
    def mergeable_now(self) -> bool:
        """Whether nothing that is required is left to wait for."""
        return self in (MergeState.CLEAN, MergeState.UNSTABLE, MergeState.HAS_HOOKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What ran on the head of a pull request: how many passed and are under way, and the names of those that failed."""

    passed: int = 0
    pending: int = 0
    failed: tuple[str, ...] = ()

    @property
    def begun(self) -> bool:
        """Whether there is any."""
        return bool(self.passed or self.pending or self.failed)

    def __str__(self) -> str:
        if not self.begun:
            return "no check has begun"
        parts = [f"{self.passed} passed"] if self.passed else []
        parts += [f"{self.pending} pending"] if self.pending else []
        if self.failed:
            few = ", ".join(self.failed[:_FEW])
            more = f" and {len(self.failed) - _FEW} more" if len(self.failed) > _FEW else ""
            parts.append(f"{len(self.failed)} failed ({few}{more})")
        return f"checks: {', '.join(parts)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """One pull request. `key` is how the forge's other API names it, `head` the commit that it would merge.

    `checks` is None where they could not be read. `auto_merge_refused` is the forge's word for why it does not merge
    it by itself.
    """

    number: int
    key: str
    url: str
    head: str
    state: PullState
    merge_state: MergeState = MergeState.UNKNOWN
    auto_merge: bool = False
    auto_merge_refused: str | None = None
    checks: Checks | None = None

    def __str__(self) -> str:
        return f"pull request #{self.number} ({self.url})"

    @property
    def waits_for(self) -> str:
        """What has to happen before it is merged, in words for whoever reads a rollback's report."""
        match self.state, self.merge_state:
            case PullState.MERGED, _:
                return "nothing: it is merged"
            case PullState.CLOSED, _:
                return "somebody who opens it again: it was closed without being merged"
            case _, MergeState.DIRTY:
                wanted = "a newer revert: it conflicts with its branch"
            case _, MergeState.DRAFT:
                wanted = "somebody who marks it as ready: it is a draft"
            case _, MergeState.BEHIND:
                wanted = "its branch to be brought up to date"
            case _, MergeState.BLOCKED if self.checks is not None and self.checks.failed:
                wanted = "checks that failed"
            case _, MergeState.BLOCKED if self.checks is not None and self.checks.pending:
                wanted = "its checks"
            case _, MergeState.BLOCKED:
                wanted = "a review, or required checks"
            case _:
                wanted = "the forge"
        parts = [wanted, str(self.checks)] if self.checks is not None else [wanted]
        if self.auto_merge:
            parts.append("then it merges by itself")
        elif self.auto_merge_refused:
            parts.append(f"then somebody has to merge it: {self.auto_merge_refused}")
        return "; ".join(parts)
