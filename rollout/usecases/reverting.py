"""Git says again what serves: the manifest's revert on the branch, or in a pull request where that is protected.

Whoever runs this again goes on where it stopped, and two at once make one revert: the branch of a pull request is
named after the bytes that were taken back, and each step looks first whether it was taken already.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from rollout.core.environment import Merging
from rollout.core.lifecycle import RolledBack, Version
from rollout.core.manifest import AdapterManifest
from rollout.core.pullrequest import PullRequest, PullState
from rollout.core.revertproposal import RevertProposal
from rollout.errors import ForgeDenied, ForgeUnavailable, PushRefused, RolloutError, WorldChanged
from rollout.ports import Forge, Revert, World
from rollout.usecases.release import find_desire


@dataclass(frozen=True, slots=True, kw_only=True)
class Reversal:
    """What became of it. `commit` is what made the branch so, None as long as `pull` waits to be merged.

    `newer` tells that it is no revert: the branch asks for something else meanwhile.
    """

    commit: str | None
    branch: str
    said: str
    pull: PullRequest | None = None
    newer: bool = False


def revert(world: World, event: RolledBack, bad: Version, stable: Version | None) -> Reversal:
    """Bring the manifest of `bad` back to that of `stable`, or remove it where the base model serves.

    Raises WorldChanged where a newer manifest still asks for the bad bytes, PushRefused where the branch takes no push
    and there is no forge to propose it to, and what git and the forge raise.
    """
    return _Reverting(world, RevertProposal(event=event, bad=bad, stable=stable)).run()


class _Reverting:
    def __init__(self, world: World, proposal: RevertProposal) -> None:
        self._world = world
        self._proposal = proposal
        self._path = PurePosixPath(proposal.bad.path)
        self._branch = world.environment.branch

    def run(self) -> Reversal:
        bad, stable = self._proposal.bad, self._proposal.stable
        if stable is not None and stable.path != bad.path:
            # A manifest that was moved is not moved back by us; once git asks for other bytes, all is said.
            return self._leave_what_is_newer()
        try:
            return self._bring_back()
        except WorldChanged:
            return self._leave_what_is_newer()

    def _bring_back(self) -> Reversal:
        settings, forge = self._world.environment.forge, self._world.forge
        if settings is None or forge is None or settings.merge is Merging.PUSH:
            return self._is_back(self._restore())
        if settings.merge is Merging.AUTO:
            with suppress(PushRefused):
                return self._is_back(self._restore())
        return self._by_pull_request(forge)

    def _restore(self) -> Revert:
        return self._world.manifests.restore(
            self._path, content=self._content, bad=self._as_steered(), message=self._proposal.message
        )

    def _is_back(self, revert: Revert) -> Reversal:
        """The branch says it: that commit is the one to remember, whoever made it."""
        self._withdraw(f"{self._branch} says it already, so that there is nothing left to merge.")
        commit = revert.commit or self._last_change()
        if revert.commit is None:
            said = f"{revert.branch} says so already, by {commit[:12]}"
        else:
            said = f"{commit[:12]} on {revert.branch}" + (", pushed" if revert.pushed else "")
        return Reversal(commit=commit, branch=self._branch, said=said)

    def _by_pull_request(self, forge: Forge) -> Reversal:
        proposal = self._proposal
        proposed = self._world.manifests.propose(
            self._path,
            content=self._content,
            bad=self._as_steered(),
            message=proposal.message,
            branch=proposal.branch,
        )
        if proposed.commit is None:
            return self._is_back(proposed)
        try:
            pull = self._pull_request(forge, proposed.commit)
        except (ForgeUnavailable, ForgeDenied) as error:
            raise type(error)(
                f"the revert {proposed.commit[:12]} is on {proposal.branch} and not merged: {error.message}",
                advice=error.advice,
            ) from None
        if pull.state is PullState.MERGED:
            return self._merged(pull)
        said = f"{proposed.commit[:12]} is in {pull}, which waits for {pull.waits_for}"
        return Reversal(commit=None, branch=self._branch, said=said, pull=pull)

    def _pull_request(self, forge: Forge, commit: str) -> PullRequest:
        """The one of this commit, to be merged when it may be.

        One that was merged a moment ago is not opened anew, and neither is one that a person has closed.
        """
        proposal = self._proposal
        pull = forge.find(proposal.branch)
        if pull is not None and pull.state is not PullState.OPEN and pull.head == commit:
            return pull
        if pull is None or pull.state is not PullState.OPEN:
            pull = forge.open(proposal)
        return forge.merge_when_ready(replace(pull, head=commit), proposal)

    def _merged(self, pull: PullRequest) -> Reversal:
        """Seen in git as well, which alone is what counts."""
        tree = self._world.manifests.tree()
        now = tree.read(self._path) if tree.exists(self._path) else None
        if now != self._content:
            raise ForgeUnavailable(
                f"{pull} is merged, and {self._branch} does not say so",
                advice="Run the command again; if that does not help, name another version in a pull request.",
            )
        commit = self._last_change()
        said = f"{commit[:12]} on {self._branch}, merged from {pull}"
        return Reversal(commit=commit, branch=self._branch, said=said, pull=pull)

    def _withdraw(self, because: str) -> None:
        """Close what is open and would be merged over what the branch says now."""
        forge, branch = self._world.forge, self._proposal.branch
        if forge is None or self._world.manifests.proposed(branch) is None:
            return
        pull = forge.find(branch)
        if pull is not None and pull.state is PullState.OPEN:
            forge.comment(pull, because, key="revert-not-needed")
            forge.close(pull)

    def _leave_what_is_newer(self) -> Reversal:
        """A manifest that was changed since is left alone: nothing is to be reverted if it asks for other bytes.

        Raises WorldChanged if it still asks for the bad ones: whoever edited it has to say what they want.
        """
        bad = self._proposal.bad
        desire = find_desire(self._world, self._proposal.event.name)
        if desire is not None and desire.version.identity == bad.identity:
            raise WorldChanged(
                f"{desire.version.path} was changed or moved, and still asks for {bad.served_name}: name another"
                " version in a pull request, then run the command again",
            )
        newer = desire.version.served_name if desire else "no version"
        self._withdraw(f"{self._branch} asks for {newer} meanwhile: this revert would undo that.")
        said = f"left alone: {self._branch} asks for {newer} meanwhile"
        return Reversal(commit=self._last_change(), branch=self._branch, said=said, newer=True)

    def _as_steered(self) -> bytes:
        """What git asks for now where only how it was to be released was changed since, else what the release began with."""
        bad = self._proposal.bad
        began = self._manifest(bad)
        with suppress(RolloutError):
            desire = find_desire(self._world, self._proposal.event.name)
            then = self._world.documents.read(began, AdapterManifest, source=bad.path).value
            if desire is not None and desire.version.path == bad.path:
                now = desire.manifest.value
                if now != then and now.model_copy(update={"rollout": then.rollout}) == then:
                    return desire.manifest.content
        return began

    @property
    def _content(self) -> bytes | None:
        stable = self._proposal.stable
        return None if stable is None else self._manifest(stable)

    def _manifest(self, version: Version) -> bytes:
        return self._world.manifests.at(version.commit).read(PurePosixPath(version.path))

    def _last_change(self) -> str:
        return self._world.manifests.last_change(self._path)
