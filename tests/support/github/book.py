"""What a GitHub knows of one repository: its settings, pull requests, comments and checks. Branches are those of git."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.github.remote import Remote

NAME = "acme/adapters"


@dataclass
class Comment:
    """One comment, by a user or a bot."""

    number: int
    body: str
    login: str
    bot: bool = False


@dataclass
class Pull:
    """One pull request."""

    number: int
    title: str
    body: str
    branch: str
    base: str
    head: str
    state: str = "open"
    merged_by_commit: str | None = None
    auto_merge: dict[str, str] | None = None
    draft: bool = False
    said: list[Comment] = field(default_factory=list)
    locked: bool = False
    author: str = "ann"
    labels: list[str] = field(default_factory=list)
    reviews: list[tuple[str, str, str]] = field(default_factory=list)
    """Who, what (`APPROVED`, ...), of which commit; the oldest first."""

    @property
    def comments(self) -> list[str]:
        """What was said, without by whom."""
        return [each.body for each in self.said]


class Book:
    """The repository's side of the forge. Whatever happens to a branch or a check is seen at the next request."""

    def __init__(self, origin: Path) -> None:
        self.remote = Remote(origin)
        self.pulls: list[Pull] = []
        self.required: set[str] = set()
        self.reviews_missing = False
        self.allow_auto_merge = True
        self.methods = {"squash", "merge", "rebase"}
        self.checks: dict[str, dict[str, str | None]] = {}
        self.statuses: dict[str, dict[str, str]] = {}
        self.runs: list[dict[str, Any]] = []
        """Check runs that were made over the API, beside those of `checks`."""
        self.deployments: list[dict[str, Any]] = []
        self.deployed: dict[int, list[dict[str, Any]]] = {}
        """The statuses of each deployment, the oldest first."""
        self.permissions: dict[str, str] = {}
        """What people may do here: `admin`, `write`, `read` or `none`."""
        self.brought: dict[int, set[str]] = {}
        """Commits of the branch that a pull request brought, where it was merged by a rebase."""
        self.teams: dict[str, set[str]] = {}
        self.sarifs: list[dict[str, Any]] = []
        """Findings that were handed in for code scanning, the oldest first."""
        self.approvals: list[tuple[int, str, str, tuple[str, ...]]] = []
        """Of which run, who, `approved` or `rejected`, into which environments; the oldest first."""
        self.login = "ann"
        """Whose the token is; one that ends in [bot] may not ask who it is."""
        self.spoken = 0
        self.undecided = 0
        """How often a merge state is still being worked out."""

    def open(self, title: str, body: str, branch: str, base: str, *, draft: bool = False) -> Pull | str:
        """A new one, or what is wrong with it."""
        head, tip = self.remote.tip(branch), self.remote.tip(base)
        if head is None or tip is None:
            return "head invalid"
        if any(pull.state == "open" and (pull.branch, pull.base) == (branch, base) for pull in self.pulls):
            return f"A pull request already exists for {NAME.split('/')[0]}:{branch}."
        if self.remote.is_merged(base, head):
            return f"No commits between {base} and {branch}"
        pull = Pull(len(self.pulls) + 1, title, body, branch, base, head, draft=draft)
        self.pulls.append(pull)
        return pull

    def say(self, pull: Pull, body: str, login: str | None = None) -> Comment:
        """A new comment, of the token's owner or of somebody else."""
        self.spoken += 1
        by = login or self.login
        made = Comment(self.spoken, body, by, bot=by.endswith("[bot]"))
        pull.said.append(made)
        return made

    def comment(self, number: int) -> tuple[Pull, Comment] | None:
        """One by its number, with where it was said."""
        return next(
            ((pull, said) for pull in self.pulls for said in pull.said if said.number == number), None
        )

    def refresh(self) -> None:
        """What GitHub does by itself: follow the branches, and merge what waited for nothing else."""
        for pull in self.pulls:
            if pull.state != "open":
                continue
            head = self.remote.tip(pull.branch)
            if head is None:
                pull.state = "closed"
                continue
            pull.head = head
            if pull.auto_merge is not None and self.merge_state(pull, worked_out=True) in (
                "clean",
                "unstable",
            ):
                self.merge(pull, pull.auto_merge["title"], pull.auto_merge["message"])

    def merge_state(self, pull: Pull, *, worked_out: bool = False) -> str:
        """As `mergeable_state` says it."""
        if pull.state != "open":
            return "unknown"
        if self.undecided > 0 and not worked_out:
            self.undecided -= 1
            return "unknown"
        if self.remote.conflicts(pull.base, pull.head):
            return "dirty"
        if pull.draft:
            return "draft"
        runs = self.checks.get(pull.head, {})
        if self.reviews_missing or any(runs.get(name) != "success" for name in self.required):
            return "blocked"
        return "clean" if all(ended == "success" for ended in runs.values()) else "unstable"

    def merge(self, pull: Pull, title: str | None, message: str | None) -> str:
        """Merge it as one commit."""
        told = f"{title or pull.title}\n\n{message if message is not None else pull.body}"
        pull.merged_by_commit = self.remote.squash(pull.base, pull.head, told)
        pull.state = "closed"
        return pull.merged_by_commit
