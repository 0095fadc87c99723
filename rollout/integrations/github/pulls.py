"""Pull requests over REST: what GitHub says of one, as ours."""

from __future__ import annotations

from typing import Any

from rollout.core.pullrequest import MergeState, PullRequest, PullState
from rollout.errors import ForgeUnavailable
from rollout.integrations.github.client import Client

_UNKNOWN_TRIES = 3
"""How often a pull request is looked at whose merge state GitHub is still working out."""


class Pulls:
    """The pull requests of one repository into one branch."""

    def __init__(self, client: Client, repository: str, base: str) -> None:
        self._client = client
        self._repository = repository
        self._base = base
        self._path = f"/repos/{repository}/pulls"

    def of_branch(self, branch: str) -> PullRequest | None:
        """The open one, else the newest, of a branch of this very repository: a fork may have one of the same name."""
        owner = self._repository.split("/")[0]
        query = {
            "head": f"{owner}:{branch}",
            "base": self._base,
            "state": "all",
            "sort": "created",
            "direction": "desc",
        }
        newest = None
        for item in self._client.pages(self._path, query):
            if self._is_of(item, branch):
                pull = pull_of(item)
                if pull.state is PullState.OPEN:
                    return pull
                newest = newest or pull
        return newest

    def _is_of(self, item: dict[str, Any], branch: str) -> bool:
        head, base = item.get("head"), item.get("base")
        if not isinstance(head, dict) or not isinstance(base, dict):
            return False
        repository = head.get("repo")
        name = repository.get("full_name") if isinstance(repository, dict) else None
        ours = isinstance(name, str) and name.lower() == self._repository.lower()
        return ours and head.get("ref") == branch and base.get("ref") == self._base

    def open(self, branch: str, *, title: str, body: str) -> PullRequest:
        """Open one; or find the one that somebody else has opened meanwhile.

        GitHub may need a moment to know of a branch that was just pushed.
        """
        wanted = {"title": title, "head": branch, "base": self._base, "body": body}
        for attempt in range(_UNKNOWN_TRIES):
            answer = self._client.ask("POST", self._path, wanted)
            if answer.ok:
                return pull_of(answer.body)
            if answer.status != 422:
                break
            found = self.of_branch(branch)
            if found is not None and found.state is PullState.OPEN:
                return found
            if attempt + 1 < _UNKNOWN_TRIES:
                self._client.pause(attempt, f"it answered 422: {answer.message}")
        raise self._client.unexpected("a new pull request", answer)

    def look(self, number: int) -> PullRequest:
        """One by its number, with its merge state as soon as GitHub has worked it out; UNKNOWN if that takes long."""
        for attempt in range(_UNKNOWN_TRIES):
            answer = self._client.ask("GET", f"{self._path}/{number}")
            if not answer.ok:
                raise self._client.unexpected(f"pull request #{number}", answer)
            pull = pull_of(answer.body)
            if pull.merge_state is not MergeState.UNKNOWN or pull.state is not PullState.OPEN:
                break
            if attempt + 1 < _UNKNOWN_TRIES:
                self._client.pause(attempt, f"the merge state of pull request #{number} is not known yet")
        return pull

    def merge(self, number: int, how: dict[str, str]) -> tuple[bool, str]:
        """Merge it now, if that is allowed; otherwise what GitHub says against it."""
        answer = self._client.ask("PUT", f"{self._path}/{number}/merge", how)
        if answer.ok:
            return True, ""
        if answer.status in (405, 409, 422):
            return False, answer.message
        raise self._client.unexpected(f"merging pull request #{number}", answer)

    def close(self, number: int) -> None:
        """Close it without merging it."""
        answer = self._client.ask("PATCH", f"{self._path}/{number}", {"state": "closed"})
        if not answer.ok:
            raise self._client.unexpected(f"closing pull request #{number}", answer)

    def comment(self, number: int, text: str, *, key: str) -> None:
        """Say something once: a mark that is not shown tells that it was said."""
        path, mark = f"/repos/{self._repository}/issues/{number}/comments", f"<!-- rollout:{key} -->"
        for said in self._client.pages(path, {}):
            if mark in str(said.get("body")):
                return
        answer = self._client.ask("POST", path, {"body": f"{mark}\n{text}"}, again=False)
        if not answer.ok:
            raise self._client.unexpected(f"a comment on pull request #{number}", answer)


def pull_of(body: Any) -> PullRequest:
    """What GitHub says of one. Raises ForgeUnavailable if it is not what its API promises."""
    try:
        merged = body["merged_at"] is not None
        state = PullState.MERGED if merged else PullState(body["state"])
        merge_state = body.get("mergeable_state")
        known = merge_state in set(MergeState)
        return PullRequest(
            number=int(body["number"]),
            key=str(body["node_id"]),
            url=str(body["html_url"]),
            head=str(body["head"]["sha"]),
            state=state,
            merge_state=MergeState.DRAFT
            if body.get("draft")
            else MergeState(merge_state)
            if known
            else MergeState.UNKNOWN,
            auto_merge=body.get("auto_merge") is not None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ForgeUnavailable(
            f"GitHub's answer is no pull request ({type(error).__name__})",
            advice="Does `forge.api` lead to GitHub?",
        ) from None
