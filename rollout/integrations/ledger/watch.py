"""The tip of a ledger branch as one machine sees it move, and what it sees taken away on the way."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from rollout.errors import LedgerConflict
from rollout.integrations.ledger.growth import losses
from rollout.integrations.ledger.seal import Seal
from rollout.integrations.ledger.tip import Tip
from rollout.orphan.objects import Git

Losses = Mapping[str, LedgerConflict]


class Watch:
    """Looks at a branch and remembers, in this clone, as far as it was seen that histories only grew.

    While one has lost something that mark stays where it was, so that no later look takes the loss for the beginning.
    """

    def __init__(self, git: Git, tip: Tip, environment: str, seal: Seal) -> None:
        self._git = git
        self._tip = tip
        self._environment = environment
        self._seal = seal
        self._seen: tuple[str | None, Losses] | None = None
        self._ever: tuple[str | None, Losses] | None = None
        self._is_still = False

    def still(self) -> Watch:
        """One that stays at what is there now."""
        self.newest()
        stilled = copy.copy(self)
        stilled._is_still = True
        return stilled

    def newest(self) -> str | None:
        """The tip as it is now, None where there is no branch. Raises LedgerConflict for one that was rewritten."""
        if self._is_still and self._seen is not None:
            return self._seen[0]
        whole = self._tip.whole()  # Before the tip is: another process only ever moves it on.
        tip = self._tip.now()
        if self._seen is None or self._seen[0] != tip:
            self._seen = tip, self._walk(whole, tip)
        return tip

    def known(self) -> str | None:
        """The tip as this clone has seen it last; looked into by this watch, if need be as it is now."""
        tip = self._tip.known()
        return tip if self._seen is not None and self._seen[0] == tip else self.newest()

    @property
    def lost(self) -> Losses:
        """By adapter, what is wrong where something was taken away, as of the last look."""
        return self._seen[1] if self._seen else {}

    def lost_ever(self) -> Losses:
        """The same for all commits of the branch, up to the last look."""
        tip = self._seen[0] if self._seen else self.newest()
        if self._ever is None or self._ever[0] != tip:
            self._ever = tip, self._losses(self._tip.all_commits(tip))
        return self._ever[1]

    def grew(self, tip: str | None, made: str) -> None:
        """Our own commit on `tip` only adds: it need not be looked into where all before it was."""
        if self._seen == (tip, {}):
            self._tip.found_whole(made)
            self._seen = made, {}

    def _walk(self, whole: str | None, tip: str | None) -> Losses:
        commits = self._tip.between(whole, tip)
        found = self._losses(commits)
        if commits and not found:
            self._tip.found_whole(commits[-1])
        elif commits and whole is None:
            self._tip.found_whole(self._tip.before(commits[0]))
        return found

    def _losses(self, commits: Sequence[str]) -> Losses:
        return losses(self._git, commits, self._environment, self._seal)
