"""The one moving part of a ledger branch: its tip, where everybody sees it, moved forward and never back."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from rollout.durable import exclusive
from rollout.errors import LedgerConflict, Unavailable
from rollout.orphan.branch import Branch
from rollout.orphan.objects import Git, is_part

_FIRST_WAIT_S = 120.0
_LOOKED_BACK = 32
# What git itself takes for no limit (git-fetch(1), --unshallow).
_WHOLE = 2147483647


class Tip:
    """The newest commit of a branch at a remote, or of this very repository where `remote` is None.

    What was fetched is kept alive by `refs/rollout/ledger/...`, a reference of its own. The first fetch takes the newest
    commits; each further one takes what is new. `refs/rollout/whole/...` is as far as histories are known to have
    only grown.
    """

    def __init__(self, git: Git, root: Path, environment: str, *, branch: str, remote: str | None) -> None:
        self._git = git
        self._remote = remote
        self._branch = Branch(git, root, branch=branch, remote=remote, what="ledger")
        self._tracked = f"refs/remotes/{remote}/{branch}"
        self._kept = f"refs/rollout/ledger/{remote}/{branch}" if remote else self._branch.reference
        self._found_whole = (
            f"refs/rollout/whole/{environment}/{f'at/{remote}' if remote else 'here'}/{branch}"
        )

    @property
    def folder(self) -> Path:
        """Where this clone may keep what no commit can bring there."""
        return self._branch.in_git_folder("rollout")

    def known(self) -> str | None:
        """As it was seen last, without asking anybody."""
        return self._branch.resolve(self._kept)

    def now(self) -> str | None:
        """As it is now, with all that it holds; None if there is no such branch yet. Raises RemoteUnavailable.

        A branch that no longer holds what was seen on it is raised as LedgerConflict: somebody has rewritten it.
        """
        # First what is known, then the question: whoever runs beside us only ever knows more.
        known = self.known()
        if self._remote is None:
            return known
        tip = self._branch.ask()
        if tip == known:
            return tip
        if known is None:
            return self._begun()
        if tip is not None:
            self._branch.fetch("--no-filter", f"--negotiation-tip={known}")
        if tip is None or not is_part(self._git, known, tip):
            raise self._rewritten(known, self._kept)
        self._keep(tip)
        return tip

    def whole(self) -> str | None:
        """The commit up to which histories were found to have only grown. To be asked before `now` is."""
        return self._branch.resolve(self._found_whole)

    def between(self, whole: str | None, tip: str | None) -> list[str]:
        """The commits up to `tip` behind one that was found whole, oldest first; the newest ones if none was.

        Raises LedgerConflict for a branch that no longer holds what was found whole, and for one that was merged.
        """
        if whole is not None and (tip is None or not is_part(self._git, whole, tip)):
            raise self._rewritten(whole, self._found_whole)
        if tip is None or tip == whole:
            return []
        return self._line(tip, *((f"^{whole}",) if whole else ("-n", str(_LOOKED_BACK))))

    def all_commits(self, tip: str | None) -> list[str]:
        """All of the branch up to `tip`, oldest first; fetched, where only the newest were."""
        if tip is None:
            return []
        if self._remote is not None and self._is_shallow():
            self._branch.fetch("--no-filter", f"--depth={_WHOLE}")
        return self._line(tip)

    def before(self, commit: str) -> str:
        """The commit before one, or itself if it is the first that is here."""
        return self._branch.resolve(f"{commit}^") or commit

    def found_whole(self, tip: str) -> None:
        """Remember for the next time that histories up to there only grew."""
        self._branch.set(self._found_whole, tip)

    def _line(self, tip: str, *words: str) -> list[str]:
        listed = self._git.run("rev-list", "--reverse", "--topo-order", "--parents", *words, tip, "--")
        commits = [line.split() for line in listed.decode().splitlines()]
        if merged := next((commit for commit, *parents in commits if len(parents) > 1), None):
            raise LedgerConflict(
                f"commit {merged[:12]} of {self._branch.reference} merges another line: nothing but rollout writes there",
                advice="Look for who made it, and put the branch back to before it.",
            )
        return [commit for commit, *_ in commits]

    def _is_shallow(self) -> bool:
        return self._git.run("rev-parse", "--is-shallow-repository").strip() == b"true"

    def move(self, commit: str, tip: str | None) -> str | None:
        """Move it from `tip` to `commit`; the answer is why that did not happen, None if it did.

        Raises RemoteUnavailable where the remote gives no answer: then nobody knows what became of it.
        """
        refused = self._branch.move(commit, tip)
        if refused is None and self._remote is not None:
            self._keep(commit)
        return refused

    def _rewritten(self, known: str, reference: str) -> LedgerConflict:
        return LedgerConflict(
            f"{self._branch} does not hold any more what was read there before ({known[:12]})",
            advice=f"Somebody has removed or rewritten it. Put {known} there again; or, if it was meant, run"
            f" `git update-ref -d {reference}`.",
        )

    def _begun(self) -> str | None:
        """The first look of a clone: the newest commits, or what is new where git had followed the branch.

        One process at a time: two that were cut off apart would hide that one comes before the other.
        """
        with exclusive(self._branch.in_git_folder("rollout-ledger"), wait_s=_FIRST_WAIT_S):
            while (known := self.known()) is None and (tip := self._branch.ask()) is not None:
                tracked = self._branch.resolve(self._tracked)
                # Where git has followed it the history is here; else as much of it as is looked into.
                extent = f"--negotiation-tip={tracked}" if tracked else f"--depth={_LOOKED_BACK + 1}"
                self._branch.fetch("--no-filter", extent)
                self._forget(self._found_whole)
                # The branch may have moved on in between; then only what came after was brought here.
                if self._branch.resolve(tip) is not None:
                    self._keep(tip)
        return known

    def _keep(self, commit: str) -> None:
        """Remember it for the next time. One that cannot be remembered is asked for again."""
        self._branch.set(self._kept, commit)

    def _forget(self, reference: str) -> None:
        with suppress(Unavailable):
            self._git.run("update-ref", "-d", reference)
