"""The forge: a revert's pull request, found or opened, merged when nothing is left to wait for, or closed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from rollout.core import approval
from rollout.core.environment import GitHubForge
from rollout.core.pullrequest import MergeState, PullRequest, PullState
from rollout.core.revertproposal import RevertProposal
from rollout.errors import ForgeUnavailable
from rollout.integrations.github.automerge import enable
from rollout.integrations.github.checks import checks_of
from rollout.integrations.github.client import Client
from rollout.integrations.github.pace import Pace
from rollout.integrations.github.pulls import Pulls
from rollout.integrations.github.reviews import Reviews
from rollout.integrations.github.tokens import Token

# A squash makes one commit with our message, a rebase keeps ours, a merge commit would only be one more.
_METHODS = ("squash", "rebase", "merge")
# What GitHub answers where there is nothing to wait for, so that it wants to be told to merge at once.
_MERGE_AT_ONCE = ("clean status", "unstable status", "has_hooks status", "rules not configured")
_OTHER_METHOD = ("merges are not allowed", "merging is not allowed", "method")


class GitHub:
    """Pull requests of one repository into `base`."""

    def __init__(self, where: GitHubForge, *, base: str, pace: Pace | None = None) -> None:
        self._repository = where.repository
        self._client = Client(where.api, Token(where.token_env), patience_s=where.patience_s, pace=pace)
        self._pulls = Pulls(self._client, where.repository, base)
        self._reviews = Reviews(self._client, where.repository, base)

    def __repr__(self) -> str:
        return f"GitHub({self._repository!r}, {self._client!r})"

    def find(self, branch: str) -> PullRequest | None:
        """The pull request of a branch of the repository itself: the open one, else the newest."""
        self._client.begin()
        return self._pulls.of_branch(branch)

    def open(self, proposal: RevertProposal) -> PullRequest:
        """Open one of the proposal's branch, or find the one that somebody else has opened meanwhile."""
        self._client.begin()
        return self._pulls.open(proposal.branch, title=proposal.title, body=proposal.body)

    def merge_when_ready(self, pull: PullRequest, proposal: RevertProposal) -> PullRequest:
        """Have `pull.head` merged: now if nothing is left to wait for, else as soon as that is so."""
        self._client.begin()
        now = self._pulls.look(pull.number)
        if now.state is not PullState.OPEN:
            return now
        if now.head != pull.head:
            raise ForgeUnavailable(
                f"{pull} is at {now.head[:12]} and not at {pull.head[:12]} yet",
                advice="Run the command again: GitHub may need a moment to see what was pushed.",
            )
        if now.merge_state.mergeable_now:
            merged, _ = self._merge(now, proposal)
            if merged:
                return replace(now, state=PullState.MERGED)
        if not now.auto_merge and now.merge_state not in (MergeState.DIRTY, MergeState.DRAFT):
            now = self._enable(now, proposal)
        if now.state is not PullState.OPEN:
            return now
        return replace(now, checks=checks_of(self._client, self._repository, now.head))

    def close(self, pull: PullRequest) -> None:
        """Close an open one without merging it."""
        self._client.begin()
        self._pulls.close(pull.number)

    def comment(self, pull: PullRequest, text: str, *, key: str) -> None:
        """Say something once for each key."""
        self._client.begin()
        self._pulls.comment(pull.number, text, key=key)

    def reviewed(self, commit: str, *, team: str) -> approval.PullRequest | None:
        """Who made and who approved what a commit brought to the branch."""
        self._client.begin()
        return self._reviews.of(commit, team=team)

    def _enable(self, pull: PullRequest, proposal: RevertProposal) -> PullRequest:
        refused: str | None = None
        for method in self._methods():
            words = _words(method, pull, proposal)
            refused = enable(
                self._client,
                {
                    "pullRequestId": pull.key,
                    "expectedHeadOid": pull.head,
                    "mergeMethod": method.upper(),
                    **{f"commit{part}": text for part, text in words.items()},
                },
            )
            if refused is None:
                return replace(pull, auto_merge=True)
            if any(sign in refused for sign in _MERGE_AT_ONCE):
                merged, refused = self._merge(pull, proposal)
                if merged:
                    return replace(pull, state=PullState.MERGED)
                break
            if not _is_about_the_method(refused):
                break
        return replace(pull, auto_merge_refused=refused)

    def _merge(self, pull: PullRequest, proposal: RevertProposal) -> tuple[bool, str]:
        told = "no way of merging is allowed"
        for method in self._methods():
            words = _words(method, pull, proposal)
            how = {"sha": pull.head, "merge_method": method}
            if words:
                how |= {"commit_title": words["Headline"], "commit_message": words["Body"]}
            merged, told = self._pulls.merge(pull.number, how)
            if merged or not _is_about_the_method(told):
                return merged, told
        return False, told

    def _methods(self) -> Iterator[str]:
        """The ways of merging that the repository allows, as far as it says so."""
        answer = self._client.ask("GET", f"/repos/{self._repository}")
        if not answer.ok:
            raise self._client.unexpected(f"the repository {self._repository}", answer)
        told: dict[str, Any] = answer.body if isinstance(answer.body, dict) else {}
        keys = {"squash": "allow_squash_merge", "rebase": "allow_rebase_merge", "merge": "allow_merge_commit"}
        yield from (method for method in _METHODS if told.get(keys[method]) is not False)


def _words(method: str, pull: PullRequest, proposal: RevertProposal) -> dict[str, str]:
    """The message of a squash; the other ways keep that of our commit."""
    if method != "squash":
        return {}
    return {"Headline": f"{proposal.title} (#{pull.number})", "Body": proposal.text}


def _is_about_the_method(told: str) -> bool:
    return any(sign in told for sign in _OTHER_METHOD)
