"""Who made a change and who reviewed it, as GitHub vouches for it: by the pull request that brought a commit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from pydantic import ValidationError

from rollout.core.approval import PULL_REQUEST_SCHEMA, PullRequest, Review
from rollout.errors import ForgeDenied
from rollout.integrations.github.client import Client

_MAY_APPROVE: Final = frozenset({"admin", "maintain", "write"})
"""Whose review counts at GitHub itself; anybody else may write one where a repository is public."""
_DECIDES: Final = frozenset({"APPROVED", "CHANGES_REQUESTED", "DISMISSED"})


class Reviews:
    """The reviews in one repository of what was merged into one branch."""

    def __init__(self, client: Client, repository: str, base: str) -> None:
        self._client = client
        self._repository = repository
        self._base = base
        self._path = f"/repos/{repository}"

    def of(self, commit: str, *, team: str) -> PullRequest | None:
        """What is known of the pull request that brought a commit to the branch; None where it is not clear which did.

        `team` is the one of whose members the author may be; where GitHub does not tell, the author is in none.
        """
        found = self._merged(commit)
        if found is None:
            return None
        author = _login(found.get("user"))
        head = found.get("head")
        told = {
            "schema": PULL_REQUEST_SCHEMA,
            "number": found.get("number"),
            "author": author,
            "head": head.get("sha") if isinstance(head, dict) else None,
            "teams": (team,) if author is not None and self._is_in(team, author) else (),
            "labels": tuple(_labels(found.get("labels"))),
            "approvals": tuple(self._approvals(found.get("number"))),
        }
        try:
            return PullRequest.model_validate(told, strict=True)
        except ValidationError:
            raise ForgeDenied(
                f"GitHub's answer about the pull request of {commit[:12]} says not who made it, or of which commit",
                advice="Pass what is known of it with --pull-request, or see whether `forge.api` is GitHub's.",
            ) from None

    def _merged(self, commit: str) -> dict[str, Any] | None:
        """The one that this commit merged; of a rebase, whose commits are many, the only one that it came with."""
        merged = [
            item
            for item in self._client.pages(f"{self._path}/commits/{commit}/pulls", {})
            if item.get("merged_at") and isinstance(item.get("base"), dict) and self._is_here(item["base"])
        ]
        exact = [item for item in merged if item.get("merge_commit_sha") == commit]
        candidates = exact or merged
        return candidates[0] if len(candidates) == 1 else None

    def _is_here(self, base: dict[str, Any]) -> bool:
        repository = base.get("repo")
        name = repository.get("full_name") if isinstance(repository, dict) else None
        return (
            isinstance(name, str)
            and name.lower() == self._repository.lower()
            and base.get("ref") == self._base
        )

    def _approvals(self, number: object) -> Iterator[Review]:
        """Each person's last word, where it is an approval by somebody who may approve."""
        last: dict[str, dict[str, Any]] = {}
        for item in self._client.pages(f"{self._path}/pulls/{number}/reviews", {}):
            login = _login(item.get("user"))
            if login is not None and item.get("state") in _DECIDES:
                last[login] = item
        for login, item in last.items():
            commit = item.get("commit_id")
            if item["state"] == "APPROVED" and isinstance(commit, str) and self._may_approve(login):
                yield Review(by=login, commit=commit)

    def _may_approve(self, login: str) -> bool:
        answer = self._client.ask("GET", f"{self._path}/collaborators/{quote(login, safe='')}/permission")
        # `permission` is one of the classic four, `role_name` may be a role of one's own.
        return answer.ok and isinstance(answer.body, dict) and answer.body.get("permission") in _MAY_APPROVE

    def _is_in(self, team: str, login: str) -> bool:
        owner = self._repository.split("/")[0]
        try:
            answer = self._client.ask(
                "GET", f"/orgs/{owner}/teams/{quote(team, safe='')}/memberships/{quote(login, safe='')}"
            )
        except ForgeDenied:  # The token of a workflow may not ask about people.
            return False
        return answer.ok and isinstance(answer.body, dict) and answer.body.get("state") == "active"


def _login(user: object) -> str | None:
    login = user.get("login") if isinstance(user, dict) else None
    return login if isinstance(login, str) and login else None


def _labels(labels: object) -> Iterator[str]:
    for each in labels if isinstance(labels, list) else []:
        name = each.get("name") if isinstance(each, dict) else None
        if isinstance(name, str) and name:
            yield name
