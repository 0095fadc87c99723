"""The ledger of an environment, where its document says that it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rollout.core import environment
from rollout.core.plan import Share
from rollout.errors import Unsupported

if TYPE_CHECKING:
    from rollout.core.lifecycle import RolloutState
    from rollout.core.routes import Route
    from rollout.integrations.ledger import FolderLedger, Seal
    from rollout.ports import ArtifactStore, Ledger


def open_ledger(document: environment.Environment, root: Path) -> Ledger:
    """Its ledger, in a folder or on a branch. Nothing is read yet."""
    from rollout.integrations.git import GitRepository
    from rollout.integrations.ledger import BranchLedger

    if isinstance(document.ledger, environment.FolderLedger):
        return open_folder_ledger(document, root)
    return BranchLedger(
        GitRepository(root, branch=document.branch, remote=document.remote),
        root,
        document.name,
        branch=document.ledger.branch,
        remote=document.remote,
        folder=root / document.ledger.path,
        seal=_seal(document),
        route_of=lambda name, state: _route_of(document, name, state),
    )


def _route_of(document: environment.Environment, name: str, state: RolloutState) -> Route:
    """What the ledger alone tells of a route: not what is mirrored, nor what answers must look like."""
    from rollout.core.routes import route_of

    return route_of(
        state,
        flag=document.flag_key(name),
        base=document.server.base,
        mirror=Share.ZERO,
        response_schema=None,
        max_flag_age_s=document.flags.max_age_s,
    )


def open_folder_ledger(document: environment.Environment, root: Path) -> FolderLedger:
    """Its ledger, if it is in a folder. Raises Unsupported for one that is not: there a write is whole or not at all."""
    from rollout.integrations.ledger import FolderLedger

    if not isinstance(document.ledger, environment.FolderLedger):
        raise Unsupported(
            f"the ledger of {document.name} is on a branch, where no line can be torn",
            advice=f"`rollout ledger verify -e {document.name}` shows whether it is in order.",
        )
    return FolderLedger(root / document.ledger.path, document.name, seal=_seal(document))


def _seal(document: environment.Environment) -> Seal:
    from rollout.integrations.ledger import Seal

    ledger = document.ledger
    return Seal(
        key_env=ledger.signing_key_env, verify_keys=ledger.verify_keys, signed_from=ledger.signed_from
    )


def open_evidence(document: environment.Environment, root: Path) -> ArtifactStore:
    """Where its evidence is kept."""
    from rollout.integrations.evidence import EvidenceBranch, EvidenceFolder
    from rollout.integrations.git import GitRepository

    if isinstance(document.evidence, str):
        return EvidenceFolder(root / document.evidence)
    git = GitRepository(root, branch=document.branch, remote=document.remote)
    return EvidenceBranch(git, root, branch=document.evidence.branch, remote=document.remote)
