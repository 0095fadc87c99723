"""Ledgers of hash-chained JSON lines: in a folder, or on an orphan branch that is only ever pushed to."""

from rollout.integrations.ledger.branch import BranchLedger
from rollout.integrations.ledger.folder import FolderLedger
from rollout.integrations.ledger.seal import Seal

__all__ = ["BranchLedger", "FolderLedger", "Seal"]
