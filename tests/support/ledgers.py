"""Places where a ledger can be, as several machines see them: a folder, a branch of a remote, a branch of its own."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta
from pathlib import Path

from rollout.core.lifecycle import Adopted, Anchored, LedgerEvent, fold
from rollout.integrations.git import GitRepository
from rollout.integrations.ledger import BranchLedger, FolderLedger, Seal
from rollout.ports import Ledger
from tests.core.factories import NOON, OLD, SHA

KINDS = ("folder", "branch", "own branch")
BRANCH = "rollout-ledger"


def git(folder: Path, *words: str, content: bytes | None = None) -> bytes:
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@localhost")
    command = ("git", "-C", str(folder), *identity, *words)
    return subprocess.run(command, input=content, check=True, capture_output=True).stdout


class Place:
    """One ledger and the machines that use it. Those of a branch are clones, unless it is the repository's own."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.kind = kind
        self.origin = folder / "origin.git"
        if kind != "folder":
            git(folder, "init", "-q", "--bare", "-b", "main", str(self.origin))
            self._fill(self.machine("a"))

    def open(self, machine: str = "a", *, environment: str = "prod", seal: Seal | None = None) -> Ledger:
        """The ledger as a process that begins now on one of the machines."""
        if self.kind == "folder":
            return FolderLedger(self.folder / "ledger", environment, seal=seal)
        root, remote = self.machine(machine), "origin" if self.kind == "branch" else None
        return BranchLedger(
            GitRepository(root, remote=remote), root, environment,
            branch=BRANCH, remote=remote, folder=self.folder / f"leases-{machine}", seal=seal,
        )  # fmt: skip

    def machine(self, name: str) -> Path:
        """Its clone."""
        root = self.folder / ("a" if self.kind == "own branch" else name)
        if not root.exists():
            git(self.folder, "clone", "-q", str(self.origin), str(root))
        return root

    @staticmethod
    def _fill(root: Path) -> None:
        """A commit of code, so that there is something to leave alone."""
        (root / "code.txt").write_text("code\n")
        git(root, "checkout", "-q", "-B", "main")
        git(root, "add", "code.txt")
        git(root, "commit", "-q", "-m", "Code")
        git(root, "push", "-q", "origin", "main")


def said(words: str, *, name: str = "bot", environment: str = "prod", at: datetime = NOON) -> LedgerEvent:
    """An event that may stand anywhere at rest, told apart by who did it."""
    return Adopted(at=at, actor=words, environment=environment, name=name, tool="0", stable=OLD)


def told(ledger: Ledger, name: str = "bot") -> list[str]:
    """Who did something, in order."""
    return [entry.event.actor for entry in ledger.read(name)]


def write(ledger: Ledger, *words: str, name: str = "bot") -> None:
    """Append some events behind what is there."""
    for number, word in enumerate(words):
        entries = ledger.read(name)
        event = said(word, name=name, at=NOON + timedelta(seconds=number))
        ledger.append(name, event, after=entries[-1].hash if entries else None)


def anchor_of(ledger: Ledger, name: str = "bot") -> Anchored:
    """The anchor that stands for all that is there."""
    entries = ledger.read(name)
    return Anchored(
        at=NOON, actor="ann", environment="prod", name=name, tool="0",
        entries=entries[-1].seq + 1, archive=SHA, state=fold(entries),
    )  # fmt: skip
