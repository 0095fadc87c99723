"""ArtifactStores: evidence in a folder, or on an orphan branch that every machine sees."""

from rollout.integrations.evidence.branch import EvidenceBranch
from rollout.integrations.evidence.folder import EvidenceFolder

__all__ = ["EvidenceBranch", "EvidenceFolder"]
