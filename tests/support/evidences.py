"""Places where evidence can be, as several machines see them: a folder, a branch of a remote, a branch of its own."""

from __future__ import annotations

from pathlib import Path

from rollout.integrations.evidence import EvidenceBranch, EvidenceFolder
from rollout.integrations.git import GitRepository
from rollout.ports import ArtifactStore
from tests.support.ledgers import Place, git

BRANCH = "rollout-evidence"


class Store(Place):
    """Evidence and the machines that use it; `filters` tells whether the remote gives less than all that there is."""

    def __init__(self, folder: Path, kind: str, *, filters: bool = True) -> None:
        super().__init__(folder, kind)
        if kind != "folder":
            git(self.origin, "config", "uploadpack.allowFilter", str(filters).lower())

    def open(self, machine: str = "a", **_: object) -> ArtifactStore:  # type: ignore[override]
        """The evidence as a process that begins now on one of the machines."""
        if self.kind == "folder":
            return EvidenceFolder(self.folder / "evidence")
        return self.on(self.machine(machine))

    def on(self, root: Path) -> EvidenceBranch:
        """The evidence as a clone sees it."""
        remote = "origin" if self.kind == "branch" else None
        return EvidenceBranch(GitRepository(root, remote=remote), root, branch=BRANCH, remote=remote)

    def files(self) -> list[str]:
        """What the branch holds."""
        place = self.machine("a") if self.kind == "own branch" else self.origin
        return git(place, "ls-tree", "-r", "--name-only", BRANCH).decode().split()

    def commits(self) -> int:
        """How many the branch has; 0 where there is none."""
        place = self.machine("a") if self.kind == "own branch" else self.origin
        there = git(place, "for-each-ref", f"refs/heads/{BRANCH}")
        return len(git(place, "rev-list", BRANCH).split()) if there else 0
